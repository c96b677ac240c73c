/* The integer update, compiled once per instruction set: chunks of weights go through arrays that
 * stay in the first cache, one plain loop per thing done. Every sum is of integers or rounds once
 * per operation, so all sets give the same bits. core/integer_update.h defines what is computed. */
#include "core/kernel_update.h"

#include <string.h>

#include "core/kernel_table.h"

#define CHUNK  BG_UPDATE_CHUNK
#define WHOLE  8388608.0f /* 2^23: larger floats are integers */
#define BLOCKS (CHUNK / 4 + 2)

struct chunk {
    int32_t w[CHUNK], a[CHUNK], k[CHUNK];
    float value[CHUNK], m[CHUNK], u[CHUNK];
    int32_t cut, lost, written, kept, beyond; /* counts */
};

static inline float bf16_to_f32(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float y;

    memcpy(&y, &bits, sizeof y);
    return y;
}

/* To nearest, ties to even; what is not finite stays so. */
static inline uint16_t f32_to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
    const uint32_t special = (bits >> 16) | ((bits & 0xffffu) != 0 ? 1u : 0u);
    return (uint16_t)((bits & 0x7f800000u) == 0x7f800000u ? special : rounded);
}

static inline float whole(float x)
{
    const float size = __builtin_fabsf(x), near = (size + WHOLE) - WHOLE;

    return __builtin_copysignf(size < WHOLE ? near : size, x);
}

static inline float held(float x, float limit)
{
    x = x == x ? x : 0.0f;
    x = x > -limit ? x : -limit;
    return x < limit ? x : limit;
}

#define LOAD(type_, from_, to_)                                                                    \
    do {                                                                                           \
        const type_ *from = (const type_ *)(from_);                                                \
        for (int64_t i = 0; i < n; i++)                                                            \
            (to_)[i] = from[i];                                                                    \
    } while (0)
#define STORE(type_, from_, to_)                                                                   \
    do {                                                                                           \
        type_ *to = (type_ *)(to_);                                                                \
        for (int64_t i = 0; i < n; i++)                                                            \
            to[i] = (type_)(from_)[i];                                                             \
    } while (0)

static void load(const struct bg_kernel_update *in, int64_t at, int64_t n, struct chunk *c)
{
    const char *codes = (const char *)in->codes + at * in->code_bytes;
    const char *below = in->below == NULL ? NULL : (const char *)in->below + at * in->below_bytes;

    if (in->code_bytes == 1)
        LOAD(int8_t, codes, c->w);
    else
        LOAD(int16_t, codes, c->w);
    if (below == NULL)
        memset(c->a, 0, (size_t)n * sizeof *c->a);
    else if (in->form == BG_STORE_KAHAN || in->below_bytes == 4)
        LOAD(int32_t, below, c->a);
    else if (in->form == BG_STORE_BUFFER && in->below_bytes == 2)
        LOAD(int16_t, below, c->a);
    else if (in->form == BG_STORE_BUFFER)
        LOAD(int8_t, below, c->a);
    else if (in->below_bytes == 2)
        LOAD(uint16_t, below, c->a);
    else
        LOAD(uint8_t, below, c->a);
}

static void store(const struct bg_kernel_update *in, int64_t at, int64_t n, const struct chunk *c)
{
    char *codes = (char *)in->codes + at * in->code_bytes;
    char *below = in->below == NULL ? NULL : (char *)in->below + at * in->below_bytes;

    if (in->code_bytes == 1)
        STORE(int8_t, c->w, codes);
    else
        STORE(int16_t, c->w, codes);
    if (below == NULL)
        return;
    if (in->below_bytes == 4)
        STORE(int32_t, c->a, below);
    else if (in->below_bytes == 2)
        STORE(uint16_t, c->a, below);
    else
        STORE(uint8_t, c->a, below);
}

/* Momentum to f32, in the units of the step's formula. */
static void load_momentum(const struct bg_kernel_update *in, int64_t at, int64_t n, float *m)
{
    if (in->format == BG_STORE_MOMENTUM_NONE) {
        memset(m, 0, (size_t)n * sizeof *m);
    } else if (in->format == BG_STORE_MOMENTUM_F32) {
        memcpy(m, in->state + at, (size_t)n * sizeof *m);
    } else if (in->format == BG_STORE_MOMENTUM_BF16) {
        const uint16_t *from = (const uint16_t *)in->momentum + at;
        for (int64_t i = 0; i < n; i++)
            m[i] = bf16_to_f32(from[i]);
    } else {
        const int16_t *from = (const int16_t *)in->momentum + at;
        const float unit = in->last * 0.0625f;
        for (int64_t i = 0; i < n; i++)
            m[i] = (float)from[i] * unit;
    }
}

