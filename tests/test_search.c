/* From a ranking to a plan: the prefix search of policies/METHODS.md,
 * sorting, pinning, and the plan of a prefix. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "policies/select.h"

/* drop[k] for k = 1..m; the predicate is drop <= tau, and remembers what was asked. */
struct drops {
    const double *drop;
    double tau;
    int m;
    int asked[128], count;
    bool passed[128];
};

static enum bg_status drops_ok(void *self, int k, bool *passed)
{
    struct drops *d = self;
    cr_assert(k >= 1 && k <= d->m, "asked about %d of %d", k, d->m);
    for (int i = 0; i < d->count; i++)
        cr_assert(d->asked[i] != k, "asked twice about %d", k);
    d->asked[d->count++] = k;
    *passed = d->drop[k] <= d->tau;
    d->passed[k] = *passed;
    return BG_OK;
}

static int search_with(enum bg_search search, struct drops *d)
{
    const struct bg_prefix_test test = {.self = d, .ok = drops_ok};
    int k = -1, evaluations = -1;
    cr_assert(bg_prefix_search(search, d->m, &test, &k, &evaluations) == BG_OK);
    cr_assert(evaluations == d->count);
    return k;
}

static const double worked[] = {0, 0.1, 0.2, 0.4, 0.9, 1.3, 2.0, 4.0};

Test(search, worked_vector_asks_4_6_5_and_returns_4)
{
    struct drops d = {.drop = worked, .tau = 1.0, .m = 7};
    cr_assert(search_with(BG_SEARCH_BINARY, &d) == 4);
    cr_assert(d.count == 3);
    cr_assert(d.asked[0] == 4 && d.asked[1] == 6 && d.asked[2] == 5);
    struct drops all = {.drop = worked, .tau = 1.0, .m = 7};
    cr_assert(search_with(BG_SEARCH_LINEAR, &all) == 4);
    cr_assert(all.count == 7);
}

Test(search, evaluations_stay_below_the_bound_and_the_result_is_exact_when_monotone)
{
    static const struct {
        int m, most;
    } cases[] = {{0, 0}, {1, 1}, {7, 3}, {8, 4}, {50, 6}, {100, 7}};
    double drop[128];
    for (int i = 0; i < 128; i++)
        drop[i] = i;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int worst = 0;
        for (int limit = 0; limit <= cases[c].m; limit++) {
            struct drops d = {.drop = drop, .tau = limit, .m = cases[c].m};
            cr_assert(search_with(BG_SEARCH_BINARY, &d) == limit);
            cr_assert(d.count <= cases[c].most, "m %d: %d calls", cases[c].m, d.count);
            cr_assert(d.count <= (int)ceil(log2(cases[c].m + 1)));
            worst = d.count > worst ? d.count : worst;
        }
        cr_assert(worst == cases[c].most, "m %d: the bound is reached", cases[c].m);
    }
}

Test(search, negative_tolerance_gives_the_empty_set_and_a_test_that_passes_gives_all)
{
    for (int search = BG_SEARCH_BINARY; search <= BG_SEARCH_LINEAR; search++) {
        struct drops none = {.drop = worked, .tau = -0.5, .m = 7};
        struct drops all = {.drop = worked, .tau = 100, .m = 7};
        cr_assert(search_with((enum bg_search)search, &none) == 0);
        cr_assert(search_with((enum bg_search)search, &all) == 7);
    }
}

Test(search, chosen_sets_are_nested_in_the_tolerance)
{
    int before = 0;
    for (double tau = -0.5; tau < 5; tau += 0.05) {
        struct drops d = {.drop = worked, .tau = tau, .m = 7};
        int k = search_with(BG_SEARCH_BINARY, &d);
        cr_assert(k >= before);
        before = k;
    }
    cr_assert(before == 7);
}

Test(search, result_was_tested_and_passed_when_drops_are_not_monotone)
{
    /* All patterns of pass and fail over 7 layers. */
    for (unsigned pattern = 0; pattern < 128; pattern++) {
        double drop[8] = {0};
        int largest = 0;
        for (int k = 1; k <= 7; k++) {
            bool pass = pattern >> (k - 1) & 1;
            drop[k] = pass ? 0 : 2;
            largest = pass ? k : largest;
        }
        struct drops binary = {.drop = drop, .tau = 1, .m = 7};
        struct drops linear = {.drop = drop, .tau = 1, .m = 7};
        int k = search_with(BG_SEARCH_BINARY, &binary);
        cr_assert(k == 0 || binary.passed[k]);
        cr_assert(search_with(BG_SEARCH_LINEAR, &linear) == largest);
        cr_assert(k <= largest);
    }
}

