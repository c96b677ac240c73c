/* FIT: the trace of the empirical Fisher matrix times the noise of quantization, of weights and of
 * activations (Zandonati et al., ICLR 2023, arXiv 2210.08502: its abstract was read, the form of
 * the noise model is recalled). `noise: uniform` takes step^2 / 12 of the grid, `measured` (ours)
 * the mean square error as it is. Trace times mean square: the sum over elements of E[g^2] *
 * E[error^2] if the two do not depend on each other. */
#include <stdio.h>

#include "core/mem.h"

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_fisher;

struct options {
    char measure[BG_OPTION_TEXT], weights[BG_OPTION_TEXT], activations[BG_OPTION_TEXT];
    int noise;
};
static const char *const noises[] = {"uniform", "measured", NULL};

static const struct bg_option table[] = {
    {.key = "measure",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, measure),
     .fallback = "fisher",
     .help = "measure of the traces (its name in profile.measures)"},
    {.key = "weights",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, weights),
     .fallback = "weight-error",
     .help = "measure of the weights' error"},
    {.key = "activations",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, activations),
     .fallback = "activation-error",
     .help = "measure of the activations' error"},
    {.key = "noise",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, noise),
     .fallback = "uniform",
     .choices = noises,
     .help = "step^2 / 12 of the grid, or the error itself (ours)"},
    {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    const struct bg_weigh_key trace = {o->measure, BG_MEASURED_TRACE};
    int measured = o->noise == 0 ? BG_MEASURED_STEP_NOISE : BG_MEASURED_MEAN_SQUARE;
    struct bg_weigh weigh = {.criterion = "fisher",
                             .rows = {{o->weights, measured}, {o->activations, measured}}};
    double *factor = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&factor, 2 * (int64_t)input->layers, sizeof *factor));
    for (int i = 0; i < 2 * input->layers; i++)
        factor[i] = 1;
    TRY(bg_weigh_factors("fisher", input, &trace, BG_ROLE_WEIGHT, factor));
    if (bg_weigh_has(input, &weigh.rows[1], BG_ROLE_ACTIVATION))
        TRY(bg_weigh_factors("fisher", input, &trace, BG_ROLE_ACTIVATION, factor + input->layers));
    weigh.factor[0] = factor;
    weigh.factor[1] = factor + input->layers;
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
    TRY(bg_weigh_rank(&bg_select_fisher, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "Fisher trace (%.60s) times %s noise at %d bits, smallest first", o->measure,
                   noises[o->noise], bits);
out:
    return rc;
}

const struct bg_select_method bg_select_fisher = {
    .name = "fisher",
    .help = "FIT: layers with a small Fisher trace times quantization noise take fewer bits first",
    .source = "FIT: Zandonati et al., ICLR 2023 (arXiv 2210.08502); measured noise is ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
