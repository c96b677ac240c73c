/* Storage of weights in integers: making, reading, writing, re-fitting. */
#include "core/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/store_float.h"

static int bytes_of(int bits)
{
    return bits == 0 ? 0 : bits <= 8 ? 1 : bits <= 16 ? 2 : 4;
}

enum bg_status bg_store_make(struct bg_store **out, const struct bg_store_spec *spec, int64_t count,
                             int64_t channels)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = NULL;

    *out = NULL;
    TRY(bg_store_check(spec));
    TRY(bg_alloc(&store, 1, sizeof *store));
    store->spec = *spec;
    store->count = count;
    store->channels = channels;
    store->code_bytes = bytes_of(spec->bits);
    store->below_bytes = spec->form == BG_STORE_KAHAN    ? 4
                         : spec->form == BG_STORE_FLOAT  ? bytes_of(spec->buffer)
                         : spec->form == BG_STORE_BUFFER ? bytes_of(spec->buffer + spec->room)
                                                         : bytes_of(spec->low + spec->room);
    store->momentum_bytes =
        spec->momentum == BG_STORE_MOMENTUM_BF16 || spec->momentum == BG_STORE_MOMENTUM_S16 ? 2 : 0;
    TRY(bg_alloc(&store->codes, count, (size_t)store->code_bytes));
    if (store->below_bytes > 0)
        TRY(bg_alloc(&store->below, count, (size_t)store->below_bytes));
    if (spec->gradients > 1)
        TRY(bg_alloc(&store->sum, count, sizeof *store->sum));
    if (store->momentum_bytes > 0)
        TRY(bg_alloc(&store->momentum, count, (size_t)store->momentum_bytes));
    TRY(bg_alloc(&store->shift, channels, 1));
    memset(store->shift,
           spec->form == BG_STORE_KAHAN || spec->form == BG_STORE_FLOAT ? 0 : spec->low,
           (size_t)channels);
    *out = store;
    store = NULL;
out:
    bg_store_free(store);
    return rc;
}

void bg_store_free(struct bg_store *store)
{
    if (store == NULL)
        return;
    bg_free(store->codes);
    bg_free(store->below);
    bg_free(store->sum);
    bg_free(store->momentum);
    bg_free(store->shift);
    bg_free(store);
}

void bg_store_take_counts(struct bg_store *to, const struct bg_store *from)
{
    to->updates = from->updates;
    to->written = from->written;
    to->saturated = from->saturated;
    to->lost = from->lost;
    to->kept = from->kept;
    to->beyond = from->beyond;
    to->dropped = from->dropped;
}

void bg_store_assign(struct bg_store *to, const struct bg_store *from)
{
    const size_t count = (size_t)from->count;

    memcpy(to->codes, from->codes, count * (size_t)from->code_bytes);
    if (from->below != NULL)
        memcpy(to->below, from->below, count * (size_t)from->below_bytes);
    if (from->sum != NULL)
        memcpy(to->sum, from->sum, count * sizeof *to->sum);
    if (from->momentum != NULL)
        memcpy(to->momentum, from->momentum, count * (size_t)from->momentum_bytes);
    memcpy(to->shift, from->shift, (size_t)from->channels);
    bg_store_take_counts(to, from);
    memcpy(to->top, from->top, sizeof to->top);
}

enum bg_status bg_store_copy(struct bg_store **out, const struct bg_store *from)
{
    enum bg_status rc = BG_OK;

    TRY(bg_store_make(out, &from->spec, from->count, from->channels));
    bg_store_assign(*out, from);
out:
    return rc;
}

int32_t bg_store_code(const struct bg_store *store, int64_t index)
{
    return store->code_bytes == 1 ? ((const int8_t *)store->codes)[index]
                                  : ((const int16_t *)store->codes)[index];
}

int32_t bg_store_below(const struct bg_store *store, int64_t index)
{
    const bool sign = store->spec.form == BG_STORE_BUFFER;

    switch (store->below_bytes) {
    case 0:
        return 0;
    case 1:
        return sign ? ((const int8_t *)store->below)[index]
                    : ((const uint8_t *)store->below)[index];
    case 2:
        return sign ? ((const int16_t *)store->below)[index]
                    : ((const uint16_t *)store->below)[index];
    default:
        return ((const int32_t *)store->below)[index];
    }
}

