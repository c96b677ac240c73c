/* Other widths for weights that live in integers, with nothing rounded: weight bits b -> b',
 * residual r -> r'. The grid's step becomes s * 2^k, by channel: k = b - b', or the next power of
 * two on which every weight has a code and no bit of its total is dropped. The real value of every
 * weight stays what it is, exactly. */
#ifndef BG_CORE_STORE_CHANGE_H
#define BG_CORE_STORE_CHANGE_H

#include "core/store.h"

struct bg_store_change {
    const struct bg_store *from;
    const struct bg_grid *on;   /* it lies on */
    struct bg_store_spec to;    /* of the same form */
    const struct bg_grid *grid; /* limits of the new codes; its scale is not read */
    const char *name;           /* for messages */
};
/* A new store, and its grid's `channels` steps in `scale`. Counts come along, momentum too where
 * its format stays (s16 is rounded to its new unit), else it is 0. Kahan's pairs stay, their codes
 * are rounded anew. BG_E_RANGE, with the weight, its value and the bits that would do, when no step
 * keeps all; BG_E_UNSUPPORTED for another form or other channels. */
BG_MUST enum bg_status bg_store_convert(const struct bg_store_change *change, float *scale,
                                        struct bg_store **out);

#endif
