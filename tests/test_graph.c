/* Graphs: names, shapes, sentences of refusal, parameters and initial weights. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support_graph.h"

static const struct bg_sample_spec image = {
    .height = 8, .width = 6, .channels = 4, .classes = 3, .dtype = BG_F32};

static struct bg_graph *with_input(struct bg_node **x)
{
    struct bg_graph *graph = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &image, x));
    return graph;
}

static struct bg_conv2d plain_conv(int64_t channels, int64_t kernel)
{
    return (struct bg_conv2d){.out_channels = channels,
                              .kernel = {kernel, kernel},
                              .stride = {1, 1},
                              .dilation = {1, 1},
                              .groups = 1};
}

static void expect_shape(const struct bg_node *node, int64_t h, int64_t w, int64_t c)
{
    const struct bg_shape *shape = bg_node_shape(node);

    cr_expect(shape->rank == 3 && shape->dims[0] == h && shape->dims[1] == w && shape->dims[2] == c,
              "%s is %lldx%lldx%lld", bg_node_name(node), (long long)shape->dims[0],
              (long long)shape->dims[1], (long long)shape->dims[2]);
}

Test(graph, shapes_and_costs_are_inferred)
{
    struct bg_node *x = NULL, *conv = NULL, *pool = NULL, *flat = NULL, *fc = NULL, *loss = NULL;
    struct bg_graph *graph = with_input(&x);
    struct bg_conv2d options = plain_conv(6, 3);
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};

    options.stride[0] = 2;
    options.padding[0] = 1;
    options.groups = 2;
    options.bias = true;
    OK(bg_node_conv2d(graph, "conv", x, &options, &conv));
    expect_shape(conv, 4, 4, 6); /* (8 + 2 - 3) / 2 + 1, 6 - 3 + 1 */
    cr_expect(bg_node_macs(conv) == 4 * 4 * 6 * 3 * 3 * 2);
    OK(bg_node_max_pool(graph, "pool", conv, &window, &pool));
    expect_shape(pool, 2, 2, 6);
    OK(bg_node_flatten(graph, "flat", pool, &flat));
    expect_shape(flat, 1, 1, 24);
    OK(bg_node_linear(graph, "fc", flat, 3, true, &fc));
    cr_expect(bg_node_macs(fc) == 72 && bg_node_macs(pool) == 0);
    cr_expect(bg_graph_logits(graph) == NULL);
    OK(bg_node_softmax_cross_entropy(graph, "loss", fc, 0.0, &loss));
    cr_expect(bg_graph_logits(graph) == fc);

    cr_expect(bg_graph_node_count(graph) == 6 && bg_graph_node(graph, 1) == conv);
    cr_expect(bg_graph_find(graph, "pool") == pool && bg_graph_find(graph, "poo") == NULL);
    cr_expect_str_eq(bg_node_op(flat), "flatten");
    cr_expect(bg_node_input_count(flat) == 1 && bg_node_input_at(flat, 0) == pool);
    cr_expect(bg_graph_layer_count(graph) == 2 && bg_graph_layer(graph, 1) == fc);
    cr_expect(bg_node_layer(conv) == 0 && bg_node_layer(fc) == 1 && bg_node_layer(pool) == -1);
    cr_expect(bg_graph_param_count(graph) == 4);
    cr_expect_str_eq(bg_graph_param(graph, 1)->name, "conv.bias");
    cr_expect(bg_graph_layer_weight(graph, 0) == bg_graph_param_find(graph, "conv.weight"));
    cr_expect(bg_graph_layer_weight(graph, 0)->value.shape.dims[3] == 2);
    cr_expect(bg_graph_layer_weight(graph, 1)->value.shape.dims[1] == 24);
    cr_expect(bg_graph_layer_input_quantizer(graph, 0) == NULL);
    bg_graph_destroy(graph);
}

