/* Range methods: the walk over the registry (what every method must keep) and each method's own
 * numbers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dnn.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/rng.h"
#include "policies/observe.h"
#include "policies/select.h"

enum sign { SYMMETRIC, UNSIGNED, AFFINE, SIGNS };

/* A quantizer of one channel as autograd makes it. */
struct fixture {
    struct bg_quantizer q;
    float lo, hi, scale;
};

static void make(struct fixture *f, enum sign sign, int bits)
{
    *f = (struct fixture){.scale = 1};
    f->q =
        (struct bg_quantizer){.name = "conv1.weight",
                              .target = sign == SYMMETRIC ? BG_TARGET_WEIGHT : BG_TARGET_ACTIVATION,
                              .symmetric = sign == SYMMETRIC,
                              .lo = &f->lo,
                              .hi = &f->hi};
    f->q.grid.kind = &bg_grid_affine;
    f->q.grid.channels = 1;
    f->q.grid.scale = &f->scale;
    cr_assert(bg_grid_limits(&f->q.grid, bits, sign == SYMMETRIC, sign == SYMMETRIC) == BG_OK);
}

static void observe(struct fixture *f, const struct bg_range_method *method, const void *options,
                    const float *x, int64_t n)
{
    cr_assert(method->observe(options, &f->q, 0, x, n) == BG_OK, "%s: %s", method->name,
              bg_error());
    f->q.observed++;
}

static void fit(struct fixture *f)
{
    cr_assert(bg_grid_fit(&f->q.grid, 0, f->lo, f->hi, f->q.symmetric) == BG_OK, "%s", bg_error());
}

/* Normal numbers; rectified for unsigned grids, shifted for affine ones. */
static float *draw(enum sign sign, int64_t n)
{
    const struct bg_rng rng = {.seed = 7, .stream = BG_STREAM_TEST, .step = (uint32_t)sign};
    float *x = NULL;
    cr_assert(bg_alloc(&x, n, sizeof *x) == BG_OK);
    for (int64_t i = 0; i < n; i++) {
        double value = bg_rng_normal(&rng, (uint64_t)i);
        x[i] = (float)(sign == UNSIGNED ? fmax(value, 0) : sign == AFFINE ? value + 0.5 : value);
    }
    return x;
}

/* A method with options from YAML: {name: ..} or a bare name, as in a recipe. */
struct chosen {
    const struct bg_range_method *method;
    void *options;
    struct bg_document *document;
};

static struct chosen choose(const char *yaml)
{
    struct chosen chosen = {0};
    struct bg_text errors, line;
    bg_text_init(&errors, 4096);
    bg_text_init(&line, 4096);
    bg_text_add(&line, "range: %s", yaml);
    cr_assert(bg_yaml_parse_text(&chosen.document, "test", bg_text_string(&line), line.length) ==
              BG_OK);
    const struct bg_yaml *node = bg_yaml_get(bg_document_root(chosen.document), "range");
    cr_assert(bg_range_choose(node, "min-max", "range", &chosen.method, &chosen.options, &errors) ==
                  BG_OK,
              "%s", bg_text_string(&errors));
    bg_text_free(&line);
    bg_text_free(&errors);
    return chosen;
}

static void put_back(struct chosen *chosen)
{
    bg_free(chosen->options);
    bg_document_free(chosen->document);
}

static double error_at(enum sign sign, int bits, const struct chosen *c, const float *x, int64_t n)
{
    struct fixture f;
    make(&f, sign, bits);
    observe(&f, c->method, c->options, x, n);
    fit(&f);
    return bg_grid_error(&f.q.grid, 0, x, n);
}

/* x -> code -> real: inside the clip limits the error is at most half a step. One rounding each of
 * x/s and code*s may add half an ulp of x, which the limit's 2^-22 * |x| covers. */
