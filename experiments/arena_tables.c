/* The summary as files (TSV and JSON) and as text for the terminal. Seconds go to
 * cost-seconds.tsv alone: all other files are equal for equal recipes. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena_summary.h"

static void real(struct bg_text *text, double value)
{
    char number[32];
    if (isfinite(value))
        bg_text_real(number, value);
    bg_text_add(text, "\t%s", isfinite(value) ? number : "-");
}

static void interval(struct bg_text *text, const struct bg_interval *i)
{
    real(text, i->mean);
    real(text, i->low);
    real(text, i->high);
    bg_text_add(text, "\t%s", bg_arena_verdict(i));
}

static enum bg_status save(const struct bg_arena *arena, const char *name, struct bg_text *text)
{
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;
    TRY(bg_text_check(text));
    TRY(bg_path_join(path, arena->dir, name));
    TRY(bg_file_write(path, bg_text_string(text), text->length));
out:
    bg_text_free(text);
    return rc;
}

static void budget_name(const struct bg_arena *arena, int budget, char out[32])
{
    bg_text_real(out, arena->budget.values.at[budget]);
}

static enum bg_status write_cells(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    struct bg_text text = {0};
    char budget[32];
    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_text_add(&text, "budget\tmoment\tby\trank\tcost\tmean\tdeviation\tminus_random\tlow\thigh\t"
                       "verdict\tminus_same_bits\tlow\thigh\tverdict\n");
    for (int b = 0; b < s->budgets; b++)
        for (int m = 0; m < BG_ARENA_MOMENTS; m++)
            for (int c = 0; c < s->columns; c++) {
                const struct bg_arena_cell *cell = bg_arena_cell(s, m, b, c);
                budget_name(arena, b, budget);
                bg_text_add(&text, "%s\t%s\t%s\t%d", budget, bg_arena_moments[m], s->name[c],
                            cell->rank);
                real(&text, cell->cost);
                real(&text, cell->mean);
                real(&text, cell->deviation);
                interval(&text, &cell->over_random);
                interval(&text, &cell->over_same);
                bg_text_add(&text, "\n");
            }
    return save(arena, "summary.tsv", &text);
}

static enum bg_status write_pairs(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    struct bg_text text = {0};
    struct bg_interval difference;
    char budget[32];
    enum bg_status rc = BG_OK;
    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_text_add(&text, "budget\tmoment\ta\tb\ta_minus_b\tlow\thigh\tverdict\n");
    for (int b = 0; b < s->budgets; b++)
        for (int m = 0; m < BG_ARENA_MOMENTS; m++)
            for (int i = 0; i < s->columns; i++)
                for (int j = i + 1; j < s->columns; j++) {
                    TRY(bg_arena_difference(arena, bg_arena_accuracy(s, m, b, i),
                                            bg_arena_accuracy(s, m, b, j), &difference));
                    budget_name(arena, b, budget);
                    bg_text_add(&text, "%s\t%s\t%s\t%s", budget, bg_arena_moments[m], s->name[i],
                                s->name[j]);
                    interval(&text, &difference);
                    bg_text_add(&text, "\n");
                }
    return save(arena, "pairs.tsv", &text);
out:
    bg_text_free(&text);
    return rc;
}

static enum bg_status write_correlations(const struct bg_arena *arena,
                                         const struct bg_arena_summary *s)
{
    struct bg_text text = {0};
    char budget[32];
    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_text_add(&text, "budget\tmoment\tcriterion\tspearman\tkendall\tseeds\n");
    for (int b = 0; b < s->budgets; b++)
        for (int m = 0; m < BG_ARENA_MOMENTS; m++)
            for (int c = 0; c < s->criteria; c++) {
                const struct bg_arena_correlation *at = bg_arena_correlation(s, m, b, c);
                budget_name(arena, b, budget);
                bg_text_add(&text, "%s\t%s\t%s", budget, bg_arena_moments[m], s->name[c]);
                real(&text, at->spearman);
                real(&text, at->kendall);
                bg_text_add(&text, "\t%d\n", at->seeds);
            }
    return save(arena, "correlations.tsv", &text);
}

static enum bg_status write_volumes(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    struct bg_text text = {0};
    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_text_add(&text, "by\tmean\tdeviation\tminus_random\tlow\thigh\tverdict\n");
    for (int c = 0; c < s->columns; c++) {
        const double *own = s->volume + (ptrdiff_t)c * s->seeds;
        bg_text_add(&text, "%s", s->name[c]);
        real(&text, bg_compare_mean(own, s->seeds));
        real(&text, bg_compare_deviation(own, s->seeds));
        interval(&text, &s->volume_over_random[c]);
        bg_text_add(&text, "\n");
    }
    return save(arena, "hypervolume.tsv", &text);
}

static enum bg_status write_costs(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    struct bg_text passes = {0}, seconds = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&passes, BG_ARENA_LIMIT);
    bg_text_init(&seconds, BG_ARENA_LIMIT);
    bg_text_add(&passes, "criterion\treads\tpasses\n");
    bg_text_add(&seconds, "criterion\tseconds\n");
    for (int c = 0; c < s->criteria; c++) {
        bg_text_add(&passes, "%s\t%s", s->name[c], *s->reads[c] ? s->reads[c] : "-");
        real(&passes, s->passes[c]);
        bg_text_add(&passes, "\n");
        bg_text_add(&seconds, "%s", s->name[c]);
        real(&seconds, s->seconds[c]);
        bg_text_add(&seconds, "\n");
    }
    TRY(save(arena, "cost.tsv", &passes));
    TRY(save(arena, "cost-seconds.tsv", &seconds));
out:
    bg_text_free(&passes);
    bg_text_free(&seconds);
    return rc;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *json_interval(const struct bg_interval *i)
{
    return json_pack("{s:o,s:o,s:o,s:s}", "mean", number(i->mean), "low", number(i->low), "high",
                     number(i->high), "verdict", bg_arena_verdict(i));
}

static json_t *json_column(const struct bg_arena_summary *s, int budget, int column)
{
    json_t *one = json_object();
    json_object_set_new(one, "by", json_string(s->name[column]));
    json_object_set_new(one, "cost", number(bg_arena_cell(s, 0, budget, column)->cost));
    for (int m = 0; m < BG_ARENA_MOMENTS; m++) {
        const struct bg_arena_cell *cell = bg_arena_cell(s, m, budget, column);
        const double *values = bg_arena_accuracy(s, m, budget, column);
        json_t *moment = json_pack("{s:o,s:o,s:i,s:o,s:o}", "mean", number(cell->mean), "deviation",
                                   number(cell->deviation), "rank", cell->rank, "minus_random",
                                   json_interval(&cell->over_random), "minus_same_bits",
                                   json_interval(&cell->over_same));
        json_t *seeds = json_array();
        for (int seed = 0; seed < s->seeds; seed++)
            json_array_append_new(seeds, number(values[seed]));
        json_object_set_new(moment, "test_accuracy", seeds);
        if (column < s->criteria) {
            const struct bg_arena_correlation *at = bg_arena_correlation(s, m, budget, column);
            json_object_set_new(moment, "spearman", number(at->spearman));
            json_object_set_new(moment, "kendall", number(at->kendall));
        }
        json_object_set_new(one, bg_arena_moments[m], moment);
    }
    return one;
}

static json_t *json_budgets(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    json_t *budgets = json_array();
    for (int b = 0; b < s->budgets; b++) {
        json_t *columns = json_array();
        for (int c = 0; c < s->columns; c++)
            json_array_append_new(columns, json_column(s, b, c));
        json_array_append_new(budgets, json_pack("{s:f,s:o}", "budget", arena->budget.values.at[b],
                                                 "results", columns));
    }
    return budgets;
}

static json_t *json_volumes(const struct bg_arena_summary *s)
{
    json_t *list = json_array();
    for (int c = 0; c < s->columns; c++)
        json_array_append_new(
            list, json_pack("{s:s,s:o,s:o}", "by", s->name[c], "mean",
                            number(bg_compare_mean(s->volume + (ptrdiff_t)c * s->seeds, s->seeds)),
                            "minus_random", json_interval(&s->volume_over_random[c])));
    return list;
}

static json_t *json_costs(const struct bg_arena_summary *s)
{
    json_t *list = json_array();
    for (int c = 0; c < s->criteria; c++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:f}", "criterion", s->name[c], "reads",
                                              s->reads[c], "passes", s->passes[c]));
    return list;
}

static enum bg_status write_json(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    struct bg_environment environment;
    struct bg_text text = {0};
    json_t *seeds = json_array(), *fp32 = json_array(), *root;
    char *printed = NULL;
    enum bg_status rc = BG_OK;

    bg_environment_now(&environment);
    bg_text_init(&text, BG_ARENA_LIMIT);
    for (int i = 0; i < s->seeds; i++) {
        json_array_append_new(seeds, json_integer(arena->options.seeds.at[i]));
        json_array_append_new(fp32, number(s->fp32[i]));
    }
    root =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:[f,f],s:i,s:i,s:i,s:o,s:o,s:o}", "kind",
                  "arena", "name", arena->recipe->top.name, "bitgrad", environment.bitgrad, "isa",
                  environment.isa, "network", arena->net->name, "seeds", seeds,
                  "base_test_accuracy", fp32, "budget_kind", bg_budget_names[arena->budget.kind],
                  "reference", arena->reference.cost, arena->reference.error, "proposals",
                  arena->proposals, "trials", s->trials, "diverged", s->diverged, "budgets",
                  json_budgets(arena, s), "hypervolume", json_volumes(s), "scoring", json_costs(s));
    printed = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    if (!printed)
        FAIL(BG_E_NOMEM, "out of memory for arena.json");
    bg_text_add(&text, "%s\n", printed);
    TRY(save(arena, "arena.json", &text));
out:
    free(printed); /* jansson's */
    json_decref(root);
    bg_text_free(&text);
    return rc;
}

