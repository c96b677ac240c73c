/* Update methods as training calls them: the worked vectors of P3 and P4 (policies/METHODS.md)
 * through options, prepared weights and the pass over many; several gradients per write, points
 * that move, widths that adapt. The scalar definitions have tests of their own. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/integer_update.h"
#include "core/kernel_update.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/store.h"
#include "core/store_change.h"
#include "core/yaml.h"
#include "policies/select.h"
#include "policies/trainer.h"

#define OK(call_)    cr_assert((call_) == BG_OK, "%s", bg_error())
#define MOST         8192
#define MANY         600
#define EACH_ITS_OWN ((double)NAN)

/* One parameter of `count` weights on one grid with the step `scale`. */
struct fixture {
    struct bg_param param;
    struct bg_quantizer quantizer;
    float scale, grad[MOST];
    const struct bg_update_method *method;
    void *options;
    uint64_t step;
};

static void make(struct fixture *f, const struct bg_store_spec *spec, int64_t count, float scale)
{
    const struct bg_tensor tensor = {.dtype = BG_F32, .shape = {.rank = 2, .dims = {1, count}}};
    memset(f, 0, sizeof *f);
    OK(bg_grid_limits(&f->quantizer.grid, spec->bits, true, true));
    f->quantizer.grid.qmin = -f->quantizer.grid.qmax - 1; /* the vectors' two's complement */
    f->quantizer.grid.channels = 1;
    f->scale = scale;
    f->quantizer.grid.scale = &f->scale;
    f->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT, .quantizer = &f->quantizer};
    f->param.value = f->param.grad = f->param.state = tensor;
    f->param.grad.data = f->grad;
    struct bg_store_spec own = *spec;
    own.momentum = BG_STORE_MOMENTUM_NONE;
    OK(bg_store_make(&f->param.store, &own, count, 1));
}

static void choose(struct fixture *f, const char *name, const char *options)
{
    struct bg_document *document = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1024);
    OK(bg_yaml_parse_text(&document, "options", options, strlen(options)));
    cr_assert(bg_update_choose(name, bg_document_root(document), "options", &f->method, &f->options,
                               &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    bg_document_free(document);
    bg_text_free(&errors);
}

static void take_down(struct fixture *f)
{
    bg_store_free(f->param.store);
    bg_free(f->options);
}

/* All weights by u, or each by its own `grad` where u is EACH_ITS_OWN; lr 1 and no momentum. */
static enum bg_status move(struct fixture *f, double u)
{
    const struct bg_update_moment moment = {.lr = 1, .seed = 5, .step = f->step++};
    for (int64_t i = 0; !isnan(u) && i < f->param.store->count; i++)
        f->grad[i] = (float)-u;
    return f->method->update(f->options, &f->param, &moment, false);
}

static void expect(const struct fixture *f, int64_t i, int32_t code, int32_t below)
{
    cr_assert(bg_store_code(f->param.store, i) == code &&
                  bg_store_below(f->param.store, i) == below,
              "step %d, weight %d: %d, %d, wanted %d, %d", (int)f->step, (int)i,
              bg_store_code(f->param.store, i), bg_store_below(f->param.store, i), code, below);
}

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
        struct fixture f;
        char options[96];
        const int count = rows[i].count;
        make(&f,
             &(struct bg_store_spec){
                 .form = BG_STORE_SPLIT, .bits = 8, .low = 7, .gradients = count > 1 ? count : 0},
             3, 1.0f);
        snprintf(options, sizeof options,
                 "{momentum: 0, bits: 7, tune: floor, split: floor, gradients: %d}", count);
        choose(&f, "residual", options);
        bg_store_set(f.param.store, 1, rows[i].w, rows[i].r);
        for (int g = 0; g < count; g++) {
            expect(&f, 1, rows[i].w, rows[i].r); /* nothing is written in between */
            OK(move(&f, rows[i].g[g] / 512.0));
        }
        expect(&f, 1, rows[i].w_after, rows[i].r_after);
        cr_assert(f.param.store->saturated == (i == 4));
        take_down(&f);
    }
}

