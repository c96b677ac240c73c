/* What core/yaml*.c share: the document's inside and the helpers between parser, printer and
 * overrides. Nobody else includes this. */
#ifndef BG_CORE_YAML_PRIVATE_H
#define BG_CORE_YAML_PRIVATE_H

#include "core/mem.h"
#include "core/yaml.h"

#define BG_YAML_BYTES_MAX (1024 * 1024)
#define BG_YAML_DEPTH_MAX 64
#define BG_YAML_NODES_MAX 100000
/* libyaml reads implicit keys of at most 1024 characters; a byte prints as at most 6. */
#define BG_YAML_KEY_MAX 128

struct bg_document {
    struct bg_arena *arena; /* nodes and texts */
    struct bg_yaml *root;
    int nodes;
};

/* A zeroed node of the document; BG_E_DATA past BG_YAML_NODES_MAX. */
BG_MUST enum bg_status bg_yaml_node(struct bg_document *document, enum bg_yaml_kind kind,
                                    struct bg_yaml **out);
/* Parses text into nodes of an existing document. *out is NULL when the text holds nothing;
 * *block tells that the outermost node is a list or map without brackets. */
BG_MUST enum bg_status bg_yaml_parse_into(struct bg_document *document, const char *name,
                                          const char *text, size_t length, struct bg_yaml **out,
                                          bool *block);
/* Can the text stand without quotes, and be read back as the same text? The empty text can, outside
 * brackets. `flow`: inside brackets. */
bool bg_yaml_is_plain(const char *text, bool flow);

#endif
