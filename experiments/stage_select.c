/* The select stage: the policy ranks the layers, the prefix search tries how many of them tolerate
 * fewer bits, or an allocator gives each layer bits within budgets; the plan is put on the network.
 * Every trial starts from the trained network and is judged on the validation part alone. Each one
 * is saved: a killed search goes on with the next. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/residuals.h"
#include "experiments/run.h"
#include "experiments/select_plan.h"

struct search {
    struct bg_run *run;
    struct bg_select_round round;
    struct bg_select_data data;
    struct bg_ranking ranking;
    struct bg_snapshot *trained;
    struct bg_plan base; /* that it was trained in; count 0 = f32 */
    struct bg_source *calibration, *validation;
};

/* Puts a plan on the trained network: ranges and batch-norm statistics from training batches. */
static enum bg_status put(struct search *search, const struct bg_plan *plan)
{
    const struct bg_quantize_section *options = &search->run->recipe->quantize;
    enum bg_status rc = BG_OK;
    TRY(bg_run_apply(search->run, plan));
    TRY(bg_trainer_calibrate(search->run->trainer, search->calibration,
                             options->calibration_batches, options->recalibrate_bn));
out:
    return rc;
}

static enum bg_status go_back(struct search *search)
{
    enum bg_status rc = BG_OK;
    TRY(bg_run_apply(search->run, search->base.count > 0 ? &search->base : NULL));
    TRY(bg_net_restore(search->run->net, search->trained));
out:
    return rc;
}

static const union bg_cell *known_trial(const struct search *search, int k)
{
    const struct bg_table *table = &search->run->record.table[BG_TABLE_SEARCH];
    const struct bg_round round = bg_record_round(&search->run->record, search->round.number);
    for (int64_t r = round.from[BG_ROUND_SEARCH]; r < table->rows; r++)
        if (bg_table_row(table, r)[BG_SEARCH_K].integer == k)
            return bg_table_row(table, r);
    return NULL;
}

/* Accuracy with the first k ranked layers at the second precision; a row of the search table. */
static enum bg_status try_prefix(struct search *search, int k, bool *passed)
{
    struct bg_run *run = search->run;
    const struct bg_select_options *options = &search->round.options;
    const union bg_cell *base;
    union bg_cell *row = NULL;
    struct bg_evaluation *evaluation = NULL;
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&evaluation, 1, sizeof *evaluation));
    TRY(bg_select_prefix_plan(&search->round, &search->data, &search->ranking, k, &plan));
    TRY(put(search, &plan));
    TRY(bg_trainer_evaluate(run->trainer, search->validation, evaluation));
    TRY(go_back(search));
    base = known_trial(search, 0);
    double drop = base ? base[BG_SEARCH_ACCURACY].real - evaluation->accuracy : 0.0;
    *passed = drop <= options->tolerance;
    TRY(bg_table_add(&run->record.table[BG_TABLE_SEARCH], &row));
    row[BG_SEARCH_K].integer = k;
    row[BG_SEARCH_ACCURACY].real = evaluation->accuracy;
    row[BG_SEARCH_LOSS].real = evaluation->loss;
    row[BG_SEARCH_DROP].real = drop;
    row[BG_SEARCH_PASSED].integer = *passed;
    bg_log(BG_LOG_INFO,
           "select: %d of %d layers at %lld bits: validation accuracy %.2f %%, drop %.2f points%s",
           k, search->ranking.count, (long long)options->second_bits, 100.0 * evaluation->accuracy,
           100.0 * drop,
           k == 0    ? ""
           : *passed ? ": passes"
                     : ": too much");
    TRY(bg_run_checkpoint(run));
out:
    bg_plan_free(&plan);
    bg_free(evaluation);
    return rc;
}

static enum bg_status ok(void *self, int k, bool *passed)
{
    struct search *search = (struct search *)self;
    const union bg_cell *known;
    if (bg_stop_requested())
        return bg_fail(BG_E_INTERRUPTED, "stopped in the search");
    known = known_trial(search, k);
    if (!known)
        return try_prefix(search, k, passed);
    *passed = known[BG_SEARCH_PASSED].integer != 0;
    return BG_OK;
}

