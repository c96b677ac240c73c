/* Which widths and forms of integer weights fit together. */
#include "core/store.h"

static enum bg_status check_float(const struct bg_store_spec *spec)
{
    static const char *const names[] = {"weights", "buffers"};
    const int bits[2] = {spec->bits, spec->buffer}, most[2] = {5, 6};

    for (int i = 0; i < 2; i++) {
        if (spec->exponent[i] < 2 || spec->exponent[i] > most[i])
            return bg_fail(BG_E_RANGE, "%s with exponents of %d bits, limits are 2 and %d",
                           names[i], spec->exponent[i], most[i]);
        if (bits[i] < spec->exponent[i] + 2 || bits[i] > (i == 0 ? BG_BITS_MAX : BG_STORE_LOW_MAX))
            return bg_fail(BG_E_RANGE, "%s of %d bits with exponents of %d, limits are %d and %d",
                           names[i], bits[i], spec->exponent[i], spec->exponent[i] + 2,
                           i == 0 ? BG_BITS_MAX : BG_STORE_LOW_MAX);
    }
    if (spec->momentum == BG_STORE_MOMENTUM_S16)
        return bg_fail(BG_E_UNSUPPORTED, "momentum_format: s16 counts bits of a grid, small floats "
                                         "have none");
    return BG_OK;
}

/* The sum of several gradients: room for that many moves of one weight step each. */
static enum bg_status check_sum(const struct bg_store_spec *spec)
{
    const int bits = spec->low + spec->finer;

    if (spec->form != BG_STORE_SPLIT || spec->gradients < 2)
        return bg_fail(BG_E_UNSUPPORTED, "several gradients per write belong to residuals");
    if (spec->finer < 0 || spec->finer > BG_STORE_FINER_MAX)
        return bg_fail(BG_E_RANGE, "%d bits below the residual's last one, limits are 0 and %d",
                       spec->finer, BG_STORE_FINER_MAX);
    if ((int64_t)spec->gradients << bits > BG_STORE_SUM_MOST)
        return bg_fail(BG_E_RANGE,
                       "a sum of %d gradients of one step each with %d bits below does not fit %d "
                       "bits",
                       spec->gradients, bits, BG_STORE_SUM_BITS);
    return BG_OK;
}

enum bg_status bg_store_check(const struct bg_store_spec *spec)
{
    enum bg_status rc = BG_OK;

    if (spec->bits < 2 || spec->bits > BG_BITS_MAX)
        FAIL(BG_E_RANGE, "weights of %d bits cannot be moved in integers, limits are 2 and %d",
             spec->bits, BG_BITS_MAX);
    if (spec->low < 0 || spec->low > BG_STORE_LOW_MAX)
        FAIL(BG_E_RANGE, "%d bits below the weight's last one, limits are 0 and %d", spec->low,
             BG_STORE_LOW_MAX);
    if (spec->room < 0 || spec->low + spec->room > BG_STORE_LOW_MAX)
        FAIL(BG_E_RANGE, "%d bits below the weight's last one and %d to grow, limit is %d",
             spec->low, spec->room, BG_STORE_LOW_MAX);
    if (spec->form == BG_STORE_FLOAT)
        TRY(check_float(spec));
    if (spec->form == BG_STORE_BUFFER &&
        (spec->buffer < spec->low + 2 || spec->buffer + spec->room > BG_STORE_LOW_MAX))
        FAIL(BG_E_RANGE, "a buffer of %d bits and %d to grow, limits are %d and %d", spec->buffer,
             spec->room, spec->low + 2, BG_STORE_LOW_MAX);
    if (spec->gradients != 0)
        TRY(check_sum(spec));
out:
    return rc;
}

bool bg_store_spec_equal(const struct bg_store_spec *a, const struct bg_store_spec *b)
{
    return a->form == b->form && a->bits == b->bits && a->low == b->low && a->buffer == b->buffer &&
           a->room == b->room && a->half == b->half && a->momentum == b->momentum &&
           a->moves == b->moves && a->gradients == b->gradients && a->finer == b->finer &&
           a->exponent[0] == b->exponent[0] && a->exponent[1] == b->exponent[1] &&
           a->over == b->over;
}
