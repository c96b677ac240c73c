/* The oneDNN wall against the naive references: small-integer data, where f32 is exact in any
 * order, so equality is demanded; real data within the bound of a sum in any order; refusals,
 * threads, allocation and implementation names. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dnn.h"
#include "core/ref.h"

/* Rounding of one f32 operation. */
#define UNIT 0x1p-24

static uint64_t state = 88172645463325252u;

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

static float *room(int64_t count)
{
    float *memory = malloc((size_t)count * sizeof *memory);

    cr_assert(memory != NULL);
    for (int64_t i = 0; i < count; i++)
        memory[i] = NAN; /* a place that is never written shows */
    return memory;
}

static float *integers(int64_t count, int64_t bound)
{
    float *memory = room(count);

    for (int64_t i = 0; i < count; i++)
        memory[i] = (float)draw(-bound, bound);
    return memory;
}

static float *reals(int64_t count)
{
    float *memory = room(count);

    for (int64_t i = 0; i < count; i++)
        memory[i] = (float)draw(-1000000, 1000000) / 700001.0f;
    return memory;
}

static float *magnitudes(const float *from, int64_t count)
{
    float *memory = room(count);

    for (int64_t i = 0; i < count; i++)
        memory[i] = fabsf(from[i]);
    return memory;
}

static const char *conv_text(const struct bg_conv_shape *s)
{
    static char text[256];

    snprintf(text, sizeof text,
             "n%lld %lldx%lldx%lld -> %lldx%lldx%lld kernel %lldx%lld stride %lldx%lld padding "
             "%lldx%lld dilation %lldx%lld groups %lld",
             (long long)s->batch, (long long)s->in_height, (long long)s->in_width,
             (long long)s->in_channels, (long long)s->out_height, (long long)s->out_width,
             (long long)s->out_channels, (long long)s->kernel_height, (long long)s->kernel_width,
             (long long)s->stride[0], (long long)s->stride[1], (long long)s->padding[0],
             (long long)s->padding[1], (long long)s->dilation[0], (long long)s->dilation[1],
             (long long)s->groups);
    return text;
}

/* Sizes of one convolution's tensors. */
struct conv_sizes {
    int64_t src, dst, weights, outputs;
};

static struct conv_sizes conv_sizes(const struct bg_conv_shape *s)
{
    return (struct conv_sizes){.src = s->batch * s->in_height * s->in_width * s->in_channels,
                               .dst = s->batch * s->out_height * s->out_width * s->out_channels,
                               .weights = s->out_channels * s->kernel_height * s->kernel_width *
                                          (s->in_channels / s->groups),
                               .outputs = s->out_channels};
}

/* A convolution's tensors: x, w, b, dy given; y, dx, dw, db results. */
struct conv_case {
    struct bg_conv_shape shape;
    struct conv_sizes size;
    float *x, *w, *b, *dy, *y, *dx, *dw, *db;
};

static void case_results(struct conv_case *c)
{
    c->y = room(c->size.dst);
    c->dx = room(c->size.src);
    c->dw = room(c->size.weights);
    c->db = room(c->size.outputs);
}

static void free_results(struct conv_case *c)
{
    free(c->y);
    free(c->dx);
    free(c->dw);
    free(c->db);
}

static void free_inputs(struct conv_case *c)
{
    free(c->x);
    free(c->w);
    free(c->b);
    free(c->dy);
}

static void run_reference(struct conv_case *c, bool bias)
{
    bg_ref_conv_forward(&c->shape, c->x, c->w, bias ? c->b : NULL, c->y);
    bg_ref_conv_backward_data(&c->shape, c->dy, c->w, c->dx);
    bg_ref_conv_backward_weights(&c->shape, c->x, c->dy, c->dw, bias ? c->db : NULL);
}

