/* Reading an inline list of layers. Each entry is `{type: {options}}`, `{type: }` or just `type`;
 * besides the type's own options it may have `name` and `from`. Reading collects every error of the
 * list; building stops at the first layer whose shape is impossible. */
#include "layers/list.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MOST_LAYERS 1024 /* an item takes some kilobytes; recipes are files from others */
#define MOST_TYPES  256
#define PATH_ROOM   128

const char *bg_list_hint(char out[BG_HINT_ROOM], const char *word, const char *const *names,
                         int count)
{
    const char *nearest = bg_text_nearest(word, names, count);
    out[0] = '\0';
    if (nearest)
        snprintf(out, BG_HINT_ROOM, ", did you mean \"%s\"?", nearest);
    return out;
}

enum bg_status bg_list_errors(const struct bg_text *errors, size_t before)
{
    if (errors->failed)
        return bg_text_check(errors);
    if (errors->length == before)
        return BG_OK;
    const char *line = errors->at + before;
    return bg_fail(BG_E_DATA, "%.*s", (int)strcspn(line, "\n"), line);
}

static const struct bg_layer_type *find_type(const char *name)
{
    for (int i = 0; bg_layer_types[i]; i++)
        if (strcmp(bg_layer_types[i]->name, name) == 0)
            return bg_layer_types[i];
    return NULL;
}

/* Index of the item called `name` among the first `count`, -1 for "input", -2 when there is none.
 */
static int find_item(const struct bg_list *list, int count, const char *name)
{
    if (strcmp(name, "input") == 0)
        return BG_LIST_NO_INPUT;
    for (int i = 0; i < count; i++)
        if (strcmp(list->item[i].name, name) == 0)
            return i;
    return -2;
}

static bool name_is_clean(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= BG_NAME_MAX || !isalnum((unsigned char)name[0]))
        return false;
    for (const char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("_.-", *at))
            return false;
    return true;
}

static void find_or_complain(struct bg_list_item *item, const char *word, const char *path,
                             struct bg_text *errors)
{
    const char *names[MOST_TYPES];
    char hint[BG_HINT_ROOM];
    int count = 0;
    for (; count < MOST_TYPES && bg_layer_types[count]; count++)
        names[count] = bg_layer_types[count]->name;
    item->type = find_type(word);
    if (item->type == NULL)
        bg_options_error(errors, item->node, path, "unknown layer type \"%s\"%s", word,
                         bg_list_hint(hint, word, names, count));
}

/* Type, option map and position of one entry. Without options the map is empty. */
static void read_type(struct bg_list_item *item, const struct bg_yaml *entry, const char *path,
                      struct bg_yaml *options, struct bg_text *errors)
{
    item->node = entry;
    *options = (struct bg_yaml){
        .kind = BG_YAML_MAP, .file = entry->file, .line = entry->line, .column = entry->column};
    if (entry->kind == BG_YAML_SCALAR) {
        find_or_complain(item, entry->text, path, errors);
        return;
    }
    if (entry->kind != BG_YAML_MAP || entry->count != 1) {
        bg_options_error(errors, entry, path, "expected one layer type, like {conv: {out: 16}}");
        return;
    }
    const struct bg_yaml *body = entry->first;
    item->node = body;
    find_or_complain(item, body->key, path, errors);
    if (body->kind == BG_YAML_MAP) {
        *options = *body;
    } else if (body->kind != BG_YAML_SCALAR || body->text[0] != '\0') {
        bg_options_error(errors, body, path, "expected a map of options");
        item->type = NULL;
    }
}

/* "relu2" is the second relu of the list, "relu6-2" the second relu6. */
static void name_by_number(struct bg_list_item *item, int number)
{
    const char *type = item->type->name;
    const char *gap = isdigit((unsigned char)type[strlen(type) - 1]) ? "-" : "";
    snprintf(item->name, sizeof item->name, "%s%s%d", type, gap, number);
}

