/* Data and scripts of the report's figures. Scripts hold numbers and our own words only; names of
 * layers stand in the data. */
#include <math.h>
#include <stdio.h>

#include "experiments/plot.h"
#include "experiments/report.h"

#define TEXT_LIMIT (1 << 26)

/* gnuplot 5.4 has no viridis: its corner colours (Smith and van der Walt, matplotlib, CC0). */
static const char palette[] =
    "set palette defined (0 '#440154', 1 '#414487', 2 '#2a788e', 3 '#22a884', 4 '#7ad151', "
    "5 '#fde725')\n";

struct figure {
    const struct bg_record *record;
    struct bg_text tsv, script;
    bool empty; /* nothing to draw */
};

static void bits(struct figure *figure, const char *name)
{
    const struct bg_table *table = &figure->record->table[BG_TABLE_LAYERS];
    figure->empty = table->rows == 0;
    bg_text_add(&figure->tsv, "layer\tweight_bits\tactivation_bits\n");
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        bg_text_add(&figure->tsv, "%s\t%lld\t%lld\n",
                    figure->record->layer_name[row[BG_LAYER_LAYER].integer],
                    (long long)row[BG_LAYER_WEIGHT_BITS].integer,
                    (long long)row[BG_LAYER_ACTIVATION_BITS].integer);
    }
    bg_text_add(&figure->script,
                "set style data histograms\nset style fill solid 0.9 noborder\nset boxwidth 0.9\n"
                "set yrange [0:*]\nset ylabel 'bits'\nset key outside top right horizontal\n"
                "set xtics rotate by -45 noenhanced font ',11'\n"
                "plot '%s.tsv' using 2:xtic(1) skip 1 title 'weights' ls 1, "
                "'' using 3 skip 1 title 'activations' ls 2\n",
                name);
}

/* Of several selections the figures show the last. */
static struct bg_round last_round(const struct bg_record *record)
{
    return bg_record_round(record, bg_record_rounds(record) - 1);
}

static void scores(struct figure *figure, const char *name)
{
    const struct bg_table *table = &figure->record->table[BG_TABLE_RANKING];
    const struct bg_round round = last_round(figure->record);
    bool positive = true;
    figure->empty = true;
    bg_text_add(&figure->tsv, "layer\tscore\n");
    for (int64_t r = round.from[BG_ROUND_RANKING]; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        double score = row[BG_RANK_SCORE].real;
        if (!isfinite(score))
            continue;
        figure->empty = false;
        positive = positive && score > 0.0;
        bg_text_add(&figure->tsv, "%s\t%.9g\n",
                    figure->record->layer_name[row[BG_RANK_LAYER].integer], score);
    }
    bg_text_add(&figure->script,
                "set style data histograms\nset style fill solid 0.9 noborder\nset boxwidth 0.7\n"
                "set ylabel 'statistic'\nset xtics rotate by -45 noenhanced font ',11'\n%s"
                "plot '%s.tsv' using 2:xtic(1) skip 1 notitle ls 3\n",
                positive ? "set logscale y\nset format y '%.0e'\n" : "", name);
}

/* Few whole numbers are all marked; gnuplot would put halves between them. */
static const char *whole_tics(int64_t count)
{
    return count <= 24 ? "set xtics 1\n" : "";
}

static void search(struct figure *figure, const char *name)
{
    const struct bg_table *table = &figure->record->table[BG_TABLE_SEARCH];
    int64_t first = last_round(figure->record).from[BG_ROUND_SEARCH];
    figure->empty = table->rows - first < 2;
    bg_text_add(&figure->tsv, "k\taccuracy_percent\tpassed\n");
    for (int64_t r = first; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        bg_text_add(&figure->tsv, "%lld\t%.6f\t%lld\n", (long long)row[BG_SEARCH_K].integer,
                    100.0 * row[BG_SEARCH_ACCURACY].real, (long long)row[BG_SEARCH_PASSED].integer);
    }
    bg_text_add(
        &figure->script,
        "set xlabel 'layers at the second precision'\nset ylabel 'validation accuracy, %%'\n"
        "set offsets 0.5, 0.5, 0.2, 0.2\n%sset key outside top right horizontal\n"
        "plot '%s.tsv' using 1:($3==1?$2:1/0) skip 1 with points pt 7 ps 1.2 lc rgb "
        "'#2f9e6e' title 'passes', '' using 1:($3==0?$2:1/0) skip 1 with points pt 7 ps "
        "1.2 lc rgb '#c0392b' title 'too much'\n",
        whole_tics(figure->record->layers), name);
}

