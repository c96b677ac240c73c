/* A growing table of numbers, kept by row in memory and by column in a file: one dataset a column,
 * "path/column", so that readers of the file take what they need. */
#ifndef BG_EXPERIMENTS_TABLE_H
#define BG_EXPERIMENTS_TABLE_H

#include <stdint.h>

#include "core/h5.h"
#include "core/status.h"

struct bg_column {
    const char *name;     /* NULL ends the list */
    enum bg_h5_type type; /* BG_H5_S64 or BG_H5_F64 */
};

union bg_cell {
    int64_t integer;
    double real;
};

struct bg_table {
    const char *path; /* "metrics/train/steps" */
    const struct bg_column *column;
    int columns;
    int64_t rows, room;
    union bg_cell *cell; /* rows * columns */
};

/* `path` and `columns` must outlive the table. */
void bg_table_init(struct bg_table *table, const char *path, const struct bg_column *columns);
void bg_table_free(struct bg_table *table);
/* A new row, all zero; *out has one cell per column. */
BG_MUST enum bg_status bg_table_add(struct bg_table *table, union bg_cell **out);
const union bg_cell *bg_table_row(const struct bg_table *table, int64_t row);
void bg_table_truncate(struct bg_table *table, int64_t rows);
/* Empty tables are written too: a reader finds every dataset in every run file. */
BG_MUST enum bg_status bg_table_write(const struct bg_table *table, struct bg_h5 *file);
/* Replaces the rows by those of the file; all columns must be there and of one length. */
BG_MUST enum bg_status bg_table_read(struct bg_table *table, struct bg_h5 *file);

#endif
