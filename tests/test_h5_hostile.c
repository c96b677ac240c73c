/* HDF5 files that are damaged or come from others: every flipped or missing byte of ours is found
 * before HDF5 sees it; in foreign files (tests/data/h5_*.h5, written by h5py) what we do not read
 * is refused by name. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/mem.h"

static char folder[64], path_a[BG_PATH_MAX], path_b[BG_PATH_MAX];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-h5-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path_a, sizeof path_a, "%s/a.h5", folder);
    snprintf(path_b, sizeof path_b, "%s/b.h5", folder);
}

static void remove_folder(void)
{
    unlink(path_a);
    unlink(path_b);
    rmdir(folder);
}

TestSuite(h5_hostile, .init = make_folder, .fini = remove_folder);

#define OK(call_) cr_assert(eq(int, (call_), BG_OK), "%s", bg_error())

static void store(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, length, file), length);
    cr_assert_eq(fclose(file), 0);
}

static void make_sealed(const char *path)
{
    struct bg_h5 *file = NULL;
    int32_t data[200];
    for (int i = 0; i < 200; i++)
        data[i] = i * i;
    OK(bg_h5_create(&file, path));
    OK(bg_h5_write(file, "group/data", BG_H5_S32, 1, (const int64_t[]){200}, data, true));
    OK(bg_h5_write_texts(file, "group/names", "ab\0cd", 2, 3));
    OK(bg_h5_set_text(file, "group", "key", "value"));
    OK(bg_h5_close(file));
}

/* Opens, and compares with the good file; a file that opens and reads must be equal to it. */
static bool is_refused(const char *path, struct bg_h5 *good)
{
    struct bg_h5 *file = NULL;
    bool same = true;
    char difference[512];
    if (bg_h5_open(&file, path) != BG_OK) {
        cr_expect_null(file);
        return true;
    }
    cr_expect_not(bg_h5_is_ours(file));
    if (bg_h5_compare(file, good, NULL, &same, difference) == BG_OK)
        cr_expect(same, "%s", difference);
    cr_expect(eq(int, bg_h5_close(file), BG_OK), "%s", bg_error());
    return false;
}

Test(h5_hostile, flipped_bytes_of_our_files_are_found, .timeout = 60)
{
    char *bytes = NULL;
    size_t length = 0;
    struct bg_h5 *good = NULL;
    int opened = 0;
    make_sealed(path_a);
    OK(bg_file_read(path_a, 1 << 20, &bytes, &length));
    OK(bg_h5_open(&good, path_a));
    for (size_t i = 0; i < length; i += 7) {
        char before = bytes[i];
        bytes[i] = (char)(before ^ (1 << (i % 8)));
        store(path_b, bytes, length);
        bool refused = is_refused(path_b, good);
        opened += !refused;
        if (i >= 16 && refused)
            cr_expect_not_null(strstr(bg_error(), "b.h5: damaged: checksum differs"));
        cr_expect(refused || i < 13, "byte %zu", i);
        bytes[i] = before;
    }
    /* Only a flip inside "bitgrad file " makes the file look like one of others: bytes 0 and 7. */
    cr_expect(eq(int, opened, 2));
    OK(bg_h5_close(good));
    bg_free(bytes);
}

Test(h5_hostile, cut_and_lengthened_files_of_ours_are_found)
{
    char *bytes = NULL;
    size_t length = 0;
    struct bg_h5 *good = NULL;
    make_sealed(path_a);
    OK(bg_file_read(path_a, 1 << 20, &bytes, &length));
    OK(bg_h5_open(&good, path_a));
    for (size_t i = 0; i < length; i += i < 600 ? 13 : 101) {
        store(path_b, bytes, i);
        cr_expect(is_refused(path_b, good), "cut at %zu", i);
    }
    store(path_b, bytes, length);
    FILE *file = fopen(path_b, "ab");
    cr_assert_not_null(file);
    fputc(0, file);
    fclose(file);
    cr_expect(is_refused(path_b, good));
    cr_expect_not_null(strstr(bg_error(), "damaged: checksum differs"));
    OK(bg_h5_close(good));
    bg_free(bytes);
}

