/* Elementwise and grid kernels: against their definition, over instruction sets and threads. */
#include "core/kernel.h"
#include "core/kernel_table.h"
#include "core/rng.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 100003 }; /* threaded, several blocks, a tail */
static const int64_t counts[] = {0, 1, 15, 16, 17, 100, 16384, 32767, 32768, LONG};
enum { COUNTS = sizeof counts / sizeof counts[0] };

static float x[LONG], dy[LONG], got[LONG], wanted[LONG];

static void fill(void)
{
    const struct bg_rng rng = {21, BG_STREAM_TEST, 0};
    static const float special[] = {0.0f,      -0.0f,  NAN,     INFINITY,
                                    -INFINITY, 1e-45f, -1e-45f, FLT_MAX};

    for (int i = 0; i < LONG; i++) {
        x[i] = 4.0f * bg_rng_uniform(&rng, (uint64_t)i) - 2.0f;
        dy[i] = bg_rng_uniform(&rng, (uint64_t)(LONG + i)) - 0.5f;
    }
    for (int i = 0; i < 8; i++)
        x[3 + i] = x[LONG - 20 + i] = special[i];
}

TestSuite(kernel, .init = fill);

static void expect_same(int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t a, b;
        memcpy(&a, &got[i], sizeof a);
        memcpy(&b, &wanted[i], sizeof b);
        cr_assert(a == b || (isnan(got[i]) && isnan(wanted[i])), "element %lld of %lld: %a, not %a",
                  (long long)i, (long long)n, (double)got[i], (double)wanted[i]);
    }
}

static void copy_to(float *to, const float *from)
{
    memcpy(to, from, LONG * sizeof *to);
}

Test(kernel, relu_and_its_gradient_follow_their_definition_in_place_too)
{
    for (int k = 0; k < COUNTS; k++) {
        int64_t n = counts[k];
        for (int64_t i = 0; i < n; i++)
            wanted[i] = isnan(x[i]) ? x[i] : x[i] > 0.0f ? x[i] : 0.0f;
        bg_kernel_relu(x, n, got);
        expect_same(n);
        copy_to(got, x);
        bg_kernel_relu(got, n, got);
        expect_same(n);
        for (int64_t i = 0; i < n; i++)
            wanted[i] = x[i] > 0.0f ? dy[i] : 0.0f;
        bg_kernel_relu_backward(x, dy, n, got);
        expect_same(n);
        copy_to(got, dy);
        bg_kernel_relu_backward(x, got, n, got);
        expect_same(n);
    }
}

Test(kernel, relu6_and_its_gradient_follow_their_definition_in_place_too)
{
    for (int i = 0; i < LONG; i++) /* up to 8 on both sides; the ends belong to the flat parts */
        x[i] *= 4.0f;
    x[20] = 6.0f;
    x[21] = nextafterf(6.0f, 0.0f);
    x[22] = nextafterf(6.0f, 7.0f);
    for (int k = 0; k < COUNTS; k++) {
        int64_t n = counts[k];
        for (int64_t i = 0; i < n; i++)
            wanted[i] = isnan(x[i]) ? x[i] : x[i] > 6.0f ? 6.0f : x[i] > 0.0f ? x[i] : 0.0f;
        bg_kernel_relu6(x, n, got);
        expect_same(n);
        copy_to(got, x);
        bg_kernel_relu6(got, n, got);
        expect_same(n);
        for (int64_t i = 0; i < n; i++)
            wanted[i] = x[i] > 0.0f && x[i] < 6.0f ? dy[i] : 0.0f;
        bg_kernel_relu6_backward(x, dy, n, got);
        expect_same(n);
        copy_to(got, dy);
        bg_kernel_relu6_backward(x, got, n, got);
        expect_same(n);
    }
    cr_assert(wanted[20] == 0.0f && wanted[21] == dy[21] && wanted[22] == 0.0f);
}

