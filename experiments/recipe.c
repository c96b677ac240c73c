/* Reads a recipe and prints it resolved. Sections are read by those who use them (data, network,
 * training, policies); this file calls each reader, so that all errors of a recipe appear at once,
 * and puts the printed sections together. */
#include "experiments/recipe.h"

#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "datasets/dataset.h"
#include "experiments/recipe_tables.h"
#include "layers/net.h"

#define ERRORS_LIMIT   (64 << 10)
#define RESOLVED_LIMIT (1 << 20)
#define METHODS_MAX    64
#define ERRORS_SHOWN   50

enum bg_status bg_recipe_soft(enum bg_status rc, const struct bg_text *errors, size_t before)
{
    if (rc == BG_E_DATA && errors->length == before)
        return rc; /* a sentence without a line of its own */
    return rc == BG_E_DATA ? BG_OK : rc;
}

#define READ(expression_)                                                                          \
    do {                                                                                           \
        size_t before_ = errors->length;                                                           \
        TRY(bg_recipe_soft((expression_), errors, before_));                                       \
    } while (0)

static enum bg_status read_stages(struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_yaml *node = bg_yaml_get(bg_document_root(recipe->document), "stages");
    const struct bg_text_list *list = &recipe->top.stages;
    int last = -1;
    for (int i = 0; i < list->count; i++) {
        int stage = 0;
        while (stage < BG_STAGES && strcmp(list->at[i], bg_stage_names[stage]) != 0)
            stage++;
        if (stage == BG_STAGES) {
            const char *near = bg_text_nearest(list->at[i], bg_stage_names, BG_STAGES);
            bg_options_error(errors, node, "stages", "unknown stage \"%s\"%s%s%s", list->at[i],
                             near ? ", did you mean \"" : "", near ? near : "", near ? "\"?" : "");
        } else if (stage <= last) {
            bg_options_error(errors, node, "stages", "%s cannot come after %s", list->at[i],
                             bg_stage_names[last]);
        } else {
            recipe->stage[recipe->stages++] = (enum bg_stage)stage;
            last = stage;
        }
    }
    if (list->count == 0)
        bg_options_error(errors, node, "stages", "at least one stage is needed");
    return BG_OK;
}

bool bg_recipe_has_stage(const struct bg_recipe *recipe, enum bg_stage stage)
{
    for (int i = 0; i < recipe->stages; i++)
        if (recipe->stage[i] == stage)
            return true;
    return false;
}

int bg_recipe_rounds(const struct bg_recipe *recipe)
{
    if (!bg_recipe_has_stage(recipe, BG_STAGE_SELECT) ||
        !bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE))
        return 1;
    return bg_select_rounds(&recipe->select, recipe->finetune.epochs);
}

static void check_name(const struct bg_recipe *recipe, struct bg_text *errors)
{
    const char *name = recipe->top.name;
    const struct bg_yaml *node = bg_yaml_get(bg_document_root(recipe->document), "name");
    bool control = false;
    if (!node) /* a missing key is reported by the table already */
        return;
    for (const char *at = name; *at; at++)
        control = control || (unsigned char)*at < ' ' || *at == 0x7f;
    if (!*name || control || *name == '.' || strchr(name, '/') || strlen(name) >= BG_NAME_MAX)
        bg_options_error(errors, node, "name",
                         "\"%s\" cannot name a folder: 1 to %d characters without '/' and control "
                         "characters, not beginning with '.'",
                         control ? "?" : name, BG_NAME_MAX - 1);
}

/* The choosers see a method's options, not where its name stands: an unknown name is reported here,
 * at its own key. */
static bool has_name(const char *name, const char *const *names, int count,
                     const struct bg_yaml *section, const char *paths[2], struct bg_text *errors)
{
    const struct bg_yaml *node = section ? bg_yaml_get(section, paths[1]) : NULL;
    char path[BG_NAME_MAX];
    const char *near;
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return true;
    near = bg_text_nearest(name, names, count);
    (void)snprintf(path, sizeof path, "%s.%s", paths[0], paths[1]);
    bg_options_error(errors, node ? node : section, path, "unknown method '%s'%s%s%s", name,
                     near ? ", did you mean '" : "; 'bitgrad list' names them", near ? near : "",
                     near ? "'?" : "");
    return false;
}

