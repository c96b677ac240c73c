/* Is a oneDNN integer convolution exact on this CPU? Each primitive is run once or a few times with
 * data that an inexact one cannot get right, and compared with the naive sums at corners, edges and
 * random places, all output channels.
 *
 * Two things go wrong in oneDNN 2.6. Below VNNI pairs of products are added in s16 and saturate:
 * codes 255 with weights 127 or -127 show it. Some implementations ("jit:avx512_core_amx_int8",
 * "x64:gemm_s8u8s32:jit") turn sums into f32, which rounds beyond 2^24: large odd sums show it.
 * Nothing else is proven. */
#include "core/int_private.h"

#include <string.h>

#include "core/mem.h"

#define PATTERNS   4
#define CODES_MAX  255
#define WEIGHT_MAX 127
#define PLACES     24
#define PLACES_MIN 3
#define BUDGET     1000000 /* multiplications of the naive side per run */
#define PERIOD     4099    /* of random codes: a prime, so that no channel or row repeats them */

struct probe {
    struct bg_conv_shape shape;
    int64_t terms; /* of a sum */
    uint64_t state;
    uint8_t *src;
    int8_t *weights;
    int32_t *got, *wanted;
    int64_t pixels, places;
    int64_t place[PLACES]; /* output pixels that are compared */
    int64_t best[2];       /* row and column of an output with most taps inside the image, */
    int64_t covered, tap;  /* codes it sees, the first tap inside */
};

static int64_t draw(struct probe *p, int64_t limit)
{
    p->state ^= p->state << 13;
    p->state ^= p->state >> 7;
    p->state ^= p->state << 17;
    return (int64_t)(p->state % (uint64_t)limit);
}

/* All 127, all -127, alternating, random; turned by one output channel from run to run. */
static void fill_weights(struct probe *p, int turn)
{
    const int64_t in = p->shape.in_channels / p->shape.groups;

    for (int64_t o = 0; o < p->shape.out_channels; o++) {
        int8_t *w = p->weights + o * p->terms;
        int pattern = (int)((o + turn) % PATTERNS);
        for (int64_t k = 0; k < p->terms; k++)
            if (pattern == 3)
                w[k] = (int8_t)(draw(p, 2 * WEIGHT_MAX + 1) - WEIGHT_MAX);
            else
                w[k] = pattern == 0 || (pattern == 2 && k % 2 == 0) ? WEIGHT_MAX : -WEIGHT_MAX;
        if (p->covered % 2 == 0) { /* the best output sees an odd sum when all codes are 255 */
            int64_t k = p->tap * in + o % in;
            w[k] = (int8_t)(w[k] > 0 ? WEIGHT_MAX - 1 : 1 - WEIGHT_MAX);
        }
    }
}

static void fill_codes(struct probe *p, bool mixed)
{
    int64_t count = p->shape.batch * p->shape.in_height * p->shape.in_width * p->shape.in_channels;

    if (!mixed) {
        memset(p->src, CODES_MAX, (size_t)count);
        return;
    }
    for (int64_t i = 0; i < count && i < PERIOD; i++)
        p->src[i] = draw(p, 2) == 0 ? 0 : CODES_MAX;
    for (int64_t i = PERIOD; i < count; i += PERIOD)
        memcpy(p->src + i, p->src, (size_t)(count - i < PERIOD ? count - i : PERIOD));
}

/* Taps inside the image for one output row (side 0) or column; *first is the first of them. */
static int64_t taps_inside(const struct bg_conv_shape *s, int side, int64_t out, int64_t *first)
{
    int64_t kernel = side == 0 ? s->kernel_height : s->kernel_width, count = 0;

    for (int64_t tap = kernel - 1; tap >= 0; tap--) {
        int64_t at = out * s->stride[side] - s->padding[side] + tap * s->dilation[side];
        if (at < 0 || at >= (side == 0 ? s->in_height : s->in_width))
            continue;
        count++;
        *first = tap;
    }
    return count;
}

