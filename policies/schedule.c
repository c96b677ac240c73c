/* Learning rate as a pure function of the step. Warm-up: linear in the step from lr/10 at step 0 to
 * lr at step warmup * steps_per_epoch, multiplying nothing else. Then constant; or times gamma at
 * every milestone passed; or half a cosine from lr to final_lr, which is reached at the step after
 * the last. Steps past the end keep the end's value. */
#include <math.h>
#include <stddef.h>

#include "policies/trainer.h"

static const double pi = 3.14159265358979323846;

static double lr_at_milestones(const struct bg_train_options *options, double epoch)
{
    double lr = options->lr;
    for (int i = 0; i < options->milestones.count; i++)
        lr *= epoch >= options->milestones.at[i] ? options->gamma : 1;
    return lr;
}

static double lr_cosine(const struct bg_train_options *options, double done, double length)
{
    double part = length > 0 ? done / length : 1;
    part = part > 1 ? 1 : part;
    return options->final_lr + (options->lr - options->final_lr) * 0.5 * (1 + cos(pi * part));
}

double bg_train_lr(const struct bg_train_options *options, int64_t step, int64_t steps_per_epoch)
{
    double steps = (double)steps_per_epoch;
    double warmup = options->warmup * steps;
    if ((double)step < warmup)
        return options->lr * (0.1 + 0.9 * (double)step / warmup);
    switch (options->schedule) {
    case BG_SCHEDULE_STEP:
        return lr_at_milestones(options, (double)step / steps);
    case BG_SCHEDULE_COSINE:
        return lr_cosine(options, (double)step - warmup, (double)options->epochs * steps - warmup);
    default:
        return options->lr;
    }
}

static const char *const schedules[] = {"constant", "step", "cosine", NULL};
static const char *const losses[] = {"cross-entropy", "mse", NULL}; /* enum bg_loss */

#define FIELD(name_) offsetof(struct bg_train_options, name_)

const struct bg_option bg_train_options_table[] = {
    {.key = "epochs",
     .type = BG_OPT_INT,
     .offset = FIELD(epochs),
     .fallback = "1",
     .min = 0,
     .max = 1000000,
     .help = "passes over the training part"},
    {.key = "batch",
     .type = BG_OPT_INT,
     .offset = FIELD(batch),
     .fallback = "128",
     .min = 1,
     .max = 65536,
     .help = "samples per step"},
    {.key = "lr",
     .type = BG_OPT_REAL,
     .offset = FIELD(lr),
     .fallback = "0.05",
     .min = 0,
     .max = 1000,
     .help = "learning rate"},
    {.key = "schedule",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(schedule),
     .fallback = "constant",
     .choices = schedules,
     .help = "how the learning rate goes on after warm-up"},
    {.key = "warmup",
     .type = BG_OPT_REAL,
     .offset = FIELD(warmup),
     .fallback = "0",
     .min = 0,
     .max = 1000000,
     .help = "epochs of linear warm-up from lr/10 to lr"},
    {.key = "milestones",
     .type = BG_OPT_REALS,
     .offset = FIELD(milestones),
     .fallback = "[]",
     .min = 0,
     .max = 1000000,
     .help = "schedule step: epochs after which lr is multiplied by gamma"},
    {.key = "gamma",
     .type = BG_OPT_REAL,
     .offset = FIELD(gamma),
     .fallback = "0.1",
     .min = 0,
     .max = 1,
     .help = "schedule step: factor at each milestone"},
    {.key = "final_lr",
     .type = BG_OPT_REAL,
     .offset = FIELD(final_lr),
     .fallback = "0",
     .min = 0,
     .max = 1000,
     .help = "schedule cosine: learning rate at the end"},
    {.key = "update",
     .type = BG_OPT_TEXT,
     .offset = FIELD(update),
     .fallback = "sgd",
     .help = "update method (bitgrad list)"},
    {.key = "options",
     .type = BG_OPT_NODE,
     .offset = FIELD(update_options),
     .fallback = "none",
     .help = "options of the update method"},
    {.key = "no_displacement",
     .type = BG_OPT_BOOL,
     .offset = FIELD(no_displacement),
     .fallback = "false",
     .help = "remember no f32 weights: the profile has no weight displacement then"},
    {.key = "updates",
     .type = BG_OPT_NODE,
     .offset = FIELD(updates),
     .fallback = "none",
     .help = "options of other methods that the plan names: {residual: {tune: nearest}}"},
    {.key = "label_smoothing",
     .type = BG_OPT_REAL,
     .offset = FIELD(label_smoothing),
     .fallback = "0",
     .min = 0,
     .max = 1,
     .help = "cross-entropy: share of the target spread over all classes"},
    {.key = "loss",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(loss),
     .fallback = "cross-entropy",
     .choices = losses,
     .help = "what is minimised"},
    {.key = "profile_every",
     .type = BG_OPT_INT,
     .offset = FIELD(profile_every),
     .fallback = "0",
     .min = 0,
     .max = 1000000000,
     .help = "record gradient statistics every n steps along training; 0 = never"},
    {.key = "profile_bins",
     .type = BG_OPT_INT,
     .offset = FIELD(profile_bins),
     .fallback = "64",
     .min = 1,
     .max = 1000000000,
     .help = "histograms with every n-th of these records"},
    {.key = "decay_norms",
     .type = BG_OPT_BOOL,
     .offset = FIELD(decay_norms),
     .fallback = "false",
     .help = "weight decay on biases, gamma and beta as well"},
    {.key = NULL}};
