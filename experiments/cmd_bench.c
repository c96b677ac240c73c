/* `bitgrad bench`: times what training and evaluation are made of, on made-up data. Variants run in
 * turns; judge by ratios of one run, never by an absolute time. */
#include <stdio.h>
#include <string.h>

#include "core/dnn.h"
#include "experiments/arguments.h"
#include "experiments/bench.h"

extern const struct bg_command bg_cmd_bench;

#define STEPS_MAX 100000
#define SIDE_MAX  4096

struct word {
    const char *name;
    enum bg_status (*run)(const struct bg_bench_setup *setup);
    int64_t batch, steps, channels; /* defaults */
    bool trains;                    /* takes plans, computes and updates */
};

static const struct word words[] = {
    {"step", bg_bench_step, 128, 20, 1, true},     {"layers", bg_bench_layers, 128, 20, 1, false},
    {"ops", bg_bench_ops, 128, 100, 16, false},    {"profile", bg_bench_profile, 128, 40, 1, true},
    {"eval", bg_bench_eval, 128, 20, 1, true},     {"scale", bg_bench_scale, 32, 2, 1, true},
    {"update", bg_bench_update, 128, 40, 1, true},
};
#define WORDS ((int)(sizeof words / sizeof *words))

static enum bg_status find_word(const char *name, const struct word **out)
{
    const char *names[WORDS], *nearest;
    for (int i = 0; i < WORDS; i++) {
        names[i] = words[i].name;
        *out = &words[i];
        if (!strcmp(words[i].name, name))
            return BG_OK;
    }
    nearest = bg_text_nearest(name, names, WORDS);
    if (nearest)
        return bg_fail(BG_E_USAGE, "bench: unknown word '%s'; did you mean %s?", name, nearest);
    return bg_fail(BG_E_USAGE, "bench: unknown word '%s'; usage: bitgrad %s", name,
                   bg_cmd_bench.usage);
}

/* "28x28x1": height, width, channels. */
static enum bg_status read_image(const char *text, struct bg_bench_setup *setup)
{
    int h = 0, w = 0, c = 0, end = 0;
    if (!text)
        return BG_OK;
    if (sscanf(text, "%5dx%5dx%5d%n", &h, &w, &c, &end) != 3 || text[end] != '\0' || h < 1 ||
        w < 1 || c < 1 || h > SIDE_MAX || w > SIDE_MAX || c > SIDE_MAX)
        return bg_fail(BG_E_USAGE,
                       "--image: expected HEIGHTxWIDTHxCHANNELS, each 1 to %d, got '%s'", SIDE_MAX,
                       text);
    setup->height = h;
    setup->width = w;
    setup->channels = c;
    return BG_OK;
}

static void take_text(const struct bg_arguments *arguments, const char *name, const char **out)
{
    const char *text = bg_arguments_get(arguments, name);
    if (text)
        *out = text;
}

/* What a bench would not look at is refused: its times would pass for those of something else. */
static enum bg_status check_use(const struct word *word, const struct bg_arguments *arguments,
                                const struct bg_bench_setup *setup)
{
    static const char *const of_training[] = {"variants", "plan", "compute", "update"};
    for (int i = 0; !word->trains && i < 4; i++)
        if (bg_arguments_get(arguments, of_training[i]))
            return bg_fail(BG_E_USAGE, "bench %s trains nothing: it takes no --%s", word->name,
                           of_training[i]);
    if (setup->table && word->run != bg_bench_layers)
        return bg_fail(BG_E_USAGE, "bench %s writes no latency table; bench layers does",
                       word->name);
    if (setup->figure && word->run != bg_bench_scale)
        return bg_fail(BG_E_USAGE, "bench %s draws no figure; bench scale does", word->name);
    return BG_OK;
}

static enum bg_status bench_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_bench_setup setup = {.model = "resnet20", .update = "sgd", .height = 28, .width = 28};
    const struct word *word = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_bench, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    TRY(find_word(arguments.at[0], &word));
    take_text(&arguments, "model", &setup.model);
    take_text(&arguments, "update", &setup.update);
    take_text(&arguments, "variants", &setup.variants);
    take_text(&arguments, "plan", &setup.plan);
    take_text(&arguments, "compute", &setup.compute);
    take_text(&arguments, "figure", &setup.figure);
    take_text(&arguments, "table", &setup.table);
    setup.channels = word->channels;
    setup.json = bg_arguments_get(&arguments, "json") != NULL;
    TRY(read_image(bg_arguments_get(&arguments, "image"), &setup));
    TRY(bg_arguments_int(&arguments, "batch", 1, 65536, word->batch, &setup.batch));
    TRY(bg_arguments_int(&arguments, "threads", 1, 256, 2, &setup.threads));
    TRY(bg_arguments_int(&arguments, "steps", 1, STEPS_MAX, word->steps, &setup.steps));
    TRY(check_use(word, &arguments, &setup));
    bg_threads_set((int)setup.threads);
    TRY(word->run(&setup));
out:
    return rc;
}

static const struct bg_argument bench_arguments[] = {
    {"model", "NAME[:KEY=VALUE...]",
     "a network with its depth and options: resnet20 (default), lenet5, mlp:hidden=[256, 256]"},
    {"batch", "N", "samples of a step; default 128, scale 32"},
    {"image", "HxWxC", "of a sample; default 28x28x1, ops 28x28x16"},
    {"threads", "N", "of the math loops; default 2"},
    {"variants", "PLAN/COMPUTE[/UPDATE],...",
     "what is compared; a plan is f32, W8A8, W4A4G8 or the like, or a file; compute is fast, exact "
     "or reference; a method of its own takes --update's place; default f32/exact,W8A8/fast, "
     "profile W8A8/fast, update f32/exact and W8A8/fast with several methods"},
    {"plan", "PLAN", "of a single variant; default f32"},
    {"compute", "WORD", "of a single variant; default fast"},
    {"update", "NAME[:KEY=VALUE...]", "update method; default sgd"},
    {"steps", "N",
     "timed steps or runs of each, at least; default 20, ops 100, profile and update 40, scale 2"},
    {"figure", "FILE.svg", "scale: draws the table, with its data beside it"},
    {"table", "FILE.tsv",
     "layers: writes seconds per layer and bits, for budgets of latency; often with --batch 1"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_bench = {
    .name = "bench",
    .usage = "bench step|update|layers|ops|profile|eval|scale [--model NAME] [--variants "
             "PLAN/COMPUTE[/UPDATE],...] [--json]",
    .help = "time training steps and their parts",
    .details =
        "step     whole training steps: forward, loss, backward, update\n"
        "update   the updates alone, in the midst of such steps, method by method; range,\n"
        "         encoding and packing of the new weights are in the time with compute fast alone\n"
        "layers   each convolution and linear layer by pass and arithmetic, against the rates of\n"
        "         multiplication and memory measured on the spot; --table is for budgets of "
        "latency:\n"
        "         on a CPU 1 to 8 bits take the same time, so that it tells f32 from integers "
        "alone\n"
        "ops      elementwise passes, in ns per element and GB/s\n"
        "profile  a step with all gradients observed against one without\n"
        "eval     images per second in f32, on simulated codes and by the integer program\n"
        "scale    time and memory against batch, width, depth and image size\n"
        "\n"
        "Images are random bytes, with 10 classes. What is compared runs in turns in the same\n"
        "seconds: believe ratios of one run, not absolute times.",
    .main = bench_main,
    .arguments = bench_arguments};
