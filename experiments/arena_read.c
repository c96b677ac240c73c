/* Reads the arena section of a recipe: what competes, within which budgets, over which seeds. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena.h"
#include "experiments/run.h"

#define OVERRIDES_MAX 120

static const char *const base_stages = "stages=[train, profile, evaluate]";

#define ARENA(field) offsetof(struct bg_arena_options, field)
const struct bg_option bg_arena_options_table[] = {
    {"seeds", BG_OPT_INTS, ARENA(seeds), "[1, 2, 3, 4, 5]", 0, 4294967295.0, NULL,
     "one base is trained per seed; the recipe's own seed does not count"},
    {"candidates", BG_OPT_INTS, ARENA(candidates), "[2, 3, 4, 6, 8]", 1, 16, NULL,
     "bits an allocator may give"},
    {"criteria", BG_OPT_NODE, ARENA(criteria), "", 0, 0, NULL,
     "select policies: names, or {policy: ..., as: ..., options: {...}} (bitgrad list policies)"},
    {"allocator", BG_OPT_TEXT, ARENA(allocator), "exact", 0, 0, NULL,
     "turns penalties into a plan (bitgrad list allocators)"},
    {"allocator_options", BG_OPT_NODE, ARENA(allocator_options), "", 0, 0, NULL,
     "options of the allocator"},
    {"budget", BG_OPT_NODE, ARENA(budget), "", 0, 0, NULL,
     "{kind: mean-weight-bits | bytes | bops-hawq | bops-detailed | latency, values: [...]}"},
    {"latency", BG_OPT_TEXT, ARENA(latency), "''", 0, 0, NULL,
     "table for a budget of that kind (bitgrad bench layers --table writes one)"},
    {"activation_bits", BG_OPT_INT, ARENA(activation_bits), "8", 0, BG_BITS_MAX, NULL,
     "of every layer's input; 0 = chosen too. Where a criterion says nothing of activations they "
     "then all have the width that everything could have within the budget"},
    {"tied", BG_OPT_NODE, ARENA(tied), "", 0, 0, NULL,
     "lists of layers that have the same bits: [[conv1, conv2]]"},
    {"random", BG_OPT_INT, ARENA(random), "20", 0, 1000, NULL,
     "random plans per budget and seed, which use the budget"},
    {"random_use", BG_OPT_REAL, ARENA(random_use), "0.95", 0, 1, NULL,
     "part of the budget at which a random plan is dear enough; 1: no bit can be added"},
    {"reference", BG_OPT_NODE, ARENA(reference), "", 0, 0, NULL,
     "{cost: ..., error: ...} that hypervolumes are measured from; by default the cost of 8 bits "
     "everywhere and the error of guessing"},
    {"resamples", BG_OPT_INT, ARENA(resamples), "10000", 100, 1000000, NULL, "of the bootstrap"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

static const struct bg_option budget_table[] = {
    {"kind", BG_OPT_CHOICE, offsetof(struct bg_arena_budget, kind), "mean-weight-bits", 0, 0,
     bg_budget_names, "what is counted"},
    {"values", BG_OPT_REALS, offsetof(struct bg_arena_budget, values), NULL, 0, 1e18, NULL,
     "a plan's cost is at most this"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

static const struct bg_option reference_table[] = {
    {"cost", BG_OPT_REAL, offsetof(struct bg_arena_reference, cost), "0", 0, 1e18, NULL,
     "0 = that of 8 bits everywhere"},
    {"error", BG_OPT_REAL, offsetof(struct bg_arena_reference, error), "0", 0, 1, NULL,
     "1 - accuracy; 0 = of guessing"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

struct criterion_options {
    char policy[BG_OPTION_TEXT], as[BG_OPTION_TEXT];
    const struct bg_yaml *options;
};
static const struct bg_option criterion_table[] = {
    {"policy", BG_OPT_TEXT, offsetof(struct criterion_options, policy), NULL, 0, 0, NULL, "name"},
    {"as", BG_OPT_TEXT, offsetof(struct criterion_options, as), "''", 0, 0, NULL,
     "name in the tables"},
    {"options", BG_OPT_NODE, offsetof(struct criterion_options, options), "", 0, 0, NULL,
     "its options"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

static bool is_plain(const char *name)
{
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '"')
            return false;
    return *name && strlen(name) < BG_NAME_MAX;
}

static enum bg_status check_name(const struct bg_arena *arena, const struct bg_yaml *node,
                                 const char *name, struct bg_text *errors)
{
    if (!is_plain(name))
        bg_options_error(errors, node, "arena.criteria",
                         "\"%s\": expected 1 to %d characters without spaces", name,
                         BG_NAME_MAX - 1);
    if (!strcmp(name, "random") || !strcmp(name, "same-bits"))
        bg_options_error(errors, node, "arena.criteria",
                         "%s plans are in every arena by themselves (arena.random); use another "
                         "name with `as`",
                         name);
    for (int i = 0; i < arena->criteria; i++)
        if (!strcmp(arena->criterion[i].name, name))
            bg_options_error(errors, node, "arena.criteria",
                             "\"%s\" stands twice; tell them apart with `as`", name);
    return BG_OK;
}

static enum bg_status soft(enum bg_status rc)
{
    return rc == BG_E_DATA ? BG_OK : rc; /* the line is in `errors` */
}

