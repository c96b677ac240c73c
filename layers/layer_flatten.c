/* Layer type `flatten`: takes H,W,C as one vector, in this order. */
#include "layers/net.h"

static const struct bg_option table[] = {{.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    (void)options;
    return bg_node_flatten(graph, name, inputs[0], out);
}

extern const struct bg_layer_type bg_layer_flatten;
const struct bg_layer_type bg_layer_flatten = {.name = "flatten",
                                               .help = "one vector per sample",
                                               .options = table,
                                               .options_size = 0,
                                               .inputs = 1,
                                               .build = build};
