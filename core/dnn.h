/* The oneDNN wall: everything bitgrad asks of oneDNN, in bitgrad's words. Only core/dnn_*.c include
 * dnnl headers. Activations and gradients are dense N,H,W,C f32; weights are given dense O,H,W,I (I
 * = channels of one group) and packed into the layout the primitive likes best. Creation may
 * allocate; running does not. Convolutions: grouped ones too (groups divides both channel counts).
 */
#ifndef BG_CORE_DNN_H
#define BG_CORE_DNN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/status.h"

struct bg_conv_shape {
    int64_t batch, in_height, in_width, in_channels;
    int64_t out_channels, kernel_height, kernel_width;
    int64_t stride[2], padding[2]; /* height, width; padding on both sides */
    int64_t dilation[2];           /* 1 = dense */
    int64_t groups;
    int64_t out_height, out_width; /* filled by bg_conv_shape_infer */
};
/* Checks every number and fills the output size; BG_E_SHAPE with numbers ("kernel 5x5 does not fit
 * input 3x3 with padding 0"). Padding may not be larger than the span of the kernel. */
BG_MUST enum bg_status bg_conv_shape_infer(struct bg_conv_shape *shape);

/* A convolution (linear layers are 1x1 on 1x1 images; these, and kernels that cover the whole
 * unpadded image, run as an inner product). `train` also makes backward weights, and backward data
 * when need_dx. The object runs with the number of threads that bg_threads() gave when it was made.
 * Results may differ in the last bits between instruction sets and, for weight gradients and inner
 * products, between numbers of threads. Running a part that was not made is BG_E_USAGE. Two objects
 * may run in two threads at once. Running allocates nothing of ours; oneDNN itself makes a small
 * argument map per execution. */
struct bg_dnn_conv;
BG_MUST enum bg_status bg_dnn_conv_create(struct bg_dnn_conv **out,
                                          const struct bg_conv_shape *shape, bool bias, bool train,
                                          bool need_dx);
void bg_dnn_conv_destroy(struct bg_dnn_conv *conv);
/* Packs weights (O,H,W,I) for forward and backward; call once after every change. */
BG_MUST enum bg_status bg_dnn_conv_pack(struct bg_dnn_conv *conv, const float *weights);
BG_MUST enum bg_status bg_dnn_conv_forward(struct bg_dnn_conv *conv, const float *src,
                                           const float *bias, float *dst);
BG_MUST enum bg_status bg_dnn_conv_backward_data(struct bg_dnn_conv *conv, const float *ddst,
                                                 float *dsrc);
/* dweights in O,H,W,I; dbias is NULL when made without bias. */
BG_MUST enum bg_status bg_dnn_conv_backward_weights(struct bg_dnn_conv *conv, const float *src,
                                                    const float *ddst, float *dweights,
                                                    float *dbias);
/* Implementation names, "" where a part was not made: "brgconv:avx512_core". */
void bg_dnn_conv_implementations(const struct bg_dnn_conv *conv, const char **forward,
                                 const char **backward_data, const char **backward_weights);

struct bg_pool_shape {
    int64_t batch, in_height, in_width, channels;
    int64_t kernel[2], stride[2], padding[2];
    int64_t out_height, out_width;
};
BG_MUST enum bg_status bg_pool_shape_infer(struct bg_pool_shape *shape);
/* Max pooling, or average over the elements inside the image (padding excluded). Padding is smaller
 * than the kernel. On a tie the first maximum in row order takes the gradient. `train` makes the
 * backward part; max pooling keeps the places of the last forward's maxima for it. */
struct bg_dnn_pool;
BG_MUST enum bg_status bg_dnn_pool_create(struct bg_dnn_pool **out,
                                          const struct bg_pool_shape *shape, bool max, bool train);
void bg_dnn_pool_destroy(struct bg_dnn_pool *pool);
BG_MUST enum bg_status bg_dnn_pool_forward(struct bg_dnn_pool *pool, const float *src, float *dst);
BG_MUST enum bg_status bg_dnn_pool_backward(struct bg_dnn_pool *pool, const float *ddst,
                                            float *dsrc);
const char *bg_dnn_pool_implementation(const struct bg_dnn_pool *pool);

/* Integer convolution forward: sums[n,y,x,o] = sum of code * weight in s32, u8 codes, s8 weights,
 * padding is 0; linear layers as 1x1 convolutions. Not every implementation is exact on every CPU:
 * core/int_conv.h is the one to use. BG_E_UNSUPPORTED where oneDNN has none but a reference one. */
struct bg_dnn_int;
BG_MUST enum bg_status bg_dnn_int_create(struct bg_dnn_int **out,
                                         const struct bg_conv_shape *shape);
void bg_dnn_int_destroy(struct bg_dnn_int *conv); /* takes NULL */
/* Weights dense O,H,W,I; call once after every change. */
BG_MUST enum bg_status bg_dnn_int_pack(struct bg_dnn_int *conv, const int8_t *weights);
BG_MUST enum bg_status bg_dnn_int_run(struct bg_dnn_int *conv, const uint8_t *src, int32_t *sums);
const char *bg_dnn_int_implementation(const struct bg_dnn_int *conv);

/* "2.6.3" and the effective instruction set ("AVX512_CORE_AMX", capped by DNNL_MAX_CPU_ISA). */
const char *bg_dnn_version(void);
const char *bg_dnn_isa(void);
/* Gives the engine back; optional, at the end of a process. Does nothing while convolutions or
 * pools are alive. */
void bg_dnn_shutdown(void);
/* Threads of the math loops (OpenMP) that this thread starts, cut to 1..256; dynamic adjustment is
 * switched off. */
void bg_threads_set(int threads);
int bg_threads(void);

#endif
