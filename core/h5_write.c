/* Writing datasets into a file that is being created. Types on disk are little-endian whatever the
 * machine; times are not kept, unused text bytes are zero: equal content gives equal bytes. */
#include <string.h>

#include "core/h5_private.h"
#include "core/mem.h"

#define CHUNK_BYTES ((int64_t)1 << 20)
#define SMALL_BYTES ((int64_t)64 << 10) /* below: one contiguous block, unless compressed */

struct writing {
    const char *name;
    hid_t stored, memory;
    int rank;
    const int64_t *dims;
    int64_t bytes;
    size_t item;
    bool compress;
};

/* Groups above the dataset, made one by one so that they keep no times either. */
static enum bg_status make_groups(const struct bg_h5 *file, const char *name)
{
    enum bg_status rc = BG_OK;
    char path[BG_H5_NAME_MAX];
    hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
    if (creation < 0 || H5Pset_obj_track_times(creation, 0) < 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, name, "cannot set up HDF5");
        goto out;
    }
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t length = (size_t)(slash - name);
        memcpy(path, name, length);
        path[length] = '\0';
        if (H5Lexists(file->id, path, H5P_DEFAULT) > 0)
            continue;
        hid_t group = H5Gcreate2(file->id, path, H5P_DEFAULT, creation, H5P_DEFAULT);
        if (group < 0) {
            rc = bg_h5_error(BG_E_IO, file, path, "cannot make the group");
            goto out;
        }
        (void)H5Gclose(group);
    }
out:
    if (creation >= 0)
        (void)H5Pclose(creation);
    return rc;
}

static enum bg_status check_name(const struct bg_h5 *file, const char *name)
{
    size_t length = strlen(name);
    bool good = length > 0 && length < BG_H5_NAME_MAX && name[0] != '/' && name[length - 1] != '/';
    int depth = 0;
    for (const char *at = name; good && *at;) {
        size_t part = strcspn(at, "/");
        good = part > 0 && !(part == 1 && at[0] == '.') && ++depth <= BG_H5_DEPTH_MAX;
        at += part;
        at += *at == '/';
    }
    if (!good)
        return bg_fail(BG_E_RANGE, "%s: \"%.80s\" is not an object name", file->path, name);
    if (file->fd < 0)
        return bg_fail(BG_E_USAGE, "%s: %s: the file is open for reading", file->path, name);
    return BG_OK;
}

static enum bg_status check_dims(const struct bg_h5 *file, struct writing *w)
{
    if (w->rank < 0 || w->rank > BG_H5_RANK_MAX)
        return bg_fail(BG_E_RANGE, "%s: %s: %d dimensions, limit is %d", file->path, w->name,
                       w->rank, BG_H5_RANK_MAX);
    w->bytes = (int64_t)w->item;
    for (int i = 0; i < w->rank; i++) {
        if (w->dims[i] < 0 || (w->bytes > 0 && w->dims[i] > BG_H5_BYTES_MAX / w->bytes))
            return bg_fail(BG_E_RANGE, "%s: %s: dimension %d is %lld", file->path, w->name, i,
                           (long long)w->dims[i]);
        w->bytes *= w->dims[i];
    }
    return BG_OK;
}

/* Chunks of at most CHUNK_BYTES: the leading dimensions are cut first. */
static void chunk_shape(const struct writing *w, hsize_t chunk[BG_H5_RANK_MAX])
{
    int64_t bytes = w->bytes;
    for (int i = 0; i < w->rank; i++) {
        int64_t below = bytes / w->dims[i];
        int64_t rows = below ? CHUNK_BYTES / below : 1;
        rows = rows < 1 ? 1 : rows;
        chunk[i] = (hsize_t)(rows < w->dims[i] ? rows : w->dims[i]);
        bytes = below;
    }
}

