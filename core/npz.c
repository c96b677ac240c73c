/* .npz files: zip archives of .npy files. Reads the central directory; members are stored or
 * deflated, without encryption and without the 64-bit extension. A lone .npy file counts as an
 * archive with one member, named by the file. Layout: PKWARE APPNOTE 4.3; what it allows and numpy
 * never writes is refused. */
#include "core/npz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/npz_private.h"
#include "core/text.h"

#define END_BYTES       22
#define COMMENT_MAX     65535
#define ENTRY_BYTES     46
#define LOCAL_BYTES     30
#define DIRECTORY_MAX   ((int64_t)16 << 20)
#define MEMBER_NAME_MAX 256
/* Deflate cannot shrink more than 1032 times (two bits for a match of 258 bytes). */
#define DEFLATE_RATIO 1032

enum { STORED = 0, DEFLATED = 8 };

struct member {
    char name[MEMBER_NAME_MAX];
    unsigned method;
    bool plain; /* the whole file is the array: no local header, no checksum */
    uint32_t crc;
    int64_t packed, size, offset;
};

struct bg_npz {
    int fd;
    int64_t bytes;
    int count;
    struct member *members;
    char path[BG_PATH_MAX];
};

static enum bg_status read_at(const struct bg_npz *npz, int64_t offset, void *dst, int64_t length)
{
    char *at = dst;
    if (offset < 0 || length < 0 || offset > npz->bytes || length > npz->bytes - offset)
        return bg_fail(BG_E_DATA, "%s: damaged: refers to bytes behind its end", npz->path);
    while (length > 0) {
        ssize_t n = pread(npz->fd, at, (size_t)(length < (1 << 30) ? length : 1 << 30), offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return bg_fail(BG_E_IO, "%s: cannot read: %s", npz->path,
                           n == 0 ? "the file became shorter" : strerror(errno));
        at += n;
        offset += n;
        length -= n;
    }
    return BG_OK;
}

/* Finds the end record, which stands last, before a comment of unknown length. */
static enum bg_status find_end(const struct bg_npz *npz, unsigned char end[END_BYTES],
                               int64_t *position)
{
    enum bg_status rc = BG_OK;
    unsigned char *tail = NULL;
    int64_t length = npz->bytes < END_BYTES + COMMENT_MAX ? npz->bytes : END_BYTES + COMMENT_MAX;
    TRY(bg_alloc(&tail, length, 1));
    TRY(read_at(npz, npz->bytes - length, tail, length));
    for (int64_t i = length - END_BYTES; i >= 0; i--) {
        if (memcmp(tail + i, "PK\5\6", 4) == 0 &&
            i + END_BYTES + bg_npz_u16(tail + i + 20) == length) {
            memcpy(end, tail + i, END_BYTES);
            *position = npz->bytes - length + i;
            goto out;
        }
    }
    FAIL(BG_E_DATA, "%s: not an .npz file, or cut off: no zip directory at its end", npz->path);
out:
    bg_free(tail);
    return rc;
}

/* Can this member be read, and do its sizes fit the file? */
static enum bg_status check_member(const struct bg_npz *npz, const struct member *member,
                                   unsigned flags)
{
    enum bg_status rc = BG_OK;
    if (member->packed == UINT32_MAX || member->size == UINT32_MAX || member->offset == UINT32_MAX)
        FAIL(BG_E_UNSUPPORTED, "%s: %s: zip64 (4 GiB and more) is not read", npz->path,
             member->name);
    if (flags & 1u)
        FAIL(BG_E_UNSUPPORTED, "%s: %s: is encrypted", npz->path, member->name);
    if (member->method != STORED && member->method != DEFLATED)
        FAIL(BG_E_UNSUPPORTED, "%s: %s: zip method %u, only stored and deflated are read",
             npz->path, member->name, member->method);
    if (member->packed > npz->bytes || (member->method == STORED && member->size != member->packed))
        FAIL(BG_E_DATA, "%s: %s: damaged: its sizes do not fit the file", npz->path, member->name);
    if (member->size / DEFLATE_RATIO > member->packed)
        FAIL(BG_E_DATA, "%s: %s: declares %lld bytes, %lld cannot unpack to that", npz->path,
             member->name, (long long)member->size, (long long)member->packed);
out:
    return rc;
}

/* One entry of the directory; *used bytes of it. */
static enum bg_status read_entry(struct bg_npz *npz, const unsigned char *at, int64_t left,
                                 int64_t *used)
{
    enum bg_status rc = BG_OK;
    if (left < ENTRY_BYTES || memcmp(at, "PK\1\2", 4) != 0)
        FAIL(BG_E_DATA, "%s: damaged: zip directory entry %d", npz->path, npz->count);
    unsigned flags = bg_npz_u16(at + 8), name_length = bg_npz_u16(at + 28);
    *used = ENTRY_BYTES + (int64_t)name_length + bg_npz_u16(at + 30) + bg_npz_u16(at + 32);
    struct member *member = &npz->members[npz->count];
    if (*used > left || name_length < 5 || name_length - 4 >= sizeof member->name)
        FAIL(BG_E_DATA, "%s: damaged: zip directory entry %d", npz->path, npz->count);
    const char *name = (const char *)at + ENTRY_BYTES;
    if (memchr(name, 0, name_length) || memcmp(name + name_length - 4, ".npy", 4) != 0)
        FAIL(BG_E_DATA, "%s: holds '%.*s', which is no .npy array", npz->path,
             (int)strnlen(name, name_length), name);
    memcpy(member->name, name, name_length - 4);
    member->method = bg_npz_u16(at + 10);
    member->crc = bg_npz_u32(at + 16);
    member->packed = bg_npz_u32(at + 20);
    member->size = bg_npz_u32(at + 24);
    member->offset = bg_npz_u32(at + 42);
    TRY(check_member(npz, member, flags));
    for (int i = 0; i < npz->count; i++) {
        if (strcmp(npz->members[i].name, member->name) == 0)
            FAIL(BG_E_DATA, "%s: two arrays are named %s", npz->path, member->name);
    }
    npz->count++;
out:
    return rc;
}

static enum bg_status read_directory(struct bg_npz *npz)
{
    enum bg_status rc = BG_OK;
    unsigned char end[END_BYTES] = {0}, *directory = NULL;
    int64_t position = 0, at = 0;
    TRY(find_end(npz, end, &position));
    unsigned count = bg_npz_u16(end + 10);
    int64_t size = bg_npz_u32(end + 12), offset = bg_npz_u32(end + 16);
    if (count == 0xffff || size == UINT32_MAX || offset == UINT32_MAX)
        FAIL(BG_E_UNSUPPORTED, "%s: zip64 (4 GiB and more) is not read", npz->path);
    if (bg_npz_u16(end + 4) != 0 || bg_npz_u16(end + 6) != 0 || bg_npz_u16(end + 8) != count)
        FAIL(BG_E_UNSUPPORTED, "%s: a zip archive in several parts is not read", npz->path);
    if (size > DIRECTORY_MAX || offset > position || size > position - offset ||
        (int64_t)count * ENTRY_BYTES > size)
        FAIL(BG_E_DATA, "%s: damaged: its zip directory does not fit the file", npz->path);
    TRY(bg_alloc(&directory, size, 1));
    TRY(read_at(npz, offset, directory, size));
    TRY(bg_alloc(&npz->members, count, sizeof *npz->members));
    for (unsigned i = 0; i < count; i++) {
        int64_t used = 0;
        TRY(read_entry(npz, directory + at, size - at, &used));
        at += used;
    }
    if (at != size)
        FAIL(BG_E_DATA, "%s: damaged: its zip directory has bytes left over", npz->path);
out:
    bg_free(directory);
    return rc;
}

/* A lone .npy file as an archive of one. */
static enum bg_status single_member(struct bg_npz *npz)
{
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&npz->members, 1, sizeof *npz->members));
    const char *slash = strrchr(npz->path, '/');
    struct member *member = npz->members;
    (void)snprintf(member->name, sizeof member->name, "%.255s", slash ? slash + 1 : npz->path);
    size_t length = strlen(member->name);
    if (length > 4 && strcmp(member->name + length - 4, ".npy") == 0)
        member->name[length - 4] = '\0';
    member->plain = true;
    member->size = member->packed = npz->bytes;
    npz->count = 1;
