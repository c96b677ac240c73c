/* Writing .npz files: a zip archive (PKWARE APPNOTE 4.3) of stored members, each a .npy file of
 * version 1.0 (NEP 1) whose header fills a multiple of 64 bytes, as NumPy writes it. Members are
 * streamed; only the directory is kept until the end. No 64-bit extension: what would need it is
 * refused before a byte of it is written, and so is what core/npz.c would not read back for its
 * size. A failed write breaks the writer: every later call fails too. */
#include "core/npz_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/npz_private.h"
#include "core/text.h"

#define RANK_MAX       5
#define LOCAL_BYTES    30
#define ENTRY_BYTES    46
#define END_BYTES      22
#define NAME_BYTES_MAX 255
#define MEMBERS_MAX    65534
#define DIRECTORY_MAX  ((int64_t)16 << 20) /* as core/npz.c reads */
/* Sizes and offsets of 2^32 - 1 would say "see the 64-bit extension". */
#define MEMBER_BYTES_MAX ((int64_t)UINT32_MAX - 1)
#define NPY_ALIGN        64
#define NPY_HEADER_MAX   256

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "arrays are written as they lie in memory: a little-endian machine is needed"
#endif

struct entry {
    char name[NAME_BYTES_MAX + 1]; /* "conv1.npy" */
    uint32_t crc, size, offset;
};

struct bg_npz_writer {
    FILE *file;
    bool broken;
    int64_t offset;    /* bytes written so far */
    int64_t directory; /* bytes the directory will have */
    int64_t count, room;
    struct entry *entries;
    char path[BG_PATH_MAX];
};

static const struct {
    char descr[4];
    int64_t size;
} types[] = {[BG_NPZ_U8] = {"|u1", 1},
             [BG_NPZ_S8] = {"|i1", 1},
             [BG_NPZ_S32] = {"<i4", 4},
             [BG_NPZ_S64] = {"<i8", 8},
             [BG_NPZ_F32] = {"<f4", 4}};

static enum bg_status cannot_write(struct bg_npz_writer *writer)
{
    int reason = errno;
    writer->broken = true;
    return bg_fail(BG_E_IO, "%s: cannot write: %s", writer->path,
                   reason ? strerror(reason) : "the system gave no reason");
}

static enum bg_status write_bytes(struct bg_npz_writer *writer, const void *bytes, int64_t length)
{
    if (writer->broken)
        return bg_fail(BG_E_IO, "%s: an earlier write failed", writer->path);
    errno = 0;
    if (fwrite(bytes, 1, (size_t)length, writer->file) != (size_t)length)
        return cannot_write(writer);
    writer->offset += length;
    return BG_OK;
}

static void put_u16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value & 255);
    at[1] = (unsigned char)(value >> 8 & 255);
}

static void put_u32(unsigned char *at, uint32_t value)
{
    put_u16(at, value & 0xffff);
    put_u16(at + 2, value >> 16);
}

enum bg_status bg_npz_create(struct bg_npz_writer **out, const char *path)
{
    struct bg_npz_writer *writer = NULL;
    enum bg_status rc = BG_OK;
    *out = NULL;
    TRY(bg_alloc(&writer, 1, sizeof *writer));
    TRY(bg_text_copy(writer->path, sizeof writer->path, path));
    writer->file = fopen(path, "wbe");
    if (!writer->file)
        FAIL(BG_E_IO, "%s: cannot write: %s", path, strerror(errno));
    *out = writer;
    writer = NULL;
out:
    bg_free(writer);
    return rc;
}

/* Letters, digits and _ . / -, where every part between slashes could name a file. */
static bool good_name(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                  "_./-";
    if (name[strspn(name, allowed)])
        return false;
    for (const char *at = name;;) {
        size_t part = strcspn(at, "/");
        if (part == 0 || strspn(at, ".") >= part)
            return false;
        if (!at[part])
            return true;
        at += part + 1;
    }
}

