/* Inside autograd: what an op is, and the nodes, graphs and steps it works on. Nothing outside
 * autograd/ includes this file but tests.
 *
 * One op per file: autograd/op_<name>.c defines `const struct bg_op bg_op_<name>` and the node
 * builder of graph.h. A graph holds nodes (what is computed); a program holds steps (how): a step
 * is one run of an op with bound buffers, and may stand for several nodes (fusion). Batches are the
 * first dimension of every step's tensors; shapes of nodes are per sample (H,W,C). */
#ifndef BG_AUTOGRAD_OP_H
#define BG_AUTOGRAD_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/graph.h"
#include "autograd/program.h"
#include "core/dnn.h"
#include "core/gradient.h"
#include "core/requant.h"

#define BG_OP_INPUTS 4
#define BG_OP_PARAMS 4

struct bg_op;

/* Facts about an op. Steps start with their op's facts; compile may change those marked (s), for a
 * mode or for the reference compute. */
enum bg_op_flag {
    BG_OP_READS_INPUT = 1,        /* (s) backward reads the values of its inputs */
    BG_OP_READS_OUTPUT = 2,       /* (s) backward reads its output */
    BG_OP_PASSES_GRADIENT = 4,    /* (s) every input's gradient is the output's: no backward call */
    BG_OP_VIEW = 8,               /* (s) the output is the input's memory: no forward call */
    BG_OP_FORWARD_IN_PLACE = 16,  /* (s) the output may be written over an input */
    BG_OP_BACKWARD_IN_PLACE = 32, /* (s) d_in[0] may be the memory of d_out */
    BG_OP_LAYER = 64,             /* weighted: has a layer index; params[0] is its weight */
    BG_OP_LOSS = 128,
    BG_OP_KEEPS_CODES = 256,   /* the output holds values of the input's grid */
    BG_OP_POOLS = 512,         /* averages: a grid of its own, and asks one of its input */
    BG_OP_NON_NEGATIVE = 1024, /* the output cannot be negative */
    BG_OP_KEEPS_SIGN = 2048    /* the output cannot be negative when no input can */
};

struct bg_node {
    const struct bg_op *op;
    struct bg_graph *graph;
    char name[BG_NAME_MAX];
    int index, layer; /* layer: -1 = none */
    struct bg_shape shape;
    int inputs, params;
    struct bg_node *input[BG_OP_INPUTS];
    struct bg_param *param[BG_OP_PARAMS];
    const void *attributes;         /* the op's own struct, in the graph's memory */
    struct bg_quantizer *quantizer; /* of the output, owned by the graph; NULL = f32 */
    /* Layers: of gradients of output and weight, as the plan says. */
    struct bg_gradient_grid out_gradient, weight_gradient;
};

/* A parameter with what autograd keeps about it. `serial` names what the grid makes of the value
 * (without a grid, the value): programs compare it with what they packed. param.forward holds it
 * only while projected == serial. */
struct bg_model_param {
    struct bg_param param;    /* first: bg_model_param() casts back */
    uint64_t serial;          /* rises with every change of what the grid makes of the value */
    uint64_t seen, seen_step; /* versions of value and learned step that the grid was fitted to */
    uint64_t projected;       /* serial that forward holds */
    bool grad_finite;         /* who wrote grad in this backward has looked */
    struct bg_model_param *next; /* weights: the graph's list of those with memory of their own */
};

static inline struct bg_model_param *bg_model_param(struct bg_param *param)
{
    return (struct bg_model_param *)(void *)param;
}

struct bg_graph {
    struct bg_arena *arena; /* nodes, attributes, parameters; not quantizers and learned steps */
    int nodes, params, layers, quantizers;
    int node_room, param_room, layer_room;
    int programs;                   /* that exist: quantizers cannot change under them */
    struct bg_model_param *weights; /* value, state and store are on the heap: they come and go */
    struct bg_node **node;
    struct bg_param **param;
    struct bg_node **layer;
    struct bg_quantizer **quantizer; /* per layer its input's, then its weight's; then others */
    struct bg_node *loss;
    bool integer; /* the plan on it has an integer model, requantised so: */
    enum bg_requant_mode requant;
    char emulated[256]; /* why not */
};

