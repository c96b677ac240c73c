/* bg_train_observe: the sums of core/kernel_train_observe.c, channel by channel, each times its
 * factor. */
#include <math.h>

#include "core/train_blocks.h"

/* Adds one channel to the tensor's. */
static void add_seen(const struct bg_train_observe *in, int64_t c, struct bg_stats *all)
{
    const double *seen = in->scratch + c, f = (double)in->factor[c];
    const int64_t n = in->channels, bad = (int64_t)seen[SEEN_NOT_FINITE * n];
    const double square = seen[SEEN_SQUARE * n] * f * f;
    const float min = (float)(seen[SEEN_MIN * n] * f), max = (float)(seen[SEEN_MAX * n] * f);
    const bool first = all->count == all->not_finite;

    if (in->square != NULL)
        in->square[c] = bad < in->rows ? square / (double)(in->rows - bad) : 0.0;
    all->count += in->rows;
    all->not_finite += bad;
    if (bad == in->rows)
        return;
    all->sum += seen[SEEN_SUM * n] * f;
    all->sum_abs += seen[SEEN_ABS * n] * f;
    all->sum_square += square;
    all->min = first || min < all->min ? min + 0.0f : all->min; /* -0 reads 0 */
    all->max = first || max > all->max ? max + 0.0f : all->max;
    all->max_abs = fmaxf(all->max_abs, fmaxf(fabsf(min), fabsf(max)));
}

void bg_kernel_train_observe(const struct bg_kernel_train_table *table,
                             const struct bg_train_observe *in)
{
    const struct bg_kernel_train_sums all = {
        .rows = in->rows, .channels = in->channels, .z = {in->x}};
    struct bg_stats seen = {0};

    if (!in->summed)
        bg_run_sums(table->observe, &all, BG_TRAIN_SEEN, in->scratch);
    table->merge_seen(in->scratch, bg_block_count(in->rows, in->channels), in->channels);
    for (int64_t c = 0; c < in->channels; c++)
        add_seen(in, c, &seen);
    bg_stats_merge(in->stats, &seen);
}

void bg_train_observe(const struct bg_train_observe *in)
{
    bg_kernel_train_observe(bg_kernel_tables()->train, in);
}
