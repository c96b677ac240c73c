/* Gradients on grids (core/gradient.h, core/NUMERICS.md "Low-precision gradients"): worked
 * examples, and every loop against its definition, bit by bit. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/dnn.h"
#include "core/gradient.h"
#include "core/kernel_table.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/round.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

static float real_of(uint16_t bf16)
{
    const uint32_t bits = (uint32_t)bf16 << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void *make(int64_t count, size_t size)
{
    void *memory = NULL;

    OK(bg_alloc(&memory, count + 1, size));
    return memory;
}

/* Normal values of many sizes, and zeros. */
static float *make_reals(int64_t count, uint64_t seed)
{
    const struct bg_rng rng = {seed, BG_STREAM_TEST, 0};
    float *x = make(count, sizeof *x);

    for (int64_t i = 0; i < count; i++)
        x[i] = i % 7 == 3 ? 0.0f : (float)ldexp(bg_rng_normal(&rng, (uint64_t)i), (int)(i % 5));
    return x;
}

static struct bg_gradient_grid grid_of(int bits, bool per_channel, enum bg_rounding rounding)
{
    return (struct bg_gradient_grid){BG_FORMAT_INTEGER, bits, per_channel, rounding};
}

/* --- worked examples --- */

/* s8: largest 127, step 1. s4: qmax 7, largest 14, step 2; ties to even. */
Test(gradient_grid, codes_of_known_numbers)
{
    const float x[8] = {127.0f, -0.5f, 1.5f, 2.5f, -126.6f, 0.49f, -127.0f, 3.0f};
    const float eight[8] = {127, 0, 2, 2, -127, 0, -127, 3};
    const float y[4] = {14.0f, -3.0f, 5.0f, -0.9f}, four[4] = {14, -4, 4, 0};
    float out[8], scratch[4096];
    uint16_t codes[8];
    struct bg_gradient_pass pass = {.grid = grid_of(8, false, BG_ROUND_NEAREST),
                                    .rows = 4,
                                    .channels = 2,
                                    .x = x,
                                    .codes = codes,
                                    .scratch = scratch};

    OK(bg_gradient_round(&pass));
    cr_expect(pass.unit == 1.0f);
    for (int i = 0; i < 8; i++)
        cr_expect(real_of(codes[i]) == eight[i], "%d: %g", i, (double)real_of(codes[i]));
    pass = (struct bg_gradient_pass){.grid = grid_of(4, false, BG_ROUND_NEAREST),
                                     .rows = 2,
                                     .channels = 2,
                                     .x = y,
                                     .values = out,
                                     .scratch = scratch};
    OK(bg_gradient_round(&pass));
    cr_expect(pass.unit == 2.0f);
    for (int i = 0; i < 4; i++)
        cr_expect(out[i] == four[i], "%d: %g", i, (double)out[i]);
}

/* Channel 0 reaches 112 = 7 * 16, channel 1 up to 13, which fits 7 * 16 / 2^3 = 14 but not half of
 * it, channel 2 is 0. t is 4, 1 and 2 times x. */
Test(gradient_grid, channels_have_the_tensors_step_over_powers_of_two)
{
    const float a[3] = {4.0f, 1.0f, 2.0f};
    const float x[6] = {28.0f, 13.0f, 0.0f, -6.0f, -5.0f, 0.0f};
    const float wanted[6] = {28.0f, 12.0f, 0.0f, -8.0f, -4.0f, 0.0f}; /* 6.5 and 1.5: to even */
    const float stored[6] = {7.0f, 0.75f, 0.0f, -2.0f, -0.25f, 0.0f};
    float out[6], scratch[4096];
    uint16_t codes[6];
    struct bg_gradient_pass pass = {.grid = grid_of(4, true, BG_ROUND_NEAREST),
                                    .rows = 2,
                                    .channels = 3,
                                    .x = x,
                                    .a = a,
                                    .values = out,
                                    .scratch = scratch};

    OK(bg_gradient_round(&pass));
    cr_expect(pass.unit == 16.0f);
    for (int i = 0; i < 6; i++)
        cr_expect(out[i] == wanted[i], "%d: %g", i, (double)out[i]);
    pass.values = NULL;
    pass.codes = codes;
    OK(bg_gradient_round(&pass));
    for (int i = 0; i < 6; i++)
        cr_expect(real_of(codes[i]) == stored[i], "%d: %g", i, (double)real_of(codes[i]));
}

