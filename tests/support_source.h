/* A source of batches for tests: samples that lie in memory, in order. */
#ifndef BG_TESTS_SUPPORT_SOURCE_H
#define BG_TESTS_SUPPORT_SOURCE_H

#include "core/source.h"

/* Must not be moved while `source` is in use; images and labels are the caller's. */
struct support_source {
    struct bg_source source;
    const float *images; /* [count][height][width][channels] */
    const int32_t *labels;
    int64_t at;
};
void support_source_open(struct support_source *out, const struct bg_sample_spec *spec,
                         int64_t count, int64_t batch, const float *images, const int32_t *labels);

#endif
