/* `bitgrad bench scale`: time and memory of a training step against batch, width, depth and image
 * size, each changed alone, as a table of tab-separated values. Where the work is, time grows as
 * the multiply-accumulates do. All points of a dimension are timed in rounds, each time with fresh
 * programs: two sizes next to each other are then of the same minute. */
#include "experiments/bench_scale.h"

#include <ctype.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/terminal.h"

#define DEFAULT_VARIANTS "f32/exact,W8A8/fast"
#define ROUNDS           2
#define STEPS_MOST       40
#define ROUND_SECONDS    0.2 /* short steps are repeated until then */

static const char *const dimension_names[] = {"batch", "width", "depth", "image"};

static const struct dimension {
    int count;
    int64_t value[6];
} dimensions[] = {{6, {1, 4, 16, 64, 256, 1024}},
                  {4, {8, 16, 32, 64}},
                  {4, {8, 14, 26, 50}},
                  {4, {14, 28, 56, 112}}};
enum { BATCH, WIDTH, DEPTH, IMAGE, DIMENSIONS };

struct sweep {
    struct bg_bench_scale scale;
    int variants;
    struct bg_bench_variant variant[BG_BENCH_VARIANTS_MAX];
    size_t name; /* bytes of the network's name in the model, without its depth */
    double seconds[STEPS_MOST + 1];
};

/* "VmHWM" of this process in bytes, -1 when the system does not say. */
static int64_t read_status(const char *key)
{
    char line[256];
    int64_t value = -1;
    size_t length = strlen(key);
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        long long kilobytes = 0;
        if (!strncmp(line, key, length) && sscanf(line + length, ": %lld kB", &kilobytes) == 1)
            value = 1024 * (int64_t)kilobytes;
    }
    if (file)
        (void)fclose(file);
    return value;
}

/* Forgets the peak so far; returns the bytes resident now, -1 when that cannot be. */
static int64_t reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    bool done;
    (void)malloc_trim(0);
    if (!file)
        return -1;
    done = fputs("5", file) >= 0;
    done = fclose(file) == 0 && done;
    return done ? read_status("VmRSS") : -1;
}

/* The set-up of a point; *model is text to be freed. */
static enum bg_status setup_of(const struct sweep *sweep, int dimension, int64_t value,
                               struct bg_text *model, struct bg_bench_setup *out)
{
    const char *text = sweep->scale.setup->model;
    *out = *sweep->scale.setup;
    if (dimension == BATCH)
        out->batch = value;
    if (dimension == IMAGE)
        out->height = out->width = value;
    if (dimension == DEPTH)
        bg_text_add(model, "%.*s%lld%s", (int)sweep->name, text, (long long)value,
                    text + strcspn(text, ":"));
    else
        bg_text_add(model, "%s", text);
    if (dimension == WIDTH)
        bg_text_add(model, ":width=%lld", (long long)value);
    out->model = bg_text_string(model);
    return bg_text_check(model);
}

/* One round of one point: a fresh variant, a step that is not counted, then timed ones. */
static enum bg_status time_point(struct sweep *sweep, struct bg_bench_point *point,
                                 const struct bg_bench_setup *setup)
{
    struct bg_bench_variant *variant = &sweep->variant[point->variant];
    struct bg_bench_variant fresh = {.compute = variant->compute};
    int64_t start = 0, steps = setup->steps < STEPS_MOST ? setup->steps : STEPS_MOST;
    double began = 0, forward = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_text_copy(fresh.name, sizeof fresh.name, variant->name));
    TRY(bg_text_copy(fresh.plan_text, sizeof fresh.plan_text, variant->plan_text));
    TRY(bg_text_copy(fresh.update_text, sizeof fresh.update_text, variant->update_text));
    TRY(bg_bench_variant_open(&fresh, setup));
    start = reset_peak();
    began = bg_terminal_clock();
    do {
        TRY(bg_bench_variant_run(&fresh, 1 + steps, sweep->seconds));
        for (int64_t s = 1; s <= steps; s++)
            if (point->seconds == 0 || sweep->seconds[s] < point->seconds)
                point->seconds = sweep->seconds[s];
    } while (bg_terminal_clock() - began < ROUND_SECONDS);
    point->peak = start < 0 ? -1 : read_status("VmHWM") - start;
    TRY(bg_bench_variant_macs(&fresh, &forward, &point->macs));
    TRY(bg_bench_variant_bytes(&fresh, &point->bytes));
out:
    bg_bench_variant_close(&fresh);
    return rc;
}

