/* The profile stage: gradients of the trained network over batches at fixed weights, and weight
 * displacement over cycles of further training, when asked. The network is as before afterwards. */
#include "core/log.h"
#include "experiments/run.h"

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

static enum bg_status displacement(struct bg_run *run, struct bg_profile *profile)
{
    const struct bg_profile_options *options = &run->recipe->profile;
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, true, &source));
    TRY(bg_trainer_profile_displacement(run->trainer, &run->recipe->train, source, options->cycles,
                                        options->steps, options->reset, profile));
    bg_log(BG_LOG_INFO, "profile: weight displacement over %lld cycles",
           (long long)options->cycles);
out:
    bg_loader_destroy(source);
    return rc;
}

enum bg_status bg_stage_profile(struct bg_run *run)
{
    struct bg_profile *profile = &run->record.profile[BG_PROFILE_STAGE];
    enum bg_status rc = BG_OK;
    if (run->recipe->profile.batches > 0)
        TRY(gradients(run, profile));
    if (run->recipe->profile.cycles > 0)
        TRY(displacement(run, profile));
out:
    return rc;
}