/* Row 4 again with two bits more in the sum: 3 + 3 + 3 + 3 quarters are 3. */
Test(residual_method, sum_bits_keep_what_single_gradients_would_lose)
{
    struct fixture f;
    make(&f,
         &(struct bg_store_spec){
             .form = BG_STORE_SPLIT, .bits = 8, .low = 7, .gradients = 4, .finer = 2},
         1, 1.0f);
    choose(&f, "residual",
           "{momentum: 0, bits: 7, tune: floor, split: floor, gradients: 4, sum_bits: 2}");
    for (int i = 1; i <= 8; i++) {
        OK(move(&f, 3 / 512.0));
        expect(&f, 0, 0, i < 4 ? 0 : i < 8 ? 3 : 6);
    }
    cr_assert(f.param.store->lost == 0 && f.param.store->kept == 8);
    OK(move(&f, 5 / 512.0));
    float real;
    bg_param_read(&f.param, 0, 1, &real); /* what waits is in the real value */
    cr_assert(real == 6 / 128.0f + 5 / 512.0f);
    take_down(&f);
}

/* The order of gradients is irrelevant, and writing their sum is the scalar mapping form. */
Test(residual_method, sums_equal_the_scalar_form_for_every_tuning)
{
    static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic"};
    static struct fixture f;
    static int64_t sum[MANY];
    const int64_t limits[2] = {-128, 127};
    for (int t = 0; t < 4; t++)
        for (int finer = 0; finer <= 8; finer += 4) {
            struct bg_split was[MANY];
            char options[128];
            make(&f,
                 &(struct bg_store_spec){
                     .form = BG_STORE_SPLIT, .bits = 8, .low = 9, .gradients = 3, .finer = finer},
                 MANY, 0.25f);
            snprintf(options, sizeof options,
                     "{momentum: 0, bits: 9, tune: %s, split: floor, gradients: 3, sum_bits: %d}",
                     tunes[t], finer);
            choose(&f, "residual", options);
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
                OK(move(&f, EACH_ITS_OWN));
                for (int64_t i = 0; i < MANY; i++) {
                    const int64_t tuned = bg_tune_bits(sum[i], finer, t == 3 ? 0 : (enum bg_tune)t);
                    const struct bg_split to =
                        s % 3 == 2 ? bg_residual_mapping(&was[i], tuned, 9, limits) : was[i];
                    expect(&f, i, (int32_t)to.weight, (int32_t)to.low);
                    cr_assert(f.param.store->sum[i] == (s % 3 == 2 ? 0 : sum[i]));
                    sum[i] = s % 3 == 2 ? 0 : sum[i];
                }
            }
            take_down(&f);
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
    struct fixture f;
    for (int i = 0; i < 5; i++)
        cr_assert(bg_store_check(&bad[i].spec) == bad[i].rc, "%d", i);
    cr_assert(bg_store_check(&(struct bg_store_spec){.bits = 8, .low = 24, .gradients = 63}) ==
              BG_OK);
    make(&f, &(struct bg_store_spec){.bits = 8, .low = 8}, 1, 1.0f);
    choose(&f, "residual", "{sum_bits: 2}");
    cr_assert(f.method->prepare(f.options, &f.param, 8, false) == BG_E_USAGE);
    cr_assert_str_eq(bg_error(), "w: sum_bits: 2 without a sum: gradients is 1");
    f.param.store->spec.gradients = 0;
    take_down(&f);
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
    struct fixture f;
    float was[20], now[20];
    make(&f, &(struct bg_store_spec){.bits = 8, .low = 8, .gradients = 4}, 20, 0.5f);
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
    take_down(&f);
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
    struct fixture f;
    for (int c = 0; c < 3; c++) {
        char options[64];
        make(&f, &spec, 2, 1.0f);
        snprintf(options, sizeof options, "{momentum: 0, bits: 8, rounding: %s}",
                 cases[c].rounding);
        choose(&f, "threshold", options);
        for (int i = 0; i < 6; i++) {
            OK(move(&f, u[i] / 16.0));
            expect(&f, 1, cases[c].state[i][0], cases[c].state[i][1]);
        }
        take_down(&f);
    }
    make(&f, &spec, 2, 1.0f);
    choose(&f, "threshold", "{momentum: 0, bits: 8}");
    bg_store_set(f.param.store, 0, 126, 50);
    bg_store_set(f.param.store, 1, -127, -70);
    OK(move(&f, 0));
    expect(&f, 0, 127, 2);
    expect(&f, 1, -128, -6);
    cr_assert(f.param.store->saturated == 2);
    take_down(&f);
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
        struct fixture f;
        char options[80];
        make(&f,
             &(struct bg_store_spec){.form = BG_STORE_BUFFER, .bits = 16, .low = 12, .buffer = 16},
             1, 0x1p-11f);
        snprintf(options, sizeof options, "{momentum: 0, form: fixed, rounding: %s}",
                 cases[i].rounding);
        choose(&f, "threshold", options);
        bg_store_set(f.param.store, 0, cases[i].w, cases[i].a - 7);
        OK(move(&f, 7 * 0x1p-23)); /* the update that completes the sum */
        expect(&f, 0, cases[i].w_after, cases[i].a_after);
        take_down(&f);
    }
}

