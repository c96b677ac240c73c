/* Helpers of layer types and network types: number pairs, pooling options, and the unit
 * "convolution or linear, batch norm, relu (or relu6)" that the named networks repeat. */
#include "layers/build.h"

#include <stdio.h>

enum bg_status bg_build_pair(int64_t out[2], const struct bg_int_list *list, const char *layer,
                             const char *key)
{
    if (list->count != 1 && list->count != 2)
        return bg_fail(BG_E_DATA, "layer %s: %s has %d numbers, expected one or [height, width]",
                       layer, key, list->count);
    out[0] = list->at[0];
    out[1] = list->at[list->count - 1];
    return BG_OK;
}

const struct bg_option bg_pool_option_table[] = {
    {.key = "kernel",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct bg_pool_options, kernel),
     .fallback = "[2]",
     .min = 1,
     .max = 1024,
     .help = "window, one number or [height, width]"},
    {.key = "stride",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct bg_pool_options, stride),
     .fallback = "[]",
     .min = 1,
     .max = 1024,
     .help = "step of the window; empty = the kernel"},
    {.key = "padding",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct bg_pool_options, padding),
     .fallback = "[0]",
     .min = 0,
     .max = 1024,
     .help = "rows and columns added on both sides; they never enter a maximum or an average"},
    {.key = NULL}};

enum bg_status bg_build_pool(struct bg_pool2d *out, const struct bg_pool_options *options,
                             const char *layer)
{
    enum bg_status rc = BG_OK;
    const struct bg_int_list *stride = options->stride.count ? &options->stride : &options->kernel;
    TRY(bg_build_pair(out->kernel, &options->kernel, layer, "kernel"));
    TRY(bg_build_pair(out->stride, stride, layer, "stride"));
    TRY(bg_build_pair(out->padding, &options->padding, layer, "padding"));
out:
    return rc;
}

enum bg_status bg_build_name(char out[BG_NAME_MAX], const char *base, const char *suffix)
{
    int length = snprintf(out, BG_NAME_MAX, "%s%s", base, suffix);
    if (length < 0 || length >= BG_NAME_MAX)
        return bg_fail(BG_E_RANGE, "layer name %s%s has %d characters, limit is %d", base, suffix,
                       length, BG_NAME_MAX - 1);
    return BG_OK;
}

/* Batch norm and activation behind a weighted layer. */
static enum bg_status finish_unit(struct bg_graph *graph, const struct bg_unit *unit,
                                  struct bg_node *x, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    char name[BG_NAME_MAX];
    if (unit->batch_norm) {
        TRY(bg_build_name(name, unit->name, ".bn"));
        TRY(bg_node_batch_norm(graph, name, x, BG_BN_EPSILON, BG_BN_MOMENTUM, &x));
    }
    if (unit->relu && unit->relu6)
        TRY(bg_node_relu6(graph, unit->relu, x, &x));
    else if (unit->relu)
        TRY(bg_node_relu(graph, unit->relu, x, &x));
    *out = x;
out:
    return rc;
}

enum bg_status bg_build_conv(struct bg_graph *graph, const struct bg_unit *unit, struct bg_node *x,
                             const struct bg_conv2d *options, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_conv2d conv = *options;
    conv.bias = !unit->batch_norm;
    TRY(bg_node_conv2d(graph, unit->name, x, &conv, &x));
    TRY(finish_unit(graph, unit, x, out));
out:
    return rc;
}

enum bg_status bg_build_linear(struct bg_graph *graph, const struct bg_unit *unit,
                               struct bg_node *x, int64_t features, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    TRY(bg_node_linear(graph, unit->name, x, features, !unit->batch_norm, &x));
    TRY(finish_unit(graph, unit, x, out));
out:
    return rc;
}
