/* Rows of the record as the input of policies/residual_bits.h. */
#include "experiments/residuals.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "policies/residual_bits.h"

#define EPOCHS_MAX 64

struct rows {
    int count;
    struct bg_residual_record at[EPOCHS_MAX]; /* the newest first */
    double unit;                              /* of the newest */
    int weight_bits;                          /* 0 = it had no grid */
    int low;                                  /* bits below codes W with R below; else -1 */
};

static struct bg_residual_record record_of(const struct bg_record *record, const union bg_cell *row)
{
    const char *method = record->update_method[row[BG_UPDATE_METHOD].integer];
    const double updates = fmax((double)row[BG_UPDATE_UPDATES].integer, 1);
    struct bg_residual_record out = {
        .unit = row[BG_UPDATE_UNIT].real, .lr = row[BG_UPDATE_LR].real, .low = -1};

    for (int k = 0; k < BG_MOVE_OCTAVES; k++)
        out.octave[k] = row[BG_UPDATE_OCTAVE + k].integer;
    if (strcmp(method, "residual") == 0 || strcmp(method, "nearest") == 0)
        out.low = (int)row[BG_UPDATE_BELOW_BITS].integer;
    out.lost = fmax((double)row[BG_UPDATE_LOST].integer, 0) / updates;
    out.saturated = fmax((double)row[BG_UPDATE_SATURATED].integer, 0) / updates;
    return out;
}

/* Of the methods whose weights a residual takes over as they are (core/store_change.h). */
static int low_of(const struct bg_record *record, const union bg_cell *row)
{
    static const char *const names[] = {"residual", "nearest", "stochastic"};
    const char *method = record->update_method[row[BG_UPDATE_METHOD].integer];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(method, names[i]) == 0)
            return (int)row[BG_UPDATE_BELOW_BITS].integer;
    return -1;
}

/* Bits that hold what the weights are now: their total, and one more where a coarser grid has no
 * code for the ends of the finer one. */
static int needed(const struct rows *rows, int bits)
{
    const int more = rows->weight_bits - bits;

    return rows->low < 0 || rows->weight_bits == 0 ? 0 : rows->low + more + (more > 0 ? 1 : 0);
}

/* A layer's newest epochs: of fine-tuning up to a moment, then of training. */
static void collect(const struct bg_record *record, int layer, const int64_t limits[2],
                    struct rows *out)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];

    *out = (struct rows){.low = -1};
    for (int64_t r = table->rows; r-- > 0 && out->count < limits[0];) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_UPDATE_LAYER].integer != layer ||
            (row[BG_UPDATE_STAGE].integer == BG_UPDATED_FINETUNE &&
             row[BG_UPDATE_EPOCH].integer > limits[1]))
            continue;
        if (out->count == 0) {
            out->unit = row[BG_UPDATE_UNIT].real;
            out->weight_bits = (int)row[BG_UPDATE_WEIGHT_BITS].integer;
            out->low = low_of(record, row);
        }
        out->at[out->count++] = record_of(record, row);
    }
}

/* Largest code of symmetric weights; a layer without a grid was measured as if it had 8 bits. */
static double largest(int bits)
{
    return (double)((1 << ((bits < 2 ? 8 : bits) - 1)) - 1);
}

static enum bg_status choose(const struct bg_recipe *recipe, const struct bg_record *record,
                             const int64_t limits[2], double lr, struct bg_plan_layer *layer)
{
    const struct bg_residual_options *options = &recipe->residual;
    const int bits = layer->spec[BG_ROLE_WEIGHT].bits;
    struct bg_residual_choice choice;
    struct rows *rows = NULL;
    enum bg_status rc = BG_OK;
    int index = 0, below = 0;

    TRY(bg_alloc(&rows, 1, sizeof *rows));
    while (index < record->layers && strcmp(record->layer_name[index], layer->name) != 0)
        index++;
    collect(record, index, limits, rows);
    if (rows->count == 0)
        FAIL(BG_E_DATA,
             "select.residual: layer %s: the run has recorded none of its updates; run the train "
             "stage first",
             layer->name);
    rc = bg_residual_choose(options, rows->at, rows->count,
                            rows->unit * largest(rows->weight_bits) / largest(bits), lr, &choice);
    if (rc != BG_OK)
        rc = bg_fail_prefix(rc, "select.residual: layer %s: ", layer->name);
    TRY(rc);
    TRY(bg_text_copy(layer->update, sizeof layer->update, "residual"));
    below = choice.bits > needed(rows, bits) ? choice.bits : needed(rows, bits);
    if (below > BG_STORE_LOW_MAX)
        below = BG_STORE_LOW_MAX;
    layer->update_bits = below > 0 ? below : BG_PLAN_NO_BITS;
    bg_log(BG_LOG_INFO,
           "select: %s: %g %% of its steps are below 2^%.1f of a step of its %d-bit weights: "
           "u=residual:%d%s",
           layer->name, 100.0 * options->quantile, choice.size, bits, below,
           below > choice.bits ? ", which its present values need" : "");
    if (choice.saturates)
        bg_log(BG_LOG_WARN,
               "select: %s: more than %g %% of its steps stopped at the grid's end: it needs "
               "headroom, residual bits do not help",
               layer->name, 100.0 * options->saturated);
out:
    bg_free(rows);
    return rc;
}

enum bg_status bg_residuals_plan(const struct bg_recipe *recipe, const struct bg_record *record,
                                 int64_t finetune_epochs, struct bg_plan *plan)
{
    const struct bg_train_options *train =
        bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE) ? &recipe->finetune : &recipe->train;
    const int64_t steps = (record->train_count - 1) / train->batch + 1;
    const int64_t limits[2] = {recipe->residual.epochs < EPOCHS_MAX ? recipe->residual.epochs
                                                                    : EPOCHS_MAX,
                               finetune_epochs};
    const double lr = bg_residual_lr(&recipe->residual, train, steps);
    enum bg_status rc = BG_OK;

    for (int i = 0; recipe->residual.asked && i < plan->count; i++) {
        struct bg_plan_layer *layer = &plan->layer[i];
        const struct bg_spec *weight = &layer->spec[BG_ROLE_WEIGHT];
        const bool open = strcmp(layer->update, "sgd") == 0 ||
                          (strcmp(layer->update, "residual") == 0 && layer->update_bits == 0);
        if (open && weight->format == BG_FORMAT_INTEGER && weight->bits >= 2)
            TRY(choose(recipe, record, limits, lr, layer));
    }
out:
    return rc;
}
