/* Means, bootstrap intervals, rank correlations and the hypervolume of two objectives. Sums are
 * plain doubles in the order of the arguments. */
#include "policies/compare.h"

#include <math.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/rng.h"
#include "policies/select.h"

#define RESAMPLES_MAX 1000000

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bg_compare_mean(const double *values, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += values[i];
    return n > 0 ? sum / n : (double)NAN;
}

double bg_compare_deviation(const double *values, int n)
{
    double mean = bg_compare_mean(values, n), sum = 0;
    for (int i = 0; i < n; i++)
        sum += (values[i] - mean) * (values[i] - mean);
    return n > 1 ? sqrt(sum / (n - 1)) : (double)NAN;
}

double bg_compare_median(double *values, int n)
{
    if (n < 1)
        return (double)NAN;
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double quantile(const double *sorted, int n, double q)
{
    double at = q * (n - 1);
    int low = (int)floor(at);
    int high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

enum bg_status bg_compare_bootstrap(const double *values, int n, int resamples, uint64_t seed,
                                    struct bg_interval *out)
{
    struct bg_rng rng = {.seed = seed, .stream = BG_STREAM_SELECT};
    double *means = NULL;
    enum bg_status rc = BG_OK;

    *out = (struct bg_interval){bg_compare_mean(values, n), (double)NAN, (double)NAN, n};
    if (resamples < 1 || resamples > RESAMPLES_MAX)
        FAIL(BG_E_RANGE, "bootstrap: %d resamples, limits are 1 and %d", resamples, RESAMPLES_MAX);
    if (n < 2)
        goto out;
    TRY(bg_alloc(&means, resamples, sizeof *means));
    for (int r = 0; r < resamples; r++) {
        double sum = 0;
        rng.step = (uint32_t)r;
        for (int i = 0; i < n; i++)
            sum += values[bg_rng_below(&rng, (uint64_t)i, (uint32_t)n)];
        means[r] = sum / n;
    }
    qsort(means, (size_t)resamples, sizeof *means, by_value);
    out->low = quantile(means, resamples, 0.025);
    out->high = quantile(means, resamples, 0.975);
out:
    bg_free(means);
    return rc;
}

static double correlation(const double *x, const double *y, int n)
{
    double mean_x = bg_compare_mean(x, n), mean_y = bg_compare_mean(y, n);
    double xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        yy += (y[i] - mean_y) * (y[i] - mean_y);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : (double)NAN;
}

enum bg_status bg_compare_spearman(const double *x, const double *y, int n, double *out)
{
    double *ranks = NULL;
    enum bg_status rc = BG_OK;
    *out = (double)NAN;
    if (n < 2)
        goto out;
    TRY(bg_alloc(&ranks, 2 * (int64_t)n, sizeof *ranks));
    bg_ranking_ranks(x, n, ranks);
    bg_ranking_ranks(y, n, ranks + n);
    *out = correlation(ranks, ranks + n, n);
out:
    bg_free(ranks);
    return rc;
}

double bg_compare_kendall(const double *x, const double *y, int n)
{
    double together = 0, pairs_x = 0, pairs_y = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) {
            int a = (x[i] > x[j]) - (x[i] < x[j]), b = (y[i] > y[j]) - (y[i] < y[j]);
            together += a * b;
            pairs_x += a != 0;
            pairs_y += b != 0;
        }
    return pairs_x > 0 && pairs_y > 0 ? together / sqrt(pairs_x * pairs_y) : (double)NAN;
}

struct point {
    double cost, error;
};

static int by_cost(const void *a, const void *b)
{
    const struct point *p = a, *q = b;
    if (p->cost != q->cost)
        return p->cost < q->cost ? -1 : 1;
    return (p->error > q->error) - (p->error < q->error);
}

enum bg_status bg_compare_hypervolume(const double *cost, const double *error, int n,
                                      const double reference[2], double *out)
{
    struct point *points = NULL;
    double least = reference[1];
    int count = 0;
    enum bg_status rc = BG_OK;

    *out = 0;
    TRY(bg_alloc(&points, n, sizeof *points));
    for (int i = 0; i < n; i++)
        if (cost[i] < reference[0] && error[i] < reference[1])
            points[count++] = (struct point){cost[i], error[i]};
    if (count > 0)
        qsort(points, (size_t)count, sizeof *points, by_cost);
    for (int i = 0; i < count; i++) {
        if (points[i].error >= least)
            continue;
        *out += (reference[0] - points[i].cost) * (least - points[i].error);
        least = points[i].error;
    }
out:
    bg_free(points);
    return rc;
}