static bool has_policy(const struct bg_recipe *recipe, struct bg_text *errors)
{
    const char *names[METHODS_MAX], *paths[2] = {"select", "policy"};
    int count = 0;
    for (; count < METHODS_MAX && bg_select_methods[count]; count++)
        names[count] = bg_select_methods[count]->name;
    return has_name(recipe->select.policy, names, count, recipe->top.select, paths, errors);
}

static bool has_update(const struct bg_train_options *train, const char *section,
                       const struct bg_yaml *node, struct bg_text *errors)
{
    const char *names[METHODS_MAX], *paths[2] = {section, "update"};
    int count = 0;
    for (; count < METHODS_MAX && bg_update_methods[count]; count++)
        names[count] = bg_update_methods[count]->name;
    return has_name(train->update, names, count, node, paths, errors);
}

static enum bg_status check_update(const struct bg_train_options *train, const char *section,
                                   const struct bg_yaml *node, struct bg_text *errors)
{
    const struct bg_update_method *update = NULL;
    void *options = NULL;
    char path[BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    if (!has_update(train, section, node, errors))
        return BG_OK;
    (void)snprintf(path, sizeof path, "%s.options", section);
    READ(bg_update_choose(train->update, train->update_options, path, &update, &options, errors));
    (void)snprintf(path, sizeof path, "%s.updates", section);
    READ(bg_updates_check(train->updates, path, errors));
out:
    bg_free(options);
    return rc;
}

static enum bg_status read_measures(struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_yaml *root = bg_document_root(recipe->document);
    const struct bg_yaml *section = recipe->top.profile;
    const struct bg_yaml *node = section ? bg_yaml_get(section, "candidates") : NULL;
    enum bg_status rc = BG_OK;
    READ(
        bg_measure_choose(recipe->profile.measures, "profile.measures", &recipe->measures, errors));
    if (bg_measure_candidates(&recipe->profile.candidates, &recipe->candidates,
                              recipe->candidate_bits) != BG_OK)
        bg_options_error(errors, node ? node : root, "profile.candidates", "%s", bg_error());
out:
    return rc;
}

/* Residual bits are chosen for plans that are made here and trained on by that method. */
static void check_residual(const struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_residual_options *options = &recipe->residual;
    const struct bg_yaml *node = recipe->select.residual;
    const char *update = recipe->finetune.update;
    if (!options->asked)
        return;
    if (options->least > options->most)
        bg_options_error(errors, node, "select.residual", "least is %lld, most is %lld",
                         (long long)options->least, (long long)options->most);
    if (bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE) && strcmp(update, "residual") != 0 &&
        strcmp(update, "sgd") != 0)
        bg_options_error(errors, node, "select.residual",
                         "chooses bits of residual, finetune.update is %s", update);
}

/* Budgets and bits must end at what the recipe says. */
static void check_progress(const struct bg_recipe *recipe, const struct bg_yaml *node,
                           struct bg_text *errors)
{
    int rounds = bg_recipe_rounds(recipe);
    double last = bg_select_factor(&recipe->select, rounds - 1);
    if (bg_recipe_has_stage(recipe, BG_STAGE_SELECT) && last != 1)
        bg_options_error(
            errors, node, "select.progress",
            "the last of %d selection%s would take %g times what is asked for; factors "
            "are for those before it (select.every)",
            rounds, rounds == 1 ? "" : "s", last);
}

/* Several selections need fine-tuning between them. */
static void check_rounds(const struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_yaml *node = recipe->top.select;
    int64_t epochs = recipe->finetune.epochs, every = recipe->select.every;
    if (!node)
        node = bg_document_root(recipe->document);
    check_progress(recipe, node, errors);
    if (every == 0 || !bg_recipe_has_stage(recipe, BG_STAGE_SELECT))
        return;
    if (!bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE))
        bg_options_error(errors, node, "select.every", "there is no finetune stage to divide");
    if ((epochs + every - 1) / every > BG_SELECT_ROUNDS)
        bg_options_error(errors, node, "select.every",
                         "%lld epochs in parts of %lld, limit is %d parts", (long long)epochs,
                         (long long)every, BG_SELECT_ROUNDS);
    if (*recipe->select.plan)
        bg_options_error(errors, node, "select.every", "a plan file is not selected again");
}

