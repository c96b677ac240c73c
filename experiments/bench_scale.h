/* The result of `bitgrad bench scale`, between the file that measures and the one that prints. */
#ifndef BG_EXPERIMENTS_BENCH_SCALE_H
#define BG_EXPERIMENTS_BENCH_SCALE_H

#include "experiments/bench_variant.h"

#define BG_BENCH_POINTS_MAX (18 * BG_BENCH_VARIANTS_MAX)

struct bg_bench_point {
    int dimension, variant;
    int64_t value;
    bool refused;   /* the network cannot be of that size */
    double seconds; /* of a step, the least */
    double macs;    /* of a step */
    int64_t bytes;  /* of the program: activations, gradients, scratch */
    int64_t peak;   /* growth of resident memory while it trains; -1 = not known */
};

struct bg_bench_scale {
    const struct bg_bench_setup *setup;
    int points, variants;
    const char *variant[BG_BENCH_VARIANTS_MAX];
    struct bg_bench_point point[BG_BENCH_POINTS_MAX]; /* by dimension, variant, value */
};

const char *bg_bench_dimension_name(int dimension);
/* The nearest smaller one of the same dimension and variant, or NULL. */
const struct bg_bench_point *bg_bench_point_before(const struct bg_bench_scale *scale, int index);
/* The table or JSON on stdout; the figure, if one is wanted. */
BG_MUST enum bg_status bg_bench_scale_print(const struct bg_bench_scale *scale);
/* BG_E_USAGE unless the figure's file is a plain name with .svg: the plot's script holds it. */
BG_MUST enum bg_status bg_bench_figure_check(const struct bg_bench_setup *setup);

#endif
