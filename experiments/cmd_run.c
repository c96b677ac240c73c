/* `bitgrad run`: one experiment from a recipe, begun or gone on with. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "experiments/arguments.h"
#include "experiments/result.h"
#include "experiments/run.h"
#include "experiments/terminal.h"

extern const struct bg_command bg_cmd_run;

static enum bg_status print_result(const struct bg_run *run, bool json)
{
    struct bg_text text = {0};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 26);
    if (json) {
        TRY(bg_result_print(&run->record, &text));
    } else {
        bg_result_table(&run->record, &text);
        TRY(bg_path_join(path, run->dir, "report.html"));
        if (bg_file_exists(path))
            bg_text_add(&text, "report     %s\n", path);
        TRY(bg_text_check(&text));
    }
    bg_terminal_clear();
    fputs(bg_text_string(&text), stdout);
out:
    bg_text_free(&text);
    return rc;
}

static void print_network(const struct bg_run *run)
{
    struct bg_text text = {0};
    bg_text_init(&text, 1 << 24);
    bg_net_print_table(run->net, run->plan.count ? &run->plan : NULL, &text);
    bg_log(BG_LOG_DEBUG, "%s", bg_text_string(&text));
    bg_text_free(&text);
}

static enum bg_status work(const struct bg_recipe *recipe, const char *out_dir, bool json)
{
    char dir[BG_PATH_MAX];
    struct bg_run *run = NULL;
    enum bg_status rc = BG_OK;

    if (out_dir)
        TRY(bg_text_copy(dir, sizeof dir, out_dir));
    else
        TRY(bg_path_join(dir, "runs", recipe->top.name));
    TRY(bg_run_open(&run, recipe, dir));
    if (run->finished) {
        bg_log(BG_LOG_INFO, "%s: this run is finished; 'bitgrad report %s' makes its report again",
               dir, dir);
        goto out;
    }
    print_network(run);
    TRY(bg_run_work(run));
    TRY(print_result(run, json));
out:
    bg_run_close(run);
    return rc;
}

static enum bg_status run_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_recipe *recipe = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_run, argc, argv, 1, -1));
    if (arguments.done)
        goto out;
    bg_terminal_catch_signals();
    TRY(bg_recipe_read(&recipe, arguments.at[0], arguments.at + 1, arguments.count - 1));
    TRY(work(recipe, bg_arguments_get(&arguments, "out"),
             bg_arguments_get(&arguments, "json") != NULL));
out:
    bg_recipe_free(recipe);
    return rc;
}

static const struct bg_argument run_arguments[] = {
    {"out", "DIR", "the run's directory; default runs/NAME"},
    {"json", NULL, "print result.json on one line instead of the table"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_run = {
    .name = "run",
    .usage = "run RECIPE [key.path=value ...] [--out DIR] [--json]",
    .help = "do an experiment: train, profile, select, finetune, evaluate, verify, report",
    .details =
        "Works through the recipe's stages in DIR. The same command on an unfinished DIR goes on\n"
        "where it stopped, after a kill at any moment; on a finished one it says so. Another "
        "recipe\n"
        "on the same DIR is refused. The first Ctrl-C saves and stops (exit code 75), the second\n"
        "ends at once.\n\n"
        "key.path=value overrides a key of the recipe: train.epochs=3, select.policy=uniform.",
    .main = run_main,
    .arguments = run_arguments};
