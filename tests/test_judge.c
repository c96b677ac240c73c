/* The judge of integer programs: its numbers against networks computed by hand and against modes
 * worked out with exact fractions. What it says about programs stands in test_judge_program.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "layers/judge_private.h"
#include "support_graph.h"

/* One channel of a sum: m, c, bound and acc per term, and the code in each mode. The codes were
 * worked out with exact fractions from core/NUMERICS.md, not by this code. */
struct worked {
    int terms;
    float m[2], c[2];
    int64_t bound[2];
    double acc[BG_REQUANT_TERMS];
    int32_t lo, hi;
    uint8_t code[BG_REQUANT_MODES];
};

static const struct worked worked[] = {
    /* Ties: to even, upwards, away from zero behind the high product, to even. */
    {1, {0.5f}, {0}, {1000}, {1}, 0, 255, {100, 101, 101, 100}},
    {1, {0.5f}, {0}, {1000}, {3}, 0, 255, {102, 102, 102, 102}},
    {1, {0.5f}, {0}, {1000}, {5}, 0, 255, {102, 103, 103, 102}},
    {1, {0.5f}, {0}, {1000}, {-1}, 0, 255, {100, 100, 100, 100}},
    {1, {0.5f}, {0}, {1000}, {-3}, 0, 255, {98, 99, 99, 98}},
    {1, {0.375f}, {0}, {1000}, {-4}, 0, 255, {98, 99, 98, 98}},
    /* 0.3f is above 0.3: 4.5 and a little; the nearest power is 1/4, that of 0.375 is 1/2. */
    {1, {0.3f}, {0}, {1000}, {15}, 0, 255, {104, 105, 105, 104}},
    {1, {0.3f}, {0}, {1000}, {5}, 0, 255, {102, 102, 102, 101}},
    {1, {0.375f}, {0}, {1000}, {100}, 0, 255, {138, 138, 138, 150}},
    /* The border in the logarithm is sqrt(1/2). */
    {1, {0.72f}, {0}, {1000}, {4}, 0, 255, {103, 103, 103, 104}},
    {1, {0.70f}, {0}, {1000}, {4}, 0, 255, {103, 103, 103, 102}},
    /* 0.45 is rounded twice: 1.8 quarters to 2, two quarters to 1. */
    {1, {0.15f}, {0}, {1000}, {3}, 0, 255, {100, 100, 101, 100}},
    {1, {0.15f}, {0}, {1000}, {-3}, 0, 255, {100, 100, 99, 100}},
    /* Offsets become biases: rne(1.7 / 0.3) = 6, rne(1.7 * 4) = 7. */
    {1, {0.3f}, {1.7f}, {1000}, {-11}, 0, 255, {98, 98, 98, 99}},
    /* Factors above 1. */
    {1, {5.0f}, {3.0f}, {1000}, {7}, 0, 255, {138, 140, 140, 132}},
    {1, {5.0f}, {3.0f}, {1000}, {-3}, 0, 255, {88, 90, 90, 92}},
    /* Sums. */
    {2, {0.3f, 0.04f}, {1.7f, 0}, {1000, 255}, {10, 20}, 0, 255, {106, 106, 106, 105}},
    {2, {0.3f, 0.04f}, {1.7f, 0}, {1000, 255}, {-11, 100}, 0, 255, {102, 102, 103, 102}},
    {2, {0.3f, 0.04f}, {1.7f, 0}, {1000, 255}, {3, 255}, 0, 255, {113, 113, 113, 110}},
    {2, {0.7f, 0x1p-20f}, {0, 0.4f}, {10000, 1 << 20}, {10, 1 << 20}, 0, 255, {108, 108, 108, 106}},
    {2, {0.7f, 0x1p-20f}, {0, 0.4f}, {10000, 1 << 20}, {-5, -(1 << 19)}, 0, 255, {96, 96, 96, 97}},
    /* Limits. */
    {1, {0.5f}, {0}, {1000}, {-50}, 100, 160, {100, 100, 100, 100}},
    {1, {0.5f}, {0}, {1000}, {200}, 100, 160, {160, 160, 160, 160}},
    {1, {0.5f}, {0}, {1000}, {-400}, 0, 255, {0, 0, 0, 0}},
};

/* A piece of one channel with memory for its numbers. */
struct single {
    struct bg_judge_piece piece;
    int64_t bias[2], multiplier[2];
    int left[2], right;
    float m[2], c[2];
};

static void single_make(struct single *out, const struct worked *row)
{
    *out = (struct single){.piece = {.rows = 1,
                                     .channels = 1,
                                     .zero_point = 100,
                                     .lo = row->lo,
                                     .hi = row->hi,
                                     .terms = row->terms}};
    out->piece.right = &out->right;
    for (int i = 0; i < row->terms; i++) {
        struct bg_judge_term *term = &out->piece.term[i];
        out->m[i] = row->m[i];
        out->c[i] = row->c[i];
        term->m = &out->m[i];
        term->c = &out->c[i];
        term->bias = &out->bias[i];
        term->multiplier = &out->multiplier[i];
        term->left = &out->left[i];
        term->bound = row->bound[i];
    }
}

