/* Builds the allocator's problem: which bits are free, which hang together, and every choice of an
 * item with its penalty and costs. Bits of weights and of inputs are variables; ties make several
 * of them one, pins leave them one value. */
#include "policies/budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "policies/budget_private.h"

#define CHOICES_MAX 16384 /* of one item before those that another beats are left out */

struct builder {
    const struct bg_bits_frame *frame;
    const struct bg_penalties *penalties;
    struct bg_bits_problem *out;
    struct bg_bits_costs *costs;
    int layers;
    int *variable;                 /* [layer][role]: root index among 2 * layers */
    int *part;                     /* per layer: first layer of its item */
    int *given;                    /* per variable: bits, or -1 = free */
    int sorted[BG_CANDIDATES_MAX]; /* most bits first */
};

/* One item in the making: its variables, and all choices before pruning. */
struct item {
    int layer[BG_ALLOCATE_CANDIDATES], layers;
    int variable[BG_ALLOCATE_CANDIDATES], variables;
    int choices;
    signed char *bits; /* [choice][place][role] */
    double *penalty, *cost;
};

static void join(int *set, int count, int a, int b)
{
    int low = set[a] < set[b] ? set[a] : set[b], high = set[a] < set[b] ? set[b] : set[a];
    for (int i = 0; i < count; i++)
        if (set[i] == high)
            set[i] = low;
}

static bool shares_tensor(const struct bg_net *net, int a, int b)
{
    return bg_node_input_at(bg_graph_layer(net->graph, a), 0) ==
           bg_node_input_at(bg_graph_layer(net->graph, b), 0);
}

static void tie(struct builder *b)
{
    const struct bg_bits_frame *frame = b->frame;
    for (int i = 0; i < 2 * b->layers; i++)
        b->variable[i] = i;
    for (int i = 0; i < b->layers; i++)
        b->part[i] = i;
    for (int i = 0; i < b->layers; i++)
        for (int j = 0; j < i; j++) {
            bool grouped = frame->group && frame->group[i] == frame->group[j];
            bool shared = frame->activation_bits < 0 && shares_tensor(frame->net, i, j);
            if (grouped)
                join(b->variable, 2 * b->layers, 2 * j, 2 * i);
            if (grouped || shared)
                join(b->variable, 2 * b->layers, 2 * j + 1, 2 * i + 1);
            if (grouped || shared)
                join(b->part, b->layers, j, i);
        }
}

static void give(struct builder *b)
{
    const struct bg_bits_frame *frame = b->frame;
    const struct bg_penalties *penalties = b->penalties;
    for (int i = 0; i < 2 * b->layers; i++)
        b->given[i] = i % 2 == 1 ? frame->activation_bits : -1;
    for (int i = 0; frame->pinned && i < b->layers; i++) {
        if (!frame->pinned[i])
            continue;
        b->given[b->variable[2 * i]] = frame->pinned_bits[0];
        if (frame->activation_bits < 0)
            b->given[b->variable[2 * i + 1]] = frame->pinned_bits[1];
    }
    for (int role = 0; penalties && penalties->fixes && role < 2; role++) {
        int bits = penalties->fixed_bits[role];
        if (bits > 0)
            b->given[b->variable[2 * penalties->fixed_layer + role]] = bits == 32 ? 0 : bits;
    }
}

static void sort_bits(struct builder *b)
{
    for (int c = 0; c < b->frame->candidates; c++) {
        int at = c;
        for (; at > 0 && b->sorted[at - 1] < b->frame->bits[c]; at--)
            b->sorted[at] = b->sorted[at - 1];
        b->sorted[at] = b->frame->bits[c];
    }
}

