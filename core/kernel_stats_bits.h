/* Private to core/kernel_stats.c: the histogram of a block by its bits, for AVX-512 with a
 * population count (Ice Lake and later). Bit b of the bin numbers of 64 values is one word; a bin's
 * count is the population of an AND of six words. Nothing waits for a counter, whatever the values
 * are. */
#ifndef BG_CORE_KERNEL_STATS_BITS_H
#define BG_CORE_KERNEL_STATS_BITS_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "core/stats.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)

#define STRIP  64 /* values of one word of bits */
#define STRIPS (BG_STATS_BLOCK / STRIP)
#define CHUNK  8 /* strips of one vector of bits */
#define BITS   6 /* of a bin's number */

/* The bins of 64 values as bytes, in any order; what is not finite goes to the last. */
static inline __m512i bins_of(const float *v)
{
    __m512i a = _mm512_loadu_si512(v), b = _mm512_loadu_si512(v + 16);
    __m512i c = _mm512_loadu_si512(v + 32), d = _mm512_loadu_si512(v + 48);
    __m512i exponents = _mm512_srli_epi32(_mm512_slli_epi32(a, 1), 24);

    b = _mm512_and_si512(_mm512_srli_epi32(b, 15), _mm512_set1_epi32(0xff00));
    c = _mm512_and_si512(_mm512_srli_epi32(c, 7), _mm512_set1_epi32(0xff0000));
    d = _mm512_and_si512(_mm512_slli_epi32(d, 1), _mm512_set1_epi32((int)0xff000000u));
    exponents = _mm512_or_si512(_mm512_or_si512(exponents, b), _mm512_or_si512(c, d));
    exponents = _mm512_subs_epu8(exponents, _mm512_set1_epi8(79));
    return _mm512_min_epu8(exponents, _mm512_set1_epi8(BG_HISTOGRAM_BINS - 1));
}

static inline void store_bits(const float *v, uint64_t planes[BITS][STRIPS], int64_t strip)
{
    const __m512i bins = bins_of(v);

#pragma GCC unroll 6
    for (int b = 0; b < BITS; b++)
        planes[b][strip] = _mm512_test_epi8_mask(bins, _mm512_set1_epi8((char)(1 << b)));
}

/* The eight ways in which three bits can be set in `s` and the seven strips behind it; bit 0
 * lowest.
 */
static inline void store_cases(uint64_t bits[3][STRIPS], int64_t s, uint64_t cases[8][STRIPS])
{
    const __m512i a = _mm512_loadu_si512(bits[2] + s), b = _mm512_loadu_si512(bits[1] + s);
    const __m512i c = _mm512_loadu_si512(bits[0] + s);

    _mm512_storeu_si512(cases[0] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 0));
    _mm512_storeu_si512(cases[1] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 1));
    _mm512_storeu_si512(cases[2] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 2));
    _mm512_storeu_si512(cases[3] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 3));
    _mm512_storeu_si512(cases[4] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 4));
    _mm512_storeu_si512(cases[5] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 5));
    _mm512_storeu_si512(cases[6] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 6));
    _mm512_storeu_si512(cases[7] + s, _mm512_ternarylogic_epi64(a, b, c, 1 << 7));
}

/* Lane j of the result is the sum of the lanes of x[j]. */
static inline __m512i sum_lanes(const __m512i x[8])
{
    __m512i two[4], four[2];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) /* lanes: x[2i], x[2i + 1] in turn */
        two[i] = _mm512_add_epi64(_mm512_unpacklo_epi64(x[2 * i], x[2 * i + 1]),
                                  _mm512_unpackhi_epi64(x[2 * i], x[2 * i + 1]));
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) /* quarters: two of two[2i], two of two[2i + 1] */
        four[i] = _mm512_add_epi64(_mm512_shuffle_i64x2(two[2 * i], two[2 * i + 1], 0x88),
                                   _mm512_shuffle_i64x2(two[2 * i], two[2 * i + 1], 0xdd));
    return _mm512_add_epi64(_mm512_shuffle_i64x2(four[0], four[1], 0x88),
                            _mm512_shuffle_i64x2(four[0], four[1], 0xdd));
}

/* Bins whose upper three bits are one case: counted, unless there are none. */
__attribute__((target("avx512vpopcntdq"))) static void
count_case(const uint64_t *high, uint64_t low[8][STRIPS], int64_t strips, uint64_t bins[8])
{
    __m512i counts[8], any = _mm512_setzero_si512();

    for (int64_t s = 0; s < strips; s += CHUNK)
        any = _mm512_or_si512(any, _mm512_loadu_si512(high + s));
    if (_mm512_test_epi64_mask(any, any) == 0)
        return;
#pragma GCC unroll 8
    for (int l = 0; l < 8; l++)
        counts[l] = _mm512_setzero_si512();
    for (int64_t s = 0; s < strips; s += CHUNK) {
        const __m512i mine = _mm512_loadu_si512(high + s);
#pragma GCC unroll 8
        for (int l = 0; l < 8; l++) {
            __m512i both = _mm512_and_si512(mine, _mm512_loadu_si512(low[l] + s));
            counts[l] = _mm512_add_epi64(counts[l], _mm512_popcnt_epi64(both));
        }
    }
    _mm512_storeu_si512(bins, _mm512_add_epi64(_mm512_loadu_si512(bins), sum_lanes(counts)));
}

/* Adds a block's bins, at most BG_STATS_BLOCK values. What is not finite counts in the last bin. */
static void count_bits(const float *v, int64_t n, uint64_t bins[BG_HISTOGRAM_BINS])
{
    uint64_t planes[BITS][STRIPS], low[8][STRIPS], high[8][STRIPS];
    int64_t strips = 0;

    for (; (strips + 1) * STRIP <= n; strips++)
        store_bits(v + strips * STRIP, planes, strips);
    if (strips * STRIP < n) {
        float rest[STRIP] = {0};
        memcpy(rest, v + strips * STRIP, (size_t)(n - strips * STRIP) * sizeof *v);
        store_bits(rest, planes, strips++);
    }
    for (; strips % CHUNK != 0; strips++)
        for (int b = 0; b < BITS; b++)
            planes[b][strips] = 0;
    for (int64_t s = 0; s < strips; s += CHUNK) {
        store_cases(planes, s, low);
        store_cases(planes + 3, s, high);
    }
    for (int h = 0; h < 8; h++)
        count_case(high[h], low, strips, bins + 8 * h);
    bins[0] -= (uint64_t)(strips * STRIP - n); /* what was added to fill up */
}

#endif

#endif
