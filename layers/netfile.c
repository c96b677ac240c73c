/* A network's state in an HDF5 file: model/param/<name> (f32 values, attribute `kind`),
 * model/state/<name> (optimizer state, trainable parameters only), and for each quantizer the group
 * model/quantizer/<name> with scale, lo, hi and the grid's numbers as attributes. Everything is
 * read and checked before the network changes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/h5.h"
#include "layers/netfile.h"
#include "layers/snapshot.h"
#include "layers/storefile.h"

#define PATH_ROOM 128

static const char *const number_names[3] = {"scale", "lo", "hi"};

/* The integers of a quantizer, in the order they are written. */
static const char *const integer_names[] = {"format", "bits", "per_channel", "signed",  "binary",
                                            "qmin",   "qmax", "zero_point",  "observed"};
enum { INTEGERS = 9, ZERO_POINT = 7, OBSERVED = 8 };

static void integers_of(const struct bg_spec *spec, const struct bg_grid *grid, int64_t observed,
                        int64_t out[INTEGERS])
{
    const int64_t values[INTEGERS] = {spec->format,    spec->bits,       spec->per_channel,
                                      grid->is_signed, grid->binary,     grid->qmin,
                                      grid->qmax,      grid->zero_point, observed};
    memcpy(out, values, sizeof values);
}

/* Real values are written of all parameters: whoever reads weights reads these. */
static enum bg_status save_values(const struct bg_param *param, const char *path,
                                  struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    const struct bg_shape *shape = &param->value.shape;
    int64_t count = bg_shape_count(shape);
    float *decoded = NULL;
    if (param->store) {
        TRY(bg_alloc(&decoded, count, sizeof *decoded));
        bg_param_read(param, 0, count, decoded);
    }
    TRY(bg_h5_write(file, path, BG_H5_F32, shape->rank, shape->dims,
                    decoded ? decoded : param->value.data, false));
    if (param->store)
        TRY(bg_storefile_save(param->store, param->name, file));
out:
    bg_free(decoded);
    return rc;
}

static enum bg_status save_param(const struct bg_param *param, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    char path[PATH_ROOM];
    const struct bg_shape *shape = &param->value.shape;
    snprintf(path, sizeof path, "model/param/%s", param->name);
    TRY(save_values(param, path, file));
    TRY(bg_h5_set_text(file, path, "kind", bg_param_kind_name(param->kind)));
    if (param->state.data) {
        snprintf(path, sizeof path, "model/state/%s", param->name);
        TRY(bg_h5_write(file, path, BG_H5_F32, shape->rank, shape->dims, param->state.data, false));
    }
out:
    return rc;
}

static enum bg_status save_quantizer(const struct bg_saved_quantizer *saved, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    char group[PATH_ROOM], path[PATH_ROOM + 8];
    int64_t integers[INTEGERS];
    snprintf(group, sizeof group, "model/quantizer/%s", saved->name);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", group, number_names[i]);
        TRY(bg_h5_write(file, path, BG_H5_F32, 1, &saved->grid.channels,
                        saved->numbers + i * saved->grid.channels, false));
    }
    integers_of(&saved->spec, &saved->grid, saved->observed, integers);
    for (int i = 0; i < INTEGERS; i++)
        TRY(bg_h5_set_int(file, group, integer_names[i], integers[i]));
    TRY(bg_h5_set_text(file, group, "grid", saved->grid.kind ? saved->grid.kind->name : "none"));
    TRY(bg_h5_set_text(file, group, "rounding", bg_rounding_names[saved->grid.rounding]));
out:
    return rc;
}

enum bg_status bg_net_save(const struct bg_net *net, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    struct bg_snapshot *now = NULL;
    TRY(bg_net_snapshot(net, &now));
    for (int i = 0; i < bg_graph_param_count(net->graph); i++)
        TRY(save_param(bg_graph_param(net->graph, i), file));
    for (int i = 0; i < now->quantizers; i++)
        TRY(save_quantizer(&now->quantizer[i], file));
out:
    bg_snapshot_free(now);
    return rc;
}

