/* Select policies: which layers tolerate fewer bits. One const table per policies/select_<name>.c.
 * A policy turns a profile into a ranking; the shared search turns the ranking into a plan. What
 * policies and layers may cost or gain is not known here: the search asks a test for that. */
#ifndef BG_POLICIES_SELECT_H
#define BG_POLICIES_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/method.h"
#include "core/options.h"
#include "core/plan.h"
#include "core/profile.h"
#include "policies/measure.h"

struct bg_select_input {
    int layers;
    const char *const *names;
    const int64_t *weights, *macs;    /* per layer */
    const bool *pinned;               /* per layer: stays at the first precision, never ranked */
    const struct bg_profile *profile; /* NULL when the run has none */
    const double *weight_step;        /* per layer: mean grid step at the second precision, for
                                         scale_by_step; may be NULL */
    int classes;
    uint64_t seed;
    const struct bg_measurements *measures; /* NULL when the run has none */
    const int64_t *activations; /* per layer: elements it reads of one sample; may be NULL */
    int second_bits; /* at which criteria that measure at bits rank; 0 = the fewest measured */
};

/* order[0..count) are layer indices, first = quantize first; score per layer (NaN where there is
 * none; a pinned layer may have one, for reports, but never stands in the order). */
struct bg_ranking {
    int layers, count;
    int *order;
    double *score;
    bool descending; /* large scores first: a score threshold then takes scores >= it */
    char note[256];  /* what was measured, for reports: "mean square of weight gradients over 32
                        batches" */
    /* A layer whose bits the policy fixes (class-count): it is not in the order. */
    bool fixes;
    int fixed_layer;
    int fixed_bits[BG_ROLES]; /* 0 = left to others, 32 = f32 */
};
/* An empty order and scores that are all NaN. On failure *out is zeroed. */
BG_MUST enum bg_status bg_ranking_make(struct bg_ranking *out, int layers);
void bg_ranking_free(struct bg_ranking *ranking); /* takes a zeroed one */
/* Sorts the layers that are not pinned and whose score is not NaN by it, ties by index; fills
 * order, count and descending. `pinned` may be NULL. Cannot fail. */
void bg_ranking_sort(struct bg_ranking *ranking, const bool *pinned, bool descending);
/* ranks[i] of values[i] among n values from 1 (smallest) to n; equal values share the mean of their
 * positions; NaN gets NaN. */
void bg_ranking_ranks(const double *values, int n, double *ranks);

/* For policies that read a profile: there is one, and it is of these layers (BG_E_DATA naming the
 * stage to run, BG_E_MISMATCH naming the first layer that differs). */
BG_MUST enum bg_status bg_select_check_profile(const struct bg_select_input *input);

/* What each number of bits would cost by a criterion, for allocators that take the least sum.
 * Values of one role are comparable between layers; both roles have one unit unless the policy's
 * help says otherwise. A penalty may be negative (a measured loss can fall). */
struct bg_penalties {
    int layers, candidates;
    int bits[BG_CANDIDATES_MAX]; /* 0 = f32, whose penalty is 0 */
    bool speaks[2];   /* weights, activations: does the criterion say anything of them? Else NaN */
    char silent[200]; /* why it says nothing of activations */
    double *value;    /* [role][layer][candidate], owned */
    bool fixes;       /* as in bg_ranking */
    int fixed_layer, fixed_bits[BG_ROLES];
};
/* All NaN, of these candidates (1..16 of them, each 0..16 bits: BG_E_RANGE otherwise). */
BG_MUST enum bg_status bg_penalties_make(struct bg_penalties *out, int layers, const int *bits,
                                         int candidates);
void bg_penalties_free(struct bg_penalties *penalties); /* takes a zeroed one */
double *bg_penalties_at(const struct bg_penalties *penalties, int layer, enum bg_role role,
                        int candidate);

struct bg_select_method {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    /* Fills score, order and note of a ranking made for input->layers. BG_E_DATA when the profile
     * lacks what the policy needs, naming the stage to run; BG_E_NUMERIC, naming the layer, when a
     * score would not be finite (relative displacement from zero weights excepted). */
    enum bg_status (*rank)(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out);
    /* Fills value and speaks of penalties made for input->layers; same failures. */
    enum bg_status (*penalties)(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out);
};
/* Makes the penalties of a policy for a list of candidates; values of a role it speaks of are
 * finite (BG_E_NUMERIC otherwise, naming the layer). Free with bg_penalties_free. */
BG_MUST enum bg_status bg_select_penalties(const struct bg_select_method *method,
                                           const void *options, const struct bg_select_input *input,
                                           const int *bits, int candidates,
                                           struct bg_penalties *out);
extern const struct bg_select_method *const bg_select_methods[]; /* NULL-terminated, generated */

/* How many of the ranked layers: prefix search (policies/METHODS.md), the first n, or all whose
 * score is at most a threshold. Budget: no ranking; an allocator gives each layer bits by the
 * policy's penalties (policies/budget.h). */
enum bg_search {
    BG_SEARCH_BINARY,
    BG_SEARCH_LINEAR,
    BG_SEARCH_COUNT,
    BG_SEARCH_THRESHOLD,
    BG_SEARCH_BUDGET
};
extern const char *const bg_search_names[]; /* "binary", ..., NULL */

