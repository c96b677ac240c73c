/* Every op on values worked out by hand, in both computes; their gradients against differences are
 * in test_gradients.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"
#include "support_graph.h"

/* A graph input (1,1,classes) -> `op` -> loss, run on given numbers. */
struct tiny {
    struct bg_graph *graph;
    struct bg_node *input;
    struct bg_program *program;
};

static struct tiny tiny_begin(int64_t height, int64_t width, int64_t channels)
{
    struct tiny tiny = {.graph = NULL};
    const struct bg_sample_spec sample = {
        .height = height, .width = width, .channels = channels, .classes = 2, .dtype = BG_F32};

    OK(bg_graph_create(&tiny.graph));
    OK(bg_node_input(tiny.graph, "x", &sample, &tiny.input));
    return tiny;
}

static void tiny_end(struct tiny *tiny, struct bg_node *logits, enum bg_compute compute,
                     int64_t batch)
{
    struct bg_node *loss = NULL;

    OK(bg_node_mse(tiny->graph, "loss", logits, &loss));
    tiny->program = support_program(
        tiny->graph, &(struct bg_program_options){
                         .batch = batch, .compute = compute, .observe = true, .keep_values = true});
}

static void tiny_free(struct tiny *tiny)
{
    bg_program_destroy(tiny->program);
    bg_graph_destroy(tiny->graph);
}

static const struct bg_step *step_of(const struct bg_program *program, const char *node)
{
    return &program->step[program->step_of[bg_graph_find(program->graph, node)->index]];
}

/* mse of x = (1, 3), (0, 2) against onehot(1) = (0, 1): ((1 + 4) + (0 + 1)) / 4 = 1.5, gradient
 * 2 * difference / 4. */
Test(ops, mean_squared_error_worked)
{
    struct tiny tiny = tiny_begin(1, 1, 2);
    const float x[] = {1.0f, 3.0f, 0.0f, 2.0f}, dx[] = {0.5f, 1.0f, 0.0f, 0.5f};
    const int32_t labels[] = {1, 1};
    const struct bg_batch batch = {.size = 2, .dtype = BG_F32, .images = x, .labels = labels};

    tiny_end(&tiny, tiny.input, BG_COMPUTE_EXACT, 2);
    support_step(tiny.program, &batch, NULL);
    cr_expect(bg_program_loss(tiny.program) == 1.5);
    cr_expect(memcmp(tiny.program->step[0].d_out.data, dx, sizeof dx) == 0);
    tiny_free(&tiny);
}

/* ln 3 in f32 is off by at most 2^-24, which moves the loss by 0.65 and the gradient by 3/16 of
 * that; p and the gradient, below 1, are rounded to f32: 2^-25 each. In all 7.1e-8 at most. */
#define LN3_SLACK 1e-7

/* Logits 0 and ln 3: softmax (1/4, 3/4). With smoothing 0.2 the target of label 0 is (0.9, 0.1),
 * the loss -(0.9 ln(1/4) + 0.1 ln(3/4)), the gradient (-0.65, 0.65). Large logits do not overflow.
 */
Test(ops, softmax_cross_entropy_worked)
{
    struct tiny tiny = tiny_begin(1, 1, 2);
    struct bg_node *loss = NULL;
    float x[] = {0.0f, 1.09861229f};
    int32_t label = 0;
    const struct bg_batch batch = {.size = 1, .dtype = BG_F32, .images = x, .labels = &label};

    OK(bg_node_softmax_cross_entropy(tiny.graph, "loss", tiny.input, 0.2, &loss));
    tiny.program =
        support_program(tiny.graph, &(struct bg_program_options){.batch = 1, .observe = true});
    support_step(tiny.program, &batch, NULL);
    cr_expect(fabs(bg_program_loss(tiny.program) + 0.9 * log(0.25) + 0.1 * log(0.75)) < LN3_SLACK);
    cr_expect(fabs((double)bg_f32(&tiny.program->step[0].d_out)[0] + 0.65) < LN3_SLACK);
    cr_expect(fabs((double)bg_f32(&tiny.program->step[0].d_out)[1] - 0.65) < LN3_SLACK);
    x[0] = 1e30f;
    x[1] = -1e30f;
    OK(bg_program_forward(tiny.program, &batch, NULL));
    cr_expect(isfinite(bg_program_loss(tiny.program)));
    label = 2;
    cr_expect(bg_program_forward(tiny.program, &batch, NULL) == BG_E_DATA);
    cr_expect_str_eq(bg_error(), "label 2 of sample 0 is outside 0 to 1");
    tiny_free(&tiny);
}