/* Mean step of each layer's weight grid when all are at the second precision. */
static enum bg_status measure_steps(struct search *search)
{
    const struct bg_select_options *options = &search->round.options;
    struct bg_graph *graph = search->run->net->graph;
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_net_plan(search->run->net, (int)options->second_bits, (int)options->activation_bits,
                    &plan));
    TRY(put(search, &plan));
    for (int i = 0; i < search->run->record.layers; i++) {
        const struct bg_quantizer *quantizer = bg_graph_layer_weight(graph, i)->quantizer;
        double sum = 0.0;
        for (int64_t c = 0; quantizer && c < quantizer->grid.channels; c++)
            sum += (double)quantizer->grid.scale[c];
        search->data.step[i] = quantizer ? sum / (double)quantizer->grid.channels : 0.0;
    }
    TRY(go_back(search));
out:
    bg_plan_free(&plan);
    return rc;
}

static enum bg_status record_ranking(struct search *search)
{
    struct bg_record *record = &search->run->record;
    struct bg_table *table = &record->table[BG_TABLE_RANKING];
    enum bg_status rc = BG_OK;

    bg_table_truncate(table, bg_record_round(record, search->round.number).from[BG_ROUND_RANKING]);
    for (int l = 0; l < record->layers; l++) {
        union bg_cell *row = NULL;
        TRY(bg_table_add(table, &row));
        row[BG_RANK_LAYER].integer = l;
        row[BG_RANK_SCORE].real = search->ranking.score[l];
        row[BG_RANK_PINNED].integer = search->data.pinned[l];
        row[BG_RANK_STEP].real = search->data.step[l];
        for (int r = 0; r < search->ranking.count; r++)
            if (search->ranking.order[r] == l)
                row[BG_RANK_RANK].integer = r + 1;
    }
    record->fixes = search->ranking.fixes;
    record->fixed_layer = search->ranking.fixed_layer;
    memcpy(record->fixed_bits, search->ranking.fixed_bits, sizeof record->fixed_bits);
    (void)snprintf(record->ranking_note, sizeof record->ranking_note, "%s", search->ranking.note);
out:
    return rc;
}

static enum bg_status rank_by(struct search *search)
{
    struct bg_run *run = search->run;
    enum bg_status rc = BG_OK;
    search->data.input.weight_step = search->data.step;
    TRY(bg_ranking_make(&search->ranking, search->data.input.layers));
    TRY(run->recipe->policy->rank(run->recipe->policy_options, &search->data.input,
                                  &search->ranking));
out:
    return rc;
}

static enum bg_status rank(struct search *search)
{
    enum bg_status rc = BG_OK;
    TRY(measure_steps(search));
    TRY(rank_by(search));
    TRY(record_ranking(search));
    bg_log(BG_LOG_DEBUG, "select: %s", search->ranking.note);
out:
    return rc;
}

static enum bg_status prepare(struct search *search)
{
    struct bg_run *run = search->run;
    int round = bg_record_rounds(&run->record) - 1;
    enum bg_status rc = BG_OK;

    TRY(bg_select_round_open(&search->round, run->recipe, &run->record, round));
    TRY(bg_select_data_open(&search->data, &run->record, round, run->net, &run->recipe->select));
    TRY(bg_run_source(run, BG_PART_TRAIN, run->recipe->train.batch, false, &search->calibration));
    if (run->data->validation_count > 0)
        TRY(bg_run_source(run, BG_PART_VALIDATION, run->recipe->eval_batch, false,
                          &search->validation));
    TRY(bg_plan_copy(&search->base, round == 0 ? &run->start : &run->plan));
    if (search->base.count == 0)
        TRY(bg_run_apply(run, NULL));
    TRY(bg_net_snapshot(run->net, &search->trained));
out:
    return rc;
}

static void free_search(struct search *search)
{
    bg_plan_free(&search->base);
    bg_ranking_free(&search->ranking);
    bg_snapshot_free(search->trained);
    bg_loader_destroy(search->calibration);
    bg_loader_destroy(search->validation);
    bg_select_data_close(&search->data);
    bg_select_round_close(&search->round);
}

