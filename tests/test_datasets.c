/* Readers of data sets: good files, hostile files, and the recipe's `data` section. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/mem.h"
#include "datasets/dataset.h"

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

static enum bg_status open_text(struct bg_data **out, const char *text, struct bg_text *errors)
{
    struct bg_document *document = NULL;
    char name[] = "recipe.yaml";
    enum bg_status rc = bg_yaml_parse_text(&document, name, text, strlen(text));
    cr_assert(rc == BG_OK, "%s", bg_error());
    rc = bg_data_open(out, bg_yaml_get(bg_document_root(document), "data"), 1, errors);
    bg_document_free(document);
    return rc;
}

/* The section must fail with exactly these lines in the errors (or, when lines is NULL, with
 * `sentence` as the error). */
static void expect_section_error(const char *text, const char *lines, const char *sentence)
{
    struct bg_data *data = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    enum bg_status rc = open_text(&data, text, &errors);
    cr_assert(rc != BG_OK, "accepted: %s", text);
    cr_assert(data == NULL);
    if (lines)
        cr_assert_str_eq(bg_text_string(&errors), lines);
    else
        cr_assert(strstr(bg_error(), sentence) != NULL, "\"%s\" lacks \"%s\"", bg_error(),
                  sentence);
    bg_text_free(&errors);
}

Test(data_section, reports_every_error_with_its_place)
{
    expect_section_error("data: {name: synthetc}\n",
                         "recipe.yaml:1:8: data.name: unknown data set \"synthetc\", did you mean "
                         "\"synthetic\"?\n",
                         NULL);
    expect_section_error("data: {validation: 3}\n",
                         "recipe.yaml:1:1: data: expected a map with the name of a data set, like "
                         "{name: fashion-mnist}\n",
                         NULL);
    struct bg_text errors;
    struct bg_data *data = NULL;
    bg_text_init(&errors, 1 << 16);
    cr_assert(open_text(&data,
                        "data:\n  name: synthetic\n  clases: 3\n  noise: x\n  flip: yes\n"
                        "  validation: -1\n",
                        &errors) == BG_E_DATA);
    const char *got = bg_text_string(&errors);
    cr_assert(strstr(got, "recipe.yaml:3:3: data.clases: unknown key, did you mean 'classes'?"),
              "%s", got);
    cr_assert(strstr(got, "data.noise: expected a finite number, got \"x\""), "%s", got);
    cr_assert(strstr(got, "data.flip: expected true or false, got \"yes\""), "%s", got);
    cr_assert(strstr(got, "data.validation: -1 is outside"), "%s", got);
    bg_text_free(&errors);
    expect_section_error("data: {name: synthetic, train: 100, validation: 100}\n",
                         "recipe.yaml:1:37: data.validation: 100 samples set aside, the training "
                         "part has 100\n",
                         NULL);
    expect_section_error("data: {name: synthetic, height: 8, width: 6, crop: 6}\n",
                         "recipe.yaml:1:46: data.crop: 6 pixels, images of 8x6 allow at most 5\n",
                         NULL);
    expect_section_error("network: {}\n", NULL, "data: the recipe has no such section");
}

Test(data_section, refuses_a_class_without_samples)
{
    expect_section_error("data: {name: synthetic, train: 3, classes: 5}\n", NULL,
                         "class 3 has no samples (5 classes)");
    expect_section_error("data: {name: synthetic, train: 5, classes: 5, validation: 1}\n", NULL,
                         "has no training samples left after 1 are set aside for validation");
    expect_section_error("data: {name: synthetic, train: 50, classes: 5, limit: 3}\n", NULL,
                         "class 3 has no samples among the first 3 (data.limit)");
}

Test(data_section, missing_files_name_path_and_package)
{
    expect_section_error("data: {name: fashion-mnist, path: /nonexistent}\n", NULL,
                         "/nonexistent/train-images-idx3-ubyte.gz does not exist: install the "
                         "Debian package dataset-fashion-mnist");
    expect_section_error("data: {name: hdf5, file: /nonexistent.h5}\n", NULL, "/nonexistent.h5");
    expect_section_error("data: {name: hdf5}\n", NULL,
                         "data set hdf5: no file for the train part: set file or train_file");
}

