/* Autograd and the grid kernels against PyTorch: the files of scripts/gen_golden.py.
 *
 * ops.h5 holds small graphs input -> front (1x1 convolution) -> operation -> back (linear) -> loss
 * with all values and gradients, computed in f64 and rounded once; network.h5 ten steps of SGD;
 * grids.h5 fake quantisation. Every comparison that fails fails the test. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/program.h"
#include "core/grid.h"
#include "core/h5.h"
#include "core/kernel.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

/* One f32 rounding. A result here is reached through at most three sums of at most 120 terms (or
 * reductions over 90 pixels); rounding errors of a sum of n terms grow like sqrt(n) UNIT of its
 * magnitude (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), three of them make about 33 UNIT, and
 * the magnitude behind a result is taken as twice the largest element of its tensor. The deviations
 * seen are below a fifth of this, on AVX-512, AVX2 and SSE4.1. What a wrong rule would change (bias
 * of the variance, epsilon, padding counted, smoothing) is above 1e-3. */
#define UNIT  0x1p-24
#define LIMIT (64 * UNIT)
/* Results that cancel to nothing, as a bias in front of a norm, have this magnitude behind them. */
#define FLOOR 0.25
/* Ten steps with momentum 7/8 and rate 1/16 carry errors of gradients on: sum of the steps' weights
 * below 10 * 8 / 16 = 5, doubled for what moved weights do to later gradients. */
#define LIMIT_STEPS (10 * LIMIT)

static double worst; /* largest deviation seen, in units of its limit */

struct array {
    float *data;
    int64_t count;
};

static struct array load(struct bg_h5 *file, const char *group, const char *kind, const char *name)
{
    struct array array = {0};
    struct bg_h5_info info;
    char path[256];

    snprintf(path, sizeof path, "%s%s%s%s", group, group[0] == '\0' ? "" : "/", kind, name);
    OK(bg_h5_info(file, path, &info));
    int64_t dims[BG_H5_RANK_MAX] = {-1, -1, -1, -1, -1};
    OK(bg_h5_read_new(file, path, BG_H5_F32, info.rank, dims, &array.data, 1 << 20));
    array.count = 1;
    for (int i = 0; i < info.rank; i++)
        array.count *= dims[i];
    return array;
}

static int32_t *load_labels(struct bg_h5 *file, const char *path, int64_t *count)
{
    struct bg_h5_info info;
    int64_t dims[BG_H5_RANK_MAX] = {-1, -1, -1, -1, -1};
    int32_t *labels = NULL;

    OK(bg_h5_info(file, path, &info));
    OK(bg_h5_read_new(file, path, BG_H5_S32, info.rank, dims, &labels, 1 << 16));
    *count = dims[info.rank - 1];
    return labels;
}

static void compare(const char *where, const char *what, const float *got, struct array want,
                    double limit)
{
    double largest = 0;

    for (int64_t i = 0; i < want.count; i++)
        largest = fmax(largest, fabs((double)want.data[i]));
    for (int64_t i = 0; i < want.count; i++) {
        double off = fabs((double)got[i] - (double)want.data[i]) / (limit * (largest + FLOOR));
        worst = off > worst ? off : worst;
        if (!(off <= 1)) {
            cr_expect(false, "%s: %s[%lld] is %.9g, PyTorch has %.9g", where, what, (long long)i,
                      (double)got[i], (double)want.data[i]);
            return;
        }
    }
}

/* Compares `count` values with a dataset that must have as many, and gives it back. */
static void compare_with(struct bg_h5 *file, const char *group, const char *kind, const char *name,
                         const struct bg_tensor *got)
{
    char what[128];
    struct array want = load(file, group, kind, name);

    snprintf(what, sizeof what, "%s%s", kind, name);
    cr_assert(want.count == bg_tensor_count(got), "%s: %s: %lld elements, PyTorch has %lld", group,
              what, (long long)bg_tensor_count(got), (long long)want.count);
    compare(group, what, bg_f32(got), want, LIMIT);
    bg_free(want.data);
}

/* A case of ops.h5 under way. */
struct trial {
    struct bg_h5 *file;
    const char *name;
    char op[BG_NAME_MAX];
    struct bg_graph *graph;
    int seen[BG_QUANTITIES];
};

static int64_t number(const struct trial *t, const char *key)
{
    int64_t value = 0;

    OK(bg_h5_get_int(t->file, t->name, key, &value));
    return value;
}

