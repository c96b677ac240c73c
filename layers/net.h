/* bg_net: a network from a recipe: graph, layer names, costs. */
#ifndef BG_LAYERS_NET_H
#define BG_LAYERS_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/graph.h"
#include "core/options.h"
#include "core/plan.h"

struct bg_net {
    struct bg_graph *graph;
    char name[BG_NAME_MAX]; /* "resnet20", or "custom" for an inline list */
    struct bg_sample_spec input;
    struct bg_node *output; /* logits */
};

/* A layer type: layers/layer_<name>.c defines one const table. Options come from the recipe. */
struct bg_layer_type {
    const char *name, *help; /* "conv", "batch-norm" */
    const struct bg_option *options;
    size_t options_size;
    int inputs;      /* 1, or 2 for add */
    int most_inputs; /* when not 0: any number from `inputs` to this (at most 4) */
    /* `inputs`: as many nodes as the recipe names, then NULL. */
    enum bg_status (*build)(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out);
};

/* A named network: layers/net_<name>.c defines one const table. */
struct bg_net_type {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    enum bg_status (*build)(struct bg_graph *graph, const void *options, struct bg_node *input,
                            int classes, struct bg_node **out, char title[BG_NAME_MAX]);
};

extern const struct bg_layer_type
    *const bg_layer_types[]; /* NULL-terminated, generated, sorted by file name */
extern const struct bg_net_type *const bg_net_types[];

enum bg_loss { BG_LOSS_CROSS_ENTROPY, BG_LOSS_MSE };

/* Builds from the recipe's `network` section: `{name: resnet, depth: 20}` or
 * `{layers: [{conv: {name: conv1, out: 16, kernel: 3, from: input}}, {relu: {}}, ...]}`; `from`
 * names earlier layers, default the one before; unnamed layers are called by type and number
 * ("relu2"; "relu6-2", as the type ends with a digit). A type without options may be a bare word
 * (`relu`). The last layer must give `classes` values. Adds the loss. Recipe errors are appended to
 * `errors` (all of them) and BG_E_DATA returned; shape errors name the layer and carry
 * file:line:col. A NULL `section` is an error. */
BG_MUST enum bg_status bg_net_create(struct bg_net **out, const struct bg_yaml *section,
                                     const struct bg_sample_spec *input, enum bg_loss loss,
                                     double smoothing, struct bg_text *errors);
void bg_net_destroy(struct bg_net *net); /* takes NULL */
/* The section with every default filled in, as YAML, for the resolved recipe. */
BG_MUST enum bg_status bg_net_print_section(const struct bg_yaml *section, int indent,
                                            struct bg_text *out, struct bg_text *errors);

/* Per-layer and total costs under a plan (NULL = f32). Parameters are weights, biases, gamma and
 * beta; running statistics and learned steps are not counted (cost.c says why). A norm counts with
 * the layer in front of it, if there is one. Sizes: weights at their bits, biases and norms at 32
 * bits. BOPs per sample. hawq: macs * b_w * b_a. detailed: MACs * (b_w*b_a + b_w + b_a
 * + log2(n*k*k)), n = input channels per group (Baskin et al.). */
struct bg_layer_cost {
    int64_t weights, macs, other_params;
    int weight_bits, activation_bits;
    double bytes, bops_hawq, bops_detailed;
};
struct bg_net_cost {
    int layers;
    struct bg_layer_cost *layer;
    double bytes, bops_hawq, bops_detailed,
        mean_weight_bits; /* mean over weights of conv and linear */
    int64_t params, macs;
};
/* BG_E_MISMATCH when the plan lacks a layer. Free with bg_net_cost_free; on failure *out is zeroed.
 */
BG_MUST enum bg_status bg_net_cost(const struct bg_net *net, const struct bg_plan *plan,
                                   struct bg_net_cost *out);
void bg_net_cost_free(struct bg_net_cost *cost);

/* The table users see: layer, type, output shape, parameters, MACs, bits (w/a). Where bg_net_cost
 * fails, its sentence stands instead. */
void bg_net_print_table(const struct bg_net *net, const struct bg_plan *plan, struct bg_text *out);

/* A plan for this net: every layer at (weight_bits, activation_bits), 0 = f32; weights per channel.
 * Free with bg_plan_free. BG_E_RANGE outside 0..BG_BITS_MAX. */
BG_MUST enum bg_status bg_net_plan(const struct bg_net *net, int weight_bits, int activation_bits,
                                   struct bg_plan *out);

/* State in files (core/h5). Saves all parameters (value and optimizer state), all quantizers, under
 * "model/". Load checks names and shapes first: on failure nothing has changed. Quantizers are
 * restored for those the graph has now (apply the plan first). */
struct bg_h5;
BG_MUST enum bg_status bg_net_save(const struct bg_net *net, struct bg_h5 *file);
BG_MUST enum bg_status bg_net_load(struct bg_net *net, struct bg_h5 *file);
/* Initial weights from foreign files, by extension: .npz with arrays named as parameters
 * ("conv1.weight" O,H,W,I; ours) or a checkpoint .h5. Every array must match a parameter;
 * parameters without an array keep their initial value and are logged. */
BG_MUST enum bg_status bg_net_load_weights(struct bg_net *net, const char *path);

/* A copy in memory of all parameter values, optimizer states and quantizer states, to go back to.
 */
struct bg_snapshot;
BG_MUST enum bg_status bg_net_snapshot(const struct bg_net *net, struct bg_snapshot **out);
/* Values are matched by name; quantizers of the same name and spec are restored, others left alone.
 */
BG_MUST enum bg_status bg_net_restore(struct bg_net *net, const struct bg_snapshot *snapshot);
void bg_snapshot_free(struct bg_snapshot *snapshot);

#endif
