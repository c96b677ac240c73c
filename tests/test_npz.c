/* .npy and .npz: files written by numpy 1.24 (tests/data/npz_*.npz) read to the exact values,
 * damaged ones are refused, and no byte of a file can be changed so that reading it misbehaves. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/npz.h"

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-npz-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    char path[BG_PATH_MAX];
    snprintf(path, sizeof path, "%s/x.npz", folder);
    unlink(path);
    rmdir(folder);
}

TestSuite(npz, .init = make_folder, .fini = remove_folder);

static const char *store(const void *bytes, size_t length)
{
    static char path[BG_PATH_MAX];
    snprintf(path, sizeof path, "%s/x.npz", folder);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, length, file), length);
    cr_assert_eq(fclose(file), 0);
    return path;
}

/* Reads every array; returns the first failure. */
static enum bg_status read_all(const char *path, int *arrays)
{
    struct bg_npz *npz = NULL;
    enum bg_status rc = bg_npz_open(&npz, path);
    *arrays = rc == BG_OK ? bg_npz_count(npz) : 0;
    for (int i = 0; i < *arrays; i++) {
        struct bg_shape shape;
        float *values = NULL;
        enum bg_status one = bg_npz_read_f32(npz, bg_npz_name(npz, i), &shape, &values);
        cr_expect_eq(one == BG_OK, values != NULL);
        bg_free(values);
        rc = rc == BG_OK ? one : rc;
    }
    bg_npz_close(npz);
    return rc;
}

static void expect_array(struct bg_npz *npz, const char *name, const struct bg_shape *shape,
                         const float *expected)
{
    struct bg_shape got;
    float *values = NULL;
    cr_assert(eq(int, bg_npz_read_f32(npz, name, &got, &values), BG_OK), "%s", bg_error());
    cr_assert(eq(int, got.rank, shape->rank), "%s", name);
    int64_t count = 1;
    for (int i = 0; i < got.rank; i++) {
        cr_expect(eq(i64, got.dims[i], shape->dims[i]), "%s", name);
        count *= got.dims[i];
    }
    for (int64_t i = 0; i < count; i++)
        cr_expect(eq(flt, values[i], expected[i]), "%s[%d]", name, (int)i);
    bg_free(values);
}

static void expect_numpy_arrays(const char *path)
{
    struct bg_npz *npz = NULL;
    cr_assert(eq(int, bg_npz_open(&npz, path), BG_OK), "%s", bg_error());
    cr_assert(eq(int, bg_npz_count(npz), 7));
    cr_expect_str_eq(bg_npz_name(npz, 0), "conv1.weight");
    float ramp[24];
    for (int i = 0; i < 24; i++)
        ramp[i] = (float)i / 8 - 1;
    expect_array(npz, "conv1.weight", &(struct bg_shape){4, {2, 3, 2, 2}}, ramp);
    expect_array(npz, "double", &(struct bg_shape){1, {4}},
                 (const float[]){0.1f, -2.5f, 1e-3f, INFINITY});
    expect_array(npz, "signed", &(struct bg_shape){2, {2, 2}}, (const float[]){-128, 127, 0, -1});
    expect_array(npz, "bytes", &(struct bg_shape){1, {4}}, (const float[]){0, 127, 128, 255});
    expect_array(npz, "wide", &(struct bg_shape){1, {3}},
                 (const float[]){-2147483648.0f, 2147483648.0f, -1});
    /* 16777217 = 2^24 + 1 lies half-way and rounds to even. */
    expect_array(npz, "long", &(struct bg_shape){1, {4}},
                 (const float[]){-9223372036854775808.0f, 9223372036854775808.0f, -1, 16777216.0f});
    expect_array(npz, "scalar", &(struct bg_shape){0, {0}}, (const float[]){0.25f});
    struct bg_shape shape;
    float *values = NULL;
    cr_expect(eq(int, bg_npz_read_f32(npz, "absent", &shape, &values), BG_E_NOT_FOUND));
    cr_expect_null(values);
    bg_npz_close(npz);
}

Test(npz, reads_numpy_files)
{
    expect_numpy_arrays("tests/data/npz_stored.npz");
    expect_numpy_arrays("tests/data/npz_deflated.npz");
}

static void refuse(const char *path, enum bg_status code, const char *sentence)
{
    int arrays = 0;
    cr_expect(eq(int, read_all(path, &arrays), code), "%s: %s", path, bg_error());
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
}

