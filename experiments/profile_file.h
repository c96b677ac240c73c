/* A profile in a run file: fixed datasets [step, layer] per quantity and field, so that other
 * programs read them without this one, and exact enough to go on from. */
#ifndef BG_EXPERIMENTS_PROFILE_FILE_H
#define BG_EXPERIMENTS_PROFILE_FILE_H

#include "core/h5.h"
#include "core/profile.h"

/* Below `prefix` ("profile/batches"). */
BG_MUST enum bg_status bg_profile_write(const struct bg_profile *profile, const char *prefix,
                                        struct bg_h5 *file);
/* Makes *out for these layers from what the file holds. */
BG_MUST enum bg_status bg_profile_read(struct bg_profile *out, const char *const *names, int layers,
                                       const char *prefix, struct bg_h5 *file);

#endif
