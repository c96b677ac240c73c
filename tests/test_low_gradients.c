/* A plan's g and dw in programs: exact, on codes layer by layer, and fast as a whole. Every layer's
 * passes are held against the naive references on the very gradient that observers saw. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/gradient.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/ref.h"
#include "core/rng.h"
#include "support_graph.h"

/* bf16 keeps 8 bits; a hundredth more for two roundings. f32's share for each term of a sum. */
#define HALF (1.01 * 0x1p-8)
#define U    0x1p-24

enum { BATCH = 8, FAST, CODED, EXACT, REFERENCE };

static struct bg_range_method extremes; /* support_min_max, which reads no more than the ends */

/* Norms, a stride, a depthwise layer, a projection beside it; dropout keeps it from being fast as a
 * whole. */
static struct bg_node *build(struct bg_graph *graph, struct bg_node *x, bool dropout)
{
    struct bg_conv2d three = {.out_channels = 16,
                              .kernel = {3, 3},
                              .stride = {1, 1},
                              .padding = {1, 1},
                              .dilation = {1, 1},
                              .groups = 1};
    struct bg_conv2d down = {
        .out_channels = 24, .kernel = {1, 1}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1};
    struct bg_node *y = NULL, *s = NULL;

    OK(bg_node_conv2d(graph, "stem", x, &three, &x));
    OK(bg_node_batch_norm(graph, "n0", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "r0", x, &x));
    three.groups = 16;
    OK(bg_node_conv2d(graph, "depth", x, &three, &x));
    OK(bg_node_batch_norm(graph, "nd", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "rd", x, &x));
    if (dropout)
        OK(bg_node_dropout(graph, "drop", x, 0.3, &x));
    three.groups = 1;
    three.out_channels = 24;
    three.stride[0] = three.stride[1] = 2;
    OK(bg_node_conv2d(graph, "c2", x, &three, &y));
    OK(bg_node_batch_norm(graph, "n2", y, 1e-5, 0.1, &y));
    OK(bg_node_conv2d(graph, "short", x, &down, &s));
    OK(bg_node_batch_norm(graph, "ns", s, 1e-5, 0.1, &s));
    OK(bg_node_add(graph, "a2", y, s, &x));
    OK(bg_node_relu(graph, "r2", x, &x));
    OK(bg_node_global_pool(graph, "pool", x, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    return x;
}

/* What all layers have. */
struct asked {
    int weight_bits; /* and of inputs; 0 = f32 */
    struct bg_spec g, dw;
    enum bg_rounding rounding;
};

static struct bg_spec integer(int bits, bool per_channel)
{
    return (struct bg_spec){BG_FORMAT_INTEGER, bits, per_channel};
}

static void quantize(struct bg_graph *graph, const struct asked *asked)
{
    const struct bg_quantize_options options = {.weight_range = &extremes,
                                                .activation_range = &extremes,
                                                .gradient_rounding = asked->rounding};
    struct bg_plan plan = {0};

    extremes = support_min_max;
    extremes.extremes = true;
    support_plan(&plan, graph, asked->weight_bits, asked->weight_bits);
    for (int i = 0; i < plan.count; i++) {
        plan.layer[i].spec[BG_ROLE_OUT_GRAD] = asked->g;
        plan.layer[i].spec[BG_ROLE_WEIGHT_GRAD] = asked->dw;
    }
    OK(bg_graph_quantize(graph, &plan, &options));
    bg_plan_free(&plan);
}

static struct bg_graph *make(int kind, const struct asked *asked, struct support_batch *data)
{
    const struct bg_sample_spec spec = {.height = 8,
                                        .width = 8,
                                        .channels = 3,
                                        .classes = 3,
                                        .dtype = BG_U8,
                                        .scale = 0.02f,
                                        .zero_point = 73};
    struct bg_graph *graph = NULL;
    struct bg_node *x = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, &x));
    x = build(graph, x, kind == CODED);
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.1, &x));
    bg_graph_initialise(graph, 5);
    support_batch_make(data, &spec, BATCH, 9);
    quantize(graph, asked);
    return graph;
}

