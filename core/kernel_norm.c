/* Batch norm over rows x channels, channels innermost; compiled once per instruction set.
 *
 * Sums run in f32 over runs of RUN vectors of lanes (several rows side by side when channels are
 * few), then go to f64. With u = 2^-24: a run adds at most RUN - 1 = 15 roundings, so
 *   |mean - exact| <= 17 u * average |x - pivot|, where the pivot is the block's own rounded mean,
 *   |var - exact| <= 20 u * var (all terms positive; x - pivot and its square add 3 roundings),
 *   |sum dy - exact| <= 16 u * sum |dy|, |sum dy (x - mean) - exact| <= 18 u * sum |dy (x - mean)|,
 * worst case; roundings are independent from run to run, so the error seen is far smaller. */
#include "core/kernel_table.h"

#include <string.h>

#define RUN   16
#define WIDTH BG_KERNEL_WIDTH

/* Part of a block seen as `count` vectors of `width` floats, `step` apart; the last has `last`. The
 * lanes repeat `channels` channels. */
struct panel {
    int64_t width, step, count, last, channels;
};

/* Few channels: rows side by side in one vector. Many: panels of WIDTH channels, one row a vector.
 */
static struct panel make_panel(const struct bg_kernel_norm *in, int64_t first)
{
    struct panel panel = {.channels = in->channels};
    int64_t total = in->rows * in->channels;

    if (in->channels < WIDTH) {
        panel.width = panel.step = bg_kernel_width(in->channels);
        panel.count = (total + panel.width - 1) / panel.width;
        panel.last = total - (panel.count - 1) * panel.width;
    } else {
        panel.channels = in->channels - first < WIDTH ? in->channels - first : WIDTH;
        panel.width = panel.last = panel.channels;
        panel.step = in->channels;
        panel.count = in->rows;
    }
    return panel;
}

/* totals[c] += the lanes of channel c, in order. */
static void fold(const struct panel *panel, const float *restrict lanes, double *restrict totals)
{
    for (int64_t j = 0; j < panel->width; j += panel->channels)
        for (int64_t c = 0; c < panel->channels; c++)
            totals[c] += (double)lanes[j + c];
}

static void spread(const struct panel *panel, const float *restrict values, float *restrict lanes)
{
    for (int64_t j = 0; j < panel->width; j += panel->channels)
        memcpy(lanes + j, values, (size_t)panel->channels * sizeof *lanes);
}

static inline int64_t vector_width(const struct panel *panel, int64_t index)
{
    return index == panel->count - 1 ? panel->last : panel->width;
}

static void sum_vector(const float *restrict x, int64_t width, float *restrict sum)
{
    for (int64_t j = 0; j < width; j++)
        sum[j] += x[j];
}

static void sum_panel(const struct panel *panel, const float *x, double *totals)
{
    float sum[WIDTH];

    for (int64_t v = 0; v < panel->count; v += RUN) {
        int64_t end = v + RUN < panel->count ? v + RUN : panel->count;
        memset(sum, 0, sizeof sum);
        for (int64_t i = v; i < end; i++)
            sum_vector(x + i * panel->step, vector_width(panel, i), sum);
        fold(panel, sum, totals);
    }
}

/* Sums of x - pivot and of its square. */
static void moments_vector(const float *restrict x, int64_t width, const float *restrict pivot,
                           float *restrict sum, float *restrict square)
{
    for (int64_t j = 0; j < width; j++) {
        float d = x[j] - pivot[j];
        sum[j] += d;
        square[j] += d * d;
    }
}

static void moments_panel(const struct panel *panel, const float *x, const float *pivot,
                          double *sums, double *squares)
{
    float sum[WIDTH], square[WIDTH];

    for (int64_t v = 0; v < panel->count; v += RUN) {
        int64_t end = v + RUN < panel->count ? v + RUN : panel->count;
        memset(sum, 0, sizeof sum);
        memset(square, 0, sizeof square);
        for (int64_t i = v; i < end; i++)
            moments_vector(x + i * panel->step, vector_width(panel, i), pivot, sum, square);
        fold(panel, sum, sums);
        fold(panel, square, squares);
    }
}

