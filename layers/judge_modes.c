/* Requantisation of one channel in the four modes, written from core/NUMERICS.md: the numbers (fit)
 * and the code of one sum of accumulators. Sums of the integer modes are exact in s64; that no sum
 * can leave it is part of the fit. Powers of two are products and quotients: no shift of a negative
 * number. */
#include <math.h>

#include "layers/judge_private.h"

#define S32_END 0x1p31

static double power(int exponent)
{
    return ldexp(1.0, exponent);
}

static int64_t integer_power(int exponent)
{
    return INT64_C(1) << exponent;
}

/* |acc + bias| is at most this. */
static int64_t reach(const struct bg_judge_term *term, int64_t channel)
{
    int64_t bias = term->bias[channel];

    return term->bound + (bias < 0 ? -bias : bias);
}

static enum bg_status set_bias(const struct bg_judge_term *term, int64_t channel, double factor)
{
    double bias = nearbyint((double)term->c[channel] / factor);

    if (!(fabs(bias) + (double)term->bound < S32_END))
        return bg_fail(BG_E_DATA, "channel %lld: bias %g and sums to %lld do not fit s32",
                       (long long)channel, bias, (long long)term->bound);
    term->bias[channel] = (int64_t)bias;
    return BG_OK;
}

/* The sum of reach * multiplier * 2^left and a half of the divisor stays in s64. */
static enum bg_status check_sum(const struct bg_judge_piece *piece, int64_t channel)
{
    int right = piece->right[channel];
    int64_t sum = right > 0 ? integer_power(right - 1) : 0, part = 0;
    bool over = false;

    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        int left = term->left[channel];
        over = over || left > 62 ||
               __builtin_mul_overflow(reach(term, channel), term->multiplier[channel], &part) ||
               __builtin_mul_overflow(part, integer_power(left), &part) ||
               __builtin_add_overflow(sum, part, &sum);
    }
    if (over)
        return bg_fail(BG_E_DATA, "channel %lld: the sum of %d terms does not fit s64",
                       (long long)channel, piece->terms);
    return BG_OK;
}

static enum bg_status check_shift(int64_t channel, int lowest, int shift)
{
    if (shift >= lowest && shift <= 62)
        return BG_OK;
    return bg_fail(BG_E_DATA, "channel %lld: a shift by %d is outside %d to 62", (long long)channel,
                   shift, lowest);
}

static int exponent_of(const struct bg_judge_term *term, int64_t channel)
{
    int exponent = 0;

    (void)frexp((double)term->m[channel], &exponent);
    return exponent;
}

static enum bg_status fit_single(const struct bg_judge_piece *piece, int64_t channel)
{
    enum bg_status rc = BG_OK;
    int largest = 0;

    for (int i = 0; i < piece->terms; i++) {
        int exponent = exponent_of(&piece->term[i], channel);
        largest = i == 0 || exponent > largest ? exponent : largest;
        /* m has 24 bits: the largest multiplier is exact and never 2^31. */
        TRY(set_bias(&piece->term[i], channel, (double)piece->term[i].m[channel]));
    }
    TRY(check_shift(channel, 1, 31 - largest));
    piece->right[channel] = 31 - largest;
    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        term->left[channel] = 0;
        term->multiplier[channel] =
            (int64_t)nearbyint((double)term->m[channel] * power(31 - largest));
    }
    TRY(check_sum(piece, channel));
out:
    return rc;
}

static int bit_length(int64_t x)
{
    int bits = 0;

    for (; x > 0; x /= 2)
        bits++;
    return bits;
}

static enum bg_status fit_double(const struct bg_judge_piece *piece, int64_t channel)
{
    enum bg_status rc = BG_OK;
    int fraction = 31;

    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        int room = -exponent_of(term, channel);
        TRY(set_bias(term, channel, (double)term->m[channel]));
        if (piece->terms > 1)
            room += 28 - bit_length(reach(term, channel));
        fraction = room < fraction ? room : fraction;
    }
    fraction = fraction < 0 ? 0 : fraction;
    piece->right[channel] = fraction;
    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        int left = exponent_of(term, channel) + fraction;
        /* f * 2^31 is m * 2^(31 - e); it has 24 bits and is exact. */
        int lift = left < 0 ? 31 + fraction : 31 + fraction - left;
        left = left < 0 ? 0 : left;
        term->left[channel] = left;
        term->multiplier[channel] = (int64_t)nearbyint((double)term->m[channel] * power(lift));
        if (!((double)reach(term, channel) * power(left) < S32_END))
            FAIL(BG_E_DATA, "channel %lld: sums to %lld shifted by %d do not fit s32",
                 (long long)channel, (long long)reach(term, channel), left);
    }
