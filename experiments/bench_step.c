/* `bitgrad bench step` and `bench profile`: whole training steps of several variants in turns. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/bench_variant.h"

#define STEP_DEFAULT    "f32/exact,W8A8/fast"
#define PROFILE_DEFAULT "W8A8/fast"
#define VARIANTS        (2 * BG_BENCH_VARIANTS_MAX)

struct comparison {
    const struct bg_bench_setup *setup;
    int count;
    struct bg_bench_variant variant[VARIANTS];
    struct bg_bench_job job[VARIANTS];
    struct bg_program *program[VARIANTS]; /* one like the trainer's, to ask for names and bytes */
    struct bg_profile profile[VARIANTS];
};

static enum bg_status open_all(struct comparison *all)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < all->count; i++) {
        TRY(bg_bench_variant_open(&all->variant[i], all->setup));
        all->job[i] = (struct bg_bench_job){.self = &all->variant[i], .run = bg_bench_variant_run};
    }
out:
    return rc;
}

/* Programs of their own, made after the timing: the trainer's are its own business. */
static enum bg_status ask(struct comparison *all)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < all->count; i++) {
        const struct bg_program_options options = {.batch = all->setup->batch,
                                                   .mode = BG_MODE_TRAIN,
                                                   .compute = all->variant[i].compute,
                                                   .observe = all->variant[i].profile != NULL};
        TRY(bg_program_create(&all->program[i], all->variant[i].net->graph, &options));
    }
out:
    return rc;
}

static void close_all(struct comparison *all)
{
    for (int i = 0; all && i < all->count; i++) {
        bg_program_destroy(all->program[i]);
        bg_bench_variant_close(&all->variant[i]);
        bg_profile_free(&all->profile[i]);
    }
    if (all)
        bg_bench_free(all->job, all->count);
    bg_free(all);
}

static json_t *implementations(const struct bg_program *program)
{
    json_t *list = json_array();
    for (int i = 0; i < bg_program_implementation_count(program); i++) {
        struct bg_implementation one = bg_program_implementation(program, i);
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "node", one.node, "op", one.op, "forward",
                            one.forward ? one.forward : "", "backward_data",
                            one.backward_data ? one.backward_data : "", "backward_weights",
                            one.backward_weights ? one.backward_weights : ""));
    }
    return list;
}

static json_t *variant_json(const struct comparison *all, int i, int base)
{
    const struct bg_bench_job *job = &all->job[i];
    const struct bg_bench_variant *variant = &all->variant[i];
    const struct bg_fastness fastness = bg_program_fastness(all->program[i]);
    double forward = 0, step = 0;
    json_t *seconds = json_array(), *one;

    for (int64_t s = 0; s < job->count; s++)
        (void)json_array_append_new(seconds, json_real(job->seconds[s]));
    one =
        json_pack("{s:s, s:s, s:s, s:b, s:i, s:i, s:s, s:b, s:I, s:o, s:o}", "name", variant->name,
                  "plan", variant->plan_text, "compute", bg_bench_compute_name(variant->compute),
                  "fast", fastness.whole, "layers_on_codes", fastness.coded, "layers",
                  fastness.layers, "why_not_fast", fastness.why, "observed",
                  variant->profile != NULL, "bytes", (json_int_t)bg_program_bytes(all->program[i]),
                  "seconds", seconds, "implementations", implementations(all->program[i]));
    bg_bench_json_times(one, job);
    (void)json_object_set_new(one, "update", json_string(variant->update_text));
    if (bg_bench_variant_macs(variant, &forward, &step) == BG_OK)
        (void)json_object_set_new(one, "gflops", json_real(2e-9 * step / job->median));
    (void)json_object_set_new(one, "times_faster",
                              json_pack("{s:f, s:f}", "median", all->job[base].median / job->median,
                                        "min", all->job[base].min / job->min));
    return one;
}

static json_t *json_of(const struct comparison *all, const char *bench)
{
    json_t *root = bg_bench_json(all->setup, bench), *variants = json_array();
    for (int i = 0; i < all->count; i++)
        (void)json_array_append_new(variants, variant_json(all, i, 0));
    (void)json_object_set_new(root, "update", json_string(all->setup->update));
    (void)json_object_set_new(root, "steps", json_integer(all->job[0].count));
    (void)json_object_set_new(root, "variants", variants);
    return root;
}

static bool same(const struct bg_implementation *a, const struct bg_implementation *b)
{
    return !strcmp(a->op, b->op) && !strcmp(a->forward, b->forward) &&
           !strcmp(a->backward_data, b->backward_data) &&
           !strcmp(a->backward_weights, b->backward_weights);
}

static struct bg_implementation implementation(const struct bg_program *program, int index)
{
    struct bg_implementation one = bg_program_implementation(program, index);
    one.forward = one.forward ? one.forward : "";
    one.backward_data = one.backward_data ? one.backward_data : "";
    one.backward_weights = one.backward_weights ? one.backward_weights : "";
    return one;
}

/* Equal ones on one line, with their number and the first one's node. */
static void print_implementations(const struct bg_program *program)
{
    int count = bg_program_implementation_count(program);
    for (int i = 0; i < count; i++) {
        struct bg_implementation one = implementation(program, i);
        int equal = 1;
        bool seen = false;
        for (int j = 0; j < count; j++) {
            struct bg_implementation other = implementation(program, j);
            seen = seen || (j < i && same(&one, &other));
            equal += j > i && same(&one, &other);
        }
        if (!seen)
            printf("  %3d x %-10s %-20s %-34s %-34s %s\n", equal, one.op, one.node, one.forward,
                   one.backward_data, one.backward_weights);
    }
}