Test(npz, refuses_what_is_not_read)
{
    refuse("tests/data/npz_fortran.npz", BG_E_UNSUPPORTED, "a: stored in Fortran order");
    refuse("tests/data/npz_object.npz", BG_E_UNSUPPORTED, "a: holds Python objects");
    refuse("tests/data/npz_big_endian.npz", BG_E_UNSUPPORTED, "type >f4 is big-endian");
    refuse("/nonexistent/x.npz", BG_E_NOT_FOUND, "cannot open");
    refuse("/tmp", BG_E_DATA, "not a regular file");
    refuse(store("", 0), BG_E_DATA, "not an .npz file");
    refuse(store("PK\5\6", 4), BG_E_DATA, "not an .npz file");
}

/* A lone .npy file with this header text and `data` zero bytes. */
static const char *lone(int version, const char *header, size_t data)
{
    static unsigned char bytes[4096];
    size_t length = strlen(header), start = version == 1 ? 10 : 12;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, "\x93NUMPY", 6);
    bytes[6] = (unsigned char)version;
    bytes[8] = (unsigned char)(length & 0xff);
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + start, header, length);
    return store(bytes, start + length + data);
}

Test(npz, a_lone_npy_file_is_an_archive_of_one)
{
    for (int version = 1; version <= 3; version++) {
        struct bg_npz *npz = NULL;
        const char *path =
            lone(version, "{'shape': (2, 3,), 'descr': '<f8', 'fortran_order': False}\n", 48);
        cr_assert(eq(int, bg_npz_open(&npz, path), BG_OK));
        cr_assert(eq(int, bg_npz_count(npz), 1));
        cr_expect_str_eq(bg_npz_name(npz, 0), "x.npz");
        expect_array(npz, "x.npz", &(struct bg_shape){2, {2, 3}}, (const float[6]){0});
        bg_npz_close(npz);
    }
}

