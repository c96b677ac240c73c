/* The naive integer convolution and pools: the definition of core/NUMERICS.md, "Integer
 * evaluation", in plain loops. Taps outside the image are skipped, which is what padding with code
 * z means. Never tuned, one thread. Sums wrap modulo 2^32; nothing that has passed the bound does.
 */
#include "core/int_conv.h"

#include <stdbool.h>

#include "core/int_private.h"

/* Input row (side 0) or column (side 1) under a tap of an output; false outside the image. */
static bool under(const struct bg_conv_shape *s, int side, int64_t out, int64_t tap, int64_t *in)
{
    *in = out * s->stride[side] - s->padding[side] + tap * s->dilation[side];
    return *in >= 0 && *in < (side == 0 ? s->in_height : s->in_width);
}

static int32_t add_wrapped(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

struct place { /* of one output */
    int64_t n, y, x, o;
};

static int32_t one_sum(const struct bg_conv_shape *s, const uint8_t *src, int32_t zero_point,
                       const int8_t *weights, const struct place *at)
{
    int64_t in = s->in_channels / s->groups, out = s->out_channels / s->groups;
    int64_t group = at->o / out;
    int32_t sum = 0;

    for (int64_t ky = 0; ky < s->kernel_height; ky++)
        for (int64_t kx = 0; kx < s->kernel_width; kx++) {
            int64_t y = 0, x = 0;
            if (!under(s, 0, at->y, ky, &y) || !under(s, 1, at->x, kx, &x))
                continue;
            const uint8_t *a =
                src + ((at->n * s->in_height + y) * s->in_width + x) * s->in_channels + group * in;
            const int8_t *w =
                weights + ((at->o * s->kernel_height + ky) * s->kernel_width + kx) * in;
            for (int64_t i = 0; i < in; i++)
                sum = add_wrapped(sum, (a[i] - zero_point) * w[i]);
        }
    return sum;
}

void bg_ref_int_conv_pixel(const struct bg_conv_shape *shape, const uint8_t *src,
                           int32_t zero_point, const int8_t *weights, int64_t pixel, int32_t *acc)
{
    int64_t row = pixel / shape->out_width;
    struct place at = {
        .n = row / shape->out_height, .y = row % shape->out_height, .x = pixel % shape->out_width};

    for (; at.o < shape->out_channels; at.o++)
        acc[at.o] = one_sum(shape, src, zero_point, weights, &at);
}

void bg_ref_int_conv(const struct bg_conv_shape *shape, const uint8_t *src, int32_t zero_point,
                     const int8_t *weights, int32_t *acc)
{
    int64_t pixels = shape->batch * shape->out_height * shape->out_width;

    for (int64_t p = 0; p < pixels; p++)
        bg_ref_int_conv_pixel(shape, src, zero_point, weights, p, acc + p * shape->out_channels);
}

/* Largest code and sum of (code - zero_point) in the window of one output, channel `o` of `at`. */
static void window(const struct bg_pool_shape *s, const uint8_t *src, const struct place *at,
                   uint8_t *largest, int32_t *sum, int32_t zero_point)
{
    *largest = 0;
    *sum = 0;
    for (int64_t ky = 0; ky < s->kernel[0]; ky++)
        for (int64_t kx = 0; kx < s->kernel[1]; kx++) {
            int64_t y = at->y * s->stride[0] - s->padding[0] + ky;
            int64_t x = at->x * s->stride[1] - s->padding[1] + kx;
            if (y < 0 || y >= s->in_height || x < 0 || x >= s->in_width)
                continue;
            uint8_t code =
                src[((at->n * s->in_height + y) * s->in_width + x) * s->channels + at->o];
            if (code > *largest)
                *largest = code;
            *sum = add_wrapped(*sum, code - zero_point);
        }
}

/* Output `index` in N,H,W,C order. */
static struct place pool_place(const struct bg_pool_shape *s, int64_t index)
{
    int64_t pixel = index / s->channels, row = pixel / s->out_width;

    return (struct place){.n = row / s->out_height,
                          .y = row % s->out_height,
                          .x = pixel % s->out_width,
                          .o = index % s->channels};
}

void bg_ref_int_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                         int64_t stride)
{
    int64_t count = shape->batch * shape->out_height * shape->out_width * shape->channels;

    for (int64_t i = 0; i < count; i++) {
        struct place at = pool_place(shape, i);
        int32_t sum = 0;
        window(shape, src, &at, &dst[i / shape->channels * stride + at.o], &sum, 0);
    }
}

void bg_ref_int_sum_pool(const struct bg_pool_shape *shape, const uint8_t *src, int32_t zero_point,
                         int32_t *acc)
{
    int64_t count = shape->batch * shape->out_height * shape->out_width * shape->channels;

    for (int64_t i = 0; i < count; i++) {
        struct place at = pool_place(shape, i);
        uint8_t largest = 0;
        window(shape, src, &at, &largest, &acc[i], zero_point);
    }
}
