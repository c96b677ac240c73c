/* `bitgrad bench layers`: every convolution and linear layer of a network alone, by pass and
 * arithmetic: the primitives that steps are made of, against ceilings measured before and after.
 * Bytes are those of tensors and dense weights, each counted once. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/int_conv.h"
#include "core/mem.h"
#include "core/train_conv.h"
#include "experiments/bench_ceiling.h"
#include "experiments/bench_variant.h"
#include "experiments/latency_file.h"

#define LAYER_SECONDS   0.6
#define CEILING_SECONDS 2.0
#define IMAGE_ZERO      73 /* the code of 0 in images; after a relu it is 0 */

struct layer {
    const char *name;
    struct bg_conv_shape shape;
    int32_t zero_point;
    int64_t in, out, weights; /* elements */
    struct bg_arena *arena;
    struct bg_dnn_conv *f32;
    struct bg_train_conv *fast; /* NULL: not on this CPU, or no such shape */
    struct bg_int_conv *integer;
    float *x, *y, *w, *dw, *dx;
    uint8_t *codes;
    int8_t *weight_codes;
    uint16_t *z, *dx16;
    int32_t *acc;
};

static enum bg_status f32_forward(void *self)
{
    struct layer *l = self;
    return bg_dnn_conv_forward(l->f32, l->x, NULL, l->y);
}
static enum bg_status f32_backward_data(void *self)
{
    struct layer *l = self;
    return bg_dnn_conv_backward_data(l->f32, l->y, l->dx);
}
static enum bg_status f32_backward_weights(void *self)
{
    struct layer *l = self;
    return bg_dnn_conv_backward_weights(l->f32, l->x, l->y, l->dw, NULL);
}
static enum bg_status fast_forward(void *self)
{
    struct layer *l = self;
    return bg_train_conv_forward(l->fast, l->codes, l->zero_point, l->z);
}
static enum bg_status fast_backward_data(void *self)
{
    struct layer *l = self;
    return bg_train_conv_backward_data(l->fast, l->z, l->dx16, false);
}
static enum bg_status fast_backward_weights(void *self)
{
    struct layer *l = self;
    return bg_train_conv_backward_weights(l->fast, l->codes, l->zero_point, l->z, l->dw);
}
static enum bg_status integer_forward(void *self)
{
    struct layer *l = self;
    return bg_int_conv_run(l->integer, l->codes, l->zero_point, l->acc);
}

enum direction { FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS };
enum arithmetic { F32, FAST, INTEGER };
static const char *const direction_names[] = {"forward", "backward-data", "backward-weights"};
static const char *const arithmetic_names[] = {"f32", "fast", "integer"};

static const struct pass {
    enum arithmetic arithmetic;
    enum direction direction;
    enum bg_bench_rate rate;
    int in, out, weight; /* bytes of an element */
    enum bg_status (*call)(void *self);
} passes[] = {{F32, FORWARD, BG_BENCH_F32, 4, 4, 4, f32_forward},
              {F32, BACKWARD_DATA, BG_BENCH_F32, 4, 4, 4, f32_backward_data},
              {F32, BACKWARD_WEIGHTS, BG_BENCH_F32, 4, 4, 4, f32_backward_weights},
              {FAST, FORWARD, BG_BENCH_INT8, 1, 2, 1, fast_forward},
              {FAST, BACKWARD_DATA, BG_BENCH_BF16, 2, 2, 2, fast_backward_data},
              {FAST, BACKWARD_WEIGHTS, BG_BENCH_BF16, 1, 2, 4, fast_backward_weights},
              {INTEGER, FORWARD, BG_BENCH_INT8, 1, 4, 1, integer_forward}};
#define PASSES ((int)(sizeof passes / sizeof *passes))

struct row {
    const char *layer;
    int pass;
    double min, median, operations, bytes;
    char implementation[BG_NAME_MAX];
};

struct table {
    const struct bg_bench_setup *setup;
    struct bg_bench_ceilings ceilings;
    struct row *row;
    int rows;
};

