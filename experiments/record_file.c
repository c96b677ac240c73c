/* run.h5: the record as open data. Written whole through a temporary name, so that the path always
 * holds a complete file. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/profile_file.h"
#include "experiments/record.h"

#define TEXT_BYTES_MAX (1 << 24)
#define LAYERS_MAX     100000

static const char *const profile_paths[BG_PROFILES] = {"profile/training", "profile/batches",
                                                       "profile/finetuning"};
static const char *const implementation_paths[BG_IMPLEMENTATION_FIELDS] = {
    "implementations/node", "implementations/op", "implementations/forward",
    "implementations/backward_data", "implementations/backward_weights"};

enum bg_status bg_h5_put_text(struct bg_h5 *file, const char *name, const char *text)
{
    int64_t length = (int64_t)strlen(text);
    enum bg_status rc = BG_OK;
    TRY(bg_h5_write_texts(file, name, text, 1, length + 1));
    TRY(bg_h5_set_int(file, name, "length", length));
out:
    return rc;
}

enum bg_status bg_h5_take_text(struct bg_h5 *file, const char *name, char **out)
{
    char *text = NULL;
    int64_t length = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_h5_get_int(file, name, "length", &length));
    if (length < 0 || length > TEXT_BYTES_MAX)
        FAIL(BG_E_DATA, "%s: length %lld, limit is %d", name, (long long)length, TEXT_BYTES_MAX);
    TRY(bg_alloc(&text, length + 1, 1));
    TRY(bg_h5_read_texts(file, name, text, 1, length + 1));
    text[length] = '\0';
    *out = text;
    text = NULL;
out:
    bg_free(text);
    return rc;
}

static enum bg_status write_meta(const struct bg_record *record, struct bg_h5 *file)
{
    const struct bg_sample_spec *spec = &record->spec;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"schema", BG_RUN_SCHEMA},
                   {"seed", record->seed},
                   {"layers", record->layers},
                   {"plans", record->plans},
                   {"chosen", record->chosen},
                   {"implementations", record->implementations},
                   {"train_count", record->train_count},
                   {"validation_count", record->validation_count},
                   {"test_count", record->test_count},
                   {"height", spec->height},
                   {"width", spec->width},
                   {"channels", spec->channels},
                   {"classes", spec->classes},
                   {"input_dtype", spec->dtype},
                   {"input_zero_point", spec->zero_point}};
    const struct {
        const char *key, *value;
    } words[] = {{"name", record->name},           {"network", record->network},
                 {"data", record->data_title},     {"train_hash", record->train_hash},
                 {"test_hash", record->test_hash}, {"policy", record->policy},
                 {"ranking", record->ranking_note}};
    enum bg_status rc = BG_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TRY(bg_h5_set_int(file, "", numbers[i].key, numbers[i].value));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        TRY(bg_h5_set_text(file, "", words[i].key, words[i].value));
    TRY(bg_h5_set_real(file, "", "input_scale", (double)spec->scale));
    TRY(bg_h5_set_real(file, "", "input_mean", record->mean));
    TRY(bg_h5_set_real(file, "", "input_std", record->std));
    TRY(bg_environment_write(&record->environment, file));
out:
    return rc;
}

static enum bg_status read_limited(struct bg_h5 *file, const char *key, int64_t min, int64_t max,
                                   int64_t *out)
{
    enum bg_status rc = BG_OK;
    TRY(bg_h5_get_int(file, "", key, out));
    if (*out < min || *out > max)
        FAIL(BG_E_DATA, "attribute %s is %lld, limits are %lld to %lld", key, (long long)*out,
             (long long)min, (long long)max);
out:
    return rc;
}

static enum bg_status read_spec(struct bg_sample_spec *spec, struct bg_h5 *file)
{
    const int64_t large = (int64_t)1 << 30;
    int64_t number = 0;
    double scale = 0.0;
    enum bg_status rc = BG_OK;
    TRY(read_limited(file, "height", 1, large, &spec->height));
    TRY(read_limited(file, "width", 1, large, &spec->width));
    TRY(read_limited(file, "channels", 1, large, &spec->channels));
    TRY(read_limited(file, "classes", 1, BG_RECORD_CLASSES, &number));
    spec->classes = (int)number;
    TRY(read_limited(file, "input_dtype", 0, BG_DTYPES - 1, &number));
    spec->dtype = (enum bg_dtype)number;
    TRY(read_limited(file, "input_zero_point", -large, large, &number));
    spec->zero_point = (int32_t)number;
    TRY(bg_h5_get_real(file, "", "input_scale", &scale));
    spec->scale = (float)scale;
out:
    return rc;
}

static enum bg_status read_meta(struct bg_record *record, struct bg_h5 *file, int64_t *plans)
{
    const int64_t huge = INT64_MAX;
    const struct {
        const char *key;
        char *out;
        int64_t room;
    } words[] = {{"name", record->name, sizeof record->name},
                 {"network", record->network, sizeof record->network},
                 {"data", record->data_title, sizeof record->data_title},
                 {"train_hash", record->train_hash, sizeof record->train_hash},
                 {"test_hash", record->test_hash, sizeof record->test_hash},
                 {"policy", record->policy, sizeof record->policy},
                 {"ranking", record->ranking_note, sizeof record->ranking_note}};
    enum bg_status rc = BG_OK;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        TRY(bg_h5_get_text(file, "", words[i].key, words[i].out, words[i].room));
    TRY(read_limited(file, "seed", 0, huge, &record->seed));
    TRY(read_limited(file, "plans", 0, BG_PLANS_MAX, plans));
    TRY(read_limited(file, "chosen", -1, LAYERS_MAX, &record->chosen));
    TRY(read_limited(file, "implementations", 0, LAYERS_MAX, &record->implementations));
    TRY(read_limited(file, "train_count", 0, huge, &record->train_count));
    TRY(read_limited(file, "validation_count", 0, huge, &record->validation_count));
    TRY(read_limited(file, "test_count", 0, huge, &record->test_count));
    TRY(read_spec(&record->spec, file));
    TRY(bg_h5_get_real(file, "", "input_mean", &record->mean));
    TRY(bg_h5_get_real(file, "", "input_std", &record->std));
    TRY(bg_environment_read(&record->environment, file));
out:
    return rc;
}

static enum bg_status implementations(struct bg_record *record, struct bg_h5 *file, bool write)
{
    int64_t count = record->implementations;
    char(*texts)[BG_NAME_MAX] = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&texts, count + 1, BG_NAME_MAX));
    if (!write) {
        bg_free(record->implementation);
        record->implementation = NULL;
        TRY(bg_alloc(&record->implementation, count, sizeof *record->implementation));
    }
    for (int f = 0; f < BG_IMPLEMENTATION_FIELDS && count > 0; f++) {
        for (int64_t i = 0; i < count && write; i++)
            memcpy(texts[i], record->implementation[i].text[f], BG_NAME_MAX);
        if (write) {
            TRY(bg_h5_write_texts(file, implementation_paths[f], texts[0], count, BG_NAME_MAX));
            continue;
        }
        TRY(bg_h5_read_texts(file, implementation_paths[f], texts[0], count, BG_NAME_MAX));
        for (int64_t i = 0; i < count; i++)
            (void)snprintf(record->implementation[i].text[f], BG_NAME_MAX, "%.*s", BG_NAME_MAX - 1,
                           texts[i]);
    }
out:
    bg_free(texts);
    return rc;
}

static void plan_name(char out[128], int index, const char *stage)
{
    (void)snprintf(out, 128, "plans/%d-%s", index, stage);
}

static enum bg_status write_parts(const struct bg_record *record, struct bg_h5 *file)
{
    struct bg_record view = *record; /* written from, never to */
    char name[128];
    enum bg_status rc = BG_OK;

    TRY(write_meta(record, file));
    TRY(bg_h5_put_text(file, "recipe", record->recipe));
    TRY(bg_h5_write_texts(file, "layers/name", record->layer_name[0], record->layers, BG_NAME_MAX));
    TRY(bg_h5_write_texts(file, "layers/op", record->layer_op[0], record->layers, BG_NAME_MAX));
    for (int i = 0; i < BG_TABLES; i++)
        TRY(bg_table_write(&record->table[i], file));
    TRY(bg_record_write_latency(record, file));
    TRY(bg_record_write_fixed(record, file));
    TRY(bg_record_write_measures(record, file));
    TRY(bg_record_write_updates(record, file));
    for (int i = 0; i < BG_PROFILES; i++)
        if (record->profile[i].layers > 0)
            TRY(bg_profile_write(&record->profile[i], profile_paths[i], file));
    for (int i = 0; i < record->plans; i++) {
        plan_name(name, i, record->plan[i].stage);
        TRY(bg_h5_put_text(file, name, record->plan[i].text));
        TRY(bg_h5_set_text(file, name, "stage", record->plan[i].stage));
    }
    TRY(implementations(&view, file, true));
    TRY(bg_h5_set_int(file, "", "complete", 1));
