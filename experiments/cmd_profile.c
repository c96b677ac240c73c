/* `bitgrad profile export`: everything a run has measured, as one long table: gradients, weight
 * displacement, the rows of measures, what updates did and the memory of weights. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/arguments.h"
#include "experiments/print_json.h"
#include "experiments/select_data.h"

extern const struct bg_command bg_cmd_profile;

static const char *const sources[BG_PROFILES] = {"training", "batches", "finetuning"};

/* One line. "", -1 and NaN stand for what a row has not. */
struct line {
    const char *table, *source, *layer, *role, *quantity, *method;
    int64_t step, channel, bits, samples, passes, epoch;
    double value, spread;
};

struct out {
    bool json, channels;
    struct bg_text text; /* of the TSV */
    json_t *rows;
};

static void add_integer(struct bg_text *text, int64_t value)
{
    if (value >= 0)
        bg_text_add(text, "\t%lld", (long long)value);
    else
        bg_text_add(text, "\t");
}

static void add_real(struct bg_text *text, double value)
{
    char digits[32] = "";
    if (isfinite(value))
        bg_text_real(digits, value);
    bg_text_add(text, "\t%s", digits);
}

static void add_tsv(struct bg_text *text, const struct line *line)
{
    bg_text_add(text, "%s\t%s", line->table, line->source);
    add_integer(text, line->step);
    bg_text_add(text, "\t%s\t%s", line->layer, line->role);
    add_integer(text, line->channel);
    add_integer(text, line->bits);
    bg_text_add(text, "\t%s", line->quantity);
    add_real(text, line->value);
    add_real(text, line->spread);
    add_integer(text, line->samples);
    add_integer(text, line->passes);
    add_integer(text, line->epoch);
    bg_text_add(text, "\t%s", line->method);
    bg_text_add(text, "\n");
}

static void add_json(json_t *rows, const struct line *line)
{
    json_t *row = json_object();
    const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"step", line->step},       {"channel", line->channel}, {"bits", line->bits},
                    {"samples", line->samples}, {"passes", line->passes},   {"epoch", line->epoch}};
    json_object_set_new(row, "table", json_string(line->table));
    json_object_set_new(row, "source", json_string(line->source));
    json_object_set_new(row, "layer", json_string(line->layer));
    json_object_set_new(row, "role", json_string(line->role));
    json_object_set_new(row, "quantity", json_string(line->quantity));
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++)
        if (integers[i].value >= 0)
            json_object_set_new(row, integers[i].key, json_integer(integers[i].value));
    json_object_set_new(row, "value", isfinite(line->value) ? json_real(line->value) : json_null());
    if (isfinite(line->spread))
        json_object_set_new(row, "spread", json_real(line->spread));
    if (*line->method)
        json_object_set_new(row, "method", json_string(line->method));
    json_array_append_new(rows, row);
}

static void add(struct out *out, const struct line *line)
{
    if (out->json)
        add_json(out->rows, line);
    else
        add_tsv(&out->text, line);
}

static struct line blank(const char *table, const char *source, const char *layer)
{
    return (struct line){.table = table,
                         .source = source,
                         .layer = layer,
                         .role = "",
                         .quantity = "",
                         .method = "",
                         .step = -1,
                         .channel = -1,
                         .bits = -1,
                         .samples = -1,
                         .passes = -1,
                         .epoch = -1,
                         .value = (double)NAN,
                         .spread = (double)NAN};
}

static void add_statistics(struct out *out, struct line *line, const struct bg_stats *stats)
{
    const struct {
        const char *name;
        double value;
    } all[] = {{"mean", bg_stats_mean(stats)},
               {"mean-absolute", bg_stats_mean_abs(stats)},
               {"mean-square", bg_stats_mean_square(stats)},
               {"largest", (double)stats->max_abs},
               {"not-finite", (double)stats->not_finite}};
    line->samples = stats->count;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        line->quantity = all[i].name;
        line->value = all[i].value;
        add(out, line);
    }
}

/* Rows or cycles of a profile, and what they are called. */
struct part {
    const struct bg_profile *profile;
    int64_t from, to;
    const char *source;
};

