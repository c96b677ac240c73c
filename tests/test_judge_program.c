/* The judge against integer programs: no code and no logit differs on small networks in every mode,
 * and a weight code, a tensor or a mode that is changed in the model does not go unnoticed. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/integer.h"
#include "core/dnn.h"
#include "layers/judge.h"
#include "support_graph.h"

#define BATCH 3

/* Norms and biases as training leaves them: factors of both signs, any offset. `positive`: gammas
 * that the integer modes take for terms without weights too. */
static void unsettle(struct bg_graph *graph, bool positive)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        for (int64_t k = 0; k < bg_tensor_count(&param->value); k++) {
            float *value = &bg_f32(&param->value)[k];
            float draw = support_integer((uint64_t)i + 1, k, 100) / 100.0f;
            if (param->kind == BG_PARAM_GAMMA)
                *value = positive ? 1.0f + draw / 2.0f : draw == 0.0f ? 1.0f : draw;
            else if (param->kind == BG_PARAM_RUNNING_VAR)
                *value = 1.05f + draw;
            else if (param->kind != BG_PARAM_WEIGHT)
                *value = draw;
        }
        param->version++;
    }
}

/* Ranges from one batch; the norms' running statistics stay as they are. */
static void calibrate(struct bg_graph *graph, const struct bg_batch *batch)
{
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_BYPASS};
    struct bg_program *program =
        support_program(graph, &(struct bg_program_options){.batch = batch->size});

    OK(bg_program_forward(program, batch, &moment));
    bg_program_destroy(program);
}

/* A network's model, a program of it, its judge and a batch. */
struct trial {
    struct bg_graph *graph;
    struct support_batch data;
    struct bg_integer_model *model;
    struct bg_integer_program *program;
    struct bg_judge *judge;
};

static void trial_close(struct trial *trial)
{
    bg_judge_destroy(trial->judge);
    bg_integer_program_destroy(trial->program);
    bg_integer_model_destroy(trial->model);
    support_batch_free(&trial->data);
    bg_graph_destroy(trial->graph);
}

static void trial_open(struct trial *out, struct bg_graph *graph, enum bg_requant_mode mode)
{
    *out = (struct trial){.graph = graph};
    support_batch_make(&out->data, bg_node_sample_spec(bg_graph_node(graph, 0)), BATCH, 5);
    calibrate(graph, &out->data.batch);
    OK(bg_integer_model_create(&out->model, graph, &mode));
    /* The path changes nothing: each gets its turn. */
    OK(bg_integer_program_create(&out->program, out->model, BATCH, (enum bg_int_path)(mode % 3),
                                 true));
    OK(bg_judge_create(&out->judge, graph, mode));
}

static int64_t trial_run(struct trial *trial, const char *what)
{
    int64_t differ = 0;

    OK(bg_integer_program_run(trial->program, &trial->data.batch));
    OK(bg_judge_batch(trial->judge, &trial->data.batch, trial->model, trial->program));
    for (int i = 0; i < bg_judge_count(trial->judge); i++) {
        struct bg_judge_tensor tensor = bg_judge_result(trial->judge, i);
        differ += tensor.differ;
        cr_expect(tensor.outputs > 0 && tensor.constant > 0.0);
        cr_expect((tensor.differ == 0) == (tensor.sample < 0));
        if (tensor.differ > 0)
            cr_log_warn("%s: %s: %d of %d differ, first sample %d element %d: %.9g, %.9g", what,
                        tensor.name, (int)tensor.differ, (int)tensor.outputs, (int)tensor.sample,
                        (int)tensor.element, tensor.expected, tensor.found);
    }
    return differ;
}

static struct bg_node *conv(struct bg_graph *graph, const char *name, struct bg_node *x,
                            int64_t channels, int64_t kernel, int64_t stride)
{
    const struct bg_conv2d options = {.out_channels = channels,
                                      .kernel = {kernel, kernel},
                                      .stride = {stride, stride},
                                      .padding = {kernel / 2, kernel / 2},
                                      .dilation = {1, 1},
                                      .groups = 1,
                                      .bias = true};

    OK(bg_node_conv2d(graph, name, x, &options, &x));
    return x;
}

/* Convolution, max pool, relu in both orders, flatten, dropout, two linear layers. */
static struct bg_node *lenet(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};

    x = conv(graph, "conv1", x, 4, 5, 1);
    OK(bg_node_max_pool(graph, "pool1", x, &window, &x));
    OK(bg_node_relu(graph, "relu1", x, &x));
    x = conv(graph, "conv2", x, 6, 3, 1);
    OK(bg_node_relu(graph, "relu2", x, &x));
    OK(bg_node_max_pool(graph, "pool2", x, &window, &x));
    OK(bg_node_flatten(graph, "flatten", x, &x));
    OK(bg_node_linear(graph, "fc1", x, 10, true, &x));
    OK(bg_node_relu6(graph, "relu3", x, &x));
    OK(bg_node_dropout(graph, "dropout", x, 0.3, &x));
    OK(bg_node_linear(graph, "fc2", x, 3, true, &x));
    return x;
}

