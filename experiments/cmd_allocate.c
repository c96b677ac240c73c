/* `bitgrad allocate`: bits for layers from anybody's table of penalties and costs, within budgets.
 * Needs no network, recipe or run. The format of the tables is in experiments/cost_table.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/allocation_print.h"
#include "experiments/arguments.h"

extern const struct bg_command bg_cmd_allocate;

#define LABELS BG_ALLOCATE_CANDIDATES

struct task {
    struct bg_arguments arguments;
    struct bg_cost_table table;
    struct bg_allocate_problem problem; /* an item per layer */
    struct bg_allocate_problem tied;    /* an item per group */
    int *group, *merged;                /* per layer: first of its group, item of tied */
    char (*pin)[BG_NAME_MAX];           /* per layer: label, "" = free */
    bool *given;                        /* per layer: pinned on the command line */
    bool *pinned;                       /* per layer: its group is pinned */
    const struct bg_allocate_method *method;
    void *options;
    struct bg_allocation merged_plan, plan;
};

/* Copies the word that ends at `end` (NULL: at the end of text). */
static enum bg_status take_word(const char *who, const char *text, const char *end,
                                char out[BG_NAME_MAX])
{
    size_t length = end ? (size_t)(end - text) : strlen(text);
    if (length == 0 || length >= BG_NAME_MAX)
        return bg_fail(BG_E_USAGE, "%s: a word of %zu bytes, expected 1 to %d", who, length,
                       BG_NAME_MAX - 1);
    memcpy(out, text, length);
    out[length] = '\0';
    return BG_OK;
}

static void join(struct task *t, int a, int b)
{
    int low = t->group[a] < t->group[b] ? t->group[a] : t->group[b];
    int high = t->group[a] < t->group[b] ? t->group[b] : t->group[a];
    for (int i = 0; i < t->table.layers; i++)
        if (t->group[i] == high)
            t->group[i] = low;
}

static enum bg_status tie_by_words(struct task *t, const char *words)
{
    int first = -1, next = -1;
    char name[BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    for (const char *at = words; at;) {
        const char *end = strchr(at, ',');
        TRY(take_word("--tie", at, end, name));
        TRY(bg_cost_table_layer(&t->table, name, BG_E_USAGE, "--tie", &next));
        first = first < 0 ? next : first;
        join(t, first, next);
        at = end ? end + 1 : NULL;
    }
out:
    return rc;
}

static enum bg_status tie_by_file(struct task *t)
{
    json_t *ties = json_object_get(t->table.root, "ties");
    enum bg_status rc = BG_OK;
    if (ties && !json_is_array(ties))
        FAIL(BG_E_DATA, "%s: ties: expected a list of lists of layers", t->table.file);
    for (size_t i = 0; i < json_array_size(ties); i++) {
        json_t *one = json_array_get(ties, i);
        int first = -1, next = -1;
        if (!json_is_array(one))
            FAIL(BG_E_DATA, "%s: ties: expected a list of lists of layers", t->table.file);
        for (size_t k = 0; k < json_array_size(one); k++) {
            const char *name = json_string_value(json_array_get(one, k));
            TRY(bg_cost_table_layer(&t->table, name ? name : "", BG_E_DATA, "ties", &next));
            first = first < 0 ? next : first;
            join(t, first, next);
        }
    }
out:
    return rc;
}

static enum bg_status pin_layer(struct task *t, const char *name, const char *label,
                                enum bg_status code, const char *who)
{
    int layer = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_cost_table_layer(&t->table, name, code, who, &layer));
    if (!bg_cost_table_row(&t->table, layer, label))
        FAIL(code, "%s: layer %s has no candidate '%.63s'", who, name, label);
    TRY(bg_text_copy(t->pin[layer], BG_NAME_MAX, label));
    t->given[layer] = code == BG_E_USAGE;
out:
    return rc;
}

