/* Measures: what a trained network says about fewer bits, layer by layer, as rows of plain data.
 * One const table per policies/measure_<name>.c. A measure runs the f32 network over some batches
 * in evaluation form (batch norm by its running statistics, no dropout) and leaves it
 * bit-identical; criteria (select.h) read the rows and run nothing. */
#ifndef BG_POLICIES_MEASURE_H
#define BG_POLICIES_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/graph.h"
#include "core/options.h"
#include "core/plan.h"
#include "core/source.h"

#define BG_CANDIDATES_MAX 16 /* different bits: 1 to 16 */

/* What a row's value is. Numbers are stored in files: append only. */
enum bg_measured {
    BG_MEASURED_MEAN_SQUARE, /* of the error per element, the tensor on its grid of `bits` */
    BG_MEASURED_STEP_NOISE,  /* mean of step^2 / 12 over the grid's channels: uniform rounding noise
                              */
    BG_MEASURED_OUTPUT,      /* squared L2 change of an output, mean over samples */
    BG_MEASURED_RELATIVE,    /* the same over the output's squared norm (0: over the mean norm) */
    BG_MEASURED_DIVERGENCE,  /* KL(p before || p after) of the softmax output, mean over samples */
    BG_MEASURED_LOSS,        /* change of the mean loss (combinations: the mean loss itself) */
    BG_MEASURED_FIRST_ORDER, /* sum of gradient * error: the first-order change of the mean loss */
    BG_MEASURED_ABSOLUTE,    /* sum of |gradient * error| */
    BG_MEASURED_TRACE,       /* of a Fisher or Hessian matrix: sum over its diagonal */
    BG_MEASURED_STEP_ERROR,  /* estimated error of a trace from the length of its difference */
    BG_MEASURED_SENSITIVITY, /* change of an output per squared norm of a perturbation */
    BG_MEASURED
};
extern const char *const bg_measured_names[BG_MEASURED]; /* "mean-square", "step-noise", ... */
extern const char *const bg_measure_roles[2];            /* "weight", "activation" */

struct bg_measure_row {
    int measure;          /* index of the measure's name */
    int measured;         /* enum bg_measured */
    int layer;            /* -1: a combination of all layers, in order (combinations) */
    int role;             /* BG_ROLE_WEIGHT or BG_ROLE_ACTIVATION */
    int bits;             /* 0: does not depend on bits */
    double value, spread; /* spread: standard error of the mean; NaN when there is none */
    /* What value is a mean over: images, elements, random vectors or draws. Of a sensitivity: the
     * images that the change of the output adds up over (of the loss: is a mean over). */
    int64_t samples;
    /* Samples sent through a forward pass plus samples sent through a backward pass since the row
     * before: rows made by the same passes carry them once, in the first of them. Calibration of
     * the grids is not counted, it is the same for all. */
    int64_t passes;
};

/* All that was measured of a network. A view: nothing here is owned. */
struct bg_measurements {
    int measures;
    const char (*name)[BG_NAME_MAX]; /* as the recipe names them */
    int64_t rows;
    const struct bg_measure_row *row;
    int candidates;
    int bits[BG_CANDIDATES_MAX]; /* ascending */
};
/* Index of a name, -1 = none. */
int bg_measurements_index(const struct bg_measurements *measurements, const char *name);
/* The last row that fits, or NULL. */
const struct bg_measure_row *bg_measurements_find(const struct bg_measurements *measurements,
                                                  const struct bg_measure_row *key);

/* Rows in the making; zeroed at first. */
struct bg_measure_rows {
    int64_t rows, room;
    struct bg_measure_row *row; /* owned */
};
BG_MUST enum bg_status bg_measure_rows_add(struct bg_measure_rows *rows,
                                           const struct bg_measure_row *row);
void bg_measure_rows_free(struct bg_measure_rows *rows);

struct bg_measurer; /* measurer.h: the network with its batches and grids, ready to be measured */

struct bg_measure_method {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    /* BG_E_DATA when options contradict each other; NULL = nothing to check. */
    enum bg_status (*check)(const void *options);
    /* Adds its rows with bg_measurer_add. */
    enum bg_status (*run)(const void *options, struct bg_measurer *measurer);
    /* For checks in advance: bit (1 << enum bg_measured) of what it adds. `brings` says so where
     * that depends on options, NULL = always `quantities`. */
    unsigned quantities;
    unsigned (*brings)(const void *options);
    /* NULL, or: the rows are of layer -1, and this says how many there will be (BG_E_DATA: too
     * many).
     */
    enum bg_status (*combinations)(const void *options, int layers, int candidates, int64_t *rows);
};
extern const struct bg_measure_method *const bg_measure_methods[]; /* generated */

/* One entry of a recipe's list of measures. */
struct bg_measure_choice {
    char name[BG_NAME_MAX]; /* of its rows: `as`, by default the method's */
    const struct bg_measure_method *method;
    void *options; /* owned */
};
struct bg_measure_list {
    int count;
    struct bg_measure_choice *at; /* owned */
};
/* `node` is a list of names or maps {name: ..., as: ..., options}, or NULL. Errors are added as
 * bg_options_read does. Free with bg_measure_list_free. */
BG_MUST enum bg_status bg_measure_choose(const struct bg_yaml *node, const char *path,
                                         struct bg_measure_list *out, struct bg_text *errors);
void bg_measure_list_free(struct bg_measure_list *list);
/* Rows of the kinds the list will bring, all of value 1, for checks before anything was measured.
 */
BG_MUST enum bg_status bg_measure_expect(const struct bg_measure_list *list, int layers,
                                         int candidates, const int *bits,
                                         struct bg_measure_rows *rows);
/* The list as YAML with every default filled in. */
void bg_measure_list_print(const struct bg_measure_list *list, int indent, struct bg_text *text);

/* What a measurer is made of. Everything is the caller's and must outlive it. */
struct bg_trainer;
struct bg_measure_setup {
    struct bg_trainer *trainer; /* its network must be in f32: BG_E_USAGE otherwise */
    struct bg_source *source;   /* the first `batches` batches are read, once */
    int64_t batches;
    struct bg_source *calibration; /* ranges of activations: the first `calibration_batches` */
    int64_t calibration_batches;
    const struct bg_quantize_options *quantize; /* how ranges are found */
    int candidates;
    int bits[BG_CANDIDATES_MAX]; /* ascending */
    uint64_t seed;
};
/* Reads the batches, keeps the network as it is and fits the grids of every candidate. On failure
 * *out is NULL and the network as it was found. */
BG_MUST enum bg_status bg_measurer_open(struct bg_measurer **out,
                                        const struct bg_measure_setup *setup);
/* Runs one measure; its rows, of index `measure`, are added to `rows`. On failure rows may have
 * some of them. */
BG_MUST enum bg_status bg_measurer_run(struct bg_measurer *measurer,
                                       const struct bg_measure_choice *choice, int measure,
                                       struct bg_measure_rows *rows);
/* Back to f32 after a measure. Cheap when nothing was changed. */
BG_MUST enum bg_status bg_measurer_base(struct bg_measurer *measurer);
/* Puts the network back as it was: f32, all parameters and statistics bit-identical. Takes NULL. */
BG_MUST enum bg_status bg_measurer_close(struct bg_measurer *measurer);

/* candidates from a recipe: sorted, each once. BG_E_DATA outside 1..16 or more than 16. */
BG_MUST enum bg_status bg_measure_candidates(const struct bg_int_list *list, int *count,
                                             int bits[BG_CANDIDATES_MAX]);

#endif
