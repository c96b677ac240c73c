/* A walk over every layer type: it builds from small options, its gradients match central
 * differences, and the exact compute agrees with the naive references. A new layers/layer_<n>.c is
 * tested the moment it arrives; nothing here names a type. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/program.h"
#include "core/mem.h"
#include "core/rng.h"
#include "layers/net.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

#define BATCH    2
#define HEIGHT   4
#define WIDTH    5
#define CHANNELS 2
#define VALUES   (HEIGHT * WIDTH * CHANNELS)

static const struct bg_sample_spec spec = {.height = HEIGHT,
                                           .width = WIDTH,
                                           .channels = CHANNELS,
                                           .classes = 3,
                                           .dtype = BG_F32,
                                           .scale = 1};

/* Required options get the smallest value above 3 that their limits allow. */
static void add_required(const struct bg_layer_type *type, struct bg_text *text)
{
    for (const struct bg_option *row = type->options; row->key; row++) {
        if (row->fallback || row->type == BG_OPT_NODE)
            continue;
        cr_assert(row->type == BG_OPT_INT || row->type == BG_OPT_REAL,
                  "%s.%s: give it a default or teach this test a value", type->name, row->key);
        bg_text_add(text, "%s: %d, ", row->key, row->min > 4 ? (int)row->min : 4);
    }
}

/* A convolution, the layer on it (and on the input, when it reads several), a linear layer. */
static void describe(const struct bg_layer_type *type, struct bg_text *text)
{
    bg_text_add(text, "network:\n  layers:\n");
    bg_text_add(text, "    - conv: {name: first, out: %d, same: true}\n", CHANNELS);
    bg_text_add(text, "    - %s: {name: tested, ", type->name);
    add_required(type, text);
    const char *from = type->inputs == 2 ? "[first, input]" : "first";
    bg_text_add(text, "from: %s}\n", type->most_inputs == 4 ? "[first, input, input]" : from);
    bg_text_add(text, "    - linear: {name: last, out: 3}\n");
    OK(bg_text_check(text));
}

static struct bg_net *make(const struct bg_layer_type *type)
{
    struct bg_document *document = NULL;
    struct bg_net *net = NULL;
    struct bg_text text, errors;
    bg_text_init(&text, 1 << 12);
    bg_text_init(&errors, 1 << 12);
    describe(type, &text);
    OK(bg_yaml_parse_text(&document, type->name, bg_text_string(&text), text.length));
    enum bg_status rc = bg_net_create(&net, bg_yaml_get(bg_document_root(document), "network"),
                                      &spec, BG_LOSS_CROSS_ENTROPY, 0.1, &errors);
    cr_assert(rc == BG_OK, "%s: %s\n%s", type->name, bg_error(), bg_text_string(&text));
    bg_document_free(document);
    bg_text_free(&text);
    bg_text_free(&errors);
    bg_graph_initialise(net->graph, 11);
    return net;
}

static void fill_batch(struct bg_batch *batch, float *images, int32_t *labels)
{
    const struct bg_rng rng = {3, BG_STREAM_TEST, 0};
    for (int i = 0; i < BATCH * VALUES; i++)
        images[i] = (float)bg_rng_normal(&rng, (uint64_t)i);
    for (int i = 0; i < BATCH; i++)
        labels[i] = i % 3;
    *batch = (struct bg_batch){.size = BATCH, .dtype = BG_F32, .images = images, .labels = labels};
}

