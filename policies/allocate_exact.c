/* The exact allocator: a dynamic programme over the items in their order. A state is a partial plan
 * with its costs and penalty; of two states the one that is nowhere better is dropped (exact, see
 * policies/allocate.h), and so is a state whose Lagrangian bound does not beat the best plan known.
 * A layer of states that outgrows `width` keeps those with the least bounds and remembers the least
 * bound it dropped: that is the proven bound, and what is not optimal says so with its gap.
 * Deterministic. Source: dominance and bounds as in Nemhauser and Ullmann, Management Science 15
 * (1969), and Dyer, Riha and Walker, J. Computational and Applied Mathematics 58 (1995); here for
 * several budgets at once. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "policies/allocate.h"
#include "policies/allocation_states.h"

#define FIRST_WIDTH 256     /* of the pass that looks for a good plan */
#define KEPT        8000000 /* states whose way back is remembered, at most */

struct exact_options {
    int64_t width;
};

static const struct bg_option table[] = {
    {.key = "width",
     .type = BG_OPT_INT,
     .offset = offsetof(struct exact_options, width),
     .fallback = "50000",
     .min = 1,
     .max = 400000,
     .help = "partial plans kept after each layer; more prove harder problems in more time"},
    {.key = NULL}};

struct search {
    const struct bg_allocate_problem *problem;
    struct bg_state_bounds bounds;
    int *swap[BG_ALLOCATE_ITEMS]; /* per item and candidate: one that is nowhere worse, or itself */
    int *swaps;                   /* the memory of swap */
    struct bg_allocation best;    /* its objective is infinity until there is one */
    double dropped;               /* least bound of states that were not looked at */
    struct bg_state_layer *layer; /* [items + 1] */
    struct bg_state_room room;
    int64_t nodes;
};

static bool is_nowhere_worse(const struct bg_allocate_problem *problem, int i, int a, int b)
{
    const struct bg_allocate_item *item = &problem->item[i];
    bool equal = item->penalty[a] >= item->penalty[b];
    if (item->penalty[a] > item->penalty[b])
        return false;
    for (int k = 0; k < problem->budgets; k++) {
        if (item->cost[k][a] > item->cost[k][b])
            return false;
        equal = equal && item->cost[k][a] >= item->cost[k][b];
    }
    return !equal || a < b;
}

static enum bg_status find_swaps(struct search *s)
{
    const struct bg_allocate_problem *problem = s->problem;
    int64_t all = 0;
    enum bg_status rc = BG_OK;
    for (int i = 0; i < problem->items; i++)
        all += problem->item[i].candidates;
    TRY(bg_alloc(&s->swaps, all, sizeof *s->swaps));
    all = 0;
    for (int i = 0; i < problem->items; i++) {
        int n = problem->item[i].candidates;
        s->swap[i] = s->swaps + all;
        all += n;
        for (int j = 0; j < n; j++) {
            s->swap[i][j] = j;
            for (int a = 0; a < n; a++)
                if (a != j && is_nowhere_worse(problem, i, a, s->swap[i][j]))
                    s->swap[i][j] = a;
        }
    }
out:
    return rc;
}

/* All children of the states of layer i that may still beat the best plan, into the room. */
static enum bg_status expand(struct search *s, int i)
{
    const struct bg_allocate_problem *problem = s->problem;
    const struct bg_allocate_item *item = &problem->item[i];
    struct bg_state_layer *from = &s->layer[i];
    enum bg_status rc = BG_OK;
    for (int64_t at = 0; at < from->count; at++)
        for (int j = 0; j < item->candidates; j++) {
            struct bg_state child = s->room.parents[at];
            if (s->swap[i][j] != j)
                continue;
            s->nodes++;
            child.parent = (int)at;
            child.choice = j;
            child.penalty += item->penalty[j];
            for (int b = 0; b < problem->budgets; b++)
                child.cost[b] += item->cost[b][j];
            child.bound = bg_state_bound(&s->bounds, i + 1, &child);
            if (!(child.bound < s->best.objective))
                continue;
            if (s->room.count == s->room.size)
                TRY(bg_state_thin(&s->room, problem->budgets, &s->dropped));
            s->room.states[s->room.count++] = child;
        }
    TRY(bg_state_thin(&s->room, problem->budgets, &s->dropped));
out:
    return rc;
}

/* The least penalty of the last layer that holds the budgets, against the best plan. */
static void take_best(struct search *s)
{
    const struct bg_allocate_problem *problem = s->problem;
    for (int64_t at = 0; at < s->room.parent_count; at++) {
        const struct bg_state *state = &s->room.parents[at];
        bool within = true;
        for (int b = 0; b < problem->budgets; b++)
            within = within && bg_allocate_within(state->cost[b], problem->budget[b]);
        if (!within || !(state->penalty < s->best.objective))
            continue;
        int64_t node = at;
        for (int i = problem->items; i > 0; i--) {
            s->best.choice[i - 1] = s->layer[i].step[node].choice;
            node = s->layer[i].step[node].parent;
        }
        (void)bg_allocate_evaluate(problem, &s->best);
    }
}