out:
    return rc;
}

enum bg_status bg_record_write(const struct bg_record *record, const char *path)
{
    char temporary[BG_PATH_MAX] = "";
    struct bg_h5 *file = NULL;
    enum bg_status rc = BG_OK, closed;

    TRY(bg_path_temporary(temporary, path));
    TRY(bg_h5_create(&file, temporary));
    TRY(write_parts(record, file));
    rc = bg_h5_close(file);
    file = NULL;
    if (rc == BG_OK)
        rc = bg_file_commit(temporary, path);
out:
    closed = file ? bg_h5_close(file) : BG_OK;
    if (rc == BG_OK)
        rc = closed;
    if (rc != BG_OK && *temporary)
        bg_file_remove(temporary);
    return rc;
}

static enum bg_status read_names(struct bg_record *out, struct bg_h5 *file)
{
    char(*names)[BG_NAME_MAX] = NULL, (*ops)[BG_NAME_MAX] = NULL;
    const char **pointers = NULL;
    int64_t layers = 0;
    enum bg_status rc = BG_OK;

    TRY(read_limited(file, "layers", 1, LAYERS_MAX, &layers));
    TRY(bg_alloc(&names, layers, BG_NAME_MAX));
    TRY(bg_alloc(&ops, layers, BG_NAME_MAX));
    TRY(bg_alloc(&pointers, 2 * layers, sizeof *pointers));
    TRY(bg_h5_read_texts(file, "layers/name", names[0], layers, BG_NAME_MAX));
    TRY(bg_h5_read_texts(file, "layers/op", ops[0], layers, BG_NAME_MAX));
    for (int64_t i = 0; i < layers; i++) {
        names[i][BG_NAME_MAX - 1] = ops[i][BG_NAME_MAX - 1] = '\0';
        pointers[i] = names[i];
        pointers[layers + i] = ops[i];
    }
    TRY(bg_record_make(out, (int)layers, pointers, pointers + layers));
out:
    bg_free(names);
    bg_free(ops);
    bg_free((void *)pointers);
    return rc;
}