static void add_gradients(struct out *out, const struct part *part)
{
    const struct bg_profile *profile = part->profile;
    const char *source = part->source;
    for (int64_t r = part->from; r < part->to; r++)
        for (int i = 0; i < profile->layers; i++)
            for (int q = 0; q < BG_QUANTITIES; q++) {
                struct line line = blank("gradients", source, profile->names[i]);
                line.step = profile->row_step[r];
                line.role = bg_quantity_names[q];
                add_statistics(out, &line, bg_profile_at(profile, r, (enum bg_quantity)q, i));
                line.quantity = "mean-square";
                line.samples = -1;
                for (int64_t c = 0;
                     out->channels && profile->per_channel && c < profile->channels[q][i]; c++) {
                    line.channel = c;
                    line.value = bg_profile_channels_at(profile, r, (enum bg_quantity)q, i)[c];
                    add(out, &line);
                }
            }
}

static void add_displacement(struct out *out, const struct part *part)
{
    const struct bg_profile *profile = part->profile;
    const char *source = part->source;
    for (int64_t c = part->from; c < part->to; c++)
        for (int f = 0; f < BG_REFERENCES; f++)
            for (int i = 0; i < profile->layers; i++) {
                struct line line = blank("displacement", source, profile->names[i]);
                line.step = profile->cycle_step[c];
                line.role = "weight";
                line.quantity = bg_reference_names[f];
                line.value = *bg_profile_displacement_at(profile, c, (enum bg_reference)f, i);
                if (!isnan(line.value))
                    add(out, &line);
            }
}

static void add_profiles(struct out *out, const struct bg_record *record, bool gradients)
{
    for (int i = 0; i < BG_PROFILES; i++) {
        int rounds = i == BG_PROFILE_STAGE ? bg_record_rounds(record) : 1;
        for (int n = 0; n < rounds; n++) {
            const struct bg_round round = bg_record_round(record, n);
            const struct bg_profile *profile = &record->profile[i];
            int what = gradients ? BG_ROUND_ROWS : BG_ROUND_CYCLES;
            char source[BG_NAME_MAX];
            struct part part = {profile, 0, gradients ? profile->rows : profile->cycles, source};
            if (n == 0)
                (void)snprintf(source, sizeof source, "%s", sources[i]);
            else
                (void)snprintf(source, sizeof source, "%s-%d", sources[i], n + 1);
            if (i == BG_PROFILE_STAGE)
                part = (struct part){profile, round.from[what], round.to[what], source};
            if (gradients)
                add_gradients(out, &part);
            else
                add_displacement(out, &part);
        }
    }
}

static void add_measures(struct out *out, const struct bg_record *record)
{
    int round = 0;
    for (int64_t r = 0; r < record->table[BG_TABLE_MEASURES].rows; r++) {
        struct bg_measure_row row = bg_record_measure(record, r);
        struct line line = blank("measures", record->measure_name[row.measure],
                                 row.layer < 0 ? "" : record->layer_name[row.layer]);
        while (r >= bg_record_round(record, round).to[BG_ROUND_MEASURES])
            round++;
        if (round > 0)
            line.step = bg_record_round(record, round).step;
        line.role = bg_measure_roles[row.role];
        line.bits = row.bits > 0 ? row.bits : -1;
        line.quantity = bg_measured_names[row.measured];
        line.value = row.value;
        line.spread = row.spread;
        line.samples = row.samples;
        line.passes = row.passes;
        add(out, &line);
    }
}

/* A quantity is called as its column, in the words of the other tables. */
static void add_cell(struct out *out, struct line line, const struct bg_table *table, int64_t row,
                     int column)
{
    const union bg_cell *cell = bg_table_row(table, row) + column;
    char name[BG_NAME_MAX];

    (void)snprintf(name, sizeof name, "%s", table->column[column].name);
    for (char *at = name; *at; at++)
        *at = *at == '_' ? '-' : *at;
    line.quantity = name;
    line.value = table->column[column].type == BG_H5_F64 ? cell->real : (double)cell->integer;
    add(out, &line);
}

/* Counts are of all updates; the learning rate, the unit and sizes of steps are of a sample, whose
 * number stands beside each. */
static void add_updates(struct out *out, const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_UPDATES];

    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        struct line line = blank("updates", bg_updated_names[row[BG_UPDATE_STAGE].integer],
                                 record->layer_name[row[BG_UPDATE_LAYER].integer]);
        line.epoch = row[BG_UPDATE_EPOCH].integer;
        line.method = record->update_method[row[BG_UPDATE_METHOD].integer];
        line.role = "weight";
        line.bits =
            row[BG_UPDATE_WEIGHT_BITS].integer > 0 ? row[BG_UPDATE_WEIGHT_BITS].integer : -1;
        for (int i = BG_UPDATE_BELOW_BITS; i <= BG_UPDATE_BEYOND; i++)
            if (row[i].integer >= 0)
                add_cell(out, line, table, r, i);
        line.samples = row[BG_UPDATE_SAMPLED].integer;
        for (int i = BG_UPDATE_LR; i < BG_UPDATE_END; i++)
            if (i != BG_UPDATE_SAMPLED)
                add_cell(out, line, table, r, i);
    }
}

