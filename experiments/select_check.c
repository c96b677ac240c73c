/* What the select stage would refuse, found before anything is trained: the policy ranks a profile
 * of made-up numbers, the allocator is given its penalties, the graph tries the bits. */
#include "core/mem.h"
#include "experiments/run.h"
#include "experiments/select_plan.h"

static enum bg_status try_bits(struct bg_run *run, int weights, int activations)
{
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_net_plan(run->net, weights, activations, &plan));
    TRY(bg_run_apply(run, &plan));
    TRY(bg_run_apply(run, NULL));
out:
    bg_plan_free(&plan);
    return rc;
}

/* What the graph refuses, it refuses now. */
static enum bg_status try_graph(struct bg_run *run)
{
    const struct bg_select_options *options = &run->recipe->select;
    int bits[BG_CANDIDATES_MAX], activations = (int)options->activation_bits;
    int rounds = bg_recipe_rounds(run->recipe);
    enum bg_status rc = BG_OK;

    TRY(try_bits(run, (int)options->first_bits, activations));
    for (int r = 0; r < rounds; r++)
        TRY(try_bits(run, bg_select_bits(options, r), activations));
    if (options->search != BG_SEARCH_BUDGET)
        goto out;
    for (int i = bg_budget_bits(options, bits); i-- > 0;) {
        rc = try_bits(run, bits[i], options->choose_activations ? bits[i] : activations);
        if (rc != BG_OK) {
            (void)bg_fail_prefix(rc, "select.candidates: %d: ", bits[i]);
            goto out;
        }
    }
out:
    return rc;
}

static enum bg_status try_budgets(struct bg_run *run, const struct bg_select_data *data)
{
    struct bg_select_round round = {.number = 0};
    struct bg_budget_report report;
    struct bg_plan plan = {0};
    int rounds = bg_recipe_rounds(run->recipe);
    enum bg_status rc = BG_OK;

    for (int r = 0; r < rounds; r++) {
        bg_plan_free(&plan);
        bg_select_round_close(&round);
        TRY(bg_select_round_open(&round, run->recipe, &run->record, r));
        rc = bg_select_budget_plan(&round, run->net, data, &plan, &report);
        if (rc != BG_OK) {
            (void)bg_fail_prefix(rc, "select: ");
            goto out;
        }
    }
out:
    bg_select_round_close(&round);
    bg_plan_free(&plan);
    return rc;
}

static enum bg_status try_ranking(struct bg_run *run, const struct bg_select_data *data)
{
    const struct bg_recipe *recipe = run->recipe;
    struct bg_ranking ranking = {0};
    struct bg_plan fixed = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_ranking_make(&ranking, data->input.layers));
    TRY(recipe->policy->rank(recipe->policy_options, &data->input, &ranking));
    if (ranking.fixes) {
        TRY(bg_select_plan(&recipe->select, data->names, &ranking, 0, &fixed));
        TRY(bg_run_apply(run, &fixed));
        TRY(bg_run_apply(run, NULL));
    }
    if (recipe->select.search == BG_SEARCH_BUDGET)
        TRY(try_budgets(run, data));
out:
    bg_plan_free(&fixed);
    bg_ranking_free(&ranking);
    return rc;
}

static enum bg_status try_policy(struct bg_run *run, struct bg_select_data *data)
{
    const struct bg_recipe *recipe = run->recipe;
    struct bg_profile expected = {0};
    struct bg_measure_rows rows = {0};
    enum bg_status rc = BG_OK;

    TRY(try_graph(run));
    TRY(bg_select_expect_profile(recipe, run->net, bg_recipe_has_stage(recipe, BG_STAGE_TRAIN),
                                 bg_recipe_has_stage(recipe, BG_STAGE_PROFILE), &expected));
    if (bg_recipe_has_stage(recipe, BG_STAGE_PROFILE))
        TRY(bg_measure_expect(&recipe->measures, run->record.layers, recipe->candidates,
                              recipe->candidate_bits, &rows));
    data->input.profile = &expected;
    data->measurements.rows = rows.rows;
    data->measurements.row = rows.row;
    data->input.weight_step = data->step;
    for (int i = 0; i < run->record.layers; i++)
        data->step[i] = 1.0;
    TRY(try_ranking(run, data));
out:
    data->input.profile = NULL; /* what is expected ends here */
    data->measurements.rows = 0;
    data->measurements.row = NULL;
    bg_measure_rows_free(&rows);
    bg_profile_free(&expected);
    return rc;
}

enum bg_status bg_run_check_select(struct bg_run *run)
{
    const struct bg_select_options *options = &run->recipe->select;
    bool tries = options->search == BG_SEARCH_BINARY || options->search == BG_SEARCH_LINEAR;
    struct bg_select_data data = {.names = NULL};
    enum bg_status rc = BG_OK;

    if (!bg_recipe_has_stage(run->recipe, BG_STAGE_SELECT) || *options->plan)
        return BG_OK;
    if (tries && run->data->validation_count == 0)
        return bg_fail(BG_E_DATA, "select: search %s needs a validation part; set data.validation",
                       bg_search_names[options->search]);
    TRY(bg_select_data_open(&data, &run->record, 0, run->net, options));
    TRY(try_policy(run, &data));
out:
    bg_select_data_close(&data);
    return rc;
}
