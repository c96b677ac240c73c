/* Integer convolutions and pools against naive loops: equality on random shapes for the kernels of
 * every instruction set and for oneDNN where its probe accepted it, saturating data, sums beyond
 * 2^24, threads, limits of the memory they may touch, refusals. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/int_conv.h"
#include "core/int_private.h"
#include "core/mem.h"

enum {
    OWN_CASES = 20000,
    DNN_CASES = 4000, /* making a primitive costs about a millisecond */
    POOL_CASES = 3000,
    MACS_MAX = 1000000, /* of a random case */
    ROOM = 1 << 22,
    FENCE = 64
};

static uint64_t state;

/* Memory that ends where the process may neither read nor write. */
static uint8_t *guarded[4];

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
    for (int i = 0; i < 4; i++)
        guarded[i] = make_guarded(zeros);
    close(zeros);
    bg_threads_set(1);
}

TestSuite(int_conv, .init = set_up);

static int64_t draw(int64_t low, int64_t high)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + (int64_t)(state % (uint64_t)(high - low + 1));
}

static uint8_t *room(int which, int64_t bytes)
{
    cr_assert(bytes + FENCE <= ROOM);
    return guarded[which] - bytes;
}

struct conv_case {
    struct bg_conv_shape shape;
    int64_t src_count, weight_count, acc_count;
    int32_t zero_point;
    uint8_t *src;
    int8_t *weights;
    int32_t *wanted, *got;
};

static const char *conv_text(const struct conv_case *c)
{
    static char text[320];
    const struct bg_conv_shape *s = &c->shape;

    snprintf(text, sizeof text,
             "n%lld %lldx%lldx%lld -> %lldx%lldx%lld kernel %lldx%lld stride %lldx%lld padding "
             "%lldx%lld dilation %lldx%lld groups %lld zero point %d",
             (long long)s->batch, (long long)s->in_height, (long long)s->in_width,
             (long long)s->in_channels, (long long)s->out_height, (long long)s->out_width,
             (long long)s->out_channels, (long long)s->kernel_height, (long long)s->kernel_width,
             (long long)s->stride[0], (long long)s->stride[1], (long long)s->padding[0],
             (long long)s->padding[1], (long long)s->dilation[0], (long long)s->dilation[1],
             (long long)s->groups, (int)c->zero_point);
    return text;
}

/* Dense, depthwise, depthwise with a multiplier, grouped. */
static void draw_channels(struct bg_conv_shape *s)
{
    int64_t kind = draw(0, 7);

    s->groups = 1;
    s->in_channels = draw(0, 2) == 0 ? draw(1, 3) : draw(1, 40);
    s->out_channels = draw(1, 40);
    if (kind == 4 || kind == 5) {
        s->groups = s->out_channels = s->in_channels = draw(1, 40);
    } else if (kind == 6) {
        s->groups = s->in_channels = draw(1, 20);
        s->out_channels = s->in_channels * 2;
    } else if (kind == 7) {
        s->groups = draw(2, 4);
        s->in_channels = s->groups * draw(1, 10);
        s->out_channels = s->groups * draw(1, 10);
    }
}

static void draw_shape(struct bg_conv_shape *s)
{
    for (;;) {
        *s = (struct bg_conv_shape){.batch = draw(1, 3),
                                    .in_height = draw(1, 9),
                                    .in_width = draw(1, 9),
                                    .kernel_height = draw(1, 5),
                                    .kernel_width = draw(1, 5),
                                    .stride = {draw(1, 3), draw(1, 3)},
                                    .padding = {draw(0, 4) / 2, draw(0, 4) / 2},
                                    .dilation = {draw(1, 5) / 4 + 1, draw(1, 5) / 4 + 1}};
        draw_channels(s);
        if (draw(0, 9) == 0) { /* the whole image: a linear layer */
            s->kernel_height = s->in_height;
            s->kernel_width = s->in_width;
            s->padding[0] = s->padding[1] = 0;
        }
        if (bg_conv_shape_infer(s) != BG_OK)
            continue;
        int64_t macs = s->batch * s->out_height * s->out_width * s->out_channels *
                       s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
        if (macs <= MACS_MAX)
            return;
    }
}

