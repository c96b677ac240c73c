/* The trainer on small networks with an in-memory source: learning, equality of runs, resume,
 * profiling (P1, P2, X1 of policies/METHODS.md), calibration and failures. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/dnn.h"
#include "core/file.h"
#include "core/h5.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/rng.h"
#include "policies/select.h"
#include "policies/trainer.h"

/* ---- a source in memory ---- */

struct memory {
    struct bg_source source; /* first: the callbacks cast back */
    float *images, *batch_images;
    int32_t *labels, *batch_labels, *order;
    int64_t at;
    bool shuffle;
};

static int64_t pixels(const struct bg_sample_spec *spec)
{
    return spec->height * spec->width * spec->channels;
}

static enum bg_status memory_start(struct bg_source *source, int64_t epoch, int64_t skip)
{
    struct memory *m = source->self;
    const struct bg_rng rng = {.seed = 5, .stream = BG_STREAM_SHUFFLE, .step = (uint32_t)epoch};
    for (int64_t i = 0; i < source->count; i++)
        m->order[i] = (int32_t)i;
    if (m->shuffle)
        bg_rng_permutation(&rng, m->order, source->count);
    m->at = skip * source->batch;
    return BG_OK;
}

static enum bg_status memory_next(struct bg_source *source, struct bg_batch *out)
{
    struct memory *m = source->self;
    int64_t left = source->count - m->at, n = pixels(&source->spec);
    *out = (struct bg_batch){.size = left < source->batch ? left : source->batch,
                             .dtype = BG_F32,
                             .images = m->batch_images,
                             .labels = m->batch_labels};
    for (int64_t i = 0; i < out->size; i++) {
        int32_t sample = m->order[m->at++];
        memcpy(m->batch_images + i * n, m->images + sample * n, (size_t)n * sizeof(float));
        m->batch_labels[i] = m->labels[sample];
    }
    return BG_OK;
}

static void memory_make(struct memory *m, const struct bg_sample_spec *spec, int64_t count,
                        int64_t batch)
{
    int64_t n = pixels(spec);
    *m = (struct memory){.source = {.spec = *spec,
                                    .count = count,
                                    .batch = batch,
                                    .start = memory_start,
                                    .next = memory_next}};
    m->source.self = m;
    cr_assert(bg_alloc(&m->images, count * n, sizeof(float)) == BG_OK);
    cr_assert(bg_alloc(&m->batch_images, count * n, sizeof(float)) == BG_OK);
    cr_assert(bg_alloc(&m->labels, count, sizeof(int32_t)) == BG_OK);
    cr_assert(bg_alloc(&m->batch_labels, count, sizeof(int32_t)) == BG_OK);
    cr_assert(bg_alloc(&m->order, count, sizeof(int32_t)) == BG_OK);
}

static void memory_free(struct memory *m)
{
    bg_free(m->images);
    bg_free(m->batch_images);
    bg_free(m->labels);
    bg_free(m->batch_labels);
    bg_free(m->order);
}

/* ---- a small network: conv, norm, relu, conv, relu, global pool, dropout?, linear ---- */

static const struct bg_sample_spec image = {
    .height = 6, .width = 6, .channels = 2, .classes = 3, .dtype = BG_F32, .scale = 1};

struct fixture {
    struct bg_net net;
    struct bg_trainer *trainer;
    struct memory train, validation;
    void *weight_options, *activation_options; /* of the ranges; the graph reads them */
};

static void node_ok(enum bg_status rc)
{
    cr_assert(rc == BG_OK, "%s", bg_error());
}

