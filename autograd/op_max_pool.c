/* Max pooling; padding never wins. Works on codes, so it keeps its input's grid. */
#include "autograd/op.h"

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    return bg_pooled_compile(compile, step, true);
}

const struct bg_op bg_op_max_pool = {
    .name = "max_pool",
    .flags = BG_OP_KEEPS_CODES | BG_OP_KEEPS_SIGN,
    .inputs = 1,
    .infer = bg_pooled_infer,
    .compile = compile,
    .forward = bg_pooled_forward,
    .backward = bg_pooled_backward,
    .destroy = bg_pooled_destroy,
    .implementation = bg_pooled_implementation,
};

enum bg_status bg_node_max_pool(struct bg_graph *graph, const char *name, struct bg_node *x,
                                const struct bg_pool2d *options, struct bg_node **out)
{
    const struct bg_node_spec spec = {.op = &bg_op_max_pool,
                                      .name = name,
                                      .input = {x},
                                      .attributes = options,
                                      .attributes_size = sizeof *options};

    return bg_node_add_plain(graph, &spec, out);
}