static struct bg_program *program(struct bg_graph *graph, int kind)
{
    const enum bg_compute compute = kind == EXACT       ? BG_COMPUTE_EXACT
                                    : kind == REFERENCE ? BG_COMPUTE_REFERENCE
                                                        : BG_COMPUTE_FAST;

    /* layers on codes do not need what they read in f32: it is kept for the checks */
    return support_program(graph, &(struct bg_program_options){.batch = BATCH,
                                                               .mode = BG_MODE_TRAIN,
                                                               .compute = compute,
                                                               .observe = true,
                                                               .keep_values = kind == CODED});
}

/* --- one layer --- */

struct layer {
    const struct bg_node *node;
    const struct bg_step *step;      /* NULL in a fast program */
    const struct bg_fast_term *term; /* else NULL */
    struct bg_conv_shape shape;
    int64_t in, out, weights, outputs;
    float *x; /* what it read, in f32 */
};

struct watch {
    struct bg_program *program;
    float *out; /* the gradient of the layer at hand */
    int outputs, inputs, weights;
};

static float *fresh(int64_t n)
{
    float *out = NULL;

    OK(bg_alloc(&out, n, sizeof *out));
    return out;
}

static float *absolute(const float *x, int64_t n)
{
    float *out = fresh(n);

    for (int64_t i = 0; i < n; i++)
        out[i] = fabsf(x[i]);
    return out;
}

static float scale_of(const struct layer *layer, int64_t o)
{
    const struct bg_quantizer *quantizer = layer->node->param[0]->quantizer;

    return quantizer == NULL ? 1.0f : quantizer->grid.scale[quantizer->grid.channels == 1 ? 0 : o];
}

static void find_step(const struct watch *watch, int index, struct layer *layer)
{
    for (int s = 0; s < watch->program->steps; s++)
        if (watch->program->step[s].node->layer == index &&
            (watch->program->step[s].op->flags & BG_OP_LAYER) != 0)
            layer->step = &watch->program->step[s];
    memcpy(layer->x, bg_f32(&layer->step->in[0]), (size_t)layer->in * sizeof(float));
}

static void find_term(const struct watch *watch, int index, struct layer *layer)
{
    const struct bg_fast *fast = watch->program->fast;

    for (int s = 0; s < fast->steps; s++)
        for (int t = 0; t < fast->step[s].terms; t++)
            if (fast->step[s].term[t].conv != NULL &&
                fast->step[s].term[t].form->node->layer == index)
                layer->term = &fast->step[s].term[t];
    const struct bg_fast_tensor *input = &fast->tensor[layer->term->form->input];
    const struct bg_grid *grid = &input->quantizer->grid;
    for (int64_t i = 0; i < layer->in; i++)
        layer->x[i] = (float)(input->codes[i] - grid->zero_point) * grid->scale[0];
}

static void open_layer(struct layer *layer, const struct watch *watch, int index)
{
    const struct bg_node *node = watch->program->graph->layer[index];

    *layer = (struct layer){.node = node};
    layer->shape = strcmp(node->op->name, "linear") == 0 ? bg_linear_shape(node, BATCH)
                                                         : bg_conv2d_shape(node, BATCH);
    OK(bg_conv_shape_infer(&layer->shape));
    layer->in = bg_shape_count(&node->input[0]->shape) * BATCH;
    layer->out = bg_shape_count(&node->shape) * BATCH;
    layer->weights = bg_tensor_count(&node->param[0]->value);
    layer->outputs = node->param[0]->value.shape.dims[0];
    layer->x = fresh(layer->in);
    if (watch->program->fast != NULL)
        find_term(watch, index, layer);
    else
        find_step(watch, index, layer);
}

