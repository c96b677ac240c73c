/* A decision taken again from a run's recorded data: any policy, nothing trained, nothing written.
 * Works on finished and running runs alike. */
#ifndef BG_EXPERIMENTS_REPLAY_H
#define BG_EXPERIMENTS_REPLAY_H

#include "experiments/recipe.h"
#include "experiments/select_plan.h"

struct bg_replay {
    struct bg_recipe *recipe; /* the run's, with other policy and select keys */
    struct bg_record record;
    struct bg_net *net; /* shapes alone: its weights are not the run's */
    struct bg_select_round round;
    struct bg_select_data data; /* of the round */
    bool same_bits;             /* select's bits are those of the run: its trials count */
};
/* Opens DIR at a round of selection, from 1; 0 = its last. `words` are "policy=NAME",
 * "options.KEY=VALUE", "select.KEY=VALUE" or "seed=NUMBER"; a policy other than the run's begins
 * with its own defaults. BG_E_USAGE for any other word. On failure *out is zeroed. */
BG_MUST enum bg_status bg_replay_open(struct bg_replay *out, const char *dir, int round,
                                      char *const *words, int count);
void bg_replay_close(struct bg_replay *replay); /* takes a zeroed one */

/* The ranking of recipe->policy. Free with bg_ranking_free. */
BG_MUST enum bg_status bg_replay_rank(const struct bg_replay *replay, struct bg_ranking *out);
/* How many ranked layers, as recipe->select.search says; accuracies are those the run has
 * evaluated. BG_E_DATA, saying what to give instead, when it has not evaluated one that is needed.
 */
BG_MUST enum bg_status bg_replay_prefix(const struct bg_replay *replay,
                                        const struct bg_ranking *ranking, int *k);
/* Penalties of recipe->policy at these bits. Free with bg_penalties_free. */
BG_MUST enum bg_status bg_replay_penalties(const struct bg_replay *replay, const int *bits,
                                           int candidates, struct bg_penalties *out);

#endif
