/* Exact u8 x s8 -> s32 convolution, compiled once per instruction set.
 *
 * A tile of output pixels x channels stays in registers; per unit of codes each pixel's 32 bits are
 * broadcast and multiplied with a vector of weights. AVX2 and AVX-512 work on pairs of s16
 * (vpmaddwd: at most 2 * 255 * 128, exact), VNNI on quads of bytes (vpdpbusd, the form that does
 * not saturate). vpmaddubsw, which oneDNN uses below VNNI, saturates at s16 and is not exact. */
#include "core/kernel_table.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512VNNI__)
#define CODES 4
#else
#define CODES 2
#endif
#define UNIT 4 /* bytes of a unit */

/* ROLLED: gcc unrolls a short loop before it looks for vectors, and then finds none. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#define ROLLED
#else
#define UNROLL _Pragma("GCC unroll 8")
#define ROLLED _Pragma("GCC unroll 1")
#endif
#define INLINE static inline __attribute__((always_inline))

/* One block of output channels. */
struct block {
    const uint8_t *weights;
    int64_t first, lanes; /* channel; channels in the packed weights */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#if defined(__AVX2__)
#if defined(__AVX512BW__)
#define BLOCK  64
#define VECTOR __m512i
#define WIDTH  16
#define PIXELS 8

INLINE VECTOR broadcast(const uint8_t *from)
{
    int32_t unit;

    memcpy(&unit, from, sizeof unit);
    return _mm512_set1_epi32(unit);
}

INLINE VECTOR load(const void *from)
{
    return _mm512_loadu_si512(from);
}

INLINE VECTOR load_codes(const uint8_t *from)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)from));
}

INLINE VECTOR dot_pairs(VECTOR sum, VECTOR codes, VECTOR weights)
{
    return _mm512_add_epi32(sum, _mm512_madd_epi16(codes, weights));
}

INLINE VECTOR dot(VECTOR sum, VECTOR codes, VECTOR weights)
{
#if defined(__AVX512VNNI__)
    return _mm512_dpbusd_epi32(sum, codes, weights);
#else
    return dot_pairs(sum, codes, weights);
#endif
}

/* The first `count` lanes. */
INLINE void store(int32_t *to, VECTOR values, int64_t count)
{
    if (count >= WIDTH)
        _mm512_storeu_si512(to, values);
    else
        _mm512_mask_storeu_epi32(to, (__mmask16)((1u << count) - 1u), values);
}
#else
#define BLOCK  16
#define VECTOR __m256i
#define WIDTH  8
#define PIXELS 4

INLINE VECTOR broadcast(const uint8_t *from)
{
    int32_t unit;

    memcpy(&unit, from, sizeof unit);
    return _mm256_set1_epi32(unit);
}

INLINE VECTOR load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

INLINE VECTOR load_codes(const uint8_t *from)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)from));
}

INLINE VECTOR dot_pairs(VECTOR sum, VECTOR codes, VECTOR weights)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(codes, weights));
}

INLINE VECTOR dot(VECTOR sum, VECTOR codes, VECTOR weights)
{
    return dot_pairs(sum, codes, weights);
}

/* The first `count` lanes; none when it is not positive. */
INLINE void store(int32_t *to, VECTOR values, int64_t count)
{
    static const int32_t mask[2 * WIDTH] = {-1, -1, -1, -1, -1, -1, -1, -1};

    if (count >= WIDTH)
        _mm256_storeu_si256((__m256i *)(void *)to, values);
    else if (count > 0)
        _mm256_maskstore_epi32(to, load(mask + WIDTH - count), values);
}
#endif

/* `pixels` x `vectors` sums of one block for the pixels from `first`. Pixels behind the last one
 * repeat it and are not stored. Both counts are constants at every call. */
INLINE void tile(const struct bg_kernel_int_conv *in, const struct block *block, int64_t first,
                 const int pixels, const int vectors)
{
    const uint8_t *weights = block->weights, *from[PIXELS], *at[PIXELS];
    VECTOR sum[PIXELS][BLOCK / WIDTH];

    UNROLL
    for (int p = 0; p < pixels; p++) {
        from[p] = in->src + in->pixel[smaller(first + p, in->pixels - 1)];
        UNROLL
        for (int v = 0; v < vectors; v++)
            sum[p][v] = load(in->start + block->first + v * WIDTH);
    }
    for (int64_t r = 0; r < in->runs; r++) {
        UNROLL
        for (int p = 0; p < pixels; p++)
            at[p] = from[p] + in->run[r];
        for (int64_t u = 0; u < in->units; u++, weights += block->lanes * UNIT) {
            VECTOR w[BLOCK / WIDTH];
            UNROLL
            for (int v = 0; v < vectors; v++)
                w[v] = load(weights + v * WIDTH * UNIT);
            UNROLL
            for (int p = 0; p < pixels; p++) {
                VECTOR codes = broadcast(at[p] + u * UNIT);
                UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[p][v] = dot(sum[p][v], codes, w[v]);
            }
        }
    }
    UNROLL
    for (int p = 0; p < pixels; p++) {
        if (first + p >= in->pixels)
            break;
        int32_t *to = in->dst + (first + p) * in->step + block->first;
        UNROLL
        for (int v = 0; v < vectors; v++)
            store(to + v * WIDTH, sum[p][v], in->outputs - block->first - v * WIDTH);
    }
}

INLINE void tiles(const struct bg_kernel_int_conv *in, const struct block *block, const int pixels,
                  const int vectors)
{
    int64_t p = 0;

    for (; p + 1 < in->pixels; p += pixels)
        tile(in, block, p, pixels, vectors);
    if (p < in->pixels)
        tile(in, block, p, 1, vectors);
}

