/* Steps from nodes: the one place that decides which nodes become one step. Now: a relu whose only
 * producer is a batch norm that nobody else reads runs inside it, and a quantize step follows every
 * node that has a quantizer (raw bytes are on their grid already). Consumers read what stands last.
 */
#include "autograd/program_private.h"

/* Nodes that read `node`. */
static int consumers(const struct bg_graph *graph, const struct bg_node *node)
{
    int count = 0;

    for (int i = node->index + 1; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i]->inputs; k++)
            count += graph->node[i]->input[k] == node;
    return count;
}

static bool fuses_into_norm(const struct bg_program *program, const struct bg_node *node)
{
    const struct bg_node *norm = node->input[0];

    return node->op == &bg_op_relu && norm->op == &bg_op_batch_norm && norm->quantizer == NULL &&
           !program->options.keep_values && consumers(program->graph, norm) == 1;
}

static struct bg_step *add_step(struct bg_program *program, const struct bg_op *op,
                                const struct bg_node *node)
{
    struct bg_step *step = &program->step[program->steps];

    *step = (struct bg_step){.op = op,
                             .node = node,
                             .result = node,
                             .flags = op->flags,
                             .inputs = op == node->op ? node->inputs : op->inputs};
    program->step_of[node->index] = program->steps++;
    return step;
}

static void add_node(struct bg_program *program, const struct bg_node *node)
{
    int made = 0;

    if (fuses_into_norm(program, node)) {
        made = program->step_of[node->input[0]->index];
        program->step[made].relu = true;
        program->step[made].result = node;
        program->step_of[node->input[0]->index] = -1;
        program->step_of[node->index] = made;
    } else {
        struct bg_step *step = add_step(program, node->op, node);
        for (int k = 0; k < node->inputs; k++)
            step->input[k] = program->step_of[node->input[k]->index];
        made = program->steps - 1;
    }
    if (node->quantizer != NULL && !node->quantizer->fixed) {
        struct bg_step *step = add_step(program, &bg_op_quantize, node);
        step->input[0] = made;
    }
}

/* A gradient is needed where something trainable lies at or before the step, or at the input when
 * observers want it. */
static bool needs_gradient(const struct bg_program *program, const struct bg_step *step)
{
    const struct bg_quantizer *quantizer = step->node->quantizer;
    bool needed = step->op == &bg_op_input && program->options.observe;

    if (program->options.mode != BG_MODE_TRAIN)
        return false;
    for (int k = 0; k < step->inputs; k++)
        needed = needed || program->step[step->input[k]].needs_gradient;
    if (step->op == &bg_op_quantize)
        return needed || quantizer->step != NULL;
    for (int i = 0; i < step->node->params; i++)
        needed = needed || bg_param_trainable(step->node->param[i]);
    return needed;
}

static enum bg_status check_reach(const struct bg_graph *graph)
{
    for (int i = 0; i < graph->nodes; i++) {
        const struct bg_node *node = graph->node[i];
        if (node != graph->loss && consumers(graph, node) == 0)
            return bg_fail(BG_E_USAGE, "%s %s: nothing reads its output", node->op->name,
                           node->name);
    }
    return BG_OK;
}

static enum bg_status compile_steps(struct bg_program *program)
{
    enum bg_status rc = BG_OK;
    struct bg_compile compile = {.arena = program->arena,
                                 .compute = program->options.compute,
                                 .train = program->options.mode == BG_MODE_TRAIN,
                                 .batch = program->options.batch,
                                 .codes = program->codes};

    for (int i = 0; i < program->steps; i++) {
        struct bg_step *step = &program->step[i];
        step->needs_gradient = needs_gradient(program, step);
        compile.need_dx = step->inputs > 0 && program->step[step->input[0]].needs_gradient;
        if (step->op->compile == NULL)
            continue;
        rc = step->op->compile(&compile, step);
        if (rc != BG_OK)
            return bg_fail_prefix(rc, "%s %s: ", step->op->name, step->node->name);
        program->coded += (step->op->flags & BG_OP_LAYER) != 0 && bg_weighted_is_coded(step);
    }
    return rc;
}

enum bg_status bg_program_build(struct bg_program *program)
{
    enum bg_status rc = BG_OK;
    const struct bg_graph *graph = program->graph;

    TRY(check_reach(graph));
    TRY(bg_arena_alloc(program->arena, &program->step, 2 * graph->nodes, sizeof *program->step));
    TRY(bg_arena_alloc(program->arena, &program->step_of, graph->nodes, sizeof(int)));
    for (int i = 0; i < graph->nodes; i++)
        add_node(program, graph->node[i]);
    TRY(compile_steps(program));
out:
    return rc;
}