#define BG_SELECT_ROUNDS 64 /* selections of a run */
/* How bits may move when layers are selected again along fine-tuning. */
enum bg_direction { BG_DIRECTION_DOWN, BG_DIRECTION_BOTH };

/* ok(k): is the accuracy drop with the first k layers quantized at most tau? Called at most once
 * per k. */
struct bg_prefix_test {
    void *self;
    enum bg_status (*ok)(void *self, int k, bool *passed);
};
/* Largest k found in 0..m. binary: at most ceil(log2(m+1)) calls, exact when the drop is monotone;
 * linear: every k from 1 to m, the largest that passes. ok(0) is true by definition and not called.
 * *evaluations counts calls. */
BG_MUST enum bg_status bg_prefix_search(enum bg_search search, int m,
                                        const struct bg_prefix_test *test, int *k,
                                        int *evaluations);

/* Recipe section `select` (and the reader of its options). */
struct bg_select_options {
    char policy[BG_OPTION_TEXT];   /* method name, "gradient-profile" */
    const struct bg_yaml *options; /* read by the policy's own table; NULL when absent */
    int64_t first_bits;            /* weights of layers that are not chosen; 0 = f32 */
    int64_t second_bits;           /* weights of chosen layers */
    int64_t activation_bits;       /* of every layer's input; 0 = f32 */
    int search;                    /* enum bg_search */
    double tolerance;              /* allowed accuracy drop, as a fraction */
    int64_t count;                 /* search: count; 0 = all ranked layers */
    double threshold;              /* search: threshold */
    bool pin_first, pin_last;
    struct bg_text_list pinned;
    char plan[BG_OPTION_TEXT]; /* a plan file to use instead of selecting, "" = none */
    /* search: budget */
    const struct bg_yaml *budget, *allocator_options, *tied;
    struct bg_int_list candidates;
    char allocator[BG_OPTION_TEXT], latency[BG_OPTION_TEXT];
    bool choose_activations;
    /* more than one selection: rounds of profile, select and a part of finetune */
    int64_t every; /* epochs of fine-tuning from one to the next; 0 = select once */
    int direction; /* enum bg_direction */
    struct bg_real_list progress;
    const struct bg_yaml *residual; /* read by policies/residual_bits.h; NULL = absent */
};
extern const struct bg_option bg_select_options_table[];

/* pinned[layers] from pin_first, pin_last and the names; an unknown name is BG_E_DATA with the
 * nearest one. */
BG_MUST enum bg_status bg_select_pinned(const struct bg_select_options *options,
                                        const char *const *names, int layers, bool *pinned);
/* How many of the ranked layers by options->search. binary and linear ask `test` and count the
 * calls; count and threshold are answered from the ranking without a test (may be NULL then). A
 * count above the ranked layers is BG_E_DATA; a failure of the test passes up. */
BG_MUST enum bg_status bg_select_prefix(const struct bg_select_options *options,
                                        const struct bg_ranking *ranking,
                                        const struct bg_prefix_test *test, int *k,
                                        int *evaluations);
/* The plan of a prefix: weights of the first k ranked layers at second_bits, all others (pinned
 * ones too) at first_bits, per channel; every layer's input at activation_bits. `names` are those
 * of ranking->layers layers. Free *out with bg_plan_free. */
BG_MUST enum bg_status bg_select_plan(const struct bg_select_options *options,
                                      const char *const *names, const struct bg_ranking *ranking,
                                      int k, struct bg_plan *out);

extern const struct bg_range_method *const bg_range_methods[];   /* generated */
extern const struct bg_update_method *const bg_update_methods[]; /* generated */

/* Methods chosen in a recipe, with their options read: *options is fresh memory (bg_free) filled
 * with defaults and what `node` says. An unknown name or key adds a line to `errors` and gives
 * BG_E_DATA; `path` stands in front of it ("select", "quantize.weight_range").
 * Select and update methods take their name and their options apart. */
BG_MUST enum bg_status bg_select_choose(const char *name, const struct bg_yaml *node,
                                        const char *path, const struct bg_select_method **method,
                                        void **options, struct bg_text *errors);
/* The same where the policy's name stands among its options, under `name`. */
BG_MUST enum bg_status bg_select_choose_inside(const char *name, const struct bg_yaml *node,
                                               const char *path,
                                               const struct bg_select_method **method,
                                               void **options, struct bg_text *errors);
/* Reads a map from names of update methods to their options: errors are added for names that there
 * are not and options that they do not have. NULL is an empty map. */
BG_MUST enum bg_status bg_updates_check(const struct bg_yaml *updates, const char *path,
                                        struct bg_text *errors);
BG_MUST enum bg_status bg_update_choose(const char *name, const struct bg_yaml *node,
                                        const char *path, const struct bg_update_method **method,
                                        void **options, struct bg_text *errors);
/* Range methods: node is a bare name, or a map with the name under `name` and the options beside
 * it; NULL takes `fallback` with its defaults. */
BG_MUST enum bg_status bg_range_choose(const struct bg_yaml *node, const char *fallback,
                                       const char *path, const struct bg_range_method **method,
                                       void **options, struct bg_text *errors);

#endif
