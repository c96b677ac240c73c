/* Written .npz files: the reader gets back what was written, equal content gives equal bytes, each
 * byte of a small file is the one that the formats ask for, and what does not fit is refused. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/npz.h"
#include "core/npz_write.h"

#define OK(call_) cr_assert(eq(int, call_, BG_OK), "%s", bg_error())

static char folder[64], path[128];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-npz-write-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.npz", folder);
}

static void remove_folder(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(npz_write, .init = make_folder, .fini = remove_folder);

static void expect(struct bg_npz *npz, const char *name, int rank, const int64_t *dims,
                   const float *values)
{
    struct bg_shape shape;
    float *got = NULL;
    OK(bg_npz_read_f32(npz, name, &shape, &got));
    cr_assert(eq(int, shape.rank, rank), "%s", name);
    for (int i = 0; i < rank; i++)
        cr_assert(eq(i64, shape.dims[i], dims[i]), "%s", name);
    for (int64_t i = 0; i < bg_shape_count(&shape); i++)
        cr_expect(eq(flt, got[i], values[i]), "%s[%d]", name, (int)i);
    bg_free(got);
}

static const uint8_t bytes[] = {0, 1, 128, 255};
static const int8_t codes[] = {-128, -1, 0, 1, 2, 127};
static const int32_t words[] = {INT32_MIN, -1, 0, 8388608};
static const int64_t longs[] = {INT64_MIN, -3, (int64_t)1 << 40};
static const float reals[] = {0.1f, -0.0f, INFINITY, 1e-40f, -3.5f, 2.0f};

static void write_all(void)
{
    struct bg_npz_writer *writer = NULL;
    OK(bg_npz_create(&writer, path));
    OK(bg_npz_add(writer, "bytes", BG_NPZ_U8, 4, (const int64_t[]){1, 2, 1, 2}, bytes));
    OK(bg_npz_add(writer, "step000/codes", BG_NPZ_S8, 2, (const int64_t[]){2, 3}, codes));
    OK(bg_npz_add(writer, "words", BG_NPZ_S32, 1, (const int64_t[]){4}, words));
    OK(bg_npz_add(writer, "longs", BG_NPZ_S64, 1, (const int64_t[]){3}, longs));
    OK(bg_npz_add(writer, "reals", BG_NPZ_F32, 3, (const int64_t[]){3, 1, 2}, reals));
    OK(bg_npz_add(writer, "scalar", BG_NPZ_F32, 0, NULL, &reals[4]));
    OK(bg_npz_finish(writer));
}

Test(npz_write, reads_back_as_written)
{
    struct bg_npz *npz = NULL;
    write_all();
    OK(bg_npz_open(&npz, path));
    cr_assert(eq(int, bg_npz_count(npz), 6));
    cr_expect_str_eq(bg_npz_name(npz, 1), "step000/codes");
    expect(npz, "bytes", 4, (const int64_t[]){1, 2, 1, 2}, (const float[]){0, 1, 128, 255});
    expect(npz, "step000/codes", 2, (const int64_t[]){2, 3},
           (const float[]){-128, -1, 0, 1, 2, 127});
    expect(npz, "words", 1, (const int64_t[]){4}, (const float[]){-2147483648.0f, -1, 0, 8388608});
    expect(npz, "longs", 1, (const int64_t[]){3},
           (const float[]){-9223372036854775808.0f, -3, 1099511627776.0f});
    expect(npz, "reals", 3, (const int64_t[]){3, 1, 2}, reals);
    expect(npz, "scalar", 0, NULL, &reals[4]);
    bg_npz_close(npz);
}

Test(npz_write, equal_content_gives_equal_bytes)
{
    char *first = NULL, *second = NULL;
    size_t first_length = 0, second_length = 0;
    write_all();
    OK(bg_file_read(path, 1 << 20, &first, &first_length));
    write_all();
    OK(bg_file_read(path, 1 << 20, &second, &second_length));
    cr_assert(eq(sz, first_length, second_length));
    cr_expect_arr_eq(first, second, first_length);
    bg_free(first);
    bg_free(second);
}

/* PKWARE APPNOTE 4.3.7, 4.3.12, 4.3.16 and NEP 1, byte for byte; the checksum is zlib's of Python:
 * zlib.crc32 of the 128 + 2 bytes of the member. */
