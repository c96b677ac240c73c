/* What stages ask of a run: the plan on its net, sources, timing, profile frames, and the names of
 * the implementations oneDNN chose. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/run.h"

enum bg_status bg_run_apply(struct bg_run *run, const struct bg_plan *plan)
{
    struct bg_quantize_options options = bg_recipe_quantize_options(run->recipe);
    struct bg_plan copy = {0};
    enum bg_status rc = BG_OK;
    int requant = run->recipe->quantize.requant;
    if (plan)
        TRY(bg_plan_copy(&copy, plan));
    if (plan && requant > 0)
        TRY(bg_text_copy(copy.requant, sizeof copy.requant,
                         bg_requant_mode_name((enum bg_requant_mode)(requant - 1))));
    if (plan)
        bg_recipe_fill_gradients(&run->recipe->quantize, &copy);
    TRY(bg_trainer_apply(run->trainer, plan ? &copy : NULL, &options));
    bg_plan_free(&run->plan);
    run->plan = copy;
    copy = (struct bg_plan){0};
out:
    bg_plan_free(&copy);
    return rc;
}

enum bg_status bg_run_write_plan(struct bg_run *run, const char *stage)
{
    char path[BG_PATH_MAX];
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 24);
    bg_plan_print(&run->plan, &text);
    TRY(bg_text_check(&text));
    TRY(bg_record_add_plan(&run->record, stage, bg_text_string(&text)));
    TRY(bg_path_join(path, run->dir, "plan.txt"));
    TRY(bg_file_write(path, bg_text_string(&text), text.length));
out:
    bg_text_free(&text);
    return rc;
}

enum bg_status bg_run_source(const struct bg_run *run, enum bg_part part, int64_t batch,
                             bool shuffle, struct bg_source **out)
{
    return bg_loader_create(out, run->data, part, batch, shuffle, (uint64_t)run->recipe->top.seed);
}

void bg_run_timing(const struct bg_run *run, const char *what, int64_t number, double seconds)
{
    char path[BG_PATH_MAX];
    FILE *file = NULL;
    bool fresh;
    if (bg_path_join(path, run->dir, "timing.tsv") != BG_OK)
        return;
    fresh = !bg_file_exists(path);
    file = fopen(path, "a");
    if (!file) {
        bg_log(BG_LOG_WARN, "%s: cannot be written", path);
        return;
    }
    if (fresh)
        fputs("what\tnumber\tseconds\n", file);
    fprintf(file, "%s\t%lld\t%.6f\n", what, (long long)number, seconds);
    if (fclose(file) != 0)
        bg_log(BG_LOG_WARN, "%s: cannot be written", path);
}

static void copy_implementation(struct bg_implementation_row *row,
                                const struct bg_implementation *from)
{
    const char *texts[BG_IMPLEMENTATION_FIELDS] = {from->node, from->op, from->forward,
                                                   from->backward_data, from->backward_weights};
    for (int f = 0; f < BG_IMPLEMENTATION_FIELDS; f++)
        (void)snprintf(row->text[f], BG_NAME_MAX, "%s", texts[f] ? texts[f] : "");
}

/* oneDNN's reference is a thousand times slower than its other implementations. */
static void warn_of_reference(const struct bg_implementation_row *row)
{
    for (int f = 2; f < BG_IMPLEMENTATION_FIELDS; f++)
        if (!strncmp(row->text[f], "ref", 3))
            bg_log(BG_LOG_WARN, "%s runs on oneDNN's slow reference (%s)", row->text[0],
                   row->text[f]);
}

/* oneDNN's choice is asked of a program like the one training will use. */
enum bg_status bg_run_list_implementations(struct bg_run *run)
{
    struct bg_program_options options = {.batch = run->recipe->train.batch,
                                         .mode = BG_MODE_TRAIN,
                                         .compute = (enum bg_compute)run->recipe->top.compute};
    struct bg_record *record = &run->record;
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_program_create(&program, run->net->graph, &options));
    record->implementations = bg_program_implementation_count(program);
    TRY(bg_alloc(&record->implementation, record->implementations + 1,
                 sizeof *record->implementation));
    for (int i = 0; i < record->implementations; i++) {
        struct bg_implementation one = bg_program_implementation(program, i);
        copy_implementation(&record->implementation[i], &one);
        if (options.compute == BG_COMPUTE_EXACT)
            warn_of_reference(&record->implementation[i]);
    }
out:
    bg_program_destroy(program);
    return rc;
}
