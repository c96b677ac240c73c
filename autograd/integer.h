/* The integer program of a quantized network: what ships (core/NUMERICS.md, "Integer evaluation").
 *
 * A model is the network as integers: tensors of codes, and steps that make one tensor each from
 * weight codes, accumulators and a requantisation. It knows no batch size and no machine; exporters
 * print it. A program runs it for one batch size. A graph has a model when its plan gives every
 * layer 1 to 8 bits for weights and input, and every value that is not an accumulator has a grid.
 */
#ifndef BG_AUTOGRAD_INTEGER_H
#define BG_AUTOGRAD_INTEGER_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/graph.h"
#include "core/int_conv.h"
#include "core/requant.h"

struct bg_integer_tensor {
    char name[BG_NAME_MAX]; /* of the node whose grid it is on; "logits" node: its name */
    struct bg_shape shape;  /* per sample: H,W,C */
    bool real;              /* the logits: f32 */
    bool inner;             /* between two steps of one node: no node of the graph has it */
    int bits;               /* codes: */
    float scale;
    int32_t zero_point, qmin, qmax;
};

enum bg_integer_source {
    BG_INTEGER_LAYER, /* acc = sum (code - z) * weight */
    BG_INTEGER_POOL,  /* acc = sum (code - z) over a window */
    BG_INTEGER_CODES  /* acc = code - z */
};

struct bg_integer_term {
    enum bg_integer_source source;
    const struct bg_node *node; /* the layer, pool, or node of the codes */
    int input;                  /* tensor it reads */
    struct bg_conv_shape conv;  /* LAYER: for batch 1 */
    int8_t *weights;            /* LAYER: codes O,H,W,I; negated where `requant` needs positive m */
    struct bg_pool_shape pool;  /* POOL: for batch 1 */
};

enum bg_integer_kind {
    BG_INTEGER_INPUT,   /* the batch onto the first grid */
    BG_INTEGER_SUM,     /* terms, then one requantisation (none for the logits) */
    BG_INTEGER_MAX_POOL /* largest code in a window */
};

struct bg_integer_step {
    enum bg_integer_kind kind;
    char name[BG_NAME_MAX]; /* of the last node it computes */
    int output;             /* tensor */
    int64_t channel; /* first channel it writes (concat); it writes requant.channels of them */
    int terms;
    struct bg_integer_term term[BG_REQUANT_TERMS];
    struct bg_requant requant; /* SUM */
    int input;                 /* MAX_POOL: tensor it reads */
    struct bg_pool_shape pool; /* MAX_POOL: for batch 1 */
    uint8_t *table;            /* INPUT of raw bytes: [256] code of each byte */
};

struct bg_integer_model {
    enum bg_requant_mode mode;
    const struct bg_graph *graph;
    int tensors, steps;
    struct bg_integer_tensor *tensor; /* in the order they are made; the logits are last */
    struct bg_integer_step *step;
    uint64_t serial;        /* rises with every refresh */
    struct bg_arena *arena; /* owns all of it */
};

/* Lowers the graph; every activation needs its range (BG_E_USAGE). `mode` NULL: what the plan that
 * is on the graph named. The graph must outlive the model; a plan put on it makes the model stale.
 */
BG_MUST enum bg_status bg_integer_model_create(struct bg_integer_model **out,
                                               struct bg_graph *graph,
                                               const enum bg_requant_mode *mode);
void bg_integer_model_destroy(struct bg_integer_model *model); /* takes NULL */
/* Values anew from the graph's present parameters and ranges. */
BG_MUST enum bg_status bg_integer_model_refresh(struct bg_integer_model *model);

struct bg_integer_program;
/* `keep`: every tensor stays readable after a run; else memory is shared. */
BG_MUST enum bg_status bg_integer_program_create(struct bg_integer_program **out,
                                                 const struct bg_integer_model *model,
                                                 int64_t batch, enum bg_int_path path, bool keep);
void bg_integer_program_destroy(struct bg_integer_program *program); /* takes NULL */
/* Packs weights when the model was refreshed. The batch must have the program's size and the
 * graph's sample type. Allocates nothing. */
BG_MUST enum bg_status bg_integer_program_run(struct bg_integer_program *program,
                                              const struct bg_batch *batch);
const float *
bg_integer_program_logits(const struct bg_integer_program *program); /* batch,classes */
/* Codes of a tensor in the last run (dense batch,H,W,C); NULL for the logits or without `keep`. */
const uint8_t *bg_integer_program_codes(const struct bg_integer_program *program, int tensor);
/* What runs term `term` of step `step`; "" for terms that are no layer. */
const char *bg_integer_program_implementation(const struct bg_integer_program *program, int step,
                                              int term);

#endif
