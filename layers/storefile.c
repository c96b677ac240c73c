/* model/store/<name>: codes, below, sum, momentum and shift as integers, the spec and the counts as
 * attributes; those that came later stand there when they are not 0. Sizes are the parameter's, so
 * that a file cannot ask for memory; numbers are checked by bg_store_valid before they reach a
 * network. */
#include "layers/storefile.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define ROOM (BG_NAME_MAX + 40)

static const char *const spec_names[] = {"form",     "bits",   "low",   "buffer",    "half",
                                         "momentum", "room",   "moves", "gradients", "finer",
                                         "exponent", "second", "over"};
static const char *const top_names[] = {"top", "second_top"}; /* floating point */
static const char *const count_names[] = {"updates", "written", "saturated", "lost",
                                          "kept",    "beyond",  "dropped"};
enum { SPECS = 13, ALWAYS_SPECS = 7, COUNTS = 7, ALWAYS_COUNTS = 6 };

struct part {
    const char *name;
    void *data;
    enum bg_h5_type type;
    int64_t count, bytes;
};
enum { PARTS = 5 };

static void parts_of(const struct bg_store *store, struct part out[PARTS])
{
    static const enum bg_h5_type types[] = {BG_H5_U8, BG_H5_U8, BG_H5_U16, BG_H5_U32, BG_H5_U32};
    const int codes = store->code_bytes, below = store->below_bytes;
    const enum bg_h5_type code_type = codes == 1 ? BG_H5_S8 : BG_H5_S16;
    const struct part parts[PARTS] = {
        {"codes", store->codes, code_type, store->count, codes},
        {"below", store->below, types[below], store->count, below},
        {"sum", store->sum, BG_H5_S32, store->count, (int64_t)sizeof *store->sum},
        {"momentum", store->momentum, BG_H5_U16, store->count, store->momentum_bytes},
        {"shift", store->shift, BG_H5_U8, store->channels, 1}};
    memcpy(out, parts, sizeof parts);
}

enum bg_status bg_storefile_save(const struct bg_store *store, const char *name, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    char group[ROOM], path[ROOM + 16];
    struct part part[PARTS];
    const struct bg_store_spec *s = &store->spec;
    const int64_t spec[SPECS] = {s->form,        s->bits,        s->low,   s->buffer,    s->half,
                                 s->momentum,    s->room,        s->moves, s->gradients, s->finer,
                                 s->exponent[0], s->exponent[1], s->over};
    const int64_t counts[COUNTS] = {store->updates, store->written, store->saturated, store->lost,
                                    store->kept,    store->beyond,  store->dropped};

    (void)snprintf(group, sizeof group, "model/store/%s", name);
    parts_of(store, part);
    for (int i = 0; i < PARTS; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", group, part[i].name);
        if (part[i].data != NULL)
            TRY(bg_h5_write(file, path, part[i].type, 1, &part[i].count, part[i].data, false));
    }
    for (int i = 0; i < SPECS; i++)
        if (i < ALWAYS_SPECS || spec[i] != 0)
            TRY(bg_h5_set_int(file, group, spec_names[i], spec[i]));
    for (int i = 0; i < 2 && s->form == BG_STORE_FLOAT; i++)
        TRY(bg_h5_set_int(file, group, top_names[i], store->top[i]));
    for (int i = 0; i < COUNTS; i++)
        if (i < ALWAYS_COUNTS || counts[i] != 0)
            TRY(bg_h5_set_int(file, group, count_names[i], counts[i]));
out:
    return rc;
}

/* 0 where there is none and none need be. */
static enum bg_status read_number(struct bg_h5 *file, const char *group, const char *name,
                                  bool always, int64_t *out)
{
    enum bg_status rc = bg_h5_get_int(file, group, name, out);

    if (rc == BG_E_NOT_FOUND && !always) {
        bg_error_clear();
        *out = 0;
        rc = BG_OK;
    }
    return rc;
}

static enum bg_status read_spec(struct bg_h5 *file, const char *group, struct bg_store_spec *out)
{
    enum bg_status rc = BG_OK;
    static const int64_t most[SPECS] = {BG_STORE_FLOAT,     BG_BITS_MAX, BG_STORE_LOW_MAX,
                                        BG_STORE_LOW_MAX,   1,           BG_STORE_MOMENTA - 1,
                                        BG_STORE_LOW_MAX,   1,           BG_STORE_SUM_MOST,
                                        BG_STORE_FINER_MAX, 8,           8,
                                        BG_STORE_LOW_MAX};
    int64_t value[SPECS] = {0};

