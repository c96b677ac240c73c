/* Prints a recipe with every default filled in. Sections that others read are printed by them. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "datasets/dataset.h"
#include "experiments/recipe_tables.h"
#include "layers/net.h"

#define TABLE_ROWS 64

/* Prints a table's rows but the subtrees, which their readers print. */
static void print_plain(const struct bg_option *table, const void *options, int indent,
                        struct bg_text *text)
{
    struct bg_option plain[TABLE_ROWS + 1];
    int count = 0;
    memset(plain, 0, sizeof plain);
    for (int i = 0; table && table[i].key && count < TABLE_ROWS; i++)
        if (table[i].type != BG_OPT_NODE)
            plain[count++] = table[i];
    bg_options_print(plain, options, indent, text);
}

static bool is_empty(const struct bg_option *table)
{
    return !table || !table[0].key;
}

static void print_method(const char *key, const char *name, const struct bg_option *table,
                         const void *options, struct bg_text *text)
{
    bg_text_add(text, "  %s:\n    name: %s\n", key, name);
    if (!is_empty(table))
        print_plain(table, options, 4, text);
}

/* A method's own subtrees stand as they were written: its reader takes them so. */
static void print_options(const struct bg_option *table, const void *options, struct bg_text *text)
{
    if (is_empty(table))
        return;
    bg_text_add(text, "  options:\n");
    bg_options_print(table, options, 4, text);
}

/* One subtree of a section, as it was written; nothing where it was not. */
static void print_node(const struct bg_option *table, const char *key, const void *options,
                       struct bg_text *text)
{
    struct bg_option one[2] = {{.key = NULL}, {.key = NULL}};
    for (int i = 0; table[i].key; i++)
        if (!strcmp(table[i].key, key))
            one[0] = table[i];
    if (*(const struct bg_yaml *const *)((const char *)options + one[0].offset))
        bg_options_print(one, options, 2, text);
}

static enum bg_status print_training(const char *section, const struct bg_train_options *train,
                                     struct bg_text *text, struct bg_text *errors)
{
    const struct bg_update_method *method = NULL;
    void *options = NULL;
    enum bg_status rc = BG_OK;
    bg_text_add(text, "%s:\n", section);
    print_plain(bg_train_options_table, train, 2, text);
    TRY(bg_update_choose(train->update, train->update_options, section, &method, &options, errors));
    print_options(method->options, options, text);
    print_node(bg_train_options_table, "updates", train, text);
out:
    bg_free(options);
    return rc;
}

enum bg_status bg_recipe_print_own(struct bg_recipe *recipe, struct bg_text *errors)
{
    struct bg_text *text = &recipe->resolved;
    enum bg_status rc = BG_OK;
    TRY(print_training("train", &recipe->train, text, errors));
    bg_text_add(text, "profile:\n");
    print_plain(bg_profile_table, &recipe->profile, 2, text);
    if (recipe->measures.count > 0) {
        bg_text_add(text, "  measures:\n");
        bg_measure_list_print(&recipe->measures, 4, text);
    }
    bg_text_add(text, "quantize:\n");
    print_plain(bg_quantize_table, &recipe->quantize, 2, text);
    print_method("weight_range", recipe->weight_range->name, recipe->weight_range->options,
                 recipe->weight_range_options, text);
    print_method("activation_range", recipe->activation_range->name,
                 recipe->activation_range->options, recipe->activation_range_options, text);
    bg_text_add(text, "select:\n");
    print_plain(bg_select_options_table, &recipe->select, 2, text);
    print_node(bg_select_options_table, "budget", &recipe->select, text);
    print_node(bg_select_options_table, "allocator_options", &recipe->select, text);
    print_node(bg_select_options_table, "tied", &recipe->select, text);
    print_options(recipe->policy->options, recipe->policy_options, text);
    if (recipe->residual.asked) {
        bg_text_add(text, "  residual:\n");
        bg_options_print(bg_residual_options_table, &recipe->residual, 4, text);
    }
    TRY(print_training("finetune", &recipe->finetune, text, errors));
    bg_text_add(text, "evaluate:\n");
    print_plain(bg_evaluate_table, recipe, 2, text);
    bg_text_add(text, "verify:\n");
    print_plain(bg_verify_table, recipe, 2, text);
    bg_text_add(text, "checkpoint:\n");
    print_plain(bg_checkpoint_table, recipe, 2, text);
    bg_text_add(text, "report:\n");
    print_plain(bg_report_table, recipe, 2, text);
out:
    return rc;
}

/* The sections whose readers print while they read: their errors join the others. */
enum bg_status bg_recipe_print_foreign(struct bg_recipe *recipe, struct bg_text *errors)
{
    struct bg_text *text = &recipe->resolved;
    size_t before = errors->length;
    enum bg_status rc = BG_OK;
    print_plain(bg_top_table, &recipe->top, 0, text);
    bg_text_add(text, "data:\n");
    if (recipe->top.data)
        TRY(bg_recipe_soft(bg_data_print_section(recipe->top.data, 2, text, errors), errors,
                           before));
    else
        bg_options_error(errors, bg_document_root(recipe->document), "data", "section is missing");
    before = errors->length;
    bg_text_add(text, "network:\n");
    if (recipe->top.network)
        TRY(bg_recipe_soft(bg_net_print_section(recipe->top.network, 2, text, errors), errors,
                           before));
    else
        bg_options_error(errors, bg_document_root(recipe->document), "network",
                         "section is missing");
out:
    return rc;
}
