/* Training steps of a variant through the trainer's public calls: what is timed is the code that a
 * recipe runs. A turn ends by the step hook's answer, as any stage may be stopped. */
#include "experiments/bench_variant.h"

#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "experiments/terminal.h"
#include "policies/select.h"

#define LEARNING_RATE 0.01
/* An epoch that no bench reaches the end of: there weights are copied. */
#define EPOCH_STEPS (INT64_C(1) << 24)
/* Batches are windows into one pool of random bytes: each begins 64 bytes after the one before. */
#define WINDOWS     61
#define WINDOW_STEP 64

static enum bg_status start_source(struct bg_source *source, int64_t epoch, int64_t skip)
{
    struct bg_bench_variant *variant = source->self;
    variant->given = epoch * EPOCH_STEPS + skip;
    return BG_OK;
}

static enum bg_status next_batch(struct bg_source *source, struct bg_batch *out)
{
    struct bg_bench_variant *variant = source->self;
    int64_t window = variant->given++ % WINDOWS;
    *out = (struct bg_batch){.size = source->batch,
                             .dtype = BG_U8,
                             .images = variant->images + window * WINDOW_STEP,
                             .labels = variant->labels + window};
    return BG_OK;
}

enum bg_status bg_bench_variant_batch(struct bg_bench_variant *variant, struct bg_batch *batch)
{
    return next_batch(&variant->source, batch);
}

static enum bg_status make_source(struct bg_bench_variant *variant,
                                  const struct bg_bench_setup *setup)
{
    const struct bg_rng rng = {.seed = 1, .stream = BG_STREAM_TEST};
    const struct bg_sample_spec *spec = &variant->net->input;
    int64_t bytes = 0, labels = setup->batch + WINDOWS;
    enum bg_status rc = BG_OK;

    TRY(bg_product(setup->batch, spec->height * spec->width * spec->channels, &bytes));
    bytes += WINDOWS * WINDOW_STEP;
    TRY(bg_alloc(&variant->images, bytes, 1));
    TRY(bg_alloc(&variant->labels, labels, sizeof *variant->labels));
    for (int64_t i = 0; i < bytes; i++)
        variant->images[i] = (uint8_t)(bg_rng_u32(&rng, (uint64_t)i) & 255u);
    for (int64_t i = 0; i < labels; i++)
        variant->labels[i] =
            (int32_t)(bg_rng_u32(&rng, (uint64_t)(bytes + i)) % (uint32_t)spec->classes);
    variant->source = (struct bg_source){.self = variant,
                                         .spec = *spec,
                                         .count = setup->batch * EPOCH_STEPS,
                                         .batch = setup->batch,
                                         .start = start_source,
                                         .next = next_batch};
out:
    return rc;
}

static enum bg_status set_options(struct bg_bench_variant *variant,
                                  const struct bg_bench_setup *setup)
{
    enum bg_status rc = BG_OK;
    TRY(bg_options_defaults(bg_train_options_table, &variant->options));
    variant->options.epochs = EPOCH_STEPS;
    variant->options.batch = setup->batch;
    variant->options.lr = LEARNING_RATE;
    variant->options.schedule = BG_SCHEDULE_CONSTANT;
    variant->options.warmup = 0;
    if (*variant->update_text == '\0')
        TRY(bg_text_copy(variant->update_text, sizeof variant->update_text, setup->update));
    TRY(bg_bench_method(variant->update_text, &variant->update, &variant->options));
out:
    return rc;
}

/* Plan and ranges as a recipe's defaults choose them. A trainer of its own calibrates: its program
 * is gone before the steps that are measured. */
static enum bg_status quantize(struct bg_bench_variant *variant,
                               const struct bg_trainer_config *config)
{
    struct bg_quantize_options options = {.rounding = BG_ROUND_NEAREST};
    struct bg_plan plan = {0};
    struct bg_text errors = {0};
    struct bg_trainer *trainer = NULL;
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 12);
    TRY(bg_bench_plan(variant->plan_text, variant->net, &plan));
    if (plan.count == 0)
        goto out;
    TRY(bg_range_choose(NULL, "min-max", "range", &options.weight_range, &variant->range_options[0],
                        &errors));
    TRY(bg_range_choose(NULL, "moving-average", "range", &options.activation_range,
                        &variant->range_options[1], &errors));
    options.weight_range_options = variant->range_options[0];
    options.activation_range_options = variant->range_options[1];
    TRY(bg_trainer_create(&trainer, config));
    TRY(bg_trainer_apply(trainer, &plan, &options));
    TRY(bg_trainer_calibrate(trainer, &variant->source, 1, false));
