/* Inside autograd: what the losses share. */
#ifndef BG_AUTOGRAD_LOSS_H
#define BG_AUTOGRAD_LOSS_H

#include "autograd/op.h"

/* The input must be (1,1,classes); the result of a loss is one number per sample (1,1,1). */
BG_MUST enum bg_status bg_loss_infer(struct bg_node *node);
/* Asks for one f32 per logit, kept from forward to backward. */
BG_MUST enum bg_status bg_loss_compile(const struct bg_compile *compile, struct bg_step *step);

#endif
