/* Flatten: (H,W,C) seen as (1,1,H*W*C). The same memory both ways. */
#include "autograd/op.h"

static enum bg_status infer(struct bg_node *node)
{
    node->shape = (struct bg_shape){3, {1, 1, bg_shape_count(&node->input[0]->shape)}};
    return BG_OK;
}

extern const struct bg_op bg_op_flatten;
const struct bg_op bg_op_flatten = {
    .name = "flatten",
    .flags = BG_OP_VIEW | BG_OP_PASSES_GRADIENT | BG_OP_KEEPS_CODES | BG_OP_KEEPS_SIGN,
    .inputs = 1,
    .infer = infer,
};

enum bg_status bg_node_flatten(struct bg_graph *graph, const char *name, struct bg_node *x,
                               struct bg_node **out)
{
    const struct bg_node_spec spec = {.op = &bg_op_flatten, .name = name, .input = {x}};

    return bg_node_add_plain(graph, &spec, out);
}
