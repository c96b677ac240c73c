/* Integer convolution: chooses who computes it, and adds the zero point to what oneDNN computes.
 *
 * oneDNN sums code * weight with 0 as padding. With T[tap][o] the sum of the weights of a tap,
 * sum (code - z) * w = sum code * w - z * sum of T over the taps inside the image: every output
 * subtracts z * the sum over all taps, those at the border add z * T of each tap outside. */
#include "core/int_conv.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/int_private.h"
#include "core/mem.h"

/* Fewer sums than this are corrected on the calling thread: waking others costs more. */
#define SMALL        32768
#define FEW_CHANNELS 3

struct bg_int_conv {
    struct bg_conv_shape shape;
    enum bg_int_path path;
    int threads;
    bool packed;
    /* One of these: */
    struct bg_dnn_int *dnn;
    struct bg_int_own *own;
    int8_t *weights; /* of the reference */
    /* For oneDNN's zero point: [taps][out_channels] and [out_channels]. */
    const struct bg_kernel_int_conv_table *table;
    int32_t *tap_sums, *sums;
    char name[96];
};

void bg_int_flatten(struct bg_conv_shape *shape)
{
    if (shape->groups != 1 || shape->padding[0] != 0 || shape->padding[1] != 0 ||
        shape->kernel_height != shape->in_height || shape->kernel_width != shape->in_width ||
        (shape->dilation[0] != 1 && shape->kernel_height != 1) ||
        (shape->dilation[1] != 1 && shape->kernel_width != 1))
        return;
    shape->in_channels *= shape->in_height * shape->in_width;
    shape->in_height = shape->out_height = shape->batch;
    shape->batch = shape->in_width = shape->kernel_height = shape->kernel_width = 1;
    for (int i = 0; i < 2; i++)
        shape->stride[i] = shape->dilation[i] = 1;
}

/* With few input channels most of a unit of oneDNN's is padding; own kernels join the taps of a
 * kernel row and take 0.4 to 0.8 of its time (VNNI, batch 128, 3x3 on 1 and 3, 5x5 on 1 channel),
 * before its zero point, which a first layer always has. */
static bool own_is_faster(const struct bg_conv_shape *s)
{
    return s->groups == 1 && s->in_channels <= FEW_CHANNELS && s->dilation[1] == 1 &&
           bg_kernel_tables() != bg_kernel_variant(0);
}

static int64_t tap_count(const struct bg_conv_shape *s)
{
    return s->kernel_height * s->kernel_width;
}

static int64_t weight_count(const struct bg_conv_shape *s)
{
    return s->out_channels * tap_count(s) * (s->in_channels / s->groups);
}

/* Leaves conv->dnn NULL where oneDNN has no good and exact implementation. */
static enum bg_status try_dnn(struct bg_int_conv *conv)
{
    enum bg_status rc = BG_OK;
    bool exact = false;

    rc = bg_dnn_int_create(&conv->dnn, &conv->shape);
    if (rc == BG_OK)
        rc = bg_int_probe(conv->dnn, &conv->shape, &exact);
    if (rc == BG_E_NOMEM)
        return rc;
    if (rc != BG_OK || !exact) {
        bg_error_clear();
        bg_dnn_int_destroy(conv->dnn);
        conv->dnn = NULL;
        return BG_OK;
    }
    TRY(bg_alloc(&conv->tap_sums, tap_count(&conv->shape) * conv->shape.out_channels,
                 sizeof *conv->tap_sums));
    TRY(bg_alloc(&conv->sums, conv->shape.out_channels, sizeof *conv->sums));
    snprintf(conv->name, sizeof conv->name, "onednn:%s", bg_dnn_int_implementation(conv->dnn));
out:
    return rc;
}

enum bg_status bg_int_conv_create(struct bg_int_conv **out, const struct bg_conv_shape *shape,
                                  enum bg_int_path path)
{
    enum bg_status rc = BG_OK;
    struct bg_int_conv *conv = NULL;

    *out = NULL;
    TRY(bg_alloc(&conv, 1, sizeof *conv));
    conv->shape = *shape;
    conv->path = path;
    conv->threads = bg_threads();
    conv->table = bg_kernel_tables()->int_conv;
    TRY(bg_conv_shape_infer(&conv->shape));
    bg_int_flatten(&conv->shape);
    if (path == BG_INT_REFERENCE) {
        TRY(bg_alloc(&conv->weights, weight_count(&conv->shape), 1));
        snprintf(conv->name, sizeof conv->name, "reference");
    }
    if (path == BG_INT_FAST && !own_is_faster(&conv->shape))
        TRY(try_dnn(conv));
    if (path != BG_INT_REFERENCE && conv->dnn == NULL) {
        TRY(bg_int_own_create(&conv->own, &conv->shape, bg_kernel_tables()));
        snprintf(conv->name, sizeof conv->name, "%s", bg_int_own_name(conv->own));
    }
    *out = conv;
    conv = NULL;
out:
    bg_int_conv_destroy(conv);
    return rc;
}

void bg_int_conv_destroy(struct bg_int_conv *conv)
{
    if (conv == NULL)
        return;
    bg_free(conv->sums);
    bg_free(conv->tap_sums);
    bg_free(conv->weights);
    bg_int_own_destroy(conv->own);
    bg_dnn_int_destroy(conv->dnn);
    bg_free(conv);
}

