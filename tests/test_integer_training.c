/* Training with weights that live in integers: methods named by plan and section, no f32 copy,
 * checkpoints and restarts, refusals. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/h5.h"
#include "core/integer_update.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/train_conv.h"
#include "core/store.h"
#include "policies/select.h"
#include "policies/trainer.h"
#include "tests/support_source.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())
#define SAMPLES   96
#define PIXELS    (8 * 8 * 2)

static const struct bg_sample_spec image = {
    .height = 8, .width = 8, .channels = 2, .classes = 3, .dtype = BG_F32, .scale = 1};

struct fixture {
    struct support_source source;
    float images[SAMPLES * PIXELS];
    int32_t labels[SAMPLES];
    struct bg_net net;
    struct bg_trainer *trainer;
    void *range_options[2];
    double first_loss, last_loss;
};

/* conv, norm, relu, conv, relu, flatten, linear */
static void build(struct bg_net *net)
{
    const struct bg_conv2d conv = {.out_channels = 6,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    struct bg_node *x = NULL;
    *net = (struct bg_net){.name = "small", .input = image};
    OK(bg_graph_create(&net->graph));
    OK(bg_node_input(net->graph, "input", &image, &x));
    OK(bg_node_conv2d(net->graph, "conv1", x, &conv, &x));
    OK(bg_node_batch_norm(net->graph, "norm1", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(net->graph, "relu1", x, &x));
    OK(bg_node_conv2d(net->graph, "conv2", x, &conv, &x));
    OK(bg_node_batch_norm(net->graph, "norm2", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(net->graph, "relu2", x, &x));
    OK(bg_node_flatten(net->graph, "flat", x, &x));
    OK(bg_node_linear(net->graph, "fc", x, 3, true, &x));
    net->output = x;
    OK(bg_node_softmax_cross_entropy(net->graph, "loss", x, 0, &x));
    bg_graph_initialise(net->graph, 1);
}

/* Each class has its own pattern under noise of equal size. */
static void make(struct fixture *f, enum bg_compute compute)
{
    const struct bg_rng pattern = {.seed = 11, .stream = BG_STREAM_TEST};
    const struct bg_rng noise = {.seed = 12, .stream = BG_STREAM_TEST};
    memset(f, 0, sizeof *f);
    for (int i = 0; i < SAMPLES; i++) {
        f->labels[i] = i % 3;
        for (int p = 0; p < PIXELS; p++)
            f->images[i * PIXELS + p] =
                (float)(bg_rng_normal(&pattern, (uint64_t)(i % 3 * PIXELS + p)) +
                        bg_rng_normal(&noise, (uint64_t)(i * PIXELS + p)));
    }
    support_source_open(&f->source, &image, SAMPLES, 16, f->images, f->labels);
    build(&f->net);
    const struct bg_trainer_config config = {
        .net = &f->net, .compute = compute, .seed = 1, .batch = 16, .eval_batch = 16};
    OK(bg_trainer_create(&f->trainer, &config));
}

static void take_down(struct fixture *f)
{
    bg_trainer_destroy(f->trainer);
    bg_graph_destroy(f->net.graph);
    bg_free(f->range_options[0]);
    bg_free(f->range_options[1]);
}

static enum bg_status apply(struct fixture *f, const char *text)
{
    struct bg_quantize_options options = {.rounding = BG_ROUND_NEAREST};
    struct bg_plan plan = {0};
    struct bg_text errors;
    enum bg_status rc = BG_OK;
    bg_text_init(&errors, 1024);
    OK(bg_plan_parse(&plan, "plan", text));
    for (int i = 0; i < 2; i++)
        bg_free(f->range_options[i]);
    OK(bg_range_choose(NULL, "min-max", "w", &options.weight_range, &f->range_options[0], &errors));
    OK(bg_range_choose(NULL, "moving-average", "a", &options.activation_range, &f->range_options[1],
                       &errors));
    options.weight_range_options = f->range_options[0];
    options.activation_range_options = f->range_options[1];
    rc = bg_trainer_apply(f->trainer, &plan, &options);
    bg_plan_free(&plan);
    bg_text_free(&errors);
    return rc;
}

/* The same update for all layers. */
static void apply_all(struct fixture *f, int bits, const char *update)
{
    char text[256];
    snprintf(text, sizeof text,
             "conv1 w=s%d a=u8 u=%s\nconv2 w=s%d a=u8 u=%s\nfc w=s%d a=u8 u=%s\n", bits, update,
             bits, update, bits, update);
    OK(apply(f, text));
}

static enum bg_status on_step(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state)
{
    struct fixture *f = self;
    (void)state;
    if (row->step == 1)
        f->first_loss = row->loss;
    f->last_loss = row->loss;
    return BG_OK;
}

static enum bg_status train(struct fixture *f, const char *yaml, struct bg_train_state *state)
{
    const struct bg_train_hooks hooks = {.self = f, .on_step = on_step};
    struct bg_train_options options;
    struct bg_document *document = NULL;
    struct bg_text errors;
    enum bg_status rc;
    bg_text_init(&errors, 4096);
    OK(bg_yaml_parse_text(&document, "test", yaml, strlen(yaml)));
    cr_assert(bg_options_read(bg_document_root(document), bg_train_options_table, NULL, "train",
                              &options, &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    rc = bg_trainer_train(f->trainer, &options, &f->source.source, NULL, state, &hooks);
    bg_text_free(&errors);
    bg_document_free(document);
    return rc;
}

static struct bg_param *weight(const struct fixture *f, int layer)
{
    return bg_graph_layer_weight(f->net.graph, layer);
}

static const char *const methods[] = {"residual:8", "threshold:16", "nearest", "stochastic",
                                      "kahan-bf16"};

Test(integer_training, every_method_learns_without_an_f32_copy)
{
    static struct fixture f;
    for (int compute = 0; compute < 2; compute++)
        for (int m = 0; m < 5; m++) {
            struct bg_train_state state = {0};
            struct bg_store_bytes integers, masters;
            struct bg_evaluation evaluation;
            make(&f, compute == 0 ? BG_COMPUTE_FAST : BG_COMPUTE_EXACT);
            apply_all(&f, 8, methods[m]);
            OK(train(&f, "{epochs: 5, lr: 0.05, no_displacement: true}", &state));
            cr_assert(f.last_loss < 0.25 * f.first_loss, "%s: %g to %g", methods[m], f.first_loss,
                      f.last_loss);
            bg_trainer_bytes(f.net.graph, &integers, &masters);
            cr_assert(masters.weights == 0 && integers.codes == integers.weights);
            /* the exact program, and the fast one where it falls back to it, keep a projection */
            cr_assert(compute == 1 || !bg_train_available() || integers.values == 0,
                      "%s: %d bytes of f32", methods[m], (int)integers.values);
            cr_assert(integers.momentum == 4 * integers.weights);
            for (int i = 0; i < 3; i++) {
                cr_assert(weight(&f, i)->store && !weight(&f, i)->value.data);
                cr_assert(weight(&f, i)->store->updates == 30 * weight(&f, i)->store->count);
                OK(bg_store_valid(weight(&f, i)->store, &weight(&f, i)->quantizer->grid, "w"));
            }
            OK(bg_trainer_evaluate(f.trainer, &f.source.source, &evaluation));
            cr_assert(evaluation.integer && evaluation.accuracy > 0.9);
            take_down(&f);
        }
}

Test(integer_training, options_of_each_kind_learn)
{
    static const char *const options[] = {
        "{epochs: 5, lr: 0.05, update: residual, options: {quantise: gradient, split: floor}}",
        "{epochs: 5, lr: 0.05, update: residual, options: {momentum_format: bf16, nesterov: true, "
        "weight_decay: 0.001}}",
        "{epochs: 5, lr: 0.05, update: residual, options: {momentum_format: s16, bits: 12}}",
        "{epochs: 5, lr: 0.05, update: residual, options: {momentum: 0, tune: stochastic, grid: "
        "power-of-two}}",
        "{epochs: 5, lr: 0.05, update: threshold, options: {rounding: bit-rule, period: 2}}",
        "{epochs: 5, lr: 0.05, update: residual, options: {grid: refit, refit_every: 4, headroom: "
        "4}}",
        "{epochs: 5, lr: 0.05, update: threshold, options: {bits: 20, threshold_bit: 1}}",
        "{epochs: 5, lr: 0.05, update: threshold, options: {form: dynamic, refit_every: 4, "
        "headroom: "
        "4}}",
        "{epochs: 10, lr: 0.025, update: residual, options: {gradients: 2, sum_bits: 2}}",
        "{epochs: 5, lr: 0.05, update: threshold, options: {bits: 8, form: fixed, adapt: true, "
        "refit_every: 2, ratio_low: 0.5, ratio_high: 0.9}}"};
    static struct fixture f;
    for (int i = 0; i < 10; i++) {
        struct bg_train_state state = {0};
        int64_t moved = 0;
        make(&f, BG_COMPUTE_FAST);
        apply_all(&f, 6, "sgd");
        OK(train(&f, options[i], &state));
        cr_assert(f.last_loss < 0.4 * f.first_loss, "%s: %g to %g", options[i], f.first_loss,
                  f.last_loss);
        cr_assert((weight(&f, 0)->state.data == NULL) == (i > 0 && i < 4));
        for (int64_t c = 0; (i == 3 || i == 7 || i == 9) && c < 6; c++) {
            int exponent;
            cr_assert(frexpf(weight(&f, 0)->quantizer->grid.scale[c], &exponent) == 0.5f);
        }
        for (int64_t c = 0; c < weight(&f, 2)->store->channels; c++)
            moved += weight(&f, 2)->store->shift[c] != weight(&f, 2)->store->spec.low;
        cr_assert((moved > 0) == (i == 5 || i == 7 || i == 9), "%s: %d grids moved", options[i],
                  (int)moved);
        take_down(&f);
    }
}

static const char mixed[] = "conv1 w=s8 a=u8\nconv2 w=s4/tensor a=u8 u=residual:12\n"
                            "fc w=s6 a=u8 u=threshold:14\n";

Test(integer_training, layers_of_one_network_take_different_methods)
{
    static struct fixture f;
    struct bg_train_state state = {0};
    make(&f, BG_COMPUTE_FAST);
    OK(apply(&f, mixed));
    OK(train(&f,
             "{epochs: 6, lr: 0.05, options: {nesterov: true}, updates: {threshold: {rounding: "
             "floor}}}",
             &state));
    cr_assert(f.last_loss < 0.4 * f.first_loss, "%g to %g", f.first_loss, f.last_loss);
    cr_assert(!weight(&f, 0)->store && weight(&f, 0)->value.data);
    cr_assert(weight(&f, 1)->store->spec.low == 12 && weight(&f, 1)->store->channels == 1);
    cr_assert(weight(&f, 2)->store->spec.form == BG_STORE_BUFFER &&
              weight(&f, 2)->store->spec.buffer == 14);
    take_down(&f);
}

static bool same_array(const void *a, const void *b, int64_t count, int bytes)
{
    return (a == NULL) == (b == NULL) && (a == NULL || !memcmp(a, b, (size_t)(count * bytes)));
}

static void expect_equal(const struct fixture *a, const struct fixture *b)
{
    for (int i = 0; i < bg_graph_param_count(a->net.graph); i++) {
        const struct bg_param *p = bg_graph_param(a->net.graph, i);
        const struct bg_param *q = bg_graph_param(b->net.graph, i);
        const struct bg_store *s = p->store, *t = q->store;
        const int64_t n = bg_tensor_count(&p->value);
        cr_assert(same_array(p->value.data, q->value.data, n, 4), "%s", p->name);
        cr_assert(same_array(p->state.data, q->state.data, n, 4), "%s", p->name);
        cr_assert((s == NULL) == (t == NULL));
        if (s == NULL)
            continue;
        cr_assert(bg_store_spec_equal(&s->spec, &t->spec));
        cr_assert(same_array(s->codes, t->codes, n, s->code_bytes), "%s", p->name);
        cr_assert(same_array(s->below, t->below, n, s->below_bytes), "%s", p->name);
        cr_assert(same_array(s->sum, t->sum, n, 4), "%s", p->name);
        cr_assert(same_array(s->shift, t->shift, s->channels, 1), "%s", p->name);
        cr_assert(same_array(s->momentum, t->momentum, n, s->momentum_bytes), "%s", p->name);
        cr_assert(s->written == t->written && s->lost == t->lost && s->dropped == t->dropped);
        cr_assert(same_array(s->top, t->top, 2, (int)sizeof *s->top));
        cr_assert(p->quantizer == NULL ||
                  same_array(p->quantizer->grid.scale, q->quantizer->grid.scale,
                             p->quantizer->grid.channels, 4));
    }
}

static void save(const struct fixture *f, const char *path)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_create(&file, path));
    OK(bg_net_save(&f->net, file));
    OK(bg_h5_close(file));
}

static enum bg_status load(struct fixture *f, const char *path)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_open(&file, path));
    enum bg_status rc = bg_net_load(&f->net, file);
    OK(bg_h5_close(file));
    return rc;
}

#define SECTION(updates_)                                                                          \
    "{epochs: 4, lr: 0.05, schedule: cosine, options: {momentum: 0.9}, updates: {" updates_ "}}"

static enum bg_status stop_at_7(void *self, const struct bg_train_step_row *row,
                                const struct bg_train_state *state)
{
    (void)self;
    (void)state;
    return row->step == 7 ? bg_fail(BG_E_IO, "stop") : BG_OK;
}

Test(integer_training, goes_on_from_a_file_with_the_same_bits)
{
    static const char *const cases[][2] = {
        {"conv1 w=s8 a=u8 u=threshold:12\nconv2 w=s4 a=u8 u=residual:12\nfc w=s8 a=u8 "
         "u=kahan-bf16\n",
         SECTION("residual: {momentum_format: s16, grid: refit, refit_every: 3}, threshold: "
                 "{momentum_format: bf16, period: 3}")},
        {"conv1 w=s8 a=u8 u=stochastic\nconv2 w=s12 a=u8 u=residual:20\nfc w=s2 a=u8 u=nearest\n",
         SECTION("residual: {momentum_format: s16, grid: refit, refit_every: 3}")},
        {"conv1 w=s8 a=u8 u=residual:10\nconv2 w=s4 a=u8 u=threshold:12\nfc w=s6 a=u8 "
         "u=residual:4\n",
         SECTION("residual: {gradients: 4, sum_bits: 3, grid: refit, refit_every: 3}, threshold: "
                 "{form: dynamic, refit_every: 3}")},
        {"conv1 w=s8 a=u8 u=residual:10\nconv2 w=s4 a=u8 u=threshold:12\nfc w=s6 a=u8 "
         "u=threshold\n",
         SECTION("residual: {gradients: 3, tune: stochastic}, threshold: {form: fixed, bits: 10, "
                 "adapt: true, ratio_low: 0.05, ratio_high: 0.2, refit_every: 2}")},
        {"conv1 u=threshold:14\nconv2 w=s4 a=u8 u=residual:12\nfc u=threshold\n",
         SECTION(
             "threshold: {form: float, exponent: 4, mantissa: 3, buffer_exponent: 6, period: 3, "
             "tune: stochastic, momentum_format: bf16}")}};
    static struct fixture whole, parts;
    char dir[] = "/tmp/bitgrad-test-XXXXXX", path[64];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/net.h5", dir);
    for (int p = 0; p < 5; p++) {
        struct bg_train_state state = {0}, half = {0};
        struct bg_train_options options;
        struct bg_document *document = NULL;
        struct bg_text errors;
        const struct bg_train_hooks hooks = {.on_step = stop_at_7};
        make(&whole, BG_COMPUTE_FAST);
        OK(apply(&whole, cases[p][0]));
        OK(train(&whole, cases[p][1], &state));

        make(&parts, BG_COMPUTE_FAST);
        OK(apply(&parts, cases[p][0]));
        bg_text_init(&errors, 1024);
        OK(bg_yaml_parse_text(&document, "test", cases[p][1], strlen(cases[p][1])));
        OK(bg_options_read(bg_document_root(document), bg_train_options_table, NULL, "train",
                           &options, &errors));
        cr_assert(bg_trainer_train(parts.trainer, &options, &parts.source.source, NULL, &half,
                                   &hooks) == BG_E_IO);
        bg_document_free(document);
        bg_text_free(&errors);
        save(&parts, path);
        take_down(&parts);
        make(&parts, BG_COMPUTE_FAST);
        OK(apply(&parts, cases[p][0]));
        OK(load(&parts, path));
        OK(train(&parts, cases[p][1], &half));
        expect_equal(&whole, &parts);
        take_down(&parts);
        take_down(&whole);
    }
    unlink(path);
    rmdir(dir);
}

#define FLOATS                                                                                     \
    "{epochs: 5, lr: 0.05, update: threshold, options: {form: float, exponent: 4, mantissa: 3, "   \
    "weight_decay: 0.001}}"

/* An f32 network whose weights are 8-bit floats: forward reads what they stand for. */
Test(integer_training, small_floats_learn_and_go_back_to_masters)
{
    static struct fixture f, g;
    static float sum[2000], now[2000];
    struct bg_train_state state = {0}, other = {0}, none = {0};
    struct bg_store_bytes integers, masters;
    struct bg_snapshot *snapshot = NULL;
    for (int i = 0; i < 2; i++) {
        struct fixture *one = i == 0 ? &f : &g;
        make(one, BG_COMPUTE_FAST);
        OK(train(one, FLOATS, i == 0 ? &state : &other));
        cr_assert(one->last_loss < 0.4 * one->first_loss, "%g to %g", one->first_loss,
                  one->last_loss);
    }
    expect_equal(&f, &g);
    bg_trainer_bytes(f.net.graph, &integers, &masters);
    cr_assert(masters.weights == 0 && integers.codes == integers.weights);
    cr_assert(integers.values == 4 * integers.weights, "the projection");
    for (int i = 0; i < 3; i++) {
        const struct bg_param *w = weight(&f, i);
        const struct bg_float_format format = bg_store_format(w->store, BG_FLOAT_WEIGHT);
        cr_assert(!w->value.data && !w->quantizer && w->store->written > 0 && w->forward.data);
        OK(bg_store_valid(w->store, NULL, "w"));
        for (int64_t k = 0; k < w->store->count; k++) {
            const double x = (double)bg_f32(&w->forward)[k];
            cr_assert(bg_float_round(&format, x, BG_TUNE_NEAREST) == x);
        }
    }
    const struct bg_param *fc = weight(&f, 2);
    bg_param_read(fc, 0, fc->store->count, sum);
    OK(bg_net_snapshot(&f.net, &snapshot));
    const int64_t n = fc->store->count;
    OK(train(&f, "{epochs: 0, lr: 0.05}", &none)); /* f32 masters hold weight and buffer */
    cr_assert(!fc->store && fc->value.data == fc->forward.data);
    cr_assert(memcmp(fc->value.data, sum, (size_t)n * sizeof *sum) == 0);
    none = (struct bg_train_state){0};
    OK(train(&f, "{epochs: 1, lr: 0.05}", &none));
    OK(bg_net_restore(&f.net, snapshot));
    none = (struct bg_train_state){0};
    OK(train(&f,
             "{epochs: 0, lr: 0.05, update: threshold, options: {form: float, exponent: 4, "
             "mantissa: 3, bits: 24}}",
             &none));
    bg_param_read(fc, 0, n, now); /* a buffer of other width: masters in between */
    for (int64_t i = 0; i < n; i++)
        cr_assert(fabsf(now[i] - sum[i]) <= 0x1p-18f * fabsf(sum[i]) + 1e-9f);
    OK(bg_net_restore(&f.net, snapshot));
    none = (struct bg_train_state){0};
    apply_all(&f, 8, "residual:8"); /* integers in their place, and floats again */
    OK(train(&f, "{epochs: 1, lr: 0.05}", &none));
    cr_assert(fc->store && fc->quantizer);
    OK(bg_trainer_apply(f.trainer, NULL, NULL));
    none = (struct bg_train_state){0};
    OK(train(&f, FLOATS, &none));
    bg_snapshot_free(snapshot);
    take_down(&f);
    take_down(&g);
}

Test(integer_training, files_of_other_widths_are_refused)
{
    static const struct {
        int bits;
        const char *update, *sentence;
    } cases[] = {
        {8, "residual:12", "8 bits in the file, the network's plan asks for u=residual:12"},
        {4, "residual:8", "weights of 8 bits in the file, 4 in the network's plan"}};
    static struct fixture f, g;
    struct bg_train_state state = {0}, resumed = {.step = 6, .best_accuracy = -1};
    char dir[] = "/tmp/bitgrad-test-XXXXXX", path[64];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/net.h5", dir);
    make(&f, BG_COMPUTE_FAST);
    apply_all(&f, 8, "residual:8");
    OK(train(&f, "{epochs: 1, lr: 0.05}", &state));
    save(&f, path);
    for (int i = 0; i < 2; i++) {
        make(&g, BG_COMPUTE_FAST);
        apply_all(&g, cases[i].bits, cases[i].update);
        cr_assert(load(&g, path) == BG_E_MISMATCH);
        cr_assert(strstr(bg_error(), "conv1") && strstr(bg_error(), cases[i].sentence), "%s",
                  bg_error());
        cr_assert(!weight(&g, 0)->store, "nothing has changed");
        take_down(&g);
    }
    make(&g, BG_COMPUTE_FAST); /* the same file, another method in the section */
    apply_all(&g, 8, "sgd");
    OK(load(&g, path));
    cr_assert(train(&g, "{epochs: 2, lr: 0.05, update: residual, options: {bits: 9}}", &resumed) ==
              BG_E_MISMATCH);
    cr_assert(strstr(bg_error(), "conv1.weight: the state holds 8-bit weights with residual and 8 "
                                 "bits below, the plan asks for 8 bits with residual and 9"),
              "%s", bg_error());
    cr_assert(train(&g, "{epochs: 2, lr: 0.05}", &resumed) == BG_E_MISMATCH);
    take_down(&g);
    take_down(&f);
    unlink(path);
    rmdir(dir);
}

Test(integer_training, refuses_what_cannot_hold)
{
    static const struct {
        const char *plan, *options, *sentence;
        enum bg_status rc;
    } cases[] = {
        {"threshold:3", "{lr: 0.1}", "conv1.weight: u=threshold:3: a sign and 3", BG_E_RANGE},
        {"threshold:12", "{lr: 0.1, updates: {threshold: {period: 9}}}",
         "9 updates of one step and a threshold of 1 steps do not fit 3 overlapping bits, which "
         "hold 8 steps",
         BG_E_RANGE},
        {"nearest:4", "{lr: 0.1}", "conv1.weight: u=nearest:4: nearest keeps no bits",
         BG_E_UNSUPPORTED},
        {"threshold:12", "{lr: 0.1, updates: {threshold: {grid: refit}}}",
         "conv1.weight: grid: refit needs a residual below the weights; form: dynamic moves the "
         "point of a buffer",
         BG_E_UNSUPPORTED},
        {"threshold:6", "{lr: 0.1, updates: {threshold: {adapt: true}}}",
         "conv1.weight: adapt: a buffer of 6 bits between 8 and 24, of which 3 and a sign lie over "
         "the weight",
         BG_E_RANGE},
        {"residual:22", "{lr: 0.1, updates: {residual: {gradients: 256}}}",
         "conv1.weight: a sum of 256 gradients of one step each with 22 bits below does not fit 30 "
         "bits",
         BG_E_RANGE},
        {"threshold:16", "{lr: 0.1, updates: {threshold: {form: float}}}",
         "conv1.weight: small floats are no integers: they want w=f32, the layer has w=s8",
         BG_E_UNSUPPORTED},
        {"", "{lr: 0.1, update: threshold}",
         "train: update: threshold has no weight to move: form: float moves those with w=f32, "
         "other "
         "forms those of 2 to 16 bits",
         BG_E_UNSUPPORTED},
        {"", "{lr: 1000, update: threshold, options: {form: float, momentum: 0}}",
         "weights would move in one step by more than their buffer of ", BG_E_RANGE},
        {"residul:8", "{lr: 0.1}", "did you mean 'residual'?", BG_E_DATA},
        {"residual:8", "{lr: 1000, options: {momentum: 0}}",
         "weights would move in one step by more than weights of 8 bits take, ", BG_E_RANGE},
        {"kahan-bf16", "{lr: 1000, options: {momentum: 0}}",
         "weights would move in one step by more than weights of 8 bits take, ", BG_E_RANGE},
        {"nearest:0", "{lr: 0.1}", "conv1.weight: u=nearest:0: nearest keeps no bits",
         BG_E_UNSUPPORTED},
        {"threshold:0", "{lr: 0.1}", "conv1.weight: u=threshold:0: a sign and", BG_E_RANGE}};
    static struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bg_train_state state = {0};
        make(&f, BG_COMPUTE_FAST);
        if (cases[i].plan[0] != '\0')
            apply_all(&f, 8, cases[i].plan);
        cr_assert(train(&f, cases[i].options, &state) == cases[i].rc, "%d", (int)i);
        cr_assert(strstr(bg_error(), cases[i].sentence), "%s", bg_error());
        take_down(&f);
    }
}