/* Codes and weights of 1 to 8 bits, signs, or extremes alone. */
static void draw_data(struct conv_case *c)
{
    int64_t kind = draw(0, 3), most = kind == 1 ? 127 : (1 << draw(1, 7)) - 1;
    int64_t codes = kind == 1 ? 255 : (1 << draw(1, 8)) - 1;

    for (int64_t i = 0; i < c->weight_count; i++)
        c->weights[i] = (int8_t)(kind == 0   ? 2 * draw(0, 1) - 1
                                 : kind == 1 ? most * (2 * draw(0, 1) - 1)
                                             : draw(-most, most));
    for (int64_t i = 0; i < c->src_count; i++)
        c->src[i] = (uint8_t)(kind == 1 ? codes * draw(0, 1) : draw(0, codes));
    if (kind == 1 && draw(0, 1) == 0)
        memset(c->src, 255, (size_t)c->src_count);
    c->zero_point = (int32_t)(draw(0, 3) == 0 ? 0 : draw(0, 255));
}

static void place_case(struct conv_case *c)
{
    const struct bg_conv_shape *s = &c->shape;

    c->src_count = s->batch * s->in_height * s->in_width * s->in_channels;
    c->acc_count = s->batch * s->out_height * s->out_width * s->out_channels;
    c->weight_count =
        s->out_channels * s->kernel_height * s->kernel_width * (s->in_channels / s->groups);
    c->src = room(0, c->src_count);
    c->weights = (int8_t *)room(1, c->weight_count);
    c->wanted = (int32_t *)(void *)room(2, c->acc_count * 4);
    c->got = (int32_t *)(void *)room(3, c->acc_count * 4);
}

static void make_case(struct conv_case *c)
{
    draw_shape(&c->shape);
    place_case(c);
    draw_data(c);
}

/* Places that are never written, or written before the first, show. */
static void poison(struct conv_case *c)
{
    memset((uint8_t *)c->got - FENCE, 0x5a, (size_t)(c->acc_count * 4 + FENCE));
}

static void expect_equal(const struct conv_case *c, const char *who)
{
    for (int i = 1; i <= FENCE; i++)
        cr_assert_eq(((const uint8_t *)c->got)[-i], 0x5a, "%s: %s: wrote in front", who,
                     conv_text(c));
    for (int64_t i = 0; i < c->acc_count; i++)
        cr_assert_eq(c->got[i], c->wanted[i], "%s: %s: sum %lld is %d, not %d", who, conv_text(c),
                     (long long)i, c->got[i], c->wanted[i]);
}

static void run_naive(struct conv_case *c)
{
    bg_ref_int_conv(&c->shape, c->src, c->zero_point, c->weights, c->wanted);
}

static void run_own(struct conv_case *c, const struct bg_kernel_tables *tables)
{
    struct bg_int_own *own = NULL;

    cr_assert_eq(bg_int_own_create(&own, &c->shape, tables), BG_OK, "%s", bg_error());
    bg_int_own_pack(own, c->weights);
    poison(c);
    bg_int_own_run(own, c->src, c->zero_point, c->got);
    expect_equal(c, bg_int_own_name(own));
    bg_int_own_destroy(own);
}

/* Returns whether oneDNN ran it. */
static bool run_path(struct conv_case *c, enum bg_int_path path, char name[96])
{
    struct bg_int_conv *conv = NULL;
    bool onednn;

    cr_assert_eq(bg_int_conv_create(&conv, &c->shape, path), BG_OK, "%s", bg_error());
    cr_assert_eq(bg_int_conv_pack(conv, c->weights), BG_OK, "%s", bg_error());
    poison(c);
    cr_assert_eq(bg_int_conv_run(conv, c->src, c->zero_point, c->got), BG_OK, "%s", bg_error());
    expect_equal(c, bg_int_conv_implementation(conv));
    snprintf(name, 96, "%s", bg_int_conv_implementation(conv));
    onednn = strncmp(name, "onednn:", 7) == 0;
    cr_assert(strstr(name, "ref") == NULL || path == BG_INT_REFERENCE, "%s: %s", conv_text(c),
              name);
    bg_int_conv_destroy(conv);
    return onednn;
}