Test(npz_write, bytes_are_those_of_the_formats)
{
    static const char local[] = "PK\3\4\x14\0\0\0\0\0\0\0\x21\0\x6c\x7c\xed\x9e\x82\0\0\0\x82\0\0\0"
                                "\x05\0\0\0a.npy\x93NUMPY\1\0\x76\0"
                                "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
    static const char entry[] = "PK\1\2\x14\3\x14\0\0\0\0\0\0\0\x21\0\x6c\x7c\xed\x9e\x82\0\0\0"
                                "\x82\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\xa4\x81\0\0\0\0a.npy"
                                "PK\5\6\0\0\0\0\1\0\1\0\x33\0\0\0\xa5\0\0\0\0";
    struct bg_npz_writer *writer = NULL;
    char *text = NULL;
    size_t length = 0;
    OK(bg_npz_create(&writer, path));
    OK(bg_npz_add(writer, "a", BG_NPZ_U8, 1, (const int64_t[]){2}, "\7\t"));
    OK(bg_npz_finish(writer));
    OK(bg_file_read(path, 1 << 20, &text, &length));
    cr_assert(eq(sz, length, 35 + 128 + 2 + sizeof entry));
    cr_expect_arr_eq(text, local, sizeof local - 1);
    for (size_t i = sizeof local - 1; i < 35 + 127; i++)
        cr_expect(eq(int, text[i], ' '));
    cr_expect_arr_eq(text + 35 + 127, "\n\7\t", 3);
    cr_expect_arr_eq(text + 35 + 130, entry, sizeof entry);
    bg_free(text);
}

Test(npz_write, every_header_is_a_multiple_of_64)
{
    static const int64_t dims[5] = {1, 1, 1, 1, 3};
    struct bg_npz_writer *writer = NULL;
    char *text = NULL;
    size_t length = 0, at = 0;
    OK(bg_npz_create(&writer, path));
    OK(bg_npz_add(writer, "a", BG_NPZ_S8, 5, dims, "xyz"));
    for (int rank = 0; rank <= 4; rank++) {
        char name[2] = {(char)('b' + rank), 0};
        OK(bg_npz_add(writer, name, BG_NPZ_F32, rank, dims, reals));
    }
    OK(bg_npz_finish(writer));
    OK(bg_file_read(path, 1 << 20, &text, &length));
    for (int i = 0; i < 6; i++) {
        at += 35;
        cr_assert_arr_eq(text + at, "\x93NUMPY\1\0", 8);
        size_t header =
            10 + (size_t)(unsigned char)text[at + 8] + 256 * (size_t)(unsigned char)text[at + 9];
        cr_expect(eq(sz, header % 64, 0));
        cr_expect(eq(int, text[at + header - 1], '\n'));
        at += header + (i == 0 ? 3 : 4);
    }
    bg_free(text);
}

static void refuse(struct bg_npz_writer *writer, const char *name, int rank, const int64_t *dims,
                   const char *sentence)
{
    cr_expect_neq(bg_npz_add(writer, name, BG_NPZ_S32, rank, dims, words), BG_OK, "%s", name);
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
}

Test(npz_write, refusals_say_why_and_change_nothing)
{
    static const char *const names[] = {"",     "a b",    "a\\b", "a'b", "\xc3\xa4", "/a",
                                        "a//b", "a/../b", "./a",  "..",  "a/"};
    static const int64_t ones[6] = {1, 1, 1, 1, 1, 1};
    struct bg_npz_writer *writer = NULL;
    struct bg_npz *npz = NULL;
    char long_name[253];
    memset(long_name, 'n', sizeof long_name);
    long_name[252] = '\0';

    OK(bg_npz_create(&writer, path));
    OK(bg_npz_add(writer, "one", BG_NPZ_S32, 0, NULL, &words[1]));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refuse(writer, names[i], 1, ones, "cannot name an array");
    refuse(writer, long_name, 1, ones, "has 252 characters, limit is 251");
    refuse(writer, "one", 1, ones, "two arrays are named one");
    refuse(writer, "deep", 6, ones, "deep: 6 dimensions, limit is 5");
    refuse(writer, "less", -1, ones, "less: -1 dimensions");
    refuse(writer, "none", 2, (const int64_t[]){2, 0}, "none: dimension 1 is 0, least is 1");
    refuse(writer, "minus", 1, (const int64_t[]){-2}, "dimension 0 is -2");
    /* 2^30 words are 4 GiB; 2^32 - 2 bytes less 128 of header hold 1073741791. */
    refuse(writer, "big", 1, (const int64_t[]){1073741824},
           "dimension 0 of 1073741824 makes it more than 4294967294 bytes");
    refuse(writer, "tight", 1, (const int64_t[]){1073741792},
           "tight: 4294967296 bytes, limit of an array is 4294967294");
    refuse(writer, "huge", 3, (const int64_t[]){INT64_MAX, INT64_MAX, 2}, "huge: dimension 0");
    long_name[251] = '\0';
    OK(bg_npz_add(writer, long_name, BG_NPZ_S32, 1, (const int64_t[]){4}, words));
    OK(bg_npz_finish(writer));
    OK(bg_npz_open(&npz, path));
    cr_expect(eq(int, bg_npz_count(npz), 2));
    expect(npz, "one", 0, NULL, (const float[]){-1});
    expect(npz, long_name, 1, (const int64_t[]){4},
           (const float[]){-2147483648.0f, -1, 0, 8388608});
    bg_npz_close(npz);
}