Test(judge, modes_give_the_codes_worked_out_with_fractions)
{
    for (size_t i = 0; i < sizeof worked / sizeof worked[0]; i++)
        for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
            struct single one;
            uint8_t code = 0;
            single_make(&one, &worked[i]);
            if (mode != BG_REQUANT_F32_RNE)
                OK(bg_judge_fit(&one.piece, (enum bg_requant_mode)mode, 0));
            code = bg_judge_code(&one.piece, (enum bg_requant_mode)mode, 0, worked[i].acc);
            cr_expect(code == worked[i].code[mode], "row %zu, mode %d: %d, expected %d", i, mode,
                      code, worked[i].code[mode]);
        }
}

Test(judge, numbers_of_the_modes)
{
    const struct worked row = {2, {0.3f, 0.04f}, {1.7f, 0}, {1000, 255}, {0},
                               0, 255,           {0}}; /* e = -1 and -4 */
    struct single one;

    single_make(&one, &row);
    OK(bg_judge_fit(&one.piece, BG_REQUANT_FIXED_SINGLE, 0));
    cr_expect(one.bias[0] == 6 && one.bias[1] == 0 && one.right == 32);
    cr_expect(one.multiplier[0] == (int64_t)(0.3f * 0x1p32f));
    cr_expect(one.multiplier[1] == (int64_t)(0.04f * 0x1p32f));
    OK(bg_judge_fit(&one.piece, BG_REQUANT_FIXED_DOUBLE, 0));
    /* 1006 has 10 bits, 255 has 8: F = min(28 - 10 + 1, 28 - 8 + 4) = 19. */
    cr_expect(one.right == 19 && one.left[0] == 18 && one.left[1] == 15);
    cr_expect(one.multiplier[0] == (int64_t)(0.3f * 0x1p32f));
    cr_expect(one.multiplier[1] == (int64_t)(0.04f * 0x1p35f));
    OK(bg_judge_fit(&one.piece, BG_REQUANT_POW2_RNE, 0));
    /* 0.3 = 0.6 * 2^-1 is nearest 2^-2, 0.04 = 0.64 * 2^-4 nearest 2^-5. */
    cr_expect(one.bias[0] == 7 && one.right == 5 && one.left[0] == 3 && one.left[1] == 0);
}

Test(judge, numbers_that_do_not_fit_are_refused)
{
    const struct {
        enum bg_requant_mode mode;
        float m, c;
        int64_t bound;
        const char *says;
    } rows[] = {
        {BG_REQUANT_FIXED_SINGLE, 1e-6f, 3000.0f, 1000, "bias 3e+09 and sums to 1000 do not"},
        {BG_REQUANT_POW2_RNE, 1.0f, -1.0f, 0x7fffffff, "bias -1 and sums to 2147483647 do not"},
        {BG_REQUANT_FIXED_SINGLE, 0x1p-33f, 0, 1000, "a shift by 63 is outside 1 to 62"},
        {BG_REQUANT_FIXED_SINGLE, 0x1p31f, 0, 1000, "a shift by -1 is outside 1 to 62"},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p20f, 0, 4096, "sums to 4096 shifted by 21 do not fit s32"},
        {BG_REQUANT_POW2_RNE, 0x1p-63f, 0, 1000, "a shift by 63 is outside 0 to 62"},
        {BG_REQUANT_POW2_RNE, 0x1p53f, 0, 1024, "the sum of 1 terms does not fit s64"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct worked row = {1, {rows[i].m}, {rows[i].c}, {rows[i].bound}, {0}, 0, 255, {0}};
        struct single one;
        single_make(&one, &row);
        cr_expect(bg_judge_fit(&one.piece, rows[i].mode, 0) == BG_E_DATA, "row %zu", i);
        cr_expect(strstr(bg_error(), rows[i].says) != NULL, "row %zu: %s", i, bg_error());
    }
}

/* The next ones stand just inside. */
Test(judge, numbers_at_the_edge_fit)
{
    const struct {
        enum bg_requant_mode mode;
        float m, c;
        int64_t bound;
    } rows[] = {
        {BG_REQUANT_POW2_RNE, 1.0f, -1.0f, 0x7ffffffe},
        {BG_REQUANT_FIXED_SINGLE, 0x1p-32f, 0, 1000},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p20f, 0, 1023},
        {BG_REQUANT_FIXED_DOUBLE, 0x1p-60f, 0, 1000},
        {BG_REQUANT_POW2_RNE, 0x1p-62f, 0, 1000},
        {BG_REQUANT_POW2_RNE, 0x1p53f, 0, 1023},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct worked row = {1, {rows[i].m}, {rows[i].c}, {rows[i].bound}, {0}, 0, 255, {0}};
        struct single one;
        single_make(&one, &row);
        OK(bg_judge_fit(&one.piece, rows[i].mode, 0));
    }
}

/* Networks: grids and weights are set, not found. */

