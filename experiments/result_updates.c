/* The result's `updates`: of each training stage what the weights took and what their updates did,
 * weights in integers and weights with an f32 master apart. */
#include <math.h>

#include "experiments/result.h"

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Mean bytes per weight; f32: master and projection. */
static json_t *memory(const struct bg_store_bytes *bytes)
{
    const double n = (double)bytes->weights;

    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "codes", (double)bytes->codes / n, "below",
                     (double)bytes->below / n, "momentum", (double)bytes->momentum / n, "f32",
                     (double)bytes->values / n, "gradient", (double)bytes->gradient / n);
}

static void add_counts(json_t *out, const struct bg_update_sum *sum)
{
    json_object_set_new(out, "writes_per_weight", number(sum->written / sum->weights));
    json_object_set_new(out, "writes_per_weight_and_step", number(sum->written / sum->updates));
    json_object_set_new(out, "lost", number(sum->lost / sum->updates));
    json_object_set_new(out, "saturated", number(sum->saturated / sum->updates));
    json_object_set_new(out, "mean_step", number(sum->mean_step));
}

static json_t *layers(const struct bg_record *record, enum bg_updated stage)
{
    json_t *out = json_array();

    for (int i = 0; i < record->layers; i++) {
        struct bg_update_sum sum;
        json_t *layer = NULL;
        if (!bg_record_sum_updates(record, stage, i, &sum))
            continue;
        layer = json_pack("{s:s, s:s, s:i, s:i}", "layer", record->layer_name[i], "method",
                          record->update_method[sum.method], "weight_bits", sum.weight_bits,
                          "below_bits", sum.below_bits);
        add_counts(layer, &sum);
        json_array_append_new(out, layer);
    }
    return out;
}

static json_t *stage(const struct bg_record *record, enum bg_updated which)
{
    static const char *const kinds[2] = {"f32", "integer"};
    json_t *out = json_object();
    double all = 0;

    for (int i = 0; i < 2; i++) {
        struct bg_store_bytes bytes;
        struct bg_update_sum sum;
        json_t *kind = NULL;
        bg_record_sum_memory(record, which, i == 1, &bytes);
        all += (double)bytes.weights;
        if (bytes.weights == 0)
            continue;
        kind = json_object();
        json_object_set_new(kind, "weights", json_integer(bytes.weights));
        json_object_set_new(kind, "bytes_per_weight", memory(&bytes));
        if (i == 1 && bg_record_sum_updates(record, which, -1, &sum))
            add_counts(kind, &sum);
        json_object_set_new(out, kinds[i], kind);
    }
    json_object_set_new(out, "remembered_bytes_per_weight",
                        number((double)record->remembered[which] / all));
    json_object_set_new(out, "layers", layers(record, which));
    return out;
}

json_t *bg_result_updates(const struct bg_record *record)
{
    json_t *out = json_object();

    for (int i = 0; i < BG_UPDATED; i++) {
        bool trained = false;
        for (int64_t r = 0; r < record->table[BG_TABLE_MEMORY].rows; r++)
            trained =
                trained ||
                bg_table_row(&record->table[BG_TABLE_MEMORY], r)[BG_MEMORY_STAGE].integer == i;
        if (trained)
            json_object_set_new(out, bg_updated_names[i], stage(record, (enum bg_updated)i));
    }
    return out;
}
