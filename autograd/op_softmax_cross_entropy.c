/* Softmax cross-entropy with label smoothing s: the target is (1 - s) * onehot + s / classes, the
 * loss the mean over the batch of -sum(target * log softmax(x)). The largest logit is subtracted
 * first, so nothing overflows. Sums run in f64 in class and sample order; the gradient is
 * (softmax - target) / batch. Small (batch x classes), so there is one path for both computes. */
#include "autograd/loss.h"

#include <math.h>

struct smoothing {
    double smoothing;
};

static enum bg_status infer(struct bg_node *node)
{
    const struct smoothing *options = node->attributes;

    if (!(options->smoothing >= 0.0 && options->smoothing < 1.0))
        return bg_fail(BG_E_RANGE, "label smoothing %g must be at least 0 and below 1",
                       options->smoothing);
    return bg_loss_infer(node);
}

/* One sample: returns its loss, p = softmax(x) unless NULL. A NaN logit makes the loss NaN. */
static double softmax_loss(const float *x, int64_t classes, int32_t label, double smoothing,
                           float *p)
{
    double largest = (double)x[0], total = 0.0, sum = 0.0, log_total;

    for (int64_t i = 1; i < classes; i++)
        largest = (double)x[i] > largest ? (double)x[i] : largest;
    for (int64_t i = 0; i < classes; i++) {
        total += exp((double)x[i] - largest);
        sum += (double)x[i] - largest;
    }
    /* total is at least 1, the largest logit's own term, or NaN */
    log_total = log(total); // cppcheck-suppress invalidFunctionArg
    for (int64_t i = 0; p != NULL && i < classes; i++)
        p[i] = (float)(exp((double)x[i] - largest) / total);
    return (1.0 - smoothing) * (log_total - ((double)x[label] - largest)) +
           smoothing * (log_total - sum / (double)classes);
}

static double sample_loss(const struct bg_node *node, const float *x, int64_t classes,
                          int32_t label)
{
    const struct smoothing *options = node->attributes;

    return softmax_loss(x, classes, label, options->smoothing, NULL);
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    const struct smoothing *options = step->node->attributes;
    int64_t batch = step->in[0].shape.dims[0], classes = step->in[0].shape.dims[3];
    const float *x = bg_f32(&step->in[0]);
    float *p = step->saved;
    double loss = 0.0;

    for (int64_t i = 0; i < batch; i++)
        loss += softmax_loss(x + i * classes, classes, run->labels[i], options->smoothing,
                             p + i * classes);
    *run->loss = loss / (double)batch;
    return BG_OK;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    const struct smoothing *options = step->node->attributes;
    int64_t batch = step->in[0].shape.dims[0], classes = step->in[0].shape.dims[3];
    const float *p = step->saved;
    float *dx = bg_f32(&step->d_in[0]);
    double everywhere = options->smoothing / (double)classes;

    for (int64_t i = 0; i < batch * classes; i++) {
        bool hit = i % classes == run->labels[i / classes];
        double target = everywhere + (hit ? 1.0 - options->smoothing : 0.0);
        dx[i] = (float)(((double)p[i] - target) / (double)batch);
    }
    return BG_OK;
}

extern const struct bg_op bg_op_softmax_cross_entropy;
const struct bg_op bg_op_softmax_cross_entropy = {
    .name = "softmax_cross_entropy",
    .flags = BG_OP_LOSS,
    .inputs = 1,
    .infer = infer,
    .compile = bg_loss_compile,
    .forward = forward,
    .backward = backward,
    .sample_loss = sample_loss,
};

enum bg_status bg_node_softmax_cross_entropy(struct bg_graph *graph, const char *name,
                                             struct bg_node *x, double smoothing,
                                             struct bg_node **out)
{
    const struct smoothing attributes = {.smoothing = smoothing};
    const struct bg_node_spec spec = {.op = &bg_op_softmax_cross_entropy,
                                      .name = name,
                                      .input = {x},
                                      .attributes = &attributes,
                                      .attributes_size = sizeof attributes};

    return bg_node_add_plain(graph, &spec, out);
}
