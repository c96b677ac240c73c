/* Network `mlp`: linear layers with relu between them. Names: fc1, fc1.bn, relu1, drop1, fc2, ...;
 * the last linear layer gives the logits. */
#include <stdio.h>

#include "layers/build.h"
#include "layers/net.h"

struct mlp_options {
    struct bg_int_list hidden;
    bool batch_norm;
    double dropout;
};

static const struct bg_option table[] = {
    {.key = "hidden",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct mlp_options, hidden),
     .fallback = "[512, 512]",
     .min = 1,
     .max = 1 << 20,
     .help = "features of the hidden layers; [] = one linear layer"},
    {.key = "batch_norm",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct mlp_options, batch_norm),
     .fallback = "false",
     .help = "batch norm after each hidden layer"},
    {.key = "dropout",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct mlp_options, dropout),
     .fallback = "0",
     .min = 0,
     .max = 0.99,
     .help = "dropout after each hidden layer; 0 = none"},
    {.key = NULL}};

static enum bg_status build_hidden(struct bg_graph *graph, const struct mlp_options *o, int index,
                                   struct bg_node *x, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    char fc[BG_NAME_MAX], relu[BG_NAME_MAX], drop[BG_NAME_MAX];
    snprintf(fc, sizeof fc, "fc%d", index + 1);
    snprintf(relu, sizeof relu, "relu%d", index + 1);
    snprintf(drop, sizeof drop, "drop%d", index + 1);
    const struct bg_unit unit = {.name = fc, .relu = relu, .batch_norm = o->batch_norm};
    TRY(bg_build_linear(graph, &unit, x, o->hidden.at[index], &x));
    if (o->dropout > 0)
        TRY(bg_node_dropout(graph, drop, x, o->dropout, &x));
    *out = x;
out:
    return rc;
}

static enum bg_status build(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX])
{
    enum bg_status rc = BG_OK;
    const struct mlp_options *o = options;
    struct bg_node *x = input;
    for (int i = 0; i < o->hidden.count; i++)
        TRY(build_hidden(graph, o, i, x, &x));
    char fc[BG_NAME_MAX];
    snprintf(fc, sizeof fc, "fc%d", o->hidden.count + 1);
    TRY(bg_node_linear(graph, fc, x, classes, true, out));
    snprintf(title, BG_NAME_MAX, "mlp");
out:
    return rc;
}

extern const struct bg_net_type bg_net_mlp;
const struct bg_net_type bg_net_mlp = {.name = "mlp",
                                       .help = "linear layers with relu between them",
                                       .source = "common practice",
                                       .options = table,
                                       .options_size = sizeof(struct mlp_options),
                                       .build = build};
