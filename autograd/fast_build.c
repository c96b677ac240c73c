/* Which graphs train fast, and the objects a fast program is made of. */
#include "autograd/fast.h"

#include "core/log.h"
#include "core/method.h"

extern const struct bg_op bg_op_dropout;

_Static_assert(BG_SINK_ROWS % BG_TRAIN_ROWS == 0, "rows of a sink are packed in whole blocks");

/* Ranges that need no more than the least and largest value of a batch. */
static bool is_plain_range(const struct bg_quantizer *quantizer)
{
    return quantizer->fixed || quantizer->range->extremes;
}

static enum bg_status check_quantizers(const struct bg_graph *graph)
{
    for (int i = 0; i < graph->quantizers; i++) {
        const struct bg_quantizer *quantizer = graph->quantizer[i];
        if (quantizer->target == BG_TARGET_ACTIVATION && !is_plain_range(quantizer))
            return bg_fail(BG_E_UNSUPPORTED, "%s: ranges by %s need every value of a batch",
                           quantizer->name, quantizer->range->name);
    }
    for (int i = 0; i < graph->nodes; i++)
        if (graph->node[i]->op == &bg_op_dropout)
            return bg_fail(BG_E_UNSUPPORTED, "%s scales what it keeps", graph->node[i]->name);
    return BG_OK;
}

static enum bg_status check_term(const struct bg_integer_own *own, int s, int t)
{
    const struct bg_integer_step *step = &own->model.step[s];
    const struct bg_integer_term *term = &step->term[t];
    const struct bg_node *norm = own->origin[s].norm[t];

    if (norm != NULL && term->source != BG_INTEGER_LAYER)
        return bg_fail(BG_E_UNSUPPORTED, "%s stands behind no layer", norm->name);
    for (int u = 0; norm != NULL && u < step->terms; u++)
        if (u != t && own->origin[s].norm[u] == norm)
            return bg_fail(BG_E_UNSUPPORTED, "%s stands behind a sum", norm->name);
    if (term->source == BG_INTEGER_LAYER && term->node->out_gradient.bits > BG_GRADIENT_BITS_BF16)
        return bg_fail(BG_E_UNSUPPORTED, "%s: g=s%d has more bits than bf16 holds",
                       term->node->name, term->node->out_gradient.bits);
    if (term->source == BG_INTEGER_LAYER && term->conv.out_channels != step->requant.channels)
        return bg_fail(BG_E_UNSUPPORTED, "%s is flattened before it is quantized",
                       term->node->name);
    if (term->source == BG_INTEGER_POOL &&
        (term->pool.out_height != 1 || term->pool.out_width != 1))
        return bg_fail(BG_E_UNSUPPORTED, "%s averages windows of the image", term->node->name);
    return BG_OK;
}

static enum bg_status check_steps(const struct bg_integer_own *own)
{
    enum bg_status rc = BG_OK;

    for (int s = 0; s < own->model.steps; s++) {
        const struct bg_integer_step *step = &own->model.step[s];
        const struct bg_integer_tensor *tensor = &own->model.tensor[step->output];
        if (step->requant.channels != tensor->shape.dims[2])
            FAIL(BG_E_UNSUPPORTED, "%s is one part of %s", step->name, tensor->name);
        for (int t = 0; t < step->terms; t++)
            TRY(check_term(own, s, t));
    }
out:
    return rc;
}

static enum bg_status check_fast(const struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;

    TRY(check_quantizers(fast->graph));
    TRY(check_steps(fast->own));
out:
    return rc;
}

/* A gradient is needed where something trainable lies before it, or for observers of the input. */
static void find_gradients(struct bg_fast *fast)
{
    for (int s = 0; s < fast->steps; s++) {
        const struct bg_integer_step *form = fast->step[s].form;
        struct bg_fast_tensor *out = &fast->tensor[form->output];
        out->step = s;
        out->needs_gradient = form->kind == BG_INTEGER_INPUT && fast->options.observe;
        if (form->kind == BG_INTEGER_MAX_POOL)
            out->needs_gradient = fast->tensor[form->input].needs_gradient;
        for (int t = 0; t < form->terms; t++)
            out->needs_gradient = out->needs_gradient || form->term[t].source == BG_INTEGER_LAYER ||
                                  fast->tensor[form->term[t].input].needs_gradient;
    }
}

static void pack(void *self, int64_t first, int64_t last, const int8_t *codes)
{
    bg_train_conv_pack_rows(self, first, last, codes);
}

static enum bg_status make_layer(struct bg_fast *fast, struct bg_fast_term *term, int64_t channels)
{
    enum bg_status rc = BG_OK;
    struct bg_conv_shape shape = term->form->conv;
    int64_t weights = bg_tensor_count(&term->form->node->param[0]->value);

    shape.batch = fast->options.batch;
    TRY(bg_conv_shape_infer(&shape));
    TRY(bg_train_conv_create(&term->conv, &shape, fast->tensor[term->form->input].needs_gradient));
    TRY(bg_arena_alloc(fast->arena, &term->weights, weights, 1));
    term->sink = (struct bg_sink){.self = term->conv, .codes = term->weights, .pack = pack};
    TRY(bg_arena_alloc(fast->arena, &term->dot, channels, sizeof(double)));
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", term->form->node->name);
    return rc;
}

static enum bg_status make_term(struct bg_fast *fast, int s, int t)
{
    enum bg_status rc = BG_OK;
    struct bg_fast_term *term = &fast->step[s].term[t];
    int64_t channels = fast->step[s].form->requant.channels;
    float **const arrays[] = {&term->a,      &term->b,   &term->mean, &term->var,
                              &term->invstd, &term->da,  &term->db,   &term->dc,
                              &term->factor, &term->low, &term->high};

