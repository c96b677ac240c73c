/* Loss change: layers whose quantization raises the loss least, one at a time. Penalty: the row of
 * measure loss-change at these bits; it may be negative. */
#include <stdio.h>

#include "policies/weigh.h"

extern const struct bg_select_method bg_select_loss_change;

struct options {
    char measure[BG_OPTION_TEXT];
    bool absolute;
};

static const struct bg_option table[] = {
    {.key = "measure",
     .type = BG_OPT_TEXT,
     .offset = offsetof(struct options, measure),
     .fallback = "loss-change",
     .help = "its name in profile.measures"},
    {.key = "absolute",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct options, absolute),
     .fallback = "false",
     .help = "take the size of a change: a loss that falls counts too (ours)"},
    {.key = NULL}};

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    const struct bg_weigh_key key = {o->measure, BG_MEASURED_LOSS};
    const struct bg_weigh weigh = {
        .criterion = "loss-change", .rows = {key, key}, .absolute = o->absolute};
    return bg_weigh_fill(&weigh, input, out);
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct options *o = options;
    enum bg_status rc = BG_OK;
    int bits = 0;
    TRY(bg_weigh_rank(&bg_select_loss_change, options, input, out, &bits));
    (void)snprintf(out->note, sizeof out->note,
                   "%schange of the loss (%.60s), the layer alone at %d bits, smallest first",
                   o->absolute ? "size of the " : "", o->measure, bits);
out:
    return rc;
}

const struct bg_select_method bg_select_loss_change = {
    .name = "loss-change",
    .help = "layers whose quantization alone raises the loss least",
    .source = "common practice",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
