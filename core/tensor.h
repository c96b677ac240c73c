/* Number types and tensors. A tensor is dense and row-major, without strides. Images are N,H,W,C;
 * convolution weights O,H,W,I (I = input channels of one group); linear weights O,I. */
#ifndef BG_CORE_TENSOR_H
#define BG_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/status.h"

struct bg_grid;

enum bg_dtype { BG_F32, BG_BF16, BG_S8, BG_U8, BG_S16, BG_S32, BG_DTYPES };

size_t bg_dtype_size(enum bg_dtype dtype);
const char *bg_dtype_name(enum bg_dtype dtype); /* "f32", "bf16", ... */

/* bf16: the upper half of an f32, rounded to nearest, ties to even; NaN stays a quiet NaN. */
static inline uint16_t bg_bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float bg_bf16_to_f32(uint16_t value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

#define BG_RANK_MAX 4

struct bg_shape {
    int rank; /* 0 to 4 */
    int64_t dims[BG_RANK_MAX];
};

struct bg_tensor {
    void *data;
    enum bg_dtype dtype;
    struct bg_shape shape;
    const struct bg_grid *grid; /* what integer codes mean; NULL for plain numbers */
};

/* Number of elements; shapes built by the library never overflow (bg_shape_check). */
int64_t bg_shape_count(const struct bg_shape *shape);
/* Every dim >= 1 and the product at most 2^40; `what` names the thing in the sentence. */
BG_MUST enum bg_status bg_shape_check(const struct bg_shape *shape, const char *what);
bool bg_shape_equal(const struct bg_shape *a, const struct bg_shape *b);
/* "128x28x28x16" into out; cannot fail. Returns out. */
const char *bg_shape_text(const struct bg_shape *shape, char out[64]);

static inline int64_t bg_tensor_count(const struct bg_tensor *tensor)
{
    return bg_shape_count(&tensor->shape);
}
static inline float *bg_f32(const struct bg_tensor *tensor)
{
    return (float *)tensor->data;
}

#endif