static enum bg_status broken(void *self, int k, bool *passed)
{
    (void)self;
    (void)passed;
    return bg_fail(BG_E_IO, "test of %d failed", k);
}

Test(search, failure_of_the_test_passes_up)
{
    const struct bg_prefix_test test = {.ok = broken};
    int k = -1, evaluations = -1;
    cr_assert(bg_prefix_search(BG_SEARCH_BINARY, 5, &test, &k, &evaluations) == BG_E_IO);
    cr_assert(strcmp(bg_error(), "test of 3 failed") == 0);
    cr_assert(bg_prefix_search(BG_SEARCH_LINEAR, 5, &test, &k, &evaluations) == BG_E_IO);
    cr_assert(bg_prefix_search(BG_SEARCH_COUNT, 5, &test, &k, &evaluations) == BG_E_USAGE);
    cr_assert(bg_prefix_search(BG_SEARCH_BINARY, -1, &test, &k, &evaluations) == BG_E_RANGE);
}

static void make_ranking(struct bg_ranking *ranking, const double *score, int n)
{
    cr_assert(bg_ranking_make(ranking, n) == BG_OK);
    for (int i = 0; i < n; i++)
        ranking->score[i] = score[i];
}

Test(ranking, sorts_with_ties_by_index_and_leaves_out_pinned_and_unscored_layers)
{
    const double score[] = {3, 1, (double)NAN, 1, 0, -2, (double)INFINITY};
    const bool pinned[] = {false, false, false, false, false, true, false};
    struct bg_ranking r;
    make_ranking(&r, score, 7);
    bg_ranking_sort(&r, pinned, false);
    const int ascending[] = {4, 1, 3, 0, 6};
    cr_assert(r.count == 5 && !r.descending);
    cr_assert(memcmp(r.order, ascending, sizeof ascending) == 0);
    bg_ranking_sort(&r, NULL, true);
    const int descending[] = {6, 0, 1, 3, 4, 5};
    cr_assert(r.count == 6 && r.descending);
    cr_assert(memcmp(r.order, descending, sizeof descending) == 0);
    cr_assert(r.score[5] == -2.0, "the pinned layer keeps its score");
    bg_ranking_free(&r);
    cr_assert(bg_ranking_make(&r, 0) == BG_OK);
    bg_ranking_sort(&r, NULL, false);
    cr_assert(r.count == 0);
    bg_ranking_free(&r);
}

Test(ranking, equal_values_share_the_mean_of_their_ranks)
{
    const double values[] = {2.5, 0.625, 2.5, (double)NAN, -1};
    double ranks[5];
    bg_ranking_ranks(values, 5, ranks);
    cr_assert(ranks[0] == 3.5 && ranks[2] == 3.5 && ranks[1] == 2 && ranks[4] == 1);
    cr_assert(isnan(ranks[3]));
}

static void select_defaults(struct bg_select_options *options)
{
    memset(options, 0, sizeof *options);
    cr_assert(bg_options_defaults(bg_select_options_table, options) == BG_OK, "%s", bg_error());
}

Test(select_options, defaults_are_those_of_the_brief)
{
    struct bg_select_options o;
    select_defaults(&o);
    cr_assert(strcmp(o.policy, "gradient-profile") == 0);
    cr_assert(o.first_bits == 8 && o.second_bits == 4 && o.activation_bits == 8);
    cr_assert(o.search == BG_SEARCH_BINARY && o.tolerance == 0.01);
    cr_assert(o.pin_first && o.pin_last && o.pinned.count == 0);
    cr_assert(o.count == 0 && o.threshold == 0 && o.plan[0] == '\0' && !o.options);
}

static const char *const names[] = {"conv1", "conv2", "conv3", "fc1", "fc2"};

Test(select_options, pinning_takes_first_last_and_names_and_refuses_unknown_ones)
{
    struct bg_select_options o;
    select_defaults(&o);
    bool pinned[5];
    cr_assert(bg_select_pinned(&o, names, 5, pinned) == BG_OK);
    cr_assert(pinned[0] && !pinned[1] && !pinned[2] && !pinned[3] && pinned[4]);
    o.pin_first = o.pin_last = false;
    o.pinned.count = 1;
    cr_assert(bg_text_copy(o.pinned.at[0], BG_NAME_MAX, "conv3") == BG_OK);
    cr_assert(bg_select_pinned(&o, names, 5, pinned) == BG_OK);
    cr_assert(!pinned[0] && !pinned[1] && pinned[2] && !pinned[3] && !pinned[4]);
    cr_assert(bg_text_copy(o.pinned.at[0], BG_NAME_MAX, "conv33") == BG_OK);
    cr_assert(bg_select_pinned(&o, names, 5, pinned) == BG_E_DATA);
    cr_assert(strcmp(bg_error(), "select.pinned: no layer 'conv33', did you mean 'conv3'?") == 0,
              "%s", bg_error());
}

