/* Gradient statistics into profile rows. Input and output gradients are multiplied by the batch
 * size, because a mean loss divides them by it; weight gradients are left alone
 * (core/NUMERICS.md, "Profile"). Runs inside the backward pass: allocates nothing, keeps no
 * pointer. */
#include "policies/collect.h"

#include <string.h>

#include "core/mem.h"

/* Mean square per channel. Activations have channels innermost, weights outermost. */
static void record_channels(struct bg_collector *collector, int layer, enum bg_quantity quantity,
                            const struct bg_tensor *gradient, float factor)
{
    int64_t channels = collector->profile->channels[quantity][layer];
    int64_t count = bg_tensor_count(gradient);
    bool weight = quantity == BG_QUANTITY_WEIGHT_GRAD;
    int64_t found = gradient->shape.dims[weight ? 0 : gradient->shape.rank - 1];
    if (found != channels || channels > collector->channels) {
        collector->misfit = layer;
        return;
    }
    for (int64_t c = 0; c < channels; c++)
        bg_stats_clear(&collector->scratch[c]);
    bg_stats_add_channels(collector->scratch, bg_f32(gradient), count / channels, channels, weight,
                          factor);
    double *square = bg_profile_channels_at(collector->profile, collector->row, quantity, layer);
    for (int64_t c = 0; c < channels; c++)
        square[c] = bg_stats_mean_square(&collector->scratch[c]);
}

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct bg_collector *collector = self;
    float factor = quantity == BG_QUANTITY_WEIGHT_GRAD ? 1 : collector->batch;
    struct bg_stats *stats = bg_profile_at(collector->profile, collector->row, quantity, layer);
    bg_stats_add(stats, bg_f32(gradient), bg_tensor_count(gradient), factor);
    if (!collector->bins)
        memset(stats->histogram, 0, sizeof stats->histogram);
    if (collector->profile->per_channel)
        record_channels(collector, layer, quantity, gradient, factor);
}

/* The histogram of values that are in *stats already. */
static void add_bins(struct bg_stats *stats, const struct bg_train_observe *in)
{
    struct bg_stats again;
    bg_stats_clear(&again);
    bg_stats_add_scaled_bf16(&again, in->x, in->rows, in->channels, in->factor);
    memcpy(stats->histogram, again.histogram, sizeof stats->histogram);
}

static void see_bf16(void *self, int layer, enum bg_quantity quantity,
                     const struct bg_train_observe *gradient)
{
    struct bg_collector *collector = self;
    struct bg_profile *profile = collector->profile;
    struct bg_train_observe all = *gradient;
    if (gradient->channels != profile->channels[quantity][layer]) {
        collector->misfit = layer;
        return;
    }
    for (int64_t c = 0; c < gradient->channels; c++)
        collector->factor[c] = gradient->factor[c] * collector->batch;
    all.factor = collector->factor;
    all.stats = bg_profile_at(profile, collector->row, quantity, layer);
    if (profile->per_channel)
        all.square = bg_profile_channels_at(profile, collector->row, quantity, layer);
    bg_train_observe(&all);
    if (collector->bins)
        add_bins(all.stats, &all);
}

enum bg_status bg_collector_make(struct bg_collector *out, struct bg_profile *profile,
                                 int64_t bins_every)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_collector){.profile = profile, .misfit = -1};
    if (bins_every < 1)
        FAIL(BG_E_RANGE, "histograms in every %lld-th row: expected at least 1",
             (long long)bins_every);
    out->observer = (struct bg_observer){.self = out, .see = see, .see_bf16 = see_bf16};
    out->bins_every = bins_every;
    for (int quantity = 0; quantity < BG_QUANTITIES; quantity++) {
        for (int layer = 0; layer < profile->layers; layer++) {
            int64_t channels = profile->channels[quantity][layer];
            out->channels = channels > out->channels ? channels : out->channels;
        }
    }
    TRY(bg_alloc(&out->factor, out->channels, sizeof *out->factor));
    if (profile->per_channel)
        TRY(bg_alloc(&out->scratch, out->channels, sizeof *out->scratch));
out:
    if (rc != BG_OK)
        bg_collector_free(out);
    return rc;
}

void bg_collector_free(struct bg_collector *collector)
{
    bg_free(collector->factor);
    bg_free(collector->scratch);
    *collector = (struct bg_collector){0};
}

enum bg_status bg_collector_begin(struct bg_collector *collector, int64_t step, int64_t batch)
{
    enum bg_status rc = BG_OK;
    TRY(bg_profile_add_row(collector->profile, step));
    collector->row = collector->profile->rows - 1;
    collector->bins = collector->row % collector->bins_every == 0;
    collector->batch = (float)batch;
out:
    return rc;
}

enum bg_status bg_collector_end(const struct bg_collector *collector)
{
    if (collector->misfit >= 0)
        return bg_fail(BG_E_INTERNAL, "profile: gradients of layer %s have other channels",
                       collector->profile->names[collector->misfit]);
    return BG_OK;
}