Test(layers, every_type_is_described)
{
    int count = 0;
    for (const struct bg_layer_type *const *type = bg_layer_types; *type; type++, count++) {
        cr_assert((*type)->name && (*type)->help && (*type)->options && (*type)->build);
        cr_assert((*type)->inputs == 1 || (*type)->inputs == 2, "%s", (*type)->name);
        cr_assert((*type)->most_inputs == 0 || (*type)->most_inputs == 4, "%s", (*type)->name);
        for (const struct bg_option *row = (*type)->options; row->key; row++) {
            cr_assert(row->help != NULL, "%s.%s", (*type)->name, row->key);
            cr_assert(strcmp(row->key, "name") != 0 && strcmp(row->key, "from") != 0);
        }
        for (const struct bg_layer_type *const *other = bg_layer_types; other != type; other++)
            cr_assert(strcmp((*type)->name, (*other)->name) != 0, "%s twice", (*type)->name);
    }
    cr_assert(count >= 12);
    count = 0;
    for (const struct bg_net_type *const *type = bg_net_types; *type; type++, count++)
        cr_assert((*type)->name && (*type)->help && (*type)->source && (*type)->build);
    cr_assert(count >= 5);
}

/* The check divides by max(1e-3, |analytic| + |numeric|). An f32 forward with activations of size 1
 * moves the loss by some 1e-7, over 2h = 0.02 that is 1e-5 absolute, 1e-2 of the smallest divisor;
 * the curvature term is extrapolated away. */
#define GRADIENT_STEP  1e-2
#define GRADIENT_LIMIT 1e-2

Test(layers, every_type_passes_the_gradient_check)
{
    static float images[BATCH * VALUES];
    int32_t labels[BATCH];
    struct bg_batch batch;
    fill_batch(&batch, images, labels);
    for (const struct bg_layer_type *const *type = bg_layer_types; *type; type++) {
        struct bg_net *net = make(*type);
        struct bg_gradient_check check;
        OK(bg_check_gradients(net->graph, &batch, BG_COMPUTE_REFERENCE, GRADIENT_STEP, &check));
        cr_assert(check.worst < GRADIENT_LIMIT, "%s: %s[%d]: analytic %g, numeric %g, error %g",
                  (*type)->name, check.where, (int)check.index, check.analytic, check.numeric,
                  check.worst);
        cr_assert(check.where[0] != '\0');
        bg_net_destroy(net);
    }
}

static void run(struct bg_net *net, enum bg_mode mode, enum bg_compute compute,
                const struct bg_batch *batch, float logits[BATCH * 3])
{
    struct bg_program *program = NULL;
    const struct bg_program_options options = {.batch = BATCH, .mode = mode, .compute = compute};
    const struct bg_run_moment moment = {.seed = 5, .step = 2};
    OK(bg_program_create(&program, net->graph, &options));
    OK(bg_program_forward(program, batch, &moment));
    memcpy(logits, bg_program_logits(program)->data, BATCH * 3 * sizeof(float));
    bg_program_destroy(program);
}

/* Sums of at most 40 products of numbers of size 1 in f32 against f64: 40 * 2^-24 = 3e-6, through
 * three layers. */
#define FORWARD_LIMIT 1e-4f

Test(layers, every_type_gives_the_reference_forward)
{
    static float images[BATCH * VALUES];
    int32_t labels[BATCH];
    struct bg_batch batch;
    fill_batch(&batch, images, labels);
    for (const struct bg_layer_type *const *type = bg_layer_types; *type; type++) {
        struct bg_net *net = make(*type);
        for (int mode = BG_MODE_TRAIN; mode <= BG_MODE_EVAL; mode++) {
            float exact[BATCH * 3], reference[BATCH * 3], spread = 0;
            run(net, (enum bg_mode)mode, BG_COMPUTE_EXACT, &batch, exact);
            run(net, (enum bg_mode)mode, BG_COMPUTE_REFERENCE, &batch, reference);
            for (int i = 0; i < BATCH * 3; i++) {
                float size = fabsf(reference[i]) > 1 ? fabsf(reference[i]) : 1;
                cr_assert(fabsf(exact[i] - reference[i]) <= FORWARD_LIMIT * size,
                          "%s mode %d: logit %d: %g against %g", (*type)->name, mode, i,
                          (double)exact[i], (double)reference[i]);
                spread = fmaxf(spread, fabsf(reference[i] - reference[0]));
            }
            cr_assert(spread > 0, "%s: all logits are equal, nothing was tested", (*type)->name);
        }
        bg_net_destroy(net);
    }
}
