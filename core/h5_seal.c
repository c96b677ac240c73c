/* The seal: the 512-byte user block in front of the HDF5 part of our files.
 *
 *   bitgrad file 1
 *   sha256 <64 hex digits of everything behind the block>
 *   length <bytes behind the block>
 *
 * and zeros to the end. HDF5 1.10 can crash on files with flipped bits, so damage must be found
 * before it reads them. Other programs skip the block (HDF5 looks for its signature at 0, 512,
 * ...). The seal shows damage, not origin: anybody can write one, and what is inside is still read
 * as hostile. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/h5_private.h"
#include "core/hash.h"
#include "core/mem.h"

#define MAGIC  "bitgrad file "
#define BUFFER ((size_t)1 << 20)

static void make_block(char block[BG_H5_USER_BLOCK], const char *hash, int64_t length)
{
    memset(block, 0, BG_H5_USER_BLOCK);
    (void)snprintf(block, BG_H5_USER_BLOCK, MAGIC "1\nsha256 %s\nlength %lld\n", hash,
                   (long long)length);
}

static enum bg_status write_all(const struct bg_h5 *file, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t wrote = write(file->fd, at, length < ((size_t)1 << 30) ? length : (size_t)1 << 30);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return bg_fail(BG_E_IO, "%s: cannot write: %s", file->path, strerror(errno));
        at += wrote;
        length -= (size_t)wrote;
    }
    return BG_OK;
}

enum bg_status bg_h5_seal_write(struct bg_h5 *file, const unsigned char *image, size_t length)
{
    enum bg_status rc = BG_OK;
    char hash[BG_HASH_TEXT], block[BG_H5_USER_BLOCK];
    TRY(bg_hash_bytes(image, length, hash));
    make_block(block, hash, (int64_t)length);
    TRY(write_all(file, block, sizeof block));
    TRY(write_all(file, image, length));
    /* Some file systems tell of a full disk only here. */
    int fd = file->fd;
    file->fd = -1;
    if (close(fd) != 0)
        FAIL(BG_E_IO, "%s: cannot write: %s", file->path, strerror(errno));
out:
    return rc;
}

/* Fills the buffer as far as the file goes. */
static enum bg_status read_some(int fd, const char *path, void *buffer, size_t room, size_t *got)
{
    *got = 0;
    while (*got < room) {
        ssize_t n = read(fd, (char *)buffer + *got, room - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return bg_fail(BG_E_IO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            return BG_OK;
        *got += (size_t)n;
    }
    return BG_OK;
}

static enum bg_status hash_rest(int fd, const char *path, char hash[BG_HASH_TEXT], int64_t *length)
{
    enum bg_status rc = BG_OK;
    struct bg_hash *state = NULL;
    unsigned char *buffer = NULL;
    size_t got = BUFFER;
    *length = 0;
    TRY(bg_alloc(&buffer, (int64_t)BUFFER, 1));
    TRY(bg_hash_start(&state));
    while (got == BUFFER) {
        TRY(read_some(fd, path, buffer, BUFFER, &got));
        TRY(bg_hash_add(state, buffer, got));
        *length += (int64_t)got;
    }
    struct bg_hash *done = state;
    state = NULL;
    TRY(bg_hash_end(done, hash));
out:
    bg_hash_abandon(state);
    bg_free(buffer);
    return rc;
}

enum bg_status bg_h5_seal_verify(const char *path, bool *ours, int64_t *bytes)
{
    enum bg_status rc = BG_OK;
    char block[BG_H5_USER_BLOCK], expected[BG_H5_USER_BLOCK], hash[BG_HASH_TEXT];
    struct stat info;
    size_t got = 0;
    int64_t length = 0;
    *ours = false;
    *bytes = 0;
    /* Not blocking: a pipe in place of the file must not hang the program. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        FAIL(errno == ENOENT ? BG_E_NOT_FOUND : BG_E_IO, "%s: cannot open: %s", path,
             strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        FAIL(BG_E_DATA, "%s: not a regular file", path);
    *bytes = (int64_t)info.st_size;
    TRY(read_some(fd, path, block, sizeof block, &got));
    size_t magic = strlen(MAGIC);
    if (got < magic || memcmp(block, MAGIC, magic) != 0)
        goto out;
    if (got < magic + 2)
        FAIL(BG_E_DATA, "%s: damaged: the file ends after %zu bytes", path, got);
    if (block[magic] != '1' || block[magic + 1] != '\n')
        FAIL(BG_E_UNSUPPORTED, "%s: written in another file format than 1, or damaged", path);
    TRY(hash_rest(fd, path, hash, &length));
    make_block(expected, hash, length);
    if (got < sizeof block || memcmp(block, expected, sizeof block) != 0)
        FAIL(BG_E_DATA, "%s: damaged: checksum differs (file has %lld bytes)", path,
             (long long)*bytes);
    *ours = true;
out:
    if (fd >= 0)
        (void)close(fd);
    return rc;
}
