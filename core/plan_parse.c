/* Reading the plan's text form. People edit these files by hand, so every sentence names the line,
 * the layer and the field, and nothing is guessed. Lines and words are taken apart in place, by
 * length; no word is copied before its length is checked. */
#include "core/plan.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/plan_private.h"

struct word {
    const char *at;
    int length;
};

struct reading {
    const char *file;
    int line;
    bool has_requant;
    int room;
    struct bg_plan plan;
    bool in_layer;
    struct bg_plan_layer layer; /* the one being read, when in_layer */
    bool seen[BG_ROLES + 1];
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Next word before the end of line or a comment; length 0 at the end. */
static struct word next_word(const char **at)
{
    while (is_blank(**at))
        (*at)++;
    struct word word = {.at = *at};
    if (**at == '#')
        return word;
    while (**at && **at != '\n' && **at != '#' && !is_blank(**at))
        (*at)++;
    word.length = (int)(*at - word.at);
    return word;
}

static bool word_is(struct word word, const char *text)
{
    return (size_t)word.length == strlen(text) && memcmp(word.at, text, strlen(text)) == 0;
}

/* At most 60 bytes of a word, printable, for sentences. */
static const char *shown(struct word word, char out[64])
{
    int length = word.length < 60 ? word.length : 60;
    for (int i = 0; i < length; i++)
        out[i] = (unsigned char)word.at[i] < 0x20 ? '?' : word.at[i];
    out[length] = '\0';
    return out;
}

static enum bg_status refuse(const struct reading *r, struct word word, const char *sentence)
{
    char text[64];
    if (r->in_layer)
        return bg_fail(BG_E_DATA, "%s:%d: layer %s: %s: %s", r->file, r->line, r->layer.name,
                       shown(word, text), sentence);
    return bg_fail(BG_E_DATA, "%s:%d: %s: %s", r->file, r->line, shown(word, text), sentence);
}

/* Digits up to the word's end as a number of bits in least..most. */
static enum bg_status read_bits(const struct reading *r, struct word field, struct word digits,
                                const int limits[2], int *out)
{
    int value = 0;
    for (int i = 0; i < digits.length; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return refuse(r, field, "the bits are not a whole number");
        value = value > 9999 ? value : value * 10 + (digits.at[i] - '0');
    }
    if (digits.length == 0)
        return refuse(r, field, "the number of bits is missing");
    char sentence[64];
    if (value > limits[1]) {
        (void)snprintf(sentence, sizeof sentence, "%d%s bits, limit is %d", value,
                       value > 9999 ? " or more" : "", limits[1]);
        return refuse(r, field, sentence);
    }
    if (value < limits[0]) {
        (void)snprintf(sentence, sizeof sentence, "%d bits, at least %d", value, limits[0]);
        return refuse(r, field, sentence);
    }
    *out = value;
    return BG_OK;
}

/* Cuts "/channel" or "/tensor" off a value; false for another ending. Without one *per_channel
 * stays what it is. */
static bool take_scope(struct word *value, bool *per_channel)
{
    const char *slash = memchr(value->at, '/', (size_t)value->length);
    if (!slash)
        return true;
    struct word suffix = {.at = slash, .length = (int)(value->at + value->length - slash)};
    value->length -= suffix.length;
    *per_channel = word_is(suffix, "/channel");
    return *per_channel || word_is(suffix, "/tensor");
}

/* "s4" and whatever follows the first digit. */
static bool is_integer(struct word value, char letter)
{
    return value.length >= 2 && value.at[0] == letter && value.at[1] >= '0' && value.at[1] <= '9';
}

static enum bg_status read_spec(struct reading *r, struct word field, struct word value,
                                enum bg_role role)
{
    static const char *const forms[BG_ROLES] = {
        "expected f32, s1..s16, s4/channel or s4/tensor", "expected f32 or u1..u16",
        "expected f32, bf16, s2..s16, s8/channel or s8/tensor",
        "expected f32, bf16, s2..s16, s8/channel or s8/tensor"};
    struct bg_spec *spec = &r->layer.spec[role];
    bool gradient = role == BG_ROLE_OUT_GRAD || role == BG_ROLE_WEIGHT_GRAD;
    if (word_is(value, "f32"))
        return BG_OK;
    if (gradient && word_is(value, "bf16")) {
        spec->format = BG_FORMAT_BF16;
        return BG_OK;
    }
    if (role == BG_ROLE_ACTIVATION && value.length && value.at[0] == 's')
        return refuse(r, field,
                      "activations are written u1..u16; whether codes are affine follows from the "
                      "tensor");
    if (!is_integer(value, role == BG_ROLE_ACTIVATION ? 'u' : 's'))
        return refuse(r, field, forms[role]);
    struct word digits = {.at = value.at + 1, .length = value.length - 1};
    spec->per_channel = role == BG_ROLE_WEIGHT;
    if (role != BG_ROLE_ACTIVATION && !take_scope(&digits, &spec->per_channel))
        return refuse(r, field, forms[role]);
    spec->format = BG_FORMAT_INTEGER;
    const int limits[2] = {gradient ? 2 : 1, BG_PLAN_BITS_MAX};
    return read_bits(r, field, digits, limits, &spec->bits);
}

static enum bg_status read_update(struct reading *r, struct word field, struct word value)
{
    const char *colon = memchr(value.at, ':', (size_t)value.length);
    int length = colon ? (int)(colon - value.at) : value.length;
    if (length == 0)
        return refuse(r, field, "the update method is missing");
    if (length >= BG_NAME_MAX)
        return refuse(r, field, "the update method's name is longer than 63 bytes");
    for (int i = 0; i < length; i++) {
        char c = value.at[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-')
            return refuse(r, field, "update methods are named in a-z, 0-9 and '-'");
    }
    memset(r->layer.update, 0, sizeof r->layer.update);
    memcpy(r->layer.update, value.at, (size_t)length);
    if (!colon)
        return BG_OK;
    struct word digits = {.at = colon + 1, .length = value.length - length - 1};
    static const int limits[2] = {0, BG_PLAN_UPDATE_BITS_MAX};
    enum bg_status rc = read_bits(r, field, digits, limits, &r->layer.update_bits);
    if (r->layer.update_bits == 0)
        r->layer.update_bits = BG_PLAN_NO_BITS;
    return rc;
}

static enum bg_status read_field(struct reading *r, struct word field)
{
    const char *equals = memchr(field.at, '=', (size_t)field.length);
    if (!equals)
        return refuse(r, field, "expected key=value");
    struct word key = {.at = field.at, .length = (int)(equals - field.at)};
    struct word value = {.at = equals + 1, .length = field.length - key.length - 1};
    for (int i = 0; i <= BG_ROLES; i++) {
        if (!word_is(key, bg_plan_keys[i]))
            continue;
        if (r->seen[i])
            return refuse(r, field, "the key stands twice on this line");
        r->seen[i] = true;
        return i == BG_ROLES ? read_update(r, field, value)
                             : read_spec(r, field, value, (enum bg_role)i);
    }
    char text[64], sentence[96];
    const char *nearest = bg_text_nearest(shown(key, text), bg_plan_keys, BG_ROLES + 1);
    if (nearest)
        (void)snprintf(sentence, sizeof sentence,
                       "unknown key, did you mean '%s'? (w, a, g, dw, u)", nearest);
    else
        (void)snprintf(sentence, sizeof sentence, "unknown key (w, a, g, dw, u)");
    return refuse(r, field, sentence);
}

static enum bg_status read_requant(struct reading *r, const char **at)
{
    static const char *const names[] = {"f32-rne", "fixed-single", "fixed-double", "pow2-rne"};
    struct word word = next_word(at), more = next_word(at);
    if (r->has_requant)
        return bg_fail(BG_E_DATA, "%s:%d: requant stands here again", r->file, r->line);
    if (word.length == 0)
        return bg_fail(BG_E_DATA, "%s:%d: requant: the name is missing", r->file, r->line);
    if (more.length)
        return refuse(r, more, "nothing may follow the name of requant");
    r->has_requant = true;
    for (int i = 0; i < 4; i++) {
        if (word_is(word, names[i])) {
            (void)snprintf(r->plan.requant, sizeof r->plan.requant, "%s", names[i]);
            return BG_OK;
        }
    }
    char text[64], sentence[160];
    const char *nearest = bg_text_nearest(shown(word, text), names, 4);
    (void)snprintf(sentence, sizeof sentence,
                   "unknown requant%s%s%s (f32-rne, fixed-single, "
                   "fixed-double, pow2-rne)",
                   nearest ? ", did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    return refuse(r, word, sentence);
}

static enum bg_status start_layer(struct reading *r, struct word word)
{
    const char *equals = memchr(word.at, '=', (size_t)word.length);
    if (equals)
        return refuse(r, word, "the layer's name is missing before the first field");
    if (word.length >= BG_NAME_MAX)
        return refuse(r, word, "the layer's name is longer than 63 bytes");
    if (r->plan.count == BG_PLAN_LAYERS_MAX)
        return bg_fail(BG_E_DATA, "%s:%d: more than %d layers", r->file, r->line,
                       BG_PLAN_LAYERS_MAX);
    char name[BG_NAME_MAX] = {0};
    memcpy(name, word.at, (size_t)word.length);
    if (!bg_plan_is_name(name))
        return refuse(r, word, "not a layer name");
    if (bg_plan_find(&r->plan, name))
        return refuse(r, word, "the layer stands here again");
    r->in_layer = true;
    bg_plan_layer_default(&r->layer);
    memcpy(r->layer.name, name, sizeof name);
    memset(r->seen, 0, sizeof r->seen);
    return BG_OK;
}

static enum bg_status keep_layer(struct reading *r)
{
    enum bg_status rc = BG_OK;
    if (!r->plan.layer || r->plan.count == r->room) {
        int room = r->room ? 2 * r->room : 16;
        TRY(bg_grow(&r->plan.layer, r->room, room, sizeof *r->plan.layer));
        r->room = room;
    }
    r->plan.layer[r->plan.count++] = r->layer;
out:
    return rc;
}

/* Reads from *at up to the end of the line. */
static enum bg_status read_line(struct reading *r, const char **at)
{
    enum bg_status rc = BG_OK;
    r->in_layer = false;
    struct word word = next_word(at);
    if (word.length == 0)
        return BG_OK;
    if (word_is(word, "requant"))
        return read_requant(r, at);
    TRY(start_layer(r, word));
    for (word = next_word(at); word.length; word = next_word(at))
        TRY(read_field(r, word));
    TRY(keep_layer(r));
out:
    return rc;
}

enum bg_status bg_plan_parse(struct bg_plan *out, const char *file, const char *text)
{
    enum bg_status rc = BG_OK;
    struct reading r = {.file = file, .plan = {.requant = "f32-rne"}};
    *out = (struct bg_plan){0};
    for (const char *at = text; *at;) {
        r.line++;
        TRY(read_line(&r, &at));
        at += strcspn(at, "\n"); /* the comment */
        at += *at == '\n';
    }
    *out = r.plan;
    r.plan = (struct bg_plan){0};
out:
    bg_plan_free(&r.plan);
    return rc;
}
