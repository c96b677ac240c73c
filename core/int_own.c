/* Integer convolution with own kernels (core/kernel_int_conv.c): packing, padding, threads.
 *
 * Work is cut into tasks of some output rows of one image. A task copies the input rows it needs
 * into scratch of its thread, padded with code z; so every tap of every output reads something, and
 * sum (code - z) * w = sum code * w - z * sum w has one correction per output channel, which the
 * sums start from. Codes of a kernel row are neighbours in memory (without dilation and groups), so
 * a kernel row is one run of codes and few channels waste nothing. */
#include "core/int_private.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

/* Input rows of a task should stay in the cache that is next to a core. */
#define TASK_BYTES 65536
/* Fewer multiplications than this stay on the calling thread: waking others costs more. */
#define SMALL 131072
#define LANES BG_KERNEL_INT_LANES

struct bg_int_own {
    struct bg_conv_shape shape;
    const struct bg_kernel_int_conv_table *table;
    bool depthwise, bytes; /* bytes: scratch has u8 codes, else u16 */
    int threads;
    int64_t in, out, padded_out; /* channels of one group */
    int64_t columns;             /* of the padded input that are read */
    int64_t row_bytes, scratch_bytes;
    int64_t rows, tasks_per_image; /* output rows of a task */
    int64_t runs, run_codes, units;
    int64_t *pixel, *run; /* as the kernel wants them */
    void *weights;
    int64_t group_weights; /* bytes */
    int32_t *total, *start;
    uint8_t *scratch;
    char name[48];
};

static int64_t up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t extent(const struct bg_conv_shape *s, int side)
{
    return ((side == 0 ? s->kernel_height : s->kernel_width) - 1) * s->dilation[side] + 1;
}

/* A 1x1 convolution without stride has no rows: all pixels of the batch become rows of one. */
static void unroll_pixels(struct bg_conv_shape *s)
{
    if (s->kernel_height != 1 || s->kernel_width != 1 || s->stride[0] != 1 || s->stride[1] != 1 ||
        s->padding[0] != 0 || s->padding[1] != 0)
        return;
    s->in_height = s->out_height = s->batch * s->in_height * s->in_width;
    s->in_width = s->out_width = s->batch = 1;
}

static int64_t input_rows(const struct bg_int_own *own, int64_t rows)
{
    return (rows - 1) * own->shape.stride[0] + extent(&own->shape, 0);
}

/* How many output rows a task has: the numbers do not depend on it. */
static void choose_rows(struct bg_int_own *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t fit = TASK_BYTES / own->row_bytes - extent(s, 0);

    own->rows = fit < 0 ? 1 : fit / s->stride[0] + 1;
    if (own->rows > s->out_height)
        own->rows = s->out_height;
    while (own->rows > 1 && s->batch * up(s->out_height, own->rows) < 2 * own->threads)
        own->rows = up(own->rows, 2);
    own->tasks_per_image = up(s->out_height, own->rows);
    own->scratch_bytes =
        up(input_rows(own, own->rows) * own->row_bytes + BG_KERNEL_INT_SLACK, BG_ALIGN) * BG_ALIGN;
}

static void plan(struct bg_int_own *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int code_bytes = own->bytes ? 1 : 2;
    /* Neighbouring taps are neighbours in memory: a kernel row is one run. */
    bool joined = !own->depthwise && s->groups == 1 && s->dilation[1] == 1;

    own->in = own->depthwise ? s->in_channels : s->in_channels / s->groups;
    own->out = own->depthwise ? s->out_channels : s->out_channels / s->groups;
    own->padded_out = up(own->out, LANES) * LANES;
    own->columns = (s->out_width - 1) * s->stride[1] + extent(s, 1);
    own->row_bytes = own->columns * s->in_channels * code_bytes;
    own->runs = joined ? s->kernel_height : s->kernel_height * s->kernel_width;
    own->run_codes = joined ? s->kernel_width * own->in : own->in;
    own->units = up(own->run_codes, own->table->codes);
    own->group_weights = own->runs * own->padded_out * 4 * (own->depthwise ? 1 : own->units);
    choose_rows(own);
}

