/* `bitgrad requant`: the same network under each requantisation mode, compared code by code. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/finished.h"
#include "experiments/images.h"
#include "experiments/print_json.h"

extern const struct bg_command bg_cmd_requant;

#define MODES BG_REQUANT_MODES

struct pair {
    int64_t codes, predictions; /* that differ */
};

struct comparison {
    struct bg_integer_model *model[MODES]; /* NULL: the mode refused the network */
    char refusal[MODES][256];
    struct bg_integer_program *program[MODES];
    int64_t batch, images, classes, codes; /* codes compared, logits not among them */
    int64_t correct[MODES];
    struct pair pair[MODES][MODES];
};

static enum bg_status make_models(struct comparison *all, struct bg_graph *graph)
{
    enum bg_status rc = BG_OK;
    for (int m = 0; m < MODES; m++) {
        enum bg_requant_mode mode = (enum bg_requant_mode)m;
        rc = bg_integer_model_create(&all->model[m], graph, &mode);
        if (rc == BG_E_DATA) /* a channel that this mode cannot hold */
            (void)snprintf(all->refusal[m], sizeof all->refusal[m], "%.255s", bg_error());
        else if (rc != BG_OK)
            return rc;
    }
    all->classes = bg_node_shape(bg_graph_logits(graph))->dims[2];
    return BG_OK;
}

static enum bg_status fit_programs(struct comparison *all, int64_t batch)
{
    enum bg_status rc = BG_OK;
    for (int m = 0; m < MODES && all->batch != batch; m++) {
        bg_integer_program_destroy(all->program[m]);
        all->program[m] = NULL;
        if (all->model[m])
            TRY(bg_integer_program_create(&all->program[m], all->model[m], batch, BG_INT_FAST,
                                          true));
    }
    all->batch = batch;
out:
    return rc;
}

static int64_t prediction(const struct comparison *all, int mode, int64_t sample)
{
    return bg_prediction(bg_integer_program_logits(all->program[mode]) + sample * all->classes,
                         all->classes);
}

static int64_t codes_that_differ(const struct comparison *all, int a, int b)
{
    const struct bg_integer_model *model = all->model[a];
    int64_t differ = 0;
    for (int t = 0; t < model->tensors; t++) {
        const uint8_t *x = bg_integer_program_codes(all->program[a], t);
        const uint8_t *y = bg_integer_program_codes(all->program[b], t);
        int64_t n = all->batch * bg_shape_count(&model->tensor[t].shape);
        for (int64_t i = 0; x && !model->tensor[t].inner && i < n; i++)
            differ += x[i] != y[i];
    }
    return differ;
}

static void compare_pair(struct comparison *all, int a, int b)
{
    struct pair *pair = &all->pair[a][b];
    if (!all->program[a] || !all->program[b])
        return;
    pair->codes += codes_that_differ(all, a, b);
    for (int64_t i = 0; i < all->batch; i++)
        pair->predictions += prediction(all, a, i) != prediction(all, b, i);
}

static enum bg_status one_batch(void *self, const struct bg_batch *batch)
{
    enum bg_status rc = BG_OK;
    struct comparison *all = (struct comparison *)self;
    const struct bg_integer_model *model = NULL;

    TRY(fit_programs(all, batch->size));
    for (int m = 0; m < MODES; m++) {
        if (!all->program[m])
            continue;
        model = all->model[m];
        TRY(bg_integer_program_run(all->program[m], batch));
        for (int64_t i = 0; i < batch->size; i++)
            all->correct[m] += prediction(all, m, i) == batch->labels[i];
    }
    for (int t = 0; model && t < model->tensors; t++)
        if (!model->tensor[t].real && !model->tensor[t].inner)
            all->codes += batch->size * bg_shape_count(&model->tensor[t].shape);
    for (int a = 0; a < MODES; a++)
        for (int b = a + 1; b < MODES; b++)
            compare_pair(all, a, b);
    all->images += batch->size;
out:
    return rc;
}

static const char *name_of(int mode)
{
    return bg_requant_mode_name((enum bg_requant_mode)mode);
}

