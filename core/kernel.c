/* Picks the tables of core/kernel_*.c once, cuts work into fixed blocks and spreads them over
 * threads. What a block computes, and the order in which partial results are added, never depends
 * on the number of threads. Small arrays stay on the calling thread: waking others costs more. */
#include "core/kernel.h"

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "core/dnn.h"
#include "core/kernel_table.h"

#define BLOCK BG_KERNEL_BLOCK
#define GROUP 64 /* blocks whose partial sums wait on the stack */

#define VARIANT(isa_)                                                                              \
    {                                                                                              \
        .isa = #isa_, .norm = &bg_kernel_norm_##isa_, .pointwise = &bg_kernel_pointwise_##isa_,    \
        .grid = &bg_kernel_grid_##isa_, .stats = &bg_kernel_stats_##isa_,                          \
        .requant = &bg_kernel_requant_##isa_, .int_conv = &bg_kernel_int_conv_##isa_,              \
        .int_pool = &bg_kernel_int_pool_##isa_, .train = &bg_kernel_train_##isa_,                  \
        .update = &bg_kernel_update_##isa_, .gradient = &bg_kernel_gradient_##isa_                 \
    }
static const struct bg_kernel_tables variants[] = {VARIANT(base), VARIANT(avx2), VARIANT(avx512),
                                                   VARIANT(vnni)};

int bg_kernel_variant_count(void)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        return 2;
    return __builtin_cpu_supports("avx512vnni") ? 4 : 3;
}

const struct bg_kernel_tables *bg_kernel_variant(int index)
{
    return &variants[index];
}

