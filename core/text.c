/* The string builder, escaping, and numbers as text.
 *
 * Numbers are always read and written with a decimal point, whatever locale the program has set:
 * files must mean the same everywhere. */
#include "core/text.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

#define WORD_MAX 127

/* For the C locale glibc hands out a constant object: nothing is allocated, nothing to free. */
static locale_t plain_locale(void)
{
    return uselocale(newlocale(LC_ALL_MASK, "C", (locale_t)0));
}

void bg_text_init(struct bg_text *text, size_t limit)
{
    *text = (struct bg_text){.limit = limit};
}

void bg_text_free(struct bg_text *text)
{
    bg_free(text->at);
    *text = (struct bg_text){.limit = text->limit};
}

/* Room for `extra` more bytes and the final zero; false (and `failed`) when there is none. */
static bool reserve(struct bg_text *text, size_t extra)
{
    size_t room = text->room == 0 ? 64 : text->room;

    if (text->failed)
        return false;
    if (extra > text->limit || text->length > text->limit - extra) {
        text->failed = true;
        return false;
    }
    if (text->length + extra < text->room)
        return true;
    while (room <= text->length + extra)
        room *= 2;
    if (bg_grow(&text->at, (int64_t)text->room, (int64_t)room, 1) != BG_OK) {
        text->failed = true;
        text->no_memory = true;
        return false;
    }
    text->room = room;
    return true;
}

void bg_text_add_bytes(struct bg_text *text, const char *bytes, size_t length)
{
    if (!reserve(text, length))
        return;
    if (length > 0)
        memcpy(text->at + text->length, bytes, length);
    text->length += length;
    text->at[text->length] = '\0';
}

void bg_text_add(struct bg_text *text, const char *format, ...)
{
    locale_t before = plain_locale();
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        text->failed = true;
    } else if (reserve(text, (size_t)length)) {
        va_start(args, format);
        (void)vsnprintf(text->at + text->length, (size_t)length + 1, format, args);
        va_end(args);
        text->length += (size_t)length;
    }
    uselocale(before);
}

int bg_text_character(const char *text, unsigned *code)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    int length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    unsigned value = s[0] & (0x7fu >> length);
    for (int i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *code = value;
    return length;
}

static const char *json_escape(unsigned char c, char buffer[8])
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";

    for (size_t i = 0; letters[i] != '\0'; i += 2)
        if (c == (unsigned char)letters[i]) {
            (void)snprintf(buffer, 8, "\\%c", letters[i + 1]);
            return buffer;
        }
    if (c >= 0x20 && c != 0x7f)
        return NULL;
    (void)snprintf(buffer, 8, "\\u%04x", (unsigned)c);
    return buffer;
}

