/* IDX files: plain and gzipped, good and hostile. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/file.h"
#include "core/mem.h"
#include "datasets/dataset.h"
#include "datasets/idx.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-datasets-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert(system(command) == 0);
}

static void path_of(char out[BG_PATH_MAX], const char *name)
{
    OK(bg_path_join(out, folder, name));
}

static void write_bytes(const char *name, const void *bytes, size_t length)
{
    char path[BG_PATH_MAX];
    path_of(path, name);
    FILE *file = fopen(path, "wb");
    cr_assert(file != NULL);
    cr_assert(fwrite(bytes, 1, length, file) == length);
    fclose(file);
}

/* gzip of `bytes` into out; returns its length. */
static size_t gzip(const uint8_t *bytes, size_t length, uint8_t *out, size_t room)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes,
                  .avail_in = (uInt)length,
                  .next_out = out,
                  .avail_out = (uInt)room};
    cr_assert(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    cr_assert(deflate(&z, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

#define IMAGE_FILE 64 /* 16 header bytes and 3 images of 4x4 */
#define LABEL_FILE 11 /* 8 header bytes and 3 labels */

static void make_files(uint8_t images[IMAGE_FILE], uint8_t labels[LABEL_FILE])
{
    static const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 4};
    static const uint8_t label_file[LABEL_FILE] = {0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 2};
    memcpy(images, head, sizeof head);
    for (int i = 16; i < IMAGE_FILE; i++)
        images[i] = (uint8_t)(5 * i);
    memcpy(labels, label_file, sizeof label_file);
}

static void expect_idx_error(const uint8_t *bytes, size_t length, const char *part)
{
    struct bg_idx idx;
    uint8_t *exact = malloc(length ? length : 1); /* so that a sanitizer sees reads past the end */
    memcpy(exact, bytes, length);
    enum bg_status rc = bg_idx_parse(&idx, "file.idx", exact, length);
    free(exact);
    cr_assert(rc == BG_E_DATA, "got %s, expected: %s", bg_status_name(rc), part);
    cr_assert(strstr(bg_error(), part) != NULL, "\"%s\" lacks \"%s\"", bg_error(), part);
    cr_assert(strncmp(bg_error(), "file.idx: ", 10) == 0);
    cr_assert(idx.data == NULL);
}

Test(idx, reads_plain_and_gzipped_files_alike)
{
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE], packed[256];
    struct bg_idx plain, unpacked;
    make_files(images, labels);
    size_t length = gzip(images, sizeof images, packed, sizeof packed);
    OK(bg_idx_parse(&plain, "plain", images, sizeof images));
    OK(bg_idx_parse(&unpacked, "packed", packed, length));
    for (int i = 0; i < 2; i++) {
        const struct bg_idx *idx = i ? &unpacked : &plain;
        cr_assert_eq(idx->rank, 3);
        cr_assert_eq(idx->count, 48);
        cr_assert(idx->dims[0] == 3 && idx->dims[1] == 4 && idx->dims[2] == 4);
        cr_assert(memcmp(idx->data, images + 16, 48) == 0);
    }
    bg_idx_free(&plain);
    bg_idx_free(&unpacked);
}

Test(idx, refuses_headers_that_lie)
{
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE], bad[IMAGE_FILE + 1];
    make_files(images, labels);
    static const struct {
        int at;
        uint8_t value;
        const char *part;
    } cases[] = {
        {0, 1, "starts with 01 00, an IDX file starts with 00 00"},
        {2, 0x0d, "values of type 0x0d, only unsigned bytes (0x08)"},
        {3, 0, "0 dimensions, limits are 1 and 4"},
        {3, 5, "5 dimensions, limits are 1 and 4"},
        {7, 0, "dimension 0 is 0"},
        {7, 4, "the header declares 64 bytes of data, the file has 48"},
        {4, 0xff, "the header declares more than 4294967296 bytes"},
        {7, 2, "16 bytes after the end of the data"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bad, images, sizeof images);
        bad[cases[i].at] = cases[i].value;
        expect_idx_error(bad, sizeof images, cases[i].part);
    }
    memset(bad + 4, 0xff, 12); /* 2^96 values */
    expect_idx_error(bad, sizeof images, "the header declares more than 4294967296 bytes");
    memcpy(bad, images, sizeof images);
    bad[IMAGE_FILE] = 0;
    expect_idx_error(bad, IMAGE_FILE + 1, "1 bytes after the end of the data");
    for (size_t length = 0; length < 16; length++)
        expect_idx_error(images, length, "the file ends after");
    for (size_t length = 16; length < IMAGE_FILE; length++)
        expect_idx_error(images, length, "the header declares 48 bytes of data, the file has");
}

