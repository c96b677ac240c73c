/* Evaluation: a network whose plan has an integer model is evaluated by it, any other by the
 * evaluation program (f32, codes simulated). Nothing that lasts is moved. */
#include "core/mem.h"
#include "policies/trainer_state.h"

int64_t bg_prediction(const float *logits, int64_t classes)
{
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        best = logits[c] > logits[best] ? c : best;
    return best;
}

int64_t bg_trainer_count_correct(const float *logits, int64_t classes, const struct bg_batch *batch,
                                 struct bg_evaluation *evaluation)
{
    int64_t correct = 0;
    for (int64_t i = 0; i < batch->size; i++) {
        bool hit = bg_prediction(logits + i * classes, classes) == batch->labels[i];
        correct += hit;
        if (evaluation) {
            evaluation->class_count[batch->labels[i]]++;
            evaluation->class_correct[batch->labels[i]] += hit;
        }
    }
    return correct;
}

/* The integer program for a batch size. Sources bring two: a full batch and a short last one. */
static enum bg_status integer_program(struct bg_trainer *trainer, int64_t batch,
                                      struct bg_integer_program **out)
{
    enum bg_int_path path =
        trainer->config.compute == BG_COMPUTE_REFERENCE ? BG_INT_REFERENCE : BG_INT_FAST;
    int slot = 0;
    enum bg_status rc = BG_OK;

    while (slot < BG_TRAINER_INTEGERS && trainer->integer_batch[slot] != batch)
        slot++;
    if (slot == BG_TRAINER_INTEGERS) { /* the older one gives way */
        slot = trainer->integer_next++ % BG_TRAINER_INTEGERS;
        bg_integer_program_destroy(trainer->integers[slot]);
        trainer->integers[slot] = NULL;
        trainer->integer_batch[slot] = 0;
        TRY(bg_integer_program_create(&trainer->integers[slot], trainer->integer, batch, path,
                                      false));
        trainer->integer_batch[slot] = batch;
    }
    *out = trainer->integers[slot];
out:
    return rc;
}

static enum bg_status check_labels(const struct bg_batch *batch, int64_t classes)
{
    for (int64_t i = 0; i < batch->size; i++)
        if (batch->labels[i] < 0 || batch->labels[i] >= classes)
            return bg_fail(BG_E_DATA, "label %d of sample %lld is outside 0 to %lld",
                           (int)batch->labels[i], (long long)i, (long long)classes - 1);
    return BG_OK;
}

/* One batch: its logits, and its mean loss. */
static enum bg_status run_batch(struct bg_trainer *trainer, const struct bg_batch *batch,
                                int64_t classes, const float **logits, double *loss)
{
    struct bg_run_moment moment = {.seed = trainer->config.seed};
    struct bg_integer_program *integer = NULL;
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;

    if (bg_graph_is_integer(trainer->graph, NULL)) {
        TRY(check_labels(batch, classes));
        TRY(integer_program(trainer, batch->size, &integer));
        TRY(bg_integer_program_run(integer, batch));
        *logits = bg_integer_program_logits(integer);
        *loss = bg_graph_loss(trainer->graph, *logits, batch->labels, batch->size);
        goto out;
    }
    TRY(bg_trainer_program(trainer, BG_MODE_EVAL, batch->size, false, &program));
    TRY(bg_program_forward(program, batch, &moment));
    *logits = bg_f32(bg_program_logits(program));
    *loss = bg_program_loss(program);
out:
    return rc;
}

enum bg_status bg_trainer_integers(struct bg_trainer *trainer, struct bg_integer_model **out)
{
    enum bg_status rc = BG_OK;
    if (trainer->integer)
        TRY(bg_integer_model_refresh(trainer->integer));
    else
        TRY(bg_integer_model_create(&trainer->integer, trainer->graph, NULL));
    *out = trainer->integer;
out:
    return rc;
}

enum bg_status bg_trainer_evaluate(struct bg_trainer *trainer, struct bg_source *source,
                                   struct bg_evaluation *out)
{
    enum bg_status rc = BG_OK;
    struct bg_stream stream = {.source = source};
    int64_t classes = bg_node_shape(bg_graph_logits(trainer->graph))->dims[2];
    struct bg_integer_model *model = NULL;
    double loss = 0;
    *out = (struct bg_evaluation){.classes = source->spec.classes,
                                  .integer = bg_graph_is_integer(trainer->graph, NULL)};
    TRY(bg_trainer_check_source(source));
    if (out->classes < 1 ||
        out->classes > (int)(sizeof out->class_count / sizeof *out->class_count))
        FAIL(BG_E_RANGE, "evaluation: %d classes, limit is 1024", out->classes);
    if (classes != out->classes)
        FAIL(BG_E_MISMATCH, "evaluation: the data has %d classes, the network %lld", out->classes,
             (long long)classes);
    if (out->integer)
        TRY(bg_trainer_integers(trainer, &model));
    for (int64_t i = 0; i < bg_source_batches(source); i++) {
        struct bg_batch batch = {0};
        const float *logits = NULL;
        double mean = 0;
        TRY(bg_stream_next(&stream, &batch));
        TRY(run_batch(trainer, &batch, classes, &logits, &mean));
        out->correct += bg_trainer_count_correct(logits, classes, &batch, out);
        out->count += batch.size;
        loss += mean * (double)batch.size;
    }
    out->accuracy = (double)out->correct / (double)out->count;
    out->loss = loss / (double)out->count;
out:
    return rc;
}
