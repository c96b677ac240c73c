/* Requantisation loops, compiled once per instruction set (core/requant.h for what they compute,
 * core/ref_requant.c for the plain form).
 *
 * Work goes in spans of up to BG_KERNEL_WIDTH elements with one lane of numbers for each: several
 * rows side by side when channels are few, pieces of a row when they are many. Rounding in f32 uses
 * the constant of core/kernel_grid.c: v is clamped to integers within +-255 first. Right shifts of
 * negative numbers are arithmetic (gcc, clang): they are the floors of the definition. */
#include <string.h>

#include "core/kernel_table.h"

#define ROUNDER 12582912.0f
#define WIDTH   BG_KERNEL_WIDTH

/* Elements at to at + n of the dense inputs; their numbers begin at `lane`. */
struct span {
    int64_t at, lane, n;
};

/* What loops keep in registers: memory could be the bytes they write. */
struct limits {
    float low, high;
    int32_t lo, hi, zero_point;
};

static inline struct limits limits_of(const struct bg_kernel_requant *in)
{
    return (struct limits){in->low, in->high, in->lo, in->hi, in->zero_point};
}

/* Codes of v: first the limits, which turn NaN into the lower one, then the rounding. */
static inline uint8_t code_of(struct limits limits, float v)
{
    v = v > limits.low ? v : limits.low;
    v = v < limits.high ? v : limits.high;
    return (uint8_t)((int32_t)((v + ROUNDER) - ROUNDER) + limits.zero_point);
}

/* One term of accumulators. */
static void f32_acc(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int32_t *a = in->acc[0] + span->at;
    const float *m = in->m[0] + span->lane, *c = in->c[0] + span->lane;

    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        out[i] = code_of(limits, (float)a[i] * m[i] + c[i]);
}

static void f32_acc_acc(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int32_t *a = in->acc[0] + span->at, *b = in->acc[1] + span->at;
    const float *ma = in->m[0] + span->lane, *ca = in->c[0] + span->lane;
    const float *mb = in->m[1] + span->lane, *cb = in->c[1] + span->lane;

    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        out[i] = code_of(limits, ((float)a[i] * ma[i] + ca[i]) + ((float)b[i] * mb[i] + cb[i]));
}

/* Accumulators and codes, in either order: a sum of two numbers does not depend on it. */
static void f32_acc_codes(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int first = in->acc[0] != NULL ? 0 : 1, second = 1 - first;
    const int32_t *a = in->acc[first] + span->at, zero = in->zero[second];
    const uint8_t *b = in->codes[second] + span->at;
    const float *ma = in->m[first] + span->lane, *ca = in->c[first] + span->lane;
    const float *mb = in->m[second] + span->lane, *cb = in->c[second] + span->lane;

    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        out[i] =
            code_of(limits, ((float)a[i] * ma[i] + ca[i]) + ((float)(b[i] - zero) * mb[i] + cb[i]));
}

/* acc of term t, or its codes minus their zero point */
static void gather(const struct bg_kernel_requant *in, int t, const struct span *span,
                   int32_t x[WIDTH])
{
    const int64_t n = span->n;

    if (in->acc[t] != NULL) {
        memcpy(x, in->acc[t] + span->at, (size_t)n * sizeof *x);
    } else {
        const uint8_t *codes = in->codes[t] + span->at;
        const int32_t zero = in->zero[t];
        BG_IVDEP
        for (int64_t i = 0; i < n; i++)
            x[i] = codes[i] - zero;
    }
}

/* v of any terms */
static void sum_f32(const struct bg_kernel_requant *in, const struct span *span, float *v)
{
    const int64_t n = span->n;
    int32_t x[WIDTH];

    for (int t = 0; t < in->terms; t++) {
        const float *m = in->m[t] + span->lane, *c = in->c[t] + span->lane;
        gather(in, t, span, x);
        if (t == 0) {
            BG_IVDEP
            for (int64_t i = 0; i < n; i++)
                v[i] = (float)x[i] * m[i] + c[i];
        } else {
            BG_IVDEP
            for (int64_t i = 0; i < n; i++)
                v[i] = v[i] + ((float)x[i] * m[i] + c[i]);
        }
    }
}

static void f32_any(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    float v[WIDTH];

    sum_f32(in, span, v);
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        out[i] = code_of(limits, v[i]);
}

/* acc + bias of term t */
static void gather_biased(const struct bg_kernel_requant *in, int t, const struct span *span,
                          int32_t x[WIDTH])
{
    const int32_t *bias = in->bias[t] + span->lane;
    const int64_t n = span->n;

    gather(in, t, span, x);
    for (int64_t i = 0; i < n; i++)
        x[i] += bias[i];
}

static inline uint8_t held(struct limits limits, int64_t code)
{
    code += limits.zero_point;
    code = code > limits.lo ? code : limits.lo;
    return (uint8_t)(code < limits.hi ? code : limits.hi);
}

/* floor(sum / 2^S + 1/2): half a unit more before the last bit goes. */
static void fixed_single(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int32_t *right = in->right + span->lane;
    int64_t sum[WIDTH] = {0};
    int32_t x[WIDTH];

    for (int t = 0; t < in->terms; t++) {
        const int32_t *multiplier = in->multiplier[t] + span->lane;
        gather_biased(in, t, span, x);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (int64_t)x[i] * multiplier[i];
    }
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        out[i] = held(limits, ((sum[i] >> (right[i] - 1)) + 1) >> 1);
}

