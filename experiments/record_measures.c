/* Measures, and what a policy fixed, in the record and in its file: the table's rows as plain
 * structs, the names of measures and the bits at which they were taken. Numbers of a file are
 * checked before anyone uses them as indices. */
#include <stdio.h>

#include "core/grid.h"
#include "core/mem.h"
#include "experiments/record.h"

#define MEASURES_MAX 64

enum bg_status bg_record_add_measure(struct bg_record *record, const struct bg_measure_row *row)
{
    union bg_cell *cell = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_table_add(&record->table[BG_TABLE_MEASURES], &cell));
    cell[BG_MEASURE_MEASURE].integer = row->measure;
    cell[BG_MEASURE_MEASURED].integer = row->measured;
    cell[BG_MEASURE_LAYER].integer = row->layer;
    cell[BG_MEASURE_ROLE].integer = row->role;
    cell[BG_MEASURE_BITS].integer = row->bits;
    cell[BG_MEASURE_VALUE].real = row->value;
    cell[BG_MEASURE_SPREAD].real = row->spread;
    cell[BG_MEASURE_SAMPLES].integer = row->samples;
    cell[BG_MEASURE_PASSES].integer = row->passes;
out:
    return rc;
}

struct bg_measure_row bg_record_measure(const struct bg_record *record, int64_t row)
{
    const union bg_cell *cell = bg_table_row(&record->table[BG_TABLE_MEASURES], row);
    return (struct bg_measure_row){.measure = (int)cell[BG_MEASURE_MEASURE].integer,
                                   .measured = (int)cell[BG_MEASURE_MEASURED].integer,
                                   .layer = (int)cell[BG_MEASURE_LAYER].integer,
                                   .role = (int)cell[BG_MEASURE_ROLE].integer,
                                   .bits = (int)cell[BG_MEASURE_BITS].integer,
                                   .value = cell[BG_MEASURE_VALUE].real,
                                   .spread = cell[BG_MEASURE_SPREAD].real,
                                   .samples = cell[BG_MEASURE_SAMPLES].integer,
                                   .passes = cell[BG_MEASURE_PASSES].integer};
}

/* Other code uses these numbers as indices. */
static enum bg_status check_measures(const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_MEASURES];
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        const int64_t limits[][3] = {{row[BG_MEASURE_MEASURE].integer, 0, record->measures - 1},
                                     {row[BG_MEASURE_MEASURED].integer, 0, BG_MEASURED - 1},
                                     {row[BG_MEASURE_LAYER].integer, -1, record->layers - 1},
                                     {row[BG_MEASURE_ROLE].integer, 0, 1},
                                     {row[BG_MEASURE_BITS].integer, 0, BG_BITS_MAX}};
        for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
            if (limits[i][0] < limits[i][1] || limits[i][0] > limits[i][2])
                return bg_fail(BG_E_DATA, "%s/%s: row %lld is %lld, limits are %lld and %lld",
                               table->path, table->column[i].name, (long long)r,
                               (long long)limits[i][0], (long long)limits[i][1],
                               (long long)limits[i][2]);
    }
    return BG_OK;
}

/* Beside the table of measures; nothing when there are none. */
enum bg_status bg_record_write_measures(const struct bg_record *record, struct bg_h5 *file)
{
    int64_t bits[BG_CANDIDATES_MAX] = {0}, dims[1] = {record->candidates};
    enum bg_status rc = BG_OK;
    TRY(bg_h5_set_int(file, "", "measures", record->measures));
    if (record->measures == 0)
        goto out;
    TRY(bg_h5_write_texts(file, "profile/measures/name", record->measure_name[0], record->measures,
                          BG_NAME_MAX));
    for (int i = 0; i < record->candidates; i++)
        bits[i] = record->candidate_bits[i];
    TRY(bg_h5_write(file, "profile/measures/candidates", BG_H5_S64, 1, dims, bits, false));
out:
    return rc;
}