/* No bits below are bits that a plan can name: not those of the method's option. */
Test(integer_training, residual_0_is_none)
{
    static struct fixture f;
    struct bg_train_state state = {0};
    make(&f, BG_COMPUTE_FAST);
    apply_all(&f, 8, "residual:0");
    OK(train(&f, "{lr: 0.1}", &state));
    for (int i = 0; i < 3; i++)
        cr_assert(weight(&f, i)->store->spec.low == 0 && weight(&f, i)->store->below == NULL);
    take_down(&f);
}

/* A step of the grid is worth more than any step of training: rounding to nearest never moves. */
Test(integer_training, nearest_stalls_where_a_residual_does_not)
{
    static struct fixture f;
    double loss[2];
    for (int m = 0; m < 2; m++) {
        struct bg_train_state state = {0};
        int64_t written = 0;
        make(&f, BG_COMPUTE_FAST);
        apply_all(&f, 4, m == 0 ? "nearest" : "residual:12");
        OK(train(&f, "{epochs: 30, lr: 0.001}", &state));
        for (int i = 0; i < 3; i++)
            written += weight(&f, i)->store->written;
        cr_assert(m == 0 ? written == 0 : written > 50, "%d codes", (int)written);
        cr_assert(m == 1 || weight(&f, 0)->store->kept == 0);
        loss[m] = f.last_loss;
        take_down(&f);
    }
    cr_assert(loss[1] < 0.8 * loss[0], "%g and %g", loss[0], loss[1]);
}

