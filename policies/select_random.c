/* The random baseline: layers in an order drawn from the seed. A policy that measures something
 * must do better than this at the same count. Each layer's draw depends on the seed and its name
 * alone, so adding a layer moves no other layer's draw. */
#include <math.h>
#include <stdio.h>

#include "core/rng.h"
#include "policies/select.h"

struct random_options {
    int64_t draw;
};

static const struct bg_option table[] = {
    {.key = "draw",
     .type = BG_OPT_INT,
     .offset = offsetof(struct random_options, draw),
     .fallback = "0",
     .min = 0,
     .max = 4294967295.0,
     .help = "number of the draw: another number gives another order under the same seed"},
    {.key = NULL}};

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct random_options *o = options;
    for (int i = 0; i < input->layers; i++) {
        struct bg_rng rng = {.seed = bg_rng_hash(input->seed, input->names[i]),
                             .stream = BG_STREAM_SELECT,
                             .step = (uint32_t)o->draw};
        out->score[i] = (double)bg_rng_uniform(&rng, 0);
    }
    bg_ranking_sort(out, input->pinned, false);
    (void)snprintf(out->note, sizeof out->note, "nothing measured: draw %lld of seed %llu",
                   (long long)o->draw, (unsigned long long)input->seed);
    return BG_OK;
}

/* Each layer and role has a weight drawn at random; noise falls by 4 with each bit, as that of a
 * uniform grid does. */
static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct random_options *o = options;
    for (int i = 0; i < input->layers; i++)
        for (int role = 0; role < 2; role++) {
            struct bg_rng rng = {.seed = bg_rng_hash(input->seed, input->names[i]),
                                 .stream = BG_STREAM_SELECT,
                                 .step = (uint32_t)o->draw};
            double weight = (double)bg_rng_uniform(&rng, (uint64_t)role);
            double size = role == BG_ROLE_WEIGHT ? (double)input->weights[i]
                          : input->activations   ? (double)input->activations[i]
                                                 : 1;
            for (int c = 0; c < out->candidates; c++)
                *bg_penalties_at(out, i, (enum bg_role)role, c) =
                    out->bits[c] > 0 ? weight * size * ldexp(1, -2 * out->bits[c]) : 0;
            out->speaks[role] = true;
        }
    return BG_OK;
}

extern const struct bg_select_method bg_select_random;
const struct bg_select_method bg_select_random = {
    .name = "random",
    .help = "no measurement: layers in an order drawn from the seed and their names",
    .source = "common practice (baseline)",
    .options = table,
    .options_size = sizeof(struct random_options),
    .rank = rank,
    .penalties = penalties};
