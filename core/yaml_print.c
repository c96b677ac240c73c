/* Printing a YAML tree so that reading it back gives the same tree: block style, with lists of
 * plain words in brackets. What needs quotes is decided narrowly: only texts of which we are sure
 * stay plain. */
#include "core/yaml.h"

#include <string.h>

#include "core/yaml_private.h"

/* Printable as it is: what libyaml's reader takes, less line breaks and the byte order mark. */
static bool is_printable(unsigned code)
{
    if (code < 0xa0)
        return code >= 0x20 && code <= 0x7e;
    return code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe && code != 0xffff;
}

static bool starts_plain(const char *text)
{
    if (text[0] == '-')
        return text[1] == '.' || (text[1] >= '0' && text[1] <= '9') ||
               (text[1] >= 'a' && text[1] <= 'z');
    return !strchr("?:,[]{}#&*!|>'\"%@` ", text[0]) && strncmp(text, "...", 3) != 0;
}

bool bg_yaml_is_plain(const char *text, bool flow)
{
    if (text[0] == '\0')
        return !flow;
    if (!starts_plain(text))
        return false;
    size_t length = strlen(text);
    if (text[length - 1] == ' ' || text[length - 1] == ':')
        return false;
    for (const char *at = text; *at;) {
        unsigned code = 0;
        int step = bg_text_character(at, &code);
        if (step == 0 || !is_printable(code))
            return false;
        if (strncmp(at, ": ", 2) == 0 || strncmp(at, " #", 2) == 0)
            return false;
        if (flow && strchr(",[]{}?:", *at))
            return false;
        at += step;
    }
    return true;
}

static void print_quoted(const char *value, struct bg_text *text)
{
    bg_text_add_bytes(text, "\"", 1);
    for (const char *at = value; *at;) {
        unsigned code = 0;
        int step = bg_text_character(at, &code);
        if (step == 0) { /* never from the parser, which takes valid UTF-8 only */
            bg_text_add(text, "\\ufffd");
            at++;
            continue;
        }
        if (code == '"' || code == '\\')
            bg_text_add(text, "\\%c", (char)code);
        else if (code == '\n')
            bg_text_add(text, "\\n");
        else if (code == '\t')
            bg_text_add(text, "\\t");
        else if (code <= 0xff && !is_printable(code))
            bg_text_add(text, "\\x%02x", code);
        else if (!is_printable(code))
            bg_text_add(text, "\\u%04x", code);
        else
            bg_text_add_bytes(text, at, (size_t)step);
        at += step;
    }
    bg_text_add_bytes(text, "\"", 1);
}

static void print_scalar(const char *value, bool quoted, struct bg_text *text)
{
    if (quoted || !bg_yaml_is_plain(value, false))
        print_quoted(value, text);
    else
        bg_text_add(text, "%s", value);
}

static bool fits_brackets(const struct bg_yaml *list)
{
    for (const struct bg_yaml *item = list->first; item; item = item->next) {
        if (item->kind != BG_YAML_SCALAR || (!item->quoted && !bg_yaml_is_plain(item->text, true)))
            return false;
    }
    return true;
}

static void print_brackets(const struct bg_yaml *list, struct bg_text *text)
{
    bg_text_add(text, "[");
    for (const struct bg_yaml *item = list->first; item; item = item->next) {
        print_scalar(item->text, item->quoted, text);
        if (item->next)
            bg_text_add(text, ", ");
    }
    bg_text_add(text, "]");
}

/* Prints what fits on the line that is begun. Returns false for a list or map that needs lines of
 * its own. */
static bool print_inline(const struct bg_yaml *node, const char *before, struct bg_text *text)
{
    if (node->kind == BG_YAML_SCALAR) {
        if (node->quoted || node->text[0]) {
            bg_text_add(text, "%s", before);
            print_scalar(node->text, node->quoted, text);
        }
    } else if (node->kind == BG_YAML_MAP) {
        if (node->first)
            return false;
        bg_text_add(text, "%s{}", before);
    } else {
        if (!fits_brackets(node))
            return false;
        bg_text_add(text, "%s", before);
        print_brackets(node, text);
    }
    bg_text_add(text, "\n");
    return true;
}

/* `begun`: the first line already stands at the right column (after "- "). Recursion is bounded by
 * the depth limit of documents. */
static void print_lines(const struct bg_yaml *node, int indent, bool begun, struct bg_text *text)
{
    for (const struct bg_yaml *child = node->first; child; child = child->next) {
        if (!begun)
            bg_text_add(text, "%*s", indent, "");
        begun = false;
        if (node->kind == BG_YAML_MAP) {
            print_scalar(child->key, child->key[0] == '\0', text);
            bg_text_add(text, ":");
            if (!print_inline(child, " ", text)) {
                bg_text_add(text, "\n");
                print_lines(child, indent + 2, false, text);
            }
        } else {
            bg_text_add(text, "-");
            if (!print_inline(child, " ", text)) {
                bg_text_add(text, " ");
                print_lines(child, indent + 2, true, text);
            }
        }
    }
}

void bg_yaml_print(const struct bg_yaml *node, int indent, struct bg_text *text)
{
    if (node->kind == BG_YAML_MAP && node->first) {
        print_lines(node, indent, false, text);
        return;
    }
    if (node->kind == BG_YAML_LIST && !fits_brackets(node)) {
        print_lines(node, indent, false, text);
        return;
    }
    bg_text_add(text, "%*s", indent, "");
    (void)print_inline(node, "", text);
}
