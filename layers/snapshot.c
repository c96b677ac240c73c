/* A copy in memory of what training changes: parameter values, optimizer states, quantizers.
 * Restoring checks every shape first, so a failure changes nothing. */
#include "layers/snapshot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/store.h"

const char *bg_param_kind_name(enum bg_param_kind kind)
{
    static const char *const names[] = {
        [BG_PARAM_WEIGHT] = "weight",
        [BG_PARAM_BIAS] = "bias",
        [BG_PARAM_GAMMA] = "gamma",
        [BG_PARAM_BETA] = "beta",
        [BG_PARAM_STEP] = "step",
        [BG_PARAM_RUNNING_MEAN] = "running-mean",
        [BG_PARAM_RUNNING_VAR] = "running-variance",
    };
    return names[kind];
}

enum bg_status bg_snapshot_make(struct bg_snapshot **out, int params, int quantizers)
{
    enum bg_status rc = BG_OK;
    struct bg_snapshot *made = NULL;
    *out = NULL;
    TRY(bg_alloc(&made, 1, sizeof *made));
    TRY(bg_alloc(&made->param, params, sizeof *made->param));
    made->params = params;
    TRY(bg_alloc(&made->quantizer, quantizers, sizeof *made->quantizer));
    made->quantizers = quantizers;
    *out = made;
    made = NULL;
out:
    bg_snapshot_free(made);
    return rc;
}

void bg_snapshot_free(struct bg_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    for (int i = 0; i < snapshot->params; i++) {
        bg_free(snapshot->param[i].value);
        bg_free(snapshot->param[i].state);
        bg_store_free(snapshot->param[i].store);
    }
    for (int i = 0; i < snapshot->quantizers; i++)
        bg_free(snapshot->quantizer[i].numbers);
    bg_free(snapshot->param);
    bg_free(snapshot->quantizer);
    bg_free(snapshot);
}

enum bg_status bg_snapshot_take_grid(struct bg_saved_quantizer *out,
                                     const struct bg_quantizer *from)
{
    enum bg_status rc = BG_OK;
    memcpy(out->name, from->name, sizeof out->name);
    out->spec = from->spec;
    out->grid = from->grid;
    out->observed = from->observed;
    TRY(bg_alloc(&out->numbers, 3 * from->grid.channels, sizeof(float)));
    out->grid.scale = out->numbers;
out:
    return rc;
}

enum bg_status bg_snapshot_check_value(const struct bg_saved_param *param, const char *file)
{
    for (int64_t i = 0; i < bg_shape_count(&param->shape); i++) {
        float value = param->value ? param->value[i] : 0;
        if (!isfinite(value) || (param->state && !isfinite(param->state[i])))
            return bg_fail(BG_E_DATA, "%s: %s: value %lld is not finite", file, param->name,
                           (long long)i);
        if (param->kind == BG_PARAM_RUNNING_VAR && value < 0)
            return bg_fail(BG_E_DATA, "%s: %s: variance %lld is %g, limit is 0", file, param->name,
                           (long long)i, (double)value);
    }
    return BG_OK;
}

static enum bg_status copy_of(float **out, const float *from, int64_t count)
{
    enum bg_status rc = BG_OK;
    *out = NULL;
    if (from == NULL)
        goto out;
    TRY(bg_alloc(out, count, sizeof(float)));
    memcpy(*out, from, (size_t)count * sizeof(float));
out:
    return rc;
}

enum bg_status bg_net_snapshot(const struct bg_net *net, struct bg_snapshot **out)
{
    enum bg_status rc = BG_OK;
    struct bg_snapshot *made = NULL;
    *out = NULL;
    TRY(bg_snapshot_make(&made, bg_graph_param_count(net->graph),
                         bg_graph_quantizer_count(net->graph)));
    for (int i = 0; i < made->params; i++) {
        const struct bg_param *from = bg_graph_param(net->graph, i);
        struct bg_saved_param *to = &made->param[i];
        int64_t count = bg_tensor_count(&from->value);
        memcpy(to->name, from->name, sizeof to->name);
        to->kind = from->kind;
        to->shape = from->value.shape;
        TRY(copy_of(&to->value, from->value.data, count));
        TRY(copy_of(&to->state, from->state.data, count));
        if (from->store)
            TRY(bg_store_copy(&to->store, from->store));
    }
    for (int i = 0; i < made->quantizers; i++) {
        const struct bg_quantizer *from = bg_graph_quantizer(net->graph, i);
        struct bg_saved_quantizer *to = &made->quantizer[i];
        TRY(bg_snapshot_take_grid(to, from));
        size_t bytes = (size_t)from->grid.channels * sizeof(float);
        memcpy(to->numbers, from->grid.scale, bytes);
        if (from->lo)
            memcpy(to->numbers + from->grid.channels, from->lo, bytes);
        if (from->hi)
            memcpy(to->numbers + 2 * from->grid.channels, from->hi, bytes);
    }
    *out = made;
    made = NULL;
out:
    bg_snapshot_free(made);
    return rc;
}

static bool spec_equal(const struct bg_spec *a, const struct bg_spec *b)
{
    return a->format == b->format && a->bits == b->bits && a->per_channel == b->per_channel;
}