Test(gradient_grid, weights_have_the_step_of_their_tensor_or_of_their_output)
{
    const float x[6] = {3.0f, -1.4f, 0.6f, 0.3f, 0.11f, -0.16f};
    const float tensor[6] = {3.0f, -1.0f, 1.0f, 0.0f, 0.0f, 0.0f};
    float dw[6];
    struct bg_gradient_weights in = {
        .grid = grid_of(3, false, BG_ROUND_NEAREST), .dw = dw, .outputs = 2, .each = 3};

    memcpy(dw, x, sizeof x);
    bg_gradient_round_weights(&in);
    for (int i = 0; i < 6; i++)
        cr_expect(dw[i] == tensor[i], "%d: %g", i, (double)dw[i]);
    memcpy(dw, x, sizeof x);
    in.grid.per_channel = true;
    bg_gradient_round_weights(&in);
    const float step = 0.3f / 3.0f, rows[6] = {3.0f, -1.0f, 1.0f, 3 * step, step, -2 * step};
    for (int i = 0; i < 6; i++)
        cr_expect(dw[i] == rows[i], "%d: %g", i, (double)dw[i]);
    memcpy(dw, x, sizeof x);
    in.grid = (struct bg_gradient_grid){.format = BG_FORMAT_BF16};
    bg_gradient_round_weights(&in);
    for (int i = 0; i < 6; i++)
        cr_expect(dw[i] == real_of(bf16_of(x[i])), "%d: %g", i, (double)dw[i]);
}

Test(gradient_grid, zeros_stay_zeros_and_what_is_not_finite_is_refused)
{
    static const float odd[3] = {NAN, INFINITY, -INFINITY};
    float x[512], out[512], scratch[8192];
    struct bg_gradient_pass pass = {.grid = grid_of(8, true, BG_ROUND_STOCHASTIC),
                                    .rows = 32,
                                    .channels = 16,
                                    .x = x,
                                    .values = out,
                                    .scratch = scratch};
    struct bg_gradient_weights weights = {.grid = pass.grid, .dw = x, .outputs = 2, .each = 256};

    for (int i = 0; i < 512; i++) { /* the least numbers have no step that f32 could invert */
        x[i] = i % 2 == 0 ? 0.0f : 0x1p-140f;
        out[i] = 1.0f;
    }
    OK(bg_gradient_round(&pass));
    for (int i = 0; i < 512; i++)
        cr_expect(out[i] == 0.0f && signbit(out[i]) == 0);
    bg_gradient_round_weights(&weights);
    for (int i = 0; i < 512; i++)
        cr_expect(x[i] == 0.0f);
    for (int i = 0; i < 3; i++) {
        memset(x, 0, sizeof x);
        x[300] = odd[i];
        x[10] = 0.3f;
        cr_expect(bg_gradient_round(&pass) == BG_E_NUMERIC);
        cr_expect_str_eq(bg_error(), "its output gradient has a NaN or infinity");
        bg_gradient_round_weights(&weights); /* found by who looks at all gradients */
        cr_expect(isnan(odd[i]) ? isnan(x[300]) : x[300] == odd[i]);
        cr_expect(x[10] == 0.3f / 127.0f * 127.0f);
    }
}

/* --- against the definition --- */

