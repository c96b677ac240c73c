/* Option tables: reading, every kind of error in one go, defaults, printing that reads back. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/options.h"

struct sample {
    int64_t epochs, seed;
    double lr, decay;
    bool nesterov;
    char update[BG_OPTION_TEXT];
    int schedule;
    struct bg_int_list widths;
    struct bg_real_list milestones;
    struct bg_text_list stages;
    const struct bg_yaml *options;
};

static const char *const schedules[] = {"constant", "step", "cosine", NULL};

static const struct bg_option table[] = {
    {.key = "epochs",
     .type = BG_OPT_INT,
     .offset = offsetof(struct sample, epochs),
     .min = 1,
     .max = 1000,
     .help = "passes over the training data"},
    {.key = "seed",
     .type = BG_OPT_INT,
     .offset = offsetof(struct sample, seed),
     .fallback = "-1",
     .help = "start of all randomness"},
    {.key = "lr",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct sample, lr),
     .fallback = "0.1",
     .min = 0,
     .max = 1,
     .help = "learning rate"},
    {.key = "decay",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct sample, decay),
     .fallback = "0.0005",
     .min = 0,
     .max = 1e30,
     .help = "weight decay"},
    {.key = "nesterov",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct sample, nesterov),
     .fallback = "true",
     .help = "look ahead"},
    {.key = "update",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct sample, update),
     .fallback = "sgd",
     .help = "method"},
    {.key = "schedule",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct sample, schedule),
     .fallback = "cosine",
     .choices = schedules,
     .help = "of the learning rate"},
    {.key = "widths",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct sample, widths),
     .fallback = "[16, 32]",
     .min = 1,
     .max = 4096,
     .help = "hidden layers"},
    {.key = "milestones",
     .type = BG_OPT_REALS,
     .offset = offsetof(struct sample, milestones),
     .fallback = "[]",
     .help = "epochs"},
    {.key = "stages",
     .type = BG_OPT_TEXTS,
     .offset = offsetof(struct sample, stages),
     .fallback = "[train]",
     .help = "what to do"},
    {.key = "options",
     .type = BG_OPT_NODE,
     .offset = offsetof(struct sample, options),
     .help = "of the method"},
    {.key = NULL},
};

static const char *const also[] = {"layers", NULL};

static struct bg_document *parse(const char *text)
{
    struct bg_document *document = NULL;
    enum bg_status rc = bg_yaml_parse_text(&document, "recipe.yaml", text, strlen(text));
    cr_assert_eq(rc, BG_OK, "%s: %s", text, bg_error());
    return document;
}

static enum bg_status read(const struct bg_document *document, struct sample *out,
                           struct bg_text *errors)
{
    bg_text_init(errors, 1 << 20);
    return bg_options_read(bg_document_root(document), table, also, "train", out, errors);
}

Test(options, reads_every_type)
{
    struct bg_document *document = parse("epochs: 0x10\nseed: -5\nlr: 1e-3\ndecay: 0\n"
                                         "nesterov: false\nupdate: residual\nschedule: step\n"
                                         "widths: [1, 4096]\nmilestones: [0.5, 30]\n"
                                         "stages: [a, 'b c']\noptions: {x: 1}\nlayers: []\n");
    struct sample sample;
    struct bg_text errors;
    cr_assert(eq(int, read(document, &sample, &errors), BG_OK), "%s", bg_text_string(&errors));
    cr_expect(eq(i64, sample.epochs, 16));
    cr_expect(eq(i64, sample.seed, -5));
    cr_expect(eq(dbl, sample.lr, 1e-3));
    cr_expect(eq(dbl, sample.decay, 0));
    cr_expect_not(sample.nesterov);
    cr_expect_str_eq(sample.update, "residual");
    cr_expect(eq(int, sample.schedule, 1));
    cr_expect(eq(int, sample.widths.count, 2));
    cr_expect(eq(i64, sample.widths.at[1], 4096));
    cr_expect(eq(dbl, sample.milestones.at[0], 0.5));
    cr_expect_str_eq(sample.stages.at[1], "b c");
    cr_assert_not_null(sample.options);
    cr_expect_str_eq(bg_yaml_get(sample.options, "x")->text, "1");
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, defaults_come_from_the_table)
{
    struct sample sample;
    memset(&sample, 0x55, sizeof sample);
    cr_assert(eq(int, bg_options_defaults(table, &sample), BG_OK));
    cr_expect(eq(i64, sample.epochs, 0));
    cr_expect(eq(i64, sample.seed, -1));
    cr_expect(eq(dbl, sample.lr, 0.1));
    cr_expect(sample.nesterov);
    cr_expect_str_eq(sample.update, "sgd");
    cr_expect(eq(int, sample.schedule, 2));
    cr_expect(eq(int, sample.widths.count, 2));
    cr_expect(eq(int, sample.milestones.count, 0));
    cr_expect_str_eq(sample.stages.at[0], "train");
    cr_expect_null(sample.options);
}

/* Each text breaks one rule; the error is the whole line. */
Test(options, each_error_is_one_exact_line)
{
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"epochs: 1.5", "recipe.yaml:1:1: train.epochs: expected an integer, got \"1.5\"\n"},
        {"epochs: 8x", "recipe.yaml:1:1: train.epochs: expected an integer, got \"8x\"\n"},
        {"epochs: '8'",
         "recipe.yaml:1:1: train.epochs: expected an integer, got the quoted text \"8\"\n"},
        {"epochs:", "recipe.yaml:1:1: train.epochs: expected an integer, got nothing\n"},
        {"epochs: [8]", "recipe.yaml:1:1: train.epochs: expected an integer, got a list\n"},
        {"epochs: 99999999999999999999",
         "recipe.yaml:1:1: train.epochs: expected an integer, got \"99999999999999999999\"\n"},
        {"epochs: 0", "recipe.yaml:1:1: train.epochs: 0 is outside 1..1000\n"},
        {"epochs: 1\nlr: 5", "recipe.yaml:2:1: train.lr: 5 is outside 0..1\n"},
        {"epochs: 1\nlr: nan",
         "recipe.yaml:2:1: train.lr: expected a finite number, got \"nan\"\n"},
        {"epochs: 1\nlr: .inf",
         "recipe.yaml:2:1: train.lr: expected a finite number, got \".inf\"\n"},
        {"epochs: 1\nlr: 1e-3foo",
         "recipe.yaml:2:1: train.lr: expected a finite number, got \"1e-3foo\"\n"},
        {"epochs: 1\nlr: 1e400",
         "recipe.yaml:2:1: train.lr: expected a finite number, got \"1e400\"\n"},
        {"epochs: 1\ndecay: -1", "recipe.yaml:2:1: train.decay: -1 is outside 0 or more\n"},
        {"epochs: 1\nnesterov: yes",
         "recipe.yaml:2:1: train.nesterov: expected true or false, got \"yes\"\n"},
        {"epochs: 1\nnesterov: 'true'",
         "recipe.yaml:2:1: train.nesterov: expected true or false, got the quoted text \"true\"\n"},
        {"epochs: 1\nupdate: {a: 1}",
         "recipe.yaml:2:1: train.update: expected a text, got a map\n"},
        {"epochs: 1\nschedule: cosin",
         "recipe.yaml:2:1: train.schedule: unknown value 'cosin', did you mean 'cosine'? "
         "(constant, step, cosine)\n"},
        {"epochs: 1\nschedule: zzzz",
         "recipe.yaml:2:1: train.schedule: unknown value 'zzzz' (constant, step, cosine)\n"},
        {"epochs: 1\nschedule: []",
         "recipe.yaml:2:1: train.schedule: expected one of constant, step, cosine, got a list\n"},
        {"epochs: 1\nwidths: {a: 1}",
         "recipe.yaml:2:1: train.widths: expected a list of integers, got a map\n"},
        {"epochs: 1\nwidths: x",
         "recipe.yaml:2:1: train.widths: expected a list of integers, got \"x\"\n"},
        {"epochs: 1\nwidths: 1.5",
         "recipe.yaml:2:1: train.widths: expected an integer, got \"1.5\"\n"},
        {"epochs: 1\nwidths: 5000", "recipe.yaml:2:1: train.widths: 5000 is outside 1..4096\n"},
        {"epochs: 1\nwidths: [1, x]",
         "recipe.yaml:2:13: train.widths.1: expected an integer, got \"x\"\n"},
        {"epochs: 1\nwidths: [0]", "recipe.yaml:2:10: train.widths.0: 0 is outside 1..4096\n"},
        {"epochs: 1\nmilestones: x",
         "recipe.yaml:2:1: train.milestones: expected a list of numbers, got \"x\"\n"},
        {"epochs: 1\nstages: [[]]",
         "recipe.yaml:2:10: train.stages.0: expected a text, got a list\n"},
        {"epoch: 1\nepochs: 1",
         "recipe.yaml:1:1: train.epoch: unknown key, did you mean 'epochs'?\n"},
        {"epochs: 1\nlayer: 1",
         "recipe.yaml:2:1: train.layer: unknown key, did you mean 'layers'?\n"},
        {"epochs: 1\nzzzzzz: 1", "recipe.yaml:2:1: train.zzzzzz: unknown key\n"},
        {"lr: 1", "recipe.yaml:1:1: train: key 'epochs' is required (passes over the training "
                  "data)\n"},
        {"epochs: 1\nupdate: \"a\\nb%n%s\"", ""},
        {"epochs: \"a\\nb%n%s\"", "recipe.yaml:1:1: train.epochs: expected an integer, got the "
                                  "quoted text \"a b%n%s\"\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_document *document = parse(cases[i].text);
        struct sample sample;
        struct bg_text errors;
        enum bg_status rc = read(document, &sample, &errors);
        cr_expect(eq(int, rc, cases[i].line[0] ? BG_E_DATA : BG_OK), "%s", cases[i].text);
        cr_expect_str_eq(bg_text_string(&errors), cases[i].line, "%s", bg_text_string(&errors));
        bg_text_free(&errors);
        bg_document_free(document);
    }
}

