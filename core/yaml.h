/* YAML as a tree, through libyaml's event interface, with our own caps: file 1 MiB, depth 64,
 * 100000 nodes; duplicate keys, anchors and aliases, tags and multiple documents are errors.
 * Scalars keep their text: what a value means is decided by the option that reads it (YAML 1.2
 * core: `no` is a string). JSON files are YAML and parse too. */
#ifndef BG_CORE_YAML_H
#define BG_CORE_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/text.h"

enum bg_yaml_kind { BG_YAML_SCALAR, BG_YAML_LIST, BG_YAML_MAP };

struct bg_yaml {
    enum bg_yaml_kind kind;
    const char *key;  /* inside a map, else NULL */
    const char *text; /* scalar text, "" for an empty one */
    bool quoted;      /* 'x' or "x": never a number, bool or null */
    const char *file; /* for messages; "command line" for overrides */
    int line, column; /* 1-based */
    int count;        /* children */
    struct bg_yaml *first, *next;
};

struct bg_document; /* owns the nodes */

BG_MUST enum bg_status bg_yaml_parse_file(struct bg_document **out, const char *path);
BG_MUST enum bg_status bg_yaml_parse_text(struct bg_document **out, const char *name,
                                          const char *text, size_t length);
void bg_document_free(struct bg_document *document); /* takes NULL */
/* The root is always a map (an empty file is an empty map; anything else is BG_E_DATA). */
struct bg_yaml *bg_document_root(const struct bg_document *document);

/* Child by key, or NULL. */
const struct bg_yaml *bg_yaml_get(const struct bg_yaml *map, const char *key);
/* Override "a.b.0.c=value": list items by number or, when items are maps with a `name`, by name.
 * Missing maps are made. The value is YAML flow ("[1, 2]", "{a: 1}", scalar); a bare comma outside
 * brackets is an error that says lists need brackets and sweeps the sweep command. */
BG_MUST enum bg_status bg_yaml_override(struct bg_document *document, const char *assignment);
/* Appends the subtree as block YAML with `indent`; scalars quoted when they need it; reading it
 * back gives the same tree. */
void bg_yaml_print(const struct bg_yaml *node, int indent, struct bg_text *text);

#endif
