/* Requantisation: the integers of each mode and their results by hand, every loop against the plain
 * reference, the reference against other forms of the same definitions, refusals; and the 8-bit
 * encoders against the grid's own. */
#include "core/requant.h"

#include "core/kernel.h"
#include "core/kernel_table.h"
#include "core/rng.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum { CHANNELS = 520, SPACE = 1 << 18, UNTOUCHED = 0xA5 };

static const struct bg_rng rng = {33, BG_STREAM_TEST, 0};
static uint64_t draws;
static struct bg_arena *arena;
static int32_t acc[BG_REQUANT_TERMS][SPACE];
static uint8_t codes[BG_REQUANT_TERMS][SPACE], got[SPACE], wanted[SPACE];
static float real_got[SPACE], real_wanted[SPACE];

static void open_arena(void)
{
    cr_assert_eq(bg_arena_create(&arena, "test"), BG_OK);
}

static void close_arena(void)
{
    bg_arena_destroy(arena);
}

TestSuite(requant, .init = open_arena, .fini = close_arena);

static float uniform(void)
{
    return bg_rng_uniform(&rng, draws++);
}

static int32_t below(int32_t limit)
{
    return (int32_t)bg_rng_below(&rng, draws++, (uint32_t)limit);
}

static struct bg_requant make(enum bg_requant_mode mode, int terms, int64_t channels)
{
    struct bg_requant requant = {.mode = mode, .channels = channels, .terms = terms, .hi = 255};

    cr_assert_eq(bg_requant_make(&requant, arena), BG_OK, "%s", bg_error());
    return requant;
}

static void set(struct bg_requant *requant, int t, float m, float c, int64_t bound)
{
    for (int64_t i = 0; i < requant->channels; i++) {
        requant->term[t].m[i] = m;
        requant->term[t].c[i] = c;
    }
    requant->term[t].bound = bound;
}

/* The code of one element, which the reference and the loops must agree on. */
static int code_of(const struct bg_requant *requant, const int32_t *values)
{
    struct bg_requant_input inputs[BG_REQUANT_TERMS] = {{0}};
    uint8_t fast = 0, plain = 1;

    for (int t = 0; t < requant->terms; t++)
        inputs[t].acc = &values[t];
    bg_requant_run(requant, inputs, 1, &fast, 1);
    bg_ref_requant_run(requant, inputs, 1, &plain, 1);
    cr_assert_eq(fast, plain);
    return plain;
}

Test(requant, modes_have_names)
{
    static const char *const names[] = {"f32-rne", "fixed-single", "fixed-double", "pow2-rne"};
    enum bg_requant_mode mode = BG_REQUANT_MODES;

    for (int i = 0; i < BG_REQUANT_MODES; i++) {
        cr_assert_str_eq(bg_requant_mode_name((enum bg_requant_mode)i), names[i]);
        cr_assert(bg_requant_mode_find(names[i], &mode));
        cr_assert_eq((int)mode, i);
    }
    cr_assert_not(bg_requant_mode_find("fixed", &mode));
    cr_assert_eq(mode, BG_REQUANT_POW2_RNE);
}

Test(requant, one_term_by_hand)
{
    /* codes around zero point 10; bound 1000 */
    static const struct {
        enum bg_requant_mode mode;
        float m, c;
        int acc, code;
    } rows[] = {
        /* ties to even */
        {BG_REQUANT_F32_RNE, 0.5f, 0, 1, 10},
        {BG_REQUANT_F32_RNE, 0.5f, 0, 3, 12},
        {BG_REQUANT_F32_RNE, 0.5f, 0, -1, 10},
        {BG_REQUANT_F32_RNE, 0.5f, 0, -3, 8},
        {BG_REQUANT_F32_RNE, -0.5f, 0, -3, 12},
        {BG_REQUANT_F32_RNE, -0.5f, 0.5f, -3, 12},
        {BG_REQUANT_F32_RNE, 0, 7.4f, 1000, 17},
        {BG_REQUANT_F32_RNE, 0.5f, 0, -20, 0},
        {BG_REQUANT_F32_RNE, 0.5f, 0, -1000, 0},
        {BG_REQUANT_F32_RNE, 0.5f, 0, 490, 255},
        {BG_REQUANT_F32_RNE, 0.5f, 0, 1000, 255},
        /* ties up: M = 2^30, S = 31 */
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, 1, 11},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, 3, 12},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, -1, 10},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, -3, 9},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, -4, 8},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, -20, 0},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, -1000, 0},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, 490, 255},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 0, 1000, 255},
        /* bias rne(1.25 / 0.5) = 2, rne(1.75 / 0.5) = 4 */
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 1.25f, 3, 13},
        {BG_REQUANT_FIXED_SINGLE, 0.5f, 1.75f, 3, 14},
        {BG_REQUANT_FIXED_SINGLE, 3.0f, -6.0f, 4, 16},
        /* F = 0: high multiplication by 2^30 alone, ties up */
        {BG_REQUANT_FIXED_DOUBLE, 0.5f, 0, 1, 11},
        {BG_REQUANT_FIXED_DOUBLE, 0.5f, 0, -1, 10},
        {BG_REQUANT_FIXED_DOUBLE, 0.5f, 0, -3, 9},
        /* F = 1: twice rounded, 1/4 becomes 1/2 becomes 1; -1/2 becomes -1 */
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, 1, 11},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -1, 10},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, 2, 11},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -2, 9},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -3, 9},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -5, 9},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -6, 8},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, -1000, 0},
        {BG_REQUANT_FIXED_DOUBLE, 0.25f, 0, 1000, 255},
        {BG_REQUANT_FIXED_DOUBLE, 3.0f, -6.0f, 4, 16},
        /* 0.7 is nearest to 1/2, 0.71 to 1, 3 to 4, 2.8 to 2; ties to even */
        {BG_REQUANT_POW2_RNE, 0.7f, 0, 1, 10},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, 3, 12},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, -1, 10},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, -3, 8},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, -5, 8},
        {BG_REQUANT_POW2_RNE, 0.71f, 0, -3, 7},
        {BG_REQUANT_POW2_RNE, 3.0f, 0, 3, 22},
        {BG_REQUANT_POW2_RNE, 2.8f, 0, 3, 16},
        {BG_REQUANT_POW2_RNE, 0.25f, 0, 5, 11},
        {BG_REQUANT_POW2_RNE, 0.25f, 0, 7, 12},
        {BG_REQUANT_POW2_RNE, 0.25f, 0, -7, 8},
        {BG_REQUANT_POW2_RNE, 0.7f, 1.25f, 3, 12},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, -1000, 0},
        {BG_REQUANT_POW2_RNE, 0.7f, 0, 1000, 255},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bg_requant requant = make(rows[i].mode, 1, 1);
        requant.zero_point = 10;
        set(&requant, 0, rows[i].m, rows[i].c, 1000);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK, "%s", bg_error());
        cr_assert_eq(code_of(&requant, &rows[i].acc), rows[i].code, "%s: %d * %g + %g gave %d",
                     bg_requant_mode_name(rows[i].mode), rows[i].acc, (double)rows[i].m,
                     (double)rows[i].c, code_of(&requant, &rows[i].acc));
    }
}

