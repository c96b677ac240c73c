/* Backward of fast training. A step's gradient is the sum of what its readers left, masked where
 * the quantiser or the activation stopped it; batch norm's sums come from the same pass. Then each
 * accumulator's gradient, its weights', its input's. */
#include "autograd/fast.h"

#include <string.h>

#include "core/kernel.h"

enum { WEIGHT, BIAS };
enum { GAMMA, BETA };

/* Gradients of gamma and beta, and dz = da * g + db * z + dc: batch norm's gradient over z, divided
 * by s_a (units: fast.h). */
static void norm_gradients(const struct bg_fast *fast, const struct bg_fast_step *step,
                           struct bg_fast_term *term)
{
    double rows = (double)bg_fast_rows(fast, step), s_a = (double)bg_fast_input_scale(fast, term);
    float *dgamma = bg_f32(&term->norm->param[GAMMA]->grad);
    float *dbeta = bg_f32(&term->norm->param[BETA]->grad);
    const float *gamma = bg_f32(&term->norm->param[GAMMA]->value);

    for (int64_t c = 0; c < step->form->requant.channels; c++) {
        double invstd = (double)term->invstd[c], mean = (double)term->mean[c];
        double slope = invstd * (term->dot[c] - mean * step->sum[c]);
        double factor = (double)gamma[c] * invstd / s_a;
        dgamma[c] = (float)slope;
        dbeta[c] = (float)step->sum[c];
        term->da[c] = (float)factor;
        term->db[c] = (float)(-factor * invstd * slope / rows);
        term->dc[c] = (float)(factor * (mean * invstd * slope - step->sum[c]) / rows);
    }
}

/* Without a norm dz = s_w * g, and the bias takes the sum; behind a norm a bias moves nothing. */
static void plain_gradients(const struct bg_fast_step *step, struct bg_fast_term *term)
{
    const struct bg_node *node = term->form->node;

    for (int64_t c = 0; c < step->form->requant.channels; c++)
        term->da[c] = bg_fast_weight_scale(term, c);
    for (int64_t c = 0; node->params > BIAS && c < step->form->requant.channels; c++)
        bg_f32(&node->param[BIAS]->grad)[c] = (float)step->sum[c];
}

static void clear_bias(const struct bg_fast_term *term)
{
    const struct bg_node *node = term->form->node;

    if (node->params > BIAS)
        memset(node->param[BIAS]->grad.data, 0,
               (size_t)bg_tensor_count(&node->param[BIAS]->grad) * sizeof(float));
}

/* The masked sum of the parts of the output's gradient, with the sums that norms need. */
static void reduce(struct bg_fast *fast, struct bg_fast_step *step, const struct bg_run *run)
{
    const struct bg_fast_tensor *out = &fast->tensor[step->form->output];
    struct bg_train_reduce pass = {.rows = bg_fast_rows(fast, step),
                                   .channels = step->form->requant.channels,
                                   .gradients = out->gradients,
                                   .mask = out->mask,
                                   .g = step->g,
                                   .sum = step->sum,
                                   .scratch = fast->scratch};

    memcpy(pass.d, out->d, sizeof pass.d);
    for (int i = 0; i < out->gradients; i++)
        if (bg_fast_sees_later(run, out->reader[i]))
            pass.seen[i] = out->reader[i]->seen_dx;
    for (int t = 0; t < step->terms; t++) {
        if (step->term[t].norm == NULL)
            continue;
        pass.z[pass.terms] = step->term[t].z;
        pass.dot[pass.terms++] = step->term[t].dot;
    }
    bg_train_reduce(&pass);
    for (int i = 0; i < out->gradients; i++)
        if (pass.seen[i] != NULL)
            bg_fast_see_input(fast, out->reader[i], true, run);
}

/* dz on the plan's grid: the numbers of `apply`, not rounded to bf16 in between. */
static enum bg_status round_term(struct bg_fast *fast, const struct bg_fast_step *step,
                                 struct bg_fast_term *term, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = term->form->node;
    struct bg_gradient_pass pass = {.grid = node->out_gradient,
                                    .rows = bg_fast_rows(fast, step),
                                    .channels = step->form->requant.channels,
                                    .g = step->g,
                                    .a = term->da,
                                    .rng = bg_gradient_rng(node->name, run),
                                    .codes = term->dz,
                                    .scratch = fast->room};

    if (term->norm != NULL) {
        pass.z = term->z;
        pass.b = term->db;
        pass.c = term->dc;
    }
    TRY(bg_gradient_round(&pass));
    term->unit = pass.unit;
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s %s: ", node->op->name, node->name);
    return rc;
}

static enum bg_status apply(struct bg_fast *fast, struct bg_fast_step *step,
                            const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_train_apply pass = {
        .rows = bg_fast_rows(fast, step), .channels = step->form->requant.channels, .g = step->g};

    for (int t = 0; t < step->terms; t++) {
        struct bg_fast_term *term = &step->term[t];
        int at = pass.terms;
        if (term->conv == NULL)
            continue;
        if (term->norm != NULL) {
            norm_gradients(fast, step, term);
            clear_bias(term);
        } else {
            plain_gradients(step, term);
        }
        term->unit = 1.0f;
        if (bg_fast_rounds(term)) {
            TRY(round_term(fast, step, term, run));
            continue;
        }
        pass.z[at] = term->norm == NULL ? NULL : term->z;
        pass.b[at] = term->norm == NULL ? NULL : term->db;
        pass.c[at] = term->norm == NULL ? NULL : term->dc;
        pass.a[at] = term->da;
        pass.dz[at] = term->dz;
        pass.seen[at] = bg_fast_observed(run) ? term->seen_dz : NULL;
        pass.terms++;
    }
    if (pass.terms > 0)
        bg_train_apply(&pass);
out:
    return rc;
}

