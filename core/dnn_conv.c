/* Convolution and linear layers through oneDNN.
 *
 * Activations stay N,H,W,C. Weights are declared "any layout" and copied into the layout that each
 * primitive wants (plain weight layouts fall to a reference implementation); weight gradients come
 * back the same way. Where one channel or one pixel makes N,H,W,C and N,C,H,W the same bytes, both
 * names are tried, because some implementations know only one. Kernels that cover the whole
 * unpadded image are inner products, which like plain O,I weights: nothing is permuted there. */
#include "core/dnn_private.h"

#include <string.h>

#include "core/mem.h"

enum pass { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, PASSES };

static const char *const pass_names[PASSES] = {"forward", "backward data", "backward weights"};

struct bg_dnn_conv {
    struct bg_conv_shape shape;
    bool bias, train, linear;
    struct bg_dnn_runner runner;
    struct bg_dnn_part part[PASSES];
    /* Copies between O,H,W,I and the layouts of the parts, where these differ. */
    struct bg_dnn_part pack, pack_data, unpack;
    float *packed, *packed_data, *packed_dweights;
};

union operation {
    dnnl_convolution_desc_t conv;
    dnnl_inner_product_desc_t linear;
};

struct layouts {
    dnnl_memory_desc_t src, weights, bias, dst;
};

/* The kernel sees the whole image at once and nothing else. */
static bool is_linear(const struct bg_conv_shape *shape)
{
    return shape->groups == 1 && shape->padding[0] == 0 && shape->padding[1] == 0 &&
           shape->kernel_height == shape->in_height && shape->kernel_width == shape->in_width &&
           (shape->dilation[0] == 1 || shape->kernel_height == 1) &&
           (shape->dilation[1] == 1 || shape->kernel_width == 1);
}

/* Dense O,H,W,I as the caller has it, in oneDNN's logical order of dimensions. */
static enum bg_status plain_weights(const struct bg_dnn_conv *conv, dnnl_memory_desc_t *out)
{
    const struct bg_conv_shape *s = &conv->shape;
    int64_t in = s->in_channels / s->groups, taps = s->kernel_height * s->kernel_width;

    if (conv->linear) {
        const dnnl_dims_t dims = {s->out_channels, taps * in};
        return bg_dnn_check(dnnl_memory_desc_init_by_tag(out, 2, dims, dnnl_f32, dnnl_ab),
                            "describing weights");
    }
    int64_t outputs = s->out_channels / s->groups;
    if (s->groups == 1) { /* no dimension for a single group */
        const dnnl_dims_t dims = {outputs, in, s->kernel_height, s->kernel_width};
        const dnnl_dims_t strides = {taps * in, 1, s->kernel_width * in, in};
        return bg_dnn_check(dnnl_memory_desc_init_by_strides(out, 4, dims, dnnl_f32, strides),
                            "describing weights");
    }
    const dnnl_dims_t dims = {s->groups, outputs, in, s->kernel_height, s->kernel_width};
    const dnnl_dims_t strides = {outputs * taps * in, taps * in, 1, s->kernel_width * in, in};
    return bg_dnn_check(dnnl_memory_desc_init_by_strides(out, 5, dims, dnnl_f32, strides),
                        "describing weights");
}

static enum bg_status describe_images(dnnl_memory_desc_t *out, const dnnl_dims_t dims, bool planar)
{
    return bg_dnn_check(
        dnnl_memory_desc_init_by_tag(out, 4, dims, dnnl_f32, planar ? dnnl_nchw : dnnl_nhwc),
        "describing activations");
}

static enum bg_status describe(const struct bg_dnn_conv *conv, bool planar_src, bool planar_dst,
                               struct layouts *out)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &conv->shape;
    const dnnl_dims_t flat_src = {s->batch, s->in_height * s->in_width * s->in_channels};
    const dnnl_dims_t flat_dst = {s->batch, s->out_channels};
    const dnnl_dims_t src = {s->batch, s->in_channels, s->in_height, s->in_width};
    const dnnl_dims_t dst = {s->batch, s->out_channels, s->out_height, s->out_width};
    const dnnl_dims_t bias = {s->out_channels};

    memset(out, 0, sizeof *out); /* a zero bias description means none */
    TRY(plain_weights(conv, &out->weights));
    if (conv->bias)
        TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->bias, 1, bias, dnnl_f32, dnnl_a),
                         "describing bias"));
    if (conv->linear) {
        TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->src, 2, flat_src, dnnl_f32, dnnl_ab),
                         "describing activations"));
        TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->dst, 2, flat_dst, dnnl_f32, dnnl_ab),
                         "describing activations"));
        return BG_OK;
    }
    TRY(describe_images(&out->src, src, planar_src));
    TRY(describe_images(&out->dst, dst, planar_dst));
    dnnl_memory_desc_t any = {.ndims = out->weights.ndims};
    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&any, any.ndims, out->weights.dims, dnnl_f32,
                                                  dnnl_format_tag_any),
                     "describing weights"));
    out->weights = any;
