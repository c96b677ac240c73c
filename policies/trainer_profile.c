/* Profiling passes: P1's gradients at fixed weights and P2's weight displacement over training
 * cycles (policies/METHODS.md, P1 1-3 and P2 1-2). Both leave the network as they found it. */
#include <math.h>

#include "core/log.h"
#include "core/mem.h"
#include "policies/trainer_state.h"

static enum bg_status stopped(const char *what, int64_t done, int64_t total)
{
    return bg_fail(BG_E_INTERRUPTED, "%s stopped on request after %lld of %lld", what,
                   (long long)done, (long long)total);
}

struct tables {
    const char **names;
    int64_t *weights;
    int64_t *channels[BG_QUANTITIES];
};

static enum bg_status fill_tables(struct tables *tables, const struct bg_graph *graph)
{
    enum bg_status rc = BG_OK;
    int layers = bg_graph_layer_count(graph);
    TRY(bg_alloc(&tables->names, layers, sizeof *tables->names));
    TRY(bg_alloc(&tables->weights, layers, sizeof *tables->weights));
    for (int q = 0; q < BG_QUANTITIES; q++)
        TRY(bg_alloc(&tables->channels[q], layers, sizeof **tables->channels));
    for (int i = 0; i < layers; i++) {
        const struct bg_node *node = bg_graph_layer(graph, i);
        const struct bg_param *weight = bg_trainer_weight(graph, i);
        tables->names[i] = bg_node_name(node);
        tables->weights[i] = bg_tensor_count(&weight->value);
        tables->channels[BG_QUANTITY_IN_GRAD][i] =
            bg_node_shape(bg_node_input_at(node, 0))->dims[2];
        tables->channels[BG_QUANTITY_WEIGHT_GRAD][i] = weight->value.shape.dims[0];
        tables->channels[BG_QUANTITY_OUT_GRAD][i] = bg_node_shape(node)->dims[2];
    }
out:
    return rc;
}

enum bg_status bg_trainer_profile_make(const struct bg_net *net, bool per_channel,
                                       struct bg_profile *out)
{
    enum bg_status rc = BG_OK;
    struct tables tables = {0};
    *out = (struct bg_profile){0};
    TRY(fill_tables(&tables, net->graph));
    const int64_t *const channels[BG_QUANTITIES] = {tables.channels[0], tables.channels[1],
                                                    tables.channels[2]};
    TRY(bg_profile_make(out, bg_graph_layer_count(net->graph), tables.names, tables.weights,
                        channels, per_channel));
out:
    for (int q = 0; q < BG_QUANTITIES; q++)
        bg_free(tables.channels[q]);
    bg_free(tables.weights);
    bg_free(tables.names);
    return rc;
}

static enum bg_status profile_batch(struct bg_trainer *trainer, struct bg_stream *stream,
                                    int64_t step, struct bg_collector *collector)
{
    enum bg_status rc = BG_OK;
    struct bg_batch batch = {0};
    struct bg_program *program = NULL;
    struct bg_run_moment moment = {
        .seed = trainer->config.seed, .step = (uint64_t)step, .observer = &collector->observer};
    TRY(bg_stream_next(stream, &batch));
    TRY(bg_trainer_program(trainer, BG_MODE_TRAIN, batch.size, true, &program));
    TRY(bg_collector_begin(collector, step + 1, batch.size));
    TRY(bg_program_forward(program, &batch, &moment));
    TRY(bg_program_backward(program, &moment));
    TRY(bg_collector_end(collector));
out:
    if (rc == BG_E_NUMERIC)
        rc = bg_fail_prefix(rc, "profile, batch %lld: ", (long long)step + 1);
    return rc;
}

