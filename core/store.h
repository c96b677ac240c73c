/* Weights that live in integers: bg_store holds what a parameter is instead of an f32 master.
 *
 * Split (P4, "residual"): codes W on the grid of param->quantizer and r bits R below, unsigned; T =
 * W * 2^r + R and the real value is (T - o) * s * 2^-r with o = 2^(r-1) (split nearest: W is the
 * value rounded to nearest) or 0 (split floor). Buffer (P3, "threshold"): R is signed, o = 0.
 * Several gradients per write (P4): their sum is kept beside, in units of the residual's last bit
 * or 2^-finer of it; W and R are written when it is added. Kahan: a bf16 weight and a bf16
 * compensation; W is the weight rounded to the grid. Floating point (P3): W and R are small floats,
 * each with a bias of its own, and there is no grid.
 * No f32 copy of the weights exists then: param->value has no data. Without bits below (r = 0) the
 * store is codes alone.
 *
 * Invariants: qmin <= W <= qmax of the grid, 0 <= R < 2^r (split), |R| < 2^(buffer bits - 1)
 * (buffer), |sum| <= BG_STORE_SUM_MOST. */
#ifndef BG_CORE_STORE_H
#define BG_CORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/param.h"
#include "core/status.h"

#define BG_STORE_LOW_MAX   24
#define BG_STORE_FINER_MAX 8
#define BG_STORE_SUM_BITS  30
#define BG_STORE_SUM_MOST  ((1 << BG_STORE_SUM_BITS) - 1)

enum bg_store_form { BG_STORE_SPLIT, BG_STORE_BUFFER, BG_STORE_KAHAN, BG_STORE_FLOAT };
enum bg_store_momentum {
    BG_STORE_MOMENTUM_F32, /* param->state */
    BG_STORE_MOMENTUM_BF16,
    BG_STORE_MOMENTUM_S16, /* 1/16 of the residual's step; the learning rate is in it */
    BG_STORE_MOMENTUM_NONE,
    BG_STORE_MOMENTA
};

struct bg_store_spec {
    enum bg_store_form form;
    int bits;      /* of the weight: 2 to 16 */
    int low;       /* r: bits below the weight's last one, 0 to 24 */
    int buffer;    /* buffer form: bits of R with its sign, low + 2 to 24; else 0 */
    int room;      /* by so many bits may r grow when the grid is re-fitted, and a buffer with it */
    bool half;     /* split nearest: o = 2^(r-1) */
    bool moves;    /* buffer form: r and with it the buffer may change */
    int gradients; /* split form: steps per write when they are more than 1, else 0 */
    int finer;     /* bits of their sum below the residual's last one */
    /* Floating point: `bits` and `buffer` are all bits of weight and buffer, of which one is the
     * sign, so many the exponent and the others the mantissa. */
    int exponent[2];
    int over; /* the buffer reaches 2^over of the largest weight's steps */
    enum bg_store_momentum momentum;
};

struct bg_store {
    struct bg_store_spec spec;
    int64_t count, channels;
    void *codes;    /* s8 up to 8 bits, s16 above */
    void *below;    /* unsigned (split) or signed (buffer), 1, 2 or 4 bytes; Kahan: pairs of bf16;
                       NULL without */
    int32_t *sum;   /* split form, several gradients per write: what is not written yet */
    void *momentum; /* bf16 or s16; NULL: param->state has it, or none is kept */
    int code_bytes, below_bytes, momentum_bytes;
    int top[2];     /* floating point: exponents of the largest weight and buffer */
    uint8_t *shift; /* r of each channel: low, until the grid is re-fitted */
    /* Counts of elements since the start: moved, codes that changed, stopped at the end of the
     * grid or buffer, and steps that were not 0 but rounded to 0. */
    int64_t updates, written, saturated, lost;
    int64_t kept, beyond; /* steps that rounded to another number than 0; larger than could be */
    int64_t dropped;      /* last bits that fell off buffers which became narrower */
};

/* BG_E_RANGE with value and limit when the widths do not fit together. */
BG_MUST enum bg_status bg_store_check(const struct bg_store_spec *spec);
bool bg_store_spec_equal(const struct bg_store_spec *a, const struct bg_store_spec *b);
/* Room for `count` weights in `channels` channels, all 0. */
BG_MUST enum bg_status bg_store_make(struct bg_store **out, const struct bg_store_spec *spec,
                                     int64_t count, int64_t channels);
void bg_store_free(struct bg_store *store); /* takes NULL */
BG_MUST enum bg_status bg_store_copy(struct bg_store **out, const struct bg_store *from);
/* Counts of `from`, of whatever spec: they go on where its weights do. */
void bg_store_take_counts(struct bg_store *to, const struct bg_store *from);
/* Numbers and counts of `from`, whose spec and sizes are equal. */
void bg_store_assign(struct bg_store *to, const struct bg_store *from);

