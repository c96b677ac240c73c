/* The walk of form.h. */
#include "autograd/form.h"

struct walk {
    const struct bg_form_grids *grids;
    struct bg_form *form;
};

extern const struct bg_op bg_op_add, bg_op_dropout, bg_op_flatten;

static bool is_activation(const struct bg_node *node)
{
    return node->op == &bg_op_relu || node->op == &bg_op_relu6;
}

static bool has_codes(const struct walk *walk, const struct bg_node *node)
{
    const struct bg_node *maker = bg_node_maker(node);

    return walk->grids->has(walk->grids->self, maker);
}

static void need_grid(const struct walk *walk, const struct bg_node *node)
{
    struct bg_form *form = walk->form;

    if (form->missing == BG_FORM_MISSING)
        form->too_many = true;
    else
        form->need[form->missing++] = bg_node_maker(node);
}

/* Flatten of an image: its channels are not those of what it reads. A norm over them cannot go to a
 * layer's. */
static bool mixes_channels(const struct bg_node *node)
{
    return node->op == &bg_op_flatten && node->shape.dims[2] != node->input[0]->shape.dims[2];
}

static bool passes(const struct bg_node *node, const struct bg_node *norm)
{
    return (node->op == &bg_op_flatten || node->op == &bg_op_dropout) &&
           (norm == NULL || !mixes_channels(node));
}

/* Layers and pools read codes. */
static bool is_accumulator(const struct bg_node *node)
{
    return (node->op->flags & (BG_OP_LAYER | BG_OP_POOLS)) != 0;
}

static void add_part(const struct walk *walk, const struct bg_form_part *part)
{
    struct bg_form *form = walk->form;

    if (!part->codes && !has_codes(walk, part->node->input[0]))
        need_grid(walk, part->node->input[0]);
    if (form->parts == BG_REQUANT_TERMS)
        form->too_many = true;
    else
        form->part[form->parts++] = *part;
}

/* Terms of a value inside a sum. */
static void collect(const struct walk *walk, const struct bg_node *node, const struct bg_node *norm,
                    bool shift)
{
    bool codes = has_codes(walk, node);

    if (codes || (node->op->flags & BG_OP_LAYER) != 0)
        add_part(walk, &(struct bg_form_part){node, codes, norm, shift});
    else if (passes(node, norm))
        collect(walk, node->input[0], norm, shift);
    else if (node->op == &bg_op_batch_norm && norm == NULL)
        collect(walk, node->input[0], node, true);
    else if (node->op == &bg_op_add) {
        collect(walk, node->input[0], norm, shift);
        collect(walk, node->input[1], norm, shift && norm == NULL);
    } else
        need_grid(walk, node);
}

/* What stands behind activation and norm. */
static void finish(const struct walk *walk, const struct bg_node *node)
{
    struct bg_form *form = walk->form;

    form->at = node;
    if (node->op == &bg_op_concat) {
        form->kind = BG_FORM_CONCAT;
    } else if (node->op == &bg_op_max_pool && form->norm == NULL) {
        form->kind = BG_FORM_MAX_POOL;
    } else if (node->op == &bg_op_add) {
        collect(walk, node->input[0], form->norm, true);
        collect(walk, node->input[1], form->norm, form->norm == NULL);
    } else if (is_accumulator(node)) {
        add_part(walk, &(struct bg_form_part){node, false, form->norm, true});
    } else {
        need_grid(walk, node);
    }
}

void bg_form_of(const struct bg_node *node, const struct bg_form *outer,
                const struct bg_form_grids *grids, struct bg_form *out)
{
    const struct walk walk = {.grids = grids, .form = out};
    bool inside = outer != NULL; /* the first node of all has its grid from this very form */

    *out = (struct bg_form){.kind = BG_FORM_SUM};
    if (inside) {
        out->activation = outer->activation;
        out->norm = outer->norm;
    }
    for (;; inside = true, node = node->input[0]) {
        if (inside && has_codes(&walk, node)) {
            add_part(&walk, &(struct bg_form_part){node, true, out->norm, true});
            return;
        }
        if (is_activation(node) && out->activation == NULL && out->norm == NULL)
            out->activation = node;
        else if (node->op == &bg_op_batch_norm && out->norm == NULL)
            out->norm = node;
        else if (!passes(node, out->norm))
            break;
    }
    finish(&walk, node);
}
