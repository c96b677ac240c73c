/* The rest of core/kernel_train.h, compiled once per instruction set: the last pass backward, the
 * average pool's, max pooling, conversions; and the table of all. Sums of products are fused here,
 * one rounding each, on every instruction set. */
#include "core/kernel_train.h"
#include "core/kernel_table.h"
#include "core/kernel_train_vec.h"

_Static_assert(BG_TRAIN_PERIOD == BG_KERNEL_WIDTH + 16, "16 lanes behind the longest period");

#define CHUNK 256 /* channels of a pool's row that are summed together */

/* What the compiler knows about a pass: constants in each instance. */
struct kind {
    int terms;
    bool norms; /* every term has b and c, and 16 numbers never go round */
};

/* Numbers of 16 elements; `lane` as in core/kernel_train.h. */
static __attribute__((noinline)) vec go_round(const float *numbers, int64_t lane, int64_t period)
{
    float sixteen[VEC];

    for (int j = 0; j < VEC; j++)
        sixteen[j] = numbers[(lane + j) % period];
    return vec_load(sixteen);
}

INLINE vec numbers_at(const struct bg_kernel_train_apply *in, bool never_round,
                      const float *numbers, int64_t lane)
{
    if (!never_round && lane + VEC > in->lanes)
        return go_round(numbers, lane, in->period);
    return vec_load(numbers + lane);
}

INLINE int64_t next_lane(int64_t lane, int64_t period)
{
    return lane + VEC - (lane + VEC >= period ? period : 0);
}

/* dz of term t for n elements from `at` on. */
INLINE vec gradient(const struct bg_kernel_train_apply *in, struct kind kind, int t, vec g,
                    const int64_t place[3])
{
    const int64_t at = place[0], lane = place[1], n = place[2];
    const vec a = numbers_at(in, kind.norms, in->a[t], lane);
    vec z;

    if (!kind.norms && in->b[t] == NULL)
        return vec_mul(a, g);
    z = vec_from_bf16(in->z[t] + at, n);
    return vec_fma(a, g,
                   vec_fma(numbers_at(in, kind.norms, in->b[t], lane), z,
                           numbers_at(in, kind.norms, in->c[t], lane)));
}

/* Works on a copy: for the compiler, what it writes could be anybody's. */
INLINE void apply_terms(const struct bg_kernel_train_apply *all, struct kind kind)
{
    const struct bg_kernel_train_apply in = *all;
    const int64_t end = in.first + in.n;
    int64_t at = in.first, lane = at % in.period;

    for (; at + 2 * VEC <= end; at += 2 * VEC) {
        const int64_t next = next_lane(lane, in.period);
        const int64_t left[3] = {at, lane, VEC}, right[3] = {at + VEC, next, VEC};
        const vec g0 = vec_from_bf16(in.g + at, VEC), g1 = vec_from_bf16(in.g + at + VEC, VEC);
        for (int t = 0; t < kind.terms; t++)
            vec_to_bf16_two(in.dz[t] + at, gradient(&in, kind, t, g0, left),
                            gradient(&in, kind, t, g1, right));
        lane = next_lane(next, in.period);
    }
    for (; at < end; at += VEC) {
        const int64_t n = end - at < VEC ? end - at : VEC;
        const vec g = vec_from_bf16(in.g + at, n);
        for (int t = 0; t < kind.terms; t++)
            vec_to_bf16(in.dz[t] + at, gradient(&in, kind, t, g, (const int64_t[3]){at, lane, n}),
                        n);
        lane = next_lane(lane, in.period);
    }
}

static void apply(const struct bg_kernel_train_apply *in)
{
    bool norms = in->lanes > in->period || in->period % VEC == 0;

    for (int t = 0; t < in->terms; t++)
        norms = norms && in->b[t] != NULL;
    if (norms && in->terms == 1)
        apply_terms(in, (struct kind){1, true});
    else if (norms && in->terms == 2)
        apply_terms(in, (struct kind){2, true});
    else
        apply_terms(in, (struct kind){in->terms, false});
}

