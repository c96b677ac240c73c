/* Residual gradient below the weight (P4 of policies/METHODS.md): weights are codes W with r bits R
 * below; a step is rounded to the last of these bits and added, and the sum's high bits are the new
 * W. Several gradients may be summed before one write. Mapping and concatenation form are the same
 * arithmetic (core/integer_update.h). */
#include "policies/step.h"

struct residual_options {
    struct bg_integer_options integer;
    int64_t bits, gradients, sum_bits;
    int tune, split;
};

static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic", NULL};
static const char *const splits[] = {"nearest", "floor", NULL};

static const struct bg_option table[] = {
    BG_INTEGER_ROWS(struct residual_options, integer),
    {.key = "bits",
     .type = BG_OPT_INT,
     .offset = offsetof(struct residual_options, bits),
     .fallback = "8",
     .min = 0,
     .max = BG_STORE_LOW_MAX,
     .help = "below the weight's last one, where the plan does not say (u=residual:8)"},
    {.key = "tune",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct residual_options, tune),
     .fallback = "nearest",
     .choices = tunes,
     .help = "rounding of a step to the residual's last bit; floor drifts by half of it each step"},
    {.key = "split",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct residual_options, split),
     .fallback = "nearest",
     .choices = splits,
     .help = "the weight is its value rounded to nearest, or the floor of it"},
    {.key = "gradients",
     .type = BG_OPT_INT,
     .offset = offsetof(struct residual_options, gradients),
     .fallback = "1",
     .min = 1,
     .max = 65536,
     .help = "steps whose rounded moves are summed before one write, micro batches of one batch: "
             "weights stand still in between; lr is each step's, so divide it by their number for "
             "their mean; what is summed at a stage's end, or before a selection, is written then"},
    {.key = "sum_bits",
     .type = BG_OPT_INT,
     .offset = offsetof(struct residual_options, sum_bits),
     .fallback = "0",
     .min = 0,
     .max = BG_STORE_FINER_MAX,
     .help = "of that sum below the residual's last one: steps too small one by one are summed "
             "before they are rounded"},
    {.key = NULL}};

static double state_bytes(const void *options)
{
    const struct residual_options *o = options;
    return bg_integer_bytes(&o->integer, (int)o->bits) +
           (o->gradients > 1 ? (double)sizeof(int32_t) : 0);
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    const struct residual_options *o = options;
    const bool several = o->gradients > 1;
    const struct bg_store_spec spec = {.form = BG_STORE_SPLIT,
                                       .low = bits != 0 ? bg_plan_bits(bits) : (int)o->bits,
                                       .half = o->split == 0,
                                       .gradients = several ? (int)o->gradients : 0,
                                       .finer = several ? (int)o->sum_bits : 0};
    if (o->sum_bits > 0 && !several)
        return bg_fail(BG_E_RANGE, "%s: sum_bits: %d without a sum: gradients is 1", param->name,
                       (int)o->sum_bits);
    return bg_integer_prepare(&o->integer, param, &spec, resumed);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct residual_options *o = options;
    struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    step.tune = (enum bg_tune)o->tune;
    step.check = moment->last || (moment->step + 1) % (uint64_t)o->gradients == 0;
    return bg_integer_move(param, &step);
}

extern const struct bg_update_method bg_update_residual;
const struct bg_update_method bg_update_residual = {
    .name = "residual",
    .help = "integer weights with r more bits below them, no f32 master",
    .source = "US12511528 (claims read; split, tuning and saturation are ours: METHODS.md, P4)",
    .options = table,
    .options_size = sizeof(struct residual_options),
    .state_bytes = state_bytes,
    .prepare = prepare,
    .update = update};
