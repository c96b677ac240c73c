/* What core/h5*.c share. HDF5's own header is included nowhere else.
 *
 * Only numbered calls (H5Dcreate2, ...) are used. HDF5 keeps an error stack per thread; it is
 * silenced by bg_h5_quiet and its innermost sentence is taken along by bg_h5_error. */
#ifndef BG_CORE_H5_PRIVATE_H
#define BG_CORE_H5_PRIVATE_H

#include <hdf5.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/text.h"

#define BG_H5_USER_BLOCK     512
#define BG_H5_BYTES_MAX      ((int64_t)1 << 40)
#define BG_H5_CHUNK_MAX      ((int64_t)256 << 20)
#define BG_H5_DEPTH_MAX      16
#define BG_H5_OBJECTS_MAX    100000
#define BG_H5_NAME_MAX       512   /* a full object path with its zero */
#define BG_H5_ATTRIBUTE_MAX  60000 /* bytes; HDF5's object headers end at 64 KiB */
#define BG_H5_TEXT_BYTES_MAX 65536 /* one text of a list of texts */

struct bg_h5 {
    hid_t id;
    int fd;      /* of a file that is being created, else -1 */
    bool ours;   /* carries our seal, and the seal holds */
    bool broken; /* a write failed: close must not seal the file */
    int64_t bytes;
    char path[BG_PATH_MAX];
};

/* A dataset that was found to be of a kind we read. */
struct bg_h5_dataset {
    hid_t id, memory_type;
    struct bg_h5_info info; /* type is U8 for texts */
    bool is_text;
    size_t item;   /* bytes of an element in memory */
    int64_t count; /* elements */
};

void bg_h5_quiet(void);
/* "path: object: sentence (what HDF5 said)", returns code. */
enum bg_status bg_h5_error(enum bg_status code, const struct bg_h5 *file, const char *object,
                           const char *sentence);
/* How often bg_h5_error was called by this thread: tells HDF5's failures (damage) from our
 * refusals. */
unsigned bg_h5_error_count(void);
hid_t bg_h5_native(enum bg_h5_type type);
hid_t bg_h5_stored(enum bg_h5_type type);

/* core/h5_seal.c: the first 512 bytes of files we write. */
BG_MUST enum bg_status bg_h5_seal_write(struct bg_h5 *file, const unsigned char *image,
                                        size_t length);
/* *ours = the file carries our seal; BG_E_DATA when it does and the bytes are not those sealed. */
BG_MUST enum bg_status bg_h5_seal_verify(const char *path, bool *ours, int64_t *bytes);

/* core/h5_guard.c: nothing hostile is opened. Names are relative to the root, "" is the root. */
BG_MUST enum bg_status bg_h5_object_open(const struct bg_h5 *file, const char *name, hid_t *out,
                                         bool *is_group);
BG_MUST enum bg_status bg_h5_dataset_open(const struct bg_h5 *file, const char *name,
                                          struct bg_h5_dataset *out);
void bg_h5_dataset_close(struct bg_h5_dataset *dataset);
/* Reads `rows` indices of the first dimension from `first` on; a scalar has one row. */
BG_MUST enum bg_status bg_h5_dataset_rows(const struct bg_h5 *file, const char *name,
                                          const struct bg_h5_dataset *dataset,
                                          const int64_t range[2], void *dst);
/* Rows per piece of at most 8 MiB (at least 1), and elements per row. */
void bg_h5_dataset_pieces(const struct bg_h5_dataset *dataset, int64_t *rows, int64_t *piece,
                          int64_t *row_elements);

/* core/h5_probe.c: a child process opens and reads all of a foreign file first; BG_E_DATA when it
 * crashes or HDF5 reports any error. */
BG_MUST enum bg_status bg_h5_probe(const char *path, int64_t bytes);
/* core/h5.c: the plain open, after all checks of the file as a whole. */
BG_MUST enum bg_status bg_h5_attach(struct bg_h5 **out, const char *path);
void bg_h5_detach(struct bg_h5 *file);

/* core/h5_attr.c: every attribute of an object as a line "key = value", in name order. Without
 * `lines` all are read and only errors of HDF5 count. */
BG_MUST enum bg_status bg_h5_attributes(const struct bg_h5 *file, const char *object,
                                        struct bg_text *lines);
/* core/h5_walk.c: as bg_h5_walk; `tolerant` passes over what we refuse to read, but not over errors
 * of HDF5. */
struct bg_h5_walker {
    enum bg_status (*see)(void *self, const struct bg_h5_object *object);
    void *self;
    bool tolerant;
};
BG_MUST enum bg_status bg_h5_visit(const struct bg_h5 *file, const struct bg_h5_walker *walker);

#endif
