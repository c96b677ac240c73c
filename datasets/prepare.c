/* From files to parts: the validation split, and the numbers that turn pixels into network inputs.
 * The test part has no say in either. */
#include "datasets/prepare.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "core/round.h"

#define STD_MIN 1e-12 /* below, 1/(255 std) leaves what an f32 scale can do any good with */

static int compare_index(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* A class that only the validation part holds, or samples behind the limit, cannot be learned. */
static enum bg_status check_classes(const struct bg_data *data, int64_t rest, const char *name)
{
    enum bg_status rc = BG_OK;
    const struct bg_dataset *train = &data->train;
    int64_t *counts = NULL;
    TRY(bg_alloc(&counts, train->classes, sizeof *counts));
    for (int64_t i = 0; i < data->train_count; i++)
        counts[train->labels[data->train_index[i]]]++;
    int missing = 0;
    while (missing < train->classes && counts[missing] > 0)
        missing++;
    if (missing == train->classes)
        goto out;
    for (int64_t i = data->train_count; i < rest; i++)
        if (train->labels[data->train_index[i]] == missing)
            FAIL(BG_E_DATA,
                 "data set %s: class %d has no samples among the first %" PRId64 " (data.limit)",
                 name, missing, data->train_count);
    FAIL(BG_E_DATA,
         "data set %s: class %d has no training samples left after %" PRId64
         " are set aside for validation",
         name, missing, data->validation_count);
out:
    bg_free(counts);
    return rc;
}

/* The first `validation` of a seeded permutation are set aside; both lists in file order. */
enum bg_status bg_data_split(struct bg_data *data, const char *name)
{
    enum bg_status rc = BG_OK;
    const struct bg_data_options *o = &data->options;
    const struct bg_rng rng = {(uint64_t)o->split_seed, BG_STREAM_SPLIT, 0};
    int64_t count = data->train.count, rest = count - o->validation;
    int32_t *order = NULL;
    TRY(bg_alloc(&order, count, sizeof *order));
    bg_rng_permutation(&rng, order, count);
    qsort(order, (size_t)o->validation, sizeof *order, compare_index);
    qsort(order + o->validation, (size_t)rest, sizeof *order, compare_index);
    TRY(bg_alloc(&data->validation_index, o->validation, sizeof *order));
    TRY(bg_alloc(&data->train_index, rest, sizeof *order));
    if (o->validation > 0)
        memcpy(data->validation_index, order, (size_t)o->validation * sizeof *order);
    memcpy(data->train_index, order + o->validation, (size_t)rest * sizeof *order);
    data->validation_count = o->validation;
    data->train_count = o->limit > 0 && o->limit < rest ? o->limit : rest;
    data->test_count = data->test.count;
    if (o->test_limit > 0 && o->test_limit < data->test_count)
        data->test_count = o->test_limit;
    TRY(check_classes(data, rest, name));
out:
    bg_free(order);
    return rc;
}

/* Exact: bytes are counted, and the sums of counts times bytes are integers below 2^53. */
static void measure_u8(const struct bg_data *data, int64_t values, double *mean, double *std)
{
    int64_t counts[256] = {0};
    double n = (double)data->train_count * (double)values, sum = 0, square = 0;
    for (int64_t i = 0; i < data->train_count; i++) {
        const uint8_t *x = (const uint8_t *)data->train.images + data->train_index[i] * values;
        for (int64_t k = 0; k < values; k++)
            counts[x[k]]++;
    }
    for (int v = 0; v < 256; v++)
        sum += (double)counts[v] * v;
    *mean = sum / n / 255;
    for (int v = 0; v < 256; v++)
        square += (double)counts[v] * (v / 255.0 - *mean) * (v / 255.0 - *mean);
    *std = sqrt(square / n);
}

static void measure_f32(const struct bg_data *data, int64_t values, double *mean, double *std)
{
    double n = (double)data->train_count * (double)values, sum = 0, square = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < data->train_count; i++) {
            const float *x = (const float *)data->train.images + data->train_index[i] * values;
            for (int64_t k = 0; k < values; k++) {
                double value = (double)x[k];
                sum += pass == 0 ? value : 0;
                square += pass == 1 ? (value - *mean) * (value - *mean) : 0;
            }
        }
        *mean = sum / n;
    }
    *std = sqrt(square / n);
}

static void normalise(struct bg_dataset *dataset, double mean, double std)
{
    float *x = dataset->images;
    int64_t n = dataset->count * dataset->height * dataset->width * dataset->channels;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(((double)x[i] - mean) / std);
}

/* A byte is its own code; real = (code - z) * s. */
enum bg_status bg_data_scale(struct bg_data *data, const char *name)
{
    const struct bg_dataset *train = &data->train;
    double mean = data->options.mean, std = data->options.std;
    int64_t values = train->height * train->width * train->channels;
    data->spec = (struct bg_sample_spec){.height = train->height,
                                         .width = train->width,
                                         .channels = train->channels,
                                         .classes = train->classes,
                                         .dtype = train->dtype,
                                         .scale = 1};
    if (!(std > 0)) {
        if (train->dtype == BG_U8)
            measure_u8(data, values, &mean, &std);
        else
            measure_f32(data, values, &mean, &std);
    }
    if (!(std >= STD_MIN) || !isfinite(std) || !isfinite(mean))
        return bg_fail(BG_E_DATA,
                       "data set %s: the standard deviation of the training pixels is %g, limit is "
                       "%g",
                       name, std, STD_MIN);
    data->mean = mean;
    data->std = std;
    if (train->dtype == BG_F32) {
        normalise(&data->train, mean, std);
        normalise(&data->test, mean, std);
        return BG_OK;
    }
    data->spec.scale = (float)(1 / (255 * std));
    data->spec.zero_point = (int32_t)bg_rne((float)(255 * mean)); /* 0 <= mean <= 1 is checked */
    return BG_OK;
}
