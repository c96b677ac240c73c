/* Output error: layers that move the output least when they alone take fewer bits. Penalty: the
 * row of measure output-error at these bits, of weights and of activations. */
#include <stdio.h>

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_output_error;

struct options {
    char measure[BG_OPTION_TEXT];
    int metric;
};
static const char *const metrics[] = {"l2", "relative", "kl", NULL};
static const int measured[] = {BG_MEASURED_OUTPUT, BG_MEASURED_RELATIVE, BG_MEASURED_DIVERGENCE};

static const struct bg_option table[] = {{.key = "measure",
                                          .type = BG_OPT_TEXT,
                                          .offset = offsetof(struct options, measure),
                                          .fallback = "output-error",
                                          .help = "its name in profile.measures"},
                                         {.key = "metric",
                                          .type = BG_OPT_CHOICE,
                                          .offset = offsetof(struct options, metric),
                                          .fallback = "l2",
                                          .choices = metrics,
                                          .help = "as it was measured"},
                                         {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    const struct bg_weigh_key key = {o->measure, measured[o->metric]};
    const struct bg_weigh weigh = {.criterion = "output-error", .rows = {key, key}};
    return bg_weigh_fill(&weigh, input, out);
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct options *o = options;
    enum bg_status rc = BG_OK;
    int bits = 0;
    TRY(bg_weigh_rank(&bg_select_output_error, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "%s change of the output (%.60s), the layer alone at %d bits, smallest first",
                   metrics[o->metric], o->measure, bits);
out:
    return rc;
}

const struct bg_select_method bg_select_output_error = {
    .name = "output-error",
    .help = "layers that move the output least when they alone take fewer bits",
    .source = "common practice (layer-wise output error)",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