const struct bg_kernel_tables *bg_kernel_tables(void)
{
    static _Atomic(const struct bg_kernel_tables *) chosen;
    const struct bg_kernel_tables *tables = atomic_load_explicit(&chosen, memory_order_acquire);
    const char *isa;
    int level;

    if (tables != NULL)
        return tables;
    /* A run capped below the CPU (DNNL_MAX_CPU_ISA) must take our lower paths too. */
    isa = bg_dnn_isa();
    if (strncmp(isa, "AVX512_CORE_", 12) == 0) /* VNNI and what came after it */
        level = 3;
    else
        level = strcmp(isa, "AVX512_CORE") == 0 ? 2 : strncmp(isa, "AVX2", 4) == 0 ? 1 : 0;
    if (level >= bg_kernel_variant_count())
        level = bg_kernel_variant_count() - 1;
    tables = &variants[level];
    atomic_store_explicit(&chosen, tables, memory_order_release);
    return tables;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Blocks of an elementwise loop of one input, and of two. */
static void each_block(void (*loop)(const float *x, int64_t n, float *y), const float *x, int64_t n,
                       float *y)
{
    if (n < BG_KERNEL_SMALL) {
        loop(x, n, y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        loop(x + i, smaller(BLOCK, n - i), y + i);
}

static void each_pair(void (*loop)(const float *a, const float *b, int64_t n, float *y),
                      const float *a, const float *b, int64_t n, float *y)
{
    if (n < BG_KERNEL_SMALL) {
        loop(a, b, n, y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        loop(a + i, b + i, smaller(BLOCK, n - i), y + i);
}

void bg_kernel_relu(const float *x, int64_t n, float *y)
{
    each_block(bg_kernel_tables()->pointwise->relu, x, n, y);
}

void bg_kernel_relu_backward(const float *y, const float *dy, int64_t n, float *dx)
{
    each_pair(bg_kernel_tables()->pointwise->relu_backward, y, dy, n, dx);
}

void bg_kernel_relu6(const float *x, int64_t n, float *y)
{
    each_block(bg_kernel_tables()->pointwise->relu6, x, n, y);
}

void bg_kernel_relu6_backward(const float *y, const float *dy, int64_t n, float *dx)
{
    each_pair(bg_kernel_tables()->pointwise->relu6_backward, y, dy, n, dx);
}

void bg_kernel_add(const float *a, const float *b, int64_t n, float *y)
{
    each_pair(bg_kernel_tables()->pointwise->add, a, b, n, y);
}

void bg_kernel_copy(const float *x, int64_t n, float *y)
{
    if (n <= 0 || x == y)
        return;
    if (n < BG_KERNEL_SMALL) {
        memcpy(y, x, (size_t)n * sizeof *y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        memcpy(y + i, x + i, (size_t)smaller(BLOCK, n - i) * sizeof *y);
}

void bg_kernel_copy_columns(const float *x, int64_t x_step, int64_t rows, int64_t width, float *y,
                            int64_t y_step)
{
    if (rows * width < BG_KERNEL_SMALL) {
        for (int64_t i = 0; i < rows; i++)
            memcpy(y + i * y_step, x + i * x_step, (size_t)width * sizeof *y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows; i++)
        memcpy(y + i * y_step, x + i * x_step, (size_t)width * sizeof *y);
}

void bg_kernel_decode_u8(const uint8_t *codes, int64_t n, int32_t zero_point, float scale, float *y)
{
    const struct bg_kernel_pointwise_table *table = bg_kernel_tables()->pointwise;

    if (n < BG_KERNEL_SMALL) {
        table->decode_u8(codes, n, zero_point, scale, y);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        table->decode_u8(codes + i, smaller(BLOCK, n - i), zero_point, scale, y + i);
}

void bg_kernel_min_max(const float *x, int64_t n, float *min, float *max)
{
    const struct bg_kernel_pointwise_table *table = bg_kernel_tables()->pointwise;
    float low = n > 0 ? INFINITY : 0.0f, high = n > 0 ? -INFINITY : 0.0f;
    int good = 1;

    if (n < BG_KERNEL_SMALL) {
        good = table->min_max(x, n, &low, &high);
    } else {
#pragma omp parallel for schedule(static) reduction(min : low) reduction(max : high) reduction(& : good)
        for (int64_t i = 0; i < n; i += BLOCK)
            good &= table->min_max(x + i, smaller(BLOCK, n - i), &low, &high);
    }
    *min = good ? low : NAN;
    *max = good ? high : NAN;
}

bool bg_kernel_all_finite(const float *x, int64_t n)
{
    const struct bg_kernel_pointwise_table *table = bg_kernel_tables()->pointwise;
    int good = 1;

    if (n < BG_KERNEL_SMALL)
        return table->all_finite(x, n);
#pragma omp parallel for schedule(static) reduction(& : good)
    for (int64_t i = 0; i < n; i += BLOCK)
        good &= table->all_finite(x + i, smaller(BLOCK, n - i));
    return good != 0;
}

void bg_kernel_sgd(float *w, float *m, const float *grad, int64_t n, float lr, float momentum,
                   float decay, bool nesterov)
{
    const struct bg_kernel_pointwise_table *table = bg_kernel_tables()->pointwise;
    const float factors[3] = {lr, momentum, decay};
    void (*step)(float *, float *, const float *, int64_t, const float *) =
        nesterov ? table->sgd_nesterov : table->sgd;

    if (n < BG_KERNEL_SMALL) {
        step(w, m, grad, n, factors);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        step(w + i, m + i, grad + i, smaller(BLOCK, n - i), factors);
}

struct bg_kernel_grid bg_kernel_grid_of(const struct bg_grid *grid, int64_t channel)
{
    struct bg_kernel_grid result = {
        .scale = grid->scale[channel],
        .low = (float)(grid->qmin - grid->zero_point),
        .high = (float)(grid->qmax - grid->zero_point),
        .zero_point = grid->zero_point,
        .binary = grid->binary,
    };

    bg_grid_clip_limits(grid, channel, &result.clip_low, &result.clip_high);
    return result;
}

/* One block, values clipped counted before y may overwrite x. */
static int64_t project_block(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                             float *y)
{
    const struct bg_kernel_grid_table *table = bg_kernel_tables()->grid;
    struct bg_kernel_grid loop = bg_kernel_grid_of(grid, channel);
    int64_t clipped = table->clipped(&loop, x, n);

    if (grid->kind == &bg_grid_affine)
        table->project(&loop, x, n, y);
    else
        bg_grid_project(grid, channel, x, n, y);
    return clipped;
}

void bg_kernel_project(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                       float *y, int64_t *clipped)
{
    int64_t count = 0;

    if (n < BG_KERNEL_SMALL) {
        for (int64_t i = 0; i < n; i += BLOCK)
            count += project_block(grid, channel, x + i, smaller(BLOCK, n - i), y + i);
    } else {
#pragma omp parallel for schedule(static) reduction(+ : count)
        for (int64_t i = 0; i < n; i += BLOCK)
            count += project_block(grid, channel, x + i, smaller(BLOCK, n - i), y + i);
    }
    if (clipped != NULL)
        *clipped = count;
}

void bg_kernel_project_backward(const struct bg_grid *grid, int64_t channel, const float *x,
                                const float *dy, int64_t n, float *dx)
{
    const struct bg_kernel_grid_table *table = bg_kernel_tables()->grid;
    const struct bg_kernel_grid loop = bg_kernel_grid_of(grid, channel);

    if (n < BG_KERNEL_SMALL) {
        table->project_backward(&loop, x, dy, n, dx);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        table->project_backward(&loop, x + i, dy + i, smaller(BLOCK, n - i), dx + i);
}

double bg_kernel_step_gradient(const struct bg_grid *grid, int64_t channel, const float *x,
                               const float *dy, int64_t n)
{
    const struct bg_kernel_grid_table *table = bg_kernel_tables()->grid;
    const struct bg_kernel_grid loop = bg_kernel_grid_of(grid, channel);
    double partial[GROUP], total = 0.0;

    for (int64_t start = 0; start < n; start += GROUP * BLOCK) {
        int64_t length = smaller(n - start, GROUP * BLOCK);
        int64_t blocks = (length + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) if (length >= BG_KERNEL_SMALL)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = start + b * BLOCK;
            partial[b] = table->step_gradient(&loop, x + at, dy + at, smaller(BLOCK, n - at));
        }
        for (int64_t b = 0; b < blocks; b++)
            total += partial[b];
    }
    return total;
}

#define CHUNK 1024

/* Grids or roundings without a loop of their own. */
static void encode_plainly(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                           uint8_t *codes)
{
    int32_t wide[CHUNK];

    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = smaller(CHUNK, n - i);
        bg_grid_encode(grid, channel, x + i, count, NULL, wide);
        for (int64_t j = 0; j < count; j++)
            codes[i + j] = (uint8_t)wide[j];
    }
}

void bg_kernel_encode_u8(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                         uint8_t *codes)
{
    const struct bg_kernel_grid_table *table = bg_kernel_tables()->grid;
    const struct bg_kernel_grid loop = bg_kernel_grid_of(grid, channel);

    if (grid->kind != &bg_grid_affine || grid->rounding == BG_ROUND_ZERO ||
        grid->rounding == BG_ROUND_FLOOR) {
        encode_plainly(grid, channel, x, n, codes);
        return;
    }
    if (n < BG_KERNEL_SMALL) {
        table->encode(&loop, x, n, codes);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += BLOCK)
        table->encode(&loop, x + i, smaller(BLOCK, n - i), codes + i);
}

void bg_kernel_encode_s8(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                         int8_t *codes)
{
    bg_kernel_encode_u8(grid, channel, x, n, (uint8_t *)codes);
}
