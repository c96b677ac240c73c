/* Weight error: layers whose weights lie nearest to their grid take fewer bits first. Penalty: the
 * mean square error of the tensor on its grid (measures weight-error and activation-error), times
 * its number of elements when `norm` is sum. The simplest criterion that measures anything. */
#include <stdio.h>

#include "core/mem.h"

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_weight_error;

struct options {
    char weights[BG_OPTION_TEXT], activations[BG_OPTION_TEXT];
    int norm, noise;
};
static const char *const norms[] = {"mean", "sum", NULL};
static const char *const noises[] = {"measured", "uniform", NULL};

static const struct bg_option table[] = {
    {.key = "weights",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, weights),
     .fallback = "weight-error",
     .help = "measure of the weights (its name in profile.measures)"},
    {.key = "activations",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, activations),
     .fallback = "activation-error",
     .help = "measure of the activations"},
    {.key = "norm",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, norm),
     .fallback = "mean",
     .choices = norms,
     .help = "per element, or summed over the layer (activations: per sample)"},
    {.key = "noise",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, noise),
     .fallback = "measured",
     .choices = noises,
     .help = "the error itself, or step^2 / 12 of the grid"},
    {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    int measured = o->noise == 1 ? BG_MEASURED_STEP_NOISE : BG_MEASURED_MEAN_SQUARE;
    struct bg_weigh weigh = {.criterion = "weight-error",
                             .rows = {{o->weights, measured}, {o->activations, measured}}};
    double *factor = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&factor, 2 * (int64_t)input->layers, sizeof *factor));
    for (int i = 0; i < input->layers; i++) {
        factor[i] = (double)input->weights[i];
        factor[input->layers + i] = input->activations ? (double)input->activations[i] : 1;
    }
    if (o->norm == 1) {
        weigh.factor[0] = factor;
        weigh.factor[1] = factor + input->layers;
        weigh.weights_only = !input->activations;
    }
    TRY(bg_weigh_fill(&weigh, input, out));
out:
    bg_free(factor);
    return rc;
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct options *o = options;
    enum bg_status rc = BG_OK;
    int bits = 0;
    TRY(bg_weigh_rank(&bg_select_weight_error, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "%s error of weights on their grid of %d bits (%s), smallest first",
                   norms[o->norm], bits, noises[o->noise]);
out:
    return rc;
}

const struct bg_select_method bg_select_weight_error = {
    .name = "weight-error",
    .help = "layers whose weights lose least on their grid take fewer bits first",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
