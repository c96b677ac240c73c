/* Helpers for tests of graphs and programs. */
#include "support_graph.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/method.h"
#include "core/rng.h"

static struct bg_rng stream(uint64_t seed)
{
    return (struct bg_rng){.seed = seed, .stream = BG_STREAM_TEST};
}

float support_integer(uint64_t seed, int64_t index, int limit)
{
    struct bg_rng rng = stream(seed);

    return (float)((int)bg_rng_below(&rng, (uint64_t)index, (uint32_t)(2 * limit + 1)) - limit);
}

void support_batch_make(struct support_batch *out, const struct bg_sample_spec *spec, int64_t size,
                        uint64_t seed)
{
    int64_t n = size * spec->height * spec->width * spec->channels;
    struct bg_rng rng = stream(seed);

    *out = (struct support_batch){.images = NULL};
    OK(bg_alloc(&out->images, n, sizeof(float)));
    OK(bg_alloc(&out->codes, n, 1));
    OK(bg_alloc(&out->labels, size, sizeof(int32_t)));
    for (int64_t i = 0; i < n; i++) {
        out->images[i] = (float)bg_rng_normal(&rng, (uint64_t)i);
        out->codes[i] = (uint8_t)bg_rng_below(&rng, (uint64_t)i, 256);
    }
    for (int64_t i = 0; i < size; i++)
        out->labels[i] = (int32_t)bg_rng_below(&rng, (uint64_t)(n + i), (uint32_t)spec->classes);
    out->batch = (struct bg_batch){.size = size, .dtype = spec->dtype, .labels = out->labels};
    out->batch.images = spec->dtype == BG_U8 ? (const void *)out->codes : out->images;
}

void support_batch_free(struct support_batch *batch)
{
    bg_free(batch->images);
    bg_free(batch->codes);
    bg_free(batch->labels);
}

static struct bg_node *conv(struct bg_graph *graph, const char *name, struct bg_node *x,
                            const struct bg_conv2d *options)
{
    struct bg_node *out = NULL;

    OK(bg_node_conv2d(graph, name, x, options, &out));
    return out;
}

static struct bg_node *conv3(struct bg_graph *graph, const char *name, struct bg_node *x,
                             int64_t channels, int64_t stride)
{
    const struct bg_conv2d options = {.out_channels = channels,
                                      .kernel = {3, 3},
                                      .stride = {stride, stride},
                                      .padding = {1, 1},
                                      .dilation = {1, 1},
                                      .groups = 1};

    return conv(graph, name, x, &options);
}

static struct bg_node *head(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *out = NULL;

    OK(bg_node_linear(graph, "fc", x, 3, true, &out));
    return out;
}

static struct bg_node *norm(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    struct bg_node *out = NULL;

    OK(bg_node_batch_norm(graph, name, x, 1e-5, 0.1, &out));
    return out;
}

static struct bg_node *relu(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    struct bg_node *out = NULL;

    OK(bg_node_relu(graph, name, x, &out));
    return out;
}

static struct bg_node *add(struct bg_graph *graph, const char *name, struct bg_node *a,
                           struct bg_node *b)
{
    struct bg_node *out = NULL;

    OK(bg_node_add(graph, name, a, b, &out));
    return out;
}

static struct bg_node *case_linear(struct bg_graph *graph, struct bg_node *x)
{
    return head(graph, x);
}

static struct bg_node *case_conv(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_conv2d options = {.out_channels = 4,
                                      .kernel = {3, 2},
                                      .stride = {2, 1},
                                      .padding = {1, 0},
                                      .dilation = {1, 2},
                                      .groups = 2,
                                      .bias = true};

    return head(graph, conv(graph, "conv", x, &options));
}

static struct bg_node *case_relu(struct bg_graph *graph, struct bg_node *x)
{
    return head(graph, relu(graph, "relu", conv3(graph, "conv", x, 3, 1)));
}

static struct bg_node *case_norm(struct bg_graph *graph, struct bg_node *x)
{
    return head(graph, norm(graph, "norm", conv3(graph, "conv", x, 3, 1)));
}

static struct bg_node *case_norm_relu(struct bg_graph *graph, struct bg_node *x)
{
    return head(graph, relu(graph, "relu", norm(graph, "norm", x)));
}

static struct bg_node *case_max_pool(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_pool2d options = {.kernel = {3, 2}, .stride = {2, 2}, .padding = {1, 0}};
    struct bg_node *pool = NULL;

    OK(bg_node_max_pool(graph, "pool", conv3(graph, "conv", x, 3, 1), &options, &pool));
    return head(graph, pool);
}

