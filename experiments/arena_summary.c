/* Means, differences, ranks, correlations and hypervolumes of the trials. */
#include "experiments/arena_summary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena.h"

#define BOOTSTRAP_SEED 1 /* the same draws for every difference */

double *bg_arena_accuracy(const struct bg_arena_summary *s, int moment, int budget, int column)
{
    return s->accuracy + (((int64_t)moment * s->budgets + budget) * s->columns + column) * s->seeds;
}

static double *cost_at(const struct bg_arena_summary *s, int budget, int column)
{
    return s->cost + ((int64_t)budget * s->columns + column) * s->seeds;
}

struct bg_arena_cell *bg_arena_cell(const struct bg_arena_summary *s, int moment, int budget,
                                    int column)
{
    return &s->cell[((int64_t)moment * s->budgets + budget) * s->columns + column];
}

struct bg_arena_correlation *bg_arena_correlation(const struct bg_arena_summary *s, int moment,
                                                  int budget, int criterion)
{
    return &s->correlation[((int64_t)moment * s->budgets + budget) * s->criteria + criterion];
}

const char *bg_arena_verdict(const struct bg_interval *interval)
{
    if (!isfinite(interval->low) || !isfinite(interval->high))
        return "-";
    if (interval->n < 4)
        return "few";
    return interval->low > 0 ? "better" : interval->high < 0 ? "worse" : "tie";
}

enum bg_status bg_arena_difference(const struct bg_arena *arena, const double *a, const double *b,
                                   struct bg_interval *out)
{
    double difference[BG_LIST_MAX];
    int n = 0;
    for (int s = 0; s < arena->options.seeds.count; s++)
        if (isfinite(a[s]) && isfinite(b[s]))
            difference[n++] = a[s] - b[s];
    return bg_compare_bootstrap(difference, n, (int)arena->options.resamples, BOOTSTRAP_SEED, out);
}

static enum bg_status make(const struct bg_arena *arena, struct bg_arena_summary **out)
{
    struct bg_arena_summary *s = NULL;
    int64_t cells;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&s, 1, sizeof *s));
    *out = s;
    s->criteria = arena->criteria;
    s->columns = arena->criteria + 3;
    s->seeds = arena->options.seeds.count;
    s->budgets = arena->budget.values.count;
    for (int c = 0; c < arena->criteria; c++)
        TRY(bg_text_copy(s->name[c], BG_NAME_MAX, arena->criterion[c].name));
    TRY(bg_text_copy(s->name[s->criteria], BG_NAME_MAX, "same-bits"));
    TRY(bg_text_copy(s->name[s->criteria + 1], BG_NAME_MAX, "random"));
    TRY(bg_text_copy(s->name[s->criteria + 2], BG_NAME_MAX, "random-best"));
    cells = (int64_t)BG_ARENA_MOMENTS * s->budgets * s->columns;
    TRY(bg_alloc(&s->accuracy, cells * s->seeds, sizeof *s->accuracy));
    TRY(bg_alloc(&s->cost, (int64_t)s->budgets * s->columns * s->seeds, sizeof *s->cost));
    TRY(bg_alloc(&s->cell, cells, sizeof *s->cell));
    TRY(bg_alloc(&s->volume, (int64_t)s->columns * s->seeds, sizeof *s->volume));
    TRY(bg_alloc(&s->correlation, cells, sizeof *s->correlation));
    TRY(bg_alloc(&s->fp32, s->seeds, sizeof *s->fp32));
    for (int64_t i = 0; i < cells * s->seeds; i++)
        s->accuracy[i] = (double)NAN;
    for (int64_t i = 0; i < (int64_t)s->budgets * s->columns * s->seeds; i++)
        s->cost[i] = (double)NAN;
out:
    return rc;
}

/* Random plans of one seed and budget, in the order of their draws. */
struct draws {
    int count;
    const struct bg_arena_trial *trial[1000];
    double cost[1000];
};

static enum bg_status trial_of(const struct bg_arena *arena, const struct bg_arena_proposal *p,
                               const struct bg_arena_trial **out)
{
    int64_t seed = arena->options.seeds.at[p->seed];
    *out = bg_arena_find_trial(arena, seed, p->plan);
    if (!*out)
        return bg_fail(BG_E_DATA, "%s/trials.tsv: plan %s of seed %lld is missing", arena->dir,
                       p->plan, (long long)seed);
    return BG_OK;
}

