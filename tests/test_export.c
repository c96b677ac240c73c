/* Exported integers: the file holds exactly the numbers of the model and of a program's run, in
 * both formats; equal models give equal bytes; a failure leaves what stood there. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/file.h"
#include "core/h5.h"
#include "core/npz.h"
#include "layers/export_integer.h"
#include "support_graph.h"

#undef OK /* the tagged asserts take another form */
#define OK(call_) cr_assert(eq(int, call_, BG_OK), "%s", bg_error())

static char folder[64], path[128], other[128];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/bg-export-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x.file", folder);
    snprintf(other, sizeof other, "%s/y.file", folder);
}

static void remove_folder(void)
{
    unlink(path);
    unlink(other);
    cr_expect(eq(int, rmdir(folder), 0), "temporaries were left");
}

TestSuite(export, .init = make_folder, .fini = remove_folder);

#define SAMPLES 3

struct rig {
    struct bg_graph *graph;
    struct support_batch data;
    struct bg_integer_model *model;
    struct bg_integer_program *program;
};

/* Ranges from one batch, then the model and a program that keeps everything. */
static void rig_finish(struct rig *rig, const struct bg_sample_spec *spec, int bits,
                       enum bg_requant_mode mode)
{
    const struct bg_program_options options = {.batch = SAMPLES, .mode = BG_MODE_TRAIN};
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};
    support_batch_make(&rig->data, spec, SAMPLES, 7);
    support_quantize(rig->graph, bits, bits, false);
    struct bg_program *training = support_program(rig->graph, &options);
    OK(bg_program_forward(training, &rig->data.batch, &moment));
    bg_program_destroy(training);
    OK(bg_integer_model_create(&rig->model, rig->graph, &mode));
    OK(bg_integer_program_create(&rig->program, rig->model, SAMPLES, BG_INT_REFERENCE, true));
}

static void rig_case(struct rig *rig, const char *name, int bits, enum bg_requant_mode mode)
{
    int i = 0;
    while (i < support_case_count && strcmp(support_cases[i].name, name) != 0)
        i++;
    cr_assert(lt(int, i, support_case_count), "%s", name);
    *rig = (struct rig){.graph = support_case_graph(&support_cases[i], 5)};
    rig_finish(rig, &support_cases[i].sample, bits, mode);
}

/* Raw bytes into two convolutions and an add. */
static void rig_bytes(struct rig *rig, int bits, enum bg_requant_mode mode)
{
    struct bg_node *x = NULL, *y = NULL;
    *rig = (struct rig){.graph = support_start(BG_U8, 17, &x)};
    y = support_conv(rig->graph, "one", x);
    x = support_conv(rig->graph, "two", x);
    OK(bg_node_add(rig->graph, "add", x, y, &x));
    OK(bg_node_relu(rig->graph, "relu", x, &x));
    support_finish(rig->graph, x);
    rig_finish(rig, bg_node_sample_spec(bg_graph_node(rig->graph, 0)), bits, mode);
}

static void rig_free(struct rig *rig)
{
    bg_integer_program_destroy(rig->program);
    bg_integer_model_destroy(rig->model);
    bg_graph_destroy(rig->graph);
    support_batch_free(&rig->data);
}

static void export(struct rig *rig, const char *to, enum bg_export_format format)
{
    OK(bg_export_integers(rig->model, rig->program, &rig->data.batch, "a \"net\"", to, format));
}

/* The named dataset has this type, these dims (ending with 0) and these bytes. */
static void expect_bytes(struct bg_h5 *file, const char *name, enum bg_h5_type type,
                         const int64_t dims[5], const void *data)
{
    int64_t count = 1, room;
    int rank = 0;
    void *got = NULL;
    for (; rank < 5 && dims[rank] > 0; rank++)
        count *= dims[rank];
    room = count * (int64_t)bg_h5_type_size(type);
    OK(bg_alloc(&got, room, 1));
    OK(bg_h5_read(file, name, type, rank, dims, got, room));
    cr_expect_arr_eq(got, data, (size_t)room, "%s", name);
    bg_free(got);
}

static int64_t integer_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(eq(int, json_is_integer(value), 1), "%s", key);
    return json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(eq(int, json_is_string(value), 1), "%s", key);
    return json_string_value(value);
}

static void expect_list(const json_t *object, const char *key, const int64_t *values, int count)
{
    const json_t *list = json_object_get(object, key);
    cr_assert(eq(int, (int)json_array_size(list), count), "%s", key);
    for (int i = 0; i < count; i++)
        cr_expect(eq(i64, json_integer_value(json_array_get(list, (size_t)i)), values[i]), "%s",
                  key);
}

