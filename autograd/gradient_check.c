/* Gradient check by central differences of the f64 loss with the reference compute.
 *
 * D(h) = (f(x+h) - f(x-h)) / 2h has an error of h^2 f'''/6; (4 D(h/2) - D(h)) / 3 removes it, so h
 * may be large enough that f32 rounding of values on the way does not matter. A kink (relu, max
 * pool) within h spoils both: then smaller steps are tried, up to h/64, and the best agreement
 * counts; a wrong gradient agrees at no step. Where the point itself is a kink the one-sided slopes
 * differ by an amount that does not shrink with h (a smooth loss's does), and the analytic gradient
 * must lie between them: only what lies outside counts as error (comparing with the curvature is
 * from kann's gradient check). */
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"

struct check {
    struct bg_program *program;
    struct bg_batch batch;
    float *images;     /* a copy of an f32 batch's, to change; NULL for raw bytes */
    double step, base; /* base: the loss at the unchanged point */
    struct bg_gradient_check *out;
};

/* Numbers that are checked: a parameter, or the input (param NULL). */
struct target {
    const char *name;
    struct bg_param *param;
    float *value;
    const float *gradient;
    int64_t count;
};

static enum bg_status loss_at(struct check *check, const struct target *target, int64_t i,
                              double offset, double *loss)
{
    enum bg_status rc = BG_OK;
    float kept = target->value[i];

    target->value[i] = (float)((double)kept + offset);
    if (target->param != NULL)
        target->param->version++;
    rc = bg_program_forward(check->program, &check->batch, NULL);
    *loss = bg_program_loss(check->program);
    target->value[i] = kept;
    if (target->param != NULL)
        target->param->version++;
    return rc;
}

struct slopes {
    double left, right, central;
};

static enum bg_status slopes_at(struct check *check, const struct target *target, int64_t i,
                                double h, struct slopes *out)
{
    enum bg_status rc = BG_OK;
    double up = 0.0, down = 0.0;
    /* the offsets that f32 can represent */
    double above = (double)(float)((double)target->value[i] + h) - (double)target->value[i];
    double below = (double)target->value[i] - (double)(float)((double)target->value[i] - h);

    TRY(loss_at(check, target, i, above, &up));
    TRY(loss_at(check, target, i, -below, &down));
    *out = (struct slopes){.left = (check->base - down) / below,
                           .right = (up - check->base) / above,
                           .central = (up - down) / (above + below)};
out:
    return rc;
}

#define HALVINGS    6
#define GOOD_ENOUGH 1e-3

/* *numeric = the derivative told by two steps; returns its distance from `analytic`. */
static double disagreement(const struct slopes *wide, const struct slopes *narrow, double analytic,
                           double *numeric)
{
    double gap = fabs(narrow->right - narrow->left), error = 0.0;

    *numeric = (4.0 * narrow->central - wide->central) / 3.0;
    error = fabs(analytic - *numeric);
    if (gap > 0.75 * fabs(wide->right - wide->left)) /* half of it when smooth */
        error = fmin(error, fmax(fabs(analytic - narrow->central) - gap / 2.0, 0.0));
    error /= fmax(1e-3, fabs(analytic) + fabs(*numeric));
    return isnan(error) ? (double)INFINITY : error;
}

static enum bg_status check_element(struct check *check, const struct target *target, int64_t i)
{
    enum bg_status rc = BG_OK;
    double analytic = (double)target->gradient[i], best = (double)INFINITY, at_best = 0.0;
    struct slopes wide, narrow;

    TRY(slopes_at(check, target, i, check->step, &wide));
    for (int k = 1; k <= HALVINGS && best > GOOD_ENOUGH; k++) {
        double numeric = 0.0, error = 0.0;
        TRY(slopes_at(check, target, i, ldexp(check->step, -k), &narrow));
        error = disagreement(&wide, &narrow, analytic, &numeric);
        if (k == 1 || error < best) {
            best = error;
            at_best = numeric;
        }
        wide = narrow;
    }
    if (best <= check->out->worst)
        goto out;
    check->out->worst = best;
    check->out->index = i;
    check->out->analytic = analytic;
    check->out->numeric = at_best;
    TRY(bg_text_copy(check->out->where, sizeof check->out->where, target->name));
out:
    return rc;
}

static enum bg_status check_target(struct check *check, const struct target *target)
{
    enum bg_status rc = BG_OK;

