/* `bitgrad report`: makes a run's report again from run.h5. */
#include <stdio.h>

#include "experiments/arguments.h"
#include "experiments/report.h"
#include "core/file.h"

extern const struct bg_command bg_cmd_report;

static enum bg_status report_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_record record = {0};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    TRY(bg_arguments_read(&arguments, &bg_cmd_report, argc, argv, 1, 1));
    if (arguments.done)
        goto out;
    TRY(bg_path_join(path, arguments.at[0], "run.h5"));
    TRY(bg_record_read(&record, path));
    TRY(bg_report_write(&record, arguments.at[0], !bg_arguments_get(&arguments, "no-figures")));
    TRY(bg_path_join(path, arguments.at[0], "report.html"));
    printf("%s\n", path);
out:
    bg_record_free(&record);
    return rc;
}

static const struct bg_argument report_arguments[] = {{"no-figures", NULL, "tables and texts only"},
                                                      {NULL, NULL, NULL}};

const struct bg_command bg_cmd_report = {
    .name = "report",
    .usage = "report RUN [--no-figures]",
    .help = "make the report of a run again",
    .details = "Reads RUN/run.h5 alone: neither the data nor the network is needed.",
    .main = report_main,
    .arguments = report_arguments};
