/* Sums per channel over rows x channels, compiled once per instruction set: moments and the masked
 * sum of gradients with the sums that batch norm's backward needs, of bf16; the sum of f32 values
 * that are rounded to bf16 on the way.
 *
 * A panel is a row of vectors of up to 64 lanes, several rows side by side when channels are few.
 * Lanes add runs of 16 vectors in f32, runs add up in f64. With u = 2^-24, to first order:
 *   |sum x - exact| <= 16 u sum |x|, |sum g - exact| <= 16 u sum |g|, |sum g z - exact| <= 16 u sum
 * |g z|: at most 15 roundings a run, products of two bf16 are exact (and fused into the sum on
 * every instruction set). Moments are those of d = x - pivot, where pivot is the rounded mean of
 * the block's first run: d and its sum S have at most 17 roundings, d^2 and its sum Q at most 18,
 * M2 = Q - S^2 / n. So |mean - exact| <= 18 u average |d|, |M2 - exact| <= (18 + 2 * 17) u sum d^2,
 * and merging blocks (core/train_kernel.c) adds at most 2 * 18 u sum d^2 through their means. The
 * first run is at least 1/16 of its block, hence by Cauchy its mean m has n (m - mean)^2 <= 15 M2;
 * with the pivot's own error p <= 17 u average |x|: sum d^2 <= 31 M2 + 2 n p^2. */
#include "core/kernel_table.h"
#include "core/kernel_train_seen.h"

struct moments {
    float pivot[LANES];
    double sum[LANES], square[LANES];
};

INLINE void add_moments(const uint16_t *x, const struct panel *panel, int64_t start,
                        struct moments *to, bool whole)
{
    const int64_t end = run_end(panel, start);
    vec sum[PARTS], square[PARTS], pivot[PARTS];

    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++) {
        sum[k] = square[k] = vec_set(0.0f);
        pivot[k] = vec_load(to->pivot + k * VEC);
    }
    for (int64_t i = start; i < end; i++) {
        const uint16_t *at = x + panel->at + i * panel->step;
        UNROLL_FOUR
        for (int k = 0; k < PARTS; k++) {
            int64_t n = whole ? VEC : part_size(panel, i, k);
            vec d;
            if (n <= 0)
                break;
            d = vec_sub(vec_from_bf16(at + k * VEC, n), pivot[k]);
            if (!whole)
                d = vec_keep(d, first_lanes(n));
            sum[k] = vec_add(sum[k], d);
            square[k] = vec_fma(d, d, square[k]);
        }
    }
    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++) {
        vec_add_to(to->sum + k * VEC, sum[k]);
        vec_add_to(to->square + k * VEC, square[k]);
    }
}

static void add_whole_moments(const uint16_t *x, const struct panel *panel, int64_t start,
                              struct moments *to)
{
    add_moments(x, panel, start, to, true);
}

static void add_any_moments(const uint16_t *x, const struct panel *panel, int64_t start,
                            struct moments *to)
{
    add_moments(x, panel, start, to, false);
}

/* The mean of each channel over the first run, for every lane. */
static void find_pivot(const uint16_t *x, const struct panel *panel, int64_t rows,
                       struct moments *to)
{
    const int64_t most = BG_TRAIN_RUN * (panel->width / panel->channels);
    double mean[LANES];

    add_any_moments(x, panel, 0, to);
    fold(panel, to->sum, mean);
    for (int64_t j = 0; j < panel->width; j++)
        to->pivot[j] = (float)(mean[j % panel->channels] / (double)(rows < most ? rows : most));
    memset(to->sum, 0, sizeof to->sum);
    memset(to->square, 0, sizeof to->square);
}

void BG_TRAIN_NAME(train_statistics)(const struct bg_kernel_train_sums *in, double *partial)
{
    const struct panel panel = make_panel(in);
    const double rows = (double)in->rows;
    double *mean = partial + in->channel, *square = mean + in->channels;
    struct moments moments = {{0}, {0}, {0}};

    find_pivot(in->z[0], &panel, in->rows, &moments);
    for (int64_t i = 0; i < panel.count; i += BG_TRAIN_RUN)
        if (all_whole(&panel, run_end(&panel, i)))
            add_whole_moments(in->z[0], &panel, i, &moments);
        else
            add_any_moments(in->z[0], &panel, i, &moments);
    fold(&panel, moments.sum, mean);
    fold(&panel, moments.square, square);
    for (int64_t c = 0; c < panel.channels; c++) {
        double rest = square[c] - mean[c] * mean[c] / rows;
        square[c] = rest < 0.0 ? 0.0 : rest;
        mean[c] = (double)moments.pivot[c] + mean[c] / rows;
    }
}

struct reduced {
    double total[1 + BG_TRAIN_TERMS][LANES]; /* g, then g * z of each term */
};

