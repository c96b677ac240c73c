/* Rankings: layers in the order in which they are to be quantized. Sorting is stable by layer
 * index (policies/METHODS.md: ties break by index), so equal scores keep the network's order and
 * no result depends on the sort's implementation. */
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "policies/select.h"

enum bg_status bg_ranking_make(struct bg_ranking *out, int layers)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_ranking){0};
    if (layers < 0)
        FAIL(BG_E_RANGE, "ranking: %d layers", layers);
    TRY(bg_alloc(&out->order, layers, sizeof *out->order));
    TRY(bg_alloc(&out->score, layers, sizeof *out->score));
    out->layers = layers;
    for (int i = 0; i < layers; i++)
        out->score[i] = (double)NAN;
out:
    if (rc != BG_OK)
        bg_ranking_free(out);
    return rc;
}

void bg_ranking_free(struct bg_ranking *ranking)
{
    bg_free(ranking->order);
    bg_free(ranking->score);
    *ranking = (struct bg_ranking){0};
}

static bool comes_before(const struct bg_ranking *ranking, int a, int b)
{
    double left = ranking->score[a], right = ranking->score[b];
    return ranking->descending ? left > right : left < right;
}

/* Insertion sort: a network has some dozens of layers, and it is stable. */
void bg_ranking_sort(struct bg_ranking *ranking, const bool *pinned, bool descending)
{
    ranking->descending = descending;
    ranking->count = 0;
    for (int layer = 0; layer < ranking->layers; layer++) {
        if (isnan(ranking->score[layer]) || (pinned && pinned[layer]))
            continue;
        int at = ranking->count++;
        for (; at > 0 && comes_before(ranking, layer, ranking->order[at - 1]); at--)
            ranking->order[at] = ranking->order[at - 1];
        ranking->order[at] = layer;
    }
}

void bg_ranking_ranks(const double *values, int n, double *ranks)
{
    for (int i = 0; i < n; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < n; j++) {
            below += values[j] < values[i];
            equal += values[j] == values[i];
        }
        ranks[i] = isnan(values[i]) ? (double)NAN : below + (equal + 1) * 0.5;
    }
}

enum bg_status bg_select_check_profile(const struct bg_select_input *input)
{
    const struct bg_profile *profile = input->profile;
    if (!profile)
        return bg_fail(BG_E_DATA, "select: there is no profile; run the profile stage first");
    if (profile->layers != input->layers)
        return bg_fail(BG_E_MISMATCH, "select: the profile has %d layers, the network %d",
                       profile->layers, input->layers);
    for (int i = 0; i < input->layers; i++) {
        if (strcmp(profile->names[i], input->names[i]) != 0)
            return bg_fail(BG_E_MISMATCH,
                           "select: layer %d is \"%s\" in the profile and \"%s\" in the network", i,
                           profile->names[i], input->names[i]);
    }
    return BG_OK;
}