/* acc/2 + 1/4 and acc/8: sums 1/2, -1/2, 3/2, -3/2, and limits of 8 to 12. */
Test(requant, two_terms_by_hand)
{
    static const int32_t values[][2] = {{0, 2},  {-1, -2}, {2, 2},   {-3, -2},
                                        {3, -2}, {4, 100}, {-4, -99}};
    static const int expected[BG_REQUANT_MODES][7] = {
        [BG_REQUANT_F32_RNE] = {10, 10, 12, 8, 12, 12, 8},
        /* bias rne(1/4 / 1/2) = 0: what was a tie lies a quarter lower */
        [BG_REQUANT_FIXED_SINGLE] = {10, 9, 11, 8, 11, 12, 8},
        [BG_REQUANT_FIXED_DOUBLE] = {10, 9, 11, 8, 11, 12, 8},
        [BG_REQUANT_POW2_RNE] = {10, 9, 11, 8, 11, 12, 8},
    };

    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_requant requant = make((enum bg_requant_mode)mode, 2, 1);
        requant.zero_point = 10;
        requant.lo = 8;
        requant.hi = 12;
        set(&requant, 0, 0.5f, 0.25f, 100);
        set(&requant, 1, 0.125f, 0.0f, 100);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK, "%s", bg_error());
        for (int i = 0; i < 7; i++)
            cr_assert_eq(code_of(&requant, values[i]), expected[mode][i], "mode %d, row %d: %d",
                         mode, i, code_of(&requant, values[i]));
    }
}

/* Four terms acc/2: ties of the sum, not of its terms. */
Test(requant, four_terms_are_rounded_once)
{
    static const int32_t up[] = {1, 1, 1, 2}, down[] = {-1, -1, -1, -2}, even[] = {1, 0, 0, 0};
    static const int expected[BG_REQUANT_MODES][3] = {
        [BG_REQUANT_F32_RNE] = {102, 98, 100},
        [BG_REQUANT_FIXED_SINGLE] = {103, 98, 101},
        [BG_REQUANT_FIXED_DOUBLE] = {103, 97, 101},
        [BG_REQUANT_POW2_RNE] = {102, 98, 100},
    };

    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_requant requant = make((enum bg_requant_mode)mode, 4, 1);
        requant.zero_point = 100;
        for (int t = 0; t < 4; t++)
            set(&requant, t, 0.5f, 0.0f, 100);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK, "%s", bg_error());
        cr_assert_eq(code_of(&requant, up), expected[mode][0]);
        cr_assert_eq(code_of(&requant, down), expected[mode][1]);
        cr_assert_eq(code_of(&requant, even), expected[mode][2]);
    }
}

