/* The graph: what is computed, without batch size, mode or machine. Nodes are created in
 * topological order and never change; the graph owns its parameters and quantizers. A layer is a
 * function node -> node. "Layers" with an index are the weighted ones (convolution, linear), in
 * order of creation: these are what plans, profiles and policies speak of. */
#ifndef BG_AUTOGRAD_GRAPH_H
#define BG_AUTOGRAD_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/method.h"
#include "core/param.h"
#include "core/plan.h"
#include "core/source.h"
#include "core/store.h"
#include "core/tensor.h"

struct bg_graph;
struct bg_node;

BG_MUST enum bg_status bg_graph_create(struct bg_graph **out);
void bg_graph_destroy(struct bg_graph *graph); /* takes NULL */

/* Builders. `name` must be unique in the graph (1..63 characters of [A-Za-z0-9_.-]). Shapes are
 * checked here; a failure names the node: "conv2d conv3: kernel 5x5 does not fit input 3x3 with
 * padding 0". Parameters are made with zero values (gamma and running variance 1);
 * bg_graph_initialise draws weights. All make *out = the new node. */
BG_MUST enum bg_status bg_node_input(struct bg_graph *graph, const char *name,
                                     const struct bg_sample_spec *spec, struct bg_node **out);

struct bg_conv2d {
    int64_t out_channels, kernel[2], stride[2], padding[2], dilation[2], groups;
    bool bias;
};
BG_MUST enum bg_status bg_node_conv2d(struct bg_graph *graph, const char *name, struct bg_node *x,
                                      const struct bg_conv2d *options, struct bg_node **out);
/* Needs a flat input (1,1,C) or any shape: H,W,C are taken as one vector, in this order. */
BG_MUST enum bg_status bg_node_linear(struct bg_graph *graph, const char *name, struct bg_node *x,
                                      int64_t out_features, bool bias, struct bg_node **out);
BG_MUST enum bg_status bg_node_batch_norm(struct bg_graph *graph, const char *name,
                                          struct bg_node *x, double epsilon, double momentum,
                                          struct bg_node **out);
BG_MUST enum bg_status bg_node_relu(struct bg_graph *graph, const char *name, struct bg_node *x,
                                    struct bg_node **out);
/* min(max(x, 0), 6); no gradient at 0 and at 6. */
BG_MUST enum bg_status bg_node_relu6(struct bg_graph *graph, const char *name, struct bg_node *x,
                                     struct bg_node **out);
struct bg_pool2d {
    int64_t kernel[2], stride[2], padding[2];
};
BG_MUST enum bg_status bg_node_max_pool(struct bg_graph *graph, const char *name, struct bg_node *x,
                                        const struct bg_pool2d *options, struct bg_node **out);
BG_MUST enum bg_status bg_node_avg_pool(struct bg_graph *graph, const char *name, struct bg_node *x,
                                        const struct bg_pool2d *options, struct bg_node **out);
BG_MUST enum bg_status bg_node_global_pool(struct bg_graph *graph, const char *name,
                                           struct bg_node *x, struct bg_node **out);
BG_MUST enum bg_status bg_node_add(struct bg_graph *graph, const char *name, struct bg_node *a,
                                   struct bg_node *b, struct bg_node **out);
/* Along channels; 2 to 4 inputs of one height and width. */
BG_MUST enum bg_status bg_node_concat(struct bg_graph *graph, const char *name,
                                      struct bg_node *const *inputs, int count,
                                      struct bg_node **out);
BG_MUST enum bg_status bg_node_flatten(struct bg_graph *graph, const char *name, struct bg_node *x,
                                       struct bg_node **out);
BG_MUST enum bg_status bg_node_dropout(struct bg_graph *graph, const char *name, struct bg_node *x,
                                       double probability, struct bg_node **out);
/* Losses end a graph: exactly one. `x` is (1,1,classes). Mean over the batch; mse compares with the
 * one-hot label, mean over batch and classes. */
BG_MUST enum bg_status bg_node_softmax_cross_entropy(struct bg_graph *graph, const char *name,
                                                     struct bg_node *x, double smoothing,
                                                     struct bg_node **out);
BG_MUST enum bg_status bg_node_mse(struct bg_graph *graph, const char *name, struct bg_node *x,
                                   struct bg_node **out);

/* Reading a graph. Nodes in topological order. Indices must be in range: they are not checked. */
int bg_graph_node_count(const struct bg_graph *graph);
struct bg_node *bg_graph_node(const struct bg_graph *graph, int index);
struct bg_node *bg_graph_find(const struct bg_graph *graph, const char *name); /* or NULL */
const char *bg_node_name(const struct bg_node *node);
const char *bg_node_op(const struct bg_node *node);               /* "conv2d", ... */
const struct bg_shape *bg_node_shape(const struct bg_node *node); /* per sample: rank 3, (H,W,C) */
int bg_node_input_count(const struct bg_node *node);
struct bg_node *bg_node_input_at(const struct bg_node *node, int index);
int bg_node_layer(const struct bg_node *node); /* layer index or -1 */
/* What a node was made with; NULL (0) for nodes of other ops. */
const struct bg_conv2d *bg_node_conv2d_options(const struct bg_node *node);
const struct bg_pool2d *bg_node_pool2d_options(const struct bg_node *node);   /* max, average */
double bg_node_epsilon(const struct bg_node *node);                           /* batch norm */
const struct bg_sample_spec *bg_node_sample_spec(const struct bg_node *node); /* input */
/* Its parameters in order: weight, bias; gamma, beta, running mean, running variance. NULL beyond.
 */
