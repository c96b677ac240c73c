/* Overrides: "a.b.0.c=value" changes one place of a parsed document. The whole path is resolved
 * before anything changes, so a refused override leaves the document as it was. */
#include "core/yaml.h"

#include <string.h>

#include "core/yaml_private.h"

#define PATH_PARTS_MAX 32

struct path {
    const char *assignment;
    int count;
    char part[PATH_PARTS_MAX][BG_YAML_KEY_MAX + 1];
};

static enum bg_status bad(const struct path *path, const char *sentence)
{
    return bg_fail(BG_E_USAGE, "override \"%.200s\": %s", path->assignment, sentence);
}

static bool is_text(const char *part)
{
    while (*part) {
        unsigned code = 0;
        int step = bg_text_character(part, &code);
        if (step == 0 || code < 0x20 || code == 0x7f)
            return false;
        part += step;
    }
    return true;
}

static enum bg_status split(struct path *path, const char **value)
{
    const char *equals = strchr(path->assignment, '=');
    if (!equals)
        return bad(path, "expected key.path=value");
    *value = equals + 1;
    const char *at = path->assignment;
    for (;;) {
        size_t length = strcspn(at, ".=");
        if (length == 0)
            return bad(path, "a part of the key is empty, expected key.path=value");
        if (length > BG_YAML_KEY_MAX)
            return bad(path, "a part of the key is longer than 128 bytes");
        if (path->count == PATH_PARTS_MAX)
            return bad(path, "the key has more than 32 parts");
        char *part = path->part[path->count++];
        memcpy(part, at, length);
        part[length] = '\0';
        if (!is_text(part))
            return bad(path, "the key holds bytes that are not text");
        at += length;
        if (at == equals)
            return BG_OK;
        at++;
    }
}

/* The map that carries a list item's `name`: the item, or the inner map of {conv: {name: ..}}. */
static struct bg_yaml *named_map(struct bg_yaml *item, const char *name)
{
    for (int level = 0; level < 2 && item && item->kind == BG_YAML_MAP; level++) {
        const struct bg_yaml *found = bg_yaml_get(item, "name");
        if (found && found->kind == BG_YAML_SCALAR && strcmp(found->text, name) == 0)
            return item;
        item = item->count == 1 ? item->first : NULL;
    }
    return NULL;
}

static enum bg_status find_item(const struct path *path, int part, const struct bg_yaml *list,
                                struct bg_yaml **out)
{
    enum bg_status rc = BG_OK;
    const char *word = path->part[part];
    int64_t index = 0;
    bool number = bg_text_to_int(word, &index);
    int64_t position = 0;
    for (struct bg_yaml *item = list->first; item; item = item->next, position++) {
        struct bg_yaml *found = number ? (position == index ? item : NULL) : named_map(item, word);
        if (found && *out)
            FAIL(BG_E_USAGE, "override \"%.200s\": two list items are named '%s', use a number",
                 path->assignment, word);
        if (found)
            *out = found;
    }
    if (!*out && number)
        FAIL(BG_E_USAGE,
             "override \"%.200s\": the list has %d items, counted from 0; there is no %s",
             path->assignment, list->count, word);
    if (!*out)
        FAIL(BG_E_USAGE, "override \"%.200s\": no list item is named '%s'", path->assignment, word);
out:
    return rc;
}

static bool is_null(const struct bg_yaml *node)
{
    return node->kind == BG_YAML_SCALAR && !node->quoted && node->text[0] == '\0';
}

/* Follows the path as far as it exists: *node is reached after *used parts. */
static enum bg_status follow(const struct path *path, struct bg_yaml **node, int *used)
{
    enum bg_status rc = BG_OK;
    for (*used = 0; *used < path->count; (*used)++) {
        struct bg_yaml *here = *node, *next = NULL;
        if (is_null(here))
            break;
        if (here->kind == BG_YAML_SCALAR)
            FAIL(BG_E_USAGE, "override \"%.200s\": '%s' is the value \"%.60s\", it has no keys",
                 path->assignment, *used ? path->part[*used - 1] : "", here->text);
        if (here->kind == BG_YAML_LIST) {
            TRY(find_item(path, *used, here, &next));
        } else {
            for (next = here->first; next && strcmp(next->key, path->part[*used]) != 0;)
                next = next->next;
        }
        if (!next)
            break;
        *node = next;
    }
out:
    return rc;
}