/* An f32 written as JSON is the same f32. */
static void expect_real(const json_t *object, const char *key, float value)
{
    const json_t *got = json_object_get(object, key);
    cr_assert(eq(int, json_is_number(got), 1), "%s", key);
    cr_expect(eq(flt, (float)json_number_value(got), value), "%s", key);
}

/* Arrays per channel are in the file when the model has them. */
static void expect_channels(struct bg_h5 *file, const json_t *object, const char *key,
                            enum bg_h5_type type, int64_t channels, const void *data)
{
    cr_expect(eq(int, json_object_get(object, key) != NULL, data != NULL), "%s", key);
    if (data)
        expect_bytes(file, text_of(object, key), type, (const int64_t[5]){channels}, data);
}

static void expect_conv(struct bg_h5 *file, const json_t *object,
                        const struct bg_integer_term *term)
{
    const struct bg_conv_shape *conv = &term->conv;
    const json_t *at = json_object_get(object, "conv");
    cr_expect(eq(i64, integer_of(at, "in_height"), conv->in_height));
    cr_expect(eq(i64, integer_of(at, "in_width"), conv->in_width));
    cr_expect(eq(i64, integer_of(at, "in_channels"), conv->in_channels));
    cr_expect(eq(i64, integer_of(at, "out_height"), conv->out_height));
    cr_expect(eq(i64, integer_of(at, "out_width"), conv->out_width));
    cr_expect(eq(i64, integer_of(at, "out_channels"), conv->out_channels));
    cr_expect(eq(i64, integer_of(at, "groups"), conv->groups));
    expect_list(at, "kernel", (const int64_t[]){conv->kernel_height, conv->kernel_width}, 2);
    expect_list(at, "stride", conv->stride, 2);
    expect_list(at, "padding", conv->padding, 2);
    expect_list(at, "dilation", conv->dilation, 2);
    expect_bytes(file, text_of(object, "weights"), BG_H5_S8,
                 (const int64_t[5]){conv->out_channels, conv->kernel_height, conv->kernel_width,
                                    conv->in_channels / conv->groups},
                 term->weights);
}

static void expect_pool(const json_t *object, const struct bg_pool_shape *pool)
{
    const json_t *at = json_object_get(object, "pool");
    cr_expect(eq(i64, integer_of(at, "in_height"), pool->in_height));
    cr_expect(eq(i64, integer_of(at, "in_width"), pool->in_width));
    cr_expect(eq(i64, integer_of(at, "channels"), pool->channels));
    cr_expect(eq(i64, integer_of(at, "out_height"), pool->out_height));
    cr_expect(eq(i64, integer_of(at, "out_width"), pool->out_width));
    expect_list(at, "kernel", pool->kernel, 2);
    expect_list(at, "stride", pool->stride, 2);
    expect_list(at, "padding", pool->padding, 2);
}

static void expect_term(struct bg_h5 *file, const json_t *object,
                        const struct bg_integer_step *step, int t)
{
    static const char *const sources[] = {"layer", "pool", "codes"};
    const struct bg_integer_term *term = &step->term[t];
    const struct bg_requant_term *numbers = &step->requant.term[t];
    int64_t channels = step->requant.channels;
    cr_expect_str_eq(text_of(object, "source"), sources[term->source]);
    cr_expect_str_eq(text_of(object, "name"), bg_node_name(term->node));
    cr_expect(eq(i64, integer_of(object, "input"), term->input));
    cr_expect(eq(i64, integer_of(object, "bound"), numbers->bound));
    if (term->source == BG_INTEGER_LAYER)
        expect_conv(file, object, term);
    else if (term->source == BG_INTEGER_POOL)
        expect_pool(object, &term->pool);
    expect_channels(file, object, "m", BG_H5_F32, channels, numbers->m);
    expect_channels(file, object, "c", BG_H5_F32, channels, numbers->c);
    expect_channels(file, object, "bias", BG_H5_S32, channels, numbers->bias);
    expect_channels(file, object, "multiplier", BG_H5_S32, channels, numbers->multiplier);
    expect_channels(file, object, "shift", BG_H5_S32, channels, numbers->shift);
}

