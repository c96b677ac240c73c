/* Sizes and names of number types, and shapes. */
#include "core/tensor.h"

#include <assert.h>
#include <stdio.h>

#define COUNT_MAX ((int64_t)1 << 40)

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [BG_F32] = {"f32", 4}, [BG_BF16] = {"bf16", 2}, [BG_S8] = {"s8", 1},
    [BG_U8] = {"u8", 1},   [BG_S16] = {"s16", 2},   [BG_S32] = {"s32", 4},
};
static_assert(sizeof dtypes / sizeof dtypes[0] == BG_DTYPES, "one row per number type");

size_t bg_dtype_size(enum bg_dtype dtype)
{
    return (unsigned)dtype < BG_DTYPES ? dtypes[dtype].size : 0;
}

const char *bg_dtype_name(enum bg_dtype dtype)
{
    return (unsigned)dtype < BG_DTYPES ? dtypes[dtype].name : "unknown";
}

int64_t bg_shape_count(const struct bg_shape *shape)
{
    int64_t count = 1;

    for (int i = 0; i < shape->rank; i++)
        count *= shape->dims[i];
    return count;
}

enum bg_status bg_shape_check(const struct bg_shape *shape, const char *what)
{
    int64_t count = 1;
    char text[64];

    if (shape->rank < 0 || shape->rank > BG_RANK_MAX)
        return bg_fail(BG_E_SHAPE, "%s: %d dimensions: limit is %d", what, shape->rank,
                       BG_RANK_MAX);
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 1)
            return bg_fail(BG_E_SHAPE, "%s: shape %s: dimension %d is %lld, must be at least 1",
                           what, bg_shape_text(shape, text), i, (long long)shape->dims[i]);
        if (shape->dims[i] > COUNT_MAX / count)
            return bg_fail(BG_E_SHAPE, "%s: shape %s: limit is 2^40 elements", what,
                           bg_shape_text(shape, text));
        count *= shape->dims[i];
    }
    return BG_OK;
}

bool bg_shape_equal(const struct bg_shape *a, const struct bg_shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dims[i] != b->dims[i])
            return false;
    return true;
}

const char *bg_shape_text(const struct bg_shape *shape, char out[64])
{
    size_t used = 0;

    (void)snprintf(out, 64, "scalar");
    for (int i = 0; i < shape->rank && i < BG_RANK_MAX && used < 63; i++) {
        int length =
            snprintf(out + used, 64 - used, i == 0 ? "%lld" : "x%lld", (long long)shape->dims[i]);
        used += length > 0 ? (size_t)length : 0;
    }
    return out;
}
