/* Plans on graphs: where grids stand, who may share one, and what is kept. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/method.h"
#include "support_graph.h"

static const struct bg_quantize_options min_max = {.weight_range = &support_min_max,
                                                   .activation_range = &support_min_max};

static const struct bg_quantizer *at(const struct bg_graph *graph, const char *node)
{
    return bg_graph_find(graph, node)->quantizer;
}

static void set_bits(const struct bg_plan *plan, const char *layer, enum bg_role role, int bits)
{
    struct bg_spec *spec = &bg_plan_find(plan, layer)->spec[role];

    *spec = (struct bg_spec){bits == 0 ? BG_FORMAT_F32 : BG_FORMAT_INTEGER, bits,
                             role == BG_ROLE_WEIGHT};
}

/* relu, pool, dropout, flatten before a layer: one grid, at the relu. */
Test(quantize, grid_stands_where_values_are_made)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    const struct bg_pool2d window = {.kernel = {2, 2}, .stride = {2, 2}};

    x = support_conv(graph, "conv", x);
    OK(bg_node_relu(graph, "relu", x, &x));
    OK(bg_node_max_pool(graph, "pool", x, &window, &x));
    OK(bg_node_dropout(graph, "drop", x, 0.5, &x));
    OK(bg_node_flatten(graph, "flat", x, &x));
    support_finish(graph, x);
    support_quantize(graph, 4, 6, false);
    cr_expect(bg_graph_quantizer_count(graph) == 4);
    cr_expect(at(graph, "relu") != NULL && at(graph, "input") != NULL);
    cr_expect(at(graph, "pool") == NULL && at(graph, "drop") == NULL && at(graph, "flat") == NULL);
    cr_expect(bg_graph_layer_input_quantizer(graph, 1) == at(graph, "relu"));
    cr_expect_str_eq(at(graph, "relu")->name, "relu");
    cr_expect(at(graph, "relu")->spec.bits == 6 && at(graph, "relu")->grid.qmax == 63);
    cr_expect(at(graph, "relu")->n == 72 && !at(graph, "relu")->fixed);
    cr_expect_str_eq(bg_graph_quantizer(graph, 0)->name, "input");
    cr_expect_str_eq(bg_graph_quantizer(graph, 1)->name, "conv.weight");
    cr_expect(bg_graph_quantizer(graph, 1) == bg_graph_layer_weight(graph, 0)->quantizer);
    cr_expect(bg_graph_quantizer(graph, 1)->grid.channels == 2);
    cr_expect(bg_graph_quantizer(graph, 1)->grid.qmin == -7);
    OK(bg_graph_quantize(graph, NULL, NULL));
    cr_expect(bg_graph_quantizer_count(graph) == 0 && at(graph, "relu") == NULL);
    cr_expect(bg_graph_layer_weight(graph, 0)->forward.data ==
              bg_graph_layer_weight(graph, 0)->value.data);
    bg_graph_destroy(graph);
}

/* A residual block: the identity branch is codes, what comes straight from a norm is not; a pool
 * has a grid of its own and asks one of its input. */
Test(quantize, adds_and_pools_ask_their_inputs)
{
    struct bg_node *x = NULL, *y = NULL, *skip = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);

    OK(bg_node_relu(graph, "identity", x, &skip)); /* read by the add alone, no layer */
    y = support_conv(graph, "conv", x);
    OK(bg_node_batch_norm(graph, "norm", y, 1e-5, 0.1, &y));
    OK(bg_node_add(graph, "add", y, skip, &x));
    OK(bg_node_relu(graph, "relu", x, &x));
    OK(bg_node_global_pool(graph, "global", x, &x));
    support_finish(graph, x);
    support_quantize(graph, 0, 8, false);
    cr_expect(at(graph, "global") != NULL && at(graph, "relu") != NULL);
    cr_expect(at(graph, "identity") != NULL);
    cr_expect(at(graph, "norm") == NULL && at(graph, "add") == NULL && at(graph, "conv") == NULL);
    cr_expect(bg_graph_layer_weight(graph, 0)->quantizer == NULL);
    bg_graph_destroy(graph);
}