static void build_net(struct bg_net *net, double dropout, uint64_t seed)
{
    const struct bg_conv2d conv = {.out_channels = 4,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    struct bg_node *x = NULL;
    *net = (struct bg_net){.name = "small", .input = image};
    node_ok(bg_graph_create(&net->graph));
    node_ok(bg_node_input(net->graph, "input", &image, &x));
    node_ok(bg_node_conv2d(net->graph, "conv1", x, &conv, &x));
    node_ok(bg_node_batch_norm(net->graph, "norm1", x, 1e-5, 0.1, &x));
    node_ok(bg_node_relu(net->graph, "relu1", x, &x));
    node_ok(bg_node_conv2d(net->graph, "conv2", x, &conv, &x));
    node_ok(bg_node_relu(net->graph, "relu2", x, &x));
    node_ok(bg_node_flatten(net->graph, "flat", x, &x));
    if (dropout > 0)
        node_ok(bg_node_dropout(net->graph, "drop", x, dropout, &x));
    node_ok(bg_node_linear(net->graph, "fc", x, 3, true, &x));
    net->output = x;
    node_ok(bg_node_softmax_cross_entropy(net->graph, "loss", x, 0, &x));
    bg_graph_initialise(net->graph, seed);
}

/* Separable: class c has its own fixed pattern, plus some noise. */
static void fill_patterns(struct memory *m, uint32_t step)
{
    const struct bg_rng pattern = {.seed = 11, .stream = BG_STREAM_TEST};
    const struct bg_rng noise = {.seed = 12, .stream = BG_STREAM_TEST, .step = step};
    int64_t n = pixels(&m->source.spec), classes = m->source.spec.classes;
    for (int64_t i = 0; i < m->source.count; i++) {
        m->labels[i] = (int32_t)(i % classes);
        for (int64_t p = 0; p < n; p++)
            m->images[i * n + p] =
                (float)(bg_rng_normal(&pattern, (uint64_t)(i % classes * n + p)) +
                        0.3 * bg_rng_normal(&noise, (uint64_t)(i * n + p)));
    }
}

static void new_trainer(struct fixture *f, enum bg_compute compute)
{
    const struct bg_trainer_config config = {
        .net = &f->net, .compute = compute, .seed = 1, .batch = 8, .eval_batch = 8};
    cr_assert(bg_trainer_create(&f->trainer, &config) == BG_OK, "%s", bg_error());
}

/* 30 training samples in batches of 8: three full ones and one of 6. */
static void make(struct fixture *f, double dropout)
{
    *f = (struct fixture){0};
    build_net(&f->net, dropout, 1);
    memory_make(&f->train, &image, 30, 8);
    memory_make(&f->validation, &image, 21, 8);
    fill_patterns(&f->train, 1);
    fill_patterns(&f->validation, 2);
    f->train.shuffle = true;
    new_trainer(f, BG_COMPUTE_EXACT);
}

static void take_down(struct fixture *f)
{
    bg_trainer_destroy(f->trainer);
    bg_graph_destroy(f->net.graph);
    memory_free(&f->train);
    memory_free(&f->validation);
    bg_free(f->weight_options);
    bg_free(f->activation_options);
}

/* Train options from YAML, as a recipe gives them. */
static struct bg_document *read_options(struct bg_train_options *options, const char *yaml)
{
    struct bg_document *document = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert(bg_yaml_parse_text(&document, "test", yaml, strlen(yaml)) == BG_OK, "%s", bg_error());
    cr_assert(bg_options_read(bg_document_root(document), bg_train_options_table, NULL, "train",
                              options, &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    bg_text_free(&errors);
    return document;
}

static void assert_same_params(const struct bg_net *a, const struct bg_net *b, const char *what)
{
    cr_assert(bg_graph_param_count(a->graph) == bg_graph_param_count(b->graph), "%s", what);
    for (int i = 0; i < bg_graph_param_count(a->graph); i++) {
        const struct bg_param *p = bg_graph_param(a->graph, i), *q = bg_graph_param(b->graph, i);
        size_t bytes = (size_t)bg_tensor_count(&p->value) * sizeof(float);
        cr_assert(memcmp(p->value.data, q->value.data, bytes) == 0, "%s: %s", what, p->name);
        if (p->state.data)
            cr_assert(memcmp(p->state.data, q->state.data, bytes) == 0, "%s: state of %s", what,
                      p->name);
    }
    for (int i = 0; i < bg_graph_quantizer_count(a->graph); i++) {
        const struct bg_quantizer *p = bg_graph_quantizer(a->graph, i);
        const struct bg_quantizer *q = bg_graph_quantizer(b->graph, i);
        if (p->target != BG_TARGET_ACTIVATION)
            continue;
        cr_assert(p->lo[0] == q->lo[0] && p->hi[0] == q->hi[0] && p->observed == q->observed,
                  "%s: %s", what, p->name);
    }
}

static float *values_of(const struct bg_net *net, const char *name)
{
    struct bg_param *param = bg_graph_param_find(net->graph, name);
    cr_assert(param, "%s", name);
    return bg_f32(&param->value);
}

/* Copies of all parameter values, to prove that nothing moved. */
static float *all_values(const struct bg_net *net, int64_t *count)
{
    float *all = NULL;
    *count = 0;
    for (int i = 0; i < bg_graph_param_count(net->graph); i++)
        *count += bg_tensor_count(&bg_graph_param(net->graph, i)->value);
    cr_assert(bg_alloc(&all, *count, sizeof(float)) == BG_OK);
    float *at = all;
    for (int i = 0; i < bg_graph_param_count(net->graph); i++) {
        const struct bg_tensor *value = &bg_graph_param(net->graph, i)->value;
        memcpy(at, value->data, (size_t)bg_tensor_count(value) * sizeof(float));
        at += bg_tensor_count(value);
    }
    return all;
}

static void assert_values(const struct bg_net *net, const float *before, int64_t count)
{
    int64_t now_count = 0;
    float *now = all_values(net, &now_count);
    cr_assert(now_count == count);
    cr_assert(memcmp(now, before, (size_t)count * sizeof(float)) == 0);
    bg_free(now);
}

/* ---- hooks that record ---- */

struct record {
    int64_t steps, epochs;
    struct bg_train_step_row step[256];
    struct bg_train_epoch_row epoch[64];
    struct bg_evaluation evaluation;
    int64_t stop_at; /* request a stop after this many steps; 0 = never */
    int64_t fail_at; /* on_step fails after this many */
    uint64_t allocations[256];
};

static enum bg_status on_step(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state)
{
    struct record *r = self;
    cr_assert(row->step == state->step);
    r->allocations[r->steps] = bg_alloc_calls();
    r->step[r->steps++] = *row;
    if (row->step == r->stop_at)
        bg_stop_request();
    return row->step == r->fail_at ? bg_fail(BG_E_IO, "disk full") : BG_OK;
}

static enum bg_status on_epoch(void *self, const struct bg_train_epoch_row *row,
                               const struct bg_evaluation *evaluation,
                               const struct bg_train_state *state)
{
    struct record *r = self;
    cr_assert(state->epoch_samples == 0, "the epoch is closed when the hook sees it");
    r->epoch[r->epochs++] = *row;
    if (evaluation)
        r->evaluation = *evaluation;
    return BG_OK;
}

static struct bg_train_hooks hooks_of(struct record *record, struct bg_profile *profile)
{
    return (struct bg_train_hooks){
        .self = record, .on_step = on_step, .on_epoch = on_epoch, .profile = profile};
}

static enum bg_status train(struct fixture *f, const char *yaml, struct bg_train_state *state,
                            const struct bg_train_hooks *hooks)
{
    struct bg_train_options options;
    struct bg_document *document = read_options(&options, yaml);
    enum bg_status rc = bg_trainer_train(f->trainer, &options, &f->train.source,
                                         &f->validation.source, state, hooks);
    bg_document_free(document);
    return rc;
}

#define LEARNING "{epochs: 12, lr: 0.05, schedule: cosine, warmup: 1, options: {nesterov: true}}"

/* All layers at these bits; weights by min-max, or all learned with "lsq". */
static void apply_plan(struct fixture *f, const char *range_name, int weight_bits,
                       int activation_bits)
{
    const struct bg_range_method *weight = NULL, *activation = NULL;
    bg_free(f->weight_options);
    bg_free(f->activation_options);
    struct bg_text errors;
    struct bg_plan plan = {0};
    bg_text_init(&errors, 1024);
    cr_assert(bg_range_choose(NULL, strcmp(range_name, "lsq") == 0 ? "lsq" : "min-max", "w",
                              &weight, &f->weight_options, &errors) == BG_OK);
    cr_assert(bg_range_choose(NULL, range_name, "a", &activation, &f->activation_options,
                              &errors) == BG_OK);
    const struct bg_quantize_options options = {.weight_range = weight,
                                                .activation_range = activation,
                                                .weight_range_options = f->weight_options,
                                                .activation_range_options = f->activation_options};
    const char *const names[] = {"conv1", "conv2", "fc"};
    cr_assert(bg_plan_make(&plan, names, 3) == BG_OK);
    for (int i = 0; i < 3; i++) {
        plan.layer[i].spec[BG_ROLE_WEIGHT] =
            (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = weight_bits, .per_channel = true};
        plan.layer[i].spec[BG_ROLE_ACTIVATION] =
            (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = activation_bits};
    }
    cr_assert(bg_trainer_apply(f->trainer, &plan, &options) == BG_OK, "%s", bg_error());
    bg_plan_free(&plan);
    bg_text_free(&errors);
}

/* ---- training ---- */

Test(trainer, learns_a_separable_set_and_reports_each_epoch)
{
    static struct record r;
    struct fixture f;
    struct bg_train_state state = {0};
    make(&f, 0);
    const struct bg_train_hooks hooks = hooks_of(&r, NULL);
    cr_assert(train(&f, LEARNING, &state, &hooks) == BG_OK, "%s", bg_error());
    cr_assert(r.steps == 48 && r.epochs == 12 && state.step == 48);
    cr_assert(r.epoch[11].train_loss < 0.1 && r.epoch[11].train_loss < r.epoch[0].train_loss / 4,
              "loss %g to %g", r.epoch[0].train_loss, r.epoch[11].train_loss);
    cr_assert(r.epoch[11].validation_accuracy == 1);
    cr_assert(state.best_accuracy == 1 && state.best_epoch >= 1);
    for (int64_t e = 0; e < 12; e++) {
        int64_t correct = 0;
        double loss = 0;
        for (int64_t i = 4 * e; i < 4 * e + 4; i++) {
            cr_assert(r.step[i].step == i + 1 && r.step[i].size == (i % 4 == 3 ? 6 : 8));
            correct += r.step[i].correct;
            loss += r.step[i].loss * (double)r.step[i].size;
        }
        cr_assert(r.epoch[e].epoch == e + 1 && r.epoch[e].step == 4 * e + 4);
        cr_assert(r.epoch[e].train_accuracy == (double)correct / 30);
        cr_assert(r.epoch[e].train_loss == loss / 30);
        cr_assert(r.epoch[e].lr == r.step[4 * e + 3].lr && r.epoch[e].seconds >= 0);
    }
    struct bg_evaluation e;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_OK);
    cr_assert(e.loss == r.epoch[11].validation_loss && e.accuracy == r.evaluation.accuracy);
    cr_assert(e.count == 21 && e.correct == 21 && e.classes == 3);
    for (int c = 0; c < 3; c++)
        cr_assert(e.class_count[c] == 7 && e.class_correct[c] == 7);
    take_down(&f);
}

Test(trainer, same_seed_gives_the_same_bits)
{
    struct fixture a, b;
    struct bg_train_state sa = {0}, sb = {0};
    bg_threads_set(2);
    make(&a, 0.25);
    make(&b, 0.25);
    cr_assert(train(&a, LEARNING, &sa, NULL) == BG_OK, "%s", bg_error());
    cr_assert(train(&b, LEARNING, &sb, NULL) == BG_OK, "%s", bg_error());
    assert_same_params(&a.net, &b.net, "same seed");
    cr_assert(memcmp(&sa, &sb, sizeof sa) == 0);
    take_down(&a);
    take_down(&b);
}

Test(trainer, steps_allocate_nothing_after_the_first_epoch)
{
    static struct record r;
    struct fixture f;
    struct bg_train_state state = {0};
    make(&f, 0.25);
    f.train.shuffle = true;
    const struct bg_train_hooks hooks = hooks_of(&r, NULL);
    cr_assert(train(&f, "{epochs: 4}", &state, &hooks) == BG_OK);
    cr_assert(r.steps == 16);
    cr_assert(r.allocations[3] > 0);
    /* The first evaluation, behind step 4, makes its programs; later steps nothing. */
    for (int64_t i = 5; i < 16; i++)
        cr_assert(r.allocations[i] == r.allocations[4], "step %d", (int)i + 1);
    take_down(&f);
}

Test(trainer, decay_acts_on_weights_on_the_rest_only_when_asked_and_never_on_learned_steps)
{
    for (int norms = 0; norms < 2; norms++) {
        struct fixture f;
        struct bg_train_state state = {0};
        int steps = 0;
        make(&f, 0);
        apply_plan(&f, "lsq", 4, 8);
        cr_assert(bg_trainer_calibrate(f.trainer, &f.validation.source, 1, false) == BG_OK, "%s",
                  bg_error());    /* starts the learned steps */
        f.train.source.count = 8; /* one step an epoch */
        int64_t count = 0;
        bg_graph_param_find(f.net.graph, "fc.bias")->version++;
        values_of(&f.net, "fc.bias")[0] = 0.5f;
        float *before = all_values(&f.net, &count), *at = before;
        cr_assert(train(&f,
                        norms ? "{lr: 0.015625, decay_norms: true, options: {weight_decay: 0.25, "
                                "momentum: 0}}"
                              : "{lr: 0.015625, options: {weight_decay: 0.25, momentum: 0}}",
                        &state, NULL) == BG_OK);
        for (int i = 0; i < bg_graph_param_count(f.net.graph); i++) {
            const struct bg_param *p = bg_graph_param(f.net.graph, i);
            int64_t n = bg_tensor_count(&p->value);
            bool all = norms && p->kind != BG_PARAM_STEP;
            float decay = p->kind == BG_PARAM_WEIGHT || all ? 0.25f : 0;
            steps += p->kind == BG_PARAM_STEP;
            for (int64_t j = 0; bg_param_trainable(p) && j < n; j++) {
                float g = bg_f32(&p->grad)[j] + decay * at[j];
                cr_assert(bg_f32(&p->value)[j] == at[j] - 0.015625f * g, "%s", p->name);
            }
            at += n;
        }
        cr_assert(steps >= 5, "three weights and at least two activations learn their step");
        bg_free(before);
        take_down(&f);
    }
}

Test(trainer, a_stage_starts_with_clear_optimizer_state_and_moves_running_statistics)
{
    struct fixture fresh, used;
    struct bg_train_state a = {0}, b = {0};
    make(&fresh, 0);
    make(&used, 0);
    bg_f32(&bg_graph_param_find(used.net.graph, "conv1.weight")->state)[0] = 3;
    cr_assert(train(&fresh, "{}", &a, NULL) == BG_OK);
    cr_assert(train(&used, "{}", &b, NULL) == BG_OK);
    assert_same_params(&fresh.net, &used.net, "leftover momentum");
    for (int c = 0; c < 4; c++)
        cr_assert(values_of(&fresh.net, "norm1.running_mean")[c] != 0 &&
                  values_of(&fresh.net, "norm1.running_var")[c] != 1);
    take_down(&fresh);
    take_down(&used);
}

Test(trainer, evaluation_breaks_ties_to_the_lowest_class_and_changes_nothing)
{
    struct fixture f;
    struct bg_evaluation e;
    int64_t count = 0;
    make(&f, 0.5);
    struct bg_param *fc = bg_graph_param_find(f.net.graph, "fc.weight");
    memset(fc->value.data, 0, (size_t)bg_tensor_count(&fc->value) * sizeof(float));
    fc->version++;
    float *before = all_values(&f.net, &count);
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_OK, "%s", bg_error());
    cr_assert(e.correct == 7 && e.class_correct[0] == 7 && e.class_correct[1] == 0);
    cr_assert(fabs(e.loss - log(3)) < 1e-6, "equal logits; f32 logits of 0 are exact");
    assert_values(&f.net, before, count);
    bg_free(before);
    take_down(&f);
}

Test(trainer, any_batch_size_evaluates_alike_and_old_programs_give_way)
{
    struct fixture f;
    struct bg_evaluation first, e;
    make(&f, 0);
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &first) == BG_OK);
    for (int64_t batch = 1; batch <= 21; batch++) {
        f.validation.source.batch = batch;
        cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_OK, "%s",
                  bg_error());
        cr_assert(e.count == 21 && e.correct == first.correct, "batch %d", (int)batch);
        /* Logits of f32 sums of at most 144 terms; the loss is of the order of 1. */
        cr_assert(fabs(e.loss - first.loss) < 1e-5, "batch %d", (int)batch);
    }
    uint64_t calls = bg_alloc_calls();
    f.validation.source.batch = 8; /* the usual size is still there, the tail of 5 is not */
    f.validation.source.count = 16;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_OK);
    cr_assert(bg_alloc_calls() == calls, "the program of the usual size was kept");
    take_down(&f);
}