/* Every byte of the toy buffer (sign, 3 overlap, 4 low) but -128, which a buffer never holds. */
Test(threshold_method, vector_3_every_byte_of_the_toy_buffer_by_every_rule)
{
    static const char *const rules[] = {"trunc", "bit-rule", "nearest", "floor"};
    for (int rule = 0; rule < 4; rule++) {
        struct fixture f;
        char options[64];
        make(&f, &(struct bg_store_spec){.form = BG_STORE_BUFFER, .bits = 8, .low = 4, .buffer = 8},
             255, 1.0f);
        snprintf(options, sizeof options, "{momentum: 0, bits: 8, rounding: %s}", rules[rule]);
        choose(&f, "threshold", options);
        for (int a = -127; a <= 127; a++)
            bg_store_set(f.param.store, a + 127, 0, a);
        OK(move(&f, 0));
        for (int a = -127; a <= 127; a++) {
            const int64_t moved = bg_threshold_effective(a, 4, (enum bg_fire)rule);
            expect(&f, a + 127, (int32_t)(moved / 16), (int32_t)(a - moved));
        }
        expect(&f, 127 - 24,
               rule == 0   ? -1
               : rule == 1 ? -1
               : rule == 2 ? -1
                           : -2,
               rule == 2   ? -8
               : rule == 3 ? 8
                           : -8);
        expect(&f, 127 - 32, rule == 1 ? -1 : -2, rule == 1 ? -16 : 0);
        expect(&f, 127 + 127, rule == 2 ? 8 : 7, rule == 2 ? -1 : 15);
        take_down(&f);
    }
}

/* X3 and X4 through training: the same steps, four in one write for one of the residuals, give
 * buffer, residual and a wide integer one total; the weights are at most one step apart. */
Test(threshold_method, x3_x4_agree_with_residuals_in_total)
{
    static struct fixture f[3];
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
        make(&f[k], &specs[k], MANY, 1.0f);
        choose(&f[k], k < 2 ? "residual" : "threshold", options[k]);
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
            OK(move(&f[k], EACH_ITS_OWN));
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
        take_down(&f[k]);
}

static const struct bg_store_spec dynamic = {
    .form = BG_STORE_BUFFER, .bits = 8, .low = 4, .buffer = 8, .room = 4, .moves = true};

Test(threshold_method, vector_6_the_point_moves_and_the_buffer_takes_what_falls_off)
{
    struct fixture f;
    float before[256], now[256];
    make(&f, &dynamic, 256, 0x1p-7f);
    choose(&f, "threshold", "{momentum: 0, form: dynamic, bits: 8}");
    for (int w = -128; w < 128; w++)
        bg_store_set(f.param.store, w + 128, w, w % 16);
    bg_param_read(&f.param, 0, 256, before);
    OK(bg_store_regrid(&f.param, 0, 1));
    bg_param_read(&f.param, 0, 256, now);
    cr_assert(memcmp(before, now, sizeof now) == 0 && f.scale == 0x1p-6f);
    expect(&f, 109 + 128, 54, 16 + 109 % 16); /* 109/128 = 54/64 + 1/128 */
    cr_assert(bg_store_valid(f.param.store, &f.quantizer.grid, "w") == BG_OK, "%s", bg_error());
    OK(move(&f, 0)); /* nothing has reached the new step: |sum| < 2 old ones */
    expect(&f, 109 + 128, 54, 16 + 109 % 16);
    OK(bg_store_regrid(&f.param, 0, -1)); /* back: weights stay where they are ... */
    bg_param_read(&f.param, 0, 256, now);
    cr_assert(memcmp(before, now, sizeof now) == 0 && f.scale == 0x1p-7f);
    expect(&f, 109 + 128, 108, 16 + 109 % 16);
    OK(move(&f, 0)); /* ... until the next check */
    expect(&f, 109 + 128, 109, 109 % 16);
    cr_assert(bg_store_regrid(&f.param, 0, -1) == BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "w: weight 0 would have code -256, limits are -128 and 127");
    cr_assert(bg_store_regrid(&f.param, 0, 5) == BG_E_RANGE);
    take_down(&f);
}