/* n mask bits from element `at` on; reads no byte without one of them. */
INLINE uint16_t mask_bits(const uint8_t *mask, int64_t at, int64_t n, bool aligned)
{
    const uint8_t *byte = mask + at / 8;
    int shift = aligned ? 0 : (int)(at % 8);
    int64_t end = shift + n;
    uint32_t bits = byte[0];

    if (aligned && n == VEC)
        return (uint16_t)(byte[0] | byte[1] << 8);
    if (end > 8)
        bits |= (uint32_t)byte[1] << 8;
    if (end > 16)
        bits |= (uint32_t)byte[2] << 16;
    return (uint16_t)(bits >> shift) & first_lanes(n);
}

/* What the compiler knows about a pass: constants in each instance. */
struct kind {
    int gradients, terms;
    bool masked, whole, seen; /* seen: d[0] is added up for an observer */
};

/* Part k of one vector, n elements from element `at`. */
INLINE void reduce_part(const struct bg_kernel_train_sums *in, struct kind kind, int64_t at,
                        int64_t n, vec *sums[1 + BG_TRAIN_TERMS], int k, struct lanes *watch)
{
    vec g = vec_from_bf16(in->d[0] + at, n);

    if (kind.seen)
        add_part(watch, k, g, n);
    for (int t = 1; t < kind.gradients; t++)
        g = vec_add(g, vec_from_bf16(in->d[t] + at, n));
    if (kind.gradients > 1)
        g = vec_round(g);
    if (kind.masked)
        g = vec_keep(g, mask_bits(in->mask, at, n, kind.whole));
    vec_keep_bf16(in->g + at, g, n);
    sums[0][k] = vec_add(sums[0][k], g);
    for (int t = 0; t < kind.terms; t++)
        sums[1 + t][k] = vec_fma(g, vec_from_bf16(in->z[t] + at, n), sums[1 + t][k]);
}

INLINE void reduce_run(const struct bg_kernel_train_sums *in, const struct panel *panel,
                       int64_t start, struct reduced *to, struct kind kind, struct lanes *watch)
{
    const int64_t end = run_end(panel, start);
    struct lanes lanes;
    vec g[PARTS], a[PARTS], b[PARTS], c[PARTS], d[PARTS];
    vec *sums[1 + BG_TRAIN_TERMS] = {g, a, b, c, d};

    for (int t = 0; t <= kind.terms; t++)
        UNROLL_FOUR
    for (int k = 0; k < PARTS; k++)
        sums[t][k] = vec_set(0.0f);
    if (kind.seen)
        lanes = *watch;
    for (int64_t i = start; i < end; i++) {
        int64_t at = panel->at + i * panel->step;
        UNROLL_FOUR
        for (int k = 0; k < PARTS; k++) {
            int64_t n = kind.whole ? VEC : part_size(panel, i, k);
            if (n <= 0)
                break;
            reduce_part(in, kind, at + k * VEC, n, sums, k, &lanes);
        }
    }
    if (kind.seen)
        *watch = lanes;
    for (int t = 0; t <= kind.terms; t++)
        UNROLL_FOUR
    for (int k = 0; k < PARTS; k++)
        vec_add_to(to->total[t] + k * VEC, sums[t][k]);
}

/* name: one run with all that is known of it, all vectors whole. */
#define REDUCE_RUN(name_, gradients_, terms_, masked_, seen_)                                      \
    static void name_(const struct bg_kernel_train_sums *in, const struct panel *panel,            \
                      int64_t start, struct reduced *to, struct lanes *watch)                      \
    {                                                                                              \
        const struct kind kind = {gradients_, terms_, masked_, true, seen_};                       \
        reduce_run(in, panel, start, to, kind, watch);                                             \
    }
REDUCE_RUN(reduce_11, 1, 1, false, false)
REDUCE_RUN(reduce_11_masked, 1, 1, true, false)
REDUCE_RUN(reduce_12_masked, 1, 2, true, false)
REDUCE_RUN(reduce_21_masked, 2, 1, true, false)
REDUCE_RUN(reduce_22_masked, 2, 2, true, false)
REDUCE_RUN(reduce_11_seen, 1, 1, true, true)
REDUCE_RUN(reduce_12_seen, 1, 2, true, true)
REDUCE_RUN(reduce_21_seen, 2, 1, true, true)
REDUCE_RUN(reduce_22_seen, 2, 2, true, true)

static void reduce_any(const struct bg_kernel_train_sums *in, const struct panel *panel,
                       int64_t start, struct reduced *to, struct lanes *watch)
{
    const struct kind kind = {in->gradients, in->terms, in->mask != NULL, false, watch != NULL};

    reduce_run(in, panel, start, to, kind, watch);
}

typedef void (*reduce_fn)(const struct bg_kernel_train_sums *in, const struct panel *panel,
                          int64_t start, struct reduced *to, struct lanes *watch);

