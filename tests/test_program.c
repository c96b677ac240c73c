/* Programs: failures name the node, observers see every gradient, several programs of one graph
 * follow its weights. Memory: test_program_memory.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/dnn.h"
#include "support_graph.h"

static const struct bg_sample_spec image = {
    .height = 8, .width = 8, .channels = 2, .classes = 3, .dtype = BG_F32};
static const struct support_case residual = {.name = "residual", .build = support_residual};

static struct bg_graph *residual_graph(uint64_t seed)
{
    struct support_case test = residual;

    test.sample = image;
    return support_case_graph(&test, seed);
}

/* Weight gradients of oneDNN depend on the number of threads (measured); values and input gradients
 * must not. */
Test(program, threads_change_no_value_and_no_input_gradient)
{
    struct bg_graph *graph = residual_graph(2);
    struct support_batch data;
    const struct bg_run_moment moment = {.seed = 3};

    support_batch_make(&data, &image, 6, 1);
    for (int compute = 0; compute < 2; compute++) {
        float *input[2] = {NULL, NULL};
        double loss[2] = {0.0, 0.0};
        int64_t n = 6 * 8 * 8 * 2;
        for (int threads = 1; threads <= 2; threads++) {
            struct bg_program *program = NULL;
            bg_threads_set(threads);
            program = support_program(
                graph, &(struct bg_program_options){
                           .batch = 6, .compute = (enum bg_compute)compute, .observe = true});
            support_step(program, &data.batch, &moment);
            OK(bg_alloc(&input[threads - 1], n, sizeof(float)));
            memcpy(input[threads - 1], program->step[0].d_out.data, (size_t)n * sizeof(float));
            loss[threads - 1] = bg_program_loss(program);
            bg_program_destroy(program);
        }
        cr_expect(loss[0] == loss[1]);
        cr_expect(memcmp(input[0], input[1], (size_t)n * sizeof(float)) == 0);
        bg_free(input[0]);
        bg_free(input[1]);
    }
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(program, first_node_with_a_nan_is_named)
{
    struct bg_graph *graph = residual_graph(1);
    struct support_batch data;
    struct bg_program *program = support_program(graph, &(struct bg_program_options){.batch = 2});
    struct bg_param *weight = bg_graph_param_find(graph, "conv3.weight");
    const struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN};
    float mean = 0.0f;

    support_batch_make(&data, &image, 2, 1);
    OK(bg_program_forward(program, &data.batch, &moment));
    bg_f32(&weight->value)[3] = NAN;
    weight->version++;
    mean = bg_f32(&bg_graph_param_find(graph, "norm0.running_mean")->value)[0];
    cr_expect(bg_program_forward(program, &data.batch, &moment) == BG_E_NUMERIC);
    cr_expect(strstr(bg_error(), "conv2d conv3: ") == bg_error(), "%s", bg_error());
    cr_expect(bg_program_backward(program, &moment) == BG_E_USAGE);
    /* the failed pass moved the statistics once, the search for the node not again */
    cr_expect(bg_f32(&bg_graph_param_find(graph, "norm0.running_mean")->value)[0] != mean);
    support_batch_free(&data);
    bg_program_destroy(program);
    bg_graph_destroy(graph);
}

/* The loss is finite, its gradient is not: gamma overflows in the norm's backward. */
Test(program, gradients_that_overflow_name_the_parameter)
{
    const struct support_case *test = &support_cases[4];
    struct bg_graph *graph = support_case_graph(test, 1);
    struct support_batch data;
    struct bg_program *program = support_program(graph, &(struct bg_program_options){.batch = 3});
    struct bg_param *weight = bg_graph_param_find(graph, "fc.weight");
    struct bg_param *gamma = bg_graph_param_find(graph, "norm.gamma");

    support_batch_make(&data, &test->sample, 3, 1);
    for (int64_t i = 0; i < bg_tensor_count(&weight->value); i++)
        bg_f32(&weight->value)[i] = i % 2 == 0 ? 1e35f : -1e35f;
    for (int i = 0; i < 3; i++)
        bg_f32(&gamma->value)[i] = 1e-35f;
    for (int64_t i = 0; i < 54; i++) /* so that 1 / deviation is large */
        bg_f32(&bg_graph_param_find(graph, "conv.weight")->value)[i] *= 1e-6f;
    weight->version++;
    bg_graph_param_find(graph, "conv.weight")->version++;
    OK(bg_program_forward(program, &data.batch, NULL));
    for (int i = 0; i < 3; i++)
        bg_f32(&gamma->value)[i] = 1e5f;
    cr_expect(bg_program_backward(program, NULL) == BG_E_NUMERIC);
    cr_expect(strstr(bg_error(), "the gradient of conv.weight has a NaN or infinity") != NULL, "%s",
              bg_error());
    support_batch_free(&data);
    bg_program_destroy(program);
    bg_graph_destroy(graph);
}

