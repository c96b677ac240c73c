/* core/train_kernel.h: cuts passes into fixed ranges for the loops of core/kernel_train*.c, spreads
 * them over threads and merges partial sums in block order in f64. Small arrays stay on the calling
 * thread: waking others costs more. */
#include "core/train_kernel.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/dnn.h"
#include "core/train_blocks.h"

#define BLOCK BG_TRAIN_BLOCK
#define SMALL BG_KERNEL_SMALL
#define LANES BG_TRAIN_PERIOD

/* One set of totals, then one of partial sums for each block. */
int64_t bg_train_scratch(int64_t rows, int64_t channels, int sums)
{
    return (bg_block_count(rows, channels) + 1) * sums * channels;
}

void bg_kernel_train_statistics(const struct bg_kernel_train_table *table,
                                const struct bg_kernel_train_sums *all, float *mean, float *var,
                                double *scratch)
{
    bg_run_sums(table->statistics, all, 2, scratch);
    bg_kernel_merge_moments(scratch, all->rows, all->channels, bg_block_rows(all->channels), mean,
                            var);
}

void bg_train_statistics(const uint16_t *z, int64_t rows, int64_t channels, float *mean, float *var,
                         double *scratch)
{
    const struct bg_kernel_train_sums all = {.rows = rows, .channels = channels, .z = {z}};

    bg_kernel_train_statistics(bg_kernel_tables()->train, &all, mean, var, scratch);
}

/* The first `count` become the sums over the blocks behind them. */
static void add_blocks(double *scratch, int64_t blocks, int64_t count)
{
    memset(scratch, 0, (size_t)count * sizeof *scratch);
    for (int64_t b = 0; b < blocks; b++) {
        const double *partial = scratch + (b + 1) * count;
        for (int64_t c = 0; c < count; c++)
            scratch[c] += partial[c];
    }
}

/* The one gradient that is observed, when that can be done on the way; else -1. */
static int one_seen(const struct bg_train_reduce *in)
{
    int one = -1;

    for (int t = 0; t < in->gradients; t++)
        if (in->seen[t] != NULL)
            one = one < 0 ? t : BG_TRAIN_TERMS;
    return one >= 0 && one < BG_TRAIN_TERMS && in->gradients <= 2 && in->d[one] != in->g ? one : -1;
}

static void run_reduce(const struct bg_kernel_train_table *table,
                       const struct bg_kernel_train_sums *all, const struct bg_train_reduce *in)
{
    const int64_t channels = all->channels;
    const int64_t parts = bg_block_count(all->rows, channels) * bg_panel_count(channels);
    const int one = one_seen(in);

#pragma omp parallel for schedule(static) if (all->rows * channels >= SMALL)
    for (int64_t i = 0; i < parts; i++) {
        struct bg_kernel_train_sums part = bg_part_of(all, i);
        double *partial = bg_sums_of(in->scratch, channels, 1 + in->terms, i);
        if (one >= 0) { /* sums of two do not depend on their order */
            part.d[0] = in->d[one];
            part.d[one] = in->d[0];
            table->reduce_observe(&part, partial,
                                  bg_sums_of(in->seen[one], channels, BG_TRAIN_SEEN, i));
            continue;
        }
        for (int t = 0; t < in->gradients; t++)
            if (in->seen[t] != NULL)
                bg_see_part(table, &part, in->d[t], in->seen[t], i);
        table->reduce(&part, partial);
    }
}

