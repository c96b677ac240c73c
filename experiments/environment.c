/* Threads, instruction set, CPU model and library versions of this process. */
#include "experiments/environment.h"

#include <stdio.h>
#include <string.h>

#include "core/dnn.h"
#include "core/text.h"

static void copy(char *out, size_t room, const char *text)
{
    (void)snprintf(out, room, "%s", text && *text ? text : "unknown");
}

/* "model name : ..." of /proc/cpuinfo. */
static void cpu_name(char *out, size_t room)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    copy(out, room, NULL);
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !value)
            continue;
        value[strcspn(value, "\n")] = '\0';
        for (value++; *value == ' ';)
            value++;
        copy(out, room, value);
        break;
    }
    (void)fclose(file);
}

void bg_environment_now(struct bg_environment *out)
{
    memset(out, 0, sizeof *out);
    out->threads = bg_threads();
    copy(out->isa, sizeof out->isa, bg_dnn_isa());
    copy(out->onednn, sizeof out->onednn, bg_dnn_version());
    copy(out->bitgrad, sizeof out->bitgrad, BG_VERSION);
#if defined(__clang__)
    copy(out->compiler, sizeof out->compiler, "clang " __clang_version__);
#else
    copy(out->compiler, sizeof out->compiler, "gcc " __VERSION__);
#endif
    cpu_name(out->cpu, sizeof out->cpu);
}

enum bg_status bg_environment_write(const struct bg_environment *environment, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    TRY(bg_h5_set_int(file, "", "threads", environment->threads));
    TRY(bg_h5_set_text(file, "", "isa", environment->isa));
    TRY(bg_h5_set_text(file, "", "cpu", environment->cpu));
    TRY(bg_h5_set_text(file, "", "onednn", environment->onednn));
    TRY(bg_h5_set_text(file, "", "bitgrad", environment->bitgrad));
    TRY(bg_h5_set_text(file, "", "compiler", environment->compiler));
out:
    return rc;
}

enum bg_status bg_environment_read(struct bg_environment *out, struct bg_h5 *file)
{
    int64_t threads = 0;
    enum bg_status rc = BG_OK;
    memset(out, 0, sizeof *out);
    TRY(bg_h5_get_int(file, "", "threads", &threads));
    out->threads = threads < 0 || threads > 65536 ? 0 : (int)threads;
    TRY(bg_h5_get_text(file, "", "isa", out->isa, sizeof out->isa));
    TRY(bg_h5_get_text(file, "", "cpu", out->cpu, sizeof out->cpu));
    TRY(bg_h5_get_text(file, "", "onednn", out->onednn, sizeof out->onednn));
    TRY(bg_h5_get_text(file, "", "bitgrad", out->bitgrad, sizeof out->bitgrad));
    TRY(bg_h5_get_text(file, "", "compiler", out->compiler, sizeof out->compiler));
out:
    return rc;
}

enum bg_status bg_environment_compare(const struct bg_environment *then,
                                      const struct bg_environment *now, const char *dir)
{
    const struct {
        const char *what, *then, *now;
    } rows[] = {{"instruction set", then->isa, now->isa},
                {"CPU", then->cpu, now->cpu},
                {"oneDNN version", then->onednn, now->onednn},
                {"bitgrad version", then->bitgrad, now->bitgrad}};
    if (then->threads != now->threads)
        return bg_fail(BG_E_MISMATCH,
                       "%s was begun with %d threads, this is %d: results would differ; use "
                       "another --out",
                       dir, then->threads, now->threads);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].then, rows[i].now) != 0)
            return bg_fail(BG_E_MISMATCH,
                           "%s was begun with %s '%s', this is '%s': results would differ; use "
                           "another --out",
                           dir, rows[i].what, rows[i].then, rows[i].now);
    return BG_OK;
}
