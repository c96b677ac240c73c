/* Dropout, inverted: in training y = x / (1 - p) with probability 1 - p, else 0; in evaluation the
 * identity. Whether an element is kept is a function of (seed, step, node name, element's index in
 * the batch), computed again in backward, so nothing is stored. The factor 1 / (1 - p) is rounded
 * to f32. */
#include "autograd/op.h"

#include "core/rng.h"

struct dropout {
    double probability;
};

static enum bg_status infer(struct bg_node *node)
{
    const struct dropout *dropout = node->attributes;

    if (!(dropout->probability >= 0.0 && dropout->probability < 1.0))
        return bg_fail(BG_E_RANGE, "probability %g must be at least 0 and below 1",
                       dropout->probability);
    node->shape = node->input[0]->shape;
    return BG_OK;
}

extern const struct bg_op bg_op_dropout;

/* What is kept is multiplied by. */
static float keep_factor(const struct dropout *dropout)
{
    return (float)(1.0 / (1.0 - dropout->probability));
}

float bg_dropout_factor(const struct bg_node *node)
{
    return node->op == &bg_op_dropout ? keep_factor(node->attributes) : 1.0f;
}

/* y[i] = keep(i) ? x[i] * factor : 0. Four draws make one call of the generator. */
static void mask(const struct bg_step *step, const struct bg_run *run, const float *x, float *y)
{
    const struct dropout *dropout = step->node->attributes;
    struct bg_rng rng = {.seed = bg_rng_hash(run->moment->seed, step->node->name),
                         .stream = BG_STREAM_DROPOUT,
                         .step = (uint32_t)run->moment->step};
    int64_t n = bg_tensor_count(&step->out), groups = (n + 3) / 4;
    uint64_t limit = (uint64_t)(dropout->probability * 0x1p32);
    float factor = keep_factor(dropout);

    if ((run->moment->flags & BG_RUN_FROZEN) != 0) {
        limit = 0; /* all are kept as they are */
        factor = 1.0f;
    }
#pragma omp parallel for schedule(static)
    for (int64_t group = 0; group < groups; group++) {
        uint32_t words[4];
        int64_t count = n - 4 * group < 4 ? n - 4 * group : 4;
        bg_rng_words(&rng, (uint64_t)group, words);
        for (int64_t i = 0; i < count; i++)
            y[4 * group + i] = words[i] >= limit ? x[4 * group + i] * factor : 0.0f;
    }
}

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    if (!compile->train)
        step->flags |= BG_OP_VIEW;
    return BG_OK;
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    mask(step, run, bg_f32(&step->in[0]), bg_f32(&step->out));
    return BG_OK;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    mask(step, run, bg_f32(&step->d_out), bg_f32(&step->d_in[0]));
    return BG_OK;
}

const struct bg_op bg_op_dropout = {
    .name = "dropout",
    .flags =
        BG_OP_FORWARD_IN_PLACE | BG_OP_BACKWARD_IN_PLACE | BG_OP_KEEPS_CODES | BG_OP_KEEPS_SIGN,
    .inputs = 1,
    .infer = infer,
    .compile = compile,
    .forward = forward,
    .backward = backward,
};

enum bg_status bg_node_dropout(struct bg_graph *graph, const char *name, struct bg_node *x,
                               double probability, struct bg_node **out)
{
    const struct dropout attributes = {.probability = probability};
    const struct bg_node_spec spec = {.op = &bg_op_dropout,
                                      .name = name,
                                      .input = {x},
                                      .attributes = &attributes,
                                      .attributes_size = sizeof attributes};

    return bg_node_add_plain(graph, &spec, out);
}