static struct bg_node *case_avg_pool(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_pool2d options = {.kernel = {2, 3}, .stride = {2, 1}, .padding = {1, 1}};
    struct bg_node *pool = NULL;

    OK(bg_node_avg_pool(graph, "pool", x, &options, &pool));
    return head(graph, pool);
}

static struct bg_node *case_global_pool(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *pool = NULL;

    OK(bg_node_global_pool(graph, "pool", conv3(graph, "conv", x, 4, 1), &pool));
    return head(graph, pool);
}

static struct bg_node *case_flatten(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *flat = NULL;

    OK(bg_node_flatten(graph, "flat", relu(graph, "relu", x), &flat));
    return head(graph, flat);
}

static struct bg_node *flatten(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    struct bg_node *out = NULL;

    OK(bg_node_flatten(graph, name, x, &out));
    return out;
}

/* Channels of the layer repeat in what is on the grid. */
static struct bg_node *case_flatten_layer(struct bg_graph *graph, struct bg_node *x)
{
    return head(graph, relu(graph, "relu", flatten(graph, "flat", conv3(graph, "conv", x, 3, 1))));
}

static struct bg_node *case_flatten_norm(struct bg_graph *graph, struct bg_node *x)
{
    x = norm(graph, "norm", flatten(graph, "flat", conv3(graph, "conv", x, 3, 1)));
    return head(graph, relu(graph, "relu", x));
}

static struct bg_node *case_flatten_logits(struct bg_graph *graph, struct bg_node *x)
{
    return flatten(graph, "flat", conv3(graph, "conv", relu(graph, "relu", x), 1, 1));
}

static struct bg_node *case_dropout(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *drop = NULL;

    OK(bg_node_dropout(graph, "drop", conv3(graph, "conv", x, 2, 1), 0.4, &drop));
    return head(graph, drop);
}

/* A node used twice by one add, and again by another. */
static struct bg_node *case_add_same(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *a = conv3(graph, "conv", x, 2, 1), *twice = add(graph, "twice", a, a);

    return head(graph, add(graph, "thrice", twice, a));
}

/* Chains of adds that share gradients' memory where they may and must copy where not. */
static struct bg_node *case_add_chain(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *a = conv3(graph, "conv_a", x, 2, 1), *b = relu(graph, "b", a);
    struct bg_node *c = add(graph, "c", b, a), *d = conv3(graph, "conv_d", c, 2, 1);
    struct bg_node *e = add(graph, "e", a, d), *f = add(graph, "f", c, b);

    return head(graph, add(graph, "g", relu(graph, "r", e), add(graph, "h", f, c)));
}

static struct bg_node *concat(struct bg_graph *graph, const char *name,
                              struct bg_node *const *inputs, int count)
{
    struct bg_node *out = NULL;

    OK(bg_node_concat(graph, name, inputs, count, &out));
    return out;
}

/* Four times a convolution's output, so that values lie on both sides of 6. */
static struct bg_node *case_relu6(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *out = conv3(graph, "conv", x, 3, 1);

    out = add(graph, "twice", out, out);
    out = add(graph, "four_times", out, out);
    OK(bg_node_relu6(graph, "relu6", out, &out));
    return head(graph, out);
}

/* One part needs no gradient (the input), one is read elsewhere too. */
static struct bg_node *case_concat(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *a = conv3(graph, "conv_a", x, 3, 1), *b = relu(graph, "relu", a);
    struct bg_node *joined = concat(graph, "cat", (struct bg_node *[]){x, a, b}, 3);

    return head(graph, relu(graph, "last", conv3(graph, "conv_b", joined, 2, 1)));
}

static struct bg_node *case_concat_same(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *a = conv3(graph, "conv", x, 2, 1);
    struct bg_node *twice = concat(graph, "twice", (struct bg_node *[]){a, a}, 2);

    return head(graph, concat(graph, "cat", (struct bg_node *[]){twice, a, x, twice}, 4));
}

/* Concats behind, in front of and beside residual adds of the same tensors. */
static struct bg_node *case_concat_in_adds(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *a = conv3(graph, "conv_a", x, 2, 1), *b = relu(graph, "b", a);
    struct bg_node *c = concat(graph, "c", (struct bg_node *[]){a, b}, 2);
    struct bg_node *d = add(graph, "d", conv3(graph, "conv_d", c, 4, 1), c);
    struct bg_node *e = concat(graph, "e", (struct bg_node *[]){d, a, d}, 3);
    struct bg_node *f = concat(graph, "f", (struct bg_node *[]){add(graph, "ab", a, b), c, d}, 3);

    return head(graph, add(graph, "g", e, f));
}