/* Counts implementations that are reference ones. */
static int run_dnn(struct conv_case *c, bool bias)
{
    struct bg_dnn_conv *conv = NULL;
    const char *names[3];
    int slow = 0;

    cr_assert(bg_dnn_conv_create(&conv, &c->shape, bias, true, true) == BG_OK, "%s: %s",
              conv_text(&c->shape), bg_error());
    cr_assert(bg_dnn_conv_pack(conv, c->w) == BG_OK);
    cr_assert(bg_dnn_conv_forward(conv, c->x, bias ? c->b : NULL, c->y) == BG_OK);
    cr_assert(bg_dnn_conv_backward_data(conv, c->dy, c->dx) == BG_OK);
    cr_assert(bg_dnn_conv_backward_weights(conv, c->x, c->dy, c->dw, bias ? c->db : NULL) == BG_OK);
    bg_dnn_conv_implementations(conv, &names[0], &names[1], &names[2]);
    for (int i = 0; i < 3; i++) {
        cr_expect(names[i][0] != '\0');
        if (strncmp(names[i], "ref", 3) == 0) {
            slow++;
            printf("%s: %s\n", conv_text(&c->shape), names[i]);
        }
    }
    bg_dnn_conv_destroy(conv);
    return slow;
}

static void expect_equal(const char *what, const struct bg_conv_shape *s, const float *got,
                         const float *want, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (got[i] != want[i]) {
            cr_expect(false, "%s of %s: element %lld is %.9g, reference %.9g", what, conv_text(s),
                      (long long)i, (double)got[i], (double)want[i]);
            return;
        }
}

static int64_t count_zeros(const float *x, int64_t count)
{
    int64_t zeros = 0;

    for (int64_t i = 0; i < count; i++)
        zeros += x[i] == 0.0f;
    return zeros;
}

/* Draws until the shape is allowed and its reference takes no long time. */
static void draw_shape(struct bg_conv_shape *s, int64_t macs_limit)
{
    static const int64_t channels[] = {1, 1, 2, 3, 5, 7, 8, 11, 13, 16, 17, 24, 31, 32, 33, 48, 64};
    static const int64_t sides[] = {1, 2, 3, 5, 6, 7, 8, 11, 13, 14, 17, 28};

    for (;;) {
        *s = (struct bg_conv_shape){.batch = draw(1, 5),
                                    .in_height = pick(sides, 12),
                                    .in_width = pick(sides, 12),
                                    .in_channels = pick(channels, 17),
                                    .out_channels = pick(channels, 17),
                                    .kernel_height = draw(1, 5),
                                    .kernel_width = draw(1, 5),
                                    .stride = {draw(1, 3), draw(1, 3)},
                                    .padding = {draw(0, 3), draw(0, 3)},
                                    .dilation = {draw(1, 5) / 3 + 1, draw(1, 5) / 3 + 1},
                                    .groups = 1};
        int64_t kind = draw(0, 5);
        if (kind == 0) { /* depthwise, sometimes with two outputs for each channel */
            s->groups = s->in_channels;
            s->out_channels = s->in_channels * draw(1, 2);
        } else if (kind == 1) {
            s->groups = draw(2, 4);
            s->in_channels *= s->groups;
            s->out_channels *= s->groups;
        } else if (kind == 2) { /* as in usual networks */
            s->kernel_width = s->kernel_height;
            s->stride[1] = s->stride[0];
            s->dilation[0] = s->dilation[1] = 1;
            s->padding[0] = s->padding[1] = s->kernel_height / 2;
        }
        if (bg_conv_shape_infer(s) == BG_OK &&
            conv_sizes(s).dst * (conv_sizes(s).weights / s->out_channels) <= macs_limit)
            return;
    }
}

Test(dnn_conv, equals_the_reference_on_integers_for_random_shapes)
{
    int64_t zeros = 0, outputs = 0;

    for (int i = 0; i < 400; i++) {
        struct conv_case fast = {0}, slow;
        bool bias = i % 2 == 0;
        draw_shape(&fast.shape, 300000);
        fast.size = conv_sizes(&fast.shape);
        /* Products are at most 16 and sums have below 2^20 terms: every partial sum in any order is
         * an integer below 2^24, exact in f32. */
        cr_assert(fast.size.weights / fast.size.outputs < 1 << 20);
        cr_assert(fast.size.dst < 1 << 20);
        fast.x = integers(fast.size.src, 4);
        fast.w = integers(fast.size.weights, 4);
        fast.b = integers(fast.size.outputs, 4);
        fast.dy = integers(fast.size.dst, 4);
        slow = fast;
        case_results(&fast);
        case_results(&slow);
        run_dnn(&fast, bias);
        run_reference(&slow, bias);
        expect_equal("output", &fast.shape, fast.y, slow.y, fast.size.dst);
        expect_equal("input gradient", &fast.shape, fast.dx, slow.dx, fast.size.src);
        expect_equal("weight gradient", &fast.shape, fast.dw, slow.dw, fast.size.weights);
        if (bias)
            expect_equal("bias gradient", &fast.shape, fast.db, slow.db, fast.size.outputs);
        zeros += count_zeros(slow.y, slow.size.dst);
        outputs += slow.size.dst;
        free_results(&fast);
        free_results(&slow);
        free_inputs(&fast);
    }
    cr_expect(zeros * 4 < outputs, "mistrusted: %lld of %lld outputs are zero", (long long)zeros,
              (long long)outputs);
}

