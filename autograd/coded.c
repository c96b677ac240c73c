/* Layers on codes inside an f32 program (core/NUMERICS.md, "Fast training"). Units are those of
 * fast.h: out = s_a * s_w[o] * z + bias, dz = s_w[o] * dout, dw = (s_a / s_w[o]) * sum (a -
 * zero_point) * dz, dx = sum w * dz.
 *
 * Behind dropout a value is 0 or what was on the grid times the factor of dropout: codes of a grid
 * with that factor in its step. Grids do not move between forward and backward.
 *
 * Depthwise convolutions stay in f32: oneDNN's take no longer than ours on codes, and here the
 * conversions come on top (mobilenet-small with learned steps: whole steps 7 % slower with them).
 *
 * On a grid of the plan dz is unit times what is stored, codes that bf16 holds (core/gradient.h);
 * unit goes into what dw and dx are multiplied with. */
#include "autograd/coded.h"

#include "autograd/integer_private.h"
#include "core/kernel.h"
#include "core/mem.h"
#include "core/store.h"
#include "core/train_conv.h"
#include "core/train_kernel.h"

enum { WEIGHT, BIAS };

#define ALIGNMENT 64
/* Weights from which a pass over them is worth waking other threads. */
#define SMALL 32768

struct bg_coded {
    struct bg_train_conv *conv;
    const struct bg_quantizer *input;
    float factor;                             /* of the dropouts between the grid and the layer */
    int64_t values, rows, outputs, fan_in;    /* input values; output pixels and channels */
    uint64_t packed;                          /* serial of the weights that were packed */
    int8_t *weights;                          /* codes O,H,W,I */
    float *scale, *slope, *shift;             /* per output: s_w, s_a * s_w, bias */
    double *sum;                              /* of dout, per output */
    int64_t dx_at, sums_at, room_at, seen_at; /* bytes into the step's scratch; z and dz at 0 */
    float unit;                               /* of dz */
    float *factor_of;                         /* per output: unit / s_w, for observers */
    struct bg_tensor seen;                    /* dz as gradient in f32 */
    struct bg_grid grid;                      /* of the input's values, its step in `size`: */
    float size;
};

static const struct bg_quantizer *find_input(const struct bg_node *layer, float *factor)
{
    const struct bg_node *maker = bg_node_maker(layer->input[0]);

    *factor = 1.0f;
    for (const struct bg_node *node = layer->input[0]; node != maker; node = node->input[0])
        *factor *= bg_dropout_factor(node);
    return maker->quantizer;
}

static bool holds_codes(const struct bg_quantizer *quantizer, int32_t least, int32_t most)
{
    return quantizer != NULL && quantizer->grid.kind == &bg_grid_affine &&
           quantizer->grid.qmin >= least && quantizer->grid.qmax <= most;
}

static enum bg_status check(const struct bg_node *node, const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    float factor = 0.0f;
    const struct bg_quantizer *input = find_input(node, &factor);
    const struct bg_quantizer *weight = node->param[WEIGHT]->quantizer;
    int64_t bound = 0;

    if (shape->groups != 1)
        FAIL(BG_E_UNSUPPORTED, "%s is a convolution in groups", node->name);
    if (!holds_codes(input, 0, UINT8_MAX))
        FAIL(BG_E_UNSUPPORTED, "%s reads no codes of up to 8 bits", node->name);
    if (!holds_codes(weight, -INT8_MAX, INT8_MAX))
        FAIL(BG_E_UNSUPPORTED, "%s has no weights of up to 8 bits", node->name);
    if (node->out_gradient.bits > BG_GRADIENT_BITS_BF16)
        FAIL(BG_E_UNSUPPORTED, "%s: g=s%d has more bits than bf16 holds", node->name,
             node->out_gradient.bits);
    TRY(bg_integer_bound(node, input->grid.qmax - input->grid.qmin, weight->grid.qmax, &bound));
out:
    return rc;
}