Test(data_section, prints_with_defaults_and_reads_back)
{
    static const char text[] = "data: {name: synthetic, kind: blobs, validation: 7}\n";
    struct bg_document *document = NULL, *again = NULL;
    struct bg_text first, second, errors;
    bg_text_init(&first, 1 << 16);
    bg_text_init(&second, 1 << 16);
    bg_text_init(&errors, 1 << 16);
    OK(bg_yaml_parse_text(&document, "a", text, sizeof text - 1));
    OK(bg_data_print_section(bg_yaml_get(bg_document_root(document), "data"), 2, &first, &errors));
    cr_assert(strstr(bg_text_string(&first), "  kind: blobs\n"), "%s", bg_text_string(&first));
    cr_assert(strstr(bg_text_string(&first), "  prefetch: true\n"));
    struct bg_text whole;
    bg_text_init(&whole, 1 << 16);
    bg_text_add(&whole, "data:\n%s", bg_text_string(&first));
    OK(bg_yaml_parse_text(&again, "b", bg_text_string(&whole), whole.length));
    OK(bg_data_print_section(bg_yaml_get(bg_document_root(again), "data"), 2, &second, &errors));
    cr_assert_str_eq(bg_text_string(&first), bg_text_string(&second));
    bg_document_free(document);
    bg_document_free(again);
    bg_text_free(&first);
    bg_text_free(&second);
    bg_text_free(&whole);
    bg_text_free(&errors);
}

Test(data_section, every_reader_is_described_and_its_keys_are_its_own)
{
    int count = 0;
    for (const struct bg_dataset_type *const *type = bg_dataset_types; *type; type++, count++) {
        cr_assert((*type)->name && (*type)->help && (*type)->source && (*type)->read);
        for (const struct bg_option *row = (*type)->options; row->key; row++) {
            cr_assert(row->help != NULL, "%s.%s", (*type)->name, row->key);
            for (const struct bg_option *common = bg_data_options_table; common->key; common++)
                cr_assert(strcmp(row->key, common->key) != 0, "%s.%s", (*type)->name, row->key);
        }
        void *options = calloc(1, (*type)->options_size);
        OK(bg_options_defaults((*type)->options, options));
        free(options);
    }
    cr_assert(count >= 4);
}

Test(data_section, splits_by_its_own_seed_and_leaves_the_test_part_alone)
{
    struct bg_data *a = NULL, *b = NULL, *c = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    OK(open_text(&a, "data: {name: synthetic, train: 200, validation: 50, test_limit: 9}\n",
                 &errors));
    OK(open_text(&b, "data: {name: synthetic, train: 200, validation: 50, limit: 20}\n", &errors));
    OK(open_text(&c, "data: {name: synthetic, train: 200, validation: 50, split_seed: 2}\n",
                 &errors));
    cr_assert(a->train_count == 150 && a->validation_count == 50 && a->test_count == 9);
    cr_assert(b->train_count == 20 && b->test_count == 256);
    cr_assert(strcmp(a->test.hash, c->test.hash) == 0);
    cr_assert(memcmp(a->validation_index, b->validation_index, 50 * sizeof(int32_t)) == 0);
    cr_assert(memcmp(a->validation_index, c->validation_index, 50 * sizeof(int32_t)) != 0);
    char seen[200] = {0};
    for (int i = 0; i < 150; i++)
        seen[a->train_index[i]]++;
    for (int i = 0; i < 50; i++)
        seen[a->validation_index[i]]++;
    for (int i = 0; i < 200; i++)
        cr_assert_eq(seen[i], 1, "sample %d", i);
    for (int i = 1; i < 150; i++)
        cr_assert(a->train_index[i] > a->train_index[i - 1]);
    for (int i = 1; i < 50; i++)
        cr_assert(a->validation_index[i] > a->validation_index[i - 1]);
    bg_data_close(a);
    bg_data_close(b);
    bg_data_close(c);
    bg_text_free(&errors);
}