out:
    bg_trainer_destroy(trainer);
    bg_text_free(&errors);
    bg_plan_free(&plan);
    return rc;
}

enum bg_status bg_bench_variant_open(struct bg_bench_variant *variant,
                                     const struct bg_bench_setup *setup)
{
    struct bg_trainer_config config = {
        .compute = variant->compute, .seed = 1, .batch = setup->batch, .eval_batch = setup->batch};
    enum bg_status rc = BG_OK;

    TRY(set_options(variant, setup));
    TRY(bg_bench_net(setup, &variant->model, &variant->net));
    TRY(make_source(variant, setup));
    config.net = variant->net;
    TRY(quantize(variant, &config));
    TRY(bg_trainer_create(&variant->trainer, &config));
out:
    if (rc != BG_OK && rc != BG_E_USAGE)
        rc = bg_fail_prefix(rc, "bench: %s: ", variant->name);
    return rc;
}

void bg_bench_variant_close(struct bg_bench_variant *variant)
{
    bg_trainer_destroy(variant->trainer);
    bg_net_destroy(variant->net);
    bg_document_free(variant->model);
    bg_document_free(variant->update);
    bg_free(variant->range_options[0]);
    bg_free(variant->range_options[1]);
    bg_free(variant->images);
    bg_free(variant->labels);
    *variant = (struct bg_bench_variant){0};
}

static enum bg_status on_step(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state)
{
    struct bg_bench_variant *variant = self;
    double now = bg_terminal_clock();
    (void)state;
    variant->seconds[variant->done++] =
        variant->updates ? row->update_seconds : now - variant->began;
    variant->began = now;
    return variant->done < variant->wanted ? BG_OK : BG_E_INTERRUPTED;
}

enum bg_status bg_bench_variant_run(void *self, int64_t times, double *seconds)
{
    struct bg_bench_variant *variant = self;
    struct bg_train_hooks hooks = {
        .self = variant, .on_step = on_step, .profile = variant->profile};
    enum bg_status rc = BG_OK;

    variant->wanted = times;
    variant->done = 0;
    variant->seconds = seconds;
    variant->options.profile_every = variant->profile ? 1 : 0;
    /* Its memory stays and is used again, by as many rows as one histogram is for. */
    if (variant->profile && variant->profile->rows >= variant->options.profile_bins)
        bg_profile_truncate(variant->profile, 0);
    variant->began = bg_terminal_clock();
    rc = bg_trainer_train(variant->trainer, &variant->options, &variant->source, NULL,
                          &variant->state, &hooks);
    if (rc == BG_E_INTERRUPTED && variant->done == times)
        return BG_OK;
    return rc == BG_OK ? bg_fail(BG_E_INTERNAL, "bench: %s: training ended", variant->name)
                       : bg_fail_prefix(rc, "bench: %s: ", variant->name);
}

enum bg_status bg_bench_variant_macs(const struct bg_bench_variant *variant, double *forward,
                                     double *step)
{
    const struct bg_graph *graph = variant->net->graph;
    double batch = (double)variant->source.batch;
    enum bg_status rc = BG_OK;

    *forward = *step = 0;
    for (int i = 0; i < bg_graph_layer_count(graph); i++) {
        double macs = batch * (double)bg_node_macs(bg_graph_layer(graph, i));
        *forward += macs;
        *step += i == 0 ? 2 * macs : 3 * macs;
    }
    if (!(*forward > 0))
        FAIL(BG_E_UNSUPPORTED, "bench: the network has no layers");
out:
    return rc;
}

enum bg_status bg_bench_variant_bytes(const struct bg_bench_variant *variant, int64_t *bytes)
{
    const struct bg_program_options options = {
        .batch = variant->source.batch, .mode = BG_MODE_TRAIN, .compute = variant->compute};
    struct bg_program *program = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_program_create(&program, variant->net->graph, &options));
    *bytes = bg_program_bytes(program);
out:
    bg_program_destroy(program);
    return rc;
}
