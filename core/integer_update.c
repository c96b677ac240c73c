/* core/integer_update.h: the scalar forms, and the pass that hands runs of weights of one channel
 * to core/kernel_update.c. */
#include "core/integer_update.h"

#include <math.h>
#include <omp.h>

#include "core/kernel_table.h"
#include "core/rng.h"
#include "core/store.h"

int64_t bg_tune_bits(int64_t g, int bits, enum bg_tune tune)
{
    const int64_t low = g >> bits, rest = g & (((int64_t)1 << bits) - 1);
    const int64_t half = bits > 0 ? (int64_t)1 << (bits - 1) : 1;

    if (tune == BG_TUNE_TRUNC)
        return low + (g < 0 && rest != 0);
    if (tune == BG_TUNE_NEAREST)
        return low + (rest > half || (rest == half && (low & 1) != 0));
    return low;
}

static struct bg_split cut(int64_t total, int r, const int64_t limits[2])
{
    const int64_t full = ((int64_t)1 << r) - 1;
    struct bg_split out = {.weight = total >> r, .low = total & full};

    if (out.weight < limits[0])
        out = (struct bg_split){limits[0], 0, true};
    else if (out.weight > limits[1])
        out = (struct bg_split){limits[1], full, true};
    return out;
}

static int64_t times_power(int64_t x, int r)
{
    return x * ((int64_t)1 << r);
}

struct bg_split bg_residual_mapping(const struct bg_split *from, int64_t sum, int r,
                                    const int64_t limits[2])
{
    return cut(times_power(from->weight, r) + (sum + from->low), r, limits);
}

struct bg_split bg_residual_concat(const struct bg_split *from, int64_t sum, int r,
                                   const int64_t limits[2])
{
    const int64_t full = ((int64_t)1 << r) - 1, sign = from->low < 0 ? -1 : 0;
    const int64_t joined = times_power(from->weight, r) | (from->low & full); /* C */
    const int64_t padding = times_power(sign, r);                             /* Pd */

    return cut(joined + padding + sum, r, limits);
}

int64_t bg_threshold_effective(int64_t a, int t, enum bg_fire fire)
{
    const int64_t theta = (int64_t)1 << t, low = theta - 1;
    int64_t rest = 0;

    switch (fire) {
    case BG_FIRE_BIT_RULE: /* the moved bits become the sign */
        rest = a < 0 ? (a & low) - theta : a & low;
        break;
    case BG_FIRE_NEAREST:
        rest = ((a + theta / 2) & low) - theta / 2;
        break;
    case BG_FIRE_FLOOR:
        rest = a & low;
        break;
    default:
        rest = a < 0 ? -(-a & low) : a & low;
        break;
    }
    return a - rest;
}

struct bg_buffer bg_threshold_check(const struct bg_buffer *from, const int r_n[2],
                                    enum bg_fire fire, const int64_t limits[2])
{
    const int64_t effective = bg_threshold_effective(from->sum, r_n[0] + r_n[1], fire);
    struct bg_buffer out = {.weight = from->weight + (effective >> r_n[0]),
                            .sum = from->sum - effective,
                            .dropped = from->dropped};
    const int64_t wanted = out.weight;

    out.weight = wanted < limits[0] ? limits[0] : wanted > limits[1] ? limits[1] : wanted;
    out.dropped += wanted - out.weight;
    return out;
}

struct bg_buffer bg_threshold_point(const struct bg_buffer *from, int r, int k)
{
    const int64_t step = (int64_t)1 << k, kept = from->weight / step; /* C cuts towards zero */
    const int64_t left = from->weight - kept * step;

    return (struct bg_buffer){
        .weight = kept, .sum = from->sum + left * ((int64_t)1 << r), .dropped = from->dropped};
}

double bg_float_step(double w, int mantissa, int least_exponent)
{
    int exponent = 0;

    if (w == 0.0)
        return ldexp(1.0, least_exponent - mantissa);
    (void)frexp(fabs(w), &exponent); /* in [1/2, 1) */
    exponent -= 1;
    return ldexp(1.0, (exponent < least_exponent ? least_exponent : exponent) - mantissa);
}

int bg_second_bias(double step, int field_max, int headroom)
{
    return field_max - (ilogb(step) + headroom);
}

