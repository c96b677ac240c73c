/* What core/dnn_*.c share: the engine, and one primitive with its memory objects ("part"). oneDNN
 * 2.x C interface (operation descriptors); 3.x has another one. Nothing outside core/dnn_*.c
 * includes this. */
#ifndef BG_CORE_DNN_PRIVATE_H
#define BG_CORE_DNN_PRIVATE_H

#include <oneapi/dnnl/dnnl.h>

#include <stdbool.h>
#include <stdint.h>

#include "core/dnn.h"

#if !defined(DNNL_VERSION_MAJOR) || DNNL_VERSION_MAJOR != 2
#error "bitgrad needs the headers of oneDNN 2.x (Debian 12: libdnnl-dev 2.6.3); 3.x has another API"
#endif

#define BG_DNN_ARGS 6

/* A primitive and its arguments. A zeroed part is an empty one: destroying it does nothing. */
struct bg_dnn_part {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[BG_DNN_ARGS];
    int arg_count;
    const char *name; /* implementation, owned by oneDNN; "" when there is none */
};

/* What runs the parts of one object: a stream and scratch of its own (two objects may run in two
 * threads), and the number of OpenMP threads the primitives were made for. */
struct bg_dnn_runner {
    dnnl_stream_t stream;
    void *scratch;
    int64_t scratch_bytes;
    int threads;
};

/* BG_OK, or a sentence with oneDNN's word for the failure behind `what`. */
BG_MUST enum bg_status bg_dnn_check(dnnl_status_t status, const char *what);

/* The process's CPU engine, made at the first call. */
BG_MUST enum bg_status bg_dnn_engine(dnnl_engine_t *out);

BG_MUST enum bg_status bg_dnn_runner_start(struct bg_dnn_runner *runner);
/* Call when all parts are made: allocates scratch for the largest and hands it to each. */
BG_MUST enum bg_status bg_dnn_runner_finish(struct bg_dnn_runner *runner,
                                            struct bg_dnn_part *const *parts, int count);
void bg_dnn_runner_stop(struct bg_dnn_runner *runner);

/* Makes the first implementation of `op` that is not a reference one and whose name does not begin
 * with `avoid` (NULL: none); *slow tells that there is none, and then a reference one was made.
 * `hint` is the forward description of a backward op, else NULL. */
BG_MUST enum bg_status bg_dnn_part_create(struct bg_dnn_part *part, const_dnnl_op_desc_t op,
                                          const struct bg_dnn_part *hint, const char *avoid,
                                          bool *slow);
/* A copy from one layout to another. */
BG_MUST enum bg_status bg_dnn_part_reorder(struct bg_dnn_part *part, const dnnl_memory_desc_t *from,
                                           const dnnl_memory_desc_t *to);
void bg_dnn_part_destroy(struct bg_dnn_part *part);
/* Adds an argument of that layout; `data` may be NULL and set later. */
BG_MUST enum bg_status bg_dnn_part_bind(struct bg_dnn_part *part, int arg,
                                        const dnnl_memory_desc_t *layout, void *data);
/* Points a bound argument at data. oneDNN takes inputs through the same void pointer. */
BG_MUST enum bg_status bg_dnn_part_set(struct bg_dnn_part *part, int arg, const void *data);
/* Runs with the number of threads it was made for, whatever is set now. */
BG_MUST enum bg_status bg_dnn_part_run(struct bg_dnn_part *part,
                                       const struct bg_dnn_runner *runner);
const dnnl_memory_desc_t *bg_dnn_part_layout(const struct bg_dnn_part *part, dnnl_query_t what);

/* A convolution or linear layer as asked of oneDNN. */
enum bg_dnn_pass { BG_DNN_FORWARD, BG_DNN_BACKWARD_DATA, BG_DNN_BACKWARD_WEIGHTS, BG_DNN_PASSES };

struct bg_dnn_task {
    struct bg_conv_shape shape;
    bool bias, train;
    bool linear; /* as an inner product */
};

const char *bg_dnn_pass_name(enum bg_dnn_pass pass);
/* The kernel sees the whole image at once and nothing else. */
bool bg_dnn_is_linear(const struct bg_conv_shape *shape);
/* Dense O,H,W,I as the caller has it, in oneDNN's logical order of dimensions. */
BG_MUST enum bg_status bg_dnn_plain_weights(const struct bg_dnn_task *task,
                                            dnnl_memory_desc_t *out);
/* Makes one pass; `hint` is the forward part for the backward ones. */
BG_MUST enum bg_status bg_dnn_pass_create(struct bg_dnn_part *part, const struct bg_dnn_task *task,
                                          enum bg_dnn_pass pass, const struct bg_dnn_part *hint);

#endif
