/* The HDF5 wall: the only files that include hdf5.h are core/h5*.c. Files are opened as hostile:
 * plugins off, external and soft links, external storage, virtual layouts and unknown filters
 * refused, sizes capped before anything is allocated. Written files keep no times, so equal content
 * gives equal bytes. */
#ifndef BG_CORE_H5_H
#define BG_CORE_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

struct bg_h5;

enum bg_h5_type {
    BG_H5_F32,
    BG_H5_F64,
    BG_H5_S8,
    BG_H5_U8,
    BG_H5_S16,
    BG_H5_U16,
    BG_H5_S32,
    BG_H5_U32,
    BG_H5_S64,
    BG_H5_U64,
    BG_H5_TYPES
};
size_t bg_h5_type_size(enum bg_h5_type type);
const char *bg_h5_type_name(enum bg_h5_type type);

#define BG_H5_RANK_MAX 5

struct bg_h5_info {
    enum bg_h5_type type;
    int rank;
    int64_t dims[BG_H5_RANK_MAX];
};

/* Creates (truncates) `path`, empty until bg_h5_close; write to a temporary name and bg_file_commit
 * it after close. */
BG_MUST enum bg_status bg_h5_create(struct bg_h5 **out, const char *path);
/* Opens read-only; every sentence names the path, and the object where one is meant. A file without
 * our seal is first read by a child process (fork), so that a crash in HDF5 is a refusal here. */
BG_MUST enum bg_status bg_h5_open(struct bg_h5 **out, const char *path);
/* Did the file carry the seal of bg_h5_close, intact? Readers of checkpoints and run files insist
 * on it: a file that was never closed, or written by another program, has none. A sealed file with
 * a flipped or missing byte is not opened at all. The seal shows damage, not who wrote the file. */
bool bg_h5_is_ours(const struct bg_h5 *file);
/* Finishes and closes. A created file is built in memory and reaches the disk here, sealed with its
 * length and SHA-256: a full disk shows here and leaves no file, nor does an earlier write that
 * failed. Takes NULL. Frees in any case. */
BG_MUST enum bg_status bg_h5_close(struct bg_h5 *file);

/* Writes a whole dataset "group/sub/name"; missing groups are made. rank 0 = scalar; a dim of 0 is
 * allowed. `compress`: shuffle + deflate 1 + fletcher32. Else small data is contiguous, and large
 * data is chunked with fletcher32 so that flipped bits are found. */
BG_MUST enum bg_status bg_h5_write(struct bg_h5 *file, const char *name, enum bg_h5_type type,
                                   int rank, const int64_t *dims, const void *data, bool compress);
/* A list of strings as a fixed-length UTF-8 dataset; texts of `stride` bytes each, zero-terminated.
 */
BG_MUST enum bg_status bg_h5_write_texts(struct bg_h5 *file, const char *name, const char *texts,
                                         int64_t count, int64_t stride);
/* Attributes of the root ("" or "/") or an object that exists. A text has at most 59999 bytes. */
BG_MUST enum bg_status bg_h5_set_text(struct bg_h5 *file, const char *object, const char *key,
                                      const char *value);
BG_MUST enum bg_status bg_h5_set_int(struct bg_h5 *file, const char *object, const char *key,
                                     int64_t value);
BG_MUST enum bg_status bg_h5_set_real(struct bg_h5 *file, const char *object, const char *key,
                                      double value);

bool bg_h5_has(struct bg_h5 *file, const char *name); /* dataset or group */
/* BG_E_NOT_FOUND when there is no such dataset, BG_E_DATA when it is not of a kind we read. */
BG_MUST enum bg_status bg_h5_info(struct bg_h5 *file, const char *name, struct bg_h5_info *out);
/* Reads all of a dataset; type, rank and dims must be what the caller expects (dims -1 = any), or
 * BG_E_DATA with both shapes named. `room` is the bytes of dst. */
BG_MUST enum bg_status bg_h5_read(struct bg_h5 *file, const char *name, enum bg_h5_type type,
                                  int rank, const int64_t *dims, void *dst, int64_t room);
/* As bg_h5_read into fresh memory (bg_free), at most `limit` bytes; converts between number types
 * of the same class (ints to ints, reals to reals) when lossless for every value, else BG_E_DATA.
 */
BG_MUST enum bg_status bg_h5_read_new(struct bg_h5 *file, const char *name, enum bg_h5_type type,
                                      int rank, int64_t *dims, void *out, int64_t limit);
BG_MUST enum bg_status bg_h5_read_texts(struct bg_h5 *file, const char *name, char *texts,
                                        int64_t count, int64_t stride);
BG_MUST enum bg_status bg_h5_get_text(struct bg_h5 *file, const char *object, const char *key,
                                      char *out, int64_t room);
BG_MUST enum bg_status bg_h5_get_int(struct bg_h5 *file, const char *object, const char *key,
                                     int64_t *out);
BG_MUST enum bg_status bg_h5_get_real(struct bg_h5 *file, const char *object, const char *key,
                                      double *out);

/* Calls `see` for every object below the root in name order (datasets, groups); stops at the first
 * non-OK. */
struct bg_h5_object {
    const char *name; /* full path without leading slash */
    bool is_group;
    struct bg_h5_info info; /* datasets of number type */
    bool is_text;
};
BG_MUST enum bg_status
bg_h5_walk(struct bg_h5 *file, enum bg_status (*see)(void *self, const struct bg_h5_object *object),
           void *self);
/* Compares two files: same objects, attributes, types and dataset bytes. *same = false writes the
 * first difference into `difference` ("metrics/loss: row 12: 0.31 against 0.32"). `ignore` is a
 * NULL-terminated list of object names or NULL; a group's name covers what is in it, "" the root's
 * attributes. */
BG_MUST enum bg_status bg_h5_compare(struct bg_h5 *a, struct bg_h5 *b, const char *const *ignore,
                                     bool *same, char difference[512]);

#endif