/* Integers are cut towards zero: what is rounded to nearest would never decay. */
static void store_momentum(const struct bg_kernel_update *in, int64_t at, int64_t n, const float *m)
{
    if (in->format == BG_STORE_MOMENTUM_F32) {
        memcpy(in->state + at, m, (size_t)n * sizeof *m);
    } else if (in->format == BG_STORE_MOMENTUM_BF16) {
        uint16_t *to = (uint16_t *)in->momentum + at;
        for (int64_t i = 0; i < n; i++)
            to[i] = f32_to_bf16(m[i]);
    } else if (in->format == BG_STORE_MOMENTUM_S16) {
        int16_t *to = (int16_t *)in->momentum + at;
        const float units = in->inverse * 16.0f;
        for (int64_t i = 0; i < n; i++)
            to[i] = (int16_t)(int32_t)held(m[i] * units, 32767.0f);
    }
}

/* Real values, for weight decay. */
static void values(const struct bg_kernel_update *in, int64_t n, struct chunk *c)
{
    const float scale = in->scale, last = in->last;
    const int32_t half = in->half;

    if (in->form == BG_STORE_KAHAN)
        for (int64_t i = 0; i < n; i++)
            c->value[i] = bf16_to_f32((uint16_t)((uint32_t)c->a[i] & 0xffffu));
    else
        for (int64_t i = 0; i < n; i++)
            c->value[i] = (float)c->w[i] * scale + (float)(c->a[i] - half) * last;
}

/* The optimizer's step of each weight: u = -lr * (momentum and all). */
static void plain_steps(const struct bg_kernel_update *in, const float *restrict grad, int64_t n,
                        struct chunk *restrict c)
{
    const float lr = in->lr, mu = in->mu, decay = in->decay;

    if (in->nesterov) {
        for (int64_t i = 0; i < n; i++) {
            const float g = grad[i] + decay * c->value[i], m = mu * c->m[i] + g;
            c->m[i] = m;
            c->u[i] = -(lr * (g + mu * m));
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float g = grad[i] + decay * c->value[i], m = mu * c->m[i] + g;
        c->m[i] = m;
        c->u[i] = -(lr * m);
    }
}

/* The learning rate goes in before the momentum, and with `gradient` the rounding too. */
static void folded_steps(const struct bg_kernel_update *in, const float *restrict grad, int64_t n,
                         struct chunk *restrict c)
{
    const float lr = in->lr, mu = in->mu, decay = in->decay, last = in->last;
    const float inverse = in->inverse, ahead = in->nesterov ? mu : 0.0f;

