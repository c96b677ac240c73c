/* The rest of core/kernel_train.h, compiled once per instruction set: the last pass backward, the
 * average pool's, max pooling, conversions; and the table of all. Sums of products are fused here,
 * one rounding each, on every instruction set. */
#include "core/kernel_train.h"
#include "core/kernel_table.h"
#include "core/kernel_train_vec.h"

_Static_assert(BG_TRAIN_PERIOD == BG_KERNEL_WIDTH + 16, "16 lanes behind the longest period");

#define CHUNK 256 /* channels of a pool's row that are summed together */

/* Numbers of 16 elements; `lane` as in core/kernel_train.h. */
static void go_round(const float *numbers, int64_t lane, int64_t period, float *sixteen)
{
    for (int j = 0; j < VEC; j++)
        sixteen[j] = numbers[(lane + j) % period];
}

INLINE vec numbers_at(const struct bg_kernel_train_apply *in, const float *numbers, int64_t lane)
{
    float sixteen[VEC];

    if (__builtin_expect(lane + VEC <= in->lanes, 1))
        return vec_load(numbers + lane);
    go_round(numbers, lane, in->period, sixteen);
    return vec_load(sixteen);
}

/* A term at elements at to at + n. */
INLINE void apply_term(const struct bg_kernel_train_apply *in, int t, vec g, int64_t at,
                       int64_t lane, int64_t n)
{
    const vec a = numbers_at(in, in->a[t], lane);
    vec dz;

    if (in->b[t] != NULL) {
        vec z = vec_from_bf16(in->z[t] + at, n);
        dz = vec_fma(numbers_at(in, in->b[t], lane), z, numbers_at(in, in->c[t], lane));
        dz = vec_fma(a, g, dz);
    } else {
        dz = vec_mul(a, g);
    }
    vec_to_bf16(in->dz[t] + at, vec_round(dz), n);
}

INLINE void apply_terms(const struct bg_kernel_train_apply *in, int terms)
{
    const int64_t end = in->first + in->n;
    int64_t at = in->first, lane = at % in->period;

    for (; at + VEC <= end; at += VEC) {
        vec g = vec_from_bf16(in->g + at, VEC);
        for (int t = 0; t < terms; t++)
            apply_term(in, t, g, at, lane, VEC);
        lane += VEC;
        lane -= lane >= in->period ? in->period : 0;
    }
    if (at < end) {
        vec g = vec_from_bf16(in->g + at, end - at);
        for (int t = 0; t < terms; t++)
            apply_term(in, t, g, at, lane, end - at);
    }
}

static void apply(const struct bg_kernel_train_apply *in)
{
    if (in->terms == 1)
        apply_terms(in, 1);
    else
        apply_terms(in, in->terms);
}

static void from_f32(const float *x, int64_t n, uint16_t *y)
{
    int64_t i = 0;

    for (; i + VEC <= n; i += VEC)
        vec_to_bf16(y + i, vec_round(vec_load(x + i)), VEC);
    if (i < n) {
        float rest[VEC] = {0};
        memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
        vec_to_bf16(y + i, vec_round(vec_load(rest)), n - i);
    }
}

static void to_f32(const uint16_t *x, int64_t n, float factor, float *y)
{
    const vec f = vec_set(factor);
    int64_t i = 0;

    for (; i + VEC <= n; i += VEC)
        vec_store(y + i, vec_mul(vec_from_bf16(x + i, VEC), f), VEC);
    if (i < n)
        vec_store(y + i, vec_mul(vec_from_bf16(x + i, n - i), f), n - i);
}

static void scale_to_f32(const struct bg_kernel_train_apply *in, float *y)
{
    int64_t lane = in->first % in->period;

    for (int64_t i = 0; i < in->n; i += VEC) {
        int64_t n = in->n - i < VEC ? in->n - i : VEC;
        vec z = vec_from_bf16(in->z[0] + in->first + i, n);
        vec_store(y + i, vec_mul(z, numbers_at(in, in->a[0], lane)), n);
        lane += VEC;
        lane -= lane >= in->period ? in->period : 0;
    }
}

static void spread(const uint16_t *g, int64_t pixels, int64_t channels, float factor, uint16_t *dx)
{
    const vec f = vec_set(factor);

    for (int64_t c = 0; c < channels; c += VEC) {
        int64_t n = channels - c < VEC ? channels - c : VEC;
        vec_to_bf16(dx + c, vec_round(vec_mul(vec_from_bf16(g + c, n), f)), n);
    }
    for (int64_t p = 1; p < pixels; p++)
        memcpy(dx + p * channels, dx, (size_t)channels * sizeof *dx);
}