static void conv(const struct bg_kernel_int_conv *in)
{
    struct block block = {.weights = in->weights};

    for (; block.first < in->outputs; block.first += BLOCK) {
        int64_t left = in->outputs - block.first;
        int64_t padded =
            (left + BG_KERNEL_INT_LANES - 1) / BG_KERNEL_INT_LANES * BG_KERNEL_INT_LANES;
        block.lanes = smaller(padded, BLOCK);
#if defined(__AVX512BW__)
        if (block.lanes == 16)
            tiles(in, &block, 8, 1);
        else if (block.lanes == 32)
            tiles(in, &block, 8, 2);
        else if (block.lanes == 48)
            tiles(in, &block, 6, 3);
        else
            tiles(in, &block, 6, 4);
#else
        tiles(in, &block, 4, 2);
#endif
        block.weights += in->runs * in->units * block.lanes * UNIT;
    }
}

/* Codes widened to s32 are pairs (code, 0), weights s32 are pairs (w, sign of w): their dot product
 * is code * w. */
INLINE void depthwise_tile(const struct bg_kernel_int_conv *in, int64_t first, int64_t channel,
                           const int pixels)
{
    const int64_t padded =
        (in->outputs + BG_KERNEL_INT_LANES - 1) / BG_KERNEL_INT_LANES * BG_KERNEL_INT_LANES;
    const int32_t *weights = (const int32_t *)in->weights + channel;
    const uint8_t *from[PIXELS];
    VECTOR sum[PIXELS];

    UNROLL
    for (int p = 0; p < pixels; p++) {
        from[p] = in->src + in->pixel[smaller(first + p, in->pixels - 1)] + channel;
        sum[p] = load(in->start + channel);
    }
    for (int64_t t = 0; t < in->runs; t++, weights += padded) {
        VECTOR w = load(weights);
        UNROLL
        for (int p = 0; p < pixels; p++)
            sum[p] = dot_pairs(sum[p], load_codes(from[p] + in->run[t]), w);
    }
    UNROLL
    for (int p = 0; p < pixels; p++)
        if (first + p < in->pixels)
            store(in->dst + (first + p) * in->step + channel, sum[p], in->outputs - channel);
}

static void depthwise(const struct bg_kernel_int_conv *in)
{
    for (int64_t c = 0; c < in->outputs; c += WIDTH)
        for (int64_t p = 0; p < in->pixels; p += PIXELS)
            depthwise_tile(in, p, c, PIXELS);
}

#else /* plain C */
#define BLOCK BG_KERNEL_INT_LANES

/* One pixel and one block of output channels. */
static void tile(const struct bg_kernel_int_conv *in, const uint8_t *src, const int16_t *weights,
                 int64_t first, int32_t sum[BLOCK])
{
    uint32_t total[BLOCK];

    for (int o = 0; o < BLOCK; o++)
        total[o] = (uint32_t)in->start[first + o];
    for (int64_t r = 0; r < in->runs; r++)
        for (int64_t u = 0; u < in->units; u++, weights += BLOCK * CODES) {
            int16_t code[CODES]; /* 0 to 255: products of s16 become vectors */
            memcpy(code, src + in->run[r] + u * UNIT, sizeof code);
            ROLLED
            for (int o = 0; o < BLOCK; o++)
                total[o] += (uint32_t)(code[0] * weights[2 * o] + code[1] * weights[2 * o + 1]);
        }
    for (int o = 0; o < BLOCK; o++)
        sum[o] = (int32_t)total[o];
}

static void conv(const struct bg_kernel_int_conv *in)
{
    const int16_t *weights = in->weights;

    for (int64_t first = 0; first < in->outputs; first += BLOCK) {
        int64_t count = smaller(BLOCK, in->outputs - first);
        for (int64_t p = 0; p < in->pixels; p++) {
            int32_t sum[BLOCK];
            tile(in, in->src + in->pixel[p], weights, first, sum);
            memcpy(in->dst + p * in->step + first, sum, (size_t)count * sizeof *sum);
        }
        weights += in->runs * in->units * BLOCK * CODES;
    }
}

static void depthwise(const struct bg_kernel_int_conv *in)
{
    const int64_t padded = (in->outputs + BLOCK - 1) / BLOCK * BLOCK;

    for (int64_t p = 0; p < in->pixels; p++) {
        const uint8_t *from = in->src + in->pixel[p];
        int32_t *to = in->dst + p * in->step;
        memcpy(to, in->start, (size_t)in->outputs * sizeof *to);
        for (int64_t t = 0; t < in->runs; t++) {
            const uint8_t *codes = from + in->run[t];
            const int32_t *weights = (const int32_t *)in->weights + t * padded;
            for (int64_t c = 0; c < in->outputs; c++)
                to[c] = (int32_t)((uint32_t)to[c] + (uint32_t)(codes[c] * weights[c]));
        }
    }
}
#endif

static void widen(const uint8_t *codes, int64_t n, uint16_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = codes[i];
}

static void add_product(const int32_t *values, int64_t n, int32_t factor, int64_t pixels,
                        int32_t *acc)
{
    for (int64_t p = 0; p < pixels; p++, acc += n) {
        BG_IVDEP
        for (int64_t i = 0; i < n; i++)
            acc[i] = (int32_t)((uint32_t)acc[i] + (uint32_t)factor * (uint32_t)values[i]);
    }
}

const struct bg_kernel_int_conv_table BG_KERNEL_TABLE(int_conv) = {
    .codes = CODES,
    .block = BLOCK,
    .conv = conv,
    .depthwise = depthwise,
    .widen = widen,
    .add_product = add_product,
};
