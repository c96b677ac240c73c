/* What observers of gradients need of bf16 rows x channels, per channel, compiled once per
 * instruction set: sums, extremes, and how many values are not finite.
 *
 * Lanes add runs of 64 vectors in f32, runs add up in f64. With u = 2^-24, to first order: |sum x -
 * exact| <= 63 u sum |x|, the same for sum |x|, and |sum x^2 - exact| <= 64 u sum x^2: squares of
 * bf16 are exact and fused into the sum. A channel of a block whose squares f32 would lose, because
 * a value is not finite, too large or all are tiny, is added value by value in f64 instead. */
#include "core/kernel_train_seen.h"

INLINE void add_run(const uint16_t *x, const struct panel *panel, int64_t start, struct seen *to,
                    bool whole)
{
    const int64_t end = end_of_run(panel, start);
    struct lanes lanes;

    start_lanes(to, &lanes);
    for (int64_t i = start; i < end; i++) {
        const uint16_t *at = x + panel->at + i * panel->step;
        UNROLL_FOUR
        for (int k = 0; k < PARTS; k++) {
            int64_t n = whole ? VEC : part_size(panel, i, k);
            if (n <= 0)
                break;
            add_part(&lanes, k, vec_from_bf16(at + k * VEC, n), n);
        }
    }
    add_lanes(&lanes, to);
}

#if BG_TRAIN_AVX512

/* 32 values as they are stored: even and odd ones apart in f32; extremes as 16-bit integers. Among
 * positive numbers, and among negative ones by size, the order of bits is that of values. */
struct raw {
    vec sum[2], abs[2], square[2];
    __m512i high, low, least; /* signed maximum, unsigned maximum, unsigned minimum */
};

INLINE void add_raw(struct raw *raw, __m512i x)
{
    const vec v[2] = {_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                      _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(-65536)))};

    raw->high = _mm512_max_epi16(raw->high, x);
    raw->low = _mm512_max_epu16(raw->low, x);
    raw->least = _mm512_min_epu16(raw->least, x);
#pragma GCC unroll 2
    for (int odd = 0; odd < 2; odd++) {
        raw->sum[odd] = vec_add(raw->sum[odd], v[odd]);
        raw->abs[odd] = vec_add(raw->abs[odd], vec_abs(v[odd]));
        raw->square[odd] = vec_fma(v[odd], v[odd], raw->square[odd]);
    }
}

/* Even and odd lanes in turns again. */
INLINE void add_turns(double *totals, const vec x[2])
{
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));

    vec_add_to(totals, _mm512_permutex2var_ps(x[0], first, x[1]));
    vec_add_to(totals + VEC, _mm512_permutex2var_ps(x[0], second, x[1]));
}

INLINE vec half_as_floats(__m512i x, int half)
{
    __m256i part = half == 0 ? _mm512_castsi512_si256(x) : _mm512_extracti64x4_epi64(x, 1);

    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16));
}

/* The largest is the signed maximum, or, when all are negative, the unsigned minimum; the least is
 * the unsigned maximum, or, when none is negative, the unsigned minimum. */
INLINE void widen_raw(const struct raw *raw, float *min, float *max)
{
    const __mmask32 all_negative = _mm512_movepi16_mask(raw->high);
    const __mmask32 negative = _mm512_movepi16_mask(raw->low);
    const __m512i high = _mm512_mask_mov_epi16(raw->high, all_negative, raw->least);
    const __m512i low = _mm512_mask_mov_epi16(raw->least, negative, raw->low);

#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        float *to_min = min + half * VEC, *to_max = max + half * VEC;
        vec_store(to_min, vec_min(half_as_floats(low, half), vec_load(to_min)), VEC);
        vec_store(to_max, vec_max(half_as_floats(high, half), vec_load(to_max)), VEC);
    }
}

static void add_whole_run(const uint16_t *x, const struct panel *panel, int64_t start,
                          struct seen *to)
{
    const int64_t end = end_of_run(panel, start);
    struct raw raw[2];

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        for (int odd = 0; odd < 2; odd++)
            raw[k].sum[odd] = raw[k].abs[odd] = raw[k].square[odd] = vec_set(0.0f);
        raw[k].high = _mm512_set1_epi16(INT16_MIN);
        raw[k].low = _mm512_setzero_si512();
        raw[k].least = _mm512_set1_epi16(-1);
    }
    for (int64_t i = start; i < end; i++) {
        const uint16_t *at = x + panel->at + i * panel->step;
        add_raw(&raw[0], _mm512_loadu_si512(at));
        add_raw(&raw[1], _mm512_loadu_si512(at + 2 * VEC));
    }
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        int lane = k * 2 * VEC;
        add_turns(to->sum + lane, raw[k].sum);
        add_turns(to->abs + lane, raw[k].abs);
        add_turns(to->square + lane, raw[k].square);
        widen_raw(&raw[k], to->min + lane, to->max + lane);
    }
}

#else

