/* The exhaustive oracle: measured losses of every combination of bits (measure combinations). */
#ifndef BG_POLICIES_ORACLE_H
#define BG_POLICIES_ORACLE_H

#include "policies/select.h"

/* A view of the combinations that a run has measured. Layer 0 turns slowest. */
struct bg_oracle {
    int layers, candidates;
    const int *bits;                  /* [candidates] */
    int64_t count;                    /* candidates ^ layers */
    const struct bg_measure_row *row; /* [count] */
};
/* BG_E_DATA naming the measure when there are none, or not all of them. */
BG_MUST enum bg_status bg_oracle_open(struct bg_oracle *out, const struct bg_select_input *input,
                                      const char *measure);
/* Candidate of a layer in a combination. */
int bg_oracle_choice(const struct bg_oracle *oracle, int64_t combination, int layer);
/* The combination with the least measured loss among those whose sum of cost[layer * candidates +
 * candidate] is at most `budget`; ties go to the first. BG_E_RANGE naming the least cost when none
 * is feasible. For the library's callers: no command asks for it. */
BG_MUST enum bg_status bg_oracle_best(const struct bg_oracle *oracle, const double *cost,
                                      double budget, int64_t *best);

#endif
