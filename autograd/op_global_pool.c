/* Global average pooling: (H,W,C) to (1,1,C). An average pool whose window is the image. */
#include "autograd/op.h"

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    return bg_pooled_compile(compile, step, false);
}

extern const struct bg_op bg_op_global_pool;
const struct bg_op bg_op_global_pool = {
    .name = "global_pool",
    .flags = BG_OP_POOLS | BG_OP_KEEPS_SIGN,
    .inputs = 1,
    .infer = bg_pooled_infer,
    .compile = compile,
    .forward = bg_pooled_forward,
    .backward = bg_pooled_backward,
    .destroy = bg_pooled_destroy,
    .implementation = bg_pooled_implementation,
};

enum bg_status bg_node_global_pool(struct bg_graph *graph, const char *name, struct bg_node *x,
                                   struct bg_node **out)
{
    struct bg_pool2d window = {.kernel = {1, 1}, .stride = {1, 1}};
    const struct bg_node_spec spec = {.op = &bg_op_global_pool,
                                      .name = name,
                                      .input = {x},
                                      .attributes = &window,
                                      .attributes_size = sizeof window};

    if (x != NULL) {
        window.kernel[0] = x->shape.dims[0];
        window.kernel[1] = x->shape.dims[1];
    }
    return bg_node_add_plain(graph, &spec, out);
}