/* A small float: value = 2^e * 1.mantissa for e from `least` to `top`, and evenly spaced numbers of
 * 2^(least - mantissa) below. As in IEEE 754 the largest exponent field stands for no number. */
struct bg_float_format {
    int mantissa, least, top;
};
/* All numbers of a format lie among those that f32 has without its subnormal ones. */
#define BG_FLOAT_LEAST (-126)
#define BG_FLOAT_TOP   126
enum bg_float_part { BG_FLOAT_WEIGHT, BG_FLOAT_BUFFER };
struct bg_float_format bg_store_format(const struct bg_store *store, enum bg_float_part part);
double bg_float_most(const struct bg_float_format *format);
/* Bits of a number of the format, and back. */
uint32_t bg_float_pattern(const struct bg_float_format *format, int exponent, double value);
double bg_float_value(const struct bg_float_format *format, int exponent, uint32_t pattern);
/* Sets the biases for weights up to `largest`: the second one by bg_second_bias. BG_E_RANGE when
 * numbers would leave those of f32. */
BG_MUST enum bg_status bg_store_place(struct bg_store *store, double largest);
/* What forward reads of floating-point weights. */
void bg_store_weights(const struct bg_store *store, int64_t first, int64_t n, float *values);

/* In all that follows a grid is NULL for floating point. From f32 values on the parameter's grid: W
 * nearest, R the rest to half of its last bit; what lies outside the grid is brought to its end and
 * counted. Real values, for whoever wants them; the real value of each element is rounded to f32.
 */
void bg_store_put(struct bg_store *store, const struct bg_grid *grid, int64_t index, float value);
void bg_store_encode(struct bg_store *store, const struct bg_grid *grid, const float *values);
void bg_store_decode(const struct bg_store *store, const struct bg_grid *grid, int64_t first,
                     int64_t n, float *values);
const struct bg_grid *bg_param_grid(const struct bg_param *param); /* NULL without one */
/* The same of any parameter (a sum that waits is in it); copies the value of one that has no store.
 */
void bg_param_read(const struct bg_param *param, int64_t first, int64_t n, float *values);
/* Codes of at most 8 bits, or NULL: no store, wider, or floats. */
const int8_t *bg_store_s8(const struct bg_param *param);
int32_t bg_store_code(const struct bg_store *store, int64_t index);
int32_t bg_store_below(const struct bg_store *store, int64_t index);
void bg_store_set(struct bg_store *store, int64_t index, int32_t code, int32_t below);
int32_t bg_store_half(const struct bg_store *store, int r); /* o */
/* T - o (buffers: T) with r bits below: the real value in units of the last of them. */
int64_t bg_store_total(const struct bg_store *store, int64_t index, int r);
int bg_store_buffer_bits(const struct bg_store *store,
                         int r); /* overlap is what it was made with */
/* Numbers of a hostile file: codes outside the grid, residuals outside their bits. */
BG_MUST enum bg_status bg_store_valid(const struct bg_store *store, const struct bg_grid *grid,
                                      const char *name);

/* The grid of a channel by 2^k: s' = s * 2^k, r' = r + k; real values stay what they are, exactly.
 * BG_E_RANGE, and nothing changes, when bits would drop (r + k < 0), r' would not fit the storage,
 * or a weight would leave the new grid (k < 0). Split form, and buffers that may move: there what
 * is cut off the weight goes to the buffer (bg_threshold_point), whose last bit stays. */
BG_MUST enum bg_status bg_store_regrid(struct bg_param *param, int64_t channel, int k);

/* Every channel's grid by 2 or 1/2 where its weights have reached the end or leave half of it
 * empty, as far as the residual has bits for it. */
void bg_store_refit(struct bg_param *param);

/* Buffers that may move: one bit more below the weight (k = 1), or less (k = -1: the last one is
 * rounded away, half to even, and counted when it was 1), in all channels that stay between `least`
 * and `most` bits of buffer. Integer momentum, which counts 1/16 of the last bit, is cut to it. */
void bg_store_widen(struct bg_store *store, int k, int least, int most);

/* Bytes that hold a parameter's state, whatever it is made of. */
struct bg_store_bytes {
    int64_t weights;
    int64_t values; /* f32 master and, where an exact program reads one, the f32 projection */
    int64_t codes, below, momentum;
    int64_t gradient;
};
void bg_param_bytes(const struct bg_param *param, struct bg_store_bytes *out);

#endif
