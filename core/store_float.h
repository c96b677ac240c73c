/* Private to core/store*.c: the floating-point form. */
#ifndef BG_CORE_STORE_FLOAT_H
#define BG_CORE_STORE_FLOAT_H

#include "core/store.h"

/* W nearest, R the rest; true when the value was too large and has been brought to the end. */
bool bg_store_put_float(struct bg_store *store, int64_t index, float value);
/* W + R, each rounded to f32. */
void bg_store_read_floats(const struct bg_store *store, int64_t first, int64_t n, float *values);
BG_MUST enum bg_status bg_store_valid_floats(const struct bg_store *store, const char *name);

#endif
