/* Gradients onto grids, compiled once per instruction set: chunks of up to 256 values go through
 * arrays that stay in the first cache, one plain loop per thing done. All of it is elementwise or a
 * largest value, so all sets give the same bits. core/gradient.h defines what is computed. */
#include "core/kernel_gradient.h"

#include <string.h>

#include "core/kernel_table.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define CHUNK   BG_KERNEL_WIDTH
#define ROUNDER 12582912.0f /* 1.5 * 2^23: rounds what is below 2^22 (core/kernel_grid.c) */
/* Draws are halves of words: a block of the generator has eight. Two blocks may be touched in part;
 * whole vectors of 16. */
#define DRAWS  8
#define BLOCKS ((CHUNK / DRAWS + 2 + 15) / 16 * 16)

static inline uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float widened(uint16_t bf16)
{
    return float_of((uint32_t)bf16 << 16);
}

/* A walk over chunks: whole rows when channels are few, else parts of one row. */
struct place {
    int64_t at, lane, n;
};

static bool next_place(const struct bg_kernel_gradient *in, struct place *place)
{
    const int64_t end = (in->first + in->rows) * in->channels;
    const int64_t width = bg_kernel_width(in->channels);
    int64_t left = 0;

    place->at += place->n;
    place->lane = in->channels < CHUNK ? 0 : (place->lane + place->n) % in->channels;
    left = end - place->at < width - place->lane ? end - place->at : width - place->lane;
    place->n = left < CHUNK ? left : CHUNK;
    return place->n > 0;
}

static void load(const struct bg_kernel_gradient *in, const struct place *place, float *restrict t)
{
    const int64_t n = place->n;
    const float *a = in->a == NULL ? NULL : in->a + place->lane;

    if (in->x != NULL) {
        const float *x = in->x + place->at;
        for (int64_t i = 0; a == NULL && i < n; i++)
            t[i] = x[i];
        for (int64_t i = 0; a != NULL && i < n; i++)
            t[i] = a[i] * x[i];
        return;
    }
    const uint16_t *g = in->g + place->at;
    if (in->b == NULL) {
        for (int64_t i = 0; i < n; i++)
            t[i] = a[i] * widened(g[i]);
        return;
    }
    const uint16_t *z = in->z + place->at;
    const float *b = in->b + place->lane, *c = in->c + place->lane;
    for (int64_t i = 0; i < n; i++)
        t[i] = __builtin_fmaf(a[i], widened(g[i]), __builtin_fmaf(b[i], widened(z[i]), c[i]));
}

static void raise(const float *restrict t, int64_t n, uint32_t *restrict most)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = bits_of(t[i]) & 0x7fffffffu;
        most[i] = size > most[i] ? size : most[i];
    }
}

static void peaks(const struct bg_kernel_gradient *in, uint32_t *peaks)
{
    struct place place = {.at = in->first * in->channels};
    uint32_t most[CHUNK] = {0};
    float t[CHUNK];

    while (next_place(in, &place)) {
        load(in, &place, t);
        raise(t, place.n, in->channels < CHUNK ? most : peaks + place.lane);
    }
    for (int64_t i = 0; in->channels < CHUNK && i < CHUNK / in->channels * in->channels; i++)
        if (most[i] > peaks[i % in->channels])
            peaks[i % in->channels] = most[i];
}

/* Ten rounds over the counters of `blocks` blocks side by side (core/rng.c). */
#if defined(__AVX512F__)
/* 32 x 32 bits: the lower halves of the products, and the upper ones in *high. */
static inline __m512i multiply(__m512i x, __m512i m, __m512i *high)
{
    const __m512i even = _mm512_mul_epu32(x, m);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), m);

    *high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

static void mix(uint32_t c[4][BLOCKS], int64_t blocks, uint64_t seed)
{
    const __m512i m0 = _mm512_set1_epi32((int)0xd2511f53u),
                  m1 = _mm512_set1_epi32((int)0xcd9e8d57u);

    for (int64_t b = 0; b < blocks; b += 16) {
        uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
        __m512i v[4], high[2];
        for (int i = 0; i < 4; i++)
            v[i] = _mm512_loadu_si512(c[i] + b);
        for (int round = 0; round < 10; round++) {
            const __m512i x = multiply(v[0], m0, &high[0]), y = multiply(v[2], m1, &high[1]);
            v[0] = _mm512_xor_si512(_mm512_xor_si512(high[1], v[1]), _mm512_set1_epi32((int)k0));
            v[2] = _mm512_xor_si512(_mm512_xor_si512(high[0], v[3]), _mm512_set1_epi32((int)k1));
            v[1] = y;
            v[3] = x;
            k0 += 0x9e3779b9u;
            k1 += 0xbb67ae85u;
        }
        for (int i = 0; i < 4; i++)
            _mm512_storeu_si512(c[i] + b, v[i]);
    }
}
#else
static void mix(uint32_t c[4][BLOCKS], int64_t blocks, uint64_t seed)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int round = 0; round < 10; round++) {
        for (int64_t b = 0; b < blocks; b++) {
            const uint64_t x = (uint64_t)0xd2511f53u * c[0][b];
            const uint64_t y = (uint64_t)0xcd9e8d57u * c[2][b];
            c[0][b] = (uint32_t)(y >> 32) ^ c[1][b] ^ k0;
            c[1][b] = (uint32_t)y;
            c[2][b] = (uint32_t)(x >> 32) ^ c[3][b] ^ k1;
            c[3][b] = (uint32_t)x;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}
#endif

/* Draws `index` to index + n - 1: words of consecutive blocks, the lower half of a word first.
 * Returns the first of them. */
static const uint16_t *draw(const struct bg_rng *rng, uint64_t index, int64_t n,
                            uint16_t draws[DRAWS * BLOCKS])
{
    const uint64_t first = index / DRAWS;
    const int64_t blocks = (int64_t)(index % DRAWS + (uint64_t)n + DRAWS - 1) / DRAWS;
    uint32_t words[DRAWS / 2 * BLOCKS], c[4][BLOCKS];

    for (int64_t b = 0; b < BLOCKS; b++) {
        c[0][b] = (uint32_t)(first + (uint64_t)b);
        c[1][b] = (uint32_t)((first + (uint64_t)b) >> 32);
        c[2][b] = rng->stream;
        c[3][b] = rng->step;
    }
    mix(c, blocks, rng->seed);
    for (int64_t b = 0; b < BLOCKS; b++)
        for (int word = 0; word < 4; word++)
            words[4 * b + word] = c[word][b];
    memcpy(draws, words, sizeof words); /* little-endian CPUs */
    return draws + index % DRAWS;
}

/* Up from the floor with the probability of what is above it, to 2^-17. */
static void by_chance(const struct bg_rng *rng, int64_t index, int64_t n, float *restrict v)
{
    uint16_t draws[DRAWS * BLOCKS];
    const uint16_t *drawn = draw(rng, (uint64_t)index, n, draws);

    for (int64_t i = 0; i < n; i++) {
        const float near = (v[i] + ROUNDER) - ROUNDER, down = near > v[i] ? near - 1.0f : near;
        const float chance = ((float)drawn[i] + 0.5f) * 0x1p-16f;
        v[i] = chance < v[i] - down ? down + 1.0f : down;
    }
}

static void to_nearest(int64_t n, float *restrict v)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = (v[i] + ROUNDER) - ROUNDER;
}

