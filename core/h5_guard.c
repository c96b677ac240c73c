/* Opening objects of files that may be hostile: each component of a path must be a hard link to a
 * group or dataset inside this file; a dataset must be plain numbers or fixed-length texts, stored
 * inside the file, through filters we know, and not larger than its stored bytes can explain. */
#include <string.h>

#include "core/h5_private.h"

#define BOMB_BYTES ((int64_t)64 << 20)
#define BOMB_RATIO 1000
#define PIECE      ((int64_t)8 << 20)

/* Checks the link at `path` (a prefix of a name). */
static enum bg_status check_link(const struct bg_h5 *file, const char *path)
{
    H5L_info_t info;
    htri_t exists = H5Lexists(file->id, path, H5P_DEFAULT);
    if (exists < 0)
        return bg_h5_error(BG_E_DATA, file, path, "cannot be looked up");
    if (!exists)
        return bg_fail(BG_E_NOT_FOUND, "%s: %s: no such object", file->path, path);
    if (H5Lget_info(file->id, path, &info, H5P_DEFAULT) < 0)
        return bg_h5_error(BG_E_DATA, file, path, "cannot be looked up");
    if (info.type == H5L_TYPE_HARD)
        return BG_OK;
    return bg_fail(BG_E_DATA, "%s: %s: is %s link; only objects of this file are read", file->path,
                   path, info.type == H5L_TYPE_SOFT ? "a soft" : "an external");
}

static enum bg_status check_path(const struct bg_h5 *file, const char *name)
{
    enum bg_status rc = BG_OK;
    char path[BG_H5_NAME_MAX];
    size_t used = 0;
    if (strlen(name) >= sizeof path)
        FAIL(BG_E_RANGE, "%s: an object name of %zu bytes, limit is %zu", file->path, strlen(name),
             sizeof path - 1);
    for (int depth = 0;; depth++) {
        size_t length = strcspn(name + used, "/");
        const char *part = name + used;
        if (length == 0 || (length == 1 && part[0] == '.') || depth == BG_H5_DEPTH_MAX)
            FAIL(BG_E_RANGE, "%s: \"%s\" is not an object name", file->path, name);
        used += length;
        memcpy(path, name, used);
        path[used] = '\0';
        TRY(check_link(file, path));
        if (name[used] == '\0')
            break;
        used++;
    }
out:
    return rc;
}

enum bg_status bg_h5_object_open(const struct bg_h5 *file, const char *name, hid_t *out,
                                 bool *is_group)
{
    enum bg_status rc = BG_OK;
    *out = H5I_INVALID_HID;
    bg_h5_quiet();
    bool root = name[0] == '\0' || strcmp(name, "/") == 0;
    if (!root)
        TRY(check_path(file, name));
    hid_t id = H5Oopen(file->id, root ? "/" : name, H5P_DEFAULT);
    if (id < 0)
        return bg_h5_error(BG_E_DATA, file, name, "cannot be opened");
    H5I_type_t type = H5Iget_type(id);
    if (type != H5I_GROUP && type != H5I_DATASET) {
        (void)H5Oclose(id);
        return bg_fail(BG_E_DATA, "%s: %s: neither group nor dataset", file->path, name);
    }
    *is_group = type == H5I_GROUP;
    *out = id;
out:
    return rc;
}

/* Number types: whole-width integers and IEEE reals of either byte order. */
static bool find_type(hid_t type, enum bg_h5_type *out)
{
    size_t size = H5Tget_size(type);
    H5T_class_t class = H5Tget_class(type);
    if (class == H5T_FLOAT) {
        *out = size == 4 ? BG_H5_F32 : BG_H5_F64;
        return H5Tequal(type, H5T_IEEE_F32LE) > 0 || H5Tequal(type, H5T_IEEE_F32BE) > 0 ||
               H5Tequal(type, H5T_IEEE_F64LE) > 0 || H5Tequal(type, H5T_IEEE_F64BE) > 0;
    }
    if (class != H5T_INTEGER || H5Tget_precision(type) != size * 8 || H5Tget_offset(type) != 0)
        return false;
    H5T_order_t order = H5Tget_order(type);
    if (order != H5T_ORDER_LE && order != H5T_ORDER_BE)
        return false;
    bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    for (int i = BG_H5_S8; i < BG_H5_TYPES; i++) {
        bool row_signed = (i - BG_H5_S8) % 2 == 0;
        if (bg_h5_type_size((enum bg_h5_type)i) == size && row_signed == is_signed) {
            *out = (enum bg_h5_type)i;
            return true;
        }
    }
    return false;
}

