/* The engine, threads, and the part: one oneDNN primitive with memory objects made once.
 *
 * Implementations named "ref..." are about a thousand times slower than the others, so the list of
 * implementations is walked past them. Scratch is ours (user mode), allocated at creation. oneDNN
 * itself makes a small argument map on the heap in every execution; nothing of ours does. */
#include "core/dnn_private.h"

#include <omp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define THREADS_MAX 256

static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static dnnl_engine_t engine;
static int live_runners; /* objects that still point at the engine */

static pthread_once_t version_once = PTHREAD_ONCE_INIT;
static char version_text[48];

enum bg_status bg_dnn_check(dnnl_status_t status, const char *what)
{
    static const struct {
        dnnl_status_t status;
        enum bg_status code;
        const char *word;
    } words[] = {
        {dnnl_out_of_memory, BG_E_NOMEM, "out of memory"},
        {dnnl_invalid_arguments, BG_E_INTERNAL, "invalid arguments"},
        {dnnl_unimplemented, BG_E_UNSUPPORTED, "not implemented"},
        {dnnl_iterator_ends, BG_E_UNSUPPORTED, "no implementation"},
        {dnnl_runtime_error, BG_E_INTERNAL, "failed at run time"},
        {dnnl_not_required, BG_E_INTERNAL, "not required"},
    };

    if (status == dnnl_success)
        return BG_OK;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].status == status)
            return bg_fail(words[i].code, "oneDNN %s: %s: %s", bg_dnn_version(), what,
                           words[i].word);
    return bg_fail(BG_E_INTERNAL, "oneDNN %s: %s: status %d", bg_dnn_version(), what, (int)status);
}

static void write_version(void)
{
    const dnnl_version_t *version = dnnl_version();

    snprintf(version_text, sizeof version_text, "%d.%d.%d", version->major, version->minor,
             version->patch);
}

const char *bg_dnn_version(void)
{
    pthread_once(&version_once, write_version);
    return version_text;
}

const char *bg_dnn_isa(void)
{
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {
        {dnnl_cpu_isa_sse41, "SSE41"},
        {dnnl_cpu_isa_avx, "AVX"},
        {dnnl_cpu_isa_avx2, "AVX2"},
        {dnnl_cpu_isa_avx2_vnni, "AVX2_VNNI"},
        {dnnl_cpu_isa_avx512_mic, "AVX512_MIC"},
        {dnnl_cpu_isa_avx512_mic_4ops, "AVX512_MIC_4OPS"},
        {dnnl_cpu_isa_avx512_core, "AVX512_CORE"},
        {dnnl_cpu_isa_avx512_core_vnni, "AVX512_CORE_VNNI"},
        {dnnl_cpu_isa_avx512_core_bf16, "AVX512_CORE_BF16"},
        {dnnl_cpu_isa_avx512_core_amx, "AVX512_CORE_AMX"},
    };
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].isa == isa)
            return names[i].name;
    return "OTHER";
}

void bg_threads_set(int threads)
{
    omp_set_dynamic(0);
    omp_set_num_threads(threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads);
}

int bg_threads(void)
{
    return omp_get_max_threads();
}

enum bg_status bg_dnn_engine(dnnl_engine_t *out)
{
    enum bg_status rc = BG_OK;

    *out = NULL;
    pthread_mutex_lock(&engine_lock);
    if (engine == NULL) {
        if (dnnl_version()->major != DNNL_VERSION_MAJOR)
            FAIL(BG_E_UNSUPPORTED, "oneDNN %s is installed, this build is for %d.x",
                 bg_dnn_version(), DNNL_VERSION_MAJOR);
        TRY(bg_dnn_check(dnnl_engine_create(&engine, dnnl_cpu, 0), "making a CPU engine"));
    }
    *out = engine;
out:
    pthread_mutex_unlock(&engine_lock);
    return rc;
}

void bg_dnn_shutdown(void)
{
    pthread_mutex_lock(&engine_lock);
    if (engine != NULL && live_runners == 0) {
        dnnl_engine_destroy(engine);
        engine = NULL;
    }
    pthread_mutex_unlock(&engine_lock);
}

