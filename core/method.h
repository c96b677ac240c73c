/* The interfaces of range and update methods (the other two families, select and prune, need layers
 * and live in policies/). Each method is one const table in policies/<family>_<name>.c, found by
 * the registry generator. */
#ifndef BG_CORE_METHOD_H
#define BG_CORE_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/param.h"
#include "core/status.h"

/* A range method turns observed values into the limits of a grid.
 * `x` is one channel's values contiguous (n values). `random` free. Must be deterministic, threads
 * or not. */
struct bg_range_method {
    const char *name, *help, *source; /* source: paper, section, or "common practice" */
    const struct bg_option *options;  /* table, ends with key NULL */
    size_t options_size;
    bool extremes; /* observe reads no more of x than its least and its largest value */
    bool learned;  /* the step is a parameter trained by gradient; fit is used once, to start */
    /* Folds one batch of a channel into quantizer->lo/hi[channel]. quantizer->observed counts
     * earlier batches. May read quantizer->grid limits (bits). Scratch-free. Of weights, several
     * threads observe different channels at the same time. */
    enum bg_status (*observe)(const void *options, struct bg_quantizer *quantizer, int64_t channel,
                              const float *x, int64_t n);
};

/* What an update needs to know about the moment. */
struct bg_update_moment {
    double lr;           /* of this step, schedule applied */
    uint64_t seed, step; /* for stochastic methods */
    bool last;           /* nothing may wait for a later step */
};

/* An update method moves one parameter by its gradient. It sees bg_param alone. */
struct bg_update_method {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    /* Bytes of state per weight, for reports. */
    double (*state_bytes)(const void *options);
    /* Integer methods: makes the weights what the method moves (core/store.h), in the plan's `bits`
     * (update_bits of core/plan.h); `resumed`: they must be so already. NULL: moves f32 values, any
     * parameter's. Options of a method that has this begin with struct bg_integer_options, of all
     * others with struct bg_optimizer (both of policies/step.h). */
    enum bg_status (*prepare)(const void *options, struct bg_param *param, int bits, bool resumed);
    /* Integer methods: is this weight one that they move? NULL: weights of 2 bits and more. */
    bool (*moves)(const void *options, const struct bg_param *param);
    /* Moves param->value (or param->store) using param->grad and param->state, best by
     * bg_param_move, so that codes are made on the way; the caller raises param->version by 1 then,
     * and nothing else changes the value in between. Threaded inside, same bits for any thread
     * count. `decay` is false for parameters that take no weight decay. */
    enum bg_status (*update)(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay);
};

#endif