/* Any order of adding `terms` products, with or without fused multiply-add, is off by at most terms
 * * UNIT / (1 - terms * UNIT) times the sum of magnitudes (Higham, Accuracy and Stability, 3.1);
 * one more UNIT for the reference's own rounding and one for the bias. */
static void expect_near(const char *what, const struct conv_case *at, const float *const values[3],
                        int64_t count, int64_t terms)
{
    double unit = (double)(terms + 2) * UNIT;

    for (int64_t i = 0; i < count; i++) {
        double limit = unit / (1 - unit) * (double)values[2][i];
        double off = fabs((double)values[0][i] - (double)values[1][i]);
        if (!(off <= limit)) {
            cr_expect(false, "%s of %s: element %lld is %.9g, reference %.9g, limit %.3g", what,
                      conv_text(&at->shape), (long long)i, (double)values[0][i],
                      (double)values[1][i], limit);
            return;
        }
    }
}

Test(dnn_conv, stays_within_the_summation_bound_on_reals)
{
    for (int i = 0; i < 80; i++) {
        struct conv_case fast = {0}, slow, sums;
        draw_shape(&fast.shape, 300000);
        fast.size = conv_sizes(&fast.shape);
        const struct conv_sizes *n = &fast.size;
        fast.x = reals(n->src);
        fast.w = reals(n->weights);
        fast.b = reals(n->outputs);
        fast.dy = reals(n->dst);
        slow = sums = fast;
        sums.x = magnitudes(fast.x, n->src);
        sums.w = magnitudes(fast.w, n->weights);
        sums.b = magnitudes(fast.b, n->outputs);
        sums.dy = magnitudes(fast.dy, n->dst);
        case_results(&fast);
        case_results(&slow);
        case_results(&sums);
        run_dnn(&fast, true);
        run_reference(&slow, true);
        run_reference(&sums, true);
        int64_t pixels = n->dst / n->outputs;
        expect_near("output", &fast, (const float *const[]){fast.y, slow.y, sums.y}, n->dst,
                    n->weights / n->outputs + 1);
        expect_near("input gradient", &fast, (const float *const[]){fast.dx, slow.dx, sums.dx},
                    n->src, n->weights);
        expect_near("weight gradient", &fast, (const float *const[]){fast.dw, slow.dw, sums.dw},
                    n->weights, pixels);
        expect_near("bias gradient", &fast, (const float *const[]){fast.db, slow.db, sums.db},
                    n->outputs, pixels);
        free_results(&fast);
        free_results(&slow);
        free_results(&sums);
        free_inputs(&fast);
        free_inputs(&sums);
    }
}

