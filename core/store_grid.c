/* Grids of integer weights that move by powers of two. T keeps its last bit, only the place where
 * it is split moves, so that nothing is rounded. */
#include <math.h>

#include "core/store.h"

static int64_t total_of(const struct bg_store *store, int64_t index, int r)
{
    return bg_store_code(store, index) * ((int64_t)1 << r) + bg_store_below(store, index) -
           bg_store_half(store, r);
}

enum bg_status bg_store_regrid(struct bg_param *param, int64_t channel, int k)
{
    enum bg_status rc = BG_OK;
    struct bg_store *store = param->store;
    struct bg_grid *grid = &param->quantizer->grid;
    const int64_t each = store->count / grid->channels, first = channel * each;
    const int r = store->shift[channel], to = r + k;
    const int room = store->spec.low + store->spec.room;

    if (store->spec.form != BG_STORE_SPLIT)
        FAIL(BG_E_UNSUPPORTED, "%s: only residuals follow a grid that moves", param->name);
    if (to < 0 || to > room)
        FAIL(BG_E_RANGE, "%s: a grid of 2^%d leaves %d bits below, limits are 0 and %d",
             param->name, k, to, room);
    for (int64_t i = first; i < first + each; i++) {
        const int64_t code = (total_of(store, i, r) + bg_store_half(store, to)) >> to;
        if (code < grid->qmin || code > grid->qmax)
            FAIL(BG_E_RANGE, "%s: weight %lld would have code %lld, limits are %d and %d",
                 param->name, (long long)i, (long long)code, grid->qmin, grid->qmax);
    }
    for (int64_t i = first; i < first + each; i++) {
        const int64_t total = total_of(store, i, r) + bg_store_half(store, to);
        bg_store_set(store, i, (int32_t)(total >> to), (int32_t)(total & (((int64_t)1 << to) - 1)));
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
