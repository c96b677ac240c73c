/* Layer type `batch-norm`: normalises each channel over the batch, then scales and shifts it
 * (Ioffe and Szegedy, "Batch Normalization", ICML 2015). */
#include "layers/build.h"
#include "layers/net.h"

struct norm_options {
    double epsilon, momentum;
};

static const struct bg_option table[] = {
    {.key = "epsilon",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct norm_options, epsilon),
     .fallback = "1e-05",
     .min = 1e-12,
     .max = 1,
     .help = "added to the variance"},
    {.key = "momentum",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct norm_options, momentum),
     .fallback = "0.1",
     .min = 0,
     .max = 1,
     .help = "share of the newest batch in the running statistics"},
    {.key = NULL}};

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    const struct norm_options *o = options;
    return bg_node_batch_norm(graph, name, inputs[0], o->epsilon, o->momentum, out);
}

extern const struct bg_layer_type bg_layer_batch_norm;
const struct bg_layer_type bg_layer_batch_norm = {.name = "batch-norm",
                                                  .help = "batch normalisation per channel",
                                                  .options = table,
                                                  .options_size = sizeof(struct norm_options),
                                                  .inputs = 1,
                                                  .build = build};
