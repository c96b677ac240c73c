/* `bitgrad verify`: the integers of a finished run against the independent judge. */
#include <stdio.h>

#include "core/dnn.h"
#include "core/log.h"
#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/finished.h"
#include "experiments/result.h"
#include "experiments/verify.h"
#include "experiments/print_json.h"

extern const struct bg_command bg_cmd_verify;

static json_t *tensors(const struct bg_verification *verification)
{
    json_t *list = json_array();
    for (int i = 0; i < verification->tensors; i++) {
        const struct bg_judge_tensor *one = &verification->tensor[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:f, s:b}", "name", one->name,
                                              "outputs", (json_int_t)one->outputs, "differ",
                                              (json_int_t)one->differ, "constant", one->constant,
                                              "mistrusted", (int)one->mistrusted));
    }
    return list;
}

static enum bg_status print_json(const struct bg_verification *verification)
{
    json_t *root =
        json_pack("{s:i, s:I, s:I, s:I, s:s}", "schema", 1, "images",
                  (json_int_t)verification->images, "correct", (json_int_t)verification->correct,
                  "outputs", (json_int_t)verification->outputs, "hash", verification->hash);
    if (root && verification->judged) {
        json_object_set_new(root, "differ", json_integer(verification->differ));
        json_object_set_new(root, "mistrusted", json_integer(verification->mistrusted));
        json_object_set_new(root, "tensors", tensors(verification));
    }
    return bg_print_json(root, 15);
}

static enum bg_status print(const struct bg_arguments *arguments,
                            const struct bg_verification *verification)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    if (bg_arguments_get(arguments, "json"))
        return print_json(verification);
    bg_text_init(&text, 1 << 22);
    bg_verification_print(verification, &text);
    TRY(bg_text_check(&text));
    fputs(bg_text_string(&text), stdout);
out:
    bg_text_free(&text);
    return rc;
}

/* The results into the run, unless it holds those of more images: run.h5 first, then result.json,
 * each whole or not at all. */
static enum bg_status keep(struct bg_run *run, const struct bg_verification *verification)
{
    const struct bg_table *table = &run->record.table[BG_TABLE_INTEGERS];
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    if (table->rows > 0 && bg_table_row(table, 0)[BG_INTEGER_IMAGES].integer > verification->images)
        return BG_OK;
    TRY(bg_run_lock(run));
    bg_dir_remove_temporaries(run->dir);
    TRY(bg_verification_record(verification, &run->record));
    TRY(bg_path_join(path, run->dir, "run.h5"));
    TRY(bg_record_write(&run->record, path));
    TRY(bg_path_join(path, run->dir, "result.json"));
    TRY(bg_result_write(&run->record, path));
out:
    return rc;
}

static enum bg_status verify_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_finished finished = {0};
    struct bg_verification verification = {0};
    struct bg_source *source = NULL;
    const char *checkpoint;
    bool judge;
    int64_t images = 0, threads = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_verify, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    checkpoint = bg_arguments_get(&arguments, "checkpoint");
    judge = !bg_arguments_get(&arguments, "hash");
    TRY(bg_arguments_int(&arguments, "images", 1, INT64_C(1) << 40, 0, &images));
    TRY(bg_arguments_int(&arguments, "threads", 1, 256, 0, &threads));
    TRY(bg_finished_open(&finished, arguments.at[0], checkpoint));
    if (threads > 0)
        bg_threads_set((int)threads);
    TRY(bg_finished_need_integers(&finished, "verify"));
    TRY(bg_finished_open_data(&finished, NULL, NULL, 0));
    TRY(bg_run_source(finished.run, BG_PART_TEST, finished.recipe->verify_batch, false, &source));
    TRY(bg_verify(finished.run->trainer, source, images, judge, &verification));
    TRY(print(&arguments, &verification));
    if (judge && !checkpoint)
        TRY(keep(finished.run, &verification));
    if (verification.differ > 0 || verification.mistrusted > 0)
        bg_command_exit_with(1);
out:
    bg_verification_free(&verification);
    bg_loader_destroy(source);
    bg_finished_close(&finished);
    return rc;
}

static const struct bg_argument verify_arguments[] = {
    {"images", "N", "the first N test images; default all"},
    {"hash", NULL, "run the integers alone and print the hash of all codes"},
    {"threads", "N", "instead of the recipe's; changes no number"},
    {"checkpoint", "NAME", "train, select, finetune or last (default; its result is kept)"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_verify = {
    .name = "verify",
    .usage = "verify RUN [--images N] [--hash] [--threads N] [--checkpoint NAME] [--json]",
    .help = "compare the integers of a finished run with the independent judge",
    .details = "The judge derives every number again from the checkpoint, by separate code, and "
               "sums codes\n"
               "naively in f64. A tensor over 99 % of one code is MISTRUSTED: equality says "
               "nothing there.\n"
               "The results of the most images enter RUN/result.json; report.html is as old as the "
               "run until\n"
               "'bitgrad report RUN'. Exit code 1 when a code differs or a tensor is "
               "MISTRUSTED.",
    .main = verify_main,
    .arguments = verify_arguments};
