/* Private: how sums per channel walk bf16 rows x channels, for core/kernel_train_*.c.
 *
 * A panel is a row of vectors of up to 64 lanes, several rows side by side when channels are few.
 * Lanes add runs of BG_TRAIN_RUN vectors in f32, runs add up in f64. */
#ifndef BG_CORE_KERNEL_TRAIN_PANEL_H
#define BG_CORE_KERNEL_TRAIN_PANEL_H

#include "core/kernel_table.h"
#include "core/kernel_train_vec.h"

#define LANES BG_TRAIN_LANES
#define PARTS (LANES / VEC)

/* Vector i of a block begins at element at + i * step; it has `width` lanes, the last one `last`.
 */
struct panel {
    int64_t at, step, width, count, last, channels;
};

INLINE struct panel make_panel(const struct bg_kernel_train_sums *in)
{
    const int64_t group = bg_train_vector_rows(in->channels);
    int64_t left = in->channels - in->channel, rest;
    struct panel panel = {.at = in->first * in->channels + in->channel,
                          .step = group * in->channels,
                          .count = (in->rows + group - 1) / group};

    panel.channels = left < LANES ? left : LANES;
    panel.width = group * panel.channels;
    rest = in->rows - (panel.count - 1) * group;
    panel.last = rest * panel.channels;
    return panel;
}

/* Elements of part k of vector i, 0 or fewer when it has no such part. */
INLINE int64_t part_size(const struct panel *panel, int64_t i, int k)
{
    int64_t lanes = (i == panel->count - 1 ? panel->last : panel->width) - (int64_t)k * VEC;

    return lanes < VEC ? lanes : VEC;
}

INLINE bool all_whole(const struct panel *panel, int64_t end)
{
    return panel->width == LANES && (end < panel->count || panel->last == LANES);
}

INLINE int64_t run_end(const struct panel *panel, int64_t start)
{
    return start + BG_TRAIN_RUN < panel->count ? start + BG_TRAIN_RUN : panel->count;
}

/* sums[c] = the totals of channel c's lanes, in order. */
INLINE void fold(const struct panel *panel, const double totals[LANES], double *sums)
{
    for (int64_t c = 0; c < panel->channels; c++)
        sums[c] = 0.0;
    for (int64_t j = 0; j < panel->width; j += panel->channels)
        for (int64_t c = 0; c < panel->channels; c++)
            sums[c] += totals[j + c];
}

#endif
