/* From a criterion's penalties to an allocator's problem and back to a plan: which layers are
 * chosen together, what each choice of bits costs within each budget, and what the allocator's
 * answer means. Used wherever bits are given under a budget. */
#ifndef BG_POLICIES_BUDGET_H
#define BG_POLICIES_BUDGET_H

#include "layers/net.h"
#include "policies/allocate.h"
#include "policies/select.h"

enum bg_budget_kind {
    BG_BUDGET_MEAN_BITS, /* mean over all weights of conv and linear layers */
    BG_BUDGET_BYTES,     /* weights at their bits, all other parameters at 32 */
    BG_BUDGET_BOPS_HAWQ, /* per sample, as bg_net_cost counts them */
    BG_BUDGET_BOPS_DETAILED,
    BG_BUDGET_LATENCY, /* sum over layers of a table's numbers, in its unit */
    BG_BUDGET_KINDS
};
extern const char *const bg_budget_names[BG_BUDGET_KINDS + 1]; /* ends with NULL */

/* What each layer takes at each choice of bits, measured on some device or given; NaN: not known.
 * Free with bg_latency_free. */
#define BG_LATENCY_BITS 17 /* 0 = f32, 1..16 */
struct bg_latency {
    int layers;
    double *value; /* [layer][weight bits][activation bits] */
};
BG_MUST enum bg_status bg_latency_make(struct bg_latency *out, int layers); /* all NaN */
void bg_latency_free(struct bg_latency *latency);                           /* takes a zeroed one */
double *bg_latency_at(const struct bg_latency *latency, int layer, int weight_bits,
                      int activation_bits);

struct bg_budget {
    enum bg_budget_kind kind;
    double value; /* the plan's cost must be <= this */
};

/* What may be chosen. 0 bits = f32. */
struct bg_bits_frame {
    const struct bg_net *net;
    int candidates;
    int bits[BG_CANDIDATES_MAX]; /* different, 1..16, any order */
    int activation_bits;         /* of every layer's input; -1 = chosen among the candidates */
    const bool *pinned;          /* per layer: its bits are given; may be NULL */
    int pinned_bits[2]; /* weights, activations (where those are chosen) of pinned layers */
    const int *group;   /* per layer: layers of one number have the same bits; may be NULL.
                           Layers that read one tensor share their activation bits anyway */
    int budgets;        /* 1..BG_ALLOCATE_BUDGETS */
    struct bg_budget budget[BG_ALLOCATE_BUDGETS];
    const struct bg_latency *latency; /* for a budget of it; else NULL */
    const struct bg_plan *before;     /* nothing gets more bits than here, pins aside; NULL */
};

/* An item is a layer, or layers whose bits depend on each other (one group, or one tensor read by
 * several where activations are chosen). A candidate is one choice of bits for all of its layers;
 * the first has the most bits, the last the fewest. An item's priority, for allocators that go by
 * it, is what lowering it to the fewest bits costs. */
struct bg_bits_problem {
    struct bg_allocate_problem problem; /* budgets without the costs outside the layers, negative
                                           when those alone are more; mean bits times the weights */
    int layers;
    int *item;            /* per layer */
    int *place;           /* per layer: its place within the item */
    int *places;          /* per item: layers in it */
    signed char **choice; /* per item: [candidate][place][weight, activation] bits */
    const struct bg_net *net;
};

/* `penalties` of the frame's candidates; a role it does not speak of counts as 0. NULL: all
 * penalties are 0 (for random plans). A layer that the criterion fixes has these bits. BG_E_DATA
 * when a layer has no candidate as small as its bits in `before`, or an item would have more
 * choices than BG_ALLOCATE_CANDIDATES even after those that another one beats in penalty and every
 * cost are left out. Free with bg_bits_close. */
BG_MUST enum bg_status bg_bits_open(struct bg_bits_problem *out, const struct bg_bits_frame *frame,
                                    const struct bg_penalties *penalties);
void bg_bits_close(struct bg_bits_problem *bits); /* takes a zeroed one */
/* The frame of one width for all layers but pinned ones, which keep theirs; `before` is left out.
 */
struct bg_bits_frame bg_bits_same(const struct bg_bits_frame *frame, int width);
/* The largest candidate that all of them can have within the budgets; 0 = none. */
BG_MUST enum bg_status bg_bits_widest(const struct bg_bits_frame *frame, int *width);
/* bg_bits_open and bg_bits_check for a criterion that may say nothing of activations: where those
 * are to be chosen they are then at one width of their own, the largest that weights and
 * activations together could have. */
BG_MUST enum bg_status bg_bits_open_for(struct bg_bits_problem *out,
                                        const struct bg_bits_frame *frame,
                                        const struct bg_penalties *penalties);
/* The answer as a plan; free with bg_plan_free. */
BG_MUST enum bg_status bg_bits_plan(const struct bg_bits_problem *bits,
                                    const struct bg_allocation *allocation, struct bg_plan *out);
/* BG_E_DATA when no plan holds the budgets, naming the smallest feasible values in the budgets' own
 * units. */
BG_MUST enum bg_status bg_bits_check(const struct bg_bits_problem *bits);
/* A random plan within the budgets that uses them: all start at the cheapest, then items in a
 * random order take one of the dearer candidates that fit, again and again until the part `use`
 * (0..1) of a budget is reached or nothing fits any more. With 1 no bit can be added; in small
 * networks there are few such plans. A pure function of its arguments. */
BG_MUST enum bg_status bg_bits_random(const struct bg_bits_problem *bits, double use, uint64_t seed,
                                      uint32_t draw, struct bg_allocation *out);
/* A plan's cost in a budget's own unit; `latency` may be NULL for the other kinds. */
BG_MUST enum bg_status bg_budget_cost(const struct bg_net *net, const struct bg_plan *plan,
                                      enum bg_budget_kind kind, const struct bg_latency *latency,
                                      double *out);
/* A plan's sum of penalties; bits that are no candidates (pinned layers) add nothing. */
double bg_bits_objective(const struct bg_penalties *penalties, const struct bg_plan *plan);
/* group[layers] from lists of layer names (each a YAML list); NULL: every layer by itself. Errors
 * are added as bg_options_read does. */
BG_MUST enum bg_status bg_bits_groups(const struct bg_yaml *node, const char *path,
                                      const char *const *names, int layers, int *group,
                                      struct bg_text *errors);

#endif
