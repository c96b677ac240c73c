/* Affine grids: limits, fitting, and the laws of encode and decode for every width. */
#include "core/grid.h"
#include "core/rng.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { COUNT = 2000 };

static const struct bg_rng rng = {11, BG_STREAM_TEST, 0};

/* A grid of every sort by number: signed narrow, signed full, unsigned, affine unsigned, affine
 * signed. False when the sort does not exist for the width. */
enum { SORTS = 5 };
static bool make_grid(struct bg_grid *grid, float *scale, int bits, int sort)
{
    bool is_signed = sort != 2 && sort != 3;

    *grid = (struct bg_grid){.channels = 1, .scale = scale};
    cr_assert_eq(bg_grid_limits(grid, bits, is_signed, sort == 0), BG_OK);
    if (sort >= 3 && grid->binary)
        return false;
    cr_assert_eq(bg_grid_fit(grid, 0, sort == 2 ? 0.0f : -1.3f, 2.7f, sort < 3), BG_OK);
    return true;
}

/* Values inside, at and outside the limits, ties among them. */
static void fill(const struct bg_grid *grid, float x[COUNT])
{
    float span = (float)(grid->qmax - grid->qmin + 4) * grid->scale[0];
    float low = (float)(grid->qmin - grid->zero_point - 2) * grid->scale[0];

    for (int i = 0; i < COUNT; i++) {
        float u = bg_rng_uniform(&rng, (uint64_t)i);
        x[i] = low + u * span;
        if (i % 4 == 0) /* ties */
            x[i] = (rintf(x[i] / grid->scale[0]) + 0.5f) * grid->scale[0];
        if (i % 4 == 1)
            x[i] *= 0x1p-10f;
    }
    x[0] = 0.0f;
    x[1] = -0.0f;
    x[2] = FLT_MAX;
    x[3] = -FLT_MAX;
    x[4] = INFINITY;
    x[5] = -INFINITY;
    x[6] = 1e-45f;
}

Test(grid, limits_follow_width_and_sign)
{
    static const struct {
        int bits;
        bool is_signed, narrow, binary;
        int qmin, qmax;
    } rows[] = {{1, true, true, true, -1, 1},           {1, true, false, true, -1, 1},
                {1, false, false, false, 0, 1},         {2, true, true, false, -1, 1},
                {2, true, false, false, -2, 1},         {8, true, true, false, -127, 127},
                {8, true, false, false, -128, 127},     {8, false, true, false, 0, 255},
                {16, true, true, false, -32767, 32767}, {16, false, false, false, 0, 65535}};
    float scale = 3.0f;
    struct bg_grid grid = {.channels = 1, .scale = &scale, .zero_point = 5};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(bg_grid_limits(&grid, rows[i].bits, rows[i].is_signed, rows[i].narrow), BG_OK);
        cr_assert_eq(grid.bits, rows[i].bits);
        cr_assert_eq(grid.is_signed, rows[i].is_signed);
        cr_assert_eq(grid.binary, rows[i].binary);
        cr_assert_eq(grid.qmin, rows[i].qmin);
        cr_assert_eq(grid.qmax, rows[i].qmax);
        cr_assert_eq(grid.zero_point, 5);
        cr_assert_eq(scale, 3.0f);
        cr_assert_eq(grid.kind, &bg_grid_affine);
    }
    cr_assert_eq(bg_grid_limits(&grid, 17, true, true), BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "17 bits: limit is 16");
    cr_assert_eq(bg_grid_limits(&grid, 0, true, true), BG_E_RANGE);
    cr_assert_eq(grid.bits, 16);
}

