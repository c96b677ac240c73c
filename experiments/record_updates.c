/* What updates did and what the weights took, as rows of the record. A file's numbers are checked
 * as they are read: layers by record_file.c, stages, methods and counts here. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/record.h"

#define REMEMBERED "updates/remembered"
#define MOST       ((int64_t)1 << 60)
#define BYTES_MOST ((int64_t)1 << 36) /* a tensor has less than 2^31 elements */

const char *const bg_updated_names[BG_UPDATED] = {"train", "finetune"};

static enum bg_status method_index(struct bg_record *record, const char *name, int64_t *out)
{
    enum bg_status rc = BG_OK;
    int at = 0;

    while (at < record->update_methods && strcmp(record->update_method[at], name) != 0)
        at++;
    if (at == BG_UPDATE_METHODS_MAX)
        FAIL(BG_E_INTERNAL, "more than %d update methods in a run", BG_UPDATE_METHODS_MAX);
    if (at == record->update_methods) {
        TRY(bg_text_copy(record->update_method[at], BG_NAME_MAX, name));
        record->update_methods++;
    }
    *out = at;
out:
    return rc;
}

/* What overflowed is the largest number: a run that diverged can be read. */
static double finite(double x)
{
    return x < DBL_MAX ? x : DBL_MAX;
}

static void fill(union bg_cell *cell, const struct bg_moves *moves)
{
    const double sampled = moves->sampled > 0 ? (double)moves->sampled : 1;

    cell[BG_UPDATE_WEIGHT_BITS].integer = moves->weight_bits;
    cell[BG_UPDATE_BELOW_BITS].integer = moves->below_bits;
    cell[BG_UPDATE_UPDATES].integer = moves->updates;
    cell[BG_UPDATE_WRITTEN].integer = moves->counted ? moves->written : -1;
    cell[BG_UPDATE_LOST].integer = moves->counted ? moves->lost : -1;
    cell[BG_UPDATE_SATURATED].integer = moves->counted ? moves->saturated : -1;
    cell[BG_UPDATE_BEYOND].integer = moves->counted ? moves->beyond : -1;
    cell[BG_UPDATE_LR].real = finite(moves->rates / sampled);
    cell[BG_UPDATE_UNIT].real = finite(moves->unit);
    cell[BG_UPDATE_SAMPLED].integer = moves->sampled;
    cell[BG_UPDATE_MEAN_STEP].real = finite(moves->sum / sampled);
    cell[BG_UPDATE_ZERO].integer = moves->zero;
    for (int k = 0; k < BG_MOVE_OCTAVES; k++)
        cell[BG_UPDATE_OCTAVE + k].integer = moves->octave[k];
}

enum bg_status bg_record_add_updates(struct bg_record *record, enum bg_updated stage, int64_t epoch,
                                     const struct bg_moves *moves)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < record->layers; i++) {
        union bg_cell *cell = NULL;
        int64_t method = 0;
        TRY(method_index(record, moves[i].method, &method));
        TRY(bg_table_add(&record->table[BG_TABLE_UPDATES], &cell));
        cell[BG_UPDATE_LAYER].integer = i;
        cell[BG_UPDATE_STAGE].integer = stage;
        cell[BG_UPDATE_EPOCH].integer = epoch;
        cell[BG_UPDATE_METHOD].integer = method;
        fill(cell, &moves[i]);
    }
out:
    return rc;
}

/* The row of a layer at the end of a stage: a later selection's part of it takes its place. */
static enum bg_status memory_row(struct bg_record *record, enum bg_updated stage, int layer,
                                 union bg_cell **out)
{
    struct bg_table *table = &record->table[BG_TABLE_MEMORY];

    for (int64_t r = 0; r < table->rows; r++) {
        *out = table->cell + r * table->columns;
        if ((*out)[BG_MEMORY_STAGE].integer == (int64_t)stage &&
            (*out)[BG_MEMORY_LAYER].integer == layer)
            return BG_OK;
    }
    return bg_table_add(table, out);
}

