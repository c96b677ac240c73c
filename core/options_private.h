/* What core/options.c and core/options_print.c share. */
#ifndef BG_CORE_OPTIONS_PRIVATE_H
#define BG_CORE_OPTIONS_PRIVATE_H

#include "core/options.h"

/* Does the row limit its numbers? (min and max both 0 mean no.) */
bool bg_options_has_limits(const struct bg_option *row);
/* "0..1", "1 or more" (max at or above 1e18 or infinite). */
void bg_options_limits(const struct bg_option *row, char out[80]);
/* "constant, step, cosine", cut at room. */
void bg_options_choices(const struct bg_option *row, char *out, size_t room);

#endif
