/* Reading IDX files: header, sizes, then exactly the declared bytes, then exactly the end. gzip's
 * checksum covers flipped bits; a plain file has none. One gzip member; bytes after it are an
 * error.
 */
#include "datasets/idx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define ZLIB_CONST /* next_in points to const bytes */
#include <zlib.h>

#include "core/file.h"
#include "core/mem.h"

#define MOST_FILE_BYTES 0x7fffffffLL       /* zlib counts input in 32 bits */
#define MOST_DATA_BYTES ((int64_t)1 << 32) /* of one array in memory */
#define DEFLATE_RATIO   1032               /* no deflate stream expands more (zlib's manual) */
#define CHUNK           ((int64_t)1 << 30)

struct reader {
    const char *name;
    bool gz, ended;
    z_stream z;
    const uint8_t *at; /* plain */
    int64_t left;      /* plain */
    int64_t given;     /* bytes handed out so far */
};

static voidpf z_alloc(voidpf self, uInt items, uInt size)
{
    void *memory = NULL;
    (void)self;
    return bg_alloc(&memory, items, size) == BG_OK ? memory : Z_NULL;
}

static void z_free(voidpf self, voidpf memory)
{
    (void)self;
    bg_free(memory);
}

static enum bg_status reader_open(struct reader *reader, const char *name, const void *bytes,
                                  size_t length)
{
    const uint8_t *b = bytes;
    *reader = (struct reader){.name = name, .at = b, .left = (int64_t)length};
    if ((int64_t)length > MOST_FILE_BYTES)
        return bg_fail(BG_E_DATA, "%s: %zu bytes, limit is %lld", name, length, MOST_FILE_BYTES);
    reader->gz = length >= 2 && b[0] == 0x1f && b[1] == 0x8b;
    if (!reader->gz)
        return BG_OK;
    reader->z.zalloc = z_alloc;
    reader->z.zfree = z_free;
    int code = inflateInit2(&reader->z, 15 + 16); /* largest window, gzip wrapper */
    if (code != Z_OK)
        return bg_fail(code == Z_MEM_ERROR ? BG_E_NOMEM : BG_E_INTERNAL, "%s: zlib: error %d", name,
                       code);
    reader->z.next_in = (z_const Bytef *)b;
    reader->z.avail_in = (uInt)length;
    return BG_OK;
}

static void reader_close(struct reader *reader)
{
    if (reader->gz)
        inflateEnd(&reader->z);
}

static enum bg_status truncated(const struct reader *reader, int64_t wanted)
{
    return bg_fail(BG_E_DATA, "%s: the file ends after %" PRId64 " of %" PRId64 " bytes",
                   reader->name, reader->given, wanted);
}

/* Inflates into `room` bytes at dst; *got may be smaller only at the end of the stream. */
static enum bg_status inflate_some(struct reader *reader, uint8_t *dst, int64_t room, int64_t *got)
{
    *got = 0;
    while (*got < room && !reader->ended) {
        int64_t part = room - *got < CHUNK ? room - *got : CHUNK;
        reader->z.next_out = dst + *got;
        reader->z.avail_out = (uInt)part;
        int code = inflate(&reader->z, Z_NO_FLUSH);
        *got += part - (int64_t)reader->z.avail_out;
        if (code == Z_STREAM_END)
            reader->ended = true;
        else if (code == Z_MEM_ERROR)
            return bg_fail(BG_E_NOMEM, "%s: out of memory in zlib", reader->name);
        else if (code == Z_BUF_ERROR)
            return bg_fail(BG_E_DATA, "%s: the compressed data are cut off after %" PRId64 " bytes",
                           reader->name, reader->given + *got);
        else if (code != Z_OK)
            return bg_fail(BG_E_DATA, "%s: the compressed data are damaged (%s)", reader->name,
                           reader->z.msg ? reader->z.msg : "no gzip stream");
    }
    return BG_OK;
}

/* Exactly n bytes. `wanted` is the whole file's size for the sentence. */
static enum bg_status reader_get(struct reader *reader, uint8_t *dst, int64_t n, int64_t wanted)
{
    enum bg_status rc = BG_OK;
    int64_t got = 0;
    if (reader->gz) {
        TRY(inflate_some(reader, dst, n, &got));
    } else {
        got = reader->left < n ? reader->left : n;
        if (got > 0)
            memcpy(dst, reader->at, (size_t)got);
        reader->at += got;
        reader->left -= got;
    }
    reader->given += got;
    if (got < n)
        TRY(truncated(reader, wanted));
out:
    return rc;
}

static enum bg_status reader_expect_end(struct reader *reader)
{
    enum bg_status rc = BG_OK;
    int64_t got = 0, left = reader->left;
    uint8_t extra = 0;
    if (reader->gz) {
        TRY(inflate_some(reader, &extra, 1, &got)); /* also checks the checksum */
        if (got > 0)
            FAIL(BG_E_DATA, "%s: more data than the %" PRId64 " bytes the header declares",
                 reader->name, reader->given);
        left = (int64_t)reader->z.avail_in;
    }
    if (left > 0)
        FAIL(BG_E_DATA, "%s: %" PRId64 " bytes after the end of the data", reader->name, left);
out:
    return rc;
}

static int64_t big_endian(const uint8_t *b)
{
    return ((int64_t)b[0] << 24) | ((int64_t)b[1] << 16) | ((int64_t)b[2] << 8) | (int64_t)b[3];
}

