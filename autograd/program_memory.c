/* Memory of a program: when each value is written and last read, which values share memory as views
 * or in place, and addresses from the liveness plan (memory_plan.c). With keep_values every buffer
 * is an allocation of its own, so that sanitizers see overruns and every value stays readable. */
#include "autograd/program_private.h"

int bg_layout_add(struct bg_layout *layout, int64_t bytes, int first, int last)
{
    layout->buffer[layout->count] =
        (struct bg_buffer){.bytes = bytes, .first = first, .last = last};
    return layout->count++;
}

void bg_layout_extend(struct bg_layout *layout, int buffer, int time)
{
    struct bg_buffer *at = &layout->buffer[buffer];

    at->last = time > at->last ? time : at->last;
}

static int last_time(const struct bg_program *program)
{
    return program->options.mode == BG_MODE_TRAIN ? 2 * program->steps - 1 : program->steps - 1;
}

static void raise_to(int *value, int to)
{
    *value = to > *value ? to : *value;
}

/* The last time anything reads each step's value. The logits stay for the caller. */
static void find_last_reads(struct bg_program *program)
{
    int logits = program->step_of[bg_graph_logits(program->graph)->index];

    for (int s = 0; s < program->steps; s++) {
        const struct bg_step *step = &program->step[s];
        program->last[s] = s;
        if (step->needs_gradient && (step->flags & BG_OP_READS_OUTPUT) != 0)
            raise_to(&program->last[s], bg_backward_time(program, s));
        if (program->options.keep_values || s == logits)
            raise_to(&program->last[s], last_time(program));
        for (int k = 0; k < step->inputs; k++) {
            raise_to(&program->last[step->input[k]], s);
            if (step->needs_gradient && (step->flags & BG_OP_READS_INPUT) != 0)
                raise_to(&program->last[step->input[k]], bg_backward_time(program, s));
        }
    }
}

static int64_t value_bytes(const struct bg_program *program, const struct bg_step *step)
{
    return bg_shape_count(&step->result->shape) * program->options.batch * 4;
}

/* The memory of an input that ends with this step, for ops that may write over it. */
static int overwritten_input(const struct bg_layout *layout, int s)
{
    const struct bg_step *step = &layout->program->step[s];

    if (!layout->share || (step->flags & BG_OP_FORWARD_IN_PLACE) == 0)
        return -1;
    for (int k = 0; k < step->inputs; k++) {
        int buffer = layout->value[step->input[k]];
        if (layout->buffer[buffer].last == s)
            return buffer;
    }
    return -1;
}

static void place_values(struct bg_layout *layout)
{
    const struct bg_program *program = layout->program;

    for (int s = 0; s < program->steps; s++) {
        const struct bg_step *step = &program->step[s];
        int shared = overwritten_input(layout, s);
        if ((step->op->flags & BG_OP_LOSS) != 0)
            continue;
        if ((step->flags & BG_OP_VIEW) != 0)
            shared = layout->value[step->input[0]];
        if (shared < 0)
            shared = bg_layout_add(layout, value_bytes(program, step), s, s);
        bg_layout_extend(layout, shared, program->last[s]);
        layout->value[s] = shared;
    }
}

static void place_saved(struct bg_layout *layout)
{
    const struct bg_program *program = layout->program;
    int64_t scratch = 0;

    for (int s = 0; s < program->steps; s++) {
        const struct bg_step *step = &program->step[s];
        int until = step->needs_gradient ? bg_backward_time(program, s) : s;
        if (step->saved_bytes > 0)
            layout->saved[s] = bg_layout_add(layout, step->saved_bytes, s, until);
        scratch = step->scratch_bytes > scratch ? step->scratch_bytes : scratch;
    }
    layout->scratch = bg_layout_add(layout, scratch, 0, last_time(program));
}

static struct bg_tensor tensor_of(const struct bg_program *program, int step, void *data)
{
    const int64_t *dims = program->step[step].result->shape.dims;

