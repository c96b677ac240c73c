/* Weights in integers: the worked vectors of P3 and P4 (policies/METHODS.md), conservation, the
 * cross-checks X3 and X4, and the pass over many weights against a scalar one. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/dnn.h"
#include "core/integer_update.h"
#include "core/kernel_table.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/store.h"

static const int64_t byte_limits[2] = {-128, 127}, wide[2] = {INT64_MIN / 4, INT64_MAX / 4};

/* ---- P3 (f) ---- */

static struct bg_buffer feed(struct bg_buffer b, int64_t u, int r, enum bg_fire fire,
                             const int64_t limits[2])
{
    b.sum += u;
    return bg_threshold_check(&b, (const int[2]){r, 0}, fire, limits);
}

Test(threshold, vector_1_moves_integers_by_each_rounding)
{
    static const int64_t u[6] = {5, 5, 7, -3, -22, 1};
    static const struct {
        enum bg_fire fire;
        int64_t state[6][2];
    } cases[] = {{BG_FIRE_TRUNC, {{0, 5}, {0, 10}, {1, 1}, {1, -2}, {0, -8}, {0, -7}}},
                 {BG_FIRE_NEAREST, {{0, 5}, {1, -6}, {1, 1}, {1, -2}, {0, -8}, {0, -7}}},
                 {BG_FIRE_FLOOR, {{0, 5}, {0, 10}, {1, 1}, {0, 14}, {-1, 8}, {-1, 9}}}};
    for (int c = 0; c < 3; c++) {
        struct bg_buffer b = {0};
        for (int i = 0; i < 6; i++) {
            b = feed(b, u[i], 4, cases[c].fire, wide);
            cr_assert(b.weight == cases[c].state[i][0] && b.sum == cases[c].state[i][1],
                      "rounding %d, step %d: %d, %d", c, i, (int)b.weight, (int)b.sum);
        }
        cr_assert(16 * b.weight + b.sum == -7);
    }
}

Test(threshold, vector_2_moves_the_overlapping_bits_of_fixed_point_words)
{
    static const struct {
        int64_t w, a;
        enum bg_fire fire;
        int64_t w_after, a_after;
    } cases[] = {{0x0400, 0x1388, BG_FIRE_BIT_RULE, 0x0401, 0x0388},
                 {0x0400, -5000, BG_FIRE_BIT_RULE, 0x03ff, -904},
                 {-1, 9000, BG_FIRE_BIT_RULE, 1, 808},
                 {0, -4096, BG_FIRE_TRUNC, -1, 0},
                 {0, -4096, BG_FIRE_BIT_RULE, 0, -4096},
                 {0, 4096, BG_FIRE_TRUNC, 1, 0},
                 {0, 4096, BG_FIRE_BIT_RULE, 1, 0}};
    cr_assert((-5000 & 0xffff) == 0xec78 && (-904 & 0xffff) == 0xfc78); /* the printed words */
    for (int i = 0; i < 7; i++) {
        const struct bg_buffer from = {.weight = cases[i].w, .sum = cases[i].a};
        const struct bg_buffer to =
            bg_threshold_check(&from, (const int[2]){12, 0}, cases[i].fire, wide);
        cr_assert(to.weight == cases[i].w_after && to.sum == cases[i].a_after, "case %d", i);
    }
}

Test(threshold, vector_3_toy_buffer_and_its_bit_rule_for_every_byte)
{
    static const struct {
        int64_t a;
        enum bg_fire fire;
        int64_t moved;
    } cases[] = {{-24, BG_FIRE_BIT_RULE, -16},
                 {-32, BG_FIRE_BIT_RULE, -16},
                 {-32, BG_FIRE_TRUNC, -32},
                 {127, BG_FIRE_BIT_RULE, 112},
                 {127, BG_FIRE_TRUNC, 112}};
    for (int i = 0; i < 5; i++)
        cr_assert(bg_threshold_effective(cases[i].a, 4, cases[i].fire) == cases[i].moved);
    for (int a = -128; a < 128; a++) { /* E / theta = H - s * (2^ov - 1), 3 overlapping bits */
        const int64_t high = ((a & 0xff) >> 4) & 7, sign = a < 0;
        const int64_t rule = bg_threshold_effective(a, 4, BG_FIRE_BIT_RULE);
        const int64_t cut = bg_threshold_effective(a, 4, BG_FIRE_TRUNC);
        const int64_t near = a - bg_threshold_effective(a, 4, BG_FIRE_NEAREST);
        cr_assert(rule == 16 * (high - sign * 7), "%d", a);
        cr_assert(cut == a / 16 * 16); /* C's division cuts towards zero */
        cr_assert((rule != cut) == (a < 0 && a % 16 == 0), "%d", a);
        cr_assert(a - rule >= -16 && a - rule < 16 && near >= -8 && near <= 8);
    }
}

