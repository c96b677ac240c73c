/* The option tables that recipe.c reads and prints with. */
#ifndef BG_EXPERIMENTS_RECIPE_TABLES_H
#define BG_EXPERIMENTS_RECIPE_TABLES_H

#include "core/options.h"

extern const struct bg_option bg_top_table[]; /* struct bg_recipe_top */
extern const struct bg_option bg_profile_table[], bg_quantize_table[];
extern const struct bg_option bg_evaluate_table[], bg_verify_table[], bg_checkpoint_table[],
    bg_report_table[]; /* fields of struct bg_recipe itself */

#endif