Test(h5_hostile, another_format_number_is_named)
{
    char *bytes = NULL;
    size_t length = 0;
    struct bg_h5 *file = NULL;
    make_sealed(path_a);
    OK(bg_file_read(path_a, 1 << 20, &bytes, &length));
    bytes[13] = '2';
    store(path_b, bytes, length);
    cr_expect(eq(int, bg_h5_open(&file, path_b), BG_E_UNSUPPORTED));
    bg_free(bytes);
}

Test(h5_hostile, what_is_no_hdf5_file_is_refused)
{
    struct bg_h5 *file = NULL;
    cr_expect(eq(int, bg_h5_open(&file, "/nonexistent.h5"), BG_E_NOT_FOUND));
    cr_expect(eq(int, bg_h5_open(&file, folder), BG_E_DATA));
    store(path_a, "", 0);
    cr_expect(eq(int, bg_h5_open(&file, path_a), BG_E_DATA));
    store(path_a, "bitgrad file ", 13);
    cr_expect(eq(int, bg_h5_open(&file, path_a), BG_E_DATA));
    store(path_a, "\x89HDF\r\n\x1a\n", 8);
    cr_expect(eq(int, bg_h5_open(&file, path_a), BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "a.h5: not an HDF5 file, or damaged"));
    cr_assert_eq(mkfifo(path_b, 0600), 0);
    cr_expect(eq(int, bg_h5_open(&file, path_b), BG_E_DATA)); /* and does not hang */
    /* A file that was begun and never closed is empty. */
    struct bg_h5 *begun = NULL;
    OK(bg_h5_create(&begun, path_a));
    OK(bg_h5_write(begun, "x", BG_H5_U8, 0, NULL, "x", false));
    cr_expect(eq(int, bg_h5_open(&file, path_a), BG_E_DATA));
    OK(bg_h5_close(begun));
    cr_expect_null(file);
}

Test(h5_hostile, foreign_data_is_read)
{
    struct bg_h5 *file = NULL;
    uint8_t images[24];
    OK(bg_h5_open(&file, "tests/data/h5_foreign.h5"));
    cr_expect_not(bg_h5_is_ours(file));
    static const char *const names[] = {"images", "hard"};
    for (int n = 0; n < 2; n++) {
        OK(bg_h5_read(file, names[n], BG_H5_U8, 3, (const int64_t[]){-1, 3, 4}, images, 24));
        for (int i = 0; i < 24; i++)
            cr_expect(eq(int, images[i], i));
    }
    int16_t big[3];
    OK(bg_h5_read(file, "big_endian", BG_H5_S16, 1, (const int64_t[]){3}, big, sizeof big));
    cr_expect_arr_eq(big, ((const int16_t[]){1, -2, 300}), sizeof big);
    float *reals = NULL;
    int64_t dims[1] = {-1};
    OK(bg_h5_read_new(file, "f8", BG_H5_F32, 1, dims, &reals, 1000));
    cr_expect(eq(i64, dims[0], 2));
    cr_expect(eq(flt, reals[1], -1.25f));
    bg_free(reals);
    int32_t packed[100];
    OK(bg_h5_read(file, "gzip", BG_H5_S32, 1, (const int64_t[]){100}, packed, sizeof packed));
    cr_expect(eq(int, packed[99], 99));
    char words[2][5];
    OK(bg_h5_read_texts(file, "words", words[0], 2, 5));
    cr_expect_str_eq(words[0], "cat");
    cr_expect_str_eq(words[1], "dogs");
    char text[8];
    OK(bg_h5_get_text(file, "", "text", text, sizeof text));
    cr_expect_str_eq(text, "plain");
    int64_t number = 0;
    OK(bg_h5_get_int(file, "", "int", &number));
    cr_expect(eq(i64, number, -7));
    double real = 0;
    OK(bg_h5_get_real(file, "", "real", &real));
    cr_expect(eq(dbl, real, 0.5));
    OK(bg_h5_close(file));
}

static void refuse(struct bg_h5 *file, const char *name, const char *sentence)
{
    struct bg_h5_info info;
    cr_expect(eq(int, bg_h5_info(file, name, &info), BG_E_DATA), "%s", name);
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
}