static hid_t creation_list(const struct writing *w)
{
    hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    if (creation < 0)
        return creation;
    bool ok = H5Pset_obj_track_times(creation, 0) >= 0;
    if (ok && w->rank > 0 && w->bytes > 0 && (w->compress || w->bytes >= SMALL_BYTES)) {
        hsize_t chunk[BG_H5_RANK_MAX];
        chunk_shape(w, chunk);
        ok = H5Pset_chunk(creation, w->rank, chunk) >= 0;
        if (ok && w->compress)
            ok = H5Pset_shuffle(creation) >= 0 && H5Pset_deflate(creation, 1) >= 0;
        ok = ok && H5Pset_fletcher32(creation) >= 0;
    }
    if (ok)
        return creation;
    (void)H5Pclose(creation);
    return H5I_INVALID_HID;
}

static enum bg_status write_dataset(struct bg_h5 *file, struct writing *w, const void *data)
{
    enum bg_status rc = BG_OK;
    hid_t space = H5I_INVALID_HID, creation = H5I_INVALID_HID, dataset = H5I_INVALID_HID;
    hsize_t dims[BG_H5_RANK_MAX] = {0};
    bg_h5_quiet();
    TRY(check_name(file, w->name));
    TRY(check_dims(file, w));
    TRY(make_groups(file, w->name));
    for (int i = 0; i < w->rank; i++)
        dims[i] = (hsize_t)w->dims[i];
    space = w->rank ? H5Screate_simple(w->rank, dims, NULL) : H5Screate(H5S_SCALAR);
    creation = creation_list(w);
    if (space < 0 || creation < 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, w->name, "cannot set up HDF5");
        goto out;
    }
    dataset = H5Dcreate2(file->id, w->name, w->stored, space, H5P_DEFAULT, creation, H5P_DEFAULT);
    if (dataset < 0) {
        rc = bg_h5_error(BG_E_IO, file, w->name, "cannot be created");
        goto out;
    }
    if (w->bytes > 0 && H5Dwrite(dataset, w->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        rc = bg_h5_error(BG_E_IO, file, w->name, "cannot be written");
out:
    if (dataset >= 0)
        (void)H5Dclose(dataset);
    if (creation >= 0)
        (void)H5Pclose(creation);
    if (space >= 0)
        (void)H5Sclose(space);
    file->broken |= rc != BG_OK;
    return rc;
}

enum bg_status bg_h5_write(struct bg_h5 *file, const char *name, enum bg_h5_type type, int rank,
                           const int64_t *dims, const void *data, bool compress)
{
    struct writing w = {.name = name,
                        .stored = bg_h5_stored(type),
                        .memory = bg_h5_native(type),
                        .rank = rank,
                        .dims = dims,
                        .item = bg_h5_type_size(type),
                        .compress = compress};
    return write_dataset(file, &w, data);
}

enum bg_status bg_h5_write_texts(struct bg_h5 *file, const char *name, const char *texts,
                                 int64_t count, int64_t stride)
{
    enum bg_status rc = BG_OK;
    char *clean = NULL;
    hid_t type = H5I_INVALID_HID;
    bg_h5_quiet();
    if (stride < 1 || stride > BG_H5_TEXT_BYTES_MAX)
        FAIL(BG_E_RANGE, "%s: %s: texts of %lld bytes, limit is %d", file->path, name,
             (long long)stride, BG_H5_TEXT_BYTES_MAX);
    TRY(bg_alloc(&clean, count, (size_t)stride));
    for (int64_t i = 0; i < count; i++) {
        const char *text = texts + i * stride;
        const char *end = memchr(text, 0, (size_t)stride);
        if (!end)
            FAIL(BG_E_RANGE, "%s: %s: text %lld has no final zero within %lld bytes", file->path,
                 name, (long long)i, (long long)stride);
        memcpy(clean + i * stride, text, (size_t)(end - text));
    }
    type = H5Tcopy(H5T_C_S1);
    if (type < 0 || H5Tset_size(type, (size_t)stride) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, name, "cannot set up HDF5");
        goto out;
    }
    struct writing w = {.name = name,
                        .stored = type,
                        .memory = type,
                        .rank = 1,
                        .dims = &count,
                        .item = (size_t)stride};
    TRY(write_dataset(file, &w, clean));
out:
    if (type >= 0)
        (void)H5Tclose(type);
    bg_free(clean);
    file->broken |= rc != BG_OK;
    return rc;
}
