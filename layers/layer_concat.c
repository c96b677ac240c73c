/* Layer type `concat`: two to four tensors of one height and width side by side along channels. */
#include "layers/net.h"

static const struct bg_option table[] = {{.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    int count = 0;
    (void)options;
    while (inputs[count])
        count++;
    return bg_node_concat(graph, name, inputs, count, out);
}

extern const struct bg_layer_type bg_layer_concat;
const struct bg_layer_type bg_layer_concat = {.name = "concat",
                                              .help = "channels of 2 to 4 layers, from: [a, b]",
                                              .options = table,
                                              .options_size = 0,
                                              .inputs = 2,
                                              .most_inputs = 4,
                                              .build = build};