/* In f32 programs the gradient before is at hand: the same bits as from core/gradient.h. */
static void check_rounding(const struct layer *layer, const struct watch *watch)
{
    float *wanted = fresh(layer->out), *scale = fresh(layer->outputs);
    void *scratch = fresh(bg_gradient_scratch(layer->outputs));
    struct bg_gradient_pass pass = {.grid = layer->node->out_gradient,
                                    .rows = layer->out / layer->outputs,
                                    .channels = layer->outputs,
                                    .x = bg_f32(&layer->step->d_out),
                                    .a = scale,
                                    .rng = {bg_rng_hash(3, layer->node->name), 0, 1},
                                    .values = wanted,
                                    .scratch = scratch};

    for (int64_t o = 0; o < layer->outputs; o++)
        scale[o] = scale_of(layer, o);
    OK(bg_gradient_round(&pass));
    cr_expect(memcmp(wanted, watch->out, (size_t)layer->out * sizeof(float)) == 0, "%s",
              layer->node->name);
    bg_free(wanted);
    bg_free(scale);
    bg_free(scratch);
}

/* dz of a channel is whole numbers up to qmax, divided by some power of two. */
static void check_codes(const struct layer *layer)
{
    const int bits = layer->node->out_gradient.bits;
    const double qmax = (double)((1 << (bits - 1)) - 1);
    double largest = 0.0;

    for (int64_t o = 0; o < layer->outputs; o++) {
        bool whole = false;
        for (int k = 0; k < 30 && !whole; k++) {
            whole = true;
            for (int64_t i = o; i < layer->out && whole; i += layer->outputs) {
                const uint32_t word = (uint32_t)layer->term->dz[i] << 16;
                float dz = 0.0f;
                memcpy(&dz, &word, sizeof dz);
                const double code = ldexp((double)dz, k);
                whole = code == nearbyint(code) && fabs(code) <= qmax;
                largest = fmax(largest, k == 0 ? fabs(code) : 0.0);
            }
        }
        cr_expect(whole, "%s: channel %lld is on no grid of %d bits", layer->node->name,
                  (long long)o, bits);
    }
    cr_expect(largest == qmax || layer->node->out_gradient.rounding == BG_ROUND_STOCHASTIC,
              "%s: the largest code is %g of %g", layer->node->name, largest, qmax);
}

static void expect_close(const struct layer *layer, const char *what, const float *got,
                         const float *const wanted_size[2], const double bound[2])
{
    const int64_t n = *what == 'w' ? layer->weights : layer->in;

    for (int64_t i = 0; i < n; i++) {
        const double wanted = (double)wanted_size[0][i];
        const double most = bound[0] * fabs(wanted) + bound[1] * (double)wanted_size[1][i];
        cr_assert(fabs((double)got[i] - wanted) <= most,
                  "%s gradient of %s [%lld]: %g, not %g; %g may be between them", what,
                  layer->node->name, (long long)i, (double)got[i], wanted, most);
    }
}

/* Codes of gradients and inputs are exact in bf16: the sum alone rounds, as in f32. With g in bf16
 * the rounding is done before, and seen. */
static void check_weights(const struct layer *layer, const struct watch *watch, const float *got)
{
    float *wanted = fresh(layer->weights), *size = fresh(layer->weights);
    float *x = absolute(layer->x, layer->in), *dy = absolute(watch->out, layer->out);
    const double pixels = (double)(layer->out / layer->outputs);

    bg_ref_conv_backward_weights(&layer->shape, layer->x, watch->out, wanted, NULL);
    bg_ref_conv_backward_weights(&layer->shape, x, dy, size, NULL);
    expect_close(layer, "weight", got, (const float *[]){wanted, size},
                 (double[2]){0.0, (pixels + 16.0) * U});
    bg_free(wanted);
    bg_free(size);
    bg_free(x);
    bg_free(dy);
}