Test(dnn_conv, runs_no_reference_implementation_on_the_shapes_of_our_networks)
{
    /* height = width, in, out, kernel, stride, padding */
    static const int64_t shapes[][6] = {
        {28, 1, 16, 3, 1, 1},   {28, 16, 16, 3, 1, 1}, {28, 16, 32, 3, 2, 1},
        {14, 32, 32, 3, 1, 1},  {14, 32, 64, 3, 2, 1}, {7, 64, 64, 3, 1, 1},
        {28, 16, 32, 1, 2, 0},  {14, 32, 64, 1, 2, 0}, {28, 1, 6, 5, 1, 2},
        {14, 6, 16, 5, 1, 0},   {28, 1, 6, 5, 1, 0},   {1, 400, 120, 1, 1, 0},
        {1, 120, 84, 1, 1, 0},  {1, 84, 10, 1, 1, 0},  {1, 784, 512, 1, 1, 0},
        {1, 512, 512, 1, 1, 0}, {1, 512, 10, 1, 1, 0}, {1, 64, 10, 1, 1, 0},
        {32, 3, 16, 3, 1, 1},   {28, 1, 10, 28, 1, 0}, {5, 16, 120, 5, 1, 0}};
    static const int64_t batches[] = {128, 37, 1};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int k = 0; k < 6; k++) {
            const int64_t *v = shapes[i];
            struct bg_conv_shape s = {.batch = batches[k % 3],
                                      .in_height = v[0],
                                      .in_width = v[0],
                                      .in_channels = v[1],
                                      .out_channels = v[2],
                                      .kernel_height = v[3],
                                      .kernel_width = v[3],
                                      .stride = {v[4], v[4]},
                                      .padding = {v[5], v[5]},
                                      .dilation = {1, 1},
                                      .groups = 1};
            struct bg_dnn_conv *conv = NULL;
            const char *names[3];
            cr_assert(bg_conv_shape_infer(&s) == BG_OK);
            cr_assert(bg_dnn_conv_create(&conv, &s, k < 3, true, true) == BG_OK, "%s", bg_error());
            bg_dnn_conv_implementations(conv, &names[0], &names[1], &names[2]);
            for (int part = 0; part < 3; part++)
                cr_expect(names[part][0] != '\0' && strstr(names[part], "ref") == NULL,
                          "%s, part %d: %s", conv_text(&s), part, names[part]);
            bg_dnn_conv_destroy(conv);
        }
}

static struct bg_conv_shape small_shape(void)
{
    return (struct bg_conv_shape){.batch = 2,
                                  .in_height = 9,
                                  .in_width = 7,
                                  .in_channels = 16,
                                  .out_channels = 32,
                                  .kernel_height = 3,
                                  .kernel_width = 3,
                                  .stride = {1, 1},
                                  .padding = {1, 1},
                                  .dilation = {1, 1},
                                  .groups = 1};
}