static void check_policy(const struct bg_yaml *node, const char *policy, struct bg_text *errors)
{
    const char *names[64], *near;
    int count = 0;
    for (; count < 64 && bg_select_methods[count]; count++) {
        names[count] = bg_select_methods[count]->name;
        if (!strcmp(policy, names[count]))
            return;
    }
    near = bg_text_nearest(policy, names, count);
    bg_options_error(errors, node, "arena.criteria", "unknown policy \"%s\"%s%s%s", policy,
                     near ? ", did you mean \"" : "; 'bitgrad list policies' names them",
                     near ? near : "", near ? "\"?" : "");
}

static enum bg_status read_criterion(struct bg_arena *arena, const struct bg_yaml *node,
                                     struct bg_text *errors)
{
    struct criterion_options given = {.options = NULL};
    struct bg_arena_criterion *criterion = &arena->criterion[arena->criteria];
    size_t before = errors->length;
    enum bg_status rc = BG_OK;

    if (node->kind == BG_YAML_MAP)
        TRY(soft(bg_options_read(node, criterion_table, NULL, "arena.criteria", &given, errors)));
    else if (node->kind == BG_YAML_SCALAR)
        TRY(bg_text_copy(given.policy, sizeof given.policy, node->text));
    else
        bg_options_error(errors, node, "arena.criteria", "expected a policy or a map");
    if (errors->length > before)
        goto out;
    check_policy(node, given.policy, errors);
    TRY(check_name(arena, node, *given.as ? given.as : given.policy, errors));
    if (errors->length > before)
        goto out;
    TRY(bg_text_copy(criterion->name, BG_NAME_MAX, *given.as ? given.as : given.policy));
    TRY(soft(bg_select_choose(given.policy, given.options, "arena.criteria", &criterion->method,
                              &criterion->options, errors)));
    if (errors->length > before)
        goto out;
    arena->criteria++;
    if (!criterion->method->penalties)
        bg_options_error(errors, node, "arena.criteria", "%s ranks layers, it has no penalties",
                         given.policy);
out:
    return rc;
}

static enum bg_status read_criteria(struct bg_arena *arena, const struct bg_yaml *section,
                                    struct bg_text *errors)
{
    const struct bg_yaml *list = arena->options.criteria;
    enum bg_status rc = BG_OK;
    if (!list || list->kind != BG_YAML_LIST || list->count < 1 || list->count > BG_ARENA_CRITERIA) {
        bg_options_error(errors, list ? list : section, "arena.criteria",
                         "expected a list of 1 to %d policies", BG_ARENA_CRITERIA);
        return BG_OK;
    }
    for (const struct bg_yaml *node = list->first; node; node = node->next)
        TRY(read_criterion(arena, node, errors));
out:
    return rc;
}

static void check_numbers(struct bg_arena *arena, const struct bg_yaml *section,
                          struct bg_text *errors)
{
    const struct bg_int_list *seeds = &arena->options.seeds, *bits = &arena->options.candidates;
    const struct bg_real_list *values = &arena->budget.values;
    if (seeds->count < 1)
        bg_options_error(errors, section, "arena.seeds", "at least one seed is needed");
    for (int i = 0; i < seeds->count; i++)
        for (int j = 0; j < i; j++)
            if (seeds->at[i] == seeds->at[j])
                bg_options_error(errors, section, "arena.seeds", "%lld stands twice",
                                 (long long)seeds->at[i]);
    if (bits->count < 1 || bits->count > BG_CANDIDATES_MAX)
        bg_options_error(errors, section, "arena.candidates", "%d candidates, limits are 1 and %d",
                         bits->count, BG_CANDIDATES_MAX);
    for (int i = 0; i < bits->count; i++)
        for (int j = 0; j < i; j++)
            if (bits->at[i] == bits->at[j])
                bg_options_error(errors, section, "arena.candidates", "%lld stands twice",
                                 (long long)bits->at[i]);
    for (int i = 1; i < values->count; i++)
        if (values->at[i] <= values->at[i - 1])
            bg_options_error(errors, section, "arena.budget.values",
                             "%g after %g: expected rising values", values->at[i],
                             values->at[i - 1]);
    if (arena->options.budget && values->count < 1)
        bg_options_error(errors, section, "arena.budget.values", "at least one is needed");
}

static enum bg_status read_section(struct bg_arena *arena, struct bg_text *errors)
{
    const struct bg_yaml *root = bg_document_root(arena->recipe->document);
    const struct bg_yaml *section = bg_yaml_get(root, "arena");
    struct bg_arena_options *options = &arena->options;
    enum bg_status rc = BG_OK;