static enum bg_status pass(struct search *s, int64_t width)
{
    const struct bg_allocate_problem *problem = s->problem;
    int64_t most = KEPT / problem->items;
    enum bg_status rc = BG_OK;
    s->dropped = HUGE_VAL;
    TRY(bg_state_room_make(&s->room, width < most ? width : most));
    s->layer[0].count = s->room.parent_count = 1; /* one empty plan, all zero */
    for (int i = 0; i < problem->items; i++) {
        s->room.count = 0;
        TRY(expand(s, i));
        TRY(bg_state_layer_take(&s->layer[i + 1], &s->room));
    }
    take_best(s);
out:
    for (int i = 0; i <= problem->items; i++)
        bg_state_layer_free(&s->layer[i]);
    bg_state_room_free(&s->room);
    return rc;
}

static enum bg_status begin(struct search *s)
{
    bool found = false;
    struct bg_prices prices;
    double bound = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_allocation_make(&s->best, s->problem->items));
    TRY(bg_relaxation(s->problem, &prices, &bound, s->best.choice, &found));
    if (found)
        (void)bg_allocate_evaluate(s->problem, &s->best);
    else
        s->best.objective = HUGE_VAL;
    s->best.bound = bound;
    TRY(bg_state_bounds_make(&s->bounds, s->problem, &prices));
    TRY(find_swaps(s));
    TRY(bg_alloc(&s->layer, (int64_t)s->problem->items + 1, sizeof *s->layer));
out:
    return rc;
}

/* The best plan into *out; an objective of infinity says that there was none. */
static enum bg_status run(const struct bg_allocate_problem *problem, int64_t width,
                          struct bg_allocation *out)
{
    struct search *s = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&s, 1, sizeof *s));
    s->problem = problem;
    TRY(begin(s));
    if (!(s->best.bound >= s->best.objective)) {
        TRY(pass(s, width < FIRST_WIDTH ? width : FIRST_WIDTH));
        if (s->dropped < s->best.objective && width > FIRST_WIDTH)
            TRY(pass(s, width));
        s->best.bound = fmax(s->best.bound, fmin(s->dropped, s->best.objective));
    }
    for (int i = 0; isfinite(s->best.objective) && i < problem->items; i++)
        s->best.choice[i] = s->swap[i][s->best.choice[i]];
    memcpy(out->choice, s->best.choice, (size_t)problem->items * sizeof *out->choice);
    out->objective = s->best.objective;
    out->bound = s->best.bound;
    out->optimal = out->bound >= out->objective;
    out->nodes = s->nodes;
out:
    if (s) {
        bg_allocation_free(&s->best);
        bg_state_bounds_free(&s->bounds);
        bg_free(s->swaps);
        bg_free(s->layer);
    }
    bg_free(s);
    return rc;
}

/* The least cost of budget b when all others hold; infinity when they do not. */
static enum bg_status least_cost(const struct bg_allocate_problem *problem, int b, int64_t width,
                                 double *least)
{
    struct bg_allocate_problem other = *problem;
    struct bg_allocation plan = {0};
    enum bg_status rc = BG_OK;
    other.item = NULL;
    TRY(bg_alloc(&other.item, problem->items, sizeof *other.item));
    TRY(bg_allocation_make(&plan, problem->items));
    memcpy(other.item, problem->item, (size_t)problem->items * sizeof *other.item);
    for (int i = 0; i < problem->items; i++) {
        other.item[i].penalty = problem->item[i].cost[b];
        other.item[i].cost[b] = problem->item[i].cost[problem->budgets - 1];
    }
    other.budget[b] = problem->budget[problem->budgets - 1];
    other.budgets--;
    TRY(run(&other, width, &plan));
    *least = plan.objective;
out:
    bg_allocation_free(&plan);
    bg_free(other.item); /* the arrays are the problem's */
    return rc;
}

static enum bg_status explain(const struct bg_allocate_problem *problem, int64_t width, bool proven)
{
    struct bg_text said = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&said, 512);
    for (int b = 0; b < problem->budgets; b++) {
        double least = HUGE_VAL;
        char value[32];
        TRY(least_cost(problem, b, width, &least));
        bg_allocate_say(problem, b, least, value);
        if (isfinite(least))
            bg_text_add(&said, "%s%s=%s", said.length ? " or " : "; feasible beside the others: ",
                        problem->budget_name[b], value);
    }
    rc =
        bg_fail(BG_E_DATA, "allocate: no plan %s all %d budgets at once%s",
                proven ? "holds" : "was found that holds", problem->budgets, bg_text_string(&said));
out:
    bg_text_free(&said);
    return rc;
}

static enum bg_status solve(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out)
{
    const struct exact_options *o = options;
    enum bg_status rc = BG_OK;
    TRY(run(problem, o->width, out));
    if (!isfinite(out->objective))
        TRY(explain(problem, o->width, isinf(out->bound)));
out:
    return rc;
}

extern const struct bg_allocate_method bg_allocate_exact;
const struct bg_allocate_method bg_allocate_exact = {
    .name = "exact",
    .help = "the least penalty within the budgets, proven; past `width` with a proven gap",
    .source = "dynamic programme with dominance (Nemhauser, Ullmann 1969) and Lagrangian bounds",
    .options = table,
    .options_size = sizeof(struct exact_options),
    .solve = solve};