out:
    return rc;
}

enum bg_status bg_npz_open(struct bg_npz **out, const char *path)
{
    enum bg_status rc = BG_OK;
    struct bg_npz *npz = NULL;
    struct stat info;
    unsigned char magic[6] = {0};
    *out = NULL;
    TRY(bg_alloc(&npz, 1, sizeof *npz));
    npz->fd = -1;
    TRY(bg_text_copy(npz->path, sizeof npz->path, path));
    npz->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (npz->fd < 0)
        FAIL(errno == ENOENT ? BG_E_NOT_FOUND : BG_E_IO, "%s: cannot open: %s", path,
             strerror(errno));
    if (fstat(npz->fd, &info) != 0 || !S_ISREG(info.st_mode))
        FAIL(BG_E_DATA, "%s: not a regular file", path);
    npz->bytes = (int64_t)info.st_size;
    if (npz->bytes > BG_NPZ_BYTES_MAX)
        FAIL(BG_E_DATA, "%s: %lld bytes, limit is 4 GiB", path, (long long)npz->bytes);
    if (npz->bytes >= (int64_t)sizeof magic)
        TRY(read_at(npz, 0, magic, sizeof magic));
    if (memcmp(magic, "\x93NUMPY", 6) == 0)
        TRY(single_member(npz));
    else
        TRY(read_directory(npz));
    *out = npz;
    npz = NULL;
out:
    bg_npz_close(npz);
    return rc;
}

