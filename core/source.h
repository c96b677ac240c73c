/* bg_source: where batches come from. Implemented by the loader in datasets/, consumed by
 * policies/trainer. */
#ifndef BG_CORE_SOURCE_H
#define BG_CORE_SOURCE_H

#include <stdint.h>

#include "core/status.h"
#include "core/tensor.h"

/* One batch; the memory belongs to the source and stays valid until the next call to it. */
struct bg_batch {
    int64_t size; /* images in this batch; 0 = end of the pass */
    enum bg_dtype
        dtype; /* BG_U8: raw codes, real = (code - zero_point) * scale. BG_F32: normalised values */
    const void *images;    /* (size,H,W,C) */
    const int32_t *labels; /* (size), 0 <= label < classes */
};

/* What a sample is. */
struct bg_sample_spec {
    int64_t height, width, channels;
    int classes;
    enum bg_dtype dtype; /* BG_U8 or BG_F32 */
    float scale;         /* u8: 1/(255*std) */
    int32_t zero_point;  /* u8: rne(255*mean), 0..255 */
};

struct bg_source {
    void *self;
    struct bg_sample_spec spec;
    int64_t count; /* samples in a pass */
    int64_t batch; /* samples per batch; the last one may be short */
    /* Begins pass `epoch` (order and augmentation are functions of seed and epoch), skipping `skip`
     * batches. */
    enum bg_status (*start)(struct bg_source *source, int64_t epoch, int64_t skip);
    enum bg_status (*next)(struct bg_source *source, struct bg_batch *out);
};

static inline int64_t bg_source_batches(const struct bg_source *source)
{
    return (source->count + source->batch - 1) / source->batch;
}

#endif