/* The exponent of the last bit of x in the format. */
static int last_exponent(const struct bg_float_format *format, double x)
{
    const int e = x == 0.0 ? format->least : ilogb(x);

    return (e < format->least ? format->least : e) - format->mantissa;
}

static double within(double x, double most)
{
    x = isnan(x) ? 0.0 : x;
    return x < -most ? -most : x > most ? most : x;
}

double bg_float_round(const struct bg_float_format *format, double x, enum bg_tune tune)
{
    const double near = within(x, bg_float_most(format));
    const int e = last_exponent(format, near);
    const double units = ldexp(near, -e);

    return ldexp(tune == BG_TUNE_NEAREST ? nearbyint(units)
                 : tune == BG_TUNE_TRUNC ? trunc(units)
                                         : floor(units),
                 e);
}

double bg_float_chance(const struct bg_float_format *format, double x, double draw)
{
    const double near = within(x, bg_float_most(format));
    const int e = last_exponent(format, near);
    const double units = ldexp(near, -e), below = floor(units);

    return ldexp(below + (draw < units - below ? 1.0 : 0.0), e);
}

struct bg_float_buffer bg_threshold_float(const struct bg_float_buffer *from,
                                          const struct bg_float_format *weight,
                                          const struct bg_float_format *buffer, int n,
                                          enum bg_fire fire)
{
    const double theta = ldexp(bg_float_step(from->weight, weight->mantissa, weight->least), n);
    const double units = from->sum / theta, most = bg_float_most(weight);
    const double moved = theta * (fire == BG_FIRE_NEAREST ? floor(units + 0.5) : trunc(units));
    const double wanted = from->weight + moved, held = within(wanted, most);
    const int e = last_exponent(weight, held);
    const double now = ldexp(trunc(ldexp(held, -e)), e);
    const double left = held == wanted ? from->weight + from->sum - now : from->sum - moved;

    return (struct bg_float_buffer){.weight = now,
                                    .sum = bg_float_round(buffer, left, BG_TUNE_NEAREST),
                                    .dropped = from->dropped + (wanted - held)};
}

struct pass {
    struct bg_param *param;
    const struct bg_store_step *step;
    int64_t each; /* weights of a row, which has one channel */
    uint64_t seed;
    int64_t written, saturated, lost, kept, beyond;
};

static int32_t buffer_limit(const struct bg_store *store, int r)
{
    return (1 << (bg_store_buffer_bits(store, r) - 1)) - 1;
}

/* In last bits. A single move beyond this says nothing more: the weight is at its end, or the
 * buffer full. */
static int32_t largest_move(const struct bg_store *store, const struct bg_store_step *step, int r)
{
    const int bits = store->spec.bits + store->spec.low + store->spec.room + store->spec.finer + 1;
    const int32_t most = bits < 30 ? 1 << bits : 1 << 30;
    const int32_t room = store->spec.form == BG_STORE_BUFFER ? buffer_limit(store, r) : most;

    return step->largest > 0 && step->largest < room ? (int32_t)step->largest : room;
}

/* What the grid says. */
static void set_grid(const struct pass *pass, int64_t row, struct bg_kernel_update *in)
{
    const struct bg_store *store = pass->param->store;
    const struct bg_grid *grid = &pass->param->quantizer->grid;
    const int64_t channel = grid->channels == 1 ? 0 : row;
    const int r = store->shift[channel];
    const float power = (float)(1 << r);

    in->scale = grid->scale[channel];
    in->last = grid->scale[channel] / power;
    in->inverse = power / grid->scale[channel];
    in->shift = r;
    in->half = store->spec.half && r > 0 ? 1 << (r - 1) : 0;
    in->qmin = grid->qmin;
    in->qmax = grid->qmax;
    in->largest = largest_move(store, pass->step, r);
    in->limit = store->spec.form == BG_STORE_BUFFER ? buffer_limit(store, r) : 0;
    in->theta = r + pass->step->bit;
}

static void set_floats(const struct pass *pass, struct bg_kernel_update *in)
{
    const struct bg_store *store = pass->param->store;

    for (int part = 0; part < 2; part++) {
        in->floats[part] = bg_store_format(store, (enum bg_float_part)part);
        in->exponent[part] = store->spec.exponent[part];
        in->most[part] = (float)bg_float_most(&in->floats[part]);
    }
    in->theta = pass->step->bit;
}