Test(npz, headers_must_be_exact)
{
    static const struct {
        const char *header;
        size_t data;
        enum bg_status code;
        const char *sentence;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 7, BG_E_DATA, "needs more"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 9, BG_E_DATA, "has 9 bytes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}", 0, BG_E_DATA, "dimension is 0"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1)}", 4, BG_E_DATA,
         "more than 4 dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, BG_E_DATA,
         "not a list of dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 4}", 4, BG_E_DATA, "not a list"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}", 4, BG_E_DATA, "not a list"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1", 4, BG_E_DATA, "not a list"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999,999999999999999)}", 4,
         BG_E_DATA, "needs more"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999,)}", 4, BG_E_DATA,
         "more than 15 digits"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", 4, BG_E_UNSUPPORTED, "Fortran"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, BG_E_DATA, "fortran_order"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", 8, BG_E_UNSUPPORTED,
         "type <c8 is not read"},
        {"{'descr': '|f4', 'fortran_order': False, 'shape': (1,)}", 4, BG_E_UNSUPPORTED,
         "type |f4 is not read"},
        {"{'descr': '', 'fortran_order': False, 'shape': (1,)}", 4, BG_E_UNSUPPORTED, "not read"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, BG_E_DATA,
         "structured"},
        {"{'descr': '<f4', 'shape': (1,)}", 4, BG_E_DATA, "is missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'shape': (1,)}", 4, BG_E_DATA, "stands twice"},
        {"{'descr': '<f4', 'x': 1}", 4, BG_E_DATA, "unknown key"},
        {"{'descr' '<f4'}", 4, BG_E_DATA, "a key is missing"},
        {"{'descr': '<f4' 'shape': (1,)}", 4, BG_E_DATA, "no comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, BG_E_DATA, "behind"},
        {"'descr'", 4, BG_E_DATA, "no dict"},
        {"", 0, BG_E_DATA, "no dict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refuse(lone(1, cases[i].header, cases[i].data), cases[i].code, cases[i].sentence);
    refuse(lone(4, "{}", 0), BG_E_UNSUPPORTED, ".npy version 4.0");
    refuse(store("\x93NUMPY\1\0\xff\xff{}", 12), BG_E_DATA, "longer than the file");
    refuse(store("\x93NUMPY\2\0\2\0", 10), BG_E_DATA, "cut off");
    refuse(store("\x93NUMPY", 6), BG_E_DATA, "not a .npy array");
}

Test(npz, a_double_outside_f32_is_refused)
{
    const char *header = "{'shape': (), 'descr': '<f8', 'fortran_order': False}";
    unsigned char bytes[256] = "\x93NUMPY\1\0";
    size_t length = strlen(header);
    bytes[8] = (unsigned char)length;
    memcpy(bytes + 10, header, length);
    static const struct {
        double value;
        enum bg_status code;
    } cases[] = {{3.4028235677973362e38, BG_OK}, /* just below half-way to 2^128 */
                 {3.4028235677973366e38, BG_E_RANGE},
                 {-1e300, BG_E_RANGE},
                 {1e-300, BG_OK},
                 {(double)-INFINITY, BG_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int arrays = 0;
        memcpy(bytes + 10 + length, &cases[i].value, 8);
        cr_expect(eq(int, read_all(store(bytes, 18 + length), &arrays), cases[i].code), "%g",
                  cases[i].value);
    }
}

/* Under AddressSanitizer this is also the proof that nothing is read out of bounds. */
static void flip_every_byte(const char *path, bool checked)
{
    char *bytes = NULL;
    size_t length = 0;
    int refused = 0, arrays = 0;
    cr_assert(eq(int, bg_file_read(path, 1 << 20, &bytes, &length), BG_OK));
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (char)((unsigned char)bytes[i] ^ masks[i % 3]);
        refused += read_all(store(bytes, length), &arrays) != BG_OK;
        bytes[i] = (char)((unsigned char)bytes[i] ^ masks[i % 3]);
    }
    /* Times, versions and extra fields of the zip entries are under no checksum. */
    cr_expect_gt(refused, checked ? (int)length / 2 : 0, "%d of %zu", refused, length);
    for (size_t i = 0; i < length; i++)
        cr_expect(read_all(store(bytes, i), &arrays) != BG_OK, "cut at %zu", i);
    bg_free(bytes);
}

Test(npz, flipped_and_missing_bytes_never_misbehave, .timeout = 60)
{
    flip_every_byte("tests/data/npz_deflated.npz", true);
    flip_every_byte("tests/data/npz_stored.npz", true);
    char copy[BG_PATH_MAX];
    snprintf(copy, sizeof copy, "%s.npy", folder);
    const char *path = lone(1, "{'shape': (2,), 'descr': '<f4', 'fortran_order': False}", 8);
    char *bytes = NULL;
    size_t length = 0;
    cr_assert(eq(int, bg_file_read(path, 4096, &bytes, &length), BG_OK));
    cr_assert(eq(int, bg_file_write(copy, bytes, length), BG_OK));
    flip_every_byte(copy, false);
    unlink(copy);
    bg_free(bytes);
}

static void put(unsigned char *at, size_t offset, const char *bytes, size_t length)
{
    memcpy(at + offset, bytes, length);
}

/* Changes of the directory of a good file that a checksum would not catch. */
Test(npz, hostile_directories_are_refused)
{
    char *good = NULL;
    size_t length = 0;
    cr_assert(eq(int, bg_file_read("tests/data/npz_deflated.npz", 1 << 20, &good, &length), BG_OK));
    size_t entry = 0;
    while (memcmp(good + entry, "PK\1\2", 4) != 0)
        entry++;
    static const struct {
        size_t at;
        bool from_end;
        const char *bytes;
        size_t length;
        enum bg_status code;
        const char *sentence;
    } cases[] = {
        {8, false, "\1", 1, BG_E_UNSUPPORTED, "is encrypted"},
        {10, false, "\14", 1, BG_E_UNSUPPORTED, "zip method 12"},
        {20, false, "\xff\xff\xff\xff", 4, BG_E_UNSUPPORTED, "zip64"},
        {20, false, "\xff\xff\xff\x7f", 4, BG_E_DATA, "sizes do not fit"},
        {24, false, "\xff\xff\xff\x7f", 4, BG_E_DATA, "cannot unpack to that"},
        {24, false, "\1\0\0\0", 4, BG_E_DATA, "cannot be unpacked"},
        {42, false, "\1\0\0\0", 4, BG_E_DATA, "no zip header at its place"},
        {42, false, "\xff\xff\xff\x7f", 4, BG_E_DATA, "behind its end"},
        {16, false, "\0\0\0\0", 4, BG_E_DATA, "checksum differs"},
        {46, false, "x", 1, BG_E_DATA, "another name"},
        {28, false, "\xff\xff", 2, BG_E_DATA, "directory entry 0"},
        {28, false, "\3\0", 2, BG_E_DATA, "directory entry 0"},
        {28, false, "\14\0", 2, BG_E_DATA, "which is no .npy array"},
        {4, true, "\1", 1, BG_E_UNSUPPORTED, "several parts"},
        {8, true, "\xff\xff\xff\xff", 4, BG_E_UNSUPPORTED, "zip64"},
        {8, true, "\10\0\10\0", 4, BG_E_DATA, "directory entry 7"},
        {8, true, "\6\0\6\0", 4, BG_E_DATA, "bytes left over"},
        {12, true, "\xff\xff\xff\x7f", 4, BG_E_DATA, "does not fit"},
        {16, true, "\xff\xff\xff\x7f", 4, BG_E_DATA, "does not fit"},
    };
    unsigned char *bytes = malloc(length);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bytes, good, length);
        put(bytes, (cases[i].from_end ? length - 22 : entry) + cases[i].at, cases[i].bytes,
            cases[i].length);
        refuse(store(bytes, length), cases[i].code, cases[i].sentence);
    }
    free(bytes);
    bg_free(good);
}