Test(trainer, bad_numbers_name_step_and_learning_rate)
{
    struct fixture f;
    struct bg_train_state state = {0};
    make(&f, 0);
    f.train.shuffle = false;
    f.train.images[17 * pixels(&image)] = (float)NAN; /* batch 2 */
    cr_assert(train(&f, "{lr: 0.5}", &state, NULL) == BG_E_NUMERIC);
    cr_assert(strncmp(bg_error(), "step 3, lr 0.5: ", 16) == 0, "%s", bg_error());
    cr_assert(state.step == 2);
    take_down(&f);
    make(&f, 0);
    state = (struct bg_train_state){0};
    cr_assert(train(&f, "{epochs: 20, lr: 1000, options: {momentum: 0.99}}", &state, NULL) ==
              BG_E_NUMERIC);
    /* Whichever sees it first: a training step or the validation behind it. */
    cr_assert(strstr(bg_error(), "step ") && strstr(bg_error(), ", lr 1000: "), "%s", bg_error());
    take_down(&f);
}

Test(trainer, failures_pass_up_with_their_sentence)
{
    static struct record r;
    struct fixture f;
    struct bg_train_state state = {0};
    make(&f, 0);
    const struct bg_train_hooks hooks = hooks_of(&r, NULL);
    r.fail_at = 6;
    cr_assert(train(&f, "{epochs: 3}", &state, &hooks) == BG_E_IO && state.step == 6);
    cr_assert(strcmp(bg_error(), "disk full") == 0);
    cr_assert(train(&f, "{update: sgdd}", &state, NULL) == BG_E_DATA);
    cr_assert(strstr(bg_error(), "did you mean 'sgd'?"), "%s", bg_error());
    cr_assert(train(&f, "{options: {momentun: 0.9}}", &state, NULL) == BG_E_DATA);
    cr_assert(strstr(bg_error(), "did you mean 'momentum'?"), "%s", bg_error());
    state.step = 99;
    cr_assert(train(&f, "{epochs: 3}", &state, NULL) == BG_E_MISMATCH);
    state = (struct bg_train_state){.step = 5, .epoch_samples = INT64_MAX - 1};
    cr_assert(train(&f, "{epochs: 3}", &state, NULL) == BG_E_MISMATCH, "a hostile checkpoint");
    cr_assert(state.step == 5 && strstr(bg_error(), "30 samples"), "%s", bg_error());
    struct bg_profile foreign = {0};
    const char *const names[] = {"a", "b"};
    const int64_t ones[] = {1, 1};
    const int64_t *const channels[] = {ones, ones, ones};
    cr_assert(bg_profile_make(&foreign, 2, names, ones, channels, false) == BG_OK);
    cr_assert(bg_trainer_profile_gradients(f.trainer, &f.train.source, 1, &foreign) ==
              BG_E_MISMATCH);
    cr_assert(bg_trainer_calibrate(f.trainer, &f.train.source, 0, true) == BG_E_RANGE);
    struct bg_evaluation e;
    f.validation.source.spec.classes = 4;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_E_MISMATCH);
    f.validation.source.spec.classes = 2000;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_E_RANGE);
    f.validation.source.spec.classes = 3;
    f.validation.source.batch = 0;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_E_USAGE);
    f.validation.source.batch = 8;
    f.validation.source.count = 0;
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &e) == BG_E_USAGE);
    bg_profile_free(&foreign);
    take_down(&f);
}