static struct bg_quantizer *find_quantizer(const struct bg_net *net,
                                           const struct bg_saved_quantizer *saved)
{
    for (int i = 0; i < bg_graph_quantizer_count(net->graph); i++) {
        struct bg_quantizer *q = bg_graph_quantizer(net->graph, i);
        if (strcmp(q->name, saved->name) == 0 && spec_equal(&q->spec, &saved->spec) &&
            q->grid.channels == saved->grid.channels)
            return q;
    }
    return NULL;
}

static void restore_quantizer(struct bg_quantizer *to, const struct bg_saved_quantizer *from)
{
    int64_t channels = from->grid.channels;
    size_t bytes = (size_t)channels * sizeof(float);
    to->grid.qmin = from->grid.qmin;
    to->grid.qmax = from->grid.qmax;
    to->grid.zero_point = from->grid.zero_point;
    to->observed = from->observed;
    memcpy(to->grid.scale, from->numbers, bytes);
    if (to->lo)
        memcpy(to->lo, from->numbers + channels, bytes);
    if (to->hi)
        memcpy(to->hi, from->numbers + 2 * channels, bytes);
}

/* The parameter that an entry goes to, or NULL. A learned step goes with its quantizer: a step for
 * other bits means another grid. */
static struct bg_param *find_target(const struct bg_net *net, const struct bg_snapshot *snapshot,
                                    const struct bg_saved_param *saved)
{
    struct bg_param *param = bg_graph_param_find(net->graph, saved->name);
    if (param == NULL || saved->value == NULL || saved->kind != BG_PARAM_STEP)
        return saved->value || saved->store ? param : NULL;
    for (int i = 0; i < snapshot->quantizers; i++) {
        const struct bg_quantizer *q = find_quantizer(net, &snapshot->quantizer[i]);
        if (q && q->step == param)
            return param;
    }
    return NULL;
}

/* A store needs a quantizer with the bits and channels of its own, small floats none. */
static bool fits(const struct bg_saved_param *from, const struct bg_param *to)
{
    const struct bg_quantizer *quantizer = to->quantizer;
    if (from->store && from->store->spec.form == BG_STORE_FLOAT)
        return !quantizer;
    return from->store && quantizer && !quantizer->grid.binary &&
           quantizer->grid.bits == from->store->spec.bits &&
           quantizer->grid.channels == from->store->channels;
}

/* Makes room for what the parameter will hold; values come later. */
static enum bg_status make_room(const struct bg_saved_param *from, struct bg_param *to)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = NULL;
    if (fits(from, to) && to->store && bg_store_spec_equal(&to->store->spec, &from->store->spec))
        goto out;
    TRY(bg_param_release(to)); /* momentum in f32 may be wanted */
    if (!fits(from, to))
        goto out;
    TRY(bg_store_copy(&store, from->store));
    bg_param_take_store(to, store);
out:
    return rc;
}

/* The grid that a snapshot's store was on. */
static const struct bg_grid *saved_grid(const struct bg_snapshot *snapshot, const char *name)
{
    for (int i = 0; i < snapshot->quantizers; i++)
        if (strcmp(snapshot->quantizer[i].name, name) == 0)
            return &snapshot->quantizer[i].grid;
    return NULL;
}

static void fill_room(const struct bg_snapshot *snapshot, const struct bg_saved_param *from,
                      struct bg_param *to)
{
    int64_t count = bg_shape_count(&from->shape);
    if (to->store)
        bg_store_assign(to->store, from->store);
    else if (from->store) /* the network is in f32, or on another grid */
        bg_store_decode(from->store, saved_grid(snapshot, from->name), 0, count, to->value.data);
    else
        memcpy(to->value.data, from->value, (size_t)count * sizeof(float));
    if (from->state && to->state.data)
        memcpy(to->state.data, from->state, (size_t)count * sizeof(float));
    to->version++;
}

enum bg_status bg_net_restore(struct bg_net *net, const struct bg_snapshot *snapshot)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < snapshot->params; i++) {
        const struct bg_saved_param *from = &snapshot->param[i];
        const struct bg_param *to = find_target(net, snapshot, from);
        char a[64], b[64];
        if (to && !bg_shape_equal(&to->value.shape, &from->shape))
            FAIL(BG_E_MISMATCH, "%s is %s in the snapshot, %s in the network", from->name,
                 bg_shape_text(&from->shape, a), bg_shape_text(&to->value.shape, b));
        if (to && from->store && from->store->spec.form != BG_STORE_FLOAT &&
            !saved_grid(snapshot, from->name))
            FAIL(BG_E_MISMATCH, "%s is held in integers, the snapshot lacks their grid",
                 from->name);
    }
    for (int i = 0; i < snapshot->params; i++) {
        struct bg_param *to = find_target(net, snapshot, &snapshot->param[i]);
        if (to)
            TRY(make_room(&snapshot->param[i], to));
    }
    for (int i = 0; i < snapshot->params; i++) {
        struct bg_param *to = find_target(net, snapshot, &snapshot->param[i]);
        if (to)
            fill_room(snapshot, &snapshot->param[i], to);
    }
    for (int i = 0; i < snapshot->quantizers; i++) {
        struct bg_quantizer *to = find_quantizer(net, &snapshot->quantizer[i]);
        if (to)
            restore_quantizer(to, &snapshot->quantizer[i]);
    }
out:
    return rc;
}
