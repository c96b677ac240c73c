/* Gradient times error: layers for which the sum of gradient times quantization error is smallest.
 * Penalty: the row of measure gradient-error at these bits; `statistic` says which of its sums. The
 * signed one is the first-order change of the loss, taken by its size unless `signed` says not. */
#include <stdio.h>

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_gradient_error;

struct options {
    char measure[BG_OPTION_TEXT];
    int statistic;
};
static const char *const statistics[] = {"absolute", "size", "signed", NULL};

static const struct bg_option table[] = {
    {.key = "measure",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, measure),
     .fallback = "gradient-error",
     .help = "its name in profile.measures"},
    {.key = "statistic",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, statistic),
     .fallback = "absolute",
     .choices = statistics,
     .help = "sum of |g * error|, |sum of g * error|, or that sum with its sign"},
    {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    const struct bg_weigh_key key = {o->measure, o->statistic == 0 ? BG_MEASURED_ABSOLUTE
                                                                   : BG_MEASURED_FIRST_ORDER};
    const struct bg_weigh weigh = {
        .criterion = "gradient-error", .rows = {key, key}, .absolute = o->statistic == 1};
    return bg_weigh_fill(&weigh, input, out);
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct options *o = options;
    enum bg_status rc = BG_OK;
    int bits = 0;
    TRY(bg_weigh_rank(&bg_select_gradient_error, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "gradient times error (%s, %.60s) at %d bits, smallest first",
                   statistics[o->statistic], o->measure, bits);
out:
    return rc;
}

const struct bg_select_method bg_select_gradient_error = {
    .name = "gradient-error",
    .help = "layers with a small sum of gradient times quantization error take fewer bits first",
    .source = "common practice (first-order Taylor expansion)",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
