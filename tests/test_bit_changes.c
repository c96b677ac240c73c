/* Weights in integers that go on in other widths: every real value stays what it is, or the change
 * is refused; stores by themselves, on a graph, through training and files. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/h5.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/store_change.h"
#include "tests/support_linear.h"

static uint32_t word(int *at)
{
    const struct bg_rng rng = {.seed = 77, .stream = BG_STREAM_TEST};
    uint32_t words[4];
    bg_rng_words(&rng, (uint64_t)(*at)++, words);
    return words[0];
}

static int below(int *at, int n)
{
    return (int)(word(at) % (uint32_t)n);
}

static void limits(struct bg_grid *grid, int bits, float *scale)
{
    *grid = (struct bg_grid){.channels = 2, .scale = scale};
    OK(bg_grid_limits(grid, bits, true, true));
}

/* T - o in units of 2^-40 of the scale 1: an exact integer in f64 as 16 + 24 bits are enough. */
static double real_at(const struct bg_store *store, const float *scale, int64_t i)
{
    const int64_t c = i / (store->count / store->channels);
    const int r = store->shift[c];
    return (ldexp(bg_store_code(store, i), r) + bg_store_below(store, i) -
            bg_store_half(store, r)) *
           ldexp((double)scale[c], -r);
}

/* Does a grid of step s * 2^k hold these values? By real numbers alone. */
static bool holds(const struct bg_store *store, int64_t c, const struct bg_store_spec *to,
                  const struct bg_grid *grid, int k)
{
    const int64_t each = store->count / store->channels;
    const float one[2] = {1, 1};
    const double unit = ldexp(1, k - to->low), half = to->half && to->low > 0 ? 0.5 : 0;
    for (int64_t i = c * each; i < (c + 1) * each; i++) {
        const double value = real_at(store, one, i), units = value / unit;
        const double code = floor(value / ldexp(1, k) + half);
        if (units != floor(units) || code < grid->qmin || code > grid->qmax)
            return false;
    }
    return true;
}

/* 12000 changes between random widths, of values with few and many bits. */
Test(bit_changes, splits_keep_every_value_or_say_why_not)
{
    int at = 0, done = 0, refused = 0, as_wanted = 0;
    for (int round = 0; round < 12000; round++) {
        float from_scale[2] = {1, 0.75f}, to_scale[2] = {0, 0};
        struct bg_grid on, grid;
        struct bg_store *store = NULL, *out = NULL;
        struct bg_store_spec spec = {.bits = 2 + below(&at, 15),
                                     .low = below(&at, 25),
                                     .half = below(&at, 2) == 1,
                                     .momentum = BG_STORE_MOMENTUM_NONE};
        struct bg_store_spec to = spec;
        const int range = 1 + below(&at, 16), zeros = below(&at, spec.low + 1);
        to.bits = 2 + below(&at, 15);
        to.low = below(&at, 2) ? spec.low + spec.bits - to.bits : below(&at, 25);
        to.low = to.low < 0 ? 0 : to.low > 24 ? 24 : to.low;
        limits(&on, spec.bits, from_scale);
        limits(&grid, to.bits, to_scale);
        OK(bg_store_make(&store, &spec, 12, 2));
        for (int64_t i = 0; i < 12; i++) {
            const int32_t size = on.qmax < (1 << range) ? on.qmax : (1 << range) - 1;
            const int32_t half = bg_store_half(store, spec.low);
            int32_t low = spec.low > 0 ? (int32_t)(word(&at) >> (32 - spec.low)) : 0;
            if (round % 2) /* T - o ends in zeros */
                low = ((low - half) & -(1 << zeros)) + half;
            bg_store_set(store, i, below(&at, 2 * size + 1) - size, low & ((1 << spec.low) - 1));
        }
        const struct bg_store_change change = {
            .from = store, .on = &on, .to = to, .grid = &grid, .name = "w"};
        const enum bg_status rc = bg_store_convert(&change, to_scale, &out);
        bool possible = true;
        for (int64_t c = 0; c < 2; c++) {
            bool any = false;
            for (int k = -16; k <= 16; k++)
                any = any || holds(store, c, &to, &grid, k);
            possible = possible && any;
        }
        cr_assert(rc == (possible ? BG_OK : BG_E_RANGE), "s%d + %d to s%d + %d, half %d: %s",
                  spec.bits, spec.low, to.bits, to.low, spec.half, bg_error());
        for (int64_t i = 0; rc == BG_OK && i < 12; i++)
            cr_assert(real_at(store, from_scale, i) == real_at(out, to_scale, i));
        if (rc == BG_OK) {
            OK(bg_store_valid(out, &grid, "w"));
            as_wanted += to_scale[1] == ldexpf(0.75f, spec.bits - to.bits);
        }
        done += rc == BG_OK;
        refused += rc != BG_OK;
        bg_store_free(store);
        bg_store_free(out);
    }
    cr_assert(done > 6000 && refused > 2000 && as_wanted > 1000, "%d, %d, %d", done, refused,
              as_wanted);
}