/* The weights' gradient in their own units, behind the straight-through mask. A learned step's
 * gradient reads what the mask takes away, so there it comes apart. */
static enum bg_status weight_gradient(struct bg_fast *fast, struct bg_fast_term *term)
{
    enum bg_status rc = BG_OK;
    const struct bg_fast_tensor *input = &fast->tensor[term->form->input];
    struct bg_param *weight = term->form->node->param[WEIGHT];
    const struct bg_grid *grid = &weight->quantizer->grid;
    const bool apart = weight->quantizer->step != NULL;
    struct bg_train_gradient to = {.dw = bg_f32(&weight->grad), .factor = term->factor};

    for (int64_t o = 0; o < weight->value.shape.dims[0]; o++) {
        term->factor[o] =
            bg_fast_input_scale(fast, term) / bg_fast_weight_scale(term, o) * term->unit;
        bg_grid_clip_limits(grid, grid->channels == 1 ? 0 : o, &term->low[o], &term->high[o]);
    }
    if (!grid->binary && !apart && weight->store == NULL) {
        to.w = bg_f32(&weight->value);
        to.low = term->low;
        to.high = term->high;
    }
    TRY(bg_train_conv_weight_gradient(term->conv, input->codes, input->quantizer->grid.zero_point,
                                      term->dz, &to, &bg_model_param(weight)->grad_finite));
    if (apart)
        bg_param_straight_through(weight);
out:
    return rc;
}

static enum bg_status layer_gradients(struct bg_fast *fast, const struct bg_fast_step *step,
                                      struct bg_fast_term *term, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;

    bg_fast_see_output(fast, step, term, run);
    TRY(weight_gradient(fast, term));
    bg_round_weight_gradient(term->form->node, run);
    if (term->dx != NULL)
        TRY(bg_train_conv_backward_scaled(term->conv, term->dz, term->unit, term->dx));
    if (!bg_fast_sees_later(run, term))
        bg_fast_see_input(fast, term, false, run);
    bg_fast_see_weight(term, run);
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", term->form->node->name);
    return rc;
}

static enum bg_status back_sum(struct bg_fast *fast, struct bg_fast_step *step,
                               const struct bg_run *run)
{
    enum bg_status rc = BG_OK;

    TRY(apply(fast, step, run));
    for (int t = 0; t < step->terms; t++) {
        struct bg_fast_term *term = &step->term[t];
        const struct bg_pool_shape *pool = &term->form->pool;
        if (term->conv != NULL)
            TRY(layer_gradients(fast, step, term, run));
        else if (term->form->source == BG_INTEGER_POOL && term->dx != NULL)
            bg_train_spread(step->g, fast->options.batch, pool->kernel[0] * pool->kernel[1],
                            pool->channels,
                            (float)(1.0 / (double)(pool->kernel[0] * pool->kernel[1])), term->dx);
    }
out:
    return rc;
}

/* The logits' gradient comes from the loss; nothing masks it. */
static enum bg_status back_logits(struct bg_fast *fast, struct bg_fast_step *step,
                                  const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    int64_t channels = step->form->requant.channels, rows = bg_fast_rows(fast, step);

    TRY(fast->loss.op->backward(&fast->loss, run));
    bg_train_from_f32(fast->dlogits, rows * channels, step->g);
    memset(step->sum, 0, (size_t)channels * sizeof *step->sum);
    for (int64_t i = 0; i < rows * channels; i++)
        step->sum[i % channels] += (double)fast->dlogits[i];
    for (int t = 0; t < step->terms; t++) {
        struct bg_train_reduce pass = {.rows = rows,
                                       .channels = channels,
                                       .gradients = 1,
                                       .d = {step->g},
                                       .g = step->g,
                                       .terms = 1,
                                       .z = {step->term[t].z},
                                       .sum = step->sum,
                                       .dot = {step->term[t].dot},
                                       .scratch = fast->scratch};
        if (step->term[t].norm != NULL)
            bg_train_reduce(&pass);
    }
    TRY(back_sum(fast, step, run));
out:
    return rc;
}

static void back_max_pool(struct bg_fast *fast, struct bg_fast_step *step)
{
    struct bg_fast_tensor *out = &fast->tensor[step->form->output];
    struct bg_pool_shape shape = step->form->pool;
    struct bg_train_reduce pass = {.rows = bg_fast_rows(fast, step),
                                   .channels = step->form->requant.channels,
                                   .gradients = out->gradients,
                                   .g = step->total,
                                   .sum = step->sum,
                                   .scratch = fast->scratch};

    shape.batch = fast->options.batch;
    memcpy(pass.d, out->d, sizeof pass.d);
    if (out->gradients > 1)
        bg_train_reduce(&pass);
    if (step->g != NULL)
        bg_train_max_pool_backward(&shape, step->where,
                                   out->gradients > 1 ? step->total : out->d[0], step->g);
}

enum bg_status bg_fast_backward(struct bg_fast *fast, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;

    for (int s = fast->steps - 1; s >= 0; s--) {
        struct bg_fast_step *step = &fast->step[s];
        const struct bg_fast_tensor *out = &fast->tensor[step->form->output];
        if (!out->needs_gradient || step->form->kind == BG_INTEGER_INPUT)
            continue;
        if (step->form->kind == BG_INTEGER_MAX_POOL) {
            back_max_pool(fast, step);
        } else if (out->form->real) {
            TRY(back_logits(fast, step, run));
        } else {
            reduce(fast, step, run);
            TRY(back_sum(fast, step, run));
        }
    }
out:
    return rc;
}
