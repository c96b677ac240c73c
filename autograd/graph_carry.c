/* Weights in integers whose plan asks for other widths: the store moves to them with every value as
 * it was, instead of through f32. Asked only of layers that the plan names the store's own method
 * for; what it leaves open is ranged and encoded anew. */
#include <string.h>

#include "autograd/op.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/store_change.h"

bool bg_param_carries(const struct bg_param *param, const struct bg_plan_layer *line,
                      const struct bg_quantizer_spec *wanted)
{
    const struct bg_store *store = param->store;

    if (store == NULL || store->spec.form == BG_STORE_FLOAT || /* that has no grid */
        strcmp(line->update, bg_store_methods[store->spec.form]) != 0 ||
        wanted->channels != store->channels || wanted->range == NULL || wanted->range->learned)
        return false;
    return wanted->spec.bits != store->spec.bits || !bg_param_keeps_store(param, line);
}

/* The plan's widths; without a number of its own the bits below follow the weight's. */
static struct bg_store_spec spec_of(const struct bg_store *store, const struct bg_plan_layer *line,
                                    int bits)
{
    struct bg_store_spec spec = store->spec;
    const int follow = store->spec.low + store->spec.bits - bits;
    const int overlap = store->spec.buffer - store->spec.low; /* and the sign */
    int most = 0;

    spec.bits = bits;
    if (spec.form == BG_STORE_KAHAN)
        return spec;
    if (line->update_bits == 0)
        spec.low = follow > 0 ? follow : 0;
    else
        spec.low = bg_plan_bits(line->update_bits) - (spec.form == BG_STORE_BUFFER ? overlap : 0);
    if (spec.form == BG_STORE_BUFFER)
        spec.buffer = spec.low + overlap;
    most = BG_STORE_LOW_MAX - (spec.form == BG_STORE_BUFFER ? spec.buffer : spec.low);
    if (spec.room > most)
        spec.room = most > 0 ? most : 0;
    return spec;
}

enum bg_status bg_param_carry(const struct bg_param *param, const struct bg_plan_layer *line,
                              struct bg_quantizer *to, struct bg_store **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_quantizer *from = param->quantizer;
    const struct bg_store_change change = {.from = param->store,
                                           .on = &from->grid,
                                           .to = spec_of(param->store, line, to->grid.bits),
                                           .grid = &to->grid,
                                           .name = param->name};
    const size_t bytes = (size_t)from->grid.channels * sizeof(float);

    TRY(bg_store_convert(&change, to->grid.scale, out));
    memcpy(to->lo, from->lo, bytes);
    memcpy(to->hi, from->hi, bytes);
    to->observed = 1;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "layer %s: ", line->name);
    return rc;
}

/* What has bits below it and is asked for without any is rounded, as a method without memory does.
 */
bool bg_store_can_become(const struct bg_store *store, const struct bg_store_spec *want)
{
    return store != NULL && store->spec.form == want->form && want->form != BG_STORE_FLOAT &&
           store->spec.bits == want->bits &&
           (want->form != BG_STORE_SPLIT || want->low > 0 || store->spec.low == 0);
}

enum bg_status bg_param_become(struct bg_param *param, const struct bg_store_spec *want)
{
    enum bg_status rc = BG_OK;
    struct bg_grid *grid = &param->quantizer->grid;
    const struct bg_store_change change = {
        .from = param->store, .on = grid, .to = *want, .grid = grid, .name = param->name};
    const bool lacks = want->momentum == BG_STORE_MOMENTUM_F32 && param->state.data == NULL;
    struct bg_store *store = NULL;
    float *scale = NULL, *state = NULL;

    TRY(bg_alloc(&scale, grid->channels, sizeof *scale));
    if (lacks)
        TRY(bg_alloc(&state, bg_tensor_count(&param->value), sizeof *state));
    TRY(bg_store_convert(&change, scale, &store));
    memcpy(grid->scale, scale, (size_t)grid->channels * sizeof *scale);
    bg_param_take_store(param, store);
    if (lacks)
        param->state.data = state;
    state = NULL;
out:
    bg_free(state);
    bg_free(scale);
    return rc;
}
