/* P1, the gradient profile (US20210303972A1): layers in the order of how large their gradients
 * were over K data sets at fixed weights; a small gradient means that the loss reacts little to a
 * small change, so such layers take fewer bits first.
 *
 * Known of the source at second hand: forward and backward passes over several data sets at the
 * first precision, and up to three gradients per layer (of its input, its weights, its output). Its
 * text was not seen, so all else is ours: fixed weights, the statistic and its power, averaging the
 * data sets' values and not squaring their average (signs would cancel), the direction of the
 * order, combining quantities by mean rank (their units differ), channel scores, and scaling by the
 * grid step. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "policies/weigh.h"

enum { AGGREGATE_MEAN, AGGREGATE_MAX, AGGREGATE_VARIANCE };
enum { GRANULARITY_LAYER, GRANULARITY_CHANNEL };
enum { CHANNEL_MEAN, CHANNEL_MAX };

struct gradient_options {
    struct bg_text_list quantities;
    int64_t power;
    int aggregate, granularity, channels, order;
    bool scale_by_step;
};

static const char *const aggregates[] = {"mean", "max", "variance", NULL};
static const char *const granularities[] = {"layer", "channel", NULL};
static const char *const channel_names[] = {"mean", "max", NULL};
static const char *const orders[] = {"ascending", "descending", NULL};

#define FIELD(name_) offsetof(struct gradient_options, name_)

static const struct bg_option table[] = {
    {.key = "quantities",
     .type = BG_OPT_TEXTS,
     .offset = FIELD(quantities),
     .fallback = "[weight]",
     .help =
         "gradients of the layers' input, weight, output; several by mean rank (combining ours)"},
    {.key = "power",
     .type = BG_OPT_INT,
     .offset = FIELD(power),
     .fallback = "2",
     .min = 1,
     .max = 2,
     .help = "2: mean square over a data set, 1: mean absolute value (statistic ours)"},
    {.key = "aggregate",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(aggregate),
     .fallback = "mean",
     .choices = aggregates,
     .help = "over the data sets (ours)"},
    {.key = "granularity",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(granularity),
     .fallback = "layer",
     .choices = granularities,
     .help =
         "channel: aggregate per channel first; needs a per-channel profile and power 2 (ours)"},
    {.key = "channels",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(channels),
     .fallback = "mean",
     .choices = channel_names,
     .help = "granularity channel: a layer's score is the mean or max of its channels' (ours)"},
    {.key = "order",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(order),
     .fallback = "ascending",
     .choices = orders,
     .help = "ascending quantizes the layers with small gradients first (direction ours)"},
    {.key = "scale_by_step",
     .type = BG_OPT_BOOL,
     .offset = FIELD(scale_by_step),
     .fallback = "false",
     .help = "weight gradients, power 2: score * step^2 / 12, step of the second precision (ours)"},
    {.key = NULL}};

/* What is being scored. */
struct series {
    const struct bg_profile *profile;
    const struct gradient_options *options;
    enum bg_quantity quantity;
    int layer;
    int64_t channel; /* -1: the layer as a whole */
};

/* a[k]: the statistic of one data set. */
static double value_at(const struct series *series, int64_t row)
{
    if (series->channel >= 0)
        return bg_profile_channels_at(series->profile, row, series->quantity,
                                      series->layer)[series->channel];
    const struct bg_stats *stats =
        bg_profile_at(series->profile, row, series->quantity, series->layer);
    return series->options->power == 1 ? bg_stats_mean_abs(stats) : bg_stats_mean_square(stats);
}

/* S: over the data sets. The variance is that of the population (divided by K). */
static double aggregate(const struct series *series)
{
    int64_t rows = series->profile->rows;
    double sum = 0, largest = 0, spread = 0;
    for (int64_t row = 0; row < rows; row++) {
        double value = value_at(series, row);
        sum += value;
        largest = value > largest ? value : largest;
    }
    double mean = sum / (double)rows;
    if (series->options->aggregate == AGGREGATE_MEAN)
        return mean;
    if (series->options->aggregate == AGGREGATE_MAX)
        return largest;
    for (int64_t row = 0; row < rows; row++) {
        double difference = value_at(series, row) - mean;
        spread += difference * difference;
    }
    return spread / (double)rows;
}

static enum bg_status check_measured(const struct series *series)
{
    const struct bg_profile *profile = series->profile;
    for (int64_t row = 0; row < profile->rows; row++) {
        const struct bg_stats *stats = bg_profile_at(profile, row, series->quantity, series->layer);
        if (stats->count == 0)
            return bg_fail(BG_E_DATA,
                           "gradient-profile: no %s gradients of layer %s at step %lld; run the "
                           "profile stage again",
                           bg_quantity_names[series->quantity], profile->names[series->layer],
                           (long long)profile->row_step[row]);
        if (stats->not_finite > 0)
            return bg_fail(BG_E_NUMERIC,
                           "gradient-profile: %lld %s gradients of layer %s at step %lld are not "
                           "finite",
                           (long long)stats->not_finite, bg_quantity_names[series->quantity],
                           profile->names[series->layer], (long long)profile->row_step[row]);
    }
    return BG_OK;
}

