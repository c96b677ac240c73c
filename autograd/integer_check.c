/* Has a plan an integer model? Asked before there are quantizers, when a plan is applied, so that
 * nothing is trained that could not be evaluated. */
#include <string.h>

#include "autograd/integer_private.h"

static bool averages(const struct bg_node *node)
{
    return (node->op->flags & BG_OP_POOLS) != 0;
}

struct bg_conv_shape bg_integer_conv_shape(const struct bg_node *node)
{
    struct bg_conv_shape shape =
        node->op == &bg_op_conv2d ? bg_conv2d_shape(node, 1) : bg_linear_shape(node, 1);

    shape.out_height = node->shape.dims[0];
    shape.out_width = node->shape.dims[1];
    return shape;
}

struct bg_pool_shape bg_integer_pool_shape(const struct bg_node *node)
{
    struct bg_pool_shape shape = bg_pooled_shape(node, 1);

    shape.out_height = node->shape.dims[0];
    shape.out_width = node->shape.dims[1];
    return shape;
}

enum bg_status bg_integer_bound(const struct bg_node *node, int64_t width, int64_t largest,
                                int64_t *out)
{
    int64_t terms = 1;

    if (averages(node)) {
        const struct bg_pool_shape shape = bg_integer_pool_shape(node);
        terms = shape.kernel[0] * shape.kernel[1];
    } else if (node->layer >= 0) {
        const struct bg_param *weight = node->param[0];
        terms = bg_tensor_count(&weight->value) / weight->value.shape.dims[0];
    }
    *out = terms * width * largest; /* tensors have fewer than 2^31 elements: below 2^46 */
    if (*out > INT32_MAX)
        return bg_fail(
            BG_E_UNSUPPORTED,
            "%s: %lld products of codes up to %lld x %lld can reach %lld, an accumulator "
            "holds %lld",
            node->name, (long long)terms, (long long)width, (long long)largest, (long long)*out,
            (long long)INT32_MAX);
    return BG_OK;
}

static enum bg_status check_pool(const struct bg_node *node)
{
    const struct bg_pool_shape shape = bg_integer_pool_shape(node);

    if (shape.padding[0] != 0 || shape.padding[1] != 0)
        return bg_fail(BG_E_UNSUPPORTED,
                       "%s: an average with padding %lldx%lld has no integer form (limit is 0)",
                       node->name, (long long)shape.padding[0], (long long)shape.padding[1]);
    return BG_OK;
}

enum bg_status bg_integer_check_form(const struct bg_node *node, const struct bg_form *form)
{
    enum bg_status rc = BG_OK;

    if (form->missing > 0)
        FAIL(BG_E_UNSUPPORTED,
             "%s has no integer form: it needs the output of %s %s on a grid and nothing asks for "
             "one",
             node->name, form->need[0]->op->name, form->need[0]->name);
    if (form->too_many)
        FAIL(BG_E_UNSUPPORTED, "%s has no integer form: it is a sum of more than %d terms",
             node->name, BG_REQUANT_TERMS);
    for (int i = 0; i < form->parts; i++)
        if (!form->part[i].codes && averages(form->part[i].node))
            TRY(check_pool(form->part[i].node));
out:
    return rc;
}

enum bg_status bg_integer_logits_form(const struct bg_graph *graph,
                                      const struct bg_form_grids *grids, struct bg_form *out)
{
    enum bg_status rc = BG_OK;
    const struct bg_form none = {.activation = NULL};
    const struct bg_node *logits = graph->loss->input[0];

    bg_form_of(logits, &none, grids, out);
    if (out->activation != NULL || out->kind != BG_FORM_SUM)
        FAIL(BG_E_UNSUPPORTED,
             "%s has no integer form: logits must be a sum of layers and pools, not %s",
             logits->name, out->activation != NULL ? out->activation->op->name : out->at->op->name);
    TRY(bg_integer_check_form(logits, out));
out:
    return rc;
}

