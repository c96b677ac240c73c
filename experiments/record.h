/* The record of a run: everything measured, in memory, and its file run.h5. The runner's thread is
 * the only writer. A checkpoint stores how many rows of each part belong to it; a resume drops the
 * newer ones. Wall-clock values are not here but in timing.tsv. */
#ifndef BG_EXPERIMENTS_RECORD_H
#define BG_EXPERIMENTS_RECORD_H

#include "autograd/graph.h"
#include "core/profile.h"
#include "core/source.h"
#include "core/store.h"
#include "core/text.h"
#include "core/hash.h"
#include "experiments/environment.h"
#include "experiments/table.h"
#include "policies/moves.h"
#include "policies/select.h"

#define BG_RUN_SCHEMA     4
#define BG_RUN_SCHEMA_OLD 3    /* without rounds, budgets, updates, memory: read as having none */
#define BG_RECORD_CLASSES 1024 /* as many as a bg_evaluation counts */

enum bg_record_table {
    BG_TABLE_TRAIN_STEPS,
    BG_TABLE_TRAIN_EPOCHS,
    BG_TABLE_FINETUNE_STEPS,
    BG_TABLE_FINETUNE_EPOCHS,
    BG_TABLE_RANKING,     /* one row per layer */
    BG_TABLE_SEARCH,      /* one row per evaluated k */
    BG_TABLE_EVALUATIONS, /* one row per network and part */
    BG_TABLE_CLASSES,     /* one row per network, part and class */
    BG_TABLE_LAYERS,      /* one row per layer */
    BG_TABLE_COSTS,       /* f32, then the plan */
    BG_TABLE_WEIGHTS,     /* weight histograms: one row per layer and bin */
    BG_TABLE_INTEGERS,    /* the last verification */
    BG_TABLE_MEASURES,    /* rows of profile.measures */
    BG_TABLE_ROUNDS,      /* where later selections begin */
    BG_TABLE_BUDGETS,     /* one row per round and budget */
    BG_TABLE_UPDATES,     /* one row per layer, training stage and epoch */
    BG_TABLE_MEMORY,      /* of the weights at a training stage's end: one row per layer */
    BG_TABLES
};

/* Columns by number, in the order of record.c's tables. */
enum { BG_STEP_STEP, BG_STEP_LR, BG_STEP_LOSS, BG_STEP_SIZE, BG_STEP_CORRECT };
enum {
    BG_EPOCH_EPOCH,
    BG_EPOCH_STEP,
    BG_EPOCH_LR,
    BG_EPOCH_TRAIN_LOSS,
    BG_EPOCH_TRAIN_ACCURACY,
    BG_EPOCH_VALIDATION_LOSS,
    BG_EPOCH_VALIDATION_ACCURACY
};
/* rank 1 first, 0 = none; step: mean step of the weights' grid at select.second_bits */
enum { BG_RANK_LAYER, BG_RANK_SCORE, BG_RANK_RANK, BG_RANK_PINNED, BG_RANK_STEP };
enum { BG_SEARCH_K, BG_SEARCH_ACCURACY, BG_SEARCH_LOSS, BG_SEARCH_DROP, BG_SEARCH_PASSED };
enum {
    BG_EVAL_KIND,
    BG_EVAL_PART,
    BG_EVAL_COUNT,
    BG_EVAL_CORRECT,
    BG_EVAL_ACCURACY,
    BG_EVAL_LOSS,
    BG_EVAL_INTEGER /* 1: by the integer program */
};
enum { BG_CLASS_KIND, BG_CLASS_PART, BG_CLASS_CLASS, BG_CLASS_COUNT, BG_CLASS_CORRECT };
enum {
    BG_LAYER_LAYER,
    BG_LAYER_HEIGHT,
    BG_LAYER_WIDTH,
    BG_LAYER_CHANNELS,
    BG_LAYER_WEIGHTS,
    BG_LAYER_OTHER,
    BG_LAYER_MACS,
    BG_LAYER_WEIGHT_BITS,
    BG_LAYER_ACTIVATION_BITS,
    BG_LAYER_BYTES,
    BG_LAYER_HAWQ,
    BG_LAYER_DETAILED
};
enum {
    BG_COST_BYTES,
    BG_COST_HAWQ,
    BG_COST_DETAILED,
    BG_COST_MEAN_BITS,
    BG_COST_PARAMS,
    BG_COST_MACS
};
enum { BG_WEIGHT_LAYER, BG_WEIGHT_CODE, BG_WEIGHT_COUNT };
enum {
    BG_INTEGER_IMAGES,
    BG_INTEGER_CORRECT,
    BG_INTEGER_OUTPUTS,
    BG_INTEGER_DIFFER,
    BG_INTEGER_MISTRUSTED,
    BG_INTEGER_HASH /* four columns: the hash of all codes, 64 bits in each */
};

