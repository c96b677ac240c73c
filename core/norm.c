/* The batch-norm functions of core/kernel.h: blocks of rows for the loops of core/kernel_norm.c
 * (error bounds there), and the merging of their partial results in block order. */
#include <stddef.h>
#include <string.h>

#include "core/kernel.h"
#include "core/kernel_table.h"

#define VECTORS 64 /* vectors of bg_kernel_width floats in a block */

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t block_rows(int64_t channels)
{
    return bg_kernel_width(channels) / channels * VECTORS;
}

static int64_t block_count(int64_t rows, int64_t channels)
{
    return (rows + block_rows(channels) - 1) / block_rows(channels);
}

/* Two values per channel for every block, and two per channel for the totals. */
int64_t bg_kernel_bn_scratch(int64_t rows, int64_t channels)
{
    return (block_count(rows, channels) + 1) * 2 * channels;
}

/* Runs `loop` over all blocks; those of block b start at scratch + (b + 1) * 2 * channels. */
static void run_blocks(void (*loop)(const struct bg_kernel_norm *in, double *partial),
                       const struct bg_kernel_norm *all, double *scratch)
{
    int64_t step = block_rows(all->channels), blocks = block_count(all->rows, all->channels);

#pragma omp parallel for schedule(static) if (all->rows * all->channels >= BG_KERNEL_SMALL)
    for (int64_t b = 0; b < blocks; b++) {
        struct bg_kernel_norm in = *all;
        int64_t first = b * step * all->channels;
        in.rows = smaller(step, all->rows - b * step);
        in.x += first;
        in.dy = in.dy == NULL ? NULL : in.dy + first;
        loop(&in, scratch + (b + 1) * 2 * all->channels);
    }
}

void bg_kernel_merge_moments(double *scratch, int64_t rows, int64_t channels, int64_t step,
                             float *mean, float *var)
{
    int64_t blocks = (rows + step - 1) / step;
    double *total = scratch, *square = scratch + channels;

    memset(scratch, 0, 2 * (size_t)channels * sizeof *scratch);
    for (int64_t b = 0; b < blocks; b++) {
        const double *partial = scratch + (b + 1) * 2 * channels;
        double count = (double)smaller(step, rows - b * step);
        for (int64_t c = 0; c < channels; c++)
            total[c] += partial[c] * count;
    }
    for (int64_t c = 0; c < channels && rows > 0; c++)
        total[c] /= (double)rows;
    /* Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
     * variances", 1979: squares about the common mean from those about each block's own. */
    for (int64_t b = 0; b < blocks; b++) {
        const double *partial = scratch + (b + 1) * 2 * channels;
        double count = (double)smaller(step, rows - b * step);
        for (int64_t c = 0; c < channels; c++) {
            double distance = partial[c] - total[c];
            square[c] += partial[channels + c] + count * (distance * distance);
        }
    }
    for (int64_t c = 0; c < channels; c++) {
        mean[c] = (float)total[c];
        var[c] = rows > 0 ? (float)(square[c] / (double)rows) : 0.0f;
    }
}

void bg_kernel_bn_statistics(const float *x, int64_t rows, int64_t channels, float *mean,
                             float *var, double *scratch)
{
    const struct bg_kernel_norm all = {.x = x, .rows = rows, .channels = channels};

    run_blocks(bg_kernel_tables()->norm->statistics, &all, scratch);
    bg_kernel_merge_moments(scratch, rows, channels, block_rows(channels), mean, var);
}

void bg_kernel_bn_reduce(const float *x, const float *dy, int64_t rows, int64_t channels,
                         const float *mean, const float *invstd, float *dgamma, float *dbeta,
                         double *scratch)
{
    const struct bg_kernel_norm all = {
        .x = x, .dy = dy, .rows = rows, .channels = channels, .mean = mean};
    int64_t blocks = block_count(rows, channels);

    run_blocks(bg_kernel_tables()->norm->reduce, &all, scratch);
    memset(scratch, 0, 2 * (size_t)channels * sizeof *scratch);
    for (int64_t b = 0; b < blocks; b++) {
        const double *partial = scratch + (b + 1) * 2 * channels;
        for (int64_t c = 0; c < 2 * channels; c++)
            scratch[c] += partial[c];
    }
    for (int64_t c = 0; c < channels; c++) {
        dbeta[c] = (float)scratch[c];
        dgamma[c] = (float)(scratch[channels + c] * (double)invstd[c]);
    }
}