static enum bg_status read_methods(struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_recipe_top *top = &recipe->top;
    enum bg_status rc = BG_OK;
    READ(bg_range_choose(recipe->quantize.weight_range, "min-max", "quantize.weight_range",
                         &recipe->weight_range, &recipe->weight_range_options, errors));
    READ(bg_range_choose(recipe->quantize.activation_range, "moving-average",
                         "quantize.activation_range", &recipe->activation_range,
                         &recipe->activation_range_options, errors));
    if (has_policy(recipe, errors))
        READ(bg_select_choose(recipe->select.policy, recipe->select.options, "select.options",
                              &recipe->policy, &recipe->policy_options, errors));
    READ(bg_budget_choose(&recipe->select,
                          top->select ? top->select : bg_document_root(recipe->document),
                          &recipe->budget, errors));
    check_rounds(recipe, errors);
    TRY(check_update(&recipe->train, "train", top->train, errors));
    TRY(check_update(&recipe->finetune, "finetune", top->finetune, errors));
    TRY(read_measures(recipe, errors));
out:
    return rc;
}

bool bg_recipe_trains_quantized(const struct bg_recipe *recipe)
{
    const struct bg_quantize_section *quantize = &recipe->quantize;
    bool gradients = quantize->gradient_bits > 0 || quantize->weight_gradient_bits > 0;
    return *quantize->plan || quantize->weight_bits > 0 || quantize->activation_bits > 0 ||
           (gradients && bg_recipe_has_stage(recipe, BG_STAGE_TRAIN));
}

/* Two sayings of the same bits. */
static void check_plans(const struct bg_recipe *recipe, const struct bg_yaml *at,
                        struct bg_text *errors)
{
    const struct bg_quantize_section *quantize = &recipe->quantize;
    if (!*quantize->plan)
        return;
    if (quantize->weight_bits || quantize->activation_bits)
        bg_options_error(errors, at, "quantize",
                         "plan says all bits: leave weight_bits and activation_bits out");
    if (*recipe->select.plan && bg_recipe_has_stage(recipe, BG_STAGE_SELECT) &&
        strcmp(recipe->select.plan, quantize->plan) != 0)
        bg_options_error(errors, at, "select",
                         "quantize.plan and select.plan: a run takes one plan file");
}

/* A stage that has nothing to work on is better refused before the first one runs. */
static void check_stages(const struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_yaml *root = bg_document_root(recipe->document);
    const struct bg_yaml *node = bg_yaml_get(root, "stages");
    bool selects = bg_recipe_has_stage(recipe, BG_STAGE_SELECT);
    bool planned = bg_recipe_trains_quantized(recipe);
    if (bg_recipe_has_stage(recipe, BG_STAGE_FINETUNE) && !selects && !planned)
        bg_options_error(errors, node ? node : root, "stages",
                         "finetune needs the select stage, quantize.plan or quantize.weight_bits");
    if (planned && !bg_recipe_has_stage(recipe, BG_STAGE_TRAIN))
        bg_options_error(
            errors, node ? node : root, "stages",
            "quantize.plan, weight_bits and activation_bits need the train stage; select.plan is "
            "for a trained network");
    bg_recipe_check_gradients(&recipe->quantize, recipe->top.quantize, errors);
    check_plans(recipe, node ? node : root, errors);
    if (recipe->residual.asked && selects && !bg_recipe_has_stage(recipe, BG_STAGE_TRAIN))
        bg_options_error(errors, recipe->select.residual, "select.residual",
                         "needs the train stage, whose updates it reads");
}

