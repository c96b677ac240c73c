/* A program: a graph compiled for one batch size, mode and the quantizers it has now. Creation
 * plans memory by liveness, makes primitives and binds buffers; running it allocates nothing. */
#ifndef BG_AUTOGRAD_PROGRAM_H
#define BG_AUTOGRAD_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/graph.h"
#include "core/profile.h"
#include "core/source.h"
#include "core/train_kernel.h"

struct bg_program;

enum bg_mode {
    BG_MODE_TRAIN,
    BG_MODE_EVAL
}; /* eval: forward alone, running statistics, no dropout */
enum bg_compute {
    BG_COMPUTE_EXACT,     /* f32 through oneDNN and core/kernel */
    BG_COMPUTE_REFERENCE, /* f32 results from the naive references */
    BG_COMPUTE_FAST /* training in 1 to 8 bits on codes and bf16: the whole network (fast.h) where
                       graph and plan allow, else the layers that can (coded.h), the rest exact */
};

struct bg_program_options {
    int64_t batch;
    enum bg_mode mode;
    enum bg_compute compute;
    bool observe;     /* train: the first layer's input gradient is computed too, for observers */
    bool keep_values; /* no memory is shared and no steps are fused: bg_program_value works for
                         every node. For tests and reports */
};

/* The graph needs a loss, and every node must reach it. While a program exists its graph must not
 * be destroyed and bg_graph_quantize refuses. */
BG_MUST enum bg_status bg_program_create(struct bg_program **out, struct bg_graph *graph,
                                         const struct bg_program_options *options);
void bg_program_destroy(struct bg_program *program); /* takes NULL */

/* Called in the backward pass for each layer and quantity as soon as the gradient exists:
 * `gradient` is dLoss/d(layer input) before branch sums (rank 4, N,H,W,C), dLoss/dW (O,H,W,I;
 * linear: O,I) behind the straight-through mask of a quantized weight, or dLoss/d(layer output).
 * Must not allocate or keep the pointer. The first layer's input gradient is seen only by programs
 * made with `observe`. */
struct bg_observer {
    void *self;
    void (*see)(void *self, int layer, enum bg_quantity quantity, const struct bg_tensor *gradient);
    /* Gradients that a fast program has as bf16, each value to be times its channel's factor: x,
     * rows, channels, factor and scratch are set (core/train_kernel.h). NULL: they are converted
     * for `see`. */
    void (*see_bf16)(void *self, int layer, enum bg_quantity quantity,
                     const struct bg_train_observe *gradient);
};

enum bg_run_flag {
    BG_RUN_UPDATE_BN = 1, /* train: running statistics move */
    BG_RUN_OBSERVE =
        2, /* activation quantizers fold this batch into their range (after quantizing with the old
              one; a quantizer without any range takes this batch's first) */
    BG_RUN_BYPASS = 4, /* quantizers of activations pass values through (calibration) */
    BG_RUN_FROZEN = 8  /* train, never fast: batch norm uses its running statistics and dropout
                          passes values, so that gradients are those of the evaluated network and
                          the samples of a batch do not depend on each other */
};

struct bg_run_moment {
    unsigned flags;
    uint64_t seed, step;                /* dropout, stochastic rounding */
    double bn_momentum;                 /* > 0 overrides the layers' momentum (recalibration) */
    const struct bg_observer *observer; /* NULL = none */
};

/* Before the first forward after weights changed, weight quantizers are refitted (unless learned)
 * and weights are put on their grid and packed: bg_program_forward does this by comparing versions.
 * The batch's size must be the program's. A NaN or infinity in the loss is BG_E_NUMERIC naming the
 * first node whose output is not finite. */
BG_MUST enum bg_status bg_program_forward(struct bg_program *program, const struct bg_batch *batch,
                                          const struct bg_run_moment *moment);
/* Train mode: fills grad of every trainable parameter. Call after forward with the same moment.
 * Non-finite weight gradients are BG_E_NUMERIC with the parameter's name. */
BG_MUST enum bg_status bg_program_backward(struct bg_program *program,
                                           const struct bg_run_moment *moment);

double bg_program_loss(const struct bg_program *program); /* mean of the last forward */
const struct bg_tensor *
bg_program_logits(const struct bg_program *program); /* (batch,1,1,classes) f32 */
/* The value of a node in the last forward (after its quantizer), NULL when there is none or its
 * memory was reused (with `keep_values` never). The loss has no value. For tests and reports. */
const struct bg_tensor *bg_program_value(const struct bg_program *program, const char *node);
int64_t
bg_program_bytes(const struct bg_program *program); /* activation, gradient and scratch memory */

/* How much of a program trains on codes and bf16. */
struct bg_fastness {
    bool whole;        /* all of it, the tensors between layers too */
    int coded, layers; /* layers that run on codes, of all */
    const char *why;   /* what stands in the way of `whole` although it was asked for, else "" */
};
struct bg_fastness bg_program_fastness(const struct bg_program *program);
/* One line about it; returns out. */
const char *bg_fastness_text(const struct bg_fastness *fastness, char *out, size_t size);

/* One line per node that runs a primitive: node, op, forward, backward data, backward weights
 * implementation. */
struct bg_implementation {
    const char *node, *op, *forward, *backward_data, *backward_weights;
};
int bg_program_implementation_count(const struct bg_program *program);
struct bg_implementation bg_program_implementation(const struct bg_program *program, int index);

/* Gradient check of every element of every trainable parameter and of an f32 input, by central
 * differences of the (f64) loss with the reference compute, at fixed weights: for small graphs. The
 * analytic gradient comes from `compute`. Differences at `step` and half of it are extrapolated
 * (error of order step^4); where the loss has a kink inside the step (relu, ties of a max pool) the
 * two one-sided slopes bound the error, see autograd/gradient_check.c. BG_E_USAGE when the graph
 * has quantizers. Parameters are bit-identical afterwards. */
struct bg_gradient_check {
    double worst;            /* |analytic - numeric| / max(1e-3, |analytic| + |numeric|) */
    char where[BG_NAME_MAX]; /* "conv1.weight" */
    int64_t index;
    double analytic, numeric;
};
BG_MUST enum bg_status bg_check_gradients(struct bg_graph *graph, const struct bg_batch *batch,
                                          enum bg_compute compute, double step,
                                          struct bg_gradient_check *out);

#endif
