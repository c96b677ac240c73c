/* The result of a run, as JSON and as the table that ends it. */
#include "experiments/result.h"
#include "policies/budget.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/yaml.h"

#define RESULT_SCHEMA 1

static json_t *accuracies(const struct bg_record *record, enum bg_evaluated_part part)
{
    json_t *out = json_object();
    for (int k = 0; k < BG_EVALUATED; k++) {
        const union bg_cell *row = bg_record_evaluation(record, (enum bg_evaluated)k, part);
        json_object_set_new(out, bg_evaluated_names[k],
                            row ? json_real(row[BG_EVAL_ACCURACY].real) : json_null());
    }
    return out;
}

/* "integer" or "f32" (with simulated codes where there is a plan), by network. */
static json_t *how_evaluated(const struct bg_record *record)
{
    json_t *out = json_object();
    for (int k = 0; k < BG_EVALUATED; k++) {
        const union bg_cell *row = bg_record_evaluation(record, (enum bg_evaluated)k, BG_ON_TEST);
        if (row)
            json_object_set_new(out, bg_evaluated_names[k],
                                json_string(row[BG_EVAL_INTEGER].integer ? "integer" : "f32"));
    }
    return out;
}

/* The last verification: `integer`, and accuracy.integer over its images; null without one. */
static void add_integers(json_t *root, const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_INTEGERS];
    json_t *accuracy = json_object_get(root, "accuracy");
    const union bg_cell *row;
    char hash[BG_HASH_TEXT];

    if (table->rows < 1) {
        json_object_set_new(accuracy, "integer", json_null());
        json_object_set_new(root, "integer", json_null());
        return;
    }
    row = bg_table_row(table, 0);
    (void)snprintf(hash, sizeof hash, "%016llx%016llx%016llx%016llx",
                   (unsigned long long)row[BG_INTEGER_HASH].integer,
                   (unsigned long long)row[BG_INTEGER_HASH + 1].integer,
                   (unsigned long long)row[BG_INTEGER_HASH + 2].integer,
                   (unsigned long long)row[BG_INTEGER_HASH + 3].integer);
    json_object_set_new(accuracy, "integer",
                        json_real((double)row[BG_INTEGER_CORRECT].integer /
                                  (double)row[BG_INTEGER_IMAGES].integer));
    json_object_set_new(root, "integer",
                        json_pack("{s:I, s:I, s:I, s:I, s:s}", "images",
                                  (json_int_t)row[BG_INTEGER_IMAGES].integer, "outputs",
                                  (json_int_t)row[BG_INTEGER_OUTPUTS].integer, "differ",
                                  (json_int_t)row[BG_INTEGER_DIFFER].integer, "mistrusted",
                                  (json_int_t)row[BG_INTEGER_MISTRUSTED].integer, "hash", hash));
}

/* Test accuracy of each class; null where the test part has no sample of it. */
static json_t *per_class(const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_CLASSES];
    json_t *out = json_object();
    for (int k = 0; k < BG_EVALUATED; k++) {
        json_t *list = json_array();
        for (int64_t r = 0; r < table->rows; r++) {
            const union bg_cell *row = bg_table_row(table, r);
            double count = (double)row[BG_CLASS_COUNT].integer;
            if (row[BG_CLASS_KIND].integer != k || row[BG_CLASS_PART].integer != BG_ON_TEST)
                continue;
            json_array_append_new(
                list,
                count > 0 ? json_real((double)row[BG_CLASS_CORRECT].integer / count) : json_null());
        }
        if (json_array_size(list) > 0)
            json_object_set_new(out, bg_evaluated_names[k], list);
        else
            json_decref(list);
    }
    return out;
}

static json_t *scalar(const struct bg_yaml *node)
{
    int64_t integer = 0;
    double real = 0.0;
    if (node->quoted)
        return json_string(node->text);
    if (bg_text_to_int(node->text, &integer))
        return json_integer(integer);
    if (bg_text_to_real(node->text, &real))
        return json_real(real);
    if (!strcmp(node->text, "true") || !strcmp(node->text, "false"))
        return json_boolean(node->text[0] == 't');
    return json_string(node->text);
}

