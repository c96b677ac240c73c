/* The fused step forward, compiled once per instruction set: reads every term once and writes
 * codes, mask bits and, if wanted, values in one pass.
 *
 * v is computed left to right in f32, a product and a sum at a time, never fused. Common patterns
 * of terms have a loop of their own. */
#include "core/kernel_table.h"
#include "core/kernel_train.h"
#include "core/kernel_train_vec.h"

#include <math.h>
#include <stddef.h>

#define FOUR 4 /* vectors that are done together */

enum sort { Z, CODES, ACC, ANY };

/* A pass: constants in each instance. With ANY the terms tell. */
struct pattern {
    int terms;
    enum sort sort[BG_TRAIN_TERMS];
    bool usual;    /* a mask is wanted, values are not, and 64 numbers in a row never go round */
    bool one_high; /* pass_high is clip_high */
};

struct limits {
    vec pass_low, pass_high, clip_low, clip_high;
    struct code_limits code;
};

struct seen {
    vec min, max, nan;
    vec_count inside;
};

INLINE struct limits limits_of(const struct bg_kernel_train_forward *in)
{
    return (struct limits){vec_set(in->pass_low),
                           vec_set(in->pass_high),
                           vec_set(in->clip_low),
                           vec_set(in->clip_high),
                           {in->zero_point, in->lo, in->hi}};
}

INLINE vec load_value(const struct bg_train_term *term, enum sort sort, int64_t at, int64_t n)
{
    if (sort == Z || (sort == ANY && term->z != NULL))
        return vec_from_bf16(term->z + at, n);
    if (sort == ACC || (sort == ANY && term->acc != NULL))
        return vec_from_s32(term->acc + at, n);
    return vec_from_codes(term->codes + at, term->zero_point, n);
}

/* 16 numbers from `lane` on, going round at the end of the period. */
static __attribute__((noinline)) vec wrapped(const float *numbers, int64_t lane, int64_t period)
{
    float sixteen[VEC];

    for (int j = 0; j < VEC; j++)
        sixteen[j] = numbers[(lane + j) % period];
    return vec_load(sixteen);
}

INLINE vec numbers_at(const struct bg_kernel_train_forward *in, const struct pattern *pattern,
                      const float *numbers, int64_t lane)
{
    if (!pattern->usual && lane + VEC > in->lanes)
        return wrapped(numbers, lane, in->period);
    return vec_load(numbers + lane);
}

/* v of n elements from `at` on, whose numbers begin at `lane`. */
INLINE vec sum_terms(const struct bg_kernel_train_forward *in, const struct pattern *pattern,
                     int64_t at, int64_t lane, int64_t n)
{
    vec v = load_value(&in->term[0], pattern->sort[0], at, n);

    v = vec_mul(v, numbers_at(in, pattern, in->term[0].a, lane));
    v = vec_add(v, numbers_at(in, pattern, in->term[0].b, lane));
    for (int t = 1; t < pattern->terms; t++) {
        vec next = load_value(&in->term[t], pattern->sort[t], at, n);
        next = vec_mul(next, numbers_at(in, pattern, in->term[t].a, lane));
        v = vec_add(v, vec_add(next, numbers_at(in, pattern, in->term[t].b, lane)));
    }
    return v;
}

/* What follows from v of n elements but the codes. */
INLINE void look_at(const struct bg_kernel_train_forward *in, const struct pattern *pattern,
                    const struct limits *limits, vec v, int64_t at, int64_t n, struct seen *seen)
{
    const uint16_t lanes = first_lanes(n), low = vec_at_most(v, limits->clip_high);
    const uint16_t high = pattern->one_high ? low : vec_at_most(v, limits->pass_high);
    const uint16_t inside = vec_at_least(low, v, limits->clip_low);
    const uint16_t pass = vec_above(high, v, limits->pass_low);

    if (n == VEC) {
        seen->min = vec_min(v, seen->min);
        seen->max = vec_max(v, seen->max);
        seen->nan = vec_note_nan(seen->nan, v);
    } else {
        seen->min = vec_choose(lanes, vec_min(v, seen->min), seen->min);
        seen->max = vec_choose(lanes, vec_max(v, seen->max), seen->max);
        seen->nan = vec_note_nan(seen->nan, vec_keep(v, lanes));
    }
    seen->inside = vec_add_bits(seen->inside, n == VEC ? inside : inside & lanes);
    if (pattern->usual || in->mask != NULL)
        vec_store_bits(in->mask + (uint64_t)at / 8, n == VEC ? pass : pass & lanes, n);
    if (!pattern->usual && in->values != NULL)
        vec_store(in->values + at, v, n);
}