static bool has_option(const struct bg_net_type *type, const char *key)
{
    for (const struct bg_option *row = type->options; row && row->key; row++)
        if (!strcmp(row->key, key))
            return true;
    return false;
}

/* Width and depth are swept where the network has them and the model does not say them. */
static bool applies(const struct sweep *sweep, int dimension)
{
    const char *key = dimension_names[dimension], *model = sweep->scale.setup->model;
    char fixed[16];
    if (dimension == BATCH || dimension == IMAGE)
        return true;
    (void)snprintf(fixed, sizeof fixed, ":%s=", key);
    for (int i = 0; bg_net_types[i]; i++)
        if (strlen(bg_net_types[i]->name) == sweep->name &&
            !strncmp(bg_net_types[i]->name, model, sweep->name))
            return has_option(bg_net_types[i], key) && !strstr(model, fixed);
    return false;
}

/* A network may refuse a size (an image that is too small for its pools): the point is left out,
 * with a word on stderr. */
static enum bg_status one_round(struct sweep *sweep, struct bg_bench_point *points, int count)
{
    struct bg_bench_setup setup;
    struct bg_text model = {0};
    enum bg_status rc = BG_OK;
    for (int i = 0; i < count; i++) {
        struct bg_bench_point *point = &points[i];
        if (point->refused)
            continue;
        bg_text_init(&model, 1 << 12);
        TRY(setup_of(sweep, point->dimension, point->value, &model, &setup));
        bg_log_progress("scale", i, count, "%s %lld", dimension_names[point->dimension],
                        (long long)point->value);
        rc = time_point(sweep, point, &setup);
        point->refused = rc == BG_E_SHAPE || (rc == BG_E_DATA && point->dimension == IMAGE);
        if (point->refused)
            bg_log(BG_LOG_WARN, "%s %lld is left out: %s", dimension_names[point->dimension],
                   (long long)point->value, bg_error());
        else
            TRY(rc);
        bg_text_free(&model);
    }
    rc = BG_OK;
out:
    bg_text_free(&model);
    return rc;
}

static enum bg_status sweep_dimension(struct sweep *sweep, int dimension)
{
    struct bg_bench_scale *scale = &sweep->scale;
    struct bg_bench_point *points = &scale->point[scale->points];
    int count = 0;
    enum bg_status rc = BG_OK;

    for (int v = 0; v < sweep->variants; v++)
        for (int i = 0; i < dimensions[dimension].count; i++)
            points[count++] = (struct bg_bench_point){
                .dimension = dimension, .variant = v, .value = dimensions[dimension].value[i]};
    for (int round = 0; round < ROUNDS; round++)
        TRY(one_round(sweep, points, count));
    scale->points += count;
out:
    return rc;
}

const char *bg_bench_dimension_name(int dimension)
{
    return dimension_names[dimension];
}

const struct bg_bench_point *bg_bench_point_before(const struct bg_bench_scale *scale, int index)
{
    const struct bg_bench_point *point = &scale->point[index], *before = point - 1;
    for (; before >= scale->point; before--)
        if (before->dimension != point->dimension || before->variant != point->variant)
            return NULL;
        else if (!before->refused)
            return before;
    return NULL;
}

/* The network's name ends where digits begin, if that is a network; else at the options. */
static size_t name_length(const char *model)
{
    size_t length = strcspn(model, ":");
    for (int i = 0; bg_net_types[i]; i++)
        if (strlen(bg_net_types[i]->name) == length &&
            !strncmp(bg_net_types[i]->name, model, length))
            return length;
    while (length > 0 && isdigit((unsigned char)model[length - 1]))
        length--;
    return length;
}

enum bg_status bg_bench_scale(const struct bg_bench_setup *setup)
{
    struct sweep *sweep = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&sweep, 1, sizeof *sweep));
    sweep->scale.setup = setup;
    sweep->name = name_length(setup->model);
    TRY(bg_bench_figure_check(setup));
    TRY(bg_bench_variants_choose(setup, DEFAULT_VARIANTS, sweep->variant, &sweep->variants));
    for (int v = 0; v < sweep->variants; v++)
        sweep->scale.variant[v] = sweep->variant[v].name;
    sweep->scale.variants = sweep->variants;
    for (int d = 0; d < DIMENSIONS; d++)
        if (applies(sweep, d))
            TRY(sweep_dimension(sweep, d));
    TRY(bg_bench_scale_print(&sweep->scale));
out:
    bg_free(sweep);
    return rc;
}
