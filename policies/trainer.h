/* The trainer owns the step loop: schedules, updates, evaluation, calibration, profiling, over
 * bg_sources. It knows nothing of files or words; progress and rows go out through callbacks, and
 * its whole position is a plain struct that a checkpoint stores. */
#ifndef BG_POLICIES_TRAINER_H
#define BG_POLICIES_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/program.h"
#include "core/method.h"
#include "core/profile.h"
#include "core/source.h"
#include "layers/net.h"

struct bg_trainer;

enum bg_schedule { BG_SCHEDULE_CONSTANT, BG_SCHEDULE_STEP, BG_SCHEDULE_COSINE };

/* Recipe sections `train` and `finetune` (one table for both). */
struct bg_train_options {
    int64_t epochs, batch;
    double lr;
    int schedule;                   /* enum bg_schedule */
    double warmup;                  /* epochs of linear warm-up from lr/10... to lr */
    struct bg_real_list milestones; /* step: epochs at which lr is multiplied by gamma */
    double gamma;
    double final_lr;                      /* cosine: lr at the end */
    char update[BG_OPTION_TEXT];          /* method name, "sgd" */
    const struct bg_yaml *update_options; /* key `options`: read by the update method's own table */
    double label_smoothing;
    int loss;              /* enum bg_loss */
    int64_t profile_every; /* record gradient statistics every n steps along training; 0 = never */
    bool decay_norms;      /* weight decay on biases, gamma and beta as well */
};
extern const struct bg_option bg_train_options_table[];

/* lr of step `step` (0-based) when an epoch has `steps` steps: warm-up, then the schedule. Pure. */
double bg_train_lr(const struct bg_train_options *options, int64_t step, int64_t steps_per_epoch);

struct bg_trainer_config {
    struct bg_net *net;
    enum bg_compute compute;
    uint64_t seed;
    int64_t batch; /* training batch */
    int64_t eval_batch;
};

BG_MUST enum bg_status bg_trainer_create(struct bg_trainer **out,
                                         const struct bg_trainer_config *config);
void bg_trainer_destroy(struct bg_trainer *trainer);
/* Programs are made lazily and dropped when the plan changes. NULL plan = f32. Calls
 * bg_graph_quantize. */
BG_MUST enum bg_status bg_trainer_apply(struct bg_trainer *trainer, const struct bg_plan *plan,
                                        const struct bg_quantize_options *options);

/* Position inside a training stage; all a resume needs beside net and profile. */
struct bg_train_state {
    int64_t step;                         /* steps done in this stage */
    int64_t epoch_samples, epoch_correct; /* of the running epoch */
    double epoch_loss_sum;                /* sum of batch loss * size */
    double best_accuracy;                 /* validation, -1 before the first */
    int64_t best_epoch;
};

/* What the trainer holds between steps beside the net: `state`, the weights W_0 of the stage's
 * start and those of the last cycle (for displacement). Under "trainer/". Load needs a trainer of
 * the same net. */
struct bg_h5;
BG_MUST enum bg_status bg_trainer_save(const struct bg_trainer *trainer,
                                       const struct bg_train_state *state, struct bg_h5 *file);
BG_MUST enum bg_status bg_trainer_load(struct bg_trainer *trainer, struct bg_train_state *state,
                                       struct bg_h5 *file);

struct bg_train_step_row {
    int64_t step;
    double lr, loss;
    int64_t size, correct;
};
struct bg_evaluation {
    int64_t count, correct;
    double accuracy, loss; /* fraction, mean */
    int classes;
    int64_t class_count[1024], class_correct[1024];
};
struct bg_train_epoch_row {
    int64_t epoch, step; /* epochs done, steps done */
    double lr, train_loss, train_accuracy, validation_loss, validation_accuracy;
    double seconds; /* wall clock; timing file only */
};

/* Any callback may return non-OK to stop the stage with that status. NULL callbacks are skipped. */
struct bg_train_hooks {
    void *self;
    enum bg_status (*on_step)(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state);
    enum bg_status (*on_epoch)(void *self, const struct bg_train_epoch_row *row,
                               const struct bg_evaluation *evaluation,
                               const struct bg_train_state *state);
    struct bg_profile
        *profile; /* rows every profile_every steps, and displacement per epoch; may be NULL */
};

/* Trains from `state` (zeroed at first) to the end. Evaluates on `validation` after each epoch (may
 * be NULL). Polls bg_stop_requested after each step: then returns BG_E_INTERRUPTED with state and
 * net consistent at a step's end. */
BG_MUST enum bg_status bg_trainer_train(struct bg_trainer *trainer,
                                        const struct bg_train_options *options,
                                        struct bg_source *train, struct bg_source *validation,
                                        struct bg_train_state *state,
                                        const struct bg_train_hooks *hooks);

BG_MUST enum bg_status bg_trainer_evaluate(struct bg_trainer *trainer, struct bg_source *source,
                                           struct bg_evaluation *out);
/* Ranges from the first `batches` batches with quantizers bypassed, then `batches` more passes of
 * training-mode forward moving the running statistics of batch norm (cumulative average) when
 * `recalibrate_bn`. */
BG_MUST enum bg_status bg_trainer_calibrate(struct bg_trainer *trainer, struct bg_source *source,
                                            int64_t batches, bool recalibrate_bn);

/* P1: gradients of K batches at fixed weights, batch norm in training mode without moving running
 * statistics. Adds rows to profile. Weights are bit-identical afterwards. */
BG_MUST enum bg_status bg_trainer_profile_gradients(struct bg_trainer *trainer,
                                                    struct bg_source *source, int64_t batches,
                                                    struct bg_profile *profile);
/* P2 from the present weights: `cycles` cycles of `steps` training steps each (0 = an epoch) with
 * `options`; displacement rows against initial and previous, or, with `reset`, each cycle restarts
 * from W_0. Weights, optimizer state, ranges and running statistics are restored afterwards. */
BG_MUST enum bg_status bg_trainer_profile_displacement(struct bg_trainer *trainer,
                                                       const struct bg_train_options *options,
                                                       struct bg_source *source, int64_t cycles,
                                                       int64_t steps, bool reset,
                                                       struct bg_profile *profile);

#endif
