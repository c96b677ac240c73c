/* Integer models and programs: which graphs have one, what is refused, and that all paths give the
 * same codes. Equality with the definition is the judge's business (test_judge.c). */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/integer_private.h"
#include "core/mem.h"
#include "support_graph.h"

/* Quantizes and gives every activation a range. */
static void calibrate(struct bg_graph *graph, int weight_bits, int activation_bits,
                      const struct bg_batch *batch)
{
    const struct bg_program_options options = {.batch = batch->size, .mode = BG_MODE_TRAIN};
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};
    struct bg_program *program = NULL;

    support_quantize(graph, weight_bits, activation_bits, false);
    program = support_program(graph, &options);
    OK(bg_program_forward(program, batch, &moment));
    bg_program_destroy(program);
}

static bool has_padded_average(const struct bg_graph *graph)
{
    for (int i = 0; i < graph->nodes; i++) {
        const struct bg_pool2d *pool = bg_node_pool2d_options(graph->node[i]);
        if (pool != NULL && graph->node[i]->op == &bg_op_avg_pool &&
            (pool->padding[0] > 0 || pool->padding[1] > 0))
            return true;
    }
    return false;
}

static void run_path(const struct bg_integer_model *model, const struct bg_batch *batch,
                     enum bg_int_path path, bool keep, struct bg_integer_program **out)
{
    OK(bg_integer_program_create(out, model, batch->size, path, keep));
    OK(bg_integer_program_run(*out, batch));
}

static void expect_same(const struct bg_integer_model *model, const struct bg_integer_program *a,
                        const struct bg_integer_program *b, int64_t batch, const char *name)
{
    for (int i = 0; i < model->tensors; i++) {
        const struct bg_integer_tensor *tensor = &model->tensor[i];
        size_t n = (size_t)(batch * bg_shape_count(&tensor->shape));
        if (tensor->real)
            cr_expect(!memcmp(bg_integer_program_logits(a), bg_integer_program_logits(b),
                              n * sizeof(float)),
                      "%s: logits", name);
        else if (bg_integer_program_codes(b, i) != NULL)
            cr_expect(!memcmp(bg_integer_program_codes(a, i), bg_integer_program_codes(b, i), n),
                      "%s: %s", name, tensor->name);
    }
}

Test(integer, every_path_gives_the_same_codes)
{
    static const int bits[][2] = {{8, 8}, {4, 4}, {2, 3}, {1, 8}};

    for (int c = 0; c < support_case_count; c++) {
        for (int b = 0; b < 4; b++) {
            struct bg_graph *graph = support_case_graph(&support_cases[c], 7);
            struct bg_integer_program *program[4] = {NULL};
            struct bg_integer_model *model = NULL;
            struct support_batch data;
            if (has_padded_average(graph)) {
                bg_graph_destroy(graph);
                break;
            }
            support_batch_make(&data, graph->node[0]->attributes, 3, 5);
            calibrate(graph, bits[b][0], bits[b][1], &data.batch);
            cr_expect(bg_graph_is_integer(graph, NULL), "%s", support_cases[c].name);
            OK(bg_integer_model_create(&model, graph, NULL));
            run_path(model, &data.batch, BG_INT_REFERENCE, true, &program[0]);
            run_path(model, &data.batch, BG_INT_OWN, true, &program[1]);
            run_path(model, &data.batch, BG_INT_FAST, true, &program[2]);
            run_path(model, &data.batch, BG_INT_FAST, false, &program[3]);
            for (int p = 1; p < 4; p++)
                expect_same(model, program[0], program[p], 3, support_cases[c].name);
            for (int p = 0; p < 4; p++)
                bg_integer_program_destroy(program[p]);
            bg_integer_model_destroy(model);
            support_batch_free(&data);
            bg_graph_destroy(graph);
        }
    }
}

/* At 8 bits the integers stay close to the same network on simulated codes: nothing is folded away.
 * A logit moves where a code does, by half a step and its rounding: a tenth of the logits' span. */