/* ---- stop, save, load, go on ---- */

static void assert_same_profile(const struct bg_profile *a, const struct bg_profile *b)
{
    cr_assert(a->rows == b->rows && a->cycles == b->cycles && a->rows > 0 && a->cycles > 0);
    cr_assert(memcmp(a->row_step, b->row_step, (size_t)a->rows * sizeof(int64_t)) == 0);
    for (int64_t row = 0; row < a->rows; row++)
        for (int q = 0; q < BG_QUANTITIES; q++)
            for (int layer = 0; layer < a->layers; layer++) {
                const struct bg_stats *s = bg_profile_at(a, row, (enum bg_quantity)q, layer);
                const struct bg_stats *t = bg_profile_at(b, row, (enum bg_quantity)q, layer);
                cr_assert(s->count > 0 && s->sum == t->sum && s->sum_square == t->sum_square &&
                              s->max_abs == t->max_abs,
                          "row %d, quantity %d, layer %d", (int)row, q, layer);
            }
    for (int64_t c = 0; c < a->cycles; c++)
        for (int layer = 0; layer < a->layers; layer++)
            for (int ref = BG_REFERENCE_INITIAL; ref <= BG_REFERENCE_PREVIOUS; ref++) {
                double x = *bg_profile_displacement_at(a, c, (enum bg_reference)ref, layer);
                cr_assert(x > 0 &&
                          x == *bg_profile_displacement_at(b, c, (enum bg_reference)ref, layer));
            }
    for (int layer = 0; layer < a->layers; layer++)
        cr_assert(a->initial_square[layer] > 0 &&
                  a->initial_square[layer] == b->initial_square[layer]);
}

static void save_all(const struct fixture *f, const struct bg_train_state *state, const char *path)
{
    struct bg_h5 *file = NULL;
    cr_assert(bg_h5_create(&file, path) == BG_OK, "%s", bg_error());
    cr_assert(bg_net_save(&f->net, file) == BG_OK, "%s", bg_error());
    cr_assert(bg_trainer_save(f->trainer, state, file) == BG_OK, "%s", bg_error());
    cr_assert(bg_h5_close(file) == BG_OK, "%s", bg_error());
}

static void load_all(struct fixture *f, struct bg_train_state *state, const char *path)
{
    struct bg_h5 *file = NULL;
    cr_assert(bg_h5_open(&file, path) == BG_OK, "%s", bg_error());
    cr_assert(bg_net_load(&f->net, file) == BG_OK, "%s", bg_error());
    cr_assert(bg_trainer_load(f->trainer, state, file) == BG_OK, "%s", bg_error());
    cr_assert(bg_h5_close(file) == BG_OK);
}

#define RESUMED "{epochs: 3, lr: 0.05, schedule: cosine, profile_every: 3}"

/* `range` NULL: without a plan. */
static void stop_and_go_on(int64_t stop_at, const char *range, const char *path)
{
    static struct record whole, first, second;
    struct fixture a, b, c;
    struct bg_train_state sa = {0}, sb = {0}, sc = {0};
    struct bg_profile pa = {0}, pb = {0};
    whole = first = second = (struct record){0};
    make(&a, 0.25);
    make(&b, 0.25);
    make(&c, 0.25);
    if (range) {
        apply_plan(&a, range, 4, 8);
        apply_plan(&b, range, 4, 8);
        apply_plan(&c, range, 4, 8);
    }
    cr_assert(bg_trainer_profile_make(&a.net, false, &pa) == BG_OK);
    cr_assert(bg_trainer_profile_make(&b.net, false, &pb) == BG_OK);
    const struct bg_train_hooks ha = hooks_of(&whole, &pa), hb = hooks_of(&first, &pb),
                                hc = hooks_of(&second, &pb);
    cr_assert(train(&a, RESUMED, &sa, &ha) == BG_OK, "%s", bg_error());
    first.stop_at = stop_at;
    cr_assert(train(&b, RESUMED, &sb, &hb) == BG_E_INTERRUPTED, "stop at %d", (int)stop_at);
    cr_assert(sb.step == stop_at);
    bg_stop_clear();
    save_all(&b, &sb, path);
    load_all(&c, &sc, path);
    cr_assert(memcmp(&sb, &sc, sizeof sb) == 0);
    cr_assert(train(&c, RESUMED, &sc, &hc) == BG_OK, "%s", bg_error());
    assert_same_params(&a.net, &c.net, "resumed");
    cr_assert(memcmp(&sa, &sc, sizeof sa) == 0);
    assert_same_profile(&pa, &pb);
    cr_assert(first.epochs + second.epochs == whole.epochs);
    for (int64_t e = 0; e < second.epochs; e++) {
        struct bg_train_epoch_row x = second.epoch[e], y = whole.epoch[first.epochs + e];
        x.seconds = y.seconds = 0;
        x.moves = y.moves = NULL;
        cr_assert(memcmp(&x, &y, sizeof x) == 0, "epoch row %d", (int)e);
    }
    bg_profile_free(&pa);
    bg_profile_free(&pb);
    take_down(&a);
    take_down(&b);
    take_down(&c);
}

Test(trainer_resume, equals_the_uninterrupted_run_bit_for_bit)
{
    char folder[] = "/tmp/bg-trainer-XXXXXX", path[BG_PATH_MAX];
    cr_assert(mkdtemp(folder));
    cr_assert(bg_path_join(path, folder, "checkpoint.h5") == BG_OK);
    bg_threads_set(2);
    /* The first step, inside an epoch, an epoch's last step, and the last but one of all. */
    static const int64_t stops[] = {1, 6, 8, 11};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        stop_and_go_on(stops[i], NULL, path);
        stop_and_go_on(stops[i], "moving-average", path);
        stop_and_go_on(stops[i], "lsq", path);
    }
    bg_file_remove(path);
    cr_assert(rmdir(folder) == 0);
}