Test(data_section, measures_mean_and_std_of_the_training_part)
{
    struct bg_data *data = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    OK(open_text(&data, "data: {name: synthetic, train: 100, validation: 30}\n", &errors));
    double sum = 0, square = 0, n = 70 * 256;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 70; i++)
            for (int k = 0; k < 256; k++) {
                double x = ((uint8_t *)data->train.images)[data->train_index[i] * 256 + k] / 255.0;
                sum += pass ? 0 : x;
                square += pass ? (x - sum / n) * (x - sum / n) : 0;
            }
    /* 17920 terms below 1, added in another order: relative error below 17920 * 2^-53 < 1e-11 */
    cr_assert_float_eq(data->mean, sum / n, 1e-11);
    cr_assert_float_eq(data->std, sqrt(square / n), 1e-11);
    cr_assert(data->spec.dtype == BG_U8 && data->spec.classes == 4);
    cr_assert_eq(data->spec.zero_point, (int)nearbyint(255 * data->mean));
    cr_assert(data->spec.scale == (float)(1 / (255 * data->std)));
    bg_data_close(data);
    OK(open_text(&data, "data: {name: synthetic, mean: 0.25, std: 0.5}\n", &errors));
    cr_assert_eq(data->spec.zero_point, 64); /* 63.75 */
    cr_assert(data->spec.scale == (float)(1 / 127.5));
    bg_data_close(data);
    OK(open_text(&data, "data: {name: synthetic, mean: 1, std: 0.5}\n", &errors));
    cr_assert_eq(data->spec.zero_point, 255);
    bg_data_close(data);
    OK(open_text(&data, "data: {name: synthetic, mean: 0, std: 0.5}\n", &errors));
    cr_assert_eq(data->spec.zero_point, 0);
    bg_data_close(data);
    /* No code stands for such a real zero: the network would see another mean than was asked for.
     */
    expect_section_error("data: {name: synthetic, mean: 3, std: 0.5}\n",
                         "recipe.yaml:1:25: data.mean: 3 cannot be the mean of bytes: limits are 0 "
                         "and 1\n",
                         NULL);
    expect_section_error("data: {name: synthetic, mean: -3, std: 0.5}\n",
                         "recipe.yaml:1:25: data.mean: -3 cannot be the mean of bytes: limits are "
                         "0 and 1\n",
                         NULL);
    expect_section_error("data: {name: synthetic, mean: 0.5}\n",
                         "recipe.yaml:1:25: data.mean: 0.5 is not used while std is 0 and both are "
                         "measured: set std too\n",
                         NULL);
    expect_section_error("data: {name: synthetic, std: 1e-13}\n", NULL, "limit is 1e-12");
    bg_text_free(&errors);
}

Test(data_section, normalises_floats_with_the_training_part)
{
    struct bg_data *raw = NULL, *data = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    OK(open_text(&raw, "data: {name: synthetic, kind: spirals, mean: 0, std: 1}\n", &errors));
    OK(open_text(&data, "data: {name: synthetic, kind: spirals}\n", &errors));
    cr_assert(data->spec.dtype == BG_F32 && data->spec.channels == 2);
    cr_assert(strcmp(raw->train.hash, data->train.hash) == 0, "the hash is of raw arrays");
    double sum = 0, square = 0;
    const float *x = data->train.images, *from = raw->train.images, *t = data->test.images;
    for (int i = 0; i < 2048; i++) {
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
        cr_assert(x[i] == (float)(((double)from[i] - data->mean) / data->std));
    }
    /* each value is rounded to 24 bits: the mean of 2048 values below 4 is off by less than 2e-7 */
    cr_assert_float_eq(sum / 2048, 0.0, 1e-6);
    cr_assert_float_eq(square / 2048, 1.0, 1e-6);
    const float *raw_test = raw->test.images;
    cr_assert(t[5] == (float)(((double)raw_test[5] - data->mean) / data->std));
    bg_data_close(raw);
    bg_data_close(data);
    bg_text_free(&errors);
}

