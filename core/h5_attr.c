/* Attributes: one text, integer or real each. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/h5_private.h"
#include "core/mem.h"

#define KEY_MAX 256

static enum bg_status fail_key(const struct bg_h5 *file, const char *object, const char *key,
                               const char *sentence)
{
    char what[BG_H5_NAME_MAX + KEY_MAX];
    (void)snprintf(what, sizeof what, "%.400s: attribute %.200s", object[0] ? object : "/", key);
    return bg_h5_error(BG_E_DATA, file, what, sentence);
}

static enum bg_status refuse_key(const struct bg_h5 *file, const char *object, const char *key,
                                 const char *sentence)
{
    return bg_fail(BG_E_DATA, "%s: %s: attribute %.200s: %s", file->path, object[0] ? object : "/",
                   key, sentence);
}

static enum bg_status set(struct bg_h5 *file, const char *object, const char *key,
                          const hid_t types[2], const void *value)
{
    enum bg_status rc = BG_OK;
    hid_t id = H5I_INVALID_HID, space = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    bool is_group = false;
    if (file->fd < 0)
        return bg_fail(BG_E_USAGE, "%s: %s: the file is open for reading", file->path, key);
    TRY(bg_h5_object_open(file, object, &id, &is_group));
    htri_t exists = H5Aexists(id, key);
    space = H5Screate(H5S_SCALAR);
    if (exists < 0 || space < 0 || (exists > 0 && H5Adelete(id, key) < 0)) {
        rc = fail_key(file, object, key, "cannot be set");
        goto out;
    }
    attribute = H5Acreate2(id, key, types[0], space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, types[1], value) < 0)
        rc = fail_key(file, object, key, "cannot be set");
out:
    if (attribute >= 0)
        (void)H5Aclose(attribute);
    if (space >= 0)
        (void)H5Sclose(space);
    if (id >= 0)
        (void)H5Oclose(id);
    file->broken |= rc != BG_OK;
    return rc;
}

enum bg_status bg_h5_set_text(struct bg_h5 *file, const char *object, const char *key,
                              const char *value)
{
    enum bg_status rc = BG_OK;
    hid_t type = H5I_INVALID_HID;
    size_t length = strlen(value);
    bg_h5_quiet();
    if (length >= BG_H5_ATTRIBUTE_MAX)
        FAIL(BG_E_RANGE, "%s: %s: attribute %s has %zu bytes, limit is %d; write it as a text list",
             file->path, object, key, length, BG_H5_ATTRIBUTE_MAX - 1);
    type = H5Tcopy(H5T_C_S1);
    if (type < 0 || H5Tset_size(type, length + 1) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        rc = fail_key(file, object, key, "cannot be set");
        goto out;
    }
    const hid_t types[2] = {type, type};
    TRY(set(file, object, key, types, value));
out:
    if (type >= 0)
        (void)H5Tclose(type);
    return rc;
}

enum bg_status bg_h5_set_int(struct bg_h5 *file, const char *object, const char *key, int64_t value)
{
    const hid_t types[2] = {bg_h5_stored(BG_H5_S64), bg_h5_native(BG_H5_S64)};
    return set(file, object, key, types, &value);
}

enum bg_status bg_h5_set_real(struct bg_h5 *file, const char *object, const char *key, double value)
{
    const hid_t types[2] = {bg_h5_stored(BG_H5_F64), bg_h5_native(BG_H5_F64)};
    return set(file, object, key, types, &value);
}

/* One attribute, whatever its kind. */
struct value {
    H5T_class_t class; /* STRING, INTEGER or FLOAT */
    char *text;        /* owned, for STRING */
    int64_t number;
    double real;
};