/* Weights driven to the end of their bits and back: the point follows by itself, and the sum of all
 * updates is what weights and buffers hold, exactly, at every step. */
Test(threshold_method, dynamic_point_follows_and_conserves_every_update)
{
    static struct fixture f;
    static int64_t total[64]; /* in 2^-11, the buffer's last bit, which never moves */
    const struct bg_rng rng = {.seed = 3, .stream = BG_STREAM_TEST};
    int most = 4, least = 4;
    make(&f, &dynamic, 64, 0x1p-7f);
    choose(&f, "threshold", "{momentum: 0, form: dynamic, bits: 8, refit_every: 1}");
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
        OK(move(&f, EACH_ITS_OWN));
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
    take_down(&f);
}

/* Constant small steps move nobody: the buffer grows to its limit. Large ones move all: it shrinks
 * to the other, and only last bits that were 1 are dropped. */
Test(threshold_method, width_adapts_to_the_ratio_of_weights_that_move)
{
    static struct fixture f;
    make(&f,
         &(struct bg_store_spec){
             .form = BG_STORE_BUFFER, .bits = 8, .low = 6, .buffer = 10, .room = 6, .moves = true},
         MANY, 1.0f);
    choose(&f, "threshold",
           "{momentum: 0, bits: 10, adapt: true, refit_every: 2, least_bits: 8, most_bits: 16}");
    for (int s = 1; s <= 20; s++) {
        OK(move(&f, 0x1p-12)); /* exact once the buffer has 12 bits below */
        const int r = f.param.store->shift[0];
        cr_assert(r == (6 + s / 2 > 12 ? 12 : 6 + s / 2), "step %d: %d", s, r);
    }
    cr_assert(bg_store_buffer_bits(f.param.store, 12) == 16 && f.param.store->dropped == 0);
    for (int s = 1; s <= 20; s++) {
        OK(move(&f, 1.25));
        cr_assert(f.param.store->shift[0] == (12 - s / 2 < 4 ? 4 : 12 - s / 2));
    }
    cr_assert(f.param.store->dropped > 0 && f.param.store->dropped <= 8 * MANY);
    cr_assert(bg_store_valid(f.param.store, &f.quantizer.grid, "w") == BG_OK, "%s", bg_error());
    take_down(&f);
}

Test(threshold_method, narrower_buffers_round_half_to_even_and_count)
{
    struct fixture f;
    make(&f, &dynamic, 255, 1.0f);
    for (int a = -127; a <= 127; a++)
        bg_store_set(f.param.store, a + 127, 0, a);
    bg_store_widen(f.param.store, 1, 4, 24);
    for (int a = -127; a <= 127; a++)
        expect(&f, a + 127, 0, 2 * a);
    bg_store_widen(f.param.store, -1, 4, 24);
    cr_assert(f.param.store->dropped == 0);
    bg_store_widen(f.param.store, -1, 4, 24);
    for (int a = -127; a <= 127; a++)
        expect(&f, a + 127, 0, abs(a) == 127 ? a / 127 * 63 : (int32_t)nearbyint(a / 2.0));
    cr_assert(f.param.store->dropped == 128 && f.param.store->saturated == 2);
    bg_store_widen(f.param.store, -1, 7, 24);
    cr_assert(f.param.store->shift[0] == 3, "7 bits are the least");
    take_down(&f);
}

/* ---- P3 in floating point ---- */

/* One parameter of `count` small floats up to `largest`; no grid. */
static void make_floats(struct fixture *f, const struct bg_store_spec *spec, int64_t count,
                        double largest)
{
    const struct bg_tensor tensor = {.dtype = BG_F32, .shape = {.rank = 2, .dims = {1, count}}};
    struct bg_store_spec own = *spec;
    memset(f, 0, sizeof *f);
    f->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT};
    f->param.value = f->param.grad = f->param.state = tensor;
    f->param.grad.data = f->grad;
    own.form = BG_STORE_FLOAT;
    own.momentum = BG_STORE_MOMENTUM_NONE;
    OK(bg_store_make(&f->param.store, &own, count, 1));
    OK(bg_store_place(f->param.store, largest));
}

static double real_of(const struct fixture *f, enum bg_float_part part, int64_t i)
{
    const struct bg_store *store = f->param.store;
    const struct bg_float_format format = bg_store_format(store, part);
    const int32_t pattern =
        part == BG_FLOAT_WEIGHT ? bg_store_code(store, i) : bg_store_below(store, i);
    return bg_float_value(&format, store->spec.exponent[part], (uint32_t)pattern);
}

