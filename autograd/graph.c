/* The graph: nodes in order of creation, which is a topological order, and the readers of graph.h.
 *
 * Nodes, attributes and parameters live in the graph's arena until it is destroyed; quantizers and
 * learned steps come and go (quantize.c). A node is in the graph only after bg_node_end. */
#include "autograd/graph.h"

#include <string.h>

#include "autograd/op.h"

enum bg_status bg_graph_create(struct bg_graph **out)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = NULL;

    *out = NULL;
    TRY(bg_alloc(&graph, 1, sizeof *graph));
    TRY(bg_arena_create(&graph->arena, "model"));
    *out = graph;
    graph = NULL;
out:
    bg_free(graph);
    return rc;
}

void bg_graph_destroy(struct bg_graph *graph)
{
    if (graph == NULL)
        return;
    bg_graph_free_weights(graph);
    for (int i = 0; i < graph->quantizers; i++)
        bg_quantizer_free(graph->quantizer[i]);
    bg_free(graph->quantizer);
    bg_free(graph->node);
    bg_free(graph->param);
    bg_free(graph->layer);
    bg_arena_destroy(graph->arena);
    bg_free(graph);
}

/* 1 to 63 characters that need no quoting in plans, files and figures. */
static enum bg_status check_name(const struct bg_graph *graph, const char *name)
{
    size_t length = name == NULL ? 0 : strlen(name);

    if (length < 1 || length >= BG_NAME_MAX)
        return bg_fail(BG_E_DATA, "a node's name has 1 to %d characters, got %zu", BG_NAME_MAX - 1,
                       length);
    for (const char *c = name; *c != '\0'; c++)
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-", *c) == NULL)
            return bg_fail(BG_E_DATA,
                           "node name \"%s\": only letters, digits, _ . and - may be used", name);
    if (bg_graph_find(graph, name) != NULL)
        return bg_fail(BG_E_DATA, "node name \"%s\" is used twice", name);
    return BG_OK;
}

static int input_count(const struct bg_node_spec *spec)
{
    return spec->op->most_inputs > 0 ? spec->inputs : spec->op->inputs;
}

static enum bg_status check_inputs(const struct bg_graph *graph, const struct bg_node_spec *spec)
{
    int count = input_count(spec), least = spec->op->inputs, most = spec->op->most_inputs;

    if (most > 0 && (count < least || count > most))
        return bg_fail(BG_E_USAGE, "%d inputs: %d to %d are possible", count, least, most);
    for (int i = 0; i < count; i++) {
        const struct bg_node *input = spec->input[i];
        if (input == NULL)
            return bg_fail(BG_E_USAGE, "input %d is missing", i + 1);
        if (input->graph != graph)
            return bg_fail(BG_E_USAGE, "input %s belongs to another graph", input->name);
    }
    if (graph->loss != NULL)
        return bg_fail(BG_E_USAGE, "the graph already ends with the loss %s", graph->loss->name);
    return BG_OK;
}

enum bg_status bg_node_begin(struct bg_graph *graph, const struct bg_node_spec *spec,
                             struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_node *node = NULL;
    void *attributes = NULL;

    *out = NULL;
    rc = check_name(graph, spec->name);
    if (rc != BG_OK) {
        (void)bg_fail_prefix(rc, "%s: ", spec->op->name);
        return rc;
    }
    TRY(check_inputs(graph, spec));
    TRY(bg_arena_alloc(graph->arena, &node, 1, sizeof *node));
    *node = (struct bg_node){.op = spec->op,
                             .graph = graph,
                             .index = graph->nodes,
                             .layer = (spec->op->flags & BG_OP_LAYER) != 0 ? graph->layers : -1,
                             .inputs = input_count(spec)};
    memcpy(node->input, spec->input, sizeof node->input);
    TRY(bg_text_copy(node->name, sizeof node->name, spec->name));
    if (spec->attributes_size > 0) {
        TRY(bg_arena_alloc(graph->arena, &attributes, 1, spec->attributes_size));
        memcpy(attributes, spec->attributes, spec->attributes_size);
        node->attributes = attributes;
    }
    TRY(spec->op->infer(node));
    TRY(bg_shape_check(&node->shape, "output"));
    *out = node;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s %s: ", spec->op->name, spec->name);
    return rc;
}

