/* The first images of a source, batch by batch. */
#ifndef BG_EXPERIMENTS_IMAGES_H
#define BG_EXPERIMENTS_IMAGES_H

#include "core/source.h"

/* Calls `see` with batches of a pass until `images` have been seen, the last one cut to fit; shows
 * progress under `what`. BG_E_DATA when the source ends before, BG_E_INTERRUPTED after a stop
 * request; stops at the first failure of `see`. */
BG_MUST enum bg_status
bg_first_images(struct bg_source *source, int64_t images, const char *what,
                enum bg_status (*see)(void *self, const struct bg_batch *batch), void *self);

#endif