/* Same shape as json_escape, whose texts do not all fit a table. */
static const char *html_escape(unsigned char c, char buffer[8])
{
    buffer[0] = '\0';
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/* Bytes that are not UTF-8 become U+FFFD: neither JSON nor HTML may hold them. */
static void add_escaped(struct bg_text *text, const char *value,
                        const char *(*escape)(unsigned char c, char buffer[8]))
{
    const char *at = value;
    char buffer[8] = "";

    while (*at != '\0') {
        unsigned code = 0;
        int length = bg_text_character(at, &code);
        const char *replacement = length == 0 ? "\xef\xbf\xbd" : escape((unsigned char)*at, buffer);
        if (replacement != NULL)
            bg_text_add_bytes(text, replacement, strlen(replacement));
        else
            bg_text_add_bytes(text, at, (size_t)length);
        at += length == 0 ? 1 : length;
    }
}

/* An append of several pieces is undone as a whole. */
static void undo_if_failed(struct bg_text *text, size_t length)
{
    if (!text->failed || text->at == NULL)
        return;
    text->length = length;
    text->at[length] = '\0';
}

void bg_text_add_json(struct bg_text *text, const char *value)
{
    size_t length = text->length;

    bg_text_add_bytes(text, "\"", 1);
    add_escaped(text, value, json_escape);
    bg_text_add_bytes(text, "\"", 1);
    undo_if_failed(text, length);
}

void bg_text_add_html(struct bg_text *text, const char *value)
{
    size_t length = text->length;

    add_escaped(text, value, html_escape);
    undo_if_failed(text, length);
}

enum bg_status bg_text_check(const struct bg_text *text)
{
    if (text->no_memory)
        return bg_fail(BG_E_NOMEM, "out of memory: no room for a text of more than %zu bytes",
                       text->length);
    if (text->failed)
        return bg_fail(BG_E_RANGE, "text does not fit its limit of %zu bytes", text->limit);
    return BG_OK;
}

const char *bg_text_string(const struct bg_text *text)
{
    return text->at == NULL ? "" : text->at;
}

enum bg_status bg_text_copy(char *dst, size_t room, const char *src)
{
    size_t length = strlen(src);

    if (length >= room) {
        if (room > 0)
            dst[0] = '\0';
        return bg_fail(BG_E_RANGE, "'%.64s%s' has %zu characters: limit is %zu", src,
                       length > 64 ? "..." : "", length, room == 0 ? (size_t)0 : room - 1);
    }
    memcpy(dst, src, length + 1);
    return BG_OK;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

bool bg_text_to_int(const char *text, int64_t *out)
{
    bool negative = text[0] == '-';
    const char *at = text + (text[0] == '-' || text[0] == '+');
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t base = 10, value = 0;

    *out = 0;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        at = text + 2;
    }
    if (*at == '\0')
        return false;
    for (; *at != '\0'; at++) {
        uint64_t digit = (uint64_t)digit_value(*at);
        if (digit >= base || value > (limit - digit) / base)
            return false;
        value = value * base + digit;
    }
    if (!negative)
        *out = (int64_t)value;
    else
        *out = value == limit ? INT64_MIN : -(int64_t)value;
    return true;
}

static size_t skip_digits(const char **at)
{
    size_t count = 0;

    for (; **at >= '0' && **at <= '9'; (*at)++)
        count++;
    return count;
}

/* [+-] digits [. digits] [(e|E) [+-] digits], with a digit before or after the point. */
static bool looks_real(const char *at)
{
    size_t digits;

    if (*at == '-' || *at == '+')
        at++;
    digits = skip_digits(&at);
    if (*at == '.') {
        at++;
        digits += skip_digits(&at);
    }
    if (digits == 0)
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '-' || *at == '+')
            at++;
        if (skip_digits(&at) == 0)
            return false;
    }
    return *at == '\0';
}

bool bg_text_to_real(const char *text, double *out)
{
    locale_t before;
    double value;

    *out = 0;
    if (!looks_real(text))
        return false;
    before = plain_locale();
    value = strtod(text, NULL);
    uselocale(before);
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

void bg_text_real(char out[32], double value)
{
    /* Decimals of up to 15 digits survive the way through a normal double, so %.15g prints the
     * shortest one whenever it has at most 15; subnormals hold fewer digits. */
    int digits = fabs(value) < DBL_MIN ? 1 : 15;
    locale_t before = plain_locale();
    char number[64] = "nan";

    for (bool exact = isnan(value); !exact && digits <= 17; digits++) {
        (void)snprintf(number, sizeof number, "%.*g", digits, value);
        exact = strtod(number, NULL) == value;
    }
    uselocale(before);
    memcpy(out, number, 31); /* at most 24 characters: sign, 17 digits, point, e-308 */
    out[31] = '\0';
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal
 * string alignment). Both are at most WORD_MAX long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t length = strlen(b);

    for (size_t j = 0; j <= length; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *spare = before;
        now[0] = i;
        for (size_t j = 1; j <= length; j++) {
            size_t replace = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = least(replace, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[length];
}

const char *bg_text_nearest(const char *word, const char *const *entries, int count)
{
    size_t length = strlen(word);
    size_t best = length / 3 == 0 ? 2 : length / 3 + 1; /* first distance that is too far */
    const char *nearest = NULL;

    if (length > WORD_MAX)
        return NULL;
    for (int i = 0; i < count; i++) {
        size_t distance;
        if (strlen(entries[i]) > WORD_MAX)
            continue;
        distance = edit_distance(word, entries[i]);
        if (distance < best) {
            best = distance;
            nearest = entries[i];
        }
    }
    return nearest;
}
