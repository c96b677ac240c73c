/* A grid: the set of real numbers a quantized tensor may hold, and the integer codes that name
 * them.
 *
 * real = (code - zero_point) * scale[channel], code in [qmin, qmax] (core/NUMERICS.md, "Codes and
 * grids"). Each kind of grid is one table of functions; affine is the first. Fixed point and power
 * of two are affine with restricted scales; codebook and minifloat kinds read `levels` and give
 * codes by search. Quantizing is q = clamp(rne(r/s) + z, qmin, qmax), in f32, in this order. */
#ifndef BG_CORE_GRID_H
#define BG_CORE_GRID_H

#include <stdbool.h>
#include <stdint.h>

#include "core/round.h"
#include "core/status.h"

#define BG_BITS_MAX 16

struct bg_grid;

struct bg_grid_kind {
    const char *name; /* "affine" */
    /* codes[i] from x[i], all of one channel. `random` is NULL or one word per element; without
     * it, stochastic rounding is nearest. NaN gets the code of real 0 (binary: -1). */
    void (*encode)(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                   const uint32_t *random, int32_t *codes);
    void (*decode)(const struct bg_grid *grid, int64_t channel, const int32_t *codes, int64_t n,
                   float *x);
};

extern const struct bg_grid_kind bg_grid_affine;

struct bg_grid {
    const struct bg_grid_kind *kind;
    int bits; /* 1..16 */
    bool is_signed;
    bool binary;        /* 1-bit weights: codes -1 and +1 only (w >= 0 -> +1) */
    int32_t qmin, qmax; /* smallest and largest code */
    int32_t zero_point; /* 0 for symmetric grids */
    enum bg_rounding rounding;
    int64_t channels;    /* 1 = per tensor */
    float *scale;        /* channels values, > 0; owned by whoever made the grid */
    const float *levels; /* codebook and minifloat kinds: real value of each code; NULL otherwise */
};

/* Code limits for a width; a grid without a kind becomes affine. Signed narrow: [-(2^(b-1)-1),
 * 2^(b-1)-1] (default for weights), signed full:
 * [-2^(b-1), 2^(b-1)-1]; unsigned: [0, 2^b - 1]; 1-bit signed is binary {-1, +1}. Does not touch
 * scale or zero_point. BG_E_RANGE outside 1..16 bits ("17 bits: limit is 16"). */
BG_MUST enum bg_status bg_grid_limits(struct bg_grid *grid, int bits, bool is_signed, bool narrow);

/* Sets scale[channel] (and zero_point, which is shared: only when channels == 1) so that [lo, hi]
 * fits. The range is widened to include 0. symmetric: scale = max(|lo|,|hi|)/qmax, z = 0. Otherwise
 * z = rne(qmin - lo/scale) clamped to [qmin, qmax]. An empty range (lo == hi == 0) gives scale 1.
 * The scale is held in [2^-126, 2^111]. Asymmetric with several channels: BG_E_UNSUPPORTED.
 * Non-finite lo or hi: BG_E_NUMERIC. */
BG_MUST enum bg_status bg_grid_fit(struct bg_grid *grid, int64_t channel, float lo, float hi,
                                   bool symmetric);

void bg_grid_encode(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                    const uint32_t *random, int32_t *codes);
void bg_grid_decode(const struct bg_grid *grid, int64_t channel, const int32_t *codes, int64_t n,
                    float *x);
/* y = decode(encode(x)) with nearest rounding; y may be x. Dispatches to the fast kernel. */
void bg_grid_project(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                     float *y);
/* Sum of (x - project(x))^2, block-ordered. */
double bg_grid_error(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n);
/* Values of channel that are not clipped lie in [*lo, *hi]: (qmin - z - 1/2) * s and (qmax - z +
 * 1/2) * s. */
void bg_grid_clip_limits(const struct bg_grid *grid, int64_t channel, float *lo, float *hi);

#endif
