/* Checkpoints: the network, the trainer's position and how much of the record belongs to it.
 * Written to a temporary, closed, opened again and read through, then renamed: the path always
 * holds a whole file that has been read once. */
#include <stdio.h>
#include <string.h>

#include "core/kernel.h"
#include "core/log.h"
#include "core/mem.h"
#include "experiments/run.h"

#define CHECKPOINT_SCHEMA 3
#define CHECKPOINT_OLD    2 /* its network is read, its position is not */
#define OBJECT_BYTES_MAX  ((int64_t)1 << 33)

static enum bg_status write_plan(const struct bg_run *run, struct bg_h5 *file)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&text, 1 << 24);
    if (run->plan.count > 0) {
        bg_plan_print(&run->plan, &text);
        TRY(bg_text_check(&text));
    }
    TRY(bg_h5_put_text(file, "plan", bg_text_string(&text)));
out:
    bg_text_free(&text);
    return rc;
}

static enum bg_status write_checkpoint(const struct bg_run *run, struct bg_h5 *file)
{
    int64_t counts[BG_RECORD_COUNTS], dims[1] = {BG_RECORD_COUNTS};
    enum bg_status rc = BG_OK;

    bg_record_counts(&run->record, counts);
    TRY(bg_h5_set_int(file, "", "schema", CHECKPOINT_SCHEMA));
    TRY(bg_h5_set_text(file, "", "kind", "checkpoint"));
    TRY(bg_h5_set_int(file, "", "stage", run->stage));
    TRY(bg_environment_write(&run->record.environment, file));
    TRY(bg_h5_write(file, "record/counts", BG_H5_S64, 1, dims, counts, false));
    TRY(write_plan(run, file));
    TRY(bg_net_save(run->net, file));
    TRY(bg_trainer_save(run->trainer, &run->state, file));
    TRY(bg_h5_set_int(file, "", "complete", 1));
out:
    return rc;
}

/* Reads every number of the file: a bad block fails its checksum here, before the file takes its
 * name. */
static enum bg_status read_object(void *self, const struct bg_h5_object *object)
{
    struct bg_h5 *file = (struct bg_h5 *)self;
    int64_t dims[BG_H5_RANK_MAX];
    void *data = NULL;
    enum bg_status rc = BG_OK;
    if (object->is_group || object->is_text)
        return BG_OK;
    memcpy(dims, object->info.dims, sizeof dims);
    rc = bg_h5_read_new(file, object->name, object->info.type, object->info.rank, dims, &data,
                        OBJECT_BYTES_MAX);
    bg_free(data);
    return rc;
}

static enum bg_status close_after(struct bg_h5 *file, enum bg_status rc)
{
    enum bg_status closed = file ? bg_h5_close(file) : BG_OK;
    return rc == BG_OK ? closed : rc;
}

static enum bg_status verify(const char *path)
{
    struct bg_h5 *file = NULL;
    int64_t complete = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_h5_open(&file, path));
    TRY(bg_h5_get_int(file, "", "complete", &complete));
    if (complete != 1)
        FAIL(BG_E_DATA, "%s is not complete", path);
    TRY(bg_h5_walk(file, read_object, file));
out:
    return close_after(file, rc);
}

/* Infinity can hide from the loss behind batch norm; a checkpoint that holds it could not be read.
 */
static enum bg_status check_finite(const struct bg_run *run)
{
    const struct bg_graph *graph = run->net->graph;
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        int64_t count = bg_tensor_count(&param->value);
        bool finite = param->store || bg_kernel_all_finite(bg_f32(&param->value), count);
        if (finite && (!param->state.data || bg_kernel_all_finite(bg_f32(&param->state), count)))
            continue;
        return bg_fail(BG_E_NUMERIC, "%s%s is not finite and cannot be saved; a lower lr may help",
                       finite ? "momentum of " : "", param->name);
    }
    return BG_OK;
}

static enum bg_status write_file(const struct bg_run *run, const char *name)
{
    char path[BG_PATH_MAX], temporary[BG_PATH_MAX] = "";
    struct bg_h5 *file = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(path, run->dir, name));
    TRY(bg_path_temporary(temporary, path));
    TRY(bg_h5_create(&file, temporary));
    rc = close_after(file, write_checkpoint(run, file));
    if (rc == BG_OK)
        rc = verify(temporary);
    if (rc == BG_OK)
        rc = bg_file_commit(temporary, path);
out:
    if (rc != BG_OK && *temporary)
        bg_file_remove(temporary);
    return rc;
}

static enum bg_status write_record(const struct bg_run *run)
{
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, run->dir, "run.h5"));
    TRY(bg_record_write(&run->record, path));
