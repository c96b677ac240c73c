/* Number types, shapes and rounding. */
#include "core/round.h"
#include "core/tensor.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(tensor, number_types_have_names_and_sizes)
{
    static const char *const names[] = {"f32", "bf16", "s8", "u8", "s16", "s32"};
    static const size_t sizes[] = {4, 2, 1, 1, 2, 4};

    for (int i = 0; i < BG_DTYPES; i++) {
        cr_assert_str_eq(bg_dtype_name((enum bg_dtype)i), names[i]);
        cr_assert_eq(bg_dtype_size((enum bg_dtype)i), sizes[i]);
    }
    cr_assert_str_eq(bg_dtype_name((enum bg_dtype)99), "unknown");
    cr_assert_eq(bg_dtype_size((enum bg_dtype) - 1), 0);
}

static float from_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

Test(tensor, bf16_rounds_to_nearest_even_and_keeps_nan)
{
    cr_assert_eq(bg_bf16_from_f32(1.0f), 0x3f80);
    cr_assert_eq(bg_bf16_from_f32(-0.0f), 0x8000);
    cr_assert_eq(bg_bf16_from_f32(from_bits(0x3f808000)), 0x3f80); /* tie to even, down */
    cr_assert_eq(bg_bf16_from_f32(from_bits(0x3f818000)), 0x3f82); /* tie to even, up */
    cr_assert_eq(bg_bf16_from_f32(from_bits(0x3f808001)), 0x3f81);
    cr_assert_eq(bg_bf16_from_f32(from_bits(0x7f7fffff)), 0x7f80); /* overflow to infinity */
    cr_assert_eq(bg_bf16_from_f32(INFINITY), 0x7f80);
    cr_assert_eq(bg_bf16_from_f32(from_bits(0x00008001)), 0x0001); /* subnormal */
    for (uint32_t bits = 0x7f800001; bits < 0x7fffffff; bits += 0x1235) {
        cr_assert(isnan(bg_bf16_to_f32(bg_bf16_from_f32(from_bits(bits)))));
        cr_assert(isnan(bg_bf16_to_f32(bg_bf16_from_f32(from_bits(bits | 0x80000000u)))));
    }
}

Test(tensor, every_bf16_survives_the_way_through_f32)
{
    for (uint32_t code = 0; code <= 0xffff; code++) {
        float value = bg_bf16_to_f32((uint16_t)code);
        if (!isnan(value))
            cr_assert_eq(bg_bf16_from_f32(value), code);
    }
}

Test(tensor, shapes_are_counted_compared_and_shown)
{
    const struct bg_shape a = {4, {128, 28, 28, 16}}, b = {4, {128, 28, 28, 17}}, scalar = {0, {0}};
    const struct bg_shape shorter = {3, {128, 28, 28}};
    char text[64];

    cr_assert_eq(bg_shape_count(&a), 1605632);
    cr_assert_eq(bg_shape_count(&scalar), 1);
    cr_assert(bg_shape_equal(&a, &a));
    cr_assert_not(bg_shape_equal(&a, &b));
    cr_assert_not(bg_shape_equal(&a, &shorter));
    cr_assert_str_eq(bg_shape_text(&a, text), "128x28x28x16");
    cr_assert_str_eq(bg_shape_text(&scalar, text), "scalar");
}

Test(tensor, impossible_shapes_are_refused_by_name)
{
    struct bg_shape shape = {2, {3, 0}};
    char text[64];

    cr_assert_eq(bg_shape_check(&shape, "conv3.weight"), BG_E_SHAPE);
    cr_assert_str_eq(bg_error(), "conv3.weight: shape 3x0: dimension 1 is 0, must be at least 1");
    shape = (struct bg_shape){4, {1 << 20, 1 << 20, 1, 1}};
    cr_assert_eq(bg_shape_check(&shape, "x"), BG_OK);
    shape.dims[3] = 2;
    cr_assert_eq(bg_shape_check(&shape, "x"), BG_E_SHAPE);
    cr_assert_str_eq(bg_error(), "x: shape 1048576x1048576x1x2: limit is 2^40 elements");
    shape = (struct bg_shape){4, {INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN}};
    cr_assert_eq(bg_shape_check(&shape, "x"), BG_E_SHAPE);
    cr_assert_eq(strlen(bg_shape_text(&shape, text)), 63); /* cut, not overrun */
    shape.rank = 5;
    cr_assert_eq(bg_shape_check(&shape, "x"), BG_E_SHAPE);
    cr_assert_str_eq(bg_error(), "x: 5 dimensions: limit is 4");
}

static void expect_bits(float got, float wanted)
{
    cr_assert_eq(memcmp(&got, &wanted, sizeof got), 0, "%a is not %a", (double)got, (double)wanted);
}

Test(round, ties_signs_and_special_values)
{
    static const struct {
        float x, nearest, zero, floor;
    } rows[] = {
        {0.5f, 0.0f, 0.0f, 0.0f},
        {1.5f, 2.0f, 1.0f, 1.0f},
        {2.5f, 2.0f, 2.0f, 2.0f},
        {-0.5f, -0.0f, -0.0f, -1.0f},
        {-1.5f, -2.0f, -1.0f, -2.0f},
        {-2.5f, -2.0f, -2.0f, -3.0f},
        {-0.0f, -0.0f, -0.0f, -0.0f},
        {0.49999997f, 0.0f, 0.0f, 0.0f},
        {8388609.0f, 8388609.0f, 8388609.0f, 8388609.0f},
        {INFINITY, INFINITY, INFINITY, INFINITY},
        {-3e38f, -3e38f, -3e38f, -3e38f},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        expect_bits(bg_rne(rows[i].x), rows[i].nearest);
        expect_bits(bg_round(rows[i].x, BG_ROUND_NEAREST, 123), rows[i].nearest);
        expect_bits(bg_round(rows[i].x, BG_ROUND_ZERO, 123), rows[i].zero);
        expect_bits(bg_round(rows[i].x, BG_ROUND_FLOOR, 123), rows[i].floor);
    }
    for (int mode = 0; mode < BG_ROUNDINGS; mode++) {
        cr_assert(isnan(bg_round(NAN, (enum bg_rounding)mode, 0)));
        expect_bits(bg_round(-0.0f, (enum bg_rounding)mode, 0), -0.0f);
        expect_bits(bg_round(-INFINITY, (enum bg_rounding)mode, UINT32_MAX), -INFINITY);
    }
    cr_assert_str_eq(bg_rounding_names[BG_ROUND_STOCHASTIC], "stochastic");
}

Test(round, stochastic_goes_up_for_exactly_the_fraction_of_words)
{
    static const float fractions[] = {0.25f, 0.5f, 0.123f, 0x1p-24f, 1.0f - 0x1p-24f};

    for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
        /* up exactly for random >> 8 below fraction * 2^24 */
        uint32_t first_down = (uint32_t)ceil((double)fractions[i] * 16777216.0);
        cr_assert_eq(bg_round(fractions[i], BG_ROUND_STOCHASTIC, (first_down - 1) << 8), 1.0f);
        if (first_down < 1u << 24)
            cr_assert_eq(bg_round(fractions[i], BG_ROUND_STOCHASTIC, first_down << 8), 0.0f);
    }
    for (uint32_t random = 0; random < 0xff000000u; random += 0x01000000u) {
        cr_assert_eq(bg_round(-3.0f, BG_ROUND_STOCHASTIC, random), -3.0f);
        cr_assert_eq(bg_round(-2.75f, BG_ROUND_STOCHASTIC, random),
                     random >> 24 < 64 ? -2.0f : -3.0f);
    }
}
