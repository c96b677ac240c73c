/* Convolution and linear layers of fast training: codes forward, bf16 backward.
 *
 * Layouts as in core/dnn.h (N,H,W,C; weights O,H,W,I). z = sum (a - zero_point) * w over u8 codes a
 * and s8 codes w, rounded once to bf16. Gradients dz, dx are bf16, weight gradients f32:
 * dx = sum w * dz, dw = sum (a - zero_point) * dz, with w as integers (exact in bf16). Scales are
 * the caller's business. Padding adds nothing.
 *
 * z is exact in s32 and rounded through f32: once for sums up to 2^24, else twice. dx += rounds
 * once, after adding. Subnormal gradients count as 0. Where a gradient is not finite, other results
 * of that pass may not be finite either.
 *
 * Needs AMX (int8 and bf16): bg_train_available(); the fallback is training in f32. bf16 values are
 * uint16_t, round to nearest even. Results are the same for any number of threads up to the order
 * of f32 sums of dw, which is fixed for a given number of threads. */
#ifndef BG_CORE_TRAIN_CONV_H
#define BG_CORE_TRAIN_CONV_H

#include <stdbool.h>
#include <stdint.h>

#include "core/dnn.h"
#include "core/status.h"

/* AMX is there, allowed by DNNL_MAX_CPU_ISA, and the kernel gave permission to use it. */
bool bg_train_available(void);

struct bg_train_conv;
/* groups 1, or depthwise (groups = in_channels = out_channels). Creation allocates; running does
 * not. BG_E_UNSUPPORTED when a pass has no fast implementation. Runs with the number of threads
 * that bg_threads() gave at creation; not for two threads at once. */
BG_MUST enum bg_status bg_train_conv_create(struct bg_train_conv **out,
                                            const struct bg_conv_shape *shape, bool need_dx);
void bg_train_conv_destroy(struct bg_train_conv *conv); /* takes NULL */

/* Where each weight goes in the packed buffers that the passes read: the update loop may scatter
 * codes straight into place. backward is NULL without need_dx. */
struct bg_train_packed {
    int64_t count; /* weights */
    int8_t *forward;
    const int32_t *forward_at; /* [count] */
    uint16_t *backward;
    const int32_t *backward_at; /* [count] */
};
struct bg_train_packed bg_train_conv_packed(struct bg_train_conv *conv);
/* The same from dense codes O,H,W,I in -127 to 127: of all outputs, threaded; or of outputs `first`
 * to `last` - 1 alone on the calling thread, `codes` beginning with theirs, `first` a multiple of
 * BG_TRAIN_ROWS. Different outputs may be packed at the same time. */
#define BG_TRAIN_ROWS 16
void bg_train_conv_pack(struct bg_train_conv *conv, const int8_t *codes);
void bg_train_conv_pack_rows(struct bg_train_conv *conv, int64_t first, int64_t last,
                             const int8_t *codes);

BG_MUST enum bg_status bg_train_conv_forward(struct bg_train_conv *conv, const uint8_t *src,
                                             int32_t zero_point, uint16_t *z);
/* add: dx += instead of dx =. */
BG_MUST enum bg_status bg_train_conv_backward_data(struct bg_train_conv *conv, const uint16_t *dz,
                                                   uint16_t *dx, bool add);
/* dx = factor * sum w * dz, rounded to f32 and then to bf16. */
BG_MUST enum bg_status bg_train_conv_backward_scaled(struct bg_train_conv *conv, const uint16_t *dz,
                                                     float factor, uint16_t *dx);
BG_MUST enum bg_status bg_train_conv_backward_weights(struct bg_train_conv *conv,
                                                      const uint8_t *src, int32_t zero_point,
                                                      const uint16_t *dz, float *dw);
/* The same on its way to the optimizer, in one pass: dw[o][i] = sum * factor[o], and 0 where the
 * weight w[o][i] is not in [low[o], high[o]]. Without factor (NULL) 1, without w nothing becomes 0.
 * *finite: all of dw is. */
struct bg_train_gradient {
    float *dw;
    const float *factor, *w, *low, *high;
};
BG_MUST enum bg_status bg_train_conv_weight_gradient(struct bg_train_conv *conv, const uint8_t *src,
                                                     int32_t zero_point, const uint16_t *dz,
                                                     const struct bg_train_gradient *to,
                                                     bool *finite);
/* Names of what runs: "own:amx", "own:avx512:depthwise"; "" where a pass was not made. */
void bg_train_conv_implementations(const struct bg_train_conv *conv, const char **forward,
                                   const char **backward_data, const char **backward_weights);

#endif
