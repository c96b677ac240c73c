/* The values of an integer model: weight codes, m, c and limits from the graph's present parameters
 * and ranges, exactly as core/NUMERICS.md, "Integer evaluation", orders the operations. */
#include <math.h>
#include <string.h>

#include "autograd/integer_private.h"
#include "core/kernel.h"
#include "core/store.h"

enum { WEIGHT, BIAS };
enum { GAMMA, BETA, MEAN, VAR };

static enum bg_status fill_tensor(struct bg_integer_tensor *tensor, struct bg_quantizer *quantizer)
{
    enum bg_status rc = BG_OK;

    tensor->scale = 1.0f;
    if (quantizer == NULL)
        goto out;
    TRY(bg_quantizer_refit(quantizer));
    tensor->scale = quantizer->grid.scale[0];
    tensor->zero_point = quantizer->grid.zero_point;
out:
    return rc;
}

/* Codes of one layer's weights; those of channels in `negate` change sign. */
static void encode_weights(const struct bg_param *weight, const float *m, bool negative,
                           int8_t *codes)
{
    const struct bg_grid *grid = &weight->quantizer->grid;
    int64_t outputs = weight->value.shape.dims[0], n = bg_tensor_count(&weight->value) / outputs;
    const float *w = bg_f32(&weight->value);
    const int8_t *stored = bg_store_s8(weight);

    for (int64_t o = 0; o < outputs; o++) {
        if (stored != NULL)
            memcpy(codes + o * n, stored + o * n, (size_t)n);
        else
            bg_kernel_encode_s8(grid, grid->channels == 1 ? 0 : o, w + o * n, n, codes + o * n);
        if (negative && m[o] < 0.0f)
            for (int64_t i = 0; i < n; i++)
                codes[o * n + i] = (int8_t)-codes[o * n + i];
    }
}

/* Behind a flatten the channels of a layer or norm repeat, pixel by pixel. */
static float of_channel(const struct bg_param *param, int64_t channel)
{
    return bg_f32(&param->value)[channel % bg_tensor_count(&param->value)];
}

/* g, beta and mean of a channel; without a norm 1, 0, 0. */
struct norm {
    double g, beta, mean;
};

static struct norm norm_of(const struct bg_node *node, int64_t channel)
{
    const struct bg_batch_norm *options;
    struct norm norm = {.g = 1.0};

    if (node == NULL)
        return norm;
    options = node->attributes;
    norm.g = (double)of_channel(node->param[GAMMA], channel) /
             sqrt((double)of_channel(node->param[VAR], channel) + options->epsilon);
    norm.beta = (double)of_channel(node->param[BETA], channel);
    norm.mean = (double)of_channel(node->param[MEAN], channel);
    return norm;
}

/* m before the division by s_y, without g: s_a * s_w of a layer, s_x of codes and pools. */
static double term_scale(const struct bg_integer_model *model, const struct bg_integer_term *term,
                         int64_t channel)
{
    double scale = (double)model->tensor[term->input].scale;
    const struct bg_grid *grid;

    if (term->source != BG_INTEGER_LAYER)
        return scale;
    grid = &term->node->param[WEIGHT]->quantizer->grid;
    return scale * (double)grid->scale[channel % grid->channels];
}

static void fill_term(const struct bg_integer_own *own, int s, int t)
{
    const struct bg_integer_model *model = &own->model;
    const struct bg_integer_origin *origin = &own->origin[s];
    struct bg_integer_step *step = &model->step[s];
    struct bg_integer_term *term = &step->term[t];
    struct bg_requant_term *out = &step->requant.term[t];
    double size = (double)model->tensor[step->output].scale;
    double n = term->source == BG_INTEGER_POOL
                   ? (double)(term->pool.kernel[0] * term->pool.kernel[1])
                   : 1.0;
    bool biased = term->source == BG_INTEGER_LAYER && term->node->params > BIAS;

    for (int64_t o = 0; o < step->requant.channels; o++) {
        const struct norm norm = norm_of(origin->norm[t], origin->norm_channel + o);
        double bias = biased ? (double)of_channel(term->node->param[BIAS], o) : 0.0;
        out->m[o] = (float)(term_scale(model, term, o) * norm.g / (n * size));
        out->c[o] =
            (float)((origin->shift[t] ? norm.beta + (bias - norm.mean) * norm.g : bias * norm.g) /
                    size);
    }
    if (term->source != BG_INTEGER_LAYER)
        return;
    encode_weights(term->node->param[WEIGHT], out->m, step->requant.mode != BG_REQUANT_F32_RNE,
                   term->weights);
    if (step->requant.mode != BG_REQUANT_F32_RNE)
        for (int64_t o = 0; o < step->requant.channels; o++)
            out->m[o] = fabsf(out->m[o]);
}

static void fill_limits(const struct bg_integer_own *own, int s)
{
    struct bg_integer_step *step = &own->model.step[s];
    const struct bg_integer_tensor *tensor = &own->model.tensor[step->output];
    const struct bg_node *activation = own->origin[s].activation;
    struct bg_requant *requant = &step->requant;

    requant->zero_point = tensor->zero_point;
    requant->lo = tensor->qmin;
    requant->hi = tensor->qmax;
    if (activation == NULL)
        return;
    if (requant->lo < tensor->zero_point)
        requant->lo = tensor->zero_point;
    if (activation->op == &bg_op_relu6) {
        float top = fminf(6.0f / tensor->scale, 255.0f);
        int32_t hi = tensor->zero_point + (int32_t)rintf(top);
        requant->hi = hi < requant->hi ? hi : requant->hi;
    }
}

static enum bg_status fill_sum(struct bg_integer_own *own, int s)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_step *step = &own->model.step[s];

    for (int t = 0; t < step->terms; t++)
        fill_term(own, s, t);
    if (!own->model.tensor[step->output].real)
        fill_limits(own, s);
    TRY(bg_requant_fit(&step->requant));
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", step->name);
    return rc;
}

/* Raw bytes: a byte's code, the byte itself where the grid is the data's own. */
static void fill_table(const struct bg_integer_own *own, int s)
{
    const struct bg_integer_step *step = &own->model.step[s];
    const struct bg_quantizer *quantizer = own->grid[step->output];
    const struct bg_sample_spec *sample = bg_node_sample_spec(own->model.graph->node[0]);

    for (int i = 0; i < 256; i++) {
        float real = (float)(i - sample->zero_point) * sample->scale;
        step->table[i] = (uint8_t)i;
        if (!quantizer->fixed)
            bg_kernel_encode_u8(&quantizer->grid, 0, &real, 1, &step->table[i]);
    }
}

enum bg_status bg_integer_model_refresh(struct bg_integer_model *model)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_own *own = (struct bg_integer_own *)(void *)model;

    for (int i = 0; i < model->graph->layers; i++)
        TRY(bg_param_refresh(model->graph->layer[i]->param[WEIGHT]));
    for (int i = 0; i < model->tensors; i++)
        TRY(fill_tensor(&model->tensor[i], own->grid[i]));
    for (int s = 0; s < model->steps; s++) {
        if (model->step[s].kind == BG_INTEGER_SUM)
            TRY(fill_sum(own, s));
        else if (model->step[s].table != NULL)
            fill_table(own, s);
    }
    model->serial++;
out:
    return rc;
}