Test(threshold, vectors_4_and_5_floating_point_steps_and_second_bias)
{
    double w = 1.0, a = 0.0;
    int moved[2] = {0, 0}, moves = 0;
    for (int step = 1; step <= 7; step++) {
        const double theta = bg_float_step(w, 10, -14); /* float16 */
        a += 3e-4;
        if (fabs(a) >= theta) {
            const double effective = trunc(a / theta) * theta;
            w += effective;
            a -= effective;
            cr_assert(moves < 2);
            moved[moves++] = step;
            cr_assert(w == (moves == 1 ? 1.0009765625 : 1.001953125));
        }
        if (step == 4)
            cr_assert(fabs(a - 2.234375e-4) < 1e-15);
    }
    cr_assert(moves == 2 && moved[0] == 4 && moved[1] == 7);
    cr_assert(bg_float_step(1.5, 10, -14) == 0x1p-10 && bg_float_step(0, 10, -14) == 0x1p-24);
    cr_assert(bg_second_bias(0x1p-10, 30, 1) == 39);
    /* (2 - 2^-10) * 2^(30 - 39) and 2^(1 - 39) */
    cr_assert(fabs((2 - 0x1p-10) * 0x1p-9 - 3.904e-3) < 1e-6);
}

Test(threshold, vector_6_moves_the_point_of_dynamic_fixed_point)
{
    const struct bg_buffer from = {.weight = 109, .sum = 3}; /* 109/128, a step is 16 units */
    const struct bg_buffer to = bg_threshold_point(&from, 4, 1);
    cr_assert(to.weight == 54 && to.sum == 3 + 16);
    for (int64_t w = -128; w < 128; w++)
        for (int k = 1; k < 4; k++) {
            const struct bg_buffer a = {.weight = w, .sum = -5};
            const struct bg_buffer b = bg_threshold_point(&a, 4, k);
            cr_assert(b.weight * (16 << k) + b.sum == 16 * w - 5);
            cr_assert(llabs(b.weight) == llabs(w) >> k);
        }
}

Test(threshold, vector_7_saturation_drops_what_the_weight_cannot_take)
{
    const struct bg_buffer top = {.weight = 126, .sum = 50}, end = {.weight = -127, .sum = -70};
    const struct bg_buffer a =
        bg_threshold_check(&top, (const int[2]){4, 0}, BG_FIRE_TRUNC, byte_limits);
    const struct bg_buffer b =
        bg_threshold_check(&end, (const int[2]){4, 0}, BG_FIRE_TRUNC, byte_limits);
    cr_assert(a.weight == 127 && a.sum == 2 && a.dropped == 2);
    cr_assert(b.weight == -128 && b.sum == -6 && b.dropped == -3);
}

Test(threshold, moves_first_when_full_and_drifts_by_what_it_gets)
{
    for (int64_t u = 1; u <= 40; u++) {
        struct bg_buffer b = {0}, mirror = {0};
        int64_t first = 0;
        for (int64_t step = 1; step <= 500; step++) {
            b = feed(b, u, 4, BG_FIRE_TRUNC, wide);
            mirror = feed(mirror, -u, 4, BG_FIRE_TRUNC, wide);
            cr_assert(mirror.weight == -b.weight && mirror.sum == -b.sum); /* odd symmetry */
            first = first == 0 && b.weight != 0 ? step : first;
        }
        cr_assert(first == (16 + u - 1) / u);
        cr_assert(16 * b.weight + b.sum == 500 * u);
    }
}

/* Uniform integers in [-20, 20], theta = 128: truncation writes less than a fifth as often. */
Test(threshold, truncation_has_hysteresis)
{
    const struct bg_rng rng = {.seed = 2, .stream = BG_STREAM_TEST};
    int64_t writes[BG_FIRES] = {0};
    for (int fire = 0; fire < BG_FIRES; fire++) {
        struct bg_buffer b = {0};
        for (uint64_t i = 0; i < 100000; i++) {
            const int64_t before = b.weight;
            b = feed(b, (int64_t)bg_rng_below(&rng, i, 41) - 20, 7, (enum bg_fire)fire, wide);
            writes[fire] += b.weight != before;
        }
    }
    cr_assert(5 * writes[BG_FIRE_TRUNC] < writes[BG_FIRE_FLOOR]);
    cr_assert(5 * writes[BG_FIRE_TRUNC] < writes[BG_FIRE_NEAREST]);
    cr_assert(5 * writes[BG_FIRE_BIT_RULE] < writes[BG_FIRE_FLOOR]);
}

/* ---- P4 (f) ---- */

