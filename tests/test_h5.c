/* HDF5 files of ours: what is written is read, equal content gives equal bytes, differences are
 * named. Damage and files of others are in tests/test_h5_hostile.c. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/mem.h"
#include "core/text.h"

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

TestSuite(h5, .init = make_folder, .fini = remove_folder);

#define OK(call_) cr_assert(eq(int, (call_), BG_OK), "%s", bg_error())

/* What may differ between two otherwise equal files. */
struct content {
    float loss;    /* metrics/loss, row 12 */
    int64_t seed;  /* attribute of meta */
    char name;     /* first letter of the second layer name */
    int rows;      /* of metrics/step */
    bool extra;    /* one more dataset */
    double nan_of; /* metrics/real[1] */
    int64_t deep;  /* metrics/deep[1][2] */
};
static const struct content plain = {.loss = 0.25f, .seed = 7, .name = 'f', .rows = 3};

static void write_content(const char *path, const struct content *content)
{
    struct bg_h5 *file = NULL;
    float loss[20];
    int64_t deep[2][3] = {{1, 2, 3}, {4, 5, content->deep}}, step[8] = {10, 20, 30, 40};
    double real[2] = {0.1, content->nan_of};
    uint8_t image[2] = {255, 0};
    char names[3][8] = {"conv1", "?c", "gr\xc3\xbcn"};
    names[1][0] = content->name;
    memset(names[0] + 6, 'g', 2); /* bytes behind the final zero are nobody's business */
    for (int i = 0; i < 20; i++)
        loss[i] = 1.0f / (float)(i + 1);
    loss[12] = content->loss;
    OK(bg_h5_create(&file, path));
    OK(bg_h5_set_text(file, "", "format", "bitgrad run"));
    OK(bg_h5_write(file, "metrics/loss", BG_H5_F32, 1, (const int64_t[]){20}, loss, true));
    OK(bg_h5_write(file, "metrics/step", BG_H5_S64, 1, (const int64_t[]){content->rows}, step,
                   false));
    OK(bg_h5_write(file, "metrics/deep", BG_H5_S64, 2, (const int64_t[]){2, 3}, deep, true));
    OK(bg_h5_write(file, "metrics/real", BG_H5_F64, 1, (const int64_t[]){2}, real, false));
    OK(bg_h5_write(file, "images", BG_H5_U8, 1, (const int64_t[]){2}, image, false));
    OK(bg_h5_write(file, "none", BG_H5_F32, 2, (const int64_t[]){0, 5}, NULL, true));
    OK(bg_h5_write(file, "one", BG_H5_S32, 0, NULL, &(const int32_t){-5}, true));
    OK(bg_h5_write_texts(file, "meta/names", names[0], 3, 8));
    OK(bg_h5_set_int(file, "meta", "seed", 1));
    OK(bg_h5_set_int(file, "meta", "seed", content->seed));
    OK(bg_h5_set_real(file, "metrics/loss", "scale", 0.1));
    if (content->extra)
        OK(bg_h5_write(file, "metrics/more", BG_H5_U8, 1, (const int64_t[]){1}, "x", false));
    OK(bg_h5_close(file));
}

Test(h5, what_is_written_is_read)
{
    struct bg_h5 *file = NULL;
    float loss[20];
    write_content(path_a, &plain);
    OK(bg_h5_open(&file, path_a));
    cr_expect(bg_h5_is_ours(file));
    OK(bg_h5_read(file, "metrics/loss", BG_H5_F32, 1, (const int64_t[]){-1}, loss, sizeof loss));
    cr_expect(eq(flt, loss[12], 0.25f));
    cr_expect(eq(flt, loss[19], 1.0f / 20));
    int32_t one = 0;
    OK(bg_h5_read(file, "one", BG_H5_S32, 0, NULL, &one, sizeof one));
    cr_expect(eq(int, one, -5));
    char names[3][16];
    OK(bg_h5_read_texts(file, "meta/names", names[0], 3, 16));
    cr_expect_str_eq(names[0], "conv1");
    cr_expect_str_eq(names[2], "gr\xc3\xbcn");
    char text[16];
    OK(bg_h5_get_text(file, "/", "format", text, sizeof text));
    cr_expect_str_eq(text, "bitgrad run");
    int64_t seed = 0;
    OK(bg_h5_get_int(file, "meta", "seed", &seed));
    cr_expect(eq(i64, seed, 7));
    double scale = 0;
    OK(bg_h5_get_real(file, "metrics/loss", "scale", &scale));
    cr_expect(eq(dbl, scale, 0.1));
    struct bg_h5_info info;
    OK(bg_h5_info(file, "none", &info));
    cr_expect(eq(int, info.rank, 2));
    cr_expect(eq(i64, info.dims[0], 0));
    cr_expect(eq(i64, info.dims[1], 5));
    void *none = &info;
    int64_t dims[2] = {-1, -1};
    OK(bg_h5_read_new(file, "none", BG_H5_F32, 2, dims, &none, 0));
    cr_expect_null(none);
    cr_expect(bg_h5_has(file, "metrics"));
    cr_expect(bg_h5_has(file, "metrics/loss"));
    cr_expect_not(bg_h5_has(file, "metrics/los"));
    cr_expect_not(bg_h5_has(file, "metrics/loss/x"));
    OK(bg_h5_close(file));
    OK(bg_h5_close(NULL));
}

