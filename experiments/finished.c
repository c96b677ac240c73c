/* Opening a finished run: recipe, record, network and checkpoint; and data for it. The network and
 * the numbers that normalise its input come from the run alone. */
#include "experiments/finished.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/dnn.h"
#include "core/mem.h"

static enum bg_status check_finished(const char *dir, const struct bg_recipe *recipe)
{
    char path[BG_PATH_MAX];
    int stage = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, dir, BG_CHECKPOINT_LAST));
    TRY(bg_checkpoint_peek(path, NULL, &stage));
    if (stage != recipe->stages)
        FAIL(BG_E_DATA, "%s is not finished (%d of %d stages done); 'bitgrad run' goes on with it",
             dir, stage, recipe->stages);
out:
    return rc;
}

/* The first of several errors of a section is the sentence. */
static enum bg_status first_error(enum bg_status rc, const struct bg_text *errors)
{
    if (rc == BG_E_DATA && errors->length > 0)
        return bg_fail(rc, "%.*s", (int)strcspn(errors->at, "\n"), errors->at);
    return rc;
}

static enum bg_status open_network(struct bg_run *run, const char *checkpoint)
{
    const struct bg_recipe *recipe = run->recipe;
    struct bg_trainer_config config = {.compute = (enum bg_compute)recipe->top.compute,
                                       .seed = (uint64_t)recipe->top.seed,
                                       .batch = recipe->train.batch,
                                       .eval_batch = recipe->eval_batch};
    struct bg_text errors = {0};
    char name[BG_NAME_MAX + 32];
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    bg_threads_set((int)recipe->top.threads);
    rc = bg_net_create(&run->net, recipe->top.network, &run->record.spec,
                       (enum bg_loss)recipe->train.loss, recipe->train.label_smoothing, &errors);
    TRY(first_error(rc, &errors));
    config.net = run->net;
    TRY(bg_trainer_create(&run->trainer, &config));
    (void)snprintf(name, sizeof name, "checkpoint-%.63s.h5", checkpoint);
    TRY(bg_run_load(run, name, false));
out:
    bg_text_free(&errors);
    return rc;
}

enum bg_status bg_finished_open(struct bg_finished *out, const char *dir, const char *checkpoint)
{
    char path[BG_PATH_MAX];
    struct bg_finished finished = {.recipe = NULL};
    enum bg_status rc = BG_OK;

    *out = finished;
    TRY(bg_alloc(&finished.run, 1, sizeof *finished.run));
    finished.run->lock = -1;
    TRY(bg_text_copy(finished.run->dir, sizeof finished.run->dir, dir));
    TRY(bg_path_join(path, dir, "recipe.yaml"));
    TRY(bg_recipe_read(&finished.recipe, path, NULL, 0));
    finished.run->recipe = finished.recipe;
    if (!checkpoint)
        TRY(check_finished(dir, finished.recipe));
    TRY(bg_path_join(path, dir, "run.h5"));
    TRY(bg_record_read(&finished.run->record, path));
    if (strcmp(finished.run->record.recipe, bg_text_string(&finished.recipe->resolved)) != 0)
        FAIL(BG_E_MISMATCH, "%s is of another recipe than %s/recipe.yaml", path, dir);
    TRY(open_network(finished.run, checkpoint ? checkpoint : "last"));
    *out = finished;
    finished = (struct bg_finished){.recipe = NULL};
out:
    bg_finished_close(&finished);
    return rc;
}

enum bg_status bg_finished_need_integers(const struct bg_finished *finished, const char *what)
{
    const char *why = NULL;
    if (bg_graph_is_integer(finished->run->net->graph, &why))
        return BG_OK;
    return bg_fail(BG_E_UNSUPPORTED, "%s: there are no integers to %s: %s", finished->run->dir,
                   what, *why ? why : "the network is f32");
}

void bg_finished_close(struct bg_finished *finished)
{
    bg_run_close(finished->run);
    bg_recipe_free(finished->recipe);
    *finished = (struct bg_finished){.recipe = NULL};
}

