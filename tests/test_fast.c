/* Fast training against the exact program on the same graph, weights, ranges and batch: what
 * differs is bf16 (accumulators in front of norms, gradients) and, through it, a code here and
 * there. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/dnn.h"
#include "core/mem.h"
#include "core/method.h"
#include "support_graph.h"

/* bf16 keeps 8 bits: a value moves by up to 2^-8 of itself. About one value in 500 in front of a
 * relu lies that near 0 and changes sides, and each such mask bit is an error as large as its
 * gradient: the root of 1/500 is 4 % of a gradient's length for each of the three relus on a path,
 * more where a code of few bits moves too. These errors have no direction: along the exact gradient
 * they cancel, so the projection stays near 1, and a wrong factor anywhere would move it. */
#define APART     0.25
#define DIRECTION 0.1

static struct bg_range_method extremes; /* support_min_max, which reads no more than the ends */

static struct bg_node *build(struct bg_graph *graph, struct bg_node *x, int which)
{
    const struct bg_conv2d three = {.out_channels = 16,
                                    .kernel = {3, 3},
                                    .stride = {1, 1},
                                    .padding = {1, 1},
                                    .dilation = {1, 1},
                                    .groups = 1};
    const struct bg_conv2d down = {
        .out_channels = 32, .kernel = {1, 1}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1};
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};
    struct bg_conv2d stride = three;
    struct bg_node *y = NULL, *s = NULL;

    stride.out_channels = 32;
    stride.stride[0] = stride.stride[1] = 2;
    OK(bg_node_conv2d(graph, "stem", x, &three, &x));
    if (which == 0) { /* no norms, a max pool, relu6 */
        OK(bg_node_relu6(graph, "r0", x, &x));
        OK(bg_node_max_pool(graph, "pool", x, &window, &x));
        OK(bg_node_linear(graph, "fc", x, 3, true, &x));
        return x;
    }
    OK(bg_node_batch_norm(graph, "n0", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "r0", x, &x));
    OK(bg_node_conv2d(graph, "c1", x, &three, &y));
    OK(bg_node_batch_norm(graph, "n1", y, 1e-5, 0.1, &y));
    OK(bg_node_add(graph, "a1", y, x, &x));
    OK(bg_node_relu(graph, "r1", x, &x));
    OK(bg_node_conv2d(graph, "c2", x, &stride, &y));
    OK(bg_node_batch_norm(graph, "n2", y, 1e-5, 0.1, &y));
    OK(bg_node_conv2d(graph, "short", x, &down, &s));
    OK(bg_node_batch_norm(graph, "ns", s, 1e-5, 0.1, &s));
    OK(bg_node_add(graph, "a2", y, s, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    OK(bg_node_global_pool(graph, "pool", x, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    return x;
}

static struct bg_graph *make(int which, int bits, struct support_batch *data)
{
    const struct bg_sample_spec spec = {.height = 8,
                                        .width = 8,
                                        .channels = which == 0 ? 1 : 16,
                                        .classes = 3,
                                        .dtype = BG_U8,
                                        .scale = 0.02f,
                                        .zero_point = 73};
    struct bg_quantize_options options = {.weight_range = &extremes, .activation_range = &extremes};
    struct bg_plan plan = {0};
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    extremes = support_min_max;
    extremes.extremes = true;
    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, &x));
    x = build(graph, x, which);
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.1, &x));
    bg_graph_initialise(graph, 5);
    support_batch_make(data, &spec, 8, 9);
    support_plan(&plan, graph, bits, bits);
    OK(bg_graph_quantize(graph, &plan, &options));
    bg_plan_free(&plan);
    return graph;
}

static struct bg_program *program(struct bg_graph *graph, enum bg_compute compute)
{
    return support_program(
        graph, &(struct bg_program_options){
                   .batch = 8, .mode = BG_MODE_TRAIN, .compute = compute, .observe = true});
}

static double length(const float *x, const float *y, int64_t n)
{
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (y == NULL ? 0.0 : (double)y[i]);
        sum += d * d;
    }
    return sqrt(sum);
}

struct seen {
    double out[8], in[8], weight[8]; /* mean squares by layer */
};

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct seen *seen = self;
    double *list = quantity == BG_QUANTITY_OUT_GRAD  ? seen->out
                   : quantity == BG_QUANTITY_IN_GRAD ? seen->in
                                                     : seen->weight;

    cr_assert(gradient->dtype == BG_F32);
    list[layer] = length(bg_f32(gradient), NULL, bg_tensor_count(gradient));
}

