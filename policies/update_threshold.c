/* Accumulation buffer (P3 of policies/METHODS.md): steps are summed in a buffer beside the weight;
 * when the sum reaches theta, the value of a bit of the weight (the last, or bit n above it), the
 * part that is a multiple of theta moves to the weight. A buffer of N bits has its sign, `overlap`
 * bits that lie over the weight's and N - 1 - overlap below the weight's last bit.
 *
 * Forms: integers with any step; fixed point, the same arithmetic with steps that are powers of
 * two, so that weight and buffer have a point; dynamic fixed point, whose point moves when weights
 * reach the end of their bits or leave half of them empty; and floating point, for layers with
 * w=f32: weight and buffer are small floats, the buffer's bias (the second one) is such that its
 * largest numbers cover the largest weight's last bit 2^overlap times. */
#include "policies/step.h"

struct threshold_options {
    struct bg_integer_options integer;
    int64_t bits, overlap, period, bit, least, most;
    int64_t exponent, mantissa, buffer_exponent;
    int tune, rounding, form;
    bool adapt;
    double ratio_low, ratio_high;
};

enum { FORM_INTEGER, FORM_FIXED, FORM_DYNAMIC, FORM_FLOAT };

static const char *const tunes[] = {"nearest", "floor", "trunc", "stochastic", NULL};
static const char *const forms[] = {"integer", "fixed", "dynamic", "float", NULL};
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
    {.key = "form",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct threshold_options, form),
     .fallback = "integer",
     .choices = forms,
     .help = "fixed: the same with steps that are powers of two; dynamic: fixed point that moves "
             "with the weights, looked at every refit_every steps; float: small floats, for w=f32"},
    {.key = "exponent",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, exponent),
     .fallback = "5",
     .min = 2,
     .max = 5,
     .help = "form float: bits of a weight's exponent; its bias follows from the largest weight at "
             "the start, times headroom"},
    {.key = "mantissa",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, mantissa),
     .fallback = "10",
     .min = 1,
     .max = 13,
     .help = "form float: bits of a weight's mantissa, 16 at most with exponent and sign"},
    {.key = "buffer_exponent",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, buffer_exponent),
     .fallback = "5",
     .min = 2,
     .max = 6,
     .help = "form float: bits of the buffer's exponent; what remains of `bits` is its mantissa"},
    {.key = "adapt",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct threshold_options, adapt),
     .fallback = "false",
     .help = "every refit_every checks, one bit more below the weight when the share of weights "
             "that moved is below ratio_low, one less above ratio_high; memory is that of "
             "most_bits"},
    {.key = "ratio_low",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct threshold_options, ratio_low),
     .fallback = "0.001",
     .min = 0,
     .max = 1,
     .help = "adapt: share of weights moved at a check below which buffers become wider"},
    {.key = "ratio_high",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct threshold_options, ratio_high),
     .fallback = "0.1",
     .min = 0,
     .max = 1,
     .help = "adapt: share above which they become narrower"},
    {.key = "least_bits",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, least),
     .fallback = "8",
     .min = 2,
     .max = BG_STORE_LOW_MAX,
     .help = "adapt: of the narrowest buffer, with its sign"},
    {.key = "most_bits",
     .type = BG_OPT_INT,
     .offset = offsetof(struct threshold_options, most),
     .fallback = "24",
     .min = 2,
     .max = BG_STORE_LOW_MAX,
     .help = "adapt: of the widest"},
    {.key = NULL}};

/* Bits that a buffer may gain, for its point or its width. */
static int room_to_grow(const struct threshold_options *o, int bits)
{
    const int most = o->adapt ? (int)o->most : bits;
    const int moved = o->form == FORM_DYNAMIC ? bits + BG_STEP_ROOM : bits;
    const int room = (most > moved ? most : moved) - bits;

    return bits + room > BG_STORE_LOW_MAX ? BG_STORE_LOW_MAX - bits : room;
}

static bool moves(const void *options, const struct bg_param *param)
{
    const struct threshold_options *o = options;
    const struct bg_quantizer *quantizer = param->quantizer;

    return o->form == FORM_FLOAT ? quantizer == NULL : quantizer != NULL && !quantizer->grid.binary;
}

static double state_bytes(const void *options)
{
    const struct threshold_options *o = options;
    return bg_integer_bytes(&o->integer, (int)o->bits + room_to_grow(o, (int)o->bits));
}

/* Weight steps that the updates of one period may have each, so that none is cut. */
static int64_t room_of(const struct threshold_options *o)
{
    return ((INT64_C(1) << o->overlap) - (INT64_C(1) << o->bit)) / o->period;
}