Test(options, all_errors_are_reported_and_the_rest_is_read)
{
    struct bg_document *document =
        parse("epoch: 1\nlr: x\nschedule: cosin\nseed: 9\nwidths: [a, 2, b]\n");
    struct sample sample;
    struct bg_text errors;
    cr_expect(eq(int, read(document, &sample, &errors), BG_E_DATA));
    cr_expect_str_eq(bg_text_string(&errors),
                     "recipe.yaml:1:1: train.epoch: unknown key, did you mean 'epochs'?\n"
                     "recipe.yaml:1:1: train: key 'epochs' is required (passes over the training "
                     "data)\n"
                     "recipe.yaml:2:1: train.lr: expected a finite number, got \"x\"\n"
                     "recipe.yaml:3:1: train.schedule: unknown value 'cosin', did you mean "
                     "'cosine'? (constant, step, cosine)\n"
                     "recipe.yaml:5:10: train.widths.0: expected an integer, got \"a\"\n"
                     "recipe.yaml:5:16: train.widths.2: expected an integer, got \"b\"\n");
    cr_expect(eq(i64, sample.seed, 9));
    cr_expect(eq(dbl, sample.lr, 0.1));
    cr_expect(eq(int, sample.widths.count, 2));
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, a_lone_number_is_a_list_of_one)
{
    struct bg_document *document = parse("epochs: 1\nwidths: 7\nmilestones: 0.5\n");
    struct sample sample;
    struct bg_text errors;
    cr_assert(eq(int, read(document, &sample, &errors), BG_OK));
    cr_expect(eq(int, sample.widths.count, 1));
    cr_expect(eq(i64, sample.widths.at[0], 7));
    cr_expect(eq(int, sample.milestones.count, 1));
    cr_expect(eq(dbl, sample.milestones.at[0], 0.5));
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, sizes_are_capped)
{
    struct bg_text recipe, errors;
    struct sample sample;
    bg_text_init(&recipe, 1 << 16);
    bg_text_add(&recipe, "epochs: 1\nmilestones: [");
    for (int i = 0; i < BG_LIST_MAX; i++)
        bg_text_add(&recipe, "%d,", i);
    struct bg_text longer;
    bg_text_init(&longer, 1 << 16);
    bg_text_add(&longer, "%s7]\n", bg_text_string(&recipe));
    bg_text_add(&recipe, "]\n");
    struct bg_document *document = parse(bg_text_string(&recipe));
    cr_expect(eq(int, read(document, &sample, &errors), BG_OK));
    cr_expect(eq(int, sample.milestones.count, BG_LIST_MAX));
    bg_text_free(&errors);
    bg_document_free(document);
    document = parse(bg_text_string(&longer));
    cr_expect(eq(int, read(document, &sample, &errors), BG_E_DATA));
    cr_expect_str_eq(bg_text_string(&errors),
                     "recipe.yaml:2:1: train.milestones: 65 items, limit is 64\n");
    bg_text_free(&errors);
    bg_document_free(document);
    bg_text_free(&longer);
    bg_text_free(&recipe);
    char text[400] = "epochs: 1\nupdate: ";
    memset(text + strlen(text), 'x', 256);
    document = parse(text);
    cr_expect(eq(int, read(document, &sample, &errors), BG_E_DATA));
    cr_expect_str_eq(bg_text_string(&errors),
                     "recipe.yaml:2:1: train.update: the text has 256 bytes, limit is 255\n");
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, a_section_may_be_absent_or_empty_but_not_a_scalar)
{
    struct sample sample;
    struct bg_text errors;
    static const struct bg_option none[] = {{.key = NULL}};
    struct bg_document *document = parse("empty:\nword: x\nlist: []\n");
    const struct bg_yaml *root = bg_document_root(document);
    bg_text_init(&errors, 4096);
    cr_expect(eq(int, bg_options_read(NULL, none, NULL, "a", &sample, &errors), BG_OK));
    cr_expect(eq(int,
                 bg_options_read(bg_yaml_get(root, "empty"), none, NULL, "a", &sample, &errors),
                 BG_OK));
    cr_expect(eq(int,
                 bg_options_read(bg_yaml_get(root, "word"), none, NULL, "word", &sample, &errors),
                 BG_E_DATA));
    cr_expect(eq(int,
                 bg_options_read(bg_yaml_get(root, "list"), none, NULL, "list", &sample, &errors),
                 BG_E_DATA));
    cr_expect(eq(int, bg_options_read(NULL, table, NULL, "train", &sample, &errors), BG_E_DATA));
    cr_expect_str_eq(bg_text_string(&errors),
                     "recipe.yaml:2:1: word: expected a map, got \"x\"\n"
                     "recipe.yaml:3:1: list: expected a map, got a list\n"
                     "train: key 'epochs' is required (passes over the training data)\n");
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, printed_options_read_back_to_the_same_struct)
{
    static const char *const recipes[] = {
        "epochs: 3\n",
        "epochs: 7\nseed: -9223372036854775808\nlr: 0.30000000000000004\ndecay: 1e-17\n"
        "nesterov: false\nupdate: 'a: b # c'\nschedule: constant\nwidths: []\n"
        "milestones: [1e22, -0.1]\nstages: ['', '1', 'x, y', \"\\n\"]\n"
        "options: {a: {b: [1, 'no']}, c: }\n",
        "epochs: 1\nupdate: ''\noptions: [1, {a: 2}]\n",
    };
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++) {
        struct bg_document *document = parse(recipes[i]), *again = NULL;
        struct sample first, second;
        struct bg_text errors, text, node_first, node_second;
        cr_assert(eq(int, read(document, &first, &errors), BG_OK));
        bg_text_free(&errors);
        bg_text_init(&text, 1 << 16);
        bg_options_print(table, &first, 0, &text);
        again = parse(bg_text_string(&text));
        cr_assert(eq(int, read(again, &second, &errors), BG_OK), "%s", bg_text_string(&text));
        bg_text_init(&node_first, 4096);
        bg_text_init(&node_second, 4096);
        if (first.options)
            bg_yaml_print(first.options, 0, &node_first);
        if (second.options)
            bg_yaml_print(second.options, 0, &node_second);
        cr_expect_str_eq(bg_text_string(&node_first), bg_text_string(&node_second));
        first.options = second.options = NULL;
        /* Padding was cleared by neither reader: compare field by field through a second print. */
        cr_expect(eq(i64, first.seed, second.seed));
        cr_expect(eq(dbl, first.lr, second.lr));
        cr_expect(eq(dbl, first.decay, second.decay));
        cr_expect_eq(first.nesterov, second.nesterov);
        cr_expect_str_eq(first.update, second.update);
        cr_expect(eq(int, first.schedule, second.schedule));
        cr_expect_arr_eq(&first.widths, &second.widths, sizeof first.widths);
        cr_expect_arr_eq(&first.milestones, &second.milestones, sizeof first.milestones);
        cr_expect_arr_eq(&first.stages, &second.stages, sizeof first.stages);
        bg_text_free(&node_first);
        bg_text_free(&node_second);
        bg_text_free(&errors);
        bg_text_free(&text);
        bg_document_free(document);
        bg_document_free(again);
    }
}

