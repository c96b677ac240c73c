/* Inside autograd: what the files of integer models share: structure (integer_lower.c), values
 * (integer_values.c), checks before there are quantizers (integer_check.c). */
#ifndef BG_AUTOGRAD_INTEGER_PRIVATE_H
#define BG_AUTOGRAD_INTEGER_PRIVATE_H

#include "autograd/form.h"
#include "autograd/integer.h"

/* What the values of a step are computed from, beside bg_integer_step; same indices. */
struct bg_integer_origin {
    const struct bg_node *activation;
    const struct bg_node *norm[BG_REQUANT_TERMS];
    bool shift[BG_REQUANT_TERMS]; /* the norm's shift belongs to this term */
    int64_t norm_channel;         /* channel of the norm's parameters that is the step's first */
};

/* The model with what refresh needs. */
struct bg_integer_own {
    struct bg_integer_model model;    /* first: casts back */
    struct bg_integer_origin *origin; /* [steps] */
    struct bg_quantizer **grid;       /* [tensors] NULL for the logits */
    int tensor_room, step_room;
    int *tensor_of; /* [nodes] whose codes a node's output is, -1 = none */
};

/* Tensors and steps without values; destroy with bg_integer_model_destroy(&own->model). */
BG_MUST enum bg_status bg_integer_structure(struct bg_integer_own **out,
                                            const struct bg_graph *graph,
                                            enum bg_requant_mode mode);
/* Elements summed into one accumulator, and the largest |accumulator| for input codes that span
 * `width` (qmax - qmin) and weight codes up to `largest`. BG_E_UNSUPPORTED with the bound when it
 * could leave s32. */
BG_MUST enum bg_status bg_integer_bound(const struct bg_node *node, int64_t width, int64_t largest,
                                        int64_t *out);
/* A form that cannot be lowered, in a sentence; BG_OK for one that can. */
BG_MUST enum bg_status bg_integer_check_form(const struct bg_node *node,
                                             const struct bg_form *form);
/* Is there an integer model for what the plan put on the graph? BG_OK, BG_E_UNSUPPORTED when the
 * plan asks for widths or formats that are emulated (*emulated = true: "layer conv1: a=f32"), else
 * the sentence of what cannot be done: an accumulator that could overflow (with its bound), a value
 * without an integer form. Needs no ranges: says before training what would be refused after. */
BG_MUST enum bg_status bg_integer_check(const struct bg_graph *graph, const struct bg_plan *plan,
                                        bool *emulated);
/* As bg_form_of for the graph's logits, which are on no grid. BG_E_UNSUPPORTED when they are no sum
 * of accumulators. */
BG_MUST enum bg_status bg_integer_logits_form(const struct bg_graph *graph,
                                              const struct bg_form_grids *grids,
                                              struct bg_form *out);

/* Shapes per sample (batch 1) of a layer or pool. */
struct bg_conv_shape bg_integer_conv_shape(const struct bg_node *node);
struct bg_pool_shape bg_integer_pool_shape(const struct bg_node *node);

#endif
