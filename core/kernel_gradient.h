/* Private: the loops behind core/gradient.h, part of core/kernel_table.h. */
#ifndef BG_CORE_KERNEL_GRADIENT_H
#define BG_CORE_KERNEL_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"

/* Whole rows of rows x channels. Numbers of channels are lane arrays: of bg_kernel_width(channels)
 * values, rows side by side when channels are few. */
struct bg_kernel_gradient {
    int64_t first, rows, channels; /* rows first to first + rows - 1 */
    const float *x;
    const uint16_t *g, *z;
    const float *a, *b, *c;
    /* code = round(t * inverse) held to +-limit; out: code * step. bf16: no inverse, bf16(t) *
     * step. */
    const float *inverse, *step;
    float limit;
    bool stochastic;
    struct bg_rng rng;
    uint16_t *codes; /* the upper half of code * step, which is exact */
    float *values;
};

/* A range of one channel, in place; value i draws number `index` + i. */
struct bg_kernel_gradient_range {
    float *x;
    int64_t n, index;
    float inverse, step, limit; /* inverse 0: bf16 */
    bool stochastic;
    struct bg_rng rng;
};

struct bg_kernel_gradient_table {
    /* peaks[c] = bits of the largest |t| of channel c, at least what it was; what is not finite is
     * larger than any number. */
    void (*peaks)(const struct bg_kernel_gradient *in, uint32_t *peaks);
    void (*round)(const struct bg_kernel_gradient *in);
    uint32_t (*peak)(const float *x, int64_t n);
    void (*round_range)(const struct bg_kernel_gradient_range *in);
};

#endif
