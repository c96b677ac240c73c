/* IDX files (the format of MNIST: yann.lecun.com/exdb/mnist, "the IDX file format"), plain or
 * gzipped: two zero bytes, a type byte, the rank, big-endian dimensions, the values. Only unsigned
 * bytes are read. Files are hostile: nothing is allocated before the header agrees with the size of
 * the file, and never more is inflated than the header declares. */
#ifndef BG_DATASETS_IDX_H
#define BG_DATASETS_IDX_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "datasets/dataset.h"

#define BG_IDX_RANK_MAX 4

struct bg_idx {
    int rank;
    int64_t dims[BG_IDX_RANK_MAX];
    int64_t count; /* product of dims */
    uint8_t *data; /* owned */
};

/* `name` is for sentences. Gzip is told by content. Free with bg_idx_free. */
BG_MUST enum bg_status bg_idx_parse(struct bg_idx *out, const char *name, const void *bytes,
                                    size_t length);
BG_MUST enum bg_status bg_idx_read(struct bg_idx *out, const char *path);
void bg_idx_free(struct bg_idx *idx); /* takes a zeroed one */

/* A data set from a file of images, (N,H,W), (N,H,W,C) or (N,features), and a file of labels (N).
 * classes 0 = largest label + 1. */
BG_MUST enum bg_status bg_idx_dataset(struct bg_dataset *out, const char *images,
                                      const char *labels, int classes, const char *title);

#endif
