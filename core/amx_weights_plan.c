/* Plans backward weights on AMX: pitch, planes, units, products and buffers. What the words mean:
 * core/amx_weights.h. */
#include "core/amx_weights.h"

#include "core/mem.h"

#define SIDE   BG_AMX_SIDE
#define PIXELS BG_AMX_PIXELS
/* Fewer input channels than this are joined with the taps. */
#define FEW_CHANNELS 9
/* Buffers of one unit, and of the units that one product runs over: they should stay in the second
 * level cache of a core. */
#define UNIT_BYTES  (256 << 10)
#define ROUND_BYTES (256 << 10)
/* More weights than this are shared, not summed apart by each thread. */
#define SHARED_WEIGHTS (1 << 18)
/* Sum tiles of one product: with one and with two output blocks. */
#define ITEMS_ONE BG_AMX_ITEMS
#define ITEMS_TWO 2

static int64_t up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t tap_count(const struct bg_conv_shape *s)
{
    return s->kernel_height * s->kernel_width;
}

/* Where a tap reads: which remainder, and how many steps further. */
static void split_tap(const struct bg_conv_shape *s, int64_t tap, int64_t remainder[2],
                      int64_t steps[2])
{
    const int64_t at[2] = {tap / s->kernel_width * s->dilation[0],
                           tap % s->kernel_width * s->dilation[1]};

    for (int i = 0; i < 2; i++) {
        remainder[i] = at[i] % s->stride[i];
        steps[i] = at[i] / s->stride[i];
    }
}

/* A tap that runs over the end of a row of `pitch` reads the start of the next one: right as long
 * as both places lie beside the image. */
static bool pitch_works(const struct bg_conv_shape *s, int64_t pitch)
{
    for (int64_t tap = 0; tap < s->kernel_width; tap++) {
        int64_t remainder[2], steps[2];
        split_tap(s, tap, remainder, steps);
        if (pitch >= s->out_width + steps[1])
            continue;
        int64_t first = pitch * s->stride[1] + remainder[1] - s->padding[1];
        int64_t last =
            (s->out_width - 1 + steps[1] - pitch) * s->stride[1] + remainder[1] - s->padding[1];
        if (first < s->in_width || last >= 0)
            return false;
    }
    return true;
}

static void choose_pitch(struct bg_amx_weights *own)
{
    const struct bg_conv_shape *s = &own->shape;

    own->pitch = s->out_width;
    while (!own->joined && !pitch_works(s, own->pitch))
        own->pitch++;
}

static struct bg_amx_split *find_plane(struct bg_amx_weights *own, const int64_t remainder[2])
{
    struct bg_amx_split *plane = own->planes;

    for (int64_t i = 0; i < own->plane_count; i++, plane++)
        if (plane->remainder[0] == remainder[0] && plane->remainder[1] == remainder[1])
            return plane;
    own->plane_count++;
    *plane =
        (struct bg_amx_split){.remainder = {remainder[0], remainder[1]}, .even = -1, .odd = -1};
    return plane;
}

/* Which copies the taps need; returns the largest shift. */
static int64_t find_planes(struct bg_amx_weights *own)
{
    int64_t furthest = 0;

    own->plane_count = 0;
    for (int64_t tap = 0; tap < tap_count(&own->shape); tap++) {
        int64_t remainder[2], steps[2];
        split_tap(&own->shape, tap, remainder, steps);
        struct bg_amx_split *plane = find_plane(own, remainder);
        int64_t shift = steps[0] * own->pitch + steps[1];
        *(shift % 2 == 0 ? &plane->even : &plane->odd) = 0;
        if (shift > furthest)
            furthest = shift;
    }
    return furthest;
}

static int64_t copy_count(const struct bg_amx_weights *own)
{
    int64_t copies = 0;

    for (int64_t i = 0; i < own->plane_count; i++)
        copies += (own->planes[i].even >= 0) + (own->planes[i].odd >= 0);
    return copies;
}