/* Epochs of both training stages on one axis; fine-tuning goes on where training ended. */
static void curves(struct figure *figure, const char *name, bool accuracy)
{
    static const enum bg_record_table stages[] = {BG_TABLE_TRAIN_EPOCHS, BG_TABLE_FINETUNE_EPOCHS};
    const int train = accuracy ? BG_EPOCH_TRAIN_ACCURACY : BG_EPOCH_TRAIN_LOSS;
    const int validation = accuracy ? BG_EPOCH_VALIDATION_ACCURACY : BG_EPOCH_VALIDATION_LOSS;
    const double scale = accuracy ? 100.0 : 1.0;
    int64_t offset = 0, end_of_training = 0;

    bg_text_add(&figure->tsv, "epoch\ttrain\tvalidation\n");
    for (int s = 0; s < 2; s++) {
        const struct bg_table *table = &figure->record->table[stages[s]];
        for (int64_t r = 0; r < table->rows; r++) {
            const union bg_cell *row = bg_table_row(table, r);
            const int64_t epoch = offset + row[BG_EPOCH_EPOCH].integer;
            bg_text_add(&figure->tsv, "%lld\t%.9g\t%.9g\n", (long long)epoch,
                        scale * row[train].real, scale * row[validation].real);
        }
        offset += table->rows;
        end_of_training = s == 0 ? offset : end_of_training;
    }
    figure->empty = offset == 0;
    bg_text_add(&figure->script,
                "set xlabel 'epoch'\nset ylabel '%s'\nset key outside top right horizontal\n"
                "set datafile missing 'nan'\n%s",
                accuracy ? "accuracy, %" : "loss", whole_tics(offset));
    if (end_of_training > 0 && offset > end_of_training)
        bg_text_add(&figure->script,
                    "set arrow from first %lld.5, graph 0 to first %lld.5, graph 1 nohead dt 2 lc "
                    "rgb '#888888'\n",
                    (long long)end_of_training, (long long)end_of_training);
    bg_text_add(&figure->script,
                "plot '%s.tsv' using 1:2 skip 1 with linespoints ls 1 title 'training', '' using "
                "1:3 skip 1 with linespoints ls 2 title 'validation'\n",
                name);
}

/* Layer x step, log2 of the mean square. At most 64 columns: more are thinned out evenly. */
static void heat(struct figure *figure, const char *name, enum bg_quantity quantity)
{
    const struct bg_profile *stage = &figure->record->profile[BG_PROFILE_STAGE];
    const struct bg_profile *profile =
        stage->rows > 0 ? stage : &figure->record->profile[BG_PROFILE_TRAIN];
    int64_t columns = profile->rows < 64 ? profile->rows : 64;

    figure->empty = columns == 0;
    bg_text_add(&figure->tsv, "column\tlayer\tlog2_mean_square\tname\tstep\n");
    for (int l = 0; l < profile->layers; l++)
        for (int64_t c = 0; c < columns; c++) {
            int64_t r = c * profile->rows / columns;
            double square = bg_stats_mean_square(bg_profile_at(profile, r, quantity, l));
            bg_text_add(&figure->tsv, "%lld\t%d\t%.5f\t%s\t%lld\n", (long long)c + 1, l,
                        square > 0.0 ? log2(square) : (double)NAN, figure->record->layer_name[l],
                        (long long)profile->row_step[r]);
        }
    bg_text_add(&figure->script,
                "%sunset grid\nset xlabel '%s'\nset cblabel 'log2 of the mean square'\n"
                "set datafile missing 'nan'\n"
                "set xrange [0.5:%lld.5]\nset yrange [%d.5:-0.5]\n"
                "set ytics noenhanced font ',11'\n%s"
                "plot '%s.tsv' using 1:2:3:ytic(4) skip 1 with image pixels notitle\n",
                palette, profile == stage ? "batch" : "recorded step", (long long)columns,
                profile->layers - 1, whole_tics(columns), name);
}

static void displacement(struct figure *figure, const char *name)
{
    const struct bg_profile *stage = &figure->record->profile[BG_PROFILE_STAGE];
    const struct bg_profile *profile =
        stage->cycles > 0 ? stage : &figure->record->profile[BG_PROFILE_TRAIN];
    enum bg_reference reference = BG_REFERENCE_INITIAL;

    figure->empty = profile->cycles == 0;
    if (!figure->empty && isnan(*bg_profile_displacement_at(profile, 0, reference, 0)))
        reference = BG_REFERENCE_RESET;
    bg_text_add(&figure->tsv, "cycle\tlayer\tlog2_mean_square\tname\n");
    for (int l = 0; l < profile->layers; l++)
        for (int64_t c = 0; c < profile->cycles; c++) {
            double square = *bg_profile_displacement_at(profile, c, reference, l);
            bg_text_add(&figure->tsv, "%lld\t%d\t%.5f\t%s\n", (long long)c + 1, l,
                        square > 0.0 ? log2(square) : (double)NAN, figure->record->layer_name[l]);
        }
    bg_text_add(&figure->script,
                "%sunset grid\nset xlabel '%s'\nset cblabel 'log2 of the mean square'\n"
                "set datafile missing 'nan'\n"
                "set xrange [0.5:%lld.5]\nset yrange [%d.5:-0.5]\nset ytics noenhanced font ',11'\n"
                "%splot '%s.tsv' using 1:2:3:ytic(4) skip 1 with image pixels notitle\n",
                palette, profile == stage ? "cycle" : "epoch", (long long)profile->cycles,
                profile->layers - 1, whole_tics(profile->cycles), name);
}

