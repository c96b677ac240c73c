/* Weights and buffers in floating point (P3 of policies/METHODS.md) as training calls them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/integer_update.h"
#include "core/rng.h"
#include "core/store.h"
#include "tests/support_update.h"

static const struct bg_store_spec half_precision = {
    .bits = 16, .buffer = 24, .exponent = {5, 5}, .over = 3};

Test(threshold_float, vector_4_a_float16_weight_takes_what_naive_adding_loses)
{
    struct update_fixture f;
    double naive = 1.0;
    update_make_floats(&f, &half_precision, 1, 1.0);
    update_choose(&f, "threshold", "{momentum: 0, form: float, bits: 24}");
    bg_store_put(f.param.store, NULL, 0, 1.0f);
    for (int step = 1; step <= 7; step++) {
        OK(update_move(&f, 3e-4));
        cr_assert(update_real(&f, BG_FLOAT_WEIGHT, 0) == (step < 4   ? 1.0
                                                          : step < 7 ? 1.0009765625
                                                                     : 1.001953125));
        /* 4 sums, each rounded to 19 bits at less than 2^-9, and 3e-4 to 24 */
        if (step == 4)
            cr_assert(fabs(update_real(&f, BG_FLOAT_BUFFER, 0) - 2.234375e-4) <
                      4 * 0x1p-28 + 1e-10);
    }
    cr_assert(f.param.store->written == 2 && f.param.store->saturated == 0);
    const struct bg_float_format float16 = {.mantissa = 10, .least = -14, .top = 15};
    for (int step = 0; step < 1000; step++)
        naive = bg_float_round(&float16, naive + 3e-4, BG_TUNE_NEAREST);
    cr_assert(naive == 1.0 && bg_float_most(&float16) == 65504);
    update_take_down(&f);
}

Test(threshold_float, vector_5_the_second_bias_covers_the_largest_step)
{
    struct update_fixture f;
    update_make_floats(
        &f, &(struct bg_store_spec){.bits = 16, .buffer = 16, .exponent = {5, 5}, .over = 1}, 1,
        1.999);
    const struct bg_float_format buffer = bg_store_format(f.param.store, BG_FLOAT_BUFFER);
    cr_assert(30 - buffer.top == 39 && buffer.least == -38 && buffer.mantissa == 10);
    cr_assert(bg_float_most(&buffer) == (2 - 0x1p-10) * 0x1p-9);
    update_take_down(&f);
}

Test(threshold_float, patterns_stand_for_the_numbers_of_a_format_in_order)
{
    for (int e = 2; e <= 5; e++)
        for (int m = 1; m <= 4; m++) {
            const int binades = (1 << e) - 2, numbers = (binades + 1) << m;
            const struct bg_float_format format = {.mantissa = m, .least = 3 - binades, .top = 2};
            double before = -1;
            for (int p = 0; p < numbers; p++) {
                const double value = bg_float_value(&format, e, (uint32_t)p);
                cr_assert(value > before && bg_float_pattern(&format, e, value) == (uint32_t)p);
                cr_assert(bg_float_value(&format, e, bg_float_pattern(&format, e, -value)) ==
                          -value);
                for (int tune = 0; tune < 3; tune++)
                    cr_assert(bg_float_round(&format, value, (enum bg_tune)tune) == value);
                if (p > 0) /* between two numbers */
                    cr_assert(
                        bg_float_round(&format, (value + 2 * before) / 3, BG_TUNE_NEAREST) ==
                            before &&
                        bg_float_round(&format, (value + before) / 2, BG_TUNE_FLOOR) == before &&
                        bg_float_round(&format, -(value + before) / 2, BG_TUNE_FLOOR) == -value);
                before = value;
            }
            cr_assert(before == bg_float_most(&format));
            cr_assert(bg_float_round(&format, 1e30, BG_TUNE_NEAREST) == before);
        }
}

/* All weights of 1 + 3 + 2 bits with all buffers of 1 + 3 + 3: equal to the scalar form, and weight
 * and buffer together keep their value, less what a weight at its end cannot take. */
