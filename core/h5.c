/* HDF5 files: create, open, close.
 *
 * A file is created in memory (HDF5's core driver) and written by ourselves at close: HDF5 1.10
 * cannot get rid of a file whose last flush failed, so a full disk must never be its business. At
 * the same time the bytes are hashed and sealed (core/h5_seal.c). Reading goes through the plain
 * file driver, after the seal, or for files without one a child process, has vouched for them. */
#include "core/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/h5_private.h"
#include "core/mem.h"

/* Grows the image by this much at a time; the file is written with its true length. */
#define IMAGE_STEP ((size_t)4 << 20)

static const struct {
    size_t size;
    const char *name;
} types[BG_H5_TYPES] = {
    [BG_H5_F32] = {4, "f32"}, [BG_H5_F64] = {8, "f64"}, [BG_H5_S8] = {1, "s8"},
    [BG_H5_U8] = {1, "u8"},   [BG_H5_S16] = {2, "s16"}, [BG_H5_U16] = {2, "u16"},
    [BG_H5_S32] = {4, "s32"}, [BG_H5_U32] = {4, "u32"}, [BG_H5_S64] = {8, "s64"},
    [BG_H5_U64] = {8, "u64"},
};

size_t bg_h5_type_size(enum bg_h5_type type)
{
    return types[type].size;
}

const char *bg_h5_type_name(enum bg_h5_type type)
{
    return types[type].name;
}

hid_t bg_h5_native(enum bg_h5_type type)
{
    /* HDF5's type names are expressions that may initialise the library: not a constant table. */
    const hid_t ids[BG_H5_TYPES] = {
        [BG_H5_F32] = H5T_NATIVE_FLOAT, [BG_H5_F64] = H5T_NATIVE_DOUBLE,
        [BG_H5_S8] = H5T_NATIVE_INT8,   [BG_H5_U8] = H5T_NATIVE_UINT8,
        [BG_H5_S16] = H5T_NATIVE_INT16, [BG_H5_U16] = H5T_NATIVE_UINT16,
        [BG_H5_S32] = H5T_NATIVE_INT32, [BG_H5_U32] = H5T_NATIVE_UINT32,
        [BG_H5_S64] = H5T_NATIVE_INT64, [BG_H5_U64] = H5T_NATIVE_UINT64,
    };
    return ids[type];
}

hid_t bg_h5_stored(enum bg_h5_type type)
{
    const hid_t ids[BG_H5_TYPES] = {
        [BG_H5_F32] = H5T_IEEE_F32LE, [BG_H5_F64] = H5T_IEEE_F64LE, [BG_H5_S8] = H5T_STD_I8LE,
        [BG_H5_U8] = H5T_STD_U8LE,    [BG_H5_S16] = H5T_STD_I16LE,  [BG_H5_U16] = H5T_STD_U16LE,
        [BG_H5_S32] = H5T_STD_I32LE,  [BG_H5_U32] = H5T_STD_U32LE,  [BG_H5_S64] = H5T_STD_I64LE,
        [BG_H5_U64] = H5T_STD_U64LE,
    };
    return ids[type];
}

void bg_h5_quiet(void)
{
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0);
}

static _Thread_local unsigned errors;

unsigned bg_h5_error_count(void)
{
    return errors;
}

static herr_t innermost(unsigned n, const H5E_error2_t *entry, void *out)
{
    if (n == 0 && entry->desc)
        (void)snprintf(out, 128, "%s", entry->desc);
    return 0;
}

enum bg_status bg_h5_error(enum bg_status code, const struct bg_h5 *file, const char *object,
                           const char *sentence)
{
    char said[128] = "";
    errors++;
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, said);
    return bg_fail(code, "%s: %s%s%s%s%s%s", file->path, object, object[0] ? ": " : "", sentence,
                   said[0] ? " (HDF5: " : "", said, said[0] ? ")" : "");
}

static enum bg_status make_file(struct bg_h5 **out, const char *path)
{
    enum bg_status rc = BG_OK;
    struct bg_h5 *file = NULL;
    *out = NULL;
    bg_h5_quiet();
    TRY(bg_alloc(&file, 1, sizeof *file));
    file->id = H5I_INVALID_HID;
    file->fd = -1;
    TRY(bg_text_copy(file->path, sizeof file->path, path));
    *out = file;
    file = NULL;
out:
    bg_free(file);
    return rc;
}

void bg_h5_detach(struct bg_h5 *file)
{
    if (file->id >= 0)
        (void)H5Fclose(file->id);
    if (file->fd >= 0)
        (void)close(file->fd);
    bg_free(file);
}