INLINE int64_t next_lane(int64_t lane, int64_t period)
{
    return lane + VEC - (lane + VEC >= period ? period : 0);
}

/* Works on copies: for the compiler, the codes it writes could be anybody's bytes. */
INLINE void run_pattern(const struct bg_kernel_train_forward *all, const struct pattern *pattern,
                        struct seen *out)
{
    const struct bg_kernel_train_forward in = *all;
    const struct limits limits = limits_of(&in);
    const int64_t end = in.first + in.n;
    int64_t at = in.first, lane = at % in.period;
    struct seen seen = *out;

    for (; pattern->usual && at + FOUR * VEC <= end; at += FOUR * VEC) {
        vec v[FOUR];
        UNROLL_FOUR
        for (int k = 0; k < FOUR; k++) {
            v[k] = sum_terms(&in, pattern, at + k * VEC, lane + k * VEC, VEC);
            look_at(&in, pattern, &limits, v[k], at + k * VEC, VEC, &seen);
        }
        vec_to_codes_four(in.codes + at, v, limits.code);
        lane = lane + FOUR * VEC < in.period ? lane + FOUR * VEC : 0;
    }
    for (; at < end; at += VEC) {
        int64_t n = end - at < VEC ? end - at : VEC;
        vec v = sum_terms(&in, pattern, at, lane, n);
        look_at(&in, pattern, &limits, v, at, n, &seen);
        vec_to_codes(in.codes + at, v, limits.code, n);
        lane = next_lane(lane, in.period);
    }
    *out = seen;
}

#define RUN(name_, one_high_, ...)                                                                 \
    static void name_(const struct bg_kernel_train_forward *in, struct seen *seen)                 \
    {                                                                                              \
        const struct pattern pattern = {__VA_ARGS__, true, one_high_};                             \
        run_pattern(in, &pattern, seen);                                                           \
    }
RUN(run_z, false, 1, {Z})
RUN(run_z_one, true, 1, {Z})
RUN(run_acc, false, 1, {ACC})
RUN(run_acc_one, true, 1, {ACC})
RUN(run_z_codes, false, 2, {Z, CODES})
RUN(run_z_codes_one, true, 2, {Z, CODES})
RUN(run_z_z, false, 2, {Z, Z})
RUN(run_z_z_one, true, 2, {Z, Z})

static void run_any(const struct bg_kernel_train_forward *in, struct seen *seen)
{
    const struct pattern pattern = {in->terms, {ANY, ANY, ANY, ANY}, false, false};

    run_pattern(in, &pattern, seen);
}

typedef void (*run_fn)(const struct bg_kernel_train_forward *in, struct seen *seen);

static const struct {
    int terms;
    enum sort sort[2];
    run_fn run[2]; /* [pass_high is clip_high] */
} known[] = {{1, {Z, ANY}, {run_z, run_z_one}},
             {1, {ACC, ANY}, {run_acc, run_acc_one}},
             {2, {Z, CODES}, {run_z_codes, run_z_codes_one}},
             {2, {Z, Z}, {run_z_z, run_z_z_one}}};

static enum sort sort_of(const struct bg_train_term *term)
{
    return term->z != NULL ? Z : term->acc != NULL ? ACC : CODES;
}

static run_fn find_run(const struct bg_kernel_train_forward *in)
{
    const struct bg_train_term *term = in->term;

    if (in->mask == NULL || in->values != NULL || in->period % (FOUR * VEC) != 0)
        return run_any;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].terms == in->terms && known[i].sort[0] == sort_of(&term[0]) &&
            (in->terms == 1 || known[i].sort[1] == sort_of(&term[1])))
            return known[i].run[in->pass_high == in->clip_high];
    return run_any;
}

void BG_TRAIN_NAME(train_forward)(const struct bg_kernel_train_forward *in,
                                  struct bg_kernel_train_seen *out)
{
    struct seen seen = {vec_set(INFINITY), vec_set(-INFINITY), vec_set(0.0f), vec_count_none()};
    float min[VEC], max[VEC], nan[VEC];

    find_run(in)(in, &seen);
    vec_store(min, seen.min, VEC);
    vec_store(max, seen.max, VEC);
    vec_store(nan, seen.nan, VEC);
    for (int j = 0; j < VEC; j++) {
        out->min = min[j] < out->min ? min[j] : out->min;
        out->max = max[j] > out->max ? max[j] : out->max;
        out->nan = out->nan || isnan(nan[j]);
    }
    out->inside += vec_counted(seen.inside);
}
