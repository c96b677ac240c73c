/* Private: the range functions behind core/train_kernel.h, part of core/kernel_table.h.
 *
 * Elementwise passes walk elements first to first + n of dense arrays, 16 at a time. The numbers of
 * element i stand in lane arrays at i % period; lane arrays hold `lanes` values, at least period:
 * what is behind period repeats the beginning, so that 16 values can be read anywhere in front of
 * lanes - 15. Sums walk panels of up to BG_TRAIN_LANES channels. All structs carry whole arrays:
 * ranges differ in their first numbers alone. */
#ifndef BG_CORE_KERNEL_TRAIN_H
#define BG_CORE_KERNEL_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/dnn.h"
#include "core/train_kernel.h"

/* Elements of one range of an elementwise pass; a multiple of 8, so that ranges share no byte of
 * the mask. */
#define BG_TRAIN_BLOCK 16384
/* Lane arrays of few channels (bg_kernel_width): whole rows, then once more their beginning. */
#define BG_TRAIN_PERIOD (256 + 16)
/* Sums: lanes of one vector, vectors added in f32 before they go to f64, vectors of one block. */
#define BG_TRAIN_LANES   64
#define BG_TRAIN_RUN     16
#define BG_TRAIN_VECTORS 256

enum { SEEN_SUM, SEEN_ABS, SEEN_SQUARE, SEEN_MIN, SEEN_MAX, SEEN_NOT_FINITE };

struct bg_kernel_train_forward {
    int64_t first, n, period, lanes;
    int terms;
    struct bg_train_term term[BG_TRAIN_TERMS]; /* a and b are lane arrays */
    int32_t zero_point, lo, hi;
    float pass_low, pass_high; /* the gradient's limits */
    float clip_low, clip_high;
    uint8_t *codes, *mask; /* mask may be NULL */
    float *values;         /* may be NULL */
};

/* Of one range; starts as {INFINITY, -INFINITY, 0, 0}. */
struct bg_kernel_train_seen {
    float min, max; /* over what is not NaN */
    int64_t inside; /* of the clip limits */
    bool nan;
};

/* `rows` rows from row `first`, channels of one panel: of few channels all, from channel 0. */
struct bg_kernel_train_sums {
    int64_t first, rows, channels, channel;
    int gradients, terms;
    const uint16_t *d[BG_TRAIN_TERMS], *z[BG_TRAIN_TERMS];
    const uint8_t *mask;
    uint16_t *g;
    const float *x, *factor; /* scale: factor[channel] */
};

struct bg_kernel_train_apply {
    int64_t first, n, period, lanes;
    const uint16_t *g;
    int terms;
    const uint16_t *z[BG_TRAIN_TERMS];
    const float *a[BG_TRAIN_TERMS], *b[BG_TRAIN_TERMS], *c[BG_TRAIN_TERMS]; /* lane arrays */
    uint16_t *dz[BG_TRAIN_TERMS];
};

struct bg_kernel_train_table {
    /* partial[c]: mean of the panel's c-th channel over the block, partial[channels + c]: sum of
     * squared distances from it. */
    void (*statistics)(const struct bg_kernel_train_sums *in, double *partial);
    void (*forward)(const struct bg_kernel_train_forward *in, struct bg_kernel_train_seen *seen);
    /* Writes g; partial[c] = sum g, partial[(1 + t) * channels + c] = sum g * z[t]. */
    void (*reduce)(const struct bg_kernel_train_sums *in, double *partial);
    /* The same, and `observe` of d[0], which must not be g. */
    void (*reduce_observe)(const struct bg_kernel_train_sums *in, double *partial,
                           double *observed);
    /* The BG_TRAIN_SEEN numbers of each channel of z[0], over its finite values, `channels` apart:
     * sum, sum of |x|, sum of squares, least and largest (infinity and -infinity without any), and
     * how many are not finite. */
    void (*observe)(const struct bg_kernel_train_sums *in, double *partial);
    void (*apply)(const struct bg_kernel_train_apply *in);
    /* The totals in front of scratch: every channel's numbers over all blocks, in block order. */
    void (*merge_seen)(double *scratch, int64_t blocks, int64_t channels);
    /* apply and observe of a single term over one part of rows: the same dz and numbers. */
    void (*apply_observe)(const struct bg_kernel_train_apply *in,
                          const struct bg_kernel_train_sums *part, double *partial);
    /* One image: each of `pixels` rows of dx is g * factor. */
    void (*spread)(const uint16_t *g, int64_t pixels, int64_t channels, float factor, uint16_t *dx);
    /* One row of outputs y, or of inputs y. */
    void (*max_row)(const struct bg_pool_shape *shape, const uint8_t *image, int64_t y,
                    uint8_t *dst, uint8_t *where);
    void (*max_row_backward)(const struct bg_pool_shape *shape, const uint8_t *where,
                             const uint16_t *dy, int64_t y, uint16_t *dx);
    void (*from_f32)(const float *x, int64_t n, uint16_t *y);
    void (*to_f32)(const uint16_t *x, int64_t n, float factor, float *y);
    /* y[i] = z[0] * a[0] of element first + i */
    void (*scale_to_f32)(const struct bg_kernel_train_apply *in, float *y);
    /* y[i] = fma(z[0], a[0], b[0]) of element first + i */
    void (*affine_to_f32)(const struct bg_kernel_train_apply *in, float *y);
    /* g = x * factor; partial[c] = sum x */
    void (*scale_from_f32)(const struct bg_kernel_train_sums *in, double *partial);
};