Test(dnn_conv, refuses_bad_shapes_with_numbers)
{
    static const struct {
        int field; /* 0 side, 1 padding, 2 groups, 3 stride, 4 batch, 5 kernel, 6 dilation */
        int64_t value;
        const char *sentence;
    } cases[] = {{0, 2, "kernel 7x7 does not fit input 2x2 with padding 1"},
                 {1, 8, "padding 8 is larger than the kernel, which spans 7"},
                 {2, 3, "16 input and 32 output channels do not divide into 3 groups"},
                 {3, 0, "vertical stride is 0, must be 1 to 16777216"},
                 {4, 0, "batch is 0, must be 1 to 16777216"},
                 {4, 1 << 24, "input 16777216x9x9x16 has more than 2147483647 elements"},
                 {5, -1, "kernel height is -1, must be 1 to 16777216"},
                 {6, 2, "kernel 7x7 with dilation 2 does not fit input 9x9 with padding 1"},
                 {6, INT64_MAX, "vertical dilation is 9223372036854775807, must be 1 to 16777216"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_conv_shape s = small_shape();
        struct bg_dnn_conv *conv = NULL;
        int64_t v = cases[i].value;
        int field = cases[i].field;
        s.in_height = s.in_width = field == 0 ? v : 9;
        s.kernel_height = s.kernel_width = field == 5 ? v : 7;
        s.padding[0] = s.padding[1] = field == 1 ? v : 1;
        s.groups = field == 2 ? v : 1;
        s.stride[0] = s.stride[1] = field == 3 ? v : 1;
        s.batch = field == 4 ? v : 2;
        s.dilation[0] = s.dilation[1] = field == 6 ? v : 1;
        cr_expect(bg_conv_shape_infer(&s) == BG_E_SHAPE, "case %zu", i);
        cr_expect(eq(str, (char *)(uintptr_t)bg_error(), (char *)(uintptr_t)cases[i].sentence));
        cr_expect(s.out_height == 0 || field == 4);
        cr_expect(bg_dnn_conv_create(&conv, &s, true, true, true) == BG_E_SHAPE);
        cr_expect(conv == NULL);
    }
}

Test(dnn_conv, passes_that_were_not_made_are_refused_and_have_no_name)
{
    struct bg_conv_shape s = small_shape();
    struct bg_dnn_conv *conv = NULL;
    const char *forward, *data, *weights;
    float nothing = 0;

    cr_assert(bg_dnn_conv_create(&conv, &s, false, true, false) == BG_OK);
    bg_dnn_conv_implementations(conv, &forward, &data, &weights);
    cr_expect(forward[0] != '\0' && data[0] == '\0' && weights[0] != '\0');
    cr_expect(bg_dnn_conv_backward_data(conv, &nothing, &nothing) == BG_E_USAGE);
    bg_dnn_conv_destroy(conv);
    cr_assert(bg_dnn_conv_create(&conv, &s, true, true, false) == BG_OK);
    cr_expect(bg_dnn_conv_forward(conv, &nothing, NULL, &nothing) == BG_E_USAGE);
    cr_expect(bg_dnn_conv_backward_weights(conv, &nothing, &nothing, &nothing, NULL) == BG_E_USAGE);
    bg_dnn_conv_destroy(conv);
    cr_assert(bg_dnn_conv_create(&conv, &s, false, false, true) == BG_OK);
    bg_dnn_conv_implementations(conv, &forward, &data, &weights);
    cr_expect(forward[0] != '\0' && data[0] == '\0' && weights[0] == '\0');
    cr_expect(bg_dnn_conv_backward_data(conv, &nothing, &nothing) == BG_E_USAGE);
    cr_expect(bg_dnn_conv_backward_weights(conv, &nothing, &nothing, &nothing, NULL) == BG_E_USAGE);
    bg_dnn_conv_destroy(conv);
}

/* oneDNN issue 6035: strided 1x1 backward weights over few N,H,W,C channels writes behind its
 * scratch. Sums there have many terms (small integers still exact), so damage shows. */
Test(dnn_conv, strided_1x1_over_few_channels_avoids_the_implementation_that_is_wrong)
{
    for (int64_t channels = 1; channels <= 24; channels++) {
        struct conv_case fast = {.shape = small_shape()}, slow;
        struct bg_dnn_conv *conv = NULL;
        const char *name;
        fast.shape.in_height = fast.shape.in_width = 12;
        fast.shape.in_channels = channels;
        fast.shape.kernel_height = fast.shape.kernel_width = 1;
        fast.shape.padding[0] = fast.shape.padding[1] = 0;
        fast.shape.stride[0] = fast.shape.stride[1] = 2;
        cr_assert(bg_conv_shape_infer(&fast.shape) == BG_OK);
        cr_assert(bg_dnn_conv_create(&conv, &fast.shape, false, true, false) == BG_OK);
        bg_dnn_conv_implementations(conv, NULL, NULL, &name);
        cr_expect(channels >= 16 || strncmp(name, "jit_1x1", 7) != 0, "%s", name);
        cr_expect(strncmp(name, "ref", 3) != 0);
        bg_dnn_conv_destroy(conv);
        fast.size = conv_sizes(&fast.shape);
        fast.x = integers(fast.size.src, 4);
        fast.w = integers(fast.size.weights, 4);
        fast.b = integers(fast.size.outputs, 4);
        fast.dy = integers(fast.size.dst, 4);
        slow = fast;
        case_results(&fast);
        case_results(&slow);
        run_dnn(&fast, true);
        run_reference(&slow, true);
        expect_equal("weight gradient", &fast.shape, fast.dw, slow.dw, fast.size.weights);
        free_results(&fast);
        free_results(&slow);
        free_inputs(&fast);
    }
}

/* One object through several weights, threads changed between making and running, and allocations
 * counted. */
Test(dnn_conv, one_object_serves_many_steps_under_any_thread_setting_without_allocating)
{
    struct conv_case fast = {.shape = small_shape()}, slow;
    struct bg_dnn_conv *conv = NULL;

    bg_threads_set(2);
    cr_assert(bg_conv_shape_infer(&fast.shape) == BG_OK);
    fast.size = conv_sizes(&fast.shape);
    cr_assert(bg_dnn_conv_create(&conv, &fast.shape, true, true, true) == BG_OK);
    for (int step = 0; step < 4; step++) {
        fast.x = integers(fast.size.src, 4);
        fast.w = integers(fast.size.weights, 4);
        fast.b = integers(fast.size.outputs, 4);
        fast.dy = integers(fast.size.dst, 4);
        slow = fast;
        case_results(&fast);
        case_results(&slow);
        run_reference(&slow, true);
        bg_threads_set(step + 1);
        uint64_t calls = bg_alloc_calls();
        cr_expect(bg_dnn_conv_pack(conv, fast.w) == BG_OK);
        cr_expect(bg_dnn_conv_forward(conv, fast.x, fast.b, fast.y) == BG_OK);
        cr_expect(bg_dnn_conv_backward_data(conv, fast.dy, fast.dx) == BG_OK);
        cr_expect(bg_dnn_conv_backward_weights(conv, fast.x, fast.dy, fast.dw, fast.db) == BG_OK);
        cr_expect(bg_alloc_calls() == calls);
        cr_expect(bg_threads() == step + 1);
        expect_equal("output", &fast.shape, fast.y, slow.y, fast.size.dst);
        expect_equal("input gradient", &fast.shape, fast.dx, slow.dx, fast.size.src);
        expect_equal("weight gradient", &fast.shape, fast.dw, slow.dw, fast.size.weights);
        expect_equal("bias gradient", &fast.shape, fast.db, slow.db, fast.size.outputs);
        free_results(&fast);
        free_results(&slow);
        free_inputs(&fast);
    }
    bg_dnn_conv_destroy(conv);
}

static void *run_in_thread(void *argument)
{
    struct conv_case *c = argument;

    bg_threads_set(1);
    for (int i = 0; i < 20; i++)
        run_dnn(c, true);
    return NULL;
}

Test(dnn_conv, two_objects_are_made_and_run_in_two_threads_at_once)
{
    struct conv_case fast[2], slow[2];
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        fast[i] = (struct conv_case){.shape = small_shape()};
        fast[i].shape.stride[0] = i + 1;
        cr_assert(bg_conv_shape_infer(&fast[i].shape) == BG_OK);
        fast[i].size = conv_sizes(&fast[i].shape);
        fast[i].x = integers(fast[i].size.src, 4);
        fast[i].w = integers(fast[i].size.weights, 4);
        fast[i].b = integers(fast[i].size.outputs, 4);
        fast[i].dy = integers(fast[i].size.dst, 4);
        slow[i] = fast[i];
        case_results(&fast[i]);
        case_results(&slow[i]);
    }
    for (int i = 0; i < 2; i++)
        cr_assert(pthread_create(&threads[i], NULL, run_in_thread, &fast[i]) == 0);
    for (int i = 0; i < 2; i++)
        cr_assert(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < 2; i++) {
        run_reference(&slow[i], true);
        expect_equal("output", &fast[i].shape, fast[i].y, slow[i].y, fast[i].size.dst);
        expect_equal("input gradient", &fast[i].shape, fast[i].dx, slow[i].dx, fast[i].size.src);
        expect_equal("weight gradient", &fast[i].shape, fast[i].dw, slow[i].dw,
                     fast[i].size.weights);
        free_results(&fast[i]);
        free_results(&slow[i]);
        free_inputs(&fast[i]);
    }
}