static bool is_searched(const struct bg_select_options *options)
{
    return options->search == BG_SEARCH_BINARY || options->search == BG_SEARCH_LINEAR;
}

/* The plan by policy and prefix search. */
static enum bg_status find_prefix(struct search *search, struct bg_plan *plan)
{
    struct bg_run *run = search->run;
    const struct bg_select_options *options = &search->round.options;
    struct bg_prefix_test test = {.self = search, .ok = ok};
    bool tries = is_searched(options);
    int k = 0, evaluations = 0;
    bool passed = false;
    enum bg_status rc = BG_OK;

    if (tries && !known_trial(search, 0))
        TRY(try_prefix(search, 0, &passed));
    TRY(bg_select_prefix(options, &search->ranking, &test, &k, &evaluations));
    TRY(bg_select_prefix_plan(&search->round, &search->data, &search->ranking, k, plan));
    run->record.chosen = k;
    bg_log(BG_LOG_INFO, "select: %s: %d of %d ranked layers at %lld bits, %d evaluations",
           run->recipe->policy->name, k, search->ranking.count, (long long)options->second_bits,
           evaluations);
out:
    return rc;
}

static enum bg_status record_budgets(struct search *search, const struct bg_budget_report *report)
{
    enum bg_status rc = BG_OK;
    for (int k = 0; k < report->budgets; k++) {
        union bg_cell *row = NULL;
        TRY(bg_table_add(&search->run->record.table[BG_TABLE_BUDGETS], &row));
        row[BG_SPENT_ROUND].integer = search->round.number;
        row[BG_SPENT_KIND].integer = report->budget[k].kind;
        row[BG_SPENT_LIMIT].real = report->budget[k].value;
        row[BG_SPENT_COST].real = report->cost[k];
        row[BG_SPENT_OBJECTIVE].real = report->objective;
        row[BG_SPENT_BOUND].real = report->bound;
        row[BG_SPENT_OPTIMAL].integer = report->optimal;
    }
out:
    return rc;
}

/* The plan by policy and allocator. */
static enum bg_status find_allocation(struct search *search, struct bg_plan *plan)
{
    struct bg_run *run = search->run;
    struct bg_budget_report report;
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 4096);
    TRY(bg_select_budget_plan(&search->round, run->net, &search->data, plan, &report));
    TRY(record_budgets(search, &report));
    bg_select_budget_text(&report, &text);
    bg_log(BG_LOG_INFO, "select: %s by %s: %s", run->recipe->policy->name,
           run->recipe->budget.allocator->name, bg_text_string(&text));
out:
    bg_text_free(&text);
    return rc;
}

static enum bg_status find(struct search *search, struct bg_plan *plan)
{
    int rounds = bg_recipe_rounds(search->run->recipe);
    enum bg_status rc = BG_OK;
    if (rounds > 1)
        bg_log(BG_LOG_INFO, "select: selection %d of %d", search->round.number + 1, rounds);
    TRY(rank(search));
    if (search->round.options.search == BG_SEARCH_BUDGET)
        TRY(find_allocation(search, plan));
    else
        TRY(find_prefix(search, plan));
out:
    return rc;
}

static enum bg_status settle(struct search *search, const struct bg_plan *plan)
{
    char name[BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    bg_record_round_name(search->round.number, name);
    TRY(put(search, plan));
    TRY(bg_run_write_plan(search->run, name));
out:
    return rc;
}

enum bg_status bg_stage_select(struct bg_run *run)
{
    struct search search = {.run = run};
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    TRY(prepare(&search));
    if (*run->recipe->select.plan) {
        TRY(bg_plan_copy(&plan, &run->given));
        bg_log(BG_LOG_INFO, "select: plan from %s", run->recipe->select.plan);
    } else {
        TRY(find(&search, &plan));
    }
    TRY(bg_residuals_plan(run->recipe, &run->record,
                          search.round.number * run->recipe->select.every, &plan));
    TRY(settle(&search, &plan));
out:
    bg_plan_free(&plan);
    free_search(&search);
    return rc;
}
