/* The plan as a value: make, copy, compare, find, print. The reader is core/plan_parse.c. */
#include "core/plan.h"

#include <string.h>

#include "core/mem.h"
#include "core/plan_private.h"

bool bg_plan_is_name(const char *name)
{
    if (name[0] == '\0' || strcmp(name, "requant") == 0)
        return false;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c <= 0x20 || c == 0x7f || c == '#' || c == '=')
            return false;
    }
    return true;
}

void bg_plan_layer_default(struct bg_plan_layer *layer)
{
    memset(layer, 0, sizeof *layer); /* every spec f32, update_bits 0 */
    memcpy(layer->update, "sgd", sizeof "sgd");
}

enum bg_status bg_plan_make(struct bg_plan *out, const char *const *names, int count)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_plan){.requant = "f32-rne"};
    if (count < 0 || count > BG_PLAN_LAYERS_MAX)
        FAIL(BG_E_RANGE, "plan: %d layers, limit is %d", count, BG_PLAN_LAYERS_MAX);
    TRY(bg_alloc(&out->layer, count, sizeof *out->layer));
    for (int i = 0; i < count; i++) {
        if (!bg_plan_is_name(names[i]))
            FAIL(BG_E_DATA,
                 "plan: \"%.60s\" cannot name a layer (no spaces, no '#', no '=', not 'requant')",
                 names[i]);
        if (bg_plan_find(out, names[i]))
            FAIL(BG_E_DATA, "plan: two layers are named %.60s", names[i]);
        bg_plan_layer_default(&out->layer[i]);
        TRY(bg_text_copy(out->layer[i].name, sizeof out->layer[i].name, names[i]));
        out->count = i + 1;
    }
out:
    if (rc != BG_OK)
        bg_plan_free(out);
    return rc;
}

void bg_plan_free(struct bg_plan *plan)
{
    bg_free(plan->layer);
    *plan = (struct bg_plan){0};
}

enum bg_status bg_plan_copy(struct bg_plan *out, const struct bg_plan *from)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_plan){0};
    TRY(bg_alloc(&out->layer, from->count, sizeof *out->layer));
    memcpy(out->requant, from->requant, sizeof out->requant);
    if (from->count)
        memcpy(out->layer, from->layer, (size_t)from->count * sizeof *out->layer);
    out->count = from->count;
out:
    return rc;
}

struct bg_plan_layer *bg_plan_find(const struct bg_plan *plan, const char *name)
{
    for (int i = 0; i < plan->count; i++) {
        if (strcmp(plan->layer[i].name, name) == 0)
            return &plan->layer[i];
    }
    return NULL;
}

struct bg_spec bg_spec_integer(int bits, bool per_channel)
{
    if (bits == 0 || bits == 32)
        return (struct bg_spec){.format = BG_FORMAT_F32};
    return (struct bg_spec){.format = BG_FORMAT_INTEGER, .bits = bits, .per_channel = per_channel};
}

int bg_spec_bits(const struct bg_spec *spec)
{
    if (spec->format == BG_FORMAT_INTEGER)
        return spec->bits;
    return spec->format == BG_FORMAT_BF16 ? 16 : 32;
}

static bool spec_equal(const struct bg_spec *a, const struct bg_spec *b, enum bg_role role)
{
    if (a->format != b->format)
        return false;
    if (a->format != BG_FORMAT_INTEGER)
        return true;
    return a->bits == b->bits && (role == BG_ROLE_ACTIVATION || a->per_channel == b->per_channel);
}

bool bg_plan_equal(const struct bg_plan *a, const struct bg_plan *b)
{
    if (a->count != b->count || strcmp(a->requant, b->requant) != 0)
        return false;
    for (int i = 0; i < a->count; i++) {
        const struct bg_plan_layer *x = &a->layer[i], *y = &b->layer[i];
        if (strcmp(x->name, y->name) != 0 || strcmp(x->update, y->update) != 0 ||
            x->update_bits != y->update_bits)
            return false;
        for (int role = 0; role < BG_ROLES; role++) {
            if (!spec_equal(&x->spec[role], &y->spec[role], (enum bg_role)role))
                return false;
        }
    }
    return true;
}

const char *const bg_plan_keys[BG_ROLES + 1] = {"w", "a", "g", "dw", "u"};

static void print_spec(const struct bg_spec *spec, enum bg_role role, struct bg_text *text)
{
    bg_text_add(text, "  %s=", bg_plan_keys[role]);
    if (spec->format == BG_FORMAT_F32)
        bg_text_add(text, "f32");
    else if (spec->format == BG_FORMAT_BF16)
        bg_text_add(text, "bf16");
    else
        bg_text_add(text, "%c%d", role == BG_ROLE_ACTIVATION ? 'u' : 's', spec->bits);
    if (spec->format == BG_FORMAT_INTEGER && role != BG_ROLE_ACTIVATION)
        bg_text_add(text, "/%s", spec->per_channel ? "channel" : "tensor");
}

void bg_plan_print(const struct bg_plan *plan, struct bg_text *text)
{
    bg_text_add(text, "requant %s\n", plan->requant);
    for (int i = 0; i < plan->count; i++) {
        const struct bg_plan_layer *layer = &plan->layer[i];
        bg_text_add(text, "%s", layer->name);
        for (int role = 0; role < BG_ROLES; role++)
            print_spec(&layer->spec[role], (enum bg_role)role, text);
        bg_text_add(text, "  u=%s", layer->update);
        if (layer->update_bits)
            bg_text_add(text, ":%d", bg_plan_bits(layer->update_bits));
        bg_text_add(text, "\n");
    }
}