/* Linear layers as 1x1 convolutions of a 1x1 image. */
static enum bg_status read_shape(const struct bg_node *node, int64_t batch,
                                 struct bg_conv_shape *out)
{
    const struct bg_conv2d *conv = bg_node_conv2d_options(node);
    const struct bg_shape *in = bg_node_shape(bg_node_input_at(node, 0));
    *out = (struct bg_conv_shape){.batch = batch,
                                  .in_height = 1,
                                  .in_width = 1,
                                  .in_channels = bg_shape_count(in),
                                  .out_channels = bg_node_shape(node)->dims[2],
                                  .kernel_height = 1,
                                  .kernel_width = 1,
                                  .stride = {1, 1},
                                  .dilation = {1, 1},
                                  .groups = 1};
    if (conv) {
        out->in_height = in->dims[0];
        out->in_width = in->dims[1];
        out->in_channels = in->dims[2];
        out->kernel_height = conv->kernel[0];
        out->kernel_width = conv->kernel[1];
        out->groups = conv->groups;
        for (int i = 0; i < 2; i++) {
            out->stride[i] = conv->stride[i];
            out->padding[i] = conv->padding[i];
            out->dilation[i] = conv->dilation[i];
        }
    }
    return bg_conv_shape_infer(out);
}

static void fill(struct layer *l)
{
    for (int64_t i = 0; i < l->in; i++) {
        l->codes[i] = (uint8_t)((i * 7919) >> 5);
        l->x[i] = 0.01f * (float)l->codes[i];
    }
    for (int64_t i = 0; i < l->weights; i++) {
        l->weight_codes[i] = (int8_t)((i * 104729 >> 5) % 31 - 15);
        l->w[i] = 0.01f * (float)l->weight_codes[i];
    }
    for (int64_t i = 0; i < l->out; i++) {
        l->y[i] = 1e-3f * (float)(i % 251 - 125);
        l->z[i] = bg_bf16_from_f32(l->y[i]);
    }
}

static enum bg_status allocate(struct layer *l)
{
    const struct bg_conv_shape *s = &l->shape;
    enum bg_status rc = BG_OK;

    l->in = s->batch * s->in_height * s->in_width * s->in_channels;
    l->out = s->batch * s->out_height * s->out_width * s->out_channels;
    l->weights =
        s->out_channels * s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
    TRY(bg_arena_create(&l->arena, "bench"));
    TRY(bg_arena_alloc(l->arena, &l->x, l->in, sizeof *l->x));
    TRY(bg_arena_alloc(l->arena, &l->y, l->out, sizeof *l->y));
    TRY(bg_arena_alloc(l->arena, &l->w, l->weights, sizeof *l->w));
    TRY(bg_arena_alloc(l->arena, &l->dw, l->weights, sizeof *l->dw));
    TRY(bg_arena_alloc(l->arena, &l->dx, l->in, sizeof *l->dx));
    TRY(bg_arena_alloc(l->arena, &l->codes, l->in, 1));
    TRY(bg_arena_alloc(l->arena, &l->weight_codes, l->weights, 1));
    TRY(bg_arena_alloc(l->arena, &l->z, l->out, sizeof *l->z));
    TRY(bg_arena_alloc(l->arena, &l->dx16, l->in, sizeof *l->dx16));
    TRY(bg_arena_alloc(l->arena, &l->acc, l->out, sizeof *l->acc));
    fill(l);
out:
    return rc;
}

static enum bg_status open_layer(struct layer *l, const struct bg_node *node, int64_t batch,
                                 bool need_dx)
{
    enum bg_status rc = BG_OK;

    l->name = bg_node_name(node);
    l->zero_point = need_dx ? 0 : IMAGE_ZERO;
    TRY(read_shape(node, batch, &l->shape));
    TRY(allocate(l));
    TRY(bg_dnn_conv_create(&l->f32, &l->shape, false, true, need_dx));
    TRY(bg_dnn_conv_pack(l->f32, l->w));
    TRY(bg_int_conv_create(&l->integer, &l->shape, BG_INT_FAST));
    TRY(bg_int_conv_pack(l->integer, l->weight_codes));
    if (!bg_train_available())
        goto out;
    rc = bg_train_conv_create(&l->fast, &l->shape, need_dx);
    if (rc == BG_E_UNSUPPORTED)
        rc = BG_OK;
    TRY(rc);
    if (l->fast)
        bg_train_conv_pack(l->fast, l->weight_codes);
out:
    return rc;
}

