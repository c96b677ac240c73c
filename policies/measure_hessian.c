/* hessian: the trace of each layer's block of the Hessian of the mean loss over its weights, by
 * Hutchinson's estimator: v'Hv with random signs v has the mean tr(H). Hessian-vector products are
 * central differences of gradients, (g(w + hv) - g(w - hv)) / 2h. Every vector is taken at h and at
 * h/2; the value is that of h/2, and a third of the mean difference of the two estimates its error
 * (the error of a smooth function falls as h^2; relu's kinks make that a rough guide).
 *
 * HAWQ-V2 (Dong et al., NeurIPS 2020) uses this trace (recalled). Ours: h in units of the layer's
 * root mean square weight, and the error estimate. With at_once one vector covers all layers, as is
 * usual: blocks between layers then add to the variance, not to the mean. */
#include "policies/measurer.h"

#include <math.h>

#include "core/mem.h"
#include "core/rng.h"
#include "core/stats.h"

extern const struct bg_measure_method bg_measure_hessian;

struct options {
    int64_t vectors;
    double step;
    bool at_once;
};

static const struct bg_option table[] = {
    {.key = "vectors",
     .type = BG_OPT_INT,
     .offset = offsetof(struct options, vectors),
     .fallback = "16",
     .min = 1,
     .max = 100000,
     .help = "random sign vectors"},
    {.key = "step",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct options, step),
     .fallback = "0.02",
     .min = 1e-6,
     .max = 10,
     .help = "h of the difference, times the root mean square of the layer's weights (ours)"},
    {.key = "at_once",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, at_once),
     .fallback = "true",
     .help = "one vector for all layers: fewer passes, more variance"},
    {.key = NULL}};

struct state {
    struct bg_measurer *measurer;
    const struct options *options;
    double *h;        /* [layers] */
    double *trace[2]; /* at h and h/2: [layer][vector] */
    float *sign;      /* of the largest layer */
};

static void draw(const struct state *state, int layer, int64_t vector, int64_t n, float *sign)
{
    const char *name = bg_node_name(bg_graph_layer(state->measurer->graph, layer));
    uint64_t seed = bg_rng_hash(state->measurer->setup.seed, "hessian");
    const struct bg_rng rng = {
        .seed = bg_rng_hash(seed, name), .stream = BG_STREAM_SELECT, .step = (uint32_t)vector};
    uint32_t words = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i % 32 == 0)
            words = bg_rng_u32(&rng, (uint64_t)(i / 32));
        sign[i] = words >> (i % 32) & 1U ? 1.0f : -1.0f;
    }
}

/* w + factor * h * v in the layers from first to last, v drawn anew. */
static void shift(struct state *state, const int span[2], int64_t vector, double factor)
{
    for (int layer = span[0]; layer < span[1]; layer++) {
        struct bg_param *param = bg_graph_layer_weight(state->measurer->graph, layer);
        float *w = bg_f32(&param->value);
        int64_t n = state->measurer->weights[layer];
        draw(state, layer, vector, n, state->sign);
        for (int64_t i = 0; i < n; i++)
            w[i] = (float)((double)state->measurer->weight[layer][i] +
                           factor * state->h[layer] * (double)state->sign[i]);
        param->version++;
    }
}

static void put_back(struct state *state)
{
    for (int layer = 0; layer < state->measurer->layers; layer++)
        bg_measurer_restore(state->measurer, layer);
}

/* trace += factor * v'g of the mean loss at the present weights. */
static enum bg_status add_products(struct state *state, const int span[2], int64_t vector,
                                   double factor, double *trace)
{
    struct bg_measurer *measurer = state->measurer;
    enum bg_status rc = BG_OK;
    for (int64_t b = 0; b < measurer->setup.batches; b++) {
        const struct bg_batch *batch = &measurer->batch[b];
        struct bg_program *program = NULL;
        double share = (double)batch->size / (double)measurer->samples;
        TRY(bg_measurer_gradients(measurer, batch, NULL, &program));
        for (int layer = span[0]; layer < span[1]; layer++) {
            const struct bg_param *param = bg_graph_layer_weight(measurer->graph, layer);
            int64_t n = state->measurer->weights[layer];
            draw(state, layer, vector, n, state->sign);
            trace[layer * state->options->vectors + vector] +=
                factor * share * bg_measure_dot(state->sign, bg_f32(&param->grad), n) /
                state->h[layer];
        }
    }
out:
    return rc;
}