static void count_runner(int change)
{
    pthread_mutex_lock(&engine_lock);
    live_runners += change;
    pthread_mutex_unlock(&engine_lock);
}

enum bg_status bg_dnn_runner_start(struct bg_dnn_runner *runner)
{
    enum bg_status rc = BG_OK;
    dnnl_engine_t cpu = NULL;

    memset(runner, 0, sizeof *runner);
    TRY(bg_dnn_engine(&cpu));
    TRY(bg_dnn_check(dnnl_stream_create(&runner->stream, cpu, dnnl_stream_default_flags),
                     "making a stream"));
    count_runner(1);
    runner->threads = omp_get_max_threads();
out:
    return rc;
}

void bg_dnn_runner_stop(struct bg_dnn_runner *runner)
{
    if (runner->stream != NULL) {
        dnnl_stream_destroy(runner->stream);
        count_runner(-1);
    }
    bg_free(runner->scratch);
    memset(runner, 0, sizeof *runner);
}

enum bg_status bg_dnn_runner_finish(struct bg_dnn_runner *runner, struct bg_dnn_part *const *parts,
                                    int count)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < count; i++) {
        if (parts[i]->primitive == NULL)
            continue;
        size_t bytes =
            dnnl_memory_desc_get_size(bg_dnn_part_layout(parts[i], dnnl_query_scratchpad_md));
        if ((int64_t)bytes > runner->scratch_bytes)
            runner->scratch_bytes = (int64_t)bytes;
    }
    TRY(bg_alloc(&runner->scratch, runner->scratch_bytes, 1));
    for (int i = 0; i < count; i++) {
        if (parts[i]->primitive == NULL)
            continue;
        const dnnl_memory_desc_t *layout = bg_dnn_part_layout(parts[i], dnnl_query_scratchpad_md);
        if (dnnl_memory_desc_get_size(layout) != 0)
            TRY(bg_dnn_part_bind(parts[i], DNNL_ARG_SCRATCHPAD, layout, runner->scratch));
    }
out:
    return rc;
}

static enum bg_status user_scratch(dnnl_primitive_attr_t *out)
{
    enum bg_status rc = BG_OK;

    *out = NULL;
    TRY(bg_dnn_check(dnnl_primitive_attr_create(out), "making attributes"));
    TRY(bg_dnn_check(dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user),
                     "choosing own scratch"));
out:
    return rc;
}

static const char *name_of(const_dnnl_primitive_desc_t desc)
{
    const char *name = NULL;

    if (dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, (void *)&name) != dnnl_success)
        return "";
    return name == NULL ? "" : name;
}

static bool is_reference(const_dnnl_primitive_desc_t desc)
{
    return strncmp(name_of(desc), "ref", 3) == 0;
}

/* The first description that is neither a reference nor to be avoided, else the first reference. */
static enum bg_status choose(dnnl_primitive_desc_t *out, dnnl_primitive_desc_iterator_t list,
                             const char *avoid)
{
    enum bg_status rc = BG_OK;
    dnnl_status_t next = dnnl_success;

    for (; next == dnnl_success; next = dnnl_primitive_desc_iterator_next(list)) {
        dnnl_primitive_desc_t candidate = dnnl_primitive_desc_iterator_fetch(list);
        if (candidate == NULL)
            FAIL(BG_E_NOMEM, "oneDNN %s: no memory for a description", bg_dnn_version());
        bool slow = is_reference(candidate);
        bool bad = avoid != NULL && strncmp(name_of(candidate), avoid, strlen(avoid)) == 0;
        if (bad || (slow && *out != NULL)) {
            dnnl_primitive_desc_destroy(candidate);
            continue;
        }
        dnnl_primitive_desc_destroy(*out);
        *out = candidate;
        if (!slow)
            break;
    }
    if (*out == NULL)
        rc = bg_dnn_check(dnnl_unimplemented, "looking for an implementation");
out:
    return rc;
}

