/* What measures run: evaluation and gradients of a batch, one layer on a candidate's grid, and
 * rows. Programs belong to what is on the network: they go when that changes. */
#include "policies/measurer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "policies/trainer_state.h"

void bg_measurer_drop_programs(struct bg_measurer *measurer)
{
    for (int i = 0; i < BG_MEASURER_PROGRAMS; i++) {
        bg_program_destroy(measurer->programs[i].program);
        measurer->programs[i] = (struct bg_measurer_program){0};
    }
    measurer->next_program = 0;
}

enum bg_status bg_measurer_apply(struct bg_measurer *measurer, const struct bg_plan *plan)
{
    bg_measurer_drop_programs(measurer);
    return bg_trainer_apply(measurer->setup.trainer, plan, measurer->setup.quantize);
}

static enum bg_status get_program(struct bg_measurer *measurer, enum bg_mode mode, int64_t batch,
                                  struct bg_program **out)
{
    bool reference = measurer->setup.trainer->config.compute == BG_COMPUTE_REFERENCE;
    const struct bg_program_options options = {.batch = batch,
                                               .mode = mode,
                                               .compute = reference ? BG_COMPUTE_REFERENCE
                                                                    : BG_COMPUTE_EXACT,
                                               .observe = mode == BG_MODE_TRAIN,
                                               .keep_values = true};
    struct bg_measurer_program *slot = NULL;
    enum bg_status rc = BG_OK;

    for (int i = 0; i < BG_MEASURER_PROGRAMS && !slot; i++)
        if (measurer->programs[i].program && measurer->programs[i].mode == mode &&
            measurer->programs[i].batch == batch)
            slot = &measurer->programs[i];
    if (!slot) { /* the oldest gives way */
        slot = &measurer->programs[measurer->next_program++ % BG_MEASURER_PROGRAMS];
        bg_program_destroy(slot->program);
        *slot = (struct bg_measurer_program){0};
        TRY(bg_program_create(&slot->program, measurer->graph, &options));
        slot->mode = mode;
        slot->batch = batch;
    }
    *out = slot->program;
out:
    return rc;
}

enum bg_status bg_measurer_forward(struct bg_measurer *measurer, const struct bg_batch *batch,
                                   struct bg_program **out)
{
    const struct bg_run_moment moment = {.seed = measurer->setup.seed};
    enum bg_status rc = BG_OK;
    TRY(get_program(measurer, BG_MODE_EVAL, batch->size, out));
    TRY(bg_program_forward(*out, batch, &moment));
    measurer->passes += batch->size;
out:
    return rc;
}

enum bg_status bg_measurer_gradients(struct bg_measurer *measurer, const struct bg_batch *batch,
                                     const struct bg_observer *observer, struct bg_program **out)
{
    const struct bg_run_moment moment = {
        .flags = BG_RUN_FROZEN, .seed = measurer->setup.seed, .observer = observer};
    enum bg_status rc = BG_OK;
    TRY(get_program(measurer, BG_MODE_TRAIN, batch->size, out));
    TRY(bg_program_forward(*out, batch, &moment));
    TRY(bg_program_backward(*out, &moment));
    measurer->passes += 2 * batch->size;
out:
    return rc;
}

enum bg_status bg_measurer_base(struct bg_measurer *measurer)
{
    enum bg_status rc = BG_OK;
    if (!measurer->changed)
        return BG_OK;
    TRY(bg_measurer_apply(measurer, NULL));
    TRY(bg_net_restore(measurer->setup.trainer->config.net, measurer->found));
    measurer->changed = false;
out:
    return rc;
}