/* By hand. s8 + 8 to s4 + 12, split nearest: v = 100 * 256 + 17 - 128 = 25489 units of s / 256; W'
 * = (25489 + 2048) >> 12 = 6, R' = 25489 - 6 * 4096 + 2048 = 2961. W = 127 has no code of 4 bits on
 * 16 s (127 / 16 rounds to 8): with 13 bits below the step is 32 s. */
Test(bit_changes, a_vector_by_hand)
{
    float from_scale[2] = {0.5f, 0.5f}, to_scale[2] = {0, 0};
    struct bg_grid on, grid;
    struct bg_store *store = NULL, *out = NULL;
    const struct bg_store_spec spec = {
        .bits = 8, .low = 8, .half = true, .momentum = BG_STORE_MOMENTUM_S16};
    struct bg_store_change change = {.on = &on, .to = spec, .grid = &grid, .name = "conv1.weight"};
    limits(&on, 8, from_scale);
    limits(&grid, 4, to_scale);
    OK(bg_store_make(&store, &spec, 2, 2));
    change.from = store;
    change.to.bits = 4;
    change.to.low = 12;
    bg_store_set(store, 0, 100, 17);
    bg_store_set(store, 1, -3, 255);
    ((int16_t *)store->momentum)[0] = 1000;
    store->lost = 5;
    OK(bg_store_convert(&change, to_scale, &out));
    cr_assert(bg_store_code(out, 0) == 6 && bg_store_below(out, 0) == 2961);
    cr_assert(to_scale[0] == 8 && out->shift[0] == 12 && out->code_bytes == 1);
    cr_assert(((int16_t *)out->momentum)[0] == 1000 && out->lost == 5); /* the unit is the same */
    bg_store_free(out);
    bg_store_set(store, 1, 127, 1);
    cr_assert(bg_store_convert(&change, to_scale, &out) == BG_E_RANGE && out == NULL);
    cr_assert(strstr(bg_error(),
                     "conv1.weight: weight 1 would have code 8 in 4 bits with 12 below, "
                     "limits are -7 and 7; at least 13 below are needed, limit is 24"),
              "%s", bg_error());
    change.to.low = 13;
    OK(bg_store_convert(&change, to_scale, &out));
    cr_assert(to_scale[0] == 8 && to_scale[1] == 16);
    cr_assert(((int16_t *)out->momentum)[0] == 2000); /* half the unit */
    bg_store_free(out);
    change.to.low = 11;
    cr_assert(bg_store_convert(&change, to_scale, &out) == BG_E_RANGE);
    cr_assert(strstr(bg_error(), "that are not 0; at least 12 below are needed, limit is 24"), "%s",
              bg_error());
    bg_store_free(store);
}

