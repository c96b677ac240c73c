/* Statistics: exactness, the histogram's edges, and equality over threads and instruction sets. */
#include "core/kernel_table.h"
#include "core/rng.h"
#include "core/stats.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { LONG = 600001 }; /* more than two groups of 64 blocks, with a tail */

static float x[LONG], other[LONG];

static void fill(void)
{
    const struct bg_rng rng = {9, BG_STREAM_TEST, 2};

    for (int i = 0; i < LONG; i++) {
        float u = bg_rng_uniform(&rng, (uint64_t)i) - 0.4f;
        x[i] = u * u * u * 3.0f;
        other[i] = bg_rng_uniform(&rng, (uint64_t)(LONG + i));
    }
}

TestSuite(stats, .init = fill);

static void expect_equal(const struct bg_stats *a, const struct bg_stats *b)
{
    cr_assert_eq(a->count, b->count);
    cr_assert_eq(a->not_finite, b->not_finite);
    cr_assert_eq(memcmp(&a->sum, &b->sum, 3 * sizeof a->sum), 0); /* sum, sum_abs, sum_square */
    cr_assert_eq(memcmp(&a->min, &b->min, 3 * sizeof a->min), 0); /* min, max, max_abs */
    cr_assert_eq(memcmp(a->histogram, b->histogram, sizeof a->histogram), 0);
}

/* The definition of the header, as plainly as it can be written. */
static void by_definition(struct bg_stats *stats, const float *v, int64_t n)
{
    for (int64_t start = 0; start < n; start += BG_STATS_BLOCK) {
        double lanes[3][16] = {{0}};
        for (int64_t i = start; i < n && i < start + BG_STATS_BLOCK; i++) {
            double d = (double)v[i];
            lanes[0][(i - start) % 16] += d;
            lanes[1][(i - start) % 16] += fabs(d);
            lanes[2][(i - start) % 16] += d * d;
        }
        for (int k = 0; k < 3; k++)
            for (int half = 8; half > 0; half /= 2)
                for (int l = 0; l < half; l++)
                    lanes[k][l] += lanes[k][l + half];
        stats->sum += lanes[0][0];
        stats->sum_abs += lanes[1][0];
        stats->sum_square += lanes[2][0];
    }
    for (int64_t i = 0; i < n; i++) {
        float a = fabsf(v[i]);
        int bin = a < 0x1p-47f ? 0 : ilogbf(a) + 48;
        stats->histogram[bin > 63 ? 63 : bin]++;
        stats->min = i == 0 || v[i] < stats->min ? v[i] : stats->min;
        stats->max = i == 0 || v[i] > stats->max ? v[i] : stats->max;
        stats->max_abs = a > stats->max_abs ? a : stats->max_abs;
    }
    stats->count = n;
}

Test(stats, follow_their_definition_to_the_last_bit)
{
    static const int64_t counts[] = {1, 15, 16, 17, 4095, 4096, 4097, 32768, 262144, LONG};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct bg_stats got, wanted;
        bg_stats_clear(&got);
        bg_stats_clear(&wanted);
        bg_stats_add(&got, x, counts[i], 1.0f);
        by_definition(&wanted, x, counts[i]);
        expect_equal(&got, &wanted);
    }
}

Test(stats, do_not_depend_on_threads)
{
    struct bg_stats one, two, channels[2][10];
    double difference[2];

    memset(channels, 0, sizeof channels);
    bg_stats_clear(&one);
    bg_stats_clear(&two);
    omp_set_dynamic(0);
    omp_set_num_threads(1);
    bg_stats_add(&one, x, LONG, 1.0f);
    bg_stats_add_channels(channels[0], x, LONG / 10, 10, 0, 1.0f);
    difference[0] = bg_sum_square_difference(x, other, LONG);
    omp_set_num_threads(2);
    bg_stats_add(&two, x, LONG, 1.0f);
    bg_stats_add_channels(channels[1], x, LONG / 10, 10, 0, 1.0f);
    difference[1] = bg_sum_square_difference(x, other, LONG);
    expect_equal(&one, &two);
    for (int c = 0; c < 10; c++)
        expect_equal(&channels[0][c], &channels[1][c]);
    cr_assert_eq(memcmp(&difference[0], &difference[1], sizeof difference[0]), 0);
}

