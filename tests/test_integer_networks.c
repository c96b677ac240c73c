/* What is trained is what ships: every network at uniform 8, 4 and 2 bits and in mixed bits, its
 * integer program against the judge, tensor by tensor, on 200 images of Fashion-MNIST (a tenth of
 * them in debug builds). Untrained weights, calibrated: equality does not depend on training, which
 * scripts/check_integers.sh adds, with all 10,000 images. A tenth of the images in the other modes
 * of requantisation. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "datasets/dataset.h"
#include "layers/judge.h"
#include "policies/trainer.h"

#ifdef BG_DEBUG_ARENA
#define IMAGES 20
#else
#define IMAGES 200
#endif

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

extern const struct bg_range_method bg_range_mse;

struct subject {
    struct bg_document *document;
    struct bg_data *data;
    struct bg_net *net;
    struct bg_trainer *trainer;
    struct bg_source *test, *calibration;
    void *range;
};

static void make(struct subject *out, const char *network)
{
    struct bg_text errors;
    struct bg_trainer_config config = {.seed = 1, .batch = 50, .eval_batch = 50};
    char text[512];
    int n = snprintf(text, sizeof text,
                     "data: {name: fashion-mnist, limit: 400, test_limit: %d}\nnetwork: {%s}\n",
                     IMAGES, network);

    *out = (struct subject){.data = NULL};
    bg_text_init(&errors, 1 << 12);
    OK(bg_yaml_parse_text(&out->document, "test", text, (size_t)n));
    const struct bg_yaml *root = bg_document_root(out->document);
    OK(bg_data_open(&out->data, bg_yaml_get(root, "data"), 1, &errors));
    OK(bg_net_create(&out->net, bg_yaml_get(root, "network"), &out->data->spec,
                     BG_LOSS_CROSS_ENTROPY, 0.0, &errors));
    bg_graph_initialise(out->net->graph, 3);
    config.net = out->net;
    OK(bg_trainer_create(&out->trainer, &config));
    OK(bg_loader_create(&out->test, out->data, BG_PART_TEST, 50, false, 1));
    OK(bg_loader_create(&out->calibration, out->data, BG_PART_TRAIN, 100, false, 1));
    OK(bg_alloc(&out->range, 1, bg_range_mse.options_size + 1));
    OK(bg_options_defaults(bg_range_mse.options, out->range));
    bg_text_free(&errors);
}

static void unmake(struct subject *subject)
{
    bg_loader_destroy(subject->test);
    bg_loader_destroy(subject->calibration);
    bg_trainer_destroy(subject->trainer);
    bg_net_destroy(subject->net);
    bg_data_close(subject->data);
    bg_document_free(subject->document);
    bg_free(subject->range);
}

/* Layers that read one tensor (a block's first convolution and its shortcut) have the same bits. */
static void mix(struct bg_plan *plan)
{
    static const int weights[] = {8, 4, 3, 5, 2, 6, 1, 7}, activations[] = {8, 5, 6, 4, 7, 3};

    for (int i = 0; i < plan->count; i++) {
        const char *name = plan->layer[i].name;
        bool shared = strstr(name, "shortcut") != NULL || strstr(name, "b1.conv1") != NULL;
        plan->layer[i].spec[BG_ROLE_WEIGHT].bits = weights[i % 8];
        plan->layer[i].spec[BG_ROLE_ACTIVATION].bits = shared ? 8 : activations[i % 6];
    }
}

/* strict: nothing may be constant, where equality would say nothing. */
static void judge(struct subject *subject, enum bg_requant_mode mode, int64_t images, bool strict,
                  const char *what)
{
    struct bg_graph *graph = subject->net->graph;
    struct bg_integer_model *model = NULL;
    struct bg_integer_program *program = NULL;
    struct bg_judge *judge = NULL;

    OK(bg_integer_model_create(&model, graph, &mode));
    OK(bg_judge_create(&judge, graph, mode));
    OK(subject->test->start(subject->test, 0, 0));
    for (int64_t done = 0; done < images;) {
        struct bg_batch batch;
        OK(subject->test->next(subject->test, &batch));
        batch.size = batch.size < images ? batch.size : images;
        if (program == NULL)
            OK(bg_integer_program_create(&program, model, batch.size, BG_INT_FAST, true));
        OK(bg_integer_program_run(program, &batch));
        OK(bg_judge_batch(judge, &batch, model, program));
        done += batch.size;
    }
    cr_expect(bg_judge_count(judge) > 3);
    for (int i = 0; i < bg_judge_count(judge); i++) {
        const struct bg_judge_tensor one = bg_judge_result(judge, i);
        cr_expect(one.outputs > 0 && one.differ == 0, "%s, %s: %s: %lld of %lld differ", what,
                  bg_requant_mode_name(mode), one.name, (long long)one.differ,
                  (long long)one.outputs);
        cr_expect(!strict || !one.mistrusted, "%s: %s: %g of the codes are one", what, one.name,
                  one.constant);
    }
    bg_judge_destroy(judge);
    bg_integer_program_destroy(program);
    bg_integer_model_destroy(model);
}

static void check(const char *network)
{
    static const char *const names[] = {"8", "4", "2", "mixed"};
    static const int bits[] = {8, 4, 2, 8};
    struct subject subject;

    make(&subject, network);
    for (int p = 0; p < 4; p++) {
        const struct bg_quantize_options options = {.weight_range = &bg_range_mse,
                                                    .activation_range = &bg_range_mse,
                                                    .weight_range_options = subject.range,
                                                    .activation_range_options = subject.range};
        struct bg_plan plan = {0};
        char what[128];
        (void)snprintf(what, sizeof what, "%s, %s bits", network, names[p]);
        OK(bg_net_plan(subject.net, bits[p], bits[p], &plan));
        if (p == 3)
            mix(&plan);
        OK(bg_trainer_apply(subject.trainer, &plan, &options));
        OK(bg_trainer_calibrate(subject.trainer, subject.calibration, 2, true));
        judge(&subject, BG_REQUANT_F32_RNE, IMAGES, bits[p] > 2, what);
        for (int mode = 1; mode < BG_REQUANT_MODES; mode++)
            judge(&subject, (enum bg_requant_mode)mode, IMAGES / 10, false, what);
        bg_plan_free(&plan);
    }
    unmake(&subject);
}

Test(integer_networks, mlp)
{
    check("name: mlp");
}

Test(integer_networks, lenet5)
{
    check("name: lenet5");
}

Test(integer_networks, resnet20)
{
    check("name: resnet, depth: 20");
}

Test(integer_networks, vgg_small)
{
    check("name: vgg-small");
}

Test(integer_networks, mobilenet_small)
{
    check("name: mobilenet-small");
}
