/* What a snapshot holds; files are read into one before anything in a network changes. */
#ifndef BG_LAYERS_SNAPSHOT_H
#define BG_LAYERS_SNAPSHOT_H

#include "core/param.h"
#include "layers/net.h"

struct bg_saved_param {
    char name[BG_NAME_MAX];
    enum bg_param_kind kind;
    struct bg_shape shape;
    float *value, *state;   /* owned; NULL = not held */
    struct bg_store *store; /* owned: in place of value; its grid is a quantizer's */
};

struct bg_saved_quantizer {
    char name[BG_NAME_MAX];
    struct bg_spec spec;
    struct bg_grid grid; /* scale is `numbers` */
    int64_t observed;
    float *numbers; /* owned: scale, lo, hi, grid.channels values each */
};

struct bg_snapshot {
    int params, quantizers;
    struct bg_saved_param *param;
    struct bg_saved_quantizer *quantizer;
};

/* Room for these many entries, all empty. Free with bg_snapshot_free. */
BG_MUST enum bg_status bg_snapshot_make(struct bg_snapshot **out, int params, int quantizers);
/* Takes name, spec and grid of a quantizer and makes room for its numbers. */
BG_MUST enum bg_status bg_snapshot_take_grid(struct bg_saved_quantizer *out,
                                             const struct bg_quantizer *from);
/* Values that may enter a network: all finite, running variances not negative. `file` is for the
 * sentence. */
BG_MUST enum bg_status bg_snapshot_check_value(const struct bg_saved_param *param,
                                               const char *file);
/* "weight", "bias", "gamma", ... as files name them. */
const char *bg_param_kind_name(enum bg_param_kind kind);

#endif
