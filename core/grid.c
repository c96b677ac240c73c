/* Affine grids: code limits, scale from a range, and the plain encode and decode that every faster
 * path must equal (core/NUMERICS.md, "Codes and grids").
 *
 * Domain: any f32. A NaN gets the code of real zero (the zero point; -1 on a binary grid); infinity
 * is clipped. A fitted scale lies in [2^-126, 2^111], so that every code times scale is finite. */
#include "core/grid.h"

#include <math.h>
#include <string.h>

#include "core/kernel.h"
#include "core/kernel_table.h"
#include "core/stats.h"

#define SCALE_MIN 0x1p-126
#define SCALE_MAX 0x1p111

enum bg_status bg_grid_limits(struct bg_grid *grid, int bits, bool is_signed, bool narrow)
{
    if (bits < 1 || bits > BG_BITS_MAX)
        return bg_fail(BG_E_RANGE, "%d bits: limit is %d", bits, bits < 1 ? 1 : BG_BITS_MAX);
    if (grid->kind == NULL)
        grid->kind = &bg_grid_affine;
    grid->bits = bits;
    grid->is_signed = is_signed;
    grid->binary = is_signed && bits == 1;
    if (grid->binary) {
        grid->qmin = -1;
        grid->qmax = 1;
    } else if (is_signed) {
        grid->qmax = (1 << (bits - 1)) - 1;
        grid->qmin = narrow ? -grid->qmax : -grid->qmax - 1;
    } else {
        grid->qmin = 0;
        grid->qmax = (1 << bits) - 1;
    }
    return BG_OK;
}

static float bounded_scale(double scale)
{
    return (float)fmin(fmax(scale, SCALE_MIN), SCALE_MAX);
}

enum bg_status bg_grid_fit(struct bg_grid *grid, int64_t channel, float lo, float hi,
                           bool symmetric)
{
    double low = fmin((double)lo, 0.0), high = fmax((double)hi, 0.0);

    if (!isfinite(lo) || !isfinite(hi))
        return bg_fail(BG_E_NUMERIC, "range [%g, %g] is not finite", (double)lo, (double)hi);
    if (symmetric || grid->binary) {
        double largest = fmax(-low, high);
        grid->scale[channel] = largest == 0.0 ? 1.0f : bounded_scale(largest / grid->qmax);
        if (grid->zero_point != 0) /* channels may be fitted by several threads */
            grid->zero_point = 0;
        return BG_OK;
    }
    if (grid->channels != 1)
        return bg_fail(BG_E_UNSUPPORTED,
                       "a grid with %lld channels must be symmetric: the zero point is shared",
                       (long long)grid->channels);
    grid->scale[channel] =
        low == high ? 1.0f : bounded_scale((high - low) / (grid->qmax - grid->qmin));
    grid->zero_point = (int32_t)fmin(
        fmax(nearbyint(grid->qmin - low / (double)grid->scale[channel]), grid->qmin), grid->qmax);
    return BG_OK;
}

/* The code of one value, already divided by the scale. */
static int32_t affine_code(const struct bg_grid *grid, float ratio, enum bg_rounding rounding,
                           uint32_t random)
{
    float code;

    if (isnan(ratio))
        return grid->zero_point;
    code = bg_round(ratio, rounding, random) + (float)grid->zero_point;
    return (int32_t)fminf(fmaxf(code, (float)grid->qmin), (float)grid->qmax);
}

static void affine_encode(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                          const uint32_t *random, int32_t *codes)
{
    enum bg_rounding rounding = grid->rounding;

    if (grid->binary) {
        for (int64_t i = 0; i < n; i++)
            codes[i] = x[i] >= 0.0f ? 1 : -1;
        return;
    }
    if (rounding == BG_ROUND_STOCHASTIC && random == NULL)
        rounding = BG_ROUND_NEAREST;
    for (int64_t i = 0; i < n; i++)
        codes[i] = affine_code(grid, x[i] / grid->scale[channel], rounding,
                               random == NULL ? 0 : random[i]);
}

static void affine_decode(const struct bg_grid *grid, int64_t channel, const int32_t *codes,
                          int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(codes[i] - grid->zero_point) * grid->scale[channel];
}

const struct bg_grid_kind bg_grid_affine = {
    .name = "affine",
    .encode = affine_encode,
    .decode = affine_decode,
};

void bg_grid_encode(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                    const uint32_t *random, int32_t *codes)
{
    grid->kind->encode(grid, channel, x, n, random, codes);
}

void bg_grid_decode(const struct bg_grid *grid, int64_t channel, const int32_t *codes, int64_t n,
                    float *x)
{
    grid->kind->decode(grid, channel, codes, n, x);
}

#define CHUNK 1024
#define GROUP 64 /* blocks whose errors wait on the stack */

/* Any kind: through the codes, with nearest rounding. */
static void project_by_codes(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                             float *y)
{
    struct bg_grid nearest = *grid;
    int32_t codes[CHUNK];

    nearest.rounding = BG_ROUND_NEAREST;
    for (int64_t i = 0; i < n; i += CHUNK) {
        int64_t count = n - i < CHUNK ? n - i : CHUNK;
        bg_grid_encode(&nearest, channel, x + i, count, NULL, codes);
        bg_grid_decode(&nearest, channel, codes, count, y + i);
    }
}

void bg_grid_project(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n,
                     float *y)
{
    if (grid->kind == &bg_grid_affine)
        bg_kernel_project(grid, channel, x, n, y, NULL);
    else
        project_by_codes(grid, channel, x, n, y);
}

static double block_error(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n)
{
    float y[BG_STATS_BLOCK];

    bg_grid_project(grid, channel, x, n, y);
    return bg_sum_square_difference(x, y, n);
}

double bg_grid_error(const struct bg_grid *grid, int64_t channel, const float *x, int64_t n)
{
    double partial[GROUP], total = 0.0;

    for (int64_t start = 0; start < n; start += GROUP * BG_STATS_BLOCK) {
        int64_t left = n - start;
        int64_t blocks =
            left > GROUP * BG_STATS_BLOCK ? GROUP : (left + BG_STATS_BLOCK - 1) / BG_STATS_BLOCK;
#pragma omp parallel for schedule(static) if (left >= BG_KERNEL_SMALL)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = start + b * BG_STATS_BLOCK;
            partial[b] = block_error(grid, channel, x + at,
                                     n - at < BG_STATS_BLOCK ? n - at : BG_STATS_BLOCK);
        }
        for (int64_t b = 0; b < blocks; b++)
            total += partial[b];
    }
    return total;
}

void bg_grid_clip_limits(const struct bg_grid *grid, int64_t channel, float *lo, float *hi)
{
    *lo = ((float)(grid->qmin - grid->zero_point) - 0.5f) * grid->scale[channel];
    *hi = ((float)(grid->qmax - grid->zero_point) + 0.5f) * grid->scale[channel];
}