/* W + A * 2^-r of a buffer, the sum of both, through 4000 random changes. */
Test(bit_changes, buffers_take_what_the_weight_loses)
{
    int at = 1000000, done = 0;
    for (int round = 0; round < 4000; round++) {
        float from_scale[2] = {1, 1}, to_scale[2] = {0, 0};
        struct bg_grid on, grid;
        struct bg_store *store = NULL, *out = NULL;
        const int overlap = 1 + below(&at, 3), low = below(&at, 13);
        struct bg_store_spec spec = {.form = BG_STORE_BUFFER,
                                     .bits = 2 + below(&at, 11),
                                     .low = low,
                                     .buffer = low + 1 + overlap,
                                     .momentum = BG_STORE_MOMENTUM_NONE};
        struct bg_store_spec to = spec;
        to.bits = 2 + below(&at, 11);
        to.low = spec.low + spec.bits - to.bits + below(&at, 2);
        if (to.low < 0 || to.low + 1 + overlap > 24)
            continue;
        to.buffer = to.low + 1 + overlap;
        limits(&on, spec.bits, from_scale);
        limits(&grid, to.bits, to_scale);
        OK(bg_store_make(&store, &spec, 12, 2));
        for (int64_t i = 0; i < 12; i++) /* after a check: less than a step in the buffer */
            bg_store_set(store, i, below(&at, 2 * on.qmax + 1) - on.qmax,
                         below(&at, (2 << spec.low) - 1) - (1 << spec.low) + 1);
        const struct bg_store_change change = {
            .from = store, .on = &on, .to = to, .grid = &grid, .name = "w"};
        OK(bg_store_convert(&change, to_scale, &out));
        for (int64_t i = 0; i < 12; i++)
            cr_assert(real_at(store, from_scale, i) == real_at(out, to_scale, i));
        OK(bg_store_valid(out, &grid, "w"));
        cr_assert(to_scale[0] == ldexpf(1, spec.bits - to.bits));
        bg_store_free(store);
        bg_store_free(out);
        done++;
    }
    cr_assert(done > 1500, "%d", done);
}

static void read_values(const struct linear_fixture *f, double *out)
{
    for (int64_t i = 0; i < COUNT; i++)
        out[i] = real_at(linear_weight(f)->store, linear_weight(f)->quantizer->grid.scale, i);
}

static void expect_values(const struct linear_fixture *f, const double *wanted)
{
    double values[COUNT];
    read_values(f, values);
    cr_assert(!memcmp(values, wanted, sizeof values));
    OK(bg_store_valid(linear_weight(f)->store, &linear_weight(f)->quantizer->grid, "w"));
}

static void save(const struct linear_fixture *f, const char *path)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_create(&file, path));
    OK(bg_net_save(&f->net, file));
    OK(bg_h5_close(file));
}

static void load(struct linear_fixture *f, const char *path)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_open(&file, path));
    OK(bg_net_load(&f->net, file));
    OK(bg_h5_close(file));
}

#define TRAIN(epochs_) "{epochs: " #epochs_ ", lr: 0.02, update: residual, options: {bits: 8}}"

/* s8 + 8 to s4 + 14, through a file, to the method's hands, and back. Section and plan may both
 * have named the method. */
Test(bit_changes, training_goes_on_with_the_same_values)
{
    static struct linear_fixture f, g;
    char dir[] = "/tmp/bitgrad-test-XXXXXX", path[64];
    double values[COUNT];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/net.h5", dir);
    for (int said = 0; said < 2; said++) {
        struct bg_train_state state = {0};
        linear_make(&f, said ? "fc w=s8 a=u8 u=residual:8\n" : "fc w=s8 a=u8\n");
        OK(linear_train(&f, TRAIN(3), &state, NULL));
        read_values(&f, values);
        OK(linear_apply(&f, "fc w=s4 a=u8 u=residual:14\n"));
        cr_assert(linear_weight(&f)->store->spec.bits == 4 &&
                  linear_weight(&f)->store->spec.low == 14);
        cr_assert(linear_weight(&f)->quantizer->grid.bits == 4 && !linear_weight(&f)->value.data);
        expect_values(&f, values);
        save(&f, path);
        linear_make(&g, "fc w=s4 a=u8 u=residual:14\n");
        load(&g, path);
        expect_values(&g, values);
        state = (struct bg_train_state){0};
        OK(linear_train(&g, TRAIN(0), &state, NULL)); /* what the method finds is what it wants */
        expect_values(&g, values);
        OK(linear_apply(&g, "fc w=s8 a=u8 u=residual:10\n"));
        expect_values(&g, values);
        OK(linear_train(&g, TRAIN(1), &state, NULL));
        cr_assert(linear_weight(&g)->store->spec.low == 10 &&
                  linear_weight(&g)->store->updates == 20 * COUNT);
        linear_take_down(&f);
        linear_take_down(&g);
    }
    cr_assert(unlink(path) == 0 && rmdir(dir) == 0);
}