static enum bg_status check_name(const struct bg_npz_writer *writer, const char *name)
{
    size_t length = strlen(name);
    if (length > NAME_BYTES_MAX - 4)
        return bg_fail(BG_E_RANGE, "%s: an array's name has %zu characters, limit is %d",
                       writer->path, length, NAME_BYTES_MAX - 4);
    if (!good_name(name))
        return bg_fail(BG_E_RANGE,
                       "%s: \"%s\" cannot name an array; letters, digits and _ . - can, in parts "
                       "separated by /",
                       writer->path, name);
    for (int64_t i = 0; i < writer->count; i++) {
        const char *other = writer->entries[i].name;
        if (strlen(other) == length + 4 && memcmp(other, name, length) == 0)
            return bg_fail(BG_E_USAGE, "%s: two arrays are named %s", writer->path, name);
    }
    return BG_OK;
}

/* Bytes of the data; sizes are checked before anybody multiplies them. */
static enum bg_status count_bytes(const struct bg_npz_writer *writer, const char *name, int rank,
                                  const int64_t *dims, int64_t *bytes)
{
    if (rank < 0 || rank > RANK_MAX)
        return bg_fail(BG_E_RANGE, "%s: %s: %d dimensions, limit is %d", writer->path, name, rank,
                       RANK_MAX);
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 1)
            return bg_fail(BG_E_RANGE, "%s: %s: dimension %d is %" PRId64 ", least is 1",
                           writer->path, name, i, dims[i]);
        if (dims[i] > MEMBER_BYTES_MAX / *bytes)
            return bg_fail(BG_E_RANGE,
                           "%s: %s: dimension %d of %" PRId64 " makes it more than %" PRId64
                           " bytes, the limit of an array",
                           writer->path, name, i, dims[i], MEMBER_BYTES_MAX);
        *bytes *= dims[i];
    }
    return BG_OK;
}

/* Magic, version, length and the dict, padded with blanks and a newline; returns its bytes. */
static int64_t make_header(unsigned char out[NPY_HEADER_MAX], enum bg_npz_type type, int rank,
                           const int64_t *dims)
{
    static const unsigned char magic[8] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
    char shape[128] = "", dict[NPY_HEADER_MAX];
    int at = 0;
    for (int i = 0; i < rank; i++)
        at +=
            snprintf(shape + at, sizeof shape - (size_t)at, i ? ", %" PRId64 : "%" PRId64, dims[i]);
    int length =
        snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%s%s), }",
                 types[type].descr, shape, rank == 1 ? "," : "");
    int total = (10 + length + 1 + NPY_ALIGN - 1) / NPY_ALIGN * NPY_ALIGN;
    memcpy(out, magic, sizeof magic);
    put_u16(out + 8, (unsigned)(total - 10));
    memcpy(out + 10, dict, (size_t)length);
    memset(out + 10 + length, ' ', (size_t)(total - 10 - length));
    out[total - 1] = '\n';
    return total;
}

/* The fields that the header in front of a member and its entry in the directory share, from
 * "version needed" on; 26 bytes. */
static void put_fields(unsigned char *at, const struct entry *entry)
{
    memset(at, 0, 26);
    put_u16(at, 20);       /* version needed: 2.0 */
    put_u16(at + 8, 0x21); /* 1980-01-01, 00:00 */
    put_u32(at + 10, entry->crc);
    put_u32(at + 14, entry->size);
    put_u32(at + 18, entry->size);
    put_u16(at + 22, (unsigned)strlen(entry->name));
}

static enum bg_status write_member(struct bg_npz_writer *writer, const struct entry *entry,
                                   const unsigned char *header, int64_t header_bytes,
                                   const void *data)
{
    unsigned char local[LOCAL_BYTES] = "PK\3\4";
    enum bg_status rc = BG_OK;
    put_fields(local + 4, entry);
    TRY(write_bytes(writer, local, LOCAL_BYTES));
    TRY(write_bytes(writer, entry->name, (int64_t)strlen(entry->name)));
    TRY(write_bytes(writer, header, header_bytes));
    TRY(write_bytes(writer, data, (int64_t)entry->size - header_bytes));
out:
    return rc;
}