    for (int64_t i = 0; i < n; i++) {
        const float g = -(lr * (grad[i] + decay * c->value[i]));
        c->u[i] = in->gradient ? whole(g * inverse) * last : g;
    }
    for (int64_t i = 0; i < n; i++) {
        const float x = c->u[i], m = mu * c->m[i] + x;
        c->m[i] = m;
        c->u[i] = in->nesterov ? x + ahead * m : m;
    }
}

/* bg_rng_words of consecutive blocks, side by side (core/rng.c). */
static void draw(const struct bg_rng *rng, uint64_t first, int64_t blocks, uint32_t *words)
{
    uint32_t c[4][BLOCKS];
    uint32_t k0 = (uint32_t)rng->seed, k1 = (uint32_t)(rng->seed >> 32);

    for (int64_t b = 0; b < blocks; b++) {
        c[0][b] = (uint32_t)(first + (uint64_t)b);
        c[1][b] = (uint32_t)((first + (uint64_t)b) >> 32);
        c[2][b] = rng->stream;
        c[3][b] = rng->step;
    }
    for (int round = 0; round < 10; round++) {
        for (int64_t b = 0; b < blocks; b++) {
            const uint64_t x = (uint64_t)0xd2511f53u * c[0][b];
            const uint64_t y = (uint64_t)0xcd9e8d57u * c[2][b];
            c[0][b] = (uint32_t)(y >> 32) ^ c[1][b] ^ k0;
            c[1][b] = (uint32_t)y;
            c[2][b] = (uint32_t)(x >> 32) ^ c[3][b] ^ k1;
            c[3][b] = (uint32_t)x;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    for (int64_t b = 0; b < blocks; b++)
        for (int word = 0; word < 4; word++)
            words[4 * b + word] = c[word][b];
}

/* Up from the floor with the probability of what is above it. */
static void round_by_chance(const struct bg_kernel_update *in, int64_t at, int64_t n,
                            struct chunk *c)
{
    uint32_t words[4 * BLOCKS];
    const int64_t first = in->index + at, skip = first % 4;

    draw(&in->rng, (uint64_t)first / 4, (skip + n + 3) / 4, words);
    for (int64_t i = 0; i < n; i++) {
        const float part = c->u[i] - (float)c->k[i];
        c->k[i] += (int32_t)((float)(words[skip + i] >> 8) * 0x1p-24f < part);
    }
}

/* k: the step in units of the residual. */
static void tune(const struct bg_kernel_update *in, int64_t at, int64_t n, struct chunk *c)
{
    const float inverse = in->inverse, limit = (float)in->largest;
    int32_t lost = 0, kept = 0, beyond = 0;

    for (int64_t i = 0; i < n; i++) {
        const float x = c->u[i] * inverse;
        beyond += (int32_t)(__builtin_fabsf(x) > limit);
        c->u[i] = held(x, limit);
    }
    if (in->tune == BG_TUNE_NEAREST) {
        for (int64_t i = 0; i < n; i++)
            c->k[i] = (int32_t)whole(c->u[i]);
    } else if (in->tune == BG_TUNE_TRUNC) {
        for (int64_t i = 0; i < n; i++)
            c->k[i] = (int32_t)c->u[i];
    } else {
        for (int64_t i = 0; i < n; i++) {
            const int32_t t = (int32_t)c->u[i];
            c->k[i] = t - (int32_t)((float)t > c->u[i]);
        }
    }
    if (in->tune == BG_TUNE_STOCHASTIC)
        round_by_chance(in, at, n, c);
    for (int64_t i = 0; i < n; i++) {
        lost += (int32_t)((c->k[i] == 0) & (c->u[i] != 0.0f));
        kept += (int32_t)(c->k[i] != 0);
    }
    c->beyond += beyond;
    c->kept += kept;
    c->lost += lost;
}

/* P4: the sum's high bits go to the weight, what is left stays below. */
static void split(const struct bg_kernel_update *in, int64_t n, struct chunk *c)
{
    const int32_t r = in->shift, full = (int32_t)((1u << r) - 1), qmin = in->qmin, qmax = in->qmax;
    int32_t cut = 0, written = 0;

    for (int64_t i = 0; i < n; i++) {
        const int32_t sum = c->a[i] + c->k[i], w = c->w[i] + (sum >> r);
        const int32_t low = w < qmin ? 0 : sum & full, rest = w > qmax ? full : low;
        const int32_t least = w < qmin ? qmin : w, now = least > qmax ? qmax : least;
        cut += (int32_t)(now != w);
        written += (int32_t)(now != c->w[i]);
        c->a[i] = rest;
        c->w[i] = now;
    }
    c->cut += cut;
    c->written += written;
}

/* P3: updates gather in the buffer ... */
static void gather(const struct bg_kernel_update *in, int64_t n, struct chunk *c)
{
    const int32_t limit = in->limit;
    int32_t cut = 0;

    for (int64_t i = 0; i < n; i++) {
        const int32_t sum = c->a[i] + c->k[i];
        const int32_t least = sum < -limit ? -limit : sum, now = least > limit ? limit : least;
        cut += (int32_t)(now != sum);
        c->a[i] = now;
    }
    c->cut += cut;
}

/* What a sum leaves behind of it, theta = 2^t (bg_threshold_effective). */
static inline int32_t remainder_of(int32_t a, int32_t t, enum bg_fire fire)
{
    const int32_t low = (int32_t)((1u << t) - 1), sign = a < 0 ? -1 : 0;
    const int32_t half = t > 0 ? (int32_t)(1u << (t - 1)) : 0;

    switch (fire) {
    case BG_FIRE_BIT_RULE:
        return (a & low) | (sign & ~low);
    case BG_FIRE_NEAREST:
        return ((a + half) & low) - half;
    case BG_FIRE_FLOOR:
        return a & low;
    default:
        return ((((a ^ sign) - sign) & low) ^ sign) - sign;
    }
}

static inline __attribute__((always_inline)) void
fire_by(const struct bg_kernel_update *in, int64_t n, struct chunk *c, enum bg_fire fire)
{
    const int32_t r = in->shift, t = in->theta, qmin = in->qmin, qmax = in->qmax;
    int32_t cut = 0, written = 0;

    for (int64_t i = 0; i < n; i++) {
        const int32_t rest = remainder_of(c->a[i], t, fire);
        const int32_t w = c->w[i] + ((c->a[i] - rest) >> r);
        const int32_t least = w < qmin ? qmin : w, now = least > qmax ? qmax : least;
        cut += (int32_t)(now != w);
        written += (int32_t)(now != c->w[i]);
        c->a[i] = rest;
        c->w[i] = now;
    }
    c->cut += cut;
    c->written += written;
}

/* ... and leave it when they fill the weight's last bit. */
static void fire(const struct bg_kernel_update *in, int64_t n, struct chunk *c)
{
    if (in->fire == BG_FIRE_TRUNC)
        fire_by(in, n, c, BG_FIRE_TRUNC);
    else if (in->fire == BG_FIRE_BIT_RULE)
        fire_by(in, n, c, BG_FIRE_BIT_RULE);
    else if (in->fire == BG_FIRE_NEAREST)
        fire_by(in, n, c, BG_FIRE_NEAREST);
    else
        fire_by(in, n, c, BG_FIRE_FLOOR);
}

/* Kahan's sum in bf16: y = u - c, t = w + y, c = (t - w) - y, each rounded to bf16; the code is t
 * rounded to the grid. */
static void kahan(const struct bg_kernel_update *in, int64_t n, struct chunk *c)
{
    const float scale = in->scale, low = (float)in->qmin, high = (float)in->qmax;
    int32_t cut = 0, written = 0, lost = 0, kept = 0;

    for (int64_t i = 0; i < n; i++) {
        const uint32_t both = (uint32_t)c->a[i];
        const float w = bf16_to_f32((uint16_t)(both & 0xffffu));
        const float error = bf16_to_f32((uint16_t)(both >> 16));
        const float y = bf16_to_f32(f32_to_bf16(c->u[i] - error));
        const uint16_t t = f32_to_bf16(w + y);
        const float moved = bf16_to_f32(f32_to_bf16(bf16_to_f32(t) - w));
        const uint16_t rest = f32_to_bf16(moved - y);
        const float v = bf16_to_f32(t) / scale, at = whole(v);
        const float least = at > low ? at : low, code = least < high ? least : high;
        cut += (int32_t)(code != at);
        lost += (int32_t)((y == 0.0f) & (c->u[i] != 0.0f));
        kept += (int32_t)(y != 0.0f);
        written += (int32_t)((int32_t)code != c->w[i]);
        c->w[i] = (int32_t)code;
        c->a[i] = (int32_t)((uint32_t)t | ((uint32_t)rest << 16));
    }
    c->cut += cut;
    c->lost += lost;
    c->kept += kept;
    c->written += written;
}

static void run(struct bg_kernel_update *in)
{
    struct chunk c;
    const bool folded = in->gradient || in->format == BG_STORE_MOMENTUM_S16;

    for (int64_t at = 0; at < in->n; at += CHUNK) {
        const int64_t n = in->n - at < CHUNK ? in->n - at : CHUNK;
        c.cut = c.lost = c.written = c.kept = c.beyond = 0;
        load(in, at, n, &c);
        load_momentum(in, at, n, c.m);
        if (in->decay != 0.0f)
            values(in, n, &c);
        else
            memset(c.value, 0, (size_t)n * sizeof *c.value);
        if (folded)
            folded_steps(in, in->grad + at, n, &c);
        else
            plain_steps(in, in->grad + at, n, &c);
        store_momentum(in, at, n, c.m);
        if (in->form == BG_STORE_KAHAN) {
            kahan(in, n, &c);
        } else {
            tune(in, at, n, &c);
            if (in->form == BG_STORE_SPLIT)
                split(in, n, &c);
            else
                gather(in, n, &c);
            if (in->form == BG_STORE_BUFFER && in->check)
                fire(in, n, &c);
        }
        store(in, at, n, &c);
        in->saturated += c.cut;
        in->lost += c.lost;
        in->written += c.written;
        in->kept += c.kept;
        in->beyond += c.beyond;
    }
}

const struct bg_kernel_update_table BG_KERNEL_TABLE(update) = {.run = run};
