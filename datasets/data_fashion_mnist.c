/* Fashion-MNIST (Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
 * Machine Learning Algorithms", 2017): 60000 + 10000 grey images of 28x28, 10 classes, from the
 * Debian package dataset-fashion-mnist or a folder with the same file names (MNIST's are the same).
 */
#include <stdio.h>

#include "core/file.h"
#include "datasets/dataset.h"
#include "datasets/idx.h"

#define PACKAGE "dataset-fashion-mnist"
#define CLASSES 10

struct fashion_options {
    char path[BG_OPTION_TEXT];
};

static const struct bg_option table[] = {
    {.key = "path",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct fashion_options, path),
     .fallback = "/usr/share/datasets/fashion-mnist",
     .help = "folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]"},
    {.key = NULL}};

/* "<folder>/<name>" where it exists, else the same with .gz, which must. */
static enum bg_status find_file(char out[BG_PATH_MAX], const char *folder, const char *name)
{
    enum bg_status rc = BG_OK;
    char packed[BG_NAME_MAX];
    snprintf(packed, sizeof packed, "%s.gz", name);
    TRY(bg_path_join(out, folder, name));
    if (bg_file_exists(out))
        goto out;
    TRY(bg_path_join(out, folder, packed));
    if (!bg_file_exists(out))
        FAIL(BG_E_NOT_FOUND,
             "%s does not exist: install the Debian package " PACKAGE " (apt-get install " PACKAGE
             ") or set data.path",
             out);
out:
    return rc;
}

static enum bg_status read_split(const void *options, enum bg_split split, uint64_t seed,
                                 struct bg_dataset *out)
{
    enum bg_status rc = BG_OK;
    const struct fashion_options *o = options;
    char images[BG_PATH_MAX], labels[BG_PATH_MAX];
    bool train = split == BG_SPLIT_TRAIN;
    (void)seed;
    *out = (struct bg_dataset){.count = 0};
    TRY(find_file(images, o->path, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte"));
    TRY(find_file(labels, o->path, train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte"));
    TRY(bg_idx_dataset(out, images, labels, CLASSES, "fashion-mnist"));
out:
    return rc;
}

extern const struct bg_dataset_type bg_data_fashion_mnist;
const struct bg_dataset_type bg_data_fashion_mnist = {
    .name = "fashion-mnist",
    .help = "70000 grey images of clothes, 28x28, 10 classes",
    .source = "Xiao, Rasul, Vollgraf 2017; Debian package " PACKAGE,
    .options = table,
    .options_size = sizeof(struct fashion_options),
    .read = read_split};
