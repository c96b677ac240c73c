/* Pooling of codes, one row of output at a time, compiled once per instruction set. Channels are
 * innermost, so the loops over them become vectors; results do not depend on how. */
#include "core/kernel_table.h"

#include <string.h>

/* Columns or rows of a window that lie inside the image: [from, to). */
struct span {
    int64_t from, to;
};

static struct span inside(int64_t out, int64_t stride, int64_t padding, int64_t kernel, int64_t in)
{
    int64_t from = out * stride - padding, to = from + kernel;

    return (struct span){from < 0 ? 0 : from, to > in ? in : to};
}

static void larger(const uint8_t *restrict src, int64_t n, uint8_t *restrict dst)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i] > dst[i] ? src[i] : dst[i];
}

static void max_row(const struct bg_pool_shape *s, const uint8_t *image, int64_t y, uint8_t *dst,
                    int64_t stride)
{
    struct span rows = inside(y, s->stride[0], s->padding[0], s->kernel[0], s->in_height);

    for (int64_t x = 0; x < s->out_width; x++, dst += stride) {
        struct span columns = inside(x, s->stride[1], s->padding[1], s->kernel[1], s->in_width);
        memset(dst, 0, (size_t)s->channels); /* no code is smaller */
        for (int64_t h = rows.from; h < rows.to; h++)
            for (int64_t w = columns.from; w < columns.to; w++)
                larger(image + (h * s->in_width + w) * s->channels, s->channels, dst);
    }
}

static void add(const uint8_t *restrict src, int64_t n, int32_t *restrict acc)
{
    for (int64_t i = 0; i < n; i++)
        acc[i] = (int32_t)((uint32_t)acc[i] + src[i]);
}

static void sum_row(const struct bg_pool_shape *s, const uint8_t *image, int64_t y,
                    int32_t zero_point, int32_t *acc)
{
    struct span rows = inside(y, s->stride[0], s->padding[0], s->kernel[0], s->in_height);

    for (int64_t x = 0; x < s->out_width; x++, acc += s->channels) {
        struct span columns = inside(x, s->stride[1], s->padding[1], s->kernel[1], s->in_width);
        int64_t n = (rows.to - rows.from) * (columns.to - columns.from);
        for (int64_t c = 0; c < s->channels; c++)
            acc[c] = (int32_t)(uint32_t)(-n * zero_point);
        for (int64_t h = rows.from; h < rows.to; h++)
            for (int64_t w = columns.from; w < columns.to; w++)
                add(image + (h * s->in_width + w) * s->channels, s->channels, acc);
    }
}

const struct bg_kernel_int_pool_table BG_KERNEL_TABLE(int_pool) = {
    .max_row = max_row,
    .sum_row = sum_row,
};