/* Into the middle of wider rows and out again; the columns beside stay as they were. */
Test(kernel, copy_columns_moves_part_of_each_row)
{
    static const int64_t widths[] = {1, 3, 16, 64};

    for (int k = 0; k < 4; k++)
        for (int large = 0; large < 2; large++) {
            int64_t width = widths[k], step = width + 5;
            int64_t rows = large != 0 ? LONG / step : 7;
            cr_assert(large == 0 || k == 0 || rows * width > BG_KERNEL_SMALL);
            for (int64_t i = 0; i < rows * step; i++)
                wanted[i] = i % step < 2 || i % step >= 2 + width
                                ? -9.0f
                                : x[i / step * width + i % step - 2];
            for (int64_t i = 0; i < rows * step; i++)
                got[i] = -9.0f;
            bg_kernel_copy_columns(x, width, rows, width, got + 2, step);
            expect_same(rows * step);
            copy_to(wanted, x);
            bg_kernel_copy_columns(got + 2, step, rows, width, dy, width);
            copy_to(got, dy);
            expect_same(rows * width);
        }
}

Test(kernel, add_and_copy_follow_their_definition_in_place_too)
{
    for (int k = 0; k < COUNTS; k++) {
        int64_t n = counts[k];
        for (int64_t i = 0; i < n; i++)
            wanted[i] = x[i] + dy[i];
        bg_kernel_add(x, dy, n, got);
        expect_same(n);
        copy_to(got, x);
        bg_kernel_add(got, dy, n, got);
        expect_same(n);
        copy_to(got, dy);
        bg_kernel_add(x, got, n, got);
        expect_same(n);
        copy_to(wanted, x);
        bg_kernel_copy(x, n, got);
        expect_same(n);
        bg_kernel_copy(got, n, got);
        expect_same(n);
    }
}

Test(kernel, decode_u8_gives_code_minus_zero_point_times_scale)
{
    static uint8_t codes[LONG];

    for (int i = 0; i < LONG; i++)
        codes[i] = (uint8_t)(i * 7);
    for (int k = 0; k < COUNTS; k++) {
        for (int64_t i = 0; i < counts[k]; i++)
            wanted[i] = (float)(codes[i] - 73) * 0.0137f;
        bg_kernel_decode_u8(codes, counts[k], 73, 0.0137f, got);
        expect_same(counts[k]);
    }
}

Test(kernel, sgd_follows_its_formula)
{
    static float m[LONG], w[LONG], m_wanted[LONG];

    for (int nesterov = 0; nesterov < 2; nesterov++)
        for (int k = 0; k < COUNTS; k++) {
            int64_t n = counts[k];
            copy_to(w, x);
            copy_to(wanted, x);
            for (int64_t i = 0; i < n; i++)
                m[i] = m_wanted[i] = 0.1f * x[n - 1 - i];
            for (int64_t i = 0; i < n; i++) {
                float decayed = 0.01f * wanted[i], g = dy[i] + decayed;
                float kept = 0.9f * m_wanted[i], ahead;
                m_wanted[i] = kept + g;
                ahead = 0.9f * m_wanted[i];
                ahead = nesterov ? g + ahead : m_wanted[i];
                ahead = 0.05f * ahead;
                wanted[i] -= ahead;
            }
            bg_kernel_sgd(w, m, dy, n, 0.05f, 0.9f, 0.01f, nesterov);
            copy_to(got, w);
            expect_same(n);
            copy_to(got, m);
            copy_to(wanted, m_wanted);
            expect_same(n);
        }
}

Test(kernel, min_max_finds_both_and_lets_nan_through)
{
    float min = 9, max = 9;

    bg_kernel_min_max(x, 0, &min, &max);
    cr_assert(min == 0.0f && max == 0.0f);
    for (int k = 1; k < COUNTS; k++) {
        int64_t n = counts[k];
        for (int64_t at = 0; at < n; at += n / 7 + 1) {
            for (int64_t i = 0; i < n; i++)
                wanted[i] = 0.5f * dy[i];
            wanted[at] = -7.0f;
            wanted[n - 1 - at] = 9.0f;
            bg_kernel_min_max(wanted, n, &min, &max);
            cr_assert(max == 9.0f && (min == -7.0f || at == n - 1 - at));
            wanted[at] = NAN;
            bg_kernel_min_max(wanted, n, &min, &max);
            cr_assert(isnan(min) && isnan(max));
        }
    }
    bg_kernel_min_max((const float[]){-0.0f, -0.0f}, 2, &min, &max);
    cr_assert(!signbit(min) && !signbit(max));
    bg_kernel_min_max((const float[]){-INFINITY, INFINITY}, 2, &min, &max);
    cr_assert(min == -INFINITY && max == INFINITY);
}