/* A norm over a concat of a pooled branch, a normed branch and codes; an average without padding.
 */
static struct bg_node *branches(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_pool2d same = {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}};
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};
    struct bg_node *parts[3], *y = NULL;

    OK(bg_node_relu(graph, "relu0", conv(graph, "conv0", x, 4, 3, 1), &x));
    OK(bg_node_batch_norm(graph, "norm1", conv(graph, "conv1", x, 3, 1, 1), 1e-5, 0.1, &parts[0]));
    OK(bg_node_max_pool(graph, "pool", x, &same, &y));
    parts[1] = conv(graph, "conv2", y, 2, 1, 1);
    parts[2] = x;
    OK(bg_node_concat(graph, "concat", parts, 3, &x));
    OK(bg_node_relu6(graph, "relu1", x, &x));
    OK(bg_node_avg_pool(graph, "mean", x, &window, &x));
    OK(bg_node_concat(graph, "again", (struct bg_node *[]){x, conv(graph, "conv3", x, 2, 3, 1)}, 2,
                      &x));
    OK(bg_node_batch_norm(graph, "norm2", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "relu2", x, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    return x;
}

/* Norms over sums of two and four terms: layers, codes and a pool of codes. */
static struct bg_node *sums(struct bg_graph *graph, struct bg_node *x)
{
    const struct bg_pool2d same = {.kernel = {1, 1}, .stride = {1, 1}};
    struct bg_node *y = conv(graph, "conv1", x, 4, 3, 2), *z = conv(graph, "conv2", x, 4, 1, 2);

    OK(bg_node_add(graph, "add1", y, z, &x));
    OK(bg_node_batch_norm(graph, "norm1", x, 1e-5, 0.1, &x));
    OK(bg_node_relu6(graph, "relu1", x, &x));
    OK(bg_node_add(graph, "add2", x, conv(graph, "conv3", x, 4, 3, 1), &y));
    OK(bg_node_batch_norm(graph, "norm2", conv(graph, "conv4", y, 4, 1, 1), 1e-5, 0.1, &z));
    OK(bg_node_avg_pool(graph, "mean", x, &same, &x));
    OK(bg_node_add(graph, "add3", z, y, &z));
    OK(bg_node_add(graph, "add4", z, x, &x));
    OK(bg_node_batch_norm(graph, "norm3", x, 1e-5, 0.1, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    return x;
}

static struct bg_graph *graph_of(struct bg_node *(*build)(struct bg_graph *, struct bg_node *),
                                 enum bg_dtype dtype)
{
    const struct bg_sample_spec spec = {.height = 8,
                                        .width = 8,
                                        .channels = 2,
                                        .classes = 3,
                                        .dtype = dtype,
                                        .scale = 0.015f,
                                        .zero_point = 100};
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", build(graph, x), 0.0, &x));
    bg_graph_initialise(graph, 7);
    return graph;
}

Test(judge_program, nothing_differs_in_any_mode)
{
    struct bg_node *(*const builds[])(struct bg_graph *,
                                      struct bg_node *) = {lenet, support_residual, branches, sums};
    const int widths[][2] = {{8, 8}, {4, 4}, {2, 3}, {1, 8}};
    char what[64];

    for (int build = 0; build < 4; build++)
        for (int mode = 0; mode < BG_REQUANT_MODES; mode++)
            for (int width = 0; width < 4; width++) {
                struct trial trial;
                struct bg_graph *graph = graph_of(builds[build], width == 1 ? BG_F32 : BG_U8);
                unsettle(graph, build >= 2);
                support_quantize(graph, widths[width][0], widths[width][1], width == 2);
                trial_open(&trial, graph, (enum bg_requant_mode)mode);
                (void)snprintf(what, sizeof what, "build %d, mode %d, width %d", build, mode,
                               width);
                cr_expect(trial_run(&trial, what) == 0, "%s", what);
                trial_close(&trial);
            }
}

/* Both accept a network or both refuse it; what they accept is equal. */
Test(judge_program, product_and_judge_accept_the_same)
{
    const struct bg_quantize_options options = {.weight_range = &support_min_max,
                                                .activation_range = &support_min_max};
    int accepted = 0, refused = 0;

    for (int i = 0; i < support_case_count; i++)
        for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
            struct trial trial = {.graph = support_case_graph(&support_cases[i], 3)};
            struct bg_plan plan = {.count = 0};
            enum bg_status product = BG_OK, judge = BG_OK;
            enum bg_requant_mode as = (enum bg_requant_mode)mode;
            unsettle(trial.graph, false);
            support_plan(&plan, trial.graph, 5, 6);
            product = bg_graph_quantize(trial.graph, &plan, &options);
            bg_plan_free(&plan);
            if (product == BG_OK) {
                support_batch_make(&trial.data, &support_cases[i].sample, BATCH, 5);
                calibrate(trial.graph, &trial.data.batch);
                product = bg_integer_model_create(&trial.model, trial.graph, &as);
                judge = bg_judge_create(&trial.judge, trial.graph, as);
                cr_expect(product == judge, "%s, mode %d: %d, %d: %s", support_cases[i].name, mode,
                          (int)product, (int)judge, bg_error());
            }
            if (product == BG_OK && judge == BG_OK) {
                OK(bg_integer_program_create(&trial.program, trial.model, BATCH, BG_INT_FAST,
                                             true));
                cr_expect(trial_run(&trial, support_cases[i].name) == 0, "%s, mode %d",
                          support_cases[i].name, mode);
            }
            accepted += product == BG_OK;
            refused += product != BG_OK;
            trial_close(&trial);
        }
    cr_expect(accepted >= 4 * 10 && refused >= 4, "%d, %d", accepted, refused);
}

static struct bg_integer_term *first_layer(const struct bg_integer_model *model)
{
    for (int i = 0; i < model->steps; i++)
        if (model->step[i].kind == BG_INTEGER_SUM &&
            model->step[i].term[0].source == BG_INTEGER_LAYER)
            return &model->step[i].term[0];
    cr_assert(false, "no layer");
    return NULL;
}

static struct bg_judge_tensor result(const struct bg_judge *judge, const char *name)
{
    for (int i = 0; i < bg_judge_count(judge); i++)
        if (strcmp(bg_judge_result(judge, i).name, name) == 0)
            return bg_judge_result(judge, i);
    cr_assert(false, "no tensor %s", name);
    return (struct bg_judge_tensor){.outputs = 0};
}

/* One weight code of conv1 is moved: relu1 differs in its channel alone, and the first difference
 * is told. */
Test(judge_program, a_moved_weight_code_is_seen)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct trial trial;
        struct bg_graph *graph = graph_of(lenet, BG_U8);
        struct bg_judge_tensor tensor;
        struct bg_integer_term *term = NULL;
        support_quantize(graph, 8, 8, false);
        trial_open(&trial, graph, (enum bg_requant_mode)mode);
        cr_expect(trial_run(&trial, "before") == 0);
        bg_integer_program_destroy(trial.program);
        term = first_layer(trial.model);
        term->weights[2 * 50 + 24] = (int8_t)(term->weights[2 * 50 + 24] > 0 ? -100 : 100);
        OK(bg_integer_program_create(&trial.program, trial.model, BATCH, BG_INT_FAST, true));
        OK(bg_integer_program_run(trial.program, &trial.data.batch));
        OK(bg_judge_batch(trial.judge, &trial.data.batch, trial.model, trial.program));
        tensor = result(trial.judge, "input");
        cr_expect(tensor.differ == 0 && tensor.outputs == 2 * BATCH * 128);
        tensor = result(trial.judge, "relu1"); /* 4x4x4, the channel is 2 */
        cr_expect(tensor.differ > 0 && tensor.differ <= BATCH * 16);
        cr_expect(tensor.sample == BATCH && tensor.element % 4 == 2);
        cr_expect(tensor.expected != tensor.found);
        cr_expect(result(trial.judge, "fc2").differ > 0);
        trial_close(&trial);
    }
}