/* Draw i: half i % 2 of word i / 2 % 4 of block i / 8. */
static uint32_t draw_of(const struct bg_rng *rng, int64_t i)
{
    struct bg_rng own = *rng;
    uint32_t words[4];

    own.stream = BG_STREAM_GRADIENT;
    bg_rng_words(&own, (uint64_t)i / 8, words);
    return words[i / 2 % 4] >> (i % 2 == 0 ? 0 : 16) & 0xffffu;
}

static float code_of(float v, const struct bg_gradient_grid *grid, const struct bg_rng *rng,
                     int64_t i)
{
    const float limit = (float)((1 << (grid->bits - 1)) - 1);
    float down = 0.0f;

    v = fmaxf(-limit, fminf(v, limit));
    if (grid->rounding == BG_ROUND_NEAREST)
        return nearbyintf(v);
    down = floorf(v);
    return ((float)draw_of(rng, i) + 0.5f) * 0x1p-16f < v - down ? down + 1.0f : down;
}

/* t of every value. */
static float *numbers_of(const struct bg_gradient_pass *in)
{
    const int64_t n = in->rows * in->channels;
    float *t = make(n, sizeof *t);

    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % in->channels;
        if (in->x != NULL)
            t[i] = in->a == NULL ? in->x[i] : in->a[c] * in->x[i];
        else if (in->b == NULL)
            t[i] = in->a[c] * real_of(in->g[i]);
        else
            t[i] = fmaf(in->a[c], real_of(in->g[i]), fmaf(in->b[c], real_of(in->z[i]), in->c[c]));
    }
    return t;
}

/* What bg_gradient_round should leave: values, or codes as values. */
static float *plainly(const struct bg_gradient_pass *in, float *unit)
{
    const int64_t n = in->rows * in->channels;
    const float limit = (float)((1 << (in->grid.bits - 1)) - 1);
    float *t = numbers_of(in), *peak = make(in->channels, sizeof *peak), most = 0.0f;

    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % in->channels;
        peak[c] = fmaxf(peak[c], fabsf(t[i]));
        most = fmaxf(most, fabsf(t[i]));
    }
    *unit = most > 0.0f ? most / limit : 1.0f;
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = i % in->channels;
        int k = 0;
        while (in->grid.per_channel && peak[c] > 0.0f && k < 64 && ldexpf(peak[c], k + 1) <= most)
            k++;
        const float code =
            most > 0.0f ? code_of(t[i] * ldexpf(1.0f / *unit, k), &in->grid, &in->rng, i) : 0.0f;
        const float a = in->a == NULL ? 1.0f : in->a[c];
        t[i] = in->values != NULL ? code * (*unit * ldexpf(1.0f, -k) / a) : code * ldexpf(1, -k);
    }
    bg_free(peak);
    return t;
}

struct shape {
    int64_t rows, channels;
};
static const struct shape shapes[] = {{0, 3},    {1, 1},     {5, 1},   {777, 3}, {128, 10},
                                      {300, 16}, {3000, 16}, {37, 64}, {9, 255}, {9, 256},
                                      {7, 257},  {3, 1000},  {70, 700}};
enum { SHAPES = sizeof shapes / sizeof *shapes, SOURCES = 4 };

struct sources {
    float *x, *a, *b, *c, *wide;
    uint16_t *g, *z;
};

static struct sources make_sources(struct shape shape)
{
    const int64_t n = shape.rows * shape.channels;
    struct sources s = {make_reals(n, 1),
                        make_reals(shape.channels, 2),
                        make_reals(shape.channels, 3),
                        make_reals(shape.channels, 4),
                        make_reals(n, 5),
                        make(n, 2),
                        make(n, 2)};

    for (int64_t i = 0; i < n; i++) {
        s.g[i] = bf16_of(s.x[i]);
        s.z[i] = bf16_of(s.wide[i] * 16.0f);
    }
    for (int64_t c = 0; c < shape.channels; c++)
        s.a[c] = (float)(c + 1) * 0.0625f;
    return s;
}

static void free_sources(const struct sources *s)
{
    void *const all[] = {s->x, s->a, s->b, s->c, s->wide, s->g, s->z};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bg_free(all[i]);
}