/* Output rows of a unit. */
static void choose_rows(struct bg_amx_weights *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t columns = own->joined ? own->item_count : copy_count(own) * own->in_blocks;
    int64_t row_bytes = own->pitch * (columns + own->out_blocks) * SIDE * 2;
    int64_t rows = smaller(UNIT_BYTES / row_bytes + 1, s->out_height);

    own->bands = up(s->out_height, rows);
    own->rows = up(s->out_height, own->bands);
    own->bands = up(s->out_height, own->rows);
    own->chunks = up((own->rows - 1) * own->pitch + s->out_width, PIXELS);
}

static void place_copies(struct bg_amx_weights *own, int64_t furthest)
{
    own->pairs = own->chunks * PIXELS / 2 + furthest / 2;
    own->positions = 2 * own->pairs + 1;
    own->b_unit = 0;
    for (int64_t i = 0; i < own->plane_count; i++) {
        int64_t *const copies[2] = {&own->planes[i].even, &own->planes[i].odd};
        for (int k = 0; k < 2; k++)
            if (*copies[k] >= 0) {
                *copies[k] = own->b_unit;
                own->b_unit += own->in_blocks * own->pairs * 2 * SIDE;
            }
    }
}

static void place_items(struct bg_amx_weights *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t columns = tap_count(s) * s->in_channels;

    for (int64_t i = 0; i < own->item_count; i++) {
        struct bg_amx_item *item = &own->items[i];
        int64_t tap = i / own->in_blocks, block = i % own->in_blocks, remainder[2], steps[2];
        if (own->joined) {
            *item = (struct bg_amx_item){i * SIDE, smaller(SIDE, columns - i * SIDE)};
            own->offset[i] = i * own->chunks * BG_AMX_TILE;
            continue;
        }
        split_tap(s, tap, remainder, steps);
        const struct bg_amx_split *plane = find_plane(own, remainder);
        int64_t shift = steps[0] * own->pitch + steps[1];
        *item = (struct bg_amx_item){tap * s->in_channels + block * SIDE,
                                     smaller(SIDE, s->in_channels - block * SIDE)};
        own->offset[i] = (shift % 2 == 0 ? plane->even : plane->odd) +
                         (block * own->pairs + shift / 2) * 2 * SIDE;
    }
}

static void fill_plane(const struct bg_amx_weights *own, struct bg_amx_split *plane)
{
    const struct bg_conv_shape *s = &own->shape;

    for (int64_t i = 0; i < own->bands * own->positions; i++) {
        int64_t q = i % own->positions, y = i / own->positions * own->rows + q / own->pitch;
        int64_t row = y * s->stride[0] + plane->remainder[0] - s->padding[0];
        int64_t column = q % own->pitch * s->stride[1] + plane->remainder[1] - s->padding[1];
        bool inside = row >= 0 && row < s->in_height && column >= 0 && column < s->in_width;
        plane->from[i] = inside ? (int32_t)(row * s->in_width + column) : -1;
    }
}

static void fill_turn(struct bg_amx_weights *own)
{
    const struct bg_conv_shape *s = &own->shape;
    int64_t positions = own->chunks * PIXELS;

    for (int64_t i = 0; i < own->bands * positions; i++) {
        int64_t q = i % positions, row = q / own->pitch, column = q % own->pitch;
        int64_t y = i / positions * own->rows + row;
        bool inside = row < own->rows && y < s->out_height && column < s->out_width;
        own->turn_from[i] = inside ? (int32_t)(y * s->out_width + column) : -1;
    }
}

/* With `jobs` NULL counts. */
static int64_t list_jobs(const struct bg_amx_weights *own, struct bg_amx_job *jobs)
{
    int64_t count = 0;

    for (int64_t block = 0; block < own->out_blocks; block += 2) {
        int outputs = own->out_blocks - block > 1 ? 2 : 1;
        int64_t most = outputs == 2 ? ITEMS_TWO : ITEMS_ONE;
        int64_t each = up(own->item_count, up(own->item_count, most)); /* 9 as 5 + 4 */
        for (int64_t item = 0; item < own->item_count; item += each, count++)
            if (jobs != NULL)
                jobs[count] = (struct bg_amx_job){block, item, outputs,
                                                  (int)smaller(each, own->item_count - item)};
    }
    return count;
}

