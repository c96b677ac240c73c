/* Input: decodes a batch of raw-byte codes or copies one of f32 values. The first node of a graph,
 * exactly one. Its gradient goes nowhere; programs compute it only for observers. */
#include "autograd/op.h"

#include <math.h>
#include <string.h>

#include "core/kernel.h"

static enum bg_status infer(struct bg_node *node)
{
    const struct bg_sample_spec *spec = node->attributes;

    if (node->index != 0)
        return bg_fail(BG_E_USAGE, "the input must be the first node and the only input");
    if (spec->dtype != BG_U8 && spec->dtype != BG_F32)
        return bg_fail(BG_E_UNSUPPORTED, "samples of type %s: u8 and f32 are supported",
                       bg_dtype_name(spec->dtype));
    if (spec->dtype == BG_U8 && (!isfinite(spec->scale) || spec->scale <= 0.0f))
        return bg_fail(BG_E_RANGE, "scale %g must be positive", (double)spec->scale);
    if (spec->dtype == BG_U8 && (spec->zero_point < 0 || spec->zero_point > 255))
        return bg_fail(BG_E_RANGE, "zero point %d is outside 0 to 255", (int)spec->zero_point);
    node->shape = (struct bg_shape){3, {spec->height, spec->width, spec->channels}};
    return BG_OK;
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    const struct bg_sample_spec *spec = step->node->attributes;
    int64_t n = bg_tensor_count(&step->out);
    float *y = bg_f32(&step->out);

    if (spec->dtype == BG_F32) {
        memcpy(y, run->batch->images, (size_t)n * sizeof *y);
        return BG_OK;
    }
    if (run->compute == BG_COMPUTE_EXACT) {
        bg_kernel_decode_u8(run->batch->images, n, spec->zero_point, spec->scale, y);
        return BG_OK;
    }
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)(((const uint8_t *)run->batch->images)[i] - spec->zero_point) * spec->scale;
    return BG_OK;
}

const struct bg_op bg_op_input = {
    .name = "input",
    .infer = infer,
    .forward = forward,
};

enum bg_status bg_node_input(struct bg_graph *graph, const char *name,
                             const struct bg_sample_spec *spec, struct bg_node **out)
{
    const struct bg_node_spec node = {
        .op = &bg_op_input, .name = name, .attributes = spec, .attributes_size = sizeof *spec};

    return bg_node_add_plain(graph, &node, out);
}
