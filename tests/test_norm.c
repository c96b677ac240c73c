/* Batch norm kernels: against f64 sums with the bounds of core/kernel_norm.c, over instruction sets
 * and threads. */
#include "core/kernel.h"
#include "core/kernel_table.h"
#include "core/mem.h"
#include "core/rng.h"

#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* 2^-24: half a unit in the last place of f32. */
static const double u = 0x1p-24;

static const struct {
    int64_t rows, channels;
} shapes[] = {{1, 1},     {2, 3},     {15, 16},   {1000, 1}, {70001, 1},
              {7, 255},   {7, 256},   {7, 257},   {5000, 3}, {4097, 10},
              {9000, 16}, {300, 100}, {130, 512}, {65, 600}, {63, 128}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], MAX_CHANNELS = 600 };

struct data {
    int64_t rows, channels, count;
    float *x, *dy, *y;
    double *scratch;
    float mean[MAX_CHANNELS], var[MAX_CHANNELS], invstd[MAX_CHANNELS], gamma[MAX_CHANNELS];
    float dgamma[MAX_CHANNELS], dbeta[MAX_CHANNELS];
};

static struct data d;
static struct bg_arena *arena;

static void drop(void)
{
    bg_arena_destroy(arena);
}

TestSuite(norm, .fini = drop);

/* Channel c has mean about 3 c and spread about 1: some far from 0, as activations after a bias. */
static void make(int shape)
{
    const struct bg_rng rng = {31, BG_STREAM_TEST, (uint32_t)shape};
    bg_arena_destroy(arena);
    cr_assert_eq(bg_arena_create(&arena, "test"), BG_OK);
    d.rows = shapes[shape].rows;
    d.channels = shapes[shape].channels;
    d.count = d.rows * d.channels;
    cr_assert_eq(bg_arena_alloc(arena, &d.x, d.count, sizeof *d.x), BG_OK);
    cr_assert_eq(bg_arena_alloc(arena, &d.dy, d.count, sizeof *d.dy), BG_OK);
    cr_assert_eq(bg_arena_alloc(arena, &d.y, d.count, sizeof *d.y), BG_OK);
    cr_assert_eq(bg_arena_alloc(arena, &d.scratch, bg_kernel_bn_scratch(d.rows, d.channels),
                                sizeof *d.scratch),
                 BG_OK);
    for (int64_t i = 0; i < d.count; i++) {
        d.x[i] =
            3.0f * (float)(i % d.channels % 50) + 2.0f * (bg_rng_uniform(&rng, (uint64_t)i) - 0.5f);
        d.dy[i] = bg_rng_uniform(&rng, (uint64_t)(d.count + i)) - 0.45f;
    }
    for (int64_t c = 0; c < d.channels; c++) {
        d.mean[c] = 3.0f * (float)(c % 50) + 0.01f;
        d.invstd[c] = 1.5f + 0.01f * (float)c;
        d.gamma[c] = 0.5f - 0.003f * (float)c;
        d.dgamma[c] = 0.1f * (float)c - 3.0f;
        d.dbeta[c] = 5.0f - 0.2f * (float)c;
    }
}

Test(norm, statistics_stay_within_their_bound)
{
    for (int s = 0; s < SHAPES; s++) {
        make(s);
        bg_kernel_bn_statistics(d.x, d.rows, d.channels, d.mean, d.var, d.scratch);
        for (int64_t c = 0; c < d.channels; c++) {
            double sum = 0, square = 0, spread = 0, mean;
            for (int64_t r = 0; r < d.rows; r++)
                sum += (double)d.x[r * d.channels + c];
            mean = sum / (double)d.rows;
            for (int64_t r = 0; r < d.rows; r++) {
                double distance = (double)d.x[r * d.channels + c] - mean;
                square += distance * distance;
                spread += fabs(distance);
            }
            /* the bounds of core/kernel_norm.c and the last rounding to f32; the pivot lies a few
             * roundings of the mean beside it */
            cr_assert_float_eq((double)d.mean[c], mean,
                               17 * u * (spread / (double)d.rows + 20 * u * fabs(mean)) +
                                   u * fabs(mean),
                               "%lld x %lld", (long long)d.rows, (long long)d.channels);
            cr_assert_float_eq((double)d.var[c], square / (double)d.rows,
                               21 * u * square / (double)d.rows + 1e-12 * mean * mean);
        }
    }
}

