/* Update methods as training calls them: the worked vectors of P3 and P4 (policies/METHODS.md)
 * through options, prepared weights and the pass over many; several gradients per write, points
 * that move, widths that adapt. The scalar definitions have tests of their own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/integer_update.h"
#include "core/rng.h"
#include "core/store.h"
#include "core/store_change.h"
#include "tests/support_update.h"

/* ---- P4 ---- */

/* Gradients are two bits finer than the residual, which has 7: units of 2^-9. */
Test(residual_method, table_of_vectors_several_gradients_per_write)
{
    static const struct {
        int w, r, g[4], count, w_after, r_after;
    } rows[] = {{108, 44, {1203, -10}, 2, 110, 85}, /* 109, -84 after the first cut */
                {-1, 5, {-40}, 1, -2, 123},
                {5, 127, {4}, 1, 6, 0},
                {0, 0, {3, 3, 3, 3}, 4, 0, 0},
                {127, 100, {200}, 1, 127, 127}};
    for (int i = 0; i < 5; i++) {
        struct update_fixture f;
        char options[96];
        const int count = rows[i].count;
        update_make(
            &f,
            &(struct bg_store_spec){
                .form = BG_STORE_SPLIT, .bits = 8, .low = 7, .gradients = count > 1 ? count : 0},
            3, 1.0f);
        snprintf(options, sizeof options,
                 "{momentum: 0, bits: 7, tune: floor, split: floor, gradients: %d}", count);
        update_choose(&f, "residual", options);
        bg_store_set(f.param.store, 1, rows[i].w, rows[i].r);
        for (int g = 0; g < count; g++) {
            update_expect(&f, 1, rows[i].w, rows[i].r); /* nothing is written in between */
            OK(update_move(&f, rows[i].g[g] / 512.0));
        }
        update_expect(&f, 1, rows[i].w_after, rows[i].r_after);
        cr_assert(f.param.store->saturated == (i == 4));
        update_take_down(&f);
    }
}

/* Row 4 again with two bits more in the sum: 3 + 3 + 3 + 3 quarters are 3. */
Test(residual_method, sum_bits_keep_what_single_gradients_would_lose)
{
    struct update_fixture f;
    update_make(&f,
                &(struct bg_store_spec){
                    .form = BG_STORE_SPLIT, .bits = 8, .low = 7, .gradients = 4, .finer = 2},
                1, 1.0f);
    update_choose(&f, "residual",
                  "{momentum: 0, bits: 7, tune: floor, split: floor, gradients: 4, sum_bits: 2}");
    for (int i = 1; i <= 8; i++) {
        OK(update_move(&f, 3 / 512.0));
        update_expect(&f, 0, 0, i < 4 ? 0 : i < 8 ? 3 : 6);
    }
    cr_assert(f.param.store->lost == 0 && f.param.store->kept == 8);
    OK(update_move(&f, 5 / 512.0));
    float real;
    bg_param_read(&f.param, 0, 1, &real); /* what waits is in the real value */
    cr_assert(real == 6 / 128.0f + 5 / 512.0f);
    update_take_down(&f);
}

