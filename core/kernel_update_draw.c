/* Draws of stochastic tuning: bg_rng_words (core/rng.c) of consecutive blocks, as many side by side
 * as a vector has 64-bit lanes, since a round is two products of 32 bits to 64. The first two
 * rounds leave out what is the same in all blocks. Same words on every instruction set. */
#include "core/kernel_update_chunk.h"

#define FACTOR_0 0xd2511f53u
#define FACTOR_2 0xcd9e8d57u
#define WEYL_0   0x9e3779b9u
#define WEYL_1   0xbb67ae85u
#define ROUNDS   10

#if defined(__AVX512F__)
#include <immintrin.h>

#define LANES 8
typedef __m512i lanes;

INLINE lanes every(uint32_t x)
{
    return _mm512_set1_epi64((int64_t)x);
}
INLINE lanes count_from(uint64_t first)
{
    return _mm512_add_epi64(_mm512_set1_epi64((int64_t)first),
                            _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE lanes product(lanes a, lanes b) /* of the low halves */
{
    return _mm512_mul_epu32(a, b);
}
INLINE lanes high(lanes a)
{
    return _mm512_shuffle_epi32(a, _MM_PERM_DDBB); /* on another port than the products */
}
INLINE lanes exclusive(lanes a, lanes b, lanes c)
{
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}
/* The low halves of four words of each block, one block after the other. */
INLINE void put(uint32_t *words, lanes a, lanes b, lanes c, lanes d)
{
    const lanes low = _mm512_mask_shuffle_epi32(a, 0xaaaa, b, _MM_PERM_CCAA);
    const lanes top = _mm512_mask_shuffle_epi32(c, 0xaaaa, d, _MM_PERM_CCAA);
    const lanes first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const lanes second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);

    _mm512_storeu_si512(words, _mm512_permutex2var_epi64(low, first, top));
    _mm512_storeu_si512(words + 2 * LANES, _mm512_permutex2var_epi64(low, second, top));
}
#elif defined(__AVX2__)
#include <immintrin.h>

#define LANES 4
typedef __m256i lanes;

INLINE lanes every(uint32_t x)
{
    return _mm256_set1_epi64x((int64_t)x);
}
INLINE lanes count_from(uint64_t first)
{
    return _mm256_add_epi64(_mm256_set1_epi64x((int64_t)first), _mm256_setr_epi64x(0, 1, 2, 3));
}
INLINE lanes product(lanes a, lanes b)
{
    return _mm256_mul_epu32(a, b);
}
INLINE lanes high(lanes a)
{
    return _mm256_shuffle_epi32(a, _MM_SHUFFLE(3, 3, 1, 1));
}
INLINE lanes exclusive(lanes a, lanes b, lanes c)
{
    return _mm256_xor_si256(_mm256_xor_si256(a, b), c);
}
INLINE void put(uint32_t *words, lanes a, lanes b, lanes c, lanes d)
{
    const lanes low = _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa);
    const lanes top = _mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0xaa);
    const lanes even = _mm256_unpacklo_epi64(low, top), odd = _mm256_unpackhi_epi64(low, top);

    _mm256_storeu_si256((__m256i *)(void *)words, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(words + 2 * LANES),
                        _mm256_permute2x128_si256(even, odd, 0x31));
}
#else
#define LANES 1
typedef uint64_t lanes;

INLINE lanes every(uint32_t x)
{
    return x;
}
INLINE lanes count_from(uint64_t first)
{
    return first;
}
INLINE lanes product(lanes a, lanes b)
{
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
INLINE lanes high(lanes a)
{
    return a >> 32;
}
INLINE lanes exclusive(lanes a, lanes b, lanes c)
{
    return a ^ b ^ c;
}
INLINE void put(uint32_t *words, lanes a, lanes b, lanes c, lanes d)
{
    words[0] = (uint32_t)a;
    words[1] = (uint32_t)b;
    words[2] = (uint32_t)c;
    words[3] = (uint32_t)d;
}
#endif

/* Only the low halves of lanes count, so that a product is its own low word. The counter's high
 * word would rise at weight 2^34: it is the same in all blocks. */
static void draw(const struct bg_rng *rng, uint64_t first, int64_t blocks, uint32_t *words)
{
    const lanes f0 = every(FACTOR_0), f2 = every(FACTOR_2);
    const lanes c1 = every((uint32_t)(first >> 32)), c3 = every(rng->step);
    const lanes y1 = product(every(rng->stream), f2);
    lanes k[ROUNDS][2];

    for (uint32_t r = 0; r < ROUNDS; r++) {
        k[r][0] = every((uint32_t)rng->seed + r * WEYL_0);
        k[r][1] = every((uint32_t)(rng->seed >> 32) + r * WEYL_1);
    }
    const lanes x2 = product(exclusive(high(y1), c1, k[0][0]), f0); /* round 2's, of all blocks */
    for (int64_t b = 0; b < blocks; b += LANES) {
        const lanes x1 = product(count_from(first + (uint64_t)b), f0);
        lanes y = product(exclusive(high(x1), c3, k[0][1]), f2);
        lanes w0 = exclusive(high(y), y1, k[1][0]), w1 = y;
        lanes w2 = exclusive(high(x2), x1, k[1][1]), w3 = x2;
        for (int r = 2; r < ROUNDS; r++) {
            const lanes x = product(w0, f0);
            y = product(w2, f2);
            w0 = exclusive(high(y), w1, k[r][0]);
            w1 = y;
            w2 = exclusive(high(x), w3, k[r][1]);
            w3 = x;
        }
        put(words + 4 * b, w0, w1, w2, w3);
    }
}

const uint32_t *BG_KERNEL_TABLE(update_draw)(const struct bg_kernel_update *in, struct chunk *c)
{
    const uint64_t first = (uint64_t)(in->index + c->at);
    const int64_t skip = (int64_t)(first % 4);

    draw(&in->rng, first / 4, (skip + c->n + 3) / 4, c->words);
    return c->words + skip;
}
