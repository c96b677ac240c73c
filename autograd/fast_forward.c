/* Forward of fast training. Ranges are delayed as everywhere: a batch is quantized with the range
 * of the batches before it and folded into the range afterwards; a quantizer without any range
 * takes this batch's first. */
#include "autograd/fast.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/kernel.h"
#include "core/method.h"

enum { WEIGHT, BIAS };
enum { GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR };

static void move_running(const struct bg_fast_term *term, const struct bg_run *run, float s_a,
                         int64_t rows)
{
    const struct bg_batch_norm *norm = term->norm->attributes;
    struct bg_param *mean = term->norm->param[RUNNING_MEAN], *var = term->norm->param[RUNNING_VAR];
    const struct bg_node *layer = term->form->node;
    double m = run->moment->bn_momentum > 0.0 ? run->moment->bn_momentum : norm->momentum;
    double unbias = rows > 1 ? (double)rows / (double)(rows - 1) : 1.0;

    for (int64_t c = 0; c < term->norm->shape.dims[2]; c++) {
        double scale = (double)s_a * (double)bg_fast_weight_scale(term, c);
        double bias = layer->params > BIAS ? (double)bg_f32(&layer->param[BIAS]->value)[c] : 0.0;
        float *rm = bg_f32(&mean->value) + c, *rv = bg_f32(&var->value) + c;
        *rm = (float)((1.0 - m) * (double)*rm + m * ((double)term->mean[c] * scale + bias));
        *rv = (float)((1.0 - m) * (double)*rv + m * unbias * (double)term->var[c] * scale * scale);
    }
    mean->version++;
    var->version++;
}

/* invstd of z: epsilon is in real units. */
static void fill_norm(const struct bg_fast_term *term, float s_a)
{
    const struct bg_batch_norm *norm = term->norm->attributes;

    for (int64_t c = 0; c < term->norm->shape.dims[2]; c++) {
        double scale = (double)s_a * (double)bg_fast_weight_scale(term, c);
        term->invstd[c] =
            (float)(1.0 / sqrt((double)term->var[c] + norm->epsilon / (scale * scale)));
    }
}

/* v = value * a + b in units of the output's scale `size`. */
static void fill_factors(const struct bg_fast *fast, const struct bg_fast_step *step,
                         const struct bg_fast_term *term, float size)
{
    const struct bg_node *node = term->form->node;
    float s_a = bg_fast_input_scale(fast, term);
    double n = term->form->source == BG_INTEGER_POOL
                   ? (double)(term->form->pool.kernel[0] * term->form->pool.kernel[1])
                   : 1.0;

    for (int64_t c = 0; c < step->form->requant.channels; c++) {
        double a = (double)s_a / n, b = 0.0;
        if (term->norm != NULL) {
            a = (double)bg_f32(&term->norm->param[GAMMA]->value)[c] * (double)term->invstd[c];
            b = (double)bg_f32(&term->norm->param[BETA]->value)[c] - (double)term->mean[c] * a;
        } else if (term->conv != NULL) {
            a *= (double)bg_fast_weight_scale(term, c);
            if (node->params > BIAS)
                b = (double)bg_f32(&node->param[BIAS]->value)[c];
        }
        term->a[c] = (float)(a / (double)size);
        term->b[c] = (float)(b / (double)size);
    }
}

static enum bg_status run_term(struct bg_fast *fast, const struct bg_fast_step *step,
                               struct bg_fast_term *term, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    const struct bg_fast_tensor *input = &fast->tensor[term->form->input];
    int64_t rows = bg_fast_rows(fast, step), channels = step->form->requant.channels;

    if (term->form->source == BG_INTEGER_POOL) {
        struct bg_pool_shape shape = term->form->pool;
        shape.batch = fast->options.batch;
        bg_int_sum_pool(&shape, input->codes, bg_fast_input_grid(fast, term)->zero_point,
                        term->acc);
    } else if (term->conv != NULL) {
        TRY(bg_param_encode(term->form->node->param[WEIGHT], &term->sink));
        TRY(bg_train_conv_forward(term->conv, input->codes,
                                  bg_fast_input_grid(fast, term)->zero_point, term->z));
    }
    if (term->norm != NULL) {
        bg_train_statistics(term->z, rows, channels, term->mean, term->var, fast->scratch);
        fill_norm(term, bg_fast_input_scale(fast, term));
        if ((run->moment->flags & BG_RUN_UPDATE_BN) != 0)
            move_running(term, run, bg_fast_input_scale(fast, term), rows);
    }
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", term->form->node->name);
    return rc;
}

