/* Allocators against trying every plan, and the laws they promise: plans within the budgets, bounds
 * below the best plan, more budget never costs more. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "policies/allocate.h"

extern const struct bg_allocate_method bg_allocate_exact, bg_allocate_greedy, bg_allocate_prefix,
    bg_allocate_threshold, bg_allocate_count;

struct draws {
    struct bg_rng rng;
    uint64_t at;
};

static int below(struct draws *d, int limit)
{
    return (int)bg_rng_below(&d->rng, d->at++, (uint32_t)limit);
}

static double uniform(struct draws *d)
{
    return (double)bg_rng_uniform(&d->rng, d->at++);
}

/* Kinds of numbers: small integers (many ties), tenths (which doubles cannot hold), reals, and the
 * ends of what is allowed beside each other. */
static double number(struct draws *d, int kind)
{
    static const double ends[] = {0, 1e98, 1, 1e-300, 5e-324};
    if (kind == 0)
        return below(d, 4);
    if (kind == 1)
        return below(d, 30) / 10.0;
    if (kind == 3)
        return ends[below(d, 5)];
    return uniform(d);
}

/* Budgets between a bit below the least and the largest total. */
static void draw_budgets(struct bg_allocate_problem *p, struct draws *d)
{
    for (int b = 0; b < p->budgets; b++) {
        double low = 0, high = 0;
        for (int i = 0; i < p->items; i++) {
            double least = HUGE_VAL, most = 0;
            for (int j = 0; j < p->item[i].candidates; j++) {
                least = fmin(least, p->item[i].cost[b][j]);
                most = fmax(most, p->item[i].cost[b][j]);
            }
            low += least;
            high += most;
        }
        p->budget[b] = fmax(0, low + (high - low) * (1.2 * uniform(d) - 0.1));
        if (below(d, 3) == 0)
            p->budget[b] = floor(p->budget[b] * 10) / 10;
        (void)snprintf(p->budget_name[b], BG_NAME_MAX, "cost%d", b);
    }
}

static void draw(struct bg_allocate_problem *p, struct draws *d, int items, int candidates,
                 int budgets)
{
    int penalties = below(d, 4), costs = below(d, 4);
    cr_assert(bg_allocate_make(p, items) == BG_OK);
    p->budgets = budgets;
    for (int i = 0; i < items; i++) {
        char name[BG_NAME_MAX];
        (void)snprintf(name, sizeof name, "layer%d", i);
        int n = candidates > 0 ? candidates : 1 + below(d, 5);
        cr_assert(bg_allocate_item_make(&p->item[i], name, n) == BG_OK);
        p->item[i].priority = below(d, 5) == 0 ? (double)NAN : number(d, 0);
        for (int j = 0; j < n; j++) {
            (void)snprintf(p->item[i].label[j], BG_NAME_MAX, "%d", 16 - j);
            p->item[i].penalty[j] = number(d, penalties) - (below(d, 4) == 0 ? 2 : 0);
            for (int b = 0; b < budgets; b++)
                p->item[i].cost[b][j] = below(d, 6) == 0 ? 0 : number(d, costs);
        }
    }
    draw_budgets(p, d);
}

/* Every plan, in sums added in the order of the items. HUGE_VAL when none holds. */
static double try_all(const struct bg_allocate_problem *p, int i, double penalty,
                      const double *cost)
{
    double best = HUGE_VAL;
    if (i == p->items) {
        for (int b = 0; b < p->budgets; b++)
            if (!bg_allocate_within(cost[b], p->budget[b]))
                return HUGE_VAL;
        return penalty;
    }
    for (int j = 0; j < p->item[i].candidates; j++) {
        double next[BG_ALLOCATE_BUDGETS] = {0};
        for (int b = 0; b < p->budgets; b++)
            next[b] = cost[b] + p->item[i].cost[b][j];
        best = fmin(best, try_all(p, i + 1, penalty + p->item[i].penalty[j], next));
    }
    return best;
}

static double brute_force(const struct bg_allocate_problem *p)
{
    const double none[BG_ALLOCATE_BUDGETS] = {0};
    return try_all(p, 0, 0, none);
}

static void draw_small(struct bg_allocate_problem *p, uint64_t instance, int most_budgets)
{
    struct draws d = {.rng = {.seed = instance, .stream = BG_STREAM_TEST}};
    int items = 1 + below(&d, 8);
    draw(p, &d, items, 0, below(&d, most_budgets + 1));
}

