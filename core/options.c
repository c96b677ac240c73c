/* Reading option tables: recipe maps become plain structs, with every error of a map reported at
 * once. Numbers are read whole or not at all; quoted words are never numbers. Printing is in
 * core/options_print.c. */
#include "core/options.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/options_private.h"

#define PATH_ROOM  320
#define SHOWN_ROOM 96

/* Where a value comes from and what to call it in sentences. */
struct place {
    const struct bg_yaml *node;
    char path[PATH_ROOM];
    struct bg_text *errors;
};

void bg_options_error(struct bg_text *errors, const struct bg_yaml *node, const char *path,
                      const char *format, ...)
{
    char sentence[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    if (node)
        bg_text_add(errors, "%s:%d:%d: ", node->file ? node->file : "recipe", node->line,
                    node->column);
    if (path && path[0])
        bg_text_add(errors, "%s: ", path);
    bg_text_add(errors, "%s\n", sentence);
}

static void join_path(char out[PATH_ROOM], const char *path, const char *key)
{
    (void)snprintf(out, PATH_ROOM, "%.180s%s%.128s", path ? path : "", path && path[0] ? "." : "",
                   key);
}

/* What stands in the recipe, short and on one line. */
static const char *shown(const struct bg_yaml *node, char out[SHOWN_ROOM])
{
    if (node->kind == BG_YAML_MAP)
        return "a map";
    if (node->kind == BG_YAML_LIST)
        return "a list";
    if (!node->quoted && node->text[0] == '\0')
        return "nothing";
    char text[64];
    (void)snprintf(text, sizeof text, "%s", node->text);
    for (char *at = text; *at; at++)
        *at = (unsigned char)*at < 0x20 ? ' ' : *at;
    (void)snprintf(out, SHOWN_ROOM, "%s\"%s\"%s", node->quoted ? "the quoted text " : "", text,
                   strlen(node->text) >= sizeof text ? "..." : "");
    return out;
}

static bool expected(const struct place *place, const char *what)
{
    char text[SHOWN_ROOM];
    bg_options_error(place->errors, place->node, place->path, "expected %s, got %s", what,
                     shown(place->node, text));
    return false;
}

static bool outside(const struct place *place, const struct bg_option *row, const char *value)
{
    char limits[80];
    bg_options_limits(row, limits);
    bg_options_error(place->errors, place->node, place->path, "%s is outside %s", value, limits);
    return false;
}

static bool is_plain_scalar(const struct bg_yaml *node)
{
    return node->kind == BG_YAML_SCALAR && !node->quoted;
}

static bool is_number(const struct bg_yaml *node)
{
    double value = 0;
    return is_plain_scalar(node) && bg_text_to_real(node->text, &value);
}

static bool read_int(const struct place *place, const struct bg_option *row, int64_t *out)
{
    int64_t value = 0;
    if (!is_plain_scalar(place->node) || !bg_text_to_int(place->node->text, &value))
        return expected(place, "an integer");
    if (bg_options_has_limits(row) && ((double)value < row->min || (double)value > row->max)) {
        char text[32];
        (void)snprintf(text, sizeof text, "%" PRId64, value);
        return outside(place, row, text);
    }
    *out = value;
    return true;
}

static bool read_real(const struct place *place, const struct bg_option *row, double *out)
{
    double value = 0;
    if (!is_plain_scalar(place->node) || !bg_text_to_real(place->node->text, &value))
        return expected(place, "a finite number");
    if (bg_options_has_limits(row) && (value < row->min || value > row->max)) {
        char text[32];
        bg_text_real(text, value);
        return outside(place, row, text);
    }
    *out = value;
    return true;
}

static bool read_bool(const struct place *place, bool *out)
{
    const struct bg_yaml *node = place->node;
    bool yes = is_plain_scalar(node) && strcmp(node->text, "true") == 0;
    if (!yes && (!is_plain_scalar(node) || strcmp(node->text, "false") != 0))
        return expected(place, "true or false");
    *out = yes;
    return true;
}

static bool read_text(const struct place *place, char *out, size_t room)
{
    if (place->node->kind != BG_YAML_SCALAR)
        return expected(place, "a text");
    size_t length = strlen(place->node->text);
    if (length >= room) {
        bg_options_error(place->errors, place->node, place->path,
                         "the text has %zu bytes, limit is %zu", length, room - 1);
        return false;
    }
    memcpy(out, place->node->text, length + 1);
    return true;
}

static bool read_choice(const struct place *place, const struct bg_option *row, int *out)
{
    char list[256], text[SHOWN_ROOM];
    bg_options_choices(row, list, sizeof list);
    const struct bg_yaml *node = place->node;
    if (node->kind != BG_YAML_SCALAR || (!node->quoted && node->text[0] == '\0')) {
        bg_options_error(place->errors, node, place->path, "expected one of %s, got %s", list,
                         shown(node, text));
        return false;
    }
    int count = 0;
    for (; row->choices[count]; count++) {
        if (strcmp(row->choices[count], node->text) == 0) {
            *out = count;
            return true;
        }
    }
    const char *nearest = bg_text_nearest(node->text, row->choices, count);
    if (nearest)
        bg_options_error(place->errors, node, place->path,
                         "unknown value '%.60s', did you mean '%s'? (%s)", node->text, nearest,
                         list);
    else
        bg_options_error(place->errors, node, place->path, "unknown value '%.60s' (%s)", node->text,
                         list);
    return false;
}

/* Reads list items into row's list; the three list types share this walk. */
static bool read_list(const struct place *place, const struct bg_option *row, void *out)
{
    const char *what = row->type == BG_OPT_INTS    ? "a list of integers"
                       : row->type == BG_OPT_REALS ? "a list of numbers"
                                                   : "a list of texts";
    if (place->node->kind != BG_YAML_LIST)
        return expected(place, what);
    if (place->node->count > BG_LIST_MAX) {
        bg_options_error(place->errors, place->node, place->path, "%d items, limit is %d",
                         place->node->count, BG_LIST_MAX);
        return false;
    }
    struct bg_int_list ints = {0};
    struct bg_real_list reals = {0};
    struct bg_text_list texts = {0};
    bool ok = true;
    int n = 0;
    for (const struct bg_yaml *item = place->node->first; item; item = item->next, n++) {
        struct place here = {.node = item, .errors = place->errors};
        char number[16];
        (void)snprintf(number, sizeof number, "%d", n);
        join_path(here.path, place->path, number);
        if (row->type == BG_OPT_INTS)
            ok &= read_int(&here, row, &ints.at[n]);
        else if (row->type == BG_OPT_REALS)
            ok &= read_real(&here, row, &reals.at[n]);
        else
            ok &= read_text(&here, texts.at[n], BG_NAME_MAX);
    }
    if (!ok)
        return false;
    ints.count = reals.count = texts.count = n;
    if (row->type == BG_OPT_INTS)
        memcpy(out, &ints, sizeof ints);
    else if (row->type == BG_OPT_REALS)
        memcpy(out, &reals, sizeof reals);
    else
        memcpy(out, &texts, sizeof texts);
    return true;
}

/* A number where a list of numbers is expected is a list of one: `kernel: 3`. */
static bool read_single(const struct place *place, const struct bg_option *row, void *out)
{
    struct bg_int_list ints = {.count = 1};
    struct bg_real_list reals = {.count = 1};
    if (row->type == BG_OPT_INTS) {
        if (!read_int(place, row, &ints.at[0]))
            return false;
        memcpy(out, &ints, sizeof ints);
    } else {
        if (!read_real(place, row, &reals.at[0]))
            return false;
        memcpy(out, &reals, sizeof reals);
    }
    return true;
}

static bool read_row(const struct place *place, const struct bg_option *row, void *options)
{
    void *field = (char *)options + row->offset;
    switch (row->type) {
    case BG_OPT_INT:
        return read_int(place, row, field);
    case BG_OPT_REAL:
        return read_real(place, row, field);
    case BG_OPT_BOOL:
        return read_bool(place, field);
    case BG_OPT_TEXT:
        return read_text(place, field, BG_OPTION_TEXT);
    case BG_OPT_CHOICE:
        return read_choice(place, row, field);
    case BG_OPT_INTS:
    case BG_OPT_REALS:
        if (is_number(place->node))
            return read_single(place, row, field);
        return read_list(place, row, field);
    case BG_OPT_TEXTS:
        return read_list(place, row, field);
    case BG_OPT_NODE:
        *(const struct bg_yaml **)field = place->node;
        return true;
    }
    return false;
}

static void clear_row(const struct bg_option *row, void *options)
{
    static const size_t sizes[] = {
        [BG_OPT_INT] = sizeof(int64_t),
        [BG_OPT_REAL] = sizeof(double),
        [BG_OPT_BOOL] = sizeof(bool),
        [BG_OPT_TEXT] = BG_OPTION_TEXT,
        [BG_OPT_CHOICE] = sizeof(int),
        [BG_OPT_INTS] = sizeof(struct bg_int_list),
        [BG_OPT_REALS] = sizeof(struct bg_real_list),
        [BG_OPT_TEXTS] = sizeof(struct bg_text_list),
        [BG_OPT_NODE] = sizeof(struct bg_yaml *),
    };
    memset((char *)options + row->offset, 0, sizes[row->type]);
}

/* A default goes through the same reader as a recipe, so it obeys the same limits. */
static enum bg_status set_default(const struct bg_option *row, void *out)
{
    enum bg_status rc = BG_OK;
    struct bg_document *document = NULL;
    struct bg_text line, errors;
    bg_text_init(&line, 4096);
    bg_text_init(&errors, 4096);
    bg_text_add(&line, "value: %s\n", row->fallback);
    TRY(bg_text_check(&line));
    TRY(bg_yaml_parse_text(&document, "default", bg_text_string(&line), line.length));
    struct place place = {.node = bg_yaml_get(bg_document_root(document), "value"),
                          .errors = &errors};
    join_path(place.path, "", row->key);
    if (!place.node || !read_row(&place, row, out))
        FAIL(BG_E_INTERNAL, "default of option %s: %s", row->key, bg_text_string(&errors));
out:
    bg_document_free(document);
    bg_text_free(&errors);
    bg_text_free(&line);
    return rc;
}

enum bg_status bg_options_defaults(const struct bg_option *table, void *out)
{
    enum bg_status rc = BG_OK;
    for (const struct bg_option *row = table; row && row->key; row++) {
        clear_row(row, out);
        if (row->fallback && row->type != BG_OPT_NODE)
            TRY(set_default(row, out));
    }
out:
    return rc;
}

static bool is_listed(const char *const *words, const char *word)
{
    for (; words && *words; words++) {
        if (strcmp(*words, word) == 0)
            return true;
    }
    return false;
}

static const struct bg_option *find_row(const struct bg_option *table, const char *key)
{
    for (const struct bg_option *row = table; row && row->key; row++) {
        if (strcmp(row->key, key) == 0)
            return row;
    }
    return NULL;
}

static void unknown_key(const struct bg_yaml *child, const struct bg_option *table,
                        const char *const *also, const char *path, struct bg_text *errors)
{
    enum { KEYS_MAX = 256 };
    const char *keys[KEYS_MAX];
    int count = 0;
    for (const struct bg_option *row = table; row && row->key && count < KEYS_MAX; row++)
        keys[count++] = row->key;
    for (; also && *also && count < KEYS_MAX; also++)
        keys[count++] = *also;
    char full[PATH_ROOM];
    join_path(full, path, child->key);
    const char *nearest = count ? bg_text_nearest(child->key, keys, count) : NULL;
    if (nearest)
        bg_options_error(errors, child, full, "unknown key, did you mean '%s'?", nearest);
    else
        bg_options_error(errors, child, full, "unknown key");
}

/* Keys without a row, then rows without their required key. Returns the number of errors. */
static int check_keys(const struct bg_yaml *node, const struct bg_option *table,
                      const char *const *also, const char *path, struct bg_text *errors)
{
    int count = 0;
    for (const struct bg_yaml *child = node ? node->first : NULL; child; child = child->next) {
        if (find_row(table, child->key) || is_listed(also, child->key))
            continue;
        unknown_key(child, table, also, path, errors);
        count++;
    }
    for (const struct bg_option *row = table; row && row->key; row++) {
        if (row->fallback || row->type == BG_OPT_NODE || bg_yaml_get(node, row->key))
            continue;
        bg_options_error(errors, node, path, "key '%s' is required (%s)", row->key,
                         row->help ? row->help : "no default");
        count++;
    }
    return count;
}

enum bg_status bg_options_read(const struct bg_yaml *node, const struct bg_option *table,
                               const char *const *also, const char *path, void *out,
                               struct bg_text *errors)
{
    enum bg_status rc = BG_OK;
    int bad = 0;
    TRY(bg_options_defaults(table, out));
    if (node && is_plain_scalar(node) && node->text[0] == '\0')
        node = NULL; /* "train:" with nothing below it is an empty map */
    if (node && node->kind != BG_YAML_MAP) {
        struct place place = {.node = node, .errors = errors};
        join_path(place.path, "", path ? path : "");
        (void)expected(&place, "a map");
        FAIL(BG_E_DATA, "%s: expected a map", path ? path : "recipe");
    }
    bad = check_keys(node, table, also, path, errors);
    for (const struct bg_option *row = table; row && row->key; row++) {
        struct place place = {.node = bg_yaml_get(node, row->key), .errors = errors};
        join_path(place.path, path, row->key);
        if (place.node)
            bad += !read_row(&place, row, out);
    }
    if (bad > 0)
        FAIL(BG_E_DATA, "%s: %d errors in the recipe", path && path[0] ? path : "recipe", bad);
out:
    return rc;
}
