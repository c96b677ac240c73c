/* A total v = T - o counts units of s * 2^-r. On a grid of step s * 2^k it is cut at bit p = r + k
 * instead: W' is what stands above, R' the rest in units of s * 2^k * 2^-r'. With p < 0 the code
 * itself gets zeros behind. Split: W' is nearest or floor as before. Buffer (METHODS.md, P3,
 * dynamic fixed point): W' = W * 2^-k cut towards zero, and what is cut off goes to the sum; a
 * finer weight takes the whole steps of the sum. */
#include "core/store_change.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

struct channel {
    const struct bg_store_change *change;
    int64_t first, each;
    int r;     /* of the old store */
    int zeros; /* that all totals of the channel end in; 63 = all are 0 */
};

/* Code and bits below of one weight, as large as they come. Exact only where enough of its last
 * bits are 0. */
static void cut(const struct channel *channel, int64_t index, int k, int64_t out[2])
{
    const struct bg_store_change *change = channel->change;
    const struct bg_store *from = change->from;
    const bool buffer = from->spec.form == BG_STORE_BUFFER;
    const int low = change->to.low, p = channel->r + k, up = p < 0 ? -p : 0, at = p + up;
    const int64_t v = bg_store_total(from, index, channel->r) * ((int64_t)1 << up);
    const int64_t half = change->to.half && at > 0 ? (int64_t)1 << (at - 1) : 0;
    const int64_t code = bg_store_code(from, index), step = (int64_t)1 << (k < 0 ? -k : k);
    int64_t rest = 0;

    out[0] = !buffer ? (v + half) >> at : k < 0 ? code * step : code / step; /* C cuts to zero */
    rest = v - out[0] * ((int64_t)1 << at);
    if (buffer && k < 0) { /* the sum is more steps of a finer weight: whole ones move to it */
        out[0] += rest / ((int64_t)1 << at);
        rest %= (int64_t)1 << at;
    }
    out[1] = low >= at ? rest * ((int64_t)1 << (low - at)) : rest >> (at - low);
    if (!buffer && change->to.half && low > 0)
        out[1] += (int64_t)1 << (low - 1);
}

static bool fits(const struct channel *channel, int64_t index, int k, int64_t out[2])
{
    const struct bg_store_change *change = channel->change;
    const struct bg_store_spec *to = &change->to;
    const int64_t room = (int64_t)1 << (to->form == BG_STORE_BUFFER ? to->buffer - 1 : to->low);
    const int64_t least = to->form == BG_STORE_BUFFER ? -room : -1;

    cut(channel, index, k, out);
    return out[0] >= change->grid->qmin && out[0] <= change->grid->qmax && out[1] < room &&
           out[1] > least;
}

/* The first weight that has no place on the grid of 2^k, or -1. */
static int64_t misfit(const struct channel *channel, int k)
{
    for (int64_t i = channel->first; i < channel->first + channel->each; i++) {
        int64_t parts[2];
        if (!fits(channel, i, k, parts))
            return i;
    }
    return -1;
}

static int zeros_of(const struct channel *channel)
{
    uint64_t bits = 0;

    for (int64_t i = channel->first; i < channel->first + channel->each; i++)
        bits |= (uint64_t)bg_store_total(channel->change->from, i, channel->r);
    return bits == 0 ? 63 : __builtin_ctzll(bits);
}

/* Why no power of two does: at `k`, the width's own, bits would be dropped, or a weight has no
 * code. A bit more leaves room for the next grid. */
static enum bg_status refuse(const struct channel *channel, int k)
{
    const struct bg_store_change *change = channel->change;
    const struct bg_store_spec *to = &change->to;
    const int extra = to->form == BG_STORE_BUFFER ? to->buffer - to->low : 0;
    const int needed = channel->r + k - channel->zeros;
    const int64_t index = misfit(channel, k);
    int64_t parts[2] = {0, 0};

    if (needed > to->low || index < 0)
        return bg_fail(BG_E_RANGE,
                       "%s: weights of %d bits with %d below them would drop bits of their values "
                       "that are not 0; at least %d below are needed, limit is %d",
                       change->name, to->bits, to->low + extra, needed + extra, BG_STORE_LOW_MAX);
    (void)fits(channel, index, k, parts);
    return bg_fail(BG_E_RANGE,
                   "%s: weight %lld would have code %lld in %d bits with %d below, limits are %d "
                   "and %d; at least %d below are needed, limit is %d",
                   change->name, (long long)index, (long long)parts[0], to->bits, to->low + extra,
                   change->grid->qmin, change->grid->qmax, to->low + extra + 1, BG_STORE_LOW_MAX);
}

/* The power of two nearest to b - b' that drops nothing and holds every weight. */
static enum bg_status choose(const struct channel *channel, int *out)
{
    const struct bg_store_change *change = channel->change;
    const int wanted = change->from->spec.bits - change->to.bits;
    const int zeros = channel->zeros < BG_STORE_LOW_MAX ? channel->zeros : BG_STORE_LOW_MAX;
    const int most = change->to.low - channel->r + zeros;
    int k = wanted < most ? wanted : most;

    if (k < -BG_BITS_MAX) /* no code could be so much larger */
        return refuse(channel, wanted);
    for (; k <= most && k <= BG_BITS_MAX; k++)
        if (misfit(channel, k) < 0) {
            *out = k;
            return BG_OK;
        }
    return refuse(channel, wanted);
}

