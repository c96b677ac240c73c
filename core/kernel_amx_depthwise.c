/* Depthwise convolution of fast training in f32 vectors: forward from codes, backward data from
 * bf16 gradients, weight gradients (core/kernel_amx.h). Forward sums are integers; below 2^24 f32
 * holds them exactly. */
#include "core/kernel_amx.h"

#include <immintrin.h>

#define SIDE   BG_AMX_SIDE
#define BLOCKS 4 /* vectors of channels at a time */
#define INLINE static inline __attribute__((always_inline))

static __mmask16 lanes_of(int64_t left)
{
    return left >= SIDE ? 0xffff : (__mmask16)((1u << left) - 1);
}

static __m512 load_bf16(const uint16_t *x, __mmask16 lanes)
{
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x));

    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}

static __m512 load_codes(const uint8_t *codes, __mmask16 lanes, __m512i zero_point)
{
    __m512i wide = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes));

    return _mm512_cvtepi32_ps(_mm512_sub_epi32(wide, zero_point));
}

/* Channels from `channel` on of one pixel: `blocks` vectors, the last with `lanes`. */
INLINE void put_pixel(const struct bg_amx_depthwise_row *in, int64_t x, int64_t channel,
                      const int blocks, __mmask16 lanes, const bool wide)
{
    const __m512i zero_point = _mm512_set1_epi32(in->zero_point);
    uint16_t *dst = in->dst + x * in->channels + channel;
    __m512 sum[BLOCKS];

    for (int b = 0; b < blocks; b++)
        sum[b] = _mm512_setzero_ps();
    for (int64_t r = 0; r < in->row_count; r++)
        for (int64_t k = in->start[x]; k < in->start[x + 1]; k++) {
            int64_t at = in->rows[r].source + in->columns[k].source + channel;
            const float *weight =
                in->weights + in->rows[r].weight + in->columns[k].weight + channel;
            for (int b = 0; b < blocks; b++) {
                const __mmask16 here = b == blocks - 1 ? lanes : 0xffff;
                __m512 value =
                    wide ? load_bf16((const uint16_t *)in->src + at + b * SIDE, here)
                         : load_codes((const uint8_t *)in->src + at + b * SIDE, here, zero_point);
                sum[b] = _mm512_fmadd_ps(value, _mm512_loadu_ps(weight + b * SIDE), sum[b]);
            }
        }
    for (int b = 0; b < blocks; b++) {
        const __mmask16 here = b == blocks - 1 ? lanes : 0xffff;
        if (wide)
            sum[b] = _mm512_mul_ps(sum[b], _mm512_set1_ps(in->factor));
        if (in->add)
            sum[b] = _mm512_add_ps(sum[b], load_bf16(dst + b * SIDE, here));
        _mm256_mask_storeu_epi16(dst + b * SIDE, here, (__m256i)_mm512_cvtneps_pbh(sum[b]));
    }
}

INLINE void run_row(const struct bg_amx_depthwise_row *in, const bool wide)
{
    for (int64_t x = 0; x < in->width; x++)
        for (int64_t c = 0; c < in->channels; c += BLOCKS * SIDE) {
            const int64_t left = in->channels - c;
            if (left > 3 * SIDE)
                put_pixel(in, x, c, 4, lanes_of(left - 3 * SIDE), wide);
            else if (left > 2 * SIDE)
                put_pixel(in, x, c, 3, lanes_of(left - 2 * SIDE), wide);
            else if (left > SIDE)
                put_pixel(in, x, c, 2, lanes_of(left - SIDE), wide);
            else
                put_pixel(in, x, c, 1, lanes_of(left), wide);
        }
}

void bg_amx_depthwise(const struct bg_amx_depthwise_row *in)
{
    if (in->wide)
        run_row(in, true);
    else
        run_row(in, false);
}

void bg_amx_depthwise_weights(const struct bg_amx_depthwise_tap *in)
{
    const __m512i zero_point = _mm512_set1_epi32(in->zero_point);
    const int64_t step = in->stride * in->channels;

    for (int64_t c = 0; c < in->channels; c += SIDE) {
        const __mmask16 lanes = lanes_of(in->channels - c);
        __m512 even = _mm512_maskz_loadu_ps(lanes, in->sums + c), odd = _mm512_setzero_ps();
        int64_t x = in->first;
        for (; x + 1 < in->last; x += 2) { /* two sums: one would wait for itself */
            const uint8_t *src = in->src + x * step + c;
            const uint16_t *dz = in->dz + x * in->channels + c;
            even = _mm512_fmadd_ps(load_codes(src, lanes, zero_point), load_bf16(dz, lanes), even);
            odd = _mm512_fmadd_ps(load_codes(src + step, lanes, zero_point),
                                  load_bf16(dz + in->channels, lanes), odd);
        }
        if (x < in->last)
            even = _mm512_fmadd_ps(load_codes(in->src + x * step + c, lanes, zero_point),
                                   load_bf16(in->dz + x * in->channels + c, lanes), even);
        _mm512_mask_storeu_ps(in->sums + c, lanes, _mm512_add_ps(even, odd));
    }
}

void bg_amx_widen_s8(const int8_t *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i += SIDE) {
        __mmask16 lanes = lanes_of(n - i);
        __m512i wide = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, x + i));
        _mm512_mask_storeu_ps(y + i, lanes, _mm512_cvtepi32_ps(wide));
    }
}

void bg_amx_widen_bf16(const uint16_t *x, int64_t n, float *y)
{
    for (int64_t i = 0; i < n; i += SIDE) {
        __mmask16 lanes = lanes_of(n - i);
        _mm512_mask_storeu_ps(y + i, lanes, load_bf16(x + i, lanes));
    }
}