Test(quantize, raw_bytes_keep_their_own_grid)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_U8, 30, &x);
    struct bg_plan plan;

    support_finish(graph, support_conv(graph, "conv", x));
    support_quantize(graph, 8, 8, false);
    cr_assert(at(graph, "input") != NULL);
    cr_expect(at(graph, "input")->fixed && at(graph, "input")->range == NULL);
    cr_expect(at(graph, "input")->grid.scale[0] == 0.01f &&
              at(graph, "input")->grid.zero_point == 30);
    cr_expect(at(graph, "conv") != NULL && !at(graph, "conv")->fixed);
    support_plan(&plan, graph, 8, 8);
    set_bits(&plan, "conv", BG_ROLE_ACTIVATION, 5);
    OK(bg_graph_quantize(graph, &plan, &min_max));
    cr_expect(!at(graph, "input")->fixed && at(graph, "input")->spec.bits == 5);
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

static void expect_refused(struct bg_graph *graph, const struct bg_plan *plan, enum bg_status code,
                           const char *sentence)
{
    const struct bg_quantizer *kept = at(graph, "relu");
    int quantizers = bg_graph_quantizer_count(graph), params = bg_graph_param_count(graph);

    cr_expect(bg_graph_quantize(graph, plan, &min_max) == code, "%s", sentence);
    cr_expect_str_eq(bg_error(), sentence);
    cr_expect(bg_graph_quantizer_count(graph) == quantizers && at(graph, "relu") == kept);
    cr_expect(bg_graph_param_count(graph) == params);
}

Test(quantize, refusals_name_layers_and_change_nothing)
{
    struct bg_graph *graph = support_fork();
    struct bg_plan plan;

    support_quantize(graph, 4, 8, true); /* something to keep */
    support_plan(&plan, graph, 4, 8);
    set_bits(&plan, "two", BG_ROLE_ACTIVATION, 4);
    expect_refused(graph, &plan, BG_E_DATA,
                   "layers one (a=u8) and two (a=u4) read the same tensor, the output of relu: it "
                   "can have one grid only");
    set_bits(&plan, "two", BG_ROLE_ACTIVATION, 0);
    expect_refused(graph, &plan, BG_E_DATA,
                   "layers one (a=u8) and two (a=f32) read the same tensor, the output of relu: it "
                   "can have one grid only");
    set_bits(&plan, "two", BG_ROLE_ACTIVATION, 8);
    set_bits(&plan, "fc", BG_ROLE_ACTIVATION, 1);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer fc: a=u1 needs an input without negative values, the output of add can "
                   "have some");
    set_bits(&plan, "fc", BG_ROLE_ACTIVATION, 8);
    set_bits(&plan, "one", BG_ROLE_OUT_GRAD, 1);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer one: g=s1: integer gradients have 2 to 16 bits");
    set_bits(&plan, "one", BG_ROLE_OUT_GRAD, 0);
    set_bits(&plan, "one", BG_ROLE_WEIGHT_GRAD, 17);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer one: dw=s17: integer gradients have 2 to 16 bits");
    set_bits(&plan, "one", BG_ROLE_WEIGHT_GRAD, 0);
    plan.layer[1].spec[BG_ROLE_ACTIVATION].format = BG_FORMAT_BF16;
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer one: a=bf16 is not available, gradients alone are bf16");
    plan.layer[1].spec[BG_ROLE_ACTIVATION].format = BG_FORMAT_INTEGER;
    memcpy(plan.layer[2].update, "residual", 9);
    plan.layer[2].update_bits = 25;
    expect_refused(graph, &plan, BG_E_RANGE, "layer two: u=residual:25: 25 bits, limit is 24");
    plan.layer[2].update_bits = 8;
    set_bits(&plan, "two", BG_ROLE_WEIGHT, 1);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer two: u=residual:8 moves weights of 2 to 16 bits, the layer has w=s1");
    set_bits(&plan, "two", BG_ROLE_WEIGHT, 0);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer two: u=residual:8 moves integer weights, the layer has w=f32");
    set_bits(&plan, "two", BG_ROLE_WEIGHT, 4);
    memcpy(plan.layer[2].update, "sgd", 4);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "layer two: u=sgd:8: sgd keeps f32 weights and has no bits");
    plan.layer[2].update_bits = 0;
    memcpy(plan.requant, "pow2-rne", 9);
    set_bits(&plan, "one", BG_ROLE_WEIGHT, 9);
    expect_refused(graph, &plan, BG_E_UNSUPPORTED,
                   "requant pow2-rne needs integers everywhere: layer one: w has 9 bits, integers "
                   "are evaluated up to 8");
    set_bits(&plan, "one", BG_ROLE_WEIGHT, 4);
    memcpy(plan.requant, "banker", 7);
    expect_refused(graph, &plan, BG_E_DATA,
                   "the plan asks for requant banker, there is f32-rne, fixed-single, fixed-double "
                   "and pow2-rne");
    memcpy(plan.requant, "f32-rne", 8);
    memcpy(plan.layer[0].name, "convx", 6);
    expect_refused(graph, &plan, BG_E_DATA,
                   "the plan names layer convx, the network has no such layer (nearest: conv)");
    memcpy(plan.layer[0].name, "relu", 5);
    cr_expect(bg_graph_quantize(graph, &plan, &min_max) == BG_E_DATA); /* no weighted layer */
    memcpy(plan.layer[0].name, "conv", 5);
    plan.count = 3;
    expect_refused(graph, &plan, BG_E_DATA,
                   "the plan has no line for layer fc (3 of the network's 4 layers are named)");
    plan.count = 4;
    cr_expect(bg_graph_quantize(graph, &plan, NULL) == BG_E_USAGE);
    cr_expect(bg_graph_quantize(graph, &plan,
                                &(struct bg_quantize_options){.weight_range = &support_min_max}) ==
              BG_E_USAGE);
    OK(bg_graph_quantize(graph, &plan, &min_max));
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