static struct bg_gradient_pass pass_of(const struct sources *s, struct shape shape, int source)
{
    struct bg_gradient_pass pass = {.rows = shape.rows,
                                    .channels = shape.channels,
                                    .rng = {.seed = 0x123456789abcdefu, .step = 77}};

    pass.x = source < 2 ? s->x : NULL;
    pass.g = source < 2 ? NULL : s->g;
    pass.a = source == 0 ? NULL : s->a;
    pass.z = source == 3 ? s->z : NULL;
    pass.b = source == 3 ? s->b : NULL;
    pass.c = source == 3 ? s->c : NULL;
    return pass;
}

static void check_pass(struct bg_gradient_pass pass)
{
    const int64_t n = pass.rows * pass.channels;
    float *values = make(n, sizeof *values), *wanted = NULL, unit = 0.0f;
    uint16_t *codes = make(n, sizeof *codes);
    bool same = true;

    pass.scratch = make(bg_gradient_scratch(pass.channels), 1);
    for (int kind = 0; kind < 2; kind++) {
        pass.values = kind == 0 ? values : NULL;
        pass.codes = kind == 0 ? NULL : codes;
        if (kind == 1 && pass.grid.bits > BG_GRADIENT_BITS_BF16)
            continue;
        wanted = plainly(&pass, &unit);
        OK(bg_gradient_round(&pass));
        for (int64_t i = 0; i < n; i++)
            same = same && (kind == 0 ? values[i] : real_of(codes[i])) == wanted[i];
        cr_expect(same && pass.unit == unit, "%lld x %lld, s%d, channel %d, rounding %d, kind %d",
                  (long long)pass.rows, (long long)pass.channels, pass.grid.bits,
                  pass.grid.per_channel, (int)pass.grid.rounding, kind);
        bg_free(wanted);
    }
    bg_free(pass.scratch);
    bg_free(values);
    bg_free(codes);
}

Test(gradient_grid, output_gradients_follow_their_definition_for_all_bits_and_shapes)
{
    for (int i = 0; i < SHAPES; i++) {
        const struct sources sources = make_sources(shapes[i]);
        for (int source = 0; source < SOURCES; source++)
            for (int bits = 2; bits <= 16; bits++) {
                struct bg_gradient_pass pass = pass_of(&sources, shapes[i], source);
                if (pass.rows * pass.channels > 10000 && bits % 7 != 2)
                    continue;
                for (int kind = 0; kind < 4; kind++) {
                    pass.grid = grid_of(bits, kind % 2 == 1,
                                        kind < 2 ? BG_ROUND_NEAREST : BG_ROUND_STOCHASTIC);
                    check_pass(pass);
                }
            }
        free_sources(&sources);
    }
}

/* Numbers of channels over and over, as the loops want them. */
static float *lanes_of(const float *values, int64_t channels)
{
    const int64_t wide = channels < BG_KERNEL_WIDTH ? BG_KERNEL_WIDTH : channels;
    float *lanes = make(wide, sizeof *lanes);

    for (int64_t i = 0; i < wide; i++)
        lanes[i] = values[i % channels];
    return lanes;
}