static void expect_step(struct bg_h5 *file, const json_t *object,
                        const struct bg_integer_model *model, int s)
{
    static const char *const kinds[] = {"input", "sum", "max-pool"};
    const struct bg_integer_step *step = &model->step[s];
    const json_t *terms = json_object_get(object, "terms");
    cr_expect_str_eq(text_of(object, "kind"), kinds[step->kind]);
    cr_expect_str_eq(text_of(object, "name"), step->name);
    cr_expect(eq(i64, integer_of(object, "output"), step->output));
    expect_channels(file, object, "table", BG_H5_U8, 256, step->table);
    if (step->kind == BG_INTEGER_INPUT)
        return;
    cr_expect(eq(i64, integer_of(object, "channel"), step->channel));
    if (step->kind == BG_INTEGER_MAX_POOL) {
        cr_expect(eq(i64, integer_of(object, "channels"), step->pool.channels));
        cr_expect(eq(i64, integer_of(object, "input"), step->input));
        expect_pool(object, &step->pool);
        return;
    }
    cr_expect(eq(i64, integer_of(object, "channels"), step->requant.channels));
    expect_channels(file, object, "shift", BG_H5_S32, step->requant.channels, step->requant.shift);
    if (!model->tensor[step->output].real) {
        cr_expect(eq(i64, integer_of(object, "zero_point"), step->requant.zero_point));
        cr_expect(eq(i64, integer_of(object, "lo"), step->requant.lo));
        cr_expect(eq(i64, integer_of(object, "hi"), step->requant.hi));
    }
    cr_assert(eq(int, (int)json_array_size(terms), step->terms));
    for (int t = 0; t < step->terms; t++)
        expect_term(file, json_array_get(terms, (size_t)t), step, t);
}

/* Whoever replays the steps in order finds every tensor that a step reads complete. */
static void expect_order(const struct bg_integer_model *model)
{
    int64_t made[64] = {0};
    cr_assert(le(int, model->tensors, 64));
    for (int s = 0; s < model->steps; s++) {
        const struct bg_integer_step *step = &model->step[s];
        int inputs = step->kind == BG_INTEGER_MAX_POOL ? 1 : step->terms;
        for (int t = 0; t < inputs; t++) {
            int input = step->kind == BG_INTEGER_MAX_POOL ? step->input : step->term[t].input;
            cr_assert(eq(i64, made[input], model->tensor[input].shape.dims[2]), "%s reads %s",
                      step->name, model->tensor[input].name);
        }
        cr_assert(eq(i64, made[step->output], step->channel), "%s", step->name);
        made[step->output] +=
            step->kind == BG_INTEGER_MAX_POOL ? step->pool.channels : step->requant.channels;
    }
    for (int i = 0; i < model->tensors; i++)
        cr_expect(eq(i64, made[i], model->tensor[i].shape.dims[2]), "%s", model->tensor[i].name);
}

static void expect_tensor(struct bg_h5 *file, const json_t *object, const struct rig *rig, int i)
{
    const struct bg_integer_tensor *tensor = &rig->model->tensor[i];
    const int64_t *dims = tensor->shape.dims;
    const void *data = tensor->real ? (const void *)bg_integer_program_logits(rig->program)
                                    : bg_integer_program_codes(rig->program, i);
    cr_expect_str_eq(text_of(object, "name"), tensor->name);
    expect_list(object, "shape", dims, 3);
    cr_expect(eq(int, json_is_true(json_object_get(object, "real")), tensor->real));
    expect_bytes(file, text_of(object, "golden"), tensor->real ? BG_H5_F32 : BG_H5_U8,
                 (const int64_t[5]){SAMPLES, dims[0], dims[1], dims[2]}, data);
    if (tensor->real)
        return;
    cr_expect(eq(int, json_is_true(json_object_get(object, "inner")), tensor->inner));
    cr_expect(eq(i64, integer_of(object, "bits"), tensor->bits));
    cr_expect(eq(i64, integer_of(object, "zero_point"), tensor->zero_point));
    cr_expect(eq(i64, integer_of(object, "qmin"), tensor->qmin));
    cr_expect(eq(i64, integer_of(object, "qmax"), tensor->qmax));
    expect_real(object, "scale", tensor->scale);
}

static void expect_golden(struct bg_h5 *file, const json_t *root, const struct rig *rig)
{
    const struct bg_sample_spec *spec = bg_node_sample_spec(bg_graph_node(rig->graph, 0));
    const json_t *golden = json_object_get(root, "golden"), *input = json_object_get(root, "input");
    cr_expect(eq(i64, integer_of(golden, "count"), SAMPLES));
    expect_bytes(file, text_of(golden, "input"), spec->dtype == BG_U8 ? BG_H5_U8 : BG_H5_F32,
                 (const int64_t[5]){SAMPLES, spec->height, spec->width, spec->channels},
                 rig->data.batch.images);
    expect_bytes(file, text_of(golden, "labels"), BG_H5_S32, (const int64_t[5]){SAMPLES},
                 rig->data.batch.labels);
    expect_list(input, "shape", (const int64_t[]){spec->height, spec->width, spec->channels}, 3);
    cr_expect_str_eq(text_of(input, "dtype"), bg_dtype_name(spec->dtype));
    if (spec->dtype == BG_U8) {
        expect_real(input, "scale", spec->scale);
        cr_expect(eq(i64, integer_of(input, "zero_point"), spec->zero_point));
    }
}

