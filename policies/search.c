/* From a ranking to a number of layers, and from there to a plan.
 *
 * The prefix search is the one of policies/METHODS.md (for P2 the sorted list and a
 * binary search bounded by an accuracy loss are claimed by its patents; the linear search is ours).
 * Invariant: a result k > 0 was tested and passed; the empty set passes by definition. */
#include <stdio.h>

#include "core/mem.h"
#include "policies/select.h"

const char *const bg_search_names[] = {"binary", "linear", "count", "threshold", "budget", NULL};
static const char *const directions[] = {"down", "both", NULL};

static enum bg_status search_binary(int m, const struct bg_prefix_test *test, int *k,
                                    int *evaluations)
{
    enum bg_status rc = BG_OK;
    int low = 0, high = m;
    while (low < high) {
        int middle = low + (high - low + 1) / 2; /* rounded up, else it could loop for ever */
        bool passed = false;
        TRY(test->ok(test->self, middle, &passed));
        ++*evaluations;
        if (passed)
            low = middle;
        else
            high = middle - 1;
    }
    *k = low;
out:
    return rc;
}

static enum bg_status search_linear(int m, const struct bg_prefix_test *test, int *k,
                                    int *evaluations)
{
    enum bg_status rc = BG_OK;
    int largest = 0;
    for (int tried = 1; tried <= m; tried++) {
        bool passed = false;
        TRY(test->ok(test->self, tried, &passed));
        ++*evaluations;
        if (passed)
            largest = tried;
    }
    *k = largest;
out:
    return rc;
}

enum bg_status bg_prefix_search(enum bg_search search, int m, const struct bg_prefix_test *test,
                                int *k, int *evaluations)
{
    *k = 0;
    *evaluations = 0;
    if (m < 0)
        return bg_fail(BG_E_RANGE, "prefix search over %d layers", m);
    if (search == BG_SEARCH_BINARY)
        return search_binary(m, test, k, evaluations);
    if (search == BG_SEARCH_LINEAR)
        return search_linear(m, test, k, evaluations);
    return bg_fail(BG_E_USAGE, "prefix search: only binary and linear ask a test");
}

static int count_within(const struct bg_ranking *ranking, double threshold)
{
    int k = 0;
    for (; k < ranking->count; k++) {
        double score = ranking->score[ranking->order[k]];
        if (ranking->descending ? score < threshold : score > threshold)
            break;
    }
    return k;
}

enum bg_status bg_select_prefix(const struct bg_select_options *options,
                                const struct bg_ranking *ranking, const struct bg_prefix_test *test,
                                int *k, int *evaluations)
{
    *k = 0;
    *evaluations = 0;
    switch (options->search) {
    case BG_SEARCH_COUNT:
        if (options->count > ranking->count)
            return bg_fail(BG_E_DATA, "select: count %lld, but only %d layers are ranked",
                           (long long)options->count, ranking->count);
        *k = options->count == 0 ? ranking->count : (int)options->count;
        return BG_OK;
    case BG_SEARCH_BUDGET:
        return bg_fail(BG_E_USAGE, "select: a budget takes no prefix of a ranking");
    case BG_SEARCH_THRESHOLD:
        *k = count_within(ranking, options->threshold);
        return BG_OK;
    default:
        return bg_prefix_search((enum bg_search)options->search, ranking->count, test, k,
                                evaluations);
    }
}

static enum bg_status pin_by_name(const char *name, const char *const *names, int layers,
                                  bool *pinned)
{
    for (int i = 0; i < layers; i++) {
        if (strcmp(names[i], name) == 0) {
            pinned[i] = true;
            return BG_OK;
        }
    }
    const char *nearest = bg_text_nearest(name, names, layers);
    return bg_fail(BG_E_DATA, "select.pinned: no layer '%s'%s%s%s", name,
                   nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

enum bg_status bg_select_pinned(const struct bg_select_options *options, const char *const *names,
                                int layers, bool *pinned)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < layers; i++)
        pinned[i] = (options->pin_first && i == 0) || (options->pin_last && i == layers - 1);
    for (int i = 0; i < options->pinned.count; i++)
        TRY(pin_by_name(options->pinned.at[i], names, layers, pinned));
out:
    return rc;
}

enum bg_status bg_select_plan(const struct bg_select_options *options, const char *const *names,
                              const struct bg_ranking *ranking, int k, struct bg_plan *out)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_plan){0};
    if (k < 0 || k > ranking->count)
        FAIL(BG_E_RANGE, "select: prefix of %d layers, but %d are ranked", k, ranking->count);
    TRY(bg_plan_make(out, names, ranking->layers));
    for (int i = 0; i < ranking->layers; i++) {
        out->layer[i].spec[BG_ROLE_WEIGHT] = bg_spec_integer((int)options->first_bits, true);
        out->layer[i].spec[BG_ROLE_ACTIVATION] =
            bg_spec_integer((int)options->activation_bits, false);
    }
    for (int i = 0; i < k; i++)
        out->layer[ranking->order[i]].spec[BG_ROLE_WEIGHT] =
            bg_spec_integer((int)options->second_bits, true);
    for (int role = 0; ranking->fixes && role < BG_ROLES; role++)
        if (ranking->fixed_bits[role] > 0)
            out->layer[ranking->fixed_layer].spec[role] =
                bg_spec_integer(ranking->fixed_bits[role], role == BG_ROLE_WEIGHT);
out:
    if (rc != BG_OK)
        bg_plan_free(out);
    return rc;
}

#define FIELD(name_) offsetof(struct bg_select_options, name_)

