/* Reads tables of costs from TSV; which of the two formats a file has is seen from its first
 * character. The file is anybody's: sizes are bounded, every cell is checked. Format: see
 * experiments/cost_table.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/cost_table.h"

#define CELLS (BG_COST_COLUMNS + 4)

/* What a cell of a column is: a cost's index or one of these. */
enum { LAYER = -1, CANDIDATE = -2, PENALTY = -3, PRIORITY = -4 };

struct reader {
    struct bg_cost_table *table;
    char where[320]; /* "costs.tsv:4" */
    bool tabs;       /* cells stand between tabs */
    int cells, meaning[CELLS];
    char *cell[CELLS];
};

static char *trim(char *text)
{
    size_t length;
    while (*text == ' ')
        text++;
    length = strlen(text);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\r'))
        text[--length] = '\0';
    return text;
}

/* Cuts a line into cells in place. */
static enum bg_status split(struct reader *r, char *line, int *count)
{
    *count = 0;
    for (char *at = line; at;) {
        char *end = r->tabs ? strchr(at, '\t') : strpbrk(at, " \t");
        if (end)
            *end++ = '\0';
        if (r->tabs || *at) {
            if (*count == CELLS)
                return bg_fail(BG_E_DATA, "%s: more than %d columns", r->where, CELLS);
            r->cell[(*count)++] = trim(at);
        }
        at = end;
    }
    return BG_OK;
}

static enum bg_status read_header(struct reader *r, char *line)
{
    static const char *const own[] = {"layer", "candidate", "penalty", "priority"};
    int seen[4] = {0};
    enum bg_status rc = BG_OK;
    r->tabs = strchr(line, '\t') != NULL;
    TRY(split(r, line, &r->cells));
    for (int c = 0; c < r->cells; c++) {
        int word = 0;
        while (word < 4 && strcmp(r->cell[c], own[word]) != 0)
            word++;
        r->meaning[c] = word < 4 ? LAYER - word : r->table->columns;
        if (word == 4)
            TRY(bg_cost_table_column(r->table, r->where, r->cell[c]));
        else if (seen[word]++)
            FAIL(BG_E_DATA, "%s: two columns are named '%s'", r->where, own[word]);
    }
    for (int word = 0; word < 3; word++)
        if (!seen[word])
            FAIL(BG_E_DATA, "%s: the first line has no column '%s'", r->where, own[word]);
    r->table->priorities = seen[3] > 0;
out:
    return rc;
}

static enum bg_status read_number(const struct reader *r, const char *of, const char *column,
                                  const char *cell, double *out)
{
    if (*cell == '\0')
        return bg_fail(BG_E_DATA, "%s: %s: no value for %s", r->where, of, column);
    if (!strcmp(column, "priority") && (!strcmp(cell, "-") || !strcmp(cell, "nan"))) {
        *out = (double)NAN;
        return BG_OK;
    }
    if (!bg_text_to_real(cell, out))
        return bg_fail(BG_E_DATA, "%s: %s: %s is '%.60s', expected a finite number", r->where, of,
                       column, cell);
    return BG_OK;
}

static enum bg_status read_row(struct reader *r, char *line)
{
    struct bg_cost_row row = {.priority = (double)NAN};
    char layer[BG_NAME_MAX] = "", of[2 * BG_NAME_MAX + 32];
    int count = 0;
    enum bg_status rc = BG_OK;
    TRY(split(r, line, &count));
    for (int c = 0; c < count && c < r->cells; c++) {
        if (r->meaning[c] == LAYER)
            TRY(bg_cost_table_name(r->where, "layer", r->cell[c], layer));
        else if (r->meaning[c] == CANDIDATE)
            TRY(bg_cost_table_name(r->where, "candidate", r->cell[c], row.candidate));
    }
    (void)snprintf(of, sizeof of, "layer %s, candidate %s", layer, row.candidate);
    if (count > r->cells)
        FAIL(BG_E_DATA, "%s: %s: %d cells, the first line has %d", r->where, of, count, r->cells);
    for (int c = 0; c < r->cells; c++) {
        int meaning = r->meaning[c];
        const char *cell = c < count ? r->cell[c] : "";
        if (meaning == PENALTY)
            TRY(read_number(r, of, "penalty", cell, &row.penalty));
        else if (meaning == PRIORITY)
            TRY(read_number(r, of, "priority", cell, &row.priority));
        else if (meaning >= 0)
            TRY(read_number(r, of, r->table->column[meaning], cell, &row.cost[meaning]));
        else if (c >= count)
            FAIL(BG_E_DATA, "%s: %d cells, the first line has %d", r->where, count, r->cells);
    }
    TRY(bg_cost_table_add(r->table, r->where, layer, &row));
out:
    return rc;
}

static enum bg_status read_lines(struct bg_cost_table *table, char *text)
{
    struct reader r = {.table = table};
    int number = 0;
    enum bg_status rc = BG_OK;
    for (char *line = text; line;) {
        char *end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        (void)snprintf(r.where, sizeof r.where, "%s:%d", table->file, ++number);
        if (line[strspn(line, " \t\r")] != '\0' && *line != '#') {
            if (strlen(line) > 0 && line[strlen(line) - 1] == '\r')
                line[strlen(line) - 1] = '\0';
            if (r.cells == 0)
                TRY(read_header(&r, line));
            else
                TRY(read_row(&r, line));
        }
        line = end;
    }
out:
    return rc;
}

enum bg_status bg_cost_table_read(struct bg_cost_table *out, const char *path)
{
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;
    *out = (struct bg_cost_table){0};
    (void)snprintf(out->file, sizeof out->file, "%s", path);
    TRY(bg_file_read(path, BG_COST_BYTES, &text, &length));
    if (strlen(text) != length)
        FAIL(BG_E_DATA, "%s: a zero byte at offset %zu; expected TSV or JSON", path, strlen(text));
    char first = text[strspn(text, " \t\r\n")];
    if (first == '[' || first == '{')
        TRY(bg_cost_table_json(out, text, length));
    else
        TRY(read_lines(out, text));
    if (out->rows == 0)
        FAIL(BG_E_DATA, "%s: no rows", path);
out:
    bg_free(text);
    if (rc != BG_OK)
        bg_cost_table_free(out);
    return rc;
}