void bg_kernel_train_reduce(const struct bg_kernel_train_table *table,
                            const struct bg_train_reduce *in)
{
    const int64_t channels = in->channels;
    const int sums = 1 + in->terms;
    struct bg_kernel_train_sums all = {.rows = in->rows,
                                       .channels = channels,
                                       .gradients = in->gradients,
                                       .terms = in->terms,
                                       .mask = in->mask,
                                       .g = in->g};

    memcpy(all.d, in->d, sizeof all.d);
    memcpy(all.z, in->z, sizeof all.z);
    run_reduce(table, &all, in);
    add_blocks(in->scratch, bg_block_count(in->rows, channels), sums * channels);
    for (int t = 0; t < sums; t++) {
        double *to = t == 0 ? in->sum : in->dot[t - 1];
        if (to != NULL)
            memcpy(to, in->scratch + t * channels, (size_t)channels * sizeof *to);
    }
}

void bg_train_reduce(const struct bg_train_reduce *in)
{
    bg_kernel_train_reduce(bg_kernel_tables()->train, in);
}

/* values[c] for every lane of a period: a copy on `lanes`, or the values when one row fills it. */
static const float *lanes_of(const float *values, int64_t channels, float lanes[LANES])
{
    if (values == NULL || channels >= BG_KERNEL_WIDTH)
        return values;
    for (int64_t j = 0; j < LANES; j += channels)
        memcpy(lanes + j, values, (size_t)bg_smaller(channels, LANES - j) * sizeof *lanes);
    return lanes;
}

static int64_t lane_count(int64_t channels)
{
    return channels >= BG_KERNEL_WIDTH ? channels : LANES;
}

static void run_forward(const struct bg_kernel_train_table *table,
                        const struct bg_kernel_train_forward *all, struct bg_train_forward *out)
{
    const int64_t n = all->n;
    float min = INFINITY, max = -INFINITY;
    int64_t inside = 0;
    int nan = 0;

#pragma omp parallel for schedule(static) reduction(min : min) reduction(max : max)                \
    reduction(+ : inside) reduction(| : nan) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK) {
        struct bg_kernel_train_forward in = *all;
        struct bg_kernel_train_seen seen = {INFINITY, -INFINITY, 0, false};
        in.first = i;
        in.n = bg_smaller(BLOCK, n - i);
        table->forward(&in, &seen);
        min = seen.min < min ? seen.min : min;
        max = seen.max > max ? seen.max : max;
        inside += seen.inside;
        nan |= seen.nan;
    }
    out->min = nan != 0 ? NAN : n > 0 ? min + 0.0f : 0.0f; /* -0 would depend on the order */
    out->max = nan != 0 ? NAN : n > 0 ? max + 0.0f : 0.0f;
    out->clipped = n - inside;
}

void bg_kernel_train_forward(const struct bg_kernel_train_table *table, struct bg_train_forward *in)
{
    float a[BG_TRAIN_TERMS][LANES], b[BG_TRAIN_TERMS][LANES];
    struct bg_kernel_train_forward all = {
        .n = in->rows * in->channels,
        .period = bg_kernel_width(in->channels),
        .lanes = lane_count(in->channels),
        .terms = in->terms,
        .zero_point = in->zero_point,
        .lo = in->lo,
        .hi = in->hi,
        .pass_low = in->pass_low,
        .pass_high = in->pass_high,
        .codes = in->codes,
        .mask = in->mask,
        .clip_low = (float)(in->lo - in->zero_point) - 0.5f,
        .clip_high = (float)(in->hi - in->zero_point) + 0.5f,
        .values = in->values,
    };

    for (int t = 0; t < in->terms; t++) {
        all.term[t] = in->term[t];
        all.term[t].a = lanes_of(in->term[t].a, in->channels, a[t]);
        all.term[t].b = lanes_of(in->term[t].b, in->channels, b[t]);
    }
    run_forward(table, &all, in);
}

void bg_train_forward(struct bg_train_forward *in)
{
    bg_kernel_train_forward(bg_kernel_tables()->train, in);
}

struct apply_lanes {
    float a[BG_TRAIN_TERMS][LANES], b[BG_TRAIN_TERMS][LANES], c[BG_TRAIN_TERMS][LANES];
};

