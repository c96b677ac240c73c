/* weight-error: the mean square error of a layer's weights on their grid, at each candidate's bits,
 * by the range method of the recipe; and the noise that uniform rounding would make on that grid,
 * step^2 / 12 averaged over its channels. Needs no data. */
#include "policies/measurer.h"

#include <math.h>

extern const struct bg_measure_method bg_measure_weight_error;

static double step_noise(const struct bg_grid *grid)
{
    double sum = 0;
    for (int64_t c = 0; c < grid->channels; c++)
        sum += (double)grid->scale[c] * (double)grid->scale[c] / 12;
    return sum / (double)grid->channels;
}

static enum bg_status add(struct bg_measurer *measurer, int layer, int candidate)
{
    const struct bg_grid *grid = bg_measurer_grid(measurer, layer, BG_ROLE_WEIGHT, candidate);
    const struct bg_tensor *weight = &bg_graph_layer_weight(measurer->graph, layer)->value;
    int64_t n = bg_tensor_count(weight), size = n / grid->channels;
    struct bg_measure_row row = {.measured = BG_MEASURED_MEAN_SQUARE,
                                 .layer = layer,
                                 .role = BG_ROLE_WEIGHT,
                                 .bits = measurer->setup.bits[candidate],
                                 .spread = (double)NAN,
                                 .samples = n};
    double sum = 0;
    enum bg_status rc = BG_OK;

    for (int64_t c = 0; c < grid->channels; c++)
        sum += bg_grid_error(grid, c, bg_f32(weight) + c * size, size);
    row.value = sum / (double)n;
    TRY(bg_measurer_add(measurer, &row));
    row.measured = BG_MEASURED_STEP_NOISE;
    row.samples = grid->channels;
    row.value = step_noise(grid);
    TRY(bg_measurer_add(measurer, &row));
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    (void)options;
    for (int layer = 0; layer < measurer->layers; layer++)
        for (int c = 0; c < measurer->setup.candidates; c++)
            TRY(add(measurer, layer, c));
out:
    return rc;
}

const struct bg_measure_method bg_measure_weight_error = {
    .name = "weight-error",
    .help = "mean square error of each layer's weights on their grid, and step^2 / 12",
    .source = "common practice",
    .run = run,
    .quantities = 1U << BG_MEASURED_MEAN_SQUARE | 1U << BG_MEASURED_STEP_NOISE};