/* Where the layer runs on codes the sum is rounded to bf16. */
static void check_input(const struct layer *layer, const struct watch *watch, const float *got)
{
    const struct bg_param *weight = layer->node->param[0];
    float *wanted = fresh(layer->in), *size = fresh(layer->in), *w = fresh(layer->weights);
    float *dy = absolute(watch->out, layer->out);
    const int64_t each = layer->weights / layer->outputs;
    const double fan_out = (double)(layer->weights / layer->shape.in_channels);

    for (int64_t i = 0; i < layer->weights; i++) { /* as any program makes them */
        const struct bg_quantizer *quantizer = weight->quantizer;
        float v = bg_f32(&weight->value)[i];
        if (quantizer != NULL)
            bg_grid_project(&quantizer->grid, quantizer->grid.channels == 1 ? 0 : i / each, &v, 1,
                            &w[i]);
        else
            w[i] = v;
    }
    bg_ref_conv_backward_data(&layer->shape, watch->out, w, wanted);
    for (int64_t i = 0; i < layer->weights; i++)
        w[i] = fabsf(w[i]);
    bg_ref_conv_backward_data(&layer->shape, dy, w, size);
    expect_close(layer, "input", got, (const float *[]){wanted, size},
                 (double[2]){HALF, (fan_out + 16.0) * U});
    bg_free(wanted);
    bg_free(size);
    bg_free(w);
    bg_free(dy);
}

static void see(void *self, int index, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct watch *watch = self;
    struct layer layer;

    open_layer(&layer, watch, index);
    if (quantity == BG_QUANTITY_OUT_GRAD) {
        bg_free(watch->out);
        watch->out = fresh(layer.out);
        memcpy(watch->out, gradient->data, (size_t)layer.out * sizeof(float));
        if (layer.step != NULL)
            check_rounding(&layer, watch);
        else
            check_codes(&layer);
        watch->outputs++;
    } else if (quantity == BG_QUANTITY_WEIGHT_GRAD) {
        check_weights(&layer, watch, bg_f32(gradient));
        watch->weights++;
    } else {
        check_input(&layer, watch, bg_f32(gradient));
        watch->inputs++;
    }
    bg_free(layer.x);
}

/* support_min_max leaves no weight outside its grid: the straight-through mask passes all. */
static void check(int kind, const struct asked *asked)
{
    struct support_batch data;
    struct bg_graph *graph = make(kind, asked, &data);
    struct bg_program *one = program(graph, kind);
    struct watch watch = {.program = one};
    const struct bg_observer observer = {.self = &watch, .see = see};
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE, .seed = 3, .step = 1};

    cr_assert(bg_program_fastness(one).whole == (kind == FAST), "%s", bg_program_fastness(one).why);
    cr_assert(kind != CODED || bg_program_fastness(one).coded == 4);
    support_step(one, &data.batch, &moment);
    moment.observer = &observer;
    support_step(one, &data.batch, &moment);
    cr_expect(watch.outputs == 5 && watch.inputs == 5 && watch.weights == 5);
    bg_free(watch.out);
    bg_program_destroy(one);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(low_gradients, every_pass_reads_the_gradient_on_its_grid)
{
    static const int bits[] = {2, 5, 8, 9};

    for (int kind = FAST; kind <= REFERENCE; kind++)
        for (int i = 0; i < 4; i++)
            for (int form = 0; form < 4; form++) {
                const struct asked asked = {8,
                                            integer(bits[i], form % 2 == 1),
                                            {0},
                                            form < 2 ? BG_ROUND_NEAREST : BG_ROUND_STOCHASTIC};
                if (kind > CODED || bg_train_available())
                    check(kind, &asked);
            }
}

