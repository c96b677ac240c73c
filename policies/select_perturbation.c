/* P6, perturbation sensitivity (US20240220783A1): the change of an output per squared norm of a
 * random change of the weights, times the squared norm of their quantization error. With rows of
 * `distribution: uniform-step` the measured change at these bits is the penalty itself. Known of
 * the source: perturb, measure the change, turn it into a sensitivity, assign bits by it. All
 * formulas are ours. Of activations the source says nothing: `activations` names a measure of
 * output errors of the same output and metric (ours). */
#include <stdio.h>

#include "core/mem.h"

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_perturbation;

struct options {
    char measure[BG_OPTION_TEXT], weights[BG_OPTION_TEXT], activations[BG_OPTION_TEXT];
    int distribution, metric;
};
static const char *const distributions[] = {"gaussian", "uniform-step", NULL};
static const char *const metrics[] = {"l2", "relative", "kl", "loss", NULL};
enum { METRIC_LOSS = 3 };
static const int measured[] = {BG_MEASURED_OUTPUT, BG_MEASURED_RELATIVE, BG_MEASURED_DIVERGENCE,
                               BG_MEASURED_LOSS};

static const struct bg_option table[] = {
    {.key = "measure",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, measure),
     .fallback = "perturbation",
     .help = "its name in profile.measures"},
    {.key = "weights",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, weights),
     .fallback = "weight-error",
     .help = "gaussian: measure of the weights' error"},
    {.key = "activations",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, activations),
     .fallback = "''",
     .help = "measure of output errors for activations (ours); empty: weights alone"},
    {.key = "distribution",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, distribution),
     .fallback = "gaussian",
     .choices = distributions,
     .help = "as it was measured"},
    {.key = "metric",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, metric),
     .fallback = "l2",
     .choices = metrics,
     .help = "as it was measured; gaussian with loss: the squared change of the mean loss, weights "
             "alone"},
    {.key = NULL}};

/* ||Q(W) - W||^2 is n times the mean square; the sensitivity sums over samples, the penalty is of
 * one. That of the loss is the square of a mean over samples already. */
static enum bg_status fill_factors(const struct options *options,
                                   const struct bg_select_input *input, double *factor)
{
    const struct bg_weigh_key key = {options->measure, BG_MEASURED_SENSITIVITY};
    enum bg_status rc = BG_OK;
    for (int i = 0; i < input->layers; i++)
        factor[i] = (double)input->weights[i];
    TRY(bg_weigh_factors("perturbation", input, &key, BG_ROLE_WEIGHT, factor));
    for (int i = 0; i < input->layers && options->metric != METRIC_LOSS; i++) {
        const struct bg_measure_row where = {
            .measure = bg_measurements_index(input->measures, options->measure),
            .measured = BG_MEASURED_SENSITIVITY,
            .layer = i};
        const struct bg_measure_row *row = bg_measurements_find(input->measures, &where);
        factor[i] /= row && row->samples > 0 ? (double)row->samples : 1;
    }
out:
    return rc;
}

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    struct bg_weigh weigh = {
        .criterion = "perturbation",
        .rows = {{o->weights, BG_MEASURED_MEAN_SQUARE}, {o->activations, measured[o->metric]}},
        .silent = "name a measure of output errors as `activations`"};
    double *factor = NULL;
    enum bg_status rc = BG_OK;

    if (o->distribution == 0 && o->metric == METRIC_LOSS && *o->activations)
        FAIL(BG_E_DATA,
             "perturbation: gaussian with metric loss is the square of a loss, "
             "activations \"%s\" would be a loss; take distribution uniform-step",
             o->activations);
    TRY(bg_alloc(&factor, input->layers, sizeof *factor));
    if (o->distribution == 0) {
        TRY(fill_factors(o, input, factor));
        weigh.factor[0] = factor;
    } else {
        weigh.rows[0] = (struct bg_weigh_key){o->measure, measured[o->metric]};
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
    TRY(bg_weigh_rank(&bg_select_perturbation, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "perturbation (%s, %.60s) at %d bits, smallest first",
                   distributions[o->distribution], o->measure, bits);
out:
    return rc;
}

const struct bg_select_method bg_select_perturbation = {
    .name = "perturbation",
    .help = "P6: layers whose random change moves the output least take fewer bits first",
    .source = "P6: US20240220783A1 (steps); all formulas are ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
