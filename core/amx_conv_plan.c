/* Plans a convolution on AMX: positions, planes, classes, steps, the place of each weight. What the
 * words mean: core/amx_conv.h. */
#include "core/amx_conv.h"

#include "core/mem.h"

#define SIDE BG_AMX_SIDE
#define ROW  64   /* bytes of a position in one chunk */
#define TILE 1024 /* bytes */
/* What one unit lays out: little, so that it stays in the first level cache, but the more weights
 * pass by, the more should use them. (Measured: 6 KB for 16 and 32 channels, 48 to 96 KB from 128
 * channels on.) */
#define UNIT_BYTES_MIN (6 << 10)
#define UNIT_BYTES_MAX (96 << 10)
/* What one run over the weights lays out should stay in the second level cache. */
#define ROUND_BYTES (256 << 10)
/* Up to so many bytes of weights stay in the second level cache: one unit at a time will do. */
#define WEIGHT_BYTES (1 << 20)

static int64_t up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void plan_forward(struct bg_amx_side *side, int64_t stride, int64_t padding,
                         int64_t dilation)
{
    side->step = stride;
    side->origin = -padding;
    side->grid = side->dest;
    side->classes = side->stride = 1;
    side->first = 0;
    for (int64_t k = 0; k < side->taps; k++)
        side->offset[k] = k * dilation;
    side->furthest = (side->taps - 1) * dilation;
}

/* Input i gets what output y sent through tap k where i + padding = stride * y + k * dilation. With
 * i + padding = stride * t + r, r the class: taps of remainder r, and y = t - k * dilation /
 * stride. t begins with the first that any class needs. */
static void plan_data(struct bg_amx_side *side, int64_t stride, int64_t padding, int64_t dilation)
{
    const int64_t begin = padding / stride;

    side->step = 1;
    side->furthest = (side->taps - 1) * dilation / stride;
    side->origin = begin - side->furthest;
    side->grid = (side->dest - 1 + padding) / stride - begin + 1;
    side->classes = side->stride = stride;
    side->first = begin * stride - padding;
    for (int64_t k = 0; k < side->taps; k++) {
        side->offset[k] = side->furthest - k * dilation / stride;
        side->class_of[k] = k * dilation % stride;
    }
}

static enum bg_status plan_side(struct bg_amx_conv *own, int i)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;
    struct bg_amx_side *side = &own->side[i];
    const int64_t in = i == 0 ? s->in_height : s->in_width;
    const int64_t out = i == 0 ? s->out_height : s->out_width;

    side->taps = i == 0 ? s->kernel_height : s->kernel_width;
    TRY(bg_alloc(&side->offset, side->taps, sizeof *side->offset));
    TRY(bg_alloc(&side->class_of, side->taps, sizeof *side->class_of));
    side->source = own->wide ? out : in;
    side->dest = own->wide ? in : out;
    if (own->wide)
        plan_data(side, s->stride[i], s->padding[i], s->dilation[i]);
    else
        plan_forward(side, s->stride[i], s->padding[i], s->dilation[i]);
out:
    return rc;
}

/* Taps of a class, and how many of the tap's class read in front of it. */
static int64_t member_count(const struct bg_amx_side *side, int64_t class)
{
    int64_t count = 0;

    for (int64_t k = 0; k < side->taps; k++)
        count += side->class_of[k] == class;
    return count;
}

static int64_t rank_of(const struct bg_amx_side *side, int64_t tap)
{
    int64_t rank = 0;

    for (int64_t k = 0; k < side->taps; k++)
        rank += side->class_of[k] == side->class_of[tap] && side->offset[k] < side->offset[tap];
    return rank;
}

/* How many taps share a position. */
static void choose_joined(struct bg_amx_conv *own)
{
    const struct bg_amx_side *x = &own->side[1];
    const int64_t bytes = own->channels * own->code_bytes;

    own->joined = 1;
    if (own->shape.dilation[1] == 1 && 2 * bytes <= ROW)
        own->joined = smaller(up(x->taps, x->classes), ROW / bytes);
    own->chunks = up(bytes, ROW);
}

