/* Pools on codes: spreads the rows of core/kernel_int_pool.c over threads. */
#include "core/int_conv.h"

#include "core/kernel_table.h"

/* Fewer codes read than this stay on the calling thread: waking others costs more. */
#define SMALL 65536

static int64_t codes_read(const struct bg_pool_shape *s)
{
    return s->batch * s->out_height * s->out_width * s->channels * s->kernel[0] * s->kernel[1];
}

void bg_int_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                     int64_t stride)
{
    const struct bg_kernel_int_pool_table *table = bg_kernel_tables()->int_pool;
    const int64_t image = shape->in_height * shape->in_width * shape->channels;
    const int64_t rows = shape->batch * shape->out_height;

#pragma omp parallel for schedule(static) if (codes_read(shape) >= SMALL)
    for (int64_t r = 0; r < rows; r++)
        table->max_row(shape, src + r / shape->out_height * image, r % shape->out_height,
                       dst + r * shape->out_width * stride, stride);
}

void bg_int_sum_pool(const struct bg_pool_shape *shape, const uint8_t *src, int32_t zero_point,
                     int32_t *acc)
{
    const struct bg_kernel_int_pool_table *table = bg_kernel_tables()->int_pool;
    const int64_t image = shape->in_height * shape->in_width * shape->channels;
    const int64_t rows = shape->batch * shape->out_height;

#pragma omp parallel for schedule(static) if (codes_read(shape) >= SMALL)
    for (int64_t r = 0; r < rows; r++)
        table->sum_row(shape, src + r / shape->out_height * image, r % shape->out_height,
                       zero_point, acc + r * shape->out_width * shape->channels);
}
