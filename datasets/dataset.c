/* What every reader must give: sizes, labels in range, a hash. */
#include "datasets/dataset.h"

#include <inttypes.h>
#include <math.h>

#include "core/mem.h"

#define LABEL_BLOCK 1024

static enum bg_status check_labels(struct bg_dataset *dataset, const char *what)
{
    int32_t most = 0;
    for (int64_t i = 0; i < dataset->count; i++) {
        int32_t label = dataset->labels[i];
        int32_t limit = dataset->classes > 0 ? dataset->classes : BG_CLASSES_MAX;
        if (label < 0 || label >= limit)
            return bg_fail(BG_E_DATA, "%s: label of sample %" PRId64 " is %d, limits are 0 and %d",
                           what, i, label, limit - 1);
        most = label > most ? label : most;
    }
    if (dataset->classes == 0)
        dataset->classes = most + 1;
    return BG_OK;
}

static enum bg_status check_floats(const struct bg_dataset *dataset, int64_t values,
                                   const char *what)
{
    const float *x = dataset->images;
    if (dataset->dtype != BG_F32)
        return BG_OK;
    int64_t each = values / dataset->count;
    for (int64_t i = 0; i < values; i++)
        if (!isfinite(x[i]))
            return bg_fail(BG_E_DATA, "%s: value %" PRId64 " of sample %" PRId64 " is not finite",
                           what, i % each, i / each);
    return BG_OK;
}

static enum bg_status check_classes(const struct bg_dataset *dataset, const char *what)
{
    enum bg_status rc = BG_OK;
    int64_t *counts = NULL;
    TRY(bg_alloc(&counts, dataset->classes, sizeof *counts));
    bg_dataset_count_classes(dataset, counts);
    for (int c = 0; c < dataset->classes; c++)
        if (counts[c] == 0)
            FAIL(BG_E_DATA, "%s: class %d has no samples (%d classes)", what, c, dataset->classes);
out:
    bg_free(counts);
    return rc;
}

static enum bg_status fill_hash(struct bg_dataset *dataset, int64_t values)
{
    enum bg_status rc = BG_OK;
    struct bg_hash *hash = NULL;
    uint8_t block[4 * LABEL_BLOCK];
    TRY(bg_hash_start(&hash));
    TRY(bg_hash_add(hash, dataset->images, (size_t)values * bg_dtype_size(dataset->dtype)));
    for (int64_t i = 0; i < dataset->count; i += LABEL_BLOCK) {
        int64_t n = dataset->count - i < LABEL_BLOCK ? dataset->count - i : LABEL_BLOCK;
        for (int64_t k = 0; k < n; k++)
            for (int byte = 0; byte < 4; byte++)
                block[4 * k + byte] = (uint8_t)((uint32_t)dataset->labels[i + k] >> (8 * byte));
        TRY(bg_hash_add(hash, block, (size_t)(4 * n)));
    }
    rc = bg_hash_end(hash, dataset->hash);
    hash = NULL;
out:
    bg_hash_abandon(hash);
    return rc;
}

enum bg_status bg_dataset_check(struct bg_dataset *dataset, bool need_all_classes, const char *what)
{
    enum bg_status rc = BG_OK;
    const struct bg_shape shape = {
        .rank = 4, .dims = {dataset->count, dataset->height, dataset->width, dataset->channels}};
    if (dataset->count < 1 || dataset->count > INT32_MAX)
        FAIL(BG_E_DATA, "%s: %" PRId64 " samples, limits are 1 and %d", what, dataset->count,
             INT32_MAX);
    TRY(bg_shape_check(&shape, what));
    if (dataset->dtype != BG_U8 && dataset->dtype != BG_F32)
        FAIL(BG_E_DATA, "%s: images are %s, expected u8 or f32", what,
             bg_dtype_name(dataset->dtype));
    if (dataset->classes < 0 || dataset->classes > BG_CLASSES_MAX)
        FAIL(BG_E_DATA, "%s: %d classes, limit is %d", what, dataset->classes, BG_CLASSES_MAX);
    TRY(check_labels(dataset, what));
    if (dataset->classes < 2)
        FAIL(BG_E_DATA, "%s: %d class, there must be at least 2", what, dataset->classes);
    TRY(check_floats(dataset, bg_shape_count(&shape), what));
    if (need_all_classes)
        TRY(check_classes(dataset, what));
    if (dataset->hash[0] == '\0')
        TRY(fill_hash(dataset, bg_shape_count(&shape)));
out:
    return rc;
}

void bg_dataset_count_classes(const struct bg_dataset *dataset, int64_t *counts)
{
    for (int c = 0; c < dataset->classes; c++)
        counts[c] = 0;
    for (int64_t i = 0; i < dataset->count; i++)
        counts[dataset->labels[i]]++;
}

void bg_dataset_free(struct bg_dataset *dataset)
{
    bg_free(dataset->images);
    bg_free(dataset->labels);
    *dataset = (struct bg_dataset){.count = 0};
}
