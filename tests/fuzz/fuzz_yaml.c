/* YAML: any text gives a tree that prints and reads back to an equal print, or one sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bg_document *document = NULL, *again = NULL;
    bg_error_clear();
    if (bg_yaml_parse_text(&document, "fuzz", (const char *)data, size) != BG_OK) {
        if (bg_error()[0] == '\0' || document)
            abort();
        return 0;
    }
    struct bg_text first, second;
    bg_text_init(&first, (size_t)1 << 24);
    bg_text_init(&second, (size_t)1 << 24);
    bg_yaml_print(bg_document_root(document), 0, &first);
    /* Indentation can lift a deep tree over the size limit; within it, reading must succeed. */
    if (first.length <= (size_t)1 << 20) {
        if (bg_yaml_parse_text(&again, "again", bg_text_string(&first), first.length) != BG_OK)
            abort();
        bg_yaml_print(bg_document_root(again), 0, &second);
        if (strcmp(bg_text_string(&first), bg_text_string(&second)) != 0)
            abort();
    }
    bg_document_free(again);
    bg_document_free(document);
    bg_text_free(&first);
    bg_text_free(&second);
    return 0;
}
