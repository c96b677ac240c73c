/* The order of work: each stage from where the run stands, a checkpoint after each. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "experiments/result.h"
#include "experiments/run.h"
#include "experiments/terminal.h"

static const struct {
    enum bg_status (*work)(struct bg_run *run);
    bool keeps; /* its network is kept as checkpoint-<stage>.h5 */
} stages[BG_STAGES] = {
    [BG_STAGE_TRAIN] = {bg_stage_train, true},
    [BG_STAGE_PROFILE] = {bg_stage_profile, false},
    [BG_STAGE_SELECT] = {bg_stage_select, true},
    [BG_STAGE_FINETUNE] = {bg_stage_finetune, true},
    [BG_STAGE_EVALUATE] = {bg_stage_evaluate, false},
    [BG_STAGE_VERIFY] = {bg_stage_verify, false},
    [BG_STAGE_REPORT] = {bg_stage_report, false},
};

static enum bg_status interrupted(const struct bg_run *run, enum bg_stage stage)
{
    if (run->state.step > 0 && (stage == BG_STAGE_TRAIN || stage == BG_STAGE_FINETUNE))
        return bg_fail(BG_E_INTERRUPTED,
                       "stopped in stage %s after step %lld; the same command goes on from there",
                       bg_stage_names[stage], (long long)run->state.step);
    return bg_fail(BG_E_INTERRUPTED, "stopped in stage %s; the same command goes on from there",
                   bg_stage_names[stage]);
}

static enum bg_status finish(struct bg_run *run)
{
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;
    TRY(bg_run_describe(run));
    TRY(bg_path_join(path, run->dir, "result.json"));
    TRY(bg_result_write(&run->record, path));
out:
    return rc;
}

/* To the next stage; or, where fine-tuning has more epochs than one round takes, back to profile
 * and select. Between the rounds the position in fine-tuning stays what it is. */
static enum bg_status go_on(struct bg_run *run, enum bg_stage stage)
{
    const struct bg_recipe *recipe = run->recipe;
    int rounds = bg_recipe_rounds(recipe);
    enum bg_status rc = BG_OK;

    if (stage == BG_STAGE_FINETUNE && bg_record_rounds(&run->record) < rounds) {
        TRY(bg_record_begin_round(&run->record, run->state.step));
        while (recipe->stage[run->stage] != BG_STAGE_SELECT)
            run->stage--;
        if (run->stage > 0 && recipe->stage[run->stage - 1] == BG_STAGE_PROFILE)
            run->stage--;
        goto out;
    }
    run->stage++;
    if (bg_record_rounds(&run->record) == 1 || stage == BG_STAGE_FINETUNE)
        run->state = (struct bg_train_state){0};
out:
    return rc;
}

static enum bg_status one_stage(struct bg_run *run, enum bg_stage stage)
{
    double began = bg_terminal_clock();
    enum bg_status rc = BG_OK;

    rc = stages[stage].work(run);
    if (rc == BG_E_INTERRUPTED)
        return interrupted(run, stage);
    TRY(rc);
    TRY(go_on(run, stage));
    if (run->stage == run->recipe->stages)
        TRY(finish(run));
    if (stages[stage].keeps)
        TRY(bg_run_keep(run, bg_stage_names[stage]));
    TRY(bg_run_checkpoint(run));
    bg_run_timing(run, bg_stage_names[stage], -1, bg_terminal_clock() - began);
    if (bg_stop_requested() && run->stage < run->recipe->stages)
        return interrupted(run, bg_run_stage(run));
out:
    return rc;
}

enum bg_status bg_run_work(struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    if (run->resumed)
        bg_log(BG_LOG_INFO, "%s: going on with stage %s after step %lld", run->dir,
               bg_stage_names[bg_run_stage(run)], (long long)run->state.step);
    else if (!bg_recipe_has_stage(run->recipe, BG_STAGE_TRAIN))
        TRY(bg_run_keep(run, "initial"));
    while (run->stage < run->recipe->stages)
        TRY(one_stage(run, bg_run_stage(run)));
out:
    return rc;
}