static void pair(const struct trial *t, const char *key, int64_t out[2])
{
    char name[64];

    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%d", key, i);
        out[i] = number(t, name);
    }
}

static double real(struct bg_h5 *file, const char *object, const char *key)
{
    double value = 0;

    OK(bg_h5_get_real(file, object, key, &value));
    return value;
}

static void add_conv(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    struct bg_conv2d o = {.out_channels = number(t, "out"),
                          .groups = number(t, "groups"),
                          .bias = number(t, "bias") != 0};

    pair(t, "kernel", o.kernel);
    pair(t, "stride", o.stride);
    pair(t, "padding", o.padding);
    pair(t, "dilation", o.dilation);
    OK(bg_node_conv2d(t->graph, "op", x, &o, out));
}

static void add_norm(const struct trial *t, const char *name, struct bg_node *x,
                     struct bg_node **out)
{
    OK(bg_node_batch_norm(t->graph, name, x, real(t->file, t->name, "epsilon"),
                          real(t->file, t->name, "momentum"), out));
}

static void add_pool(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    struct bg_pool2d o;

    pair(t, "kernel", o.kernel);
    pair(t, "stride", o.stride);
    pair(t, "padding", o.padding);
    if (strcmp(t->op, "max_pool") == 0)
        OK(bg_node_max_pool(t->graph, "op", x, &o, out));
    else
        OK(bg_node_avg_pool(t->graph, "op", x, &o, out));
}

static void add_residual(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    const struct bg_conv2d o = {.out_channels = 4,
                                .kernel = {3, 3},
                                .stride = {1, 1},
                                .padding = {1, 1},
                                .dilation = {1, 1},
                                .groups = 1};
    struct bg_node *branch = NULL;

    OK(bg_node_conv2d(t->graph, "branch", x, &o, &branch));
    OK(bg_node_add(t->graph, "op", branch, x, out));
}

/* relu6 of eight times the front's output. */
static void add_relu6(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    static const char *const names[] = {"twice", "four", "eight"};

    for (int i = 0; i < 3; i++)
        OK(bg_node_add(t->graph, names[i], x, x, &x));
    OK(bg_node_relu6(t->graph, "op", x, out));
}

static void add_concat(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    const struct bg_conv2d o = {.out_channels = 2,
                                .kernel = {3, 3},
                                .stride = {1, 1},
                                .padding = {1, 1},
                                .dilation = {1, 1},
                                .groups = 1};
    struct bg_node *branch = NULL, *relu = NULL;

    OK(bg_node_conv2d(t->graph, "branch", x, &o, &branch));
    OK(bg_node_relu(t->graph, "relu", x, &relu));
    OK(bg_node_concat(t->graph, "op", (struct bg_node *[]){branch, x, relu, x}, 4, out));
}

static void add_operation(const struct trial *t, struct bg_node *x, struct bg_node **out)
{
    if (strcmp(t->op, "conv2d") == 0)
        add_conv(t, x, out);
    else if (strcmp(t->op, "linear") == 0)
        OK(bg_node_linear(t->graph, "op", x, number(t, "out"), number(t, "bias") != 0, out));
    else if (strcmp(t->op, "batch_norm") == 0)
        add_norm(t, "op", x, out);
    else if (strcmp(t->op, "batch_norm_relu") == 0) {
        add_norm(t, "norm", x, &x);
        OK(bg_node_relu(t->graph, "op", x, out));
    } else if (strcmp(t->op, "relu") == 0)
        OK(bg_node_relu(t->graph, "op", x, out));
    else if (strcmp(t->op, "relu6") == 0)
        add_relu6(t, x, out);
    else if (strcmp(t->op, "concat") == 0)
        add_concat(t, x, out);
    else if (strcmp(t->op, "global_pool") == 0)
        OK(bg_node_global_pool(t->graph, "op", x, out));
    else if (strcmp(t->op, "add") == 0)
        add_residual(t, x, out);
    else {
        cr_assert(strstr(t->op, "_pool") != NULL, "unknown operation %s", t->op);
        add_pool(t, x, out);
    }
}