/* From masters to codes and residuals and back: half of the residual's last bit. */
Test(integer_training, a_stage_in_integers_begins_where_masters_were)
{
    static struct fixture f;
    static float before[2000], now[2000];
    struct bg_train_state state = {0}, none = {0};
    make(&f, BG_COMPUTE_FAST);
    apply_all(&f, 8, "sgd");
    OK(train(&f, "{epochs: 2, lr: 0.05}", &state));
    const int64_t n = bg_tensor_count(&weight(&f, 2)->value);
    cr_assert(n <= 2000);
    bg_param_read(weight(&f, 2), 0, n, before);
    OK(train(&f, "{epochs: 0, lr: 0.05, update: residual, options: {bits: 12}}", &none));
    cr_assert(weight(&f, 2)->store);
    bg_param_read(weight(&f, 2), 0, n, now);
    for (int64_t i = 0; i < n; i++) {
        const float s = weight(&f, 2)->quantizer->grid.scale[i / (n / 3)];
        cr_assert(fabsf(now[i] - before[i]) <= s * 0x1p-13f * 1.01f);
    }
    OK(bg_trainer_apply(f.trainer, NULL, NULL));
    cr_assert(!weight(&f, 2)->store && weight(&f, 2)->value.data && weight(&f, 2)->state.data);
    bg_param_read(weight(&f, 2), 0, n, before);
    cr_assert(memcmp(before, now, (size_t)n * sizeof *now) == 0);
    take_down(&f);
}

