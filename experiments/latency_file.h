/* Latency tables: what each layer takes at each choice of bits, in any one unit. The format is that
 * of cost tables (experiments/cost_table.h) with a column `latency`; candidates are labels like
 * w4a8 (32 = f32), or w4 or 4 for activations of 1 to 8 bits (w32: for all)
 * that have no row of their own. */
#ifndef BG_EXPERIMENTS_LATENCY_FILE_H
#define BG_EXPERIMENTS_LATENCY_FILE_H

#include "core/hash.h"
#include "policies/budget.h"

/* Rows of the network's layers; a layer that the network has not is BG_E_DATA with the nearest
 * name. What has no row stays NaN. Free with bg_latency_free, on failure too. */
BG_MUST enum bg_status bg_latency_read(struct bg_latency *out, const char *path,
                                       const char *const *names, int layers);

/* SHA-256 of the file as text. */
BG_MUST enum bg_status bg_latency_hash(const char *path, char out[BG_HASH_TEXT]);

/* A measured layer: seconds in f32 and in integers, whose kernels take 1 to 8 bits alike. */
struct bg_latency_row {
    const char *layer;
    double f32, integer;
};
/* Writes a new table with penalties of 0; `note` stands in its comment. BG_E_USAGE when the file
 * exists. */
BG_MUST enum bg_status bg_latency_write(const char *path, const char *note,
                                        const struct bg_latency_row *rows, int layers);

#endif
