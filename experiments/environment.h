/* What a run depends on beside its recipe: results are promised equal only where these are (see
 * core/NUMERICS.md, "Equality of runs"), so they are recorded, and a resume refuses a change. */
#ifndef BG_EXPERIMENTS_ENVIRONMENT_H
#define BG_EXPERIMENTS_ENVIRONMENT_H

#include "core/h5.h"
#include "core/status.h"

struct bg_environment {
    int threads;
    char isa[64], cpu[128], onednn[32], bitgrad[32], compiler[64];
};

/* Of this process; cannot fail: what is not known is "unknown". */
void bg_environment_now(struct bg_environment *out);
/* As attributes of a file's root. */
BG_MUST enum bg_status bg_environment_write(const struct bg_environment *environment,
                                            struct bg_h5 *file);
BG_MUST enum bg_status bg_environment_read(struct bg_environment *out, struct bg_h5 *file);
/* BG_E_MISMATCH with the first difference named. The compiler may differ: results do not depend on
 * it (no fused multiply-add, no fast-math). */
BG_MUST enum bg_status bg_environment_compare(const struct bg_environment *then,
                                              const struct bg_environment *now, const char *dir);

#endif