Test(idx, refuses_damaged_gzip_streams)
{
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE], packed[256], bad[256];
    make_files(images, labels);
    size_t length = gzip(images, sizeof images, packed, sizeof packed);
    struct bg_idx idx;
    for (size_t cut = 2; cut < length; cut++)
        expect_idx_error(packed, cut, "file.idx: ");
    memcpy(bad, packed, length);
    bad[length] = 'x';
    expect_idx_error(bad, length + 1, "1 bytes after the end of the data");
    /* A flipped bit is found or means nothing: time, extra flags, system and text flag of the gzip
     * header, and at most 7 bits that fill the last byte of the deflate stream. */
    int accepted = 0;
    for (size_t bit = 16; bit < 8 * length; bit++) {
        size_t byte = bit / 8;
        if ((byte >= 4 && byte <= 9) || bit == 24)
            continue;
        memcpy(bad, packed, length);
        bad[byte] = (uint8_t)(bad[byte] ^ (1u << (bit % 8)));
        if (bg_idx_parse(&idx, "file.idx", bad, length) == BG_OK) {
            accepted++;
            cr_assert(memcmp(idx.data, images + 16, 48) == 0, "bit %zu", bit);
            cr_assert(byte == length - 9, "bit %zu", bit);
        }
        bg_idx_free(&idx);
    }
    cr_assert(accepted <= 7);
}

Test(idx, never_inflates_more_than_the_header_declares)
{
    /* 1 MiB of zeros behind a header for 48 bytes, and 48 bytes behind a header for 4 GiB. */
    static uint8_t big[1 << 20], packed[1 << 16];
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE];
    make_files(images, labels);
    memcpy(big, images, 16);
    size_t length = gzip(big, sizeof big, packed, sizeof packed);
    expect_idx_error(packed, length, "more data than the 64 bytes the header declares");
    images[4] = 0xff; /* 4278190083 x 4 x 1 */
    images[11] = 1;
    images[15] = 1;
    length = gzip(images, sizeof images, packed, sizeof packed);
    uint64_t calls = bg_alloc_calls();
    expect_idx_error(packed, length, "compressed bytes hold at most");
    cr_assert(bg_alloc_calls() - calls < 8, "zlib's own state only");
}

Test(idx, pairs_images_with_labels, .init = make_folder, .fini = remove_folder)
{
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE];
    char x[BG_PATH_MAX], y[BG_PATH_MAX];
    struct bg_dataset set;
    make_files(images, labels);
    path_of(x, "x");
    path_of(y, "y");
    write_bytes("x", images, sizeof images);
    write_bytes("y", labels, sizeof labels);
    OK(bg_idx_dataset(&set, x, y, 0, "t"));
    cr_assert(set.count == 3 && set.height == 4 && set.width == 4 && set.channels == 1);
    cr_assert_eq(set.classes, 3);
    cr_assert(set.labels[0] == 1 && set.labels[1] == 0 && set.labels[2] == 2);
    bg_dataset_free(&set);

    cr_assert(bg_idx_dataset(&set, x, y, 2, "t") == BG_E_DATA);
    cr_assert(strstr(bg_error(), "label of sample 2 is 2, limits are 0 and 1"), "%s", bg_error());
    labels[7] = 2;
    write_bytes("y", labels, sizeof labels - 1);
    cr_assert(bg_idx_dataset(&set, x, y, 0, "t") == BG_E_DATA);
    cr_assert(strstr(bg_error(), "3 images, but 2 labels"), "%s", bg_error());
    cr_assert(bg_idx_dataset(&set, y, x, 0, "t") == BG_E_DATA);
    cr_assert(strstr(bg_error(), "1 dimension, images have 2 to 4"), "%s", bg_error());
    path_of(x, "absent");
    cr_assert(bg_idx_dataset(&set, x, y, 0, "t") != BG_OK);
    cr_assert(strstr(bg_error(), "absent"), "%s", bg_error());
}

Test(idx, frees_everything_when_memory_runs_out)
{
    uint8_t images[IMAGE_FILE], labels[LABEL_FILE], packed[256];
    struct bg_idx idx = {.rank = 0};
    int failures = 0;
    make_files(images, labels);
    size_t length = gzip(images, sizeof images, packed, sizeof packed);
    for (uint64_t n = 1; idx.data == NULL; n++) {
        bg_alloc_fail_at(n);
        enum bg_status rc = bg_idx_parse(&idx, "file.idx", packed, length);
        bg_alloc_fail_at(0);
        cr_assert(rc == BG_OK || rc == BG_E_NOMEM, "call %d: %s", (int)n, bg_error());
        failures += rc != BG_OK;
    }
    cr_assert(failures >= 3, "two of zlib, one of ours");
    bg_idx_free(&idx);
}
