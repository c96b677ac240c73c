/* Export of an integer model (autograd/integer.h): everything another program needs to compute the
 * same codes, in one .npz or .h5 file. scripts/replay.py reads such a file alone.
 *
 * `model` is JSON as an array of bytes: format "bitgrad-integers" and version; network; requant
 * (the mode of core/NUMERICS.md, "Integer evaluation"); input (shape, dtype, and for bytes scale
 * and zero point); tensors in the order they are made; steps in the order they run, which name
 * tensors by index; golden. Where the description means an array it gives the array's name
 * ("step003/term0/weights"). A step fills `channels` channels of its output from `channel` on, and
 * its arrays per channel have an entry for each of these. A term has m and c (f32), in the integer
 * modes bias, multiplier and shift (s32) too, a layer its weights (s8 O,H,W,I; negated already
 * where the mode asks for it); shift beside the terms is that of their sum. Bytes as input have a
 * table of 256 codes. `golden/...` are samples with their labels, the codes of every tensor for
 * them and the logits. Images are dense N,H,W,C; a layer reads its input as
 * N,in_height,in_width,in_channels. */
#ifndef BG_LAYERS_EXPORT_INTEGER_H
#define BG_LAYERS_EXPORT_INTEGER_H

#include "autograd/integer.h"

#define BG_EXPORT_VERSION 1

enum bg_export_format { BG_EXPORT_NPZ, BG_EXPORT_H5, BG_EXPORT_FORMATS };
/* "npz", "h5" */
extern const char *const bg_export_format_names[BG_EXPORT_FORMATS];

/* Runs the program on `golden` (its batch size, made with `keep`: BG_E_USAGE otherwise) and writes
 * `path`: all of it, or what stood there stays. Equal models and samples give equal bytes. .npz
 * files hold at most 4 GiB (BG_E_RANGE). */
BG_MUST enum bg_status bg_export_integers(const struct bg_integer_model *model,
                                          struct bg_integer_program *program,
                                          const struct bg_batch *golden, const char *network_name,
                                          const char *path, enum bg_export_format format);

#endif
