/* Convolution and linear layers through oneDNN: creation, packing of weights, the three passes.
 *
 * Weights are copied from O,H,W,I into the layout that each primitive wants, weight gradients come
 * back the same way. Memory objects and arguments are made once; running sets data pointers. */
#include "core/dnn_private.h"

#include <string.h>

#include "core/mem.h"

struct bg_dnn_conv {
    struct bg_dnn_task task;
    struct bg_dnn_runner runner;
    struct bg_dnn_part part[BG_DNN_PASSES];
    /* Copies between O,H,W,I and the layouts of the parts, where these differ. */
    struct bg_dnn_part pack, pack_data, unpack;
    float *packed, *packed_data, *packed_dweights;
};

/* Memory for weights in a part's layout, bound to the part, and the copy that fills it from (or,
 * for gradients, empties it to) O,H,W,I. */
static enum bg_status make_copy(struct bg_dnn_conv *conv, enum bg_dnn_pass pass, float **memory,
                                struct bg_dnn_part *copy)
{
    enum bg_status rc = BG_OK;
    bool gradient = pass == BG_DNN_BACKWARD_WEIGHTS;
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(
        &conv->part[pass], gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md);
    dnnl_memory_desc_t plain;

    TRY(bg_dnn_plain_weights(&conv->task, &plain));
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
    struct bg_dnn_part *part = &conv->part[BG_DNN_FORWARD];

    TRY(bg_dnn_pass_create(part, &conv->task, BG_DNN_FORWARD, NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_SRC, bg_dnn_part_layout(part, dnnl_query_src_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DST, bg_dnn_part_layout(part, dnnl_query_dst_md), NULL));
    if (conv->task.bias)
        TRY(bg_dnn_part_bind(part, DNNL_ARG_BIAS,
                             dnnl_primitive_desc_query_md(part->desc, dnnl_query_weights_md, 1),
                             NULL));
    TRY(make_copy(conv, BG_DNN_FORWARD, &conv->packed, &conv->pack));
out:
    return rc;
}

static enum bg_status make_backward_data(struct bg_dnn_conv *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BG_DNN_BACKWARD_DATA];

    TRY(bg_dnn_pass_create(part, &conv->task, BG_DNN_BACKWARD_DATA, &conv->part[BG_DNN_FORWARD]));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_SRC, bg_dnn_part_layout(part, dnnl_query_diff_src_md),
                         NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_DST, bg_dnn_part_layout(part, dnnl_query_diff_dst_md),
                         NULL));
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(part, dnnl_query_weights_md);
    if (dnnl_memory_desc_equal(
            layout, bg_dnn_part_layout(&conv->part[BG_DNN_FORWARD], dnnl_query_weights_md)))
        TRY(bg_dnn_part_bind(part, DNNL_ARG_WEIGHTS, layout, conv->packed));
    else
        TRY(make_copy(conv, BG_DNN_BACKWARD_DATA, &conv->packed_data, &conv->pack_data));
out:
    return rc;
}

static enum bg_status make_backward_weights(struct bg_dnn_conv *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BG_DNN_BACKWARD_WEIGHTS];

    TRY(bg_dnn_pass_create(part, &conv->task, BG_DNN_BACKWARD_WEIGHTS,
                           &conv->part[BG_DNN_FORWARD]));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_SRC, bg_dnn_part_layout(part, dnnl_query_src_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DIFF_DST, bg_dnn_part_layout(part, dnnl_query_diff_dst_md),
                         NULL));
    if (conv->task.bias)
        TRY(bg_dnn_part_bind(
            part, DNNL_ARG_DIFF_BIAS,
            dnnl_primitive_desc_query_md(part->desc, dnnl_query_diff_weights_md, 1), NULL));
    TRY(make_copy(conv, BG_DNN_BACKWARD_WEIGHTS, &conv->packed_dweights, &conv->unpack));
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
    conv->task = (struct bg_dnn_task){.shape = *shape, .bias = bias, .train = train};
    TRY(bg_conv_shape_infer(&conv->task.shape));
    conv->task.linear = bg_dnn_is_linear(&conv->task.shape);
    TRY(bg_dnn_runner_start(&conv->runner));
    TRY(make_forward(conv));
    if (train && need_dx)
        TRY(make_backward_data(conv));
    if (train)
        TRY(make_backward_weights(conv));

    struct bg_dnn_part *const parts[] = {&conv->part[BG_DNN_FORWARD],
                                         &conv->part[BG_DNN_BACKWARD_DATA],
                                         &conv->part[BG_DNN_BACKWARD_WEIGHTS],
                                         &conv->pack,
                                         &conv->pack_data,
                                         &conv->unpack};
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
    for (int i = 0; i < BG_DNN_PASSES; i++)
        bg_dnn_part_destroy(&conv->part[i]);
    bg_free(conv->packed_dweights);
    bg_free(conv->packed_data);
    bg_free(conv->packed);
    bg_dnn_runner_stop(&conv->runner);
    bg_free(conv);
}

static enum bg_status require(const struct bg_dnn_conv *conv, enum bg_dnn_pass pass)
{
    if (conv->part[pass].primitive == NULL)
        return bg_fail(BG_E_USAGE, "this convolution was made without its %s pass",
                       bg_dnn_pass_name(pass));
    return BG_OK;
}

static enum bg_status require_bias(const struct bg_dnn_conv *conv, const float *bias)
{
    if (conv->task.bias && bias == NULL)
        return bg_fail(BG_E_USAGE, "this convolution was made with a bias, none is given");
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
    struct bg_dnn_part *part = &conv->part[BG_DNN_FORWARD];

    TRY(require_bias(conv, bias));
    TRY(bg_dnn_part_set(part, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DST, dst));
    if (conv->task.bias)
        TRY(bg_dnn_part_set(part, DNNL_ARG_BIAS, bias));
    TRY(bg_dnn_part_run(part, &conv->runner));
out:
    return rc;
}

enum bg_status bg_dnn_conv_backward_data(struct bg_dnn_conv *conv, const float *ddst, float *dsrc)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->part[BG_DNN_BACKWARD_DATA];

    TRY(require(conv, BG_DNN_BACKWARD_DATA));
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
    struct bg_dnn_part *part = &conv->part[BG_DNN_BACKWARD_WEIGHTS];

    TRY(require(conv, BG_DNN_BACKWARD_WEIGHTS));
    TRY(require_bias(conv, dbias));
    TRY(bg_dnn_part_set(part, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(part, DNNL_ARG_DIFF_DST, ddst));
    if (conv->task.bias)
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
    const char **const names[BG_DNN_PASSES] = {forward, backward_data, backward_weights};

    for (int i = 0; i < BG_DNN_PASSES; i++)
        if (names[i] != NULL)
            *names[i] = conv->part[i].name == NULL ? "" : conv->part[i].name;
}