/* values[c] for every lane of a vector: a copy on `lanes`, or the values when one row fills it. */
static const float *spread(const float *values, int64_t channels, float lanes[BG_KERNEL_WIDTH])
{
    if (values == NULL || channels >= BG_KERNEL_WIDTH)
        return values;
    for (int64_t j = 0; j < bg_kernel_width(channels); j += channels)
        memcpy(lanes + j, values, (size_t)channels * sizeof *lanes);
    return lanes;
}

/* As run_blocks, for loops that write y. */
static void run_ranges(void (*loop)(const struct bg_kernel_norm *in),
                       const struct bg_kernel_norm *all)
{
    int64_t step = block_rows(all->channels), blocks = block_count(all->rows, all->channels);

    if (all->rows * all->channels < BG_KERNEL_SMALL) {
        loop(all);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; b++) {
        struct bg_kernel_norm in = *all;
        int64_t first = b * step * all->channels;
        in.rows = smaller(step, all->rows - b * step);
        in.x = in.x == NULL ? NULL : in.x + first;
        in.dy = in.dy == NULL ? NULL : in.dy + first;
        in.y += first;
        loop(&in);
    }
}

void bg_kernel_scale_shift(const float *x, int64_t rows, int64_t channels, const float *a,
                           const float *b, bool relu, float *y)
{
    float a_lanes[BG_KERNEL_WIDTH], b_lanes[BG_KERNEL_WIDTH];
    struct bg_kernel_norm all = {.x = x,
                                 .rows = rows,
                                 .channels = channels,
                                 .width = bg_kernel_width(channels),
                                 .step = bg_kernel_width(channels),
                                 .a = spread(a, channels, a_lanes),
                                 .b = spread(b, channels, b_lanes),
                                 .relu = relu};

    all.y = y;
    run_ranges(bg_kernel_tables()->norm->scale_shift, &all);
}

struct apply_lanes {
    float mean[BG_KERNEL_WIDTH], a[BG_KERNEL_WIDTH], b[BG_KERNEL_WIDTH], d[BG_KERNEL_WIDTH];
};

void bg_kernel_bn_apply(const float *x, const float *dy, int64_t rows, int64_t channels,
                        const float *mean, const float *invstd, const float *gamma,
                        const float *dgamma, const float *dbeta, float *dx)
{
    /* Up to BG_KERNEL_WIDTH channels at a time: so many lanes fit the stack. */
    for (int64_t first = 0; first < channels; first += BG_KERNEL_WIDTH) {
        int64_t count = smaller(BG_KERNEL_WIDTH, channels - first);
        int64_t width = channels < BG_KERNEL_WIDTH ? bg_kernel_width(channels) : count;
        struct apply_lanes lanes;
        struct bg_kernel_norm all = {.dy = dy + first,
                                     .rows = rows,
                                     .channels = channels,
                                     .width = width,
                                     .step = channels < BG_KERNEL_WIDTH ? width : channels,
                                     .a = lanes.a};

        for (int64_t j = 0; j < width; j++) {
            int64_t c = first + j % channels;
            lanes.a[j] = gamma[c] * invstd[c];
            if (dgamma == NULL)
                continue;
            lanes.mean[j] = mean[c];
            lanes.b[j] = (float)((double)dbeta[c] / (double)rows);
            lanes.d[j] = (float)((double)invstd[c] * (double)dgamma[c] / (double)rows);
        }
        if (dgamma != NULL) {
            all.x = x + first;
            all.mean = lanes.mean;
            all.b = lanes.b;
            all.d = lanes.d;
        }
        all.y = dx + first;
        run_ranges(bg_kernel_tables()->norm->apply, &all);
    }
}
