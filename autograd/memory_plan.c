/* Greedy by size with best fit: see memory_plan.h. Quadratic in the number of buffers per buffer,
 * which is a few hundred for the largest networks here. */
#include "autograd/memory_plan.h"

static int64_t rounded(int64_t bytes)
{
    return (bytes + BG_ALIGN - 1) / BG_ALIGN * BG_ALIGN;
}

/* Indices by falling size, ties by index (insertion sort keeps them). */
static void sort_by_size(const struct bg_buffer *buffers, int count, int *order)
{
    for (int i = 0; i < count; i++) {
        int at = i;
        while (at > 0 && buffers[order[at - 1]].bytes < buffers[i].bytes) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}

/* Offset of the smallest gap between the placed buffers that live at the same time as `buffer`, or
 * the end of the last of them. `live` holds those buffers by rising offset. */
static int64_t best_gap(const struct bg_buffer *buffers, const int *live, int count, int64_t bytes)
{
    int64_t end = 0, best = -1, best_size = 0;

    for (int i = 0; i < count; i++) {
        const struct bg_buffer *other = &buffers[live[i]];
        int64_t gap = other->offset - end, other_end = other->offset + rounded(other->bytes);
        if (gap >= bytes && (best < 0 || gap < best_size)) {
            best = end;
            best_size = gap;
        }
        end = other_end > end ? other_end : end;
    }
    return best >= 0 ? best : end;
}

/* Collects the placed buffers that share a time with `buffer`, by rising offset. */
static int collect_live(const struct bg_buffer *buffers, const int *order, int placed,
                        const struct bg_buffer *buffer, int *live)
{
    int count = 0;

    for (int i = 0; i < placed; i++) {
        const struct bg_buffer *other = &buffers[order[i]];
        int at = count;
        if (other->bytes == 0 || other->first > buffer->last || buffer->first > other->last)
            continue;
        while (at > 0 && buffers[live[at - 1]].offset > other->offset) {
            live[at] = live[at - 1];
            at--;
        }
        live[at] = order[i];
        count++;
    }
    return count;
}

enum bg_status bg_memory_plan(struct bg_buffer *buffers, int count, int64_t *total)
{
    enum bg_status rc = BG_OK;
    int *order = NULL, *live = NULL;

    *total = 0;
    TRY(bg_alloc(&order, count, sizeof *order));
    TRY(bg_alloc(&live, count, sizeof *live));
    sort_by_size(buffers, count, order);
    for (int i = 0; i < count; i++) {
        struct bg_buffer *buffer = &buffers[order[i]];
        int64_t bytes = rounded(buffer->bytes);
        int lives = collect_live(buffers, order, i, buffer, live);
        buffer->offset = best_gap(buffers, live, lives, bytes);
        if (buffer->offset + bytes > *total)
            *total = buffer->offset + bytes;
    }
out:
    bg_free(order);
    bg_free(live);
    return rc;
}
