/* Penalties from measurements. What is missing is said in terms of the recipe: the measure to add
 * to profile.measures, or the bits to add to profile.candidates. */
#include "policies/weigh.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum bg_status bg_penalties_make(struct bg_penalties *out, int layers, const int *bits,
                                 int candidates)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_penalties){.layers = layers, .candidates = candidates};
    if (layers < 0 || candidates < 1 || candidates > BG_CANDIDATES_MAX)
        FAIL(BG_E_RANGE, "penalties of %d candidates for %d layers, limits are 1 and %d candidates",
             candidates, layers, BG_CANDIDATES_MAX);
    for (int c = 0; c < candidates; c++) {
        if (bits[c] < 0 || bits[c] > BG_BITS_MAX)
            FAIL(BG_E_RANGE, "penalties at %d bits, limits are 0 (f32) and %d", bits[c],
                 BG_BITS_MAX);
        out->bits[c] = bits[c];
    }
    TRY(bg_alloc(&out->value, 2 * (int64_t)layers * candidates, sizeof *out->value));
    for (int64_t i = 0; i < 2 * (int64_t)layers * candidates; i++)
        out->value[i] = (double)NAN;
out:
    if (rc != BG_OK)
        bg_penalties_free(out);
    return rc;
}

void bg_penalties_free(struct bg_penalties *penalties)
{
    bg_free(penalties->value);
    *penalties = (struct bg_penalties){0};
}

double *bg_penalties_at(const struct bg_penalties *penalties, int layer, enum bg_role role,
                        int candidate)
{
    int64_t at = (int64_t)role * penalties->layers + layer;
    return &penalties->value[at * penalties->candidates + candidate];
}

static enum bg_status check_values(const struct bg_select_method *method,
                                   const struct bg_select_input *input,
                                   const struct bg_penalties *penalties)
{
    for (int role = 0; role < 2; role++)
        for (int i = 0; penalties->speaks[role] && i < penalties->layers; i++)
            for (int c = 0; c < penalties->candidates; c++) {
                double value = *bg_penalties_at(penalties, i, (enum bg_role)role, c);
                if (!isfinite(value))
                    return bg_fail(BG_E_NUMERIC, "%s: the penalty of layer %s (%s, %d bits) is %g",
                                   method->name, input->names[i], bg_measure_roles[role],
                                   penalties->bits[c], value);
            }
    return BG_OK;
}

enum bg_status bg_select_penalties(const struct bg_select_method *method, const void *options,
                                   const struct bg_select_input *input, const int *bits,
                                   int candidates, struct bg_penalties *out)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_penalties){.value = NULL};
    if (!method->penalties)
        FAIL(BG_E_UNSUPPORTED, "%s ranks layers, it has no penalties", method->name);
    TRY(bg_penalties_make(out, input->layers, bits, candidates));
    TRY(method->penalties(options, input, out));
    TRY(check_values(method, input, out));
out:
    if (rc != BG_OK)
        bg_penalties_free(out);
    return rc;
}

bool bg_weigh_has(const struct bg_select_input *input, const struct bg_weigh_key *key,
                  enum bg_role role)
{
    const struct bg_measurements *measures = input->measures;
    int measure =
        key->measure && *key->measure ? bg_measurements_index(measures, key->measure) : -1;
    for (int64_t r = 0; measure >= 0 && r < measures->rows; r++)
        if (measures->row[r].measure == measure && measures->row[r].measured == key->measured &&
            measures->row[r].role == (int)role)
            return true;
    return false;
}

static bool was_taken(const struct bg_measurements *measures, int measure)
{
    for (int64_t r = 0; r < measures->rows; r++)
        if (measures->row[r].measure == measure)
            return true;
    return false;
}

/* Why there is no such row, in terms of what to run. */
static enum bg_status missing(const char *criterion, const struct bg_select_input *input,
                              const struct bg_weigh_key *key, const struct bg_measure_row *where)
{
    const struct bg_measurements *measures = input->measures;
    int measure = bg_measurements_index(measures, key->measure);
    if (measure < 0)
        return bg_fail(BG_E_DATA,
                       "%s: the run has no measure \"%s\"; add it to profile.measures and run the "
                       "profile stage",
                       criterion, key->measure);
    if (!was_taken(measures, measure))
        return bg_fail(BG_E_DATA, "%s: measure \"%s\" was not taken yet; run the profile stage",
                       criterion, key->measure);
    if (!bg_weigh_has(input, key, (enum bg_role)where->role))
        return bg_fail(BG_E_DATA,
                       "%s: measure \"%s\" has no %s of %ss; measure it so in profile.measures",
                       criterion, key->measure, bg_measured_names[key->measured],
                       bg_measure_roles[where->role]);
    return bg_fail(BG_E_DATA,
                   "%s: measure \"%s\" has no %s of layer %s at %d bits; add %d to "
                   "profile.candidates and run the profile stage",
                   criterion, key->measure, bg_measured_names[key->measured],
                   input->names[where->layer], where->bits, where->bits);
}

