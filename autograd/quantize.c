/* bg_graph_quantize: a plan put on a graph. Everything that can fail happens first, on a draft; the
 * graph is touched only when nothing can fail any more. */
#include <stdio.h>
#include <string.h>

#include "autograd/integer_private.h"
#include "autograd/op.h"
#include "core/method.h"
#include "core/store.h"

/* The quantizers the graph will have. */
struct draft {
    const struct bg_graph *graph;
    const struct bg_plan *plan; /* NULL = f32 everywhere */
    const struct bg_quantize_options *options;
    struct bg_demand *demand;         /* [nodes] */
    bool *non_negative;               /* [nodes] */
    struct bg_quantizer **activation; /* [nodes] */
    struct bg_quantizer **weight;     /* [layers] */
    struct bg_store **carried;        /* [layers] NULL: not; else in weight's grid */
    struct bg_quantizer **list;       /* in the graph's order */
    int count;
    bool integer;
    enum bg_requant_mode requant;
    char emulated[256];
};

static const char *nearest_layer(const struct bg_graph *graph, const char *name)
{
    const char *pair[2] = {NULL, NULL}; /* the best so far against the next */

    for (int i = 0; i < graph->layers; i++) {
        int first = pair[0] == NULL;
        pair[1] = graph->layer[i]->name;
        pair[0] = bg_text_nearest(name, pair + first, 2 - first);
    }
    return pair[0];
}

static enum bg_status check_names(const struct bg_graph *graph, const struct bg_plan *plan)
{
    for (int i = 0; i < plan->count; i++) {
        const char *name = plan->layer[i].name, *nearest = NULL;
        const struct bg_node *node = bg_graph_find(graph, name);
        if (node != NULL && node->layer >= 0)
            continue;
        nearest = nearest_layer(graph, name);
        return bg_fail(BG_E_DATA, "the plan names layer %s, the network has no such layer%s%s%s",
                       name, nearest == NULL ? "" : " (nearest: ", nearest == NULL ? "" : nearest,
                       nearest == NULL ? "" : ")");
    }
    for (int i = 0; i < graph->layers; i++)
        if (bg_plan_find(plan, graph->layer[i]->name) == NULL)
            return bg_fail(BG_E_DATA,
                           "the plan has no line for layer %s (%d of the network's %d "
                           "layers are named)",
                           graph->layer[i]->name, plan->count, graph->layers);
    return BG_OK;
}

/* The grids of a layer's gradients. */
static enum bg_status draft_gradients(const struct draft *draft, const struct bg_plan_layer *layer,
                                      struct bg_gradient_grid *out, struct bg_gradient_grid *weight)
{
    enum bg_status rc = BG_OK;
    const enum bg_rounding rounding = draft->options->gradient_rounding;

    TRY(bg_gradient_grid_of(&layer->spec[BG_ROLE_OUT_GRAD], rounding, "g", out));
    TRY(bg_gradient_grid_of(&layer->spec[BG_ROLE_WEIGHT_GRAD], rounding, "dw", weight));
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "layer %s: ", layer->name);
    return rc;
}

/* Formats that cannot be honoured are refused, never ignored. */
static enum bg_status check_formats(const struct draft *draft, const struct bg_plan_layer *layer)
{
    enum bg_status rc = BG_OK;
    static const char *const keys[BG_ROLES] = {"w", "a"};
    struct bg_gradient_grid out, weight;

    for (int role = 0; role <= BG_ROLE_ACTIVATION; role++)
        if (layer->spec[role].format == BG_FORMAT_BF16)
            FAIL(BG_E_UNSUPPORTED, "layer %s: %s=bf16 is not available, gradients alone are bf16",
                 layer->name, keys[role]);
    TRY(draft_gradients(draft, layer, &out, &weight));
    TRY(bg_param_check_update(layer));
out:
    return rc;
}

static bool can_keep(const struct bg_quantizer *old, const struct bg_quantizer_spec *wanted)
{
    if (old == NULL || old->spec.format != wanted->spec.format ||
        old->spec.bits != wanted->spec.bits)
        return false;
    return !old->fixed && old->grid.channels == wanted->channels &&
           (old->step != NULL) == wanted->range->learned;
}