static void check_grid(const struct fixture *f, const float *x, int64_t n, const char *what)
{
    float lo = 0, hi = 0, once = 0, twice = 0;
    bg_grid_clip_limits(&f->q.grid, 0, &lo, &hi);
    for (int64_t i = 0; i < n; i++) {
        int32_t code = 0;
        bg_grid_encode(&f->q.grid, 0, &x[i], 1, NULL, &code);
        cr_assert(code >= f->q.grid.qmin && code <= f->q.grid.qmax, "%s", what);
        bg_grid_project(&f->q.grid, 0, &x[i], 1, &once);
        bg_grid_project(&f->q.grid, 0, &once, 1, &twice);
        cr_assert(once == twice, "%s: %.9g -> %.9g -> %.9g", what, (double)x[i], (double)once,
                  (double)twice);
        if (x[i] >= lo && x[i] <= hi)
            cr_assert(fabs((double)once - (double)x[i]) <=
                          0.5 * (double)f->scale + fabs((double)x[i]) * 0x1p-22,
                      "%s", what);
    }
}

static void walk(const struct chosen *c, enum sign sign, int bits, int64_t n)
{
    struct fixture f, again, scaled;
    char what[128];
    float *x = draw(sign, n);
    float largest = 0;
    (void)snprintf(what, sizeof what, "%s, sign %d, %d bits, n %lld", c->method->name, (int)sign,
                   bits, (long long)n);
    make(&f, sign, bits);
    make(&again, sign, bits);
    make(&scaled, sign, bits);
    observe(&f, c->method, c->options, x, n);
    cr_assert(isfinite(f.lo) && isfinite(f.hi) && f.lo <= 0 && f.hi >= 0, "%s", what);
    for (int64_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    cr_assert(c->method->learned || fmaxf(-f.lo, f.hi) <= largest, "%s: wider than the data", what);
    fit(&f);
    cr_assert(f.scale > 0, "%s", what);
    check_grid(&f, x, n < 300 ? n : 300, what);

    bg_threads_set(2);
    observe(&again, c->method, c->options, x, n);
    bg_threads_set(1);
    cr_assert(again.lo == f.lo && again.hi == f.hi, "%s: same bits with two threads", what);

    for (int64_t i = 0; i < n; i++)
        x[i] *= 4;
    observe(&scaled, c->method, c->options, x, n);
    cr_assert(scaled.lo == 4 * f.lo && scaled.hi == 4 * f.hi, "%s: values times 4", what);
    bg_free(x);
}

Test(range_registry, every_method_holds_0_round_trips_and_scales_with_the_values)
{
    static const int bits[] = {2, 4, 8};
    static const int64_t sizes[] = {1, 3, 1000, 70001};
    int methods = 0;
    for (; bg_range_methods[methods]; methods++) {
        struct chosen c = choose(bg_range_methods[methods]->name);
        cr_assert(c.method->help && c.method->source && c.method->options, "%s", c.method->name);
        for (int sign = 0; sign < SIGNS; sign++)
            for (size_t b = 0; b < 3; b++)
                for (size_t n = 0; n < 4; n++)
                    walk(&c, (enum sign)sign, bits[b], sizes[n]);
        put_back(&c);
    }
    cr_assert(methods >= 5);
}

Test(range_registry, more_bits_never_cost_accuracy)
{
    for (int i = 0; bg_range_methods[i]; i++) {
        struct chosen c = choose(bg_range_methods[i]->name);
        for (int sign = 0; sign < SIGNS; sign++) {
            float *x = draw((enum sign)sign, 5000);
            double before = (double)INFINITY;
            for (int bits = 2; bits <= 8; bits += 2) {
                double error = error_at((enum sign)sign, bits, &c, x, 5000);
                cr_assert(error < before, "%s, sign %d, %d bits: %g", c.method->name, sign, bits,
                          error);
                before = error;
            }
            bg_free(x);
        }
        put_back(&c);
    }
}

Test(range_registry, zeros_empty_batches_and_bad_values)
{
    static const float zeros[20000] = {0}; /* mse takes a histogram of so many */
    const float bad[2][2] = {{1, (float)NAN}, {-(float)INFINITY, 0}};
    for (int i = 0; bg_range_methods[i]; i++) {
        struct chosen c = choose(bg_range_methods[i]->name);
        for (int sign = 0; sign < SIGNS; sign++) {
            struct fixture f;
            make(&f, (enum sign)sign, 4);
            observe(&f, c.method, c.options, zeros, 3);
            cr_assert(f.lo == 0 && f.hi == 0, "%s", c.method->name);
            fit(&f);
            cr_assert(f.scale == 1, "%s", c.method->name);
            make(&f, (enum sign)sign, 4);
            observe(&f, c.method, c.options, zeros, 20000);
            cr_assert(f.lo == 0 && f.hi == 0, "%s", c.method->name);
            make(&f, (enum sign)sign, 4);
            observe(&f, c.method, c.options, zeros, 0);
            cr_assert(f.lo == 0 && f.hi == 0, "%s", c.method->name);
            for (int b = 0; b < 2; b++) {
                make(&f, (enum sign)sign, 4);
                cr_assert(c.method->observe(c.options, &f.q, 0, bad[b], 2) == BG_E_NUMERIC, "%s",
                          c.method->name);
                cr_assert(strstr(bg_error(), "conv1.weight"), "%s", bg_error());
            }
        }
        put_back(&c);
    }
}

Test(range_registry, a_channel_is_observed_on_its_own)
{
    for (int i = 0; bg_range_methods[i]; i++) {
        struct chosen c = choose(bg_range_methods[i]->name);
        struct fixture f, alone;
        float lo[3] = {-7, -7, -7}, hi[3] = {7, 7, 7}, scale[3] = {1, 1, 1};
        float *x = draw(SYMMETRIC, 100);
        make(&f, SYMMETRIC, 4);
        make(&alone, SYMMETRIC, 4);
        f.q.lo = lo;
        f.q.hi = hi;
        f.q.grid.scale = scale;
        f.q.grid.channels = 3;
        observe(&f, c.method, c.options, x, 0); /* leaves channel 0's start alone or zero */
        f.q.observed = 0;
        cr_assert(c.method->observe(c.options, &f.q, 1, x, 100) == BG_OK);
        observe(&alone, c.method, c.options, x, 100);
        cr_assert(lo[1] == alone.lo && hi[1] == alone.hi, "%s", c.method->name);
        cr_assert(lo[2] == -7 && hi[2] == 7, "%s", c.method->name);
        cr_assert(scale[0] == 1 && scale[1] == 1 && scale[2] == 1, "%s: the grid is not its own",
                  c.method->name);
        bg_free(x);
        put_back(&c);
    }
}

Test(min_max, keeps_the_extremes_of_all_batches)
{
    struct chosen c = choose("min-max");
    struct fixture f;
    make(&f, AFFINE, 8);
    const float batches[3][2] = {{1, 3}, {-2, 1}, {0.5f, 2}};
    const float lo[] = {0, -2, -2}, hi[] = {3, 3, 3};
    for (int i = 0; i < 3; i++) {
        observe(&f, c.method, c.options, batches[i], 2);
        cr_assert(f.lo == lo[i] && f.hi == hi[i], "batch %d", i);
    }
    put_back(&c);
}

Test(moving_average, first_batch_sets_and_later_ones_blend)
{
    struct chosen c = choose("{name: moving-average, momentum: 0.75}");
    struct fixture f;
    make(&f, AFFINE, 8);
    const float batches[3][2] = {{-4, 8}, {-8, 0}, {1, 2}};
    const float lo[] = {-4, -5, -3.75f}, hi[] = {8, 6, 5};
    for (int i = 0; i < 3; i++) {
        observe(&f, c.method, c.options, batches[i], 2);
        cr_assert(f.lo == lo[i] && f.hi == hi[i], "batch %d: %g %g", i, (double)f.lo, (double)f.hi);
    }
    put_back(&c);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

Test(percentile, order_statistic_is_that_of_a_sorted_copy)
{
    static const int64_t sizes[] = {1, 2, 17, 1000, 66000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t n = sizes[s];
        float *x = draw(SYMMETRIC, n), *sorted = NULL, *absolute = NULL;
        cr_assert(bg_alloc(&sorted, n, sizeof *x) == BG_OK);
        cr_assert(bg_alloc(&absolute, n, sizeof *x) == BG_OK);
        for (int64_t i = 0; i < n; i += 5)
            x[i] = i % 2 ? 0 : -0.25f; /* equal values and zero */
        for (int64_t i = 0; i < n; i++) {
            sorted[i] = x[i];
            absolute[i] = fabsf(x[i]);
        }
        qsort(sorted, (size_t)n, sizeof *x, by_value);
        qsort(absolute, (size_t)n, sizeof *x, by_value);
        for (int64_t k = 0; k < n; k += 1 + n / 37) {
            cr_assert(bg_observe_kth(x, n, k, false) == sorted[k], "n %lld, k %lld", (long long)n,
                      (long long)k);
            cr_assert(bg_observe_kth(x, n, k, true) == absolute[k]);
        }
        cr_assert(bg_observe_kth(x, n, n - 1, true) == absolute[n - 1]);
        bg_free(absolute);
        bg_free(sorted);
        bg_free(x);
    }
}

Test(percentile, clips_the_share_asked_for_from_the_right_ends)
{
    float ramp[1000], mixed[1000];
    struct fixture f;
    for (int i = 0; i < 1000; i++) {
        ramp[i] = (float)((i * 7) % 1000 + 1); /* 1..1000 in another order */
        mixed[i] = ramp[i] - 500;              /* -499..500 */
    }
    struct chosen c = choose("{name: percentile, percentile: 99}");
    make(&f, UNSIGNED, 8);
    observe(&f, c.method, c.options, ramp, 1000);
    cr_assert(f.lo == 0 && f.hi == 990);
    make(&f, SYMMETRIC, 8);
    observe(&f, c.method, c.options, ramp, 1000);
    cr_assert(f.lo == -990 && f.hi == 990);
    make(&f, AFFINE, 8); /* half a percent from each end: five values */
    observe(&f, c.method, c.options, mixed, 1000);
    cr_assert(f.lo == -494 && f.hi == 495, "%g %g", (double)f.lo, (double)f.hi);
    put_back(&c);
    c = choose("{name: percentile, percentile: 100}");
    make(&f, AFFINE, 8);
    observe(&f, c.method, c.options, mixed, 1000);
    cr_assert(f.lo == -499 && f.hi == 500, "all values");
    put_back(&c);
    c = choose("percentile"); /* 99.9 % of 1000 values are 999, though 99.9 is no number of f64 */
    make(&f, UNSIGNED, 8);
    observe(&f, c.method, c.options, ramp, 1000);
    cr_assert(f.hi == 999, "%g", (double)f.hi);
    put_back(&c);
}

Test(mse, finds_the_best_of_its_candidates_and_never_loses_to_min_max)
{
    struct chosen mse = choose("{name: mse, candidates: 50}"), extremes = choose("min-max");
    for (int sign = 0; sign < SIGNS; sign++) {
        for (int bits = 2; bits <= 6; bits++) {
            float *x = draw((enum sign)sign, 900);
            struct fixture f, tried;
            make(&f, (enum sign)sign, bits);
            make(&tried, (enum sign)sign, bits);
            observe(&f, mse.method, mse.options, x, 900);
            fit(&f);
            double best = bg_grid_error(&f.q.grid, 0, x, 900);
            observe(&tried, extremes.method, extremes.options, x, 900);
            float lo = tried.lo, hi = tried.hi;
            for (int c = 1; c <= 50; c++) {
                tried.lo = (float)(c / 50.0 * (double)lo);
                tried.hi = (float)(c / 50.0 * (double)hi);
                fit(&tried);
                cr_assert(best <= bg_grid_error(&tried.q.grid, 0, x, 900), "%d bits, c %d", bits,
                          c);
            }
            cr_assert(bits > 3 || f.hi < hi, "few bits clip the tails of a normal distribution");
            bg_free(x);
        }
    }
    put_back(&extremes);
    put_back(&mse);
}

Test(mse, histogram_path_is_close_to_the_values_own_error)
{
    /* Above 16384 values the error is taken from 2048 bins. The candidate found may differ from the
     * best one, but not by much: each value moves by at most half a bin, h = (max - min)/4096, so
     * the root of the mean squared error moves by at most h, for the one found and the best. */
    struct chosen c = choose("mse");
    for (int sign = 0; sign < SIGNS; sign++) {
        int64_t n = 20000;
        float *x = draw((enum sign)sign, n);
        struct fixture f, tried;
        make(&f, (enum sign)sign, 3);
        observe(&f, c.method, c.options, x, n);
        fit(&f);
        double found = sqrt(bg_grid_error(&f.q.grid, 0, x, n) / (double)n);
        float lo = 0, hi = 0;
        cr_assert(bg_observe_extremes(&f.q, 0, x, n, &lo, &hi) == BG_OK);
        double best = (double)INFINITY, h = ((double)hi - (double)lo) / 4096;
        make(&tried, (enum sign)sign, 3);
        for (int i = 1; i <= 80; i++) {
            tried.lo = (float)(i / 80.0 * (double)lo);
            tried.hi = (float)(i / 80.0 * (double)hi);
            fit(&tried);
            best = fmin(best, sqrt(bg_grid_error(&tried.q.grid, 0, x, n) / (double)n));
        }
        cr_assert(found <= best + 2 * h, "%g, best %g, h %g", found, best, h);
        bg_free(x);
    }
    put_back(&c);
}

Test(lsq, starts_at_twice_the_mean_over_the_root_of_qmax_and_stays)
{
    struct chosen c = choose("lsq");
    cr_assert(c.method->learned);
    const float ones[4] = {1, -1, 1, -1}, threes[4] = {3, 3, 3, 3}, later[2] = {100, -100};
    struct fixture f;
    make(&f, SYMMETRIC, 4);
    observe(&f, c.method, c.options, ones, 4);
    cr_assert(f.hi == (float)(2 / sqrt(7) * 7) && f.lo == -f.hi);
    fit(&f);
    /* hi and hi / qmax are rounded to f32: two halves of an ulp. */
    cr_assert(fabs((double)f.scale - 2 / sqrt(7)) <= 2 / sqrt(7) * 0x1p-23);
    float hi = f.hi;
    observe(&f, c.method, c.options, later, 2);
    cr_assert(f.hi == hi, "later batches change nothing");
    make(&f, UNSIGNED, 8);
    observe(&f, c.method, c.options, threes, 4);
    cr_assert(f.lo == 0 && f.hi == (float)(6 / sqrt(255) * 255));
    make(&f, AFFINE, 8);
    observe(&f, c.method, c.options, ones, 4);
    cr_assert(f.lo == -f.hi);
    fit(&f);
    cr_assert(fabs((double)f.scale - 2 / sqrt(255)) <= 2 / sqrt(255) * 0x1p-22);
    put_back(&c);
}

Test(range_choose, bare_name_map_fallback_and_mistakes)
{
    const struct bg_range_method *method = NULL;
    void *options = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert(bg_range_choose(NULL, "percentile", "r", &method, &options, &errors) == BG_OK);
    cr_assert(strcmp(method->name, "percentile") == 0 && *(double *)options == 99.9);
    bg_free(options);
    struct chosen c = choose("{name: percentile, percentile: 95}");
    cr_assert(*(double *)c.options == 95);
    put_back(&c);
    static const struct {
        const char *yaml, *part;
    } wrong[] = {{"r: percentil",
                  "test:1:1: r: unknown range method 'percentil', did you mean 'percentile'?"},
                 {"r: {name: percentile, percentil: 9}", "did you mean 'percentile'?"},
                 {"r: {name: percentile, percentile: 101}", "101"},
                 {"r: {name: [lsq]}", "expected the name"},
                 {"r: [lsq]", "expected the name"},
                 {"r: {name: lsq, momentum: 0.9}", "unknown key"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct bg_document *document = NULL;
        bg_text_free(&errors);
        bg_text_init(&errors, 4096);
        cr_assert(bg_yaml_parse_text(&document, "test", wrong[i].yaml, strlen(wrong[i].yaml)) ==
                  BG_OK);
        const struct bg_yaml *node = bg_yaml_get(bg_document_root(document), "r");
        cr_assert(bg_range_choose(node, "lsq", "r", &method, &options, &errors) == BG_E_DATA, "%s",
                  wrong[i].yaml);
        cr_assert(options == NULL);
        cr_assert(strstr(bg_text_string(&errors), wrong[i].part), "%s", bg_text_string(&errors));
        bg_document_free(document);
    }
    bg_text_free(&errors);
}