/* The written rule: no gradient at 0. */
Test(ops, relu_has_no_gradient_at_zero)
{
    const float x[] = {0.0f, -0.0f, 2.0f, -2.0f};
    const int32_t labels[] = {0, 1};
    const struct bg_batch batch = {.size = 2, .dtype = BG_F32, .images = x, .labels = labels};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(1, 1, 2);
        struct bg_node *y = NULL;
        const float *dx = NULL;
        OK(bg_node_relu(tiny.graph, "relu", tiny.input, &y));
        tiny_end(&tiny, y, (enum bg_compute)compute, 2);
        support_step(tiny.program, &batch, NULL);
        dx = bg_f32(&tiny.program->step[0].d_out);
        cr_expect(dx[0] == 0.0f && dx[1] == 0.0f && dx[2] == 1.0f && dx[3] == 0.0f);
        tiny_free(&tiny);
    }
}

/* The written rule: no gradient at 0 and at 6. The loss's gradient is y or y - 1, divided by 3. */
Test(ops, relu6_has_no_gradient_at_its_ends)
{
    const float x[] = {0.0f, 6.0f, 5.5f, -2.0f, 7.0f, -0.0f};
    const float y[] = {0.0f, 6.0f, 5.5f, 0.0f, 6.0f, 0.0f};
    const float gradient[] = {0.0f, 0.0f, 5.5f / 3.0f, 0.0f, 0.0f, 0.0f};
    const int32_t labels[] = {0, 1, 1};
    const struct bg_batch batch = {.size = 3, .dtype = BG_F32, .images = x, .labels = labels};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(1, 1, 2);
        struct bg_node *out = NULL;
        const float *dx = NULL;
        OK(bg_node_relu6(tiny.graph, "relu6", tiny.input, &out));
        tiny_end(&tiny, out, (enum bg_compute)compute, 3);
        support_step(tiny.program, &batch, NULL);
        cr_expect(memcmp(bg_program_value(tiny.program, "relu6")->data, y, sizeof y) == 0);
        dx = bg_f32(&tiny.program->step[0].d_out);
        for (int i = 0; i < 6; i++)
            cr_expect(dx[i] == gradient[i], "compute %d: %g at %g", compute, (double)dx[i],
                      (double)x[i]);
        tiny_free(&tiny);
    }
}

/* A NaN passes, and the first node that has it is named: the input. */
Test(ops, relu6_hides_no_nan)
{
    const float x[] = {NAN, 1.0f};
    const int32_t label = 0;
    const struct bg_batch batch = {.size = 1, .dtype = BG_F32, .images = x, .labels = &label};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(1, 1, 2);
        struct bg_node *y = NULL;
        OK(bg_node_relu6(tiny.graph, "relu6", tiny.input, &y));
        tiny_end(&tiny, y, (enum bg_compute)compute, 1);
        cr_expect(bg_program_forward(tiny.program, &batch, NULL) == BG_E_NUMERIC);
        cr_expect(strstr(bg_error(), "input x") != NULL, "%s", bg_error());
        cr_expect(isnan(bg_f32(&step_of(tiny.program, "relu6")->out)[0]));
        tiny_free(&tiny);
    }
}

/* Parts of 1, 2, 1 and 2 channels; the second and fourth are one node. Every element of the output
 * and of the gradients is looked up by plain indices. */
static void check_concat(const struct tiny *tiny, int64_t batch)
{
    static const char *const parts[] = {"x", "b", "x", "b"};
    static const int64_t width[] = {1, 2, 1, 2};
    const struct bg_step *cat = step_of(tiny->program, "cat");
    const float *y = bg_f32(&cat->out), *dy = bg_f32(&cat->d_out);
    int64_t at = 0;

    for (int k = 0; k < 4; k++) {
        const struct bg_step *part = step_of(tiny->program, parts[k]);
        const float *x = bg_f32(&part->out), *dx = bg_f32(&part->d_out);
        int64_t other = k < 2 ? at + 3 : at - 3; /* where the same node stands again */
        for (int64_t row = 0; row < batch * 6; row++)
            for (int64_t c = 0; c < width[k]; c++) {
                cr_assert(y[row * 6 + at + c] == x[row * width[k] + c], "part %d, row %d", k,
                          (int)row);
                if (k % 2 == 1) /* "b" has no other reader */
                    cr_assert(dx[row * 2 + c] == dy[row * 6 + at + c] + dy[row * 6 + other + c]);
            }
        at += width[k];
    }
}