static enum bg_status scale_by(const struct bg_store_change *change, int64_t c, int k, float *scale)
{
    const double to = ldexp((double)change->on->scale[c], k);

    if (!(to >= 0x1p-126 && to <= 0x1p111))
        return bg_fail(BG_E_RANGE, "%s: channel %lld would have a step of %g, limits are %g and %g",
                       change->name, (long long)c, to, 0x1p-126, 0x1p111);
    scale[c] = (float)to;
    return BG_OK;
}

static enum bg_status convert(const struct bg_store_change *change, int64_t c, float *scale,
                              struct bg_store *store)
{
    enum bg_status rc = BG_OK;
    struct channel channel = {.change = change,
                              .each = store->count / store->channels,
                              .first = c * (store->count / store->channels),
                              .r = change->from->shift[c]};
    int k = 0;

    channel.zeros = zeros_of(&channel);
    TRY(choose(&channel, &k));
    TRY(scale_by(change, c, k, scale));
    for (int64_t i = channel.first; i < channel.first + channel.each; i++) {
        int64_t parts[2];
        cut(&channel, i, k, parts);
        bg_store_set(store, i, (int32_t)parts[0], (int32_t)parts[1]);
    }
out:
    return rc;
}

/* The pair stays; its code is its weight rounded to the new grid. */
static enum bg_status convert_kahan(const struct bg_store_change *change, int64_t c, float *scale,
                                    struct bg_store *store)
{
    enum bg_status rc = BG_OK;
    const int64_t each = store->count / store->channels;

    TRY(scale_by(change, c, change->from->spec.bits - change->to.bits, scale));
    for (int64_t i = c * each; i < (c + 1) * each; i++) {
        const int32_t pair = bg_store_below(change->from, i);
        const uint32_t high = (uint32_t)pair << 16;
        float weight = 0, code = 0;
        memcpy(&weight, &high, sizeof weight);
        code = nearbyintf(weight / scale[c]);
        code = fminf(fmaxf(code, (float)change->grid->qmin), (float)change->grid->qmax);
        bg_store_set(store, i, (int32_t)code, pair);
    }
out:
    return rc;
}

/* s16 counts 1/16 of the last bit, whose value may have changed. */
static void take_momentum(const struct bg_store_change *change, const float *scale,
                          struct bg_store *store)
{
    const struct bg_store *from = change->from;
    const int64_t each = store->count / store->channels;

    if (store->momentum == NULL || from->spec.momentum != store->spec.momentum)
        return;
    memcpy(store->momentum, from->momentum, (size_t)(store->count * store->momentum_bytes));
    for (int64_t i = 0; store->spec.momentum == BG_STORE_MOMENTUM_S16 && i < store->count; i++) {
        const int64_t c = i / each;
        const double units = ldexp((double)change->on->scale[c] / (double)scale[c],
                                   store->shift[c] - from->shift[c]);
        const double moved = trunc(((const int16_t *)from->momentum)[i] * units);
        ((int16_t *)store->momentum)[i] = (int16_t)fmin(fmax(moved, -32767), 32767);
    }
}

/* Gradients that wait for their write: in units of the new last bit, as exactly as all else. */
static enum bg_status take_sum(const struct bg_store_change *change, const float *scale,
                               struct bg_store *store)
{
    const struct bg_store *from = change->from;
    const int64_t each = store->count / store->channels;

    for (int64_t i = 0; from->sum != NULL && i < store->count; i++) {
        const int64_t c = i / each;
        const double units =
            ldexp((double)change->on->scale[c] / (double)scale[c],
                  store->shift[c] - from->shift[c] + store->spec.finer - from->spec.finer);
        const double sum = from->sum[i] * units;
        if (sum != 0 && store->sum == NULL)
            return bg_fail(
                BG_E_RANGE,
                "%s: gradients of %d steps to one write wait, the new options write each",
                change->name, from->spec.gradients);
        if (sum != trunc(sum) || fabs(sum) > BG_STORE_SUM_MOST)
            return bg_fail(BG_E_RANGE,
                           "%s: gradients that wait for their write are %g last bits of weight "
                           "%lld, whole numbers up to %d can be kept",
                           change->name, sum, (long long)i, BG_STORE_SUM_MOST);
        if (store->sum != NULL)
            store->sum[i] = (int32_t)sum;
    }
    return BG_OK;
}

enum bg_status bg_store_convert(const struct bg_store_change *change, float *scale,
                                struct bg_store **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_store *from = change->from;
    struct bg_store *store = NULL;

    *out = NULL;
    if (change->to.form != from->spec.form || change->on->channels != from->channels)
        FAIL(BG_E_UNSUPPORTED, "%s: weights of another kind cannot take these values exactly",
             change->name);
    TRY(bg_store_make(&store, &change->to, from->count, from->channels));
    for (int64_t c = 0; c < from->channels; c++)
        if (from->spec.form == BG_STORE_KAHAN)
            TRY(convert_kahan(change, c, scale, store));
        else
            TRY(convert(change, c, scale, store));
    take_momentum(change, scale, store);
    TRY(take_sum(change, scale, store));
    bg_store_take_counts(store, from);
    *out = store;
    store = NULL;
out:
    bg_store_free(store);
    return rc;
}
