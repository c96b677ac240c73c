/* loss-change: the mean loss over the batches when one layer alone takes a candidate's bits, minus
 * the loss of the f32 network. May be negative. The plain test many tools fall back to. */
#include "policies/alone.h"

extern const struct bg_measure_method bg_measure_loss_change;

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    static const struct bg_output_change change = {.kind = BG_MEASURED_LOSS};
    static const bool roles[2] = {true, true};
    (void)options;
    return bg_measure_alone(measurer, &change, roles);
}

const struct bg_measure_method bg_measure_loss_change = {
    .name = "loss-change",
    .help = "change of the mean loss when one layer alone takes fewer bits",
    .source = "common practice",
    .run = run,
    .quantities = 1U << BG_MEASURED_LOSS};
