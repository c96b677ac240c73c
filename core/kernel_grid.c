/* Projection onto an affine grid and its gradients, compiled once per instruction set.
 *
 * y = clamp(rne(x / s), low, high) * s with low = qmin - z and high = qmax - z is decode(encode(x))
 * (core/NUMERICS.md, "Codes and grids") with the zero point cancelled. The clamp comes first here:
 * its limits are integers, so clamping and rounding commute. Then |v| <= 2^17, where adding and
 * subtracting 1.5 * 2^23 rounds to nearest, ties to even, exactly as nearbyintf does: sums in
 * [2^23, 2^24) have spacing 1 and the constant is even. It also turns -0 into 0, as a code does.
 * NaN becomes 0 (core/grid.h). */
#include "core/kernel_table.h"

#define ROUNDER 12582912.0f

/* x / s between the limits; NaN gives 0, which the limits include. */
static inline float clamped(const struct bg_kernel_grid *grid, float x)
{
    float v = x / grid->scale;

    v = v == v ? v : 0.0f;
    v = v > grid->low ? v : grid->low;
    return v < grid->high ? v : grid->high;
}

static inline float rounded(float v)
{
    return (v + ROUNDER) - ROUNDER;
}

static void project(const struct bg_kernel_grid *in, const float *x, int64_t n, float *y)
{
    const struct bg_kernel_grid grid = *in;

    if (grid.binary) {
        BG_IVDEP
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] >= 0.0f ? grid.scale : -grid.scale;
        return;
    }
    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        y[i] = rounded(clamped(&grid, x[i])) * grid.scale;
}

static int64_t clipped(const struct bg_kernel_grid *in, const float *x, int64_t n)
{
    const float low = in->clip_low, high = in->clip_high;
    int32_t inside = 0; /* n is at most one block */

    for (int64_t i = 0; i < n; i++)
        inside += (x[i] >= low) & (x[i] <= high);
    return n - inside;
}

static void project_backward(const struct bg_kernel_grid *in, const float *x, const float *dy,
                             int64_t n, float *dx)
{
    const float low = in->clip_low, high = in->clip_high;

    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        dx[i] = ((x[i] >= low) & (x[i] <= high)) != 0 ? dy[i] : 0.0f;
}

/* d(project)/d(step) of one value: rne(v) - v strictly inside, else the limit reached. */
static inline float step_slope(const struct bg_kernel_grid *grid, float x)
{
    float v = clamped(grid, x);
    float slope = rounded(v) - v;

    slope = v <= grid->low ? grid->low : slope;
    slope = v >= grid->high ? grid->high : slope;
    return slope;
}

static double lane_sum(double lanes[BG_KERNEL_LANES])
{
    for (int half = BG_KERNEL_LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static double binary_step_gradient(const float *x, const float *dy, int64_t n)
{
    double lanes[BG_KERNEL_LANES] = {0};

    for (int64_t i = 0; i < n; i++)
        lanes[i % BG_KERNEL_LANES] += x[i] >= 0.0f ? (double)dy[i] : -(double)dy[i];
    return lane_sum(lanes);
}

static double step_gradient(const struct bg_kernel_grid *in, const float *x, const float *dy,
                            int64_t n)
{
    const struct bg_kernel_grid grid = *in;
    double lanes[BG_KERNEL_LANES] = {0};
    int64_t whole = n / BG_KERNEL_LANES * BG_KERNEL_LANES;

    if (grid.binary)
        return binary_step_gradient(x, dy, n);
    for (int64_t i = 0; i < whole; i += BG_KERNEL_LANES)
        for (int l = 0; l < BG_KERNEL_LANES; l++)
            lanes[l] += (double)dy[i + l] * (double)step_slope(&grid, x[i + l]);
    for (int64_t i = whole; i < n; i++)
        lanes[i - whole] += (double)dy[i] * (double)step_slope(&grid, x[i]);
    return lane_sum(lanes);
}

static void encode_exactly(const struct bg_kernel_grid *in, const float *x, int64_t n,
                           uint8_t *codes)
{
    const struct bg_kernel_grid grid = *in;

    BG_IVDEP
    for (int64_t i = 0; i < n; i++)
        codes[i] = (uint8_t)((int32_t)rounded(clamped(&grid, x[i])) + grid.zero_point);
}

#define CHUNK 64

/* x * (1 / s) differs from x / s by less than 3 units of 2^-24 of itself, so below 256 by less than
 * 2^-14: both round to the same integer unless the product lies that near the middle between two.
 * Then, for 1 of 2048 values, the quotient decides. (1 / s is normal for all scales that
 * core/grid.h allows.) Returns false where it has to. */
static inline bool encode_chunk(const struct bg_kernel_grid *grid, float inverse, const float *x,
                                uint8_t *codes)
{
    int32_t near = 0;

    BG_IVDEP
    for (int i = 0; i < CHUNK; i++) {
        float v = x[i] * inverse;
        v = v == v ? v : 0.0f;
        v = v > grid->low ? v : grid->low;
        v = v < grid->high ? v : grid->high;
        float code = rounded(v), rest = v - code;
        near |= (rest > 0.5f - 0x1p-12f) | (rest < 0x1p-12f - 0.5f);
        codes[i] = (uint8_t)((int32_t)code + grid->zero_point);
    }
    return near == 0;
}

static void encode(const struct bg_kernel_grid *in, const float *x, int64_t n, uint8_t *codes)
{
    const struct bg_kernel_grid grid = *in;
    const float inverse = 1.0f / grid.scale;
    const bool small = grid.low >= -256.0f && grid.high <= 256.0f;
    int64_t i = 0;

    if (grid.binary) {
        BG_IVDEP
        for (i = 0; i < n; i++)
            codes[i] = (uint8_t)(x[i] >= 0.0f ? 1 : -1);
        return;
    }
    for (; small && i + CHUNK <= n; i += CHUNK)
        if (!encode_chunk(&grid, inverse, x + i, codes + i))
            encode_exactly(&grid, x + i, CHUNK, codes + i);
    encode_exactly(&grid, x + i, n - i, codes + i);
}

const struct bg_kernel_grid_table BG_KERNEL_TABLE(grid) = {
    .project = project,
    .clipped = clipped,
    .project_backward = project_backward,
    .step_gradient = step_gradient,
    .encode = encode,
};