Test(integer, logits_are_those_of_the_simulation_within_rounding)
{
    for (int c = 0; c < support_case_count; c++) {
        struct bg_graph *graph = support_case_graph(&support_cases[c], 7);
        const struct bg_program_options options = {.batch = 4, .mode = BG_MODE_EVAL};
        struct bg_integer_program *integer = NULL;
        struct bg_integer_model *model = NULL;
        struct bg_program *simulated = NULL;
        struct support_batch data;
        float span = 0.0f;
        if (has_padded_average(graph)) {
            bg_graph_destroy(graph);
            continue;
        }
        support_batch_make(&data, graph->node[0]->attributes, 4, 5);
        calibrate(graph, 8, 8, &data.batch);
        OK(bg_integer_model_create(&model, graph, NULL));
        run_path(model, &data.batch, BG_INT_FAST, false, &integer);
        simulated = support_program(graph, &options);
        OK(bg_program_forward(simulated, &data.batch, NULL));
        const float *a = bg_integer_program_logits(integer);
        const float *b = bg_f32(bg_program_logits(simulated));
        for (int i = 0; i < 12; i++)
            span = fmaxf(span, fabsf(b[i]));
        for (int i = 0; i < 12; i++)
            cr_expect(fabsf(a[i] - b[i]) <= 0.1f * span, "%s: logit %d is %g, simulated %g",
                      support_cases[c].name, i, (double)a[i], (double)b[i]);
        bg_program_destroy(simulated);
        bg_integer_program_destroy(integer);
        bg_integer_model_destroy(model);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

Test(integer, running_and_refreshing_allocate_nothing)
{
    struct bg_graph *graph = support_fork();
    struct bg_integer_program *program = NULL;
    struct bg_integer_model *model = NULL;
    struct support_batch data;
    uint64_t before = 0;

    support_batch_make(&data, graph->node[0]->attributes, 2, 3);
    calibrate(graph, 8, 8, &data.batch);
    OK(bg_integer_model_create(&model, graph, NULL));
    run_path(model, &data.batch, BG_INT_FAST, false, &program);
    before = bg_alloc_calls();
    bg_graph_param(graph, 0)->version++;
    OK(bg_integer_model_refresh(model));
    OK(bg_integer_program_run(program, &data.batch));
    cr_expect(bg_alloc_calls() == before);
    bg_integer_program_destroy(program);
    bg_integer_model_destroy(model);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Weights that changed reach the program with the next refresh and not before. */
Test(integer, a_refresh_brings_new_weights)
{
    struct bg_graph *graph = support_fork();
    struct bg_param *weight = bg_graph_layer_weight(graph, 0);
    struct bg_integer_program *program = NULL;
    struct bg_integer_model *model = NULL;
    struct support_batch data;
    float before[3];

    support_batch_make(&data, graph->node[0]->attributes, 1, 3);
    calibrate(graph, 8, 8, &data.batch);
    OK(bg_integer_model_create(&model, graph, NULL));
    run_path(model, &data.batch, BG_INT_FAST, false, &program);
    memcpy(before, bg_integer_program_logits(program), sizeof before);
    for (int64_t i = 0; i < bg_tensor_count(&weight->value); i++)
        bg_f32(&weight->value)[i] *= i % 2 == 0 ? -1.0f : 0.5f;
    weight->version++;
    OK(bg_integer_program_run(program, &data.batch));
    cr_expect(!memcmp(before, bg_integer_program_logits(program), sizeof before));
    OK(bg_integer_model_refresh(model));
    OK(bg_integer_program_run(program, &data.batch));
    cr_expect(memcmp(before, bg_integer_program_logits(program), sizeof before));
    bg_integer_program_destroy(program);
    bg_integer_model_destroy(model);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

Test(integer, a_model_needs_ranges_and_a_plan)
{
    struct bg_graph *graph = support_fork();
    struct bg_integer_model *model = NULL;
    const char *why = NULL;

    cr_expect(!bg_graph_is_integer(graph, &why) && *why == '\0');
    support_quantize(graph, 8, 8, false);
    cr_expect(bg_graph_is_integer(graph, &why));
    cr_expect(bg_integer_model_create(&model, graph, NULL) == BG_E_USAGE);
    cr_expect(strstr(bg_error(), "has no range yet") != NULL, "%s", bg_error());
    support_quantize(graph, 8, 9, false);
    cr_expect(!bg_graph_is_integer(graph, &why));
    cr_expect_str_eq(why, "layer conv: a has 9 bits, integers are evaluated up to 8");
    support_quantize(graph, 0, 8, false);
    cr_expect(!bg_graph_is_integer(graph, &why));
    cr_expect_str_eq(why, "layer conv: w=f32 has no integer form");
    cr_expect(bg_integer_model_create(&model, graph, NULL) == BG_E_UNSUPPORTED);
    bg_graph_destroy(graph);
}

static enum bg_status quantize(struct bg_graph *graph, const char *requant)
{
    struct bg_quantize_options options = {.weight_range = &support_min_max,
                                          .activation_range = &support_min_max};
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    support_plan(&plan, graph, 8, 8);
    OK(bg_text_copy(plan.requant, sizeof plan.requant, requant));
    rc = bg_graph_quantize(graph, &plan, &options);
    bg_plan_free(&plan);
    return rc;
}

/* 8 x 8 bits: 255 * 127 * 66312 is the first sum of a length that leaves s32. */
Test(integer, an_accumulator_that_could_overflow_is_refused)
{
    for (int64_t width = 66311; width <= 66312; width++) {
        const struct bg_sample_spec spec = {.height = 1,
                                            .width = width,
                                            .channels = 1,
                                            .classes = 3,
                                            .dtype = BG_U8,
                                            .scale = 1.0f};
        struct bg_graph *graph = NULL;
        struct bg_node *x = NULL;

        OK(bg_graph_create(&graph));
        OK(bg_node_input(graph, "input", &spec, &x));
        OK(bg_node_linear(graph, "wide", x, 3, true, &x));
        OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.0, &x));
        if (width == 66311) {
            OK(quantize(graph, "f32-rne"));
        } else {
            cr_expect(quantize(graph, "f32-rne") == BG_E_UNSUPPORTED);
            cr_expect_str_eq(bg_error(), "wide: 66312 products of codes up to 255 x 127 can reach "
                                         "2147514120, an accumulator holds 2147483647");
        }
        bg_graph_destroy(graph);
    }
}

Test(integer, what_has_no_integer_form_is_refused_with_its_name)
{
    const struct bg_pool2d padded = {.kernel = {2, 2}, .stride = {1, 1}, .padding = {1, 1}};
    struct bg_node *x = NULL, *y = NULL, *sum = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);

    OK(bg_node_avg_pool(graph, "average", x, &padded, &x));
    support_finish(graph, x);
    cr_expect(quantize(graph, "f32-rne") == BG_E_UNSUPPORTED);
    cr_expect_str_eq(bg_error(),
                     "average: an average with padding 1x1 has no integer form (limit is 0)");
    bg_graph_destroy(graph);

    graph = support_start(BG_F32, 0, &x);
    sum = support_conv(graph, "c0", x);
    for (int i = 1; i < 5; i++) {
        char name[8] = {'c', (char)('0' + i)}, at[8] = {'s', (char)('0' + i)};
        y = support_conv(graph, name, x);
        OK(bg_node_add(graph, at, sum, y, &sum));
    }
    support_finish(graph, sum);
    cr_expect(quantize(graph, "f32-rne") == BG_E_UNSUPPORTED);
    cr_expect_str_eq(bg_error(), "s4 has no integer form: it is a sum of more than 4 terms");
    bg_graph_destroy(graph);

    graph = support_fork();
    cr_expect(quantize(graph, "banker") == BG_E_DATA);
    bg_graph_destroy(graph);
}

/* A norm with a negative factor: f32-rne keeps the weights, the others negate them and m. */
Test(integer, a_negative_norm_negates_weights_where_m_must_be_positive)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    const enum bg_requant_mode single = BG_REQUANT_FIXED_SINGLE;
    struct bg_integer_model *plain = NULL, *fixed = NULL;
    struct support_batch data;
    const struct bg_integer_step *a, *b;

    x = support_conv(graph, "conv", x);
    OK(bg_node_batch_norm(graph, "norm", x, 1e-5, 0.1, &x));
    support_finish(graph, x);
    bg_f32(&bg_graph_param_find(graph, "norm.gamma")->value)[1] = -0.5f;
    support_batch_make(&data, graph->node[0]->attributes, 2, 3);
    calibrate(graph, 8, 8, &data.batch);
    OK(bg_integer_model_create(&plain, graph, NULL));
    OK(bg_integer_model_create(&fixed, graph, &single));
    a = &plain->step[1];
    b = &fixed->step[1];
    cr_assert_str_eq(a->name, "norm");
    cr_expect(a->requant.term[0].m[0] > 0.0f && a->requant.term[0].m[1] < 0.0f);
    for (int o = 0; o < 2; o++) {
        cr_expect(b->requant.term[0].m[o] == fabsf(a->requant.term[0].m[o]));
        cr_expect(b->requant.term[0].c[o] == a->requant.term[0].c[o]);
        for (int i = 0; i < 18; i++)
            cr_expect(b->term[0].weights[18 * o + i] ==
                      (o == 0 ? 1 : -1) * a->term[0].weights[18 * o + i]);
    }
    bg_integer_model_destroy(plain);
    bg_integer_model_destroy(fixed);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}