/* The recipe's tree; depth is capped by the reader (core/yaml.h). */
static json_t *tree(const struct bg_yaml *node)
{
    json_t *out;
    if (node->kind == BG_YAML_SCALAR)
        return scalar(node);
    out = node->kind == BG_YAML_MAP ? json_object() : json_array();
    for (const struct bg_yaml *at = node->first; at; at = at->next) {
        if (node->kind == BG_YAML_MAP)
            json_object_set_new(out, at->key, tree(at));
        else
            json_array_append_new(out, tree(at));
    }
    return out;
}

static json_t *cost_pair(const struct bg_record *record, int column)
{
    const struct bg_table *table = &record->table[BG_TABLE_COSTS];
    json_t *out = json_object();
    for (int64_t r = 0; r < 2 && r < table->rows; r++)
        json_object_set_new(out, r == 0 ? "fp32" : "quantized",
                            json_real(bg_table_row(table, r)[column].real));
    return out;
}

static void add_costs(json_t *root, const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_COSTS];
    const union bg_cell *plain, *planned;
    if (table->rows < 2)
        return;
    plain = bg_table_row(table, 0);
    planned = bg_table_row(table, 1);
    json_object_set_new(root, "size_bytes", cost_pair(record, BG_COST_BYTES));
    json_object_set_new(root, "weight_bits",
                        json_pack("{s:f}", "mean", planned[BG_COST_MEAN_BITS].real));
    json_object_set_new(root, "bops",
                        json_pack("{s:f, s:f, s:f, s:f}", "hawq", planned[BG_COST_HAWQ].real,
                                  "detailed", planned[BG_COST_DETAILED].real, "hawq_fp32",
                                  plain[BG_COST_HAWQ].real, "detailed_fp32",
                                  plain[BG_COST_DETAILED].real));
    json_object_set_new(root, "params", json_integer(planned[BG_COST_PARAMS].integer));
    json_object_set_new(root, "macs", json_integer(planned[BG_COST_MACS].integer));
}

static json_t *round_budgets(const struct bg_record *record, int round)
{
    const struct bg_table *table = &record->table[BG_TABLE_BUDGETS];
    json_t *budgets = json_array();
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_SPENT_ROUND].integer == round)
            json_array_append_new(budgets, json_pack("{s:s, s:f, s:f, s:f, s:b}", "kind",
                                                     bg_budget_names[row[BG_SPENT_KIND].integer],
                                                     "limit", row[BG_SPENT_LIMIT].real, "cost",
                                                     row[BG_SPENT_COST].real, "objective",
                                                     row[BG_SPENT_OBJECTIVE].real, "optimal",
                                                     (int)row[BG_SPENT_OPTIMAL].integer));
    }
    return budgets;
}

/* One entry per selection: where fine-tuning stood, what the budgets came to, the plan. */
static void add_rounds(json_t *root, const struct bg_record *record)
{
    json_t *rounds = json_array();
    for (int i = 0; i < bg_record_rounds(record); i++) {
        char name[BG_NAME_MAX];
        const char *plan;
        bg_record_round_name(i, name);
        plan = bg_record_find_plan(record, name);
        if (plan)
            json_array_append_new(rounds,
                                  json_pack("{s:i, s:I, s:o, s:s}", "round", i + 1, "finetune_step",
                                            (json_int_t)bg_record_round(record, i).step, "budgets",
                                            round_budgets(record, i), "plan", plan));
    }
    json_object_set_new(root, "selections", rounds);
}