void bg_store_set(struct bg_store *store, int64_t index, int32_t code, int32_t below)
{
    if (store->code_bytes == 1)
        ((int8_t *)store->codes)[index] = (int8_t)code;
    else
        ((int16_t *)store->codes)[index] = (int16_t)code;
    if (store->below_bytes == 1)
        ((uint8_t *)store->below)[index] = (uint8_t)below;
    else if (store->below_bytes == 2)
        ((uint16_t *)store->below)[index] = (uint16_t)below;
    else if (store->below_bytes == 4)
        ((int32_t *)store->below)[index] = below;
}

int32_t bg_store_half(const struct bg_store *store, int r)
{
    return store->spec.half && r > 0 ? 1 << (r - 1) : 0;
}

int64_t bg_store_total(const struct bg_store *store, int64_t index, int r)
{
    return bg_store_code(store, index) * ((int64_t)1 << r) + bg_store_below(store, index) -
           bg_store_half(store, r);
}

int bg_store_buffer_bits(const struct bg_store *store, int r)
{
    return store->spec.buffer + r - store->spec.low;
}

static float from_bf16(uint32_t bits)
{
    float x;

    bits <<= 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
}

/* Rounds to the grid, then holds the code in it; true when that changed it. */
static bool held(const struct bg_grid *grid, double x, int32_t *out)
{
    const double least = grid->qmin, most = grid->qmax;

    *out = (int32_t)nearbyint(fmin(fmax(x, least), most));
    return x < least - 0.5 || x > most + 0.5;
}

static bool encode_kahan(struct bg_store *store, const struct bg_grid *grid, int64_t channel,
                         int64_t index, float value)
{
    const uint32_t w = to_bf16(value);
    const float error = from_bf16(w) - value; /* exact: what bf16 has too much */
    int32_t code = 0;
    const bool outside = held(grid, (double)(from_bf16(w) / grid->scale[channel]), &code);

    bg_store_set(store, index, code, (int32_t)(w | to_bf16(error) << 16));
    return outside;
}

static bool encode_one(struct bg_store *store, const struct bg_grid *grid, int64_t channel,
                       int64_t index, float value)
{
    const int r = store->shift[channel];
    const double unit = ldexp((double)grid->scale[channel], -r), full = ldexp(1.0, r) - 1.0;
    double total = nearbyint((double)value / unit) + bg_store_half(store, r);
    int32_t code = 0;
    bool outside = false;

    if (store->spec.form == BG_STORE_KAHAN)
        return encode_kahan(store, grid, channel, index, value);
    if (store->spec.form == BG_STORE_BUFFER) {
        outside = held(grid, total * ldexp(1.0, -r), &code);
        total -= ldexp(code, r);
        total = fmin(fmax(total, -full), full);
        bg_store_set(store, index, code, (int32_t)total);
        return outside;
    }
    if (total < ldexp(grid->qmin, r)) {
        bg_store_set(store, index, grid->qmin, 0);
        return true;
    }
    if (total > ldexp(grid->qmax, r) + full) {
        bg_store_set(store, index, grid->qmax, (int32_t)full);
        return true;
    }
    code = (int32_t)floor(total * ldexp(1.0, -r));
    bg_store_set(store, index, code, (int32_t)(total - ldexp(code, r)));
    return false;
}

void bg_store_put(struct bg_store *store, const struct bg_grid *grid, int64_t index, float value)
{
    const int64_t each = store->count / store->channels;

    if (store->spec.form == BG_STORE_FLOAT)
        store->saturated += bg_store_put_float(store, index, value);
    else
        store->saturated += encode_one(store, grid, index / each, index, value);
}

void bg_store_encode(struct bg_store *store, const struct bg_grid *grid, const float *values)
{
    for (int64_t i = 0; i < store->count; i++)
        bg_store_put(store, grid, i, values[i]);
}

void bg_store_decode(const struct bg_store *store, const struct bg_grid *grid, int64_t first,
                     int64_t n, float *values)
{
    const int64_t each = store->count / store->channels;

    if (store->spec.form == BG_STORE_FLOAT) {
        bg_store_read_floats(store, first, n, values);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = first + i, channel = at / each;
        const int r = store->shift[channel];
        const int32_t below = bg_store_below(store, at);
        const double waits = store->sum == NULL ? 0 : ldexp(store->sum[at], -store->spec.finer);
        const double total =
            ldexp(bg_store_code(store, at), r) + below - bg_store_half(store, r) + waits;
        const uint32_t pair = (uint32_t)below;
        if (store->spec.form == BG_STORE_KAHAN)
            values[i] = from_bf16(pair & 0xffffu) - from_bf16(pair >> 16);
        else
            values[i] = (float)(total * ldexp((double)grid->scale[channel], -r));
    }
}

