/* From penalties to an allocator's problem and back: costs agree with those of the plan, and pins,
 * ties and shared tensors hold. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "policies/budget.h"

#define CLOSE 1e-12 /* relative: sums of at most twenty numbers */

static struct bg_net *make_net(const char *section)
{
    struct bg_sample_spec spec = {28, 28, 1, 10, BG_U8, 0.01F, 100};
    struct bg_document *document = NULL;
    struct bg_net *net = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert_eq(bg_yaml_parse_text(&document, "test", section, strlen(section)), BG_OK);
    cr_assert_eq(
        bg_net_create(&net, bg_document_root(document), &spec, BG_LOSS_CROSS_ENTROPY, 0, &errors),
        BG_OK, "%s", bg_error());
    bg_document_free(document);
    bg_text_free(&errors);
    return net;
}

/* Numbers of no device: dearer by layer, by weight bits, less so by activation bits. */
static const struct bg_latency *latencies(void)
{
    static struct bg_latency table;
    if (table.layers == 0) {
        cr_assert_eq(bg_latency_make(&table, 32), BG_OK);
        for (int i = 0; i < 32; i++)
            for (int w = 1; w < BG_LATENCY_BITS; w++)
                for (int a = 1; a < BG_LATENCY_BITS; a++)
                    *bg_latency_at(&table, i, w, a) = (1 + i % 3) * (3 * w + a);
    }
    return &table;
}

static struct bg_bits_frame frame_of(const struct bg_net *net, int activation_bits,
                                     enum bg_budget_kind kind, double value)
{
    return (struct bg_bits_frame){.net = net,
                                  .candidates = 5,
                                  .bits = {2, 3, 4, 6, 8},
                                  .activation_bits = activation_bits,
                                  .budgets = 1,
                                  .latency = latencies(),
                                  .budget = {{kind, value}}};
}

static int bits_of(const struct bg_plan *plan, int layer, enum bg_role role)
{
    return bg_spec_bits(&plan->layer[layer].spec[role]);
}

/* A value between the least and the most that a kind can cost. */
static double middle(const struct bg_net *net, enum bg_budget_kind kind)
{
    struct bg_plan plan = {0};
    double low = 0, high = 0;
    cr_assert_eq(bg_net_plan(net, 2, 2, &plan), BG_OK);
    cr_assert_eq(bg_budget_cost(net, &plan, kind, latencies(), &low), BG_OK);
    bg_plan_free(&plan);
    cr_assert_eq(bg_net_plan(net, 8, 8, &plan), BG_OK);
    cr_assert_eq(bg_budget_cost(net, &plan, kind, latencies(), &high), BG_OK);
    bg_plan_free(&plan);
    return (low + 2 * high) / 3;
}

/* Does a dearer candidate of some item fit? */
static bool can_raise(const struct bg_allocate_problem *problem, const struct bg_allocation *now)
{
    for (int i = 0; i < problem->items; i++)
        for (int c = 0; c < problem->item[i].candidates; c++) {
            double more = problem->item[i].cost[0][c] - problem->item[i].cost[0][now->choice[i]];
            if (more > 0 && now->cost[0] + more <= problem->budget[0])
                return true;
        }
    return false;
}

Test(budget, costs_are_those_of_the_plan_and_random_plans_use_the_budget)
{
    static const char *const nets[] = {"{name: lenet5}", "{name: resnet, depth: 8}"};
    for (int n = 0; n < 2; n++) {
        struct bg_net *net = make_net(nets[n]);
        for (int kind = 0; kind < BG_BUDGET_KINDS; kind++)
            for (int a = 0; a < 2; a++) {
                double value = middle(net, (enum bg_budget_kind)kind), cost = 0;
                struct bg_bits_frame frame =
                    frame_of(net, a ? 4 : -1, (enum bg_budget_kind)kind, value);
                struct bg_bits_problem bits = {.layers = 0};
                cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK, "%s", bg_error());
                for (uint32_t draw = 0; draw < 10; draw++) {
                    struct bg_allocation answer = {.items = 0};
                    struct bg_plan plan = {0};
                    double own, use = draw % 2 ? 1 : 0.95;
                    cr_assert_eq(bg_bits_random(&bits, use, 5, draw, &answer), BG_OK);
                    cr_assert_eq(bg_bits_plan(&bits, &answer, &plan), BG_OK);
                    cr_assert_eq(
                        bg_budget_cost(net, &plan, (enum bg_budget_kind)kind, latencies(), &cost),
                        BG_OK);
                    own = (answer.cost[0] + bits.problem.outside[0]) / bits.problem.unit[0];
                    cr_assert(fabs(own - cost) <= CLOSE * cost, "%g against %g", own, cost);
                    cr_assert(cost <= value * (1 + CLOSE));
                    cr_assert(can_raise(&bits.problem, &answer) == false ||
                                  (use < 1 && cost >= use * value * (1 - CLOSE)),
                              "%g of %g", cost, value);
                    bg_plan_free(&plan);
                    bg_allocation_free(&answer);
                }
                bg_bits_close(&bits);
            }
        bg_net_destroy(net);
    }
}

