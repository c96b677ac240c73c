/* Hot elementwise loops, threaded, compiled for several instruction sets and picked once by the
 * smaller of the CPU's features and oneDNN's effective ISA (core/kernel_table.h). Results are the
 * same bits for every instruction set and thread count: partial results belong to fixed blocks and
 * are added in block order. Nothing here allocates or fails. */
#ifndef BG_CORE_KERNEL_H
#define BG_CORE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/grid.h"

/* Batch norm over rows x channels (channels innermost). Statistics: mean and biased variance per
 * channel; f32 over runs of 16, then f64 (error bounds: core/kernel_norm.c). */
void bg_kernel_bn_statistics(const float *x, int64_t rows, int64_t channels, float *mean,
                             float *var, double *scratch);
/* f64 values of scratch the two reductions need. */
int64_t bg_kernel_bn_scratch(int64_t rows, int64_t channels);
/* y = x * a[c] + b[c]; with relu: max(., 0). y may be x. */
void bg_kernel_scale_shift(const float *x, int64_t rows, int64_t channels, const float *a,
                           const float *b, bool relu, float *y);
/* dgamma = sum dy * (x - mean) * invstd, dbeta = sum dy. */
void bg_kernel_bn_reduce(const float *x, const float *dy, int64_t rows, int64_t channels,
                         const float *mean, const float *invstd, float *dgamma, float *dbeta,
                         double *scratch);
/* dx = gamma * invstd * (dy - dbeta/rows - xhat * dgamma/rows); in evaluation mode pass dgamma =
 * dbeta = NULL: dx = gamma*invstd*dy. */
void bg_kernel_bn_apply(const float *x, const float *dy, int64_t rows, int64_t channels,
                        const float *mean, const float *invstd, const float *gamma,
                        const float *dgamma, const float *dbeta, float *dx);

void bg_kernel_relu(const float *x, int64_t n, float *y); /* y may be x; relu(-0) = 0, NaN stays */
void bg_kernel_relu_backward(const float *y, const float *dy, int64_t n,
                             float *dx); /* dx = y > 0 ? dy : 0; dx may be dy */
/* min(max(x, 0), 6); y may be x; NaN stays, -0 becomes 0 */
void bg_kernel_relu6(const float *x, int64_t n, float *y);
void bg_kernel_relu6_backward(const float *y, const float *dy, int64_t n,
                              float *dx); /* dx = 0 < y < 6 ? dy : 0; dx may be dy */
void bg_kernel_add(const float *a, const float *b, int64_t n, float *y); /* y may be a or b */
void bg_kernel_copy(const float *x, int64_t n, float *y);
/* `width` values of each row; a row of x is x_step values, one of y is y_step. Must not overlap. */
void bg_kernel_copy_columns(const float *x, int64_t x_step, int64_t rows, int64_t width, float *y,
                            int64_t y_step);
/* y = (code - zero_point) * scale */
void bg_kernel_decode_u8(const uint8_t *codes, int64_t n, int32_t zero_point, float scale,
                         float *y);

/* Fake quantise, per tensor: y = decode(encode(x)); y may be x. *clipped counts values outside the
 * clip limits, NaN among them (may be NULL). */
void bg_kernel_project(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                       float *y, int64_t *clipped);
/* The codes of bg_grid_encode without random words, in 8 bits: grids with 0 <= qmin, qmax <= 255,
 * and (weights, binary too) with -128 <= qmin, qmax <= 127. */
void bg_kernel_encode_u8(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                         uint8_t *codes);
void bg_kernel_encode_s8(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                         int8_t *codes);
/* Straight-through with clip mask: dx = lo <= x <= hi ? dy : 0 (limits of bg_grid_clip_limits); dx
 * may be dy. */
void bg_kernel_project_backward(const struct bg_grid *grid, int64_t channel, const float *x,
                                const float *dy, int64_t n, float *dx);
/* LSQ (Esser et al., "Learned Step Size Quantization", ICLR 2020, eq. 3): returns sum dy *
 * d(project)/d(step), block-ordered. */
double bg_kernel_step_gradient(const struct bg_grid *grid, int64_t channel, const float *x,
                               const float *dy, int64_t n);
void bg_kernel_min_max(const float *x, int64_t n, float *min,
                       float *max); /* NaN propagates into both */
bool bg_kernel_all_finite(const float *x, int64_t n);

/* SGD with momentum (PyTorch's convention): g = grad + decay * w; m = momentum * m + g; w -= lr *
 * (nesterov ? g + momentum * m : m). */
void bg_kernel_sgd(float *w, float *m, const float *grad, int64_t n, float lr, float momentum,
                   float decay, bool nesterov);

#endif