static void fill_offsets(struct bg_int_own *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t per_row = own->runs / s->kernel_height; /* runs of a kernel row */
    int64_t pixel_bytes = s->in_channels * (own->bytes ? 1 : 2);

    for (int64_t r = 0; r < own->runs; r++)
        own->run[r] = r / per_row * s->dilation[0] * own->row_bytes +
                      r % per_row * s->dilation[1] * pixel_bytes;
    for (int64_t p = 0; p < own->rows * s->out_width; p++)
        own->pixel[p] = p / s->out_width * s->stride[0] * own->row_bytes +
                        p % s->out_width * s->stride[1] * pixel_bytes;
}

enum bg_status bg_int_own_create(struct bg_int_own **out, const struct bg_conv_shape *shape,
                                 const struct bg_kernel_tables *tables)
{
    enum bg_status rc = BG_OK;
    struct bg_int_own *own = NULL;
    int64_t groups = 1;

    *out = NULL;
    TRY(bg_alloc(&own, 1, sizeof *own));
    own->shape = *shape;
    bg_int_flatten(&own->shape);
    unroll_pixels(&own->shape);
    own->table = tables->int_conv;
    own->threads = bg_threads();
    own->depthwise = shape->groups > 1 && shape->groups == shape->in_channels &&
                     shape->groups == shape->out_channels;
    own->bytes = own->depthwise || own->table->codes == 4;
    if (!own->depthwise)
        groups = shape->groups;
    plan(own);
    snprintf(own->name, sizeof own->name, "own:%s%s", tables->isa,
             own->depthwise ? ":depthwise" : "");
    TRY(bg_alloc(&own->pixel, own->rows * own->shape.out_width, sizeof *own->pixel));
    TRY(bg_alloc(&own->run, own->runs, sizeof *own->run));
    TRY(bg_alloc(&own->weights, groups, (size_t)own->group_weights));
    TRY(bg_alloc(&own->total, groups * own->padded_out, sizeof *own->total));
    TRY(bg_alloc(&own->start, groups * own->padded_out, sizeof *own->start));
    TRY(bg_alloc(&own->scratch, own->threads, (size_t)own->scratch_bytes));
    fill_offsets(own);
    *out = own;
    own = NULL;
out:
    bg_int_own_destroy(own);
    return rc;
}

void bg_int_own_destroy(struct bg_int_own *own)
{
    if (own == NULL)
        return;
    bg_free(own->scratch);
    bg_free(own->start);
    bg_free(own->total);
    bg_free(own->weights);
    bg_free(own->run);
    bg_free(own->pixel);
    bg_free(own);
}

const char *bg_int_own_name(const struct bg_int_own *own)
{
    return own->name;
}

/* Weights of output channel `o` of group `g`: runs of codes, the rest of each run's last unit 0. */
static void pack_channel(struct bg_int_own *own, int64_t g, int64_t o, const int8_t *from)
{
    const int codes = own->table->codes;
    int64_t block = o / own->table->block * own->table->block, left = own->padded_out - block;
    int64_t lanes = left < own->table->block ? left : own->table->block;
    /* Index in codes of this channel's first one; units of a channel are lanes * codes apart. */
    int64_t base = (g * own->padded_out + block) * own->runs * own->units * codes;
    int8_t *bytes = own->weights;
    int16_t *wide = own->weights;
    int32_t sum = 0;

    for (int64_t r = 0; r < own->runs; r++)
        for (int64_t i = 0; i < own->run_codes; i++) {
            int8_t w = from[r * own->run_codes + i];
            int64_t at = base + ((r * own->units + i / codes) * lanes + o - block) * codes;
            sum += w;
            if (codes == 4)
                bytes[at + i % codes] = w;
            else
                wide[at + i % codes] = (int16_t)w;
        }
    own->total[g * own->padded_out + o] = sum;
}

static void pack_depthwise(struct bg_int_own *own, const int8_t *from)
{
    int32_t *to = own->weights;

    for (int64_t c = 0; c < own->out; c++) {
        int32_t sum = 0;
        for (int64_t t = 0; t < own->runs; t++) {
            to[t * own->padded_out + c] = (int32_t)from[c * own->runs + t];
            sum += from[c * own->runs + t];
        }
        own->total[c] = sum;
    }
}