static void expect_near(double a, double b, const char *what, int which, int bits)
{
    cr_expect(fabs(a - b) <= DIRECTION * fmax(fabs(a), fabs(b)), "graph %d, %d bits: %s: %g and %g",
              which, bits, what, a, b);
}

static void compare(int which, int bits)
{
    struct support_batch data;
    struct bg_graph *graph = make(which, bits, &data);
    struct bg_program *exact = program(graph, BG_COMPUTE_EXACT);
    struct bg_program *fast = program(graph, BG_COMPUTE_FAST);
    struct seen seen[2] = {{{0}, {0}, {0}}, {{0}, {0}, {0}}};
    struct bg_observer observer[2] = {{.self = &seen[0], .see = see},
                                      {.self = &seen[1], .see = see}};
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};
    float *grads[32] = {NULL};
    double loss = 0.0;

    cr_assert(bg_program_fastness(fast).whole, "%s", bg_program_fastness(fast).why);
    support_step(exact, &data.batch, &moment); /* ranges */
    moment = (struct bg_run_moment){.observer = &observer[0]};
    support_step(exact, &data.batch, &moment);
    loss = bg_program_loss(exact);
    for (int p = 0; p < graph->params; p++) {
        const struct bg_param *param = graph->param[p];
        if (param->grad.data == NULL)
            continue;
        OK(bg_alloc(&grads[p], bg_tensor_count(&param->grad), sizeof(float)));
        memcpy(grads[p], param->grad.data, (size_t)bg_tensor_count(&param->grad) * sizeof(float));
    }
    moment.observer = &observer[1];
    support_step(fast, &data.batch, &moment);
    expect_near(bg_program_loss(fast), loss, "loss", which, bits);
    for (int p = 0; p < graph->params; p++) {
        const struct bg_param *param = graph->param[p];
        int64_t n = bg_tensor_count(&param->value);
        if (grads[p] == NULL)
            continue;
        double size = length(grads[p], NULL, n), along = 0.0;
        for (int64_t i = 0; i < n; i++)
            along += (double)grads[p][i] * (double)bg_f32(&param->grad)[i];
        cr_expect(length(grads[p], bg_f32(&param->grad), n) <= APART * size + 1e-6,
                  "graph %d, %d bits: %s is %g apart, length %g", which, bits, param->name,
                  length(grads[p], bg_f32(&param->grad), n), size);
        cr_expect(size < 1e-6 || fabs(along / (size * size) - 1.0) <= DIRECTION,
                  "graph %d, %d bits: %s: projection %g", which, bits, param->name,
                  along / (size * size));
        bg_free(grads[p]);
    }
    for (int layer = 0; layer < graph->layers; layer++) {
        expect_near(seen[0].out[layer], seen[1].out[layer], "output gradient", which, bits);
        expect_near(seen[0].in[layer], seen[1].in[layer], "input gradient", which, bits);
        expect_near(seen[0].weight[layer], seen[1].weight[layer], "weight gradient", which, bits);
        cr_expect(seen[1].out[layer] > 0.0 && seen[1].in[layer] > 0.0);
    }
    bg_program_destroy(exact);
    bg_program_destroy(fast);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(fast, gradients_are_those_of_the_exact_program_within_bf16)
{
    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int which = 0; which < 2; which++) {
        compare(which, 8);
        compare(which, 5);
    }
}

Test(fast, a_step_allocates_nothing_and_is_repeatable)
{
    struct support_batch data;
    struct bg_graph *graph = NULL;
    struct bg_program *fast = NULL;
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};
    double loss[2];
    uint64_t calls = 0;

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int round = 0; round < 2; round++) {
        graph = make(1, 4, &data);
        fast = program(graph, BG_COMPUTE_FAST);
        for (int step = 0; step < 4; step++) {
            calls = bg_alloc_calls();
            support_step(fast, &data.batch, &moment);
            cr_expect(bg_alloc_calls() == calls, "step %d", step);
            support_descend(graph, 0.05);
        }
        loss[round] = bg_program_loss(fast);
        bg_program_destroy(fast);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
    cr_expect(loss[0] == loss[1], "%.17g and %.17g", loss[0], loss[1]);
}