static enum bg_status read_floats(struct bg_h5 *file, const char *path,
                                  const struct bg_shape *shape, float **out)
{
    enum bg_status rc = BG_OK;
    int64_t count = bg_shape_count(shape);
    TRY(bg_alloc(out, count, sizeof(float)));
    TRY(bg_h5_read(file, path, BG_H5_F32, shape->rank, shape->dims, *out,
                   count * (int64_t)sizeof(float)));
out:
    return rc;
}

enum bg_status bg_netfile_read_param(struct bg_h5 *file, const struct bg_param *param,
                                     bool with_state, struct bg_saved_param *out)
{
    enum bg_status rc = BG_OK;
    char path[PATH_ROOM];
    memcpy(out->name, param->name, sizeof out->name);
    out->kind = param->kind;
    out->shape = param->value.shape;
    snprintf(path, sizeof path, "model/param/%s", param->name);
    TRY(read_floats(file, path, &out->shape, &out->value));
    if (with_state)
        TRY(bg_storefile_read(file, param, &out->store));
    if (out->store) {
        bg_free(out->value);
        out->value = NULL;
    }
    if (with_state && out->store && out->store->spec.momentum != BG_STORE_MOMENTUM_F32)
        goto out;
    if (with_state && param->kind <= BG_PARAM_STEP) {
        snprintf(path, sizeof path, "model/state/%s", param->name);
        TRY(read_floats(file, path, &out->shape, &out->state));
    }
    TRY(bg_snapshot_check_value(out, "model/param"));
out:
    return rc;
}

/* Numbers of a hostile file: a grid whose limits or scales are wild must not reach a kernel. */
static enum bg_status check_numbers(const struct bg_saved_quantizer *q)
{
    for (int64_t c = 0; c < q->grid.channels; c++) {
        const float *n = q->numbers + c;
        float lo = n[q->grid.channels], hi = n[2 * q->grid.channels];
        if (!isfinite(n[0]) || n[0] <= 0)
            return bg_fail(BG_E_DATA,
                           "model/quantizer/%s: scale %" PRId64
                           " is %g, must be finite and above 0",
                           q->name, c, (double)n[0]);
        if (isnan(lo) || isnan(hi))
            return bg_fail(BG_E_DATA, "model/quantizer/%s: range %" PRId64 " is %g to %g", q->name,
                           c, (double)lo, (double)hi);
    }
    return BG_OK;
}

static enum bg_status read_integers(struct bg_h5 *file, const char *group,
                                    struct bg_saved_quantizer *out)
{
    enum bg_status rc = BG_OK;
    int64_t expected[INTEGERS], value = 0;
    integers_of(&out->spec, &out->grid, out->observed, expected);
    for (int i = 0; i < INTEGERS; i++) {
        TRY(bg_h5_get_int(file, group, integer_names[i], &value));
        if (i < ZERO_POINT && value != expected[i])
            FAIL(BG_E_MISMATCH,
                 "%s: %s is %" PRId64 " in the file, %" PRId64 " in the network's plan", group,
                 integer_names[i], value, expected[i]);
        if (i == ZERO_POINT) {
            if (value < out->grid.qmin || value > out->grid.qmax)
                FAIL(BG_E_DATA, "%s: zero_point %" PRId64 ", limits are %d and %d", group, value,
                     out->grid.qmin, out->grid.qmax);
            if (out->grid.is_signed && value != 0)
                FAIL(BG_E_DATA, "%s: zero_point %" PRId64 ", weights have 0", group, value);
            out->grid.zero_point = (int32_t)value;
        }
        if (i == OBSERVED) {
            if (value < 0)
                FAIL(BG_E_DATA, "%s: observed %" PRId64 ", limit is 0", group, value);
            out->observed = value;
        }
    }
out:
    return rc;
}

