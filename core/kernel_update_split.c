/* The usual case of the integer update, sixteen weights at a time in registers: residuals (or
 * nothing) below 8-bit codes, nearest tuning, the optimizer's step rounded, momentum in f32 or
 * bf16. The same operations as core/kernel_update.c and core/kernel_update_move.c in the same
 * order, so the same bits; those are the reference and what CPUs without AVX-512 run. The loop is
 * bound by two vector ports: what is left out here is arrays in between and conversions that the
 * compiler makes of several steps. */
#include "core/kernel_update_chunk.h"

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <immintrin.h>

#define LANES 16

struct factors {
    __m512 lr, mu, decay, scale, last, units, limit, least;
    __m512i shift, full, half, qmin, qmax;
};

struct counts {
    __m512i cut, lost, written, kept, beyond;
};

/* What is known when the loop is compiled; below: bytes of a residual. */
struct kind {
    bool bf16, decays, nesterov;
    int below;
};

static struct factors factors_of(const struct bg_kernel_update *in)
{
    return (struct factors){.lr = _mm512_set1_ps(in->lr),
                            .mu = _mm512_set1_ps(in->mu),
                            .decay = _mm512_set1_ps(in->decay),
                            .scale = _mm512_set1_ps(in->scale),
                            .last = _mm512_set1_ps(in->last),
                            .units = _mm512_set1_ps(-in->inverse),
                            .limit = _mm512_set1_ps((float)in->largest),
                            .least = _mm512_set1_ps(-(float)in->largest),
                            .shift = _mm512_set1_epi32(in->shift),
                            .full = _mm512_set1_epi32((int32_t)((1u << in->shift) - 1)),
                            .half = _mm512_set1_epi32(in->half),
                            .qmin = _mm512_set1_epi32(in->qmin),
                            .qmax = _mm512_set1_epi32(in->qmax)};
}

INLINE __m512 load_momentum(const struct bg_kernel_update *in, int64_t i, __mmask16 lanes,
                            bool bf16)
{
    const uint16_t *halves = in->momentum;

    if (!bf16)
        return _mm512_maskz_loadu_ps(lanes, in->state + i);
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, halves + i)), 16));
}

/* As f32_to_bf16. */
INLINE __m256i bf16_of(__m512 x)
{
    const __m512i bits = _mm512_castps_si512(x), high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    const __mmask16 special = _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent);
    const __mmask16 rest = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0xffff));
    const __m512i kept = _mm512_mask_or_epi32(high, rest, high, _mm512_set1_epi32(1));

    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(_mm512_srli_epi32(up, 16), special, kept));
}

INLINE void store_momentum(const struct bg_kernel_update *in, int64_t i, __mmask16 lanes, __m512 m,
                           bool bf16)
{
    uint16_t *halves = in->momentum;

    if (bf16)
        _mm256_mask_storeu_epi16(halves + i, lanes, bf16_of(m));
    else
        _mm512_mask_storeu_ps(in->state + i, lanes, m);
}

INLINE __m512i load_below(const struct bg_kernel_update *in, int64_t i, __mmask16 lanes, int size)
{
    const uint16_t *halves = in->below;
    const uint8_t *bytes = in->below;

    if (size == 4)
        return _mm512_maskz_loadu_epi32(lanes, (const int32_t *)in->below + i);
    if (size == 2)
        return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, halves + i));
    return size == 1 ? _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, bytes + i))
                     : _mm512_setzero_si512();
}

INLINE void store_below(const struct bg_kernel_update *in, int64_t i, __mmask16 lanes, __m512i low,
                        int size)
{
    uint16_t *halves = in->below;
    uint8_t *bytes = in->below;

    if (size == 4)
        _mm512_mask_storeu_epi32((int32_t *)in->below + i, lanes, low);
    else if (size == 2)
        _mm256_mask_storeu_epi16(halves + i, lanes, _mm512_cvtepi32_epi16(low));
    else if (size == 1)
        _mm_mask_storeu_epi8(bytes + i, lanes, _mm512_cvtepi32_epi8(low));
}

INLINE __m512i one_more(__m512i count, __mmask16 where)
{
    return _mm512_mask_add_epi32(count, where, count, _mm512_set1_epi32(1));
}

/* The optimizer's step of each weight in units of the residual's last bit. */
INLINE __m512 units_of(const struct bg_kernel_update *in, const struct factors *f, int64_t i,
                       __mmask16 lanes, __m512i was, __m512i rest, struct kind kind)
{
    const __m512 grad = _mm512_maskz_loadu_ps(lanes, in->grad + i);
    __m512 value = _mm512_setzero_ps(), g, m;

    if (kind.decays)
        value = _mm512_mul_ps(
            f->decay,
            _mm512_add_ps(
                _mm512_mul_ps(_mm512_cvtepi32_ps(was), f->scale),
                _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(rest, f->half)), f->last)));
    g = _mm512_add_ps(grad, value);
    m = _mm512_add_ps(_mm512_mul_ps(f->mu, load_momentum(in, i, lanes, kind.bf16)), g);
    store_momentum(in, i, lanes, m, kind.bf16);
    if (kind.nesterov)
        m = _mm512_add_ps(g, _mm512_mul_ps(f->mu, m));
    return _mm512_maskz_mul_ps(lanes, _mm512_mul_ps(f->lr, m), f->units);
}

