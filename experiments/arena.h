/* The arena: criteria x budgets x seeds from one trained network per seed, with random plans and
 * one width for all as baselines. DIR holds recipe.yaml, seed-N/ (the base of each seed, an
 * ordinary run), plans/HASH.txt, proposals.tsv (who proposed which plan), objectives.tsv (what each
 * criterion says of the random plans), trials.tsv (one row per plan and seed, as it comes), and at
 * the end summary.tsv, pairs.tsv, correlations.tsv, cost.tsv, arena.json and report.html.
 * Wall-clock seconds are in timing.tsv and in cost-seconds.tsv alone. */
#ifndef BG_EXPERIMENTS_ARENA_H
#define BG_EXPERIMENTS_ARENA_H

#include "core/file.h"
#include "experiments/recipe.h"
#include "experiments/record.h"
#include "layers/net.h"
#include "policies/budget.h"

#define BG_ARENA_CRITERIA 32
#define BG_ARENA_HASH     17 /* 16 hex digits of the plan's SHA-256 */
#define BG_ARENA_LIMIT    ((size_t)1 << 28)

/* Section `arena` of a recipe. */
struct bg_arena_options {
    struct bg_int_list seeds, candidates;
    const struct bg_yaml *criteria, *budget, *reference, *allocator_options, *tied;
    char allocator[BG_OPTION_TEXT], latency[BG_OPTION_TEXT];
    int64_t activation_bits, random, resamples;
    double random_use;
};
extern const struct bg_option bg_arena_options_table[];

struct bg_arena_budget {
    int kind; /* enum bg_budget_kind */
    struct bg_real_list values;
};
struct bg_arena_reference {
    double cost, error; /* 0 = 8 bits everywhere; chance */
};

struct bg_arena_criterion {
    char name[BG_NAME_MAX];
    const struct bg_select_method *method;
    void *options; /* owned */
};

/* Who proposed a plan: a criterion's index, or one of these. */
enum { BG_ARENA_SAME = -1, BG_ARENA_RANDOM = -2 };

struct bg_arena_proposal {
    int seed, budget; /* indices */
    int who;
    int draw; /* of random plans */
    char plan[BG_ARENA_HASH];
    double objective; /* NaN where there is none */
    double cost;
    bool optimal;
};

/* One plan put on one seed's network. Accuracies are fractions; of a diverged fine-tuning those
 * after it are chance. */
enum bg_arena_moment { BG_ARENA_BEFORE, BG_ARENA_LAST, BG_ARENA_BEST, BG_ARENA_MOMENTS };
extern const char *const bg_arena_moments[BG_ARENA_MOMENTS]; /* "before", "last", "best" */
struct bg_arena_trial {
    int64_t seed;
    char plan[BG_ARENA_HASH];
    bool integer, diverged;
    int64_t best_epoch;
    double validation[BG_ARENA_MOMENTS], test[BG_ARENA_MOMENTS];
};

struct bg_arena {
    char dir[BG_PATH_MAX];
    struct bg_recipe *recipe; /* of the first seed; its stages are those of a base */
    struct bg_arena_options options;
    struct bg_arena_budget budget;
    struct bg_arena_reference reference;
    int criteria;
    struct bg_arena_criterion criterion[BG_ARENA_CRITERIA];
    const struct bg_allocate_method *allocator;
    void *allocator_settings; /* owned */
    struct bg_text resolved;  /* the recipe with this section */
    struct bg_net *net;       /* shapes alone */
    struct bg_sample_spec spec;
    int layers;
    const char **names;
    bool *pinned;
    int *group;
    struct bg_latency latency; /* no value: none was given */
    int proposals, room;
    struct bg_arena_proposal *proposal;
    double *score; /* [seed][budget][draw][criterion]: objectives of random plans */
    int64_t trials;
    struct bg_arena_trial *trial; /* sorted by seed, plan */
};

/* Reads a recipe with its arena section, or DIR's own (a directory as `path`). Nothing is made.
 * Errors as of bg_recipe_read. */
