/* Mean squared error against the one-hot label, mean over batch and classes; sums in f64 in sample
 * order. Gradient 2 * (x - onehot) / (batch * classes). */
#include "autograd/loss.h"

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    int64_t classes = step->in[0].shape.dims[3], n = bg_tensor_count(&step->in[0]);
    const float *x = bg_f32(&step->in[0]);
    float *difference = step->saved;
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (i % classes == run->labels[i / classes] ? 1.0 : 0.0);
        difference[i] = (float)d;
        sum += d * d;
    }
    *run->loss = sum / (double)n;
    return BG_OK;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    int64_t n = bg_tensor_count(&step->in[0]);
    const float *difference = step->saved;
    float *dx = bg_f32(&step->d_in[0]);

    (void)run;
    for (int64_t i = 0; i < n; i++)
        dx[i] = (float)(2.0 * (double)difference[i] / (double)n);
    return BG_OK;
}

static double sample_loss(const struct bg_node *node, const float *x, int64_t classes,
                          int32_t label)
{
    double sum = 0.0;

    (void)node;
    for (int64_t i = 0; i < classes; i++) {
        double d = (double)x[i] - (i == label ? 1.0 : 0.0);
        sum += d * d;
    }
    return sum / (double)classes;
}

extern const struct bg_op bg_op_mse;
const struct bg_op bg_op_mse = {
    .name = "mse",
    .flags = BG_OP_LOSS,
    .inputs = 1,
    .infer = bg_loss_infer,
    .compile = bg_loss_compile,
    .forward = forward,
    .backward = backward,
    .sample_loss = sample_loss,
};

enum bg_status bg_node_mse(struct bg_graph *graph, const char *name, struct bg_node *x,
                           struct bg_node **out)
{
    const struct bg_node_spec spec = {.op = &bg_op_mse, .name = name, .input = {x}};

    return bg_node_add_plain(graph, &spec, out);
}