static enum bg_status gather(const struct builder *b, int first, struct item *item)
{
    enum bg_status rc = BG_OK;
    int64_t choices = 1;
    for (int i = first; i < b->layers; i++) {
        if (b->part[i] != first)
            continue;
        if (item->layers == BG_ALLOCATE_CANDIDATES / 2)
            FAIL(BG_E_DATA, "budget: more than %d layers hang together with %s",
                 BG_ALLOCATE_CANDIDATES / 2,
                 bg_node_name(bg_graph_layer(b->out->net->graph, first)));
        item->layer[item->layers++] = i;
        for (int role = 0; role < 2; role++) {
            int v = b->variable[2 * i + role], known = 0;
            while (known < item->variables && item->variable[known] != v)
                known++;
            if (known < item->variables)
                continue;
            item->variable[item->variables++] = v;
            choices *= b->given[v] < 0 ? b->frame->candidates : 1;
            if (choices > CHOICES_MAX)
                FAIL(BG_E_DATA,
                     "budget: the layers whose bits hang together with those of %s have more than "
                     "%d choices",
                     bg_node_name(bg_graph_layer(b->out->net->graph, first)), CHOICES_MAX);
        }
    }
    item->choices = (int)choices;
out:
    return rc;
}

/* Bits of every variable in choice number `choice`: the first variable moves slowest. */
static void decode(const struct builder *b, const struct item *item, int choice, int *bits)
{
    for (int v = item->variables - 1; v >= 0; v--) {
        bits[v] = b->given[item->variable[v]];
        if (bits[v] >= 0)
            continue;
        bits[v] = b->sorted[choice % b->frame->candidates];
        choice /= b->frame->candidates;
    }
}

static double penalty_of(const struct bg_penalties *penalties, int layer, int role, int bits)
{
    if (!penalties || !penalties->speaks[role])
        return 0;
    for (int c = 0; c < penalties->candidates; c++)
        if (penalties->bits[c] == bits)
            return *bg_penalties_at(penalties, layer, (enum bg_role)role, c);
    return 0;
}

static enum bg_status price(const struct builder *b, struct item *item, int choice)
{
    int bits[BG_ALLOCATE_CANDIDATES] = {0}; /* an item has a variable for each role it decides */
    enum bg_status rc = BG_OK;
    decode(b, item, choice, bits);
    for (int p = 0; p < item->layers; p++) {
        int layer = item->layer[p], both[2] = {0, 0};
        for (int role = 0; role < 2; role++) {
            int v = 0;
            while (item->variable[v] != b->variable[2 * layer + role])
                v++;
            both[role] = bits[v];
            item->bits[2 * (choice * item->layers + p) + role] = (signed char)bits[v];
            item->penalty[choice] += penalty_of(b->penalties, layer, role, bits[v]);
        }
        for (int k = 0; k < b->frame->budgets; k++) {
            double cost = 0;
            TRY(bg_bits_cost(b->costs, layer, both, b->frame->budget[k].kind, &cost));
            item->cost[choice * BG_ALLOCATE_BUDGETS + k] += cost;
        }
    }
out:
    return rc;
}

/* Is choice a no better than b in anything, and worse in something or later? */
static bool beaten(const struct item *item, int budgets, int a, int b)
{
    bool worse = item->penalty[a] > item->penalty[b] || a > b;
    if (item->penalty[a] < item->penalty[b])
        return false;
    for (int k = 0; k < budgets; k++) {
        double left = item->cost[a * BG_ALLOCATE_BUDGETS + k];
        double right = item->cost[b * BG_ALLOCATE_BUDGETS + k];
        if (left < right)
            return false;
        worse = worse || left > right;
    }
    return worse;
}

static void keep(struct item *item, int to, int from)
{
    size_t width = 2 * (size_t)item->layers;
    memmove(item->bits + (size_t)to * width, item->bits + (size_t)from * width, width);
    item->penalty[to] = item->penalty[from];
    for (int k = 0; k < BG_ALLOCATE_BUDGETS; k++)
        item->cost[to * BG_ALLOCATE_BUDGETS + k] = item->cost[from * BG_ALLOCATE_BUDGETS + k];
}