/* Does a position begin with a tap of this kernel column? */
static bool is_first(const struct bg_amx_conv *own, int64_t kx)
{
    return rank_of(&own->side[1], kx) % own->joined == 0;
}

/* A tap that runs over the end of a row reads the start of the next one: right as long as both
 * places lie beside the image. With joined taps it must not happen. */
static bool pitch_works(const struct bg_amx_conv *own, int64_t pitch)
{
    const struct bg_amx_side *side = &own->side[1];

    for (int64_t k = 0; k < side->taps; k++) {
        int64_t over = side->grid + side->offset[k] / side->step - pitch;
        int64_t inside = side->offset[k] % side->step + side->origin;
        if (over <= 0 || !is_first(own, k))
            continue;
        if (own->joined > 1 || pitch * side->step + inside < side->source ||
            (over - 1) * side->step + inside >= 0)
            return false;
    }
    return true;
}

static struct bg_amx_plane *find_plane(struct bg_amx_conv *own, int64_t ky, int64_t kx)
{
    const int64_t remainder[2] = {own->side[0].offset[ky] % own->side[0].step,
                                  own->side[1].offset[kx] % own->side[1].step};
    struct bg_amx_plane *plane = own->planes;

    for (int64_t i = 0; i < own->plane_count; i++, plane++)
        if (plane->remainder[0] == remainder[0] && plane->remainder[1] == remainder[1])
            return plane;
    own->plane_count++;
    *plane = (struct bg_amx_plane){.remainder = {remainder[0], remainder[1]}};
    return plane;
}

static int64_t shift_of(const struct bg_amx_conv *own, int64_t ky, int64_t kx)
{
    return own->side[0].offset[ky] / own->side[0].step * own->pitch +
           own->side[1].offset[kx] / own->side[1].step;
}

/* Finds the planes and cuts the grid into units. */
static enum bg_status plan_units(struct bg_amx_conv *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];
    int64_t furthest = 0;

    own->pitch = x->grid;
    while (!pitch_works(own, own->pitch))
        own->pitch++;
    TRY(bg_alloc(&own->planes, y->taps * x->taps, sizeof *own->planes));
    for (int64_t ky = 0; ky < y->taps; ky++)
        for (int64_t kx = 0; kx < x->taps; kx++)
            if (is_first(own, kx)) {
                find_plane(own, ky, kx);
                furthest = larger(furthest, shift_of(own, ky, kx));
            }
    int64_t row_bytes = own->pitch * own->plane_count * own->chunks * ROW;
    int64_t bytes = y->taps * x->taps * own->channels * own->code_bytes * own->outputs / 4;
    bytes = larger(UNIT_BYTES_MIN, smaller(bytes, UNIT_BYTES_MAX));
    own->bands = up(y->grid, smaller(bytes / row_bytes + 1, y->grid));
    own->rows = up(y->grid, own->bands);
    own->bands = up(y->grid, own->rows);
    own->tiles = up((own->rows - 1) * own->pitch + x->grid, SIDE);
    own->positions = own->tiles * SIDE + furthest;
    own->position_rows = up(own->positions, own->pitch);
    own->unit_bytes = own->plane_count * own->chunks * own->positions * ROW;
    for (int64_t i = 0; i < own->plane_count; i++)
        own->planes[i].at = i * own->chunks * own->positions * ROW;
out:
    return rc;
}

static int64_t class_of_tap(const struct bg_amx_conv *own, int64_t ky, int64_t kx)
{
    return own->side[0].class_of[ky] * own->side[1].classes + own->side[1].class_of[kx];
}

static void place_tap(struct bg_amx_conv *own, int64_t ky, int64_t kx)
{
    const int64_t tap = ky * own->side[1].taps + kx, class = class_of_tap(own, ky, kx);
    const int64_t row = rank_of(&own->side[0], ky), column = rank_of(&own->side[1], kx);
    const int64_t groups = up(member_count(&own->side[1], own->side[1].class_of[kx]), own->joined);

    own->tap_step[tap] =
        own->classes[class].first + (row * groups + column / own->joined) * own->chunks;
    own->tap_element[tap] = column % own->joined * own->channels;
    if (!is_first(own, kx))
        return;
    for (int64_t i = 0; i < own->chunks; i++)
        own->a_offset[own->tap_step[tap] + i] =
            find_plane(own, ky, kx)->at + (i * own->positions + shift_of(own, ky, kx)) * ROW;
}

