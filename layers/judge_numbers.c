/* The numbers of a value's terms: weight codes from the f32 masters, m and c in f64 in the order
 * core/NUMERICS.md gives, rounded to f32; then the limits of the code and, in the integer modes,
 * the sign of weights and what judge_modes.c makes of m and c. */
#include <math.h>

#include "core/store.h"
#include "layers/judge_private.h"

int32_t bg_judge_encode(const struct bg_grid *grid, int64_t channel, float x)
{
    float code = 0.0f;

    if (grid->binary)
        return x >= 0.0f ? 1 : -1;
    code = x / grid->scale[channel];
    if (isnan(code))
        return grid->zero_point;
    code = nearbyintf(code) + (float)grid->zero_point;
    if (code < (float)grid->qmin)
        return grid->qmin;
    return code > (float)grid->qmax ? grid->qmax : (int32_t)code;
}

static const float *values_of(const struct bg_node *node, int index)
{
    const struct bg_param *param = node == NULL ? NULL : bg_node_param_at(node, index);

    return param == NULL ? NULL : bg_f32(&param->value);
}

/* The grid a layer's weights are on. */
static enum bg_status weight_grid(const struct bg_node *layer, const struct bg_grid **out)
{
    enum bg_status rc = BG_OK;
    const struct bg_param *weight = bg_node_param_at(layer, 0);

    *out = NULL;
    if (weight->quantizer == NULL || weight->quantizer->grid.bits > 8)
        FAIL(BG_E_UNSUPPORTED, "judge: the weights of layer %s are not integers of 1 to 8 bits",
             bg_node_name(layer));
    *out = &weight->quantizer->grid;
out:
    return rc;
}

/* O,H,W,I becomes [H,W][I][O]: the outputs of one input lie side by side. */
static enum bg_status read_weights(struct bg_judge *judge, struct bg_judge_term *term)
{
    enum bg_status rc = BG_OK;
    const struct bg_judge_window *window = &term->window;
    int64_t outputs = window->out[2];
    int64_t count = window->kernel[0] * window->kernel[1] * (window->in[2] / window->groups);
    const float *w = values_of(term->node, 0);
    const struct bg_store *store = bg_node_param_at(term->node, 0)->store;
    const struct bg_grid *grid = NULL;

    TRY(weight_grid(term->node, &grid));
    TRY(bg_arena_alloc(judge->arena, &term->weights, count * outputs, sizeof(double)));
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t k = 0; k < count; k++)
            term->weights[k * outputs + o] =
                store ? bg_store_code(store, o * count + k)
                      : bg_judge_encode(grid, grid->channels == 1 ? 0 : o, w[o * count + k]);
    term->bound = count * grid->qmax; /* times the span of the codes it reads */
out:
    return rc;
}

static enum bg_status set_bound(const struct bg_judge *judge, struct bg_judge_term *term)
{
    const struct bg_grid *grid = judge->value[term->from].grid;
    int64_t span = (int64_t)grid->qmax - grid->qmin, limit = INT64_C(1) << 31;

    if (term->source == BG_JUDGE_OTHER)
        term->bound = 1;
    else if (term->weights == NULL)
        term->bound = term->window.kernel[0] * term->window.kernel[1];
    if (term->bound >= limit || term->bound * span >= limit)
        return bg_fail(BG_E_DATA, "judge: %s: %lld * %lld, a bound of its sums, does not fit s32",
                       bg_node_name(term->node), (long long)term->bound, (long long)span);
    term->bound *= span;
    return BG_OK;
}

/* g of a norm's channel; 1 without a norm. */
static double norm_factor(const struct bg_node *norm, int64_t channel)
{
    if (norm == NULL)
        return 1.0;
    return (double)values_of(norm, 0)[channel] /
           sqrt((double)values_of(norm, 3)[channel] + bg_node_epsilon(norm));
}

/* m and c of one channel, in units of the output's scale. */
static void set_factor(const struct bg_judge *judge, const struct bg_judge_term *term,
                       int64_t channel, double out_scale)
{
    int64_t at = term->norm_channel + channel;
    double g = norm_factor(term->norm, at), bias = 0.0, beta = 0.0, mean = 0.0, m = 0.0;
    double in_scale = (double)judge->value[term->from].grid->scale[0];

    if (term->weights != NULL) {
        const struct bg_grid *grid = &bg_node_param_at(term->node, 0)->quantizer->grid;
        double scale = (double)grid->scale[grid->channels == 1 ? 0 : channel];
        const float *biases = values_of(term->node, 1);
        bias = biases == NULL ? 0.0 : (double)biases[channel];
        m = ((in_scale * scale) * g) / out_scale;
    } else if (term->source != BG_JUDGE_OTHER) {
        double n = (double)(term->window.kernel[0] * term->window.kernel[1]);
        m = (in_scale * g) / (n * out_scale);
    } else {
        m = (in_scale * g) / out_scale;
    }
    if (term->norm != NULL) {
        beta = (double)values_of(term->norm, 1)[at];
        mean = (double)values_of(term->norm, 2)[at];
    }
    term->m[channel] = (float)m;
    term->c[channel] =
        (float)(term->offset ? (beta + (bias - mean) * g) / out_scale : (bias * g) / out_scale);
}

