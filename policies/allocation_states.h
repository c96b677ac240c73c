/* Partial plans of the exact allocator: their bounds, their memory, and which of them to keep. */
#ifndef BG_POLICIES_ALLOCATION_STATES_H
#define BG_POLICIES_ALLOCATION_STATES_H

#include "policies/allocate.h"

struct bg_state {
    double cost[BG_ALLOCATE_BUDGETS], penalty; /* of the items so far */
    double bound;                              /* no completion within the budgets ends below it */
    int parent, choice;                        /* index in the layer before, candidate */
};

/* A lower bound for partial plans from several price vectors around the best one: the remaining
 * items have other best prices than all of them. */
#define BG_STATE_PRICES 96
struct bg_state_bounds {
    int items, budgets, count;
    struct bg_prices prices[BG_STATE_PRICES];
    double *tail;                       /* [count][items + 1]: what is left, minus the budgets */
    double *least[BG_ALLOCATE_BUDGETS]; /* [items + 1]: least cost of what is left */
    double limit[BG_ALLOCATE_BUDGETS];  /* a partial plan above it cannot hold the budget */
};
BG_MUST enum bg_status bg_state_bounds_make(struct bg_state_bounds *out,
                                            const struct bg_allocate_problem *problem,
                                            const struct bg_prices *best);
void bg_state_bounds_free(struct bg_state_bounds *bounds);
/* Of a state that has chosen for the first `items_done` items; infinity when no completion holds
 * the budgets. Cannot fail. */
double bg_state_bound(const struct bg_state_bounds *bounds, int items_done,
                      const struct bg_state *state);

/* Where children are gathered: `states` of room `size`, `parents` the layer before. */
struct bg_state_room {
    struct bg_state *states, *parents;
    int64_t count, size, parent_count, width;
    double (*front)[2];
};
BG_MUST enum bg_status bg_state_room_make(struct bg_state_room *out, int64_t width);
void bg_state_room_free(struct bg_state_room *room);
/* Sorts the states, drops those that another is nowhere worse than, then all but the `width` with
 * the least bounds; *dropped becomes the least bound dropped so. */
BG_MUST enum bg_status bg_state_thin(struct bg_state_room *room, int budgets, double *dropped);

/* The way back: per state of a layer its parent and choice. */
struct bg_state_layer {
    int64_t count;
    struct bg_state_step {
        int parent, choice;
    } * step;
};
/* The room's states become the layer's steps and the room's parents; the parents' memory
 * is free for the next states. *out is zeroed before; free it with bg_state_layer_free. */
BG_MUST enum bg_status bg_state_layer_take(struct bg_state_layer *out, struct bg_state_room *room);
void bg_state_layer_free(struct bg_state_layer *layer);
#endif
