/* Private: the own kernels behind core/train_conv.h as objects, one for each pass. All run with the
 * number of threads that bg_threads() gave when they were made, and only where
 * bg_train_available(). Values are those of core/train_conv.h. */
#ifndef BG_CORE_TRAIN_PRIVATE_H
#define BG_CORE_TRAIN_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/train_conv.h"

/* Forward or, with `data`, backward data of a convolution without groups. */
struct bg_amx_conv;
BG_MUST enum bg_status bg_amx_conv_create(struct bg_amx_conv **out,
                                          const struct bg_conv_shape *shape, bool data);
void bg_amx_conv_destroy(struct bg_amx_conv *own); /* takes NULL */
/* Packed weights, s8 or bf16, and the place of each weight of O,H,W,I in them. */
void *bg_amx_conv_packed(struct bg_amx_conv *own, const int32_t **at);
/* Codes of outputs first to last - 1, the first a multiple of 16; on the calling thread. */
void bg_amx_conv_pack(struct bg_amx_conv *own, int64_t first, int64_t last, const int8_t *codes);
void bg_amx_conv_forward(struct bg_amx_conv *own, const uint8_t *src, int32_t zero_point,
                         uint16_t *z);
void bg_amx_conv_data(struct bg_amx_conv *own, const uint16_t *dz, float factor, uint16_t *dx,
                      bool add);

/* Backward weights of a convolution without groups. */
struct bg_amx_weights;
BG_MUST enum bg_status bg_amx_weights_create(struct bg_amx_weights **out,
                                             const struct bg_conv_shape *shape);
void bg_amx_weights_destroy(struct bg_amx_weights *own); /* takes NULL */
bool bg_amx_weights_run(struct bg_amx_weights *own, const uint8_t *src, int32_t zero_point,
                        const uint16_t *dz, const struct bg_train_gradient *to);

/* All passes of a depthwise convolution. */
struct bg_amx_depthwise;
BG_MUST enum bg_status bg_amx_depthwise_create(struct bg_amx_depthwise **out,
                                               const struct bg_conv_shape *shape);
void bg_amx_depthwise_destroy(struct bg_amx_depthwise *own); /* takes NULL */
/* Packed weights; `at` serves both. */
int8_t *bg_amx_depthwise_packed(struct bg_amx_depthwise *own, const int32_t **at,
                                uint16_t **backward);
void bg_amx_depthwise_forward(struct bg_amx_depthwise *own, const uint8_t *src, int32_t zero_point,
                              uint16_t *z);
void bg_amx_depthwise_data(struct bg_amx_depthwise *own, const uint16_t *dz, float factor,
                           uint16_t *dx, bool add);
void bg_amx_depthwise_gradient(struct bg_amx_depthwise *own, const uint8_t *src, int32_t zero_point,
                               const uint16_t *dz, float *dw);

/* Integers of up to 8 bits are exact in bf16. */
static inline uint16_t bg_code_to_bf16(int8_t code)
{
    float f = (float)code;
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

#endif
