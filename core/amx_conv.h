/* Private: the plan of one convolution on AMX (core/amx_conv.c runs it, core/amx_conv_plan.c makes
 * it). Forward from u8 codes and backward data from bf16 gradients are both
 *
 *   dst[p] = sum over taps of src[p moved by the tap] * w[tap]
 *
 * on a grid of positions. Forward: the grid is the output, a tap reads at stride * y + tap, so with
 * a stride the source is split into planes, one for each remainder. Backward data: output pixels
 * fall into classes by the remainder of their place by the stride; each class has taps of its own
 * and reads the gradients without stride. Positions are numbered in rows of `pitch`; a tap is one
 * shift of that number. */
#ifndef BG_CORE_AMX_CONV_H
#define BG_CORE_AMX_CONV_H

#include <stdbool.h>
#include <stdint.h>

#include "core/kernel_amx.h"
#include "core/train_private.h"

/* One direction of the image. */
struct bg_amx_side {
    int64_t source, dest;    /* pixels */
    int64_t taps, step;      /* source pixels between two positions */
    int64_t origin;          /* source pixel of position 0 at offset 0 */
    int64_t grid;            /* positions */
    int64_t classes, stride; /* dest pixels between two positions of a class */
    int64_t first;           /* dest pixel of position 0 of class 0 */
    int64_t *offset;         /* [taps]: where it reads, in source pixels; 0 and more */
    int64_t *class_of;       /* [taps] */
    int64_t furthest;        /* largest offset */
};

struct bg_amx_plane {
    int64_t remainder[2];
    int32_t *from;    /* [bands][positions]: source pixel, -1 outside; not where taps are joined */
    int64_t *row_at;  /* joined: [bands][position_rows] bytes, -1 outside */
    uint64_t *mask;   /* joined: [pitch] bytes inside the image */
    int64_t inner[2]; /* columns of whole runs */
    int64_t first_column;
    int64_t at; /* bytes in the buffer of a unit */
};

struct bg_amx_class {
    int64_t first, steps; /* of the list of steps */
    int64_t weights;      /* bytes in the packed weights */
    int32_t *to;          /* [bands][16 * tiles] */
};

struct bg_amx_conv {
    struct bg_conv_shape shape;
    bool wide; /* backward data */
    int threads;
    int64_t channels, outputs, code_bytes; /* of source and dest */
    int64_t out_blocks;
    struct bg_amx_side side[2];
    /* A position holds `joined` neighbouring taps, or one tap's channels in chunks of 64 bytes. */
    int64_t joined, chunks;
    int64_t pitch, rows, bands, tiles, positions, position_rows;
    struct bg_amx_plane *planes;
    int64_t plane_count;
    struct bg_amx_class *classes;
    int64_t class_count, step_count;
    int64_t *a_offset;         /* [steps] */
    int64_t *tap_step;         /* [taps] first of the tap's steps */
    int64_t *tap_element;      /* [taps] place of its first channel in a position */
    int64_t unit_bytes, units; /* of a run over the weights */
    /* Memory of the run: */
    uint8_t *weights;
    int64_t weight_bytes;
    int32_t *at;
    uint8_t *a; /* of each thread */
    int32_t *start;
    uint8_t blank[64];
};

BG_MUST enum bg_status bg_amx_conv_plan(struct bg_amx_conv *own);

#endif