static void from_f32(const float *x, int64_t n, uint16_t *y)
{
    int64_t i = 0;

    for (; i + VEC <= n; i += VEC)
        vec_to_bf16(y + i, vec_load(x + i), VEC);
    if (i < n) {
        float rest[VEC] = {0};
        memcpy(rest, x + i, (size_t)(n - i) * sizeof *x);
        vec_to_bf16(y + i, vec_load(rest), n - i);
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
        vec_store(y + i, vec_mul(z, numbers_at(in, false, in->a[0], lane)), n);
        lane = next_lane(lane, in->period);
    }
}

static void affine_to_f32(const struct bg_kernel_train_apply *in, float *y)
{
    int64_t lane = in->first % in->period;

    for (int64_t i = 0; i < in->n; i += VEC) {
        int64_t n = in->n - i < VEC ? in->n - i : VEC;
        vec z = vec_from_bf16(in->z[0] + in->first + i, n);
        vec_store(y + i,
                  vec_fma(z, numbers_at(in, false, in->a[0], lane),
                          numbers_at(in, false, in->b[0], lane)),
                  n);
        lane = next_lane(lane, in->period);
    }
}

static void spread(const uint16_t *g, int64_t pixels, int64_t channels, float factor, uint16_t *dx)
{
    const vec f = vec_set(factor);

    for (int64_t c = 0; c < channels; c += VEC) {
        int64_t n = channels - c < VEC ? channels - c : VEC;
        vec_to_bf16(dx + c, vec_mul(vec_from_bf16(g + c, n), f), n);
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

/* 16 channels at a time. A block may run over the end of its pixel, in memory that the row has:
 * what it writes too much the next pixel overwrites, from left to right. */
typedef uint8_t bytes __attribute__((vector_size(VEC)));
typedef uint16_t halves __attribute__((vector_size(2 * VEC)));

/* Where a window lies in the image: its first pixel inside, and what is read of it. */
struct reach {
    struct span rows, columns;
    const uint8_t *image;
};

static int64_t first_place(const struct bg_pool_shape *s, const struct reach *in)
{
    return (in->rows.from - in->rows.start) * s->kernel[1] + in->columns.from - in->columns.start;
}

/* 16 channels of one window, from `channel` on. */
INLINE void max_block(const struct bg_pool_shape *s, const struct reach *in, int64_t channel,
                      uint8_t *dst, uint8_t *where)
{
    bytes best = {0}, at = {0};

    at += (uint8_t)first_place(s, in);
    for (int64_t h = in->rows.from; h < in->rows.to; h++) {
        const uint8_t *from = in->image + (h * s->in_width + in->columns.from) * s->channels;
        int64_t place = (h - in->rows.start) * s->kernel[1] - in->columns.start;
        for (int64_t w = in->columns.from; w < in->columns.to; w++, from += s->channels) {
            bytes x;
            memcpy(&x, from + channel, VEC);
            const bytes more = (bytes)(x > best), here = (bytes){0} + (uint8_t)(place + w);
            at = (here & more) | (at & ~more);
            best = (x & more) | (best & ~more);
        }
    }
    memcpy(dst, &best, VEC);
    memcpy(where, &at, VEC);
}

/* Channels `channel` to `end` - 1 one by one. */
static void max_few(const struct bg_pool_shape *s, const struct reach *in, int64_t channel,
                    int64_t end, uint8_t *dst, uint8_t *where)
{
    for (; channel < end; channel++, dst++, where++) {
        int best = 0, at = (int)first_place(s, in);
        for (int64_t h = in->rows.from; h < in->rows.to; h++) {
            const uint8_t *from = in->image + h * s->in_width * s->channels + channel;
            int64_t place = (h - in->rows.start) * s->kernel[1] - in->columns.start;
            for (int64_t w = in->columns.from; w < in->columns.to; w++) {
                const int x = from[w * s->channels];
                at = x > best ? (int)(place + w) : at;
                best = x > best ? x : best;
            }
        }
        *dst = (uint8_t)best;
        *where = (uint8_t)at;
    }
}

static void max_row(const struct bg_pool_shape *s, const uint8_t *image, int64_t y, uint8_t *dst,
                    uint8_t *where)
{
    struct reach in = {.rows = window(s, 0, y), .image = image};
    const int64_t n = s->channels;

    for (int64_t x = 0; x < s->out_width; x++, dst += n, where += n) {
        in.columns = window(s, 1, x);
        const int64_t left = (s->out_width - x) * n, source = (s->in_width - in.columns.to + 1) * n;
        const int64_t room = left < source ? left : source;
        int64_t c = 0;
        for (; c < n && c + VEC <= room; c += VEC)
            max_block(s, &in, c, dst + c, where + c);
        if (c < n)
            max_few(s, &in, c, n, dst + c, where + c);
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

/* What rounding 0 + dy gives: 0 for -0, one NaN for all. */
INLINE void plain_bf16(halves *x)
{
    const halves size = *x & 0x7fff;
    const halves nan = (halves)(size > 0x7f80), zero = (halves)(size == 0);

    *x = (*x & ~nan & ~zero) | (nan & 0xffc0);
}

/* 16 channels of an input that one window holds, as its pixel `place`. */
INLINE void send(const uint8_t *where, const uint16_t *dy, uint8_t place, uint16_t *dx)
{
    halves value;
    bytes at;

    memcpy(&at, where, sizeof at);
    memcpy(&value, dy, sizeof value);
    plain_bf16(&value);
    value &= (halves)(__builtin_convertvector(at, halves) == place);
    memcpy(dx, &value, sizeof value);
}

static void send_few(const uint8_t *where, const uint16_t *dy, uint8_t place, int64_t n,
                     uint16_t *dx)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t size = dy[i] & 0x7fff;
        const uint32_t plain = size > 0x7f80 ? 0xffc0u : size == 0 ? 0 : dy[i];
        dx[i] = (uint16_t)(where[i] == place ? plain : 0);
    }
}

/* Windows side by side: an input lies in one at most. */
static void max_row_apart(const struct bg_pool_shape *s, const uint8_t *where, const uint16_t *dy,
                          int64_t y, uint16_t *dx)
{
    const int64_t n = s->channels, k = s->kernel[1], width = s->in_width * n;
    const int64_t h = (y + s->padding[0]) / s->kernel[0];
    const int64_t outputs = h < s->out_height ? s->out_width * n : 0;
    const int64_t first = (y + s->padding[0]) % s->kernel[0] * k;
    int64_t done = 0;

    where += h * s->out_width * n;
    dy += h * s->out_width * n;
    for (int64_t at = 0, column = -s->padding[1]; at < outputs; at += n)
        for (int64_t w = 0; w < k; w++, column++) {
            const uint8_t place = (uint8_t)(first + w);
            const int64_t to = column * n;
            const int64_t room = outputs - at < width - to ? outputs - at : width - to;
            int64_t c = 0;
            if (to < 0 || to >= width)
                continue;
            for (; c < n && c + VEC <= room; c += VEC)
                send(where + at + c, dy + at + c, place, dx + to + c);
            if (c < n)
                send_few(where + at + c, dy + at + c, place, n - c, dx + to + c);
            done = to + n;
        }
    memset(dx + done, 0, (size_t)(width - done) * sizeof *dx);
}

static void max_row_backward(const struct bg_pool_shape *s, const uint8_t *where,
                             const uint16_t *dy, int64_t y, uint16_t *dx)
{
    float sums[CHUNK];

    if (s->stride[0] == s->kernel[0] && s->stride[1] == s->kernel[1]) {
        max_row_apart(s, where, dy, y, dx);
        return;
    }
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
    .observe = BG_TRAIN_NAME(train_observe),
    .apply = apply,
    .reduce_observe = BG_TRAIN_NAME(train_reduce_observe),
    .merge_seen = BG_TRAIN_NAME(train_merge_seen),
    .apply_observe = BG_TRAIN_NAME(train_apply_observe),
    .spread = spread,
    .max_row = max_row,
    .max_row_backward = max_row_backward,
    .from_f32 = from_f32,
    .to_f32 = to_f32,
    .scale_to_f32 = scale_to_f32,
    .affine_to_f32 = affine_to_f32,
    .scale_from_f32 = BG_TRAIN_NAME(train_scale_from_f32),
};
