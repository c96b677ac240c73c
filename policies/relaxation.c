/* The Lagrangian relaxation of an allocation problem: a lower bound on every plan's objective, and
 * good plans met on the way. With a price per unit of each budget the problem falls apart into one
 * choice per item, so the bound sum_i min_j (penalty + price * cost) - price * budget holds for any
 * prices >= 0 (Everett 1963). The best prices are searched by bisection for one budget and by
 * Polyak's subgradient steps for several. Deterministic; how good the bound is, is not promised. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "policies/allocate.h"

#define BISECTIONS  60
#define SUBGRADIENT 400
#define PATIENCE    12 /* steps without a better bound before the step is halved */
#define FILLS       4  /* passes of the fill */

struct relaxation {
    const struct bg_allocate_problem *problem;
    struct bg_prices best_prices;
    double best_bound;
    struct bg_allocation best; /* plan within the budgets, once found */
    bool found;
    double over[BG_ALLOCATE_BUDGETS]; /* cost minus budget at the present prices */
    double unit[BG_ALLOCATE_BUDGETS]; /* sum of the items' largest costs */
    double spread, size;              /* sums of the penalties' ranges and magnitudes */
    struct bg_allocation now;         /* the minimising choice, then filled */
};

static void measure(struct relaxation *r)
{
    for (int i = 0; i < r->problem->items; i++) {
        const struct bg_allocate_item *item = &r->problem->item[i];
        double low = item->penalty[0], high = low, top[BG_ALLOCATE_BUDGETS] = {0};
        for (int j = 0; j < item->candidates; j++) {
            low = fmin(low, item->penalty[j]);
            high = fmax(high, item->penalty[j]);
            for (int b = 0; b < r->problem->budgets; b++)
                top[b] = fmax(top[b], item->cost[b][j]);
        }
        r->spread += high - low;
        r->size += fmax(fabs(low), fabs(high));
        for (int b = 0; b < r->problem->budgets; b++)
            r->unit[b] += top[b];
    }
}

/* Cheaper plans first among equals, so that free savings are taken. */
static int cheapest(const struct bg_allocate_problem *problem, int i,
                    const struct bg_prices *prices, double *value)
{
    const struct bg_allocate_item *item = &problem->item[i];
    int best = -1;
    for (int j = 0; j < item->candidates; j++) {
        double v = item->penalty[j];
        for (int b = 0; b < problem->budgets; b++)
            v += prices->at[b] * item->cost[b][j];
        if (best < 0 || v < *value ||
            (v <= *value && problem->budgets > 0 && item->cost[0][j] < item->cost[0][best])) {
            *value = v;
            best = j;
        }
    }
    return best;
}

/* Would moving item i to candidate j keep every budget? */
static bool fits(const struct bg_allocate_problem *problem, const struct bg_allocation *now, int i,
                 int j)
{
    const struct bg_allocate_item *item = &problem->item[i];
    for (int b = 0; b < problem->budgets; b++)
        if (!(now->cost[b] - item->cost[b][now->choice[i]] + item->cost[b][j] <=
              problem->budget[b]))
            return false;
    return true;
}

static void fill(const struct bg_allocate_problem *problem, struct bg_allocation *now)
{
    bool moved = true;
    for (int pass = 0; moved && pass < FILLS; pass++) {
        moved = false;
        for (int i = 0; i < problem->items; i++) {
            const struct bg_allocate_item *item = &problem->item[i];
            int from = now->choice[i], to = from;
            for (int j = 0; j < item->candidates; j++)
                if (item->penalty[j] < item->penalty[to] && fits(problem, now, i, j))
                    to = j;
            for (int b = 0; b < problem->budgets; b++)
                now->cost[b] += item->cost[b][to] - item->cost[b][from];
            now->choice[i] = to;
            moved = moved || to != from;
        }
    }
}

/* The bound at these prices; remembers the best bound and the best plan within the budgets.
 *
 * n + 8 roundings of relative size 2^-53 on terms that add up to at most `terms` in magnitude: the
 * bound is lowered by four times that, so it also holds for the rounded sums of a plan. */