static void close_layer(struct layer *l)
{
    bg_dnn_conv_destroy(l->f32);
    bg_train_conv_destroy(l->fast);
    bg_int_conv_destroy(l->integer);
    bg_arena_destroy(l->arena);
}

static const char *implementation(const struct layer *l, const struct pass *pass)
{
    const char *names[3] = {"", "", ""};
    if (pass->arithmetic == INTEGER)
        return bg_int_conv_implementation(l->integer);
    if (pass->arithmetic == FAST)
        bg_train_conv_implementations(l->fast, &names[0], &names[1], &names[2]);
    else
        bg_dnn_conv_implementations(l->f32, &names[0], &names[1], &names[2]);
    return names[pass->direction] ? names[pass->direction] : "";
}

static void add_row(struct table *table, const struct layer *l, int pass,
                    const struct bg_bench_job *job)
{
    const struct bg_conv_shape *s = &l->shape;
    const struct pass *p = &passes[pass];
    struct row *row = &table->row[table->rows++];
    *row = (struct row){.layer = l->name, .pass = pass, .min = job->min, .median = job->median};
    row->operations = 2.0 * (double)(s->batch * s->out_height * s->out_width) * (double)l->weights;
    row->bytes = (double)(l->in * p->in + l->out * p->out + l->weights * p->weight);
    (void)snprintf(row->implementation, sizeof row->implementation, "%s", implementation(l, p));
}

static enum bg_status time_layer(struct table *table, const struct bg_node *node, bool need_dx)
{
    const struct bg_bench_effort effort = {
        .turns = (table->setup->steps + 3) / 4, .runs = 4, .seconds = LAYER_SECONDS};
    struct layer layer = {.name = NULL};
    struct bg_bench_call calls[PASSES];
    struct bg_bench_job jobs[PASSES] = {{.self = NULL}};
    int pass_of[PASSES], count = 0;
    enum bg_status rc = BG_OK;

    TRY(open_layer(&layer, node, table->setup->batch, need_dx));
    for (int p = 0; p < PASSES; p++) {
        if ((passes[p].direction == BACKWARD_DATA && !need_dx) ||
            (passes[p].arithmetic == FAST && !layer.fast))
            continue;
        calls[count] = (struct bg_bench_call){&layer, passes[p].call};
        pass_of[count] = p;
        jobs[count] = (struct bg_bench_job){.self = &calls[count], .run = bg_bench_run_call};
        count++;
    }
    TRY(bg_bench_interleave(jobs, count, &effort));
    for (int j = 0; j < count; j++)
        add_row(table, &layer, pass_of[j], &jobs[j]);
out:
    bg_bench_free(jobs, count);
    close_layer(&layer);
    return rc;
}

static double share(const struct table *table, const struct row *row)
{
    return bg_bench_share(&table->ceilings, passes[row->pass].rate, row->operations, row->bytes,
                          row->min);
}

static enum bg_status print_json(const struct table *table)
{
    json_t *root = bg_bench_json(table->setup, "layers"), *rows = json_array();
    for (int i = 0; i < table->rows; i++) {
        const struct row *row = &table->row[i];
        const struct pass *pass = &passes[row->pass];
        (void)json_array_append_new(
            rows, json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:s}", "layer", row->layer,
                            "arithmetic", arithmetic_names[pass->arithmetic], "pass",
                            direction_names[pass->direction], "min", row->min, "median",
                            row->median, "operations", row->operations, "bytes", row->bytes,
                            "share", share(table, row), "implementation", row->implementation));
    }
    (void)json_object_set_new(root, "ceilings", bg_bench_ceilings_json(&table->ceilings));
    (void)json_object_set_new(root, "layers", rows);
    return bg_print_json(root, 0);
}

