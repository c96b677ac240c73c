/* Images and labels from HDF5 files: one file with both parts, or one file per part. Names are
 * given, or guessed from the habits of Caffe, Keras and h5py users. u8 images stay bytes; f32 and
 * f64 become f32 (f64 rounded to nearest). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/h5.h"
#include "core/mem.h"
#include "datasets/dataset.h"

#define MOST_BYTES ((int64_t)1 << 32)

enum layout { LAYOUT_NHWC, LAYOUT_NCHW };
static const char *const layouts[] = {"nhwc", "nchw", NULL};

struct hdf5_options {
    char file[BG_OPTION_TEXT], train_file[BG_OPTION_TEXT], test_file[BG_OPTION_TEXT];
    char train_x[BG_OPTION_TEXT], train_y[BG_OPTION_TEXT];
    char test_x[BG_OPTION_TEXT], test_y[BG_OPTION_TEXT];
    int layout;
    int64_t classes;
};

#define TEXT_ROW(key_, field_, help_)                                                              \
    {                                                                                              \
        .key = (key_), .type = BG_OPT_TEXT, .offset = offsetof(struct hdf5_options, field_),       \
        .fallback = "\"\"", .help = (help_)                                                        \
    }

static const struct bg_option table[] = {
    TEXT_ROW("file", file, "file that holds both parts"),
    TEXT_ROW("train_file", train_file, "file of the training part (instead of file)"),
    TEXT_ROW("test_file", test_file, "file of the test part (instead of file)"),
    TEXT_ROW("train_x", train_x, "images of the training part, like train/x; empty = guess"),
    TEXT_ROW("train_y", train_y, "labels of the training part; empty = guess"),
    TEXT_ROW("test_x", test_x, "images of the test part; empty = guess"),
    TEXT_ROW("test_y", test_y, "labels of the test part; empty = guess"),
    {.key = "layout",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct hdf5_options, layout),
     .fallback = "nhwc",
     .choices = layouts,
     .help = "order of the dimensions of images"},
    {.key = "classes",
     .type = BG_OPT_INT,
     .offset = offsetof(struct hdf5_options, classes),
     .fallback = "0",
     .min = 0,
     .max = BG_CLASSES_MAX,
     .help = "number of classes; 0 = largest training label + 1"},
    {.key = NULL}};

/* %s is the part; names without it are tried in files of one part only. */
static const char *const x_names[] = {
    "%s/x",    "%s/X",     "%s/images", "%s/data", "x_%s", "X_%s",   "%s_x", "%s_images",
    "%s_data", "%s_set_x", "images_%s", "x",       "X",    "images", "data", NULL};
static const char *const y_names[] = {
    "%s/y",     "%s/Y",     "%s/labels", "%s/label", "y_%s", "Y_%s",   "%s_y",  "%s_labels",
    "%s_label", "%s_set_y", "labels_%s", "y",        "Y",    "labels", "label", NULL};

struct source {
    struct bg_h5 *file;
    const char *path, *part;
    bool own_file; /* this file holds one part alone */
    int layout;
};

/* "train/x" from "%s/x"; patterns come from the tables above. */
static void fill_pattern(char out[BG_NAME_MAX], const char *pattern, const char *part)
{
    const char *mark = strstr(pattern, "%s");
    if (mark)
        snprintf(out, BG_NAME_MAX, "%.*s%s%s", (int)(mark - pattern), pattern, part, mark + 2);
    else
        snprintf(out, BG_NAME_MAX, "%s", pattern);
}

static bool guess(const struct source *source, const char *const *patterns, char out[BG_NAME_MAX])
{
    for (; *patterns; patterns++) {
        if (!source->own_file && !strstr(*patterns, "%s"))
            continue;
        fill_pattern(out, *patterns, source->part);
        if (bg_h5_has(source->file, out))
            return true;
    }
    return false;
}

/* The name given or the first guess that exists. */
static enum bg_status find_name(const struct source *source, const char *given, bool labels,
                                char out[BG_OPTION_TEXT])
{
    char guessed[BG_NAME_MAX];
    if (given[0]) {
        snprintf(out, BG_OPTION_TEXT, "%s", given);
        return BG_OK;
    }
    if (!guess(source, labels ? y_names : x_names, guessed))
        return bg_fail(BG_E_NOT_FOUND,
                       "%s: no %s of the %s part found (tried %s/%s, %s_%s and others): set %s_%s",
                       source->path, labels ? "labels" : "images", source->part, source->part,
                       labels ? "y" : "x", labels ? "y" : "x", source->part, source->part,
                       labels ? "y" : "x");
    snprintf(out, BG_OPTION_TEXT, "%s", guessed);
    return BG_OK;
}

/* (N,H,W,C) sizes from 2 to 4 dimensions; without a channel dimension C is 1. */
static void set_sizes(struct bg_dataset *out, const struct bg_h5_info *info, int layout)
{
    const int64_t *d = info->dims;
    bool channels_first = layout == LAYOUT_NCHW && info->rank == 4;
    out->count = d[0];
    out->height = info->rank == 2 ? 1 : channels_first ? d[2] : d[1];
    out->width = info->rank == 2 ? 1 : channels_first ? d[3] : d[2];
    out->channels = info->rank == 2 ? d[1] : info->rank == 3 ? 1 : channels_first ? d[1] : d[3];
}