/* Would the file, its directory included, stay within the limits? */
static enum bg_status check_room(const struct bg_npz_writer *writer, const char *name,
                                 int64_t member)
{
    int64_t entry = ENTRY_BYTES + (int64_t)strlen(name) + 4;
    int64_t directory = writer->directory + entry;
    int64_t total =
        writer->offset + LOCAL_BYTES + entry - ENTRY_BYTES + member + directory + END_BYTES;
    if (member > MEMBER_BYTES_MAX)
        return bg_fail(BG_E_RANGE, "%s: %s: %" PRId64 " bytes, limit of an array is %" PRId64,
                       writer->path, name, member, MEMBER_BYTES_MAX);
    if (total > MEMBER_BYTES_MAX)
        return bg_fail(BG_E_RANGE,
                       "%s: %s would make it %" PRId64 " bytes, limit of a file is %" PRId64,
                       writer->path, name, total, MEMBER_BYTES_MAX);
    if (writer->count == MEMBERS_MAX || directory > DIRECTORY_MAX)
        return bg_fail(BG_E_RANGE,
                       "%s: %s is array %" PRId64 " and makes the directory %" PRId64
                       " bytes, limits are %d and %" PRId64,
                       writer->path, name, writer->count + 1, directory, MEMBERS_MAX,
                       DIRECTORY_MAX);
    return BG_OK;
}

enum bg_status bg_npz_add(struct bg_npz_writer *writer, const char *name, enum bg_npz_type type,
                          int rank, const int64_t *dims, const void *data)
{
    unsigned char header[NPY_HEADER_MAX];
    int64_t bytes = types[type].size, header_bytes;
    struct entry *entry;
    uLong crc;
    enum bg_status rc = BG_OK;

    TRY(check_name(writer, name));
    TRY(count_bytes(writer, name, rank, dims, &bytes));
    header_bytes = make_header(header, type, rank, dims);
    TRY(check_room(writer, name, header_bytes + bytes));
    if (writer->count == writer->room) {
        int64_t room = writer->room ? 2 * writer->room : 64;
        TRY(bg_grow(&writer->entries, writer->room, room, sizeof *writer->entries));
        writer->room = room;
    }
    entry = &writer->entries[writer->count];
    (void)snprintf(entry->name, sizeof entry->name, "%s.npy", name);
    crc = crc32_z(crc32_z(0, NULL, 0), header, (z_size_t)header_bytes);
    entry->crc = (uint32_t)crc32_z(crc, data, (z_size_t)bytes);
    entry->size = (uint32_t)(header_bytes + bytes);
    entry->offset = (uint32_t)writer->offset;
    TRY(write_member(writer, entry, header, header_bytes, data));
    writer->directory += ENTRY_BYTES + (int64_t)strlen(entry->name);
    writer->count++;
out:
    return rc;
}

static enum bg_status write_directory(struct bg_npz_writer *writer)
{
    unsigned char end[END_BYTES] = "PK\5\6";
    int64_t start = writer->offset;
    enum bg_status rc = BG_OK;
    for (int64_t i = 0; i < writer->count; i++) {
        const struct entry *entry = &writer->entries[i];
        unsigned char bytes[ENTRY_BYTES] = "PK\1\2";
        put_u16(bytes + 4, 3 << 8 | 20); /* made on Unix by version 2.0 */
        put_fields(bytes + 6, entry);
        put_u32(bytes + 38, (uint32_t)0100644 << 16); /* mode of the file when unpacked */
        put_u32(bytes + 42, entry->offset);
        TRY(write_bytes(writer, bytes, ENTRY_BYTES));
        TRY(write_bytes(writer, entry->name, (int64_t)strlen(entry->name)));
    }
    put_u16(end + 8, (unsigned)writer->count);
    put_u16(end + 10, (unsigned)writer->count);
    put_u32(end + 12, (uint32_t)(writer->offset - start));
    put_u32(end + 16, (uint32_t)start);
    TRY(write_bytes(writer, end, END_BYTES));
out:
    return rc;
}

enum bg_status bg_npz_finish(struct bg_npz_writer *writer)
{
    enum bg_status rc = BG_OK;
    if (!writer)
        return BG_OK;
    TRY(write_directory(writer));
    errno = 0;
    if (fflush(writer->file) != 0 || ferror(writer->file))
        rc = cannot_write(writer);
out:
    errno = 0;
    if (fclose(writer->file) != 0 && rc == BG_OK)
        rc = cannot_write(writer);
    bg_free(writer->entries);
    bg_free(writer);
    return rc;
}