out:
    return rc;
}

static dnnl_status_t linear_operation(const struct bg_dnn_conv *conv, enum pass pass,
                                      const struct layouts *m, dnnl_inner_product_desc_t *out)
{
    if (pass == BACKWARD_DATA)
        return dnnl_inner_product_backward_data_desc_init(out, &m->src, &m->weights, &m->dst);
    if (pass == BACKWARD_WEIGHTS)
        return dnnl_inner_product_backward_weights_desc_init(out, &m->src, &m->weights, &m->bias,
                                                             &m->dst);
    return dnnl_inner_product_forward_desc_init(
        out, conv->train ? dnnl_forward_training : dnnl_forward_inference, &m->src, &m->weights,
        &m->bias, &m->dst);
}

static dnnl_status_t conv_operation(const struct bg_dnn_conv *conv, enum pass pass,
                                    const struct layouts *m, dnnl_convolution_desc_t *out)
{
    const struct bg_conv_shape *s = &conv->shape;
    const dnnl_dims_t stride = {s->stride[0], s->stride[1]};
    const dnnl_dims_t dilation = {s->dilation[0] - 1, s->dilation[1] - 1}; /* 0 = dense */
    const dnnl_dims_t before = {s->padding[0], s->padding[1]};
    /* oneDNN wants the sizes to come out exactly: what floor division drops is padding taken away
     * behind (may be negative). */
    const dnnl_dims_t after = {
        (s->out_height - 1) * s->stride[0] + (s->kernel_height - 1) * s->dilation[0] + 1 -
            s->in_height - s->padding[0],
        (s->out_width - 1) * s->stride[1] + (s->kernel_width - 1) * s->dilation[1] + 1 -
            s->in_width - s->padding[1]};

    if (pass == BACKWARD_DATA)
        return dnnl_dilated_convolution_backward_data_desc_init(out, dnnl_convolution_direct,
                                                                &m->src, &m->weights, &m->dst,
                                                                stride, dilation, before, after);
    if (pass == BACKWARD_WEIGHTS)
        return dnnl_dilated_convolution_backward_weights_desc_init(
            out, dnnl_convolution_direct, &m->src, &m->weights, &m->bias, &m->dst, stride, dilation,
            before, after);
    return dnnl_dilated_convolution_forward_desc_init(
        out, conv->train ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct,
        &m->src, &m->weights, &m->bias, &m->dst, stride, dilation, before, after);
}

/* oneDNN's strided 1x1 backward weights writes behind its scratch, and gives wrong results, when an
 * N,H,W,C input has fewer channels than its block, which is 8 or 16 (oneDNN issue 6035). */
static const char *broken_prefix(const struct bg_conv_shape *s, enum pass pass)
{
    bool strided = s->stride[0] != 1 || s->stride[1] != 1;

    return pass == BACKWARD_WEIGHTS && strided && s->in_channels / s->groups < 16 ? "jit_1x1"
                                                                                  : NULL;
}

/* Makes one pass with the first pair of layout names that has a fast implementation; when none has,
 * with plain N,H,W,C names and whatever there is. */
static enum bg_status make_pass(struct bg_dnn_conv *conv, enum pass pass)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &conv->shape;
    bool src_free = s->in_channels == 1 || s->in_height * s->in_width == 1;
    bool dst_free = s->out_channels == 1 || s->out_height * s->out_width == 1;
    const struct bg_dnn_part *hint = pass == FORWARD ? NULL : &conv->part[FORWARD];
    struct bg_dnn_part *part = &conv->part[pass];
    bool slow = true;

    for (int attempt = 0; attempt < 5 && slow; attempt++) {
        bool planar_src = (attempt & 1) != 0, planar_dst = (attempt & 2) != 0;
        struct layouts layouts;
        union operation operation;
        if ((planar_src && !src_free) || (planar_dst && !dst_free))
            continue;
        bg_dnn_part_destroy(part);
        TRY(describe(conv, planar_src, planar_dst, &layouts));
        TRY(bg_dnn_check(conv->linear ? linear_operation(conv, pass, &layouts, &operation.linear)
                                      : conv_operation(conv, pass, &layouts, &operation.conv),
                         pass_names[pass]));
        TRY(bg_dnn_part_create(part, &operation, hint, broken_prefix(s, pass), &slow));
        if (conv->linear)
            break;
    }
