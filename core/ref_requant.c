/* Naive requantisation: one element at a time, each step as core/NUMERICS.md writes it ("Integer
 * evaluation"), with divisions where the kernels shift. Numbers must have passed bg_requant_fit;
 * then no step leaves s64. A v that is no number (infinities of two signs met) gives lo. */
#include "core/requant.h"

#include <stddef.h>

#include "core/round.h"

/* Terms of one element: the accumulators, and where their numbers stand. */
struct element {
    const struct bg_requant *requant;
    int64_t channel;
    int32_t acc[BG_REQUANT_TERMS];
};

static int32_t hold(const struct bg_requant *requant, int64_t code)
{
    return code < requant->lo ? requant->lo : code > requant->hi ? requant->hi : (int32_t)code;
}

static int64_t power(int32_t exponent)
{
    return (int64_t)1 << exponent;
}

/* acc + bias */
static int64_t biased(const struct element *e, int t)
{
    return (int64_t)e->acc[t] + e->requant->term[t].bias[e->channel];
}

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int32_t code_f32(const struct element *e)
{
    const struct bg_requant *requant = e->requant;
    const float low = (float)(requant->lo - requant->zero_point);
    const float high = (float)(requant->hi - requant->zero_point);
    float v = 0.0f;

    for (int t = 0; t < requant->terms; t++) {
        float value = (float)e->acc[t] * requant->term[t].m[e->channel];
        value = value + requant->term[t].c[e->channel];
        v = t == 0 ? value : v + value;
    }
    v = v > low ? v : low;
    v = v < high ? v : high;
    return requant->zero_point + (int32_t)bg_rne(v);
}

static int32_t code_single(const struct element *e)
{
    const struct bg_requant *requant = e->requant;
    int32_t shift = requant->shift[e->channel];
    int64_t sum = 0;

    for (int t = 0; t < requant->terms; t++)
        sum += biased(e, t) * requant->term[t].multiplier[e->channel];
    return hold(requant, requant->zero_point + floor_divide(sum + power(shift - 1), power(shift)));
}

static int64_t high_multiply(int64_t a, int64_t b)
{
    int64_t product = a * b;

    return (product + (product >= 0 ? power(30) : 1 - power(30))) / power(31);
}

static int32_t code_double(const struct element *e)
{
    const struct bg_requant *requant = e->requant;
    int64_t unit = power(requant->shift[e->channel]), sum = 0, size;

    for (int t = 0; t < requant->terms; t++) {
        const struct bg_requant_term *term = &requant->term[t];
        sum += high_multiply(biased(e, t) * power(term->shift[e->channel]),
                             term->multiplier[e->channel]);
    }
    size = ((sum < 0 ? -sum : sum) + unit / 2) / unit;
    return hold(requant, requant->zero_point + (sum < 0 ? -size : size));
}

static int32_t code_pow2(const struct element *e)
{
    const struct bg_requant *requant = e->requant;
    int64_t unit = power(requant->shift[e->channel]), sum = 0, quotient, rest;

    for (int t = 0; t < requant->terms; t++)
        sum += biased(e, t) * power(requant->term[t].shift[e->channel]);
    quotient = floor_divide(sum, unit);
    rest = sum - quotient * unit;
    if (rest > unit - rest || (rest == unit - rest && quotient % 2 != 0))
        quotient++;
    return hold(requant, requant->zero_point + quotient);
}

void bg_ref_requant_run(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                        int64_t rows, uint8_t *out, int64_t stride)
{
    static int32_t (*const code_of[BG_REQUANT_MODES])(const struct element *e) = {
        [BG_REQUANT_F32_RNE] = code_f32,
        [BG_REQUANT_FIXED_SINGLE] = code_single,
        [BG_REQUANT_FIXED_DOUBLE] = code_double,
        [BG_REQUANT_POW2_RNE] = code_pow2,
    };

    for (int64_t row = 0; row < rows; row++)
        for (int64_t channel = 0; channel < requant->channels; channel++) {
            struct element e = {.requant = requant, .channel = channel};
            int64_t at = row * requant->channels + channel;
            for (int t = 0; t < requant->terms; t++)
                e.acc[t] = inputs[t].acc != NULL ? inputs[t].acc[at]
                                                 : inputs[t].codes[at] - inputs[t].zero_point;
            out[row * stride + channel] = (uint8_t)code_of[requant->mode](&e);
        }
}
