/* Costs of layers and plans in the units of budgets, plans from answers, random plans. All costs
 * come from layers/cost.c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "policies/budget_private.h"

const char *const bg_budget_names[BG_BUDGET_KINDS + 1] = {
    "mean-weight-bits", "bytes", "bops-hawq", "bops-detailed", "latency", NULL};

enum bg_status bg_latency_make(struct bg_latency *out, int layers)
{
    int64_t count = (int64_t)layers * BG_LATENCY_BITS * BG_LATENCY_BITS;
    enum bg_status rc = BG_OK;
    *out = (struct bg_latency){.layers = layers};
    TRY(bg_alloc(&out->value, count, sizeof *out->value));
    for (int64_t i = 0; i < count; i++)
        out->value[i] = (double)NAN;
out:
    return rc;
}

void bg_latency_free(struct bg_latency *latency)
{
    bg_free(latency->value);
    *latency = (struct bg_latency){.layers = 0};
}

double *bg_latency_at(const struct bg_latency *latency, int layer, int weight_bits,
                      int activation_bits)
{
    return latency->value + ((int64_t)layer * BG_LATENCY_BITS + weight_bits) * BG_LATENCY_BITS +
           activation_bits;
}

static enum bg_status take_latency(const struct bg_net *net, const struct bg_latency *latency,
                                   int layer, const int bits[2], double *out)
{
    if (!latency || layer >= latency->layers)
        return bg_fail(BG_E_DATA, "a budget of latency needs a table of it");
    *out = *bg_latency_at(latency, layer, bits[0], bits[1]);
    if (!isfinite(*out))
        return bg_fail(BG_E_DATA, "latency: the table has no row of layer %s at w%da%d",
                       bg_node_name(bg_graph_layer(net->graph, layer)), bits[0] ? bits[0] : 32,
                       bits[1] ? bits[1] : 32);
    return BG_OK;
}

static enum bg_status at(struct bg_bits_costs *costs, const int bits[2],
                         const struct bg_net_cost **out)
{
    struct bg_net_cost *cost = &costs->at[bits[0]][bits[1]];
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;
    if (!cost->layer) {
        TRY(bg_net_plan(costs->net, bits[0], bits[1], &plan));
        TRY(bg_net_cost(costs->net, &plan, cost));
    }
    *out = cost;
out:
    bg_plan_free(&plan);
    return rc;
}

static double of_layer(const struct bg_layer_cost *layer, enum bg_budget_kind kind)
{
    switch (kind) {
    case BG_BUDGET_BYTES:
        return layer->bytes;
    case BG_BUDGET_BOPS_HAWQ:
        return layer->bops_hawq;
    case BG_BUDGET_BOPS_DETAILED:
        return layer->bops_detailed;
    case BG_BUDGET_MEAN_BITS:
    case BG_BUDGET_LATENCY:
    case BG_BUDGET_KINDS:
        break;
    }
    return (double)layer->weights * layer->weight_bits;
}

enum bg_status bg_bits_cost(struct bg_bits_costs *costs, int layer, const int bits[2],
                            enum bg_budget_kind kind, double *out)
{
    const struct bg_net_cost *cost = NULL;
    enum bg_status rc = BG_OK;
    if (kind == BG_BUDGET_LATENCY)
        return take_latency(costs->net, costs->latency, layer, bits, out);
    TRY(at(costs, bits, &cost));
    *out = of_layer(&cost->layer[layer], kind);
out:
    return rc;
}

enum bg_status bg_bits_outside(struct bg_bits_costs *costs, enum bg_budget_kind kind,
                               double *offset, double *unit)
{
    static const int f32[2] = {0, 0};
    const struct bg_net_cost *cost = NULL;
    double weights = 0, inside = 0;
    enum bg_status rc = BG_OK;
    TRY(at(costs, f32, &cost));
    for (int i = 0; i < cost->layers; i++) {
        weights += (double)cost->layer[i].weights;
        inside += cost->layer[i].bytes;
    }
    *unit = kind == BG_BUDGET_MEAN_BITS ? weights : 1;
    *offset = kind == BG_BUDGET_BYTES ? cost->bytes - inside : 0;
out:
    return rc;
}

void bg_bits_costs_free(struct bg_bits_costs *costs)
{
    for (int w = 0; w < BG_LATENCY_BITS; w++)
        for (int a = 0; a < BG_LATENCY_BITS; a++)
            bg_net_cost_free(&costs->at[w][a]);
}

static enum bg_status add_latencies(const struct bg_net *net, const struct bg_plan *plan,
                                    const struct bg_latency *latency, double *out)
{
    enum bg_status rc = BG_OK;
    *out = 0;
    for (int i = 0; i < plan->count; i++) {
        const struct bg_spec *spec = plan->layer[i].spec;
        const int bits[2] = {spec[BG_ROLE_WEIGHT].bits, spec[BG_ROLE_ACTIVATION].bits};
        double of = 0;
        TRY(take_latency(net, latency, i, bits, &of));
        *out += of;
    }
out:
    return rc;
}

enum bg_status bg_budget_cost(const struct bg_net *net, const struct bg_plan *plan,
                              enum bg_budget_kind kind, const struct bg_latency *latency,
                              double *out)
{
    struct bg_net_cost cost = {0};
    enum bg_status rc = BG_OK;
    if (kind == BG_BUDGET_LATENCY)
        return add_latencies(net, plan, latency, out);
    TRY(bg_net_cost(net, plan, &cost));
    *out = kind == BG_BUDGET_BYTES           ? cost.bytes
           : kind == BG_BUDGET_BOPS_HAWQ     ? cost.bops_hawq
           : kind == BG_BUDGET_BOPS_DETAILED ? cost.bops_detailed
                                             : cost.mean_weight_bits;
out:
    bg_net_cost_free(&cost);
    return rc;
}

static int place_of(const struct bg_penalties *penalties, const struct bg_spec *spec)
{
    int bits = spec->format == BG_FORMAT_F32 ? 0 : spec->bits;
    for (int c = 0; c < penalties->candidates; c++)
        if (penalties->bits[c] == bits)
            return c;
    return -1;
}

double bg_bits_objective(const struct bg_penalties *penalties, const struct bg_plan *plan)
{
    double sum = 0;
    for (int i = 0; i < plan->count && i < penalties->layers; i++)
        for (int role = 0; role < 2; role++) {
            int c = place_of(penalties, &plan->layer[i].spec[role]);
            if (penalties->speaks[role] && c >= 0)
                sum += *bg_penalties_at(penalties, i, (enum bg_role)role, c);
        }
    return sum;
}

static struct bg_spec spec_of(int bits, bool per_channel)
{
    if (bits == 0)
        return (struct bg_spec){.format = BG_FORMAT_F32};
    return (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = bits, .per_channel = per_channel};
}

enum bg_status bg_bits_plan(const struct bg_bits_problem *bits,
                            const struct bg_allocation *allocation, struct bg_plan *out)
{
    enum bg_status rc = BG_OK;
    if (allocation->items != bits->problem.items)
        return bg_fail(BG_E_MISMATCH, "budget: an answer of %d items for a problem of %d",
                       allocation->items, bits->problem.items);
    TRY(bg_net_plan(bits->net, 0, 0, out));
    for (int i = 0; i < bits->layers; i++) {
        int item = bits->item[i];
        const signed char *choice =
            bits->choice[item] +
            2 * ((ptrdiff_t)allocation->choice[item] * bits->places[item] + bits->place[i]);
        out->layer[i].spec[BG_ROLE_WEIGHT] = spec_of(choice[0], true);
        out->layer[i].spec[BG_ROLE_ACTIVATION] = spec_of(choice[1], false);
    }
out:
    return rc;
}

enum bg_status bg_bits_check(const struct bg_bits_problem *bits)
{
    const struct bg_allocate_problem *problem = &bits->problem;
    for (int b = 0; b < problem->budgets; b++) {
        const double least = bg_allocate_least(problem, b);
        char smallest[32], wanted[32];
        if (bg_allocate_within(least, problem->budget[b]))
            continue;
        bg_allocate_say(problem, b, least, smallest);
        bg_allocate_say(problem, b, problem->budget[b], wanted);
        return bg_fail(BG_E_DATA, "no plan holds %s %s, the smallest feasible one is %s",
                       problem->budget_name[b], wanted, smallest);
    }
    return BG_OK;
}

/* Costs of the others stay; does candidate c of the item fit in their place? */
static bool fits(const struct bg_allocate_problem *problem, const struct bg_allocation *now,
                 int item, int c)
{
    const struct bg_allocate_item *at_item = &problem->item[item];
    for (int b = 0; b < problem->budgets; b++) {
        double sum = 0;
        for (int i = 0; i < problem->items; i++)
            sum += problem->item[i].cost[b][i == item ? c : now->choice[i]];
        if (!bg_allocate_within(sum, problem->budget[b]))
            return false;
    }
    return at_item->candidates > c;
}