Test(norm, constant_channels_have_exactly_no_variance)
{
    make(8);
    for (int64_t i = 0; i < d.count; i++)
        d.x[i] = i % d.channels == 0 ? 0.1f : i % d.channels == 1 ? -1e6f : 0.0f;
    bg_kernel_bn_statistics(d.x, d.rows, d.channels, d.mean, d.var, d.scratch);
    cr_assert(d.mean[0] == 0.1f && d.mean[1] == -1e6f && d.mean[2] == 0.0f);
    cr_assert(d.var[0] < 1e-16f && d.var[1] < 1e-2f && d.var[2] == 0.0f);
}

Test(norm, small_integers_give_exact_results)
{
    for (int s = 0; s < SHAPES; s++) {
        int64_t period = 2 * shapes[s].channels;
        make(s);
        if (d.rows % 2 != 0)
            d.rows--;
        if (d.rows == 0)
            continue;
        for (int64_t i = 0; i < d.rows * d.channels; i++) {
            d.x[i] = i % period < d.channels ? 3.0f : 5.0f; /* mean 4, variance 1 */
            d.dy[i] = i % period < d.channels ? -1.0f : 2.0f;
        }
        bg_kernel_bn_statistics(d.x, d.rows, d.channels, d.mean, d.var, d.scratch);
        for (int64_t c = 0; c < d.channels; c++) {
            cr_assert(d.mean[c] == 4.0f && d.var[c] == 1.0f);
            d.invstd[c] = 0.5f;
        }
        bg_kernel_bn_reduce(d.x, d.dy, d.rows, d.channels, d.mean, d.invstd, d.dgamma, d.dbeta,
                            d.scratch);
        for (int64_t c = 0; c < d.channels; c++) {
            cr_assert_eq(d.dbeta[c], (float)d.rows / 2);
            cr_assert_eq(d.dgamma[c], (float)d.rows * 0.75f);
        }
    }
}

Test(norm, reduction_stays_within_its_bound)
{
    for (int s = 0; s < SHAPES; s++) {
        make(s);
        bg_kernel_bn_reduce(d.x, d.dy, d.rows, d.channels, d.mean, d.invstd, d.dgamma, d.dbeta,
                            d.scratch);
        for (int64_t c = 0; c < d.channels; c++) {
            double plain = 0, weighted = 0, plain_size = 0, weighted_size = 0;
            for (int64_t r = 0; r < d.rows; r++) {
                double g = (double)d.dy[r * d.channels + c];
                double xhat =
                    ((double)d.x[r * d.channels + c] - (double)d.mean[c]) * (double)d.invstd[c];
                plain += g;
                plain_size += fabs(g);
                weighted += g * xhat;
                weighted_size += fabs(g * xhat);
            }
            cr_assert_float_eq((double)d.dbeta[c], plain, 17 * u * plain_size);
            cr_assert_float_eq((double)d.dgamma[c], weighted, 19 * u * weighted_size);
        }
    }
}

Test(norm, scale_and_shift_is_exact_and_works_in_place)
{
    for (int s = 0; s < SHAPES; s++)
        for (int relu = 0; relu < 2; relu++) {
            make(s);
            d.x[0] = NAN;
            bg_kernel_scale_shift(d.x, d.rows, d.channels, d.gamma, d.dbeta, relu, d.y);
            cr_assert(isnan(d.y[0]));
            for (int64_t i = 1; i < d.count; i++) {
                float product = d.x[i] * d.gamma[i % d.channels];
                float v = product + d.dbeta[i % d.channels];
                v = relu && v <= 0.0f ? 0.0f : v;
                cr_assert_eq(memcmp(&v, &d.y[i], sizeof v), 0);
            }
            bg_kernel_scale_shift(d.x, d.rows, d.channels, d.gamma, d.dbeta, relu, d.x);
            cr_assert_eq(memcmp(d.x + 1, d.y + 1, (size_t)(d.count - 1) * sizeof *d.y), 0);
        }
}

