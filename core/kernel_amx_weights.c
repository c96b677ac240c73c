/* Backward weights on AMX: makes the tiles of activations and output gradients, and multiplies them
 * (core/kernel_amx.h says what a tile holds, core/amx_weights.c which pixels). */
#include "core/kernel_amx_words.h"

#include <string.h>

#define SIDE BG_AMX_SIDE
#define TILE BG_AMX_TILE

/* The 64 bytes that describe all tiles (Intel, Instruction Set Extensions Programming Reference,
 * chapter 3): palette 1, every tile 16 rows of 64 bytes. */
struct tile_setup {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Constant: gcc's intrinsic names the first 8 bytes alone as read, writes of others may be lost. */
static const struct tile_setup all_tiles = {.palette = 1,
                                            .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                            .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

void bg_amx_tiles_begin(void)
{
    _tile_loadconfig(&all_tiles);
}

void bg_amx_tiles_end(void)
{
    _tile_release();
}

static __mmask16 lanes_of(int64_t left)
{
    return left >= SIDE ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* The bits of f32(code - zero_point); their upper half is the exact bf16. */
static __m512i load_codes(const uint8_t *codes, __mmask16 lanes, __m512 zero_point)
{
    __m512i wide = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes));

    return _mm512_castps_si512(_mm512_sub_ps(_mm512_cvtepi32_ps(wide), zero_point));
}

/* Two f32 vectors to pairs of bf16, the first in the lower half. */
static __m512i pair(__m512i first, __m512i second)
{
    return _mm512_mask_blend_epi16(0x55555555u, second, _mm512_srli_epi32(first, 16));
}

void bg_amx_pair_pixels(const struct bg_amx_pairs *in)
{
    const __m512 zero_point = _mm512_set1_ps((float)in->zero_point);
    const int64_t channels = in->channels;

    for (int64_t block = in->first; block < in->last; block++) {
        const __mmask16 lanes = lanes_of(channels - block * SIDE);
        const uint8_t *src = in->src + block * SIDE;
        uint16_t *even = in->even == NULL ? NULL : in->even + block * in->block_step;
        uint16_t *odd = in->odd == NULL ? NULL : in->odd + block * in->block_step;
        __m512i first = load_codes(in->from[0] < 0 ? in->blank : src + in->from[0] * channels,
                                   lanes, zero_point);
        for (int64_t j = 0; j < in->pairs; j++) {
            const int32_t *from = in->from + 2 * j + 1;
            const uint8_t *b = from[0] < 0 ? in->blank : src + from[0] * channels;
            const uint8_t *c = from[1] < 0 ? in->blank : src + from[1] * channels;
            __m512i second = load_codes(b, lanes, zero_point);
            __m512i third = load_codes(c, lanes, zero_point);
            if (even != NULL)
                _mm512_store_si512(even + j * 2 * SIDE, pair(first, second));
            if (odd != NULL)
                _mm512_store_si512(odd + j * 2 * SIDE, pair(second, third));
            first = third;
        }
    }
}

void bg_amx_widen(const uint8_t *codes, int64_t n, int32_t zero_point, uint16_t *y)
{
    const __m512 zero = _mm512_set1_ps((float)zero_point);

    for (int64_t i = 0; i < n; i += SIDE) {
        __mmask16 lanes = lanes_of(n - i);
        __m512i value = load_codes(codes + i, lanes, zero);
        _mm256_mask_storeu_epi16(y + i, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(value, 16)));
    }
}

/* What of 16 columns lies in one kernel row. */
struct piece {
    int64_t at; /* u16 from the pixel's place to where column 0 would lie */
    __mmask16 mask;
};

/* Pieces of columns first to first + 15: kernel row r has columns r * run to (r + 1) * run - 1. */
static int find_pieces(const struct bg_amx_joined *in, int64_t first, struct piece pieces[SIDE])
{
    const int64_t end = first + SIDE < in->columns ? first + SIDE : in->columns;
    int count = 0;

    for (int64_t row = first / in->run; row * in->run < end; row++) {
        int64_t from = row * in->run - first, to = from + in->run;
        uint32_t mask = to >= SIDE ? 0xffff : (1u << to) - 1;
        if (from > 0)
            mask &= ~((1u << from) - 1);
        pieces[count++] = (struct piece){row * in->row_step - from, (__mmask16)mask};
    }
    return count;
}

static inline __m512i load_columns(const uint16_t *at, const struct piece *pieces, int count)
{
    __m256i value = _mm256_maskz_loadu_epi16(pieces[0].mask, at + pieces[0].at);

    for (int i = 1; i < count; i++)
        value = _mm256_mask_loadu_epi16(value, pieces[i].mask, at + pieces[i].at);
    return _mm512_cvtepu16_epi32(value);
}

/* Where a pixel's neighbour is the next u16, pairs of pixels are words of one column: 16 pairs at a
 * time. */
