/* Statistics of a tensor, in one pass, equal on every instruction set and thread count.
 *
 * Sums run in f64 over blocks of BG_STATS_BLOCK elements in index order; inside a block, element i
 * goes to virtual lane i mod 16 and the lanes are added in a fixed tree. The square of an f32 is
 * exact in f64, so a fused multiply-add could not change a result either.
 *
 * Histogram: bin 0 counts zeros and |x| < 2^-47, bin i = 1..62 counts 2^(i-48) <= |x| < 2^(i-47),
 * bin 63 everything above. */
#ifndef BG_CORE_STATS_H
#define BG_CORE_STATS_H

#include <stdint.h>

#define BG_HISTOGRAM_BINS 64
#define BG_STATS_BLOCK    4096

struct bg_stats {
    int64_t count;
    double sum, sum_abs, sum_square;
    float min, max, max_abs; /* 0 when there is no finite element; -0 reads 0 */
    int64_t not_finite;      /* NaN or infinite elements; they enter no other field but count */
    uint64_t histogram[BG_HISTOGRAM_BINS];
};

void bg_stats_clear(struct bg_stats *stats);
/* Adds n values, each times `factor` (a power of two or 1 keeps everything exact). Threaded. */
void bg_stats_add(struct bg_stats *stats, const float *x, int64_t n, float factor);
/* The same numbers as for the values of x in f32; x is bf16. */
void bg_stats_add_bf16(struct bg_stats *stats, const uint16_t *x, int64_t n, float factor);
/* The same for rows x channels, each value times its channel's factor. */
void bg_stats_add_scaled_bf16(struct bg_stats *stats, const uint16_t *x, int64_t rows,
                              int64_t channels, const float *factors);
/* One record per channel: x is (n, channels) row-major with channels innermost, or with
 * `outer` != 0 (channels, n) with channels outermost (weights). No histogram per channel. */
void bg_stats_add_channels(struct bg_stats *stats, const float *x, int64_t n, int64_t channels,
                           int outer, float factor);
void bg_stats_merge(struct bg_stats *into,
                    const struct bg_stats *from); /* order matters for the last bit */
/* Over the finite elements; 0 when there are none. */
double bg_stats_mean(const struct bg_stats *stats);
double bg_stats_mean_abs(const struct bg_stats *stats);
double bg_stats_mean_square(const struct bg_stats *stats);
/* Sum of squares of a - b (b may be NULL = 0), block-ordered as above. */
double bg_sum_square_difference(const float *a, const float *b, int64_t n);

#endif
