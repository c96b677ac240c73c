/* Rounds of selection in the record: each begins where the rows before it end. Nothing is ever
 * taken out of a table, so that a later decision does not hide the data of an earlier one. */
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/latency_file.h"
#include "experiments/record.h"
#include "policies/budget.h"

static const enum bg_record_table by_table[] = {BG_TABLE_MEASURES, BG_TABLE_RANKING,
                                                BG_TABLE_SEARCH};

int bg_record_rounds(const struct bg_record *record)
{
    return (int)record->table[BG_TABLE_ROUNDS].rows + 1;
}

/* Rows that there are now, in the order of the table's columns. */
static void count_rows(const struct bg_record *record, int64_t counts[BG_ROUND_PARTS])
{
    const struct bg_profile *stage = &record->profile[BG_PROFILE_STAGE];
    const struct bg_profile *along = &record->profile[BG_PROFILE_FINETUNE];
    for (int i = 0; i < 3; i++)
        counts[i] = record->table[by_table[i]].rows;
    counts[BG_ROUND_ROWS] = stage->rows;
    counts[BG_ROUND_CYCLES] = stage->cycles;
    counts[BG_ROUND_ALONG] = along->rows;
    counts[BG_ROUND_ALONG_CYCLES] = along->cycles;
}

enum bg_status bg_record_begin_round(struct bg_record *record, int64_t step)
{
    int64_t counts[BG_ROUND_PARTS];
    union bg_cell *row = NULL;
    enum bg_status rc = BG_OK;
    if (bg_record_rounds(record) == BG_SELECT_ROUNDS)
        FAIL(BG_E_INTERNAL, "more than %d rounds of selection", BG_SELECT_ROUNDS);
    TRY(bg_table_add(&record->table[BG_TABLE_ROUNDS], &row));
    count_rows(record, counts);
    for (int i = 0; i < BG_ROUND_PARTS; i++)
        row[i].integer = counts[i];
    row[BG_ROUND_STEP].integer = step;
out:
    return rc;
}

struct bg_round bg_record_round(const struct bg_record *record, int round)
{
    const struct bg_table *table = &record->table[BG_TABLE_ROUNDS];
    struct bg_round out = {.step = 0};
    count_rows(record, out.to);
    if (round > 0) {
        const union bg_cell *row = bg_table_row(table, round - 1);
        out.step = row[BG_ROUND_STEP].integer;
        for (int i = 0; i < BG_ROUND_PARTS; i++)
            out.from[i] = row[i].integer;
        /* What was trained before the round is its data. */
        out.to[BG_ROUND_ALONG] = out.from[BG_ROUND_ALONG];
        out.to[BG_ROUND_ALONG_CYCLES] = out.from[BG_ROUND_ALONG_CYCLES];
        out.from[BG_ROUND_ALONG] = out.from[BG_ROUND_ALONG_CYCLES] = 0;
        if (round > 1) {
            const union bg_cell *before = bg_table_row(table, round - 2);
            out.from[BG_ROUND_ALONG] = before[BG_ROUND_ALONG].integer;
            out.from[BG_ROUND_ALONG_CYCLES] = before[BG_ROUND_ALONG_CYCLES].integer;
        }
    }
    if (round < table->rows) {
        const union bg_cell *next = bg_table_row(table, round);
        for (int i = 0; i < BG_ROUND_ALONG; i++)
            out.to[i] = next[i].integer;
    }
    if (round == 0)
        out.to[BG_ROUND_ALONG] = out.to[BG_ROUND_ALONG_CYCLES] = 0;
    return out;
}

/* A table of latency stays what it was when the run began. */
enum bg_status bg_record_write_latency(const struct bg_record *record, struct bg_h5 *file)
{
    return *record->latency_hash ? bg_h5_put_text(file, "select/latency", record->latency_hash)
                                 : BG_OK;
}

enum bg_status bg_record_read_latency(struct bg_record *record, struct bg_h5 *file)
{
    char *text = NULL;
    enum bg_status rc = BG_OK;
    if (!bg_h5_has(file, "select/latency"))
        return BG_OK;
    TRY(bg_h5_take_text(file, "select/latency", &text));
    TRY(bg_text_copy(record->latency_hash, sizeof record->latency_hash, text));
out:
    bg_free(text);
    return rc;
}

enum bg_status bg_record_check_latency(const struct bg_record *record, const char *path)
{
    char hash[BG_HASH_TEXT];
    enum bg_status rc = BG_OK;
    TRY(bg_latency_hash(path, hash));
    if (strcmp(hash, record->latency_hash) != 0)
        FAIL(BG_E_MISMATCH,
             "%s is not the table that the run was begun with (hash %.12s..., now "
             "%.12s...)",
             path, record->latency_hash, hash);
out:
    return rc;
}

/* Other code uses these numbers as indices. */
static enum bg_status check_budgets(const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_BUDGETS];
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        int64_t kind = row[BG_SPENT_KIND].integer, round = row[BG_SPENT_ROUND].integer;
        for (int c = BG_SPENT_LIMIT; c <= BG_SPENT_OBJECTIVE; c++)
            if (!isfinite(row[c].real))
                return bg_fail(BG_E_DATA, "%s/%s: row %lld is not finite", table->path,
                               table->column[c].name, (long long)r);
        if (kind < 0 || kind >= BG_BUDGET_KINDS || round < 0 || round >= BG_SELECT_ROUNDS)
            return bg_fail(BG_E_DATA, "%s: row %lld is of kind %lld in round %lld", table->path,
                           (long long)r, (long long)kind, (long long)round);
    }
    return BG_OK;
}

enum bg_status bg_record_check_rounds(const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_ROUNDS];
    int64_t have[BG_ROUND_PARTS];
    count_rows(record, have);
    if (table->rows >= BG_SELECT_ROUNDS)
        return bg_fail(BG_E_DATA, "%s: %lld rows, limit is %d", table->path, (long long)table->rows,
                       BG_SELECT_ROUNDS - 1);
    for (int64_t r = table->rows; r-- > 0;)
        for (int i = 0; i < BG_ROUND_PARTS; i++) {
            int64_t first = bg_table_row(table, r)[i].integer;
            if (first < 0 || first > have[i])
                return bg_fail(BG_E_DATA, "%s/%s: row %lld is %lld, limits are 0 and %lld",
                               table->path, table->column[i].name, (long long)r, (long long)first,
                               (long long)have[i]);
            have[i] = first;
        }
    return check_budgets(record);
}