/* The update only when all variants have it: a variant's own one is in its name. */
static void print_head(const struct comparison *all, const char *what)
{
    const struct bg_bench_setup *setup = all->setup;
    bool shared = true;
    for (int i = 0; i < all->count; i++)
        shared = shared && !strcmp(all->variant[i].update_text, setup->update);
    printf("%s, batch %lld of %lldx%lldx%lld, %lld threads%s%s: %lld %s each, in turns\n",
           setup->model, (long long)setup->batch, (long long)setup->height, (long long)setup->width,
           (long long)setup->channels, (long long)setup->threads, shared ? ", update " : "",
           shared ? setup->update : "", (long long)all->job[0].count, what);
}

static void print_steps(const struct comparison *all)
{
    print_head(all, "steps");
    printf("%-24s %9s %9s  %s %s  %8s  %9s\n", "variant", "min ms", "median ms",
           "faster (of medians,", "of minima)", "GFLOP/s", "memory MB");
    for (int i = 0; i < all->count; i++) {
        const struct bg_bench_job *job = &all->job[i];
        const struct bg_fastness fastness = bg_program_fastness(all->program[i]);
        char text[512];
        double forward = 0, step = 0;
        if (bg_bench_variant_macs(&all->variant[i], &forward, &step) != BG_OK)
            step = 0;
        printf("%-24s %9.2f %9.2f  %19.2f %10.2f  %8.0f  %9.1f\n", all->variant[i].name,
               1e3 * job->min, 1e3 * job->median, all->job[0].median / job->median,
               all->job[0].min / job->min, 2e-9 * step / job->median,
               1e-6 * (double)bg_program_bytes(all->program[i]));
        if (all->variant[i].compute == BG_COMPUTE_FAST)
            printf("  %s\n", bg_fastness_text(&fastness, text, sizeof text));
    }
    for (int i = 0; i < all->count; i++) {
        printf("\n%s: forward, backward data, backward weights\n", all->variant[i].name);
        print_implementations(all->program[i]);
    }
}

enum bg_status bg_bench_step(const struct bg_bench_setup *setup)
{
    struct comparison *all = NULL;
    struct bg_bench_effort effort = bg_bench_effort_of(setup->steps);
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&all, 1, sizeof *all));
    all->setup = setup;
    TRY(bg_bench_variants_choose(setup, STEP_DEFAULT, all->variant, &all->count));
    TRY(open_all(all));
    TRY(bg_bench_interleave(all->job, all->count, &effort));
    TRY(ask(all));
    if (setup->json)
        TRY(bg_print_json(json_of(all, "step"), 0));
    else
        print_steps(all);
out:
    close_all(all);
    return rc;
}

/* Variants i and count + i are the same, the second one observed. */
static enum bg_status double_all(struct comparison *all, int count)
{
    enum bg_status rc = BG_OK;
    all->count = 2 * count;
    for (int i = 0; i < count; i++)
        all->variant[count + i] = all->variant[i];
    TRY(open_all(all));
    for (int i = count; i < 2 * count; i++) {
        TRY(bg_trainer_profile_make(all->variant[i].net, false, &all->profile[i]));
        all->variant[i].profile = &all->profile[i];
    }
out:
    return rc;
}

static void print_costs(const struct comparison *all, int count)
{
    print_head(all, "steps with and without the gradients of all inputs, weights and outputs");
    printf("%-24s %9s %9s  %9s %9s  %s\n", "variant", "min ms", "median ms",
           "observed:", "median ms", "cost (of medians, of minima)");
    for (int i = 0; i < count; i++) {
        const struct bg_bench_job *plain = &all->job[i], *observed = &all->job[count + i];
        printf("%-24s %9.2f %9.2f  %9.2f %9.2f  %10.1f %% %10.1f %%\n", all->variant[i].name,
               1e3 * plain->min, 1e3 * plain->median, 1e3 * observed->min, 1e3 * observed->median,
               100 * (observed->median / plain->median - 1),
               100 * (observed->min / plain->min - 1));
    }
}

static json_t *costs_json(const struct comparison *all, int count)
{
    json_t *root = json_of(all, "profile"), *costs = json_array();
    for (int i = 0; i < count; i++)
        (void)json_array_append_new(
            costs, json_pack("{s:s, s:f, s:f}", "name", all->variant[i].name, "median",
                             all->job[count + i].median / all->job[i].median, "min",
                             all->job[count + i].min / all->job[i].min));
    (void)json_object_set_new(root, "ratios", costs);
    return root;
}

enum bg_status bg_bench_profile(const struct bg_bench_setup *setup)
{
    struct comparison *all = NULL;
    struct bg_bench_effort effort = bg_bench_effort_of(setup->steps);
    int count = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&all, 1, sizeof *all));
    all->setup = setup;
    TRY(bg_bench_variants_choose(setup, PROFILE_DEFAULT, all->variant, &count));
    TRY(double_all(all, count));
    TRY(bg_bench_interleave(all->job, all->count, &effort));
    TRY(ask(all));
    if (setup->json)
        TRY(bg_print_json(costs_json(all, count), 0));
    else
        print_costs(all, count);
out:
    close_all(all);
    return rc;
}
