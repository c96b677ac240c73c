/* Integer convolution forward through oneDNN: u8 codes, s8 weights, s32 sums, nothing else.
 *
 * Neither zero point nor bias is oneDNN's: with a bias even its best implementation (2.6, brgconv)
 * goes through f32 and loses the last bits of sums beyond 2^24, zero points lead to other
 * implementations (measured). core/int_conv.c adds the zero point. Whether a primitive is exact on
 * this CPU is found by core/int_probe.c. */
#include "core/dnn_private.h"

#include "core/mem.h"

struct bg_dnn_int {
    struct bg_dnn_task task;
    struct bg_dnn_runner runner;
    struct bg_dnn_part forward, pack;
    int8_t *packed;
};

/* oneDNN 2.x describes memory in a plain struct; strides count elements of any type. */
static enum bg_status plain_weights(const struct bg_dnn_task *task, dnnl_memory_desc_t *out)
{
    enum bg_status rc = BG_OK;

    TRY(bg_dnn_plain_weights(task, out));
    out->data_type = dnnl_s8;
out:
    return rc;
}

static enum bg_status describe(const struct bg_dnn_task *task, dnnl_convolution_desc_t *out)
{
    enum bg_status rc = BG_OK;
    const struct bg_conv_shape *s = &task->shape;
    const dnnl_dims_t in = {s->batch, s->in_channels, s->in_height, s->in_width};
    const dnnl_dims_t sums = {s->batch, s->out_channels, s->out_height, s->out_width};
    const dnnl_dims_t stride = {s->stride[0], s->stride[1]};
    const dnnl_dims_t dilation = {s->dilation[0] - 1, s->dilation[1] - 1};
    const dnnl_dims_t before = {s->padding[0], s->padding[1]};
    /* As in core/dnn_describe.c: what floor division drops is padding taken away behind. */
    const dnnl_dims_t after = {
        (s->out_height - 1) * s->stride[0] + (s->kernel_height - 1) * s->dilation[0] + 1 -
            s->in_height - s->padding[0],
        (s->out_width - 1) * s->stride[1] + (s->kernel_width - 1) * s->dilation[1] + 1 -
            s->in_width - s->padding[1]};
    dnnl_memory_desc_t src, plain, weights, dst;

    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&src, 4, in, dnnl_u8, dnnl_nhwc),
                     "describing codes"));
    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&dst, 4, sums, dnnl_s32, dnnl_nhwc),
                     "describing sums"));
    TRY(plain_weights(task, &plain));
    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&weights, plain.ndims, plain.dims, dnnl_s8,
                                                  dnnl_format_tag_any),
                     "describing weight codes"));
    TRY(bg_dnn_check(dnnl_dilated_convolution_forward_desc_init(
                         out, dnnl_forward_inference, dnnl_convolution_direct, &src, &weights, NULL,
                         &dst, stride, dilation, before, after),
                     "integer convolution"));
out:
    return rc;
}

static enum bg_status make_parts(struct bg_dnn_int *conv)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_part *part = &conv->forward;
    dnnl_convolution_desc_t operation;
    dnnl_memory_desc_t plain;
    bool slow = false;

    TRY(describe(&conv->task, &operation));
    TRY(bg_dnn_part_create(part, &operation, NULL, NULL, &slow));
    if (slow)
        FAIL(BG_E_UNSUPPORTED, "oneDNN %s has only a reference implementation of this convolution",
             bg_dnn_version());
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(part, dnnl_query_weights_md);
    TRY(bg_alloc(&conv->packed, (int64_t)dnnl_memory_desc_get_size(layout), 1));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_SRC, bg_dnn_part_layout(part, dnnl_query_src_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_DST, bg_dnn_part_layout(part, dnnl_query_dst_md), NULL));
    TRY(bg_dnn_part_bind(part, DNNL_ARG_WEIGHTS, layout, conv->packed));
    TRY(plain_weights(&conv->task, &plain));
    TRY(bg_dnn_part_reorder(&conv->pack, &plain, layout));
    TRY(bg_dnn_part_bind(&conv->pack, DNNL_ARG_FROM, &plain, NULL));
    TRY(bg_dnn_part_bind(&conv->pack, DNNL_ARG_TO, layout, conv->packed));
out:
    return rc;
}

enum bg_status bg_dnn_int_create(struct bg_dnn_int **out, const struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_int *conv = NULL;

    *out = NULL;
    TRY(bg_alloc(&conv, 1, sizeof *conv));
    conv->task = (struct bg_dnn_task){.shape = *shape};
    TRY(bg_conv_shape_infer(&conv->task.shape));
    TRY(bg_dnn_runner_start(&conv->runner));
    TRY(make_parts(conv));
    struct bg_dnn_part *const parts[] = {&conv->forward, &conv->pack};
    TRY(bg_dnn_runner_finish(&conv->runner, parts, 2));
    *out = conv;
    conv = NULL;
out:
    bg_dnn_int_destroy(conv);
    return rc;
}

void bg_dnn_int_destroy(struct bg_dnn_int *conv)
{
    if (conv == NULL)
        return;
    bg_dnn_part_destroy(&conv->pack);
    bg_dnn_part_destroy(&conv->forward);
    bg_free(conv->packed);
    bg_dnn_runner_stop(&conv->runner);
    bg_free(conv);
}

enum bg_status bg_dnn_int_pack(struct bg_dnn_int *conv, const int8_t *weights)
{
    enum bg_status rc = BG_OK;

    TRY(bg_dnn_part_set(&conv->pack, DNNL_ARG_FROM, weights));
    TRY(bg_dnn_part_run(&conv->pack, &conv->runner));
out:
    return rc;
}

enum bg_status bg_dnn_int_run(struct bg_dnn_int *conv, const uint8_t *src, int32_t *sums)
{
    enum bg_status rc = BG_OK;

    TRY(bg_dnn_part_set(&conv->forward, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(&conv->forward, DNNL_ARG_DST, sums));
    TRY(bg_dnn_part_run(&conv->forward, &conv->runner));
out:
    return rc;
}

const char *bg_dnn_int_implementation(const struct bg_dnn_int *conv)
{
    return conv->forward.name;
}