Test(integer_training, a_snapshot_goes_back_to_integers_and_to_masters)
{
    static struct fixture f, g;
    static float now[2000], then[2000];
    struct bg_train_state state = {0}, other = {0}, more = {0};
    struct bg_snapshot *snapshot = NULL;
    const char sgd[] = "{epochs: 1, lr: 0.05, update: sgd}";
    for (int i = 0; i < 2; i++) {
        struct fixture *one = i == 0 ? &f : &g;
        make(one, BG_COMPUTE_FAST);
        apply_all(one, 8, "sgd");
        OK(train(one, "{epochs: 1, lr: 0.05, update: residual}", i == 0 ? &state : &other));
    }
    OK(bg_net_snapshot(&f.net, &snapshot));
    bg_param_read(weight(&f, 2), 0, bg_tensor_count(&weight(&f, 2)->value), then);
    OK(train(&f, sgd, &more));
    cr_assert(!weight(&f, 2)->store);
    OK(bg_net_restore(&f.net, snapshot));
    cr_assert(weight(&f, 2)->store != NULL);
    for (int i = 0; i < 3; i++)
        cr_assert(same_array(weight(&f, i)->store->codes, weight(&g, i)->store->codes,
                             weight(&g, i)->store->count, 1));
    OK(bg_trainer_apply(f.trainer, NULL, NULL));
    OK(bg_net_restore(&f.net, snapshot)); /* no grid any more */
    const int64_t n = bg_tensor_count(&weight(&f, 2)->value);
    bg_param_read(weight(&f, 2), 0, n, now);
    cr_assert(!weight(&f, 2)->store && memcmp(now, then, (size_t)n * sizeof *now) == 0);
    bg_snapshot_free(snapshot);
    take_down(&f);
    take_down(&g);
}

Test(integer_training, displacement_is_that_of_the_real_values_and_is_undone)
{
    static struct fixture f, g;
    struct bg_train_state state = {0}, other = {0};
    struct bg_profile profile;
    struct bg_train_options options;
    for (int i = 0; i < 2; i++) {
        struct fixture *one = i == 0 ? &f : &g;
        make(one, BG_COMPUTE_FAST);
        apply_all(one, 8, "residual:8");
        OK(train(one, "{epochs: 1, lr: 0.05}", i == 0 ? &state : &other));
    }
    OK(bg_options_defaults(bg_train_options_table, &options));
    OK(bg_trainer_profile_make(&f.net, false, &profile));
    OK(bg_trainer_profile_displacement(f.trainer, &options, &f.source.source, 2, 2, true,
                                       &profile));
    for (int i = 0; i < 3; i++)
        cr_assert(*bg_profile_displacement_at(&profile, 1, BG_REFERENCE_RESET, i) > 0);
    expect_equal(&f, &g);
    bg_profile_free(&profile);
    take_down(&f);
    take_down(&g);
}
