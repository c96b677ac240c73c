/* Whole files, atomically. Sentences name the path and what the system said. */
#ifndef BG_CORE_FILE_H
#define BG_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#define BG_PATH_MAX 1024

/* "dir/name" into out[BG_PATH_MAX]. */
BG_MUST enum bg_status bg_path_join(char *out, const char *dir, const char *name);
/* "path.tmp.<pid>" in the same folder. */
BG_MUST enum bg_status bg_path_temporary(char *out, const char *path);
bool bg_file_exists(const char *path);
bool bg_dir_exists(const char *path);
BG_MUST enum bg_status bg_dir_make(const char *path); /* with parents; existing is fine */
/* Reads all of a regular file of at most `limit` bytes; *out is zero-terminated, free with bg_free.
 */
BG_MUST enum bg_status bg_file_read(const char *path, size_t limit, char **out, size_t *length);
/* Writes a temporary, fsync, rename, fsync of the folder: afterwards the path holds all or what it
 * held. */
BG_MUST enum bg_status bg_file_write(const char *path, const char *text, size_t length);
/* The second half, for files written by others (HDF5): fsync temporary, rename to path, fsync
 * folder. A failure before the rename removes the temporary. */
BG_MUST enum bg_status bg_file_commit(const char *temporary, const char *path);
void bg_file_remove(const char *path); /* no error when absent */
/* Removes "*.tmp.*" leftovers of dead writers in a folder. */
void bg_dir_remove_temporaries(const char *dir);

#endif
