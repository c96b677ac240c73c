/* Convolution on AMX: lays out what outputs read, multiplies, rounds to bf16 (core/kernel_amx.h
 * says what a tile holds, core/amx_conv.c which pixels). */
#include "core/kernel_amx.h"

#include <immintrin.h>

#define SIDE  BG_AMX_SIDE
#define ROW   64   /* bytes of a tile row */
#define TILE  1024 /* bytes */
#define TILES 4    /* sum tiles of one product */

#define INLINE static inline __attribute__((always_inline))

static __mmask64 bytes_of(int64_t left)
{
    return left >= ROW ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
}

void bg_amx_lay_pixels(const struct bg_amx_lay *in)
{
    for (int64_t done = 0; done < in->pixel_bytes; done += ROW) {
        const __mmask64 bytes = bytes_of(in->pixel_bytes - done);
        uint8_t *to = in->to + done / ROW * in->chunk_step;
        for (int64_t q = 0; q < in->positions; q++) {
            const uint8_t *src =
                in->from[q] < 0 ? in->blank : in->src + in->from[q] * in->pixel_bytes + done;
            _mm512_store_si512(to + q * ROW, _mm512_maskz_loadu_epi8(bytes, src));
        }
    }
}

/* Columns `first` to `last` - 1 of a row. */
static void lay_border(const struct bg_amx_runs *in, const uint8_t *src, int64_t first,
                       int64_t last, uint8_t *to)
{
    const __m512i blank = _mm512_loadu_si512(in->blank);

    for (int64_t c = first; c < last; c++)
        _mm512_store_si512(to + c * ROW,
                           _mm512_mask_loadu_epi8(blank, in->mask[c], src + c * in->pixel_step));
}

static void lay_run(const struct bg_amx_runs *in, int64_t y, int64_t columns, uint8_t *to)
{
    const __m512i blank = _mm512_loadu_si512(in->blank);
    const uint8_t *src = in->src + in->row_at[y];
    const int64_t inner[2] = {in->inner[0] < columns ? in->inner[0] : columns,
                              in->inner[1] < columns ? in->inner[1] : columns};

    if (in->row_at[y] < 0) {
        for (int64_t c = 0; c < columns; c++)
            _mm512_store_si512(to + c * ROW, blank);
        return;
    }
    lay_border(in, src, 0, inner[0], to);
    if (inner[0] < inner[1]) {
        const __mmask64 all = in->mask[inner[0]];
        for (int64_t c = inner[0]; c < inner[1]; c++)
            _mm512_store_si512(to + c * ROW,
                               _mm512_mask_loadu_epi8(blank, all, src + c * in->pixel_step));
    }
    lay_border(in, src, inner[1], columns, to);
}

void bg_amx_lay_runs(const struct bg_amx_runs *in)
{
    for (int64_t y = 0; y * in->pitch < in->positions; y++) {
        int64_t left = in->positions - y * in->pitch;
        lay_run(in, y, left < in->pitch ? left : in->pitch, in->to + y * in->pitch * ROW);
    }
}

/* Tile numbers are part of the instructions. */
#define DOT(sum_, a_, b_)                                                                          \
    do {                                                                                           \
        if (wide)                                                                                  \
            _tile_dpbf16ps(sum_, a_, b_);                                                          \
        else                                                                                       \
            _tile_dpbusd(sum_, a_, b_);                                                            \
    } while (0)

/* Up to four tiles of positions by one block of outputs: sums[tile]. */
INLINE void multiply(const struct bg_amx_convolve *in, const uint8_t *a, const uint8_t *weights,
                     const uint8_t *start, int64_t tiles, uint8_t *sums, const bool wide)
{
    _tile_loadd(0, start, 0); /* 16 times the same row */
    _tile_loadd(1, start, 0);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start, 0);
    for (int64_t k = 0; k < in->steps; k++) {
        const uint8_t *from = a + in->a_offset[k];
        _tile_loadd(7, weights + k * TILE, ROW);
        switch (tiles) {
        case 4:
            _tile_loadd(6, from + 3 * TILE, ROW);
            DOT(3, 6, 7); /* fall through */
        case 3:
            _tile_loadd(5, from + 2 * TILE, ROW);
            DOT(2, 5, 7); /* fall through */
        case 2:
            _tile_loadd(4, from + TILE, ROW);
            DOT(1, 4, 7); /* fall through */
        default:
            _tile_loadd(6, from, ROW);
            DOT(0, 6, 7);
        }
    }
    _tile_stored(0, sums, ROW);
    _tile_stored(1, sums + TILE, ROW);
    _tile_stored(2, sums + 2 * TILE, ROW);
    _tile_stored(3, sums + 3 * TILE, ROW);
}

INLINE __m512 load_sums(const uint8_t *row, const bool wide, __m512 factor)
{
    __m512i bits = _mm512_load_si512(row);

    return wide ? _mm512_mul_ps(_mm512_castsi512_ps(bits), factor) : _mm512_cvtepi32_ps(bits);
}

static __m512 widen(__m256i bf16)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

/* Sums of some tiles of positions on their way to dst: one block of outputs, or two. */
struct pending {
    const uint8_t *sums; /* [block][tile] */
    const int32_t *to;
    int64_t tiles, block;
    bool two;
};

