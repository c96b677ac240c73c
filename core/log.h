/* Messages and progress. The library never prints: it calls the sink the program has set (none by
 * default). The sink decides which levels it shows. One sink per process, set before work starts.
 */
#ifndef BG_CORE_LOG_H
#define BG_CORE_LOG_H

#include <stdint.h>

#include "core/status.h"

enum bg_level { BG_LOG_ERROR, BG_LOG_WARN, BG_LOG_INFO, BG_LOG_DEBUG };

/* A progress report: what, how far, of how much, and a short note ("loss 0.412"). done == total
 * ends it. */
struct bg_progress {
    const char *what;
    int64_t done, total;
    const char *note;
};

struct bg_log_sink {
    void *self;
    void (*message)(void *self, enum bg_level level, const char *text);
    void (*progress)(void *self, const struct bg_progress *progress);
};

void bg_log_set(const struct bg_log_sink *sink); /* NULL = silence; the sink must outlive its use */
void bg_log(enum bg_level level, const char *format, ...) BG_PRINTF(2, 3);
void bg_log_progress(const char *what, int64_t done, int64_t total, const char *note_format, ...)
    BG_PRINTF(4, 5);

/* Cooperative stop: set from a signal handler, polled by loops. */
void bg_stop_request(void);
int bg_stop_requested(void);
void bg_stop_clear(void);

#endif
