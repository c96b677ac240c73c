/* Private: the vectors of core/kernel_train_vec.h in AVX-512 registers. */
#ifndef BG_CORE_KERNEL_TRAIN_AVX512_H
#define BG_CORE_KERNEL_TRAIN_AVX512_H

#include "core/kernel_train_vec.h"

#if BG_TRAIN_AVX512
#include <immintrin.h>

typedef __m512 vec;
typedef __m512i vec_count; /* of bits, fewer than 2^31 a lane */

INLINE vec vec_set(float x)
{
    return _mm512_set1_ps(x);
}

INLINE vec vec_load(const float *x)
{
    return _mm512_loadu_ps(x);
}

INLINE void vec_store(float *y, vec x, int64_t n)
{
    if (n == VEC)
        _mm512_storeu_ps(y, x);
    else
        _mm512_mask_storeu_ps(y, first_lanes(n), x);
}

INLINE vec vec_from_bf16(const uint16_t *x, int64_t n)
{
    __m256i bits = n == VEC ? _mm256_loadu_si256((const __m256i *)(const void *)x)
                            : _mm256_maskz_loadu_epi16(first_lanes(n), x);

    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

INLINE vec vec_from_s32(const int32_t *x, int64_t n)
{
    return _mm512_cvtepi32_ps(n == VEC ? _mm512_loadu_si512(x)
                                       : _mm512_maskz_loadu_epi32(first_lanes(n), x));
}

INLINE vec vec_from_codes(const uint8_t *x, int32_t zero, int64_t n)
{
    __m128i bytes = n == VEC ? _mm_loadu_si128((const __m128i *)(const void *)x)
                             : _mm_maskz_loadu_epi8(first_lanes(n), x);

    return _mm512_cvtepi32_ps(
        _mm512_sub_epi32(_mm512_cvtepu8_epi32(bytes), _mm512_set1_epi32(zero)));
}

INLINE vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

INLINE vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

INLINE vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

/* a * b + c, rounded once */
INLINE vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

INLINE vec vec_abs(vec x)
{
    return _mm512_abs_ps(x);
}

INLINE vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

INLINE vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

/* Lanes of x whose bit is set, 0 elsewhere. */
INLINE vec vec_keep(vec x, uint16_t lanes)
{
    return _mm512_maskz_mov_ps(lanes, x);
}

/* x where the bit is set, y elsewhere. */
INLINE vec vec_choose(uint16_t lanes, vec x, vec y)
{
    return _mm512_mask_mov_ps(y, lanes, x);
}

INLINE uint16_t vec_at_most(vec x, vec high)
{
    return _mm512_cmp_ps_mask(x, high, _CMP_LE_OQ);
}

/* Of the bits set: where x > low, or x >= low. */
INLINE uint16_t vec_above(uint16_t lanes, vec x, vec low)
{
    return _mm512_mask_cmp_ps_mask(lanes, x, low, _CMP_GT_OQ);
}

INLINE uint16_t vec_at_least(uint16_t lanes, vec x, vec low)
{
    return _mm512_mask_cmp_ps_mask(lanes, x, low, _CMP_GE_OQ);
}

/* NaN where x is, `seen` elsewhere. */
INLINE vec vec_note_nan(vec seen, vec x)
{
    /* the table has a nibble for each class of x: 2, a quiet NaN, for both NaNs; 0, keep, else */
    return _mm512_fixupimm_ps(seen, x, _mm512_set1_epi32(0x22), 0);
}

/* Rounded in the upper half of each lane, anything below. */
INLINE __m512i round_bits(vec x)
{
    /* the table as above, 3: the CPU's default NaN, which the sums below leave as it is */
    const __m512i bits = _mm512_castps_si512(_mm512_fixupimm_ps(x, x, _mm512_set1_epi32(0x33), 0));
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));

    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

/* Rounded to a bf16. */
INLINE vec vec_round(vec x)
{
    return _mm512_castsi512_ps(
        _mm512_and_si512(round_bits(x), _mm512_set1_epi32((int)0xffff0000u)));
}

