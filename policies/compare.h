/* Statistics for comparing criteria: bootstrap intervals, rank correlations, hypervolume. Pure
 * functions of their arguments; randomness is by seed. */
#ifndef BG_POLICIES_COMPARE_H
#define BG_POLICIES_COMPARE_H

#include <stdint.h>

#include "core/status.h"

/* Of n values; NaN for none. The deviation is that of a sample (n - 1), NaN below two values. */
double bg_compare_mean(const double *values, int n);
double bg_compare_deviation(const double *values, int n);
/* The middle value; the mean of the two middle ones for even n. `values` are sorted in place. */
double bg_compare_median(double *values, int n);

/* A 95 % percentile bootstrap interval of the mean. */
struct bg_interval {
    double mean, low, high; /* low and high are NaN for fewer than two values */
    int n; /* below four the interval is the range of the values and says nothing */
};
/* `resamples` (1 to 1000000) draws of n values with replacement; low and high are the 2.5 % and
 * 97.5 % quantiles of their means, by linear interpolation between order statistics. */
BG_MUST enum bg_status bg_compare_bootstrap(const double *values, int n, int resamples,
                                            uint64_t seed, struct bg_interval *out);

/* Rank correlations of n pairs; NaN when n < 2 or one side is constant. Ties: mean ranks for
 * Spearman, tau-b for Kendall. */
BG_MUST enum bg_status bg_compare_spearman(const double *x, const double *y, int n, double *out);
double bg_compare_kendall(const double *x, const double *y, int n);

/* Area between the points and the reference where both coordinates are to be small: the union of
 * the rectangles from each point to the reference. Points beyond the reference add nothing.
 * Source: Zitzler & Thiele, PPSN V (1998), for two objectives. */
BG_MUST enum bg_status bg_compare_hypervolume(const double *cost, const double *error, int n,
                                              const double reference[2], double *out);

#endif