static enum bg_status read_sections(struct bg_recipe *recipe, struct bg_text *errors)
{
    const struct bg_recipe_top *top = &recipe->top;
    enum bg_status rc = BG_OK;
    READ(bg_options_read(bg_document_root(recipe->document), bg_top_table, NULL, "", &recipe->top,
                         errors));
    check_name(recipe, errors);
    TRY(read_stages(recipe, errors));
    READ(
        bg_options_read(top->train, bg_train_options_table, NULL, "train", &recipe->train, errors));
    READ(bg_options_read(top->finetune, bg_train_options_table, NULL, "finetune", &recipe->finetune,
                         errors));
    READ(
        bg_options_read(top->profile, bg_profile_table, NULL, "profile", &recipe->profile, errors));
    READ(bg_options_read(top->quantize, bg_quantize_table, NULL, "quantize", &recipe->quantize,
                         errors));
    READ(bg_options_read(top->select, bg_select_options_table, NULL, "select", &recipe->select,
                         errors));
    recipe->residual.asked = recipe->select.residual != NULL;
    READ(bg_options_read(recipe->select.residual, bg_residual_options_table, NULL,
                         "select.residual", &recipe->residual, errors));
    check_residual(recipe, errors);
    READ(bg_options_read(top->evaluate, bg_evaluate_table, NULL, "evaluate", recipe, errors));
    READ(bg_options_read(top->verify, bg_verify_table, NULL, "verify", recipe, errors));
    READ(bg_options_read(top->checkpoint, bg_checkpoint_table, NULL, "checkpoint", recipe, errors));
    READ(bg_options_read(top->report, bg_report_table, NULL, "report", recipe, errors));
    check_stages(recipe, errors);
    TRY(read_methods(recipe, errors));
out:
    return rc;
}

/* One error is the sentence; several go to the log, and the sentence counts them. Of very many the
 * first are enough. */
static enum bg_status report_errors(const struct bg_text *errors, const char *path)
{
    const char *line = bg_text_string(errors);
    int count = 0, shown = 0;
    if (errors->length == 0)
        return BG_OK;
    for (const char *at = line; *at; at++)
        count += *at == '\n';
    if (count <= 1 && !errors->failed)
        return bg_fail(BG_E_DATA, "%.*s", (int)strcspn(line, "\n"), line);
    for (; *line && shown < ERRORS_SHOWN; shown++) {
        size_t length = strcspn(line, "\n");
        bg_log(BG_LOG_ERROR, "%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
    return bg_fail(BG_E_DATA, "%s: %s%d errors%s", path, errors->failed ? "more than " : "", count,
                   count > shown ? ", the first are listed" : "");
}

enum bg_status bg_recipe_read(struct bg_recipe **out, const char *path, char *const *overrides,
                              int count)
{
    struct bg_recipe *recipe = NULL;
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, ERRORS_LIMIT);
    TRY(bg_alloc(&recipe, 1, sizeof *recipe));
    bg_text_init(&recipe->resolved, RESOLVED_LIMIT);
    TRY(bg_yaml_parse_file(&recipe->document, path));
    for (int i = 0; i < count; i++)
        TRY(bg_yaml_override(recipe->document, overrides[i]));
    rc = read_sections(recipe, &errors);
    if (rc == BG_OK)
        rc = bg_recipe_print_foreign(recipe, &errors);
    if (rc != BG_OK && !errors.failed) /* a list that overflowed is an answer by itself */
        goto out;
    TRY(report_errors(&errors, path));
    TRY(bg_recipe_print_own(recipe, &errors));
    TRY(report_errors(&errors, path));
    TRY(bg_text_check(&recipe->resolved));
    *out = recipe;
    recipe = NULL;
out:
    bg_text_free(&errors);
    bg_recipe_free(recipe);
    return rc;
}

void bg_recipe_free(struct bg_recipe *recipe)
{
    if (!recipe)
        return;
    bg_free(recipe->weight_range_options);
    bg_free(recipe->activation_range_options);
    bg_free(recipe->policy_options);
    bg_measure_list_free(&recipe->measures);
    bg_budget_choice_free(&recipe->budget);
    bg_text_free(&recipe->resolved);
    bg_document_free(recipe->document);
    bg_free(recipe);
}

struct bg_quantize_options bg_recipe_quantize_options(const struct bg_recipe *recipe)
{
    return (struct bg_quantize_options){
        .weight_range = recipe->weight_range,
        .activation_range = recipe->activation_range,
        .weight_range_options = recipe->weight_range_options,
        .activation_range_options = recipe->activation_range_options,
        .rounding = (enum bg_rounding)recipe->quantize.rounding,
        .gradient_rounding = (enum bg_rounding)recipe->quantize.gradient_rounding};
}
