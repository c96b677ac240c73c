/* Second half of the integer update (core/kernel_update.c): an optimizer's step becomes a whole
 * number of the residual's last bits, and moves the weight and what lies below it. */
#include "core/kernel_update_chunk.h"

/* A step in units of the residual, or of a sum's last bit: counted when it is more than can be,
 * then held to that. */
INLINE float units(const struct bg_kernel_update *in, float u, int32_t *beyond)
{
    const float x = u * (in->inverse * (float)(1 << in->finer)), limit = (float)in->largest;

    *beyond += (int32_t)(__builtin_fabsf(x) > limit);
    return held(x, limit);
}

/* P4: the sum's high bits go to the weight, what is left stays below. */
INLINE void split_by(const struct bg_kernel_update *in, struct chunk *restrict c,
                     const uint32_t *restrict word, enum bg_tune tune)
{
    const int32_t r = in->shift, full = (int32_t)((1u << r) - 1), qmin = in->qmin, qmax = in->qmax;
    const int64_t n = c->n;
    int32_t cut = 0, written = 0, lost = 0, kept = 0, beyond = 0;

    for (int64_t i = 0; i < n; i++) {
        const float x = units(in, c->u[i], &beyond);
        const int32_t k = tuned(x, tune, tune == BG_TUNE_STOCHASTIC ? word[i] : 0);
        const int32_t sum = c->a[i] + k, w = c->w[i] + (sum >> r);
        const int32_t low = w < qmin ? 0 : sum & full, rest = w > qmax ? full : low;
        const int32_t least = w < qmin ? qmin : w, now = least > qmax ? qmax : least;
        lost += (int32_t)((k == 0) & (x != 0.0f));
        kept += (int32_t)(k != 0);
        cut += (int32_t)(now != w);
        written += (int32_t)(now != c->w[i]);
        c->a[i] = rest;
        c->w[i] = now;
    }
    c->cut += cut;
    c->written += written;
    c->lost += lost;
    c->kept += kept;
    c->beyond += beyond;
}

/* Several gradients per write: this one joins those that wait. */
INLINE void add_by(const struct bg_kernel_update *in, struct chunk *restrict c,
                   const uint32_t *restrict word, enum bg_tune tune)
{
    const int32_t limit = BG_STORE_SUM_MOST;
    const int64_t n = c->n;
    int32_t *restrict waiting = in->sum + c->at;
    int32_t cut = 0, lost = 0, kept = 0, beyond = 0;

    for (int64_t i = 0; i < n; i++) {
        const float x = units(in, c->u[i], &beyond);
        const int32_t k = tuned(x, tune, tune == BG_TUNE_STOCHASTIC ? word[i] : 0);
        const int32_t sum = waiting[i] + k;
        const int32_t least = sum < -limit ? -limit : sum, now = least > limit ? limit : least;
        lost += (int32_t)((k == 0) & (x != 0.0f));
        kept += (int32_t)(k != 0);
        cut += (int32_t)(now != sum);
        waiting[i] = now;
    }
    c->cut += cut;
    c->lost += lost;
    c->kept += kept;
    c->beyond += beyond;
}

/* Drops `bits` bits (bg_tune_bits); what was rounded by chance is now rounded to nearest. */
INLINE int32_t dropped(int32_t sum, int32_t bits, enum bg_tune tune)
{
    const int32_t low = sum >> bits, rest = sum & (int32_t)((1u << bits) - 1);
    const int32_t half = bits > 0 ? (int32_t)(1u << (bits - 1)) : 1;

    if (tune == BG_TUNE_FLOOR)
        return low;
    if (tune == BG_TUNE_TRUNC)
        return low + (int32_t)((sum < 0) & (rest != 0));
    return low + (int32_t)((rest > half) | ((rest == half) & (low & 1)));
}

/* The sum is written: to the weight its high bits, as in split_by. */
INLINE void write_by(const struct bg_kernel_update *in, struct chunk *restrict c, enum bg_tune tune)
{
    const int32_t r = in->shift, full = (int32_t)((1u << r) - 1), qmin = in->qmin, qmax = in->qmax;
    const int32_t finer = in->finer;
    const int64_t n = c->n;
    int32_t *restrict waiting = in->sum + c->at;
    int32_t cut = 0, written = 0;

    for (int64_t i = 0; i < n; i++) {
        const int32_t sum = c->a[i] + dropped(waiting[i], finer, tune), w = c->w[i] + (sum >> r);
        const int32_t low = w < qmin ? 0 : sum & full, rest = w > qmax ? full : low;
        const int32_t least = w < qmin ? qmin : w, now = least > qmax ? qmax : least;
        cut += (int32_t)(now != w);
        written += (int32_t)(now != c->w[i]);
        waiting[i] = 0;
        c->a[i] = rest;
        c->w[i] = now;
    }
    c->cut += cut;
    c->written += written;
}

