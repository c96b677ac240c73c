/* The profile stage: gradients of the trained network over batches at fixed weights, and weight
 * displacement over cycles of further training, when asked, and the measures of the recipe. The
 * network is as before afterwards. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "experiments/run.h"
#include "experiments/select_data.h"
#include "experiments/terminal.h"

static enum bg_status gradients(struct bg_run *run, struct bg_profile *profile)
{
    int64_t batches = run->recipe->profile.batches, most;
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, false, &source));
    most = bg_source_batches(source);
    if (batches > most) {
        bg_log(BG_LOG_WARN, "profile: %lld batches asked for, the training part has %lld",
               (long long)batches, (long long)most);
        batches = most;
    }
    TRY(bg_trainer_profile_gradients(run->trainer, source, batches, profile));
    bg_log(BG_LOG_INFO, "profile: gradients of %d layers over %lld batches", profile->layers,
           (long long)batches);
out:
    bg_loader_destroy(source);
    return rc;
}

/* Cycles train as the train stage does. In a later round weights in integers are such as finetune's
 * method and its options have them, which those of train need not be able to take over. */
static struct bg_train_options cycle_options(const struct bg_run *run)
{
    const struct bg_train_options *finetune = &run->recipe->finetune;
    struct bg_train_options out = run->recipe->train;
    struct bg_store_bytes integers, masters;

    bg_trainer_bytes(run->net->graph, &integers, &masters);
    if (bg_record_rounds(&run->record) < 2 || integers.weights == 0)
        return out;
    memcpy(out.update, finetune->update, sizeof out.update);
    out.update_options = finetune->update_options;
    out.updates = finetune->updates;
    return out;
}

static enum bg_status displacement(struct bg_run *run, struct bg_profile *profile)
{
    const struct bg_profile_options *options = &run->recipe->profile;
    const struct bg_train_options train = cycle_options(run);
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, true, &source));
    TRY(bg_trainer_profile_displacement(run->trainer, &train, source, options->cycles,
                                        options->steps, options->reset, profile));
    bg_log(BG_LOG_INFO, "profile: weight displacement over %lld cycles",
           (long long)options->cycles);
out:
    bg_loader_destroy(source);
    return rc;
}

/* The round of selection that the stage works for. */
static struct bg_round this_round(const struct bg_record *record)
{
    return bg_record_round(record, bg_record_rounds(record) - 1);
}

static bool is_measured(const struct bg_record *record, int measure)
{
    const struct bg_round round = this_round(record);
    for (int64_t r = round.from[BG_ROUND_MEASURES]; r < record->table[BG_TABLE_MEASURES].rows; r++)
        if (bg_record_measure(record, r).measure == measure)
            return true;
    return false;
}

/* What measuring needs and leaves as it was. */
struct measuring {
    struct bg_run *run;
    struct bg_quantize_options quantize;
    struct bg_source *source;
    struct bg_measurer *measurer;
    struct bg_snapshot *trained; /* in the plan it was trained in */
    struct bg_plan base;         /* that plan */
};

/* Measures are taken of the f32 network: its masters, where it was trained in a plan. */
static enum bg_status leave_plan(struct measuring *m)
{
    enum bg_status rc = BG_OK;
    if (m->run->plan.count == 0)
        return BG_OK;
    bg_plan_free(&m->base);
    TRY(bg_plan_copy(&m->base, &m->run->plan));
    TRY(bg_net_snapshot(m->run->net, &m->trained));
    TRY(bg_run_apply(m->run, NULL));
out:
    return rc;
}

static enum bg_status return_to_plan(struct measuring *m)
{
    enum bg_status rc = BG_OK;
    if (m->trained) {
        TRY(bg_run_apply(m->run, &m->base));
        TRY(bg_net_restore(m->run->net, m->trained));
    }
out:
    bg_snapshot_free(m->trained);
    m->trained = NULL;
    bg_plan_free(&m->base);
    return rc;
}

static enum bg_status open_measurer(struct measuring *m)
{
    const struct bg_recipe *recipe = m->run->recipe;
    struct bg_measure_setup setup = {.trainer = m->run->trainer,
                                     .source = m->source,
                                     .batches = recipe->profile.measure_batches,
                                     .calibration = m->source,
                                     .calibration_batches = recipe->quantize.calibration_batches,
                                     .quantize = &m->quantize,
                                     .candidates = recipe->candidates,
                                     .seed = (uint64_t)recipe->top.seed};
    enum bg_status rc = BG_OK;
    for (int i = 0; i < recipe->candidates; i++)
        setup.bits[i] = recipe->candidate_bits[i];
    if (m->measurer)
        return BG_OK;
    TRY(leave_plan(m));
    TRY(bg_measurer_open(&m->measurer, &setup));
out:
    return rc;
}

