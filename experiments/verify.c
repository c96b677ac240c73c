/* Runs program and judge side by side over a source. */
#include "experiments/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/images.h"

struct verifying {
    const struct bg_integer_model *model;
    struct bg_integer_program *program; /* for `batch` samples */
    int64_t batch;
    struct bg_judge *judge; /* NULL = not asked for */
    struct bg_hash **hash;  /* [model->tensors] */
    int64_t correct;
};

/* One hash per tensor, so that the batch size does not matter; inner tensors are nobody's. */
static enum bg_status add_codes(struct verifying *work)
{
    const struct bg_integer_model *model = work->model;
    enum bg_status rc = BG_OK;

    for (int i = 0; i < model->tensors; i++) {
        const struct bg_integer_tensor *tensor = &model->tensor[i];
        size_t count = (size_t)(work->batch * bg_shape_count(&tensor->shape));
        if (tensor->real)
            TRY(bg_hash_add(work->hash[i], bg_integer_program_logits(work->program),
                            count * sizeof(float)));
        else if (!tensor->inner)
            TRY(bg_hash_add(work->hash[i], bg_integer_program_codes(work->program, i), count));
    }
out:
    return rc;
}

static enum bg_status fit_program(struct verifying *work, int64_t batch)
{
    enum bg_status rc = BG_OK;
    if (work->program && work->batch == batch)
        goto out;
    bg_integer_program_destroy(work->program);
    work->program = NULL;
    TRY(bg_integer_program_create(&work->program, work->model, batch, BG_INT_FAST, true));
    work->batch = batch;
out:
    return rc;
}

static int64_t count_correct(const struct verifying *work, const struct bg_batch *batch)
{
    int64_t classes = work->model->tensor[work->model->tensors - 1].shape.dims[2], correct = 0;
    for (int64_t i = 0; i < batch->size; i++) {
        const float *row = bg_integer_program_logits(work->program) + i * classes;
        correct += bg_prediction(row, classes) == batch->labels[i];
    }
    return correct;
}

static enum bg_status one_batch(void *self, const struct bg_batch *batch)
{
    struct verifying *work = (struct verifying *)self;
    enum bg_status rc = BG_OK;
    TRY(fit_program(work, batch->size));
    TRY(bg_integer_program_run(work->program, batch));
    TRY(add_codes(work));
    work->correct += count_correct(work, batch);
    if (work->judge)
        TRY(bg_judge_batch(work->judge, batch, work->model, work->program));
out:
    return rc;
}

/* "name hash" of each tensor, hashed. */
static enum bg_status finish_hash(struct verifying *work, char out[BG_HASH_TEXT])
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 24);
    for (int i = 0; i < work->model->tensors; i++) {
        char one[BG_HASH_TEXT];
        struct bg_hash *hash = work->hash[i];
        work->hash[i] = NULL;
        TRY(bg_hash_end(hash, one));
        if (!work->model->tensor[i].inner)
            bg_text_add(&text, "%s %s\n", work->model->tensor[i].name, one);
    }
    TRY(bg_text_check(&text));
    TRY(bg_hash_bytes(bg_text_string(&text), text.length, out));
out:
    bg_text_free(&text);
    return rc;
}

static enum bg_status take_results(const struct verifying *work, struct bg_verification *out)
{
    const struct bg_integer_model *model = work->model;
    enum bg_status rc = BG_OK;

    for (int i = 0; i < model->tensors; i++)
        if (!model->tensor[i].inner)
            out->outputs += out->images * bg_shape_count(&model->tensor[i].shape);
    if (!work->judge)
        goto out;
    out->judged = true;
    out->tensors = bg_judge_count(work->judge);
    TRY(bg_alloc(&out->tensor, out->tensors, sizeof *out->tensor));
    for (int i = 0; i < out->tensors; i++) {
        out->tensor[i] = bg_judge_result(work->judge, i);
        out->differ += out->tensor[i].differ;
        out->mistrusted += out->tensor[i].mistrusted;
    }
out:
    return rc;
}