Test(int_conv, the_naive_sum_is_code_minus_zero_point_times_weight_with_zero_padding)
{
    /* 2x2 image, 2x2 kernel, padding 1, two channels; worked by hand. */
    const struct bg_conv_shape shape = {.batch = 1,
                                        .in_height = 1,
                                        .in_width = 2,
                                        .in_channels = 1,
                                        .out_channels = 2,
                                        .kernel_height = 1,
                                        .kernel_width = 2,
                                        .stride = {1, 1},
                                        .padding = {0, 1},
                                        .dilation = {1, 1},
                                        .groups = 1};
    const uint8_t src[] = {10, 255};
    const int8_t weights[] = {3, -5, 127, 1};
    const int32_t wanted[] = {/* a - 7 is 3 and 248 */
                              3 * -5,  3 * 1,    3 * 3 + 248 * -5, 3 * 127 + 248 * 1,
                              248 * 3, 248 * 127};
    struct bg_conv_shape full = shape;
    int32_t acc[6];

    cr_assert_eq(bg_conv_shape_infer(&full), BG_OK);
    bg_ref_int_conv(&full, src, 7, weights, acc);
    cr_assert_eq(memcmp(acc, wanted, sizeof acc), 0);
}

Test(int_conv, own_kernels_of_every_instruction_set_equal_the_naive_sums, .timeout = 300)
{
    for (int i = 0; i < OWN_CASES; i++) {
        struct conv_case c;
        make_case(&c);
        run_naive(&c);
        for (int v = 0; v < bg_kernel_variant_count(); v++)
            run_own(&c, bg_kernel_variant(v));
    }
}

Test(int_conv, onednn_equals_the_naive_sums_where_the_probe_accepts_it, .timeout = 300)
{
    int accepted = 0;

    for (int i = 0; i < DNN_CASES; i++) {
        struct conv_case c;
        char name[96];
        make_case(&c);
        run_naive(&c);
        accepted += run_path(&c, BG_INT_FAST, name);
    }
    cr_log_info("oneDNN (%s) ran %d of %d\n", bg_dnn_isa(), accepted, DNN_CASES);
    /* Nearly every convolution is exact with VNNI; those on 1 to 3 channels are not asked for. */
    if (strncmp(bg_dnn_isa(), "AVX512_CORE_", 12) == 0)
        cr_assert_gt(accepted, DNN_CASES / 2, "%d", accepted);
}

/* A convolution with square sides; padding keeps the size where it can. */
static void square(struct conv_case *c, const int64_t numbers[7])
{
    c->shape = (struct bg_conv_shape){.batch = 2,
                                      .in_height = numbers[0],
                                      .in_width = numbers[0],
                                      .in_channels = numbers[1],
                                      .out_channels = numbers[2],
                                      .kernel_height = numbers[3],
                                      .kernel_width = numbers[3],
                                      .stride = {numbers[4], numbers[4]},
                                      .padding = {numbers[5], numbers[5]},
                                      .dilation = {1, 1},
                                      .groups = numbers[6]};
    cr_assert_eq(bg_conv_shape_infer(&c->shape), BG_OK, "%s", bg_error());
    place_case(c);
}

/* oneDNN's strided 1x1 backward weights writes behind its scratch with few channels: forward is
 * watched by the fences around these buffers and by the numbers. */
Test(int_conv, strided_pointwise_convolutions_with_few_channels_are_exact)
{
    for (int64_t in = 1; in <= 20; in++)
        for (int64_t stride = 2; stride <= 3; stride++) {
            const int64_t numbers[] = {draw(5, 12), in, draw(1, 40), 1, stride, 0, 1};
            struct conv_case c;
            char name[96];
            bg_threads_set((int)stride - 1);
            square(&c, numbers);
            draw_data(&c);
            run_naive(&c);
            run_path(&c, BG_INT_FAST, name);
        }
}

Test(int_conv, the_reference_path_and_own_path_give_the_naive_sums_too)
{
    for (int i = 0; i < 200; i++) {
        struct conv_case c;
        char name[96];
        make_case(&c);
        run_naive(&c);
        cr_assert_not(run_path(&c, BG_INT_REFERENCE, name));
        cr_assert_str_eq(name, "reference");
        cr_assert_not(run_path(&c, BG_INT_OWN, name));
        cr_assert_eq(strncmp(name, "own:", 4), 0);
    }
}

