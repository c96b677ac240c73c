/* Measures on tiny networks: against formulas, finite differences and plain loops; P6's vectors and
 * X2 of policies/METHODS.md; the network is left as it was; the same seed gives the same rows. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "policies/alone.h"
#include "policies/select.h"
#include "policies/trainer.h"
#include "tests/support_graph.h"
#include "tests/support_source.h"

/* ---- networks ---- */

struct fixture {
    struct bg_net net;
    struct bg_trainer *trainer;
    struct support_source source;
    struct support_batch all;
    struct bg_quantize_options quantize;
    struct bg_measurer *measurer;
    struct bg_measure_rows rows;
};

static const struct bg_sample_spec flat = {
    .height = 1, .width = 1, .channels = 5, .classes = 3, .dtype = BG_F32, .scale = 1};
static const struct bg_sample_spec image = {
    .height = 6, .width = 6, .channels = 2, .classes = 3, .dtype = BG_F32, .scale = 1};

enum shape { ONE_LINEAR, ONE_LINEAR_MSE, TWO_LINEAR, NORMED, FORKED };

static struct bg_node *linear(struct bg_graph *graph, const char *name, struct bg_node *x,
                              int64_t out, bool bias)
{
    struct bg_node *y = NULL;
    OK(bg_node_linear(graph, name, x, out, bias, &y));
    return y;
}

static struct bg_node *normed(struct bg_graph *graph, struct bg_node *x, bool forked)
{
    struct bg_node *a = NULL, *b = NULL;
    x = support_conv(graph, "conv1", x);
    OK(bg_node_batch_norm(graph, "norm1", x, 1e-5, 0.1, &x));
    OK(bg_node_relu(graph, "relu1", x, &x));
    a = support_conv(graph, "conv2", x);
    if (forked) {
        b = support_conv(graph, "conv3", x);
        OK(bg_node_add(graph, "add", a, b, &a));
    }
    OK(bg_node_relu(graph, "relu2", a, &x));
    OK(bg_node_dropout(graph, "drop", x, 0.5, &x));
    return linear(graph, "fc", x, 3, true);
}

static void build(struct bg_net *net, enum shape shape, uint64_t seed)
{
    struct bg_node *x = NULL, *loss = NULL;
    *net = (struct bg_net){.name = "tiny", .input = shape < NORMED ? flat : image};
    OK(bg_graph_create(&net->graph));
    OK(bg_node_input(net->graph, "input", &net->input, &x));
    if (shape == TWO_LINEAR)
        x = linear(net->graph, "fc1", x, 4, true);
    x = shape < NORMED ? linear(net->graph, "fc", x, 3, false)
                       : normed(net->graph, x, shape == FORKED);
    net->output = x;
    if (shape == ONE_LINEAR_MSE)
        OK(bg_node_mse(net->graph, "loss", x, &loss));
    else
        OK(bg_node_softmax_cross_entropy(net->graph, "loss", x, 0, &loss));
    bg_graph_initialise(net->graph, seed);
    if (shape < NORMED)
        return;
    /* Running statistics that are not those of any batch. */
    struct bg_param *mean = bg_graph_param_find(net->graph, "norm1.running_mean");
    struct bg_param *var = bg_graph_param_find(net->graph, "norm1.running_var");
    for (int64_t c = 0; c < bg_tensor_count(&mean->value); c++) {
        bg_f32(&mean->value)[c] = 0.125f * (float)(c + 1);
        bg_f32(&var->value)[c] = 0.75f + 0.5f * (float)c;
    }
}

static void open_fixture(struct fixture *f, enum shape shape, int64_t samples, int64_t batch,
                         enum bg_compute compute)
{
    struct bg_trainer_config config = {
        .compute = compute, .seed = 3, .batch = batch, .eval_batch = batch};
    memset(f, 0, sizeof *f);
    build(&f->net, shape, 7);
    config.net = &f->net;
    OK(bg_trainer_create(&f->trainer, &config));
    support_batch_make(&f->all, &f->net.input, samples, 21);
    support_source_open(&f->source, &f->net.input, samples, batch, f->all.images, f->all.labels);
    f->quantize = (struct bg_quantize_options){.weight_range = &support_min_max,
                                               .activation_range = &support_min_max};
}

static enum bg_status open_measurer(struct fixture *f)
{
    const struct bg_measure_setup setup = {.trainer = f->trainer,
                                           .source = &f->source.source,
                                           .batches = 100,
                                           .calibration = &f->source.source,
                                           .calibration_batches = 2,
                                           .quantize = &f->quantize,
                                           .candidates = 3,
                                           .bits = {2, 4, 8},
                                           .seed = 3};
    return bg_measurer_open(&f->measurer, &setup);
}

static void close_fixture(struct fixture *f)
{
    OK(bg_measurer_close(f->measurer));
    bg_measure_rows_free(&f->rows);
    bg_trainer_destroy(f->trainer);
    bg_graph_destroy(f->net.graph);
    support_batch_free(&f->all);
}

