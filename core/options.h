/* Options tables: one row describes a recipe key (type, default, limits, help) and where its value
 * goes in a plain struct. The same row drives reading, defaults, `config show`, `bitgrad list` and
 * the error messages, so they cannot disagree. */
#ifndef BG_CORE_OPTIONS_H
#define BG_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/text.h"
#include "core/yaml.h"

enum bg_option_type {
    BG_OPT_INT,    /* int64_t */
    BG_OPT_REAL,   /* double */
    BG_OPT_BOOL,   /* bool */
    BG_OPT_TEXT,   /* char[BG_OPTION_TEXT] */
    BG_OPT_CHOICE, /* int: index into choices */
    BG_OPT_INTS,   /* struct bg_int_list */
    BG_OPT_REALS,  /* struct bg_real_list */
    BG_OPT_TEXTS,  /* struct bg_text_list */
    BG_OPT_NODE /* const struct bg_yaml *: the subtree as it stands, NULL when absent; validated by
                   its reader */
};

#define BG_OPTION_TEXT 256
#define BG_LIST_MAX    64
struct bg_int_list {
    int count;
    int64_t at[BG_LIST_MAX];
};
struct bg_real_list {
    int count;
    double at[BG_LIST_MAX];
};
struct bg_text_list {
    int count;
    char at[BG_LIST_MAX][BG_NAME_MAX];
};

struct bg_option {
    const char *key; /* NULL ends a table */
    enum bg_option_type type;
    size_t offset;        /* offsetof(struct, field) */
    const char *fallback; /* default as YAML text ("0.1", "[1, 2]", "none"); NULL = required */
    double min, max;      /* inclusive, for INT, INTS, REAL, REALS; both 0 = no limits */
    const char *const *choices; /* NULL-terminated, for CHOICE */
    const char *help;           /* one line */
};

/* A lone number is a list of one where a row wants numbers (`kernel: 3`). A NODE row is never
 * required. A key without a value ("train:") is an empty map where a map is read.
 *
 * Reads map `node` (NULL = empty map) into `out`. Every key of the map must be in the table or in
 * `also` (NULL-terminated list of keys read elsewhere, may be NULL); unknown keys are errors with
 * the nearest name. ALL errors are added to `errors`, one line each, as "file:line:col: path.key:
 * expected integer, got \"tenn\"". Returns BG_E_DATA if any was added. */
BG_MUST enum bg_status bg_options_read(const struct bg_yaml *node, const struct bg_option *table,
                                       const char *const *also, const char *path, void *out,
                                       struct bg_text *errors);
/* Fills `out` with the defaults (required keys get 0 or ""). */
BG_MUST enum bg_status bg_options_defaults(const struct bg_option *table, void *out);
/* Appends "key: value" lines (YAML, `indent` spaces) for every row; NODE rows are printed as a
 * block. */
void bg_options_print(const struct bg_option *table, const void *options, int indent,
                      struct bg_text *text);
/* Appends one help line per row: key, type, default, limits or choices, help. */
void bg_options_help(const struct bg_option *table, int indent, struct bg_text *text);
/* Adds "file:line:col: path: sentence" to errors, for a reader's own checks. */
void bg_options_error(struct bg_text *errors, const struct bg_yaml *node, const char *path,
                      const char *format, ...) BG_PRINTF(4, 5);

#endif
