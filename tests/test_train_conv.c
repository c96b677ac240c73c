/* Layers of fast training against naive loops: forward against exact integer sums rounded to bf16,
 * gradients against sums in f64 within bounds that follow from the formats; zero points, adding,
 * packing through tables, threads, memory limits, allocation, refusals. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/int_conv.h"
#include "core/mem.h"
#include "core/train_conv.h"

enum {
    CASES = 600,
    MACS_MAX = 400000, /* of a random case: the references are slow */
    BUFFERS = 5,
    ROOM = 1 << 24,
    FENCE = 64
};

/* Rounding of one f32 operation, and of one conversion to bf16 (8 significant bits). */
#define UNIT      0x1p-24
#define UNIT_BF16 0x1p-8

static uint64_t state;

/* Memory that ends where the process may neither read nor write. */
static uint8_t *guarded[BUFFERS];

static uint8_t *make_guarded(int zeros)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE, zeros, 0);

    cr_assert(memory != MAP_FAILED);
    cr_assert_eq(mprotect(memory + ROOM, page, PROT_NONE), 0);
    return memory + ROOM;
}

static void set_up(void)
{
    int zeros = open("/dev/zero", O_RDWR);

    cr_assert_geq(zeros, 0);
    state = 88172645463325252u;
    for (int i = 0; i < BUFFERS; i++)
        guarded[i] = make_guarded(zeros);
    close(zeros);
    bg_threads_set(2);
    if (!bg_train_available())
        cr_skip_test("no AMX here (%s)", bg_dnn_isa());
}

TestSuite(train_conv, .init = set_up);

static int64_t draw(int64_t low, int64_t high)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static int64_t pick(const int64_t *values, int count)
{
    return values[draw(0, count - 1)];
}

static void *room(int which, int64_t bytes)
{
    cr_assert(bytes + FENCE <= ROOM);
    return guarded[which] - bytes;
}

static float from_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds once to 8 significant bits, ties to even; exact for every f64 whose bf16 is normal. */
static uint16_t to_bf16(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    float f = (float)ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16);
}

struct conv_case {
    struct bg_conv_shape shape;
    int64_t src_count, dst_count, weight_count;
    int32_t zero_point;
    uint8_t *src;
    int8_t *weights;
    uint16_t *dz, *z, *dx;
    float *dw;
    struct bg_train_conv *conv;
};

static const char *conv_text(const struct conv_case *c)
{
    static char text[512];
    const struct bg_conv_shape *s = &c->shape;
    const char *names[3] = {"", "", ""};

    if (c->conv != NULL)
        bg_train_conv_implementations(c->conv, &names[0], &names[1], &names[2]);
    snprintf(text, sizeof text,
             "n%lld %lldx%lldx%lld -> %lldx%lldx%lld kernel %lldx%lld stride %lldx%lld padding "
             "%lldx%lld dilation %lldx%lld groups %lld zero point %d (%s, %s, %s)",
             (long long)s->batch, (long long)s->in_height, (long long)s->in_width,
             (long long)s->in_channels, (long long)s->out_height, (long long)s->out_width,
             (long long)s->out_channels, (long long)s->kernel_height, (long long)s->kernel_width,
             (long long)s->stride[0], (long long)s->stride[1], (long long)s->padding[0],
             (long long)s->padding[1], (long long)s->dilation[0], (long long)s->dilation[1],
             (long long)s->groups, (int)c->zero_point, names[0], names[1], names[2]);
    return text;
}

static void draw_channels(struct bg_conv_shape *s)
{
    static const int64_t channels[] = {1, 2, 3, 8, 16, 20, 32, 48, 5, 64, 33};

    s->groups = 1;
    s->in_channels = pick(channels, 11);
    s->out_channels = pick(channels, 11);
    if (draw(0, 5) == 0)
        s->groups = s->out_channels = s->in_channels;
}

