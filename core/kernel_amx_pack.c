/* Weights of 16 outputs from dense codes into the tiles of core/kernel_amx_conv.c, whole cache
 * lines at a time (core/kernel_amx.h says which). */
#include "core/kernel_amx_words.h"

#define SIDE BG_AMX_SIDE
#define ROW  64 /* bytes of a tile row */

void bg_amx_pack_codes(const struct bg_amx_pack *in)
{
    for (int64_t done = 0; done < in->columns; done += ROW) {
        const int64_t left = in->columns - done;
        const __mmask64 bytes = left >= ROW ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
        __m512i r[SIDE];
#pragma GCC unroll 16
        for (int o = 0; o < SIDE; o++)
            r[o] = o < in->rows ? _mm512_maskz_loadu_epi8(bytes, in->codes + o * in->step + done)
                                : _mm512_setzero_si512();
        bg_amx_turn_words(r, in->tiles + done / 4 * ROW, left >= ROW ? SIDE : (left + 3) / 4);
    }
}

/* f32 bits of 16 codes; their upper half is the exact bf16. */
static inline __m512i widen(const int8_t *codes, __mmask16 lanes)
{
    return _mm512_castps_si512(
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, codes))));
}

void bg_amx_pack_pairs(const struct bg_amx_pack *in)
{
    for (int64_t done = 0; done < in->columns; done += SIDE) {
        const int64_t left = in->columns - done;
        const __mmask16 lanes = left >= SIDE ? 0xffff : (__mmask16)((1u << left) - 1);
        uint8_t *lines = in->tiles + done / SIDE * in->tile_step;
        for (int64_t o = 0; o < in->rows; o += 2) {
            const int8_t *codes = in->codes + o * in->step + done;
            __m512i first = widen(codes, lanes);
            __m512i second =
                o + 1 < in->rows ? widen(codes + in->step, lanes) : _mm512_setzero_si512();
            _mm512_store_si512(
                lines + o / 2 * ROW,
                _mm512_mask_blend_epi16(0x55555555u, second, _mm512_srli_epi32(first, 16)));
        }
    }
}

bool bg_amx_put_sums(const struct bg_amx_put *in)
{
    const __mmask16 lanes = in->width >= SIDE ? 0xffff : (__mmask16)((1u << in->width) - 1);
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    __mmask16 bad = 0;

    for (int64_t o = 0; o < in->rows; o++) {
        const float *from = in->sums + o * SIDE;
        __m512 sum = _mm512_loadu_ps(from);
        for (int64_t t = 1; t < in->copies; t++)
            sum = _mm512_add_ps(sum, _mm512_loadu_ps(from + t * in->copy_step));
        if (in->factor != NULL)
            sum = _mm512_mul_ps(sum, _mm512_set1_ps(in->factor[o]));
        if (in->w != NULL) {
            __m512 w = _mm512_maskz_loadu_ps(lanes, in->w + o * in->row_step);
            __mmask16 pass = _mm512_cmp_ps_mask(w, _mm512_set1_ps(in->low[o]), _CMP_GE_OQ);
            pass = _mm512_mask_cmp_ps_mask(pass, w, _mm512_set1_ps(in->high[o]), _CMP_LE_OQ);
            sum = _mm512_maskz_mov_ps(pass, sum);
        }
        _mm512_mask_storeu_ps(in->dw + o * in->row_step, lanes, sum);
        __m512i bits = _mm512_and_si512(_mm512_castps_si512(sum), exponent);
        bad |= _mm512_mask_cmpeq_epi32_mask(lanes, bits, exponent);
    }
    return bad == 0;
}
