/* Who proposes what: a plan per criterion, budget and seed, the widest plan of one width for all,
 * and random plans. A plan is known by the hash of its text: what several propose is tried once. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/mem.h"
#include "core/rng.h"
#include "experiments/arena.h"
#include "experiments/select_data.h"

/* A seed's base, and what each criterion says of it. */
struct base {
    const struct bg_arena *arena;
    struct bg_record record;
    struct bg_select_data data;
    struct bg_penalties penalties[BG_ARENA_CRITERIA];
};

const char *bg_arena_name(const struct bg_arena *arena, int who)
{
    return who == BG_ARENA_SAME     ? "same-bits"
           : who == BG_ARENA_RANDOM ? "random"
                                    : arena->criterion[who].name;
}

const double *bg_arena_score(const struct bg_arena *arena, int seed, int budget, int draw)
{
    int64_t at = (int64_t)seed * arena->budget.values.count + budget;
    return arena->score + (at * arena->options.random + draw) * arena->criteria;
}

static enum bg_status open_base(struct base *base, int64_t seed)
{
    const struct bg_arena *arena = base->arena;
    const struct bg_bits_frame frame = bg_arena_frame(arena, 0);
    char dir[BG_PATH_MAX], path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    TRY(bg_arena_seed_dir(arena, seed, dir));
    TRY(bg_path_join(path, dir, "run.h5"));
    TRY(bg_record_read(&base->record, path));
    TRY(bg_select_data_open(&base->data, &base->record, 0, arena->net, &arena->recipe->select));
    for (int c = 0; c < arena->criteria; c++) {
        rc = bg_select_penalties(arena->criterion[c].method, arena->criterion[c].options,
                                 &base->data.input, frame.bits, frame.candidates,
                                 &base->penalties[c]);
        if (rc != BG_OK) {
            (void)bg_fail_prefix(rc, "%s: %s: ", dir, arena->criterion[c].name);
            goto out;
        }
    }
out:
    return rc;
}

static void close_base(struct base *base)
{
    for (int c = 0; c < BG_ARENA_CRITERIA; c++)
        bg_penalties_free(&base->penalties[c]);
    bg_select_data_close(&base->data);
    bg_record_free(&base->record);
}

enum bg_status bg_arena_allocate(const struct bg_arena *arena, int budget,
                                 const struct bg_penalties *penalties, struct bg_plan *plan,
                                 struct bg_arena_proposal *proposal)
{
    const struct bg_bits_frame frame = bg_arena_frame(arena, budget);
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_allocation answer = {.items = 0};
    enum bg_status rc = BG_OK;

    TRY(bg_bits_open_for(&bits, &frame, penalties));
    TRY(bg_allocate_run(arena->allocator, arena->allocator_settings, &bits.problem, &answer));
    TRY(bg_bits_plan(&bits, &answer, plan));
    proposal->objective = answer.objective;
    proposal->optimal = answer.optimal;
out:
    bg_allocation_free(&answer);
    bg_bits_close(&bits);
    return rc;
}

/* Names the plan by its hash and keeps its text in plans/. */
static enum bg_status keep_plan(const struct bg_arena *arena, const struct bg_plan *plan,
                                struct bg_arena_proposal *proposal)
{
    char hash[BG_HASH_TEXT], folder[BG_PATH_MAX], path[BG_PATH_MAX], name[BG_ARENA_HASH + 8];
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_plan_print(plan, &text);
    TRY(bg_text_check(&text));
    TRY(bg_hash_bytes(bg_text_string(&text), text.length, hash));
    (void)snprintf(proposal->plan, sizeof proposal->plan, "%.16s", hash);
    (void)snprintf(name, sizeof name, "%s.txt", proposal->plan);
    TRY(bg_path_join(folder, arena->dir, "plans"));
    TRY(bg_path_join(path, folder, name));
    if (!bg_file_exists(path))
        TRY(bg_file_write(path, bg_text_string(&text), text.length));
    TRY(bg_budget_cost(arena->net, plan, (enum bg_budget_kind)arena->budget.kind, &arena->latency,
                       &proposal->cost));
out:
    bg_text_free(&text);
    return rc;
}

static enum bg_status add(struct bg_arena *arena, const struct bg_arena_proposal *proposal)
{
    enum bg_status rc = BG_OK;
    if (arena->proposals == arena->room) {
        int room = arena->room ? 2 * arena->room : 256;
        TRY(bg_grow(&arena->proposal, arena->room, room, sizeof *arena->proposal));
        arena->room = room;
    }
    arena->proposal[arena->proposals++] = *proposal;
out:
    return rc;
}

static enum bg_status by_criteria(struct bg_arena *arena, const struct base *base,
                                  struct bg_arena_proposal proposal)
{
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;
    for (int c = 0; c < arena->criteria; c++) {
        proposal.who = c;
        bg_plan_free(&plan);
        TRY(bg_arena_allocate(arena, proposal.budget, &base->penalties[c], &plan, &proposal));
        TRY(keep_plan(arena, &plan, &proposal));
        TRY(add(arena, &proposal));
    }
out:
    bg_plan_free(&plan);
    return rc;
}

static enum bg_status same_bits(struct bg_arena *arena, struct bg_arena_proposal proposal)
{
    const struct bg_bits_frame all = bg_arena_frame(arena, proposal.budget);
    struct bg_bits_frame frame;
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_allocation answer = {.items = 0};
    struct bg_plan plan = {0};
    int width = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_bits_widest(&all, &width));
    if (width < 1)
        goto out;
    frame = bg_bits_same(&all, width);
    proposal.who = BG_ARENA_SAME;
    TRY(bg_bits_open(&bits, &frame, NULL));
    TRY(bg_allocation_make(&answer, bits.problem.items));
    TRY(bg_bits_plan(&bits, &answer, &plan));
    TRY(keep_plan(arena, &plan, &proposal));
    TRY(add(arena, &proposal));