enum { /* struct bg_measure_row */
       BG_MEASURE_MEASURE,
       BG_MEASURE_MEASURED,
       BG_MEASURE_LAYER,
       BG_MEASURE_ROLE,
       BG_MEASURE_BITS,
       BG_MEASURE_VALUE,
       BG_MEASURE_SPREAD,
       BG_MEASURE_SAMPLES,
       BG_MEASURE_PASSES
};

/* First rows of a round in other tables, and the step of fine-tuning it was made after. */
enum {
    BG_ROUND_MEASURES,
    BG_ROUND_RANKING,
    BG_ROUND_SEARCH,
    BG_ROUND_ROWS,   /* of the stage's profile */
    BG_ROUND_CYCLES, /* of it */
    BG_ROUND_ALONG,  /* rows and cycles recorded along fine-tuning */
    BG_ROUND_ALONG_CYCLES,
    BG_ROUND_PARTS,
    BG_ROUND_STEP = BG_ROUND_PARTS
};
enum {
    BG_SPENT_ROUND,
    BG_SPENT_KIND, /* enum bg_budget_kind */
    BG_SPENT_LIMIT,
    BG_SPENT_COST,
    BG_SPENT_OBJECTIVE,
    BG_SPENT_BOUND,
    BG_SPENT_OPTIMAL
};
/* struct bg_moves. stage: enum bg_updated; method: index of update_method; unit, mean_step and what
 * follows are of a sample; lr: its mean. written, lost, saturated, beyond: -1 = not known. */
enum {
    BG_UPDATE_LAYER,
    BG_UPDATE_STAGE,
    BG_UPDATE_EPOCH,
    BG_UPDATE_METHOD,
    BG_UPDATE_WEIGHT_BITS,
    BG_UPDATE_BELOW_BITS,
    BG_UPDATE_UPDATES,
    BG_UPDATE_WRITTEN,
    BG_UPDATE_LOST,
    BG_UPDATE_SATURATED,
    BG_UPDATE_BEYOND,
    BG_UPDATE_LR,
    BG_UPDATE_UNIT,
    BG_UPDATE_SAMPLED,
    BG_UPDATE_MEAN_STEP,
    BG_UPDATE_ZERO,
    BG_UPDATE_OCTAVE, /* BG_MOVE_OCTAVES columns */
    BG_UPDATE_END = BG_UPDATE_OCTAVE + BG_MOVE_OCTAVES
};
enum { /* struct bg_store_bytes; f32: master and projection */
       BG_MEMORY_LAYER,
       BG_MEMORY_STAGE,
       BG_MEMORY_INTEGER, /* 1: the weights are in a store */
       BG_MEMORY_WEIGHTS,
       BG_MEMORY_CODES,
       BG_MEMORY_BELOW,
       BG_MEMORY_MOMENTUM,
       BG_MEMORY_F32,
       BG_MEMORY_GRADIENT
};
enum bg_updated { BG_UPDATED_TRAIN, BG_UPDATED_FINETUNE, BG_UPDATED };
extern const char *const bg_updated_names[BG_UPDATED];

/* Which network an evaluation is of, and on what. */
enum bg_evaluated {
    BG_EVALUATED_FP32,
    BG_EVALUATED_QUANTIZED,
    BG_EVALUATED_FINETUNED,
    BG_EVALUATED_TRAINED, /* in the bits training started in, where others were selected later */
    BG_EVALUATED
};
extern const char *const bg_evaluated_names[BG_EVALUATED];
/* In the order of work, for tables. */
extern const enum bg_evaluated bg_evaluated_order[BG_EVALUATED];
enum bg_evaluated_part { BG_ON_VALIDATION, BG_ON_TEST };