/* Each instruction set's loops on the same numbers: equal to those of the first, `base`. */
static void compare_tables(struct bg_gradient_pass pass, struct shape shape)
{
    const int64_t n = shape.rows * shape.channels;
    uint32_t *peaks[2] = {make(shape.channels, 4), make(shape.channels, 4)};
    float *values[2] = {make(n, sizeof(float)), make(n, sizeof(float))};
    float *lanes[4] = {NULL};
    const float *numbers[4] = {pass.a, pass.b, pass.c, pass.a};
    struct bg_kernel_gradient in = {.rows = shape.rows,
                                    .channels = shape.channels,
                                    .x = pass.x,
                                    .g = pass.g,
                                    .z = pass.z,
                                    .limit = 127.0f,
                                    .stochastic = true,
                                    .rng = pass.rng};

    for (int i = 0; i < 4; i++)
        lanes[i] = numbers[i] == NULL ? NULL : lanes_of(numbers[i], shape.channels);
    in.a = lanes[0];
    in.b = lanes[1];
    in.c = lanes[2];
    in.step = in.inverse = lanes[3]; /* some numbers */
    for (int v = 0; v < bg_kernel_variant_count(); v++) {
        const struct bg_kernel_gradient_table *table = bg_kernel_variant(v)->gradient;
        for (int kind = 0; kind < 3; kind++) {
            in.stochastic = kind == 0;
            in.inverse = kind == 2 ? NULL : lanes[3];
            in.values = values[0];
            bg_kernel_variant(0)->gradient->round(&in);
            in.values = values[1];
            table->round(&in);
            cr_expect(memcmp(values[0], values[1], (size_t)n * sizeof(float)) == 0,
                      "%s: kind %d of %lld x %lld", bg_kernel_variant(v)->isa, kind,
                      (long long)shape.rows, (long long)shape.channels);
        }
        for (int k = 0; k < 2; k++) {
            memset(peaks[k], 0, (size_t)shape.channels * sizeof **peaks);
            bg_kernel_variant(k * v)->gradient->peaks(&in, peaks[k]);
        }
        cr_expect(memcmp(peaks[0], peaks[1], (size_t)shape.channels * sizeof **peaks) == 0);
    }
    for (int i = 0; i < 4; i++)
        bg_free(lanes[i]);
    for (int i = 0; i < 2; i++) {
        bg_free(peaks[i]);
        bg_free(values[i]);
    }
}

Test(gradient_grid, all_instruction_sets_give_the_same_bits)
{
    for (int i = 0; i < SHAPES; i++) {
        const struct sources sources = make_sources(shapes[i]);
        for (int source = 1; source < SOURCES; source++)
            compare_tables(pass_of(&sources, shapes[i], source), shapes[i]);
        free_sources(&sources);
    }
}

static void check_weights(int64_t outputs, int64_t each, struct bg_gradient_grid grid)
{
    const int64_t n = outputs * each;
    float *x = make_reals(n, 6), *dw = make(n, sizeof *dw), tensor = 0.0f;
    const float limit = (float)((1 << (grid.bits - 1)) - 1);
    const struct bg_gradient_weights in = {
        .grid = grid, .dw = dw, .outputs = outputs, .each = each, .rng = {.seed = 3, .step = 9}};

    memcpy(dw, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++)
        tensor = fmaxf(tensor, fabsf(x[i]));
    bg_gradient_round_weights(&in);
    for (int64_t o = 0; o < outputs; o++) {
        float peak = grid.per_channel ? 0.0f : tensor;
        for (int64_t i = o * each; grid.per_channel && i < (o + 1) * each; i++)
            peak = fmaxf(peak, fabsf(x[i]));
        const float step = peak / limit;
        for (int64_t i = o * each; i < (o + 1) * each; i++) {
            const float code = step > 0.0f ? code_of(x[i] * (1.0f / step), &grid, &in.rng, i) : 0;
            cr_assert(dw[i] == code * step, "s%d of %lld x %lld: %lld", grid.bits,
                      (long long)outputs, (long long)each, (long long)i);
        }
    }
    bg_free(x);
    bg_free(dw);
}

Test(gradient_grid, weight_gradients_follow_their_definition)
{
    for (int bits = 2; bits <= 16; bits++)
        for (int kind = 0; kind < 4; kind++) {
            const struct bg_gradient_grid grid =
                grid_of(bits, kind % 2 == 1, kind < 2 ? BG_ROUND_NEAREST : BG_ROUND_STOCHASTIC);
            check_weights(1, 1, grid);
            check_weights(10, 3, grid);
            check_weights(16, 153, grid);
            if (bits % 5 == 3)
                check_weights(7, 5000, grid); /* on several threads */
        }
}

