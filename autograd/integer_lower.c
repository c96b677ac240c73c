/* The structure of an integer model: tensors and steps from the graph, in its order. Every node
 * with a grid becomes the steps of its form (form.h); a max pool of codes is a step of its own;
 * flatten and dropout are other names of a tensor. Values are filled in by integer_values.c. */
#include <string.h>

#include "autograd/integer_private.h"
#include "core/method.h"

/* Where a form's value goes. */
struct target {
    int tensor;
    int64_t channel;      /* first one of the tensor */
    int64_t norm_channel; /* channel of the tensor at which the outer norm's parameters begin */
};

static bool has_quantizer(const void *self, const struct bg_node *maker)
{
    (void)self;
    return maker->quantizer != NULL;
}

static const struct bg_form_grids quantizers = {.has = has_quantizer, .self = NULL};

static enum bg_status add_tensor(struct bg_integer_own *own, const struct bg_node *node,
                                 struct bg_quantizer *quantizer, bool inner, int *out)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_model *model = &own->model;
    struct bg_integer_tensor *tensor = NULL;
    int room = 2 * own->tensor_room + 16;

    if (model->tensors == own->tensor_room) {
        TRY(bg_grow(&model->tensor, own->tensor_room, room, sizeof *model->tensor));
        TRY(bg_grow(&own->grid, own->tensor_room, room, sizeof(struct bg_quantizer *)));
        own->tensor_room = room;
    }
    own->grid[model->tensors] = quantizer;
    tensor = &model->tensor[model->tensors];
    *tensor =
        (struct bg_integer_tensor){.shape = node->shape, .real = quantizer == NULL, .inner = inner};
    TRY(bg_text_copy(tensor->name, sizeof tensor->name, node->name));
    if (quantizer != NULL) {
        tensor->bits = quantizer->grid.bits;
        tensor->qmin = quantizer->grid.qmin;
        tensor->qmax = quantizer->grid.qmax;
    }
    *out = model->tensors++;
out:
    return rc;
}

static enum bg_status add_step(struct bg_integer_own *own, enum bg_integer_kind kind,
                               const struct bg_node *node, const struct target *to,
                               struct bg_integer_step **out)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_model *model = &own->model;
    int room = 2 * own->step_room + 16;

    if (model->steps == own->step_room) {
        TRY(bg_grow(&model->step, own->step_room, room, sizeof *model->step));
        TRY(bg_grow(&own->origin, own->step_room, room, sizeof *own->origin));
        own->step_room = room;
    }
    *out = &model->step[model->steps++];
    **out = (struct bg_integer_step){.kind = kind, .output = to->tensor, .channel = to->channel};
    own->origin[model->steps - 1] = (struct bg_integer_origin){.activation = NULL};
    TRY(bg_text_copy((*out)->name, sizeof(*out)->name, node->name));
out:
    return rc;
}

static int tensor_width(const struct bg_integer_model *model, int tensor)
{
    return model->tensor[tensor].qmax - model->tensor[tensor].qmin;
}

static enum bg_status add_layer(struct bg_integer_own *own, struct bg_integer_term *term,
                                int64_t *bound)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = term->node;
    const struct bg_quantizer *quantizer = node->param[0]->quantizer;

    if (quantizer == NULL)
        FAIL(BG_E_UNSUPPORTED, "layer %s: its weights have no grid", node->name);
    term->source = BG_INTEGER_LAYER;
    term->input = own->tensor_of[node->input[0]->index];
    term->conv = bg_integer_conv_shape(node);
    TRY(bg_integer_bound(node, tensor_width(&own->model, term->input), quantizer->grid.qmax,
                         bound));
    TRY(bg_arena_alloc(own->model.arena, &term->weights, bg_tensor_count(&node->param[0]->value),
                       1));
out:
    return rc;
}

