/* The plan: per layer and role, in how many bits on what grid. A plain value.
 *
 * Text form: a line `requant NAME` (f32-rne when absent) and one line per layer; '#' starts a
 * comment. Fields stand in any order; a missing one is f32 (w, a, g, dw) or sgd (u):
 *
 *   requant f32-rne
 *   conv1  w=s4/channel  a=u8  g=bf16  dw=f32  u=residual:8
 *
 *   w  weight: f32 | sN | sN/channel | sN/tensor (sN alone = /channel)
 *   a  input activation: f32 | uN (unsigned or affine is decided by the tensor: core/NUMERICS.md,
 *      "Codes and grids")
 *   g  output gradient, dw weight gradient: f32 (as the compute has it) | bf16 | sN | sN/channel |
 *      sN/tensor (sN alone = /tensor), N from 2 (core/NUMERICS.md, "Low-precision gradients")
 *   u  update: method or method:bits
 *
 * N is 1 to 16. What a network cannot honour is refused where the plan is put on it. Printing is
 * canonical: print(parse(t)) is a fixed point and parse(print(p)) == p. */
#ifndef BG_CORE_PLAN_H
#define BG_CORE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "core/text.h"

enum bg_role {
    BG_ROLE_WEIGHT,
    BG_ROLE_ACTIVATION,
    BG_ROLE_OUT_GRAD,
    BG_ROLE_WEIGHT_GRAD,
    BG_ROLES
};

enum bg_format { BG_FORMAT_F32, BG_FORMAT_BF16, BG_FORMAT_INTEGER };

struct bg_spec {
    enum bg_format format;
    int bits;         /* integer formats: 1..16; else 0 */
    bool per_channel; /* weights and gradients */
};

struct bg_plan_layer {
    char name[BG_NAME_MAX];
    struct bg_spec spec[BG_ROLES];
    char update[BG_NAME_MAX]; /* method name */
    int update_bits;          /* residual bits; 0 = not said, BG_PLAN_NO_BITS = said to be 0 */
};
#define BG_PLAN_NO_BITS (-1)
/* What update_bits says. */
static inline int bg_plan_bits(int update_bits)
{
    return update_bits > 0 ? update_bits : 0;
}

struct bg_plan {
    char requant[BG_NAME_MAX]; /* "f32-rne", "fixed-single", "fixed-double", "pow2-rne" */
    int count;
    struct bg_plan_layer *layer; /* owned */
};

/* A plan of `count` layers, everything f32. Free with bg_plan_free (takes a zeroed plan). */
BG_MUST enum bg_status bg_plan_make(struct bg_plan *out, const char *const *names, int count);
void bg_plan_free(struct bg_plan *plan);
BG_MUST enum bg_status bg_plan_copy(struct bg_plan *out, const struct bg_plan *from);
/* `file` is for messages: "plan.txt:3: layer conv1: w=s17: 17 bits, limit is 16". Layer names must
 * be unique. */
BG_MUST enum bg_status bg_plan_parse(struct bg_plan *out, const char *file, const char *text);
void bg_plan_print(const struct bg_plan *plan, struct bg_text *text);
bool bg_plan_equal(const struct bg_plan *a, const struct bg_plan *b);
struct bg_plan_layer *bg_plan_find(const struct bg_plan *plan, const char *name); /* or NULL */
/* Integers of 1 to 16 bits; 0 and 32 are f32. */
struct bg_spec bg_spec_integer(int bits, bool per_channel);
/* Bits that a number of this spec takes: 32, 16 or bits. */
int bg_spec_bits(const struct bg_spec *spec);

#endif
