/* core/gradient.h: steps from largest values, and ranges for the loops of core/kernel_gradient.c.
 *
 * The tensor's step is S = largest / qmax. A channel of its own has S * 2^-k with the largest whole
 * k for which its largest value still fits: codes times 2^-k are bf16 values, and S stays a factor
 * of the whole tensor. So gradients in bf16 and in f32 have the same grids. */
#include "core/gradient.h"

#include <math.h>
#include <string.h>

#include "core/kernel_table.h"

#define PARTS     16 /* ranges of rows whose largest values are found apart */
#define SHIFT_MAX 64
#define STEP_MIN  0x1p-100f /* below, everything is 0: 2^k / S stays finite */
#define NOT_REAL  0x7f800000u

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static float limit_of(const struct bg_gradient_grid *grid)
{
    return (float)((1 << (grid->bits - 1)) - 1);
}

enum bg_status bg_gradient_grid_of(const struct bg_spec *spec, enum bg_rounding rounding,
                                   const char *key, struct bg_gradient_grid *out)
{
    enum bg_status rc = BG_OK;

    *out = (struct bg_gradient_grid){.format = spec->format};
    if (spec->format != BG_FORMAT_INTEGER)
        goto out;
    *out = (struct bg_gradient_grid){
        .format = spec->format, .bits = spec->bits, .per_channel = spec->per_channel};
    out->rounding = rounding;
    if (spec->bits < BG_GRADIENT_BITS_MIN || spec->bits > BG_GRADIENT_BITS_MAX)
        FAIL(BG_E_UNSUPPORTED, "%s=s%d: integer gradients have %d to %d bits", key, spec->bits,
             BG_GRADIENT_BITS_MIN, BG_GRADIENT_BITS_MAX);
    if (rounding != BG_ROUND_NEAREST && rounding != BG_ROUND_STOCHASTIC)
        FAIL(BG_E_UNSUPPORTED, "%s=s%d: gradients are rounded to nearest or stochastically", key,
             spec->bits);
out:
    return rc;
}

/* What a pass keeps in its scratch. */
struct room {
    uint32_t *peaks;                   /* [PARTS][channels] */
    float *inverse, *step, *a, *b, *c; /* lane arrays */
};

static int64_t lanes(int64_t channels)
{
    return channels < BG_KERNEL_WIDTH ? BG_KERNEL_WIDTH : channels;
}

int64_t bg_gradient_scratch(int64_t channels)
{
    return (PARTS * channels + 5 * lanes(channels)) * (int64_t)sizeof(float);
}

static struct room room_of(const struct bg_gradient_pass *pass)
{
    const int64_t wide = lanes(pass->channels);
    uint32_t *peaks = pass->scratch;
    float *first = (float *)(void *)(peaks + PARTS * pass->channels);

    return (struct room){peaks,           first, first + wide, first + 2 * wide, first + 3 * wide,
                         first + 4 * wide};
}

/* values[c] over and over; large arrays as they are. */
static const float *spread(const float *values, int64_t channels, float *to)
{
    if (values == NULL || channels >= BG_KERNEL_WIDTH)
        return values;
    for (int64_t i = 0; i < BG_KERNEL_WIDTH; i++)
        to[i] = values[i % channels];
    return to;
}

/* Rows of part i: whole runs of lanes. */
static struct bg_kernel_gradient part_of(const struct bg_kernel_gradient *all, int64_t i)
{
    const int64_t run = bg_kernel_width(all->channels) / all->channels;
    const int64_t runs = (all->rows + run - 1) / run;
    struct bg_kernel_gradient part = *all;

    part.first = smaller(runs * i / PARTS * run, all->rows);
    part.rows = smaller(runs * (i + 1) / PARTS * run, all->rows) - part.first;
    return part;
}

static void find_peaks(const struct bg_kernel_gradient *all, uint32_t *peaks)
{
    const struct bg_kernel_gradient_table *table = bg_kernel_tables()->gradient;
    const int64_t channels = all->channels;

    memset(peaks, 0, (size_t)(PARTS * channels) * sizeof *peaks);
#pragma omp parallel for schedule(static) if (all->rows * channels >= BG_KERNEL_SMALL)
    for (int64_t i = 0; i < PARTS; i++) {
        const struct bg_kernel_gradient part = part_of(all, i);
        table->peaks(&part, peaks + i * channels);
    }
    for (int64_t i = 1; i < PARTS; i++)
        for (int64_t c = 0; c < channels; c++)
            if (peaks[i * channels + c] > peaks[c])
                peaks[c] = peaks[i * channels + c];
}

/* How often the channel's largest value can be doubled until it is the tensor's. */
static int shift_of(float peak, float channel, float unit)
{
    int shift = 0;

    if (channel == 0.0f)
        return 0;
    (void)frexp((double)peak / (double)channel, &shift);
    shift = shift - 1 < SHIFT_MAX ? shift - 1 : SHIFT_MAX;
    while (shift > 0 && ldexpf(unit, -shift) < STEP_MIN)
        shift--;
    return shift;
}

/* unit, and of each channel the inverse step and 2^-k; from peaks in channel order. */
static enum bg_status set_steps(struct bg_gradient_pass *pass, const struct room *room)
{
    const int64_t channels = pass->channels;
    float peak = 0.0f, unit = 0.0f;
    uint32_t most = 0;

