/* The network made ready for measures, one layer put on a candidate's grid, and the way back.
 * Ranges of activations are found once per candidate, with all activations at these bits and
 * weights in f32, as bg_trainer_calibrate finds them; grids of weights are functions of the weights
 * alone. */
#include "policies/measurer.h"

#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "policies/trainer_state.h"

static enum bg_status copy_batch(struct bg_batch *out, const struct bg_batch *from,
                                 const struct bg_sample_spec *spec)
{
    enum bg_status rc = BG_OK;
    int64_t values = from->size * spec->height * spec->width * spec->channels;
    size_t size = bg_dtype_size(from->dtype);
    void *images = NULL;
    int32_t *labels = NULL;

    *out = (struct bg_batch){.size = from->size, .dtype = from->dtype};
    TRY(bg_alloc(&images, values, size));
    out->images = images;
    TRY(bg_alloc(&labels, from->size, sizeof *labels));
    out->labels = labels;
    memcpy(images, from->images, (size_t)values * size);
    memcpy(labels, from->labels, (size_t)from->size * sizeof *labels);
out:
    return rc;
}

static enum bg_status take_batches(struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    struct bg_measure_setup *setup = &measurer->setup;
    struct bg_stream stream = {.source = setup->source};
    int64_t most = 0;

    TRY(bg_trainer_check_source(setup->source));
    most = bg_source_batches(setup->source);
    if (setup->batches < 1)
        FAIL(BG_E_RANGE, "measures from %lld batches, at least 1 is needed",
             (long long)setup->batches);
    setup->batches = setup->batches < most ? setup->batches : most;
    TRY(bg_alloc(&measurer->batch, setup->batches, sizeof *measurer->batch));
    for (int64_t i = 0; i < setup->batches; i++) {
        struct bg_batch batch = {0};
        TRY(bg_stream_next(&stream, &batch));
        TRY(copy_batch(&measurer->batch[i], &batch, &setup->source->spec));
        measurer->samples += batch.size;
    }
out:
    return rc;
}

static struct bg_grid *grid_at(const struct bg_measurer *measurer, int layer, int role,
                               int candidate)
{
    return &measurer->grid[role][layer * measurer->setup.candidates + candidate];
}

const struct bg_grid *bg_measurer_grid(const struct bg_measurer *measurer, int layer, int role,
                                       int candidate)
{
    return grid_at(measurer, layer, role, candidate);
}

static enum bg_status copy_grid(struct bg_grid *out, const struct bg_quantizer *from)
{
    enum bg_status rc = BG_OK;
    float *scale = NULL;
    if (!from)
        FAIL(BG_E_INTERNAL, "measures: a tensor of a plan has no grid");
    TRY(bg_alloc(&scale, from->grid.channels, sizeof *scale));
    memcpy(scale, from->grid.scale, (size_t)from->grid.channels * sizeof *scale);
    *out = from->grid;
    out->scale = scale;
out:
    return rc;
}

/* The grid follows its range in a forward pass; here without one. */
static enum bg_status activation_grids(struct bg_measurer *measurer, int candidate)
{
    const struct bg_measure_setup *setup = &measurer->setup;
    struct bg_plan plan = {0};
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_net_plan(setup->trainer->config.net, 0, setup->bits[candidate], &plan));
    TRY(bg_measurer_apply(measurer, &plan));
    TRY(bg_trainer_calibrate(setup->trainer, setup->calibration, setup->calibration_batches,
                             false));
    TRY(bg_net_snapshot(setup->trainer->config.net, &measurer->ranges[candidate]));
    TRY(bg_measurer_forward(measurer, &measurer->batch[0], &program));
    for (int i = 0; i < measurer->layers; i++) {
        struct bg_quantizer *own = bg_graph_layer_input_quantizer(measurer->graph, i);
        TRY(copy_grid(grid_at(measurer, i, BG_ROLE_ACTIVATION, candidate), own));
        int first = 0;
        while (bg_graph_layer_input_quantizer(measurer->graph, first) != own)
            first++;
        measurer->owner[i] = first;
    }
out:
    bg_plan_free(&plan);
    return rc;
}

static enum bg_status weight_grids(struct bg_measurer *measurer, int candidate)
{
    const struct bg_measure_setup *setup = &measurer->setup;
    struct bg_plan plan = {0};
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_net_plan(setup->trainer->config.net, setup->bits[candidate], 0, &plan));
    TRY(bg_measurer_apply(measurer, &plan));
    TRY(bg_measurer_forward(measurer, &measurer->batch[0], &program));
    for (int i = 0; i < measurer->layers; i++)
        TRY(copy_grid(grid_at(measurer, i, BG_ROLE_WEIGHT, candidate),
                      bg_graph_layer_weight(measurer->graph, i)->quantizer));
out:
    bg_plan_free(&plan);
    return rc;
}

