/* Runs an integer model for one batch size. Tensors share memory by liveness; accumulators of a
 * step live in scratch. Integers: the same codes for every path, instruction set and thread count.
 */
#include <string.h>

#include "autograd/integer.h"
#include "autograd/memory_plan.h"
#include "autograd/op.h"
#include "core/kernel.h"

struct part {                  /* of one term */
    struct bg_int_conv *conv;  /* layers */
    struct bg_pool_shape pool; /* pools: for the batch */
    int32_t *acc;
};

struct bg_integer_program {
    const struct bg_integer_model *model;
    struct bg_arena *arena;
    int64_t batch;
    bool keep;
    enum bg_int_path path;
    uint8_t **codes; /* [tensors] */
    float *logits;
    struct part (*part)[BG_REQUANT_TERMS]; /* [steps] */
    struct bg_pool_shape *max_pool;        /* [steps] for the batch */
    uint64_t packed;                       /* serial of the model that was packed */
};

static int64_t tensor_count(const struct bg_integer_program *program, int tensor)
{
    return program->batch * bg_shape_count(&program->model->tensor[tensor].shape);
}

/* Pixels of a step's output over the batch. */
static int64_t step_rows(const struct bg_integer_program *program,
                         const struct bg_integer_step *step)
{
    const struct bg_shape *shape = &program->model->tensor[step->output].shape;

    return program->batch * shape->dims[0] * shape->dims[1];
}

static int64_t acc_bytes(const struct bg_integer_program *program,
                         const struct bg_integer_step *step)
{
    int64_t bytes = step_rows(program, step) * step->requant.channels * 4;

    return (bytes + BG_ALIGN - 1) / BG_ALIGN * BG_ALIGN;
}

static void raise_to(int *value, int to)
{
    *value = to > *value ? to : *value;
}

/* When each tensor is made and last read. */
static void find_lives(const struct bg_integer_program *program, struct bg_buffer *buffer)
{
    const struct bg_integer_model *model = program->model;

    for (int i = 0; i < model->tensors; i++)
        buffer[i] =
            (struct bg_buffer){.bytes = tensor_count(program, i) * (model->tensor[i].real ? 4 : 1),
                               .first = model->steps,
                               .last = 0};
    for (int s = 0; s < model->steps; s++) {
        const struct bg_integer_step *step = &model->step[s];
        struct bg_buffer *out = &buffer[step->output];
        out->first = s < out->first ? s : out->first;
        raise_to(&out->last, s);
        for (int t = 0; t < step->terms; t++)
            raise_to(&buffer[step->term[t].input].last, s);
        if (step->kind == BG_INTEGER_MAX_POOL)
            raise_to(&buffer[step->input].last, s);
    }
    buffer[model->tensors - 1].last = model->steps; /* the logits stay */
    if (!program->keep)
        return;
    for (int i = 0; i < model->tensors; i++) {
        buffer[i].first = 0;
        buffer[i].last = model->steps;
    }
}

static enum bg_status bind_tensors(struct bg_integer_program *program)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = program->model;
    struct bg_buffer *buffer = NULL;
    uint8_t *block = NULL;
    int64_t total = 0;

    TRY(bg_alloc(&buffer, model->tensors, sizeof *buffer));
    find_lives(program, buffer);
    TRY(bg_memory_plan(buffer, model->tensors, &total));
    TRY(bg_arena_alloc(program->arena, &block, total, 1));
    TRY(bg_arena_alloc(program->arena, &program->codes, model->tensors, sizeof *program->codes));
    for (int i = 0; i < model->tensors; i++)
        program->codes[i] = block + buffer[i].offset;
    program->logits = (float *)(void *)program->codes[model->tensors - 1];
out:
    bg_free(buffer);
    return rc;
}