Test(gradient_grid, threads_change_nothing)
{
    const struct shape shape = {5000, 16};
    const struct sources sources = make_sources(shape);
    const int64_t n = shape.rows * shape.channels;
    uint16_t *codes[3];
    float units[3];

    for (int i = 0; i < 3; i++) {
        struct bg_gradient_pass pass = pass_of(&sources, shape, 3);
        bg_threads_set(i + 1);
        codes[i] = make(n, sizeof *codes[i]);
        pass.grid = grid_of(6, true, BG_ROUND_STOCHASTIC);
        pass.codes = codes[i];
        pass.scratch = make(bg_gradient_scratch(shape.channels), 1);
        OK(bg_gradient_round(&pass));
        units[i] = pass.unit;
        cr_expect(units[i] == units[0] && memcmp(codes[i], codes[0], (size_t)n * 2) == 0);
        bg_free(pass.scratch);
    }
    for (int i = 0; i < 3; i++)
        bg_free(codes[i]);
    free_sources(&sources);
}

/* Of n draws at a part p above a code the mean is p within 5 standard deviations of a share,
 * sqrt(p (1 - p) / n), and the 2^-17 that 16 bits leave; 5 are passed once in 10^6 tries, and
 * draws are the same in every run. */
Test(gradient_grid, stochastic_rounding_has_the_value_as_its_mean)
{
    enum { N = 1 << 16 };
    static float x[N], scratch[8192];
    static const float parts[] = {0.5f, 0.25f, 0.03f, 0.999f, -0.3f, -6.7f, 1.0f, -0.001f};

    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        const double value = (double)parts[k], p = value - floor(value);
        struct bg_gradient_pass pass = {.grid = grid_of(4, false, BG_ROUND_STOCHASTIC),
                                        .rows = N / 16,
                                        .channels = 16,
                                        .x = x,
                                        .values = x,
                                        .rng = {.seed = 11, .step = (uint32_t)k},
                                        .scratch = scratch};
        double sum = 0.0;
        for (int i = 0; i < N; i++)
            x[i] = i == 0 ? 7.0f : parts[k];
        OK(bg_gradient_round(&pass));
        cr_assert(x[0] == 7.0f);
        for (int i = 1; i < N; i++) {
            cr_assert((double)x[i] == floor(value) || (double)x[i] == ceil(value));
            sum += (double)x[i];
        }
        cr_expect(fabs(sum / (N - 1) - value) <= 5.0 * sqrt(p * (1.0 - p) / N) + 0x1p-17, "%g: %g",
                  value, sum / (N - 1));
    }
}

/* Draws of another step, seed or place are others. */
Test(gradient_grid, draws_depend_on_seed_step_and_index)
{
    enum { N = 4096 };
    static float x[5][N], scratch[8192];
    const struct bg_rng rng[5] = {
        {.seed = 1, .step = 1},
        {.seed = 1, .step = 2},
        {.seed = 2, .step = 1},
        {.seed = 1, .step = 1, .stream = 3}, /* the stream is the pass's */
        {.seed = (uint64_t)1 << 32 | 1, .step = 1}};

    for (int k = 0; k < 5; k++) {
        struct bg_gradient_pass pass = {.grid = grid_of(2, false, BG_ROUND_STOCHASTIC),
                                        .rows = N,
                                        .channels = 1,
                                        .x = x[k],
                                        .values = x[k],
                                        .rng = rng[k],
                                        .scratch = scratch};
        int equal = 0;
        for (int i = 0; i < N; i++)
            x[k][i] = i == 0 ? 1.0f : 0.5f;
        OK(bg_gradient_round(&pass));
        for (int i = 1; i < N; i++)
            equal += x[k][i] == x[0][i];
        /* half of them by chance: 5 standard deviations are 160 */
        cr_expect(k == 0 || k == 3 ? equal == N - 1 : abs(equal - N / 2) < 160, "%d: %d", k, equal);
    }
}