Test(stats, every_instruction_set_gives_the_same_bits)
{
    const struct bg_kernel_stats_table *base = bg_kernel_variant(0)->stats;

    x[5] = NAN;
    x[100] = -INFINITY;
    for (int v = 1; v < bg_kernel_variant_count(); v++) {
        const struct bg_kernel_stats_table *table = bg_kernel_variant(v)->stats;
        for (int64_t n = 1; n <= BG_STATS_BLOCK; n = n < 40 ? n + 1 : n * 2 - 7) {
            struct bg_kernel_sums a = {0}, b = {0};
            uint64_t bins[2][BG_HISTOGRAM_BINS] = {{0}};
            double da = base->square_difference(other, x + 200, n);
            double db = table->square_difference(other, x + 200, n);
            base->block(x, n, 0.5f, &a);
            table->block(x, n, 0.5f, &b);
            cr_assert_eq(memcmp(&a, &b, sizeof a), 0);
            base->histogram(x, n, 0.5f, bins[0]);
            table->histogram(x, n, 0.5f, bins[1]);
            cr_assert_eq(memcmp(bins[0], bins[1], sizeof bins[0]), 0);
            cr_assert_eq(memcmp(&da, &db, sizeof da), 0);
            da = base->square_difference(other, NULL, n);
            db = table->square_difference(other, NULL, n);
            cr_assert_eq(memcmp(&da, &db, sizeof da), 0);
        }
    }
}

static int bin_of(float value)
{
    struct bg_stats stats;

    bg_stats_clear(&stats);
    bg_stats_add(&stats, &value, 1, 1.0f);
    for (int i = 0; i < BG_HISTOGRAM_BINS; i++)
        if (stats.histogram[i] != 0)
            return i;
    return -1;
}

Test(stats, histogram_edges_are_exact)
{
    static const struct {
        float value;
        int bin;
    } rows[] = {
        {0.0f, 0},     {-0.0f, 0},           {1e-45f, 0},    {FLT_MIN, 0}, {0x1.fffffep-48f, 0},
        {0x1p-47f, 1}, {0x1.fffffep-47f, 1}, {0x1p-46f, 2},  {1.0f, 48},   {0x1.fffffep14f, 62},
        {0x1p15f, 63}, {FLT_MAX, 63},        {INFINITY, -1}, {NAN, -1}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(bin_of(rows[i].value), rows[i].bin, "%a", (double)rows[i].value);
        cr_assert_eq(bin_of(-rows[i].value), rows[i].bin, "%a", (double)rows[i].value);
    }
}

Test(stats, not_finite_values_enter_the_count_alone)
{
    const float v[] = {NAN, -INFINITY, INFINITY, -2.0f, 1.0f}, none[] = {NAN, INFINITY};
    const float huge[] = {FLT_MAX};
    struct bg_stats stats;

    bg_stats_clear(&stats);
    bg_stats_add(&stats, none, 2, 1.0f);
    cr_assert(stats.min == 0.0f && stats.max == 0.0f && stats.max_abs == 0.0f);
    cr_assert_eq(bg_stats_mean(&stats), 0.0);
    bg_stats_add(&stats, v, 5, 1.0f);
    cr_assert_eq(stats.count, 7);
    cr_assert_eq(stats.not_finite, 5);
    cr_assert(stats.min == -2.0f && stats.max == 1.0f && stats.max_abs == 2.0f);
    cr_assert_eq(bg_stats_mean(&stats), -0.5);
    cr_assert_eq(bg_stats_mean_abs(&stats), 1.5);
    cr_assert_eq(bg_stats_mean_square(&stats), 2.5);
    bg_stats_add(&stats, huge, 1, 2.0f); /* the factor counts */
    cr_assert_eq(stats.not_finite, 6);
    bg_stats_clear(&stats);
    bg_stats_add(&stats, v + 4, 1, 1.0f); /* a lone positive: min is not 0 */
    cr_assert_eq(stats.min, 1.0f);
    bg_stats_clear(&stats);
    bg_stats_add(&stats, none, 2, 1.0f);
    bg_stats_add(&stats, v + 4, 1, 1.0f); /* nor after values that did not count */
    cr_assert_eq(stats.min, 1.0f);
    bg_stats_clear(&stats);
    bg_stats_add(&stats, v, 0, 1.0f);
    cr_assert_eq(stats.count, 0);
    cr_assert_eq(bg_stats_mean_square(&stats), 0.0);
}

