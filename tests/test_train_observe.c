/* What observers of gradients see of bf16 tensors: every instruction set and several threads bit
 * for bit alike, and within the bounds of core/kernel_train_observe.c of sums in f64. */
#include "core/kernel_table.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/train_kernel.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#define CHANNELS 300
#define ROWS     40001

/* 2^-24: half a unit in the last place of f32. */
static const double u = 0x1p-24;

static float real_of(uint16_t bf16)
{
    uint32_t bits = (uint32_t)bf16 << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Of f32, cut off: any bf16 serves. */
static void fill(uint16_t *x, int64_t n, float from, float size)
{
    static const struct bg_rng rng = {7, BG_STREAM_TEST, 0};

    for (int64_t i = 0; i < n; i++) {
        float value = (bg_rng_uniform(&rng, (uint64_t)i) + from) * size;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        x[i] = (uint16_t)(bits >> 16);
    }
}

struct expected {
    double sum, abs, square, min, max;
    int64_t bad;
};

static struct expected channel_of(const struct bg_train_observe *in, int64_t c)
{
    struct expected e = {.min = DBL_MAX, .max = -DBL_MAX};

    for (int64_t r = 0; r < in->rows; r++) {
        double x = (double)real_of(in->x[r * in->channels + c]);
        if (!isfinite(x)) {
            e.bad++;
            continue;
        }
        e.sum += x;
        e.abs += fabs(x);
        e.square += x * x;
        e.min = fmin(e.min, x);
        e.max = fmax(e.max, x);
    }
    return e;
}

/* f64 adds n values with relative errors of at most n * 2^-53 of their sizes: below u here. */
static void expect_seen(const struct bg_train_observe *in, const struct bg_stats *seen,
                        const char *what)
{
    struct expected all = {.min = DBL_MAX, .max = -DBL_MAX};
    bool any = false;

    for (int64_t c = 0; c < in->channels; c++) {
        struct expected e = channel_of(in, c);
        double f = (double)in->factor[c];
        double n = (double)(in->rows - e.bad), square = n > 0.0 ? e.square * f * f / n : 0.0;
        cr_expect(fabs(in->square[c] - square) <= 65.0 * u * square, "%s: channel %lld: %g, %g",
                  what, (long long)c, in->square[c], square);
        all.bad += e.bad;
        all.sum += e.sum * f;
        all.abs += e.abs * f;
        all.square += e.square * f * f;
        if (n == 0.0)
            continue;
        any = true;
        all.min = fmin(all.min, (double)(float)(e.min * f));
        all.max = fmax(all.max, (double)(float)(e.max * f));
    }
    cr_expect(seen->count == in->rows * in->channels && seen->not_finite == all.bad, "%s", what);
    cr_expect(fabs(seen->sum - all.sum) <= 64.0 * u * all.abs, "%s: sum", what);
    cr_expect(fabs(seen->sum_abs - all.abs) <= 64.0 * u * all.abs, "%s: sum of sizes", what);
    cr_expect(fabs(seen->sum_square - all.square) <= 65.0 * u * all.square, "%s: squares", what);
    cr_expect((double)seen->min == (any ? all.min : 0.0), "%s: min %g", what, (double)seen->min);
    cr_expect((double)seen->max == (any ? all.max : 0.0), "%s: max %g", what, (double)seen->max);
    cr_expect(!any || (double)seen->max_abs == fmax(fabs(all.min), fabs(all.max)), "%s", what);
    cr_expect(!signbit(seen->min) || seen->min < 0.0f, "%s: -0", what);
    for (int b = 0; b < BG_HISTOGRAM_BINS; b++)
        cr_expect(seen->histogram[b] == 0);
}

static void observe_everywhere(struct bg_train_observe *in, const char *what)
{
    struct bg_stats first = {0};

    for (int v = 0; v < bg_kernel_variant_count(); v++)
        for (int threads = 1; threads <= 3; threads++) {
            struct bg_stats seen = {0};
            in->stats = &seen;
            omp_set_num_threads(threads);
            bg_kernel_train_observe(bg_kernel_variant(v)->train, in);
            if (v == 0 && threads == 1) {
                first = seen;
                expect_seen(in, &seen, what);
            }
            cr_expect(memcmp(&first, &seen, sizeof seen) == 0, "%s: %s, %d threads differ", what,
                      bg_kernel_variant(v)->isa, threads);
        }
}

struct trial {
    struct bg_train_observe in;
    uint16_t *x;
    float factor[CHANNELS];
};

static void make(struct trial *t, int64_t rows, int64_t channels)
{
    *t = (struct trial){.in = {.rows = rows, .channels = channels}};
    cr_assert(bg_alloc(&t->x, rows * channels, sizeof *t->x) == BG_OK);
    cr_assert(bg_alloc(&t->in.square, channels, sizeof(double)) == BG_OK);
    cr_assert(bg_alloc(&t->in.scratch, bg_train_scratch(rows, channels, BG_TRAIN_SEEN),
                       sizeof(double)) == BG_OK);
    for (int64_t c = 0; c < channels; c++)
        t->factor[c] = 0.75f + (float)(c % 7);
    t->in.x = t->x;
    t->in.factor = t->factor;
}

static void destroy(struct trial *t)
{
    bg_free(t->x);
    bg_free(t->in.square);
    bg_free(t->in.scratch);
}

static void setup(void)
{
    omp_set_dynamic(0);
}

TestSuite(train_observe, .init = setup);

static const int64_t shapes[][2] = {{ROWS, 1},  {13001, 3}, {4001, 10}, {3001, 16}, {1501, 32},
                                    {1001, 64}, {700, 70},  {150, 300}, {1, 5},     {3, 64}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

Test(train_observe, sums_and_extremes_for_all_shapes)
{
    for (int s = 0; s < SHAPES; s++) {
        struct trial t;
        int64_t n = shapes[s][0] * shapes[s][1];
        make(&t, shapes[s][0], shapes[s][1]);
        fill(t.x, n, -0.45f, 1e-3f);
        observe_everywhere(&t.in, "both signs");
        fill(t.x, n, 0.001f, 5.0f);
        observe_everywhere(&t.in, "positive");
        fill(t.x, n, -1.001f, 5.0f);
        observe_everywhere(&t.in, "negative");
        memset(t.x, 0, (size_t)n * sizeof *t.x);
        observe_everywhere(&t.in, "zero");
        for (int64_t i = 0; i < n; i += 2)
            t.x[i] = 0x8000;
        observe_everywhere(&t.in, "zeros of both signs");
        destroy(&t);
    }
}

/* Squares that f32 cannot hold, and values that are not finite: all, some, in one block alone. */
Test(train_observe, what_f32_cannot_hold_is_added_in_f64)
{
    static const float sizes[] = {1e-30f, 1e-39f, 1e30f, 3e38f};

    for (int s = 0; s < SHAPES; s++) {
        struct trial t;
        int64_t n = shapes[s][0] * shapes[s][1];
        make(&t, shapes[s][0], shapes[s][1]);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill(t.x, n, -0.45f, sizes[i]);
            observe_everywhere(&t.in, "size");
        }
        fill(t.x, n, -0.45f, 1.0f);
        for (int64_t i = 0; i < n; i += t.in.channels) /* one channel alone: 2^-70 */
            t.x[i] = 0x1c80;
        observe_everywhere(&t.in, "a tiny channel");
        fill(t.x, n, -0.45f, 1.0f);
        t.x[n / 2] = 0x7fc0;
        t.x[n - 1] = 0xff80;
        observe_everywhere(&t.in, "NaN and infinity");
        for (int64_t i = 0; i < n; i++)
            t.x[i] = 0x7f80;
        observe_everywhere(&t.in, "nothing finite");
        destroy(&t);
    }
}

/* Statistics of several tensors add up, those of an f32 tensor among them. */
Test(train_observe, adds_to_what_is_there)
{
    struct trial t;
    struct bg_stats twice = {0};
    float values[] = {-9.0f, 2.0f};

    make(&t, 100, 16);
    fill(t.x, 1600, -0.45f, 1.0f);
    t.in.stats = &twice;
    bg_stats_add(&twice, values, 2, 1.0f);
    bg_train_observe(&t.in);
    bg_train_observe(&t.in);
    cr_expect(twice.count == 3202 && twice.min == -9.0f && twice.max_abs == 9.0f);
    cr_expect(twice.max > 2.0f && twice.max < 0.55f * 6.75f);
    destroy(&t);
}

struct applied {
    uint16_t dz[2][4001 * 10];
    struct bg_stats stats[2];
    double square[2][CHANNELS];
};

/* Observed on the way (fused when `terms` is 1 and channels divide a vector), and afterwards. */
static void apply_both(const struct bg_kernel_train_table *table, struct trial *t, int terms,
                       struct applied *out)
{
    const int64_t n = t->in.rows * t->in.channels;
    float numbers[3][CHANNELS];
    static uint16_t g[4001 * 10];

    fill(g, n, -0.4f, 3.0f);
    for (int64_t c = 0; c < t->in.channels; c++)
        for (int i = 0; i < 3; i++)
            numbers[i][c] = 0.5f + (float)((c * 3 + i) % 5) * 0.25f;
    for (int seen = 0; seen < 2; seen++) {
        struct bg_train_apply pass = {
            .rows = t->in.rows, .channels = t->in.channels, .g = g, .terms = terms};
        uint16_t *other = NULL;
        cr_assert(bg_alloc(&other, n, sizeof *other) == BG_OK);
        for (int i = 0; i < terms; i++) {
            pass.z[i] = t->x;
            pass.a[i] = numbers[0];
            pass.b[i] = numbers[1];
            pass.c[i] = numbers[2];
            pass.dz[i] = i == 0 ? out->dz[seen] : other;
        }
        pass.seen[0] = seen == 1 ? t->in.scratch : NULL;
        bg_kernel_train_apply(table, &pass);
        t->in.x = out->dz[seen];
        t->in.summed = seen == 1;
        t->in.square = out->square[seen];
        t->in.stats = &out->stats[seen];
        bg_kernel_train_observe(table, &t->in);
        bg_free(other);
    }
}

/* The pass that writes dz adds it up to the same bits as one that reads it. */
Test(train_observe, on_the_way_equals_afterwards)
{
    static struct applied applied;

    for (int s = 2; s < SHAPES; s++)
        for (int v = 0; v < bg_kernel_variant_count(); v++)
            for (int terms = 1; terms <= 2; terms++) {
                struct trial t;
                double *own;
                if (shapes[s][0] * shapes[s][1] > 4001 * 10)
                    continue;
                make(&t, shapes[s][0], shapes[s][1]);
                own = t.in.square;
                fill(t.x, shapes[s][0] * shapes[s][1], -0.45f, 1.0f);
                memset(&applied, 0, sizeof applied);
                apply_both(bg_kernel_variant(v)->train, &t, terms, &applied);
                cr_expect(memcmp(applied.dz[0], applied.dz[1], sizeof applied.dz[0]) == 0);
                cr_expect(memcmp(&applied.stats[0], &applied.stats[1], sizeof applied.stats[0]) ==
                          0);
                cr_expect(memcmp(applied.square[0], applied.square[1], sizeof applied.square[0]) ==
                          0);
                cr_expect(applied.stats[0].count == shapes[s][0] * shapes[s][1]);
                t.in.square = own;
                destroy(&t);
            }
}

#define MOST (4001 * 10)

struct reduced {
    uint16_t g[MOST];
    double sum[CHANNELS], dot[2][CHANNELS];
    struct bg_stats stats;
};

/* d[which] observed on the way, or afterwards. */
static void reduce_one(const struct bg_kernel_train_table *table, struct trial *t, int gradients,
                       int terms, int which, bool on_the_way, struct reduced *out)
{
    static uint16_t d[2][MOST];
    static uint8_t mask[MOST];
    const int64_t n = t->in.rows * t->in.channels;
    struct bg_train_reduce pass = {.rows = t->in.rows,
                                   .channels = t->in.channels,
                                   .gradients = gradients,
                                   .d = {d[0], d[1]},
                                   .mask = mask,
                                   .g = out->g,
                                   .terms = terms,
                                   .z = {t->x, t->x},
                                   .sum = out->sum,
                                   .dot = {out->dot[0], out->dot[1]}};

    fill(d[0], n, -0.4f, 3.0f);
    fill(d[1], n, -0.6f, 1.0f);
    for (int64_t i = 0; i < n / 8 + 1; i++)
        mask[i] = (uint8_t)(i * 37);
    cr_assert(bg_alloc(&pass.scratch, bg_train_scratch(t->in.rows, t->in.channels, 3),
                       sizeof(double)) == BG_OK);
    pass.seen[which] = on_the_way ? t->in.scratch : NULL;
    bg_kernel_train_reduce(table, &pass);
    t->in.x = d[which];
    t->in.summed = on_the_way;
    t->in.stats = &out->stats;
    bg_kernel_train_observe(table, &t->in);
    bg_free(pass.scratch);
}

/* The pass that reads dx adds it up to the same bits, and gives what it gives without. */
Test(train_observe, reduced_on_the_way_equals_afterwards)
{
    static struct reduced a, b;

    for (int s = 2; s < SHAPES; s++)
        for (int v = 0; v < bg_kernel_variant_count(); v++)
            for (int kind = 0; kind < 6; kind++) {
                const int gradients = kind < 2 ? 1 : 2, which = kind < 4 ? 0 : 1;
                struct trial t;
                if (shapes[s][0] * shapes[s][1] > MOST)
                    continue;
                make(&t, shapes[s][0], shapes[s][1]);
                fill(t.x, shapes[s][0] * shapes[s][1], -0.45f, 1.0f);
                memset(&a, 0, sizeof a);
                memset(&b, 0, sizeof b);
                reduce_one(bg_kernel_variant(v)->train, &t, gradients, 1 + kind % 2, which, false,
                           &a);
                reduce_one(bg_kernel_variant(v)->train, &t, gradients, 1 + kind % 2, which, true,
                           &b);
                cr_expect(memcmp(&a, &b, sizeof a) == 0, "%lld x %lld, kind %d, %s",
                          (long long)shapes[s][0], (long long)shapes[s][1], kind,
                          bg_kernel_variant(v)->isa);
                cr_expect(a.stats.count > 0 && a.stats.sum_square > 0.0);
                destroy(&t);
            }
}