Test(trainer_resume, state_saved_in_the_step_hook_before_an_epoch_ends_is_ended_on_resume)
{
    static struct record r, s;
    struct fixture f;
    struct bg_train_state state = {0};
    make(&f, 0);
    const struct bg_train_hooks first = hooks_of(&r, NULL), second = hooks_of(&s, NULL);
    r.fail_at = 4; /* the hook fails after the epoch's last step, before its end */
    cr_assert(train(&f, "{epochs: 2}", &state, &first) == BG_E_IO);
    cr_assert(state.step == 4 && state.epoch_samples == 30 && r.epochs == 0);
    cr_assert(train(&f, "{epochs: 2}", &state, &second) == BG_OK);
    cr_assert(s.epochs == 2 && s.epoch[0].epoch == 1 && s.epoch[1].epoch == 2 && s.steps == 4);
    take_down(&f);
}

Test(trainer_resume, needs_the_first_weights_when_displacement_is_recorded)
{
    struct fixture f;
    struct bg_train_state state = {.step = 4, .best_accuracy = -1};
    struct bg_profile profile = {0};
    static struct record r;
    make(&f, 0);
    cr_assert(bg_trainer_profile_make(&f.net, false, &profile) == BG_OK);
    const struct bg_train_hooks hooks = hooks_of(&r, &profile);
    cr_assert(train(&f, "{epochs: 2}", &state, &hooks) == BG_E_USAGE);
    cr_assert(strstr(bg_error(), "bg_trainer_load"));
    bg_profile_free(&profile);
    take_down(&f);
}

Test(trainer_resume, broken_files_are_refused_and_change_nothing)
{
    char folder[] = "/tmp/bg-trainer-XXXXXX", path[BG_PATH_MAX];
    cr_assert(mkdtemp(folder));
    cr_assert(bg_path_join(path, folder, "checkpoint.h5") == BG_OK);
    struct fixture f;
    make(&f, 0);
    static const struct {
        int64_t counts[5];
        double reals[2];
    } broken[] = {
        {{-1, 0, 0, 0, 0}, {0, 0}}, {{1, 2, 3, 0, 0}, {0, 0}},
        {{1, 2, 2, 0, 7}, {0, 0}},  {{1, 2, 2, 0, 0}, {(double)NAN, 0}},
        {{1, 2, 2, 0, 0}, {0, 2}},  {{1, 2, 2, 0, 1}, {0, 0}}}; /* anchors promised, none there */
    const int64_t five = 5, two = 2;
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct bg_h5 *file = NULL;
        struct bg_train_state state = {.step = 77};
        cr_assert(bg_h5_create(&file, path) == BG_OK);
        cr_assert(bg_h5_write(file, "trainer/counts", BG_H5_S64, 1, &five, broken[i].counts,
                              false) == BG_OK);
        cr_assert(bg_h5_write(file, "trainer/reals", BG_H5_F64, 1, &two, broken[i].reals, false) ==
                  BG_OK);
        cr_assert(bg_h5_close(file) == BG_OK);
        cr_assert(bg_h5_open(&file, path) == BG_OK);
        enum bg_status rc = bg_trainer_load(f.trainer, &state, file);
        cr_assert(rc == BG_E_DATA || rc == BG_E_NOT_FOUND, "case %d: %s", (int)i,
                  bg_status_name(rc));
        cr_assert(state.step == 77);
        cr_assert(bg_h5_close(file) == BG_OK);
    }
    bg_file_remove(path);
    cr_assert(rmdir(folder) == 0);
    take_down(&f);
}

/* ---- P1 ---- */

/* y = w3*w2*w1*x through three linear layers of one feature, the last with a bias, and mse over one
 * class: loss = (y + b - 1)^2. With b = 1 - t that is (y - t)^2, twice the worked vector's loss, so
 * all gradients are doubled and all scores times 4. */
static void build_chain(struct bg_net *net)
{
    static const struct bg_sample_spec one = {
        .height = 1, .width = 1, .channels = 1, .classes = 1, .dtype = BG_F32, .scale = 1};
    static const float w[3] = {2, 0.5f, -1};
    struct bg_node *x = NULL;
    *net = (struct bg_net){.name = "chain", .input = one};
    node_ok(bg_graph_create(&net->graph));
    node_ok(bg_node_input(net->graph, "input", &one, &x));
    node_ok(bg_node_linear(net->graph, "l1", x, 1, false, &x));
    node_ok(bg_node_linear(net->graph, "l2", x, 1, false, &x));
    node_ok(bg_node_linear(net->graph, "l3", x, 1, true, &x));
    net->output = x;
    node_ok(bg_node_mse(net->graph, "loss", x, &x));
    values_of(net, "l1.weight")[0] = w[0];
    values_of(net, "l2.weight")[0] = w[1];
    values_of(net, "l3.weight")[0] = w[2];
}

static double sum_at(const struct bg_profile *profile, int64_t row, enum bg_quantity q, int layer)
{
    return bg_profile_at(profile, row, q, layer)->sum;
}

Test(gradient_profile_run, worked_vector_of_p1_on_a_real_graph)
{
    static const float x[2] = {1, 2}, t[2] = {0, -4};
    static const double weight[3] = {2.125, 34, 8.5}, absolute[3] = {1.25, 5, 2.5};
    static const double in[3] = {2.5, 0.625, 2.5}, out[3] = {0.625, 2.5, 2.5};
    struct fixture f = {0};
    struct bg_profile profile = {0};
    build_chain(&f.net);
    new_trainer(&f, BG_COMPUTE_EXACT);
    memory_make(&f.train, &f.net.input, 1, 1);
    cr_assert(bg_trainer_profile_make(&f.net, true, &profile) == BG_OK);
    for (int set = 0; set < 2; set++) {
        struct bg_param *bias = bg_graph_param_find(f.net.graph, "l3.bias");
        bg_f32(&bias->value)[0] = 1 - t[set];
        bias->version++;
        f.train.images[0] = x[set];
        cr_assert(bg_trainer_profile_gradients(f.trainer, &f.train.source, 1, &profile) == BG_OK,
                  "%s", bg_error());
    }
    for (int l = 0; l < 3; l++) {
        double squares[BG_QUANTITIES] = {0}, w = 0;
        for (int set = 0; set < 2; set++) {
            for (int q = 0; q < BG_QUANTITIES; q++) {
                squares[q] +=
                    bg_stats_mean_square(bg_profile_at(&profile, set, (enum bg_quantity)q, l)) / 2;
                cr_assert(
                    bg_profile_channels_at(&profile, set, (enum bg_quantity)q, l)[0] ==
                    bg_stats_mean_square(bg_profile_at(&profile, set, (enum bg_quantity)q, l)));
            }
            w += bg_stats_mean_abs(bg_profile_at(&profile, set, BG_QUANTITY_WEIGHT_GRAD, l)) / 2;
            /* No activation between: the output gradient is the next layer's input gradient. */
            if (l < 2)
                cr_assert(sum_at(&profile, set, BG_QUANTITY_OUT_GRAD, l) ==
                          sum_at(&profile, set, BG_QUANTITY_IN_GRAD, l + 1));
        }
        cr_assert(squares[BG_QUANTITY_WEIGHT_GRAD] == 4 * weight[l], "layer %d: %g", l,
                  squares[BG_QUANTITY_WEIGHT_GRAD]);
        cr_assert(squares[BG_QUANTITY_IN_GRAD] == 4 * in[l]);
        cr_assert(squares[BG_QUANTITY_OUT_GRAD] == 4 * out[l]);
        cr_assert(w == 2 * absolute[l]);
    }
    /* <W, G_w> = <X, G_in> = <Y, G_out> = 1 for layer 1, set 1; doubled here. */
    cr_assert(2 * sum_at(&profile, 0, BG_QUANTITY_WEIGHT_GRAD, 0) == 2);
    cr_assert(1 * sum_at(&profile, 0, BG_QUANTITY_IN_GRAD, 0) == 2);
    cr_assert(2 * sum_at(&profile, 0, BG_QUANTITY_OUT_GRAD, 0) == 2);
    bg_profile_free(&profile);
    bg_trainer_destroy(f.trainer);
    bg_graph_destroy(f.net.graph);
    memory_free(&f.train);
}