void bg_int_own_pack(struct bg_int_own *own, const int8_t *weights)
{
    int64_t count = own->runs * own->run_codes;

    if (own->depthwise) {
        pack_depthwise(own, weights);
        return;
    }
    for (int64_t o = 0; o < own->shape.out_channels; o++)
        pack_channel(own, o / own->out, o % own->out, weights + o * count);
}

static void put_zeros(const struct bg_int_own *own, uint8_t *to, int64_t count, int32_t zero_point)
{
    uint16_t *wide = (uint16_t *)(void *)to;

    if (own->bytes) {
        memset(to, zero_point, (size_t)count);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        wide[i] = (uint16_t)zero_point;
}

static void put_codes(const struct bg_int_own *own, uint8_t *to, int64_t count, const uint8_t *from)
{
    if (own->bytes)
        memcpy(to, from, (size_t)count);
    else
        own->table->widen(from, count, (uint16_t *)(void *)to);
}

/* Input rows from `first` (which may be padding) of one image. */
static void load_rows(const struct bg_int_own *own, const uint8_t *image, int32_t zero_point,
                      int64_t first, int64_t count, uint8_t *to)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t code_bytes = own->bytes ? 1 : 2, left = s->padding[1];
    int64_t inside = own->columns - left < s->in_width ? own->columns - left : s->in_width;
    int64_t right = own->columns - left - inside, width = s->in_width * s->in_channels;

    if (left == 0 && inside == s->in_width && right == 0 && first >= 0 &&
        first + count <= s->in_height) {
        put_codes(own, to, count * width, image + first * width);
        return;
    }
    for (int64_t y = first; y < first + count; y++, to += own->row_bytes) {
        if (y < 0 || y >= s->in_height || inside <= 0) {
            put_zeros(own, to, own->columns * s->in_channels, zero_point);
            continue;
        }
        put_zeros(own, to, left * s->in_channels, zero_point);
        put_codes(own, to + left * s->in_channels * code_bytes, inside * s->in_channels,
                  image + y * width);
        put_zeros(own, to + (left + inside) * s->in_channels * code_bytes, right * s->in_channels,
                  zero_point);
    }
}

static void run_task(const struct bg_int_own *own, const uint8_t *src, int32_t zero_point,
                     int64_t task, uint8_t *scratch, int32_t *acc)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t n = task / own->tasks_per_image, y = task % own->tasks_per_image * own->rows;
    int64_t rows = s->out_height - y < own->rows ? s->out_height - y : own->rows;
    int64_t groups = own->depthwise ? 1 : s->groups;
    struct bg_kernel_int_conv in = {.pixel = own->pixel,
                                    .run = own->run,
                                    .pixels = rows * s->out_width,
                                    .runs = own->runs,
                                    .units = own->units,
                                    .outputs = own->out,
                                    .step = s->out_channels};

    load_rows(own, src + n * s->in_height * s->in_width * s->in_channels, zero_point,
              y * s->stride[0] - s->padding[0], input_rows(own, rows), scratch);
    for (int64_t g = 0; g < groups; g++) {
        in.src = scratch + g * own->in * (own->bytes ? 1 : 2);
        in.weights = (const uint8_t *)own->weights + g * own->group_weights;
        in.start = own->start + g * own->padded_out;
        in.dst = acc + (n * s->out_height + y) * s->out_width * s->out_channels + g * own->out;
        if (own->depthwise)
            own->table->depthwise(&in);
        else
            own->table->conv(&in);
    }
}

void bg_int_own_run(struct bg_int_own *own, const uint8_t *src, int32_t zero_point, int32_t *acc)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t tasks = s->batch * own->tasks_per_image;
    int64_t sums = s->batch * s->out_height * s->out_width * s->out_channels;
    int64_t channels = (own->depthwise ? 1 : s->groups) * own->padded_out;
    bool small = sums * own->runs * (own->depthwise ? 1 : own->run_codes) < SMALL;

    for (int64_t o = 0; o < channels; o++)
        own->start[o] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)own->total[o]);
#pragma omp parallel num_threads(own->threads) if (own->threads > 1 && !small)
    {
        uint8_t *scratch = own->scratch + omp_get_thread_num() * own->scratch_bytes;
#pragma omp for schedule(static)
        for (int64_t t = 0; t < tasks; t++)
            run_task(own, src, zero_point, t, scratch, acc);
    }
}
