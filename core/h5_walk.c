/* Walking over all objects of a file in name order, groups before what they hold.
 *
 * Hard links can form circles and lattices in hostile files: depth and the number of objects seen
 * are limited. */
#include <stdio.h>
#include <string.h>

#include "core/h5_private.h"
#include "core/mem.h"

struct walk {
    const struct bg_h5 *file;
    const struct bg_h5_walker *walker;
    int depth;
    int64_t seen;
    unsigned errors; /* bg_h5_error_count at the start */
    enum bg_status rc;
    char path[BG_H5_NAME_MAX];
};

static herr_t see_link(hid_t group, const char *name, const H5L_info_t *link, void *self);

static enum bg_status descend(struct walk *walk, hid_t group)
{
    hsize_t at = 0;
    if (walk->depth == BG_H5_DEPTH_MAX)
        return bg_fail(BG_E_DATA, "%s: %s: groups are nested deeper than %d", walk->file->path,
                       walk->path, BG_H5_DEPTH_MAX);
    walk->depth++;
    walk->rc = BG_OK;
    herr_t end = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, &at, see_link, walk);
    walk->depth--;
    if (end >= 0 || walk->rc != BG_OK)
        return walk->rc;
    return bg_h5_error(BG_E_DATA, walk->file, walk->path, "cannot be listed");
}

/* Looks at the object now in walk->path. */
static enum bg_status see_object(struct walk *walk)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_object object = {.name = walk->path};
    struct bg_h5_dataset dataset;
    hid_t id = H5I_INVALID_HID;
    if (++walk->seen > BG_H5_OBJECTS_MAX)
        FAIL(BG_E_DATA, "%s: more than %d objects", walk->file->path, BG_H5_OBJECTS_MAX);
    TRY(bg_h5_object_open(walk->file, walk->path, &id, &object.is_group));
    if (object.is_group) {
        TRY(walk->walker->see(walk->walker->self, &object));
        TRY(descend(walk, id));
        goto out;
    }
    rc = bg_h5_dataset_open(walk->file, walk->path, &dataset);
    if (rc == BG_OK) {
        object.info = dataset.info;
        object.is_text = dataset.is_text;
        bg_h5_dataset_close(&dataset);
    }
    if (rc == BG_OK || walk->walker->tolerant)
        TRY(walk->walker->see(walk->walker->self, &object));
out:
    if (id >= 0)
        (void)H5Oclose(id);
    return rc;
}

static herr_t see_link(hid_t group, const char *name, const H5L_info_t *link, void *self)
{
    struct walk *walk = self;
    size_t before = strlen(walk->path);
    (void)group;
    (void)link;
    int wrote =
        snprintf(walk->path + before, sizeof walk->path - before, "%s%s", before ? "/" : "", name);
    enum bg_status rc = BG_OK;
    if (wrote < 0 || (size_t)wrote >= sizeof walk->path - before)
        rc = bg_fail(BG_E_DATA, "%s: an object's path is longer than %zu bytes", walk->file->path,
                     sizeof walk->path - 1);
    else
        rc = see_object(walk);
    walk->path[before] = '\0';
    if (walk->walker->tolerant && walk->seen <= BG_H5_OBJECTS_MAX &&
        walk->errors == bg_h5_error_count())
        rc = BG_OK;
    walk->rc = rc;
    return rc == BG_OK ? 0 : -1;
}

enum bg_status bg_h5_visit(const struct bg_h5 *file, const struct bg_h5_walker *walker)
{
    enum bg_status rc = BG_OK;
    struct walk *walk = NULL;
    hid_t root = H5I_INVALID_HID;
    bool is_group = false;
    TRY(bg_alloc(&walk, 1, sizeof *walk));
    walk->file = file;
    walk->walker = walker;
    walk->errors = bg_h5_error_count();
    TRY(bg_h5_object_open(file, "", &root, &is_group));
    TRY(descend(walk, root));
out:
    if (root >= 0)
        (void)H5Oclose(root);
    bg_free(walk);
    return rc;
}

enum bg_status bg_h5_walk(struct bg_h5 *file,
                          enum bg_status (*see)(void *self, const struct bg_h5_object *object),
                          void *self)
{
    const struct bg_h5_walker walker = {.see = see, .self = self};
    return bg_h5_visit(file, &walker);
}