/* The threads share the samples; nothing but time depends on them. */
Test(judge_program, results_do_not_depend_on_threads)
{
    struct bg_judge_tensor kept[16];
    int threads = bg_threads(), count = 0;

    for (int round = 0; round < 2; round++) {
        struct trial trial;
        struct bg_graph *graph = graph_of(support_residual, BG_U8);
        struct bg_integer_term *term = NULL;
        bg_threads_set(round == 0 ? 1 : 3);
        unsettle(graph, false);
        support_quantize(graph, 4, 4, false);
        trial_open(&trial, graph, BG_REQUANT_F32_RNE);
        term = first_layer(trial.model);
        term->weights[0] = (int8_t)(term->weights[0] > 0 ? -7 : 7);
        OK(bg_integer_program_run(trial.program, &trial.data.batch));
        OK(bg_judge_batch(trial.judge, &trial.data.batch, trial.model, trial.program));
        count = bg_judge_count(trial.judge);
        cr_assert(count <= 16);
        for (int i = 0; i < count; i++) {
            struct bg_judge_tensor tensor = bg_judge_result(trial.judge, i);
            if (round == 0)
                kept[i] = tensor;
            cr_expect(tensor.differ == kept[i].differ && tensor.constant == kept[i].constant);
            cr_expect(tensor.sample == kept[i].sample && tensor.element == kept[i].element);
            cr_expect(tensor.expected == kept[i].expected && tensor.found == kept[i].found);
        }
        cr_expect(count > 2 && kept[1].differ > 0 && kept[count - 1].differ > 0);
        trial_close(&trial);
    }
    bg_threads_set(threads);
}