Test(h5, every_type_keeps_its_extremes)
{
    static const uint8_t bytes[16] = {0,    0xff, 0x7f, 0x80, 1, 2, 3, 4,
                                      0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0x80};
    struct bg_h5 *file = NULL;
    char name[16];
    OK(bg_h5_create(&file, path_a));
    for (int t = 0; t < BG_H5_TYPES; t++) {
        int64_t count = (int64_t)(16 / bg_h5_type_size((enum bg_h5_type)t));
        snprintf(name, sizeof name, "t/%s", bg_h5_type_name((enum bg_h5_type)t));
        OK(bg_h5_write(file, name, (enum bg_h5_type)t, 1, &count, bytes, t % 2 == 0));
    }
    OK(bg_h5_close(file));
    OK(bg_h5_open(&file, path_a));
    for (int t = 0; t < BG_H5_TYPES; t++) {
        uint8_t back[16] = {0};
        snprintf(name, sizeof name, "t/%s", bg_h5_type_name((enum bg_h5_type)t));
        OK(bg_h5_read(file, name, (enum bg_h5_type)t, 1, (const int64_t[]){-1}, back, 16));
        cr_expect_arr_eq(back, bytes, 16, "%s", name);
    }
    OK(bg_h5_close(file));
}

Test(h5, conversions_are_lossless_or_refused)
{
    struct bg_h5 *file = NULL;
    static const int64_t fits[3] = {-128, 0, 127}, wide[3] = {0, 1, 128};
    static const double exact[2] = {0.5, (double)INFINITY}, fine[2] = {0.5, 0.1}, far[1] = {1e300};
    static const uint64_t huge[1] = {UINT64_MAX};
    OK(bg_h5_create(&file, path_a));
    OK(bg_h5_write(file, "fits", BG_H5_S64, 1, (const int64_t[]){3}, fits, false));
    OK(bg_h5_write(file, "wide", BG_H5_S64, 1, (const int64_t[]){3}, wide, false));
    OK(bg_h5_write(file, "exact", BG_H5_F64, 1, (const int64_t[]){2}, exact, false));
    OK(bg_h5_write(file, "fine", BG_H5_F64, 1, (const int64_t[]){2}, fine, false));
    OK(bg_h5_write(file, "far", BG_H5_F64, 1, (const int64_t[]){1}, far, false));
    OK(bg_h5_write(file, "huge", BG_H5_U64, 1, (const int64_t[]){1}, huge, false));
    OK(bg_h5_close(file));
    OK(bg_h5_open(&file, path_a));
    static const struct {
        const char *name;
        enum bg_h5_type type;
        enum bg_status code;
    } cases[] = {
        {"fits", BG_H5_S8, BG_OK},      {"wide", BG_H5_S8, BG_E_DATA}, {"wide", BG_H5_U8, BG_OK},
        {"fits", BG_H5_U64, BG_E_DATA}, {"wide", BG_H5_U64, BG_OK},    {"exact", BG_H5_F32, BG_OK},
        {"fine", BG_H5_F32, BG_E_DATA}, {"far", BG_H5_F32, BG_E_DATA}, {"huge", BG_H5_U64, BG_OK},
        {"huge", BG_H5_S64, BG_E_DATA}, {"fits", BG_H5_F32, BG_E_DATA}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *out = NULL;
        int64_t dims[1] = {-1};
        enum bg_status rc =
            bg_h5_read_new(file, cases[i].name, cases[i].type, 1, dims, &out, 1 << 20);
        cr_expect(eq(int, rc, cases[i].code), "%s as %s: %s", cases[i].name,
                  bg_h5_type_name(cases[i].type), bg_error());
        cr_expect_eq(out != NULL, rc == BG_OK);
        if (rc == BG_OK && cases[i].type == BG_H5_S8)
            cr_expect_arr_eq(out, ((const int8_t[]){-128, 0, 127}), 3);
        bg_free(out);
    }
    OK(bg_h5_close(file));
}