static void draw_shape(struct bg_conv_shape *s)
{
    static const int64_t kernels[] = {1, 3, 5, 3, 1, 2};

    for (;;) {
        int64_t kind = draw(0, 7);
        *s = (struct bg_conv_shape){.batch = draw(1, 5),
                                    .in_height = draw(1, 12),
                                    .in_width = draw(1, 12),
                                    .kernel_height = pick(kernels, 6),
                                    .kernel_width = pick(kernels, 6),
                                    .stride = {draw(1, 2), draw(1, 2)},
                                    .padding = {draw(0, 2), draw(0, 2)},
                                    .dilation = {draw(1, 8) / 8 + 1, draw(1, 8) / 8 + 1}};
        draw_channels(s);
        if (kind < 4) { /* as in usual networks */
            s->kernel_width = s->kernel_height;
            s->stride[1] = s->stride[0];
            s->dilation[0] = s->dilation[1] = 1;
            s->padding[0] = s->padding[1] = s->kernel_height / 2;
        } else if (kind == 4) { /* linear, the whole image or one pixel */
            if (draw(0, 1) == 0)
                s->in_height = s->in_width = 1;
            s->kernel_height = s->in_height;
            s->kernel_width = s->in_width;
            s->dilation[0] = s->dilation[1] = 1;
            s->padding[0] = s->padding[1] = 0;
            s->groups = 1;
        }
        if (bg_conv_shape_infer(s) == BG_OK &&
            s->batch * s->out_height * s->out_width * s->out_channels * s->kernel_height *
                    s->kernel_width * (s->in_channels / s->groups) <=
                MACS_MAX)
            return;
    }
}

static void place(struct conv_case *c)
{
    const struct bg_conv_shape *s = &c->shape;

    c->src_count = s->batch * s->in_height * s->in_width * s->in_channels;
    c->dst_count = s->batch * s->out_height * s->out_width * s->out_channels;
    c->weight_count =
        s->out_channels * s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
    c->src = room(0, c->src_count);
    c->dz = room(1, c->dst_count * 2);
    c->z = room(2, c->dst_count * 2);
    c->dx = room(3, c->src_count * 2);
    c->dw = room(4, c->weight_count * 4);
    c->weights = malloc((size_t)c->weight_count);
    cr_assert(c->weights != NULL);
}

static void draw_data(struct conv_case *c)
{
    int64_t codes = (1 << draw(1, 8)) - 1, most = (1 << draw(1, 7)) - 1;

    for (int64_t i = 0; i < c->src_count; i++)
        c->src[i] = (uint8_t)draw(0, codes);
    for (int64_t i = 0; i < c->weight_count; i++)
        c->weights[i] = (int8_t)draw(-most, most);
    for (int64_t i = 0; i < c->dst_count; i++)
        c->dz[i] = to_bf16((double)draw(-100000, 100000) / 70001.0);
    c->zero_point = (int32_t)(draw(0, 1) == 0 ? 0 : draw(0, codes));
}

static void make(struct conv_case *c)
{
    cr_assert_eq(bg_train_conv_create(&c->conv, &c->shape, true), BG_OK, "%s: %s", conv_text(c),
                 bg_error());
    bg_train_conv_pack(c->conv, c->weights);
}

static void end(struct conv_case *c)
{
    bg_train_conv_destroy(c->conv);
    free(c->weights);
}

static void poison(void *memory, int64_t bytes)
{
    memset((uint8_t *)memory - FENCE, 0xff, (size_t)(bytes + FENCE)); /* NaN in both formats */
}

static void expect_fence(const struct conv_case *c, const void *memory)
{
    for (int i = 1; i <= FENCE; i++)
        cr_assert_eq(((const uint8_t *)memory)[-i], 0xff, "%s: wrote in front", conv_text(c));
}

static void check_forward(struct conv_case *c)
{
    int32_t *sums = malloc((size_t)c->dst_count * sizeof *sums);

    cr_assert(sums != NULL);
    poison(c->z, c->dst_count * 2);
    cr_assert_eq(bg_train_conv_forward(c->conv, c->src, c->zero_point, c->z), BG_OK, "%s",
                 bg_error());
    expect_fence(c, c->z);
    bg_ref_int_conv(&c->shape, c->src, c->zero_point, c->weights, sums);
    for (int64_t i = 0; i < c->dst_count; i++) {
        /* Through f32, which changes sums beyond 2^24 alone. */
        uint16_t once = to_bf16((double)sums[i]), twice = to_bf16((double)(float)sums[i]);
        cr_assert(c->z[i] == once || c->z[i] == twice, "%s: sum %lld is %.9g, exactly %d",
                  conv_text(c), (long long)i, (double)from_bf16(c->z[i]), sums[i]);
    }
    free(sums);
}

