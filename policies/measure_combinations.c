/* combinations: the mean loss under every combination of the candidates over all layers, for the
 * exhaustive oracle. Rows stand in counting order: layer 0 turns slowest, candidates ascend. With
 * C candidates and L layers there are C^L of them: above `limit` it is refused. */
#include "policies/alone.h"

#include <math.h>

#include "core/mem.h"

extern const struct bg_measure_method bg_measure_combinations;

struct options {
    int64_t limit;
    bool activations;
};

static const struct bg_option table[] = {
    {.key = "limit",
     .type = BG_OPT_INT,
     .offset = offsetof(struct options, limit),
     .fallback = "4096",
     .min = 1,
     .max = 1000000,
     .help = "combinations that may be tried"},
    {.key = "activations",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, activations),
     .fallback = "false",
     .help = "a layer's input takes its weights' bits (of readers of one tensor, the first one's)"},
    {.key = NULL}};

static enum bg_status count_all(const void *options, int layers, int candidates, int64_t *total)
{
    int64_t limit = ((const struct options *)options)->limit;
    double exact = pow(candidates, layers);
    if (exact > (double)limit)
        return bg_fail(BG_E_DATA,
                       "combinations: %d candidates over %d layers make %.3g combinations, the "
                       "limit is %lld",
                       candidates, layers, exact, (long long)limit);
    *total = 1;
    for (int i = 0; i < layers; i++)
        *total *= candidates;
    return BG_OK;
}

static void next(const struct bg_measurer *measurer, int *choice)
{
    for (int i = measurer->layers; i-- > 0;) {
        if (++choice[i] < measurer->setup.candidates)
            return;
        choice[i] = 0;
    }
}

/* The losses of all samples: their change, added to the loss before. */
static enum bg_status one(struct bg_measurer *measurer, const struct bg_outputs *outputs, int role,
                          double *value)
{
    static const struct bg_output_change change = {.kind = BG_MEASURED_LOSS};
    struct bg_measure_row row = {
        .measured = BG_MEASURED_LOSS, .layer = -1, .role = role, .samples = measurer->samples};
    int64_t at = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_outputs_compare(outputs, measurer, &change, value));
    for (int64_t b = 0; b < measurer->setup.batches; b++)
        for (int64_t i = 0; i < measurer->batch[b].size; i++, at++)
            value[at] += bg_graph_loss(measurer->graph, outputs->before + at * outputs->size,
                                       &measurer->batch[b].labels[i], 1);
    bg_measure_mean(value, NULL, measurer->samples, &row.value, &row.spread);
    TRY(bg_measurer_add(measurer, &row));
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    static const struct bg_output_change change = {.kind = BG_MEASURED_LOSS};
    const struct options *o = options;
    struct bg_outputs outputs = {.before = NULL};
    int64_t total = 0;
    int *choice = NULL;
    double *value = NULL;
    enum bg_status rc = BG_OK;

    TRY(count_all(o, measurer->layers, measurer->setup.candidates, &total));
    TRY(bg_alloc(&choice, measurer->layers, sizeof *choice));
    TRY(bg_alloc(&value, measurer->samples, sizeof *value));
    TRY(bg_outputs_make(&outputs, measurer, &change, 0));
    for (int64_t i = 0; i < total; i++, next(measurer, choice)) {
        TRY(bg_measurer_progress(measurer, i, total));
        TRY(bg_measurer_plan(measurer, choice, o->activations ? choice : NULL));
        TRY(one(measurer, &outputs, o->activations ? BG_ROLE_ACTIVATION : BG_ROLE_WEIGHT, value));
    }
    TRY(bg_measurer_progress(measurer, total, total));
out:
    bg_outputs_free(&outputs);
    bg_free(value);
    bg_free(choice);
    return rc;
}

const struct bg_measure_method bg_measure_combinations = {
    .name = "combinations",
    .help = "the loss under every combination of bits, for the oracle on small networks",
    .source = "exhaustive search",
    .options = table,
    .options_size = sizeof(struct options),
    .run = run,
    .quantities = 1U << BG_MEASURED_LOSS,
    .combinations = count_all};