Test(residual, table_of_vectors_in_both_forms)
{
    static const struct {
        int64_t w, r, g[4];
        int count;
        int64_t tuned, w_after, r_after;
        bool saturated;
    } rows[] = {{109, -84, {1203, -10}, 2, 297, 110, 85, false},
                {-1, 5, {-40}, 1, -10, -2, 123, false},
                {5, 127, {4}, 1, 1, 6, 0, false},
                {0, 0, {3, 3, 3, 3}, 4, 0, 0, 0, false},
                {127, 100, {200}, 1, 50, 127, 127, true}};
    for (int i = 0; i < 5; i++) {
        const struct bg_split from = {.weight = rows[i].w, .low = rows[i].r};
        int64_t sum = 0;
        for (int g = 0; g < rows[i].count; g++)
            sum += bg_tune_bits(rows[i].g[g], 2, BG_TUNE_FLOOR);
        cr_assert(sum == rows[i].tuned, "row %d: %d", i, (int)sum);
        const struct bg_split a = bg_residual_mapping(&from, sum, 7, byte_limits);
        const struct bg_split b = bg_residual_concat(&from, sum, 7, byte_limits);
        cr_assert(a.weight == rows[i].w_after && a.low == rows[i].r_after, "row %d", i);
        cr_assert(a.saturated == rows[i].saturated);
        cr_assert(b.weight == a.weight && b.low == a.low && b.saturated == a.saturated);
    }
    cr_assert(bg_tune_bits(3 + 3 + 3 + 3, 2, BG_TUNE_FLOOR) == 3);
    cr_assert(bg_tune_bits(-10, 2, BG_TUNE_TRUNC) == -2 &&
              bg_tune_bits(-10, 2, BG_TUNE_FLOOR) == -3);
    /* (c) 1: G = -468, r = 7: effective part -3 steps, residual -84 */
    cr_assert(bg_threshold_effective(-468, 7, BG_FIRE_TRUNC) == -3 * 128 && -468 + 384 == -84);
}

Test(residual, mapping_equals_concatenation_for_all_of_4_bits_and_3)
{
    static const int64_t limits[2] = {-8, 7};
    for (int64_t w = -8; w < 8; w++)
        for (int64_t r = -8; r < 8; r++) /* the first residual may be negative */
            for (int64_t sum = -100; sum <= 100; sum++) {
                const struct bg_split from = {.weight = w, .low = r};
                const struct bg_split a = bg_residual_mapping(&from, sum, 3, limits);
                const struct bg_split b = bg_residual_concat(&from, sum, 3, limits);
                cr_assert(a.weight == b.weight && a.low == b.low && a.saturated == b.saturated);
                cr_assert(a.low >= 0 && a.low < 8);
                if (!a.saturated)
                    cr_assert(8 * a.weight + a.low == 8 * w + r + sum);
            }
}

/* Dropping 2 bits of uniform integers: floor loses 3/8 of a unit in the mean, the others nothing.
 * 100000 draws of deviation below 0.5: the mean is good to 0.5 / sqrt(100000) = 0.0016; 5 of it. */
Test(residual, only_floor_is_biased)
{
    const struct bg_rng rng = {.seed = 3, .stream = BG_STREAM_TEST};
    const double expected[3] = {0, -0.375, 0};
    for (int tune = 0; tune < 3; tune++) {
        double bias = 0;
        for (uint64_t i = 0; i < 100000; i++) {
            const int64_t g = (int64_t)bg_rng_below(&rng, i, 4001) - 2000;
            bias += (double)bg_tune_bits(g, 2, (enum bg_tune)tune) - (double)g / 4;
        }
        cr_assert(fabs(bias / 100000 - expected[tune]) < 0.008, "%d: %g", tune, bias / 100000);
    }
}

/* X3, X4 and conservation over 1e6 steps: buffer, residual and one wide integer hold one total. */
Test(residual, x3_x4_threshold_residual_and_wide_integer_agree_in_total)
{
    const struct bg_rng rng = {.seed = 4, .stream = BG_STREAM_TEST};
    struct bg_split split = {.weight = 0};
    struct bg_buffer buffer[BG_FIRES] = {{0}};
    int64_t total = 0, most = 0;
    for (uint64_t i = 0; i < 1000000; i++) {
        const int64_t u = (int64_t)bg_rng_below(&rng, i, 401) - 200;
        total += u;
        split = bg_residual_mapping(&split, u, 7, wide);
        cr_assert(split.weight * 128 + split.low == total && split.weight == total >> 7);
        for (int f = 0; f < BG_FIRES; f++) {
            buffer[f] = feed(buffer[f], u, 7, (enum bg_fire)f, wide);
            cr_assert(buffer[f].weight * 128 + buffer[f].sum == total);
        }
        const int64_t apart = llabs(split.weight - buffer[BG_FIRE_TRUNC].weight);
        most = apart > most ? apart : most;
    }
    cr_assert(most == 1);
}

/* ---- the pass over many weights ---- */

#define ROWS  5
#define EACH  133
#define COUNT (ROWS * EACH)

struct weights {
    struct bg_param param;
    struct bg_quantizer quantizer;
    float scale[ROWS], grad[COUNT], state[COUNT];
    struct bg_store_spec spec;
};

static struct bg_tensor tensor_of(float *data)
{
    return (struct bg_tensor){
        .data = data, .dtype = BG_F32, .shape = {.rank = 2, .dims = {ROWS, EACH}}};
}