/* Type, rank and dimensions; the product is checked against MOST_DATA_BYTES. */
static enum bg_status read_header(struct reader *reader, struct bg_idx *out)
{
    enum bg_status rc = BG_OK;
    uint8_t magic[4] = {0}, dims[4 * BG_IDX_RANK_MAX] = {0};
    TRY(reader_get(reader, magic, 4, 4));
    if (magic[0] != 0 || magic[1] != 0)
        FAIL(BG_E_DATA, "%s: starts with %02x %02x, an IDX file starts with 00 00", reader->name,
             magic[0], magic[1]);
    if (magic[2] != 0x08)
        FAIL(BG_E_DATA, "%s: values of type 0x%02x, only unsigned bytes (0x08) are read",
             reader->name, magic[2]);
    if (magic[3] < 1 || magic[3] > BG_IDX_RANK_MAX)
        FAIL(BG_E_DATA, "%s: %d dimensions, limits are 1 and %d", reader->name, magic[3],
             BG_IDX_RANK_MAX);
    out->rank = magic[3];
    TRY(reader_get(reader, dims, 4 * (int64_t)out->rank, 4 + 4 * (int64_t)out->rank));
    out->count = 1;
    for (int i = 0; i < out->rank; i++) {
        out->dims[i] = big_endian(dims + 4 * (ptrdiff_t)i);
        if (out->dims[i] == 0)
            FAIL(BG_E_DATA, "%s: dimension %d is 0", reader->name, i);
        if (out->dims[i] > MOST_DATA_BYTES / out->count)
            FAIL(BG_E_DATA, "%s: the header declares more than %" PRId64 " bytes", reader->name,
                 MOST_DATA_BYTES);
        out->count *= out->dims[i];
    }
out:
    return rc;
}

/* Refuses sizes that the file cannot hold, before memory is taken. */
static enum bg_status check_size(const struct reader *reader, const struct bg_idx *idx,
                                 size_t length)
{
    int64_t most = (int64_t)length * DEFLATE_RATIO;
    if (!reader->gz && reader->left < idx->count)
        return bg_fail(BG_E_DATA,
                       "%s: the header declares %" PRId64 " bytes of data, the file has %" PRId64,
                       reader->name, idx->count, reader->left);
    if (reader->gz && idx->count > most)
        return bg_fail(BG_E_DATA,
                       "%s: the header declares %" PRId64
                       " bytes of data, %zu compressed bytes hold at most %" PRId64,
                       reader->name, idx->count, length, most);
    return BG_OK;
}

enum bg_status bg_idx_parse(struct bg_idx *out, const char *name, const void *bytes, size_t length)
{
    enum bg_status rc = BG_OK;
    struct reader reader = {.gz = false};
    *out = (struct bg_idx){.rank = 0};
    TRY(reader_open(&reader, name, bytes, length));
    TRY(read_header(&reader, out));
    TRY(check_size(&reader, out, length));
    TRY(bg_alloc(&out->data, out->count, 1));
    TRY(reader_get(&reader, out->data, out->count, reader.given + out->count));
    TRY(reader_expect_end(&reader));
out:
    reader_close(&reader);
    if (rc != BG_OK)
        bg_idx_free(out);
    return rc;
}

enum bg_status bg_idx_read(struct bg_idx *out, const char *path)
{
    enum bg_status rc = BG_OK;
    char *bytes = NULL;
    size_t length = 0;
    *out = (struct bg_idx){.rank = 0};
    TRY(bg_file_read(path, MOST_FILE_BYTES, &bytes, &length));
    TRY(bg_idx_parse(out, path, bytes, length));
out:
    bg_free(bytes);
    return rc;
}

void bg_idx_free(struct bg_idx *idx)
{
    bg_free(idx->data);
    *idx = (struct bg_idx){.rank = 0};
}

static enum bg_status check_pair(const struct bg_idx *x, const struct bg_idx *y, const char *images,
                                 const char *labels)
{
    if (x->rank < 2)
        return bg_fail(BG_E_DATA, "%s: %d dimension, images have 2 to 4", images, x->rank);
    if (y->rank != 1)
        return bg_fail(BG_E_DATA, "%s: %d dimensions, labels have 1", labels, y->rank);
    if (x->dims[0] != y->dims[0])
        return bg_fail(BG_E_DATA, "%s: %" PRId64 " images, but %" PRId64 " labels in %s", images,
                       x->dims[0], y->dims[0], labels);
    return BG_OK;
}

enum bg_status bg_idx_dataset(struct bg_dataset *out, const char *images, const char *labels,
                              int classes, const char *title)
{
    enum bg_status rc = BG_OK;
    struct bg_idx x = {.rank = 0}, y = {.rank = 0};
    *out = (struct bg_dataset){.count = 0};
    TRY(bg_idx_read(&x, images));
    TRY(bg_idx_read(&y, labels));
    TRY(check_pair(&x, &y, images, labels));
    TRY(bg_alloc(&out->labels, y.count, sizeof(int32_t)));
    for (int64_t i = 0; i < y.count; i++)
        out->labels[i] = y.data[i];
    out->count = x.dims[0];
    out->height = x.rank > 2 ? x.dims[1] : 1;
    out->width = x.rank > 2 ? x.dims[2] : 1;
    out->channels = x.rank == 2 ? x.dims[1] : x.rank == 4 ? x.dims[3] : 1;
    out->classes = classes;
    out->dtype = BG_U8;
    out->images = x.data;
    x.data = NULL;
    snprintf(out->title, sizeof out->title, "%s", title);
    TRY(bg_dataset_check(out, false, labels));
out:
    bg_idx_free(&x);
    bg_idx_free(&y);
    if (rc != BG_OK)
        bg_dataset_free(out);
    return rc;
}