const struct bg_option bg_select_options_table[] = {
    {.key = "policy",
     .type = BG_OPT_TEXT,
     .offset = FIELD(policy),
     .fallback = "gradient-profile",
     .help = "which policy ranks the layers (bitgrad list)"},
    {.key = "options",
     .type = BG_OPT_NODE,
     .offset = FIELD(options),
     .fallback = "none",
     .help = "options of the policy"},
    {.key = "first_bits",
     .type = BG_OPT_INT,
     .offset = FIELD(first_bits),
     .fallback = "8",
     .min = 0,
     .max = 16,
     .help = "weight bits of layers that are not chosen and of pinned ones; 0 = f32"},
    {.key = "second_bits",
     .type = BG_OPT_INT,
     .offset = FIELD(second_bits),
     .fallback = "4",
     .min = 1,
     .max = 16,
     .help = "weight bits of chosen layers"},
    {.key = "activation_bits",
     .type = BG_OPT_INT,
     .offset = FIELD(activation_bits),
     .fallback = "8",
     .min = 0,
     .max = 16,
     .help = "bits of every layer's input; 0 = f32"},
    {.key = "search",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(search),
     .fallback = "binary",
     .choices = bg_search_names,
     .help = "how many layers: by allowed accuracy drop (binary, linear), a count or a threshold; "
             "budget: bits of each layer by an allocator"},
    {.key = "tolerance",
     .type = BG_OPT_REAL,
     .offset = FIELD(tolerance),
     .fallback = "0.01",
     .min = -1,
     .max = 1,
     .help = "binary, linear: allowed drop of the validation accuracy, as a fraction"},
    {.key = "count",
     .type = BG_OPT_INT,
     .offset = FIELD(count),
     .fallback = "0",
     .min = 0,
     .max = 1000000,
     .help = "count: how many of the ranked layers; 0 = all"},
    {.key = "threshold",
     .type = BG_OPT_REAL,
     .offset = FIELD(threshold),
     .fallback = "0",
     .help = "threshold: all layers with a score up to this (descending order: from this)"},
    {.key = "pin_first",
     .type = BG_OPT_BOOL,
     .offset = FIELD(pin_first),
     .fallback = "true",
     .help =
         "keep the first layer at first_bits (common practice: it is small and reads the image)"},
    {.key = "pin_last",
     .type = BG_OPT_BOOL,
     .offset = FIELD(pin_last),
     .fallback = "true",
     .help = "keep the last layer at first_bits (common practice: it makes the logits)"},
    {.key = "pinned",
     .type = BG_OPT_TEXTS,
     .offset = FIELD(pinned),
     .fallback = "[]",
     .help = "names of more layers to keep at first_bits"},
    {.key = "plan",
     .type = BG_OPT_TEXT,
     .offset = FIELD(plan),
     .fallback = "\"\"",
     .help = "a plan file to use as it stands instead of selecting"},
    {.key = "budget",
     .type = BG_OPT_NODE,
     .offset = FIELD(budget),
     .fallback = "none",
     .help = "budget: one or more of {mean-weight-bits: ..., bytes: ..., bops-hawq: ..., "
             "bops-detailed: ..., latency: ...}"},
    {.key = "candidates",
     .type = BG_OPT_INTS,
     .offset = FIELD(candidates),
     .fallback = "[2, 3, 4, 6, 8]",
     .min = 1,
     .max = 16,
     .help = "budget: bits an allocator may give"},
    {.key = "choose_activations",
     .type = BG_OPT_BOOL,
     .offset = FIELD(choose_activations),
     .fallback = "false",
     .help = "budget: inputs of layers get bits too; activation_bits is for pinned layers then"},
    {.key = "allocator",
     .type = BG_OPT_TEXT,
     .offset = FIELD(allocator),
     .fallback = "exact",
     .help = "budget: turns penalties into a plan (bitgrad list allocators)"},
    {.key = "allocator_options",
     .type = BG_OPT_NODE,
     .offset = FIELD(allocator_options),
     .fallback = "none",
     .help = "options of the allocator"},
    {.key = "tied",
     .type = BG_OPT_NODE,
     .offset = FIELD(tied),
     .fallback = "none",
     .help = "budget: lists of layers that have the same bits: [[conv1, conv2]]"},
    {.key = "latency",
     .type = BG_OPT_TEXT,
     .offset = FIELD(latency),
     .fallback = "\"\"",
     .help = "table for a budget of latency (bitgrad bench layers --table writes one)"},
    {.key = "every",
     .type = BG_OPT_INT,
     .offset = FIELD(every),
     .fallback = "0",
     .min = 0,
     .max = 1000000,
     .help = "profile and select again after so many epochs of finetune; 0 = select once"},
    {.key = "direction",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(direction),
     .fallback = "down",
     .choices = directions,
     .help = "may a later selection give a layer more bits than the one before (both)?"},
    {.key = "progress",
     .type = BG_OPT_REALS,
     .offset = FIELD(progress),
     .fallback = "[]",
     .min = 1,
     .max = 16,
     .help = "the first selections take so many times second_bits and budgets: [2, 1.5, 1] goes "
             "down in three steps; later ones 1"},
    {.key = "residual",
     .type = BG_OPT_NODE,
     .offset = FIELD(residual),
     .fallback = "none",
     .help =
         "choose residual bits of integer weights from their recorded steps, also of layers that "
         "a plan file leaves at u=sgd: {} or a map of "
         "options (bitgrad list recipe.select.residual)"},
    {.key = NULL}};