enum bg_status bg_trainer_profile_gradients(struct bg_trainer *trainer, struct bg_source *source,
                                            int64_t batches, struct bg_profile *profile)
{
    enum bg_status rc = BG_OK;
    struct bg_stream stream = {.source = source};
    struct bg_collector collector = {0};
    TRY(bg_trainer_check_profile(trainer, profile));
    TRY(bg_collector_make(&collector, profile, 1));
    for (int64_t i = 0; i < batches; i++) {
        if (bg_stop_requested())
            TRY(stopped("gradient profile", i, batches));
        TRY(profile_batch(trainer, &stream, i, &collector));
        bg_log_progress("profile gradients", i + 1, batches, "%s", "");
    }
out:
    bg_collector_free(&collector);
    return rc;
}

/* A displacement profile in the making. */
struct displacement {
    struct bg_trainer_run run;
    struct bg_snapshot *snapshot;
    struct bg_anchor initial, previous;
    struct bg_profile *profile;
    int64_t cycles, steps; /* steps per cycle */
    bool reset;
};

static enum bg_status record_cycle(struct displacement *d, int64_t step)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = d->run.trainer->graph;
    enum bg_reference reference = d->reset ? BG_REFERENCE_RESET : BG_REFERENCE_INITIAL;
    TRY(bg_profile_add_cycle(d->profile, step));
    int64_t cycle = d->profile->cycles - 1;
    for (int i = 0; i < d->profile->layers; i++) {
        *bg_profile_displacement_at(d->profile, cycle, reference, i) =
            bg_anchor_displacement(&d->initial, graph, i);
        if (!d->reset)
            *bg_profile_displacement_at(d->profile, cycle, BG_REFERENCE_PREVIOUS, i) =
                bg_anchor_displacement(&d->previous, graph, i);
    }
    bg_anchor_take(&d->previous, graph);
out:
    return rc;
}

static enum bg_status run_cycle(struct displacement *d, int64_t cycle)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = d->run.trainer->graph;
    if (d->reset)
        TRY(bg_net_restore(d->run.trainer->config.net, d->snapshot));
    TRY(bg_trainer_prepare(&d->run, false));
    if (d->reset || cycle == 0)
        bg_trainer_clear_optimizer(graph);
    for (int64_t i = 0; i < d->steps; i++) {
        struct bg_train_step_row row = {0};
        int64_t step = cycle * d->steps + i;
        if (bg_stop_requested())
            TRY(stopped("displacement profile", cycle, d->cycles));
        TRY(bg_trainer_run_step(&d->run, step, d->reset ? i : step, NULL, &row));
    }
    TRY(record_cycle(d, (cycle + 1) * d->steps));
out:
    return rc;
}

enum bg_status bg_trainer_profile_displacement(struct bg_trainer *trainer,
                                               const struct bg_train_options *options,
                                               struct bg_source *source, int64_t cycles,
                                               int64_t steps, bool reset,
                                               struct bg_profile *profile)
{
    enum bg_status rc = BG_OK;
    struct displacement d = {.profile = profile, .cycles = cycles, .reset = reset};
    TRY(bg_trainer_check_profile(trainer, profile));
    TRY(bg_trainer_run_begin(&d.run, trainer, options, source));
    d.steps = steps > 0 ? steps : d.run.steps_per_epoch;
    TRY(bg_anchor_make(&d.initial, trainer->graph));
    TRY(bg_anchor_make(&d.previous, trainer->graph));
    TRY(bg_net_snapshot(trainer->config.net, &d.snapshot));
    TRY(bg_trainer_prepare(&d.run, false));
    bg_anchor_take(&d.initial, trainer->graph);
    bg_anchor_take(&d.previous, trainer->graph);
    bg_anchor_initial_square(&d.initial, profile);
    for (int64_t cycle = 0; cycle < cycles; cycle++) {
        TRY(run_cycle(&d, cycle));
        bg_log_progress("profile displacement", cycle + 1, cycles, "%s", "");
    }
out:
    if (d.snapshot) {
        enum bg_status restored = bg_net_restore(trainer->config.net, d.snapshot);
        rc = rc == BG_OK ? restored : rc;
    }
    bg_snapshot_free(d.snapshot);
    bg_anchor_free(&d.previous);
    bg_anchor_free(&d.initial);
    bg_trainer_run_end(&d.run);
    return rc;
}
