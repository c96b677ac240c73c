/* gradient-error: the first-order change of the mean loss when one layer alone takes a candidate's
 * bits, sum of g * (Q(x) - x) over its weights or over the tensor it reads (g of that path alone,
 * as core/NUMERICS.md says of input gradients), and the sum of absolute values, an upper bound of
 * it per batch. Both are means over batches. */
#include "policies/measurer.h"

#include <math.h>

#include "core/mem.h"

extern const struct bg_measure_method bg_measure_gradient_error;

#define BLOCK 1024

struct state {
    struct bg_measurer *measurer;
    struct bg_program *program;
    int64_t b;      /* the batch */
    double *sum[2]; /* signed, absolute: [role][layer][candidate][batch] */
    double *weight; /* [batches] samples */
    int misfit;     /* a layer whose input has no value, -1 = none */
};

static int64_t cell(const struct state *state, int role, int layer, int candidate)
{
    int64_t at = (int64_t)role * state->measurer->layers + layer;
    return (at * state->measurer->setup.candidates + candidate) * state->measurer->setup.batches;
}

/* Adds one channel; in blocks on the stack: this runs inside the backward pass. */
static void add_channel(const struct bg_grid *grid, int64_t channel, const float *x, const float *g,
                        int64_t n, double sum[2])
{
    float on_grid[BLOCK];
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = n - at < BLOCK ? n - at : BLOCK;
        double signed_sum = 0, absolute = 0;
        bg_grid_project(grid, channel, x + at, count, on_grid);
        for (int64_t i = 0; i < count; i++) {
            double term = (double)g[at + i] * ((double)on_grid[i] - (double)x[at + i]);
            signed_sum += term;
            absolute += fabs(term);
        }
        sum[0] += signed_sum;
        sum[1] += absolute;
    }
}

static void add_tensor(struct state *state, int role, int layer, const float *x, const float *g,
                       int64_t n)
{
    for (int c = 0; c < state->measurer->setup.candidates; c++) {
        const struct bg_grid *grid = bg_measurer_grid(state->measurer, layer, role, c);
        int64_t size = n / grid->channels, at = cell(state, role, layer, c) + state->b;
        double sum[2] = {0, 0};
        for (int64_t channel = 0; channel < grid->channels; channel++)
            add_channel(grid, channel, x + channel * size, g + channel * size, size, sum);
        state->sum[0][at] = sum[0];
        state->sum[1][at] = sum[1];
    }
}

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct state *state = self;
    const struct bg_tensor *x = NULL;
    int64_t n = bg_tensor_count(gradient);
    if (quantity != BG_QUANTITY_IN_GRAD)
        return;
    x = bg_measurer_input(state->measurer, state->program, layer);
    if (!x || bg_tensor_count(x) != n) {
        state->misfit = layer;
        return;
    }
    add_tensor(state, BG_ROLE_ACTIVATION, layer, bg_f32(x), bg_f32(gradient), n);
}

static enum bg_status one_batch(struct state *state)
{
    struct bg_measurer *measurer = state->measurer;
    const struct bg_observer observer = {.self = state, .see = see};
    enum bg_status rc = BG_OK;

    TRY(bg_measurer_gradients(measurer, &measurer->batch[state->b], &observer, &state->program));
    if (state->misfit >= 0)
        FAIL(BG_E_INTERNAL, "measures: no input of layer %d", state->misfit);
    state->weight[state->b] = (double)measurer->batch[state->b].size;
    for (int i = 0; i < measurer->layers; i++) {
        const struct bg_param *param = bg_graph_layer_weight(measurer->graph, i);
        add_tensor(state, BG_ROLE_WEIGHT, i, bg_f32(&param->value), bg_f32(&param->grad),
                   bg_tensor_count(&param->value));
    }
out:
    return rc;
}

static enum bg_status add_rows(struct state *state, int role, int layer, int candidate)
{
    static const int kinds[2] = {BG_MEASURED_FIRST_ORDER, BG_MEASURED_ABSOLUTE};
    struct bg_measurer *measurer = state->measurer;
    enum bg_status rc = BG_OK;
    for (int k = 0; k < 2; k++) {
        struct bg_measure_row row = {.measured = kinds[k],
                                     .layer = layer,
                                     .role = role,
                                     .bits = measurer->setup.bits[candidate],
                                     .samples = measurer->samples};
        bg_measure_mean(state->sum[k] + cell(state, role, layer, candidate), state->weight,
                        measurer->setup.batches, &row.value, &row.spread);
        TRY(bg_measurer_add(measurer, &row));
    }
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    struct state state = {.measurer = measurer, .misfit = -1};
    int64_t batches = measurer->setup.batches;
    enum bg_status rc = BG_OK;

    (void)options;
    for (int k = 0; k < 2; k++)
        TRY(bg_alloc(&state.sum[k], cell(&state, 2, 0, 0), sizeof **state.sum));
    TRY(bg_alloc(&state.weight, batches, sizeof *state.weight));
    for (state.b = 0; state.b < batches; state.b++) {
        TRY(bg_measurer_progress(measurer, state.b, batches));
        TRY(one_batch(&state));
    }
    for (int layer = 0; layer < measurer->layers; layer++)
        for (int role = 0; role < 2; role++)
            for (int c = 0; c < measurer->setup.candidates; c++)
                TRY(add_rows(&state, role, layer, c));
    TRY(bg_measurer_progress(measurer, batches, batches));
out:
    bg_free(state.weight);
    bg_free(state.sum[0]);
    bg_free(state.sum[1]);
    return rc;
}

const struct bg_measure_method bg_measure_gradient_error = {
    .name = "gradient-error",
    .help = "sum of gradient times quantization error: the first-order change of the loss",
    .source = "common practice (first-order Taylor expansion)",
    .run = run,
    .quantities = 1U << BG_MEASURED_FIRST_ORDER | 1U << BG_MEASURED_ABSOLUTE};