/* What a node was made with is read back; other ops, and indices beyond, give NULL or 0. */
Test(graph, nodes_tell_what_they_were_made_with)
{
    struct bg_node *x = NULL, *conv = NULL, *norm = NULL, *max = NULL, *average = NULL, *fc = NULL;
    struct bg_graph *graph = with_input(&x);
    struct bg_conv2d options = plain_conv(6, 3);
    const struct bg_pool2d window = {.kernel = {2, 1}, .stride = {2, 2}};
    static const char *const parts[] = {"norm.gamma", "norm.beta", "norm.running_mean",
                                        "norm.running_var"};

    options.stride[1] = 2;
    OK(bg_node_conv2d(graph, "conv", x, &options, &conv));
    OK(bg_node_batch_norm(graph, "norm", conv, 0.25, 0.1, &norm));
    OK(bg_node_max_pool(graph, "max", norm, &window, &max));
    OK(bg_node_avg_pool(graph, "average", max, &window, &average));
    OK(bg_node_linear(graph, "fc", average, 3, true, &fc));

    cr_expect(bg_node_conv2d_options(conv)->out_channels == 6);
    cr_expect(bg_node_conv2d_options(conv)->stride[1] == 2);
    cr_expect(bg_node_conv2d_options(fc) == NULL && bg_node_conv2d_options(max) == NULL);
    cr_expect(bg_node_pool2d_options(max)->kernel[0] == 2);
    cr_expect(bg_node_pool2d_options(average)->kernel[1] == 1);
    cr_expect(bg_node_pool2d_options(conv) == NULL && bg_node_pool2d_options(x) == NULL);
    cr_expect(bg_node_epsilon(norm) == 0.25 && bg_node_epsilon(conv) == 0.0);
    cr_expect(bg_node_sample_spec(x)->width == 6 && bg_node_sample_spec(x)->classes == 3);
    cr_expect(bg_node_sample_spec(norm) == NULL);
    for (int i = 0; i < 4; i++)
        cr_expect_str_eq(bg_node_param_at(norm, i)->name, parts[i]);
    cr_expect_str_eq(bg_node_param_at(fc, 1)->name, "fc.bias");
    cr_expect(bg_node_param_at(norm, 4) == NULL && bg_node_param_at(norm, -1) == NULL);
    cr_expect(bg_node_param_at(conv, 1) == NULL && bg_node_param_at(max, 0) == NULL);
    cr_expect(bg_node_quantizer(x) == NULL);
    bg_graph_destroy(graph);

    graph = support_fork();
    support_quantize(graph, 4, 4, false);
    x = bg_graph_find(graph, "relu");
    cr_expect(bg_node_quantizer(x) == x->quantizer && bg_node_quantizer(x)->spec.bits == 4);
    bg_graph_destroy(graph);
}

/* Every number of inputs that is possible, in the order given. */
Test(graph, concat_adds_up_channels)
{
    struct bg_node *x = NULL, *conv = NULL, *cat[5] = {NULL};
    struct bg_graph *graph = with_input(&x);
    const struct bg_conv2d options = {
        .out_channels = 3, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};

    OK(bg_node_conv2d(graph, "conv", x, &options, &conv));
    struct bg_node *const parts[] = {conv, x, x, conv};
    for (int count = 2; count <= 4; count++) {
        const char *const names[] = {"two", "three", "four"};
        static const int64_t channels[] = {7, 11, 14};
        OK(bg_node_concat(graph, names[count - 2], parts, count, &cat[count]));
        expect_shape(cat[count], 8, 6, channels[count - 2]);
        cr_expect(bg_node_input_count(cat[count]) == count && bg_node_layer(cat[count]) == -1);
        for (int k = 0; k < count; k++)
            cr_expect(bg_node_input_at(cat[count], k) == parts[k]);
        cr_expect(bg_node_macs(cat[count]) == 0);
    }
    bg_graph_destroy(graph);
}

Test(graph, concat_refuses_what_does_not_fit)
{
    struct bg_node *x = NULL, *y = NULL, *narrow = NULL;
    struct bg_graph *graph = with_input(&x);
    struct bg_node *parts[] = {x, x, x, x, x};
    const struct bg_conv2d options = {
        .out_channels = 4, .kernel = {1, 2}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};

    cr_expect(bg_node_concat(graph, "cat", parts, 1, &y) == BG_E_USAGE && y == NULL);
    cr_expect_str_eq(bg_error(), "concat cat: 1 inputs: 2 to 4 are possible");
    cr_expect(bg_node_concat(graph, "cat", parts, 5, &y) == BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "concat cat: 5 inputs: 2 to 4 are possible");
    cr_expect(bg_node_concat(graph, "cat", parts, -1, &y) == BG_E_USAGE);
    cr_expect(bg_node_concat(graph, "c t", parts, 2, &y) == BG_E_DATA);
    cr_expect(bg_node_concat(graph, "input", parts, 2, &y) == BG_E_DATA);
    parts[2] = NULL;
    cr_expect(bg_node_concat(graph, "cat", parts, 3, &y) == BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "concat cat: input 3 is missing");
    OK(bg_node_conv2d(graph, "narrow", x, &options, &narrow));
    parts[2] = narrow;
    cr_expect(bg_node_concat(graph, "cat", parts, 3, &y) == BG_E_SHAPE && y == NULL);
    cr_expect_str_eq(bg_error(), "concat cat: input is 8x6x4, narrow is 8x5x4: all must have one "
                                 "height and width");
    cr_expect(bg_graph_node_count(graph) == 2);
    bg_graph_destroy(graph);
}