/* By blocks of whole rows, each observed as soon as it is there. */
static void apply_seen(const struct bg_kernel_train_table *table,
                       const struct bg_kernel_train_apply *all, const struct bg_train_apply *in)
{
    const int64_t step = bg_block_rows(in->channels), panels = bg_panel_count(in->channels);
    const int64_t blocks = bg_block_count(in->rows, in->channels);
    const struct bg_kernel_train_sums rows = {.rows = in->rows, .channels = in->channels};
    /* a norm's gradient alone, whose numbers stand for every lane of a vector */
    const bool fused = in->terms == 1 && in->b[0] != NULL && BG_TRAIN_LANES % in->channels == 0;

#pragma omp parallel for schedule(static) if (in->rows * in->channels >= SMALL)
    for (int64_t b = 0; b < blocks; b++) {
        struct bg_kernel_train_apply range = *all;
        const struct bg_kernel_train_sums whole = bg_part_of(&rows, b * panels);
        if (fused) {
            table->apply_observe(all, &whole,
                                 bg_sums_of(in->seen[0], in->channels, BG_TRAIN_SEEN, b));
            continue;
        }
        range.first = b * step * in->channels;
        range.n = bg_smaller(step, in->rows - b * step) * in->channels;
        table->apply(&range);
        for (int64_t i = b * panels; i < (b + 1) * panels; i++) {
            const struct bg_kernel_train_sums part = bg_part_of(&rows, i);
            for (int t = 0; t < in->terms; t++)
                if (in->seen[t] != NULL)
                    bg_see_part(table, &part, in->dz[t], in->seen[t], i);
        }
    }
}

void bg_kernel_train_apply(const struct bg_kernel_train_table *table,
                           const struct bg_train_apply *in)
{
    const int64_t n = in->rows * in->channels;
    struct apply_lanes lanes;
    struct bg_kernel_train_apply all = {.period = bg_kernel_width(in->channels),
                                        .lanes = lane_count(in->channels),
                                        .g = in->g,
                                        .terms = in->terms};

    memcpy(all.z, in->z, sizeof all.z);
    memcpy(all.dz, in->dz, sizeof all.dz);
    for (int t = 0; t < in->terms; t++) {
        all.a[t] = lanes_of(in->a[t], in->channels, lanes.a[t]);
        all.b[t] = lanes_of(in->b[t], in->channels, lanes.b[t]);
        all.c[t] = lanes_of(in->c[t], in->channels, lanes.c[t]);
    }
    for (int t = 0; t < in->terms; t++)
        if (in->seen[t] != NULL) {
            apply_seen(table, &all, in);
            return;
        }
#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK) {
        struct bg_kernel_train_apply range = all;
        range.first = i;
        range.n = bg_smaller(BLOCK, n - i);
        table->apply(&range);
    }
}

void bg_train_apply(const struct bg_train_apply *in)
{
    bg_kernel_train_apply(bg_kernel_tables()->train, in);
}

void bg_train_spread(const uint16_t *g, int64_t images, int64_t pixels, int64_t channels,
                     float factor, uint16_t *dx)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;

    if (pixels == 0)
        return;
#pragma omp parallel for schedule(static) if (images * pixels * channels >= SMALL)
    for (int64_t i = 0; i < images; i++)
        table->spread(g + i * channels, pixels, channels, factor, dx + i * pixels * channels);
}

void bg_train_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                       uint8_t *where)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;
    const int64_t image = shape->in_height * shape->in_width * shape->channels;
    const int64_t width = shape->out_width * shape->channels;
    const int64_t rows = shape->batch * shape->out_height;

#pragma omp parallel for schedule(static) if (shape->batch * image >= SMALL)
    for (int64_t r = 0; r < rows; r++)
        table->max_row(shape, src + r / shape->out_height * image, r % shape->out_height,
                       dst + r * width, where + r * width);
}

