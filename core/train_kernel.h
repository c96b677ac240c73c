/* The elementwise passes of fast training, one read and one write each over bf16 and u8 tensors of
 * rows x channels: batch statistics, the fused step forward (norms, sum, activation, quantise,
 * mask, range) and its two passes backward (masked sum of gradients with the sums batch norm needs;
 * then the gradient of each accumulator). Threaded over fixed blocks of rows, partial sums added in
 * block order: the same bits for any number of threads and on every instruction set. Nothing
 * allocates or fails. bf16 is uint16_t, rounded to nearest even. */
#ifndef BG_CORE_TRAIN_KERNEL_H
#define BG_CORE_TRAIN_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stats.h"

#define BG_TRAIN_TERMS 4

/* f64 values of scratch that statistics and reduce need for `sums` sums per channel. */
int64_t bg_train_scratch(int64_t rows, int64_t channels, int sums);

/* Mean and biased variance per channel of z. scratch: sums = 2. */
void bg_train_statistics(const uint16_t *z, int64_t rows, int64_t channels, float *mean, float *var,
                         double *scratch);

/* One term of v = sum over terms of value * a[c] + b[c], in units of the output's scale, left to
 * right in f32 without fusing. Exactly one of z, acc and codes is given; the value of codes is code
 * - zero_point. */
struct bg_train_term {
    const uint16_t *z;
    const int32_t *acc;
    const uint8_t *codes;
    int32_t zero_point;
    const float *a, *b; /* [channels] */
};

struct bg_train_forward {
    int64_t rows, channels;
    int terms;
    struct bg_train_term term[BG_TRAIN_TERMS];
    /* code = zero_point + rne(v) held in [lo, hi], lo for NaN, all within 0 to 255; the gradient
     * passes where pass_low < v <= pass_high. */
    int32_t zero_point, lo, hi;
    float pass_low, pass_high;
    uint8_t *codes;  /* out */
    uint8_t *mask;   /* out: bit i % 8 of byte i / 8 for element i; (rows * channels + 7) / 8; bits
                        behind the last element are 0; NULL = not wanted */
    float *values;   /* out: v in f32 as well; NULL = not wanted */
    float min, max;  /* out: of v; NaN when a v is NaN, 0 when there is none */
    int64_t clipped; /* out: elements with v outside [lo - zero_point - 1/2, hi - zero_point +
                        1/2], NaN among them; with relu, those it cuts off by more than 1/2 too */
};
void bg_train_forward(struct bg_train_forward *in);

/* g = mask * (sum of d[0..gradients-1]), added left to right in f32 and rounded once (one gradient
 * keeps its bits); sum[c] = sum of g as rounded, dot[t][c] = sum of g * z[t]; bounds of both in
 * core/kernel_train_sums.c. g may be one of d. `mask` NULL passes everything; `sum` may be NULL.
 * scratch: sums = 1 + terms. */
struct bg_train_reduce {
    int64_t rows, channels;
    int gradients;
    const uint16_t *d[BG_TRAIN_TERMS];
    const uint8_t *mask;
    uint16_t *g;
    int terms;
    const uint16_t *z[BG_TRAIN_TERMS];
    double *sum, *dot[BG_TRAIN_TERMS]; /* out: [channels] */
    double *scratch;
    double *seen[BG_TRAIN_TERMS]; /* for d[i]: scratch of an observer, which is given its sums while
                                     d[i] is at hand; NULL = none */
};
void bg_train_reduce(const struct bg_train_reduce *in);

/* Numbers of each channel that an observer needs. */
#define BG_TRAIN_SEEN 6

/* Adds to *stats the values of x, each times its channel's factor (finite, > 0); no histogram. Sums
 * and squares are those of x in f32 and f64, multiplied at the end; bounds in
 * core/kernel_train_observe.c. What is not finite in x enters count and not_finite alone. scratch:
 * sums = BG_TRAIN_SEEN. */
struct bg_train_observe {
    const uint16_t *x;
    int64_t rows, channels;
    const float *factor; /* [channels] */
    struct bg_stats *stats;
    double *square; /* out: mean square per channel; NULL = not wanted */
    double *scratch;
    bool summed; /* reduce or apply has left the blocks' sums in scratch */
};
void bg_train_observe(const struct bg_train_observe *in);

/* dz[t] = a[t][c] * g + b[t][c] * z[t] + c[t][c], computed as fma(a, g, fma(b, z, c)); without b
 * and c (NULL): dz = a * g. dz[t] may be g for the last term alone. All terms in one pass over g.
 */
struct bg_train_apply {
    int64_t rows, channels;
    const uint16_t *g;
    int terms;
    const uint16_t *z[BG_TRAIN_TERMS];
    const float *a[BG_TRAIN_TERMS], *b[BG_TRAIN_TERMS], *c[BG_TRAIN_TERMS];
    uint16_t *dz[BG_TRAIN_TERMS];
    double *seen[BG_TRAIN_TERMS]; /* for dz[t], as in bg_train_reduce */
};
void bg_train_apply(const struct bg_train_apply *in);

/* Average pool backward over whole images: dx[n][p][c] = g[n][c] * factor, p over `pixels`. */
void bg_train_spread(const uint16_t *g, int64_t images, int64_t pixels, int64_t channels,
                     float factor, uint16_t *dx);
/* Largest code of each window with its position (row-major inside the window), the first on a tie;
 * backward sends dy there (windows may overlap: sums in f32, rounded once). */
struct bg_pool_shape;
void bg_train_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                       uint8_t *where);
void bg_train_max_pool_backward(const struct bg_pool_shape *shape, const uint8_t *where,
                                const uint16_t *dy, uint16_t *dx);

void bg_train_from_f32(const float *x, int64_t n, uint16_t *y);
/* y = x * factor */
void bg_train_to_f32(const uint16_t *x, int64_t n, float factor, float *y);
/* y = x * factor[c] over rows x channels */
void bg_train_scale_to_f32(const uint16_t *x, int64_t rows, int64_t channels, const float *factor,
                           float *y);
/* y = x * a[c] + b[c], rounded once */
void bg_train_affine_to_f32(const uint16_t *x, int64_t rows, int64_t channels, const float *a,
                            const float *b, float *y);
/* y = x * factor[c] rounded to f32, then to bf16; sum[c] = sum of x, bound in
 * core/kernel_train_sums.c. scratch: sums = 1. */
void bg_train_scale_from_f32(const float *x, int64_t rows, int64_t channels, const float *factor,
                             uint16_t *y, double *sum, double *scratch);

#endif