/* The order of gradients is irrelevant, and writing their sum is the scalar mapping form. */
Test(residual_method, sums_equal_the_scalar_form_for_every_tuning)
{
    static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic"};
    static struct update_fixture f;
    static int64_t sum[MANY];
    const int64_t limits[2] = {-128, 127};
    for (int t = 0; t < 4; t++)
        for (int finer = 0; finer <= 8; finer += 4) {
            struct bg_split was[MANY];
            char options[128];
            update_make(
                &f,
                &(struct bg_store_spec){
                    .form = BG_STORE_SPLIT, .bits = 8, .low = 9, .gradients = 3, .finer = finer},
                MANY, 0.25f);
            snprintf(options, sizeof options,
                     "{momentum: 0, bits: 9, tune: %s, split: floor, gradients: 3, sum_bits: %d}",
                     tunes[t], finer);
            update_choose(&f, "residual", options);
            memset(sum, 0, sizeof sum);
            for (uint32_t s = 0; s < 12; s++) {
                const struct bg_rng rng = {.seed = 8, .stream = BG_STREAM_TEST, .step = s};
                const struct bg_rng draw = {
                    .seed = bg_rng_hash(5, "w"), .stream = BG_STREAM_ROUNDING, .step = s};
                for (int64_t i = 0; i < MANY; i++) {
                    f.grad[i] = (float)bg_rng_normal(&rng, (uint64_t)i) * (i % 5 == 0 ? 20 : 0.01f);
                    const float x = -f.grad[i] * ldexpf(4.0f, 9 + finer), down = floorf(x);
                    sum[i] += t == 0   ? (int64_t)nearbyintf(x)
                              : t == 1 ? (int64_t)down
                              : t == 2
                                  ? (int64_t)x
                                  : (int64_t)down + (bg_rng_uniform(&draw, (uint64_t)i) < x - down);
                    if (s % 3 == 0)
                        was[i] = (struct bg_split){bg_store_code(f.param.store, i),
                                                   bg_store_below(f.param.store, i), false};
                }
                OK(update_move(&f, EACH_ITS_OWN));
                for (int64_t i = 0; i < MANY; i++) {
                    const int64_t tuned = bg_tune_bits(sum[i], finer, t == 3 ? 0 : (enum bg_tune)t);
                    const struct bg_split to =
                        s % 3 == 2 ? bg_residual_mapping(&was[i], tuned, 9, limits) : was[i];
                    update_expect(&f, i, (int32_t)to.weight, (int32_t)to.low);
                    cr_assert(f.param.store->sum[i] == (s % 3 == 2 ? 0 : sum[i]));
                    sum[i] = s % 3 == 2 ? 0 : sum[i];
                }
            }
            update_take_down(&f);
        }
}

Test(residual_method, refuses_sums_that_cannot_be)
{
    static const struct {
        struct bg_store_spec spec;
        enum bg_status rc;
    } bad[] = {{{.bits = 8, .low = 24, .gradients = 64}, BG_E_RANGE},
               {{.bits = 8, .low = 16, .gradients = 64, .finer = 8}, BG_E_RANGE},
               {{.bits = 8, .low = 8, .gradients = 2, .finer = 9}, BG_E_RANGE},
               {{.bits = 8, .low = 8, .gradients = 1}, BG_E_UNSUPPORTED},
               {{.form = BG_STORE_BUFFER, .bits = 8, .low = 8, .buffer = 12, .gradients = 2},
                BG_E_UNSUPPORTED}};
    struct update_fixture f;
    for (int i = 0; i < 5; i++)
        cr_assert(bg_store_check(&bad[i].spec) == bad[i].rc, "%d", i);
    cr_assert(bg_store_check(&(struct bg_store_spec){.bits = 8, .low = 24, .gradients = 63}) ==
              BG_OK);
    update_make(&f, &(struct bg_store_spec){.bits = 8, .low = 8}, 1, 1.0f);
    update_choose(&f, "residual", "{sum_bits: 2}");
    cr_assert(f.method->prepare(f.options, &f.param, 8, false) == BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "w: sum_bits: 2 without a sum: gradients is 1");
    f.param.store->spec.gradients = 0;
    update_take_down(&f);
}

