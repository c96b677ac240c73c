/* Bounded text: the only string builder, and the small text helpers the rest shares. */
#ifndef BG_CORE_TEXT_H
#define BG_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#define BG_NAME_MAX 64 /* layer, parameter and method names, with the final zero */

/* Grows up to `limit` bytes. An append past the limit or without memory sets `failed` and leaves
 * the text as it was; callers check once at the end with bg_text_check. */
struct bg_text {
    char *at; /* zero-terminated, never NULL after the first append */
    size_t length, room, limit;
    bool failed, no_memory; /* later appends do nothing; no_memory says why */
};

void bg_text_init(struct bg_text *text, size_t limit);
void bg_text_free(struct bg_text *text);
void bg_text_add(struct bg_text *text, const char *format, ...) BG_PRINTF(2, 3);
void bg_text_add_bytes(struct bg_text *text, const char *bytes, size_t length);
void bg_text_add_json(struct bg_text *text, const char *value); /* quoted and escaped */
void bg_text_add_html(struct bg_text *text, const char *value); /* escaped */
BG_MUST enum bg_status bg_text_check(const struct bg_text *text);
const char *bg_text_string(const struct bg_text *text); /* "" when empty */

/* Bytes of the UTF-8 character at `text` (1 to 4) and its code point; 0 when it is not valid
 * (overlong, a surrogate, above U+10FFFF, cut off). At the final zero: 1, code 0. */
int bg_text_character(const char *text, unsigned *code);

/* Copies into a fixed buffer; BG_E_RANGE when it does not fit (dst is then ""). */
BG_MUST enum bg_status bg_text_copy(char *dst, size_t room, const char *src);

/* Whole-string number parsing in the C locale: no leading or trailing characters, finite reals,
 * decimal or 0x integers. Return false on anything else. */
bool bg_text_to_int(const char *text, int64_t *out);
bool bg_text_to_real(const char *text, double *out);
/* Writes the shortest decimal that reads back as the same double ("0.1", "1e-05"). */
void bg_text_real(char out[32], double value);

/* The entry nearest to `word` (edit distance at most a third of its length, at least 1), or NULL.
 */
const char *bg_text_nearest(const char *word, const char *const *entries, int count);

#endif
