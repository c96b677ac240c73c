/* `bitgrad bench step`: times one f32 training step of a named network on made-up data: forward,
 * loss, backward and momentum update. Judge by ratios of runs in the same minutes, never by an
 * absolute time. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/program.h"
#include "core/dnn.h"
#include "core/mem.h"
#include "core/rng.h"
#include "experiments/arguments.h"
#include "experiments/terminal.h"
#include "layers/net.h"
#include "policies/select.h"

extern const struct bg_command bg_cmd_bench;

#define WARM_UP   3
#define SIDE      28
#define CLASSES   10
#define STEPS_MAX 100000

struct bench {
    const char *model;
    int64_t batch, threads, steps;
    struct bg_document *section;
    struct bg_net *net;
    struct bg_program *program;
    const struct bg_update_method *update;
    void *update_options;
    uint8_t *images;
    int32_t *labels;
    double *seconds;
};

static bool is_network(const char *name, size_t length)
{
    for (int i = 0; bg_net_types[i]; i++)
        if (strlen(bg_net_types[i]->name) == length &&
            !strncmp(bg_net_types[i]->name, name, length))
            return true;
    return false;
}

/* "resnet20" is the network resnet at depth 20; "lenet5" is a name itself. */
static enum bg_status write_section(const char *model, struct bg_text *out)
{
    size_t length = strlen(model), stem = length;
    while (stem > 0 && isdigit((unsigned char)model[stem - 1]))
        stem--;
    if (is_network(model, length))
        bg_text_add(out, "name: %s\n", model);
    else if (stem < length && is_network(model, stem))
        bg_text_add(out, "name: %.*s\ndepth: %s\n", (int)stem, model, model + stem);
    else
        return bg_fail(BG_E_USAGE, "bench: unknown model '%s'; 'bitgrad list networks' names them",
                       model);
    return bg_text_check(out);
}

static enum bg_status make_net(struct bench *bench)
{
    struct bg_sample_spec spec = {.height = SIDE,
                                  .width = SIDE,
                                  .channels = 1,
                                  .classes = CLASSES,
                                  .dtype = BG_U8,
                                  .scale = 1.0f / 90.0f,
                                  .zero_point = 73};
    struct bg_text section = {0}, errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&section, 1 << 12);
    bg_text_init(&errors, 1 << 16);
    TRY(write_section(bench->model, &section));
    TRY(bg_yaml_parse_text(&bench->section, "bench", bg_text_string(&section), section.length));
    rc = bg_net_create(&bench->net, bg_document_root(bench->section), &spec, BG_LOSS_CROSS_ENTROPY,
                       0.0, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        rc = bg_fail(rc, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    bg_graph_initialise(bench->net->graph, 1);
    TRY(bg_update_choose("sgd", NULL, "options", &bench->update, &bench->update_options, &errors));
out:
    bg_text_free(&section);
    bg_text_free(&errors);
    return rc;
}

static enum bg_status make_batch(struct bench *bench)
{
    const struct bg_rng rng = {.seed = 1, .stream = BG_STREAM_TEST};
    int64_t pixels = bench->batch * SIDE * SIDE;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&bench->images, pixels, 1));
    TRY(bg_alloc(&bench->labels, bench->batch, sizeof *bench->labels));
    TRY(bg_alloc(&bench->seconds, bench->steps, sizeof *bench->seconds));
    for (int64_t i = 0; i < pixels; i++)
        bench->images[i] = (uint8_t)(bg_rng_u32(&rng, (uint64_t)i) & 255u);
    for (int64_t i = 0; i < bench->batch; i++)
        bench->labels[i] = (int32_t)(i % CLASSES);
out:
    return rc;
}

static enum bg_status step(struct bench *bench, int64_t number)
{
    struct bg_batch batch = {
        .size = bench->batch, .dtype = BG_U8, .images = bench->images, .labels = bench->labels};
    struct bg_run_moment moment = {.flags = BG_RUN_UPDATE_BN, .seed = 1, .step = (uint64_t)number};
    struct bg_update_moment update = {.lr = 0.01, .seed = 1, .step = (uint64_t)number};
    struct bg_graph *graph = bench->net->graph;
    enum bg_status rc = BG_OK;

    TRY(bg_program_forward(bench->program, &batch, &moment));
    TRY(bg_program_backward(bench->program, &moment));
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        if (!bg_param_trainable(param))
            continue;
        TRY(bench->update->update(bench->update_options, param, &update,
                                  param->kind == BG_PARAM_WEIGHT));
        param->version++;
    }
out:
    return rc;
}

