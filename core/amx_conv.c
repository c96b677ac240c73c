/* Runs a planned convolution on AMX: forward from codes, backward data from bf16 gradients
 * (core/amx_conv.h).
 *
 * Forward sums are exact s32, whatever the zero point: padding is the code zero_point, and sums
 * start from -zero_point * (sum of the weights of the output). Results do not depend on threads:
 * each output is one sum in one order. */
#include "core/amx_conv.h"

#include <omp.h>
#include <string.h>

#include "core/mem.h"

#define SIDE BG_AMX_SIDE
#define TILE 1024

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

struct call {
    const struct bg_amx_conv *own;
    const uint8_t *src;
    int blank;
    uint16_t *dst;
    bool add;
};

enum bg_status bg_amx_conv_create(struct bg_amx_conv **out, const struct bg_conv_shape *shape,
                                  bool data)
{
    enum bg_status rc = BG_OK;
    struct bg_amx_conv *own = NULL;

    *out = NULL;
    TRY(bg_alloc(&own, 1, sizeof *own));
    own->shape = *shape;
    own->wide = data;
    own->threads = bg_threads();
    TRY(bg_amx_conv_plan(own));
    TRY(bg_alloc(&own->weights, own->weight_bytes, 1));
    TRY(bg_alloc(&own->start, own->out_blocks * SIDE, sizeof *own->start));
    TRY(bg_alloc(&own->a, own->threads * own->units, (size_t)own->unit_bytes));
    *out = own;
    own = NULL;
out:
    bg_amx_conv_destroy(own);
    return rc;
}

void bg_amx_conv_destroy(struct bg_amx_conv *own)
{
    if (own == NULL)
        return;
    bg_free(own->a);
    bg_free(own->start);
    bg_free(own->weights);
    bg_free(own->at);
    for (int64_t i = 0; own->classes != NULL && i < own->class_count; i++)
        bg_free(own->classes[i].to);
    for (int64_t i = 0; own->planes != NULL && i < own->plane_count; i++) {
        bg_free(own->planes[i].mask);
        bg_free(own->planes[i].row_at);
        bg_free(own->planes[i].from);
    }
    bg_free(own->tap_element);
    bg_free(own->tap_step);
    bg_free(own->a_offset);
    bg_free(own->classes);
    bg_free(own->planes);
    for (int i = 0; i < 2; i++) {
        bg_free(own->side[i].class_of);
        bg_free(own->side[i].offset);
    }
    bg_free(own);
}

void *bg_amx_conv_packed(struct bg_amx_conv *own, const int32_t **at)
{
    *at = own->at;
    return own->weights;
}

static void lay_out(const struct call *call, int64_t unit, uint8_t *a)
{
    const struct bg_amx_conv *own = call->own;
    const int64_t pixel = own->channels * own->code_bytes, band = unit % own->bands;
    const uint8_t *image =
        call->src + unit / own->bands * own->side[0].source * own->side[1].source * pixel;

    for (int64_t i = 0; i < own->plane_count; i++) {
        const struct bg_amx_plane *plane = &own->planes[i];
        if (plane->mask != NULL)
            bg_amx_lay_runs(
                &(struct bg_amx_runs){.src = image + plane->first_column * pixel,
                                      .blank = own->blank,
                                      .row_at = plane->row_at + band * own->position_rows,
                                      .mask = plane->mask,
                                      .inner = {plane->inner[0], plane->inner[1]},
                                      .positions = own->positions,
                                      .pitch = own->pitch,
                                      .pixel_step = own->side[1].step * pixel,
                                      .to = a + plane->at});
        else
            bg_amx_lay_pixels(&(struct bg_amx_lay){.src = image,
                                                   .blank = own->blank,
                                                   .from = plane->from + band * own->positions,
                                                   .positions = own->positions,
                                                   .pixel_bytes = pixel,
                                                   .to = a + plane->at,
                                                   .chunk_step = own->positions * 64});
    }
}

static void convolve(const struct call *call, int64_t unit, const uint8_t *a, int64_t first,
                     int64_t last)
{
    const struct bg_amx_conv *own = call->own;
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];

    for (int64_t c = 0; c < own->class_count; c++) {
        const struct bg_amx_class *class = &own->classes[c];
        if (class->steps == 0 && call->add)
            continue;
        bg_amx_convolve(&(struct bg_amx_convolve){
            .a = a,
            .a_offset = own->a_offset + class->first,
            .steps = class->steps,
            .tiles = own->tiles,
            .weights = own->weights + class->weights,
            .start = own->start,
            .first = first,
            .last = last,
            .outputs = own->outputs,
            .to = class->to + unit % own->bands * own->tiles * SIDE,
            .dst = call->dst + unit / own->bands * y->dest * x->dest * own->outputs,
            .wide = own->wide,
            .add = call->add});
    }
}

/* Tasks are units, or, where these are few, parts of the outputs of a unit. Where weights are many,
 * several units meet the weights of two output blocks before the next two. */
static void run_thread(const struct call *call, int thread, int threads)
{
    const struct bg_amx_conv *own = call->own;
    const int64_t total = own->shape.batch * own->bands, pairs = (own->out_blocks + 1) / 2;
    const int64_t wanted = total < threads ? (threads + total - 1) / total : 1;
    const int64_t parts = wanted < pairs ? wanted : pairs;
    const int64_t end = total * parts * (thread + 1) / threads;
    uint8_t *a = own->a + thread * own->units * own->unit_bytes;
    int64_t count = 1;

    bg_amx_tiles_begin();
    for (int64_t task = total * parts * thread / threads; task < end; task += count) {
        const int64_t unit = task / parts, part = task % parts;
        count = parts > 1 ? 1 : smaller(end - task, own->units);
        for (int64_t i = 0; i < count; i++)
            lay_out(call, unit + i, a + i * own->unit_bytes);
        const int64_t last = smaller(2 * (pairs * (part + 1) / parts), own->out_blocks);
        const int64_t step = own->units > 1 ? 2 : own->out_blocks;
        for (int64_t b = 2 * (pairs * part / parts); b < last; b += step)
            for (int64_t i = 0; i < count; i++)
                convolve(call, unit + i, a + i * own->unit_bytes, b, smaller(b + step, last));
    }
    bg_amx_tiles_end();
}

static void set_start(struct bg_amx_conv *own, int32_t zero_point)
{
    memset(own->blank, zero_point, sizeof own->blank);
    if (zero_point == 0) {
        memset(own->start, 0, (size_t)(own->out_blocks * SIDE) * sizeof *own->start);
        return;
    }
    for (int64_t b = 0; b < own->out_blocks; b++)
        bg_amx_sum_weights(own->weights + b * own->step_count * TILE, own->step_count,
                           own->start + b * SIDE);
    for (int64_t o = 0; o < own->out_blocks * SIDE; o++)
        own->start[o] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)own->start[o]);
}

static void run(const struct call *call)
{
    const struct bg_amx_conv *own = call->own;

#pragma omp parallel num_threads(own->threads) if (own->threads > 1)
    run_thread(call, omp_get_thread_num(), omp_get_num_threads());
}

void bg_amx_conv_forward(struct bg_amx_conv *own, const uint8_t *src, int32_t zero_point,
                         uint16_t *z)
{
    set_start(own, zero_point);
    run(&(struct call){own, src, zero_point, z, false});
}

void bg_amx_conv_data(struct bg_amx_conv *own, const uint16_t *dz, uint16_t *dx, bool add)
{
    run(&(struct call){own, (const uint8_t *)dz, 0, dx, add});
}