/* highmul of core/NUMERICS.md is floor((ab + 2^30) / 2^31): for ab < 0 division toward zero by 2^31
 * is the floor of its numerator + 2^31 - 1, and 1 - 2^30 + 2^31 - 1 = 2^30. No multiplier is
 * -2^31, so nothing saturates. */
static void fixed_double(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int32_t *right = in->right + span->lane;
    int64_t sum[WIDTH] = {0};
    int32_t x[WIDTH];

    for (int t = 0; t < in->terms; t++) {
        const int32_t *multiplier = in->multiplier[t] + span->lane;
        const int32_t *left = in->left[t] + span->lane;
        gather_biased(in, t, span, x);
        for (int64_t i = 0; i < n; i++) {
            int32_t shifted = (int32_t)((uint32_t)x[i] << left[i]);
            sum[i] += ((int64_t)shifted * multiplier[i] + ((int64_t)1 << 30)) >> 31;
        }
    }
    /* Ties away from zero: of twice the sum, so that no shift is a special case, a negative one is
     * lowered by 1, which moves ties alone down. */
    BG_IVDEP
    for (int64_t i = 0; i < n; i++) {
        int64_t twice = 2 * sum[i] - (sum[i] < 0);
        out[i] = held(limits, ((twice >> right[i]) + 1) >> 1);
    }
}

static void pow2_rne(const struct bg_kernel_requant *in, const struct span *span, uint8_t *out)
{
    const struct limits limits = limits_of(in);
    const int64_t n = span->n;
    const int32_t *right = in->right + span->lane;
    int64_t sum[WIDTH] = {0};
    int32_t x[WIDTH];

    for (int t = 0; t < in->terms; t++) {
        const int32_t *left = in->left[t] + span->lane;
        gather_biased(in, t, span, x);
        for (int64_t i = 0; i < n; i++)
            sum[i] += (int64_t)((uint64_t)(int64_t)x[i] << left[i]);
    }
    /* Ties to even: up when twice the rest, + 1 where the floor is odd, is more than 2^S. */
    BG_IVDEP
    for (int64_t i = 0; i < n; i++) {
        int64_t down = sum[i] >> right[i];
        int64_t rest = sum[i] - (int64_t)((uint64_t)down << right[i]);
        int64_t twice = 2 * rest + (down & 1);
        out[i] = held(limits, down + ((twice - (twice > 0)) >> right[i]));
    }
}

/* Runs `loop` over all spans. Rows that lie side by side in a span but apart in the output go
 * through a tile: bytes between rows are not ours. */
static void each_span(const struct bg_kernel_requant *in,
                      void (*loop)(const struct bg_kernel_requant *in, const struct span *span,
                                   uint8_t *out))
{
    const int64_t group = bg_kernel_width(in->channels) / in->channels;
    uint8_t tile[WIDTH] = {0};

    for (int64_t row = 0; row < in->rows; row += group) {
        int64_t rows = in->rows - row < group ? in->rows - row : group;
        int64_t count = rows * in->channels;
        uint8_t *out = in->out + row * in->stride;
        bool direct = rows == 1 || in->stride == in->channels;
        for (int64_t lane = 0; lane < count; lane += WIDTH) {
            struct span span = {row * in->channels + lane, lane,
                                count - lane < WIDTH ? count - lane : WIDTH};
            loop(in, &span, direct ? out + lane : tile);
        }
        for (int64_t r = 0; r < rows && !direct; r++)
            memcpy(out + r * in->stride, tile + r * in->channels, (size_t)in->channels);
    }
}

static void run_f32(const struct bg_kernel_requant *in)
{
    if (in->terms == 1 && in->acc[0] != NULL)
        each_span(in, f32_acc);
    else if (in->terms == 2 && in->acc[0] != NULL && in->acc[1] != NULL)
        each_span(in, f32_acc_acc);
    else if (in->terms == 2 && (in->acc[0] != NULL || in->acc[1] != NULL))
        each_span(in, f32_acc_codes);
    else
        each_span(in, f32_any);
}

static void run_single(const struct bg_kernel_requant *in)
{
    each_span(in, fixed_single);
}

static void run_double(const struct bg_kernel_requant *in)
{
    each_span(in, fixed_double);
}

static void run_pow2(const struct bg_kernel_requant *in)
{
    each_span(in, pow2_rne);
}

static void real(const struct bg_kernel_requant *in)
{
    const int64_t width = bg_kernel_width(in->channels), count = in->rows * in->channels;

    for (int64_t at = 0; at < count; at += width)
        for (int64_t lane = 0; lane < width && at + lane < count; lane += WIDTH) {
            int64_t left = (count - at < width ? count - at : width) - lane;
            struct span span = {at + lane, lane, left < WIDTH ? left : WIDTH};
            sum_f32(in, &span, in->real + span.at);
        }
}

const struct bg_kernel_requant_table BG_KERNEL_TABLE(requant) = {
    .run =
        {
            [BG_REQUANT_F32_RNE] = run_f32,
            [BG_REQUANT_FIXED_SINGLE] = run_single,
            [BG_REQUANT_FIXED_DOUBLE] = run_double,
            [BG_REQUANT_POW2_RNE] = run_pow2,
        },
    .real = real,
};
