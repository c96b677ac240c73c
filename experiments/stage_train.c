/* Training and fine-tuning: the trainer's rows go into the record, checkpoints are written at
 * epochs and at every so many steps. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "experiments/run.h"
#include "experiments/terminal.h"

struct training {
    struct bg_run *run;
    const struct bg_train_options *options;
    const char *name;
    struct bg_table *steps, *epochs;
    enum bg_updated updated;
    int64_t total; /* steps of the stage */
    int64_t until; /* epochs after which layers are selected again; 0 = never */
};

static enum bg_status on_step(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state)
{
    struct training *training = (struct training *)self;
    int64_t every = training->run->recipe->every_steps;
    union bg_cell *cell = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_table_add(training->steps, &cell));
    cell[BG_STEP_STEP].integer = row->step;
    cell[BG_STEP_LR].real = row->lr;
    cell[BG_STEP_LOSS].real = row->loss;
    cell[BG_STEP_SIZE].integer = row->size;
    cell[BG_STEP_CORRECT].integer = row->correct;
    bg_log_progress(training->name, state->step, training->total, "loss %.3f", row->loss);
    if (every > 0 && state->step % every == 0)
        TRY(bg_run_checkpoint(training->run));
out:
    return rc;
}

static void say_epoch(const struct training *training, const struct bg_train_epoch_row *row,
                      bool validated)
{
    char validation[96] = "";
    if (validated)
        (void)snprintf(validation, sizeof validation, "; validation loss %.4f, accuracy %.2f %%",
                       row->validation_loss, 100.0 * row->validation_accuracy);
    bg_log(BG_LOG_INFO, "%s: epoch %lld of %lld: loss %.4f, accuracy %.2f %%%s (%.1f s)",
           training->name, (long long)row->epoch, (long long)training->options->epochs,
           row->train_loss, 100.0 * row->train_accuracy, validation, row->seconds);
}

static enum bg_status on_epoch(void *self, const struct bg_train_epoch_row *row,
                               const struct bg_evaluation *evaluation,
                               const struct bg_train_state *state)
{
    struct training *training = (struct training *)self;
    int64_t every = training->run->recipe->every_epochs;
    union bg_cell *cell = NULL;
    enum bg_status rc = BG_OK;

    (void)state; /* the run's own */
    TRY(bg_table_add(training->epochs, &cell));
    cell[BG_EPOCH_EPOCH].integer = row->epoch;
    cell[BG_EPOCH_STEP].integer = row->step;
    cell[BG_EPOCH_LR].real = row->lr;
    cell[BG_EPOCH_TRAIN_LOSS].real = row->train_loss;
    cell[BG_EPOCH_TRAIN_ACCURACY].real = row->train_accuracy;
    cell[BG_EPOCH_VALIDATION_LOSS].real = row->validation_loss;
    cell[BG_EPOCH_VALIDATION_ACCURACY].real = row->validation_accuracy;
    if (row->moves)
        TRY(bg_record_add_updates(&training->run->record, training->updated, row->epoch,
                                  row->moves));
    say_epoch(training, row, evaluation != NULL);
    bg_run_timing(training->run, training->name, row->epoch, row->seconds);
    if (every > 0 && row->epoch % every == 0 && row->epoch < training->options->epochs)
        TRY(bg_run_checkpoint(training->run));
out:
    return rc;
}

/* What `compute: fast` comes to with the plan that is on the network. */
static enum bg_status say_fastness(const struct training *training)
{
    struct bg_run *run = training->run;
    struct bg_fastness fastness;
    char text[512];
    enum bg_status rc = BG_OK;

    if (run->recipe->top.compute != BG_COMPUTE_FAST ||
        bg_graph_quantizer_count(run->net->graph) == 0)
        goto out;
    TRY(bg_trainer_fastness(run->trainer, training->options->batch, &fastness));
    bg_log(BG_LOG_INFO, "%s: %s", training->name, bg_fastness_text(&fastness, text, sizeof text));
out:
    return rc;
}

/* A method that moves integers needs a layer that has them; what has none is moved by sgd. */
static enum bg_status check_update(const struct training *training)
{
    const struct bg_graph *graph = training->run->net->graph;
    const char *name = training->options->update;
    bool integer = false;
    for (int i = 0; bg_update_methods[i]; i++)
        integer = integer || (!strcmp(bg_update_methods[i]->name, name) &&
                              bg_update_methods[i]->prepare && !bg_update_methods[i]->moves);
    for (int i = 0; integer && i < bg_graph_layer_count(graph); i++) {
        const struct bg_param *weight = bg_graph_layer_weight(graph, i);
        if (weight->quantizer && weight->quantizer->grid.bits >= 2)
            return BG_OK;
    }
    return !integer ? BG_OK
                    : bg_fail(BG_E_UNSUPPORTED,
                              "%s.update: %s moves integer weights of 2 to 16 bits, the plan has "
                              "none: set quantize.weight_bits or quantize.plan",
                              training->name, name);
}