static enum bg_status plan_steps(struct bg_amx_conv *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];

    own->class_count = y->classes * x->classes;
    TRY(bg_alloc(&own->classes, own->class_count, sizeof *own->classes));
    for (int64_t c = 0; c < own->class_count; c++) {
        struct bg_amx_class *class = &own->classes[c];
        int64_t rows = member_count(y, c / x->classes), columns = member_count(x, c % x->classes);
        class->first = own->step_count;
        class->weights = own->weight_bytes;
        class->steps = rows * up(columns, own->joined) * own->chunks;
        own->step_count += class->steps;
        own->weight_bytes += own->out_blocks * class->steps * TILE;
    }
    TRY(bg_alloc(&own->a_offset, own->step_count, sizeof *own->a_offset));
    TRY(bg_alloc(&own->tap_step, y->taps * x->taps, sizeof *own->tap_step));
    TRY(bg_alloc(&own->tap_element, y->taps * x->taps, sizeof *own->tap_element));
    for (int64_t ky = 0; ky < y->taps; ky++)
        for (int64_t kx = 0; kx < x->taps; kx++)
            place_tap(own, ky, kx);
out:
    return rc;
}

/* Bytes of a run of pixels from `column` on that lie inside the image. */
static uint64_t inside_mask(const struct bg_amx_conv *own, int64_t column)
{
    const struct bg_amx_side *x = &own->side[1];
    const int64_t bytes = own->channels * own->code_bytes;
    int64_t first = column < 0 ? -column : 0, last = smaller(own->joined, x->source - column);

    if (first >= last)
        return 0;
    /* At most 64 bytes: shifts by 64 must not happen. */
    uint64_t below = last * bytes == ROW ? ~(uint64_t)0 : ((uint64_t)1 << last * bytes) - 1;
    return below & ~(((uint64_t)1 << first * bytes) - 1);
}

static enum bg_status fill_runs(const struct bg_amx_conv *own, struct bg_amx_plane *plane)
{
    enum bg_status rc = BG_OK;
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];
    const int64_t row_bytes = x->source * own->channels * own->code_bytes;
    const int64_t count = own->bands * own->position_rows;

    TRY(bg_alloc(&plane->row_at, count, sizeof *plane->row_at));
    for (int64_t i = 0; i < count; i++) {
        int64_t line = i / own->position_rows * own->rows + i % own->position_rows;
        int64_t row = line * y->step + plane->remainder[0] + y->origin;
        plane->row_at[i] = row >= 0 && row < y->source ? row * row_bytes : -1;
    }
    TRY(bg_alloc(&plane->mask, own->pitch, sizeof *plane->mask));
    plane->first_column = x->origin + plane->remainder[1];
    plane->inner[1] = 0;
    for (int64_t c = own->pitch - 1; c >= 0; c--) {
        int64_t column = c * x->step + plane->first_column;
        plane->mask[c] = inside_mask(own, column);
        if (column < 0 || column + own->joined > x->source)
            continue;
        plane->inner[0] = c;
        if (plane->inner[1] == 0)
            plane->inner[1] = c + 1;
    }
out:
    return rc;
}

static void fill_pixels(const struct bg_amx_conv *own, struct bg_amx_plane *plane)
{
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];

    for (int64_t i = 0; i < own->bands * own->positions; i++) {
        int64_t q = i % own->positions, band = i / own->positions;
        int64_t row =
            (band * own->rows + q / own->pitch) * y->step + plane->remainder[0] + y->origin;
        int64_t column = q % own->pitch * x->step + plane->remainder[1] + x->origin;
        bool inside = row >= 0 && row < y->source && column >= 0 && column < x->source;
        plane->from[i] = inside ? (int32_t)(row * x->source + column) : -1;
    }
}