enum bg_status bg_record_add_memory(struct bg_record *record, enum bg_updated stage,
                                    const struct bg_graph *graph)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < record->layers; i++) {
        const struct bg_param *weight = bg_graph_layer_weight(graph, i);
        struct bg_store_bytes bytes;
        union bg_cell *cell = NULL;
        bg_param_bytes(weight, &bytes);
        TRY(memory_row(record, stage, i, &cell));
        cell[BG_MEMORY_LAYER].integer = i;
        cell[BG_MEMORY_STAGE].integer = stage;
        cell[BG_MEMORY_INTEGER].integer = weight->store != NULL;
        cell[BG_MEMORY_WEIGHTS].integer = bytes.weights;
        cell[BG_MEMORY_CODES].integer = bytes.codes;
        cell[BG_MEMORY_BELOW].integer = bytes.below;
        cell[BG_MEMORY_MOMENTUM].integer = bytes.momentum;
        cell[BG_MEMORY_F32].integer = bytes.values;
        cell[BG_MEMORY_GRADIENT].integer = bytes.gradient;
    }
out:
    return rc;
}

enum bg_status bg_record_write_updates(const struct bg_record *record, struct bg_h5 *file)
{
    const int64_t dims[1] = {BG_UPDATED};
    enum bg_status rc = BG_OK;

    TRY(bg_h5_set_int(file, "", "update_methods", record->update_methods));
    if (record->update_methods > 0)
        TRY(bg_h5_write_texts(file, "updates/method", record->update_method[0],
                              record->update_methods, BG_NAME_MAX));
    TRY(bg_h5_write(file, REMEMBERED, BG_H5_S64, 1, dims, record->remembered, false));
out:
    return rc;
}

/* Others index and shift by some of these. */
static int64_t most_of(const struct bg_record *record, int column)
{
    switch (column) {
    case BG_UPDATE_STAGE:
        return BG_UPDATED - 1;
    case BG_UPDATE_METHOD:
        return record->update_methods - 1;
    case BG_UPDATE_WEIGHT_BITS:
        return BG_BITS_MAX;
    case BG_UPDATE_BELOW_BITS:
        return BG_STORE_LOW_MAX;
    default:
        return MOST;
    }
}

static enum bg_status check_row(const struct bg_record *record, const union bg_cell *row, int64_t r)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];

    for (int i = BG_UPDATE_STAGE; i < BG_UPDATE_END; i++) {
        const bool known = i < BG_UPDATE_WRITTEN || i > BG_UPDATE_BEYOND;
        const int64_t most = most_of(record, i);
        if (table->column[i].type == BG_H5_F64) {
            if (!(row[i].real >= 0 && isfinite(row[i].real)))
                return bg_fail(BG_E_DATA, "%s/%s: row %lld is %g, expected a finite number from 0",
                               table->path, table->column[i].name, (long long)r, row[i].real);
            continue;
        }
        if (row[i].integer < (known ? 0 : -1) || row[i].integer > most)
            return bg_fail(BG_E_DATA, "%s/%s: row %lld is %lld, limits are %d and %lld",
                           table->path, table->column[i].name, (long long)r,
                           (long long)row[i].integer, known ? 0 : -1, (long long)most);
    }
    return BG_OK;
}

static enum bg_status check_memory(const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_MEMORY];

    for (int64_t r = 0; r < table->rows; r++)
        for (int i = BG_MEMORY_STAGE; i <= BG_MEMORY_GRADIENT; i++) {
            const int64_t at = bg_table_row(table, r)[i].integer;
            const int64_t most = i == BG_MEMORY_STAGE     ? BG_UPDATED - 1
                                 : i == BG_MEMORY_INTEGER ? 1
                                                          : BYTES_MOST;
            if (at < 0 || at > most)
                return bg_fail(BG_E_DATA, "%s/%s: row %lld is %lld, limits are 0 and %lld",
                               table->path, table->column[i].name, (long long)r, (long long)at,
                               (long long)most);
        }
    return BG_OK;
}

enum bg_status bg_record_read_updates(struct bg_record *record, struct bg_h5 *file)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];
    int64_t methods = 0, dims[1] = {BG_UPDATED};
    enum bg_status rc = BG_OK;

    if (table->rows > 0)
        TRY(bg_h5_get_int(file, "", "update_methods", &methods));
    if (methods < 0 || methods > BG_UPDATE_METHODS_MAX)
        FAIL(BG_E_DATA, "attribute update_methods is %lld, limits are 0 and %d", (long long)methods,
             BG_UPDATE_METHODS_MAX);
    if (methods > 0)
        TRY(bg_h5_read_texts(file, "updates/method", record->update_method[0], methods,
                             BG_NAME_MAX));
    for (int i = 0; i < methods; i++)
        record->update_method[i][BG_NAME_MAX - 1] = '\0';
    record->update_methods = (int)methods;
    for (int64_t r = 0; r < table->rows; r++)
        TRY(check_row(record, bg_table_row(table, r), r));
    TRY(check_memory(record));
    if (bg_h5_has(file, REMEMBERED))
        TRY(bg_h5_read(file, REMEMBERED, BG_H5_S64, 1, dims, record->remembered,
                       sizeof record->remembered));