static enum bg_status make_part(struct bg_integer_program *program,
                                const struct bg_integer_term *term, struct part *part)
{
    enum bg_status rc = BG_OK;
    struct bg_conv_shape shape = term->conv;

    part->pool = term->pool;
    part->pool.batch = program->batch;
    if (term->source != BG_INTEGER_LAYER)
        goto out;
    shape.batch = program->batch;
    TRY(bg_conv_shape_infer(&shape));
    TRY(bg_int_conv_create(&part->conv, &shape, program->path));
out:
    if (rc != BG_OK)
        (void)bg_fail_prefix(rc, "%s: ", term->node->name);
    return rc;
}

/* Accumulators of one step stand side by side in scratch that all steps share. */
static enum bg_status make_parts(struct bg_integer_program *program)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = program->model;
    int64_t scratch = 0;
    uint8_t *block = NULL;

    TRY(bg_arena_alloc(program->arena, &program->part, model->steps, sizeof *program->part));
    TRY(bg_arena_alloc(program->arena, &program->max_pool, model->steps,
                       sizeof *program->max_pool));
    for (int s = 0; s < model->steps; s++) {
        const struct bg_integer_step *step = &model->step[s];
        int64_t bytes = 0;
        for (int t = 0; t < step->terms; t++)
            bytes += step->term[t].source == BG_INTEGER_CODES ? 0 : acc_bytes(program, step);
        scratch = bytes > scratch ? bytes : scratch;
    }
    TRY(bg_arena_alloc(program->arena, &block, scratch, 1));
    for (int s = 0; s < model->steps; s++) {
        const struct bg_integer_step *step = &model->step[s];
        uint8_t *at = block;
        program->max_pool[s] = step->pool;
        program->max_pool[s].batch = program->batch;
        for (int t = 0; t < step->terms; t++) {
            TRY(make_part(program, &step->term[t], &program->part[s][t]));
            program->part[s][t].acc = (int32_t *)(void *)at;
            at += step->term[t].source == BG_INTEGER_CODES ? 0 : acc_bytes(program, step);
        }
    }
out:
    return rc;
}

enum bg_status bg_integer_program_create(struct bg_integer_program **out,
                                         const struct bg_integer_model *model, int64_t batch,
                                         enum bg_int_path path, bool keep)
{
    enum bg_status rc = BG_OK;
    struct bg_integer_program *program = NULL;

    *out = NULL;
    if (batch < 1)
        FAIL(BG_E_RANGE, "batch %lld must be at least 1", (long long)batch);
    TRY(bg_alloc(&program, 1, sizeof *program));
    program->model = model;
    program->batch = batch;
    program->path = path;
    program->keep = keep;
    TRY(bg_arena_create(&program->arena, "integer program"));
    TRY(bind_tensors(program));
    TRY(make_parts(program));
    *out = program;
    program = NULL;
out:
    bg_integer_program_destroy(program);
    return rc;
}

void bg_integer_program_destroy(struct bg_integer_program *program)
{
    if (program == NULL)
        return;
    if (program->part != NULL)
        for (int s = 0; s < program->model->steps; s++)
            for (int t = 0; t < BG_REQUANT_TERMS; t++)
                bg_int_conv_destroy(program->part[s][t].conv);
    bg_arena_destroy(program->arena);
    bg_free(program);
}

static enum bg_status pack(struct bg_integer_program *program)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = program->model;

    if (program->packed == model->serial)
        goto out;
    for (int s = 0; s < model->steps; s++)
        for (int t = 0; t < model->step[s].terms; t++)
            if (program->part[s][t].conv != NULL)
                TRY(bg_int_conv_pack(program->part[s][t].conv, model->step[s].term[t].weights));
    program->packed = model->serial;
out:
    return rc;
}

static void run_input(struct bg_integer_program *program, const struct bg_integer_step *step,
                      const struct bg_batch *batch)
{
    uint8_t *out = program->codes[step->output];
    int64_t n = tensor_count(program, step->output);
    const struct bg_integer_tensor *tensor = &program->model->tensor[step->output];
    float scale = tensor->scale;
    const struct bg_grid grid = {.kind = &bg_grid_affine,
                                 .bits = tensor->bits,
                                 .qmin = tensor->qmin,
                                 .qmax = tensor->qmax,
                                 .zero_point = tensor->zero_point,
                                 .rounding = BG_ROUND_NEAREST,
                                 .channels = 1,
                                 .scale = &scale};

    if (batch->dtype == BG_U8) {
        const uint8_t *bytes = batch->images;
        for (int64_t i = 0; i < n; i++)
            out[i] = step->table[bytes[i]];
    } else {
        bg_kernel_encode_u8(&grid, 0, batch->images, n, out);
    }
}