Test(options, print_and_help_are_readable)
{
    struct bg_document *document = parse("epochs: 3\nstages: [train, report]\noptions: {x: [1]}\n");
    struct sample sample;
    struct bg_text errors, text;
    cr_assert(eq(int, read(document, &sample, &errors), BG_OK));
    bg_text_init(&text, 1 << 16);
    bg_options_print(table, &sample, 2, &text);
    cr_expect_str_eq(bg_text_string(&text), "  epochs: 3\n  seed: -1\n  lr: 0.1\n"
                                            "  decay: 0.0005\n  nesterov: true\n  update: sgd\n"
                                            "  schedule: cosine\n  widths: [16, 32]\n"
                                            "  milestones: []\n  stages: [train, report]\n"
                                            "  options:\n    x: [1]\n");
    bg_text_free(&text);
    bg_options_help(table, 2, &text);
    cr_expect_not_null(strstr(bg_text_string(&text),
                              "  epochs      passes over the training data (integer 1..1000; "
                              "required)\n"));
    cr_expect_not_null(strstr(bg_text_string(&text),
                              "  schedule    of the learning rate (choice: constant, step, cosine; "
                              "default cosine)\n"));
    cr_expect_not_null(strstr(bg_text_string(&text), "  options     of the method (section)\n"));
    bg_text_free(&text);
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(options, a_bad_default_is_a_bug_with_a_name)
{
    static const struct bg_option bad[] = {
        {.key = "lr", .type = BG_OPT_REAL, .fallback = "x", .help = ""}, {.key = NULL}};
    double value;
    cr_expect(eq(int, bg_options_defaults(bad, &value), BG_E_INTERNAL));
    cr_expect_not_null(strstr(bg_error(), "default of option lr"));
}
