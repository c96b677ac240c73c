/* Weights between an f32 master and a store (core/store.h): what trains in integers has no f32
 * copy, what reads f32 gets its master back. Values survive both ways to the precision of the store
 * and of f32. Memory of weights is on the heap for this, the rest of a graph is in its arena. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/op.h"
#include "core/kernel.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/store.h"

const char *const bg_store_methods[] = {"residual", "threshold", "kahan-bf16", "threshold"};

/* Small floats have no quantizer: their projection is memory of the parameter's own. */
static bool is_float(const struct bg_store *store)
{
    return store != NULL && store->spec.form == BG_STORE_FLOAT;
}

void bg_graph_free_weights(struct bg_graph *graph)
{
    for (struct bg_model_param *model = graph->weights; model != NULL; model = model->next) {
        bg_free(model->param.value.data);
        bg_free(model->param.state.data);
        if (is_float(model->param.store))
            bg_free(model->param.forward.data);
        bg_store_free(model->param.store);
    }
    graph->weights = NULL;
}

/* Which methods there are, their registry knows; here: has the layer what they move? */
enum bg_status bg_param_check_update(const struct bg_plan_layer *layer)
{
    enum bg_status rc = BG_OK;
    const struct bg_spec *weight = &layer->spec[BG_ROLE_WEIGHT];
    char bits[16] = "";

    if (layer->update_bits != 0)
        (void)snprintf(bits, sizeof bits, ":%d", bg_plan_bits(layer->update_bits));
    if (strcmp(layer->update, "sgd") == 0) {
        if (layer->update_bits != 0)
            FAIL(BG_E_UNSUPPORTED, "layer %s: u=sgd%s: sgd keeps f32 weights and has no bits",
                 layer->name, bits);
        goto out;
    }
    if (weight->format == BG_FORMAT_F32 && strcmp(layer->update, "threshold") == 0)
        goto out; /* it may be of floats: the method says so itself, which knows its form */
    if (weight->format != BG_FORMAT_INTEGER)
        FAIL(BG_E_UNSUPPORTED, "layer %s: u=%s%s moves integer weights, the layer has w=f32",
             layer->name, layer->update, bits);
    if (weight->bits < 2)
        FAIL(BG_E_UNSUPPORTED, "layer %s: u=%s%s moves weights of 2 to %d bits, the layer has w=s1",
             layer->name, layer->update, bits, BG_BITS_MAX);
    if (layer->update_bits > BG_STORE_LOW_MAX)
        FAIL(BG_E_RANGE, "layer %s: u=%s%s: %d bits, limit is %d", layer->name, layer->update, bits,
             layer->update_bits, BG_STORE_LOW_MAX);
out:
    return rc;
}

void bg_param_note_update(const struct bg_node *layer, const struct bg_plan *plan)
{
    struct bg_param *weight = layer->param[0];
    const struct bg_plan_layer *line = plan == NULL ? NULL : bg_plan_find(plan, layer->name);

    memset(weight->update, 0, sizeof weight->update);
    weight->update_bits = 0;
    if (line == NULL || strcmp(line->update, "sgd") == 0)
        return;
    memcpy(weight->update, line->update, sizeof weight->update);
    weight->update_bits = line->update_bits;
}

bool bg_param_keeps_store(const struct bg_param *param, const struct bg_plan_layer *layer)
{
    const char *update = NULL;

    if (layer == NULL)
        return false;
    update = strcmp(layer->update, "sgd") == 0 ? "" : layer->update;
    return strcmp(update, param->update) == 0 && layer->update_bits == param->update_bits;
}

enum bg_status bg_param_make_forward(struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    struct bg_model_quantizer *quantizer = (struct bg_model_quantizer *)(void *)param->quantizer;

    if (param->forward.data != NULL || quantizer == NULL)
        goto out;
    TRY(bg_alloc(&quantizer->forward, bg_tensor_count(&param->value), sizeof(float)));
    param->forward.data = quantizer->forward;
    bg_model_param(param)->projected = 0;
    TRY(bg_param_refresh(param));
out:
    return rc;
}