/* Pages of an untouched private mapping are all one page of zeros: no memory is used. Twice the
 * data with 128 bytes of header, 30 in front of each, names of 9 and 10; 46 and the names again in
 * the directory, and 22. */
Test(npz_write, a_file_stays_below_4_gib)
{
    const int64_t half = (int64_t)2200 << 20;
    struct bg_npz_writer *writer = NULL;
    int zero = open("/dev/zero", O_RDONLY);
    void *zeros = mmap(NULL, (size_t)half, PROT_READ, MAP_PRIVATE, zero, 0);
    if (zeros == MAP_FAILED)
        cr_skip_test("no address space for 2.2 GiB");
    OK(bg_npz_create(&writer, "/dev/null"));
    OK(bg_npz_add(writer, "first", BG_NPZ_U8, 1, &half, zeros));
    cr_expect(eq(int, bg_npz_add(writer, "second", BG_NPZ_U8, 1, &half, zeros), BG_E_RANGE));
    cr_expect_str_eq(bg_error(), "/dev/null: second would make it 4613734868 bytes, limit of a "
                                 "file is 4294967294");
    OK(bg_npz_finish(writer));
    munmap(zeros, (size_t)half);
    close(zero);
}

Test(npz_write, many_arrays)
{
    struct bg_npz_writer *writer = NULL;
    struct bg_npz *npz = NULL;
    OK(bg_npz_create(&writer, path));
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "a%d", i);
        OK(bg_npz_add(writer, name, BG_NPZ_S32, 0, NULL, &i));
    }
    OK(bg_npz_finish(writer));
    OK(bg_npz_open(&npz, path));
    cr_assert(eq(int, bg_npz_count(npz), 300));
    for (int i = 0; i < 300; i++)
        expect(npz, bg_npz_name(npz, i), 0, NULL, (const float[]){(float)i});
    bg_npz_close(npz);
}

/* A full disk shows at once when more than the stream's buffer is written, else at the end. */
Test(npz_write, a_full_disk_is_an_error)
{
    static const uint8_t much[1 << 20];
    const int64_t dim = sizeof much;
    struct bg_npz_writer *writer = NULL;

    OK(bg_npz_create(&writer, "/dev/full"));
    OK(bg_npz_add(writer, "a", BG_NPZ_U8, 1, (const int64_t[]){4}, bytes));
    cr_expect(eq(int, bg_npz_finish(writer), BG_E_IO));
    cr_expect_str_eq(bg_error(), "/dev/full: cannot write: No space left on device");

    OK(bg_npz_create(&writer, "/dev/full"));
    cr_expect(eq(int, bg_npz_add(writer, "a", BG_NPZ_U8, 1, &dim, much), BG_E_IO));
    cr_expect_str_eq(bg_error(), "/dev/full: cannot write: No space left on device");
    cr_expect(eq(int, bg_npz_add(writer, "b", BG_NPZ_U8, 1, (const int64_t[]){4}, bytes), BG_E_IO));
    cr_expect_str_eq(bg_error(), "/dev/full: an earlier write failed");
    cr_expect(eq(int, bg_npz_finish(writer), BG_E_IO));

    snprintf(path, sizeof path, "%s/none/x.npz", folder);
    cr_expect(eq(int, bg_npz_create(&writer, path), BG_E_IO));
    cr_expect_null(writer);
    OK(bg_npz_finish(NULL));
}

Test(npz_write, without_memory_nothing_is_lost)
{
    for (uint64_t n = 1;; n++) {
        struct bg_npz_writer *writer = NULL;
        bg_alloc_fail_at(n);
        enum bg_status rc = bg_npz_create(&writer, path);
        if (rc == BG_OK)
            rc = bg_npz_add(writer, "a", BG_NPZ_U8, 1, (const int64_t[]){4}, bytes);
        bg_alloc_fail_at(0);
        cr_expect(rc == BG_OK || rc == BG_E_NOMEM);
        OK(bg_npz_finish(writer)); /* takes NULL */
        if (rc == BG_OK) {
            cr_expect(gt(u64, n, 2));
            break;
        }
    }
}