static void make(struct weights *w, const struct bg_store_spec *spec)
{
    const struct bg_rng rng = {.seed = 5, .stream = BG_STREAM_TEST};
    float values[COUNT];
    memset(w, 0, sizeof *w);
    w->spec = *spec;
    cr_assert(bg_grid_limits(&w->quantizer.grid, spec->bits, true, true) == BG_OK);
    w->quantizer.grid.channels = ROWS;
    w->quantizer.grid.scale = w->scale;
    for (int c = 0; c < ROWS; c++)
        w->scale[c] = 0.011f * (float)(c + 1);
    w->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT, .quantizer = &w->quantizer};
    w->param.value = tensor_of(NULL);
    w->param.grad = tensor_of(w->grad);
    w->param.state = tensor_of(spec->momentum == BG_STORE_MOMENTUM_F32 ? w->state : NULL);
    for (uint64_t i = 0; i < COUNT; i++)
        values[i] = (float)(bg_rng_normal(&rng, i) * (double)w->scale[i / EACH] *
                            (double)w->quantizer.grid.qmax / 3);
    cr_assert(bg_store_make(&w->param.store, spec, COUNT, ROWS) == BG_OK, "%s", bg_error());
    bg_store_encode(w->param.store, &w->quantizer.grid, values);
}

static void new_gradient(struct weights *w, uint32_t step)
{
    const struct bg_rng rng = {.seed = 6, .stream = BG_STREAM_TEST, .step = step};
    for (uint64_t i = 0; i < COUNT; i++)
        w->grad[i] = (float)bg_rng_normal(&rng, i) * (i % 7 == 0 ? 0.001f : 0.3f);
}

static int64_t integer_of(const struct bg_store_step *step, float x, float random)
{
    float down = floorf(x);
    switch (step->tune) {
    case BG_TUNE_NEAREST:
        return (int64_t)nearbyintf(x);
    case BG_TUNE_TRUNC:
        return (int64_t)truncf(x);
    case BG_TUNE_STOCHASTIC:
        return (int64_t)down + (random < x - down);
    default:
        return (int64_t)down;
    }
}

/* One weight, f32 momentum, in the words of core/integer_update.h. */
static void scalar(const struct weights *w, const struct bg_store_step *step, int64_t i,
                   float *momentum, int64_t state[2])
{
    const struct bg_store *store = w->param.store;
    const struct bg_rng rng = {.seed = bg_rng_hash(step->seed, "w"),
                               .stream = BG_STREAM_ROUNDING,
                               .step = (uint32_t)step->step};
    const int r = w->spec.low, half = w->spec.half && r > 0 ? 1 << (r - 1) : 0;
    const float s = w->scale[i / EACH], power = ldexpf(1, r), last = s / power;
    const float mu = (float)step->momentum, lr = (float)step->lr, decay = (float)step->decay;
    const float value =
        (float)bg_store_code(store, i) * s + (float)(bg_store_below(store, i) - half) * last;
    float g = w->grad[i] + (decay != 0 ? decay * value : 0), u;
    const int64_t limits[2] = {w->quantizer.grid.qmin, w->quantizer.grid.qmax};
    if (step->gradient) {
        g = nearbyintf(-(lr * g) * (power / s)) * last;
        *momentum = mu * *momentum + g;
        u = step->nesterov ? g + mu * *momentum : *momentum;
    } else {
        *momentum = mu * *momentum + g;
        u = -(lr * (step->nesterov ? g + mu * *momentum : *momentum));
    }
    const int64_t k = integer_of(step, u * (power / s), bg_rng_uniform(&rng, (uint64_t)i));
    if (w->spec.form == BG_STORE_SPLIT) {
        const struct bg_split from = {bg_store_code(store, i), bg_store_below(store, i), false};
        const struct bg_split to = bg_residual_mapping(&from, k, r, limits);
        state[0] = to.weight;
        state[1] = to.low;
    } else {
        const int64_t most = ((int64_t)1 << (w->spec.buffer - 1)) - 1;
        const int64_t sum = bg_store_below(store, i) + k;
        struct bg_buffer b = {.weight = bg_store_code(store, i),
                              .sum = sum < -most  ? -most
                                     : sum > most ? most
                                                  : sum};
        if (step->check)
            b = bg_threshold_check(&b, (const int[2]){r, step->bit}, step->fire, limits);
        state[0] = b.weight;
        state[1] = b.sum;
    }
}

static void expect_scalar(const struct bg_store_spec *spec, const struct bg_store_step *given)
{
    struct weights w;
    float momentum[COUNT] = {0};
    int64_t wanted[COUNT][2];
    make(&w, spec);
    for (uint32_t t = 0; t < 12; t++) {
        struct bg_store_step step = *given;
        step.step = t;
        step.check = t % 3 == 2 || spec->form == BG_STORE_SPLIT;
        new_gradient(&w, t);
        for (int64_t i = 0; i < COUNT; i++)
            scalar(&w, &step, i, &momentum[i], wanted[i]);
        bg_integer_update(&w.param, &step);
        for (int64_t i = 0; i < COUNT; i++)
            cr_assert(
                bg_store_code(w.param.store, i) == wanted[i][0] &&
                    bg_store_below(w.param.store, i) == wanted[i][1] && w.state[i] == momentum[i],
                "form %d, %d bits, %d below, tune %d, step %d, weight %d: %d %d, wanted %d %d",
                spec->form, spec->bits, spec->low, step.tune, (int)t, (int)i,
                bg_store_code(w.param.store, i), bg_store_below(w.param.store, i),
                (int)wanted[i][0], (int)wanted[i][1]);
    }
    cr_assert(w.param.store->updates == 12 * COUNT && w.param.store->written > 0);
    bg_store_free(w.param.store);
}