/* side, in, out, kernel, stride, padding, groups */
static const int64_t network[][7] = {
    {28, 1, 16, 3, 1, 1, 1},   {28, 16, 16, 3, 1, 1, 1}, {28, 16, 32, 3, 2, 1, 1},
    {28, 16, 32, 1, 2, 0, 1},  {14, 32, 32, 3, 1, 1, 1}, {14, 32, 64, 3, 2, 1, 1},
    {14, 32, 64, 1, 2, 0, 1},  {7, 64, 64, 3, 1, 1, 1},  {1, 64, 10, 1, 1, 0, 1},
    {14, 32, 32, 3, 1, 1, 32}, {14, 64, 64, 3, 2, 1, 64}};
enum { LAYERS = sizeof network / sizeof network[0] };

/* Runs all layers of a ResNet-20 and two depthwise ones. `own` runs the first one, and, when
 * oneDNN is not exact, all others but the depthwise ones. */
static void expect_network(const char *cap, const char *own, bool exact)
{
    cr_assert_eq(setenv("DNNL_MAX_CPU_ISA", cap, 1), 0);
    if (strcmp(bg_dnn_isa(), cap) != 0)
        cr_skip_test("this CPU has no %s", cap);
    for (int l = 0; l < LAYERS; l++) {
        struct conv_case c;
        char name[96];
        square(&c, network[l]);
        draw_data(&c);
        run_naive(&c);
        bool onednn = run_path(&c, BG_INT_FAST, name);
        bool depthwise = c.shape.groups > 1;
        cr_log_info("%s, %s: %s\n", cap, name, conv_text(&c));
        if (depthwise || (exact && c.shape.in_channels > 3))
            cr_expect(onednn, "%s: %s", conv_text(&c), name);
        else
            cr_expect_str_eq(name, own, "%s: %s", conv_text(&c), name);
    }
}

/* oneDNN reads the variable once, before its first use; every test is a process of its own. */
Test(int_conv, a_network_capped_to_avx2_is_exact_with_own_kernels)
{
    expect_network("AVX2", "own:avx2", false);
}

Test(int_conv, a_network_capped_to_avx512_is_exact_with_own_kernels)
{
    expect_network("AVX512_CORE", "own:avx512", false);
}

Test(int_conv, a_network_capped_to_vnni_is_exact_in_onednn)
{
    expect_network("AVX512_CORE_VNNI", "own:vnni", true);
}

Test(int_conv, sums_beyond_two_to_24_keep_their_last_bit)
{
    /* K = 576, 1152, 2304 and, grouped, 1152: 255 * 127 * K is 18.7 to 74.6 million, odd. */
    static const int64_t wide[][7] = {{7, 64, 64, 3, 1, 1, 1},
                                      {4, 128, 33, 3, 1, 1, 1},
                                      {3, 256, 16, 3, 1, 1, 1},
                                      {4, 256, 34, 3, 1, 1, 2},
                                      {1, 784, 17, 1, 1, 0, 1}};

    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            struct conv_case c;
            char name[96];
            int64_t largest = 0;
            square(&c, wide[i]);
            memset(c.src, 255, (size_t)c.src_count);
            for (int64_t k = 0; k < c.weight_count; k++)
                c.weights[k] = (int8_t)(sign * (k % 97 == 0 ? 126 : 127));
            c.zero_point = sign < 0 ? 0 : 1;
            run_naive(&c);
            for (int64_t k = 0; k < c.acc_count; k++)
                if (llabs(c.wanted[k]) > largest)
                    largest = llabs(c.wanted[k]);
            cr_assert_gt(largest, 1 << 24);
            for (int v = 0; v < bg_kernel_variant_count(); v++)
                run_own(&c, bg_kernel_variant(v));
            run_path(&c, BG_INT_FAST, name);
        }
}