static enum bg_status see_nothing(void *self, const struct bg_h5_object *object)
{
    (void)self;
    (void)object;
    return BG_OK;
}

Test(h5_hostile, what_is_not_read_is_refused_by_name)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_open(&file, "tests/data/h5_foreign.h5"));
    refuse(file, "soft", "soft: is a soft link");
    refuse(file, "outside", "outside: is an external link");
    refuse(file, "outside/x", "outside: is an external link");
    refuse(file, "group/soft/data", "group/soft: is a soft link");
    refuse(file, "external", "external: data in another file is not read");
    refuse(file, "half", "neither whole-width integers");
    refuse(file, "bool", "neither whole-width integers");
    refuse(file, "compound", "neither whole-width integers");
    refuse(file, "variable", "texts of variable length are not read");
    refuse(file, "rank6", "6 dimensions, limit is 5");
    refuse(file, "null", "has no shape");
    refuse(file, "named", "neither group nor dataset");
    refuse(file, "of_named", "a named type is not read");
    refuse(file, "bomb", "declares 2147483648 bytes, 0 are stored");
    refuse(file, "lzf", "filters other than deflate, shuffle and fletcher32");
    refuse(file, "huge_chunk", "a chunk is larger than 268435456 bytes");
    cr_expect(eq(int, bg_h5_walk(file, see_nothing, NULL), BG_E_DATA));
    int64_t number = 0;
    char text[32];
    cr_expect(eq(int, bg_h5_get_int(file, "", "u64", &number), BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "does not fit 64 signed bits"));
    cr_expect(eq(int, bg_h5_get_int(file, "", "array", &number), BG_E_DATA));
    cr_expect(eq(int, bg_h5_get_text(file, "", "variable", text, sizeof text), BG_E_DATA));
    OK(bg_h5_close(file));
    OK(bg_h5_open(&file, "tests/data/h5_virtual.h5"));
    refuse(file, "virtual", "virtual: a virtual dataset");
    OK(bg_h5_close(file));
}

Test(h5_hostile, a_circle_of_groups_ends, .timeout = 30)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_open(&file, "tests/data/h5_circle.h5"));
    cr_expect(eq(int, bg_h5_walk(file, see_nothing, NULL), BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "groups are nested deeper than 16"), "%s", bg_error());
    int32_t data[3];
    OK(bg_h5_read(file, "a/back/a/data", BG_H5_S32, 1, (const int64_t[]){3}, data, sizeof data));
    OK(bg_h5_close(file));
}

/* HDF5 itself may crash on such files: in the child, never here. */
Test(h5_hostile, flipped_bytes_of_foreign_files_never_crash, .timeout = 120)
{
    static const char *const names[] = {"images", "gzip",  "words", "bomb", "variable", "external",
                                        "null",   "rank6", "f8",    "hard", "group"};
    char *bytes = NULL;
    size_t length = 0;
    unsigned state = 3;
    int opened = 0;
    OK(bg_file_read("tests/data/h5_foreign.h5", 1 << 20, &bytes, &length));
    for (int round = 0; round < 120; round++) {
        struct bg_h5 *file = NULL;
        state = state * 1664525u + 1013904223u;
        size_t i = (state >> 8) % length;
        char before = bytes[i];
        bytes[i] = (char)(before ^ (1 << (round % 8)));
        store(path_a, bytes, length);
        bytes[i] = before;
        if (bg_h5_open(&file, path_a) != BG_OK)
            continue;
        opened++;
        for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
            struct bg_h5_info info;
            char words[2][5];
            void *out = NULL;
            if (bg_h5_info(file, names[n], &info) == BG_OK &&
                bg_h5_read_new(file, names[n], info.type, info.rank, info.dims, &out, 1 << 24) ==
                    BG_OK)
                bg_free(out);
            (void)!bg_h5_read_texts(file, names[n], words[0], 2, 5);
        }
        cr_expect(eq(int, bg_h5_close(file), BG_OK), "%s", bg_error());
    }
    cr_expect_gt(opened, 0);
    bg_free(bytes);
}
