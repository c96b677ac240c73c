/* Programs: creation, destruction and the readers of program.h. Running stands in program_run.c. */
#include "autograd/program.h"

#include <stdio.h>

#include "autograd/program_private.h"

static enum bg_status check_options(const struct bg_graph *graph,
                                    const struct bg_program_options *options)
{
    enum bg_status rc = BG_OK;

    if (graph->loss == NULL)
        FAIL(BG_E_USAGE, "the graph has no loss: a program needs one");
    if (options->batch < 1)
        FAIL(BG_E_RANGE, "batch %lld must be at least 1", (long long)options->batch);
    for (int i = 0; i < graph->nodes; i++) {
        const struct bg_node *node = graph->node[i];
        const int64_t *dims = node->shape.dims;
        const struct bg_shape shape = {4, {options->batch, dims[0], dims[1], dims[2]}};
        TRY(bg_shape_check(&shape, node->name));
    }
out:
    return rc;
}

/* A fast program when there is one for this graph, else an f32 one that says why, with layers on
 * codes where the CPU can. */
static enum bg_status try_fast(struct bg_program *program)
{
    enum bg_status rc = BG_OK;

    program->options.compute = BG_COMPUTE_EXACT;
    if (program->options.mode != BG_MODE_TRAIN)
        return BG_OK;
    rc = bg_fast_create(&program->fast, program->graph, &program->options);
    if (rc != BG_E_UNSUPPORTED)
        return rc;
    program->codes = bg_train_available();
    return bg_arena_text(program->arena, &program->slow, bg_error());
}

enum bg_status bg_program_create(struct bg_program **out, struct bg_graph *graph,
                                 const struct bg_program_options *options)
{
    enum bg_status rc = BG_OK;
    struct bg_program *program = NULL;

    *out = NULL;
    TRY(check_options(graph, options));
    TRY(bg_alloc(&program, 1, sizeof *program));
    program->graph = graph;
    program->options = *options;
    program->slow = "";
    graph->programs++;
    TRY(bg_arena_create(&program->arena, "program"));
    TRY(bg_arena_alloc(program->arena, &program->labels, options->batch, sizeof(int32_t)));
    if (options->compute == BG_COMPUTE_FAST)
        TRY(try_fast(program));
    if (program->fast == NULL) {
        TRY(bg_program_build(program));
        TRY(bg_program_bind(program));
    }
    *out = program;
    program = NULL;
out:
    bg_program_destroy(program);
    return rc;
}

void bg_program_destroy(struct bg_program *program)
{
    if (program == NULL)
        return;
    for (int i = 0; i < program->steps; i++)
        if (program->step[i].op->destroy != NULL)
            program->step[i].op->destroy(&program->step[i]);
    bg_fast_destroy(program->fast);
    program->graph->programs--;
    bg_arena_destroy(program->arena);
    bg_free(program);
}

double bg_program_loss(const struct bg_program *program)
{
    return program->loss;
}

const struct bg_tensor *bg_program_logits(const struct bg_program *program)
{
    if (program->fast != NULL)
        return &program->fast->loss.in[0];
    return &program->step[program->step_of[bg_graph_logits(program->graph)->index]].out;
}

const struct bg_tensor *bg_program_value(const struct bg_program *program, const char *node)
{
    const struct bg_node *found =
        program->fast != NULL ? NULL : bg_graph_find(program->graph, node);
    int step = found == NULL ? -1 : program->step_of[found->index];
    int now = program->phase == BG_PHASE_BACKWARD ? 2 * program->steps - 1 : program->steps - 1;

    if (step < 0 || program->phase == BG_PHASE_NEW || program->step[step].out.data == NULL)
        return NULL;
    return program->last[step] >= now ? &program->step[step].out : NULL;
}

int64_t bg_program_bytes(const struct bg_program *program)
{
    return program->fast != NULL ? program->fast->bytes : program->bytes;
}

struct bg_fastness bg_program_fastness(const struct bg_program *program)
{
    bool whole = program->fast != NULL;

    return (struct bg_fastness){.whole = whole,
                                .coded = whole ? program->graph->layers : program->coded,
                                .layers = program->graph->layers,
                                .why = program->slow};
}

const char *bg_fastness_text(const struct bg_fastness *fastness, char *out, size_t size)
{
    const char *why = *fastness->why != '\0' ? fastness->why : "not asked to";

    if (fastness->whole)
        (void)snprintf(out, size, "all fast: %d layers on codes and bf16", fastness->layers);
    else if (fastness->coded > 0)
        (void)snprintf(out, size, "partly fast: %d of %d layers on codes, the rest in f32 (%s)",
                       fastness->coded, fastness->layers, why);
    else
        (void)snprintf(out, size, "not fast, all in f32: %s", why);
    return out;
}

int bg_program_implementation_count(const struct bg_program *program)
{
    int count = 0;

    if (program->fast != NULL)
        return bg_fast_implementation_count(program->fast);
    for (int i = 0; i < program->steps; i++)
        count += program->step[i].op->implementation != NULL;
    return count;
}

struct bg_implementation bg_program_implementation(const struct bg_program *program, int index)
{
    struct bg_implementation out = {"", "", "", "", ""};

    if (program->fast != NULL)
        return bg_fast_implementation(program->fast, index);
    for (int i = 0; i < program->steps; i++) {
        const struct bg_step *step = &program->step[i];
        if (step->op->implementation == NULL)
            continue;
        if (index-- > 0)
            continue;
        out.node = step->node->name;
        out.op = step->op->name;
        step->op->implementation(step, &out);
        break;
    }
    return out;
}