/* Keeps `old` when its spec did not change, else makes a new one; adds it to the draft. */
static enum bg_status settle(struct draft *draft, struct bg_quantizer *old,
                             const struct bg_quantizer_spec *wanted, struct bg_quantizer **out)
{
    enum bg_status rc = BG_OK;

    *out = NULL;
    if (wanted->range == NULL)
        FAIL(BG_E_USAGE, "%s: no range method is given for %s", wanted->name,
             wanted->target == BG_TARGET_WEIGHT ? "weights" : "activations");
    if (can_keep(old, wanted))
        *out = old;
    else
        TRY(bg_quantizer_make(wanted, out));
    draft->list[draft->count++] = *out;
out:
    return rc;
}

/* A raw byte is the code itself at 8 bits. */
static void fix_input_grid(struct bg_quantizer *quantizer, const struct bg_sample_spec *sample)
{
    quantizer->fixed = true;
    quantizer->range = NULL;
    quantizer->range_options = NULL;
    quantizer->grid.scale[0] = sample->scale;
    quantizer->grid.zero_point = sample->zero_point;
    quantizer->lo[0] = (float)(0 - sample->zero_point) * sample->scale;
    quantizer->hi[0] = (float)(255 - sample->zero_point) * sample->scale;
    quantizer->observed = 1;
}

/* Stands for "any range": the grid is given. */
static const struct bg_range_method given = {.name = "given"};

static enum bg_status draft_activation(struct draft *draft, const struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    const struct bg_demand *demand = &draft->demand[node->index];
    const struct bg_sample_spec *sample = node->attributes;
    bool raw = node->op == &bg_op_input && sample->dtype == BG_U8 && demand->spec.bits == 8;
    struct bg_quantizer *old = node->quantizer, **out = &draft->activation[node->index];
    struct bg_quantizer_spec wanted = {.target = BG_TARGET_ACTIVATION,
                                       .spec = demand->spec,
                                       .name = node->name,
                                       .layer = demand->layer,
                                       .channels = 1,
                                       .n = bg_shape_count(&node->shape),
                                       .non_negative = draft->non_negative[node->index],
                                       .range = draft->options->activation_range,
                                       .range_options = draft->options->activation_range_options,
                                       .rounding = draft->options->rounding};

    if (demand->layer < 0 || demand->spec.format != BG_FORMAT_INTEGER || *out != NULL)
        goto out;
    if (demand->spec.bits == 1 && !wanted.non_negative)
        FAIL(BG_E_UNSUPPORTED,
             "layer %s: a=u1 needs an input without negative values, the output of %s can have "
             "some",
             draft->graph->layer[demand->layer]->name, node->name);
    if (raw && old != NULL && old->fixed) {
        *out = draft->list[draft->count++] = old;
        goto out;
    }
    if (raw)
        wanted.range = &given;
    TRY(settle(draft, raw ? NULL : old, &wanted, out));
    if (raw)
        fix_input_grid(*out, sample);
out:
    return rc;
}

static enum bg_status draft_weight(struct draft *draft, int layer)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = draft->graph->layer[layer];
    const struct bg_param *weight = node->param[0];
    const struct bg_plan_layer *line = bg_plan_find(draft->plan, node->name);
    const struct bg_spec *spec = &line->spec[BG_ROLE_WEIGHT];
    int64_t channels = spec->per_channel ? weight->value.shape.dims[0] : 1;
    const struct bg_quantizer_spec wanted = {.target = BG_TARGET_WEIGHT,
                                             .spec = *spec,
                                             .name = weight->name,
                                             .layer = layer,
                                             .channels = channels,
                                             .n = bg_tensor_count(&weight->value) / channels,
                                             .range = draft->options->weight_range,
                                             .range_options = draft->options->weight_range_options,
                                             .rounding = draft->options->rounding};

    if (spec->format != BG_FORMAT_INTEGER)
        goto out;
    if (!bg_param_carries(weight, line, &wanted)) {
        TRY(settle(draft, weight->quantizer, &wanted, &draft->weight[layer]));
        goto out;
    }
    TRY(settle(draft, NULL, &wanted, &draft->weight[layer]));
    TRY(bg_param_carry(weight, line, draft->weight[layer], &draft->carried[layer]));
