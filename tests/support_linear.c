/* tests/support_linear.h. */
#include "tests/support_linear.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"

enum bg_status linear_apply(struct linear_fixture *f, const char *plan_text)
{
    struct bg_quantize_options options = {.rounding = BG_ROUND_NEAREST};
    struct bg_plan plan = {0};
    struct bg_text errors;
    enum bg_status rc = BG_OK;
    bg_text_init(&errors, 1024);
    for (int i = 0; i < 2; i++)
        bg_free(f->range_options[i]);
    OK(bg_range_choose(NULL, "min-max", "w", &options.weight_range, &f->range_options[0], &errors));
    OK(bg_range_choose(NULL, "moving-average", "a", &options.activation_range, &f->range_options[1],
                       &errors));
    options.weight_range_options = f->range_options[0];
    options.activation_range_options = f->range_options[1];
    OK(bg_plan_parse(&plan, "plan", plan_text));
    rc = bg_trainer_apply(f->trainer, &plan, &options);
    bg_plan_free(&plan);
    bg_text_free(&errors);
    return rc;
}

void linear_make(struct linear_fixture *f, const char *plan_text)
{
    const struct bg_sample_spec spec = {
        .height = 1, .width = 1, .channels = IN, .classes = OUT, .dtype = BG_F32, .scale = 1};
    const struct bg_rng noise = {.seed = 5, .stream = BG_STREAM_TEST};
    struct bg_node *x = NULL;
    memset(f, 0, sizeof *f);
    for (int i = 0; i < SAMPLES; i++)
        f->labels[i] = i % OUT;
    for (int i = 0; i < SAMPLES * IN; i++)
        f->images[i] = (float)bg_rng_normal(&noise, (uint64_t)i);
    support_source_open(&f->source, &spec, SAMPLES, 8, f->images, f->labels);
    f->net = (struct bg_net){.name = "one", .input = spec};
    OK(bg_graph_create(&f->net.graph));
    OK(bg_node_input(f->net.graph, "input", &spec, &x));
    OK(bg_node_flatten(f->net.graph, "flat", x, &x));
    OK(bg_node_linear(f->net.graph, "fc", x, OUT, true, &x));
    f->net.output = x;
    OK(bg_node_softmax_cross_entropy(f->net.graph, "loss", x, 0, &x));
    bg_graph_initialise(f->net.graph, 1);
    const struct bg_trainer_config config = {
        .net = &f->net, .compute = BG_COMPUTE_EXACT, .seed = 1, .batch = 8, .eval_batch = 8};
    OK(bg_trainer_create(&f->trainer, &config));
    OK(linear_apply(f, plan_text));
}

void linear_take_down(struct linear_fixture *f)
{
    bg_trainer_destroy(f->trainer);
    bg_graph_destroy(f->net.graph);
    bg_free(f->range_options[0]);
    bg_free(f->range_options[1]);
}

struct bg_param *linear_weight(const struct linear_fixture *f)
{
    return bg_graph_layer_weight(f->net.graph, 0);
}

enum bg_status linear_train(struct linear_fixture *f, const char *yaml,
                            struct bg_train_state *state, const struct bg_train_hooks *hooks)
{
    struct bg_train_options options;
    struct bg_document *document = NULL;
    struct bg_text errors;
    enum bg_status rc;
    bg_text_init(&errors, 4096);
    OK(bg_yaml_parse_text(&document, "test", yaml, strlen(yaml)));
    cr_assert(bg_options_read(bg_document_root(document), bg_train_options_table, NULL, "train",
                              &options, &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    rc = bg_trainer_train(f->trainer, &options, &f->source.source, NULL, state, hooks);
    bg_text_free(&errors);
    bg_document_free(document);
    return rc;
}