struct bg_node *support_residual(struct bg_graph *graph, struct bg_node *input)
{
    const struct bg_conv2d point = {
        .out_channels = 6, .kernel = {1, 1}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1};
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};
    struct bg_node *x =
        relu(graph, "relu0", norm(graph, "norm0", conv3(graph, "conv0", input, 4, 1)));
    struct bg_node *y = relu(graph, "relu1", norm(graph, "norm1", conv3(graph, "conv1", x, 4, 1)));

    y = norm(graph, "norm2", conv3(graph, "conv2", y, 4, 1));
    x = relu(graph, "relu2", add(graph, "add2", y, x));
    y = relu(graph, "relu3", norm(graph, "norm3", conv3(graph, "conv3", x, 6, 2)));
    y = norm(graph, "norm4", conv3(graph, "conv4", y, 6, 1));
    x = norm(graph, "short", conv(graph, "shortcut", x, &point));
    x = relu(graph, "relu4", add(graph, "add4", y, x));
    OK(bg_node_max_pool(graph, "pool", x, &window, &x));
    OK(bg_node_dropout(graph, "drop", x, 0.25, &x));
    OK(bg_node_global_pool(graph, "global", x, &x));
    return head(graph, x);
}

/* A norm of one branch's own channels, not of the concat's. */
static struct bg_node *case_norm_in_concat(struct bg_graph *graph, struct bg_node *x)
{
    struct bg_node *parts[2] = {conv3(graph, "conv_a", x, 3, 1),
                                norm(graph, "norm", conv3(graph, "conv_b", x, 2, 1))};

    return head(graph, relu(graph, "relu", concat(graph, "both", parts, 2)));
}

#define SAMPLE(h_, w_, c_)                                                                         \
    {                                                                                              \
        .height = (h_), .width = (w_), .channels = (c_), .classes = 3, .dtype = BG_F32             \
    }

const struct support_case support_cases[] = {
    {"linear", SAMPLE(1, 1, 5), case_linear},
    {"linear of an image", SAMPLE(3, 2, 2), case_linear},
    {"conv2d", SAMPLE(5, 4, 4), case_conv},
    {"relu", SAMPLE(4, 3, 2), case_relu},
    {"batch_norm", SAMPLE(3, 3, 2), case_norm},
    {"batch_norm and relu", SAMPLE(3, 3, 2), case_norm_relu},
    {"max_pool", SAMPLE(5, 4, 2), case_max_pool},
    {"avg_pool", SAMPLE(4, 4, 3), case_avg_pool},
    {"global_pool", SAMPLE(3, 5, 2), case_global_pool},
    {"flatten", SAMPLE(2, 3, 2), case_flatten},
    {"dropout", SAMPLE(3, 3, 2), case_dropout},
    {"add of one node", SAMPLE(3, 3, 1), case_add_same},
    {"chain of adds", SAMPLE(3, 3, 1), case_add_chain},
    {"relu6", SAMPLE(4, 3, 2), case_relu6},
    {"concat", SAMPLE(3, 2, 1), case_concat},
    {"concat of one node", SAMPLE(3, 2, 2), case_concat_same},
    {"concat in adds", SAMPLE(3, 3, 1), case_concat_in_adds},
    {"residual", SAMPLE(8, 8, 2), support_residual},
    {"flatten of a layer", SAMPLE(3, 2, 2), case_flatten_layer},
    {"norm of a flatten", SAMPLE(3, 2, 2), case_flatten_norm},
    {"flattened logits", SAMPLE(3, 1, 2), case_flatten_logits},
    {"norm in a concat", SAMPLE(3, 2, 2), case_norm_in_concat},
};
const int support_case_count = (int)(sizeof support_cases / sizeof support_cases[0]);

struct bg_graph *support_case_graph(const struct support_case *test, uint64_t seed)
{
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &test->sample, &x));
    x = test->build(graph, x);
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.1, &x));
    bg_graph_initialise(graph, seed);
    return graph;
}

struct bg_program *support_program(struct bg_graph *graph, const struct bg_program_options *options)
{
    struct bg_program *program = NULL;

    OK(bg_program_create(&program, graph, options));
    return program;
}

void support_step(struct bg_program *program, const struct bg_batch *batch,
                  const struct bg_run_moment *moment)
{
    OK(bg_program_forward(program, batch, moment));
    OK(bg_program_backward(program, moment));
}