Test(stats, a_power_of_two_as_factor_scales_exactly)
{
    struct bg_stats plain, scaled;

    bg_stats_clear(&plain);
    bg_stats_clear(&scaled);
    bg_stats_add(&plain, x, LONG, 1.0f);
    bg_stats_add(&scaled, x, LONG, 0.125f);
    cr_assert_eq(scaled.sum, plain.sum / 8);
    cr_assert_eq(scaled.sum_abs, plain.sum_abs / 8);
    cr_assert_eq(scaled.sum_square, plain.sum_square / 64);
    cr_assert_eq(scaled.max_abs, plain.max_abs / 8);
    for (int i = 4; i < 62; i++)
        cr_assert_eq(scaled.histogram[i - 3], plain.histogram[i]);
}

Test(stats, channels_equal_their_gathered_values)
{
    enum { CHANNELS = 19, ROWS = 5000 };
    static float column[ROWS], turned[CHANNELS * ROWS];
    struct bg_stats inner[CHANNELS], outer[CHANNELS];

    memset(inner, 0, sizeof inner);
    memset(outer, 0, sizeof outer);
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < ROWS; i++)
            turned[c * ROWS + i] = x[i * CHANNELS + c];
    bg_stats_add_channels(inner, x, ROWS, CHANNELS, 0, 1.0f);
    bg_stats_add_channels(outer, turned, ROWS, CHANNELS, 1, 1.0f);
    for (int c = 0; c < CHANNELS; c++) {
        struct bg_stats wanted;
        memcpy(column, turned + c * ROWS, sizeof column);
        bg_stats_clear(&wanted);
        bg_stats_add(&wanted, column, ROWS, 1.0f);
        memset(wanted.histogram, 0, sizeof wanted.histogram);
        expect_equal(&inner[c], &wanted);
        expect_equal(&outer[c], &wanted);
    }
}

Test(stats, merging_block_by_block_equals_adding_at_once)
{
    struct bg_stats whole, parts, part;

    bg_stats_clear(&whole);
    bg_stats_clear(&parts);
    bg_stats_add(&whole, x, LONG, 1.0f);
    for (int64_t i = 0; i < LONG; i += BG_STATS_BLOCK) {
        bg_stats_clear(&part);
        bg_stats_add(&part, x + i, LONG - i < BG_STATS_BLOCK ? LONG - i : BG_STATS_BLOCK, 1.0f);
        bg_stats_merge(&parts, &part);
    }
    expect_equal(&whole, &parts);
    bg_stats_clear(&part);
    bg_stats_merge(&parts, &part); /* nothing changes nothing */
    expect_equal(&whole, &parts);
}

/* Around the sizes where loops change; values that are not finite in one block of several. */
static const int64_t sizes[] = {0, 1, 63, 64, 8191, 8192, 8193, 12288, 12352, 40000, LONG};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

