/* Elementwise loops and order-free reductions, compiled once per instruction set.
 *
 * Minimum and maximum end with + 0.0f, which turns -0 into 0: so equal zeros cannot make the result
 * depend on the order of comparison. */
#include "core/kernel_table.h"
#include "core/kernel_train_vec.h"

#include <string.h>

static void relu(const float *x, int64_t n, float *y)
{
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

static void relu_backward(const float *y, const float *dy, int64_t n, float *dx)
{
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

static void relu6(const float *x, int64_t n, float *y)
{
    BG_IVDEP
    for (int64_t i = 0; i < n; i++) {
        float positive = x[i] <= 0.0f ? 0.0f : x[i];
        y[i] = positive > 6.0f ? 6.0f : positive;
    }
}

static void relu6_backward(const float *y, const float *dy, int64_t n, float *dx)
{
    BG_IVDEP
    for (int64_t i = 0; i < n; i++) {
        float above = y[i] > 0.0f ? dy[i] : 0.0f;
        dx[i] = y[i] < 6.0f ? above : 0.0f;
    }
}

static void add(const float *a, const float *b, int64_t n, float *y)
{
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void decode_u8(const uint8_t *restrict codes, int64_t n, int32_t zero_point, float scale,
                      float *restrict y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)((int32_t)codes[i] - zero_point) * scale;
}

/* Least and largest of a run of vectors; a NaN changes neither. */
struct ends {
    vec low, high;
    uint16_t good; /* lanes without a NaN so far */
};

INLINE void widen(struct ends *ends, vec v)
{
    ends->low = vec_min(v, ends->low); /* the second where v is NaN */
    ends->high = vec_max(v, ends->high);
    ends->good &= vec_at_most(v, v);
}

static bool min_max(const float *x, int64_t n, float *min, float *max)
{
    struct ends a = {vec_set(*min), vec_set(*max), 0xffff}, b = a;
    float low[VEC], high[VEC];
    bool good;
    int64_t i = 0;

    for (; i + 2 * VEC <= n; i += 2 * VEC) { /* two that need not wait for each other */
        widen(&a, vec_load(x + i));
        widen(&b, vec_load(x + i + VEC));
    }
    vec_store(low, vec_min(a.low, b.low), VEC);
    vec_store(high, vec_max(a.high, b.high), VEC);
    good = (a.good & b.good) == 0xffff;
    for (; i < n; i++) {
        *min = x[i] < *min ? x[i] : *min;
        *max = x[i] > *max ? x[i] : *max;
        good = good && x[i] == x[i];
    }
    for (int j = 0; j < VEC; j++) {
        *min = low[j] < *min ? low[j] : *min;
        *max = high[j] > *max ? high[j] : *max;
    }
    *min += 0.0f;
    *max += 0.0f;
    return good;
}

static bool all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;

    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

static void sgd(float *restrict w, float *restrict m, const float *restrict grad, int64_t n,
                const float factors[3])
{
    const float lr = factors[0], momentum = factors[1], decay = factors[2];

    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] + decay * w[i];
        float v = momentum * m[i] + g;
        m[i] = v;
        w[i] -= lr * v;
    }
}

static void sgd_nesterov(float *restrict w, float *restrict m, const float *restrict grad,
                         int64_t n, const float factors[3])
{
    const float lr = factors[0], momentum = factors[1], decay = factors[2];

    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] + decay * w[i];
        float v = momentum * m[i] + g;
        m[i] = v;
        w[i] -= lr * (g + momentum * v);
    }
}

const struct bg_kernel_pointwise_table BG_KERNEL_TABLE(pointwise) = {
    .relu = relu,
    .relu_backward = relu_backward,
    .relu6 = relu6,
    .relu6_backward = relu6_backward,
    .add = add,
    .decode_u8 = decode_u8,
    .min_max = min_max,
    .all_finite = all_finite,
    .sgd = sgd,
    .sgd_nesterov = sgd_nesterov,
};