Test(allocate, exact_equals_trying_every_plan_on_1000_random_instances)
{
    int infeasible = 0, several = 0;
    for (uint64_t n = 0; n < 1000; n++) {
        struct bg_allocate_problem p;
        struct bg_allocation plan = {0};
        draw_small(&p, n, n < 800 ? 3 : 4);
        double best = brute_force(&p);
        enum bg_status rc = bg_allocate_run(&bg_allocate_exact, NULL, &p, &plan);
        if (isinf(best)) {
            cr_assert(rc == BG_E_DATA && plan.choice == NULL);
            cr_assert(strstr(bg_error(), "no plan holds"), "%s", bg_error());
            infeasible++;
            several += strstr(bg_error(), "at once") != NULL;
        } else {
            cr_assert(rc == BG_OK, "instance %d: %s", (int)n, bg_error());
            cr_assert(plan.objective == best && plan.optimal && plan.bound == best,
                      "instance %d: %.17g, %.17g", (int)n, plan.objective, best);
        }
        bg_allocation_free(&plan);
        bg_allocate_free(&p);
    }
    cr_assert(infeasible > 50 && infeasible < 700 && several > 10, "%d, %d", infeasible, several);
}

/* Each penalty is minus the sum of the costs, so bounds say little and the dynamic programme has to
 * do the work; the last candidate is the first again, so one of two equals must stay. */
Test(allocate, exact_equals_trying_every_plan_where_bounds_say_little)
{
    int solved = 0;
    for (uint64_t n = 0; n < 400; n++) {
        struct draws d = {.rng = {.seed = n, .stream = BG_STREAM_TEST, .step = 5}};
        struct bg_allocate_problem p;
        struct bg_allocation plan = {0};
        draw(&p, &d, 7, 4, 1 + (int)(n % 4));
        for (int i = 0; i < p.items; i++)
            for (int j = 0; j < 4; j++) {
                p.item[i].penalty[j] = 0;
                for (int b = 0; b < p.budgets; b++) {
                    double *cost = p.item[i].cost[b];
                    cost[j] = j < 3 ? below(&d, 40) : cost[0];
                    p.item[i].penalty[j] -= cost[j];
                }
            }
        draw_budgets(&p, &d);
        double best = brute_force(&p);
        enum bg_status rc = bg_allocate_run(&bg_allocate_exact, NULL, &p, &plan);
        cr_assert((rc == BG_OK) == isfinite(best), "instance %d", (int)n);
        if (rc == BG_OK) {
            cr_assert(plan.objective == best && plan.optimal, "instance %d: %.17g, %.17g", (int)n,
                      plan.objective, best);
            solved++;
        }
        bg_allocation_free(&plan);
        bg_allocate_free(&p);
    }
    cr_assert(solved > 150, "%d", solved);
}

/* What every method promises on any instance. */
static void check_laws(const struct bg_allocate_method *method, const struct bg_allocate_problem *p,
                       double best)
{
    struct bg_allocation plan = {0};
    enum bg_status rc = bg_allocate_run(method, NULL, p, &plan);
    cr_assert(rc == BG_OK || rc == BG_E_DATA, "%s: %s", method->name, bg_error());
    if (rc == BG_OK) {
        struct bg_allocation again = plan;
        cr_assert(bg_allocate_evaluate(p, &again));
        cr_assert(again.objective == plan.objective);
        cr_assert(plan.objective >= best, "%s is better than the best", method->name);
        cr_assert(plan.bound <= best, "%s: bound %.17g above the best %.17g", method->name,
                  plan.bound, best);
        cr_assert(!plan.optimal || plan.objective == best);
        for (int i = 0; i < p->items; i++)
            cr_assert(plan.choice[i] >= 0 && plan.choice[i] < p->item[i].candidates);
    } else {
        cr_assert(plan.choice == NULL && strlen(bg_error()) > 10);
    }
    bg_allocation_free(&plan);
}

Test(allocate, every_method_keeps_the_budgets_and_its_bound_is_below_the_best)
{
    for (uint64_t n = 0; n < 500; n++) {
        struct bg_allocate_problem p;
        draw_small(&p, n, 4);
        double best = brute_force(&p);
        for (int m = 0; bg_allocate_methods[m]; m++)
            check_laws(bg_allocate_methods[m], &p, best);
        bg_allocate_free(&p);
    }
}