/* Rows of a vector: side by side when channels are few. */
static inline int64_t bg_train_vector_rows(int64_t channels)
{
    return channels < BG_TRAIN_LANES ? BG_TRAIN_LANES / channels : 1;
}

/* Fills in period, lanes, z[0] and a[0]; `space` is where a[0] may be. */
void bg_kernel_train_scale(struct bg_kernel_train_apply *out, const uint16_t *z, int64_t channels,
                           const float *a, float space[BG_TRAIN_PERIOD]);

/* core/train_kernel.h with the loops of `table`. */
void bg_kernel_train_statistics(const struct bg_kernel_train_table *table,
                                const struct bg_kernel_train_sums *all, float *mean, float *var,
                                double *scratch); /* all: rows, channels, z[0] */
void bg_kernel_train_forward(const struct bg_kernel_train_table *table,
                             struct bg_train_forward *in);
void bg_kernel_train_reduce(const struct bg_kernel_train_table *table,
                            const struct bg_train_reduce *in);
void bg_kernel_train_observe(const struct bg_kernel_train_table *table,
                             const struct bg_train_observe *in);
void bg_kernel_train_apply(const struct bg_kernel_train_table *table,
                           const struct bg_train_apply *in);
void bg_kernel_train_affine(const struct bg_kernel_train_table *table,
                            const struct bg_train_apply *in, float *y); /* z, a, b of term 0 */
void bg_kernel_train_scale_from(const struct bg_kernel_train_table *table,
                                const struct bg_kernel_train_sums *all, double *sum,
                                double *scratch); /* all: rows, channels, x, factor, g */

/* Files of this family that others call: one of each for every instruction set. */
#ifdef BG_ISA
#define BG_TRAIN_PASTE(name_, isa_)  bg_kernel_##name_##_##isa_
#define BG_TRAIN_EXPAND(name_, isa_) BG_TRAIN_PASTE(name_, isa_)
#define BG_TRAIN_NAME(name_)         BG_TRAIN_EXPAND(name_, BG_ISA)
void BG_TRAIN_NAME(train_statistics)(const struct bg_kernel_train_sums *in, double *partial);
void BG_TRAIN_NAME(train_reduce)(const struct bg_kernel_train_sums *in, double *partial);
void BG_TRAIN_NAME(train_observe)(const struct bg_kernel_train_sums *in, double *partial);
void BG_TRAIN_NAME(train_scale_from_f32)(const struct bg_kernel_train_sums *in, double *partial);
void BG_TRAIN_NAME(train_reduce_observe)(const struct bg_kernel_train_sums *in, double *partial,
                                         double *observed);
void BG_TRAIN_NAME(train_merge_seen)(double *scratch, int64_t blocks, int64_t channels);
void BG_TRAIN_NAME(train_apply_observe)(const struct bg_kernel_train_apply *in,
                                        const struct bg_kernel_train_sums *part, double *partial);
void BG_TRAIN_NAME(train_forward)(const struct bg_kernel_train_forward *in,
                                  struct bg_kernel_train_seen *seen);
#endif

#endif
