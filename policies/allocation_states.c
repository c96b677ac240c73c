/* Bounds and dominance of partial plans: policies/allocation_states.h. */
#include "policies/allocation_states.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

#define RESERVE 4   /* children gathered before they are thinned, in widths */
#define WINDOW  128 /* kept states that one is compared with, for three and four budgets */

/* The k-th vector: each price times one of the factors, digits of k in base `factors`. A price of 0
 * stands for a budget that does not bind at first; a tenth of what would trade all penalties for
 * all costs takes its place. */
static bool vary(struct bg_prices *out, const struct bg_prices *best, int budgets, int k,
                 const double *zero_stands_for)
{
    static const double one[] = {0.1,  0.3, 0.5,  0.65, 0.8, 0.9, 0.96,
                                 1.04, 1.1, 1.25, 1.5,  2,   4,   10};
    static const double two[] = {0, 0.5, 0.75, 0.9, 1, 1.1, 1.35, 2, 4};
    static const double three[] = {0, 0.7, 1, 1.5};
    static const double four[] = {0.6, 1, 1.7};
    static const struct {
        const double *at;
        int count;
    } factors[] = {{NULL, 0}, {one, 14}, {two, 9}, {three, 4}, {four, 3}};
    int rest = k, base = factors[budgets].count;
    for (int b = 0; b < budgets; b++) {
        double factor = factors[budgets].at[rest % base];
        rest /= base;
        out->at[b] = factor * (best->at[b] > 0 ? best->at[b] : zero_stands_for[b]);
    }
    return rest == 0;
}

static double range_of(const double *values, int count)
{
    double low = values[0], high = values[0];
    for (int j = 1; j < count; j++) {
        low = fmin(low, values[j]);
        high = fmax(high, values[j]);
    }
    return high - low;
}

static void choose_prices(struct bg_state_bounds *bounds, const struct bg_allocate_problem *problem,
                          const struct bg_prices *best)
{
    double trade[BG_ALLOCATE_BUDGETS] = {0}, all = 0;
    for (int i = 0; i < problem->items; i++) {
        const struct bg_allocate_item *item = &problem->item[i];
        all += range_of(item->penalty, item->candidates);
        for (int b = 0; b < problem->budgets; b++)
            trade[b] += range_of(item->cost[b], item->candidates);
    }
    for (int b = 0; b < problem->budgets; b++)
        trade[b] = trade[b] > 0 ? 0.1 * all / trade[b] : 0;
    bounds->prices[0] = *best;
    bounds->count = 1;
    if (problem->budgets == 0)
        return;
    while (bounds->count < BG_STATE_PRICES &&
           vary(&bounds->prices[bounds->count], best, problem->budgets, bounds->count - 1, trade))
        bounds->count++;
}

/* Sums from the last item back. As in policies/relaxation.c the bound is lowered by four times what
 * rounding can add, so it also holds for the rounded sums of plans. */
static void sum_tails(struct bg_state_bounds *bounds, const struct bg_allocate_problem *problem,
                      int k)
{
    double *tail = bounds->tail + (int64_t)k * (problem->items + 1);
    const double *price = bounds->prices[k].at;
    double terms = 0, sum = 0;
    for (int b = 0; b < problem->budgets; b++) {
        double budget = problem->budget[b] * (1 + 1e-12) * (1 + 4 * DBL_EPSILON);
        sum -= price[b] * budget;
        terms += price[b] * budget;
    }
    tail[problem->items] = sum;
    for (int i = problem->items - 1; i >= 0; i--) {
        const struct bg_allocate_item *item = &problem->item[i];
        double least = HUGE_VAL, size = 0;
        for (int j = 0; j < item->candidates; j++) {
            double value = item->penalty[j], magnitude = fabs(value);
            for (int b = 0; b < problem->budgets; b++) {
                value += price[b] * item->cost[b][j];
                magnitude += price[b] * item->cost[b][j];
            }
            least = fmin(least, value);
            size = fmax(size, magnitude);
        }
        sum += least;
        terms += size;
        tail[i] = sum;
    }
    for (int i = 0; i <= problem->items; i++)
        tail[i] -= 2 * DBL_EPSILON * (problem->items + 8) * terms;
}

enum bg_status bg_state_bounds_make(struct bg_state_bounds *out,
                                    const struct bg_allocate_problem *problem,
                                    const struct bg_prices *best)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_state_bounds){.items = problem->items, .budgets = problem->budgets};
    choose_prices(out, problem, best);
    TRY(bg_alloc(&out->tail, (int64_t)out->count * (problem->items + 1), sizeof *out->tail));
    for (int k = 0; k < out->count; k++)
        sum_tails(out, problem, k);
    for (int b = 0; b < problem->budgets; b++) {
        double all = problem->budget[b];
        TRY(bg_alloc(&out->least[b], (int64_t)problem->items + 1, sizeof *out->least[b]));
        for (int i = problem->items - 1; i >= 0; i--) {
            const struct bg_allocate_item *item = &problem->item[i];
            double low = item->cost[b][0], high = low;
            for (int j = 1; j < item->candidates; j++) {
                low = fmin(low, item->cost[b][j]);
                high = fmax(high, item->cost[b][j]);
            }
            out->least[b][i] = out->least[b][i + 1] + low;
            all += high;
        }
        out->limit[b] =
            problem->budget[b] * (1 + 1e-12) + 2 * DBL_EPSILON * (problem->items + 8) * all;
    }
