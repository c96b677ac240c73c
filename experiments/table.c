/* Tables of numbers and their datasets. */
#include "experiments/table.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define COLUMN_BYTES_MAX ((int64_t)1 << 31)

void bg_table_init(struct bg_table *table, const char *path, const struct bg_column *columns)
{
    *table = (struct bg_table){.path = path, .column = columns};
    while (columns[table->columns].name)
        table->columns++;
}

void bg_table_free(struct bg_table *table)
{
    bg_free(table->cell);
    table->cell = NULL;
    table->rows = table->room = 0;
}

static enum bg_status reserve(struct bg_table *table, int64_t rows)
{
    int64_t room = table->room ? table->room : 64;
    enum bg_status rc = BG_OK;
    while (room < rows)
        room *= 2;
    if (room == table->room)
        return BG_OK;
    TRY(bg_grow(&table->cell, table->room * table->columns, room * table->columns,
                sizeof *table->cell));
    table->room = room;
out:
    return rc;
}

enum bg_status bg_table_add(struct bg_table *table, union bg_cell **out)
{
    enum bg_status rc = BG_OK;
    TRY(reserve(table, table->rows + 1));
    *out = table->cell + table->rows * table->columns;
    memset(*out, 0, (size_t)table->columns * sizeof **out);
    table->rows++;
out:
    return rc;
}

const union bg_cell *bg_table_row(const struct bg_table *table, int64_t row)
{
    return table->cell + row * table->columns;
}

void bg_table_truncate(struct bg_table *table, int64_t rows)
{
    if (rows < table->rows)
        table->rows = rows;
}

static enum bg_status column_name(const struct bg_table *table, int column, char out[128])
{
    int length = snprintf(out, 128, "%s/%s", table->path, table->column[column].name);
    if (length < 0 || length >= 128)
        return bg_fail(BG_E_INTERNAL, "table %s: the name of column %d is too long", table->path,
                       column);
    return BG_OK;
}

enum bg_status bg_table_write(const struct bg_table *table, struct bg_h5 *file)
{
    union bg_cell *values = NULL;
    int64_t dims[1] = {table->rows};
    char name[128];
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&values, table->rows + 1, sizeof *values));
    for (int c = 0; c < table->columns; c++) {
        for (int64_t r = 0; r < table->rows; r++)
            values[r] = table->cell[r * table->columns + c];
        TRY(column_name(table, c, name));
        TRY(bg_h5_write(file, name, table->column[c].type, 1, dims, values, table->rows > 64));
    }
out:
    bg_free(values);
    return rc;
}

enum bg_status bg_table_read(struct bg_table *table, struct bg_h5 *file)
{
    union bg_cell *values = NULL;
    char name[128];
    enum bg_status rc = BG_OK;

    table->rows = 0;
    for (int c = 0; c < table->columns; c++) {
        int64_t dims[1] = {-1};
        TRY(column_name(table, c, name));
        TRY(bg_h5_read_new(file, name, table->column[c].type, 1, dims, &values, COLUMN_BYTES_MAX));
        if (c == 0) {
            TRY(reserve(table, dims[0]));
            table->rows = dims[0];
        } else if (dims[0] != table->rows) {
            FAIL(BG_E_DATA, "%s has %lld rows, the columns before it have %lld", name,
                 (long long)dims[0], (long long)table->rows);
        }
        for (int64_t r = 0; r < dims[0]; r++)
            table->cell[r * table->columns + c] = values[r];
        bg_free(values);
        values = NULL;
    }
out:
    if (rc != BG_OK)
        table->rows = 0;
    bg_free(values);
    return rc;
}