Test(requant, the_integers_of_a_channel_by_hand)
{
    struct bg_requant single = make(BG_REQUANT_FIXED_SINGLE, 2, 1);
    struct bg_requant one = make(BG_REQUANT_FIXED_DOUBLE, 1, 1);
    struct bg_requant two = make(BG_REQUANT_FIXED_DOUBLE, 2, 1);
    struct bg_requant pow2 = make(BG_REQUANT_POW2_RNE, 2, 1);

    set(&single, 0, 3.0f, -4.0f, 1000); /* 0.75 * 2^2: S = 29 */
    set(&single, 1, 0x1.8p-30f, 0.0f, 1000);
    cr_assert_eq(bg_requant_fit(&single), BG_OK);
    cr_assert_eq(single.shift[0], 29);
    cr_assert_eq(single.term[0].multiplier[0], 3 << 29);
    cr_assert_eq(single.term[0].bias[0], -1);
    cr_assert_eq(single.term[1].multiplier[0], 1); /* rne(0.75) */
    cr_assert(single.term[0].shift[0] == 0 && single.term[1].shift[0] == 0);

    set(&one, 0, 3.0f, 0.0f, 1000);
    cr_assert_eq(bg_requant_fit(&one), BG_OK);
    cr_assert(one.shift[0] == 0 && one.term[0].shift[0] == 2);
    cr_assert_eq(one.term[0].multiplier[0], 3 << 29);
    set(&one, 0, 0x1.8p-9f, 0.0f, 1000); /* e = -8 */
    cr_assert_eq(bg_requant_fit(&one), BG_OK);
    cr_assert(one.shift[0] == 8 && one.term[0].shift[0] == 0);
    cr_assert_eq(one.term[0].multiplier[0], 3 << 29);
    set(&one, 0, 0x1p-40f, 0.0f, 1000); /* e = -39: F stops at 31, M = m * 2^62 */
    cr_assert_eq(bg_requant_fit(&one), BG_OK);
    cr_assert(one.shift[0] == 31 && one.term[0].shift[0] == 0);
    cr_assert_eq(one.term[0].multiplier[0], 1 << 22);

    set(&two, 0, 1.0f, -24.0f, 1000); /* e = 1; 1024 has 11 bits: F = 16 */
    set(&two, 1, 0x1p-20f, 0.0f, 1023);
    cr_assert_eq(bg_requant_fit(&two), BG_OK);
    cr_assert(two.shift[0] == 16 && two.term[0].shift[0] == 17);
    cr_assert_eq(two.term[0].multiplier[0], 1 << 30);
    cr_assert_eq(two.term[1].shift[0], 0); /* e = -19, l = -3: M = m * 2^47 */
    cr_assert_eq(two.term[1].multiplier[0], 1 << 27);

    set(&pow2, 0, 3.0f, -10.0f, 1000);
    set(&pow2, 1, 0.3f, 0.0f, 1000);
    cr_assert_eq(bg_requant_fit(&pow2), BG_OK);
    cr_assert_eq(pow2.shift[0], 2);
    cr_assert(pow2.term[0].shift[0] == 4 && pow2.term[1].shift[0] == 0);
    cr_assert_eq(pow2.term[0].bias[0], -2); /* rne(-2.5) */
    cr_assert(pow2.term[0].multiplier == NULL && pow2.term[1].multiplier == NULL);
}

Test(requant, fit_may_be_called_again)
{
    const int32_t value = 100;

    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_requant requant = make((enum bg_requant_mode)mode, 1, 3);
        struct bg_requant_input input = {.acc = (const int32_t[]){value, value, value}};
        uint8_t out[3] = {0};
        set(&requant, 0, 0.5f, 8.0f, 1000);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK);
        bg_requant_run(&requant, &input, 1, out, 3);
        cr_assert(out[0] == 58 && out[1] == 58 && out[2] == 58);
        requant.term[0].m[1] = 0.25f;
        requant.term[0].c[2] = -8.0f;
        requant.hi = 45;
        cr_assert_eq(bg_requant_fit(&requant), BG_OK);
        bg_requant_run(&requant, &input, 1, out, 3);
        cr_assert(out[0] == 45 && out[1] == 33 && out[2] == 42);
    }
}

/* Numbers for any terms, channels and rows: v spreads over the codes and beyond both limits. Every
 * second term reads codes when `mixed`. */
static void fill(struct bg_requant *requant, struct bg_requant_input *inputs, int64_t rows,
                 bool mixed)
{
    requant->lo = below(60);
    requant->hi = requant->lo + below(256 - requant->lo);
    requant->zero_point = requant->lo + below(requant->hi - requant->lo + 1);
    for (int t = 0; t < requant->terms; t++) {
        struct bg_requant_term *term = &requant->term[t];
        bool bytes = mixed && (t + requant->terms + (int)rows) % 2 == 0;
        int32_t bound = bytes ? 255 : 1 << (4 + below(18));
        term->bound = bound;
        for (int64_t i = 0; i < requant->channels; i++) {
            term->m[i] = 150.0f / (float)bound * (0.01f + uniform()) * ldexpf(1.0f, -below(6));
            if (requant->mode == BG_REQUANT_F32_RNE && below(2) == 0)
                term->m[i] = -term->m[i];
            if (below(4) == 0) /* powers of two make ties */
                term->m[i] = copysignf(ldexpf(1.0f, ilogbf(term->m[i])), term->m[i]);
            term->c[i] = below(3) == 0 ? 0.0f : 100.0f * uniform() - 50.0f;
        }
        inputs[t] = (struct bg_requant_input){.zero_point = bytes ? below(256) : 0};
        for (int64_t i = 0; i < rows * requant->channels; i++) {
            codes[t][i] = (uint8_t)below(256);
            acc[t][i] =
                below(20) == 0 ? (below(2) == 0 ? bound : -bound) : below(2 * bound + 1) - bound;
        }
        if (bytes)
            inputs[t].codes = codes[t];
        else
            inputs[t].acc = acc[t];
    }
    cr_assert_eq(bg_requant_fit(requant), BG_OK, "%s", bg_error());
}

