/* Statistics of comparisons against values worked by hand. */
#include <criterion/criterion.h>
#include <math.h>

#include "policies/compare.h"

#define CLOSE 1e-12 /* a handful of roundings of numbers near 1 */

Test(compare, mean_deviation_and_median)
{
    double values[] = {4, 1, 3, 8};
    cr_assert_float_eq(bg_compare_mean(values, 4), 4, CLOSE);
    /* squares of 0, -3, -1, 4: 26 / 3 */
    cr_assert_float_eq(bg_compare_deviation(values, 4), sqrt(26.0 / 3), CLOSE);
    cr_assert_float_eq(bg_compare_median(values, 4), 3.5, CLOSE);
    cr_assert_float_eq(bg_compare_median(values, 3), 3, CLOSE); /* sorted now: 1, 3, 4 */
    cr_assert(isnan(bg_compare_mean(values, 0)));
    cr_assert(isnan(bg_compare_deviation(values, 1)));
}

Test(compare, rank_correlations_of_worked_pairs)
{
    /* Ranks differ by 1, -1, 0, 1, -1: 1 - 6 * 4 / (5 * 24) = 0.8; pairs: 8 in order, 2 not. */
    const double x[] = {1, 2, 3, 4, 5}, y[] = {2, 1, 3, 5, 4};
    const double down[] = {9, 7, 5, 3, 1}, flat[] = {1, 1, 1, 1, 1};
    /* With a tie: y ranks 1.5, 1.5, 3; Spearman 1.5 / sqrt(2 * 1.5), tau-b 2 / sqrt(3 * 2). */
    const double tied[] = {1, 1, 2};
    double r = 0;
    cr_assert_eq(bg_compare_spearman(x, y, 5, &r), BG_OK);
    cr_assert_float_eq(r, 0.8, CLOSE);
    cr_assert_float_eq(bg_compare_kendall(x, y, 5), 0.6, CLOSE);
    cr_assert_eq(bg_compare_spearman(x, down, 5, &r), BG_OK);
    cr_assert_float_eq(r, -1, CLOSE);
    cr_assert_float_eq(bg_compare_kendall(x, down, 5), -1, CLOSE);
    cr_assert_eq(bg_compare_spearman(x, tied, 3, &r), BG_OK);
    cr_assert_float_eq(r, 1.5 / sqrt(3), CLOSE);
    cr_assert_float_eq(bg_compare_kendall(x, tied, 3), 2 / sqrt(6), CLOSE);
    cr_assert_eq(bg_compare_spearman(x, flat, 5, &r), BG_OK);
    cr_assert(isnan(r) && isnan(bg_compare_kendall(x, flat, 5)));
    cr_assert_eq(bg_compare_spearman(x, y, 1, &r), BG_OK);
    cr_assert(isnan(r));
}

Test(compare, bootstrap_intervals)
{
    /* Means of two draws of {0, 1} are 0, 1/2, 1 with 1/4, 1/2, 1/4: both ends are reached. */
    const double coin[] = {0, 1}, same[] = {0.3, 0.3, 0.3};
    double many[50];
    struct bg_interval i, again;
    cr_assert_eq(bg_compare_bootstrap(coin, 2, 10000, 1, &i), BG_OK);
    cr_assert(i.mean == 0.5 && i.low == 0 && i.high == 1);
    cr_assert_eq(bg_compare_bootstrap(same, 3, 10000, 1, &i), BG_OK);
    cr_assert_float_eq(i.low, 0.3, CLOSE);
    cr_assert_float_eq(i.high, 0.3, CLOSE);
    /* 50 values -1 and 1 in turn: the deviation of the mean is 1/sqrt(50) = 0.1414, the interval
     * +-1.96 of it = 0.277; means move in steps of 0.04, and quantiles of 10,000 draws have a
     * deviation of about 0.004: 0.05 is more than both. */
    for (int k = 0; k < 50; k++)
        many[k] = k % 2 ? 1 : -1;
    cr_assert_eq(bg_compare_bootstrap(many, 50, 10000, 7, &i), BG_OK);
    cr_assert_float_eq(i.low, -0.277, 0.05);
    cr_assert_float_eq(i.high, 0.277, 0.05);
    cr_assert_eq(bg_compare_bootstrap(many, 50, 10000, 7, &again), BG_OK);
    cr_assert(i.low == again.low && i.high == again.high);
    cr_assert_eq(bg_compare_bootstrap(many, 1, 10000, 7, &i), BG_OK);
    cr_assert(isnan(i.low) && isnan(i.high) && i.mean == -1);
    cr_assert_eq(bg_compare_bootstrap(many, 50, 0, 7, &i), BG_E_RANGE);
}

Test(compare, hypervolume_is_the_union_of_rectangles)
{
    /* (1,3): 3x1; (2,1): 2x3 of which 2x1 is counted: 3 + 4 = 7. Beaten and outside: nothing. */
    const double cost[] = {2, 1, 3, 5, 2.5}, error[] = {1, 3, 2, 0, 4}, reference[] = {4, 4};
    double volume = 0;
    cr_assert_eq(bg_compare_hypervolume(cost, error, 5, reference, &volume), BG_OK);
    cr_assert_float_eq(volume, 7, CLOSE);
    cr_assert_eq(bg_compare_hypervolume(cost, error, 1, reference, &volume), BG_OK);
    cr_assert_float_eq(volume, 6, CLOSE);
    cr_assert_eq(bg_compare_hypervolume(cost, error, 0, reference, &volume), BG_OK);
    cr_assert_eq(volume, 0);
}
