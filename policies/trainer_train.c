/* The step loop: batch, forward, backward, update, rows, epochs. All of a stage's position is in
 * bg_train_state: what is between two steps is never kept elsewhere (beside W_0 and the weights of
 * the last epoch, which bg_trainer_save stores), so a resumed run makes the same bits. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/store.h"
#include "policies/trainer_state.h"

void bg_trainer_clear_optimizer(struct bg_graph *graph)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (param->state.data)
            memset(param->state.data, 0, (size_t)bg_tensor_count(&param->state) * sizeof(float));
        if (param->store && param->store->momentum)
            memset(param->store->momentum, 0,
                   (size_t)(param->store->count * param->store->momentum_bytes));
    }
}

enum bg_status bg_trainer_run_begin(struct bg_trainer_run *run, struct bg_trainer *trainer,
                                    const struct bg_train_options *options,
                                    struct bg_source *source)
{
    *run = (struct bg_trainer_run){
        .trainer = trainer, .options = options, .stream = {.source = source}};
    enum bg_status rc = bg_trainer_check_source(source);
    if (rc != BG_OK)
        return rc;
    run->steps_per_epoch = bg_source_batches(source);
    return bg_trainer_choose_methods(run);
}

void bg_trainer_run_end(struct bg_trainer_run *run)
{
    bg_trainer_free_methods(run);
    *run = (struct bg_trainer_run){0};
}

static double now(void)
{
    struct timespec time = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static enum bg_status run_program(struct bg_program *program, const struct bg_batch *batch,
                                  const struct bg_run_moment *moment)
{
    enum bg_status rc = BG_OK;
    TRY(bg_program_forward(program, batch, moment));
    TRY(bg_program_backward(program, moment));
out:
    return rc;
}

enum bg_status bg_trainer_run_step(struct bg_trainer_run *run, int64_t step, int64_t schedule_step,
                                   struct bg_collector *collector, struct bg_train_step_row *row)
{
    enum bg_status rc = BG_OK;
    struct bg_batch batch = {0};
    struct bg_program *program = NULL;
    const struct bg_tensor *logits = NULL;
    double lr = bg_train_lr(run->options, schedule_step, run->steps_per_epoch);
    uint64_t seed = run->trainer->config.seed;
    struct bg_update_moment update = {
        .lr = lr, .seed = seed, .step = (uint64_t)step, .last = step + 1 == run->end};
    struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN | BG_RUN_OBSERVE,
                                   .seed = seed,
                                   .step = (uint64_t)step,
                                   .observer = collector ? &collector->observer : NULL};
    TRY(bg_stream_next(&run->stream, &batch));
    TRY(bg_trainer_program(run->trainer, BG_MODE_TRAIN, batch.size, run->observe, &program));
    if (collector)
        TRY(bg_collector_begin(collector, step + 1, batch.size));
    TRY(run_program(program, &batch, &moment));
    if (collector)
        TRY(bg_collector_end(collector));
    logits = bg_program_logits(program);
    *row = (struct bg_train_step_row){
        .step = step + 1,
        .lr = lr,
        .loss = bg_program_loss(program),
        .size = batch.size,
        .correct = bg_trainer_count_correct(bg_f32(logits), logits->shape.dims[3], &batch, NULL)};
    row->update_seconds = now();
    TRY(bg_trainer_update(run, &update));
    row->update_seconds = now() - row->update_seconds;
out:
    if (rc == BG_E_NUMERIC)
        rc = bg_fail_prefix(rc, "step %lld, lr %g: ", (long long)step + 1, lr);
    return rc;
}

/* One training stage. */
struct stage {
    struct bg_trainer_run run;
    struct bg_source *validation;
    struct bg_train_state *state;
    const struct bg_train_hooks *hooks;
    struct bg_profile *profile;
    struct bg_collector collector;
    int64_t total;
    double epoch_start; /* seconds */
};

static bool displaces(const struct stage *stage)
{
    return stage->profile && !stage->run.options->no_displacement;
}