static void set_grid(struct bg_graph *graph, const char *name, float scale, int32_t zero_point)
{
    struct bg_quantizer *quantizer = bg_graph_find(graph, name)->quantizer;

    cr_assert(quantizer != NULL, "%s has no grid", name);
    quantizer->grid.scale[0] = scale;
    quantizer->grid.zero_point = zero_point;
    quantizer->observed = 1;
}

static void set_values(struct bg_graph *graph, const char *name, const float *values)
{
    struct bg_param *param = bg_graph_param_find(graph, name);

    cr_assert(param != NULL, "%s", name);
    memcpy(bg_f32(&param->value), values, (size_t)bg_tensor_count(&param->value) * 4);
    param->version++;
}

/* values = code * scale. */
static void set_weights(struct bg_graph *graph, const char *name, float scale, const int *codes)
{
    struct bg_param *param = bg_graph_param_find(graph, name);

    cr_assert(param != NULL && param->quantizer != NULL, "%s", name);
    for (int64_t i = 0; i < bg_tensor_count(&param->value); i++)
        bg_f32(&param->value)[i] = (float)codes[i] * scale;
    for (int64_t c = 0; c < param->quantizer->grid.channels; c++)
        param->quantizer->grid.scale[c] = scale;
    param->version++;
}

static struct bg_graph *start(int64_t height, int64_t width, int64_t channels, enum bg_dtype dtype,
                              struct bg_node **x)
{
    const struct bg_sample_spec spec = {.height = height,
                                        .width = width,
                                        .channels = channels,
                                        .classes = 2,
                                        .dtype = dtype,
                                        .scale = 0.5f,
                                        .zero_point = 10};
    struct bg_graph *graph = NULL;

    OK(bg_graph_create(&graph));
    OK(bg_node_input(graph, "input", &spec, x));
    return graph;
}

/* A head of zero weights where the logits do not matter. */
static void finish(struct bg_graph *graph, struct bg_node *x)
{
    OK(bg_node_linear(graph, "fc", x, 2, true, &x));
    OK(bg_node_softmax_cross_entropy(graph, "loss", x, 0.0, &x));
}

static struct bg_node *conv(struct bg_graph *graph, const char *name, struct bg_node *x,
                            int64_t channels, int64_t kernel)
{
    const struct bg_conv2d options = {.out_channels = channels,
                                      .kernel = {kernel, kernel},
                                      .stride = {1, 1},
                                      .padding = {kernel / 2, kernel / 2},
                                      .dilation = {1, 1},
                                      .groups = 1,
                                      .bias = true};

    OK(bg_node_conv2d(graph, name, x, &options, &x));
    return x;
}

static struct bg_judge *judge_of(struct bg_graph *graph, enum bg_requant_mode mode)
{
    struct bg_judge *judge = NULL;

    OK(bg_judge_create(&judge, graph, mode));
    return judge;
}

static void evaluate(const struct bg_judge *judge, enum bg_dtype dtype, const void *images)
{
    const struct bg_batch batch = {.size = 1, .dtype = dtype, .images = images};

    bg_judge_sample(judge, &judge->scratch[0], &batch, 0);
}

static void expect_codes(const struct bg_judge *judge, const char *name, const uint8_t *expected,
                         int64_t n)
{
    for (int i = 0; i < judge->values; i++) {
        const uint8_t *codes = NULL;
        if (strcmp(bg_node_name(judge->value[i].node), name) != 0)
            continue;
        codes = bg_judge_codes(judge, &judge->scratch[0], i);
        cr_assert(judge->value[i].count == n);
        for (int64_t k = 0; k < n; k++)
            cr_expect(codes[k] == expected[k], "%s[%d]: %d, expected %d", name, (int)k, codes[k],
                      expected[k]);
        return;
    }
    cr_assert(false, "no node %s", name);
}

#define CODES(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

static void done(struct bg_judge *judge, struct bg_graph *graph)
{
    bg_judge_destroy(judge);
    bg_graph_destroy(graph);
}

/* f32 values become codes; logits are acc * m + bias. */
Test(judge, linear_on_f32_input)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = start(1, 2, 2, BG_F32, &x);
    struct bg_judge *judge = NULL;

    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "input", 0.5f, 3);
    set_weights(graph, "fc.weight", 0.25f, (const int[]){2, -3, 1, 5, 1, 1, 1, -127});
    set_values(graph, "fc.bias", (const float[]){0.5f, 0.0f});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    /* 1 / 0.5 = 2; -1.75 / 0.5 = -3.5 to -4, clamped at 0; 0.25 / 0.5 to 0 (even); far out */
    evaluate(judge, BG_F32, (const float[]){1.0f, -1.75f, 0.25f, 1e30f});
    expect_codes(judge, "input", CODES(5, 0, 3, 255));
    cr_expect(judge->scratch[0].logits[0] == (2 * 2 + -3 * -3 + 0 + 252 * 5) * 0.125f + 0.5f);
    cr_expect(judge->scratch[0].logits[1] == (2 - 3 + 0 - 252 * 127) * 0.125f);
    evaluate(judge, BG_F32, (const float[]){NAN, INFINITY, -INFINITY, 0.75f}); /* 1.5 to 2 */
    expect_codes(judge, "input", CODES(3, 255, 0, 5));
    done(judge, graph);
}

