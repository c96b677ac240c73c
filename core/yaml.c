/* Reading YAML: libyaml's events become a tree in one arena.
 *
 * Only events are used, never libyaml's document loader: its time grows with the square of the
 * nesting, so depth is checked while events arrive. What the recipe language has no use for
 * (aliases, tags, several documents, keys that are not words) is refused here, and the rest of the
 * program never meets it. */
#include "core/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "core/file.h"
#include "core/yaml_private.h"

struct frame {
    struct bg_yaml *node, *last;
    const char *key; /* read, its value not yet */
    int key_line, key_column;
};

struct reader {
    yaml_parser_t parser;
    struct bg_document *document;
    const char *file;
    struct bg_yaml *root;
    bool root_block;
    int documents, depth;
    struct frame frames[BG_YAML_DEPTH_MAX];
};

enum bg_status bg_yaml_node(struct bg_document *document, enum bg_yaml_kind kind,
                            struct bg_yaml **out)
{
    enum bg_status rc = BG_OK;
    if (document->nodes >= BG_YAML_NODES_MAX)
        FAIL(BG_E_DATA, "more than %d values in one document", BG_YAML_NODES_MAX);
    TRY(bg_arena_alloc(document->arena, out, 1, sizeof **out));
    document->nodes++;
    (*out)->kind = kind;
    (*out)->text = "";
out:
    return rc;
}

static enum bg_status refuse(const struct reader *reader, const yaml_mark_t *mark,
                             const char *sentence)
{
    return bg_fail(BG_E_DATA, "%s:%d:%d: %s", reader->file, (int)mark->line + 1,
                   (int)mark->column + 1, sentence);
}

/* libyaml gives the place of reader errors (bad bytes) as an offset only. */
static enum bg_status parser_error(const struct reader *reader, const char *text, size_t length)
{
    const yaml_parser_t *parser = &reader->parser;
    if (parser->error == YAML_MEMORY_ERROR)
        return bg_fail(BG_E_NOMEM, "%s: out of memory", reader->file);
    const char *problem = parser->problem ? parser->problem : "not valid YAML";
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < parser->problem_offset && i < length; i++) {
            mark.line += text[i] == '\n';
            mark.column = text[i] == '\n' ? 0 : mark.column + 1;
        }
    }
    char sentence[256];
    bool context = parser->context && parser->error != YAML_READER_ERROR;
    (void)snprintf(sentence, sizeof sentence, "%s%s%s", context ? parser->context : "",
                   context ? ": " : "", problem);
    return refuse(reader, &mark, sentence);
}

/* Links a node below the innermost open list or map, or makes it the root. */
static void attach(struct reader *reader, struct bg_yaml *node, const yaml_mark_t *mark)
{
    node->file = reader->file;
    node->line = (int)mark->line + 1;
    node->column = (int)mark->column + 1;
    if (reader->depth == 0) {
        reader->root = node;
        return;
    }
    struct frame *frame = &reader->frames[reader->depth - 1];
    if (frame->node->kind == BG_YAML_MAP) {
        node->key = frame->key;
        node->line = frame->key_line;
        node->column = frame->key_column;
        frame->key = NULL;
    }
    if (frame->last)
        frame->last->next = node;
    else
        frame->node->first = node;
    frame->last = node;
    frame->node->count++;
}

static bool awaits_key(const struct reader *reader)
{
    const struct frame *frame = reader->depth ? &reader->frames[reader->depth - 1] : NULL;
    return frame && frame->node->kind == BG_YAML_MAP && !frame->key;
}

static enum bg_status read_key(struct reader *reader, const yaml_event_t *event)
{
    enum bg_status rc = BG_OK;
    struct frame *frame = &reader->frames[reader->depth - 1];
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.length == 0)
        return refuse(reader, &event->start_mark, "a key is empty");
    if (event->data.scalar.length > BG_YAML_KEY_MAX)
        return refuse(reader, &event->start_mark, "a key is longer than 128 bytes");
    TRY(bg_arena_text(reader->document->arena, &frame->key, text));
    frame->key_line = (int)event->start_mark.line + 1;
    frame->key_column = (int)event->start_mark.column + 1;
