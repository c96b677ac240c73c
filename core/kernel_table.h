/* Private: the range functions behind core/kernel.h, one set of tables per instruction set.
 *
 * core/kernel_*.c is compiled once per instruction set with BG_ISA = base, avx2, avx512 or vnni and
 * exports one table each. A range function works on the calling thread; core/kernel.c cuts work
 * into ranges and calls them from many. Every set gives the same bits: plain C without contraction,
 * reductions in a fixed order of virtual lanes. Tests compare the sets directly. */
#ifndef BG_CORE_KERNEL_TABLE_H
#define BG_CORE_KERNEL_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/grid.h"
#include "core/kernel_gradient.h"
#include "core/kernel_int.h"
#include "core/kernel_train.h"
#include "core/kernel_update.h"
#include "core/requant.h"
#include "core/stats.h"

#define BG_KERNEL_LANES 16
/* Elements of one block of an elementwise loop or reduction: the unit of threading. */
#define BG_KERNEL_BLOCK 16384
/* Fewer elements than this stay on the calling thread: waking others costs more. */
#define BG_KERNEL_SMALL 32768
/* Widest run of floats the batch-norm loops treat as one vector of lanes. */
#define BG_KERNEL_WIDTH 256

/* Iterations are independent although an output may be the same array as an input. */
#if defined(__clang__)
#define BG_IVDEP _Pragma("clang loop vectorize(assume_safety)")
#else
#define BG_IVDEP _Pragma("GCC ivdep")
#endif

/* A grid as the projection loops need it: codes minus zero point lie in [low, high]. */
struct bg_kernel_grid {
    float scale, low, high;
    float clip_low, clip_high;
    int32_t zero_point;
    bool binary;
};

/* Batch norm reads `rows` rows of `channels` floats. Writing loops walk vectors of `width` floats,
 * `step` apart, with lane arrays of that width: rows side by side when channels are few
 * (bg_kernel_width), else some or all channels of one row. */
struct bg_kernel_norm {
    const float *x, *dy;
    int64_t rows, channels;
    int64_t width, step;
    const float *mean, *a, *b, *d; /* per channel, meaning given at the function */
    float *y;
    bool relu;
};

struct bg_kernel_norm_table {
    /* One block: partial[c] = mean, partial[channels + c] = sum of squared distances from it. */
    void (*statistics)(const struct bg_kernel_norm *in, double *partial);
    /* One block: partial[c] = sum dy, partial[channels + c] = sum dy * (x - mean). */
    void (*reduce)(const struct bg_kernel_norm *in, double *partial);
    /* y = x * a + b, then relu when asked; a and b are lane arrays. */
    void (*scale_shift)(const struct bg_kernel_norm *in);
    /* y = a * ((dy - b) - (x - mean) * d), lane arrays; without d: y = a * dy. */
    void (*apply)(const struct bg_kernel_norm *in);
};

struct bg_kernel_pointwise_table {
    void (*relu)(const float *x, int64_t n, float *y);
    void (*relu_backward)(const float *y, const float *dy, int64_t n, float *dx);
    void (*relu6)(const float *x, int64_t n, float *y);
    void (*relu6_backward)(const float *y, const float *dy, int64_t n, float *dx);
    void (*add)(const float *a, const float *b, int64_t n, float *y);
    void (*decode_u8)(const uint8_t *codes, int64_t n, int32_t zero_point, float scale, float *y);
    /* Both start from *min and *max; false when there was a NaN. */
    bool (*min_max)(const float *x, int64_t n, float *min, float *max);
    bool (*all_finite)(const float *x, int64_t n);
    /* factors: lr, momentum, decay */
    void (*sgd)(float *w, float *m, const float *grad, int64_t n, const float factors[3]);
    void (*sgd_nesterov)(float *w, float *m, const float *grad, int64_t n, const float factors[3]);
};

struct bg_kernel_grid_table {
    void (*project)(const struct bg_kernel_grid *grid, const float *x, int64_t n, float *y);
    int64_t (*clipped)(const struct bg_kernel_grid *grid, const float *x, int64_t n);
    void (*project_backward)(const struct bg_kernel_grid *grid, const float *x, const float *dy,
                             int64_t n, float *dx);
    /* One block of at most BG_KERNEL_BLOCK elements. */
    double (*step_gradient)(const struct bg_kernel_grid *grid, const float *x, const float *dy,
                            int64_t n);
    /* Codes of 8 bits, the signed in two's complement. */
    void (*encode)(const struct bg_kernel_grid *grid, const float *x, int64_t n, uint8_t *codes);
};

/* Requantisation of `rows` rows (core/requant.h). Numbers are lane arrays of bg_kernel_width
 * elements; those a mode does not use are NULL. */
struct bg_kernel_requant {
    int64_t rows, channels;
    int terms;
    const int32_t *acc[BG_REQUANT_TERMS]; /* NULL: codes */
    const uint8_t *codes[BG_REQUANT_TERMS];
    int32_t zero[BG_REQUANT_TERMS]; /* of codes */
    const float *m[BG_REQUANT_TERMS], *c[BG_REQUANT_TERMS];
    const int32_t *bias[BG_REQUANT_TERMS], *multiplier[BG_REQUANT_TERMS], *left[BG_REQUANT_TERMS];
    const int32_t *right;
    int32_t zero_point, lo, hi;
    float low, high; /* limits of v */
    uint8_t *out;
    int64_t stride;
    float *real;
};