/* A raw byte is the code at 8 bits; at 4 it is (byte - 10) * 0.5 put on the grid. */
Test(judge, raw_bytes_at_8_and_4_bits)
{
    for (int bits = 4; bits <= 8; bits += 4) {
        struct bg_node *x = NULL;
        struct bg_graph *graph = start(1, 1, 4, BG_U8, &x);
        struct bg_judge *judge = NULL;
        finish(graph, x);
        support_quantize(graph, 8, bits, false);
        if (bits == 4)
            set_grid(graph, "input", 8.0f, 1);
        judge = judge_of(graph, BG_REQUANT_F32_RNE);
        evaluate(judge, BG_U8, (const uint8_t[]){0, 18, 34, 255});
        if (bits == 8)
            expect_codes(judge, "input", CODES(0, 18, 34, 255));
        else /* -5 / 8 = -0.6, 4 / 8 a tie, 12 / 8 a tie, 122.5 / 8 = 15.3 above 14 */
            expect_codes(judge, "input", CODES(0, 1, 3, 15));
        done(judge, graph);
    }
}

/* Padding is code z: a 3x3 kernel over 2x2 pixels a = 1 2 3 -2, weights 1 to 9 give 23 19 11 7.
 * gamma / sqrt(var + eps) = -2 / 2; m = 0.5 * 1 * -1 / 0.25 = -2; c = (0.5 - 0.25 + 1) / 0.25 = 5;
 * the second channel has the weights negated. In the integer modes m > 0 and weights change sign;
 * the codes are integers, so nothing is rounded and every mode gives them (2 is a power of two,
 * 5 / 2 is not an integer: bias rne(2.5) = 2, one less than c in v). */
Test(judge, convolution_norm_with_negative_gamma_relu)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_node *x = NULL;
        struct bg_graph *graph = start(2, 2, 1, BG_U8, &x);
        struct bg_judge *judge = NULL;
        int one = mode == BG_REQUANT_F32_RNE ? 0 : 1;
        x = conv(graph, "conv", x, 2, 3);
        OK(bg_node_batch_norm(graph, "norm", x, 0.25, 0.1, &x));
        OK(bg_node_relu(graph, "relu", x, &x));
        finish(graph, x);
        support_quantize(graph, 8, 8, false);
        set_grid(graph, "relu", 0.25f, 7);
        set_weights(graph, "conv.weight", 1.0f,
                    (const int[]){1, 2, 3, 4, 5, 6, 7, 8, 9, -1, -2, -3, -4, -5, -6, -7, -8, -9});
        set_values(graph, "conv.bias", (const float[]){0.25f, 0.25f});
        set_values(graph, "norm.gamma", (const float[]){-2.0f, -2.0f});
        set_values(graph, "norm.beta", (const float[]){0.5f, 0.5f});
        set_values(graph, "norm.running_mean", (const float[]){1.0f, 1.0f});
        set_values(graph, "norm.running_var", (const float[]){3.75f, 3.75f});
        judge = judge_of(graph, (enum bg_requant_mode)mode);
        evaluate(judge, BG_U8, (const uint8_t[]){11, 12, 13, 8});
        expect_codes(judge, "relu",
                     CODES(7, (uint8_t)(58 - one), 7, (uint8_t)(50 - one), 7, (uint8_t)(34 - one),
                           7, (uint8_t)(26 - one)));
        done(judge, graph);
    }
}

/* input -> conv "a" -> relu; branch conv "b" with its own norm, plus the relu's codes, in either
 * order; or plus a projection with its own norm. */
static struct bg_graph *residual(bool branch_first, bool projection)
{
    struct bg_node *x = NULL, *y = NULL;
    struct bg_graph *graph = start(1, 1, 1, BG_U8, &x);

