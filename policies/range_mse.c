/* The clip with the least squared error: among `candidates` shrunk copies of the batch's extremes
 * ((c / candidates) * [min, max], c = 1..candidates) the one whose grid reproduces the values best;
 * ties go to the wider. Up to DIRECT values the error is that of the values themselves; above, that
 * of a histogram of BINS equal bins over [min, max], each value standing at its bin's middle (off
 * by at most half a bin). Batches are averaged. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/method.h"
#include "policies/observe.h"

#define BINS     2048
#define DIRECT   16384
#define PARALLEL 65536 /* below this many values one thread is faster */

struct mse_options {
    int64_t candidates;
    double momentum;
};

static const struct bg_option table[] = {
    {.key = "candidates",
     .type = BG_OPT_INT,
     .offset = offsetof(struct mse_options, candidates),
     .fallback = "80",
     .min = 1,
     .max = 1000,
     .help = "how many shrunk ranges are tried"},
    {.key = "momentum",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct mse_options, momentum),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .help = "share of the old range that stays: new = m * old + (1 - m) * batch"},
    {.key = NULL}};

/* What the error is measured on: the values, or bin middles with counts. */
struct sample {
    const float *x;
    int64_t n;
    const int64_t *count; /* NULL: every value counts once */
};

static void fill_histogram(const float *x, int64_t n, float lo, float hi, float *middle,
                           int64_t *count)
{
    double width = ((double)hi - (double)lo) / BINS;
    double inverse = 1 / width;
    for (int i = 0; i < BINS; i++)
        middle[i] = (float)((double)lo + (i + 0.5) * width);
    memset(count, 0, BINS * sizeof *count);
#pragma omp parallel if (n >= PARALLEL)
    {
        int64_t mine[BINS] = {0};
#pragma omp for schedule(static) nowait
        for (int64_t i = 0; i < n; i++) {
            int bin = (int)(((double)x[i] - (double)lo) * inverse);
            mine[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
        }
#pragma omp critical(bg_range_mse_count)
        for (int i = 0; i < BINS; i++)
            count[i] += mine[i];
    }
}

static double error_on(const struct bg_grid *grid, const struct sample *sample)
{
    if (!sample->count)
        return bg_grid_error(grid, 0, sample->x, sample->n);
    float on_grid[BINS];
    double sum = 0;
    bg_grid_project(grid, 0, sample->x, sample->n, on_grid);
    for (int64_t i = 0; i < sample->n; i++) {
        double difference = (double)sample->x[i] - (double)on_grid[i];
        sum += (double)sample->count[i] * difference * difference;
    }
    return sum;
}

/* Shrinks lo and hi to the best candidate. Works on a copy of the grid with a scale of its own. */
static enum bg_status shrink(const struct bg_quantizer *quantizer, int64_t candidates,
                             const struct sample *sample, float *lo, float *hi)
{
    enum bg_status rc = BG_OK;
    float scale = 1, best_lo = *lo, best_hi = *hi;
    double best = (double)INFINITY;
    struct bg_grid grid = quantizer->grid;
    grid.scale = &scale;
    grid.channels = 1;
    for (int64_t c = candidates; c >= 1; c--) {
        double part = (double)c / (double)candidates;
        float clip_lo = (float)(part * (double)*lo), clip_hi = (float)(part * (double)*hi);
        TRY(bg_grid_fit(&grid, 0, clip_lo, clip_hi, quantizer->symmetric));
        double error = error_on(&grid, sample);
        if (error < best) {
            best = error;
            best_lo = clip_lo;
            best_hi = clip_hi;
        }
    }
    *lo = best_lo;
    *hi = best_hi;
out:
    return rc;
}

static enum bg_status observe(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n)
{
    const struct mse_options *o = options;
    enum bg_status rc = BG_OK;
    float lo = 0, hi = 0, middle[BINS];
    int64_t count[BINS];
    TRY(bg_observe_extremes(quantizer, channel, x, n, &lo, &hi));
    struct sample sample = {.x = x, .n = n};
    bool zero = lo == hi; /* no width: no bins, nothing to shrink */
    if (!zero && n > DIRECT) {
        fill_histogram(x, n, lo, hi, middle, count);
        sample = (struct sample){.x = middle, .n = BINS, .count = count};
    }
    if (!zero)
        TRY(shrink(quantizer, o->candidates, &sample, &lo, &hi));
    bg_observe_blend(quantizer, channel, lo, hi, o->momentum);
out:
    return rc;
}

extern const struct bg_range_method bg_range_mse;
const struct bg_range_method bg_range_mse = {
    .name = "mse",
    .help = "the clip whose grid reproduces the values with the least squared error",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct mse_options),
    .observe = observe};