/* Has some free role more bits than before? 0 = f32 = 32. */
static bool rises(const struct builder *b, const struct item *item, int choice)
{
    for (int p = 0; p < item->layers; p++)
        for (int role = 0; role < 2; role++) {
            int layer = item->layer[p];
            const signed char bits = item->bits[2 * (choice * item->layers + p) + role];
            if (b->given[b->variable[2 * layer + role]] < 0 &&
                (bits ? bits : 32) > bg_spec_bits(&b->frame->before->layer[layer].spec[role]))
                return true;
        }
    return false;
}

static enum bg_status lower(const struct builder *b, struct item *item)
{
    int kept = 0;
    if (!b->frame->before)
        return BG_OK;
    for (int i = 0; i < item->choices; i++)
        if (!rises(b, item, i))
            keep(item, kept++, i);
    item->choices = kept;
    if (kept == 0)
        return bg_fail(BG_E_DATA, "budget: layer %s has no candidate as small as its bits before",
                       bg_node_name(bg_graph_layer(b->out->net->graph, item->layer[0])));
    return BG_OK;
}

static enum bg_status prune(const struct builder *b, struct item *item)
{
    int kept = 0, budgets = b->frame->budgets;
    bool *out_of = NULL;
    enum bg_status rc = BG_OK;
    if (item->choices <= BG_ALLOCATE_CANDIDATES)
        goto out;
    TRY(bg_alloc(&out_of, item->choices, sizeof *out_of));
    for (int i = 0; i < item->choices; i++)
        for (int j = 0; j < item->choices && !out_of[i]; j++)
            out_of[i] = j != i && !out_of[j] && beaten(item, budgets, i, j);
    for (int i = 0; i < item->choices; i++)
        if (!out_of[i])
            keep(item, kept++, i);
    item->choices = kept;
out:
    bg_free(out_of);
    return rc;
}

static enum bg_status store(struct builder *b, struct item *item, int number)
{
    int choices = item->choices;
    struct bg_bits_problem *out = b->out;
    struct bg_allocate_item *to = &out->problem.item[number];
    const char *name = bg_node_name(bg_graph_layer(out->net->graph, item->layer[0]));
    enum bg_status rc = BG_OK;

    if (choices > BG_ALLOCATE_CANDIDATES)
        FAIL(BG_E_DATA,
             "budget: the layers whose bits hang together with those of %s have %d choices, limit "
             "is %d; fewer candidates may help",
             name, choices, BG_ALLOCATE_CANDIDATES);
    TRY(bg_allocate_item_make(to, name, choices));
    for (int c = 0; c < choices; c++) {
        const signed char *bits = item->bits + 2 * (ptrdiff_t)c * item->layers;
        if (item->layers == 1)
            (void)snprintf(to->label[c], BG_NAME_MAX, "w%da%d", bits[0], bits[1]);
        else
            (void)snprintf(to->label[c], BG_NAME_MAX, "choice %d", c);
        to->penalty[c] = item->penalty[c];
        for (int k = 0; k < b->frame->budgets; k++)
            to->cost[k][c] = item->cost[c * BG_ALLOCATE_BUDGETS + k];
    }
    to->priority = choices > 1 ? to->penalty[choices - 1] - to->penalty[0] : (double)NAN;
    for (int p = 0; p < item->layers; p++) {
        out->item[item->layer[p]] = number;
        out->place[item->layer[p]] = p;
    }
    out->places[number] = item->layers;
    out->choice[number] = item->bits;
    item->bits = NULL;
out:
    return rc;
}

static enum bg_status make_item(struct builder *b, int first, int number)
{
    struct item item = {.layers = 0};
    enum bg_status rc = BG_OK;
    TRY(gather(b, first, &item));
    TRY(bg_alloc(&item.bits, 2 * (int64_t)item.choices * item.layers, 1));
    TRY(bg_alloc(&item.penalty, item.choices, sizeof *item.penalty));
    TRY(bg_alloc(&item.cost, (int64_t)item.choices * BG_ALLOCATE_BUDGETS, sizeof *item.cost));
    for (int c = 0; c < item.choices; c++)
        TRY(price(b, &item, c));
    TRY(lower(b, &item));
    TRY(prune(b, &item));
    TRY(store(b, &item, number));
out:
    bg_free(item.bits);
    bg_free(item.penalty);
    bg_free(item.cost);
    return rc;
}