static enum bg_status read_text(const struct bg_h5 *file, const char *object, const char *key,
                                const hid_t ids[2], struct value *out)
{
    enum bg_status rc = BG_OK;
    hid_t memory = H5I_INVALID_HID;
    size_t size = H5Tget_size(ids[1]);
    if (H5Tis_variable_str(ids[1]) != 0)
        return refuse_key(file, object, key, "texts of variable length are not read");
    if (size == 0 || size > BG_H5_TEXT_BYTES_MAX)
        return refuse_key(file, object, key, "the text is too long");
    TRY(bg_alloc(&out->text, (int64_t)size + 2, 1));
    memory = H5Tcopy(ids[1]);
    if (memory < 0 || H5Tset_size(memory, size + 1) < 0 ||
        H5Tset_strpad(memory, H5T_STR_NULLTERM) < 0 || H5Aread(ids[0], memory, out->text) < 0)
        rc = fail_key(file, object, key, "cannot be read");
out:
    if (memory >= 0)
        (void)H5Tclose(memory);
    return rc;
}

static enum bg_status read_number(const struct bg_h5 *file, const char *object, const char *key,
                                  const hid_t ids[2], struct value *out)
{
    size_t size = H5Tget_size(ids[1]);
    if (size > 8 || H5Tget_precision(ids[1]) != size * 8)
        return refuse_key(file, object, key, "is not a plain number");
    if (out->class == H5T_FLOAT) {
        if (H5Aread(ids[0], H5T_NATIVE_DOUBLE, &out->real) < 0)
            return fail_key(file, object, key, "cannot be read");
        return BG_OK;
    }
    if (size == 8 && H5Tget_sign(ids[1]) == H5T_SGN_NONE) {
        uint64_t value = 0;
        if (H5Aread(ids[0], H5T_NATIVE_UINT64, &value) < 0)
            return fail_key(file, object, key, "cannot be read");
        if (value > INT64_MAX)
            return refuse_key(file, object, key, "does not fit 64 signed bits");
        out->number = (int64_t)value;
        return BG_OK;
    }
    if (H5Aread(ids[0], H5T_NATIVE_INT64, &out->number) < 0)
        return fail_key(file, object, key, "cannot be read");
    return BG_OK;
}

/* Reads attribute `key` of an open object. */
static enum bg_status read_value(const struct bg_h5 *file, const char *object, const char *key,
                                 hid_t id, struct value *out)
{
    enum bg_status rc = BG_OK;
    hid_t attribute = H5Aopen(id, key, H5P_DEFAULT);
    hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    hid_t space = attribute < 0 ? H5I_INVALID_HID : H5Aget_space(attribute);
    *out = (struct value){.class = H5T_NO_CLASS};
    if (attribute < 0 || type < 0 || space < 0) {
        rc = fail_key(file, object, key, "cannot be opened");
        goto out;
    }
    out->class = H5Tget_class(type);
    const hid_t ids[2] = {attribute, type};
    if (H5Sget_simple_extent_type(space) == H5S_NULL || H5Sget_simple_extent_npoints(space) != 1 ||
        H5Tcommitted(type) != 0)
        rc = refuse_key(file, object, key, "is not a single text or number");
    else if (out->class == H5T_STRING)
        rc = read_text(file, object, key, ids, out);
    else if (out->class == H5T_INTEGER || out->class == H5T_FLOAT)
        rc = read_number(file, object, key, ids, out);
    else
        rc = refuse_key(file, object, key, "is neither text nor number");
out:
    if (space >= 0)
        (void)H5Sclose(space);
    if (type >= 0)
        (void)H5Tclose(type);
    if (attribute >= 0)
        (void)H5Aclose(attribute);
    return rc;
}

