/* The blocks behind core/stats.h, compiled once per instruction set.
 *
 * Products of two f32 are exact in f64; sums follow 16 lanes and a fixed tree, so the bits are the
 * same everywhere. Elements that are not finite enter the count of not_finite alone. */
#include "core/kernel_table.h"

#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "core/kernel_stats_bits.h"
#endif

#define LANES BG_KERNEL_LANES

static double lane_sum(double lanes[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

/* One sum per loop: so each compiles to a few vector registers. n is a multiple of LANES. */
static double sum_of(const float *v, int64_t n)
{
    double lanes[LANES] = {0};

    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += (double)v[i + l];
    return lane_sum(lanes);
}

static double sum_abs_of(const float *v, int64_t n)
{
    double lanes[LANES] = {0};

    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lanes[l] += (double)fabsf(v[i + l]);
    return lane_sum(lanes);
}

static double sum_square_of(const float *v, int64_t n)
{
    double lanes[LANES] = {0};

    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double d = (double)v[i + l];
            lanes[l] += d * d;
        }
    return lane_sum(lanes);
}

static void widen(const float *restrict v, int64_t width, float *restrict low, float *restrict high)
{
    for (int64_t j = 0; j < width; j++) {
        float for_low = fabsf(v[j]) <= FLT_MAX ? v[j] : INFINITY;
        float for_high = fabsf(v[j]) <= FLT_MAX ? v[j] : -INFINITY;
        low[j] = for_low < low[j] ? for_low : low[j];
        high[j] = for_high > high[j] ? for_high : high[j];
    }
}

/* Over the finite values. The order of comparison does not show: -0 becomes 0 at the end. */
static void extremes(const float *v, int64_t n, float *min, float *max)
{
    float low[BG_KERNEL_WIDTH], high[BG_KERNEL_WIDTH];

    for (int j = 0; j < BG_KERNEL_WIDTH; j++) {
        low[j] = INFINITY;
        high[j] = -INFINITY;
    }
    for (int64_t i = 0; i < n; i += BG_KERNEL_WIDTH)
        widen(v + i, n - i < BG_KERNEL_WIDTH ? n - i : BG_KERNEL_WIDTH, low, high);
    *min = low[0];
    *max = high[0];
    for (int j = 1; j < BG_KERNEL_WIDTH; j++) {
        *min = low[j] < *min ? low[j] : *min;
        *max = high[j] > *max ? high[j] : *max;
    }
    *min += 0.0f;
    *max += 0.0f;
}

/* Values that are not finite become 0 and are counted. */
static int32_t clean(float *v, int64_t n)
{
    int32_t finite = 0;

    for (int64_t i = 0; i < n; i++)
        finite += fabsf(v[i]) <= FLT_MAX;
    for (int64_t i = 0; i < n; i++)
        v[i] = fabsf(v[i]) <= FLT_MAX ? v[i] : 0.0f;
    return (int32_t)n - finite;
}

static void scale(const float *restrict x, int64_t n, float factor, float *restrict v)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = x[i] * factor;
}

/* The block is copied: scaled, cleaned and filled up with zeros, which move no sum. */
static void block(const float *x, int64_t n, float factor, struct bg_kernel_sums *out)
{
    float v[BG_STATS_BLOCK];
    int64_t whole = (n + LANES - 1) / LANES * LANES;

    scale(x, n, factor, v);
    for (int64_t i = n; i < whole; i++)
        v[i] = 0.0f;
    extremes(v, n, &out->min, &out->max);
    out->not_finite = clean(v, n);
    out->sum = sum_of(v, whole);
    out->sum_abs = sum_abs_of(v, whole);
    out->sum_square = sum_square_of(v, whole);
}

/* The exponent field e stands for 2^(e - 127): bin e - 79, held to 0..63. Four sets of bins, so
 * that equal neighbours do not wait for each other. */
static void histogram(const float *x, int64_t n, float factor, uint64_t bins[BG_HISTOGRAM_BINS])
{
    uint32_t sets[4][BG_HISTOGRAM_BINS + 1] = {{0}}; /* the last bin takes what is not finite */

    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * factor;
        uint32_t bits;
        int32_t exponent, bin;
        memcpy(&bits, &v, sizeof bits);
        exponent = (int32_t)((bits >> 23) & 0xff);
        bin = exponent - 79 < 0 ? 0 : exponent - 79;
        bin = bin > BG_HISTOGRAM_BINS - 1 ? BG_HISTOGRAM_BINS - 1 : bin;
        bin = exponent == 0xff ? BG_HISTOGRAM_BINS : bin;
        sets[i & 3][bin]++;
    }
    for (int b = 0; b < BG_HISTOGRAM_BINS; b++)
        bins[b] += (uint64_t)sets[0][b] + sets[1][b] + sets[2][b] + sets[3][b];
}

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)