/* Other widths in the middle of a sum: weights and what waits keep their values. */
Test(residual_method, sums_that_wait_go_along_to_other_widths)
{
    static const struct {
        struct bg_store_spec to;
        int times; /* a new last bit fits into the old one; 0 = refused */
        const char *sentence;
    } cases[] = {
        {{.bits = 4, .low = 12, .gradients = 4}, 1, NULL},
        {{.bits = 4, .low = 14, .gradients = 3}, 4, NULL},
        {{.bits = 8, .low = 8, .gradients = 4, .finer = 3}, 8, NULL},
        {{.bits = 4, .low = 12},
         0,
         "w: gradients of 4 steps to one write wait, the new options write each"},
        {{.bits = 16, .low = 24, .gradients = 9},
         0,
         "w: gradients that wait for their write are 2.74878e+11 last bits of weight 0, whole "
         "numbers up to 1073741823 can be kept"}};
    struct update_fixture f;
    float was[20], now[20];
    update_make(&f, &(struct bg_store_spec){.bits = 8, .low = 8, .gradients = 4}, 20, 0.5f);
    for (int i = 0; i < 20; i++) {
        bg_store_set(f.param.store, i, i / 4 - 2, 11 * i);
        f.param.store->sum[i] = (1 << 14) - 100 * i;
    }
    bg_param_read(&f.param, 0, 20, was);
    for (int k = 0; k < 5; k++) {
        struct bg_quantizer to = {.grid = {.channels = 1}};
        struct bg_store *store = NULL;
        float scale = 0;
        OK(bg_grid_limits(&to.grid, cases[k].to.bits, true, true));
        to.grid.channels = 1;
        to.grid.scale = &scale;
        const struct bg_store_change change = {.from = f.param.store,
                                               .on = &f.quantizer.grid,
                                               .to = cases[k].to,
                                               .grid = &to.grid,
                                               .name = "w"};
        const enum bg_status rc = bg_store_convert(&change, &scale, &store);
        if (cases[k].times == 0) {
            cr_assert(rc == BG_E_RANGE && store == NULL);
            cr_assert_str_eq(bg_error(), cases[k].sentence);
            continue;
        }
        OK(rc);
        for (int i = 0; i < 20; i++)
            cr_assert(store->sum[i] == cases[k].times * f.param.store->sum[i]);
        bg_store_decode(store, &to.grid, 0, 20, now);
        cr_assert(memcmp(was, now, sizeof now) == 0);
        bg_store_free(store);
    }
    update_take_down(&f);
}

/* ---- P3 ---- */

/* theta = 16: 4 bits below the weight; vectors 1 and 7. */
Test(threshold_method, vectors_1_and_7_through_training)
{
    static const int u[6] = {5, 5, 7, -3, -22, 1};
    static const struct {
        const char *rounding;
        int state[6][2];
    } cases[] = {{"trunc", {{0, 5}, {0, 10}, {1, 1}, {1, -2}, {0, -8}, {0, -7}}},
                 {"nearest", {{0, 5}, {1, -6}, {1, 1}, {1, -2}, {0, -8}, {0, -7}}},
                 {"floor", {{0, 5}, {0, 10}, {1, 1}, {0, 14}, {-1, 8}, {-1, 9}}}};
    static const struct bg_store_spec spec = {
        .form = BG_STORE_BUFFER, .bits = 8, .low = 4, .buffer = 8};
    struct update_fixture f;
    for (int c = 0; c < 3; c++) {
        char options[64];
        update_make(&f, &spec, 2, 1.0f);
        snprintf(options, sizeof options, "{momentum: 0, bits: 8, rounding: %s}",
                 cases[c].rounding);
        update_choose(&f, "threshold", options);
        for (int i = 0; i < 6; i++) {
            OK(update_move(&f, u[i] / 16.0));
            update_expect(&f, 1, cases[c].state[i][0], cases[c].state[i][1]);
        }
        update_take_down(&f);
    }
    update_make(&f, &spec, 2, 1.0f);
    update_choose(&f, "threshold", "{momentum: 0, bits: 8}");
    bg_store_set(f.param.store, 0, 126, 50);
    bg_store_set(f.param.store, 1, -127, -70);
    OK(update_move(&f, 0));
    update_expect(&f, 0, 127, 2);
    update_expect(&f, 1, -128, -6);
    cr_assert(f.param.store->saturated == 2);
    update_take_down(&f);
}

/* 16-bit words: 1 + 4 + 11 bits and a buffer of 1 + 15 at 2^-9 to 2^-23. */
Test(threshold_method, vector_2_fixed_point_words_through_training)
{
    static const struct {
        int w, a;
        const char *rounding;
        int w_after, a_after;
    } cases[] = {{0x0400, 0x1388, "bit-rule", 0x0401, 0x0388},
                 {0x0400, -5000, "bit-rule", 0x03ff, -904},
                 {-1, 9000, "bit-rule", 1, 808},
                 {0, -4096, "trunc", -1, 0},
                 {0, -4096, "bit-rule", 0, -4096},
                 {0, 4096, "trunc", 1, 0},
                 {0, 4096, "bit-rule", 1, 0}};
    for (int i = 0; i < 7; i++) {
        struct update_fixture f;
        char options[80];
        update_make(
            &f,
            &(struct bg_store_spec){.form = BG_STORE_BUFFER, .bits = 16, .low = 12, .buffer = 16},
            1, 0x1p-11f);
        snprintf(options, sizeof options, "{momentum: 0, form: fixed, rounding: %s}",
                 cases[i].rounding);
        update_choose(&f, "threshold", options);
        bg_store_set(f.param.store, 0, cases[i].w, cases[i].a - 7);
        OK(update_move(&f, 7 * 0x1p-23)); /* the update that completes the sum */
        update_expect(&f, 0, cases[i].w_after, cases[i].a_after);
        update_take_down(&f);
    }
}

