/* `bitgrad eval`: the network of a finished run on other data. The network and the numbers that
 * normalise its input come from the run; training data is not needed. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dnn.h"
#include "core/log.h"
#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/run.h"

extern const struct bg_command bg_cmd_eval;

/* The data section: the recipe's own, or {name: hdf5, test_file: FILE}, with overrides. */
static enum bg_status read_section(const struct bg_arguments *arguments, const char *recipe_text,
                                   struct bg_document **out)
{
    const char *file = bg_arguments_get(arguments, "data");
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
    for (int i = 1; i < arguments->count; i++) {
        if (strncmp(arguments->at[i], "data.", 5) != 0)
            FAIL(BG_E_USAGE, "eval: '%s': only keys of the data can be given, as data.key=value",
                 arguments->at[i]);
        TRY(bg_yaml_override(*out, arguments->at[i]));
    }
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
    if (rc == BG_E_DATA && errors.length > 0)
        rc = bg_fail(rc, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
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

static enum bg_status open_data(struct bg_run *run, const struct bg_arguments *arguments)
{
    struct bg_document *document = NULL;
    struct bg_data *data = NULL;
    enum bg_status rc = BG_OK;

    TRY(read_section(arguments, run->record.recipe, &document));
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
    TRY(bg_net_create(&run->net, recipe->top.network, &run->record.spec,
                      (enum bg_loss)recipe->train.loss, recipe->train.label_smoothing, &errors));
    config.net = run->net;
    TRY(bg_trainer_create(&run->trainer, &config));
    (void)snprintf(name, sizeof name, "checkpoint-%.63s.h5", checkpoint);
    TRY(bg_run_load(run, name, false));
out:
    bg_text_free(&errors);
    return rc;
}

static enum bg_status check_finished(const char *dir, const struct bg_recipe *recipe)
{
    char path[BG_PATH_MAX];
    int stage = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, dir, BG_CHECKPOINT_LAST));
    TRY(bg_checkpoint_peek(path, NULL, &stage));
    if (stage != recipe->stages)
        FAIL(BG_E_DATA, "%s is not finished; 'bitgrad run' goes on with it", dir);
out:
    return rc;
}

static enum bg_status print_json(const struct bg_evaluation *evaluation)
{
    json_t *classes = json_array(), *root = json_object();
    char *text;
    for (int c = 0; c < evaluation->classes; c++)
        json_array_append_new(classes, evaluation->class_count[c] > 0
                                           ? json_real((double)evaluation->class_correct[c] /
                                                       (double)evaluation->class_count[c])
                                           : json_null());
    json_object_set_new(root, "schema", json_integer(1));
    json_object_set_new(root, "count", json_integer(evaluation->count));
    json_object_set_new(root, "correct", json_integer(evaluation->correct));
    json_object_set_new(root, "accuracy", json_real(evaluation->accuracy));
    json_object_set_new(root, "loss", json_real(evaluation->loss));
    json_object_set_new(root, "per_class", classes);
    text = json_dumps(root, JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(root);
    if (!text)
        return bg_fail(BG_E_NOMEM, "no memory for the result");
    puts(text);
    free(text); /* jansson's own */
    return BG_OK;
}

static void print_text(const struct bg_evaluation *evaluation)
{
    printf("accuracy %.2f %% (%lld of %lld), loss %.4f\n", 100.0 * evaluation->accuracy,
           (long long)evaluation->correct, (long long)evaluation->count, evaluation->loss);
    for (int c = 0; c < evaluation->classes; c++)
        if (evaluation->class_count[c] > 0)
            printf("class %-3d %6.2f %% (%lld of %lld)\n", c,
                   100.0 * (double)evaluation->class_correct[c] /
                       (double)evaluation->class_count[c],
                   (long long)evaluation->class_correct[c], (long long)evaluation->class_count[c]);
}

static enum bg_status evaluate(const struct bg_arguments *arguments, struct bg_run *run)
{
    const char *checkpoint = bg_arguments_get(arguments, "checkpoint");
    struct bg_evaluation *evaluation = NULL;
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&evaluation, 1, sizeof *evaluation));
    TRY(open_data(run, arguments));
    TRY(open_network(run, checkpoint ? checkpoint : "last"));
    TRY(bg_run_source(run, BG_PART_TEST, run->recipe->eval_batch, false, &source));
    TRY(bg_trainer_evaluate(run->trainer, source, evaluation));
    if (bg_arguments_get(arguments, "json"))
        TRY(print_json(evaluation));
    else
        print_text(evaluation);
out:
    bg_loader_destroy(source);
    bg_free(evaluation);
    return rc;
}

static enum bg_status eval_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_recipe *recipe = NULL;
    struct bg_run *run = NULL;
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_eval, argc, argv, 1, -1));
    if (arguments.done)
        goto out;
    TRY(bg_alloc(&run, 1, sizeof *run));
    run->lock = -1;
    TRY(bg_text_copy(run->dir, sizeof run->dir, arguments.at[0]));
    TRY(bg_path_join(path, run->dir, "recipe.yaml"));
    TRY(bg_recipe_read(&recipe, path, NULL, 0));
    run->recipe = recipe;
    if (!bg_arguments_get(&arguments, "checkpoint"))
        TRY(check_finished(run->dir, recipe));
    TRY(bg_path_join(path, run->dir, "run.h5"));
    TRY(bg_record_read(&run->record, path));
    TRY(evaluate(&arguments, run));
out:
    bg_run_close(run);
    bg_recipe_free(recipe);
    return rc;
}

static const struct bg_argument eval_arguments[] = {
    {"data", "FILE", "an HDF5 file with images and labels; default: the run's own test part"},
    {"checkpoint", "NAME", "train, select, finetune or last (default)"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_eval = {
    .name = "eval",
    .usage = "eval RUN [--data FILE] [data.key=value ...] [--checkpoint NAME] [--json]",
    .help = "evaluate the network of a finished run, overall and per class",
    .details =
        "FILE holds the images as test/x, x_test, ... or x, and labels likewise; other names by\n"
        "data.test_x=NAME data.test_y=NAME. Images must have the size and number type of the "
        "run's.",
    .main = eval_main,
    .arguments = eval_arguments};
