/* Runs planned backward weights on AMX: fills tiles, multiplies, adds the threads' sums
 * (core/amx_weights.h). */
#include "core/amx_weights.h"

#include <omp.h>
#include <string.h>

#include "core/mem.h"

#define SIDE   BG_AMX_SIDE
#define PIXELS BG_AMX_PIXELS

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t tap_count(const struct bg_conv_shape *s)
{
    return s->kernel_height * s->kernel_width;
}

enum bg_status bg_amx_weights_create(struct bg_amx_weights **out, const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    struct bg_amx_weights *own = NULL;

    *out = NULL;
    TRY(bg_alloc(&own, 1, sizeof *own));
    own->shape = *shape;
    own->threads = bg_threads();
    TRY(bg_amx_weights_plan(own));
    *out = own;
    own = NULL;
out:
    bg_amx_weights_destroy(own);
    return rc;
}

void bg_amx_weights_destroy(struct bg_amx_weights *own)
{
    if (own == NULL)
        return;
    bg_free(own->sums);
    bg_free(own->b);
    bg_free(own->a);
    bg_free(own->jobs);
    bg_free(own->offset);
    bg_free(own->items);
    bg_free(own->turn_from);
    bg_free(own->joined_at);
    bg_free(own->padded);
    for (int64_t i = 0; own->planes != NULL && i < own->plane_count; i++)
        bg_free(own->planes[i].from);
    bg_free(own->planes);
    bg_free(own);
}
/* What a call hands to the threads. */
struct call {
    const struct bg_amx_weights *own;
    const uint8_t *src;
    int32_t zero_point;
    const uint16_t *dz;
    const struct bg_train_gradient *to;
};

/* Part of the channel blocks: [first, last) of the activations' and of the gradients'. */
struct part {
    int64_t in[2], out[2];
};

static void fill_joined(const struct call *call, int64_t image, int64_t band, uint16_t *padded,
                        uint16_t *b)
{
    const struct bg_amx_weights *own = call->own;
    const struct bg_conv_shape *s = &own->shape;
    int64_t inside = smaller(s->in_width, own->padded_width - s->padding[1]);
    int64_t width = own->padded_width * s->in_channels;
    uint16_t *rows = padded + own->padded_front;
    const bool neighbours = s->in_channels == 1 && s->stride[1] == 1 && s->out_width % 2 == 0;

    for (int64_t r = 0; r < own->padded_rows && inside > 0; r++) {
        int64_t y = band * own->rows * s->stride[0] - s->padding[0] + r;
        uint16_t *row = rows + r * width + s->padding[1] * s->in_channels;
        if (y < 0 || y >= s->in_height)
            memset(row, 0, (size_t)(inside * s->in_channels) * sizeof *row);
        else
            bg_amx_widen(call->src + (image * s->in_height + y) * s->in_width * s->in_channels,
                         inside * s->in_channels, call->zero_point, row);
    }
    bg_amx_join_taps(&(struct bg_amx_joined){.padded = rows,
                                             .at = own->joined_at,
                                             .pixels = own->rows * s->out_width,
                                             .run = s->kernel_width * s->in_channels,
                                             .row_step = s->dilation[0] * width,
                                             .columns = tap_count(s) * s->in_channels,
                                             .row = neighbours ? s->out_width : 0,
                                             .pairs = b,
                                             .block_step = own->chunks * BG_AMX_TILE});
}

static void fill_planes(const struct call *call, int64_t image, int64_t band,
                        const int64_t blocks[2], uint16_t *b)
{
    const struct bg_amx_weights *own = call->own;
    const struct bg_conv_shape *s = &own->shape;
    struct bg_amx_pairs in = {.src =
                                  call->src + image * s->in_height * s->in_width * s->in_channels,
                              .blank = own->blank,
                              .pairs = own->pairs,
                              .channels = s->in_channels,
                              .first = blocks[0],
                              .last = blocks[1],
                              .zero_point = call->zero_point,
                              .block_step = own->pairs * 2 * SIDE};

    for (int64_t i = 0; i < own->plane_count; i++) {
        const struct bg_amx_split *plane = &own->planes[i];
        in.from = plane->from + band * own->positions;
        in.even = plane->even < 0 ? NULL : b + plane->even;
        in.odd = plane->odd < 0 ? NULL : b + plane->odd;
        bg_amx_pair_pixels(&in);
    }
}

