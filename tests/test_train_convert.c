/* The passes of layers on codes between f32 tensors: every instruction set this CPU has, with one
 * to three threads, against plain references. */
#include <criterion/criterion.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/kernel_table.h"
#include "core/kernel_train.h"
#include "core/mem.h"
#include "core/tensor.h"
#include "support_graph.h"

#define U 0x1p-24 /* half a unit in the last place of f32 */

struct shape {
    int64_t rows, channels;
};

/* Tails of vectors, rows side by side, several panels of channels, several blocks, threads. */
static const struct shape shapes[] = {{1, 1},     {67, 1},    {40001, 1}, {13001, 3},
                                      {4001, 10}, {3000, 16}, {2001, 20}, {1001, 64},
                                      {700, 70},  {150, 300}, {129, 512}};
enum { SHAPES = sizeof shapes / sizeof shapes[0], THREADS = 3 };

static void setup(void)
{
    omp_set_dynamic(0);
}

TestSuite(train_convert, .init = setup);

static float *reals(uint64_t seed, int64_t n)
{
    float *x = NULL;

    OK(bg_alloc(&x, n, sizeof *x));
    for (int64_t i = 0; i < n; i++)
        x[i] = support_integer(seed, i, 1 << 20) * 0x1p-19f;
    return x;
}

static bool same(const void *a, const void *b, int64_t bytes)
{
    return memcmp(a, b, (size_t)bytes) == 0;
}

Test(train_convert, affine_is_rounded_once)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t channels = shapes[s].channels, n = shapes[s].rows * channels;
        float *a = reals(1, channels), *b = reals(2, channels), *x = reals(3, n), *y = NULL;
        uint16_t *z = NULL;
        OK(bg_alloc(&y, n, sizeof *y));
        OK(bg_alloc(&z, n, sizeof *z));
        for (int64_t i = 0; i < n; i++)
            z[i] = bg_bf16_from_f32(x[i]);
        for (int v = 0; v < bg_kernel_variant_count() * THREADS; v++) {
            const struct bg_train_apply in = {
                .rows = shapes[s].rows, .channels = channels, .z = {z}, .a = {a}, .b = {b}};
            omp_set_num_threads(1 + v % THREADS);
            bg_kernel_train_affine(bg_kernel_variant(v / THREADS)->train, &in, y);
            for (int64_t i = 0; i < n; i++)
                cr_assert(y[i] == fmaf(bg_bf16_to_f32(z[i]), a[i % channels], b[i % channels]),
                          "%lld x %lld, element %lld", (long long)shapes[s].rows,
                          (long long)channels, (long long)i);
        }
        bg_free(a);
        bg_free(b);
        bg_free(x);
        bg_free(y);
        bg_free(z);
    }
}

/* Sums: the bound of core/kernel_train_sums.c, and the same bits everywhere. */
static void check_sums(const float *x, struct shape shape, const double *sum)
{
    for (int64_t c = 0; c < shape.channels; c++) {
        double exact = 0.0, size = 0.0;
        for (int64_t r = 0; r < shape.rows; r++) {
            exact += (double)x[r * shape.channels + c];
            size += fabs((double)x[r * shape.channels + c]);
        }
        cr_assert(fabs(sum[c] - exact) <= 16 * U * size, "%lld x %lld, channel %lld: %g, not %g",
                  (long long)shape.rows, (long long)shape.channels, (long long)c, sum[c], exact);
    }
}

Test(train_convert, scaling_to_bf16_sums_what_it_reads)
{
    for (int s = 0; s < SHAPES; s++) {
        const int64_t channels = shapes[s].channels, n = shapes[s].rows * channels;
        float *factor = reals(4, channels), *x = reals(5, n);
        double *sum = NULL, *first = NULL, *scratch = NULL;
        uint16_t *y = NULL;
        OK(bg_alloc(&y, n, sizeof *y));
        OK(bg_alloc(&sum, channels, sizeof *sum));
        OK(bg_alloc(&first, channels, sizeof *first));
        OK(bg_alloc(&scratch, bg_train_scratch(shapes[s].rows, channels, 1), sizeof *scratch));
        for (int v = 0; v < bg_kernel_variant_count() * THREADS; v++) {
            const struct bg_kernel_train_sums in = {
                .rows = shapes[s].rows, .channels = channels, .x = x, .factor = factor, .g = y};
            omp_set_num_threads(1 + v % THREADS);
            bg_kernel_train_scale_from(bg_kernel_variant(v / THREADS)->train, &in, sum, scratch);
            for (int64_t i = 0; i < n; i++)
                cr_assert(y[i] == bg_bf16_from_f32(x[i] * factor[i % channels]),
                          "%lld x %lld, element %lld", (long long)shapes[s].rows,
                          (long long)channels, (long long)i);
            if (v == 0)
                memcpy(first, sum, (size_t)channels * sizeof *sum);
            cr_assert(same(first, sum, channels * (int64_t)sizeof *sum), "variant %d", v);
            memset(y, 0, (size_t)n * sizeof *y);
        }
        check_sums(x, shapes[s], first);
        bg_free(factor);
        bg_free(x);
        bg_free(y);
        bg_free(sum);
        bg_free(first);
        bg_free(scratch);
    }
}
