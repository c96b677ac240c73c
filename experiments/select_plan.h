/* The plans a round of selection may make: by a prefix of a ranking, or within budgets. The same
 * for the live decision and its replay. */
#ifndef BG_EXPERIMENTS_SELECT_PLAN_H
#define BG_EXPERIMENTS_SELECT_PLAN_H

#include "experiments/select_data.h"

/* A round (0 = the first) of a run. */
struct bg_select_round {
    int number;
    const struct bg_recipe *recipe;
    struct bg_select_options options; /* the recipe's, with this round's second_bits */
    struct bg_plan before;            /* bits may not rise above these; count 0 = no such plan */
};
/* `record` has the plans of earlier rounds. Free with bg_select_round_close (takes a zeroed one).
 */
BG_MUST enum bg_status bg_select_round_open(struct bg_select_round *out,
                                            const struct bg_recipe *recipe,
                                            const struct bg_record *record, int number);
void bg_select_round_close(struct bg_select_round *round);
/* bg_select_plan of this round. */
BG_MUST enum bg_status bg_select_prefix_plan(const struct bg_select_round *round,
                                             const struct bg_select_data *data,
                                             const struct bg_ranking *ranking, int k,
                                             struct bg_plan *out);
/* The policy's penalties, and the allocator's plan within this round's budgets. */
BG_MUST enum bg_status bg_select_budget_plan(const struct bg_select_round *round,
                                             const struct bg_net *net,
                                             const struct bg_select_data *data, struct bg_plan *out,
                                             struct bg_budget_report *report);
/* "bytes 21840 of 22000 ...; objective 0.31, proven the least" for logs and terminals. */
void bg_select_budget_text(const struct bg_budget_report *report, struct bg_text *out);

#endif
