/* Convolution and linear layers of fast training: asks whether the CPU can, and hands each pass to
 * own kernels: AMX tiles (core/amx_conv.c, core/amx_weights.c), depthwise in f32 vectors
 * (core/amx_depthwise.c).
 *
 * oneDNN 2.6 is not asked. Over the layers of ResNet-20 (batch 128, 2 threads) it takes 1.1 times
 * as long forward and for backward data, 2.9 times for backward weights; it is faster on 3x3 layers
 * of 128 channels and more, by up to a half, and forward on depthwise ones. Its zero points lead
 * to other implementations, and among random shapes a bf16 weight gradient with dilation came out
 * wrong and making a strided backward data for one channel read outside its memory. */
#define _DEFAULT_SOURCE /* syscall */
#include "core/train_conv.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/int_private.h"
#include "core/mem.h"
#include "core/train_private.h"

/* arch_prctl(2): Linux gives AMX tiles to a process that asks. */
#define ARCH_REQ_XCOMP_PERM 0x1023
#define XFEATURE_XTILEDATA  18

/* Fewer weights than this are packed on the calling thread: waking others costs more. */
#define PACK_SMALL 32768

struct bg_train_conv {
    struct bg_conv_shape shape; /* linear layers as 1x1 convolutions, the batch as rows */
    bool need_dx;
    struct bg_amx_conv *forward, *data;
    struct bg_amx_weights *weights;
    struct bg_amx_depthwise *depthwise; /* instead of the three */
    struct bg_train_packed packed;
};

static pthread_once_t available_once = PTHREAD_ONCE_INIT;
static bool available;