out:
    return rc;
}

/* A plan of integers must have an integer model; any other is emulated in f32, which has no mode.
 */
static enum bg_status check_integer(struct draft *draft)
{
    enum bg_status rc = BG_OK;
    bool emulated = false;

    if (!bg_requant_mode_find(draft->plan->requant, &draft->requant))
        FAIL(BG_E_DATA,
             "the plan asks for requant %s, there is f32-rne, fixed-single, fixed-double "
             "and pow2-rne",
             draft->plan->requant);
    rc = bg_integer_check(draft->graph, draft->plan, &emulated);
    draft->integer = rc == BG_OK;
    if (rc == BG_OK || !emulated)
        return rc;
    (void)snprintf(draft->emulated, sizeof draft->emulated, "%.255s", bg_error());
    rc = BG_OK;
    if (draft->requant != BG_REQUANT_F32_RNE)
        FAIL(BG_E_UNSUPPORTED, "requant %s needs integers everywhere: %s", draft->plan->requant,
             draft->emulated);
out:
    return rc;
}

static enum bg_status fill_draft(struct draft *draft)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = draft->graph;

    TRY(check_names(graph, draft->plan));
    if (draft->options == NULL)
        FAIL(BG_E_USAGE, "a plan needs range methods");
    for (int i = 0; i < draft->plan->count; i++)
        TRY(check_formats(draft, &draft->plan->layer[i]));
    if (draft->options->rounding != BG_ROUND_NEAREST)
        FAIL(BG_E_UNSUPPORTED, "rounding %s of weights and activations: only nearest is available",
             bg_rounding_names[draft->options->rounding]);
    TRY(check_integer(draft));
    TRY(bg_demand_collect(graph, draft->plan, draft->demand));
    bg_graph_non_negative(graph, draft->non_negative);
    for (int i = 0; i < graph->layers; i++) {
        TRY(draft_activation(draft, bg_node_maker(graph->layer[i]->input[0])));
        TRY(draft_weight(draft, i));
    }
    for (int i = 0; i < graph->nodes; i++)
        TRY(draft_activation(draft, graph->node[i]));
out:
    return rc;
}

static enum bg_status open_draft(struct draft *draft)
{
    enum bg_status rc = BG_OK;
    int nodes = draft->graph->nodes, layers = draft->graph->layers;

    TRY(bg_alloc(&draft->demand, nodes, sizeof *draft->demand));
    TRY(bg_alloc(&draft->non_negative, nodes, sizeof *draft->non_negative));
    TRY(bg_alloc(&draft->activation, nodes, sizeof(struct bg_quantizer *)));
    TRY(bg_alloc(&draft->weight, layers, sizeof(struct bg_quantizer *)));
    TRY(bg_alloc(&draft->carried, layers, sizeof(struct bg_store *)));
    TRY(bg_alloc(&draft->list, nodes + layers, sizeof(struct bg_quantizer *)));
out:
    return rc;
}

static bool contains(struct bg_quantizer *const *list, int count, const struct bg_quantizer *item)
{
    for (int i = 0; i < count; i++)
        if (list[i] == item)
            return true;
    return false;
}

/* Frees the quantizers of `list` that are not in `kept`. */
static void free_others(struct bg_quantizer *const *list, int count,
                        struct bg_quantizer *const *kept, int kept_count)
{
    for (int i = 0; i < count; i++)
        if (!contains(kept, kept_count, list[i]))
            bg_quantizer_free(list[i]);
}

/* Learned steps stand at the end of the parameters, in the quantizers' order. */
static void place_steps(struct bg_graph *graph)
{
    int kept = 0;

    for (int i = 0; i < graph->params; i++)
        if (graph->param[i]->kind != BG_PARAM_STEP)
            graph->param[kept++] = graph->param[i];
    graph->params = kept;
    for (int i = 0; i < graph->quantizers; i++)
        if (graph->quantizer[i]->step != NULL)
            graph->param[graph->params++] = graph->quantizer[i]->step;
}