/* One product of the convolution: elements of src, weights and dst. */
typedef void visitor(const struct conv_case *c, const int64_t at[3], double *value, double *size);

static void visit_products(const struct conv_case *c, visitor *visit, double *value, double *size)
{
    const struct bg_conv_shape *s = &c->shape;
    int64_t in = s->in_channels / s->groups, out = s->out_channels / s->groups;

    for (int64_t d = 0; d < c->dst_count; d++) {
        int64_t o = d % s->out_channels, pixel = d / s->out_channels;
        int64_t x = pixel % s->out_width, y = pixel / s->out_width % s->out_height;
        int64_t n = pixel / s->out_width / s->out_height;
        for (int64_t t = 0; t < s->kernel_height * s->kernel_width; t++) {
            int64_t sy = y * s->stride[0] - s->padding[0] + t / s->kernel_width * s->dilation[0];
            int64_t sx = x * s->stride[1] - s->padding[1] + t % s->kernel_width * s->dilation[1];
            if (sy < 0 || sy >= s->in_height || sx < 0 || sx >= s->in_width)
                continue;
            for (int64_t i = 0; i < in; i++)
                visit(c,
                      (const int64_t[]){((n * s->in_height + sy) * s->in_width + sx) *
                                                s->in_channels +
                                            o / out * in + i,
                                        (o * s->kernel_height * s->kernel_width + t) * in + i, d},
                      value, size);
        }
    }
}

static void add_to_dx(const struct conv_case *c, const int64_t at[3], double *value, double *size)
{
    double product = c->weights[at[1]] * (double)from_bf16(c->dz[at[2]]);

    value[at[0]] += product;
    size[at[0]] += fabs(product);
}

static void add_to_dw(const struct conv_case *c, const int64_t at[3], double *value, double *size)
{
    double product = (c->src[at[0]] - c->zero_point) * (double)from_bf16(c->dz[at[2]]);

    value[at[1]] += product;
    size[at[1]] += fabs(product);
}

static double *zeros(int64_t count)
{
    double *memory = calloc((size_t)count, sizeof *memory);

    cr_assert(memory != NULL);
    return memory;
}

/* f32 sums of n products in any order, products rounded or not, are off by at most (n + 1) * UNIT
 * of the sum of magnitudes, to first order (Higham, Accuracy and Stability, 3.1; 1 % covers the
 * rest); then dx is rounded to bf16, once. */
static void check_dx(struct conv_case *c, bool add)
{
    const struct bg_conv_shape *s = &c->shape;
    double *value = zeros(c->src_count), *size = zeros(c->src_count);
    double terms = (double)(s->kernel_height * s->kernel_width * s->out_channels / s->groups) + 2;
    uint16_t *before = malloc((size_t)c->src_count * 2);

    cr_assert(before != NULL);
    poison(c->dx, c->src_count * 2);
    for (int64_t i = 0; i < c->src_count; i++) {
        before[i] = add ? to_bf16((double)draw(-100, 100) / 3) : 0xffff;
        c->dx[i] = before[i];
    }
    visit_products(c, add_to_dx, value, size);
    cr_assert_eq(bg_train_conv_backward_data(c->conv, c->dz, c->dx, add), BG_OK, "%s", bg_error());
    expect_fence(c, c->dx);
    for (int64_t i = 0; i < c->src_count; i++) {
        double old = add ? (double)from_bf16(before[i]) : 0, want = value[i] + old;
        double limit = 1.01 * terms * UNIT * (size[i] + fabs(old));
        limit += UNIT_BF16 * (fabs(want) + limit);
        double off = fabs((double)from_bf16(c->dx[i]) - want);
        cr_assert(off <= limit, "%s: dx %lld is %.9g, exactly %.9g, limit %.3g", conv_text(c),
                  (long long)i, (double)from_bf16(c->dx[i]), want, limit);
    }
    free(before);
    free(size);
    free(value);
}

