/* The record in memory. */
#include "experiments/record.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define I(name_)                                                                                   \
    {                                                                                              \
        name_, BG_H5_S64                                                                           \
    }
#define R(name_)                                                                                   \
    {                                                                                              \
        name_, BG_H5_F64                                                                           \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, BG_H5_S64                                                                            \
    }

static const struct bg_column step_columns[] = {I("step"), R("lr"),      R("loss"),
                                                I("size"), I("correct"), END};
static const struct bg_column epoch_columns[] = {I("epoch"),
                                                 I("step"),
                                                 R("lr"),
                                                 R("train_loss"),
                                                 R("train_accuracy"),
                                                 R("validation_loss"),
                                                 R("validation_accuracy"),
                                                 END};
static const struct bg_column ranking_columns[] = {I("layer"),  R("score"),       I("rank"),
                                                   I("pinned"), R("weight_step"), END};
static const struct bg_column measure_columns[] = {
    I("measure"), I("measured"), I("layer"),   I("role"),   I("bits"),
    R("value"),   R("spread"),   I("samples"), I("passes"), END};
static const struct bg_column search_columns[] = {I("k"),    R("accuracy"), R("loss"),
                                                  R("drop"), I("passed"),   END};
static const struct bg_column evaluation_columns[] = {
    I("network"), I("part"), I("count"), I("correct"), R("accuracy"), R("loss"), I("integer"), END};
static const struct bg_column class_columns[] = {I("network"), I("part"),    I("class"),
                                                 I("count"),   I("correct"), END};
static const struct bg_column layer_columns[] = {I("layer"),
                                                 I("height"),
                                                 I("width"),
                                                 I("channels"),
                                                 I("weights"),
                                                 I("other_params"),
                                                 I("macs"),
                                                 I("weight_bits"),
                                                 I("activation_bits"),
                                                 R("bytes"),
                                                 R("bops_hawq"),
                                                 R("bops_detailed"),
                                                 END};
static const struct bg_column cost_columns[] = {
    R("bytes"), R("bops_hawq"), R("bops_detailed"), R("mean_weight_bits"), I("params"), I("macs"),
    END};
static const struct bg_column weight_columns[] = {I("layer"), I("code"), I("count"), END};
static const struct bg_column integer_columns[] = {
    I("images"), I("correct"), I("outputs"), I("differ"), I("mistrusted"),
    I("hash_0"), I("hash_1"),  I("hash_2"),  I("hash_3"), END};

static const struct bg_column round_columns[] = {I("measures"),     I("ranking"), I("search"),
                                                 I("rows"),         I("cycles"),  I("along"),
                                                 I("along_cycles"), I("step"),    END};
static const struct bg_column budget_columns[] = {
    I("round"), I("kind"), R("limit"), R("cost"), R("objective"), R("bound"), I("optimal"), END};
static const struct bg_column update_columns[] = {I("layer"),       I("stage"),
                                                  I("epoch"),       I("method"),
                                                  I("weight_bits"), I("below_bits"),
                                                  I("updates"),     I("written"),
                                                  I("lost"),        I("saturated"),
                                                  I("beyond"),      R("lr"),
                                                  R("unit"),        I("sampled"),
                                                  R("mean_step"),   I("steps_none"),
                                                  I("steps_0"),     I("steps_1"),
                                                  I("steps_2"),     I("steps_3"),
                                                  I("steps_4"),     I("steps_5"),
                                                  I("steps_6"),     I("steps_7"),
                                                  I("steps_8"),     I("steps_9"),
                                                  I("steps_10"),    I("steps_11"),
                                                  I("steps_12"),    I("steps_13"),
                                                  I("steps_14"),    I("steps_15"),
                                                  I("steps_16"),    I("steps_17"),
                                                  I("steps_18"),    I("steps_19"),
                                                  I("steps_20"),    I("steps_21"),
                                                  I("steps_22"),    I("steps_23"),
                                                  I("steps_24"),    I("steps_25"),
                                                  I("steps_26"),    I("steps_27"),
                                                  I("steps_28"),    END};
static const struct bg_column memory_columns[] = {
    I("layer"), I("stage"),    I("integer"), I("weights"),  I("codes"),
    I("below"), I("momentum"), I("f32"),     I("gradient"), END};