static enum bg_status check_adapt(const struct threshold_options *o, const struct bg_param *param,
                                  int buffer)
{
    enum bg_status rc = BG_OK;

    if (!o->adapt)
        goto out;
    if (o->least <= o->overlap || buffer < o->least || buffer > o->most)
        FAIL(
            BG_E_RANGE,
            "%s: adapt: a buffer of %d bits between %d and %d, of which %d and a sign lie over the "
            "weight",
            param->name, buffer, (int)o->least, (int)o->most, (int)o->overlap);
    if (o->ratio_low > o->ratio_high)
        FAIL(BG_E_RANGE, "%s: adapt: ratio_low %g is above ratio_high %g", param->name,
             o->ratio_low, o->ratio_high);
out:
    return rc;
}

static enum bg_status check_room(const struct threshold_options *o, const struct bg_param *param,
                                 int buffer)
{
    enum bg_status rc = BG_OK;

    if (o->form != FORM_FLOAT && buffer - 1 - (int)o->overlap < 0)
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
out:
    return rc;
}

/* What has a meaning for integers alone. */
static enum bg_status check_float(const struct threshold_options *o, const struct bg_param *param)
{
    enum bg_status rc = BG_OK;
    const char *what = o->integer.quantise != 0               ? "quantise: gradient"
                       : o->integer.grid != BG_STEP_FIXED     ? "a grid"
                       : o->rounding == (int)BG_FIRE_FLOOR    ? "rounding: floor"
                       : o->rounding == (int)BG_FIRE_BIT_RULE ? "rounding: bit-rule"
                       : o->adapt                             ? "adapt"
                                                              : NULL;

    if (what != NULL)
        FAIL(BG_E_UNSUPPORTED,
             "%s: form: float has no bits that overlap and no grid: %s is of "
             "integers",
             param->name, what);
out:
    return rc;
}

static enum bg_status prepare_float(const struct threshold_options *o, struct bg_param *param,
                                    int buffer, bool resumed)
{
    enum bg_status rc = BG_OK;
    const struct bg_store_spec spec = {.form = BG_STORE_FLOAT,
                                       .bits = 1 + (int)(o->exponent + o->mantissa),
                                       .buffer = buffer,
                                       .exponent = {(int)o->exponent, (int)o->buffer_exponent},
                                       .over = (int)o->overlap};

    TRY(check_float(o, param));
    TRY(bg_integer_prepare(&o->integer, param, &spec, resumed));
out:
    return rc;
}

static enum bg_status prepare(const void *options, struct bg_param *param, int bits, bool resumed)
{
    enum bg_status rc = BG_OK;
    const struct threshold_options *o = options;
    const int buffer = bits != 0 ? bg_plan_bits(bits) : (int)o->bits,
              low = buffer - 1 - (int)o->overlap;
    const struct bg_store_spec spec = {.form = BG_STORE_BUFFER,
                                       .low = low,
                                       .buffer = buffer,
                                       .room = room_to_grow(o, buffer),
                                       .moves = o->adapt || o->form == FORM_DYNAMIC};
    struct bg_integer_options integer = o->integer;

    TRY(check_room(o, param, buffer));
    if (o->form == FORM_FLOAT) {
        TRY(prepare_float(o, param, buffer, resumed));
        goto out;
    }
    if (param->quantizer == NULL)
        FAIL(BG_E_UNSUPPORTED,
             "%s: u=threshold moves weights with w=f32 by form: float alone, the form is %s",
             param->name, forms[o->form]);
    TRY(check_adapt(o, param, buffer));
    if (integer.grid == BG_STEP_REFIT)
        FAIL(BG_E_UNSUPPORTED,
             "%s: grid: refit needs a residual below the weights; form: dynamic moves the point of "
             "a buffer",
             param->name);
    if (o->form != FORM_INTEGER)
        integer.grid = BG_STEP_POWER;
    TRY(bg_integer_prepare(&integer, param, &spec, resumed));
out:
    return rc;
}

/* The ratio of this check alone decides, so that a run that goes on needs no memory of others. */
static void adapt(const struct threshold_options *o, struct bg_store *store, int64_t written)
{
    const double ratio = (double)(store->written - written) / (double)store->count;

    if (ratio < o->ratio_low)
        bg_store_widen(store, 1, (int)o->least, (int)o->most);
    else if (ratio > o->ratio_high)
        bg_store_widen(store, -1, (int)o->least, (int)o->most);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    enum bg_status rc = BG_OK;
    const struct threshold_options *o = options;
    struct bg_store_step step = bg_integer_step_of(&o->integer, moment, decay);
    const int64_t written = param->store == NULL ? 0 : param->store->written;
    const uint64_t done = moment->step + 1, period = (uint64_t)o->period;

    step.tune = (enum bg_tune)o->tune;
    step.fire = (enum bg_fire)o->rounding;
    step.check = done % period == 0;
    step.bit = (int)o->bit;
    step.refit = o->form == FORM_DYNAMIC && bg_integer_looks(&o->integer, moment->step);
    TRY(bg_integer_move(param, &step));
    if (o->adapt && step.check && bg_integer_looks(&o->integer, done / period))
        adapt(o, param->store, written);
out:
    return rc;
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
    .moves = moves,
    .prepare = prepare,
    .update = update};