/* Profiles: along training, of the profile stage, along fine-tuning. */
enum bg_record_profile { BG_PROFILE_TRAIN, BG_PROFILE_STAGE, BG_PROFILE_FINETUNE, BG_PROFILES };

/* A table of short texts: implementation names of each primitive. */
#define BG_IMPLEMENTATION_FIELDS 5
struct bg_implementation_row {
    char text[BG_IMPLEMENTATION_FIELDS]
             [BG_NAME_MAX]; /* node, op, forward, backward data, weights */
};

#define BG_PLANS_MAX          (BG_SELECT_ROUNDS + 3)
#define BG_UPDATE_METHODS_MAX 16
struct bg_plan_entry {
    char stage[BG_NAME_MAX];
    char *text; /* owned */
};

struct bg_record {
    char name[BG_NAME_MAX], network[BG_NAME_MAX];
    int64_t seed;
    char *recipe; /* resolved text, owned */
    struct bg_environment environment;
    char data_title[BG_NAME_MAX], train_hash[BG_HASH_TEXT], test_hash[BG_HASH_TEXT];
    int64_t train_count, validation_count, test_count;
    struct bg_sample_spec spec;
    double mean, std; /* of the training pixels, as used */
    int layers;
    char (*layer_name)[BG_NAME_MAX];
    char (*layer_op)[BG_NAME_MAX];
    struct bg_table table[BG_TABLES];
    struct bg_profile profile[BG_PROFILES];
    int measures; /* names of the measures in their table */
    char (*measure_name)[BG_NAME_MAX];
    int candidates; /* bits at which they were taken */
    int candidate_bits[BG_CANDIDATES_MAX];
    int64_t remembered[BG_UPDATED]; /* bytes of f32 weights kept beside, for their displacement */
    int update_methods;             /* names of the methods that moved weights */
    char update_method[BG_UPDATE_METHODS_MAX][BG_NAME_MAX];
    char ranking_note[256], policy[BG_NAME_MAX];
    /* A layer whose bits the run's policy fixed, as in bg_ranking. */
    bool fixes;
    int fixed_layer, fixed_bits[BG_ROLES];
    char latency_hash[BG_HASH_TEXT]; /* of select.latency's file; "" = none */
    int64_t chosen; /* layers at the second precision by the search; -1 = no search */
    int plans;
    struct bg_plan_entry plan[BG_PLANS_MAX];
    int64_t implementations;
    struct bg_implementation_row *implementation;
};

/* Names of the layers and their profiles' shape come with it; everything else is empty. */
BG_MUST enum bg_status bg_record_make(struct bg_record *out, int layers, const char *const *names,
                                      const char *const *ops);
void bg_record_free(struct bg_record *record); /* takes a zeroed one */
/* Appends a plan's text; an entry of the same stage is replaced. */
BG_MUST enum bg_status bg_record_add_plan(struct bg_record *record, const char *stage,
                                          const char *text);
/* The last plan's text, "" when there is none. */
const char *bg_record_plan(const struct bg_record *record);
/* Names of measures and the bits at which they are taken. */
BG_MUST enum bg_status bg_record_set_measures(struct bg_record *record, int measures,
                                              const char *const *names, int candidates,
                                              const int *bits);
/* record_measures.c: a row of measures into its table and out of it; names and candidates in the
 * file, to be read after the table. */
BG_MUST enum bg_status bg_record_add_measure(struct bg_record *record,
                                             const struct bg_measure_row *row);
struct bg_measure_row bg_record_measure(const struct bg_record *record, int64_t row);
BG_MUST enum bg_status bg_record_write_measures(const struct bg_record *record, struct bg_h5 *file);
BG_MUST enum bg_status bg_record_read_measures(struct bg_record *record, struct bg_h5 *file);
/* record_measures.c: the layer whose bits the policy fixed; checked as it is read. */
BG_MUST enum bg_status bg_record_write_fixed(const struct bg_record *record, struct bg_h5 *file);
BG_MUST enum bg_status bg_record_read_fixed(struct bg_record *record, struct bg_h5 *file);
/* record_rounds.c: rounds of selection, counted from 0; there is always a first one. */
struct bg_round {
    int64_t step;                                     /* of fine-tuning, at its beginning */
    int64_t from[BG_ROUND_PARTS], to[BG_ROUND_PARTS]; /* rows that are its own */
};
/* 1 to BG_SELECT_ROUNDS. */
int bg_record_rounds(const struct bg_record *record);
/* `round` is 0 to bg_record_rounds - 1. What was recorded along fine-tuning belongs to the round
 * that comes after it. */
