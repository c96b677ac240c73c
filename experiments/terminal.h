/* What a person sees while bitgrad works: messages and a progress bar, on stderr. Results go to
 * stdout and are not the terminal's business. */
#ifndef BG_EXPERIMENTS_TERMINAL_H
#define BG_EXPERIMENTS_TERMINAL_H

#include <stdbool.h>

#include "core/log.h"

enum bg_color { BG_COLOR_AUTO, BG_COLOR_ALWAYS, BG_COLOR_NEVER };

/* Becomes the library's log sink. A bar is drawn only when stderr is a terminal that is not
 * "dumb". */
void bg_terminal_start(void);
void bg_terminal_set_level(enum bg_level level);
void bg_terminal_set_color(enum bg_color color);
enum bg_level bg_terminal_level(void);
/* Takes the bar away, so that a result can be printed. */
void bg_terminal_clear(void);
/* Prints "bitgrad: sentence" on stderr; cannot fail. */
void bg_terminal_error(const char *sentence);
/* From now on the first SIGINT or SIGTERM asks for a stop (bg_stop_requested), the second ends the
 * process. */
void bg_terminal_catch_signals(void);
/* Seconds of a clock that never goes back. */
double bg_terminal_clock(void);

#endif