/* Bits of the plan, as far as integers are concerned. */
struct check {
    const struct bg_graph *graph;
    const struct bg_plan *plan;
    const struct bg_demand *demand;
    struct bg_form_grids grids;
};

static int64_t code_width(const struct check *check, const struct bg_node *node)
{
    const struct bg_node *maker = bg_node_maker(node);

    return ((int64_t)1 << check->demand[maker->index].spec.bits) - 1;
}

static int64_t largest_weight(const struct check *check, const struct bg_node *layer)
{
    int bits = bg_plan_find(check->plan, layer->name)->spec[BG_ROLE_WEIGHT].bits;

    return bits == 1 ? 1 : ((int64_t)1 << (bits - 1)) - 1;
}

static enum bg_status check_bounds(const struct check *check, const struct bg_form *form)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < form->parts; i++) {
        const struct bg_node *node = form->part[i].node;
        int64_t bound = 0, width = 0;
        if (form->part[i].codes)
            continue;
        width = code_width(check, node->input[0]);
        TRY(bg_integer_bound(node, width, node->layer < 0 ? 1 : largest_weight(check, node),
                             &bound));
    }
out:
    return rc;
}

static enum bg_status check_node(const struct check *check, const struct bg_node *node,
                                 const struct bg_form *outer)
{
    enum bg_status rc = BG_OK;
    struct bg_form form;

    bg_form_of(node, outer, &check->grids, &form);
    TRY(bg_integer_check_form(node, &form));
    TRY(check_bounds(check, &form));
    if (form.kind != BG_FORM_SUM)
        for (int i = 0; i < form.at->inputs; i++)
            TRY(check_node(check, form.at->input[i], &form));
out:
    return rc;
}

static enum bg_status check_all(const struct check *check)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = check->graph;
    struct bg_form form;

    for (int i = 0; i < graph->nodes; i++) {
        const struct bg_node *node = graph->node[i];
        if (node->op != &bg_op_input && check->grids.has(check->demand, node))
            TRY(check_node(check, node, NULL));
    }
    if (graph->loss == NULL)
        goto out;
    TRY(bg_integer_logits_form(graph, &check->grids, &form));
    TRY(check_bounds(check, &form));
out:
    return rc;
}

/* The first width or format that integers do not have. */
static enum bg_status check_widths(const struct bg_graph *graph, const struct bg_plan *plan)
{
    static const char *const keys[] = {[BG_ROLE_WEIGHT] = "w", [BG_ROLE_ACTIVATION] = "a"};

    for (int i = 0; i < graph->layers; i++) {
        const struct bg_plan_layer *layer = bg_plan_find(plan, graph->layer[i]->name);
        for (int role = BG_ROLE_WEIGHT; role <= BG_ROLE_ACTIVATION; role++) {
            const struct bg_spec *spec = &layer->spec[role];
            if (spec->format != BG_FORMAT_INTEGER)
                return bg_fail(BG_E_UNSUPPORTED, "layer %s: %s=f32 has no integer form",
                               layer->name, keys[role]);
            if (spec->bits > 8)
                return bg_fail(BG_E_UNSUPPORTED,
                               "layer %s: %s has %d bits, integers are evaluated up to 8",
                               layer->name, keys[role], spec->bits);
        }
    }
    return BG_OK;
}

enum bg_status bg_integer_check(const struct bg_graph *graph, const struct bg_plan *plan,
                                bool *emulated)
{
    enum bg_status rc = BG_OK;
    struct bg_demand *demand = NULL;
    struct check check = {.graph = graph, .plan = plan};

    *emulated = true;
    TRY(check_widths(graph, plan));
    *emulated = false;
    TRY(bg_alloc(&demand, graph->nodes, sizeof *demand));
    TRY(bg_demand_collect(graph, plan, demand));
    check.demand = demand;
    check.grids = bg_demand_grids(demand);
    TRY(check_all(&check));
out:
    bg_free(demand);
    return rc;
}
