/* Private: 16 x 16 words of 4 bytes turned round, for core/kernel_amx_*.c. */
#ifndef BG_CORE_KERNEL_AMX_WORDS_H
#define BG_CORE_KERNEL_AMX_WORDS_H

#include "core/kernel_amx.h"

#ifdef __AVX512F__
#include <immintrin.h>

/* Line i of `count` lines of 64 bytes gets the i-th 4 bytes of all 16 rows. */
static inline void bg_amx_turn_words(const __m512i r[BG_AMX_SIDE], void *to, int64_t count)
{
    uint8_t *lines = to;
    /* u[4 * g + c]: in quarter q, column 4 * q + c of rows 4 * g to 4 * g + 3 */
    __m512i u[BG_AMX_SIDE];

#pragma GCC unroll 4
    for (int g = 0; g < BG_AMX_SIDE; g += 4) {
        __m512i low = _mm512_unpacklo_epi32(r[g], r[g + 1]);
        __m512i high = _mm512_unpackhi_epi32(r[g], r[g + 1]);
        __m512i low2 = _mm512_unpacklo_epi32(r[g + 2], r[g + 3]);
        __m512i high2 = _mm512_unpackhi_epi32(r[g + 2], r[g + 3]);
        u[g] = _mm512_unpacklo_epi64(low, low2);
        u[g + 1] = _mm512_unpackhi_epi64(low, low2);
        u[g + 2] = _mm512_unpacklo_epi64(high, high2);
        u[g + 3] = _mm512_unpackhi_epi64(high, high2);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i a = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x44);
        __m512i b = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x44);
        __m512i d = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xee);
        __m512i e = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xee);
        if (c < count)
            _mm512_store_si512(lines + c * 64, _mm512_shuffle_i32x4(a, b, 0x88));
        if (c + 4 < count)
            _mm512_store_si512(lines + (c + 4) * 64, _mm512_shuffle_i32x4(a, b, 0xdd));
        if (c + 8 < count)
            _mm512_store_si512(lines + (c + 8) * 64, _mm512_shuffle_i32x4(d, e, 0x88));
        if (c + 12 < count)
            _mm512_store_si512(lines + (c + 12) * 64, _mm512_shuffle_i32x4(d, e, 0xdd));
    }
}

#endif

#endif
