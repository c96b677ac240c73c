/* Private to core/kernel_update*.c, which are compiled once per instruction set: a chunk of weights
 * on its way through arrays that stay in the first cache, and what its loops share. */
#ifndef BG_CORE_KERNEL_UPDATE_CHUNK_H
#define BG_CORE_KERNEL_UPDATE_CHUNK_H

#include <string.h>

#include "core/kernel_table.h"
#include "core/kernel_update.h"

#define CHUNK  BG_UPDATE_CHUNK
#define WHOLE  8388608.0f      /* 2^23: larger floats are integers */
#define BLOCKS (CHUNK / 4 + 8) /* a row of lanes more than begins and ends inside */
#define INLINE static inline __attribute__((always_inline))

/* The weights of a run from `at`; u: the optimizer's steps; momentum in f32 is used in place. */
struct chunk {
    int64_t at, n;
    _Alignas(64) int32_t w[CHUNK], a[CHUNK];
    float value[CHUNK], m[CHUNK], u[CHUNK];
    float real[2][CHUNK]; /* floating point: weight and buffer */
    uint32_t words[4 * BLOCKS];
    int32_t cut, lost, written, kept, beyond; /* counts */
};

INLINE float bits_to_f32(uint32_t bits)
{
    float y;

    memcpy(&y, &bits, sizeof y);
    return y;
}

INLINE uint32_t f32_to_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float bf16_to_f32(uint16_t x)
{
    return bits_to_f32((uint32_t)x << 16);
}

/* To nearest, ties to even; what is not finite stays so. */
INLINE uint16_t f32_to_bf16(float x)
{
    const uint32_t bits = f32_to_bits(x);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    const uint32_t special = (bits >> 16) | ((bits & 0xffffu) != 0 ? 1u : 0u);

    return (uint16_t)((bits & 0x7f800000u) == 0x7f800000u ? special : rounded);
}

/* To the nearest integer, ties to even, by both ways. */
INLINE float whole(float x)
{
#if defined(__SSE4_1__)
    return __builtin_rintf(x);
#else
    const float size = __builtin_fabsf(x), near = (size + WHOLE) - WHOLE;

    return __builtin_copysignf(size < WHOLE ? near : size, x);
#endif
}

/* NaN is 0. */
INLINE float held(float x, float limit)
{
    x = x == x ? x : 0.0f;
    x = x > -limit ? x : -limit;
    return x < limit ? x : limit;
}

/* By chance: up from the floor with the probability of what is above it. */
INLINE int32_t tuned(float x, enum bg_tune tune, uint32_t word)
{
    const int32_t t = (int32_t)(tune == BG_TUNE_NEAREST ? whole(x) : x);
    int32_t floor = t;

    if (tune == BG_TUNE_NEAREST || tune == BG_TUNE_TRUNC)
        return t;
    floor -= (int32_t)((float)t > x);
    if (tune == BG_TUNE_STOCHASTIC)
        floor += (int32_t)((float)(word >> 8) * 0x1p-24f < x - (float)floor);
    return floor;
}

/* core/kernel_update_draw.c: words[i] is what weight c->at + i of the run draws, returned is where
 * the first stands. */
const uint32_t *BG_KERNEL_TABLE(update_draw)(const struct bg_kernel_update *in, struct chunk *c);
/* core/kernel_update_float.c: c->w and c->a to c->real; steps to buffers and weights, and back. */
void BG_KERNEL_TABLE(update_floats)(const struct bg_kernel_update *in, struct chunk *c);
void BG_KERNEL_TABLE(update_float_move)(const struct bg_kernel_update *in, struct chunk *c);
void BG_KERNEL_TABLE(update_weights)(const struct bg_kernel_update *in, float *values);
/* core/kernel_update_split.c: the whole run, when it is of the usual kind. */
bool BG_KERNEL_TABLE(update_split)(struct bg_kernel_update *in);
/* core/kernel_update_move.c: steps to moves, and moves to weights and what is below. */
void BG_KERNEL_TABLE(update_move)(const struct bg_kernel_update *in, struct chunk *c);

#endif
