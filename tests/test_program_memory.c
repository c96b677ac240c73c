/* Memory of programs: sharing changes no result, nothing is allocated in a step, and a failed
 * creation leaves nothing behind. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/rng.h"
#include "support_graph.h"

static const struct bg_sample_spec image = {
    .height = 8, .width = 8, .channels = 2, .classes = 3, .dtype = BG_F32};
static const struct support_case residual = {.name = "residual", .build = support_residual};

static struct bg_graph *residual_graph(uint64_t seed)
{
    struct support_case test = residual;

    test.sample = image;
    return support_case_graph(&test, seed);
}

/* One hash of everything a training step gives: loss, logits, all gradients, the input's. */
static uint64_t results(struct bg_program *program)
{
    const struct bg_graph *graph = program->graph;
    const struct bg_tensor *logits = bg_program_logits(program);
    const struct bg_tensor *input = &program->step[0].d_out;
    double loss = bg_program_loss(program);
    uint64_t hash = 14695981039346656037u;

    for (int i = -2; i < bg_graph_param_count(graph); i++) {
        const struct bg_tensor *tensor = i == -2 ? logits : input;
        const uint8_t *bytes = NULL;
        if (i >= 0)
            tensor = &bg_graph_param(graph, i)->grad;
        bytes = tensor->data;
        for (int64_t k = 0; bytes != NULL && k < bg_tensor_count(tensor) * 4; k++)
            hash = (hash ^ bytes[k]) * 1099511628211u;
    }
    return hash ^ (uint64_t)(loss * 1e12);
}

/* Two to four of three nodes (the first a second time) side by side, and a convolution that makes
 * two channels of them. */
static struct bg_node *joined(struct bg_graph *graph, const char *name,
                              struct bg_node *const part[3], int count)
{
    const struct bg_conv2d conv = {
        .out_channels = 2, .kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    struct bg_node *out = NULL;
    char cat[24];

    (void)snprintf(cat, sizeof cat, "cat_%s", name);
    OK(bg_node_concat(graph, cat, (struct bg_node *[]){part[0], part[1], part[2], part[0]}, count,
                      &out));
    OK(bg_node_conv2d(graph, name, out, &conv, &out));
    return out;
}

/* A random graph of convolutions, norms, relus, dropouts, pools, concats, views and many adds over
 * 3x3x2 tensors; what nobody reads is added up at the end. */
static struct bg_graph *random_graph(uint64_t seed, int count)
{
    const struct bg_rng rng = {.seed = seed, .stream = BG_STREAM_TEST};
    const struct bg_conv2d conv = {.out_channels = 2,
                                   .kernel = {3, 3},
                                   .stride = {1, 1},
                                   .padding = {1, 1},
                                   .dilation = {1, 1},
                                   .groups = 1};
    const struct bg_pool2d pool = {.kernel = {3, 3}, .stride = {1, 1}, .padding = {1, 1}};
    const struct bg_sample_spec sample = {
        .height = 3, .width = 3, .channels = 2, .classes = 3, .dtype = BG_F32};
    struct bg_node *node[40], *x = NULL;
    struct bg_graph *graph = NULL;
    bool read[40] = {false};
    int parts = 0;
    char name[16];

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &sample, &node[0]));
    for (int i = 1; i <= count; i++) {
        int a = (int)bg_rng_below(&rng, (uint64_t)(3 * i), (uint32_t)(i < 4 ? i : 4)) +
                (i < 4 ? 0 : i - 4);
        int b = (int)bg_rng_below(&rng, (uint64_t)(3 * i + 1), (uint32_t)i);
        (void)snprintf(name, sizeof name, "n%d", i);
        read[a] = true;
        switch (bg_rng_below(&rng, (uint64_t)(3 * i + 2), 11)) {
        case 0:
            OK(bg_node_conv2d(graph, name, node[a], &conv, &node[i]));
            break;
        case 1:
            OK(bg_node_batch_norm(graph, name, node[a], 1e-3, 0.1, &node[i]));
            break;
        case 2:
        case 3:
            OK(bg_node_relu(graph, name, node[a], &node[i]));
            break;
        case 4:
            OK(bg_node_dropout(graph, name, node[a], 0.2, &node[i]));
            break;
        case 5:
            OK(bg_node_max_pool(graph, name, node[a], &pool, &node[i]));
            break;
        case 6:
            OK(bg_node_relu6(graph, name, node[a], &node[i]));
            break;
        case 7:
        case 8:
            parts = 2 + (i + (int)seed) % 3;
            node[i] =
                joined(graph, name, (struct bg_node *[]){node[a], node[b], node[i / 2]}, parts);
            read[b] = true;
            read[i / 2] = read[i / 2] || parts > 2;
            break;
        default:
            OK(bg_node_add(graph, name, node[a], node[b], &node[i]));
            read[b] = true;
        }
    }
    x = node[count];
    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "sum%d", i);
        if (!read[i])
            OK(bg_node_add(graph, name, x, node[i], &x));
    }
    OK(bg_node_flatten(graph, "flat", x, &x));
    OK(bg_node_linear(graph, "fc", x, 3, true, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.0, &x));
    bg_graph_initialise(graph, seed);
    return graph;
}