out:
    return rc;
}

static enum bg_status read_scalar(struct reader *reader, const yaml_event_t *event)
{
    enum bg_status rc = BG_OK;
    const char *text = (const char *)event->data.scalar.value;
    if (event->data.scalar.tag)
        return refuse(reader, &event->start_mark, "tags (!name) are not used here");
    if (event->data.scalar.anchor)
        return refuse(reader, &event->start_mark, "anchors (&name) are not used here");
    if (strlen(text) != event->data.scalar.length)
        return refuse(reader, &event->start_mark, "a text holds a zero byte");
    if (awaits_key(reader))
        return read_key(reader, event);
    struct bg_yaml *node = NULL;
    TRY(bg_yaml_node(reader->document, BG_YAML_SCALAR, &node));
    TRY(bg_arena_text(reader->document->arena, &node->text, text));
    /* A plain text that could not be printed plain again (folded lines) is no number either. */
    node->quoted =
        event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE || !bg_yaml_is_plain(text, false);
    attach(reader, node, &event->start_mark);
out:
    return rc;
}

static enum bg_status open_collection(struct reader *reader, const yaml_event_t *event)
{
    enum bg_status rc = BG_OK;
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    if (list ? event->data.sequence_start.tag != NULL : event->data.mapping_start.tag != NULL)
        return refuse(reader, &event->start_mark, "tags (!name) are not used here");
    if (list ? event->data.sequence_start.anchor != NULL : event->data.mapping_start.anchor != NULL)
        return refuse(reader, &event->start_mark, "anchors (&name) are not used here");
    if (awaits_key(reader))
        return refuse(reader, &event->start_mark, "a key must be a word, not a list or map");
    if (reader->depth == BG_YAML_DEPTH_MAX)
        return refuse(reader, &event->start_mark, "nested deeper than 64");
    struct bg_yaml *node = NULL;
    TRY(bg_yaml_node(reader->document, list ? BG_YAML_LIST : BG_YAML_MAP, &node));
    if (reader->depth == 0)
        reader->root_block = list ? event->data.sequence_start.style != YAML_FLOW_SEQUENCE_STYLE
                                  : event->data.mapping_start.style != YAML_FLOW_MAPPING_STYLE;
    attach(reader, node, &event->start_mark);
    reader->frames[reader->depth++] = (struct frame){.node = node};
out:
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const struct bg_yaml *x = *(struct bg_yaml *const *)a, *y = *(struct bg_yaml *const *)b;
    int order = strcmp(x->key, y->key);
    if (order == 0)
        order = (x->line > y->line) - (x->line < y->line);
    if (order == 0)
        order = (x->column > y->column) - (x->column < y->column);
    return order;
}

/* Sorting keeps a file with 100000 keys from costing the square of that. */
static enum bg_status check_duplicates(const struct bg_yaml *map)
{
    enum bg_status rc = BG_OK;
    const struct bg_yaml **sorted = NULL;
    if (map->count < 2)
        return BG_OK;
    TRY(bg_alloc(&sorted, map->count, sizeof(struct bg_yaml *)));
    int n = 0;
    for (const struct bg_yaml *child = map->first; child; child = child->next)
        sorted[n++] = child;
    qsort(sorted, (size_t)n, sizeof(struct bg_yaml *), by_key);
    for (int i = 1; i < n; i++) {
        const struct bg_yaml *a = sorted[i - 1], *b = sorted[i];
        if (strcmp(a->key, b->key) == 0)
            FAIL(BG_E_DATA, "%s:%d:%d: key '%s' stands here again, first on line %d", b->file,
                 b->line, b->column, b->key, a->line);
    }
out:
    bg_free(sorted);
    return rc;
}