/* Limits of the code and of what lets the gradient through, by activation and grid. The gradient
 * passes within half a step of the grid's ends, and where the activation's own does: for relu v >
 * 0, for relu6 0 < v < 6. */
static void fill_limits(const struct bg_fast_step *step, const struct bg_grid *grid,
                        struct bg_train_forward *pass)
{
    int32_t z = grid->zero_point;
    float low = (float)(grid->qmin - z) - 0.5f, high = (float)(grid->qmax - z) + 0.5f;

    pass->zero_point = z;
    pass->lo = grid->qmin;
    pass->hi = grid->qmax;
    pass->pass_low = nextafterf(low, -FLT_MAX); /* low itself passes */
    pass->pass_high = high;
    if (step->activation == NULL)
        return;
    pass->lo = z > pass->lo ? z : pass->lo;
    pass->pass_low = fmaxf(pass->pass_low, 0.0f);
    if (step->activation->op == &bg_op_relu6) {
        float six = 6.0f / grid->scale[0];
        int32_t hi = z + (int32_t)rintf(fminf(six, 255.0f));
        pass->hi = hi < pass->hi ? hi : pass->hi;
        pass->pass_high = fminf(high, nextafterf(six, 0.0f));
    }
}

static void add_terms(const struct bg_fast *fast, const struct bg_fast_step *step, float size,
                      struct bg_train_forward *pass)
{
    pass->terms = step->terms;
    for (int t = 0; t < step->terms; t++) {
        const struct bg_fast_term *term = &step->term[t];
        struct bg_train_term *out = &pass->term[t];
        fill_factors(fast, step, term, size);
        *out = (struct bg_train_term){.a = term->a, .b = term->b};
        if (term->conv != NULL)
            out->z = term->z;
        else if (term->form->source == BG_INTEGER_POOL)
            out->acc = term->acc;
        else
            out->codes = fast->tensor[term->form->input].codes;
        out->zero_point = bg_fast_input_grid(fast, term)->zero_point;
    }
}

/* The batch's least and largest value, behind the activation, into the range. */
static enum bg_status observe(const struct bg_fast_step *step, struct bg_quantizer *quantizer,
                              const struct bg_train_forward *pass, float size)
{
    float ends[2] = {pass->min * size, pass->max * size};

    if (step->activation != NULL)
        for (int i = 0; i < 2; i++)
            ends[i] = ends[i] < 0.0f ? 0.0f : ends[i]; /* NaN stays */
    if (step->activation != NULL && step->activation->op == &bg_op_relu6)
        for (int i = 0; i < 2; i++)
            ends[i] = ends[i] > 6.0f ? 6.0f : ends[i];
    return bg_quantizer_observe(quantizer, ends, 2);
}

static enum bg_status run_sum(struct bg_fast *fast, struct bg_fast_step *step,
                              const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_fast_tensor *out = &fast->tensor[step->form->output];
    struct bg_quantizer *quantizer = out->quantizer;
    bool moves = (run->moment->flags & BG_RUN_OBSERVE) != 0;
    struct bg_train_forward pass = {.rows = bg_fast_rows(fast, step),
                                    .channels = step->form->requant.channels,
                                    .codes = out->codes,
                                    .mask = out->mask};

    for (int t = 0; t < step->terms; t++)
        TRY(run_term(fast, step, &step->term[t], run));
    if (moves && quantizer->observed == 0) {
        add_terms(fast, step, 1.0f, &pass);
        pass.hi = 255;
        bg_train_forward(&pass);
        TRY(observe(step, quantizer, &pass, 1.0f));
        moves = false;
    }
    TRY(bg_quantizer_refit(quantizer));
    float size = quantizer->grid.scale[0];
    add_terms(fast, step, size, &pass);
    fill_limits(step, &quantizer->grid, &pass);
    bg_train_forward(&pass);
    quantizer->seen = pass.rows * pass.channels;
    quantizer->clipped = pass.clipped;
    if (moves)
        TRY(observe(step, quantizer, &pass, size));
out:
    return rc;
}

