/* Batch normalisation per channel (Ioffe & Szegedy, ICML 2015). Training normalises with the
 * batch's mean and biased variance; the running variance takes the unbiased one, and momentum m
 * means running = (1 - m) * running + m * batch (PyTorch's conventions). With one value per channel
 * the unbiased variance does not exist and the biased one (0) is taken. Evaluation uses the running
 * statistics. y = x * a + b with a = gamma / sqrt(var + epsilon), b = beta - mean * a, computed in
 * f64 and rounded to f32. A relu behind it may be fused (step->relu): backward masks first. */
#include "autograd/op.h"

#include <math.h>
#include <string.h>

#include "core/kernel.h"

enum { GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR };

/* Per channel; mean and invstd live from forward to backward. */
struct state {
    float *mean, *var, *invstd, *a, *b;
};

static enum bg_status infer(struct bg_node *node)
{
    const struct bg_batch_norm *norm = node->attributes;

    if (!(norm->epsilon > 0.0) || !isfinite(norm->epsilon))
        return bg_fail(BG_E_RANGE, "epsilon %g must be positive", norm->epsilon);
    if (!(norm->momentum >= 0.0 && norm->momentum <= 1.0))
        return bg_fail(BG_E_RANGE, "momentum %g is outside 0 to 1", norm->momentum);
    node->shape = node->input[0]->shape;
    return BG_OK;
}

static int64_t channels_of(const struct bg_step *step)
{
    return step->node->shape.dims[2];
}

static int64_t sample_size(const struct bg_step *step)
{
    return bg_shape_count(&step->node->shape);
}

static enum bg_status compile(const struct bg_compile *compile, struct bg_step *step)
{
    enum bg_status rc = BG_OK;
    struct state *state = NULL;
    int64_t channels = channels_of(step), count = compile->batch * sample_size(step);

    TRY(bg_arena_alloc(compile->arena, &state, 1, sizeof *state));
    step->state = state;
    TRY(bg_arena_alloc(compile->arena, &state->mean, channels, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &state->var, channels, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &state->invstd, channels, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &state->a, channels, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &state->b, channels, sizeof(float)));
    if (!compile->train)
        goto out;
    step->scratch_bytes = bg_kernel_bn_scratch(count / channels, channels) * 8;
    if (step->relu) {
        step->flags |= BG_OP_READS_OUTPUT;
        if (!compile->need_dx) /* the masked gradient has no other place */
            step->scratch_bytes += count * 4;
    }
out:
    return rc;
}

static void reference_statistics(const float *x, int64_t rows, int64_t channels, float *mean,
                                 float *var)
{
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0.0, square = 0.0;
        for (int64_t i = 0; i < rows; i++)
            sum += (double)x[i * channels + c];
        sum /= (double)rows;
        for (int64_t i = 0; i < rows; i++)
            square += ((double)x[i * channels + c] - sum) * ((double)x[i * channels + c] - sum);
        mean[c] = (float)sum;
        var[c] = (float)(square / (double)rows);
    }
}

static void move_running(const struct bg_step *step, const struct bg_run *run, int64_t rows)
{
    const struct bg_batch_norm *norm = step->node->attributes;
    const struct state *state = step->state;
    struct bg_param *mean = step->node->param[RUNNING_MEAN], *var = step->node->param[RUNNING_VAR];
    double m = run->moment->bn_momentum > 0.0 ? run->moment->bn_momentum : norm->momentum;
    double unbias = rows > 1 ? (double)rows / (double)(rows - 1) : 1.0;

    for (int64_t c = 0; c < channels_of(step); c++) {
        float *rm = bg_f32(&mean->value) + c, *rv = bg_f32(&var->value) + c;
        *rm = (float)((1.0 - m) * (double)*rm + m * (double)state->mean[c]);
        *rv = (float)((1.0 - m) * (double)*rv + m * unbias * (double)state->var[c]);
    }
    mean->version++;
    var->version++;
}

static bool is_frozen(const struct bg_run *run)
{
    return run->train && (run->moment->flags & BG_RUN_FROZEN) != 0;
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    const struct bg_batch_norm *norm = step->node->attributes;
    const struct state *state = step->state;
    struct bg_param *const *param = step->node->param;
    int64_t channels = channels_of(step), n = bg_tensor_count(&step->out), rows = n / channels;
    const float *x = bg_f32(&step->in[0]), *mean = bg_f32(&param[RUNNING_MEAN]->value);
    const float *var = bg_f32(&param[RUNNING_VAR]->value);
    float *y = bg_f32(&step->out);

    if (is_frozen(run)) {
        memcpy(state->mean, mean, (size_t)channels * sizeof *mean);
    } else if (run->train) {
        if (run->compute == BG_COMPUTE_EXACT)
            bg_kernel_bn_statistics(x, rows, channels, state->mean, state->var, step->scratch);
        else
            reference_statistics(x, rows, channels, state->mean, state->var);
        mean = state->mean;
        var = state->var;
        if ((run->moment->flags & BG_RUN_UPDATE_BN) != 0)
            move_running(step, run, rows);
    }
    for (int64_t c = 0; c < channels; c++) {
        double invstd = 1.0 / sqrt((double)var[c] + norm->epsilon);
        double a = (double)bg_f32(&param[GAMMA]->value)[c] * invstd;
        state->invstd[c] = (float)invstd;
        state->a[c] = (float)a;
        state->b[c] = (float)((double)bg_f32(&param[BETA]->value)[c] - (double)mean[c] * a);
    }
    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_scale_shift(x, rows, channels, state->a, state->b, step->relu, y);
        return BG_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] * state->a[i % channels] + state->b[i % channels];
        y[i] = step->relu && v <= 0.0f ? 0.0f : v;
    }
    return BG_OK;
}