Test(low_gradients, f32_weights_and_bf16_and_many_bits_in_f32_programs)
{
    const struct asked bf16 = {.weight_bits = 8, .g = {.format = BG_FORMAT_BF16}};

    if (bg_train_available())
        check(CODED, &bf16);
    for (int kind = EXACT; kind <= REFERENCE; kind++) {
        check(kind, &(struct asked){.weight_bits = 0, .g = integer(4, true)});
        check(kind, &(struct asked){.weight_bits = 0, .g = {.format = BG_FORMAT_BF16}});
        check(kind, &bf16);
        check(kind, &(struct asked){.weight_bits = 4, .g = integer(16, false)});
    }
}

/* --- programs of one graph --- */

struct last {
    float dz[3 * BATCH];
};

static void see_last(void *self, int index, enum bg_quantity quantity,
                     const struct bg_tensor *gradient)
{
    struct last *last = self;

    if (quantity == BG_QUANTITY_OUT_GRAD && index == 4)
        memcpy(last->dz, gradient->data, sizeof last->dz);
}

/* The logits' gradient g, before any other difference but that of the logits themselves, d: both
 * are off by half a step, the fast one's was rounded to bf16 before. */
Test(low_gradients, fast_and_exact_programs_share_the_grid)
{
    const struct asked with = {8, integer(6, true), {0}, BG_ROUND_NEAREST},
                       without = {.weight_bits = 8};

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    struct last last[4];
    double largest = 0.0, steps = 0.0, apart = 0.0;
    for (int i = 0; i < 4; i++) { /* exact and fast, on the grid and not */
        struct support_batch data;
        struct bg_graph *graph = make(FAST, i < 2 ? &with : &without, &data);
        struct bg_program *exact = program(graph, EXACT);
        struct bg_program *one = program(graph, i % 2 == 0 ? EXACT : FAST);
        const struct bg_observer observer = {.self = &last[i], .see = see_last};
        struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};
        support_step(exact, &data.batch, &moment); /* ranges */
        moment = (struct bg_run_moment){.observer = &observer};
        support_step(one, &data.batch, &moment);
        const struct bg_grid *grid = &graph->layer[4]->param[0]->quantizer->grid;
        for (int k = 0; k < 3 * BATCH && i == 3; k++) {
            const double s = (double)grid->scale[k % 3];
            largest = fmax(largest, s * fabs((double)last[2].dz[k]));
            largest = fmax(largest, s * fabs((double)last[3].dz[k]));
        }
        steps = 1.01 * largest / 31.0; /* both halves */
        for (int k = 0; k < 3 * BATCH && i == 3; k++) {
            const double s = (double)grid->scale[k % 3];
            const double before = s * fabs((double)last[2].dz[k] - (double)last[3].dz[k]);
            const double after = s * fabs((double)last[0].dz[k] - (double)last[1].dz[k]);
            cr_expect(after <= steps + before + HALF * largest, "%d: %g, %g before, step %g", k,
                      after, before, steps);
            apart = fmax(apart, s * fabs((double)last[0].dz[k] - (double)last[2].dz[k]));
        }
        bg_program_destroy(exact);
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
    cr_expect(apart > 0.0 && apart <= steps); /* it was rounded, by no more than half a step */
}

/* Gradients of an add's inputs share memory: each layer rounds its own copy. */
Test(low_gradients, layers_that_share_a_gradient_round_it_apart)
{
    const struct bg_quantize_options options = {.weight_range = &support_min_max,
                                                .activation_range = &support_min_max};
    float raw[2][4096];

    for (int i = 0; i < 2; i++) {
        struct bg_graph *graph = support_fork();
        struct support_batch data;
        struct bg_plan plan = {0};
        support_plan(&plan, graph, 8, 8);
        bg_plan_find(&plan, "one")->spec[BG_ROLE_OUT_GRAD] = integer(i == 0 ? 2 : 8, false);
        bg_plan_find(&plan, "two")->spec[BG_ROLE_OUT_GRAD] = integer(i == 0 ? 8 : 2, true);
        OK(bg_graph_quantize(graph, &plan, &options));
        support_batch_make(&data, graph->node[0]->attributes, 4, 9);
        struct bg_program *one =
            support_program(graph, &(struct bg_program_options){.batch = 4, .mode = BG_MODE_TRAIN});
        support_step(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_OBSERVE});
        support_step(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_OBSERVE});
        const struct bg_tensor *d =
            &one->step[one->step_of[bg_graph_find(graph, "one")->index]].d_out;
        const struct bg_tensor *e =
            &one->step[one->step_of[bg_graph_find(graph, "two")->index]].d_out;
        cr_assert(d->data == e->data && bg_tensor_count(d) <= 4096);
        memset(raw[i], 0, sizeof raw[i]);
        memcpy(raw[i], d->data, (size_t)bg_tensor_count(d) * sizeof(float));
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_plan_free(&plan);
        bg_graph_destroy(graph);
    }
    cr_expect(memcmp(raw[0], raw[1], sizeof raw[0]) == 0);
}

