/* One layer alone on a grid. Each sample is compared with itself in the f32 network, so that the
 * spread over samples says how sure a mean is. Batch norm keeps its running statistics. */
#include "policies/alone.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

/* The outputs of a batch in a program that has just run. */
static const float *outputs_of(const struct bg_program *program, const struct bg_outputs *outputs)
{
    const struct bg_tensor *value =
        outputs->node ? bg_program_value(program, outputs->node) : bg_program_logits(program);
    return value ? bg_f32(value) : NULL;
}

enum bg_status bg_outputs_make(struct bg_outputs *out, struct bg_measurer *measurer,
                               const struct bg_output_change *change, int layer)
{
    const struct bg_node *node = change->layer_alone ? bg_graph_layer(measurer->graph, layer)
                                                     : bg_graph_logits(measurer->graph);
    enum bg_status rc = BG_OK;
    int64_t at = 0;

    *out = (struct bg_outputs){.node = change->layer_alone ? bg_node_name(node) : NULL,
                               .size = bg_shape_count(bg_node_shape(node))};
    TRY(bg_measurer_base(measurer));
    TRY(bg_alloc(&out->before, measurer->samples * out->size, sizeof *out->before));
    for (int64_t b = 0; b < measurer->setup.batches; b++) {
        const struct bg_batch *batch = &measurer->batch[b];
        struct bg_program *program = NULL;
        const float *now = NULL;
        TRY(bg_measurer_forward(measurer, batch, &program));
        now = outputs_of(program, out);
        if (!now)
            FAIL(BG_E_INTERNAL, "measures: no output of %s", bg_node_name(node));
        memcpy(out->before + at * out->size, now, (size_t)(batch->size * out->size) * sizeof *now);
        at += batch->size;
    }
out:
    if (rc != BG_OK)
        bg_outputs_free(out);
    return rc;
}

void bg_outputs_free(struct bg_outputs *outputs)
{
    bg_free(outputs->before);
    *outputs = (struct bg_outputs){0};
}

static double squares(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double difference = (double)a[i] - (b ? (double)b[i] : 0);
        sum += difference * difference;
    }
    return sum;
}

/* The mean squared norm of an output that was not changed: the measure of a change where a sample's
 * own output was all 0. */
static double mean_norm(const struct bg_outputs *outputs, int64_t samples)
{
    return squares(outputs->before, NULL, samples * outputs->size) / (double)samples;
}

static double change_of(const struct bg_graph *graph, int kind, const float *const pair[2],
                        int64_t size, const int32_t *label)
{
    double change = 0, norm = 0;
    switch (kind) {
    case BG_MEASURED_LOSS:
        return bg_graph_loss(graph, pair[1], label, 1) - bg_graph_loss(graph, pair[0], label, 1);
    case BG_MEASURED_DIVERGENCE:
        return bg_measure_divergence(pair[0], pair[1], size);
    default:
        change = squares(pair[1], pair[0], size);
        norm = kind == BG_MEASURED_RELATIVE ? squares(pair[0], NULL, size) : 1;
        return norm > 0 || change > 0 ? change / norm : 0;
    }
}

enum bg_status bg_outputs_compare(const struct bg_outputs *outputs, struct bg_measurer *measurer,
                                  const struct bg_output_change *change, double *value)
{
    enum bg_status rc = BG_OK;
    int64_t at = 0;
    for (int64_t b = 0; b < measurer->setup.batches; b++) {
        const struct bg_batch *batch = &measurer->batch[b];
        struct bg_program *program = NULL;
        const float *now = NULL;
        TRY(bg_measurer_forward(measurer, batch, &program));
        now = outputs_of(program, outputs);
        if (!now)
            FAIL(BG_E_INTERNAL, "measures: no output of %s",
                 outputs->node ? outputs->node : "the network");
        for (int64_t i = 0; i < batch->size; i++, at++) {
            const float *const pair[2] = {outputs->before + at * outputs->size,
                                          now + i * outputs->size};
            value[at] =
                change_of(measurer->graph, change->kind, pair, outputs->size, &batch->labels[i]);
            if (isinf(value[at]) && change->kind == BG_MEASURED_RELATIVE)
                value[at] = squares(pair[1], pair[0], outputs->size) /
                            mean_norm(outputs, measurer->samples);
        }
    }
out:
    return rc;
}

struct alone {
    struct bg_measurer *measurer;
    const struct bg_output_change *change;
    double *value; /* [samples] */
    struct bg_outputs outputs;
};

/* One row; for a tensor with several readers one for each of them. */
static enum bg_status add_rows(struct alone *alone, int layer, int role, int candidate)
{
    struct bg_measurer *measurer = alone->measurer;
    bool shared = role == BG_ROLE_ACTIVATION && !alone->change->layer_alone;
    struct bg_measure_row row = {.measured = alone->change->kind,
                                 .role = role,
                                 .bits = measurer->setup.bits[candidate],
                                 .samples = measurer->samples};
    enum bg_status rc = BG_OK;

    bg_measure_mean(alone->value, NULL, measurer->samples, &row.value, &row.spread);
    if (shared) {
        row.value /= measurer->sharers[layer];
        row.spread /= measurer->sharers[layer];
    }
    for (int i = layer; i < measurer->layers; i++) {
        if (i != layer && !(shared && measurer->owner[i] == layer))
            continue;
        row.layer = i;
        TRY(bg_measurer_add(measurer, &row));
    }
out:
    return rc;
}

static enum bg_status one_layer(struct alone *alone, int layer, int role)
{
    struct bg_measurer *measurer = alone->measurer;
    enum bg_status rc = BG_OK;
    if (role == BG_ROLE_ACTIVATION && !alone->change->layer_alone &&
        measurer->owner[layer] != layer)
        return BG_OK;
    for (int c = 0; c < measurer->setup.candidates; c++) {
        TRY(bg_measurer_alone(measurer, layer, role, c));
        TRY(bg_outputs_compare(&alone->outputs, measurer, alone->change, alone->value));
        TRY(add_rows(alone, layer, role, c));
    }
out:
    return rc;
}

enum bg_status bg_measure_alone(struct bg_measurer *measurer, const struct bg_output_change *change,
                                const bool roles[2])
{
    struct alone alone = {.measurer = measurer, .change = change};
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&alone.value, measurer->samples, sizeof *alone.value));
    for (int layer = 0; layer < measurer->layers; layer++) {
        TRY(bg_measurer_progress(measurer, layer, measurer->layers));
        if (layer == 0 || change->layer_alone) {
            bg_outputs_free(&alone.outputs);
            TRY(bg_outputs_make(&alone.outputs, measurer, change, layer));
        }
        for (int role = 0; role < 2; role++)
            if (roles[role])
                TRY(one_layer(&alone, layer, role));
    }
    TRY(bg_measurer_progress(measurer, measurer->layers, measurer->layers));
out:
    bg_outputs_free(&alone.outputs);
    bg_free(alone.value);
    return rc;
}
