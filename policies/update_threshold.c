/* Accumulation buffer (P3 of policies/METHODS.md): steps are summed in a buffer beside the weight;
 * when the sum reaches theta, the value of a bit of the weight (the last, or bit n above it), the
 * part that is a multiple of theta moves to the weight. A buffer of N bits has its sign, `overlap`
 * bits that lie over the weight's and N - 1 - overlap below the weight's last bit. */
#include "policies/step.h"

struct threshold_options {
    struct bg_integer_options integer;
    int64_t bits, overlap, period, bit;
    int tune, rounding;
};

static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic", NULL};
static const char *const roundings[] = {"trunc", "bit-rule", "nearest", "floor", NULL};

static const struct bg_option table[] = {
    BG_INTEGER_ROWS(struct threshold_options, integer),
    {.key = "bits",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, bits),
     .fallback = "16",
     .min = 2,
     .max = BG_STORE_LOW_MAX,
     .help = "of the buffer with its sign, where the plan does not say (u=threshold:16)"},
    {.key = "overlap",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, overlap),
     .fallback = "3",
     .min = 1,
     .max = 16,
     .help = "bits of the buffer that lie over the weight's: room for the sum of a period"},
    {.key = "period",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, period),
     .fallback = "1",
     .min = 1,
     .max = 65536,
     .help = "steps from check to check"},
    {.key = "threshold_bit",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, bit),
     .fallback = "0",
     .min = 0,
     .max = 14,
     .help = "theta is this bit of the weight, 0 = the last; higher: rarer and larger moves"},
    {.key = "tune",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct threshold_options, tune),
     .fallback = "nearest",
     .choices = tunes,
     .help = "rounding of a step to the buffer's last bit"},
    {.key = "rounding",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct threshold_options, rounding),
     .fallback = "trunc",
     .choices = roundings,
     .help = "of the part that moves to the weight"},
    {.key = NULL}};

static double state_bytes(const void *options)
{
    const struct threshold_options *o = options;
    return bg_integer_bytes(&o->integer, (int)o->bits);
}

/* Weight steps that the updates of one period may have each, so that none is cut. */
static int64_t room_of(const struct threshold_options *o)
{
    return ((INT64_C(1) << o->overlap) - (INT64_C(1) << o->bit)) / o->period;
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    enum bg_status rc = BG_OK;
    const struct threshold_options *o = options;
    const int buffer = bits > 0 ? bits : (int)o->bits, low = buffer - 1 - (int)o->overlap;
    const struct bg_store_spec spec = {.form = BG_STORE_BUFFER, .low = low, .buffer = buffer};

    if (low < 0)
        FAIL(
            BG_E_RANGE,
            "%s: u=threshold:%d: a sign and %d overlapping bits leave none below the weight, least "
            "is %d",
            param->name, buffer, (int)o->overlap, (int)o->overlap + 1);
    if (room_of(o) < 1)
        FAIL(
            BG_E_RANGE,
            "%s: u=threshold:%d: %lld updates of one step and a threshold of %lld steps do not fit "
            "%d overlapping bits, which hold %lld steps",
            param->name, buffer, (long long)o->period, (long long)(INT64_C(1) << o->bit),
            (int)o->overlap, (long long)(INT64_C(1) << o->overlap));
    TRY(bg_integer_prepare(&o->integer, param, &spec, resumed));
out:
    return rc;
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct threshold_options *o = options;
    struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    step.tune = (enum bg_tune)o->tune;
    step.fire = (enum bg_fire)o->rounding;
    step.check = (moment->step + 1) % (uint64_t)o->period == 0;
    step.bit = (int)o->bit;
    return bg_integer_move(param, &step);
}

extern const struct bg_update_method bg_update_threshold;
const struct bg_update_method bg_update_threshold = {
    .name = "threshold",
    .help = "integer weights with a buffer that fires when it fills a bit of the weight",
    .source =
        "US11544549 (claims read; directions of rounding and widths are ours: METHODS.md, P3)",
    .options = table,
    .options_size = sizeof(struct threshold_options),
    .state_bytes = state_bytes,
    .prepare = prepare,
    .update = update};