static void see_weights(void *self, int index, enum bg_quantity quantity,
                        const struct bg_tensor *gradient)
{
    const struct bg_graph *graph = self;
    const struct bg_gradient_grid *grid = &graph->layer[index]->weight_gradient;
    const int64_t outputs = gradient->shape.dims[0], each = bg_tensor_count(gradient) / outputs;
    const float *dw = bg_f32(gradient);

    if (quantity != BG_QUANTITY_WEIGHT_GRAD)
        return;
    for (int64_t o = 0; o < outputs; o++) {
        const int64_t first = grid->per_channel ? o * each : 0;
        const int64_t n = grid->per_channel ? each : outputs * each;
        const double qmax = (double)((1 << (grid->bits - 1)) - 1);
        double peak = 0.0;
        for (int64_t i = 0; i < n; i++)
            peak = fmax(peak, fabs((double)dw[first + i]));
        for (int64_t i = 0; i < n && peak > 0.0; i++) {
            const double code = (double)dw[first + i] / peak * qmax;
            cr_expect(fabs(code - nearbyint(code)) < 1e-4, "%s: %g is no code",
                      graph->layer[index]->name, code);
        }
    }
}

Test(low_gradients, weight_gradients_reach_the_update_on_their_grid)
{
    for (int kind = FAST; kind <= REFERENCE; kind++)
        for (int form = 0; form < 2; form++) {
            const struct asked asked = {8, {0}, integer(5 - form, form == 1), BG_ROUND_NEAREST};
            struct support_batch data;
            if (kind <= CODED && !bg_train_available())
                continue;
            struct bg_graph *graph = make(kind, &asked, &data);
            struct bg_program *one = program(graph, kind);
            const struct bg_observer observer = {.self = graph, .see = see_weights};
            const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE, .observer = &observer};
            support_step(one, &data.batch, &moment);
            for (int i = 0; i < graph->layers; i++)
                see_weights(graph, i, BG_QUANTITY_WEIGHT_GRAD, &graph->layer[i]->param[0]->grad);
            bg_program_destroy(one);
            support_batch_free(&data);
            bg_graph_destroy(graph);
        }
}

