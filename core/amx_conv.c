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
    float factor;
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

static void pack_plainly(struct bg_amx_conv *own, int64_t at, int64_t count, const int8_t *codes)
{
    uint16_t *wide = (void *)own->weights;

    for (int64_t i = 0; i < count; i++) {
        if (own->wide)
            wide[own->at[at + i]] = bg_code_to_bf16(codes[i]);
        else
            own->weights[own->at[at + i]] = (uint8_t)codes[i];
    }
}

/* Outputs o to o + rows - 1 of a block of 16. Whole lines belong to one tap and this block unless
 * joined taps lie in groups of 4 bytes side by side. */
static void pack_block(struct bg_amx_conv *own, int64_t o, int64_t rows, const int8_t *codes)
{
    const int64_t channels = own->shape.in_channels, taps = own->side[0].taps * own->side[1].taps;
    const bool lines = own->joined == 1 || own->channels * own->code_bytes % 4 == 0;

    if (!lines) {
        pack_plainly(own, o * taps * channels, rows * taps * channels, codes);
        return;
    }
    for (int64_t t = 0; t < taps; t++) {
        const int32_t *at = own->at + (o * taps + t) * channels;
        struct bg_amx_pack pack = {.codes = codes + t * channels,
                                   .rows = rows,
                                   .step = taps * channels,
                                   .columns = channels,
                                   .tiles = own->weights + at[0] * own->code_bytes};
        if (own->wide && channels > SIDE)
            pack.tile_step = (at[SIDE] - at[0]) * own->code_bytes;
        if (own->wide)
            bg_amx_pack_pairs(&pack);
        else
            bg_amx_pack_codes(&pack);
    }
}

void bg_amx_conv_pack(struct bg_amx_conv *own, int64_t first, int64_t last, const int8_t *codes)
{
    const int64_t each = own->side[0].taps * own->side[1].taps * own->shape.in_channels;

    for (int64_t o = first; o < last; o += SIDE)
        pack_block(own, o, smaller(SIDE, last - o), codes + (o - first) * each);
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
            .add = call->add,
            .factor = call->factor});
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

/* Sums begin with -zero_point * (sum of the output's weights). All threads, each some blocks. */
static void set_start(const struct bg_amx_conv *own, int32_t zero_point)
{
#pragma omp for schedule(static)
    for (int64_t b = 0; b < own->out_blocks; b++) {
        int32_t *start = own->start + b * SIDE;
        bg_amx_sum_weights(own->weights + b * own->step_count * TILE, own->step_count, start);
        for (int64_t o = 0; o < SIDE; o++)
            start[o] = (int32_t)(0u - (uint32_t)zero_point * (uint32_t)start[o]);
    }
}

static void run(const struct call *call)
{
    const struct bg_amx_conv *own = call->own;

#pragma omp parallel num_threads(own->threads) if (own->threads > 1)
    {
        if (!own->wide && call->blank != 0)
            set_start(own, call->blank);
        run_thread(call, omp_get_thread_num(), omp_get_num_threads());
    }
}

void bg_amx_conv_forward(struct bg_amx_conv *own, const uint8_t *src, int32_t zero_point,
                         uint16_t *z)
{
    memset(own->blank, zero_point, sizeof own->blank);
    if (zero_point == 0)
        memset(own->start, 0, (size_t)(own->out_blocks * SIDE) * sizeof *own->start);
    run(&(struct call){own, src, zero_point, z, false, 1.0f});
}

void bg_amx_conv_data(struct bg_amx_conv *own, const uint16_t *dz, float factor, uint16_t *dx,
                      bool add)
{
    run(&(struct call){own, (const uint8_t *)dz, 0, dx, add, factor});
}
