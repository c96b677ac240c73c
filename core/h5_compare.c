/* Comparing two files: the same objects, attributes, types, shapes and bytes. Numbers are compared
 * by their bytes: a NaN equals the same NaN, 0 and -0 differ. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/h5_private.h"
#include "core/mem.h"

#define ATTRIBUTE_BYTES ((size_t)16 << 20)

struct list {
    struct bg_arena *arena;
    const char *const *ignore;
    struct bg_h5_object *at;
    int64_t count, room;
};

struct comparison {
    struct bg_h5 *a, *b;
    bool *same;
    char *difference; /* [512] */
};

#define DIFFER(c_, ...)                                                                            \
    do {                                                                                           \
        *(c_)->same = false;                                                                       \
        (void)snprintf((c_)->difference, 512, __VA_ARGS__);                                        \
    } while (0)

/* An ignored name covers the object and everything below it. */
static bool is_ignored(const char *const *ignore, const char *name)
{
    for (; ignore && *ignore; ignore++) {
        size_t length = strlen(*ignore);
        if (strncmp(*ignore, name, length) == 0 && (name[length] == '\0' || name[length] == '/'))
            return true;
    }
    return false;
}

static enum bg_status collect(void *self, const struct bg_h5_object *object)
{
    enum bg_status rc = BG_OK;
    struct list *list = self;
    if (is_ignored(list->ignore, object->name))
        return BG_OK;
    if (list->count == list->room) {
        int64_t room = list->room ? 2 * list->room : 64;
        TRY(bg_grow(&list->at, list->room, room, sizeof *list->at));
        list->room = room;
    }
    struct bg_h5_object *copy = &list->at[list->count];
    *copy = *object;
    TRY(bg_arena_text(list->arena, &copy->name, object->name));
    list->count++;
out:
    return rc;
}

/* The order of the walk: '/' sorts before every other character. */
static int by_walk(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    int x = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0;
    int y = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
    return x - y;
}

static void value_text(enum bg_h5_type type, const void *at, char out[40])
{
    union {
        float f;
        double d;
        uint8_t u8;
        int16_t s16;
        uint16_t u16;
        int32_t s32;
        uint32_t u32;
        int64_t s64;
        uint64_t u64;
    } v;
    memcpy(&v, at, bg_h5_type_size(type));
    int64_t number = 0;
    switch (type) {
    case BG_H5_F32:
        (void)snprintf(out, 40, "%.9g", (double)v.f);
        return;
    case BG_H5_F64:
        (void)snprintf(out, 40, "%.17g", v.d);
        return;
    case BG_H5_U64:
        (void)snprintf(out, 40, "%" PRIu64, v.u64);
        return;
    case BG_H5_S8:
        number = (int64_t)(v.u8 ^ 0x80u) - 0x80;
        break;
    case BG_H5_U8:
        number = v.u8;
        break;
    case BG_H5_S16:
        number = v.s16;
        break;
    case BG_H5_U16:
        number = v.u16;
        break;
    case BG_H5_S32:
        number = v.s32;
        break;
    case BG_H5_U32:
        number = v.u32;
        break;
    default:
        number = v.s64;
        break;
    }
    (void)snprintf(out, 40, "%" PRId64, number);
}

/* Names the first element that differs; `first` is the element's index at the buffers' start. */
static void tell(const struct comparison *c, const char *name, const struct bg_h5_dataset *dataset,
                 int64_t first, const char *const buffers[2])
{
    int64_t i = 0;
    while (memcmp(buffers[0] + i * (int64_t)dataset->item, buffers[1] + i * (int64_t)dataset->item,
                  dataset->item) == 0)
        i++;
    const char *x = buffers[0] + i * (int64_t)dataset->item;
    const char *y = buffers[1] + i * (int64_t)dataset->item;
    int64_t rows = 0, piece = 0, row_elements = 0;
    bg_h5_dataset_pieces(dataset, &rows, &piece, &row_elements);
    char place[64], a[72], b[72];
    int64_t row = (first + i) / row_elements, item = (first + i) % row_elements;
    if (row_elements > 1)
        (void)snprintf(place, sizeof place, "row %" PRId64 ", item %" PRId64, row, item);
    else
        (void)snprintf(place, sizeof place, "row %" PRId64, row);
    if (dataset->is_text) {
        (void)snprintf(a, sizeof a, "\"%.60s\"", x);
        (void)snprintf(b, sizeof b, "\"%.60s\"", y);
    } else {
        value_text(dataset->info.type, x, a);
        value_text(dataset->info.type, y, b);
    }
    DIFFER(c, "%.250s: %s: %s against %s", name, place, a, b);
}

