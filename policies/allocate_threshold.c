/* The threshold allocator: layers with a priority up to the threshold take their lowest candidate,
 * all others keep their first. Budgets are not aimed at: a plan above one is refused. */
#include <math.h>

#include "policies/allocate.h"

struct threshold_options {
    double threshold;
};

static const struct bg_option table[] = {{.key = "threshold",
                                          .type = BG_OPT_REAL,
                                          .offset = offsetof(struct threshold_options, threshold),
                                          .fallback = "0",
                                          .help = "largest priority that is lowered"},
                                         {.key = NULL}};

static enum bg_status solve(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out)
{
    const struct threshold_options *o = options;
    for (int i = 0; i < problem->items; i++)
        if (problem->item[i].priority <= o->threshold) /* never true for NaN */
            out->choice[i] = problem->item[i].candidates - 1;
    return BG_OK;
}

extern const struct bg_allocate_method bg_allocate_threshold;
const struct bg_allocate_method bg_allocate_threshold = {
    .name = "threshold",
    .help = "the lowest candidate for every layer with a priority up to the threshold",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct threshold_options),
    .by_priority = true,
    .solve = solve};