static uint64_t results_of(struct bg_graph *graph, const struct bg_program_options *options,
                           const struct bg_batch *batch, unsigned flags)
{
    struct bg_program *program = support_program(graph, options);
    const struct bg_run_moment moment = {.seed = 1, .step = 2, .flags = flags};
    uint64_t hash = 0;

    OK(bg_program_forward(program, batch, &moment));
    if (options->mode == BG_MODE_TRAIN)
        OK(bg_program_backward(program, &moment));
    hash = results(program);
    bg_program_destroy(program);
    return hash;
}

Test(program_memory, sharing_memory_changes_no_bit)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct bg_graph *graph = random_graph(seed, 4 + (int)(seed % 30));
        struct support_batch data;
        struct bg_program_options options = {.batch = 2};
        const struct bg_sample_spec sample = {
            .height = 3, .width = 3, .channels = 2, .classes = 3, .dtype = BG_F32};
        support_batch_make(&data, &sample, 2, seed);
        for (int variant = 0; variant < 8; variant++) {
            uint64_t shared = 0, apart = 0;
            if (variant == 4) /* above 8 bits a graph needs no integer form */
                support_quantize(graph, 4, 9, false);
            options.observe = (variant & 1) != 0;
            options.mode = (variant & 2) != 0 ? BG_MODE_EVAL : BG_MODE_TRAIN;
            options.compute = BG_COMPUTE_EXACT;
            options.keep_values = true;
            apart = results_of(graph, &options, &data.batch, BG_RUN_OBSERVE);
            options.keep_values = false;
            shared = results_of(graph, &options, &data.batch, 0);
            cr_assert(shared == apart, "seed %d, variant %d", (int)seed, variant);
        }
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

Test(program_memory, sharing_memory_saves_memory)
{
    struct bg_graph *graph = residual_graph(1);
    struct bg_program_options options = {.batch = 4, .mode = BG_MODE_EVAL, .keep_values = true};
    struct bg_program *apart = support_program(graph, &options), *shared = NULL;

    options.keep_values = false;
    shared = support_program(graph, &options);
    cr_expect(2 * bg_program_bytes(shared) < bg_program_bytes(apart));
    bg_program_destroy(apart);
    bg_program_destroy(shared);
    bg_graph_destroy(graph);
}

Test(program_memory, steps_allocate_nothing)
{
    struct bg_graph *graph = residual_graph(1);
    struct support_batch data;

    support_batch_make(&data, &image, 4, 1);
    for (int variant = 0; variant < 8; variant++) {
        const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};
        struct bg_program_options options = {.batch = 4,
                                             .mode =
                                                 (variant & 1) != 0 ? BG_MODE_EVAL : BG_MODE_TRAIN,
                                             .compute = (enum bg_compute)((variant >> 1) & 1),
                                             .observe = true};
        struct bg_program *program = NULL;
        uint64_t calls = 0;
        if (variant == 4) { /* from here on with grids, whose ranges a first pass finds */
            struct bg_program_options train = {.batch = 4};
            support_quantize(graph, 4, 8, true);
            (void)results_of(graph, &train, &data.batch, BG_RUN_OBSERVE);
        }
        program = support_program(graph, &options);
        calls = bg_alloc_calls();
        for (int step = 0; step < 3; step++) {
            OK(bg_program_forward(program, &data.batch, &moment));
            if (options.mode == BG_MODE_TRAIN)
                OK(bg_program_backward(program, &moment));
            support_descend(graph, 0.01);
        }
        cr_expect(bg_alloc_calls() == calls, "variant %d", variant);
        bg_program_destroy(program);
    }
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Every allocation on the way to a program fails once: no crash, and the address sanitizer finds no
 * leak. */
Test(program_memory, failing_allocations_leave_nothing_behind)
{
    for (int quantized = 0; quantized < 2; quantized++) {
        for (uint64_t n = 1;; n++) {
            struct bg_graph *graph = residual_graph(1);
            struct bg_program *program = NULL;
            enum bg_status rc = BG_OK;
            if (quantized == 1)
                support_quantize(graph, 4, 8, true);
            bg_alloc_fail_at(n);
            rc = bg_program_create(&program, graph, &(struct bg_program_options){.batch = 2});
            bg_alloc_fail_at(0);
            cr_assert((rc == BG_OK) == (program != NULL));
            cr_assert(rc == BG_OK || rc == BG_E_NOMEM, "%s", bg_error());
            bg_program_destroy(program);
            OK(bg_graph_quantize(graph, NULL, NULL)); /* no program is left */
            bg_graph_destroy(graph);
            cr_assert(n < 1000);
            if (rc == BG_OK && n > 3)
                break;
        }
    }
}