enum bg_status bg_h5_create(struct bg_h5 **out, const char *path)
{
    enum bg_status rc = BG_OK;
    struct bg_h5 *file = NULL;
    hid_t access = H5I_INVALID_HID, creation = H5I_INVALID_HID;
    *out = NULL;
    TRY(make_file(&file, path));
    file->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file->fd < 0)
        FAIL(BG_E_IO, "%s: cannot create: %s", path, strerror(errno));
    access = H5Pcreate(H5P_FILE_ACCESS);
    creation = H5Pcreate(H5P_FILE_CREATE);
    if (access < 0 || creation < 0 || H5Pset_fapl_core(access, IMAGE_STEP, 0) < 0 ||
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) < 0 ||
        H5Pset_userblock(creation, BG_H5_USER_BLOCK) < 0 ||
        H5Pset_obj_track_times(creation, 0) < 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, "", "cannot set up HDF5");
        goto out;
    }
    file->id = H5Fcreate(path, H5F_ACC_TRUNC, creation, access);
    if (file->id < 0) {
        rc = bg_h5_error(BG_E_IO, file, "", "cannot create");
        goto out;
    }
    *out = file;
    file = NULL;
out:
    if (access >= 0)
        (void)H5Pclose(access);
    if (creation >= 0)
        (void)H5Pclose(creation);
    if (file)
        bg_h5_detach(file);
    return rc;
}

enum bg_status bg_h5_attach(struct bg_h5 **out, const char *path)
{
    enum bg_status rc = BG_OK;
    struct bg_h5 *file = NULL;
    hid_t access = H5I_INVALID_HID;
    *out = NULL;
    TRY(make_file(&file, path));
    access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0 || H5Pset_fapl_sec2(access) < 0 ||
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) < 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, "", "cannot set up HDF5");
        goto out;
    }
    file->id = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (file->id < 0) {
        rc = bg_h5_error(BG_E_DATA, file, "", "not an HDF5 file, or damaged");
        goto out;
    }
    *out = file;
    file = NULL;
out:
    if (access >= 0)
        (void)H5Pclose(access);
    if (file)
        bg_h5_detach(file);
    return rc;
}

enum bg_status bg_h5_open(struct bg_h5 **out, const char *path)
{
    enum bg_status rc = BG_OK;
    bool ours = false;
    int64_t bytes = 0;
    *out = NULL;
    TRY(bg_h5_seal_verify(path, &ours, &bytes));
    if (!ours)
        TRY(bg_h5_probe(path, bytes));
    TRY(bg_h5_attach(out, path));
    if (*out) {
        (*out)->ours = ours;
        (*out)->bytes = bytes;
    }
out:
    return rc;
}

bool bg_h5_is_ours(const struct bg_h5 *file)
{
    return file->ours;
}

/* Takes the finished image from HDF5 and writes it. */
static enum bg_status write_out(struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    unsigned char *image = NULL;
    if (file->broken)
        FAIL(BG_E_IO, "%s: not written, an earlier write failed", file->path);
    if (H5Fflush(file->id, H5F_SCOPE_GLOBAL) < 0) {
        rc = bg_h5_error(BG_E_IO, file, "", "cannot finish the file");
        goto out;
    }
    ssize_t length = H5Fget_file_image(file->id, NULL, 0);
    if (length <= 0) {
        rc = bg_h5_error(BG_E_INTERNAL, file, "", "no file image");
        goto out;
    }
    TRY(bg_alloc(&image, (int64_t)length, 1));
    if (H5Fget_file_image(file->id, image, (size_t)length) != length) {
        rc = bg_h5_error(BG_E_INTERNAL, file, "", "no file image");
        goto out;
    }
    TRY(bg_h5_seal_write(file, image, (size_t)length));
out:
    bg_free(image);
    return rc;
}

enum bg_status bg_h5_close(struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    if (!file)
        return BG_OK;
    bool created = file->fd >= 0; /* writing out closes fd, and that may be what fails */
    bg_h5_quiet();
    ssize_t left = H5Fget_obj_count(file->id, H5F_OBJ_ALL | H5F_OBJ_LOCAL);
    if (left != 1)
        FAIL(BG_E_INTERNAL, "%s: %d HDF5 objects were left open", file->path, (int)left - 1);
    if (created)
        TRY(write_out(file));
out:
    if (rc != BG_OK && created)
        (void)unlink(file->path); /* half a file is of no use, and the disk may be full */
    bg_h5_detach(file);
    return rc;
}
