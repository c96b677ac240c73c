/* One weight moved in integers: the scalar definition of P3 (accumulation buffer, US11544549) and
 * P4 (residual gradient, US12511528) as core/NUMERICS.md, "Integer updates", states them, and the
 * pass over many weights that equals it bit for bit (core/kernel_update.c). Units are the
 * residual's last bit. Right shifts of negative numbers are arithmetic (gcc, clang). */
#ifndef BG_CORE_INTEGER_UPDATE_H
#define BG_CORE_INTEGER_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/param.h"

enum bg_tune { BG_TUNE_NEAREST, BG_TUNE_FLOOR, BG_TUNE_TRUNC, BG_TUNE_STOCHASTIC, BG_TUNES };
enum bg_fire { BG_FIRE_TRUNC, BG_FIRE_BIT_RULE, BG_FIRE_NEAREST, BG_FIRE_FLOOR, BG_FIRES };

/* Drops `bits` low bits of g. Nearest: half to even. */
int64_t bg_tune_bits(int64_t g, int bits, enum bg_tune tune);

struct bg_split {
    int64_t weight, low;
    bool saturated;
};
/* P4 (c) 3 to 5: T = W * 2^r + R + sum; W' = T >> r, R' = T mod 2^r; W' is held in [least, most].
 */
struct bg_split bg_residual_mapping(const struct bg_split *from, int64_t sum, int r,
                                    const int64_t limits[2]);
/* P4 (c) 6, the same from concatenated words: C + Pd + sum. */
struct bg_split bg_residual_concat(const struct bg_split *from, int64_t sum, int r,
                                   const int64_t limits[2]);

/* P3 (c) 2: what leaves the buffer `a`, in units of theta = 2^t. */
int64_t bg_threshold_effective(int64_t a, int t, enum bg_fire fire);
struct bg_buffer {
    int64_t weight, sum, dropped; /* dropped: weight steps beyond the limits */
};
/* One check: the effective part moves to the weight, whose last bit is 2^r; theta = 2^(r + n). */
struct bg_buffer bg_threshold_check(const struct bg_buffer *from, const int r_n[2],
                                    enum bg_fire fire, const int64_t limits[2]);

/* Dynamic fixed point: the weight's fraction becomes k bits shorter, and what is cut off it goes to
 * the buffer, whose bits stay where they are: r' = r + k. */
struct bg_buffer bg_threshold_point(const struct bg_buffer *from, int r, int k);

/* Floating-point form: the value of the last bit of |w| for a format with `mantissa` bits, and the
 * second bias whose largest exponent field covers that step with `headroom` bits. */
double bg_float_step(double w, int mantissa, int least_exponent);
int bg_second_bias(double step, int field_max, int headroom);
struct bg_float_format;
/* To a number of the format that is not larger than its largest. By chance: at `draw` of [0, 1). */
double bg_float_round(const struct bg_float_format *format, double x, enum bg_tune tune);
double bg_float_chance(const struct bg_float_format *format, double x, double draw);
struct bg_float_buffer {
    double weight, sum, dropped; /* dropped: what the weight cannot take */
};
/* One check: what is a multiple of theta = 2^n of the weight's own last bit moves. Where the weight
 * becomes so large that its last bit is worth more, what is cut off it stays in the buffer. By
 * truncation or to nearest: floats have no bits that overlap, and what a floor leaves of a small
 * negative sum need not fit one. */
struct bg_float_buffer bg_threshold_float(const struct bg_float_buffer *from,
                                          const struct bg_float_format *weight,
                                          const struct bg_float_format *buffer, int n,
                                          enum bg_fire fire);

/* What a step does; the optimizer of policies/step.h in numbers. */
struct bg_store_step {
    double lr, momentum, decay;
    bool nesterov;
    bool gradient; /* round lr * gradient before the momentum, and the step again */
    enum bg_tune tune;
    enum bg_fire fire;
    bool refit;      /* callers re-fit the grid first */
    bool check;      /* buffers: now; sums of several gradients: written now */
    int bit;         /* buffer forms: n, theta = 2^(r + n) */
    int64_t largest; /* a single move, in units of the residual; larger ones are cut and counted */
    uint64_t seed, step; /* of stochastic tuning */
};
/* Moves a parameter that has a store: optimizer, rounding, W and R, and through the sink the packed
 * codes. Same bits for any thread count and instruction set. */
void bg_integer_update(struct bg_param *param, const struct bg_store_step *step);
/* The most that one step moves a weight of channel 0 by; what is larger is held to it and counted
 * (bg_store.beyond). Buffers: what they hold. Residuals and Kahan: 2^(bits + 1) of the weight's
 * steps, more on grids that are re-fitted, and at most 2^30 last bits. */
double bg_integer_most(const struct bg_param *param, const struct bg_store_step *step);

#endif
