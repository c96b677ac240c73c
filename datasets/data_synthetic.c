/* Seeded sets that a small network learns in seconds, for tests and first tries.
 *   bars:    u8 images of stripes; the class is their direction, the phase is random, so no single
 *            pixel tells anything.
 *   blobs:   u8 images of one bright spot; the class is where, on a circle around the centre.
 *   spirals: f32 points (1,1,2) on interleaved spiral arms; the class is the arm.
 * Every value is a function of (seed, part, sample); labels go round (0, 1, 2, ...). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/mem.h"
#include "core/rng.h"
#include "datasets/dataset.h"

#define PI         3.14159265358979323846
#define MOST_BYTES ((int64_t)1 << 32)

enum kind { KIND_BARS, KIND_BLOBS, KIND_SPIRALS };
static const char *const kinds[] = {"bars", "blobs", "spirals", NULL};

struct synthetic_options {
    int kind;
    int64_t classes, height, width, channels, train, test, seed;
    double noise;
};

#define INT_ROW(key_, fallback_, min_, max_, help_)                                                \
    {                                                                                              \
        .key = #key_, .type = BG_OPT_INT, .offset = offsetof(struct synthetic_options, key_),      \
        .fallback = (fallback_), .min = (min_), .max = (max_), .help = (help_)                     \
    }

static const struct bg_option table[] = {
    {.key = "kind",
     .type = BG_OPT_CHOICE,
     .offset = offsetof(struct synthetic_options, kind),
     .fallback = "bars",
     .choices = kinds,
     .help = "what is drawn"},
    INT_ROW(classes, "4", 2, 256, "number of classes"),
    INT_ROW(height, "16", 1, 1024, "rows of an image (not for spirals)"),
    INT_ROW(width, "16", 1, 1024, "columns of an image (not for spirals)"),
    INT_ROW(channels, "1", 1, 64, "channels of an image (not for spirals)"),
    INT_ROW(train, "1024", 1, 10000000, "training samples"),
    INT_ROW(test, "256", 1, 10000000, "test samples"),
    INT_ROW(seed, "1", 0, 4294967295.0, "seed of the drawing; 0 = the run's seed"),
    {.key = "noise",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct synthetic_options, noise),
     .fallback = "0.2",
     .min = 0,
     .max = 10,
     .help = "normal noise, 1 = as large as the drawing"},
    {.key = NULL}};

/* Draws of one part: `shape` says what a sample looks like, `noise` blurs it. */
struct draw {
    const struct synthetic_options *o;
    struct bg_rng shape, noise;
};

#define SHAPE_DRAWS 4 /* per sample */

static double shape_uniform(const struct draw *draw, int64_t sample, int which)
{
    return (double)bg_rng_uniform(&draw->shape, (uint64_t)(sample * SHAPE_DRAWS + which));
}

/* Value of the drawing at (y, x), in -1..1. a and b are the sample's two random numbers. */
static double signal_at(const struct synthetic_options *o, int label, double a, double b,
                        const double at[2])
{
    double size = (double)(o->height < o->width ? o->height : o->width);
    double turn = (double)label / (double)o->classes;
    if (o->kind == KIND_BARS) {
        double period = size / 3 > 4 ? size / 3 : 4;
        double along = at[1] * cos(PI * turn) + at[0] * sin(PI * turn);
        return cos(2 * PI * (along / period + a));
    }
    double cy = 0.5 * (double)(o->height - 1) + size * (0.3 * sin(2 * PI * turn) + 0.1 * (a - 0.5));
    double cx = 0.5 * (double)(o->width - 1) + size * (0.3 * cos(2 * PI * turn) + 0.1 * (b - 0.5));
    double far = (at[0] - cy) * (at[0] - cy) + (at[1] - cx) * (at[1] - cx);
    return 2 * exp(-far / (0.03 * size * size)) - 1;
}

