/* The list of measures in a recipe: read by each measure's own table, and printed back. */
#include "policies/measure.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define METHODS_MAX 64
#define ENTRIES_MAX 64

static const struct bg_option none[] = {{.key = NULL}};

static const struct bg_measure_method *find(const char *name, const struct bg_yaml *node,
                                            const char *path, struct bg_text *errors)
{
    const char *names[METHODS_MAX], *nearest = NULL;
    int count = 0;
    for (; count < METHODS_MAX && bg_measure_methods[count]; count++) {
        names[count] = bg_measure_methods[count]->name;
        if (strcmp(names[count], name) == 0)
            return bg_measure_methods[count];
    }
    nearest = bg_text_nearest(name, names, count);
    bg_options_error(errors, node, path, "unknown measure '%s'%s%s%s", name,
                     nearest ? ", did you mean '" : "; 'bitgrad list measures' names them",
                     nearest ? nearest : "", nearest ? "'?" : "");
    return NULL;
}

static const char *text_of(const struct bg_yaml *map, const char *key)
{
    const struct bg_yaml *node = bg_yaml_get(map, key);
    return node && node->kind == BG_YAML_SCALAR ? node->text : NULL;
}

/* Reads one entry; *known is false after a line of errors. */
static enum bg_status read_entry(const struct bg_yaml *node, const char *path,
                                 struct bg_measure_choice *out, struct bg_text *errors)
{
    static const char *const also[] = {"name", "as", NULL};
    const struct bg_yaml *map = node->kind == BG_YAML_MAP ? node : NULL;
    const char *name = map ? text_of(map, "name") : node->text, *as = NULL;
    enum bg_status rc = BG_OK;

    if (node->kind == BG_YAML_LIST || !name) {
        bg_options_error(errors, node, path, "expected the name of a measure, or a map with it");
        return bg_fail(BG_E_DATA, "%s: expected the name of a measure", path);
    }
    out->method = find(name, node, path, errors);
    if (!out->method)
        return bg_fail(BG_E_DATA, "unknown measure '%s'", name);
    as = map && bg_yaml_get(map, "as") ? text_of(map, "as") : out->method->name;
    if (!as || !*as || strlen(as) >= BG_NAME_MAX) {
        bg_options_error(errors, node, path, "`as` must be 1 to %d characters", BG_NAME_MAX - 1);
        return bg_fail(BG_E_DATA, "%s: `as` is no name", path);
    }
    TRY(bg_text_copy(out->name, sizeof out->name, as));
    TRY(bg_alloc(&out->options, 1, out->method->options_size ? out->method->options_size : 1));
    TRY(bg_options_read(map, out->method->options ? out->method->options : none, also, path,
                        out->options, errors));
    if (out->method->check && out->method->check(out->options) != BG_OK) {
        bg_options_error(errors, node, path, "%s", bg_error());
        rc = BG_E_DATA;
    }
out:
    return rc;
}

static enum bg_status check_twice(const struct bg_measure_list *list, const struct bg_yaml *node,
                                  const char *path, struct bg_text *errors)
{
    const char *name = list->at[list->count].name;
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->at[i].name, name) == 0) {
            bg_options_error(errors, node, path, "\"%s\" stands twice; name one of them with `as`",
                             name);
            return bg_fail(BG_E_DATA, "%s: \"%s\" stands twice", path, name);
        }
    return BG_OK;
}

enum bg_status bg_measure_choose(const struct bg_yaml *node, const char *path,
                                 struct bg_measure_list *out, struct bg_text *errors)
{
    enum bg_status rc = BG_OK, worst = BG_OK;

    *out = (struct bg_measure_list){.at = NULL};
    if (!node || (node->kind == BG_YAML_SCALAR && !*node->text))
        return BG_OK;
    if (node->kind != BG_YAML_LIST || node->count > ENTRIES_MAX) {
        bg_options_error(errors, node, path, "expected a list of at most %d measures", ENTRIES_MAX);
        return bg_fail(BG_E_DATA, "%s: expected a list of measures", path);
    }
    TRY(bg_alloc(&out->at, node->count, sizeof *out->at));
    for (const struct bg_yaml *item = node->first; item; item = item->next) {
        rc = read_entry(item, path, &out->at[out->count], errors);
        if (rc == BG_OK)
            rc = check_twice(out, item, path, errors);
        if (rc != BG_OK && rc != BG_E_DATA)
            goto out;
        if (rc != BG_OK) {
            bg_free(out->at[out->count].options);
            out->at[out->count] = (struct bg_measure_choice){.options = NULL};
            worst = rc;
        } else {
            out->count++;
        }
    }
    rc = worst;
out:
    if (rc != BG_OK)
        bg_measure_list_free(out);
    return rc;
}

void bg_measure_list_free(struct bg_measure_list *list)
{
    for (int i = 0; i < list->count; i++)
        bg_free(list->at[i].options);
    bg_free(list->at);
    *list = (struct bg_measure_list){.at = NULL};
}

void bg_measure_list_print(const struct bg_measure_list *list, int indent, struct bg_text *text)
{
    for (int i = 0; i < list->count; i++) {
        const struct bg_measure_choice *choice = &list->at[i];
        bg_text_add(text, "%*s- name: %s\n", indent, "", choice->method->name);
        if (strcmp(choice->name, choice->method->name) != 0) {
            bg_text_add(text, "%*sas: ", indent + 2, "");
            bg_text_add_json(text, choice->name); /* JSON strings are YAML */
            bg_text_add(text, "\n");
        }
        if (choice->method->options)
            bg_options_print(choice->method->options, choice->options, indent + 2, text);
    }
}

static enum bg_status expect_layers(const struct bg_measure_choice *choice, int layers,
                                    const int *bits, int candidates, struct bg_measure_row *row,
                                    struct bg_measure_rows *rows)
{
    const struct bg_measure_method *method = choice->method;
    unsigned brings = method->brings ? method->brings(choice->options) : method->quantities;
    enum bg_status rc = BG_OK;
    for (row->measured = 0; row->measured < BG_MEASURED; row->measured++)
        for (int i = 0; i < 2 * layers * (candidates + 1); i++) {
            int rest = i / 2 / layers;
            if (!(brings >> row->measured & 1U))
                break;
            row->role = i % 2;
            row->layer = i / 2 % layers;
            row->bits = rest == candidates ? 0 : bits[rest];
            TRY(bg_measure_rows_add(rows, row));
        }
out:
    return rc;
}

enum bg_status bg_measure_expect(const struct bg_measure_list *list, int layers, int candidates,
                                 const int *bits, struct bg_measure_rows *rows)
{
    enum bg_status rc = BG_OK;
    for (int m = 0; m < list->count; m++) {
        const struct bg_measure_choice *choice = &list->at[m];
        struct bg_measure_row row = {.measure = m, .value = 1, .samples = 1};
        int64_t count = 0;
        if (!choice->method->combinations) {
            TRY(expect_layers(choice, layers, bits, candidates, &row, rows));
            continue;
        }
        TRY(choice->method->combinations(choice->options, layers, candidates, &count));
        row.layer = -1;
        row.measured = BG_MEASURED_LOSS;
        for (int64_t i = 0; i < 2 * count; i++) { /* of either role */
            row.role = i >= count;
            TRY(bg_measure_rows_add(rows, &row));
        }
    }
out:
    return rc;
}
