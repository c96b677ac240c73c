/* The arena's report: one HTML file with its tables, figures and plans. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena_summary.h"
#include "experiments/plot.h"
#include "experiments/report.h"

static void heading(struct bg_text *html, const char *text)
{
    bg_text_add(html, "<h2>%s</h2>\n", text);
}

static void difference(struct bg_text *html, const struct bg_interval *i)
{
    const char *verdict = bg_arena_verdict(i);
    if (!strcmp(verdict, "tie"))
        bg_text_add(html, "<td class=\"soft\" title=\"%+.2f [%+.2f, %+.2f]\">tie</td>",
                    100 * i->mean, 100 * i->low, 100 * i->high);
    else if (!strcmp(verdict, "-") || !strcmp(verdict, "few"))
        bg_text_add(html, "<td>%s</td>", verdict);
    else
        bg_text_add(html, "<td>%+.2f [%+.2f, %+.2f]</td>", 100 * i->mean, 100 * i->low,
                    100 * i->high);
}

static void percent(struct bg_text *html, double value)
{
    if (isfinite(value))
        bg_text_add(html, "<td>%.2f</td>", 100 * value);
    else
        bg_text_add(html, "<td>-</td>");
}

static void number(struct bg_text *html, double value)
{
    char text[48];
    (void)snprintf(text, sizeof text, "%.4g", value);
    bg_text_add(html, "<td>%s</td>", isfinite(value) ? text : "-");
}

static void budgets(const struct bg_arena *arena, const struct bg_arena_summary *s,
                    struct bg_text *html)
{
    for (int b = 0; b < s->budgets; b++) {
        char value[32];
        bg_text_real(value, arena->budget.values.at[b]);
        bg_text_add(html,
                    "<h3>%s at most %s</h3>\n<table><tr><th></th><th>cost</th><th>before"
                    "</th><th>last epoch</th><th>chosen epoch</th><th>deviation</th>"
                    "<th>minus random</th><th>minus same-bits</th></tr>\n",
                    bg_budget_names[arena->budget.kind], value);
        for (int c = 0; c < s->columns; c++) {
            const struct bg_arena_cell *cell = bg_arena_cell(s, BG_ARENA_BEST, b, c);
            if (!isfinite(cell->mean))
                continue;
            bg_text_add(html, "<tr><td>");
            bg_text_add_html(html, s->name[c]);
            bg_text_add(html, "</td>");
            number(html, cell->cost);
            for (int m = 0; m < BG_ARENA_MOMENTS; m++)
                percent(html, bg_arena_cell(s, m, b, c)->mean);
            percent(html, cell->deviation);
            difference(html, &cell->over_random);
            difference(html, &cell->over_same);
            bg_text_add(html, "</tr>\n");
        }
        bg_text_add(html, "</table>\n");
    }
}

static void head_of_budgets(const struct bg_arena *arena, struct bg_text *html)
{
    bg_text_add(html, "<table><tr><th></th>");
    for (int b = 0; b < arena->budget.values.count; b++) {
        char value[32];
        bg_text_real(value, arena->budget.values.at[b]);
        bg_text_add(html, "<th>%s</th>", value);
    }
    bg_text_add(html, "<th>mean</th></tr>\n");
}

static void ranks(const struct bg_arena *arena, const struct bg_arena_summary *s,
                  struct bg_text *html)
{
    head_of_budgets(arena, html);
    for (int c = 0; c < s->criteria; c++) {
        double sum = 0;
        bg_text_add(html, "<tr><td>");
        bg_text_add_html(html, s->name[c]);
        bg_text_add(html, "</td>");
        for (int b = 0; b < s->budgets; b++) {
            int rank = bg_arena_cell(s, BG_ARENA_BEST, b, c)->rank;
            sum += rank;
            bg_text_add(html, "<td>%d</td>", rank);
        }
        bg_text_add(html, "<td>%.1f</td></tr>\n", sum / s->budgets);
    }
    bg_text_add(html, "</table>\n");
}

static void correlations(const struct bg_arena *arena, const struct bg_arena_summary *s,
                         struct bg_text *html, int moment)
{
    head_of_budgets(arena, html);
    for (int c = 0; c < s->criteria; c++) {
        double sum = 0;
        bg_text_add(html, "<tr><td>");
        bg_text_add_html(html, s->name[c]);
        bg_text_add(html, "</td>");
        for (int b = 0; b < s->budgets; b++) {
            const struct bg_arena_correlation *at = bg_arena_correlation(s, moment, b, c);
            sum += at->spearman;
            if (at->seeds)
                bg_text_add(html, "<td>%.2f / %.2f</td>", at->spearman, at->kendall);
            else
                bg_text_add(html, "<td>-</td>");
        }
        if (isfinite(sum))
            bg_text_add(html, "<td>%.2f</td></tr>\n", sum / s->budgets);
        else
            bg_text_add(html, "<td>-</td></tr>\n");
    }
    bg_text_add(html, "</table>\n");
}

static void volumes(const struct bg_arena_summary *s, struct bg_text *html)
{
    bg_text_add(html, "<table><tr><th></th><th>hypervolume</th><th>minus random</th></tr>\n");
    for (int c = 0; c < s->columns; c++) {
        const struct bg_interval *i = &s->volume_over_random[c];
        bg_text_add(html, "<tr><td>");
        bg_text_add_html(html, s->name[c]);
        bg_text_add(html, "</td>");
        number(html, bg_compare_mean(s->volume + (ptrdiff_t)c * s->seeds, s->seeds));
        if (strcmp(bg_arena_verdict(i), "better") != 0 && strcmp(bg_arena_verdict(i), "worse") != 0)
            bg_text_add(html, "<td>%s</td></tr>\n", bg_arena_verdict(i));
        else
            bg_text_add(html, "<td>%+.4g [%+.4g, %+.4g]</td></tr>\n", i->mean, i->low, i->high);
    }
    bg_text_add(html, "</table>\n");
}

static void costs(const struct bg_arena_summary *s, struct bg_text *html)
{
    bg_text_add(html, "<table><tr><th></th><th>reads</th><th>sample passes</th><th>seconds</th>"
                      "</tr>\n");
    for (int c = 0; c < s->criteria; c++) {
        bg_text_add(html, "<tr><td>");
        bg_text_add_html(html, s->name[c]);
        bg_text_add(html, "</td><td>");
        bg_text_add_html(html, s->reads[c]);
        bg_text_add(html, "</td><td>%.0f</td>", s->passes[c]);
        number(html, s->seconds[c]);
        bg_text_add(html, "</tr>\n");
    }
    bg_text_add(html, "</table>\n");
}

static void limits(const struct bg_arena *arena, const struct bg_arena_summary *s,
                   struct bg_text *html)
{
    bg_text_add(
        html,
        "<p>One network on one data set, %d seeds, one quantizer, one fine-tuning of %lld "
        "epochs: a criterion that wins here has won under these conditions alone. Means are "
        "over seeds and intervals are bootstrap intervals (%lld resamples, paired by seed): "
        "from %d seeds they are coarse and too narrow rather than too wide. They are not "
        "corrected for the number of comparisons: of many differences without substance about "
        "one in twenty leaves its interval. Where criteria propose the same plan (%d of %d "
        "proposals of criteria) they are equal by construction. A short fine-tuning can hide "
        "differences or make them; the numbers before it show which. Plans use the budget "
        "unequally: their cost is in the tables. Of %lld random plans per seed and budget %.1f "
        "differ. %d of %d trials diverged and count as "
        "guessing.</p>\n",
        s->seeds, (long long)arena->recipe->finetune.epochs, (long long)arena->options.resamples,
        s->seeds, s->same_plan, s->seeds * s->budgets * s->criteria,
        (long long)arena->options.random, s->distinct, s->diverged, s->trials);
}

static enum bg_status plan_text(const struct bg_arena *arena, const char *hash,
                                struct bg_text *html)
{
    char folder[BG_PATH_MAX], path[BG_PATH_MAX], name[BG_ARENA_HASH + 8];
    struct bg_plan plan = {0};
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;
    (void)snprintf(name, sizeof name, "%s.txt", hash);
    TRY(bg_path_join(folder, arena->dir, "plans"));
    TRY(bg_path_join(path, folder, name));
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &text, &length));
    TRY(bg_plan_parse(&plan, path, text));
    for (int i = 0; i < plan.count; i++)
        bg_text_add(html, "%s%d/%d", i ? " " : "",
                    bg_spec_bits(&plan.layer[i].spec[BG_ROLE_WEIGHT]),
                    bg_spec_bits(&plan.layer[i].spec[BG_ROLE_ACTIVATION]));
out:
    bg_plan_free(&plan);
    bg_free(text);
    return rc;
}

static enum bg_status plans(const struct bg_arena *arena, struct bg_text *html)
{
    enum bg_status rc = BG_OK;
    bg_text_add(html, "<p class=\"soft\">Bits of weights / input of each layer, in the order of ");
    for (int i = 0; i < arena->layers; i++) {
        bg_text_add(html, "%s", i ? ", " : "");
        bg_text_add_html(html, arena->names[i]);
    }
    bg_text_add(html, ". proposals.tsv and plans/ have them in full.</p>\n<details><summary>all "
                      "plans</summary><table><tr><th>seed</th><th>budget</th><th>by</th><th>plan"
                      "</th><th>bits</th><th>cost</th><th>proof</th></tr>\n");
    for (int i = 0; i < arena->proposals; i++) {
        const struct bg_arena_proposal *p = &arena->proposal[i];
        char budget[32];
        bg_text_real(budget, arena->budget.values.at[p->budget]);
        bg_text_add(html, "<tr><td>%lld</td><td>%s</td><td>",
                    (long long)arena->options.seeds.at[p->seed], budget);
        bg_text_add_html(html, bg_arena_name(arena, p->who));
        bg_text_add(html, "</td><td>%s</td><td>", p->plan);
        TRY(plan_text(arena, p->plan, html));
        bg_text_add(html, "</td>");
        number(html, p->cost);
        bg_text_add(html, "<td>%s</td></tr>\n", p->optimal ? "optimal" : "");
    }
    bg_text_add(html, "</table></details>\n");
out:
    return rc;
}

/* Lines of mean accuracy over mean cost, one per column; names stand in the data alone. */
static enum bg_status draw(const struct bg_arena *arena, const struct bg_arena_summary *s,
                           const char *folder, bool *drawn)
{
    struct bg_text data = {0}, script = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&data, BG_ARENA_LIMIT);
    bg_text_init(&script, 1 << 20);
    bg_plot_begin(&script, "pareto", 900, 520);
    bg_text_add(&script,
                "set key outside right noenhanced\nset xlabel '%s'\nset ylabel 'test accuracy, %%, "
                "at the chosen epoch'\nplot for [i=1:%d] 'pareto.tsv' using (column(2*i-1)):"
                "(column(2*i)) with linespoints lw 1.5 pt i %% 15 + 1 ps 0.7 title "
                "columnheader(2*i)\n",
                bg_budget_names[arena->budget.kind], s->columns);
    for (int c = 0; c < s->columns; c++)
        bg_text_add(&data, "%scost\t%s", c ? "\t" : "", s->name[c]);
    bg_text_add(&data, "\n");
    for (int b = 0; b < s->budgets; b++) {
        for (int c = 0; c < s->columns; c++) {
            const struct bg_arena_cell *cell = bg_arena_cell(s, BG_ARENA_BEST, b, c);
            bg_text_add(&data, "%s%.9g\t%.6f", c ? "\t" : "", cell->cost, 100 * cell->mean);
        }
        bg_text_add(&data, "\n");
    }
    TRY(bg_plot_draw(folder, "pareto", &data, &script, drawn));