    return (struct bg_tensor){.data = data,
                              .dtype = BG_F32,
                              .shape = {4, {program->options.batch, dims[0], dims[1], dims[2]}}};
}

/* Addresses of all buffers into at[]. */
static enum bg_status allocate(const struct bg_layout *layout, void **at)
{
    enum bg_status rc = BG_OK;
    struct bg_program *program = layout->program;
    char *block = NULL;

    if (layout->share) {
        TRY(bg_memory_plan(layout->buffer, layout->count, &program->bytes));
        TRY(bg_arena_alloc(program->arena, &block, program->bytes, 1));
        for (int i = 0; i < layout->count; i++)
            at[i] = block + layout->buffer[i].offset;
        goto out;
    }
    for (int i = 0; i < layout->count; i++) {
        TRY(bg_arena_alloc(program->arena, &at[i], layout->buffer[i].bytes, 1));
        program->bytes += layout->buffer[i].bytes;
    }
out:
    return rc;
}

static void *address(void *const *at, int buffer)
{
    return buffer < 0 ? NULL : at[buffer];
}

static void bind_step(const struct bg_layout *layout, int s, void *const *at)
{
    const struct bg_program *program = layout->program;
    struct bg_step *step = &program->step[s];

    step->out = tensor_of(program, s, address(at, layout->value[s]));
    step->d_out = tensor_of(program, s, address(at, layout->gradient[s]));
    step->saved = address(at, layout->saved[s]);
    step->scratch = address(at, layout->scratch);
    for (int k = 0; k < step->inputs; k++) {
        int input = step->input[k];
        void *sum = address(at, layout->gradient[input]);
        void *own = step->edge[k] == BG_EDGE_WRITE ? sum : NULL;
        if (step->edge[k] == BG_EDGE_ADD)
            own = address(at, layout->temporary[s][k]);
        step->in[k] = tensor_of(program, input, address(at, layout->value[input]));
        step->d_sum[k] = tensor_of(program, input, sum);
        step->d_in[k] = tensor_of(program, input, own);
    }
}

static enum bg_status open_layout(struct bg_layout *layout)
{
    enum bg_status rc = BG_OK;
    int steps = layout->program->steps;

    /* per step: value, gradient, saved, a temporary per input; one scratch */
    TRY(bg_alloc(&layout->buffer, (3 + BG_OP_INPUTS) * steps + 1, sizeof *layout->buffer));
    TRY(bg_alloc(&layout->value, steps, sizeof *layout->value));
    TRY(bg_alloc(&layout->gradient, steps, sizeof *layout->gradient));
    TRY(bg_alloc(&layout->saved, steps, sizeof *layout->saved));
    TRY(bg_alloc(&layout->temporary, steps, sizeof *layout->temporary));
    for (int s = 0; s < steps; s++) {
        layout->value[s] = layout->gradient[s] = layout->saved[s] = -1;
        for (int k = 0; k < BG_OP_INPUTS; k++)
            layout->temporary[s][k] = -1;
    }
out:
    return rc;
}

enum bg_status bg_program_bind(struct bg_program *program)
{
    enum bg_status rc = BG_OK;
    struct bg_layout layout = {.program = program, .share = !program->options.keep_values};
    void **at = NULL;

    TRY(bg_arena_alloc(program->arena, &program->last, program->steps, sizeof *program->last));
    TRY(open_layout(&layout));
    find_last_reads(program);
    place_values(&layout);
    place_saved(&layout);
    bg_program_plan_gradients(&layout);
    TRY(bg_alloc(&at, layout.count, sizeof *at));
    TRY(allocate(&layout, at));
    for (int s = 0; s < program->steps; s++)
        bind_step(&layout, s, at);
out:
    bg_free(at);
    bg_free(layout.temporary);
    bg_free(layout.saved);
    bg_free(layout.gradient);
    bg_free(layout.value);
    bg_free(layout.buffer);
    return rc;
}