const struct bg_grid *bg_param_grid(const struct bg_param *param)
{
    return param->quantizer == NULL ? NULL : &param->quantizer->grid;
}

void bg_param_read(const struct bg_param *param, int64_t first, int64_t n, float *values)
{
    if (param->store != NULL)
        bg_store_decode(param->store, bg_param_grid(param), first, n, values);
    else
        memcpy(values, bg_f32(&param->value) + first, (size_t)n * sizeof *values);
}

const int8_t *bg_store_s8(const struct bg_param *param)
{
    const struct bg_store *store = param->store;

    return store != NULL && store->code_bytes == 1 && store->spec.form != BG_STORE_FLOAT
               ? store->codes
               : NULL;
}

static enum bg_status valid_shifts(const struct bg_store *store, const char *name)
{
    const bool split = store->spec.form == BG_STORE_SPLIT || store->spec.moves;
    const int low = store->spec.form == BG_STORE_KAHAN ? 0 : store->spec.low;
    const int least = split ? 0 : low, most = split ? low + store->spec.room : low;

    for (int64_t c = 0; c < store->channels; c++)
        if (store->shift[c] < least || store->shift[c] > most)
            return bg_fail(BG_E_DATA, "%s: channel %lld has %d bits below, limits are %d and %d",
                           name, (long long)c, store->shift[c], least, most);
    return BG_OK;
}

/* Kahan's pair is of finite numbers, others lie in their bits. */
static bool valid_below(const struct bg_store *store, int32_t below, int shift)
{
    const uint32_t pair = (uint32_t)below;
    const int32_t most = store->spec.form == BG_STORE_BUFFER
                             ? 1 << (bg_store_buffer_bits(store, shift) - 1)
                             : 1 << shift;

    if (store->spec.form == BG_STORE_KAHAN)
        return isfinite(from_bf16(pair & 0xffffu)) && isfinite(from_bf16(pair >> 16));
    return below < most && below > (store->spec.form == BG_STORE_BUFFER ? -most : -1);
}

enum bg_status bg_store_valid(const struct bg_store *store, const struct bg_grid *grid,
                              const char *name)
{
    enum bg_status rc = BG_OK;
    const int64_t each = store->count / store->channels;

    if (store->spec.form == BG_STORE_FLOAT) {
        TRY(bg_store_valid_floats(store, name));
        goto out;
    }
    TRY(valid_shifts(store, name));
    for (int64_t i = 0; i < store->count; i++) {
        const int32_t code = bg_store_code(store, i), below = bg_store_below(store, i);
        if (code < grid->qmin || code > grid->qmax)
            FAIL(BG_E_DATA, "%s: code %lld is %d, limits are %d and %d", name, (long long)i, code,
                 grid->qmin, grid->qmax);
        if (!valid_below(store, below, store->shift[i / each]))
            FAIL(BG_E_DATA, "%s: residual %lld is %d, which its %d bits cannot be", name,
                 (long long)i, below, store->shift[i / each]);
        if (store->sum != NULL && llabs((long long)store->sum[i]) > BG_STORE_SUM_MOST)
            FAIL(BG_E_DATA, "%s: sum %lld is %d, limit is %d", name, (long long)i, store->sum[i],
                 BG_STORE_SUM_MOST);
    }
out:
    return rc;
}

void bg_param_bytes(const struct bg_param *param, struct bg_store_bytes *out)
{
    const struct bg_store *store = param->store;
    const int64_t count = bg_tensor_count(&param->value), words = (int64_t)sizeof(float) * count;

    *out = (struct bg_store_bytes){.weights = count};
    out->values = param->value.data != NULL ? words : 0;
    if (param->forward.data != NULL && param->forward.data != param->value.data)
        out->values += words;
    out->momentum = param->state.data != NULL ? words : 0;
    out->gradient = param->grad.data != NULL ? words : 0;
    if (store == NULL)
        return;
    out->codes = count * store->code_bytes;
    out->below = count * store->below_bytes + store->channels;
    if (store->sum != NULL)
        out->below += count * (int64_t)sizeof *store->sum;
    out->momentum += count * store->momentum_bytes;
}