Test(select_options, count_and_threshold_are_answered_without_a_test)
{
    const double score[] = {5, 1, 3, 2, 4};
    struct bg_select_options o;
    struct bg_ranking r;
    int k = -1, evaluations = -1;
    select_defaults(&o);
    make_ranking(&r, score, 5);
    bg_ranking_sort(&r, NULL, false);
    o.search = BG_SEARCH_COUNT;
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_OK);
    cr_assert(k == 5 && evaluations == 0, "0 means all");
    o.count = 2;
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_OK && k == 2);
    o.count = 6;
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_E_DATA);
    o.search = BG_SEARCH_THRESHOLD;
    o.threshold = 3;
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_OK && k == 3);
    bg_ranking_sort(&r, NULL, true);
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_OK && k == 3);
    o.threshold = 0.5;
    cr_assert(bg_select_prefix(&o, &r, NULL, &k, &evaluations) == BG_OK && k == 5);
    struct drops d = {.drop = worked, .tau = 0.3, .m = 5};
    const struct bg_prefix_test test = {.self = &d, .ok = drops_ok};
    o.search = BG_SEARCH_LINEAR;
    cr_assert(bg_select_prefix(&o, &r, &test, &k, &evaluations) == BG_OK);
    cr_assert(k == 2 && evaluations == 5);
    bg_ranking_free(&r);
}

Test(select_options, plan_of_a_prefix_holds_the_bits_asked_for)
{
    const double score[] = {5, 1, 3, 2, 4};
    struct bg_select_options o;
    struct bg_ranking r;
    struct bg_plan plan = {0};
    select_defaults(&o);
    make_ranking(&r, score, 5);
    bool pinned[5];
    cr_assert(bg_select_pinned(&o, names, 5, pinned) == BG_OK);
    bg_ranking_sort(&r, pinned, false);
    cr_assert(bg_select_plan(&o, names, &r, 2, &plan) == BG_OK, "%s", bg_error());
    const int bits[] = {8, 4, 8, 4, 8};
    for (int i = 0; i < 5; i++) {
        const struct bg_spec *w = &plan.layer[i].spec[BG_ROLE_WEIGHT];
        const struct bg_spec *a = &plan.layer[i].spec[BG_ROLE_ACTIVATION];
        cr_assert(strcmp(plan.layer[i].name, names[i]) == 0);
        cr_assert(w->format == BG_FORMAT_INTEGER && w->bits == bits[i] && w->per_channel);
        cr_assert(a->format == BG_FORMAT_INTEGER && a->bits == 8);
    }
    struct bg_text text;
    bg_text_init(&text, 4096);
    bg_plan_print(&plan, &text);
    struct bg_plan again = {0};
    cr_assert(bg_plan_parse(&again, "test", bg_text_string(&text)) == BG_OK, "%s", bg_error());
    cr_assert(bg_plan_equal(&plan, &again), "the plan survives its text form");
    bg_text_free(&text);
    bg_plan_free(&again);
    bg_plan_free(&plan);
    o.first_bits = 0;
    o.activation_bits = 0;
    cr_assert(bg_select_plan(&o, names, &r, 0, &plan) == BG_OK);
    for (int i = 0; i < 5; i++)
        cr_assert(plan.layer[i].spec[BG_ROLE_WEIGHT].format == BG_FORMAT_F32 &&
                  plan.layer[i].spec[BG_ROLE_ACTIVATION].format == BG_FORMAT_F32);
    bg_plan_free(&plan);
    cr_assert(bg_select_plan(&o, names, &r, 4, &plan) == BG_E_RANGE);
    bg_ranking_free(&r);
}

/* Every allocation of the small pieces may fail: the status says so and nothing leaks or crashes.
 */
Test(select_options, every_failed_allocation_is_reported)
{
    struct bg_select_options o;
    select_defaults(&o);
    int failures = 0;
    for (uint64_t n = 1; n < 64; n++) {
        struct bg_ranking r = {0};
        struct bg_plan plan = {0};
        bg_alloc_fail_at(n);
        enum bg_status rc = bg_ranking_make(&r, 5);
        if (rc == BG_OK)
            rc = bg_select_plan(&o, names, &r, 0, &plan);
        bg_alloc_fail_at(0);
        bg_plan_free(&plan);
        bg_ranking_free(&r);
        if (rc == BG_OK)
            break;
        cr_assert(rc == BG_E_NOMEM);
        failures++;
    }
    cr_assert(failures >= 3);
}
