/* Weights in bf16 with a compensation in bf16 (Kahan's summation): what rounding took from one step
 * is given back in the next. The code that forward reads is the bf16 weight rounded to a grid that
 * stays as it is at the start. A baseline. */
#include "policies/step.h"

struct kahan_options {
    struct bg_integer_options integer;
};

static const struct bg_option table[] = {BG_INTEGER_ROWS(struct kahan_options, integer),
                                         {.key = NULL}};

static double state_bytes(const void *options)
{
    return bg_integer_bytes(&((const struct kahan_options *)options)->integer, 32);
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    const struct kahan_options *o = options;
    const struct bg_store_spec spec = {.form = BG_STORE_KAHAN};
    if (bits != 0)
        return bg_fail(BG_E_UNSUPPORTED, "%s: u=kahan-bf16:%d: kahan-bf16 has no bits to choose",
                       param->name, bg_plan_bits(bits));
    return bg_integer_prepare(&o->integer, param, &spec, resumed);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct kahan_options *o = options;
    const struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    return bg_integer_move(param, &step);
}

extern const struct bg_update_method bg_update_kahan_bf16;
const struct bg_update_method bg_update_kahan_bf16 = {
    .name = "kahan-bf16",
    .help = "bf16 weights with a bf16 compensation, projected on a grid that stays",
    .source = "Zamirai et al., Revisiting BFloat16 Training, 2020 (Kahan's summation)",
    .options = table,
    .options_size = sizeof(struct kahan_options),
    .state_bytes = state_bytes,
    .prepare = prepare,
    .update = update};
