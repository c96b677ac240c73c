/* The trainer owns the step loop: schedules, updates, evaluation, calibration, profiling, over
 * bg_sources. It knows nothing of files or words; progress and rows go out through callbacks, and
 * its whole position is a plain struct that a checkpoint stores. */
#ifndef BG_POLICIES_TRAINER_H
#define BG_POLICIES_TRAINER_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/integer.h"
#include "autograd/program.h"
#include "core/method.h"
#include "core/profile.h"
#include "core/source.h"
#include "layers/net.h"
#include "policies/moves.h"

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
    const struct bg_yaml *updates;        /* options of other methods that the plan names */
    double label_smoothing;
    int loss;              /* enum bg_loss */
    int64_t profile_every; /* record gradient statistics every n steps along training; 0 = never */
    int64_t profile_bins;  /* histograms in every n-th of these rows, from the first; in others all
                              bins are 0 */
    bool decay_norms;      /* weight decay on biases, gamma and beta as well */
    bool no_displacement; /* a profile gets no displacement, and no weights are remembered for it */
};
extern const struct bg_option bg_train_options_table[];

/* lr of step `step` (0-based) when an epoch has `steps_per_epoch` steps: linear warm-up from lr/10,
 * then the schedule. Pure, cannot fail. */
double bg_train_lr(const struct bg_train_options *options, int64_t step, int64_t steps_per_epoch);

struct bg_trainer_config {
    struct bg_net *net; /* the caller's; must outlive the trainer */
    enum bg_compute compute;
    uint64_t seed;
    /* Usual batch sizes of training and evaluation. Programs are made for the sizes that sources
     * bring; when too many are held, those of other sizes give way first. */
    int64_t batch;
    int64_t eval_batch;
};

BG_MUST enum bg_status bg_trainer_create(struct bg_trainer **out,
                                         const struct bg_trainer_config *config);
void bg_trainer_destroy(struct bg_trainer *trainer); /* takes NULL */
/* Programs are made lazily and dropped when the plan changes. NULL plan = f32. Calls
 * bg_graph_quantize; on failure the network is as before. */
BG_MUST enum bg_status bg_trainer_apply(struct bg_trainer *trainer, const struct bg_plan *plan,
                                        const struct bg_quantize_options *options);
/* How much of a training step of this batch size runs on codes and bf16 with the plan that is on
 * the network; `why` is valid until the next call of a function of this trainer. */
BG_MUST enum bg_status bg_trainer_fastness(struct bg_trainer *trainer, int64_t batch,
                                           struct bg_fastness *out);

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
 * the same net; on failure trainer and state are as before. */
struct bg_h5;
BG_MUST enum bg_status bg_trainer_save(const struct bg_trainer *trainer,
                                       const struct bg_train_state *state, struct bg_h5 *file);
BG_MUST enum bg_status bg_trainer_load(struct bg_trainer *trainer, struct bg_train_state *state,
                                       struct bg_h5 *file);

/* Steps count from 1 in all rows: `step` is the number of steps done, so that bg_profile_truncate
 * with a checkpoint's state->step keeps exactly what that checkpoint has seen. */
struct bg_train_step_row {
    int64_t step;
    double lr, loss;
    int64_t size, correct;
    double update_seconds; /* wall clock of the update: for timings, never part of a record */
};
struct bg_evaluation {
    int64_t count, correct;
    double accuracy, loss; /* fraction, mean */
    int classes;
    bool integer; /* by the integer program; else in f32 (codes of a plan simulated) */
    int64_t class_count[1024], class_correct[1024];
};
struct bg_train_epoch_row {
    int64_t epoch, step; /* epochs done, steps done */
    double lr, train_loss, train_accuracy;
    double validation_loss, validation_accuracy; /* NaN without a validation source */
    double seconds;                              /* wall clock; timing file only */
    const struct bg_moves *moves; /* [layers] what the epoch's updates did; until the next step */
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
        *profile;   /* rows every profile_every steps, and displacement per epoch; may be NULL */
    int64_t until;  /* epochs after which to return, with more to come; 0 = at the end */
    bool replanned; /* a plan was put on the network since the steps before these */
};