static enum bg_status check_type(const struct bg_h5 *file, const char *name,
                                 struct bg_h5_dataset *dataset)
{
    enum bg_status rc = BG_OK;
    hid_t type = H5Dget_type(dataset->id);
    if (type < 0)
        return bg_h5_error(BG_E_DATA, file, name, "has no readable type");
    if (H5Tcommitted(type) != 0)
        FAIL(BG_E_DATA, "%s: %s: a named type is not read", file->path, name);
    if (H5Tget_class(type) == H5T_STRING) {
        size_t size = H5Tget_size(type);
        if (H5Tis_variable_str(type) != 0)
            FAIL(BG_E_DATA, "%s: %s: texts of variable length are not read", file->path, name);
        if (size == 0 || size > BG_H5_TEXT_BYTES_MAX)
            FAIL(BG_E_DATA, "%s: %s: texts of %zu bytes, limit is %d", file->path, name, size,
                 BG_H5_TEXT_BYTES_MAX);
        dataset->is_text = true;
        dataset->info.type = BG_H5_U8;
        /* One byte more than stored, so that a text without a final zero gets one. */
        dataset->item = size + 1;
        dataset->memory_type = H5Tcopy(type);
        if (dataset->memory_type < 0 || H5Tset_size(dataset->memory_type, size + 1) < 0 ||
            H5Tset_strpad(dataset->memory_type, H5T_STR_NULLTERM) < 0)
            rc = bg_h5_error(BG_E_DATA, file, name, "has no readable type");
        goto out;
    }
    if (!find_type(type, &dataset->info.type))
        FAIL(BG_E_DATA, "%s: %s: neither whole-width integers, IEEE reals nor fixed-length texts",
             file->path, name);
    dataset->item = bg_h5_type_size(dataset->info.type);
    dataset->memory_type = H5Tcopy(bg_h5_native(dataset->info.type));
out:
    (void)H5Tclose(type);
    return rc;
}

static enum bg_status check_space(const struct bg_h5 *file, const char *name,
                                  struct bg_h5_dataset *dataset)
{
    enum bg_status rc = BG_OK;
    hsize_t dims[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset->id);
    H5S_class_t class = space < 0 ? H5S_NO_CLASS : H5Sget_simple_extent_type(space);
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if ((class != H5S_SCALAR && class != H5S_SIMPLE) || dataset->item == 0)
        FAIL(BG_E_DATA, "%s: %s: has no shape", file->path, name);
    if (rank < 0 || rank > BG_H5_RANK_MAX || H5Sget_simple_extent_dims(space, dims, NULL) < 0)
        FAIL(BG_E_DATA, "%s: %s: %d dimensions, limit is %d", file->path, name, rank,
             BG_H5_RANK_MAX);
    uint64_t bytes = dataset->item;
    dataset->info.rank = rank;
    for (int i = 0; i < rank; i++) {
        if (dims[i] > (uint64_t)BG_H5_BYTES_MAX ||
            (bytes > 0 && dims[i] > (uint64_t)BG_H5_BYTES_MAX / bytes))
            FAIL(BG_E_DATA, "%s: %s: declares more than %lld bytes", file->path, name,
                 (long long)BG_H5_BYTES_MAX);
        bytes *= dims[i];
        dataset->info.dims[i] = (int64_t)dims[i];
    }
    dataset->count = (int64_t)(bytes / dataset->item);
out:
    if (space >= 0)
        (void)H5Sclose(space);
    return rc;
}

