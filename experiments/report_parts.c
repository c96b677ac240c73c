/* The sections of the report that need no figure. Every text that came from outside is escaped. */
#include <math.h>
#include <string.h>

#include "experiments/report.h"

void bg_report_style(struct bg_text *html)
{
    bg_text_add(
        html,
        "<style>\n"
        ":root{--paper:#fff;--card:#f6f7f9;--ink:#1c2530;--soft:#5b6775;--line:#d8dde3;"
        "--mark:#3b7dd8}\n"
        "@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1d232a;--ink:#e4e9ee;"
        "--soft:#9aa7b4;--line:#333c46;--mark:#6ea8f5}}\n"
        "*{box-sizing:border-box}\n"
        "body{margin:0 auto;max-width:1000px;padding:2rem 1.2rem 5rem;background:var(--paper);"
        "color:var(--ink);font:16px/1.55 system-ui,sans-serif}\n"
        "h1{font-size:1.9rem;margin:0 0 .2rem}h2{font-size:1.25rem;margin:2.6rem 0 .6rem;"
        "padding-bottom:.25rem;border-bottom:2px solid var(--mark)}h3{font-size:1rem;margin:1.4rem "
        "0 .3rem}\n"
        "p{max-width:70ch}.soft{color:var(--soft)}\n"
        ".tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}"
        ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;"
        "padding:.7rem 1rem;min-width:9.5rem}.tile b{display:block;font-size:1.5rem;"
        "font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}\n"
        ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;"
        "font-variant-numeric:tabular-nums;margin:.6rem 0}th,td{padding:.28rem .7rem;"
        "text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
        "th{color:var(--soft);font-weight:600}th:first-child,td:first-child,.left{text-align:left}"
        "tbody tr:hover{background:var(--card)}\n"
        "code,pre{font:13px/1.5 ui-monospace,monospace}pre{background:var(--card);"
        "border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;overflow-x:auto}\n"
        "figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.88rem}"
        "figure svg{width:100%%;height:auto;color:var(--ink)}\n"
        "figure svg [color=black]{color:var(--ink)}figure svg [fill=black]{fill:var(--ink)}"
        "figure svg [stroke=black]{stroke:var(--ink)}\n"
        ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(280px,1fr));gap:.6rem "
        "1.2rem}.grid figure{margin:.2rem 0}\n"
        "details summary{cursor:pointer;color:var(--mark)}\n"
        "</style>\n");
}

static void tile(struct bg_text *html, const char *label, const char *format, double value)
{
    bg_text_add(html, "<div class=\"tile\"><span>%s</span><b>", label);
    /* The three formats are ours; a number stands in each. */
    if (!strcmp(format, "percent"))
        bg_text_add(html, "%.2f %%", 100.0 * value);
    else if (!strcmp(format, "times"))
        bg_text_add(html, "%.2f&times;", value);
    else
        bg_text_add(html, "%.2f", value);
    bg_text_add(html, "</b></div>\n");
}

static void add_row(struct bg_text *html, const char *key, const char *value)
{
    bg_text_add(html, "<tr><td>%s</td><td class=\"left\">", key);
    bg_text_add_html(html, value);
    bg_text_add(html, "</td></tr>\n");
}

