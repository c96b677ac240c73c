/* Layer type `global-pool`: the mean of each channel over all positions. */
#include "layers/net.h"

static const struct bg_option table[] = {{.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    (void)options;
    return bg_node_global_pool(graph, name, inputs[0], out);
}

extern const struct bg_layer_type bg_layer_global_pool;
const struct bg_layer_type bg_layer_global_pool = {.name = "global-pool",
                                                   .help = "mean over height and width",
                                                   .options = table,
                                                   .options_size = 0,
                                                   .inputs = 1,
                                                   .build = build};