static void check_dw(struct conv_case *c)
{
    const struct bg_conv_shape *s = &c->shape;
    double *value = zeros(c->weight_count), *size = zeros(c->weight_count);
    double terms = (double)(s->batch * s->out_height * s->out_width) + 2;

    poison(c->dw, c->weight_count * 4);
    visit_products(c, add_to_dw, value, size);
    cr_assert_eq(bg_train_conv_backward_weights(c->conv, c->src, c->zero_point, c->dz, c->dw),
                 BG_OK, "%s", bg_error());
    expect_fence(c, c->dw);
    for (int64_t i = 0; i < c->weight_count; i++) {
        double off = fabs((double)c->dw[i] - value[i]);
        double limit = 1.01 * terms * UNIT * size[i];
        cr_assert(off <= limit, "%s: dw %lld is %.9g, exactly %.9g, limit %.3g", conv_text(c),
                  (long long)i, (double)c->dw[i], value[i], limit);
    }
    free(size);
    free(value);
}

Test(train_conv, all_passes_of_random_shapes_are_right, .timeout = 300)
{
    for (int i = 0; i < CASES; i++) {
        struct conv_case c = {0};
        bg_threads_set(i % 3 + 1);
        draw_shape(&c.shape);
        place(&c);
        draw_data(&c);
        make(&c);
        check_forward(&c);
        check_dx(&c, false);
        check_dx(&c, true);
        check_dw(&c);
        end(&c);
    }
}

/* Square sides; the whole image as kernel where height is 0. */
struct numbers {
    int64_t batch, side, in, out, kernel, stride, padding, groups;
};

static void make_shape(struct conv_case *c, const struct numbers *n)
{
    *c = (struct conv_case){.shape = {.batch = n->batch,
                                      .in_height = n->side,
                                      .in_width = n->side,
                                      .in_channels = n->in,
                                      .out_channels = n->out,
                                      .kernel_height = n->kernel,
                                      .kernel_width = n->kernel,
                                      .stride = {n->stride, n->stride},
                                      .padding = {n->padding, n->padding},
                                      .dilation = {1, 1},
                                      .groups = n->groups}};
    cr_assert_eq(bg_conv_shape_infer(&c->shape), BG_OK, "%s", bg_error());
    place(c);
    draw_data(c);
}

/* Sizes that cut images into bands, share weight gradients, keep several units for one run over the
 * weights, and layers as our networks have them. */
static const struct numbers special[] = {
    {1, 60, 16, 16, 3, 1, 1, 1},   {1, 41, 32, 48, 3, 2, 1, 1},    {1, 150, 1, 6, 5, 1, 2, 1},
    {1, 150, 3, 16, 3, 1, 1, 1},   {3, 2, 512, 512, 3, 1, 1, 1},   {2, 4, 256, 200, 3, 1, 1, 1},
    {9, 4, 80, 96, 3, 2, 1, 1},    {128, 1, 784, 100, 1, 1, 0, 1}, {128, 1, 64, 10, 1, 1, 0, 1},
    {3, 1, 1000, 300, 1, 1, 0, 1}, {6, 5, 16, 120, 5, 1, 0, 1},    {2, 14, 32, 64, 1, 2, 0, 1},
    {2, 28, 16, 16, 3, 1, 1, 1},   {2, 14, 32, 32, 3, 1, 1, 1},    {4, 7, 64, 64, 3, 1, 1, 1},
    {1, 30, 70, 70, 3, 1, 1, 70},  {2, 9, 130, 130, 5, 2, 2, 130}, {2, 12, 7, 9, 7, 3, 5, 1}};

