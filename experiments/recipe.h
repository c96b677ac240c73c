/* A recipe: one experiment as text, read with every error found at once, and printed back with
 * every default filled in. The printed form, read again, prints the same. */
#ifndef BG_EXPERIMENTS_RECIPE_H
#define BG_EXPERIMENTS_RECIPE_H

#include <stdbool.h>

#include "core/method.h"
#include "core/options.h"
#include "core/yaml.h"
#include "policies/budget_select.h"
#include "policies/residual_bits.h"
#include "policies/select.h"
#include "policies/trainer.h"

enum bg_stage {
    BG_STAGE_TRAIN,
    BG_STAGE_PROFILE,
    BG_STAGE_SELECT,
    BG_STAGE_FINETUNE,
    BG_STAGE_EVALUATE,
    BG_STAGE_VERIFY,
    BG_STAGE_REPORT,
    BG_STAGES
};
extern const char *const bg_stage_names[BG_STAGES + 1]; /* ends with NULL */

struct bg_profile_options {
    int64_t batches; /* gradient batches at fixed weights; 0 = none */
    int64_t cycles;  /* displacement cycles from the present weights; 0 = none */
    int64_t steps;   /* of one cycle; 0 = an epoch */
    bool reset, per_channel;
    const struct bg_yaml *measures; /* read by policies/measuring.c */
    int64_t measure_batches;
    struct bg_int_list candidates; /* bits at which measures are taken */
};

struct bg_quantize_section {
    const struct bg_yaml *weight_range, *activation_range;
    int64_t calibration_batches;
    bool recalibrate_bn;
    int rounding;              /* enum bg_rounding */
    int requant;               /* 0: what the plan says; else enum bg_requant_mode + 1 */
    char plan[BG_OPTION_TEXT]; /* train in the bits of this plan from the start; "" = see below */
    /* without a plan: train in these from the start, first and last layer in edge_bits */
    int64_t weight_bits, activation_bits, edge_bits; /* 0 = f32; edge_bits 0 = as the others */
    /* of all layers, where a plan leaves g and dw at f32; 0 = as the compute has them */
    int64_t gradient_bits, weight_gradient_bits;
    int gradient_rounding; /* enum bg_rounding */
    int gradient_scale;    /* 0 = per tensor, 1 = per output channel */
};

/* The top level as the table reads it. */
struct bg_recipe_top {
    char name[BG_OPTION_TEXT], weights[BG_OPTION_TEXT];
    int64_t seed, threads;
    int compute;
    struct bg_text_list stages;
    const struct bg_yaml *data, *network, *train, *profile, *quantize, *select, *finetune,
        *evaluate, *verify, *checkpoint, *report, *arena;
};

struct bg_recipe {
    struct bg_document *document; /* every node below belongs to it */
    struct bg_recipe_top top;
    int stages;
    enum bg_stage stage[BG_STAGES];
    struct bg_train_options train, finetune;
    struct bg_profile_options profile;
    struct bg_quantize_section quantize;
    struct bg_select_options select;
    struct bg_residual_options residual; /* of select.residual */
    int64_t eval_batch;
    int64_t verify_images, verify_batch;
    int64_t every_epochs, every_steps; /* checkpoints; 0 = never */
    bool figures;
    /* methods with their options, owned */
    const struct bg_range_method *weight_range, *activation_range;
    void *weight_range_options, *activation_range_options;
    const struct bg_select_method *policy;
    void *policy_options;
    struct bg_measure_list measures;
    struct bg_budget_choice budget; /* of select.search: budget */
    int candidates;                 /* of profile.candidates, ascending */
    int candidate_bits[BG_CANDIDATES_MAX];
    struct bg_text resolved; /* the recipe with every default filled in */
};

/* Is there a plan before training? */
bool bg_recipe_trains_quantized(const struct bg_recipe *recipe);

/* Reads a file with overrides "key.path=value". Several errors are printed through the log, one
 * line each, and the sentence counts them. */
BG_MUST enum bg_status bg_recipe_read(struct bg_recipe **out, const char *path,
                                      char *const *overrides, int count);
void bg_recipe_free(struct bg_recipe *recipe); /* takes NULL */
/* Selections of a run: 1, or as many as select.every divides fine-tuning into. */
int bg_recipe_rounds(const struct bg_recipe *recipe);
bool bg_recipe_has_stage(const struct bg_recipe *recipe, enum bg_stage stage);
struct bg_quantize_options bg_recipe_quantize_options(const struct bg_recipe *recipe);
/* recipe_gradients.c: the section's bits of gradients into what a plan leaves at f32. */
void bg_recipe_fill_gradients(const struct bg_quantize_section *quantize, struct bg_plan *plan);
/* Adds a line for bits that gradients do not have. */
void bg_recipe_check_gradients(const struct bg_quantize_section *quantize,
                               const struct bg_yaml *section, struct bg_text *errors);
/* "train.epochs: 5 against 6" into out; false when both texts say the same. */
BG_MUST enum bg_status bg_recipe_difference(const char *path, const char *then, const char *now,
                                            bool *differ, char out[512]);
/* Tables for `bitgrad list recipe`: section name ("" = top level) and its keys. */
struct bg_recipe_section {
    const char *name;
    const struct bg_option *table;
};
extern const struct bg_recipe_section bg_recipe_sections[]; /* ends with a NULL table */
const struct bg_recipe_section *bg_recipe_section_find(const char *name);

#endif
