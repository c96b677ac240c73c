/* Inside the judge (judge.h). The network as values, one per node of the graph: a value with codes
 * is made of pieces (several only behind a concat), a piece is a sum of terms, one requantisation,
 * then max pools that stood between the sum and the grid. judge_walk.c finds the pieces,
 * judge_numbers.c derives their numbers, judge_run.c computes a sample, judge.c compares.
 *
 * Every number is derived from the section "Integer evaluation" of core/NUMERICS.md alone. Nothing
 * here may call what computes the same elsewhere: bg_grid_encode, core/requant.h, core/int_conv.h.
 */
#ifndef BG_LAYERS_JUDGE_PRIVATE_H
#define BG_LAYERS_JUDGE_PRIVATE_H

#include "layers/judge.h"

enum bg_judge_op {
    BG_JUDGE_CONV2D,
    BG_JUDGE_LINEAR,
    BG_JUDGE_AVG_POOL,
    BG_JUDGE_GLOBAL_POOL,
    BG_JUDGE_ADD,
    BG_JUDGE_CONCAT,
    BG_JUDGE_BATCH_NORM,
    BG_JUDGE_RELU,
    BG_JUDGE_RELU6,
    BG_JUDGE_MAX_POOL,
    BG_JUDGE_FLATTEN,
    BG_JUDGE_DROPOUT,
    BG_JUDGE_INPUT,
    BG_JUDGE_OTHER
};
enum bg_judge_op bg_judge_op(const struct bg_node *node);

/* A window sliding over an image: of a layer or a pool. Sizes are (height, width). */
struct bg_judge_window {
    int64_t in[3], out[3]; /* H,W,C */
    int64_t kernel[2], stride[2], padding[2], dilation[2], groups;
};
void bg_judge_pool_window(struct bg_judge_window *out, const struct bg_node *node,
                          const int64_t in[3]);

struct bg_judge_term {
    enum bg_judge_op source;    /* a layer, a pool that averages; BG_JUDGE_OTHER: codes */
    const struct bg_node *node; /* layer or pool */
    const struct bg_node *norm; /* acts on this term; NULL = none */
    int64_t norm_channel;       /* the norm's channel of the term's channel 0 */
    bool offset;                /* beta, mean and bias enter c; else the bias alone */
    int from;                   /* value whose codes it reads */
    int32_t zero_point;         /* of these */
    int64_t dims[3];            /* of the accumulators */
    struct bg_judge_window window;
    double *weights; /* layer: codes as [kernel rows x columns][I][O] */
    int64_t bound;   /* |acc| is at most this */
    float *m, *c;    /* [channels] */
    /* [channels], the three integer modes. */
    int64_t *bias, *multiplier;
    int *left; /* (acc + bias) * 2^left */
};

struct bg_judge_piece {
    struct bg_judge_piece *next;
    int64_t rows, channels;  /* of the sum */
    int64_t offset, stride;  /* element (row, channel) goes to offset + row * stride + channel */
    int32_t zero_point;      /* of the output */
    int32_t lo, hi;          /* limits of its code */
    enum bg_judge_op active; /* BG_JUDGE_RELU, BG_JUDGE_RELU6, or BG_JUDGE_OTHER: none */
    int terms;
    struct bg_judge_term term[BG_REQUANT_TERMS];
    int *right; /* [channels], integer modes: the sum is divided by 2^right */
    int pools;  /* behind the requantisation, in order */
    struct bg_judge_window *pool;
};

enum bg_judge_kind {
    BG_JUDGE_VIEW, /* codes of another value, or none at all */
    BG_JUDGE_BYTES,
    BG_JUDGE_SUM,
    BG_JUDGE_LARGEST, /* max pool of codes */
    BG_JUDGE_LOGITS
};

struct bg_judge_value {
    const struct bg_node *node;
    enum bg_judge_kind kind;
    int codes; /* value that holds its codes (itself, or behind a view), -1 = none */
    const struct bg_grid *grid;    /* of the codes */
    int64_t count, at;             /* codes of one sample, and where they stand in the scratch */
    struct bg_judge_piece *piece;  /* SUM, LOGITS */
    struct bg_judge_window window; /* LARGEST */
    int from;                      /* LARGEST: value whose codes it reads */
};

/* What one thread has seen of one compared tensor. */
struct bg_judge_count {
    int64_t outputs, differ, sample, element; /* sample -1: no difference */
    double expected, found;
    int64_t *often; /* [256] per code, or [classes] per prediction */
};

/* One thread's memory. */
struct bg_judge_scratch {
    uint8_t *codes; /* of all values of one sample */
    float *logits;
    double *x;               /* codes - zero point of the term at hand */
    double *acc;             /* accumulators of all terms of a piece */
    uint8_t *before, *after; /* codes around a max pool */
    struct bg_judge_count *count;
};

struct bg_judge {
    const struct bg_graph *graph;
    enum bg_requant_mode mode;
    struct bg_arena *arena;
    int values;
    struct bg_judge_value *value; /* per node of the graph */
    int logits;                   /* value */
    int tensors;                  /* that are compared; the logits are last */
    int *tensor;                  /* [tensors] value */
    const void **found;           /* [tensors] what the program at hand computed */
    int64_t samples;              /* seen so far */
    int threads;
    struct bg_judge_scratch *scratch; /* [threads] */
};

/* judge_walk.c: value->piece for a value of kind SUM or LOGITS. */
BG_MUST enum bg_status bg_judge_walk(struct bg_judge *judge, struct bg_judge_value *value);
/* judge_numbers.c: weight codes, m, c and the integers of the mode of all its terms. */
BG_MUST enum bg_status bg_judge_numbers(struct bg_judge *judge, struct bg_judge_value *value);
/* judge_modes.c: bias, multiplier and shifts of one channel from m, c and bound. */
BG_MUST enum bg_status bg_judge_fit(const struct bg_judge_piece *piece, enum bg_requant_mode mode,
                                    int64_t channel);
/* The code of a channel from the accumulators of its terms. */
uint8_t bg_judge_code(const struct bg_judge_piece *piece, enum bg_requant_mode mode,
                      int64_t channel, const double acc[BG_REQUANT_TERMS]);
/* v in f32 (mode f32-rne, and the logits in every mode). */
float bg_judge_real(const struct bg_judge_piece *piece, int64_t channel,
                    const double acc[BG_REQUANT_TERMS]);
/* Code of a real number on a grid, symmetric or affine. */
int32_t bg_judge_encode(const struct bg_grid *grid, int64_t channel, float x);
/* judge_run.c: sample `n` of the batch into scratch->codes and scratch->logits. */
void bg_judge_sample(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                     const struct bg_batch *batch, int64_t n);
/* Codes of a value of the last sample. */
static inline const uint8_t *bg_judge_codes(const struct bg_judge *judge,
                                            const struct bg_judge_scratch *scratch, int value)
{
    return scratch->codes + judge->value[judge->value[value].codes].at;
}

#endif
