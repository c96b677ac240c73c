/* Small helpers that layer types and network types share. */
#ifndef BG_LAYERS_BUILD_H
#define BG_LAYERS_BUILD_H

#include <stdint.h>

#include "autograd/graph.h"
#include "core/options.h"
#include "core/status.h"

/* [height, width] from a list of one number (both) or two; `layer` and `key` are for the sentence.
 */
BG_MUST enum bg_status bg_build_pair(int64_t out[2], const struct bg_int_list *list,
                                     const char *layer, const char *key);

/* Kernel, stride and padding of a pooling layer; an empty stride list means the kernel. */
struct bg_pool_options {
    struct bg_int_list kernel, stride, padding;
};
extern const struct bg_option bg_pool_option_table[];
BG_MUST enum bg_status bg_build_pool(struct bg_pool2d *out, const struct bg_pool_options *options,
                                     const char *layer);

/* "<base><suffix>" into out; BG_E_RANGE when the name would be too long. */
BG_MUST enum bg_status bg_build_name(char out[BG_NAME_MAX], const char *base, const char *suffix);

/* What the named networks are made of. Node names: name, name.bn, and `relu` for the activation. */
struct bg_unit {
    const char *name;
    const char *relu; /* NULL = no activation */
    bool relu6;       /* the activation has a ceiling of 6 */
    bool batch_norm;  /* then the convolution or linear layer has no bias */
};
BG_MUST enum bg_status bg_build_conv(struct bg_graph *graph, const struct bg_unit *unit,
                                     struct bg_node *x, const struct bg_conv2d *options,
                                     struct bg_node **out);
BG_MUST enum bg_status bg_build_linear(struct bg_graph *graph, const struct bg_unit *unit,
                                       struct bg_node *x, int64_t features, struct bg_node **out);

#define BG_BN_EPSILON  1e-5 /* PyTorch's defaults: nn.BatchNorm2d */
#define BG_BN_MOMENTUM 0.1

#endif