static enum bg_status add_term(struct bg_integer_own *own, const struct bg_form_part *part,
                               struct bg_integer_term *term, int64_t *bound)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = part->node;

    *term = (struct bg_integer_term){.node = node, .source = BG_INTEGER_CODES};
    if (part->codes) {
        term->input = own->tensor_of[node->index];
        *bound = tensor_width(&own->model, term->input);
    } else if (node->layer >= 0) {
        TRY(add_layer(own, term, bound));
    } else {
        term->source = BG_INTEGER_POOL;
        term->input = own->tensor_of[node->input[0]->index];
        term->pool = bg_integer_pool_shape(node);
        TRY(bg_integer_bound(node, tensor_width(&own->model, term->input), 1, bound));
    }
out:
    return rc;
}

static enum bg_status add_sum(struct bg_integer_own *own, const struct bg_node *node,
                              const struct bg_form *form, const struct target *to)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_step *step = NULL;
    struct bg_integer_origin *origin = NULL;

    TRY(add_step(own, BG_INTEGER_SUM, node, to, &step));
    origin = &own->origin[own->model.steps - 1];
    origin->activation = form->activation;
    origin->norm_channel = to->channel - to->norm_channel;
    step->terms = step->requant.terms = form->parts;
    step->requant.channels = node->shape.dims[2];
    step->requant.mode = own->model.tensor[to->tensor].real ? BG_REQUANT_F32_RNE : own->model.mode;
    TRY(bg_requant_make(&step->requant, own->model.arena));
    for (int i = 0; i < form->parts; i++) {
        origin->norm[i] = form->part[i].norm;
        origin->shift[i] = form->part[i].shift;
        if (origin->norm[i] != NULL && origin->norm[i] != form->norm)
            origin->norm_channel = 0;
        TRY(add_term(own, &form->part[i], &step->term[i], &step->requant.term[i].bound));
    }
out:
    return rc;
}

static enum bg_status lower(struct bg_integer_own *own, const struct bg_node *node,
                            const struct bg_form *outer, const struct target *to);

static enum bg_status lower_concat(struct bg_integer_own *own, const struct bg_form *form,
                                   const struct target *to)
{
    enum bg_status rc = BG_OK;
    struct target part = *to;

    for (int i = 0; i < form->at->inputs; i++) {
        TRY(lower(own, form->at->input[i], form, &part));
        part.channel += form->at->input[i]->shape.dims[2];
    }
out:
    return rc;
}

static enum bg_status add_max_pool(struct bg_integer_own *own, const struct bg_node *pool,
                                   int input, const struct target *to)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_step *step = NULL;

    TRY(add_step(own, BG_INTEGER_MAX_POOL, pool, to, &step));
    step->input = input;
    step->pool = bg_integer_pool_shape(pool);
    step->requant.channels = pool->shape.dims[2];
out:
    return rc;
}

/* Requantising and the largest commute: both are monotone. So the pool's input goes onto the
 * target's grid first. */
static enum bg_status lower_max_pool(struct bg_integer_own *own, const struct bg_form *form,
                                     const struct target *to)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *input = form->at->input[0];
    struct target before = {.tensor = -1};

    TRY(add_tensor(own, input, own->grid[to->tensor], true, &before.tensor));
    TRY(lower(own, input, form, &before));
    TRY(add_max_pool(own, form->at, before.tensor, to));
out:
    return rc;
}

static enum bg_status lower(struct bg_integer_own *own, const struct bg_node *node,
                            const struct bg_form *outer, const struct target *to)
{
    enum bg_status rc = BG_OK;
    struct target inner = *to;
    struct bg_form form;

    bg_form_of(node, outer, &quantizers, &form);
    TRY(bg_integer_check_form(node, &form));
    if (form.norm != NULL && (outer == NULL || outer->norm == NULL))
        inner.norm_channel = to->channel;
    if (form.kind == BG_FORM_CONCAT)
        TRY(lower_concat(own, &form, &inner));
    else if (form.kind == BG_FORM_MAX_POOL)
        TRY(lower_max_pool(own, &form, &inner));
    else
        TRY(add_sum(own, node, &form, &inner));
out:
    return rc;
}

