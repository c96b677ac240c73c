/* Who asks for which grid: walks back from every layer's input to the node that makes the values,
 * and on to what these are computed from (rules: bg_graph_quantize in graph.h). */
#include <stdio.h>

#include "autograd/form.h"

static bool same_spec(const struct bg_spec *a, const struct bg_spec *b)
{
    return a->format == b->format && bg_spec_bits(a) == bg_spec_bits(b);
}

static void spec_text(const struct bg_spec *spec, char out[8])
{
    if (spec->format == BG_FORMAT_INTEGER)
        (void)snprintf(out, 8, "u%d", spec->bits);
    else
        (void)snprintf(out, 8, "%s", spec->format == BG_FORMAT_BF16 ? "bf16" : "f32");
}

/* A layer's own demand wins over what a pool or an add asks on the way to another layer; two
 * demands of one rank must agree. */
static enum bg_status ask(const struct bg_graph *graph, struct bg_demand *demand,
                          const struct bg_node *at, const struct bg_demand *wanted)
{
    struct bg_demand *present = &demand[at->index];
    char a[8], b[8];

    if (present->layer < 0) {
        *present = *wanted;
        return BG_OK;
    }
    if (present->direct != wanted->direct || same_spec(&present->spec, &wanted->spec))
        return BG_OK;
    spec_text(&present->spec, a);
    spec_text(&wanted->spec, b);
    return bg_fail(BG_E_DATA,
                   "layers %s (a=%s) and %s (a=%s) read the same tensor, the output of %s: it can "
                   "have one grid only",
                   graph->layer[present->layer]->name, a, graph->layer[wanted->layer]->name, b,
                   at->name);
}

static bool demanded(const void *self, const struct bg_node *maker)
{
    const struct bg_demand *demand = (const struct bg_demand *)self + maker->index;

    return demand->layer >= 0 && demand->spec.format == BG_FORMAT_INTEGER;
}

struct bg_form_grids bg_demand_grids(const struct bg_demand *demand)
{
    return (struct bg_form_grids){.has = demanded, .self = demand};
}

/* Asks what `node` is computed from for the grids its form needs. */
static enum bg_status ask_form(const struct bg_graph *graph, struct bg_demand *demand,
                               const struct bg_node *node, const struct bg_form *outer,
                               const struct bg_demand *wanted)
{
    enum bg_status rc = BG_OK;
    const struct bg_form_grids grids = bg_demand_grids(demand);
    struct bg_form form;

    bg_form_of(node, outer, &grids, &form);
    for (int i = 0; i < form.missing; i++)
        TRY(ask(graph, demand, form.need[i], wanted));
    if (form.kind != BG_FORM_SUM)
        for (int i = 0; i < form.at->inputs; i++)
            TRY(ask_form(graph, demand, form.at->input[i], &form, wanted));
out:
    return rc;
}

/* The logits are on no grid; what they are computed from has the last layer's bits. */
static enum bg_status ask_for_logits(const struct bg_graph *graph, const struct bg_plan *plan,
                                     struct bg_demand *demand)
{
    const struct bg_form none = {.activation = NULL};
    const struct bg_node *last = graph->layer[graph->layers - 1];
    const struct bg_demand wanted = {.spec =
                                         bg_plan_find(plan, last->name)->spec[BG_ROLE_ACTIVATION],
                                     .layer = last->layer,
                                     .direct = false};

    if (wanted.spec.format != BG_FORMAT_INTEGER)
        return BG_OK;
    return ask_form(graph, demand, graph->loss->input[0], &none, &wanted);
}

enum bg_status bg_demand_collect(const struct bg_graph *graph, const struct bg_plan *plan,
                                 struct bg_demand *demand)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < graph->nodes; i++)
        demand[i] = (struct bg_demand){.layer = -1};
    for (int i = 0; i < graph->layers; i++) {
        const struct bg_plan_layer *layer = bg_plan_find(plan, graph->layer[i]->name);
        const struct bg_demand wanted = {
            .spec = layer->spec[BG_ROLE_ACTIVATION], .layer = i, .direct = true};
        TRY(ask(graph, demand, bg_node_maker(graph->layer[i]->input[0]), &wanted));
    }
    if (graph->loss != NULL && graph->layers > 0)
        TRY(ask_for_logits(graph, plan, demand));
    for (int i = graph->nodes - 1; i >= 0; i--) {
        struct bg_demand wanted = demand[i];
        wanted.direct = false;
        if (demanded(demand, graph->node[i]))
            TRY(ask_form(graph, demand, graph->node[i], NULL, &wanted));
    }
out:
    return rc;
}

void bg_graph_non_negative(const struct bg_graph *graph, bool *out)
{
    for (int i = 0; i < graph->nodes; i++) {
        const struct bg_node *node = graph->node[i];
        const struct bg_sample_spec *sample = node->attributes;
        out[i] = (node->op->flags & BG_OP_NON_NEGATIVE) != 0;
        if (node->op == &bg_op_input)
            out[i] = sample->dtype == BG_U8 && sample->zero_point == 0;
        if ((node->op->flags & BG_OP_KEEPS_SIGN) == 0)
            continue;
        out[i] = true;
        for (int k = 0; k < node->inputs; k++)
            out[i] = out[i] && out[node->input[k]->index];
    }
}