/* Of two names that are near enough, the nearer one is told. */
Test(quantize, an_unknown_layer_is_answered_with_the_nearest_name)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct bg_plan plan;

    x = support_conv(graph, "stage1.a", x);
    support_finish(graph, support_conv(graph, "stage2.b", x));
    support_plan(&plan, graph, 8, 8);
    memcpy(plan.layer[1].name, "stage2.c", 9);
    cr_expect(bg_graph_quantize(graph, &plan, &min_max) == BG_E_DATA);
    cr_expect_str_eq(
        bg_error(),
        "the plan names layer stage2.c, the network has no such layer (nearest: stage2.b)");
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

/* The activation acts on the sum of a pool before it is requantised: so behind a relu too the pool
 * reads codes, and the one grid behind it stands at the relu. */
Test(quantize, a_pool_behind_a_relu_asks_its_input)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);

    x = support_conv(graph, "conv", x);
    OK(bg_node_global_pool(graph, "global", x, &x));
    OK(bg_node_relu(graph, "relu", x, &x));
    support_finish(graph, x);
    support_quantize(graph, 8, 8, false);
    cr_expect(at(graph, "relu") != NULL && at(graph, "conv") != NULL);
    cr_expect(at(graph, "global") == NULL);
    bg_graph_destroy(graph);
}

/* A pool with a grid of its own is read as codes by the relu behind it: other bits of that relu ask
 * nothing of the pool's input. */
