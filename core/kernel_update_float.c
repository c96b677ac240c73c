/* P3 in floating point: weights and buffers are small floats, each with a bias of its own, computed
 * in f32 and, where two of them are added up, in f64. All but the rounding of a buffer's new sum is
 * exact; core/integer_update.h defines it. Numbers stay above 2^-126, so that no vector meets what
 * f32 calls subnormal. */
#include "core/kernel_update_chunk.h"

/* 2^e for e of a normal f32. */
INLINE float power(int32_t e)
{
    return bits_to_f32((uint32_t)(e + 127) << 23);
}

/* The exponent of x, or of the smallest normal number of the format. */
INLINE int32_t exponent_of(float x, int32_t least)
{
    const int32_t e = (int32_t)((f32_to_bits(x) >> 23) & 0xffu) - 127;

    return e < least ? least : e;
}

INLINE void decode(const struct bg_kernel_update *in, int part, const int32_t *restrict pattern,
                   int64_t n, float *restrict real)
{
    const int32_t m = in->floats[part].mantissa, least = in->floats[part].least;
    const int32_t e = in->exponent[part], one = 1 << m;

    for (int64_t i = 0; i < n; i++) {
        const int32_t field = (pattern[i] >> m) & ((1 << e) - 1), low = pattern[i] & (one - 1);
        const int32_t first = field > 0 ? field - 1 : 0, whole = field > 0 ? low + one : low;
        const float size = (float)whole * power(first + least - m);
        real[i] = (pattern[i] >> (e + m)) & 1 ? -size : size;
    }
}

INLINE void encode(const struct bg_kernel_update *in, int part, const float *restrict real,
                   int64_t n, int32_t *restrict pattern)
{
    const int32_t m = in->floats[part].mantissa, least = in->floats[part].least;
    const int32_t e = in->exponent[part];

    for (int64_t i = 0; i < n; i++) {
        const int32_t at = exponent_of(real[i], least);
        const int32_t whole = (int32_t)(__builtin_fabsf(real[i]) * power(m - at));
        const int32_t size = whole + ((at - least) << m);
        pattern[i] = real[i] < 0 ? size | (1 << (e + m)) : size;
    }
}

void BG_KERNEL_TABLE(update_floats)(const struct bg_kernel_update *in, struct chunk *c)
{
    decode(in, 0, c->w, c->n, c->real[0]);
    decode(in, 1, c->a, c->n, c->real[1]);
}

void BG_KERNEL_TABLE(update_weights)(const struct bg_kernel_update *in, float *values)
{
    int32_t pattern[CHUNK];

    for (int64_t at = 0; at < in->n; at += CHUNK) {
        const int64_t n = in->n - at < CHUNK ? in->n - at : CHUNK;
        for (int64_t i = 0; i < n; i++)
            pattern[i] = in->code_bytes == 1 ? ((const int8_t *)in->codes)[at + i]
                                             : ((const int16_t *)in->codes)[at + i];
        decode(in, 0, pattern, n, values + at);
    }
}

/* To the nearest number of the format, or by another rule; |x| is not above its largest. */
INLINE float rounded(float x, int32_t m, int32_t least, enum bg_tune tune, uint32_t word)
{
    const int32_t last = exponent_of(x, least) - m;

    return (float)tuned(x * power(-last), tune, word) * power(last);
}

/* The buffer takes the step. */
INLINE void gather_by(const struct bg_kernel_update *in, struct chunk *restrict c,
                      const uint32_t *restrict word, enum bg_tune tune)
{
    const int32_t m = in->floats[1].mantissa, least = in->floats[1].least;
    const float most = in->most[1];
    const int64_t n = c->n;
    int32_t cut = 0, lost = 0, kept = 0, beyond = 0;

    for (int64_t i = 0; i < n; i++) {
        const float u = c->u[i], a = c->real[1][i], sum = a + u, near = held(sum, most);
        const float now = rounded(near, m, least, tune, tune == BG_TUNE_STOCHASTIC ? word[i] : 0);
        beyond += (int32_t)(__builtin_fabsf(u) > most);
        cut += (int32_t)(near != sum);
        lost += (int32_t)((now == a) & (u != 0.0f));
        kept += (int32_t)(now != a);
        c->real[1][i] = now;
    }
    c->cut += cut;
    c->lost += lost;
    c->kept += kept;
    c->beyond += beyond;
}

