/* Layers on codes inside f32 programs: networks that cannot train fast as a whole. Every layer's
 * passes are held against the naive references on the very values and output gradients it had,
 * within bounds that follow from where bf16 rounds. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/kernel.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/ref.h"
#include "support_graph.h"

/* bf16 keeps 8 bits: rounding moves a value by up to 2^-8 of itself. Twice rounded (through f32)
 * and with what is of second order: a hundredth more. */
#define HALF (1.01 * 0x1p-8)
#define U    0x1p-24 /* of f32, for each of the terms of a sum and the few operations around it */

enum { BATCH = 6 };

static const struct bg_conv2d three = {.out_channels = 16,
                                       .kernel = {3, 3},
                                       .stride = {1, 1},
                                       .padding = {1, 1},
                                       .dilation = {1, 1},
                                       .groups = 1};
static const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};

static struct bg_node *conv(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    struct bg_node *out = NULL;

    OK(bg_node_conv2d(graph, name, x, &three, &out));
    return out;
}

static struct bg_node *conv_relu(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    char relu[BG_NAME_MAX];

    (void)snprintf(relu, sizeof relu, "%s.relu", name);
    x = conv(graph, name, x);
    OK(bg_node_relu(graph, relu, x, &x));
    return x;
}

/* Strides, a bias, a depthwise convolution (in f32), a max pool; no relu behind c2: a zero point.
 */
static struct bg_node *with_dropout(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_conv2d options = three;

    options.bias = true;
    options.stride[0] = options.stride[1] = 2;
    x = conv_relu(graph, "c1", x);
    OK(bg_node_dropout(graph, "drop", x, 0.3, &x));
    OK(bg_node_conv2d(graph, "c2", x, &options, &x));
    options.groups = 16;
    options.stride[0] = options.stride[1] = 1;
    OK(bg_node_conv2d(graph, "c3", x, &options, &x));
    OK(bg_node_relu6(graph, "r3", x, &x));
    OK(bg_node_max_pool(graph, "pool", x, &window, &x));
    OK(bg_node_dropout(graph, "drop2", x, 0.5, &x));
    return x;
}

static struct bg_node *with_concat(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *part[2];

    x = conv_relu(graph, "c1", x);
    part[0] = conv_relu(graph, "c2", x);
    part[1] = conv(graph, "c3", x);
    OK(bg_node_concat(graph, "both", part, 2, &x));
    return conv_relu(graph, "c4", x);
}

static struct bg_node *with_windows(struct bg_graph *graph, struct bg_node *x)
{
    x = conv_relu(graph, "c1", x);
    OK(bg_node_avg_pool(graph, "pool", x, &window, &x));
    return conv_relu(graph, "c2", x);
}

