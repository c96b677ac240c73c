/* Reading a command line with getopt_long, from tables. getopt's own messages are off: its
 * sentences would name no nearest option. */
#include "experiments/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "experiments/terminal.h"

const struct bg_argument bg_common_arguments[] = {
    {"help", NULL, "print this text"},
    {"quiet", NULL, "warnings and errors only (-q)"},
    {"verbose", NULL, "say more (-v)"},
    {"color", "WHEN", "auto, always or never; NO_COLOR is honoured"},
    {NULL, NULL, NULL}};

#define COMMON_COUNT 4
#define OWN_VALUE    1000 /* getopt's answer for row 0 of the command's table */
#define COMMON_VALUE 2000

static int count_arguments(const struct bg_argument *table)
{
    int count = 0;
    while (table && table[count].name)
        count++;
    return count;
}

static void fill_long_options(const struct bg_argument *table, int first, struct option *out)
{
    for (int i = 0; table && table[i].name; i++)
        out[i] = (struct option){.name = table[i].name,
                                 .has_arg = table[i].value ? required_argument : no_argument,
                                 .val = first + i};
}

static enum bg_status unknown_option(const struct bg_command *command, const char *word,
                                     const struct option *known, int count)
{
    const char *names[BG_ARGUMENTS_MAX + COMMON_COUNT];
    const char *nearest;
    const char *bare = word;
    while (*bare == '-')
        bare++;
    for (int i = 0; i < count; i++)
        names[i] = known[i].name;
    nearest = bg_text_nearest(bare, names, count);
    if (nearest)
        return bg_fail(BG_E_USAGE, "%s: unknown option %s; did you mean --%s?", command->name, word,
                       nearest);
    return bg_fail(BG_E_USAGE, "%s: unknown option %s; 'bitgrad help %s' lists them", command->name,
                   word, command->name);
}

static enum bg_status take_common(int row, const char *value)
{
    static const char *const words[] = {"auto", "always", "never"};
    if (row == 1)
        bg_terminal_set_level(BG_LOG_WARN);
    else if (row == 2)
        bg_terminal_set_level(BG_LOG_DEBUG);
    else if (row == 3) {
        for (int i = 0; i < 3; i++)
            if (!strcmp(value, words[i])) {
                bg_terminal_set_color((enum bg_color)i);
                return BG_OK;
            }
        return bg_fail(BG_E_USAGE, "--color: expected auto, always or never, got '%s'", value);
    }
    return BG_OK;
}

static enum bg_status check_count(const struct bg_arguments *arguments, int least, int most)
{
    const struct bg_command *command = arguments->command;
    if (arguments->count < least)
        return bg_fail(BG_E_USAGE, "%s: too few words; usage: bitgrad %s", command->name,
                       command->usage);
    if (most >= 0 && arguments->count > most)
        return bg_fail(BG_E_USAGE, "%s: unexpected '%s'; usage: bitgrad %s", command->name,
                       arguments->at[most], command->usage);
    return BG_OK;
}

static enum bg_status take_option(struct bg_arguments *out, int answer, const struct option *all,
                                  int count, char **argv)
{
    if (answer == '?')
        return unknown_option(out->command, argv[optind - 1], all, count);
    if (answer == ':')
        return bg_fail(BG_E_USAGE, "%s: option %s needs a value", out->command->name,
                       argv[optind - 1]);
    if (answer == 'h' || answer == COMMON_VALUE) {
        out->done = true;
        return bg_command_help(out->command);
    }
    if (answer == 'q' || answer == 'v')
        return take_common(answer == 'q' ? 1 : 2, NULL);
    if (answer >= COMMON_VALUE)
        return take_common(answer - COMMON_VALUE, optarg);
    if (out->givens == BG_ARGUMENTS_GIVEN)
        return bg_fail(BG_E_USAGE, "%s: more than %d options", out->command->name,
                       BG_ARGUMENTS_GIVEN);
    out->value[answer - OWN_VALUE] = optarg ? optarg : "";
    out->given[out->givens].row = answer - OWN_VALUE;
    out->given[out->givens++].value = out->value[answer - OWN_VALUE];
    return BG_OK;
}

enum bg_status bg_arguments_read(struct bg_arguments *out, const struct bg_command *command,
                                 int argc, char **argv, int least, int most)
{
    struct option all[BG_ARGUMENTS_MAX + COMMON_COUNT + 1];
    int own = count_arguments(command->arguments);
    enum bg_status rc = BG_OK;

    *out = (struct bg_arguments){.command = command};
    memset(all, 0, sizeof all);
    if (own > BG_ARGUMENTS_MAX)
        FAIL(BG_E_INTERNAL, "%s: %d options, room for %d", command->name, own, BG_ARGUMENTS_MAX);
    fill_long_options(command->arguments, OWN_VALUE, all);
    fill_long_options(bg_common_arguments, COMMON_VALUE, all + own);
    opterr = 0;
    optind = 1;
    while (!out->done) {
        int answer = getopt_long(argc, argv, ":hqv", all, NULL);
        if (answer == -1)
            break;
        TRY(take_option(out, answer, all, own + COMMON_COUNT, argv));
    }
    out->count = argc - optind;
    out->at = argv + optind;
    if (!out->done)
        TRY(check_count(out, least, most));
out:
    return rc;
}

const char *bg_arguments_get(const struct bg_arguments *arguments, const char *name)
{
    const struct bg_argument *table = arguments->command->arguments;
    for (int i = 0; table && table[i].name; i++)
        if (!strcmp(table[i].name, name))
            return arguments->value[i];
    return NULL;
}

bool bg_arguments_next(const struct bg_arguments *arguments, const char *name, int *at,
                       const char **value)
{
    const struct bg_argument *table = arguments->command->arguments;
    for (; *at < arguments->givens; ++*at)
        if (!strcmp(table[arguments->given[*at].row].name, name)) {
            *value = arguments->given[(*at)++].value;
            return true;
        }
    return false;
}

enum bg_status bg_arguments_int(const struct bg_arguments *arguments, const char *name, int64_t min,
                                int64_t max, int64_t fallback, int64_t *out)
{
    const char *text = bg_arguments_get(arguments, name);
    *out = fallback;
    if (!text)
        return BG_OK;
    if (!bg_text_to_int(text, out) || *out < min || *out > max)
        return bg_fail(BG_E_USAGE, "--%s: expected a whole number from %lld to %lld, got '%s'",
                       name, (long long)min, (long long)max, text);
    return BG_OK;
}