static enum bg_status plan_joined(struct bg_amx_weights *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;
    int64_t pixels = own->rows * s->out_width;

    own->padded_rows = (own->rows - 1) * s->stride[0] + (s->kernel_height - 1) * s->dilation[0] + 1;
    own->padded_width = (s->out_width - 1) * s->stride[1] + s->kernel_width;
    own->padded_front = up(tap_count(s) * s->in_channels + SIDE, PIXELS) * PIXELS;
    own->padded_count =
        up(own->padded_front + own->padded_rows * own->padded_width * s->in_channels + PIXELS,
           PIXELS) *
        PIXELS;
    own->b_unit = own->item_count * own->chunks * BG_AMX_TILE;
    TRY(bg_alloc(&own->padded, own->threads * own->padded_count, sizeof *own->padded));
    TRY(bg_alloc(&own->joined_at, pixels, sizeof *own->joined_at));
    for (int64_t p = 0; p < pixels; p++)
        own->joined_at[p] = (int32_t)((p / s->out_width * s->stride[0] * own->padded_width +
                                       p % s->out_width * s->stride[1]) *
                                      s->in_channels);
out:
    return rc;
}

static enum bg_status plan_planes(struct bg_amx_weights *own, int64_t furthest)
{
    enum bg_status rc = BG_OK;

    place_copies(own, furthest);
    for (int64_t i = 0; i < own->plane_count; i++) {
        TRY(bg_alloc(&own->planes[i].from, own->bands * own->positions,
                     sizeof *own->planes[i].from));
        fill_plane(own, &own->planes[i]);
    }
out:
    return rc;
}

/* What is one round for one thread is filled by all of them in parts. */
static void choose_sharing(struct bg_amx_weights *own)
{
    const int64_t total = own->shape.batch * own->bands;
    const bool wide = tap_count(&own->shape) == 1 && own->in_blocks >= own->threads;

    own->units = ROUND_BYTES / ((own->a_unit + own->b_unit) * 2) + 1;
    own->shared = own->item_count * own->out_blocks * BG_AMX_SUMS > SHARED_WEIGHTS ||
                  total < own->threads || (wide && total <= own->units);
    own->units = smaller(own->units, up(total, own->shared ? 1 : own->threads));
    own->direct = own->shared && total <= own->units;
}

static enum bg_status make_buffers(struct bg_amx_weights *own)
{
    enum bg_status rc = BG_OK;
    int64_t copies;

    own->a_unit = own->out_blocks * own->chunks * BG_AMX_TILE;
    choose_sharing(own);
    copies = own->shared ? 1 : own->threads;
    own->sum_count = own->item_count * own->out_blocks * BG_AMX_SUMS;
    TRY(bg_alloc(&own->a, copies * own->units * own->a_unit, sizeof *own->a));
    TRY(bg_alloc(&own->b, copies * own->units * own->b_unit, sizeof *own->b));
    if (!own->direct)
        TRY(bg_alloc(&own->sums, copies * own->sum_count, sizeof *own->sums));
out:
    return rc;
}

enum bg_status bg_amx_weights_plan(struct bg_amx_weights *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;
    int64_t furthest = 0;

    own->joined = s->in_channels < FEW_CHANNELS && s->dilation[1] == 1;
    own->in_blocks = up(s->in_channels, SIDE);
    own->out_blocks = up(s->out_channels, SIDE);
    own->item_count =
        own->joined ? up(tap_count(s) * s->in_channels, SIDE) : tap_count(s) * own->in_blocks;
    choose_pitch(own);
    TRY(bg_alloc(&own->planes, tap_count(s) + 1, sizeof *own->planes));
    if (!own->joined)
        furthest = find_planes(own);
    choose_rows(own);
    if (own->joined)
        TRY(plan_joined(own));
    else
        TRY(plan_planes(own, furthest));
    TRY(bg_alloc(&own->turn_from, own->bands * own->chunks * PIXELS, sizeof *own->turn_from));
    fill_turn(own);
    TRY(bg_alloc(&own->items, own->item_count, sizeof *own->items));
    TRY(bg_alloc(&own->offset, own->item_count, sizeof *own->offset));
    place_items(own);
    own->job_count = list_jobs(own, NULL);
    TRY(bg_alloc(&own->jobs, own->job_count, sizeof *own->jobs));
    list_jobs(own, own->jobs);
    TRY(make_buffers(own));
out:
    return rc;
}
