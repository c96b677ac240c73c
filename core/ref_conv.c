/* The naive convolution: every result is one sum in f64, taken in index order, rounded to f32 once
 * at the end; taps outside the image are skipped. Products of two f32 are exact in f64. Never
 * tuned, one thread; the definition that core/dnn_conv.c is tested against. */
#include "core/ref.h"

#include <stdbool.h>
#include <stddef.h>

/* Input row (side 0) or column (side 1) under a tap of an output; false outside the image. */
static bool under(const struct bg_conv_shape *s, int side, int64_t out, int64_t tap, int64_t *in)
{
    *in = out * s->stride[side] - s->padding[side] + tap * s->dilation[side];
    return *in >= 0 && *in < (side == 0 ? s->in_height : s->in_width);
}

/* The output that sees an input through a tap; false when there is none. */
static bool above(const struct bg_conv_shape *s, int side, int64_t in, int64_t tap, int64_t *out)
{
    int64_t moved = in + s->padding[side] - tap * s->dilation[side];

    *out = moved / s->stride[side];
    return moved >= 0 && moved % s->stride[side] == 0 &&
           *out < (side == 0 ? s->out_height : s->out_width);
}

static const float *input_at(const struct bg_conv_shape *s, const float *src, int64_t n, int64_t h,
                             int64_t w)
{
    return src + ((n * s->in_height + h) * s->in_width + w) * s->in_channels;
}

static const float *output_at(const struct bg_conv_shape *s, const float *dst, int64_t n, int64_t h,
                              int64_t w)
{
    return dst + ((n * s->out_height + h) * s->out_width + w) * s->out_channels;
}

static int64_t weight_at(const struct bg_conv_shape *s, int64_t o, int64_t kh, int64_t kw)
{
    return ((o * s->kernel_height + kh) * s->kernel_width + kw) * (s->in_channels / s->groups);
}

/* Sum over taps and input channels for output (n, h, w, o). */
static double forward_sum(const struct bg_conv_shape *s, const float *src, const float *weights,
                          const int64_t at[4])
{
    int64_t channels = s->in_channels / s->groups;
    int64_t first = at[3] / (s->out_channels / s->groups) * channels;
    int64_t taps = s->kernel_height * s->kernel_width;
    double sum = 0;

    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t kh = tap / s->kernel_width, kw = tap % s->kernel_width, h = 0, w = 0;
        if (!under(s, 0, at[1], kh, &h) || !under(s, 1, at[2], kw, &w))
            continue;
        const float *x = input_at(s, src, at[0], h, w) + first;
        const float *k = weights + weight_at(s, at[3], kh, kw);
        for (int64_t c = 0; c < channels; c++)
            sum += (double)x[c] * (double)k[c];
    }
    return sum;
}

void bg_ref_conv_forward(const struct bg_conv_shape *s, const float *src, const float *weights,
                         const float *bias, float *dst)
{
    int64_t count = s->batch * s->out_height * s->out_width * s->out_channels;

    for (int64_t i = 0; i < count; i++) {
        int64_t o = i % s->out_channels, pixel = i / s->out_channels;
        int64_t row = pixel / s->out_width;
        const int64_t at[4] = {row / s->out_height, row % s->out_height, pixel % s->out_width, o};
        dst[i] = (float)(forward_sum(s, src, weights, at) + (bias == NULL ? 0 : (double)bias[o]));
    }
}

/* Sum over taps and the group's output channels for input (n, h, w, c). */
static double data_sum(const struct bg_conv_shape *s, const float *ddst, const float *weights,
                       const int64_t at[4])
{
    int64_t channels = s->in_channels / s->groups, outputs = s->out_channels / s->groups;
    int64_t group = at[3] / channels, taps = s->kernel_height * s->kernel_width;
    double sum = 0;

    for (int64_t tap = 0; tap < taps; tap++) {
        int64_t kh = tap / s->kernel_width, kw = tap % s->kernel_width, h = 0, w = 0;
        if (!above(s, 0, at[1], kh, &h) || !above(s, 1, at[2], kw, &w))
            continue;
        const float *dy = output_at(s, ddst, at[0], h, w);
        for (int64_t o = group * outputs; o < (group + 1) * outputs; o++)
            sum += (double)dy[o] * (double)weights[weight_at(s, o, kh, kw) + at[3] % channels];
    }
    return sum;
}

void bg_ref_conv_backward_data(const struct bg_conv_shape *s, const float *ddst,
                               const float *weights, float *dsrc)
{
    int64_t count = s->batch * s->in_height * s->in_width * s->in_channels;

    for (int64_t i = 0; i < count; i++) {
        int64_t pixel = i / s->in_channels, row = pixel / s->in_width;
        const int64_t at[4] = {row / s->in_height, row % s->in_height, pixel % s->in_width,
                               i % s->in_channels};
        dsrc[i] = (float)data_sum(s, ddst, weights, at);
    }
}

/* Sum over images and output pixels for weight (o, kh, kw, c). */
static double weight_sum(const struct bg_conv_shape *s, const float *src, const float *ddst,
                         const int64_t at[4])
{
    int64_t channels = s->in_channels / s->groups;
    int64_t channel = at[0] / (s->out_channels / s->groups) * channels + at[3];
    int64_t pixels = s->batch * s->out_height * s->out_width;
    double sum = 0;

    for (int64_t pixel = 0; pixel < pixels; pixel++) {
        int64_t row = pixel / s->out_width, n = row / s->out_height, h = 0, w = 0;
        if (!under(s, 0, row % s->out_height, at[1], &h) ||
            !under(s, 1, pixel % s->out_width, at[2], &w))
            continue;
        sum += (double)input_at(s, src, n, h, w)[channel] *
               (double)ddst[pixel * s->out_channels + at[0]];
    }
    return sum;
}

void bg_ref_conv_backward_weights(const struct bg_conv_shape *s, const float *src,
                                  const float *ddst, float *dweights, float *dbias)
{
    int64_t channels = s->in_channels / s->groups;
    int64_t count = s->out_channels * s->kernel_height * s->kernel_width * channels;
    int64_t pixels = s->batch * s->out_height * s->out_width;

    for (int64_t i = 0; i < count; i++) {
        int64_t tap = i / channels, row = tap / s->kernel_width;
        const int64_t at[4] = {row / s->kernel_height, row % s->kernel_height,
                               tap % s->kernel_width, i % channels};
        dweights[i] = (float)weight_sum(s, src, ddst, at);
    }
    for (int64_t o = 0; dbias != NULL && o < s->out_channels; o++) {
        double sum = 0;
        for (int64_t pixel = 0; pixel < pixels; pixel++)
            sum += (double)ddst[pixel * s->out_channels + o];
        dbias[o] = (float)sum;
    }
}