static enum bg_status time_steps(struct bench *bench)
{
    struct bg_program_options options = {
        .batch = bench->batch, .mode = BG_MODE_TRAIN, .compute = BG_COMPUTE_EXACT};
    enum bg_status rc = BG_OK;
    TRY(bg_program_create(&bench->program, bench->net->graph, &options));
    for (int64_t i = 0; i < WARM_UP + bench->steps; i++) {
        double began = bg_terminal_clock();
        TRY(step(bench, i));
        if (i >= WARM_UP)
            bench->seconds[i - WARM_UP] = bg_terminal_clock() - began;
    }
out:
    return rc;
}

static json_t *list_implementations(const struct bg_program *program)
{
    json_t *list = json_array();
    for (int i = 0; i < bg_program_implementation_count(program); i++) {
        struct bg_implementation one = bg_program_implementation(program, i);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "node", one.node, "op", one.op, "forward",
                            one.forward ? one.forward : "", "backward_data",
                            one.backward_data ? one.backward_data : "", "backward_weights",
                            one.backward_weights ? one.backward_weights : ""));
    }
    return list;
}

static enum bg_status print_json(const struct bench *bench)
{
    json_t *seconds = json_array(), *root;
    char *text;
    for (int64_t i = 0; i < bench->steps; i++)
        json_array_append_new(seconds, json_real(bench->seconds[i]));
    root = json_pack("{s:i, s:s, s:I, s:I, s:s, s:s, s:o, s:o}", "schema", 1, "model",
                     bench->net->name, "batch", (json_int_t)bench->batch, "threads",
                     (json_int_t)bench->threads, "isa", bg_dnn_isa(), "onednn", bg_dnn_version(),
                     "seconds", seconds, "implementations", list_implementations(bench->program));
    text = json_dumps(root, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(root);
    if (!text)
        return bg_fail(BG_E_NOMEM, "no memory for the result");
    puts(text);
    free(text); /* jansson's own */
    return BG_OK;
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_text(struct bench *bench)
{
    qsort(bench->seconds, (size_t)bench->steps, sizeof *bench->seconds, compare_seconds);
    printf("%s, batch %lld, %lld threads, f32: min %.1f ms, median %.1f ms of %lld steps\n",
           bench->net->name, (long long)bench->batch, (long long)bench->threads,
           1e3 * bench->seconds[0], 1e3 * bench->seconds[bench->steps / 2],
           (long long)bench->steps);
    for (int i = 0; i < bg_program_implementation_count(bench->program); i++) {
        struct bg_implementation one = bg_program_implementation(bench->program, i);
        printf("%-20s %-12s %s  %s  %s\n", one.node, one.op, one.forward ? one.forward : "",
               one.backward_data ? one.backward_data : "",
               one.backward_weights ? one.backward_weights : "");
    }
}

static enum bg_status bench_step(struct bench *bench, bool json)
{
    enum bg_status rc = BG_OK;
    bg_threads_set((int)bench->threads);
    TRY(make_net(bench));
    TRY(make_batch(bench));
    TRY(time_steps(bench));
    if (json)
        TRY(print_json(bench));
    else
        print_text(bench);
out:
    bg_program_destroy(bench->program);
    bg_net_destroy(bench->net);
    bg_document_free(bench->section);
    bg_free(bench->update_options);
    bg_free(bench->images);
    bg_free(bench->labels);
    bg_free(bench->seconds);
    return rc;
}

static enum bg_status bench_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bench bench = {.model = "resnet20"};
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_bench, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    if (strcmp(arguments.at[0], "step") != 0)
        FAIL(BG_E_USAGE, "bench: unknown word '%s'; usage: bitgrad %s", arguments.at[0],
             bg_cmd_bench.usage);
    if (bg_arguments_get(&arguments, "model"))
        bench.model = bg_arguments_get(&arguments, "model");
    TRY(bg_arguments_int(&arguments, "batch", 1, 65536, 128, &bench.batch));
    TRY(bg_arguments_int(&arguments, "threads", 1, 256, 2, &bench.threads));
    TRY(bg_arguments_int(&arguments, "steps", 1, STEPS_MAX, 20, &bench.steps));
    TRY(bench_step(&bench, bg_arguments_get(&arguments, "json") != NULL));
out:
    return rc;
}

static const struct bg_argument bench_arguments[] = {
    {"model", "NAME", "a network, with its depth: resnet20 (default), lenet5, mlp"},
    {"batch", "N", "samples of a step; default 128"},
    {"threads", "N", "of the math loops; default 2"},
    {"steps", "N", "timed steps after 3 that warm up; default 20"},
    {"json", NULL, "one JSON object with every step's seconds"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_bench = {
    .name = "bench",
    .usage = "bench step [--model NAME] [--batch N] [--threads N] [--steps N] [--json]",
    .help = "time a training step",
    .details =
        "28x28x1 images of random bytes, 10 classes, forward, loss, backward and update in f32.\n"
        "Compare runs made in the same minutes, by ratio: absolute times mean little.",
    .main = bench_main,
    .arguments = bench_arguments};
