/* Inside autograd: one convolution or linear layer of an f32 program on codes and bf16, where the
 * whole network cannot train fast (fast.h). Its input lies on a grid of 1 to 8 bits, so do its
 * weights; values and gradients between layers stay f32. */
#ifndef BG_AUTOGRAD_CODED_H
#define BG_AUTOGRAD_CODED_H

#include "autograd/op.h"

struct bg_coded;

/* BG_E_UNSUPPORTED when the layer reads or holds no such codes, its accumulators could overflow, or
 * it is a convolution in groups. Sets the step's memory needs: codes are kept for backward,
 * the f32 input is not. */
BG_MUST enum bg_status bg_coded_create(struct bg_coded **out, const struct bg_compile *compile,
                                       struct bg_step *step, const struct bg_conv_shape *shape);
void bg_coded_destroy(struct bg_coded *coded); /* takes NULL */
/* The layer's output in f32, from the codes of its input and weights; weights are encoded and
 * packed anew when their serial changed. */
BG_MUST enum bg_status bg_coded_forward(struct bg_coded *coded, struct bg_step *step);
/* As bg_weighted_take_gradient: makes dz and the bias's gradient. After a forward of this step. */
BG_MUST enum bg_status bg_coded_take_gradient(struct bg_coded *coded, struct bg_step *step,
                                              const struct bg_run *run,
                                              const struct bg_tensor **seen);
/* Gradients of the weight, and of the input where it is wanted, from dz. */
BG_MUST enum bg_status bg_coded_backward(struct bg_coded *coded, struct bg_step *step);
/* What computes each direction, for reports. */
void bg_coded_implementation(const struct bg_coded *coded, struct bg_implementation *out);

#endif