/* The name given, or one from type and number. */
static void read_name(struct bg_list *list, int index, const struct bg_yaml *options,
                      const char *path, struct bg_text *errors)
{
    struct bg_list_item *item = &list->item[index];
    const struct bg_yaml *node = bg_yaml_get(options, "name");
    int number = 0;
    for (int i = 0; i <= index; i++)
        number += list->item[i].type == item->type;
    name_by_number(item, number);
    if (node && (node->kind != BG_YAML_SCALAR || !name_is_clean(node->text))) {
        bg_options_error(errors, node, path,
                         "name: expected 1 to %d letters, digits and _ . -, first a letter or "
                         "digit",
                         BG_NAME_MAX - 1);
        return;
    }
    if (node)
        snprintf(item->name, sizeof item->name, "%s", node->text);
    if (strcmp(item->name, "input") == 0 || strcmp(item->name, "loss") == 0)
        bg_options_error(errors, node ? node : item->node, path, "the name \"%s\" is reserved",
                         item->name);
    else if (find_item(list, index, item->name) >= 0)
        bg_options_error(errors, node ? node : item->node, path,
                         "the name \"%s\" is used by an earlier layer", item->name);
}

static void read_one_from(struct bg_list *list, int index, int slot, const struct bg_yaml *node,
                          const char *path, struct bg_text *errors)
{
    const char *names[MOST_LAYERS + 1];
    char hint[BG_HINT_ROOM];
    if (node->kind != BG_YAML_SCALAR) {
        bg_options_error(errors, node, path, "from: expected the name of a layer");
        return;
    }
    int source = find_item(list, index, node->text);
    if (source >= BG_LIST_NO_INPUT) {
        list->item[index].from[slot] = source;
        return;
    }
    for (int i = 0; i < index; i++)
        names[i] = list->item[i].name;
    names[index] = "input";
    bg_options_error(errors, node, path, "from: no earlier layer is called \"%s\"%s", node->text,
                     bg_list_hint(hint, node->text, names, index + 1));
}

static void complain_about_count(const struct bg_list_item *item, const struct bg_yaml *node,
                                 const char *path, struct bg_text *errors)
{
    char count[32] = "1 layer";
    int named = node == NULL ? 0 : node->kind == BG_YAML_LIST ? node->count : 1;
    if (item->type->most_inputs > 0)
        snprintf(count, sizeof count, "%d to %d layers", item->type->inputs,
                 item->type->most_inputs);
    else if (item->type->inputs > 1)
        snprintf(count, sizeof count, "%d layers", item->type->inputs);
    bg_options_error(errors, node ? node : item->node, path, "%s reads %s%s, from names %d",
                     item->type->name, count, item->type->inputs > 1 ? ": from: [a, b]" : "",
                     named);
}

static void read_from(struct bg_list *list, int index, const struct bg_yaml *options,
                      const char *path, struct bg_text *errors)
{
    struct bg_list_item *item = &list->item[index];
    const struct bg_yaml *node = bg_yaml_get(options, "from");
    int least = item->type->inputs, most = item->type->most_inputs, given = 1;
    for (int i = 0; i < BG_LIST_INPUTS; i++)
        item->from[i] = index - 1; /* of the first layer: BG_LIST_NO_INPUT */
    if (node && node->kind == BG_YAML_LIST)
        given = node->count;
    if (given < least || given > (most > 0 ? most : least) || given > BG_LIST_INPUTS) {
        complain_about_count(item, node, path, errors);
        return;
    }
    item->inputs = given;
    const struct bg_yaml *entry = node && node->kind == BG_YAML_LIST ? node->first : node;
    for (int i = 0; node && i < given; i++, entry = entry->next)
        read_one_from(list, index, i, entry, path, errors);
    for (int i = 0; i < given; i++)
        if (item->from[i] >= 0)
            list->item[item->from[i]].used = true;
}

