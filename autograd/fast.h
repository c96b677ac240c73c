/* Fast training: the steps of the integer model (integer_private.h) run on codes forward and bf16
 * backward, with batch statistics in the norms. One kind of step covers a sum of layers, pools and
 * codes, their norms, the activation, the quantiser, its gradient mask and its range: two passes
 * over memory each way beside the convolutions (core/train_kernel.h).
 *
 * Units. z is an accumulator: real = s_a * s_w[o] * z. Gradients of tensors are real. The gradient
 * that convolutions read is dz = s_w[o] * dLoss/d(real), so that dx = sum w * dz is real and
 * dLoss/dw = (s_a / s_w[o]) * sum (a - zero_point) * dz. */
#ifndef BG_AUTOGRAD_FAST_H
#define BG_AUTOGRAD_FAST_H

#include "autograd/integer_private.h"
#include "autograd/memory_plan.h"
#include "core/train_conv.h"
#include "core/train_kernel.h"

struct bg_fast_term {
    const struct bg_integer_term *form;
    const struct bg_node *norm;
    struct bg_train_conv *conv; /* layers */
    int8_t *weights;            /* codes O,H,W,I */
    struct bg_sink sink;        /* brings them and conv's layouts up to date */
    uint16_t *z, *dz, *dx;      /* dx: this term's part of its input's gradient */
    int32_t *acc;               /* pools */
    /* Per channel: v = value * a + b; batch statistics of z; dz = da * g + db * z + dc. */
    float *a, *b, *mean, *var, *invstd, *da, *db, *dc;
    float *factor, *low,
        *high;   /* layers, per output: of the weights' gradient, and its mask's ends */
    double *dot; /* sum of g * z */
    float unit;  /* layers: dz is unit times what is stored (core/gradient.h); 1 without a grid */
    /* Observers' sums of dz and dx, made by the passes that write and read them; NULL in programs
     * without `observe`, and for dx where no such pass follows. */
    double *seen_dz, *seen_dx;
};

struct bg_fast_step {
    const struct bg_integer_step *form;
    const struct bg_node *activation;
    int terms;
    struct bg_fast_term term[BG_REQUANT_TERMS];
    uint16_t *g;     /* masked gradient of the sum */
    double *sum;     /* of g, per channel */
    uint8_t *where;  /* max pools: position of the largest */
    uint16_t *total; /* max pools: the parts of the output's gradient, added */
};

struct bg_fast_tensor {
    const struct bg_integer_tensor *form;
    struct bg_quantizer *quantizer; /* NULL: the logits */
    uint8_t *codes, *mask;
    int step; /* that makes it */
    bool needs_gradient;
    int gradients;
    const uint16_t *d[BG_TRAIN_TERMS];                 /* parts of its gradient */
    const struct bg_fast_term *reader[BG_TRAIN_TERMS]; /* the layer whose dx that is, or NULL */
};

struct bg_fast {
    struct bg_arena *arena;
    struct bg_graph *graph;
    struct bg_program_options options;
    struct bg_integer_own *own;
    int steps, tensors;
    struct bg_fast_step *step;
    struct bg_fast_tensor *tensor;
    struct bg_step loss; /* the loss op on its own */
    float *logits, *dlogits;
    double *scratch; /* sums of the kernels */
    void *room;      /* of bg_gradient_round */
    float *real;     /* a layer's gradient for observers that take f32 */
    float *ones;     /* a factor for each channel of any tensor */
    int64_t bytes;
};

/* BG_E_UNSUPPORTED with what keeps this graph, plan or CPU from training fast. */
BG_MUST enum bg_status bg_fast_create(struct bg_fast **out, struct bg_graph *graph,
                                      const struct bg_program_options *options);
void bg_fast_destroy(struct bg_fast *fast); /* takes NULL */
/* fast_memory.c: gives every buffer its address. */
BG_MUST enum bg_status bg_fast_bind(struct bg_fast *fast);
/* As bg_program_forward and _backward; loss and labels are the program's. */
BG_MUST enum bg_status bg_fast_forward(struct bg_fast *fast, const struct bg_run *run);
BG_MUST enum bg_status bg_fast_backward(struct bg_fast *fast, const struct bg_run *run);
/* fast_observe.c. Is there an observer that takes bf16, and will a layer's input gradient be seen
 * when it is reduced? */
bool bg_fast_observed(const struct bg_run *run);
bool bg_fast_sees_later(const struct bg_run *run, const struct bg_fast_term *term);
void bg_fast_see_output(struct bg_fast *fast, const struct bg_fast_step *step,
                        const struct bg_fast_term *term, const struct bg_run *run);
/* summed: the sums are in term->seen_dx. */
void bg_fast_see_input(const struct bg_fast *fast, const struct bg_fast_term *term, bool summed,
                       const struct bg_run *run);
void bg_fast_see_weight(const struct bg_fast_term *term, const struct bg_run *run);
int bg_fast_implementation_count(const struct bg_fast *fast);
struct bg_implementation bg_fast_implementation(const struct bg_fast *fast, int index);

/* Pixels of a step's output over the batch. */
static inline int64_t bg_fast_rows(const struct bg_fast *fast, const struct bg_fast_step *step)
{
    const struct bg_shape *shape = &fast->tensor[step->form->output].form->shape;

    return fast->options.batch * shape->dims[0] * shape->dims[1];
}

/* Does the plan put dz on a grid of integers? */
static inline bool bg_fast_rounds(const struct bg_fast_term *term)
{
    return term->form->node->out_gradient.format == BG_FORMAT_INTEGER;
}

/* The grid and the scales of what a layer reads and of its weights. */
static inline const struct bg_grid *bg_fast_input_grid(const struct bg_fast *fast,
                                                       const struct bg_fast_term *term)
{
    return &fast->tensor[term->form->input].quantizer->grid;
}

static inline float bg_fast_input_scale(const struct bg_fast *fast, const struct bg_fast_term *term)
{
    return bg_fast_input_grid(fast, term)->scale[0];
}

static inline float bg_fast_weight_scale(const struct bg_fast_term *term, int64_t channel)
{
    const struct bg_grid *grid = &term->form->node->param[0]->quantizer->grid;

    return grid->scale[grid->channels == 1 ? 0 : channel];
}

static inline int64_t bg_fast_count(const struct bg_fast *fast, int tensor)
{
    return fast->options.batch * bg_shape_count(&fast->tensor[tensor].form->shape);
}

#endif