void bg_npz_close(struct bg_npz *npz)
{
    if (!npz)
        return;
    if (npz->fd >= 0)
        (void)close(npz->fd);
    bg_free(npz->members);
    bg_free(npz);
}

int bg_npz_count(const struct bg_npz *npz)
{
    return npz->count;
}

const char *bg_npz_name(const struct bg_npz *npz, int index)
{
    return npz->members[index].name;
}

/* Inflates exactly `size` bytes. */
static bool inflate_all(unsigned char *packed, int64_t packed_size, unsigned char *dst,
                        int64_t size)
{
    z_stream stream = {0};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return false;
    /* Both sizes are below 2^32 - 1, so they fit zlib's 32-bit counters. */
    stream.next_in = packed;
    stream.avail_in = (uInt)packed_size;
    stream.next_out = dst;
    stream.avail_out = (uInt)size;
    int end = inflate(&stream, Z_FINISH);
    bool ok = end == Z_STREAM_END && stream.avail_out == 0 && stream.avail_in == 0;
    (void)inflateEnd(&stream);
    return ok;
}

/* The header in front of a member must tell the same as the directory. numpy leaves the sizes in it
 * to the directory, so they are not compared. */
static enum bg_status check_local(const struct bg_npz *npz, const struct member *member,
                                  const unsigned char local[LOCAL_BYTES])
{
    enum bg_status rc = BG_OK;
    char name[MEMBER_NAME_MAX + 4] = {0};
    size_t length = strlen(member->name);
    if (memcmp(local, "PK\3\4", 4) != 0)
        FAIL(BG_E_DATA, "%s: %s: damaged: no zip header at its place", npz->path, member->name);
    if (bg_npz_u16(local + 26) == length + 4)
        TRY(read_at(npz, member->offset + LOCAL_BYTES, name, (int64_t)length + 4));
    if (memcmp(name, member->name, length) != 0 || memcmp(name + length, ".npy", 4) != 0 ||
        bg_npz_u16(local + 8) != member->method)
        FAIL(BG_E_DATA, "%s: %s: damaged: its zip header has another name or method", npz->path,
             member->name);
out:
    return rc;
}

static enum bg_status load_member(const struct bg_npz *npz, const struct member *member,
                                  unsigned char **out)
{
    enum bg_status rc = BG_OK;
    unsigned char local[LOCAL_BYTES] = {0}, *packed = NULL, *bytes = NULL;
    int64_t offset = member->offset;
    *out = NULL;
    if (!member->plain) {
        TRY(read_at(npz, offset, local, LOCAL_BYTES));
        TRY(check_local(npz, member, local));
        offset += LOCAL_BYTES + (int64_t)bg_npz_u16(local + 26) + bg_npz_u16(local + 28);
    }
    if (offset > npz->bytes || member->packed > npz->bytes - offset)
        FAIL(BG_E_DATA, "%s: %s: damaged: reaches behind the end of the file", npz->path,
             member->name);
    TRY(bg_alloc(&packed, member->packed, 1));
    TRY(read_at(npz, offset, packed, member->packed));
    if (member->method == DEFLATED) {
        TRY(bg_alloc(&bytes, member->size, 1));
        if (!inflate_all(packed, member->packed, bytes, member->size))
            FAIL(BG_E_DATA, "%s: %s: damaged: cannot be unpacked", npz->path, member->name);
    } else {
        bytes = packed;
        packed = NULL;
    }
    if (!member->plain && crc32_z(crc32_z(0, NULL, 0), bytes, (size_t)member->size) != member->crc)
        FAIL(BG_E_DATA, "%s: %s: damaged: checksum differs", npz->path, member->name);
    *out = bytes;
    bytes = NULL;
out:
    bg_free(packed);
    bg_free(bytes);
    return rc;
}

enum bg_status bg_npz_read_f32(struct bg_npz *npz, const char *name, struct bg_shape *shape,
                               float **out)
{
    enum bg_status rc = BG_OK;
    unsigned char *bytes = NULL;
    char what[BG_PATH_MAX + MEMBER_NAME_MAX + 2];
    *out = NULL;
    *shape = (struct bg_shape){0};
    const struct member *member = NULL;
    for (int i = 0; i < npz->count && !member; i++) {
        if (strcmp(npz->members[i].name, name) == 0)
            member = &npz->members[i];
    }
    if (!member)
        FAIL(BG_E_NOT_FOUND, "%s: no array is named '%.200s'", npz->path, name);
    (void)snprintf(what, sizeof what, "%s: %s", npz->path, member->name);
    TRY(load_member(npz, member, &bytes));
    TRY(bg_npz_decode(what, bytes, (size_t)member->size, shape, out));
out:
    bg_free(bytes);
    return rc;
}