void bg_report_summary(const struct bg_record *record, struct bg_text *html)
{
    static const char *const labels[BG_EVALUATED] = {"fp32 test accuracy", "quantized", "finetuned",
                                                     "trained"};
    const struct bg_table *costs = &record->table[BG_TABLE_COSTS];
    const struct bg_environment *environment = &record->environment;

    bg_text_add(html, "<div class=\"tiles\">\n");
    for (int i = 0; i < BG_EVALUATED; i++) {
        enum bg_evaluated k = bg_evaluated_order[i];
        const union bg_cell *row = bg_record_evaluation(record, k, BG_ON_TEST);
        if (row)
            tile(html, labels[k], "percent", row[BG_EVAL_ACCURACY].real);
    }
    if (costs->rows >= 2) {
        const union bg_cell *plain = bg_table_row(costs, 0), *planned = bg_table_row(costs, 1);
        tile(html, "smaller than f32", "times",
             plain[BG_COST_BYTES].real / planned[BG_COST_BYTES].real);
        tile(html, "bits per weight", "plain", planned[BG_COST_MEAN_BITS].real);
    }
    bg_text_add(html, "</div>\n<table>\n");
    add_row(html, "network", record->network);
    add_row(html, "data", record->data_title);
    bg_text_add(html,
                "<tr><td>samples</td><td class=\"left\">%lld to train, %lld to validate, %lld to "
                "test</td></tr>\n",
                (long long)record->train_count, (long long)record->validation_count,
                (long long)record->test_count);
    if (*record->ranking_note) {
        add_row(html, "policy", record->policy);
        add_row(html, "statistic", record->ranking_note);
    }
    bg_text_add(html, "<tr><td>seed, threads</td><td class=\"left\">%lld, %d</td></tr>\n",
                (long long)record->seed, environment->threads);
    add_row(html, "instruction set", environment->isa);
    add_row(html, "CPU", environment->cpu);
    add_row(html, "oneDNN", environment->onednn);
    add_row(html, "bitgrad", environment->bitgrad);
    bg_text_add(html, "</table>\n");
}

static void add_bits(struct bg_text *html, int64_t bits)
{
    if (bits >= 32)
        bg_text_add(html, "<td>f32</td>");
    else
        bg_text_add(html, "<td>%lld</td>", (long long)bits);
}

static void add_rank(const struct bg_record *record, int layer, struct bg_text *html)
{
    const union bg_cell *rank = bg_record_rank(record, layer);
    if (rank && isfinite(rank[BG_RANK_SCORE].real))
        bg_text_add(html, "<td>%.4g</td>", rank[BG_RANK_SCORE].real);
    else
        bg_text_add(html, "<td></td>");
    if (rank && rank[BG_RANK_PINNED].integer)
        bg_text_add(html, "<td>pinned</td>");
    else if (rank && rank[BG_RANK_RANK].integer > 0)
        bg_text_add(html, "<td>%lld</td>", (long long)rank[BG_RANK_RANK].integer);
    else
        bg_text_add(html, "<td></td>");
}

void bg_report_layers(const struct bg_record *record, struct bg_text *html)
{
    const struct bg_table *table = &record->table[BG_TABLE_LAYERS];
    bg_text_add(html, "<div class=\"wide\"><table><thead><tr><th>layer</th><th>type</th>"
                      "<th>output</th><th>weights</th><th>MACs</th><th>statistic</th><th>rank</th>"
                      "<th>weight bits</th><th>activation bits</th></tr></thead><tbody>\n");
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        int layer = (int)row[BG_LAYER_LAYER].integer;
        bg_text_add(html, "<tr><td>");
        bg_text_add_html(html, record->layer_name[layer]);
        bg_text_add(html, "</td><td class=\"left\">");
        bg_text_add_html(html, record->layer_op[layer]);
        bg_text_add(html, "</td><td>%lld&times;%lld&times;%lld</td><td>%lld</td><td>%lld</td>",
                    (long long)row[BG_LAYER_HEIGHT].integer, (long long)row[BG_LAYER_WIDTH].integer,
                    (long long)row[BG_LAYER_CHANNELS].integer,
                    (long long)row[BG_LAYER_WEIGHTS].integer,
                    (long long)row[BG_LAYER_MACS].integer);
        add_rank(record, layer, html);
        add_bits(html, row[BG_LAYER_WEIGHT_BITS].integer);
        add_bits(html, row[BG_LAYER_ACTIVATION_BITS].integer);
        bg_text_add(html, "</tr>\n");
    }
    bg_text_add(html, "</tbody></table></div>\n");
}