enum bg_status bg_verify(struct bg_trainer *trainer, struct bg_source *source, int64_t images,
                         bool judge, struct bg_verification *out)
{
    struct bg_integer_model *model = NULL;
    struct verifying work = {0};
    enum bg_status rc = BG_OK;

    *out = (struct bg_verification){.images = images};
    if (images == 0 || images > source->count)
        out->images = source->count;
    TRY(bg_trainer_integers(trainer, &model));
    work.model = model;
    TRY(bg_alloc(&work.hash, model->tensors, sizeof(struct bg_hash *)));
    for (int i = 0; i < model->tensors; i++)
        TRY(bg_hash_start(&work.hash[i]));
    if (judge)
        TRY(bg_judge_create(&work.judge, model->graph, model->mode));
    TRY(bg_first_images(source, out->images, "verify", one_batch, &work));
    out->correct = work.correct;
    TRY(finish_hash(&work, out->hash));
    TRY(take_results(&work, out));
out:
    for (int i = 0; work.hash && i < model->tensors; i++)
        bg_hash_abandon(work.hash[i]);
    bg_free(work.hash);
    bg_judge_destroy(work.judge);
    bg_integer_program_destroy(work.program);
    if (rc != BG_OK)
        bg_verification_free(out);
    return rc;
}

void bg_verification_free(struct bg_verification *verification)
{
    bg_free(verification->tensor);
    *verification = (struct bg_verification){0};
}

enum bg_status bg_verification_record(const struct bg_verification *verification,
                                      struct bg_record *record)
{
    struct bg_table *table = &record->table[BG_TABLE_INTEGERS];
    union bg_cell *row = NULL;
    enum bg_status rc = BG_OK;

    bg_table_truncate(table, 0);
    TRY(bg_table_add(table, &row));
    row[BG_INTEGER_IMAGES].integer = verification->images;
    row[BG_INTEGER_CORRECT].integer = verification->correct;
    row[BG_INTEGER_OUTPUTS].integer = verification->outputs;
    row[BG_INTEGER_DIFFER].integer = verification->differ;
    row[BG_INTEGER_MISTRUSTED].integer = verification->mistrusted;
    for (int i = 0; i < 4; i++) {
        char part[17];
        (void)snprintf(part, sizeof part, "%.16s", verification->hash + 16 * i);
        row[BG_INTEGER_HASH + i].integer = (int64_t)strtoull(part, NULL, 16);
    }
out:
    return rc;
}

void bg_verification_print(const struct bg_verification *verification, struct bg_text *out)
{
    if (verification->judged)
        bg_text_add(out, "%-24s  %12s  %8s  %13s\n", "tensor", "outputs", "differ",
                    "most frequent");
    for (int i = 0; i < verification->tensors; i++) {
        const struct bg_judge_tensor *one = &verification->tensor[i];
        bg_text_add(out, "%-24s  %12lld  %8lld  %11.2f %%%s\n", one->name, (long long)one->outputs,
                    (long long)one->differ, 100.0 * one->constant,
                    one->mistrusted ? "  MISTRUSTED" : "");
        if (one->differ > 0)
            bg_text_add(out, "  first: image %lld, output %lld is %g, the judge has %g\n",
                        (long long)one->sample, (long long)one->element, one->found, one->expected);
    }
    if (verification->judged)
        bg_text_add(out,
                    "integers   %lld of %lld outputs differ from the judge, %d of %d tensors "
                    "MISTRUSTED (over 99 %% of one code), %lld images\n",
                    (long long)verification->differ, (long long)verification->outputs,
                    verification->mistrusted, verification->tensors,
                    (long long)verification->images);
    bg_text_add(out, "accuracy   %.2f %% (%lld of %lld)\nhash       %s\n",
                100.0 * (double)verification->correct / (double)verification->images,
                (long long)verification->correct, (long long)verification->images,
                verification->hash);
}
