/* Layer type `conv`: a 2-D convolution with stride, padding, dilation and groups. */
#include "layers/build.h"
#include "layers/net.h"

struct conv_options {
    int64_t out, groups;
    struct bg_int_list kernel, stride, padding, dilation;
    bool same, bias;
};

#define MOST_CHANNELS 65536

static const struct bg_option table[] = {
    {.key = "out",
     .type = BG_OPT_INT,
     .offset = offsetof(struct conv_options, out),
     .min = 1,
     .max = MOST_CHANNELS,
     .help = "output channels"},
    {.key = "kernel",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct conv_options, kernel),
     .fallback = "[3]",
     .min = 1,
     .max = 1024,
     .help = "kernel size, one number or [height, width]"},
    {.key = "stride",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct conv_options, stride),
     .fallback = "[1]",
     .min = 1,
     .max = 1024,
     .help = "step of the kernel"},
    {.key = "padding",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct conv_options, padding),
     .fallback = "[0]",
     .min = 0,
     .max = 1024,
     .help = "rows and columns of zeros added on both sides"},
    {.key = "same",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct conv_options, same),
     .fallback = "false",
     .help = "pad so that stride 1 keeps the size (odd kernels; instead of padding)"},
    {.key = "dilation",
     .type = BG_OPT_INTS,
     .offset = offsetof(struct conv_options, dilation),
     .fallback = "[1]",
     .min = 1,
     .max = 1024,
     .help = "distance between kernel elements; 1 = dense"},
    {.key = "groups",
     .type = BG_OPT_INT,
     .offset = offsetof(struct conv_options, groups),
     .fallback = "1",
     .min = 1,
     .max = MOST_CHANNELS,
     .help = "independent groups of channels"},
    {.key = "bias",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct conv_options, bias),
     .fallback = "true",
     .help = "add a value per output channel"},
    {.key = NULL}};

static enum bg_status pad_same(const char *name, struct bg_conv2d *conv)
{
    for (int axis = 0; axis < 2; axis++) {
        if (conv->padding[axis] != 0)
            return bg_fail(BG_E_DATA, "layer %s: same and padding %lld exclude each other", name,
                           (long long)conv->padding[axis]);
        if (conv->kernel[axis] % 2 == 0)
            return bg_fail(BG_E_DATA, "layer %s: same needs odd kernels, kernel is %lldx%lld", name,
                           (long long)conv->kernel[0], (long long)conv->kernel[1]);
        conv->padding[axis] = conv->dilation[axis] * (conv->kernel[axis] - 1) / 2;
    }
    return BG_OK;
}

static enum bg_status build(struct bg_graph *graph, const char *name, const void *options,
                            struct bg_node *const *inputs, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    const struct conv_options *o = options;
    struct bg_conv2d conv = {.out_channels = o->out, .groups = o->groups, .bias = o->bias};
    TRY(bg_build_pair(conv.kernel, &o->kernel, name, "kernel"));
    TRY(bg_build_pair(conv.stride, &o->stride, name, "stride"));
    TRY(bg_build_pair(conv.padding, &o->padding, name, "padding"));
    TRY(bg_build_pair(conv.dilation, &o->dilation, name, "dilation"));
    if (o->same)
        TRY(pad_same(name, &conv));
    TRY(bg_node_conv2d(graph, name, inputs[0], &conv, out));
out:
    return rc;
}

extern const struct bg_layer_type bg_layer_conv;
const struct bg_layer_type bg_layer_conv = {.name = "conv",
                                            .help = "2-D convolution",
                                            .options = table,
                                            .options_size = sizeof(struct conv_options),
                                            .inputs = 1,
                                            .build = build};
