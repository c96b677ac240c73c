/* HAWQ-V2 (Dong et al., NeurIPS 2020): the mean Hessian trace of a layer times the squared norm of
 * its weights' quantization error, tr(H)/n * ||Q(W) - W||^2. Of activations it says nothing by
 * itself; `activations` names a measure of Fisher traces that stands in (ours), in the same form.
 */
#include <stdio.h>

#include "core/mem.h"

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_hessian;

struct options {
    char measure[BG_OPTION_TEXT], weights[BG_OPTION_TEXT];
    char activations[BG_OPTION_TEXT], errors[BG_OPTION_TEXT];
    bool clamp;
};

static const struct bg_option table[] = {
    {.key = "measure",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, measure),
     .fallback = "hessian",
     .help = "measure of the traces (its name in profile.measures)"},
    {.key = "weights",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, weights),
     .fallback = "weight-error",
     .help = "measure of the weights' error"},
    {.key = "activations",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, activations),
     .fallback = "''",
     .help = "measure of Fisher traces for activations (ours); empty: weights alone"},
    {.key = "errors",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, errors),
     .fallback = "activation-error",
     .help = "measure of the activations' error"},
    {.key = "clamp",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, clamp),
     .fallback = "true",
     .help = "a negative trace counts as 0 (ours): more error never pays"},
    {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    const struct bg_weigh_key traces[2] = {{o->measure, BG_MEASURED_TRACE},
                                           {o->activations, BG_MEASURED_TRACE}};
    struct bg_weigh weigh = {.criterion = "hessian",
                             .rows = {{o->weights, BG_MEASURED_MEAN_SQUARE}},
                             .silent = "name a measure of Fisher traces as `activations`"};
    double *factor = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&factor, 2 * (int64_t)input->layers, sizeof *factor));
    for (int i = 0; i < 2 * input->layers; i++)
        factor[i] = 1;
    TRY(bg_weigh_factors("hessian", input, &traces[0], BG_ROLE_WEIGHT, factor));
    for (int i = 0; i < input->layers && o->clamp; i++)
        factor[i] = factor[i] > 0 ? factor[i] : 0;
    if (*o->activations) {
        weigh.rows[1] = (struct bg_weigh_key){o->errors, BG_MEASURED_MEAN_SQUARE};
        TRY(bg_weigh_factors("hessian", input, &traces[1], BG_ROLE_ACTIVATION,
                             factor + input->layers));
    }
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
    TRY(bg_weigh_rank(&bg_select_hessian, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "mean Hessian trace (%.60s) times squared error at %d bits%s, smallest first",
                   o->measure, bits, o->clamp ? ", negative traces as 0" : "");
out:
    return rc;
}

const struct bg_select_method bg_select_hessian = {
    .name = "hessian",
    .help = "HAWQ-V2: layers with a small Hessian trace times squared error take fewer bits first",
    .source = "HAWQ-V2: Dong et al., NeurIPS 2020; clamp and activations are ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
