/* Messages and progress go to one sink; the stop flag is a lock-free atomic, so a signal handler
 * may set it. */
#include "core/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#define MESSAGE_SIZE 1024

static const struct bg_log_sink *sink;
static atomic_int stop;

void bg_log_set(const struct bg_log_sink *new_sink)
{
    sink = new_sink;
}

void bg_log(enum bg_level level, const char *format, ...)
{
    char text[MESSAGE_SIZE] = "";
    va_list args;

    if (sink == NULL || sink->message == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sink->message(sink->self, level, text);
}

void bg_log_progress(const char *what, int64_t done, int64_t total, const char *note_format, ...)
{
    char note[MESSAGE_SIZE] = "";
    struct bg_progress progress = {.what = what, .done = done, .total = total, .note = note};
    va_list args;

    if (sink == NULL || sink->progress == NULL)
        return;
    va_start(args, note_format);
    (void)vsnprintf(note, sizeof note, note_format, args);
    va_end(args);
    sink->progress(sink->self, &progress);
}

void bg_stop_request(void)
{
    atomic_store(&stop, 1);
}

int bg_stop_requested(void)
{
    return atomic_load(&stop);
}

void bg_stop_clear(void)
{
    atomic_store(&stop, 0);
}
