/* The export of an integer model: the order of the arrays, and the file as a whole. What a file is
 * stands in export_integer.h; how the description says it, in export_describe.c. */
#include "layers/export_integer.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "layers/export_private.h"

#define DESCRIPTION_MAX ((size_t)1 << 24)

const char *const bg_export_format_names[BG_EXPORT_FORMATS] = {
    [BG_EXPORT_NPZ] = "npz", [BG_EXPORT_H5] = "h5"};

static enum bg_status (*const open_sink[BG_EXPORT_FORMATS])(struct bg_export_sink *,
                                                            const char *) = {
    [BG_EXPORT_NPZ] = bg_export_npz_open, [BG_EXPORT_H5] = bg_export_h5_open};

/* What is being written, and where to. */
struct export
{
    const struct bg_integer_model *model;
    const struct bg_integer_program *program; /* that has run the golden batch */
    const struct bg_batch *golden;
    const char *network_name;
    struct bg_export_sink sink;
};

static enum bg_status put(const struct export *export, const struct bg_export_array *array)
{
    return export->sink.put(export->sink.self, array);
}

static enum bg_status put_description(const struct export *export)
{
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&text, DESCRIPTION_MAX);
    bg_export_describe(export->model, export->network_name, export->golden->size, &text);
    TRY(bg_text_check(&text));
    TRY(put(export, &(struct bg_export_array){.name = "model",
                                              .type = BG_NPZ_U8,
                                              .rank = 1,
                                              .dims = {(int64_t)text.length},
                                              .data = bg_text_string(&text)}));
out:
    bg_text_free(&text);
    return rc;
}

/* One array per channel of step s (term -1) or of its term; none when there is no data. */
static enum bg_status put_channels(const struct export *export, int s, int term, const char *what,
                                   const void *data)
{
    char name[BG_EXPORT_NAME_MAX];
    bool real = !strcmp(what, "m") || !strcmp(what, "c");
    if (!data)
        return BG_OK;
    return put(export, &(struct bg_export_array){.name = bg_export_step_name(name, s, term, what),
                                                 .type = real ? BG_NPZ_F32 : BG_NPZ_S32,
                                                 .rank = 1,
                                                 .dims = {export->model->step[s].requant.channels},
                                                 .data = data});
}

static enum bg_status put_term(const struct export *export, int s, int t)
{
    const struct bg_integer_term *term = &export->model->step[s].term[t];
    const struct bg_requant_term *numbers = &export->model->step[s].requant.term[t];
    const struct bg_conv_shape *conv = &term->conv;
    char name[BG_EXPORT_NAME_MAX];
    enum bg_status rc = BG_OK;
    if (term->source == BG_INTEGER_LAYER)
        TRY(put(export, &(struct bg_export_array){
                            .name = bg_export_step_name(name, s, t, "weights"),
                            .type = BG_NPZ_S8,
                            .rank = 4,
                            .dims = {conv->out_channels, conv->kernel_height, conv->kernel_width,
                                     conv->in_channels / conv->groups},
                            .data = term->weights}));
    TRY(put_channels(export, s, t, "m", numbers->m));
    TRY(put_channels(export, s, t, "c", numbers->c));
    TRY(put_channels(export, s, t, "bias", numbers->bias));
    TRY(put_channels(export, s, t, "multiplier", numbers->multiplier));
    TRY(put_channels(export, s, t, "shift", numbers->shift));
out:
    return rc;
}

static enum bg_status put_step(const struct export *export, int s)
{
    const struct bg_integer_step *step = &export->model->step[s];
    char name[BG_EXPORT_NAME_MAX];
    enum bg_status rc = BG_OK;
    if (step->kind == BG_INTEGER_INPUT && step->table)
        TRY(put(export, &(struct bg_export_array){.name = bg_export_step_name(name, s, -1, "table"),
                                                  .type = BG_NPZ_U8,
                                                  .rank = 1,
                                                  .dims = {256},
                                                  .data = step->table}));
    if (step->kind != BG_INTEGER_SUM)
        goto out;
    for (int t = 0; t < step->terms; t++)
        TRY(put_term(export, s, t));
    TRY(put_channels(export, s, -1, "shift", step->requant.shift));
out:
    return rc;
}

static enum bg_status put_golden_tensor(const struct export *export, int index)
{
    const struct bg_integer_tensor *tensor = &export->model->tensor[index];
    const int64_t *dims = tensor->shape.dims;
    char name[BG_EXPORT_NAME_MAX];
    struct bg_export_array array = {.name = bg_export_golden_name(name, index),
                                    .type = tensor->real ? BG_NPZ_F32 : BG_NPZ_U8,
                                    .rank = 4,
                                    .dims = {export->golden->size, dims[0], dims[1], dims[2]}};
    if (tensor->real)
        array.data = bg_integer_program_logits(export->program);
    else
        array.data = bg_integer_program_codes(export->program, index);
    if (!array.data)
        return bg_fail(BG_E_USAGE, "export: the program does not keep the codes of %s",
                       tensor->name);
    return put(export, &array);
}

static enum bg_status put_golden(const struct export *export)
{
    const struct bg_batch *golden = export->golden;
    const struct bg_sample_spec *spec = bg_export_input(export->model);
    enum bg_status rc = BG_OK;
    TRY(put(export, &(struct bg_export_array){
                        .name = BG_EXPORT_GOLDEN_INPUT,
                        .type = golden->dtype == BG_U8 ? BG_NPZ_U8 : BG_NPZ_F32,
                        .rank = 4,
                        .dims = {golden->size, spec->height, spec->width, spec->channels},
                        .data = golden->images}));
    TRY(put(export, &(struct bg_export_array){.name = BG_EXPORT_GOLDEN_LABELS,
                                              .type = BG_NPZ_S32,
                                              .rank = 1,
                                              .dims = {golden->size},
                                              .data = golden->labels}));
    for (int i = 0; i < export->model->tensors; i++)
        TRY(put_golden_tensor(export, i));
out:
    return rc;
}

static enum bg_status put_all(const struct export *export)
{
    enum bg_status rc = BG_OK;
    TRY(put_description(export));
    for (int s = 0; s < export->model->steps; s++)
        TRY(put_step(export, s));
    TRY(put_golden(export));
out:
    return rc;
}

/* Finishes in any case; the first failure is the one that is told. */
static enum bg_status finish(const struct bg_export_sink *sink, enum bg_status rc)
{
    char sentence[1024];
    if (rc == BG_OK)
        return sink->finish(sink->self);
    (void)snprintf(sentence, sizeof sentence, "%s", bg_error());
    if (sink->finish(sink->self) != BG_OK)
        (void)bg_fail(rc, "%s", sentence);
    return rc;
}

enum bg_status bg_export_integers(const struct bg_integer_model *model,
                                  struct bg_integer_program *program, const struct bg_batch *golden,
                                  const char *network_name, const char *path,
                                  enum bg_export_format format)
{
    struct export export = {
        .model = model, .program = program, .golden = golden, .network_name = network_name};
    char temporary[BG_PATH_MAX] = "";
    enum bg_status rc = BG_OK;

    TRY(bg_integer_program_run(program, golden));
    TRY(bg_path_temporary(temporary, path));
    TRY(open_sink[format](&export.sink, temporary));
    rc = finish(&export.sink, put_all(&export));
    if (rc == BG_OK)
        rc = bg_file_commit(temporary, path);
out:
    if (rc != BG_OK && *temporary)
        bg_file_remove(temporary);
    return rc;
}
