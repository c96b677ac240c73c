/* The form of a value on a grid: what one requantisation computes (core/NUMERICS.md, "Integer
 * evaluation"). Walks back from a node through activation, norms and adds to accumulators and
 * tensors of codes. The one place that knows which networks have an integer form: demands for grids
 * (quantize_demand.c) and the lowering (integer_lower.c) both ask here. */
#ifndef BG_AUTOGRAD_FORM_H
#define BG_AUTOGRAD_FORM_H

#include "autograd/op.h"
#include "core/requant.h"

enum bg_form_kind {
    BG_FORM_SUM,     /* terms added */
    BG_FORM_CONCAT,  /* each input of `at` stands for some channels; same activation and norm */
    BG_FORM_MAX_POOL /* largest of the values of at's input; same activation, no norm */
};

struct bg_form_part {
    const struct bg_node *node; /* a layer or pool, or any node whose output is codes: */
    bool codes;
    const struct bg_node *norm; /* behind it, NULL = none */
    bool shift; /* the norm's shift belongs to this term (over a sum: to the first alone) */
};

#define BG_FORM_MISSING 8

struct bg_form {
    const struct bg_node *activation; /* relu or relu6, NULL = none */
    const struct bg_node *norm;       /* CONCAT: over all of it */
    enum bg_form_kind kind;
    const struct bg_node *at; /* CONCAT, MAX_POOL */
    int parts;
    struct bg_form_part part[BG_REQUANT_TERMS];
    /* Nodes that need a grid for this form to exist; with `too_many` terms it has none at all. */
    int missing;
    const struct bg_node *need[BG_FORM_MISSING];
    bool too_many;
};

/* Does the node's output have a grid? Asked of nodes that make values (bg_node_maker). */
struct bg_form_grids {
    bool (*has)(const void *self, const struct bg_node *maker);
    const void *self;
};

/* The form of `node` itself, whether it has a grid or not. `outer` (NULL at first) is the CONCAT or
 * MAX_POOL form in which `node` stands: its activation and norm act on it. */
void bg_form_of(const struct bg_node *node, const struct bg_form *outer,
                const struct bg_form_grids *grids, struct bg_form *out);

/* quantize_demand.c: grids as a plan demands them, before there are quantizers. */
struct bg_form_grids bg_demand_grids(const struct bg_demand *demand);

#endif
