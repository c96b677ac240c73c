/* What core/npz.c (the zip file) and core/npz_array.c (the arrays in it) share. */
#ifndef BG_CORE_NPZ_PRIVATE_H
#define BG_CORE_NPZ_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "core/npz.h"

#define BG_NPZ_BYTES_MAX ((int64_t)4 << 30)

/* Converts the bytes of one .npy file. `what` names it in sentences ("weights.npz: conv1"). */
BG_MUST enum bg_status bg_npz_decode(const char *what, const unsigned char *bytes, size_t length,
                                     struct bg_shape *shape, float **out);

static inline unsigned bg_npz_u16(const unsigned char *at)
{
    return (unsigned)at[0] | (unsigned)at[1] << 8;
}

static inline uint32_t bg_npz_u32(const unsigned char *at)
{
    return (uint32_t)bg_npz_u16(at) | (uint32_t)bg_npz_u16(at + 2) << 16;
}

#endif
