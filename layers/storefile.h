/* A store of integer weights (core/store.h) in a checkpoint: the group model/store/<name>. */
#ifndef BG_LAYERS_STOREFILE_H
#define BG_LAYERS_STOREFILE_H

#include "core/h5.h"
#include "core/store.h"

BG_MUST enum bg_status bg_storefile_save(const struct bg_store *store, const char *name,
                                         struct bg_h5 *file);
/* NULL when the file has none for this parameter. BG_E_MISMATCH when the parameter's grid has other
 * bits or channels, or its plan another method or width. */
BG_MUST enum bg_status bg_storefile_read(struct bg_h5 *file, const struct bg_param *param,
                                         struct bg_store **out);

#endif
