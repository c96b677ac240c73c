/* The commands of `bitgrad`: experiments/cmd_<name>.c defines one const table each. */
#ifndef BG_EXPERIMENTS_COMMAND_H
#define BG_EXPERIMENTS_COMMAND_H

#include <stdbool.h>

#include "core/options.h"
#include "core/status.h"

struct bg_command {
    const char *name;    /* "run", "data" */
    const char *usage;   /* "run RECIPE [key.path=value ...] [--out DIR]" */
    const char *help;    /* one line for the list */
    const char *details; /* paragraphs for `bitgrad help NAME` */
    /* argv[0] is the command's name. Sentences of failures are printed by main. */
    enum bg_status (*main)(int argc, char **argv);
};
extern const struct bg_command *const bg_commands[]; /* NULL-terminated, generated */

#endif
