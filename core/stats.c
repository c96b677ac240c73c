/* Statistics of tensors from the blocks of core/kernel_stats.c, merged in index order. */
#include "core/stats.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/kernel_table.h"

#define GROUP         128 /* blocks whose results wait on the stack */
#define CHANNEL_GROUP 8   /* channels read together, so that a row is fetched once for all */

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

/* Values to add: f32 or bf16 times factor, or bf16 times its channel's factor. */
struct source {
    const float *x;
    const uint16_t *bf16;
    const struct bg_kernel_train_apply *scaled;
    float factor;
};

/* `count` values from `at` on, multiplied: in place where nothing has to be done, else in `copy`.
 */
static const float *values_of(const struct bg_kernel_tables *tables, const struct source *source,
                              int64_t at, int64_t count, float copy[BG_STATS_BLOCK])
{
    if (source->scaled != NULL) {
        struct bg_kernel_train_apply range = *source->scaled;
        range.first = at;
        range.n = count;
        tables->train->scale_to_f32(&range, copy);
        return copy;
    }
    if (source->bf16 != NULL) {
        tables->train->to_f32(source->bf16 + at, count, source->factor, copy);
        return copy;
    }
    if (source->factor == 1.0f)
        return source->x + at;
    tables->stats->scale(source->x + at, count, source->factor, copy);
    return copy;
}

static void add(struct bg_stats *stats, const struct source *source, int64_t n)
{
    const struct bg_kernel_tables *tables = bg_kernel_tables();
    const int64_t blocks = (n + BG_STATS_BLOCK - 1) / BG_STATS_BLOCK;
    struct bg_kernel_sums sums[GROUP];

#pragma omp parallel if (n >= BG_KERNEL_SMALL)
    {
        uint64_t bins[BG_HISTOGRAM_BINS] = {0};
        float copy[BG_STATS_BLOCK];
        for (int64_t first = 0; first < blocks; first += GROUP) {
            int64_t end = smaller(first + GROUP, blocks);
#pragma omp for schedule(static)
            for (int64_t b = first; b < end; b++) {
                int64_t at = b * BG_STATS_BLOCK, count = smaller(BG_STATS_BLOCK, n - at);
                tables->stats->profile(values_of(tables, source, at, count, copy), count,
                                       &sums[b - first], bins);
            }
#pragma omp single
            for (int64_t b = first; b < end; b++)
                merge_block(stats, &sums[b - first],
                            smaller(BG_STATS_BLOCK, n - b * BG_STATS_BLOCK));
        }
#pragma omp critical(bg_stats_bins)
        for (int i = 0; i < BG_HISTOGRAM_BINS; i++)
            stats->histogram[i] += bins[i];
    }
}

void bg_stats_add(struct bg_stats *stats, const float *x, int64_t n, float factor)
{
    const struct source source = {.x = x, .factor = factor};

    add(stats, &source, n);
}

void bg_stats_add_bf16(struct bg_stats *stats, const uint16_t *x, int64_t n, float factor)
{
    const struct source source = {.bf16 = x, .factor = factor};

    add(stats, &source, n);
}

void bg_stats_add_scaled_bf16(struct bg_stats *stats, const uint16_t *x, int64_t rows,
                              int64_t channels, const float *factors)
{
    float space[BG_TRAIN_PERIOD];
    struct bg_kernel_train_apply scaled = {0};
    const struct source source = {.scaled = &scaled};

    bg_kernel_train_scale(&scaled, x, channels, factors, space);
    add(stats, &source, rows * channels);
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
