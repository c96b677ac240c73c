/* A policy inside another one's options: `of: fisher`, or `of: {name: fisher, noise: measured}`. */
#ifndef BG_POLICIES_NESTED_H
#define BG_POLICIES_NESTED_H

#include "policies/select.h"

struct bg_nested {
    const struct bg_select_method *method;
    void *options; /* owned */
};
/* The options may point into `node`, which must outlive them. `node` may be NULL: then `fallback`,
 * or BG_E_DATA when that is NULL. `owner` is for sentences and must not be nested in itself. Free
 * with bg_nested_free. */
BG_MUST enum bg_status bg_nested_open(struct bg_nested *out, const char *owner,
                                      const struct bg_yaml *node, const char *fallback);
void bg_nested_free(struct bg_nested *nested);

#endif
