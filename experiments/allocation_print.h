/* What `bitgrad allocate` has to say about a plan: as text, as JSON, as a plan file. */
#ifndef BG_EXPERIMENTS_ALLOCATION_PRINT_H
#define BG_EXPERIMENTS_ALLOCATION_PRINT_H

#include "experiments/cost_table.h"

struct bg_allocation_report {
    const char *allocator;
    const struct bg_cost_table *table;
    const struct bg_allocate_problem *problem;
    const struct bg_allocation *allocation; /* one choice per layer of the table */
};

void bg_allocation_print_text(const struct bg_allocation_report *report);
BG_MUST enum bg_status bg_allocation_print_json(const struct bg_allocation_report *report);
/* Labels become specs: 8 or w8 is w=s8/channel, w4a8 adds a=u8, 32 is f32. BG_E_DATA names a label
 * that is no width, or a name that a plan file cannot hold; the file is then as it was. */
BG_MUST enum bg_status bg_allocation_write_plan(const struct bg_allocation_report *report,
                                                const char *path);
#endif
