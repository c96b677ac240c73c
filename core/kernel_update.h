/* Private: the loop behind bg_integer_update. */
#ifndef BG_CORE_KERNEL_UPDATE_H
#define BG_CORE_KERNEL_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/integer_update.h"
#include "core/rng.h"
#include "core/store.h"

#define BG_UPDATE_CHUNK 512

/* A run of weights of one channel. */
struct bg_kernel_update {
    int64_t n;
    const float *grad;
    float *state; /* f32 momentum, NULL: `momentum` or none */
    void *momentum, *codes, *below;
    int32_t *sum; /* several gradients per write, else NULL */
    enum bg_store_momentum format;
    enum bg_store_form form;
    int code_bytes, below_bytes;
    float scale, last, inverse; /* s, s * 2^-r, 2^r / s */
    int shift, half;            /* r, o */
    int32_t qmin, qmax;
    int32_t largest, limit; /* of a move; of the buffer */
    float lr, mu, decay;
    bool nesterov, gradient, check; /* check: buffers and sums are looked at now */
    int finer;                      /* bits of a sum below the residual */
    enum bg_tune tune;
    enum bg_fire fire;
    int theta; /* r + n; floating point: n */
    /* floating point: weight and buffer, their bits of exponent and largest numbers */
    struct bg_float_format floats[2];
    int exponent[2];
    float most[2];
    struct bg_rng rng; /* of stochastic tuning: weight i draws word `index` + i */
    int64_t index;
    int64_t written, saturated, lost, kept, beyond; /* counts are added */
};

struct bg_kernel_update_table {
    void (*run)(struct bg_kernel_update *in);
    /* A run of the usual kind (core/kernel_update_split.c), where there is a loop for it: run takes
     * it by itself. False: nothing was done. */
    bool (*usual)(struct bg_kernel_update *in);
    /* Floating point: the n weights of in->codes. */
    void (*weights)(const struct bg_kernel_update *in, float *values);
};

#endif