enum bg_status bg_dnn_part_create(struct bg_dnn_part *part, const_dnnl_op_desc_t op,
                                  const struct bg_dnn_part *hint, const char *avoid, bool *slow)
{
    enum bg_status rc = BG_OK;
    dnnl_engine_t cpu = NULL;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_iterator_t list = NULL;

    *slow = false;
    TRY(bg_dnn_engine(&cpu));
    TRY(user_scratch(&attr));
    TRY(bg_dnn_check(
        dnnl_primitive_desc_iterator_create(&list, op, attr, cpu, hint == NULL ? NULL : hint->desc),
        "looking for an implementation"));
    TRY(choose(&part->desc, list, avoid));
    *slow = is_reference(part->desc);
    part->name = name_of(part->desc);
    TRY(bg_dnn_check(dnnl_primitive_create(&part->primitive, part->desc), part->name));
out:
    dnnl_primitive_desc_iterator_destroy(list);
    dnnl_primitive_attr_destroy(attr);
    return rc;
}

enum bg_status bg_dnn_part_reorder(struct bg_dnn_part *part, const dnnl_memory_desc_t *from,
                                   const dnnl_memory_desc_t *to)
{
    enum bg_status rc = BG_OK;
    dnnl_engine_t cpu = NULL;
    dnnl_primitive_attr_t attr = NULL;

    TRY(bg_dnn_engine(&cpu));
    TRY(user_scratch(&attr));
    TRY(bg_dnn_check(dnnl_reorder_primitive_desc_create(&part->desc, from, cpu, to, cpu, attr),
                     "describing a reorder"));
    part->name = name_of(part->desc);
    TRY(bg_dnn_check(dnnl_primitive_create(&part->primitive, part->desc), part->name));
out:
    dnnl_primitive_attr_destroy(attr);
    return rc;
}

void bg_dnn_part_destroy(struct bg_dnn_part *part)
{
    for (int i = 0; i < part->arg_count; i++)
        dnnl_memory_destroy(part->args[i].memory);
    dnnl_primitive_destroy(part->primitive);
    dnnl_primitive_desc_destroy(part->desc);
    memset(part, 0, sizeof *part);
}

enum bg_status bg_dnn_part_bind(struct bg_dnn_part *part, int arg, const dnnl_memory_desc_t *layout,
                                void *data)
{
    enum bg_status rc = BG_OK;
    dnnl_engine_t cpu = NULL;

    if (part->arg_count == BG_DNN_ARGS)
        FAIL(BG_E_INTERNAL, "%s: more than %d arguments", part->name, BG_DNN_ARGS);
    TRY(bg_dnn_engine(&cpu));
    /* DNNL_MEMORY_NONE is NULL: a memory object without data. */
    TRY(bg_dnn_check(dnnl_memory_create(&part->args[part->arg_count].memory, layout, cpu, data),
                     "making a memory object"));
    part->args[part->arg_count++].arg = arg;
out:
    return rc;
}

enum bg_status bg_dnn_part_set(struct bg_dnn_part *part, int arg, const void *data)
{
    for (int i = 0; i < part->arg_count; i++)
        if (part->args[i].arg == arg)
            return bg_dnn_check(
                dnnl_memory_set_data_handle(part->args[i].memory, (void *)(uintptr_t)data),
                "setting data");
    return bg_fail(BG_E_INTERNAL, "%s: no argument %d", part->name, arg);
}

enum bg_status bg_dnn_part_run(struct bg_dnn_part *part, const struct bg_dnn_runner *runner)
{
    enum bg_status rc = BG_OK;
    int now = omp_get_max_threads();

    if (now != runner->threads)
        omp_set_num_threads(runner->threads);
    TRY(bg_dnn_check(
        dnnl_primitive_execute(part->primitive, runner->stream, part->arg_count, part->args),
        part->name));
    TRY(bg_dnn_check(dnnl_stream_wait(runner->stream), part->name));
out:
    if (now != runner->threads)
        omp_set_num_threads(now);
    return rc;
}

const dnnl_memory_desc_t *bg_dnn_part_layout(const struct bg_dnn_part *part, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(part->desc, what, 0);
}