Test(threshold_float, every_pair_of_small_floats_moves_exactly)
{
    static const char *const rules[] = {"trunc", "nearest"};
    static const enum bg_fire fires[] = {BG_FIRE_TRUNC, BG_FIRE_NEAREST};
    static struct update_fixture f;
    static double was[MOST][2];
    for (int rule = 0; rule < 2; rule++)
        for (int n = 0; n < 2; n++) {
            char options[128];
            int64_t count = 0, ends = 0, rounded = 0;
            update_make_floats(
                &f, &(struct bg_store_spec){.bits = 6, .buffer = 7, .exponent = {3, 3}, .over = 3},
                56 * 112, 1.0);
            snprintf(options, sizeof options,
                     "{momentum: 0, form: float, rounding: %s, threshold_bit: %d}", rules[rule], n);
            update_choose(&f, "threshold", options);
            const struct bg_float_format weight = bg_store_format(f.param.store, BG_FLOAT_WEIGHT);
            const struct bg_float_format buffer = bg_store_format(f.param.store, BG_FLOAT_BUFFER);
            for (int w = 0; w < 64; w++)
                for (int a = 0; a < 128; a++) /* the largest field stands for no number */
                    if (((w >> 2) & 7) != 7 && ((a >> 3) & 7) != 7)
                        bg_store_set(f.param.store, count++, w, a);
            cr_assert(count == 56 * 112 && bg_store_valid(f.param.store, NULL, "w") == BG_OK);
            for (int64_t i = 0; i < count; i++) {
                was[i][0] = update_real(&f, BG_FLOAT_WEIGHT, i);
                was[i][1] = update_real(&f, BG_FLOAT_BUFFER, i);
            }
            OK(update_move(&f, 0));
            for (int64_t i = 0; i < count; i++) {
                const struct bg_float_buffer from = {.weight = was[i][0], .sum = was[i][1]};
                const struct bg_float_buffer to =
                    bg_threshold_float(&from, &weight, &buffer, n, fires[rule]);
                const double w = update_real(&f, BG_FLOAT_WEIGHT, i);
                const double a = update_real(&f, BG_FLOAT_BUFFER, i);
                const double theta = ldexp(bg_float_step(w, 2, weight.least), n);
                cr_assert(w == to.weight && a == to.sum, "%g, %g to %g, %g, wanted %g, %g",
                          was[i][0], was[i][1], w, a, to.weight, to.sum);
                /* From a buffer far beyond theta more bits may stay than it has: half of its last
                 */
                const double apart = fabs(w + a + to.dropped - was[i][0] - was[i][1]);
                const double first = bg_float_step(was[i][0], 2, weight.least);
                cr_assert(
                    apart <=
                    (fabs(was[i][1]) < 8 * first ? 0 : bg_float_step(a, 3, buffer.least) / 2));
                rounded += apart != 0;
                cr_assert((to.dropped != 0) <= (fabs(w) == bg_float_most(&weight)));
                if (rule == 0 && fabs(was[i][1]) < theta && was[i][0] == w)
                    cr_assert(a == was[i][1], "nothing moves below the threshold");
                ends += to.dropped != 0;
            }
            cr_assert(f.param.store->saturated == ends && ends > 0 && rounded < count / 20);
            cr_assert(bg_store_valid(f.param.store, NULL, "w") == BG_OK, "%s", bg_error());
            update_take_down(&f);
        }
}

/* Steps of all sizes by every tuning, against the scalar form. */
Test(threshold_float, equals_one_weight_at_a_time)
{
    static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic"};
    static const int formats[][4] = {{16, 24, 5, 5}, {8, 16, 4, 6}, {6, 8, 2, 2}, {16, 16, 2, 6}};
    static struct update_fixture f;
    for (int k = 0; k < 4; k++)
        for (int t = 0; t < 4; t++) {
            const int *bits = formats[k];
            char options[160];
            update_make_floats(
                &f,
                &(struct bg_store_spec){
                    .bits = bits[0], .buffer = bits[1], .exponent = {bits[2], bits[3]}, .over = 3},
                MANY, 0.3);
            snprintf(options, sizeof options, "{momentum: 0, form: float, tune: %s, period: 2}",
                     tunes[t]);
            update_choose(&f, "threshold", options);
            const struct bg_float_format weight = bg_store_format(f.param.store, BG_FLOAT_WEIGHT);
            const struct bg_float_format buffer = bg_store_format(f.param.store, BG_FLOAT_BUFFER);
            for (uint64_t i = 0; i < MANY; i++) {
                const struct bg_rng rng = {.seed = 9, .stream = BG_STREAM_TEST};
                bg_store_put(f.param.store, NULL, (int64_t)i, (float)bg_rng_normal(&rng, i) * 0.1f);
            }
            for (uint32_t s = 0; s < 10; s++) {
                const struct bg_rng rng = {.seed = 10, .stream = BG_STREAM_TEST, .step = s};
                const struct bg_rng draw = {
                    .seed = bg_rng_hash(5, "w"), .stream = BG_STREAM_ROUNDING, .step = s};
                static struct bg_float_buffer wanted[MANY];
                for (int64_t i = 0; i < MANY; i++) {
                    const float a = (float)update_real(&f, BG_FLOAT_BUFFER, i);
                    f.grad[i] = (float)ldexp(bg_rng_normal(&rng, (uint64_t)i), -(int)(i % 40));
                    const double sum = (double)(a - f.grad[i]);
                    wanted[i].weight = update_real(&f, BG_FLOAT_WEIGHT, i);
                    wanted[i].sum =
                        t < 3 ? bg_float_round(&buffer, sum, (enum bg_tune)t)
                              : bg_float_chance(&buffer, sum,
                                                (double)bg_rng_uniform(&draw, (uint64_t)i));
                    if (s % 2 == 1)
                        wanted[i] =
                            bg_threshold_float(&wanted[i], &weight, &buffer, 0, BG_FIRE_TRUNC);
                }
                const enum bg_status rc = update_move(&f, EACH_ITS_OWN);
                cr_assert(rc == BG_OK || rc == BG_E_RANGE, "%s", bg_error()); /* it has moved */
                for (int64_t i = 0; i < MANY; i++)
                    cr_assert(update_real(&f, BG_FLOAT_WEIGHT, i) == wanted[i].weight &&
                                  update_real(&f, BG_FLOAT_BUFFER, i) == wanted[i].sum,
                              "format %d, %s, step %d, weight %d", k, tunes[t], (int)s, (int)i);
            }
            cr_assert(f.param.store->written > 0 && f.param.store->lost > 0);
            update_take_down(&f);
        }
}