Test(budget, pins_groups_and_shared_tensors_hold)
{
    struct bg_net *net = make_net("{name: resnet, depth: 8}");
    int layers = bg_graph_layer_count(net->graph), group[32], shared = 0;
    bool pinned[32] = {true};
    struct bg_bits_frame frame =
        frame_of(net, -1, BG_BUDGET_BOPS_HAWQ, middle(net, BG_BUDGET_BOPS_HAWQ));
    struct bg_bits_problem bits = {.layers = 0};
    cr_assert(layers <= 32);
    for (int i = 0; i < layers; i++)
        group[i] = i;
    group[2] = 1;
    frame.pinned = pinned;
    frame.pinned_bits[0] = 7;
    frame.pinned_bits[1] = 5;
    frame.group = group;
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK, "%s", bg_error());
    for (uint32_t draw = 0; draw < 20; draw++) {
        struct bg_allocation answer = {.items = 0};
        struct bg_plan plan = {0};
        cr_assert_eq(bg_bits_random(&bits, 0.95, 1, draw, &answer), BG_OK);
        cr_assert_eq(bg_bits_plan(&bits, &answer, &plan), BG_OK);
        cr_assert_eq(bits_of(&plan, 0, BG_ROLE_WEIGHT), 7);
        cr_assert_eq(bits_of(&plan, 0, BG_ROLE_ACTIVATION), 5);
        cr_assert_eq(bits_of(&plan, 1, BG_ROLE_WEIGHT), bits_of(&plan, 2, BG_ROLE_WEIGHT));
        cr_assert_eq(bits_of(&plan, 1, BG_ROLE_ACTIVATION), bits_of(&plan, 2, BG_ROLE_ACTIVATION));
        for (int i = 0; i < layers; i++)
            for (int j = 0; j < i; j++)
                if (bg_node_input_at(bg_graph_layer(net->graph, i), 0) ==
                    bg_node_input_at(bg_graph_layer(net->graph, j), 0)) {
                    shared++;
                    cr_assert_eq(bits_of(&plan, i, BG_ROLE_ACTIVATION),
                                 bits_of(&plan, j, BG_ROLE_ACTIVATION));
                }
        bg_plan_free(&plan);
        bg_allocation_free(&answer);
    }
    cr_assert_gt(shared, 0); /* the blocks with a projection */
    bg_bits_close(&bits);
    bg_net_destroy(net);
}

extern const struct bg_allocate_method bg_allocate_exact;

/* All plans of lenet5 by hand: 5 layers of 5 candidates. */
Test(budget, exact_answers_are_the_best_of_all_plans)
{
    struct bg_net *net = make_net("{name: lenet5}");
    static const int bits[] = {2, 3, 4, 6, 8};
    struct bg_penalties penalties = {0};
    struct bg_plan plan = {0}, any = {0};
    double best = HUGE_VAL, value = 3.3;
    struct bg_bits_frame frame = frame_of(net, 8, BG_BUDGET_MEAN_BITS, value);
    struct bg_bits_problem problem = {.layers = 0};
    struct bg_allocation answer = {.items = 0};

    cr_assert_eq(bg_penalties_make(&penalties, 5, bits, 5), BG_OK);
    penalties.speaks[BG_ROLE_WEIGHT] = true;
    for (int i = 0; i < 5; i++)
        for (int c = 0; c < 5; c++)
            *bg_penalties_at(&penalties, i, BG_ROLE_WEIGHT, c) =
                (double)((i * 7 + 3) % 5 + 1) * pow(4, -bits[c]);
    cr_assert_eq(bg_net_plan(net, 8, 8, &any), BG_OK);
    for (int p = 0; p < 3125; p++) {
        double cost = 0;
        for (int i = 0, rest = p; i < 5; i++, rest /= 5)
            any.layer[i].spec[BG_ROLE_WEIGHT].bits = bits[rest % 5];
        cr_assert_eq(bg_budget_cost(net, &any, BG_BUDGET_MEAN_BITS, NULL, &cost), BG_OK);
        if (cost <= value)
            best = fmin(best, bg_bits_objective(&penalties, &any));
    }
    cr_assert_eq(bg_bits_open(&problem, &frame, &penalties), BG_OK);
    cr_assert_eq(bg_allocate_run(&bg_allocate_exact, NULL, &problem.problem, &answer), BG_OK);
    cr_assert_eq(bg_bits_plan(&problem, &answer, &plan), BG_OK);
    cr_assert(answer.optimal);
    cr_assert(fabs(answer.objective - best) <= CLOSE * best);
    cr_assert(fabs(bg_bits_objective(&penalties, &plan) - best) <= CLOSE * best);
    bg_allocation_free(&answer);
    bg_bits_close(&problem);
    bg_plan_free(&plan);
    bg_plan_free(&any);
    bg_penalties_free(&penalties);
    bg_net_destroy(net);
}

