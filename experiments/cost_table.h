/* A table of what every layer would cost and lose with each of its candidates, as anybody may write
 * it by hand or by script: for `bitgrad allocate`.
 *
 * As TSV: lines that start with '#' are comments; the first other line names the columns `layer`,
 * `candidate`, `penalty` and any costs; then one row per layer and candidate. Cells stand between
 * tabs, or between blanks when the header has no tab:
 *
 *   layer  candidate  penalty  bytes   bops
 *   conv1  8          0.01     4608    1.2e6
 *   conv1  4          0.35     2304    6.1e5
 *
 * As JSON: a list of such rows, [{"layer": "conv1", "candidate": 8, "penalty": 0.01, "bytes":
 * 4608},
 * ...], or an object with that list under `rows` and, if wanted, `budgets` ({"bytes": 5000}),
 * `ties`
 * ([["conv1", "conv2"], ...]) and `pins` ({"fc": "8"}).
 *
 * `penalty` is any finite number; the sum over the layers is made least. Every column but layer,
 * candidate, penalty and priority is a cost, finite and at least 0, and may have a budget.
 * `priority` (small = lowered first; "-" or null = never) is one number per layer, for the
 * allocators prefix, threshold and count. Layers may differ in their candidates, but every row has
 * every cost. Candidates like 8, w4 or w4a8 are put in order from many bits to few, whatever the
 * order of the rows; with other labels the rows of a layer stand from the highest precision to the
 * lowest. */
#ifndef BG_EXPERIMENTS_COST_TABLE_H
#define BG_EXPERIMENTS_COST_TABLE_H

#include <jansson.h>

#include "core/plan.h"
#include "policies/allocate.h"

#define BG_COST_COLUMNS 16
#define BG_COST_BYTES   (16 << 20) /* of a file */

struct bg_cost_row {
    int layer, next; /* next row of the layer, -1 = none */
    char candidate[BG_NAME_MAX];
    double penalty, priority; /* priority NaN: never lowered, or no such column */
    double cost[BG_COST_COLUMNS];
};

struct bg_cost_layer {
    char name[BG_NAME_MAX];
    int first, last, count; /* rows */
};

struct bg_cost_table {
    char file[256]; /* for messages */
    bool priorities;
    int columns; /* costs */
    char column[BG_COST_COLUMNS][BG_NAME_MAX];
    int rows, layers;
    struct bg_cost_row *row;
    struct bg_cost_layer *layer;
    json_t *root; /* of a JSON object, for its budgets, ties and pins; else NULL */
};

/* BG_E_DATA names file, line or row, layer, candidate and column; BG_E_IO as bg_file_read. On
 * failure *out is zeroed. */
BG_MUST enum bg_status bg_cost_table_read(struct bg_cost_table *out, const char *path);
void bg_cost_table_free(struct bg_cost_table *table);

/* For the readers. `where` is "costs.tsv:4" or "costs.json: row 4". A name is 1 to 63 bytes of
 * valid UTF-8 without control characters. */
BG_MUST enum bg_status bg_cost_table_name(const char *where, const char *what, const char *name,
                                          char out[BG_NAME_MAX]);
BG_MUST enum bg_status bg_cost_table_column(struct bg_cost_table *table, const char *where,
                                            const char *name);
BG_MUST enum bg_status bg_cost_table_add(struct bg_cost_table *table, const char *where,
                                         const char *layer, struct bg_cost_row *row);
BG_MUST enum bg_status bg_cost_table_json(struct bg_cost_table *table, const char *text,
                                          size_t length);

/* Index of a layer or cost column, or -1 with the nearest name in the sentence: `code` and `who`
 * ("--tie") say whose word it was. */
BG_MUST enum bg_status bg_cost_table_layer(const struct bg_cost_table *table, const char *name,
                                           enum bg_status code, const char *who, int *out);
BG_MUST enum bg_status bg_cost_table_cost(const struct bg_cost_table *table, const char *name,
                                          enum bg_status code, const char *who, int *out);
/* The row of a layer's candidate; NULL when there is none. */
const struct bg_cost_row *bg_cost_table_row(const struct bg_cost_table *table, int layer,
                                            const char *candidate);

/* Weight and activation bits of a label: "8", "w4", "w4a8" (1 to 16, or 32); activation 0 = not
 * said. False for any other label. */
bool bg_cost_label_bits(const char *label, int *weight, int *activation);

/* The problem of a table: an item per layer, no budgets yet; costs are added by
 * bg_cost_table_budget. With `candidates` (a list ended by NULL, or NULL for all) the layers whose
 * `pinned` is not set keep those labels alone. */
BG_MUST enum bg_status bg_cost_table_problem(const struct bg_cost_table *table,
                                             const char *const *candidates, const bool *pinned,
                                             struct bg_allocate_problem *out);
/* One more budget, or a new value for one that is there. */
BG_MUST enum bg_status bg_cost_table_budget(const struct bg_cost_table *table, int column,
                                            double value, struct bg_allocate_problem *problem);
#endif