/* Columns or rows of a window that lie inside the image: [from, to). */
struct span {
    int64_t from, to, start; /* start: of the window, may be outside */
};

static struct span window(const struct bg_pool_shape *s, int side, int64_t out)
{
    int64_t start = out * s->stride[side] - s->padding[side], end = start + s->kernel[side];
    int64_t limit = side == 0 ? s->in_height : s->in_width;

    return (struct span){start < 0 ? 0 : start, end > limit ? limit : end, start};
}

static void larger(const uint8_t *restrict src, int64_t n, uint8_t place, uint8_t *restrict dst,
                   uint8_t *restrict where)
{
    for (int64_t i = 0; i < n; i++) {
        where[i] = src[i] > dst[i] ? place : where[i];
        dst[i] = src[i] > dst[i] ? src[i] : dst[i];
    }
}

static void max_row(const struct bg_pool_shape *s, const uint8_t *image, int64_t y, uint8_t *dst,
                    uint8_t *where)
{
    const struct span rows = window(s, 0, y);
    const int64_t n = s->channels;

    for (int64_t x = 0; x < s->out_width; x++, dst += n, where += n) {
        const struct span columns = window(s, 1, x);
        const int64_t first =
            (rows.from - rows.start) * s->kernel[1] + (columns.from - columns.start);
        memcpy(dst, image + (rows.from * s->in_width + columns.from) * n, (size_t)n);
        memset(where, (int)first, (size_t)n);
        for (int64_t h = rows.from; h < rows.to; h++)
            for (int64_t w = columns.from; w < columns.to; w++)
                larger(image + (h * s->in_width + w) * n, n,
                       (uint8_t)((h - rows.start) * s->kernel[1] + (w - columns.start)), dst,
                       where);
    }
}

/* Outputs [from, to) whose windows hold input `in`. */
static struct span outputs_over(const struct bg_pool_shape *s, int side, int64_t in)
{
    int64_t limit = side == 0 ? s->out_height : s->out_width;
    int64_t lowest = in + s->padding[side] - s->kernel[side] + 1; /* of a window's start */
    int64_t from = lowest <= 0 ? 0 : (lowest + s->stride[side] - 1) / s->stride[side];
    int64_t to = (in + s->padding[side]) / s->stride[side] + 1;

    return (struct span){from, to > limit ? limit : to, 0};
}

static void add_where(const uint8_t *restrict where, const uint16_t *restrict dy, int64_t n,
                      uint8_t place, float *restrict sums)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = where[i] == place ? (uint32_t)dy[i] << 16 : 0;
        float value;
        memcpy(&value, &bits, sizeof value);
        sums[i] += value;
    }
}

/* n channels of the gradient of input (y, x); `where` and dy begin at the first of them. */
static void gather(const struct bg_pool_shape *s, const uint8_t *where, const uint16_t *dy,
                   const int64_t place[2], int64_t n, float *sums)
{
    const struct span rows = outputs_over(s, 0, place[0]), columns = outputs_over(s, 1, place[1]);

    for (int64_t i = 0; i < n; i++)
        sums[i] = 0.0f;
    for (int64_t h = rows.from; h < rows.to; h++)
        for (int64_t w = columns.from; w < columns.to; w++) {
            int64_t at = (h * s->out_width + w) * s->channels;
            int64_t row = place[0] + s->padding[0] - h * s->stride[0];
            int64_t column = place[1] + s->padding[1] - w * s->stride[1];
            add_where(where + at, dy + at, n, (uint8_t)(row * s->kernel[1] + column), sums);
        }
}

static void max_row_backward(const struct bg_pool_shape *s, const uint8_t *where,
                             const uint16_t *dy, int64_t y, uint16_t *dx)
{
    float sums[CHUNK];

    for (int64_t x = 0; x < s->in_width; x++, dx += s->channels)
        for (int64_t c = 0; c < s->channels; c += CHUNK) {
            int64_t n = s->channels - c < CHUNK ? s->channels - c : CHUNK;
            gather(s, where + c, dy + c, (const int64_t[2]){y, x}, n, sums);
            from_f32(sums, n, dx + c);
        }
}

const struct bg_kernel_train_table BG_KERNEL_TABLE(train) = {
    .statistics = BG_TRAIN_NAME(train_statistics),
    .forward = BG_TRAIN_NAME(train_forward),
    .reduce = BG_TRAIN_NAME(train_reduce),
    .apply = apply,
    .spread = spread,
    .max_row = max_row,
    .max_row_backward = max_row_backward,
    .from_f32 = from_f32,
    .to_f32 = to_f32,
    .scale_to_f32 = scale_to_f32,
};
