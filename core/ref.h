/* Naive references: plain loops, sums in f64, never tuned. Every fast path is tested against them,
 * and `compute: reference` runs a whole network on them. Layouts as in core/dnn.h. Shapes must have
 * passed bg_conv_shape_infer or bg_pool_shape_infer; results may not overlap inputs. Cannot fail.
 */
#ifndef BG_CORE_REF_H
#define BG_CORE_REF_H

#include <stdint.h>

#include "core/dnn.h"

/* bias and dbias may be NULL. */
void bg_ref_conv_forward(const struct bg_conv_shape *shape, const float *src, const float *weights,
                         const float *bias, float *dst);
void bg_ref_conv_backward_data(const struct bg_conv_shape *shape, const float *ddst,
                               const float *weights, float *dsrc);
void bg_ref_conv_backward_weights(const struct bg_conv_shape *shape, const float *src,
                                  const float *ddst, float *dweights, float *dbias);
/* On a tie the first maximum in row order takes the gradient (oneDNN's rule). */
void bg_ref_max_pool_forward(const struct bg_pool_shape *shape, const float *src, float *dst);
void bg_ref_max_pool_backward(const struct bg_pool_shape *shape, const float *src,
                              const float *ddst, float *dsrc);
void bg_ref_avg_pool_forward(const struct bg_pool_shape *shape, const float *src, float *dst);
void bg_ref_avg_pool_backward(const struct bg_pool_shape *shape, const float *ddst, float *dsrc);

#endif
