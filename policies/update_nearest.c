/* Integer weights without memory: the updated weight is rounded to its grid, so that steps below
 * half of the grid's are lost. A baseline. */
#include "policies/step.h"

struct nearest_options {
    struct bg_integer_options integer;
};

static const struct bg_option table[] = {BG_INTEGER_ROWS(struct nearest_options, integer),
                                         {.key = NULL}};

static double state_bytes(const void *options)
{
    return bg_integer_bytes(&((const struct nearest_options *)options)->integer, 0);
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    const struct nearest_options *o = options;
    const struct bg_store_spec spec = {.form = BG_STORE_SPLIT};
    if (bits != 0)
        return bg_fail(BG_E_UNSUPPORTED, "%s: u=nearest:%d: nearest keeps no bits", param->name,
                       bg_plan_bits(bits));
    return bg_integer_prepare(&o->integer, param, &spec, resumed);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct nearest_options *o = options;
    struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    step.tune = BG_TUNE_NEAREST;
    return bg_integer_move(param, &step);
}

extern const struct bg_update_method bg_update_nearest;
const struct bg_update_method bg_update_nearest = {
    .name = "nearest",
    .help = "integer weights rounded to nearest, no memory: small steps are lost",
    .source = "common practice (baseline)",
    .options = table,
    .options_size = sizeof(struct nearest_options),
    .state_bytes = state_bytes,
    .prepare = prepare,
    .update = update};