out:
    return rc;
}

enum bg_status bg_run_checkpoint(struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    TRY(check_finite(run));
    TRY(write_record(run));
    TRY(write_file(run, BG_CHECKPOINT_LAST));
    bg_log(BG_LOG_DEBUG, "checkpoint: stage %d, step %lld", run->stage, (long long)run->state.step);
out:
    return rc;
}

enum bg_status bg_run_keep(struct bg_run *run, const char *stage)
{
    char name[64 + BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    (void)snprintf(name, sizeof name, "checkpoint-%.63s.h5", stage);
    TRY(check_finite(run));
    TRY(write_file(run, name));
out:
    return rc;
}

static enum bg_status check_header(struct bg_h5 *file, int *stage)
{
    int64_t schema = 0, complete = 0, number = 0;
    char kind[BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    TRY(bg_h5_get_text(file, "", "kind", kind, sizeof kind));
    if (strcmp(kind, "checkpoint") != 0)
        FAIL(BG_E_DATA, "kind is '%s', expected 'checkpoint'", kind);
    TRY(bg_h5_get_int(file, "", "schema", &schema));
    if (schema != CHECKPOINT_SCHEMA && schema != CHECKPOINT_OLD)
        FAIL(BG_E_DATA, "schema %lld, this bitgrad reads %d and %d", (long long)schema,
             CHECKPOINT_OLD, CHECKPOINT_SCHEMA);
    TRY(bg_h5_get_int(file, "", "complete", &complete));
    if (complete != 1)
        FAIL(BG_E_DATA, "not complete");
    TRY(bg_h5_get_int(file, "", "stage", &number));
    if (number < 0 || number > BG_STAGES)
        FAIL(BG_E_DATA, "stage %lld, limit is %d", (long long)number, BG_STAGES);
    *stage = (int)number;
out:
    return rc;
}

static enum bg_status name_file(enum bg_status rc, const char *path)
{
    if (rc == BG_OK || strstr(bg_error(), path))
        return rc;
    return bg_fail_prefix(rc, "%s: ", path);
}

enum bg_status bg_checkpoint_peek(const char *path, const char *dir, int *stage)
{
    struct bg_environment then, now;
    struct bg_h5 *file = NULL;
    enum bg_status rc = BG_OK;
    bool comparing = false;
    TRY(bg_h5_open(&file, path));
    TRY(check_header(file, stage));
    TRY(bg_environment_read(&then, file));
    bg_environment_now(&now);
    comparing = true;
    if (dir)
        TRY(bg_environment_compare(&then, &now, dir));
out:
    rc = close_after(file, rc);
    return comparing ? rc : name_file(rc, path);
}

static enum bg_status load_plan(struct bg_run *run, struct bg_h5 *file, const char *path)
{
    struct bg_plan plan = {0};
    char *text = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_h5_take_text(file, "plan", &text));
    if (*text)
        TRY(bg_plan_parse(&plan, path, text));
    TRY(bg_run_apply(run, *text ? &plan : NULL));
out:
    bg_plan_free(&plan);
    bg_free(text);
    return rc;
}

static enum bg_status load_position(struct bg_run *run, struct bg_h5 *file, int stage)
{
    int64_t counts[BG_RECORD_COUNTS], dims[1] = {BG_RECORD_COUNTS};
    enum bg_status rc = BG_OK;
    int64_t schema = 0;
    TRY(bg_h5_get_int(file, "", "schema", &schema));
    if (schema != CHECKPOINT_SCHEMA)
        FAIL(BG_E_DATA, "schema %lld, a run goes on from schema %d alone; begin it anew",
             (long long)schema, CHECKPOINT_SCHEMA);
    if (stage > run->recipe->stages)
        FAIL(BG_E_DATA, "stage %d, the recipe has %d", stage, run->recipe->stages);
    TRY(bg_h5_read(file, "record/counts", BG_H5_S64, 1, dims, counts, sizeof counts));
    TRY(bg_trainer_load(run->trainer, &run->state, file));
    TRY(bg_record_rewind(&run->record, counts));
    run->stage = stage;
out:
    return rc;
}

enum bg_status bg_run_load(struct bg_run *run, const char *name, bool position)
{
    char path[BG_PATH_MAX];
    struct bg_h5 *file = NULL;
    int stage = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(path, run->dir, name));
    TRY(bg_h5_open(&file, path));
    TRY(check_header(file, &stage));
    TRY(load_plan(run, file, path));
    TRY(bg_net_load(run->net, file));
    if (position)
        TRY(load_position(run, file, stage));
out:
    return name_file(close_after(file, rc), path);
}
