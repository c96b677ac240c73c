/* bg_requant_run and bg_requant_real: blocks of rows for the loops of core/kernel_requant.c, spread
 * over threads. Elements are independent, so blocks only decide who computes what. Small arrays
 * stay on the calling thread. */
#include <stddef.h>
#include <string.h>

#include "core/kernel_table.h"
#include "core/requant.h"

#define VECTORS 64 /* vectors of bg_kernel_width elements in a block */

/* The numbers of channels, repeated for every lane of a vector. */
struct lanes {
    float m[BG_REQUANT_TERMS][BG_KERNEL_WIDTH], c[BG_REQUANT_TERMS][BG_KERNEL_WIDTH];
    int32_t bias[BG_REQUANT_TERMS][BG_KERNEL_WIDTH];
    int32_t multiplier[BG_REQUANT_TERMS][BG_KERNEL_WIDTH];
    int32_t left[BG_REQUANT_TERMS][BG_KERNEL_WIDTH];
    int32_t right[BG_KERNEL_WIDTH];
};

/* A copy on `lanes` (4 bytes each), or the values themselves when one row fills a vector. */
static const void *spread(const void *values, int64_t channels, void *lanes)
{
    char *to = lanes;

    if (values == NULL || channels >= BG_KERNEL_WIDTH)
        return values;
    for (int64_t i = 0; i < bg_kernel_width(channels); i += channels)
        memcpy(to + i * (int64_t)sizeof(float), values, (size_t)channels * sizeof(float));
    return lanes;
}

static struct bg_kernel_requant loop_of(const struct bg_requant *requant,
                                        const struct bg_requant_input *inputs, int64_t rows,
                                        struct lanes *lanes)
{
    const int64_t channels = requant->channels;
    struct bg_kernel_requant loop = {
        .rows = rows,
        .channels = channels,
        .terms = requant->terms,
        .right = spread(requant->shift, channels, lanes->right),
        .zero_point = requant->zero_point,
        .lo = requant->lo,
        .hi = requant->hi,
        .low = (float)(requant->lo - requant->zero_point),
        .high = (float)(requant->hi - requant->zero_point),
    };

    for (int t = 0; t < requant->terms; t++) {
        const struct bg_requant_term *term = &requant->term[t];
        loop.acc[t] = inputs[t].acc;
        loop.codes[t] = inputs[t].codes;
        loop.zero[t] = inputs[t].zero_point;
        loop.m[t] = spread(term->m, channels, lanes->m[t]);
        loop.c[t] = spread(term->c, channels, lanes->c[t]);
        loop.bias[t] = spread(term->bias, channels, lanes->bias[t]);
        loop.multiplier[t] = spread(term->multiplier, channels, lanes->multiplier[t]);
        loop.left[t] = spread(term->shift, channels, lanes->left[t]);
    }
    return loop;
}

/* Rows first to first + rows of the whole. */
static void run_rows(void (*run)(const struct bg_kernel_requant *in),
                     const struct bg_kernel_requant *all, int64_t first, int64_t rows)
{
    struct bg_kernel_requant in = *all;
    int64_t at = first * all->channels;

    in.rows = rows;
    for (int t = 0; t < all->terms; t++) {
        in.acc[t] = all->acc[t] == NULL ? NULL : all->acc[t] + at;
        in.codes[t] = all->acc[t] != NULL ? NULL : all->codes[t] + at;
    }
    in.out = all->out == NULL ? NULL : all->out + first * all->stride;
    in.real = all->real == NULL ? NULL : all->real + at;
    run(&in);
}

static void run_blocks(void (*run)(const struct bg_kernel_requant *in),
                       const struct bg_kernel_requant *all)
{
    int64_t step = bg_kernel_width(all->channels) / all->channels * VECTORS;

    if (all->rows * all->channels < BG_KERNEL_SMALL) {
        run(all);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < all->rows; row += step)
        run_rows(run, all, row, all->rows - row < step ? all->rows - row : step);
}

void bg_kernel_requant_run(const struct bg_kernel_requant_table *table,
                           const struct bg_requant *requant, const struct bg_requant_input *inputs,
                           int64_t rows, uint8_t *out, int64_t stride)
{
    struct lanes lanes;
    struct bg_kernel_requant all = loop_of(requant, inputs, rows, &lanes);

    all.out = out;
    all.stride = stride;
    run_blocks(table->run[requant->mode], &all);
}

void bg_kernel_requant_real(const struct bg_kernel_requant_table *table,
                            const struct bg_requant *requant, const struct bg_requant_input *inputs,
                            int64_t rows, float *out)
{
    struct lanes lanes;
    struct bg_kernel_requant all = loop_of(requant, inputs, rows, &lanes);

    all.real = out;
    run_blocks(table->real, &all);
}

void bg_requant_run(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                    int64_t rows, uint8_t *out, int64_t stride)
{
    bg_kernel_requant_run(bg_kernel_tables()->requant, requant, inputs, rows, out, stride);
}

void bg_requant_real(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                     int64_t rows, float *out)
{
    bg_kernel_requant_real(bg_kernel_tables()->requant, requant, inputs, rows, out);
}
