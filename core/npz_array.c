/* The .npy format (NEP 1), versions 1 to 3: magic, version, a Python dict as text, raw data.
 *
 * The dict is read by a small scanner that knows exactly the three keys numpy writes; anything else
 * is refused. Data must fill the rest of the file to the byte. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/npz_private.h"

#define HEADER_MAX 65536

enum kind { F4, F8, I1, U1, I4, I8, KINDS };

static const struct {
    char name[3];
    size_t size;
} kinds[KINDS] = {[F4] = {"f4", 4}, [F8] = {"f8", 8}, [I1] = {"i1", 1},
                  [U1] = {"u1", 1}, [I4] = {"i4", 4}, [I8] = {"i8", 8}};

struct scan {
    const char *what;
    const char *at, *end;
    enum kind kind;
    struct bg_shape *shape;
};

static enum bg_status malformed(const struct scan *scan, const char *sentence)
{
    return bg_fail(BG_E_DATA, "%s: .npy header: %s", scan->what, sentence);
}

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n'))
        scan->at++;
}

static bool take(struct scan *scan, char c)
{
    skip_blanks(scan);
    if (scan->at == scan->end || *scan->at != c)
        return false;
    scan->at++;
    return true;
}

static bool take_word(struct scan *scan, const char *word)
{
    size_t length = strlen(word);
    skip_blanks(scan);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return false;
    scan->at += length;
    return true;
}

/* 'text' or "text", shorter than 32 bytes. */
static bool take_quoted(struct scan *scan, char out[32])
{
    skip_blanks(scan);
    if (scan->at == scan->end || (*scan->at != '\'' && *scan->at != '"'))
        return false;
    char quote = *scan->at++;
    size_t length = 0;
    while (scan->at < scan->end && *scan->at != quote && length < 31)
        out[length++] = *scan->at++;
    out[length] = '\0';
    if (scan->at == scan->end || *scan->at != quote || memchr(out, 0, length))
        return false;
    scan->at++;
    return true;
}

static enum bg_status read_type(struct scan *scan)
{
    char text[32];
    if (!take_quoted(scan, text))
        return malformed(scan, "a structured type is not read");
    if (strchr(text, 'O'))
        return bg_fail(BG_E_UNSUPPORTED, "%s: holds Python objects, which are never read",
                       scan->what);
    if (text[0] == '>')
        return bg_fail(BG_E_UNSUPPORTED, "%s: type %s is big-endian, only little-endian is read",
                       scan->what, text);
    for (int i = 0; i < KINDS; i++) {
        bool order = text[0] == '<' || (text[0] == '|' && kinds[i].size == 1);
        if (order && strcmp(text + 1, kinds[i].name) == 0) {
            scan->kind = (enum kind)i;
            return BG_OK;
        }
    }
    return bg_fail(BG_E_UNSUPPORTED, "%s: type %s is not read (f4, f8, i1, u1, i4, i8)", scan->what,
                   text);
}

static enum bg_status read_order(struct scan *scan)
{
    if (take_word(scan, "True"))
        return bg_fail(BG_E_UNSUPPORTED,
                       "%s: stored in Fortran order; save numpy.ascontiguousarray(x)", scan->what);
    return take_word(scan, "False") ? BG_OK : malformed(scan, "fortran_order is not True or False");
}

static enum bg_status read_dim(struct scan *scan)
{
    int64_t value = 0;
    int digits = 0;
    skip_blanks(scan);
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++, digits++) {
        if (digits == 15)
            return malformed(scan, "a dimension has more than 15 digits");
        value = value * 10 + (*scan->at - '0');
    }
    if (digits == 0)
        return malformed(scan, "shape is not a list of dimensions");
    if (value == 0)
        return malformed(scan, "a dimension is 0");
    if (scan->shape->rank == BG_RANK_MAX)
        return malformed(scan, "more than 4 dimensions");
    scan->shape->dims[scan->shape->rank++] = value;
    return BG_OK;
}

/* "()", "(3,)", "(3, 4)" or "(3, 4,)". */
static enum bg_status read_shape(struct scan *scan)
{
    enum bg_status rc = BG_OK;
    if (!take(scan, '('))
        return malformed(scan, "shape is not a list of dimensions");
    while (!take(scan, ')')) {
        TRY(read_dim(scan));
        if (!take(scan, ',') && (scan->at == scan->end || *scan->at != ')'))
            return malformed(scan, "shape is not a list of dimensions");
    }
out:
    return rc;
}

/* One "'key': value". */
static enum bg_status read_pair(struct scan *scan, bool seen[3])
{
    static const char *const keys[3] = {"descr", "fortran_order", "shape"};
    char key[32];
    if (!take_quoted(scan, key) || !take(scan, ':'))
        return malformed(scan, "a key is missing");
    int i = 0;
    while (i < 3 && strcmp(keys[i], key) != 0)
        i++;
    if (i == 3 || seen[i])
        return malformed(scan, i == 3 ? "an unknown key" : "a key stands twice");
    seen[i] = true;
    if (i == 0)
        return read_type(scan);
    return i == 1 ? read_order(scan) : read_shape(scan);
}