Test(integer_update, equals_one_weight_at_a_time)
{
    static const int bits[] = {2, 4, 8, 12, 16}, low[] = {0, 1, 7, 8, 12, 16, 20};
    for (int b = 0; b < 5; b++)
        for (int l = 0; l < 7; l++)
            for (int tune = 0; tune < BG_TUNES; tune++) {
                const struct bg_store_spec spec = {
                    .form = BG_STORE_SPLIT, .bits = bits[b], .low = low[l], .half = tune % 2 == 0};
                const struct bg_store_step step = {.lr = 0.02,
                                                   .momentum = 0.9,
                                                   .decay = l % 2 == 0 ? 5e-4 : 0,
                                                   .nesterov = b % 2 == 0,
                                                   .gradient = (b + l) % 3 == 0,
                                                   .tune = (enum bg_tune)tune,
                                                   .seed = 7};
                expect_scalar(&spec, &step);
            }
    for (int b = 0; b < 5; b++)
        for (int fire = 0; fire < BG_FIRES; fire++)
            for (int n = 0; n < 2; n++)
                for (int buffer = 6; buffer <= 24; buffer += 6) {
                    const struct bg_store_spec spec = {.form = BG_STORE_BUFFER,
                                                       .bits = bits[b],
                                                       .low = buffer - 4,
                                                       .buffer = buffer};
                    const struct bg_store_step step = {
                        .lr = 0.02, .momentum = 0.5, .fire = (enum bg_fire)fire, .bit = n};
                    expect_scalar(&spec, &step);
                }
}

static bool equal(const struct bg_store *a, const struct bg_store *b)
{
    const size_t n = (size_t)a->count;
    return memcmp(a->codes, b->codes, n * (size_t)a->code_bytes) == 0 &&
           (a->below == NULL || memcmp(a->below, b->below, n * (size_t)a->below_bytes) == 0) &&
           (a->momentum == NULL ||
            memcmp(a->momentum, b->momentum, n * (size_t)a->momentum_bytes) == 0) &&
           a->written == b->written && a->saturated == b->saturated && a->lost == b->lost &&
           a->kept == b->kept && a->beyond == b->beyond;
}

/* All forms, momentum formats and instruction sets; a chunk's end falls inside a row. */
Test(integer_update, instruction_sets_give_the_same_bits)
{
    enum { N = BG_UPDATE_CHUNK + 37 };
    static float grad[N], state[2][N];
    static char codes[2][2 * N], below[2][4 * N], momentum[2][2 * N];
    const struct bg_rng rng = {.seed = 8, .stream = BG_STREAM_TEST};
    for (uint64_t i = 0; i < N; i++)
        grad[i] = (float)bg_rng_normal(&rng, i);
    for (int v = 1; v < bg_kernel_variant_count(); v++)
        for (int m = 0; m < BG_STORE_MOMENTA; m++)
            for (int form = 0; form < 4; form++)
                for (int tune = 0; tune < BG_TUNES; tune++) {
                    int64_t counts[2] = {0, 0};
                    for (int side = 0; side < 2; side++) {
                        struct bg_kernel_update in = {.n = N,
                                                      .grad = grad,
                                                      .state = state[side],
                                                      .momentum = momentum[side],
                                                      .codes = codes[side],
                                                      .below = below[side],
                                                      .format = (enum bg_store_momentum)m,
                                                      .form = (enum bg_store_form)form,
                                                      .code_bytes = 1 + tune % 2,
                                                      .below_bytes = form == BG_STORE_KAHAN ? 4 : 2,
                                                      .scale = 0.01f,
                                                      .last = 0.01f / 64,
                                                      .inverse = 6400,
                                                      .shift = 6,
                                                      .half = 32,
                                                      .qmin = -127,
                                                      .qmax = 127,
                                                      .largest = 1 << 14,
                                                      .limit = 2047,
                                                      .lr = 0.01f,
                                                      .mu = 0.9f,
                                                      .decay = 1e-3f,
                                                      .nesterov = tune % 2 == 0,
                                                      .gradient = m == 1,
                                                      .check = true,
                                                      .tune = (enum bg_tune)tune,
                                                      .fire = (enum bg_fire)tune,
                                                      .theta = form == BG_STORE_FLOAT ? 0 : 7,
                                                      .floats = {{3, -11, 2}, {10, -28, 1}},
                                                      .exponent = {4, 5},
                                                      .most = {7.5f, 3.998046875f},
                                                      .rng = rng,
                                                      .index = 3};
                        memset(state[side], 0, sizeof state[side]);
                        memset(codes[side], 0, sizeof codes[side]);
                        memset(below[side], 0, sizeof below[side]);
                        memset(momentum[side], 0, sizeof momentum[side]);
                        for (int t = 0; t < 3; t++)
                            bg_kernel_variant(side == 0 ? 0 : v)->update->run(&in);
                        counts[side] = in.written + 3 * in.saturated + 7 * in.lost + 11 * in.kept;
                    }
                    cr_assert(memcmp(codes[0], codes[1], sizeof codes[0]) == 0);
                    cr_assert(memcmp(below[0], below[1], sizeof below[0]) == 0);
                    cr_assert(memcmp(momentum[0], momentum[1], sizeof momentum[0]) == 0);
                    cr_assert(memcmp(state[0], state[1], sizeof state[0]) == 0);
                    cr_assert(counts[0] == counts[1] && counts[0] > 0);
                }
}