Test(h5, sentences_name_file_object_and_both_shapes)
{
    struct bg_h5 *file = NULL;
    float buffer[64];
    void *out = NULL;
    char sentence[2 * BG_PATH_MAX];
    write_content(path_a, &plain);
    OK(bg_h5_open(&file, path_a));
    cr_expect(eq(int,
                 bg_h5_read(file, "metrics/deep", BG_H5_F32, 2, (const int64_t[]){-1, 4}, buffer,
                            sizeof buffer),
                 BG_E_DATA));
    snprintf(sentence, sizeof sentence, "%s: metrics/deep: holds s64 2x3, expected f32 ?x4",
             path_a);
    cr_expect_str_eq(bg_error(), sentence);
    cr_expect(eq(int,
                 bg_h5_read(file, "metrics/loss", BG_H5_F32, 1, (const int64_t[]){20}, buffer, 79),
                 BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "metrics/loss: holds 80 bytes, room is for 79"));
    int64_t dims[1] = {-1};
    cr_expect(
        eq(int, bg_h5_read_new(file, "metrics/loss", BG_H5_F32, 1, dims, &out, 79), BG_E_DATA));
    cr_expect(eq(int, bg_h5_read(file, "absent", BG_H5_F32, 0, NULL, buffer, 4), BG_E_NOT_FOUND));
    snprintf(sentence, sizeof sentence, "%s: absent: no such object", path_a);
    cr_expect_str_eq(bg_error(), sentence);
    struct bg_h5_info info;
    cr_expect(eq(int, bg_h5_info(file, "metrics", &info), BG_E_NOT_FOUND));
    cr_expect(eq(int, bg_h5_info(file, "meta/names", &info), BG_E_DATA));
    cr_expect(eq(int, bg_h5_info(file, "metrics//loss", &info), BG_E_RANGE));
    cr_expect(eq(int, bg_h5_info(file, "./one", &info), BG_E_RANGE));
    char text[8];
    cr_expect(eq(int, bg_h5_get_text(file, "", "format", text, sizeof text), BG_E_DATA));
    cr_expect(eq(int, bg_h5_get_text(file, "", "absent", text, sizeof text), BG_E_NOT_FOUND));
    int64_t number = 0;
    cr_expect(eq(int, bg_h5_get_int(file, "", "format", &number), BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "/: attribute format is not an integer"));
    cr_expect(eq(int, bg_h5_read_texts(file, "meta/names", text, 1, 8), BG_E_DATA));
    char narrow[3][5];
    cr_expect(eq(int, bg_h5_read_texts(file, "meta/names", narrow[0], 3, 5), BG_E_DATA));
    cr_expect(eq(int, bg_h5_set_int(file, "", "x", 1), BG_E_USAGE));
    cr_expect(eq(int, bg_h5_write(file, "x", BG_H5_U8, 0, NULL, "x", false), BG_E_USAGE));
    OK(bg_h5_close(file));
}

Test(h5, equal_content_gives_equal_bytes)
{
    char *a = NULL, *b = NULL;
    size_t length_a = 0, length_b = 0;
    write_content(path_a, &plain);
    sleep(1); /* a time stored anywhere would differ */
    write_content(path_b, &plain);
    OK(bg_file_read(path_a, 1 << 24, &a, &length_a));
    OK(bg_file_read(path_b, 1 << 24, &b, &length_b));
    cr_assert(eq(sz, length_a, length_b));
    cr_expect(eq(int, memcmp(a, b, length_a), 0));
    cr_expect(eq(int, memcmp(a, "bitgrad file 1\nsha256 ", 22), 0));
    bg_free(a);
    bg_free(b);
}