/* With one budget greedy's way ends at the cheapest plan, so it finds one whenever there is one. */
Test(allocate, greedy_finds_a_plan_for_one_budget_whenever_there_is_one)
{
    for (uint64_t n = 0; n < 300; n++) {
        struct bg_allocate_problem p;
        struct bg_allocation plan = {0};
        draw_small(&p, n, 1);
        bool feasible = isfinite(brute_force(&p));
        enum bg_status rc = bg_allocate_run(&bg_allocate_greedy, NULL, &p, &plan);
        cr_assert((rc == BG_OK) == feasible, "instance %d", (int)n);
        bg_allocation_free(&plan);
        bg_allocate_free(&p);
    }
}

static void check_monotone(const struct bg_allocate_method *method, struct bg_allocate_problem *p)
{
    double last = HUGE_VAL, top[BG_ALLOCATE_BUDGETS];
    memcpy(top, p->budget, sizeof top);
    for (int step = 0; step <= 20; step++) {
        struct bg_allocation plan = {0};
        for (int b = 0; b < p->budgets; b++)
            p->budget[b] = top[b] * (0.3 + 0.05 * step);
        enum bg_status rc = bg_allocate_run(method, NULL, p, &plan);
        cr_assert(rc == BG_OK || (rc == BG_E_DATA && isinf(last)),
                  "%s: no plan with more budget: %s", method->name, bg_error());
        if (rc == BG_OK) {
            cr_assert(plan.objective <= last, "%s: more budget costs more", method->name);
            last = plan.objective;
        }
        bg_allocation_free(&plan);
    }
    memcpy(p->budget, top, sizeof top);
}

Test(allocate, more_budget_never_costs_more)
{
    for (uint64_t n = 0; n < 60; n++) {
        struct draws d = {.rng = {.seed = n, .stream = BG_STREAM_TEST, .step = 1}};
        struct bg_allocate_problem p;
        draw(&p, &d, 12, 0, 1 + below(&d, 2));
        check_monotone(&bg_allocate_exact, &p);
        check_monotone(&bg_allocate_greedy, &p);
        bg_allocate_free(&p);
    }
}

/* A narrow search may miss the best plan; then it must say so, with a bound that is true. */
Test(allocate, a_narrow_exact_search_reports_a_gap_that_holds)
{
    struct bg_yaml *root = NULL;
    struct bg_document *document = NULL;
    const struct bg_allocate_method *method = NULL;
    struct bg_text errors = {0};
    void *options = NULL;
    int open = 0;
    bg_text_init(&errors, 1000);
    cr_assert(bg_yaml_parse_text(&document, "t", "width: 1", 8) == BG_OK);
    root = bg_document_root(document);
    cr_assert(bg_allocate_choose("exact", root, "allocator", &method, &options, &errors) == BG_OK);
    for (uint64_t n = 0; n < 100; n++) {
        struct draws d = {.rng = {.seed = n, .stream = BG_STREAM_TEST, .step = 2}};
        struct bg_allocate_problem p;
        struct bg_allocation narrow = {0}, full = {0};
        draw(&p, &d, 14, 4, 2);
        enum bg_status rc = bg_allocate_run(method, options, &p, &narrow);
        if (bg_allocate_run(&bg_allocate_exact, NULL, &p, &full) != BG_OK) {
            cr_assert(rc == BG_E_DATA);
        } else if (rc == BG_OK) {
            cr_assert(full.optimal);
            cr_assert(narrow.bound <= full.objective && full.objective <= narrow.objective);
            cr_assert(!narrow.optimal || narrow.objective == full.objective);
            open += !narrow.optimal;
        }
        bg_allocation_free(&narrow);
        bg_allocation_free(&full);
        bg_allocate_free(&p);
    }
    cr_assert(open > 5, "only %d searches were cut", open);
    bg_free(options);
    bg_text_free(&errors);
    bg_document_free(document);
}