static enum bg_status read_pins(struct task *t)
{
    json_t *pins = json_object_get(t->table.root, "pins"), *value = NULL;
    const char *word = NULL, *key = NULL;
    char name[BG_NAME_MAX], label[BG_NAME_MAX];
    int at = 0;
    enum bg_status rc = BG_OK;
    if (pins && !json_is_object(pins))
        FAIL(BG_E_DATA, "%s: pins: expected an object {\"layer\": \"candidate\"}", t->table.file);
    json_object_foreach(pins, key, value)
    {
        (void)snprintf(label, sizeof label, "%lld", (long long)json_integer_value(value));
        if (!json_is_integer(value) && !json_is_string(value))
            FAIL(BG_E_DATA, "%s: pins: layer %.63s: expected a candidate", t->table.file, key);
        TRY(pin_layer(t, key, json_is_string(value) ? json_string_value(value) : label, BG_E_DATA,
                      "pins"));
    }
    while (bg_arguments_next(&t->arguments, "pin", &at, &word)) {
        const char *equals = strrchr(word, '=');
        if (!equals)
            FAIL(BG_E_USAGE, "--pin: expected LAYER=CANDIDATE, got '%.100s'", word);
        TRY(take_word("--pin", word, equals, name));
        TRY(take_word("--pin", equals + 1, NULL, label));
        TRY(pin_layer(t, name, label, BG_E_USAGE, "--pin"));
    }
out:
    return rc;
}

/* A pinned layer pins its group; two pins in one group must agree. */
static enum bg_status spread_pins(struct task *t)
{
    for (int i = 0; i < t->table.layers; i++)
        for (int k = 0; *t->pin[i] && k < t->table.layers; k++) {
            if (t->group[k] != t->group[i])
                continue;
            t->pinned[k] = true;
            bool given = t->given[i] || t->given[k];
            if (*t->pin[k] && strcmp(t->pin[k], t->pin[i]) != 0)
                return bg_fail(given ? BG_E_USAGE : BG_E_DATA,
                               "%s: layers %s and %s are tied but pinned to %s and %s",
                               given ? "--pin" : t->table.file, t->table.layer[i].name,
                               t->table.layer[k].name, t->pin[i], t->pin[k]);
        }
    return BG_OK;
}

static bool any_has(const struct bg_cost_table *table, const char *label)
{
    for (int i = 0; i < table->rows; i++)
        if (!strcmp(table->row[i].candidate, label))
            return true;
    return false;
}

static enum bg_status make_problem(struct task *t)
{
    const char *words = bg_arguments_get(&t->arguments, "candidates"), *list[LABELS + 1] = {NULL};
    char label[LABELS][BG_NAME_MAX];
    int count = 0;
    enum bg_status rc = BG_OK;
    for (const char *at = words; at; count++) {
        const char *end = strchr(at, ',');
        if (count == LABELS)
            FAIL(BG_E_USAGE, "--candidates: more than %d", LABELS);
        TRY(take_word("--candidates", at, end, label[count]));
        if (!any_has(&t->table, label[count]))
            FAIL(BG_E_USAGE, "--candidates: no layer of %s has a candidate '%s'", t->table.file,
                 label[count]);
        list[count] = label[count];
        at = end ? end + 1 : NULL;
    }
    list[count] = NULL;
    TRY(bg_cost_table_problem(&t->table, words ? list : NULL, t->pinned, &t->problem));
out:
    return rc;
}

/* Those of the command line replace the file's. */
static enum bg_status take_budgets(struct task *t)
{
    bool given[BG_COST_COLUMNS] = {false};
    const char *word = NULL;
    char name[BG_NAME_MAX];
    double number = 0;
    int at = 0, column = 0;
    enum bg_status rc = BG_OK;
    while (bg_arguments_next(&t->arguments, "budget", &at, &word)) {
        const char *equals = strrchr(word, '=');
        if (!equals || !bg_text_to_real(equals + 1, &number) || number < 0)
            FAIL(BG_E_USAGE, "--budget: expected COST=NUMBER of at least 0, got '%.100s'", word);
        TRY(take_word("--budget", word, equals, name));
        TRY(bg_cost_table_cost(&t->table, name, BG_E_USAGE, "--budget", &column));
        if (given[column])
            FAIL(BG_E_USAGE, "--budget: %s has two budgets", name);
        given[column] = true;
        TRY(bg_cost_table_budget(&t->table, column, number, &t->problem));
    }
out:
    return rc;
}

