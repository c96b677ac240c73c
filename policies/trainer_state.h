/* What the files of the trainer share and nobody else sees: its struct, the cache of programs, the
 * stream of batches, one training step, and remembered weights. */
#ifndef BG_POLICIES_TRAINER_STATE_H
#define BG_POLICIES_TRAINER_STATE_H

#include "policies/collect.h"
#include "policies/moves.h"
#include "policies/select.h"
#include "policies/trainer.h"

/* The weights of every layer at some moment, in graph order. */
struct bg_anchor {
    int layers;
    float **weight; /* [layers], owned */
    int64_t *count; /* [layers] */
};

#define BG_TRAINER_PROGRAMS 6
#define BG_TRAINER_INTEGERS 2

struct bg_trainer_program {
    struct bg_program *program;
    enum bg_mode mode;
    int64_t batch;
    bool observe;
    enum bg_compute compute;
    uint64_t used; /* for least recently used */
};

struct bg_trainer {
    struct bg_trainer_config config;
    struct bg_graph *graph;
    struct bg_trainer_program programs[BG_TRAINER_PROGRAMS];
    uint64_t clock;
    struct bg_anchor initial, previous; /* W_0 of the stage and weights of the last cycle */
    bool anchored;                      /* they hold something */
    struct bg_move_state *moving;       /* [layers] of the running epoch, owned */
    struct bg_moves *moved;             /* [layers] of the last whole one, owned */
    struct bg_integer_model *integer;   /* for evaluation, once it was asked for */
    struct bg_integer_program *integers[BG_TRAINER_INTEGERS];
    int64_t integer_batch[BG_TRAINER_INTEGERS]; /* 0 = free */
    int integer_next;
};

/* Batches of a source without end: pass after pass, from batch `position` on. */
struct bg_stream {
    struct bg_source *source;
    int64_t position;
    bool started;
};
BG_MUST enum bg_status bg_stream_next(struct bg_stream *stream, struct bg_batch *out);
/* BG_E_USAGE when a source has no samples or no batch size, by which others divide. */
BG_MUST enum bg_status bg_trainer_check_source(const struct bg_source *source);

/* The program for a mode and batch size, made when there is none. */
BG_MUST enum bg_status bg_trainer_program(struct bg_trainer *trainer, enum bg_mode mode,
                                          int64_t batch, bool observe, struct bg_program **out);
/* As above for training, never a fast one: values can pass through its quantizers. */
BG_MUST enum bg_status bg_trainer_exact_program(struct bg_trainer *trainer, int64_t batch,
                                                struct bg_program **out);
void bg_trainer_drop_programs(struct bg_trainer *trainer);

/* The weight parameter of a layer; NULL only for a graph that is broken. */
struct bg_param *bg_trainer_weight(const struct bg_graph *graph, int layer);
BG_MUST enum bg_status bg_anchor_make(struct bg_anchor *out, const struct bg_graph *graph);
void bg_anchor_free(struct bg_anchor *anchor);
void bg_anchor_take(struct bg_anchor *anchor, const struct bg_graph *graph);
/* Mean square of a layer's present weights minus the anchor's. */
double bg_anchor_displacement(const struct bg_anchor *anchor, const struct bg_graph *graph,
                              int layer);
/* profile->initial_square from the anchor. */
void bg_anchor_initial_square(const struct bg_anchor *anchor, struct bg_profile *profile);
/* BG_E_MISMATCH when the profile is not of this graph's layers. */
BG_MUST enum bg_status bg_trainer_check_profile(const struct bg_trainer *trainer,
                                                const struct bg_profile *profile);

/* Labels whose logit is the largest (ties to the lowest index). `evaluation` may be NULL. */
int64_t bg_trainer_count_correct(const float *logits, int64_t classes, const struct bg_batch *batch,
                                 struct bg_evaluation *evaluation);

#define BG_TRAINER_METHODS 16
struct bg_trainer_method {
    const struct bg_update_method *method;
    void *options; /* owned */
};

/* A run of training steps under one set of options. */
struct bg_trainer_run {
    struct bg_trainer *trainer;
    const struct bg_train_options *options;
    int methods;
    struct bg_trainer_method method[BG_TRAINER_METHODS]; /* the section's first */
    int *of_param;                                       /* of each parameter, owned */
    struct bg_stream stream;
    int64_t steps_per_epoch;
    int64_t end;  /* steps after which nothing may wait for a later one; 0 = never */
    bool observe; /* programs that can serve an observer */
    bool counts;  /* what updates do goes to trainer->moving */
};
BG_MUST enum bg_status bg_trainer_run_begin(struct bg_trainer_run *run, struct bg_trainer *trainer,
                                            const struct bg_train_options *options,
                                            struct bg_source *source);
void bg_trainer_run_end(struct bg_trainer_run *run);
/* trainer_methods.c. Weights begin to live as their methods have them; `resumed`: they must. */
BG_MUST enum bg_status bg_trainer_choose_methods(struct bg_trainer_run *run);
BG_MUST enum bg_status bg_trainer_prepare(const struct bg_trainer_run *run, bool resumed);
BG_MUST enum bg_status bg_trainer_update(const struct bg_trainer_run *run,
                                         const struct bg_update_moment *moment);
void bg_trainer_free_methods(struct bg_trainer_run *run);
/* An epoch of all layers begins; ends, into trainer->moved. */
void bg_trainer_begin_moves(struct bg_trainer *trainer);
void bg_trainer_end_moves(const struct bg_trainer_run *run);
/* Says which layers have lost every step. */
void bg_trainer_warn_lost(const struct bg_graph *graph);
/* One step: forward, backward, update. `schedule_step` gives the learning rate, `step` (0-based)
 * keys dropout and rounding and the row recorded into `collector`, if any. */
BG_MUST enum bg_status bg_trainer_run_step(struct bg_trainer_run *run, int64_t step,
                                           int64_t schedule_step, struct bg_collector *collector,
                                           struct bg_train_step_row *row);
/* Zero optimizer state in all parameters. */
void bg_trainer_clear_optimizer(struct bg_graph *graph);

#endif