    for (int i = 0; i < SPECS; i++) {
        TRY(read_number(file, group, spec_names[i], i < ALWAYS_SPECS, &value[i]));
        if (value[i] < 0 || value[i] > most[i])
            FAIL(BG_E_DATA, "%s: %s is %" PRId64 ", limits are 0 and %" PRId64, group,
                 spec_names[i], value[i], most[i]);
    }
    *out = (struct bg_store_spec){.form = (enum bg_store_form)value[0],
                                  .bits = (int)value[1],
                                  .low = (int)value[2],
                                  .buffer = (int)value[3],
                                  .half = value[4] != 0,
                                  .momentum = (enum bg_store_momentum)value[5],
                                  .room = (int)value[6],
                                  .moves = value[7] != 0,
                                  .gradients = (int)value[8],
                                  .finer = (int)value[9],
                                  .exponent = {(int)value[10], (int)value[11]},
                                  .over = (int)value[12]};
out:
    return rc;
}

/* What the plan says of the layer, as far as it does. */
static enum bg_status check_plan(const struct bg_param *param, const struct bg_store_spec *spec,
                                 const char *group)
{
    enum bg_status rc = BG_OK;
    const bool floats = spec->form == BG_STORE_FLOAT;
    const int bits = spec->form == BG_STORE_BUFFER || floats ? spec->buffer : spec->low;

    if (floats && param->quantizer != NULL)
        FAIL(BG_E_MISMATCH, "%s: small floats in the file, integers in the network's plan", group);
    if (!floats && (param->quantizer == NULL || param->quantizer->grid.binary))
        FAIL(BG_E_MISMATCH, "%s: %d-bit integers in the file, the network's plan has none", group,
             spec->bits);
    if (!floats && param->quantizer->grid.bits != spec->bits)
        FAIL(BG_E_MISMATCH, "%s: weights of %d bits in the file, %d in the network's plan", group,
             spec->bits, param->quantizer->grid.bits);
    if (param->update_bits != 0 && bg_plan_bits(param->update_bits) != bits)
        FAIL(BG_E_MISMATCH, "%s: %d bits in the file, the network's plan asks for u=%s:%d", group,
             bits, param->update, bg_plan_bits(param->update_bits));
out:
    return rc;
}

static enum bg_status read_tops(struct bg_h5 *file, const char *group, struct bg_store *store)
{
    enum bg_status rc = BG_OK;

    for (int i = 0; i < 2 && store->spec.form == BG_STORE_FLOAT; i++) {
        int64_t top = 0;
        TRY(bg_h5_get_int(file, group, top_names[i], &top));
        if (top < BG_FLOAT_LEAST || top > BG_FLOAT_TOP)
            FAIL(BG_E_DATA, "%s: %s is %" PRId64 ", limits are %d and %d", group, top_names[i], top,
                 BG_FLOAT_LEAST, BG_FLOAT_TOP);
        store->top[i] = (int)top;
        const struct bg_float_format format = bg_store_format(store, (enum bg_float_part)i);
        if (format.least - format.mantissa < BG_FLOAT_LEAST)
            FAIL(BG_E_DATA, "%s: %s is %" PRId64 ": smallest numbers of 2^%d, limit is 2^%d", group,
                 top_names[i], top, format.least - format.mantissa, BG_FLOAT_LEAST);
    }
out:
    return rc;
}

static enum bg_status read_counts(struct bg_h5 *file, const char *group, struct bg_store *store)
{
    enum bg_status rc = BG_OK;
    int64_t *const to[COUNTS] = {&store->updates, &store->written, &store->saturated, &store->lost,
                                 &store->kept,    &store->beyond,  &store->dropped};

    for (int i = 0; i < COUNTS; i++) {
        TRY(read_number(file, group, count_names[i], i < ALWAYS_COUNTS, to[i]));
        if (*to[i] < 0 || *to[i] > INT64_MAX / 2)
            FAIL(BG_E_DATA, "%s: %s is %" PRId64, group, count_names[i], *to[i]);
    }
out:
    return rc;
}

enum bg_status bg_storefile_read(struct bg_h5 *file, const struct bg_param *param,
                                 struct bg_store **out)
{
    enum bg_status rc = BG_OK;
    char group[ROOM], path[ROOM + 16];
    struct bg_store_spec spec;
    struct bg_store *store = NULL;
    struct part part[PARTS];

    *out = NULL;
    (void)snprintf(group, sizeof group, "model/store/%s", param->name);
    if (param->kind != BG_PARAM_WEIGHT || !bg_h5_has(file, group))
        goto out;
    TRY(read_spec(file, group, &spec));
    TRY(check_plan(param, &spec, group));
    TRY(bg_store_make(&store, &spec, bg_tensor_count(&param->value),
                      spec.form == BG_STORE_FLOAT ? 1 : param->quantizer->grid.channels));
    parts_of(store, part);
    for (int i = 0; i < PARTS; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", group, part[i].name);
        if (part[i].data != NULL)
            TRY(bg_h5_read(file, path, part[i].type, 1, &part[i].count, part[i].data,
                           part[i].count * part[i].bytes));
    }
    TRY(read_tops(file, group, store));
    TRY(read_counts(file, group, store));
    *out = store;
    store = NULL;
out:
    if (rc != BG_OK && strstr(bg_error(), group) == NULL)
        (void)bg_fail_prefix(rc, "%s: ", group);
    bg_store_free(store);
    return rc;
}
