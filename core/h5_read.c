/* Reading whole datasets, as they are or converted without loss. What the file declares is checked
 * against what the caller expects before anything is allocated or read. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/h5_private.h"
#include "core/mem.h"

bool bg_h5_has(struct bg_h5 *file, const char *name)
{
    hid_t id = H5I_INVALID_HID;
    bool is_group = false;
    if (bg_h5_object_open(file, name, &id, &is_group) != BG_OK) {
        bg_error_clear();
        return false;
    }
    (void)H5Oclose(id);
    return true;
}

enum bg_status bg_h5_info(struct bg_h5 *file, const char *name, struct bg_h5_info *out)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset dataset;
    *out = (struct bg_h5_info){0};
    TRY(bg_h5_dataset_open(file, name, &dataset));
    if (dataset.is_text)
        FAIL(BG_E_DATA, "%s: %s: holds texts, not numbers", file->path, name);
    *out = dataset.info;
out:
    bg_h5_dataset_close(&dataset);
    return rc;
}

/* "u8 60000x28x28"; -1 prints as "?". */
static void describe(enum bg_h5_type type, int rank, const int64_t *dims, char out[160])
{
    size_t used = (size_t)snprintf(out, 160, "%s ", bg_h5_type_name(type));
    if (rank == 0)
        (void)snprintf(out + used, 160 - used, "scalar");
    for (int i = 0; i < rank && i < BG_H5_RANK_MAX; i++) {
        char number[24] = "?";
        if (dims[i] >= 0)
            (void)snprintf(number, sizeof number, "%" PRId64, dims[i]);
        used += (size_t)snprintf(out + used, 160 - used, "%s%s", i ? "x" : "", number);
    }
}

static enum bg_status check_shape(const struct bg_h5 *file, const char *name,
                                  const struct bg_h5_dataset *dataset,
                                  const struct bg_h5_info *expected)
{
    const struct bg_h5_info *info = &dataset->info;
    bool same = info->rank == expected->rank && info->type == expected->type && !dataset->is_text;
    for (int i = 0; same && i < info->rank; i++)
        same = expected->dims[i] == -1 || expected->dims[i] == info->dims[i];
    if (same)
        return BG_OK;
    char has[160], wants[160];
    describe(info->type, info->rank, info->dims, has);
    describe(expected->type, expected->rank, expected->dims, wants);
    return bg_fail(BG_E_DATA, "%s: %s: holds %s%s, expected %s", file->path, name,
                   dataset->is_text ? "texts, " : "", has, wants);
}

static enum bg_status make_expected(const struct bg_h5 *file, enum bg_h5_type type, int rank,
                                    const int64_t *dims, struct bg_h5_info *out)
{
    *out = (struct bg_h5_info){.type = type, .rank = rank};
    if (rank < 0 || rank > BG_H5_RANK_MAX)
        return bg_fail(BG_E_RANGE, "%s: %d dimensions, limit is %d", file->path, rank,
                       BG_H5_RANK_MAX);
    if (rank > 0)
        memcpy(out->dims, dims, (size_t)rank * sizeof *dims);
    return BG_OK;
}

static enum bg_status read_whole(const struct bg_h5 *file, const char *name,
                                 const struct bg_h5_dataset *dataset, void *dst)
{
    const int64_t all[2] = {0, dataset->info.rank ? dataset->info.dims[0] : 1};
    return bg_h5_dataset_rows(file, name, dataset, all, dst);
}

enum bg_status bg_h5_read(struct bg_h5 *file, const char *name, enum bg_h5_type type, int rank,
                          const int64_t *dims, void *dst, int64_t room)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset dataset = {.id = H5I_INVALID_HID, .memory_type = H5I_INVALID_HID};
    struct bg_h5_info expected;
    TRY(make_expected(file, type, rank, dims, &expected));
    TRY(bg_h5_dataset_open(file, name, &dataset));
    TRY(check_shape(file, name, &dataset, &expected));
    int64_t bytes = dataset.count * (int64_t)dataset.item;
    if (bytes > room)
        FAIL(BG_E_DATA, "%s: %s: holds %lld bytes, room is for %lld", file->path, name,
             (long long)bytes, (long long)room);
    TRY(read_whole(file, name, &dataset, dst));
out:
    bg_h5_dataset_close(&dataset);
    return rc;
}

/* An integer of any of our types: the value, or `big` for u64 above INT64_MAX. */
struct number {
    int64_t value;
    bool big;
};

static struct number load_int(const void *data, int64_t i, enum bg_h5_type type)
{
    switch (type) {
    case BG_H5_S8:
        return (struct number){((const int8_t *)data)[i], false};
    case BG_H5_U8:
        return (struct number){((const uint8_t *)data)[i], false};
    case BG_H5_S16:
        return (struct number){((const int16_t *)data)[i], false};
    case BG_H5_U16:
        return (struct number){((const uint16_t *)data)[i], false};
    case BG_H5_S32:
        return (struct number){((const int32_t *)data)[i], false};
    case BG_H5_U32:
        return (struct number){((const uint32_t *)data)[i], false};
    case BG_H5_U64: {
        uint64_t value = ((const uint64_t *)data)[i];
        return (struct number){value > INT64_MAX ? 0 : (int64_t)value, value > INT64_MAX};
    }
    default:
        return (struct number){((const int64_t *)data)[i], false};
    }
}

