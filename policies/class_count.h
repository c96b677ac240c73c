/* P5: the bits of a classifier from its number of classes. */
#ifndef BG_POLICIES_CLASS_COUNT_H
#define BG_POLICIES_CLASS_COUNT_H

#include "core/options.h"
#include "core/status.h"

enum bg_class_mode { BG_CLASS_EPS, BG_CLASS_BOUND, BG_CLASS_THRESHOLD, BG_CLASS_TABLE };

struct bg_class_rule {
    int mode; /* enum bg_class_mode */
    double eps;
    int64_t threshold;                /* mode threshold: from this many classes on */
    int64_t base_bits;                /* the least */
    struct bg_int_list supported;     /* ascending; what b is rounded up to */
    struct bg_int_list classes, bits; /* mode table: from classes[i] on, bits[i]; ascending */
};
/* b(N); `wanted` is it before it was rounded up to a supported width. BG_E_DATA when no supported
 * width is wide enough, or the lists are not ascending. */
BG_MUST enum bg_status bg_class_bits(const struct bg_class_rule *rule, int64_t classes, int *wanted,
                                     int *bits);

#endif