static int64_t aligned(int64_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static bool is_rounded(const struct bg_node *node)
{
    return node->out_gradient.format != BG_FORMAT_F32;
}

static void place(struct bg_coded *coded, const struct bg_compile *compile, struct bg_step *step)
{
    const int64_t bf16 = (int64_t)sizeof(uint16_t);

    coded->dx_at = aligned(coded->rows * coded->outputs * bf16);
    coded->sums_at = coded->dx_at + (compile->need_dx ? aligned(coded->values * bf16) : 0);
    coded->room_at = coded->sums_at + aligned(bg_train_scratch(coded->rows, coded->outputs, 1) *
                                              (int64_t)sizeof(double));
    coded->seen_at = coded->room_at;
    step->scratch_bytes = coded->room_at;
    if (is_rounded(step->node)) {
        coded->seen_at += aligned(bg_gradient_scratch(coded->outputs));
        step->scratch_bytes =
            coded->seen_at + coded->rows * coded->outputs * (int64_t)sizeof(float);
    }
    step->saved_bytes = coded->values;
    step->flags &= ~(unsigned)BG_OP_READS_INPUT;
}

static enum bg_status allocate(struct bg_coded *coded, const struct bg_compile *compile,
                               const struct bg_step *step, const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = step->node;
    int64_t weights = bg_tensor_count(&node->param[WEIGHT]->value);

    coded->input = find_input(node, &coded->factor);
    coded->outputs = shape->out_channels;
    coded->fan_in = weights / shape->out_channels;
    coded->rows = shape->batch * shape->out_height * shape->out_width;
    coded->values = shape->batch * shape->in_height * shape->in_width * shape->in_channels;
    TRY(bg_arena_alloc(compile->arena, &coded->weights, weights, 1));
    TRY(bg_arena_alloc(compile->arena, &coded->scale, coded->outputs, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &coded->slope, coded->outputs, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &coded->shift, coded->outputs, sizeof(float)));
    TRY(bg_arena_alloc(compile->arena, &coded->sum, coded->outputs, sizeof(double)));
    TRY(bg_arena_alloc(compile->arena, &coded->factor_of, coded->outputs, sizeof(float)));
out:
    return rc;
}

enum bg_status bg_coded_create(struct bg_coded **out, const struct bg_compile *compile,
                               struct bg_step *step, const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    struct bg_coded *coded = NULL;

    *out = NULL;
    TRY(check(step->node, shape));
    TRY(bg_alloc(&coded, 1, sizeof *coded));
    TRY(bg_train_conv_create(&coded->conv, shape, compile->need_dx));
    TRY(allocate(coded, compile, step, shape));
    place(coded, compile, step);
    *out = coded;
    coded = NULL;
out:
    bg_coded_destroy(coded);
    return rc;
}

void bg_coded_destroy(struct bg_coded *coded)
{
    if (coded != NULL)
        bg_train_conv_destroy(coded->conv);
    bg_free(coded);
}

/* Weights into the layouts of the passes, once after every change; they are on their grid. */
static void pack_weights(struct bg_coded *coded, const struct bg_param *weight)
{
    const struct bg_grid *grid = &weight->quantizer->grid;
    const float *w = bg_f32(&weight->value);
    const int8_t *codes = bg_store_s8(weight);
    int64_t n = coded->fan_in;

    for (int64_t o = 0; o < coded->outputs; o++) {
        int64_t channel = grid->channels == 1 ? 0 : o;
        coded->scale[o] = grid->scale[channel];
        if (codes == NULL)
            bg_kernel_encode_s8(grid, channel, w + o * n, n, coded->weights + o * n);
    }
    bg_train_conv_pack(coded->conv, codes == NULL ? coded->weights : codes);
}

/* Values that lie on the grid are encoded to the nearest code, however they came there. */
static void take_grid(struct bg_coded *coded)
{
    coded->grid = coded->input->grid;
    coded->grid.rounding = BG_ROUND_NEAREST;
    coded->size = coded->input->grid.scale[0] * coded->factor;
    coded->grid.scale = &coded->size;
}

enum bg_status bg_coded_forward(struct bg_coded *coded, struct bg_step *step)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = step->node;
    const float *bias = node->params > BIAS ? bg_f32(&node->param[BIAS]->value) : NULL;
    const struct bg_model_param *weight = bg_model_param(node->param[WEIGHT]);
    uint8_t *codes = step->saved;
    uint16_t *z = step->scratch;

    take_grid(coded);
    bg_kernel_encode_u8(&coded->grid, 0, bg_f32(&step->in[0]), coded->values, codes);
    if (coded->packed != weight->serial) {
        pack_weights(coded, &weight->param);
        coded->packed = weight->serial;
    }
    TRY(bg_train_conv_forward(coded->conv, codes, coded->grid.zero_point, z));
    for (int64_t o = 0; o < coded->outputs; o++) {
        coded->slope[o] = coded->size * coded->scale[o];
        coded->shift[o] = bias == NULL ? 0.0f : bias[o];
    }
    bg_train_affine_to_f32(z, coded->rows, coded->outputs, coded->slope, coded->shift,
                           bg_f32(&step->out));
out:
    return rc;
}

