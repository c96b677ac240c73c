/* Puts the report together: sections, and the figures' SVG inline. */
#include "experiments/report.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"

#define HTML_LIMIT  (1 << 28)
#define SVG_LIMIT   (1 << 24)
#define LAYERS_MOST 64 /* weight figures; the data of all layers is in run.h5 */

struct report {
    const struct bg_record *record;
    struct bg_text html;
    char figures[BG_PATH_MAX]; /* folder; "" = none are drawn */
    int drawn;
};

/* The SVG from its root element on: the XML declaration has no place inside HTML. */
static enum bg_status embed(struct report *report, const char *name, const char *caption)
{
    char path[BG_PATH_MAX], file[96];
    char *svg = NULL, *start;
    size_t length = 0;
    enum bg_status rc = BG_OK;

    (void)snprintf(file, sizeof file, "%s.svg", name);
    TRY(bg_path_join(path, report->figures, file));
    TRY(bg_file_read(path, SVG_LIMIT, &svg, &length));
    start = strstr(svg, "<svg");
    report->drawn++;
    bg_text_add(&report->html, "<figure>");
    if (start)
        bg_text_add_bytes(&report->html, start, strlen(start));
    bg_text_add(&report->html, "<figcaption>");
    bg_text_add_html(&report->html, caption);
    bg_text_add(&report->html, "</figcaption></figure>\n");
out:
    bg_free(svg);
    return rc;
}

static enum bg_status figure(struct report *report, enum bg_figure which, const char *caption)
{
    bool drawn = false;
    enum bg_status rc = BG_OK;
    if (!*report->figures)
        return BG_OK;
    TRY(bg_figure_draw(report->record, which, report->figures, &drawn));
    if (drawn)
        TRY(embed(report, bg_figure_name(which), caption));
out:
    return rc;
}

static void heading(struct report *report, const char *text)
{
    bg_text_add(&report->html, "<h2>%s</h2>\n", text);
}

static enum bg_status layers(struct report *report)
{
    enum bg_status rc = BG_OK;
    heading(report, "Layers and their bits");
    bg_report_layers(report->record, &report->html);
    TRY(figure(report, BG_FIGURE_BITS, "Bits of each layer's weights and of its input."));
    TRY(figure(report, BG_FIGURE_SCORES,
               "The statistic the policy ranked by; layers at the small end are quantized first "
               "when the order is ascending."));
    TRY(figure(report, BG_FIGURE_SEARCH,
               "The search: validation accuracy with the first k ranked layers at the second "
               "precision, before fine-tuning."));
out:
    return rc;
}

static enum bg_status training(struct report *report)
{
    enum bg_status rc = BG_OK;
    heading(report, "Training");
    if (report->record->table[BG_TABLE_TRAIN_EPOCHS].rows == 0 &&
        report->record->table[BG_TABLE_FINETUNE_EPOCHS].rows == 0)
        bg_text_add(&report->html, "<p class=\"soft\">This run did not train.</p>\n");
    TRY(figure(report, BG_FIGURE_ACCURACY,
               "Accuracy by epoch; right of the dashed line in the chosen bits."));
    TRY(figure(report, BG_FIGURE_LOSS, "Loss by epoch."));
out:
    return rc;
}

static enum bg_status gradients(struct report *report)
{
    enum bg_status rc = BG_OK;
    heading(report, "Gradients and weight displacement");
    bg_text_add(
        &report->html,
        "<p class=\"soft\">Brighter is larger. Input and output gradients are multiplied by "
        "the batch size, so that they do not depend on it.</p>\n");
    TRY(figure(report, BG_FIGURE_WEIGHT_GRADIENT, "Weight gradients, layer by step."));
    TRY(figure(report, BG_FIGURE_INPUT_GRADIENT, "Gradients of the layers' inputs."));
    TRY(figure(report, BG_FIGURE_OUTPUT_GRADIENT, "Gradients of the layers' outputs."));
    TRY(figure(report, BG_FIGURE_DISPLACEMENT,
               "Mean square of the weights' distance from where they began."));
out:
    return rc;
}