/* Where an input's gradient of a step goes. */
enum bg_edge {
    BG_EDGE_NONE,      /* nobody needs it */
    BG_EDGE_WRITE,     /* first writer: straight into the value's gradient */
    BG_EDGE_ADD,       /* later writer: into a temporary that is then added */
    BG_EDGE_ALIAS,     /* passed on: the value's gradient is d_out's memory */
    BG_EDGE_COPY,      /* passed on, first, but the memory cannot be shared */
    BG_EDGE_ACCUMULATE /* passed on: d_out is added to the value's gradient */
};

struct bg_step {
    const struct bg_op *op;
    const struct bg_node *node;      /* whose parameters and attributes it uses */
    const struct bg_node *result;    /* whose value it makes: another than `node` when fused */
    unsigned flags;                  /* bg_op_flag, as they hold for this step */
    bool relu;                       /* a relu is fused behind (batch norm) */
    bool bypass;                     /* quantize: the last forward passed values through */
    bool needs_gradient;             /* its output's gradient is computed */
    int inputs, input[BG_OP_INPUTS]; /* the steps that make the inputs */
    enum bg_edge edge[BG_OP_INPUTS];

    /* Bound after memory planning; data is NULL where there is none. */
    struct bg_tensor in[BG_OP_INPUTS], out;
    struct bg_tensor d_in[BG_OP_INPUTS];  /* what backward writes (BG_EDGE_ADD: the temporary) */
    struct bg_tensor d_sum[BG_OP_INPUTS]; /* the gradient of the input value */
    struct bg_tensor d_out;
    void *saved;
    void *scratch; /* shared by all steps: nothing in it outlives a call */

    /* Filled by compile. */
    int64_t saved_bytes;   /* lives from forward to backward */
    int64_t scratch_bytes; /* for one call, forward and backward alike */
    void *state; /* the op's own, in the program's arena; destroy frees what hangs on it */
};

/* What compile may know and ask. */
struct bg_compile {
    struct bg_arena *arena;
    enum bg_compute compute;
    bool train;
    int64_t batch;
    bool need_dx; /* the step's input needs a gradient */
    bool codes;   /* layers run on codes where they can (coded.h) */
};

/* What forward and backward may know. */
struct bg_run {
    const struct bg_run_moment *moment;
    const struct bg_batch *batch; /* forward alone */
    const int32_t *labels;        /* the program's copy */
    double *loss;
    enum bg_compute compute;
    bool train;
};

struct bg_op {
    const char *name;
    unsigned flags;
    int inputs;
    int most_inputs; /* when not 0: any number from `inputs` to this, as the node's spec says */
    /* Checks inputs and attributes and sets node->shape. Sentences need not name the node. */
    enum bg_status (*infer)(struct bg_node *node);
    /* Multiply-accumulates per sample; NULL = none. */
    int64_t (*macs)(const struct bg_node *node);
    /* Makes primitives, sets the step's memory needs and flags; NULL = nothing to do. On failure
     * destroy is still called. */
    enum bg_status (*compile)(const struct bg_compile *compile, struct bg_step *step);
    enum bg_status (*forward)(struct bg_step *step, const struct bg_run *run);
    enum bg_status (*backward)(struct bg_step *step, const struct bg_run *run);
    void (*destroy)(struct bg_step *step); /* NULL = nothing to free; state may be NULL */
    /* Losses: of one sample's logits. */
    double (*sample_loss)(const struct bg_node *node, const float *x, int64_t classes,
                          int32_t label);
    /* Names the primitives' implementations; NULL = runs none. */
    void (*implementation)(const struct bg_step *step, struct bg_implementation *out);
};

extern const struct bg_op *const bg_ops[]; /* NULL-terminated, generated */
extern const struct bg_op bg_op_avg_pool, bg_op_batch_norm, bg_op_concat, bg_op_conv2d, bg_op_input,
    bg_op_max_pool, bg_op_quantize, bg_op_relu, bg_op_relu6;

/* Attributes of batch norm. Those of the input, of convolutions and of pools with a window are the
 * structs that graph.h takes. */
struct bg_batch_norm {
    double epsilon, momentum;
};

/* For builders. A node begins with bg_node_begin (name checked, attributes copied, shape inferred),
 * takes parameters, and enters the graph with bg_node_end; a failure before that leaves the graph
 * as it was. */