const struct bg_param *bg_node_param_at(const struct bg_node *node, int index);
/* The grid of a node's output, NULL = none. */
const struct bg_quantizer *bg_node_quantizer(const struct bg_node *node);
int64_t bg_node_macs(const struct bg_node *node); /* multiply-accumulates per sample */
struct bg_node *
bg_graph_logits(const struct bg_graph *graph); /* the loss's input; NULL before there is a loss */

/* The graph's loss of `batch` samples' logits (batch x classes), mean, labels in range. */
double bg_graph_loss(const struct bg_graph *graph, const float *logits, const int32_t *labels,
                     int64_t batch);

int bg_graph_layer_count(const struct bg_graph *graph);
struct bg_node *bg_graph_layer(const struct bg_graph *graph, int layer);
struct bg_param *bg_graph_layer_weight(const struct bg_graph *graph, int layer);
/* The quantizer of the tensor that the layer reads, NULL when f32. */
struct bg_quantizer *bg_graph_layer_input_quantizer(const struct bg_graph *graph, int layer);

/* Parameters in order of creation; learned steps come and go with bg_graph_quantize. */
int bg_graph_param_count(const struct bg_graph *graph);
struct bg_param *bg_graph_param(const struct bg_graph *graph, int index);
struct bg_param *bg_graph_param_find(const struct bg_graph *graph, const char *name); /* or NULL */
int bg_graph_quantizer_count(const struct bg_graph *graph);
struct bg_quantizer *bg_graph_quantizer(const struct bg_graph *graph, int index);

/* He-normal weights (fan-in for linear, fan-out for convolution: He et al. 2015), zero biases,
 * gamma 1, beta 0, running mean 0 and variance 1. Drawn per parameter name: adding a layer moves no
 * other layer's draw. */
void bg_graph_initialise(struct bg_graph *graph, uint64_t seed);

/* Weights in integers (core/store.h). Programs need not be made anew: they ask for what is there.
 */
struct bg_hold {
    struct bg_store_spec spec;
    double headroom;   /* of the grid beyond the range of the weights, >= 1 */
    bool power_of_two; /* its steps */
    bool takes_grid;   /* where one is there already its steps may be others */
    bool resumed;      /* the parameter must have such a store already */
};
/* The master becomes a store on a grid of its own, which then stays, or small floats with biases of
 * their own, whose f32 projection is what forward reads; a store of another kind is
 * turned into this one; an equal one is left as it is, unless its grid has not the steps. On
 * failure the parameter is as before. */
BG_MUST enum bg_status bg_param_hold(struct bg_param *param, const struct bg_hold *hold);
/* The store becomes an f32 master again. */
BG_MUST enum bg_status bg_param_release(struct bg_param *param);
/* Takes a store of the parameter's size, bits and channels in place of what it has. */
void bg_param_take_store(struct bg_param *param, struct bg_store *store);

/* Has the plan on the graph an integer model (integer.h)? If not, *why (may be NULL) names the
 * layer: "layer conv1: a=f32 has no integer form"; "" without a plan. */
bool bg_graph_is_integer(const struct bg_graph *graph, const char **why);

/* How ranges are found, by target. */
struct bg_quantize_options {
    const struct bg_range_method *weight_range, *activation_range;
    const void *weight_range_options,
        *activation_range_options;      /* must outlive the graph's use of them */
    enum bg_rounding rounding;          /* of weights and activations in forward: nearest */
    enum bg_rounding gradient_rounding; /* of g and dw on integers: nearest or stochastic */
};

/* Puts the plan on the graph: makes, keeps or drops quantizers. A quantizer whose spec did not
 * change keeps its range. While programs of the graph exist it is refused (BG_E_USAGE). Rules
 * (core/NUMERICS.md, "Where grids stand"):
 *  - a weight with an integer spec gets a quantizer, per channel unless /tensor;
 *  - the tensor a layer reads gets one grid, at the node that makes it: the demand walks back
 *    through flatten, dropout and max pool (which keep codes) to the relu, add, concat, norm, pool,
 *    layer or input that makes the values; every consumer of that node (residual adds too) reads
 * the quantized tensor;
 *  - a node that is asked for a grid asks the same bits of what it is computed from (form.h),
 * unless that is an accumulator or has a grid; so do the logits, of the last layer's bits. What is
 * asked so yields to what a layer asks of the same tensor itself;
 *  - raw-byte inputs at 8 bits have the fixed grid of bg_sample_spec;
 *  - unsigned with zero point 0 where the values cannot be negative, else affine;
 *  - 1-bit activations need a tensor that cannot be negative: BG_E_UNSUPPORTED otherwise;
 *  - g and dw put gradients of training programs on grids of 2 to 16 bits, or on bf16; no other
 *    quantizer depends on them;
 *  - a plan of 1 to 8 bits everywhere must have an integer model (integer.h): an accumulator that
 *    could overflow, a value without an integer form are refused here. Any other plan is emulated
 *    in f32 and may name no requant but f32-rne;
 *  - two layers that ask for different bits of one tensor, f32 included, or two that do through
 *    pools and adds: BG_E_DATA with both names;
 *  - an unknown layer name, or a layer of the graph missing in the plan: BG_E_DATA with the nearest
 *    name.
 * A NULL plan drops everything (f32; `options` is not read). On failure the graph is as before. */
BG_MUST enum bg_status bg_graph_quantize(struct bg_graph *graph, const struct bg_plan *plan,
                                         const struct bg_quantize_options *options);

#endif
