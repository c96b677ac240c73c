/* The table of costs in memory, and the allocation problem it stands for. Format: see
 * experiments/cost_table.h. */
#include "experiments/cost_table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

#define COST_MAX 1e100 /* as bg_allocate_check has it for budgets: totals stay finite */

void bg_cost_table_free(struct bg_cost_table *table)
{
    bg_free(table->row);
    bg_free(table->layer);
    json_decref(table->root);
    *table = (struct bg_cost_table){0};
}

enum bg_status bg_cost_table_name(const char *where, const char *what, const char *name,
                                  char out[BG_NAME_MAX])
{
    size_t length = strlen(name);
    unsigned code = 0;
    if (length == 0)
        return bg_fail(BG_E_DATA, "%s: no %s", where, what);
    if (length >= BG_NAME_MAX)
        return bg_fail(BG_E_DATA, "%s: the %s has %zu bytes, limit is %d", where, what, length,
                       BG_NAME_MAX - 1);
    for (const char *at = name; *at;) {
        int bytes = bg_text_character(at, &code);
        if (bytes == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
            return bg_fail(BG_E_DATA,
                           "%s: the %s holds a control character or a byte that is not UTF-8",
                           where, what);
        at += bytes;
    }
    return bg_text_copy(out, BG_NAME_MAX, name);
}

enum bg_status bg_cost_table_column(struct bg_cost_table *table, const char *where,
                                    const char *name)
{
    enum bg_status rc = BG_OK;
    char *out = NULL;
    for (int c = 0; c < table->columns; c++)
        if (!strcmp(table->column[c], name))
            FAIL(BG_E_DATA, "%s: two columns are named '%s'", where, name);
    if (table->columns == BG_COST_COLUMNS)
        FAIL(BG_E_DATA, "%s: more than %d columns of costs", where, BG_COST_COLUMNS);
    out = table->column[table->columns];
    TRY(bg_cost_table_name(where, "name of a column", name, out));
    table->columns++;
out:
    return rc;
}

static enum bg_status find_or_add_layer(struct bg_cost_table *table, const char *where,
                                        const char *name, int *out)
{
    enum bg_status rc = BG_OK;
    int last = table->rows > 0 ? table->row[table->rows - 1].layer : -1;
    for (int i = 0; i < table->layers; i++) {
        int at = i == 0 ? last : i == last ? 0 : i; /* rows of one layer often stand together */
        if (!strcmp(table->layer[at].name, name)) {
            *out = at;
            goto out;
        }
    }
    if (table->layers == BG_ALLOCATE_ITEMS)
        FAIL(BG_E_DATA, "%s: more than %d layers", where, BG_ALLOCATE_ITEMS);
    if ((table->layers & (table->layers - 1)) == 0) /* room doubles: 1, 2, 4, ... */
        TRY(bg_grow(&table->layer, table->layers, table->layers ? 2 * table->layers : 1,
                    sizeof *table->layer));
    *out = table->layers;
    table->layer[*out] = (struct bg_cost_layer){.first = -1, .last = -1};
    TRY(bg_cost_table_name(where, "layer", name, table->layer[*out].name));
    table->layers++;
out:
    return rc;
}

static enum bg_status check_row(const struct bg_cost_table *table, const char *where, int layer,
                                const struct bg_cost_row *row)
{
    const char *name = table->layer[layer].name;
    for (int at = table->layer[layer].first; at >= 0; at = table->row[at].next) {
        double other = table->row[at].priority;
        if (!strcmp(table->row[at].candidate, row->candidate))
            return bg_fail(BG_E_DATA, "%s: layer %s, candidate %s: a second row for it", where,
                           name, row->candidate);
        if (isnan(other) != isnan(row->priority) ||
            (!isnan(other) && (other > row->priority || other < row->priority)))
            return bg_fail(BG_E_DATA,
                           "%s: layer %s, candidate %s: priority %g, but %g for candidate %s; a "
                           "layer has one",
                           where, name, row->candidate, row->priority, other,
                           table->row[at].candidate);
    }
    if (table->layer[layer].count == BG_ALLOCATE_CANDIDATES)
        return bg_fail(BG_E_DATA, "%s: layer %s has more than %d candidates", where, name,
                       BG_ALLOCATE_CANDIDATES);
    for (int c = 0; c < table->columns; c++) {
        if (!(row->cost[c] >= 0))
            return bg_fail(BG_E_DATA,
                           "%s: layer %s, candidate %s: %s is %g, expected a number of at least 0",
                           where, name, row->candidate, table->column[c], row->cost[c]);
        if (row->cost[c] > COST_MAX)
            return bg_fail(BG_E_DATA, "%s: layer %s, candidate %s: %s is %g, limit is %g", where,
                           name, row->candidate, table->column[c], row->cost[c], COST_MAX);
    }
    return BG_OK;
}

enum bg_status bg_cost_table_add(struct bg_cost_table *table, const char *where, const char *layer,
                                 struct bg_cost_row *row)
{
    enum bg_status rc = BG_OK;
    int at = -1;
    TRY(find_or_add_layer(table, where, layer, &at));
    TRY(check_row(table, where, at, row));
    if ((table->rows & (table->rows - 1)) == 0)
        TRY(bg_grow(&table->row, table->rows, table->rows ? 2 * (int64_t)table->rows : 1,
                    sizeof *table->row));
    row->layer = at;
    row->next = -1;
    table->row[table->rows] = *row;
    if (table->layer[at].last >= 0)
        table->row[table->layer[at].last].next = table->rows;
    else
        table->layer[at].first = table->rows;
    table->layer[at].last = table->rows++;
    table->layer[at].count++;
out:
    return rc;
}

enum bg_status bg_cost_table_layer(const struct bg_cost_table *table, const char *name,
                                   enum bg_status code, const char *who, int *out)
{
    const char *nearest = NULL, **names = NULL;
    enum bg_status rc = BG_OK;
    for (int i = 0; i < table->layers; i++)
        if (!strcmp(table->layer[i].name, name)) {
            *out = i;
            goto out;
        }
    TRY(bg_alloc(&names, table->layers, sizeof *names));
    for (int i = 0; i < table->layers; i++)
        names[i] = table->layer[i].name;
    nearest = bg_text_nearest(name, names, table->layers);
    FAIL(code, "%s: %s has no layer '%s'%s%s%s", who, table->file, name,
         nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
out:
    bg_free(names);
    return rc;
}

enum bg_status bg_cost_table_cost(const struct bg_cost_table *table, const char *name,
                                  enum bg_status code, const char *who, int *out)
{
    const char *names[BG_COST_COLUMNS];
    const char *nearest;
    for (int c = 0; c < table->columns; c++) {
        names[c] = table->column[c];
        if (!strcmp(names[c], name)) {
            *out = c;
            return BG_OK;
        }
    }
    nearest = bg_text_nearest(name, names, table->columns);
    return bg_fail(code, "%s: %s has no cost '%s'%s%s%s", who, table->file, name,
                   nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

const struct bg_cost_row *bg_cost_table_row(const struct bg_cost_table *table, int layer,
                                            const char *candidate)
{
    for (int at = table->layer[layer].first; at >= 0; at = table->row[at].next)
        if (!strcmp(table->row[at].candidate, candidate))
            return &table->row[at];
    return NULL;
}

/* Digits at *text as a width; moves on. */
static bool take_bits(const char **text, int *bits)
{
    int value = 0, digits = 0;
    for (; (*text)[digits] >= '0' && (*text)[digits] <= '9' && digits < 3; digits++)
        value = 10 * value + ((*text)[digits] - '0');
    *text += digits;
    *bits = value;
    return digits > 0 && ((value >= 1 && value <= 16) || value == 32);
}

bool bg_cost_label_bits(const char *label, int *weight, int *activation)
{
    *weight = *activation = 0;
    if (*label != 'w')
        return take_bits(&label, weight) && *label == '\0';
    label++;
    if (!take_bits(&label, weight))
        return false;
    if (*label == '\0')
        return true;
    if (*label != 'a')
        return false;
    label++;
    return take_bits(&label, activation) && *label == '\0';
}

static int by_bits(const void *left, const void *right)
{
    const struct bg_cost_row *const *a = left, *const *b = right;
    int wa, aa, wb, ab;
    (void)bg_cost_label_bits((*a)->candidate, &wa, &aa);
    (void)bg_cost_label_bits((*b)->candidate, &wb, &ab);
    aa = aa == 0 ? 32 : aa; /* w4 leaves activations as they are */
    ab = ab == 0 ? 32 : ab;
    if (wa != wb)
        return wb - wa;
    return aa != ab ? ab - aa : strcmp((*a)->candidate, (*b)->candidate);
}

static bool is_listed(const char *const *list, const char *label)
{
    for (int i = 0; list && list[i]; i++)
        if (!strcmp(list[i], label))
            return true;
    return list == NULL;
}

static enum bg_status make_item(const struct bg_cost_table *table, int layer,
                                const char *const *candidates, bool sorted,
                                struct bg_allocate_item *out)
{
    const struct bg_cost_row *rows[BG_ALLOCATE_CANDIDATES];
    const struct bg_cost_layer *from = &table->layer[layer];
    int count = 0;
    enum bg_status rc = BG_OK;
    for (int at = from->first; at >= 0; at = table->row[at].next)
        if (is_listed(candidates, table->row[at].candidate))
            rows[count++] = &table->row[at];
    if (count == 0)
        FAIL(BG_E_USAGE, "--candidates: layer %s has none of these candidates", from->name);
    if (sorted)
        qsort(rows, (size_t)count, sizeof(const struct bg_cost_row *), by_bits);
    TRY(bg_allocate_item_make(out, from->name, count));
    out->priority = rows[0]->priority;
    for (int j = 0; j < count; j++) {
        memcpy(out->label[j], rows[j]->candidate, BG_NAME_MAX);
        out->penalty[j] = rows[j]->penalty;
    }
out:
    return rc;
}

enum bg_status bg_cost_table_problem(const struct bg_cost_table *table,
                                     const char *const *candidates, const bool *pinned,
                                     struct bg_allocate_problem *out)
{
    bool sorted = true;
    int w, a;
    enum bg_status rc = BG_OK;
    for (int i = 0; i < table->rows; i++)
        sorted = sorted && bg_cost_label_bits(table->row[i].candidate, &w, &a);
    TRY(bg_allocate_make(out, table->layers));
    for (int i = 0; i < table->layers; i++)
        TRY(make_item(table, i, pinned[i] ? NULL : candidates, sorted, &out->item[i]));
out:
    if (rc != BG_OK)
        bg_allocate_free(out);
    return rc;
}

enum bg_status bg_cost_table_budget(const struct bg_cost_table *table, int column, double value,
                                    struct bg_allocate_problem *problem)
{
    int b = 0;
    while (b < problem->budgets && strcmp(problem->budget_name[b], table->column[column]) != 0)
        b++;
    if (b == BG_ALLOCATE_BUDGETS)
        return bg_fail(BG_E_USAGE, "allocate: more than %d budgets", BG_ALLOCATE_BUDGETS);
    if (b == problem->budgets) {
        memcpy(problem->budget_name[b], table->column[column], BG_NAME_MAX);
        problem->budgets++;
        for (int i = 0; i < problem->items; i++)
            for (int j = 0; j < problem->item[i].candidates; j++)
                problem->item[i].cost[b][j] =
                    bg_cost_table_row(table, i, problem->item[i].label[j])->cost[column];
    }
    problem->budget[b] = value;
    return BG_OK;
}
