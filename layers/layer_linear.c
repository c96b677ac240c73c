/* Layer type `linear`: every output sees every input; images are read as one vector in H,W,C order.
 */
#include "layers/net.h"

struct linear_options {
    int64_t out;
    bool bias;
};

static const struct bg_option table[] = {{.key = "out",
                                          .type = BG_OPT_INT,
                                          .offset = offsetof(struct linear_options, out),
                                          .min = 1,
                                          .max = 1 << 20,
                                          .help = "output features"},
                                         {.key = "bias",
                                          .type = BG_OPT_BOOL,
                                          .offset = offsetof(struct linear_options, bias),
                                          .fallback = "true",
                                          .help = "add a value per output"},
                                         {.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    const struct linear_options *o = options;
    return bg_node_linear(graph, name, inputs[0], o->out, o->bias, out);
}

extern const struct bg_layer_type bg_layer_linear;
const struct bg_layer_type bg_layer_linear = {.name = "linear",
                                              .help = "fully connected layer",
                                              .options = table,
                                              .options_size = sizeof(struct linear_options),
                                              .inputs = 1,
                                              .build = build};
