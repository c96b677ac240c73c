/* Counter-based random numbers (Philox 4x32-10: Salmon et al., "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC 2011). Every draw is a pure function of (seed, stream, step, index): there is no
 * state to save, and no result depends on thread count, batch split or a resume. */
#ifndef BG_CORE_RNG_H
#define BG_CORE_RNG_H

#include <stdint.h>

/* One stream per purpose, so that draws for one purpose never move another's. Values are stored in
 * files: append only. */
enum bg_stream {
    BG_STREAM_INIT = 1,
    BG_STREAM_SHUFFLE = 2,
    BG_STREAM_AUGMENT = 3,
    BG_STREAM_DROPOUT = 4,
    BG_STREAM_ROUNDING = 5,
    BG_STREAM_SELECT = 6,
    BG_STREAM_DATA = 7,
    BG_STREAM_SPLIT = 8,
    BG_STREAM_TEST = 9,
    BG_STREAM_GRADIENT = 10
};

struct bg_rng {
    uint64_t seed;
    uint32_t stream;
    uint32_t step;
};

/* Four words per index. bg_rng_u32, _uniform and _below read word index % 4 of block index / 4, so
 * whoever needs many draws may take blocks of four. bg_rng_normal reads the whole block `index`. */
void bg_rng_words(const struct bg_rng *rng, uint64_t index, uint32_t out[4]);
uint32_t bg_rng_u32(const struct bg_rng *rng, uint64_t index);
float bg_rng_uniform(const struct bg_rng *rng, uint64_t index); /* [0, 1), 24 bits */
double bg_rng_normal(const struct bg_rng *rng, uint64_t index); /* mean 0, variance 1 */
uint32_t bg_rng_below(const struct bg_rng *rng, uint64_t index,
                      uint32_t limit); /* [0, limit), limit > 0, unbiased to 2^-32 */
void bg_rng_permutation(const struct bg_rng *rng, int32_t *out, int64_t count);
/* A stable 64-bit hash of a name, to make a seed per layer name. */
uint64_t bg_rng_hash(uint64_t seed, const char *name);

#endif
