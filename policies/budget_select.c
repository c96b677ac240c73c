/* From the keys of `select` to a plan within budgets; rounds of selections. */
#include "policies/budget_select.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/mem.h"

struct values {
    double of[BG_BUDGET_KINDS];
};
#define VALUE(kind_) offsetof(struct values, of) + (size_t)(kind_) * sizeof(double)
#define ROW(name_, kind_)                                                                          \
    {                                                                                              \
        .key = (name_), .type = BG_OPT_REAL, .offset = VALUE(kind_), .fallback = "0", .min = 0,    \
        .max = 1e18, .help = "most that a plan may cost; 0 = no such budget"                       \
    }
static const struct bg_option budget_table[] = {ROW("mean-weight-bits", BG_BUDGET_MEAN_BITS),
                                                ROW("bytes", BG_BUDGET_BYTES),
                                                ROW("bops-hawq", BG_BUDGET_BOPS_HAWQ),
                                                ROW("bops-detailed", BG_BUDGET_BOPS_DETAILED),
                                                ROW("latency", BG_BUDGET_LATENCY),
                                                {.key = NULL}};

static void take_budgets(const struct values *values, const struct bg_yaml *at,
                         struct bg_budget_choice *out, struct bg_text *errors)
{
    for (int k = 0; k < BG_BUDGET_KINDS; k++) {
        if (values->of[k] <= 0)
            continue;
        if (out->budgets == BG_ALLOCATE_BUDGETS) {
            bg_options_error(errors, at, "select.budget", "more than %d budgets",
                             BG_ALLOCATE_BUDGETS);
            return;
        }
        out->budget[out->budgets++] =
            (struct bg_budget){.kind = (enum bg_budget_kind)k, .value = values->of[k]};
    }
    if (out->budgets == 0)
        bg_options_error(errors, at, "select.budget",
                         "search: budget needs at least one, such as {bytes: 100000}");
}

static void check_keys(const struct bg_select_options *options, const struct bg_yaml *at,
                       const struct bg_budget_choice *choice, struct bg_text *errors)
{
    bool latency = false;
    for (int k = 0; k < choice->budgets; k++)
        latency = latency || choice->budget[k].kind == BG_BUDGET_LATENCY;
    if (latency && !*options->latency)
        bg_options_error(errors, at, "select.latency", "a budget of latency needs a table");
    if (options->candidates.count < 1 || options->candidates.count > BG_CANDIDATES_MAX)
        bg_options_error(errors, at, "select.candidates", "%d candidates, limits are 1 and %d",
                         options->candidates.count, BG_CANDIDATES_MAX);
    for (int i = 0; i < options->candidates.count; i++)
        for (int j = 0; j < i; j++)
            if (options->candidates.at[i] == options->candidates.at[j]) {
                bg_options_error(errors, at, "select.candidates", "%lld bits stand there twice",
                                 (long long)options->candidates.at[i]);
                return;
            }
}

/* Keys that would be passed over in silence. */
static void refuse_unused(const struct bg_select_options *options, const struct bg_yaml *section,
                          struct bg_text *errors)
{
    const struct {
        const char *path;
        const struct bg_yaml *node;
    } keys[] = {{"select.budget", options->budget},
                {"select.allocator_options", options->allocator_options},
                {"select.tied", options->tied}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i].node)
            bg_options_error(errors, keys[i].node, keys[i].path, "needs search: budget");
    if (options->choose_activations || *options->latency)
        bg_options_error(errors, section,
                         *options->latency ? "select.latency" : "select.choose_activations",
                         "needs search: budget");
}

enum bg_status bg_budget_choose(const struct bg_select_options *options,
                                const struct bg_yaml *section, struct bg_budget_choice *out,
                                struct bg_text *errors)
{
    struct values values = {{0}};
    size_t before = errors->length;
    enum bg_status rc = BG_OK;

    *out = (struct bg_budget_choice){.budgets = 0};
    if (options->search != BG_SEARCH_BUDGET) {
        refuse_unused(options, section, errors);
        return BG_OK;
    }
    rc = bg_options_read(options->budget, budget_table, NULL, "select.budget", &values, errors);
    if (rc == BG_OK)
        take_budgets(&values, options->budget ? options->budget : section, out, errors);
    else if (rc != BG_E_DATA)
        goto out;
    check_keys(options, section, out, errors);
    rc = bg_allocate_choose(options->allocator, options->allocator_options, "select.allocator",
                            &out->allocator, &out->settings, errors);
    if (rc == BG_OK && errors->length > before)
        rc = bg_fail(BG_E_DATA, "select: see the lines above");
out:
    return rc;
}

void bg_budget_choice_free(struct bg_budget_choice *choice)
{
    bg_free(choice->settings);
    *choice = (struct bg_budget_choice){.budgets = 0};
}