static void add_search(json_t *root, const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_SEARCH];
    json_t *trials = json_array();
    int64_t evaluations = 0;
    int round = 0;
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        while (r >= bg_record_round(record, round).to[BG_ROUND_SEARCH])
            round++;
        evaluations += row[BG_SEARCH_K].integer > 0;
        json_array_append_new(trials, json_pack("{s:i, s:I, s:f, s:f, s:b}", "round", round + 1,
                                                "k", (json_int_t)row[BG_SEARCH_K].integer,
                                                "accuracy", row[BG_SEARCH_ACCURACY].real, "drop",
                                                row[BG_SEARCH_DROP].real, "passed",
                                                (int)row[BG_SEARCH_PASSED].integer));
    }
    json_object_set_new(root, "search",
                        json_pack("{s:I, s:I, s:s, s:o}", "evaluations", (json_int_t)evaluations,
                                  "layers", (json_int_t)record->chosen, "policy", record->policy,
                                  "trials", trials));
    add_rounds(root, record);
}

static void add_environment(json_t *root, const struct bg_record *record)
{
    const struct bg_environment *environment = &record->environment;
    json_object_set_new(root, "threads", json_integer(environment->threads));
    json_object_set_new(root, "isa", json_string(environment->isa));
    json_object_set_new(root, "cpu", json_string(environment->cpu));
    json_object_set_new(root, "versions",
                        json_pack("{s:s, s:s, s:s}", "bitgrad", environment->bitgrad, "onednn",
                                  environment->onednn, "compiler", environment->compiler));
    json_object_set_new(root, "data",
                        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "title", record->data_title,
                                  "train_hash", record->train_hash, "test_hash", record->test_hash,
                                  "train", (json_int_t)record->train_count, "validation",
                                  (json_int_t)record->validation_count, "test",
                                  (json_int_t)record->test_count));
}

static enum bg_status build(const struct bg_record *record, json_t **out)
{
    struct bg_document *recipe = NULL;
    json_t *root = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_yaml_parse_text(&recipe, "recipe.yaml", record->recipe, strlen(record->recipe)));
    root = json_object();
    if (!root)
        FAIL(BG_E_NOMEM, "no memory for the result");
    json_object_set_new(root, "schema", json_integer(RESULT_SCHEMA));
    json_object_set_new(root, "name", json_string(record->name));
    json_object_set_new(root, "network", json_string(record->network));
    json_object_set_new(root, "recipe", tree(bg_document_root(recipe)));
    json_object_set_new(root, "seed", json_integer(record->seed));
    json_object_set_new(root, "plan", json_string(bg_record_plan(record)));
    json_object_set_new(root, "accuracy", accuracies(record, BG_ON_TEST));
    json_object_set_new(root, "evaluated", how_evaluated(record));
    json_object_set_new(root, "accuracy_validation", accuracies(record, BG_ON_VALIDATION));
    json_object_set_new(root, "per_class", per_class(record));
    add_integers(root, record);
    add_environment(root, record);
    add_costs(root, record);
    add_search(root, record);
    json_object_set_new(root, "updates", bg_result_updates(record));
    *out = root;
out:
    bg_document_free(recipe);
    return rc;
}

static enum bg_status print(const struct bg_record *record, size_t flags, struct bg_text *out)
{
    json_t *root = NULL;
    char *text = NULL;
    enum bg_status rc = BG_OK;
    TRY(build(record, &root));
    text = json_dumps(root, JSON_SORT_KEYS | JSON_REAL_PRECISION(15) | flags);
    if (!text)
        FAIL(BG_E_NOMEM, "no memory for the result");
    bg_text_add(out, "%s\n", text);
    TRY(bg_text_check(out));
out:
    free(text); /* jansson's own */
    json_decref(root);
    return rc;
}

enum bg_status bg_result_print(const struct bg_record *record, struct bg_text *out)
{
    return print(record, JSON_COMPACT, out);
}

enum bg_status bg_result_write(const struct bg_record *record, const char *path)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&text, 1 << 26);
    TRY(print(record, JSON_INDENT(2), &text));
    TRY(bg_file_write(path, bg_text_string(&text), text.length));
out:
    bg_text_free(&text);
    return rc;
}
