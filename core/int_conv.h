/* Exact integer convolution: acc[n,y,x,o] = sum (code - zero_point) * weight in s32, u8 codes dense
 * N,H,W,C, s8 weights dense O,H,W,I (core/dnn.h). Padding is the code zero_point: it adds nothing.
 * The caller has proven that no sum leaves s32.
 *
 * Three ways that give the same numbers: oneDNN where a probe with saturating data finds that
 * primitive exact on this CPU, own kernels (AVX2, AVX-512, VNNI, picked at run time) where not, and
 * naive loops as the reference. */
#ifndef BG_CORE_INT_CONV_H
#define BG_CORE_INT_CONV_H

#include <stdint.h>

#include "core/dnn.h"
#include "core/status.h"

enum bg_int_path {
    BG_INT_FAST,     /* oneDNN where exact, else own; own for 1 to 3 input channels too */
    BG_INT_OWN,      /* own kernels alone */
    BG_INT_REFERENCE /* naive loops */
};

struct bg_int_conv;
/* Creation allocates and probes; running allocates nothing of ours. Not for two threads at once. */
BG_MUST enum bg_status bg_int_conv_create(struct bg_int_conv **out,
                                          const struct bg_conv_shape *shape, enum bg_int_path path);
void bg_int_conv_destroy(struct bg_int_conv *conv); /* takes NULL */
/* Weights in -127 to 127; call after every change. */
BG_MUST enum bg_status bg_int_conv_pack(struct bg_int_conv *conv, const int8_t *weights);
/* zero_point 0 to 255 may change from call to call. */
BG_MUST enum bg_status bg_int_conv_run(struct bg_int_conv *conv, const uint8_t *src,
                                       int32_t zero_point, int32_t *acc);
/* "onednn:brgconv:avx512_core_amx_int8", "own:vnni", "own:avx2:depthwise", "reference"; lives as
 * long as the object. */
const char *bg_int_conv_implementation(const struct bg_int_conv *conv);

/* Largest code in each window (padding is outside, as in core/dnn.h). dst rows are `stride` bytes
 * apart. Threaded. */
void bg_int_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                     int64_t stride);
/* acc = sum of (code - zero_point) over the window; padding must be 0. Threaded. */
void bg_int_sum_pool(const struct bg_pool_shape *shape, const uint8_t *src, int32_t zero_point,
                     int32_t *acc);

/* Naive loops. */
void bg_ref_int_conv(const struct bg_conv_shape *shape, const uint8_t *src, int32_t zero_point,
                     const int8_t *weights, int32_t *acc);
void bg_ref_int_max_pool(const struct bg_pool_shape *shape, const uint8_t *src, uint8_t *dst,
                         int64_t stride);
void bg_ref_int_sum_pool(const struct bg_pool_shape *shape, const uint8_t *src, int32_t zero_point,
                         int32_t *acc);

#endif
