/* Requantisers: their names, their memory, and the integers of the three integer modes
 * (core/NUMERICS.md, "Integer evaluation").
 *
 * m = f * 2^e with f in [0.5, 1) always means the stored f32 number, so f * 2^31 is an integer
 * below 2^31: the significand never rounds up to a power of two. What a channel's integers are:
 *
 *   fixed-single  shift S = 31 - e of the largest m, multiplier rne(m * 2^S), term shift 0
 *   fixed-double  shift F (fraction bits), multiplier and term shift l as in core/NUMERICS.md; F
 *                 stops at 31, where smaller m get smaller multipliers
 *   pow2-rne      shift S, term shift S + p, no multiplier
 *
 * Everything is computed in f64, where these numbers are exact or rounded once, and checked against
 * the largest |acc| + |bias|: no accepted channel can leave s32 or s64 while it runs. */
#include "core/requant.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define SHIFT_MAX    62
#define FRACTION_MAX 31
/* A fixed-double sum keeps this many bits for four terms, |acc + bias| * 2^l among them. */
#define SUM_BITS 28

static const char *const names[BG_REQUANT_MODES] = {
    [BG_REQUANT_F32_RNE] = "f32-rne",
    [BG_REQUANT_FIXED_SINGLE] = "fixed-single",
    [BG_REQUANT_FIXED_DOUBLE] = "fixed-double",
    [BG_REQUANT_POW2_RNE] = "pow2-rne",
};

const char *bg_requant_mode_name(enum bg_requant_mode mode)
{
    return names[mode];
}

bool bg_requant_mode_find(const char *name, enum bg_requant_mode *out)
{
    for (int i = 0; i < BG_REQUANT_MODES; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum bg_requant_mode)i;
            return true;
        }
    return false;
}

static enum bg_status make_term(struct bg_requant_term *term, enum bg_requant_mode mode,
                                int64_t channels, struct bg_arena *arena)
{
    enum bg_status rc = BG_OK;

    term->bias = term->multiplier = term->shift = NULL;
    TRY(bg_arena_alloc(arena, &term->m, channels, sizeof *term->m));
    TRY(bg_arena_alloc(arena, &term->c, channels, sizeof *term->c));
    if (mode == BG_REQUANT_F32_RNE)
        return rc;
    TRY(bg_arena_alloc(arena, &term->bias, channels, sizeof *term->bias));
    TRY(bg_arena_alloc(arena, &term->shift, channels, sizeof *term->shift));
    if (mode != BG_REQUANT_POW2_RNE)
        TRY(bg_arena_alloc(arena, &term->multiplier, channels, sizeof *term->multiplier));
out:
    return rc;
}

enum bg_status bg_requant_make(struct bg_requant *requant, struct bg_arena *arena)
{
    enum bg_status rc = BG_OK;

    requant->shift = NULL;
    if ((unsigned)requant->mode >= BG_REQUANT_MODES)
        FAIL(BG_E_RANGE, "requantisation mode %d: limit is %d", (int)requant->mode,
             BG_REQUANT_MODES - 1);
    if (requant->terms < 1 || requant->terms > BG_REQUANT_TERMS)
        FAIL(BG_E_RANGE, "a sum of %d terms: limits are 1 to %d", requant->terms, BG_REQUANT_TERMS);
    if (requant->channels < 1)
        FAIL(BG_E_RANGE, "a sum of %lld channels: at least 1", (long long)requant->channels);
    for (int t = 0; t < requant->terms; t++)
        TRY(make_term(&requant->term[t], requant->mode, requant->channels, arena));
    if (requant->mode != BG_REQUANT_F32_RNE)
        TRY(bg_arena_alloc(arena, &requant->shift, requant->channels, sizeof *requant->shift));
out:
    return rc;
}

/* One channel on its way to integers. */
struct channel {
    struct bg_requant *requant;
    int64_t index;
    double m[BG_REQUANT_TERMS];
    int exponent[BG_REQUANT_TERMS];  /* e of m */
    int64_t reach[BG_REQUANT_TERMS]; /* largest |acc + bias|, below 2^31 */
};

static enum bg_status check_term(const struct bg_requant *requant, int t, int64_t index)
{
    double m = (double)requant->term[t].m[index], c = (double)requant->term[t].c[index];