static enum bg_status compare_data(const struct comparison *c, const char *name,
                                   const struct bg_h5_dataset *x, const struct bg_h5_dataset *y)
{
    enum bg_status rc = BG_OK;
    char *buffers[2] = {NULL, NULL};
    int64_t rows = 0, piece = 0, row_elements = 0;
    bg_h5_dataset_pieces(x, &rows, &piece, &row_elements);
    if (x->count == 0)
        return BG_OK;
    for (int i = 0; i < 2; i++)
        TRY(bg_alloc(&buffers[i], piece * row_elements, x->item));
    for (int64_t row = 0; row < rows && *c->same; row += piece) {
        const int64_t range[2] = {row, rows - row < piece ? rows - row : piece};
        TRY(bg_h5_dataset_rows(c->a, name, x, range, buffers[0]));
        TRY(bg_h5_dataset_rows(c->b, name, y, range, buffers[1]));
        size_t bytes = (size_t)(range[1] * row_elements) * x->item;
        const char *const both[2] = {buffers[0], buffers[1]};
        if (memcmp(buffers[0], buffers[1], bytes) != 0)
            tell(c, name, x, row * row_elements, both);
    }
out:
    bg_free(buffers[0]);
    bg_free(buffers[1]);
    return rc;
}

static void shape_text(const struct bg_h5_object *object, char out[120])
{
    size_t used = (size_t)snprintf(out, 120, "%s",
                                   object->is_group  ? "group"
                                   : object->is_text ? "texts"
                                                     : bg_h5_type_name(object->info.type));
    for (int i = 0; i < object->info.rank; i++)
        used += (size_t)snprintf(out + used, 120 - used, "%s%" PRId64, i ? "x" : " ",
                                 object->info.dims[i]);
}

static enum bg_status compare_attributes(const struct comparison *c, const char *name)
{
    enum bg_status rc = BG_OK;
    struct bg_text x, y;
    bg_text_init(&x, ATTRIBUTE_BYTES);
    bg_text_init(&y, ATTRIBUTE_BYTES);
    TRY(bg_h5_attributes(c->a, name, &x));
    TRY(bg_h5_attributes(c->b, name, &y));
    TRY(bg_text_check(&x));
    TRY(bg_text_check(&y));
    const char *p = bg_text_string(&x), *q = bg_text_string(&y);
    while (*p || *q) {
        size_t n = strcspn(p, "\n"), m = strcspn(q, "\n");
        if (n != m || memcmp(p, q, n) != 0) {
            DIFFER(c, "%.120s: attribute %.*s%s against %.*s%s", name[0] ? name : "/",
                   n < 150 ? (int)n : 150, p, n ? "" : "(none)", m < 150 ? (int)m : 150, q,
                   m ? "" : "(none)");
            break;
        }
        p += n + (p[n] == '\n');
        q += m + (q[m] == '\n');
    }
out:
    bg_text_free(&x);
    bg_text_free(&y);
    return rc;
}

static enum bg_status compare_object(const struct comparison *c, const struct bg_h5_object *a,
                                     const struct bg_h5_object *b)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset x = {.id = H5I_INVALID_HID, .memory_type = H5I_INVALID_HID}, y = x;
    char shape_a[120], shape_b[120];
    shape_text(a, shape_a);
    shape_text(b, shape_b);
    if (strcmp(shape_a, shape_b) != 0) {
        DIFFER(c, "%.250s: %s against %s", a->name, shape_a, shape_b);
        return BG_OK;
    }
    TRY(compare_attributes(c, a->name));
    if (!*c->same || a->is_group)
        goto out;
    TRY(bg_h5_dataset_open(c->a, a->name, &x));
    TRY(bg_h5_dataset_open(c->b, a->name, &y));
    if (x.item != y.item) {
        DIFFER(c, "%.250s: texts of %zu bytes against %zu", a->name, x.item - 1, y.item - 1);
        goto out;
    }
    TRY(compare_data(c, a->name, &x, &y));
out:
    bg_h5_dataset_close(&x);
    bg_h5_dataset_close(&y);
    return rc;
}

static enum bg_status compare_lists(const struct comparison *c, const struct list *x,
                                    const struct list *y)
{
    enum bg_status rc = BG_OK;
    for (int64_t i = 0; *c->same && (i < x->count || i < y->count); i++) {
        const struct bg_h5_object *a = i < x->count ? &x->at[i] : NULL;
        const struct bg_h5_object *b = i < y->count ? &y->at[i] : NULL;
        if (a && (!b || by_walk(a->name, b->name) < 0))
            DIFFER(c, "%.250s: in the first file only", a->name);
        else if (b && (!a || by_walk(a->name, b->name) > 0))
            DIFFER(c, "%.250s: in the second file only", b->name);
        else if (a && b)
            TRY(compare_object(c, a, b));
    }
out:
    return rc;
}

enum bg_status bg_h5_compare(struct bg_h5 *a, struct bg_h5 *b, const char *const *ignore,
                             bool *same, char difference[512])
{
    enum bg_status rc = BG_OK;
    struct list x = {.ignore = ignore}, y = {.ignore = ignore};
    const struct comparison c = {.a = a, .b = b, .same = same, .difference = difference};
    *same = true;
    difference[0] = '\0';
    bg_h5_quiet();
    TRY(bg_arena_create(&x.arena, "compare"));
    y.arena = x.arena;
    TRY(bg_h5_walk(a, collect, &x));
    TRY(bg_h5_walk(b, collect, &y));
    if (!is_ignored(ignore, ""))
        TRY(compare_attributes(&c, ""));
    TRY(compare_lists(&c, &x, &y));
out:
    bg_free(x.at);
    bg_free(y.at);
    bg_arena_destroy(x.arena);
    return rc;
}