Test(kernel, all_finite_sees_every_position)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};

    for (int k = 0; k < COUNTS; k++) {
        int64_t n = counts[k];
        copy_to(wanted, dy);
        cr_assert(bg_kernel_all_finite(wanted, n));
        for (int64_t at = 0; at < n; at += n < 200 ? 1 : 997) {
            wanted[at] = bad[at % 3];
            cr_assert_not(bg_kernel_all_finite(wanted, n), "position %lld", (long long)at);
            wanted[at] = FLT_MAX;
        }
        cr_assert(bg_kernel_all_finite(wanted, n));
    }
}

static struct bg_grid make_grid(float *scale, int bits, int sort)
{
    struct bg_grid grid = {.channels = 1, .scale = scale};

    cr_assert_eq(bg_grid_limits(&grid, bits, sort == 0, true), BG_OK);
    cr_assert_eq(bg_grid_fit(&grid, 0, -1.1f, 1.4f, sort != 2), BG_OK);
    return grid;
}

Test(kernel, project_equals_the_codes_and_counts_what_it_clips)
{
    static int32_t codes[LONG];

    for (int bits = 1; bits <= 16; bits++)
        for (int sort = 0; sort < 3; sort++) {
            float scale = 0, lo = 0, hi = 0;
            struct bg_grid grid = make_grid(&scale, bits, sort);
            int64_t n = counts[(bits + sort) % 2 ? COUNTS - 1 : 5], clipped = -1, outside = 0;
            bg_grid_clip_limits(&grid, 0, &lo, &hi);
            bg_grid_encode(&grid, 0, x, n, NULL, codes);
            bg_grid_decode(&grid, 0, codes, n, wanted);
            for (int64_t i = 0; i < n; i++)
                outside += !(x[i] >= lo && x[i] <= hi);
            bg_kernel_project(&grid, 0, x, n, got, &clipped);
            expect_same(n);
            cr_assert_eq(clipped, outside);
            copy_to(got, x);
            bg_kernel_project(&grid, 0, got, n, got, NULL);
            expect_same(n);
        }
}

/* Codes by multiplication, where the quotient decides near the middle between two: every half step
 * that an 8-bit grid can meet and the floats beside it, for scales whose inverse is not exact. */
Test(kernel, codes_of_every_instruction_set_are_those_of_the_quotient)
{
    static uint8_t codes[LONG];
    static int32_t exact[LONG];
    static const float scales[] = {0.1f, 1.0f / 3.0f, 0.0173f, 0x1p-126f, 0x1.8p100f, 7.0f};

    for (int bits = 1; bits <= 16; bits++)
        for (size_t k = 0; k < sizeof scales / sizeof *scales; k++) {
            float scale = scales[k];
            struct bg_grid grid = {.channels = 1, .scale = &scale, .zero_point = bits % 3 - 1};
            cr_assert_eq(bg_grid_limits(&grid, bits, true, bits % 2 == 0), BG_OK);
            struct bg_kernel_grid loop = bg_kernel_grid_of(&grid, 0);
            int64_t n = 0;
            for (int half = -520; half <= 520; half++)
                for (int beside = -2; beside <= 2; beside++, n++) {
                    got[n] = 0.5f * (float)half * scale;
                    for (int i = 0; i < abs(beside); i++)
                        got[n] = nextafterf(got[n], beside < 0 ? -INFINITY : INFINITY);
                }
            got[n++] = NAN;
            got[n++] = INFINITY;
            got[n++] = -INFINITY;
            bg_grid_encode(&grid, 0, got, n, NULL, exact);
            for (int v = 0; v < bg_kernel_variant_count(); v++) {
                bg_kernel_variant(v)->grid->encode(&loop, got, n, codes);
                for (int64_t i = 0; i < n; i++)
                    cr_assert_eq(codes[i], (uint8_t)exact[i], "%s, %d bits: %a / %a",
                                 bg_kernel_variant(v)->isa, bits, (double)got[i], (double)scale);
            }
        }
}

/* The rounding constant of core/kernel_grid.c against nearbyintf: every half step a 16-bit grid can
 * meet, and the floats just beside it. */
