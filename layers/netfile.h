/* Parts of reading a network's state that checkpoints and initial weights share. */
#ifndef BG_LAYERS_NETFILE_H
#define BG_LAYERS_NETFILE_H

#include "core/h5.h"
#include "layers/snapshot.h"

/* BG_E_MISMATCH when the file holds a parameter that the network lacks (learned steps excepted). */
BG_MUST enum bg_status bg_netfile_check_names(const struct bg_net *net, struct bg_h5 *file);
/* Reads one parameter, shape and values checked; `out` is an empty entry of a snapshot. */
BG_MUST enum bg_status bg_netfile_read_param(struct bg_h5 *file, const struct bg_param *param,
                                             bool with_state, struct bg_saved_param *out);

#endif