static double look(struct relaxation *r, const struct bg_prices *prices)
{
    const struct bg_allocate_problem *problem = r->problem;
    double bound = 0, terms = r->size;
    for (int i = 0; i < problem->items; i++) {
        double value = 0;
        r->now.choice[i] = cheapest(problem, i, prices, &value);
        bound += value;
    }
    for (int b = 0; b < problem->budgets; b++) {
        double budget = problem->budget[b] * (1 + 1e-12) * (1 + 4 * DBL_EPSILON);
        bound -= prices->at[b] * budget;
        terms += prices->at[b] * (r->unit[b] + budget);
    }
    bound -= 2 * DBL_EPSILON * (problem->items + 8) * terms;
    if (bound > r->best_bound) {
        r->best_bound = bound;
        r->best_prices = *prices;
    }
    bool within = bg_allocate_evaluate(problem, &r->now);
    for (int b = 0; b < problem->budgets; b++)
        r->over[b] = r->now.cost[b] - problem->budget[b];
    if (within) {
        fill(problem, &r->now);
        if (bg_allocate_evaluate(problem, &r->now) && r->now.objective < r->best.objective) {
            r->best.objective = r->now.objective;
            r->found = true;
            memcpy(r->best.choice, r->now.choice, (size_t)problem->items * sizeof(int));
        }
    }
    return bound;
}

/* The price of budget b where its cost passes the budget, the other prices as they are. */
static void bisect(struct relaxation *r, struct bg_prices *prices, int b)
{
    double low = 0, high = r->unit[b] > 0 ? r->spread / r->unit[b] : 0;
    prices->at[b] = 0;
    (void)look(r, prices);
    if (r->over[b] <= 0 || high <= 0)
        return;
    for (int i = 0; i < BISECTIONS; i++) { /* up to where the budget holds */
        prices->at[b] = high;
        (void)look(r, prices);
        if (r->over[b] <= 0 || high > DBL_MAX / 4)
            break;
        low = high;
        high *= 2;
    }
    for (int i = 0; i < BISECTIONS && low < high; i++) {
        prices->at[b] = low + (high - low) / 2;
        (void)look(r, prices);
        if (r->over[b] > 0)
            low = prices->at[b];
        else
            high = prices->at[b];
    }
    prices->at[b] = high;
    (void)look(r, prices);
}

static void climb(struct relaxation *r, struct bg_prices *prices)
{
    const struct bg_allocate_problem *problem = r->problem;
    double scale = 1, last = r->best_bound;
    int still = 0;
    for (int step = 0; step < SUBGRADIENT; step++) {
        double bound = look(r, prices), length = 0;
        double goal = r->found ? r->best.objective : bound + r->spread * 0.01;
        double gap = fmax(goal - bound, r->spread * 1e-9);
        for (int b = 0; b < problem->budgets; b++)
            if (r->unit[b] > 0)
                length += (r->over[b] / r->unit[b]) * (r->over[b] / r->unit[b]);
        if (length <= 0)
            return;
        still = r->best_bound > last ? 0 : still + 1;
        last = r->best_bound;
        if (still > PATIENCE) {
            scale /= 2;
            still = 0;
            *prices = r->best_prices;
            continue;
        }
        for (int b = 0; b < problem->budgets; b++)
            if (r->unit[b] > 0)
                prices->at[b] = fmax(0, prices->at[b] + scale * gap / length *
                                                            (r->over[b] / r->unit[b]) / r->unit[b]);
    }
}

enum bg_status bg_relaxation(const struct bg_allocate_problem *problem, struct bg_prices *prices,
                             double *bound, int *choice, bool *found)
{
    struct relaxation r = {.problem = problem, .best_bound = -HUGE_VAL};
    struct bg_prices at = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_allocation_make(&r.now, problem->items));
    TRY(bg_allocation_make(&r.best, problem->items));
    r.best.objective = HUGE_VAL;
    measure(&r);
    (void)look(&r, &at);
    for (int b = 0; b < problem->budgets; b++)
        bisect(&r, &at, b);
    if (problem->budgets > 1) {
        at = r.best_prices;
        climb(&r, &at);
    }
    *prices = r.best_prices;
    *bound = r.best_bound;
    *found = r.found;
    memcpy(choice, r.best.choice, (size_t)problem->items * sizeof(int));
out:
    bg_allocation_free(&r.best);
    bg_allocation_free(&r.now);
    return rc;
}