static void set_weight_quantizer(struct bg_param *weight, struct bg_quantizer *quantizer)
{
    weight->quantizer = quantizer;
    if (weight->store == NULL || quantizer != NULL) /* small floats keep theirs */
        weight->forward.data = weight->value.data;
    if (quantizer != NULL) /* NULL beside a store, until a program wants it */
        weight->forward.data = ((struct bg_model_quantizer *)(void *)quantizer)->forward;
    bg_model_param(weight)->seen = 0;
}

/* Stores that the plan has no place for become f32 values, before the grids they lie on go. */
static enum bg_status release_stores(const struct bg_graph *graph, const struct draft *draft)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < graph->layers; i++) {
        struct bg_param *weight = graph->layer[i]->param[0];
        const struct bg_plan_layer *line =
            draft->plan == NULL ? NULL : bg_plan_find(draft->plan, graph->layer[i]->name);
        if (weight->store == NULL || draft->carried[i] != NULL ||
            (draft->weight[i] == weight->quantizer && bg_param_keeps_store(weight, line)))
            continue;
        TRY(bg_param_release(weight));
    }
out:
    return rc;
}

/* What the check has let pass. */
static void set_gradients(const struct draft *draft, struct bg_node *layer)
{
    const struct bg_plan_layer *line =
        draft->plan == NULL ? NULL : bg_plan_find(draft->plan, layer->name);

    if (line == NULL ||
        draft_gradients(draft, line, &layer->out_gradient, &layer->weight_gradient) != BG_OK)
        layer->out_gradient = layer->weight_gradient = (struct bg_gradient_grid){0};
}

/* Cannot fail: room for the learned steps was made before. */
static void commit(struct bg_graph *graph, struct draft *draft)
{
    struct bg_quantizer **old = graph->quantizer;
    int old_count = graph->quantizers;

    for (int i = 0; i < graph->nodes; i++)
        graph->node[i]->quantizer = draft->activation[i];
    for (int i = 0; i < graph->layers; i++) {
        set_weight_quantizer(graph->layer[i]->param[0], draft->weight[i]);
        if (draft->carried[i] != NULL)
            bg_param_take_store(graph->layer[i]->param[0], draft->carried[i]);
        draft->carried[i] = NULL;
        bg_param_note_update(graph->layer[i], draft->plan);
        set_gradients(draft, graph->layer[i]);
    }
    for (int i = 0; i < draft->count; i++) {
        struct bg_quantizer *quantizer = draft->list[i];
        bool weight = quantizer->target == BG_TARGET_WEIGHT;
        if (quantizer->fixed)
            continue;
        quantizer->range = weight ? draft->options->weight_range : draft->options->activation_range;
        quantizer->range_options = weight ? draft->options->weight_range_options
                                          : draft->options->activation_range_options;
    }
    graph->quantizer = draft->list;
    graph->quantizers = draft->count;
    place_steps(graph); /* before the old steps are freed: their kind is read */
    free_others(old, old_count, graph->quantizer, graph->quantizers);
    bg_free(old);
    graph->integer = draft->integer;
    graph->requant = draft->requant;
    memcpy(graph->emulated, draft->emulated, sizeof graph->emulated);
    draft->list = NULL;
    draft->count = 0;
}

enum bg_status bg_graph_quantize(struct bg_graph *graph, const struct bg_plan *plan,
                                 const struct bg_quantize_options *options)
{
    enum bg_status rc = BG_OK;
    struct draft draft = {.graph = graph, .plan = plan, .options = options};

    if (graph->programs > 0)
        FAIL(BG_E_USAGE, "%d programs of this graph exist: destroy them before a plan is applied",
             graph->programs);
    TRY(open_draft(&draft));
    if (plan != NULL)
        TRY(fill_draft(&draft));
    TRY(bg_graph_reserve_params(graph, graph->params + draft.count));
    TRY(release_stores(graph, &draft));
    commit(graph, &draft);
out:
    free_others(draft.list, draft.count, graph->quantizer, graph->quantizers);
    bg_free(draft.list);
    for (int i = 0; draft.carried != NULL && i < graph->layers; i++)
        bg_store_free(draft.carried[i]);
    bg_free(draft.carried);
    bg_free(draft.weight);
    bg_free(draft.activation);
    bg_free(draft.non_negative);
    bg_free(draft.demand);
    return rc;
}
