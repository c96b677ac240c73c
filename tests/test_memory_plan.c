/* Memory plans: buffers that live at one time never overlap, others share. */
#include <criterion/criterion.h>

#include "autograd/memory_plan.h"
#include "core/rng.h"
#include "support_graph.h"

static int64_t rounded(int64_t bytes)
{
    return (bytes + BG_ALIGN - 1) / BG_ALIGN * BG_ALIGN;
}

static void expect_valid(const struct bg_buffer *buffers, int count, int64_t total)
{
    for (int i = 0; i < count; i++) {
        const struct bg_buffer *a = &buffers[i];
        cr_assert(a->offset >= 0 && a->offset % BG_ALIGN == 0);
        cr_assert(a->offset + a->bytes <= total);
        for (int k = 0; k < i; k++) {
            const struct bg_buffer *b = &buffers[k];
            bool together = a->first <= b->last && b->first <= a->last;
            bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            cr_assert(!(together && overlap), "buffers %d and %d overlap", i, k);
        }
    }
}

Test(memory_plan, random_buffers_never_overlap_while_live)
{
    const struct bg_rng rng = {.seed = 1, .stream = BG_STREAM_TEST};
    struct bg_buffer buffers[60];
    uint64_t draw = 0;

    for (int round = 0; round < 300; round++) {
        int count = 1 + (int)bg_rng_below(&rng, draw++, 60);
        int64_t total = 0, sum = 0, peak = 0;
        for (int i = 0; i < count; i++) {
            int first = (int)bg_rng_below(&rng, draw++, 30);
            int last = first + (int)bg_rng_below(&rng, draw++, 10);
            int64_t bytes = bg_rng_below(&rng, draw++, 5000);
            buffers[i] = (struct bg_buffer){.bytes = bytes, .first = first, .last = last};
            sum += rounded(buffers[i].bytes);
        }
        OK(bg_memory_plan(buffers, count, &total));
        expect_valid(buffers, count, total);
        for (int t = 0; t < 40; t++) {
            int64_t live = 0;
            for (int i = 0; i < count; i++)
                live +=
                    buffers[i].first <= t && t <= buffers[i].last ? rounded(buffers[i].bytes) : 0;
            peak = live > peak ? live : peak;
        }
        cr_assert(peak <= total && total <= sum);
    }
}

/* A chain where each buffer lives with its neighbour only needs two places. */
Test(memory_plan, chain_takes_two_buffers)
{
    struct bg_buffer chain[10];
    int64_t total = 0;

    for (int i = 0; i < 10; i++)
        chain[i] = (struct bg_buffer){.bytes = 640, .first = i, .last = i + 1};
    OK(bg_memory_plan(chain, 10, &total));
    cr_expect(total == 1280);
}

/* The small buffer goes into the hole that fits it best, not into the first. */
Test(memory_plan, smallest_hole_is_taken)
{
    struct bg_buffer buffers[] = {
        {.bytes = 1024, .first = 0, .last = 0}, /* leaves a hole of 1024 at 0 */
        {.bytes = 960, .first = 0, .last = 1},  /* at 1024 */
        {.bytes = 512, .first = 0, .last = 0},  /* leaves a hole of 512 */
        {.bytes = 448, .first = 0, .last = 1},  {.bytes = 320, .first = 1, .last = 1},
    };
    int64_t total = 0;

    OK(bg_memory_plan(buffers, 5, &total));
    expect_valid(buffers, 5, total);
    cr_expect(total == 1024 + 960 + 512 + 448);
    cr_expect(buffers[4].offset == buffers[2].offset);
}

Test(memory_plan, nothing_and_empty_buffers_take_no_room)
{
    struct bg_buffer empty[] = {{.bytes = 0, .first = 0, .last = 5},
                                {.bytes = 64, .first = 0, .last = 5}};
    int64_t total = -1;

    OK(bg_memory_plan(NULL, 0, &total));
    cr_expect(total == 0);
    OK(bg_memory_plan(empty, 2, &total));
    cr_expect(total == 64);
}