static bool known_filters(hid_t creation)
{
    int count = H5Pget_nfilters(creation);
    bool known = count >= 0 && count <= 8;
    for (int i = 0; known && i < count; i++) {
        unsigned flags = 0, config = 0;
        size_t values = 0;
        H5Z_filter_t id =
            H5Pget_filter2(creation, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
        known = id == H5Z_FILTER_DEFLATE || id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32;
    }
    return known;
}

static enum bg_status check_chunk(const struct bg_h5 *file, const char *name, hid_t creation,
                                  const struct bg_h5_dataset *dataset)
{
    hsize_t dims[H5S_MAX_RANK];
    int rank = H5Pget_chunk(creation, H5S_MAX_RANK, dims);
    uint64_t bytes = dataset->item;
    if (rank != dataset->info.rank)
        return bg_fail(BG_E_DATA, "%s: %s: chunks have another rank than the data", file->path,
                       name);
    for (int i = 0; i < rank; i++) {
        if (dims[i] == 0 || dims[i] > (uint64_t)BG_H5_CHUNK_MAX / bytes)
            return bg_fail(BG_E_DATA, "%s: %s: a chunk is larger than %lld bytes", file->path, name,
                           (long long)BG_H5_CHUNK_MAX);
        bytes *= dims[i];
    }
    return BG_OK;
}

static enum bg_status check_storage(const struct bg_h5 *file, const char *name,
                                    const struct bg_h5_dataset *dataset)
{
    enum bg_status rc = BG_OK;
    hid_t creation = H5Dget_create_plist(dataset->id);
    if (creation < 0)
        return bg_h5_error(BG_E_DATA, file, name, "has no readable storage");
    H5D_layout_t layout = H5Pget_layout(creation);
    if (layout == H5D_VIRTUAL)
        FAIL(BG_E_DATA, "%s: %s: a virtual dataset; only data of this file is read", file->path,
             name);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        FAIL(BG_E_DATA, "%s: %s: unknown storage layout", file->path, name);
    if (H5Pget_external_count(creation) != 0)
        FAIL(BG_E_DATA, "%s: %s: data in another file is not read", file->path, name);
    if (!known_filters(creation))
        FAIL(BG_E_DATA, "%s: %s: filters other than deflate, shuffle and fletcher32 are not read",
             file->path, name);
    if (layout == H5D_CHUNKED)
        TRY(check_chunk(file, name, creation, dataset));
    int64_t declared = dataset->count * (int64_t)dataset->item;
    if (file->fd >= 0 || declared <= BOMB_BYTES)
        goto out;
    uint64_t stored = H5Dget_storage_size(dataset->id);
    if (stored > (uint64_t)file->bytes)
        FAIL(BG_E_DATA, "%s: %s: claims more bytes than the file has", file->path, name);
    if ((uint64_t)declared / BOMB_RATIO > stored)
        FAIL(BG_E_DATA, "%s: %s: declares %lld bytes, %llu are stored", file->path, name,
             (long long)declared, (unsigned long long)stored);
out:
    (void)H5Pclose(creation);
    return rc;
}

enum bg_status bg_h5_dataset_open(const struct bg_h5 *file, const char *name,
                                  struct bg_h5_dataset *out)
{
    enum bg_status rc = BG_OK;
    bool is_group = false;
    *out = (struct bg_h5_dataset){.id = H5I_INVALID_HID, .memory_type = H5I_INVALID_HID};
    TRY(bg_h5_object_open(file, name, &out->id, &is_group));
    if (is_group)
        FAIL(BG_E_NOT_FOUND, "%s: %s: is a group, not a dataset", file->path, name);
    TRY(check_type(file, name, out));
    TRY(check_space(file, name, out));
    TRY(check_storage(file, name, out));
out:
    if (rc != BG_OK)
        bg_h5_dataset_close(out);
    return rc;
}

void bg_h5_dataset_close(struct bg_h5_dataset *dataset)
{
    if (dataset->memory_type >= 0)
        (void)H5Tclose(dataset->memory_type);
    if (dataset->id >= 0)
        (void)H5Oclose(dataset->id);
    dataset->id = dataset->memory_type = H5I_INVALID_HID;
}

void bg_h5_dataset_pieces(const struct bg_h5_dataset *dataset, int64_t *rows, int64_t *piece,
                          int64_t *row_elements)
{
    *rows = dataset->info.rank ? dataset->info.dims[0] : 1;
    *row_elements = *rows ? dataset->count / *rows : 0;
    int64_t row_bytes = *row_elements * (int64_t)dataset->item;
    *piece = row_bytes ? PIECE / row_bytes : 1;
    *piece = *piece < *rows ? *piece : *rows;
    *piece = *piece < 1 ? 1 : *piece;
}

enum bg_status bg_h5_dataset_rows(const struct bg_h5 *file, const char *name,
                                  const struct bg_h5_dataset *dataset, const int64_t range[2],
                                  void *dst)
{
    enum bg_status rc = BG_OK;
    hid_t space = H5I_INVALID_HID, memory = H5I_INVALID_HID;
    hsize_t start[BG_H5_RANK_MAX] = {0}, count[BG_H5_RANK_MAX] = {0};
    int rank = dataset->info.rank;
    if (dataset->count == 0 || range[1] == 0)
        return BG_OK;
    if (rank == 0) {
        if (H5Dread(dataset->id, dataset->memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, dst) < 0)
            return bg_h5_error(BG_E_DATA, file, name, "cannot be read");
        return BG_OK;
    }
    for (int i = 0; i < rank; i++)
        count[i] = (hsize_t)dataset->info.dims[i];
    start[0] = (hsize_t)range[0];
    count[0] = (hsize_t)range[1];
    space = H5Dget_space(dataset->id);
    memory = H5Screate_simple(rank, count, NULL);
    if (space < 0 || memory < 0 ||
        H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(dataset->id, dataset->memory_type, memory, space, H5P_DEFAULT, dst) < 0)
        rc = bg_h5_error(BG_E_DATA, file, name, "cannot be read");
    if (space >= 0)
        (void)H5Sclose(space);
    if (memory >= 0)
        (void)H5Sclose(memory);
    return rc;
}