Test(train_conv, all_passes_of_special_shapes_are_right, .timeout = 300)
{
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        struct conv_case c;
        bg_threads_set((int)(i % 3) + 1);
        make_shape(&c, &special[i]);
        make(&c);
        check_forward(&c);
        check_dx(&c, false);
        check_dx(&c, true);
        check_dw(&c);
        end(&c);
    }
}

/* 8-bit extremes: 9 * 576 * 255 * 127 is beyond 2^24, so f32 rounds on the way to bf16. */
Test(train_conv, forward_sums_are_exact_whatever_their_size)
{
    struct conv_case c;
    int64_t large = 0;

    make_shape(&c, &(struct numbers){2, 5, 576, 20, 3, 1, 1, 1});
    for (int64_t i = 0; i < c.src_count; i++)
        c.src[i] = draw(0, 9) == 0 ? 0 : 255;
    for (int64_t i = 0; i < c.weight_count; i++)
        c.weights[i] = draw(0, 9) == 0 ? -127 : 127;
    make(&c);
    for (c.zero_point = 0; c.zero_point <= 255; c.zero_point += 85) {
        check_forward(&c);
        for (int64_t i = 0; i < c.dst_count; i++)
            large += fabsf(from_bf16(c.z[i])) > 0x1p24f;
    }
    cr_assert_gt(large, c.dst_count / 2);
    end(&c);
}

/* An input at the zero point and padding add nothing; a single product shows where it goes. */
Test(train_conv, the_zero_point_is_nothing_and_padding_is_too)
{
    struct conv_case c;

    make_shape(&c, &(struct numbers){1, 4, 3, 2, 3, 1, 1, 1});
    memset(c.src, 77, (size_t)c.src_count);
    make(&c);
    cr_assert_eq(bg_train_conv_forward(c.conv, c.src, 77, c.z), BG_OK);
    cr_assert_eq(bg_train_conv_backward_weights(c.conv, c.src, 77, c.dz, c.dw), BG_OK);
    for (int64_t i = 0; i < c.dst_count; i++)
        cr_assert_eq(c.z[i], 0);
    for (int64_t i = 0; i < c.weight_count; i++)
        cr_assert(c.dw[i] == 0);
    c.src[0] = 80; /* channel 0 of the first pixel */
    cr_assert_eq(bg_train_conv_forward(c.conv, c.src, 77, c.z), BG_OK);
    for (int64_t o = 0; o < 2; o++) /* output (0, 0) reads it with the middle tap */
        cr_assert_eq(c.z[o], to_bf16(3.0 * c.weights[o * 27 + 4 * 3]));
    end(&c);
}

Test(train_conv, scattering_through_the_tables_is_packing)
{
    for (int i = 0; i < 60; i++) {
        struct conv_case c = {0};
        draw_shape(&c.shape);
        place(&c);
        draw_data(&c);
        make(&c);
        check_dx(&c, false);
        struct bg_train_packed packed = bg_train_conv_packed(c.conv);
        cr_assert_eq(packed.count, c.weight_count);
        for (int64_t w = 0; w < packed.count; w++) {
            int8_t code = (int8_t)draw(-127, 127);
            cr_assert_eq(packed.forward[packed.forward_at[w]], c.weights[w]);
            c.weights[w] = code;
            packed.forward[packed.forward_at[w]] = code;
            packed.backward[packed.backward_at[w]] = to_bf16(code);
        }
        check_forward(&c);
        check_dx(&c, false);
        end(&c);
    }
}

Test(train_conv, parts_of_the_weights_are_packed_as_all_of_them)
{
    for (int i = 0; i < 60; i++) {
        struct conv_case c = {0};
        draw_shape(&c.shape);
        place(&c);
        draw_data(&c);
        make(&c);
        const struct bg_train_packed packed = bg_train_conv_packed(c.conv);
        const int64_t outputs = c.shape.out_channels, each = c.weight_count / outputs;
        for (int64_t w = 0; w < c.weight_count; w++)
            c.weights[w] = (int8_t)draw(-127, 127);
        for (int64_t o = (outputs - 1) / BG_TRAIN_ROWS * BG_TRAIN_ROWS; o >= 0; o -= BG_TRAIN_ROWS)
            bg_train_conv_pack_rows(c.conv, o,
                                    o + BG_TRAIN_ROWS < outputs ? o + BG_TRAIN_ROWS : outputs,
                                    c.weights + o * each);
        for (int64_t w = 0; w < c.weight_count; w++) {
            cr_assert_eq(packed.forward[packed.forward_at[w]], c.weights[w], "%s", conv_text(&c));
            cr_assert_eq(packed.backward[packed.backward_at[w]], to_bf16(c.weights[w]));
        }
        check_forward(&c);
        check_dx(&c, false);
        end(&c);
    }
}