/* Every instruction set against the reference, bytes between rows among them. */
static void compare(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                    int64_t rows, int64_t stride)
{
    size_t space = (size_t)(rows * stride + 100);

    cr_assert_leq(space, SPACE);
    memset(wanted, UNTOUCHED, space);
    bg_ref_requant_run(requant, inputs, rows, wanted, stride);
    for (int v = 0; v < bg_kernel_variant_count(); v++) {
        memset(got, UNTOUCHED, space);
        bg_kernel_requant_run(bg_kernel_variant(v)->requant, requant, inputs, rows, got, stride);
        for (size_t i = 0; i < space; i++)
            cr_assert_eq(got[i], wanted[i],
                         "%s, %s, %d terms, %lld channels, %lld rows, byte %zu: %d, not %d",
                         bg_kernel_variant(v)->isa, bg_requant_mode_name(requant->mode),
                         requant->terms, (long long)requant->channels, (long long)rows, i, got[i],
                         wanted[i]);
    }
    for (int64_t i = 0; i < (int64_t)space; i++)
        if (i >= rows * stride || i % stride >= requant->channels)
            cr_assert_eq(wanted[i], UNTOUCHED);
}

static void compare_all(enum bg_requant_mode mode)
{
    static const int64_t row_counts[] = {0, 1, 2, 5, 33};
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    for (int64_t channels = 1; channels <= 70; channels++)
        for (int terms = 1; terms <= BG_REQUANT_TERMS; terms++) {
            struct bg_requant requant = make(mode, terms, channels);
            int64_t rows = row_counts[(channels + terms) % 5];
            fill(&requant, inputs, rows, channels % 3 != 0);
            compare(&requant, inputs, rows, channels + (channels % 2 == 0 ? 0 : 1 + below(90)));
        }
}

Test(requant, f32_rne_equals_the_reference)
{
    compare_all(BG_REQUANT_F32_RNE);
}

Test(requant, fixed_single_equals_the_reference)
{
    compare_all(BG_REQUANT_FIXED_SINGLE);
}

Test(requant, fixed_double_equals_the_reference)
{
    compare_all(BG_REQUANT_FIXED_DOUBLE);
}

Test(requant, pow2_rne_equals_the_reference)
{
    compare_all(BG_REQUANT_POW2_RNE);
}

/* Vectors of several rows, of one row, and of pieces of a row; enough elements for threads. */
Test(requant, many_channels_and_many_rows_equal_the_reference)
{
    static const int64_t sizes[][2] = {{1, 40001}, {16, 4099},      {64, 1031},
                                       {100, 700}, {129, 300},      {256, 257},
                                       {257, 200}, {CHANNELS, 130}, {CHANNELS, 1}};
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    for (int mode = 0; mode < BG_REQUANT_MODES; mode++)
        for (int k = 0; k < 9; k++) {
            int64_t channels = sizes[k][0], rows = sizes[k][1];
            struct bg_requant requant =
                make((enum bg_requant_mode)mode, 1 + (k + mode) % 3, channels);
            fill(&requant, inputs, rows, k % 2 == 1);
            compare(&requant, inputs, rows, channels);
            compare(&requant, inputs, rows, channels + 1 + k);
        }
}

Test(requant, threads_change_no_byte)
{
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    omp_set_dynamic(0);
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_requant requant = make((enum bg_requant_mode)mode, 2, 48);
        fill(&requant, inputs, 3001, mode % 2 == 0);
        for (int t = 0; t < 2; t++) {
            omp_set_num_threads(3 * t + 1);
            bg_requant_run(&requant, inputs, 3001, t == 0 ? wanted : got, 48);
            bg_requant_real(&requant, inputs, 3001, t == 0 ? real_wanted : real_got);
        }
        cr_assert_eq(memcmp(got, wanted, 3001 * 48), 0);
        cr_assert_eq(memcmp(real_got, real_wanted, 3001 * 48 * sizeof *real_got), 0);
    }
}

Test(requant, real_is_the_sum_in_f32_in_every_mode)
{
    static const int64_t sizes[][2] = {{1, 5}, {10, 64}, {33, 0}, {100, 401}, {CHANNELS, 101}};
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    for (int mode = 0; mode < BG_REQUANT_MODES; mode++)
        for (int k = 0; k < 20; k++) {
            int64_t channels = sizes[k % 5][0], count = channels * sizes[k % 5][1];
            struct bg_requant requant = make((enum bg_requant_mode)mode, 1 + k % 4, channels);
            fill(&requant, inputs, sizes[k % 5][1], k % 3 != 0);
            for (int64_t i = 0; i < count; i++)
                for (int t = 0; t < requant.terms; t++) {
                    const struct bg_requant_term *term = &requant.term[t];
                    int32_t a =
                        inputs[t].acc != NULL ? acc[t][i] : codes[t][i] - inputs[t].zero_point;
                    float v = (float)a * term->m[i % channels];
                    v = v + term->c[i % channels];
                    real_wanted[i] = t == 0 ? v : real_wanted[i] + v;
                }
            for (int v = 0; v < bg_kernel_variant_count(); v++) {
                memset(real_got, 0, sizeof real_got);
                bg_kernel_requant_real(bg_kernel_variant(v)->requant, &requant, inputs,
                                       sizes[k % 5][1], real_got);
                cr_assert_eq(memcmp(real_got, real_wanted, (size_t)count * sizeof *real_got), 0);
                cr_assert(count == SPACE || real_got[count] == 0.0f);
            }
        }
}