out:
    bg_plan_free(&plan);
    bg_allocation_free(&answer);
    bg_bits_close(&bits);
    return rc;
}

static enum bg_status at_random(struct bg_arena *arena, const struct base *base,
                                struct bg_arena_proposal proposal)
{
    const struct bg_bits_frame frame = bg_arena_frame(arena, proposal.budget);
    uint64_t seed = (uint64_t)arena->options.seeds.at[proposal.seed];
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_allocation answer = {.items = 0};
    struct bg_plan plan = {0};
    char value[32];
    enum bg_status rc = BG_OK;

    bg_text_real(value, arena->budget.values.at[proposal.budget]);
    TRY(bg_bits_open(&bits, &frame, NULL));
    proposal.who = BG_ARENA_RANDOM;
    for (int d = 0; d < (int)arena->options.random; d++) {
        double *score = arena->score +
                        (bg_arena_score(arena, proposal.seed, proposal.budget, d) - arena->score);
        bg_allocation_free(&answer);
        bg_plan_free(&plan);
        proposal.draw = d;
        TRY(bg_bits_random(&bits, arena->options.random_use, bg_rng_hash(seed, value), (uint32_t)d,
                           &answer));
        TRY(bg_bits_plan(&bits, &answer, &plan));
        TRY(keep_plan(arena, &plan, &proposal));
        TRY(add(arena, &proposal));
        for (int c = 0; c < arena->criteria; c++)
            score[c] = bg_bits_objective(&base->penalties[c], &plan);
    }
out:
    bg_plan_free(&plan);
    bg_allocation_free(&answer);
    bg_bits_close(&bits);
    return rc;
}

static enum bg_status propose_seed(struct bg_arena *arena, int seed)
{
    struct base *base = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&base, 1, sizeof *base));
    base->arena = arena;
    TRY(open_base(base, arena->options.seeds.at[seed]));
    for (int b = 0; b < arena->budget.values.count; b++) {
        struct bg_arena_proposal proposal = {.seed = seed, .budget = b, .objective = (double)NAN};
        TRY(by_criteria(arena, base, proposal));
        TRY(same_bits(arena, proposal));
        TRY(at_random(arena, base, proposal));
    }
out:
    if (base)
        close_base(base);
    bg_free(base);
    return rc;
}

static void print_real(struct bg_text *text, double value)
{
    char number[32];
    if (isfinite(value))
        bg_text_real(number, value);
    bg_text_add(text, "\t%s", isfinite(value) ? number : "-");
}

static enum bg_status write_tables(const struct bg_arena *arena)
{
    struct bg_text proposals = {0}, objectives = {0};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    bg_text_init(&proposals, BG_ARENA_LIMIT);
    bg_text_init(&objectives, BG_ARENA_LIMIT);
    bg_text_add(&proposals, "seed\tbudget\tby\tdraw\tplan\tcost\tobjective\toptimal\n");
    bg_text_add(&objectives, "seed\tbudget\tdraw\tcriterion\tobjective\n");
    for (int i = 0; i < arena->proposals; i++) {
        const struct bg_arena_proposal *p = &arena->proposal[i];
        long long seed = (long long)arena->options.seeds.at[p->seed];
        bg_text_add(&proposals, "%lld", seed);
        print_real(&proposals, arena->budget.values.at[p->budget]);
        bg_text_add(&proposals, "\t%s\t%d\t%s", bg_arena_name(arena, p->who), p->draw, p->plan);
        print_real(&proposals, p->cost);
        print_real(&proposals, p->objective);
        bg_text_add(&proposals, "\t%d\n", p->optimal);
        for (int c = 0; p->who == BG_ARENA_RANDOM && c < arena->criteria; c++) {
            bg_text_add(&objectives, "%lld", seed);
            print_real(&objectives, arena->budget.values.at[p->budget]);
            bg_text_add(&objectives, "\t%d\t%s", p->draw, arena->criterion[c].name);
            print_real(&objectives, bg_arena_score(arena, p->seed, p->budget, p->draw)[c]);
            bg_text_add(&objectives, "\n");
        }
    }
    TRY(bg_text_check(&proposals));
    TRY(bg_text_check(&objectives));
    TRY(bg_path_join(path, arena->dir, "proposals.tsv"));
    TRY(bg_file_write(path, bg_text_string(&proposals), proposals.length));
    TRY(bg_path_join(path, arena->dir, "objectives.tsv"));
    TRY(bg_file_write(path, bg_text_string(&objectives), objectives.length));
out:
    bg_text_free(&proposals);
    bg_text_free(&objectives);
    return rc;
}

enum bg_status bg_arena_propose(struct bg_arena *arena)
{
    char folder[BG_PATH_MAX];
    int64_t scores = (int64_t)arena->options.seeds.count * arena->budget.values.count;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(folder, arena->dir, "plans"));
    TRY(bg_dir_make(folder));
    TRY(bg_alloc(&arena->score, scores * arena->options.random * arena->criteria + 1,
                 sizeof *arena->score));
    for (int s = 0; s < arena->options.seeds.count; s++)
        TRY(propose_seed(arena, s));
    TRY(write_tables(arena));
out:
    return rc;
}