Test(low_gradients, what_bf16_cannot_hold_runs_in_f32)
{
    const struct asked asked = {.weight_bits = 8};
    const struct bg_quantize_options options = {.weight_range = &extremes,
                                                .activation_range = &extremes};
    struct support_batch data;
    struct bg_plan plan = {0};

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    struct bg_graph *graph = make(FAST, &asked, &data);
    support_plan(&plan, graph, 8, 8);
    plan.layer[2].spec[BG_ROLE_OUT_GRAD] = integer(10, false);
    plan.layer[3].spec[BG_ROLE_WEIGHT_GRAD] = integer(16, false); /* no matter */
    OK(bg_graph_quantize(graph, &plan, &options));
    struct bg_program *one = program(graph, FAST);
    const struct bg_fastness fastness = bg_program_fastness(one);
    cr_expect(!fastness.whole && fastness.coded == 3 && fastness.layers == 5); /* c2, depthwise */
    cr_expect(strstr(fastness.why, "c2: g=s10 has more bits than bf16 holds") != NULL, "%s",
              fastness.why);
    support_step(one, &data.batch, &(struct bg_run_moment){.flags = BG_RUN_OBSERVE});
    bg_program_destroy(one);
    bg_plan_free(&plan);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* The observer breaks the gradient of what `fc` reads. */
static void spoil(void *self, int index, enum bg_quantity quantity,
                  const struct bg_tensor *gradient)
{
    (void)self;
    if (index == 4 && quantity == BG_QUANTITY_IN_GRAD)
        bg_f32(gradient)[0] = NAN;
}

Test(low_gradients, what_is_not_finite_is_named)
{
    const struct asked asked = {8, integer(8, false), {0}, BG_ROUND_NEAREST};
    const struct bg_observer observer = {.see = spoil};
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};
    struct support_batch data;

    for (int kind = CODED; kind <= REFERENCE; kind++) {
        if (kind == CODED && !bg_train_available())
            continue;
        struct bg_graph *graph = make(kind, &asked, &data);
        struct bg_program *one = program(graph, kind);
        moment.observer = &observer;
        OK(bg_program_forward(one, &data.batch, &moment));
        cr_expect(bg_program_backward(one, &moment) == BG_E_NUMERIC);
        cr_expect_str_eq(bg_error(), "conv2d short: its output gradient has a NaN or infinity");
        bg_program_destroy(one);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

Test(low_gradients, a_step_allocates_nothing_and_is_repeatable)
{
    const struct asked asked = {8, integer(8, true), integer(8, true), BG_ROUND_STOCHASTIC};

    for (int kind = FAST; kind <= EXACT; kind++) {
        double loss[2] = {0.0, 0.0};
        for (int round = 0; round < 2 && (kind == EXACT || bg_train_available()); round++) {
            struct support_batch data;
            struct bg_graph *graph = make(kind, &asked, &data);
            struct bg_program *one = program(graph, kind);
            for (int step = 0; step < 4; step++) {
                const uint64_t calls = bg_alloc_calls();
                support_step(one, &data.batch,
                             &(struct bg_run_moment){.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN,
                                                     .seed = 1,
                                                     .step = (uint64_t)step});
                cr_expect(bg_alloc_calls() == calls, "step %d", step);
                support_descend(graph, 0.05);
            }
            loss[round] = bg_program_loss(one);
            bg_program_destroy(one);
            support_batch_free(&data);
            bg_graph_destroy(graph);
        }
        cr_expect(loss[0] == loss[1], "%.17g and %.17g", loss[0], loss[1]);
    }
}

Test(low_gradients, plans_come_and_go_and_a_gradient_check_needs_f32)
{
    struct bg_graph *graph = support_fork();
    struct support_batch data;
    struct bg_gradient_check result;
    struct bg_plan plan = {0};
    const struct bg_quantize_options options = {.weight_range = &support_min_max,
                                                .activation_range = &support_min_max};

    support_plan(&plan, graph, 0, 0);
    plan.layer[1].spec[BG_ROLE_WEIGHT_GRAD] = integer(8, false);
    OK(bg_graph_quantize(graph, &plan, &options));
    cr_expect(graph->layer[1]->weight_gradient.bits == 8 && graph->quantizers == 0);
    support_batch_make(&data, graph->node[0]->attributes, 2, 9);
    cr_expect(bg_check_gradients(graph, &data.batch, BG_COMPUTE_EXACT, 1e-3, &result) ==
              BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "gradient check: the plan rounds the gradients of one");
    OK(bg_graph_quantize(graph, NULL, NULL));
    cr_expect(graph->layer[1]->weight_gradient.format == BG_FORMAT_F32);
    OK(bg_check_gradients(graph, &data.batch, BG_COMPUTE_EXACT, 1e-3, &result));
    bg_plan_free(&plan);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}