/* The largest accumulators, shifts and sums a fit accepts, on every instruction set. */
Test(requant, extremes_equal_the_reference)
{
    static const float factors[] = {0x1p-149f, 0x1p-60f, 0x1p-31f, 0x1.fffffep-25f, 0x1.fffffep-1f,
                                    1.0f,      1.5f,     0x1p20f,  0x1.8p28f,       FLT_MAX};
    static const int32_t bounds[] = {INT32_MAX, 1 << 24, 255, 1, 0};
    struct bg_requant_input inputs[BG_REQUANT_TERMS] = {
        {.acc = acc[0]}, {.acc = acc[1]}, {.acc = acc[2]}, {.acc = acc[3]}};
    int accepted[BG_REQUANT_MODES] = {0};

    for (int k = 0; k < BG_REQUANT_MODES * 4 * 10 * 5; k++) {
        int mode = k % 4, terms = k / 4 % 4 + 1, f = k / 16 % 10, bound = bounds[k / 160];
        struct bg_requant requant = make((enum bg_requant_mode)mode, terms, 1);
        requant.zero_point = 128;
        for (int t = 0; t < terms; t++) {
            set(&requant, t, factors[(f + 3 * t) % 10], 0.0f, bound);
            for (int i = 0; i < 81; i++) /* all signs and zero */
                acc[t][i] = bound * (i / (int[]){1, 3, 9, 27}[t] % 3 - 1);
        }
        if (bg_requant_fit(&requant) != BG_OK)
            continue;
        accepted[mode]++;
        compare(&requant, inputs, 81, 1);
    }
    cr_assert_eq(accepted[BG_REQUANT_F32_RNE], 200);
    for (int mode = 1; mode < BG_REQUANT_MODES; mode++)
        cr_assert_gt(accepted[mode], 20);
}

Test(requant, a_sum_of_opposite_infinities_gives_the_lowest_code)
{
    static const int32_t both[] = {INT32_MAX, INT32_MAX}, first[] = {INT32_MAX, 0};
    struct bg_requant requant = make(BG_REQUANT_F32_RNE, 2, 1);

    requant.lo = 3;
    requant.zero_point = 7;
    set(&requant, 0, FLT_MAX, 0.0f, INT32_MAX);
    set(&requant, 1, -FLT_MAX, 0.0f, INT32_MAX);
    cr_assert_eq(bg_requant_fit(&requant), BG_OK);
    cr_assert_eq(code_of(&requant, both), 3);
    cr_assert_eq(code_of(&requant, first), 255);
}

__extension__ typedef __int128 wide; /* ISO C has no name for it */

/* floor(a / 2^shift), without division or a shift of a negative number */
static wide floor_of(wide a, int shift)
{
    wide unit = (wide)1 << shift, offset = (wide)1 << 120;

    return (a + offset) / unit - offset / unit;
}

/* Nearest integer to a / 2^shift; which way ties go: 1 up, 0 to even, -1 away from zero. */
static wide nearest(wide a, int shift, int ties)
{
    wide down = floor_of(a, shift), unit = (wide)1 << shift, twice_rest = 2 * (a - down * unit);

    if (twice_rest != unit || shift == 0)
        return down + (twice_rest > unit);
    return down +
           (ties == 1 || (ties == 0 && floor_of(down, 1) * 2 != down) || (ties == -1 && a > 0));
}

/* The integer modes in 128 bits, with roundings by their names alone: high multiplication is to
 * nearest with ties up. */
static int exact_code(const struct bg_requant *requant, int64_t channel, const int32_t *values)
{
    bool twice = requant->mode == BG_REQUANT_FIXED_DOUBLE;
    int ties = twice ? -1 : requant->mode == BG_REQUANT_FIXED_SINGLE;
    wide sum = 0, code;

    for (int t = 0; t < requant->terms; t++) {
        const struct bg_requant_term *term = &requant->term[t];
        wide x = ((wide)values[t] + term->bias[channel]) * ((wide)1 << term->shift[channel]);
        x *= term->multiplier == NULL ? 1 : term->multiplier[channel];
        sum += twice ? nearest(x, 31, 1) : x;
    }
    code = requant->zero_point + nearest(sum, requant->shift[channel], ties);
    return code < requant->lo ? requant->lo : code > requant->hi ? requant->hi : (int)code;
}

