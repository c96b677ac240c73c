/* Counting what updates do (policies/moves.h). Nothing here changes a weight or costs the update's
 * loop anything: a sample of at most 512 weights of a layer is computed beside it, in f64, from the
 * gradient and the momentum that the update is about to read. */
#include "policies/moves.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "core/store.h"
#include "policies/step.h"

static void counts_of(const struct bg_param *param, int64_t out[BG_MOVE_COUNTS])
{
    const struct bg_store *store = param->store;

    memset(out, 0, BG_MOVE_COUNTS * sizeof *out);
    if (store == NULL)
        return;
    out[0] = store->written;
    out[1] = store->lost;
    out[2] = store->saturated;
    out[3] = store->beyond;
    out[4] = store->kept;
}

static double mean_scale(const struct bg_grid *grid)
{
    double sum = 0;

    for (int64_t c = 0; c < grid->channels; c++)
        sum += (double)grid->scale[c];
    return sum / (double)grid->channels;
}

/* A layer without a grid is measured as if it had 8 bits. */
static double unit_of(const struct bg_param *param)
{
    const int64_t count = bg_tensor_count(&param->value);
    double most = 0;

    if (param->quantizer != NULL)
        return mean_scale(&param->quantizer->grid);
    for (int64_t i = 0; i < count; i++) {
        float value = 0;
        bg_param_read(param, i, 1, &value);
        most = fmax(most, fabs((double)value));
    }
    return most / 127;
}

void bg_moves_begin(struct bg_move_state *state, const struct bg_param *param)
{
    *state = (struct bg_move_state){.now = {.unit = unit_of(param)}};
    counts_of(param, state->base);
}

/* Of the channel that has most: grids and points that move leave channels different ones. */
static int below_of(const struct bg_store *store)
{
    int most = 0;

    if (store == NULL)
        return 0;
    if (store->spec.form == BG_STORE_KAHAN)
        return 16;
    if (store->spec.form == BG_STORE_FLOAT)
        return store->spec.buffer;
    for (int64_t c = 0; c < store->channels; c++)
        most = store->shift[c] > most ? store->shift[c] : most;
    return store->spec.form == BG_STORE_SPLIT ? most : bg_store_buffer_bits(store, most);
}

void bg_moves_take(const struct bg_move_state *state, const struct bg_param *param,
                   struct bg_moves *out)
{
    int64_t *const to[BG_MOVE_COUNTS] = {&out->written, &out->lost, &out->saturated, &out->beyond,
                                         &out->kept};
    int64_t counts[BG_MOVE_COUNTS];

    *out = state->now;
    out->counted = param->store != NULL;
    out->weight_bits = param->quantizer == NULL ? 0 : param->quantizer->grid.bits;
    out->below_bits = below_of(param->store);
    counts_of(param, counts);
    for (int i = 0; i < BG_MOVE_COUNTS; i++)
        *to[i] = counts[i] > state->base[i] ? counts[i] - state->base[i] : 0;
}