void bg_report_costs(const struct bg_record *record, struct bg_text *html)
{
    static const char *const rows[] = {"f32", "quantized"};
    const struct bg_table *table = &record->table[BG_TABLE_COSTS];
    bg_text_add(html, "<table><thead><tr><th></th><th>size, kB</th><th>bits per weight</th>"
                      "<th>GBOPs, HAWQ</th><th>GBOPs, detailed</th></tr></thead><tbody>\n");
    for (int64_t r = 0; r < table->rows && r < 2; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        bg_text_add(html,
                    "<tr><td>%s</td><td>%.1f</td><td>%.2f</td><td>%.4f</td><td>%.4f</td></tr>\n",
                    rows[r], row[BG_COST_BYTES].real / 1e3, row[BG_COST_MEAN_BITS].real,
                    row[BG_COST_HAWQ].real / 1e9, row[BG_COST_DETAILED].real / 1e9);
    }
    bg_text_add(
        html,
        "</tbody></table>\n<p class=\"soft\">Size: weights at their bits, biases and norms at 32. "
        "Bit "
        "operations of one sample, summed over layers. HAWQ: <code>MACs &middot; b_w &middot; "
        "b_a</code>. Detailed: <code>MACs &middot; (b_w&middot;b_a + b_w + b_a + "
        "log2(n&middot;k&sup2;))</code>, n the input channels of a group, k the kernel's side; b_w "
        "and b_a are the bits of weights and of the layer's input, 32 for f32.</p>\n");
}

void bg_report_integers(const struct bg_record *record, struct bg_text *html)
{
    const struct bg_table *table = &record->table[BG_TABLE_INTEGERS];
    const union bg_cell *row;
    if (table->rows < 1)
        return;
    row = bg_table_row(table, 0);
    bg_text_add(
        html,
        "<p>Integers: %lld of %lld outputs of all tensors differ from the independent "
        "judge, over %lld test images; tensors called MISTRUSTED: %lld.</p>\n",
        (long long)row[BG_INTEGER_DIFFER].integer, (long long)row[BG_INTEGER_OUTPUTS].integer,
        (long long)row[BG_INTEGER_IMAGES].integer, (long long)row[BG_INTEGER_MISTRUSTED].integer);
}

static double class_accuracy(const struct bg_record *record, int kind, int64_t class_index,
                             int64_t *count)
{
    const struct bg_table *table = &record->table[BG_TABLE_CLASSES];
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_CLASS_KIND].integer != kind || row[BG_CLASS_PART].integer != BG_ON_TEST ||
            row[BG_CLASS_CLASS].integer != class_index)
            continue;
        *count = row[BG_CLASS_COUNT].integer;
        return *count > 0 ? (double)row[BG_CLASS_CORRECT].integer / (double)*count : (double)NAN;
    }
    return (double)NAN;
}

void bg_report_classes(const struct bg_record *record, struct bg_text *html)
{
    bg_text_add(html, "<table><thead><tr><th>class</th><th>test samples</th>");
    for (int i = 0; i < BG_EVALUATED; i++)
        bg_text_add(html, "<th>%s</th>", bg_evaluated_names[bg_evaluated_order[i]]);
    bg_text_add(html, "</tr></thead><tbody>\n");
    for (int64_t c = 0; c < record->spec.classes; c++) {
        int64_t count = 0;
        double accuracy[BG_EVALUATED];
        for (int k = 0; k < BG_EVALUATED; k++)
            accuracy[k] = class_accuracy(record, (int)bg_evaluated_order[k], c, &count);
        bg_text_add(html, "<tr><td>%lld</td><td>%lld</td>", (long long)c, (long long)count);
        for (int k = 0; k < BG_EVALUATED; k++) {
            if (isnan(accuracy[k]))
                bg_text_add(html, "<td></td>");
            else
                bg_text_add(html, "<td>%.2f %%</td>", 100.0 * accuracy[k]);
        }
        bg_text_add(html, "</tr>\n");
    }
    bg_text_add(html, "</tbody></table>\n");
}

void bg_report_implementations(const struct bg_record *record, struct bg_text *html)
{
    bg_text_add(html, "<div class=\"wide\"><table><thead><tr><th>node</th><th>op</th>"
                      "<th>forward</th><th>backward data</th><th>backward weights</th></tr></thead>"
                      "<tbody>\n");
    for (int64_t i = 0; i < record->implementations; i++) {
        bg_text_add(html, "<tr>");
        for (int f = 0; f < BG_IMPLEMENTATION_FIELDS; f++) {
            bg_text_add(html, "<td class=\"left\">");
            bg_text_add_html(html, record->implementation[i].text[f]);
            bg_text_add(html, "</td>");
        }
        bg_text_add(html, "</tr>\n");
    }
    bg_text_add(html, "</tbody></table></div>\n");
}
