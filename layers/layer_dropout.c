/* Layer type `dropout`: zeroes values at random in training and scales the others up, so that the
 * mean stays (Srivastava et al., "Dropout", JMLR 2014, in its "inverted" form). */
#include "layers/net.h"

struct dropout_options {
    double probability;
};

static const struct bg_option table[] = {{.key = "probability",
                                          .type = BG_OPT_REAL,
                                          .offset = offsetof(struct dropout_options, probability),
                                          .fallback = "0.5",
                                          .min = 0,
                                          .max = 0.99,
                                          .help = "share of values set to zero in training"},
                                         {.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    const struct dropout_options *o = options;
    return bg_node_dropout(graph, name, inputs[0], o->probability, out);
}

extern const struct bg_layer_type bg_layer_dropout;
const struct bg_layer_type bg_layer_dropout = {.name = "dropout",
                                               .help = "random zeros in training",
                                               .options = table,
                                               .options_size = sizeof(struct dropout_options),
                                               .inputs = 1,
                                               .build = build};