extern const struct bg_update_method bg_update_sgd;

static void descend(struct bg_graph *graph, bool apart)
{
    const struct {
        double momentum, weight_decay;
        bool nesterov;
    } options = {0.9, 1e-3, false}; /* as in policies/update_sgd.c */
    const struct bg_update_moment moment = {.lr = 0.05};

    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (!bg_param_trainable(param))
            continue;
        if (apart)
            param->sink = NULL;
        OK(bg_update_sgd.update(&options, param, &moment, true));
        param->version++;
    }
}

static void expect_same_weights(struct bg_graph *const graph[2])
{
    for (int i = 0; i < bg_graph_param_count(graph[0]); i++) {
        struct bg_param *a = bg_graph_param(graph[0], i), *b = bg_graph_param(graph[1], i);
        size_t bytes = (size_t)bg_tensor_count(&a->value) * sizeof(float);
        cr_assert(memcmp(a->value.data, b->value.data, bytes) == 0, "%s", a->name);
        if (a->quantizer == NULL)
            continue;
        cr_assert(bg_model_param(a)->seen == a->version, "%s waits", a->name);
        cr_assert(bg_model_param(b)->seen != b->version, "%s went on", b->name);
        OK(bg_param_refresh(a));
        OK(bg_param_refresh(b));
        cr_assert(memcmp(a->forward.data, b->forward.data, bytes) == 0, "%s", a->name);
        cr_assert(a->quantizer->clipped == b->quantizer->clipped);
        bytes = (size_t)a->quantizer->grid.channels * sizeof(float);
        cr_assert(memcmp(a->quantizer->grid.scale, b->quantizer->grid.scale, bytes) == 0);
        cr_assert(memcmp(a->quantizer->hi, b->quantizer->hi, bytes) == 0);
    }
}

/* One pass over update, range, codes and packing against one after the other. */
Test(fast, an_update_that_packs_gives_the_bits_of_one_that_does_not)
{
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int bits = 2; bits <= 8; bits *= 2)
        for (int which = 0; which < 2; which++) {
            struct support_batch data[2];
            struct bg_graph *graph[2];
            struct bg_program *fast[2];
            for (int k = 0; k < 2; k++) {
                graph[k] = make(which, bits, &data[k]);
                fast[k] = program(graph[k], BG_COMPUTE_FAST);
            }
            for (int step = 0; step < 3; step++) {
                for (int k = 0; k < 2; k++) {
                    support_step(fast[k], &data[k].batch, &moment);
                    descend(graph[k], k == 1);
                }
                cr_assert(bg_program_loss(fast[0]) == bg_program_loss(fast[1]));
                expect_same_weights(graph);
            }
            for (int k = 0; k < 2; k++) {
                bg_program_destroy(fast[k]);
                cr_assert(bg_graph_layer_weight(graph[k], 0)->sink == NULL);
                support_batch_free(&data[k]);
                bg_graph_destroy(graph[k]);
            }
        }
}

/* What cannot be ranged by rows says why at the next forward. */
Test(fast, weights_that_are_not_finite_are_named)
{
    struct support_batch data;
    struct bg_graph *graph = NULL;
    struct bg_program *fast = NULL;
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    graph = make(1, 8, &data);
    fast = program(graph, BG_COMPUTE_FAST);
    support_step(fast, &data.batch, &moment);
    bg_f32(&bg_graph_layer_weight(graph, 1)->grad)[7] = INFINITY;
    descend(graph, false);
    cr_expect(bg_program_forward(fast, &data.batch, &moment) == BG_E_NUMERIC);
    cr_expect(strstr(bg_error(), "c1") != NULL && strstr(bg_error(), "not finite") != NULL, "%s",
              bg_error());
    bg_program_destroy(fast);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Running statistics, ranges and clip counts move as in the exact program. */
Test(fast, what_lasts_moves_as_in_the_exact_program)
{
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};
    float mean[2][16], hi[2];

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int f = 0; f < 2; f++) {
        struct support_batch data;
        struct bg_graph *graph = make(1, 8, &data);
        struct bg_program *one = program(graph, f == 0 ? BG_COMPUTE_EXACT : BG_COMPUTE_FAST);
        for (int step = 0; step < 3; step++)
            support_step(one, &data.batch, &moment);
        memcpy(mean[f], bg_graph_param_find(graph, "n1.running_mean")->value.data, sizeof mean[f]);
        hi[f] = bg_graph_find(graph, "r1")->quantizer->hi[0];
        cr_expect(bg_graph_find(graph, "r1")->quantizer->observed == 3);
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
    cr_expect(length(mean[0], mean[1], 16) <= DIRECTION * length(mean[0], NULL, 16));
    expect_near((double)hi[0], (double)hi[1], "range", 1, 8);
}