Test(requant, integer_modes_equal_their_rounding_in_128_bits)
{
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    for (int mode = 1; mode < BG_REQUANT_MODES; mode++)
        for (int k = 0; k < 400; k++) {
            struct bg_requant requant = make((enum bg_requant_mode)mode, 1 + k % 4, 16);
            fill(&requant, inputs, 32, false);
            bg_requant_run(&requant, inputs, 32, got, 16);
            for (int i = 0; i < 16 * 32; i++) {
                int32_t values[BG_REQUANT_TERMS];
                for (int t = 0; t < requant.terms; t++)
                    values[t] = acc[t][i];
                cr_assert_eq(got[i], exact_code(&requant, i % 16, values), "mode %d", mode);
            }
        }
}

/* What a channel's integers stand for: multipliers are the factors to half a unit, the largest with
 * 31 significant bits; 2^p is at most a factor sqrt(2) from m. */
Test(requant, multipliers_and_shifts_stand_for_the_factors)
{
    struct bg_requant_input inputs[BG_REQUANT_TERMS];

    for (int mode = 1; mode < BG_REQUANT_MODES; mode++)
        for (int k = 0; k < 200; k++) {
            struct bg_requant requant = make((enum bg_requant_mode)mode, 1 + k % 4, 16);
            fill(&requant, inputs, 1, false);
            for (int i = 0; i < 16 * requant.terms; i++) {
                const struct bg_requant_term *term = &requant.term[i / 16];
                double m = (double)term->m[i % 16], unit = ldexp(1.0, -requant.shift[i % 16]);
                double stored = ldexp(unit, term->shift[i % 16]);
                double bias_unit = m;
                if (mode == BG_REQUANT_POW2_RNE) {
                    cr_assert(stored <= m * sqrt(2.0) && m <= stored * sqrt(2.0));
                    bias_unit = stored;
                } else {
                    double scale = mode == BG_REQUANT_FIXED_DOUBLE ? 31.0 : 0.0;
                    unit = ldexp(stored, -(int)scale);
                    cr_assert_leq(fabs(term->multiplier[i % 16] * unit - m), 0.5 * unit);
                }
                cr_assert_leq(fabs(term->bias[i % 16] - (double)term->c[i % 16] / bias_unit), 0.5);
            }
            for (int i = 0; i < 16 && mode == BG_REQUANT_FIXED_SINGLE; i++) {
                int32_t largest = 0;
                for (int t = 0; t < requant.terms; t++)
                    largest = requant.term[t].multiplier[i] > largest
                                  ? requant.term[t].multiplier[i]
                                  : largest;
                cr_assert_geq(largest, 1 << 30);
            }
        }
}

/* v as real numbers, of m or of what stands for it; |acc| < 2^22 and f32 factors are exact here. */
static double real_of(const struct bg_requant *requant, int64_t channel, int64_t i)
{
    double v = 0;

    for (int t = 0; t < requant->terms; t++) {
        const struct bg_requant_term *term = &requant->term[t];
        double m = (double)term->m[channel];
        if (requant->mode == BG_REQUANT_POW2_RNE)
            m = ldexp(1.0, term->shift[channel] - requant->shift[channel]);
        v += (double)acc[t][i] * m + (double)term->c[channel];
    }
    return v;
}

/* With factors up to 1/8 a bias is off by at most half its factor and a high multiplication by at
 * most the factor, in four terms 4 * (1/16 + 1/8) < 1 together with the multipliers' 2^-8; a code
 * is within half of its sum. So codes are less than 2 from the real v's. In f32 the sum of four
 * terms below 2^11 is off by less than 8 * 2^-13: unless v is that near to a tie, codes are equal.
 */
Test(requant, codes_are_within_one_of_the_real_sum)
{
    const double f32_error = 0x1p-10;
    struct bg_requant_input inputs[BG_REQUANT_TERMS];
    int apart[BG_REQUANT_MODES] = {0};

    for (int k = 0; k < 800; k++) {
        int mode = k % BG_REQUANT_MODES;
        struct bg_requant requant = make((enum bg_requant_mode)mode, 1 + k / 4 % 4, 8);
        fill(&requant, inputs, 32, false);
        for (int t = 0; t < requant.terms; t++)
            for (int i = 0; i < 8; i++)
                while (fabsf(requant.term[t].m[i]) > 0.125f)
                    requant.term[t].m[i] *= 0.5f;
        cr_assert_eq(bg_requant_fit(&requant), BG_OK);
        bg_requant_run(&requant, inputs, 32, got, 8);
        for (int i = 0; i < 8 * 32; i++) {
            double v = real_of(&requant, i % 8, i), tie = fabs(v - floor(v) - 0.5);
            double q = requant.zero_point + nearbyint(fmin(fmax(v, requant.lo - requant.zero_point),
                                                           requant.hi - requant.zero_point));
            cr_assert_leq(fabs(got[i] - q), 1.0, "mode %d: %d, not %g", mode, got[i], q);
            if (mode == BG_REQUANT_F32_RNE)
                cr_assert(got[i] == (int)q || tie < f32_error);
            apart[mode] += got[i] != (int)q;
        }
    }
    cr_assert_gt(apart[BG_REQUANT_FIXED_SINGLE], 0); /* biases are rounded: not the same numbers */
}