/* One sentence each, with the node's op and name; a refusal leaves the graph as it was. */
Test(graph, refusals_name_the_node)
{
    struct bg_node *x = NULL, *y = NULL, *small = NULL;
    struct bg_graph *graph = with_input(&x), *other = NULL;
    struct bg_conv2d options = plain_conv(4, 9);
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {0, 1}};
    char longest[80];

    cr_expect(bg_node_conv2d(graph, "conv3", x, &options, &y) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(), "conv2d conv3: kernel 9x9 does not fit input 8x6 with padding 0");
    options = plain_conv(4, 1);
    options.groups = 3;
    cr_expect(bg_node_conv2d(graph, "conv3", x, &options, &y) == BG_E_SHAPE && y == NULL);
    options.groups = 0;
    cr_expect(bg_node_conv2d(graph, "conv3", x, &options, &y) != BG_OK);
    cr_expect(bg_node_linear(graph, "fc", x, 0, true, &y) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(), "linear fc: 0 output features: at least 1 is needed");
    /* 192 inputs: one output more than fits, and refused before memory is asked for */
    cr_expect(bg_node_linear(graph, "fc", x, INT32_MAX / 192 + 1, true, &y) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(), "linear fc: weight has 2147483712 elements, limit is 2147483647");
    cr_expect(bg_node_max_pool(graph, "pool", x, &window, &y) != BG_OK);
    cr_expect(bg_node_dropout(graph, "drop", x, 1.0, &y) == BG_E_RANGE);
    cr_expect(bg_node_dropout(graph, "drop", x, (double)NAN, &y) == BG_E_RANGE);
    cr_expect(bg_node_batch_norm(graph, "norm", x, 0.0, 0.1, &y) == BG_E_RANGE);
    cr_expect(bg_node_batch_norm(graph, "norm", x, 1e-5, 1.5, &y) == BG_E_RANGE);
    cr_expect(bg_node_mse(graph, "loss", x, &y) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(), "mse loss: input input is 8x6x4, a loss needs 1x1xclasses");
    cr_expect(bg_node_input(graph, "second", &image, &y) == BG_E_USAGE);
    cr_expect(bg_node_relu(graph, "input", x, &y) == BG_E_DATA);
    cr_expect_str_eq(bg_error(), "relu: node name \"input\" is used twice");
    cr_expect(bg_node_relu(graph, "a b", x, &y) == BG_E_DATA);
    cr_expect(bg_node_relu(graph, "", x, &y) == BG_E_DATA);
    cr_expect(bg_node_relu(graph, "none", NULL, &y) == BG_E_USAGE);
    cr_expect(bg_node_global_pool(graph, "none", NULL, &y) == BG_E_USAGE);
    memset(longest, 'a', sizeof longest);
    longest[60] = '\0'; /* a node may be called so, but "<name>.weight" has 67 characters */
    options = plain_conv(4, 1);
    cr_expect(bg_node_conv2d(graph, longest, x, &options, &y) == BG_E_RANGE);
    OK(bg_graph_create(&other));
    cr_expect(bg_node_relu(other, "relu", x, &y) == BG_E_USAGE);
    cr_expect(bg_graph_node_count(graph) == 1 && bg_graph_param_count(graph) == 0);
    cr_expect(bg_graph_layer_count(graph) == 0);

    OK(bg_node_global_pool(graph, "global", x, &small));
    cr_expect(bg_node_add(graph, "sum", x, small, &y) == BG_E_SHAPE);
    cr_expect_str_eq(bg_error(),
                     "add sum: input is 8x6x4, global is 1x1x4: both must have one shape");
    cr_expect(bg_node_softmax_cross_entropy(graph, "loss", small, 1.0, &y) == BG_E_RANGE);
    OK(bg_node_mse(graph, "loss", small, &y));
    cr_expect(bg_node_relu(graph, "late", x, &y) == BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "relu late: the graph already ends with the loss loss");
    bg_graph_destroy(other);
    bg_graph_destroy(graph);
}

Test(graph, inputs_are_checked)
{
    struct bg_sample_spec spec = image;
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    OK(bg_graph_create(&graph));
    spec.channels = 0;
    cr_expect(bg_node_input(graph, "input", &spec, &x) != BG_OK);
    spec.channels = INT64_MAX;
    cr_expect(bg_node_input(graph, "input", &spec, &x) != BG_OK);
    spec.channels = 1;
    spec.dtype = BG_S8;
    cr_expect(bg_node_input(graph, "input", &spec, &x) == BG_E_UNSUPPORTED);
    spec.dtype = BG_U8;
    cr_expect(bg_node_input(graph, "input", &spec, &x) == BG_E_RANGE);
    spec.scale = 0.1f;
    spec.zero_point = 256;
    cr_expect(bg_node_input(graph, "input", &spec, &x) == BG_E_RANGE);
    cr_expect_str_eq(bg_error(), "input input: zero point 256 is outside 0 to 255");
    spec.zero_point = 255;
    OK(bg_node_input(graph, "input", &spec, &x));
    bg_graph_destroy(graph);
    bg_graph_destroy(NULL);
}

