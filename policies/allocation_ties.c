/* Pinned and tied items: a pinned item keeps one candidate; tied items are merged into one whose
 * penalties and costs are the sums per label, and the merged answer is spread back. */
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "policies/allocate.h"

static int find_label(const struct bg_allocate_item *item, const char *label)
{
    for (int j = 0; j < item->candidates; j++)
        if (strcmp(item->label[j], label) == 0)
            return j;
    return -1;
}

enum bg_status bg_allocate_pin(struct bg_allocate_item *item, const char *label)
{
    const char *labels[BG_ALLOCATE_CANDIDATES];
    int count =
        item->candidates < BG_ALLOCATE_CANDIDATES ? item->candidates : BG_ALLOCATE_CANDIDATES;
    int j = find_label(item, label);
    if (j < 0) {
        for (int k = 0; k < count; k++)
            labels[k] = item->label[k];
        const char *nearest = bg_text_nearest(label, labels, count);
        return bg_fail(BG_E_DATA, "allocate: layer %s has no candidate '%s'%s%s%s", item->name,
                       label, nearest ? "; did you mean '" : "", nearest ? nearest : "",
                       nearest ? "'?" : "");
    }
    if (j > 0) {
        memcpy(item->label[0], item->label[j], BG_NAME_MAX);
        item->penalty[0] = item->penalty[j];
        for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++)
            item->cost[b][0] = item->cost[b][j];
    }
    item->candidates = 1;
    return BG_OK;
}

static enum bg_status check_group(const struct bg_allocate_problem *problem, const int *group,
                                  int i)
{
    int first = group[i];
    if (first < 0 || first > i || group[first] != first)
        return bg_fail(BG_E_USAGE, "allocate: layer %s is tied to item %d, which heads no group",
                       problem->item[i].name, first);
    const struct bg_allocate_item *head = &problem->item[first], *item = &problem->item[i];
    for (int j = 0; j < item->candidates; j++)
        if (find_label(head, item->label[j]) < 0)
            return bg_fail(BG_E_DATA,
                           "allocate: tied layers %s and %s differ: %s has no candidate '%s'",
                           head->name, item->name, head->name, item->label[j]);
    for (int j = 0; j < head->candidates; j++)
        if (find_label(item, head->label[j]) < 0)
            return bg_fail(BG_E_DATA,
                           "allocate: tied layers %s and %s differ: %s has no candidate '%s'",
                           head->name, item->name, item->name, head->label[j]);
    return BG_OK;
}

static void add_item(struct bg_allocate_item *to, const struct bg_allocate_item *from, bool first)
{
    for (int j = 0; j < to->candidates; j++) {
        int k = first ? j : find_label(from, to->label[j]);
        if (first)
            memcpy(to->label[j], from->label[j], BG_NAME_MAX);
        to->penalty[j] += from->penalty[k];
        for (int b = 0; b < BG_ALLOCATE_BUDGETS; b++)
            to->cost[b][j] += from->cost[b][k];
    }
    if (first || isnan(from->priority) || from->priority > to->priority)
        to->priority = from->priority; /* NaN stays: nothing is greater than it */
}

enum bg_status bg_allocate_tie(const struct bg_allocate_problem *problem, const int *group,
                               struct bg_allocate_problem *out, int *merged)
{
    enum bg_status rc = BG_OK;
    int count = 0;
    int *place = NULL;
    *out = (struct bg_allocate_problem){0};
    TRY(bg_alloc(&place, problem->items, sizeof *place));
    for (int i = 0; i < problem->items; i++) {
        TRY(check_group(problem, group, i));
        place[i] = group[i] == i ? count++ : place[group[i]];
    }
    TRY(bg_allocate_make(out, count));
    out->budgets = problem->budgets;
    memcpy(out->budget_name, problem->budget_name, sizeof out->budget_name);
    memcpy(out->budget, problem->budget, sizeof out->budget);
    memcpy(out->outside, problem->outside, sizeof out->outside);
    memcpy(out->unit, problem->unit, sizeof out->unit);
    for (int i = 0; i < problem->items; i++) {
        const struct bg_allocate_item *item = &problem->item[i];
        struct bg_allocate_item *to = &out->item[place[i]];
        if (group[i] == i)
            TRY(bg_allocate_item_make(to, item->name, item->candidates));
        add_item(to, item, group[i] == i);
        if (merged)
            merged[i] = place[i];
    }
out:
    bg_free(place);
    if (rc != BG_OK)
        bg_allocate_free(out);
    return rc;
}

enum bg_status bg_allocate_spread(const struct bg_allocate_problem *problem,
                                  const struct bg_allocate_problem *tied, const int *merged,
                                  const struct bg_allocation *from, struct bg_allocation *out)
{
    enum bg_status rc = BG_OK;
    TRY(bg_allocation_make(out, problem->items));
    for (int i = 0; i < problem->items; i++) {
        const struct bg_allocate_item *item = &tied->item[merged[i]];
        const char *label = item->label[from->choice[merged[i]]];
        out->choice[i] = find_label(&problem->item[i], label);
        if (out->choice[i] < 0)
            FAIL(BG_E_INTERNAL, "allocate: layer %s has no candidate '%s'", problem->item[i].name,
                 label);
    }
    (void)bg_allocate_evaluate(problem, out);
    out->bound = from->bound;
    out->optimal = from->optimal;
    out->nodes = from->nodes;
out:
    if (rc != BG_OK)
        bg_allocation_free(out);
    return rc;
}