out:
    return rc;
}

/* Memory for weights in a part's layout, bound to the part, and the copy that fills it from (or,
 * for gradients, empties it to) O,H,W,I. */
static enum bg_status make_copy(struct bg_dnn_conv *conv, enum pass pass, float **memory,
                                struct bg_dnn_part *copy)
{
    enum bg_status rc = BG_OK;
    bool gradient = pass == BACKWARD_WEIGHTS;
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(
        &conv->part[pass], gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md);
    dnnl_memory_desc_t plain;

    TRY(plain_weights(conv, &plain));
    if (gradient && dnnl_memory_desc_equal(&plain, layout))
        return bg_dnn_part_bind(&conv->part[pass], DNNL_ARG_DIFF_WEIGHTS, layout, NULL);
    TRY(bg_alloc(memory, (int64_t)dnnl_memory_desc_get_size(layout), 1));
    TRY(bg_dnn_part_bind(&conv->part[pass], gradient ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS,
                         layout, *memory));
    TRY(bg_dnn_part_reorder(copy, gradient ? layout : &plain, gradient ? &plain : layout));
    TRY(bg_dnn_part_bind(copy, DNNL_ARG_FROM, gradient ? layout : &plain,
                         gradient ? *memory : NULL));
    TRY(bg_dnn_part_bind(copy, DNNL_ARG_TO, gradient ? &plain : layout, gradient ? NULL : *memory));
out:
    return rc;
}

static enum bg_status make_forward(struct bg_dnn_conv *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[FORWARD];

    TRY(make_pass(conv, FORWARD));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_SRC, bg_dnn_part_layout(part, dnnl_query_src_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DST, bg_dnn_part_layout(part, dnnl_query_dst_md), NULL));
    if (conv->bias)
        TRY(bg_dnn_part_bind(part, DNNL_ARG_BIAS,
                             dnnl_primitive_desc_query_md(part->desc, dnnl_query_weights_md, 1),
                             NULL));
    TRY(make_copy(conv, FORWARD, &conv->packed, &conv->pack));
out:
    return rc;
}

static enum bg_status make_backward_data(struct bg_dnn_conv *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BACKWARD_DATA];

    TRY(make_pass(conv, BACKWARD_DATA));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_SRC, bg_dnn_part_layout(part, dnnl_query_diff_src_md),
                         NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_DST, bg_dnn_part_layout(part, dnnl_query_diff_dst_md),
                         NULL));
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(part, dnnl_query_weights_md);
    if (dnnl_memory_desc_equal(layout,
                               bg_dnn_part_layout(&conv->part[FORWARD], dnnl_query_weights_md)))
        TRY(bg_dnn_part_bind(part, DNNL_ARG_WEIGHTS, layout, conv->packed));
    else
        TRY(make_copy(conv, BACKWARD_DATA, &conv->packed_data, &conv->pack_data));
out:
    return rc;
}

static enum bg_status make_backward_weights(struct bg_dnn_conv *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BACKWARD_WEIGHTS];

    TRY(make_pass(conv, BACKWARD_WEIGHTS));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_SRC, bg_dnn_part_layout(part, dnnl_query_src_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_DST, bg_dnn_part_layout(part, dnnl_query_diff_dst_md),
                         NULL));
    if (conv->bias)
        TRY(bg_dnn_part_bind(
            part, DNNL_ARG_DIFF_BIAS,
            dnnl_primitive_desc_query_md(part->desc, dnnl_query_diff_weights_md, 1), NULL));
    TRY(make_copy(conv, BACKWARD_WEIGHTS, &conv->packed_dweights, &conv->unpack));
out:
    return rc;
}

