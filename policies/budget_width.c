/* One width for all: the widest that a budget holds, and the frame of a criterion that says nothing
 * of activations. */
#include "policies/budget.h"

static int next_below(const struct bg_bits_frame *frame, int limit)
{
    int best = 0;
    for (int i = 0; i < frame->candidates; i++)
        if (frame->bits[i] < limit && frame->bits[i] > best)
            best = frame->bits[i];
    return best;
}

static int smallest(const struct bg_bits_frame *frame)
{
    int least = frame->bits[0];
    for (int i = 1; i < frame->candidates; i++)
        least = frame->bits[i] < least ? frame->bits[i] : least;
    return least;
}

struct bg_bits_frame bg_bits_same(const struct bg_bits_frame *frame, int width)
{
    struct bg_bits_frame same = *frame;
    same.before = NULL; /* no layer alone decides the width of all */
    same.candidates = 1;
    same.bits[0] = width;
    if (same.activation_bits < 0)
        same.activation_bits = width;
    return same;
}

enum bg_status bg_bits_widest(const struct bg_bits_frame *frame, int *width)
{
    struct bg_bits_problem bits = {.layers = 0};
    bool found = false;
    enum bg_status rc = BG_OK;

    *width = 17;
    while (!found) {
        *width = next_below(frame, *width);
        if (*width < 1)
            break;
        const struct bg_bits_frame same = bg_bits_same(frame, *width);
        bg_bits_close(&bits);
        TRY(bg_bits_open(&bits, &same, NULL));
        found = bg_bits_check(&bits) == BG_OK;
    }
out:
    bg_bits_close(&bits);
    return rc;
}

/* The one width of all inputs may not rise above that of the plan before either. */
static int cap(const struct bg_bits_frame *frame, int width)
{
    for (int i = 0; frame->before && i < frame->before->count; i++) {
        int bits = bg_spec_bits(&frame->before->layer[i].spec[BG_ROLE_ACTIVATION]);
        if (!(frame->pinned && frame->pinned[i]) && bits < width)
            width = bits;
    }
    return width;
}

enum bg_status bg_bits_open_for(struct bg_bits_problem *out, const struct bg_bits_frame *frame,
                                const struct bg_penalties *penalties)
{
    struct bg_bits_frame own = *frame;
    enum bg_status rc = BG_OK;
    if (own.activation_bits < 0 && penalties && !penalties->speaks[BG_ROLE_ACTIVATION]) {
        TRY(bg_bits_widest(frame, &own.activation_bits));
        if (own.activation_bits < 1)
            own.activation_bits = smallest(frame);
        own.activation_bits = cap(frame, own.activation_bits);
    }
    TRY(bg_bits_open(out, &own, penalties));
    TRY(bg_bits_check(out));
out:
    return rc;
}