static void build(struct trial *t)
{
    const struct bg_sample_spec spec = {
        .height = 6, .width = 5, .channels = 4, .classes = 5, .dtype = BG_F32};
    const struct bg_conv2d front = {.out_channels = 4,
                                    .kernel = {1, 1},
                                    .stride = {1, 1},
                                    .dilation = {1, 1},
                                    .groups = 1,
                                    .bias = true};
    struct bg_node *x = NULL;
    char loss[BG_NAME_MAX];

    OK(bg_h5_get_text(t->file, t->name, "op", t->op, sizeof t->op));
    OK(bg_h5_get_text(t->file, t->name, "loss", loss, sizeof loss));
    OK(bg_graph_create(&t->graph));
    OK(bg_node_input(t->graph, "input", &spec, &x));
    OK(bg_node_conv2d(t->graph, "front", x, &front, &x));
    add_operation(t, x, &x);
    OK(bg_node_linear(t->graph, "back", x, 5, true, &x));
    if (strcmp(loss, "mse") == 0)
        OK(bg_node_mse(t->graph, "loss", x, &x));
    else
        OK(bg_node_softmax_cross_entropy(t->graph, "loss", x, real(t->file, t->name, "smoothing"),
                                         &x));
}

static void load_parameters(struct bg_graph *graph, struct bg_h5 *file, const char *group)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        struct array value = load(file, group, "before/", param->name);
        cr_assert(value.count == bg_tensor_count(&param->value), "%s: %s", group, param->name);
        memcpy(param->value.data, value.data, (size_t)value.count * sizeof(float));
        param->version++;
        bg_free(value.data);
    }
}

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    static const char *const kinds[BG_QUANTITIES] = {"in_grad/", "grad/", "out_grad/"};
    struct trial *t = self;
    char name[BG_NAME_MAX + 8];

    snprintf(name, sizeof name, "%s%s", bg_node_name(bg_graph_layer(t->graph, layer)),
             quantity == BG_QUANTITY_WEIGHT_GRAD ? ".weight" : "");
    compare_with(t->file, t->name, kinds[quantity], name, gradient);
    t->seen[quantity]++;
}

static void compare_gradients(struct trial *t)
{
    int layers = bg_graph_layer_count(t->graph);

    for (int i = 0; i < BG_QUANTITIES; i++)
        cr_expect(t->seen[i] == layers, "%s: %d of %d layers seen", t->name, t->seen[i], layers);
    for (int i = 0; i < bg_graph_param_count(t->graph); i++) {
        struct bg_param *param = bg_graph_param(t->graph, i);
        if (bg_param_trainable(param))
            compare_with(t->file, t->name, "grad/", param->name, &param->grad);
        else
            compare_with(t->file, t->name, "after/", param->name, &param->value);
    }
}

static void run_case(struct bg_h5 *file, const char *name, enum bg_compute compute)
{
    struct trial t = {.file = file, .name = name};
    struct bg_program *program = NULL;
    int64_t size = 0;
    double loss = 0;

    build(&t);
    load_parameters(t.graph, file, name);
    struct array images = load(file, name, "input", "");
    char path[128];
    snprintf(path, sizeof path, "%s/labels", name);
    int32_t *labels = load_labels(file, path, &size);
    const struct bg_batch batch = {
        .size = size, .dtype = BG_F32, .images = images.data, .labels = labels};
    bool train = strncmp(t.op, "batch_norm", 10) != 0 || number(&t, "train") != 0;
    const struct bg_program_options options = {.batch = size,
                                               .mode = train ? BG_MODE_TRAIN : BG_MODE_EVAL,
                                               .compute = compute,
                                               .observe = true};
    const struct bg_observer observer = {.self = &t, .see = see};
    const struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN, .observer = &observer};
    OK(bg_program_create(&program, t.graph, &options));
    OK(bg_program_forward(program, &batch, &moment));

    snprintf(path, sizeof path, "%s/loss", name);
    OK(bg_h5_read(file, path, BG_H5_F64, 0, NULL, &loss, sizeof loss));
    cr_expect(fabs(bg_program_loss(program) - loss) <= LIMIT * (loss + FLOOR),
              "%s: loss %.9g, PyTorch has %.9g", name, bg_program_loss(program), loss);
    compare_with(file, name, "logits", "", bg_program_logits(program));
    const struct bg_tensor *output = bg_program_value(program, "op");
    cr_expect(output != NULL || !train, "%s: the operation's output is not kept", name);
    if (output != NULL)
        compare_with(file, name, "output", "", output);
    if (train) {
        OK(bg_program_backward(program, &moment));
        compare_gradients(&t);
    }
    bg_program_destroy(program);
    bg_graph_destroy(t.graph);
    bg_free(labels);
    bg_free(images.data);
}

