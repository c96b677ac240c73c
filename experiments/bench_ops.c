/* `bitgrad bench ops`: the elementwise passes of training, one after the other over one tensor of
 * batch x image elements, in turns, against a streaming copy. Bytes are those a pass must read and
 * write. */
#include <math.h>
#include <stdio.h>

#include "core/kernel.h"
#include "core/mem.h"
#include "core/stats.h"
#include "core/tensor.h"
#include "core/train_kernel.h"
#include "experiments/bench_ceiling.h"

#define CEILING_SECONDS 0.5
#define OPS_SECONDS     15.0
#define CODE_BITS       8
#define ZERO_POINT      3
#define SUMS_MOST       BG_TRAIN_SEEN /* of one reduction of core/train_kernel.h here */

struct ops {
    int64_t rows, channels, n;
    struct bg_arena *arena;
    float *x, *y, *d, *momentum;
    float *a, *b, *c, *mean, *var, *zero; /* [channels] */
    uint8_t *codes, *codes_in, *mask;
    uint16_t *z, *g, *dz;
    double *scratch, *sum, *dot;
    float scale[1];
    struct bg_grid grid;
    struct bg_stats stats;
};

static enum bg_status copy(void *self)
{
    struct ops *o = self;
    bg_kernel_copy(o->x, o->n, o->y);
    return BG_OK;
}
static enum bg_status bn_statistics(void *self)
{
    struct ops *o = self;
    bg_kernel_bn_statistics(o->x, o->rows, o->channels, o->mean, o->var, o->scratch);
    return BG_OK;
}
static enum bg_status bn_normalise(void *self)
{
    struct ops *o = self;
    bg_kernel_scale_shift(o->x, o->rows, o->channels, o->a, o->b, false, o->y);
    return BG_OK;
}
static enum bg_status bn_normalise_relu(void *self)
{
    struct ops *o = self;
    bg_kernel_scale_shift(o->x, o->rows, o->channels, o->a, o->b, true, o->y);
    return BG_OK;
}
static enum bg_status bn_reduce(void *self)
{
    struct ops *o = self;
    bg_kernel_bn_reduce(o->x, o->d, o->rows, o->channels, o->zero, o->a, o->b, o->c, o->scratch);
    return BG_OK;
}
static enum bg_status bn_apply(void *self)
{
    struct ops *o = self;
    bg_kernel_bn_apply(o->x, o->d, o->rows, o->channels, o->zero, o->a, o->a, o->zero, o->zero,
                       o->y);
    return BG_OK;
}
static enum bg_status relu(void *self)
{
    struct ops *o = self;
    bg_kernel_relu(o->x, o->n, o->y);
    return BG_OK;
}
static enum bg_status relu_backward(void *self)
{
    struct ops *o = self;
    bg_kernel_relu_backward(o->x, o->d, o->n, o->y);
    return BG_OK;
}
static enum bg_status add(void *self)
{
    struct ops *o = self;
    bg_kernel_add(o->x, o->d, o->n, o->y);
    return BG_OK;
}
static enum bg_status quantize(void *self)
{
    struct ops *o = self;
    int64_t clipped = 0;
    bg_kernel_project(&o->grid, 0, o->x, o->n, o->y, &clipped);
    return BG_OK;
}
static enum bg_status quantize_backward(void *self)
{
    struct ops *o = self;
    bg_kernel_project_backward(&o->grid, 0, o->x, o->d, o->n, o->y);
    return BG_OK;
}
static enum bg_status encode(void *self)
{
    struct ops *o = self;
    bg_kernel_encode_u8(&o->grid, 0, o->x, o->n, o->codes);
    return BG_OK;
}
static enum bg_status decode(void *self)
{
    struct ops *o = self;
    bg_kernel_decode_u8(o->codes_in, o->n, ZERO_POINT, 0.01f, o->y);
    return BG_OK;
}
static enum bg_status min_max(void *self)
{
    struct ops *o = self;
    float min = 0, max = 0;
    bg_kernel_min_max(o->x, o->n, &min, &max);
    return BG_OK;
}
static enum bg_status statistics(void *self)
{
    struct ops *o = self;
    bg_stats_clear(&o->stats);
    bg_stats_add(&o->stats, o->x, o->n, 1);
    return BG_OK;
}
/* The step is so small that values stay of one size over any number of runs. */
static enum bg_status sgd(void *self)
{
    struct ops *o = self;
    bg_kernel_sgd(o->y, o->momentum, o->d, o->n, 1e-6f, 0.9f, 1e-4f, false);
    return BG_OK;
}

