/* Reads tables of costs from JSON. Format: see experiments/cost_table.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/cost_table.h"

#define DEPTH 64 /* of the file's lists and objects; jansson's own limit is 2048 */

static const char *const own[] = {"layer", "candidate", "penalty", "priority", NULL};

static bool is_own(const char *key)
{
    for (int i = 0; own[i]; i++)
        if (!strcmp(own[i], key))
            return true;
    return false;
}

/* The first row names the costs. */
static enum bg_status read_columns(struct bg_cost_table *table, const char *where, json_t *row)
{
    const char *key = NULL;
    json_t *value = NULL;
    enum bg_status rc = BG_OK;
    json_object_foreach(row, key, value)
    {
        if (!is_own(key))
            TRY(bg_cost_table_column(table, where, key));
    }
    table->priorities = json_object_get(row, "priority") != NULL;
out:
    return rc;
}

static enum bg_status read_text(const char *where, const char *key, const json_t *row,
                                char out[BG_NAME_MAX])
{
    const json_t *value = json_object_get(row, key);
    char number[32];
    if (!value)
        return bg_fail(BG_E_DATA, "%s: no %s", where, key);
    if (json_is_string(value))
        return bg_cost_table_name(where, key, json_string_value(value), out);
    if (!json_is_integer(value))
        return bg_fail(BG_E_DATA, "%s: the %s is neither a text nor a whole number", where, key);
    (void)snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    return bg_text_copy(out, BG_NAME_MAX, number);
}

static enum bg_status read_number(const char *where, const char *of, const char *key,
                                  const json_t *row, double *out)
{
    const json_t *value = json_object_get(row, key);
    if (!value)
        return bg_fail(BG_E_DATA, "%s: %s: no value for %s", where, of, key);
    if (json_is_null(value) && !strcmp(key, "priority")) {
        *out = (double)NAN;
        return BG_OK;
    }
    if (!json_is_number(value))
        return bg_fail(BG_E_DATA, "%s: %s: %s is not a number", where, of, key);
    *out = json_number_value(value);
    return BG_OK;
}

static enum bg_status check_keys(const struct bg_cost_table *table, const char *where,
                                 const char *of, json_t *row)
{
    const char *key = NULL;
    json_t *value = NULL;
    int column = 0;
    enum bg_status rc = BG_OK;
    json_object_foreach(row, key, value)
    {
        for (column = 0; column < table->columns; column++)
            if (!strcmp(table->column[column], key))
                break;
        if (column == table->columns &&
            (!is_own(key) || (!strcmp(key, "priority") && !table->priorities)))
            FAIL(BG_E_DATA, "%s: %s: '%.60s' is not in the first row", where, of, key);
    }
out:
    return rc;
}

static enum bg_status read_row(struct bg_cost_table *table, size_t index, json_t *value)
{
    struct bg_cost_row row = {.priority = (double)NAN};
    char where[320], layer[BG_NAME_MAX], of[2 * BG_NAME_MAX + 32];
    enum bg_status rc = BG_OK;
    (void)snprintf(where, sizeof where, "%s: row %zu", table->file, index + 1);
    if (!json_is_object(value))
        FAIL(BG_E_DATA, "%s: expected an object {\"layer\": ..., \"candidate\": ..., ...}", where);
    if (index == 0)
        TRY(read_columns(table, where, value));
    TRY(read_text(where, "layer", value, layer));
    TRY(read_text(where, "candidate", value, row.candidate));
    (void)snprintf(of, sizeof of, "layer %s, candidate %s", layer, row.candidate);
    TRY(read_number(where, of, "penalty", value, &row.penalty));
    if (table->priorities)
        TRY(read_number(where, of, "priority", value, &row.priority));
    for (int c = 0; c < table->columns; c++)
        TRY(read_number(where, of, table->column[c], value, &row.cost[c]));
    TRY(check_keys(table, where, of, value));
    TRY(bg_cost_table_add(table, where, layer, &row));
out:
    return rc;
}

static enum bg_status check_root(const struct bg_cost_table *table, json_t *root)
{
    static const char *const keys[] = {"rows", "budgets", "ties", "pins"};
    const char *key = NULL, *nearest = NULL;
    json_t *value = NULL;
    enum bg_status rc = BG_OK;
    json_object_foreach(root, key, value)
    {
        int i = 0;
        while (i < 4 && strcmp(keys[i], key) != 0)
            i++;
        if (i < 4)
            continue;
        nearest = bg_text_nearest(key, keys, 4);
        FAIL(BG_E_DATA, "%s: unknown key '%.60s'%s%s%s", table->file, key,
             nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    }
out:
    return rc;
}

enum bg_status bg_cost_table_json(struct bg_cost_table *table, const char *text, size_t length)
{
    json_error_t error;
    json_t *root = NULL, *rows = NULL;
    int depth = 0;
    enum bg_status rc = BG_OK;
    for (size_t i = 0; i < length; i++) { /* brackets in texts count too: names are short */
        depth += text[i] == '[' || text[i] == '{';
        depth -= text[i] == ']' || text[i] == '}';
        if (depth > DEPTH)
            FAIL(BG_E_DATA, "%s: nested deeper than %d", table->file, DEPTH);
    }
    root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        FAIL(BG_E_DATA, "%s:%d: %.160s", table->file, error.line, error.text);
    rows = root;
    if (json_is_object(root)) {
        TRY(check_root(table, root));
        rows = json_object_get(root, "rows");
        table->root = json_incref(root);
    }
    if (!json_is_array(rows))
        FAIL(BG_E_DATA, "%s: expected a list of rows, or an object with that list under 'rows'",
             table->file);
    for (size_t i = 0; i < json_array_size(rows); i++)
        TRY(read_row(table, i, json_array_get(rows, i)));
out:
    json_decref(root);
    return rc;
}