/* Options alone ask for more bits below, another momentum, another split. */
Test(bit_changes, a_method_with_other_options_takes_the_values_as_they_are)
{
    static const char *const options[] = {
        "{epochs: 0, update: residual, options: {bits: 12, momentum_format: bf16}}",
        "{epochs: 0, update: residual, options: {bits: 12, momentum_format: f32}}",
        "{epochs: 0, update: residual, options: {bits: 13, split: floor, momentum_format: s16}}",
        "{epochs: 0, update: residual, options: {bits: 9, split: nearest, grid: refit}}"};
    static struct linear_fixture f;
    struct bg_train_state state = {0};
    double values[COUNT];
    linear_make(&f, "fc w=s6 a=u8\n");
    OK(linear_train(&f, TRAIN(3), &state, NULL));
    read_values(&f, values);
    for (int i = 0; i < 4; i++) {
        state = (struct bg_train_state){0};
        OK(linear_train(&f, options[i], &state, NULL));
        expect_values(&f, values);
        cr_assert((linear_weight(&f)->state.data != NULL) == (i == 1 || i == 3));
    }
    cr_assert(linear_weight(&f)->store->spec.room == 4 && linear_weight(&f)->store->spec.low == 9);
    state = (struct bg_train_state){0};
    cr_assert(linear_train(&f, "{epochs: 1, update: residual, options: {bits: 2}}", &state, NULL) ==
              BG_E_RANGE);
    cr_assert(strstr(bg_error(), "fc.weight: weights of 6 bits with 2 below them would drop bits"),
              "%s", bg_error());
    expect_values(&f, values);
    linear_take_down(&f);
}

Test(bit_changes, what_cannot_be_kept_is_refused_and_changes_nothing)
{
    static struct linear_fixture f;
    struct bg_train_state state = {0};
    double values[COUNT];
    linear_make(&f, "fc w=s8 a=u8 u=residual:8\n");
    OK(linear_train(&f, TRAIN(3), &state, NULL));
    read_values(&f, values);
    cr_assert(linear_apply(&f, "fc w=s4 a=u8 u=residual:8\n") == BG_E_RANGE);
    cr_assert(strstr(bg_error(), "layer fc: fc.weight: weights of 4 bits with 8 below"), "%s",
              bg_error());
    cr_assert(linear_apply(&f, "fc w=s2 a=u8 u=residual:13\n") == BG_E_RANGE);
    cr_assert(linear_weight(&f)->quantizer->grid.bits == 8 &&
              linear_weight(&f)->store->spec.low == 8);
    expect_values(&f, values);
    OK(linear_apply(&f, "fc w=s8 a=u8 u=residual:8\n"));
    expect_values(&f, values);
    OK(linear_apply(&f, "fc w=s4 a=u8\n")); /* the plan leaves it open: f32, ranged anew */
    cr_assert(!linear_weight(&f)->store && linear_weight(&f)->value.data);
    linear_take_down(&f);
}

Test(bit_changes, thresholds_and_kahan_go_on_too)
{
    static struct linear_fixture f;
    struct bg_train_state state = {0};
    double values[COUNT];
    float before[COUNT], after[COUNT];
    linear_make(&f, "fc w=s8 a=u8 u=threshold:16\n");
    OK(linear_train(&f, "{epochs: 2, lr: 0.02}", &state, NULL));
    read_values(&f, values);
    OK(linear_apply(&f, "fc w=s6 a=u8 u=threshold:19\n"));
    cr_assert(linear_weight(&f)->store->spec.buffer == 19 &&
              linear_weight(&f)->store->spec.low == 15);
    expect_values(&f, values);
    OK(linear_train(&f, "{epochs: 3, lr: 0.02}", &state, NULL));
    cr_assert(linear_weight(&f)->store->spec.buffer == 19);
    linear_take_down(&f);
    linear_make(&f, "fc w=s8 a=u8 u=kahan-bf16\n");
    state = (struct bg_train_state){0};
    OK(linear_train(&f, "{epochs: 2, lr: 0.02}", &state, NULL));
    bg_param_read(linear_weight(&f), 0, COUNT, before);
    OK(linear_apply(&f, "fc w=s5 a=u8 u=kahan-bf16\n"));
    bg_param_read(linear_weight(&f), 0, COUNT, after);
    cr_assert(!memcmp(before, after, sizeof before) && linear_weight(&f)->store->spec.bits == 5);
    OK(bg_store_valid(linear_weight(&f)->store, &linear_weight(&f)->quantizer->grid, "w"));
    linear_take_down(&f);
}

