/* The elementwise passes of fast training: every instruction set this CPU has, with one to three
 * threads, bit for bit against plain references; sums against f64 with the bounds of
 * core/kernel_train_sums.c. Buffers have exactly the size a pass may touch. */
#include "core/dnn.h"
#include "core/kernel_table.h"
#include "core/kernel_train.h"
#include "core/rng.h"
#include "core/train_kernel.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* 2^-24: half a unit in the last place of f32. */
static const double u = 0x1p-24;

struct shape {
    int64_t rows, channels;
};

/* Threaded, with several blocks, tails, and panels of channels. */
static const struct shape large[] = {{40001, 1}, {13001, 3}, {4001, 10}, {3000, 16}, {2001, 20},
                                     {1001, 64}, {700, 70},  {150, 300}, {130, 257}, {129, 512}};
static const int64_t few[] = {0, 1, 2, 67};
enum { LARGE = sizeof large / sizeof large[0], FEW = 4, MOST = 512, SMALLER = 70 };

/* All shapes: few rows of 1 to 70 and 512 channels, then the large ones. */
enum { SHAPES = (SMALLER + 1) * FEW + LARGE };

static struct shape shape_at(int index)
{
    int64_t channels = index / FEW + 1;

    if (index >= (SMALLER + 1) * FEW)
        return large[index - (SMALLER + 1) * FEW];
    return (struct shape){few[index % FEW], channels > SMALLER ? MOST : channels};
}

static void setup(void)
{
    omp_set_dynamic(0);
}

TestSuite(train_kernel, .init = setup);

/* --- numbers --- */

