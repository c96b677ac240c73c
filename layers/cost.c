/* What a network costs under a plan: parameters, MACs, bytes, bit operations.
 *
 * Parameters and bytes count weights, biases, gamma and beta. Running statistics and learned steps
 * are left out: in a network that runs on integers they are folded with gamma, beta and the scales
 * into two numbers per channel, which is what gamma and beta already count.
 * A norm belongs to the layer whose output it reads; one behind anything else enters the totals
 * only. BOPs: hawq is the sum HAWQ-V3 (Yao et al., ICML 2021) reports, detailed follows Baskin et
 * al., "UNIQ" (ACM TOCS 2021) as in hawq-jet-tagging's compute_bops.py. */
#include <math.h>
#include <string.h>

#include "layers/net.h"

/* The layer a parameter is counted with: its own, or for a norm the layer in front of it; -1. */
static int owner_layer(const struct bg_graph *graph, const struct bg_param *param)
{
    if (param->kind == BG_PARAM_WEIGHT || param->kind == BG_PARAM_BIAS)
        return param->layer;
    char name[BG_NAME_MAX];
    memcpy(name, param->name, sizeof name);
    char *dot = strrchr(name, '.');
    if (dot == NULL)
        return -1;
    *dot = '\0'; /* "conv1.bn.gamma" belongs to node "conv1.bn" */
    const struct bg_node *node = bg_graph_find(graph, name);
    if (node == NULL || bg_node_input_count(node) != 1)
        return -1;
    return bg_node_layer(bg_node_input_at(node, 0));
}

static bool is_counted(const struct bg_param *param)
{
    return bg_param_trainable(param) && param->kind != BG_PARAM_STEP;
}

static void cost_layer(const struct bg_net *net, int index, const struct bg_plan_layer *planned,
                       struct bg_layer_cost *out)
{
    const struct bg_param *weight = bg_graph_layer_weight(net->graph, index);
    const struct bg_shape *shape = &weight->value.shape;
    double macs = (double)out->macs, w = 32, a = 32;
    double terms = (double)out->weights / (double)shape->dims[0]; /* n*k*k per output value */
    out->weight_bits = out->activation_bits = 32;
    if (planned) {
        out->weight_bits = bg_spec_bits(&planned->spec[BG_ROLE_WEIGHT]);
        out->activation_bits = bg_spec_bits(&planned->spec[BG_ROLE_ACTIVATION]);
        w = out->weight_bits;
        a = out->activation_bits;
    }
    out->bytes = (double)out->weights * w / 8 + 4 * (double)out->other_params;
    out->bops_hawq = macs * w * a;
    out->bops_detailed = macs * (w * a + w + a + log2(terms));
}

static enum bg_status sum_layers(const struct bg_net *net, const struct bg_plan *plan,
                                 struct bg_net_cost *out)
{
    double weights = 0, weight_bits = 0;
    for (int i = 0; i < out->layers; i++) {
        struct bg_layer_cost *layer = &out->layer[i];
        const struct bg_node *node = bg_graph_layer(net->graph, i);
        const struct bg_plan_layer *planned = NULL;
        if (plan) {
            planned = bg_plan_find(plan, bg_node_name(node));
            if (planned == NULL)
                return bg_fail(BG_E_MISMATCH, "the plan has no layer %s", bg_node_name(node));
        }
        layer->weights = bg_tensor_count(&bg_graph_layer_weight(net->graph, i)->value);
        layer->macs = bg_node_macs(node);
        cost_layer(net, i, planned, layer);
        out->bytes += layer->bytes;
        out->bops_hawq += layer->bops_hawq;
        out->bops_detailed += layer->bops_detailed;
        out->macs += layer->macs;
        weights += (double)layer->weights;
        weight_bits += (double)layer->weights * layer->weight_bits;
    }
    out->mean_weight_bits = weights > 0 ? weight_bits / weights : 0;
    return BG_OK;
}

enum bg_status bg_net_cost(const struct bg_net *net, const struct bg_plan *plan,
                           struct bg_net_cost *out)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_net_cost){.layers = bg_graph_layer_count(net->graph)};
    TRY(bg_alloc(&out->layer, out->layers, sizeof *out->layer));
    for (int i = 0; i < bg_graph_param_count(net->graph); i++) {
        const struct bg_param *param = bg_graph_param(net->graph, i);
        int64_t count = bg_tensor_count(&param->value);
        if (!is_counted(param))
            continue;
        out->params += count;
        if (param->kind == BG_PARAM_WEIGHT)
            continue;
        int owner = owner_layer(net->graph, param);
        if (owner >= 0)
            out->layer[owner].other_params += count;
        else
            out->bytes += 4 * (double)count;
    }
    TRY(sum_layers(net, plan, out));
out:
    if (rc != BG_OK)
        bg_net_cost_free(out);
    return rc;
}

void bg_net_cost_free(struct bg_net_cost *cost)
{
    bg_free(cost->layer);
    *cost = (struct bg_net_cost){.layers = 0};
}