static void take(struct bg_arena_summary *s, const struct bg_arena_proposal *p, int column,
                 const struct bg_arena_trial *trial)
{
    for (int m = 0; m < BG_ARENA_MOMENTS; m++)
        bg_arena_accuracy(s, m, p->budget, column)[p->seed] = trial->test[m];
    cost_at(s, p->budget, column)[p->seed] = p->cost;
}

static enum bg_status take_proposals(const struct bg_arena *arena, struct bg_arena_summary *s)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < arena->proposals; i++) {
        const struct bg_arena_proposal *p = &arena->proposal[i];
        const struct bg_arena_trial *trial = NULL;
        if (p->who == BG_ARENA_RANDOM)
            continue;
        TRY(trial_of(arena, p, &trial));
        take(s, p, p->who == BG_ARENA_SAME ? s->criteria : p->who, trial);
        for (int j = i; p->who >= 0 && j-- > 0 && arena->proposal[j].seed == p->seed &&
                        arena->proposal[j].budget == p->budget;)
            if (arena->proposal[j].who >= 0 && !strcmp(arena->proposal[j].plan, p->plan)) {
                s->same_plan++;
                break;
            }
    }
out:
    return rc;
}

static enum bg_status gather(const struct bg_arena *arena, int seed, int budget,
                             struct draws *draws)
{
    enum bg_status rc = BG_OK;
    draws->count = 0;
    for (int i = 0; i < arena->proposals; i++) {
        const struct bg_arena_proposal *p = &arena->proposal[i];
        if (p->who != BG_ARENA_RANDOM || p->seed != seed || p->budget != budget)
            continue;
        TRY(trial_of(arena, p, &draws->trial[draws->count]));
        draws->cost[draws->count++] = p->cost;
    }
out:
    return rc;
}

static int count_distinct(const struct draws *draws)
{
    int count = 0;
    for (int d = 0; d < draws->count; d++) {
        int e = 0;
        while (e < d && draws->trial[e] != draws->trial[d])
            e++;
        count += e == d;
    }
    return count;
}

static void take_random(struct bg_arena_summary *s, int seed, int budget, const struct draws *draws)
{
    double values[1000];
    struct bg_arena_proposal place = {.seed = seed, .budget = budget};
    int best = 0;
    if (draws->count == 0)
        return;
    for (int m = 0; m < BG_ARENA_MOMENTS; m++) {
        for (int d = 0; d < draws->count; d++)
            values[d] = draws->trial[d]->test[m];
        bg_arena_accuracy(s, m, budget, s->criteria + 1)[seed] =
            bg_compare_mean(values, draws->count);
    }
    cost_at(s, budget, s->criteria + 1)[seed] = bg_compare_mean(draws->cost, draws->count);
    for (int d = 1; d < draws->count; d++)
        if (draws->trial[d]->validation[BG_ARENA_BEST] >
            draws->trial[best]->validation[BG_ARENA_BEST])
            best = d;
    place.cost = draws->cost[best];
    take(s, &place, s->criteria + 2, draws->trial[best]);
}

/* Sums; divided by the number of seeds at the end. */
static enum bg_status correlate(const struct bg_arena *arena, struct bg_arena_summary *s, int seed,
                                int budget, const struct draws *draws)
{
    double objective[1000], error[1000];
    enum bg_status rc = BG_OK;
    for (int m = 0; m < BG_ARENA_MOMENTS; m++)
        for (int c = 0; c < s->criteria; c++) {
            struct bg_arena_correlation *to = bg_arena_correlation(s, m, budget, c);
            double spearman = 0;
            for (int d = 0; d < draws->count; d++) {
                objective[d] = bg_arena_score(arena, seed, budget, d)[c];
                error[d] = 1 - draws->trial[d]->test[m];
            }
            TRY(bg_compare_spearman(objective, error, draws->count, &spearman));
            if (!isfinite(spearman))
                continue;
            to->spearman += spearman;
            to->kendall += bg_compare_kendall(objective, error, draws->count);
            to->seeds++;
        }
out:
    return rc;
}

static enum bg_status take_draws(const struct bg_arena *arena, struct bg_arena_summary *s)
{
    struct draws *draws = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&draws, 1, sizeof *draws));
    for (int seed = 0; seed < s->seeds; seed++)
        for (int b = 0; b < s->budgets; b++) {
            TRY(gather(arena, seed, b, draws));
            take_random(s, seed, b, draws);
            s->distinct += (double)count_distinct(draws) / (s->seeds * s->budgets);
            TRY(correlate(arena, s, seed, b, draws));
        }
    for (int i = 0; i < BG_ARENA_MOMENTS * s->budgets * s->criteria; i++) {
        struct bg_arena_correlation *c = &s->correlation[i];
        c->spearman = c->seeds ? c->spearman / c->seeds : (double)NAN;
        c->kendall = c->seeds ? c->kendall / c->seeds : (double)NAN;
    }
