/* Pieces of the criteria: looking measurements up with a sentence when they are missing, penalties
 * as products of a factor per layer and an error at each number of bits, and rankings from
 * penalties. */
#ifndef BG_POLICIES_WEIGH_H
#define BG_POLICIES_WEIGH_H

#include "policies/select.h"

/* Which rows: the measure's name in the recipe, and what of it. */
struct bg_weigh_key {
    const char *measure; /* NULL or "" = none */
    int measured;        /* enum bg_measured */
};

struct bg_weigh {
    const char *criterion;       /* for sentences */
    struct bg_weigh_key rows[2]; /* per role: values at bits */
    const double *factor[2];     /* per role: [layers], NULL = 1 */
    bool absolute;               /* take |value| */
    bool weights_only;           /* activations are not asked for */
    const char *silent;          /* why there is nothing of activations, when rows[1] is none */
};

/* A value; 0 bits are f32, whose error is 0. BG_E_DATA says which measure or candidate to add,
 * BG_E_NUMERIC names a layer whose value is not finite. */
BG_MUST enum bg_status bg_weigh_value(const char *criterion, const struct bg_select_input *input,
                                      const struct bg_weigh_key *key,
                                      const struct bg_measure_row *where, double *out);
/* factor[layer] = the rows of 0 bits, times factor[layer] as it was. */
BG_MUST enum bg_status bg_weigh_factors(const char *criterion, const struct bg_select_input *input,
                                        const struct bg_weigh_key *key, enum bg_role role,
                                        double *factor);
/* Is there anything of this measure for the role? */
bool bg_weigh_has(const struct bg_select_input *input, const struct bg_weigh_key *key,
                  enum bg_role role);
/* penalty = factor * value. Weights must be there; activations are left out, with a reason, when
 * nothing of them was measured. */
BG_MUST enum bg_status bg_weigh_fill(const struct bg_weigh *weigh,
                                     const struct bg_select_input *input, struct bg_penalties *out);
/* Scores are the weights' penalties at input->second_bits (0: the fewest measured bits), small ones
 * first; *bits says which they were. */
BG_MUST enum bg_status bg_weigh_rank(const struct bg_select_method *method, const void *options,
                                     const struct bg_select_input *input, struct bg_ranking *out,
                                     int *bits);

#endif
