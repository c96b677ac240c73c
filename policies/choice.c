/* Finds select, range, update and allocate methods by the name a recipe gives, and reads their
 * options by their own tables. One reader for the four families: it sees of a method what all have,
 * a name and an options table. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "policies/allocate.h"
#include "policies/select.h"

#define NAMES_MAX 64

/* What the families share. */
struct entry {
    const char *name;
    const struct bg_option *table;
    size_t size;
    const void *method;
};

struct family {
    const char *what; /* "range method" */
    int count;
    struct entry at[NAMES_MAX];
};

static void add(struct family *family, struct entry entry)
{
    if (family->count < NAMES_MAX)
        family->at[family->count++] = entry;
}

/* The entry of `name`; NULL after a line with the nearest name. */
static const struct entry *find(const struct family *family, const char *name,
                                const struct bg_yaml *node, const char *path,
                                struct bg_text *errors)
{
    const char *names[NAMES_MAX];
    for (int i = 0; i < family->count; i++) {
        if (strcmp(family->at[i].name, name) == 0)
            return &family->at[i];
        names[i] = family->at[i].name;
    }
    const char *nearest = bg_text_nearest(name, names, family->count);
    bg_options_error(errors, node, path, "unknown %s '%s'%s%s%s", family->what, name,
                     nearest ? ", did you mean '" : "", nearest ? nearest : "",
                     nearest ? "'?" : "");
    return NULL;
}

/* The entry's own table reads node; a bare name has nothing to read. */
static enum bg_status read_options(const struct entry *entry, const struct bg_yaml *node,
                                   const char *const *also, const char *path, void **options,
                                   struct bg_text *errors)
{
    static const struct bg_option none[] = {{.key = NULL}};
    enum bg_status rc = BG_OK;
    void *memory = NULL;
    TRY(bg_alloc(&memory, 1, entry->size ? entry->size : 1));
    TRY(bg_options_read(node, entry->table ? entry->table : none, also, path, memory, errors));
    *options = memory;
    memory = NULL;
out:
    bg_free(memory);
    return rc;
}

static enum bg_status unknown(const struct family *family, const char *name)
{
    return bg_fail(BG_E_DATA, "unknown %s '%s'", family->what, name);
}

static enum bg_status find_select(const char *name, const struct bg_yaml *node, const char *path,
                                  struct entry *out, struct bg_text *errors)
{
    struct family family = {.what = "select policy"};
    for (int i = 0; bg_select_methods[i]; i++) {
        const struct bg_select_method *m = bg_select_methods[i];
        add(&family, (struct entry){m->name, m->options, m->options_size, m});
    }
    const struct entry *entry = find(&family, name, node, path, errors);
    if (!entry)
        return unknown(&family, name);
    *out = *entry;
    return BG_OK;
}

enum bg_status bg_select_choose(const char *name, const struct bg_yaml *node, const char *path,
                                const struct bg_select_method **method, void **options,
                                struct bg_text *errors)
{
    struct entry entry = {.name = NULL};
    enum bg_status rc = BG_OK;
    *method = NULL;
    *options = NULL;
    TRY(find_select(name, node, path, &entry, errors));
    *method = entry.method;
    TRY(read_options(&entry, node, NULL, path, options, errors));
out:
    return rc;
}

enum bg_status bg_select_choose_inside(const char *name, const struct bg_yaml *node,
                                       const char *path, const struct bg_select_method **method,
                                       void **options, struct bg_text *errors)
{
    static const char *const also[] = {"name", NULL};
    struct entry entry = {.name = NULL};
    enum bg_status rc = BG_OK;
    *method = NULL;
    *options = NULL;
    TRY(find_select(name, node, path, &entry, errors));
    *method = entry.method;
    TRY(read_options(&entry, node, also, path, options, errors));
out:
    return rc;
}

enum bg_status bg_update_choose(const char *name, const struct bg_yaml *node, const char *path,
                                const struct bg_update_method **method, void **options,
                                struct bg_text *errors)
{
    struct family family = {.what = "update method"};
    *method = NULL;
    *options = NULL;
    for (int i = 0; bg_update_methods[i]; i++) {
        const struct bg_update_method *m = bg_update_methods[i];
        add(&family, (struct entry){m->name, m->options, m->options_size, m});
    }
    const struct entry *entry = find(&family, name, node, path, errors);
    if (!entry)
        return unknown(&family, name);
    *method = entry->method;
    return read_options(entry, node, NULL, path, options, errors);
}

enum bg_status bg_updates_check(const struct bg_yaml *updates, const char *path,
                                struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    if (updates && updates->kind != BG_YAML_MAP) {
        bg_options_error(errors, updates, path, "expected a map: {residual: {tune: nearest}}");
        FAIL(BG_E_DATA, "%s: expected a map", path);
    }
    for (const struct bg_yaml *at = updates ? updates->first : NULL; at; at = at->next) {
        const struct bg_update_method *method = NULL;
        void *options = NULL;
        char name[BG_NAME_MAX * 2];
        (void)snprintf(name, sizeof name, "%s.%.63s", path, at->key);
        enum bg_status one = bg_update_choose(at->key, at, name, &method, &options, errors);
        bg_free(options);
        rc = one != BG_OK ? one : rc;
    }
out:
    return rc;
}

enum bg_status bg_allocate_choose(const char *name, const struct bg_yaml *node, const char *path,
                                  const struct bg_allocate_method **method, void **options,
                                  struct bg_text *errors)
{
    struct family family = {.what = "allocator"};
    *method = NULL;
    *options = NULL;
    for (int i = 0; bg_allocate_methods[i]; i++) {
        const struct bg_allocate_method *m = bg_allocate_methods[i];
        add(&family, (struct entry){m->name, m->options, m->options_size, m});
    }
    const struct entry *entry = find(&family, name, node, path, errors);
    if (!entry)
        return unknown(&family, name);
    *method = entry->method;
    return read_options(entry, node, NULL, path, options, errors);
}

enum bg_status bg_range_choose(const struct bg_yaml *node, const char *fallback, const char *path,
                               const struct bg_range_method **method, void **options,
                               struct bg_text *errors)
{
    static const char *const also[] = {"name", NULL};
    struct family family = {.what = "range method"};
    *method = NULL;
    *options = NULL;
    for (int i = 0; bg_range_methods[i]; i++) {
        const struct bg_range_method *m = bg_range_methods[i];
        add(&family, (struct entry){m->name, m->options, m->options_size, m});
    }
    const struct bg_yaml *name = node;
    const struct bg_yaml *map = NULL;
    if (node && node->kind == BG_YAML_MAP) {
        map = node;
        name = bg_yaml_get(node, "name");
    }
    if (name && name->kind != BG_YAML_SCALAR) {
        bg_options_error(errors, name, path, "expected the name of a range method");
        return bg_fail(BG_E_DATA, "%s: expected the name of a range method", path);
    }
    const struct entry *entry = find(&family, name ? name->text : fallback, name, path, errors);
    if (!entry)
        return unknown(&family, name ? name->text : fallback);
    *method = entry->method;
    return read_options(entry, map, also, path, options, errors);
}
