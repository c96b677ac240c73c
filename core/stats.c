/* Statistics of tensors from the blocks of core/kernel_stats.c, merged in index order. */
#include "core/stats.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/kernel_table.h"

#define GROUP         64 /* blocks whose results wait on the stack */
#define CHANNEL_GROUP 8  /* channels read together, so that a row is fetched once for all */

void bg_stats_clear(struct bg_stats *stats)
{
    memset(stats, 0, sizeof *stats);
}

static void widen(struct bg_stats *stats, float min, float max, int64_t finite)
{
    if (finite == 0)
        return;
    if (stats->count == stats->not_finite) {
        stats->min = min;
        stats->max = max;
    }
    stats->min = min < stats->min ? min : stats->min;
    stats->max = max > stats->max ? max : stats->max;
    stats->max_abs = fmaxf(stats->max_abs, fmaxf(fabsf(min), fabsf(max)));
}

static void merge_block(struct bg_stats *stats, const struct bg_kernel_sums *sums, int64_t count)
{
    widen(stats, sums->min, sums->max, count - sums->not_finite);
    stats->count += count;
    stats->not_finite += sums->not_finite;
    stats->sum += sums->sum;
    stats->sum_abs += sums->sum_abs;
    stats->sum_square += sums->sum_square;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void bg_stats_add(struct bg_stats *stats, const float *x, int64_t n, float factor)
{
    const struct bg_kernel_stats_table *table = bg_kernel_tables()->stats;
    struct bg_kernel_sums sums[GROUP];

    for (int64_t start = 0; start < n; start += GROUP * BG_STATS_BLOCK) {
        int64_t length = smaller(n - start, GROUP * BG_STATS_BLOCK);
        int64_t blocks = (length + BG_STATS_BLOCK - 1) / BG_STATS_BLOCK;
#pragma omp parallel if (length >= BG_KERNEL_SMALL)
        {
            uint64_t bins[BG_HISTOGRAM_BINS] = {0};
#pragma omp for schedule(static)
            for (int64_t b = 0; b < blocks; b++) {
                const float *at = x + start + b * BG_STATS_BLOCK;
                int64_t count = smaller(BG_STATS_BLOCK, length - b * BG_STATS_BLOCK);
                table->block(at, count, factor, &sums[b]);
                table->histogram(at, count, factor, bins);
            }
#pragma omp critical(bg_stats_bins)
            for (int i = 0; i < BG_HISTOGRAM_BINS; i++)
                stats->histogram[i] += bins[i];
        }
        for (int64_t b = 0; b < blocks; b++)
            merge_block(stats, &sums[b], smaller(BG_STATS_BLOCK, length - b * BG_STATS_BLOCK));
    }
}

static void add_row(struct bg_stats *stats, const float *x, int64_t n, float factor)
{
    const struct bg_kernel_stats_table *table = bg_kernel_tables()->stats;

    for (int64_t i = 0; i < n; i += BG_STATS_BLOCK) {
        struct bg_kernel_sums sums;
        int64_t count = smaller(BG_STATS_BLOCK, n - i);
        table->block(x + i, count, factor, &sums);
        merge_block(stats, &sums, count);
    }
}

/* Channels first to end - 1 of (n, channels): each block of a channel is gathered, then treated as
 * if it had been contiguous. */
static void add_columns(struct bg_stats *stats, const float *x, int64_t n, int64_t channels,
                        int64_t first, float factor)
{
    int64_t end = smaller(first + CHANNEL_GROUP, channels);
    float column[BG_STATS_BLOCK];

    for (int64_t i = 0; i < n; i += BG_STATS_BLOCK) {
        int64_t count = smaller(BG_STATS_BLOCK, n - i);
        for (int64_t c = first; c < end; c++) {
            for (int64_t k = 0; k < count; k++)
                column[k] = x[(i + k) * channels + c];
            add_row(&stats[c], column, count, factor);
        }
    }
}

void bg_stats_add_channels(struct bg_stats *stats, const float *x, int64_t n, int64_t channels,
                           int outer, float factor)
{
    int64_t step = outer ? 1 : CHANNEL_GROUP;

#pragma omp parallel for schedule(static) if (n * channels >= BG_KERNEL_SMALL)
    for (int64_t c = 0; c < channels; c += step) {
        if (outer)
            add_row(&stats[c], x + c * n, n, factor);
        else
            add_columns(stats, x, n, channels, c, factor);
    }
}

void bg_stats_merge(struct bg_stats *into, const struct bg_stats *from)
{
    widen(into, from->min, from->max, from->count - from->not_finite);
    into->count += from->count;
    into->not_finite += from->not_finite;
    into->sum += from->sum;
    into->sum_abs += from->sum_abs;
    into->sum_square += from->sum_square;
    for (int i = 0; i < BG_HISTOGRAM_BINS; i++)
        into->histogram[i] += from->histogram[i];
}

/* Means are over finite elements; 0 when there are none. */
static double mean_of(const struct bg_stats *stats, double sum)
{
    int64_t finite = stats->count - stats->not_finite;

    return finite > 0 ? sum / (double)finite : 0.0;
}

double bg_stats_mean(const struct bg_stats *stats)
{
    return mean_of(stats, stats->sum);
}

double bg_stats_mean_abs(const struct bg_stats *stats)
{
    return mean_of(stats, stats->sum_abs);
}

double bg_stats_mean_square(const struct bg_stats *stats)
{
    return mean_of(stats, stats->sum_square);
}

double bg_sum_square_difference(const float *a, const float *b, int64_t n)
{
    const struct bg_kernel_stats_table *table = bg_kernel_tables()->stats;
    double partial[GROUP], total = 0.0;

    for (int64_t start = 0; start < n; start += GROUP * BG_STATS_BLOCK) {
        int64_t length = smaller(n - start, GROUP * BG_STATS_BLOCK);
        int64_t blocks = (length + BG_STATS_BLOCK - 1) / BG_STATS_BLOCK;
#pragma omp parallel for schedule(static) if (length >= BG_KERNEL_SMALL)
        for (int64_t i = 0; i < blocks; i++) {
            int64_t at = start + i * BG_STATS_BLOCK;
            partial[i] = table->square_difference(a + at, b == NULL ? NULL : b + at,
                                                  smaller(BG_STATS_BLOCK, n - at));
        }
        for (int64_t i = 0; i < blocks; i++)
            total += partial[i];
    }
    return total;
}
