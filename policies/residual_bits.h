/* How many residual bits a layer needs (P4 of policies/METHODS.md; the rule is ours): so many that
 * of the steps that move its weights no more than a share is smaller than the residual's last bit.
 * What the steps are, an earlier epoch has recorded (policies/moves.h), in integers or in f32; they
 * scale with the learning rate and with the step of the weights' grid. */
#ifndef BG_POLICIES_RESIDUAL_BITS_H
#define BG_POLICIES_RESIDUAL_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/status.h"
#include "policies/moves.h"
#include "policies/trainer.h"

enum bg_residual_rate { BG_RATE_LAST_EPOCH, BG_RATE_MEAN, BG_RATE_RECORDED };

struct bg_residual_options {
    bool asked;      /* the recipe has the key; not in the table */
    double quantile; /* share of steps that may be smaller than the residual's last bit */
    int64_t margin, least, most;
    int64_t epochs;   /* recorded ones that are read, the last */
    int rate;         /* enum bg_residual_rate */
    double saturated; /* a larger share of steps that stopped at the grid's end is warned of */
};
extern const struct bg_option bg_residual_options_table[];

/* A recorded epoch of a layer. */
struct bg_residual_record {
    int64_t octave[BG_MOVE_OCTAVES];
    double unit, lr;        /* real value of 1 unit; mean learning rate */
    int low;                /* residual bits that were there, -1 = another method or f32 */
    double lost, saturated; /* shares of all steps; 0 where not known */
};
struct bg_residual_choice {
    int bits;
    double
        size; /* log2 of the quantile, in units of the planned weight's step at the planned rate */
    bool saturates;
};
/* `unit`: step of the planned weights' grid; `lr`: 0 = that of each record. The largest of what the
 * records ask for. BG_E_DATA when none of them has a step that is not 0. */
BG_MUST enum bg_status bg_residual_choose(const struct bg_residual_options *options,
                                          const struct bg_residual_record *records, int count,
                                          double unit, double lr, struct bg_residual_choice *out);
/* log2 of the size below which a share of these steps lie; -infinity when there are none. */
double bg_residual_quantile(const int64_t octave[BG_MOVE_OCTAVES], double share);
/* The learning rate that steps are scaled to: of the last epoch, of all, or 0. */
double bg_residual_lr(const struct bg_residual_options *options,
                      const struct bg_train_options *train, int64_t steps_per_epoch);

#endif