/* Everything in the .h5 file at `path` against the model and the program's last run. */
static void expect_file(const struct rig *rig)
{
    const struct bg_integer_model *model = rig->model;
    struct bg_h5 *file = NULL;
    char *text = NULL;
    int64_t length = -1, schema = 0;
    expect_order(model);
    OK(bg_h5_open(&file, path));
    OK(bg_h5_get_int(file, "", "schema", &schema));
    cr_expect(eq(i64, schema, BG_EXPORT_VERSION));
    OK(bg_h5_read_new(file, "model", BG_H5_U8, 1, &length, &text, 1 << 24));
    json_error_t error;
    json_t *root = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &error);
    cr_assert_not_null(root, "line %d: %s", error.line, error.text);
    cr_expect_str_eq(text_of(root, "format"), "bitgrad-integers");
    cr_expect(eq(i64, integer_of(root, "version"), BG_EXPORT_VERSION));
    cr_expect_str_eq(text_of(root, "network"), "a \"net\"");
    cr_expect_str_eq(text_of(root, "requant"), bg_requant_mode_name(model->mode));
    const json_t *tensors = json_object_get(root, "tensors"),
                 *steps = json_object_get(root, "steps");
    cr_assert(eq(int, (int)json_array_size(tensors), model->tensors));
    cr_assert(eq(int, (int)json_array_size(steps), model->steps));
    for (int i = 0; i < model->tensors; i++)
        expect_tensor(file, json_array_get(tensors, (size_t)i), rig, i);
    for (int s = 0; s < model->steps; s++)
        expect_step(file, json_array_get(steps, (size_t)s), model, s);
    expect_golden(file, root, rig);
    json_decref(root);
    bg_free(text);
    OK(bg_h5_close(file));
}

static const char *const cases[] = {"conv2d",        "max_pool",       "global_pool",
                                    "chain of adds", "concat in adds", "residual"};

Test(export, a_file_holds_the_model_and_its_run)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int bits = 8; bits >= 2; bits -= 3) {
            struct rig rig;
            rig_case(&rig, cases[i], bits, BG_REQUANT_F32_RNE);
            export(&rig, path, BG_EXPORT_H5);
            expect_file(&rig);
            rig_free(&rig);
        }
}

Test(export, every_mode_has_its_numbers)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++)
        for (int bits = 8; bits >= 4; bits -= 4) {
            struct rig rig;
            rig_bytes(&rig, bits, (enum bg_requant_mode)mode);
            export(&rig, path, BG_EXPORT_H5);
            expect_file(&rig);
            rig_free(&rig);
        }
}

/* A walk over the .h5 file with the .npz file beside it. */
struct pair {
    struct bg_h5 *h5;
    struct bg_npz *npz;
    int arrays;
};

static enum bg_status compare(void *self, const struct bg_h5_object *object)
{
    struct pair *pair = self;
    struct bg_shape shape;
    float *left = NULL;
    void *right = NULL;
    int64_t dims[BG_H5_RANK_MAX];
    enum bg_h5_type type = object->info.type == BG_H5_F32 ? BG_H5_F32 : BG_H5_S64;
    if (object->is_group)
        return BG_OK;
    pair->arrays++;
    OK(bg_npz_read_f32(pair->npz, object->name, &shape, &left));
    memcpy(dims, object->info.dims, sizeof dims);
    OK(bg_h5_read_new(pair->h5, object->name, type, object->info.rank, dims, &right, 1 << 24));
    cr_assert(eq(int, shape.rank, object->info.rank));
    for (int i = 0; i < shape.rank; i++)
        cr_assert(eq(i64, shape.dims[i], dims[i]));
    for (int64_t i = 0; i < bg_shape_count(&shape); i++)
        cr_assert(eq(flt, left[i],
                     type == BG_H5_F32 ? ((float *)right)[i] : (float)((int64_t *)right)[i]),
                  "%s[%d]", object->name, (int)i);
    bg_free(left);
    bg_free(right);
    return BG_OK;
}