/* Values of the input for its range: f32 samples, or the ends of the bytes. */
static enum bg_status observe_input(const struct bg_fast *fast, struct bg_quantizer *quantizer,
                                    const struct bg_batch *batch, int64_t n)
{
    const struct bg_sample_spec *sample = bg_node_sample_spec(fast->graph->node[0]);
    const uint8_t *bytes = batch->images;
    int ends[2] = {255, 0};
    float values[2];

    if (batch->dtype != BG_U8)
        return bg_quantizer_observe(quantizer, batch->images, n);
    for (int64_t i = 0; i < n; i++) {
        ends[0] = bytes[i] < ends[0] ? bytes[i] : ends[0];
        ends[1] = bytes[i] > ends[1] ? bytes[i] : ends[1];
    }
    for (int i = 0; i < 2; i++)
        values[i] = (float)(ends[i] - sample->zero_point) * sample->scale;
    return bg_quantizer_observe(quantizer, values, 2);
}

static void encode_input(const struct bg_fast *fast, const struct bg_fast_step *step,
                         const struct bg_batch *batch)
{
    const struct bg_fast_tensor *out = &fast->tensor[step->form->output];
    const struct bg_sample_spec *sample = bg_node_sample_spec(fast->graph->node[0]);
    const struct bg_grid *grid = &out->quantizer->grid;
    int64_t n = bg_fast_count(fast, step->form->output);
    uint8_t table[256];

    if (batch->dtype != BG_U8) {
        bg_kernel_encode_u8(grid, 0, batch->images, n, out->codes);
        return;
    }
    if (out->quantizer->fixed) {
        memcpy(out->codes, batch->images, (size_t)n);
        return;
    }
    for (int i = 0; i < 256; i++) {
        float real = (float)(i - sample->zero_point) * sample->scale;
        bg_kernel_encode_u8(grid, 0, &real, 1, &table[i]);
    }
    for (int64_t i = 0; i < n; i++)
        out->codes[i] = table[((const uint8_t *)batch->images)[i]];
}

static enum bg_status run_input(const struct bg_fast *fast, const struct bg_fast_step *step,
                                const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_quantizer *quantizer = fast->tensor[step->form->output].quantizer;
    int64_t n = bg_fast_count(fast, step->form->output);
    bool moves = (run->moment->flags & BG_RUN_OBSERVE) != 0 && !quantizer->fixed;

    if (moves && quantizer->observed == 0) {
        TRY(observe_input(fast, quantizer, run->batch, n));
        moves = false;
    }
    TRY(bg_quantizer_refit(quantizer));
    encode_input(fast, step, run->batch);
    if (moves)
        TRY(observe_input(fast, quantizer, run->batch, n));
out:
    return rc;
}

/* Logits are on no grid: s_y is 1. */
static enum bg_status run_logits(struct bg_fast *fast, struct bg_fast_step *step,
                                 const struct bg_run *run)
{
    enum bg_status rc = BG_OK;
    int64_t channels = step->form->requant.channels, rows = bg_fast_rows(fast, step);

    for (int64_t i = 0; i < rows * channels; i++)
        fast->logits[i] = 0.0f;
    for (int t = 0; t < step->terms; t++) {
        struct bg_fast_term *term = &step->term[t];
        TRY(run_term(fast, step, term, run));
        fill_factors(fast, step, term, 1.0f);
        for (int64_t i = 0; i < rows * channels; i++) {
            uint32_t bits = term->conv != NULL ? (uint32_t)term->z[i] << 16 : 0;
            float value = term->acc != NULL ? (float)term->acc[i] : 0.0f;
            if (term->conv != NULL)
                memcpy(&value, &bits, sizeof value);
            fast->logits[i] += value * term->a[i % channels] + term->b[i % channels];
        }
    }
    TRY(fast->loss.op->forward(&fast->loss, run));
out:
    return rc;
}

enum bg_status bg_fast_forward(struct bg_fast *fast, const struct bg_run *run)
{
    enum bg_status rc = BG_OK;

    for (int s = 0; s < fast->steps; s++) {
        struct bg_fast_step *step = &fast->step[s];
        const struct bg_fast_tensor *out = &fast->tensor[step->form->output];
        if (step->form->kind == BG_INTEGER_INPUT) {
            TRY(run_input(fast, step, run));
        } else if (step->form->kind == BG_INTEGER_MAX_POOL) {
            struct bg_pool_shape shape = step->form->pool;
            shape.batch = fast->options.batch;
            bg_train_max_pool(&shape, fast->tensor[step->form->input].codes, out->codes,
                              step->where);
        } else if (out->form->real) {
            TRY(run_logits(fast, step, run));
        } else {
            TRY(run_sum(fast, step, run));
        }
    }
out:
    return rc;
}