static enum bg_status take_event(struct reader *reader, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (reader->documents++ > 0)
            return refuse(reader, &event->start_mark, "a second document (---) begins here");
        return BG_OK;
    case YAML_ALIAS_EVENT:
        return refuse(reader, &event->start_mark, "aliases (*name) are not used here");
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return open_collection(reader, event);
    case YAML_SEQUENCE_END_EVENT:
        reader->depth--;
        return BG_OK;
    case YAML_MAPPING_END_EVENT:
        reader->depth--;
        return check_duplicates(reader->frames[reader->depth].node);
    default:
        return BG_OK;
    }
}

enum bg_status bg_yaml_parse_into(struct bg_document *document, const char *name, const char *text,
                                  size_t length, struct bg_yaml **out, bool *block)
{
    enum bg_status rc = BG_OK;
    struct reader reader = {.document = document, .file = name};
    *out = NULL;
    if (length > BG_YAML_BYTES_MAX)
        return bg_fail(BG_E_DATA, "%s: %zu bytes, limit is %d", name, length, BG_YAML_BYTES_MAX);
    if (!yaml_parser_initialize(&reader.parser))
        return bg_fail(BG_E_NOMEM, "%s: out of memory", name);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, length);
    bool done = false;
    while (!done) {
        yaml_event_t event = {0};
        if (!yaml_parser_parse(&reader.parser, &event)) {
            rc = parser_error(&reader, text, length);
            goto out;
        }
        done = event.type == YAML_STREAM_END_EVENT;
        rc = take_event(&reader, &event);
        yaml_event_delete(&event);
        if (rc != BG_OK)
            goto out;
    }
    *out = reader.root;
    *block = reader.root_block;
out:
    yaml_parser_delete(&reader.parser);
    return rc;
}

enum bg_status bg_yaml_parse_text(struct bg_document **out, const char *name, const char *text,
                                  size_t length)
{
    enum bg_status rc = BG_OK;
    struct bg_document *document = NULL;
    *out = NULL;
    TRY(bg_alloc(&document, 1, sizeof *document));
    TRY(bg_arena_create(&document->arena, "yaml"));
    const char *file = NULL;
    TRY(bg_arena_text(document->arena, &file, name));
    struct bg_yaml *root = NULL;
    bool block = false;
    TRY(bg_yaml_parse_into(document, file, text, length, &root, &block));
    if (root && root->kind != BG_YAML_MAP && (root->kind == BG_YAML_LIST || root->text[0]))
        FAIL(BG_E_DATA, "%s:%d:%d: expected a map (key: value), got a %s", file, root->line,
             root->column, root->kind == BG_YAML_LIST ? "list" : "single value");
    if (!root || root->kind != BG_YAML_MAP) {
        TRY(bg_yaml_node(document, BG_YAML_MAP, &root));
        root->file = file;
        root->line = root->column = 1;
    }
    document->root = root;
    *out = document;
    document = NULL;
out:
    bg_document_free(document);
    return rc;
}

enum bg_status bg_yaml_parse_file(struct bg_document **out, const char *path)
{
    enum bg_status rc = BG_OK;
    char *text = NULL;
    size_t length = 0;
    *out = NULL;
    TRY(bg_file_read(path, BG_YAML_BYTES_MAX, &text, &length));
    TRY(bg_yaml_parse_text(out, path, text, length));
out:
    bg_free(text);
    return rc;
}

void bg_document_free(struct bg_document *document)
{
    if (!document)
        return;
    bg_arena_destroy(document->arena);
    bg_free(document);
}

struct bg_yaml *bg_document_root(const struct bg_document *document)
{
    return document->root;
}

const struct bg_yaml *bg_yaml_get(const struct bg_yaml *map, const char *key)
{
    if (!map || map->kind != BG_YAML_MAP)
        return NULL;
    for (const struct bg_yaml *child = map->first; child; child = child->next) {
        if (strcmp(child->key, key) == 0)
            return child;
    }
    return NULL;
}