static int depth_of(const struct bg_yaml *node)
{
    int deepest = 0;
    for (const struct bg_yaml *child = node->first; child; child = child->next) {
        int depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (node->kind != BG_YAML_SCALAR);
}

static void shift_columns(struct bg_yaml *node, int by)
{
    if (node->line == 1)
        node->column += by;
    for (struct bg_yaml *child = node->first; child; child = child->next)
        shift_columns(child, by);
}

static enum bg_status parse_value(struct bg_document *document, const struct path *path,
                                  const char *text, struct bg_yaml **out)
{
    enum bg_status rc = BG_OK;
    bool block = false;
    rc = bg_yaml_parse_into(document, "command line", text, strlen(text), out, &block);
    if (rc != BG_OK)
        return bg_fail_prefix(rc == BG_E_DATA ? BG_E_USAGE : rc,
                              "override \"%.200s\": ", path->assignment);
    if (!*out && text[strspn(text, " \t")] != '\0')
        return bad(path, "the value is a comment; quote a text that begins with '#'");
    if (block)
        return bad(path, "lists need brackets ([1, 2]) and maps need braces ({a: 1})");
    bool bare = !strchr("'\"|>", text[strspn(text, " \t\n")]);
    if (*out && (*out)->kind == BG_YAML_SCALAR && bare && strchr((*out)->text, ','))
        return bad(path, "a list needs brackets ([1, 2]); to try several values use the sweep "
                         "command; a text with a comma needs quotes inside the shell's");
    if (!*out) {
        TRY(bg_yaml_node(document, BG_YAML_SCALAR, out));
        (*out)->file = "command line";
        (*out)->line = (*out)->column = 1;
    }
    shift_columns(*out, (int)(text - path->assignment));
    /* One part of the path can pass through two maps: a list item and the layer inside it. */
    if (2 * path->count + depth_of(*out) > BG_YAML_DEPTH_MAX)
        return bad(path, "nested too deep");
out:
    return rc;
}

/* Puts the missing parts around the value, innermost first, so that nothing is linked until all
 * memory is there. */
static enum bg_status wrap_value(struct bg_document *document, const struct path *path, int used,
                                 struct bg_yaml **value)
{
    enum bg_status rc = BG_OK;
    for (int i = path->count - 1; i >= used; i--) {
        TRY(bg_arena_text(document->arena, &(*value)->key, path->part[i]));
        if (i == used)
            break;
        struct bg_yaml *map = NULL;
        TRY(bg_yaml_node(document, BG_YAML_MAP, &map));
        map->file = (*value)->file;
        map->line = (*value)->line;
        map->column = (*value)->column;
        map->first = *value;
        map->count = 1;
        *value = map;
    }
out:
    return rc;
}

enum bg_status bg_yaml_override(struct bg_document *document, const char *assignment)
{
    enum bg_status rc = BG_OK;
    struct path *path = NULL;
    struct bg_yaml *node = document->root, *value = NULL;
    const char *text = "";
    int used = 0;
    TRY(bg_alloc(&path, 1, sizeof *path));
    path->assignment = assignment;
    TRY(split(path, &text));
    TRY(follow(path, &node, &used));
    TRY(parse_value(document, path, text, &value));
    if (!value)
        FAIL(BG_E_INTERNAL, "override \"%.200s\": no value", assignment);
    TRY(wrap_value(document, path, used, &value));
    if (used == path->count) {
        value->key = node->key;
        value->next = node->next;
        *node = *value;
        goto out;
    }
    if (is_null(node)) {
        node->kind = BG_YAML_MAP;
        node->count = 0;
    }
    struct bg_yaml **end = &node->first;
    while (*end)
        end = &(*end)->next;
    *end = value;
    node->count++;
out:
    bg_free(path);
    return rc;
}