    x = conv(graph, "a", x, 1, 1);
    OK(bg_node_relu(graph, "relu", x, &x));
    y = conv(graph, "b", x, 1, 1);
    OK(bg_node_batch_norm(graph, "norm_b", y, 0.25, 0.1, &y));
    if (projection) {
        x = conv(graph, "p", x, 1, 1);
        OK(bg_node_batch_norm(graph, "norm_p", x, 0.25, 0.1, &x));
    }
    if (branch_first)
        OK(bg_node_add(graph, "add", y, x, &x));
    else
        OK(bg_node_add(graph, "add", x, y, &x));
    OK(bg_node_relu6(graph, "last", x, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "relu", 0.5f, 2);
    set_grid(graph, "last", 0.25f, 4);
    set_weights(graph, "a.weight", 1.0f, (const int[]){3});
    set_weights(graph, "b.weight", 0.5f, (const int[]){-2});
    set_values(graph, "b.bias", (const float[]){3.0f});
    set_values(graph, "norm_b.running_mean", (const float[]){1.0f});
    set_values(graph, "norm_b.running_var", (const float[]){0.75f});
    set_values(graph, "norm_b.beta", (const float[]){-1.5f});
    if (projection) {
        set_weights(graph, "p.weight", 1.0f, (const int[]){2});
        set_values(graph, "norm_p.gamma", (const float[]){0.5f});
        set_values(graph, "norm_p.beta", (const float[]){-6.0f});
        set_values(graph, "norm_p.running_var", (const float[]){0.75f});
    }
    return graph;
}

/* a: (14 - 10) * 3 * 0.5 = 6 = code 2 + 12; b: -2 * 0.5 * 6 + 3, norm - 1, - 1.5 = -5.5.
 * Identity: 6 - 5.5 = 0.5 = code 4 + 2. Projection: 12 / 2 - 6 = 0; -5.5 is under the relu6: 4. */
Test(judge, residual_sums)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++)
        for (int i = 0; i < 4; i++) {
            struct bg_graph *graph = residual((i & 1) != 0, (i & 2) != 0);
            struct bg_judge *judge = judge_of(graph, (enum bg_requant_mode)mode);
            evaluate(judge, BG_U8, (const uint8_t[]){14});
            expect_codes(judge, "relu", CODES(14));
            expect_codes(judge, "last", CODES((i & 2) != 0 ? 4 : 6));
            evaluate(judge, BG_U8, (const uint8_t[]){8}); /* a = -3, 0: 0.5; 0 - 6 + 0.5 */
            expect_codes(judge, "relu", CODES(2));
            expect_codes(judge, "last", CODES((i & 2) != 0 ? 4 : 6));
            done(judge, graph);
        }
}

/* A norm over a sum: both terms have g, only the first beta and mean. conv a = 3 * x, conv b =
 * -x + 1; sum 2x + 1; norm (2x + 1 - 1) * 2 + 0.5 with x = 0.5 * (byte - 10). */
Test(judge, norm_over_a_sum)
{
    for (int mode = 0; mode < BG_REQUANT_MODES; mode++) {
        struct bg_node *x = NULL, *y = NULL, *z = NULL;
        struct bg_graph *graph = start(1, 1, 1, BG_U8, &x);
        struct bg_judge *judge = NULL;
        y = conv(graph, "a", x, 1, 1);
        z = conv(graph, "b", x, 1, 1);
        OK(bg_node_add(graph, "add", y, z, &x));
        OK(bg_node_batch_norm(graph, "norm", x, 0.25, 0.1, &x));
        finish(graph, x);
        support_quantize(graph, 8, 8, false);
        set_grid(graph, "norm", 0.5f, 100);
        set_weights(graph, "a.weight", 1.0f, (const int[]){3});
        set_weights(graph, "b.weight", 1.0f, (const int[]){-1});
        set_values(graph, "b.bias", (const float[]){1.0f});
        set_values(graph, "norm.gamma", (const float[]){2.0f});
        set_values(graph, "norm.beta", (const float[]){0.5f});
        set_values(graph, "norm.running_mean", (const float[]){1.0f});
        set_values(graph, "norm.running_var", (const float[]){0.75f});
        judge = judge_of(graph, (enum bg_requant_mode)mode);
        evaluate(judge, BG_U8, (const uint8_t[]){13}); /* 1.5: 3 * 2 + 0.5 = 6.5 */
        /* In the integer modes c / m = (0.5 - 2) / 2 = -0.75 rounds to -1, b's 2 to 2: 6. */
        expect_codes(judge, "norm", CODES(mode == BG_REQUANT_F32_RNE ? 113 : 112));
        done(judge, graph);
    }
}

static struct bg_node *pool_node(struct bg_graph *graph, const char *name, struct bg_node *x,
                                 bool max, int64_t stride, int64_t padding)
{
    const struct bg_pool2d options = {
        .kernel = {2, 2}, .stride = {stride, stride}, .padding = {padding, padding}};

    if (max)
        OK(bg_node_max_pool(graph, name, x, &options, &x));
    else
        OK(bg_node_avg_pool(graph, name, x, &options, &x));
    return x;
}

/* 2x4 pixels under a 1x1 convolution with weights -1 and +1: the pool stands between the sums and
 * the relu's grid. The global pool reads the pooled codes. */
Test(judge, max_pool_before_relu_then_global_pool)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = start(2, 4, 1, BG_U8, &x);
    struct bg_judge *judge = NULL;

    x = conv(graph, "conv", x, 2, 1);
    x = pool_node(graph, "max", x, true, 2, 0);
    OK(bg_node_relu(graph, "relu", x, &x));
    OK(bg_node_global_pool(graph, "mean", x, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "relu", 0.5f, 0);
    set_grid(graph, "mean", 0.25f, 5);
    set_weights(graph, "conv.weight", 1.0f, (const int[]){-1, 1});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){11, 13, 4, 9, 20, 12, 9, 8});
    /* First window 1 3 10 2, second -6 -1 -1 -2 */
    expect_codes(judge, "relu", CODES(0, 10, 6, 0));
    /* 6 * 0.5 / 2 / 0.25 = 6 and 10 */
    expect_codes(judge, "mean", CODES(11, 15));
    done(judge, graph);
}