/* Every byte of the toy buffer (sign, 3 overlap, 4 low) but -128, which a buffer never holds. */
Test(threshold_method, vector_3_every_byte_of_the_toy_buffer_by_every_rule)
{
    static const char *const rules[] = {"trunc", "bit-rule", "nearest", "floor"};
    for (int rule = 0; rule < 4; rule++) {
        struct update_fixture f;
        char options[64];
        update_make(
            &f, &(struct bg_store_spec){.form = BG_STORE_BUFFER, .bits = 8, .low = 4, .buffer = 8},
            255, 1.0f);
        snprintf(options, sizeof options, "{momentum: 0, bits: 8, rounding: %s}", rules[rule]);
        update_choose(&f, "threshold", options);
        for (int a = -127; a <= 127; a++)
            bg_store_set(f.param.store, a + 127, 0, a);
        OK(update_move(&f, 0));
        for (int a = -127; a <= 127; a++) {
            const int64_t moved = bg_threshold_effective(a, 4, (enum bg_fire)rule);
            update_expect(&f, a + 127, (int32_t)(moved / 16), (int32_t)(a - moved));
        }
        update_expect(&f, 127 - 24,
                      rule == 0   ? -1
                      : rule == 1 ? -1
                      : rule == 2 ? -1
                                  : -2,
                      rule == 2   ? -8
                      : rule == 3 ? 8
                                  : -8);
        update_expect(&f, 127 - 32, rule == 1 ? -1 : -2, rule == 1 ? -16 : 0);
        update_expect(&f, 127 + 127, rule == 2 ? 8 : 7, rule == 2 ? -1 : 15);
        update_take_down(&f);
    }
}

/* X3 and X4 through training: the same steps, four in one write for one of the residuals, give
 * buffer, residual and a wide integer one total; the weights are at most one step apart. */
Test(threshold_method, x3_x4_agree_with_residuals_in_total)
{
    static struct update_fixture f[3];
    static const struct bg_store_spec specs[] = {
        {.form = BG_STORE_SPLIT, .bits = 16, .low = 7},
        {.form = BG_STORE_SPLIT, .bits = 16, .low = 7, .gradients = 4},
        {.form = BG_STORE_BUFFER, .bits = 16, .low = 7, .buffer = 11}};
    static const char *const options[] = {"{momentum: 0, bits: 7, split: floor}",
                                          "{momentum: 0, bits: 7, split: floor, gradients: 4}",
                                          "{momentum: 0, bits: 11}"};
    static int64_t total[MANY];
    const struct bg_rng rng = {.seed = 11, .stream = BG_STREAM_TEST};
    for (int k = 0; k < 3; k++) {
        update_make(&f[k], &specs[k], MANY, 1.0f);
        update_choose(&f[k], k < 2 ? "residual" : "threshold", options[k]);
    }
    memset(total, 0, sizeof total);
    for (uint64_t s = 0; s < 2000; s++) {
        for (uint64_t i = 0; i < MANY; i++) {
            const int64_t u = (int64_t)bg_rng_below(&rng, MANY * s + i, 401) - 200;
            for (int k = 0; k < 3; k++)
                f[k].grad[i] = (float)-u / 128;
            total[i] += u;
        }
        for (int k = 0; k < 3; k++)
            OK(update_move(&f[k], EACH_ITS_OWN));
        for (int64_t i = 0; i < MANY; i++) {
            int32_t code[3];
            for (int k = 0; k < 3; k++) {
                code[k] = bg_store_code(f[k].param.store, i);
                cr_assert((k == 1 && s % 4 != 3) ||
                          code[k] * 128 + bg_store_below(f[k].param.store, i) == total[i]);
            }
            cr_assert(code[0] == total[i] >> 7 && abs(code[0] - code[2]) <= 1);
        }
    }
    for (int k = 0; k < 3; k++)
        update_take_down(&f[k]);
}