/* The second pass over the block finds it in the cache: memory is read once. */
static void statistics(const struct bg_kernel_norm *in, double *partial)
{
    double rows = (double)in->rows;
    float pivot[WIDTH], lanes[WIDTH];

    memset(partial, 0, 2 * (size_t)in->channels * sizeof *partial);
    for (int64_t first = 0; first < in->channels; first += WIDTH) {
        struct panel panel = make_panel(in, first);
        double *mean = partial + first, *square = partial + in->channels + first;
        sum_panel(&panel, in->x + first, mean);
        for (int64_t c = 0; c < panel.channels; c++) {
            pivot[c] = (float)(mean[c] / rows);
            mean[c] = 0.0;
        }
        spread(&panel, pivot, lanes);
        moments_panel(&panel, in->x + first, lanes, mean, square);
        for (int64_t c = 0; c < panel.channels; c++) {
            double rest = square[c] - mean[c] * mean[c] / rows;
            square[c] = rest < 0.0 ? 0.0 : rest;
            mean[c] = (double)pivot[c] + mean[c] / rows;
        }
    }
}

struct reduce_lanes {
    float mean[WIDTH], plain[WIDTH], weighted[WIDTH];
};

static void reduce_vector(const float *restrict x, const float *restrict dy, int64_t width,
                          const float *restrict mean, float *restrict plain,
                          float *restrict weighted)
{
    for (int64_t j = 0; j < width; j++) {
        plain[j] += dy[j];
        weighted[j] += dy[j] * (x[j] - mean[j]);
    }
}

static void reduce(const struct bg_kernel_norm *in, double *partial)
{
    struct reduce_lanes lanes;

    memset(partial, 0, 2 * (size_t)in->channels * sizeof *partial);
    for (int64_t first = 0; first < in->channels; first += WIDTH) {
        struct panel panel = make_panel(in, first);
        spread(&panel, in->mean + first, lanes.mean);
        for (int64_t v = 0; v < panel.count; v += RUN) {
            int64_t end = v + RUN < panel.count ? v + RUN : panel.count;
            memset(lanes.plain, 0, sizeof lanes.plain);
            memset(lanes.weighted, 0, sizeof lanes.weighted);
            for (int64_t i = v; i < end; i++)
                reduce_vector(in->x + first + i * panel.step, in->dy + first + i * panel.step,
                              vector_width(&panel, i), lanes.mean, lanes.plain, lanes.weighted);
            fold(&panel, lanes.plain, partial + first);
            fold(&panel, lanes.weighted, partial + in->channels + first);
        }
    }
}

static void affine_vector(const float *x, int64_t width, const float *restrict a,
                          const float *restrict b, float *y)
{
    BG_IVDEP
    for (int64_t j = 0; j < width; j++)
        y[j] = x[j] * a[j] + b[j];
}

static void affine_relu_vector(const float *x, int64_t width, const float *restrict a,
                               const float *restrict b, float *y)
{
    BG_IVDEP
    for (int64_t j = 0; j < width; j++) {
        float v = x[j] * a[j] + b[j];
        y[j] = v <= 0.0f ? 0.0f : v;
    }
}

static void scale_shift(const struct bg_kernel_norm *in)
{
    int64_t total = in->rows * in->channels;

    for (int64_t i = 0; i < total; i += in->step) {
        int64_t width = total - i < in->width ? total - i : in->width;
        if (in->relu)
            affine_relu_vector(in->x + i, width, in->a, in->b, in->y + i);
        else
            affine_vector(in->x + i, width, in->a, in->b, in->y + i);
    }
}

static void scale_vector(const float *dy, int64_t width, const float *restrict a, float *dx)
{
    BG_IVDEP
    for (int64_t j = 0; j < width; j++)
        dx[j] = a[j] * dy[j];
}

static void apply_vector(const struct bg_kernel_norm *in, int64_t start, int64_t width)
{
    const float *x = in->x + start, *dy = in->dy + start;
    const float *restrict mean = in->mean, *restrict a = in->a;
    const float *restrict b = in->b, *restrict d = in->d;
    float *y = in->y + start;

    BG_IVDEP
    for (int64_t j = 0; j < width; j++)
        y[j] = a[j] * ((dy[j] - b[j]) - (x[j] - mean[j]) * d[j]);
}

static void apply(const struct bg_kernel_norm *in)
{
    int64_t total = in->rows * in->channels;

    for (int64_t i = 0; i < total; i += in->step) {
        int64_t width = total - i < in->width ? total - i : in->width;
        if (in->d == NULL)
            scale_vector(in->dy + i, width, in->a, in->y + i);
        else
            apply_vector(in, i, width);
    }
}

const struct bg_kernel_norm_table BG_KERNEL_TABLE(norm) = {
    .statistics = statistics,
    .reduce = reduce,
    .scale_shift = scale_shift,
    .apply = apply,
};
