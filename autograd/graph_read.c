/* Readers of what a node was made with: attributes, parameters and the grid of its output. For
 * those who turn a graph into something else (integer programs, exports); the other readers of
 * graph.h stand in graph.c. Nothing here changes a graph. */
#include <stddef.h>

#include "autograd/op.h"

const struct bg_conv2d *bg_node_conv2d_options(const struct bg_node *node)
{
    return node->op == &bg_op_conv2d ? node->attributes : NULL;
}

const struct bg_pool2d *bg_node_pool2d_options(const struct bg_node *node)
{
    bool window = node->op == &bg_op_max_pool || node->op == &bg_op_avg_pool;

    return window ? node->attributes : NULL;
}

double bg_node_epsilon(const struct bg_node *node)
{
    const struct bg_batch_norm *norm = node->attributes;

    return node->op == &bg_op_batch_norm ? norm->epsilon : 0.0;
}

const struct bg_sample_spec *bg_node_sample_spec(const struct bg_node *node)
{
    return node->op == &bg_op_input ? node->attributes : NULL;
}

const struct bg_param *bg_node_param_at(const struct bg_node *node, int index)
{
    return index >= 0 && index < node->params ? node->param[index] : NULL;
}

const struct bg_quantizer *bg_node_quantizer(const struct bg_node *node)
{
    return node->quantizer;
}
