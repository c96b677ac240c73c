/* One trial: a plan on a seed's trained network, calibrated, evaluated, fine-tuned, evaluated. Each
 * begins at the same weights, statistics and data order, whatever ran before it. */
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/arena.h"
#include "experiments/finished.h"

struct bg_arena_bench {
    const struct bg_arena *arena;
    int64_t seed;
    struct bg_finished base;
    struct bg_plan start; /* the base's own; count 0 = f32 */
    struct bg_snapshot *trained, *best;
    struct bg_source *calibration, *train, *validation, *test;
    struct bg_evaluation *evaluation;
};

static enum bg_status open_sources(struct bg_arena_bench *bench)
{
    struct bg_run *run = bench->base.run;
    const struct bg_recipe *recipe = bench->base.recipe;
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    TRY(bg_data_open(&run->data, recipe->top.data, (uint64_t)recipe->top.seed, &errors));
    if (strcmp(run->data->train.hash, run->record.train_hash) != 0 ||
        strcmp(run->data->test.hash, run->record.test_hash) != 0)
        FAIL(BG_E_MISMATCH, "%s was begun with other data; use another --out", run->dir);
    TRY(bg_run_source(run, BG_PART_TRAIN, recipe->train.batch, false, &bench->calibration));
    TRY(bg_run_source(run, BG_PART_TRAIN, recipe->finetune.batch, true, &bench->train));
    TRY(bg_run_source(run, BG_PART_VALIDATION, recipe->eval_batch, false, &bench->validation));
    TRY(bg_run_source(run, BG_PART_TEST, recipe->eval_batch, false, &bench->test));
out:
    bg_text_free(&errors);
    return rc;
}

enum bg_status bg_arena_bench_open(struct bg_arena_bench **out, const struct bg_arena *arena,
                                   int64_t seed)
{
    struct bg_arena_bench *bench = NULL;
    char dir[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&bench, 1, sizeof *bench));
    bench->arena = arena;
    bench->seed = seed;
    TRY(bg_alloc(&bench->evaluation, 1, sizeof *bench->evaluation));
    TRY(bg_arena_seed_dir(arena, seed, dir));
    TRY(bg_finished_open(&bench->base, dir, "train"));
    TRY(bg_plan_copy(&bench->start, &bench->base.run->plan));
    TRY(bg_net_snapshot(bench->base.run->net, &bench->trained));
    TRY(open_sources(bench));
    *out = bench;
    bench = NULL;
out:
    bg_arena_bench_close(bench);
    return rc;
}

void bg_arena_bench_close(struct bg_arena_bench *bench)
{
    if (!bench)
        return;
    bg_loader_destroy(bench->calibration);
    bg_loader_destroy(bench->train);
    bg_loader_destroy(bench->validation);
    bg_loader_destroy(bench->test);
    bg_snapshot_free(bench->trained);
    bg_snapshot_free(bench->best);
    bg_plan_free(&bench->start);
    bg_finished_close(&bench->base);
    bg_free(bench->evaluation);
    bg_free(bench);
}

static enum bg_status put(struct bg_arena_bench *bench, const char *hash)
{
    struct bg_run *run = bench->base.run;
    const struct bg_quantize_section *options = &bench->base.recipe->quantize;
    char folder[BG_PATH_MAX], path[BG_PATH_MAX], name[BG_ARENA_HASH + 8] = "";
    struct bg_plan plan = {0};
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_run_apply(run, bench->start.count > 0 ? &bench->start : NULL));
    TRY(bg_net_restore(run->net, bench->trained));
    TRY(bg_text_copy(name, sizeof name, hash));
    memcpy(name + strlen(name), ".txt", 5);
    TRY(bg_path_join(folder, bench->arena->dir, "plans"));
    TRY(bg_path_join(path, folder, name));
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &text, &length));
    TRY(bg_plan_parse(&plan, path, text));
    TRY(bg_run_apply(run, &plan));
    TRY(bg_trainer_calibrate(run->trainer, bench->calibration, options->calibration_batches,
                             options->recalibrate_bn));
out:
    bg_plan_free(&plan);
    bg_free(text);
    return rc;
}

static enum bg_status evaluate(struct bg_arena_bench *bench, struct bg_source *source,
                               double *accuracy, bool *integer)
{
    enum bg_status rc = BG_OK;
    TRY(bg_trainer_evaluate(bench->base.run->trainer, source, bench->evaluation));
    *accuracy = bench->evaluation->accuracy;
    if (integer)
        *integer = bench->evaluation->integer;
out:
    return rc;
}

struct epochs {
    struct bg_arena_bench *bench;
    int64_t total;
    double last;
};

/* The network of the best epoch so far, unless it is the last one anyway. */
static enum bg_status on_epoch(void *self, const struct bg_train_epoch_row *row,
                               const struct bg_evaluation *evaluation,
                               const struct bg_train_state *state)
{
    struct epochs *epochs = self;
    struct bg_arena_bench *bench = epochs->bench;
    epochs->last = evaluation->accuracy;
    if (state->best_epoch != row->epoch || row->epoch == epochs->total)
        return BG_OK;
    bg_snapshot_free(bench->best);
    bench->best = NULL;
    return bg_net_snapshot(bench->base.run->net, &bench->best);
}

static enum bg_status finetune(struct bg_arena_bench *bench, struct bg_arena_trial *out)
{
    const struct bg_train_options *options = &bench->base.recipe->finetune;
    struct bg_run *run = bench->base.run;
    struct bg_train_state state = {.step = 0};
    struct epochs epochs = {.bench = bench, .total = options->epochs};
    struct bg_train_hooks hooks = {.self = &epochs, .on_epoch = on_epoch};
    enum bg_status rc = BG_OK;

    TRY(bg_trainer_train(run->trainer, options, bench->train, bench->validation, &state, &hooks));
    out->validation[BG_ARENA_LAST] = epochs.last;
    out->validation[BG_ARENA_BEST] = state.best_accuracy;
    out->best_epoch = state.best_epoch;
    TRY(evaluate(bench, bench->test, &out->test[BG_ARENA_LAST], NULL));
    out->test[BG_ARENA_BEST] = out->test[BG_ARENA_LAST];
    if (state.best_epoch < options->epochs) {
        TRY(bg_net_restore(run->net, bench->best));
        TRY(evaluate(bench, bench->test, &out->test[BG_ARENA_BEST], NULL));
    }
out:
    return rc;
}

enum bg_status bg_arena_bench_run(struct bg_arena_bench *bench, const char *plan,
                                  struct bg_arena_trial *out)
{
    double chance = 1.0 / bench->base.run->record.spec.classes;
    enum bg_status rc = BG_OK;

    *out = (struct bg_arena_trial){.seed = bench->seed};
    TRY(bg_text_copy(out->plan, sizeof out->plan, plan));
    TRY(put(bench, plan));
    TRY(evaluate(bench, bench->validation, &out->validation[BG_ARENA_BEFORE], &out->integer));
    TRY(evaluate(bench, bench->test, &out->test[BG_ARENA_BEFORE], NULL));
    rc = finetune(bench, out);
    if (rc == BG_E_NUMERIC) {
        bg_log(BG_LOG_WARN, "seed %lld, plan %s: %s", (long long)bench->seed, plan, bg_error());
        out->diverged = true;
        out->best_epoch = 0;
        for (int m = BG_ARENA_LAST; m < BG_ARENA_MOMENTS; m++)
            out->validation[m] = out->test[m] = chance;
        rc = BG_OK;
    }
out:
    return rc;
}