static void expect_refusal(enum bg_requant_mode mode, const float numbers[4], int64_t bound,
                           const char *sentence)
{
    int terms = numbers[2] == 0.0f && numbers[3] == 0.0f ? 1 : 2;
    struct bg_requant requant = make(mode, terms, 5);

    for (int t = 0; t < terms; t++) {
        set(&requant, t, 0.5f, 0.0f, bound);
        requant.term[t].m[3] = numbers[2 * t];
        requant.term[t].c[3] = numbers[2 * t + 1];
    }
    cr_assert_eq(bg_requant_fit(&requant), BG_E_DATA, "accepted: %s", sentence);
    cr_assert_str_eq(bg_error(), sentence);
}

Test(requant, a_channel_that_does_not_fit_is_refused_with_its_number)
{
    static const struct {
        enum bg_requant_mode mode;
        float numbers[4]; /* m, c, m, c */
        int64_t bound;
        const char *sentence;
    } rows[] = {
        {BG_REQUANT_F32_RNE, {INFINITY, 0}, 9, "channel 3: factor inf is not finite"},
        {BG_REQUANT_F32_RNE, {1, -INFINITY}, 9, "channel 3: offset -inf is not finite"},
        {BG_REQUANT_F32_RNE, {1, 0, 1, NAN}, 9, "channel 3: term 1: offset nan is not finite"},
        {BG_REQUANT_POW2_RNE, {NAN, 0}, 9, "channel 3: factor nan is not finite"},
        {BG_REQUANT_FIXED_SINGLE,
         {-0.002f, 0},
         9,
         "channel 3: factor -0.002 is negative, fixed-single needs it positive"},
        {BG_REQUANT_FIXED_DOUBLE,
         {0, 1},
         9,
         "channel 3: factor 0 is zero, fixed-double needs it positive"},
        {BG_REQUANT_POW2_RNE,
         {1, 0, -1, 0},
         9,
         "channel 3: term 1: factor -1 is negative, pow2-rne needs it positive"},
        {BG_REQUANT_FIXED_DOUBLE,
         {1e-8f, 100},
         65025,
         "channel 3: bias 1e+10 does not fit s32 (factor 1e-08 is too near 0) beside accumulators "
         "up to 65025"},
        {BG_REQUANT_FIXED_SINGLE,
         {0x1p-10f, 0x1p20f},
         INT32_MAX - ((1 << 30) - 1),
         "channel 3: bias 1.07374e+09 does not fit s32 (factor 0.000976562 is too near 0) beside "
         "accumulators up to 1073741824"},
        {BG_REQUANT_FIXED_SINGLE,
         {0x1p31f, 0},
         9,
         "channel 3: factor 2.14748e+09 needs a shift of -1, limits are 1 to 62"},
        {BG_REQUANT_FIXED_SINGLE,
         {0x1p-33f, 0},
         9,
         "channel 3: factor 1.16415e-10 needs a shift of 63, limits are 1 to 62"},
        {BG_REQUANT_FIXED_SINGLE,
         {0x1.fffffep-32f, 0, 0x1.fffffep-32f, 0},
         INT32_MAX,
         "channel 3: term 1: the sum can reach 1.15292e+19, which does not fit s64"},
        {BG_REQUANT_FIXED_DOUBLE,
         {0x1p20f, 0},
         1024,
         "channel 3: factor 1.04858e+06 needs 1024 * 2^21, which does not fit s32"},
        {BG_REQUANT_POW2_RNE,
         {0x1p-63f, 0},
         9,
         "channel 3: factor 1.0842e-19 needs a shift of 63, limit is 62"},
        {BG_REQUANT_POW2_RNE,
         {0x1p-60f, 0, 0x1p3f, 0},
         9,
         "channel 3: factor 8 needs a left shift of 63, limit is 62"},
        {BG_REQUANT_POW2_RNE,
         {0x1p-60f, 0, 0x1p0f, 0},
         9,
         "channel 3: term 1: the sum can reach 1.09528e+19, which does not fit s64"},
        {BG_REQUANT_F32_RNE, {1, 0}, -1, "accumulators up to -1: limits are 0 to 2147483647"},
        {BG_REQUANT_F32_RNE,
         {1, 0},
         2147483648,
         "accumulators up to 2147483648: limits are 0 to 2147483647"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_refusal(rows[i].mode, rows[i].numbers, rows[i].bound, rows[i].sentence);
}

/* The last numbers that fit, next to those above. */
Test(requant, limits_themselves_are_accepted)
{
    static const struct {
        enum bg_requant_mode mode;
        float m, c;
        int64_t bound;
    } rows[] = {
        {BG_REQUANT_F32_RNE, FLT_MAX, -FLT_MAX, INT32_MAX},
        {BG_REQUANT_FIXED_SINGLE, 0x1p-10f, 0x1p20f, (1 << 30) - 1},
        {BG_REQUANT_FIXED_SINGLE, 0x1p29f, 0, INT32_MAX},
        {BG_REQUANT_FIXED_SINGLE, 0x1p-32f, 0, INT32_MAX},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p20f, 0, 1023},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p-149f, 0, INT32_MAX},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p100f, 0, 0},
        {BG_REQUANT_POW2_RNE, 0x1p-62f, 0, INT32_MAX},
        {BG_REQUANT_POW2_RNE, 0x1p62f, 0, 1},
    };
    struct bg_requant_input input = {.acc = acc[0]};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bg_requant requant = make(rows[i].mode, 1, 1);
        set(&requant, 0, rows[i].m, rows[i].c, rows[i].bound);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK, "row %zu: %s", i, bg_error());
        for (int j = 0; j < 3; j++)
            acc[0][j] = (int32_t)(rows[i].bound * (j - 1));
        compare(&requant, &input, 3, 1);
    }
}