static const struct bg_store_spec dynamic = {
    .form = BG_STORE_BUFFER, .bits = 8, .low = 4, .buffer = 8, .room = 4, .moves = true};

Test(threshold_method, vector_6_the_point_moves_and_the_buffer_takes_what_falls_off)
{
    struct update_fixture f;
    float before[256], now[256];
    update_make(&f, &dynamic, 256, 0x1p-7f);
    update_choose(&f, "threshold", "{momentum: 0, form: dynamic, bits: 8}");
    for (int w = -128; w < 128; w++)
        bg_store_set(f.param.store, w + 128, w, w % 16);
    bg_param_read(&f.param, 0, 256, before);
    OK(bg_store_regrid(&f.param, 0, 1));
    bg_param_read(&f.param, 0, 256, now);
    cr_assert(memcmp(before, now, sizeof now) == 0 && f.scale == 0x1p-6f);
    update_expect(&f, 109 + 128, 54, 16 + 109 % 16); /* 109/128 = 54/64 + 1/128 */
    cr_assert(bg_store_valid(f.param.store, &f.quantizer.grid, "w") == BG_OK, "%s", bg_error());
    OK(update_move(&f, 0)); /* nothing has reached the new step: |sum| < 2 old ones */
    update_expect(&f, 109 + 128, 54, 16 + 109 % 16);
    OK(bg_store_regrid(&f.param, 0, -1)); /* back: weights stay where they are ... */
    bg_param_read(&f.param, 0, 256, now);
    cr_assert(memcmp(before, now, sizeof now) == 0 && f.scale == 0x1p-7f);
    update_expect(&f, 109 + 128, 108, 16 + 109 % 16);
    OK(update_move(&f, 0)); /* ... until the next check */
    update_expect(&f, 109 + 128, 109, 109 % 16);
    cr_assert(bg_store_regrid(&f.param, 0, -1) == BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "w: weight 0 would have code -256, limits are -128 and 127");
    cr_assert(bg_store_regrid(&f.param, 0, 5) == BG_E_RANGE);
    update_take_down(&f);
}

/* Weights driven to the end of their bits and back: the point follows by itself, and the sum of all
 * updates is what weights and buffers hold, exactly, at every step. */
Test(threshold_method, dynamic_point_follows_and_conserves_every_update)
{
    static struct update_fixture f;
    static int64_t total[64]; /* in 2^-11, the buffer's last bit, which never moves */
    const struct bg_rng rng = {.seed = 3, .stream = BG_STREAM_TEST};
    int most = 4, least = 4;
    update_make(&f, &dynamic, 64, 0x1p-7f);
    update_choose(&f, "threshold", "{momentum: 0, form: dynamic, bits: 8, refit_every: 1}");
    for (int64_t i = 0; i < 64; i++) { /* far from 0: steps stay small beside the grid's */
        bg_store_set(f.param.store, i, 40, 0);
        total[i] = 40 * 16;
    }
    for (uint64_t s = 0; s < 1200; s++) {
        const int64_t pull = s < 400 ? 6 : s < 800 ? -6 : 0;
        for (uint64_t i = 0; i < 64; i++) {
            const int64_t k = (int64_t)bg_rng_below(&rng, 64 * s + i, 9) - 4 + pull;
            f.grad[i] = (float)-k * 0x1p-11f;
            total[i] += k;
        }
        OK(update_move(&f, EACH_ITS_OWN));
        const int r = f.param.store->shift[0];
        cr_assert(f.scale == ldexpf(1.0f, r - 11));
        for (int64_t i = 0; i < 64; i++)
            cr_assert(bg_store_code(f.param.store, i) * (1 << r) +
                          bg_store_below(f.param.store, i) ==
                      total[i]);
        most = r > most ? r : most;
        least = r < least ? r : least;
    }
    cr_assert(f.param.store->saturated == 0 && f.param.store->dropped == 0);
    cr_assert(most >= 5 && least < 4, "%d, %d", most, least);
    update_take_down(&f);
}

