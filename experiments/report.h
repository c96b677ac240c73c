/* The report: one self-contained HTML file from the record alone, without scripts. */
#ifndef BG_EXPERIMENTS_REPORT_H
#define BG_EXPERIMENTS_REPORT_H

#include "core/text.h"
#include "experiments/record.h"

/* Writes DIR/report.html, and DIR/figures/ when `figures`. */
BG_MUST enum bg_status bg_report_write(const struct bg_record *record, const char *dir,
                                       bool figures);

/* report_figures.c: draws one figure into `dir`; *drawn says whether there is data and a drawing.
 */
enum bg_figure {
    BG_FIGURE_BITS,
    BG_FIGURE_SCORES,
    BG_FIGURE_SEARCH,
    BG_FIGURE_ACCURACY,
    BG_FIGURE_LOSS,
    BG_FIGURE_WEIGHT_GRADIENT,
    BG_FIGURE_INPUT_GRADIENT,
    BG_FIGURE_OUTPUT_GRADIENT,
    BG_FIGURE_DISPLACEMENT,
    BG_FIGURES
};
BG_MUST enum bg_status bg_figure_draw(const struct bg_record *record, enum bg_figure figure,
                                      const char *dir, bool *drawn);
/* File name without extension. */
const char *bg_figure_name(enum bg_figure figure);
/* The weights of one layer on their grid: "weights_003". */
BG_MUST enum bg_status bg_figure_weights(const struct bg_record *record, int layer, const char *dir,
                                         bool *drawn, char name[32]);

/* report_parts.c: the sections without figures. */
void bg_report_style(struct bg_text *html);
void bg_report_summary(const struct bg_record *record, struct bg_text *html);
void bg_report_selections(const struct bg_record *record, struct bg_text *html);
void bg_report_layers(const struct bg_record *record, struct bg_text *html);
void bg_report_costs(const struct bg_record *record, struct bg_text *html);
void bg_report_integers(const struct bg_record *record, struct bg_text *html);
void bg_report_classes(const struct bg_record *record, struct bg_text *html);
/* report_updates.c */
void bg_report_updates(const struct bg_record *record, struct bg_text *html);
void bg_report_implementations(const struct bg_record *record, struct bg_text *html);

#endif
