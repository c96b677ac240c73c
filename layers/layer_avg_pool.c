/* Layer type `avg-pool`: the mean of each window, over the elements inside the image. */
#include "layers/build.h"
#include "layers/net.h"

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_pool2d pool = {.kernel = {0, 0}};
    TRY(bg_build_pool(&pool, options, name));
    TRY(bg_node_avg_pool(graph, name, inputs[0], &pool, out));
out:
    return rc;
}

extern const struct bg_layer_type bg_layer_avg_pool;
const struct bg_layer_type bg_layer_avg_pool = {.name = "avg-pool",
                                                .help = "mean of a window",
                                                .options = bg_pool_option_table,
                                                .options_size = sizeof(struct bg_pool_options),
                                                .inputs = 1,
                                                .build = build};
