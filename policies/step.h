/* What all update methods share: the optimizer's options, and for those that move integers how a
 * weight begins to live in them and one call of bg_integer_update. */
#ifndef BG_POLICIES_STEP_H
#define BG_POLICIES_STEP_H

#include <stddef.h>

#include "autograd/graph.h"
#include "core/integer_update.h"
#include "core/method.h"

/* First in every method's options: biases and norms take these of the section's method. */
struct bg_optimizer {
    double momentum, weight_decay;
    bool nesterov;
};

/* First in the options of every method that prepares weights (core/method.h). */
struct bg_integer_options {
    struct bg_optimizer optimizer;
    int quantise;        /* 0 = the optimizer's step, 1 = the scaled gradient */
    int momentum_format; /* enum bg_store_momentum, F32 to S16 */
    int grid;            /* enum bg_step_grid */
    double headroom;
    int64_t refit_every;
};

enum bg_step_grid { BG_STEP_FIXED, BG_STEP_POWER, BG_STEP_REFIT };
#define BG_STEP_ROOM 4 /* bits that a residual or buffer may gain on a grid that is re-fitted */

#define BG_OPTIMIZER_ROWS(struct_, member_)                                                        \
    {.key = "momentum",                                                                            \
     .type = BG_OPT_REAL,                                                                          \
     .offset = offsetof(struct_, member_.momentum),                                                \
     .fallback = "0.9",                                                                            \
     .min = 0,                                                                                     \
     .max = 1,                                                                                     \
     .help = "share of the last step that goes on; 0 = plain descent"},                            \
        {.key = "nesterov",                                                                        \
         .type = BG_OPT_BOOL,                                                                      \
         .offset = offsetof(struct_, member_.nesterov),                                            \
         .fallback = "false",                                                                      \
         .help = "look ahead by one momentum step"},                                               \
    {                                                                                              \
        .key = "weight_decay", .type = BG_OPT_REAL,                                                \
        .offset = offsetof(struct_, member_.weight_decay), .fallback = "0", .min = 0, .max = 1,    \
        .help = "added to the gradient as weight_decay * w"                                        \
    }

extern const char *const bg_step_quantises[], *const bg_step_momenta[], *const bg_step_grids[];
#define BG_INTEGER_ROWS(struct_, member_)                                                          \
    BG_OPTIMIZER_ROWS(struct_, member_.optimizer),                                                 \
        {.key = "quantise",                                                                        \
         .type = BG_OPT_CHOICE,                                                                    \
         .offset = offsetof(struct_, member_.quantise),                                            \
         .fallback = "step",                                                                       \
         .choices = bg_step_quantises,                                                             \
         .help = "what is rounded: the optimizer's step, or lr * gradient before the momentum"},   \
        {.key = "momentum_format",                                                                 \
         .type = BG_OPT_CHOICE,                                                                    \
         .offset = offsetof(struct_, member_.momentum_format),                                     \
         .fallback = "f32",                                                                        \
         .choices = bg_step_momenta,                                                               \
         .help = "s16 counts 1/16 of the last bit, with the learning rate in it"},                 \
        {.key = "grid",                                                                            \
         .type = BG_OPT_CHOICE,                                                                    \
         .offset = offsetof(struct_, member_.grid),                                                \
         .fallback = "fixed",                                                                      \
         .choices = bg_step_grids,                                                                 \
         .help =                                                                                   \
             "of the weights: fixed at the start, with power-of-two steps, or moved by powers "    \
             "of two (residuals)"},                                                                \
        {.key = "refit_every",                                                                     \
         .type = BG_OPT_INT,                                                                       \
         .offset = offsetof(struct_, member_.refit_every),                                         \
         .fallback = "100",                                                                        \
         .min = 1,                                                                                 \
         .max = 1e9,                                                                               \
         .help = "steps from one look at a grid that is re-fitted, or a width that adapts, to "    \
                 "the next"},                                                                      \
    {                                                                                              \
        .key = "headroom", .type = BG_OPT_REAL, .offset = offsetof(struct_, member_.headroom),     \
        .fallback = "1.25", .min = 1, .max = 64,                                                   \
        .help = "the grid reaches so many times as far as the weights do at the start"             \
    }

/* Bytes per weight of momentum and of `below` bits. */
double bg_integer_bytes(const struct bg_integer_options *options, int below);
/* The parameter's weights begin to live so, or do already; form, low, buffer and half of `spec` are
 * the method's. */
BG_MUST enum bg_status bg_integer_prepare(const struct bg_integer_options *options,
                                          struct bg_param *param, const struct bg_store_spec *spec,
                                          bool resumed);
/* The optimizer's part of a step. */
struct bg_store_step bg_integer_step_of(const struct bg_integer_options *options,
                                        const struct bg_update_moment *moment, bool decay);
/* Is step (or check) number `step` one at which a grid is looked at? */
bool bg_integer_looks(const struct bg_integer_options *options, uint64_t step);
/* Moves the parameter. BG_E_USAGE without a store, BG_E_RANGE when most weights would move by more
 * than their whole grid. */
BG_MUST enum bg_status bg_integer_move(struct bg_param *param, const struct bg_store_step *step);

#endif
