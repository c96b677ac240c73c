/* The commands of `bitgrad`: experiments/cmd_<name>.c defines one const table each. */
#ifndef BG_EXPERIMENTS_COMMAND_H
#define BG_EXPERIMENTS_COMMAND_H

#include <stdbool.h>

#include "core/options.h"
#include "core/status.h"

/* One option of a command line. The table drives getopt_long, the help and the errors. */
struct bg_argument {
    const char *name;  /* "out"; NULL ends a table */
    const char *value; /* "DIR"; NULL for a switch */
    const char *help;
};

struct bg_command {
    const char *name;    /* "run", "data" */
    const char *usage;   /* "run RECIPE [key.path=value ...] [--out DIR]" */
    const char *help;    /* one line for the list */
    const char *details; /* paragraphs for `bitgrad help NAME` */
    /* argv[0] is the command's name. Sentences of failures are printed by main. */
    enum bg_status (*main)(int argc, char **argv);
    const struct bg_argument *arguments; /* NULL = only the common ones (--help, --quiet, ...) */
};
extern const struct bg_command *const bg_commands[]; /* NULL-terminated, generated */

/* The name in the table or NULL. */
const struct bg_command *bg_command_find(const char *name);
/* Writes usage, details and options of one command to stdout. */
BG_MUST enum bg_status bg_command_help(const struct bg_command *command);
/* `bitgrad diff` says "different" with exit code 1: no failure, and no status stands for it. */
void bg_command_exit_with(int code);

#endif