static enum bg_status run_sum(struct bg_integer_program *program, int s)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = program->model;
    const struct bg_integer_step *step = &model->step[s];
    struct bg_requant_input inputs[BG_REQUANT_TERMS] = {{.acc = NULL}};
    int64_t rows = step_rows(program, step);

    for (int t = 0; t < step->terms; t++) {
        const struct bg_integer_term *term = &step->term[t];
        const struct part *part = &program->part[s][t];
        const uint8_t *codes = program->codes[term->input];
        int32_t zero_point = model->tensor[term->input].zero_point;
        inputs[t] = (struct bg_requant_input){.codes = codes, .zero_point = zero_point};
        if (term->source == BG_INTEGER_CODES)
            continue;
        inputs[t].acc = part->acc;
        if (term->source == BG_INTEGER_LAYER)
            TRY(bg_int_conv_run(part->conv, codes, zero_point, part->acc));
        else if (program->path == BG_INT_REFERENCE)
            bg_ref_int_sum_pool(&part->pool, codes, zero_point, part->acc);
        else
            bg_int_sum_pool(&part->pool, codes, zero_point, part->acc);
    }
    if (model->tensor[step->output].real)
        bg_requant_real(&step->requant, inputs, rows, program->logits);
    else
        (program->path == BG_INT_REFERENCE ? bg_ref_requant_run : bg_requant_run)(
            &step->requant, inputs, rows, program->codes[step->output] + step->channel,
            model->tensor[step->output].shape.dims[2]);
out:
    return rc;
}

static void run_max_pool(const struct bg_integer_program *program, int s)
{
    const struct bg_integer_step *step = &program->model->step[s];
    int64_t stride = program->model->tensor[step->output].shape.dims[2];
    uint8_t *out = program->codes[step->output] + step->channel;

    (program->path == BG_INT_REFERENCE ? bg_ref_int_max_pool : bg_int_max_pool)(
        &program->max_pool[s], program->codes[step->input], out, stride);
}

enum bg_status bg_integer_program_run(struct bg_integer_program *program,
                                      const struct bg_batch *batch)
{
    enum bg_status rc = BG_OK;
    const struct bg_integer_model *model = program->model;
    const struct bg_sample_spec *spec = bg_node_sample_spec(model->graph->node[0]);

    if (batch->size != program->batch)
        FAIL(BG_E_SHAPE, "the batch has %lld samples, the program was made for %lld",
             (long long)batch->size, (long long)program->batch);
    if (batch->dtype != spec->dtype)
        FAIL(BG_E_SHAPE, "the batch has samples of type %s, the network reads %s",
             bg_dtype_name(batch->dtype), bg_dtype_name(spec->dtype));
    TRY(pack(program));
    for (int s = 0; s < model->steps; s++) {
        if (model->step[s].kind == BG_INTEGER_INPUT)
            run_input(program, &model->step[s], batch);
        else if (model->step[s].kind == BG_INTEGER_SUM)
            TRY(run_sum(program, s));
        else
            run_max_pool(program, s);
    }
out:
    return rc;
}

const float *bg_integer_program_logits(const struct bg_integer_program *program)
{
    return program->logits;
}

const uint8_t *bg_integer_program_codes(const struct bg_integer_program *program, int tensor)
{
    return program->keep && !program->model->tensor[tensor].real ? program->codes[tensor] : NULL;
}

const char *bg_integer_program_implementation(const struct bg_integer_program *program, int step,
                                              int term)
{
    const struct bg_int_conv *conv = program->part[step][term].conv;

    return conv == NULL ? "" : bg_int_conv_implementation(conv);
}
