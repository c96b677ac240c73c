/* Private: the plan of backward weights on AMX (core/amx_weights_plan.c makes it,
 * core/amx_weights.c runs it).
 *
 * dw[o][tap][c] = sum over outputs q of dz[q][o] * x[q moved by the tap][c]. Outputs are numbered
 * in rows of `pitch`, wide enough that a tap is one shift of that number: what it reads beside the
 * image is 0, and so is dz between rows. Pairs of pixels make shifts by an odd number another copy
 * of x. With a stride x is split into planes, one for each remainder of the tap's place by the
 * stride. With few channels all taps and channels of a pixel become columns instead, no shifts.
 *
 * A unit is some output rows of one image. Threads take units and sum apart, then add in order; or,
 * where weights are many or units few, share all units and take parts of dw: then results do not
 * depend on the number of threads. The gradient is scaled and masked as it is written. */
#ifndef BG_CORE_AMX_WEIGHTS_H
#define BG_CORE_AMX_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/kernel_amx.h"
#include "core/train_private.h"

struct bg_amx_split { /* pixels of one remainder in each direction */
    int64_t remainder[2];
    int32_t *from;     /* [bands][positions] */
    int64_t even, odd; /* u16 in the unit's buffer; -1 where not wanted */
};

struct bg_amx_item { /* 16 columns of dw, or what is left */
    int64_t column, width;
};

struct bg_amx_job { /* one product */
    int64_t block, item;
    int outputs, items;
};

struct bg_amx_weights {
    struct bg_conv_shape shape;
    int threads;
    bool joined, shared;
    bool direct; /* shared, and all units are one round: sums go out at once, none are kept */
    int64_t in_blocks, out_blocks;
    int64_t pitch, rows, bands; /* output rows of a unit, units of an image */
    int64_t chunks, pairs, positions;
    struct bg_amx_split *planes;
    int64_t plane_count;
    int32_t *turn_from; /* [bands][chunks * 32] */
    struct bg_amx_item *items;
    int64_t *offset; /* of each item in the unit's buffer */
    int64_t item_count;
    struct bg_amx_job *jobs;
    int64_t job_count;
    int64_t a_unit, b_unit, units; /* u16 of a unit; units of a round */
    uint16_t *a, *b;
    float *sums;
    int64_t sum_count; /* of one thread */
    uint8_t blank[BG_AMX_SIDE];
    /* Joined: some input rows as bf16, of each thread. */
    uint16_t *padded;
    int64_t padded_rows, padded_width, padded_front, padded_count;
    int32_t *joined_at;
};

BG_MUST enum bg_status bg_amx_weights_plan(struct bg_amx_weights *own);

#endif