static struct bg_node *with_flatten(struct bg_graph *graph, struct bg_node *x)
{
    x = conv(graph, "c1", x);
    OK(bg_node_flatten(graph, "flat", x, &x));
    OK(bg_node_relu(graph, "r1", x, &x));
    OK(bg_node_linear(graph, "fc1", x, 20, true, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    return x;
}

static struct bg_node *with_sum(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *y = NULL;

    x = conv_relu(graph, "c1", x);
    y = conv(graph, "c2", x);
    x = conv(graph, "c3", x);
    OK(bg_node_add(graph, "sum", x, y, &x));
    OK(bg_node_batch_norm(graph, "norm", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    return x;
}

static struct bg_node *plain(struct bg_graph *graph, struct bg_node *x)
{
    x = conv_relu(graph, "c1", x);
    x = conv_relu(graph, "c2", x);
    OK(bg_node_batch_norm(graph, "norm", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    return conv_relu(graph, "c3", x);
}

static struct bg_node *deep(struct bg_graph *graph, struct bg_node *x)
{
    char name[BG_NAME_MAX];

    for (int i = 0; i < 10; i++) {
        (void)snprintf(name, sizeof name, "c%d", i);
        x = conv_relu(graph, name, x);
    }
    OK(bg_node_dropout(graph, "drop", x, 0.1, &x));
    return x;
}

static struct bg_node *with_groups(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_conv2d options = three;

    options.groups = 2;
    x = conv_relu(graph, "c1", x);
    OK(bg_node_conv2d(graph, "c2", x, &options, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    return x;
}

static const struct net {
    const char *name;
    struct bg_node *(*build)(struct bg_graph *graph, struct bg_node *x);
    enum bg_dtype dtype;    /* of the images */
    int weight, activation; /* bits */
    bool learned;
    const char *other; /* a layer with other bits: */
    int other_bits;    /* 0 = f32 */
    int coded, layers;
    const char *why;
} nets[] = {
    {"dropout", with_dropout, BG_F32, 8, 8, false, NULL, 0, 3, 4, "scales what it keeps"},
    {"dropout of few bits", with_dropout, BG_F32, 3, 4, false, NULL, 0, 3, 4, "scales what"},
    {"bytes and dropout", with_dropout, BG_U8, 5, 8, true, NULL, 0, 3, 4, "need every value"},
    {"concat", with_concat, BG_U8, 4, 8, false, NULL, 0, 5, 5, "is one part of"},
    {"windows", with_windows, BG_F32, 8, 6, false, NULL, 0, 3, 3, "averages windows"},
    {"flatten", with_flatten, BG_F32, 7, 7, false, NULL, 0, 3, 3, "is flattened before"},
    {"norm of a sum", with_sum, BG_F32, 6, 8, false, NULL, 0, 4, 4, "behind a sum"},
    {"12 bits beside 4", plain, BG_U8, 4, 4, false, "c3", 12, 3, 4, "c3: w has 12 bits"},
    {"f32 beside 8", plain, BG_U8, 8, 8, false, "c2", 0, 3, 4, "layer c2: w=f32"},
    {"learned steps", plain, BG_F32, 4, 4, true, NULL, 0, 4, 4, "need every value"},
    {"one bit", with_dropout, BG_U8, 1, 2, false, NULL, 0, 3, 4, "scales what it keeps"},
    {"many layers", deep, BG_F32, 8, 8, false, NULL, 0, 11, 11, "scales what it keeps"},
    {"groups", with_groups, BG_F32, 8, 8, false, NULL, 0, 2, 3, "in 2 groups"},
};
enum { NETS = sizeof nets / sizeof nets[0] };

/* support_min_max with the mark that it reads no more than the ends, so that it is not ranges that
 * keep a network from training fast; learned ones do. */
static struct bg_range_method extremes;

static void quantize(struct bg_graph *graph, const struct net *net)
{
    const struct bg_range_method *range = net->learned ? &support_learned : &extremes;
    const struct bg_quantize_options options = {.weight_range = range, .activation_range = range};
    struct bg_plan plan = {.count = 0};

    extremes = support_min_max;
    extremes.extremes = true;
    support_plan(&plan, graph, net->weight, net->activation);
    for (int i = 0; net->other != NULL && i < plan.count; i++) {
        struct bg_spec *spec = plan.layer[i].spec;
        if (strcmp(plan.layer[i].name, net->other) != 0)
            continue;
        for (int role = BG_ROLE_WEIGHT; role <= BG_ROLE_ACTIVATION; role++)
            if (net->other_bits > 0)
                spec[role].bits = net->other_bits;
            else
                spec[role] = (struct bg_spec){.format = BG_FORMAT_F32};
    }
    OK(bg_graph_quantize(graph, &plan, &options));
    bg_plan_free(&plan);
}

static struct bg_graph *make(const struct net *net, struct support_batch *data)
{
    const struct bg_sample_spec spec = {.height = 8,
                                        .width = 8,
                                        .channels = 3,
                                        .classes = 3,
                                        .dtype = net->dtype,
                                        .scale = 0.02f,
                                        .zero_point = 73};
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, &x));
    x = net->build(graph, x);
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.1, &x));
    bg_graph_initialise(graph, 5);
    support_batch_make(data, &spec, BATCH, 9);
    quantize(graph, net);
    return graph;
}

static struct bg_program *program(struct bg_graph *graph, bool keep_values)
{
    return support_program(graph, &(struct bg_program_options){.batch = BATCH,
                                                               .mode = BG_MODE_TRAIN,
                                                               .compute = BG_COMPUTE_FAST,
                                                               .observe = true,
                                                               .keep_values = keep_values});
}

/* --- one layer against the references --- */

static float *absolute(const float *x, int64_t n)
{
    float *out = NULL;

    OK(bg_alloc(&out, n, sizeof *out));
    for (int64_t i = 0; i < n; i++)
        out[i] = fabsf(x[i]);
    return out;
}

static float *fresh(int64_t n)
{
    float *out = NULL;

    OK(bg_alloc(&out, n, sizeof *out));
    return out;
}

struct layer {
    const struct net *net;
    const struct bg_step *step;
    struct bg_conv_shape shape;
    int64_t in, out, weights, outputs;
    float *x, *w, *dy; /* absolute values */
};

static void open_layer(struct layer *layer, const struct net *net, const struct bg_step *step)
{
    const struct bg_param *weight = step->node->param[0];

    *layer = (struct layer){.net = net, .step = step};
    layer->shape = strcmp(step->op->name, "linear") == 0 ? bg_linear_shape(step->node, BATCH)
                                                         : bg_conv2d_shape(step->node, BATCH);
    OK(bg_conv_shape_infer(&layer->shape));
    layer->in = bg_tensor_count(&step->in[0]);
    layer->out = bg_tensor_count(&step->out);
    layer->weights = bg_tensor_count(&weight->value);
    layer->outputs = weight->value.shape.dims[0];
    layer->x = absolute(bg_f32(&step->in[0]), layer->in);
    layer->w = absolute(bg_f32(&weight->forward), layer->weights);
    layer->dy = absolute(bg_f32(&step->d_out), layer->out);
}

static void close_layer(struct layer *layer)
{
    bg_free(layer->x);
    bg_free(layer->w);
    bg_free(layer->dy);
}

static void expect_close(const struct layer *layer, const char *what, const float *got,
                         const float *wanted, const float *size, const double bound[2], int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double most = bound[0] * fabs((double)wanted[i]) + bound[1] * (double)size[i];
        cr_assert(fabs((double)got[i] - (double)wanted[i]) <= most,
                  "%s: %s of %s [%lld]: %g, not %g; %g may be between them", layer->net->name, what,
                  layer->step->node->name, (long long)i, (double)got[i], (double)wanted[i], most);
    }
}

/* out - bias = s_a s_w z, and z is rounded: 2^-8 of it. */
static void check_forward(const struct layer *layer)
{
    const struct bg_node *node = layer->step->node;
    float *wanted = fresh(layer->out), *size = fresh(layer->out), *got = fresh(layer->out);
    const int64_t fan_in = layer->weights / layer->outputs;

    bg_ref_conv_forward(&layer->shape, bg_f32(&layer->step->in[0]),
                        bg_f32(&node->param[0]->forward), NULL, wanted);
    bg_ref_conv_forward(&layer->shape, layer->x, layer->w, NULL, size);
    for (int64_t i = 0; i < layer->out; i++) {
        float bias = node->params > 1 ? bg_f32(&node->param[1]->value)[i % layer->outputs] : 0.0f;
        got[i] = bg_f32(&layer->step->out)[i] - bias;
        size[i] += fabsf(bias);
    }
    expect_close(layer, "value", got, wanted, size, (double[2]){HALF, (double)(fan_in + 8) * U},
                 layer->out);
    bg_free(wanted);
    bg_free(size);
    bg_free(got);
}

/* dz is rounded, 2^-8 of every product; the sum of P pixels is in f32. Behind it the
 * straight-through mask, which is the reference's too. */
static void check_weights(const struct layer *layer, const float *got)
{
    const struct bg_node *node = layer->step->node;
    const struct bg_param *weight = node->param[0];
    const struct bg_grid *grid = &weight->quantizer->grid;
    float *wanted = fresh(layer->weights), *size = fresh(layer->weights);
    float *bias = fresh(layer->outputs), *bias_size = fresh(layer->outputs);
    const int64_t n = layer->weights / grid->channels;
    const int64_t pixels = layer->out / layer->outputs;

    bg_ref_conv_backward_weights(&layer->shape, bg_f32(&layer->step->in[0]),
                                 bg_f32(&layer->step->d_out), wanted, bias);
    bg_ref_conv_backward_weights(&layer->shape, layer->x, layer->dy, size, bias_size);
    for (int64_t c = 0; c < grid->channels && !grid->binary; c++)
        bg_kernel_project_backward(grid, c, bg_f32(&weight->value) + c * n, wanted + c * n, n,
                                   wanted + c * n);
    expect_close(layer, "weight gradient", got, wanted, size,
                 (double[2]){0.0, HALF + (double)(pixels + 16) * U}, layer->weights);
    if (node->params > 1)
        expect_close(layer, "bias gradient", bg_f32(&node->param[1]->grad), bias, bias_size,
                     (double[2]){0.0, (double)(pixels + 32) * U}, layer->outputs);
    bg_free(wanted);
    bg_free(size);
    bg_free(bias);
    bg_free(bias_size);
}

/* dz is rounded, then the sum: each 2^-8. */
static void check_input(const struct layer *layer, const float *got)
{
    float *wanted = fresh(layer->in), *size = fresh(layer->in);
    const int64_t fan_out = layer->weights / layer->shape.in_channels;

    bg_ref_conv_backward_data(&layer->shape, bg_f32(&layer->step->d_out),
                              bg_f32(&layer->step->node->param[0]->forward), wanted);
    bg_ref_conv_backward_data(&layer->shape, layer->dy, layer->w, size);
    expect_close(layer, "input gradient", got, wanted, size,
                 (double[2]){HALF, 1.01 * HALF + (double)(fan_out + 16) * U}, layer->in);
    bg_free(wanted);
    bg_free(size);
}

struct watch {
    const struct net *net;
    const struct bg_program *program;
    int inputs, weights; /* checked */
};

static void see(void *self, int index, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct watch *watch = self;
    const struct bg_program *all = watch->program;

    for (int s = 0; s < all->steps; s++) {
        struct layer layer;
        const struct bg_step *step = &all->step[s];
        if (step->node->layer != index || (step->op->flags & BG_OP_LAYER) == 0 ||
            quantity == BG_QUANTITY_OUT_GRAD || !bg_weighted_is_coded(step))
            continue;
        open_layer(&layer, watch->net, step);
        if (quantity == BG_QUANTITY_WEIGHT_GRAD) {
            check_forward(&layer);
            check_weights(&layer, bg_f32(gradient));
            watch->weights++;
        } else {
            check_input(&layer, bg_f32(gradient));
            watch->inputs++;
        }
        close_layer(&layer);
    }
}

Test(coded, every_pass_of_every_layer_is_the_references_within_bf16)
{
    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int i = 0; i < NETS; i++) {
        struct support_batch data;
        struct bg_graph *graph = make(&nets[i], &data);
        struct bg_program *one = program(graph, true);
        struct watch watch = {.net = &nets[i], .program = one};
        struct bg_observer observer = {.self = &watch, .see = see};
        struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE, .seed = 3};
        /* twice: the second time with weights that have moved, and ranges from before */
        for (int step = 0; step < 2; step++) {
            moment.step = (uint64_t)step;
            moment.observer = &observer;
            support_step(one, &data.batch, &moment);
            support_descend(graph, 0.05);
        }
        cr_expect(watch.inputs == 2 * nets[i].coded && watch.weights == 2 * nets[i].coded,
                  "%s: %d and %d of %d", nets[i].name, watch.inputs, watch.weights, nets[i].coded);
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

/* --- programs --- */

Test(coded, programs_say_how_many_layers_run_on_codes_and_why_not_all_is_fast)
{
    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int i = 0; i < NETS; i++) {
        struct support_batch data;
        struct bg_graph *graph = make(&nets[i], &data);
        struct bg_program *one = program(graph, false);
        struct bg_fastness fastness = bg_program_fastness(one);
        char text[512];
        int own = 0;
        cr_expect(!fastness.whole && fastness.coded == nets[i].coded &&
                      fastness.layers == nets[i].layers,
                  "%s: %d of %d", nets[i].name, fastness.coded, fastness.layers);
        cr_expect(strstr(fastness.why, nets[i].why) != NULL, "%s: %s", nets[i].name, fastness.why);
        for (int k = 0; k < bg_program_implementation_count(one); k++) {
            struct bg_implementation names = bg_program_implementation(one, k);
            own += strcmp(names.forward, "own:amx") == 0 &&
                   strcmp(names.forward, names.backward_weights) == 0;
        }
        cr_expect(own == nets[i].coded, "%s: %d own layers", nets[i].name, own);
        bg_fastness_text(&fastness, text, sizeof text);
        cr_expect(strstr(text, "partly fast: ") == text && strstr(text, fastness.why) != NULL);
        cr_expect(
            bg_program_forward(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_BYPASS}) ==
            BG_E_USAGE);
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

Test(coded, a_network_in_f32_has_no_layer_on_codes)
{
    struct support_batch data;
    struct bg_graph *graph = make(&nets[0], &data);
    struct bg_program *one = NULL;

    OK(bg_graph_quantize(graph, NULL, NULL));
    one = program(graph, false);
    cr_expect(bg_program_fastness(one).coded == 0 && !bg_program_fastness(one).whole);
    cr_expect(bg_program_fastness(one).why[0] != '\0');
    support_step(one, &data.batch, &(struct bg_run_moment){.flags = 0});
    OK(bg_program_forward(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_BYPASS}));
    bg_program_destroy(one);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

enum { STEPS = 30 };

static void descend(const struct net *net, bool keep_values, double loss[STEPS])
{
    struct support_batch data;
    struct bg_graph *graph = make(net, &data);
    struct bg_program *one = program(graph, keep_values);
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN, .seed = 3};

    for (int step = 0; step < STEPS; step++) {
        uint64_t calls = bg_alloc_calls();
        moment.step = (uint64_t)step;
        support_step(one, &data.batch, &moment);
        support_descend(graph, 0.05);
        cr_expect(bg_alloc_calls() == calls, "%s: step %d", net->name, step);
        loss[step] = bg_program_loss(one);
    }
    bg_program_destroy(one);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* With shared memory as with memory of its own for every value: nothing is read after its time. */
Test(coded, training_allocates_nothing_is_repeatable_and_lowers_the_loss)
{
    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    for (int i = 0; i < NETS; i++) {
        double shared[STEPS], own[STEPS], end = 0.0;
        descend(&nets[i], false, shared);
        descend(&nets[i], true, own);
        for (int step = 0; step < STEPS; step++)
            cr_expect(shared[step] == own[step], "%s: step %d: %.17g and %.17g", nets[i].name, step,
                      shared[step], own[step]);
        for (int step = STEPS - 5; step < STEPS; step++)
            end += shared[step] / 5.0; /* dropout: a mean */
        cr_expect(end < shared[0], "%s: from %g to %g", nets[i].name, shared[0], end);
    }
}

/* The codes stand for the f32 input in backward: a byte instead of four a value. */
Test(coded, memory_is_less_than_that_of_an_exact_program)
{
    struct support_batch data;
    struct bg_graph *graph = NULL;
    struct bg_program *coded = NULL, *exact = NULL;

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    graph = make(&nets[NETS - 2], &data);
    coded = program(graph, false);
    exact = support_program(graph, &(struct bg_program_options){
                                       .batch = BATCH, .mode = BG_MODE_TRAIN, .observe = true});
    cr_expect(bg_program_bytes(coded) < bg_program_bytes(exact), "%lld and %lld bytes",
              (long long)bg_program_bytes(coded), (long long)bg_program_bytes(exact));
    bg_program_destroy(coded);
    bg_program_destroy(exact);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}
