/* Private: the vectors of core/kernel_train_vec.h as arrays, for every instruction set. */
#ifndef BG_CORE_KERNEL_TRAIN_PLAIN_H
#define BG_CORE_KERNEL_TRAIN_PLAIN_H

#include "core/kernel_train_vec.h"

#if !BG_TRAIN_AVX512
#include <math.h>

typedef struct {
    float v[VEC];
} vec;
typedef int64_t vec_count; /* of bits */

INLINE vec vec_set(float x)
{
    vec r;

    for (int i = 0; i < VEC; i++)
        r.v[i] = x;
    return r;
}

INLINE vec vec_load(const float *x)
{
    vec r;

    memcpy(r.v, x, sizeof r.v);
    return r;
}

INLINE void vec_store(float *y, vec x, int64_t n)
{
    memcpy(y, x.v, (size_t)n * sizeof *y);
}

INLINE vec vec_from_bf16(const uint16_t *x, int64_t n)
{
    uint16_t half[VEC] = {0};
    uint32_t bits[VEC];
    vec r;

    memcpy(half, x, (size_t)n * sizeof *x);
    for (int i = 0; i < VEC; i++)
        bits[i] = (uint32_t)half[i] << 16;
    memcpy(r.v, bits, sizeof bits);
    return r;
}

INLINE vec vec_from_s32(const int32_t *x, int64_t n)
{
    int32_t wide[VEC] = {0};
    vec r;

    memcpy(wide, x, (size_t)n * sizeof *x);
    for (int i = 0; i < VEC; i++)
        r.v[i] = (float)wide[i];
    return r;
}

INLINE vec vec_from_codes(const uint8_t *x, int32_t zero, int64_t n)
{
    uint8_t bytes[VEC] = {0};
    vec r;

    memcpy(bytes, x, (size_t)n);
    for (int i = 0; i < VEC; i++)
        r.v[i] = (float)(bytes[i] - zero);
    return r;
}

INLINE vec vec_add(vec a, vec b)
{
    for (int i = 0; i < VEC; i++)
        a.v[i] += b.v[i];
    return a;
}

INLINE vec vec_sub(vec a, vec b)
{
    for (int i = 0; i < VEC; i++)
        a.v[i] -= b.v[i];
    return a;
}

INLINE vec vec_mul(vec a, vec b)
{
    for (int i = 0; i < VEC; i++)
        a.v[i] *= b.v[i];
    return a;
}

/* a * b + c, rounded once */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    for (int i = 0; i < VEC; i++)
        c.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    return c;
}

INLINE vec vec_abs(vec x)
{
    for (int i = 0; i < VEC; i++)
        x.v[i] = fabsf(x.v[i]);
    return x;
}

INLINE vec vec_min(vec a, vec b)
{
    for (int i = 0; i < VEC; i++)
        b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return b;
}

INLINE vec vec_max(vec a, vec b)
{
    for (int i = 0; i < VEC; i++)
        b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return b;
}

/* Lanes of x whose bit is set, 0 elsewhere. */
INLINE vec vec_keep(vec x, uint16_t lanes)
{
    for (int i = 0; i < VEC; i++)
        x.v[i] = (lanes >> i & 1) != 0 ? x.v[i] : 0.0f;
    return x;
}

/* x where the bit is set, y elsewhere. */
INLINE vec vec_choose(uint16_t lanes, vec x, vec y)
{
    for (int i = 0; i < VEC; i++)
        y.v[i] = (lanes >> i & 1) != 0 ? x.v[i] : y.v[i];
    return y;
}

INLINE uint16_t vec_at_most(vec x, vec high)
{
    uint32_t lanes = 0;

    for (int i = 0; i < VEC; i++)
        lanes |= (uint32_t)(x.v[i] <= high.v[i]) << i;
    return (uint16_t)lanes;
}

/* Of the bits set: where x > low, or x >= low. */
INLINE uint16_t vec_above(uint16_t bits, vec x, vec low)
{
    uint32_t lanes = 0;

    for (int i = 0; i < VEC; i++)
        lanes |= (uint32_t)(x.v[i] > low.v[i]) << i;
    return (uint16_t)(bits & lanes);
}

