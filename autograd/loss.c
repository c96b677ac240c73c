/* What the losses share: they take logits (1,1,classes) and keep one f32 per logit for backward. */
#include "autograd/loss.h"

enum bg_status bg_loss_infer(struct bg_node *node)
{
    const struct bg_shape *x = &node->input[0]->shape;
    char text[64];

    if (x->dims[0] != 1 || x->dims[1] != 1)
        return bg_fail(BG_E_SHAPE, "input %s is %s, a loss needs 1x1xclasses", node->input[0]->name,
                       bg_shape_text(x, text));
    node->shape = (struct bg_shape){3, {1, 1, 1}};
    return BG_OK;
}

enum bg_status bg_loss_compile(const struct bg_compile *compile, struct bg_step *step)
{
    step->saved_bytes = compile->batch * step->node->input[0]->shape.dims[2] * 4;
    return BG_OK;
}

double bg_graph_loss(const struct bg_graph *graph, const float *logits, const int32_t *labels,
                     int64_t batch)
{
    int64_t classes = graph->loss->input[0]->shape.dims[2];
    double sum = 0.0;

    for (int64_t i = 0; i < batch; i++)
        sum += graph->loss->op->sample_loss(graph->loss, logits + i * classes, classes, labels[i]);
    return sum / (double)batch;
}
