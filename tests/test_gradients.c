/* Every op: gradients against differences, and the exact compute against the reference. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support_graph.h"

/* Extrapolated differences with step 1/16: truncation of order h^4 times a fifth derivative of
 * order 1 is about 2e-5; f32 values on the way carry about 1e-7 relative, over h = 1/32 that is
 * some 1e-5. Errors are divided by at least 1e-3, so 2e-5 may show as 2e-2. */
#define STEP      0.0625
#define TOLERANCE 2e-2

Test(gradients, gradients_equal_differences)
{
    for (int i = 0; i < support_case_count; i++) {
        const struct support_case *test = &support_cases[i];
        struct bg_graph *graph = support_case_graph(test, 7);
        struct support_batch data;
        struct bg_gradient_check check;
        /* the large one has 2000 elements: once */
        int computes = strcmp(test->name, "residual") == 0 ? 1 : 2;
        support_batch_make(&data, &test->sample, 3, 11);
        for (int compute = 0; compute < computes; compute++) {
            OK(bg_check_gradients(graph, &data.batch, (enum bg_compute)compute, STEP, &check));
            cr_expect(check.worst < TOLERANCE, "%s, compute %d: %s[%lld] is %g, differences say %g",
                      test->name, compute, check.where, (long long)check.index, check.analytic,
                      check.numeric);
        }
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

/* f32 sums of at most 200 products in another order differ by 200 * 2^-24 of the sum of absolute
 * values, about 1e-5; a handful of layers in sequence and the division by a batch's deviation are
 * allowed a factor of 20. Relative to the largest element of a tensor. */
#define COMPUTE_TOLERANCE 2e-4

static double difference(const float *a, const float *b, int64_t n)
{
    double worst = 0.0, largest = 1e-6;

    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return worst / largest;
}

static void copy_gradients(const struct bg_graph *graph, float *out)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        int64_t n = bg_tensor_count(&param->value);
        if (bg_param_trainable(param))
            memcpy(out, param->grad.data, (size_t)n * sizeof *out);
        out += n;
    }
}

static int64_t parameters(const struct bg_graph *graph)
{
    int64_t total = 0;

    for (int i = 0; i < bg_graph_param_count(graph); i++)
        total += bg_tensor_count(&bg_graph_param(graph, i)->value);
    return total;
}

static void compare_computes(const struct support_case *test, enum bg_mode mode)
{
    struct bg_graph *graph = support_case_graph(test, 3);
    struct support_batch data;
    float *gradient[2] = {NULL, NULL}, *logits[2] = {NULL, NULL}, *at[2];
    int64_t total = parameters(graph), batch = 5;

    support_batch_make(&data, &test->sample, batch, 5);
    for (int compute = 0; compute < 2; compute++) {
        struct bg_program *program = support_program(
            graph, &(struct bg_program_options){
                       .batch = batch, .mode = mode, .compute = (enum bg_compute)compute});
        OK(bg_alloc(&gradient[compute], total, sizeof(float)));
        OK(bg_alloc(&logits[compute], batch * 3, sizeof(float)));
        OK(bg_program_forward(program, &data.batch, NULL));
        memcpy(logits[compute], bg_program_logits(program)->data, (size_t)batch * 3 * 4);
        if (mode == BG_MODE_TRAIN)
            OK(bg_program_backward(program, NULL));
        copy_gradients(graph, gradient[compute]);
        bg_program_destroy(program);
    }
    cr_expect(difference(logits[0], logits[1], batch * 3) < COMPUTE_TOLERANCE, "%s: logits",
              test->name);
    at[0] = gradient[0];
    at[1] = gradient[1];
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        int64_t n = bg_tensor_count(&param->value);
        cr_expect(difference(at[0], at[1], n) < COMPUTE_TOLERANCE, "%s: %s differs by %g",
                  test->name, param->name, difference(at[0], at[1], n));
        at[0] += n;
        at[1] += n;
    }
    for (int k = 0; k < 2; k++) {
        bg_free(gradient[k]);
        bg_free(logits[k]);
    }
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(gradients, exact_compute_agrees_with_reference)
{
    for (int i = 0; i < support_case_count; i++) {
        compare_computes(&support_cases[i], BG_MODE_TRAIN);
        compare_computes(&support_cases[i], BG_MODE_EVAL);
    }
}

/* Small integers: every sum is exact in f32, so both computes give the same bits. The mean squared
 * error keeps the loss's gradient out of the comparison of values. */
Test(gradients, integers_give_equal_bits_in_both_computes)
{
    const struct bg_sample_spec sample = {
        .height = 5, .width = 4, .channels = 4, .classes = 3, .dtype = BG_F32};
    const struct support_case *test = &support_cases[2];
    struct bg_graph *graph = support_case_graph(test, 1);
    struct support_batch data;
    float logits[2][12];

    cr_assert_str_eq(test->name, "conv2d");
    support_batch_make(&data, &sample, 4, 1);
    for (int64_t i = 0; i < 4 * 80; i++)
        data.images[i] = support_integer(2, i, 4);
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        for (int64_t k = 0; k < bg_tensor_count(&param->value); k++)
            bg_f32(&param->value)[k] = support_integer(3 + (uint64_t)i, k, 3);
        param->version++;
    }
    for (int compute = 0; compute < 2; compute++) {
        struct bg_program *program = support_program(
            graph, &(struct bg_program_options){.batch = 4, .compute = (enum bg_compute)compute});
        OK(bg_program_forward(program, &data.batch, NULL));
        memcpy(logits[compute], bg_program_logits(program)->data, sizeof logits[compute]);
        bg_program_destroy(program);
    }
    cr_expect(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    cr_expect(logits[0][0] != 0.0f || logits[0][1] != 0.0f);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}