struct seen {
    int count;
    int layer[32];
    enum bg_quantity quantity[32];
    float *copy;    /* of the input gradient of `watched` */
    double sum_all; /* of squares, input gradients of layer 3 and the shortcut */
    int watched;
};

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct seen *seen = self;

    cr_assert(seen->count < 32 && gradient->data != NULL);
    seen->layer[seen->count] = layer;
    seen->quantity[seen->count++] = quantity;
    if (quantity == BG_QUANTITY_IN_GRAD && layer == seen->watched)
        memcpy(seen->copy, gradient->data, (size_t)bg_tensor_count(gradient) * sizeof(float));
}

/* Every layer shows its output's, its input's and its weight's gradient, last layer first; the
 * input gradient is that of the layer's own path: the paths of both readers add up to the tensor's.
 */
Test(program, observers_see_each_path_before_the_sum)
{
    struct support_case test = support_cases[12];
    struct bg_graph *graph = NULL;
    struct support_batch data;
    struct bg_program *program = NULL;
    struct bg_node *x = NULL, *a = NULL, *b = NULL;
    const struct bg_conv2d conv = {
        .out_channels = 2, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    float one[2 * 18], two[2 * 18];
    struct seen seen = {.copy = one, .watched = 1};
    struct bg_observer observer = {.self = &seen, .see = see};
    const struct bg_run_moment moment = {.observer = &observer};

    OK(bg_graph_create(&graph));
    test.sample.channels = 2;
    OK(bg_node_input(graph, "input", &test.sample, &x));
    OK(bg_node_conv2d(graph, "first", x, &conv, &x));
    OK(bg_node_conv2d(graph, "one", x, &conv, &a));
    OK(bg_node_conv2d(graph, "two", x, &conv, &b));
    OK(bg_node_add(graph, "add", a, b, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.0, &x));
    bg_graph_initialise(graph, 1);
    support_batch_make(&data, &test.sample, 2, 1);
    program = support_program(
        graph, &(struct bg_program_options){.batch = 2, .observe = true, .keep_values = true});
    support_step(program, &data.batch, &moment);
    cr_assert(seen.count == 12);
    for (int i = 0; i < 12; i++) {
        static const enum bg_quantity order[] = {BG_QUANTITY_OUT_GRAD, BG_QUANTITY_IN_GRAD,
                                                 BG_QUANTITY_WEIGHT_GRAD};
        cr_expect(seen.layer[i] == 3 - i / 3 && seen.quantity[i] == order[i % 3]);
    }
    seen = (struct seen){.copy = two, .watched = 2};
    support_step(program, &data.batch, &moment);
    for (int i = 0; i < 36; i++)
        cr_expect(two[i] + one[i] == bg_f32(&program->step[1].d_out)[i]);
    cr_expect(memcmp(one, two, sizeof one) != 0);
    bg_program_destroy(program);

    /* without `observe` the first layer's input gradient is not computed */
    program = support_program(graph, &(struct bg_program_options){.batch = 2});
    seen = (struct seen){.copy = two, .watched = 2};
    support_step(program, &data.batch, &moment);
    cr_expect(seen.count == 11);
    bg_program_destroy(program);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Training, evaluation and a short batch side by side: each packs new weights for itself. */
Test(program, programs_of_one_graph_follow_the_weights)
{
    struct bg_graph *graph = residual_graph(1);
    struct support_batch data;
    struct bg_program *train = NULL, *eval = NULL, *fresh = NULL, *small = NULL;
    struct bg_program_options options = {.batch = 5};
    const struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN | BG_RUN_OBSERVE};

    support_batch_make(&data, &image, 5, 1);
    support_quantize(graph, 3, 8, false);
    train = support_program(graph, &options);
    options.mode = BG_MODE_EVAL;
    eval = support_program(graph, &options);
    small = support_program(graph, &(struct bg_program_options){.batch = 2, .mode = BG_MODE_EVAL});
    for (int step = 0; step < 3; step++) {
        double loss = 0.0;
        support_step(train, &data.batch, &moment);
        support_descend(graph, 0.1);
        OK(bg_program_forward(eval, &data.batch, NULL));
        loss = bg_program_loss(eval);
        fresh = support_program(graph, &options);
        OK(bg_program_forward(fresh, &data.batch, NULL));
        cr_expect(bg_program_loss(fresh) == loss, "step %d", step);
        bg_program_destroy(fresh);
        data.batch.size = 2;
        OK(bg_program_forward(small, &data.batch, NULL));
        data.batch.size = 5;
        for (int i = 0; i < 6; i++)
            cr_expect(fabsf(bg_f32(bg_program_logits(small))[i] -
                            bg_f32(bg_program_logits(eval))[i]) < 1e-4f);
    }
    bg_program_destroy(train);
    bg_program_destroy(eval);
    bg_program_destroy(small);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(program, values_are_readable_while_they_last)
{
    struct bg_graph *graph = residual_graph(1);
    struct support_batch data;
    struct bg_program_options options = {.batch = 2, .keep_values = true};
    struct bg_program *kept = support_program(graph, &options), *shared = NULL;

    support_batch_make(&data, &image, 2, 1);
    cr_expect(bg_program_value(kept, "norm1") == NULL); /* nothing has run */
    OK(bg_program_forward(kept, &data.batch, NULL));
    for (int i = 0; i + 1 < bg_graph_node_count(graph); i++)
        cr_expect(bg_program_value(kept, bg_node_name(bg_graph_node(graph, i))) != NULL);
    cr_expect(bg_program_value(kept, "loss") == NULL);
    cr_expect(bg_program_value(kept, "nothing") == NULL);
    options.keep_values = false;
    shared = support_program(graph, &options);
    OK(bg_program_forward(shared, &data.batch, NULL));
    cr_expect(bg_program_value(shared, "norm1") == NULL); /* fused with its relu */
    cr_assert(bg_program_value(shared, "relu1") != NULL);
    cr_expect(memcmp(bg_program_value(shared, "relu1")->data, bg_program_value(kept, "relu1")->data,
                     (size_t)bg_tensor_count(bg_program_value(kept, "relu1")) * 4) == 0);
    OK(bg_program_backward(shared, NULL));
    cr_expect(bg_program_value(shared, "relu1") == NULL);
    cr_expect(bg_program_value(shared, "fc") == bg_program_logits(shared));
    bg_program_destroy(kept);
    bg_program_destroy(shared);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(program, wrong_use_is_refused_with_a_sentence)
{
    struct bg_graph *graph = residual_graph(1), *open = NULL;
    struct bg_program *program = NULL;
    struct support_batch data;
    struct bg_node *x = NULL, *y = NULL;

    support_batch_make(&data, &image, 3, 1);
    cr_expect(bg_program_create(&program, graph, &(struct bg_program_options){.batch = 0}) ==
              BG_E_RANGE);
    cr_expect(program == NULL);
    program =
        support_program(graph, &(struct bg_program_options){.batch = 2, .mode = BG_MODE_EVAL});
    cr_expect(bg_program_forward(program, &data.batch, NULL) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(), "the batch has 3 samples, the program was made for 2");
    cr_expect(bg_program_backward(program, NULL) == BG_E_USAGE);
    cr_expect(bg_graph_quantize(graph, NULL, NULL) == BG_E_USAGE);
    bg_program_destroy(program);
    OK(bg_graph_quantize(graph, NULL, NULL));
    bg_graph_destroy(graph);

    OK(bg_graph_create(&open));
    OK(bg_node_input(open, "input", &image, &x));
    OK(bg_node_relu(open, "unread", x, &y));
    OK(bg_node_linear(open, "fc", x, 3, false, &y));
    cr_expect(bg_program_create(&program, open, &(struct bg_program_options){.batch = 2}) ==
              BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "the graph has no loss: a program needs one");
    OK(bg_node_mse(open, "loss", y, &y));
    cr_expect(bg_program_create(&program, open, &(struct bg_program_options){.batch = 2}) ==
              BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "relu unread: nothing reads its output");
    bg_graph_destroy(open);
    support_batch_free(&data);
}

Test(program, implementations_are_told_for_every_primitive)
{
    struct bg_graph *graph = residual_graph(1);
    struct bg_program *program = support_program(graph, &(struct bg_program_options){.batch = 2});

    cr_assert(bg_program_implementation_count(program) == 9); /* 6 convolutions, 2 pools, linear */
    for (int i = 0; i < 9; i++) {
        struct bg_implementation one = bg_program_implementation(program, i);
        cr_expect(bg_graph_find(graph, one.node) != NULL && strlen(one.forward) > 0);
        cr_expect(strlen(one.op) > 0 && one.backward_data != NULL);
    }
    cr_expect_str_eq(bg_program_implementation(program, 0).backward_data, "");
    bg_program_destroy(program);
    bg_graph_destroy(graph);
}