Test(allocate, large_instances_are_proven)
{
    for (uint64_t n = 0; n < 8; n++) {
        struct draws d = {.rng = {.seed = n, .stream = BG_STREAM_TEST, .step = 3}};
        struct bg_allocate_problem p;
        struct bg_allocation plan = {0};
        cr_assert(bg_allocate_make(&p, 54) == BG_OK);
        p.budgets = 2;
        for (int i = 0; i < 54; i++) { /* 8, 6, 4, 3, 2 bits of layers as they are in networks */
            static const int bits[] = {8, 6, 4, 3, 2};
            double weights = 500 * (1 + below(&d, 64)), macs = weights * (1 + below(&d, 200));
            double sensitivity = exp(6 * uniform(&d) - 6);
            cr_assert(bg_allocate_item_make(&p.item[i], "layer", 5) == BG_OK);
            for (int j = 0; j < 5; j++) {
                p.item[i].penalty[j] = sensitivity * pow(4, -bits[j]) * (0.9 + 0.2 * uniform(&d));
                p.item[i].cost[0][j] = weights * bits[j] / 8;
                p.item[i].cost[1][j] = macs * bits[j] * 8;
            }
            for (int b = 0; b < 2; b++)
                p.budget[b] += p.item[i].cost[b][0] * (0.35 + 0.05 * (double)(n % 4));
        }
        cr_assert(bg_allocate_run(&bg_allocate_exact, NULL, &p, &plan) == BG_OK, "%s", bg_error());
        cr_assert(plan.optimal, "instance %d: bound %.17g, objective %.17g, %lld nodes", (int)n,
                  plan.bound, plan.objective, (long long)plan.nodes);
        cr_assert(plan.nodes < 20000000, "%lld nodes", (long long)plan.nodes);
        bg_allocation_free(&plan);
        bg_allocate_free(&p);
    }
}

/* a: 8, 4, 2 bits; b: 8, 4; c: 8 alone. */
static void make_worked(struct bg_allocate_problem *p)
{
    static const double a[] = {0, 1, 5}, b[] = {0, 3};
    cr_assert(bg_allocate_make(p, 3) == BG_OK);
    cr_assert(bg_allocate_item_make(&p->item[0], "a", 3) == BG_OK);
    cr_assert(bg_allocate_item_make(&p->item[1], "b", 2) == BG_OK);
    cr_assert(bg_allocate_item_make(&p->item[2], "c", 1) == BG_OK);
    p->budgets = 1;
    (void)snprintf(p->budget_name[0], BG_NAME_MAX, "bytes");
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < p->item[i].candidates; j++) {
            (void)snprintf(p->item[i].label[j], BG_NAME_MAX, "%d", 8 >> j);
            p->item[i].cost[0][j] = 8 >> j;
            p->item[i].penalty[j] = i == 0 ? a[j] : i == 1 ? b[j] : 7;
        }
    p->item[0].priority = 2;
    p->item[1].priority = 1;
}

static void expect(const struct bg_allocate_method *method, const struct bg_allocate_problem *p,
                   const char *choices)
{
    struct bg_allocation plan = {0};
    char got[8] = "";
    cr_assert(bg_allocate_run(method, NULL, p, &plan) == BG_OK, "%s", bg_error());
    for (int i = 0; i < p->items; i++)
        got[i] = (char)('0' + plan.choice[i]);
    cr_assert(!strcmp(got, choices), "%s: budget %g: %s, expected %s", method->name, p->budget[0],
              got, choices);
    bg_allocation_free(&plan);
}

Test(allocate, worked_example)
{
    struct bg_allocate_problem p;
    make_worked(&p);
    p.budget[0] = 24;
    expect(&bg_allocate_exact, &p, "000");
    expect(&bg_allocate_prefix, &p, "000");
    p.budget[0] = 20; /* a gives up 4 for 1, b 4 for 3: greedy and exact take a, prefix b */
    expect(&bg_allocate_exact, &p, "100");
    expect(&bg_allocate_greedy, &p, "100");
    expect(&bg_allocate_prefix, &p, "010");
    p.budget[0] = 18; /* a at 2 bits would hold for 5; both at 4 bits cost 4 */
    expect(&bg_allocate_exact, &p, "110");
    expect(&bg_allocate_prefix, &p, "210");
    p.budget[0] = 14;
    expect(&bg_allocate_exact, &p, "210");
    expect(&bg_allocate_count, &p, "210");
    p.item[1].priority = -1;
    p.item[0].priority = (double)NAN; /* never lowered */
    p.budget[0] = 20;
    expect(&bg_allocate_count, &p, "010");
    expect(&bg_allocate_threshold, &p, "010");
    bg_allocate_free(&p);
}

static void expect_refusal(const struct bg_allocate_method *method,
                           const struct bg_allocate_problem *p, const char *sentence)
{
    struct bg_allocation plan = {0};
    cr_assert(bg_allocate_run(method, NULL, p, &plan) == BG_E_DATA);
    cr_assert(!strcmp(bg_error(), sentence), "%s", bg_error());
    cr_assert(plan.choice == NULL);
}