static const struct bg_store_spec half_precision = {
    .bits = 16, .buffer = 24, .exponent = {5, 5}, .over = 3};

Test(threshold_float, vector_4_a_float16_weight_takes_what_naive_adding_loses)
{
    struct fixture f;
    double naive = 1.0;
    make_floats(&f, &half_precision, 1, 1.0);
    choose(&f, "threshold", "{momentum: 0, form: float, bits: 24}");
    bg_store_put(f.param.store, NULL, 0, 1.0f);
    for (int step = 1; step <= 7; step++) {
        OK(move(&f, 3e-4));
        cr_assert(real_of(&f, BG_FLOAT_WEIGHT, 0) == (step < 4   ? 1.0
                                                      : step < 7 ? 1.0009765625
                                                                 : 1.001953125));
        /* 4 sums, each rounded to 19 bits at less than 2^-9, and 3e-4 to 24 */
        if (step == 4)
            cr_assert(fabs(real_of(&f, BG_FLOAT_BUFFER, 0) - 2.234375e-4) < 4 * 0x1p-28 + 1e-10);
    }
    cr_assert(f.param.store->written == 2 && f.param.store->saturated == 0);
    const struct bg_float_format float16 = {.mantissa = 10, .least = -14, .top = 15};
    for (int step = 0; step < 1000; step++)
        naive = bg_float_round(&float16, naive + 3e-4, BG_TUNE_NEAREST);
    cr_assert(naive == 1.0 && bg_float_most(&float16) == 65504);
    take_down(&f);
}

Test(threshold_float, vector_5_the_second_bias_covers_the_largest_step)
{
    struct fixture f;
    make_floats(&f,
                &(struct bg_store_spec){.bits = 16, .buffer = 16, .exponent = {5, 5}, .over = 1}, 1,
                1.999);
    const struct bg_float_format buffer = bg_store_format(f.param.store, BG_FLOAT_BUFFER);
    cr_assert(30 - buffer.top == 39 && buffer.least == -38 && buffer.mantissa == 10);
    cr_assert(bg_float_most(&buffer) == (2 - 0x1p-10) * 0x1p-9);
    take_down(&f);
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
    static struct fixture f;
    static double was[MOST][2];
    for (int rule = 0; rule < 2; rule++)
        for (int n = 0; n < 2; n++) {
            char options[128];
            int64_t count = 0, ends = 0, rounded = 0;
            make_floats(
                &f, &(struct bg_store_spec){.bits = 6, .buffer = 7, .exponent = {3, 3}, .over = 3},
                56 * 112, 1.0);
            snprintf(options, sizeof options,
                     "{momentum: 0, form: float, rounding: %s, threshold_bit: %d}", rules[rule], n);
            choose(&f, "threshold", options);
            const struct bg_float_format weight = bg_store_format(f.param.store, BG_FLOAT_WEIGHT);
            const struct bg_float_format buffer = bg_store_format(f.param.store, BG_FLOAT_BUFFER);
            for (int w = 0; w < 64; w++)
                for (int a = 0; a < 128; a++) /* the largest field stands for no number */
                    if (((w >> 2) & 7) != 7 && ((a >> 3) & 7) != 7)
                        bg_store_set(f.param.store, count++, w, a);
            cr_assert(count == 56 * 112 && bg_store_valid(f.param.store, NULL, "w") == BG_OK);
            for (int64_t i = 0; i < count; i++) {
                was[i][0] = real_of(&f, BG_FLOAT_WEIGHT, i);
                was[i][1] = real_of(&f, BG_FLOAT_BUFFER, i);
            }
            OK(move(&f, 0));
            for (int64_t i = 0; i < count; i++) {
                const struct bg_float_buffer from = {.weight = was[i][0], .sum = was[i][1]};
                const struct bg_float_buffer to =
                    bg_threshold_float(&from, &weight, &buffer, n, fires[rule]);
                const double w = real_of(&f, BG_FLOAT_WEIGHT, i);
                const double a = real_of(&f, BG_FLOAT_BUFFER, i);
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
            take_down(&f);
        }
}

/* Steps of all sizes by every tuning, against the scalar form. */
Test(threshold_float, equals_one_weight_at_a_time)
{
    static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic"};
    static const int formats[][4] = {{16, 24, 5, 5}, {8, 16, 4, 6}, {6, 8, 2, 2}, {16, 16, 2, 6}};
    static struct fixture f;
    for (int k = 0; k < 4; k++)
        for (int t = 0; t < 4; t++) {
            const int *bits = formats[k];
            char options[160];
            make_floats(
                &f,
                &(struct bg_store_spec){
                    .bits = bits[0], .buffer = bits[1], .exponent = {bits[2], bits[3]}, .over = 3},
                MANY, 0.3);
            snprintf(options, sizeof options, "{momentum: 0, form: float, tune: %s, period: 2}",
                     tunes[t]);
            choose(&f, "threshold", options);
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
                    const float a = (float)real_of(&f, BG_FLOAT_BUFFER, i);
                    f.grad[i] = (float)ldexp(bg_rng_normal(&rng, (uint64_t)i), -(int)(i % 40));
                    const double sum = (double)(a - f.grad[i]);
                    wanted[i].weight = real_of(&f, BG_FLOAT_WEIGHT, i);
                    wanted[i].sum =
                        t < 3 ? bg_float_round(&buffer, sum, (enum bg_tune)t)
                              : bg_float_chance(&buffer, sum,
                                                (double)bg_rng_uniform(&draw, (uint64_t)i));
                    if (s % 2 == 1)
                        wanted[i] =
                            bg_threshold_float(&wanted[i], &weight, &buffer, 0, BG_FIRE_TRUNC);
                }
                const enum bg_status rc = move(&f, EACH_ITS_OWN);
                cr_assert(rc == BG_OK || rc == BG_E_RANGE, "%s", bg_error()); /* it has moved */
                for (int64_t i = 0; i < MANY; i++)
                    cr_assert(real_of(&f, BG_FLOAT_WEIGHT, i) == wanted[i].weight &&
                                  real_of(&f, BG_FLOAT_BUFFER, i) == wanted[i].sum,
                              "format %d, %s, step %d, weight %d", k, tunes[t], (int)s, (int)i);
            }
            cr_assert(f.param.store->written > 0 && f.param.store->lost > 0);
            take_down(&f);
        }
}