/* Equality of a tensor that always holds one code says nothing. */
Test(judge_program, constant_tensors_are_mistrusted)
{
    struct trial trial;
    struct bg_graph *graph = graph_of(lenet, BG_U8);
    struct bg_param *bias = bg_graph_param_find(graph, "conv2.bias");
    struct bg_judge_tensor tensor;

    for (int64_t i = 0; i < bg_tensor_count(&bias->value); i++)
        bg_f32(&bias->value)[i] = -1000.0f; /* relu2 is 0 everywhere, so the prediction is fixed */
    support_quantize(graph, 8, 8, false);
    trial_open(&trial, graph, BG_REQUANT_F32_RNE);
    cr_expect(trial_run(&trial, "constant") == 0);
    tensor = result(trial.judge, "relu2");
    cr_expect(tensor.constant == 1.0 && tensor.mistrusted);
    tensor = result(trial.judge, "fc2");
    cr_expect(tensor.constant == 1.0 && tensor.mistrusted && tensor.outputs == BATCH * 3);
    tensor = result(trial.judge, "input");
    cr_expect(tensor.constant < 0.1 && !tensor.mistrusted);
    trial_close(&trial);
}

static void mismatch(struct trial *trial, const char *says)
{
    cr_expect(bg_judge_batch(trial->judge, &trial->data.batch, trial->model, trial->program) ==
                  BG_E_MISMATCH,
              "%s", says);
    cr_expect(strstr(bg_error(), says) != NULL, "%s", bg_error());
}

Test(judge_program, models_of_something_else_are_refused)
{
    struct trial trial;
    struct bg_graph *graph = graph_of(lenet, BG_U8);
    struct bg_integer_tensor *tensor = NULL, kept;

    support_quantize(graph, 8, 8, false);
    trial_open(&trial, graph, BG_REQUANT_F32_RNE);
    OK(bg_integer_program_run(trial.program, &trial.data.batch));
    tensor = &trial.model->tensor[0];
    while (strcmp(tensor->name, "relu2") != 0)
        tensor++;
    kept = *tensor;
    tensor->name[0] = 'x';
    mismatch(&trial, "relu2 has codes and the integer model has no such tensor");
    *tensor = kept;
    tensor->inner = true;
    mismatch(&trial, "relu2 has codes and the integer model has no such tensor");
    *tensor = kept;
    tensor->zero_point = 1;
    mismatch(&trial, "tensor relu2 of the integer model is on another grid");
    *tensor = kept;
    tensor->shape.dims[2]++;
    mismatch(&trial, "tensor relu2 of the integer model has another shape");
    *tensor = kept;
    for (int i = 0; i < trial.model->tensors; i++) { /* an inner one that claims to be known */
        bool inner = trial.model->tensor[i].inner;
        trial.model->tensor[i].inner = false;
        if (inner)
            mismatch(&trial, "has no codes in the network");
        trial.model->tensor[i].inner = inner;
    }
    trial.model->mode = BG_REQUANT_POW2_RNE;
    mismatch(&trial, "made for requantisation mode");
    trial.model->mode = BG_REQUANT_F32_RNE;
    trial.data.batch.dtype = BG_F32;
    mismatch(&trial, "the batch holds f32, the network reads u8");
    trial.data.batch.dtype = BG_U8;
    bg_integer_program_destroy(trial.program);
    OK(bg_integer_program_create(&trial.program, trial.model, BATCH, BG_INT_FAST, false));
    OK(bg_integer_program_run(trial.program, &trial.data.batch));
    cr_expect(bg_judge_batch(trial.judge, &trial.data.batch, trial.model, trial.program) ==
              BG_E_USAGE);
    cr_expect(bg_judge_result(trial.judge, 0).outputs == 0); /* nothing was counted */
    trial_close(&trial);
}