/* Mean 0 and the deviation of He et al. within five standard errors: of n normal draws the mean has
 * error s / sqrt(n), the deviation s / sqrt(2n). */
static void expect_normal(const struct bg_param *param, double deviation)
{
    int64_t n = bg_tensor_count(&param->value);
    double sum = 0.0, square = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double w = (double)bg_f32(&param->value)[i];
        sum += w;
        square += w * w;
    }
    cr_expect(fabs(sum / (double)n) < 5.0 * deviation / sqrt((double)n), "%s", param->name);
    cr_expect(fabs(sqrt(square / (double)n) - deviation) < 5.0 * deviation / sqrt(2.0 * (double)n),
              "%s: %g against %g", param->name, sqrt(square / (double)n), deviation);
}

Test(graph, initial_weights_are_he_normal_and_per_name)
{
    struct bg_graph *graph[2] = {NULL, NULL};
    const float *weights[2] = {NULL, NULL};
    struct bg_conv2d options = plain_conv(32, 3);

    options.groups = 4;
    options.bias = true;
    for (int k = 0; k < 2; k++) {
        struct bg_node *x = NULL;
        graph[k] = with_input(&x);
        if (k == 1) { /* another layer first moves no draw */
            const struct bg_conv2d point = plain_conv(4, 1);
            OK(bg_node_conv2d(graph[k], "before", x, &point, &x));
        }
        OK(bg_node_conv2d(graph[k], "conv", x, &options, &x));
        OK(bg_node_batch_norm(graph[k], "norm", x, 1e-5, 0.1, &x));
        OK(bg_node_linear(graph[k], "fc", x, 20, true, &x));
        bg_f32(&bg_graph_param_find(graph[k], "norm.gamma")->value)[2] = 7.0f;
        bg_f32(&bg_graph_param_find(graph[k], "conv.bias")->value)[2] = 7.0f;
        bg_f32(&bg_graph_param_find(graph[k], "conv.bias")->state)[2] = 7.0f;
        bg_graph_initialise(graph[k], 42);
        weights[k] = bg_f32(&bg_graph_param_find(graph[k], "conv.weight")->value);
    }
    cr_expect(memcmp(weights[0], weights[1], 32 * 9 * 4) == 0);
    expect_normal(bg_graph_param_find(graph[0], "conv.weight"), sqrt(2.0 / (32.0 / 4.0 * 9.0)));
    expect_normal(bg_graph_param_find(graph[0], "fc.weight"), sqrt(2.0 / (6.0 * 4.0 * 32.0)));
    cr_expect(bg_f32(&bg_graph_param_find(graph[0], "norm.gamma")->value)[2] == 1.0f);
    cr_expect(bg_f32(&bg_graph_param_find(graph[0], "norm.running_var")->value)[2] == 1.0f);
    cr_expect(bg_f32(&bg_graph_param_find(graph[0], "conv.bias")->value)[2] == 0.0f);
    cr_expect(bg_f32(&bg_graph_param_find(graph[0], "conv.bias")->state)[2] == 0.0f);
    bg_graph_initialise(graph[0], 43);
    cr_expect(memcmp(weights[0], weights[1], 32 * 9 * 4) != 0);
    bg_graph_destroy(graph[0]);
    bg_graph_destroy(graph[1]);
}

Test(graph, failing_allocations_leave_the_graph_as_it_was)
{
    for (uint64_t n = 1; n < 200; n++) {
        struct bg_node *x = NULL, *y = NULL;
        struct bg_graph *graph = with_input(&x);
        const struct bg_conv2d options = plain_conv(4, 1);
        enum bg_status rc = BG_OK;
        bg_alloc_fail_at(n);
        rc = bg_node_conv2d(graph, "conv", x, &options, &y);
        bg_alloc_fail_at(0);
        cr_assert(rc == BG_OK || rc == BG_E_NOMEM);
        cr_assert(bg_graph_node_count(graph) == (rc == BG_OK ? 2 : 1));
        cr_assert(bg_graph_param_count(graph) == (rc == BG_OK ? 1 : 0));
        if (rc != BG_OK) /* a second try works */
            OK(bg_node_conv2d(graph, "conv", x, &options, &y));
        bg_graph_destroy(graph);
        if (rc == BG_OK)
            return;
    }
    cr_assert_fail("never succeeded");
}