Test(kernel, projection_rounds_as_nearbyint_over_its_whole_domain)
{
    float scale = 1.0f;
    struct bg_grid grid = {.channels = 1, .scale = &scale, .zero_point = 32768};

    cr_assert_eq(bg_grid_limits(&grid, 16, false, false), BG_OK);
    for (int half = -2 * 32770; half <= 2 * 32770; half++) {
        float v[3], y[3];
        v[1] = 0.5f * (float)half;
        v[0] = nextafterf(v[1], -INFINITY);
        v[2] = nextafterf(v[1], INFINITY);
        bg_kernel_project(&grid, 0, v, 3, y, NULL);
        for (int i = 0; i < 3; i++)
            cr_assert_eq(y[i], fminf(fmaxf(nearbyintf(v[i]), -32768.0f), 32767.0f));
    }
}

Test(kernel, straight_through_passes_inside_the_clip_limits)
{
    for (int sort = 0; sort < 3; sort++)
        for (int bits = 1; bits <= 8; bits += 7) {
            float scale = 0, lo = 0, hi = 0;
            struct bg_grid grid = make_grid(&scale, bits, sort);
            bg_grid_clip_limits(&grid, 0, &lo, &hi);
            copy_to(got, x);
            x[100] = lo; /* the limits themselves belong to the inside */
            x[101] = hi;
            x[102] = nextafterf(lo, -INFINITY);
            x[103] = nextafterf(hi, INFINITY);
            for (int i = 0; i < LONG; i++)
                wanted[i] = x[i] >= lo && x[i] <= hi ? dy[i] : 0.0f;
            cr_assert(wanted[100] == dy[100] && wanted[101] == dy[101]);
            cr_assert(wanted[102] == 0.0f && wanted[103] == 0.0f);
            bg_kernel_project_backward(&grid, 0, x, dy, LONG, got);
            expect_same(LONG);
            copy_to(got, dy);
            bg_kernel_project_backward(&grid, 0, x, got, LONG, got);
            expect_same(LONG);
        }
}

/* Esser et al., ICLR 2020, eq. 3: -v/s + round(v/s) inside, -Qn at or below it, Qp at or above. */
Test(kernel, step_gradient_is_that_of_lsq)
{
    for (int sort = 0; sort < 3; sort++)
        for (int bits = 2; bits <= 8; bits += 3) {
            float scale = 0;
            struct bg_grid grid = make_grid(&scale, bits, sort);
            double sum = 0, size = 0, low = grid.qmin - grid.zero_point;
            double high = grid.qmax - grid.zero_point;
            for (int64_t i = 0; i < LONG; i++) {
                float v = x[i] / scale;
                double slope = v != v ? 0.0 : (double)(nearbyintf(v) - v);
                slope = (double)v <= low ? low : (double)v >= high ? high : slope;
                sum += slope * (double)dy[i];
                size += fabs(slope * (double)dy[i]);
            }
            /* LONG f64 additions in another order */
            cr_assert_float_eq(bg_kernel_step_gradient(&grid, 0, x, dy, LONG), sum,
                               size * LONG * 0x1p-52);
            cr_assert_gt(size, 1.0);
        }
}

Test(kernel, step_gradient_of_binary_weights_is_the_sign)
{
    const float values[3] = {0.3f, -0.2f, -0.0f}, gradients[3] = {1.0f, 10.0f, 100.0f};
    float scale = 0.5f;
    struct bg_grid grid = {.channels = 1, .scale = &scale};

    cr_assert_eq(bg_grid_limits(&grid, 1, true, true), BG_OK);
    cr_assert_eq(bg_kernel_step_gradient(&grid, 0, values, gradients, 3), 91.0);
    cr_assert_eq(bg_kernel_step_gradient(&grid, 0, values, gradients, 0), 0.0);
}

