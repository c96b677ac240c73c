/* A finished run, opened to be read: its network as a checkpoint left it, with plan and ranges, and
 * its test part or other data. Nothing in its directory is written, and no lock is taken. */
#ifndef BG_EXPERIMENTS_FINISHED_H
#define BG_EXPERIMENTS_FINISHED_H

#include "experiments/run.h"

struct bg_finished {
    struct bg_recipe *recipe;
    struct bg_run *run; /* recipe, record, net, plan, trainer; data when asked for */
};

/* `checkpoint` is "train", "select", ... of any run, or NULL: the last one of a run that is
 * finished (BG_E_DATA otherwise). */
BG_MUST enum bg_status bg_finished_open(struct bg_finished *out, const char *dir,
                                        const char *checkpoint);
/* The test part into run->data, normalised by the run's numbers: the recipe's own, or that of the
 * HDF5 file `file` (NULL = none), with overrides "data.key=value". Training data is not needed.
 * BG_E_SHAPE or BG_E_DATA when it does not fit the network. Call once. */
BG_MUST enum bg_status bg_finished_open_data(struct bg_finished *finished, const char *file,
                                             char *const *overrides, int count);
/* BG_E_UNSUPPORTED, saying why, when the network has no integers to do `what` with. */
BG_MUST enum bg_status bg_finished_need_integers(const struct bg_finished *finished,
                                                 const char *what);
void bg_finished_close(struct bg_finished *finished); /* takes a zeroed one */

#endif