static enum bg_status fast_statistics(void *self)
{
    struct ops *o = self;
    bg_train_statistics(o->z, o->rows, o->channels, o->mean, o->var, o->scratch);
    return BG_OK;
}
static enum bg_status forward(struct ops *o, int terms)
{
    struct bg_train_forward in = {
        .rows = o->rows,
        .channels = o->channels,
        .terms = terms,
        .term = {{.z = o->z, .a = o->a, .b = o->b},
                 {.codes = o->codes_in, .zero_point = ZERO_POINT, .a = o->a, .b = o->b}},
        .zero_point = ZERO_POINT,
        .lo = ZERO_POINT,
        .hi = 255,
        .pass_low = 0,
        .pass_high = 252.5f,
        .codes = o->codes,
        .mask = o->mask};
    bg_train_forward(&in);
    return BG_OK;
}
static enum bg_status fast_forward(void *self)
{
    return forward(self, 1);
}
static enum bg_status fast_forward_add(void *self)
{
    return forward(self, 2);
}
static enum bg_status fast_reduce(void *self)
{
    struct ops *o = self;
    struct bg_train_reduce in = {.rows = o->rows,
                                 .channels = o->channels,
                                 .gradients = 1,
                                 .d = {o->dz},
                                 .mask = o->mask,
                                 .g = o->g,
                                 .terms = 1,
                                 .z = {o->z},
                                 .sum = o->sum,
                                 .dot = {o->dot},
                                 .scratch = o->scratch};
    bg_train_reduce(&in);
    return BG_OK;
}
static enum bg_status fast_observe(void *self)
{
    struct ops *o = self;
    struct bg_stats stats = {0};
    struct bg_train_observe in = {.x = o->dz,
                                  .rows = o->rows,
                                  .channels = o->channels,
                                  .factor = o->a,
                                  .stats = &stats,
                                  .scratch = o->scratch};
    bg_train_observe(&in);
    return BG_OK;
}
static enum bg_status fast_apply(void *self)
{
    struct ops *o = self;
    struct bg_train_apply in = {.rows = o->rows,
                                .channels = o->channels,
                                .g = o->g,
                                .terms = 1,
                                .z = {o->z},
                                .a = {o->a},
                                .b = {o->zero},
                                .c = {o->zero},
                                .dz = {o->dz}};
    bg_train_apply(&in);
    return BG_OK;
}
static enum bg_status to_bf16(void *self)
{
    struct ops *o = self;
    bg_train_from_f32(o->x, o->n, o->dz);
    return BG_OK;
}
static enum bg_status from_bf16(void *self)
{
    struct ops *o = self;
    bg_train_to_f32(o->z, o->n, 0.5f, o->y);
    return BG_OK;
}

/* A mask is one bit of an element. */
static const struct op {
    const char *name, *what;
    double bytes; /* per element */
    enum bg_status (*call)(void *self);
} table[] = {
    {"copy", "f32", 8, copy},
    {"bn-statistics", "f32", 4, bn_statistics},
    {"bn-normalise", "f32", 8, bn_normalise},
    {"bn-normalise-relu", "f32", 8, bn_normalise_relu},
    {"bn-backward-reduce", "f32", 8, bn_reduce},
    {"bn-backward-apply", "f32", 12, bn_apply},
    {"relu", "f32", 8, relu},
    {"relu-backward", "f32", 12, relu_backward},
    {"add", "f32", 12, add},
    {"quantize", "f32 on a grid", 8, quantize},
    {"quantize-backward", "f32", 12, quantize_backward},
    {"encode", "f32 to u8", 5, encode},
    {"decode", "u8 to f32", 5, decode},
    {"min-max", "f32", 4, min_max},
    {"gradient-statistics", "f32", 4, statistics},
    {"sgd", "f32, momentum", 20, sgd},
    {"fast-statistics", "bf16", 2, fast_statistics},
    {"fast-forward", "bf16 to u8, mask", 3.125, fast_forward},
    {"fast-forward-add", "bf16, u8 to u8, mask", 4.125, fast_forward_add},
    {"fast-reduce", "bf16, mask", 6.125, fast_reduce},
    {"fast-apply", "bf16", 6, fast_apply},
    {"fast-observe", "bf16, gradient's sums", 2, fast_observe},
    {"to-bf16", "f32 to bf16", 6, to_bf16},
    {"from-bf16", "bf16 to f32", 6, from_bf16},
};
#define OPS ((int)(sizeof table / sizeof *table))

static enum bg_status allocate_channels(struct ops *o)
{
    float **const lists[] = {&o->a, &o->b, &o->c, &o->mean, &o->var, &o->zero};
    int64_t scratch = bg_kernel_bn_scratch(o->rows, o->channels);
    int64_t more = bg_train_scratch(o->rows, o->channels, SUMS_MOST);
    enum bg_status rc = BG_OK;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        TRY(bg_arena_alloc(o->arena, lists[i], o->channels, sizeof(float)));
    TRY(bg_arena_alloc(o->arena, &o->scratch, scratch > more ? scratch : more, sizeof(double)));
    TRY(bg_arena_alloc(o->arena, &o->sum, o->channels, sizeof(double)));
    TRY(bg_arena_alloc(o->arena, &o->dot, o->channels, sizeof(double)));
    for (int64_t c = 0; c < o->channels; c++) {
        o->a[c] = 0.5f;
        o->b[c] = 0.25f;
    }
out:
    return rc;
}