INLINE void store_upper(uint16_t *y, __m512i x, int64_t n)
{
    __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(x, 16));

    if (n == VEC)
        _mm256_storeu_si256((__m256i *)(void *)y, half);
    else
        _mm256_mask_storeu_epi16(y, first_lanes(n), half);
}

/* x is a bf16 already */
INLINE void vec_keep_bf16(uint16_t *y, vec x, int64_t n)
{
    store_upper(y, _mm512_castps_si512(x), n);
}

INLINE void vec_to_bf16(uint16_t *y, vec x, int64_t n)
{
    store_upper(y, round_bits(x), n);
}

/* The upper halves of two whole vectors. */
INLINE void pack_upper(uint16_t *y, __m512i x0, __m512i x1)
{
    const __m512i upper =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);

    _mm512_storeu_si512(y, _mm512_permutex2var_epi16(x0, upper, x1));
}

/* Two whole vectors. */
INLINE void vec_to_bf16_two(uint16_t *y, vec x0, vec x1)
{
    pack_upper(y, round_bits(x0), round_bits(x1));
}

/* Two whole vectors of bf16 already. */
INLINE void vec_keep_bf16_two(uint16_t *y, vec x0, vec x1)
{
    pack_upper(y, _mm512_castps_si512(x0), _mm512_castps_si512(x1));
}

INLINE void vec_to_codes(uint8_t *y, vec x, struct code_limits limits, int64_t n)
{
    const vec low = vec_set((float)(limits.lo - limits.zero));
    const vec high = vec_set((float)(limits.hi - limits.zero));
    __m512i code = _mm512_cvtps_epi32(vec_min(vec_max(x, low), high));
    __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(code, _mm512_set1_epi32(limits.zero)));

    if (n == VEC)
        _mm_storeu_si128((__m128i *)(void *)y, bytes);
    else
        _mm_mask_storeu_epi8(y, first_lanes(n), bytes);
}

/* Codes of four vectors. Held at the upper end first, where NaN stays: it and what is too low
 * become integers below -32768 or are still small, and every step of packing holds them at its
 * ends. */
INLINE void vec_to_codes_four(uint8_t *y, const vec x[4], struct code_limits limits)
{
    const vec high = vec_set((float)(limits.hi - limits.zero));
    const __m512i zero = _mm512_set1_epi16((int16_t)limits.zero);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i ab = _mm512_packs_epi32(_mm512_cvtps_epi32(vec_min(high, x[0])),
                                    _mm512_cvtps_epi32(vec_min(high, x[1])));
    __m512i cd = _mm512_packs_epi32(_mm512_cvtps_epi32(vec_min(high, x[2])),
                                    _mm512_cvtps_epi32(vec_min(high, x[3])));
    __m512i codes = _mm512_packus_epi16(_mm512_adds_epi16(ab, zero), _mm512_adds_epi16(cd, zero));

    codes = _mm512_max_epu8(codes, _mm512_set1_epi8((char)limits.lo));
    _mm512_storeu_si512(y, _mm512_permutexvar_epi32(order, codes));
}

INLINE vec_count vec_count_none(void)
{
    return _mm512_setzero_si512();
}

INLINE vec_count vec_add_bits(vec_count count, uint16_t bits)
{
    return _mm512_mask_sub_epi32(count, bits, count, _mm512_set1_epi32(-1));
}

INLINE int64_t vec_counted(vec_count count)
{
    return _mm512_reduce_add_epi32(count);
}

/* 16 bits, bit j of byte k for lane 8 * k + j, or 8 when n is not more. */
INLINE void vec_store_bits(uint8_t *y, uint16_t bits, int64_t n)
{
    memcpy(y, &bits, n > 8 ? 2 : 1);
}

/* totals[j] += x[j] */
INLINE void vec_add_to(double *totals, vec x)
{
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));

    _mm512_storeu_pd(totals, _mm512_add_pd(_mm512_loadu_pd(totals), low));
    _mm512_storeu_pd(totals + 8, _mm512_add_pd(_mm512_loadu_pd(totals + 8), high));
}

#endif

#endif
