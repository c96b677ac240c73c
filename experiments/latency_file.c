/* Latency tables in and out. */
#include "experiments/latency_file.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/text.h"
#include "experiments/cost_table.h"

#define KERNEL_BITS 8  /* integer kernels take codes of up to so many bits */
#define SEEN        33 /* labels have 1 to 16 bits, or 32; 0 = not said */

static enum bg_status find_column(const struct bg_cost_table *table, int *out)
{
    for (*out = 0; *out < table->columns; ++*out)
        if (!strcmp(table->column[*out], bg_budget_names[BG_BUDGET_LATENCY]))
            return BG_OK;
    return bg_fail(BG_E_DATA, "%s: there is no column 'latency'", table->file);
}

static enum bg_status find_layer(const struct bg_cost_table *table, int row,
                                 const char *const *names, int layers, int *out)
{
    const char *name = table->layer[table->row[row].layer].name, *near;
    for (*out = 0; *out < layers; ++*out)
        if (!strcmp(names[*out], name))
            return BG_OK;
    near = bg_text_nearest(name, names, layers);
    return bg_fail(BG_E_DATA, "%s: the network has no layer '%s'%s%s%s", table->file, name,
                   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* A row that says both widths goes before one that says one, wherever it stands. */
static void set(double *at, double value, bool exact)
{
    if (exact || isnan(*at))
        *at = value;
}

/* Rows of a layer so far, by bits of weights and activations. */
typedef bool seen_bits[SEEN][SEEN];

static enum bg_status take_row(struct bg_latency *out, const struct bg_cost_table *table, int row,
                               int layer, double value, seen_bits *seen)
{
    const char *label = table->row[row].candidate;
    int weight = 0, activation = 0;
    if (!bg_cost_label_bits(label, &weight, &activation))
        return bg_fail(BG_E_DATA,
                       "%s: layer %s: candidate '%s': expected bits like w4a8, w32a32 or 8",
                       table->file, table->layer[table->row[row].layer].name, label);
    if (seen[layer][weight][activation])
        return bg_fail(BG_E_DATA, "%s: layer %s: candidate '%s' has a row already, by another name",
                       table->file, table->layer[table->row[row].layer].name, label);
    seen[layer][weight][activation] = true;
    for (int a = 0; a < BG_LATENCY_BITS; a++)
        if (activation == 0 ? weight == 32 || (a >= 1 && a <= KERNEL_BITS)
                            : activation == (a == 0 ? 32 : a))
            set(bg_latency_at(out, layer, weight == 32 ? 0 : weight, a), value, activation > 0);
    return BG_OK;
}

enum bg_status bg_latency_read(struct bg_latency *out, const char *path, const char *const *names,
                               int layers)
{
    struct bg_cost_table table = {.rows = 0};
    seen_bits *seen = NULL;
    int column = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_latency_make(out, layers));
    TRY(bg_alloc(&seen, layers, sizeof *seen));
    TRY(bg_cost_table_read(&table, path));
    TRY(find_column(&table, &column));
    for (int r = 0; r < table.rows; r++) {
        int layer = 0;
        TRY(find_layer(&table, r, names, layers, &layer));
        TRY(take_row(out, &table, r, layer, table.row[r].cost[column], seen));
    }
out:
    bg_free(seen);
    bg_cost_table_free(&table);
    return rc;
}

enum bg_status bg_latency_hash(const char *path, char out[BG_HASH_TEXT])
{
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_file_read(path, BG_COST_BYTES, &text, &length));
    TRY(bg_hash_bytes(text, length, out));
out:
    bg_free(text);
    return rc;
}

enum bg_status bg_latency_write(const char *path, const char *note,
                                const struct bg_latency_row *rows, int layers)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 24);
    if (bg_file_exists(path))
        FAIL(BG_E_USAGE, "%s exists already", path);
    bg_text_add(&text, "# %s\nlayer\tcandidate\tpenalty\tlatency\n", note);
    for (int i = 0; i < layers; i++) {
        bg_text_add(&text, "%s\tw32\t0\t%.9g\n", rows[i].layer, rows[i].f32);
        for (int w = KERNEL_BITS; w >= 1; w--)
            bg_text_add(&text, "%s\tw%d\t0\t%.9g\n", rows[i].layer, w, rows[i].integer);
    }
    TRY(bg_text_check(&text));
    TRY(bg_file_write(path, bg_text_string(&text), text.length));
out:
    bg_text_free(&text);
    return rc;
}