static enum bg_status make(struct ops *o, const struct bg_bench_setup *setup)
{
    enum bg_status rc = BG_OK;
    o->channels = setup->channels;
    TRY(bg_product(setup->batch, setup->height * setup->width, &o->rows));
    TRY(bg_product(o->rows, o->channels, &o->n));
    TRY(bg_arena_create(&o->arena, "bench"));
    float **const floats[] = {&o->x, &o->y, &o->d, &o->momentum};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        TRY(bg_arena_alloc(o->arena, floats[i], o->n, sizeof(float)));
    TRY(bg_arena_alloc(o->arena, &o->codes, o->n, 1));
    TRY(bg_arena_alloc(o->arena, &o->codes_in, o->n, 1));
    TRY(bg_arena_alloc(o->arena, &o->mask, (o->n + 7) / 8, 1));
    uint16_t **const halves[] = {&o->z, &o->g, &o->dz};
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        TRY(bg_arena_alloc(o->arena, halves[i], o->n, sizeof(uint16_t)));
    TRY(allocate_channels(o));
    for (int64_t i = 0; i < o->n; i++) {
        o->codes_in[i] = (uint8_t)((i * 7919) >> 5);
        o->x[i] = 0.05f * (float)(o->codes_in[i] - 128);
        o->d[i] = 1e-3f * (float)(i % 251 - 125);
        o->z[i] = bg_bf16_from_f32(o->x[i]);
        o->g[i] = o->dz[i] = bg_bf16_from_f32(o->d[i]);
    }
    o->grid.scale = o->scale;
    o->grid.channels = 1;
    TRY(bg_grid_limits(&o->grid, CODE_BITS, false, false));
    TRY(bg_grid_fit(&o->grid, 0, -6, 6, false));
out:
    return rc;
}

static enum bg_status print_json(const struct bg_bench_setup *setup, const struct ops *o,
                                 const struct bg_bench_ceilings *ceilings,
                                 const struct bg_bench_job *jobs)
{
    json_t *root = bg_bench_json(setup, "ops"), *rows = json_array();
    for (int i = 0; i < OPS; i++) {
        json_t *row = json_pack(
            "{s:s, s:s, s:f, s:f}", "op", table[i].name, "what", table[i].what, "bytes_per_element",
            table[i].bytes, "share",
            bg_bench_share(ceilings, BG_BENCH_F32, 0, table[i].bytes * (double)o->n, jobs[i].min));
        bg_bench_json_times(row, &jobs[i]);
        (void)json_array_append_new(rows, row);
    }
    (void)json_object_set_new(root, "elements", json_integer(o->n));
    (void)json_object_set_new(root, "ceilings", bg_bench_ceilings_json(ceilings));
    (void)json_object_set_new(root, "ops", rows);
    return bg_print_json(root, 0);
}

static void print_text(const struct bg_bench_setup *setup, const struct ops *o,
                       const struct bg_bench_ceilings *ceilings, const struct bg_bench_job *jobs)
{
    printf("%lld x %lld elements, %lld threads; GB/s and share by minima\n", (long long)o->rows,
           (long long)o->channels, (long long)setup->threads);
    bg_bench_ceilings_print(ceilings);
    printf("\n%-20s %-21s %11s %11s %7s %7s %7s\n", "op", "", "min ns/elem", "median", "B/elem",
           "GB/s", "share");
    for (int i = 0; i < OPS; i++) {
        double bytes = table[i].bytes * (double)o->n;
        printf("%-20s %-21s %11.4f %11.4f %7.3f %7.1f %5.0f %%\n", table[i].name, table[i].what,
               1e9 * jobs[i].min / (double)o->n, 1e9 * jobs[i].median / (double)o->n,
               table[i].bytes, 1e-9 * bytes / jobs[i].min,
               100 * bg_bench_share(ceilings, BG_BENCH_F32, 0, bytes, jobs[i].min));
    }
    printf("\nAbove 100 %%: tensors that stay in the caches, or a better moment of the machine.\n");
}

enum bg_status bg_bench_ops(const struct bg_bench_setup *setup)
{
    struct ops ops = {.rows = 0};
    struct bg_bench_ceilings ceilings = {.memory = 0};
    struct bg_bench_call calls[OPS];
    struct bg_bench_job jobs[OPS] = {{.self = NULL}};
    struct bg_bench_effort effort = bg_bench_effort_of(setup->steps);
    enum bg_status rc = BG_OK;

    effort.seconds = OPS_SECONDS;
    TRY(make(&ops, setup));
    TRY(bg_bench_memory_measure(&ceilings, CEILING_SECONDS));
    for (int i = 0; i < OPS; i++) {
        calls[i] = (struct bg_bench_call){&ops, table[i].call};
        jobs[i] = (struct bg_bench_job){.self = &calls[i], .run = bg_bench_run_call};
    }
    TRY(bg_bench_interleave(jobs, OPS, &effort));
    TRY(bg_bench_memory_measure(&ceilings, CEILING_SECONDS));
    if (setup->json)
        TRY(print_json(setup, &ops, &ceilings, jobs));
    else
        print_text(setup, &ops, &ceilings, jobs);
out:
    bg_bench_free(jobs, OPS);
    bg_arena_destroy(ops.arena);
    return rc;
}