Test(int_conv, pairs_of_extreme_products_do_not_saturate)
{
    for (int i = 0; i < LAYERS; i++)
        for (int pattern = 0; pattern < 3; pattern++)
            for (int mixed = 0; mixed < 2; mixed++) {
                struct conv_case c;
                square(&c, network[i]);
                c.zero_point = mixed * 255;
                for (int64_t k = 0; k < c.weight_count; k++)
                    c.weights[k] = pattern == 0 || (pattern == 2 && k % 2 == 0) ? 127 : -127;
                for (int64_t k = 0; k < c.src_count; k++)
                    c.src[k] = mixed && draw(0, 1) ? 0 : 255;
                run_naive(&c);
                for (int v = 0; v < bg_kernel_variant_count(); v++)
                    run_own(&c, bg_kernel_variant(v));
            }
}

/* Large enough for threads to be used. */
static void draw_large(struct conv_case *c, int index)
{
    static const int64_t large[][7] = {{28, 16, 16, 3, 1, 1, 1},  {17, 5, 23, 3, 2, 1, 1},
                                       {28, 32, 32, 3, 1, 1, 32}, {28, 1, 16, 5, 1, 2, 1},
                                       {20, 24, 40, 1, 1, 0, 1},  {13, 24, 24, 3, 1, 1, 3}};

    square(c, large[index % 6]);
    draw_data(c);
}

Test(int_conv, one_and_two_threads_give_the_same_numbers)
{
    for (int i = 0; i < 6; i++) {
        struct conv_case c;
        char name[96];
        draw_large(&c, i);
        if (c.zero_point == 0)
            c.zero_point = 77;
        run_naive(&c);
        for (int threads = 1; threads <= 2; threads++) {
            bg_threads_set(threads);
            for (int v = 0; v < bg_kernel_variant_count(); v++)
                run_own(&c, bg_kernel_variant(v));
            run_path(&c, BG_INT_FAST, name);
        }
    }
}

Test(int_conv, an_object_keeps_its_threads_when_the_number_changes)
{
    struct conv_case c;
    struct bg_int_conv *conv = NULL;

    draw_large(&c, 0);
    run_naive(&c);
    for (int path = 0; path < 2; path++) {
        bg_threads_set(1);
        cr_assert_eq(bg_int_conv_create(&conv, &c.shape, (enum bg_int_path)path), BG_OK);
        cr_assert_eq(bg_int_conv_pack(conv, c.weights), BG_OK);
        bg_threads_set(3);
        poison(&c);
        cr_assert_eq(bg_int_conv_run(conv, c.src, c.zero_point, c.got), BG_OK);
        expect_equal(&c, "three threads");
        cr_assert_eq(bg_threads(), 3);
        bg_int_conv_destroy(conv);
    }
}

Test(int_conv, zero_points_and_weights_may_change_and_running_allocates_nothing)
{
    for (int path = 0; path < 3; path++)
        for (int i = 0; i < 6; i++) {
            struct bg_int_conv *conv = NULL;
            struct conv_case c;
            draw_large(&c, i);
            cr_assert_eq(bg_int_conv_create(&conv, &c.shape, (enum bg_int_path)path), BG_OK);
            uint64_t calls = bg_alloc_calls();
            for (int round = 0; round < 3; round++) {
                draw_data(&c);
                cr_assert_eq(bg_int_conv_pack(conv, c.weights), BG_OK);
                for (c.zero_point = 0; c.zero_point < 256; c.zero_point += 255) {
                    run_naive(&c);
                    poison(&c);
                    cr_assert_eq(bg_int_conv_run(conv, c.src, c.zero_point, c.got), BG_OK);
                    expect_equal(&c, bg_int_conv_implementation(conv));
                }
            }
            cr_assert_eq(bg_alloc_calls(), calls);
            bg_int_conv_destroy(conv);
        }
}