Test(budget, infeasible_budgets_name_the_smallest_feasible_one)
{
    struct bg_net *net = make_net("{name: lenet5}");
    struct bg_bits_frame frame = frame_of(net, 8, BG_BUDGET_MEAN_BITS, 1.5);
    struct bg_bits_problem bits = {.layers = 0};
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK);
    cr_assert_eq(bg_bits_check(&bits), BG_E_DATA);
    cr_assert_str_eq(bg_error(),
                     "no plan holds mean-weight-bits 1.5, the smallest feasible one is 2");
    bg_bits_close(&bits);
    frame.budget[0].value = 2;
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK);
    cr_assert_eq(bg_bits_check(&bits), BG_OK);
    bg_bits_close(&bits);
    frame.candidates = 0;
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_E_USAGE);
    bg_net_destroy(net);
}

/* A batch norm before the first layer belongs to none: its two f32 numbers are outside. */
Test(budget, budgets_below_what_is_outside_the_layers_are_quoted_as_asked)
{
    struct bg_net *net = make_net("{layers: [batch-norm, flatten, linear: {out: 10}]}");
    struct bg_bits_frame frame = frame_of(net, 8, BG_BUDGET_BYTES, 1);
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_allocation answer = {.items = 0};

    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK, "%s", bg_error());
    cr_assert_eq(bits.problem.outside[0], 8);
    cr_assert_eq(bg_bits_check(&bits), BG_E_DATA);
    cr_assert_str_eq(bg_error(), "no plan holds bytes 1, the smallest feasible one is 2008");
    cr_assert_eq(bg_bits_random(&bits, 1, 1, 0, &answer), BG_E_DATA);
    cr_assert_eq(bg_allocate_run(&bg_allocate_exact, NULL, &bits.problem, &answer), BG_E_DATA);
    cr_assert_str_eq(bg_error(), "allocate: no plan holds the budget bytes=1; the smallest "
                                 "feasible one is bytes=2008");
    bg_bits_close(&bits);
    bg_net_destroy(net);
}

Test(budget, latency_without_a_table_or_with_holes_is_refused)
{
    struct bg_net *net = make_net("{name: lenet5}");
    struct bg_bits_frame frame = frame_of(net, 8, BG_BUDGET_LATENCY, 1e9);
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_latency holes = {.layers = 0};

    cr_assert_eq(bg_latency_make(&holes, bg_graph_layer_count(net->graph)), BG_OK);
    frame.latency = &holes;
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_E_DATA);
    cr_assert(strstr(bg_error(), "no row of layer conv1 at w8a8"), "%s", bg_error());
    frame.latency = NULL;
    cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_E_DATA);
    cr_assert(strstr(bg_error(), "needs a table"), "%s", bg_error());
    bg_latency_free(&holes);
    bg_net_destroy(net);
}

Test(budget, nothing_rises_above_the_plan_before)
{
    struct bg_net *net = make_net("{name: resnet, depth: 8}");
    struct bg_bits_frame frame = frame_of(net, -1, BG_BUDGET_MEAN_BITS, 16);
    struct bg_plan before = {0};
    int layers = bg_graph_layer_count(net->graph);

    cr_assert_eq(bg_net_plan(net, 8, 8, &before), BG_OK);
    for (int i = 0; i < layers; i++)
        before.layer[i].spec[BG_ROLE_WEIGHT].bits = 2 + i % 5;
    frame.before = &before;
    for (uint32_t draw = 0; draw < 20; draw++) {
        struct bg_bits_problem bits = {.layers = 0};
        struct bg_allocation answer = {.items = 0};
        struct bg_plan plan = {0};
        cr_assert_eq(bg_bits_open(&bits, &frame, NULL), BG_OK, "%s", bg_error());
        cr_assert_eq(bg_bits_random(&bits, 1, 3, draw, &answer), BG_OK);
        cr_assert_eq(bg_bits_plan(&bits, &answer, &plan), BG_OK);
        for (int i = 0; i < layers; i++) {
            /* the budget has room for all: each gets the largest candidate that it may have */
            static const int most[] = {2, 3, 4, 4, 6};
            cr_assert_eq(bits_of(&plan, i, BG_ROLE_WEIGHT), most[i % 5]);
        }
        bg_plan_free(&plan);
        bg_allocation_free(&answer);
        bg_bits_close(&bits);
    }
    before.layer[1].spec[BG_ROLE_WEIGHT].bits = 1;
    struct bg_bits_problem none = {.layers = 0};
    cr_assert_eq(bg_bits_open(&none, &frame, NULL), BG_E_DATA);
    cr_assert(strstr(bg_error(), "no candidate as small as its bits before"), "%s", bg_error());
    bg_plan_free(&before);
    bg_net_destroy(net);
}
