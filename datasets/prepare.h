/* The two steps between reading the files and loading batches. */
#ifndef BG_DATASETS_PREPARE_H
#define BG_DATASETS_PREPARE_H

#include "core/status.h"
#include "datasets/dataset.h"

/* Fills the index lists and counts of the parts. `name` is for sentences. */
BG_MUST enum bg_status bg_data_split(struct bg_data *data, const char *name);
/* Fills spec, mean and std; normalises f32 images in place. */
BG_MUST enum bg_status bg_data_scale(struct bg_data *data, const char *name);

#endif
