/* activation-error: the mean square error of the tensor a layer reads, put on the grid of each
 * candidate's bits (range from the calibration batches), in the f32 network over the measure's
 * batches; and step^2 / 12 of that grid. The spread is over batches. */
#include "policies/measurer.h"

#include <math.h>

#include "core/mem.h"

extern const struct bg_measure_method bg_measure_activation_error;

struct sums {
    double *error;     /* [layers * candidates][batches] mean per element */
    double *weight;    /* [batches] samples */
    int64_t *elements; /* [layers] in all batches */
};

static enum bg_status one_batch(struct bg_measurer *measurer, int64_t b, struct sums *sums)
{
    int candidates = measurer->setup.candidates;
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_measurer_forward(measurer, &measurer->batch[b], &program));
    sums->weight[b] = (double)measurer->batch[b].size;
    for (int layer = 0; layer < measurer->layers; layer++) {
        const struct bg_tensor *x = bg_measurer_input(measurer, program, layer);
        if (!x)
            FAIL(BG_E_INTERNAL, "measures: no input of layer %d", layer);
        int64_t n = bg_tensor_count(x);
        sums->elements[layer] += n;
        for (int c = 0; c < candidates; c++)
            sums->error[(layer * candidates + c) * measurer->setup.batches + b] =
                bg_grid_error(bg_measurer_grid(measurer, layer, BG_ROLE_ACTIVATION, c), 0,
                              bg_f32(x), n) /
                (double)n;
    }
out:
    return rc;
}

static enum bg_status add(struct bg_measurer *measurer, const struct sums *sums, int layer,
                          int candidate)
{
    const struct bg_grid *grid = bg_measurer_grid(measurer, layer, BG_ROLE_ACTIVATION, candidate);
    int64_t batches = measurer->setup.batches;
    struct bg_measure_row row = {.measured = BG_MEASURED_MEAN_SQUARE,
                                 .layer = layer,
                                 .role = BG_ROLE_ACTIVATION,
                                 .bits = measurer->setup.bits[candidate],
                                 .samples = sums->elements[layer]};
    enum bg_status rc = BG_OK;

    bg_measure_mean(sums->error + (layer * measurer->setup.candidates + candidate) * batches,
                    sums->weight, batches, &row.value, &row.spread);
    TRY(bg_measurer_add(measurer, &row));
    row.measured = BG_MEASURED_STEP_NOISE;
    row.samples = 1;
    row.value = (double)grid->scale[0] * (double)grid->scale[0] / 12;
    row.spread = (double)NAN;
    TRY(bg_measurer_add(measurer, &row));
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    int64_t batches = measurer->setup.batches, cells = measurer->layers;
    struct sums sums = {.error = NULL};
    enum bg_status rc = BG_OK;

    (void)options;
    cells *= measurer->setup.candidates;
    TRY(bg_alloc(&sums.error, cells * batches, sizeof *sums.error));
    TRY(bg_alloc(&sums.weight, batches, sizeof *sums.weight));
    TRY(bg_alloc(&sums.elements, measurer->layers, sizeof *sums.elements));
    for (int64_t b = 0; b < batches; b++) {
        TRY(bg_measurer_progress(measurer, b, batches));
        TRY(one_batch(measurer, b, &sums));
    }
    for (int layer = 0; layer < measurer->layers; layer++)
        for (int c = 0; c < measurer->setup.candidates; c++)
            TRY(add(measurer, &sums, layer, c));
    TRY(bg_measurer_progress(measurer, batches, batches));
out:
    bg_free(sums.elements);
    bg_free(sums.weight);
    bg_free(sums.error);
    return rc;
}

const struct bg_measure_method bg_measure_activation_error = {
    .name = "activation-error",
    .help = "mean square error of each layer's input on its grid, and step^2 / 12",
    .source = "common practice",
    .run = run,
    .quantities = 1U << BG_MEASURED_MEAN_SQUARE | 1U << BG_MEASURED_STEP_NOISE};