enum bg_status bg_dnn_conv_create(struct bg_dnn_conv **out, const struct bg_conv_shape *shape,
                                  bool bias, bool train, bool need_dx)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_conv *conv = NULL;

    *out = NULL;
    TRY(bg_alloc(&conv, 1, sizeof *conv));
    conv->shape = *shape;
    conv->bias = bias;
    conv->train = train;
    TRY(bg_conv_shape_infer(&conv->shape));
    conv->linear = is_linear(&conv->shape);
    TRY(bg_dnn_runner_start(&conv->runner));
    TRY(make_forward(conv));
    if (train && need_dx)
        TRY(make_backward_data(conv));
    if (train)
        TRY(make_backward_weights(conv));

    struct bg_dnn_part *const parts[] = {
        &conv->part[FORWARD], &conv->part[BACKWARD_DATA], &conv->part[BACKWARD_WEIGHTS],
        &conv->pack,          &conv->pack_data,           &conv->unpack};
    TRY(bg_dnn_runner_finish(&conv->runner, parts, (int)(sizeof parts / sizeof parts[0])));
    *out = conv;
    conv = NULL;
out:
    bg_dnn_conv_destroy(conv);
    return rc;
}

void bg_dnn_conv_destroy(struct bg_dnn_conv *conv)
{
    if (conv == NULL)
        return;
    bg_dnn_part_destroy(&conv->unpack);
    bg_dnn_part_destroy(&conv->pack_data);
    bg_dnn_part_destroy(&conv->pack);
    for (int i = 0; i < PASSES; i++)
        bg_dnn_part_destroy(&conv->part[i]);
    bg_free(conv->packed_dweights);
    bg_free(conv->packed_data);
    bg_free(conv->packed);
    bg_dnn_runner_stop(&conv->runner);
    bg_free(conv);
}

static enum bg_status require(const struct bg_dnn_conv *conv, enum pass pass)
{
    if (conv->part[pass].primitive == NULL)
        return bg_fail(BG_E_USAGE, "this convolution was made without its %s pass",
                       pass_names[pass]);
    return BG_OK;
}

enum bg_status bg_dnn_conv_pack(struct bg_dnn_conv *conv, const float *weights)
{
    enum bg_status rc = BG_OK;

    TRY(bg_dnn_part_set(&conv->pack, DNNL_ARG_FROM, weights));
    TRY(bg_dnn_part_run(&conv->pack, &conv->runner));
    if (conv->pack_data.primitive != NULL) {
        TRY(bg_dnn_part_set(&conv->pack_data, DNNL_ARG_FROM, weights));
        TRY(bg_dnn_part_run(&conv->pack_data, &conv->runner));
    }
out:
    return rc;
}

enum bg_status bg_dnn_conv_forward(struct bg_dnn_conv *conv, const float *src, const float *bias,
                                   float *dst)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[FORWARD];

    TRY(bg_dnn_part_set(part, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DST, dst));
    if (conv->bias)
        TRY(bg_dnn_part_set(part, DNNL_ARG_BIAS, bias));
    TRY(bg_dnn_part_run(part, &conv->runner));
out:
    return rc;
}

enum bg_status bg_dnn_conv_backward_data(struct bg_dnn_conv *conv, const float *ddst, float *dsrc)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BACKWARD_DATA];

    TRY(require(conv, BACKWARD_DATA));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_DST, ddst));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_SRC, dsrc));
    TRY(bg_dnn_part_run(part, &conv->runner));
out:
    return rc;
}

enum bg_status bg_dnn_conv_backward_weights(struct bg_dnn_conv *conv, const float *src,
                                            const float *ddst, float *dweights, float *dbias)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BACKWARD_WEIGHTS];

    TRY(require(conv, BACKWARD_WEIGHTS));
    TRY(bg_dnn_part_set(part, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_DST, ddst));
    if (conv->bias)
        TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_BIAS, dbias));
    if (conv->unpack.primitive == NULL)
        TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_WEIGHTS, dweights));
    TRY(bg_dnn_part_run(part, &conv->runner));
    if (conv->unpack.primitive != NULL) {
        TRY(bg_dnn_part_set(&conv->unpack, DNNL_ARG_TO, dweights));
        TRY(bg_dnn_part_run(&conv->unpack, &conv->runner));
    }
out:
    return rc;
}

void bg_dnn_conv_implementations(const struct bg_dnn_conv *conv, const char **forward,
                                 const char **backward_data, const char **backward_weights)
{
    const char **const names[PASSES] = {forward, backward_data, backward_weights};

    for (int i = 0; i < PASSES; i++)
        if (names[i] != NULL)
            *names[i] = conv->part[i].name == NULL ? "" : conv->part[i].name;
}
