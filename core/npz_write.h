/* Writing NumPy .npz files: stored (uncompressed) zip members in C order, dated 1980-01-01 so that
 * equal content gives equal bytes. */
#ifndef BG_CORE_NPZ_WRITE_H
#define BG_CORE_NPZ_WRITE_H

#include <stdint.h>

#include "core/status.h"
#include "core/tensor.h"

enum bg_npz_type { BG_NPZ_U8, BG_NPZ_S8, BG_NPZ_S32, BG_NPZ_S64, BG_NPZ_F32 };

struct bg_npz_writer;
/* Writes to `path` (give a temporary name and commit it after close). */
BG_MUST enum bg_status bg_npz_create(struct bg_npz_writer **out, const char *path);
/* One array "name" (member "name.npy"); rank 0 to 5. Names are unique, of [A-Za-z0-9_./-]. */
BG_MUST enum bg_status bg_npz_add(struct bg_npz_writer *writer, const char *name,
                                  enum bg_npz_type type, int rank, const int64_t *dims,
                                  const void *data);
/* Writes the directory, flushes and closes; frees in any case. On failure the file is useless: the
 * caller removes it. Takes NULL. */
BG_MUST enum bg_status bg_npz_finish(struct bg_npz_writer *writer);

#endif
