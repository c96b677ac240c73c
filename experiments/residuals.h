/* Residual bits of a plan from what a record says of updates: the same for the live decision and
 * its replay. */
#ifndef BG_EXPERIMENTS_RESIDUALS_H
#define BG_EXPERIMENTS_RESIDUALS_H

#include "core/plan.h"
#include "experiments/recipe.h"
#include "experiments/record.h"

/* Gives the plan's layers with integer weights of 2 bits and more that it names no method for
 * (u=sgd), or residual without bits, u=residual:r by the recipe's select.residual; does nothing
 * without that key. Where the weights are in integers already, no fewer than hold their values in
 * the planned width. Reads the last epochs of training, and of fine-tuning no more than
 * `finetune_epochs`. BG_E_DATA, naming the layer, when nothing was recorded of it. */
BG_MUST enum bg_status bg_residuals_plan(const struct bg_recipe *recipe,
                                         const struct bg_record *record, int64_t finetune_epochs,
                                         struct bg_plan *plan);

#endif