Test(synthetic, is_a_function_of_seed_and_part)
{
    static const char *const kinds[] = {"bars", "blobs", "spirals"};
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    for (int k = 0; k < 3; k++) {
        struct bg_data *set[3] = {NULL};
        char text[128];
        for (int i = 0; i < 3; i++) {
            snprintf(text, sizeof text,
                     "data: {name: synthetic, kind: %s, train: 64, test: 64, height: 9, width: 7, "
                     "channels: 2, seed: %d}\n",
                     kinds[k], i == 2 ? 8 : 7);
            OK(open_text(&set[i], text, &errors));
        }
        cr_assert(strcmp(set[0]->train.hash, set[1]->train.hash) == 0);
        cr_assert(strcmp(set[0]->train.hash, set[2]->train.hash) != 0);
        cr_assert(strcmp(set[0]->train.hash, set[0]->test.hash) != 0);
        for (int i = 0; i < 64; i++)
            cr_assert_eq(set[0]->train.labels[i], i % 4);
        cr_assert(k == 2 || set[0]->train.height == 9);
        for (int i = 0; i < 3; i++)
            bg_data_close(set[i]);
    }
    bg_text_free(&errors);
}

static void write_h5_part(struct bg_h5 *file, const char *x, const char *y, bool nchw)
{
    uint8_t images[3 * 2 * 4 * 5]; /* value = position in N,H,W,C order with H,W,C = 4,5,2 */
    int64_t labels[3] = {0, 2, 1};
    const int64_t nhwc_dims[4] = {3, 4, 5, 2}, nchw_dims[4] = {3, 2, 4, 5}, count = 3;
    for (int n = 0; n < 3; n++)
        for (int p = 0; p < 20; p++)
            for (int c = 0; c < 2; c++)
                images[nchw ? (n * 2 + c) * 20 + p : (n * 20 + p) * 2 + c] =
                    (uint8_t)((n * 20 + p) * 2 + c);
    OK(bg_h5_write(file, x, BG_H5_U8, 4, nchw ? nchw_dims : nhwc_dims, images, true));
    OK(bg_h5_write(file, y, BG_H5_S64, 1, &count, labels, false));
}

Test(hdf5, reads_both_layouts_and_guesses_names, .init = make_folder, .fini = remove_folder)
{
    static const char *const names[][2] = {
        {"%s/x", "%s/y"}, {"x_%s", "y_%s"}, {"%s/images", "%s/labels"}, {"%s/data", "%s/label"}};
    char path[BG_PATH_MAX], text[2048];
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    for (int i = 0; i < 8; i++) {
        struct bg_h5 *file = NULL;
        struct bg_data *data = NULL;
        snprintf(text, sizeof text, "set%d.h5", i);
        path_of(path, text);
        OK(bg_h5_create(&file, path));
        for (int part = 0; part < 2; part++) {
            char x[64], y[64];
            const char *const *pair = names[i / 2], *word = part ? "test" : "train";
            const char *mark[2] = {strstr(pair[0], "%s"), strstr(pair[1], "%s")};
            snprintf(x, sizeof x, "%.*s%s%s", (int)(mark[0] - pair[0]), pair[0], word, mark[0] + 2);
            snprintf(y, sizeof y, "%.*s%s%s", (int)(mark[1] - pair[1]), pair[1], word, mark[1] + 2);
            write_h5_part(file, x, y, i % 2);
        }
        OK(bg_h5_close(file));
        snprintf(text, sizeof text, "data: {name: hdf5, file: %s, layout: %s}\n", path,
                 i % 2 ? "nchw" : "nhwc");
        OK(open_text(&data, text, &errors));
        cr_assert(data->train.height == 4 && data->train.width == 5 && data->train.channels == 2);
        cr_assert(data->train.classes == 3 && data->train.labels[1] == 2);
        for (int k = 0; k < 120; k++)
            cr_assert_eq(((uint8_t *)data->test.images)[k], k);
        bg_data_close(data);
    }
    bg_text_free(&errors);
}

