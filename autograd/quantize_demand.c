/* Who asks for which grid: walks back from every layer's input to the node that makes the values,
 * and on through pools and adds (rules: bg_graph_quantize in graph.h). */
#include <stdio.h>

#include "autograd/op.h"

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

/* Nothing is quantized between a layer or norm and an add (core/NUMERICS.md, "Where grids stand").
 */
static bool comes_straight_from_layer(const struct bg_node *maker)
{
    return (maker->op->flags & BG_OP_LAYER) != 0 || maker->op == &bg_op_batch_norm;
}

static bool reads_codes(const struct bg_node *node)
{
    return (node->op->flags & BG_OP_POOLS) != 0 || node->inputs == 2;
}

/* The node whose inputs are read as codes to make `node`: an add or pool through its relu. */
static const struct bg_node *behind_relu(const struct bg_node *node)
{
    return node->op == &bg_op_relu && reads_codes(node->input[0]) ? node->input[0] : node;
}

static enum bg_status ask_inputs(const struct bg_graph *graph, struct bg_demand *demand,
                                 const struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    const struct bg_demand wanted = {
        .spec = demand[node->index].spec, .layer = demand[node->index].layer, .direct = false};
    const struct bg_node *reader = behind_relu(node);

    if (wanted.layer < 0 || wanted.spec.format != BG_FORMAT_INTEGER || !reads_codes(reader))
        goto out;
    if (reader != node && demand[reader->index].layer >= 0)
        goto out; /* the relu reads that grid's codes */
    for (int i = 0; i < reader->inputs; i++) {
        const struct bg_node *maker = bg_node_maker(reader->input[i]);
        if (!comes_straight_from_layer(maker) || (reader->op->flags & BG_OP_POOLS) != 0)
            TRY(ask(graph, demand, maker, &wanted));
    }
out:
    return rc;
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
    for (int i = graph->nodes - 1; i >= 0; i--)
        TRY(ask_inputs(graph, demand, graph->node[i]));
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
