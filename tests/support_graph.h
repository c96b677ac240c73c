/* Helpers for tests of graphs and programs: small graphs, batches, and values to fill them. */
#ifndef BG_TESTS_SUPPORT_GRAPH_H
#define BG_TESTS_SUPPORT_GRAPH_H

#include "autograd/op.h"

/* Fails the test with the library's sentence. */
#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

/* A batch with its own memory: f32 values, or u8 codes when the spec says so. */
struct support_batch {
    struct bg_batch batch;
    float *images;
    uint8_t *codes;
    int32_t *labels;
};
/* Normal values (or uniform codes) and labels, functions of `seed`. */
void support_batch_make(struct support_batch *out, const struct bg_sample_spec *spec, int64_t size,
                        uint64_t seed);
void support_batch_free(struct support_batch *batch);

/* Integers in [-limit, limit], a function of (seed, index). */
float support_integer(uint64_t seed, int64_t index, int limit);

/* Graphs of the op tests; each ends with a loss over `classes` = 3. */
struct support_case {
    const char *name;
    struct bg_sample_spec sample;
    struct bg_node *(*build)(struct bg_graph *graph, struct bg_node *input); /* the logits */
};
extern const struct support_case support_cases[];
extern const int support_case_count;
/* Input, the case's nodes, softmax cross-entropy; initialised with `seed`. */
struct bg_graph *support_case_graph(const struct support_case *test, uint64_t seed);

/* A residual network with norms, a projection, dropout and pools on 8x8x2 inputs. */
struct bg_node *support_residual(struct bg_graph *graph, struct bg_node *input);

/* A program, or a failed test. */
struct bg_program *support_program(struct bg_graph *graph,
                                   const struct bg_program_options *options);
/* Forward and backward. */
void support_step(struct bg_program *program, const struct bg_batch *batch,
                  const struct bg_run_moment *moment);
/* Moves every trainable parameter against its gradient. */
void support_descend(struct bg_graph *graph, double lr);

/* A 6x6x2 input (u8 codes have scale 0.01); a 3x3 convolution with 2 channels; a linear head and
 * the loss, initialised; and input -> conv -> relu -> {one, two} -> add -> fc. */
struct bg_graph *support_start(enum bg_dtype dtype, int32_t zero_point, struct bg_node **x);
struct bg_node *support_conv(struct bg_graph *graph, const char *name, struct bg_node *x);
void support_finish(struct bg_graph *graph, struct bg_node *x);
struct bg_graph *support_fork(void);

/* A range method for tests: minimum and maximum of the batch, then of all batches. */
extern const struct bg_range_method support_min_max, support_learned;
/* A plan of the graph's layers with these bits (0 = f32). */
void support_plan(struct bg_plan *out, const struct bg_graph *graph, int weight_bits,
                  int activation_bits);
/* Applies such a plan with support_min_max (or support_learned). */
void support_quantize(struct bg_graph *graph, int weight_bits, int activation_bits, bool learned);

#endif