static void add_whole_run(const uint16_t *x, const struct panel *panel, int64_t start,
                          struct seen *to)
{
    add_run(x, panel, start, to, true);
}

#endif

static void add_any_run(const uint16_t *x, const struct panel *panel, int64_t start,
                        struct seen *to)
{
    add_run(x, panel, start, to, false);
}

void BG_TRAIN_NAME(train_observe)(const struct bg_kernel_train_sums *in, double *partial)
{
    const struct panel panel = make_panel(in);
    struct seen seen;

    start_seen(&seen);
    for (int64_t i = 0; i < panel.count; i += RUN)
        if (all_whole(&panel, end_of_run(&panel, i)))
            add_whole_run(in->z[0], &panel, i, &seen);
        else
            add_any_run(in->z[0], &panel, i, &seen);
    finish(in, &panel, &seen, partial);
}

/* dz of n elements from `at` on, rounded; 0 behind them. */
INLINE vec gradient_of(const struct bg_kernel_train_apply *in, int64_t at, int k, int64_t n)
{
    const vec g = vec_from_bf16(in->g + at, n), z = vec_from_bf16(in->z[0] + at, n);
    const vec a = vec_load(in->a[0] + k * VEC), b = vec_load(in->b[0] + k * VEC);
    const vec dz = vec_round(vec_fma(a, g, vec_fma(b, z, vec_load(in->c[0] + k * VEC))));

    return n == VEC ? dz : vec_keep(dz, first_lanes(n));
}

static void apply_whole_run(const struct bg_kernel_train_apply *in, const struct panel *panel,
                            int64_t start, struct seen *to)
{
    const int64_t end = end_of_run(panel, start);
    struct lanes lanes;

    start_lanes(to, &lanes);
    for (int64_t i = start; i < end; i++) {
        const int64_t at = panel->at + i * panel->step;
        UNROLL_FOUR
        for (int k = 0; k < PARTS; k += 2) {
            const vec left = gradient_of(in, at + k * VEC, k, VEC);
            const vec right = gradient_of(in, at + (k + 1) * VEC, k + 1, VEC);
            vec_keep_bf16_two(in->dz[0] + at + k * VEC, left, right);
            add_part(&lanes, k, left, VEC);
            add_part(&lanes, k + 1, right, VEC);
        }
    }
    add_lanes(&lanes, to);
}

static void apply_any_run(const struct bg_kernel_train_apply *in, const struct panel *panel,
                          int64_t start, struct seen *to)
{
    const int64_t end = end_of_run(panel, start);
    struct lanes lanes;

    start_lanes(to, &lanes);
    for (int64_t i = start; i < end; i++)
        for (int k = 0; k < PARTS; k++) {
            const int64_t n = part_size(panel, i, k);
            const int64_t at = panel->at + i * panel->step + k * VEC;
            if (n <= 0)
                break;
            const vec dz = gradient_of(in, at, k, n);
            vec_keep_bf16(in->dz[0] + at, dz, n);
            add_part(&lanes, k, dz, n);
        }
    add_lanes(&lanes, to);
}

void BG_TRAIN_NAME(train_apply_observe)(const struct bg_kernel_train_apply *in,
                                        const struct bg_kernel_train_sums *part, double *partial)
{
    const struct panel panel = make_panel(part);
    struct bg_kernel_train_sums made = *part;
    struct seen seen;

    start_seen(&seen);
    for (int64_t i = 0; i < panel.count; i += RUN)
        if (all_whole(&panel, end_of_run(&panel, i)))
            apply_whole_run(in, &panel, i, &seen);
        else
            apply_any_run(in, &panel, i, &seen);
    made.z[0] = in->dz[0];
    finish(&made, &panel, &seen, partial);
}

static void add_all(double *restrict total, const double *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        total[i] += x[i];
}

static void widen_all(double *restrict least, double *restrict most, const double *restrict low,
                      const double *restrict high, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        least[i] = low[i] < least[i] ? low[i] : least[i];
        most[i] = high[i] > most[i] ? high[i] : most[i];
    }
}

void BG_TRAIN_NAME(train_merge_seen)(double *scratch, int64_t blocks, int64_t channels)
{
    const int64_t size = BG_TRAIN_SEEN * channels, min = SEEN_MIN * channels;
    const int64_t max = SEEN_MAX * channels, bad = SEEN_NOT_FINITE * channels;

    memset(scratch, 0, (size_t)size * sizeof *scratch);
    for (int64_t c = 0; c < channels; c++) {
        scratch[min + c] = (double)INFINITY;
        scratch[max + c] = -(double)INFINITY;
    }
    for (int64_t b = 1; b <= blocks; b++) {
        const double *partial = scratch + b * size;
        add_all(scratch, partial, min); /* what stands in front of the extremes adds up */
        widen_all(scratch + min, scratch + max, partial + min, partial + max, channels);
        add_all(scratch + bad, partial + bad, channels);
    }
}
