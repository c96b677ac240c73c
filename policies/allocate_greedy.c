/* The greedy allocator. Every layer starts at its least penalty; then, again and again, the one
 * move that adds the least penalty per cost saved is made, until all budgets hold. The moves and
 * their order do not depend on the budgets, which only say where to stop: a larger budget stops
 * earlier on the same way, so plans are nested and more budget never costs more. What is left over
 * at the stop is not spent (that would break the law). With several budgets a cost is their sum,
 * each in units of its largest possible total. */
#include <math.h>

#include "core/mem.h"
#include "policies/allocate.h"

struct walk {
    const struct bg_allocate_problem *problem;
    double unit[BG_ALLOCATE_BUDGETS];
    int *next;     /* per item: the best move from here, -1 = none */
    double *ratio; /* penalty per cost of that move */
};

static double cost_of(const struct walk *walk, int i, int j)
{
    double cost = 0;
    for (int b = 0; b < walk->problem->budgets; b++)
        if (walk->unit[b] > 0)
            cost += walk->problem->item[i].cost[b][j] / walk->unit[b];
    return cost;
}

static void measure(struct walk *walk)
{
    for (int i = 0; i < walk->problem->items; i++)
        for (int b = 0; b < walk->problem->budgets; b++) {
            const struct bg_allocate_item *item = &walk->problem->item[i];
            double most = 0;
            for (int j = 0; j < item->candidates; j++)
                most = fmax(most, item->cost[b][j]);
            walk->unit[b] += most;
        }
}

static int best_start(const struct walk *walk, int i)
{
    const struct bg_allocate_item *item = &walk->problem->item[i];
    int best = 0;
    for (int j = 1; j < item->candidates; j++)
        if (item->penalty[j] < item->penalty[best] ||
            (item->penalty[j] <= item->penalty[best] &&
             cost_of(walk, i, j) < cost_of(walk, i, best)))
            best = j;
    return best;
}

/* Ties go to the larger saving: less penalty would follow for the same cost otherwise. */
static void find_move(struct walk *walk, int i, int from)
{
    const struct bg_allocate_item *item = &walk->problem->item[i];
    double here = cost_of(walk, i, from), least = HUGE_VAL, most = 0;
    walk->next[i] = -1;
    for (int j = 0; j < item->candidates; j++) {
        double saved = here - cost_of(walk, i, j);
        if (!(saved > 0))
            continue;
        double ratio = (item->penalty[j] - item->penalty[from]) / saved;
        if (walk->next[i] < 0 || ratio < least || (ratio <= least && saved > most)) {
            walk->next[i] = j;
            least = ratio;
            most = saved;
        }
    }
    walk->ratio[i] = least;
}

static enum bg_status solve(const void *options, const struct bg_allocate_problem *problem,
                            struct bg_allocation *out)
{
    struct walk walk = {.problem = problem};
    enum bg_status rc = BG_OK;
    (void)options;
    TRY(bg_alloc(&walk.next, problem->items, sizeof *walk.next));
    TRY(bg_alloc(&walk.ratio, problem->items, sizeof *walk.ratio));
    measure(&walk);
    for (int i = 0; i < problem->items; i++) {
        out->choice[i] = best_start(&walk, i);
        find_move(&walk, i, out->choice[i]);
    }
    while (!bg_allocate_evaluate(problem, out)) {
        int best = -1;
        for (int i = 0; i < problem->items; i++)
            if (walk.next[i] >= 0 && (best < 0 || walk.ratio[i] < walk.ratio[best]))
                best = i;
        if (best < 0)
            FAIL(BG_E_DATA,
                 "greedy: no plan on its way holds all %d budgets; the allocator exact "
                 "looks at all plans",
                 problem->budgets);
        out->choice[best] = walk.next[best];
        find_move(&walk, best, out->choice[best]);
        out->nodes++;
    }
out:
    bg_free(walk.next);
    bg_free(walk.ratio);
    return rc;
}

extern const struct bg_allocate_method bg_allocate_greedy;
const struct bg_allocate_method bg_allocate_greedy = {
    .name = "greedy",
    .help = "again and again the move with the least penalty per cost saved, until budgets hold",
    .source = "common practice",
    .solve = solve};