/* Max pool of codes with padding (outside), two pools one behind the other, average of codes. */
Test(judge, pools_of_codes)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = start(3, 3, 1, BG_U8, &x);
    struct bg_judge *judge = NULL;

    x = pool_node(graph, "one", x, true, 1, 1);   /* 4x4 */
    x = pool_node(graph, "two", x, true, 2, 0);   /* 2x2 */
    x = pool_node(graph, "mean", x, false, 1, 0); /* 1x1 */
    OK(bg_node_flatten(graph, "flat", x, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "mean", 1.0f, 20);
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){1, 2, 3, 4, 5, 6, 9, 8, 7});
    expect_codes(judge, "one", CODES(1, 2, 3, 3, 4, 5, 6, 6, 9, 9, 8, 7, 9, 9, 8, 7));
    expect_codes(judge, "two", CODES(5, 6, 9, 8));
    /* (-5 - 4 - 1 - 2) * 0.5 / 4 = -1.5, to even -2 */
    expect_codes(judge, "mean", CODES(18));
    expect_codes(judge, "flat", CODES(18));
    done(judge, graph);
}

/* concat(conv "a" behind a norm, codes of the input, max pool of conv "b") with relu6 above: each
 * slice straight onto the grid, channels side by side. */
Test(judge, concat_requantises_every_slice)
{
    struct bg_node *x = NULL, *parts[3];
    struct bg_graph *graph = start(2, 2, 1, BG_U8, &x);
    struct bg_judge *judge = NULL;
    const struct bg_pool2d same = {.kernel = {1, 1}, .stride = {1, 1}};

    OK(bg_node_batch_norm(graph, "norm", conv(graph, "a", x, 2, 1), 0.25, 0.1, &parts[0]));
    parts[1] = x;
    OK(bg_node_max_pool(graph, "max", conv(graph, "b", x, 1, 1), &same, &parts[2]));
    OK(bg_node_concat(graph, "concat", parts, 3, &x));
    OK(bg_node_relu6(graph, "relu6", x, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "relu6", 0.5f, 1);
    set_weights(graph, "a.weight", 1.0f, (const int[]){1, -1});
    set_weights(graph, "b.weight", 1.0f, (const int[]){3});
    set_values(graph, "norm.running_var", (const float[]){0.75f, 3.75f});
    set_values(graph, "norm.beta", (const float[]){1.0f, 0.0f});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){12, 8, 10, 40});
    /* x = 1 -1 0 15; x + 1, -x / 2, x, 3x; 6 is code 13 */
    expect_codes(judge, "relu6", CODES(5, 1, 3, 7, 1, 2, 1, 1, 3, 1, 1, 1, 13, 1, 13, 13));
    done(judge, graph);
}

/* A norm over a concat takes each slice's channels. */
Test(judge, norm_over_a_concat)
{
    struct bg_node *x = NULL, *parts[2];
    struct bg_graph *graph = start(1, 1, 2, BG_U8, &x);
    struct bg_judge *judge = NULL;

    parts[0] = conv(graph, "a", x, 1, 1);
    parts[1] = x;
    OK(bg_node_concat(graph, "concat", parts, 2, &x));
    OK(bg_node_batch_norm(graph, "norm", x, 0.25, 0.1, &x));
    OK(bg_node_relu(graph, "relu", x, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "relu", 0.25f, 0);
    set_weights(graph, "a.weight", 1.0f, (const int[]){1, 1});
    set_values(graph, "norm.running_var", (const float[]){0.75f, 0.75f, 3.75f});
    set_values(graph, "norm.gamma", (const float[]){1.0f, 3.0f, 2.0f});
    set_values(graph, "norm.beta", (const float[]){0.25f, 0.5f, 0.75f});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){12, 14}); /* 1 and 2: 3, 1, 2 */
    expect_codes(judge, "relu", CODES(13, 14, 11));
    done(judge, graph);
}

/* Bounds come from the grids' limits, not from the values: K * (qmax - qmin) * max|w|. */
Test(judge, bounds_of_accumulators)
{
    struct bg_node *x = NULL, *y = NULL;
    struct bg_graph *graph = start(4, 4, 3, BG_F32, &x);
    struct bg_judge *judge = NULL;
    const struct bg_judge_term *term = NULL;

    y = conv(graph, "conv", x, 3, 3);
    OK(bg_node_add(graph, "add", y, x, &x));
    OK(bg_node_global_pool(graph, "mean", x, &x));
    finish(graph, x);
    support_quantize(graph, 3, 4, false);
    set_grid(graph, "input", 1.0f, 5);
    set_grid(graph, "add", 1.0f, 3);
    set_grid(graph, "mean", 1.0f, 3);
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    for (int i = 0; i < judge->values; i++) {
        const char *name = bg_node_name(judge->value[i].node);
        if (judge->value[i].piece == NULL)
            continue;
        term = judge->value[i].piece->term;
        if (strcmp(name, "add") == 0)
            cr_expect(term[0].bound == 27 * 15 * 3 && term[1].bound == 15);
        else if (strcmp(name, "mean") == 0)
            cr_expect(term[0].bound == 16 * 15);
        else
            cr_expect(term[0].bound == 3 * 15 * 3, "%s: %d", name, (int)term[0].bound);
    }
    cr_expect(term != NULL);
    done(judge, graph);
}

