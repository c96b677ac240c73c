/* Layer type `add`: the sum of two tensors of one shape (residual branches). */
#include "layers/net.h"

static const struct bg_option table[] = {{.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    (void)options;
    return bg_node_add(graph, name, inputs[0], inputs[1], out);
}

extern const struct bg_layer_type bg_layer_add;
const struct bg_layer_type bg_layer_add = {.name = "add",
                                           .help = "sum of two layers, from: [a, b]",
                                           .options = table,
                                           .options_size = 0,
                                           .inputs = 2,
                                           .build = build};
