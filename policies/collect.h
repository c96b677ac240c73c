/* A collector is an observer of a program's backward pass that writes the gradients' statistics
 * into rows of a profile. */
#ifndef BG_POLICIES_COLLECT_H
#define BG_POLICIES_COLLECT_H

#include "autograd/program.h"
#include "core/profile.h"

struct bg_collector {
    struct bg_observer observer; /* hand this to bg_program_backward */
    struct bg_profile *profile;
    int64_t row;
    float batch; /* factor of input and output gradients: the loss is a mean over the batch */
    int64_t bins_every;       /* histograms in every n-th row */
    bool bins;                /* in this row */
    struct bg_stats *scratch; /* one per channel */
    float *factor;            /* one per channel */
    int64_t channels;         /* of the widest tensor */
    int misfit; /* a layer whose gradient did not have the profile's channels, -1 = none */
};

/* The collector must not be moved afterwards (its observer points to it). Rows 0, bins_every, ...
 * of the profile get histograms; in others all bins are 0. */
BG_MUST enum bg_status bg_collector_make(struct bg_collector *out, struct bg_profile *profile,
                                         int64_t bins_every);
void bg_collector_free(struct bg_collector *collector); /* takes a zeroed one */
/* Adds a row for a batch of this size. */
BG_MUST enum bg_status bg_collector_begin(struct bg_collector *collector, int64_t step,
                                          int64_t batch);
/* After the backward pass: BG_E_INTERNAL when something could not be recorded. */
BG_MUST enum bg_status bg_collector_end(const struct bg_collector *collector);

#endif
