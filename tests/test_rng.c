/* The random numbers: known answers, moments, independence of how they are asked for. */
#include "core/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Random123 1.x, examples/kat_vectors, philox4x32 10. */
Test(rng, philox_gives_the_known_answers)
{
    static const struct {
        struct bg_rng rng;
        uint64_t index;
        uint32_t words[4];
    } rows[] = {
        {{0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{UINT64_MAX, UINT32_MAX, UINT32_MAX},
         UINT64_MAX,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x299f31d0a4093822, 0x13198a2e, 0x03707344},
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t words[4];
        bg_rng_words(&rows[i].rng, rows[i].index, words);
        cr_assert_eq(memcmp(words, rows[i].words, sizeof words), 0);
    }
}

Test(rng, single_words_are_those_of_the_blocks)
{
    const struct bg_rng rng = {7, BG_STREAM_DROPOUT, 3};

    for (uint64_t index = 0; index < 400; index++) {
        uint32_t words[4];
        bg_rng_words(&rng, index / 4, words);
        cr_assert_eq(bg_rng_u32(&rng, index), words[index % 4]);
        cr_assert_eq(bg_rng_uniform(&rng, index), (float)(words[index % 4] >> 8) / 16777216.0f);
    }
}

Test(rng, seed_stream_step_and_index_each_change_the_draw)
{
    const struct bg_rng a = {1, 1, 0}, seed = {2, 1, 0}, stream = {1, 2, 0}, step = {1, 1, 1};

    cr_assert_neq(bg_rng_u32(&a, 0), bg_rng_u32(&a, 1));
    cr_assert_neq(bg_rng_u32(&a, 0), bg_rng_u32(&a, UINT64_C(1) << 40));
    cr_assert_neq(bg_rng_u32(&a, 0), bg_rng_u32(&seed, 0));
    cr_assert_neq(bg_rng_u32(&a, 0), bg_rng_u32(&stream, 0));
    cr_assert_neq(bg_rng_u32(&a, 0), bg_rng_u32(&step, 0));
}

#define DRAWS 100000
/* Five standard deviations of a mean of DRAWS values with standard deviation 1. The draws are
 * fixed, so the tests pass or fail for ever. */
static const double five_sigma = 5.0 / 316.22776601683796;

Test(rng, uniform_has_its_moments_and_stays_below_one)
{
    const struct bg_rng rng = {42, BG_STREAM_TEST, 0};
    double sum = 0, square = 0;

    for (uint64_t i = 0; i < DRAWS; i++) {
        float u = bg_rng_uniform(&rng, i);
        cr_assert(u >= 0.0f && u < 1.0f);
        sum += (double)u;
        square += (double)u * (double)u;
    }
    cr_assert_float_eq(sum / DRAWS, 0.5, five_sigma * sqrt(1.0 / 12));
    cr_assert_float_eq(square / DRAWS, 1.0 / 3, five_sigma * sqrt(4.0 / 45));
}

Test(rng, normal_has_its_moments_and_a_bounded_tail)
{
    const struct bg_rng rng = {42, BG_STREAM_INIT, 0};
    double sums[5] = {0};

    for (uint64_t i = 0; i < DRAWS; i++) {
        double power = 1.0, x = bg_rng_normal(&rng, i);
        cr_assert(fabs(x) < 8.6);
        for (int k = 1; k <= 4; k++) {
            power *= x;
            sums[k] += power;
        }
    }
    cr_assert_float_eq(sums[1] / DRAWS, 0.0, five_sigma);
    cr_assert_float_eq(sums[2] / DRAWS, 1.0, five_sigma * sqrt(2.0)); /* var x^2 = 3 - 1 */
    cr_assert_float_eq(sums[3] / DRAWS, 0.0, five_sigma * sqrt(15.0));
    cr_assert_float_eq(sums[4] / DRAWS, 3.0, five_sigma * sqrt(96.0)); /* 105 - 9 */
}

Test(rng, below_is_bounded_and_even)
{
    const struct bg_rng rng = {3, BG_STREAM_TEST, 1};
    int64_t counts[10] = {0};

    for (uint64_t i = 0; i < DRAWS; i++) {
        uint32_t draw = bg_rng_below(&rng, i, 10);
        cr_assert_lt(draw, 10);
        counts[draw]++;
        cr_assert_eq(bg_rng_below(&rng, i, 1), 0);
        cr_assert_lt(bg_rng_below(&rng, i, UINT32_MAX), UINT32_MAX);
    }
    for (int i = 0; i < 10; i++) /* binomial: sigma = sqrt(n * 0.1 * 0.9) */
        cr_assert_float_eq((double)counts[i] / DRAWS, 0.1, five_sigma * 0.3);
}

Test(rng, permutation_holds_every_index_once_and_moves_with_the_step)
{
    enum { COUNT = 1000 };
    const struct bg_rng first = {5, BG_STREAM_SHUFFLE, 0}, second = {5, BG_STREAM_SHUFFLE, 1};
    int32_t a[COUNT], b[COUNT];
    int seen[COUNT] = {0}, equal = 0, fixed = 0;

    bg_rng_permutation(&first, a, COUNT);
    bg_rng_permutation(&second, b, COUNT);
    for (int i = 0; i < COUNT; i++) {
        cr_assert(a[i] >= 0 && a[i] < COUNT);
        cr_assert_eq(seen[a[i]]++, 0);
        equal += a[i] == b[i];
        fixed += a[i] == i;
    }
    cr_assert_lt(equal, 10); /* one expected in each case */
    cr_assert_lt(fixed, 10);
    bg_rng_permutation(&first, b, COUNT);
    cr_assert_eq(memcmp(a, b, sizeof a), 0);
    bg_rng_permutation(&first, a, 1);
    cr_assert_eq(a[0], 0);
    bg_rng_permutation(&first, a, 0);
}

Test(rng, names_hash_to_fixed_and_different_seeds)
{
    cr_assert_eq(bg_rng_hash(1, "conv1.weight"), bg_rng_hash(1, "conv1.weight"));
    cr_assert_neq(bg_rng_hash(1, "conv1.weight"), bg_rng_hash(2, "conv1.weight"));
    cr_assert_neq(bg_rng_hash(1, "conv1.weight"), bg_rng_hash(1, "conv2.weight"));
    cr_assert_neq(bg_rng_hash(1, ""), bg_rng_hash(1, "a"));
    /* Stored weights depend on it: FNV-1a 64 of "a" is af63dc4c8601ec8c, then SplitMix64's
     * finaliser (computed apart in Python). */
    cr_assert_eq(bg_rng_hash(0, "a"), UINT64_C(0x2c0bdbf481420f8));
}
