/* The integer update, compiled once per instruction set: chunks of weights go through arrays that
 * stay in the first cache, one plain loop per thing done. Every sum is of integers or rounds once
 * per operation, so all sets give the same bits. core/integer_update.h defines what is computed.
 * Here: reading and writing what is stored, and the optimizer's steps. */
#include "core/kernel_update_chunk.h"

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

static void load(const struct bg_kernel_update *in, struct chunk *c)
{
    const int64_t at = c->at, n = c->n;
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

static void store(const struct bg_kernel_update *in, const struct chunk *c)
{
    const int64_t at = c->at, n = c->n;
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

/* Momentum in the units of the step's formula; in f32 it is used where it lies. */
static float *load_momentum(const struct bg_kernel_update *in, struct chunk *c)
{
    const int64_t n = c->n;

    if (in->format == BG_STORE_MOMENTUM_F32)
        return in->state + c->at;
    if (in->format == BG_STORE_MOMENTUM_NONE) {
        memset(c->m, 0, (size_t)n * sizeof *c->m);
    } else if (in->format == BG_STORE_MOMENTUM_BF16) {
        const uint16_t *from = (const uint16_t *)in->momentum + c->at;
        for (int64_t i = 0; i < n; i++)
            c->m[i] = bf16_to_f32(from[i]);
    } else {
        const int16_t *from = (const int16_t *)in->momentum + c->at;
        const float unit = in->last * 0.0625f;
        for (int64_t i = 0; i < n; i++)
            c->m[i] = (float)from[i] * unit;
    }
    return c->m;
}

/* Integers are cut towards zero: what is rounded to nearest would never decay. */
static void store_momentum(const struct bg_kernel_update *in, const struct chunk *c)
{
    const int64_t n = c->n;

    if (in->format == BG_STORE_MOMENTUM_BF16) {
        uint16_t *to = (uint16_t *)in->momentum + c->at;
        for (int64_t i = 0; i < n; i++)
            to[i] = f32_to_bf16(c->m[i]);
    } else if (in->format == BG_STORE_MOMENTUM_S16) {
        int16_t *to = (int16_t *)in->momentum + c->at;
        const float units = in->inverse * 16.0f;
        for (int64_t i = 0; i < n; i++)
            to[i] = (int16_t)(int32_t)held(c->m[i] * units, 32767.0f);
    }
}

/* Real values, for weight decay. */
static void values(const struct bg_kernel_update *in, struct chunk *c)
{
    const float scale = in->scale, last = in->last;
    const int32_t half = in->half;
    const int64_t n = c->n;

    if (in->form == BG_STORE_FLOAT)
        BG_KERNEL_TABLE(update_floats)(in, c);
    if (in->decay == 0.0f)
        return;
    if (in->form == BG_STORE_KAHAN)
        for (int64_t i = 0; i < n; i++)
            c->value[i] = bf16_to_f32((uint16_t)((uint32_t)c->a[i] & 0xffffu));
    else if (in->form == BG_STORE_FLOAT)
        for (int64_t i = 0; i < n; i++)
            c->value[i] = c->real[0][i] + c->real[1][i];
    else
        for (int64_t i = 0; i < n; i++)
            c->value[i] = (float)c->w[i] * scale + (float)(c->a[i] - half) * last;
}

/* The gradient with the decay in it; without one -0 becomes +0 all the same. */
INLINE float decayed(const float *grad, const struct chunk *c, int64_t i, float decay, bool decays)
{
    return decays ? grad[i] + decay * c->value[i] : grad[i] + 0.0f;
}

/* The optimizer's step of each weight: u = -lr * (momentum and all). */
INLINE void plain_steps(const struct bg_kernel_update *in, float *restrict momentum,
                        struct chunk *restrict c, bool decays, bool nesterov)
{
    const float lr = in->lr, mu = in->mu, decay = in->decay;
    const float *restrict grad = in->grad + c->at;
    const int64_t n = c->n;

    for (int64_t i = 0; i < n; i++) {
        const float g = decayed(grad, c, i, decay, decays), m = mu * momentum[i] + g;
        momentum[i] = m;
        c->u[i] = -(lr * (nesterov ? g + mu * m : m));
    }
}

/* The learning rate goes in before the momentum, and with `gradient` the rounding too. */
INLINE void folded_steps(const struct bg_kernel_update *in, float *restrict momentum,
                         struct chunk *restrict c, bool decays, bool nesterov)
{
    const float lr = in->lr, mu = in->mu, decay = in->decay, last = in->last;
    const float inverse = in->inverse;
    const float *restrict grad = in->grad + c->at;
    const int64_t n = c->n;
    const bool gradient = in->gradient;

    for (int64_t i = 0; i < n; i++) {
        const float g = -(lr * decayed(grad, c, i, decay, decays));
        const float x = gradient ? whole(g * inverse) * last : g, m = mu * momentum[i] + x;
        momentum[i] = m;
        c->u[i] = nesterov ? x + mu * m : m;
    }
}

static void steps(const struct bg_kernel_update *in, float *m, struct chunk *c)
{
    const bool folded = in->gradient || in->format == BG_STORE_MOMENTUM_S16;
    const int kind = (in->decay != 0.0f ? 2 : 0) + (in->nesterov ? 1 : 0);

    if (folded && kind == 0)
        folded_steps(in, m, c, false, false);
    else if (folded && kind == 1)
        folded_steps(in, m, c, false, true);
    else if (folded && kind == 2)
        folded_steps(in, m, c, true, false);
    else if (folded)
        folded_steps(in, m, c, true, true);
    else if (kind == 0)
        plain_steps(in, m, c, false, false);
    else if (kind == 1)
        plain_steps(in, m, c, false, true);
    else if (kind == 2)
        plain_steps(in, m, c, true, false);
    else
        plain_steps(in, m, c, true, true);
}

static void run(struct bg_kernel_update *in)
{
    struct chunk c;

    if (BG_KERNEL_TABLE(update_split)(in))
        return;
    for (int64_t at = 0; at < in->n; at += CHUNK) {
        c.at = at;
        c.n = in->n - at < CHUNK ? in->n - at : CHUNK;
        c.cut = c.lost = c.written = c.kept = c.beyond = 0;
        load(in, &c);
        values(in, &c);
        steps(in, load_momentum(in, &c), &c);
        store_momentum(in, &c);
        BG_KERNEL_TABLE(update_move)(in, &c);
        store(in, &c);
        in->saturated += c.cut;
        in->lost += c.lost;
        in->written += c.written;
        in->kept += c.kept;
        in->beyond += c.beyond;
    }
}

const struct bg_kernel_update_table BG_KERNEL_TABLE(update) = {
    .run = run, .usual = BG_KERNEL_TABLE(update_split), .weights = BG_KERNEL_TABLE(update_weights)};
