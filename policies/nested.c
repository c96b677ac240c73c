/* Reads the policy inside another one's options. */
#include "policies/nested.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum bg_status bg_nested_open(struct bg_nested *out, const char *owner, const struct bg_yaml *node,
                              const char *fallback)
{
    struct bg_text errors = {0};
    const struct bg_yaml *name = node, *map = NULL;
    enum bg_status rc = BG_OK;

    *out = (struct bg_nested){.method = NULL};
    bg_text_init(&errors, 1 << 14);
    if (node && node->kind == BG_YAML_MAP) {
        name = bg_yaml_get(node, "name");
        map = node;
    }
    if ((name && name->kind != BG_YAML_SCALAR) || (!name && (node || !fallback)))
        FAIL(BG_E_DATA, "%s: `of` must name a policy, as a name or as {name: ..., options}", owner);
    if (strcmp(name ? name->text : fallback, owner) == 0)
        FAIL(BG_E_DATA, "%s: `of` cannot be %s itself", owner, owner);
    rc = bg_select_choose_inside(name ? name->text : fallback, map, "of", &out->method,
                                 &out->options, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        FAIL(BG_E_DATA, "%s: %.*s", owner, (int)strcspn(bg_text_string(&errors), "\n"),
             bg_text_string(&errors));
out:
    if (rc != BG_OK)
        bg_nested_free(out);
    bg_text_free(&errors);
    return rc;
}

void bg_nested_free(struct bg_nested *nested)
{
    bg_free(nested->options);
    *nested = (struct bg_nested){.method = NULL};
}