static enum bg_status read_budgets(struct task *t)
{
    json_t *budgets = json_object_get(t->table.root, "budgets"), *value = NULL;
    const char *key = NULL;
    int column = 0;
    enum bg_status rc = BG_OK;
    if (budgets && !json_is_object(budgets))
        FAIL(BG_E_DATA, "%s: budgets: expected an object {\"cost\": number}", t->table.file);
    json_object_foreach(budgets, key, value)
    {
        if (!json_is_number(value))
            FAIL(BG_E_DATA, "%s: budgets: %.63s is not a number", t->table.file, key);
        TRY(bg_cost_table_cost(&t->table, key, BG_E_DATA, "budgets", &column));
        TRY(bg_cost_table_budget(&t->table, column, json_number_value(value), &t->problem));
    }
    TRY(take_budgets(t));
out:
    return rc;
}

/* "exact:width=1000" */
static enum bg_status choose_allocator(struct task *t)
{
    const char *words = bg_arguments_get(&t->arguments, "allocator");
    struct bg_document *document = NULL;
    struct bg_text errors = {0};
    char name[BG_NAME_MAX], pair[2 * BG_NAME_MAX];
    enum bg_status rc = BG_OK;
    bg_text_init(&errors, 1 << 14);
    words = words ? words : "exact";
    TRY(take_word("--allocator", words, strchr(words, ':'), name));
    TRY(bg_yaml_parse_text(&document, "--allocator", "{}", 2));
    for (const char *at = strchr(words, ':'); at;) {
        const char *end = strchr(++at, ':');
        size_t length = end ? (size_t)(end - at) : strlen(at);
        if (length >= sizeof pair)
            FAIL(BG_E_USAGE, "--allocator: an option of %zu bytes", length);
        memcpy(pair, at, length);
        pair[length] = '\0';
        TRY(bg_yaml_override(document, pair));
        at = end;
    }
    rc = bg_allocate_choose(name, bg_document_root(document), "allocator", &t->method, &t->options,
                            &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        rc = bg_fail(rc, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
out:
    bg_document_free(document);
    bg_text_free(&errors);
    return rc == BG_E_DATA ? BG_E_USAGE : rc; /* the words are the command line's, not a file's */
}

static enum bg_status read_task(struct task *t)
{
    const char *path = bg_arguments_get(&t->arguments, "costs"), *word = NULL;
    int at = 0;
    enum bg_status rc = BG_OK;
    if (!path)
        FAIL(BG_E_USAGE, "allocate: no --costs; 'bitgrad help allocate' shows the format");
    TRY(bg_cost_table_read(&t->table, path));
    TRY(bg_alloc(&t->group, t->table.layers, sizeof *t->group));
    TRY(bg_alloc(&t->merged, t->table.layers, sizeof *t->merged));
    TRY(bg_alloc(&t->pin, t->table.layers, sizeof *t->pin));
    TRY(bg_alloc(&t->given, t->table.layers, sizeof *t->given));
    TRY(bg_alloc(&t->pinned, t->table.layers, sizeof *t->pinned));
    for (int i = 0; i < t->table.layers; i++)
        t->group[i] = i;
    TRY(tie_by_file(t));
    while (bg_arguments_next(&t->arguments, "tie", &at, &word))
        TRY(tie_by_words(t, word));
    TRY(read_pins(t));
    TRY(spread_pins(t));
    TRY(make_problem(t));
    TRY(read_budgets(t));
    TRY(choose_allocator(t));
    if (t->method->by_priority && !t->table.priorities)
        FAIL(BG_E_DATA, "%s: no column 'priority', which the allocator %s goes by", t->table.file,
             t->method->name);
out:
    return rc;
}

static enum bg_status solve(struct task *t)
{
    enum bg_status rc = BG_OK;
    TRY(bg_allocate_tie(&t->problem, t->group, &t->tied, t->merged));
    for (int i = 0; i < t->table.layers; i++)
        if (*t->pin[i] && t->tied.item[t->merged[i]].candidates > 1)
            TRY(bg_allocate_pin(&t->tied.item[t->merged[i]], t->pin[i]));
    TRY(bg_allocate_run(t->method, t->options, &t->tied, &t->merged_plan));
    TRY(bg_allocate_spread(&t->problem, &t->tied, t->merged, &t->merged_plan, &t->plan));
out:
    return rc;
}

static void free_task(struct task *t)
{
    if (t) {
        bg_allocation_free(&t->plan);
        bg_allocation_free(&t->merged_plan);
        bg_allocate_free(&t->tied);
        bg_allocate_free(&t->problem);
        bg_cost_table_free(&t->table);
        bg_free(t->options);
        bg_free(t->group);
        bg_free(t->merged);
        bg_free(t->pin);
        bg_free(t->given);
        bg_free(t->pinned);
    }
    bg_free(t);
}

static enum bg_status allocate_main(int argc, char **argv)
{
    struct task *t = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&t, 1, sizeof *t));
    TRY(bg_arguments_read(&t->arguments, &bg_cmd_allocate, argc, argv, 0, 0));
    if (t->arguments.done)
        goto out;
    TRY(read_task(t));
    TRY(solve(t));
    struct bg_allocation_report report = {.allocator = t->method->name,
                                          .table = &t->table,
                                          .problem = &t->problem,
                                          .allocation = &t->plan};
    if (bg_arguments_get(&t->arguments, "plan"))
        TRY(bg_allocation_write_plan(&report, bg_arguments_get(&t->arguments, "plan")));
    if (bg_arguments_get(&t->arguments, "json"))
        TRY(bg_allocation_print_json(&report));
    else
        bg_allocation_print_text(&report);
out:
    free_task(t);
    return rc;
}