static const char *const names[BG_FIGURES] = {[BG_FIGURE_BITS] = "bits",
                                              [BG_FIGURE_SCORES] = "statistic",
                                              [BG_FIGURE_SEARCH] = "search",
                                              [BG_FIGURE_ACCURACY] = "accuracy",
                                              [BG_FIGURE_LOSS] = "loss",
                                              [BG_FIGURE_WEIGHT_GRADIENT] = "gradient_weight",
                                              [BG_FIGURE_INPUT_GRADIENT] = "gradient_input",
                                              [BG_FIGURE_OUTPUT_GRADIENT] = "gradient_output",
                                              [BG_FIGURE_DISPLACEMENT] = "displacement"};

const char *bg_figure_name(enum bg_figure figure)
{
    return names[figure];
}

static void fill(struct figure *figure, enum bg_figure which)
{
    const char *name = names[which];
    switch (which) {
    case BG_FIGURE_BITS:
        bits(figure, name);
        break;
    case BG_FIGURE_SCORES:
        scores(figure, name);
        break;
    case BG_FIGURE_SEARCH:
        search(figure, name);
        break;
    case BG_FIGURE_ACCURACY:
    case BG_FIGURE_LOSS:
        curves(figure, name, which == BG_FIGURE_ACCURACY);
        break;
    case BG_FIGURE_WEIGHT_GRADIENT:
        heat(figure, name, BG_QUANTITY_WEIGHT_GRAD);
        break;
    case BG_FIGURE_INPUT_GRADIENT:
        heat(figure, name, BG_QUANTITY_IN_GRAD);
        break;
    case BG_FIGURE_OUTPUT_GRADIENT:
        heat(figure, name, BG_QUANTITY_OUT_GRAD);
        break;
    default:
        displacement(figure, name);
        break;
    }
}

static int height_of(const struct bg_record *record, enum bg_figure which)
{
    bool tall = which >= BG_FIGURE_WEIGHT_GRADIENT;
    int height = tall ? 120 + 20 * record->layers : 320;
    return height > 2400 ? 2400 : height;
}

enum bg_status bg_figure_draw(const struct bg_record *record, enum bg_figure which, const char *dir,
                              bool *drawn)
{
    struct figure figure = {.record = record};
    enum bg_status rc = BG_OK;

    *drawn = false;
    bg_text_init(&figure.tsv, TEXT_LIMIT);
    bg_text_init(&figure.script, TEXT_LIMIT);
    bg_plot_begin(&figure.script, names[which], 860, height_of(record, which));
    fill(&figure, which);
    if (!figure.empty)
        TRY(bg_plot_draw(dir, names[which], &figure.tsv, &figure.script, drawn));
out:
    bg_text_free(&figure.tsv);
    bg_text_free(&figure.script);
    return rc;
}

enum bg_status bg_figure_weights(const struct bg_record *record, int layer, const char *dir,
                                 bool *drawn, char name[32])
{
    const struct bg_table *table = &record->table[BG_TABLE_WEIGHTS];
    struct bg_text tsv = {0}, script = {0};
    bool any = false;
    enum bg_status rc = BG_OK;

    *drawn = false;
    bg_text_init(&tsv, TEXT_LIMIT);
    bg_text_init(&script, TEXT_LIMIT);
    (void)snprintf(name, 32, "weights_%03d", layer);
    bg_plot_begin(&script, name, 320, 190);
    bg_text_add(&tsv, "code\tcount\n");
    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        if (row[BG_WEIGHT_LAYER].integer != layer)
            continue;
        any = true;
        bg_text_add(&tsv, "%lld\t%lld\n", (long long)row[BG_WEIGHT_CODE].integer,
                    (long long)row[BG_WEIGHT_COUNT].integer);
    }
    bg_text_add(
        &script,
        "set style fill solid 0.9 noborder\nset boxwidth 0.9\nset xlabel 'code'\n"
        "set yrange [0:*]\nset offsets 0.5, 0.5, 0, 0\nset format y '%%.0f'\nset tics font ',11'\n"
        "plot '%s.tsv' using 1:2 skip 1 with boxes ls 1 notitle\n",
        name);
    if (any)
        TRY(bg_plot_draw(dir, name, &tsv, &script, drawn));
out:
    bg_text_free(&tsv);
    bg_text_free(&script);
    return rc;
}
