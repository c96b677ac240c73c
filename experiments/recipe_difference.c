/* The first key in which two resolved recipes differ, for a sentence. */
#include <stdio.h>
#include <string.h>

#include "experiments/recipe.h"

struct difference {
    char path[256];
    char *out; /* [512] */
    bool found;
};

static void say(struct difference *difference, const char *then, const char *now)
{
    (void)snprintf(difference->out, 512, "%s: %.100s against %.100s",
                   *difference->path ? difference->path : "recipe", then, now);
    difference->found = true;
}

static const char *value_text(const struct bg_yaml *node)
{
    static const char *const names[] = {"", "a list", "a section"};
    if (!node)
        return "nothing";
    if (node->kind == BG_YAML_SCALAR)
        return *node->text ? node->text : "''";
    return names[node->kind == BG_YAML_LIST ? 1 : 2];
}

static void compare(struct difference *difference, const struct bg_yaml *then,
                    const struct bg_yaml *now);

/* Descends with the path one step longer. */
static void descend(struct difference *difference, const char *step, const struct bg_yaml *then,
                    const struct bg_yaml *now)
{
    size_t length = strlen(difference->path);
    (void)snprintf(difference->path + length, sizeof difference->path - length, "%s%s",
                   length ? "." : "", step);
    compare(difference, then, now);
    if (!difference->found)
        difference->path[length] = '\0';
}

static void compare_maps(struct difference *difference, const struct bg_yaml *then,
                         const struct bg_yaml *now)
{
    for (const struct bg_yaml *at = then->first; at && !difference->found; at = at->next)
        descend(difference, at->key, at, bg_yaml_get(now, at->key));
    for (const struct bg_yaml *at = now->first; at && !difference->found; at = at->next)
        if (!bg_yaml_get(then, at->key))
            descend(difference, at->key, NULL, at);
}

static void compare_lists(struct difference *difference, const struct bg_yaml *then,
                          const struct bg_yaml *now)
{
    const struct bg_yaml *a = then->first, *b = now->first;
    for (int i = 0; (a || b) && !difference->found; i++) {
        char step[16];
        (void)snprintf(step, sizeof step, "%d", i);
        descend(difference, step, a, b);
        a = a ? a->next : NULL;
        b = b ? b->next : NULL;
    }
}

static void compare(struct difference *difference, const struct bg_yaml *then,
                    const struct bg_yaml *now)
{
    bool comparable = then && now && then->kind == now->kind;
    if (comparable && then->kind == BG_YAML_MAP)
        compare_maps(difference, then, now);
    else if (comparable && then->kind == BG_YAML_LIST)
        compare_lists(difference, then, now);
    else if (!comparable || strcmp(then->text, now->text) != 0)
        say(difference, value_text(then), value_text(now));
}

enum bg_status bg_recipe_difference(const char *path, const char *then, const char *now,
                                    bool *differ, char out[512])
{
    struct bg_document *a = NULL, *b = NULL;
    struct difference difference = {.out = out};
    enum bg_status rc = BG_OK;

    *differ = false;
    out[0] = '\0';
    if (!strcmp(then, now))
        return BG_OK;
    TRY(bg_yaml_parse_text(&a, path, then, strlen(then)));
    TRY(bg_yaml_parse_text(&b, "recipe", now, strlen(now)));
    compare(&difference, bg_document_root(a), bg_document_root(b));
    *differ = difference.found;
out:
    bg_document_free(a);
    bg_document_free(b);
    return rc;
}
