/* The keys of a recipe that the experiment itself reads. Sections data, network, train, finetune
 * and select have their tables where they are used. */
#include <stddef.h>
#include <string.h>

#include "core/round.h"
#include "datasets/dataset.h"
#include "experiments/arena.h"
#include "experiments/recipe.h"
#include "experiments/recipe_tables.h"

static const char *const compute_names[] = {"exact", "reference", "fast", NULL};
/* bg_rounding_names has no final NULL; weights and activations round to nearest in forward. */
static const char *const rounding_names[] = {"nearest", NULL};
static const char *const gradient_rounding_names[] = {"nearest", "stochastic", NULL};
static const char *const gradient_scale_names[] = {"tensor", "channel", NULL};
static const char *const requant_names[] = {"plan",         "f32-rne",  "fixed-single",
                                            "fixed-double", "pow2-rne", NULL};

const char *const bg_stage_names[BG_STAGES + 1] = {"train",    "profile", "select", "finetune",
                                                   "evaluate", "verify",  "report", NULL};

#define TOP(field) offsetof(struct bg_recipe_top, field)
const struct bg_option bg_top_table[] = {
    {"name", BG_OPT_TEXT, TOP(name), NULL, 0, 0, NULL, "name of the experiment and of its run"},
    {"seed", BG_OPT_INT, TOP(seed), "1", 0, 4294967295.0, NULL, "of every random draw"},
    {"threads", BG_OPT_INT, TOP(threads), "2", 1, 256, NULL,
     "of the math loops; part of the recipe because oneDNN's sums depend on it"},
    {"compute", BG_OPT_CHOICE, TOP(compute), "fast", 0, 0, compute_names,
     "fast: training on codes and bf16, as a whole or layer by layer, where plan and CPU allow; "
     "exact: f32 through oneDNN; "
     "reference: naive loops"},
    {"weights", BG_OPT_TEXT, TOP(weights), "''", 0, 0, NULL,
     "initial weights: .npz with arrays named by parameter, or a checkpoint .h5"},
    {"data", BG_OPT_NODE, TOP(data), "", 0, 0, NULL, "data set, split and augmentation"},
    {"network", BG_OPT_NODE, TOP(network), "", 0, 0, NULL,
     "network by name or as a list of layers"},
    {"stages", BG_OPT_TEXTS, TOP(stages),
     "[train, profile, select, finetune, evaluate, verify, report]", 0, 0, NULL,
     "what is done, in this order"},
    {"train", BG_OPT_NODE, TOP(train), "", 0, 0, NULL, "training"},
    {"profile", BG_OPT_NODE, TOP(profile), "", 0, 0, NULL,
     "what is measured of the trained network"},
    {"quantize", BG_OPT_NODE, TOP(quantize), "", 0, 0, NULL, "how ranges of grids are found"},
    {"select", BG_OPT_NODE, TOP(select), "", 0, 0, NULL, "which layers get fewer bits"},
    {"finetune", BG_OPT_NODE, TOP(finetune), "", 0, 0, NULL, "training in the chosen bits"},
    {"evaluate", BG_OPT_NODE, TOP(evaluate), "", 0, 0, NULL, "evaluation"},
    {"verify", BG_OPT_NODE, TOP(verify), "", 0, 0, NULL,
     "comparison of the integers with the independent judge"},
    {"checkpoint", BG_OPT_NODE, TOP(checkpoint), "", 0, 0, NULL, "how often a run is saved"},
    {"report", BG_OPT_NODE, TOP(report), "", 0, 0, NULL, "the report"},
    {"arena", BG_OPT_NODE, TOP(arena), "", 0, 0, NULL,
     "a comparison of criteria; read by bitgrad arena alone"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

#define PROFILE(field) offsetof(struct bg_profile_options, field)
const struct bg_option bg_profile_table[] = {
    {"batches", BG_OPT_INT, PROFILE(batches), "32", 0, 1e6, NULL,
     "gradient batches at fixed weights; 0 = none"},
    {"cycles", BG_OPT_INT, PROFILE(cycles), "0", 0, 1000, NULL,
     "cycles of weight displacement from the trained weights, trained as by `train`; in rounds "
     "after "
     "the first, weights in integers move by finetune's update; 0 = only along training"},
    {"steps", BG_OPT_INT, PROFILE(steps), "0", 0, 1e9, NULL, "steps of one cycle; 0 = an epoch"},
    {"reset", BG_OPT_BOOL, PROFILE(reset), "false", 0, 0, NULL,
     "every cycle starts again from the trained weights"},
    {"per_channel", BG_OPT_BOOL, PROFILE(per_channel), "false", 0, 0, NULL,
     "mean squares of every channel as well, along training too (profile_every)"},
    {"measures", BG_OPT_NODE, PROFILE(measures), "", 0, 0, NULL,
     "what else is measured of the trained network for criteria: names, or {name: ..., as: ..., "
     "options} (bitgrad list measures)"},
    {"measure_batches", BG_OPT_INT, PROFILE(measure_batches), "8", 1, 1e6, NULL,
     "training batches that measures run over"},
    {"candidates", BG_OPT_INTS, PROFILE(candidates), "[2, 3, 4, 6, 8]", 1, 16, NULL,
     "bits at which measures are taken"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

#define QUANTIZE(field) offsetof(struct bg_quantize_section, field)
const struct bg_option bg_quantize_table[] = {
    {"weight_range", BG_OPT_NODE, QUANTIZE(weight_range), "", 0, 0, NULL,
     "range method of weights: a name, or {name: ..., options}; default min-max"},
    {"activation_range", BG_OPT_NODE, QUANTIZE(activation_range), "", 0, 0, NULL,
     "range method of activations; default moving-average"},
    {"calibration_batches", BG_OPT_INT, QUANTIZE(calibration_batches), "8", 1, 1e6, NULL,
     "training batches that give the first ranges"},
    {"recalibrate_bn", BG_OPT_BOOL, QUANTIZE(recalibrate_bn), "true", 0, 0, NULL,
     "measure batch-norm statistics again after a plan is applied"},
    {"rounding", BG_OPT_CHOICE, QUANTIZE(rounding), "nearest", 0, 0, rounding_names,
     "of weights and activations in the forward pass"},
    {"requant", BG_OPT_CHOICE, QUANTIZE(requant), "plan", 0, 0, requant_names,
     "how accumulators become codes in integer evaluation; plan: as the plan file says, f32-rne "
     "where there is none"},
    {"plan", BG_OPT_TEXT, QUANTIZE(plan), "''", 0, 0, NULL,
     "plan file: train in its bits from the start"},
    {"weight_bits", BG_OPT_INT, QUANTIZE(weight_bits), "0", 0, BG_BITS_MAX, NULL,
     "train all weights in so many bits from the start; 0 = f32"},
    {"activation_bits", BG_OPT_INT, QUANTIZE(activation_bits), "0", 0, BG_BITS_MAX, NULL,
     "the same of every layer's input"},
    {"edge_bits", BG_OPT_INT, QUANTIZE(edge_bits), "8", 0, BG_BITS_MAX, NULL,
     "first and last layer in so many bits instead, where the others are quantized; 0 = as the "
     "others"},
    {"gradient_bits", BG_OPT_INT, QUANTIZE(gradient_bits), "0", 0, BG_BITS_MAX, NULL,
     "train and fine-tune with output gradients of all layers in so many bits, 2 to 16, where a "
     "plan "
     "leaves g at f32; 0 = as the compute has them"},
    {"weight_gradient_bits", BG_OPT_INT, QUANTIZE(weight_gradient_bits), "0", 0, BG_BITS_MAX, NULL,
     "the same of weight gradients (dw), as updates take them"},
    {"gradient_rounding", BG_OPT_CHOICE, QUANTIZE(gradient_rounding), "nearest", 0, 0,
     gradient_rounding_names, "of both, plans' own too"},
    {"gradient_scale", BG_OPT_CHOICE, QUANTIZE(gradient_scale), "tensor", 0, 0,
     gradient_scale_names, "whether each output channel has a step of its own, in both"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

const struct bg_option bg_evaluate_table[] = {{"batch", BG_OPT_INT,
                                               offsetof(struct bg_recipe, eval_batch), "256", 1,
                                               65536, NULL, "samples at a time"},
                                              {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

const struct bg_option bg_verify_table[] = {
    {"images", BG_OPT_INT, offsetof(struct bg_recipe, verify_images), "200", 0, 1e9, NULL,
     "test images to compare; 0 = all"},
    {"batch", BG_OPT_INT, offsetof(struct bg_recipe, verify_batch), "50", 1, 65536, NULL,
     "samples at a time; changes no number"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

const struct bg_option bg_checkpoint_table[] = {
    {"every_epochs", BG_OPT_INT, offsetof(struct bg_recipe, every_epochs), "1", 0, 1e6, NULL,
     "epochs between checkpoints; 0 = only at the end of a stage"},
    {"every_steps", BG_OPT_INT, offsetof(struct bg_recipe, every_steps), "0", 0, 1e9, NULL,
     "steps between checkpoints as well; 0 = none"},
    {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

const struct bg_option bg_report_table[] = {{"figures", BG_OPT_BOOL,
                                             offsetof(struct bg_recipe, figures), "true", 0, 0,
                                             NULL, "draw figures with gnuplot"},
                                            {NULL, BG_OPT_INT, 0, NULL, 0, 0, NULL, NULL}};

const struct bg_recipe_section bg_recipe_sections[] = {
    {"", bg_top_table},
    {"data", bg_data_options_table},
    {"train", bg_train_options_table},
    {"profile", bg_profile_table},
    {"quantize", bg_quantize_table},
    {"select", bg_select_options_table},
    {"select.residual", bg_residual_options_table},
    {"finetune", bg_train_options_table},
    {"evaluate", bg_evaluate_table},
    {"verify", bg_verify_table},
    {"checkpoint", bg_checkpoint_table},
    {"report", bg_report_table},
    {"arena", bg_arena_options_table},
    {NULL, NULL}};

const struct bg_recipe_section *bg_recipe_section_find(const char *name)
{
    for (int i = 0; bg_recipe_sections[i].table; i++)
        if (!strcmp(bg_recipe_sections[i].name, name))
            return &bg_recipe_sections[i];
    return NULL;
}