Test(fast, calibration_needs_an_exact_program)
{
    struct support_batch data;
    struct bg_graph *graph = NULL;
    struct bg_program *fast = NULL;

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    graph = make(1, 8, &data);
    fast = program(graph, BG_COMPUTE_FAST);
    cr_expect(bg_program_forward(fast, &data.batch,
                                 &(struct bg_run_moment){.flags = BG_RUN_BYPASS}) == BG_E_USAGE);
    bg_program_destroy(fast);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* What cannot train fast trains exactly, and says why. */
Test(fast, a_graph_that_cannot_says_why)
{
    struct support_batch data;
    struct bg_graph *graph = make(1, 9, &data);
    struct bg_program *one = program(graph, BG_COMPUTE_FAST);
    const char *why = bg_program_fastness(one).why;

    cr_expect(!bg_program_fastness(one).whole && bg_program_fastness(one).coded == 0);
    if (bg_train_available())
        cr_expect_str_eq(why, "layer stem: w has 9 bits, integers are evaluated up to 8");
    else
        cr_expect(strstr(why, "AMX") != NULL);
    support_step(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_OBSERVE});
    bg_program_destroy(one);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

struct watched {
    struct bg_stats in[8], out[8];
};

static struct bg_stats *stats_of(struct watched *watched, int layer, enum bg_quantity quantity)
{
    return quantity == BG_QUANTITY_OUT_GRAD ? &watched->out[layer] : &watched->in[layer];
}

static void watch(void *self, int layer, enum bg_quantity quantity,
                  const struct bg_tensor *gradient)
{
    if (quantity != BG_QUANTITY_WEIGHT_GRAD)
        bg_stats_add(stats_of(self, layer, quantity), bg_f32(gradient), bg_tensor_count(gradient),
                     1.0f);
}

static void watch_bf16(void *self, int layer, enum bg_quantity quantity,
                       const struct bg_train_observe *gradient)
{
    struct bg_train_observe all = *gradient;

    all.stats = stats_of(self, layer, quantity);
    bg_train_observe(&all);
}

/* 64 roundings of core/kernel_train_observe.c, and of each converted value one, two in squares. */
static void expect_same_stats(const struct bg_stats *a, const struct bg_stats *b)
{
    const double limit = 66.0 * 0x1p-24;

    cr_expect(a->count == b->count && a->count > 0);
    cr_expect(fabs(a->sum - b->sum) <= limit * a->sum_abs);
    cr_expect(fabs(a->sum_abs - b->sum_abs) <= limit * a->sum_abs);
    cr_expect(a->sum_square > 0.0);
    cr_expect(fabs(a->sum_square - b->sum_square) <= limit * a->sum_square);
    cr_expect(a->min == b->min && a->max == b->max && a->max_abs == b->max_abs);
}

Test(fast, observers_of_bf16_see_what_others_get_converted)
{
    struct support_batch data;
    struct watched seen[2];

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 4; i++) {
        struct bg_graph *graph = make(i / 2, 8, &data);
        struct bg_program *fast = program(graph, BG_COMPUTE_FAST);
        const struct bg_observer observer = {&seen[i % 2], watch, i % 2 == 1 ? watch_bf16 : NULL};
        const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE, .observer = &observer};
        support_step(fast, &data.batch, &moment);
        for (int layer = 0; layer < graph->layers && i % 2 == 1; layer++) {
            expect_same_stats(&seen[0].in[layer], &seen[1].in[layer]);
            expect_same_stats(&seen[0].out[layer], &seen[1].out[layer]);
        }
        bg_program_destroy(fast);
        support_batch_free(&data);
        bg_graph_destroy(graph);
        if (i == 1)
            memset(seen, 0, sizeof seen);
    }
}
