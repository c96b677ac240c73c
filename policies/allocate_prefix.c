/* The prefix allocator: layers in order of priority (small first) give up precision until every
 * budget holds. It reads priorities and costs alone, never penalties, as the policies of
 * policies/METHODS.md do; how many layers is decided by the budgets here and by a test of the
 * accuracy in policies/search.c. Plans are nested in the budget; the penalty falls with more budget
 * as far as each layer's penalties rise with lower precision. */
#include "core/mem.h"
#include "policies/allocate.h"

struct prefix_options {
    int steps;
};

static const char *const steps[] = {"full", "rounds", NULL};

static const struct bg_option table[] = {
    {.key = "steps",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct prefix_options, steps),
     .fallback = "full",
     .choices = steps,
     .help = "full: a layer goes to its lowest candidate before the next one moves; rounds: one "
             "candidate a layer and round"},
    {.key = NULL}};

static enum bg_status solve(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out)
{
    const struct prefix_options *o = options;
    int *order = NULL, count = 0;
    bool moved = true, within = bg_allocate_evaluate(problem, out);
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&order, problem->items, sizeof *order));
    count = bg_allocate_order(problem, order);
    while (!within && moved) {
        moved = false;
        for (int k = 0; !within && k < count; k++) {
            int lowest = problem->item[order[k]].candidates - 1, *choice = &out->choice[order[k]];
            if (*choice == lowest)
                continue;
            *choice = o->steps == 0 ? lowest : *choice + 1;
            moved = true;
            within = bg_allocate_evaluate(problem, out);
            out->nodes++;
        }
    }
out:
    bg_free(order);
    return rc; /* bg_allocate_run says what does not hold */
}

extern const struct bg_allocate_method bg_allocate_prefix;
const struct bg_allocate_method bg_allocate_prefix = {
    .name = "prefix",
    .help = "lower the layers in order of priority until the budgets hold",
    .source = "policies/METHODS.md, prefix search, with budgets in place of the accuracy test",
    .options = table,
    .options_size = sizeof(struct prefix_options),
    .by_priority = true,
    .solve = solve};