Test(dnn_conv, every_failed_allocation_is_reported_and_frees_all)
{
    struct bg_conv_shape s = small_shape();
    struct bg_pool_shape p = {.batch = 2,
                              .in_height = 6,
                              .in_width = 6,
                              .channels = 8,
                              .kernel = {2, 2},
                              .stride = {2, 2}};
    int failures = 0;

    for (uint64_t n = 1; n < 20; n++) {
        struct bg_dnn_conv *conv = NULL;
        struct bg_dnn_pool *pool = NULL;
        bg_alloc_fail_at(n);
        enum bg_status made = bg_dnn_conv_create(&conv, &s, true, true, true);
        bg_alloc_fail_at(0);
        cr_expect(made == BG_OK || (made == BG_E_NOMEM && conv == NULL));
        failures += made != BG_OK;
        bg_dnn_conv_destroy(conv);
        bg_alloc_fail_at(n);
        made = bg_dnn_pool_create(&pool, &p, true, true);
        bg_alloc_fail_at(0);
        cr_expect(made == BG_OK || (made == BG_E_NOMEM && pool == NULL));
        failures += made != BG_OK;
        bg_dnn_pool_destroy(pool);
    }
    cr_expect(failures >= 6, "only %d allocations could fail", failures);
}

Test(dnn_engine, names_version_and_instruction_set_and_starts_again_after_shutdown)
{
    static const char *const names[] = {"SSE41",
                                        "AVX",
                                        "AVX2",
                                        "AVX2_VNNI",
                                        "AVX512_CORE",
                                        "AVX512_CORE_VNNI",
                                        "AVX512_CORE_BF16",
                                        "AVX512_CORE_AMX"};
    struct bg_conv_shape s = small_shape();
    struct bg_dnn_conv *conv = NULL;
    bool known = false;

    cr_expect(bg_dnn_version()[0] == '2' && bg_dnn_version()[1] == '.');
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        known = known || strcmp(bg_dnn_isa(), names[i]) == 0;
    cr_expect(known, "%s", bg_dnn_isa());
    for (int round = 0; round < 2; round++) {
        cr_assert(bg_dnn_conv_create(&conv, &s, true, true, true) == BG_OK);
        bg_dnn_shutdown(); /* has no effect while conv lives */
        struct bg_dnn_conv *second = NULL;
        cr_expect(bg_dnn_conv_create(&second, &s, true, true, true) == BG_OK);
        bg_dnn_conv_destroy(second);
        bg_dnn_conv_destroy(conv);
        bg_dnn_shutdown();
    }
    bg_threads_set(-3);
    cr_expect(bg_threads() == 1);
    bg_threads_set(100000);
    cr_expect(bg_threads() == 256);
}