static void draw_image(const struct draw *draw, int64_t sample, int label, uint8_t *out)
{
    const struct synthetic_options *o = draw->o;
    double a = shape_uniform(draw, sample, 0), b = shape_uniform(draw, sample, 1);
    int64_t at = 0, values = o->height * o->width * o->channels;
    for (int64_t y = 0; y < o->height; y++) {
        for (int64_t x = 0; x < o->width; x++) {
            const double place[2] = {(double)y, (double)x};
            double signal = signal_at(o, label, a, b, place);
            for (int64_t c = 0; c < o->channels; c++, at++) {
                double noise = bg_rng_normal(&draw->noise, (uint64_t)(sample * values + at));
                double value = nearbyint(128 + 64 * (signal + o->noise * noise));
                out[at] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
        }
    }
}

/* Each arm makes 3/4 of a turn from radius 0.1 to 1. */
static void draw_point(const struct draw *draw, int64_t sample, int label, float *out)
{
    double radius = 0.1 + 0.9 * shape_uniform(draw, sample, 0);
    double angle = 2 * PI * ((double)label / (double)draw->o->classes + 0.75 * radius);
    for (int i = 0; i < 2; i++) {
        double noise = bg_rng_normal(&draw->noise, (uint64_t)(2 * sample + i));
        double clean = radius * (i == 0 ? cos(angle) : sin(angle));
        out[i] = (float)(clean + 0.1 * draw->o->noise * noise);
    }
}

static enum bg_status read_split(const void *options, enum bg_split split, uint64_t seed,
                                 struct bg_dataset *out)
{
    enum bg_status rc = BG_OK;
    const struct synthetic_options *o = options;
    bool points = o->kind == KIND_SPIRALS;
    uint64_t own = o->seed ? (uint64_t)o->seed : seed;
    const struct draw draw = {
        .o = o,
        .shape = {bg_rng_hash(own, "shape"), BG_STREAM_DATA, (uint32_t)split},
        .noise = {bg_rng_hash(own, "noise"), BG_STREAM_DATA, (uint32_t)split}};
    *out = (struct bg_dataset){.count = split == BG_SPLIT_TRAIN ? o->train : o->test,
                               .height = points ? 1 : o->height,
                               .width = points ? 1 : o->width,
                               .channels = points ? 2 : o->channels,
                               .classes = (int)o->classes,
                               .dtype = points ? BG_F32 : BG_U8};
    int64_t values = out->height * out->width * out->channels; /* at most 2^26 by the limits */
    int64_t size = (int64_t)bg_dtype_size(out->dtype);
    if (out->count > MOST_BYTES / (values * size))
        FAIL(BG_E_RANGE, "synthetic: %" PRId64 " samples of %" PRId64 " bytes, limit is %" PRId64,
             out->count, values * size, MOST_BYTES);
    TRY(bg_alloc(&out->images, out->count * values, (size_t)size));
    TRY(bg_alloc(&out->labels, out->count, sizeof(int32_t)));
    for (int64_t i = 0; i < out->count; i++) {
        out->labels[i] = (int32_t)(i % o->classes);
        if (points)
            draw_point(&draw, i, out->labels[i], (float *)out->images + i * values);
        else
            draw_image(&draw, i, out->labels[i], (uint8_t *)out->images + i * values);
    }
    snprintf(out->title, sizeof out->title, "synthetic %s", kinds[o->kind]);
    TRY(bg_dataset_check(out, false, "synthetic"));
out:
    if (rc != BG_OK)
        bg_dataset_free(out);
    return rc;
}

extern const struct bg_dataset_type bg_data_synthetic;
const struct bg_dataset_type bg_data_synthetic = {.name = "synthetic",
                                                  .help = "seeded bars, blobs or spirals",
                                                  .source = "generated",
                                                  .options = table,
                                                  .options_size = sizeof(struct synthetic_options),
                                                  .read = read_split};