    term->form = &fast->step[s].form->term[t];
    term->norm = fast->own->origin[s].norm[t];
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        TRY(bg_arena_alloc(fast->arena, arrays[i], channels, sizeof(float)));
    if (term->form->source == BG_INTEGER_LAYER)
        TRY(make_layer(fast, term, channels));
out:
    return rc;
}

static enum bg_status make_loss(struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = fast->graph->loss;
    const struct bg_compile compile = {
        .arena = fast->arena, .train = true, .batch = fast->options.batch, .need_dx = true};
    int64_t count = bg_fast_count(fast, fast->tensors - 1);
    struct bg_tensor *in = &fast->loss.in[0];

    fast->loss = (struct bg_step){.op = node->op, .node = node, .result = node, .inputs = 1};
    TRY(node->op->compile(&compile, &fast->loss));
    TRY(bg_arena_alloc(fast->arena, &fast->loss.saved, fast->loss.saved_bytes, 1));
    TRY(bg_arena_alloc(fast->arena, &fast->logits, count, sizeof(float)));
    TRY(bg_arena_alloc(fast->arena, &fast->dlogits, count, sizeof(float)));
    *in = (struct bg_tensor){
        .data = fast->logits,
        .dtype = BG_F32,
        .shape = {4, {fast->options.batch, 1, 1, node->input[0]->shape.dims[2]}}};
    fast->loss.d_in[0] = fast->loss.d_sum[0] = *in;
    fast->loss.d_in[0].data = fast->loss.d_sum[0].data = fast->dlogits;
out:
    return rc;
}

static enum bg_status make_steps(struct bg_fast *fast)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = &fast->own->model;

    fast->steps = model->steps;
    fast->tensors = model->tensors;
    TRY(bg_arena_alloc(fast->arena, &fast->step, fast->steps, sizeof *fast->step));
    TRY(bg_arena_alloc(fast->arena, &fast->tensor, fast->tensors, sizeof *fast->tensor));
    for (int i = 0; i < fast->tensors; i++) {
        fast->tensor[i].form = &model->tensor[i];
        fast->tensor[i].quantizer = fast->own->grid[i];
    }
    for (int s = 0; s < fast->steps; s++) {
        fast->step[s].form = &model->step[s];
        fast->step[s].activation = fast->own->origin[s].activation;
        fast->step[s].terms = model->step[s].terms;
    }
    find_gradients(fast);
    for (int s = 0; s < fast->steps; s++) {
        TRY(bg_arena_alloc(fast->arena, &fast->step[s].sum, fast->step[s].form->requant.channels,
                           sizeof(double)));
        for (int t = 0; t < fast->step[s].terms; t++)
            TRY(make_term(fast, s, t));
    }
out:
    return rc;
}

enum bg_status bg_fast_create(struct bg_fast **out, struct bg_graph *graph,
                              const struct bg_program_options *options)
{
    enum bg_status rc = BG_OK;
    struct bg_fast *fast = NULL;

    *out = NULL;
    if (!bg_train_available())
        FAIL(BG_E_UNSUPPORTED, "this CPU has no AMX, or it is not allowed (%s)", bg_dnn_isa());
    if (options->keep_values)
        FAIL(BG_E_UNSUPPORTED, "values of every node are asked for");
    TRY(bg_alloc(&fast, 1, sizeof *fast));
    fast->graph = graph;
    fast->options = *options;
    TRY(bg_arena_create(&fast->arena, "fast program"));
    TRY(bg_integer_structure(&fast->own, graph, BG_REQUANT_F32_RNE));
    TRY(check_fast(fast));
    TRY(make_steps(fast));
    TRY(make_loss(fast));
    TRY(bg_fast_bind(fast));
    *out = fast;
    fast = NULL;
out:
    bg_fast_destroy(fast);
    return rc;
}

static void destroy_term(struct bg_fast_term *term)
{
    if (term->conv == NULL)
        return;
    struct bg_param *weight = term->form->node->param[0];
    if (weight->sink == &term->sink)
        weight->sink = NULL;
    bg_train_conv_destroy(term->conv);
}

void bg_fast_destroy(struct bg_fast *fast)
{
    if (fast == NULL)
        return;
    for (int s = 0; fast->step != NULL && s < fast->steps; s++)
        for (int t = 0; t < fast->step[s].terms; t++)
            destroy_term(&fast->step[s].term[t]);
    bg_integer_model_destroy(fast->own == NULL ? NULL : &fast->own->model);
    bg_arena_destroy(fast->arena);
    bg_free(fast);
}

static const struct bg_fast_term *layer_at(const struct bg_fast *fast, int index)
{
    for (int s = 0; s < fast->steps; s++)
        for (int t = 0; t < fast->step[s].terms; t++)
            if (fast->step[s].term[t].conv != NULL && index-- == 0)
                return &fast->step[s].term[t];
    return NULL;
}

int bg_fast_implementation_count(const struct bg_fast *fast)
{
    int count = 0;

    while (layer_at(fast, count) != NULL)
        count++;
    return count;
}

struct bg_implementation bg_fast_implementation(const struct bg_fast *fast, int index)
{
    const struct bg_fast_term *term = layer_at(fast, index);
    struct bg_implementation out = {.node = term->form->node->name,
                                    .op = term->form->node->op->name};

    bg_train_conv_implementations(term->conv, &out.forward, &out.backward_data,
                                  &out.backward_weights);
    return out;
}