out:
    bg_text_free(&data);
    bg_text_free(&script);
    return rc;
}

static enum bg_status figure(const struct bg_arena *arena, const struct bg_arena_summary *s,
                             struct bg_text *html)
{
    char folder[BG_PATH_MAX], path[BG_PATH_MAX];
    char *svg = NULL, *begin;
    size_t length = 0;
    bool drawn = false;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(folder, arena->dir, "figures"));
    TRY(bg_dir_make(folder));
    TRY(draw(arena, s, folder, &drawn));
    if (!drawn)
        goto out;
    TRY(bg_path_join(path, folder, "pareto.svg"));
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &svg, &length));
    begin = strstr(svg, "<svg");
    bg_text_add(html, "<figure>");
    if (begin)
        bg_text_add_bytes(html, begin, strlen(begin));
    bg_text_add(html, "<figcaption>Mean test accuracy over mean cost, one point per budget."
                      "</figcaption></figure>\n");
out:
    bg_free(svg);
    return rc;
}

static enum bg_status body(const struct bg_arena *arena, const struct bg_arena_summary *s,
                           struct bg_text *html)
{
    enum bg_status rc = BG_OK;
    bg_text_add(html,
                "<p>%s, %d seeds, base %.2f %% test accuracy; %d trials. Accuracies in %%, "
                "means over seeds; differences in points with 95 %% bootstrap intervals, "
                "paired by seed; \"tie\" where the interval contains 0.</p>\n",
                arena->net->name, s->seeds, 100 * bg_compare_mean(s->fp32, s->seeds), s->trials);
    TRY(figure(arena, s, html));
    heading(html, "What this does and does not prove");
    limits(arena, s, html);
    heading(html, "Accuracy by budget");
    budgets(arena, s, html);
    heading(html, "Ranks by mean accuracy at the chosen epoch");
    ranks(arena, s, html);
    heading(html, "Rank correlation with accuracy over the random plans (Spearman / Kendall)");
    bg_text_add(html, "<p class=\"soft\">1: the criterion orders the plans as their accuracy "
                      "does. At the chosen epoch:</p>\n");
    correlations(arena, s, html, BG_ARENA_BEST);
    bg_text_add(html, "<p class=\"soft\">Before fine-tuning:</p>\n");
    correlations(arena, s, html, BG_ARENA_BEFORE);
    heading(html, "Hypervolume");
    bg_text_add(html,
                "<p class=\"soft\">Area of accuracy over cost beyond the reference: cost "
                "%.4g, error %.4g.</p>\n",
                arena->reference.cost, arena->reference.error);
    volumes(s, html);
    heading(html, "What scoring costs");
    costs(s, html);
    heading(html, "Plans");
    TRY(plans(arena, html));
    heading(html, "Recipe");
    bg_text_add(html, "<pre>");
    bg_text_add_html(html, bg_text_string(&arena->resolved));
    bg_text_add(html, "</pre>\n");
out:
    return rc;
}

enum bg_status bg_arena_report(const struct bg_arena *arena, const struct bg_arena_summary *s)
{
    char path[BG_PATH_MAX];
    struct bg_text html = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&html, BG_ARENA_LIMIT);
    bg_text_add(&html, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                       "<title>");
    bg_text_add_html(&html, arena->recipe->top.name);
    bg_text_add(&html, "</title>\n");
    bg_report_style(&html);
    bg_text_add(&html, "</head><body>\n<h1>");
    bg_text_add_html(&html, arena->recipe->top.name);
    bg_text_add(&html, "</h1>\n<p class=\"soft\">a bitgrad arena</p>\n");
    TRY(body(arena, s, &html));
    bg_text_add(&html, "</body></html>\n");
    TRY(bg_text_check(&html));
    TRY(bg_path_join(path, arena->dir, "report.html"));
    TRY(bg_file_write(path, bg_text_string(&html), html.length));
out:
    bg_text_free(&html);
    return rc;
}