/* The instance for runs of whole vectors. */
static reduce_fn find_reduce(const struct bg_kernel_train_sums *in, const struct panel *panel,
                             bool seen)
{
    static const reduce_fn masked[2][2][2] = {
        {{reduce_11_masked, reduce_12_masked}, {reduce_21_masked, reduce_22_masked}},
        {{reduce_11_seen, reduce_12_seen}, {reduce_21_seen, reduce_22_seen}}};

    /* every vector then begins at a whole byte of the mask: so do blocks and panels */
    if (panel->step % 8 != 0 || in->terms < 1 || in->terms > 2 || in->gradients > 2)
        return reduce_any;
    if (in->mask != NULL)
        return masked[seen][in->gradients - 1][in->terms - 1];
    return in->gradients == 1 && in->terms == 1 && !seen ? reduce_11 : reduce_any;
}

void BG_TRAIN_NAME(train_reduce)(const struct bg_kernel_train_sums *in, double *partial)
{
    const struct panel panel = make_panel(in);
    const reduce_fn whole = find_reduce(in, &panel, false);
    struct reduced reduced = {{{0}}};

    for (int64_t i = 0; i < panel.count; i += BG_TRAIN_RUN)
        if (all_whole(&panel, run_end(&panel, i)))
            whole(in, &panel, i, &reduced, NULL);
        else
            reduce_any(in, &panel, i, &reduced, NULL);
    for (int t = 0; t <= in->terms; t++)
        fold(&panel, reduced.total[t], partial + t * in->channels + in->channel);
}

/* RUN is a multiple of BG_TRAIN_RUN: the observer's lanes go on over several runs. */
void BG_TRAIN_NAME(train_reduce_observe)(const struct bg_kernel_train_sums *in, double *partial,
                                         double *observed)
{
    const struct panel panel = make_panel(in);
    const reduce_fn whole = find_reduce(in, &panel, true);
    struct bg_kernel_train_sums x = *in;
    struct reduced reduced = {{{0}}};
    struct seen seen;
    struct lanes watch;

    start_seen(&seen);
    for (int64_t i = 0; i < panel.count; i += BG_TRAIN_RUN) {
        if (i % RUN == 0)
            start_lanes(&seen, &watch);
        if (all_whole(&panel, run_end(&panel, i)))
            whole(in, &panel, i, &reduced, &watch);
        else
            reduce_any(in, &panel, i, &reduced, &watch);
        if (run_end(&panel, i) % RUN == 0 || run_end(&panel, i) == panel.count)
            add_lanes(&watch, &seen);
    }
    for (int t = 0; t <= in->terms; t++)
        fold(&panel, reduced.total[t], partial + t * in->channels + in->channel);
    x.z[0] = in->d[0];
    finish(&x, &panel, &seen, observed);
}

/* n values from x on; reads none behind them. */
INLINE vec load_some(const float *x, int64_t n)
{
    float some[VEC] = {0};

    memcpy(some, x, (size_t)n * sizeof *x);
    return vec_load(some);
}

INLINE void scale_run(const struct bg_kernel_train_sums *in, const struct panel *panel,
                      int64_t start, const float factor[LANES], double total[LANES], bool whole)
{
    const int64_t end = run_end(panel, start);
    vec sum[PARTS], factors[PARTS];

    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++) {
        sum[k] = vec_set(0.0f);
        factors[k] = vec_load(factor + k * VEC);
    }
    for (int64_t i = start; i < end; i++) {
        int64_t at = panel->at + i * panel->step;
        UNROLL_FOUR
        for (int k = 0; k < PARTS; k++) {
            int64_t n = whole ? VEC : part_size(panel, i, k);
            vec x;
            if (n <= 0)
                break;
            x = whole ? vec_load(in->x + at + k * VEC) : load_some(in->x + at + k * VEC, n);
            vec_to_bf16(in->g + at + k * VEC, vec_mul(x, factors[k]), n);
            sum[k] = vec_add(sum[k], x);
        }
    }
    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++)
        vec_add_to(total + k * VEC, sum[k]);
}

void BG_TRAIN_NAME(train_scale_from_f32)(const struct bg_kernel_train_sums *in, double *partial)
{
    const struct panel panel = make_panel(in);
    float factor[LANES] = {0};
    double total[LANES] = {0};

    for (int64_t j = 0; j < panel.width; j++)
        factor[j] = in->factor[in->channel + j % panel.channels];
    for (int64_t i = 0; i < panel.count; i += BG_TRAIN_RUN)
        if (all_whole(&panel, run_end(&panel, i)))
            scale_run(in, &panel, i, factor, total, true);
        else
            scale_run(in, &panel, i, factor, total, false);
    fold(&panel, total, partial + in->channel);
}