/* The loop for residuals of the usual kind, which CPUs with AVX-512 have, and the general one: runs
 * of all lengths, grids so small that weights stop at their ends, gradients that are no numbers. */
struct usual {
    float grad[100], state[100];
    int8_t codes[100];
    uint16_t momentum[100];
    int32_t below[100]; /* of 0, 1, 2 or 4 bytes */
};

static void make_usual(struct usual *u, int shift, int low_bytes, int qmax)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, -0.0f, 1e-38f, 0.0f};
    const struct bg_rng rng = {.seed = 9, .stream = BG_STREAM_TEST};
    memset(u, 0, sizeof *u);
    for (int i = 0; i < 100; i++) {
        const uint32_t word = bg_rng_u32(&rng, (uint64_t)(1000 + i));
        const int32_t below = (int32_t)(word & ((1u << shift) - 1));
        u->grad[i] = i % 11 == 3 ? odd[i / 11 % 8] : 3 * (float)bg_rng_normal(&rng, (uint64_t)i);
        u->state[i] = 0.1f * (float)bg_rng_normal(&rng, (uint64_t)(500 + i));
        u->momentum[i] = (uint16_t)(0x3c00u + (word >> 28));
        u->codes[i] = (int8_t)((int)(word >> 8) % (qmax + 1));
        memcpy((char *)u->below + i * low_bytes, &below, (size_t)low_bytes);
    }
}

static void expect_usual(int variant, int n, int low_bytes, int kind, int64_t *lost,
                         int64_t *saturated)
{
    struct usual u[2];
    struct bg_kernel_update in[2];
    const int shift = low_bytes == 0 ? 0 : low_bytes == 1 ? 8 : low_bytes == 2 ? 13 : 22;
    const int qmax = kind % 2 == 0 ? 127 : 1;
    const float power = (float)(1 << shift);

    for (int side = 0; side < 2; side++) {
        make_usual(&u[side], shift, low_bytes, qmax);
        in[side] = (struct bg_kernel_update){.n = n,
                                             .grad = u[side].grad,
                                             .state = u[side].state,
                                             .momentum = u[side].momentum,
                                             .codes = u[side].codes,
                                             .below = low_bytes > 0 ? u[side].below : NULL,
                                             .format = kind / 2 % 2 == 0 ? BG_STORE_MOMENTUM_F32
                                                                         : BG_STORE_MOMENTUM_BF16,
                                             .form = BG_STORE_SPLIT,
                                             .code_bytes = 1,
                                             .below_bytes = low_bytes,
                                             .scale = 0.01f,
                                             .last = 0.01f / power,
                                             .inverse = power / 0.01f,
                                             .shift = shift,
                                             .half = shift > 0 ? 1 << (shift - 1) : 0,
                                             .qmin = -qmax,
                                             .qmax = qmax,
                                             .largest = 1 << (shift + 6),
                                             .lr = 0.01f,
                                             .mu = 0.9f,
                                             .decay = kind / 4 % 2 == 0 ? 0 : 1e-3f,
                                             .tune = BG_TUNE_NEAREST};
    }
    for (int t = 0; t < 3; t++) {
        bg_kernel_variant(0)->update->run(&in[0]);
        cr_assert(bg_kernel_variant(variant)->update->usual(&in[1]));
    }
    for (int i = 0; i < 100; i++) { /* NaN has many patterns */
        if (isnan(u[0].state[i]) && isnan(u[1].state[i]))
            u[0].state[i] = u[1].state[i] = 0;
        if ((u[0].momentum[i] & 0x7fffu) > 0x7f80u && (u[1].momentum[i] & 0x7fffu) > 0x7f80u)
            u[0].momentum[i] = u[1].momentum[i] = 0;
    }
    cr_assert(memcmp(u[0].codes, u[1].codes, sizeof u[0].codes) == 0 &&
                  memcmp(u[0].below, u[1].below, sizeof u[0].below) == 0,
              "variant %d, %d weights, %d bytes below, kind %d", variant, n, low_bytes, kind);
    cr_assert(memcmp(u[0].state, u[1].state, sizeof u[0].state) == 0 &&
                  memcmp(u[0].momentum, u[1].momentum, sizeof u[0].momentum) == 0,
              "variant %d, %d weights, %d bytes below, kind %d", variant, n, low_bytes, kind);
    cr_assert(in[0].written == in[1].written && in[0].saturated == in[1].saturated &&
              in[0].lost == in[1].lost && in[0].kept == in[1].kept && in[0].beyond == in[1].beyond);
    cr_assert(n < 40 || (in[0].written > 0 && in[0].kept > 0 && in[0].beyond > 0));
    *lost += in[0].lost;
    *saturated += in[0].saturated;
}

