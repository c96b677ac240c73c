/* The evaluate stage: each network the run kept, on the validation and the test part. This is the
 * only place that reads the test part. The last network evaluated is the run's final one and stays
 * on the net. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/run.h"

static enum bg_status record_evaluation(struct bg_record *record, enum bg_evaluated kind,
                                        enum bg_evaluated_part part,
                                        const struct bg_evaluation *evaluation)
{
    union bg_cell *row = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_table_add(&record->table[BG_TABLE_EVALUATIONS], &row));
    row[BG_EVAL_KIND].integer = kind;
    row[BG_EVAL_PART].integer = part;
    row[BG_EVAL_COUNT].integer = evaluation->count;
    row[BG_EVAL_CORRECT].integer = evaluation->correct;
    row[BG_EVAL_ACCURACY].real = evaluation->accuracy;
    row[BG_EVAL_LOSS].real = evaluation->loss;
    row[BG_EVAL_INTEGER].integer = evaluation->integer;
    for (int c = 0; c < evaluation->classes; c++) {
        TRY(bg_table_add(&record->table[BG_TABLE_CLASSES], &row));
        row[BG_CLASS_KIND].integer = kind;
        row[BG_CLASS_PART].integer = part;
        row[BG_CLASS_CLASS].integer = c;
        row[BG_CLASS_COUNT].integer = evaluation->class_count[c];
        row[BG_CLASS_CORRECT].integer = evaluation->class_correct[c];
    }
out:
    return rc;
}

static enum bg_status evaluate(struct bg_run *run, enum bg_evaluated kind, enum bg_part part)
{
    struct bg_evaluation *evaluation = NULL;
    struct bg_source *source = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&evaluation, 1, sizeof *evaluation));
    TRY(bg_run_source(run, part, run->recipe->eval_batch, false, &source));
    TRY(bg_trainer_evaluate(run->trainer, source, evaluation));
    TRY(record_evaluation(&run->record, kind, part == BG_PART_TEST ? BG_ON_TEST : BG_ON_VALIDATION,
                          evaluation));
    bg_log(BG_LOG_INFO, "evaluate: %s: %s accuracy %.2f %%", bg_evaluated_names[kind],
           part == BG_PART_TEST ? "test" : "validation", 100.0 * evaluation->accuracy);
out:
    bg_loader_destroy(source);
    bg_free(evaluation);
    return rc;
}

static enum bg_status network(struct bg_run *run, const char *stage, enum bg_evaluated kind)
{
    char name[64];
    enum bg_status rc = BG_OK;
    (void)snprintf(name, sizeof name, "checkpoint-%s.h5", stage);
    TRY(bg_run_load(run, name, false));
    if (run->data->validation_count > 0)
        TRY(evaluate(run, kind, BG_PART_VALIDATION));
    TRY(evaluate(run, kind, BG_PART_TEST));
out:
    return rc;
}

/* What runs each layer of the final network's integers: rows of op "integer". */
static enum bg_status list_integers(struct bg_run *run)
{
    struct bg_record *record = &run->record;
    struct bg_integer_model *model = NULL;
    struct bg_integer_program *program = NULL;
    int64_t kept = 0, count;
    enum bg_status rc = BG_OK;

    while (kept < record->implementations &&
           strcmp(record->implementation[kept].text[1], "integer") != 0)
        kept++;
    count = record->implementations = kept;
    if (!bg_graph_is_integer(run->net->graph, NULL))
        goto out;
    TRY(bg_trainer_integers(run->trainer, &model));
    TRY(bg_integer_program_create(&program, model, run->recipe->eval_batch, BG_INT_FAST, false));
    for (int s = 0; s < model->steps; s++)
        for (int t = 0; t < model->step[s].terms; t++) {
            struct bg_implementation_row *row;
            if (model->step[s].term[t].source != BG_INTEGER_LAYER)
                continue;
            TRY(bg_grow(&record->implementation, count, count + 1, sizeof *row));
            row = &record->implementation[count++];
            (void)snprintf(row->text[0], BG_NAME_MAX, "%s",
                           bg_node_name(model->step[s].term[t].node));
            (void)snprintf(row->text[1], BG_NAME_MAX, "integer");
            (void)snprintf(row->text[2], BG_NAME_MAX, "%s",
                           bg_integer_program_implementation(program, s, t));
        }
    record->implementations = count;
out:
    bg_integer_program_destroy(program);
    return rc;
}

enum bg_status bg_stage_evaluate(struct bg_run *run)
{
    const struct bg_recipe *recipe = run->recipe;
    bool trained = bg_recipe_has_stage(recipe, BG_STAGE_TRAIN);
    enum bg_status rc = BG_OK;

    TRY(network(run, trained ? "train" : "initial",
                run->start.count == 0                          ? BG_EVALUATED_FP32
                : bg_recipe_has_stage(recipe, BG_STAGE_SELECT) ? BG_EVALUATED_TRAINED
                                                               : BG_EVALUATED_QUANTIZED));
    if (bg_recipe_has_stage(recipe, BG_STAGE_SELECT))
        TRY(network(run, "select", BG_EVALUATED_QUANTIZED));
    if (bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE))
        TRY(network(run, "finetune", BG_EVALUATED_FINETUNED));
    TRY(list_integers(run));
out:
    return rc;
}
