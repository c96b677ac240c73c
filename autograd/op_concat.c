/* Concat: two to four tensors of one height and width side by side along channels, in the order of
 * the inputs. Backward cuts the gradient apart again; values are only copied. Inputs may be one
 * node several times: each time has a gradient of its own, and they are added. */
#include "autograd/op.h"

#include "core/kernel.h"

static enum bg_status infer(struct bg_node *node)
{
    const struct bg_node *first = node->input[0];
    char a[64], b[64];

    node->shape = first->shape;
    for (int k = 1; k < node->inputs; k++) {
        const struct bg_node *next = node->input[k];
        if (next->shape.dims[0] != first->shape.dims[0] ||
            next->shape.dims[1] != first->shape.dims[1])
            return bg_fail(BG_E_SHAPE, "%s is %s, %s is %s: all must have one height and width",
                           first->name, bg_shape_text(&first->shape, a), next->name,
                           bg_shape_text(&next->shape, b));
        node->shape.dims[2] += next->shape.dims[2];
    }
    return BG_OK;
}

/* The reference's own copy of `width` values per row. */
static void copy_rows(const float *x, int64_t x_step, int64_t rows, int64_t width, float *y,
                      int64_t y_step)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < width; c++)
            y[i * y_step + c] = x[i * x_step + c];
}

static enum bg_status forward(struct bg_step *step, const struct bg_run *run)
{
    int64_t channels = step->out.shape.dims[3], rows = bg_tensor_count(&step->out) / channels;
    float *y = bg_f32(&step->out);

    for (int k = 0; k < step->inputs; k++) {
        const float *x = bg_f32(&step->in[k]);
        int64_t width = step->in[k].shape.dims[3];
        if (run->compute == BG_COMPUTE_EXACT)
            bg_kernel_copy_columns(x, width, rows, width, y, channels);
        else
            copy_rows(x, width, rows, width, y, channels);
        y += width;
    }
    return BG_OK;
}

static enum bg_status backward(struct bg_step *step, const struct bg_run *run)
{
    int64_t channels = step->out.shape.dims[3], rows = bg_tensor_count(&step->out) / channels;
    const float *dy = bg_f32(&step->d_out);

    for (int k = 0; k < step->inputs; k++) {
        float *dx = bg_f32(&step->d_in[k]); /* NULL: nobody needs it */
        int64_t width = step->in[k].shape.dims[3];
        if (dx != NULL && run->compute == BG_COMPUTE_EXACT)
            bg_kernel_copy_columns(dy, channels, rows, width, dx, width);
        else if (dx != NULL)
            copy_rows(dy, channels, rows, width, dx, width);
        dy += width;
    }
    return BG_OK;
}

const struct bg_op bg_op_concat = {
    .name = "concat",
    .flags = BG_OP_KEEPS_SIGN,
    .inputs = 2,
    .most_inputs = BG_OP_INPUTS,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};

enum bg_status bg_node_concat(struct bg_graph *graph, const char *name,
                              struct bg_node *const *inputs, int count, struct bg_node **out)
{
    struct bg_node_spec spec = {.op = &bg_op_concat, .name = name, .inputs = count};

    for (int k = 0; k < count && k < BG_OP_INPUTS; k++)
        spec.input[k] = inputs[k];
    return bg_node_add_plain(graph, &spec, out);
}