Test(integer_update, usual_case_equals_the_general_one)
{
    static const int bytes[] = {0, 1, 2, 4};
    int64_t lost = 0, saturated = 0;
    if (bg_kernel_variant_count() < 3)
        cr_skip_test("this CPU has no AVX-512");
    for (int v = 2; v < bg_kernel_variant_count(); v++)
        for (int n = 1; n <= 100; n++)
            for (int kind = 0; kind < 16; kind++)
                for (int b = 0; b < 4; b++)
                    expect_usual(v, n, bytes[b], kind, &lost, &saturated);
    cr_assert(lost > 0 && saturated > 0);
}

Test(integer_update, usual_case_leaves_the_others_alone)
{
    for (int v = 0; v < bg_kernel_variant_count(); v++)
        for (int other = 0; other < 6; other++) {
            int8_t code = 3;
            int32_t sum = 0;
            float grad = 1, state = 0;
            struct bg_kernel_update in = {.n = 1,
                                          .grad = &grad,
                                          .state = &state,
                                          .codes = &code,
                                          .form = other == 0 ? BG_STORE_BUFFER : BG_STORE_SPLIT,
                                          .code_bytes = other == 1 ? 2 : 1,
                                          .tune = other == 2 ? BG_TUNE_FLOOR : BG_TUNE_NEAREST,
                                          .sum = other == 3 ? &sum : NULL,
                                          .gradient = other == 4,
                                          .format = other == 5 ? BG_STORE_MOMENTUM_S16
                                                               : BG_STORE_MOMENTUM_F32};
            cr_assert(!bg_kernel_variant(v)->update->usual(&in));
            cr_assert(code == 3 && state == 0 && in.kept == 0);
        }
}

/* More weights than one thread takes by itself, in rows that threads do not divide; through a sink,
 * which is in a parallel region already, and without one. */
enum { MANY_ROWS = 67, MANY_EACH = 613, MANY = MANY_ROWS * MANY_EACH };

static bool fake_begin(struct bg_param *param)
{
    return param != NULL;
}

static bool fake_rows(struct bg_param *param, int64_t first, int64_t last)
{
    return param != NULL && first < last;
}

static void fake_end(struct bg_param *param, bool good)
{
    cr_assert(param != NULL && good);
}

static struct bg_store *many_after(const struct bg_store_spec *spec, int threads, bool sink,
                                   float *state)
{
    static float grad[MANY], scale[MANY_ROWS];
    const struct bg_rng rng = {.seed = 10, .stream = BG_STREAM_TEST};
    struct bg_sink fake = {.begin = fake_begin, .rows = fake_rows, .end = fake_end};
    struct bg_quantizer quantizer = {.grid = {.scale = scale}};
    struct bg_param param = {.name = "many",
                             .kind = BG_PARAM_WEIGHT,
                             .quantizer = &quantizer,
                             .sink = sink ? &fake : NULL};
    const struct bg_store_step step = {
        .lr = 0.05, .momentum = 0.9, .check = true, .tune = BG_TUNE_NEAREST};

    cr_assert(bg_grid_limits(&quantizer.grid, spec->bits, true, true) == BG_OK);
    quantizer.grid.channels = MANY_ROWS;
    param.value = tensor_of(NULL);
    param.value.shape.dims[0] = MANY_ROWS;
    param.value.shape.dims[1] = MANY_EACH;
    param.grad = param.state = param.value;
    param.grad.data = grad;
    param.state.data = spec->momentum == BG_STORE_MOMENTUM_F32 ? state : NULL;
    for (int c = 0; c < MANY_ROWS; c++)
        scale[c] = 0.003f * (float)(c + 1);
    for (uint64_t i = 0; i < MANY; i++)
        grad[i] = (float)bg_rng_normal(&rng, i) * (i % 7 == 0 ? 0.0001f : 0.3f);
    memset(state, 0, MANY * sizeof *state);
    cr_assert(bg_store_make(&param.store, spec, MANY, MANY_ROWS) == BG_OK, "%s", bg_error());
    bg_threads_set(threads);
    for (int t = 0; t < 3; t++)
        bg_integer_update(&param, &step);
    return param.store;
}

Test(integer_update, threads_give_the_same_bits)
{
    static float states[2][MANY];
    for (int form = 0; form < 3; form++)
        for (int m = 0; m < BG_STORE_MOMENTA; m++) {
            const struct bg_store_spec spec = {.form = (enum bg_store_form)form,
                                               .bits = 4,
                                               .low = form == BG_STORE_KAHAN ? 0 : 8,
                                               .buffer = form == BG_STORE_BUFFER ? 12 : 0,
                                               .momentum = (enum bg_store_momentum)m};
            struct bg_store *one = many_after(&spec, 1, false, states[0]);
            for (int way = 0; way < 4; way++) {
                struct bg_store *other = many_after(&spec, 2 + way / 2, way % 2 == 1, states[1]);
                cr_assert(equal(one, other), "form %d, momentum %d, way %d", form, m, way);
                cr_assert(memcmp(states[0], states[1], sizeof states[0]) == 0);
                bg_store_free(other);
            }
            cr_assert(one->written > 0 && one->kept > 0);
            cr_assert(form == BG_STORE_KAHAN || one->lost > 0);
            bg_store_free(one);
        }
}