/* A layer's score from its channels': their mean or largest, as the options say. */
static double score_channels(struct series *series)
{
    int64_t channels = series->profile->channels[series->quantity][series->layer];
    double sum = 0, largest = 0;
    for (series->channel = 0; series->channel < channels; series->channel++) {
        double score = aggregate(series);
        sum += score;
        largest = score > largest ? score : largest;
    }
    series->channel = -1;
    return series->options->channels == CHANNEL_MAX || channels == 0 ? largest
                                                                     : sum / (double)channels;
}

static enum bg_status score_quantity(const struct gradient_options *options,
                                     const struct bg_select_input *input, enum bg_quantity quantity,
                                     double *score)
{
    enum bg_status rc = BG_OK;
    for (int layer = 0; layer < input->layers; layer++) {
        struct series series = {.profile = input->profile,
                                .options = options,
                                .quantity = quantity,
                                .layer = layer,
                                .channel = -1};
        TRY(check_measured(&series));
        score[layer] = options->granularity == GRANULARITY_CHANNEL ? score_channels(&series)
                                                                   : aggregate(&series);
        if (options->scale_by_step)
            score[layer] =
                score[layer] * input->weight_step[layer] * input->weight_step[layer] / 12;
        if (!isfinite(score[layer])) /* sums and channels of a damaged file */
            FAIL(BG_E_NUMERIC, "gradient-profile: score of layer %s by %s gradients is %g",
                 input->profile->names[layer], bg_quantity_names[quantity], score[layer]);
    }
out:
    return rc;
}

static enum bg_status read_quantities(const struct gradient_options *options, bool *wanted,
                                      int *count)
{
    *count = 0;
    for (int i = 0; i < options->quantities.count; i++) {
        const char *name = options->quantities.at[i];
        int found = 0;
        while (found < BG_QUANTITIES && strcmp(name, bg_quantity_names[found]) != 0)
            found++;
        if (found == BG_QUANTITIES)
            return bg_fail(BG_E_DATA,
                           "gradient-profile: quantity \"%s\" is none of input, weight, output",
                           name);
        *count += !wanted[found];
        wanted[found] = true;
    }
    if (*count == 0)
        return bg_fail(BG_E_DATA, "gradient-profile: quantities is empty; name at least one of "
                                  "input, weight, output");
    return BG_OK;
}

static enum bg_status check_options(const struct gradient_options *options,
                                    const struct bg_select_input *input, const bool *wanted,
                                    int count)
{
    if (input->profile->rows == 0)
        return bg_fail(BG_E_DATA,
                       "gradient-profile: the profile has no gradients; run the profile stage");
    if (options->granularity == GRANULARITY_CHANNEL && options->power != 2)
        return bg_fail(BG_E_DATA, "gradient-profile: granularity channel keeps mean squares "
                                  "alone: power must be 2");
    if (options->granularity == GRANULARITY_CHANNEL && !input->profile->per_channel)
        return bg_fail(BG_E_DATA, "gradient-profile: granularity channel needs a profile with "
                                  "per_channel: true; run the profile stage so");
    if (!options->scale_by_step)
        return BG_OK;
    if (count != 1 || !wanted[BG_QUANTITY_WEIGHT_GRAD] || options->power != 2)
        return bg_fail(BG_E_DATA, "gradient-profile: scale_by_step needs quantities [weight] and "
                                  "power 2");
    if (!input->weight_step)
        return bg_fail(BG_E_USAGE, "gradient-profile: scale_by_step needs the weights' grid steps");
    return BG_OK;
}

/* Several quantities: the mean of a layer's ranks among the layers that can be chosen. */
static enum bg_status combine(const struct gradient_options *options,
                              const struct bg_select_input *input, const bool *wanted, int count,
                              double *score)
{
    enum bg_status rc = BG_OK;
    double *values = NULL, *ranks = NULL;
    TRY(bg_alloc(&values, input->layers, sizeof *values));
    TRY(bg_alloc(&ranks, input->layers, sizeof *ranks));
    for (int i = 0; i < input->layers; i++)
        score[i] = 0;
    for (int quantity = 0; quantity < BG_QUANTITIES; quantity++) {
        if (!wanted[quantity])
            continue;
        TRY(score_quantity(options, input, (enum bg_quantity)quantity, values));
        for (int i = 0; i < input->layers; i++)
            values[i] = input->pinned && input->pinned[i] ? (double)NAN : values[i];
        bg_ranking_ranks(values, input->layers, ranks);
        for (int i = 0; i < input->layers; i++)
            score[i] += ranks[i] / count;
    }
out:
    bg_free(ranks);
    bg_free(values);
    return rc;
}