Test(allocate, refusals_name_what_is_wrong)
{
    struct bg_allocate_problem p;
    make_worked(&p);
    p.budget[0] = 13.5;
    expect_refusal(&bg_allocate_exact, &p,
                   "allocate: no plan holds the budget bytes=13.5; the smallest feasible one is "
                   "bytes=14");
    p.budget[0] = (double)NAN;
    expect_refusal(&bg_allocate_exact, &p,
                   "allocate: the budget bytes is nan, expected a finite number from 0 to 1e+100");
    p.budget[0] = 15;
    p.item[0].priority = (double)NAN;
    expect_refusal(&bg_allocate_prefix, &p, "prefix: its plan takes bytes=20, the budget is 15");
    p.item[0].penalty[1] = (double)NAN;
    expect_refusal(&bg_allocate_greedy, &p,
                   "allocate: layer a, candidate 4: the penalty is nan, expected a finite number "
                   "up to 1e+100");
    p.item[0].penalty[1] = 1;
    p.item[1].cost[0][0] = -1;
    expect_refusal(&bg_allocate_greedy, &p,
                   "allocate: layer b, candidate 8: bytes is -1, expected a finite number from 0 "
                   "to 1e+100");
    p.item[1].candidates = 0;
    expect_refusal(&bg_allocate_exact, &p, "allocate: layer b has 0 candidates, expected 1 to 64");
    p.item[1].candidates = 2;
    bg_allocate_free(&p);
    p = (struct bg_allocate_problem){0};
    expect_refusal(&bg_allocate_exact, &p, "allocate: 0 layers, expected 1 to 4096");
}

/* Two budgets that exclude each other: each is named with the value that holds beside the other. */
Test(allocate, budgets_that_exclude_each_other_are_named_with_what_would_hold)
{
    struct bg_allocate_problem p;
    make_worked(&p);
    p.budgets = 2;
    (void)snprintf(p.budget_name[1], BG_NAME_MAX, "ms");
    for (int j = 0; j < 3; j++)
        p.item[0].cost[1][j] = 1 + j; /* fewer bits are slower */
    p.budget[0] = 14;
    p.budget[1] = 2;
    expect_refusal(&bg_allocate_exact, &p,
                   "allocate: no plan holds all 2 budgets at once; feasible beside the others: "
                   "bytes=16 or ms=3");
    p.budget[0] = 16;
    expect(&bg_allocate_exact, &p, "110");
    bg_allocate_free(&p);
}

Test(allocate, decimal_fractions_hold_a_decimal_budget)
{
    struct bg_allocate_problem p;
    make_worked(&p);
    p.item[0].cost[0][0] = 0.1;
    p.item[1].cost[0][0] = 0.2;
    p.item[2].cost[0][0] = 0;
    p.budget[0] = 0.3; /* 0.1 + 0.2 is above 0.3 in doubles */
    expect(&bg_allocate_exact, &p, "000");
    bg_allocate_free(&p);
}

Test(allocate, one_item_pinned_or_free)
{
    struct bg_allocate_problem p;
    make_worked(&p);
    p.items = 1;
    p.budget[0] = 5;
    for (int m = 0; bg_allocate_methods[m]; m++)
        if (bg_allocate_methods[m] != &bg_allocate_threshold)
            expect(bg_allocate_methods[m], &p,
                   bg_allocate_methods[m] == &bg_allocate_exact ||
                           bg_allocate_methods[m] == &bg_allocate_greedy
                       ? "1"
                       : "2");
    cr_assert(bg_allocate_pin(&p.item[0], "16") == BG_E_DATA);
    cr_assert(!strcmp(bg_error(), "allocate: layer a has no candidate '16'"), "%s", bg_error());
    cr_assert(bg_allocate_pin(&p.item[0], "2") == BG_OK);
    p.budget[0] = 3;
    expect(&bg_allocate_exact, &p, "0");
    cr_assert(p.item[0].penalty[0] == 5);
    p.items = 3;
    bg_allocate_free(&p);
}