void bg_train_max_pool_backward(const struct bg_pool_shape *shape, const uint8_t *where,
                                const uint16_t *dy, uint16_t *dx)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;
    const int64_t image = shape->out_height * shape->out_width * shape->channels;
    const int64_t width = shape->in_width * shape->channels;
    const int64_t rows = shape->batch * shape->in_height;

#pragma omp parallel for schedule(static) if (rows * width >= SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = r / shape->in_height * image;
        table->max_row_backward(shape, where + at, dy + at, r % shape->in_height, dx + r * width);
    }
}

void bg_train_from_f32(const float *x, int64_t n, uint16_t *y)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;

#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK)
        table->from_f32(x + i, bg_smaller(BLOCK, n - i), y + i);
}

void bg_train_to_f32(const uint16_t *x, int64_t n, float factor, float *y)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;

#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK)
        table->to_f32(x + i, bg_smaller(BLOCK, n - i), factor, y + i);
}

void bg_kernel_train_scale(struct bg_kernel_train_apply *out, const uint16_t *z, int64_t channels,
                           const float *a, float space[BG_TRAIN_PERIOD])
{
    out->period = bg_kernel_width(channels);
    out->lanes = lane_count(channels);
    out->z[0] = z;
    out->a[0] = lanes_of(a, channels, space);
}

void bg_train_scale_to_f32(const uint16_t *x, int64_t rows, int64_t channels, const float *factor,
                           float *y)
{
    const struct bg_kernel_train_table *table = bg_kernel_tables()->train;
    const int64_t n = rows * channels;
    float space[BG_TRAIN_PERIOD];
    struct bg_kernel_train_apply all = {0};

    bg_kernel_train_scale(&all, x, channels, factor, space);
#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK) {
        struct bg_kernel_train_apply range = all;
        range.first = i;
        range.n = bg_smaller(BLOCK, n - i);
        table->scale_to_f32(&range, y + i);
    }
}

void bg_kernel_train_affine(const struct bg_kernel_train_table *table,
                            const struct bg_train_apply *in, float *y)
{
    const int64_t n = in->rows * in->channels;
    float a[LANES], b[LANES];
    const struct bg_kernel_train_apply all = {.period = bg_kernel_width(in->channels),
                                              .lanes = lane_count(in->channels),
                                              .z = {in->z[0]},
                                              .a = {lanes_of(in->a[0], in->channels, a)},
                                              .b = {lanes_of(in->b[0], in->channels, b)}};

#pragma omp parallel for schedule(static) if (n >= SMALL)
    for (int64_t i = 0; i < n; i += BLOCK) {
        struct bg_kernel_train_apply range = all;
        range.first = i;
        range.n = bg_smaller(BLOCK, n - i);
        table->affine_to_f32(&range, y + i);
    }
}

void bg_train_affine_to_f32(const uint16_t *x, int64_t rows, int64_t channels, const float *a,
                            const float *b, float *y)
{
    const struct bg_train_apply in = {
        .rows = rows, .channels = channels, .z = {x}, .a = {a}, .b = {b}};

    bg_kernel_train_affine(bg_kernel_tables()->train, &in, y);
}

void bg_kernel_train_scale_from(const struct bg_kernel_train_table *table,
                                const struct bg_kernel_train_sums *all, double *sum,
                                double *scratch)
{
    bg_run_sums(table->scale_from_f32, all, 1, scratch);
    add_blocks(scratch, bg_block_count(all->rows, all->channels), all->channels);
    memcpy(sum, scratch, (size_t)all->channels * sizeof *sum);
}

void bg_train_scale_from_f32(const float *x, int64_t rows, int64_t channels, const float *factor,
                             uint16_t *y, double *sum, double *scratch)
{
    struct bg_kernel_train_sums all = {
        .rows = rows, .channels = channels, .x = x, .factor = factor};

    all.g = y;
    bg_kernel_train_scale_from(bg_kernel_tables()->train, &all, sum, scratch);
}