/* 16 positions of one block of outputs. */
INLINE void put_one(const struct bg_amx_convolve *in, const struct pending *at, int64_t tile,
                    const bool wide)
{
    const int64_t left = in->outputs - at->block * SIDE;
    const __mmask16 lanes = left >= SIDE ? 0xffff : (__mmask16)((1u << left) - 1);
    const uint8_t *sums = at->sums + tile * TILE;
    const __m512 factor = _mm512_set1_ps(in->factor);
    const int32_t *to = at->to + tile * SIDE;

    for (int r = 0; r < SIDE; r++) {
        if (to[r] < 0)
            continue;
        uint16_t *dst = in->dst + to[r] * in->outputs + at->block * SIDE;
        __m512 value = load_sums(sums + r * ROW, wide, factor);
        if (in->add)
            value = _mm512_add_ps(value, widen(_mm256_maskz_loadu_epi16(lanes, dst)));
        _mm256_mask_storeu_epi16(dst, lanes, (__m256i)_mm512_cvtneps_pbh(value));
    }
}

/* 16 positions of two blocks of outputs, the second may be cut. */
INLINE void put_two(const struct bg_amx_convolve *in, const struct pending *at, int64_t tile,
                    const bool wide)
{
    const int64_t left = in->outputs - at->block * SIDE;
    const __mmask32 lanes = left >= 2 * SIDE ? 0xffffffffu : (1u << left) - 1;
    const uint8_t *sums = at->sums + tile * TILE;
    const __m512 factor = _mm512_set1_ps(in->factor);
    const int32_t *to = at->to + tile * SIDE;

    for (int r = 0; r < SIDE; r++) {
        if (to[r] < 0)
            continue;
        uint16_t *dst = in->dst + to[r] * in->outputs + at->block * SIDE;
        __m512 low = load_sums(sums + r * ROW, wide, factor);
        __m512 high = load_sums(sums + TILES * TILE + r * ROW, wide, factor);
        if (in->add) {
            __m512i old = _mm512_maskz_loadu_epi16(lanes, dst);
            low = _mm512_add_ps(low, widen(_mm512_castsi512_si256(old)));
            high = _mm512_add_ps(high, widen(_mm512_extracti64x4_epi64(old, 1)));
        }
        _mm512_mask_storeu_epi16(dst, lanes, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* 16 neighbouring pixels of 16 channels: whole cache lines. */
INLINE void put_run(const struct bg_amx_convolve *in, const struct pending *at, int64_t tile,
                    const bool wide)
{
    const uint8_t *sums = at->sums + tile * TILE;
    const __m512 factor = _mm512_set1_ps(in->factor);
    uint16_t *dst = in->dst + at->to[tile * SIDE] * SIDE;

    for (int r = 0; r < SIDE; r += 2, dst += 2 * SIDE) {
        __m512 low = load_sums(sums + r * ROW, wide, factor),
               high = load_sums(sums + (r + 1) * ROW, wide, factor);
        if (in->add) {
            __m512i old = _mm512_loadu_si512(dst);
            low = _mm512_add_ps(low, widen(_mm512_castsi512_si256(old)));
            high = _mm512_add_ps(high, widen(_mm512_extracti64x4_epi64(old, 1)));
        }
        _mm512_storeu_si512(dst, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

static bool is_run(const int32_t *to)
{
    const __m512i steps = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i wanted = _mm512_add_epi32(_mm512_set1_epi32(to[0]), steps);

    return to[0] >= 0 && _mm512_cmpeq_epi32_mask(wanted, _mm512_loadu_si512(to)) == 0xffff;
}

INLINE void put(const struct bg_amx_convolve *in, const struct pending *at, const bool wide)
{
    for (int64_t i = 0; i < at->tiles; i++) {
        if (at->two)
            put_two(in, at, i, wide);
        else if (in->outputs == SIDE && is_run(at->to + i * SIDE))
            put_run(in, at, i, wide);
        else
            put_one(in, at, i, wide);
    }
}

/* Sums are put one product late: by then they are there, and the CPU rounds and stores them while
 * its matrix unit works on the next ones. */
INLINE void convolve(const struct bg_amx_convolve *in, const bool wide)
{
    _Alignas(64) uint8_t sums[2][2 * TILES * TILE];
    const uint8_t *start = in->start;
    struct pending last = {0}, now;
    int turn = 0;

    for (int64_t t = 0; t < in->tiles; t += TILES)
        for (int64_t block = in->first; block < in->last; block += 2, turn ^= 1) {
            const uint8_t *a = in->a + t * TILE;
            const uint8_t *weights = in->weights + block * in->steps * TILE;
            now = (struct pending){.sums = sums[turn],
                                   .to = in->to + t * SIDE,
                                   .tiles = in->tiles - t < TILES ? in->tiles - t : TILES,
                                   .block = block,
                                   .two = block + 1 < in->last};
            multiply(in, a, weights, start + block * ROW, now.tiles, sums[turn], wide);
            if (now.two)
                multiply(in, a, weights + in->steps * TILE, start + (block + 1) * ROW, now.tiles,
                         sums[turn] + TILES * TILE, wide);
            put(in, &last, wide);
            last = now;
        }
    put(in, &last, wide);
}

void bg_amx_convolve(const struct bg_amx_convolve *in)
{
    if (in->wide)
        convolve(in, true);
    else
        convolve(in, false);
}

void bg_amx_sum_weights(const uint8_t *tiles, int64_t steps, int32_t *sums)
{
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i sum = _mm512_setzero_si512();

    for (int64_t i = 0; i < steps * TILE; i += ROW)
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_load_si512(tiles + i));
    _mm512_storeu_si512(sums, sum);
}