/* Flattened slices lie one behind the other, whole images each. */
Test(judge, concat_of_flattened_images)
{
    struct bg_node *x = NULL, *parts[2];
    struct bg_graph *graph = start(1, 2, 1, BG_U8, &x);
    struct bg_judge *judge = NULL;

    OK(bg_node_flatten(graph, "flat_a", conv(graph, "a", x, 2, 1), &parts[0]));
    OK(bg_node_flatten(graph, "flat_x", x, &parts[1]));
    OK(bg_node_concat(graph, "concat", parts, 2, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "concat", 0.5f, 100);
    set_weights(graph, "a.weight", 1.0f, (const int[]){1, -2});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){12, 9});
    expect_codes(judge, "concat", CODES(102, 96, 99, 102, 102, 99));
    done(judge, graph);
}

/* One bit: weights are signs of the masters (0 is +1), activations are 0 or 1. */
Test(judge, binary_weights_and_activations)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = start(1, 1, 3, BG_U8, &x);
    struct bg_judge *judge = NULL;
    const struct bg_quantize_options options = {.weight_range = &support_min_max,
                                                .activation_range = &support_min_max};
    struct bg_plan plan = {.count = 0};

    x = conv(graph, "conv", x, 2, 1);
    OK(bg_node_relu(graph, "relu", x, &x));
    finish(graph, x);
    support_plan(&plan, graph, 1, 8);
    plan.layer[1].spec[BG_ROLE_ACTIVATION].bits = 1;
    OK(bg_graph_quantize(graph, &plan, &options));
    bg_plan_free(&plan);
    set_grid(graph, "relu", 4.0f, 0);
    set_weights(graph, "conv.weight", 1.0f, (const int[]){0, 0, 0, 0, 0, 0});
    set_values(graph, "conv.weight", (const float[]){0.0f, -0.1f, 7.0f, -0.5f, -0.5f, -0.0f});
    set_weights(graph, "fc.weight", 0.5f, (const int[]){1, -1, 1, 1});
    judge = judge_of(graph, BG_REQUANT_F32_RNE);
    evaluate(judge, BG_U8, (const uint8_t[]){16, 12, 11}); /* 6 - 2 + 1, -6 - 2 + 1 */
    expect_codes(judge, "relu", CODES(1, 0));              /* 2.5 / 4 */
    cr_expect(judge->scratch[0].logits[0] == 2.0f && judge->scratch[0].logits[1] == 2.0f);
    evaluate(judge, BG_U8, (const uint8_t[]){10, 10, 210}); /* far above: held at 1 */
    expect_codes(judge, "relu", CODES(1, 1));
    cr_expect(judge->scratch[0].logits[0] == 0.0f && judge->scratch[0].logits[1] == 4.0f);
    done(judge, graph);
}

/* Strides, dilation and groups: plain sums over all taps in integers give the same accumulators.
 * m = 1, c = 0: codes are 128 + acc, held in 0 to 255. */
Test(judge, convolutions_of_every_shape)
{
    const struct bg_conv2d shapes[] = {
        {.out_channels = 6,
         .kernel = {3, 3},
         .stride = {1, 1},
         .padding = {1, 1},
         .dilation = {1, 1},
         .groups = 6}, /* depthwise */
        {.out_channels = 4,
         .kernel = {3, 2},
         .stride = {2, 1},
         .padding = {1, 0},
         .dilation = {1, 2},
         .groups = 2},
        {.out_channels = 12,
         .kernel = {2, 2},
         .stride = {1, 2},
         .padding = {0, 1},
         .dilation = {2, 1},
         .groups = 6},
        {.out_channels = 5,
         .kernel = {5, 5},
         .stride = {3, 3},
         .padding = {2, 2},
         .dilation = {1, 1},
         .groups = 1},
    };
    uint8_t image[5 * 7 * 6];
    int codes[5 * 5 * 6 * 12];

    for (int i = 0; i < (int)sizeof image; i++)
        image[i] = (uint8_t)(10 + support_integer(1, i, 3));
    for (int i = 0; i < (int)(sizeof codes / sizeof codes[0]); i++)
        codes[i] = (int)support_integer(2, i, 4);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const struct bg_conv2d *conv2d = &shapes[s];
        struct bg_node *x = NULL;
        struct bg_graph *graph = start(5, 7, 6, BG_U8, &x);
        struct bg_judge *judge = NULL;
        int64_t in = 6 / conv2d->groups, size = 0, each = 0, per = 0;
        uint8_t expected[5 * 7 * 12];
        OK(bg_node_conv2d(graph, "conv", x, conv2d, &x));
        finish(graph, x);
        support_quantize(graph, 8, 8, false);
        set_grid(graph, "conv", 0.5f, 128);
        set_weights(graph, "conv.weight", 1.0f, codes);
        per = conv2d->out_channels / conv2d->groups;
        each = conv2d->kernel[0] * conv2d->kernel[1] * in;
        size = bg_shape_count(bg_node_shape(x));
        cr_assert(size <= (int64_t)sizeof expected);
        for (int64_t e = 0; e < size; e++) {
            const int64_t *dims = bg_node_shape(x)->dims;
            int64_t o = e % dims[2], ox = e / dims[2] % dims[1], oy = e / dims[2] / dims[1];
            int acc = 128;
            for (int64_t k = 0; k < each; k++) {
                int64_t i = k % in + o / per * in, kx = k / in % conv2d->kernel[1];
                int64_t ky = k / in / conv2d->kernel[1];
                int64_t py = oy * conv2d->stride[0] - conv2d->padding[0] + ky * conv2d->dilation[0];
                int64_t px = ox * conv2d->stride[1] - conv2d->padding[1] + kx * conv2d->dilation[1];
                if (py >= 0 && py < 5 && px >= 0 && px < 7)
                    acc += (image[(py * 7 + px) * 6 + i] - 10) * codes[o * each + k];
            }
            expected[e] = (uint8_t)(acc < 0 ? 0 : acc > 255 ? 255 : acc);
        }
        judge = judge_of(graph, BG_REQUANT_F32_RNE);
        evaluate(judge, BG_U8, image);
        expect_codes(judge, "conv", expected, size);
        done(judge, graph);
    }
}

