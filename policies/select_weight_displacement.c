/* P2, weight displacement (US11625577, US11934939, US12393828): layers in the order of how far
 * training moved their weights; those that moved least take fewer bits first, as many as an allowed
 * accuracy drop permits.
 *
 * From the source: train some cycles from W_0, D = W_c - W_0, the mean square of each cycle's
 * differences per layer, ascending order, leaving out the layer with the smallest statistic as a
 * variant, and one overall difference as another (final). Ours: the double mean over cycles and
 * weights, the references `previous` and `reset`, the relative form, and descending order. */
#include <math.h>
#include <stdio.h>

#include "core/mem.h"
#include "policies/weigh.h"

enum { STATISTIC_MEAN_SQUARE, STATISTIC_FINAL };

struct displacement_options {
    int reference, statistic, order;
    int64_t cycles;
    bool relative, skip_smallest;
};

static const char *const references[] = {"initial", "previous", "reset", NULL};
static const char *const statistics[] = {"mean-square", "final", NULL};
static const char *const orders[] = {"ascending", "descending", NULL};
_Static_assert(sizeof references / sizeof *references == BG_REFERENCES + 1,
               "one name per reference");

#define FIELD(name_) offsetof(struct displacement_options, name_)

static const struct bg_option table[] = {
    {.key = "reference",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(reference),
     .fallback = "initial",
     .choices = references,
     .help = "differences against the first weights, the cycle before (ours), or restarts (ours)"},
    {.key = "statistic",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(statistic),
     .fallback = "mean-square",
     .choices = statistics,
     .help = "mean square over the cycles used, or of the last of them alone (cycles: 0 for all)"},
    {.key = "cycles",
     .type = BG_OPT_INT,
     .offset = FIELD(cycles),
     .fallback = "5",
     .min = 0,
     .max = 1000000,
     .help = "use at most this many recorded cycles, from the first; 0 = all"},
    {.key = "relative",
     .type = BG_OPT_BOOL,
     .offset = FIELD(relative),
     .fallback = "false",
     .help = "divide by the mean square of the first weights: D / ||W_0|| (ours)"},
    {.key = "skip_smallest",
     .type = BG_OPT_BOOL,
     .offset = FIELD(skip_smallest),
     .fallback = "false",
     .help = "the layer with the smallest statistic keeps the first precision"},
    {.key = "order",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(order),
     .fallback = "ascending",
     .choices = orders,
     .help = "ascending quantizes the layers that moved least first; descending is ours"},
    {.key = NULL}};

/* A cycle counts when it was measured against the wanted reference. */
static bool measured(const struct bg_profile *profile, int64_t cycle, enum bg_reference reference)
{
    return profile->layers > 0 && !isnan(*bg_profile_displacement_at(profile, cycle, reference, 0));
}

/* MS of one layer over the first `cycles` measured cycles; *used says how many there were. */
static double statistic_of(const struct displacement_options *options,
                           const struct bg_profile *profile, int layer, int64_t *used)
{
    enum bg_reference reference = (enum bg_reference)options->reference;
    double sum = 0, last = 0;
    *used = 0;
    for (int64_t cycle = 0; cycle < profile->cycles; cycle++) {
        if (!measured(profile, cycle, reference))
            continue;
        if (options->cycles > 0 && *used == options->cycles)
            break;
        last = *bg_profile_displacement_at(profile, cycle, reference, layer);
        sum += last;
        ++*used;
    }
    return options->statistic == STATISTIC_FINAL ? last : sum / (double)*used;
}

/* A layer that started at zero and moved has moved infinitely far in relative terms. */
static double relative_of(double square, double initial_square)
{
    if (initial_square > 0)
        return square / initial_square;
    return square > 0 ? (double)INFINITY : 0;
}

static enum bg_status score_layers(const struct displacement_options *options,
                                   const struct bg_profile *profile, double *score, int64_t *used)
{
    for (int layer = 0; layer < profile->layers; layer++) {
        double square = statistic_of(options, profile, layer, used);
        if (*used == 0)
            return bg_fail(BG_E_DATA,
                           "weight-displacement: the profile has no cycle measured against "
                           "\"%s\"; run the train or profile stage so",
                           references[options->reference]);
        if (!isfinite(square))
            return bg_fail(BG_E_NUMERIC, "weight-displacement: layer %s: not finite",
                           profile->names[layer]);
        score[layer] =
            options->relative ? relative_of(square, profile->initial_square[layer]) : square;
    }
    return BG_OK;
}

/* Takes the ranked layer with the smallest score out of the order; of equals the first one. */
static void drop_smallest(struct bg_ranking *ranking)
{
    int at = 0; /* a stable order: equals stand by index */
    for (int i = 1; i < ranking->count; i++)
        at = ranking->score[ranking->order[i]] < ranking->score[ranking->order[at]] ? i : at;
    for (int i = at; i < ranking->count - 1; i++)
        ranking->order[i] = ranking->order[i + 1];
    ranking->count -= ranking->count > 0;
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    enum bg_status rc = BG_OK;
    const struct displacement_options *o = options;
    int64_t used = 0;
    TRY(bg_select_check_profile(input));
    TRY(score_layers(o, input->profile, out->score, &used));
    bg_ranking_sort(out, input->pinned, o->order == 1);
    if (o->skip_smallest)
        drop_smallest(out);
    (void)snprintf(out->note, sizeof out->note,
                   "%smean square of weight displacement against %s, %s%lld cycles, %s%s",
                   o->relative ? "relative " : "", references[o->reference],
                   o->statistic == STATISTIC_FINAL ? "last of " : "over ", (long long)used,
                   orders[o->order], o->skip_smallest ? ", smallest left out" : "");
out:
    return rc;
}

/* The source has an order, no price of bits. Ours: the statistic times the squared norm of the
 * weights' error at these bits (measure weight-error); in descending order one over the statistic.
 */
static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct displacement_options *o = options;
    struct bg_weigh weigh = {.criterion = "weight-displacement",
                             .rows = {{"weight-error", BG_MEASURED_MEAN_SQUARE}},
                             .silent = "it is of weights alone"};
    double *factor = NULL;
    int64_t used = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_select_check_profile(input));
    TRY(bg_alloc(&factor, input->layers, sizeof *factor));
    TRY(score_layers(o, input->profile, factor, &used));
    for (int i = 0; i < input->layers; i++) {
        if (o->order == 1)
            factor[i] = 1 / factor[i];
        factor[i] *= (double)input->weights[i];
    }
    weigh.factor[BG_ROLE_WEIGHT] = factor;
    TRY(bg_weigh_fill(&weigh, input, out));
out:
    bg_free(factor);
    return rc;
}

extern const struct bg_select_method bg_select_weight_displacement;
const struct bg_select_method bg_select_weight_displacement = {
    .name = "weight-displacement",
    .help = "layers whose weights moved least during training take fewer bits first",
    .source = "P2: US11625577, US11934939, US12393828; references other than initial are ours",
    .options = table,
    .options_size = sizeof(struct displacement_options),
    .rank = rank,
    .penalties = penalties};