static void free_forward(struct bg_param *param)
{
    struct bg_model_quantizer *quantizer = (struct bg_model_quantizer *)(void *)param->quantizer;

    bg_free(quantizer->forward);
    quantizer->forward = NULL;
    param->forward.data = NULL;
}

/* Smallest power of two that is not below x. */
static float power_above(float x)
{
    int exponent = 0;
    const float part = frexpf(x, &exponent); /* in [1/2, 1) */

    return ldexpf(1.0f, part == 0.5f ? exponent - 1 : exponent);
}

/* The grid that the weights will keep: their range now, with room. */
static enum bg_status fit_grid(struct bg_param *param, const struct bg_hold *hold)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = param->quantizer;
    struct bg_grid *grid = &quantizer->grid;
    int64_t n = bg_tensor_count(&param->value) / grid->channels;
    const float room = (float)hold->headroom;

    if (quantizer->step != NULL)
        FAIL(BG_E_UNSUPPORTED, "weights in integers have no learned step: choose another range");
    if (!bg_kernel_all_finite(bg_f32(&param->value), bg_tensor_count(&param->value)))
        FAIL(BG_E_NUMERIC, "weights are not finite");
    quantizer->observed = 0;
    for (int64_t c = 0; c < grid->channels; c++) {
        TRY(quantizer->range->observe(quantizer->range_options, quantizer, c,
                                      bg_f32(&param->value) + c * n, n));
        TRY(bg_grid_fit(grid, c, room * quantizer->lo[c], room * quantizer->hi[c], true));
        if (hold->power_of_two)
            grid->scale[c] = power_above(grid->scale[c]);
    }
    quantizer->observed = 1;
out:
    return rc;
}

static enum bg_status encode(struct bg_param *param, const struct bg_hold *hold)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = NULL;

    TRY(bg_store_make(&store, &hold->spec, bg_tensor_count(&param->value),
                      param->quantizer->grid.channels));
    TRY(fit_grid(param, hold));
    bg_store_encode(store, &param->quantizer->grid, bg_f32(&param->value));
    bg_free(param->value.data);
    param->value.data = NULL;
    if (hold->spec.momentum != BG_STORE_MOMENTUM_F32) {
        bg_free(param->state.data);
        param->state.data = NULL;
    }
    free_forward(param);
    param->store = store;
    store = NULL;
    param->version++;
out:
    bg_store_free(store);
    return rc;
}

static enum bg_status refuse_other(const struct bg_store_spec *is, const struct bg_store_spec *want)
{
    if (bg_store_spec_equal(is, want))
        return bg_fail(BG_E_MISMATCH, "the state holds weights on steps that are no powers of two, "
                                      "the options ask for those");
    if (is->bits == want->bits && is->form == want->form && is->low == want->low)
        return bg_fail(
            BG_E_MISMATCH,
            "the state holds %d-bit weights with %s and %d bits below, with other options "
            "of momentum, grid, split, form or gradients than now",
            is->bits, bg_store_methods[is->form], is->low);
    return bg_fail(BG_E_MISMATCH,
                   "the state holds %d-bit weights with %s and %d bits below, the plan asks for %d "
                   "bits with %s and %d bits below",
                   is->bits, bg_store_methods[is->form], is->low, want->bits,
                   bg_store_methods[want->form], want->low);
}

/* The master's memory becomes the projection. */
static enum bg_status encode_floats(struct bg_param *param, const struct bg_hold *hold)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = NULL;
    const int64_t count = bg_tensor_count(&param->value);
    const float *w = bg_f32(&param->value);
    float largest = 0.0f;

    if (!bg_kernel_all_finite(w, count))
        FAIL(BG_E_NUMERIC, "weights are not finite");
    for (int64_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(w[i]));
    TRY(bg_store_make(&store, &hold->spec, count, 1));
    TRY(bg_store_place(store, hold->headroom * (double)largest));
    bg_store_encode(store, NULL, w);
    bg_param_take_store(param, store);
    store = NULL;