static bool dearer(const struct bg_allocate_item *item, int budgets, int c, int than)
{
    bool more = false;
    for (int b = 0; b < budgets; b++) {
        if (item->cost[b][c] < item->cost[b][than])
            return false;
        more = more || item->cost[b][c] > item->cost[b][than];
    }
    return more;
}

static void start_cheap(const struct bg_allocate_problem *problem, struct bg_allocation *out)
{
    for (int i = 0; i < problem->items; i++) {
        int best = problem->item[i].candidates - 1;
        for (int c = best; c-- > 0;)
            if (dearer(&problem->item[i], problem->budgets, best, c))
                best = c;
        out->choice[i] = best;
    }
}

/* Is the part `use` of some budget reached, counted with what is outside the layers? */
static bool is_used(const struct bg_bits_problem *bits, double use, const struct bg_allocation *now)
{
    for (int b = 0; b < bits->problem.budgets; b++) {
        double sum = bits->problem.outside[b];
        for (int i = 0; i < bits->problem.items; i++)
            sum += bits->problem.item[i].cost[b][now->choice[i]];
        if (sum >= use * (bits->problem.budget[b] + bits->problem.outside[b]))
            return use < 1;
    }
    return false;
}

enum bg_status bg_bits_random(const struct bg_bits_problem *bits, double use, uint64_t seed,
                              uint32_t draw, struct bg_allocation *out)
{
    const struct bg_allocate_problem *problem = &bits->problem;
    struct bg_rng rng = {.seed = seed, .stream = BG_STREAM_SELECT, .step = draw};
    int32_t *order = NULL;
    uint64_t count = (uint64_t)problem->items * 8; /* the permutation takes the words before */
    bool raised = true;
    enum bg_status rc = BG_OK;

    TRY(bg_bits_check(bits));
    TRY(bg_allocation_make(out, problem->items));
    TRY(bg_alloc(&order, problem->items, sizeof *order));
    bg_rng_permutation(&rng, order, problem->items);
    start_cheap(problem, out);
    while (raised) {
        raised = false;
        for (int k = 0; k < problem->items && !is_used(bits, use, out); k++) {
            int item = (int)order[k], fit[BG_ALLOCATE_CANDIDATES], fitting = 0;
            for (int c = 0; c < problem->item[item].candidates; c++)
                if (dearer(&problem->item[item], problem->budgets, c, out->choice[item]) &&
                    fits(problem, out, item, c))
                    fit[fitting++] = c;
            if (fitting == 0)
                continue;
            out->choice[item] = fit[bg_rng_below(&rng, count++, (uint32_t)fitting)];
            raised = true;
        }
    }
    (void)bg_allocate_evaluate(problem, out);
out:
    bg_free(order);
    return rc;
}