Test(int_conv, misuse_is_refused_with_a_sentence)
{
    struct bg_int_conv *conv = NULL;
    struct conv_case c;

    draw_large(&c, 1);
    for (int path = 0; path < 3; path++) {
        cr_assert_eq(bg_int_conv_create(&conv, &c.shape, (enum bg_int_path)path), BG_OK);
        cr_expect_eq(bg_int_conv_run(conv, c.src, 0, c.got), BG_E_USAGE);
        c.weights[3] = -128;
        cr_expect_eq(bg_int_conv_pack(conv, c.weights), BG_E_RANGE);
        cr_expect_str_eq(bg_error(), "weight code 3 is -128, must be -127 to 127");
        c.weights[3] = 1;
        cr_expect_eq(bg_int_conv_pack(conv, c.weights), BG_OK);
        cr_expect_eq(bg_int_conv_run(conv, c.src, 256, c.got), BG_E_RANGE);
        cr_expect_eq(bg_int_conv_run(conv, c.src, -1, c.got), BG_E_RANGE);
        cr_expect_eq(bg_int_conv_run(conv, c.src, 255, c.got), BG_OK);
        bg_int_conv_destroy(conv);
    }
    c.shape.groups = 7;
    cr_expect_eq(bg_int_conv_create(&conv, &c.shape, BG_INT_FAST), BG_E_SHAPE);
    cr_expect_null(conv);
    bg_int_conv_destroy(NULL);
    bg_int_own_destroy(NULL);
    bg_dnn_int_destroy(NULL);
}

Test(int_conv, every_failed_allocation_is_an_error_without_a_leak)
{
    struct conv_case c;

    draw_large(&c, 0);
    for (int path = 0; path < 3; path++) {
        enum bg_status rc = BG_E_NOMEM;
        for (uint64_t n = 1; rc != BG_OK; n++) {
            struct bg_int_conv *conv = NULL;
            cr_assert_lt(n, 50);
            bg_alloc_fail_at(n);
            rc = bg_int_conv_create(&conv, &c.shape, (enum bg_int_path)path);
            bg_alloc_fail_at(0);
            cr_assert(rc == BG_OK ? conv != NULL : rc == BG_E_NOMEM && conv == NULL);
            bg_int_conv_destroy(conv);
        }
    }
}

struct pool_case {
    struct bg_pool_shape shape;
    int64_t src_count, pixels, stride;
    uint8_t *src;
};

static void make_pool(struct pool_case *c, bool padding)
{
    struct bg_pool_shape *s = &c->shape;

    do {
        *s = (struct bg_pool_shape){.batch = draw(1, 3),
                                    .in_height = draw(1, 9),
                                    .in_width = draw(1, 9),
                                    .channels = draw(0, 1) == 0 ? draw(1, 9) : draw(1, 70),
                                    .kernel = {draw(1, 5), draw(1, 5)},
                                    .stride = {draw(1, 3), draw(1, 3)}};
        if (padding)
            for (int i = 0; i < 2; i++)
                s->padding[i] = draw(0, s->kernel[i] - 1);
        if (draw(0, 7) == 0) { /* global */
            s->kernel[0] = s->in_height;
            s->kernel[1] = s->in_width;
            s->padding[0] = s->padding[1] = 0;
        }
    } while (bg_pool_shape_infer(s) != BG_OK);
    c->src_count = s->batch * s->in_height * s->in_width * s->channels;
    c->pixels = s->batch * s->out_height * s->out_width;
    c->stride = s->channels + draw(0, 1) * draw(0, 20);
    c->src = room(0, c->src_count);
    for (int64_t i = 0; i < c->src_count; i++)
        c->src[i] = (uint8_t)draw(0, 255);
}

static void max_of(const struct pool_case *c, const struct bg_kernel_tables *tables, uint8_t *dst)
{
    const struct bg_pool_shape *s = &c->shape;

    for (int64_t r = 0; r < s->batch * s->out_height; r++)
        tables->int_pool->max_row(
            s, c->src + r / s->out_height * s->in_height * s->in_width * s->channels,
            r % s->out_height, dst + r * s->out_width * c->stride, c->stride);
}

static void sum_of(const struct pool_case *c, const struct bg_kernel_tables *tables,
                   int32_t zero_point, int32_t *acc)
{
    const struct bg_pool_shape *s = &c->shape;

    for (int64_t r = 0; r < s->batch * s->out_height; r++)
        tables->int_pool->sum_row(
            s, c->src + r / s->out_height * s->in_height * s->in_width * s->channels,
            r % s->out_height, zero_point, acc + r * s->out_width * s->channels);
}

