/* fisher: traces of the diagonal empirical Fisher matrix, per layer: the mean over samples of the
 * squared norm of that sample's own gradient, of the weights and of the tensor the layer reads
 * (along the path into that layer). This is the trace FIT (Zandonati et al., ICLR 2023, arXiv
 * 2210.08502) multiplies with the noise of quantization (by its abstract). `gradient: batch` is
 * ours: the batch's mean gradient stands for its samples (times their number), which takes one pass
 * where samples take one each, but holds the mean gradient as well. */
#include "policies/measurer.h"

#include "core/mem.h"
#include "core/stats.h"

extern const struct bg_measure_method bg_measure_fisher;

struct options {
    int gradient;
    int64_t samples;
};
static const char *const gradients[] = {"sample", "batch", NULL};

static const struct bg_option table[] = {
    {.key = "gradient",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct options, gradient),
     .fallback = "sample",
     .choices = gradients,
     .help = "of each sample by itself, or of whole batches (cheaper, ours)"},
    {.key = "samples",
     .type = BG_OPT_INT,
     .offset = offsetof(struct options, samples),
     .fallback = "0",
     .min = 0,
     .max = 1e9,
     .help = "gradient sample: use at most this many; 0 = all of the batches"},
    {.key = NULL}};

struct state {
    struct bg_measurer *measurer;
    int64_t passes, at; /* how many values a layer gets, and the present one */
    double factor;      /* samples in a batch: the loss is their mean */
    double *value;      /* [role][layer][passes] */
    double *weight;     /* [passes] samples */
};

static double *values_of(const struct state *state, int role, int layer)
{
    return state->value + ((int64_t)role * state->measurer->layers + layer) * state->passes;
}

static void see(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient)
{
    struct state *state = self;
    double square = 0;
    if (quantity == BG_QUANTITY_OUT_GRAD)
        return;
    square = bg_sum_square_difference(bg_f32(gradient), NULL, bg_tensor_count(gradient));
    /* A sample's gradient is `factor` times what the mean loss gives: of activations each sample
     * has its own, so the mean of their squares is factor * square; a batch's weight gradient is
     * the mean, taken as if the samples were independent. */
    values_of(state, quantity == BG_QUANTITY_WEIGHT_GRAD ? BG_ROLE_WEIGHT : BG_ROLE_ACTIVATION,
              layer)[state->at] = square * state->factor;
}

static enum bg_status one_pass(struct state *state, const struct bg_batch *batch)
{
    const struct bg_observer observer = {.self = state, .see = see};
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_measurer_progress(state->measurer, state->at, state->passes));
    state->factor = (double)batch->size;
    state->weight[state->at] = (double)batch->size;
    TRY(bg_measurer_gradients(state->measurer, batch, &observer, &program));
    state->at++;
out:
    return rc;
}

static enum bg_status each_sample(struct state *state, const struct bg_batch *batch)
{
    const struct bg_sample_spec *spec = &state->measurer->setup.source->spec;
    size_t bytes =
        (size_t)(spec->height * spec->width * spec->channels) * bg_dtype_size(batch->dtype);
    enum bg_status rc = BG_OK;
    for (int64_t i = 0; i < batch->size && state->at < state->passes; i++) {
        const struct bg_batch one = {.size = 1,
                                     .dtype = batch->dtype,
                                     .images = (const char *)batch->images + (size_t)i * bytes,
                                     .labels = batch->labels + i};
        TRY(one_pass(state, &one));
    }
out:
    return rc;
}

static enum bg_status add_rows(struct state *state)
{
    enum bg_status rc = BG_OK;
    double samples = 0;
    for (int64_t i = 0; i < state->passes; i++)
        samples += state->weight[i];
    for (int layer = 0; layer < state->measurer->layers; layer++)
        for (int role = 0; role < 2; role++) {
            struct bg_measure_row row = {.measured = BG_MEASURED_TRACE,
                                         .layer = layer,
                                         .role = role,
                                         .samples = (int64_t)samples};
            bg_measure_mean(values_of(state, role, layer), state->weight, state->passes, &row.value,
                            &row.spread);
            TRY(bg_measurer_add(state->measurer, &row));
        }
out:
    return rc;
}

static enum bg_status run(const void *options, struct bg_measurer *measurer)
{
    const struct options *o = options;
    struct state state = {.measurer = measurer};
    bool whole = o->gradient == 1;
    enum bg_status rc = BG_OK;

    state.passes = whole ? measurer->setup.batches : measurer->samples;
    if (!whole && o->samples > 0 && o->samples < state.passes)
        state.passes = o->samples;
    TRY(bg_alloc(&state.value, 2 * (int64_t)measurer->layers * state.passes, sizeof(double)));
    TRY(bg_alloc(&state.weight, state.passes, sizeof *state.weight));
    for (int64_t b = 0; b < measurer->setup.batches && state.at < state.passes; b++)
        TRY(whole ? one_pass(&state, &measurer->batch[b])
                  : each_sample(&state, &measurer->batch[b]));
    TRY(add_rows(&state));
    TRY(bg_measurer_progress(measurer, state.passes, state.passes));
out:
    bg_free(state.weight);
    bg_free(state.value);
    return rc;
}

const struct bg_measure_method bg_measure_fisher = {
    .name = "fisher",
    .help = "trace of the empirical Fisher matrix of weights and of layer inputs",
    .source = "FIT: Zandonati et al., ICLR 2023 (arXiv 2210.08502); gradient: batch is ours",
    .options = table,
    .options_size = sizeof(struct options),
    .run = run,
    .quantities = 1U << BG_MEASURED_TRACE};