/* S_q[l]: mean over the rows of the mean square. */
static double score(const struct bg_profile *profile, enum bg_quantity q, int layer)
{
    double sum = 0;
    for (int64_t row = 0; row < profile->rows; row++)
        sum += bg_stats_mean_square(bg_profile_at(profile, row, q, layer));
    return sum / (double)profile->rows;
}

static void profile_batches(struct fixture *f, int64_t batches, struct bg_profile *profile)
{
    *profile = (struct bg_profile){0};
    cr_assert(bg_trainer_profile_make(&f->net, false, profile) == BG_OK);
    cr_assert(bg_trainer_profile_gradients(f->trainer, &f->train.source, batches, profile) == BG_OK,
              "%s", bg_error());
    cr_assert(profile->rows == batches);
}

static void swap_samples(struct memory *m, int64_t a, int64_t b, int64_t count)
{
    int64_t n = pixels(&m->source.spec);
    for (int64_t i = 0; i < count; i++) {
        for (int64_t p = 0; p < n; p++) {
            float value = m->images[(a + i) * n + p];
            m->images[(a + i) * n + p] = m->images[(b + i) * n + p];
            m->images[(b + i) * n + p] = value;
        }
        int32_t label = m->labels[a + i];
        m->labels[a + i] = m->labels[b + i];
        m->labels[b + i] = label;
    }
}

Test(gradient_profile_run, laws_of_repetition_and_permutation_and_nothing_moves)
{
    struct fixture f;
    struct bg_profile once, twice, permuted;
    int64_t count = 0;
    make(&f, 0);
    f.train.shuffle = false;
    f.train.source.count = 24; /* three full batches */
    float *before = all_values(&f.net, &count);
    profile_batches(&f, 3, &once);
    profile_batches(&f, 6, &twice); /* a second pass repeats every set */
    swap_samples(&f.train, 0, 16, 8);
    profile_batches(&f, 3, &permuted);
    assert_values(&f.net, before, count);
    for (int layer = 0; layer < 3; layer++)
        for (int q = 0; q < BG_QUANTITIES; q++) {
            double s = score(&once, (enum bg_quantity)q, layer);
            /* Sums of 3 or 6 f64 terms in another order: below 6 ulps. */
            cr_assert(s > 0);
            cr_assert(fabs(score(&twice, (enum bg_quantity)q, layer) - s) <= s * 6 * 0x1p-52);
            cr_assert(fabs(score(&permuted, (enum bg_quantity)q, layer) - s) <= s * 6 * 0x1p-52);
        }
    for (int64_t row = 0; row < 3; row++)
        cr_assert(twice.row_step[row] == row + 1);
    bg_free(before);
    bg_profile_free(&once);
    bg_profile_free(&twice);
    bg_profile_free(&permuted);
    take_down(&f);
}

/* Without batch norm (it ties the samples of a batch together). */
static void build_plain(struct bg_net *net)
{
    struct bg_node *x = NULL;
    *net = (struct bg_net){.name = "plain", .input = image};
    node_ok(bg_graph_create(&net->graph));
    node_ok(bg_node_input(net->graph, "input", &image, &x));
    const struct bg_conv2d conv = {.out_channels = 4,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1,
                                   .bias = true};
    node_ok(bg_node_conv2d(net->graph, "conv1", x, &conv, &x));
    node_ok(bg_node_relu(net->graph, "relu1", x, &x));
    node_ok(bg_node_flatten(net->graph, "flat", x, &x));
    node_ok(bg_node_linear(net->graph, "fc", x, 3, true, &x));
    net->output = x;
    node_ok(bg_node_softmax_cross_entropy(net->graph, "loss", x, 0, &x));
    bg_graph_initialise(net->graph, 4);
}

/* One batch of 8 against 8 batches of 1. dLoss/dlogits of the whole batch is that of a sample over
 * 8, a power of two, so every gradient of the reference compute (f64 sums, one rounding) is the
 * sample's over 8 exactly, and the factor B restores it; only the sums of squares are added in
 * another order: 8 * 72 terms in f64. */
#define SPLIT_TOLERANCE (600 * 0x1p-53)

Test(gradient_profile_run, batch_split_keeps_input_and_output_scores_but_not_those_of_weights)
{
    struct fixture f = {0};
    struct bg_profile whole, split;
    build_plain(&f.net);
    memory_make(&f.train, &image, 8, 8);
    fill_patterns(&f.train, 3);
    new_trainer(&f, BG_COMPUTE_REFERENCE);
    profile_batches(&f, 1, &whole);
    f.train.source.batch = 1;
    profile_batches(&f, 8, &split);
    for (int layer = 0; layer < 2; layer++) {
        for (int q = 0; q < BG_QUANTITIES; q += 2) {
            double a = score(&whole, (enum bg_quantity)q, layer);
            double b = score(&split, (enum bg_quantity)q, layer);
            cr_assert(a > 0 && fabs(a - b) <= a * SPLIT_TOLERANCE, "layer %d, quantity %d: %g %g",
                      layer, q, a, b);
        }
        double a = score(&whole, BG_QUANTITY_WEIGHT_GRAD, layer);
        double b = score(&split, BG_QUANTITY_WEIGHT_GRAD, layer);
        cr_assert(fabs(a - b) > 0.01 * b, "weights: %g and %g", a, b);
    }
    bg_profile_free(&whole);
    bg_profile_free(&split);
    bg_trainer_destroy(f.trainer);
    bg_graph_destroy(f.net.graph);
    memory_free(&f.train);
}

Test(gradient_profile_run, along_training_rows_come_every_n_steps_and_change_no_bit)
{
    struct fixture a, b;
    struct bg_train_state sa = {0}, sb = {0};
    struct bg_profile profile = {0};
    make(&a, 0.25);
    make(&b, 0.25);
    cr_assert(bg_trainer_profile_make(&a.net, true, &profile) == BG_OK);
    const struct bg_train_hooks hooks = {.profile = &profile};
    cr_assert(train(&a, "{epochs: 2, profile_every: 3}", &sa, &hooks) == BG_OK, "%s", bg_error());
    cr_assert(train(&b, "{epochs: 2}", &sb, NULL) == BG_OK);
    assert_same_params(&a.net, &b.net, "with a profile");
    static const int64_t steps[] = {1, 4, 7};
    cr_assert(profile.rows == 3 && profile.cycles == 2);
    for (int64_t row = 0; row < 3; row++) {
        cr_assert(profile.row_step[row] == steps[row]);
        for (int q = 0; q < BG_QUANTITIES; q++)
            for (int layer = 0; layer < 3; layer++) {
                const struct bg_stats *s = bg_profile_at(&profile, row, (enum bg_quantity)q, layer);
                const double *square =
                    bg_profile_channels_at(&profile, row, (enum bg_quantity)q, layer);
                int64_t channels = profile.channels[q][layer];
                double mean = 0;
                for (int64_t c = 0; c < channels; c++)
                    mean += square[c] / (double)channels;
                cr_assert(s->count > 0 && s->sum_square > 0);
                /* Channels have equal counts, so their mean is the layer's, up to f64 sums of at
                 * most 8 * 144 terms in another order. */
                cr_assert(fabs(mean - bg_stats_mean_square(s)) <= mean * 1200 * 0x1p-53,
                          "quantity %d, layer %d: %g %g", q, layer, mean, bg_stats_mean_square(s));
            }
    }
    bg_profile_free(&profile);
    take_down(&a);
    take_down(&b);
}

