/* `bitgrad list`: what there is, with options and defaults, printed from the registries' tables. */
#include <stdio.h>
#include <string.h>

#include "datasets/dataset.h"
#include "experiments/arguments.h"
#include "experiments/recipe.h"
#include "layers/net.h"
#include "policies/allocate.h"

extern const struct bg_command bg_cmd_list;

static void entry(struct bg_text *out, const char *name, const char *help, const char *source,
                  const struct bg_option *options)
{
    bg_text_add(out, "%s: %s\n", name, help);
    if (source && *source)
        bg_text_add(out, "  source: %s\n", source);
    if (options)
        bg_options_help(options, 2, out);
}

static void list_layers(struct bg_text *out)
{
    for (int i = 0; bg_layer_types[i]; i++)
        entry(out, bg_layer_types[i]->name, bg_layer_types[i]->help, NULL,
              bg_layer_types[i]->options);
}

static void list_networks(struct bg_text *out)
{
    for (int i = 0; bg_net_types[i]; i++)
        entry(out, bg_net_types[i]->name, bg_net_types[i]->help, bg_net_types[i]->source,
              bg_net_types[i]->options);
}

static void list_datasets(struct bg_text *out)
{
    for (int i = 0; bg_dataset_types[i]; i++)
        entry(out, bg_dataset_types[i]->name, bg_dataset_types[i]->help,
              bg_dataset_types[i]->source, bg_dataset_types[i]->options);
}

static void list_policies(struct bg_text *out)
{
    for (int i = 0; bg_select_methods[i]; i++)
        entry(out, bg_select_methods[i]->name, bg_select_methods[i]->help,
              bg_select_methods[i]->source, bg_select_methods[i]->options);
}

static void list_allocators(struct bg_text *out)
{
    for (int i = 0; bg_allocate_methods[i]; i++)
        entry(out, bg_allocate_methods[i]->name, bg_allocate_methods[i]->help,
              bg_allocate_methods[i]->source, bg_allocate_methods[i]->options);
}

static void list_measures(struct bg_text *out)
{
    for (int i = 0; bg_measure_methods[i]; i++)
        entry(out, bg_measure_methods[i]->name, bg_measure_methods[i]->help,
              bg_measure_methods[i]->source, bg_measure_methods[i]->options);
}

static void list_ranges(struct bg_text *out)
{
    for (int i = 0; bg_range_methods[i]; i++)
        entry(out, bg_range_methods[i]->name, bg_range_methods[i]->help,
              bg_range_methods[i]->source, bg_range_methods[i]->options);
}

static void list_updates(struct bg_text *out)
{
    for (int i = 0; bg_update_methods[i]; i++)
        entry(out, bg_update_methods[i]->name, bg_update_methods[i]->help,
              bg_update_methods[i]->source, bg_update_methods[i]->options);
}

static void list_commands(struct bg_text *out)
{
    for (int i = 0; bg_commands[i]; i++)
        bg_text_add(out, "%s: %s\n  %s\n", bg_commands[i]->name, bg_commands[i]->help,
                    bg_commands[i]->usage);
}

static void list_recipe(struct bg_text *out)
{
    for (int i = 0; bg_recipe_sections[i].table; i++) {
        if (*bg_recipe_sections[i].name)
            bg_text_add(out, "%s:\n", bg_recipe_sections[i].name);
        bg_options_help(bg_recipe_sections[i].table, *bg_recipe_sections[i].name ? 2 : 0, out);
    }
}

static const struct {
    const char *name, *help;
    void (*list)(struct bg_text *out);
} families[] = {{"commands", "what bitgrad does", list_commands},
                {"recipe", "keys of a recipe", list_recipe},
                {"layers", "for a network's `layers`", list_layers},
                {"networks", "for `network.name`", list_networks},
                {"datasets", "for `data.name`", list_datasets},
                {"policies", "for `select.policy`", list_policies},
                {"allocators", "for `bitgrad allocate`", list_allocators},
                {"measures", "for `profile.measures`", list_measures},
                {"ranges", "for `quantize.weight_range` and `activation_range`", list_ranges},
                {"updates", "for `train.update`", list_updates}};
#define FAMILIES ((int)(sizeof families / sizeof families[0]))

static enum bg_status find_family(const char *word, int *out)
{
    const char *names[FAMILIES];
    const char *nearest;
    for (int i = 0; i < FAMILIES; i++) {
        names[i] = families[i].name;
        if (!strcmp(word, families[i].name)) {
            *out = i;
            return BG_OK;
        }
    }
    nearest = bg_text_nearest(word, names, FAMILIES);
    return bg_fail(BG_E_USAGE, "list: unknown family '%s'%s%s%s", word,
                   nearest ? "; did you mean '" : "; 'bitgrad list' names them",
                   nearest ? nearest : "", nearest ? "'?" : "");
}

static enum bg_status list_main(int argc, char **argv)
{
    struct bg_arguments arguments;
    struct bg_text text = {0};
    int family = 0;
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 1 << 22);
    TRY(bg_arguments_read(&arguments, &bg_cmd_list, argc, argv, 0, 1));
    if (arguments.done)
        goto out;
    if (arguments.count == 1) {
        TRY(find_family(arguments.at[0], &family));
        families[family].list(&text);
    } else {
        for (int i = 0; i < FAMILIES; i++)
            bg_text_add(&text, "%-10s %s\n", families[i].name, families[i].help);
    }
    TRY(bg_text_check(&text));
    fputs(bg_text_string(&text), stdout);
out:
    bg_text_free(&text);
    return rc;
}

const struct bg_command bg_cmd_list = {
    .name = "list",
    .usage = "list [FAMILY]",
    .help = "what there is: layers, networks, datasets, policies, ... with their options",
    .details =
        "Without a word: the families. Everything is printed from the tables that read recipes.",
    .main = list_main};