struct bg_kernel_requant_table {
    void (*run[BG_REQUANT_MODES])(const struct bg_kernel_requant *in); /* writes out */
    void (*real)(const struct bg_kernel_requant *in);                  /* writes real */
};

/* One block of at most BG_STATS_BLOCK elements; min and max start at +-infinity. */
struct bg_kernel_sums {
    double sum, sum_abs, sum_square;
    float min, max;
    int64_t not_finite;
};

struct bg_kernel_stats_table {
    void (*block)(const float *x, int64_t n, float factor, struct bg_kernel_sums *out);
    /* Adds to the bins, which may be shared by blocks but not by threads. */
    void (*histogram)(const float *x, int64_t n, float factor, uint64_t bins[BG_HISTOGRAM_BINS]);
    void (*scale)(const float *x, int64_t n, float factor, float *v);
    /* block and histogram of v at once: the same numbers. */
    void (*profile)(const float *v, int64_t n, struct bg_kernel_sums *out,
                    uint64_t bins[BG_HISTOGRAM_BINS]);
    double (*square_difference)(const float *a, const float *b, int64_t n); /* b may be NULL */
};

struct bg_kernel_tables {
    const char *isa; /* "base", "avx2", "avx512", "vnni" */
    const struct bg_kernel_norm_table *norm;
    const struct bg_kernel_pointwise_table *pointwise;
    const struct bg_kernel_grid_table *grid;
    const struct bg_kernel_stats_table *stats;
    const struct bg_kernel_requant_table *requant;
    const struct bg_kernel_int_conv_table *int_conv;
    const struct bg_kernel_int_pool_table *int_pool;
    const struct bg_kernel_train_table *train;
    const struct bg_kernel_update_table *update;
    const struct bg_kernel_gradient_table *gradient;
};

/* The tables in use, and those this CPU can run (index 0 to count - 1, "base" first). */
const struct bg_kernel_tables *bg_kernel_tables(void);
int bg_kernel_variant_count(void);
const struct bg_kernel_tables *bg_kernel_variant(int index);
/* Mean and biased variance per channel from those of blocks of `step` rows: block b's means, then
 * its sums of squared distances from them, at scratch + (b + 1) * 2 * channels. core/norm.c. */
void bg_kernel_merge_moments(double *scratch, int64_t rows, int64_t channels, int64_t step,
                             float *mean, float *var);
/* The grid of a channel as the loops need it. */
struct bg_kernel_grid bg_kernel_grid_of(const struct bg_grid *grid, int64_t channel);
/* bg_requant_run and bg_requant_real with the loops of `table`. */
void bg_kernel_requant_run(const struct bg_kernel_requant_table *table,
                           const struct bg_requant *requant, const struct bg_requant_input *inputs,
                           int64_t rows, uint8_t *out, int64_t stride);
void bg_kernel_requant_real(const struct bg_kernel_requant_table *table,
                            const struct bg_requant *requant, const struct bg_requant_input *inputs,
                            int64_t rows, float *out);

/* Lanes for a number of channels: the largest multiple up to BG_KERNEL_WIDTH, or all channels. */
static inline int64_t bg_kernel_width(int64_t channels)
{
    return channels >= BG_KERNEL_WIDTH ? channels : BG_KERNEL_WIDTH / channels * channels;
}

/* For the files compiled several times: BG_KERNEL_TABLE(norm) is bg_kernel_norm_avx2. */
#define BG_KERNEL_PASTE(a_, b_)  bg_kernel_##a_##_##b_
#define BG_KERNEL_EXPAND(a_, b_) BG_KERNEL_PASTE(a_, b_)
#define BG_KERNEL_TABLE(family_) BG_KERNEL_EXPAND(family_, BG_ISA)
#define BG_KERNEL_DECLARE(isa_)                                                                    \
    extern const struct bg_kernel_norm_table bg_kernel_norm_##isa_;                                \
    extern const struct bg_kernel_pointwise_table bg_kernel_pointwise_##isa_;                      \
    extern const struct bg_kernel_grid_table bg_kernel_grid_##isa_;                                \
    extern const struct bg_kernel_stats_table bg_kernel_stats_##isa_;                              \
    extern const struct bg_kernel_requant_table bg_kernel_requant_##isa_;                          \
    extern const struct bg_kernel_int_conv_table bg_kernel_int_conv_##isa_;                        \
    extern const struct bg_kernel_int_pool_table bg_kernel_int_pool_##isa_;                        \
    extern const struct bg_kernel_train_table bg_kernel_train_##isa_;                              \
    extern const struct bg_kernel_update_table bg_kernel_update_##isa_;                            \
    extern const struct bg_kernel_gradient_table bg_kernel_gradient_##isa_
BG_KERNEL_DECLARE(base);
BG_KERNEL_DECLARE(avx2);
BG_KERNEL_DECLARE(avx512);
BG_KERNEL_DECLARE(vnni);

#endif