static struct bg_measure_list list_of(const char *yaml, struct bg_document **document)
{
    struct bg_measure_list list;
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    OK(bg_yaml_parse_text(document, "test", yaml, strlen(yaml)));
    cr_assert(bg_measure_choose(bg_yaml_get(bg_document_root(*document), "m"), "m", &list,
                                &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    bg_text_free(&errors);
    return list;
}

/* Runs the measures of a list "m: [...]"; rows are added. */
static void measure(struct fixture *f, const char *yaml)
{
    struct bg_document *document = NULL;
    struct bg_measure_list list = list_of(yaml, &document);
    if (!f->measurer)
        OK(open_measurer(f));
    for (int i = 0; i < list.count; i++)
        OK(bg_measurer_run(f->measurer, &list.at[i], i, &f->rows));
    OK(bg_measurer_base(f->measurer));
    bg_measure_list_free(&list);
    bg_document_free(document);
}

static const struct bg_measure_row *find(const struct fixture *f, int measured, int layer, int role,
                                         int bits)
{
    const struct bg_measurements view = {.rows = f->rows.rows, .row = f->rows.row};
    const struct bg_measure_row key = {
        .measured = measured, .layer = layer, .role = role, .bits = bits};
    const struct bg_measure_row *row = bg_measurements_find(&view, &key);
    cr_assert(row, "no row %s of layer %d role %d bits %d", bg_measured_names[measured], layer,
              role, bits);
    return row;
}

static void near(double got, double wanted, double relative, const char *what)
{
    cr_assert(fabs(got - wanted) <= relative * fabs(wanted) + 1e-12, "%s: %.17g, wanted %.17g",
              what, got, wanted);
}

/* ---- gradients of the evaluated network ---- */

static struct bg_program *program_of(struct fixture *f, enum bg_mode mode, int64_t batch,
                                     enum bg_compute compute)
{
    return support_program(f->net.graph, &(struct bg_program_options){
                                             .batch = batch, .mode = mode, .compute = compute});
}

/* BG_RUN_FROZEN: the loss is that of evaluation, gradients agree with central differences of it
 * (f32 forward passes at steps of 0.001: 1e-3), and those of a batch are the mean of its
 * samples'. */
Test(frozen, gradients_are_those_of_the_evaluated_network)
{
    for (int compute = BG_COMPUTE_EXACT; compute <= BG_COMPUTE_REFERENCE; compute++) {
        struct fixture f;
        open_fixture(&f, NORMED, 4, 4, (enum bg_compute)compute);
        struct bg_batch batch = {
            .size = 4, .dtype = BG_F32, .images = f.all.images, .labels = f.all.labels};
        const struct bg_run_moment moment = {.flags = BG_RUN_FROZEN, .seed = 9};
        struct bg_program *train = program_of(&f, BG_MODE_TRAIN, 4, (enum bg_compute)compute);
        struct bg_program *eval = program_of(&f, BG_MODE_EVAL, 4, (enum bg_compute)compute);
        struct bg_program *one = program_of(&f, BG_MODE_TRAIN, 1, (enum bg_compute)compute);
        OK(bg_program_forward(eval, &batch, &moment));
        support_step(train, &batch, &moment);
        near(bg_program_loss(train), bg_program_loss(eval), 1e-6, "loss");
        for (int p = 0; p < bg_graph_param_count(f.net.graph); p++) {
            struct bg_param *param = bg_graph_param(f.net.graph, p);
            if (!bg_param_trainable(param))
                continue;
            support_step(train, &batch, &moment);
            int64_t n = bg_tensor_count(&param->value), at = n / 2;
            float *w = bg_f32(&param->value) + at, was = *w;
            double gradient = (double)bg_f32(&param->grad)[at], side[2], mean = 0;
            for (int s = 0; s < 2; s++) {
                *w = was + (s ? -0.001f : 0.001f);
                param->version++;
                OK(bg_program_forward(eval, &batch, &moment));
                side[s] = bg_program_loss(eval);
            }
            *w = was;
            param->version++;
            cr_assert(fabs((side[0] - side[1]) / 0.002 - gradient) < 1e-3, "%s: %g, %g",
                      param->name, gradient, (side[0] - side[1]) / 0.002);
            for (int64_t i = 0; i < 4; i++) {
                struct bg_batch sample = {.size = 1,
                                          .dtype = BG_F32,
                                          .images = f.all.images + i * 72,
                                          .labels = f.all.labels + i};
                support_step(one, &sample, &moment);
                mean += (double)bg_f32(&param->grad)[at] / 4;
            }
            cr_assert(fabs(mean - gradient) < 1e-5, "%s: %g, mean of samples %g", param->name,
                      gradient, mean);
        }
        bg_program_destroy(train);
        bg_program_destroy(eval);
        bg_program_destroy(one);
        close_fixture(&f);
    }
}

/* ---- fisher ---- */

/* A linear layer under softmax cross-entropy: dL/dW = (p - y) x', so the squared norm of a sample's
 * gradient is |p - y|^2 |x|^2, and of its input's |W'(p - y)|^2. f32 gradients: 1e-5. */
Test(fisher, equals_the_formula_of_a_linear_layer)
{
    struct fixture f;
    open_fixture(&f, ONE_LINEAR, 6, 4, BG_COMPUTE_EXACT);
    const float *w = bg_f32(&bg_graph_layer_weight(f.net.graph, 0)->value);
    double traces[2] = {0, 0};
    for (int64_t i = 0; i < 6; i++) {
        const float *x = f.all.images + i * 5;
        double d[3], sum = 0, x2 = 0, d2 = 0;
        for (int c = 0; c < 3; c++) {
            double z = 0;
            for (int k = 0; k < 5; k++)
                z += (double)w[c * 5 + k] * (double)x[k];
            sum += d[c] = exp(z);
        }
        for (int c = 0; c < 3; c++) {
            d[c] = d[c] / sum - (f.all.labels[i] == c);
            d2 += d[c] * d[c];
        }
        for (int k = 0; k < 5; k++) {
            double g = 0;
            for (int c = 0; c < 3; c++)
                g += d[c] * (double)w[c * 5 + k];
            traces[1] += g * g / 6;
            x2 += (double)x[k] * (double)x[k];
        }
        traces[0] += d2 * x2 / 6;
    }
    measure(&f, "m: [fisher]");
    near(find(&f, BG_MEASURED_TRACE, 0, BG_ROLE_WEIGHT, 0)->value, traces[0], 1e-5, "weights");
    near(find(&f, BG_MEASURED_TRACE, 0, BG_ROLE_ACTIVATION, 0)->value, traces[1], 1e-5, "input");
    cr_assert(find(&f, BG_MEASURED_TRACE, 0, BG_ROLE_WEIGHT, 0)->samples == 6);
    cr_assert(f.rows.row[0].passes == 12 && f.rows.row[1].passes == 0);
    close_fixture(&f);
}

/* Per-sample gradients by passes of batch size 1, in a network with batch norm; the traces of
 * activations do not depend on how the samples are batched. */
Test(fisher, equals_per_sample_gradients)
{
    struct fixture f;
    open_fixture(&f, NORMED, 6, 4, BG_COMPUTE_EXACT);
    const struct bg_run_moment moment = {.flags = BG_RUN_FROZEN};
    struct bg_program *one = program_of(&f, BG_MODE_TRAIN, 1, BG_COMPUTE_EXACT);
    double trace[3] = {0, 0, 0}, activation[3];
    for (int64_t i = 0; i < 6; i++) {
        struct bg_batch sample = {.size = 1,
                                  .dtype = BG_F32,
                                  .images = f.all.images + i * 72,
                                  .labels = f.all.labels + i};
        support_step(one, &sample, &moment);
        for (int l = 0; l < 3; l++) {
            const struct bg_tensor *g = &bg_graph_layer_weight(f.net.graph, l)->grad;
            for (int64_t k = 0; k < bg_tensor_count(g); k++)
                trace[l] += (double)bg_f32(g)[k] * (double)bg_f32(g)[k] / 6;
        }
    }
    bg_program_destroy(one);
    measure(&f, "m: [fisher]");
    for (int l = 0; l < 3; l++) {
        near(find(&f, BG_MEASURED_TRACE, l, BG_ROLE_WEIGHT, 0)->value, trace[l], 1e-12, "trace");
        activation[l] = find(&f, BG_MEASURED_TRACE, l, BG_ROLE_ACTIVATION, 0)->value;
    }
    f.rows.rows = 0;
    measure(&f, "m: [{name: fisher, gradient: batch}]");
    for (int l = 0; l < 3; l++) /* f32 of other batch sizes */
        near(find(&f, BG_MEASURED_TRACE, l, BG_ROLE_ACTIVATION, 0)->value, activation[l], 1e-5,
             "activations");
    close_fixture(&f);
}

/* FIT's activation term: fc's input is fc1's output, so dL/d(input) is dL/d(fc1's bias) of that
 * sample; by central differences of f32 losses (1e-3). */
Test(fisher, activation_term_equals_finite_differences)
{
    struct fixture f;
    double trace = 0;
    open_fixture(&f, TWO_LINEAR, 4, 4, BG_COMPUTE_EXACT);
    struct bg_param *bias = bg_graph_param_find(f.net.graph, "fc1.bias");
    struct bg_program *eval = program_of(&f, BG_MODE_EVAL, 1, BG_COMPUTE_EXACT);
    for (int64_t i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            double side[2];
            float was = bg_f32(&bias->value)[k];
            struct bg_batch sample = {.size = 1,
                                      .dtype = BG_F32,
                                      .images = f.all.images + i * 5,
                                      .labels = f.all.labels + i};
            for (int s = 0; s < 2; s++) {
                bg_f32(&bias->value)[k] = was + (s ? -0.01f : 0.01f);
                bias->version++;
                OK(bg_program_forward(eval, &sample, NULL));
                side[s] =
                    bg_graph_loss(f.net.graph, bg_f32(bg_program_logits(eval)), sample.labels, 1);
            }
            bg_f32(&bias->value)[k] = was;
            bias->version++;
            trace += pow((side[0] - side[1]) / 0.02, 2) / 4;
        }
    bg_program_destroy(eval);
    measure(&f, "m: [fisher]");
    near(find(&f, BG_MEASURED_TRACE, 1, BG_ROLE_ACTIVATION, 0)->value, trace, 1e-3, "activations");
    close_fixture(&f);
}

/* ---- hessian ---- */

/* Mean squared error of one linear layer is quadratic: the Hessian's trace is 2 E|x|^2, and the
 * difference of gradients has no error but rounding. */
Test(hessian, of_a_quadratic_loss_is_known)
{
    struct fixture f;
    double wanted = 0;
    open_fixture(&f, ONE_LINEAR_MSE, 8, 4, BG_COMPUTE_EXACT);
    for (int64_t i = 0; i < 8 * 5; i++)
        wanted += 2 * pow((double)f.all.images[i], 2) / 8;
    measure(&f, "m: [{name: hessian, vectors: 300}]");
    const struct bg_measure_row *row = find(&f, BG_MEASURED_TRACE, 0, BG_ROLE_WEIGHT, 0);
    cr_assert(fabs(row->value - wanted) < 4 * row->spread + 1e-4 * wanted, "%g +- %g, wanted %g",
              row->value, row->spread, wanted);
    cr_assert(find(&f, BG_MEASURED_STEP_ERROR, 0, BG_ROLE_WEIGHT, 0)->value < 1e-4 * wanted);
    cr_assert(row->samples == 300 && row->passes == 300 * 4 * 2 * 8);
    close_fixture(&f);
}

/* The dense diagonal by central differences of each weight's gradient. Four standard errors of the
 * estimate, and 1 % for both differences. */
Test(hessian, equals_the_dense_trace)
{
    static const char *const how[] = {"m: [{name: hessian, vectors: 400}]",
                                      "m: [{name: hessian, vectors: 400, at_once: false}]"};
    struct fixture f;
    double dense[2] = {0, 0};
    open_fixture(&f, TWO_LINEAR, 8, 8, BG_COMPUTE_EXACT);
    struct bg_batch batch = {
        .size = 8, .dtype = BG_F32, .images = f.all.images, .labels = f.all.labels};
    struct bg_program *train = program_of(&f, BG_MODE_TRAIN, 8, BG_COMPUTE_EXACT);
    for (int l = 0; l < 2; l++) {
        struct bg_param *param = bg_graph_layer_weight(f.net.graph, l);
        for (int64_t i = 0; i < bg_tensor_count(&param->value); i++) {
            float was = bg_f32(&param->value)[i];
            for (int s = 0; s < 2; s++) {
                bg_f32(&param->value)[i] = was + (s ? -0.01f : 0.01f);
                param->version++;
                support_step(train, &batch, NULL);
                dense[l] += (s ? -1 : 1) * (double)bg_f32(&param->grad)[i] / 0.02;
            }
            bg_f32(&param->value)[i] = was;
            param->version++;
        }
    }
    bg_program_destroy(train);
    for (int k = 0; k < 2; k++) {
        f.rows.rows = 0;
        measure(&f, how[k]);
        for (int l = 0; l < 2; l++) {
            const struct bg_measure_row *row = find(&f, BG_MEASURED_TRACE, l, BG_ROLE_WEIGHT, 0);
            cr_assert(row->spread > 0 && row->spread < 0.2 * dense[l]);
            cr_assert(fabs(row->value - dense[l]) < 4 * row->spread + 0.01 * dense[l],
                      "layer %d: %g +- %g, dense %g", l, row->value, row->spread, dense[l]);
        }
    }
    close_fixture(&f);
}

/* ---- P6 ---- */

/* The tiny vector: X = (1, 2), D = (0.1, -0.2): dY = -0.3, ratio 1.8. */
Test(perturbation, tiny_vector_of_p6)
{
    static const float d[5] = {0.1f, -0.2f};
    static const struct bg_output_change change = {.kind = BG_MEASURED_OUTPUT, .layer_alone = true};
    struct fixture f;
    struct bg_outputs outputs;
    double value = 0;
    open_fixture(&f, ONE_LINEAR, 1, 1, BG_COMPUTE_EXACT);
    memset(f.all.images, 0, 5 * sizeof(float));
    f.all.images[0] = 1;
    f.all.images[1] = 2;
    OK(open_measurer(&f));
    OK(bg_outputs_make(&outputs, f.measurer, &change, 0));
    struct bg_param *param = bg_graph_layer_weight(f.net.graph, 0);
    for (int k = 0; k < 5; k++)
        bg_f32(&param->value)[k] += d[k]; /* the first output's weights */
    param->version++;
    OK(bg_outputs_compare(&outputs, f.measurer, &change, &value));
    near(value / (0.01 + 0.04), 1.8, 1e-5, "ratio"); /* f32 */
    bg_measurer_restore(f.measurer, 0);
    bg_outputs_free(&outputs);
    close_fixture(&f);
}

static double omega(struct fixture *f, const char *yaml)
{
    f->rows.rows = 0;
    measure(f, yaml);
    return find(f, BG_MEASURED_SENSITIVITY, 0, BG_ROLE_WEIGHT, 0)->value;
}

/* Y = X W': E[|dY|^2 / |D|^2] = |X|_F^2 / n_in. Independent of scale and of W, X doubled gives four
 * times as much, zero inputs give 0. */
Test(perturbation, of_a_linear_layer_is_known)
{
    const char *many = "m: [{name: perturbation, draws: 4000}]";
    const char *few = "m: [{name: perturbation, draws: 16}]";
    struct fixture f;
    double square = 0, before = 0;
    open_fixture(&f, ONE_LINEAR, 8, 4, BG_COMPUTE_EXACT);
    for (int64_t i = 0; i < 8 * 5; i++)
        square += pow((double)f.all.images[i], 2);
    double got = omega(&f, many);
    const struct bg_measure_row *row = find(&f, BG_MEASURED_SENSITIVITY, 0, BG_ROLE_WEIGHT, 0);
    cr_assert(fabs(got - square / 5) < 4 * row->spread && row->spread < 0.02 * got, "%g +- %g, %g",
              got, row->spread, square / 5);
    before = omega(&f, few);
    near(omega(&f, "m: [{name: perturbation, draws: 16, scale: 0.1}]"), before, 1e-3, "scale");
    OK(bg_measurer_close(f.measurer));
    f.measurer = NULL;
    for (int64_t i = 0; i < 8 * 5; i++)
        f.all.images[i] *= 2;
    near(omega(&f, few), 4 * before, 1e-4, "doubled");
    OK(bg_measurer_close(f.measurer));
    f.measurer = NULL;
    struct bg_param *param = bg_graph_layer_weight(f.net.graph, 0);
    for (int k = 0; k < 15; k++)
        bg_f32(&param->value)[k] = -0.5f * bg_f32(&param->value)[k];
    param->version++;
    near(omega(&f, few), 4 * before, 1e-4, "other weights");
    OK(bg_measurer_close(f.measurer));
    f.measurer = NULL;
    memset(f.all.images, 0, 40 * sizeof(float));
    cr_assert(omega(&f, few) == 0);
    close_fixture(&f);
}

/* X2: with the loss as output, n * E[dL^2 / |D|^2] nears the squared norm of the loss's gradient,
 * which is n times P1's mean square for one data set. Tolerance 10 % as METHODS.md says. */
Test(perturbation, x2_meets_the_gradient_profile)
{
    struct fixture f;
    struct bg_profile profile;
    open_fixture(&f, TWO_LINEAR, 8, 8, BG_COMPUTE_EXACT);
    OK(bg_trainer_profile_make(&f.net, false, &profile));
    OK(bg_trainer_profile_gradients(f.trainer, &f.source.source, 1, &profile));
    measure(&f, "m: [{name: perturbation, draws: 4000, output: network, metric: loss, scale: "
                "0.001}]");
    for (int l = 0; l < 2; l++)
        near(find(&f, BG_MEASURED_SENSITIVITY, l, BG_ROLE_WEIGHT, 0)->value,
             bg_stats_mean_square(bg_profile_at(&profile, 0, BG_QUANTITY_WEIGHT_GRAD, l)), 0.1,
             "sensitivity");
    bg_profile_free(&profile);
    close_fixture(&f);
}

/* Uniform steps on a linear layer: E|dY|^2 per sample = (sum of step^2 / 12 over outputs) * E|x|^2;
 * 4000 draws of 15 numbers: 5 %. */
Test(perturbation, uniform_steps_of_a_linear_layer)
{
    struct fixture f;
    double square = 0;
    open_fixture(&f, ONE_LINEAR, 8, 4, BG_COMPUTE_EXACT);
    for (int64_t i = 0; i < 8 * 5; i++)
        square += pow((double)f.all.images[i], 2) / 8;
    measure(&f, "m: [{name: perturbation, draws: 4000, distribution: uniform-step}]");
    measure(&f, "m: [weight-error]");
    for (int bits = 2; bits <= 8; bits *= 2)
        near(find(&f, BG_MEASURED_OUTPUT, 0, BG_ROLE_WEIGHT, bits)->value,
             3 * find(&f, BG_MEASURED_STEP_NOISE, 0, BG_ROLE_WEIGHT, bits)->value * square, 0.05,
             "uniform");
    close_fixture(&f);
}

/* ---- one layer alone ---- */

Test(measures, divergence_of_a_known_pair)
{
    const float p[2] = {0, 0}, q[2] = {0, logf(3)};
    near(bg_measure_divergence(p, q, 2), 0.5 * log(2) + 0.5 * log(2.0 / 3), 1e-6, "KL");
    cr_assert(bg_measure_divergence(q, q, 2) == 0);
}

/* Loss, weight error and gradient error against a plan put on by hand. */
Test(measures, one_layer_alone_equals_a_plan)
{
    struct fixture f;
    struct bg_evaluation before, after;
    open_fixture(&f, NORMED, 8, 4, BG_COMPUTE_EXACT);
    measure(&f, "m: [loss-change]");
    measure(&f, "m: [weight-error]");
    measure(&f, "m: [gradient-error]");
    OK(bg_measurer_close(f.measurer));
    f.measurer = NULL;
    OK(bg_trainer_evaluate(f.trainer, &f.source.source, &before));
    for (int l = 0; l < 3; l++) {
        struct bg_plan plan;
        struct bg_param *param = bg_graph_layer_weight(f.net.graph, l);
        double error = 0, first = 0;
        OK(bg_net_plan(&f.net, 0, 0, &plan));
        plan.layer[l].spec[BG_ROLE_WEIGHT] =
            (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = 4, .per_channel = true};
        OK(bg_trainer_apply(f.trainer, &plan, &f.quantize));
        OK(bg_trainer_evaluate(f.trainer, &f.source.source, &after));
        int64_t n = bg_tensor_count(&param->value);
        double *d = NULL;
        OK(bg_alloc(&d, n, sizeof *d));
        for (int64_t i = 0; i < n; i++) {
            d[i] = (double)bg_f32(&param->forward)[i] - (double)bg_f32(&param->value)[i];
            error += d[i] * d[i] / (double)n;
        }
        OK(bg_trainer_apply(f.trainer, NULL, NULL));
        struct bg_program *train = program_of(&f, BG_MODE_TRAIN, 8, BG_COMPUTE_EXACT);
        struct bg_batch batch = {
            .size = 8, .dtype = BG_F32, .images = f.all.images, .labels = f.all.labels};
        support_step(train, &batch, &(struct bg_run_moment){.flags = BG_RUN_FROZEN});
        for (int64_t i = 0; i < n; i++)
            first += (double)bg_f32(&param->grad)[i] * d[i];
        bg_program_destroy(train);
        bg_free(d);
        bg_plan_free(&plan);
        near(find(&f, BG_MEASURED_MEAN_SQUARE, l, BG_ROLE_WEIGHT, 4)->value, error, 1e-12, "error");
        cr_assert(fabs(find(&f, BG_MEASURED_LOSS, l, BG_ROLE_WEIGHT, 4)->value -
                       (after.loss - before.loss)) < 1e-9);
        cr_assert(fabs(find(&f, BG_MEASURED_FIRST_ORDER, l, BG_ROLE_WEIGHT, 4)->value - first) <
                  1e-6);
        cr_assert(find(&f, BG_MEASURED_ABSOLUTE, l, BG_ROLE_WEIGHT, 4)->value >= fabs(first));
    }
    close_fixture(&f);
}

/* A sample whose output was all 0: its change is measured by the mean norm over the samples. */
Test(measures, relative_change_of_an_output_of_zeros)
{
    const struct bg_output_change plain = {.kind = BG_MEASURED_OUTPUT, .layer_alone = true};
    const struct bg_output_change relative = {.kind = BG_MEASURED_RELATIVE, .layer_alone = true};
    double change[4], value[4], norm[4], mean = 0;
    struct bg_outputs outputs = {0};
    struct fixture f;
    open_fixture(&f, ONE_LINEAR, 4, 4, BG_COMPUTE_REFERENCE);
    float *x = f.all.images;
    struct bg_param *param = bg_graph_layer_weight(f.net.graph, 0);
    float *w = bg_f32(&param->value);
    memset(x, 0, 5 * sizeof *x);
    x[0] = x[1] = 1.0f;
    for (int o = 0; o < 3; o++)
        w[5 * o + 1] = -w[5 * o];
    param->version++;
    OK(open_measurer(&f));
    OK(bg_outputs_make(&outputs, f.measurer, &relative, 0));
    for (int i = 0; i < 4; i++) {
        norm[i] = 0;
        for (int o = 0; o < 3; o++)
            norm[i] += pow((double)outputs.before[3 * i + o], 2);
        mean += norm[i] / 4;
    }
    cr_assert(norm[0] <= 0 && mean > 0);
    w[0] += 0.5f;
    param->version++;
    OK(bg_outputs_compare(&outputs, f.measurer, &plain, change));
    OK(bg_outputs_compare(&outputs, f.measurer, &relative, value));
    for (int i = 0; i < 4; i++) /* a handful of roundings in f64 */
        near(value[i], change[i] / (norm[i] > 0 ? norm[i] : mean), 1e-13, "relative");
    cr_assert(value[0] > 0);
    bg_outputs_free(&outputs);
    bg_measurer_restore(f.measurer, 0);
    close_fixture(&f);
}

/* The error of an input that is on the grid of its own maximum: x in a 4-bit grid by hand. */
Test(measures, activation_error_of_a_known_grid)
{
    struct fixture f;
    double lo = 0, hi = 0, error = 0;
    open_fixture(&f, ONE_LINEAR, 8, 8, BG_COMPUTE_EXACT);
    for (int64_t i = 0; i < 40; i++) {
        lo = fmin(lo, (double)f.all.images[i]);
        hi = fmax(hi, (double)f.all.images[i]);
    }
    double step = (double)((float)(hi - lo) / 15), zero = rint(-lo / step);
    for (int64_t i = 0; i < 40; i++) {
        double x = (double)f.all.images[i];
        double code = fmin(fmax(rint(x / step) + zero, 0), 15);
        error += pow((code - zero) * step - x, 2) / 40;
    }
    measure(&f, "m: [activation-error]");
    near(find(&f, BG_MEASURED_MEAN_SQUARE, 0, BG_ROLE_ACTIVATION, 4)->value, error, 1e-4, "error");
    near(find(&f, BG_MEASURED_STEP_NOISE, 0, BG_ROLE_ACTIVATION, 4)->value, step * step / 12, 1e-5,
         "noise");
    close_fixture(&f);
}

/* conv2 and conv3 read one tensor: they share the change of the logits. */
Test(measures, readers_of_one_tensor_share_its_change)
{
    struct fixture f;
    open_fixture(&f, FORKED, 4, 4, BG_COMPUTE_EXACT);
    measure(&f, "m: [output-error]");
    double one = find(&f, BG_MEASURED_OUTPUT, 1, BG_ROLE_ACTIVATION, 2)->value;
    double two = find(&f, BG_MEASURED_OUTPUT, 2, BG_ROLE_ACTIVATION, 2)->value;
    cr_assert(one == two && one > 0);
    const struct bg_output_change change = {.kind = BG_MEASURED_OUTPUT};
    struct bg_outputs outputs;
    double value[4], sum = 0;
    OK(bg_outputs_make(&outputs, f.measurer, &change, 0));
    OK(bg_measurer_alone(f.measurer, 2, BG_ROLE_ACTIVATION, 0));
    OK(bg_outputs_compare(&outputs, f.measurer, &change, value));
    for (int i = 0; i < 4; i++)
        sum += value[i] / 4;
    near(one + two, sum, 1e-12, "sum");
    bg_outputs_free(&outputs);
    close_fixture(&f);
}

/* ---- all of them ---- */

static const char everything[] =
    "m: [weight-error, activation-error, output-error, {name: output-error, as: layer, output: "
    "layer, metric: relative}, {name: output-error, as: kl, metric: kl}, loss-change, "
    "gradient-error, fisher, {name: fisher, as: fb, gradient: batch}, {name: hessian, vectors: 3}, "
    "{name: hessian, as: hl, vectors: 2, at_once: false}, {name: perturbation, draws: 3}, {name: "
    "perturbation, as: pk, draws: 2, output: network, metric: kl}, {name: perturbation, as: pu, "
    "draws: 2, distribution: uniform-step}, combinations, {name: combinations, as: both, "
    "activations: true}]";

static bool same_rows(const struct bg_measure_rows *a, const struct bg_measure_rows *b)
{
    if (a->rows != b->rows)
        return false;
    for (int64_t i = 0; i < a->rows; i++) {
        const struct bg_measure_row *x = &a->row[i], *y = &b->row[i];
        if (x->measure != y->measure || x->measured != y->measured || x->layer != y->layer ||
            x->role != y->role || x->bits != y->bits || x->passes != y->passes ||
            memcmp(&x->value, &y->value, sizeof x->value) != 0 ||
            (isnan(x->spread) ? !isnan(y->spread) : x->spread != y->spread))
            return false;
    }
    return true;
}

/* Five runs give the same bits; all parameters, statistics and ranges are as they were. */
Test(measures, same_rows_each_time_and_the_network_as_it_was)
{
    static const enum shape shapes[] = {ONE_LINEAR, NORMED, FORKED};
    for (int s = 0; s < 3; s++) {
        struct fixture f;
        struct bg_measure_rows first = {0};
        float *before[64] = {NULL};
        open_fixture(&f, shapes[s], 6, 4, BG_COMPUTE_EXACT);
        int params = bg_graph_param_count(f.net.graph);
        for (int p = 0; p < params; p++) {
            const struct bg_tensor *value = &bg_graph_param(f.net.graph, p)->value;
            OK(bg_alloc(&before[p], bg_tensor_count(value), sizeof(float)));
            memcpy(before[p], value->data, (size_t)bg_tensor_count(value) * sizeof(float));
        }
        for (int run = 0; run < 5; run++) {
            f.rows = (struct bg_measure_rows){0};
            measure(&f, everything);
            OK(bg_measurer_close(f.measurer));
            f.measurer = NULL;
            if (run == 0)
                first = f.rows;
            else
                cr_assert(same_rows(&first, &f.rows), "run %d", run);
            if (run > 0)
                bg_measure_rows_free(&f.rows);
        }
        f.rows = (struct bg_measure_rows){0};
        cr_assert(bg_graph_param_count(f.net.graph) == params);
        cr_assert(bg_graph_quantizer_count(f.net.graph) == 0);
        for (int p = 0; p < params; p++) {
            const struct bg_tensor *value = &bg_graph_param(f.net.graph, p)->value;
            cr_assert(
                memcmp(before[p], value->data, (size_t)bg_tensor_count(value) * sizeof(float)) == 0,
                "%s", bg_graph_param(f.net.graph, p)->name);
            bg_free(before[p]);
        }
        bg_measure_rows_free(&first);
        close_fixture(&f);
    }
}

/* A request to stop, and memory that runs out, leave the network as it was. */
Test(measures, failures_leave_the_network)
{
    struct fixture f;
    struct bg_document *document = NULL;
    struct bg_measure_list list = list_of("m: [{name: hessian, vectors: 2}, {name: perturbation, "
                                          "draws: 2}, loss-change]",
                                          &document);
    open_fixture(&f, ONE_LINEAR, 4, 4, BG_COMPUTE_EXACT);
    float before[15];
    struct bg_param *param = bg_graph_layer_weight(f.net.graph, 0);
    memcpy(before, param->value.data, sizeof before);
    OK(open_measurer(&f));
    bg_stop_request();
    for (int i = 0; i < list.count; i++)
        cr_assert(bg_measurer_run(f.measurer, &list.at[i], i, &f.rows) == BG_E_INTERRUPTED);
    bg_stop_clear();
    OK(bg_measurer_close(f.measurer));
    f.measurer = NULL;
    for (int i = 0; i < list.count; i++) {
        enum bg_status rc = BG_E_NOMEM;
        for (uint64_t n = 1; rc != BG_OK; n += 5) {
            bg_alloc_fail_at(n);
            rc = open_measurer(&f);
            if (rc == BG_OK)
                rc = bg_measurer_run(f.measurer, &list.at[i], i, &f.rows);
            bg_alloc_fail_at(0);
            cr_assert(rc == BG_OK || rc == BG_E_NOMEM, "%s", bg_error());
            cr_assert(n < 20000);
            OK(bg_measurer_close(f.measurer));
            f.measurer = NULL;
            cr_assert(memcmp(before, param->value.data, sizeof before) == 0);
            cr_assert(bg_graph_quantizer_count(f.net.graph) == 0);
        }
    }
    bg_measure_list_free(&list);
    bg_document_free(document);
    close_fixture(&f);
}

/* What a recipe may not say: one line each. */
Test(measures, bad_lists_are_refused)
{
    static const struct {
        const char *yaml, *part;
    } bad[] = {{"m: [weight-eror]", "did you mean 'weight-error'"},
               {"m: {name: fisher}", "expected a list"},
               {"m: [[fisher]]", "expected the name"},
               {"m: [{vectors: 3}]", "expected the name"},
               {"m: [fisher, fisher]", "stands twice"},
               {"m: [{name: fisher, as: ''}]", "`as` must be"},
               {"m: [{name: hessian, vector: 3}]", "did you mean"},
               {"m: [{name: hessian, vectors: 0}]", "outside"},
               {"m: [{name: output-error, output: layer, metric: kl}]", "metric kl"},
               {"m: [{name: perturbation, metric: loss}]", "output: network"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bg_document *document = NULL;
        struct bg_measure_list list;
        struct bg_text errors;
        bg_text_init(&errors, 4096);
        OK(bg_yaml_parse_text(&document, "test", bad[i].yaml, strlen(bad[i].yaml)));
        cr_assert(bg_measure_choose(bg_yaml_get(bg_document_root(document), "m"), "m", &list,
                                    &errors) == BG_E_DATA);
        cr_assert(strstr(bg_text_string(&errors), bad[i].part), "%s: %s", bad[i].yaml,
                  bg_text_string(&errors));
        cr_assert(list.count == 0 && list.at == NULL);
        bg_text_free(&errors);
        bg_document_free(document);
    }
}

Test(measures, too_many_combinations_are_refused)
{
    struct fixture f;
    struct bg_document *document = NULL;
    struct bg_measure_list list = list_of("m: [{name: combinations, limit: 26}]", &document);
    open_fixture(&f, NORMED, 4, 4, BG_COMPUTE_EXACT);
    OK(open_measurer(&f));
    cr_assert(bg_measurer_run(f.measurer, &list.at[0], 0, &f.rows) == BG_E_DATA);
    cr_assert(strstr(bg_error(), "make 27 combinations, the limit is 26"), "%s", bg_error());
    bg_measure_list_free(&list);
    bg_document_free(document);
    close_fixture(&f);
}
