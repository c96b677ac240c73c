/* The table that ends a run. */
#include <math.h>
#include <stdio.h>

#include "experiments/result.h"

static void add_bits(struct bg_text *out, int64_t bits, int width)
{
    if (bits >= 32)
        bg_text_add(out, "  %*s", width, "f32");
    else
        bg_text_add(out, "  %*lld", width, (long long)bits);
}

static void add_layer(const struct bg_record *record, int64_t row, struct bg_text *out)
{
    const union bg_cell *layer = bg_table_row(&record->table[BG_TABLE_LAYERS], row);
    int index = (int)layer[BG_LAYER_LAYER].integer;
    const union bg_cell *rank = bg_record_rank(record, index);
    char score[32] = "-", place[32] = "-";

    if (index < 0 || index >= record->layers)
        return;
    if (rank && isfinite(rank[BG_RANK_SCORE].real))
        (void)snprintf(score, sizeof score, "%.4g", rank[BG_RANK_SCORE].real);
    if (rank && rank[BG_RANK_PINNED].integer)
        (void)snprintf(place, sizeof place, "pinned");
    else if (rank && rank[BG_RANK_RANK].integer > 0)
        (void)snprintf(place, sizeof place, "%lld", (long long)rank[BG_RANK_RANK].integer);
    bg_text_add(out, "%-20s  %10lld  %11s  %6s", record->layer_name[index],
                (long long)layer[BG_LAYER_WEIGHTS].integer, score, place);
    add_bits(out, layer[BG_LAYER_WEIGHT_BITS].integer, 11);
    add_bits(out, layer[BG_LAYER_ACTIVATION_BITS].integer, 15);
    bg_text_add(out, "\n");
}

static void add_accuracies(const struct bg_record *record, struct bg_text *out)
{
    for (int i = 0; i < BG_EVALUATED; i++) {
        enum bg_evaluated k = bg_evaluated_order[i];
        const union bg_cell *test = bg_record_evaluation(record, k, BG_ON_TEST);
        if (test)
            bg_text_add(out, "%-10s test accuracy %6.2f %%  (%lld of %lld)\n",
                        bg_evaluated_names[k], 100.0 * test[BG_EVAL_ACCURACY].real,
                        (long long)test[BG_EVAL_CORRECT].integer,
                        (long long)test[BG_EVAL_COUNT].integer);
    }
}

static void add_integers(const struct bg_record *record, struct bg_text *out)
{
    const struct bg_table *table = &record->table[BG_TABLE_INTEGERS];
    const union bg_cell *row;

    if (table->rows < 1)
        return;
    row = bg_table_row(table, 0);
    bg_text_add(
        out, "integers   %lld of %lld outputs differ from the independent judge (%lld images)",
        (long long)row[BG_INTEGER_DIFFER].integer, (long long)row[BG_INTEGER_OUTPUTS].integer,
        (long long)row[BG_INTEGER_IMAGES].integer);
    if (row[BG_INTEGER_MISTRUSTED].integer > 0)
        bg_text_add(out, ", %lld tensors MISTRUSTED",
                    (long long)row[BG_INTEGER_MISTRUSTED].integer);
    bg_text_add(out, "\n");
}

void bg_result_table(const struct bg_record *record, struct bg_text *out)
{
    const struct bg_table *layers = &record->table[BG_TABLE_LAYERS];
    const struct bg_table *costs = &record->table[BG_TABLE_COSTS];

    bg_text_add(out, "%-20s  %10s  %11s  %6s  %11s  %15s\n", "layer", "weights", "statistic",
                "rank", "weight bits", "activation bits");
    for (int64_t r = 0; r < layers->rows; r++)
        add_layer(record, r, out);
    if (*record->ranking_note)
        bg_text_add(out, "statistic: %s\n", record->ranking_note);
    bg_text_add(out, "\n");
    add_accuracies(record, out);
    add_integers(record, out);
    if (costs->rows >= 2 && bg_table_row(costs, 1)[BG_COST_MEAN_BITS].real < 32.0) {
        const union bg_cell *plain = bg_table_row(costs, 0), *planned = bg_table_row(costs, 1);
        bg_text_add(out,
                    "size       %.1f kB in f32, %.1f kB quantized: %.2f times smaller, "
                    "%.2f bits per weight\n",
                    plain[BG_COST_BYTES].real / 1000.0, planned[BG_COST_BYTES].real / 1000.0,
                    plain[BG_COST_BYTES].real / planned[BG_COST_BYTES].real,
                    planned[BG_COST_MEAN_BITS].real);
    }
}