static enum bg_status get(const struct bg_h5 *file, const char *object, const char *key,
                          H5T_class_t class, struct value *out)
{
    enum bg_status rc = BG_OK;
    hid_t id = H5I_INVALID_HID;
    bool is_group = false;
    *out = (struct value){.class = H5T_NO_CLASS};
    TRY(bg_h5_object_open(file, object, &id, &is_group));
    htri_t exists = H5Aexists(id, key);
    if (exists == 0)
        FAIL(BG_E_NOT_FOUND, "%s: %s: no attribute %s", file->path, object[0] ? object : "/", key);
    TRY(read_value(file, object, key, id, out));
    if (out->class != class)
        FAIL(BG_E_DATA, "%s: %s: attribute %s is not %s", file->path, object[0] ? object : "/", key,
             class == H5T_STRING    ? "a text"
             : class == H5T_INTEGER ? "an integer"
                                    : "a real number");
out:
    if (id >= 0)
        (void)H5Oclose(id);
    return rc;
}

enum bg_status bg_h5_get_text(struct bg_h5 *file, const char *object, const char *key, char *out,
                              int64_t room)
{
    enum bg_status rc = BG_OK;
    struct value value;
    if (room > 0)
        out[0] = '\0';
    TRY(get(file, object, key, H5T_STRING, &value));
    const char *text = value.text ? value.text : "";
    size_t length = strlen(text);
    if (room <= 0 || length >= (size_t)room)
        FAIL(BG_E_DATA, "%s: %s: attribute %s has %zu bytes, limit is %lld", file->path, object,
             key, length, (long long)room - 1);
    memcpy(out, text, length + 1);
out:
    bg_free(value.text);
    return rc;
}

enum bg_status bg_h5_get_int(struct bg_h5 *file, const char *object, const char *key, int64_t *out)
{
    struct value value;
    enum bg_status rc = get(file, object, key, H5T_INTEGER, &value);
    bg_free(value.text);
    *out = rc == BG_OK ? value.number : 0;
    return rc;
}

enum bg_status bg_h5_get_real(struct bg_h5 *file, const char *object, const char *key, double *out)
{
    struct value value;
    enum bg_status rc = get(file, object, key, H5T_FLOAT, &value);
    bg_free(value.text);
    *out = rc == BG_OK ? value.real : 0;
    return rc;
}

struct listing {
    const struct bg_h5 *file;
    const char *object;
    struct bg_text *lines;
    unsigned errors; /* bg_h5_error_count at the start */
    enum bg_status rc;
};

static herr_t list_one(hid_t id, const char *key, const H5A_info_t *info, void *self)
{
    struct listing *listing = self;
    struct value value;
    (void)info;
    listing->rc = read_value(listing->file, listing->object, key, id, &value);
    if (listing->rc == BG_OK && listing->lines) {
        bg_text_add(listing->lines, "%s = ", key);
        if (value.class == H5T_STRING) {
            bg_text_add_json(listing->lines, value.text);
        } else if (value.class == H5T_INTEGER) {
            bg_text_add(listing->lines, "%" PRId64, value.number);
        } else {
            /* 17 digits tell every double from its neighbours. */
            bg_text_add(listing->lines, "%.17g (real)", value.real);
        }
        bg_text_add(listing->lines, "\n");
    }
    bg_free(value.text);
    if (!listing->lines)
        return listing->errors == bg_h5_error_count() ? 0 : -1;
    return listing->rc == BG_OK && !listing->lines->failed ? 0 : -1;
}

enum bg_status bg_h5_attributes(const struct bg_h5 *file, const char *object, struct bg_text *lines)
{
    enum bg_status rc = BG_OK;
    struct listing listing = {
        .file = file, .object = object, .lines = lines, .errors = bg_h5_error_count()};
    hid_t id = H5I_INVALID_HID;
    hsize_t at = 0;
    bool is_group = false;
    TRY(bg_h5_object_open(file, object, &id, &is_group));
    if (H5Aiterate2(id, H5_INDEX_NAME, H5_ITER_INC, &at, list_one, &listing) < 0) {
        TRY(listing.rc);
        if (lines)
            TRY(bg_text_check(lines));
        rc = bg_h5_error(BG_E_DATA, file, object, "attributes cannot be read");
    }
out:
    if (id >= 0)
        (void)H5Oclose(id);
    return rc;
}
