/* What every allocator stands on: problems and allocations as values, their validation, the sums,
 * and bg_allocate_run around a method's solve. The sums are defined at the head of
 * policies/allocate.h. */
#include "policies/allocate.h"

#include <math.h>
#include <stdio.h>

#include "core/mem.h"

#define SLACK   1e-12 /* see the header */
#define LARGEST 1e100 /* of a number, so that no sum or price overflows */

enum bg_status bg_allocate_make(struct bg_allocate_problem *out, int items)
{
    *out = (struct bg_allocate_problem){0};
    enum bg_status rc = bg_alloc(&out->item, items, sizeof *out->item);
    if (rc == BG_OK)
        out->items = items;
    return rc;
}

enum bg_status bg_allocate_item_make(struct bg_allocate_item *out, const char *name, int candidates)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_allocate_item){0};
    TRY(bg_text_copy(out->name, sizeof out->name, name));
    TRY(bg_alloc(&out->label, candidates, sizeof *out->label));
    TRY(bg_alloc(&out->penalty, candidates, sizeof *out->penalty));
    for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++)
        TRY(bg_alloc(&out->cost[b], candidates, sizeof *out->cost[b]));
    out->candidates = candidates;
out:
    return rc; /* what was taken is the problem's to free */
}

void bg_allocate_free(struct bg_allocate_problem *problem)
{
    for (int i = 0; i < problem->items; i++) {
        struct bg_allocate_item *item = &problem->item[i];
        bg_free(item->label);
        bg_free(item->penalty);
        for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++)
            bg_free(item->cost[b]);
    }
    bg_free(problem->item);
    *problem = (struct bg_allocate_problem){0};
}

enum bg_status bg_allocation_make(struct bg_allocation *out, int items)
{
    *out = (struct bg_allocation){.bound = -HUGE_VAL};
    enum bg_status rc = bg_alloc(&out->choice, items, sizeof *out->choice);
    if (rc == BG_OK)
        out->items = items;
    return rc;
}

void bg_allocation_free(struct bg_allocation *allocation)
{
    bg_free(allocation->choice);
    *allocation = (struct bg_allocation){0};
}

static enum bg_status check_item(const struct bg_allocate_problem *problem, int index)
{
    const struct bg_allocate_item *item = &problem->item[index];
    if (item->candidates < 1 || item->candidates > BG_ALLOCATE_CANDIDATES)
        return bg_fail(BG_E_DATA, "allocate: layer %s has %d candidates, expected 1 to %d",
                       item->name, item->candidates, BG_ALLOCATE_CANDIDATES);
    for (int j = 0; j < item->candidates; j++) {
        if (!(fabs(item->penalty[j]) <= LARGEST))
            return bg_fail(BG_E_DATA,
                           "allocate: layer %s, candidate %s: the penalty is %g, expected a finite "
                           "number up to %g",
                           item->name, item->label[j], item->penalty[j], LARGEST);
        for (int b = 0; b < problem->budgets; b++)
            if (!(item->cost[b][j] >= 0 && item->cost[b][j] <= LARGEST))
                return bg_fail(BG_E_DATA,
                               "allocate: layer %s, candidate %s: %s is %g, expected a finite "
                               "number from 0 to %g",
                               item->name, item->label[j], problem->budget_name[b],
                               item->cost[b][j], LARGEST);
    }
    return BG_OK;
}

void bg_allocate_say(const struct bg_allocate_problem *problem, int b, double sum, char out[32])
{
    const double unit = problem->unit[b] > 0 ? problem->unit[b] : 1;

    bg_text_real(out, (sum + problem->outside[b]) / unit);
}

double bg_allocate_least(const struct bg_allocate_problem *problem, int b)
{
    double least = 0;

    for (int i = 0; i < problem->items; i++) {
        const struct bg_allocate_item *item = &problem->item[i];
        double low = item->cost[b][0];
        for (int j = 1; j < item->candidates; j++)
            low = item->cost[b][j] < low ? item->cost[b][j] : low;
        least += low;
    }
    return least;
}

static enum bg_status check_budget(const struct bg_allocate_problem *problem, int b)
{
    const double least = bg_allocate_least(problem, b);
    char is[32], smallest[32];
    bg_allocate_say(problem, b, problem->budget[b], is);
    /* What is outside may alone be more than was asked: that is said by the second sentence. */
    if (!(problem->budget[b] + problem->outside[b] >= 0 && problem->budget[b] <= LARGEST))
        return bg_fail(BG_E_DATA,
                       "allocate: the budget %s is %s, expected a finite number from 0 to %g",
                       problem->budget_name[b], is, LARGEST);
    bg_allocate_say(problem, b, least, smallest);
    if (!bg_allocate_within(least, problem->budget[b]))
        return bg_fail(
            BG_E_DATA,
            "allocate: no plan holds the budget %s=%s; the smallest feasible one is %s=%s",
            problem->budget_name[b], is, problem->budget_name[b], smallest);
    return BG_OK;
}