/* Tiles of units `first` to `last` - 1 into a and b. */
static void fill(const struct call *call, int64_t first, int64_t last, const struct part *part,
                 uint16_t *const buffers[3])
{
    const struct bg_amx_weights *own = call->own;
    const struct bg_conv_shape *s = &own->shape;

    for (int64_t u = first; u < last; u++) {
        int64_t image = u / own->bands, band = u % own->bands;
        uint16_t *b = buffers[1] + (u - first) * own->b_unit;
        if (own->joined && part->in[0] == 0 && part->in[1] > 0)
            fill_joined(call, image, band, buffers[2], b);
        else if (!own->joined)
            fill_planes(call, image, band, part->in, b);
        bg_amx_turn_pixels(&(struct bg_amx_turn){
            .dz = call->dz + image * s->out_height * s->out_width * s->out_channels,
            .from = own->turn_from + band * own->chunks * PIXELS,
            .chunks = own->chunks,
            .channels = s->out_channels,
            .first = part->out[0],
            .last = part->out[1],
            .tiles = buffers[0] + (u - first) * own->a_unit,
            .block_step = own->chunks * BG_AMX_TILE});
    }
}

static struct bg_amx_product product_of(const struct bg_amx_weights *own,
                                        const struct bg_amx_job *job, int64_t units,
                                        uint16_t *const buffers[3])
{
    return (struct bg_amx_product){.a = buffers[0] + job->block * own->chunks * BG_AMX_TILE,
                                   .b = buffers[1],
                                   .a_unit = own->a_unit,
                                   .b_unit = own->b_unit,
                                   .a_block = own->chunks * BG_AMX_TILE,
                                   .b_offset = own->offset + job->item,
                                   .units = units,
                                   .chunks = own->chunks,
                                   .outputs = job->outputs,
                                   .items = job->items};
}

/* All jobs of one round; the first round begins the sums. */
static void multiply(const struct bg_amx_weights *own, const int64_t jobs[2], int64_t units,
                     uint16_t *const buffers[3], float *sums, bool fresh)
{
    for (int64_t j = jobs[0]; j < jobs[1]; j++) {
        const struct bg_amx_job *job = &own->jobs[j];
        struct bg_amx_product product = product_of(own, job, units, buffers);
        product.fresh = fresh;
        product.sums = sums + (job->item * own->out_blocks + job->block) * BG_AMX_SUMS;
        product.sums_step = own->out_blocks * BG_AMX_SUMS;
        bg_amx_multiply(&product);
    }
}

/* One tile of sums, of 16 output channels and an item, to its place. */
static bool put(const struct call *call, int64_t block, int64_t i, const float *sums,
                int64_t copies)
{
    const struct bg_amx_weights *own = call->own;
    const struct bg_train_gradient *to = call->to;
    const int64_t columns = tap_count(&own->shape) * own->shape.in_channels, o = block * SIDE;
    const int64_t at = o * columns + own->items[i].column;

    return bg_amx_put_sums(
        &(struct bg_amx_put){.sums = sums,
                             .copies = copies,
                             .copy_step = own->sum_count,
                             .rows = smaller(SIDE, own->shape.out_channels - o),
                             .width = own->items[i].width,
                             .row_step = columns,
                             .dw = to->dw + at,
                             .factor = to->factor == NULL ? NULL : to->factor + o,
                             .w = to->w == NULL ? NULL : to->w + at,
                             .low = to->w == NULL ? NULL : to->low + o,
                             .high = to->w == NULL ? NULL : to->high + o});
}

/* This thread's part of dw from `copies` copies of the sums, in order. */
static bool write_out(const struct call *call, int thread, int threads, int64_t copies)
{
    const struct bg_amx_weights *own = call->own;
    const int64_t tiles = own->out_blocks * own->item_count;
    bool good = true;

    for (int64_t t = tiles * thread / threads; t < tiles * (thread + 1) / threads; t++) {
        const int64_t block = t / own->item_count, i = t % own->item_count;
        const float *sums = own->sums + (i * own->out_blocks + block) * BG_AMX_SUMS;
        good = put(call, block, i, sums, copies) && good;
    }
    return good;
}

