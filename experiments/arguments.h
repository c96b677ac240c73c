/* A command line, read by a command's table of options and the common ones. */
#ifndef BG_EXPERIMENTS_ARGUMENTS_H
#define BG_EXPERIMENTS_ARGUMENTS_H

#include "experiments/command.h"

#define BG_ARGUMENTS_MAX   16
#define BG_ARGUMENTS_GIVEN 128 /* options with a value on one command line */

struct bg_arguments {
    const struct bg_command *command;
    const char *value[BG_ARGUMENTS_MAX]; /* by row of the table: NULL = not given, "" = switch */
    struct {
        int row;
        const char *value;
    } given[BG_ARGUMENTS_GIVEN]; /* every option of the table as it came, for those that repeat */
    int givens;
    int count; /* what is left after the options */
    char **at;
    bool done; /* --help was asked for and printed: return BG_OK at once */
};

extern const struct bg_argument bg_common_arguments[];

/* Options may stand anywhere; "--" ends them. Sets the terminal's level and colours from the common
 * options. `least` and `most` bound the number of other words (most -1 = any). BG_E_USAGE names the
 * option, with the nearest one, or says what is missing. */
BG_MUST enum bg_status bg_arguments_read(struct bg_arguments *out, const struct bg_command *command,
                                         int argc, char **argv, int least, int most);
/* The value of an option of the command's own table, the last one when it was given several times,
 * "" of a switch; NULL when it was not given. */
const char *bg_arguments_get(const struct bg_arguments *arguments, const char *name);
/* For an option that may be given several times: its next value in the order of the command line;
 * false after the last. *at starts at 0. */
bool bg_arguments_next(const struct bg_arguments *arguments, const char *name, int *at,
                       const char **value);
/* As bg_arguments_get, as a whole number within limits; `fallback` when not given. */
BG_MUST enum bg_status bg_arguments_int(const struct bg_arguments *arguments, const char *name,
                                        int64_t min, int64_t max, int64_t fallback, int64_t *out);

#endif