enum bg_status bg_allocate_check(const struct bg_allocate_problem *problem)
{
    enum bg_status rc = BG_OK;
    if (problem->items < 1 || problem->items > BG_ALLOCATE_ITEMS)
        FAIL(BG_E_DATA, "allocate: %d layers, expected 1 to %d", problem->items, BG_ALLOCATE_ITEMS);
    if (problem->budgets < 0 || problem->budgets > BG_ALLOCATE_BUDGETS)
        FAIL(BG_E_DATA, "allocate: %d budgets, limit is %d", problem->budgets, BG_ALLOCATE_BUDGETS);
    for (int i = 0; i < problem->items; i++)
        TRY(check_item(problem, i));
    for (int b = 0; b < problem->budgets; b++)
        TRY(check_budget(problem, b));
out:
    return rc;
}

bool bg_allocate_within(double cost, double budget)
{
    return cost <= budget + SLACK * budget;
}

bool bg_allocate_evaluate(const struct bg_allocate_problem *problem, struct bg_allocation *out)
{
    bool within = true;
    out->objective = 0;
    for (int i = 0; i < problem->items; i++)
        out->objective += problem->item[i].penalty[out->choice[i]];
    for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++) {
        out->cost[b] = 0;
        for (int i = 0; b < problem->budgets && i < problem->items; i++)
            out->cost[b] += problem->item[i].cost[b][out->choice[i]];
        if (b < problem->budgets)
            within = within && bg_allocate_within(out->cost[b], problem->budget[b]);
    }
    return within;
}

/* The bound of a method that gave none; one that meets the objective is a proof. */
static enum bg_status add_bound(const struct bg_allocate_problem *problem,
                                struct bg_allocation *out)
{
    struct bg_prices prices;
    int *choice = NULL;
    bool found = false;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&choice, problem->items, sizeof *choice));
    TRY(bg_relaxation(problem, &prices, &out->bound, choice, &found));
    out->optimal = out->bound >= out->objective;
out:
    bg_free(choice);
    return rc;
}

static enum bg_status say_exceeded(const struct bg_allocate_method *method,
                                   const struct bg_allocate_problem *problem,
                                   const struct bg_allocation *out)
{
    int b = 0;
    char cost[32], budget[32];
    while (b + 1 < problem->budgets && bg_allocate_within(out->cost[b], problem->budget[b]))
        b++;
    bg_allocate_say(problem, b, out->cost[b], cost);
    bg_allocate_say(problem, b, problem->budget[b], budget);
    return bg_fail(BG_E_DATA, "%s: its plan takes %s=%s, the budget is %s", method->name,
                   problem->budget_name[b], cost, budget);
}

enum bg_status bg_allocate_run(const struct bg_allocate_method *method, const void *options,
                               const struct bg_allocate_problem *problem, struct bg_allocation *out)
{
    enum bg_status rc = BG_OK;
    void *defaults = NULL;
    *out = (struct bg_allocation){0};
    if (!options && method->options) {
        TRY(bg_alloc(&defaults, 1, method->options_size));
        TRY(bg_options_defaults(method->options, defaults));
    }
    TRY(bg_allocate_check(problem));
    TRY(bg_allocation_make(out, problem->items));
    TRY(method->solve(options ? options : defaults, problem, out));
    if (!bg_allocate_evaluate(problem, out)) {
        rc = say_exceeded(method, problem, out);
        goto out;
    }
    if (isinf(out->bound))
        TRY(add_bound(problem, out));
    if (out->bound > out->objective) /* by rounding alone */
        out->bound = out->objective;
out:
    bg_free(defaults);
    if (rc != BG_OK)
        bg_allocation_free(out);
    return rc;
}

int bg_allocate_order(const struct bg_allocate_problem *problem, int *order)
{
    int count = 0;
    for (int i = 0; i < problem->items; i++) {
        double priority = problem->item[i].priority;
        int at = count;
        if (isnan(priority) || problem->item[i].candidates < 2)
            continue;
        for (; at > 0 && problem->item[order[at - 1]].priority > priority; at--)
            order[at] = order[at - 1];
        order[at] = i;
        count++;
    }
    return count;
}
