/* The trainer's body: which programs it holds, where batches come from, and remembered weights.
 * Programs are made for the batch sizes that sources bring (a full one and the short last one) and
 * dropped with the plan they were made for. Training is in trainer_train.c, evaluation in
 * trainer_evaluate.c, profiling in trainer_profile.c, calibration in trainer_calibrate.c, files in
 * trainer_file.c. */
#include <math.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/store.h"
#include "policies/trainer_state.h"

enum bg_status bg_trainer_create(struct bg_trainer **out, const struct bg_trainer_config *config)
{
    enum bg_status rc = BG_OK;
    struct bg_trainer *trainer = NULL;
    int layers = 0;
    *out = NULL;
    if (!config->net || !config->net->graph)
        FAIL(BG_E_USAGE, "trainer: there is no network");
    TRY(bg_alloc(&trainer, 1, sizeof *trainer));
    trainer->config = *config;
    trainer->graph = config->net->graph;
    layers = bg_graph_layer_count(trainer->graph);
    TRY(bg_alloc(&trainer->moving, layers + 1, sizeof *trainer->moving));
    TRY(bg_alloc(&trainer->moved, layers + 1, sizeof *trainer->moved));
    *out = trainer;
    trainer = NULL;
out:
    bg_trainer_destroy(trainer);
    return rc;
}

void bg_trainer_destroy(struct bg_trainer *trainer)
{
    if (!trainer)
        return;
    bg_trainer_drop_programs(trainer);
    bg_anchor_free(&trainer->initial);
    bg_anchor_free(&trainer->previous);
    bg_free(trainer->moving);
    bg_free(trainer->moved);
    bg_free(trainer);
}

void bg_trainer_drop_programs(struct bg_trainer *trainer)
{
    for (int i = 0; i < BG_TRAINER_PROGRAMS; i++) {
        bg_program_destroy(trainer->programs[i].program);
        trainer->programs[i] = (struct bg_trainer_program){0};
    }
    for (int i = 0; i < BG_TRAINER_INTEGERS; i++)
        bg_integer_program_destroy(trainer->integers[i]);
    memset(trainer->integers, 0, sizeof trainer->integers);
    memset(trainer->integer_batch, 0, sizeof trainer->integer_batch);
    bg_integer_model_destroy(trainer->integer);
    trainer->integer = NULL;
}

enum bg_status bg_trainer_apply(struct bg_trainer *trainer, const struct bg_plan *plan,
                                const struct bg_quantize_options *options)
{
    bg_trainer_drop_programs(trainer);
    return bg_graph_quantize(trainer->graph, plan, options);
}

static bool is_usual(const struct bg_trainer *trainer, const struct bg_trainer_program *slot)
{
    return slot->batch ==
           (slot->mode == BG_MODE_TRAIN ? trainer->config.batch : trainer->config.eval_batch);
}

/* An empty slot, or the one that gives way: unusual sizes first, then the least recently used. */
static struct bg_trainer_program *free_slot(struct bg_trainer *trainer)
{
    struct bg_trainer_program *victim = &trainer->programs[0];
    for (int i = 0; i < BG_TRAINER_PROGRAMS; i++) {
        struct bg_trainer_program *slot = &trainer->programs[i];
        if (!slot->program)
            return slot;
        bool usual = is_usual(trainer, slot), victim_usual = is_usual(trainer, victim);
        if (usual == victim_usual ? slot->used < victim->used : victim_usual)
            victim = slot;
    }
    bg_program_destroy(victim->program);
    *victim = (struct bg_trainer_program){0};
    return victim;
}

static enum bg_status get_program(struct bg_trainer *trainer,
                                  const struct bg_program_options *options, struct bg_program **out)
{
    enum bg_status rc = BG_OK;
    struct bg_trainer_program *slot = NULL;
    for (int i = 0; i < BG_TRAINER_PROGRAMS && !slot; i++) {
        struct bg_trainer_program *s = &trainer->programs[i];
        if (s->program && s->mode == options->mode && s->batch == options->batch &&
            s->observe == options->observe && s->compute == options->compute)
            slot = s;
    }
    if (!slot) {
        slot = free_slot(trainer);
        TRY(bg_program_create(&slot->program, trainer->graph, options));
        slot->mode = options->mode;
        slot->batch = options->batch;
        slot->observe = options->observe;
        slot->compute = options->compute;
    }
    slot->used = ++trainer->clock;
    *out = slot->program;
out:
    return rc;
}

enum bg_status bg_trainer_program(struct bg_trainer *trainer, enum bg_mode mode, int64_t batch,
                                  bool observe, struct bg_program **out)
{
    const struct bg_program_options options = {
        .batch = batch, .mode = mode, .compute = trainer->config.compute, .observe = observe};
    return get_program(trainer, &options, out);
}

enum bg_status bg_trainer_exact_program(struct bg_trainer *trainer, int64_t batch,
                                        struct bg_program **out)
{
    bool reference = trainer->config.compute == BG_COMPUTE_REFERENCE;
    const struct bg_program_options options = {.batch = batch,
                                               .mode = BG_MODE_TRAIN,
                                               .compute = reference ? BG_COMPUTE_REFERENCE
                                                                    : BG_COMPUTE_EXACT};
    return get_program(trainer, &options, out);
}