    for (int64_t i = 0; i < target->count; i++)
        TRY(check_element(check, target, i));
out:
    return rc;
}

/* Forward and backward once; copies every gradient, in the order of the parameters, the input's
 * last. */
static enum bg_status analytic_gradients(struct bg_graph *graph, const struct bg_batch *batch,
                                         enum bg_compute compute, float **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_program_options options = {
        .batch = batch->size, .mode = BG_MODE_TRAIN, .compute = compute, .observe = true};
    struct bg_program *program = NULL;
    int64_t total = bg_shape_count(&graph->node[0]->shape) * batch->size;
    float *at = NULL;

    for (int i = 0; i < graph->params; i++)
        total += bg_tensor_count(&graph->param[i]->value);
    TRY(bg_alloc(out, total, sizeof **out));
    TRY(bg_program_create(&program, graph, &options));
    TRY(bg_program_forward(program, batch, NULL));
    TRY(bg_program_backward(program, NULL));
    at = *out;
    for (int i = 0; i < graph->params; i++) {
        const struct bg_param *param = graph->param[i];
        int64_t n = bg_tensor_count(&param->value);
        if (bg_param_trainable(param))
            memcpy(at, param->grad.data, (size_t)n * sizeof *at);
        at += n;
    }
    if (program->step[0].d_out.data != NULL)
        memcpy(at, program->step[0].d_out.data,
               (size_t)bg_tensor_count(&program->step[0].d_out) * sizeof *at);
out:
    bg_program_destroy(program);
    return rc;
}

static enum bg_status check_all(struct check *check, const struct bg_graph *graph,
                                const float *gradient)
{
    enum bg_status rc = BG_OK;
    struct target target = {.name = NULL};

    TRY(bg_program_forward(check->program, &check->batch, NULL));
    check->base = bg_program_loss(check->program);
    for (int i = 0; i < graph->params; i++) {
        struct bg_param *param = graph->param[i];
        target = (struct target){.name = param->name,
                                 .param = param,
                                 .value = bg_f32(&param->value),
                                 .gradient = gradient,
                                 .count = bg_tensor_count(&param->value)};
        gradient += target.count;
        if (bg_param_trainable(param))
            TRY(check_target(check, &target));
    }
    target = (struct target){.name = graph->node[0]->name,
                             .value = check->images,
                             .gradient = gradient,
                             .count = bg_shape_count(&graph->node[0]->shape) * check->batch.size};
    if (check->images != NULL)
        TRY(check_target(check, &target));
out:
    return rc;
}

enum bg_status bg_check_gradients(struct bg_graph *graph, const struct bg_batch *batch,
                                  enum bg_compute compute, double step,
                                  struct bg_gradient_check *out)
{
    enum bg_status rc = BG_OK;
    struct check check = {.batch = *batch, .step = step, .out = out};
    const struct bg_program_options options = {
        .batch = batch->size, .mode = BG_MODE_TRAIN, .compute = BG_COMPUTE_REFERENCE};
    float *gradients = NULL;
    int64_t count = 0;

    *out = (struct bg_gradient_check){.worst = 0.0};
    if (graph->quantizers > 0)
        FAIL(BG_E_USAGE, "gradient check: the graph has %d quantizers, none are allowed",
             graph->quantizers);
    for (int i = 0; i < graph->layers; i++)
        if (graph->layer[i]->out_gradient.format != BG_FORMAT_F32 ||
            graph->layer[i]->weight_gradient.format != BG_FORMAT_F32)
            FAIL(BG_E_USAGE, "gradient check: the plan rounds the gradients of %s",
                 graph->layer[i]->name);
    if (!(step > 0.0))
        FAIL(BG_E_RANGE, "gradient check: step %g must be positive", step);
    TRY(analytic_gradients(graph, batch, compute, &gradients));
    TRY(bg_program_create(&check.program, graph, &options));
    count = bg_shape_count(&graph->node[0]->shape) * batch->size;
    if (batch->dtype == BG_F32) { /* the batch is the caller's: change a copy */
        TRY(bg_alloc(&check.images, count, sizeof *check.images));
        memcpy(check.images, batch->images, (size_t)count * sizeof *check.images);
        check.batch.images = check.images;
    }
    TRY(check_all(&check, graph, gradients));
out:
    bg_program_destroy(check.program);
    bg_free(check.images);
    bg_free(gradients);
    return rc;
}