/* A million steps that are multiples of 2^-28 lose nothing: 1 + 18 bits hold all sums below 2^-9.
 */
Test(threshold_float, conserves_steps_that_the_buffer_can_hold)
{
    static struct fixture f;
    static double total[100];
    const struct bg_rng rng = {.seed = 12, .stream = BG_STREAM_TEST};
    make_floats(&f, &half_precision, 100, 1.9);
    choose(&f, "threshold", "{momentum: 0, form: float, bits: 24}");
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
        OK(move(&f, EACH_ITS_OWN));
    }
    for (int64_t i = 0; i < 100; i++) {
        const double a = real_of(&f, BG_FLOAT_BUFFER, i);
        cr_assert(real_of(&f, BG_FLOAT_WEIGHT, i) + a == total[i] && fabs(a) < 0x1p-10);
    }
    cr_assert(f.param.store->lost == 0 && f.param.store->saturated == 0);
    take_down(&f);
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
    struct fixture f;
    for (int i = 0; i < 6; i++) {
        struct bg_store_spec spec = bad[i].spec;
        spec.form = BG_STORE_FLOAT;
        cr_assert(bg_store_check(&spec) == bad[i].rc, "%d", i);
    }
    for (int i = 0; i < 6; i++) {
        make_floats(&f, &half_precision, 1, 1.0);
        choose(&f, "threshold", options[i][0]);
        cr_assert(f.method->prepare(f.options, &f.param, 0, false) == BG_E_UNSUPPORTED);
        cr_assert(strstr(bg_error(), options[i][1]), "%s", bg_error());
        take_down(&f);
    }
    make_floats(&f, &half_precision, 1, 1.0);
    cr_assert(bg_store_place(f.param.store, 1e-32) == BG_E_RANGE);
    cr_assert(bg_store_place(f.param.store, 1e38) == BG_OK);
    bg_store_set(f.param.store, 0, 0x7c00, 0);
    cr_assert(bg_store_valid(f.param.store, NULL, "w") == BG_E_DATA);
    cr_assert(strstr(bg_error(), "w: weight 0 is beyond the largest number"), "%s", bg_error());
    bg_store_set(f.param.store, 0, 0, 31 << 18);
    cr_assert(bg_store_valid(f.param.store, NULL, "w") == BG_E_DATA);
    take_down(&f);
}
