/* The report's part on selection under budgets and in rounds. */
#include <math.h>

#include "experiments/report.h"
#include "policies/budget.h"

static void add_budgets(const struct bg_record *record, struct bg_text *html)
{
    const struct bg_table *table = &record->table[BG_TABLE_BUDGETS];
    if (table->rows == 0)
        return;
    bg_text_add(html, "<h2>Budgets</h2>\n<table><thead><tr><th>selection</th><th>budget</th>"
                      "<th>limit</th><th>cost</th><th>left</th><th>objective</th><th>proof</th>"
                      "</tr></thead><tbody>\n");
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        bg_text_add(html,
                    "<tr><td>%lld</td><td class=\"left\">%s</td><td>%.6g</td><td>%.6g</td>"
                    "<td>%.6g</td><td>%.6g</td><td class=\"left\">",
                    (long long)row[BG_SPENT_ROUND].integer + 1,
                    bg_budget_names[row[BG_SPENT_KIND].integer], row[BG_SPENT_LIMIT].real,
                    row[BG_SPENT_COST].real, row[BG_SPENT_LIMIT].real - row[BG_SPENT_COST].real,
                    row[BG_SPENT_OBJECTIVE].real);
        if (row[BG_SPENT_OPTIMAL].integer)
            bg_text_add(html, "the least possible");
        else if (isfinite(row[BG_SPENT_BOUND].real))
            bg_text_add(html, "none is below %.6g", row[BG_SPENT_BOUND].real);
        bg_text_add(html, "</td></tr>\n");
    }
    bg_text_add(html, "</tbody></table>\n");
}

static void add_round(const struct bg_record *record, int round, struct bg_text *html)
{
    char name[BG_NAME_MAX];
    const char *plan;
    bg_record_round_name(round, name);
    plan = bg_record_find_plan(record, name);
    if (!plan)
        return;
    bg_text_add(html,
                "<details><summary>selection %d, after step %lld of fine-tuning</summary>\n<pre>",
                round + 1, (long long)bg_record_round(record, round).step);
    bg_text_add_html(html, plan);
    bg_text_add(html, "</pre></details>\n");
}

void bg_report_selections(const struct bg_record *record, struct bg_text *html)
{
    add_budgets(record, html);
    if (bg_record_rounds(record) == 1)
        return;
    bg_text_add(html, "<h2>Selections along fine-tuning</h2>\n");
    for (int i = 0; i < bg_record_rounds(record); i++)
        add_round(record, i, html);
}