static void fill_class(const struct bg_amx_conv *own, int64_t c)
{
    const struct bg_amx_side *y = &own->side[0], *x = &own->side[1];
    const int64_t positions = own->tiles * SIDE;

    for (int64_t i = 0; i < own->bands * positions; i++) {
        int64_t q = i % positions, row = q / own->pitch, column = q % own->pitch;
        int64_t to_y = (i / positions * own->rows + row) * y->stride + y->first + c / x->classes;
        int64_t to_x = column * x->stride + x->first + c % x->classes;
        bool inside = row < own->rows && column < x->grid && to_y >= 0 && to_y < y->dest &&
                      to_x >= 0 && to_x < x->dest;
        own->classes[c].to[i] = inside ? (int32_t)(to_y * x->dest + to_x) : -1;
    }
}

static enum bg_status fill_tables(struct bg_amx_conv *own)
{
    enum bg_status rc = BG_OK;

    for (int64_t i = 0; i < own->plane_count; i++) {
        struct bg_amx_plane *plane = &own->planes[i];
        if (own->joined > 1) {
            TRY(fill_runs(own, plane));
            continue;
        }
        TRY(bg_alloc(&plane->from, own->bands * own->positions, sizeof *plane->from));
        fill_pixels(own, plane);
    }
    for (int64_t c = 0; c < own->class_count; c++) {
        TRY(bg_alloc(&own->classes[c].to, own->bands * own->tiles * SIDE,
                     sizeof *own->classes[c].to));
        fill_class(own, c);
    }
out:
    return rc;
}

/* The place of weight (tap, channel of the source, output of the dest) in the packed weights. */
static int64_t place_weight(const struct bg_amx_conv *own, int64_t tap, int64_t channel,
                            int64_t output)
{
    const int64_t taps = own->side[1].taps;
    const struct bg_amx_class *class = &own->classes[class_of_tap(own, tap / taps, tap % taps)];
    const int64_t byte = (own->tap_element[tap] + channel) * own->code_bytes;
    const int64_t step = own->tap_step[tap] - class->first + byte / ROW, at = byte % ROW;

    return (class->weights + (output / SIDE * class->steps + step) * TILE + at / 4 * ROW +
            output % SIDE * 4 + at % 4) /
           own->code_bytes;
}

static enum bg_status fill_places(struct bg_amx_conv *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;
    const int64_t taps = s->kernel_height * s->kernel_width;

    if (own->weight_bytes > INT32_MAX)
        FAIL(BG_E_UNSUPPORTED, "%lld bytes of weights are too many for fast training",
             (long long)own->weight_bytes);
    TRY(bg_alloc(&own->at, s->out_channels * taps * s->in_channels, sizeof *own->at));
    for (int64_t o = 0; o < s->out_channels; o++)
        for (int64_t t = 0; t < taps; t++)
            for (int64_t i = 0; i < s->in_channels; i++)
                own->at[(o * taps + t) * s->in_channels + i] =
                    (int32_t)place_weight(own, t, own->wide ? o : i, own->wide ? i : o);
out:
    return rc;
}

enum bg_status bg_amx_conv_plan(struct bg_amx_conv *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &own->shape;

    own->code_bytes = own->wide ? 2 : 1;
    own->channels = own->wide ? s->out_channels : s->in_channels;
    own->outputs = own->wide ? s->in_channels : s->out_channels;
    own->out_blocks = up(own->outputs, SIDE);
    for (int i = 0; i < 2; i++)
        TRY(plan_side(own, i));
    choose_joined(own);
    TRY(plan_units(own));
    TRY(plan_steps(own));
    TRY(fill_tables(own));
    TRY(fill_places(own));
    int64_t total = s->batch * own->bands;
    own->units = own->weight_bytes > WEIGHT_BYTES ? ROUND_BYTES / own->unit_bytes : 1;
    own->units = larger(1, smaller(own->units, up(total, own->threads)));
out:
    return rc;
}