/* From sum (a - zero_point) * dz to dLoss/dw. */
static void scale_weights(const struct bg_coded *coded, float *dw)
{
    const int64_t n = coded->fan_in, outputs = coded->outputs;

#pragma omp parallel for schedule(static) if (n * outputs >= SMALL)
    for (int64_t o = 0; o < outputs; o++) {
        const float factor = coded->size / coded->scale[o] * coded->unit;
        for (int64_t i = 0; i < n; i++)
            dw[o * n + i] *= factor;
    }
}

/* What stands on the grid for an observer. */
static void show(struct bg_coded *coded, const struct bg_step *step)
{
    char *scratch = step->scratch;

    coded->seen = step->d_out;
    coded->seen.data = scratch + coded->seen_at;
    for (int64_t o = 0; o < coded->outputs; o++)
        coded->factor_of[o] = coded->unit / coded->scale[o];
    bg_train_scale_to_f32(step->scratch, coded->rows, coded->outputs, coded->factor_of,
                          bg_f32(&coded->seen));
}

enum bg_status bg_coded_take_gradient(struct bg_coded *coded, struct bg_step *step,
                                      const struct bg_run *run, const struct bg_tensor **seen)
{
    enum bg_status rc = BG_OK;
    const struct bg_node *node = step->node;
    char *scratch = step->scratch;
    struct bg_gradient_pass pass = {.grid = node->out_gradient,
                                    .rows = coded->rows,
                                    .channels = coded->outputs,
                                    .x = bg_f32(&step->d_out),
                                    .a = coded->scale,
                                    .codes = step->scratch,
                                    .scratch = scratch + coded->room_at};

    *seen = &step->d_out;
    coded->unit = 1.0f;
    bg_train_scale_from_f32(bg_f32(&step->d_out), coded->rows, coded->outputs, coded->scale,
                            step->scratch, coded->sum,
                            (double *)(void *)(scratch + coded->sums_at));
    for (int64_t o = 0; node->params > BIAS && o < coded->outputs; o++)
        bg_f32(&node->param[BIAS]->grad)[o] = (float)coded->sum[o];
    if (pass.grid.format == BG_FORMAT_INTEGER) { /* dz in bf16 is there already */
        pass.rng = bg_gradient_rng(node->name, run);
        TRY(bg_gradient_round(&pass));
        coded->unit = pass.unit;
    }
    if (is_rounded(node) && run->moment->observer != NULL) {
        show(coded, step);
        *seen = &coded->seen;
    }
out:
    return rc;
}

enum bg_status bg_coded_backward(struct bg_coded *coded, struct bg_step *step)
{
    enum bg_status rc = BG_OK;
    float *dw = bg_f32(&step->node->param[WEIGHT]->grad), *dx = bg_f32(&step->d_in[0]);
    char *scratch = step->scratch;
    uint16_t *dz = step->scratch, *half = (uint16_t *)(void *)(scratch + coded->dx_at);

    TRY(bg_train_conv_backward_weights(coded->conv, step->saved, coded->grid.zero_point, dz, dw));
    scale_weights(coded, dw);
    if (dx != NULL) {
        TRY(bg_train_conv_backward_data(coded->conv, dz, half, false));
        bg_train_to_f32(half, coded->values, coded->unit, dx);
    }
out:
    return rc;
}

void bg_coded_implementation(const struct bg_coded *coded, struct bg_implementation *out)
{
    bg_train_conv_implementations(coded->conv, &out->forward, &out->backward_data,
                                  &out->backward_weights);
}