out:
    bg_free(draws);
    return rc;
}

static enum bg_status fill_cell(const struct bg_arena *arena, struct bg_arena_summary *s,
                                const int at[3])
{
    struct bg_arena_cell *cell = bg_arena_cell(s, at[0], at[1], at[2]);
    const double *own = bg_arena_accuracy(s, at[0], at[1], at[2]);
    enum bg_status rc = BG_OK;
    cell->mean = bg_compare_mean(own, s->seeds);
    cell->deviation = bg_compare_deviation(own, s->seeds);
    cell->cost = bg_compare_mean(cost_at(s, at[1], at[2]), s->seeds);
    TRY(bg_arena_difference(arena, own, bg_arena_accuracy(s, at[0], at[1], s->criteria),
                            &cell->over_same));
    TRY(bg_arena_difference(arena, own, bg_arena_accuracy(s, at[0], at[1], s->criteria + 1),
                            &cell->over_random));
out:
    return rc;
}

static void rank(struct bg_arena_summary *s, int moment, int budget)
{
    for (int c = 0; c < s->criteria; c++) {
        struct bg_arena_cell *cell = bg_arena_cell(s, moment, budget, c);
        cell->rank = 1;
        for (int o = 0; o < s->criteria; o++)
            cell->rank += bg_arena_cell(s, moment, budget, o)->mean > cell->mean;
    }
}

static enum bg_status volume_of(const struct bg_arena *arena, const struct bg_arena_summary *s,
                                int column, int seed, double *out)
{
    const double reference[2] = {arena->reference.cost, arena->reference.error};
    double cost[BG_LIST_MAX], error[BG_LIST_MAX];
    int n = 0;
    for (int b = 0; b < s->budgets; b++) {
        double accuracy = bg_arena_accuracy(s, BG_ARENA_BEST, b, column)[seed];
        if (!isfinite(accuracy))
            continue;
        cost[n] = cost_at(s, b, column)[seed];
        error[n++] = 1 - accuracy;
    }
    return bg_compare_hypervolume(cost, error, n, reference, out);
}

/* The random column's volume is that of its mean accuracies, at its mean costs. */
static enum bg_status volumes(const struct bg_arena *arena, struct bg_arena_summary *s)
{
    enum bg_status rc = BG_OK;
    for (int c = 0; c < s->columns; c++)
        for (int seed = 0; seed < s->seeds; seed++)
            TRY(volume_of(arena, s, c, seed, &s->volume[c * s->seeds + seed]));
    for (int c = 0; c < s->columns; c++)
        TRY(bg_arena_difference(arena, s->volume + (ptrdiff_t)c * s->seeds,
                                s->volume + (ptrdiff_t)(s->criteria + 1) * s->seeds,
                                &s->volume_over_random[c]));
out:
    return rc;
}

static enum bg_status fill(const struct bg_arena *arena, struct bg_arena_summary *s)
{
    enum bg_status rc = BG_OK;
    TRY(take_proposals(arena, s));
    TRY(take_draws(arena, s));
    for (int m = 0; m < BG_ARENA_MOMENTS; m++)
        for (int b = 0; b < s->budgets; b++) {
            for (int c = 0; c < s->columns; c++) {
                const int at[3] = {m, b, c};
                TRY(fill_cell(arena, s, at));
            }
            rank(s, m, b);
        }
    TRY(volumes(arena, s));
    s->trials = (int)arena->trials;
    for (int64_t i = 0; i < arena->trials; i++)
        s->diverged += arena->trial[i].diverged;
    TRY(bg_arena_costs(arena, s));
out:
    return rc;
}

enum bg_status bg_arena_summarise(const struct bg_arena *arena, struct bg_arena_summary **out)
{
    struct bg_arena_summary *s = NULL;
    enum bg_status rc = BG_OK;
    TRY(make(arena, &s));
    TRY(fill(arena, s));
    *out = s;
    s = NULL;
out:
    bg_arena_summary_free(s);
    return rc;
}

void bg_arena_summary_free(struct bg_arena_summary *s)
{
    if (!s)
        return;
    bg_free(s->accuracy);
    bg_free(s->cost);
    bg_free(s->cell);
    bg_free(s->volume);
    bg_free(s->correlation);
    bg_free(s->fp32);
    bg_free(s);
}