static enum bg_status read_profiles(struct bg_record *record, struct bg_h5 *file)
{
    const char **names = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&names, record->layers, sizeof *names));
    for (int i = 0; i < record->layers; i++)
        names[i] = record->layer_name[i];
    for (int i = 0; i < BG_PROFILES; i++)
        if (bg_h5_has(file, profile_paths[i]))
            TRY(bg_profile_read(&record->profile[i], names, record->layers, profile_paths[i],
                                file));
out:
    bg_free((void *)names);
    return rc;
}

/* The stage is part of the name: plans/0-select. */
static bool find_plan(struct bg_h5 *file, int64_t i, char name[128], char stage[BG_NAME_MAX])
{
    static const char *const others[] = {"given", "train"};
    for (int s = 0; s < 2 + BG_SELECT_ROUNDS; s++) {
        if (s < 2)
            (void)snprintf(stage, BG_NAME_MAX, "%s", others[s]);
        else
            bg_record_round_name(s - 2, stage);
        plan_name(name, (int)i, stage);
        if (bg_h5_has(file, name))
            return true;
    }
    return false;
}

static enum bg_status read_plans(struct bg_record *record, struct bg_h5 *file, int64_t count)
{
    char *text = NULL;
    enum bg_status rc = BG_OK;

    for (int64_t i = 0; i < count; i++) {
        char name[128] = "", stage[BG_NAME_MAX];
        if (!find_plan(file, i, name, stage))
            FAIL(BG_E_DATA, "plans/%d-* is missing", (int)i);
        TRY(bg_h5_take_text(file, name, &text));
        TRY(bg_record_add_plan(record, stage, text));
        bg_free(text);
        text = NULL;
    }
out:
    bg_free(text);
    return rc;
}