enum bg_status bg_weigh_value(const char *criterion, const struct bg_select_input *input,
                              const struct bg_weigh_key *key, const struct bg_measure_row *where,
                              double *out)
{
    struct bg_measure_row wanted = *where;
    const struct bg_measure_row *row = NULL;
    wanted.measure = bg_measurements_index(input->measures, key->measure);
    wanted.measured = key->measured;
    if (wanted.measure >= 0)
        row = bg_measurements_find(input->measures, &wanted);
    if (!row)
        return missing(criterion, input, key, where);
    if (!isfinite(row->value))
        return bg_fail(BG_E_NUMERIC, "%s: %s of layer %s (%s, %d bits) is %g", criterion,
                       bg_measured_names[key->measured], input->names[where->layer],
                       bg_measure_roles[where->role], where->bits, row->value);
    *out = row->value;
    return BG_OK;
}

enum bg_status bg_weigh_factors(const char *criterion, const struct bg_select_input *input,
                                const struct bg_weigh_key *key, enum bg_role role, double *factor)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < input->layers; i++) {
        const struct bg_measure_row where = {.layer = i, .role = (int)role};
        double value = 0;
        TRY(bg_weigh_value(criterion, input, key, &where, &value));
        factor[i] *= value;
    }
out:
    return rc;
}

static enum bg_status fill_role(const struct bg_weigh *weigh, const struct bg_select_input *input,
                                enum bg_role role, struct bg_penalties *out)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < input->layers; i++)
        for (int c = 0; c < out->candidates; c++) {
            const struct bg_measure_row where = {
                .layer = i, .role = (int)role, .bits = out->bits[c]};
            double value = 0;
            if (out->bits[c] > 0)
                TRY(bg_weigh_value(weigh->criterion, input, &weigh->rows[role], &where, &value));
            value = weigh->absolute ? fabs(value) : value;
            *bg_penalties_at(out, i, role, c) =
                weigh->factor[role] ? weigh->factor[role][i] * value : value;
        }
    out->speaks[role] = true;
out:
    return rc;
}

enum bg_status bg_weigh_fill(const struct bg_weigh *weigh, const struct bg_select_input *input,
                             struct bg_penalties *out)
{
    const struct bg_weigh_key *key = &weigh->rows[BG_ROLE_ACTIVATION];
    enum bg_status rc = BG_OK;

    TRY(fill_role(weigh, input, BG_ROLE_WEIGHT, out));
    if (weigh->weights_only)
        goto out;
    if (bg_weigh_has(input, key, BG_ROLE_ACTIVATION))
        TRY(fill_role(weigh, input, BG_ROLE_ACTIVATION, out));
    else if (key->measure && *key->measure)
        (void)snprintf(out->silent, sizeof out->silent,
                       "%s says nothing of activations: add \"%.63s\" to profile.measures",
                       weigh->criterion, key->measure);
    else
        (void)snprintf(out->silent, sizeof out->silent, "%s says nothing of activations%s%s",
                       weigh->criterion, weigh->silent ? ": " : "",
                       weigh->silent ? weigh->silent : "");
out:
    return rc;
}

enum bg_status bg_weigh_rank(const struct bg_select_method *method, const void *options,
                             const struct bg_select_input *input, struct bg_ranking *out, int *bits)
{
    struct bg_penalties penalties = {.value = NULL};
    enum bg_status rc = BG_OK;

    *bits = input->second_bits;
    if (*bits < 1 && input->measures && input->measures->candidates > 0)
        *bits = input->measures->bits[0];
    *bits = *bits < 1 ? 4 : *bits; /* nothing measured: the sentence will say so */
    TRY(bg_select_penalties(method, options, input, bits, 1, &penalties));
    for (int i = 0; i < input->layers; i++)
        out->score[i] = *bg_penalties_at(&penalties, i, BG_ROLE_WEIGHT, 0);
    bg_ranking_sort(out, input->pinned, false);
out:
    bg_penalties_free(&penalties);
    return rc;
}