static enum bg_status add_input(struct bg_integer_own *own, const struct bg_node *node,
                                const struct target *to)
{
    enum bg_status rc = BG_OK;
    const struct bg_sample_spec *sample = node->attributes;
    struct bg_integer_step *step = NULL;

    TRY(add_step(own, BG_INTEGER_INPUT, node, to, &step));
    step->requant.channels = node->shape.dims[2];
    if (sample->dtype == BG_U8)
        TRY(bg_arena_alloc(own->model.arena, &step->table, 256, 1));
out:
    return rc;
}

static enum bg_status lower_node(struct bg_integer_own *own, const struct bg_node *node)
{
    enum bg_status rc = BG_OK;
    struct target to = {.tensor = -1};

    if (node->quantizer != NULL) {
        TRY(add_tensor(own, node, node->quantizer, false, &to.tensor));
        if (node->op == &bg_op_input)
            TRY(add_input(own, node, &to));
        else
            TRY(lower(own, node, NULL, &to));
        own->tensor_of[node->index] = to.tensor;
    } else if ((node->op->flags & BG_OP_KEEPS_CODES) != 0 &&
               own->tensor_of[node->input[0]->index] >= 0) {
        int input = own->tensor_of[node->input[0]->index];
        if (node->op != &bg_op_max_pool) {
            own->tensor_of[node->index] = input;
            goto out;
        }
        TRY(add_tensor(own, node, bg_node_maker(node)->quantizer, false, &to.tensor));
        own->tensor_of[node->index] = to.tensor;
        TRY(add_max_pool(own, node, input, &to));
    }
out:
    return rc;
}

static enum bg_status lower_logits(struct bg_integer_own *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = own->model.graph;
    const struct bg_node *logits = graph->loss->input[0];
    struct target to = {.tensor = -1};
    struct bg_form form;

    TRY(bg_integer_logits_form(graph, &quantizers, &form));
    TRY(add_tensor(own, logits, NULL, false, &to.tensor));
    TRY(add_sum(own, logits, &form, &to));
out:
    return rc;
}

static enum bg_status lower_graph(struct bg_integer_own *own)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = own->model.graph;

    TRY(bg_alloc(&own->tensor_of, graph->nodes, sizeof *own->tensor_of));
    for (int i = 0; i < graph->nodes; i++)
        own->tensor_of[i] = -1;
    for (int i = 0; i < graph->nodes; i++)
        TRY(lower_node(own, graph->node[i]));
    TRY(lower_logits(own));
out:
    return rc;
}

enum bg_status bg_integer_structure(struct bg_integer_own **out, const struct bg_graph *graph,
                                    enum bg_requant_mode mode)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_own *own = NULL;
    const char *why = NULL;

    *out = NULL;
    if (!bg_graph_is_integer(graph, &why))
        FAIL(BG_E_UNSUPPORTED, "%s", *why != '\0' ? why : "the network is f32: no plan is on it");
    TRY(bg_alloc(&own, 1, sizeof *own));
    own->model.graph = graph;
    own->model.mode = mode;
    TRY(bg_arena_create(&own->model.arena, "integers"));
    TRY(lower_graph(own));
    *out = own;
    own = NULL;
out:
    bg_integer_model_destroy(own == NULL ? NULL : &own->model);
    return rc;
}

enum bg_status bg_integer_model_create(struct bg_integer_model **out, struct bg_graph *graph,
                                       const enum bg_requant_mode *mode)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_own *own = NULL;

    *out = NULL;
    TRY(bg_integer_structure(&own, graph, mode == NULL ? graph->requant : *mode));
    TRY(bg_integer_model_refresh(&own->model));
    *out = &own->model;
    own = NULL;
out:
    bg_integer_model_destroy(own == NULL ? NULL : &own->model);
    return rc;
}

void bg_integer_model_destroy(struct bg_integer_model *model)
{
    struct bg_integer_own *own = (struct bg_integer_own *)(void *)model;

    if (own == NULL)
        return;
    bg_free(own->tensor_of);
    bg_free(own->grid);
    bg_free(own->origin);
    bg_free(own->model.step);
    bg_free(own->model.tensor);
    bg_arena_destroy(own->model.arena);
    bg_free(own);
}
