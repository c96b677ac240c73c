/* Private: how the passes of core/train_kernel.h that add up are cut into blocks of rows and panels
 * of channels; partial sums lie in scratch, those of block b behind b + 1 sets of totals. */
#ifndef BG_CORE_TRAIN_BLOCKS_H
#define BG_CORE_TRAIN_BLOCKS_H

#include "core/kernel_table.h"

static inline int64_t bg_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t bg_block_rows(int64_t channels)
{
    return bg_train_vector_rows(channels) * BG_TRAIN_VECTORS;
}

static inline int64_t bg_block_count(int64_t rows, int64_t channels)
{
    return (rows + bg_block_rows(channels) - 1) / bg_block_rows(channels);
}

static inline int64_t bg_panel_count(int64_t channels)
{
    return (channels + BG_TRAIN_LANES - 1) / BG_TRAIN_LANES;
}

/* Part i of all: blocks, and panels of each. */
static inline struct bg_kernel_train_sums bg_part_of(const struct bg_kernel_train_sums *all,
                                                     int64_t i)
{
    const int64_t step = bg_block_rows(all->channels), panels = bg_panel_count(all->channels);
    struct bg_kernel_train_sums in = *all;

    in.first = i / panels * step;
    in.rows = bg_smaller(step, all->rows - in.first);
    in.channel = i % panels * BG_TRAIN_LANES;
    return in;
}

/* Where the sums of part i's block start. */
static inline double *bg_sums_of(double *scratch, int64_t channels, int sums, int64_t i)
{
    return scratch + (i / bg_panel_count(channels) + 1) * sums * channels;
}

/* Runs `loop` over all blocks and panels. */
static inline void bg_run_sums(void (*loop)(const struct bg_kernel_train_sums *in, double *partial),
                               const struct bg_kernel_train_sums *all, int sums, double *scratch)
{
    const int64_t channels = all->channels;
    const int64_t parts = bg_block_count(all->rows, channels) * bg_panel_count(channels);

#pragma omp parallel for schedule(static) if (all->rows * channels >= BG_KERNEL_SMALL)
    for (int64_t i = 0; i < parts; i++) {
        const struct bg_kernel_train_sums in = bg_part_of(all, i);
        loop(&in, bg_sums_of(scratch, channels, sums, i));
    }
}

/* An observer's sums of one part of x. */
static inline void bg_see_part(const struct bg_kernel_train_table *table,
                               const struct bg_kernel_train_sums *part, const uint16_t *x,
                               double *seen, int64_t i)
{
    struct bg_kernel_train_sums in = *part;

    in.z[0] = x;
    table->observe(&in, bg_sums_of(seen, part->channels, BG_TRAIN_SEEN, i));
}

#endif