/* The tied problem's best plan is the best among the plans that agree within each group. */
Test(allocate, tied_items_move_together_and_at_best)
{
    for (uint64_t n = 0; n < 200; n++) {
        struct draws d = {.rng = {.seed = n, .stream = BG_STREAM_TEST, .step = 4}};
        struct bg_allocate_problem p, tied;
        struct bg_allocation plan = {0}, all = {0};
        int group[6], merged[6];
        double best = HUGE_VAL;
        draw(&p, &d, 6, 3, 2);
        p.budget[0] = p.budget[1] = 1e6;
        p.budget[n % 2] = 2 + 10 * uniform(&d);
        for (int i = 0; i < 6; i++) {
            group[i] = below(&d, i + 1);
            group[i] = group[group[i]];
            if (below(&d, 2))
                group[i] = i;
        }
        cr_assert(bg_allocation_make(&all, 6) == BG_OK);
        for (int code = 0; code < 729; code++) {
            bool agree = true;
            for (int i = 0, rest = code; i < 6; i++, rest /= 3) {
                all.choice[i] = rest % 3;
                agree = agree && all.choice[i] == all.choice[group[i]];
            }
            if (agree && bg_allocate_evaluate(&p, &all))
                best = fmin(best, all.objective);
        }
        /* labels in another order, as somebody's table may have them */
        if (group[5] != 5) {
            struct bg_allocate_item *item = &p.item[5];
            double penalty = item->penalty[0], c0 = item->cost[0][0], c1 = item->cost[1][0];
            item->penalty[0] = item->penalty[2];
            item->penalty[2] = penalty;
            item->cost[0][0] = item->cost[0][2];
            item->cost[0][2] = c0;
            item->cost[1][0] = item->cost[1][2];
            item->cost[1][2] = c1;
            (void)snprintf(item->label[0], BG_NAME_MAX, "14");
            (void)snprintf(item->label[2], BG_NAME_MAX, "16");
        }
        cr_assert(bg_allocate_tie(&p, group, &tied, merged) == BG_OK);
        enum bg_status rc = bg_allocate_run(&bg_allocate_exact, NULL, &tied, &plan);
        cr_assert((rc == BG_OK) == isfinite(best));
        if (rc == BG_OK) {
            bg_allocation_free(&all);
            cr_assert(bg_allocate_spread(&p, &tied, merged, &plan, &all) == BG_OK);
            /* sums in another order: a few roundings of numbers up to 6e98 or 32 */
            cr_assert(fabs(all.objective - best) <= 1e-13 + 4e-15 * fabs(best), "%.17g %.17g",
                      all.objective, best);
            for (int i = 0; i < 6; i++)
                cr_assert(!strcmp(p.item[i].label[all.choice[i]],
                                  p.item[group[i]].label[all.choice[group[i]]]));
        }
        bg_allocation_free(&plan);
        bg_allocation_free(&all);
        bg_allocate_free(&tied);
        bg_allocate_free(&p);
    }
}

Test(allocate, tied_items_must_have_the_same_candidates)
{
    struct bg_allocate_problem p, tied;
    const int group[] = {0, 0, 2};
    make_worked(&p);
    cr_assert(bg_allocate_tie(&p, group, &tied, NULL) == BG_E_DATA);
    cr_assert(!strcmp(bg_error(), "allocate: tied layers a and b differ: b has no candidate '2'"),
              "%s", bg_error());
    cr_assert(tied.item == NULL);
    bg_allocate_free(&p);
}

Test(allocate, every_allocation_that_fails_is_reported_and_leaks_nothing)
{
    struct bg_allocate_problem p;
    bool done = false;
    make_worked(&p);
    p.budget[0] = 18;
    for (int m = 0; bg_allocate_methods[m]; m++) {
        done = bg_allocate_methods[m] == &bg_allocate_threshold; /* its plan is above the budget */
        for (uint64_t n = 1; n < 200 && !done; n++) {
            struct bg_allocation plan = {0};
            bg_alloc_fail_at(n);
            enum bg_status rc = bg_allocate_run(bg_allocate_methods[m], NULL, &p, &plan);
            bg_alloc_fail_at(0);
            cr_assert(rc == BG_OK || rc == BG_E_NOMEM);
            cr_assert((rc == BG_OK) == (plan.choice != NULL));
            done = rc == BG_OK;
            bg_allocation_free(&plan);
        }
        cr_assert(done, "%s never came through", bg_allocate_methods[m]->name);
    }
    bg_allocate_free(&p);
}

Test(allocate, unknown_methods_and_options_are_named)
{
    struct bg_text errors = {0};
    const struct bg_allocate_method *method = NULL;
    void *options = NULL;
    bg_text_init(&errors, 1000);
    cr_assert(bg_allocate_choose("exakt", NULL, "allocator", &method, &options, &errors) ==
              BG_E_DATA);
    cr_assert(strstr(errors.at, "unknown allocator 'exakt', did you mean 'exact'?"), "%s",
              errors.at);
    cr_assert(options == NULL);
    bg_text_free(&errors);
}
