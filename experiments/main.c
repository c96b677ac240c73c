/* The `bitgrad` command: finds the subcommand, prints the sentence of a failure, and turns its
 * status into the exit code. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/dnn.h"
#include "experiments/arguments.h"
#include "experiments/command.h"
#include "experiments/terminal.h"

static int exit_code;

void bg_command_exit_with(int code)
{
    exit_code = code;
}

const struct bg_command *bg_command_find(const char *name)
{
    for (int i = 0; bg_commands[i]; i++)
        if (!strcmp(bg_commands[i]->name, name))
            return bg_commands[i];
    return NULL;
}

static void print_arguments(const struct bg_argument *table)
{
    for (int i = 0; table && table[i].name; i++) {
        char left[64];
        (void)snprintf(left, sizeof left, "--%s%s%s", table[i].name, table[i].value ? " " : "",
                       table[i].value ? table[i].value : "");
        printf("  %-20s %s\n", left, table[i].help);
    }
}

enum bg_status bg_command_help(const struct bg_command *command)
{
    printf("usage: bitgrad %s\n\n%s\n", command->usage, command->help);
    if (command->details && *command->details)
        printf("\n%s\n", command->details);
    printf("\noptions:\n");
    print_arguments(command->arguments);
    print_arguments(bg_common_arguments);
    return BG_OK;
}

static void print_overview(void)
{
    printf(
        "usage: bitgrad COMMAND ...\n\n"
        "Trains neural networks with quantization in the loop, watches how gradients and weights\n"
        "move in every layer, and gives each layer the bits it needs.\n\ncommands:\n");
    for (int i = 0; bg_commands[i]; i++)
        printf("  %-10s %s\n", bg_commands[i]->name, bg_commands[i]->help);
    printf("  %-10s %s\n\n", "help", "this text, or one command's: bitgrad help COMMAND");
    printf("exit codes: 0 done, 1 different (diff, verify), 64 usage, 65 bad data, 70 internal,\n"
           "74 input/output, 75 interrupted and resumable\n");
}

static enum bg_status unknown_command(const char *word)
{
    const char *names[64];
    const char *nearest;
    int count = 0;
    for (; count < 63 && bg_commands[count]; count++)
        names[count] = bg_commands[count]->name;
    names[count++] = "help";
    nearest = bg_text_nearest(word, names, count);
    if (nearest)
        return bg_fail(BG_E_USAGE, "unknown command '%s'; did you mean '%s'?", word, nearest);
    return bg_fail(BG_E_USAGE, "unknown command '%s'; 'bitgrad help' lists them", word);
}

static enum bg_status help(int argc, char **argv)
{
    const struct bg_command *command;
    if (argc < 2) {
        print_overview();
        return BG_OK;
    }
    command = bg_command_find(argv[1]);
    return command ? bg_command_help(command) : unknown_command(argv[1]);
}

static enum bg_status dispatch(int argc, char **argv)
{
    static char version[] = "version";
    const struct bg_command *command;
    if (argc < 2) {
        print_overview();
        return bg_fail(BG_E_USAGE, "no command given");
    }
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return help(argc - 1, argv + 1);
    command = bg_command_find(!strcmp(argv[1], "--version") ? version : argv[1]);
    return command ? command->main(argc - 1, argv + 1) : unknown_command(argv[1]);
}

/* An idle OpenMP thread of libgomp spins for milliseconds by default. Beside any other load that
 * starves the thread it waits for: two ResNet-8 benches at once took 257-282 ms a step, 88-91 ms
 * with this shorter spin; alone no difference was seen (ResNet-20 97 ms, LeNet-5 3.4 ms, both
 * ways). libgomp reads the variable before main, so the program starts itself once more. */
static void shorten_spinning(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    if (setenv("GOMP_SPINCOUNT", "10000", 1) == 0)
        (void)execv("/proc/self/exe", argv);
}

int main(int argc, char **argv)
{
    enum bg_status rc;
    shorten_spinning(argv);
    /* A file at the size limit is then a failed write with a sentence, not a death. */
    (void)signal(SIGXFSZ, SIG_IGN);
    bg_terminal_start();
    rc = dispatch(argc, argv);
    bg_terminal_clear();
    if (fflush(stdout) != 0 && rc == BG_OK)
        rc = bg_fail(BG_E_IO, "standard output cannot be written");
    if (rc == BG_OK)
        return exit_code;
    bg_terminal_error(bg_error());
    return bg_status_exit_code(rc);
}