enum bg_status bg_trainer_fastness(struct bg_trainer *trainer, int64_t batch,
                                   struct bg_fastness *out)
{
    enum bg_status rc = BG_OK;
    struct bg_program *program = NULL;
    TRY(bg_trainer_program(trainer, BG_MODE_TRAIN, batch, false, &program));
    *out = bg_program_fastness(program);
out:
    return rc;
}

enum bg_status bg_trainer_check_source(const struct bg_source *source)
{
    if (source->count < 1 || source->batch < 1)
        return bg_fail(BG_E_USAGE, "a source of %lld samples in batches of %lld cannot be read",
                       (long long)source->count, (long long)source->batch);
    return BG_OK;
}

enum bg_status bg_stream_next(struct bg_stream *stream, struct bg_batch *out)
{
    enum bg_status rc = BG_OK;
    struct bg_source *source = stream->source;
    TRY(bg_trainer_check_source(source));
    int64_t batches = bg_source_batches(source);
    if (!stream->started || stream->position % batches == 0)
        TRY(source->start(source, stream->position / batches, stream->position % batches));
    stream->started = true;
    TRY(source->next(source, out));
    if (out->size < 1)
        FAIL(BG_E_DATA, "the source ended at batch %lld of %lld",
             (long long)(stream->position % batches), (long long)batches);
    stream->position++;
out:
    return rc;
}

struct bg_param *bg_trainer_weight(const struct bg_graph *graph, int layer)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (param->kind == BG_PARAM_WEIGHT && param->layer == layer)
            return param;
    }
    return NULL;
}

enum bg_status bg_anchor_make(struct bg_anchor *out, const struct bg_graph *graph)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_anchor){0};
    int layers = bg_graph_layer_count(graph);
    TRY(bg_alloc(&out->weight, layers, sizeof *out->weight));
    TRY(bg_alloc(&out->count, layers, sizeof *out->count));
    out->layers = layers;
    for (int i = 0; i < layers; i++) {
        const struct bg_param *param = bg_trainer_weight(graph, i);
        if (!param)
            FAIL(BG_E_INTERNAL, "layer %d has no weights", i);
        out->count[i] = bg_tensor_count(&param->value);
        TRY(bg_alloc(&out->weight[i], out->count[i], sizeof(float)));
    }
out:
    if (rc != BG_OK)
        bg_anchor_free(out);
    return rc;
}

void bg_anchor_free(struct bg_anchor *anchor)
{
    for (int i = 0; i < anchor->layers; i++)
        bg_free(anchor->weight[i]);
    bg_free(anchor->weight);
    bg_free(anchor->count);
    *anchor = (struct bg_anchor){0};
}

void bg_anchor_take(struct bg_anchor *anchor, const struct bg_graph *graph)
{
    for (int i = 0; i < anchor->layers; i++) {
        const struct bg_param *param = bg_trainer_weight(graph, i);
        bg_param_read(param, 0, anchor->count[i], anchor->weight[i]);
    }
}

double bg_anchor_displacement(const struct bg_anchor *anchor, const struct bg_graph *graph,
                              int layer)
{
    const struct bg_param *param = bg_trainer_weight(graph, layer);
    const int64_t count = anchor->count[layer];
    float part[BG_STATS_BLOCK];
    double sum = 0;

    if (param->store == NULL)
        return bg_sum_square_difference(bg_f32(&param->value), anchor->weight[layer], count) /
               (double)count;
    for (int64_t at = 0; at < count; at += BG_STATS_BLOCK) {
        const int64_t n = count - at < BG_STATS_BLOCK ? count - at : BG_STATS_BLOCK;
        bg_param_read(param, at, n, part);
        sum += bg_sum_square_difference(part, anchor->weight[layer] + at, n);
    }
    return sum / (double)count;
}

void bg_anchor_initial_square(const struct bg_anchor *anchor, struct bg_profile *profile)
{
    for (int i = 0; i < anchor->layers; i++)
        profile->initial_square[i] =
            bg_sum_square_difference(anchor->weight[i], NULL, anchor->count[i]) /
            (double)anchor->count[i];
}

enum bg_status bg_trainer_check_profile(const struct bg_trainer *trainer,
                                        const struct bg_profile *profile)
{
    int layers = bg_graph_layer_count(trainer->graph);
    if (profile->layers != layers)
        return bg_fail(BG_E_MISMATCH, "profile: made for %d layers, the network has %d",
                       profile->layers, layers);
    for (int i = 0; i < layers; i++) {
        const char *name = bg_node_name(bg_graph_layer(trainer->graph, i));
        if (strcmp(name, profile->names[i]) != 0)
            return bg_fail(BG_E_MISMATCH, "profile: layer %d is \"%s\", in the network \"%s\"", i,
                           profile->names[i], name);
    }
    return BG_OK;
}