static enum bg_status weights(struct report *report)
{
    const struct bg_record *record = report->record;
    int most = record->layers < LAYERS_MOST ? record->layers : LAYERS_MOST;
    enum bg_status rc = BG_OK;

    if (!*report->figures)
        return BG_OK;
    heading(report, "Weights on their grids");
    bg_text_add(&report->html,
                "<p class=\"soft\">How many weights have each integer code. Layers without a grid "
                "of at most 8 bits are counted in 255 bins up to their largest weight.</p>\n<div "
                "class=\"grid\">\n");
    for (int l = 0; l < most; l++) {
        char name[32];
        bool drawn = false;
        TRY(bg_figure_weights(record, l, report->figures, &drawn, name));
        if (drawn)
            TRY(embed(report, name, record->layer_name[l]));
    }
    bg_text_add(&report->html, "</div>\n");
    if (most < record->layers)
        bg_text_add(&report->html,
                    "<p class=\"soft\">The first %d of %d layers; run.h5 has all.</p>\n", most,
                    record->layers);
out:
    return rc;
}

static void texts(struct report *report)
{
    const struct bg_record *record = report->record;
    struct bg_text *html = &report->html;
    bg_report_selections(record, html);
    bg_report_updates(record, html);
    heading(report, "Size and bit operations");
    bg_report_costs(record, html);
    bg_report_integers(record, html);
    heading(report, "Accuracy by class");
    bg_report_classes(record, html);
    heading(report, "Plan");
    bg_text_add(html, "<p class=\"soft\">Edit it and train with it: <code>select.plan=FILE</code> "
                      "or <code>quantize.plan=FILE</code>.</p>\n<pre>");
    bg_text_add_html(html, *bg_record_plan(record) ? bg_record_plan(record) : "f32");
    bg_text_add(html, "</pre>\n");
    heading(report, "Recipe");
    bg_text_add(html, "<pre>");
    bg_text_add_html(html, record->recipe);
    bg_text_add(html, "</pre>\n");
    heading(report, "Implementations");
    bg_text_add(html, "<details><summary>which primitive runs each node</summary>\n");
    bg_report_implementations(record, html);
    bg_text_add(html, "</details>\n");
}

static enum bg_status body(struct report *report)
{
    struct bg_text *html = &report->html;
    enum bg_status rc = BG_OK;

    bg_text_add(html, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      "<title>");
    bg_text_add_html(html, report->record->name);
    bg_text_add(html, "</title>\n");
    bg_report_style(html);
    bg_text_add(html, "</head><body>\n<h1>");
    bg_text_add_html(html, report->record->name);
    bg_text_add(html, "</h1>\n<p class=\"soft\">a bitgrad run</p>\n");
    bg_report_summary(report->record, html);
    if (!*report->figures)
        bg_text_add(html, "<p class=\"soft\">Without figures: they were switched off.</p>\n");
    TRY(layers(report));
    TRY(training(report));
    TRY(gradients(report));
    TRY(weights(report));
    texts(report);
    if (*report->figures && report->drawn == 0)
        bg_text_add(html, "<p>There are no figures because gnuplot is missing or failed. Their "
                          "data and scripts are in <code>figures/</code>; <code>bitgrad report "
                          "RUN</code> draws them once it is there.</p>\n");
    bg_text_add(html, "</body></html>\n");
    TRY(bg_text_check(html));
out:
    return rc;
}

enum bg_status bg_report_write(const struct bg_record *record, const char *dir, bool figures)
{
    struct report report = {.record = record};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    bg_text_init(&report.html, HTML_LIMIT);
    if (figures) {
        TRY(bg_path_join(report.figures, dir, "figures"));
        TRY(bg_dir_make(report.figures));
    }
    TRY(body(&report));
    TRY(bg_path_join(path, dir, "report.html"));
    TRY(bg_file_write(path, bg_text_string(&report.html), report.html.length));
out:
    bg_text_free(&report.html);
    return rc;
}
