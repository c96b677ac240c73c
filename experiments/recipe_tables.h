/* What recipe.c and recipe_print.c share: the option tables, and the printing. */
#ifndef BG_EXPERIMENTS_RECIPE_TABLES_H
#define BG_EXPERIMENTS_RECIPE_TABLES_H

#include "experiments/recipe.h"

extern const struct bg_option bg_top_table[]; /* struct bg_recipe_top */
extern const struct bg_option bg_profile_table[], bg_quantize_table[];
extern const struct bg_option bg_evaluate_table[], bg_verify_table[], bg_checkpoint_table[],
    bg_report_table[]; /* fields of struct bg_recipe itself */

/* Keeps "there were errors" apart from failures that end the reading at once; `before` is the
 * length of the errors before the call that gave `rc`. */
BG_MUST enum bg_status bg_recipe_soft(enum bg_status rc, const struct bg_text *errors,
                                      size_t before);
/* Top level, data and network into recipe->resolved; their readers find errors while they print. */
BG_MUST enum bg_status bg_recipe_print_foreign(struct bg_recipe *recipe, struct bg_text *errors);
/* The other sections, behind them. */
BG_MUST enum bg_status bg_recipe_print_own(struct bg_recipe *recipe, struct bg_text *errors);

#endif