/* "+0.42 [+0.10, +0.71]" in points, or "tie". */
static void points(const struct bg_interval *i, char out[64])
{
    const char *verdict = bg_arena_verdict(i);
    if (!strcmp(verdict, "tie"))
        (void)snprintf(out, 64, "tie");
    else if (!strcmp(verdict, "-") || !strcmp(verdict, "few"))
        (void)snprintf(out, 64, "%s", isfinite(i->mean) ? "few seeds" : "-");
    else
        (void)snprintf(out, 64, "%+.2f [%+.2f, %+.2f]", 100 * i->mean, 100 * i->low, 100 * i->high);
}

static void print_budget(const struct bg_arena *arena, const struct bg_arena_summary *s, int budget,
                         struct bg_text *text)
{
    char name[32], random[64], same[64];
    budget_name(arena, budget, name);
    bg_text_add(text, "%s <= %s\n", bg_budget_names[arena->budget.kind], name);
    bg_text_add(text, "  %-24s %8s %8s %8s %6s  %-22s %-22s %8s\n", "", "before", "last", "chosen",
                "+-", "minus random", "minus same-bits", "spearman");
    for (int c = 0; c < s->columns; c++) {
        const struct bg_arena_cell *cell = bg_arena_cell(s, BG_ARENA_BEST, budget, c);
        if (!isfinite(cell->mean))
            continue;
        points(&cell->over_random, random);
        points(&cell->over_same, same);
        bg_text_add(text, "  %-24s %8.2f %8.2f %8.2f %6.2f  %-22s %-22s", s->name[c],
                    100 * bg_arena_cell(s, BG_ARENA_BEFORE, budget, c)->mean,
                    100 * bg_arena_cell(s, BG_ARENA_LAST, budget, c)->mean, 100 * cell->mean,
                    isfinite(cell->deviation) ? 100 * cell->deviation : 0.0,
                    c == s->criteria + 1 ? "" : random, c == s->criteria ? "" : same);
        if (c < s->criteria && bg_arena_correlation(s, BG_ARENA_BEST, budget, c)->seeds > 0)
            bg_text_add(text, " %8.2f",
                        bg_arena_correlation(s, BG_ARENA_BEST, budget, c)->spearman);
        bg_text_add(text, "\n");
    }
}