static void check_finished(struct conv_case *c)
{
    const int64_t outputs = c->shape.out_channels, each = c->weight_count / outputs;
    float *w = malloc((size_t)c->weight_count * sizeof *w);
    float *dw = malloc((size_t)c->weight_count * sizeof *dw);
    float factor[64], low[64], high[64];
    bool finite = false;

    cr_assert(w != NULL && dw != NULL && outputs <= 64);
    for (int64_t i = 0; i < c->weight_count; i++)
        w[i] = i % 97 == 5 ? NAN : (float)draw(-4, 4) * 0.25f;
    for (int64_t o = 0; o < outputs; o++) {
        factor[o] = (float)draw(-1000, 1000) / 313.0f;
        low[o] = -0.25f * (float)draw(0, 4);
        high[o] = 0.25f * (float)draw(0, 4);
    }
    cr_assert_eq(bg_train_conv_backward_weights(c->conv, c->src, c->zero_point, c->dz, c->dw),
                 BG_OK);
    for (int masked = 0; masked < 2; masked++) {
        const struct bg_train_gradient to = {dw, factor, masked ? w : NULL, low, high};
        cr_assert_eq(
            bg_train_conv_weight_gradient(c->conv, c->src, c->zero_point, c->dz, &to, &finite),
            BG_OK);
        cr_assert(finite);
        for (int64_t i = 0; i < c->weight_count; i++) {
            float wanted = c->dw[i] * factor[i / each];
            if (masked && !(w[i] >= low[i / each] && w[i] <= high[i / each]))
                wanted = 0.0f;
            cr_assert(memcmp(&dw[i], &wanted, sizeof wanted) == 0, "%s", conv_text(c));
        }
    }
    free(dw);
    free(w);
}

Test(train_conv, weight_gradients_are_scaled_and_masked_as_they_are_written)
{
    for (int i = 0; i < 200; i++) {
        struct conv_case c = {0};
        bool finite = true;
        draw_shape(&c.shape);
        place(&c);
        draw_data(&c);
        make(&c);
        check_finished(&c);
        memset(c.dz, 0xff, (size_t)c.dst_count * sizeof *c.dz); /* NaN */
        cr_assert_eq(bg_train_conv_weight_gradient(c.conv, c.src, c.zero_point, c.dz,
                                                   &(struct bg_train_gradient){.dw = c.dw},
                                                   &finite),
                     BG_OK);
        cr_assert_not(finite, "%s", conv_text(&c));
        end(&c);
    }
}

/* Forward and backward data are one sum in one order for each value, weight gradients are the same
 * whenever the number of threads is. */
Test(train_conv, results_depend_on_threads_only_where_the_header_says_so)
{
    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++) {
        struct conv_case c;
        uint64_t state_before = state;
        uint16_t *z = NULL, *dx = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            state = state_before;
            bg_threads_set(threads);
            make_shape(&c, &special[i]);
            make(&c);
            float *dw = malloc((size_t)c.weight_count * sizeof *dw);
            cr_assert(dw != NULL);
            check_forward(&c);
            cr_assert_eq(bg_train_conv_backward_data(c.conv, c.dz, c.dx, false), BG_OK);
            for (int run = 0; run < 2; run++) {
                cr_assert_eq(bg_train_conv_backward_weights(c.conv, c.src, c.zero_point, c.dz,
                                                            run == 0 ? dw : c.dw),
                             BG_OK);
                bg_threads_set(threads + 1); /* that of creation counts */
            }
            cr_assert_eq(memcmp(dw, c.dw, (size_t)c.weight_count * sizeof *dw), 0);
            free(dw);
            if (z == NULL) {
                z = malloc((size_t)c.dst_count * 2);
                dx = malloc((size_t)c.src_count * 2);
                cr_assert(z != NULL && dx != NULL);
                memcpy(z, c.z, (size_t)c.dst_count * 2);
                memcpy(dx, c.dx, (size_t)c.src_count * 2);
            }
            cr_assert_eq(memcmp(z, c.z, (size_t)c.dst_count * 2), 0, "%s", conv_text(&c));
            cr_assert_eq(memcmp(dx, c.dx, (size_t)c.src_count * 2), 0, "%s", conv_text(&c));
            end(&c);
        }
        free(dx);
        free(z);
    }
}

