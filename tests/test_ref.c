/* The naive references against results worked by hand and against laws: gradients are the adjoints
 * of the forward maps (exact on small integers), ties go to the first maximum in row order. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/ref.h"

static uint64_t state = 2463534242u;

static int64_t draw(int64_t low, int64_t high)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static float *integers(int64_t count)
{
    float *memory = malloc((size_t)count * sizeof *memory);

    cr_assert(memory != NULL);
    for (int64_t i = 0; i < count; i++)
        memory[i] = (float)draw(-5, 5);
    return memory;
}

static double dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;

    for (int64_t i = 0; i < count; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void expect_values(const char *what, const float *got, const float *want, int count)
{
    for (int i = 0; i < count; i++)
        cr_expect(got[i] == want[i], "%s: element %d is %g, must be %g", what, i, (double)got[i],
                  (double)want[i]);
}

Test(ref_conv, a_3x3_image_with_a_2x2_kernel_by_hand)
{
    struct bg_conv_shape s = {.batch = 1,
                              .in_height = 3,
                              .in_width = 3,
                              .in_channels = 1,
                              .out_channels = 1,
                              .kernel_height = 2,
                              .kernel_width = 2,
                              .stride = {1, 1},
                              .dilation = {1, 1},
                              .groups = 1};
    const float x[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, w[4] = {1, -2, 3, 4}, bias[1] = {10};
    const float dy[4] = {1, 0, -1, 2};
    float y[4], dx[9], dw[4], db[1];

    cr_assert(bg_conv_shape_infer(&s) == BG_OK);
    cr_assert(s.out_height == 2 && s.out_width == 2);
    bg_ref_conv_forward(&s, x, w, bias, y);
    /* 1*1 - 2*2 + 3*4 + 4*5 = 29, and so on */
    expect_values("output", y, (const float[]){39, 45, 57, 63}, 4);
    bg_ref_conv_backward_data(&s, dy, w, dx);
    expect_values("input gradient", dx, (const float[]){1, -2, 0, 2, 8, -4, -3, 2, 8}, 9);
    bg_ref_conv_backward_weights(&s, x, dy, dw, db);
    expect_values("weight gradient", dw, (const float[]){7, 9, 13, 15}, 4);
    expect_values("bias gradient", db, (const float[]){2}, 1);
}

Test(ref_conv, stride_padding_dilation_and_groups_by_hand)
{
    /* One row of five pixels, two channels in two groups, kernel 1x2 with a hole of one. */
    struct bg_conv_shape s = {.batch = 1,
                              .in_height = 1,
                              .in_width = 5,
                              .in_channels = 2,
                              .out_channels = 2,
                              .kernel_height = 1,
                              .kernel_width = 2,
                              .stride = {1, 2},
                              .padding = {0, 1},
                              .dilation = {1, 2},
                              .groups = 2};
    const float x[10] = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50}; /* W,C */
    const float w[4] = {1, 2, 3, 4}; /* O,H,W,I: group 0: 1 2, group 1: 3 4 */
    const float dy[6] = {1, 1, 2, -1, 0, 1};
    float y[6], dx[10], dw[4];

    cr_assert(bg_conv_shape_infer(&s) == BG_OK);
    cr_assert(s.out_height == 1 && s.out_width == 3);
    bg_ref_conv_forward(&s, x, w, NULL, y);
    /* taps at (-1, 1), (1, 3), (3, 5): outside counts as zero */
    expect_values("output", y, (const float[]){4, 80, 10, 220, 4, 120}, 6);
    bg_ref_conv_backward_data(&s, dy, w, dx);
    expect_values("input gradient", dx, (const float[]){0, 0, 4, 1, 0, 0, 4, -1, 0, 0}, 10);
    bg_ref_conv_backward_weights(&s, x, dy, dw, NULL);
    expect_values("weight gradient", dw, (const float[]){4, 10, 20, -20}, 4);
}

/* <conv(x, w), dy> = <x, dx> = <w, dw> for any x, w, dy: exact, since all are small integers. */
Test(ref_conv, gradients_are_adjoint_to_forward)
{
    int shapes = 0;

    while (shapes < 200) {
        struct bg_conv_shape s = {.batch = draw(1, 3),
                                  .in_height = draw(1, 8),
                                  .in_width = draw(1, 8),
                                  .in_channels = draw(1, 3),
                                  .out_channels = draw(1, 3),
                                  .kernel_height = draw(1, 4),
                                  .kernel_width = draw(1, 4),
                                  .stride = {draw(1, 3), draw(1, 3)},
                                  .padding = {draw(0, 3), draw(0, 3)},
                                  .dilation = {draw(1, 2), draw(1, 2)},
                                  .groups = draw(1, 3)};
        s.in_channels *= s.groups;
        s.out_channels *= s.groups;
        if (bg_conv_shape_infer(&s) != BG_OK)
            continue;
        shapes++;
        int64_t in = s.batch * s.in_height * s.in_width * s.in_channels;
        int64_t out = s.batch * s.out_height * s.out_width * s.out_channels;
        int64_t weights =
            s.out_channels * s.kernel_height * s.kernel_width * (s.in_channels / s.groups);
        float *x = integers(in), *w = integers(weights), *dy = integers(out);
        float *y = integers(out), *dx = integers(in), *dw = integers(weights);
        bg_ref_conv_forward(&s, x, w, NULL, y);
        bg_ref_conv_backward_data(&s, dy, w, dx);
        bg_ref_conv_backward_weights(&s, x, dy, dw, NULL);
        double forward = dot(y, dy, out);
        cr_expect(forward == dot(x, dx, in), "data: shape %d", shapes);
        cr_expect(forward == dot(w, dw, weights), "weights: shape %d", shapes);
        float *const all[] = {x, w, dy, y, dx, dw};
        for (int i = 0; i < 6; i++)
            free(all[i]);
    }
}