Test(export, both_formats_hold_the_same)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct rig rig;
        struct pair pair = {.arrays = 0};
        rig_bytes(&rig, 8, (enum bg_requant_mode)mode);
        export(&rig, path, BG_EXPORT_H5);
        export(&rig, other, BG_EXPORT_NPZ);
        OK(bg_h5_open(&pair.h5, path));
        OK(bg_npz_open(&pair.npz, other));
        OK(bg_h5_walk(pair.h5, compare, &pair));
        cr_expect(eq(int, bg_npz_count(pair.npz), pair.arrays));
        cr_expect(gt(int, pair.arrays, 10));
        bg_npz_close(pair.npz);
        OK(bg_h5_close(pair.h5));
        rig_free(&rig);
    }
}

Test(export, equal_models_give_equal_bytes)
{
    for (int format = 0; format < BG_EXPORT_FORMATS; format++) {
        char *text[2] = {NULL, NULL};
        size_t length[2] = {0, 0};
        for (int i = 0; i < 2; i++) {
            struct rig rig;
            rig_case(&rig, "residual", 4, BG_REQUANT_F32_RNE);
            export(&rig, i ? other : path, (enum bg_export_format)format);
            OK(bg_file_read(i ? other : path, 1 << 24, &text[i], &length[i]));
            rig_free(&rig);
        }
        cr_assert(eq(sz, length[0], length[1]));
        cr_expect_arr_eq(text[0], text[1], length[0]);
        bg_free(text[0]);
        bg_free(text[1]);
    }
}

static void expect_refused(struct rig *rig, const char *to, enum bg_export_format format,
                           enum bg_status code, const char *sentence)
{
    cr_expect(eq(int,
                 bg_export_integers(rig->model, rig->program, &rig->data.batch, "net", to, format),
                 code));
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
}

Test(export, refusals_leave_what_stood_there)
{
    struct rig rig;
    struct bg_integer_program *kept = NULL;
    char *text = NULL;
    size_t length = 0;
    rig_bytes(&rig, 8, BG_REQUANT_F32_RNE);
    OK(bg_file_write(path, "before", 6));

    /* A program that shares memory between tensors has no codes to show. */
    kept = rig.program;
    OK(bg_integer_program_create(&rig.program, rig.model, SAMPLES, BG_INT_REFERENCE, false));
    for (int format = 0; format < BG_EXPORT_FORMATS; format++)
        expect_refused(&rig, path, (enum bg_export_format)format, BG_E_USAGE,
                       "export: the program does not keep the codes of input");
    bg_integer_program_destroy(rig.program);
    rig.program = kept;

    rig.data.batch.size = SAMPLES - 1;
    expect_refused(&rig, path, BG_EXPORT_NPZ, BG_E_SHAPE, "2 samples");
    rig.data.batch.size = SAMPLES;

    /* A disk that is full after so many bytes. */
    struct rlimit limit = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
    cr_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    cr_assert(eq(int, setrlimit(RLIMIT_FSIZE, &limit), 0));
    for (int format = 0; format < BG_EXPORT_FORMATS; format++)
        expect_refused(&rig, path, (enum bg_export_format)format, BG_E_IO,
                       "cannot write: File too large");
    limit.rlim_cur = RLIM_INFINITY;
    cr_assert(eq(int, setrlimit(RLIMIT_FSIZE, &limit), 0));

    for (int format = 0; format < BG_EXPORT_FORMATS; format++)
        expect_refused(&rig, "/nonexistent/x", (enum bg_export_format)format, BG_E_IO,
                       "/nonexistent/x");
    OK(bg_file_read(path, 100, &text, &length));
    cr_expect_str_eq(text, "before");
    bg_free(text);
    rig_free(&rig);
}

/* Every allocation fails once: the status says so, and the path holds all or what it held. */
Test(export, without_memory_nothing_is_lost)
{
    struct rig rig;
    char *text = NULL;
    size_t length = 0;
    rig_bytes(&rig, 8, BG_REQUANT_FIXED_SINGLE);
    for (int format = 0; format < BG_EXPORT_FORMATS; format++) {
        enum bg_status rc = BG_E_NOMEM;
        OK(bg_file_write(path, "before", 6));
        for (uint64_t n = 1; rc != BG_OK; n++) {
            bg_alloc_fail_at(n);
            rc = bg_export_integers(rig.model, rig.program, &rig.data.batch, "net", path,
                                    (enum bg_export_format)format);
            bg_alloc_fail_at(0);
            cr_expect(rc == BG_OK || rc == BG_E_NOMEM, "%s", bg_error());
            if (rc == BG_OK) {
                cr_expect(gt(u64, n, 2));
                break;
            }
            OK(bg_file_read(path, 100, &text, &length));
            cr_assert_str_eq(text, "before");
            bg_free(text);
        }
    }
    rig_free(&rig);
}