static enum bg_status read_item(struct bg_list *list, int index, const struct bg_yaml *entry,
                                struct bg_text *errors)
{
    static const char *const also[] = {"name", "from", NULL};
    enum bg_status rc = BG_OK;
    struct bg_list_item *item = &list->item[index];
    struct bg_yaml options;
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "network.layers[%d]", index);
    read_type(item, entry, path, &options, errors);
    if (item->type == NULL) {
        /* Its name is known to later layers all the same; without one, no `from` can mean it. */
        const struct bg_yaml *name = bg_yaml_get(&options, "name");
        snprintf(item->name, sizeof item->name, "?%d", index);
        if (name && name->kind == BG_YAML_SCALAR)
            snprintf(item->name, sizeof item->name, "%s", name->text);
        goto out;
    }
    snprintf(path, sizeof path, "network.layers[%d].%s", index, item->type->name);
    read_name(list, index, &options, path, errors);
    read_from(list, index, &options, path, errors);
    TRY(bg_alloc(&item->options, 1, item->type->options_size + 1));
    rc = bg_options_read(&options, item->type->options, also, path, item->options, errors);
    if (rc == BG_E_DATA)
        rc = BG_OK; /* is in errors: go on and find the others */
out:
    return rc;
}

enum bg_status bg_list_read(struct bg_list *out, const struct bg_yaml *layers,
                            struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    size_t before = errors->length;
    *out = (struct bg_list){.count = 0};
    if (layers->kind != BG_YAML_LIST || layers->count == 0 || layers->count > MOST_LAYERS) {
        bg_options_error(errors, layers, "network.layers", "expected a list of 1 to %d layers",
                         MOST_LAYERS);
        return bg_list_errors(errors, before);
    }
    TRY(bg_alloc(&out->item, layers->count, sizeof *out->item));
    out->count = layers->count;
    int index = 0;
    for (const struct bg_yaml *entry = layers->first; entry; entry = entry->next)
        TRY(read_item(out, index++, entry, errors));
    TRY(bg_list_errors(errors, before));
    /* A layer nobody reads would be trained by no gradient; that is a mistake in the recipe. */
    for (int i = 0; i < out->count - 1; i++)
        if (!out->item[i].used)
            bg_options_error(errors, out->item[i].node, "network.layers",
                             "layer %s is read by no later layer", out->item[i].name);
    TRY(bg_list_errors(errors, before));
out:
    return rc;
}

void bg_list_free(struct bg_list *list)
{
    for (int i = 0; i < list->count; i++)
        bg_free(list->item[i].options);
    bg_free(list->item);
    *list = (struct bg_list){.count = 0};
}

enum bg_status bg_list_build(const struct bg_list *list, struct bg_graph *graph,
                             struct bg_node *input, struct bg_node **out)
{
    enum bg_status rc = BG_OK;
    struct bg_node **nodes = NULL;
    TRY(bg_alloc(&nodes, list->count, sizeof(struct bg_node *)));
    for (int i = 0; i < list->count; i++) {
        const struct bg_list_item *item = &list->item[i];
        struct bg_node *inputs[BG_LIST_INPUTS + 1] = {NULL};
        for (int k = 0; k < item->inputs; k++)
            inputs[k] = item->from[k] < 0 ? input : nodes[item->from[k]];
        rc = item->type->build(graph, item->name, item->options, inputs, &nodes[i]);
        if (rc != BG_OK) {
            rc = bg_fail_prefix(rc, "%s:%d:%d: ", item->node->file, item->node->line,
                                item->node->column);
            goto out;
        }
    }
    *out = nodes[list->count - 1];
out:
    bg_free(nodes);
    return rc;
}

static const char *source_name(const struct bg_list *list, int index)
{
    return index < 0 ? "input" : list->item[index].name;
}

void bg_list_print(const struct bg_list *list, int indent, struct bg_text *text)
{
    bg_text_add(text, "%*slayers:\n", indent, "");
    for (int i = 0; i < list->count; i++) {
        const struct bg_list_item *item = &list->item[i];
        bg_text_add(text, "%*s- %s:\n", indent + 2, "", item->type->name);
        bg_text_add(text, "%*sname: %s\n", indent + 6, "", item->name);
        bg_text_add(text, "%*sfrom: %s%s", indent + 6, "", item->inputs > 1 ? "[" : "",
                    source_name(list, item->from[0]));
        for (int k = 1; k < item->inputs; k++)
            bg_text_add(text, ", %s", source_name(list, item->from[k]));
        bg_text_add(text, "%s\n", item->inputs > 1 ? "]" : "");
        bg_options_print(item->type->options, item->options, indent + 6, text);
    }
}