static void find_best(struct probe *p)
{
    const struct bg_conv_shape *s = &p->shape;
    int64_t count[2] = {0, 0}, first[2] = {0, 0};

    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < (side == 0 ? s->out_height : s->out_width); i++) {
            int64_t tap = 0, taps = taps_inside(s, side, i, &tap);
            if (taps <= count[side])
                continue;
            count[side] = taps;
            first[side] = tap;
            p->best[side] = i;
        }
    p->covered = count[0] * count[1] * (s->in_channels / s->groups);
    p->tap = first[0] * s->kernel_width + first[1];
}

/* The best output of a random image, first and last output of all, corners, edges, anywhere. */
static void choose_places(struct probe *p)
{
    const struct bg_conv_shape *s = &p->shape;
    int64_t fit = BUDGET / (s->out_channels * p->terms);

    p->pixels = s->batch * s->out_height * s->out_width;
    p->places = fit < PLACES_MIN ? PLACES_MIN : fit > PLACES ? PLACES : fit;
    for (int i = 0; i < PLACES; i++) {
        int64_t y = draw(p, s->out_height), x = draw(p, s->out_width);
        if (i < 6 || i % 4 == 0)
            y = i % 2 == 0 ? 0 : s->out_height - 1;
        if (i < 6 || i % 4 == 1)
            x = i % 4 < 2 ? 0 : s->out_width - 1;
        p->place[i] = (draw(p, s->batch) * s->out_height + y) * s->out_width + x;
    }
    p->place[0] = (draw(p, s->batch) * s->out_height + p->best[0]) * s->out_width + p->best[1];
    p->place[1] = 0;
    p->place[2] = p->pixels - 1;
}

static enum bg_status compare(struct probe *p, struct bg_dnn_int *dnn, bool *exact)
{
    enum bg_status rc = BG_OK;
    const int64_t channels = p->shape.out_channels;

    for (int64_t i = 0; i < p->places; i++) /* no value is left over from the run before */
        memset(p->got + p->place[i] * channels, 0x55, (size_t)channels * sizeof *p->got);
    TRY(bg_dnn_int_pack(dnn, p->weights));
    TRY(bg_dnn_int_run(dnn, p->src, p->got));
    for (int64_t i = 0; i < p->places && *exact; i++) {
        bg_ref_int_conv_pixel(&p->shape, p->src, 0, p->weights, p->place[i], p->wanted);
        *exact = memcmp(p->wanted, p->got + p->place[i] * channels,
                        (size_t)channels * sizeof *p->got) == 0;
    }
out:
    return rc;
}

enum bg_status bg_int_probe(struct bg_dnn_int *dnn, const struct bg_conv_shape *shape, bool *exact)
{
    enum bg_status rc = BG_OK;
    struct probe p = {.shape = *shape, .state = 88172645463325252u};
    /* Where there are fewer channels than patterns, each takes its turn. */
    int turns = shape->out_channels < PATTERNS ? PATTERNS : 1;

    *exact = false;
    p.terms = shape->kernel_height * shape->kernel_width * (shape->in_channels / shape->groups);
    if (p.terms > INT32_MAX / (CODES_MAX * WEIGHT_MAX))
        return BG_OK; /* saturating data would leave s32 */
    find_best(&p);
    choose_places(&p);
    TRY(bg_alloc(&p.src, shape->batch * shape->in_height * shape->in_width * shape->in_channels,
                 sizeof *p.src));
    TRY(bg_alloc(&p.weights, shape->out_channels * p.terms, sizeof *p.weights));
    TRY(bg_alloc(&p.got, p.pixels * shape->out_channels, sizeof *p.got));
    TRY(bg_alloc(&p.wanted, shape->out_channels, sizeof *p.wanted));
    *exact = true;
    for (int run = 0; run < 2 * turns && *exact; run++) {
        fill_codes(&p, run % 2 != 0);
        fill_weights(&p, run / 2);
        TRY(compare(&p, dnn, exact));
    }
out:
    bg_free(p.wanted);
    bg_free(p.got);
    bg_free(p.weights);
    bg_free(p.src);
    return rc;
}