    if (!isfinite(m))
        return bg_fail(BG_E_DATA, "factor %g is not finite", m);
    if (!isfinite(c))
        return bg_fail(BG_E_DATA, "offset %g is not finite", c);
    if (requant->mode != BG_REQUANT_F32_RNE && !(m > 0.0))
        return bg_fail(BG_E_DATA, "factor %g is %s, %s needs it positive", m,
                       m == 0.0 ? "zero" : "negative", names[requant->mode]);
    return BG_OK;
}

/* The bias of term t in units of `unit`, which m is or stands for. */
static enum bg_status fit_bias(struct channel *channel, int t, double unit)
{
    struct bg_requant_term *term = &channel->requant->term[t];
    double bias = nearbyint((double)term->c[channel->index] / unit);

    if (fabs(bias) + (double)term->bound >= 0x1p31)
        return bg_fail(BG_E_DATA,
                       "bias %.6g does not fit s32 (factor %.6g is too near 0) beside accumulators "
                       "up to %lld",
                       bias, channel->m[t], (long long)term->bound);
    term->bias[channel->index] = (int32_t)bias;
    channel->reach[t] = term->bound + (int64_t)fabs(bias);
    return BG_OK;
}

/* *total += reach * factor, all of them >= 0, as long as it fits s64. */
static enum bg_status add_reach(int64_t *total, int64_t reach, int64_t factor)
{
    if (factor > 0 && reach > (INT64_MAX - *total) / factor)
        return bg_fail(BG_E_DATA, "the sum can reach %.6g, which does not fit s64",
                       (double)*total + (double)reach * (double)factor);
    *total += reach * factor;
    return BG_OK;
}

static int largest_term(const struct channel *channel)
{
    int largest = 0;

    for (int t = 1; t < channel->requant->terms; t++)
        largest = channel->m[t] > channel->m[largest] ? t : largest;
    return largest;
}

/* Which term a failure was about, when there are several. */
static enum bg_status in_term(const struct channel *channel, int t, enum bg_status rc)
{
    if (rc != BG_OK && channel->requant->terms > 1)
        (void)bg_fail_prefix(rc, "term %d: ", t);
    return rc;
}

static enum bg_status fit_single(struct channel *channel)
{
    const struct bg_requant *requant = channel->requant;
    int largest = largest_term(channel), shift = 31 - channel->exponent[largest];
    enum bg_status rc = BG_OK;
    int64_t total;

    if (shift < 1 || shift > SHIFT_MAX)
        FAIL(BG_E_DATA, "factor %.6g needs a shift of %d, limits are 1 to %d", channel->m[largest],
             shift, SHIFT_MAX);
    total = (int64_t)1 << (shift - 1);
    for (int t = 0; t < requant->terms; t++) {
        double multiplier = nearbyint(ldexp(channel->m[t], shift));
        TRY(in_term(channel, t, fit_bias(channel, t, channel->m[t])));
        TRY(in_term(channel, t, add_reach(&total, channel->reach[t], (int64_t)multiplier)));
        requant->term[t].multiplier[channel->index] = (int32_t)multiplier;
        requant->term[t].shift[channel->index] = 0;
    }
    requant->shift[channel->index] = shift;
out:
    return rc;
}

static int bit_length(int64_t value)
{
    int length = 0;

    for (; value > 0; value /= 2)
        length++;
    return length;
}

static int fraction_bits(const struct channel *channel)
{
    int bits = INT_MAX;

    for (int t = 0; t < channel->requant->terms; t++) {
        int room = channel->requant->terms == 1 ? 0 : SUM_BITS - bit_length(channel->reach[t]);
        bits = room - channel->exponent[t] < bits ? room - channel->exponent[t] : bits;
    }
    return bits < 0 ? 0 : bits > FRACTION_MAX ? FRACTION_MAX : bits;
}

/* Multiplier and left shift of one term with `fraction` bits behind the point. */
static enum bg_status fit_double_term(const struct channel *channel, int t, int fraction)
{
    const struct bg_requant_term *term = &channel->requant->term[t];
    int left = channel->exponent[t] + fraction;

    if (left < 0) {
        term->multiplier[channel->index] = (int32_t)nearbyint(ldexp(channel->m[t], 31 + fraction));
        left = 0;
    } else {
        if (ldexp((double)channel->reach[t], left) >= 0x1p31)
            return bg_fail(BG_E_DATA, "factor %.6g needs %lld * 2^%d, which does not fit s32",
                           channel->m[t], (long long)channel->reach[t], left);
        term->multiplier[channel->index] = (int32_t)ldexp(channel->m[t], 31 - channel->exponent[t]);
    }
    /* Only with reach 0 can it be more; then nothing is shifted. */
    term->shift[channel->index] = left > 31 ? 31 : left;
    return BG_OK;
}

