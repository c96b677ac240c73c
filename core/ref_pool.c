/* Naive pooling. Max: a value replaces the maximum only when it is greater, so of equal values the
 * first in row order is the maximum and takes the gradient. Average: over the elements inside the
 * image. Sums in f64 in index order, rounded to f32 once. NaN inputs are not defined here. */
#include "core/ref.h"

#include <stddef.h>

/* A window cut to the image: rows [from[0], to[0]), columns [from[1], to[1]). */
struct window {
    int64_t n, c, from[2], to[2];
};

static struct window window_of(const struct bg_pool_shape *s, int64_t index)
{
    int64_t pixel = index / s->channels, row = pixel / s->out_width;
    const int64_t out[2] = {row % s->out_height, pixel % s->out_width};
    const int64_t limit[2] = {s->in_height, s->in_width};
    struct window w = {.n = row / s->out_height, .c = index % s->channels};

    for (int i = 0; i < 2; i++) {
        int64_t start = out[i] * s->stride[i] - s->padding[i], end = start + s->kernel[i];
        w.from[i] = start < 0 ? 0 : start;
        w.to[i] = end > limit[i] ? limit[i] : end;
    }
    return w;
}

static int64_t input_index(const struct bg_pool_shape *s, const struct window *w, int64_t h,
                           int64_t x)
{
    return ((w->n * s->in_height + h) * s->in_width + x) * s->channels + w->c;
}

static int64_t output_count(const struct bg_pool_shape *s)
{
    return s->batch * s->out_height * s->out_width * s->channels;
}

static int64_t find_max(const struct bg_pool_shape *s, const float *src, const struct window *w)
{
    int64_t best = input_index(s, w, w->from[0], w->from[1]);

    for (int64_t h = w->from[0]; h < w->to[0]; h++)
        for (int64_t x = w->from[1]; x < w->to[1]; x++) {
            int64_t at = input_index(s, w, h, x);
            if (src[at] > src[best])
                best = at;
        }
    return best;
}

static double window_mean(const struct bg_pool_shape *s, const float *src, const struct window *w)
{
    double sum = 0;

    for (int64_t h = w->from[0]; h < w->to[0]; h++)
        for (int64_t x = w->from[1]; x < w->to[1]; x++)
            sum += (double)src[input_index(s, w, h, x)];
    return sum / (double)((w->to[0] - w->from[0]) * (w->to[1] - w->from[1]));
}

/* First and last output whose window holds input `in` in one direction. */
static void outputs_over(const struct bg_pool_shape *s, int side, int64_t in, int64_t range[2])
{
    int64_t last = (side == 0 ? s->out_height : s->out_width) - 1;
    int64_t lowest = in + s->padding[side] - s->kernel[side] + 1; /* of the window's start */

    range[0] = lowest <= 0 ? 0 : (lowest + s->stride[side] - 1) / s->stride[side];
    range[1] = (in + s->padding[side]) / s->stride[side];
    if (range[1] > last)
        range[1] = last;
}

/* The gradient of one input: over all windows that hold it, the part each passes on. src is NULL
 * for averages. */
static double input_gradient(const struct bg_pool_shape *s, const float *src, const float *ddst,
                             int64_t index)
{
    int64_t pixel = index / s->channels, row = pixel / s->in_width;
    int64_t n = row / s->in_height, rows[2], columns[2];
    double sum = 0;

    outputs_over(s, 0, row % s->in_height, rows);
    outputs_over(s, 1, pixel % s->in_width, columns);
    for (int64_t h = rows[0]; h <= rows[1]; h++)
        for (int64_t x = columns[0]; x <= columns[1]; x++) {
            int64_t out =
                ((n * s->out_height + h) * s->out_width + x) * s->channels + index % s->channels;
            struct window w = window_of(s, out);
            double area = (double)((w.to[0] - w.from[0]) * (w.to[1] - w.from[1]));
            if (src == NULL)
                sum += (double)ddst[out] / area;
            else if (find_max(s, src, &w) == index)
                sum += (double)ddst[out];
        }
    return sum;
}

void bg_ref_max_pool_forward(const struct bg_pool_shape *shape, const float *src, float *dst)
{
    int64_t count = output_count(shape);

    for (int64_t i = 0; i < count; i++) {
        struct window w = window_of(shape, i);
        dst[i] = src[find_max(shape, src, &w)];
    }
}

void bg_ref_avg_pool_forward(const struct bg_pool_shape *shape, const float *src, float *dst)
{
    int64_t count = output_count(shape);

    for (int64_t i = 0; i < count; i++) {
        struct window w = window_of(shape, i);
        dst[i] = (float)window_mean(shape, src, &w);
    }
}

static void backward(const struct bg_pool_shape *s, const float *src, const float *ddst,
                     float *dsrc)
{
    int64_t count = s->batch * s->in_height * s->in_width * s->channels;

    for (int64_t i = 0; i < count; i++)
        dsrc[i] = (float)input_gradient(s, src, ddst, i);
}

void bg_ref_max_pool_backward(const struct bg_pool_shape *shape, const float *src,
                              const float *ddst, float *dsrc)
{
    backward(shape, src, ddst, dsrc);
}

void bg_ref_avg_pool_backward(const struct bg_pool_shape *shape, const float *ddst, float *dsrc)
{
    backward(shape, NULL, ddst, dsrc);
}
