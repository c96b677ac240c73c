/* Equality of two runs as core/NUMERICS.md defines it: the same objects, attributes, types and
 * dataset bytes in run.h5 and every checkpoint, the same plan and the same result. Wall-clock
 * values (timing.tsv) and what is drawn from the others (report, figures) take no part. */
#ifndef BG_EXPERIMENTS_DIFF_H
#define BG_EXPERIMENTS_DIFF_H

#include <stdbool.h>

#include "core/status.h"

/* *same = false names the first difference ("run.h5: metrics/train/steps/loss: row 12: ..."). */
BG_MUST enum bg_status bg_diff_runs(const char *a, const char *b, bool *same, char difference[640]);

#endif
