/* One forward or backward pass. Nothing here allocates. */
#include <math.h>

#include "autograd/program_private.h"
#include "core/kernel.h"

static const struct bg_run_moment plain_moment;

static struct bg_run make_run(struct bg_program *program, const struct bg_batch *batch,
                              const struct bg_run_moment *moment)
{
    return (struct bg_run){.moment = moment == NULL ? &plain_moment : moment,
                           .batch = batch,
                           .labels = program->labels,
                           .loss = &program->loss,
                           .compute = program->options.compute,
                           .train = program->options.mode == BG_MODE_TRAIN};
}

/* Copies the labels: backward must not depend on memory of the source. */
static enum bg_status take_batch(struct bg_program *program, const struct bg_batch *batch)
{
    const struct bg_sample_spec *spec = program->graph->node[0]->attributes;
    int64_t classes = bg_graph_logits(program->graph)->shape.dims[2];

    if (batch->size != program->options.batch)
        return bg_fail(BG_E_SHAPE, "the batch has %lld samples, the program was made for %lld",
                       (long long)batch->size, (long long)program->options.batch);
    if (batch->dtype != spec->dtype)
        return bg_fail(BG_E_SHAPE, "the batch has samples of type %s, the network reads %s",
                       bg_dtype_name(batch->dtype), bg_dtype_name(spec->dtype));
    for (int64_t i = 0; i < batch->size; i++) {
        if (batch->labels[i] < 0 || batch->labels[i] >= classes)
            return bg_fail(BG_E_DATA, "label %d of sample %lld is outside 0 to %lld",
                           (int)batch->labels[i], (long long)i, (long long)classes - 1);
        program->labels[i] = batch->labels[i];
    }
    return BG_OK;
}

static enum bg_status refresh_weights(const struct bg_program *program)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < program->graph->layers; i++)
        TRY(bg_param_refresh(program->graph->layer[i]->param[0]));
out:
    return rc;
}

static enum bg_status forward_step(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;

    if ((step->flags & BG_OP_VIEW) != 0)
        return BG_OK;
    rc = step->op->forward(step, run);
    return rc == BG_OK ? rc : bg_fail_prefix(rc, "%s %s: ", step->op->name, step->node->name);
}

/* Memory was reused, so the steps run once more, each looked at before the next; nothing that
 * lasts is moved. */
static enum bg_status name_first_not_finite(struct bg_program *program, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_run_moment moment = *run->moment;
    struct bg_run again = *run;
    double loss = program->loss;

    moment.flags &= (unsigned)BG_RUN_BYPASS;
    again.moment = &moment;
    for (int i = 0; i < program->steps; i++) {
        struct bg_step *step = &program->step[i];
        TRY(forward_step(step, &again));
        if (step->out.data != NULL &&
            !bg_kernel_all_finite(bg_f32(&step->out), bg_tensor_count(&step->out)))
            FAIL(BG_E_NUMERIC, "%s %s: its output is the first with a NaN or infinity (loss %g)",
                 step->op->name, step->result->name, loss);
    }
    rc = bg_fail(BG_E_NUMERIC, "%s %s: the loss is %g", program->graph->loss->op->name,
                 program->graph->loss->name, loss);
out:
    return rc;
}

enum bg_status bg_program_forward(struct bg_program *program, const struct bg_batch *batch,
                                  const struct bg_run_moment *moment)
{
    enum bg_status rc = BG_OK;
    struct bg_run run = make_run(program, batch, moment);

    program->phase = BG_PHASE_NEW;
    TRY(take_batch(program, batch));
    if (program->fast != NULL) {
        if ((run.moment->flags & BG_RUN_BYPASS) != 0)
            FAIL(BG_E_USAGE, "a fast program has no values to pass through its quantizers");
        if ((run.moment->flags & BG_RUN_FROZEN) != 0)
            FAIL(BG_E_USAGE, "a fast program cannot freeze its norms");
        TRY(bg_fast_forward(program->fast, &run));
        if (!isfinite(program->loss))
            FAIL(BG_E_NUMERIC, "%s %s: the loss is %g", program->graph->loss->op->name,
                 program->graph->loss->name, program->loss);
        program->phase = BG_PHASE_FORWARD;
        goto out;
    }
    if (program->coded > 0 && (run.moment->flags & BG_RUN_BYPASS) != 0)
        FAIL(BG_E_USAGE, "layers on codes need what their quantizers would pass by");
    TRY(refresh_weights(program));
    for (int i = 0; i < program->steps; i++)
        TRY(forward_step(&program->step[i], &run));
    if (!isfinite(program->loss))
        TRY(name_first_not_finite(program, &run));
    program->phase = BG_PHASE_FORWARD;
out:
    return rc;
}

