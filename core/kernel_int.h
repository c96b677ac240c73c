/* Private: the integer range functions behind core/int_conv.h, part of core/kernel_table.h.
 *
 * Convolution kernels read codes from a padded copy of some input rows and weights packed in blocks
 * of output channels. Sums wrap modulo 2^32: the true result fits s32 (core/int_conv.h), so partial
 * sums may leave it. Wherever vectors are read, at least BG_KERNEL_INT_SLACK bytes follow the data.
 */
#ifndef BG_CORE_KERNEL_INT_H
#define BG_CORE_KERNEL_INT_H

#include <stdint.h>

#include "core/dnn.h"

#define BG_KERNEL_INT_SLACK 64
/* Output channels are padded to a multiple of this in packed weights and first values. */
#define BG_KERNEL_INT_LANES 16

/* dst[p][o] = start[o] + sum over runs r and codes i of src[pixel[p] + run[r]][i] * w[r][i][o].
 *
 * Codes are read in units of 32 bits: 4 bytes or 2 u16 (`codes` of the table); a unit may reach
 * behind its run, there the weights are 0. Weights: [block of output channels][run][unit][channel
 * of the block][code of the unit], s8 or s16; blocks have `block` channels (of the table), the last
 * one what is left. */
struct bg_kernel_int_conv {
    const uint8_t *src;
    const int64_t *pixel, *run; /* byte offsets */
    int64_t pixels, runs, units;
    const void *weights;
    const int32_t *start;
    int64_t outputs, step; /* channels to write; values between two pixels of dst */
    int32_t *dst;
};

/* dst[p][c] = start[c] + sum over taps t of src[pixel[p] + run[t]][c] * w[t][c]: codes in bytes,
 * weights s32 with channels padded to BG_KERNEL_INT_LANES. Fields as above, runs are taps. */
struct bg_kernel_int_conv_table {
    int codes, block;
    void (*conv)(const struct bg_kernel_int_conv *in);
    void (*depthwise)(const struct bg_kernel_int_conv *in);
    void (*widen)(const uint8_t *codes, int64_t n, uint16_t *out);
    /* acc[p * n + i] += factor * values[i] */
    void (*add_product)(const int32_t *values, int64_t n, int32_t factor, int64_t pixels,
                        int32_t *acc);
};

/* One row of output. */
struct bg_kernel_int_pool_table {
    void (*max_row)(const struct bg_pool_shape *shape, const uint8_t *image, int64_t y,
                    uint8_t *dst, int64_t stride);
    void (*sum_row)(const struct bg_pool_shape *shape, const uint8_t *image, int64_t y,
                    int32_t zero_point, int32_t *acc);
};

#endif
