/* The uniform baseline: every layer is as good as any other. All scores are 0, so layers stand in
 * the network's order (or its reverse); with `search: count` every ranked layer takes the second
 * precision, which is the plain uniform plan that other policies must beat. Measures nothing. */
#include <math.h>
#include <stdio.h>

#include "policies/select.h"

struct uniform_options {
    int order;
};

static const char *const orders[] = {"forward", "backward", NULL};

static const struct bg_option table[] = {{.key = "order",
                                          .type = BG_OPT_CHOICE,
                                          .offset = offsetof(struct uniform_options, order),
                                          .fallback = "forward",
                                          .choices = orders,
                                          .help = "which end of the network a prefix takes first"},
                                         {.key = NULL}};

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct uniform_options *o = options;
    for (int i = 0; i < input->layers; i++)
        out->score[i] = 0;
    bg_ranking_sort(out, input->pinned, false);
    if (o->order == 1) {
        for (int i = 0, j = out->count - 1; i < j; i++, j--) {
            int layer = out->order[i];
            out->order[i] = out->order[j];
            out->order[j] = layer;
        }
    }
    (void)snprintf(out->note, sizeof out->note, "nothing measured: %s through the network",
                   orders[o->order]);
    return BG_OK;
}

/* Every weight and every input value alike, with noise that falls by 4 with each bit: under a
 * budget of mean bits the least sum is the same bits everywhere. */
static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    (void)options;
    for (int i = 0; i < input->layers; i++)
        for (int c = 0; c < out->candidates; c++) {
            double noise = out->bits[c] > 0 ? ldexp(1, -2 * out->bits[c]) : 0;
            double inputs = input->activations ? (double)input->activations[i] : 1;
            *bg_penalties_at(out, i, BG_ROLE_WEIGHT, c) = noise * (double)input->weights[i];
            *bg_penalties_at(out, i, BG_ROLE_ACTIVATION, c) = noise * inputs;
        }
    out->speaks[BG_ROLE_WEIGHT] = out->speaks[BG_ROLE_ACTIVATION] = true;
    return BG_OK;
}

extern const struct bg_select_method bg_select_uniform;
const struct bg_select_method bg_select_uniform = {
    .name = "uniform",
    .help = "no measurement: layers in network order; with search: count, all layers alike",
    .source = "common practice (baseline)",
    .options = table,
    .options_size = sizeof(struct uniform_options),
    .rank = rank,
    .penalties = penalties};