/* Room for one more node and layer, so that entering the graph cannot fail half-way. */
static enum bg_status reserve(struct bg_graph *graph)
{
    enum bg_status rc = BG_OK;

    if (graph->nodes == graph->node_room) {
        TRY(bg_grow(&graph->node, graph->nodes, 2 * graph->nodes + 16, sizeof(struct bg_node *)));
        graph->node_room = 2 * graph->nodes + 16;
    }
    if (graph->layers == graph->layer_room) {
        TRY(bg_grow(&graph->layer, graph->layers, 2 * graph->layers + 16,
                    sizeof(struct bg_node *)));
        graph->layer_room = 2 * graph->layers + 16;
    }
out:
    return rc;
}

enum bg_status bg_node_end(struct bg_node *node, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = node->graph;

    *out = NULL;
    TRY(reserve(graph));
    TRY(bg_graph_reserve_params(graph, graph->params + node->params));
    for (int i = 0; i < node->params; i++)
        graph->param[graph->params++] = node->param[i];
    graph->node[graph->nodes++] = node;
    if (node->layer >= 0)
        graph->layer[graph->layers++] = node;
    if ((node->op->flags & BG_OP_LOSS) != 0)
        graph->loss = node;
    *out = node;
out:
    return rc;
}

enum bg_status bg_node_add_plain(struct bg_graph *graph, const struct bg_node_spec *spec,
                                 struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_node *node = NULL;

    *out = NULL;
    TRY(bg_node_begin(graph, spec, &node));
    TRY(bg_node_end(node, out));
out:
    return rc;
}

int bg_graph_node_count(const struct bg_graph *graph)
{
    return graph->nodes;
}

struct bg_node *bg_graph_node(const struct bg_graph *graph, int index)
{
    return graph->node[index];
}

struct bg_node *bg_graph_find(const struct bg_graph *graph, const char *name)
{
    for (int i = 0; i < graph->nodes; i++)
        if (strcmp(graph->node[i]->name, name) == 0)
            return graph->node[i];
    return NULL;
}

const char *bg_node_name(const struct bg_node *node)
{
    return node->name;
}

const char *bg_node_op(const struct bg_node *node)
{
    return node->op->name;
}

const struct bg_shape *bg_node_shape(const struct bg_node *node)
{
    return &node->shape;
}

int bg_node_input_count(const struct bg_node *node)
{
    return node->inputs;
}

struct bg_node *bg_node_input_at(const struct bg_node *node, int index)
{
    return node->input[index];
}

int bg_node_layer(const struct bg_node *node)
{
    return node->layer;
}

int64_t bg_node_macs(const struct bg_node *node)
{
    return node->op->macs == NULL ? 0 : node->op->macs(node);
}

bool bg_graph_is_integer(const struct bg_graph *graph, const char **why)
{
    if (why != NULL)
        *why = graph->emulated;
    return graph->integer;
}

struct bg_node *bg_graph_logits(const struct bg_graph *graph)
{
    return graph->loss == NULL ? NULL : graph->loss->input[0];
}

int bg_graph_layer_count(const struct bg_graph *graph)
{
    return graph->layers;
}

struct bg_node *bg_graph_layer(const struct bg_graph *graph, int layer)
{
    return graph->layer[layer];
}

struct bg_param *bg_graph_layer_weight(const struct bg_graph *graph, int layer)
{
    return graph->layer[layer]->param[0];
}

/* Flatten, dropout and max pool carry the codes of the node that made them. */
const struct bg_node *bg_node_maker(const struct bg_node *node)
{
    while ((node->op->flags & BG_OP_KEEPS_CODES) != 0)
        node = node->input[0];
    return node;
}

struct bg_quantizer *bg_graph_layer_input_quantizer(const struct bg_graph *graph, int layer)
{
    return bg_node_maker(graph->layer[layer]->input[0])->quantizer;
}

int bg_graph_quantizer_count(const struct bg_graph *graph)
{
    return graph->quantizers;
}

struct bg_quantizer *bg_graph_quantizer(const struct bg_graph *graph, int index)
{
    return graph->quantizer[index];
}