static void join_rows(const struct bg_amx_joined *in, int64_t first)
{
    const int64_t columns = in->columns - first < SIDE ? in->columns - first : SIDE;
    uint16_t *pairs = in->pairs + first / SIDE * in->block_step;
    const uint16_t *from[SIDE] = {NULL};

    for (int64_t j = 0; j < columns; j++)
        from[j] = in->padded + (first + j) / in->run * in->row_step + (first + j) % in->run;
    for (int64_t p = 0; p < in->pixels; p += in->row)
        for (int64_t x = 0; x < in->row; x += 2 * SIDE) {
            const int64_t left = (in->row - x) / 2, count = left < SIDE ? left : SIDE;
            __m512i r[SIDE];
#pragma GCC unroll 16
            for (int j = 0; j < SIDE; j++)
                r[j] = j < columns
                           ? _mm512_maskz_loadu_epi32(lanes_of(count), from[j] + in->at[p] + x)
                           : _mm512_setzero_si512();
            bg_amx_turn_words(r, pairs + (p + x) * SIDE, count);
        }
}

void bg_amx_join_taps(const struct bg_amx_joined *in)
{
    struct piece pieces[SIDE];

    if (in->row > 0) {
        for (int64_t first = 0; first < in->columns; first += SIDE)
            join_rows(in, first);
        return;
    }

    for (int64_t first = 0; first < in->columns; first += SIDE) {
        const int count = find_pieces(in, first, pieces);
        uint16_t *pairs = in->pairs + first / SIDE * in->block_step;
        for (int64_t p = 0; p < in->pixels; p += 2) {
            __m512i value = load_columns(in->padded + in->at[p], pieces, count);
            if (p + 1 < in->pixels)
                value = _mm512_or_si512(
                    value,
                    _mm512_slli_epi32(load_columns(in->padded + in->at[p + 1], pieces, count), 16));
            _mm512_store_si512(pairs + p * SIDE, value);
        }
    }
}

/* Four pieces of 8 channels: pixels i, i + 8, i + 16, i + 24 in the quarters of a vector. */
static inline __m512i gather(const uint16_t *const pixels[4], __mmask8 lanes)
{
    __m512i all;

    if (lanes != 0xff) { /* the last channels */
        all = _mm512_castsi128_si512(_mm_maskz_loadu_epi16(lanes, pixels[0]));
        all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi16(lanes, pixels[1]), 1);
        all = _mm512_inserti32x4(all, _mm_maskz_loadu_epi16(lanes, pixels[2]), 2);
        return _mm512_inserti32x4(all, _mm_maskz_loadu_epi16(lanes, pixels[3]), 3);
    }
    all = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)pixels[0]));
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)(const void *)pixels[1]), 1);
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)(const void *)pixels[2]), 2);
    return _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)(const void *)pixels[3]), 3);
}