Test(h5, large_data_is_chunked_and_comes_back)
{
    enum { ROWS = 300, COLS = 5000 };
    struct bg_h5 *file = NULL;
    int32_t *data = malloc(sizeof(int32_t) * ROWS * COLS), *back = NULL;
    for (int i = 0; i < ROWS * COLS; i++)
        data[i] = i % 977;
    OK(bg_h5_create(&file, path_a));
    OK(bg_h5_write(file, "plain", BG_H5_S32, 2, (const int64_t[]){ROWS, COLS}, data, false));
    OK(bg_h5_write(file, "packed", BG_H5_S32, 2, (const int64_t[]){ROWS, COLS}, data, true));
    OK(bg_h5_write(file, "row", BG_H5_S32, 2, (const int64_t[]){1, ROWS * COLS}, data, true));
    OK(bg_h5_close(file));
    OK(bg_h5_open(&file, path_a));
    static const char *const names[] = {"plain", "packed", "row"};
    for (int i = 0; i < 3; i++) {
        int64_t dims[2] = {-1, -1};
        OK(bg_h5_read_new(file, names[i], BG_H5_S32, 2, dims, &back, INT64_MAX));
        cr_expect(eq(int, memcmp(back, data, sizeof(int32_t) * ROWS * COLS), 0));
        bg_free(back);
    }
    OK(bg_h5_close(file));
    free(data);
}

static enum bg_status list(void *self, const struct bg_h5_object *object)
{
    struct bg_text *text = self;
    bg_text_add(text, "%s%s ", object->name, object->is_group ? "/" : object->is_text ? "$" : "");
    return strcmp(object->name, "stop") == 0 ? BG_E_INTERRUPTED : BG_OK;
}

Test(h5, walk_sees_all_in_name_order_and_can_stop)
{
    struct bg_h5 *file = NULL;
    struct bg_text text;
    bg_text_init(&text, 4096);
    write_content(path_a, &plain);
    OK(bg_h5_open(&file, path_a));
    OK(bg_h5_walk(file, list, &text));
    cr_expect_str_eq(bg_text_string(&text), "images meta/ meta/names$ metrics/ metrics/deep "
                                            "metrics/loss metrics/real metrics/step none one ");
    OK(bg_h5_close(file));
    bg_text_free(&text);
    OK(bg_h5_create(&file, path_a));
    OK(bg_h5_write(file, "stop", BG_H5_U8, 0, NULL, "x", false));
    OK(bg_h5_write(file, "zzz", BG_H5_U8, 0, NULL, "x", false));
    cr_expect(eq(int, bg_h5_walk(file, list, &text), BG_E_INTERRUPTED));
    cr_expect_str_eq(bg_text_string(&text), "stop ");
    OK(bg_h5_close(file));
    bg_text_free(&text);
}

Test(h5, compare_names_the_first_difference)
{
    static const struct {
        struct content other;
        const char *difference;
    } cases[] = {
        {{.loss = 0.25f, .seed = 7, .name = 'f', .rows = 3}, ""},
        {{.loss = 0.5f, .seed = 7, .name = 'f', .rows = 3},
         "metrics/loss: row 12: 0.25 against 0.5"},
        {{.loss = 0.25f, .seed = 8, .name = 'f', .rows = 3},
         "meta: attribute seed = 7 against seed = 8"},
        {{.loss = 0.25f, .seed = 7, .name = 'g', .rows = 3},
         "meta/names: row 1: \"fc\" against \"gc\""},
        {{.loss = 0.25f, .seed = 7, .name = 'f', .rows = 4}, "metrics/step: s64 3 against s64 4"},
        {{.loss = 0.25f, .seed = 7, .name = 'f', .rows = 3, .extra = true},
         "metrics/more: in the second file only"},
        {{.loss = 0.25f, .seed = 7, .name = 'f', .rows = 3, .nan_of = -0.0},
         "metrics/real: row 1: 0 against -0"},
        {{.loss = 0.25f, .seed = 7, .name = 'f', .rows = 3, .deep = 9},
         "metrics/deep: row 1, item 2: 0 against 9"},
    };
    static const char *const nothing[] = {NULL};
    static const char *const metrics[] = {"metrics", "meta", NULL};
    write_content(path_a, &plain);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_h5 *a = NULL, *b = NULL;
        bool same = false;
        char difference[512] = "?";
        write_content(path_b, &cases[i].other);
        OK(bg_h5_open(&a, path_a));
        OK(bg_h5_open(&b, path_b));
        OK(bg_h5_compare(a, b, i % 2 ? nothing : NULL, &same, difference));
        cr_expect_eq(same, cases[i].difference[0] == '\0');
        cr_expect_str_eq(difference, cases[i].difference);
        OK(bg_h5_compare(a, b, metrics, &same, difference));
        cr_expect(same, "%s", difference);
        OK(bg_h5_close(a));
        OK(bg_h5_close(b));
    }
}

