/* Where gradients go. Steps are walked in backward order; the first consumer of a value that runs
 * backward writes the value's gradient, later ones write a temporary that is added. Ops that pass
 * the gradient on (add, flatten) write nothing: the input's gradient takes the memory of the
 * output's where that is safe, else it is copied; later ones are accumulated straight from it.
 *
 * Safety: several values' gradients may share memory only while all of them hold the same numbers.
 * A value's gradient is read last by the step that makes the value, and changed by each of the
 * value's remaining consumers. So two values may share when every change of one comes after the
 * last read of the other. Value and step numbers are the same, and a larger number runs earlier in
 * backward. */
#include "autograd/program_private.h"

static bool runs_backward(const struct bg_program *program, int step)
{
    return program->step[step].needs_gradient;
}

/* An edge into `value` that is planned after the edge (step, input), so that it changes the value's
 * gradient later, but not after the last read of `other`. */
static bool changed_while_read(const struct bg_program *program, int value, int other, int step,
                               int input)
{
    for (int c = value + 1; c <= step; c++)
        for (int k = 0; k < program->step[c].inputs; k++)
            if ((c < step || k > input) && other <= c && program->step[c].input[k] == value)
                return true;
    return false;
}

/* Some other value whose gradient lies in this memory is still to be read. */
static bool others_live(const struct bg_layout *layout, int buffer, int step, int value)
{
    for (int w = 0; w < step; w++)
        if (w != value && layout->gradient[w] == buffer)
            return true;
    return false;
}

static bool may_alias(const struct bg_layout *layout, int step, int input)
{
    const struct bg_program *program = layout->program;
    int value = program->step[step].input[input], buffer = layout->gradient[step];

    if (!layout->share)
        return false;
    for (int w = 0; w < step; w++) {
        if (w == value || layout->gradient[w] != buffer)
            continue;
        if (changed_while_read(program, value, w, step, input) ||
            changed_while_read(program, w, value, step, input))
            return false;
    }
    return true;
}

static int new_gradient(struct bg_layout *layout, int value, int time)
{
    const struct bg_program *program = layout->program;
    int64_t bytes =
        bg_shape_count(&program->step[value].result->shape) * program->options.batch * 4;

    return bg_layout_add(layout, bytes, time, time);
}

static enum bg_edge first_edge(struct bg_layout *layout, int s, int k)
{
    const struct bg_program *program = layout->program;
    const struct bg_step *step = &program->step[s];
    int value = step->input[k], time = bg_backward_time(program, s);
    bool passes = (step->flags & BG_OP_PASSES_GRADIENT) != 0;
    bool in_place = layout->share && k == 0 && (step->flags & BG_OP_BACKWARD_IN_PLACE) != 0 &&
                    !others_live(layout, layout->gradient[s], s, value);

    if (passes && may_alias(layout, s, k)) {
        layout->gradient[value] = layout->gradient[s];
        return BG_EDGE_ALIAS;
    }
    layout->gradient[value] =
        !passes && in_place ? layout->gradient[s] : new_gradient(layout, value, time);
    return passes ? BG_EDGE_COPY : BG_EDGE_WRITE;
}

static enum bg_edge plan_edge(struct bg_layout *layout, int s, int k)
{
    const struct bg_program *program = layout->program;
    const struct bg_step *step = &program->step[s];
    int value = step->input[k], time = bg_backward_time(program, s);

    if (!runs_backward(program, value))
        return BG_EDGE_NONE;
    if (layout->gradient[value] < 0) {
        enum bg_edge edge = first_edge(layout, s, k);
        bg_layout_extend(layout, layout->gradient[value], bg_backward_time(program, value));
        return edge;
    }
    if ((step->flags & BG_OP_PASSES_GRADIENT) != 0)
        return BG_EDGE_ACCUMULATE;
    layout->temporary[s][k] = new_gradient(layout, value, time);
    return BG_EDGE_ADD;
}

void bg_program_plan_gradients(struct bg_layout *layout)
{
    const struct bg_program *program = layout->program;

    for (int s = program->steps - 1; s >= 0; s--)
        for (int k = 0; runs_backward(program, s) && k < program->step[s].inputs; k++)
            program->step[s].edge[k] = plan_edge(layout, s, k);
}