/* What the weights took, when any were integers. */
static void say_bytes(const struct training *training)
{
    struct bg_store_bytes integers, masters;
    bg_trainer_bytes(training->run->net->graph, &integers, &masters);
    if (integers.weights == 0)
        return;
    double n = (double)integers.weights;
    int64_t all = integers.weights + masters.weights;
    bg_log(BG_LOG_INFO,
           "%s: %lld of %lld weights in integers, bytes per weight: codes %.2f, below %.2f, "
           "momentum %.2f, f32 copies %.2f, gradient %.2f",
           training->name, (long long)integers.weights, (long long)all, (double)integers.codes / n,
           (double)integers.below / n, (double)integers.momentum / n, (double)integers.values / n,
           (double)integers.gradient / n);
    for (int i = 0; i < bg_graph_layer_count(training->run->net->graph); i++) {
        const struct bg_param *weight = bg_graph_layer_weight(training->run->net->graph, i);
        const struct bg_store *store = weight->store;
        if (store && store->updates > 0)
            bg_log(BG_LOG_INFO,
                   "%s: %s: of %lld steps %.3f %% changed a code, %.3f %% were lost, %.4f %% "
                   "stopped at an end",
                   training->name, weight->name, (long long)store->updates,
                   100.0 * (double)store->written / (double)store->updates,
                   100.0 * (double)store->lost / (double)store->updates,
                   100.0 * (double)store->saturated / (double)store->updates);
    }
}

/* Does fine-tuning stand where a later selection has just given it a plan? */
static bool is_replanned(const struct bg_run *run)
{
    const int rounds = bg_record_rounds(&run->record);
    return bg_run_stage(run) == BG_STAGE_FINETUNE && rounds > 1 &&
           run->state.step == bg_record_round(&run->record, rounds - 1).step;
}

static enum bg_status train(struct training *training, struct bg_profile *profile)
{
    struct bg_run *run = training->run;
    struct bg_train_hooks hooks = {.self = training,
                                   .on_step = on_step,
                                   .on_epoch = on_epoch,
                                   .profile = profile,
                                   .until = training->until,
                                   .replanned = is_replanned(run)};
    struct bg_source *source = NULL, *validation = NULL;
    enum bg_status rc = BG_OK;

    TRY(check_update(training));
    TRY(bg_run_source(run, BG_PART_TRAIN, training->options->batch, true, &source));
    if (run->data->validation_count > 0)
        TRY(bg_run_source(run, BG_PART_VALIDATION, run->recipe->eval_batch, false, &validation));
    if (training->options->epochs > 0 &&
        training->options->warmup > (double)training->options->epochs)
        bg_log(BG_LOG_WARN, "%s: warmup of %g epochs is longer than the %lld trained",
               training->name, training->options->warmup, (long long)training->options->epochs);
    training->total = training->options->epochs * bg_source_batches(source);
    TRY(say_fastness(training));
    rc = bg_trainer_train(run->trainer, training->options, source, validation, &run->state, &hooks);
    if (rc == BG_OK) {
        say_bytes(training);
        TRY(bg_record_add_memory(&run->record, training->updated, run->net->graph));
        run->record.remembered[training->updated] = bg_trainer_remembered(run->trainer);
    }
    if (rc == BG_E_INTERRUPTED) {
        TRY(bg_run_checkpoint(run));
        rc = BG_E_INTERRUPTED;
    }
out:
    bg_loader_destroy(source);
    bg_loader_destroy(validation);
    return rc;
}

/* First ranges for a plan that is there before training. */
static enum bg_status start_with_plan(struct bg_run *run)
{
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_run_apply(run, &run->start));
    TRY(bg_run_write_plan(run, "train"));
    TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, false, &source));
    TRY(bg_trainer_calibrate(run->trainer, source, run->recipe->quantize.calibration_batches,
                             run->recipe->quantize.recalibrate_bn));
out:
    bg_loader_destroy(source);
    return rc;
}

enum bg_status bg_stage_train(struct bg_run *run)
{
    struct training training = {.run = run,
                                .options = &run->recipe->train,
                                .name = "train",
                                .steps = &run->record.table[BG_TABLE_TRAIN_STEPS],
                                .epochs = &run->record.table[BG_TABLE_TRAIN_EPOCHS],
                                .updated = BG_UPDATED_TRAIN};
    enum bg_status rc = BG_OK;
    if (run->state.step == 0 && run->start.count > 0)
        TRY(start_with_plan(run));
    TRY(train(&training, &run->record.profile[BG_PROFILE_TRAIN]));
out:
    return rc;
}

enum bg_status bg_stage_finetune(struct bg_run *run)
{
    struct training training = {.run = run,
                                .options = &run->recipe->finetune,
                                .name = "finetune",
                                .until = bg_recipe_rounds(run->recipe) == 1
                                             ? 0
                                             : bg_record_rounds(&run->record) *
                                                   run->recipe->select.every,
                                .steps = &run->record.table[BG_TABLE_FINETUNE_STEPS],
                                .epochs = &run->record.table[BG_TABLE_FINETUNE_EPOCHS],
                                .updated = BG_UPDATED_FINETUNE};
    return train(&training, &run->record.profile[BG_PROFILE_FINETUNE]);
}
