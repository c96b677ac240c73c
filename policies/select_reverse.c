/* The reverse of any policy: the control that tells whether a criterion's order means anything. Its
 * order is turned round; its penalties change hands, so that the layer with the least sum of
 * penalties gets those of the layer with the most, and so on inwards. Each layer's penalties keep
 * falling with more bits as they did. */
#include <math.h>
#include <stdio.h>

#include "core/mem.h"
#include "policies/nested.h"

extern const struct bg_select_method bg_select_reverse;

struct options {
    const struct bg_yaml *of;
};

static const struct bg_option table[] = {{.key = "of",
                                          .type = BG_OPT_NODE,
                                          .offset = offsetof(struct options, of),
                                          .fallback = "none",
                                          .help = "the policy to reverse: a name, or {name: ..., "
                                                  "options}"},
                                         {.key = NULL}};

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    struct bg_nested inner = {.method = NULL};
    char note[sizeof out->note];
    enum bg_status rc = BG_OK;

    TRY(bg_nested_open(&inner, "reverse", ((const struct options *)options)->of, NULL));
    TRY(inner.method->rank(inner.options, input, out));
    for (int i = 0, j = out->count - 1; i < j; i++, j--) {
        int layer = out->order[i];
        out->order[i] = out->order[j];
        out->order[j] = layer;
    }
    out->descending = !out->descending;
    (void)snprintf(note, sizeof note, "reverse of %s: %.200s", inner.method->name, out->note);
    (void)snprintf(out->note, sizeof out->note, "%s", note);
out:
    bg_nested_free(&inner);
    return rc;
}

static void total(const struct bg_penalties *penalties, int role, double *sum)
{
    for (int i = 0; i < penalties->layers; i++) {
        sum[i] = 0;
        for (int c = 0; c < penalties->candidates; c++)
            sum[i] += *bg_penalties_at(penalties, i, (enum bg_role)role, c);
    }
}

/* The order by their sums of layers that are neither pinned nor fixed, ties by index. */
static int sort(const struct bg_select_input *input, const struct bg_penalties *penalties,
                const double *sum, int *order)
{
    int count = 0;
    for (int layer = 0; layer < input->layers; layer++) {
        bool pinned = input->pinned && input->pinned[layer];
        if (pinned || (penalties->fixes && penalties->fixed_layer == layer))
            continue;
        int at = count++;
        for (; at > 0 && sum[layer] < sum[order[at - 1]]; at--)
            order[at] = order[at - 1];
        order[at] = layer;
    }
    return count;
}

static void swap(struct bg_penalties *penalties, int role, int a, int b)
{
    for (int c = 0; c < penalties->candidates; c++) {
        double *left = bg_penalties_at(penalties, a, (enum bg_role)role, c);
        double *right = bg_penalties_at(penalties, b, (enum bg_role)role, c);
        double held = *left;
        *left = *right;
        *right = held;
    }
}

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    struct bg_nested inner = {.method = NULL};
    double *sum = NULL;
    int *order = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_nested_open(&inner, "reverse", ((const struct options *)options)->of, NULL));
    if (!inner.method->penalties)
        FAIL(BG_E_UNSUPPORTED, "%s ranks layers, it has no penalties", inner.method->name);
    TRY(inner.method->penalties(inner.options, input, out));
    TRY(bg_alloc(&sum, input->layers, sizeof *sum));
    TRY(bg_alloc(&order, input->layers, sizeof *order));
    for (int role = 0; role < 2; role++) {
        if (!out->speaks[role])
            continue;
        total(out, role, sum);
        int count = sort(input, out, sum, order);
        for (int i = 0; i < count / 2; i++)
            swap(out, role, order[i], order[count - 1 - i]);
    }
out:
    bg_free(order);
    bg_free(sum);
    bg_nested_free(&inner);
    return rc;
}

const struct bg_select_method bg_select_reverse = {
    .name = "reverse",
    .help = "another policy's order turned round: a control",
    .source = "common practice (baseline); the exchange of penalties is ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