static enum bg_status check_factor(const struct bg_judge_value *value,
                                   const struct bg_judge_term *term, int64_t channel)
{
    if (isfinite(term->m[channel]) && isfinite(term->c[channel]))
        return BG_OK;
    return bg_fail(BG_E_DATA, "judge: %s: channel %lld of %s has the factors %g and %g",
                   bg_node_name(value->node), (long long)channel, bg_node_name(term->node),
                   (double)term->m[channel], (double)term->c[channel]);
}

/* The integer modes know positive factors alone: the sign goes to the weights. */
static enum bg_status make_positive(const struct bg_judge_value *value, struct bg_judge_term *term,
                                    int64_t channel)
{
    int64_t outputs = term->window.out[2];
    int64_t count = term->window.kernel[0] * term->window.kernel[1] *
                    (term->weights == NULL ? 0 : term->window.in[2] / term->window.groups);

    if (term->m[channel] > 0.0f)
        return BG_OK;
    if (term->m[channel] == 0.0f || term->weights == NULL)
        return bg_fail(BG_E_DATA, "judge: %s: channel %lld of %s has the factor %g, not above 0",
                       bg_node_name(value->node), (long long)channel, bg_node_name(term->node),
                       (double)term->m[channel]);
    for (int64_t k = 0; k < count; k++)
        term->weights[k * outputs + channel] = -term->weights[k * outputs + channel];
    term->m[channel] = -term->m[channel];
    return BG_OK;
}

static enum bg_status term_numbers(struct bg_judge *judge, const struct bg_judge_value *value,
                                   struct bg_judge_piece *piece, struct bg_judge_term *term)
{
    enum bg_status rc = BG_OK;
    bool integers = judge->mode != BG_REQUANT_F32_RNE && value->kind != BG_JUDGE_LOGITS;
    double out_scale = value->kind == BG_JUDGE_LOGITS ? 1.0 : (double)value->grid->scale[0];

    if (term->source == BG_JUDGE_CONV2D || term->source == BG_JUDGE_LINEAR)
        TRY(read_weights(judge, term));
    TRY(set_bound(judge, term));
    TRY(bg_arena_alloc(judge->arena, &term->m, piece->channels, sizeof *term->m));
    TRY(bg_arena_alloc(judge->arena, &term->c, piece->channels, sizeof *term->c));
    if (integers) {
        TRY(bg_arena_alloc(judge->arena, &term->bias, piece->channels, sizeof(int64_t)));
        TRY(bg_arena_alloc(judge->arena, &term->multiplier, piece->channels, sizeof(int64_t)));
        TRY(bg_arena_alloc(judge->arena, &term->left, piece->channels, sizeof(int)));
    }
    for (int64_t channel = 0; channel < piece->channels; channel++) {
        set_factor(judge, term, channel, out_scale);
        TRY(check_factor(value, term, channel));
        if (integers)
            TRY(make_positive(value, term, channel));
    }
out:
    return rc;
}

/* An activation is nothing but limits of the code. */
static void set_limits(const struct bg_judge_value *value, struct bg_judge_piece *piece)
{
    const struct bg_grid *grid = value->grid;

    piece->zero_point = grid->zero_point;
    piece->lo = grid->qmin;
    piece->hi = grid->qmax;
    if (piece->active == BG_JUDGE_OTHER)
        return;
    if (grid->zero_point > piece->lo)
        piece->lo = grid->zero_point;
    if (piece->active == BG_JUDGE_RELU6) {
        float six = nearbyintf(6.0f / grid->scale[0]);
        if (six < (float)(grid->qmax - grid->zero_point))
            piece->hi = grid->zero_point + (int32_t)six;
    }
}

enum bg_status bg_judge_numbers(struct bg_judge *judge, struct bg_judge_value *value)
{
    enum bg_status rc = BG_OK;
    bool logits = value->kind == BG_JUDGE_LOGITS;

    for (struct bg_judge_piece *piece = value->piece; piece != NULL; piece = piece->next) {
        if (logits && (piece->active != BG_JUDGE_OTHER || piece->pools > 0))
            FAIL(BG_E_UNSUPPORTED, "judge: the logits %s stand behind an activation or pool",
                 bg_node_name(value->node));
        for (int i = 0; i < piece->terms; i++)
            TRY(term_numbers(judge, value, piece, &piece->term[i]));
        if (logits)
            continue;
        set_limits(value, piece);
        if (judge->mode == BG_REQUANT_F32_RNE)
            continue;
        TRY(bg_arena_alloc(judge->arena, &piece->right, piece->channels, sizeof(int)));
        for (int64_t channel = 0; channel < piece->channels; channel++) {
            rc = bg_judge_fit(piece, judge->mode, channel);
            if (rc != BG_OK)
                return bg_fail_prefix(rc, "judge: %s: ", bg_node_name(value->node));
        }
    }
out:
    return rc;
}