/* Trains from `state` (zeroed at first) to the end. Step 0 starts a stage: optimizer state is
 * cleared and W_0 remembered. Evaluates on `validation` after each epoch (may be NULL). `hooks` may
 * be NULL. Polls bg_stop_requested after each step: then returns BG_E_INTERRUPTED with state and
 * net consistent at a step's end. Decay acts on weights, with decay_norms on biases, gamma and beta
 * too, never on learned steps. Resuming with hooks->profile needs the trainer that began the stage
 * or bg_trainer_load. NaN or infinity: BG_E_NUMERIC, "step 12, lr 0.5: ...". Once the first epoch
 * has made the programs, a step allocates nothing (recorded profile rows may grow the profile). */
BG_MUST enum bg_status bg_trainer_train(struct bg_trainer *trainer,
                                        const struct bg_train_options *options,
                                        struct bg_source *train, struct bg_source *validation,
                                        struct bg_train_state *state,
                                        const struct bg_train_hooks *hooks);

/* What the weights take, those in integers and those with an f32 master (core/store.h); one byte of
 * codes per weight that a fast program packs from is the program's. */
void bg_trainer_bytes(const struct bg_graph *graph, struct bg_store_bytes *integers,
                      struct bg_store_bytes *masters);

/* Bytes of f32 weights that are kept beside them, to record their displacement. */
int64_t bg_trainer_remembered(const struct bg_trainer *trainer);

/* The class with the largest of one sample's logits, the lowest on a tie. */
int64_t bg_prediction(const float *logits, int64_t classes);
/* One pass over the source: accuracy overall and per class (ties between logits to the lowest
 * class), mean loss. Moves neither ranges nor statistics. BG_E_RANGE above 1024 classes,
 * BG_E_MISMATCH when data and network differ in theirs, BG_E_USAGE for an empty source. */
BG_MUST enum bg_status bg_trainer_evaluate(struct bg_trainer *trainer, struct bg_source *source,
                                           struct bg_evaluation *out);
/* The integer model of the present weights and ranges, the trainer's own: it is refreshed by the
 * next call and by evaluation, and goes with the plan. BG_E_UNSUPPORTED when the plan has none. */
BG_MUST enum bg_status bg_trainer_integers(struct bg_trainer *trainer,
                                           struct bg_integer_model **out);
/* Ranges of activations anew from the first `batches` batches with quantizers bypassed (weights are
 * quantized already); then, when `recalibrate_bn`, the same batches once more with quantizers
 * active, while the running statistics of batch norm become the plain average over them. Both run
 * in training mode (statistics of the batch, dropout on), because the running statistics are of the
 * network before the plan; the first pass does not move them. Learned steps keep what they have
 * learned. */
BG_MUST enum bg_status bg_trainer_calibrate(struct bg_trainer *trainer, struct bg_source *source,
                                            int64_t batches, bool recalibrate_bn);

/* An empty profile that fits the network: layer names, weight counts and channels. */
BG_MUST enum bg_status bg_trainer_profile_make(const struct bg_net *net, bool per_channel,
                                               struct bg_profile *out);
/* P1: gradients of the first `batches` batches (further passes when the source has fewer) at fixed
 * weights, batch norm in training mode without moving running statistics, dropout as in training
 * steps 0, 1, ... Adds one row per batch to profile, numbered from 1. Weights, statistics and
 * ranges are bit-identical afterwards. Do not mix with rows recorded along training in one profile:
 * a policy reads all rows. */
BG_MUST enum bg_status bg_trainer_profile_gradients(struct bg_trainer *trainer,
                                                    struct bg_source *source, int64_t batches,
                                                    struct bg_profile *profile);
/* P2 from the present weights: `cycles` cycles of `steps` training steps each (0 = an epoch) with
 * `options` and a cleared optimizer state; displacement rows against initial and previous, or, with
 * `reset`, each cycle restarts from W_0 and goes on in the data (learning rates restart too). Cycle
 * k takes batches (k-1)*steps, ... of the source. Weights, optimizer state, ranges and running
 * statistics are restored afterwards, on failure too. Adds cycles to profile: do not mix with those
 * of a training stage, whose W_0 was another. */
BG_MUST enum bg_status bg_trainer_profile_displacement(struct bg_trainer *trainer,
                                                       const struct bg_train_options *options,
                                                       struct bg_source *source, int64_t cycles,
                                                       int64_t steps, bool reset,
                                                       struct bg_profile *profile);

#endif
