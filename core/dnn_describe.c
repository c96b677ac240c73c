/* How a convolution or linear layer is asked of oneDNN: layouts of its tensors, the operation of
 * each pass, and the choice among implementations. core/dnn_conv.c runs what is made here.
 *
 * Activations stay N,H,W,C; weights are "any layout" (plain ones fall to a reference
 * implementation). Where one channel or one pixel makes N,H,W,C and N,C,H,W the same bytes, both
 * names are tried, because some implementations know only one. Inner products are as fast with
 * plain weights in the backward passes, which saves copies; forward with packed weights is faster
 * on small layers, and with AVX-512 the layers of our networks gave the same bits for 1, 2 and 3
 * threads (no promise: wider ones and AVX2's matrix product do not). */
#include "core/dnn_private.h"

#include <string.h>

static const char *const pass_names[BG_DNN_PASSES] = {"forward", "backward data",
                                                      "backward weights"};

union operation {
    dnnl_convolution_desc_t conv;
    dnnl_inner_product_desc_t linear;
};

struct layouts {
    dnnl_memory_desc_t src, weights, bias, dst;
};

const char *bg_dnn_pass_name(enum bg_dnn_pass pass)
{
    return pass_names[pass];
}

bool bg_dnn_is_linear(const struct bg_conv_shape *shape)
{
    return shape->groups == 1 && shape->padding[0] == 0 && shape->padding[1] == 0 &&
           shape->kernel_height == shape->in_height && shape->kernel_width == shape->in_width &&
           (shape->dilation[0] == 1 || shape->kernel_height == 1) &&
           (shape->dilation[1] == 1 || shape->kernel_width == 1);
}

enum bg_status bg_dnn_plain_weights(const struct bg_dnn_task *task, dnnl_memory_desc_t *out)
{
    const struct bg_conv_shape *s = &task->shape;
    int64_t in = s->in_channels / s->groups, taps = s->kernel_height * s->kernel_width;

    if (task->linear) {
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

static enum bg_status any_layout(dnnl_memory_desc_t *weights)
{
    dnnl_memory_desc_t any;

    if (dnnl_memory_desc_init_by_tag(&any, weights->ndims, weights->dims, dnnl_f32,
                                     dnnl_format_tag_any) != dnnl_success)
        return bg_fail(BG_E_INTERNAL, "oneDNN %s: describing weights", bg_dnn_version());
    *weights = any;
    return BG_OK;
}

static enum bg_status describe_flat(const struct bg_dnn_task *task, enum bg_dnn_pass pass,
                                    struct layouts *out)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &task->shape;
    const dnnl_dims_t src = {s->batch, s->in_height * s->in_width * s->in_channels};
    const dnnl_dims_t dst = {s->batch, s->out_channels};

    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->src, 2, src, dnnl_f32, dnnl_ab),
                     "describing activations"));
    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->dst, 2, dst, dnnl_f32, dnnl_ab),
                     "describing activations"));
    if (pass == BG_DNN_FORWARD)
        TRY(any_layout(&out->weights));
out:
    return rc;
}

static enum bg_status describe(const struct bg_dnn_task *task, enum bg_dnn_pass pass,
                               bool planar_src, bool planar_dst, struct layouts *out)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &task->shape;
    const dnnl_dims_t src = {s->batch, s->in_channels, s->in_height, s->in_width};
    const dnnl_dims_t dst = {s->batch, s->out_channels, s->out_height, s->out_width};
    const dnnl_dims_t bias = {s->out_channels};

    memset(out, 0, sizeof *out); /* a zero bias description means none */
    TRY(bg_dnn_plain_weights(task, &out->weights));
    if (task->bias)
        TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&out->bias, 1, bias, dnnl_f32, dnnl_a),
                         "describing bias"));
    if (task->linear)
        return describe_flat(task, pass, out);
    TRY(describe_images(&out->src, src, planar_src));
    TRY(describe_images(&out->dst, dst, planar_dst));
    TRY(any_layout(&out->weights));
out:
    return rc;
}

static dnnl_status_t linear_operation(const struct bg_dnn_task *task, enum bg_dnn_pass pass,
                                      const struct layouts *m, dnnl_inner_product_desc_t *out)
{
    if (pass == BG_DNN_BACKWARD_DATA)
        return dnnl_inner_product_backward_data_desc_init(out, &m->src, &m->weights, &m->dst);
    if (pass == BG_DNN_BACKWARD_WEIGHTS)
        return dnnl_inner_product_backward_weights_desc_init(out, &m->src, &m->weights, &m->bias,
                                                             &m->dst);
    return dnnl_inner_product_forward_desc_init(
        out, task->train ? dnnl_forward_training : dnnl_forward_inference, &m->src, &m->weights,
        &m->bias, &m->dst);
}

static dnnl_status_t conv_operation(const struct bg_dnn_task *task, enum bg_dnn_pass pass,
                                    const struct layouts *m, dnnl_convolution_desc_t *out)
{
    const struct bg_conv_shape *s = &task->shape;
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

    if (pass == BG_DNN_BACKWARD_DATA)
        return dnnl_dilated_convolution_backward_data_desc_init(out, dnnl_convolution_direct,
                                                                &m->src, &m->weights, &m->dst,
                                                                stride, dilation, before, after);
    if (pass == BG_DNN_BACKWARD_WEIGHTS)
        return dnnl_dilated_convolution_backward_weights_desc_init(
            out, dnnl_convolution_direct, &m->src, &m->weights, &m->bias, &m->dst, stride, dilation,
            before, after);
    return dnnl_dilated_convolution_forward_desc_init(
        out, task->train ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct,
        &m->src, &m->weights, &m->bias, &m->dst, stride, dilation, before, after);
}

/* oneDNN's strided 1x1 backward weights writes behind its scratch, and gives wrong results, when an
 * N,H,W,C input has fewer channels than its block, which is 8 or 16 (oneDNN issue 6035). */
static const char *broken_prefix(const struct bg_conv_shape *s, enum bg_dnn_pass pass)
{
    bool strided = s->stride[0] != 1 || s->stride[1] != 1;

    return pass == BG_DNN_BACKWARD_WEIGHTS && strided && s->in_channels / s->groups < 16 ? "jit_1x1"
                                                                                         : NULL;
}

/* Five attempts: the four pairs of names, then plain N,H,W,C and whatever there is. */
enum bg_status bg_dnn_pass_create(struct bg_dnn_part *part, const struct bg_dnn_task *task,
                                  enum bg_dnn_pass pass, const struct bg_dnn_part *hint)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &task->shape;
    bool src_free = s->in_channels == 1 || s->in_height * s->in_width == 1;
    bool dst_free = s->out_channels == 1 || s->out_height * s->out_width == 1;
    bool slow = true;

    for (int attempt = 0; attempt < (task->linear ? 1 : 5) && slow; attempt++) {
        bool planar_src = (attempt & 1) != 0, planar_dst = (attempt & 2) != 0;
        struct layouts layouts;
        union operation operation;
        if ((planar_src && !src_free) || (planar_dst && !dst_free))
            continue;
        bg_dnn_part_destroy(part);
        TRY(describe(task, pass, planar_src, planar_dst, &layouts));
        TRY(bg_dnn_check(task->linear ? linear_operation(task, pass, &layouts, &operation.linear)
                                      : conv_operation(task, pass, &layouts, &operation.conv),
                         pass_names[pass]));
        TRY(bg_dnn_part_create(part, &operation, hint, broken_prefix(s, pass), &slow));
    }
out:
    return rc;
}
