/* Allocators: given for each item (a layer, or layers tied together) the candidates it may take,
 * each with a penalty and its costs, choose one candidate per item with the least sum of penalties
 * within every budget. One const table per policies/allocate_<name>.c. Nothing here knows networks:
 * names are for messages.
 *
 * Sums are plain doubles added in the order of the items. That sum is monotone (a smaller start
 * never ends larger), so comparing partial sums is exact and an exact allocator agrees with trying
 * every plan. A budget is held when sum <= budget * (1 + 1e-12): decimal fractions such as
 * 0.1 + 0.2 hold 0.3, and no budget of whole units below 1e12 is stretched by one unit. */
#ifndef BG_POLICIES_ALLOCATE_H
#define BG_POLICIES_ALLOCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/status.h"

#define BG_ALLOCATE_BUDGETS    4 /* bytes, BOPs, latency, mean bits: at the same time */
#define BG_ALLOCATE_ITEMS      4096
#define BG_ALLOCATE_CANDIDATES 64

struct bg_allocate_item {
    char name[BG_NAME_MAX];
    int candidates;                    /* first = highest precision, last = lowest */
    char (*label)[BG_NAME_MAX];        /* "4", "w4a8" */
    double *penalty;                   /* [candidates], finite */
    double *cost[BG_ALLOCATE_BUDGETS]; /* [candidates], finite, >= 0 */
    double
        priority; /* of the item in prefix, threshold and count: small first; NaN: never lowered */
};

struct bg_allocate_problem {
    int items, budgets;
    struct bg_allocate_item *item;
    char budget_name[BG_ALLOCATE_BUDGETS][BG_NAME_MAX];
    double budget[BG_ALLOCATE_BUDGETS]; /* sum of costs must be <= this; below 0 nothing is */
    /* Messages speak of a sum of costs as (sum + outside) / unit; a unit of 0 is 1. */
    double outside[BG_ALLOCATE_BUDGETS], unit[BG_ALLOCATE_BUDGETS];
};

struct bg_allocation {
    int items;
    int *choice;             /* candidate per item */
    double objective, bound; /* sum of penalties; a proven lower bound on the best (-inf: none) */
    double cost[BG_ALLOCATE_BUDGETS];
    bool optimal;  /* proven: objective is the least possible */
    int64_t nodes; /* of the search, for reports */
};

struct bg_allocate_method {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    bool by_priority; /* reads the items' priorities, not their penalties */
    /* Fills choice (and bound, optimal, nodes where it knows them) of an allocation made for the
     * problem, which is valid: call bg_allocate_run. BG_E_DATA when it finds no plan within the
     * budgets. */
    enum bg_status (*solve)(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out);
};
extern const struct bg_allocate_method *const bg_allocate_methods[]; /* generated */

/* A problem of `items` empty items and no budgets; fill each with bg_allocate_item_make. On failure
 * *out is zeroed. Both frees take zeroed structs. */
BG_MUST enum bg_status bg_allocate_make(struct bg_allocate_problem *out, int items);
/* Room for `candidates` candidates, all zero with label "", priority 0, and the name. */
BG_MUST enum bg_status bg_allocate_item_make(struct bg_allocate_item *out, const char *name,
                                             int candidates);
void bg_allocate_free(struct bg_allocate_problem *problem);
/* Every choice 0, no bound. */
BG_MUST enum bg_status bg_allocation_make(struct bg_allocation *out, int items);
void bg_allocation_free(struct bg_allocation *allocation);

/* Counts within limits, numbers finite (up to 1e100), costs not negative, nor a budget with what is
 * outside: else BG_E_DATA naming item, candidate and column. Then BG_E_DATA when a budget is below
 * the sum of the items' least costs, naming the smallest feasible one. */
BG_MUST enum bg_status bg_allocate_check(const struct bg_allocate_problem *problem);
/* sum <= budget, as said at the head. */
bool bg_allocate_within(double cost, double budget);
/* The sum of the items' least costs of budget b: what every plan takes at least. */
double bg_allocate_least(const struct bg_allocate_problem *problem, int b);
/* A sum of budget b's costs as messages speak of it. */
void bg_allocate_say(const struct bg_allocate_problem *problem, int b, double sum, char out[32]);
/* Objective and costs of out->choice; true when every budget holds. Cannot fail. */
bool bg_allocate_evaluate(const struct bg_allocate_problem *problem, struct bg_allocation *out);
/* Checks, makes *out, solves and evaluates; afterwards every budget holds, and there is a bound
 * (that of bg_relaxation when the method gave none). `options` as its table describes, NULL for the
 * defaults. BG_E_DATA when the method finds no plan within the budgets; where the sentence names
 * values that can be held, they are those that were found, not proven to be the least. On failure
 * *out is zeroed. */
BG_MUST enum bg_status bg_allocate_run(const struct bg_allocate_method *method, const void *options,
                                       const struct bg_allocate_problem *problem,
                                       struct bg_allocation *out);
/* A method by its name with its options read from `node` (NULL: defaults); *options is fresh
 * memory (bg_free). An unknown name or key adds a line to `errors` and gives BG_E_DATA. */
BG_MUST enum bg_status bg_allocate_choose(const char *name, const struct bg_yaml *node,
                                          const char *path,
                                          const struct bg_allocate_method **method, void **options,
                                          struct bg_text *errors);

/* order[0..returned): items by priority, small first, ties by index; those of priority NaN and
 * those with one candidate are left out. Cannot fail. */
int bg_allocate_order(const struct bg_allocate_problem *problem, int *order);

/* Only the candidate `label` of an item stays; BG_E_DATA with the nearest label when there is none.
 */
BG_MUST enum bg_status bg_allocate_pin(struct bg_allocate_item *item, const char *label);
/* Ties: items with the same group[i] (0 <= group[i] <= i, the index of the group's first item)
 * become one, with sums of penalties and costs per label and the largest priority (NaN if one has
 * NaN). BG_E_DATA when tied items differ in their labels, naming both. *out is a problem of its
 * own; `merged` (may be NULL) gets each item's index in it. */
BG_MUST enum bg_status bg_allocate_tie(const struct bg_allocate_problem *problem, const int *group,
                                       struct bg_allocate_problem *out, int *merged);
/* The tied problem's allocation as one of the original problem: choices by label. *out is made
 * here. */
BG_MUST enum bg_status bg_allocate_spread(const struct bg_allocate_problem *problem,
                                          const struct bg_allocate_problem *tied, const int *merged,
                                          const struct bg_allocation *from,
                                          struct bg_allocation *out);

/* Lagrangian relaxation: prices (penalty per unit of a budget) that give a lower bound. */
struct bg_prices {
    double at[BG_ALLOCATE_BUDGETS];
};
/* Prices by subgradient steps towards a higher bound, a fixed number of them (deterministic); not
 * the best prices there are. *bound is the best met, already lowered by what rounding could have
 * added. `choice` [items] gets the best plan within all budgets met on the way, repaired by a
 * greedy fill; *found says whether there was one. Source: Everett, Operations Research 11 (1963);
 * Polyak's step. */
BG_MUST enum bg_status bg_relaxation(const struct bg_allocate_problem *problem,
                                     struct bg_prices *prices, double *bound, int *choice,
                                     bool *found);
#endif