static enum bg_status take_measures(struct bg_record *record, char (*names)[BG_NAME_MAX],
                                    int64_t measures, const int64_t *bits, int64_t candidates)
{
    const char *pointers[MEASURES_MAX];
    int narrow[BG_CANDIDATES_MAX];
    for (int64_t i = 0; i < measures; i++) {
        names[i][BG_NAME_MAX - 1] = '\0';
        pointers[i] = names[i];
    }
    for (int64_t i = 0; i < candidates; i++) {
        if (bits[i] < 1 || bits[i] > BG_BITS_MAX || (i > 0 && bits[i] <= bits[i - 1]))
            return bg_fail(BG_E_DATA, "profile/measures/candidates: %lld bits at place %lld",
                           (long long)bits[i], (long long)i);
        narrow[i] = (int)bits[i];
    }
    return bg_record_set_measures(record, (int)measures, pointers, (int)candidates, narrow);
}

static enum bg_status read_names(struct bg_record *record, struct bg_h5 *file, int64_t measures)
{
    int64_t dims[1] = {-1}, *bits = NULL;
    char(*names)[BG_NAME_MAX] = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&names, measures, BG_NAME_MAX));
    TRY(bg_h5_read_texts(file, "profile/measures/name", names[0], measures, BG_NAME_MAX));
    TRY(bg_h5_read_new(file, "profile/measures/candidates", BG_H5_S64, 1, dims, &bits,
                       BG_CANDIDATES_MAX * (int64_t)sizeof *bits));
    TRY(take_measures(record, names, measures, bits, dims[0]));
out:
    bg_free(bits);
    bg_free(names);
    return rc;
}

enum bg_status bg_record_read_measures(struct bg_record *record, struct bg_h5 *file)
{
    int64_t measures = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_h5_get_int(file, "", "measures", &measures));
    if (measures < 0 || measures > MEASURES_MAX)
        FAIL(BG_E_DATA, "attribute measures is %lld, limits are 0 and %d", (long long)measures,
             MEASURES_MAX);
    if (measures > 0)
        TRY(read_names(record, file, measures));
    TRY(check_measures(record));
out:
    return rc;
}

/* The layer whose bits the policy fixed, then its bits per role; absent when there is none. */
#define FIXED_PATH "select/fixed"

enum bg_status bg_record_write_fixed(const struct bg_record *record, struct bg_h5 *file)
{
    int64_t numbers[1 + BG_ROLES] = {record->fixed_layer}, dims[1] = {1 + BG_ROLES};
    if (!record->fixes)
        return BG_OK;
    for (int r = 0; r < BG_ROLES; r++)
        numbers[1 + r] = record->fixed_bits[r];
    return bg_h5_write(file, FIXED_PATH, BG_H5_S64, 1, dims, numbers, false);
}

enum bg_status bg_record_read_fixed(struct bg_record *record, struct bg_h5 *file)
{
    int64_t numbers[1 + BG_ROLES], dims[1] = {1 + BG_ROLES};
    enum bg_status rc = BG_OK;

    if (!bg_h5_has(file, FIXED_PATH))
        return BG_OK;
    TRY(bg_h5_read(file, FIXED_PATH, BG_H5_S64, 1, dims, numbers, sizeof numbers));
    if (numbers[0] < 0 || numbers[0] >= record->layers)
        FAIL(BG_E_DATA, "%s: names layer %lld of %d", FIXED_PATH, (long long)numbers[0],
             record->layers);
    for (int r = 0; r < BG_ROLES; r++) {
        if (numbers[1 + r] < 0 || numbers[1 + r] > 32)
            FAIL(BG_E_DATA, "%s: %lld bits, limit is 32", FIXED_PATH, (long long)numbers[1 + r]);
        record->fixed_bits[r] = (int)numbers[1 + r];
    }
    record->fixed_layer = (int)numbers[0];
    record->fixes = true;
out:
    return rc;
}