Test(kernel, threads_change_no_bit)
{
    float scale = 0, min[2], max[2];
    struct bg_grid grid = make_grid(&scale, 4, 2);
    double step[2];
    int64_t clipped[2];

    omp_set_dynamic(0);
    for (int t = 0; t < 2; t++) {
        omp_set_num_threads(t + 1);
        bg_kernel_project(&grid, 0, x, LONG, t == 0 ? wanted : got, &clipped[t]);
        step[t] = bg_kernel_step_gradient(&grid, 0, x, dy, LONG);
        bg_kernel_min_max(dy, LONG, &min[t], &max[t]);
    }
    expect_same(LONG);
    cr_assert_eq(clipped[0], clipped[1]);
    cr_assert_eq(memcmp(&step[0], &step[1], sizeof step[0]), 0);
    cr_assert(min[0] == min[1] && max[0] == max[1]);
}

/* Runs function f_ of every instruction set into got and compares with the first. */
#define FOR_EACH_SET(family_, call_)                                                               \
    do {                                                                                           \
        for (int v_ = 0; v_ < bg_kernel_variant_count(); v_++) {                                   \
            const struct bg_kernel_##family_##_table *t = bg_kernel_variant(v_)->family_;          \
            memset(got, 0, sizeof got);                                                            \
            call_;                                                                                 \
            if (v_ == 0)                                                                           \
                copy_to(wanted, got);                                                              \
            expect_same(LONG);                                                                     \
        }                                                                                          \
    } while (0)

Test(kernel, every_instruction_set_gives_the_same_bits)
{
    static const float factors[3] = {0.1f, 0.9f, 1e-3f};
    static uint8_t codes[LONG];
    static float m[LONG];

    for (int i = 0; i < LONG; i++)
        codes[i] = (uint8_t)i;
    for (int k = 0; k < 7; k++) {
        int64_t n = counts[k];
        FOR_EACH_SET(pointwise, t->relu(x, n, got));
        FOR_EACH_SET(pointwise, t->relu_backward(x, dy, n, got));
        FOR_EACH_SET(pointwise, t->relu6(x, n, got));
        FOR_EACH_SET(pointwise, t->relu6_backward(x, dy, n, got));
        FOR_EACH_SET(pointwise, t->add(x, dy, n, got));
        FOR_EACH_SET(pointwise, t->decode_u8(codes, n, 3, 0.1f, got));
        FOR_EACH_SET(pointwise, (copy_to(m, x), t->sgd(got, m, dy, n, factors)));
        FOR_EACH_SET(pointwise, (copy_to(m, x), t->sgd_nesterov(got, m, dy, n, factors)));
        FOR_EACH_SET(pointwise, got[2] = (float)t->min_max(x, n, &got[0], &got[1]));
        FOR_EACH_SET(pointwise, got[0] = (float)t->all_finite(x, n));
        for (int bits = 1; bits <= 16; bits += 5)
            for (int sort = 0; sort < 3; sort++) {
                float scale = 0;
                struct bg_grid grid = make_grid(&scale, bits, sort);
                struct bg_kernel_grid loop = bg_kernel_grid_of(&grid, 0);
                FOR_EACH_SET(grid, t->project(&loop, x, n, got));
                FOR_EACH_SET(grid, t->project_backward(&loop, x, dy, n, got));
                FOR_EACH_SET(grid, got[0] = (float)t->clipped(&loop, x, n));
                FOR_EACH_SET(grid, double sum = t->step_gradient(&loop, x, dy, n);
                             memcpy(got, &sum, sizeof sum));
            }
    }
}

/* oneDNN reads the variable once, before its first use: so this needs a process of its own, which
 * every test has. */
static void expect_set(const char *cap, int at_most)
{
    int expected = at_most < bg_kernel_variant_count() ? at_most : bg_kernel_variant_count() - 1;

    cr_assert_eq(setenv("DNNL_MAX_CPU_ISA", cap, 1), 0);
    cr_assert_eq(bg_kernel_tables(), bg_kernel_variant(expected), "%s", bg_kernel_tables()->isa);
    cr_assert_eq(bg_kernel_tables(), bg_kernel_tables());
}

Test(kernel, a_run_capped_to_sse41_takes_the_base_set)
{
    expect_set("SSE41", 0);
}

Test(kernel, a_run_capped_to_avx2_takes_at_most_that_set)
{
    expect_set("AVX2", 1);
}

Test(kernel, an_uncapped_run_takes_the_best_set_of_the_cpu)
{
    expect_set("ALL", 3);
}

Test(kernel, a_run_capped_below_vnni_takes_at_most_plain_avx512)
{
    expect_set("AVX512_CORE", 2);
}
