/* Messages and the progress bar. The bar is one line that is drawn over itself at most ten times a
 * second; the time left is the time so far, scaled: no smoothing, so it is exact for even work. A
 * pipe or a file gets messages only, one line each. */
#include "experiments/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH    24
#define REDRAW_AFTER 0.1 /* seconds */

struct terminal {
    enum bg_level level;
    enum bg_color color;
    bool bar;      /* stderr can show one */
    bool drawn;    /* a bar stands on the last line */
    double began;  /* of the thing in progress */
    int64_t first; /* what was done already when it began: a resumed stage */
    double last_draw;
    char what[64];
};

static struct terminal terminal;

double bg_terminal_clock(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static bool has_color(void)
{
    const char *no_color = getenv("NO_COLOR");
    if (terminal.color != BG_COLOR_AUTO)
        return terminal.color == BG_COLOR_ALWAYS;
    return terminal.bar && (!no_color || !*no_color);
}

void bg_terminal_clear(void)
{
    if (!terminal.drawn)
        return;
    fputs("\r\033[K", stderr);
    terminal.drawn = false;
}

static const char *level_paint(enum bg_level level)
{
    if (!has_color())
        return "";
    switch (level) {
    case BG_LOG_ERROR:
        return "\033[31m";
    case BG_LOG_WARN:
        return "\033[33m";
    case BG_LOG_DEBUG:
        return "\033[2m";
    default:
        return "";
    }
}

/* Sentences quote names out of files and command lines: what would move the cursor or break the
 * line is shown as '?'. */
static void put_sentence(const char *text)
{
    for (; *text; text++)
        (void)fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, stderr);
}

static void show_message(void *self, enum bg_level level, const char *text)
{
    const char *paint = level_paint(level);
    const char *word = level == BG_LOG_WARN    ? "bitgrad: warning: "
                       : level == BG_LOG_ERROR ? "bitgrad: "
                                               : "";
    (void)self;
    if (level > terminal.level)
        return;
    bg_terminal_clear();
    fprintf(stderr, "%s%s", paint, word);
    if (level <= BG_LOG_WARN)
        put_sentence(text);
    else
        fputs(text, stderr);
    fprintf(stderr, "%s\n", *paint ? "\033[0m" : "");
}

void bg_terminal_error(const char *sentence)
{
    show_message(NULL, BG_LOG_ERROR, sentence);
}

/* "1:02:03" or "4:05". */
static void time_text(char *out, size_t room, double seconds)
{
    long whole = seconds < 0 ? 0 : seconds > 359999 ? 359999 : (long)(seconds + 0.5);
    if (whole >= 3600)
        (void)snprintf(out, room, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        (void)snprintf(out, room, "%ld:%02ld", whole / 60, whole % 60);
}

static void draw(const struct bg_progress *progress, double now)
{
    char left[32] = "";
    double part = progress->total > 0 ? (double)progress->done / (double)progress->total : 0.0;
    int filled = (int)(part * BAR_WIDTH);
    const char *paint = has_color() ? "\033[36m" : "";

    if (progress->done > terminal.first)
        time_text(left, sizeof left,
                  (now - terminal.began) * (double)(progress->total - progress->done) /
                      (double)(progress->done - terminal.first));
    fprintf(stderr, "\r%s %s%.*s%s%.*s %3d%%  %s%s%s%s\033[K", progress->what, paint, filled,
            "########################", *paint ? "\033[0m" : "", BAR_WIDTH - filled,
            "........................", (int)(100.0 * part), left, *left ? " left" : "",
            progress->note && *progress->note ? "  " : "", progress->note ? progress->note : "");
    (void)fflush(stderr);
    terminal.drawn = true;
    terminal.last_draw = now;
}

static void show_progress(void *self, const struct bg_progress *progress)
{
    double now = bg_terminal_clock();
    (void)self;
    if (!terminal.bar || terminal.level < BG_LOG_INFO)
        return;
    if (progress->done >= progress->total) {
        bg_terminal_clear();
        terminal.what[0] = '\0';
        return;
    }
    if (strncmp(terminal.what, progress->what, sizeof terminal.what - 1) != 0) {
        (void)snprintf(terminal.what, sizeof terminal.what, "%s", progress->what);
        terminal.began = now;
        terminal.first = progress->done;
        terminal.last_draw = 0.0;
    }
    if (now - terminal.last_draw >= REDRAW_AFTER)
        draw(progress, now);
}

void bg_terminal_set_level(enum bg_level level)
{
    terminal.level = level;
}

enum bg_level bg_terminal_level(void)
{
    return terminal.level;
}

void bg_terminal_set_color(enum bg_color color)
{
    terminal.color = color;
}

void bg_terminal_start(void)
{
    static const struct bg_log_sink sink = {.message = show_message, .progress = show_progress};
    const char *kind = getenv("TERM");
    terminal = (struct terminal){.level = BG_LOG_INFO, .color = BG_COLOR_AUTO};
    terminal.bar = isatty(STDERR_FILENO) && kind && strcmp(kind, "dumb") != 0;
    bg_log_set(&sink);
}

static void on_signal(int number)
{
    if (bg_stop_requested()) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
        return;
    }
    bg_stop_request();
}

void bg_terminal_catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    (void)sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}
