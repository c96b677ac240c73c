/* Inside layers: what the files of the export share: where arrays go (export_npz.c, export_h5.c),
 * how they are called, and the description (export_describe.c). */
#ifndef BG_LAYERS_EXPORT_PRIVATE_H
#define BG_LAYERS_EXPORT_PRIVATE_H

#include "core/npz_write.h"
#include "core/text.h"
#include "layers/export_integer.h"

struct bg_export_array {
    const char *name;
    enum bg_npz_type type;
    int rank;
    int64_t dims[5];
    const void *data;
};

/* A file that takes arrays, and its two kinds. `finish` completes and closes; it frees in any case,
 * and fails when an array before could not be written. */
struct bg_export_sink {
    void *self;
    enum bg_status (*put)(void *self, const struct bg_export_array *array);
    enum bg_status (*finish)(void *self);
};
BG_MUST enum bg_status bg_export_npz_open(struct bg_export_sink *out, const char *path);
BG_MUST enum bg_status bg_export_h5_open(struct bg_export_sink *out, const char *path);

/* Names of arrays. `term` -1 = of the step itself. Return out. */
#define BG_EXPORT_NAME_MAX 64
const char *bg_export_step_name(char out[BG_EXPORT_NAME_MAX], int step, int term, const char *what);
const char *bg_export_golden_name(char out[BG_EXPORT_NAME_MAX], int tensor);
#define BG_EXPORT_GOLDEN_INPUT  "golden/input"
#define BG_EXPORT_GOLDEN_LABELS "golden/labels"

const struct bg_sample_spec *bg_export_input(const struct bg_integer_model *model);
/* The description for `samples` golden inputs. */
void bg_export_describe(const struct bg_integer_model *model, const char *network_name,
                        int64_t samples, struct bg_text *out);

#endif
