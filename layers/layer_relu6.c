/* Layer type `relu6`: min(max(x, 0), 6). */
#include "layers/net.h"

static const struct bg_option table[] = {{.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    (void)options;
    return bg_node_relu6(graph, name, inputs[0], out);
}

extern const struct bg_layer_type bg_layer_relu6;
const struct bg_layer_type bg_layer_relu6 = {.name = "relu6",
                                             .help = "rectified linear unit with a ceiling of 6",
                                             .options = table,
                                             .options_size = 0,
                                             .inputs = 1,
                                             .build = build};