/* false when the value does not fit. */
static bool store_int(void *data, int64_t i, enum bg_h5_type type, int64_t value)
{
    static const struct {
        int64_t min, max;
    } limits[BG_H5_TYPES] = {
        [BG_H5_S8] = {INT8_MIN, INT8_MAX},    [BG_H5_U8] = {0, UINT8_MAX},
        [BG_H5_S16] = {INT16_MIN, INT16_MAX}, [BG_H5_U16] = {0, UINT16_MAX},
        [BG_H5_S32] = {INT32_MIN, INT32_MAX}, [BG_H5_U32] = {0, UINT32_MAX},
        [BG_H5_S64] = {INT64_MIN, INT64_MAX}, [BG_H5_U64] = {0, INT64_MAX},
    };
    if (value < limits[type].min || value > limits[type].max)
        return false;
    uint64_t bits = (uint64_t)value;
    uint8_t one = (uint8_t)bits;
    uint16_t two = (uint16_t)bits;
    uint32_t four = (uint32_t)bits;
    size_t size = bg_h5_type_size(type);
    const void *from = size == 1   ? (const void *)&one
                       : size == 2 ? (const void *)&two
                       : size == 4 ? (const void *)&four
                                   : (const void *)&bits;
    memcpy((char *)data + (size_t)i * size, from, size);
    return true;
}

/* f64 to f32 or back. A NaN stays a NaN, its payload may change. */
static bool convert_real(void *dst, const void *src, int64_t i, enum bg_h5_type to)
{
    if (to == BG_H5_F64) {
        ((double *)dst)[i] = (double)((const float *)src)[i];
        return true;
    }
    double value = ((const double *)src)[i];
    bool finite = value - value == 0.0;
    if (finite && (value > 3.4028234663852886e38 || value < -3.4028234663852886e38))
        return false;
    ((float *)dst)[i] = (float)value;
    return !finite || (double)((float *)dst)[i] == value;
}

static enum bg_status convert(const struct bg_h5 *file, const char *name,
                              const struct bg_h5_dataset *dataset, enum bg_h5_type to, void *dst,
                              const void *src)
{
    enum bg_h5_type from = dataset->info.type;
    bool real = from <= BG_H5_F64;
    for (int64_t i = 0; i < dataset->count; i++) {
        bool ok = false;
        if (real) {
            ok = convert_real(dst, src, i, to);
        } else {
            struct number number = load_int(src, i, from);
            ok = !number.big && store_int(dst, i, to, number.value);
        }
        if (!ok)
            return bg_fail(BG_E_DATA, "%s: %s: item %lld of %s does not fit %s without loss",
                           file->path, name, (long long)i, bg_h5_type_name(from),
                           bg_h5_type_name(to));
    }
    return BG_OK;
}

enum bg_status bg_h5_read_new(struct bg_h5 *file, const char *name, enum bg_h5_type type, int rank,
                              int64_t *dims, void *out, int64_t limit)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset dataset = {.id = H5I_INVALID_HID, .memory_type = H5I_INVALID_HID};
    struct bg_h5_info expected;
    void *raw = NULL, *converted = NULL, *result = NULL;
    memcpy(out, &result, sizeof result);
    TRY(make_expected(file, type, rank, dims, &expected));
    TRY(bg_h5_dataset_open(file, name, &dataset));
    enum bg_h5_type from = dataset.info.type;
    bool same_class = (from <= BG_H5_F64) == (type <= BG_H5_F64);
    if (same_class)
        expected.type = from;
    TRY(check_shape(file, name, &dataset, &expected));
    size_t size = bg_h5_type_size(type) > dataset.item ? bg_h5_type_size(type) : dataset.item;
    if (dataset.count > limit / (int64_t)size)
        FAIL(BG_E_DATA, "%s: %s: %lld items of %zu bytes, limit is %lld bytes", file->path, name,
             (long long)dataset.count, size, (long long)limit);
    TRY(bg_alloc(&raw, dataset.count, dataset.item));
    TRY(read_whole(file, name, &dataset, raw));
    if (from != type) {
        TRY(bg_alloc(&converted, dataset.count, bg_h5_type_size(type)));
        TRY(convert(file, name, &dataset, type, converted, raw));
    }
    for (int i = 0; i < rank; i++)
        dims[i] = dataset.info.dims[i];
    result = from != type ? converted : raw;
    memcpy(out, &result, sizeof result);
out:
    if (raw != result)
        bg_free(raw);
    if (converted != result)
        bg_free(converted);
    bg_h5_dataset_close(&dataset);
    return rc;
}

enum bg_status bg_h5_read_texts(struct bg_h5 *file, const char *name, char *texts, int64_t count,
                                int64_t stride)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset dataset;
    char *raw = NULL;
    TRY(bg_h5_dataset_open(file, name, &dataset));
    if (!dataset.is_text || dataset.info.rank != 1 || dataset.info.dims[0] != count)
        FAIL(BG_E_DATA, "%s: %s: expected a list of %lld texts", file->path, name,
             (long long)count);
    TRY(bg_alloc(&raw, count, dataset.item));
    TRY(read_whole(file, name, &dataset, raw));
    for (int64_t i = 0; i < count; i++) {
        const char *text = raw + i * (int64_t)dataset.item;
        size_t length = strlen(text); /* the last byte of an item is zero: h5_guard.c */
        if (length >= (size_t)stride)
            FAIL(BG_E_DATA, "%s: %s: text %lld has %zu bytes, limit is %lld", file->path, name,
                 (long long)i, length, (long long)stride - 1);
        memset(texts + i * stride, 0, (size_t)stride);
        memcpy(texts + i * stride, text, length + 1);
    }
out:
    bg_free(raw);
    bg_h5_dataset_close(&dataset);
    return rc;
}