/* Weights that reached the end of the grid: there the rest says how far within its last step. */
INLINE __m512i ends(const struct factors *f, __m512i w, __m512i low)
{
    const __mmask16 over = _mm512_cmpgt_epi32_mask(w, f->qmax);

    return _mm512_mask_mov_epi32(_mm512_maskz_mov_epi32(_mm512_cmpge_epi32_mask(w, f->qmin), low),
                                 over, f->full);
}

INLINE void move(const struct bg_kernel_update *in, const struct factors *f, int64_t i,
                 __mmask16 lanes, struct counts *counts, struct kind kind)
{
    int8_t *codes = in->codes;
    const __m512i was = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, codes + i));
    const __m512i rest = load_below(in, i, lanes, kind.below);
    const __m512 x = units_of(in, f, i, lanes, was, rest, kind);
    const __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    const __m512 held = _mm512_min_ps(_mm512_maskz_max_ps(number, x, f->least), f->limit);
    const __m512i k = _mm512_cvtps_epi32(held), sum = _mm512_add_epi32(rest, k);
    const __m512i w = _mm512_add_epi32(was, _mm512_srav_epi32(sum, f->shift));
    const __m512i now = _mm512_min_epi32(_mm512_max_epi32(w, f->qmin), f->qmax);
    const __mmask16 steps = _mm512_cmp_ps_mask(held, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const __mmask16 cut = _mm512_cmpneq_epi32_mask(now, w);
    __m512i low = _mm512_and_si512(sum, f->full);

    counts->beyond = one_more(counts->beyond, _mm512_cmp_ps_mask(x, held, _CMP_NEQ_OQ));
    counts->lost = one_more(counts->lost, _mm512_mask_testn_epi32_mask(steps, k, k));
    counts->kept = one_more(counts->kept, _mm512_test_epi32_mask(k, k));
    counts->written = one_more(counts->written, _mm512_cmpneq_epi32_mask(now, was));
    if (cut != 0) {
        counts->cut = one_more(counts->cut, cut);
        low = ends(f, w, low);
    }
    store_below(in, i, lanes, low, kind.below);
    _mm_mask_storeu_epi8(codes + i, lanes, _mm512_cvtepi32_epi8(now));
}

INLINE void moves(struct bg_kernel_update *all, struct kind kind)
{
    const struct bg_kernel_update in = *all; /* which no store can change */
    const struct factors f = factors_of(&in);
    struct counts counts = {.cut = _mm512_setzero_si512()};
    int64_t i = 0;

    counts.lost = counts.written = counts.kept = counts.beyond = counts.cut;
    for (; i + LANES <= in.n; i += LANES)
        move(&in, &f, i, 0xffff, &counts, kind);
    if (i < in.n) /* beyond the mask nothing moves */
        move(&in, &f, i, (__mmask16)((1u << (in.n - i)) - 1), &counts, kind);
    all->saturated += _mm512_reduce_add_epi32(counts.cut);
    all->lost += _mm512_reduce_add_epi32(counts.lost);
    all->written += _mm512_reduce_add_epi32(counts.written);
    all->kept += _mm512_reduce_add_epi32(counts.kept);
    all->beyond += _mm512_reduce_add_epi32(counts.beyond);
}

INLINE void moves_by(struct bg_kernel_update *in, bool bf16, bool decays, int below)
{
    if (in->nesterov)
        moves(in, (struct kind){bf16, decays, true, below});
    else
        moves(in, (struct kind){bf16, decays, false, below});
}

INLINE void moves_below(struct bg_kernel_update *in, int below)
{
    const bool bf16 = in->format == BG_STORE_MOMENTUM_BF16, decays = in->decay != 0.0f;

    if (bf16 && decays)
        moves_by(in, true, true, below);
    else if (bf16)
        moves_by(in, true, false, below);
    else if (decays)
        moves_by(in, false, true, below);
    else
        moves_by(in, false, false, below);
}

bool BG_KERNEL_TABLE(update_split)(struct bg_kernel_update *in)
{
    const bool bf16 = in->format == BG_STORE_MOMENTUM_BF16;

    if (in->form != BG_STORE_SPLIT || in->code_bytes != 1 || in->tune != BG_TUNE_NEAREST ||
        in->sum != NULL || in->gradient || (!bf16 && in->format != BG_STORE_MOMENTUM_F32))
        return false;
    if (in->below == NULL)
        moves_below(in, 0);
    else if (in->below_bytes == 1)
        moves_below(in, 1);
    else if (in->below_bytes == 2)
        moves_below(in, 2);
    else
        moves_below(in, 4);
    return true;
}

#else

bool BG_KERNEL_TABLE(update_split)(struct bg_kernel_update *in)
{
    (void)in;
    return false;
}

#endif
