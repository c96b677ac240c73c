/* Max and average pooling through oneDNN, N,H,W,C both ways. Max pooling notes where each maximum
 * was (oneDNN's "workspace") for the backward pass. */
#include "core/dnn_private.h"

#include "core/mem.h"

struct bg_dnn_pool {
    struct bg_dnn_runner runner;
    struct bg_dnn_part forward, backward;
    void *places; /* workspace of max pooling */
};

static enum bg_status make_parts(struct bg_dnn_pool *pool, const struct bg_pool_shape *s, bool max,
                                 bool train)
{
    enum bg_status rc = BG_OK;
    const dnnl_dims_t in = {s->batch, s->channels, s->in_height, s->in_width};
    const dnnl_dims_t out_dims = {s->batch, s->channels, s->out_height, s->out_width};
    const dnnl_dims_t kernel = {s->kernel[0], s->kernel[1]};
    const dnnl_dims_t stride = {s->stride[0], s->stride[1]};
    const dnnl_dims_t before = {s->padding[0], s->padding[1]};
    const dnnl_dims_t after = {
        (s->out_height - 1) * s->stride[0] + s->kernel[0] - s->in_height - s->padding[0],
        (s->out_width - 1) * s->stride[1] + s->kernel[1] - s->in_width - s->padding[1]};
    dnnl_alg_kind_t kind = max ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding;
    dnnl_memory_desc_t src, dst;
    dnnl_pooling_desc_t operation;
    bool slow = false;

    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&src, 4, in, dnnl_f32, dnnl_nhwc),
                     "describing a pool's input"));
    TRY(bg_dnn_check(dnnl_memory_desc_init_by_tag(&dst, 4, out_dims, dnnl_f32, dnnl_nhwc),
                     "describing a pool's output"));
    TRY(bg_dnn_check(dnnl_pooling_forward_desc_init(
                         &operation, train ? dnnl_forward_training : dnnl_forward_inference, kind,
                         &src, &dst, stride, kernel, before, after),
                     "pooling forward"));
    TRY(bg_dnn_part_create(&pool->forward, &operation, NULL, NULL, &slow));
    TRY(bg_dnn_part_bind(&pool->forward, DNNL_ARG_SRC, &src, NULL));
    TRY(bg_dnn_part_bind(&pool->forward, DNNL_ARG_DST, &dst, NULL));
    if (!train)
        return BG_OK;
    TRY(bg_dnn_check(dnnl_pooling_backward_desc_init(&operation, kind, &src, &dst, stride, kernel,
                                                     before, after),
                     "pooling backward"));
    TRY(bg_dnn_part_create(&pool->backward, &operation, &pool->forward, NULL, &slow));
    TRY(bg_dnn_part_bind(&pool->backward, DNNL_ARG_DIFF_SRC, &src, NULL));
    TRY(bg_dnn_part_bind(&pool->backward, DNNL_ARG_DIFF_DST, &dst, NULL));
out:
    return rc;
}

static enum bg_status bind_places(struct bg_dnn_pool *pool)
{
    enum bg_status rc = BG_OK;
    const dnnl_memory_desc_t *layout = bg_dnn_part_layout(&pool->forward, dnnl_query_workspace_md);

    if (layout == NULL || dnnl_memory_desc_get_size(layout) == 0)
        return BG_OK;
    TRY(bg_alloc(&pool->places, (int64_t)dnnl_memory_desc_get_size(layout), 1));
    TRY(bg_dnn_part_bind(&pool->forward, DNNL_ARG_WORKSPACE, layout, pool->places));
    TRY(bg_dnn_part_bind(&pool->backward, DNNL_ARG_WORKSPACE, layout, pool->places));
out:
    return rc;
}

enum bg_status bg_dnn_pool_create(struct bg_dnn_pool **out, const struct bg_pool_shape *shape,
                                  bool max, bool train)
{
    enum bg_status rc = BG_OK;
    struct bg_dnn_pool *pool = NULL;
    struct bg_pool_shape full = *shape;

    *out = NULL;
    TRY(bg_pool_shape_infer(&full));
    TRY(bg_alloc(&pool, 1, sizeof *pool));
    TRY(bg_dnn_runner_start(&pool->runner));
    TRY(make_parts(pool, &full, max, train));
    if (train)
        TRY(bind_places(pool));
    struct bg_dnn_part *const parts[] = {&pool->forward, &pool->backward};
    TRY(bg_dnn_runner_finish(&pool->runner, parts, 2));
    *out = pool;
    pool = NULL;
out:
    bg_dnn_pool_destroy(pool);
    return rc;
}

void bg_dnn_pool_destroy(struct bg_dnn_pool *pool)
{
    if (pool == NULL)
        return;
    bg_dnn_part_destroy(&pool->backward);
    bg_dnn_part_destroy(&pool->forward);
    bg_free(pool->places);
    bg_dnn_runner_stop(&pool->runner);
    bg_free(pool);
}

enum bg_status bg_dnn_pool_forward(struct bg_dnn_pool *pool, const float *src, float *dst)
{
    enum bg_status rc = BG_OK;

    TRY(bg_dnn_part_set(&pool->forward, DNNL_ARG_SRC, src));
    TRY(bg_dnn_part_set(&pool->forward, DNNL_ARG_DST, dst));
    TRY(bg_dnn_part_run(&pool->forward, &pool->runner));
out:
    return rc;
}

enum bg_status bg_dnn_pool_backward(struct bg_dnn_pool *pool, const float *ddst, float *dsrc)
{
    enum bg_status rc = BG_OK;

    if (pool->backward.primitive == NULL)
        FAIL(BG_E_USAGE, "this pool was made without its backward pass");
    TRY(bg_dnn_part_set(&pool->backward, DNNL_ARG_DIFF_DST, ddst));
    TRY(bg_dnn_part_set(&pool->backward, DNNL_ARG_DIFF_SRC, dsrc));
    TRY(bg_dnn_part_run(&pool->backward, &pool->runner));
out:
    return rc;
}

const char *bg_dnn_pool_implementation(const struct bg_dnn_pool *pool)
{
    return pool->forward.name;
}