out:
    return rc;
}

void bg_state_bounds_free(struct bg_state_bounds *bounds)
{
    bg_free(bounds->tail);
    for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++)
        bg_free(bounds->least[b]);
    *bounds = (struct bg_state_bounds){0};
}

double bg_state_bound(const struct bg_state_bounds *bounds, int items_done,
                      const struct bg_state *state)
{
    double best = -HUGE_VAL;
    for (int b = 0; b < bounds->budgets; b++)
        if (state->cost[b] + bounds->least[b][items_done] > bounds->limit[b])
            return HUGE_VAL;
    for (int k = 0; k < bounds->count; k++) {
        double value = bounds->tail[(int64_t)k * (bounds->items + 1) + items_done] + state->penalty;
        for (int b = 0; b < bounds->budgets; b++)
            value += bounds->prices[k].at[b] * state->cost[b];
        if (value > best)
            best = value;
    }
    return best;
}

enum bg_status bg_state_room_make(struct bg_state_room *out, int64_t width)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_state_room){.width = width < 1 ? 1 : width};
    out->size = RESERVE * out->width + BG_ALLOCATE_CANDIDATES;
    TRY(bg_alloc(&out->states, out->size, sizeof *out->states));
    TRY(bg_alloc(&out->parents, out->size, sizeof *out->parents));
    TRY(bg_alloc(&out->front, out->size, sizeof *out->front));
out:
    return rc; /* what was taken goes with bg_state_room_free */
}

void bg_state_room_free(struct bg_state_room *room)
{
    bg_free(room->states);
    bg_free(room->parents);
    bg_free(room->front);
    *room = (struct bg_state_room){0};
}

static int compare(double a, double b)
{
    return (a > b) - (a < b);
}

/* Penalty, then costs; parent and choice make the order total. */
static int by_penalty(const void *left, const void *right)
{
    const struct bg_state *a = left, *b = right;
    int order = compare(a->penalty, b->penalty);
    for (int k = 0; order == 0 && k < BG_ALLOCATE_BUDGETS; k++)
        order = compare(a->cost[k], b->cost[k]);
    if (order == 0)
        order = (a->parent > b->parent) - (a->parent < b->parent);
    return order ? order : (a->choice > b->choice) - (a->choice < b->choice);
}

static int by_bound(const void *left, const void *right)
{
    const struct bg_state *a = left, *b = right;
    int order = compare(a->bound, b->bound);
    return order ? order : by_penalty(left, right);
}

/* Up to two budgets: `front` holds the undominated cost pairs, first cost rising, second falling.
 * True when (x, y) is dominated; else it enters. */
static bool front_covers(double (*front)[2], int64_t *count, double x, double y)
{
    int64_t low = 0, high = *count, last;
    while (low < high) { /* pairs [0, low) have a first cost <= x */
        int64_t middle = low + (high - low) / 2;
        if (front[middle][0] <= x)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && front[low - 1][1] <= y)
        return true;
    if (low > 0 && front[low - 1][0] >= x) /* the same first cost, a larger second */
        low--;
    for (last = low; last < *count && front[last][1] >= y; last++) {
    }
    memmove(front + low + 1, front + last, (size_t)(*count - last) * sizeof *front);
    front[low][0] = x;
    front[low][1] = y;
    *count += low + 1 - last;
    return false;
}

/* Three and four budgets: against the last ones kept. What slips through costs time alone. */
static bool window_covers(const struct bg_state *kept, int64_t count, const struct bg_state *state)
{
    for (int64_t i = count - 1; i >= 0 && i >= count - WINDOW; i--) {
        bool covers = true;
        for (int b = 0; covers && b < BG_ALLOCATE_BUDGETS; b++)
            covers = kept[i].cost[b] <= state->cost[b];
        if (covers)
            return true;
    }
    return false;
}

enum bg_status bg_state_thin(struct bg_state_room *room, int budgets, double *dropped)
{
    int64_t kept = 0, front = 0;
    if (room->count == 0)
        return BG_OK;
    qsort(room->states, (size_t)room->count, sizeof *room->states, by_penalty);
    for (int64_t i = 0; i < room->count; i++) {
        const struct bg_state *state = &room->states[i];
        bool covered = budgets <= 2
                           ? front_covers(room->front, &front, state->cost[0], state->cost[1])
                           : window_covers(room->states, kept, state);
        if (!covered)
            room->states[kept++] = *state;
    }
    room->count = kept;
    if (kept <= room->width)
        return BG_OK;
    qsort(room->states, (size_t)kept, sizeof *room->states, by_bound);
    *dropped = fmin(*dropped, room->states[room->width].bound);
    room->count = room->width;
    return BG_OK;
}

enum bg_status bg_state_layer_take(struct bg_state_layer *out, struct bg_state_room *room)
{
    struct bg_state *states = room->states;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&out->step, room->count, sizeof *out->step));
    out->count = room->count;
    for (int64_t i = 0; i < room->count; i++)
        out->step[i] = (struct bg_state_step){room->states[i].parent, room->states[i].choice};
    room->states = room->parents;
    room->parents = states;
    room->parent_count = room->count;
out:
    return rc;
}

void bg_state_layer_free(struct bg_state_layer *layer)
{
    bg_free(layer->step);
    *layer = (struct bg_state_layer){0};
}