/* ---- P2 ---- */

Test(displacement_run, cycles_are_those_of_training_and_everything_is_restored)
{
    struct fixture a, b;
    struct bg_train_state state = {0};
    struct bg_profile trained = {0}, profiled = {0};
    struct bg_train_options options;
    struct bg_document *document = read_options(&options, "{epochs: 3, options: {momentum: 0.5}}");
    int64_t count = 0;
    make(&a, 0.25);
    make(&b, 0.25);
    cr_assert(bg_trainer_profile_make(&a.net, false, &trained) == BG_OK);
    cr_assert(bg_trainer_profile_make(&b.net, false, &profiled) == BG_OK);
    const struct bg_train_hooks hooks = {.profile = &trained};
    cr_assert(bg_trainer_train(a.trainer, &options, &a.train.source, NULL, &state, &hooks) ==
              BG_OK);
    struct bg_param *conv = bg_graph_param_find(b.net.graph, "conv1.weight");
    bg_f32(&conv->state)[0] = 3; /* leftover momentum: cleared for the profile, then put back */
    float *before = all_values(&b.net, &count);
    cr_assert(bg_trainer_profile_displacement(b.trainer, &options, &b.train.source, 3, 0, false,
                                              &profiled) == BG_OK,
              "%s", bg_error());
    assert_values(&b.net, before, count);
    cr_assert(bg_f32(&conv->state)[0] == 3);
    cr_assert(profiled.cycles == 3 && trained.cycles == 3);
    for (int64_t c = 0; c < 3; c++) {
        cr_assert(profiled.cycle_step[c] == 4 * (c + 1));
        for (int layer = 0; layer < 3; layer++) {
            for (int r = BG_REFERENCE_INITIAL; r <= BG_REFERENCE_PREVIOUS; r++) {
                double x = *bg_profile_displacement_at(&profiled, c, (enum bg_reference)r, layer);
                cr_assert(x > 0 && x == *bg_profile_displacement_at(&trained, c,
                                                                    (enum bg_reference)r, layer));
            }
            cr_assert(isnan(*bg_profile_displacement_at(&profiled, c, BG_REFERENCE_RESET, layer)));
            cr_assert(profiled.initial_square[layer] == trained.initial_square[layer]);
        }
    }
    /* Against W_0 and against the cycle before are the same in the first cycle only. */
    cr_assert(*bg_profile_displacement_at(&profiled, 0, BG_REFERENCE_INITIAL, 1) ==
              *bg_profile_displacement_at(&profiled, 0, BG_REFERENCE_PREVIOUS, 1));
    cr_assert(*bg_profile_displacement_at(&profiled, 2, BG_REFERENCE_INITIAL, 1) !=
              *bg_profile_displacement_at(&profiled, 2, BG_REFERENCE_PREVIOUS, 1));
    bg_free(before);
    bg_document_free(document);
    bg_profile_free(&trained);
    bg_profile_free(&profiled);
    take_down(&a);
    take_down(&b);
}

Test(displacement_run, restores_after_a_failure_too)
{
    struct fixture f;
    struct bg_profile profile = {0};
    struct bg_train_options options;
    struct bg_document *document = read_options(&options, "{}");
    int64_t count = 0;
    make(&f, 0);
    f.train.shuffle = false;
    f.train.images[17 * pixels(&image)] = (float)NAN; /* batch 2 */
    float *before = all_values(&f.net, &count);
    cr_assert(bg_trainer_profile_make(&f.net, false, &profile) == BG_OK);
    cr_assert(bg_trainer_profile_displacement(f.trainer, &options, &f.train.source, 2, 0, false,
                                              &profile) == BG_E_NUMERIC);
    assert_values(&f.net, before, count);
    bg_stop_request();
    cr_assert(bg_trainer_profile_displacement(f.trainer, &options, &f.train.source, 2, 1, true,
                                              &profile) == BG_E_INTERRUPTED);
    cr_assert_str_eq(bg_error(), "displacement profile stopped on request after 0 of 2");
    bg_stop_clear();
    assert_values(&f.net, before, count);
    bg_free(before);
    bg_document_free(document);
    bg_profile_free(&profile);
    take_down(&f);
}

/* X1 (policies/METHODS.md): plain descent, one step a cycle from W_0, cycle k on data set k: MS_l =
 * lr^2 * S_w[l]. lr is a power of two, so lr * g is exact; W - lr * g is rounded once, by at most
 * 2^-24 * |W - lr*g| <= 2^-24 * (max|W| + max|lr*g|) =: e per element, and the difference W_1 - W_0
 * is measured in f64. With D = lr*g + d, |d_i| <= e: |mean D^2 - mean (lr*g)^2| <= 2 e sqrt(mean
 * (lr*g)^2) + e^2 (Cauchy-Schwarz). */
Test(displacement_run, x1_reset_displacement_is_lr_squared_times_the_gradient_score)
{
    const double lr = 0.0625;
    const int64_t cycles = 6; /* more than a pass: 4 batches, the last one short */
    struct fixture f;
    struct bg_profile gradients = {0}, moved = {0};
    struct bg_train_options options;
    struct bg_document *document = read_options(
        &options,
        "{lr: 0.625, warmup: 10, options: {momentum: 0}}"); /* a cycle restarts at lr/10 */
    make(&f, 0.25);
    profile_batches(&f, cycles, &gradients);
    cr_assert(bg_trainer_profile_make(&f.net, false, &moved) == BG_OK);
    cr_assert(bg_trainer_profile_displacement(f.trainer, &options, &f.train.source, cycles, 1, true,
                                              &moved) == BG_OK,
              "%s", bg_error());
    cr_assert(moved.cycles == cycles);
    for (int64_t c = 0; c < cycles; c++) {
        for (int layer = 0; layer < 3; layer++) {
            const struct bg_stats *g = bg_profile_at(&gradients, c, BG_QUANTITY_WEIGHT_GRAD, layer);
            const char *const names[] = {"conv1.weight", "conv2.weight", "fc.weight"};
            const struct bg_param *w = bg_graph_param_find(f.net.graph, names[layer]);
            struct bg_stats stats;
            bg_stats_clear(&stats);
            bg_stats_add(&stats, bg_f32(&w->value), bg_tensor_count(&w->value), 1);
            double expected = lr * lr * bg_stats_mean_square(g);
            double e = 0x1p-24 * ((double)stats.max_abs + lr * (double)g->max_abs);
            double found = *bg_profile_displacement_at(&moved, c, BG_REFERENCE_RESET, layer);
            cr_assert(fabs(found - expected) <= 2 * e * sqrt(expected) + e * e,
                      "cycle %d, layer %d: %.9g, expected %.9g", (int)c, layer, found, expected);
            cr_assert(expected > 1e3 * e * e, "the bound would not notice a mistake");
        }
    }
    bg_document_free(document);
    bg_profile_free(&gradients);
    bg_profile_free(&moved);
    take_down(&f);
}

/* ---- calibration ---- */

