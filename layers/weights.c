/* Initial weights from a file: .npz with arrays named as parameters, or the parameters of a
 * checkpoint. All arrays are read and checked first; then all are taken. Learned steps are no
 * weights: they belong to a plan and come with bg_net_load alone. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/npz.h"
#include "layers/netfile.h"

#define MOST_PARAMS 4096

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

static enum bg_status unknown_array(const struct bg_net *net, const char *path, const char *name)
{
    const char *names[MOST_PARAMS];
    int count = 0;
    for (; count < bg_graph_param_count(net->graph) && count < MOST_PARAMS; count++)
        names[count] = bg_graph_param(net->graph, count)->name;
    const char *nearest = bg_text_nearest(name, names, count);
    if (nearest)
        return bg_fail(BG_E_DATA,
                       "%s: array %s: network %s has no such parameter, did you mean %s?", path,
                       name, net->name, nearest);
    return bg_fail(BG_E_DATA, "%s: array %s: network %s has no such parameter", path, name,
                   net->name);
}

static enum bg_status read_array(const struct bg_net *net, struct bg_npz *npz, const char *path,
                                 const char *name, struct bg_saved_param *out)
{
    enum bg_status rc = BG_OK;
    char a[64], b[64];
    const struct bg_param *param = bg_graph_param_find(net->graph, name);
    if (param == NULL || param->kind == BG_PARAM_STEP)
        return unknown_array(net, path, name);
    memcpy(out->name, param->name, sizeof out->name);
    out->kind = param->kind;
    TRY(bg_npz_read_f32(npz, name, &out->shape, &out->value));
    if (!bg_shape_equal(&out->shape, &param->value.shape))
        FAIL(BG_E_DATA, "%s: array %s is %s, parameter %s of network %s is %s", path, name,
             bg_shape_text(&out->shape, a), param->name, net->name,
             bg_shape_text(&param->value.shape, b));
    TRY(bg_snapshot_check_value(out, path));
out:
    return rc;
}

static enum bg_status read_npz(const struct bg_net *net, const char *path, struct bg_snapshot **out)
{
    enum bg_status rc = BG_OK;
    struct bg_npz *npz = NULL;
    TRY(bg_npz_open(&npz, path));
    if (bg_npz_count(npz) == 0)
        FAIL(BG_E_DATA, "%s: no arrays in it", path);
    TRY(bg_snapshot_make(out, bg_npz_count(npz), 0));
    for (int i = 0; i < bg_npz_count(npz); i++)
        TRY(read_array(net, npz, path, bg_npz_name(npz, i), &(*out)->param[i]));
out:
    bg_npz_close(npz);
    return rc;
}

static enum bg_status read_params(const struct bg_net *net, struct bg_h5 *file,
                                  struct bg_snapshot **out)
{
    enum bg_status rc = BG_OK;
    char name[BG_NAME_MAX + 16];
    TRY(bg_netfile_check_names(net, file));
    TRY(bg_snapshot_make(out, bg_graph_param_count(net->graph), 0));
    for (int i = 0; i < (*out)->params; i++) {
        const struct bg_param *param = bg_graph_param(net->graph, i);
        snprintf(name, sizeof name, "model/param/%s", param->name);
        if (param->kind != BG_PARAM_STEP && bg_h5_has(file, name))
            TRY(bg_netfile_read_param(file, param, false, &(*out)->param[i]));
    }
out:
    return rc;
}

static enum bg_status read_checkpoint(const struct bg_net *net, const char *path,
                                      struct bg_snapshot **out)
{
    enum bg_status rc = BG_OK;
    struct bg_h5 *file = NULL;
    TRY(bg_h5_open(&file, path));
    rc = read_params(net, file, out);
    if (rc != BG_OK && strstr(bg_error(), path) == NULL)
        (void)bg_fail_prefix(rc, "%s: ", path);
    /* closing a file that was only read cannot lose anything; the first failure stands */
    enum bg_status closed = bg_h5_close(file);
    rc = rc != BG_OK ? rc : closed;
out:
    return rc;
}

/* Says what was taken, and names the parameters that keep their initial value. */
static void report(const struct bg_net *net, const struct bg_snapshot *read, const char *path)
{
    int taken = 0, all = bg_graph_param_count(net->graph);
    for (int i = 0; i < all; i++) {
        const struct bg_param *param = bg_graph_param(net->graph, i);
        bool found = false;
        for (int k = 0; k < read->params && !found; k++)
            found = read->param[k].value && strcmp(read->param[k].name, param->name) == 0;
        taken += found;
        if (!found)
            bg_log(BG_LOG_WARN, "%s: no array for %s, it keeps its initial value", path,
                   param->name);
    }
    bg_log(BG_LOG_INFO, "%s: %d of %d parameters taken", path, taken, all);
}

enum bg_status bg_net_load_weights(struct bg_net *net, const char *path)
{
    enum bg_status rc = BG_OK;
    struct bg_snapshot *read = NULL;
    if (ends_with(path, ".npz"))
        TRY(read_npz(net, path, &read));
    else if (ends_with(path, ".h5"))
        TRY(read_checkpoint(net, path, &read));
    else
        FAIL(BG_E_UNSUPPORTED, "%s: weights are read from .npz and .h5 files", path);
    TRY(bg_net_restore(net, read));
    report(net, read, path);
out:
    bg_snapshot_free(read);
    return rc;
}
