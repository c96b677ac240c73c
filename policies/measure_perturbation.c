/* perturbation, P6 (US20240220783A1; policies/METHODS.md): the weights of one layer are perturbed
 * some times and the change of an output is measured. From the source's steps: perturbing a layer's
 * weights a preset number of times and turning the output's change into a sensitivity. Ours: all
 * formulas.
 *
 * distribution gaussian: sensitivity = mean over draws of ||dY||^2 / ||D||^2, sums over all
 * elements and samples, D normal with `scale` times the standard deviation of the layer's weights.
 * With metric kl the sum of divergences stands for ||dY||^2, with relative it is divided by
 * ||Y||^2, with loss it is the squared change of the mean loss (X2: its mean nears P1's mean square
 * of the weight gradients).
 *
 * distribution uniform-step: D uniform within half a step of each candidate's grid; the value is
 * the mean change itself, per sample, at these bits. A row's `samples` are the draws then, and the
 * images otherwise; its spread is over the draws. */
#include "policies/alone.h"

#include <math.h>

#include "core/mem.h"
#include "core/rng.h"

extern const struct bg_measure_method bg_measure_perturbation;

struct options {
    int64_t draws;
    double scale;
    int distribution, output, metric;
};
static const char *const distributions[] = {"gaussian", "uniform-step", NULL};
static const char *const outputs[] = {"layer", "network", NULL};
static const char *const metrics[] = {"l2", "relative", "kl", "loss", NULL};
enum { METRIC_KL = 2, METRIC_LOSS };
enum { GAUSSIAN, UNIFORM_STEP };

#define FIELD(name_) offsetof(struct options, name_)
static const struct bg_option table[] = {
    {.key = "draws",
     .type = BG_OPT_INT,
     .offset = FIELD(draws),
     .fallback = "16",
     .min = 1,
     .max = 1e6,
     .help = "perturbations of each layer"},
    {.key = "scale",
     .type = BG_OPT_REAL,
     .offset = FIELD(scale),
     .fallback = "0.01",
     .min = 1e-6,
     .max = 100,
     .help = "gaussian: standard deviation, times that of the layer's weights (ours)"},
    {.key = "distribution",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(distribution),
     .fallback = "gaussian",
     .choices = distributions,
     .help = "uniform-step: within half a step of each candidate's grid (ours)"},
    {.key = "output",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(output),
     .fallback = "layer",
     .choices = outputs,
     .help = "whose change is measured; network is ours"},
    {.key = "metric",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(metric),
     .fallback = "l2",
     .choices = metrics,
     .help = "squared L2 norm, the same over the output's; of the network: KL of the softmax, or "
             "the loss; ours"},
    {.key = NULL}};

static enum bg_status check(const void *options)
{
    const struct options *o = options;
    if (o->metric >= METRIC_KL && o->output == 0)
        return bg_fail(BG_E_DATA, "perturbation: metric %s needs output: network",
                       metrics[o->metric]);
    return BG_OK;
}

struct state {
    struct bg_measurer *measurer;
    const struct options *options;
    struct bg_output_change change;
    struct bg_outputs outputs;
    double *value; /* [samples] of one draw */
    double *draw;  /* [draws] */
    int layer;
};

static double deviation(const float *x, int64_t n)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    sum /= (double)n;
    for (int64_t i = 0; i < n; i++)
        square += ((double)x[i] - sum) * ((double)x[i] - sum);
    return sqrt(square / (double)n);
}

/* w + D; returns ||D||^2 as it came to lie in f32. The draws depend on seed, layer name and number
 * alone: the order of layers and the candidates move none of them. */
static double perturb(const struct state *state, int64_t t, int candidate)
{
    const struct bg_measurer *measurer = state->measurer;
    struct bg_param *param = bg_graph_layer_weight(measurer->graph, state->layer);
    const struct bg_rng rng = {
        .seed = bg_rng_hash(bg_rng_hash(measurer->setup.seed, "perturbation"),
                            bg_node_name(bg_graph_layer(measurer->graph, state->layer))),
        .stream = BG_STREAM_SELECT,
        .step = (uint32_t)t};
    const float *from = state->measurer->weight[state->layer];
    int64_t n = state->measurer->weights[state->layer];
    float *w = bg_f32(&param->value);
    double wide = state->options->scale, spread = deviation(from, n), square = 0;

    wide *= spread > 0 ? spread : 1;
    for (int64_t i = 0; i < n; i++) {
        double d = 0;
        if (state->options->distribution == GAUSSIAN) {
            d = wide * bg_rng_normal(&rng, (uint64_t)i);
        } else {
            const struct bg_grid *grid =
                bg_measurer_grid(measurer, state->layer, BG_ROLE_WEIGHT, candidate);
            double step = (double)grid->scale[i / (n / grid->channels)];
            d = step * ((double)bg_rng_uniform(&rng, (uint64_t)i) - 0.5);
        }
        w[i] = (float)((double)from[i] + d);
        square += ((double)w[i] - (double)from[i]) * ((double)w[i] - (double)from[i]);
    }
    param->version++;
    return square;
}