const char *bg_int_conv_implementation(const struct bg_int_conv *conv)
{
    return conv->name;
}

static void sum_taps(struct bg_int_conv *conv, const int8_t *weights)
{
    const struct bg_conv_shape *s = &conv->shape;
    int64_t taps = tap_count(s), in = s->in_channels / s->groups;

    for (int64_t o = 0; o < s->out_channels; o++) {
        conv->sums[o] = 0;
        for (int64_t t = 0; t < taps; t++) {
            const int8_t *w = weights + (o * taps + t) * in;
            int32_t sum = 0;
            for (int64_t i = 0; i < in; i++)
                sum += w[i];
            conv->tap_sums[t * s->out_channels + o] = sum;
            conv->sums[o] += sum;
        }
    }
}

enum bg_status bg_int_conv_pack(struct bg_int_conv *conv, const int8_t *weights)
{
    enum bg_status rc = BG_OK;
    int64_t count = weight_count(&conv->shape);

    for (int64_t i = 0; i < count; i++)
        if (weights[i] == INT8_MIN)
            FAIL(BG_E_RANGE, "weight code %lld is -128, must be -127 to 127", (long long)i);
    conv->packed = false;
    if (conv->path == BG_INT_REFERENCE) {
        memcpy(conv->weights, weights, (size_t)count);
    } else if (conv->own != NULL) {
        bg_int_own_pack(conv->own, weights);
    } else {
        TRY(bg_dnn_int_pack(conv->dnn, weights));
        sum_taps(conv, weights);
    }
    conv->packed = true;
out:
    return rc;
}

/* Outputs that have all taps inside the image in one direction: [range[0], range[1]). */
static void interior(const struct bg_conv_shape *s, int side, int64_t range[2])
{
    int64_t in = side == 0 ? s->in_height : s->in_width;
    int64_t out = side == 0 ? s->out_height : s->out_width;
    int64_t kernel = side == 0 ? s->kernel_height : s->kernel_width;
    int64_t last = in + s->padding[side] - (kernel - 1) * s->dilation[side] - 1;

    range[0] = (s->padding[side] + s->stride[side] - 1) / s->stride[side];
    range[1] = last < 0 ? 0 : last / s->stride[side] + 1;
    if (range[1] > out)
        range[1] = out;
}

static bool is_inside(const struct bg_conv_shape *s, int side, int64_t out, int64_t tap)
{
    int64_t at = out * s->stride[side] - s->padding[side] + tap * s->dilation[side];

    return at >= 0 && at < (side == 0 ? s->in_height : s->in_width);
}

/* Adds z * T for the taps of one output that lie outside. */
static void correct_border(const struct bg_int_conv *conv, int64_t y, int64_t x, int32_t zero_point,
                           int32_t *acc)
{
    const struct bg_conv_shape *s = &conv->shape;

    for (int64_t ky = 0; ky < s->kernel_height; ky++)
        for (int64_t kx = 0; kx < s->kernel_width; kx++)
            if (!is_inside(s, 0, y, ky) || !is_inside(s, 1, x, kx))
                conv->table->add_product(conv->tap_sums +
                                             (ky * s->kernel_width + kx) * s->out_channels,
                                         s->out_channels, zero_point, 1, acc);
}

static void correct(const struct bg_int_conv *conv, int32_t zero_point, int32_t *acc)
{
    const struct bg_conv_shape *s = &conv->shape;
    const int64_t rows = s->batch * s->out_height, width = s->out_width * s->out_channels;
    int64_t inner_y[2], inner_x[2];

    interior(s, 0, inner_y);
    interior(s, 1, inner_x);
#pragma omp parallel for schedule(static) num_threads(conv->threads) if (rows * width >= SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t y = r % s->out_height;
        bool inner = y >= inner_y[0] && y < inner_y[1];
        int32_t *row = acc + r * width;
        conv->table->add_product(conv->sums, s->out_channels, -zero_point, s->out_width, row);
        for (int64_t x = 0; x < s->out_width; x++)
            if (!inner || x < inner_x[0] || x >= inner_x[1])
                correct_border(conv, y, x, zero_point, row + x * s->out_channels);
    }
}

enum bg_status bg_int_conv_run(struct bg_int_conv *conv, const uint8_t *src, int32_t zero_point,
                               int32_t *acc)
{
    enum bg_status rc = BG_OK;

    if (!conv->packed)
        FAIL(BG_E_USAGE, "this integer convolution has no weights yet");
    if (zero_point < 0 || zero_point > UINT8_MAX)
        FAIL(BG_E_RANGE, "zero point is %d, must be 0 to %d", (int)zero_point, UINT8_MAX);
    if (conv->path == BG_INT_REFERENCE) {
        bg_ref_int_conv(&conv->shape, src, zero_point, conv->weights, acc);
    } else if (conv->own != NULL) {
        bg_int_own_run(conv->own, src, zero_point, acc);
    } else {
        TRY(bg_dnn_int_run(conv->dnn, src, acc));
        if (zero_point != 0)
            correct(conv, zero_point, acc);
    }
out:
    return rc;
}