/* ---- storage ---- */

Test(store, encoding_keeps_values_to_half_of_the_last_bit)
{
    static const int low[] = {0, 3, 8, 13, 24};
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 5; l++) {
            const struct bg_store_spec spec = {
                .form = BG_STORE_SPLIT, .bits = 8, .low = low[l], .half = half == 1 || low[l] == 0};
            struct weights w;
            float back[COUNT];
            const struct bg_rng rng = {.seed = 5, .stream = BG_STREAM_TEST};
            make(&w, &spec);
            cr_assert(bg_store_valid(w.param.store, &w.quantizer.grid, "w") == BG_OK);
            bg_param_read(&w.param, 0, COUNT, back);
            for (uint64_t i = 0; i < COUNT; i++) {
                const double s = (double)w.scale[i / EACH];
                const double x = (double)(float)(bg_rng_normal(&rng, i) * s * 127 / 3);
                if (fabs(x) > 126 * s)
                    continue;
                /* and to f32's rounding of the value */
                cr_assert(fabs((double)back[i] - x) <=
                          ldexp(s, -low[l] - 1) * 1.000001 + fabs(x) * (double)FLT_EPSILON);
                if (spec.half)
                    cr_assert(fabs(bg_store_code(w.param.store, (int64_t)i) * s - x) <=
                              0.5 * s * (1 + ldexp(1, -low[l])) + 1e-9);
            }
            bg_store_free(w.param.store);
        }
}

Test(store, grid_moves_by_powers_of_two_with_the_total_preserved)
{
    const struct bg_store_spec spec = {
        .form = BG_STORE_SPLIT, .bits = 8, .low = 5, .room = 3, .half = true};
    struct weights w;
    float before[COUNT], now[COUNT];
    make(&w, &spec);
    bg_param_read(&w.param, 0, COUNT, before);
    cr_assert(bg_store_regrid(&w.param, 1, 3) == BG_OK, "%s", bg_error());
    cr_assert(w.param.store->shift[1] == 8 && w.scale[1] == 8 * 0.022f);
    bg_param_read(&w.param, 0, COUNT, now);
    cr_assert(memcmp(before, now, sizeof now) == 0);
    cr_assert(bg_store_regrid(&w.param, 1, -3) == BG_OK);
    bg_param_read(&w.param, 0, COUNT, now);
    cr_assert(memcmp(before, now, sizeof now) == 0 && w.param.store->shift[1] == 5);
    cr_assert(bg_store_regrid(&w.param, 1, -6) == BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "w: a grid of 2^-6 leaves -1 bits below, limits are 0 and 8");
    cr_assert(bg_store_regrid(&w.param, 1, 4) == BG_E_RANGE);
    cr_assert(bg_store_regrid(&w.param, 1, -5) == BG_E_RANGE);
    cr_assert(strstr(bg_error(), "would have code") != NULL, "%s", bg_error());
    bg_param_read(&w.param, 0, COUNT, now);
    cr_assert(memcmp(before, now, sizeof now) == 0);
    bg_store_free(w.param.store);
}

/* What a damaged file could bring. */
Test(store, finds_numbers_that_cannot_be)
{
    for (int form = 0; form < 3; form++) {
        const struct bg_store_spec spec = {.form = (enum bg_store_form)form,
                                           .bits = 4,
                                           .low = form == BG_STORE_KAHAN ? 0 : 5,
                                           .buffer = form == BG_STORE_BUFFER ? 9 : 0};
        const int32_t bad_below = form == BG_STORE_KAHAN ? 0x7f80 : form == 0 ? 32 : -256;
        struct weights w;
        make(&w, &spec);
        const struct bg_grid *grid = &w.quantizer.grid;
        const int32_t code = bg_store_code(w.param.store, 9),
                      below = bg_store_below(w.param.store, 9);
        cr_assert(bg_store_valid(w.param.store, grid, "w") == BG_OK, "%s", bg_error());
        bg_store_set(w.param.store, 9, 8, below);
        cr_assert(bg_store_valid(w.param.store, grid, "w") == BG_E_DATA);
        cr_assert_str_eq(bg_error(), "w: code 9 is 8, limits are -7 and 7");
        bg_store_set(w.param.store, 9, code, bad_below);
        cr_assert(bg_store_valid(w.param.store, grid, "w") == BG_E_DATA, "%d", form);
        bg_store_set(w.param.store, 9, code, below);
        w.param.store->shift[2] = 7;
        cr_assert(bg_store_valid(w.param.store, grid, "w") == BG_E_DATA);
        bg_store_free(w.param.store);
    }
}

Test(store, refuses_widths_that_do_not_fit)
{
    static const struct bg_store_spec bad[] = {
        {.bits = 1},
        {.bits = 17},
        {.bits = 8, .low = 25},
        {.bits = 8, .low = -1},
        {.form = BG_STORE_BUFFER, .bits = 8, .low = 8, .buffer = 9},
        {.form = BG_STORE_BUFFER, .bits = 8, .low = 8, .buffer = 25}};
    for (int i = 0; i < 6; i++)
        cr_assert(bg_store_check(&bad[i]) == BG_E_RANGE, "%d", i);
}
