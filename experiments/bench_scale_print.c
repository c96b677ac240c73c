/* The table, JSON and figure of `bitgrad bench scale`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "experiments/bench_scale.h"
#include "experiments/plot.h"
#include "experiments/terminal.h"

#define NAME_MOST  64
#define TEXT_LIMIT (1 << 20)

static const char extension[] = ".svg";

/* Folder and name without extension. */
static void split(const char *path, char dir[BG_PATH_MAX], char name[NAME_MOST])
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    (void)snprintf(dir, BG_PATH_MAX, "%.*s", slash ? (int)(slash - path + (slash == path)) : 1,
                   slash ? path : ".");
    (void)snprintf(name, NAME_MOST, "%.*s",
                   length > sizeof extension - 1 ? (int)(length - (sizeof extension - 1)) : 0,
                   base);
}

enum bg_status bg_bench_figure_check(const struct bg_bench_setup *setup)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *path = setup->figure;
    char dir[BG_PATH_MAX], name[NAME_MOST];
    size_t length = path ? strlen(path) : 0;
    enum bg_status rc = BG_OK;

    if (!path)
        goto out;
    if (length < sizeof extension || length >= BG_PATH_MAX ||
        strcmp(path + length - (sizeof extension - 1), extension) != 0)
        FAIL(BG_E_USAGE, "--figure: expected a file name ending with .svg, got '%s'", path);
    split(path, dir, name);
    if (*name == '\0' || name[strspn(name, letters)] != '\0' || strlen(name) + 1 == NAME_MOST)
        FAIL(BG_E_USAGE,
             "--figure: the name before .svg is at most %d letters, digits, - and _, got '%s'",
             NAME_MOST - 2, path);
    if (!bg_dir_exists(dir))
        FAIL(BG_E_NOT_FOUND, "--figure: there is no folder '%s'", dir);
out:
    return rc;
}

static void add_factor(struct bg_text *out, double value, double before)
{
    if (before > 0)
        bg_text_add(out, "\t%.2f", value / before);
    else
        bg_text_add(out, "\t-");
}

static void write_table(const struct bg_bench_scale *scale, struct bg_text *out)
{
    bg_text_add(out, "dimension\tvalue\tvariant\tseconds\tmacs\tbytes\tpeak_bytes\ttime_factor\t"
                     "work_factor\tmemory_factor\n");
    for (int i = 0; i < scale->points; i++) {
        const struct bg_bench_point *point = &scale->point[i];
        const struct bg_bench_point *before = bg_bench_point_before(scale, i);
        if (point->refused)
            continue;
        bg_text_add(out, "%s\t%lld\t%s\t%.6f\t%.0f\t%lld\t",
                    bg_bench_dimension_name(point->dimension), (long long)point->value,
                    scale->variant[point->variant], point->seconds, point->macs,
                    (long long)point->bytes);
        if (point->peak < 0)
            bg_text_add(out, "-");
        else
            bg_text_add(out, "%lld", (long long)point->peak);
        add_factor(out, point->seconds, before ? before->seconds : 0);
        add_factor(out, point->macs, before ? before->macs : 0);
        add_factor(out, (double)point->bytes, before ? (double)before->bytes : 0);
        bg_text_add(out, "\n");
    }
}

static json_t *number_or_null(double value, double divisor)
{
    return divisor > 0 ? json_real(value / divisor) : json_null();
}

static enum bg_status print_json(const struct bg_bench_scale *scale)
{
    json_t *root = bg_bench_json(scale->setup, "scale"), *list = json_array();
    for (int i = 0; i < scale->points; i++) {
        const struct bg_bench_point *point = &scale->point[i];
        const struct bg_bench_point *before = bg_bench_point_before(scale, i);
        if (point->refused)
            continue;
        (void)json_array_append_new(
            list,
            json_pack("{s:s, s:I, s:s, s:f, s:f, s:I, s:o, s:o, s:o, s:o}", "dimension",
                      bg_bench_dimension_name(point->dimension), "value", (json_int_t)point->value,
                      "variant", scale->variant[point->variant], "seconds", point->seconds, "macs",
                      point->macs, "bytes", (json_int_t)point->bytes, "peak_bytes",
                      number_or_null((double)point->peak, point->peak < 0 ? 0 : 1), "time_factor",
                      number_or_null(point->seconds, before ? before->seconds : 0), "work_factor",
                      number_or_null(point->macs, before ? before->macs : 0), "memory_factor",
                      number_or_null((double)point->bytes, before ? (double)before->bytes : 0)));
    }
    (void)json_object_set_new(root, "points", list);
    return bg_print_json(root, 0);
}