static struct bg_bits_frame frame_of(const struct bg_budget_choice *choice,
                                     const struct bg_select_options *options,
                                     const struct bg_budget_case *at)
{
    struct bg_bits_frame frame = {
        .net = at->net,
        .activation_bits = options->choose_activations ? -1 : (int)options->activation_bits,
        .pinned = at->pinned,
        .pinned_bits = {(int)options->first_bits, (int)options->activation_bits},
        .budgets = choice->budgets,
        .latency = at->latency,
        .before = at->before};
    frame.candidates = bg_budget_bits(options, frame.bits);
    for (int k = 0; k < choice->budgets; k++)
        frame.budget[k] =
            (struct bg_budget){choice->budget[k].kind, choice->budget[k].value * at->factor};
    return frame;
}

int bg_budget_bits(const struct bg_select_options *options, int bits[BG_CANDIDATES_MAX])
{
    for (int i = 0; i < options->candidates.count; i++)
        bits[i] = (int)options->candidates.at[i];
    return options->candidates.count;
}

static enum bg_status fill_report(const struct bg_bits_frame *frame,
                                  const struct bg_allocation *answer, const struct bg_plan *plan,
                                  struct bg_budget_report *report)
{
    enum bg_status rc = BG_OK;
    *report = (struct bg_budget_report){.budgets = frame->budgets,
                                        .objective = answer->objective,
                                        .bound = answer->bound,
                                        .optimal = answer->optimal};
    for (int k = 0; k < frame->budgets; k++) {
        report->budget[k] = frame->budget[k];
        TRY(bg_budget_cost(frame->net, plan, frame->budget[k].kind, frame->latency,
                           &report->cost[k]));
    }
out:
    return rc;
}

/* Roles that no budget counts. */
static void fix_others(const struct bg_penalties *penalties, struct bg_plan *plan)
{
    for (int role = BG_ROLE_OUT_GRAD; penalties->fixes && role < BG_ROLES; role++)
        if (penalties->fixed_bits[role] > 0)
            plan->layer[penalties->fixed_layer].spec[role] =
                bg_spec_integer(penalties->fixed_bits[role], false);
}

enum bg_status bg_budget_plan(const struct bg_budget_choice *choice,
                              const struct bg_select_options *options,
                              const struct bg_budget_case *at, const struct bg_penalties *penalties,
                              struct bg_plan *plan, struct bg_budget_report *report)
{
    struct bg_bits_frame frame = frame_of(choice, options, at);
    struct bg_bits_problem bits = {.layers = 0};
    struct bg_allocation answer = {.items = 0};
    struct bg_text errors = {0};
    int layers = bg_graph_layer_count(at->net->graph);
    int *group = NULL;
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    TRY(bg_alloc(&group, layers, sizeof *group));
    rc = bg_bits_groups(options->tied, "select.tied", at->names, layers, group, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        FAIL(BG_E_DATA, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    frame.group = group;
    TRY(bg_bits_open_for(&bits, &frame, penalties));
    TRY(bg_allocate_run(choice->allocator, choice->settings, &bits.problem, &answer));
    TRY(bg_bits_plan(&bits, &answer, plan));
    fix_others(penalties, plan);
    TRY(fill_report(&frame, &answer, plan, report));
out:
    bg_text_free(&errors);
    bg_allocation_free(&answer);
    bg_bits_close(&bits);
    bg_free(group);
    return rc;
}

int bg_select_rounds(const struct bg_select_options *options, int64_t epochs)
{
    if (options->every == 0 || epochs <= options->every)
        return 1;
    return (int)((epochs + options->every - 1) / options->every);
}

double bg_select_factor(const struct bg_select_options *options, int round)
{
    return round < options->progress.count ? options->progress.at[round] : 1;
}

int bg_select_bits(const struct bg_select_options *options, int round)
{
    if (options->search ==
        BG_SEARCH_BUDGET) /* the allocator gives bits; rankings stay comparable */
        return (int)options->second_bits;
    double bits = floor((double)options->second_bits * bg_select_factor(options, round) + 0.5);
    return bits > 16 ? 16 : (int)bits;
}

static bool has_more(const struct bg_spec *a, const struct bg_spec *b)
{
    return bg_spec_bits(a) > bg_spec_bits(b);
}

void bg_plan_lower(struct bg_plan *plan, const struct bg_plan *before)
{
    for (int i = 0; i < plan->count && i < before->count; i++)
        for (int role = BG_ROLE_WEIGHT; role <= BG_ROLE_ACTIVATION; role++)
            if (has_more(&plan->layer[i].spec[role], &before->layer[i].spec[role]))
                plan->layer[i].spec[role] = before->layer[i].spec[role];
}
