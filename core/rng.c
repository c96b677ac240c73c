/* Philox 4x32-10 (Salmon et al., SC 2011, section 3.3; constants from its table 2 and the Random123
 * sources), and the draws made from it.
 *
 * Counter words: index low, index high, stream, step; key words: seed low, seed high. */
#include "core/rng.h"

#include <math.h>
#include <stddef.h>

#define PI 3.14159265358979323846

void bg_rng_words(const struct bg_rng *rng, uint64_t index, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = rng->stream, c3 = rng->step;
    uint32_t k0 = (uint32_t)rng->seed, k1 = (uint32_t)(rng->seed >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c0;
        uint64_t b = (uint64_t)0xcd9e8d57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t bg_rng_u32(const struct bg_rng *rng, uint64_t index)
{
    uint32_t words[4];

    bg_rng_words(rng, index >> 2, words);
    return words[index & 3];
}

float bg_rng_uniform(const struct bg_rng *rng, uint64_t index)
{
    return (float)(bg_rng_u32(rng, index) >> 8) * 0x1p-24f;
}

/* Box and Muller, "A note on the generation of random normal deviates", 1958: one of the pair. The
 * radius comes from (0, 1], so the logarithm is finite: |result| <= sqrt(2 * 53 * ln 2) < 8.6. */
double bg_rng_normal(const struct bg_rng *rng, uint64_t index)
{
    uint32_t words[4];
    double radius, angle;

    bg_rng_words(rng, index, words);
    radius = ((double)((((uint64_t)words[0] << 32) | words[1]) >> 11) + 1.0) * 0x1p-53;
    angle = (double)((((uint64_t)words[2] << 32) | words[3]) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(radius)) * cos(2.0 * PI * angle);
}

uint32_t bg_rng_below(const struct bg_rng *rng, uint64_t index, uint32_t limit)
{
    return (uint32_t)(((uint64_t)bg_rng_u32(rng, index) * limit) >> 32);
}

void bg_rng_permutation(const struct bg_rng *rng, int32_t *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (int32_t)i;
    for (int64_t i = count - 1; i > 0; i--) {
        uint32_t j = bg_rng_below(rng, (uint64_t)i, (uint32_t)(i + 1));
        int32_t swapped = out[i];
        out[i] = out[j];
        out[j] = swapped;
    }
}

/* FNV-1a over the name, then the finaliser of SplitMix64 so that short names differ in every bit.
 */
uint64_t bg_rng_hash(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;

    for (size_t i = 0; name[i] != '\0'; i++)
        hash = (hash ^ (unsigned char)name[i]) * 0x100000001b3u;
    hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebu;
    return hash ^ (hash >> 31);
}