static void print_terminal(const struct bg_arena *arena, const struct bg_arena_summary *s,
                           struct bg_text *text)
{
    bg_text_add(
        text,
        "%s: %d seeds, %d trials, base %.2f %% test accuracy\n"
        "%lld random plans per seed and budget, %.1f of them different\n"
        "test accuracy in %%, mean over seeds: before fine-tuning, at its last epoch, at the "
        "epoch chosen on\nvalidation; +-: deviation over seeds; differences at the chosen "
        "epoch in points with 95 %% bootstrap\nintervals over seeds, \"tie\" where the "
        "interval contains 0\n",
        arena->recipe->top.name, s->seeds, s->trials, 100 * bg_compare_mean(s->fp32, s->seeds),
        (long long)arena->options.random, s->distinct);
    for (int b = 0; b < s->budgets; b++)
        print_budget(arena, s, b, text);
}

enum bg_status bg_arena_write_summary(const struct bg_arena *arena,
                                      const struct bg_arena_summary *s, struct bg_text *terminal)
{
    enum bg_status rc = BG_OK;
    TRY(write_cells(arena, s));
    TRY(write_pairs(arena, s));
    TRY(write_correlations(arena, s));
    TRY(write_volumes(arena, s));
    TRY(write_costs(arena, s));
    TRY(write_json(arena, s));
    print_terminal(arena, s, terminal);
out:
    return rc;
}
