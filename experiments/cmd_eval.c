/* `bitgrad eval`: the network of a finished run on other data. The network and the numbers that
 * normalise its input come from the run; training data is not needed. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/finished.h"
#include "experiments/print_json.h"

extern const struct bg_command bg_cmd_eval;

static enum bg_status print_json(const struct bg_evaluation *evaluation)
{
    json_t *classes = json_array(), *root = json_object();
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
    json_object_set_new(root, "evaluated", json_string(evaluation->integer ? "integer" : "f32"));
    return bg_print_json(root, 15);
}

static void print_text(const struct bg_evaluation *evaluation)
{
    printf("accuracy %.2f %% (%lld of %lld), loss %.4f, %s\n", 100.0 * evaluation->accuracy,
           (long long)evaluation->correct, (long long)evaluation->count, evaluation->loss,
           evaluation->integer ? "integers" : "in f32");
    for (int c = 0; c < evaluation->classes; c++)
        if (evaluation->class_count[c] > 0)
            printf("class %-3d %6.2f %% (%lld of %lld)\n", c,
                   100.0 * (double)evaluation->class_correct[c] /
                       (double)evaluation->class_count[c],
                   (long long)evaluation->class_correct[c], (long long)evaluation->class_count[c]);
}

static enum bg_status evaluate(const struct bg_arguments *arguments, struct bg_run *run)
{
    struct bg_evaluation *evaluation = NULL;
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&evaluation, 1, sizeof *evaluation));
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
    struct bg_finished finished = {.recipe = NULL};
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_eval, argc, argv, 1, -1));
    if (arguments.done)
        goto out;
    for (int i = 1; i < arguments.count; i++)
        if (strncmp(arguments.at[i], "data.", 5) != 0)
            FAIL(BG_E_USAGE, "eval: '%s': only keys of the data can be given, as data.key=value",
                 arguments.at[i]);
    TRY(bg_finished_open(&finished, arguments.at[0], bg_arguments_get(&arguments, "checkpoint")));
    TRY(bg_finished_open_data(&finished, bg_arguments_get(&arguments, "data"), arguments.at + 1,
                              arguments.count - 1));
    TRY(evaluate(&arguments, finished.run));
out:
    bg_finished_close(&finished);
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