static void print_totals(const struct table *table)
{
    printf("\n%-10s %-17s %9s %9s %10s %9s  %s\n", "all layers", "", "min ms", "median ms",
           "GFLOP/s", "MB", "share of the roofline");
    for (int p = 0; p < PASSES; p++) {
        double min = 0, median = 0, operations = 0, bytes = 0, floor = 0;
        for (int i = 0; i < table->rows; i++) {
            const struct row *row = &table->row[i];
            if (row->pass != p)
                continue;
            min += row->min;
            median += row->median;
            operations += row->operations;
            bytes += row->bytes;
            floor += share(table, row) * row->min;
        }
        if (min > 0)
            printf("%-10s %-17s %9.3f %9.3f %10.0f %9.1f  %5.1f %%\n",
                   arithmetic_names[passes[p].arithmetic], direction_names[passes[p].direction],
                   1e3 * min, 1e3 * median, 1e-9 * operations / min, 1e-6 * bytes,
                   100 * floor / min);
    }
}

static void print_text(const struct table *table)
{
    const struct bg_bench_setup *setup = table->setup;
    printf("%s, batch %lld, %lld threads; GFLOP/s and share by minima\n", setup->model,
           (long long)setup->batch, (long long)setup->threads);
    bg_bench_ceilings_print(&table->ceilings);
    printf("\n%-18s %-8s %-17s %9s %9s %9s %8s %7s  %s\n", "layer", "", "", "min ms", "median ms",
           "GFLOP/s", "MB", "share", "implementation");
    for (int i = 0; i < table->rows; i++) {
        const struct row *row = &table->row[i];
        const struct pass *pass = &passes[row->pass];
        printf("%-18s %-8s %-17s %9.3f %9.3f %9.0f %8.2f %5.1f %%  %s\n", row->layer,
               arithmetic_names[pass->arithmetic], direction_names[pass->direction], 1e3 * row->min,
               1e3 * row->median, 1e-9 * row->operations / row->min, 1e-6 * row->bytes,
               100 * share(table, row), row->implementation);
    }
    print_totals(table);
}

static double forward_min(const struct table *table, const char *layer, enum arithmetic of)
{
    for (int i = 0; i < table->rows; i++) {
        const struct pass *pass = &passes[table->row[i].pass];
        if (pass->arithmetic == of && pass->direction == FORWARD &&
            !strcmp(table->row[i].layer, layer))
            return table->row[i].min;
    }
    return 0;
}

/* Forward passes alone, by minima. */
static enum bg_status write_table(const struct table *table, const struct bg_graph *graph)
{
    const struct bg_bench_setup *setup = table->setup;
    int layers = bg_graph_layer_count(graph);
    struct bg_latency_row *rows = NULL;
    char note[512];
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&rows, layers, sizeof *rows));
    for (int i = 0; i < layers; i++) {
        const char *name = bg_node_name(bg_graph_layer(graph, i));
        rows[i] = (struct bg_latency_row){name, forward_min(table, name, F32),
                                          forward_min(table, name, INTEGER)};
    }
    (void)snprintf(note, sizeof note,
                   "%s, batch %lld, %lld threads: seconds of a forward pass, least of several",
                   setup->model, (long long)setup->batch, (long long)setup->threads);
    TRY(bg_latency_write(setup->table, note, rows, layers));
out:
    bg_free(rows);
    return rc;
}

enum bg_status bg_bench_layers(const struct bg_bench_setup *setup)
{
    struct table table = {.setup = setup};
    struct bg_document *section = NULL;
    struct bg_net *net = NULL;
    int layers = 0;
    enum bg_status rc = BG_OK;

    if (setup->table && bg_file_exists(setup->table))
        FAIL(BG_E_USAGE, "--table %s: exists already", setup->table);
    TRY(bg_bench_net(setup, &section, &net));
    layers = bg_graph_layer_count(net->graph);
    TRY(bg_alloc(&table.row, (int64_t)layers * PASSES, sizeof *table.row));
    TRY(bg_bench_ceilings_measure(&table.ceilings, CEILING_SECONDS));
    for (int i = 0; i < layers; i++)
        TRY(time_layer(&table, bg_graph_layer(net->graph, i), i > 0));
    TRY(bg_bench_ceilings_measure(&table.ceilings, CEILING_SECONDS));
    if (setup->json)
        TRY(print_json(&table));
    else
        print_text(&table);
    if (setup->table)
        TRY(write_table(&table, net->graph));
out:
    bg_free(table.row);
    bg_net_destroy(net);
    bg_document_free(section);
    return rc;
}
