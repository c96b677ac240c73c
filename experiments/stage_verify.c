/* The verify stage: the integers of the run's final network against the judge, on the first images
 * of the test part. The labels are read for an accuracy that decides nothing. */
#include "core/log.h"
#include "experiments/command.h"
#include "experiments/verify.h"

enum bg_status bg_stage_verify(struct bg_run *run)
{
    struct bg_verification verification = {0};
    struct bg_source *source = NULL;
    const char *why = NULL;
    enum bg_status rc = BG_OK;

    if (!bg_graph_is_integer(run->net->graph, &why)) {
        bg_log(BG_LOG_INFO, "verify: nothing to verify: %s", *why ? why : "the network is in f32");
        goto out;
    }
    TRY(bg_run_source(run, BG_PART_TEST, run->recipe->verify_batch, false, &source));
    TRY(bg_verify(run->trainer, source, run->recipe->verify_images, true, &verification));
    TRY(bg_verification_record(&verification, &run->record));
    if (verification.differ > 0 || verification.mistrusted > 0) {
        bg_command_exit_with(1);
        bg_log(BG_LOG_WARN,
               "verify: %lld of %lld outputs differ from the judge, MISTRUSTED tensors: %d; "
               "'bitgrad verify %s --images %lld' tells which",
               (long long)verification.differ, (long long)verification.outputs,
               verification.mistrusted, run->dir, (long long)verification.images);
    } else {
        bg_log(BG_LOG_INFO, "verify: 0 of %lld outputs differ from the judge (%lld images)",
               (long long)verification.outputs, (long long)verification.images);
    }
out:
    bg_verification_free(&verification);
    bg_loader_destroy(source);
    return rc;
}
