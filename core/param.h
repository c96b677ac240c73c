/* bg_param: a trainable tensor with all that hangs on it, and bg_quantizer: the grid of a tensor
 * with the state its range comes from. autograd/ fills them, range and update methods see nothing
 * else. */
#ifndef BG_CORE_PARAM_H
#define BG_CORE_PARAM_H

#include <stdbool.h>
#include <stdint.h>

#include "core/grid.h"
#include "core/options.h"
#include "core/plan.h"
#include "core/tensor.h"
#include "core/text.h"

struct bg_param;
struct bg_store;
struct bg_range_method;

enum bg_quantizer_target { BG_TARGET_WEIGHT, BG_TARGET_ACTIVATION };

/* The grid of one tensor and its range state. lo/hi are per channel. Part of every checkpoint:
 * name, grid numbers, lo, hi, observed, fixed. */
struct bg_quantizer {
    char name[BG_NAME_MAX]; /* "conv1.weight", "relu1" */
    enum bg_quantizer_target target;
    struct bg_spec spec;
    struct bg_grid grid;
    bool symmetric;                      /* weights; activations that can be negative are affine */
    bool fixed;                          /* the grid was given (raw-byte input) and never moves */
    const struct bg_range_method *range; /* NULL when fixed */
    const void *range_options;
    float *lo, *hi;        /* [grid.channels] range estimate so far */
    int64_t observed;      /* batches seen; 0 = no range yet */
    int64_t clipped, seen; /* values outside the grid in the last forward, of how many */
    struct bg_param *step; /* learned step size (LSQ), else NULL */
    int64_t n;             /* elements per channel per sample (LSQ gradient scale) */
};

enum bg_param_kind {
    BG_PARAM_WEIGHT,
    BG_PARAM_BIAS,
    BG_PARAM_GAMMA,
    BG_PARAM_BETA,
    BG_PARAM_STEP,         /* learned quantizer step */
    BG_PARAM_RUNNING_MEAN, /* no gradient */
    BG_PARAM_RUNNING_VAR   /* no gradient */
};

/* Rows of a parameter that go on together: no other rows share memory of a packed layout with them
 * in a way that two threads could meet. */
#define BG_SINK_ROWS 16

/* Where a quantized parameter's codes go: the packed layouts of the fast program that ran last. A
 * row is what belongs to one index of the first dimension. `rows` and `pack` are called for ranges
 * that begin at a multiple of BG_SINK_ROWS, from many threads at once, each with rows of its own.
 * Methods that move real values go through bg_param_move; those that make codes themselves call
 * pack. */
struct bg_sink {
    void *self;
    int8_t *codes; /* dense, row after row */
    void (*pack)(void *self, int64_t first, int64_t last, const int8_t *codes);
    /* New values: begin says whether each row can be settled without the others, rows finds range,
     * grid and codes of what has just been written and packs them, end records that all are (with
     * `good` false: that a range failed, and the next forward will say so). */
    bool (*begin)(struct bg_param *param);
    bool (*rows)(struct bg_param *param, int64_t first, int64_t last);
    void (*end)(struct bg_param *param, bool good);
    uint64_t packed; /* serial of the codes that were packed */
};

struct bg_param {
    char name[BG_NAME_MAX]; /* "conv1.weight" */
    enum bg_param_kind kind;
    int layer;              /* index among the plan's layers; -1 = belongs to none */
    struct bg_tensor value; /* f32 master, logical layout; no data when there is a store */
    struct bg_tensor grad;  /* f32, same shape; no data when not trainable */
    struct bg_tensor state; /* f32 optimizer state (momentum), same shape, zero at start */
    struct bg_tensor
        forward; /* what forward and backward read: value itself, or its projection on the grid */
    struct bg_quantizer *quantizer; /* NULL: forward is the f32 value */
    uint64_t version;               /* rises with every change of value: packed copies compare it */
    struct bg_sink *sink;           /* NULL: nobody reads codes */
    struct bg_store *store;         /* the weights in integers (core/store.h); NULL: value */
    char update[BG_NAME_MAX];       /* weights: how the plan moves them; "" = not said */
    int update_bits;                /* and its bits, as in the plan */
};

static inline bool bg_param_trainable(const struct bg_param *param)
{
    return param->kind != BG_PARAM_RUNNING_MEAN && param->kind != BG_PARAM_RUNNING_VAR;
}

/* Moves all values: move(self, first, n) writes values first to first + n - 1, by no others than
 * what it had and has at their places, on any thread. With a sink, what has been written is ranged,
 * encoded and packed while it is still in the cache, for the version that the caller gives next. */
void bg_param_move(struct bg_param *param, void (*move)(void *self, int64_t first, int64_t n),
                   void *self);

#endif
