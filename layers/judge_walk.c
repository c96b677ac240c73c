/* From a node with a grid back to the codes it is computed from: which terms are summed, which norm
 * and activation stand above them, which max pools between, and where a concat puts the slice. What
 * has no integer form is refused with the node's name. */
#include <string.h>

#include "layers/judge_private.h"

enum bg_judge_op bg_judge_op(const struct bg_node *node)
{
    static const char *const names[BG_JUDGE_OTHER] = {
        "conv2d", "linear", "avg_pool", "global_pool", "add",     "concat", "batch_norm",
        "relu",   "relu6",  "max_pool", "flatten",     "dropout", "input"};
    int op = 0;

    while (op < BG_JUDGE_OTHER && strcmp(names[op], bg_node_op(node)) != 0)
        op++;
    return (enum bg_judge_op)op;
}

/* What the walk has met above the node at hand. */
struct place {
    struct bg_judge *judge;
    struct bg_judge_value *value;
    enum bg_judge_op active;
    const struct bg_node *norm;
    int64_t norm_channel;
    int64_t offset, stride;
    int pools;
    const struct bg_node *pool[4]; /* the outermost first */
};

static enum bg_status refuse(const struct place *place, const struct bg_node *node,
                             const char *reason)
{
    return bg_fail(BG_E_UNSUPPORTED, "judge: %s, read by %s: %s", bg_node_name(node),
                   bg_node_name(place->value->node), reason);
}

static int index_of(const struct bg_judge *judge, const struct bg_node *node)
{
    int i = 0;

    while (judge->value[i].node != node)
        i++;
    return i;
}

/* The value that holds the node's codes, -1 when it has none or is the one being computed. */
static int codes_of(const struct place *place, const struct bg_node *node)
{
    if (node == place->value->node)
        return -1;
    return place->judge->value[index_of(place->judge, node)].codes;
}

static bool is_image(const struct bg_node *node)
{
    const struct bg_shape *shape = bg_node_shape(node);

    return shape->dims[0] * shape->dims[1] > 1;
}

void bg_judge_pool_window(struct bg_judge_window *out, const struct bg_node *node,
                          const int64_t in[3])
{
    const struct bg_pool2d *pool = bg_node_pool2d_options(node);

    *out = (struct bg_judge_window){.in = {in[0], in[1], in[2]}, .dilation = {1, 1}, .groups = 1};
    out->out[2] = in[2];
    for (int d = 0; d < 2; d++) {
        out->kernel[d] = pool == NULL ? in[d] : pool->kernel[d]; /* global: all of the image */
        out->stride[d] = pool == NULL ? 1 : pool->stride[d];
        out->padding[d] = pool == NULL ? 0 : pool->padding[d];
        out->out[d] = bg_node_shape(node)->dims[d];
    }
}

