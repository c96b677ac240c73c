/* Private: what the files behind core/int_conv.h share, and what tests reach to run every
 * instruction set. */
#ifndef BG_CORE_INT_PRIVATE_H
#define BG_CORE_INT_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/int_conv.h"
#include "core/kernel_table.h"

/* Own kernels of one instruction set. As bg_int_conv, without checks of arguments. */
struct bg_int_own;
BG_MUST enum bg_status bg_int_own_create(struct bg_int_own **out, const struct bg_conv_shape *shape,
                                         const struct bg_kernel_tables *tables);
void bg_int_own_destroy(struct bg_int_own *own); /* takes NULL */
void bg_int_own_pack(struct bg_int_own *own, const int8_t *weights);
void bg_int_own_run(struct bg_int_own *own, const uint8_t *src, int32_t zero_point, int32_t *acc);
const char *bg_int_own_name(const struct bg_int_own *own);

/* *exact: oneDNN gave the naive sums for data that saturate an inexact kernel and for sums beyond
 * 2^24 (f32 inside would round them), wherever there was a look. Packs weights of its own. */
BG_MUST enum bg_status bg_int_probe(struct bg_dnn_int *dnn, const struct bg_conv_shape *shape,
                                    bool *exact);

/* All output channels of output pixel `pixel` of the batch (index in N,H,W), naively. */
void bg_ref_int_conv_pixel(const struct bg_conv_shape *shape, const uint8_t *src,
                           int32_t zero_point, const int8_t *weights, int64_t pixel, int32_t *acc);

/* Does the kernel see the whole image at once and nothing else? Then `shape` becomes the 1x1
 * convolution over in_height * in_width * in_channels channels that reads the same bytes, with the
 * batch as rows of one image: oneDNN is up to 8 times faster so. */
void bg_int_flatten(struct bg_conv_shape *shape);

#endif