static void add_memory(struct out *out, const struct bg_record *record)
{
    const struct bg_table *table = &record->table[BG_TABLE_MEMORY];

    for (int64_t r = 0; r < table->rows; r++) {
        const union bg_cell *row = bg_table_row(table, r);
        struct line line = blank("memory", bg_updated_names[row[BG_MEMORY_STAGE].integer],
                                 record->layer_name[row[BG_MEMORY_LAYER].integer]);
        line.role = "weight";
        for (int i = BG_MEMORY_INTEGER; i <= BG_MEMORY_GRADIENT; i++)
            add_cell(out, line, table, r, i);
    }
}

static enum bg_status print(struct out *out)
{
    json_t *root = NULL;
    enum bg_status rc = BG_OK;
    if (!out->json) {
        TRY(bg_text_check(&out->text));
        fputs(bg_text_string(&out->text), stdout);
        goto out;
    }
    root = json_object();
    json_object_set_new(root, "schema", json_integer(1));
    json_object_set_new(root, "rows", out->rows);
    out->rows = NULL;
    rc = bg_print_json(root, 0);
out:
    return rc;
}

static enum bg_status export_run(const struct bg_arguments *arguments, struct out *out)
{
    char path[BG_PATH_MAX];
    const char *format = bg_arguments_get(arguments, "format");
    struct bg_record record = {.layers = 0};
    enum bg_status rc = BG_OK;

    out->json = format && !strcmp(format, "json");
    out->channels = bg_arguments_get(arguments, "channels") != NULL;
    if (format && !out->json && strcmp(format, "tsv") != 0)
        FAIL(BG_E_USAGE, "--format: expected tsv or json, got '%s'", format);
    TRY(bg_path_join(path, arguments->at[1], "run.h5"));
    TRY(bg_record_read(&record, path));
    if (out->json)
        out->rows = json_array();
    else
        bg_text_add(&out->text, "table\tsource\tstep\tlayer\trole\tchannel\tbits\tquantity\tvalue\t"
                                "spread\tsamples\tpasses\tepoch\tmethod\n");
    add_profiles(out, &record, true);
    add_profiles(out, &record, false);
    add_measures(out, &record);
    add_updates(out, &record);
    add_memory(out, &record);
    TRY(print(out));
out:
    bg_record_free(&record);
    return rc;
}

static enum bg_status profile_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct out out = {.rows = NULL};
    enum bg_status rc = BG_OK;

    bg_text_init(&out.text, (size_t)1 << 31);
    TRY(bg_arguments_read(&arguments, &bg_cmd_profile, argc, argv, 2, 2));
    if (arguments.done)
        goto out;
    if (strcmp(arguments.at[0], "export") != 0)
        FAIL(BG_E_USAGE, "profile: unknown word '%s'; there is `profile export RUN`",
             arguments.at[0]);
    TRY(export_run(&arguments, &out));
out:
    json_decref(out.rows);
    bg_text_free(&out.text);
    return rc;
}

static const struct bg_argument profile_arguments[] = {
    {"format", "tsv|json", "default: tsv"},
    {"channels", NULL, "mean squares of every channel as well, where the run has them"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_profile = {
    .name = "profile",
    .usage = "profile export RUN [--format tsv|json] [--channels]",
    .help = "what a run has measured, as one table: gradients, displacement, measures, updates, "
            "memory",
    .details =
        "RUN may be finished or still at work. One line per value: table, source (which part "
        "of the run, or\n"
        "which measure), step, layer, role, channel, bits, quantity, value, spread (standard "
        "error), samples,\n"
        "passes (samples through a forward pass plus samples through a backward pass), epoch and "
        "method.\n"
        "Of updates: bits and below-bits of the weight; how many updates, and how many of them "
        "wrote a code,\n"
        "were lost, saturated or beyond all codes, where the method counts them; from a sample of "
        "the steps\n"
        "the learning rate, the unit, the mean step in units, and how many were of 2^-K to "
        "2^-(K-1) "
        "units\n"
        "(steps-K; steps-0: of 1 and more; the last: smaller ones too; steps-none: of 0).\n"
        "Of memory: integer (1 or 0), how many weights, and bytes of their codes, of what is below "
        "them, of\n"
        "momentum, f32 copies and gradient.",
    .main = profile_main,
    .arguments = profile_arguments};
