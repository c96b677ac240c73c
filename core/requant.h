/* Requantisation: from accumulators to the next codes (core/NUMERICS.md, "Integer evaluation").
 *
 * A step's value is a sum of terms, each an exact s32 accumulator with a factor m and an offset c
 * per channel, in units of the output's scale: v = sum over terms of acc * m + c. The code is
 * z + round(v), held in [lo, hi]; an activation (relu, relu6) is nothing but narrower limits.
 * Four modes say how the sum is computed:
 *
 *   f32-rne       v = (float)acc * m + c for the first term, + ((float)acc * m + c) for each next
 *                 one, left to right in f32, no fused multiply-add; round to nearest, ties to even,
 *                 after clamping to [lo - z, hi - z]
 *   fixed-single  one rounding: sum of (acc + bias) * multiplier in s64, all terms of a channel on
 *                 one shift; z + floor(sum / 2^shift + 1/2)
 *   fixed-double  two roundings, as TensorFlow Lite does it: each term a saturating rounding
 *                 doubling high multiplication in s32, then the sum divided by a power of two with
 *                 ties away from zero
 *   pow2-rne      m is the nearest power of two (in the logarithm); sum of (acc + bias) * 2^k in
 *                 s64; ties to even: shifts alone
 *
 * In the last three c becomes an s32 bias in units of the accumulator. */
#ifndef BG_CORE_REQUANT_H
#define BG_CORE_REQUANT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"
#include "core/status.h"

enum bg_requant_mode {
    BG_REQUANT_F32_RNE,
    BG_REQUANT_FIXED_SINGLE,
    BG_REQUANT_FIXED_DOUBLE,
    BG_REQUANT_POW2_RNE,
    BG_REQUANT_MODES
};
/* "f32-rne", ... */
const char *bg_requant_mode_name(enum bg_requant_mode mode);
bool bg_requant_mode_find(const char *name, enum bg_requant_mode *out);

#define BG_REQUANT_TERMS 4

struct bg_requant_term {
    float *m, *c;  /* [channels], given: stored, and read by everybody */
    int64_t bound; /* |acc| is at most this, below 2^31 */
    /* [channels], made by bg_requant_fit; NULL in mode f32-rne. */
    int32_t *bias;       /* added to acc */
    int32_t *multiplier; /* fixed modes: see core/requant.c; pow2-rne: NULL */
    int32_t *shift;      /* left shift of acc + bias before it is multiplied or added, >= 0 */
};

struct bg_requant {
    enum bg_requant_mode mode;
    int64_t channels;
    int terms; /* 1 to BG_REQUANT_TERMS */
    struct bg_requant_term term[BG_REQUANT_TERMS];
    int32_t *shift;             /* [channels] right shift of the sum; NULL in mode f32-rne */
    int32_t zero_point, lo, hi; /* 0 <= lo <= hi <= 255 */
};

/* Allocates m, c and what the mode needs in `arena` for mode, channels and terms as set. */
BG_MUST enum bg_status bg_requant_make(struct bg_requant *requant, struct bg_arena *arena);
/* Makes the integers of the mode from m, c and bound; may be called again when these changed.
 * BG_E_DATA names the channel and the number that does not fit: m not positive (f32-rne takes any
 * finite m), a bias that leaves no room in s32, a shift outside 0 to 62. */
BG_MUST enum bg_status bg_requant_fit(struct bg_requant *requant);

/* What a term reads: accumulators, or codes minus their zero point. Dense rows x channels. */
struct bg_requant_input {
    const int32_t *acc; /* NULL: codes */
    const uint8_t *codes;
    int32_t zero_point; /* of codes */
};
/* out[row * stride + channel] for all rows; threaded, the same bytes on every CPU. */
void bg_requant_run(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                    int64_t rows, uint8_t *out, int64_t stride);
/* v itself, in f32 whatever the mode: the logits. */
void bg_requant_real(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                     int64_t rows, float *out);
/* Plain loops, one element at a time; bg_requant_run is tested against it. */
void bg_ref_requant_run(const struct bg_requant *requant, const struct bg_requant_input *inputs,
                        int64_t rows, uint8_t *out, int64_t stride);

#endif
