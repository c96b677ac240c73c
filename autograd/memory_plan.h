/* Memory planning: buffers that are live at different times share addresses in one block. */
#ifndef BG_AUTOGRAD_MEMORY_PLAN_H
#define BG_AUTOGRAD_MEMORY_PLAN_H

#include <stdint.h>

#include "core/mem.h"

struct bg_buffer {
    int64_t bytes;
    int first, last; /* times of the first write and the last read, both included */
    int64_t offset;  /* result, a multiple of BG_ALIGN */
};

/* Gives every buffer an offset such that no two with a common time overlap; *total = bytes of the
 * block. Larger buffers are placed first, each into the smallest gap that holds it (best fit), ties
 * by index, so the plan is a function of the list. Buffers of 0 bytes take no room. */
BG_MUST enum bg_status bg_memory_plan(struct bg_buffer *buffers, int count, int64_t *total);

#endif