static double momentum_at(const struct bg_param *param, int64_t index)
{
    const struct bg_store *store = param->store;
    uint32_t bits = 0;
    float value = 0;

    if (store == NULL || store->spec.momentum == BG_STORE_MOMENTUM_F32)
        return param->state.data == NULL ? 0 : (double)bg_f32(&param->state)[index];
    if (store->spec.momentum == BG_STORE_MOMENTUM_NONE)
        return 0;
    if (store->spec.momentum == BG_STORE_MOMENTUM_BF16) {
        bits = (uint32_t)((const uint16_t *)store->momentum)[index] << 16;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    if (param->quantizer == NULL) /* s16 is of a grid */
        return 0;
    const int64_t channel = index / (store->count / store->channels);
    return ((const int16_t *)store->momentum)[index] / 16.0 *
           ldexp((double)param->quantizer->grid.scale[channel], -store->shift[channel]);
}

/* The optimizer's step of one weight; `folded`: the learning rate is in the momentum
 * (core/NUMERICS.md, "Integer updates"). */
static double step_at(const struct bg_param *param, const struct bg_move_call *call, bool folded,
                      int64_t index)
{
    const struct bg_optimizer *o = call->options;
    const double lr = call->moment->lr, decay = call->decay ? o->weight_decay : 0;
    const double before = momentum_at(param, index);
    double g = (double)bg_f32(&param->grad)[index], m = 0;
    float weight = 0;

    if (decay > 0) {
        bg_param_read(param, index, 1, &weight);
        g += decay * (double)weight;
    }
    if (folded)
        g *= -lr;
    m = o->momentum * before + g;
    if (o->nesterov)
        m = g + o->momentum * m;
    return fabs(folded ? m : lr * m);
}

static void add(struct bg_moves *now, double ratio, double lr)
{
    int exponent = 0;

    if (!isfinite(ratio))
        return;
    now->sampled++;
    now->sum += ratio;
    now->rates += lr;
    if (ratio <= 0) {
        now->zero++;
        return;
    }
    (void)frexp(ratio, &exponent); /* ratio is 2^(exponent-1) to 2^exponent */
    exponent = exponent > 1 ? 1 : exponent;
    now->octave[1 - exponent < BG_MOVE_OCTAVES ? 1 - exponent : BG_MOVE_OCTAVES - 1]++;
}

/* Is the learning rate in the momentum? */
static bool is_folded(const struct bg_move_call *call)
{
    const struct bg_integer_options *integer = call->options; /* core/method.h, prepare */

    return call->method->prepare != NULL &&
           (integer->quantise == 1 || integer->momentum_format == BG_STORE_MOMENTUM_S16);
}

static void sample(struct bg_moves *now, const struct bg_param *param,
                   const struct bg_move_call *call)
{
    const bool folded = is_folded(call);
    const int64_t count = bg_tensor_count(&param->value);
    const int64_t each = count > BG_MOVE_SAMPLE ? (count + BG_MOVE_SAMPLE - 1) / BG_MOVE_SAMPLE : 1;
    const struct bg_grid *grid = param->quantizer == NULL ? NULL : &param->quantizer->grid;
    const int64_t row = grid == NULL ? count : count / grid->channels;
    const int64_t first = (int64_t)(bg_rng_hash(call->moment->step, param->name) % (uint64_t)each);

    if (grid != NULL)
        now->unit = mean_scale(grid);
    for (int64_t i = first; i < count; i += each) {
        const double unit = grid == NULL ? now->unit : (double)grid->scale[i / row];
        add(now, step_at(param, call, folded, i) / unit, call->moment->lr);
    }
}

void bg_moves_count(struct bg_move_state *state, const struct bg_param *param,
                    const struct bg_move_call *call)
{
    state->now.updates += bg_tensor_count(&param->value);
    if (call->sample)
        sample(&state->now, param, call);
}

#define INTEGERS (3 + BG_MOVE_COUNTS + BG_MOVE_OCTAVES)
#define REALS    3

/* To a row of numbers or, with `load`, from it. */
static void integers(struct bg_move_state *state, int64_t row[INTEGERS], bool load)
{
    struct bg_moves *now = &state->now;
    int64_t *at[INTEGERS] = {&now->updates, &now->sampled, &now->zero};

    for (int i = 0; i < BG_MOVE_COUNTS; i++)
        at[3 + i] = &state->base[i];
    for (int i = 0; i < BG_MOVE_OCTAVES; i++)
        at[3 + BG_MOVE_COUNTS + i] = &now->octave[i];
    for (int i = 0; i < INTEGERS; i++)
        *(load ? at[i] : &row[i]) = *(load ? &row[i] : at[i]);
}

static void reals(struct bg_move_state *state, double row[REALS], bool load)
{
    double *const at[REALS] = {&state->now.unit, &state->now.sum, &state->now.rates};

    for (int i = 0; i < REALS; i++)
        *(load ? at[i] : &row[i]) = *(load ? &row[i] : at[i]);
}

enum bg_status bg_moves_save(const struct bg_move_state *state, int layers, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    int64_t *whole = NULL;
    double *real = NULL;
    const int64_t dims[2] = {layers, INTEGERS}, two[2] = {layers, REALS};

    TRY(bg_alloc(&whole, (int64_t)layers * INTEGERS, sizeof *whole));
    TRY(bg_alloc(&real, (int64_t)layers * REALS, sizeof *real));
    for (int i = 0; i < layers; i++) {
        struct bg_move_state copy = state[i];
        integers(&copy, whole + (int64_t)i * INTEGERS, false);
        reals(&copy, real + (int64_t)i * REALS, false);
    }
    TRY(bg_h5_write(file, "trainer/moves/counts", BG_H5_S64, 2, dims, whole, false));
    TRY(bg_h5_write(file, "trainer/moves/sums", BG_H5_F64, 2, two, real, false));
out:
    bg_free(real);
    bg_free(whole);
    return rc;
}

static enum bg_status check(const int64_t *whole, const double *real, int layers)
{
    for (int64_t i = 0; i < (int64_t)layers * INTEGERS; i++)
        if (whole[i] < 0 || whole[i] > INT64_MAX / 2)
            return bg_fail(BG_E_DATA, "trainer/moves/counts: entry %lld is %lld", (long long)i,
                           (long long)whole[i]);
    for (int64_t i = 0; i < (int64_t)layers * REALS; i++)
        if (!(real[i] >= 0) || !isfinite(real[i]))
            return bg_fail(BG_E_DATA, "trainer/moves/sums: entry %lld is %g", (long long)i,
                           real[i]);
    return BG_OK;
}

enum bg_status bg_moves_load(struct bg_move_state *state, int layers, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    int64_t *whole = NULL;
    double *real = NULL;
    const int64_t dims[2] = {layers, INTEGERS}, two[2] = {layers, REALS};

    TRY(bg_alloc(&whole, (int64_t)layers * INTEGERS, sizeof *whole));
    TRY(bg_alloc(&real, (int64_t)layers * REALS, sizeof *real));
    TRY(bg_h5_read(file, "trainer/moves/counts", BG_H5_S64, 2, dims, whole,
                   (int64_t)layers * INTEGERS * (int64_t)sizeof *whole));
    TRY(bg_h5_read(file, "trainer/moves/sums", BG_H5_F64, 2, two, real,
                   (int64_t)layers * REALS * (int64_t)sizeof *real));
    TRY(check(whole, real, layers));
    for (int i = 0; i < layers; i++) {
        state[i] = (struct bg_move_state){0};
        integers(&state[i], whole + (int64_t)i * INTEGERS, true);
        reals(&state[i], real + (int64_t)i * REALS, true);
    }
out:
    bg_free(real);
    bg_free(whole);
    return rc;
}