/* The data section: the recipe's own, or {name: hdf5, test_file: FILE}, with overrides. */
static enum bg_status read_section(const char *recipe_text, const char *file,
                                   char *const *overrides, int count, struct bg_document **out)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 20);
    if (file) {
        bg_text_add(&text, "data:\n  name: hdf5\n  test_file: ");
        bg_text_add_json(&text, file); /* JSON strings are YAML */
        bg_text_add(&text, "\n");
    } else {
        bg_text_add(&text, "%s", recipe_text);
    }
    TRY(bg_text_check(&text));
    TRY(bg_yaml_parse_text(out, "recipe.yaml", bg_text_string(&text), text.length));
    for (int i = 0; i < count; i++)
        TRY(bg_yaml_override(*out, overrides[i]));
out:
    bg_text_free(&text);
    return rc;
}

static const struct bg_dataset_type *find_type(const char *name)
{
    for (int i = 0; bg_dataset_types[i]; i++)
        if (!strcmp(bg_dataset_types[i]->name, name))
            return bg_dataset_types[i];
    return NULL;
}

/* Reads the test part alone, by the reader's own table. */
static enum bg_status read_test(const struct bg_yaml *section, uint64_t seed,
                                struct bg_dataset *out)
{
    const char *common[32];
    const struct bg_yaml *name = section ? bg_yaml_get(section, "name") : NULL;
    const struct bg_dataset_type *type;
    struct bg_text errors = {0};
    void *options = NULL;
    int count = 0;
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    for (; count < 31 && bg_data_options_table[count].key; count++)
        common[count] = bg_data_options_table[count].key;
    common[count] = NULL;
    type = name && name->kind == BG_YAML_SCALAR ? find_type(name->text) : NULL;
    if (!type)
        FAIL(BG_E_DATA, "unknown data set \"%s\"; 'bitgrad list datasets' names them",
             name && name->kind == BG_YAML_SCALAR ? name->text : "");
    TRY(bg_alloc(&options, (int64_t)type->options_size + 1, 1));
    rc = bg_options_read(section, type->options, common, "data", options, &errors);
    TRY(first_error(rc, &errors));
    TRY(type->read(options, BG_SPLIT_TEST, seed, out));
    TRY(bg_dataset_check(out, false, type->name));
out:
    bg_free(options);
    bg_text_free(&errors);
    return rc;
}

static enum bg_status check_fit(const struct bg_dataset *set, const struct bg_sample_spec *spec)
{
    if (set->height != spec->height || set->width != spec->width || set->channels != spec->channels)
        return bg_fail(BG_E_SHAPE,
                       "images are %" PRId64 "x%" PRId64 "x%" PRId64 ", the network takes %" PRId64
                       "x%" PRId64 "x%" PRId64,
                       set->height, set->width, set->channels, spec->height, spec->width,
                       spec->channels);
    if (set->dtype != spec->dtype)
        return bg_fail(BG_E_DATA, "images are %s, the network takes %s", bg_dtype_name(set->dtype),
                       bg_dtype_name(spec->dtype));
    for (int64_t i = 0; i < set->count; i++)
        if (set->labels[i] >= spec->classes)
            return bg_fail(BG_E_DATA, "sample %" PRId64 " has class %d, the network knows %d", i,
                           (int)set->labels[i], spec->classes);
    return BG_OK;
}

/* f32 images are normalised as the training part was (datasets/prepare.c). */
static void normalise(struct bg_dataset *set, const struct bg_record *record)
{
    int64_t count = set->count * set->height * set->width * set->channels;
    float *values = (float *)set->images;
    if (set->dtype != BG_F32)
        return;
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(((double)values[i] - record->mean) / record->std);
}

enum bg_status bg_finished_open_data(struct bg_finished *finished, const char *file,
                                     char *const *overrides, int count)
{
    struct bg_run *run = finished->run;
    struct bg_document *document = NULL;
    struct bg_data *data = NULL;
    enum bg_status rc = BG_OK;

    TRY(read_section(run->record.recipe, file, overrides, count, &document));
    TRY(bg_alloc(&data, 1, sizeof *data));
    run->data = data;
    TRY(read_test(bg_yaml_get(bg_document_root(document), "data"), (uint64_t)run->record.seed,
                  &data->test));
    TRY(check_fit(&data->test, &run->record.spec));
    data->spec = run->record.spec;
    data->test.classes = data->spec.classes;
    data->test_count = data->test.count;
    normalise(&data->test, &run->record);
out:
    bg_document_free(document);
    return rc;
}