static float real_of(uint16_t bf16)
{
    uint32_t bits = (uint32_t)bf16 << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* To nearest, ties to even, by comparing both neighbours. */
static uint16_t bf16_of(float x)
{
    uint32_t bits;
    uint16_t down, rest;

    if (isnan(x))
        return 0xffc0;
    memcpy(&bits, &x, sizeof bits);
    down = (uint16_t)(bits >> 16);
    rest = (uint16_t)bits;
    if (rest > 0x8000 || (rest == 0x8000 && down % 2 == 1))
        down++;
    return down;
}

static void *make(int64_t count, size_t size)
{
    void *memory = malloc(count > 0 ? (size_t)count * size : 1);

    cr_assert_not_null(memory);
    return memory;
}

static uint64_t drawn;

static float draw(void)
{
    static const struct bg_rng rng = {77, BG_STREAM_TEST, 0};

    return bg_rng_uniform(&rng, drawn++);
}

/* `special`: NaN, infinities, the largest numbers, subnormal ones, zeros are among them. */
static uint16_t *make_bf16(int64_t count, float size, bool special)
{
    static const uint16_t odd[] = {0x7fc0, 0xff80, 0x7f80, 0x8000, 0x0001,
                                   0x7f7f, 0xff7f, 0x807f, 0xffc1, 0x0000};
    uint16_t *x = make(count, sizeof *x);

    for (int64_t i = 0; i < count; i++)
        x[i] = bf16_of((draw() - 0.45f) * size);
    for (int64_t i = 0; i < 10 && special; i++)
        if (count > 3 * i + 2)
            x[3 * i + 2] = x[count - 1 - 3 * i] = odd[i];
    return x;
}

static float *make_reals(int64_t count, float from, float to)
{
    float *x = make(count, sizeof *x);

    for (int64_t i = 0; i < count; i++)
        x[i] = from + (to - from) * draw();
    return x;
}

static uint8_t *make_bytes(int64_t count)
{
    uint8_t *x = make(count, 1);

    for (int64_t i = 0; i < count; i++)
        x[i] = (uint8_t)(draw() * 256.0f);
    return x;
}

static bool bit(const uint8_t *mask, int64_t i)
{
    return (mask[i / 8] >> i % 8 & 1) != 0;
}

/* Equal bits, any two NaN counting as equal. */
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* Calls body for every instruction set and for 1 to 3 threads where it makes a difference. */
#define EVERYWHERE(elements_, body_)                                                               \
    for (int v_ = 0; v_ < bg_kernel_variant_count(); v_++)                                         \
        for (int threads_ = 1; threads_ <= ((elements_) >= BG_KERNEL_SMALL ? 3 : 1); threads_++) { \
            const struct bg_kernel_train_table *table = bg_kernel_variant(v_)->train;              \
            omp_set_num_threads(threads_);                                                         \
            body_;                                                                                 \
        }

/* --- the step forward --- */

enum { Z = 'z', CODES = 'c', ACC = 'a' };

static void make_term(struct bg_train_term *term, char sort, struct shape shape, bool special)
{
    const int64_t n = shape.rows * shape.channels;

    *term = (struct bg_train_term){.zero_point = 3 + (int32_t)(draw() * 200.0f)};
    if (sort == Z)
        term->z = make_bf16(n, 600.0f, special);
    if (sort == CODES)
        term->codes = make_bytes(n);
    if (sort == ACC) {
        int32_t *acc = make(n, sizeof *acc);
        for (int64_t i = 0; i < n; i++)
            acc[i] = i % 1000 == 999 ? INT32_MAX : (int32_t)((draw() - 0.5f) * 1000.0f);
        term->acc = acc;
    }
    term->a = make_reals(shape.channels, -0.5f, 0.9f);
    term->b = make_reals(shape.channels, -20.0f, 30.0f);
}

static float value_of(const struct bg_train_term *term, int64_t i)
{
    if (term->z != NULL)
        return real_of(term->z[i]);
    return term->acc != NULL ? (float)term->acc[i] : (float)(term->codes[i] - term->zero_point);
}

/* The definition, an element at a time. */
static void forward_plainly(struct bg_train_forward *in)
{
    const float low = (float)(in->lo - in->zero_point), high = (float)(in->hi - in->zero_point);
    const int64_t n = in->rows * in->channels;
    bool nan = false;

    in->min = in->max = 0.0f;
    in->clipped = 0;
    memset(in->mask, 0, (size_t)(n + 7) / 8);
    for (int64_t i = 0; i < n; i++) {
        float v = 0.0f, held;
        for (int t = 0; t < in->terms; t++) {
            float product = value_of(&in->term[t], i) * in->term[t].a[i % in->channels];
            float next = product + in->term[t].b[i % in->channels];
            v = t == 0 ? next : v + next;
        }
        held = isnan(v) || v < low ? low : v > high ? high : v;
        in->codes[i] = (uint8_t)(in->zero_point + (int32_t)nearbyintf(held));
        if (v > in->pass_low && v <= in->pass_high)
            in->mask[i / 8] = (uint8_t)(in->mask[i / 8] | 1 << i % 8);
        in->values[i] = v;
        in->clipped += !(v >= low - 0.5f && v <= high + 0.5f);
        nan = nan || isnan(v);
        in->min = i == 0 || v < in->min ? v + 0.0f : in->min;
        in->max = i == 0 || v > in->max ? v + 0.0f : in->max;
    }
    in->min = nan ? NAN : in->min;
    in->max = nan ? NAN : in->max;
}

static void make_outputs(struct bg_train_forward *in, bool values)
{
    const int64_t n = in->rows * in->channels;

    in->codes = make(n, 1);
    in->mask = make((n + 7) / 8, 1);
    in->values = values ? make(n, sizeof(float)) : NULL;
    memset(in->codes, 0x55, (size_t)n);
    memset(in->mask, 0x55, (size_t)(n + 7) / 8);
}

static void free_outputs(const struct bg_train_forward *in)
{
    free(in->codes);
    free(in->mask);
    free(in->values);
}

static void expect_forward(const struct bg_train_forward *got,
                           const struct bg_train_forward *wanted)
{
    const int64_t n = got->rows * got->channels;

    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(got->codes[i], wanted->codes[i], "code %lld of %lld x %lld: %d, not %d, v %a",
                     (long long)i, (long long)got->rows, (long long)got->channels, got->codes[i],
                     wanted->codes[i], (double)wanted->values[i]);
    if (got->mask != NULL)
        cr_assert_eq(memcmp(got->mask, wanted->mask, (size_t)(n + 7) / 8), 0);
    for (int64_t i = 0; i < n && got->values != NULL; i++)
        cr_assert(same(got->values[i], wanted->values[i]));
    cr_assert(same(got->min, wanted->min), "%a, not %a", (double)got->min, (double)wanted->min);
    cr_assert(same(got->max, wanted->max), "%a, not %a", (double)got->max, (double)wanted->max);
    cr_assert_eq(got->clipped, wanted->clipped);
}

static void check_forward(const struct bg_train_forward *in, bool values)
{
    struct bg_train_forward wanted = *in;

    make_outputs(&wanted, true);
    forward_plainly(&wanted);
    EVERYWHERE(in->rows * in->channels, {
        struct bg_train_forward got = *in;
        make_outputs(&got, values);
        bg_kernel_train_forward(table, &got);
        expect_forward(&got, &wanted);
        free_outputs(&got);
    })
    free_outputs(&wanted);
}

static void free_terms(const struct bg_train_forward *in)
{
    for (int t = 0; t < in->terms; t++) {
        const struct bg_train_term *term = &in->term[t];
        const void *all[] = {term->z, term->acc, term->codes, term->a, term->b};
        for (int k = 0; k < 5; k++)
            free((void *)(uintptr_t)all[k]);
    }
}

static const char *const patterns[] = {"z", "a", "zc", "zz", "c", "az", "zcaz"};
enum { PATTERNS = sizeof patterns / sizeof patterns[0] };

static void run_forward(struct shape shape, int index, bool special)
{
    const char *sorts = patterns[index % PATTERNS];
    struct bg_train_forward in = {.rows = shape.rows,
                                  .channels = shape.channels,
                                  .terms = (int)strlen(sorts),
                                  .zero_point = index % 3 == 0 ? 0 : 71,
                                  .lo = index % 3 == 2 ? 71 : 0,
                                  .hi = index % 5 == 0 ? 15 + 71 : 255};

    in.pass_low = index % 3 == 2 ? 0.0f : (float)(in.lo - in.zero_point) - 0.5f;
    in.pass_high = (float)(in.hi - in.zero_point) + 0.5f;
    for (int t = 0; t < in.terms; t++)
        make_term(&in.term[t], sorts[t], shape, special);
    check_forward(&in, index % 2 == 0);
    free_terms(&in);
}

Test(train_kernel, forward_follows_its_definition_for_all_shapes_and_terms)
{
    for (int s = 0; s < SHAPES; s++) {
        struct shape shape = shape_at(s);
        int first = s < SHAPES - LARGE ? s : 0, count = s < SHAPES - LARGE ? 3 : PATTERNS;
        for (int k = 0; k < count; k++)
            run_forward(shape, 5 * first + k, k % 2 == 1);
    }
}

/* v = z / 2 exactly: on every half step and limit, and the floats beside them through b. */
Test(train_kernel, forward_is_exact_at_ties_and_limits)
{
    static const float limits[] = {-10.5f, -10.0f, 0.0f, 5.0f, 5.5f};
    enum { VALUES = 256 };
    uint16_t z[VALUES];
    float a[VALUES], b[VALUES];

    for (int low = 0; low < 5; low++)
        for (int high = 0; high < 5; high++)
            for (int side = -1; side <= 1; side++) {
                struct bg_train_forward in = {.rows = 1, .channels = VALUES, .terms = 1};
                for (int i = 0; i < VALUES; i++) {
                    float v = (float)(i - 128) / 2;
                    z[i] = bf16_of(side == 0 ? (float)(i - 128) : 0.0f);
                    a[i] = 0.5f;
                    b[i] = side == 0 ? 0.0f : nextafterf(v, side < 0 ? -FLT_MAX : FLT_MAX);
                }
                in.term[0] = (struct bg_train_term){.z = z, .a = a, .b = b};
                in.zero_point = 110;
                in.lo = 100;
                in.hi = 115;
                in.pass_low = limits[low];
                in.pass_high = limits[high];
                check_forward(&in, true);
                check_forward(&in, false);
            }
}

/* By hand, so that no mistake is in both: codes, bits and counts around two limits. */
Test(train_kernel, forward_of_known_numbers)
{
    const float one[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    float b[10] = {0.0f, 1e-6f, 2.5f, 2.5f, 3.5f, 2.50001f, -0.5f, -0.6f, 1.5f, 0.5f};
    static const uint16_t z[10] = {0};
    static const uint16_t below[10] = {0x8000, 0x8000, 0x8000, 0x8000, 0x8000,
                                       0x8000, 0x8000, 0x8000, 0x8000, 0x8000};
    static const uint8_t codes[10] = {7, 7, 9, 9, 10, 10, 7, 7, 9, 7};
    uint8_t got[10], mask[2];
    struct bg_train_forward in = {.rows = 1,
                                  .channels = 10,
                                  .terms = 1,
                                  .term = {{.z = z, .a = one, .b = b}},
                                  .zero_point = 7,
                                  .lo = 7,
                                  .hi = 10,
                                  .pass_low = 0.0f,
                                  .pass_high = 2.5f,
                                  .codes = got,
                                  .mask = mask};

    bg_train_forward(&in);
    cr_assert_eq(memcmp(got, codes, 10), 0);
    cr_assert_eq(mask[0], 0x0e); /* not 0, nor above 2.5 */
    cr_assert_eq(mask[1], 0x03);
    cr_assert_eq(in.clipped, 1); /* -0.6; 3.5 is the limit itself */
    cr_assert(in.min == -0.6f && in.max == 3.5f);
    b[3] = -NAN;
    in.mask = NULL;
    bg_train_forward(&in);
    cr_assert(isnan(in.min) && isnan(in.max));
    cr_assert_eq(in.clipped, 2);
    cr_assert_eq(got[3], 7);
    for (int i = 0; i < 10; i++)
        b[i] = i % 2 == 0 ? -0.0f : 0.0f;
    in.term[0].z = below;
    bg_train_forward(&in); /* zeros of both signs: which comes first must not show */
    cr_assert(in.min == 0.0f && in.max == 0.0f && !signbit(in.min) && !signbit(in.max));
    cr_assert_eq(in.clipped, 0);
}

/* --- sums --- */

static void expect_within(double got, double wanted, double bound, const char *what)
{
    cr_assert(fabs(got - wanted) <= bound, "%s: %.17g, not %.17g within %g", what, got, wanted,
              bound);
}

/* Mean 40 c, spread 1 in most channels; the first rows far from the others in every third. */
static uint16_t *make_activations(struct shape shape)
{
    uint16_t *z = make(shape.rows * shape.channels, sizeof *z);

    for (int64_t i = 0; i < shape.rows * shape.channels; i++) {
        int64_t c = i % shape.channels;
        float centre = 40.0f * (float)(c % 7);
        if (c % 3 == 1 && i < 40 * shape.channels)
            centre -= 100.0f;
        z[i] = bf16_of(centre + 4.0f * (draw() - 0.5f));
    }
    return z;
}

static void check_moments(const uint16_t *z, struct shape shape, const float *mean,
                          const float *var)
{
    const double rows = (double)shape.rows;

    for (int64_t c = 0; c < shape.channels; c++) {
        double sum = 0, size = 0, square = 0, p, spread;
        for (int64_t r = 0; r < shape.rows; r++) {
            sum += (double)real_of(z[r * shape.channels + c]);
            size += fabs((double)real_of(z[r * shape.channels + c]));
        }
        for (int64_t r = 0; r < shape.rows; r++) {
            double d = (double)real_of(z[r * shape.channels + c]) - sum / rows;
            square += d * d;
        }
        /* The pivots' own error: a block's average |x| is at most the sum over its rows, here at
         * most 350. Over blocks M2 only grows; average |d| <= root of the mean of d^2. */
        p = 17 * u * fmax(size / rows, 350.0);
        spread = 31 * square / rows + 2 * p * p;
        expect_within((double)mean[c], sum / rows,
                      18 * u * sqrt(spread) + u * fabs(sum / rows) + 0x1p-40, "mean");
        expect_within((double)var[c], square / rows,
                      (18 + 2 * 17 + 2 * 18) * u * spread + u * square / rows + 0x1p-40,
                      "variance");
    }
}

Test(train_kernel, statistics_stay_within_their_bound_and_are_equal_everywhere)
{
    static float mean[2][MOST], var[2][MOST];

    for (int s = 0; s < SHAPES; s++) {
        struct shape shape = shape_at(s);
        size_t bytes = (size_t)shape.channels * sizeof(float);
        uint16_t *z = make_activations(shape);
        double *scratch = make(bg_train_scratch(shape.rows, shape.channels, 2), sizeof *scratch);
        const struct bg_kernel_train_sums all = {
            .rows = shape.rows, .channels = shape.channels, .z = {z}};
        if (shape.rows == 0) {
            free(z);
            free(scratch);
            continue;
        }
        bg_train_statistics(z, shape.rows, shape.channels, mean[0], var[0], scratch);
        check_moments(z, shape, mean[0], var[0]);
        EVERYWHERE(shape.rows * shape.channels, {
            bg_kernel_train_statistics(table, &all, mean[1], var[1], scratch);
            cr_assert_eq(memcmp(mean[0], mean[1], bytes), 0);
            cr_assert_eq(memcmp(var[0], var[1], bytes), 0);
        })
        free(z);
        free(scratch);
    }
}

Test(train_kernel, statistics_of_equal_and_of_bad_values)
{
    enum { ROWS = 3000 };
    static uint16_t z[ROWS * 3];
    double scratch[100];
    float mean[3], var[3];

    for (int i = 0; i < ROWS * 3; i++)
        z[i] = bf16_of(i % 3 == 0 ? 1.0e30f : i % 3 == 1 ? -0.0f : 3.140625f);
    cr_assert_leq(bg_train_scratch(ROWS, 3, 2), 100);
    bg_train_statistics(z, ROWS, 3, mean, var, scratch);
    cr_assert(mean[0] == real_of(z[0]) && mean[1] == 0.0f && mean[2] == 3.140625f);
    cr_assert(var[0] == 0.0f && var[1] == 0.0f && var[2] == 0.0f);
    z[1 + 3 * 2999] = 0x7fc0;
    z[2 + 3 * 5] = 0x7f80;
    bg_train_statistics(z, ROWS, 3, mean, var, scratch);
    cr_assert(isnan(mean[1]) && isnan(var[1]) && isnan(var[2]));
    cr_assert(mean[0] == real_of(z[0]) && var[0] == 0.0f);
}

/* g by definition. */
static uint16_t reduced(const struct bg_train_reduce *in, int64_t i)
{
    float g = real_of(in->d[0][i]);

    if (in->mask != NULL && !bit(in->mask, i))
        return 0;
    for (int k = 1; k < in->gradients; k++)
        g += real_of(in->d[k][i]);
    return in->gradients == 1 ? in->d[0][i] : bf16_of(g);
}

/* The sum over a channel of g, or of g * z: value and bound. */
static void check_sum(const struct bg_train_reduce *in, const uint16_t *g, int64_t c, int term,
                      double got)
{
    double sum = 0, size = 0;

    for (int64_t r = 0; r < in->rows; r++) {
        int64_t i = r * in->channels + c;
        double one = (double)real_of(g[i]) * (term < 0 ? 1.0 : (double)real_of(in->z[term][i]));
        sum += one;
        size += fabs(one);
    }
    expect_within(got, sum, 16 * u * size, term < 0 ? "sum" : "dot");
}

static void check_reduce(struct bg_train_reduce in, bool special, int alias)
{
    const int64_t n = in.rows * in.channels, channels = in.channels;
    const size_t bytes = (size_t)n * sizeof(uint16_t);
    uint16_t *wanted = make(n, sizeof *wanted), *g = make(n, sizeof *g);
    double *sums[2];

    for (int64_t i = 0; i < n; i++)
        wanted[i] = reduced(&in, i);
    for (int k = 0; k < 2; k++)
        sums[k] = make((1 + in.terms) * channels, sizeof(double));
    in.scratch = make(bg_train_scratch(in.rows, channels, 1 + in.terms), sizeof(double));
    for (int v = 0; v < bg_kernel_variant_count(); v++)
        for (int threads = 1; threads <= (n >= BG_KERNEL_SMALL ? 3 : 1); threads++) {
            bool first = v == 0 && threads == 1;
            struct bg_train_reduce pass = in;
            double *to = sums[first ? 0 : 1];
            omp_set_num_threads(threads);
            pass.g = g;
            if (alias >= 0) {
                memcpy(g, in.d[alias], bytes);
                pass.d[alias] = g;
            }
            pass.sum = to;
            for (int t = 0; t < in.terms; t++)
                pass.dot[t] = to + (1 + t) * channels;
            bg_kernel_train_reduce(bg_kernel_variant(v)->train, &pass);
            cr_assert_eq(memcmp(g, wanted, bytes), 0);
            for (int64_t c = 0; c < channels && first && !special; c++)
                for (int t = -1; t < in.terms; t++)
                    check_sum(&in, wanted, c, t, to[(1 + t) * channels + c]);
            for (int64_t c = 0; c < (1 + in.terms) * channels; c++)
                cr_assert(sums[0][c] == to[c] || (isnan(sums[0][c]) && isnan(to[c])));
        }
    for (int k = 0; k < 2; k++)
        free(sums[k]);
    free(in.scratch);
    free(wanted);
    free(g);
}

Test(train_kernel, reduce_follows_its_definition_in_place_too)
{
    for (int s = 0; s < SHAPES; s++) {
        struct shape shape = shape_at(s);
        int64_t n = shape.rows * shape.channels;
        int count = s < SHAPES - LARGE ? 2 : 12;
        for (int k = 0; k < count; k++) {
            int pick = s < SHAPES - LARGE ? 3 * s + k : k;
            struct bg_train_reduce in = {.rows = shape.rows,
                                         .channels = shape.channels,
                                         .gradients = 1 + pick % 4 % 3 + pick % 11 / 10,
                                         .terms = pick / 2 % 5};
            bool special = pick % 3 == 1;
            uint8_t *mask = make_bytes((n + 7) / 8);
            in.mask = pick % 5 == 4 ? NULL : mask;
            for (int i = 0; i < BG_TRAIN_TERMS; i++) {
                in.d[i] = make_bf16(n, 0.01f, special);
                in.z[i] = make_bf16(n, 300.0f, special);
            }
            check_reduce(in, special, pick % 3 - 1 < in.gradients ? pick % 3 - 1 : -1);
            for (int i = 0; i < BG_TRAIN_TERMS; i++) {
                free((void *)(uintptr_t)in.d[i]);
                free((void *)(uintptr_t)in.z[i]);
            }
            free(mask);
        }
    }
}

/* --- the gradients of accumulators --- */

static void check_apply(const struct bg_train_apply *in, bool in_place)
{
    const int64_t n = in->rows * in->channels;
    uint16_t *dz[BG_TRAIN_TERMS];

    for (int t = 0; t < in->terms; t++)
        dz[t] = make(n, sizeof *dz[t]);
    EVERYWHERE(n, {
        struct bg_train_apply pass = *in;
        memcpy(pass.dz, dz, sizeof dz);
        if (in_place) {
            memcpy(dz[in->terms - 1], in->g, (size_t)n * sizeof *in->g);
            pass.g = dz[in->terms - 1];
        }
        bg_kernel_train_apply(table, &pass);
        for (int t = 0; t < in->terms; t++)
            for (int64_t i = 0; i < n; i++) {
                int64_t c = i % in->channels;
                float g = real_of(in->g[i]);
                float wanted = in->b[t] == NULL
                                   ? in->a[t][c] * g
                                   : fmaf(in->a[t][c], g,
                                          fmaf(in->b[t][c], real_of(in->z[t][i]), in->c[t][c]));
                cr_assert_eq(dz[t][i], bf16_of(wanted), "term %d, element %lld", t, (long long)i);
            }
    })
    for (int t = 0; t < in->terms; t++)
        free(dz[t]);
}

static void run_apply(struct shape shape, int pick, bool norms)
{
    const int64_t n = shape.rows * shape.channels;
    const bool special = pick % 2 == 1;
    float *numbers[3][BG_TRAIN_TERMS];
    struct bg_train_apply in = {
        .rows = shape.rows, .channels = shape.channels, .terms = 1 + pick % (norms ? 2 : 4)};

    in.g = make_bf16(n, 1.0f, special);
    for (int t = 0; t < in.terms; t++) {
        bool plain = !norms && (pick + t) % 3 == 0;
        in.z[t] = make_bf16(n, 500.0f, special);
        for (int k = 0; k < 3; k++)
            numbers[k][t] = make_reals(shape.channels, -1.0f, 1.0f);
        in.a[t] = numbers[0][t];
        in.b[t] = plain ? NULL : numbers[1][t];
        in.c[t] = plain ? NULL : numbers[2][t];
    }
    check_apply(&in, pick % 3 == 0);
    for (int t = 0; t < in.terms; t++) {
        free((void *)(uintptr_t)in.z[t]);
        for (int k = 0; k < 3; k++)
            free(numbers[k][t]);
    }
    free((void *)(uintptr_t)in.g);
}

Test(train_kernel, apply_follows_its_definition_in_place_too)
{
    for (int s = 0; s < SHAPES; s++) {
        run_apply(shape_at(s), s, false);
        run_apply(shape_at(s), s, true);
        run_apply(shape_at(s), s + 1, true);
    }
}

/* --- pools --- */

static const struct bg_pool_shape pools[] = {
    {3, 8, 8, 16, {2, 2}, {2, 2}, {0, 0}, 0, 0},    {2, 9, 7, 5, {3, 3}, {2, 2}, {1, 1}, 0, 0},
    {2, 6, 6, 3, {3, 3}, {1, 1}, {1, 1}, 0, 0},     {1, 9, 8, 2, {5, 3}, {2, 1}, {4, 2}, 0, 0},
    {2, 17, 16, 1, {16, 16}, {1, 1}, {0, 0}, 0, 0}, {2, 5, 5, 300, {2, 3}, {3, 2}, {0, 1}, 0, 0},
    {40, 14, 14, 20, {3, 3}, {2, 2}, {1, 1}, 0, 0}, {1, 1, 1, 7, {1, 1}, {1, 1}, {0, 0}, 0, 0},
    {3, 28, 28, 6, {2, 2}, {2, 2}, {0, 0}, 0, 0},   {2, 9, 7, 33, {2, 2}, {2, 2}, {0, 0}, 0, 0},
    {2, 10, 8, 5, {3, 3}, {3, 3}, {1, 1}, 0, 0},    {2, 4, 11, 64, {1, 4}, {1, 4}, {0, 2}, 0, 0}};
enum { POOLS = sizeof pools / sizeof pools[0] };

static struct bg_pool_shape pool_at(int index)
{
    struct bg_pool_shape shape = pools[index];

    cr_assert_eq(bg_pool_shape_infer(&shape), BG_OK);
    return shape;
}

/* The first largest code in row order. */
static void pool_plainly(const struct bg_pool_shape *s, const uint8_t *src, int64_t out,
                         uint8_t *dst, uint8_t *where)
{
    const int64_t c = out % s->channels, x = out / s->channels % s->out_width;
    const int64_t y = out / s->channels / s->out_width % s->out_height;
    const int64_t n = out / s->channels / s->out_width / s->out_height;
    int best = -1;

    for (int64_t k = 0; k < s->kernel[0] * s->kernel[1]; k++) {
        int64_t h = y * s->stride[0] - s->padding[0] + k / s->kernel[1];
        int64_t w = x * s->stride[1] - s->padding[1] + k % s->kernel[1];
        if (h < 0 || w < 0 || h >= s->in_height || w >= s->in_width)
            continue;
        int code = src[((n * s->in_height + h) * s->in_width + w) * s->channels + c];
        if (code <= best)
            continue;
        best = code;
        *dst = (uint8_t)code;
        *where = (uint8_t)k;
    }
}

/* Every output adds its gradient where it came from; outputs in index order. */
static void unpool_plainly(const struct bg_pool_shape *s, const uint8_t *where, const uint16_t *dy,
                           float *sums)
{
    const int64_t count = s->batch * s->out_height * s->out_width * s->channels;

    memset(sums, 0, (size_t)(s->batch * s->in_height * s->in_width * s->channels) * sizeof *sums);
    for (int64_t out = 0; out < count; out++) {
        int64_t c = out % s->channels, x = out / s->channels % s->out_width;
        int64_t y = out / s->channels / s->out_width % s->out_height;
        int64_t n = out / s->channels / s->out_width / s->out_height;
        int64_t h = y * s->stride[0] - s->padding[0] + where[out] / s->kernel[1];
        int64_t w = x * s->stride[1] - s->padding[1] + where[out] % s->kernel[1];
        sums[((n * s->in_height + h) * s->in_width + w) * s->channels + c] += real_of(dy[out]);
    }
}

/* All rows of both passes with the loops of one instruction set. */
static void pool_with(const struct bg_kernel_train_table *table, const struct bg_pool_shape *s,
                      const uint8_t *src, uint8_t *dst, uint8_t *where)
{
    const int64_t in = s->in_height * s->in_width * s->channels;
    const int64_t row = s->out_width * s->channels;

    for (int64_t r = 0; r < s->batch * s->out_height; r++)
        table->max_row(s, src + r / s->out_height * in, r % s->out_height, dst + r * row,
                       where + r * row);
}

static void unpool_with(const struct bg_kernel_train_table *table, const struct bg_pool_shape *s,
                        const uint8_t *where, const uint16_t *dy, uint16_t *dx)
{
    const int64_t out = s->out_height * s->out_width * s->channels;
    const int64_t row = s->in_width * s->channels;

    for (int64_t r = 0; r < s->batch * s->in_height; r++)
        table->max_row_backward(s, where + r / s->in_height * out, dy + r / s->in_height * out,
                                r % s->in_height, dx + r * row);
}

static void check_pool(const struct bg_pool_shape *s, int levels)
{
    const int64_t in = s->batch * s->in_height * s->in_width * s->channels;
    const int64_t out = s->batch * s->out_height * s->out_width * s->channels;
    uint8_t *src = make_bytes(in), *dst[2], *where[2];
    uint16_t *dy = make_bf16(out, 1.0f, levels == 3), *dx = make(in, sizeof *dx);
    float *sums = make(in, sizeof *sums);

    for (int k = 0; k < 2; k++) {
        dst[k] = make(out, 1);
        where[k] = make(out, 1);
    }
    for (int64_t i = 0; i < in; i++)
        src[i] = (uint8_t)(src[i] % levels);
    for (int64_t i = 0; i < out; i++)
        pool_plainly(s, src, i, &dst[0][i], &where[0][i]);
    unpool_plainly(s, where[0], dy, sums);
    for (int v = 0; v < bg_kernel_variant_count() + 3; v++) {
        bool public = v >= bg_kernel_variant_count();
        memset(where[1], 0x55, (size_t)out);
        if (public) {
            omp_set_num_threads(1 + v - bg_kernel_variant_count());
            bg_train_max_pool(s, src, dst[1], where[1]);
            bg_train_max_pool_backward(s, where[1], dy, dx);
        } else {
            pool_with(bg_kernel_variant(v)->train, s, src, dst[1], where[1]);
            unpool_with(bg_kernel_variant(v)->train, s, where[1], dy, dx);
        }
        cr_assert_eq(memcmp(dst[0], dst[1], (size_t)out), 0);
        cr_assert_eq(memcmp(where[0], where[1], (size_t)out), 0);
        for (int64_t i = 0; i < in; i++)
            cr_assert_eq(dx[i], bf16_of(sums[i]), "input %lld", (long long)i);
    }
    for (int k = 0; k < 2; k++) {
        free(dst[k]);
        free(where[k]);
    }
    free(src);
    free(dy);
    free(dx);
    free(sums);
}

Test(train_kernel, max_pool_takes_the_first_largest_and_sends_its_gradient_there)
{
    static const int levels[] = {1, 3, 256}; /* all equal, many ties, few */

    for (int p = 0; p < POOLS; p++)
        for (int l = 0; l < 3; l++) {
            struct bg_pool_shape shape = pool_at(p);
            check_pool(&shape, levels[l]);
        }
}

Test(train_kernel, spread_gives_each_pixel_its_share)
{
    static const int64_t channels[] = {1, 10, 16, 64, 100};

    for (int k = 0; k < 5; k++)
        for (int64_t pixels = 0; pixels < 60; pixels += 7) {
            int64_t images = 11, n = channels[k];
            uint16_t *g = make_bf16(images * n, 1.0f, true);
            uint16_t *dx = make(images * pixels * n, sizeof *dx);
            for (int threads = 1; threads <= 3; threads++) {
                omp_set_num_threads(threads);
                memset(dx, 0x55, (size_t)(images * pixels * n) * sizeof *dx);
                bg_train_spread(g, images, pixels, n, 1.0f / 49.0f, dx);
                for (int64_t i = 0; i < images * pixels * n; i++)
                    cr_assert_eq(dx[i],
                                 bf16_of(real_of(g[i / n / pixels * n + i % n]) * (1.0f / 49.0f)));
            }
            for (int v = 0; v < bg_kernel_variant_count() && pixels > 0; v++) {
                bg_kernel_variant(v)->train->spread(g, pixels, n, 1.0f / 49.0f, dx);
                for (int64_t i = 0; i < pixels * n; i++)
                    cr_assert_eq(dx[i], bf16_of(real_of(g[i % n]) * (1.0f / 49.0f)));
            }
            free(g);
            free(dx);
        }
}

/* --- conversions --- */

Test(train_kernel, rounding_to_bf16_is_to_nearest_even_for_every_upper_half)
{
    static const uint32_t lower[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    enum { COUNT = 65536 * 6 };
    float *x = make(COUNT, sizeof *x), *back = make(COUNT, sizeof *back);
    uint16_t *y = make(COUNT, sizeof *y);

    for (int i = 0; i < COUNT; i++) {
        uint32_t bits = (uint32_t)(i / 6) << 16 | lower[i % 6];
        memcpy(&x[i], &bits, sizeof bits);
    }
    for (int v = 0; v <= bg_kernel_variant_count(); v++) {
        if (v < bg_kernel_variant_count())
            bg_kernel_variant(v)->train->from_f32(x, COUNT, y);
        else
            bg_train_from_f32(x, COUNT, y);
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(y[i], bf16_of(x[i]), "%08x -> %04x, not %04x", (unsigned)(i / 6) << 16,
                         y[i], bf16_of(x[i]));
        if (v < bg_kernel_variant_count())
            bg_kernel_variant(v)->train->to_f32(y, COUNT, 0.3f, back);
        else
            bg_train_to_f32(y, COUNT, 0.3f, back);
        for (int i = 0; i < COUNT; i++)
            cr_assert(same(back[i], real_of(y[i]) * 0.3f));
    }
    free(x);
    free(y);
    free(back);
}

Test(train_kernel, conversions_touch_what_they_are_given_and_no_more)
{
    for (int64_t n = 0; n < 70; n++) {
        float *x = make_reals(n, -1.0f, 1.0f), *back = make(n, sizeof *back);
        uint16_t *y = make(n, sizeof *y);
        for (int v = 0; v < bg_kernel_variant_count(); v++) {
            bg_kernel_variant(v)->train->from_f32(x, n, y);
            bg_kernel_variant(v)->train->to_f32(y, n, 1.0f, back);
            for (int64_t i = 0; i < n; i++)
                cr_assert(y[i] == bf16_of(x[i]) && back[i] == real_of(y[i]));
        }
        free(x);
        free(y);
        free(back);
    }
}

Test(train_kernel, conversion_may_have_a_factor_for_each_channel)
{
    for (int s = 0; s < SHAPES; s++) {
        struct shape shape = shape_at(s);
        int64_t n = shape.rows * shape.channels;
        uint16_t *x = make_bf16(n, 1.0f, true);
        float *factor = make_reals(shape.channels, 0.5f, 2.0f), *y = make(n, sizeof *y);
        for (int v = 0; v < bg_kernel_variant_count() + 3; v++) {
            if (v < bg_kernel_variant_count()) {
                float space[BG_TRAIN_PERIOD];
                struct bg_kernel_train_apply in = {.n = n};
                bg_kernel_train_scale(&in, x, shape.channels, factor, space);
                bg_kernel_variant(v)->train->scale_to_f32(&in, y);
            } else {
                omp_set_num_threads(1 + v - bg_kernel_variant_count());
                bg_train_scale_to_f32(x, shape.rows, shape.channels, factor, y);
            }
            for (int64_t i = 0; i < n; i++)
                cr_assert(same(y[i], real_of(x[i]) * factor[i % shape.channels]));
        }
        free(x);
        free(factor);
        free(y);
    }
}