/* The weights of the stage's start; without `wanted` none are kept in f32. */
static enum bg_status remember(struct bg_trainer *trainer, bool wanted)
{
    enum bg_status rc = BG_OK;
    trainer->anchored = false;
    bg_anchor_free(&trainer->initial);
    bg_anchor_free(&trainer->previous);
    if (!wanted)
        goto out;
    TRY(bg_anchor_make(&trainer->initial, trainer->graph));
    TRY(bg_anchor_make(&trainer->previous, trainer->graph));
    bg_anchor_take(&trainer->initial, trainer->graph);
    bg_anchor_take(&trainer->previous, trainer->graph);
    trainer->anchored = true;
out:
    return rc;
}

static enum bg_status begin(struct stage *stage)
{
    enum bg_status rc = BG_OK;
    struct bg_trainer *trainer = stage->run.trainer;
    struct bg_train_state *state = stage->state;
    if (state->step < 0 || state->step > stage->total)
        FAIL(BG_E_MISMATCH, "train: the state is at step %lld of %lld", (long long)state->step,
             (long long)stage->total);
    if (state->epoch_samples < 0 || state->epoch_samples > stage->run.stream.source->count)
        FAIL(BG_E_MISMATCH, "train: the state has seen %lld of this epoch's %lld samples",
             (long long)state->epoch_samples, (long long)stage->run.stream.source->count);
    if (stage->profile)
        TRY(bg_trainer_check_profile(trainer, stage->profile));
    TRY(bg_trainer_prepare(&stage->run,
                           state->step > 0 && !(stage->hooks && stage->hooks->replanned)));
    if (state->step == 0) {
        *state = (struct bg_train_state){.best_accuracy = -1};
        bg_trainer_clear_optimizer(trainer->graph);
        TRY(remember(trainer, !stage->run.options->no_displacement));
    } else if (displaces(stage) && !trainer->anchored) {
        FAIL(BG_E_USAGE, "train: resuming with a profile needs bg_trainer_load");
    }
    if (displaces(stage))
        bg_anchor_initial_square(&trainer->initial, stage->profile);
    if (state->epoch_samples == 0) /* a plan may have given the weights other bits since */
        bg_trainer_begin_moves(trainer);
    stage->run.counts = true;
    stage->run.stream.position = state->step;
    stage->run.observe = stage->profile && stage->run.options->profile_every > 0;
    if (stage->run.observe)
        TRY(bg_collector_make(&stage->collector, stage->profile, stage->run.options->profile_bins));
    stage->epoch_start = now();
out:
    return rc;
}

static enum bg_status record_displacement(struct stage *stage)
{
    enum bg_status rc = BG_OK;
    struct bg_trainer *trainer = stage->run.trainer;
    struct bg_profile *profile = stage->profile;
    if (profile && displaces(stage)) {
        TRY(bg_profile_add_cycle(profile, stage->state->step));
        for (int i = 0; i < profile->layers; i++) {
            *bg_profile_displacement_at(profile, profile->cycles - 1, BG_REFERENCE_INITIAL, i) =
                bg_anchor_displacement(&trainer->initial, trainer->graph, i);
            *bg_profile_displacement_at(profile, profile->cycles - 1, BG_REFERENCE_PREVIOUS, i) =
                bg_anchor_displacement(&trainer->previous, trainer->graph, i);
        }
    }
    if (trainer->anchored)
        bg_anchor_take(&trainer->previous, trainer->graph);
out:
    return rc;
}

/* Evaluation, displacement and the epoch's row. The sums are cleared before the hook sees the
 * state, so that a checkpoint made there does not end the epoch a second time. */