static int layer_of(const char *name, const char *const *names, int layers)
{
    for (int i = 0; i < layers; i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

static void join(int *group, int layers, int a, int b)
{
    for (int i = 0; i < layers; i++)
        if (group[i] == (a < b ? b : a))
            group[i] = a < b ? a : b;
}

enum bg_status bg_bits_groups(const struct bg_yaml *node, const char *path,
                              const char *const *names, int layers, int *group,
                              struct bg_text *errors)
{
    size_t before = errors->length;
    for (int i = 0; i < layers; i++)
        group[i] = i;
    for (const struct bg_yaml *list = node ? node->first : NULL; list; list = list->next) {
        int first = -1;
        if (list->kind != BG_YAML_LIST)
            bg_options_error(errors, list, path, "expected a list of lists of layers");
        for (const struct bg_yaml *one = list->first; one; one = one->next) {
            int layer = one->kind == BG_YAML_SCALAR ? layer_of(one->text, names, layers) : -1;
            const char *near =
                one->kind == BG_YAML_SCALAR ? bg_text_nearest(one->text, names, layers) : NULL;
            if (layer < 0)
                bg_options_error(errors, one, path, "unknown layer \"%s\"%s%s%s",
                                 one->kind == BG_YAML_SCALAR ? one->text : "",
                                 near ? ", did you mean \"" : "", near ? near : "",
                                 near ? "\"?" : "");
            else if (first < 0)
                first = layer;
            else
                join(group, layers, group[first], group[layer]);
        }
    }
    if (errors->length > before)
        return bg_fail(BG_E_DATA, "%s: see the lines above", path);
    return BG_OK;
}