/* Ranges come from the snapshots: each holds those of its own bits, others it leaves alone. */
static enum bg_status put(struct bg_measurer *measurer, const struct bg_plan *plan)
{
    enum bg_status rc = BG_OK;
    measurer->changed = true;
    TRY(bg_measurer_apply(measurer, plan));
    for (int c = 0; c < measurer->setup.candidates; c++) {
        bool used = false;
        for (int i = 0; i < plan->count; i++)
            used = used || plan->layer[i].spec[BG_ROLE_ACTIVATION].bits == measurer->setup.bits[c];
        if (used)
            TRY(bg_net_restore(measurer->setup.trainer->config.net, measurer->ranges[c]));
    }
out:
    return rc;
}

enum bg_status bg_measurer_alone(struct bg_measurer *measurer, int layer, int role, int candidate)
{
    struct bg_plan plan = {0};
    int bits = measurer->setup.bits[candidate];
    enum bg_status rc = BG_OK;

    TRY(bg_net_plan(measurer->setup.trainer->config.net, 0, 0, &plan));
    if (role == BG_ROLE_WEIGHT)
        plan.layer[layer].spec[role] = bg_spec_integer(bits, true);
    for (int i = 0; i < measurer->layers && role == BG_ROLE_ACTIVATION; i++)
        if (measurer->owner[i] == measurer->owner[layer])
            plan.layer[i].spec[role] = bg_spec_integer(bits, false);
    TRY(put(measurer, &plan));
out:
    bg_plan_free(&plan);
    return rc;
}

enum bg_status bg_measurer_plan(struct bg_measurer *measurer, const int *choice,
                                const int *activations)
{
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_net_plan(measurer->setup.trainer->config.net, 0, 0, &plan));
    for (int i = 0; i < measurer->layers; i++) {
        plan.layer[i].spec[BG_ROLE_WEIGHT] = bg_spec_integer(measurer->setup.bits[choice[i]], true);
        if (activations)
            plan.layer[i].spec[BG_ROLE_ACTIVATION] =
                bg_spec_integer(measurer->setup.bits[activations[measurer->owner[i]]], false);
    }
    TRY(put(measurer, &plan));
out:
    bg_plan_free(&plan);
    return rc;
}

const struct bg_tensor *bg_measurer_input(const struct bg_measurer *measurer,
                                          const struct bg_program *program, int layer)
{
    const struct bg_node *node = bg_node_input_at(bg_graph_layer(measurer->graph, layer), 0);
    return bg_program_value(program, bg_node_name(node));
}

enum bg_status bg_measurer_add(struct bg_measurer *measurer, const struct bg_measure_row *row)
{
    struct bg_measure_row whole = *row;
    if (!isfinite(row->value))
        return bg_fail(BG_E_NUMERIC, "measure %s: %s of layer %s (%s, %d bits) is %g",
                       measurer->what, bg_measured_names[row->measured],
                       row->layer < 0 ? "all"
                                      : bg_node_name(bg_graph_layer(measurer->graph, row->layer)),
                       bg_measure_roles[row->role], row->bits, row->value);
    whole.measure = measurer->measure;
    whole.passes = measurer->passes - measurer->counted;
    measurer->counted = measurer->passes;
    return bg_measure_rows_add(measurer->rows, &whole);
}

enum bg_status bg_measurer_progress(struct bg_measurer *measurer, int64_t done, int64_t total)
{
    if (bg_stop_requested())
        return bg_fail(BG_E_INTERRUPTED, "measure %s stopped on request after %lld of %lld",
                       measurer->what, (long long)done, (long long)total);
    bg_log_progress(measurer->what, done, total, "%s", "");
    return BG_OK;
}

enum bg_status bg_measurer_run(struct bg_measurer *measurer, const struct bg_measure_choice *choice,
                               int measure, struct bg_measure_rows *rows)
{
    enum bg_status rc = BG_OK;
    TRY(bg_measurer_base(measurer));
    measurer->measure = measure;
    measurer->rows = rows;
    measurer->passes = measurer->counted = 0;
    (void)snprintf(measurer->what, sizeof measurer->what, "%s", choice->name);
    TRY(choice->method->run(choice->options, measurer));
out:
    return rc;
}
