/* A variant: one network on one plan in one compute, trained step by step by the trainer itself on
 * images of random bytes with random labels, which no network learns: loss and gradients stay of
 * one size however long it runs. */
#ifndef BG_EXPERIMENTS_BENCH_VARIANT_H
#define BG_EXPERIMENTS_BENCH_VARIANT_H

#include "experiments/bench.h"
#include "policies/trainer.h"

#define BG_BENCH_VARIANTS_MAX 8

struct bg_bench_variant {
    char name[256]; /* "W8A8/fast" */
    char plan_text[256];
    char update_text[256]; /* "" at first: the set-up's */
    enum bg_compute compute;

    struct bg_document *model, *update;
    struct bg_net *net;
    void *range_options[2]; /* of weights and activations */
    struct bg_source source;
    uint8_t *images;
    int32_t *labels;
    int64_t given; /* batches handed out */
    struct bg_trainer *trainer;
    struct bg_train_options options;
    struct bg_train_state state;
    struct bg_profile *profile; /* set by the caller: gradients of every step go here; NULL = not */

    int64_t wanted, done; /* steps of the present call */
    double *seconds, began;
    bool updates; /* set by the caller: seconds are those of the updates, not of whole steps */
};

/* Reads --variants, or --plan and --compute, or `fallback` into name, plan_text, compute and
 * update_text of out[0 to *count - 1]: "plan/compute,plan/compute/update". A plan is f32, W4A8 or
 * W4A8G8 and the like, or a plan file without a comma in its name; an update is a method as in
 * --update, whose place it takes. */
BG_MUST enum bg_status bg_bench_variants_choose(const struct bg_bench_setup *setup,
                                                const char *fallback, struct bg_bench_variant *out,
                                                int *count);
/* Makes network, plan, ranges (calibrated on one batch) and trainer of a parsed variant, which must
 * not be moved afterwards. On failure too it takes bg_bench_variant_close. */
BG_MUST enum bg_status bg_bench_variant_open(struct bg_bench_variant *variant,
                                             const struct bg_bench_setup *setup);
void bg_bench_variant_close(struct bg_bench_variant *variant); /* takes a zeroed one */
/* A job's `run`: training steps, timed from the end of one to the end of the next. */
BG_MUST enum bg_status bg_bench_variant_run(void *self, int64_t times, double *seconds);
/* The next made-up batch. */
BG_MUST enum bg_status bg_bench_variant_batch(struct bg_bench_variant *variant,
                                              struct bg_batch *batch);
/* Multiply-accumulates of one forward pass of a batch, and of a whole step: backward data of all
 * layers but the first, and backward weights, take as many again. */
BG_MUST enum bg_status bg_bench_variant_macs(const struct bg_bench_variant *variant,
                                             double *forward, double *step);

/* bg_program_bytes of a program like the one that trains. */
BG_MUST enum bg_status bg_bench_variant_bytes(const struct bg_bench_variant *variant,
                                              int64_t *bytes);

/* Network and sample of a set-up alone, with drawn weights; *section is to be freed after *net. */
BG_MUST enum bg_status bg_bench_net(const struct bg_bench_setup *setup,
                                    struct bg_document **section, struct bg_net **net);
const char *bg_bench_compute_name(enum bg_compute compute);
/* "sgd:momentum=0" into the options; *section is to be freed after their use. */
BG_MUST enum bg_status bg_bench_method(const char *words, struct bg_document **section,
                                       struct bg_train_options *options);
/* The plan of a variant's text, without layers for f32. Free with bg_plan_free. */
BG_MUST enum bg_status bg_bench_plan(const char *text, const struct bg_net *net,
                                     struct bg_plan *out);

#endif