/* Runs each top-level group of ops.h5. */
struct walk {
    char names[64][BG_NAME_MAX];
    int count;
};

static enum bg_status note_group(void *self, const struct bg_h5_object *object)
{
    struct walk *walk = self;

    if (object->is_group && strchr(object->name, '/') == NULL && walk->count < 64)
        return bg_text_copy(walk->names[walk->count++], BG_NAME_MAX, object->name);
    return BG_OK;
}

static void open_golden(struct bg_h5 **file, const char *path)
{
    char text[128];

    OK(bg_h5_open(file, path));
    OK(bg_h5_get_text(*file, "", "generator", text, sizeof text));
    cr_assert_str_eq(text, "gen_golden.py 1");
    OK(bg_h5_get_text(*file, "", "torch", text, sizeof text));
    cr_expect(text[0] != '\0');
}

static void run_all_cases(enum bg_compute compute)
{
    struct bg_h5 *file = NULL;
    struct walk walk = {.count = 0};

    open_golden(&file, "tests/golden/ops.h5");
    OK(bg_h5_walk(file, note_group, &walk));
    cr_expect(walk.count == 27, "%d cases", walk.count);
    for (int i = 0; i < walk.count; i++)
        run_case(file, walk.names[i], compute);
    cr_expect(worst < 0.5, "the largest deviation is %.3g of its limit", worst);
    cr_expect(worst > 0, "mistrusted: nothing deviates at all");
    OK(bg_h5_close(file));
}

Test(golden, operations_agree_with_pytorch)
{
    run_all_cases(BG_COMPUTE_EXACT);
}

Test(golden, reference_operations_agree_with_pytorch)
{
    run_all_cases(BG_COMPUTE_REFERENCE);
}

static void build_network(struct bg_graph **graph, struct bg_h5 *file)
{
    const struct bg_sample_spec spec = {
        .height = 8, .width = 8, .channels = 1, .classes = 10, .dtype = BG_F32};
    const struct bg_conv2d conv = {.out_channels = 4,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    const struct bg_pool2d pool = {.kernel = {2, 2}, .stride = {2, 2}};
    struct bg_node *x = NULL;

    OK(bg_graph_create(graph));
    OK(bg_node_input(*graph, "input", &spec, &x));
    OK(bg_node_conv2d(*graph, "conv", x, &conv, &x));
    OK(bg_node_batch_norm(*graph, "norm", x, real(file, "", "epsilon"),
                          real(file, "", "bn_momentum"), &x));
    OK(bg_node_relu(*graph, "relu", x, &x));
    OK(bg_node_max_pool(*graph, "pool", x, &pool, &x));
    OK(bg_node_linear(*graph, "fc", x, 10, true, &x));
    OK(bg_node_softmax_cross_entropy(*graph, "loss", x, 0, &x));
}

/* Running statistics start as autograd makes them (0 and 1); all else comes from the file. */
static void start_network(struct bg_graph *graph, struct bg_h5 *file)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (!bg_param_trainable(param))
            continue;
        struct array value = load(file, "", "before/", param->name);
        cr_assert(value.count == bg_tensor_count(&param->value), "%s", param->name);
        memcpy(param->value.data, value.data, (size_t)value.count * sizeof(float));
        param->version++;
        bg_free(value.data);
    }
}

static void step_network(struct bg_graph *graph, struct bg_h5 *file)
{
    int64_t nesterov = 0;

    OK(bg_h5_get_int(file, "", "nesterov", &nesterov));
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (!bg_param_trainable(param))
            continue;
        bg_kernel_sgd(bg_f32(&param->value), bg_f32(&param->state), bg_f32(&param->grad),
                      bg_tensor_count(&param->value), (float)real(file, "", "lr"),
                      (float)real(file, "", "momentum"), (float)real(file, "", "weight_decay"),
                      nesterov != 0);
        param->version++;
    }
}

