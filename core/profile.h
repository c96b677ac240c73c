/* The profile: what was measured per layer and role, over steps; it outlives the run as data.
 *
 * Rows are appended per recorded step (a batch at fixed weights, or a training step). Input and
 * output gradients are multiplied by the batch size before they are measured, so that values do not
 * depend on it (core/NUMERICS.md, "Profile"). Displacement rows are appended per cycle. */
#ifndef BG_CORE_PROFILE_H
#define BG_CORE_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stats.h"
#include "core/status.h"
#include "core/text.h"

enum bg_quantity {
    BG_QUANTITY_IN_GRAD,
    BG_QUANTITY_WEIGHT_GRAD,
    BG_QUANTITY_OUT_GRAD,
    BG_QUANTITIES
};
extern const char *const bg_quantity_names[BG_QUANTITIES]; /* "input", "weight", "output" */

enum bg_reference {
    BG_REFERENCE_INITIAL,
    BG_REFERENCE_PREVIOUS,
    BG_REFERENCE_RESET,
    BG_REFERENCES
};
extern const char *const bg_reference_names[BG_REFERENCES]; /* "initial", "previous", "reset" */

struct bg_profile {
    int layers;
    char (*names)[BG_NAME_MAX];
    int64_t *weight_count;            /* [layers] */
    int64_t *channels[BG_QUANTITIES]; /* [layers] channels of that quantity */
    bool per_channel;
    /* gradient rows: stats[row][quantity][layer] */
    int64_t rows, row_room;
    int64_t *row_step;
    struct bg_stats *stats; /* rows * BG_QUANTITIES * layers */
    double *channel_square; /* mean squares, rows x (sum of channels over quantity, layer); NULL
                               unless per_channel */
    int64_t channel_stride;
    /* displacement rows: mean square of W - reference, [row][BG_REFERENCES][layer]; NaN where not
     * measured */
    int64_t cycles, cycle_room;
    int64_t *cycle_step;
    double *displacement;
    double *initial_square; /* [layers] mean square of W_0, for the relative form */
};

BG_MUST enum bg_status bg_profile_make(struct bg_profile *out, int layers, const char *const *names,
                                       const int64_t *weight_count,
                                       const int64_t *const channels[BG_QUANTITIES],
                                       bool per_channel);
void bg_profile_free(struct bg_profile *profile); /* takes a zeroed profile */
/* A new row, all zero; fill through bg_profile_at. */
BG_MUST enum bg_status bg_profile_add_row(struct bg_profile *profile, int64_t step);
struct bg_stats *bg_profile_at(const struct bg_profile *profile, int64_t row,
                               enum bg_quantity quantity, int layer);
double *bg_profile_channels_at(const struct bg_profile *profile, int64_t row,
                               enum bg_quantity quantity, int layer);
/* A new cycle row, all NaN. */
BG_MUST enum bg_status bg_profile_add_cycle(struct bg_profile *profile, int64_t step);
double *bg_profile_displacement_at(const struct bg_profile *profile, int64_t cycle,
                                   enum bg_reference reference, int layer);
/* Drops rows and cycles whose step is greater than `step` (resume). */
void bg_profile_truncate(struct bg_profile *profile, int64_t step);

#endif
