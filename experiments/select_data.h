/* What a criterion works on, from a run's record and its network alone: the same for the live
 * decision, its replay, and an arena. */
#ifndef BG_EXPERIMENTS_SELECT_DATA_H
#define BG_EXPERIMENTS_SELECT_DATA_H

#include "experiments/recipe.h"
#include "experiments/record.h"
#include "layers/net.h"
#include "policies/select.h"

struct bg_select_data {
    struct bg_select_input input; /* points into what follows */
    const char **names;
    bool *pinned;
    int64_t *weights, *macs, *activations;
    double *step; /* mean grid step at the round's second_bits: the caller's, or the record's */
    struct bg_profile profile;           /* a view into the record */
    struct bg_measurements measurements; /* a view */
    struct bg_measure_row *row;          /* owned */
};
/* What the record has for a round of selection (0 = the first). `record` and `net` must outlive it.
 * Pinned layers and second_bits are those of `options`; `seed` draws for the random policy. Free
 * with bg_select_data_close (takes a zeroed one). */
BG_MUST enum bg_status bg_select_data_open(struct bg_select_data *out,
                                           const struct bg_record *record, int round,
                                           const struct bg_net *net,
                                           const struct bg_select_options *options);
void bg_select_data_close(struct bg_select_data *data);
/* A profile with one row of each kind that a recipe's stages will bring, for checks before anything
 * was measured; its values do not matter. Free with bg_profile_free, on failure too. */
BG_MUST enum bg_status bg_select_expect_profile(const struct bg_recipe *recipe,
                                                const struct bg_net *net, bool trains,
                                                bool profiles, struct bg_profile *out);

#endif