    if (!section) {
        bg_options_error(errors, root, "arena", "section is missing");
        goto out;
    }
    TRY(soft(bg_options_read(section, bg_arena_options_table, NULL, "arena", options, errors)));
    if (!options->budget)
        bg_options_error(errors, section, "arena.budget", "section is missing");
    TRY(soft(bg_options_read(options->budget, budget_table, NULL, "arena.budget", &arena->budget,
                             errors)));
    TRY(soft(bg_options_read(options->reference, reference_table, NULL, "arena.reference",
                             &arena->reference, errors)));
    TRY(soft(bg_allocate_choose(options->allocator, options->allocator_options, "arena.allocator",
                                &arena->allocator, &arena->allocator_settings, errors)));
    TRY(read_criteria(arena, section, errors));
    check_numbers(arena, section, errors);
    if (arena->recipe->finetune.epochs < 1)
        bg_options_error(errors, section, "arena", "finetune.epochs is 0, an arena fine-tunes");
out:
    return rc;
}

static enum bg_status print_resolved(struct bg_arena *arena)
{
    bg_text_init(&arena->resolved, BG_ARENA_LIMIT);
    bg_text_add(&arena->resolved, "%sarena:\n", bg_text_string(&arena->recipe->resolved));
    bg_options_print(bg_arena_options_table, &arena->options, 2, &arena->resolved);
    return bg_text_check(&arena->resolved);
}

/* The first of several errors is the sentence. */
static enum bg_status first_error(const struct bg_text *errors)
{
    if (errors->length == 0)
        return BG_OK;
    return bg_fail(BG_E_DATA, "%.*s", (int)strcspn(errors->at, "\n"), errors->at);
}

static enum bg_status read_recipe(struct bg_arena *arena, const char *path, char *const *overrides,
                                  int count)
{
    char *words[OVERRIDES_MAX + 2];
    char stages[64], figures[64] = "report.figures=false";
    enum bg_status rc = BG_OK;
    if (count > OVERRIDES_MAX)
        FAIL(BG_E_USAGE, "arena: more than %d overrides", OVERRIDES_MAX);
    for (int i = 0; i < count; i++)
        words[i] = overrides[i];
    TRY(bg_text_copy(stages, sizeof stages, base_stages));
    words[count] = stages;
    words[count + 1] = figures;
    TRY(bg_recipe_read(&arena->recipe, path, words, count + 2));
out:
    return rc;
}

enum bg_status bg_arena_open(struct bg_arena *out, const char *path, char *const *overrides,
                             int count, const char *dir)
{
    char own[BG_PATH_MAX];
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    memset(out, 0, sizeof *out);
    bg_text_init(&errors, 1 << 16);
    if (bg_dir_exists(path)) {
        TRY(bg_path_join(own, path, "recipe.yaml"));
        if (!bg_file_exists(own))
            FAIL(BG_E_NOT_FOUND, "%s holds no recipe.yaml: it is no arena", path);
        dir = dir ? dir : path;
        path = own;
    }
    TRY(read_recipe(out, path, overrides, count));
    TRY(read_section(out, &errors));
    TRY(first_error(&errors));
    if (dir)
        TRY(bg_text_copy(out->dir, sizeof out->dir, dir));
    else
        TRY(bg_path_join(out->dir, "arenas", out->recipe->top.name));
    TRY(print_resolved(out));
out:
    bg_text_free(&errors);
    if (rc != BG_OK)
        bg_arena_close(out);
    return rc;
}

void bg_arena_close(struct bg_arena *arena)
{
    for (int i = 0; i < BG_ARENA_CRITERIA; i++)
        bg_free(arena->criterion[i].options);
    bg_free(arena->allocator_settings);
    bg_text_free(&arena->resolved);
    bg_net_destroy(arena->net);
    bg_free((void *)arena->names);
    bg_free(arena->pinned);
    bg_free(arena->group);
    bg_latency_free(&arena->latency);
    bg_free(arena->proposal);
    bg_free(arena->score);
    bg_free(arena->trial);
    bg_recipe_free(arena->recipe);
    memset(arena, 0, sizeof *arena);
}

enum bg_status bg_arena_recipe(const struct bg_arena *arena, int64_t seed, struct bg_recipe **out)
{
    char path[BG_PATH_MAX], word[48];
    char *words[1] = {word};
    enum bg_status rc = BG_OK;
    (void)snprintf(word, sizeof word, "seed=%lld", (long long)seed);
    TRY(bg_path_join(path, arena->dir, "recipe.yaml"));
    TRY(bg_recipe_read(out, path, words, 1));
out:
    return rc;
}

enum bg_status bg_arena_seed_dir(const struct bg_arena *arena, int64_t seed, char *out)
{
    char name[48];
    (void)snprintf(name, sizeof name, "seed-%lld", (long long)seed);
    return bg_path_join(out, arena->dir, name);
}

bool bg_arena_base_done(const struct bg_arena *arena, int64_t seed)
{
    char dir[BG_PATH_MAX], path[BG_PATH_MAX];
    int stage = 0;
    if (bg_arena_seed_dir(arena, seed, dir) != BG_OK ||
        bg_path_join(path, dir, BG_CHECKPOINT_LAST) != BG_OK || !bg_file_exists(path))
        return false;
    return bg_checkpoint_peek(path, NULL, &stage) == BG_OK && stage == arena->recipe->stages;
}