/* A million steps that are multiples of 2^-28 lose nothing: 1 + 18 bits hold all sums below 2^-9.
 */
Test(threshold_float, conserves_steps_that_the_buffer_can_hold)
{
    static struct update_fixture f;
    static double total[100];
    const struct bg_rng rng = {.seed = 12, .stream = BG_STREAM_TEST};
    update_make_floats(&f, &half_precision, 100, 1.9);
    update_choose(&f, "threshold", "{momentum: 0, form: float, bits: 24}");
    for (int64_t i = 0; i < 100; i++) {
        bg_store_put(f.param.store, NULL, i, 1.5f);
        total[i] = 1.5;
    }
    for (uint64_t s = 0; s < 10000; s++) {
        for (uint64_t i = 0; i < 100; i++) { /* below 2^-12: no weight leaves [1, 2) */
            const double u = ((double)bg_rng_below(&rng, 100 * s + i, 131071) - 65535) * 0x1p-28;
            f.grad[i] = (float)-u;
            total[i] += u;
        }
        OK(update_move(&f, EACH_ITS_OWN));
    }
    for (int64_t i = 0; i < 100; i++) {
        const double a = update_real(&f, BG_FLOAT_BUFFER, i);
        cr_assert(update_real(&f, BG_FLOAT_WEIGHT, i) + a == total[i] && fabs(a) < 0x1p-10);
    }
    cr_assert(f.param.store->lost == 0 && f.param.store->saturated == 0);
    update_take_down(&f);
}

Test(threshold_float, refuses_formats_and_options_that_cannot_be)
{
    static const struct {
        struct bg_store_spec spec;
        enum bg_status rc;
    } bad[] = {{{.bits = 16, .buffer = 16, .exponent = {6, 5}}, BG_E_RANGE},
               {{.bits = 16, .buffer = 16, .exponent = {5, 1}}, BG_E_RANGE},
               {{.bits = 6, .buffer = 16, .exponent = {5, 5}}, BG_E_RANGE},
               {{.bits = 17, .buffer = 16, .exponent = {5, 5}}, BG_E_RANGE},
               {{.bits = 16, .buffer = 25, .exponent = {5, 5}}, BG_E_RANGE},
               {{.bits = 16, .buffer = 16, .exponent = {5, 5}, .momentum = BG_STORE_MOMENTUM_S16},
                BG_E_UNSUPPORTED}};
    static const char *const options[][2] = {
        {"{form: float, quantise: gradient}", "quantise: gradient is of integers"},
        {"{form: float, grid: power-of-two}", "a grid is of integers"},
        {"{form: float, rounding: bit-rule}", "rounding: bit-rule is of integers"},
        {"{form: float, adapt: true}", "adapt is of integers"},
        {"{form: float, rounding: floor}", "rounding: floor is of integers"},
        {"{}", "u=threshold moves weights with w=f32 by form: float alone, the form is integer"}};
    struct update_fixture f;
    for (int i = 0; i < 6; i++) {
        struct bg_store_spec spec = bad[i].spec;
        spec.form = BG_STORE_FLOAT;
        cr_assert(bg_store_check(&spec) == bad[i].rc, "%d", i);
    }
    for (int i = 0; i < 6; i++) {
        update_make_floats(&f, &half_precision, 1, 1.0);
        update_choose(&f, "threshold", options[i][0]);
        cr_assert(f.method->prepare(f.options, &f.param, 0, false) == BG_E_UNSUPPORTED);
        cr_assert(strstr(bg_error(), options[i][1]), "%s", bg_error());
        update_take_down(&f);
    }
    update_make_floats(&f, &half_precision, 1, 1.0);
    cr_assert(bg_store_place(f.param.store, 1e-32) == BG_E_RANGE);
    cr_assert(bg_store_place(f.param.store, 1e38) == BG_OK);
    bg_store_set(f.param.store, 0, 0x7c00, 0);
    cr_assert(bg_store_valid(f.param.store, NULL, "w") == BG_E_DATA);
    cr_assert(strstr(bg_error(), "w: weight 0 is beyond the largest number"), "%s", bg_error());
    bg_store_set(f.param.store, 0, 0, 31 << 18);
    cr_assert(bg_store_valid(f.param.store, NULL, "w") == BG_E_DATA);
    update_take_down(&f);
}
