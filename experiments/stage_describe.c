/* The final network in numbers: layers with their costs, totals, and the weights of each layer
 * counted on their grid. Computed anew each time from the net and the plan. */
#include <math.h>

#include "core/mem.h"
#include "experiments/run.h"

#define HISTOGRAM_BITS                                                                             \
    8 /* finer grids and f32 are counted in 255 bins up to the largest weight                      \
       */

static enum bg_status add_cost(struct bg_table *table, const struct bg_net_cost *cost)
{
    union bg_cell *row = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_table_add(table, &row));
    row[BG_COST_BYTES].real = cost->bytes;
    row[BG_COST_HAWQ].real = cost->bops_hawq;
    row[BG_COST_DETAILED].real = cost->bops_detailed;
    row[BG_COST_MEAN_BITS].real = cost->mean_weight_bits;
    row[BG_COST_PARAMS].integer = cost->params;
    row[BG_COST_MACS].integer = cost->macs;
out:
    return rc;
}

static enum bg_status add_layer(struct bg_run *run, int layer, const struct bg_layer_cost *cost)
{
    const struct bg_shape *shape = bg_node_shape(bg_graph_layer(run->net->graph, layer));
    union bg_cell *row = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_table_add(&run->record.table[BG_TABLE_LAYERS], &row));
    row[BG_LAYER_LAYER].integer = layer;
    row[BG_LAYER_HEIGHT].integer = shape->dims[0];
    row[BG_LAYER_WIDTH].integer = shape->dims[1];
    row[BG_LAYER_CHANNELS].integer = shape->dims[2];
    row[BG_LAYER_WEIGHTS].integer = cost->weights;
    row[BG_LAYER_OTHER].integer = cost->other_params;
    row[BG_LAYER_MACS].integer = cost->macs;
    row[BG_LAYER_WEIGHT_BITS].integer = cost->weight_bits;
    row[BG_LAYER_ACTIVATION_BITS].integer = cost->activation_bits;
    row[BG_LAYER_BYTES].real = cost->bytes;
    row[BG_LAYER_HAWQ].real = cost->bops_hawq;
    row[BG_LAYER_DETAILED].real = cost->bops_detailed;
out:
    return rc;
}

static enum bg_status costs(struct bg_run *run)
{
    struct bg_net_cost plain = {0}, planned = {0};
    enum bg_status rc = BG_OK;

    bg_table_truncate(&run->record.table[BG_TABLE_COSTS], 0);
    bg_table_truncate(&run->record.table[BG_TABLE_LAYERS], 0);
    TRY(bg_net_cost(run->net, NULL, &plain));
    TRY(bg_net_cost(run->net, run->plan.count ? &run->plan : NULL, &planned));
    TRY(add_cost(&run->record.table[BG_TABLE_COSTS], &plain));
    TRY(add_cost(&run->record.table[BG_TABLE_COSTS], &planned));
    for (int i = 0; i < planned.layers; i++)
        TRY(add_layer(run, i, &planned.layer[i]));
out:
    bg_net_cost_free(&plain);
    bg_net_cost_free(&planned);
    return rc;
}

/* Codes of one layer's weights. Without a grid of at most 8 bits: on a grid for counting only. */
static enum bg_status encode(const struct bg_param *weight, const float *values, int32_t *codes)
{
    int64_t count = bg_tensor_count(&weight->value);
    int64_t channels = weight->value.shape.dims[0];
    const struct bg_quantizer *quantizer = weight->quantizer;
    float largest = 0.0f, scale;

    for (int64_t i = 0; bg_store_s8(weight) && i < count; i++)
        codes[i] = bg_store_code(weight->store, i);
    if (bg_store_s8(weight))
        return BG_OK;
    if (quantizer && quantizer->grid.bits <= HISTOGRAM_BITS) {
        int64_t grids = quantizer->grid.channels, each = count / grids;
        if (grids != 1 && grids != channels)
            return bg_fail(BG_E_INTERNAL, "%s: %lld grids for %lld channels", weight->name,
                           (long long)grids, (long long)channels);
        for (int64_t c = 0; c < grids; c++)
            bg_grid_encode(&quantizer->grid, c, values + c * each, each, NULL, codes + c * each);
        return BG_OK;
    }
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(values[i]));
    scale = largest > 0.0f ? largest / 127.0f : 1.0f;
    for (int64_t i = 0; i < count; i++)
        codes[i] = (int32_t)bg_rne(fminf(fmaxf(values[i] / scale, -127.0f), 127.0f));
    return BG_OK;
}

static enum bg_status histogram(struct bg_run *run, int layer)
{
    const struct bg_param *weight = bg_graph_layer_weight(run->net->graph, layer);
    int64_t count = bg_tensor_count(&weight->value), bins[256] = {0};
    int32_t *codes = NULL;
    float *values = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&codes, count, sizeof *codes));
    TRY(bg_alloc(&values, count, sizeof *values));
    bg_param_read(weight, 0, count, values);
    TRY(encode(weight, values, codes));
    for (int64_t i = 0; i < count; i++)
        bins[(codes[i] + 128) & 255]++;
    for (int b = 0; b < 256; b++) {
        union bg_cell *row = NULL;
        if (bins[b] == 0)
            continue;
        TRY(bg_table_add(&run->record.table[BG_TABLE_WEIGHTS], &row));
        row[BG_WEIGHT_LAYER].integer = layer;
        row[BG_WEIGHT_CODE].integer = b - 128;
        row[BG_WEIGHT_COUNT].integer = bins[b];
    }
out:
    bg_free(values);
    bg_free(codes);
    return rc;
}

enum bg_status bg_run_describe(struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    TRY(costs(run));
    bg_table_truncate(&run->record.table[BG_TABLE_WEIGHTS], 0);
    for (int i = 0; i < run->record.layers; i++)
        TRY(histogram(run, i));
out:
    return rc;
}
