/* Depthwise convolution of fast training: which taps meet in which pixel, threads.
 *
 * Every row and column of a result has a list of the taps that reach it and of what they read, so
 * stride, padding and dilation are nowhere else. Weights and sums of one tap lie together: [tap]
 * [channel]. Forward and backward data do not depend on the number of threads; weight gradients
 * are summed over rows by each thread and then in the order of threads. */
#include <omp.h>
#include <string.h>

#include "core/kernel_amx.h"
#include "core/mem.h"
#include "core/train_private.h"

#define SIDE BG_AMX_SIDE
/* f32 sums of codes times weights are exact up to 2^24. */
#define TAPS_MAX ((1 << 24) / (255 * 127))

/* Taps of each place in one direction of a result. */
struct list {
    int64_t places;
    int64_t *start; /* [places + 1] */
    struct bg_amx_tap *taps;
};

struct bg_amx_depthwise {
    struct bg_conv_shape shape;
    int threads;
    int64_t taps, weight_step;
    struct list forward[2], data[2]; /* rows, columns */
    int32_t *at;
    int8_t *codes;      /* [tap][channel] */
    uint16_t *backward; /* [tap][channel] */
    float *weights;     /* [tap][weight_step] */
    float *sums;        /* [thread][tap][weight_step] */
};

/* Output y reads input i = y * stride + k * dilation - padding: the taps of each output, or of each
 * input. */
static enum bg_status make_list(struct list *list, const struct bg_conv_shape *s, int side,
                                bool data)
{
    enum bg_status rc = BG_OK;
    const int64_t in = side == 0 ? s->in_height : s->in_width;
    const int64_t out = side == 0 ? s->out_height : s->out_width;
    const int64_t kernel = side == 0 ? s->kernel_height : s->kernel_width;
    const int64_t stride = s->stride[side];
    int64_t count = 0;

    list->places = data ? in : out;
    TRY(bg_alloc(&list->start, list->places + 1, sizeof *list->start));
    TRY(bg_alloc(&list->taps, list->places * kernel, sizeof *list->taps));
    for (int64_t place = 0; place < list->places; place++) {
        for (int64_t k = 0; k < kernel; k++) {
            int64_t shift = k * s->dilation[side] - s->padding[side];
            int64_t source = data ? (place - shift) / stride : place * stride + shift;
            if (data && (place < shift || (place - shift) % stride != 0))
                continue;
            if (source >= 0 && source < (data ? out : in))
                list->taps[count++] = (struct bg_amx_tap){k, source};
        }
        list->start[place + 1] = count;
    }
out:
    return rc;
}

/* Kernel rows or columns and source rows or columns become places in memory. */
static void scale(struct list *list, int64_t weight, int64_t source)
{
    for (int64_t i = 0; i < list->start[list->places]; i++) {
        list->taps[i].weight *= weight;
        list->taps[i].source *= source;
    }
}

static enum bg_status make_lists(struct bg_amx_depthwise *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;

    for (int i = 0; i < 2; i++) {
        const int64_t steps = i == 0 ? s->kernel_width : 1;
        TRY(make_list(&own->forward[i], s, i, false));
        TRY(make_list(&own->data[i], s, i, true));
        scale(&own->forward[i], steps * own->weight_step,
              (i == 0 ? s->in_width : 1) * s->in_channels);
        scale(&own->data[i], steps * own->weight_step,
              (i == 0 ? s->out_width : 1) * s->in_channels);
    }
out:
    return rc;
}

enum bg_status bg_amx_depthwise_create(struct bg_amx_depthwise **out,
                                       const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    struct bg_amx_depthwise *own = NULL;
    const int64_t channels = shape->in_channels;

    *out = NULL;
    TRY(bg_alloc(&own, 1, sizeof *own));
    own->shape = *shape;
    own->threads = bg_threads();
    own->taps = shape->kernel_height * shape->kernel_width;
    own->weight_step = (channels + SIDE - 1) / SIDE * SIDE;
    if (own->taps > TAPS_MAX)
        FAIL(BG_E_UNSUPPORTED,
             "a depthwise kernel of %lld weights is too large for fast training, limit %d",
             (long long)own->taps, TAPS_MAX);
    TRY(make_lists(own));
    TRY(bg_alloc(&own->at, own->taps * channels, sizeof *own->at));
    for (int64_t i = 0; i < own->taps * channels; i++)
        own->at[i] = (int32_t)(i % own->taps * channels + i / own->taps);
    TRY(bg_alloc(&own->codes, own->taps * channels, sizeof *own->codes));
    TRY(bg_alloc(&own->backward, own->taps * channels, sizeof *own->backward));
    TRY(bg_alloc(&own->weights, own->taps * own->weight_step, sizeof *own->weights));
    TRY(bg_alloc(&own->sums, own->threads * own->taps * own->weight_step, sizeof *own->sums));
    *out = own;
    own = NULL;
out:
    bg_amx_depthwise_destroy(own);
    return rc;
}

