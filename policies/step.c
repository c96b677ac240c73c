/* The part that integer update methods share (policies/step.h). */
#include "policies/step.h"

#include <stdio.h>

const char *const bg_step_quantises[] = {"step", "gradient", NULL};
const char *const bg_step_momenta[] = {"f32", "bf16", "s16", NULL};
const char *const bg_step_grids[] = {"fixed", "power-of-two", "refit", NULL};

double bg_integer_bytes(const struct bg_integer_options *options, int below)
{
    const double momentum = options->momentum_format == BG_STORE_MOMENTUM_F32 ? 4 : 2;

    return (options->optimizer.momentum > 0 ? momentum : 0) + (below <= 0    ? 0
                                                               : below <= 8  ? 1
                                                               : below <= 16 ? 2
                                                                             : 4);
}

enum bg_status bg_integer_prepare(const struct bg_integer_options *options, struct bg_param *param,
                                  const struct bg_store_spec *spec, bool resumed)
{
    struct bg_hold hold = {.spec = *spec,
                           .headroom = options->headroom,
                           .power_of_two = options->grid != BG_STEP_FIXED,
                           .takes_grid = options->grid == BG_STEP_REFIT,
                           .resumed = resumed};

    if (options->grid == BG_STEP_REFIT && (spec->form != BG_STORE_SPLIT || spec->low == 0))
        return bg_fail(BG_E_UNSUPPORTED, "%s: grid: refit needs a residual below the weights",
                       param->name);
    if (options->grid == BG_STEP_REFIT)
        hold.spec.room = spec->low + BG_STEP_ROOM > BG_STORE_LOW_MAX ? BG_STORE_LOW_MAX - spec->low
                                                                     : BG_STEP_ROOM;
    if (param->quantizer != NULL && spec->form != BG_STORE_FLOAT)
        hold.spec.bits = param->quantizer->grid.bits;
    hold.spec.momentum = options->optimizer.momentum > 0
                             ? (enum bg_store_momentum)options->momentum_format
                             : BG_STORE_MOMENTUM_NONE;
    return bg_param_hold(param, &hold);
}

bool bg_integer_looks(const struct bg_integer_options *options, uint64_t step)
{
    return step > 0 && step % (uint64_t)options->refit_every == 0;
}

struct bg_store_step bg_integer_step_of(const struct bg_integer_options *options,
                                        const struct bg_update_moment *moment, bool decay)
{
    return (struct bg_store_step){.lr = moment->lr,
                                  .momentum = options->optimizer.momentum,
                                  .decay = decay ? options->optimizer.weight_decay : 0,
                                  .nesterov = options->optimizer.nesterov,
                                  .gradient = options->quantise == 1,
                                  .refit = options->grid == BG_STEP_REFIT &&
                                           bg_integer_looks(options, moment->step),
                                  .check = true,
                                  .seed = moment->seed,
                                  .step = moment->step};
}

/* What takes a step: "their buffer of 16 bits holds". */
static void taker(const struct bg_store *store, char out[64])
{
    if (store->spec.form == BG_STORE_FLOAT || store->spec.form == BG_STORE_BUFFER)
        (void)snprintf(out, 64, "their buffer of %d bits holds",
                       bg_store_buffer_bits(store, store->spec.low));
    else
        (void)snprintf(out, 64, "weights of %d bits take", store->spec.bits);
}

enum bg_status bg_integer_move(struct bg_param *param, const struct bg_store_step *step)
{
    enum bg_status rc = BG_OK;
    int64_t before = 0, beyond = 0;
    char what[64];

    if (param->store == NULL)
        FAIL(BG_E_USAGE, "%s: its weights are not in integers", param->name);
    before = param->store->beyond;
    if (step->refit)
        bg_store_refit(param);
    bg_integer_update(param, step);
    beyond = param->store->beyond - before;
    if (beyond > param->store->count / 2) {
        taker(param->store, what);
        FAIL(BG_E_RANGE,
             "%s: with lr %g %lld of %lld weights would move in one step by more than %s, %g in "
             "channel 0",
             param->name, step->lr, (long long)beyond, (long long)param->store->count, what,
             bg_integer_most(param, step));
    }
out:
    return rc;
}