/* P3: updates gather in the buffer ... */
INLINE void gather_by(const struct bg_kernel_update *in, struct chunk *restrict c,
                      const uint32_t *restrict word, enum bg_tune tune)
{
    const int32_t limit = in->limit;
    const int64_t n = c->n;
    int32_t cut = 0, lost = 0, kept = 0, beyond = 0;

    for (int64_t i = 0; i < n; i++) {
        const float x = units(in, c->u[i], &beyond);
        const int32_t k = tuned(x, tune, tune == BG_TUNE_STOCHASTIC ? word[i] : 0);
        const int32_t sum = c->a[i] + k;
        const int32_t least = sum < -limit ? -limit : sum, now = least > limit ? limit : least;
        lost += (int32_t)((k == 0) & (x != 0.0f));
        kept += (int32_t)(k != 0);
        cut += (int32_t)(now != sum);
        c->a[i] = now;
    }
    c->cut += cut;
    c->lost += lost;
    c->kept += kept;
    c->beyond += beyond;
}

/* What a sum leaves behind of it, theta = 2^t (bg_threshold_effective). */
INLINE int32_t remainder_of(int32_t a, int32_t t, enum bg_fire fire)
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

INLINE void fire_by(const struct bg_kernel_update *in, struct chunk *c, enum bg_fire fire)
{
    const int32_t r = in->shift, t = in->theta, qmin = in->qmin, qmax = in->qmax;
    const int64_t n = c->n;
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
static void fire(const struct bg_kernel_update *in, struct chunk *c)
{
    if (in->fire == BG_FIRE_TRUNC)
        fire_by(in, c, BG_FIRE_TRUNC);
    else if (in->fire == BG_FIRE_BIT_RULE)
        fire_by(in, c, BG_FIRE_BIT_RULE);
    else if (in->fire == BG_FIRE_NEAREST)
        fire_by(in, c, BG_FIRE_NEAREST);
    else
        fire_by(in, c, BG_FIRE_FLOOR);
}

/* Kahan's sum in bf16: y = u - c, t = w + y, c = (t - w) - y, each rounded to bf16; the code is t
 * rounded to the grid. */
static void kahan(const struct bg_kernel_update *in, struct chunk *c)
{
    const float scale = in->scale, low = (float)in->qmin, high = (float)in->qmax;
    const int64_t n = c->n;
    const float inverse = in->inverse, limit = (float)in->largest;
    int32_t cut = 0, written = 0, lost = 0, kept = 0, beyond = 0;

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
        beyond += (int32_t)(__builtin_fabsf(c->u[i] * inverse) > limit);
        written += (int32_t)((int32_t)code != c->w[i]);
        c->w[i] = (int32_t)code;
        c->a[i] = (int32_t)((uint32_t)t | ((uint32_t)rest << 16));
    }
    c->cut += cut;
    c->lost += lost;
    c->kept += kept;
    c->beyond += beyond;
    c->written += written;
}

static void split(const struct bg_kernel_update *in, struct chunk *c, const uint32_t *word)
{
    if (in->tune == BG_TUNE_NEAREST)
        split_by(in, c, word, BG_TUNE_NEAREST);
    else if (in->tune == BG_TUNE_FLOOR)
        split_by(in, c, word, BG_TUNE_FLOOR);
    else if (in->tune == BG_TUNE_TRUNC)
        split_by(in, c, word, BG_TUNE_TRUNC);
    else
        split_by(in, c, word, BG_TUNE_STOCHASTIC);
}

static void add(const struct bg_kernel_update *in, struct chunk *c, const uint32_t *word)
{
    if (in->tune == BG_TUNE_NEAREST)
        add_by(in, c, word, BG_TUNE_NEAREST);
    else if (in->tune == BG_TUNE_FLOOR)
        add_by(in, c, word, BG_TUNE_FLOOR);
    else if (in->tune == BG_TUNE_TRUNC)
        add_by(in, c, word, BG_TUNE_TRUNC);
    else
        add_by(in, c, word, BG_TUNE_STOCHASTIC);
}

static void write(const struct bg_kernel_update *in, struct chunk *c)
{
    if (in->tune == BG_TUNE_FLOOR)
        write_by(in, c, BG_TUNE_FLOOR);
    else if (in->tune == BG_TUNE_TRUNC)
        write_by(in, c, BG_TUNE_TRUNC);
    else
        write_by(in, c, BG_TUNE_NEAREST);
}

static void gather(const struct bg_kernel_update *in, struct chunk *c, const uint32_t *word)
{
    if (in->tune == BG_TUNE_NEAREST)
        gather_by(in, c, word, BG_TUNE_NEAREST);
    else if (in->tune == BG_TUNE_FLOOR)
        gather_by(in, c, word, BG_TUNE_FLOOR);
    else if (in->tune == BG_TUNE_TRUNC)
        gather_by(in, c, word, BG_TUNE_TRUNC);
    else
        gather_by(in, c, word, BG_TUNE_STOCHASTIC);
}

void BG_KERNEL_TABLE(update_move)(const struct bg_kernel_update *in, struct chunk *c)
{
    const uint32_t *word = NULL;

    if (in->form == BG_STORE_KAHAN) {
        kahan(in, c);
        return;
    }
    if (in->tune == BG_TUNE_STOCHASTIC && in->form != BG_STORE_FLOAT)
        word = BG_KERNEL_TABLE(update_draw)(in, c);
    if (in->form == BG_STORE_FLOAT) {
        BG_KERNEL_TABLE(update_float_move)(in, c);
        return;
    }
    if (in->sum != NULL) {
        add(in, c, word);
        if (in->check)
            write(in, c);
        return;
    }
    if (in->form == BG_STORE_SPLIT) {
        split(in, c, word);
        return;
    }
    gather(in, c, word);
    if (in->check)
        fire(in, c);
}