/* Transposes 8 x 8 values in each quarter: row i of the result holds channel i of 32 pixels. */
static inline void turn_quarters(const __m512i r[8], uint16_t *out)
{
    __m512i u[8], v[8];

#pragma GCC unroll 4
    for (int i = 0; i < 4;
         i++) { /* u[i], u[4 + i]: channels 0 to 3 and 4 to 7 of pixels 2i, 2i+1 */
        u[i] = _mm512_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        u[4 + i] = _mm512_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 8; h += 4) { /* channels (0,1) of pixels 0 to 3 and 4 to 7, then (2,3) */
        v[h] = _mm512_unpacklo_epi32(u[h], u[h + 1]);
        v[h + 1] = _mm512_unpacklo_epi32(u[h + 2], u[h + 3]);
        v[h + 2] = _mm512_unpackhi_epi32(u[h], u[h + 1]);
        v[h + 3] = _mm512_unpackhi_epi32(u[h + 2], u[h + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        _mm512_store_si512(out + 2 * i * BG_AMX_PIXELS,
                           _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]));
        _mm512_store_si512(out + (2 * i + 1) * BG_AMX_PIXELS,
                           _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    }
}

/* One tile: 16 channels from `channel` on of the 32 pixels of `from`. */
static void turn_tile(const struct bg_amx_turn *in, int64_t channel, const int32_t *from,
                      uint16_t *out)
{
    static const uint16_t zeros[SIDE];
    const uint16_t *pixels[BG_AMX_PIXELS];
    const __mmask16 lanes = lanes_of(in->channels - channel);
    __m512i r[8];

    for (int i = 0; i < BG_AMX_PIXELS; i++)
        pixels[i] = from[i] < 0 ? zeros : in->dz + from[i] * in->channels + channel;
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        r[i] = gather(
            (const uint16_t *const[]){pixels[i], pixels[i + 8], pixels[i + 16], pixels[i + 24]},
            (__mmask8)lanes);
    turn_quarters(r, out);
    if (lanes >> 8 == 0) {
        memset(out + TILE / 2, 0, TILE);
        return;
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        r[i] = gather((const uint16_t *const[]){pixels[i] + 8, pixels[i + 8] + 8,
                                                pixels[i + 16] + 8, pixels[i + 24] + 8},
                      (__mmask8)(lanes >> 8));
    turn_quarters(r, out + TILE / 2);
}

void bg_amx_turn_pixels(const struct bg_amx_turn *in)
{
    for (int64_t chunk = 0; chunk < in->chunks; chunk++)
        for (int64_t block = in->first; block < in->last; block++)
            turn_tile(in, block * SIDE, in->from + chunk * BG_AMX_PIXELS,
                      in->tiles + block * in->block_step + chunk * TILE);
}

/* Tile numbers are part of the instructions, so each item has its own line. */
static void load_sums(const struct bg_amx_product *in)
{
    const int64_t step = in->sums_step;

    if (in->fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
        return;
    }
    switch (in->items) {
    case 6:
        _tile_loadd(5, in->sums + 5 * step, 64); /* fall through */
    case 5:
        _tile_loadd(4, in->sums + 4 * step, 64); /* fall through */
    case 4:
        _tile_loadd(3, in->sums + 3 * step, 64); /* fall through */
    case 3:
        _tile_loadd(2, in->sums + 2 * step, 64); /* fall through */
    case 2:
        _tile_loadd(1, in->sums + step, 64); /* fall through */
    default:
        _tile_loadd(0, in->sums, 64);
    }
}

static void store_sums(const struct bg_amx_product *in)
{
    const int64_t step = in->sums_step;

    switch (in->items) {
    case 6:
        _tile_stored(5, in->sums + 5 * step, 64); /* fall through */
    case 5:
        _tile_stored(4, in->sums + 4 * step, 64); /* fall through */
    case 4:
        _tile_stored(3, in->sums + 3 * step, 64); /* fall through */
    case 3:
        _tile_stored(2, in->sums + 2 * step, 64); /* fall through */
    case 2:
        _tile_stored(1, in->sums + step, 64); /* fall through */
    default:
        _tile_stored(0, in->sums, 64);
    }
}

static void multiply_one(const struct bg_amx_product *in)
{
    load_sums(in);
    for (int64_t k = 0; k < in->units * in->chunks; k++) {
        int64_t unit = k / in->chunks, at = k % in->chunks * TILE;
        const uint16_t *b = in->b + unit * in->b_unit + at;
        _tile_loadd(6, in->a + unit * in->a_unit + at, 64);
        switch (in->items) {
        case 6:
            _tile_loadd(7, b + in->b_offset[5], 64);
            _tile_dpbf16ps(5, 6, 7); /* fall through */
        case 5:
            _tile_loadd(7, b + in->b_offset[4], 64);
            _tile_dpbf16ps(4, 6, 7); /* fall through */
        case 4:
            _tile_loadd(7, b + in->b_offset[3], 64);
            _tile_dpbf16ps(3, 6, 7); /* fall through */
        case 3:
            _tile_loadd(7, b + in->b_offset[2], 64);
            _tile_dpbf16ps(2, 6, 7); /* fall through */
        case 2:
            _tile_loadd(7, b + in->b_offset[1], 64);
            _tile_dpbf16ps(1, 6, 7); /* fall through */
        default:
            _tile_loadd(7, b + in->b_offset[0], 64);
            _tile_dpbf16ps(0, 6, 7);
        }
    }
    store_sums(in);
}

static void load_two(const struct bg_amx_product *in)
{
    const float *sums = in->sums, *next = in->sums + in->sums_step;

    if (in->fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, sums, 64);
    _tile_loadd(1, sums + BG_AMX_SUMS, 64);
    if (in->items == 2) {
        _tile_loadd(2, next, 64);
        _tile_loadd(3, next + BG_AMX_SUMS, 64);
    }
}

/* Two output blocks: every tile that is loaded is used twice. */
static void multiply_two(const struct bg_amx_product *in)
{
    float *sums = in->sums, *next = in->sums + in->sums_step;
    const int64_t b0 = in->b_offset[0], b1 = in->b_offset[in->items - 1];

    load_two(in);
    for (int64_t unit = 0; unit < in->units; unit++) {
        const uint16_t *a = in->a + unit * in->a_unit, *b = in->b + unit * in->b_unit;
        for (const uint16_t *end = a + in->chunks * TILE; a < end; a += TILE, b += TILE) {
            _tile_loadd(4, a, 64);
            _tile_loadd(6, b + b0, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(5, a + in->a_block, 64);
            _tile_dpbf16ps(1, 5, 6);
            if (in->items == 2) {
                _tile_loadd(7, b + b1, 64);
                _tile_dpbf16ps(2, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
    }
    _tile_stored(0, sums, 64);
    _tile_stored(1, sums + BG_AMX_SUMS, 64);
    if (in->items == 2) {
        _tile_stored(2, next, 64);
        _tile_stored(3, next + BG_AMX_SUMS, 64);
    }
}

void bg_amx_multiply(const struct bg_amx_product *in)
{
    if (in->outputs == 2)
        multiply_two(in);
    else
        multiply_one(in);
}