static void find_available(void)
{
    available = strcmp(bg_dnn_isa(), "AVX512_CORE_AMX") == 0 &&
                syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool bg_train_available(void)
{
    pthread_once(&available_once, find_available);
    return available;
}

static enum bg_status check(struct bg_conv_shape *shape)
{
    enum bg_status rc = BG_OK;

    if (!bg_train_available())
        FAIL(BG_E_UNSUPPORTED, "fast training needs AMX, the instruction set here is %s",
             bg_dnn_isa());
    TRY(bg_conv_shape_infer(shape));
    if (shape->groups != 1 &&
        (shape->groups != shape->in_channels || shape->groups != shape->out_channels))
        FAIL(BG_E_UNSUPPORTED,
             "fast training has no convolution from %lld to %lld channels in "
             "%lld groups",
             (long long)shape->in_channels, (long long)shape->out_channels,
             (long long)shape->groups);
out:
    return rc;
}

static enum bg_status make_depthwise(struct bg_train_conv *conv)
{
    enum bg_status rc = BG_OK;
    uint16_t *backward = NULL;

    TRY(bg_amx_depthwise_create(&conv->depthwise, &conv->shape));
    conv->packed.forward =
        bg_amx_depthwise_packed(conv->depthwise, &conv->packed.forward_at, &backward);
    if (conv->need_dx) {
        conv->packed.backward = backward;
        conv->packed.backward_at = conv->packed.forward_at;
    }
out:
    return rc;
}

static enum bg_status make_dense(struct bg_train_conv *conv)
{
    enum bg_status rc = BG_OK;

    TRY(bg_amx_conv_create(&conv->forward, &conv->shape, false));
    conv->packed.forward = bg_amx_conv_packed(conv->forward, &conv->packed.forward_at);
    if (conv->need_dx) {
        TRY(bg_amx_conv_create(&conv->data, &conv->shape, true));
        conv->packed.backward = bg_amx_conv_packed(conv->data, &conv->packed.backward_at);
    }
    TRY(bg_amx_weights_create(&conv->weights, &conv->shape));
out:
    return rc;
}

enum bg_status bg_train_conv_create(struct bg_train_conv **out, const struct bg_conv_shape *shape,
                                    bool need_dx)
{
    enum bg_status rc = BG_OK;
    struct bg_train_conv *conv = NULL;

    *out = NULL;
    TRY(bg_alloc(&conv, 1, sizeof *conv));
    conv->shape = *shape;
    conv->need_dx = need_dx;
    TRY(check(&conv->shape));
    bg_int_flatten(&conv->shape);
    const struct bg_conv_shape *s = &conv->shape;
    conv->packed.count =
        s->out_channels * s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
    if (s->groups == 1)
        TRY(make_dense(conv));
    else
        TRY(make_depthwise(conv));
    *out = conv;
    conv = NULL;
out:
    bg_train_conv_destroy(conv);
    return rc;
}

void bg_train_conv_destroy(struct bg_train_conv *conv)
{
    if (conv == NULL)
        return;
    bg_amx_depthwise_destroy(conv->depthwise);
    bg_amx_weights_destroy(conv->weights);
    bg_amx_conv_destroy(conv->data);
    bg_amx_conv_destroy(conv->forward);
    bg_free(conv);
}

struct bg_train_packed bg_train_conv_packed(struct bg_train_conv *conv)
{
    return conv->packed;
}

static void pack_depthwise(const struct bg_train_packed *packed, int64_t first, int64_t last,
                           const int8_t *codes)
{
    for (int64_t i = first; i < last; i++)
        packed->forward[packed->forward_at[i]] = codes[i - first];
    for (int64_t i = first; packed->backward != NULL && i < last; i++)
        packed->backward[packed->backward_at[i]] = bg_code_to_bf16(codes[i - first]);
}

void bg_train_conv_pack_rows(struct bg_train_conv *conv, int64_t first, int64_t last,
                             const int8_t *codes)
{
    const int64_t each = conv->packed.count / conv->shape.out_channels;

    if (conv->depthwise != NULL) {
        pack_depthwise(&conv->packed, first * each, last * each, codes);
        return;
    }
    bg_amx_conv_pack(conv->forward, first, last, codes);
    if (conv->data != NULL)
        bg_amx_conv_pack(conv->data, first, last, codes);
}

void bg_train_conv_pack(struct bg_train_conv *conv, const int8_t *codes)
{
    const int64_t outputs = conv->shape.out_channels, each = conv->packed.count / outputs;

#pragma omp parallel for schedule(static) if (conv->packed.count >= PACK_SMALL)
    for (int64_t o = 0; o < outputs; o += BG_TRAIN_ROWS) {
        int64_t last = o + BG_TRAIN_ROWS < outputs ? o + BG_TRAIN_ROWS : outputs;
        bg_train_conv_pack_rows(conv, o, last, codes + o * each);
    }
}

static enum bg_status check_zero_point(int32_t zero_point)
{
    if (zero_point < 0 || zero_point > UINT8_MAX)
        return bg_fail(BG_E_RANGE, "zero point is %d, must be 0 to %d", (int)zero_point, UINT8_MAX);
    return BG_OK;
}

enum bg_status bg_train_conv_forward(struct bg_train_conv *conv, const uint8_t *src,
                                     int32_t zero_point, uint16_t *z)
{
    enum bg_status rc = BG_OK;

    TRY(check_zero_point(zero_point));
    if (conv->depthwise != NULL)
        bg_amx_depthwise_forward(conv->depthwise, src, zero_point, z);
    else
        bg_amx_conv_forward(conv->forward, src, zero_point, z);
out:
    return rc;
}

static enum bg_status backward_data(struct bg_train_conv *conv, const uint16_t *dz, float factor,
                                    uint16_t *dx, bool add)
{
    enum bg_status rc = BG_OK;

    if (!conv->need_dx)
        FAIL(BG_E_USAGE, "this convolution was made without backward data");
    if (conv->depthwise != NULL)
        bg_amx_depthwise_data(conv->depthwise, dz, factor, dx, add);
    else
        bg_amx_conv_data(conv->data, dz, factor, dx, add);
out:
    return rc;
}

enum bg_status bg_train_conv_backward_data(struct bg_train_conv *conv, const uint16_t *dz,
                                           uint16_t *dx, bool add)
{
    return backward_data(conv, dz, 1.0f, dx, add);
}

enum bg_status bg_train_conv_backward_scaled(struct bg_train_conv *conv, const uint16_t *dz,
                                             float factor, uint16_t *dx)
{
    return backward_data(conv, dz, factor, dx, false);
}

/* One output of a depthwise convolution has few weights. */
static bool finish_depthwise(const struct bg_train_conv *conv, const struct bg_train_gradient *to)
{
    const int64_t each = conv->packed.count / conv->shape.out_channels;
    bool good = true;

    for (int64_t i = 0; i < conv->packed.count; i++) {
        const int64_t o = i / each;
        float value = to->factor == NULL ? to->dw[i] : to->dw[i] * to->factor[o];
        if (to->w != NULL && !(to->w[i] >= to->low[o] && to->w[i] <= to->high[o]))
            value = 0.0f;
        good = good && isfinite(value);
        to->dw[i] = value;
    }
    return good;
}

enum bg_status bg_train_conv_weight_gradient(struct bg_train_conv *conv, const uint8_t *src,
                                             int32_t zero_point, const uint16_t *dz,
                                             const struct bg_train_gradient *to, bool *finite)
{
    enum bg_status rc = BG_OK;

    TRY(check_zero_point(zero_point));
    if (conv->depthwise != NULL) {
        bg_amx_depthwise_gradient(conv->depthwise, src, zero_point, dz, to->dw);
        *finite = finish_depthwise(conv, to);
    } else {
        *finite = bg_amx_weights_run(conv->weights, src, zero_point, dz, to);
    }
out:
    return rc;
}

enum bg_status bg_train_conv_backward_weights(struct bg_train_conv *conv, const uint8_t *src,
                                              int32_t zero_point, const uint16_t *dz, float *dw)
{
    bool finite = true;

    return bg_train_conv_weight_gradient(conv, src, zero_point, dz,
                                         &(struct bg_train_gradient){.dw = dw}, &finite);
}

void bg_train_conv_implementations(const struct bg_train_conv *conv, const char **forward,
                                   const char **backward_data, const char **backward_weights)
{
    const char *name = conv->depthwise != NULL ? "own:avx512:depthwise" : "own:amx";

    if (forward != NULL)
        *forward = name;
    if (backward_data != NULL)
        *backward_data = conv->need_dx ? name : "";
    if (backward_weights != NULL)
        *backward_weights = name;
}
