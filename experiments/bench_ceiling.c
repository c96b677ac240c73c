/* Ceilings: large convolutions in f32, bf16 and int8, and streaming copies. */
#include "experiments/bench_ceiling.h"

#include <stdio.h>

#include "core/dnn.h"
#include "core/kernel.h"
#include "core/mem.h"
#include "core/train_conv.h"

#define SHAPES 2
#define KINDS  4 /* f32, u8 x s8 to s32, u8 x s8 to bf16, bf16 */
#define TURNS  8
#define COPY   (INT64_C(1) << 25) /* floats of the largest copy: 128 MiB in, 128 MiB out */
#define COPIES 3

/* Large in channels, so that nearly all of the time is multiplication: about 3.3 and 3.7 G
 * multiply-accumulates. */
static const struct bg_conv_shape shapes[SHAPES] = {
    {16, 28, 28, 512, 512, 1, 1, {1, 1}, {0, 0}, {1, 1}, 1, 0, 0},
    {32, 14, 14, 256, 256, 3, 3, {1, 1}, {1, 1}, {1, 1}, 1, 0, 0}};

static const char *const rate_names[BG_BENCH_RATES] = {"f32", "bf16", "int8"};

struct large {
    struct bg_conv_shape shape;
    struct bg_arena *arena;
    struct bg_dnn_conv *f32;
    struct bg_dnn_int *int8;
    struct bg_train_conv *train;
    float *x, *y;
    uint8_t *codes;
    int32_t *sums;
    uint16_t *z, *dx;
    struct bg_bench_call call[KINDS];
};

static double operations_of(const struct bg_conv_shape *s)
{
    return 2.0 * (double)(s->batch * s->out_height * s->out_width) *
           (double)(s->out_channels * s->in_channels * s->kernel_height * s->kernel_width);
}

static enum bg_status call_f32(void *self)
{
    struct large *l = self;
    return bg_dnn_conv_forward(l->f32, l->x, NULL, l->y);
}

static enum bg_status call_sums(void *self)
{
    struct large *l = self;
    return bg_dnn_int_run(l->int8, l->codes, l->sums);
}

static enum bg_status call_train(void *self)
{
    struct large *l = self;
    return bg_train_conv_forward(l->train, l->codes, 0, l->z);
}

static enum bg_status call_bf16(void *self)
{
    struct large *l = self;
    return bg_train_conv_backward_data(l->train, l->z, l->dx, false);
}

static enum bg_status allocate(struct large *l, float **weights, int8_t **codes)
{
    const struct bg_conv_shape *s = &l->shape;
    int64_t in = s->batch * s->in_height * s->in_width * s->in_channels;
    int64_t out = s->batch * s->out_height * s->out_width * s->out_channels;
    int64_t count = s->out_channels * s->in_channels * s->kernel_height * s->kernel_width;
    enum bg_status rc = BG_OK;

    TRY(bg_arena_create(&l->arena, "bench"));
    TRY(bg_arena_alloc(l->arena, &l->x, in, sizeof *l->x));
    TRY(bg_arena_alloc(l->arena, &l->y, out, sizeof *l->y));
    TRY(bg_arena_alloc(l->arena, &l->codes, in, 1));
    TRY(bg_arena_alloc(l->arena, &l->sums, out, sizeof *l->sums));
    TRY(bg_arena_alloc(l->arena, &l->z, out, sizeof *l->z));
    TRY(bg_arena_alloc(l->arena, &l->dx, in, sizeof *l->dx));
    TRY(bg_arena_alloc(l->arena, weights, count, sizeof **weights));
    TRY(bg_arena_alloc(l->arena, codes, count, 1));
    for (int64_t i = 0; i < in; i++) {
        l->codes[i] = (uint8_t)((i * 7919) >> 5);
        l->x[i] = 0.01f * (float)l->codes[i];
    }
    for (int64_t i = 0; i < count; i++) {
        (*codes)[i] = (int8_t)((i * 104729 >> 5) % 31 - 15);
        (*weights)[i] = 0.01f * (float)(*codes)[i];
    }
out:
    return rc;
}

/* OK also when there is no such primitive: *out is NULL then. */
static enum bg_status optional(enum bg_status rc)
{
    return rc == BG_E_UNSUPPORTED ? BG_OK : rc;
}

static enum bg_status make_large(struct large *l, const struct bg_conv_shape *shape)
{
    float *weights = NULL;
    int8_t *codes = NULL;
    enum bg_status rc = BG_OK;

    l->shape = *shape;
    TRY(bg_conv_shape_infer(&l->shape));
    TRY(allocate(l, &weights, &codes));
    TRY(bg_dnn_conv_create(&l->f32, &l->shape, false, false, false));
    TRY(bg_dnn_conv_pack(l->f32, weights));
    l->call[0] = (struct bg_bench_call){l, call_f32};
    TRY(optional(bg_dnn_int_create(&l->int8, &l->shape)));
    if (l->int8) {
        TRY(bg_dnn_int_pack(l->int8, codes));
        l->call[1] = (struct bg_bench_call){l, call_sums};
    }
    if (bg_train_available())
        TRY(optional(bg_train_conv_create(&l->train, &l->shape, true)));
    if (l->train) {
        bg_train_conv_pack(l->train, codes);
        l->call[2] = (struct bg_bench_call){l, call_train};
        l->call[3] = (struct bg_bench_call){l, call_bf16};
    }
out:
    return rc;
}