static void see(const struct bg_run *run, const struct bg_step *step, enum bg_quantity quantity,
                const struct bg_tensor *gradient)
{
    const struct bg_observer *observer = run->moment->observer;

    if (observer != NULL && gradient->data != NULL)
        observer->see(observer->self, step->node->layer, quantity, gradient);
}

/* What is left of an edge when the op's own backward has run. */
static void finish_edge(const struct bg_step *step, int k)
{
    float *sum = bg_f32(&step->d_sum[k]);
    int64_t n = bg_tensor_count(&step->d_sum[k]);

    if (step->edge[k] == BG_EDGE_COPY)
        bg_kernel_copy(bg_f32(&step->d_out), n, sum);
    else if (step->edge[k] == BG_EDGE_ACCUMULATE)
        bg_kernel_add(sum, bg_f32(&step->d_out), n, sum);
    else if (step->edge[k] == BG_EDGE_ADD)
        bg_kernel_add(sum, bg_f32(&step->d_in[k]), n, sum);
}

static enum bg_status backward_step(struct bg_step *step, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    bool layer = (step->op->flags & BG_OP_LAYER) != 0;
    const struct bg_tensor *seen = NULL;

    if (layer) {
        TRY(bg_weighted_take_gradient(step, run, &seen));
        see(run, step, BG_QUANTITY_OUT_GRAD, seen);
    }
    if (step->op->backward != NULL)
        TRY(step->op->backward(step, run));
    if (layer) {
        bg_param_straight_through(step->node->param[0]);
        bg_round_weight_gradient(step->node, run);
        see(run, step, BG_QUANTITY_IN_GRAD, &step->d_in[0]);
        see(run, step, BG_QUANTITY_WEIGHT_GRAD, &step->node->param[0]->grad);
    }
    for (int k = 0; k < step->inputs; k++)
        finish_edge(step, k);
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s %s: ", step->op->name, step->node->name);
    return rc;
}

static enum bg_status check_gradients(const struct bg_graph *graph)
{
    for (int i = 0; i < graph->params; i++) {
        struct bg_param *param = graph->param[i];
        if (param->grad.data != NULL && !bg_model_param(param)->grad_finite &&
            !bg_kernel_all_finite(bg_f32(&param->grad), bg_tensor_count(&param->grad)))
            return bg_fail(BG_E_NUMERIC, "the gradient of %s has a NaN or infinity", param->name);
    }
    return BG_OK;
}

enum bg_status bg_program_backward(struct bg_program *program, const struct bg_run_moment *moment)
{
    enum bg_status rc = BG_OK;
    struct bg_run run = make_run(program, NULL, moment);

    if (!run.train)
        FAIL(BG_E_USAGE, "an evaluation program has no backward");
    if (program->phase != BG_PHASE_FORWARD)
        FAIL(BG_E_USAGE, "backward needs a forward before it");
    program->phase = BG_PHASE_BACKWARD;
    for (int i = 0; i < program->graph->params; i++)
        bg_model_param(program->graph->param[i])->grad_finite = false;
    if (program->fast != NULL)
        TRY(bg_fast_backward(program->fast, &run));
    for (int i = program->steps - 1; i >= 0; i--)
        if (program->step[i].needs_gradient)
            TRY(backward_step(&program->step[i], &run));
    TRY(check_gradients(program->graph));
out:
    return rc;
}
