/* What an arena's trials come to. Columns are the criteria, then three baselines: one width for
 * all, the mean of the random plans, and the random plan that was best on the validation part. */
#ifndef BG_EXPERIMENTS_ARENA_SUMMARY_H
#define BG_EXPERIMENTS_ARENA_SUMMARY_H

#include "experiments/arena.h"
#include "policies/compare.h"

#define BG_ARENA_COLUMNS (BG_ARENA_CRITERIA + 3)

struct bg_arena_cell {
    double mean, deviation, cost; /* of test accuracy over seeds; NaN without plans */
    struct bg_interval over_random, over_same;
    int rank; /* among the criteria by mean, 1 = best; equal means share; 0 = a baseline */
};
struct bg_arena_correlation {
    double spearman, kendall; /* objective against error over the random plans, mean over seeds;
                                 1 = the criterion orders them as training did */
    int seeds;                /* with a number */
};
struct bg_arena_summary {
    int columns, criteria, seeds, budgets;
    char name[BG_ARENA_COLUMNS][BG_NAME_MAX];
    double *accuracy;           /* [moment][budget][column][seed] */
    double *cost;               /* [budget][column][seed] */
    struct bg_arena_cell *cell; /* [moment][budget][column] */
    double *volume;             /* [column][seed], of accuracies at moment best */
    struct bg_interval volume_over_random[BG_ARENA_COLUMNS];
    struct bg_arena_correlation *correlation; /* [moment][budget][criterion] */
    double *fp32;                             /* [seed] test accuracy of the base */
    char reads[BG_ARENA_CRITERIA][512];       /* what each criterion needs: "fisher weight-error" */
    double passes[BG_ARENA_CRITERIA];         /* samples forward plus backward, mean over seeds */
    double seconds[BG_ARENA_CRITERIA];        /* NaN where not known */
    int diverged, trials, same_plan; /* trials; proposals of criteria that others made as well */
    double distinct;                 /* random plans of a seed and budget that differ, mean */
};

double *bg_arena_accuracy(const struct bg_arena_summary *summary, int moment, int budget,
                          int column);
struct bg_arena_cell *bg_arena_cell(const struct bg_arena_summary *summary, int moment, int budget,
                                    int column);
struct bg_arena_correlation *bg_arena_correlation(const struct bg_arena_summary *summary,
                                                  int moment, int budget, int criterion);
/* Interval of the mean difference of two columns, paired by seed. */
BG_MUST enum bg_status bg_arena_difference(const struct bg_arena *arena, const double *a,
                                           const double *b, struct bg_interval *out);
/* "better", "worse", "tie" (the interval contains 0), "few" from less than four seeds, "-"
 * without any. */
const char *bg_arena_verdict(const struct bg_interval *interval);
/* arena_cost.c: what each criterion reads and what that took. */
BG_MUST enum bg_status bg_arena_costs(const struct bg_arena *arena,
                                      struct bg_arena_summary *summary);

#endif