/* v'Hv of the layers in span at h (which = 0) or h/2. */
static enum bg_status one_vector(struct state *state, const int span[2], int64_t vector, int which)
{
    double half = which ? 0.5 : 1;
    enum bg_status rc = BG_OK;
    shift(state, span, vector, half);
    TRY(add_products(state, span, vector, 0.5 / half, state->trace[which]));
    shift(state, span, vector, -half);
    TRY(add_products(state, span, vector, -0.5 / half, state->trace[which]));
out:
    return rc;
}

static enum bg_status run_vectors(struct state *state)
{
    int layers = state->measurer->layers, width = state->options->at_once ? layers : 1;
    int64_t vectors = state->options->vectors, done = 0, total = vectors * (layers / width);
    enum bg_status rc = BG_OK;
    for (int first = 0; first < layers; first += width) {
        const int span[2] = {first, first + width};
        for (int64_t vector = 0; vector < vectors; vector++) {
            TRY(bg_measurer_progress(state->measurer, done++, total));
            TRY(one_vector(state, span, vector, 0));
            TRY(one_vector(state, span, vector, 1));
        }
        put_back(state);
    }
    TRY(bg_measurer_progress(state->measurer, total, total));
out:
    put_back(state);
    return rc;
}

static enum bg_status add_rows(const struct state *state, int layer)
{
    int64_t vectors = state->options->vectors;
    struct bg_measure_row row = {
        .measured = BG_MEASURED_TRACE, .layer = layer, .role = BG_ROLE_WEIGHT, .samples = vectors};
    double coarse = 0, ignored = 0;
    enum bg_status rc = BG_OK;

    bg_measure_mean(state->trace[0] + layer * vectors, NULL, vectors, &coarse, &ignored);
    bg_measure_mean(state->trace[1] + layer * vectors, NULL, vectors, &row.value, &row.spread);
    TRY(bg_measurer_add(state->measurer, &row));
    row.measured = BG_MEASURED_STEP_ERROR;
    row.value = fabs(coarse - row.value) / 3;
    row.spread = (double)NAN;
    TRY(bg_measurer_add(state->measurer, &row));
out:
    return rc;
}

static enum bg_status prepare(struct state *state)
{
    int layers = state->measurer->layers;
    int64_t largest = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&state->h, layers, sizeof *state->h));
    for (int k = 0; k < 2; k++)
        TRY(bg_alloc(&state->trace[k], layers * state->options->vectors, sizeof(double)));
    for (int i = 0; i < layers; i++) {
        int64_t n = state->measurer->weights[i];
        double square = bg_sum_square_difference(state->measurer->weight[i], NULL, n) / (double)n;
        state->h[i] = state->options->step * (square > 0 ? sqrt(square) : 1);
        largest = n > largest ? n : largest;
    }
    TRY(bg_alloc(&state->sign, largest, sizeof *state->sign));
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    struct state state = {.measurer = measurer, .options = options};
    enum bg_status rc = BG_OK;

    TRY(prepare(&state));
    TRY(run_vectors(&state));
    for (int layer = 0; layer < measurer->layers; layer++)
        TRY(add_rows(&state, layer));
out:
    bg_free(state.sign);
    bg_free(state.trace[0]);
    bg_free(state.trace[1]);
    bg_free(state.h);
    return rc;
}

const struct bg_measure_method bg_measure_hessian = {
    .name = "hessian",
    .help = "trace of the Hessian over each layer's weights, by random sign vectors",
    .source =
        "HAWQ-V2: Dong et al., NeurIPS 2020; Hutchinson 1990; differences of gradients are ours",
    .options = table,
    .options_size = sizeof(struct options),
    .run = run,
    .quantities = 1U << BG_MEASURED_TRACE | 1U << BG_MEASURED_STEP_ERROR};
