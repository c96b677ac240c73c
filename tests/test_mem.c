/* Allocation, fault injection and arenas. */
#include "core/mem.h"

#include <criterion/criterion.h>
#include <string.h>

static void expect_zero(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        cr_assert_eq(bytes[i], 0);
}

Test(mem, memory_is_zeroed_aligned_and_counted)
{
    uint64_t before = bg_alloc_calls();
    static const int64_t counts[] = {1, 7, 64, 1000, 1 << 18};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        float *x = NULL;
        cr_assert_eq(bg_alloc(&x, counts[i], sizeof *x), BG_OK);
        cr_assert_eq((uintptr_t)x % BG_ALIGN, 0);
        expect_zero((const unsigned char *)x, (size_t)counts[i] * sizeof *x);
        memset(x, 0xff, (size_t)counts[i] * sizeof *x); /* the next one must be zeroed, not lucky */
        bg_free(x);
    }
    cr_assert_eq(bg_alloc_calls() - before, 5);
    bg_free(NULL);
}

Test(mem, nothing_asked_gives_null_and_no_call)
{
    uint64_t before = bg_alloc_calls();
    int *x = (int *)&before;

    cr_assert_eq(bg_alloc(&x, 0, sizeof *x), BG_OK);
    cr_assert_null(x);
    cr_assert_eq(bg_alloc_calls(), before);
}

Test(mem, impossible_sizes_are_refused_with_a_sentence)
{
    int64_t *x = NULL;

    cr_assert_eq(bg_alloc(&x, INT64_MAX, sizeof *x), BG_E_NOMEM);
    cr_assert_not_null(strstr(bg_error(), "out of memory"));
    cr_assert_eq(bg_alloc(&x, ((int64_t)1 << 61) + 1, sizeof *x), BG_E_NOMEM);
    cr_assert_eq(bg_alloc(&x, (int64_t)1 << 41, 1), BG_E_NOMEM);
    cr_assert_eq(bg_alloc(&x, -1, sizeof *x), BG_E_RANGE);
    cr_assert_null(x);
}

Test(mem, grow_keeps_old_items_and_zeroes_new_ones)
{
    int32_t *x = NULL, *kept;

    cr_assert_eq(bg_grow(&x, 0, 3, sizeof *x), BG_OK);
    for (int i = 0; i < 3; i++)
        x[i] = i + 1;
    cr_assert_eq(bg_grow(&x, 3, 100, sizeof *x), BG_OK);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(x[i], i < 3 ? i + 1 : 0);
    kept = x;
    bg_alloc_fail_at(1);
    cr_assert_eq(bg_grow(&x, 100, 200, sizeof *x), BG_E_NOMEM);
    cr_assert_eq(x, kept);
    cr_assert_eq(x[2], 3);
    cr_assert_eq(bg_grow(&x, 100, 2, sizeof *x), BG_OK);
    cr_assert_eq(x[1], 2);
    bg_free(x);
}

Test(mem, the_chosen_call_fails_once)
{
    void *memory[4] = {NULL};
    uint64_t before = bg_alloc_calls();

    bg_alloc_fail_at(3);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(bg_alloc(&memory[i], 10, 1), i == 2 ? BG_E_NOMEM : BG_OK);
    cr_assert_null(memory[2]);
    cr_assert_eq(bg_alloc_calls() - before, 3);
    bg_alloc_fail_at(1);
    bg_alloc_fail_at(0);
    cr_assert_eq(bg_alloc(&memory[2], 10, 1), BG_OK);
    for (int i = 0; i < 4; i++)
        bg_free(memory[i]);
}

Test(mem, text_is_copied)
{
    char *copy = NULL;

    cr_assert_eq(bg_copy_text(&copy, "conv1"), BG_OK);
    cr_assert_str_eq(copy, "conv1");
    bg_free(copy);
    cr_assert_eq(bg_copy_text(&copy, NULL), BG_OK);
    cr_assert_null(copy);
    bg_alloc_fail_at(1);
    cr_assert_eq(bg_copy_text(&copy, ""), BG_E_NOMEM);
    cr_assert_null(copy);
}

Test(mem, products_are_checked)
{
    int64_t product = -1;

    cr_assert_eq(bg_product(3037000499, 3037000499, &product), BG_OK);
    cr_assert_eq(product, INT64_C(9223372030926249001));
    cr_assert_eq(bg_product(INT64_MAX, 1, &product), BG_OK);
    cr_assert_eq(product, INT64_MAX);
    cr_assert_eq(bg_product(INT64_MAX, 0, &product), BG_OK);
    cr_assert_eq(product, 0);
    cr_assert_eq(bg_product(3037000500, 3037000500, &product), BG_E_RANGE);
    cr_assert_eq(bg_product(INT64_MAX / 2 + 1, 2, &product), BG_E_RANGE);
    cr_assert_eq(bg_product(-1, 2, &product), BG_E_RANGE);
    cr_assert_eq(product, 0);
}

Test(arena, allocations_are_apart_zeroed_and_live_until_the_end)
{
    struct bg_arena *arena = NULL;
    unsigned char *at[200];
    const char *name = NULL;
    uint64_t before;

    cr_assert_eq(bg_arena_create(&arena, "model"), BG_OK);
    before = bg_alloc_calls();
    for (int i = 0; i < 200; i++) {
        /* sizes from 1 byte to beyond a block */
        size_t size = i == 100 ? 3000000 : (size_t)(i * i) + 1;
        cr_assert_eq(bg_arena_alloc(arena, &at[i], (int64_t)size, 1), BG_OK);
        cr_assert_eq((uintptr_t)at[i] % BG_ALIGN, 0);
        expect_zero(at[i], size < 5000 ? size : 5000);
        memset(at[i], i, size);
    }
    for (int i = 0; i < 200; i++)
        cr_assert_eq(at[i][i == 100 ? 2999999 : i * i], i);
    cr_assert_eq(bg_alloc_calls() - before, 200);
    cr_assert_eq(bg_arena_text(arena, &name, "conv1.weight"), BG_OK);
    cr_assert_str_eq(name, "conv1.weight");
    cr_assert_geq(bg_arena_bytes(arena), 3000000);
    cr_assert_eq(bg_arena_bytes(arena) % BG_ALIGN, 0);
    bg_arena_destroy(arena);
    bg_arena_destroy(NULL);
}

Test(arena, failures_name_the_arena_and_leave_it_usable)
{
    struct bg_arena *arena = NULL;
    int *x = (int *)&arena;
    const char *name = "x";

    bg_alloc_fail_at(1);
    cr_assert_eq(bg_arena_create(&arena, "program"), BG_E_NOMEM);
    cr_assert_null(arena);
    cr_assert_eq(bg_arena_create(&arena, "program with a name longer than it keeps"), BG_OK);
    bg_alloc_fail_at(1);
    cr_assert_eq(bg_arena_alloc(arena, &x, 4, sizeof *x), BG_E_NOMEM);
    cr_assert_null(x);
    cr_assert_eq(strncmp(bg_error(), "program with a", 14), 0);
    cr_assert_eq(bg_arena_alloc(arena, &x, -4, sizeof *x), BG_E_RANGE);
    bg_alloc_fail_at(1);
    cr_assert_eq(bg_arena_text(arena, &name, "y"), BG_E_NOMEM);
    cr_assert_null(name);
    cr_assert_eq(bg_arena_alloc(arena, &x, 0, sizeof *x), BG_OK);
    cr_assert_null(x);
    cr_assert_eq(bg_arena_alloc(arena, &x, 4, sizeof *x), BG_OK);
    cr_assert_not_null(x);
    bg_arena_destroy(arena);
}
