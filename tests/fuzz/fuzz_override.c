/* Overrides: the first line is the assignment, the rest the document. A refused override changes
 * nothing; an accepted one leaves a document that prints and reads back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(const struct bg_document *document, struct bg_text *text)
{
    bg_text_init(text, (size_t)1 << 24);
    bg_yaml_print(bg_document_root(document), 0, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bg_document *document = NULL, *again = NULL;
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    if (!end)
        return 0;
    size_t length = (size_t)(end - data);
    char *assignment = calloc(1, length + 1);
    if (!assignment)
        return 0;
    memcpy(assignment, data, length);
    if (bg_yaml_parse_text(&document, "fuzz", (const char *)end + 1, size - length - 1) == BG_OK) {
        struct bg_text before, after;
        print(document, &before);
        bg_error_clear();
        enum bg_status rc = bg_yaml_override(document, assignment);
        print(document, &after);
        if (rc != BG_OK &&
            (bg_error()[0] == '\0' || strcmp(bg_text_string(&before), bg_text_string(&after)) != 0))
            abort();
        if (after.length <= (size_t)1 << 20 &&
            bg_yaml_parse_text(&again, "again", bg_text_string(&after), after.length) != BG_OK)
            abort();
        bg_text_free(&before);
        bg_text_free(&after);
    }
    bg_document_free(again);
    bg_document_free(document);
    free(assignment);
    return 0;
}