Test(requant, wrong_shapes_and_limits_are_refused)
{
    static const struct bg_requant shapes[] = {
        {.mode = BG_REQUANT_MODES, .terms = 1, .channels = 1},
        {.terms = 0, .channels = 1},
        {.terms = BG_REQUANT_TERMS + 1, .channels = 1},
        {.terms = 1, .channels = 0},
        {.terms = 1, .channels = -1},
    };
    static const int32_t limits[][3] = {
        {-1, 5, 0}, {6, 5, 5}, {0, 256, 0}, {0, 5, -1}, {0, 5, 256}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct bg_requant requant = shapes[i];
        cr_assert_eq(bg_requant_make(&requant, arena), BG_E_RANGE);
    }
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct bg_requant requant = make(BG_REQUANT_POW2_RNE, 1, 1);
        set(&requant, 0, 1.0f, 0.0f, 1);
        cr_assert_eq(bg_requant_fit(&requant), BG_OK);
        requant.lo = limits[i][0];
        requant.hi = limits[i][1];
        requant.zero_point = limits[i][2];
        cr_assert_eq(bg_requant_fit(&requant), BG_E_DATA, "row %zu", i);
    }
}

Test(requant, memory_that_runs_out_is_reported)
{
    enum bg_status rc = BG_E_NOMEM;
    uint64_t n = 0;

    while (rc == BG_E_NOMEM && n < 50) {
        struct bg_requant requant = {.mode = BG_REQUANT_FIXED_DOUBLE, .terms = 4, .channels = 9000};
        struct bg_arena *own = NULL;
        cr_assert_eq(bg_arena_create(&own, "own"), BG_OK);
        bg_alloc_fail_at(++n);
        rc = bg_requant_make(&requant, own);
        bg_alloc_fail_at(0);
        bg_arena_destroy(own);
    }
    cr_assert_eq(rc, BG_OK);
    cr_assert_gt(n, 1);
}

enum { LONG = 70001 };

static void fill_reals(float scale)
{
    static const float special[] = {0.0f,      -0.0f,  NAN,     INFINITY,
                                    -INFINITY, 1e-45f, FLT_MAX, -FLT_MAX};

    for (int i = 0; i < LONG; i++) {
        real_got[i] = (400.0f * uniform() - 200.0f) * scale;
        if (i % 3 == 0) /* ties */
            real_got[i] = (rintf(real_got[i] / scale) + 0.5f) * scale;
    }
    for (int i = 0; i < 8; i++)
        real_got[i] = real_got[LONG - 8 + i] = special[i];
}

/* Both 8-bit encoders, and the loop of every instruction set, against the grid's codes. */
static void compare_codes(const struct bg_grid *grid, int64_t n)
{
    static int32_t plain[LONG];
    const struct bg_kernel_grid loop = bg_kernel_grid_of(grid, 0);
    int8_t *narrow = (int8_t *)got;

    bg_grid_encode(grid, 0, real_got, n, NULL, plain);
    memset(got, UNTOUCHED, sizeof got);
    if (grid->is_signed)
        bg_kernel_encode_s8(grid, 0, real_got, n, narrow);
    else
        bg_kernel_encode_u8(grid, 0, real_got, n, got);
    for (int64_t i = 0; i < n; i++)
        cr_assert_eq(grid->is_signed ? narrow[i] : got[i], plain[i], "%d bits, %g", grid->bits,
                     (double)real_got[i]);
    cr_assert_eq(got[n], UNTOUCHED);
    for (int v = 0; v < bg_kernel_variant_count() && grid->rounding == BG_ROUND_NEAREST; v++) {
        memset(wanted, UNTOUCHED, sizeof wanted);
        bg_kernel_variant(v)->grid->encode(&loop, real_got, n, wanted);
        cr_assert_eq(memcmp(got, wanted, (size_t)n + 1), 0);
    }
}

Test(requant, encoders_give_the_codes_of_the_grid)
{
    static const int64_t counts[] = {0, 1, 17, 5000, LONG};
    static const enum bg_rounding roundings[] = {BG_ROUND_NEAREST, BG_ROUND_STOCHASTIC,
                                                 BG_ROUND_ZERO, BG_ROUND_FLOOR};

    for (int bits = 1; bits <= 8; bits++)
        for (int sort = 0; sort < 4; sort++) { /* unsigned, affine, signed narrow, signed full */
            float scale = 0.0f;
            struct bg_grid grid = {.channels = 1, .scale = &scale};
            cr_assert_eq(bg_grid_limits(&grid, bits, sort >= 2, sort == 2), BG_OK);
            cr_assert_eq(bg_grid_fit(&grid, 0, sort == 0 ? 0.0f : -0.7f, 1.9f, sort != 1), BG_OK);
            fill_reals(scale);
            for (int r = 0; r < 4; r++) {
                grid.rounding = roundings[r];
                compare_codes(&grid, counts[(bits + sort + r) % 5]);
            }
        }
}