Test(calibration, ranges_are_those_of_the_batches_and_depend_on_nothing_before)
{
    struct fixture a, b;
    struct bg_train_state state = {0};
    make(&a, 0);
    make(&b, 0);
    /* A trains first under the plan, then gets its weights back; B calibrates at once. */
    apply_plan(&a, "min-max", 8, 8);
    apply_plan(&b, "min-max", 8, 8);
    struct bg_snapshot *snapshot = NULL;
    cr_assert(bg_net_snapshot(&a.net, &snapshot) == BG_OK);
    cr_assert(train(&a, "{epochs: 2, lr: 0.2}", &state, NULL) == BG_OK, "%s", bg_error());
    cr_assert(bg_net_restore(&a.net, snapshot) == BG_OK);
    bg_snapshot_free(snapshot);
    cr_assert(bg_trainer_calibrate(a.trainer, &a.train.source, 2, false) == BG_OK, "%s",
              bg_error());
    cr_assert(bg_trainer_calibrate(b.trainer, &b.train.source, 3, true) == BG_OK);
    cr_assert(bg_trainer_calibrate(b.trainer, &b.train.source, 2, false) == BG_OK);
    int found = 0;
    for (int i = 0; i < bg_graph_quantizer_count(a.net.graph); i++) {
        const struct bg_quantizer *p = bg_graph_quantizer(a.net.graph, i);
        const struct bg_quantizer *q = bg_graph_quantizer(b.net.graph, i);
        if (p->target != BG_TARGET_ACTIVATION || p->fixed)
            continue;
        cr_assert(p->observed == 2 && q->observed == 2, "%s: %d", p->name, (int)p->observed);
        cr_assert(p->hi[0] > 0 && p->hi[0] == q->hi[0] && p->lo[0] == q->lo[0], "%s", p->name);
        found++;
    }
    cr_assert(found >= 2);
    take_down(&a);
    take_down(&b);
}

Test(calibration, ranges_do_not_depend_on_the_bits_of_other_activations)
{
    /* Quantizers are bypassed, so a layer's range is that of unquantized activations before it. */
    struct fixture coarse, fine;
    int found = 0;
    make(&coarse, 0);
    make(&fine, 0);
    apply_plan(&coarse, "min-max", 4, 2);
    apply_plan(&fine, "min-max", 4, 8);
    cr_assert(bg_trainer_calibrate(coarse.trainer, &coarse.train.source, 2, false) == BG_OK);
    cr_assert(bg_trainer_calibrate(fine.trainer, &fine.train.source, 2, false) == BG_OK);
    for (int i = 0; i < bg_graph_quantizer_count(fine.net.graph); i++) {
        const struct bg_quantizer *p = bg_graph_quantizer(coarse.net.graph, i);
        const struct bg_quantizer *q = bg_graph_quantizer(fine.net.graph, i);
        if (p->target != BG_TARGET_ACTIVATION)
            continue;
        cr_assert(p->lo[0] == q->lo[0] && p->hi[0] == q->hi[0], "%s", p->name);
        found++;
    }
    cr_assert(found >= 3);
    take_down(&coarse);
    take_down(&fine);
}

Test(calibration, learned_steps_keep_what_they_have_learned)
{
    struct fixture f;
    struct bg_train_state state = {0};
    int64_t count = 0;
    make(&f, 0);
    apply_plan(&f, "lsq", 4, 4);
    cr_assert(train(&f, "{epochs: 2}", &state, NULL) == BG_OK, "%s", bg_error());
    float *before = all_values(&f.net, &count);
    cr_assert(bg_trainer_calibrate(f.trainer, &f.train.source, 3, false) == BG_OK);
    assert_values(&f.net, before, count);
    bg_free(before);
    take_down(&f);
}

Test(calibration, running_statistics_become_the_plain_average_over_the_batches)
{
    struct fixture f;
    double mean[4] = {0};
    make(&f, 0);
    f.train.shuffle = false;
    f.train.source.count = 24;
    const int64_t n = pixels(&image);
    /* The average of each batch's mean is what three single-batch calibrations give. */
    for (int64_t batch = 0; batch < 3; batch++) {
        struct memory one;
        memory_make(&one, &image, 8, 8);
        memcpy(one.images, f.train.images + batch * 8 * n, (size_t)(8 * n) * sizeof(float));
        cr_assert(bg_trainer_calibrate(f.trainer, &one.source, 1, true) == BG_OK, "%s", bg_error());
        for (int c = 0; c < 4; c++)
            mean[c] += (double)values_of(&f.net, "norm1.running_mean")[c] / 3;
        memory_free(&one);
    }
    cr_assert(bg_trainer_calibrate(f.trainer, &f.train.source, 3, true) == BG_OK);
    for (int c = 0; c < 4; c++) {
        float value = values_of(&f.net, "norm1.running_mean")[c];
        /* Two blends in f32, each rounding values of at most 1: 4 * 2^-24 covers them. */
        cr_assert(fabs((double)value - mean[c]) <= 4 * 0x1p-24 * fmax(1, fabs(mean[c])),
                  "channel %d: %g, expected %g", c, (double)value, mean[c]);
    }
    take_down(&f);
}

Test(calibration, a_plan_trains_on_and_dropping_it_gives_the_f32_network_back)
{
    struct fixture f;
    struct bg_train_state state = {0};
    struct bg_evaluation before, coarse, after;
    make(&f, 0);
    cr_assert(train(&f, LEARNING, &state, NULL) == BG_OK);
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &before) == BG_OK);
    apply_plan(&f, "percentile", 2, 8);
    cr_assert(bg_trainer_calibrate(f.trainer, &f.train.source, 4, false) == BG_OK, "%s",
              bg_error());
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &coarse) == BG_OK, "%s",
              bg_error());
    cr_assert(coarse.loss != before.loss, "2 bits change the loss");
    cr_assert(bg_trainer_apply(f.trainer, NULL, NULL) == BG_OK, "%s", bg_error());
    cr_assert(bg_trainer_evaluate(f.trainer, &f.validation.source, &after) == BG_OK);
    cr_assert(after.loss == before.loss && after.correct == before.correct);
    take_down(&f);
}

/* Every allocation of a scenario fails once: the status says so, nothing crashes or leaks (under
 * ASan), and what was promised to be restored is. */
static enum bg_status scenario(struct fixture *f, const struct bg_train_options *options)
{
    enum bg_status rc = BG_OK;
    struct bg_profile profile = {0};
    const struct bg_trainer_config config = {.net = &f->net, .seed = 1};
    TRY(bg_trainer_create(&f->trainer, &config));
    TRY(bg_trainer_profile_make(&f->net, true, &profile));
    TRY(bg_trainer_profile_gradients(f->trainer, &f->train.source, 1, &profile));
    TRY(bg_trainer_profile_displacement(f->trainer, options, &f->train.source, 2, 1, true,
                                        &profile));
out:
    bg_profile_free(&profile);
    bg_trainer_destroy(f->trainer);
    f->trainer = NULL;
    return rc;
}

Test(trainer_torture, every_failed_allocation_is_reported_and_weights_stay)
{
    struct bg_train_options options;
    struct bg_document *document = read_options(&options, "{}");
    struct fixture f = {0};
    int64_t count = 0;
    uint64_t n = 1;
    build_chain(&f.net);
    memory_make(&f.train, &f.net.input, 1, 1);
    f.train.images[0] = 1;
    float *before = all_values(&f.net, &count);
    for (; n < 5000; n++) {
        bg_alloc_fail_at(n);
        enum bg_status rc = scenario(&f, &options);
        bg_alloc_fail_at(0);
        assert_values(&f.net, before, count);
        if (rc == BG_OK)
            break;
        cr_assert(rc == BG_E_NOMEM, "allocation %d: %s, %s", (int)n, bg_status_name(rc),
                  bg_error());
    }
    cr_assert(n > 50 && n < 5000);
    bg_free(before);
    bg_document_free(document);
    bg_graph_destroy(f.net.graph);
    memory_free(&f.train);
}