static void free_large(struct large *l)
{
    bg_dnn_conv_destroy(l->f32);
    bg_dnn_int_destroy(l->int8);
    bg_train_conv_destroy(l->train);
    bg_arena_destroy(l->arena);
}

static void raise_to(double *figure, double value)
{
    if (value > *figure)
        *figure = value;
}

static enum bg_status measure_rates(struct bg_bench_ceilings *ceilings, double seconds)
{
    static const enum bg_bench_rate rates[KINDS] = {BG_BENCH_F32, BG_BENCH_INT8, BG_BENCH_INT8,
                                                    BG_BENCH_BF16};
    const struct bg_bench_effort effort = {.turns = TURNS, .runs = 2, .seconds = seconds};
    struct large large[SHAPES] = {{.arena = NULL}};
    struct bg_bench_job jobs[SHAPES * KINDS] = {{.self = NULL}};
    int count = 0, shape[SHAPES * KINDS], kind[SHAPES * KINDS];
    enum bg_status rc = BG_OK;

    for (int s = 0; s < SHAPES; s++) {
        TRY(make_large(&large[s], &shapes[s]));
        for (int k = 0; k < KINDS; k++) {
            if (!large[s].call[k].call)
                continue;
            shape[count] = s;
            kind[count] = k;
            jobs[count++] =
                (struct bg_bench_job){.self = &large[s].call[k], .run = bg_bench_run_call};
        }
    }
    TRY(bg_bench_interleave(jobs, count, &effort));
    for (int j = 0; j < count; j++)
        raise_to(&ceilings->rate[rates[kind[j]]],
                 operations_of(&large[shape[j]].shape) / jobs[j].min);
out:
    bg_bench_free(jobs, count);
    for (int s = 0; s < SHAPES; s++)
        free_large(&large[s]);
    return rc;
}

struct copy {
    const float *from;
    float *to;
    int64_t count;
};

static enum bg_status call_copy(void *self)
{
    const struct copy *copy = self;
    bg_kernel_copy(copy->from, copy->count, copy->to);
    return BG_OK;
}

enum bg_status bg_bench_memory_measure(struct bg_bench_ceilings *ceilings, double seconds)
{
    /* 4, 16 and 128 MiB: tensors of a step are that large, and some are still in a cache that all
     * cores share when they are read. */
    static const int64_t counts[COPIES] = {COPY / 32, COPY / 8, COPY};
    const struct bg_bench_effort effort = {.turns = TURNS, .runs = 2, .seconds = seconds};
    struct copy copy[COPIES];
    struct bg_bench_call call[COPIES];
    struct bg_bench_job jobs[COPIES] = {{.self = NULL}};
    float *from = NULL, *to = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&from, COPY, sizeof *from));
    TRY(bg_alloc(&to, COPY, sizeof *to));
    for (int64_t i = 0; i < COPY; i += 1024) /* pages of their own, not the shared one of zeros */
        from[i] = to[i] = 1;
    for (int i = 0; i < COPIES; i++) {
        copy[i] = (struct copy){from, to, counts[i]};
        call[i] = (struct bg_bench_call){&copy[i], call_copy};
        jobs[i] = (struct bg_bench_job){.self = &call[i], .run = bg_bench_run_call};
    }
    TRY(bg_bench_interleave(jobs, COPIES, &effort));
    for (int i = 0; i < COPIES; i++)
        raise_to(&ceilings->memory, 2.0 * (double)counts[i] * sizeof(float) / jobs[i].min);
out:
    bg_bench_free(jobs, COPIES);
    bg_free(from);
    bg_free(to);
    return rc;
}

enum bg_status bg_bench_ceilings_measure(struct bg_bench_ceilings *ceilings, double seconds)
{
    enum bg_status rc = BG_OK;
    TRY(measure_rates(ceilings, 0.8 * seconds));
    TRY(bg_bench_memory_measure(ceilings, 0.2 * seconds));
out:
    return rc;
}

double bg_bench_share(const struct bg_bench_ceilings *ceilings, enum bg_bench_rate rate,
                      double operations, double bytes, double seconds)
{
    double compute = 0, memory = 0;
    if (ceilings->rate[rate] > 0)
        compute = operations / ceilings->rate[rate];
    if (ceilings->memory > 0)
        memory = bytes / ceilings->memory;
    return (compute > memory ? compute : memory) / seconds;
}

json_t *bg_bench_ceilings_json(const struct bg_bench_ceilings *ceilings)
{
    json_t *object = json_object();
    for (int r = 0; r < BG_BENCH_RATES; r++)
        if (ceilings->rate[r] > 0)
            (void)json_object_set_new(object, rate_names[r], json_real(ceilings->rate[r]));
    (void)json_object_set_new(object, "memory", json_real(ceilings->memory));
    return object;
}

void bg_bench_ceilings_print(const struct bg_bench_ceilings *ceilings)
{
    printf("ceilings:");
    for (int r = 0; r < BG_BENCH_RATES; r++)
        if (ceilings->rate[r] > 0)
            printf(" %s %.0f GFLOP/s,", rate_names[r], 1e-9 * ceilings->rate[r]);
    printf(" memory %.1f GB/s (read and written)\n", 1e-9 * ceilings->memory);
}
