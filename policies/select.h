/* Select policies: which layers tolerate fewer bits. One const table per policies/select_<name>.c.
 * A policy turns a profile into a ranking; the shared search turns the ranking into a plan. */
#ifndef BG_POLICIES_SELECT_H
#define BG_POLICIES_SELECT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/method.h"
#include "core/options.h"
#include "core/plan.h"
#include "core/profile.h"

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
};

/* order[0..count) are layer indices, first = quantize first; score per layer (NaN for layers not
 * ranked). */
struct bg_ranking {
    int layers, count;
    int *order;
    double *score;
    char note[256]; /* what was measured, for reports: "mean square of weight gradients over 32
                       batches" */
};
BG_MUST enum bg_status bg_ranking_make(struct bg_ranking *out, int layers);
void bg_ranking_free(struct bg_ranking *ranking);
/* Sorts all non-pinned, non-NaN... layers with a score by it (ascending or descending), ties by
 * index; fills order and count. */
void bg_ranking_sort(struct bg_ranking *ranking, const bool *pinned, bool descending);

struct bg_select_method {
    const char *name, *help, *source;
    const struct bg_option *options;
    size_t options_size;
    /* BG_E_DATA when the profile lacks what the policy needs, naming the stage to run. */
    enum bg_status (*rank)(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out);
};
extern const struct bg_select_method *const bg_select_methods[]; /* NULL-terminated, generated */

/* How many of the ranked layers: prefix search (methods, section 0.3). */
enum bg_search { BG_SEARCH_BINARY, BG_SEARCH_LINEAR, BG_SEARCH_COUNT, BG_SEARCH_THRESHOLD };
extern const char *const bg_search_names[]; /* "binary", "linear", "count", "threshold", NULL */

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

extern const struct bg_range_method *const bg_range_methods[];   /* generated */
extern const struct bg_update_method *const bg_update_methods[]; /* generated */

#endif