BG_MUST enum bg_status bg_arena_open(struct bg_arena *out, const char *path, char *const *overrides,
                                     int count, const char *dir);
void bg_arena_close(struct bg_arena *arena); /* takes a zeroed one */
/* The recipe of one seed's base. Free with bg_recipe_free. */
BG_MUST enum bg_status bg_arena_recipe(const struct bg_arena *arena, int64_t seed,
                                       struct bg_recipe **out);
BG_MUST enum bg_status bg_arena_seed_dir(const struct bg_arena *arena, int64_t seed, char *out);
/* Is the base of this seed finished? */
bool bg_arena_base_done(const struct bg_arena *arena, int64_t seed);

/* arena_check.c: the network's shapes, and everything that can be refused before training:
 * candidates the network cannot take, criteria whose data the recipe does not record, budgets that
 * no plan holds. */
BG_MUST enum bg_status bg_arena_check(struct bg_arena *arena);
/* What may be chosen within a budget. */
struct bg_bits_frame bg_arena_frame(const struct bg_arena *arena, int budget);

/* arena_plans.c: every proposal from the records of the finished bases; plans/ and the two tables
 * are written. */
BG_MUST enum bg_status bg_arena_propose(struct bg_arena *arena);
/* A criterion's plan within a budget: activations are at one width of their own when the criterion
 * says nothing of them. */
BG_MUST enum bg_status bg_arena_allocate(const struct bg_arena *arena, int budget,
                                         const struct bg_penalties *penalties, struct bg_plan *plan,
                                         struct bg_arena_proposal *proposal);
const char *bg_arena_name(const struct bg_arena *arena, int who);
const double *bg_arena_score(const struct bg_arena *arena, int seed, int budget, int draw);

/* arena_rows.c: trials.tsv. Reading drops a half row at the end, sorts, and keeps the first of two
 * equal ones; rewriting makes the file of all known trials. */
BG_MUST enum bg_status bg_arena_read_trials(struct bg_arena *arena);
BG_MUST enum bg_status bg_arena_write_trials(const struct bg_arena *arena);
BG_MUST enum bg_status bg_arena_add_trial(const struct bg_arena *arena,
                                          const struct bg_arena_trial *trial);
const struct bg_arena_trial *bg_arena_find_trial(const struct bg_arena *arena, int64_t seed,
                                                 const char *plan);

/* arena_work.c: a worker takes tasks until there are none. */
BG_MUST enum bg_status bg_arena_work(const struct bg_arena *arena);
/* arena_trial.c: opens a seed's base once, then runs trials on it. */
struct bg_arena_bench;
BG_MUST enum bg_status bg_arena_bench_open(struct bg_arena_bench **out,
                                           const struct bg_arena *arena, int64_t seed);
BG_MUST enum bg_status bg_arena_bench_run(struct bg_arena_bench *bench, const char *plan,
                                          struct bg_arena_trial *out);
void bg_arena_bench_close(struct bg_arena_bench *bench); /* takes NULL */

/* arena_pool.c: all of it, with `jobs` processes. BG_E_INTERRUPTED after a signal; *code is the
 * exit code of a worker that failed and has said why, else 0. */
BG_MUST enum bg_status bg_arena_run(struct bg_arena *arena, int jobs, int *code);

/* arena_summary.c and arena_report.c: the tables, the text for the terminal, the report. */
struct bg_arena_summary;
BG_MUST enum bg_status bg_arena_summarise(const struct bg_arena *arena,
                                          struct bg_arena_summary **out);
void bg_arena_summary_free(struct bg_arena_summary *summary); /* takes NULL */
BG_MUST enum bg_status bg_arena_write_summary(const struct bg_arena *arena,
                                              const struct bg_arena_summary *summary,
                                              struct bg_text *terminal);
BG_MUST enum bg_status bg_arena_report(const struct bg_arena *arena,
                                       const struct bg_arena_summary *summary);

#endif