struct lanes {
    __m512d sum[2], sum_abs[2], sum_square[2];
    __m512 min, max;
};

/* 16 values, which go to the 16 lanes. Widening from memory is cheaper than from a register. */
static inline void add_lanes(const float *v, struct lanes *lanes)
{
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        __m512d d = _mm512_cvtps_pd(_mm256_loadu_ps(v + 8 * k));
        lanes->sum[k] = _mm512_add_pd(lanes->sum[k], d);
        lanes->sum_abs[k] = _mm512_add_pd(lanes->sum_abs[k], _mm512_abs_pd(d));
        lanes->sum_square[k] = _mm512_fmadd_pd(d, d, lanes->sum_square[k]);
    }
}

static double total_of(const __m512d halves[2])
{
    double lanes[LANES];

    _mm512_storeu_pd(lanes, halves[0]);
    _mm512_storeu_pd(lanes + LANES / 2, halves[1]);
    return lane_sum(lanes);
}

/* All of `block` in one pass, when all values are finite: the sum of absolute values tells when
 * there are others. */
static void block_of(const float *v, int64_t n, struct bg_kernel_sums *out)
{
    const __m512d zero = _mm512_setzero_pd();
    struct lanes lanes = {{zero, zero},
                          {zero, zero},
                          {zero, zero},
                          _mm512_set1_ps(INFINITY),
                          _mm512_set1_ps(-INFINITY)};
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        lanes.min = _mm512_min_ps(_mm512_loadu_ps(v + i), lanes.min);
        lanes.max = _mm512_max_ps(_mm512_loadu_ps(v + i), lanes.max);
        add_lanes(v + i, &lanes);
    }
    if (i < n) {
        float rest[LANES] = {0};
        __mmask16 some = (__mmask16)((1u << (n - i)) - 1);
        memcpy(rest, v + i, (size_t)(n - i) * sizeof *v);
        lanes.min = _mm512_mask_min_ps(lanes.min, some, _mm512_loadu_ps(rest), lanes.min);
        lanes.max = _mm512_mask_max_ps(lanes.max, some, _mm512_loadu_ps(rest), lanes.max);
        add_lanes(rest, &lanes);
    }
    out->sum_abs = total_of(lanes.sum_abs);
    if (!isfinite(out->sum_abs)) {
        block(v, n, 1.0f, out);
        return;
    }
    out->sum = total_of(lanes.sum);
    out->sum_square = total_of(lanes.sum_square);
    out->min = _mm512_reduce_min_ps(lanes.min) + 0.0f;
    out->max = _mm512_reduce_max_ps(lanes.max) + 0.0f;
    out->not_finite = 0;
}

static void profile(const float *v, int64_t n, struct bg_kernel_sums *out,
                    uint64_t bins[BG_HISTOGRAM_BINS])
{
    block_of(v, n, out);
    if (__builtin_cpu_supports("avx512vpopcntdq")) {
        count_bits(v, n, bins);
        bins[BG_HISTOGRAM_BINS - 1] -= (uint64_t)out->not_finite;
    } else {
        histogram(v, n, 1.0f, bins);
    }
}

#else

static void profile(const float *v, int64_t n, struct bg_kernel_sums *out,
                    uint64_t bins[BG_HISTOGRAM_BINS])
{
    block(v, n, 1.0f, out);
    histogram(v, n, 1.0f, bins);
}

#endif

static double square_difference(const float *a, const float *b, int64_t n)
{
    static const float zeros[LANES] = {0};
    double lanes[LANES] = {0};
    int64_t step = b == NULL ? 0 : LANES; /* without b every group reads the zeros */
    const float *other = b == NULL ? zeros : b;
    int64_t whole = n / LANES * LANES;

    for (int64_t i = 0; i < whole; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double d = (double)a[i + l] - (double)other[l];
            lanes[l] += d * d;
        }
        other += step;
    }
    for (int64_t i = whole; i < n; i++) {
        double d = (double)a[i] - (double)other[i - whole];
        lanes[i - whole] += d * d;
    }
    return lane_sum(lanes);
}

const struct bg_kernel_stats_table BG_KERNEL_TABLE(stats) = {
    .block = block,
    .histogram = histogram,
    .scale = scale,
    .profile = profile,
    .square_difference = square_difference,
};