/* Other code uses these numbers as indices. */
static enum bg_status check_layers(const struct bg_record *record)
{
    static const enum bg_record_table by_layer[] = {
        BG_TABLE_RANKING, BG_TABLE_LAYERS, BG_TABLE_WEIGHTS, BG_TABLE_UPDATES, BG_TABLE_MEMORY};
    for (size_t i = 0; i < sizeof by_layer / sizeof by_layer[0]; i++) {
        const struct bg_table *table = &record->table[by_layer[i]];
        for (int64_t r = 0; r < table->rows; r++) {
            int64_t layer = bg_table_row(table, r)[0].integer;
            if (layer < 0 || layer >= record->layers)
                return bg_fail(BG_E_DATA, "%s: row %lld names layer %lld of %d", table->path,
                               (long long)r, (long long)layer, record->layers);
        }
    }
    return BG_OK;
}

/* An older file lacks the tables that came after it. */
static bool has_table(const struct bg_table *table, struct bg_h5 *file)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s/%s", table->path, table->column[0].name);
    return bg_h5_has(file, name);
}

static enum bg_status read_parts(struct bg_record *out, struct bg_h5 *file)
{
    int64_t schema = 0, complete = 0, plans = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_h5_get_int(file, "", "schema", &schema));
    if (schema != BG_RUN_SCHEMA && schema != BG_RUN_SCHEMA_OLD)
        FAIL(BG_E_DATA, "schema %lld, this bitgrad reads %d and %d", (long long)schema,
             BG_RUN_SCHEMA_OLD, BG_RUN_SCHEMA);
    TRY(bg_h5_get_int(file, "", "complete", &complete));
    if (complete != 1)
        FAIL(BG_E_DATA, "not complete");
    TRY(read_names(out, file));
    TRY(read_meta(out, file, &plans));
    TRY(bg_h5_take_text(file, "recipe", &out->recipe));
    for (int i = 0; i < BG_TABLES; i++)
        if (i <= BG_TABLE_MEASURES || has_table(&out->table[i], file))
            TRY(bg_table_read(&out->table[i], file));
    TRY(check_layers(out));
    TRY(bg_record_read_latency(out, file));
    TRY(bg_record_read_fixed(out, file));
    TRY(bg_record_read_measures(out, file));
    TRY(bg_record_read_updates(out, file));
    TRY(read_profiles(out, file));
    TRY(bg_record_check_rounds(out));
    TRY(read_plans(out, file, plans));
    TRY(implementations(out, file, false));
out:
    return rc;
}

enum bg_status bg_record_read(struct bg_record *out, const char *path)
{
    struct bg_h5 *file = NULL;
    enum bg_status rc = BG_OK;

    memset(out, 0, sizeof *out);
    TRY(bg_h5_open(&file, path));
    rc = read_parts(out, file);
    if (rc != BG_OK && !strstr(bg_error(), path))
        rc = bg_fail_prefix(rc, "%s: ", path);
out:
    if (file) {
        enum bg_status closed = bg_h5_close(file);
        if (rc == BG_OK)
            rc = closed;
    }
    if (rc != BG_OK)
        bg_record_free(out);
    return rc;
}