static_assert(sizeof update_columns / sizeof update_columns[0] == BG_UPDATE_END + 1,
              "a column for each number of an update's row");

static const struct {
    const char *path;
    const struct bg_column *columns;
} tables[BG_TABLES] = {
    [BG_TABLE_TRAIN_STEPS] = {"metrics/train/steps", step_columns},
    [BG_TABLE_TRAIN_EPOCHS] = {"metrics/train/epochs", epoch_columns},
    [BG_TABLE_FINETUNE_STEPS] = {"metrics/finetune/steps", step_columns},
    [BG_TABLE_FINETUNE_EPOCHS] = {"metrics/finetune/epochs", epoch_columns},
    [BG_TABLE_RANKING] = {"select/ranking", ranking_columns},
    [BG_TABLE_SEARCH] = {"select/search", search_columns},
    [BG_TABLE_EVALUATIONS] = {"evaluation/parts", evaluation_columns},
    [BG_TABLE_CLASSES] = {"evaluation/classes", class_columns},
    [BG_TABLE_LAYERS] = {"layers/table", layer_columns},
    [BG_TABLE_COSTS] = {"layers/costs", cost_columns},
    [BG_TABLE_WEIGHTS] = {"layers/weight_histogram", weight_columns},
    [BG_TABLE_INTEGERS] = {"evaluation/integers", integer_columns},
    [BG_TABLE_MEASURES] = {"profile/measures", measure_columns},
    [BG_TABLE_ROUNDS] = {"select/rounds", round_columns},
    [BG_TABLE_BUDGETS] = {"select/budgets", budget_columns},
    [BG_TABLE_UPDATES] = {"updates/epochs", update_columns},
    [BG_TABLE_MEMORY] = {"updates/memory", memory_columns},
};

const char *const bg_evaluated_names[BG_EVALUATED] = {"fp32", "quantized", "finetuned", "trained"};
const enum bg_evaluated bg_evaluated_order[BG_EVALUATED] = {
    BG_EVALUATED_FP32, BG_EVALUATED_TRAINED, BG_EVALUATED_QUANTIZED, BG_EVALUATED_FINETUNED};

static enum bg_status copy_names(char (**out)[BG_NAME_MAX], const char *const *names, int count)
{
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(out, count, BG_NAME_MAX));
    for (int i = 0; i < count; i++)
        TRY(bg_text_copy((*out)[i], BG_NAME_MAX, names[i]));
out:
    return rc;
}

enum bg_status bg_record_make(struct bg_record *out, int layers, const char *const *names,
                              const char *const *ops)
{
    enum bg_status rc = BG_OK;
    memset(out, 0, sizeof *out);
    out->layers = layers;
    out->chosen = -1;
    for (int i = 0; i < BG_TABLES; i++)
        bg_table_init(&out->table[i], tables[i].path, tables[i].columns);
    TRY(copy_names(&out->layer_name, names, layers));
    TRY(copy_names(&out->layer_op, ops, layers));
out:
    if (rc != BG_OK)
        bg_record_free(out);
    return rc;
}

void bg_record_free(struct bg_record *record)
{
    for (int i = 0; i < BG_TABLES; i++)
        bg_table_free(&record->table[i]);
    for (int i = 0; i < BG_PROFILES; i++)
        bg_profile_free(&record->profile[i]);
    for (int i = 0; i < record->plans; i++)
        bg_free(record->plan[i].text);
    bg_free(record->measure_name);
    bg_free(record->layer_name);
    bg_free(record->layer_op);
    bg_free(record->implementation);
    bg_free(record->recipe);
    memset(record, 0, sizeof *record);
}

enum bg_status bg_record_set_measures(struct bg_record *record, int measures,
                                      const char *const *names, int candidates, const int *bits)
{
    char(*copy)[BG_NAME_MAX] = NULL;
    enum bg_status rc = BG_OK;
    if (candidates < 0 || candidates > BG_CANDIDATES_MAX)
        FAIL(BG_E_DATA, "%d candidates, limit is %d", candidates, BG_CANDIDATES_MAX);
    TRY(copy_names(&copy, names, measures));
    bg_free(record->measure_name);
    record->measure_name = copy;
    record->measures = measures;
    record->candidates = candidates;
    for (int i = 0; i < candidates; i++)
        record->candidate_bits[i] = bits[i];
out:
    return rc;
}