/* Pooling. */

static void draw_pool(struct bg_pool_shape *s)
{
    static const int64_t channels[] = {1, 2, 3, 7, 8, 16, 17, 31, 64};

    do {
        *s = (struct bg_pool_shape){.batch = draw(1, 4),
                                    .in_height = draw(1, 15),
                                    .in_width = draw(1, 15),
                                    .channels = pick(channels, 9),
                                    .kernel = {draw(1, 5), draw(1, 5)},
                                    .stride = {draw(1, 4), draw(1, 4)},
                                    .padding = {draw(0, 4), draw(0, 4)}};
    } while (bg_pool_shape_infer(s) != BG_OK);
}

static const char *pool_text(const struct bg_pool_shape *s)
{
    static char text[192];

    snprintf(text, sizeof text,
             "n%lld %lldx%lldx%lld kernel %lldx%lld stride %lldx%lld padding "
             "%lldx%lld",
             (long long)s->batch, (long long)s->in_height, (long long)s->in_width,
             (long long)s->channels, (long long)s->kernel[0], (long long)s->kernel[1],
             (long long)s->stride[0], (long long)s->stride[1], (long long)s->padding[0],
             (long long)s->padding[1]);
    return text;
}

/* Averages of small integers: the sum is exact, then one division, or a product with a rounded
 * reciprocal: at most three roundings, one in the reference. A gradient adds up to kernel-area such
 * terms. `scale` are the same sums of magnitudes. */
static void compare_pool(const struct bg_pool_shape *s, const float *const values[3], int64_t count,
                         double unit)
{
    for (int64_t i = 0; i < count; i++) {
        double off = fabs((double)values[0][i] - (double)values[1][i]);
        if (!(off <= unit * (double)values[2][i])) {
            cr_expect(false, "%s: element %lld is %.9g, reference %.9g", pool_text(s), (long long)i,
                      (double)values[0][i], (double)values[1][i]);
            return;
        }
    }
}