Test(grid, fit_gives_the_documented_scale_and_zero_point)
{
    float scales[2] = {0};
    struct bg_grid grid = {.channels = 1, .scale = scales};

    cr_assert_eq(bg_grid_limits(&grid, 8, true, true), BG_OK);
    cr_assert_eq(bg_grid_fit(&grid, 0, -254.0f, 127.0f, true), BG_OK);
    cr_assert_eq(scales[0], 2.0f);
    cr_assert_eq(grid.zero_point, 0);
    cr_assert_eq(bg_grid_limits(&grid, 8, false, true), BG_OK);
    cr_assert_eq(bg_grid_fit(&grid, 0, -55.0f, 200.0f, false), BG_OK);
    cr_assert_eq(scales[0], 1.0f);
    cr_assert_eq(grid.zero_point, 55);
    cr_assert_eq(bg_grid_fit(&grid, 0, 100.0f, 255.0f, false), BG_OK); /* widened to 0 */
    cr_assert_eq(scales[0], 1.0f);
    cr_assert_eq(grid.zero_point, 0);
    cr_assert_eq(bg_grid_fit(&grid, 0, -255.0f, -1.0f, false), BG_OK);
    cr_assert_eq(grid.zero_point, 255);
    cr_assert_eq(bg_grid_fit(&grid, 0, 0.0f, 0.0f, false), BG_OK);
    cr_assert_eq(scales[0], 1.0f);
    cr_assert_eq(bg_grid_fit(&grid, 0, 0.0f, 0.0f, true), BG_OK);
    cr_assert_eq(scales[0], 1.0f);
    cr_assert_eq(bg_grid_limits(&grid, 1, true, true), BG_OK);
    cr_assert_eq(bg_grid_fit(&grid, 0, -0.25f, 0.25f, true),
                 BG_OK); /* s = mean |w| by the caller */
    cr_assert_eq(scales[0], 0.25f);
    cr_assert_eq(bg_grid_limits(&grid, 4, true, true), BG_OK);
    grid.channels = 2;
    cr_assert_eq(bg_grid_fit(&grid, 1, -7.0f, 3.5f, true), BG_OK);
    cr_assert_eq(scales[1], 1.0f);
    cr_assert_eq(bg_grid_fit(&grid, 1, -7.0f, 3.5f, false), BG_E_UNSUPPORTED);
}

Test(grid, fit_refuses_or_bounds_extreme_ranges)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float scale = 1.0f, lo = 0, hi = 0, real = 0;
    struct bg_grid grid = {.channels = 1, .scale = &scale};

    for (int bits = 1; bits <= 16; bits++) {
        cr_assert_eq(bg_grid_limits(&grid, bits, false, false), BG_OK);
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            for (int i = 0; i < 3; i++) {
                cr_assert_eq(bg_grid_fit(&grid, 0, bad[i], 1.0f, symmetric), BG_E_NUMERIC);
                cr_assert_eq(bg_grid_fit(&grid, 0, 0.0f, bad[i], symmetric), BG_E_NUMERIC);
            }
            cr_assert_eq(bg_grid_fit(&grid, 0, -FLT_MAX, FLT_MAX, symmetric), BG_OK);
            bg_grid_clip_limits(&grid, 0, &lo, &hi);
            cr_assert(isfinite(lo) && isfinite(hi));
            bg_grid_project(&grid, 0, &(float){FLT_MAX}, 1, &real);
            cr_assert(isfinite(real));
            cr_assert_eq(bg_grid_fit(&grid, 0, -1e-45f, 1e-45f, symmetric), BG_OK);
            cr_assert_geq(scale, FLT_MIN);
        }
    }
}

Test(grid, decoded_values_are_within_half_a_step_inside_the_limits)
{
    for (int bits = 1; bits <= 16; bits++)
        for (int sort = 0; sort < SORTS; sort++) {
            float scale = 0, lo = 0, hi = 0, x[COUNT], y[COUNT];
            struct bg_grid grid;
            int32_t codes[COUNT];
            if (!make_grid(&grid, &scale, bits, sort) || grid.binary)
                continue;
            fill(&grid, x);
            bg_grid_encode(&grid, 0, x, COUNT, NULL, codes);
            bg_grid_decode(&grid, 0, codes, COUNT, y);
            bg_grid_clip_limits(&grid, 0, &lo, &hi);
            for (int i = 0; i < COUNT; i++) {
                cr_assert(codes[i] >= grid.qmin && codes[i] <= grid.qmax);
                /* division and product each round once: |y| * 2^-23 beside the half step */
                if (x[i] >= lo && x[i] <= hi)
                    cr_assert(fabs((double)x[i] - (double)y[i]) <=
                              (double)scale * 0.5 + fabs((double)x[i]) * 0x1p-22);
                else
                    cr_assert_eq(codes[i], x[i] < lo ? grid.qmin : grid.qmax);
            }
            cr_assert_eq(codes[0], grid.zero_point); /* zero is on the grid, and +0 comes back */
            cr_assert_eq(codes[1], grid.zero_point);
            cr_assert(y[0] == 0.0f && !signbit(y[0]) && !signbit(y[1]));
        }
}

