/* Calibration after a plan is applied: ranges of activations from some batches, then batch norm's
 * running statistics under the quantized network. Ranges are taken with activation quantizers
 * bypassed, so that no range depends on another that is not known yet. */
#include "core/log.h"
#include "policies/trainer_state.h"

/* Ranges become a function of the weights and the batches alone, not of what was seen before. */
static int forget_ranges(struct bg_graph *graph)
{
    int count = 0;
    for (int i = 0; i < bg_graph_quantizer_count(graph); i++) {
        struct bg_quantizer *quantizer = bg_graph_quantizer(graph, i);
        if (quantizer->target != BG_TARGET_ACTIVATION || quantizer->fixed)
            continue;
        count++;
        if (!quantizer->step)
            quantizer->observed = 0;
    }
    return count;
}

static bool has_batch_norm(const struct bg_graph *graph)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        if (bg_graph_param(graph, i)->kind == BG_PARAM_RUNNING_MEAN)
            return true;
    }
    return false;
}

static enum bg_status pass(struct bg_trainer *trainer, struct bg_source *source, int64_t batches,
                           unsigned flags)
{
    enum bg_status rc = BG_OK;
    struct bg_stream stream = {.source = source};
    for (int64_t i = 0; i < batches; i++) {
        struct bg_batch batch = {0};
        struct bg_program *program = NULL;
        struct bg_run_moment moment = {
            .flags = flags, .seed = trainer->config.seed, .step = (uint64_t)i};
        /* Weight 1/(i+1) for the newest batch makes the plain average of all so far. */
        if (flags & BG_RUN_UPDATE_BN)
            moment.bn_momentum = 1 / ((double)i + 1);
        TRY(bg_stream_next(&stream, &batch));
        TRY(bg_trainer_exact_program(trainer, batch.size, &program));
        TRY(bg_program_forward(program, &batch, &moment));
        bg_log_progress("calibrate", i + 1, batches, "%s", "");
    }
out:
    return rc;
}

enum bg_status bg_trainer_calibrate(struct bg_trainer *trainer, struct bg_source *source,
                                    int64_t batches, bool recalibrate_bn)
{
    enum bg_status rc = BG_OK;
    if (batches < 1)
        FAIL(BG_E_RANGE, "calibration from %lld batches, at least 1 is needed", (long long)batches);
    if (forget_ranges(trainer->graph) > 0)
        TRY(pass(trainer, source, batches, BG_RUN_BYPASS | BG_RUN_OBSERVE));
    if (recalibrate_bn && has_batch_norm(trainer->graph))
        TRY(pass(trainer, source, batches, BG_RUN_UPDATE_BN));
out:
    return rc;
}