Test(norm, input_gradient_follows_its_formula)
{
    for (int s = 0; s < SHAPES; s++) {
        make(s);
        bg_kernel_bn_apply(d.x, d.dy, d.rows, d.channels, d.mean, d.invstd, d.gamma, d.dgamma,
                           d.dbeta, d.y);
        for (int64_t i = 0; i < d.count; i++) {
            int64_t c = i % d.channels;
            double rows = (double)d.rows, scale = (double)d.gamma[c] * (double)d.invstd[c];
            double xhat = ((double)d.x[i] - (double)d.mean[c]) * (double)d.invstd[c];
            double one = (double)d.dbeta[c] / rows, two = xhat * (double)d.dgamma[c] / rows;
            double wanted = scale * ((double)d.dy[i] - one - two);
            /* at most eight roundings on terms no larger than these */
            cr_assert_float_eq((double)d.y[i], wanted,
                               8 * u * fabs(scale) *
                                   (fabs((double)d.dy[i]) + fabs(one) + fabs(two)));
        }
        bg_kernel_bn_apply(NULL, d.dy, d.rows, d.channels, NULL, d.invstd, d.gamma, NULL, NULL,
                           d.y);
        for (int64_t i = 0; i < d.count; i++) {
            float scale = d.gamma[i % d.channels] * d.invstd[i % d.channels];
            cr_assert_eq(d.y[i], scale * d.dy[i]);
        }
        bg_kernel_bn_apply(NULL, d.dy, d.rows, d.channels, NULL, d.invstd, d.gamma, NULL, NULL,
                           d.dy);
        cr_assert_eq(memcmp(d.dy, d.y, (size_t)d.count * sizeof *d.y), 0);
    }
}

Test(norm, threads_change_no_bit)
{
    static float kept[6][MAX_CHANNELS];

    omp_set_dynamic(0);
    for (int s = 0; s < SHAPES; s++) {
        size_t bytes = (size_t)shapes[s].channels * sizeof(float);
        for (int threads = 1; threads <= 3; threads++) {
            make(s);
            omp_set_num_threads(threads);
            bg_kernel_bn_reduce(d.x, d.dy, d.rows, d.channels, d.mean, d.invstd, d.dgamma, d.dbeta,
                                d.scratch);
            bg_kernel_bn_statistics(d.x, d.rows, d.channels, d.mean, d.var, d.scratch);
            if (threads == 1) {
                memcpy(kept[0], d.mean, bytes);
                memcpy(kept[1], d.var, bytes);
                memcpy(kept[2], d.dgamma, bytes);
                memcpy(kept[3], d.dbeta, bytes);
            }
            cr_assert_eq(memcmp(kept[0], d.mean, bytes), 0);
            cr_assert_eq(memcmp(kept[1], d.var, bytes), 0);
            cr_assert_eq(memcmp(kept[2], d.dgamma, bytes), 0);
            cr_assert_eq(memcmp(kept[3], d.dbeta, bytes), 0);
        }
    }
}

/* All results of one set, one after the other. */
static void run_set(const struct bg_kernel_norm_table *table, bool relu, float *out)
{
    static double partial[2 * MAX_CHANNELS];
    size_t bytes = 2 * (size_t)d.channels * sizeof *partial;
    /* one row per vector, so that the channel arrays serve as lanes */
    struct bg_kernel_norm in = {.x = d.x,
                                .dy = d.dy,
                                .rows = d.rows,
                                .channels = d.channels,
                                .width = d.channels,
                                .step = d.channels,
                                .mean = d.mean,
                                .a = d.gamma,
                                .b = d.dbeta,
                                .d = d.dgamma,
                                .y = out,
                                .relu = relu};

    table->scale_shift(&in);
    in.y = out + d.count;
    table->apply(&in);
    in.d = NULL;
    in.y = out + 2 * d.count;
    table->apply(&in);
    table->statistics(&in, partial);
    memcpy(out + 3 * d.count, partial, bytes);
    table->reduce(&in, partial);
    memcpy(out + 3 * d.count + 4 * d.channels, partial, bytes);
}

Test(norm, every_instruction_set_gives_the_same_bits)
{
    for (int s = 0; s < SHAPES; s++) {
        float *first = NULL, *other = NULL;
        int64_t length;
        make(s);
        length = 3 * d.count + 8 * d.channels;
        cr_assert_eq(bg_arena_alloc(arena, &first, length, sizeof *first), BG_OK);
        cr_assert_eq(bg_arena_alloc(arena, &other, length, sizeof *other), BG_OK);
        run_set(bg_kernel_variant(0)->norm, s % 2 == 0, first);
        for (int v = 1; v < bg_kernel_variant_count(); v++) {
            run_set(bg_kernel_variant(v)->norm, s % 2 == 0, other);
            cr_assert_eq(memcmp(first, other, (size_t)length * sizeof *first), 0);
        }
    }
}