    for (int64_t c = 0; c < channels; c++)
        most = room->peaks[c] > most ? room->peaks[c] : most;
    if (most >= NOT_REAL)
        return bg_fail(BG_E_NUMERIC, "its output gradient has a NaN or infinity");
    peak = float_of(most);
    unit = peak / limit_of(&pass->grid);
    pass->unit = unit < STEP_MIN ? 1.0f : unit;
    for (int64_t c = 0; c < lanes(channels); c++) {
        const float own = float_of(room->peaks[c % channels]);
        const int k = pass->grid.per_channel && unit >= STEP_MIN ? shift_of(peak, own, unit) : 0;
        room->inverse[c] = unit < STEP_MIN ? 0.0f : ldexpf(1.0f / unit, k);
        room->step[c] = ldexpf(1.0f, -k);
    }
    return BG_OK;
}

/* What codes are multiplied with: 2^-k, or the whole step without what t was multiplied with. */
static void finish_steps(const struct bg_gradient_pass *pass, const struct room *room)
{
    for (int64_t c = 0; pass->values != NULL && c < lanes(pass->channels); c++) {
        const float a = pass->a == NULL ? 1.0f : pass->a[c % pass->channels];
        room->step[c] = pass->unit * room->step[c] / a;
    }
}

enum bg_status bg_gradient_round(struct bg_gradient_pass *pass)
{
    enum bg_status rc = BG_OK;
    const struct room room = room_of(pass);
    const struct bg_kernel_gradient_table *table = bg_kernel_tables()->gradient;
    const bool integer = pass->grid.format == BG_FORMAT_INTEGER;
    struct bg_kernel_gradient all = {.rows = pass->rows,
                                     .channels = pass->channels,
                                     .x = pass->x,
                                     .g = pass->g,
                                     .z = pass->z,
                                     .a = spread(pass->a, pass->channels, room.a),
                                     .b = spread(pass->b, pass->channels, room.b),
                                     .c = spread(pass->c, pass->channels, room.c),
                                     .stochastic = pass->grid.rounding == BG_ROUND_STOCHASTIC,
                                     .rng = pass->rng,
                                     .codes = pass->codes,
                                     .values = pass->values,
                                     .step = room.step};

    pass->unit = 1.0f;
    for (int64_t c = 0; !integer && c < lanes(pass->channels); c++)
        room.step[c] = 1.0f;
    if (integer) {
        find_peaks(&all, room.peaks);
        TRY(set_steps(pass, &room));
        all.inverse = room.inverse;
        all.limit = limit_of(&pass->grid);
        all.rng.stream = BG_STREAM_GRADIENT;
    }
    finish_steps(pass, &room);
#pragma omp parallel for schedule(static) if (all.rows * all.channels >= BG_KERNEL_SMALL)
    for (int64_t i = 0; i < PARTS; i++) {
        const struct bg_kernel_gradient part = part_of(&all, i);
        table->round(&part);
    }
out:
    return rc;
}

/* n values of one step, from value `index` on. */
static void round_range(const struct bg_gradient_weights *in, int64_t index, int64_t n,
                        uint32_t peak)
{
    const struct bg_kernel_gradient_table *table = bg_kernel_tables()->gradient;
    struct bg_kernel_gradient_range range = {.x = in->dw + index,
                                             .n = n,
                                             .index = index,
                                             .stochastic = in->grid.rounding == BG_ROUND_STOCHASTIC,
                                             .rng = in->rng};

    range.rng.stream = BG_STREAM_GRADIENT;
    if (in->grid.format == BG_FORMAT_INTEGER) {
        range.limit = limit_of(&in->grid);
        range.step = float_of(peak) / range.limit;
        if (peak >= NOT_REAL)
            return;
        if (range.step < STEP_MIN) {
            memset(range.x, 0, (size_t)n * sizeof *range.x);
            return;
        }
        range.inverse = 1.0f / range.step;
    }
    table->round_range(&range);
}

static uint32_t peak_of(const float *x, int64_t n)
{
    const struct bg_kernel_gradient_table *table = bg_kernel_tables()->gradient;
    uint32_t most = 0;

#pragma omp parallel for schedule(static) reduction(max : most) if (n >= BG_KERNEL_SMALL)
    for (int64_t i = 0; i < n; i += BG_KERNEL_BLOCK) {
        const uint32_t one = table->peak(x + i, smaller(BG_KERNEL_BLOCK, n - i));
        most = one > most ? one : most;
    }
    return most;
}

void bg_gradient_round_weights(const struct bg_gradient_weights *in)
{
    const int64_t n = in->outputs * in->each;
    const bool integer = in->grid.format == BG_FORMAT_INTEGER;

    if (integer && in->grid.per_channel) {
#pragma omp parallel for schedule(static) if (n >= BG_KERNEL_SMALL)
        for (int64_t o = 0; o < in->outputs; o++)
            round_range(in, o * in->each, in->each,
                        bg_kernel_tables()->gradient->peak(in->dw + o * in->each, in->each));
        return;
    }
    const uint32_t peak = integer ? peak_of(in->dw, n) : 0;
#pragma omp parallel for schedule(static) if (n >= BG_KERNEL_SMALL)
    for (int64_t i = 0; i < n; i += BG_KERNEL_BLOCK)
        round_range(in, i, smaller(BG_KERNEL_BLOCK, n - i), peak);
}
