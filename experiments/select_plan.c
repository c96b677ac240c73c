/* Plans of a round. */
#include "experiments/select_plan.h"

#include <math.h>

#include "experiments/latency_file.h"

static enum bg_status take_before(struct bg_select_round *round, const struct bg_record *record)
{
    char name[BG_NAME_MAX];
    const char *text;
    if (round->number == 0 || round->options.direction == BG_DIRECTION_BOTH)
        return BG_OK;
    bg_record_round_name(round->number - 1, name);
    text = bg_record_find_plan(record, name);
    return text ? bg_plan_parse(&round->before, name, text) : BG_OK;
}

enum bg_status bg_select_round_open(struct bg_select_round *out, const struct bg_recipe *recipe,
                                    const struct bg_record *record, int number)
{
    *out = (struct bg_select_round){.number = number, .recipe = recipe, .options = recipe->select};
    out->options.second_bits = bg_select_bits(&recipe->select, number);
    return take_before(out, record);
}

void bg_select_round_close(struct bg_select_round *round)
{
    bg_plan_free(&round->before);
    *round = (struct bg_select_round){.number = 0};
}

enum bg_status bg_select_prefix_plan(const struct bg_select_round *round,
                                     const struct bg_select_data *data,
                                     const struct bg_ranking *ranking, int k, struct bg_plan *out)
{
    enum bg_status rc = BG_OK;
    TRY(bg_select_plan(&round->options, data->names, ranking, k, out));
    if (round->before.count > 0)
        bg_plan_lower(out, &round->before);
out:
    return rc;
}

enum bg_status bg_select_budget_plan(const struct bg_select_round *round, const struct bg_net *net,
                                     const struct bg_select_data *data, struct bg_plan *out,
                                     struct bg_budget_report *report)
{
    const struct bg_recipe *recipe = round->recipe;
    const struct bg_select_options *options = &round->options;
    struct bg_penalties penalties = {.layers = 0};
    struct bg_latency latency = {.layers = 0};
    struct bg_budget_case at = {.net = net,
                                .names = data->names,
                                .pinned = data->pinned,
                                .latency = &latency,
                                .factor = bg_select_factor(options, round->number),
                                .before = round->before.count > 0 ? &round->before : NULL};
    int bits[BG_CANDIDATES_MAX], candidates = bg_budget_bits(options, bits);
    enum bg_status rc = BG_OK;

    if (*options->latency)
        TRY(bg_latency_read(&latency, options->latency, data->names, data->input.layers));
    TRY(bg_select_penalties(recipe->policy, recipe->policy_options, &data->input, bits, candidates,
                            &penalties));
    TRY(bg_budget_plan(&recipe->budget, options, &at, &penalties, out, report));
out:
    bg_penalties_free(&penalties);
    bg_latency_free(&latency);
    return rc;
}

void bg_select_budget_text(const struct bg_budget_report *report, struct bg_text *out)
{
    for (int k = 0; k < report->budgets; k++)
        bg_text_add(out, "%s%s %.6g of %.6g (%.6g left)", k ? ", " : "",
                    bg_budget_names[report->budget[k].kind], report->cost[k],
                    report->budget[k].value, report->budget[k].value - report->cost[k]);
    bg_text_add(out, "; objective %.6g, ", report->objective);
    if (report->optimal)
        bg_text_add(out, "proven the least");
    else if (isfinite(report->bound))
        bg_text_add(out, "not proven: none is below %.6g", report->bound);
    else
        bg_text_add(out, "not proven");
}