Test(train_conv, running_allocates_nothing_and_creation_survives_failing_memory)
{
    static const struct numbers shapes[] = {
        {2, 9, 16, 16, 3, 1, 1, 1}, {2, 9, 3, 20, 3, 2, 1, 1}, {2, 9, 20, 20, 3, 1, 1, 20}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct conv_case c;
        enum bg_status status = BG_E_NOMEM;
        make_shape(&c, &shapes[i]);
        for (uint64_t n = 1; status == BG_E_NOMEM; n++) {
            bg_alloc_fail_at(n);
            status = bg_train_conv_create(&c.conv, &c.shape, true);
            bg_alloc_fail_at(0);
            cr_assert(status == BG_OK || c.conv == NULL);
        }
        cr_assert_eq(status, BG_OK, "%s", bg_error());
        uint64_t calls = bg_alloc_calls();
        bg_train_conv_pack(c.conv, c.weights);
        cr_assert_eq(bg_train_conv_forward(c.conv, c.src, 0, c.z), BG_OK);
        cr_assert_eq(bg_train_conv_forward(c.conv, c.src, 3, c.z), BG_OK);
        cr_assert_eq(bg_train_conv_backward_data(c.conv, c.dz, c.dx, false), BG_OK);
        cr_assert_eq(bg_train_conv_backward_data(c.conv, c.dz, c.dx, true), BG_OK);
        cr_assert_eq(bg_train_conv_backward_weights(c.conv, c.src, 3, c.dz, c.dw), BG_OK);
        cr_assert_eq(bg_alloc_calls(), calls);
        end(&c);
    }
}

Test(train_conv, what_cannot_be_is_refused_with_a_sentence)
{
    struct conv_case c;
    const char *names[3];

    make_shape(&c, &(struct numbers){1, 4, 8, 8, 3, 1, 1, 1});
    c.shape.groups = 2;
    cr_assert_eq(bg_train_conv_create(&c.conv, &c.shape, true), BG_E_UNSUPPORTED);
    cr_assert_neq(strstr(bg_error(), "2 groups"), NULL, "%s", bg_error());
    cr_assert_eq(c.conv, NULL);
    c.shape.groups = 1;
    c.shape.kernel_height = 9;
    cr_assert_eq(bg_train_conv_create(&c.conv, &c.shape, true), BG_E_SHAPE);
    c.shape.kernel_height = 3;
    cr_assert_eq(bg_train_conv_create(&c.conv, &c.shape, false), BG_OK, "%s", bg_error());
    cr_assert_eq(bg_train_conv_backward_data(c.conv, c.dz, c.dx, false), BG_E_USAGE);
    cr_assert_eq(bg_train_conv_forward(c.conv, c.src, 256, c.z), BG_E_RANGE);
    cr_assert_eq(bg_train_conv_backward_weights(c.conv, c.src, -1, c.dz, c.dw), BG_E_RANGE);
    bg_train_conv_implementations(c.conv, &names[0], &names[1], &names[2]);
    cr_assert_str_eq(names[0], "own:amx");
    cr_assert_str_eq(names[1], "");
    cr_assert_str_eq(names[2], "own:amx");
    cr_assert_eq(bg_train_conv_packed(c.conv).backward, NULL);
    end(&c);
    bg_train_conv_destroy(NULL);
}
