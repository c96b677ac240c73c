/* `bitgrad arena`: criteria against each other, against random plans and one width for all. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "experiments/arena.h"
#include "experiments/arguments.h"
#include "experiments/terminal.h"

extern const struct bg_command bg_cmd_arena;

static enum bg_status finish(const struct bg_arena *arena)
{
    struct bg_arena_summary *summary = NULL;
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, BG_ARENA_LIMIT);
    TRY(bg_arena_summarise(arena, &summary));
    TRY(bg_arena_write_summary(arena, summary, &text));
    TRY(bg_arena_report(arena, summary));
    bg_text_add(&text, "report     %s/report.html\n", arena->dir);
    TRY(bg_text_check(&text));
    bg_terminal_clear();
    fputs(bg_text_string(&text), stdout);
out:
    bg_arena_summary_free(summary);
    bg_text_free(&text);
    return rc;
}

static enum bg_status arena_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_arena arena = {.layers = 0};
    int64_t jobs = 1;
    int code = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_arena, argc, argv, 1, -1));
    if (arguments.done)
        goto out;
    TRY(bg_arguments_int(&arguments, "jobs", 1, 256, 1, &jobs));
    bg_terminal_catch_signals();
    TRY(bg_arena_open(&arena, arguments.at[0], arguments.at + 1, arguments.count - 1,
                      bg_arguments_get(&arguments, "out")));
    if (bg_arguments_get(&arguments, "worker")) {
        rc = bg_arena_work(&arena);
        if (rc == BG_E_INTERRUPTED) { /* the one that started this process says so */
            bg_command_exit_with(bg_status_exit_code(rc));
            rc = BG_OK;
        }
        goto out;
    }
    TRY(bg_arena_check(&arena));
    TRY(bg_arena_run(&arena, (int)jobs, &code));
    if (code)
        bg_command_exit_with(code); /* the worker has said why */
    else
        TRY(finish(&arena));
out:
    bg_arena_close(&arena);
    return rc;
}

static const struct bg_argument arena_arguments[] = {
    {"out", "DIR", "the arena's directory; default arenas/NAME"},
    {"jobs", "N", "trials at a time, each in a process of its own; default 1"},
    {"worker", NULL, "take tasks of a running arena: how it starts its processes"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_arena = {
    .name = "arena",
    .usage = "arena RECIPE [key.path=value ...] [--out DIR] [--jobs N]",
    .help = "compare criteria: budgets x seeds, with random plans and intervals",
    .details =
        "The recipe is an ordinary one with a section `arena`: seeds, candidates, criteria, "
        "budget.\n"
        "Per seed one network is trained and profiled; then every plan that a criterion, chance "
        "or\n"
        "one width for all proposes is put on it, fine-tuned and evaluated, each plan once. The\n"
        "same command goes on where it stopped, after a kill at any moment; on a finished\n"
        "directory (also `bitgrad arena DIR`) it prints the summary again. Ctrl-C drops the\n"
        "running trials (exit code 75). Rows do not depend on --jobs.",
    .main = arena_main,
    .arguments = arena_arguments};
