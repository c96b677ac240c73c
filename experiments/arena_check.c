/* Everything an arena can refuse is refused before anything is trained: the network that cannot
 * take the bits, the criterion whose data the recipe does not record, the budget no plan holds. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena.h"
#include "experiments/latency_file.h"
#include "experiments/run.h"
#include "experiments/select_data.h"

/* Shapes come from a finished base, or from the data itself. */
static enum bg_status find_spec(struct bg_arena *arena)
{
    const struct bg_recipe *recipe = arena->recipe;
    struct bg_data *data = NULL;
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    rc = bg_data_open(&data, recipe->top.data, (uint64_t)arena->options.seeds.at[0], &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        FAIL(BG_E_DATA, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    if (data->validation_count < 1)
        FAIL(BG_E_DATA, "arena: epochs are chosen on a validation part; set data.validation");
    arena->spec = data->spec;
out:
    bg_data_close(data);
    bg_text_free(&errors);
    return rc;
}

static enum bg_status open_network(struct bg_arena *arena)
{
    const struct bg_recipe *recipe = arena->recipe;
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    TRY(find_spec(arena));
    rc = bg_net_create(&arena->net, recipe->top.network, &arena->spec,
                       (enum bg_loss)recipe->train.loss, recipe->train.label_smoothing, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        FAIL(BG_E_DATA, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    arena->layers = bg_graph_layer_count(arena->net->graph);
    if (arena->layers < 1)
        FAIL(BG_E_DATA, "network %s has no convolution or linear layer", arena->net->name);
    TRY(bg_alloc(&arena->names, arena->layers, sizeof *arena->names));
    TRY(bg_alloc(&arena->pinned, arena->layers, sizeof *arena->pinned));
    TRY(bg_alloc(&arena->group, arena->layers, sizeof *arena->group));
    for (int i = 0; i < arena->layers; i++)
        arena->names[i] = bg_node_name(bg_graph_layer(arena->net->graph, i));
    TRY(bg_select_pinned(&recipe->select, arena->names, arena->layers, arena->pinned));
    rc = bg_bits_groups(arena->options.tied, "arena.tied", arena->names, arena->layers,
                        arena->group, &errors);
    if (rc == BG_E_DATA)
        FAIL(BG_E_DATA, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    if (*arena->options.latency)
        TRY(bg_latency_read(&arena->latency, arena->options.latency, arena->names, arena->layers));
out:
    bg_text_free(&errors);
    return rc;
}

struct bg_bits_frame bg_arena_frame(const struct bg_arena *arena, int budget)
{
    const struct bg_select_options *select = &arena->recipe->select;
    struct bg_bits_frame frame = {
        .net = arena->net,
        .candidates = arena->options.candidates.count,
        .activation_bits =
            arena->options.activation_bits > 0 ? (int)arena->options.activation_bits : -1,
        .pinned = arena->pinned,
        .pinned_bits = {(int)select->first_bits, (int)select->activation_bits},
        .group = arena->group,
        .latency = &arena->latency,
        .budgets = 1,
        .budget = {{(enum bg_budget_kind)arena->budget.kind, arena->budget.values.at[budget]}}};
    for (int i = 0; i < frame.candidates; i++)
        frame.bits[i] = (int)arena->options.candidates.at[i];
    return frame;
}

/* A record as a base would leave it, but for its numbers. */
static enum bg_status expect_record(const struct bg_arena *arena, struct bg_record *out)
{
    const struct bg_recipe *recipe = arena->recipe;
    const char **names = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&names, recipe->measures.count + arena->layers + 1, sizeof *names));
    for (int i = 0; i < arena->layers; i++)
        names[i] = bg_node_op(bg_graph_layer(arena->net->graph, i));
    TRY(bg_record_make(out, arena->layers, arena->names, names));
    for (int i = 0; i < recipe->measures.count; i++)
        names[i] = recipe->measures.at[i].name;
    TRY(bg_record_set_measures(out, recipe->measures.count, names, recipe->candidates,
                               recipe->candidate_bits));
    out->spec = arena->spec;
out:
    bg_free((void *)names);
    return rc;
}

static enum bg_status try_criterion(const struct bg_arena *arena,
                                    const struct bg_arena_criterion *criterion,
                                    const struct bg_select_input *input)
{
    const struct bg_bits_frame frame = bg_arena_frame(arena, 0);
    struct bg_penalties penalties = {0};
    struct bg_arena_proposal proposal = {.who = 0};
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_select_penalties(criterion->method, criterion->options, input, frame.bits,
                            frame.candidates, &penalties));
    for (int b = 0; b < arena->budget.values.count; b++) {
        bg_plan_free(&plan);
        TRY(bg_arena_allocate(arena, b, &penalties, &plan, &proposal));
    }
out:
    bg_plan_free(&plan);
    bg_penalties_free(&penalties);
    return rc;
}

static enum bg_status check_criteria(const struct bg_arena *arena)
{
    const struct bg_recipe *recipe = arena->recipe;
    struct bg_record record = {0};
    struct bg_profile profile = {0};
    struct bg_measure_rows rows = {0};
    struct bg_select_data data = {.names = NULL};
    enum bg_status rc = BG_OK;

    TRY(expect_record(arena, &record));
    TRY(bg_select_expect_profile(recipe, arena->net, true, true, &profile));
    TRY(bg_measure_expect(&recipe->measures, arena->layers, recipe->candidates,
                          recipe->candidate_bits, &rows));
    TRY(bg_select_data_open(&data, &record, 0, arena->net, &recipe->select));
    data.input.profile = &profile;
    data.measurements.rows = rows.rows;
    data.measurements.row = rows.row;
    for (int c = 0; c < arena->criteria; c++) {
        rc = try_criterion(arena, &arena->criterion[c], &data.input);
        if (rc != BG_OK) {
            (void)bg_fail_prefix(rc, "arena.criteria: %s: ", arena->criterion[c].name);
            goto out;
        }
    }
out:
    bg_select_data_close(&data);
    bg_measure_rows_free(&rows);
    bg_profile_free(&profile);
    bg_record_free(&record);
    return rc;
}

static enum bg_status check_budgets(const struct bg_arena *arena)
{
    struct bg_bits_problem bits = {.layers = 0};
    enum bg_status rc = BG_OK;
    for (int b = 0; b < arena->budget.values.count; b++) {
        const struct bg_bits_frame frame = bg_arena_frame(arena, b);
        bg_bits_close(&bits);
        TRY(bg_bits_open(&bits, &frame, NULL));
        rc = bg_bits_check(&bits);
        if (rc != BG_OK) {
            (void)bg_fail_prefix(rc, "arena.budget.values: ");
            goto out;
        }
    }
out:
    bg_bits_close(&bits);
    return rc;
}

static enum bg_status try_bits(const struct bg_arena *arena, struct bg_trainer *trainer,
                               const char *key, int weights, int activations)
{
    const struct bg_quantize_options options = bg_recipe_quantize_options(arena->recipe);
    struct bg_plan plan = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_net_plan(arena->net, weights, activations, &plan));
    rc = bg_trainer_apply(trainer, &plan, &options);
    if (rc != BG_OK) {
        (void)bg_fail_prefix(rc, "%s: %d: ", key, weights > 0 ? weights : activations);
        goto out;
    }
    TRY(bg_trainer_apply(trainer, NULL, &options));
out:
    bg_plan_free(&plan);
    return rc;
}

/* What the graph refuses, it refuses now. */
static enum bg_status check_bits(const struct bg_arena *arena)
{
    const struct bg_recipe *recipe = arena->recipe;
    const struct bg_bits_frame frame = bg_arena_frame(arena, 0);
    struct bg_trainer_config config = {.net = arena->net,
                                       .compute = (enum bg_compute)arena->recipe->top.compute,
                                       .batch = arena->recipe->train.batch,
                                       .eval_batch = arena->recipe->eval_batch};
    struct bg_trainer *trainer = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_trainer_create(&trainer, &config));
    for (int c = 0; c < frame.candidates; c++) {
        int activations = frame.activation_bits < 0 ? frame.bits[c] : frame.activation_bits;
        TRY(try_bits(arena, trainer, "arena.candidates", frame.bits[c], activations));
    }
    for (int i = 0; recipe->measures.count > 0 && i < recipe->candidates; i++) {
        TRY(try_bits(arena, trainer, "profile.candidates", recipe->candidate_bits[i], 0));
        TRY(try_bits(arena, trainer, "profile.candidates", 0, recipe->candidate_bits[i]));
    }
out:
    bg_trainer_destroy(trainer);
    return rc;
}

enum bg_status bg_arena_check(struct bg_arena *arena)
{
    enum bg_status rc = BG_OK;
    TRY(open_network(arena));
    TRY(check_bits(arena));
    TRY(check_budgets(arena));
    TRY(check_criteria(arena));
    if (arena->reference.cost <= 0) {
        struct bg_plan plan = {0};
        rc = bg_net_plan(arena->net, 8, 8, &plan);
        if (rc == BG_OK)
            rc = bg_budget_cost(arena->net, &plan, (enum bg_budget_kind)arena->budget.kind,
                                &arena->latency, &arena->reference.cost);
        bg_plan_free(&plan);
        TRY(rc);
    }
    if (arena->reference.error <= 0)
        arena->reference.error = 1 - 1.0 / arena->spec.classes;
out:
    return rc;
}