static const struct bg_argument allocate_arguments[] = {
    {"costs", "FILE", "the table, TSV or JSON"},
    {"budget", "COST=NUMBER", "most that a column may add up to; up to four, each once"},
    {"allocator", "NAME[:KEY=VALUE]", "exact (default), greedy, ...: bitgrad list allocators"},
    {"tie", "LAYER,LAYER,...", "these layers take the same candidate; may be repeated"},
    {"pin", "LAYER=CANDIDATE", "this layer takes that one; may be repeated"},
    {"candidates", "A,B,...", "only these; pinned layers aside"},
    {"plan", "FILE", "write a plan file too (candidates like 8, w4, w4a8)"},
    {"json", NULL, "one JSON object"},
    {NULL, NULL, NULL}};

const struct bg_command bg_cmd_allocate = {
    .name = "allocate",
    .usage = "allocate --costs FILE --budget COST=NUMBER [--budget ...] [options]",
    .help = "give layers bits within budgets, from a table of penalties and costs",
    .details =
        "Chooses one candidate per layer so that the penalties add up to the least while every\n"
        "budget holds, and says what was proven. FILE has one row per layer and candidate:\n\n"
        "  layer  candidate  penalty  bytes   bops\n"
        "  conv1  8          0.01     4608    1.2e6\n"
        "  conv1  4          0.35     2304    6.1e5\n\n"
        "(between tabs, or blanks when the first line has no tab; '#' starts a comment). Every\n"
        "other column is a cost, except `priority`: small = lowered first by prefix, threshold\n"
        "and count; - = never. JSON: a list of {\"layer\": ..., \"candidate\": ..., ...}, or an\n"
        "object with that list under rows, and budgets, ties, pins if wanted. Candidates like 8\n"
        "or w4a8 are sorted by bits; others stand from the highest precision to the lowest.",
    .main = allocate_main,
    .arguments = allocate_arguments};