Test(int_conv, max_pools_equal_the_naive_ones_and_leave_bytes_between_rows_alone)
{
    for (int i = 0; i < POOL_CASES; i++) {
        struct pool_case c;
        make_pool(&c, true);
        /* The last row ends with its channels. */
        int64_t bytes = (c.pixels - 1) * c.stride + c.shape.channels;
        uint8_t *wanted = room(2, bytes), *got = room(3, bytes);
        memset(wanted, 0x5a, (size_t)bytes);
        bg_ref_int_max_pool(&c.shape, c.src, wanted, c.stride);
        memset(got, 0x5a, (size_t)bytes);
        bg_int_max_pool(&c.shape, c.src, got, c.stride);
        cr_assert_eq(memcmp(got, wanted, (size_t)bytes), 0, "case %d", i);
        for (int v = 0; v < bg_kernel_variant_count(); v++) {
            memset(got, 0x5a, (size_t)bytes);
            max_of(&c, bg_kernel_variant(v), got);
            cr_assert_eq(memcmp(got, wanted, (size_t)bytes), 0, "case %d, set %d", i, v);
        }
        for (int64_t p = 0; p + 1 < c.pixels; p++)
            for (int64_t b = c.shape.channels; b < c.stride; b++)
                cr_assert_eq(wanted[p * c.stride + b], 0x5a);
    }
}

Test(int_conv, sum_pools_equal_the_naive_ones)
{
    for (int i = 0; i < POOL_CASES; i++) {
        struct pool_case c;
        int32_t z = (int32_t)draw(0, 255);
        make_pool(&c, false);
        int64_t bytes = c.pixels * c.shape.channels * 4;
        int32_t *wanted = (int32_t *)(void *)room(2, bytes);
        int32_t *got = (int32_t *)(void *)room(3, bytes);
        bg_ref_int_sum_pool(&c.shape, c.src, z, wanted);
        bg_int_sum_pool(&c.shape, c.src, z, got);
        cr_assert_eq(memcmp(got, wanted, (size_t)bytes), 0, "case %d", i);
        for (int v = 0; v < bg_kernel_variant_count(); v++) {
            memset(got, 0x5a, (size_t)bytes);
            sum_of(&c, bg_kernel_variant(v), z, got);
            cr_assert_eq(memcmp(got, wanted, (size_t)bytes), 0, "case %d, set %d", i, v);
        }
    }
}

Test(int_conv, naive_pools_follow_a_worked_example_and_threads_change_nothing)
{
    const struct bg_pool_shape worked = {.batch = 1,
                                         .in_height = 1,
                                         .in_width = 3,
                                         .channels = 1,
                                         .kernel = {1, 2},
                                         .stride = {1, 1},
                                         .out_height = 1,
                                         .out_width = 2};
    uint8_t largest[2];
    int32_t sums[2];

    bg_ref_int_max_pool(&worked, (const uint8_t[]){9, 250, 3}, largest, 1);
    cr_assert(largest[0] == 250 && largest[1] == 250);
    bg_ref_int_sum_pool(&worked, (const uint8_t[]){9, 250, 3}, 100, sums);
    cr_assert(sums[0] == 59 && sums[1] == 53);

    struct bg_pool_shape s = {.batch = 8,
                              .in_height = 28,
                              .in_width = 28,
                              .channels = 16,
                              .kernel = {2, 2},
                              .stride = {2, 2}};
    cr_assert_eq(bg_pool_shape_infer(&s), BG_OK);
    int64_t count = s.batch * s.out_height * s.out_width * s.channels;
    uint8_t *src = room(0, 8 * 28 * 28 * 16);
    for (int64_t i = 0; i < 8 * 28 * 28 * 16; i++)
        src[i] = (uint8_t)draw(0, 255);
    for (int threads = 1; threads <= 2; threads++) {
        bg_threads_set(threads);
        bg_ref_int_max_pool(&s, src, room(2, count), s.channels);
        bg_int_max_pool(&s, src, room(3, count), s.channels);
        cr_assert_eq(memcmp(room(3, count), room(2, count), (size_t)count), 0);
        bg_ref_int_sum_pool(&s, src, 3, (int32_t *)(void *)room(2, count * 4));
        bg_int_sum_pool(&s, src, 3, (int32_t *)(void *)room(3, count * 4));
        cr_assert_eq(memcmp(room(3, count * 4), room(2, count * 4), (size_t)count * 4), 0);
    }
}
