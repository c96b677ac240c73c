/* Integer weights without memory, rounded stochastically: a step below the grid's moves the weight
 * with the probability of its share, so that it is right in the mean. Draws depend on seed,
 * parameter, step and index alone. */
#include "policies/step.h"

struct stochastic_options {
    struct bg_integer_options integer;
};

static const struct bg_option table[] = {BG_INTEGER_ROWS(struct stochastic_options, integer),
                                         {.key = NULL}};

static double state_bytes(const void *options)
{
    return bg_integer_bytes(&((const struct stochastic_options *)options)->integer, 0);
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    const struct stochastic_options *o = options;
    const struct bg_store_spec spec = {.form = BG_STORE_SPLIT};
    if (bits != 0)
        return bg_fail(BG_E_UNSUPPORTED, "%s: u=stochastic:%d: stochastic keeps no bits",
                       param->name, bg_plan_bits(bits));
    return bg_integer_prepare(&o->integer, param, &spec, resumed);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct stochastic_options *o = options;
    struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    step.tune = BG_TUNE_STOCHASTIC;
    return bg_integer_move(param, &step);
}

extern const struct bg_update_method bg_update_stochastic;
const struct bg_update_method bg_update_stochastic = {
    .name = "stochastic",
    .help = "integer weights rounded stochastically, no memory",
    .source = "Gupta et al., Deep Learning with Limited Numerical Precision, ICML 2015",
    .options = table,
    .options_size = sizeof(struct stochastic_options),
    .state_bytes = state_bytes,
    .prepare = prepare,
    .update = update};