static enum bg_status keep_weights(struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&measurer->weight, measurer->layers, sizeof *measurer->weight));
    TRY(bg_alloc(&measurer->weights, measurer->layers, sizeof *measurer->weights));
    for (int i = 0; i < measurer->layers; i++) {
        const struct bg_tensor *value = &bg_graph_layer_weight(measurer->graph, i)->value;
        int64_t count = bg_tensor_count(value);
        TRY(bg_alloc(&measurer->weight[i], count, sizeof(float)));
        memcpy(measurer->weight[i], value->data, (size_t)count * sizeof(float));
        measurer->weights[i] = count;
    }
out:
    return rc;
}

void bg_measurer_restore(struct bg_measurer *measurer, int layer)
{
    struct bg_param *param = bg_graph_layer_weight(measurer->graph, layer);
    memcpy(param->value.data, measurer->weight[layer],
           (size_t)measurer->weights[layer] * sizeof(float));
    param->version++;
}

static enum bg_status find_grids(struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    int64_t grids = (int64_t)measurer->layers * measurer->setup.candidates;

    TRY(bg_alloc(&measurer->owner, measurer->layers, sizeof *measurer->owner));
    TRY(bg_alloc(&measurer->sharers, measurer->layers, sizeof *measurer->sharers));
    TRY(bg_alloc(&measurer->grid[0], grids, sizeof **measurer->grid));
    TRY(bg_alloc(&measurer->grid[1], grids, sizeof **measurer->grid));
    TRY(bg_alloc(&measurer->ranges, measurer->setup.candidates, sizeof(struct bg_snapshot *)));
    measurer->changed = true;
    for (int c = 0; c < measurer->setup.candidates; c++) {
        TRY(activation_grids(measurer, c));
        TRY(weight_grids(measurer, c));
        bg_log_progress("measures: grids", c + 1, measurer->setup.candidates, "%s", "");
    }
    for (int i = 0; i < measurer->layers; i++)
        for (int k = 0; k < measurer->layers; k++)
            measurer->sharers[i] += measurer->owner[k] == measurer->owner[i];
    TRY(bg_measurer_base(measurer));
out:
    return rc;
}

static void free_parts(struct bg_measurer *measurer)
{
    int64_t grids = (int64_t)measurer->layers * measurer->setup.candidates;
    bg_measurer_drop_programs(measurer);
    for (int role = 0; role < 2; role++) {
        for (int64_t i = 0; measurer->grid[role] && i < grids; i++)
            bg_free(measurer->grid[role][i].scale);
        bg_free(measurer->grid[role]);
    }
    for (int c = 0; measurer->ranges && c < measurer->setup.candidates; c++)
        bg_snapshot_free(measurer->ranges[c]);
    bg_free(measurer->ranges);
    for (int64_t i = 0; measurer->batch && i < measurer->setup.batches; i++) {
        void *images = NULL, *labels = NULL; /* ours: made by copy_batch */
        memcpy(&images, &measurer->batch[i].images, sizeof images);
        memcpy(&labels, &measurer->batch[i].labels, sizeof labels);
        bg_free(images);
        bg_free(labels);
    }
    bg_free(measurer->batch);
    for (int i = 0; measurer->weight && i < measurer->layers; i++)
        bg_free(measurer->weight[i]);
    bg_free(measurer->weight);
    bg_free(measurer->weights);
    bg_free(measurer->owner);
    bg_free(measurer->sharers);
    bg_snapshot_free(measurer->found);
    bg_free(measurer);
}

enum bg_status bg_measurer_close(struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    if (!measurer)
        return BG_OK;
    if (measurer->found) { /* the last step must be tried even when the one before failed */
        enum bg_status restored = BG_OK;
        rc = bg_measurer_base(measurer);
        restored = bg_net_restore(measurer->setup.trainer->config.net, measurer->found);
        rc = rc == BG_OK ? restored : rc;
    }
    free_parts(measurer);
    return rc;
}

enum bg_status bg_measurer_open(struct bg_measurer **out, const struct bg_measure_setup *setup)
{
    struct bg_measurer *measurer = NULL;
    enum bg_status rc = BG_OK;

    *out = NULL;
    TRY(bg_alloc(&measurer, 1, sizeof *measurer));
    measurer->setup = *setup;
    measurer->graph = setup->trainer->graph;
    measurer->layers = bg_graph_layer_count(measurer->graph);
    if (bg_graph_quantizer_count(measurer->graph) > 0)
        FAIL(BG_E_USAGE, "measures are taken of the f32 network, but a plan is on it");
    if (setup->candidates < 1)
        FAIL(BG_E_USAGE, "measures need at least one candidate of bits");
    TRY(bg_net_snapshot(setup->trainer->config.net, &measurer->found));
    TRY(keep_weights(measurer));
    TRY(take_batches(measurer));
    TRY(find_grids(measurer));
    *out = measurer;
    measurer = NULL;
out:
    if (measurer && bg_measurer_close(measurer) != BG_OK && rc == BG_OK)
        rc = BG_E_INTERNAL;
    return rc;
}