Test(ref_pool, ties_go_to_the_first_maximum_in_row_order)
{
    struct bg_pool_shape s = {.batch = 1,
                              .in_height = 2,
                              .in_width = 4,
                              .channels = 1,
                              .kernel = {2, 2},
                              .stride = {2, 2}};
    const float x[8] = {3, 3, 0, 0, 3, 3, 0, -0.0f}, dy[2] = {5, 7};
    float y[2], dx[8];

    cr_assert(bg_pool_shape_infer(&s) == BG_OK);
    bg_ref_max_pool_forward(&s, x, y);
    expect_values("output", y, (const float[]){3, 0}, 2);
    bg_ref_max_pool_backward(&s, x, dy, dx);
    expect_values("input gradient", dx, (const float[]){5, 0, 7, 0, 0, 0, 0, 0}, 8);
}

Test(ref_pool, padding_never_wins_and_never_counts)
{
    struct bg_pool_shape s = {.batch = 1,
                              .in_height = 2,
                              .in_width = 2,
                              .channels = 1,
                              .kernel = {2, 2},
                              .stride = {1, 1},
                              .padding = {1, 1}};
    const float x[4] = {-1, -2, -3, -6}, dy[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    float y[9], dx[4];

    cr_assert(bg_pool_shape_infer(&s) == BG_OK);
    cr_assert(s.out_height == 3 && s.out_width == 3);
    bg_ref_max_pool_forward(&s, x, y);
    expect_values("max", y, (const float[]){-1, -1, -2, -1, -1, -2, -3, -3, -6}, 9);
    bg_ref_max_pool_backward(&s, x, dy, dx);
    expect_values("max gradient", dx, (const float[]){1 + 2 + 4 + 5, 3 + 6, 7 + 8, 9}, 4);
    bg_ref_avg_pool_forward(&s, x, y);
    expect_values("mean", y, (const float[]){-1, -1.5f, -2, -2, -3, -4, -3, -4.5f, -6}, 9);
    bg_ref_avg_pool_backward(&s, dy, dx);
    /* corner + half of two edges + a quarter of the centre */
    expect_values(
        "mean gradient", dx,
        (const float[]){1 + 1 + 2 + 1.25f, 3 + 1 + 3 + 1.25f, 7 + 2 + 4 + 1.25f, 9 + 3 + 4 + 1.25f},
        4);
}

/* Every output's gradient lands in the image exactly once. */
Test(ref_pool, gradients_keep_the_sum)
{
    int shapes = 0;

    while (shapes < 200) {
        struct bg_pool_shape s = {.batch = draw(1, 2),
                                  .in_height = draw(1, 9),
                                  .in_width = draw(1, 9),
                                  .channels = draw(1, 3),
                                  .kernel = {draw(1, 4), draw(1, 4)},
                                  .stride = {draw(1, 3), draw(1, 3)},
                                  .padding = {draw(0, 3), draw(0, 3)}};
        if (bg_pool_shape_infer(&s) != BG_OK)
            continue;
        shapes++;
        int64_t in = s.batch * s.in_height * s.in_width * s.channels;
        int64_t out = s.batch * s.out_height * s.out_width * s.channels;
        float *x = integers(in), *dy = integers(out), *dx = integers(in);
        double sum = 0, max = 0, mean = 0, magnitude = 0;
        for (int64_t i = 0; i < out; i++) {
            sum += (double)dy[i];
            magnitude += fabs((double)dy[i]);
        }
        bg_ref_max_pool_backward(&s, x, dy, dx);
        for (int64_t i = 0; i < in; i++)
            max += (double)dx[i];
        bg_ref_avg_pool_backward(&s, dy, dx);
        for (int64_t i = 0; i < in; i++)
            mean += (double)dx[i];
        cr_expect(max == sum, "max pool, shape %d", shapes);
        /* each stored f32 is rounded once: relative 2^-24 of what passes through it */
        cr_expect(fabs(mean - sum) <= 0x1p-23 * magnitude, "average pool, shape %d", shapes);
        free(x);
        free(dy);
        free(dx);
    }
}