static void run_pool(const struct bg_pool_shape *s, bool max)
{
    int64_t in = s->batch * s->in_height * s->in_width * s->channels;
    int64_t out = s->batch * s->out_height * s->out_width * s->channels;
    float *x = integers(in, 3), *dy = integers(out, 4); /* few values: many ties */
    float *y = room(out), *dx = room(in), *y2 = room(out), *dx2 = room(in);
    float *ax = magnitudes(x, in), *ady = magnitudes(dy, out), *ay = room(out), *adx = room(in);
    struct bg_dnn_pool *pool = NULL, *alone = NULL;
    double area = (double)(s->kernel[0] * s->kernel[1]);

    cr_assert(bg_dnn_pool_create(&pool, s, max, true) == BG_OK, "%s: %s", pool_text(s), bg_error());
    uint64_t calls = bg_alloc_calls();
    cr_assert(bg_dnn_pool_forward(pool, x, y) == BG_OK);
    cr_assert(bg_dnn_pool_backward(pool, dy, dx) == BG_OK);
    cr_expect(bg_alloc_calls() == calls);
    if (max) {
        bg_ref_max_pool_forward(s, x, y2);
        bg_ref_max_pool_backward(s, x, dy, dx2);
    } else {
        bg_ref_avg_pool_forward(s, x, y2);
        bg_ref_avg_pool_backward(s, dy, dx2);
    }
    bg_ref_avg_pool_forward(s, ax, ay);
    bg_ref_avg_pool_backward(s, ady, adx);
    compare_pool(s, (const float *const[]){y, y2, ay}, out, max ? 0 : 4 * UNIT);
    compare_pool(s, (const float *const[]){dx, dx2, adx}, in, max ? 0 : (area + 4) * UNIT);

    cr_assert(bg_dnn_pool_create(&alone, s, max, false) == BG_OK);
    for (int64_t i = 0; i < out; i++)
        y2[i] = NAN;
    cr_assert(bg_dnn_pool_forward(alone, x, y2) == BG_OK);
    cr_expect(memcmp(y, y2, (size_t)out * sizeof *y) == 0, "%s: evaluation differs", pool_text(s));
    cr_expect(bg_dnn_pool_backward(alone, dy, dx) == BG_E_USAGE);
    bg_dnn_pool_destroy(alone);
    bg_dnn_pool_destroy(pool);
    float *const all[] = {x, dy, y, dx, y2, dx2, ax, ady, ay, adx};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

Test(dnn_pool, equals_the_reference_for_random_shapes_with_ties)
{
    for (int i = 0; i < 300; i++) {
        struct bg_pool_shape s;
        draw_pool(&s);
        run_pool(&s, true);
        run_pool(&s, false);
    }
}

Test(dnn_pool, runs_no_reference_implementation_on_the_shapes_of_our_networks)
{
    static const int64_t shapes[][4] = {/* side, channels, kernel, stride */
                                        {28, 6, 2, 2},
                                        {10, 16, 2, 2},
                                        {7, 64, 7, 1},
                                        {28, 16, 3, 2}};

    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int max = 0; max < 2; max++) {
            const int64_t *v = shapes[i];
            struct bg_pool_shape s = {.batch = 128,
                                      .in_height = v[0],
                                      .in_width = v[0],
                                      .channels = v[1],
                                      .kernel = {v[2], v[2]},
                                      .stride = {v[3], v[3]}};
            struct bg_dnn_pool *pool = NULL;
            cr_assert(bg_dnn_pool_create(&pool, &s, max == 1, true) == BG_OK);
            cr_expect(strstr(bg_dnn_pool_implementation(pool), "ref") == NULL, "%s: %s",
                      pool_text(&s), bg_dnn_pool_implementation(pool));
            bg_dnn_pool_destroy(pool);
        }
}

Test(dnn_pool, refuses_bad_shapes_with_numbers)
{
    struct bg_pool_shape s = {.batch = 1,
                              .in_height = 3,
                              .in_width = 4,
                              .channels = 2,
                              .kernel = {5, 5},
                              .stride = {1, 1}};

    cr_expect(bg_pool_shape_infer(&s) == BG_E_SHAPE);
    cr_expect(strcmp(bg_error(), "kernel 5x5 does not fit input 3x4 with padding 0") == 0, "%s",
              bg_error());
    s.padding[1] = 5;
    cr_expect(bg_pool_shape_infer(&s) == BG_E_SHAPE);
    cr_expect(strcmp(bg_error(), "padding 5 must be smaller than the pooling kernel, which is 5") ==
                  0,
              "%s", bg_error());
    s.stride[0] = 0;
    cr_expect(bg_pool_shape_infer(&s) == BG_E_SHAPE);
    cr_expect(strcmp(bg_error(), "vertical stride is 0, must be 1 to 16777216") == 0, "%s",
              bg_error());
}