static inline float held(float v, float limit)
{
    v = v > -limit ? v : -limit;
    return v < limit ? v : limit;
}

/* What is not finite stays so. */
static void to_bf16(int64_t n, float *restrict v)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t bits = bits_of(v[i]), high = bits & 0xffff0000u;
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) & 0xffff0000u;
        const uint32_t special = high | ((bits & 0xffffu) != 0 ? 0x10000u : 0u);
        v[i] = float_of((bits & 0x7f800000u) == 0x7f800000u ? special : rounded);
    }
}

/* With few loops where it is done most: what stands behind a norm, as codes. */
static void round_norms(const struct bg_kernel_gradient *in)
{
    struct place place = {.at = in->first * in->channels};
    const float limit = in->limit;
    float v[CHUNK];

    while (next_place(in, &place)) {
        const float *a = in->a + place.lane, *b = in->b + place.lane, *c = in->c + place.lane;
        const float *inverse = in->inverse + place.lane, *step = in->step + place.lane;
        const uint16_t *g = in->g + place.at, *z = in->z + place.at;
        uint16_t *y = in->codes + place.at;
        const int64_t n = place.n;
        for (int64_t i = 0; i < n; i++) {
            const float t =
                __builtin_fmaf(a[i], widened(g[i]), __builtin_fmaf(b[i], widened(z[i]), c[i]));
            v[i] = held(t * inverse[i], limit);
        }
        if (in->stochastic)
            by_chance(&in->rng, place.at, n, v);
        else
            to_nearest(n, v);
        for (int64_t i = 0; i < n; i++)
            y[i] = (uint16_t)(bits_of(v[i] * step[i]) >> 16);
    }
}

static void round_rows(const struct bg_kernel_gradient *in)
{
    struct place place = {.at = in->first * in->channels};
    const float limit = in->limit;
    float t[CHUNK];

    if (in->b != NULL && in->inverse != NULL && in->codes != NULL) {
        round_norms(in);
        return;
    }
    while (next_place(in, &place)) {
        const int64_t n = place.n;
        const float *step = in->step + place.lane;
        load(in, &place, t);
        if (in->inverse == NULL) {
            to_bf16(n, t);
        } else {
            const float *inverse = in->inverse + place.lane;
            for (int64_t i = 0; i < n; i++)
                t[i] = held(t[i] * inverse[i], limit);
            if (in->stochastic)
                by_chance(&in->rng, place.at, n, t);
            else
                to_nearest(n, t);
        }
        if (in->values != NULL) {
            float *y = in->values + place.at;
            for (int64_t i = 0; i < n; i++)
                y[i] = t[i] * step[i];
        } else {
            uint16_t *y = in->codes + place.at;
            for (int64_t i = 0; i < n; i++)
                y[i] = (uint16_t)(bits_of(t[i] * step[i]) >> 16);
        }
    }
}

static uint32_t peak(const float *x, int64_t n)
{
    uint32_t most = 0;

    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = bits_of(x[i]) & 0x7fffffffu;
        most = size > most ? size : most;
    }
    return most;
}

static void round_range(const struct bg_kernel_gradient_range *in)
{
    const float inverse = in->inverse, step = in->step, limit = in->limit;
    float t[CHUNK];

    for (int64_t at = 0; at < in->n; at += CHUNK) {
        const int64_t n = in->n - at < CHUNK ? in->n - at : CHUNK;
        float *x = in->x + at;
        if (inverse == 0.0f) {
            to_bf16(n, x);
            continue;
        }
        for (int64_t i = 0; i < n; i++)
            t[i] = held(x[i] * inverse, limit);
        if (in->stochastic)
            by_chance(&in->rng, in->index + at, n, t);
        else
            to_nearest(n, t);
        for (int64_t i = 0; i < n; i++)
            x[i] = t[i] * step;
    }
}

const struct bg_kernel_gradient_table BG_KERNEL_TABLE(gradient) = {
    .peaks = peaks, .round = round_rows, .peak = peak, .round_range = round_range};
