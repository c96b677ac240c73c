/* Inside autograd: a program, and the stages of its creation: steps from nodes (program_build.c),
 * gradient edges (program_gradient.c), memory (program_memory.c). */
#ifndef BG_AUTOGRAD_PROGRAM_PRIVATE_H
#define BG_AUTOGRAD_PROGRAM_PRIVATE_H

#include "autograd/fast.h"
#include "autograd/memory_plan.h"
#include "autograd/op.h"

enum bg_phase { BG_PHASE_NEW, BG_PHASE_FORWARD, BG_PHASE_BACKWARD };

struct bg_program {
    struct bg_arena *arena;
    struct bg_graph *graph;
    struct bg_program_options options;
    struct bg_step *step;
    int steps;
    int *step_of;    /* [graph nodes] the step whose output is the node's value, -1 = none */
    int *last;       /* [steps] the last time at which the step's value is whole */
    int32_t *labels; /* [batch] of the last forward */
    double loss;
    int64_t bytes;
    enum bg_phase phase;
    struct bg_fast *fast; /* runs everything, when there is one: no steps then */
    const char *slow;     /* why a fast program was asked for and is none */
    bool codes;           /* it was asked for and the CPU could: layers run on codes (coded.h) */
    int coded;            /* layers that do */
};

/* Times: step s runs forward at time s and backward at time 2 * steps - 1 - s. */
static inline int bg_backward_time(const struct bg_program *program, int step)
{
    return 2 * program->steps - 1 - step;
}

/* The buffers of a program before they have addresses. Indices into `buffer`, -1 = none. */
struct bg_layout {
    struct bg_program *program;
    bool share;
    struct bg_buffer *buffer;
    int count;
    int *value, *gradient, *saved;  /* [steps] */
    int (*temporary)[BG_OP_INPUTS]; /* [steps] */
    int scratch;
};

int bg_layout_add(struct bg_layout *layout, int64_t bytes, int first, int last);
void bg_layout_extend(struct bg_layout *layout, int buffer, int time);

/* Steps in order, with inputs, flags and what compile made of them. */
BG_MUST enum bg_status bg_program_build(struct bg_program *program);
/* Chooses every step's edges and gives gradients and temporaries their buffers. */
void bg_program_plan_gradients(struct bg_layout *layout);
/* Plans memory and binds all tensors. */
BG_MUST enum bg_status bg_program_bind(struct bg_program *program);

#endif
