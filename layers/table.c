/* The table of a network: one line per weighted layer and a line of totals. A layer's parameters
 * include its bias and the norm behind it, as in cost.c. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "layers/net.h"

#define NUMBER_ROOM 32

/* "1,234,567" */
static const char *grouped(char out[NUMBER_ROOM], int64_t value)
{
    char digits[NUMBER_ROOM];
    int length = snprintf(digits, sizeof digits, "%" PRId64, value);
    int at = 0;
    for (int i = 0; i < length && at < NUMBER_ROOM - 2; i++) {
        out[at++] = digits[i];
        if ((length - 1 - i) % 3 == 0 && i != length - 1 && digits[i] != '-')
            out[at++] = ',';
    }
    out[at] = '\0';
    return out;
}

/* Kernel size belongs to the type: "conv 3x3", "linear". */
static const char *type_text(char out[NUMBER_ROOM], const struct bg_net *net, int layer)
{
    const struct bg_shape *shape = &bg_graph_layer_weight(net->graph, layer)->value.shape;
    if (shape->rank == 4)
        snprintf(out, NUMBER_ROOM, "conv %" PRId64 "x%" PRId64, shape->dims[1], shape->dims[2]);
    else
        snprintf(out, NUMBER_ROOM, "linear");
    return out;
}

static const char *bits_text(char out[NUMBER_ROOM], const struct bg_layer_cost *cost)
{
    if (cost->weight_bits == 32 && cost->activation_bits == 32)
        snprintf(out, NUMBER_ROOM, "f32");
    else
        snprintf(out, NUMBER_ROOM, "%d/%d", cost->weight_bits, cost->activation_bits);
    return out;
}

static int name_width(const struct bg_net *net, int layers)
{
    int width = (int)strlen("layer");
    for (int i = 0; i < layers; i++) {
        int length = (int)strlen(bg_node_name(bg_graph_layer(net->graph, i)));
        width = length > width ? length : width;
    }
    return width;
}

void bg_net_print_table(const struct bg_net *net, const struct bg_plan *plan, struct bg_text *out)
{
    struct bg_net_cost cost = {.layers = 0};
    char shape[64], type[NUMBER_ROOM], params[NUMBER_ROOM], macs[NUMBER_ROOM], bits[NUMBER_ROOM];
    if (bg_net_cost(net, plan, &cost) != BG_OK) {
        bg_text_add(out, "%s\n", bg_error());
        return;
    }
    int width = name_width(net, cost.layers);
    bg_text_add(out, "%-*s  %-9s  %-11s  %12s  %14s  %s\n", width, "layer", "type", "output",
                "parameters", "MACs", "bits w/a");
    for (int i = 0; i < cost.layers; i++) {
        const struct bg_layer_cost *layer = &cost.layer[i];
        const struct bg_node *node = bg_graph_layer(net->graph, i);
        bg_text_add(out, "%-*s  %-9s  %-11s  %12s  %14s  %s\n", width, bg_node_name(node),
                    type_text(type, net, i), bg_shape_text(bg_node_shape(node), shape),
                    grouped(params, layer->weights + layer->other_params),
                    grouped(macs, layer->macs), bits_text(bits, layer));
    }
    bg_text_add(out, "%-*s  %-9s  %-11s  %12s  %14s  %.2f mean weight bits, %s bytes\n", width,
                "total", "", "", grouped(params, cost.params), grouped(macs, cost.macs),
                cost.mean_weight_bits, grouped(bits, (int64_t)cost.bytes));
    bg_net_cost_free(&cost);
}