INLINE float floor_of(float x)
{
    const float near = whole(x);

    return near - (float)(near > x);
}

INLINE float effective(float units, enum bg_fire fire)
{
    const float below = floor_of(fire == BG_FIRE_NEAREST ? units : __builtin_fabsf(units));

    if (fire == BG_FIRE_NEAREST) /* the difference is on the right side of 1/2 when rounded */
        return below + (float)(units - below >= 0.5f);
    return __builtin_copysignf(below, units);
}

/* a or b, both computed: a plain choice would keep loops from becoming vectors. */
INLINE double pick(int64_t first, double a, double b)
{
    const uint64_t mask = (uint64_t)-first;
    uint64_t x, y;

    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    x = (x & mask) | (y & ~mask);
    memcpy(&a, &x, sizeof a);
    return a;
}

/* Towards zero, to m bits behind the leading one. */
INLINE double cut_to(double x, int32_t m)
{
    uint64_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits &= ~UINT64_C(0) << (52 - m);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What moves goes to c->u. */
INLINE void fire_by(const struct bg_kernel_update *in, struct chunk *restrict c, enum bg_fire fire)
{
    const int32_t m = in->floats[0].mantissa, least = in->floats[0].least, bit = in->theta;
    const int64_t n = c->n;

    for (int64_t i = 0; i < n; i++) {
        const int32_t t = exponent_of(c->real[0][i], least) - m + bit;
        c->u[i] = effective(c->real[1][i] * power(-t), fire) * power(t);
    }
}

/* To the weight, in f64, where sums of both are exact; what is left goes to c->u. */
static void take(const struct bg_kernel_update *in, struct chunk *restrict c)
{
    const int32_t m = in->floats[0].mantissa;
    const double most = (double)in->most[0];
    const int64_t n = c->n;
    int64_t cut = 0, written = 0;

    for (int64_t i = 0; i < n; i++) {
        const double w = (double)c->real[0][i], wanted = w + (double)c->u[i];
        const int64_t over = __builtin_fabs(wanted) > most ? 1 : 0;
        const double now = pick(over, __builtin_copysign(most, wanted), cut_to(wanted, m));
        const double taken = pick(over, wanted, now); /* of which some is dropped at the end */
        cut += over;
        written += now != w ? 1 : 0;
        c->u[i] = (float)(w + (double)c->real[1][i] - taken);
        c->real[0][i] = (float)now;
    }
    c->cut += (int32_t)cut;
    c->written += (int32_t)written;
}

static void keep(const struct bg_kernel_update *in, struct chunk *restrict c)
{
    const int32_t m = in->floats[1].mantissa, least = in->floats[1].least;
    const float most = in->most[1];
    const int64_t n = c->n;

    for (int64_t i = 0; i < n; i++)
        c->real[1][i] = rounded(held(c->u[i], most), m, least, BG_TUNE_NEAREST, 0);
}

static void fire(const struct bg_kernel_update *in, struct chunk *c)
{
    if (in->fire == BG_FIRE_NEAREST)
        fire_by(in, c, BG_FIRE_NEAREST);
    else
        fire_by(in, c, BG_FIRE_TRUNC);
    take(in, c);
    keep(in, c);
}

static void gather(const struct bg_kernel_update *in, struct chunk *c)
{
    if (in->tune == BG_TUNE_NEAREST)
        gather_by(in, c, NULL, BG_TUNE_NEAREST);
    else if (in->tune == BG_TUNE_FLOOR)
        gather_by(in, c, NULL, BG_TUNE_FLOOR);
    else if (in->tune == BG_TUNE_TRUNC)
        gather_by(in, c, NULL, BG_TUNE_TRUNC);
    else
        gather_by(in, c, BG_KERNEL_TABLE(update_draw)(in, c), BG_TUNE_STOCHASTIC);
}

void BG_KERNEL_TABLE(update_float_move)(const struct bg_kernel_update *in, struct chunk *c)
{
    gather(in, c);
    if (in->check)
        fire(in, c);
    encode(in, 0, c->real[0], c->n, c->w);
    encode(in, 1, c->real[1], c->n, c->a);
}
