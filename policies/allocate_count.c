/* The count allocator: the first n layers by priority (small first) take their lowest candidate,
 * all others keep their first. Budgets are not aimed at: a plan above one is refused. */
#include "core/mem.h"
#include "policies/allocate.h"

struct count_options {
    int64_t count;
};

static const struct bg_option table[] = {{.key = "count",
                                          .type = BG_OPT_INT,
                                          .offset = offsetof(struct count_options, count),
                                          .fallback = "0",
                                          .min = 0,
                                          .max = BG_ALLOCATE_ITEMS,
                                          .help = "how many layers are lowered; 0 = all"},
                                         {.key = NULL}};

static enum bg_status solve(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out)
{
    const struct count_options *o = options;
    int *order = NULL, count = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&order, problem->items, sizeof *order));
    count = bg_allocate_order(problem, order);
    if (o->count > count)
        FAIL(BG_E_DATA, "count: %lld layers to lower, only %d can be", (long long)o->count, count);
    for (int k = 0; k < (o->count > 0 ? o->count : count); k++)
        out->choice[order[k]] = problem->item[order[k]].candidates - 1;
out:
    bg_free(order);
    return rc;
}

extern const struct bg_allocate_method bg_allocate_count;
const struct bg_allocate_method bg_allocate_count = {
    .name = "count",
    .help = "the lowest candidate for the first n layers by priority",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct count_options),
    .by_priority = true,
    .solve = solve};