struct bg_node_spec {
    const struct bg_op *op;
    const char *name;
    struct bg_node *input[BG_OP_INPUTS];
    int inputs; /* read for ops that take any number of inputs */
    const void *attributes;
    size_t attributes_size;
};
BG_MUST enum bg_status bg_node_begin(struct bg_graph *graph, const struct bg_node_spec *spec,
                                     struct bg_node **out);
/* Adds "<node>.<suffix>" of this shape, all elements `value`. */
BG_MUST enum bg_status bg_node_param(struct bg_node *node, const char *suffix,
                                     enum bg_param_kind kind, const struct bg_shape *shape,
                                     float value);
BG_MUST enum bg_status bg_node_end(struct bg_node *node, struct bg_node **out);
/* All of it, for ops without parameters. */
BG_MUST enum bg_status bg_node_add_plain(struct bg_graph *graph, const struct bg_node_spec *spec,
                                         struct bg_node **out);

/* graph_store.c: values, states and stores of all weights, also of nodes that never entered. */
void bg_graph_free_weights(struct bg_graph *graph);
/* By enum bg_store_form: the method whose weights live so (nearest and stochastic keep residuals
 * without bits, of which there is nothing to carry). */
extern const char *const bg_store_methods[];
/* Has a layer what its line's update method moves? */
BG_MUST enum bg_status bg_param_check_update(const struct bg_plan_layer *layer);
/* Puts what the plan says (NULL: nothing) into the layer's weight. */
void bg_param_note_update(const struct bg_node *layer, const struct bg_plan *plan);
/* Does the weight keep its store under a plan that says this of its layer? */
bool bg_param_keeps_store(const struct bg_param *param, const struct bg_plan_layer *layer);
/* graph_carry.c: does the plan ask for the store's method in other widths? */
struct bg_quantizer_spec;
bool bg_param_carries(const struct bg_param *param, const struct bg_plan_layer *line,
                      const struct bg_quantizer_spec *wanted);
/* A store in these widths and its grid, into a new quantizer of theirs; values as they are. */
BG_MUST enum bg_status bg_param_carry(const struct bg_param *param,
                                      const struct bg_plan_layer *line, struct bg_quantizer *to,
                                      struct bg_store **out);
/* The same in place, where the weight's bits stay: other bits below, another momentum. */
bool bg_store_can_become(const struct bg_store *store, const struct bg_store_spec *want);
BG_MUST enum bg_status bg_param_become(struct bg_param *param, const struct bg_store_spec *want);
/* Memory of a projection, for programs that read f32. */
BG_MUST enum bg_status bg_param_make_forward(struct bg_param *param);

/* graph_param.c: the list of parameters, which learned steps enter and leave. */
BG_MUST enum bg_status bg_graph_reserve_params(struct bg_graph *graph, int count);
/* Fills a zeroed bg_model_param whose four tensors' data the caller has allocated. */
BG_MUST enum bg_status bg_model_param_set(struct bg_model_param *out, const char *owner,
                                          const char *suffix, enum bg_param_kind kind,
                                          const struct bg_shape *shape);

/* graph.c: the node whose grid a node's output is on: itself, or behind flatten, dropout and max
 * pool the node that makes the values. */
const struct bg_node *bg_node_maker(const struct bg_node *node);

/* A quantizer with what autograd keeps about it. */
struct bg_model_quantizer {
    struct bg_quantizer quantizer; /* first: callers outside know this part */
    float *forward;                /* weights: memory of param->forward */
    bool non_negative;             /* activations: no value is, whatever lo says */
};

/* quantize_make.c */
struct bg_quantizer_spec {
    enum bg_quantizer_target target;
    struct bg_spec spec;
    const char *name;
    int layer;           /* that asks for it */
    int64_t channels, n; /* n: elements per channel (per sample for activations) */
    bool non_negative;   /* activations */
    const struct bg_range_method *range;
    const void *range_options;
    enum bg_rounding rounding;
};
BG_MUST enum bg_status bg_quantizer_make(const struct bg_quantizer_spec *spec,
                                         struct bg_quantizer **out);
void bg_quantizer_free(struct bg_quantizer *quantizer); /* with its learned step; takes NULL */