/* What all rows have in common. */
static struct bg_kernel_update call_of(const struct pass *pass)
{
    const struct bg_store *store = pass->param->store;
    const struct bg_store_step *step = pass->step;
    struct bg_kernel_update in = {
        .n = pass->each,
        .format = store->spec.momentum,
        .form = store->spec.form,
        .code_bytes = store->code_bytes,
        .below_bytes = store->below_bytes,
        .lr = (float)step->lr,
        .mu = (float)step->momentum,
        .decay = (float)step->decay,
        .nesterov = step->nesterov,
        .gradient = step->gradient,
        .check = step->check,
        .finer = store->spec.finer,
        .tune = step->tune,
        .fire = step->fire,
        .rng = {.seed = pass->seed, .stream = BG_STREAM_ROUNDING, .step = (uint32_t)step->step}};

    if (store->spec.form == BG_STORE_FLOAT)
        set_floats(pass, &in);
    return in;
}

static char *offset(void *array, int64_t at, int bytes)
{
    return array == NULL ? NULL : (char *)array + at * bytes;
}

static void move_row(const struct pass *pass, int64_t row, struct bg_kernel_update *in)
{
    const struct bg_param *param = pass->param;
    const struct bg_store *store = param->store;
    const int64_t at = row * pass->each;

    if (store->spec.form != BG_STORE_FLOAT)
        set_grid(pass, row, in);
    in->grad = bg_f32(&param->grad) + at;
    in->state = param->state.data == NULL ? NULL : bg_f32(&param->state) + at;
    in->momentum = offset(store->momentum, at, store->momentum_bytes);
    in->codes = offset(store->codes, at, store->code_bytes);
    in->below = offset(store->below, at, store->below_bytes);
    in->sum = store->sum == NULL ? NULL : store->sum + at;
    in->index = at;
    bg_kernel_tables()->update->run(in);
}

static void count(struct pass *pass, const struct bg_kernel_update *in)
{
#pragma omp atomic
    pass->written += in->written;
#pragma omp atomic
    pass->saturated += in->saturated;
#pragma omp atomic
    pass->lost += in->lost;
#pragma omp atomic
    pass->kept += in->kept;
#pragma omp atomic
    pass->beyond += in->beyond;
}

/* Called from threads that have rows of their own, or for all of them. */
static void move(void *self, int64_t first, int64_t n)
{
    struct pass *pass = self;
    const int64_t from = first / pass->each, to = from + n / pass->each;

    if (n < BG_KERNEL_SMALL || omp_in_parallel()) {
        struct bg_kernel_update in = call_of(pass);
        for (int64_t row = from; row < to; row++)
            move_row(pass, row, &in);
        count(pass, &in);
        return;
    }
#pragma omp parallel
    {
        struct bg_kernel_update in = call_of(pass);
#pragma omp for schedule(static) nowait
        for (int64_t row = from; row < to; row++)
            move_row(pass, row, &in);
        count(pass, &in);
    }
}

void bg_integer_update(struct bg_param *param, const struct bg_store_step *step)
{
    struct bg_store *store = param->store;
    struct pass pass = {.param = param,
                        .step = step,
                        .each = store->count / param->value.shape.dims[0],
                        .seed = bg_rng_hash(step->seed, param->name)};

    bg_param_move(param, move, &pass);
    store->updates += store->count;
    store->written += pass.written;
    store->saturated += pass.saturated;
    store->lost += pass.lost;
    store->kept += pass.kept;
    store->beyond += pass.beyond;
}

double bg_integer_most(const struct bg_param *param, const struct bg_store_step *step)
{
    const struct bg_store *store = param->store;

    if (store->spec.form == BG_STORE_FLOAT) {
        const struct bg_float_format format = bg_store_format(store, BG_FLOAT_BUFFER);
        return bg_float_most(&format);
    }
    return ldexp((double)largest_move(store, step, store->shift[0]) *
                     (double)param->quantizer->grid.scale[0],
                 -store->shift[0] - store->spec.finer);
}