Test(quantize, a_relu_asks_nothing_through_a_grid)
{
    struct bg_node *x = NULL, *y = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct bg_plan plan;

    x = support_conv(graph, "conv", x);
    OK(bg_node_global_pool(graph, "global", x, &x));
    OK(bg_node_relu(graph, "relu", x, &y));
    OK(bg_node_linear(graph, "one", x, 2, false, &x));
    OK(bg_node_linear(graph, "two", y, 2, false, &y));
    OK(bg_node_add(graph, "add", x, y, &x));
    support_finish(graph, x);
    support_plan(&plan, graph, 8, 8);
    set_bits(&plan, "two", BG_ROLE_ACTIVATION, 4);
    OK(bg_graph_quantize(graph, &plan, &min_max));
    cr_expect(at(graph, "relu")->spec.bits == 4);
    cr_expect(at(graph, "global")->spec.bits == 8 && at(graph, "conv")->spec.bits == 8);
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

/* A layer's own demand on a tensor wins over what an add behind it asks. */
Test(quantize, a_layers_demand_wins_over_an_adds)
{
    struct bg_node *x = NULL, *y = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct bg_plan plan;

    OK(bg_node_relu(graph, "relu", x, &x));
    y = support_conv(graph, "conv", x);
    OK(bg_node_add(graph, "add", y, x, &y));
    OK(bg_node_relu(graph, "relu2", y, &y));
    support_finish(graph, y);
    support_plan(&plan, graph, 0, 8);
    set_bits(&plan, "conv", BG_ROLE_ACTIVATION, 4);
    OK(bg_graph_quantize(graph, &plan, &min_max));
    cr_expect(at(graph, "relu")->spec.bits == 4 && at(graph, "relu2")->spec.bits == 8);
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

Test(quantize, unchanged_specs_keep_their_range)
{
    struct bg_graph *graph = support_fork();
    struct bg_quantizer *relu = NULL;
    const struct bg_quantizer *add = NULL;
    struct bg_plan plan;

    support_quantize(graph, 8, 8, false);
    relu = bg_graph_find(graph, "relu")->quantizer;
    add = at(graph, "add");
    relu->hi[0] = 3.0f;
    relu->observed = 5;
    support_plan(&plan, graph, 4, 8); /* other weights, same activations but one */
    set_bits(&plan, "fc", BG_ROLE_ACTIVATION, 6);
    OK(bg_graph_quantize(graph, &plan, &min_max));
    cr_expect(at(graph, "relu") == relu && relu->hi[0] == 3.0f && relu->observed == 5);
    cr_expect(at(graph, "add") != add && at(graph, "add")->observed == 0);
    cr_expect(bg_graph_layer_weight(graph, 0)->quantizer->spec.bits == 4);
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}

Test(quantize, learned_steps_come_and_go_with_the_plan)
{
    struct bg_graph *graph = support_fork();
    int params = bg_graph_param_count(graph);

    support_quantize(graph, 4, 8, true);
    /* four weights, and the tensors input, relu and add */
    cr_expect(bg_graph_param_count(graph) == params + 7);
    cr_assert(bg_graph_param_find(graph, "conv.weight.step") != NULL);
    cr_expect(bg_graph_param_find(graph, "conv.weight.step")->value.shape.dims[0] == 2);
    cr_expect(bg_graph_param_find(graph, "relu.step")->kind == BG_PARAM_STEP);
    support_quantize(graph, 4, 8, false);
    cr_expect(bg_graph_param_count(graph) == params);
    OK(bg_graph_quantize(graph, NULL, NULL));
    cr_expect(bg_graph_param_count(graph) == params);
    bg_graph_destroy(graph);
}

Test(quantize, failing_allocations_leave_the_graph_as_it_was)
{
    struct bg_graph *graph = support_fork();
    struct bg_plan plan;
    int params = bg_graph_param_count(graph);
    const struct bg_quantize_options learned = {.weight_range = &support_learned,
                                                .activation_range = &support_learned};

    support_plan(&plan, graph, 4, 8);
    for (uint64_t n = 1; n < 500; n++) {
        enum bg_status rc = BG_OK;
        bg_alloc_fail_at(n);
        rc = bg_graph_quantize(graph, &plan, &learned);
        bg_alloc_fail_at(0);
        cr_assert(rc == BG_OK || rc == BG_E_NOMEM);
        cr_assert(bg_graph_param_count(graph) == params + (rc == BG_OK ? 7 : 0));
        cr_assert(bg_graph_quantizer_count(graph) == (rc == BG_OK ? 7 : 0));
        if (rc == BG_OK)
            break;
        cr_assert(n < 400);
    }
    bg_plan_free(&plan);
    bg_graph_destroy(graph);
}