/* quantize_demand.c: who asks for which grid at a node. */
struct bg_demand {
    struct bg_spec spec;
    int layer;   /* the layer that asks, -1 = nobody */
    bool direct; /* asked by a layer that reads the node, not by a pool or an add on the way */
};
/* demand[node] for every node of the graph; the plan has every layer (BG_E_DATA otherwise). */
BG_MUST enum bg_status bg_demand_collect(const struct bg_graph *graph, const struct bg_plan *plan,
                                         struct bg_demand *demand);
/* out[node] = the node's values cannot be negative. */
void bg_graph_non_negative(const struct bg_graph *graph, bool *out);

/* quantize_range.c: activations. Brings the grid up to date with its range (or learned step);
 * BG_E_USAGE when it has none yet. */
BG_MUST enum bg_status bg_quantizer_refit(struct bg_quantizer *quantizer);
/* Folds one batch into the range; the first starts a learned step. */
BG_MUST enum bg_status bg_quantizer_observe(struct bg_quantizer *quantizer, const float *x,
                                            int64_t n);
/* Puts the values of a learned step into the grid, each at least BG_STEP_FLOOR (the parameter is
 * raised to it too: a step that gradients drove to zero or below can recover). */
#define BG_STEP_FLOOR 1e-8f
BG_MUST enum bg_status bg_quantizer_take_steps(struct bg_quantizer *quantizer);
/* LSQ's gradient scale, 1 / sqrt(n * qmax). */
double bg_quantizer_step_scale(const struct bg_quantizer *quantizer);

/* quantize_weights.c. Brings param->forward up to date with its value, range and grid. */
BG_MUST enum bg_status bg_param_refresh(struct bg_param *param);
/* Brings codes and packed layouts of a sink up to date instead, threaded over rows, and makes it
 * the parameter's. Fills in the sink's functions but pack. */
BG_MUST enum bg_status bg_param_encode(struct bg_param *param, struct bg_sink *sink);
/* Turns dLoss/d(forward) in param->grad into dLoss/d(value), and fills the learned step's. */
void bg_param_straight_through(struct bg_param *param);

/* Shapes of layers and pools for a batch size, the output's not yet inferred. */
struct bg_conv_shape bg_conv2d_shape(const struct bg_node *node, int64_t batch);
struct bg_conv_shape bg_linear_shape(const struct bg_node *node, int64_t batch);
struct bg_pool_shape bg_pooled_shape(const struct bg_node *node, int64_t batch);

/* weighted.c: what convolution and linear share. */
BG_MUST enum bg_status bg_weighted_compile(const struct bg_compile *compile, struct bg_step *step,
                                           const struct bg_conv_shape *shape);
BG_MUST enum bg_status bg_weighted_forward(struct bg_step *step, const struct bg_run *run);
BG_MUST enum bg_status bg_weighted_backward(struct bg_step *step, const struct bg_run *run);
void bg_weighted_destroy(struct bg_step *step);
void bg_weighted_implementation(const struct bg_step *step, struct bg_implementation *out);
bool bg_weighted_is_coded(const struct bg_step *step); /* runs on codes (coded.h) */
/* The first part of backward: the output's gradient as the layer's own passes read it, on the
 * plan's grid. *seen is that in f32, for observers, until the next step. */
BG_MUST enum bg_status bg_weighted_take_gradient(struct bg_step *step, const struct bg_run *run,
                                                 const struct bg_tensor **seen);

/* weighted.c: puts the gradient of a layer's weight onto the plan's grid. */
void bg_round_weight_gradient(const struct bg_node *layer, const struct bg_run *run);
/* Draws of rounding a layer's gradients; `name` is the layer's or its weight's. */
struct bg_rng bg_gradient_rng(const char *name, const struct bg_run *run);

/* op_dropout.c: what training multiplies kept values by; 1 for nodes of other ops. */
float bg_dropout_factor(const struct bg_node *node);

/* pooled.c: what max and average pooling share. */
BG_MUST enum bg_status bg_pooled_infer(struct bg_node *node);
BG_MUST enum bg_status bg_pooled_compile(const struct bg_compile *compile, struct bg_step *step,
                                         bool max);
BG_MUST enum bg_status bg_pooled_forward(struct bg_step *step, const struct bg_run *run);
BG_MUST enum bg_status bg_pooled_backward(struct bg_step *step, const struct bg_run *run);
void bg_pooled_destroy(struct bg_step *step);
void bg_pooled_implementation(const struct bg_step *step, struct bg_implementation *out);

#endif
