/* What this machine can do at best, measured on the spot: rates of multiplication and of memory. */
#ifndef BG_EXPERIMENTS_BENCH_CEILING_H
#define BG_EXPERIMENTS_BENCH_CEILING_H

#include "experiments/bench.h"

enum bg_bench_rate { BG_BENCH_F32, BG_BENCH_BF16, BG_BENCH_INT8, BG_BENCH_RATES };

/* All 0 at first. */
struct bg_bench_ceilings {
    /* Operations per second (2 per multiply-accumulate) of the best of a few large convolutions
     * through oneDNN; 0 where there is none. */
    double rate[BG_BENCH_RATES];
    /* Bytes read and written per second by the best of copies larger than a core's own caches. */
    double memory;
};

/* Raises each figure to what is seen now: measured before and after what is compared with it, it
 * is of the machine's better moments as well. Takes about `seconds`. */
BG_MUST enum bg_status bg_bench_ceilings_measure(struct bg_bench_ceilings *ceilings,
                                                 double seconds);
/* Memory alone. */
BG_MUST enum bg_status bg_bench_memory_measure(struct bg_bench_ceilings *ceilings, double seconds);
/* The least seconds that so many operations and bytes take below the ceilings, over `seconds`: 1 is
 * the roofline. Above 1 where data stays in the caches. 0 without a ceiling. */
double bg_bench_share(const struct bg_bench_ceilings *ceilings, enum bg_bench_rate rate,
                      double operations, double bytes, double seconds);
json_t *bg_bench_ceilings_json(const struct bg_bench_ceilings *ceilings);
void bg_bench_ceilings_print(const struct bg_bench_ceilings *ceilings);

#endif
