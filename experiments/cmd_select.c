/* `bitgrad select`: a policy's ranking and plan from a run's recorded data. The run is not touched
 * and nothing is trained. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/print_json.h"
#include "experiments/replay.h"
#include "experiments/residuals.h"

extern const struct bg_command bg_cmd_select;

/* What was found. */
struct answer {
    struct bg_ranking ranking;
    struct bg_penalties penalties; /* value NULL = not asked for */
    struct bg_plan plan;           /* count 0 = none */
    struct bg_text text;           /* of the plan */
    int k;
    struct bg_budget_report budget; /* of search: budget */
    char why[512];                  /* there is no plan */
};

static int place_of(const struct bg_ranking *ranking, int layer)
{
    for (int i = 0; i < ranking->count; i++)
        if (ranking->order[i] == layer)
            return i + 1;
    return 0;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_penalties(const struct bg_replay *replay, const struct bg_penalties *penalties)
{
    json_t *rows = json_array();
    for (int i = 0; i < penalties->layers; i++)
        for (int role = 0; role < 2; role++)
            for (int c = 0; penalties->speaks[role] && c < penalties->candidates; c++) {
                json_t *row = json_object();
                json_object_set_new(row, "layer", json_string(replay->data.names[i]));
                json_object_set_new(row, "role", json_string(bg_measure_roles[role]));
                json_object_set_new(row, "bits", json_integer(penalties->bits[c]));
                json_object_set_new(row, "penalty",
                                    number(*bg_penalties_at(penalties, i, (enum bg_role)role, c)));
                json_array_append_new(rows, row);
            }
    return rows;
}

static bool is_budget(const struct bg_replay *replay)
{
    return replay->round.options.search == BG_SEARCH_BUDGET;
}

static json_t *json_budgets(const struct answer *answer)
{
    const struct bg_budget_report *report = &answer->budget;
    json_t *budgets = json_array();
    for (int k = 0; k < report->budgets; k++)
        json_array_append_new(budgets, json_pack("{s:s, s:f, s:f}", "kind",
                                                 bg_budget_names[report->budget[k].kind], "limit",
                                                 report->budget[k].value, "cost", report->cost[k]));
    return json_pack("{s:o, s:o, s:o, s:b}", "budgets", budgets, "objective",
                     number(report->objective), "bound", number(report->bound), "optimal",
                     (int)report->optimal);
}

static enum bg_status print_json(const struct bg_replay *replay, const struct answer *answer)
{
    json_t *root = json_object(), *layers = json_array();
    for (int i = 0; i < answer->ranking.layers; i++) {
        json_t *row = json_object();
        int place = place_of(&answer->ranking, i);
        json_object_set_new(row, "layer", json_string(replay->data.names[i]));
        json_object_set_new(row, "weights", json_integer(replay->data.weights[i]));
        json_object_set_new(row, "score", number(answer->ranking.score[i]));
        json_object_set_new(row, "rank", place ? json_integer(place) : json_null());
        json_array_append_new(layers, row);
    }
    json_object_set_new(root, "schema", json_integer(1));
    json_object_set_new(root, "policy", json_string(replay->recipe->policy->name));
    json_object_set_new(root, "statistic", json_string(answer->ranking.note));
    json_object_set_new(root, "ranking", layers);
    json_object_set_new(root, "round", json_integer(replay->round.number + 1));
    json_object_set_new(root, "chosen",
                        answer->plan.count && !is_budget(replay) ? json_integer(answer->k)
                                                                 : json_null());
    if (is_budget(replay))
        json_object_set_new(root, "allocation", json_budgets(answer));
    json_object_set_new(root, "plan",
                        answer->plan.count ? json_string(bg_text_string(&answer->text))
                                           : json_null());
    if (answer->plan.count == 0)
        json_object_set_new(root, "why", json_string(answer->why));
    if (answer->penalties.value)
        json_object_set_new(root, "penalties", json_penalties(replay, &answer->penalties));
    return bg_print_json(root, 0);
}

static void print_penalties(const struct bg_replay *replay, const struct bg_penalties *penalties)
{
    printf("\n%-20s %-10s", "penalty", "role");
    for (int c = 0; c < penalties->candidates; c++)
        printf(" %8d bits", penalties->bits[c]);
    printf("\n");
    for (int i = 0; i < penalties->layers; i++)
        for (int role = 0; role < 2; role++) {
            if (!penalties->speaks[role])
                continue;
            printf("%-20s %-10s", replay->data.names[i], bg_measure_roles[role]);
            for (int c = 0; c < penalties->candidates; c++)
                printf(" %13.6g", *bg_penalties_at(penalties, i, (enum bg_role)role, c));
            printf("\n");
        }
    if (*penalties->silent)
        printf("%s\n", penalties->silent);
}

static void print_budget(const struct bg_replay *replay, const struct answer *answer)
{
    struct bg_text text;
    bg_text_init(&text, 4096);
    bg_select_budget_text(&answer->budget, &text);
    printf("\nplan by %s: %s\n%s", replay->recipe->budget.allocator->name, bg_text_string(&text),
           bg_text_string(&answer->text));
    bg_text_free(&text);
}

static void print_text(const struct bg_replay *replay, const struct answer *answer)
{
    printf("%-20s %10s %12s %6s\n", "layer", "weights", "score", "rank");
    for (int i = 0; i < answer->ranking.layers; i++) {
        int place = place_of(&answer->ranking, i);
        char rank[16] = "-";
        if (place)
            (void)snprintf(rank, sizeof rank, "%d", place);
        else if (replay->data.pinned[i])
            (void)snprintf(rank, sizeof rank, "pinned");
        printf("%-20s %10lld %12.4g %6s\n", replay->data.names[i],
               (long long)replay->data.weights[i], answer->ranking.score[i], rank);
    }
    printf("policy: %s\nstatistic: %s\n", replay->recipe->policy->name, answer->ranking.note);
    if (answer->penalties.value)
        print_penalties(replay, &answer->penalties);
    if (answer->plan.count && is_budget(replay))
        print_budget(replay, answer);
    else if (answer->plan.count)
        printf("\nplan with %d of %d ranked layers at %lld bits:\n%s", answer->k,
               answer->ranking.count, (long long)replay->round.options.second_bits,
               bg_text_string(&answer->text));
    else
        printf("\nno plan: %s\n", answer->why);
}

/* A ranking is an answer too: a search the run cannot answer leaves the plan out. */
static enum bg_status find_plan(const struct bg_replay *replay, struct answer *answer)
{
    enum bg_status rc = BG_OK;
    if (is_budget(replay)) {
        TRY(bg_select_budget_plan(&replay->round, replay->net, &replay->data, &answer->plan,
                                  &answer->budget));
    } else {
        rc = bg_replay_prefix(replay, &answer->ranking, &answer->k);
        if (rc == BG_E_DATA) {
            (void)snprintf(answer->why, sizeof answer->why, "%s", bg_error());
            return BG_OK;
        }
        TRY(rc);
        TRY(bg_select_prefix_plan(&replay->round, &replay->data, &answer->ranking, answer->k,
                                  &answer->plan));
    }
    TRY(bg_residuals_plan(replay->recipe, &replay->record,
                          replay->round.number * replay->recipe->select.every, &answer->plan));
    if (replay->recipe->quantize.requant > 0)
        TRY(bg_text_copy(
            answer->plan.requant, sizeof answer->plan.requant,
            bg_requant_mode_name((enum bg_requant_mode)(replay->recipe->quantize.requant - 1))));
    bg_recipe_fill_gradients(&replay->recipe->quantize, &answer->plan);
    bg_plan_print(&answer->plan, &answer->text);
    TRY(bg_text_check(&answer->text));
out:
    return rc;
}

static enum bg_status write_plan(const struct answer *answer, const char *path)
{
    if (answer->plan.count == 0)
        return bg_fail(BG_E_DATA, "--out %s: there is no plan: %s", path, answer->why);
    if (bg_file_exists(path))
        return bg_fail(BG_E_USAGE, "--out %s: exists already", path);
    return bg_file_write(path, bg_text_string(&answer->text), answer->text.length);
}

static enum bg_status answer_all(const struct bg_arguments *arguments,
                                 const struct bg_replay *replay, struct answer *answer)
{
    const struct bg_measurements *measures = &replay->data.measurements;
    const char *path = bg_arguments_get(arguments, "out");
    enum bg_status rc = BG_OK;

    TRY(bg_replay_rank(replay, &answer->ranking));
    TRY(find_plan(replay, answer));
    if (bg_arguments_get(arguments, "penalties")) {
        if (measures->candidates == 0)
            FAIL(BG_E_DATA, "select: the run has no measures; set profile.measures");
        TRY(bg_replay_penalties(replay, measures->bits, measures->candidates, &answer->penalties));
    }
    if (path)
        TRY(write_plan(answer, path));
    if (bg_arguments_get(arguments, "json"))
        TRY(print_json(replay, answer));
    else
        print_text(replay, answer);
out:
    return rc;
}

static enum bg_status select_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_replay replay = {.recipe = NULL};
    struct answer answer = {.k = 0};
    int64_t round = 0;
    enum bg_status rc = BG_OK;

    bg_text_init(&answer.text, 1 << 24);
    TRY(bg_arguments_read(&arguments, &bg_cmd_select, argc, argv, 1, -1));
    if (arguments.done)
        goto out;
    TRY(bg_arguments_int(&arguments, "round", 1, BG_SELECT_ROUNDS, 0, &round));
    TRY(bg_replay_open(&replay, arguments.at[0], (int)round, arguments.at + 1,
                       arguments.count - 1));
    TRY(answer_all(&arguments, &replay, &answer));
out:
    bg_text_free(&answer.text);
    bg_plan_free(&answer.plan);
    bg_penalties_free(&answer.penalties);
    bg_ranking_free(&answer.ranking);
    bg_replay_close(&replay);
    return rc;
}

static const struct bg_argument select_arguments[] = {
    {"penalties", NULL, "also what each number of bits would cost by this policy"},
    {"round", "N", "of a run that selects several times (select.every); the last by default"},
    {"out", "PLAN", "write the plan to a new file"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_select = {
    .name = "select",
    .usage = "select RUN [policy=NAME] [options.KEY=VALUE ...] [select.KEY=VALUE ...] [--round N] "
             "[--penalties] "
             "[--json] [--out PLAN]",
    .help = "rank layers by any policy from a run's recorded data, without training",
    .details =
        "RUN may be finished or still at work; nothing in it changes. Without words the run's "
        "own policy is\n"
        "asked again and gives the same ranking and plan. A policy whose data was not "
        "recorded says what to\n"
        "add to the recipe. Searches by accuracy are answered from the trials the run has "
        "made.",
    .main = select_main,
    .arguments = select_arguments};