static enum bg_status end_epoch(struct stage *stage)
{
    enum bg_status rc = BG_OK;
    struct bg_train_state *state = stage->state;
    struct bg_evaluation evaluation = {.accuracy = (double)NAN, .loss = (double)NAN};
    const struct bg_trainer_run *run = &stage->run;
    double samples = (double)state->epoch_samples;
    struct bg_train_epoch_row row = {
        .epoch = state->step / run->steps_per_epoch,
        .step = state->step,
        .lr = bg_train_lr(run->options, state->step - 1, run->steps_per_epoch),
        .train_loss = state->epoch_loss_sum / samples,
        .train_accuracy = (double)state->epoch_correct / samples};
    if (stage->validation)
        TRY(bg_trainer_evaluate(run->trainer, stage->validation, &evaluation));
    TRY(record_displacement(stage));
    bg_trainer_warn_lost(run->trainer->graph);
    bg_trainer_end_moves(run);
    row.moves = run->trainer->moved;
    row.validation_loss = evaluation.loss;
    row.validation_accuracy = evaluation.accuracy;
    if (stage->validation && evaluation.accuracy > state->best_accuracy) {
        state->best_accuracy = evaluation.accuracy;
        state->best_epoch = row.epoch;
    }
    state->epoch_samples = state->epoch_correct = 0;
    state->epoch_loss_sum = 0;
    row.seconds = now() - stage->epoch_start;
    stage->epoch_start = now();
    if (stage->hooks && stage->hooks->on_epoch)
        TRY(stage->hooks->on_epoch(stage->hooks->self, &row, stage->validation ? &evaluation : NULL,
                                   state));
out:
    if (rc == BG_E_NUMERIC)
        rc = bg_fail_prefix(rc, "validation after step %lld, lr %g: ", (long long)row.step, row.lr);
    return rc;
}

static enum bg_status one_step(struct stage *stage)
{
    enum bg_status rc = BG_OK;
    struct bg_train_state *state = stage->state;
    struct bg_train_step_row row = {0};
    bool record = stage->run.observe && state->step % stage->run.options->profile_every == 0;
    TRY(bg_trainer_run_step(&stage->run, state->step, state->step,
                            record ? &stage->collector : NULL, &row));
    state->step++;
    state->epoch_samples += row.size;
    state->epoch_correct += row.correct;
    state->epoch_loss_sum += row.loss * (double)row.size;
    if (stage->hooks && stage->hooks->on_step)
        TRY(stage->hooks->on_step(stage->hooks->self, &row, state));
out:
    return rc;
}

/* True when all of an epoch's steps are done but its end is not: after the last step, and when a
 * run resumes from a state saved just there. */
static bool epoch_is_full(const struct stage *stage)
{
    return stage->state->epoch_samples > 0 && stage->state->step % stage->run.steps_per_epoch == 0;
}

/* Steps after which this call returns. */
static int64_t stage_end(const struct stage *stage)
{
    int64_t until = stage->hooks ? stage->hooks->until : 0;
    if (until == 0 || until >= stage->run.options->epochs)
        return stage->total;
    return until * stage->run.steps_per_epoch;
}

enum bg_status bg_trainer_train(struct bg_trainer *trainer, const struct bg_train_options *options,
                                struct bg_source *train, struct bg_source *validation,
                                struct bg_train_state *state, const struct bg_train_hooks *hooks)
{
    enum bg_status rc = BG_OK;
    struct stage stage = {.validation = validation,
                          .state = state,
                          .hooks = hooks,
                          .profile = hooks ? hooks->profile : NULL};
    TRY(bg_trainer_run_begin(&stage.run, trainer, options, train));
    TRY(bg_product(options->epochs, stage.run.steps_per_epoch, &stage.total));
    TRY(begin(&stage));
    stage.run.end = stage_end(&stage);
    for (;;) {
        if (epoch_is_full(&stage))
            TRY(end_epoch(&stage));
        if (state->step >= stage.run.end)
            break;
        if (stage.run.stream.started && bg_stop_requested())
            FAIL(BG_E_INTERRUPTED, "training stopped on request after step %lld of %lld",
                 (long long)state->step, (long long)stage.total);
        TRY(one_step(&stage));
    }
out:
    bg_collector_free(&stage.collector);
    bg_trainer_run_end(&stage.run);
    return rc;
}