Test(h5, compare_takes_equal_nans_as_equal_and_sees_the_first_file)
{
    struct content nan = plain, more = plain;
    struct bg_h5 *a = NULL, *b = NULL;
    bool same = false;
    char difference[512];
    nan.nan_of = (double)NAN;
    more.nan_of = (double)NAN;
    more.extra = true;
    write_content(path_a, &nan);
    OK(bg_h5_open(&a, path_a));
    OK(bg_h5_compare(a, a, NULL, &same, difference));
    cr_expect(same, "%s", difference);
    write_content(path_b, &more);
    OK(bg_h5_open(&b, path_b));
    OK(bg_h5_compare(b, a, NULL, &same, difference));
    cr_expect_str_eq(difference, "metrics/more: in the first file only");
    OK(bg_h5_close(a));
    OK(bg_h5_close(b));
}

Test(h5, a_failed_write_spoils_the_file)
{
    struct bg_h5 *file = NULL;
    OK(bg_h5_create(&file, path_a));
    OK(bg_h5_write(file, "x", BG_H5_U8, 0, NULL, "x", false));
    cr_expect(eq(int, bg_h5_write(file, "x", BG_H5_U8, 0, NULL, "x", false), BG_E_IO));
    cr_expect(eq(int, bg_h5_close(file), BG_E_IO));
    cr_expect_not(bg_file_exists(path_a));
    static const char *const bad[] = {"", "/x", "x/", "a//b", "a/./b", "."};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        OK(bg_h5_create(&file, path_a));
        cr_expect(eq(int, bg_h5_write(file, bad[i], BG_H5_U8, 0, NULL, "x", false), BG_E_RANGE));
        cr_expect(eq(int, bg_h5_close(file), BG_E_IO));
    }
    OK(bg_h5_create(&file, path_a));
    cr_expect(eq(int, bg_h5_write(file, "x", BG_H5_U8, 1, (const int64_t[]){-1}, "x", false),
                 BG_E_RANGE));
    cr_expect(eq(int, bg_h5_close(file), BG_E_IO));
    OK(bg_h5_create(&file, path_a));
    cr_expect(eq(int, bg_h5_write_texts(file, "x", "abc", 1, 3), BG_E_RANGE));
    cr_expect(eq(int, bg_h5_close(file), BG_E_IO));
}

Test(h5, a_full_disk_is_one_sentence)
{
    struct bg_h5 *file = NULL;
    struct rlimit limit = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY}, before;
    char *data = calloc(1, 1 << 20);
    OK(bg_h5_create(&file, path_a));
    OK(bg_h5_write(file, "x", BG_H5_U8, 1, (const int64_t[]){1 << 20}, data, false));
    cr_assert_neq(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum bg_status rc = bg_h5_close(file);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_expect(eq(int, rc, BG_E_IO));
    cr_expect_not_null(strstr(bg_error(), "a.h5: cannot write: File too large"), "%s", bg_error());
    cr_expect_not(bg_file_exists(path_a));
    free(data);
    cr_expect(eq(int, bg_h5_create(&file, "/nonexistent/a.h5"), BG_E_IO));
    cr_expect(eq(int, bg_h5_create(&file, "/dev/full/a.h5"), BG_E_IO));
}

Test(h5, survives_every_failed_allocation)
{
    enum bg_status rc = BG_E_NOMEM;
    int n = 1;
    write_content(path_b, &plain);
    for (; n < 300 && rc != BG_OK; n++) {
        struct bg_h5 *file = NULL, *other = NULL;
        bool same = false;
        char difference[512];
        void *out = NULL;
        int64_t dims[1] = {-1};
        bg_alloc_fail_at((uint64_t)n);
        rc = bg_h5_create(&file, path_a);
        if (rc == BG_OK)
            rc = bg_h5_write_texts(file, "names", "a\0b", 2, 2);
        enum bg_status end = bg_h5_close(file);
        rc = rc == BG_OK ? end : rc;
        file = NULL;
        if (rc == BG_OK)
            rc = bg_h5_open(&file, path_b);
        if (rc == BG_OK)
            rc = bg_h5_read_new(file, "metrics/loss", BG_H5_F32, 1, dims, &out, 1 << 20);
        if (rc == BG_OK)
            rc = bg_h5_open(&other, path_b);
        if (rc == BG_OK)
            rc = bg_h5_compare(file, other, NULL, &same, difference);
        bg_alloc_fail_at(0);
        cr_expect(rc == BG_OK || rc == BG_E_NOMEM, "%s", bg_error());
        bg_free(out);
        OK(bg_h5_close(file));
        OK(bg_h5_close(other));
    }
    cr_expect(n > 10 && rc == BG_OK);
}