static void reference_backward(const struct bg_step *step, const float *dy, float *dx)
{
    const struct state *state = step->state;
    struct bg_param *const *param = step->node->param;
    int64_t channels = channels_of(step), rows = bg_tensor_count(&step->out) / channels;
    const float *x = bg_f32(&step->in[0]);

    for (int64_t c = 0; c < channels; c++) {
        double dgamma = 0.0, dbeta = 0.0, invstd = (double)state->invstd[c];
        for (int64_t i = c; i < rows * channels; i += channels) {
            dgamma += (double)dy[i] * ((double)x[i] - (double)state->mean[c]) * invstd;
            dbeta += (double)dy[i];
        }
        bg_f32(&param[GAMMA]->grad)[c] = (float)dgamma;
        bg_f32(&param[BETA]->grad)[c] = (float)dbeta;
        for (int64_t i = c; dx != NULL && i < rows * channels; i += channels) {
            double xhat = ((double)x[i] - (double)state->mean[c]) * invstd;
            dx[i] = (float)((double)bg_f32(&param[GAMMA]->value)[c] * invstd *
                            ((double)dy[i] - (dbeta + xhat * dgamma) / (double)rows));
        }
    }
}

/* With fixed statistics y = x * a + b: every sample by itself. */
static void frozen_backward(const struct bg_step *step, const float *dy, float *dx)
{
    const struct state *state = step->state;
    struct bg_param *const *param = step->node->param;
    int64_t channels = channels_of(step), rows = bg_tensor_count(&step->out) / channels;
    const float *x = bg_f32(&step->in[0]);
    double *dgamma = step->scratch, *dbeta = dgamma + channels;

    memset(dgamma, 0, 2 * (size_t)channels * sizeof *dgamma);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0, i = r * channels; c < channels; c++, i++) {
            dgamma[c] +=
                (double)dy[i] * ((double)x[i] - (double)state->mean[c]) * (double)state->invstd[c];
            dbeta[c] += (double)dy[i];
            if (dx != NULL) /* may be the memory of dy: read before */
                dx[i] = dy[i] * state->a[c];
        }
    for (int64_t c = 0; c < channels; c++) {
        bg_f32(&param[GAMMA]->grad)[c] = (float)dgamma[c];
        bg_f32(&param[BETA]->grad)[c] = (float)dbeta[c];
    }
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    const struct state *state = step->state;
    struct bg_param *const *param = step->node->param;
    int64_t channels = channels_of(step), n = bg_tensor_count(&step->out), rows = n / channels;
    const float *x = bg_f32(&step->in[0]), *y = bg_f32(&step->out), *dy = bg_f32(&step->d_out);
    float *dgamma = bg_f32(&param[GAMMA]->grad), *dbeta = bg_f32(&param[BETA]->grad);
    float *dx = bg_f32(&step->d_in[0]);

    if (step->relu) {
        void *behind = (double *)step->scratch + bg_kernel_bn_scratch(rows, channels);
        float *masked = dx != NULL ? dx : behind;
        bg_kernel_relu_backward(y, dy, n, masked);
        dy = masked;
    }
    if (is_frozen(run)) {
        frozen_backward(step, dy, dx);
        return BG_OK;
    }
    if (run->compute == BG_COMPUTE_REFERENCE) {
        reference_backward(step, dy, dx);
        return BG_OK;
    }
    bg_kernel_bn_reduce(x, dy, rows, channels, state->mean, state->invstd, dgamma, dbeta,
                        step->scratch);
    if (dx != NULL)
        bg_kernel_bn_apply(x, dy, rows, channels, state->mean, state->invstd,
                           bg_f32(&param[GAMMA]->value), dgamma, dbeta, dx);
    return BG_OK;
}

const struct bg_op bg_op_batch_norm = {
    .name = "batch_norm",
    .flags = BG_OP_READS_INPUT | BG_OP_FORWARD_IN_PLACE | BG_OP_BACKWARD_IN_PLACE,
    .inputs = 1,
    .infer = infer,
    .compile = compile,
    .forward = forward,
    .backward = backward,
};

enum bg_status bg_node_batch_norm(struct bg_graph *graph, const char *name, struct bg_node *x,
                                  double epsilon, double momentum, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_batch_norm attributes = {.epsilon = epsilon, .momentum = momentum};
    const struct bg_node_spec spec = {.op = &bg_op_batch_norm,
                                      .name = name,
                                      .input = {x},
                                      .attributes = &attributes,
                                      .attributes_size = sizeof attributes};
    struct bg_shape shape = {1, {0}};
    struct bg_node *node = NULL;

    *out = NULL;
    TRY(bg_node_begin(graph, &spec, &node));
    shape.dims[0] = x->shape.dims[2];
    TRY(bg_node_param(node, "gamma", BG_PARAM_GAMMA, &shape, 1.0f));
    TRY(bg_node_param(node, "beta", BG_PARAM_BETA, &shape, 0.0f));
    TRY(bg_node_param(node, "running_mean", BG_PARAM_RUNNING_MEAN, &shape, 0.0f));
    TRY(bg_node_param(node, "running_var", BG_PARAM_RUNNING_VAR, &shape, 1.0f));
    TRY(bg_node_end(node, out));
out:
    return rc;
}