out:
    return rc;
}

static enum bg_status fit_power(const struct bg_judge_piece *piece, int64_t channel)
{
    enum bg_status rc = BG_OK;
    int nearest[BG_REQUANT_TERMS] = {0}, right = 0;

    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        double f = frexp((double)term->m[channel], &nearest[i]);
        if (f < sqrt(0.5))
            nearest[i]--;
        TRY(set_bias(term, channel, power(nearest[i])));
        right = -nearest[i] > right ? -nearest[i] : right;
    }
    TRY(check_shift(channel, 0, right));
    piece->right[channel] = right;
    for (int i = 0; i < piece->terms; i++) {
        piece->term[i].left[channel] = right + nearest[i];
        piece->term[i].multiplier[channel] = 1;
    }
    TRY(check_sum(piece, channel));
out:
    return rc;
}

enum bg_status bg_judge_fit(const struct bg_judge_piece *piece, enum bg_requant_mode mode,
                            int64_t channel)
{
    if (mode == BG_REQUANT_FIXED_SINGLE)
        return fit_single(piece, channel);
    if (mode == BG_REQUANT_FIXED_DOUBLE)
        return fit_double(piece, channel);
    return fit_power(piece, channel);
}

static int64_t floor_quotient(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* To nearest, ties to even. */
static int64_t even_quotient(int64_t a, int64_t b)
{
    int64_t down = floor_quotient(a, b), rest = a - down * b, left = b - rest;

    if (rest > left)
        return down + 1;
    return rest == left && down % 2 != 0 ? down + 1 : down;
}

/* To nearest, ties away from zero. */
static int64_t away_quotient(int64_t a, int64_t b)
{
    int64_t size = a < 0 ? -a : a, up = (size + b / 2) / b;

    return a < 0 ? -up : up;
}

/* The rounding high multiplication of TensorFlow Lite. */
static int64_t high_product(int64_t a, int64_t b)
{
    int64_t product = a * b, nudge = product >= 0 ? 1 << 30 : 1 - (1 << 30);

    return (product + nudge) / integer_power(31);
}

static int64_t rounded_sum(const struct bg_judge_piece *piece, enum bg_requant_mode mode,
                           int64_t channel, const double acc[BG_REQUANT_TERMS])
{
    int64_t sum = 0, divisor = integer_power(piece->right[channel]);

    for (int i = 0; i < piece->terms; i++) {
        const struct bg_judge_term *term = &piece->term[i];
        int64_t x = ((int64_t)acc[i] + term->bias[channel]) * integer_power(term->left[channel]);
        sum += mode == BG_REQUANT_FIXED_DOUBLE ? high_product(x, term->multiplier[channel])
                                               : x * term->multiplier[channel];
    }
    if (mode == BG_REQUANT_FIXED_SINGLE)
        return floor_quotient(sum + divisor / 2, divisor);
    return mode == BG_REQUANT_FIXED_DOUBLE ? away_quotient(sum, divisor)
                                           : even_quotient(sum, divisor);
}

float bg_judge_real(const struct bg_judge_piece *piece, int64_t channel,
                    const double acc[BG_REQUANT_TERMS])
{
    float v = 0.0f;

    for (int i = 0; i < piece->terms; i++) {
        float product = (float)acc[i] * piece->term[i].m[channel];
        float part = product + piece->term[i].c[channel];
        v = i == 0 ? part : v + part;
    }
    return v;
}

uint8_t bg_judge_code(const struct bg_judge_piece *piece, enum bg_requant_mode mode,
                      int64_t channel, const double acc[BG_REQUANT_TERMS])
{
    int64_t lo = piece->lo - piece->zero_point, hi = piece->hi - piece->zero_point, q = 0;

    if (mode == BG_REQUANT_F32_RNE) {
        float v = bg_judge_real(piece, channel, acc);
        v = v < (float)lo ? (float)lo : v;
        v = v > (float)hi ? (float)hi : v;
        q = (int64_t)nearbyintf(v);
    } else {
        q = rounded_sum(piece, mode, channel, acc);
        q = q < lo ? lo : q;
        q = q > hi ? hi : q;
    }
    return (uint8_t)(piece->zero_point + q);
}