Test(grid, codes_are_monotone_and_survive_decode_and_encode)
{
    for (int bits = 1; bits <= 16; bits++)
        for (int sort = 0; sort < SORTS; sort++) {
            float scale = 0, x[COUNT], y[COUNT], again[COUNT];
            struct bg_grid grid;
            int32_t codes[COUNT], second[COUNT];
            if (!make_grid(&grid, &scale, bits, sort))
                continue;
            for (int i = 0; i < COUNT; i++)
                x[i] = (-2.0f + 5.0f * (float)i / COUNT) * (1.0f + (float)sort * 0.1f);
            bg_grid_encode(&grid, 0, x, COUNT, NULL, codes);
            for (int i = 1; i < COUNT; i++)
                cr_assert_leq(codes[i - 1], codes[i]);
            cr_assert_eq(codes[COUNT - 1], grid.qmax);
            bg_grid_decode(&grid, 0, codes, COUNT, y);
            bg_grid_encode(&grid, 0, y, COUNT, NULL, second);
            cr_assert_eq(memcmp(codes, second, sizeof codes), 0);
            bg_grid_project(&grid, 0, x, COUNT, again);
            cr_assert_eq(memcmp(y, again, sizeof y), 0);
            bg_grid_project(&grid, 0, again, COUNT, again);
            cr_assert_eq(memcmp(y, again, sizeof y), 0);
        }
}

Test(grid, projection_is_decode_of_encode_bit_for_bit)
{
    for (int bits = 1; bits <= 16; bits++)
        for (int sort = 0; sort < SORTS; sort++) {
            float scale = 0, x[COUNT], y[COUNT], wanted[COUNT];
            struct bg_grid grid;
            int32_t codes[COUNT];
            if (!make_grid(&grid, &scale, bits, sort))
                continue;
            fill(&grid, x);
            x[7] = NAN;
            bg_grid_encode(&grid, 0, x, COUNT, NULL, codes);
            cr_assert_eq(codes[7], grid.binary ? -1 : grid.zero_point);
            bg_grid_decode(&grid, 0, codes, COUNT, wanted);
            bg_grid_project(&grid, 0, x, COUNT, y);
            for (int i = 0; i < COUNT; i++)
                cr_assert_eq(memcmp(&y[i], &wanted[i], sizeof *y), 0, "%d bits, sort %d: %a", bits,
                             sort, (double)x[i]);
        }
}

Test(grid, scaling_by_a_power_of_two_changes_no_code)
{
    for (int bits = 1; bits <= 16; bits++) {
        float scale = 0, x[COUNT];
        struct bg_grid grid;
        int32_t codes[COUNT], scaled[COUNT];
        cr_assert(make_grid(&grid, &scale, bits, 0));
        for (int i = 0; i < COUNT; i++)
            x[i] = 6.0f * bg_rng_uniform(&rng, (uint64_t)i) - 3.0f;
        bg_grid_encode(&grid, 0, x, COUNT, NULL, codes);
        scale *= 0x1p-9f;
        for (int i = 0; i < COUNT; i++)
            x[i] *= 0x1p-9f;
        bg_grid_encode(&grid, 0, x, COUNT, NULL, scaled);
        cr_assert_eq(memcmp(codes, scaled, sizeof codes), 0);
    }
}

Test(grid, binary_weights_are_plus_or_minus_one)
{
    static const float x[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 5.0f, -INFINITY, NAN};
    static const int32_t wanted[] = {1, 1, 1, -1, 1, -1, -1};
    float scale = 0.5f, y[7];
    struct bg_grid grid = {.channels = 1, .scale = &scale};
    int32_t codes[7];

    cr_assert_eq(bg_grid_limits(&grid, 1, true, true), BG_OK);
    bg_grid_encode(&grid, 0, x, 7, NULL, codes);
    cr_assert_eq(memcmp(codes, wanted, sizeof codes), 0);
    bg_grid_project(&grid, 0, x, 7, y);
    for (int i = 0; i < 7; i++)
        cr_assert_eq(y[i], 0.5f * (float)wanted[i]);
}

