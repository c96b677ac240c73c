/* The oracle for small networks: every combination of bits was tried (measure combinations), so the
 * best plan within a budget is known and not estimated: bg_oracle_best. Losses of combinations are
 * no sums over layers. For rankings and allocators each layer stands with its main effect: the mean
 * loss of all combinations in which it has these bits, minus that in which it has the most (ours).
 */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "policies/oracle.h"
#include "policies/weigh.h"

extern const struct bg_select_method bg_select_oracle;

struct options {
    char measure[BG_OPTION_TEXT];
};

static const struct bg_option table[] = {{.key = "measure",
                                          .type = BG_OPT_TEXT,
                                          .offset = offsetof(struct options, measure),
                                          .fallback = "combinations",
                                          .help = "its name in profile.measures"},
                                         {.key = NULL}};

enum bg_status bg_oracle_open(struct bg_oracle *out, const struct bg_select_input *input,
                              const char *measure)
{
    const struct bg_measurements *measures = input->measures;
    int index = bg_measurements_index(measures, measure);
    double wanted = measures ? pow(measures->candidates, input->layers) : 0;
    int64_t first = -1, count = 0;

    *out = (struct bg_oracle){.layers = input->layers};
    if (!measures || index < 0)
        return bg_fail(BG_E_DATA,
                       "oracle: the run has no measure \"%s\"; add it to profile.measures and run "
                       "the profile stage",
                       measure);
    for (int64_t r = 0; r < measures->rows; r++) {
        const struct bg_measure_row *row = &measures->row[r];
        if (row->measure != index || row->layer != -1 || (double)count >= wanted)
            continue;
        if (!isfinite(row->value))
            return bg_fail(BG_E_NUMERIC, "oracle: the loss of combination %lld is %g",
                           (long long)count, row->value);
        first = first < 0 ? r : first;
        count++;
    }
    if (count < 1 || (double)count < wanted)
        return bg_fail(BG_E_DATA,
                       "oracle: \"%s\" has %lld of %.3g combinations; run the profile stage again",
                       measure, (long long)count, wanted);
    out->candidates = measures->candidates;
    out->bits = measures->bits;
    out->count = count;
    out->row = &measures->row[first]; /* a measure's rows stand together */
    return BG_OK;
}

int bg_oracle_choice(const struct bg_oracle *oracle, int64_t combination, int layer)
{
    for (int i = oracle->layers - 1; i > layer; i--)
        combination /= oracle->candidates;
    return (int)(combination % oracle->candidates);
}

static double cost_of(const struct bg_oracle *oracle, const double *cost, int64_t combination)
{
    double sum = 0;
    for (int i = 0; i < oracle->layers; i++)
        sum += cost[i * oracle->candidates + bg_oracle_choice(oracle, combination, i)];
    return sum;
}

enum bg_status bg_oracle_best(const struct bg_oracle *oracle, const double *cost, double budget,
                              int64_t *best)
{
    double least = DBL_MAX;
    *best = -1;
    for (int64_t i = 0; i < oracle->count; i++) {
        double sum = cost_of(oracle, cost, i);
        least = sum < least ? sum : least;
        if (sum <= budget && (*best < 0 || oracle->row[i].value < oracle->row[*best].value))
            *best = i;
    }
    if (*best < 0)
        return bg_fail(BG_E_RANGE, "oracle: no combination costs at most %g, the cheapest costs %g",
                       budget, least);
    return BG_OK;
}

static double main_effect(const struct bg_oracle *oracle, int layer, int candidate)
{
    double sum[2] = {0, 0};
    int64_t count[2] = {0, 0};
    for (int64_t i = 0; i < oracle->count; i++) {
        int choice = bg_oracle_choice(oracle, i, layer);
        if (choice == candidate) {
            sum[0] += oracle->row[i].value;
            count[0]++;
        }
        if (choice == oracle->candidates - 1) {
            sum[1] += oracle->row[i].value;
            count[1]++;
        }
    }
    return sum[0] / (double)count[0] - sum[1] / (double)count[1];
}

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const char *measure = ((const struct options *)options)->measure;
    struct bg_oracle oracle;
    enum bg_status rc = BG_OK;

    TRY(bg_oracle_open(&oracle, input, measure));
    for (int c = 0; c < out->candidates; c++) {
        int at = 0;
        for (int i = 0; i < out->layers && out->bits[c] == 0; i++) /* f32 */
            *bg_penalties_at(out, i, BG_ROLE_WEIGHT, c) = 0;
        if (out->bits[c] == 0)
            continue;
        while (at < oracle.candidates && oracle.bits[at] != out->bits[c])
            at++;
        if (at == oracle.candidates)
            FAIL(BG_E_DATA,
                 "oracle: \"%s\" was not measured at %d bits; add %d to profile.candidates and run "
                 "the profile stage",
                 measure, out->bits[c], out->bits[c]);
        for (int i = 0; i < out->layers; i++)
            *bg_penalties_at(out, i, BG_ROLE_WEIGHT, c) = main_effect(&oracle, i, at);
    }
    out->speaks[BG_ROLE_WEIGHT] = true;
    (void)snprintf(out->silent, sizeof out->silent,
                   "oracle says nothing of activations by themselves");
out:
    return rc;
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    int bits = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_weigh_rank(&bg_select_oracle, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "mean loss with the layer at %d bits over all combinations (%.60s), smallest "
                   "first",
                   bits, ((const struct options *)options)->measure);
out:
    return rc;
}

const struct bg_select_method bg_select_oracle = {
    .name = "oracle",
    .help = "small networks: the measured loss of every combination of bits",
    .source = "exhaustive search; main effects as scores are ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
