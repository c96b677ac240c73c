/* What core/plan.c and core/plan_parse.c share. */
#ifndef BG_CORE_PLAN_PRIVATE_H
#define BG_CORE_PLAN_PRIVATE_H

#include "core/plan.h"

#define BG_PLAN_LAYERS_MAX      4096
#define BG_PLAN_BITS_MAX        16
#define BG_PLAN_UPDATE_BITS_MAX 24

/* Keys of the text form, in the order of enum bg_role, then the update. */
extern const char *const bg_plan_keys[BG_ROLES + 1];

/* Not empty, no white space or control characters, no '#' or '=', not the word "requant". */
bool bg_plan_is_name(const char *name);
/* Everything f32, update sgd, no name. Cannot fail. */
void bg_plan_layer_default(struct bg_plan_layer *layer);

#endif