out:
    bg_store_free(store);
    return rc;
}

static enum bg_status check_hold(const struct bg_param *param, const struct bg_hold *hold)
{
    const bool floats = hold->spec.form == BG_STORE_FLOAT;

    if (floats && param->quantizer != NULL)
        return bg_fail(BG_E_UNSUPPORTED,
                       "small floats are no integers: they want w=f32, the layer has w=s%d",
                       param->quantizer->grid.bits);
    if (!floats && (param->quantizer == NULL || param->quantizer->grid.binary))
        return bg_fail(BG_E_UNSUPPORTED, "integer updates need weights of 2 to %d bits",
                       BG_BITS_MAX);
    return bg_store_check(&hold->spec);
}

/* Are the steps of the grid that is there such as are asked for? */
static bool has_steps(const struct bg_param *param, const struct bg_hold *hold)
{
    const struct bg_grid *grid = bg_param_grid(param);

    if (grid == NULL || !hold->power_of_two || hold->takes_grid)
        return true;
    for (int64_t c = 0; c < grid->channels; c++)
        if (power_above(grid->scale[c]) != grid->scale[c])
            return false;
    return true;
}

enum bg_status bg_param_hold(struct bg_param *param, const struct bg_hold *hold)
{
    enum bg_status rc = BG_OK;
    const bool stays = param->store != NULL && has_steps(param, hold);

    TRY(check_hold(param, hold));
    if (stays && bg_store_spec_equal(&param->store->spec, &hold->spec)) {
        if (!is_float(param->store))
            free_forward(param); /* of a calibration: who still needs one makes it again */
        goto out;
    }
    if (hold->resumed && param->store != NULL)
        TRY(refuse_other(&param->store->spec, &hold->spec));
    if (hold->resumed)
        FAIL(BG_E_MISMATCH, "the state holds f32 weights, the plan asks for integers");
    if (stays && bg_store_can_become(param->store, &hold->spec)) {
        TRY(bg_param_become(param, &hold->spec));
        goto out;
    }
    TRY(bg_param_release(param));
    if (hold->spec.form == BG_STORE_FLOAT)
        TRY(encode_floats(param, hold));
    else
        TRY(encode(param, hold));
out:
    if (rc != BG_OK && strstr(bg_error(), param->name) != bg_error())
        (void)bg_fail_prefix(rc, "%s: ", param->name);
    return rc;
}

enum bg_status bg_param_release(struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    const int64_t count = bg_tensor_count(&param->value);
    float *value = NULL, *state = NULL;

    if (param->store == NULL)
        goto out;
    TRY(bg_alloc(&value, count, sizeof *value));
    if (param->state.data == NULL)
        TRY(bg_alloc(&state, count, sizeof *state));
    TRY(bg_param_make_forward(param));
    bg_param_read(param, 0, count, value);
    if (is_float(param->store)) {
        bg_free(param->forward.data);
        param->forward.data = value;
    }
    bg_store_free(param->store);
    param->store = NULL;
    param->value.data = value;
    if (state != NULL)
        param->state.data = state;
    value = state = NULL;
    param->version++;
out:
    bg_free(state);
    bg_free(value);
    return rc;
}

void bg_param_take_store(struct bg_param *param, struct bg_store *store)
{
    if (is_float(store) && !is_float(param->store))
        param->forward.data = param->value.data;
    else if (!is_float(store))
        bg_free(param->value.data);
    bg_store_free(param->store);
    param->store = store;
    param->value.data = NULL;
    if (store->spec.momentum != BG_STORE_MOMENTUM_F32) {
        bg_free(param->state.data);
        param->state.data = NULL;
    }
    if (!is_float(store))
        free_forward(param);
    bg_model_param(param)->projected = 0;
    param->version++;
}