/* One data block per dimension and variant, in the order of the points. */
static void write_blocks(const struct bg_bench_scale *scale, struct bg_text *out)
{
    for (int i = 0; i < scale->points; i++) {
        const struct bg_bench_point *point = &scale->point[i];
        if (i > 0 &&
            (point->dimension != point[-1].dimension || point->variant != point[-1].variant))
            bg_text_add(out, "\n\n");
        if (!point->refused)
            bg_text_add(out, "%lld\t%.6f\t%.6f\n", (long long)point->value, 1e3 * point->seconds,
                        1e-6 * (double)point->bytes);
    }
}

/* What a user wrote stands in no script unless it is of letters, digits and a slash. */
static void write_title(const struct bg_bench_scale *scale, int variant, struct bg_text *out)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/";
    const char *name = scale->variant[variant];
    if (name[strspn(name, letters)] == '\0')
        bg_text_add(out, "title '%s'", name);
    else
        bg_text_add(out, "title 'variant %d'", variant + 1);
}

static void write_panels(const struct bg_bench_scale *scale, const char *name, struct bg_text *out)
{
    static const char *const labels[] = {"ms per step", "MB of the program"};
    int blocks = 0, columns = 0;
    for (int i = 0; i < scale->points; i++)
        columns += i == 0 || scale->point[i].dimension != scale->point[i - 1].dimension;
    bg_text_add(out,
                "set multiplot layout 2,%d\nset logscale xy\n"
                "set autoscale xfix\nset key top left reverse Left samplen 2\n",
                columns);
    for (int row = 0; row < 2; row++, blocks = 0)
        for (int i = 0; i < scale->points; i++) {
            const struct bg_bench_point *point = &scale->point[i];
            if (i > 0 && point->dimension == point[-1].dimension)
                continue;
            bg_text_add(out, "set xlabel '%s'\nset ylabel '%s'\nset xtics (",
                        bg_bench_dimension_name(point->dimension), labels[row]);
            for (int j = i; j < scale->points && scale->point[j].dimension == point->dimension &&
                            scale->point[j].variant == 0;
                 j++)
                bg_text_add(out, "%s%lld", j > i ? ", " : "", (long long)scale->point[j].value);
            bg_text_add(out, ")\nplot ");
            for (int v = 0; v < scale->variants; v++) {
                bg_text_add(out, "%s'%s.tsv' index %d using 1:%d with linespoints ls %d ",
                            v > 0 ? ", " : "", name, blocks + v, row + 2, v % 4 + 1);
                write_title(scale, v, out);
            }
            bg_text_add(out, "\n");
            blocks += scale->variants;
        }
    bg_text_add(out, "unset multiplot\n");
}

static enum bg_status draw(const struct bg_bench_scale *scale)
{
    struct bg_text data = {0}, script = {0};
    char dir[BG_PATH_MAX], name[NAME_MOST];
    bool drawn = false;
    enum bg_status rc = BG_OK;

    bg_text_init(&data, TEXT_LIMIT);
    bg_text_init(&script, TEXT_LIMIT);
    split(scale->setup->figure, dir, name);
    write_blocks(scale, &data);
    bg_plot_begin(&script, name, 1280, 640);
    write_panels(scale, name, &script);
    TRY(bg_text_check(&data));
    TRY(bg_text_check(&script));
    TRY(bg_plot_draw(dir, name, &data, &script, &drawn));
    if (!drawn)
        FAIL(BG_E_UNSUPPORTED, "%s was not drawn: gnuplot is missing or failed",
             scale->setup->figure);
out:
    bg_text_free(&data);
    bg_text_free(&script);
    return rc;
}

enum bg_status bg_bench_scale_print(const struct bg_bench_scale *scale)
{
    struct bg_text table = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&table, TEXT_LIMIT);
    bg_terminal_clear();
    if (scale->setup->json) {
        TRY(print_json(scale));
    } else {
        write_table(scale, &table);
        TRY(bg_text_check(&table));
        (void)fputs(bg_text_string(&table), stdout);
    }
    if (scale->setup->figure)
        TRY(draw(scale));
out:
    bg_text_free(&table);
    return rc;
}
