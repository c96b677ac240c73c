/* Printing options: resolved values as YAML that reads back to the same struct, and help lines.
 * Both come from the same rows as the reader in core/options.c. */
#include "core/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/options_private.h"

bool bg_options_has_limits(const struct bg_option *row)
{
    return row->min < 0 || row->min > 0 || row->max < 0 || row->max > 0;
}

void bg_options_limits(const struct bg_option *row, char out[80])
{
    char low[32], high[32];
    bg_text_real(low, row->min);
    bg_text_real(high, row->max);
    if (row->max >= 1e18)
        (void)snprintf(out, 80, "%s or more", low);
    else
        (void)snprintf(out, 80, "%s..%s", low, high);
}

void bg_options_choices(const struct bg_option *row, char *out, size_t room)
{
    size_t used = 0;
    out[0] = '\0';
    for (const char *const *choice = row->choices; choice && *choice; choice++) {
        int wrote = snprintf(out + used, room - used, "%s%s", used ? ", " : "", *choice);
        if (wrote < 0 || (size_t)wrote >= room - used)
            return;
        used += (size_t)wrote;
    }
}

/* A list printed as YAML nodes that point into the option struct. */
struct printed {
    struct bg_yaml items[BG_LIST_MAX];
    char numbers[BG_LIST_MAX][32];
};

static void number_text(const struct bg_option *row, const void *value, char out[32])
{
    if (row->type == BG_OPT_REAL || row->type == BG_OPT_REALS)
        bg_text_real(out, *(const double *)value);
    else
        (void)snprintf(out, 32, "%" PRId64, *(const int64_t *)value);
}

static void make_list(const struct bg_option *row, const void *field, struct printed *printed,
                      struct bg_yaml *out)
{
    const struct bg_int_list *ints = field;
    const struct bg_real_list *reals = field;
    const struct bg_text_list *texts = field;
    out->kind = BG_YAML_LIST;
    out->count = row->type == BG_OPT_INTS    ? ints->count
                 : row->type == BG_OPT_REALS ? reals->count
                                             : texts->count;
    for (int i = 0; i < out->count; i++) {
        struct bg_yaml *item = &printed->items[i];
        *item = (struct bg_yaml){.kind = BG_YAML_SCALAR, .text = printed->numbers[i]};
        if (row->type == BG_OPT_INTS)
            number_text(row, &ints->at[i], printed->numbers[i]);
        else if (row->type == BG_OPT_REALS)
            number_text(row, &reals->at[i], printed->numbers[i]);
        else
            item->text = texts->at[i];
        item->quoted = item->text[0] == '\0';
        item->next = i + 1 < out->count ? item + 1 : NULL;
    }
    out->first = out->count ? printed->items : NULL;
}

/* Returns false for an absent subtree. */
static bool make_node(const struct bg_option *row, const void *options, struct printed *printed,
                      struct bg_yaml *out)
{
    const void *field = (const char *)options + row->offset;
    *out = (struct bg_yaml){.kind = BG_YAML_SCALAR, .text = printed->numbers[0]};
    switch (row->type) {
    case BG_OPT_INT:
    case BG_OPT_REAL:
        number_text(row, field, printed->numbers[0]);
        break;
    case BG_OPT_BOOL:
        out->text = *(const bool *)field ? "true" : "false";
        break;
    case BG_OPT_TEXT:
        out->text = field;
        out->quoted = out->text[0] == '\0';
        break;
    case BG_OPT_CHOICE:
        out->text = row->choices[*(const int *)field];
        break;
    case BG_OPT_INTS:
    case BG_OPT_REALS:
    case BG_OPT_TEXTS:
        make_list(row, field, printed, out);
        break;
    case BG_OPT_NODE: {
        const struct bg_yaml *node = *(const struct bg_yaml *const *)field;
        if (!node)
            return false;
        *out = *node;
        break;
    }
    }
    out->key = row->key;
    out->next = NULL;
    return true;
}

void bg_options_print(const struct bg_option *table, const void *options, int indent,
                      struct bg_text *text)
{
    for (const struct bg_option *row = table; row && row->key; row++) {
        struct printed printed = {0};
        struct bg_yaml child;
        if (!make_node(row, options, &printed, &child))
            continue;
        struct bg_yaml map = {.kind = BG_YAML_MAP, .text = "", .count = 1, .first = &child};
        bg_yaml_print(&map, indent, text);
    }
}

void bg_options_help(const struct bg_option *table, int indent, struct bg_text *text)
{
    static const char *const type_names[] = {
        [BG_OPT_INT] = "integer",           [BG_OPT_REAL] = "number",
        [BG_OPT_BOOL] = "true or false",    [BG_OPT_TEXT] = "text",
        [BG_OPT_CHOICE] = "choice",         [BG_OPT_INTS] = "list of integers",
        [BG_OPT_REALS] = "list of numbers", [BG_OPT_TEXTS] = "list of texts",
        [BG_OPT_NODE] = "section",
    };
    int width = 0;
    for (const struct bg_option *row = table; row && row->key; row++)
        width = (int)strlen(row->key) > width ? (int)strlen(row->key) : width;
    for (const struct bg_option *row = table; row && row->key; row++) {
        bg_text_add(text, "%*s%-*s  %s", indent, "", width, row->key, row->help ? row->help : "");
        bg_text_add(text, " (%s", type_names[row->type]);
        char words[256];
        if (row->choices) {
            bg_options_choices(row, words, sizeof words);
            bg_text_add(text, ": %s", words);
        } else if (bg_options_has_limits(row)) {
            bg_options_limits(row, words);
            bg_text_add(text, " %s", words);
        }
        if (row->type == BG_OPT_NODE)
            bg_text_add(text, ")\n");
        else if (!row->fallback)
            bg_text_add(text, "; required)\n");
        else
            bg_text_add(text, "; default %s)\n", row->fallback[0] ? row->fallback : "\"\"");
    }
}