void bg_amx_depthwise_destroy(struct bg_amx_depthwise *own)
{
    if (own == NULL)
        return;
    bg_free(own->sums);
    bg_free(own->weights);
    bg_free(own->backward);
    bg_free(own->codes);
    bg_free(own->at);
    for (int i = 0; i < 2; i++) {
        bg_free(own->data[i].taps);
        bg_free(own->data[i].start);
        bg_free(own->forward[i].taps);
        bg_free(own->forward[i].start);
    }
    bg_free(own);
}

int8_t *bg_amx_depthwise_packed(struct bg_amx_depthwise *own, const int32_t **at,
                                uint16_t **backward)
{
    *at = own->at;
    *backward = own->backward;
    return own->codes;
}

/* `in` has what all rows share; pixels: of one image of src. */
static void run_rows(const struct bg_amx_depthwise *own, const struct list lists[2],
                     struct bg_amx_depthwise_row in, int64_t pixels, int64_t code_bytes)
{
    const int64_t height = lists[0].places, rows = own->shape.batch * height;
    const uint8_t *src = in.src;

    in.columns = lists[1].taps;
    in.start = lists[1].start;
    in.width = lists[1].places;
    in.channels = own->shape.in_channels;
    in.weights = own->weights;
#pragma omp parallel for schedule(static) num_threads(own->threads) if (own->threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        struct bg_amx_depthwise_row row = in;
        const int64_t *start = lists[0].start + r % height;
        row.src = src + r / height * pixels * in.channels * code_bytes;
        row.rows = lists[0].taps + start[0];
        row.row_count = start[1] - start[0];
        row.dst = in.dst + r * in.width * in.channels;
        bg_amx_depthwise(&row);
    }
}

void bg_amx_depthwise_forward(struct bg_amx_depthwise *own, const uint8_t *src, int32_t zero_point,
                              uint16_t *z)
{
    const int64_t channels = own->shape.in_channels;

    for (int64_t t = 0; t < own->taps; t++)
        bg_amx_widen_s8(own->codes + t * channels, channels, own->weights + t * own->weight_step);
    run_rows(own, own->forward,
             (struct bg_amx_depthwise_row){.src = src, .zero_point = zero_point, .dst = z},
             own->shape.in_height * own->shape.in_width, 1);
}

void bg_amx_depthwise_data(struct bg_amx_depthwise *own, const uint16_t *dz, float factor,
                           uint16_t *dx, bool add)
{
    const int64_t channels = own->shape.in_channels;

    for (int64_t t = 0; t < own->taps; t++)
        bg_amx_widen_bf16(own->backward + t * channels, channels,
                          own->weights + t * own->weight_step);
    run_rows(own, own->data,
             (struct bg_amx_depthwise_row){
                 .src = dz, .wide = true, .add = add, .factor = factor, .dst = dx},
             own->shape.out_height * own->shape.out_width, 2);
}

/* Adds what row y of the outputs of an image gives to the sums of all taps. */
static void sum_row(const struct bg_amx_depthwise *own, const uint8_t *image, int32_t zero_point,
                    const uint16_t *dz, int64_t y, float *sums)
{
    const struct bg_conv_shape *s = &own->shape;
    const struct list *rows = &own->forward[0];

    for (int64_t i = rows->start[y]; i < rows->start[y + 1]; i++)
        for (int64_t kx = 0; kx < s->kernel_width; kx++) {
            int64_t shift = kx * s->dilation[1] - s->padding[1], stride = s->stride[1];
            int64_t first = shift < 0 ? (stride - 1 - shift) / stride : 0;
            int64_t last = s->in_width > shift ? (s->in_width - shift - 1) / stride + 1 : 0;
            bg_amx_depthwise_weights(&(struct bg_amx_depthwise_tap){
                .src = image + rows->taps[i].source + shift * s->in_channels,
                .dz = dz,
                .zero_point = zero_point,
                .first = first,
                .last = last < s->out_width ? last : s->out_width,
                .stride = stride,
                .channels = s->in_channels,
                .sums = sums + rows->taps[i].weight + kx * own->weight_step});
        }
}

void bg_amx_depthwise_gradient(struct bg_amx_depthwise *own, const uint8_t *src, int32_t zero_point,
                               const uint16_t *dz, float *dw)
{
    const struct bg_conv_shape *s = &own->shape;
    const int64_t rows = s->batch * s->out_height, count = own->taps * own->weight_step;
    int used = 1;

#pragma omp parallel num_threads(own->threads) if (own->threads > 1)
    {
        int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        float *sums = own->sums + thread * count;
        memset(sums, 0, (size_t)count * sizeof *sums);
        if (thread == 0)
            used = threads;
        for (int64_t r = rows * thread / threads; r < rows * (thread + 1) / threads; r++)
            sum_row(own, src + r / s->out_height * s->in_height * s->in_width * s->in_channels,
                    zero_point, dz + r * s->out_width * s->in_channels, r % s->out_height, sums);
    }
    for (int64_t c = 0; c < s->in_channels; c++)
        for (int64_t t = 0; t < own->taps; t++) {
            float sum = 0;
            for (int thread = 0; thread < used; thread++)
                sum += own->sums[thread * count + t * own->weight_step + c];
            dw[c * own->taps + t] = sum;
        }
}