/* (N,C,H,W) to (N,H,W,C), items of `size` bytes. */
static enum bg_status transpose(struct bg_dataset *dataset, size_t size)
{
    enum bg_status rc = BG_OK;
    uint8_t *to = NULL;
    const uint8_t *from = dataset->images;
    int64_t pixels = dataset->height * dataset->width, channels = dataset->channels;
    TRY(bg_alloc(&to, dataset->count * pixels * channels, size));
    for (int64_t n = 0; n < dataset->count; n++)
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < channels; c++)
                memcpy(to + (size_t)((n * pixels + p) * channels + c) * size,
                       from + (size_t)((n * channels + c) * pixels + p) * size, size);
    bg_free(dataset->images);
    dataset->images = to;
out:
    return rc;
}

static enum bg_status round_to_f32(struct bg_dataset *dataset, int64_t values)
{
    enum bg_status rc = BG_OK;
    const double *from = dataset->images;
    float *to = NULL;
    TRY(bg_alloc(&to, values, sizeof *to));
    for (int64_t i = 0; i < values; i++)
        to[i] = (float)from[i];
    bg_free(dataset->images);
    dataset->images = to;
out:
    return rc;
}

static enum bg_status read_images(const struct source *source, const char *name,
                                  struct bg_dataset *out)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_info info = {.rank = 0};
    TRY(bg_h5_info(source->file, name, &info));
    if (info.rank < 2 || info.rank > 4)
        FAIL(BG_E_DATA, "%s: %s has %d dimensions, images have 2 to 4", source->path, name,
             info.rank);
    if (info.type != BG_H5_U8 && info.type != BG_H5_F32 && info.type != BG_H5_F64)
        FAIL(BG_E_DATA, "%s: %s is %s, images are u8, f32 or f64", source->path, name,
             bg_h5_type_name(info.type));
    TRY(bg_h5_read_new(source->file, name, info.type, info.rank, info.dims, &out->images,
                       MOST_BYTES));
    set_sizes(out, &info, source->layout);
    out->dtype = info.type == BG_H5_U8 ? BG_U8 : BG_F32;
    const struct bg_shape shape = {.rank = 4,
                                   .dims = {out->count, out->height, out->width, out->channels}};
    TRY(bg_shape_check(&shape, name));
    if (info.type == BG_H5_F64)
        TRY(round_to_f32(out, bg_shape_count(&shape)));
    if (source->layout == LAYOUT_NCHW && info.rank == 4)
        TRY(transpose(out, bg_dtype_size(out->dtype)));
out:
    return rc;
}

static enum bg_status read_labels(const struct source *source, const char *name,
                                  struct bg_dataset *out)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_info info = {.rank = 0};
    TRY(bg_h5_info(source->file, name, &info));
    if (info.rank < 1 || info.rank > 2 || (info.rank == 2 && info.dims[1] != 1))
        FAIL(BG_E_DATA, "%s: %s has %d dimensions, labels are (N) or (N,1), not one-hot",
             source->path, name, info.rank);
    if (info.type == BG_H5_F32 || info.type == BG_H5_F64)
        FAIL(BG_E_DATA, "%s: %s is %s, labels are integers", source->path, name,
             bg_h5_type_name(info.type));
    if (info.dims[0] != out->count)
        FAIL(BG_E_DATA, "%s: %" PRId64 " images, but %" PRId64 " labels in %s", source->path,
             out->count, info.dims[0], name);
    TRY(bg_h5_read_new(source->file, name, BG_H5_S32, info.rank, info.dims, &out->labels,
                       MOST_BYTES));
out:
    return rc;
}

static enum bg_status choose_file(const struct hdf5_options *o, bool train, struct source *source)
{
    const char *own = train ? o->train_file : o->test_file;
    source->own_file = own[0] != '\0';
    source->path = own[0] ? own : o->file;
    if (source->path[0] == '\0')
        return bg_fail(BG_E_DATA, "data set hdf5: no file for the %s part: set file or %s_file",
                       source->part, source->part);
    if (own[0] && o->file[0])
        return bg_fail(BG_E_DATA, "data set hdf5: file and %s_file exclude each other",
                       source->part);
    return BG_OK;
}

static enum bg_status read_split(const void *options, enum bg_split split, uint64_t seed,
                                 struct bg_dataset *out)
{
    enum bg_status rc = BG_OK;
    const struct hdf5_options *o = options;
    bool train = split == BG_SPLIT_TRAIN;
    struct source source = {.part = train ? "train" : "test", .layout = o->layout};
    char name[BG_OPTION_TEXT];
    (void)seed;
    *out = (struct bg_dataset){.classes = (int)o->classes};
    TRY(choose_file(o, train, &source));
    TRY(bg_h5_open(&source.file, source.path));
    TRY(find_name(&source, train ? o->train_x : o->test_x, false, name));
    TRY(read_images(&source, name, out));
    TRY(find_name(&source, train ? o->train_y : o->test_y, true, name));
    TRY(read_labels(&source, name, out));
    snprintf(out->title, sizeof out->title, "hdf5");
    TRY(bg_dataset_check(out, false, source.path));
out:
    if (source.file && bg_h5_close(source.file) != BG_OK && rc == BG_OK)
        rc = BG_E_IO;
    if (rc != BG_OK)
        bg_dataset_free(out);
    return rc;
}

extern const struct bg_dataset_type bg_data_hdf5;
const struct bg_dataset_type bg_data_hdf5 = {.name = "hdf5",
                                             .help = "images and labels in HDF5 files",
                                             .source = "common practice",
                                             .options = table,
                                             .options_size = sizeof(struct hdf5_options),
                                             .read = read_split};
