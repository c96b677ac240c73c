/* bg_train_observe: merges the sums of core/kernel_train_observe.c in block order, then channel by
 * channel, each times its factor. */
#include <math.h>
#include <string.h>

#include "core/train_blocks.h"

/* Every channel's numbers over all blocks, in block order, in front of those of the blocks. */
static void merge_seen(const struct bg_train_observe *in)
{
    const int64_t channels = in->channels, size = BG_TRAIN_SEEN * channels;
    const int64_t blocks = bg_block_count(in->rows, channels);
    double *total = in->scratch, *least = total + SEEN_MIN * channels;
    double *largest = total + SEEN_MAX * channels;

    memset(total, 0, (size_t)size * sizeof *total);
    for (int64_t c = 0; c < channels; c++) {
        least[c] = INFINITY;
        largest[c] = -INFINITY;
    }
    for (int64_t b = 1; b <= blocks; b++) {
        const double *partial = in->scratch + b * size;
        const double *low = partial + SEEN_MIN * channels, *high = partial + SEEN_MAX * channels;
        const double *bad = partial + SEEN_NOT_FINITE * channels;
        for (int64_t i = 0; i < SEEN_MIN * channels; i++)
            total[i] += partial[i];
        for (int64_t c = 0; c < channels; c++) {
            least[c] = low[c] < least[c] ? low[c] : least[c];
            largest[c] = high[c] > largest[c] ? high[c] : largest[c];
            total[SEEN_NOT_FINITE * channels + c] += bad[c];
        }
    }
}

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
    merge_seen(in);
    for (int64_t c = 0; c < in->channels; c++)
        add_seen(in, c, &seen);
    bg_stats_merge(in->stats, &seen);
}

void bg_train_observe(const struct bg_train_observe *in)
{
    bg_kernel_train_observe(bg_kernel_tables()->train, in);
}
