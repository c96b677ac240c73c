/* One JSON object on stdout. */
#ifndef BG_EXPERIMENTS_PRINT_JSON_H
#define BG_EXPERIMENTS_PRINT_JSON_H

#include <jansson.h>

#include "core/status.h"

/* Prints `root` on one line, keys sorted, and frees it (NULL: BG_E_NOMEM). Numbers have `digits`
 * significant ones; 0 = as many as give the number back. */
BG_MUST enum bg_status bg_print_json(json_t *root, int digits);

#endif
