/* What an epoch's updates did to the weights of each layer: counts of the integer methods
 * (core/store.h) and, of every method, the size of the optimizer's steps beside the step of the
 * weights' grid. Sizes are of a sample that depends on the step's number alone: at least 64 steps
 * of an epoch, or all of a shorter one, and up to BG_MOVE_SAMPLE weights of each layer. Steps are
 * taken as they are before any rounding of the method's. */
#ifndef BG_POLICIES_MOVES_H
#define BG_POLICIES_MOVES_H

#include <stdbool.h>
#include <stdint.h>

#include "core/h5.h"
#include "core/method.h"

#define BG_MOVE_SAMPLE  512
#define BG_MOVE_EVERY   64 /* parts of an epoch of which each gives a sample */
#define BG_MOVE_OCTAVES 29
#define BG_MOVE_COUNTS  5

struct bg_moves {
    const char *method;
    int weight_bits; /* 0 = no grid */
    int below_bits;  /* residual; buffer with its sign (of the channel with most); 16 of Kahan's
                        sum; 0 = none or f32 master */
    bool counted;    /* written, lost and saturated are known: the weights are integers */
    int64_t updates; /* weights times steps */
    int64_t written, lost, saturated, beyond, kept; /* as in core/store.h */
    double unit; /* mean step of the grid; without one, 1/127 of the largest |weight| */
    int64_t sampled, zero;
    double sum, rates; /* of |step| / unit and of learning rates, over what was sampled */
    /* Sampled steps by size: [0] is at least 1 unit, [k] is 2^-k to 2^-(k-1), the last all that is
     * smaller and not 0. */
    int64_t octave[BG_MOVE_OCTAVES];
};

/* The running epoch of a layer, and its store's counts when the epoch began. */
struct bg_move_state {
    struct bg_moves now;
    int64_t base[BG_MOVE_COUNTS];
};

/* An epoch begins: nothing counted yet. */
void bg_moves_begin(struct bg_move_state *state, const struct bg_param *param);
/* The epoch so far, into `out`. */
void bg_moves_take(const struct bg_move_state *state, const struct bg_param *param,
                   struct bg_moves *out);
/* Before an update: its steps are sampled. `options` are those of `method`. */
struct bg_move_call {
    const struct bg_update_method *method;
    const void *options;
    const struct bg_update_moment *moment;
    bool decay, sample;
};
void bg_moves_count(struct bg_move_state *state, const struct bg_param *param,
                    const struct bg_move_call *call);

/* The running epoch of all layers, in "trainer/moves". */
BG_MUST enum bg_status bg_moves_save(const struct bg_move_state *state, int layers,
                                     struct bg_h5 *file);
/* BG_E_DATA for counts that cannot be; nothing changes then. */
BG_MUST enum bg_status bg_moves_load(struct bg_move_state *state, int layers, struct bg_h5 *file);

#endif
