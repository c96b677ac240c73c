/* `bitgrad diff`: are two runs equal? */
#include <stdio.h>

#include "experiments/arguments.h"
#include "experiments/diff.h"

extern const struct bg_command bg_cmd_diff;

static enum bg_status diff_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    char difference[640];
    bool same = true;
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_diff, argc, argv, 2, 2));
    if (arguments.done)
        goto out;
    TRY(bg_diff_runs(arguments.at[0], arguments.at[1], &same, difference));
    if (same) {
        printf("equal\n");
    } else {
        printf("different: %s\n", difference);
        bg_command_exit_with(1);
    }
out:
    return rc;
}

const struct bg_command bg_cmd_diff = {
    .name = "diff",
    .usage = "diff RUN RUN",
    .help = "compare two runs; exit code 0 when equal, 1 when not",
    .details =
        "Equal means: the same objects, attributes, types and dataset bytes in run.h5 and all\n"
        "checkpoints, the same plan.txt and result.json. The first difference is named. Timing,\n"
        "report and figures take no part.",
    .main = diff_main};