static void write_note(const struct gradient_options *options, const struct bg_profile *profile,
                       const bool *wanted, int count, char *note, size_t room)
{
    const char *separator = "";
    int at = snprintf(note, room, "%s%s of mean %s%s of ", count > 1 ? "mean rank by " : "",
                      aggregates[options->aggregate], options->power == 2 ? "square" : "|x|",
                      options->granularity == GRANULARITY_CHANNEL ? " per channel" : "");
    for (int quantity = 0; quantity < BG_QUANTITIES && at > 0 && (size_t)at < room; quantity++) {
        if (!wanted[quantity])
            continue;
        at +=
            snprintf(note + at, room - (size_t)at, "%s%s", separator, bg_quantity_names[quantity]);
        separator = ", ";
    }
    if (at > 0 && (size_t)at < room)
        (void)snprintf(note + at, room - (size_t)at, " gradients over %lld batches%s, %s",
                       (long long)profile->rows, options->scale_by_step ? ", times step^2/12" : "",
                       orders[options->order]);
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    enum bg_status rc = BG_OK;
    const struct gradient_options *o = options;
    bool wanted[BG_QUANTITIES] = {false};
    int count = 0;
    TRY(bg_select_check_profile(input));
    TRY(read_quantities(o, wanted, &count));
    TRY(check_options(o, input, wanted, count));
    if (count > 1) {
        TRY(combine(o, input, wanted, count, out->score));
    } else {
        int quantity = 0;
        while (!wanted[quantity])
            quantity++;
        TRY(score_quantity(o, input, (enum bg_quantity)quantity, out->score));
    }
    bg_ranking_sort(out, input->pinned, o->order == 1);
    write_note(o, input->profile, wanted, count, out->note, sizeof out->note);
out:
    return rc;
}

/* Samples in a row's batch, on average: gradients of its input over elements of one sample. 1 when
 * the row does not say. */
static double batch_of(const struct bg_select_input *input, int layer)
{
    const struct bg_profile *profile = input->profile;
    double elements = 0, once = (double)input->activations[layer];
    for (int64_t row = 0; row < profile->rows; row++)
        elements += (double)bg_profile_at(profile, row, BG_QUANTITY_IN_GRAD, layer)->count;
    elements /= (double)profile->rows;
    return once > 0 && elements > once ? elements / once : 1;
}

/* n * S * mean square error: the expected square of the first-order change of a batch's mean loss
 * if errors do not depend on gradients (scale_by_step with the error as measured; ours). S is the
 * mean square of the weight gradients, of activations that of the input gradients, whatever ranks.
 * Input gradients are of one sample's loss, and errors of samples are taken as independent: their
 * part in the mean loss has one batch-th of the square. */
static enum bg_status fill_factor(const struct gradient_options *options,
                                  const struct bg_select_input *input, enum bg_role role,
                                  double *factor)
{
    struct gradient_options plain = *options;
    enum bg_status rc = BG_OK;
    plain.power = 2;
    plain.granularity = GRANULARITY_LAYER;
    plain.scale_by_step = false;
    TRY(score_quantity(&plain, input,
                       role == BG_ROLE_WEIGHT ? BG_QUANTITY_WEIGHT_GRAD : BG_QUANTITY_IN_GRAD,
                       factor));
    for (int i = 0; i < input->layers; i++)
        factor[i] *= role == BG_ROLE_WEIGHT ? (double)input->weights[i]
                     : input->activations   ? (double)input->activations[i] / batch_of(input, i)
                                            : 1;
out:
    return rc;
}

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    struct bg_weigh weigh = {.criterion = "gradient-profile",
                             .rows = {{"weight-error", BG_MEASURED_MEAN_SQUARE},
                                      {"activation-error", BG_MEASURED_MEAN_SQUARE}},
                             .weights_only = !input->activations};
    double *factor = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_select_check_profile(input));
    if (input->profile->rows == 0)
        FAIL(BG_E_DATA, "gradient-profile: the profile has no gradients; run the profile stage");
    TRY(bg_alloc(&factor, 2 * (int64_t)input->layers, sizeof *factor));
    for (int role = 0; role < 2; role++) {
        weigh.factor[role] = factor + role * input->layers;
        TRY(fill_factor(options, input, (enum bg_role)role, factor + role * input->layers));
    }
    TRY(bg_weigh_fill(&weigh, input, out));
out:
    bg_free(factor);
    return rc;
}

extern const struct bg_select_method bg_select_gradient_profile;
const struct bg_select_method bg_select_gradient_profile = {
    .name = "gradient-profile",
    .help = "layers with small gradients over many batches at fixed weights take fewer bits first",
    .source = "P1: US20210303972A1; statistic, direction and search are ours",
    .options = table,
    .options_size = sizeof(struct gradient_options),
    .rank = rank,
    .penalties = penalties};