Test(ops, concat_equals_plain_loops)
{
    const struct bg_sample_spec sample = {
        .height = 2, .width = 3, .channels = 1, .classes = 2, .dtype = BG_F32};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(2, 3, 1);
        struct bg_node *b = NULL, *y = NULL;
        const struct bg_conv2d conv = {.out_channels = 2,
                                       .kernel = {3, 3},
                                       .stride = {1, 1},
                                       .padding = {1, 1},
                                       .dilation = {1, 1},
                                       .groups = 1};
        struct support_batch data;
        OK(bg_node_conv2d(tiny.graph, "b", tiny.input, &conv, &b));
        OK(bg_node_concat(tiny.graph, "cat", (struct bg_node *[]){tiny.input, b, tiny.input, b}, 4,
                          &y));
        OK(bg_node_linear(tiny.graph, "fc", y, 2, true, &y));
        bg_graph_initialise(tiny.graph, 3);
        tiny_end(&tiny, y, (enum bg_compute)compute, 3);
        support_batch_make(&data, &sample, 3, 4);
        support_step(tiny.program, &data.batch, NULL);
        check_concat(&tiny, 3);
        support_batch_free(&data);
        tiny_free(&tiny);
    }
}

/* All equal: the first maximum of the window, in row order, takes the whole gradient. */
Test(ops, max_pool_gives_a_tie_to_the_first)
{
    const float x[] = {1, 2, 1, 2, 1, 2, 1, 2}; /* 2x2 positions, 2 channels, each constant */
    const int32_t label = 0;
    const struct bg_batch batch = {.size = 1, .dtype = BG_F32, .images = x, .labels = &label};
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(2, 2, 2);
        struct bg_node *y = NULL;
        const float expected[] = {0, 2, 0, 0, 0, 0, 0, 0}; /* 2 * (y - onehot) / 2 */
        OK(bg_node_max_pool(tiny.graph, "pool", tiny.input, &window, &y));
        tiny_end(&tiny, y, (enum bg_compute)compute, 1);
        support_step(tiny.program, &batch, NULL);
        cr_expect(memcmp(tiny.program->step[0].d_out.data, expected, sizeof expected) == 0,
                  "compute %d", compute);
        tiny_free(&tiny);
    }
}

/* One channel, values 1, 2, 3, 6: mean 3, biased variance 3.5, unbiased 14/3. Momentum 0.1 from
 * running mean 0 and variance 1. */
Test(ops, batch_norm_worked)
{
    const float x[] = {1, 2, 3, 6, 1, 2, 3, 6};
    const int32_t labels[] = {0, 0, 0, 0};
    const struct bg_batch batch = {.size = 4, .dtype = BG_F32, .images = x, .labels = labels};
    struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = tiny_begin(2, 1, 1);
        struct bg_node *y = NULL;
        const struct bg_param *mean = NULL, *var = NULL;
        uint64_t version = 0;
        OK(bg_node_batch_norm(tiny.graph, "norm", tiny.input, 0.5, 0.1, &y));
        OK(bg_node_linear(tiny.graph, "fc", y, 2, false, &y));
        tiny_end(&tiny, y, (enum bg_compute)compute, 4);
        mean = bg_graph_param_find(tiny.graph, "norm.running_mean");
        var = bg_graph_param_find(tiny.graph, "norm.running_var");
        OK(bg_program_forward(tiny.program, &batch, NULL));
        cr_expect(bg_f32(&mean->value)[0] == 0.0f && bg_f32(&var->value)[0] == 1.0f);
        cr_expect(bg_f32(bg_program_value(tiny.program, "norm"))[0] == -1.0f); /* (1 - 3) / 2 */
        version = mean->version;
        moment.bn_momentum = 0.0;
        OK(bg_program_forward(tiny.program, &batch, &moment));
        cr_expect(bg_f32(&mean->value)[0] == 0.3f);
        cr_expect(bg_f32(&var->value)[0] == 1.3f); /* 0.9 + 0.1 * 3.5 * 8/7 */
        cr_expect(mean->version > version);
        moment.bn_momentum = 1.0;
        OK(bg_program_forward(tiny.program, &batch, &moment));
        cr_expect(bg_f32(&mean->value)[0] == 3.0f && bg_f32(&var->value)[0] == 4.0f);
        tiny_free(&tiny);
    }
}

/* Kept with probability 1 - p, scaled to the same mean; another step, another mask; the same
 * moment, the same mask, in backward too. Evaluation changes nothing. */