Test(hdf5, reads_one_file_per_part_and_rounds_doubles, .init = make_folder, .fini = remove_folder)
{
    char path[2][BG_PATH_MAX], text[4096];
    const int64_t dims[2] = {4, 3}, count[2] = {4, 1};
    const double values[12] = {0.1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1.0 / 3};
    const uint8_t labels[4] = {0, 1, 0, 1};
    struct bg_text errors;
    struct bg_data *data = NULL;
    bg_text_init(&errors, 1 << 16);
    for (int part = 0; part < 2; part++) {
        struct bg_h5 *file = NULL;
        path_of(path[part], part ? "b.h5" : "a.h5");
        OK(bg_h5_create(&file, path[part]));
        OK(bg_h5_write(file, "x", BG_H5_F64, 2, dims, values, false));
        OK(bg_h5_write(file, "odd/name", BG_H5_U8, 2, count, labels, false));
        OK(bg_h5_close(file));
    }
    snprintf(text, sizeof text,
             "data: {name: hdf5, train_file: %s, test_file: %s, train_y: odd/name, "
             "test_y: odd/name, mean: 0, std: 1}\n",
             path[0], path[1]);
    OK(open_text(&data, text, &errors));
    cr_assert(data->train.dtype == BG_F32 && data->train.height == 1 && data->train.channels == 3);
    for (int i = 0; i < 12; i++)
        cr_assert(((float *)data->train.images)[i] == (float)values[i]);
    bg_data_close(data);
    snprintf(text, sizeof text, "data: {name: hdf5, train_file: %s, test_file: %s}\n", path[0],
             path[1]);
    expect_section_error(text, NULL, "no labels of the train part found");
    snprintf(text, sizeof text,
             "data: {name: hdf5, train_file: %s, test_file: %s, train_y: x, test_y: x}\n", path[0],
             path[1]);
    expect_section_error(text, NULL, "x has 2 dimensions, labels are (N) or (N,1), not one-hot");
    bg_text_free(&errors);
}

Test(fashion_mnist, has_the_published_arrays)
{
    struct bg_data *data = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1 << 16);
    if (!bg_dir_exists("/usr/share/datasets/fashion-mnist"))
        cr_skip_test("the package dataset-fashion-mnist is not installed");
    OK(open_text(&data, "data: {name: fashion-mnist, validation: 5000}\n", &errors));
    cr_assert(data->train.count == 60000 && data->test.count == 10000);
    cr_assert(data->train_count == 55000 && data->validation_count == 5000);
    /* SHA-256 over Debian's files, computed with Python's gzip and hashlib */
    cr_assert(strcmp(data->train.hash,
                     "c7d8cfe8172756709eda8bbe8b201cb44f70785b4cd9974a82408b36cc1f72e4") == 0);
    cr_assert(strcmp(data->test.hash,
                     "2589de149ea70a51076dfb7116c581fbd9b4c7b39b8e9c9f19ec089d65d659b8") == 0);
    cr_assert_eq(data->spec.zero_point, 73); /* 255 * 0.286 = 72.9 */
    bg_data_close(data);
    bg_text_free(&errors);
}

/* Opens the section with the n-th allocation failing, for every n, until it succeeds. */
static void torture(const char *text)
{
    struct bg_data *data = NULL;
    int failures = 0;
    for (uint64_t n = 1; data == NULL; n++) {
        struct bg_document *document = NULL;
        struct bg_source *source = NULL;
        struct bg_text errors;
        bg_text_init(&errors, 1 << 16);
        OK(bg_yaml_parse_text(&document, "t", text, strlen(text)));
        bg_alloc_fail_at(n);
        enum bg_status rc =
            bg_data_open(&data, bg_yaml_get(bg_document_root(document), "data"), 1, &errors);
        if (rc == BG_OK)
            rc = bg_loader_create(&source, data, BG_PART_TRAIN, 2, true, 1);
        bg_alloc_fail_at(0);
        cr_assert(rc == BG_OK || rc == BG_E_NOMEM, "call %d: %s", (int)n, bg_error());
        if (rc != BG_OK) {
            failures++;
            bg_data_close(data);
            data = NULL;
        }
        bg_loader_destroy(source);
        bg_document_free(document);
        bg_text_free(&errors);
    }
    cr_assert(failures > 10);
    bg_data_close(data);
}

Test(data_section, frees_everything_when_memory_runs_out)
{
    torture("data: {name: synthetic, train: 40, validation: 9}\n");
    torture("data: {name: synthetic, kind: spirals, prefetch: false}\n");
}
