/* `bitgrad export`: the integers of a finished run's last network in one file, with a few test
 * images and every code they lead to. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "experiments/arguments.h"
#include "experiments/finished.h"
#include "layers/export_integer.h"

#define SAMPLES     10
#define SAMPLES_MAX 1000

extern const struct bg_command bg_cmd_export;

struct request {
    enum bg_export_format format;
    int64_t samples;
    char path[BG_PATH_MAX];
};

static enum bg_status read_format(const struct bg_arguments *arguments, enum bg_export_format *out)
{
    const char *text = bg_arguments_get(arguments, "format");
    if (!text)
        return bg_fail(BG_E_USAGE, "export: --format is missing; usage: bitgrad %s",
                       arguments->command->usage);
    for (int i = 0; i < BG_EXPORT_FORMATS; i++)
        if (!strcmp(text, bg_export_format_names[i])) {
            *out = (enum bg_export_format)i;
            return BG_OK;
        }
    return bg_fail(BG_E_USAGE, "--format: expected npz or h5, got '%s'", text);
}

/* A run's own files are not to be written over. */
static enum bg_status check_name(const char *path)
{
    static const char *const own[] = {"run.h5",     "result.json", "recipe.yaml",
                                      "timing.tsv", "plan.txt",    "report.html"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool taken = !strncmp(name, "checkpoint-", 11);

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        taken = taken || !strcmp(name, own[i]);
    if (*name == '\0' || taken)
        return bg_fail(BG_E_USAGE, "--out '%s': %s", path,
                       taken ? "a file of a run has this name" : "expected a file's name");
    return BG_OK;
}

static enum bg_status read_request(const struct bg_arguments *arguments, struct request *out)
{
    const char *file = bg_arguments_get(arguments, "out");
    char name[32];
    enum bg_status rc = BG_OK;
    TRY(read_format(arguments, &out->format));
    TRY(bg_arguments_int(arguments, "samples", 1, SAMPLES_MAX, SAMPLES, &out->samples));
    (void)snprintf(name, sizeof name, "integers.%s", bg_export_format_names[out->format]);
    if (file)
        TRY(check_name(file));
    if (file)
        TRY(bg_text_copy(out->path, sizeof out->path, file));
    else
        TRY(bg_path_join(out->path, arguments->at[0], name));
out:
    return rc;
}

static enum bg_status check_integer(const struct bg_run *run)
{
    const char *why = NULL;
    if (run->plan.count == 0)
        return bg_fail(BG_E_UNSUPPORTED, "%s: the network is f32, there are no integers in it",
                       run->dir);
    if (!bg_graph_is_integer(run->net->graph, &why))
        return bg_fail(BG_E_UNSUPPORTED, "%s: the network is not one of integers: %s", run->dir,
                       why);
    return BG_OK;
}

/* The first images of the test part. */
static enum bg_status open_samples(const struct bg_run *run, int64_t samples,
                                   struct bg_source **source, struct bg_batch *batch)
{
    enum bg_status rc = BG_OK;
    if (samples > run->data->test_count)
        FAIL(BG_E_RANGE, "--samples %lld: the test part has %lld images", (long long)samples,
             (long long)run->data->test_count);
    TRY(bg_run_source(run, BG_PART_TEST, samples, false, source));
    TRY((*source)->start(*source, 0, 0));
    TRY((*source)->next(*source, batch));
out:
    return rc;
}

static enum bg_status say(const struct request *request, const struct bg_integer_model *model)
{
    struct stat info;
    if (stat(request->path, &info) != 0)
        return bg_fail(BG_E_IO, "%s: written and gone again", request->path);
    printf("%s: %lld bytes, %d steps\n", request->path, (long long)info.st_size, model->steps);
    return BG_OK;
}

static enum bg_status export_run(const struct bg_run *run, const struct request *request)
{
    struct bg_integer_model *model = NULL;
    struct bg_integer_program *program = NULL;
    struct bg_source *source = NULL;
    struct bg_batch batch = {.size = 0};
    enum bg_status rc = BG_OK;

    TRY(open_samples(run, request->samples, &source, &batch));
    TRY(bg_integer_model_create(&model, run->net->graph, NULL));
    TRY(bg_integer_program_create(&program, model, request->samples, BG_INT_FAST, true));
    TRY(bg_export_integers(model, program, &batch, run->net->name, request->path, request->format));
    TRY(say(request, model));
out:
    bg_integer_program_destroy(program);
    bg_integer_model_destroy(model);
    bg_loader_destroy(source);
    return rc;
}

static enum bg_status export_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_finished finished = {.recipe = NULL};
    struct request request = {.samples = 0};
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_export, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    TRY(read_request(&arguments, &request));
    TRY(bg_finished_open(&finished, arguments.at[0], NULL));
    TRY(check_integer(finished.run));
    TRY(bg_finished_open_data(&finished, NULL, NULL, 0));
    TRY(export_run(finished.run, &request));
out:
    bg_finished_close(&finished);
    return rc;
}

static const struct bg_argument export_arguments[] = {
    {"format", "npz|h5", "what to write"},
    {"out", "FILE", "default RUN/integers.npz or RUN/integers.h5"},
    {"samples", "N", "test images with all their codes, 1 to 1000; default 10"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_export = {
    .name = "export",
    .usage = "export RUN --format npz|h5 [--out FILE] [--samples N]",
    .help = "write the integer program of a finished run, with golden inputs",
    .details =
        "The file holds the steps of the network, its weight codes, scales, zero points and\n"
        "requantisation numbers, and the first N test images with the codes of every tensor and\n"
        "the logits. scripts/replay.py computes them again from the file alone. A network with\n"
        "layers in f32 or more than 8 bits has no integer program and is refused.",
    .main = export_main,
    .arguments = export_arguments};
