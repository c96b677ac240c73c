/* Selection under budgets as a recipe's `select` section asks for it: what its keys say, the frame
 * they mean for a network, and the plan. */
#ifndef BG_POLICIES_BUDGET_SELECT_H
#define BG_POLICIES_BUDGET_SELECT_H

#include "policies/budget.h"

/* What the keys say; read once with the recipe. */
struct bg_budget_choice {
    int budgets; /* 0 = none asked for */
    struct bg_budget budget[BG_ALLOCATE_BUDGETS];
    const struct bg_allocate_method *allocator;
    void *settings; /* owned */
};
/* Errors are added as bg_options_read does. Nothing is asked of a section whose search is another.
 * Free with bg_budget_choice_free. */
BG_MUST enum bg_status bg_budget_choose(const struct bg_select_options *options,
                                        const struct bg_yaml *section, struct bg_budget_choice *out,
                                        struct bg_text *errors);
void bg_budget_choice_free(struct bg_budget_choice *choice); /* takes a zeroed one */

/* What was decided, for reports. */
struct bg_budget_report {
    int budgets;
    struct bg_budget budget[BG_ALLOCATE_BUDGETS]; /* as asked for, times the round's factor */
    double cost[BG_ALLOCATE_BUDGETS];             /* of the plan, in the same units */
    double objective, bound;
    bool optimal;
};

/* A network, and when it is asked. */
struct bg_budget_case {
    const struct bg_net *net;
    const char *const *names;
    const bool *pinned;
    const struct bg_latency *latency; /* NULL = none */
    double factor;                    /* of the budgets */
    const struct bg_plan *before;     /* bits may not rise above those of this plan; NULL */
};
/* The plan within `factor` times the budgets. BG_E_DATA naming the smallest feasible
 * budget when none holds. Free *plan with bg_plan_free. */
BG_MUST enum bg_status bg_budget_plan(const struct bg_budget_choice *choice,
                                      const struct bg_select_options *options,
                                      const struct bg_budget_case *at,
                                      const struct bg_penalties *penalties, struct bg_plan *plan,
                                      struct bg_budget_report *report);
/* The bits at which the policy must know its penalties. */
int bg_budget_bits(const struct bg_select_options *options, int bits[BG_CANDIDATES_MAX]);

/* Selections in rounds, counted from 0: how many the epochs of fine-tuning make, the factor of one,
 * and the bits of layers that are chosen then. */
int bg_select_rounds(const struct bg_select_options *options, int64_t epochs);
double bg_select_factor(const struct bg_select_options *options, int round);
int bg_select_bits(const struct bg_select_options *options, int round);
/* Bits of `plan` that are above those of `before` become those: formats of weights and activations,
 * f32 being the most. Plans of one network. */
void bg_plan_lower(struct bg_plan *plan, const struct bg_plan *before);

#endif