static enum bg_status fit_double(struct channel *channel)
{
    enum bg_status rc = BG_OK;
    int fraction;

    for (int t = 0; t < channel->requant->terms; t++)
        TRY(in_term(channel, t, fit_bias(channel, t, channel->m[t])));
    fraction = fraction_bits(channel);
    for (int t = 0; t < channel->requant->terms; t++)
        TRY(in_term(channel, t, fit_double_term(channel, t, fraction)));
    channel->requant->shift[channel->index] = fraction;
out:
    return rc;
}

static enum bg_status fit_pow2(struct channel *channel)
{
    const struct bg_requant *requant = channel->requant;
    int power[BG_REQUANT_TERMS] = {0}, shift = 0;
    enum bg_status rc = BG_OK;
    int64_t total;

    for (int t = 0; t < requant->terms; t++) {
        double significand = ldexp(channel->m[t], -channel->exponent[t]);
        power[t] = significand >= sqrt(0.5) ? channel->exponent[t] : channel->exponent[t] - 1;
        if (-power[t] > SHIFT_MAX)
            FAIL(BG_E_DATA, "factor %.6g needs a shift of %d, limit is %d", channel->m[t],
                 -power[t], SHIFT_MAX);
        shift = -power[t] > shift ? -power[t] : shift;
    }
    total = shift == 0 ? 0 : (int64_t)1 << (shift - 1);
    for (int t = 0; t < requant->terms; t++) {
        int left = shift + power[t];
        if (left > SHIFT_MAX)
            FAIL(BG_E_DATA, "factor %.6g needs a left shift of %d, limit is %d", channel->m[t],
                 left, SHIFT_MAX);
        TRY(in_term(channel, t, fit_bias(channel, t, ldexp(1.0, power[t]))));
        TRY(in_term(channel, t, add_reach(&total, channel->reach[t], (int64_t)1 << left)));
        requant->term[t].shift[channel->index] = left;
    }
    requant->shift[channel->index] = shift;
out:
    return rc;
}

static enum bg_status fit_channel(struct bg_requant *requant, int64_t index)
{
    struct channel channel = {.requant = requant, .index = index};
    enum bg_status rc = BG_OK;

    for (int t = 0; t < requant->terms; t++) {
        TRY(in_term(&channel, t, check_term(requant, t, index)));
        channel.m[t] = (double)requant->term[t].m[index];
        (void)frexp(channel.m[t], &channel.exponent[t]);
    }
    switch (requant->mode) {
    case BG_REQUANT_FIXED_SINGLE:
        TRY(fit_single(&channel));
        break;
    case BG_REQUANT_FIXED_DOUBLE:
        TRY(fit_double(&channel));
        break;
    case BG_REQUANT_POW2_RNE:
        TRY(fit_pow2(&channel));
        break;
    case BG_REQUANT_F32_RNE:
    case BG_REQUANT_MODES:
    default:
        break;
    }
out:
    return rc;
}

enum bg_status bg_requant_fit(struct bg_requant *requant)
{
    enum bg_status rc = BG_OK;

    if (requant->lo < 0 || requant->lo > requant->hi || requant->hi > UINT8_MAX)
        FAIL(BG_E_DATA, "codes from %d to %d: limits are 0 to %d", requant->lo, requant->hi,
             UINT8_MAX);
    if (requant->zero_point < 0 || requant->zero_point > UINT8_MAX)
        FAIL(BG_E_DATA, "zero point %d: limits are 0 to %d", requant->zero_point, UINT8_MAX);
    for (int t = 0; t < requant->terms; t++)
        if (requant->term[t].bound < 0 || requant->term[t].bound > INT32_MAX)
            FAIL(BG_E_DATA, "accumulators up to %lld: limits are 0 to %d",
                 (long long)requant->term[t].bound, INT32_MAX);
    for (int64_t index = 0; index < requant->channels; index++) {
        rc = fit_channel(requant, index);
        if (rc != BG_OK)
            return bg_fail_prefix(rc, "channel %lld: ", (long long)index);
    }
out:
    return rc;
}