static enum bg_status read_quantizer(struct bg_h5 *file, const struct bg_quantizer *quantizer,
                                     struct bg_saved_quantizer *out)
{
    enum bg_status rc = BG_OK;
    char group[PATH_ROOM], path[PATH_ROOM + 8], kind[BG_NAME_MAX];
    const char *expected = quantizer->grid.kind ? quantizer->grid.kind->name : "none";
    TRY(bg_snapshot_take_grid(out, quantizer));
    snprintf(group, sizeof group, "model/quantizer/%s", out->name);
    if (!bg_h5_has(file, group))
        FAIL(BG_E_MISMATCH, "%s: the network's plan quantizes it, the file holds no such grid",
             group);
    TRY(bg_h5_get_text(file, group, "grid", kind, sizeof kind));
    if (strcmp(kind, expected) != 0)
        FAIL(BG_E_MISMATCH, "%s: grid %s in the file, %s in the network", group, kind, expected);
    TRY(read_integers(file, group, out));
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", group, number_names[i]);
        TRY(bg_h5_read(file, path, BG_H5_F32, 1, &out->grid.channels,
                       out->numbers + i * out->grid.channels,
                       out->grid.channels * (int64_t)sizeof(float)));
    }
    TRY(check_numbers(out));
    if (quantizer->fixed && (out->numbers[0] != quantizer->grid.scale[0] ||
                             out->grid.zero_point != quantizer->grid.zero_point))
        FAIL(BG_E_MISMATCH, "%s: scale %g, zero_point %d; the data's bytes have %g, %d", group,
             (double)out->numbers[0], (int)out->grid.zero_point, (double)quantizer->grid.scale[0],
             (int)quantizer->grid.zero_point);
out:
    return rc;
}

struct walk {
    const struct bg_net *net;
    struct bg_h5 *file;
};

/* A parameter in the file that the network lacks belongs to another network, except a learned step:
 * those come and go with the plan. */
static enum bg_status see_object(void *self, const struct bg_h5_object *object)
{
    static const char prefix[] = "model/param/";
    const struct walk *walk = self;
    char kind[BG_NAME_MAX];
    if (object->is_group || strncmp(object->name, prefix, sizeof prefix - 1) != 0)
        return BG_OK;
    const char *name = object->name + sizeof prefix - 1;
    if (bg_graph_param_find(walk->net->graph, name))
        return BG_OK;
    enum bg_status rc = bg_h5_get_text(walk->file, object->name, "kind", kind, sizeof kind);
    if (rc == BG_OK && strcmp(kind, bg_param_kind_name(BG_PARAM_STEP)) != 0)
        rc = bg_fail(BG_E_MISMATCH, "%s: network %s has no such parameter", object->name,
                     walk->net->name);
    return rc;
}

enum bg_status bg_netfile_check_names(const struct bg_net *net, struct bg_h5 *file)
{
    struct walk walk = {.net = net, .file = file};
    if (!bg_h5_has(file, "model/param"))
        return bg_fail(BG_E_DATA, "the file has no model/param: it is not a checkpoint");
    return bg_h5_walk(file, see_object, &walk);
}

/* Grids have been read by now, so limits are those of this plan. */
static enum bg_status check_codes(const struct bg_net *net, const struct bg_saved_param *read)
{
    const struct bg_param *param = bg_graph_param_find(net->graph, read->name);
    if (!read->store)
        return BG_OK;
    return bg_store_valid(read->store, bg_param_grid(param), read->name);
}

enum bg_status bg_net_load(struct bg_net *net, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    struct bg_snapshot *read = NULL;
    TRY(bg_netfile_check_names(net, file));
    TRY(bg_snapshot_make(&read, bg_graph_param_count(net->graph),
                         bg_graph_quantizer_count(net->graph)));
    for (int i = 0; i < read->params; i++)
        TRY(bg_netfile_read_param(file, bg_graph_param(net->graph, i), true, &read->param[i]));
    for (int i = 0; i < read->quantizers; i++)
        TRY(read_quantizer(file, bg_graph_quantizer(net->graph, i), &read->quantizer[i]));
    for (int i = 0; i < read->params; i++)
        TRY(check_codes(net, &read->param[i]));
    TRY(bg_net_restore(net, read));
out:
    bg_snapshot_free(read);
    return rc;
}