/* Linear reads H,W,C in this order; a scale per tensor and per channel. */
Test(judge, linear_of_an_image_and_scales_per_channel)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = start(2, 1, 2, BG_U8, &x);
    struct bg_judge *judge = NULL;

    finish(graph, x);
    support_quantize(graph, 4, 8, false);
    set_weights(graph, "fc.weight", 1.0f, (const int[]){1, 2, 3, 4, 7, -7, 7, 6});
    bg_graph_layer_weight(graph, 0)->quantizer->grid.scale[1] = 2.0f; /* 3.5 to 4, -4, 4, 3 */
    judge = judge_of(graph, BG_REQUANT_FIXED_SINGLE);
    evaluate(judge, BG_U8, (const uint8_t[]){11, 12, 13, 15});
    cr_expect(judge->scratch[0].logits[0] == 0.5f * (1 + 4 + 9 + 20));
    cr_expect(judge->scratch[0].logits[1] == 1.0f * (4 - 8 + 12 + 15));
    done(judge, graph);
}

static void refused(struct bg_graph *graph, enum bg_requant_mode mode, enum bg_status status,
                    const char *says)
{
    struct bg_judge *judge = NULL;
    enum bg_status rc = bg_judge_create(&judge, graph, mode);

    cr_expect(rc == status && judge == NULL, "%s: %d", says, (int)rc);
    cr_expect(strstr(bg_error(), says) != NULL, "%s", bg_error());
}

Test(judge, what_has_no_integer_form_is_refused)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = residual(true, false);
    struct bg_quantizer *quantizer = bg_graph_find(graph, "relu")->quantizer;

    quantizer->observed = 0;
    refused(graph, BG_REQUANT_F32_RNE, BG_E_USAGE, "the quantizer of relu has no range yet");
    quantizer->observed = 1;
    /* Codes cannot take a sign, and 0 is no factor. */
    set_values(graph, "norm_b.gamma", (const float[]){0.0f});
    refused(graph, BG_REQUANT_FIXED_DOUBLE, BG_E_DATA, "last: channel 0 of b has the factor 0");
    OK(bg_graph_quantize(graph, NULL, NULL));
    refused(graph, BG_REQUANT_F32_RNE, BG_E_UNSUPPORTED, "it has no grid");
    bg_graph_destroy(graph);

    graph = start(1, 1, 1, BG_U8, &x);
    OK(bg_node_batch_norm(graph, "norm", x, 0.25, 0.1, &x));
    finish(graph, x);
    support_quantize(graph, 8, 8, false);
    set_grid(graph, "norm", 1.0f, 100);
    set_values(graph, "norm.gamma", (const float[]){-1.0f});
    refused(graph, BG_REQUANT_POW2_RNE, BG_E_DATA, "channel 0 of input has the factor -0.4");
    set_values(graph, "norm.running_var", (const float[]){-0.25f}); /* m is infinite */
    refused(graph, BG_REQUANT_F32_RNE, BG_E_DATA, "norm: channel 0 of input has the factors");
    bg_graph_destroy(graph);
}

/* Every allocation that fails is a failure of the whole, and nothing is left (AddressSanitizer). */
Test(judge, creation_survives_failing_allocations)
{
    struct bg_graph *graph = residual(true, true);
    struct bg_judge *judge = NULL;
    int failures = 0;

    while (judge == NULL) {
        enum bg_status rc = BG_OK;
        bg_alloc_fail_at((uint64_t)failures + 1);
        rc = bg_judge_create(&judge, graph, BG_REQUANT_FIXED_DOUBLE);
        bg_alloc_fail_at(0);
        cr_assert(rc == (judge == NULL ? BG_E_NOMEM : BG_OK));
        failures += judge == NULL;
    }
    cr_expect(failures >= 2, "%d", failures);
    done(judge, graph);
}