void support_descend(struct bg_graph *graph, double lr)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        int64_t n = bg_tensor_count(&param->value);
        if (!bg_param_trainable(param))
            continue;
        for (int64_t k = 0; k < n; k++)
            bg_f32(&param->value)[k] -= (float)lr * bg_f32(&param->grad)[k];
        param->version++;
    }
}

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    float lo = quantizer->observed == 0 ? x[0] : quantizer->lo[channel];
    float hi = quantizer->observed == 0 ? x[0] : quantizer->hi[channel];

    (void)options;
    for (int64_t i = 0; i < n; i++) {
        lo = x[i] < lo || isnan(x[i]) ? x[i] : lo;
        hi = x[i] > hi || isnan(x[i]) ? x[i] : hi;
    }
    quantizer->lo[channel] = lo;
    quantizer->hi[channel] = hi;
    return BG_OK;
}

/* LSQ's start as a symmetric range: qmax * 2 mean|x| / sqrt(qmax). */
static enum bg_status observe_learned(const void *options, struct bg_quantizer *quantizer,
                                      int64_t channel, const float *x, int64_t n)
{
    double sum = 0.0;

    (void)options;
    cr_assert(quantizer->observed == 0);
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)x[i]);
    quantizer->hi[channel] = (float)(2.0 * sum / (double)n * sqrt(quantizer->grid.qmax));
    quantizer->lo[channel] = -quantizer->hi[channel];
    return BG_OK;
}

const struct bg_range_method support_min_max = {.name = "min-max", .observe = observe};
const struct bg_range_method support_learned = {
    .name = "learned", .learned = true, .observe = observe_learned};

void support_plan(struct bg_plan *out, const struct bg_graph *graph, int weight_bits,
                  int activation_bits)
{
    const char *names[64];
    int count = bg_graph_layer_count(graph);

    cr_assert(count <= 64);
    for (int i = 0; i < count; i++)
        names[i] = bg_node_name(bg_graph_layer(graph, i));
    OK(bg_plan_make(out, names, count));
    for (int i = 0; i < count; i++) {
        struct bg_spec *spec = out->layer[i].spec;
        if (weight_bits > 0)
            spec[BG_ROLE_WEIGHT] = (struct bg_spec){BG_FORMAT_INTEGER, weight_bits, true};
        if (activation_bits > 0)
            spec[BG_ROLE_ACTIVATION] = (struct bg_spec){BG_FORMAT_INTEGER, activation_bits, false};
    }
}

void support_quantize(struct bg_graph *graph, int weight_bits, int activation_bits, bool learned)
{
    const struct bg_range_method *method = learned ? &support_learned : &support_min_max;
    const struct bg_quantize_options options = {.weight_range = method, .activation_range = method};
    struct bg_plan plan = {.count = 0};

    support_plan(&plan, graph, weight_bits, activation_bits);
    OK(bg_graph_quantize(graph, &plan, &options));
    bg_plan_free(&plan);
}

struct bg_graph *support_start(enum bg_dtype dtype, int32_t zero_point, struct bg_node **x)
{
    const struct bg_sample_spec spec = {.height = 6,
                                        .width = 6,
                                        .channels = 2,
                                        .classes = 3,
                                        .dtype = dtype,
                                        .scale = 0.01f,
                                        .zero_point = zero_point};
    struct bg_graph *graph = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, x));
    return graph;
}

struct bg_node *support_conv(struct bg_graph *graph, const char *name, struct bg_node *x)
{
    const struct bg_conv2d options = {.out_channels = 2,
                                      .kernel = {3, 3},
                                      .stride = {1, 1},
                                      .padding = {1, 1},
                                      .dilation = {1, 1},
                                      .groups = 1};
    struct bg_node *out = NULL;

    OK(bg_node_conv2d(graph, name, x, &options, &out));
    return out;
}

void support_finish(struct bg_graph *graph, struct bg_node *x)
{
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.0, &x));
    bg_graph_initialise(graph, 1);
}

/* input -> conv -> relu -> {one, two} -> add -> fc */
struct bg_graph *support_fork(void)
{
    struct bg_node *x = NULL, *y = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);

    x = support_conv(graph, "conv", x);
    OK(bg_node_relu(graph, "relu", x, &x));
    y = support_conv(graph, "one", x);
    x = support_conv(graph, "two", x);
    OK(bg_node_add(graph, "add", x, y, &x));
    support_finish(graph, x);
    return graph;
}