struct bg_round bg_record_round(const struct bg_record *record, int round);
/* The next round begins with the rows that come from now on, after `step` steps of fine-tuning.
 * BG_E_INTERNAL when there are BG_SELECT_ROUNDS already. */
BG_MUST enum bg_status bg_record_begin_round(struct bg_record *record, int64_t step);
/* For a file that was read: BG_E_DATA when rounds or budgets point outside their tables. */
BG_MUST enum bg_status bg_record_check_rounds(const struct bg_record *record);
/* record_rounds.c: the hash of a latency table in the file; BG_E_MISMATCH when `path` is another.
 */
BG_MUST enum bg_status bg_record_write_latency(const struct bg_record *record, struct bg_h5 *file);
BG_MUST enum bg_status bg_record_read_latency(struct bg_record *record, struct bg_h5 *file);
BG_MUST enum bg_status bg_record_check_latency(const struct bg_record *record, const char *path);
/* The name of a round's plan: "select", "select-2", ... */
void bg_record_round_name(int round, char out[BG_NAME_MAX]);
/* The text of a plan by its name, or NULL. */
const char *bg_record_find_plan(const struct bg_record *record, const char *name);
/* record_updates.c: what an epoch's updates did, a row per layer; memory at a stage's end; names of
 * methods in the file, to be read after the tables. */
BG_MUST enum bg_status bg_record_add_updates(struct bg_record *record, enum bg_updated stage,
                                             int64_t epoch, const struct bg_moves *moves);
BG_MUST enum bg_status bg_record_add_memory(struct bg_record *record, enum bg_updated stage,
                                            const struct bg_graph *graph);
BG_MUST enum bg_status bg_record_write_updates(const struct bg_record *record, struct bg_h5 *file);
BG_MUST enum bg_status bg_record_read_updates(struct bg_record *record, struct bg_h5 *file);
/* All epochs of a stage together, of one layer or of those that are integers (layer -1; counted is
 * false when there are none). Counts are NaN where they are not known. */
struct bg_update_sum {
    int method, weight_bits, below_bits; /* of the last row */
    bool counted;   /* some epoch's counts are known; those of these epochs, NaN without: */
    double weights; /* of the layers summed */
    double updates, written, lost, saturated;
    double mean_step; /* of all epochs, in units of the weight's step */
};
bool bg_record_sum_updates(const struct bg_record *record, enum bg_updated stage, int layer,
                           struct bg_update_sum *out);
/* Bytes of a stage's integer weights, or of its f32 masters. */
void bg_record_sum_memory(const struct bg_record *record, enum bg_updated stage, bool integer,
                          struct bg_store_bytes *out);
/* Row of TABLE_RANKING for a layer in the last round that has a ranking, or NULL. */
const union bg_cell *bg_record_rank(const struct bg_record *record, int layer);
/* Row of TABLE_EVALUATIONS, or NULL. */
const union bg_cell *bg_record_evaluation(const struct bg_record *record, enum bg_evaluated kind,
                                          enum bg_evaluated_part part);

/* How much of the record belongs to a moment. */
#define BG_RECORD_COUNTS (BG_TABLES + 2 * BG_PROFILES + 2)
void bg_record_counts(const struct bg_record *record, int64_t counts[BG_RECORD_COUNTS]);
/* Drops what is newer. BG_E_DATA when the record holds less than that. */
BG_MUST enum bg_status bg_record_rewind(struct bg_record *record,
                                        const int64_t counts[BG_RECORD_COUNTS]);

/* Writes all of it to `path`, through a temporary. */
BG_MUST enum bg_status bg_record_write(const struct bg_record *record, const char *path);
/* Reads a whole file into an empty record. */
BG_MUST enum bg_status bg_record_read(struct bg_record *out, const char *path);

/* One text as a dataset; fresh memory (bg_free) when read. Also used by checkpoints. */
BG_MUST enum bg_status bg_h5_put_text(struct bg_h5 *file, const char *name, const char *text);
BG_MUST enum bg_status bg_h5_take_text(struct bg_h5 *file, const char *name, char **out);

#endif