Test(golden, ten_training_steps_agree_with_pytorch)
{
    struct bg_h5 *file = NULL;
    struct bg_graph *graph = NULL;
    struct bg_program *program = NULL;
    const struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN};
    int64_t batch = 0;
    double losses[10];

    open_golden(&file, "tests/golden/network.h5");
    build_network(&graph, file);
    start_network(graph, file);
    struct array images = load(file, "", "images", "");
    int32_t *labels = load_labels(file, "labels", &batch);
    OK(bg_h5_read(file, "losses", BG_H5_F64, 1, (const int64_t[]){10}, losses, sizeof losses));
    const struct bg_program_options options = {.batch = batch, .mode = BG_MODE_TRAIN};
    OK(bg_program_create(&program, graph, &options));
    for (int step = 0; step < 10; step++) {
        const struct bg_batch data = {.size = batch,
                                      .dtype = BG_F32,
                                      .images = images.data + images.count / 10 * step,
                                      .labels = labels + batch * step};
        OK(bg_program_forward(program, &data, &moment));
        cr_expect(fabs(bg_program_loss(program) - losses[step]) <= LIMIT_STEPS * losses[step],
                  "step %d: loss %.9g, PyTorch has %.9g", step, bg_program_loss(program),
                  losses[step]);
        OK(bg_program_backward(program, &moment));
        step_network(graph, file);
    }
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        struct array want = load(file, "", "after/", param->name);
        cr_assert(want.count == bg_tensor_count(&param->value), "%s", param->name);
        compare("after ten steps", param->name, bg_f32(&param->value), want, LIMIT_STEPS);
        bg_free(want.data);
    }
    bg_program_destroy(program);
    bg_graph_destroy(graph);
    bg_free(labels);
    bg_free(images.data);
    OK(bg_h5_close(file));
}

static void load_grid(struct bg_h5 *file, const char *name, struct bg_grid *grid)
{
    int64_t bits = 0, is_signed = 0, qmin = 0, qmax = 0, zero_point = 0;
    struct array scale = load(file, name, "scale", "");

    OK(bg_h5_get_int(file, name, "bits", &bits));
    OK(bg_h5_get_int(file, name, "signed", &is_signed));
    OK(bg_h5_get_int(file, name, "qmin", &qmin));
    OK(bg_h5_get_int(file, name, "qmax", &qmax));
    OK(bg_h5_get_int(file, name, "zero_point", &zero_point));
    *grid = (struct bg_grid){.kind = &bg_grid_affine, .channels = scale.count, .scale = scale.data};
    OK(bg_grid_limits(grid, (int)bits, is_signed != 0, true));
    cr_assert(grid->qmin == qmin && grid->qmax == qmax, "%s: codes %d to %d", name, grid->qmin,
              grid->qmax);
    grid->zero_point = (int32_t)zero_point;
}

/* The codes are the same, and code to real is one f32 product in both: equal to the bit. */
Test(golden, fake_quantisation_and_its_straight_through_gradient_equal_pytorch)
{
    struct bg_h5 *file = NULL;
    struct walk walk = {.count = 0};
    int64_t clipped = 0;

    open_golden(&file, "tests/golden/grids.h5");
    OK(bg_h5_walk(file, note_group, &walk));
    cr_expect(walk.count == 9, "%d grids", walk.count);
    for (int i = 0; i < walk.count; i++) {
        const char *name = walk.names[i];
        struct bg_grid grid;
        load_grid(file, name, &grid);
        struct array x = load(file, name, "x", ""), y = load(file, name, "y", "");
        struct array dy = load(file, name, "dy", ""), dx = load(file, name, "dx", "");
        int64_t n = x.count / grid.channels;
        for (int64_t c = 0; c < grid.channels; c++) {
            float got[120], gradient[120];
            int64_t outside = 0;
            cr_assert(n == 120);
            bg_kernel_project(&grid, c, x.data + c * n, n, got, &outside);
            bg_kernel_project_backward(&grid, c, x.data + c * n, dy.data + c * n, n, gradient);
            for (int64_t k = 0; k < n; k++) {
                cr_expect(got[k] == y.data[c * n + k], "%s: %g becomes %.9g, PyTorch has %.9g",
                          name, (double)x.data[c * n + k], (double)got[k],
                          (double)y.data[c * n + k]);
                cr_expect(gradient[k] == dx.data[c * n + k], "%s: gradient at %g", name,
                          (double)x.data[c * n + k]);
            }
            clipped += outside;
        }
        bg_free(x.data);
        bg_free(y.data);
        bg_free(dy.data);
        bg_free(dx.data);
        bg_free(grid.scale);
    }
    cr_expect(clipped > 100, "mistrusted: only %lld values were clipped", (long long)clipped);
    OK(bg_h5_close(file));
}