enum bg_status bg_record_add_plan(struct bg_record *record, const char *stage, const char *text)
{
    struct bg_plan_entry *entry = NULL;
    char *copy = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_copy_text(&copy, text));
    for (int i = 0; i < record->plans; i++)
        if (!strcmp(record->plan[i].stage, stage))
            entry = &record->plan[i];
    if (!entry) {
        if (record->plans == BG_PLANS_MAX)
            FAIL(BG_E_INTERNAL, "more than %d plans in a run", BG_PLANS_MAX);
        entry = &record->plan[record->plans];
        TRY(bg_text_copy(entry->stage, sizeof entry->stage, stage));
        record->plans++;
    }
    bg_free(entry->text);
    entry->text = copy;
    copy = NULL;
out:
    bg_free(copy);
    return rc;
}

const char *bg_record_plan(const struct bg_record *record)
{
    return record->plans ? record->plan[record->plans - 1].text : "";
}

void bg_record_round_name(int round, char out[BG_NAME_MAX])
{
    if (round == 0)
        (void)snprintf(out, BG_NAME_MAX, "select");
    else
        (void)snprintf(out, BG_NAME_MAX, "select-%d", round + 1);
}

const char *bg_record_find_plan(const struct bg_record *record, const char *name)
{
    for (int i = 0; i < record->plans; i++)
        if (!strcmp(record->plan[i].stage, name))
            return record->plan[i].text;
    return NULL;
}

const union bg_cell *bg_record_rank(const struct bg_record *record, int layer)
{
    const struct bg_table *table = &record->table[BG_TABLE_RANKING];
    for (int64_t r = table->rows; r-- > 0;)
        if (bg_table_row(table, r)[BG_RANK_LAYER].integer == layer)
            return bg_table_row(table, r);
    return NULL;
}

const union bg_cell *bg_record_evaluation(const struct bg_record *record, enum bg_evaluated kind,
                                          enum bg_evaluated_part part)
{
    const struct bg_table *table = &record->table[BG_TABLE_EVALUATIONS];
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_EVAL_KIND].integer == kind && row[BG_EVAL_PART].integer == part)
            return row;
    }
    return NULL;
}

void bg_record_counts(const struct bg_record *record, int64_t counts[BG_RECORD_COUNTS])
{
    int at = 0;
    for (int i = 0; i < BG_TABLES; i++)
        counts[at++] = record->table[i].rows;
    for (int i = 0; i < BG_PROFILES; i++) {
        counts[at++] = record->profile[i].rows;
        counts[at++] = record->profile[i].cycles;
    }
    counts[at++] = record->plans;
    counts[at] = record->chosen;
}

static enum bg_status rewind_count(int64_t *have, int64_t want, const char *what)
{
    if (want < 0 || want > *have)
        return bg_fail(BG_E_DATA, "%s: the record has %lld rows, the checkpoint expects %lld", what,
                       (long long)*have, (long long)want);
    *have = want;
    return BG_OK;
}

enum bg_status bg_record_rewind(struct bg_record *record, const int64_t counts[BG_RECORD_COUNTS])
{
    enum bg_status rc = BG_OK;
    int64_t plans = record->plans;
    int at = 0;
    for (int i = 0; i < BG_TABLES; i++)
        TRY(rewind_count(&record->table[i].rows, counts[at++], tables[i].path));
    for (int i = 0; i < BG_PROFILES; i++) {
        TRY(rewind_count(&record->profile[i].rows, counts[at++], "profile"));
        TRY(rewind_count(&record->profile[i].cycles, counts[at++], "profile displacement"));
    }
    TRY(rewind_count(&plans, counts[at++], "plans"));
    while (record->plans > plans) {
        record->plans--;
        bg_free(record->plan[record->plans].text);
        record->plan[record->plans] = (struct bg_plan_entry){.text = NULL};
    }
    record->chosen = counts[at];
out:
    return rc;
}
