/* IDX files named one by one (MNIST and its relatives), plain or gzipped. */
#include <stdio.h>
#include <string.h>

#include "datasets/dataset.h"
#include "datasets/idx.h"

struct idx_options {
    char train_images[BG_OPTION_TEXT], train_labels[BG_OPTION_TEXT];
    char test_images[BG_OPTION_TEXT], test_labels[BG_OPTION_TEXT];
    int64_t classes;
};

static const struct bg_option table[] = {
    {.key = "train_images",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct idx_options, train_images),
     .help = "file of training images"},
    {.key = "train_labels",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct idx_options, train_labels),
     .help = "file of training labels"},
    {.key = "test_images",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct idx_options, test_images),
     .help = "file of test images"},
    {.key = "test_labels",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct idx_options, test_labels),
     .help = "file of test labels"},
    {.key = "classes",
     .type = BG_OPT_INT,
     .offset = offsetof(struct idx_options, classes),
     .fallback = "0",
     .min = 0,
     .max = 256,
     .help = "number of classes; 0 = largest training label + 1"},
    {.key = NULL}};

static enum bg_status read_split(const void *options, enum bg_split split, uint64_t seed,
                                 struct bg_dataset *out)
{
    const struct idx_options *o = options;
    bool train = split == BG_SPLIT_TRAIN;
    (void)seed;
    return bg_idx_dataset(out, train ? o->train_images : o->test_images,
                          train ? o->train_labels : o->test_labels, (int)o->classes, "idx");
}

extern const struct bg_dataset_type bg_data_idx;
const struct bg_dataset_type bg_data_idx = {.name = "idx",
                                            .help = "images and labels in IDX files, plain or .gz",
                                            .source = "the MNIST file format",
                                            .options = table,
                                            .options_size = sizeof(struct idx_options),
                                            .read = read_split};
