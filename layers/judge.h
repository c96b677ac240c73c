/* The judge of integer programs: derives every number again from the network's parameters and grids
 * by code that shares nothing with autograd/integer*.c, core/requant.c and core/int_conv.c, sums
 * codes naively in f64, and compares with what a program computed (core/NUMERICS.md, "Integer
 * evaluation"). The grids themselves (scales, zero points) are given: they are what was trained.
 * Slow on purpose. */
#ifndef BG_LAYERS_JUDGE_H
#define BG_LAYERS_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "autograd/integer.h"
#include "core/source.h"

/* Codes of one tensor over all batches so far. */
struct bg_judge_tensor {
    char name[BG_NAME_MAX];
    int64_t outputs, differ;
    double constant; /* share of the most frequent code; of the logits: of the prediction */
    bool mistrusted; /* constant > 0.99 (BG_JUDGE_CONSTANT): equality says nothing here */
    /* The first difference: sample (counted over all batches), element, both values. */
    int64_t sample, element;
    double expected, found;
};
#define BG_JUDGE_CONSTANT 0.99

struct bg_judge;
/* For the graph's present plan, parameters and ranges, in the given mode. Uses the readers of
 * autograd/graph.h alone. */
BG_MUST enum bg_status bg_judge_create(struct bg_judge **out, const struct bg_graph *graph,
                                       enum bg_requant_mode mode);
void bg_judge_destroy(struct bg_judge *judge); /* takes NULL */
/* Computes the batch and compares every tensor of codes, found by name, and the logits with those
 * of the program's last run (made with `keep`). BG_E_MISMATCH when one of them knows a tensor the
 * other does not. Threaded over samples. */
BG_MUST enum bg_status bg_judge_batch(struct bg_judge *judge, const struct bg_batch *batch,
                                      const struct bg_integer_model *model,
                                      const struct bg_integer_program *program);
int bg_judge_count(const struct bg_judge *judge);
struct bg_judge_tensor bg_judge_result(const struct bg_judge *judge, int index);

#endif
