/* Figures through gnuplot: each leaves NAME.tsv (data), NAME.gp (script) and NAME.svg in a folder,
 * so that it can be drawn again by hand: `cd figures; gnuplot NAME.gp`. */
#ifndef BG_EXPERIMENTS_PLOT_H
#define BG_EXPERIMENTS_PLOT_H

#include <stdbool.h>

#include "core/status.h"
#include "core/text.h"

/* Starts a script: an SVG of that size, common style, the output and the data separator. */
void bg_plot_begin(struct bg_text *script, const char *name, int width, int height);
/* Writes data and script and runs gnuplot in `dir`. *drawn is false, with a warning logged, when
 * gnuplot is missing or fails: a report does without figures. `name` is the writer's own, never a
 * user's text: no text of a user stands in a script. */
BG_MUST enum bg_status bg_plot_draw(const char *dir, const char *name, const struct bg_text *tsv,
                                    const struct bg_text *script, bool *drawn);

#endif