out:
    return rc;
}

/* In f64: a file's counts may add up to more than an integer holds. A layer that had an f32 master
 * in some epochs of the stage counts in the others alone. */
static void add(struct bg_update_sum *sum, const union bg_cell *row)
{
    sum->method = (int)row[BG_UPDATE_METHOD].integer;
    sum->weight_bits = (int)row[BG_UPDATE_WEIGHT_BITS].integer;
    sum->below_bits = (int)row[BG_UPDATE_BELOW_BITS].integer;
    if (row[BG_UPDATE_WRITTEN].integer < 0)
        return;
    sum->counted = true;
    sum->updates += (double)row[BG_UPDATE_UPDATES].integer;
    sum->written += (double)row[BG_UPDATE_WRITTEN].integer;
    sum->lost += (double)row[BG_UPDATE_LOST].integer;
    sum->saturated += (double)row[BG_UPDATE_SATURATED].integer;
}

static double weights_of(const struct bg_record *record, enum bg_updated stage, int layer)
{
    const struct bg_table *table = &record->table[BG_TABLE_MEMORY];
    double sum = 0;

    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_MEMORY_STAGE].integer == (int64_t)stage && row[BG_MEMORY_LAYER].integer == layer)
            sum += (double)row[BG_MEMORY_WEIGHTS].integer;
    }
    return sum;
}

/* Of all layers with an epoch that counts, whatever they are at the end of the stage. */
static double counted_weights(const struct bg_record *record, enum bg_updated stage)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];
    double sum = 0;

    for (int layer = 0; layer < record->layers; layer++) {
        bool counts = false;
        for (int64_t r = 0; r < table->rows && !counts; r++) {
            const union bg_cell *row = bg_table_row(table, r);
            counts = row[BG_UPDATE_STAGE].integer == (int64_t)stage &&
                     row[BG_UPDATE_LAYER].integer == layer && row[BG_UPDATE_WRITTEN].integer >= 0;
        }
        sum += counts ? weights_of(record, stage, layer) : 0;
    }
    return sum;
}

bool bg_record_sum_updates(const struct bg_record *record, enum bg_updated stage, int layer,
                           struct bg_update_sum *out)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];
    double all = 0;
    bool any = false;

    *out = (struct bg_update_sum){.weights = layer < 0 ? counted_weights(record, stage)
                                                       : weights_of(record, stage, layer)};
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        const bool wanted =
            layer < 0 ? row[BG_UPDATE_WRITTEN].integer >= 0 : row[BG_UPDATE_LAYER].integer == layer;
        if (row[BG_UPDATE_STAGE].integer != (int64_t)stage || !wanted)
            continue;
        add(out, row);
        all += (double)row[BG_UPDATE_UPDATES].integer;
        out->mean_step += row[BG_UPDATE_MEAN_STEP].real * (double)row[BG_UPDATE_UPDATES].integer;
        any = true;
    }
    if (!out->counted)
        out->written = out->lost = out->saturated = (double)NAN;
    out->mean_step /= all > 0 ? all : 1;
    return any;
}

void bg_record_sum_memory(const struct bg_record *record, enum bg_updated stage, bool integer,
                          struct bg_store_bytes *out)
{
    const struct bg_table *table = &record->table[BG_TABLE_MEMORY];

    *out = (struct bg_store_bytes){0};
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_MEMORY_STAGE].integer != (int64_t)stage ||
            row[BG_MEMORY_INTEGER].integer != (integer ? 1 : 0))
            continue;
        out->weights += row[BG_MEMORY_WEIGHTS].integer;
        out->codes += row[BG_MEMORY_CODES].integer;
        out->below += row[BG_MEMORY_BELOW].integer;
        out->momentum += row[BG_MEMORY_MOMENTUM].integer;
        out->values += row[BG_MEMORY_F32].integer;
        out->gradient += row[BG_MEMORY_GRADIENT].integer;
    }
}