Test(grid, channels_use_their_own_scale)
{
    float scales[3] = {0.5f, 1.0f, 2.0f}, y = 0;
    struct bg_grid grid = {.channels = 3, .scale = scales};

    cr_assert_eq(bg_grid_limits(&grid, 4, true, true), BG_OK);
    for (int c = 0; c < 3; c++) {
        int32_t code = 0;
        bg_grid_encode(&grid, c, &(float){3.0f}, 1, NULL, &code);
        cr_assert_eq(code, c == 0 ? 6 : c == 1 ? 3 : 2); /* 1.5 is a tie: to even */
        bg_grid_project(&grid, c, &(float){3.0f}, 1, &y);
        cr_assert_eq(y, c == 2 ? 4.0f : 3.0f);
    }
}

Test(grid, other_roundings_are_taken_from_the_grid)
{
    float scale = 1.0f, x[3] = {1.75f, -1.75f, 100.0f}, y[3];
    struct bg_grid grid = {.channels = 1, .scale = &scale};
    const uint32_t up[3] = {0, 0, 0}, down[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    int32_t codes[3];

    cr_assert_eq(bg_grid_limits(&grid, 4, true, true), BG_OK);
    grid.rounding = BG_ROUND_ZERO;
    bg_grid_encode(&grid, 0, x, 3, NULL, codes);
    cr_assert(codes[0] == 1 && codes[1] == -1 && codes[2] == 7);
    grid.rounding = BG_ROUND_FLOOR;
    bg_grid_encode(&grid, 0, x, 3, NULL, codes);
    cr_assert(codes[0] == 1 && codes[1] == -2 && codes[2] == 7);
    grid.rounding = BG_ROUND_STOCHASTIC;
    bg_grid_encode(&grid, 0, x, 3, up, codes);
    cr_assert(codes[0] == 2 && codes[1] == -1 && codes[2] == 7);
    bg_grid_encode(&grid, 0, x, 3, down, codes);
    cr_assert(codes[0] == 1 && codes[1] == -2 && codes[2] == 7);
    bg_grid_encode(&grid, 0, x, 3, NULL, codes); /* without words: nearest */
    cr_assert(codes[0] == 2 && codes[1] == -2 && codes[2] == 7);
    bg_grid_project(&grid, 0, x, 3, y); /* always nearest */
    cr_assert(y[0] == 2.0f && y[1] == -2.0f && y[2] == 7.0f);
}

/* Doubles every value: shows that projection of another kind goes through its own functions. */
static void doubling_encode(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                            const uint32_t *random, int32_t *codes)
{
    (void)grid;
    (void)channel;
    (void)random;
    for (int64_t i = 0; i < n; i++)
        codes[i] = (int32_t)x[i];
}

static void doubling_decode(const struct bg_grid *grid, int64_t channel, const int32_t *codes,
                            int64_t n, float *x)
{
    (void)grid;
    (void)channel;
    for (int64_t i = 0; i < n; i++)
        x[i] = 2.0f * (float)codes[i];
}

Test(grid, other_kinds_project_through_their_codes)
{
    static const struct bg_grid_kind doubling = {"doubling", doubling_encode, doubling_decode};
    static float x[5000], y[5000];
    float scale = 1.0f;
    struct bg_grid grid = {.kind = &doubling, .channels = 1, .scale = &scale};

    cr_assert_eq(bg_grid_limits(&grid, 8, true, true), BG_OK);
    for (int i = 0; i < 5000; i++)
        x[i] = (float)i + 0.5f;
    bg_grid_project(&grid, 0, x, 5000, y);
    for (int i = 0; i < 5000; i++)
        cr_assert_eq(y[i], 2.0f * (float)i);
}

Test(grid, error_is_the_sum_of_squared_distances)
{
    enum { LONG = 300000 };
    static float x[LONG], y[LONG];
    float scale = 0;
    struct bg_grid grid;
    double wanted = 0;

    cr_assert(make_grid(&grid, &scale, 4, 0));
    for (int i = 0; i < LONG; i++)
        x[i] = 8.0f * bg_rng_uniform(&rng, (uint64_t)i) - 4.0f;
    bg_grid_project(&grid, 0, x, LONG, y);
    for (int i = 0; i < LONG; i++)
        wanted += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    /* both sum LONG positive terms in f64: relative error at most LONG * 2^-53 each */
    cr_assert_float_eq(bg_grid_error(&grid, 0, x, LONG), wanted, wanted * LONG * 0x1p-52);
    cr_assert_gt(wanted, 1.0);
    cr_assert_eq(bg_grid_error(&grid, 0, y, LONG), 0.0);
    cr_assert_eq(bg_grid_error(&grid, 0, x, 0), 0.0);
}
