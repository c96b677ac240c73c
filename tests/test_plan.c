/* The plan: its text form, what it refuses, and that printing and reading are inverse. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/plan.h"

static struct bg_plan parse(const char *text)
{
    struct bg_plan plan;
    enum bg_status rc = bg_plan_parse(&plan, "plan.txt", text);
    cr_assert_eq(rc, BG_OK, "%s: %s", text, bg_error());
    return plan;
}

static char *print(const struct bg_plan *plan)
{
    struct bg_text text;
    bg_text_init(&text, 1 << 22);
    bg_plan_print(plan, &text);
    cr_assert(eq(int, bg_text_check(&text), BG_OK));
    char *copy = malloc(text.length + 1);
    memcpy(copy, bg_text_string(&text), text.length + 1);
    bg_text_free(&text);
    return copy;
}

static void refuse(const char *text, const char *sentence)
{
    struct bg_plan plan;
    enum bg_status rc = bg_plan_parse(&plan, "plan.txt", text);
    cr_expect(eq(int, rc, BG_E_DATA), "%.60s", text);
    cr_expect_not_null(strstr(bg_error(), sentence), "\"%s\" lacks \"%s\"", bg_error(), sentence);
    cr_expect(plan.layer == NULL && plan.count == 0);
}

Test(plan, reads_the_documented_form)
{
    struct bg_plan plan = parse("# a plan\r\n"
                                "requant fixed-single\n"
                                "\n"
                                "conv1  w=s4/channel  a=u8  g=bf16  dw=f32 u=residual:8 # why\n"
                                "\tconv2 a=u16 w=s1/tensor\n"
                                "fc w=s16 g=s8 dw=s2/channel u=sgd");
    cr_assert(eq(int, plan.count, 3));
    cr_expect_str_eq(plan.requant, "fixed-single");
    const struct bg_plan_layer *layer = bg_plan_find(&plan, "conv1");
    cr_assert_not_null(layer);
    cr_expect(eq(int, bg_spec_bits(&layer->spec[BG_ROLE_WEIGHT]), 4));
    cr_expect(layer->spec[BG_ROLE_WEIGHT].per_channel);
    cr_expect(eq(int, bg_spec_bits(&layer->spec[BG_ROLE_ACTIVATION]), 8));
    cr_expect(eq(int, bg_spec_bits(&layer->spec[BG_ROLE_OUT_GRAD]), 16));
    cr_expect(eq(int, (int)layer->spec[BG_ROLE_OUT_GRAD].format, BG_FORMAT_BF16));
    cr_expect(eq(int, bg_spec_bits(&layer->spec[BG_ROLE_WEIGHT_GRAD]), 32));
    cr_expect_str_eq(layer->update, "residual");
    cr_expect(eq(int, layer->update_bits, 8));
    layer = bg_plan_find(&plan, "conv2");
    cr_expect(eq(int, layer->spec[BG_ROLE_WEIGHT].bits, 1));
    cr_expect_not(layer->spec[BG_ROLE_WEIGHT].per_channel);
    cr_expect(eq(int, (int)layer->spec[BG_ROLE_OUT_GRAD].format, BG_FORMAT_F32));
    cr_expect_str_eq(layer->update, "sgd");
    cr_expect(bg_plan_find(&plan, "fc")->spec[BG_ROLE_WEIGHT].per_channel);
    cr_expect_null(bg_plan_find(&plan, "conv"));
    char *text = print(&plan);
    cr_expect_str_eq(text, "requant fixed-single\n"
                           "conv1  w=s4/channel  a=u8  g=bf16  dw=f32  u=residual:8\n"
                           "conv2  w=s1/tensor  a=u16  g=f32  dw=f32  u=sgd\n"
                           "fc  w=s16/channel  a=f32  g=s8/tensor  dw=s2/channel  u=sgd\n");
    free(text);
    bg_plan_free(&plan);
    plan = parse("");
    cr_expect(eq(int, plan.count, 0));
    cr_expect_str_eq(plan.requant, "f32-rne");
    bg_plan_free(&plan);
}

Test(plan, refuses_with_line_layer_and_limit)
{
    refuse("a w=f32\n\nconv1 w=s17", "plan.txt:3: layer conv1: w=s17: 17 bits, limit is 16");
    refuse("conv1 w=s0", "w=s0: 0 bits, at least 1");
    refuse("conv1 w=s99999999999999999999", "bits, limit is 16");
    refuse("conv1 w=s-4", "expected f32, s1..s16");
    refuse("conv1 w=-4", "expected f32, s1..s16");
    refuse("conv1 w=u4", "expected f32, s1..s16");
    refuse("conv1 w=bf16", "expected f32, s1..s16");
    refuse("conv1 w=s4/row", "expected f32, s1..s16");
    refuse("conv1 w=s4/", "expected f32, s1..s16");
    refuse("conv1 w=s4x", "not a whole number");
    refuse("conv1 w=s4.5", "not a whole number");
    refuse("conv1 w=s", "expected f32, s1..s16");
    refuse("conv1 w=", "expected f32, s1..s16");
    refuse("conv1 a=s1", "activations are written u1..u16");
    refuse("conv1 a=u17", "17 bits, limit is 16");
    refuse("conv1 a=u4/channel", "not a whole number");
    refuse("conv1 g=u4", "expected f32, bf16, s2..s16, s8/channel or s8/tensor");
    refuse("conv1 dw=s8/row", "expected f32, bf16, s2..s16, s8/channel or s8/tensor");
    refuse("conv1 g=s1", "layer conv1: g=s1: 1 bits, at least 2");
    refuse("conv1 dw=s17/tensor", "layer conv1: dw=s17/tensor: 17 bits, limit is 16");
    refuse("conv1 a=u8/tensor", "not a whole number");
    refuse("conv1 u=residual:25", "25 bits, limit is 24");
    refuse("conv1 u=residual:-1", "not a whole number");
    refuse("conv1 u=residual:", "number of bits is missing");
    refuse("conv1 u=:8", "update method is missing");
    refuse("conv1 u=", "update method is missing");
    refuse("conv1 u=a/b", "update methods are named");
    refuse("conv1 dv=f32", "layer conv1: dv=f32: unknown key, did you mean 'dw'?");
    refuse("conv1 zzzz=f32", "unknown key (w, a, g, dw, u)");
    refuse("conv1 w=f32 w=s4", "the key stands twice");
    refuse("conv1 s4", "expected key=value");
    refuse("w=s4 a=u8", "plan.txt:1: w=s4: the layer's name is missing");
    refuse("c w=s4\nd\nc w=s8", "plan.txt:3: c: the layer stands here again");
    refuse("requant f32-rme", "did you mean 'f32-rne'?");
    refuse("requant", "requant: the name is missing");
    refuse("requant w=s4", "unknown requant");
    refuse("requant f32-rne x", "nothing may follow");
    refuse("requant f32-rne\nrequant f32-rne", "plan.txt:2: requant stands here again");
    refuse("con\x01v w=f32", "not a layer name");
    refuse("x234567890123456789012345678901234567890123456789012345678901234", "longer than 63");
    refuse("c u=x234567890123456789012345678901234567890123456789012345678901234",
           "longer than 63");
}

Test(plan, hostile_sizes_end_quickly, .timeout = 10)
{
    enum { BYTES = 4 << 20 };
    char *text = malloc(BYTES);
    memset(text, 'x', BYTES - 1);
    text[BYTES - 1] = '\0';
    refuse(text, "longer than 63");
    size_t used = 0;
    for (int i = 0; i < 100000; i++)
        used += (size_t)snprintf(text + used, BYTES - used, "layer%d w=s4\n", i);
    refuse(text, "plan.txt:4097: more than 4096 layers");
    memset(text, '\n', BYTES - 1);
    struct bg_plan plan = parse(text);
    cr_expect(eq(int, plan.count, 0));
    bg_plan_free(&plan);
    memset(text, ' ', BYTES - 1);
    memcpy(text, "c", 1);
    memcpy(text + BYTES - 6, "w=s99", 5);
    refuse(text, "99 bits");
    free(text);
}

static unsigned draw(unsigned *state, unsigned below)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

static struct bg_spec random_spec(unsigned *state, int role)
{
    struct bg_spec spec = {.format = BG_FORMAT_F32};
    unsigned pick = draw(state, 3);
    if (pick == 1 && role >= BG_ROLE_OUT_GRAD)
        spec.format = BG_FORMAT_BF16;
    if (pick == 2) {
        spec.format = BG_FORMAT_INTEGER;
        const unsigned least = role >= BG_ROLE_OUT_GRAD ? 2 : 1;
        spec.bits = (int)(least + draw(state, 17 - least));
        spec.per_channel = role != BG_ROLE_ACTIVATION && draw(state, 2);
    }
    return spec;
}

Test(plan, printing_and_reading_are_inverse)
{
    static const char *const updates[] = {"sgd", "residual", "a-b-0"};
    static const char *const requants[] = {"f32-rne", "fixed-single", "fixed-double", "pow2-rne"};
    static const char *const names[] = {"conv1", "block1.conv2", "fc/1", "gr\xc3\xbcn", "requant2"};
    unsigned state = 7;
    for (int round = 0; round < 500; round++) {
        struct bg_plan plan, again, copy;
        int count = (int)draw(&state, 6);
        cr_assert(eq(int, bg_plan_make(&plan, names, count), BG_OK));
        snprintf(plan.requant, sizeof plan.requant, "%s", requants[draw(&state, 4)]);
        for (int i = 0; i < count; i++) {
            for (int role = 0; role < BG_ROLES; role++)
                plan.layer[i].spec[role] = random_spec(&state, role);
            snprintf(plan.layer[i].update, BG_NAME_MAX, "%s", updates[draw(&state, 3)]);
            plan.layer[i].update_bits = (int)draw(&state, 25);
        }
        char *text = print(&plan);
        again = parse(text);
        cr_expect(bg_plan_equal(&plan, &again), "%s", text);
        char *text_again = print(&again);
        cr_expect_str_eq(text, text_again);
        cr_assert(eq(int, bg_plan_copy(&copy, &plan), BG_OK));
        cr_expect(bg_plan_equal(&plan, &copy));
        if (count > 0) {
            copy.layer[count - 1].update_bits = (copy.layer[count - 1].update_bits + 1) % 25;
            cr_expect_not(bg_plan_equal(&plan, &copy));
        }
        free(text);
        free(text_again);
        bg_plan_free(&plan);
        bg_plan_free(&again);
        bg_plan_free(&copy);
    }
}

Test(plan, equality_sees_every_field)
{
    struct bg_plan a = parse("c w=s4/channel a=u8 g=bf16 dw=s8 u=residual:8\n");
    static const char *const others[] = {
        "d w=s4/channel a=u8 g=bf16 dw=s8 u=residual:8\n",
        "c w=s4/tensor a=u8 g=bf16 dw=s8 u=residual:8\n",
        "c w=s5/channel a=u8 g=bf16 dw=s8 u=residual:8\n",
        "c w=s4/channel a=f32 g=bf16 dw=s8 u=residual:8\n",
        "c w=s4/channel a=u8 g=f32 dw=s8 u=residual:8\n",
        "c w=s4/channel a=u8 g=bf16 dw=s7 u=residual:8\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8/channel u=residual:8\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8 u=residual:7\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8 u=residual:0\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8 u=residual\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8 u=sgd:8\n",
        "requant pow2-rne\nc w=s4/channel a=u8 g=bf16 dw=s8 u=residual:8\n",
        "c w=s4/channel a=u8 g=bf16 dw=s8 u=residual:8\nd\n",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct bg_plan b = parse(others[i]);
        cr_expect_not(bg_plan_equal(&a, &b), "%s", others[i]);
        bg_plan_free(&b);
    }
    bg_plan_free(&a);
}

Test(plan, no_bits_below_are_said_and_not_left_open)
{
    struct bg_plan none = parse("c w=s4 a=u8 u=residual:0\n"),
                   open = parse("c w=s4 a=u8 u=residual\n");
    struct bg_text text = {0};
    cr_expect(none.layer[0].update_bits == BG_PLAN_NO_BITS && open.layer[0].update_bits == 0);
    cr_expect_not(bg_plan_equal(&none, &open));
    bg_text_init(&text, 1 << 12);
    bg_plan_print(&none, &text);
    cr_expect(strstr(bg_text_string(&text), "u=residual:0\n") != NULL, "%s", bg_text_string(&text));
    bg_text_free(&text);
    bg_plan_free(&none);
    bg_plan_free(&open);
}

Test(plan, make_refuses_names_that_could_not_be_read)
{
    static const char *const bad[] = {"", "a b", "a=b", "#", "requant", "a\nb"};
    struct bg_plan plan;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_expect(eq(int, bg_plan_make(&plan, &bad[i], 1), BG_E_DATA), "%s", bad[i]);
        cr_expect_null(plan.layer);
    }
    const char *twice[2] = {"a", "a"};
    cr_expect(eq(int, bg_plan_make(&plan, twice, 2), BG_E_DATA));
    cr_expect_not_null(strstr(bg_error(), "two layers are named a"));
    struct bg_plan zero = {0};
    bg_plan_free(&zero);
}

Test(plan, survives_every_failed_allocation)
{
    enum bg_status rc = BG_E_NOMEM;
    int n = 1;
    for (; n < 100 && rc != BG_OK; n++) {
        struct bg_plan plan, copy = {0};
        bg_alloc_fail_at((uint64_t)n);
        rc =
            bg_plan_parse(&plan, "plan.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\n");
        if (rc == BG_OK)
            rc = bg_plan_copy(&copy, &plan);
        bg_alloc_fail_at(0);
        cr_expect(rc == BG_OK || rc == BG_E_NOMEM);
        bg_plan_free(&plan);
        bg_plan_free(&copy);
    }
    cr_expect(n > 3 && rc == BG_OK);
}