/* The change of one draw: per ||D||^2 over all samples (gaussian), or the mean per sample. */
static enum bg_status one_draw(struct state *state, int64_t t, int candidate)
{
    int64_t samples = state->measurer->samples;
    double square = perturb(state, t, candidate), sum = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_outputs_compare(&state->outputs, state->measurer, &state->change, state->value));
    for (int64_t i = 0; i < samples; i++)
        sum += state->value[i];
    if (state->options->metric == METRIC_LOSS && state->options->distribution == GAUSSIAN)
        sum = sum / (double)samples * sum / (double)samples;
    if (state->options->distribution == UNIFORM_STEP)
        sum /= (double)samples;
    else if (square > 0)
        sum /= square;
    state->draw[t] = sum;
out:
    bg_measurer_restore(state->measurer, state->layer);
    return rc;
}

static enum bg_status one_row(struct state *state, int candidate)
{
    bool steps = state->options->distribution == UNIFORM_STEP;
    struct bg_measure_row row = {.measured = steps ? state->change.kind : BG_MEASURED_SENSITIVITY,
                                 .layer = state->layer,
                                 .role = BG_ROLE_WEIGHT,
                                 .bits = steps ? state->measurer->setup.bits[candidate] : 0,
                                 .samples =
                                     steps ? state->options->draws : state->measurer->samples};
    enum bg_status rc = BG_OK;

    for (int64_t t = 0; t < state->options->draws; t++)
        TRY(one_draw(state, t, candidate));
    bg_measure_mean(state->draw, NULL, state->options->draws, &row.value, &row.spread);
    TRY(bg_measurer_add(state->measurer, &row));
out:
    return rc;
}

static enum bg_status one_layer(struct state *state)
{
    int rows = state->options->distribution == UNIFORM_STEP ? state->measurer->setup.candidates : 1;
    enum bg_status rc = BG_OK;

    if (state->layer == 0 || state->change.layer_alone) {
        bg_outputs_free(&state->outputs);
        TRY(bg_outputs_make(&state->outputs, state->measurer, &state->change, state->layer));
    }
    for (int c = 0; c < rows; c++)
        TRY(one_row(state, c));
out:
    return rc;
}

static const int kinds[] = {BG_MEASURED_OUTPUT, BG_MEASURED_RELATIVE, BG_MEASURED_DIVERGENCE,
                            BG_MEASURED_LOSS};

static unsigned brings(const void *options)
{
    const struct options *o = options;
    return 1U << (o->distribution == GAUSSIAN ? BG_MEASURED_SENSITIVITY : kinds[o->metric]);
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    const struct options *o = options;
    struct state state = {.measurer = measurer, .options = o};
    enum bg_status rc = BG_OK;

    state.change =
        (struct bg_output_change){.kind = kinds[o->metric], .layer_alone = o->output == 0};
    TRY(bg_alloc(&state.value, measurer->samples, sizeof *state.value));
    TRY(bg_alloc(&state.draw, o->draws, sizeof *state.draw));
    for (state.layer = 0; state.layer < measurer->layers; state.layer++) {
        TRY(bg_measurer_progress(measurer, state.layer, measurer->layers));
        TRY(one_layer(&state));
    }
    TRY(bg_measurer_progress(measurer, measurer->layers, measurer->layers));
out:
    bg_outputs_free(&state.outputs);
    bg_free(state.draw);
    bg_free(state.value);
    return rc;
}

const struct bg_measure_method bg_measure_perturbation = {
    .name = "perturbation",
    .help = "change of an output when a layer's weights are perturbed at random",
    .source = "P6: US20240220783A1 (steps); all formulas are ours",
    .options = table,
    .options_size = sizeof(struct options),
    .check = check,
    .run = run,
    .brings = brings};
