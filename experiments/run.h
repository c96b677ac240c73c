/* A run: one experiment in its directory. Holds everything the stages work on; its files are
 * recipe.yaml (resolved), run.h5 (the record), checkpoint-*.h5, plan.txt, timing.tsv, result.json,
 * report.html and figures/. A kill at any moment leaves a directory that the same command resumes.
 */
#ifndef BG_EXPERIMENTS_RUN_H
#define BG_EXPERIMENTS_RUN_H

#include "core/file.h"
#include "core/plan.h"
#include "datasets/dataset.h"
#include "experiments/recipe.h"
#include "experiments/record.h"
#include "layers/net.h"
#include "policies/trainer.h"

#define BG_CHECKPOINT_LAST "checkpoint-last.h5"

struct bg_run {
    char dir[BG_PATH_MAX];
    int lock;                       /* descriptor of DIR/lock, -1 = not held */
    bool made_dir;                  /* this process made the directory */
    const struct bg_recipe *recipe; /* the caller's */
    struct bg_data *data;
    struct bg_net *net;
    struct bg_trainer *trainer;
    struct bg_plan plan;  /* on the net now; count 0 = f32 */
    struct bg_plan given; /* from the recipe's plan file; count 0 = none */
    struct bg_plan start; /* training starts in it; count 0 = in f32 */
    struct bg_record record;
    int stage; /* index into recipe->stage: the next or present one; recipe->stages = finished */
    struct bg_train_state state; /* inside a training stage */
    bool resumed, finished;
};

/* Opens `dir` for the recipe: makes it, or goes on where it stopped. A finished run gives
 * out->finished and nothing else. Refused with BG_E_MISMATCH: another recipe, data, machine or
 * thread count, naming the first difference; another process at work in it. */
BG_MUST enum bg_status bg_run_open(struct bg_run **out, const struct bg_recipe *recipe,
                                   const char *dir);
/* Takes DIR/lock for writing, until bg_run_close. BG_E_MISMATCH when another process has it. */
BG_MUST enum bg_status bg_run_lock(struct bg_run *run);
void bg_run_close(struct bg_run *run); /* takes NULL */

/* The present stage. */
enum bg_stage bg_run_stage(const struct bg_run *run);
/* Puts a plan on the net (NULL = f32), with the recipe's bits of gradients where it names none, and
 * remembers it. */
BG_MUST enum bg_status bg_run_apply(struct bg_run *run, const struct bg_plan *plan);
/* The plan on the net into the record, under the stage that set it, and into plan.txt. */
BG_MUST enum bg_status bg_run_write_plan(struct bg_run *run, const char *stage);
/* A loader over a part with the recipe's seed. */
BG_MUST enum bg_status bg_run_source(const struct bg_run *run, enum bg_part part, int64_t batch,
                                     bool shuffle, struct bg_source **out);
/* Appends a line to timing.tsv; failures are warnings: timing is no result. */
void bg_run_timing(const struct bg_run *run, const char *what, int64_t number, double seconds);
/* Names of the primitives of a training program into the record. */
BG_MUST enum bg_status bg_run_list_implementations(struct bg_run *run);

/* checkpoint.c: run.h5 first, then checkpoint-last.h5, so that the record is never behind. */
BG_MUST enum bg_status bg_run_checkpoint(struct bg_run *run);
/* A checkpoint of a stage's end, kept beside the rolling one. */
BG_MUST enum bg_status bg_run_keep(struct bg_run *run, const char *stage);
/* Net, plan and ranges of DIR/name; `position` also takes stage and trainer state, and rewinds the
 * record. */
BG_MUST enum bg_status bg_run_load(struct bg_run *run, const char *name, bool position);
/* Reads the stage index of a checkpoint and compares its environment with this process's. */
BG_MUST enum bg_status bg_checkpoint_peek(const char *path, const char *dir, int *stage);

/* stages.c: works from the present stage to the last. */
BG_MUST enum bg_status bg_run_work(struct bg_run *run);
BG_MUST enum bg_status bg_stage_train(struct bg_run *run);
BG_MUST enum bg_status bg_stage_profile(struct bg_run *run);
BG_MUST enum bg_status bg_stage_select(struct bg_run *run);
/* What the select stage would refuse, found before anything is trained: an unknown pinned layer,
 * bits that do not fit, no validation part to search on, no profile for the policy. */
BG_MUST enum bg_status bg_run_check_select(struct bg_run *run);
/* The same of the profile stage's measures: too many combinations, bits the network cannot take. */
BG_MUST enum bg_status bg_run_check_measures(struct bg_run *run);
BG_MUST enum bg_status bg_stage_finetune(struct bg_run *run);
BG_MUST enum bg_status bg_stage_evaluate(struct bg_run *run);
BG_MUST enum bg_status bg_stage_verify(struct bg_run *run);
BG_MUST enum bg_status bg_stage_report(struct bg_run *run);
/* stage_describe.c: fills layers, costs and weight histograms of the record from the net. */
BG_MUST enum bg_status bg_run_describe(struct bg_run *run);

#endif
