/* Grids of integer weights that move by powers of two: T keeps its last bit, only the place where
 * it is split moves, so that nothing is rounded. And buffers that become wider or narrower. */
#include <math.h>

#include "core/integer_update.h"
#include "core/store.h"

/* Weight and what is below it on the channel's grid of 2^k. A buffer takes what is cut off its
 * weight; with a finer grid it stays as it is, and the next check moves what it holds too much. */
static struct bg_buffer moved(const struct bg_store *store, int64_t index, int r, int k)
{
    const int64_t total = bg_store_total(store, index, r) + bg_store_half(store, r + k);
    const struct bg_buffer from = {.weight = bg_store_code(store, index),
                                   .sum = bg_store_below(store, index)};

    if (store->spec.form == BG_STORE_SPLIT)
        return (struct bg_buffer){.weight = total >> (r + k),
                                  .sum = total & (((int64_t)1 << (r + k)) - 1)};
    if (k > 0)
        return bg_threshold_point(&from, r, k);
    return (struct bg_buffer){.weight = from.weight * ((int64_t)1 << -k), .sum = from.sum};
}

static enum bg_status check_moved(const struct bg_param *param, const struct bg_buffer *to,
                                  int64_t index, int r)
{
    const struct bg_store *store = param->store;
    const struct bg_grid *grid = &param->quantizer->grid;
    const int bits = store->spec.form == BG_STORE_BUFFER ? bg_store_buffer_bits(store, r) : 0;
    const int64_t most = bits > 0 ? ((int64_t)1 << (bits - 1)) - 1 : 0;

    if (to->weight < grid->qmin || to->weight > grid->qmax)
        return bg_fail(BG_E_RANGE, "%s: weight %lld would have code %lld, limits are %d and %d",
                       param->name, (long long)index, (long long)to->weight, grid->qmin,
                       grid->qmax);
    if (bits > 0 && (to->sum < -most || to->sum > most))
        return bg_fail(BG_E_RANGE, "%s: buffer %lld would hold %lld, limit is %lld", param->name,
                       (long long)index, (long long)to->sum, (long long)most);
    return BG_OK;
}

enum bg_status bg_store_regrid(struct bg_param *param, int64_t channel, int k)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = param->store;
    struct bg_grid *grid = &param->quantizer->grid;
    const int64_t each = store->count / grid->channels, first = channel * each;
    const int r = store->shift[channel], to = r + k;
    const int room = store->spec.low + store->spec.room;

    if (store->spec.form != BG_STORE_SPLIT && !store->spec.moves)
        FAIL(BG_E_UNSUPPORTED, "%s: only residuals follow a grid that moves", param->name);
    if (to < 0 || to > room)
        FAIL(BG_E_RANGE, "%s: a grid of 2^%d leaves %d bits below, limits are 0 and %d",
             param->name, k, to, room);
    for (int64_t i = first; i < first + each; i++) {
        const struct bg_buffer now = moved(store, i, r, k);
        TRY(check_moved(param, &now, i, to));
    }
    for (int64_t i = first; i < first + each; i++) {
        const struct bg_buffer now = moved(store, i, r, k);
        bg_store_set(store, i, (int32_t)now.weight, (int32_t)now.sum);
    }
    store->shift[channel] = (uint8_t)to;
    grid->scale[channel] = ldexpf(grid->scale[channel], k);
out:
    return rc;
}

/* 1: a code stands at the end; -1: half of the grid would do, with a step to spare; 0: neither. */
static int wanted(const struct bg_store *store, const struct bg_grid *grid, int64_t channel)
{
    const int64_t each = store->count / grid->channels, first = channel * each;
    int32_t most = 0;

    for (int64_t i = first; i < first + each; i++) {
        const int32_t code = bg_store_code(store, i), size = code < 0 ? -code : code;
        most = size > most ? size : most;
    }
    if (most >= grid->qmax)
        return 1;
    return 2 * (most + 1) < grid->qmax ? -1 : 0;
}

void bg_store_refit(struct bg_param *param)
{
    struct bg_store *store = param->store;
    const struct bg_grid *grid = &param->quantizer->grid;

    for (int64_t c = 0; c < grid->channels; c++) {
        const int k = wanted(store, grid, c), to = store->shift[c] + k;
        if (k == 0 || to < 0 || to > store->spec.low + store->spec.room)
            continue;
        if (bg_store_regrid(param, c, k) != BG_OK)
            bg_error_clear(); /* as it is, then */
    }
}

/* The buffer's value in units of twice, or half, as much. */
static int32_t rescaled(struct bg_store *store, int32_t below, int k)
{
    if (k > 0)
        return below * 2;
    store->dropped += below & 1;
    return (int32_t)bg_tune_bits(below, 1, BG_TUNE_NEAREST);
}

/* s16 momentum of a channel in 1/16 of a last bit that is 2^-k of the one before: cut and held as
 * core/store_change.c does it. */
static void follow(struct bg_store *store, int64_t first, int64_t each, int k)
{
    int16_t *momentum = store->momentum;

    for (int64_t i = first; store->spec.momentum == BG_STORE_MOMENTUM_S16 && i < first + each; i++)
        momentum[i] = (int16_t)fmin(fmax(trunc(ldexp(momentum[i], k)), -32767), 32767);
}

void bg_store_widen(struct bg_store *store, int k, int least, int most)
{
    const int64_t each = store->count / store->channels;

    for (int64_t c = 0; c < store->channels; c++) {
        const int to = store->shift[c] + k, bits = bg_store_buffer_bits(store, to);
        if (to < 0 || to > store->spec.low + store->spec.room || bits < least || bits > most)
            continue;
        const int32_t limit = (1 << (bits - 1)) - 1;
        for (int64_t i = c * each; i < (c + 1) * each; i++) {
            const int32_t now = rescaled(store, bg_store_below(store, i), k);
            const int32_t held = now > limit ? limit : now < -limit ? -limit : now;
            store->saturated += held != now;
            bg_store_set(store, i, bg_store_code(store, i), held);
        }
        follow(store, c * each, each, k);
        store->shift[c] = (uint8_t)to;
    }
}