static enum bg_status close_measurer(struct measuring *m)
{
    enum bg_status closed = bg_measurer_close(m->measurer), returned;
    m->measurer = NULL;
    returned = return_to_plan(m);
    return closed == BG_OK ? returned : closed;
}

/* One measure; its rows enter the record when all of them are there, and a checkpoint follows: a
 * killed stage goes on with the next measure. */
static enum bg_status measure(struct measuring *m, int index)
{
    struct bg_run *run = m->run;
    const struct bg_measure_choice *choice = &run->recipe->measures.at[index];
    struct bg_measure_rows rows = {0};
    double began = bg_terminal_clock();
    char what[BG_NAME_MAX + 16];
    int64_t passes = 0;
    enum bg_status rc = BG_OK;

    TRY(open_measurer(m));
    TRY(bg_measurer_run(m->measurer, choice, index, &rows));
    TRY(bg_measurer_base(m->measurer));
    if (m->trained) /* the checkpoint holds the network in its plan */
        TRY(close_measurer(m));
    for (int64_t r = 0; r < rows.rows; r++) {
        TRY(bg_record_add_measure(&run->record, &rows.row[r]));
        passes += rows.row[r].passes;
    }
    bg_log(BG_LOG_INFO, "profile: %s: %lld rows, %lld sample passes", choice->name,
           (long long)rows.rows, (long long)passes);
    TRY(bg_run_checkpoint(run));
    (void)snprintf(what, sizeof what, "measure %s", choice->name);
    bg_run_timing(run, what, passes, bg_terminal_clock() - began);
out:
    bg_measure_rows_free(&rows);
    return rc;
}

static enum bg_status measures(struct bg_run *run)
{
    struct measuring m = {.run = run, .quantize = bg_recipe_quantize_options(run->recipe)};
    enum bg_status rc = BG_OK, closed = BG_OK;

    if (run->recipe->measures.count > 0)
        TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, false, &m.source));
    for (int i = 0; i < run->recipe->measures.count; i++)
        if (!is_measured(&run->record, i))
            TRY(measure(&m, i));
out:
    closed = close_measurer(&m);
    bg_loader_destroy(m.source);
    return rc == BG_OK ? closed : rc;
}

static enum bg_status try_plan(struct bg_run *run, int weight_bits, int activation_bits)
{
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_net_plan(run->net, weight_bits, activation_bits, &plan));
    TRY(bg_run_apply(run, &plan));
    TRY(bg_run_apply(run, NULL));
out:
    bg_plan_free(&plan);
    return rc;
}

enum bg_status bg_run_check_measures(struct bg_run *run)
{
    const struct bg_recipe *recipe = run->recipe;
    struct bg_measure_rows rows = {0};
    enum bg_status rc = BG_OK;

    if (recipe->measures.count == 0 || !bg_recipe_has_stage(recipe, BG_STAGE_PROFILE))
        return BG_OK;
    TRY(bg_measure_expect(&recipe->measures, run->record.layers, recipe->candidates,
                          recipe->candidate_bits, &rows));
    for (int i = 0; i < recipe->candidates && rc == BG_OK; i++) {
        rc = try_plan(run, recipe->candidate_bits[i], 0);
        if (rc == BG_OK)
            rc = try_plan(run, 0, recipe->candidate_bits[i]);
        if (rc != BG_OK)
            (void)bg_fail_prefix(rc, "profile.candidates: %d: ", recipe->candidate_bits[i]);
    }
out:
    bg_measure_rows_free(&rows);
    return rc;
}

enum bg_status bg_stage_profile(struct bg_run *run)
{
    struct bg_profile *profile = &run->record.profile[BG_PROFILE_STAGE];
    const struct bg_round round = this_round(&run->record);
    bool goes_on = run->recipe->measures.count > 0; /* what is done is saved between measures */
    enum bg_status rc = BG_OK;
    if (run->recipe->profile.batches > 0 && profile->rows == round.from[BG_ROUND_ROWS])
        TRY(gradients(run, profile));
    if (run->recipe->profile.cycles > 0 && profile->cycles == round.from[BG_ROUND_CYCLES])
        TRY(displacement(run, profile));
    if (goes_on && run->record.table[BG_TABLE_MEASURES].rows == round.from[BG_ROUND_MEASURES])
        TRY(bg_run_checkpoint(run));
    TRY(measures(run));
out:
    return rc;
}