static void layer_window(struct bg_judge_window *out, const struct bg_node *node)
{
    const struct bg_conv2d *conv = bg_node_conv2d_options(node);
    const struct bg_shape *in = bg_node_shape(bg_node_input_at(node, 0));
    const struct bg_shape *to = bg_node_shape(node);

    *out = (struct bg_judge_window){.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
    out->groups = 1;
    memcpy(out->out, to->dims, sizeof out->out);
    if (conv == NULL) { /* linear: H,W,C as one vector */
        out->in[0] = out->in[1] = 1;
        out->in[2] = bg_shape_count(in);
        return;
    }
    memcpy(out->in, in->dims, sizeof out->in);
    for (int d = 0; d < 2; d++) {
        out->kernel[d] = conv->kernel[d];
        out->stride[d] = conv->stride[d];
        out->padding[d] = conv->padding[d];
        out->dilation[d] = conv->dilation[d];
    }
    out->groups = conv->groups;
}

/* Which norm acts on the term and whether its beta and mean do. */
static void set_norm(const struct place *place, const struct bg_judge_piece *piece,
                     const struct bg_node *own_norm, struct bg_judge_term *term)
{
    term->norm = own_norm != NULL ? own_norm : place->norm;
    term->norm_channel = own_norm != NULL ? 0 : place->norm_channel;
    /* Of the terms under one norm the first alone takes its beta and mean. */
    term->offset = own_norm != NULL || place->norm == NULL || piece->terms == 0;
}

static enum bg_status set_window(const struct place *place, struct bg_judge_term *term)
{
    const struct bg_judge_window *window = &term->window;

    if (term->source == BG_JUDGE_OTHER)
        return BG_OK;
    if (term->source == BG_JUDGE_CONV2D || term->source == BG_JUDGE_LINEAR)
        layer_window(&term->window, term->node);
    else
        bg_judge_pool_window(&term->window, term->node,
                             bg_node_shape(bg_node_input_at(term->node, 0))->dims);
    if (term->source == BG_JUDGE_AVG_POOL && (window->padding[0] != 0 || window->padding[1] != 0))
        return refuse(place, term->node, "an average with padding has no integer form");
    return BG_OK;
}

static enum bg_status add_term(const struct place *place, struct bg_judge_piece *piece,
                               const struct bg_node *node, const struct bg_node *own_norm)
{
    struct bg_judge_term *term = &piece->term[piece->terms];
    bool codes = codes_of(place, node) >= 0;
    const struct bg_node *from = codes ? node : bg_node_input_at(node, 0);

    if (piece->terms == BG_REQUANT_TERMS)
        return refuse(place, node, "a sum of more than four terms");
    term->source = codes ? BG_JUDGE_OTHER : bg_judge_op(node);
    term->node = node;
    term->from = codes_of(place, from);
    if (term->from < 0)
        return refuse(place, from, "a layer or pool reads it and it has no grid");
    term->zero_point = place->judge->value[term->from].grid->zero_point;
    set_norm(place, piece, own_norm, term);
    memcpy(term->dims, bg_node_shape(node)->dims, sizeof term->dims);
    if (memcmp(term->dims, piece->term[0].dims, sizeof term->dims) != 0)
        return refuse(place, node, "it is added to another shape");
    piece->terms++;
    return set_window(place, term);
}

/* The terms below `node`, left to right. */
static enum bg_status add_terms(const struct place *place, struct bg_judge_piece *piece,
                                const struct bg_node *node, const struct bg_node *norm)
{
    enum bg_status rc = BG_OK;

    while (codes_of(place, node) < 0) {
        switch (bg_judge_op(node)) {
        case BG_JUDGE_CONV2D:
        case BG_JUDGE_LINEAR:
        case BG_JUDGE_AVG_POOL:
        case BG_JUDGE_GLOBAL_POOL:
            return add_term(place, piece, node, norm);
        case BG_JUDGE_ADD:
            if (norm != NULL)
                return refuse(place, node, "a norm above it and a sum above that");
            for (int i = 0; i < bg_node_input_count(node); i++)
                TRY(add_terms(place, piece, bg_node_input_at(node, i), NULL));
            goto out;
        case BG_JUDGE_BATCH_NORM:
            if (norm != NULL || place->norm != NULL)
                return refuse(place, node, "a second norm without a grid between");
            norm = node;
            break;
        case BG_JUDGE_FLATTEN:
        case BG_JUDGE_DROPOUT:
            break;
        default:
            return refuse(place, node, "it stands in a sum and has no grid");
        }
        node = bg_node_input_at(node, 0);
    }
    TRY(add_term(place, piece, node, norm));
out:
    return rc;
}

/* The pools above the sum, innermost first, each on the channels of the piece alone. */
static enum bg_status add_pools(const struct place *place, struct bg_judge_piece *piece)
{
    enum bg_status rc = BG_OK;
    const int64_t *dims = piece->term[0].dims;

    TRY(bg_arena_alloc(place->judge->arena, &piece->pool, place->pools, sizeof *piece->pool));
    for (int i = place->pools - 1; i >= 0; i--) {
        struct bg_judge_window *window = &piece->pool[piece->pools++];
        bg_judge_pool_window(window, place->pool[i], dims);
        dims = window->out;
    }
out:
    return rc;
}

static enum bg_status add_piece(const struct place *place, const struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    struct bg_judge_piece *piece = NULL, **end = &place->value->piece;

    TRY(bg_arena_alloc(place->judge->arena, &piece, 1, sizeof *piece));
    while (*end != NULL)
        end = &(*end)->next;
    *end = piece;
    piece->offset = place->offset;
    piece->stride = place->stride;
    piece->active = place->active;
    TRY(add_terms(place, piece, node, NULL));
    piece->rows = piece->term[0].dims[0] * piece->term[0].dims[1];
    piece->channels = piece->term[0].dims[2];
    TRY(add_pools(place, piece));
out:
    return rc;
}

/* Notes one of the ops that stand above a sum and change neither its terms nor their order. */
static enum bg_status pass(struct place *place, const struct bg_node *node)
{
    const struct bg_node *input = NULL;

    switch (bg_judge_op(node)) {
    case BG_JUDGE_RELU:
    case BG_JUDGE_RELU6:
        if (place->active != BG_JUDGE_OTHER || place->norm != NULL)
            return refuse(place, node, "an activation or norm above it and no grid between");
        place->active = bg_judge_op(node);
        return BG_OK;
    case BG_JUDGE_BATCH_NORM:
        if (place->norm != NULL)
            return refuse(place, node, "a second norm without a grid between");
        place->norm = node;
        place->norm_channel = 0; /* its own channels, also inside a branch of a concat */
        return BG_OK;
    case BG_JUDGE_MAX_POOL:
        /* A negative gamma would make the largest the smallest. */
        if (place->norm != NULL || place->pools == 4)
            return refuse(place, node, "a norm or four pools above it and no grid between");
        place->pool[place->pools++] = node;
        return BG_OK;
    case BG_JUDGE_FLATTEN:
        input = bg_node_input_at(node, 0);
        if (is_image(input) && (place->norm != NULL || place->pools > 0))
            return refuse(place, node, "a norm or pool above it and no grid between");
        if (is_image(input)) /* rows of the image lie one behind the other */
            place->stride = bg_node_shape(input)->dims[2];
        return BG_OK;
    case BG_JUDGE_DROPOUT:
        return BG_OK;
    default:
        return refuse(place, node, "it has no grid and no integer form");
    }
}

static enum bg_status walk(struct place place, const struct bg_node *node);

static enum bg_status walk_concat(const struct place *place, const struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    struct place slice = *place;

    for (int i = 0; i < bg_node_input_count(node); i++) {
        const struct bg_node *input = bg_node_input_at(node, i);
        TRY(walk(slice, input));
        slice.offset += bg_node_shape(input)->dims[2];
        slice.norm_channel += bg_node_shape(input)->dims[2];
    }
out:
    return rc;
}

static enum bg_status walk(struct place place, const struct bg_node *node)
{
    enum bg_status rc = BG_OK;

    while (codes_of(&place, node) < 0) {
        enum bg_judge_op op = bg_judge_op(node);
        if (op == BG_JUDGE_CONCAT)
            return walk_concat(&place, node);
        if (op <= BG_JUDGE_ADD)
            break;
        TRY(pass(&place, node));
        node = bg_node_input_at(node, 0);
    }
    TRY(add_piece(&place, node));
out:
    return rc;
}

enum bg_status bg_judge_walk(struct bg_judge *judge, struct bg_judge_value *value)
{
    const struct place place = {.judge = judge,
                                .value = value,
                                .active = BG_JUDGE_OTHER,
                                .stride = bg_node_shape(value->node)->dims[2]};

    return walk(place, value->node);
}
