/* NumPy .npy/.npz files: arrays of f4, f8, i1, u1, i4, i8 in C order, stored or deflated; object
 * arrays are refused. */
#ifndef BG_CORE_NPZ_H
#define BG_CORE_NPZ_H

#include <stdint.h>

#include "core/status.h"
#include "core/tensor.h"

struct bg_npz;
/* Reads the directory; arrays are loaded on demand. Hostile input: every size is checked against
 * the file and 4 GiB. */
BG_MUST enum bg_status bg_npz_open(struct bg_npz **out, const char *path);
void bg_npz_close(struct bg_npz *npz); /* takes NULL */
int bg_npz_count(const struct bg_npz *npz);
const char *bg_npz_name(const struct bg_npz *npz, int index); /* without ".npy" */
/* Reads array `name` as f32 (other number types are converted; values that f32 cannot hold exactly
 * are rounded). *out from bg_alloc, rank 0..4. BG_E_NOT_FOUND when absent. */
BG_MUST enum bg_status bg_npz_read_f32(struct bg_npz *npz, const char *name, struct bg_shape *shape,
                                       float **out);

#endif