static void print_text(const struct comparison *all)
{
    printf("%lld images, %lld codes\n\n", (long long)all->images, (long long)all->codes);
    for (int m = 0; m < MODES; m++) {
        if (all->model[m])
            printf("%-14s accuracy %6.2f %%\n", name_of(m),
                   100.0 * (double)all->correct[m] / (double)all->images);
        else
            printf("%-14s refused: %s\n", name_of(m), all->refusal[m]);
    }
    printf("\n%-14s %-14s  %24s  %20s\n", "mode", "against", "codes differ", "predictions differ");
    for (int a = 0; a < MODES; a++)
        for (int b = a + 1; b < MODES; b++)
            if (all->model[a] && all->model[b])
                printf("%-14s %-14s  %14lld  %6.3f %%  %11lld  %5.2f %%\n", name_of(b), name_of(a),
                       (long long)all->pair[a][b].codes,
                       100.0 * (double)all->pair[a][b].codes / (double)all->codes,
                       (long long)all->pair[a][b].predictions,
                       100.0 * (double)all->pair[a][b].predictions / (double)all->images);
}

static json_t *modes(const struct comparison *all)
{
    json_t *list = json_array();
    for (int m = 0; m < MODES; m++) {
        json_t *one = json_pack("{s:s}", "mode", name_of(m));
        if (all->model[m])
            json_object_set_new(one, "correct", json_integer(all->correct[m]));
        else
            json_object_set_new(one, "refused", json_string(all->refusal[m]));
        json_array_append_new(list, one);
    }
    return list;
}

static enum bg_status print_json(const struct comparison *all)
{
    json_t *pairs = json_array(), *root = NULL;
    for (int a = 0; a < MODES; a++)
        for (int b = a + 1; b < MODES; b++)
            if (all->model[a] && all->model[b])
                json_array_append_new(
                    pairs, json_pack("{s:s, s:s, s:I, s:I}", "mode", name_of(b), "against",
                                     name_of(a), "codes", (json_int_t)all->pair[a][b].codes,
                                     "predictions", (json_int_t)all->pair[a][b].predictions));
    root = json_pack("{s:i, s:I, s:I, s:o, s:o}", "schema", 1, "images", (json_int_t)all->images,
                     "codes", (json_int_t)all->codes, "modes", modes(all), "pairs", pairs);
    return bg_print_json(root, 0);
}

static void free_all(struct comparison *all)
{
    for (int m = 0; all && m < MODES; m++) {
        bg_integer_program_destroy(all->program[m]);
        bg_integer_model_destroy(all->model[m]);
    }
    bg_free(all);
}

static enum bg_status requant_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_finished finished = {0};
    struct comparison *all = NULL;
    struct bg_source *source = NULL;
    int64_t images = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_requant, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    TRY(bg_arguments_int(&arguments, "images", 1, INT64_C(1) << 40, 0, &images));
    TRY(bg_finished_open(&finished, arguments.at[0], bg_arguments_get(&arguments, "checkpoint")));
    TRY(bg_finished_need_integers(&finished, "compare"));
    TRY(bg_finished_open_data(&finished, NULL, NULL, 0));
    TRY(bg_alloc(&all, 1, sizeof *all));
    TRY(make_models(all, finished.run->net->graph));
    TRY(bg_run_source(finished.run, BG_PART_TEST, finished.recipe->verify_batch, false, &source));
    if (images == 0 || images > source->count)
        images = source->count;
    TRY(bg_first_images(source, images, "requant", one_batch, all));
    if (bg_arguments_get(&arguments, "json"))
        TRY(print_json(all));
    else
        print_text(all);
out:
    bg_loader_destroy(source);
    free_all(all);
    bg_finished_close(&finished);
    return rc;
}

static const struct bg_argument requant_arguments[] = {
    {"images", "N", "the first N test images; default all"},
    {"checkpoint", "NAME", "train, select, finetune or last (default)"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_requant = {
    .name = "requant",
    .usage = "requant RUN [--images N] [--checkpoint NAME] [--json]",
    .help = "compare the requantisation modes on a finished run",
    .details =
        "Runs the network as f32-rne, fixed-single, fixed-double and pow2-rne and counts codes\n"
        "(of all tensors) and predictions that differ. A mode that cannot hold a channel says "
        "so.",
    .main = requant_main,
    .arguments = requant_arguments};