Test(stats, of_bf16_equal_those_of_the_same_values_in_f32)
{
    static uint16_t half[LONG];
    static const float factors[] = {1.0f, 128.0f, 0.3f, 1e-30f, 1e36f};

    omp_set_dynamic(0);
    for (int i = 0; i < LONG; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    half[1] = half[30000] = 0x7fc0;
    half[20] = half[LONG - 2] = 0xff80;
    half[21] = 0x7f7f;
    half[22] = 0x8000;
    half[23] = 0x0001;
    for (int i = 0; i < LONG; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int s = 0; s < SIZES; s++)
        for (int f = 0; f < 5; f++)
            for (int threads = 1; threads <= 3; threads++) {
                struct bg_stats got, wanted;
                omp_set_num_threads(threads);
                bg_stats_clear(&got);
                bg_stats_clear(&wanted);
                bg_stats_add_bf16(&got, half, sizes[s], factors[f]);
                bg_stats_add(&wanted, x, sizes[s], factors[f]);
                expect_equal(&got, &wanted);
                cr_assert(sizes[s] < 2 || got.not_finite >= 1);
            }
}

Test(stats, of_bf16_may_have_a_factor_for_each_channel)
{
    static const int64_t channels[] = {1, 3, 16, 64, 300};
    static uint16_t half[LONG];

    for (int i = 0; i < LONG; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    for (int k = 0; k < 5; k++)
        for (int64_t rows = 1; rows * channels[k] <= LONG; rows = rows * 7 + 3) {
            struct bg_stats got, wanted;
            int64_t n = rows * channels[k];
            for (int64_t i = 0; i < n; i++) {
                uint32_t bits = (uint32_t)half[i] << 16;
                memcpy(&x[i], &bits, sizeof bits);
                x[i] *= other[i % channels[k]];
            }
            bg_stats_clear(&got);
            bg_stats_clear(&wanted);
            bg_stats_add_scaled_bf16(&got, half, rows, channels[k], other);
            bg_stats_add(&wanted, x, n, 1.0f);
            expect_equal(&got, &wanted);
        }
}

/* One pass against the two it stands for, with equal and with mixed exponents, on every set. */
Test(stats, one_pass_gives_what_block_and_histogram_give)
{
    static const int64_t counts[] = {64, 128, 4032, 4096, 100, 9, 449};
    static const float bad[] = {0.0f, NAN, INFINITY, -INFINITY};

    for (int i = 0; i < 4096; i++)
        other[i] = i % 3 == 0 ? 0.0f : i < 1000 ? 1.5f : ldexpf(x[i], i % 160 - 110);
    for (int v = 0; v < bg_kernel_variant_count(); v++)
        for (int k = 0; k < 4 * 7; k++) {
            const struct bg_kernel_stats_table *table = bg_kernel_variant(v)->stats;
            struct bg_kernel_sums a = {0}, b = {0};
            uint64_t bins[2][BG_HISTOGRAM_BINS] = {{0}}, total = 0;
            int64_t n = counts[k / 4];
            other[n - 7] = other[3] = bad[k % 4];
            bg_kernel_variant(0)->stats->block(other, n, 1.0f, &a);
            bg_kernel_variant(0)->stats->histogram(other, n, 1.0f, bins[0]);
            table->profile(other, n, &b, bins[1]);
            cr_assert_eq(memcmp(&a, &b, sizeof a), 0);
            cr_assert_eq(memcmp(bins[0], bins[1], sizeof bins[0]), 0);
            for (int i = 0; i < BG_HISTOGRAM_BINS; i++)
                total += bins[1][i];
            cr_assert_eq(total, (uint64_t)(n - (k % 4 == 0 ? 0 : 2)));
            other[n - 7] = other[3] = 1.0f;
        }
}

Test(stats, square_difference_is_the_sum_of_squares)
{
    struct bg_stats stats;
    double wanted = 0;

    bg_stats_clear(&stats);
    bg_stats_add(&stats, x, LONG, 1.0f);
    cr_assert_eq(bg_sum_square_difference(x, NULL, LONG), stats.sum_square);
    cr_assert_eq(bg_sum_square_difference(x, x, LONG), 0.0);
    cr_assert_eq(bg_sum_square_difference(x, other, 0), 0.0);
    for (int i = 0; i < LONG; i++)
        wanted += ((double)x[i] - (double)other[i]) * ((double)x[i] - (double)other[i]);
    /* two orders of adding LONG positive f64 terms */
    cr_assert_float_eq(bg_sum_square_difference(x, other, LONG), wanted, wanted * LONG * 0x1p-52);
}
