/* The networks that `bitgrad bench` times: no pass runs a reference implementation, a step
 * allocates nothing, and in 8 bits all of them train wholly fast where the CPU can. */
#include "autograd/program_private.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/train_conv.h"
#include "layers/net.h"
#include "support_graph.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define BENCHED 128 /* the batch that is timed */
#define STEPPED 8   /* the batch of steps here */

static const char *const networks[] = {"resnet, depth: 20",       "lenet5",    "mlp",
                                       "mlp, hidden: [512, 512]", "vgg-small", "mobilenet-small"};
enum { NETWORKS = sizeof networks / sizeof *networks };

static const struct bg_sample_spec sample = {.height = 28,
                                             .width = 28,
                                             .channels = 1,
                                             .classes = 10,
                                             .dtype = BG_U8,
                                             .scale = 1.0f / 255.0f};

static struct bg_range_method extremes; /* support_min_max, which reads no more than the ends */

static struct bg_net *make(const char *network, int bits)
{
    struct bg_quantize_options options = {.weight_range = &extremes, .activation_range = &extremes};
    struct bg_document *document = NULL;
    struct bg_net *net = NULL;
    struct bg_plan plan = {0};
    struct bg_text errors;
    char text[128];
    int n = snprintf(text, sizeof text, "network: {name: %s}\n", network);

    extremes = support_min_max;
    extremes.extremes = true;
    bg_text_init(&errors, 1 << 12);
    OK(bg_yaml_parse_text(&document, "test", text, (size_t)n));
    OK(bg_net_create(&net, bg_yaml_get(bg_document_root(document), "network"), &sample,
                     BG_LOSS_CROSS_ENTROPY, 0.0, &errors));
    bg_graph_initialise(net->graph, 3);
    if (bits > 0) {
        OK(bg_net_plan(net, bits, bits, &plan));
        OK(bg_graph_quantize(net->graph, &plan, &options));
    }
    bg_plan_free(&plan);
    bg_text_free(&errors);
    bg_document_free(document);
    return net;
}

static struct bg_program *program(struct bg_net *net, int64_t batch, enum bg_compute compute)
{
    return support_program(net->graph, &(struct bg_program_options){.batch = batch,
                                                                    .mode = BG_MODE_TRAIN,
                                                                    .compute = compute,
                                                                    .observe = true});
}

Test(fast_networks, no_pass_is_a_reference)
{
    for (int i = 0; i < NETWORKS; i++)
        for (int bits = 0; bits <= 8; bits += 4) {
            struct bg_net *net = make(networks[i], bits);
            struct bg_program *one =
                program(net, BENCHED, bits == 0 ? BG_COMPUTE_EXACT : BG_COMPUTE_FAST);
            int count = bg_program_implementation_count(one);
            cr_expect(count >= 3);
            cr_expect(bits == 0 || !bg_train_available() || bg_program_fastness(one).whole);
            for (int k = 0; k < count; k++) {
                struct bg_implementation used = bg_program_implementation(one, k);
                cr_expect(strstr(used.forward, "ref") == NULL &&
                              strstr(used.backward_data, "ref") == NULL &&
                              strstr(used.backward_weights, "ref") == NULL,
                          "%s: %s: %s, %s, %s", networks[i], used.node, used.forward,
                          used.backward_data, used.backward_weights);
                cr_expect(used.forward[0] != '\0');
            }
            bg_program_destroy(one);
            bg_net_destroy(net);
        }
}

Test(fast_networks, train_wholly_fast_and_steps_allocate_nothing)
{
    struct support_batch data;
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};

    if (!bg_train_available())
        cr_skip_test("this CPU has no AMX");
    support_batch_make(&data, &sample, STEPPED, 9);
    for (int i = 0; i < NETWORKS; i++) {
        struct bg_net *net = make(networks[i], 8);
        struct bg_program *one = program(net, STEPPED, BG_COMPUTE_FAST);
        struct bg_fastness fastness = bg_program_fastness(one);
        cr_expect(fastness.whole, "%s: %s", networks[i], fastness.why);
        support_step(one, &data.batch, &moment);
        uint64_t calls = bg_alloc_calls();
        for (int step = 0; step < 2; step++) {
            support_descend(net->graph, 0.01);
            support_step(one, &data.batch, &moment);
        }
        cr_expect(bg_alloc_calls() == calls, "%s: %llu allocations", networks[i],
                  (unsigned long long)(bg_alloc_calls() - calls));
        bg_program_destroy(one);
        bg_net_destroy(net);
    }
    support_batch_free(&data);
}