/* Constant small steps move nobody: the buffer grows to its limit. Large ones move all: it shrinks
 * to the other, and only last bits that were 1 are dropped. */
Test(threshold_method, width_adapts_to_the_ratio_of_weights_that_move)
{
    static struct update_fixture f;
    update_make(
        &f,
        &(struct bg_store_spec){
            .form = BG_STORE_BUFFER, .bits = 8, .low = 6, .buffer = 10, .room = 6, .moves = true},
        MANY, 1.0f);
    update_choose(
        &f, "threshold",
        "{momentum: 0, bits: 10, adapt: true, refit_every: 2, least_bits: 8, most_bits: 16}");
    for (int s = 1; s <= 20; s++) {
        OK(update_move(&f, 0x1p-12)); /* exact once the buffer has 12 bits below */
        const int r = f.param.store->shift[0];
        cr_assert(r == (6 + s / 2 > 12 ? 12 : 6 + s / 2), "step %d: %d", s, r);
    }
    cr_assert(bg_store_buffer_bits(f.param.store, 12) == 16 && f.param.store->dropped == 0);
    for (int s = 1; s <= 20; s++) {
        OK(update_move(&f, 1.25));
        cr_assert(f.param.store->shift[0] == (12 - s / 2 < 4 ? 4 : 12 - s / 2));
    }
    cr_assert(f.param.store->dropped > 0 && f.param.store->dropped <= 8 * MANY);
    cr_assert(bg_store_valid(f.param.store, &f.quantizer.grid, "w") == BG_OK, "%s", bg_error());
    update_take_down(&f);
}

Test(threshold_method, narrower_buffers_round_half_to_even_and_count)
{
    struct update_fixture f;
    update_make(&f, &dynamic, 255, 1.0f);
    for (int a = -127; a <= 127; a++)
        bg_store_set(f.param.store, a + 127, 0, a);
    bg_store_widen(f.param.store, 1, 4, 24);
    for (int a = -127; a <= 127; a++)
        update_expect(&f, a + 127, 0, 2 * a);
    bg_store_widen(f.param.store, -1, 4, 24);
    cr_assert(f.param.store->dropped == 0);
    bg_store_widen(f.param.store, -1, 4, 24);
    for (int a = -127; a <= 127; a++)
        update_expect(&f, a + 127, 0, abs(a) == 127 ? a / 127 * 63 : (int32_t)nearbyint(a / 2.0));
    cr_assert(f.param.store->dropped == 128 && f.param.store->saturated == 2);
    bg_store_widen(f.param.store, -1, 7, 24);
    cr_assert(f.param.store->shift[0] == 3, "7 bits are the least");
    update_take_down(&f);
}

/* s16 momentum counts 1/16 of the last bit: its real value stays, cut towards zero, and what 16
 * bits cannot be is held. */
Test(threshold_method, integer_momentum_follows_the_width)
{
    static const int before[6] = {7, -7, 8, 20000, -20000, 0};
    static const int after[3][6] = {
        {14, -14, 16, 32767, -32767, 0}, {7, -7, 8, 16383, -16383, 0}, {3, -3, 4, 8191, -8191, 0}};
    struct bg_store_spec spec = dynamic;
    struct bg_store *store = NULL;
    spec.momentum = BG_STORE_MOMENTUM_S16;
    OK(bg_store_make(&store, &spec, 6, 1));
    for (int i = 0; i < 6; i++)
        ((int16_t *)store->momentum)[i] = (int16_t)before[i];
    for (int k = 0; k < 3; k++) {
        bg_store_widen(store, k == 0 ? 1 : -1, 4, 24);
        for (int i = 0; i < 6; i++)
            cr_assert(((int16_t *)store->momentum)[i] == after[k][i], "%d %d: %d", k, i,
                      ((int16_t *)store->momentum)[i]);
    }
    bg_store_free(store);
}
