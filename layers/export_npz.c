/* Exported integers as an .npz file. */
#include "layers/export_private.h"

static enum bg_status put(void *self, const struct bg_export_array *array)
{
    return bg_npz_add((struct bg_npz_writer *)self, array->name, array->type, array->rank,
                      array->dims, array->data);
}

static enum bg_status finish(void *self)
{
    return bg_npz_finish((struct bg_npz_writer *)self);
}

enum bg_status bg_export_npz_open(struct bg_export_sink *out, const char *path)
{
    struct bg_npz_writer *writer = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_npz_create(&writer, path));
    *out = (struct bg_export_sink){.self = writer, .put = put, .finish = finish};
out:
    return rc;
}
