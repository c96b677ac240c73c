/* Gradients on grids: what a plan's g and dw ask of a layer (core/NUMERICS.md, "Low-precision
 * gradients"). A grid is symmetric, its step follows from the largest value of the present step;
 * rounding is to nearest even or stochastic, a draw being a function of seed, stream 10, step and
 * the value's index. Largest values do not depend on an order and the rest is elementwise: the same
 * bits for any number of threads and on every instruction set. Nothing allocates. */
#ifndef BG_CORE_GRADIENT_H
#define BG_CORE_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/plan.h"
#include "core/rng.h"
#include "core/round.h"

#define BG_GRADIENT_BITS_MIN 2
#define BG_GRADIENT_BITS_MAX 16
/* Codes of so many bits, up to 255, are bf16 values. */
#define BG_GRADIENT_BITS_BF16 9

struct bg_gradient_grid {
    enum bg_format format; /* f32: none */
    int bits;              /* integers */
    bool per_channel;
    enum bg_rounding rounding; /* integers: nearest or stochastic; bf16 is to nearest even */
};

/* The grid a plan's spec asks for, BG_E_UNSUPPORTED with a sentence when there is none. `key`: "g"
 * or "dw". */
BG_MUST enum bg_status bg_gradient_grid_of(const struct bg_spec *spec, enum bg_rounding rounding,
                                           const char *key, struct bg_gradient_grid *out);
/* Output gradients, rows x channels. The grid lies on t: a[c] * x of f32 values, or what
 * bg_train_apply would round to bf16: fma(a, g, fma(b, z, c)) or, without b and c, a * g. */
struct bg_gradient_pass {
    struct bg_gradient_grid grid;
    int64_t rows, channels;
    const float *x; /* or NULL: g */
    const uint16_t *g, *z;
    const float *a, *b, *c; /* [channels]; with x, a NULL is 1 */
    struct bg_rng rng;      /* seed and step of draws */
    /* Out, one of them: */
    uint16_t *codes; /* t / unit as exact bf16, integers up to BG_GRADIENT_BITS_BF16 bits alone */
    float *values;   /* t on its grid divided by a; may be x */
    float unit;      /* out: of codes */
    void *scratch;   /* bg_gradient_scratch(channels) bytes, aligned for any type */
};
int64_t bg_gradient_scratch(int64_t channels);
/* BG_E_NUMERIC, nothing written, when a t that goes onto integers is not finite. */
BG_MUST enum bg_status bg_gradient_round(struct bg_gradient_pass *pass);

/* Weight gradients dw, outputs x each, in place. A range with a NaN or infinity stays as it is. */
struct bg_gradient_weights {
    struct bg_gradient_grid grid;
    float *dw;
    int64_t outputs, each;
    struct bg_rng rng;
};
void bg_gradient_round_weights(const struct bg_gradient_weights *in);

#endif
