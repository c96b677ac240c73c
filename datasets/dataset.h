/* Data sets in memory, behind one interface: datasets/data_<name>.c defines one const table per
 * reader. Images are N,H,W,C bytes or floats. */
#ifndef BG_DATASETS_DATASET_H
#define BG_DATASETS_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/hash.h"
#include "core/options.h"
#include "core/source.h"
#include "core/tensor.h"

#define BG_CLASSES_MAX 65536

struct bg_dataset {
    int64_t count, height, width, channels;
    int classes;             /* 2..BG_CLASSES_MAX; a reader may leave 0: largest label + 1 */
    enum bg_dtype dtype;     /* BG_U8 or BG_F32 */
    void *images;            /* (count,H,W,C), owned */
    int32_t *labels;         /* (count), owned, 0 <= label < classes */
    char hash[BG_HASH_TEXT]; /* SHA-256 of image bytes then labels as little-endian s32 */
    char title[BG_NAME_MAX];
};

enum bg_split { BG_SPLIT_TRAIN, BG_SPLIT_TEST };

struct bg_dataset_type {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    enum bg_status (*read)(const void *options, enum bg_split split, uint64_t seed,
                           struct bg_dataset *out);
};
extern const struct bg_dataset_type *const bg_dataset_types[]; /* NULL-terminated, generated */

/* Checks the invariants every reader must give (labels in range, count >= 1, sizes, finite values)
 * and fills `hash` when it is empty and `classes` when it is 0. Missing classes are BG_E_DATA
 * ("class 3 has no samples") for a training split when `need_all_classes`. */
BG_MUST enum bg_status bg_dataset_check(struct bg_dataset *dataset, bool need_all_classes,
                                        const char *what);
void bg_dataset_free(struct bg_dataset *dataset); /* takes a zeroed one */
/* Number of samples per class into counts[classes]. */
void bg_dataset_count_classes(const struct bg_dataset *dataset, int64_t *counts);

/* The recipe's `data` section: {name: fashion-mnist, <reader's options>, validation: 5000, limit:
 * 0, test_limit: 0, mean: 0, std: 0, flip: false, crop: 0, prefetch: true} is read with one table
 * joined from the common options here and the reader's own. */
struct bg_data_options {
    char name[BG_OPTION_TEXT];
    int64_t validation; /* samples set aside from the training part, fixed by seed of the split, not
                           the run's */
    int64_t limit, test_limit; /* use only the first n training (after the split) or test samples;
                                  0 = all */
    int64_t split_seed;
    double mean, std; /* of pixel values, bytes scaled to 0..1, one for all channels; std = 0: both
                         are measured on the training part, and a mean is refused */
    bool flip;        /* random horizontal flip */
    int64_t
        crop; /* pad by this many pixels (code z, i.e. the mean) and crop back at a random offset */
    bool prefetch;
};
extern const struct bg_option bg_data_options_table[];

struct bg_data {
    struct bg_data_options options;
    const struct bg_dataset_type *type;
    struct bg_dataset train, test;           /* as read */
    int32_t *train_index, *validation_index; /* into train, ascending; set aside are the first
                                                `validation` of a seeded permutation */
    int64_t train_count, validation_count, test_count;
    double mean, std; /* in use: given or measured */
    struct bg_sample_spec spec;
};
/* Reads both parts and splits. Errors of the section go to `errors` (BG_E_DATA); errors of files
 * are sentences with the path. */
BG_MUST enum bg_status bg_data_open(struct bg_data **out, const struct bg_yaml *section,
                                    uint64_t seed, struct bg_text *errors);
void bg_data_close(struct bg_data *data); /* takes NULL */
/* The section with defaults filled in, YAML. */
BG_MUST enum bg_status bg_data_print_section(const struct bg_yaml *section, int indent,
                                             struct bg_text *out, struct bg_text *errors);

enum bg_part { BG_PART_TRAIN, BG_PART_VALIDATION, BG_PART_TEST };

/* A loader over one part is a bg_source. With `shuffle` (training part only): a new permutation per
 * epoch, augmentation keyed by (seed, epoch, sample index). Without: file order, no augmentation,
 * for validation, test, calibration and profiling. A prefetch thread fills the next batch (no
 * OpenMP, no oneDNN in it) when data->options.prefetch; results are the same without. `data` must
 * outlive the loader. BG_E_USAGE for an empty part or a shuffled one that is not training's. */
BG_MUST enum bg_status bg_loader_create(struct bg_source **out, const struct bg_data *data,
                                        enum bg_part part, int64_t batch, bool shuffle,
                                        uint64_t seed);
void bg_loader_destroy(struct bg_source *source); /* takes NULL */

#endif
