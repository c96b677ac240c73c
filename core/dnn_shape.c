/* Output sizes of convolution and pooling, with every limit checked first: the shapes may come from
 * a file. Knows nothing of oneDNN. Floor division as everywhere: a last step that does not fit is
 * dropped. */
#include "core/dnn.h"

#include <stdio.h>

#include "core/mem.h"

/* Kernels of oneDNN address one tensor with 32-bit element offsets in places. */
#define ELEMENTS_MAX INT32_MAX
#define SIDE_MAX     (1 << 24)

struct window { /* one direction of a kernel */
    int64_t in, kernel, stride, padding, dilation;
};

static enum bg_status check_count(const char *what, const int64_t dims[4])
{
    int64_t count = 1;

    for (int i = 0; i < 4; i++)
        if (bg_product(count, dims[i], &count) != BG_OK || count > ELEMENTS_MAX)
            return bg_fail(BG_E_SHAPE, "%s %lldx%lldx%lldx%lld has more than %lld elements", what,
                           (long long)dims[0], (long long)dims[1], (long long)dims[2],
                           (long long)dims[3], (long long)ELEMENTS_MAX);
    return BG_OK;
}

static enum bg_status check_range(const char *what, int64_t value, int64_t low)
{
    if (value < low || value > SIDE_MAX)
        return bg_fail(BG_E_SHAPE, "%s is %lld, must be %lld to %d", what, (long long)value,
                       (long long)low, SIDE_MAX);
    return BG_OK;
}

static int64_t extent_of(const struct window *side)
{
    return (side->kernel - 1) * side->dilation + 1;
}

/* "3" when both are equal, else "3x4". */
static const char *pair_text(char out[48], int64_t height, int64_t width)
{
    if (height == width)
        snprintf(out, 48, "%lld", (long long)height);
    else
        snprintf(out, 48, "%lldx%lld", (long long)height, (long long)width);
    return out;
}

static enum bg_status does_not_fit(const struct window side[2])
{
    char padding[48], dilation[48];
    bool dilated = side[0].dilation != 1 || side[1].dilation != 1;

    pair_text(padding, side[0].padding, side[1].padding);
    pair_text(dilation, side[0].dilation, side[1].dilation);
    return bg_fail(BG_E_SHAPE, "kernel %lldx%lld%s%s does not fit input %lldx%lld with padding %s",
                   (long long)side[0].kernel, (long long)side[1].kernel,
                   dilated ? " with dilation " : "", dilated ? dilation : "", (long long)side[0].in,
                   (long long)side[1].in, padding);
}

/* The output's height and width. */
static enum bg_status infer_sides(const struct window side[2], int64_t *height, int64_t *width)
{
    int64_t out[2] = {0, 0};

    for (int i = 0; i < 2; i++) {
        int64_t extent = extent_of(&side[i]);
        if (side[i].padding > extent)
            return bg_fail(BG_E_SHAPE, "padding %lld is larger than the kernel, which spans %lld",
                           (long long)side[i].padding, (long long)extent);
        if (extent > side[i].in + 2 * side[i].padding)
            return does_not_fit(side);
        out[i] = (side[i].in + 2 * side[i].padding - extent) / side[i].stride + 1;
    }
    *height = out[0];
    *width = out[1];
    return BG_OK;
}

static enum bg_status check_window(const int64_t kernel[2], const int64_t stride[2],
                                   const int64_t padding[2])
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < 2; i++) {
        TRY(check_range(i == 0 ? "kernel height" : "kernel width", kernel[i], 1));
        TRY(check_range(i == 0 ? "vertical stride" : "horizontal stride", stride[i], 1));
        TRY(check_range(i == 0 ? "vertical padding" : "horizontal padding", padding[i], 0));
    }
out:
    return rc;
}

enum bg_status bg_conv_shape_infer(struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;
    const int64_t kernel[2] = {shape->kernel_height, shape->kernel_width};

    shape->out_height = shape->out_width = 0;
    TRY(check_range("batch", shape->batch, 1));
    TRY(check_range("input height", shape->in_height, 1));
    TRY(check_range("input width", shape->in_width, 1));
    TRY(check_range("number of input channels", shape->in_channels, 1));
    TRY(check_range("number of output channels", shape->out_channels, 1));
    TRY(check_range("number of groups", shape->groups, 1));
    TRY(check_range("vertical dilation", shape->dilation[0], 1));
    TRY(check_range("horizontal dilation", shape->dilation[1], 1));
    TRY(check_window(kernel, shape->stride, shape->padding));
    if (shape->in_channels % shape->groups != 0 || shape->out_channels % shape->groups != 0)
        FAIL(BG_E_SHAPE, "%lld input and %lld output channels do not divide into %lld groups",
             (long long)shape->in_channels, (long long)shape->out_channels,
             (long long)shape->groups);

    const struct window sides[2] = {
        {shape->in_height, kernel[0], shape->stride[0], shape->padding[0], shape->dilation[0]},
        {shape->in_width, kernel[1], shape->stride[1], shape->padding[1], shape->dilation[1]}};
    TRY(infer_sides(sides, &shape->out_height, &shape->out_width));
    TRY(check_count("input", (const int64_t[]){shape->batch, shape->in_height, shape->in_width,
                                               shape->in_channels}));
    TRY(check_count("output", (const int64_t[]){shape->batch, shape->out_height, shape->out_width,
                                                shape->out_channels}));
    TRY(check_count("weight", (const int64_t[]){shape->out_channels, kernel[0], kernel[1],
                                                shape->in_channels / shape->groups}));
out:
    return rc;
}

enum bg_status bg_pool_shape_infer(struct bg_pool_shape *shape)
{
    enum bg_status rc = BG_OK;
    const int64_t in[2] = {shape->in_height, shape->in_width};

    shape->out_height = shape->out_width = 0;
    TRY(check_range("batch", shape->batch, 1));
    TRY(check_range("input height", in[0], 1));
    TRY(check_range("input width", in[1], 1));
    TRY(check_range("number of channels", shape->channels, 1));
    TRY(check_window(shape->kernel, shape->stride, shape->padding));
    /* A window that saw padding alone would have no maximum and no mean. */
    for (int i = 0; i < 2; i++)
        if (shape->padding[i] >= shape->kernel[i])
            FAIL(BG_E_SHAPE, "padding %lld must be smaller than the pooling kernel, which is %lld",
                 (long long)shape->padding[i], (long long)shape->kernel[i]);

    const struct window sides[2] = {
        {in[0], shape->kernel[0], shape->stride[0], shape->padding[0], 1},
        {in[1], shape->kernel[1], shape->stride[1], shape->padding[1], 1}};
    TRY(infer_sides(sides, &shape->out_height, &shape->out_width));
    TRY(check_count("input", (const int64_t[]){shape->batch, in[0], in[1], shape->channels}));
    TRY(check_count("output", (const int64_t[]){shape->batch, shape->out_height, shape->out_width,
                                                shape->channels}));
out:
    return rc;
}