INLINE uint16_t vec_at_least(uint16_t bits, vec x, vec low)
{
    uint32_t lanes = 0;

    for (int i = 0; i < VEC; i++)
        lanes |= (uint32_t)(x.v[i] >= low.v[i]) << i;
    return (uint16_t)(bits & lanes);
}

/* NaN where x is, `seen` elsewhere. */
INLINE vec vec_note_nan(vec seen, vec x)
{
    for (int i = 0; i < VEC; i++)
        seen.v[i] = x.v[i] != x.v[i] ? x.v[i] : seen.v[i];
    return seen;
}

/* Rounded to a bf16. */
INLINE vec vec_round(vec x)
{
    uint32_t bits[VEC];

    memcpy(bits, x.v, sizeof bits);
    for (int i = 0; i < VEC; i++) {
        uint32_t r = bits[i] + 0x7fff + (bits[i] >> 16 & 1);
        bits[i] = (bits[i] & 0x7fffffff) > 0x7f800000 ? 0xffc00000u : r & 0xffff0000u;
    }
    memcpy(x.v, bits, sizeof bits);
    return x;
}

/* x is a bf16 already */
INLINE void vec_keep_bf16(uint16_t *y, vec x, int64_t n)
{
    uint32_t bits[VEC];
    uint16_t half[VEC];

    memcpy(bits, x.v, sizeof bits);
    for (int i = 0; i < VEC; i++)
        half[i] = (uint16_t)(bits[i] >> 16);
    memcpy(y, half, (size_t)n * sizeof *y);
}

INLINE void vec_to_bf16(uint16_t *y, vec x, int64_t n)
{
    vec_keep_bf16(y, vec_round(x), n);
}

/* Two whole vectors. */
INLINE void vec_to_bf16_two(uint16_t *y, vec x0, vec x1)
{
    vec_to_bf16(y, x0, VEC);
    vec_to_bf16(y + VEC, x1, VEC);
}

INLINE void vec_keep_bf16_two(uint16_t *y, vec x0, vec x1)
{
    vec_keep_bf16(y, x0, VEC);
    vec_keep_bf16(y + VEC, x1, VEC);
}

/* Between its limits |x| is at most 255, where the constant of core/kernel_grid.c rounds. */
INLINE void vec_to_codes(uint8_t *y, vec x, struct code_limits limits, int64_t n)
{
    const vec low = vec_set((float)(limits.lo - limits.zero));
    const vec high = vec_set((float)(limits.hi - limits.zero));
    uint8_t bytes[VEC];

    x = vec_min(vec_max(x, low), high);
    for (int i = 0; i < VEC; i++)
        bytes[i] = (uint8_t)((int32_t)((x.v[i] + 12582912.0f) - 12582912.0f) + limits.zero);
    memcpy(y, bytes, (size_t)n);
}

INLINE void vec_to_codes_four(uint8_t *y, const vec x[4], struct code_limits limits)
{
    for (int k = 0; k < 4; k++)
        vec_to_codes(y + k * VEC, x[k], limits, VEC);
}

INLINE vec_count vec_count_none(void)
{
    return 0;
}

INLINE vec_count vec_add_bits(vec_count count, uint16_t bits)
{
    return count + __builtin_popcount(bits);
}

INLINE int64_t vec_counted(vec_count count)
{
    return count;
}

/* 16 bits, bit j of byte k for lane 8 * k + j, or 8 when n is not more. */
INLINE void vec_store_bits(uint8_t *y, uint16_t bits, int64_t n)
{
    y[0] = (uint8_t)bits;
    if (n > 8)
        y[1] = (uint8_t)(bits >> 8);
}

/* totals[j] += x[j] */
INLINE void vec_add_to(double *totals, vec x)
{
    for (int i = 0; i < VEC; i++)
        totals[i] += (double)x.v[i];
}

#endif

#endif
