/* Runs gnuplot by fork and exec with an argument vector: no shell, no quoting. */
#include "experiments/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"

#define EXIT_MISSING 127

void bg_plot_begin(struct bg_text *script, const char *name, int width, int height)
{
    bg_text_add(script,
                "set terminal svg size %d,%d dynamic font 'sans-serif,13' name '%s'\n"
                "set output '%s.svg'\n"
                "set datafile separator tab\n"
                "set style line 1 lc rgb '#3b7dd8' lw 2 pt 7 ps 0.5\n"
                "set style line 2 lc rgb '#e08a1e' lw 2 pt 7 ps 0.5\n"
                "set style line 3 lc rgb '#2f9e6e' lw 2 pt 7 ps 0.5\n"
                "set style line 4 lc rgb '#b0479a' lw 2 pt 7 ps 0.5\n"
                "set border 3 lw 0.7\n"
                "set tics nomirror\n"
                "set grid ytics lc rgb '#999999' lw 0.4 dt 1\n",
                width, height, name, name);
}

static void run_child(const char *dir, const char *script)
{
    static const char program[] = "gnuplot";
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || chdir(dir) != 0)
        _exit(1);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    (void)execlp(program, program, "-d", script, (char *)NULL);
    _exit(errno == ENOENT ? EXIT_MISSING : 1);
}

/* The exit status, or -1 when it did not end by itself. */
static int run(const char *dir, const char *script)
{
    int status = 0;
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (child == 0)
        run_child(dir, script);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static enum bg_status write_text(const char *dir, const char *name, const char *extension,
                                 const struct bg_text *text)
{
    char path[BG_PATH_MAX], file[96];
    enum bg_status rc = BG_OK;
    (void)snprintf(file, sizeof file, "%s.%s", name, extension);
    TRY(bg_text_check(text));
    TRY(bg_path_join(path, dir, file));
    TRY(bg_file_write(path, bg_text_string(text), text->length));
out:
    return rc;
}

enum bg_status bg_plot_draw(const char *dir, const char *name, const struct bg_text *tsv,
                            const struct bg_text *script, bool *drawn)
{
    static bool missing; /* said once */
    char path[BG_PATH_MAX], file[96];
    int status;
    enum bg_status rc = BG_OK;

    *drawn = false;
    TRY(write_text(dir, name, "tsv", tsv));
    TRY(write_text(dir, name, "gp", script));
    (void)snprintf(file, sizeof file, "%s.gp", name);
    status = missing ? EXIT_MISSING : run(dir, file);
    if (status == EXIT_MISSING && !missing) {
        missing = true;
        bg_log(BG_LOG_WARN, "gnuplot is not installed: the report has no figures");
    } else if (status != 0 && status != EXIT_MISSING) {
        bg_log(BG_LOG_WARN, "gnuplot failed on %s/%s", dir, file);
    }
    (void)snprintf(file, sizeof file, "%s.svg", name);
    TRY(bg_path_join(path, dir, file));
    if (status != 0)
        bg_file_remove(path);
    *drawn = status == 0 && bg_file_exists(path);
out:
    return rc;
}