Test(ops, dropout_is_a_function_of_the_moment)
{
    enum { N = 4000 };
    struct tiny tiny = tiny_begin(1, 1, N);
    struct bg_node *y = NULL;
    static float x[N], first[N];
    const int32_t label = 0;
    const struct bg_batch batch = {.size = 1, .dtype = BG_F32, .images = x, .labels = &label};
    struct bg_run_moment moment = {.seed = 5, .step = 9};
    const float *values = NULL, *dy = NULL, *dx = NULL;
    int kept = 0, moved = 0;

    for (int i = 0; i < N; i++)
        x[i] = 3.0f;
    OK(bg_node_dropout(tiny.graph, "drop", tiny.input, 0.25, &y));
    tiny_end(&tiny, y, BG_COMPUTE_EXACT, 1);
    support_step(tiny.program, &batch, &moment);
    values = bg_f32(bg_program_value(tiny.program, "drop"));
    dy = bg_f32(&step_of(tiny.program, "drop")->d_out);
    dx = bg_f32(&step_of(tiny.program, "x")->d_out);
    for (int i = 0; i < N; i++) {
        cr_assert(values[i] == 0.0f || values[i] == 4.0f);
        cr_assert(dx[i] == (values[i] == 0.0f ? 0.0f : dy[i] * (4.0f / 3.0f)));
        kept += values[i] != 0.0f;
        first[i] = values[i];
    }
    /* binomial(4000, 0.75): deviation 27.4, five of them */
    cr_expect(abs(kept - 3000) < 137, "%d kept", kept);
    moment.step = 10;
    OK(bg_program_forward(tiny.program, &batch, &moment));
    for (int i = 0; i < N; i++)
        moved += values[i] != first[i];
    cr_expect(moved > 1000 && moved < 2000, "%d changed", moved);
    moment.step = 9;
    OK(bg_program_forward(tiny.program, &batch, &moment));
    cr_expect(memcmp(values, first, sizeof first) == 0);
    tiny_free(&tiny);
}

Test(ops, raw_bytes_are_decoded)
{
    const struct bg_sample_spec sample = {.height = 1,
                                          .width = 1,
                                          .channels = 2,
                                          .classes = 2,
                                          .dtype = BG_U8,
                                          .scale = 0.5f,
                                          .zero_point = 10};
    const uint8_t codes[] = {0, 255};
    const int32_t label = 0;
    struct bg_batch batch = {.size = 1, .dtype = BG_U8, .images = codes, .labels = &label};

    for (int compute = 0; compute < 2; compute++) {
        struct tiny tiny = {.graph = NULL};
        const float *x = NULL;
        OK(bg_graph_create(&tiny.graph));
        OK(bg_node_input(tiny.graph, "x", &sample, &tiny.input));
        tiny_end(&tiny, tiny.input, (enum bg_compute)compute, 1);
        OK(bg_program_forward(tiny.program, &batch, NULL));
        x = bg_f32(bg_program_value(tiny.program, "x"));
        cr_expect(x[0] == -5.0f && x[1] == 122.5f);
        batch.dtype = BG_F32;
        cr_expect(bg_program_forward(tiny.program, &batch, NULL) == BG_E_SHAPE);
        batch.dtype = BG_U8;
        tiny_free(&tiny);
    }
}

/* A tensor without anything trainable before it gets no gradient. */
Test(ops, no_gradient_where_none_is_due)
{
    const struct support_case *test = &support_cases[3];
    struct bg_graph *graph = support_case_graph(test, 1);

    for (int observe = 0; observe < 2; observe++) {
        struct bg_program *program = support_program(
            graph, &(struct bg_program_options){.batch = 2, .observe = observe != 0});
        cr_expect((program->step[0].d_out.data != NULL) == (observe != 0));
        cr_expect((step_of(program, "conv")->d_in[0].data != NULL) == (observe != 0));
        cr_expect(step_of(program, "fc")->d_in[0].data != NULL);
        bg_program_destroy(program);
    }
    bg_graph_destroy(graph);
}

Test(ops, every_op_is_in_the_registry_with_a_case)
{
    const char *const expected[] = {"add",      "avg_pool", "batch_norm", "concat",
                                    "conv2d",   "dropout",  "flatten",    "global_pool",
                                    "input",    "linear",   "max_pool",   "mse",
                                    "quantize", "relu",     "relu6",      "softmax_cross_entropy"};
    int count = 0;

    for (; bg_ops[count] != NULL; count++)
        cr_expect_str_eq(bg_ops[count]->name, expected[count]);
    cr_expect(count == 16);
}
