/* The report's table of updates: each training stage, layer by layer, all epochs together. */
#include <math.h>

#include "experiments/report.h"

static void share(struct bg_text *html, double part, double whole)
{
    if (isfinite(part) && whole > 0)
        bg_text_add(html, "<td>%.3f %%</td>", 100.0 * part / whole);
    else
        bg_text_add(html, "<td></td>");
}

static void row(const struct bg_record *record, enum bg_updated stage, int layer,
                struct bg_text *html)
{
    struct bg_update_sum sum;

    if (!bg_record_sum_updates(record, stage, layer, &sum))
        return;
    bg_text_add(html, "<tr><td>");
    bg_text_add_html(html, record->layer_name[layer]);
    bg_text_add(html, "</td><td class=\"left\">%s</td><td class=\"left\">",
                bg_updated_names[stage]);
    bg_text_add_html(html, record->update_method[sum.method]);
    bg_text_add(html, "</td>");
    if (sum.weight_bits > 0)
        bg_text_add(html, "<td>%d</td>", sum.weight_bits);
    else
        bg_text_add(html, "<td>f32</td>");
    if (sum.counted)
        bg_text_add(html, "<td>%d</td><td>%.4g</td>", sum.below_bits, sum.written / sum.weights);
    else
        bg_text_add(html, "<td></td><td></td>");
    share(html, sum.written, sum.updates);
    share(html, sum.lost, sum.updates);
    share(html, sum.saturated, sum.updates);
    bg_text_add(html, "<td>%.3g</td></tr>\n", sum.mean_step);
}

void bg_report_updates(const struct bg_record *record, struct bg_text *html)
{
    if (record->table[BG_TABLE_UPDATES].rows == 0)
        return;
    bg_text_add(
        html,
        "<h2>Updates</h2>\n<p class=\"soft\">Bits below the weight's last one; how often the mean "
        "weight's code changed in all and in one step; steps that rounded to nothing; steps that "
        "stopped at an end of the grid or the buffer; the mean size of the optimizer's steps in "
        "units of the weight's step (of a sample; weights without a grid: of 1/127 of the "
        "largest).</p>\n<div class=\"wide\"><table><thead><tr><th>layer</th><th "
        "class=\"left\">stage</th><th class=\"left\">method</th><th>weight "
        "bits</th><th>below</th><th>writes</th><th>in a "
        "step</th><th>lost</th><th>saturated</th><th>mean step</th></tr></thead><tbody>\n");
    for (int s = 0; s < BG_UPDATED; s++)
        for (int i = 0; i < record->layers; i++)
            row(record, (enum bg_updated)s, i, html);
    bg_text_add(html, "</tbody></table></div>\n");
}