static enum bg_status set_budgets(struct builder *b)
{
    struct bg_allocate_problem *problem = &b->out->problem;
    enum bg_status rc = BG_OK;
    problem->budgets = b->frame->budgets;
    for (int k = 0; k < b->frame->budgets; k++) {
        const struct bg_budget *budget = &b->frame->budget[k];
        TRY(bg_bits_outside(b->costs, budget->kind, &problem->outside[k], &problem->unit[k]));
        TRY(bg_text_copy(problem->budget_name[k], BG_NAME_MAX, bg_budget_names[budget->kind]));
        problem->budget[k] = budget->value * problem->unit[k] - problem->outside[k];
    }
out:
    return rc;
}

static enum bg_status build(struct builder *b)
{
    struct bg_bits_problem *out = b->out;
    int items = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&b->variable, 2 * (int64_t)b->layers, sizeof *b->variable));
    TRY(bg_alloc(&b->given, 2 * (int64_t)b->layers, sizeof *b->given));
    TRY(bg_alloc(&b->part, b->layers, sizeof *b->part));
    tie(b);
    give(b);
    sort_bits(b);
    for (int i = 0; i < b->layers; i++)
        items += b->part[i] == i;
    TRY(bg_allocate_make(&out->problem, items));
    TRY(bg_alloc(&out->item, b->layers, sizeof *out->item));
    TRY(bg_alloc(&out->place, b->layers, sizeof *out->place));
    TRY(bg_alloc(&out->places, items, sizeof *out->places));
    TRY(bg_alloc(&out->choice, items, sizeof *out->choice));
    TRY(set_budgets(b));
    for (int i = 0, number = 0; i < b->layers; i++)
        if (b->part[i] == i)
            TRY(make_item(b, i, number++));
out:
    bg_free(b->variable);
    bg_free(b->given);
    bg_free(b->part);
    return rc;
}

enum bg_status bg_bits_open(struct bg_bits_problem *out, const struct bg_bits_frame *frame,
                            const struct bg_penalties *penalties)
{
    struct builder b = {.frame = frame,
                        .penalties = penalties,
                        .out = out,
                        .layers = bg_graph_layer_count(frame->net->graph)};
    enum bg_status rc = BG_OK;

    memset(out, 0, sizeof *out);
    if (frame->candidates < 1 || frame->candidates > BG_CANDIDATES_MAX || frame->budgets < 1 ||
        frame->budgets > BG_ALLOCATE_BUDGETS)
        FAIL(BG_E_USAGE, "budget: %d candidates and %d budgets, limits are %d and %d",
             frame->candidates, frame->budgets, BG_CANDIDATES_MAX, BG_ALLOCATE_BUDGETS);
    if (penalties && penalties->layers != b.layers)
        FAIL(BG_E_MISMATCH, "budget: penalties of %d layers, the network has %d", penalties->layers,
             b.layers);
    if (frame->before && frame->before->count != b.layers)
        FAIL(BG_E_MISMATCH, "budget: the plan before has %d layers, the network %d",
             frame->before->count, b.layers);
    out->net = frame->net;
    out->layers = b.layers;
    TRY(bg_alloc(&b.costs, 1, sizeof *b.costs));
    b.costs->net = frame->net;
    b.costs->latency = frame->latency;
    TRY(build(&b));
out:
    if (b.costs)
        bg_bits_costs_free(b.costs);
    bg_free(b.costs);
    if (rc != BG_OK)
        bg_bits_close(out);
    return rc;
}

void bg_bits_close(struct bg_bits_problem *bits)
{
    for (int i = 0; bits->choice && i < bits->problem.items; i++)
        bg_free(bits->choice[i]);
    bg_free((void *)bits->choice);
    bg_free(bits->item);
    bg_free(bits->place);
    bg_free(bits->places);
    bg_allocate_free(&bits->problem);
    memset(bits, 0, sizeof *bits);
}