static void run_apart(const struct call *call, int thread, int threads)
{
    const struct bg_amx_weights *own = call->own;
    const struct part all = {{0, own->in_blocks}, {0, own->out_blocks}};
    const int64_t total = own->shape.batch * own->bands;
    const int64_t end = total * (thread + 1) / threads;
    uint16_t *const buffers[3] = {own->a + thread * own->units * own->a_unit,
                                  own->b + thread * own->units * own->b_unit,
                                  own->padded + thread * own->padded_count};
    float *sums = own->sums + thread * own->sum_count;
    const int64_t jobs[2] = {0, own->job_count}, first = total * thread / threads;

    if (first >= end)
        memset(sums, 0, (size_t)own->sum_count * sizeof *sums);
    bg_amx_tiles_begin();
    for (int64_t u = first; u < end; u += own->units) {
        int64_t last = smaller(u + own->units, end);
        fill(call, u, last, &all, buffers);
        multiply(own, jobs, last - u, buffers, sums, u == first);
    }
    bg_amx_tiles_end();
}

/* Sums of a job, then where they go. */
static bool multiply_out(const struct call *call, const int64_t jobs[2], int64_t units,
                         uint16_t *const buffers[3])
{
    const struct bg_amx_weights *own = call->own;
    _Alignas(64) float sums[BG_AMX_ITEMS * BG_AMX_SUMS];
    bool good = true;

    for (int64_t j = jobs[0]; j < jobs[1]; j++) {
        const struct bg_amx_job *job = &own->jobs[j];
        struct bg_amx_product product = product_of(own, job, units, buffers);
        product.fresh = true;
        product.sums = sums;
        product.sums_step = job->outputs * BG_AMX_SUMS;
        bg_amx_multiply(&product);
        for (int64_t k = 0; k < job->items; k++)
            for (int64_t o = 0; o < job->outputs; o++)
                good = put(call, job->block + o, job->item + k,
                           sums + (k * job->outputs + o) * BG_AMX_SUMS, 1) &&
                       good;
    }
    return good;
}

static bool run_together(const struct call *call, int thread, int threads)
{
    const struct bg_amx_weights *own = call->own;
    const struct part part = {
        {own->in_blocks * thread / threads, own->in_blocks * (thread + 1) / threads},
        {own->out_blocks * thread / threads, own->out_blocks * (thread + 1) / threads}};
    const int64_t total = own->shape.batch * own->bands;
    const int64_t jobs[2] = {own->job_count * thread / threads,
                             own->job_count * (thread + 1) / threads};
    uint16_t *const buffers[3] = {own->a, own->b, own->padded + thread * own->padded_count};
    bool good = true;

    bg_amx_tiles_begin();
    for (int64_t u = 0; u < total; u += own->units) {
        int64_t end = smaller(u + own->units, total);
        fill(call, u, end, &part, buffers);
#pragma omp barrier
        if (own->direct) {
            good = multiply_out(call, jobs, end - u, buffers);
            break;
        }
        multiply(own, jobs, end - u, buffers, own->sums, u == 0);
#pragma omp barrier
    }
    bg_amx_tiles_end();
    return good;
}

static bool run_thread(const struct call *call, int thread, int threads)
{
    const struct bg_amx_weights *own = call->own;

    if (own->direct)
        return run_together(call, thread, threads);
    if (own->shared)
        (void)run_together(call, thread, threads);
    else
        run_apart(call, thread, threads);
#pragma omp barrier
    return write_out(call, thread, threads, own->shared ? 1 : threads);
}

bool bg_amx_weights_run(struct bg_amx_weights *own, const uint8_t *src, int32_t zero_point,
                        const uint16_t *dz, const struct bg_train_gradient *to)
{
    const struct call call = {.own = own, .src = src, .zero_point = zero_point, .dz = dz, .to = to};
    int bad = 0;

    memset(own->blank, zero_point, sizeof own->blank);
#pragma omp parallel num_threads(own->threads) reduction(| : bad) if (own->threads > 1)
    bad |= !run_thread(&call, omp_get_thread_num(), omp_get_num_threads());
    return bad == 0;
}