static enum bg_status read_dict(struct scan *scan)
{
    enum bg_status rc = BG_OK;
    bool seen[3] = {false, false, false};
    if (!take(scan, '{'))
        return malformed(scan, "no dict");
    while (!take(scan, '}')) {
        TRY(read_pair(scan, seen));
        if (!take(scan, ',') && (scan->at == scan->end || *scan->at != '}'))
            return malformed(scan, "no comma between keys");
    }
    skip_blanks(scan);
    if (scan->at != scan->end)
        return malformed(scan, "text behind the dict");
    if (!seen[0] || !seen[1] || !seen[2])
        return malformed(scan, "descr, fortran_order or shape is missing");
out:
    return rc;
}

/* Finds the header text; *data is where the numbers begin. */
static enum bg_status find_header(struct scan *scan, const unsigned char *bytes, size_t length,
                                  size_t *data)
{
    if (length < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return bg_fail(BG_E_DATA, "%s: not a .npy array", scan->what);
    size_t start = bytes[6] == 1 ? 10 : 12;
    if (bytes[6] < 1 || bytes[6] > 3 || bytes[7] != 0)
        return bg_fail(BG_E_UNSUPPORTED, "%s: .npy version %d.%d, only 1 to 3 are read", scan->what,
                       bytes[6], bytes[7]);
    if (length < start)
        return malformed(scan, "cut off");
    size_t size = bytes[6] == 1 ? bg_npz_u16(bytes + 8) : bg_npz_u32(bytes + 8);
    if (size > HEADER_MAX || size > length - start)
        return malformed(scan, "longer than the file");
    scan->at = (const char *)bytes + start;
    scan->end = scan->at + size;
    *data = start + size;
    return BG_OK;
}

/* Element i as f32; false when an f64 lies outside what f32 can hold. */
static bool convert(enum kind kind, const unsigned char *data, int64_t i, float *out)
{
    const unsigned char *at = data + (size_t)i * kinds[kind].size;
    uint64_t low = kind == I1 || kind == U1 ? at[0] : bg_npz_u32(at);
    uint64_t bits = kind == F8 || kind == I8 ? low | (uint64_t)bg_npz_u32(at + 4) << 32 : low;
    uint32_t half = (uint32_t)low;
    double real;
    switch (kind) {
    case F4:
        memcpy(out, &half, sizeof *out);
        return true;
    case F8:
        memcpy(&real, &bits, sizeof real);
        if (real - real == 0.0 && (real >= 3.4028235677973366e38 || real <= -3.4028235677973366e38))
            return false; /* rounds to an infinity; NaN and infinities pass as they are */
        *out = (float)real;
        return true;
    case I1:
        *out = (float)(at[0] < 128 ? at[0] : at[0] - 256);
        return true;
    case U1:
        *out = (float)at[0];
        return true;
    case I4:
        *out = (float)(half <= INT32_MAX ? (int64_t)half : (int64_t)half - ((int64_t)1 << 32));
        return true;
    default:
        /* -2^64 + bits for the negative half, without overflow. */
        *out = bits <= INT64_MAX ? (float)(int64_t)bits : (float)(-(int64_t)(~bits) - 1);
        return true;
    }
}

enum bg_status bg_npz_decode(const char *what, const unsigned char *bytes, size_t length,
                             struct bg_shape *shape, float **out)
{
    enum bg_status rc = BG_OK;
    struct scan scan = {.what = what, .shape = shape};
    size_t start = 0;
    int64_t count = 1;
    float *values = NULL;
    *out = NULL;
    *shape = (struct bg_shape){0};
    TRY(find_header(&scan, bytes, length, &start));
    TRY(read_dict(&scan));
    size_t left = length - start, size = kinds[scan.kind].size;
    for (int i = 0; i < shape->rank; i++) {
        if (count > (int64_t)(left / size) / shape->dims[i])
            FAIL(BG_E_DATA, "%s: its shape needs more than the %zu bytes of data it has", what,
                 left);
        count *= shape->dims[i];
    }
    if ((size_t)count * size != left)
        FAIL(BG_E_DATA, "%s: has %zu bytes of data, its shape needs %zu", what, left,
             (size_t)count * size);
    TRY(bg_alloc(&values, count, sizeof *values));
    for (int64_t i = 0; i < count; i++) {
        if (!convert(scan.kind, bytes + start, i, &values[i]))
            FAIL(BG_E_RANGE, "%s: element %lld is outside the range of f32", what, (long long)i);
    }
    *out = values;
    values = NULL;
out:
    if (rc != BG_OK)
        *shape = (struct bg_shape){0};
    bg_free(values);
    return rc;
}
