/* What measures work with: the f32 network, its batches in memory, the grid of every weight and
 * layer input at every candidate's bits, and one layer put on such a grid. Seen by
 * policies/measure_<name>.c and tests. */
#ifndef BG_POLICIES_MEASURER_H
#define BG_POLICIES_MEASURER_H

#include "autograd/program.h"
#include "policies/measure.h"

#define BG_MEASURER_PROGRAMS 4

struct bg_measurer_program {
    struct bg_program *program;
    enum bg_mode mode;
    int64_t batch;
};

struct bg_measurer {
    struct bg_measure_setup setup;
    struct bg_graph *graph;
    int layers;
    int64_t samples;         /* in all batches */
    struct bg_batch *batch;  /* [setup.batches], memory owned */
    float **weight;          /* [layers] the weights as they were, owned */
    int64_t *weights;        /* [layers] how many */
    int *owner;              /* [layers] the first layer that reads the same tensor as this one */
    int *sharers;            /* [layers] how many layers read the layer's input tensor */
    struct bg_grid *grid[2]; /* [role][layers * candidates], scales owned */
    struct bg_snapshot **ranges; /* [candidates] with the ranges of activations at these bits */
    struct bg_snapshot *found;   /* the network as it was */
    struct bg_measurer_program programs[BG_MEASURER_PROGRAMS];
    int next_program;
    bool changed; /* a plan is on the network */
    int64_t passes, counted;
    int measure; /* index that rows get */
    struct bg_measure_rows *rows;
    char what[BG_NAME_MAX]; /* for progress and sentences */
};

/* Puts a plan (NULL = f32) on the network; programs go. */
BG_MUST enum bg_status bg_measurer_apply(struct bg_measurer *measurer, const struct bg_plan *plan);
void bg_measurer_drop_programs(struct bg_measurer *measurer);

/* A row of the present measure: passes are filled in. A value that is not finite is BG_E_NUMERIC
 * naming the layer. */
BG_MUST enum bg_status bg_measurer_add(struct bg_measurer *measurer,
                                       const struct bg_measure_row *row);
/* BG_E_INTERRUPTED after a request to stop; reports progress. Call between layers. */
BG_MUST enum bg_status bg_measurer_progress(struct bg_measurer *measurer, int64_t done,
                                            int64_t total);

/* Evaluation of a batch under what is on the network now. Every node's value stays readable until
 * the network changes. */
BG_MUST enum bg_status bg_measurer_forward(struct bg_measurer *measurer,
                                           const struct bg_batch *batch, struct bg_program **out);
/* Loss and gradients of the evaluated f32 network: parameters' grad is filled. */
BG_MUST enum bg_status bg_measurer_gradients(struct bg_measurer *measurer,
                                             const struct bg_batch *batch,
                                             const struct bg_observer *observer,
                                             struct bg_program **out);

/* One layer's weights, or the tensor it reads (for all its readers), on the grid of a candidate's
 * bits; everything else in f32. */
BG_MUST enum bg_status bg_measurer_alone(struct bg_measurer *measurer, int layer, int role,
                                         int candidate);
/* Puts each layer at its own bits: choice[layer] is a candidate; activations likewise when
 * `activations` is not NULL. */
BG_MUST enum bg_status bg_measurer_plan(struct bg_measurer *measurer, const int *choice,
                                        const int *activations);

/* Weights that a measure has changed, as they were. */
void bg_measurer_restore(struct bg_measurer *measurer, int layer);

const struct bg_grid *bg_measurer_grid(const struct bg_measurer *measurer, int layer, int role,
                                       int candidate);
/* The tensor a layer reads in a program's last forward. */
const struct bg_tensor *bg_measurer_input(const struct bg_measurer *measurer,
                                          const struct bg_program *program, int layer);

/* Sums over rows in a fixed order. */
double bg_measure_dot(const float *a, const float *b, int64_t n);
/* Mean and standard error of the mean of n values; one value has no error (NaN). Weights sum to
 * anything positive; NULL = all alike. */
void bg_measure_mean(const double *value, const double *weight, int64_t n, double *mean,
                     double *error);
/* KL(p || q) of softmax(logits), in f64. */
double bg_measure_divergence(const float *before, const float *after, int64_t classes);

#endif
