/* Parameters of a graph: making them, the list, and initial weights (He et al., "Delving Deep into
 * Rectifiers", ICCV 2015, eq. 10 and 14).
 *
 * Invariant: an unquantized parameter's `forward` is its `value`. Versions start at 1, so that a
 * version of 0 means "never seen". */
#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "core/rng.h"
#include "core/store.h"

enum bg_status bg_graph_reserve_params(struct bg_graph *graph, int count)
{
    enum bg_status rc = BG_OK;
    int room = count + graph->param_room / 2 + 16;

    if (count <= graph->param_room)
        goto out;
    TRY(bg_grow(&graph->param, graph->params, room, sizeof(struct bg_param *)));
    graph->param_room = room;
out:
    return rc;
}

enum bg_status bg_model_param_set(struct bg_model_param *out, const char *owner, const char *suffix,
                                  enum bg_param_kind kind, const struct bg_shape *shape)
{
    struct bg_param *param = &out->param;
    struct bg_tensor *tensors[] = {&param->value, &param->grad, &param->state, &param->forward};
    size_t length = strlen(owner), room = sizeof param->name;

    if (length + 1 + strlen(suffix) >= room)
        return bg_fail(BG_E_RANGE, "parameter name \"%s.%s\" is longer than %zu characters", owner,
                       suffix, room - 1);
    memcpy(param->name, owner, length);
    param->name[length] = '.';
    memcpy(param->name + length + 1, suffix, strlen(suffix) + 1);
    param->kind = kind;
    param->version = 1;
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        tensors[i]->dtype = BG_F32;
        tensors[i]->shape = *shape;
    }
    param->forward.data = param->value.data;
    return BG_OK;
}

enum bg_status bg_node_param(struct bg_node *node, const char *suffix, enum bg_param_kind kind,
                             const struct bg_shape *shape, float value)
{
    enum bg_status rc = BG_OK;
    struct bg_arena *arena = node->graph->arena;
    struct bg_model_param *model = NULL;
    struct bg_param *param = NULL;
    int64_t count = 0;

    TRY(bg_shape_check(shape, suffix));
    count = bg_shape_count(shape);
    if (count > INT32_MAX) /* oneDNN's limit; said before the memory is taken */
        FAIL(BG_E_SHAPE, "%s has %lld elements, limit is %d", suffix, (long long)count, INT32_MAX);
    TRY(bg_arena_alloc(arena, &model, 1, sizeof *model));
    param = &model->param;
    param->kind = kind;
    if (kind == BG_PARAM_WEIGHT) {
        model->next = node->graph->weights;
        node->graph->weights = model;
        TRY(bg_alloc(&param->value.data, count, sizeof(float)));
        TRY(bg_alloc(&param->state.data, count, sizeof(float)));
    } else {
        TRY(bg_arena_alloc(arena, &param->value.data, count, sizeof(float)));
    }
    if (bg_param_trainable(param))
        TRY(bg_arena_alloc(arena, &param->grad.data, count, sizeof(float)));
    if (bg_param_trainable(param) && param->state.data == NULL)
        TRY(bg_arena_alloc(arena, &param->state.data, count, sizeof(float)));
    TRY(bg_model_param_set(model, node->name, suffix, kind, shape));
    param->layer = node->layer;
    for (int64_t i = 0; i < count; i++)
        bg_f32(&param->value)[i] = value;
    node->param[node->params++] = param;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s %s: ", node->op->name, node->name);
    return rc;
}

int bg_graph_param_count(const struct bg_graph *graph)
{
    return graph->params;
}

struct bg_param *bg_graph_param(const struct bg_graph *graph, int index)
{
    return graph->param[index];
}

struct bg_param *bg_graph_param_find(const struct bg_graph *graph, const char *name)
{
    for (int i = 0; i < graph->params; i++)
        if (strcmp(graph->param[i]->name, name) == 0)
            return graph->param[i];
    return NULL;
}

/* 1 for linear layers. */
static int64_t groups_of(const struct bg_node *layer)
{
    const struct bg_shape *weight = &layer->param[0]->value.shape;

    return weight->rank == 4 ? layer->input[0]->shape.dims[2] / weight->dims[3] : 1;
}

/* Convolution: output channels of a group times kernel area (what backward sums over). Linear:
 * input features. */
static int64_t fan(const struct bg_param *weight, int64_t groups)
{
    const int64_t *dims = weight->value.shape.dims;

    if (weight->value.shape.rank == 4)
        return dims[0] / groups * dims[1] * dims[2];
    return dims[1];
}

static void draw_weights(struct bg_param *weight, int64_t groups, uint64_t seed)
{
    struct bg_rng rng = {.seed = bg_rng_hash(seed, weight->name), .stream = BG_STREAM_INIT};
    double deviation = sqrt(2.0 / (double)fan(weight, groups));
    int64_t count = bg_tensor_count(&weight->value);

    for (int64_t i = 0; i < count; i++) {
        const float value = (float)(deviation * bg_rng_normal(&rng, (uint64_t)i));
        if (weight->store != NULL)
            bg_store_put(weight->store, bg_param_grid(weight), i, value);
        else
            bg_f32(&weight->value)[i] = value;
    }
}

static void fill(struct bg_tensor *tensor, float value)
{
    int64_t count = bg_tensor_count(tensor);

    if (tensor->data == NULL)
        return;
    for (int64_t i = 0; i < count; i++)
        bg_f32(tensor)[i] = value;
}

void bg_graph_initialise(struct bg_graph *graph, uint64_t seed)
{
    for (int i = 0; i < graph->params; i++) {
        struct bg_param *param = graph->param[i];
        bool one = param->kind == BG_PARAM_GAMMA || param->kind == BG_PARAM_RUNNING_VAR;
        if (param->kind == BG_PARAM_WEIGHT) {
            draw_weights(param, groups_of(graph->layer[param->layer]), seed);
        } else {
            fill(&param->value, one ? 1.0f : 0.0f);
        }
        fill(&param->grad, 0.0f);
        fill(&param->state, 0.0f);
        param->version++;
    }
    for (int i = 0; i < graph->quantizers; i++)
        if (!graph->quantizer[i]->fixed)
            graph->quantizer[i]->observed = 0;
}