/* 5 steps an epoch, 4 gradients a write: of the 5th the store would keep a sum that other options
 * have no place for. The last step of a stage writes it, however it ends. */
Test(bit_changes, nothing_waits_when_a_stage_ends)
{
    static struct linear_fixture f;
    struct bg_train_state state = {0};
    double values[COUNT];
    for (int epochs = 1; epochs <= 2; epochs++) {
        char yaml[160];
        snprintf(yaml, sizeof yaml,
                 "{epochs: %d, lr: 0.02, update: residual, options: {bits: 12, gradients: 4, "
                 "sum_bits: 3}}",
                 epochs);
        linear_make(&f, "fc w=s8 a=u8\n");
        state = (struct bg_train_state){0};
        OK(linear_train(&f, yaml, &state, NULL));
        for (int i = 0; i < COUNT; i++)
            cr_assert(linear_weight(&f)->store->sum[i] == 0);
        cr_assert(linear_weight(&f)->store->written > 0);
        read_values(&f, values);
        state = (struct bg_train_state){0};
        OK(linear_train(&f, "{epochs: 0, update: residual, options: {bits: 12}}", &state, NULL));
        cr_assert(linear_weight(&f)->store->sum == NULL);
        expect_values(&f, values);
        linear_take_down(&f);
    }
}

/* An equal store on a grid of other steps is encoded anew; steps that are powers of two are taken
 * over, and a grid that moves takes any. */
Test(bit_changes, a_grid_of_powers_of_two_is_made_where_it_is_asked_for)
{
    static const char *const cases[][3] = {
        {"{epochs: 2, lr: 0.02, update: threshold, options: {bits: 16}}",
         "{epochs: 0, lr: 0.02, update: threshold, options: {bits: 16, form: fixed}}",
         "{epochs: 0, update: threshold, options: {bits: 16}}"},
        {"{epochs: 2, lr: 0.02, update: threshold, options: {bits: 16}}",
         "{epochs: 0, lr: 0.02, update: threshold, options: {bits: 16, form: dynamic}}",
         "{epochs: 0, update: threshold, options: {bits: 16}}"},
        {"{epochs: 2, lr: 0.02, update: residual, options: {bits: 12}}",
         "{epochs: 0, lr: 0.02, update: residual, options: {bits: 12, grid: power-of-two}}",
         "{epochs: 0, update: residual, options: {bits: 12}}"}};
    static struct linear_fixture f;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        struct bg_train_state state = {0};
        float before[COUNT], after[COUNT];
        double values[COUNT];
        linear_make(&f, "fc w=s8 a=u8\n");
        OK(linear_train(&f, cases[k][0], &state, NULL));
        bg_param_read(linear_weight(&f), 0, COUNT, before);
        for (int again = 0; again < 2; again++) {
            state = (struct bg_train_state){0};
            OK(linear_train(&f, cases[k][1], &state, NULL));
            for (int64_t c = 0; c < linear_weight(&f)->quantizer->grid.channels; c++) {
                int exponent;
                cr_assert(frexpf(linear_weight(&f)->quantizer->grid.scale[c], &exponent) == 0.5f);
            }
            if (again)
                expect_values(&f, values); /* what it wants is there: nothing changes */
            read_values(&f, values);
        }
        bg_param_read(linear_weight(&f), 0, COUNT, after);
        for (int i = 0; i < COUNT; i++) /* at least 12 bits below: half of the last, and f32 */
            cr_assert(fabsf(before[i] - after[i]) <
                      linear_weight(&f)->quantizer->grid.scale[i / (COUNT / OUT)] * 0x1p-12f);
        read_values(&f, values);
        state = (struct bg_train_state){0};
        OK(linear_train(&f, cases[k][2], &state, NULL)); /* any steps do */
        expect_values(&f, values);
        linear_take_down(&f);
    }
}
