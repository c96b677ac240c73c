/* output-error: how far an output moves when one layer alone takes a candidate's bits, in its
 * weights or in the tensor it reads. Known as the layer-wise output error of post-training tools;
 * with the logits and their softmax it is what ZeroQ (Cai et al., CVPR 2020) calls the sensitivity
 * of a layer (recalled). */
#include "policies/alone.h"

extern const struct bg_measure_method bg_measure_output_error;

struct options {
    int output, metric;
    bool weights, activations;
};
static const char *const outputs[] = {"logits", "layer", NULL};
static const char *const metrics[] = {"l2", "relative", "kl", NULL};

static const struct bg_option table[] = {
    {.key = "output",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, output),
     .fallback = "logits",
     .choices = outputs,
     .help = "of the network, or of the layer itself"},
    {.key = "metric",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, metric),
     .fallback = "l2",
     .choices = metrics,
     .help =
         "squared L2 norm of the change, the same over the squared norm of the output, or KL of "
         "the softmax (logits)"},
    {.key = "weights",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, weights),
     .fallback = "true",
     .help = "measure weights"},
    {.key = "activations",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, activations),
     .fallback = "true",
     .help = "measure the tensors that layers read"},
    {.key = NULL}};

static enum bg_status check(const void *options)
{
    const struct options *o = options;
    if (o->output == 1 && o->metric == 2)
        return bg_fail(BG_E_DATA, "output-error: metric kl is of the logits, not of a layer");
    return BG_OK;
}

static const int kinds[] = {BG_MEASURED_OUTPUT, BG_MEASURED_RELATIVE, BG_MEASURED_DIVERGENCE};

static unsigned brings(const void *options)
{
    return 1U << kinds[((const struct options *)options)->metric];
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    const struct options *o = options;
    const struct bg_output_change change = {.kind = kinds[o->metric],
                                            .layer_alone = o->output == 1};
    const bool roles[2] = {o->weights, o->activations};
    return bg_measure_alone(measurer, &change, roles);
}

const struct bg_measure_method bg_measure_output_error = {
    .name = "output-error",
    .help = "change of the logits or of a layer's output when that layer alone takes fewer bits",
    .source = "common practice; KL of the softmax as in ZeroQ (CVPR 2020)",
    .options = table,
    .options_size = sizeof(struct options),
    .check = check,
    .run = run,
    .brings = brings};
