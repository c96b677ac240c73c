/* Exported integers as an .h5 file: the same names as in an .npz file, with kind and schema as
 * attributes of the root. */
#include "core/h5.h"
#include "layers/export_private.h"

static const enum bg_h5_type types[] = {[BG_NPZ_U8] = BG_H5_U8,
                                        [BG_NPZ_S8] = BG_H5_S8,
                                        [BG_NPZ_S32] = BG_H5_S32,
                                        [BG_NPZ_S64] = BG_H5_S64,
                                        [BG_NPZ_F32] = BG_H5_F32};

static enum bg_status put(void *self, const struct bg_export_array *array)
{
    return bg_h5_write((struct bg_h5 *)self, array->name, types[array->type], array->rank,
                       array->dims, array->data, false);
}

static enum bg_status finish(void *self)
{
    return bg_h5_close((struct bg_h5 *)self);
}

enum bg_status bg_export_h5_open(struct bg_export_sink *out, const char *path)
{
    struct bg_h5 *file = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_h5_create(&file, path));
    TRY(bg_h5_set_text(file, "", "kind", "integers"));
    TRY(bg_h5_set_int(file, "", "schema", BG_EXPORT_VERSION));
    *out = (struct bg_export_sink){.self = file, .put = put, .finish = finish};
    file = NULL;
out:
    if (file && bg_h5_close(file) != BG_OK)
        return rc; /* the first failure is the one to tell */
    return rc;
}
