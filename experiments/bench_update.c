/* `bitgrad bench update`: the updates of several variants, each timed in the midst of its own
 * training steps, where gradients have just been written and weights have just been read. In the
 * compute fast, and where that runs on codes, a method leaves weights packed for the next step:
 * range, encoding and packing of f32 masters are then in the time of sgd. In other computes the
 * forward pass does that work, and the update's time is without it. */
#include <stdio.h>

#include "core/mem.h"
#include "experiments/bench_variant.h"

#define UPDATE_DEFAULT                                                                             \
    "f32/exact,W8A8/fast,W8A8/fast/residual:bits=8,W8A8/fast/threshold,W8A8/fast/nearest,"         \
    "W8A8/fast/stochastic,W8A8/fast/kahan-bf16"

struct comparison {
    const struct bg_bench_setup *setup;
    int count;
    struct bg_bench_variant variant[BG_BENCH_VARIANTS_MAX];
    struct bg_bench_job job[BG_BENCH_VARIANTS_MAX];
};

static int64_t parameters(const struct bg_graph *graph)
{
    int64_t count = 0;

    for (int i = 0; i < bg_graph_param_count(graph); i++)
        if (bg_param_trainable(bg_graph_param(graph, i)))
            count += bg_tensor_count(&bg_graph_param(graph, i)->value);
    return count;
}

static json_t *json_of(const struct comparison *all)
{
    json_t *root = bg_bench_json(all->setup, "update"), *variants = json_array();

    for (int i = 0; i < all->count; i++) {
        const struct bg_bench_variant *variant = &all->variant[i];
        const struct bg_bench_job *job = &all->job[i];
        json_t *one =
            json_pack("{s:s, s:s, s:s, s:s, s:{s:f, s:f}}", "name", variant->name, "plan",
                      variant->plan_text, "compute", bg_bench_compute_name(variant->compute),
                      "update", variant->update_text, "times_as_long", "median",
                      job->median / all->job[0].median, "min", job->min / all->job[0].min);
        bg_bench_json_times(one, job);
        (void)json_array_append_new(variants, one);
    }
    (void)json_object_set_new(root, "parameters",
                              json_integer(parameters(all->variant[0].net->graph)));
    (void)json_object_set_new(root, "variants", variants);
    return root;
}

static void print(const struct comparison *all)
{
    const struct bg_bench_setup *setup = all->setup;
    const double count = (double)parameters(all->variant[0].net->graph);

    printf(
        "%s, %.0f parameters, batch %lld, %lld threads: the updates of %lld steps each, in turns\n",
        setup->model, count, (long long)setup->batch, (long long)setup->threads,
        (long long)all->job[0].count);
    printf("%-34s %9s %9s  %10s  %s\n", "variant", "min us", "median us", "ns each",
           "times as long (of medians, of minima)");
    for (int i = 0; i < all->count; i++) {
        const struct bg_bench_job *job = &all->job[i];
        printf("%-34s %9.1f %9.1f  %10.3f  %22.2f %10.2f\n", all->variant[i].name, 1e6 * job->min,
               1e6 * job->median, 1e9 * job->median / count, job->median / all->job[0].median,
               job->min / all->job[0].min);
    }
}

enum bg_status bg_bench_update(const struct bg_bench_setup *setup)
{
    const struct bg_bench_effort effort = bg_bench_effort_of(setup->steps);
    struct comparison *all = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&all, 1, sizeof *all));
    all->setup = setup;
    TRY(bg_bench_variants_choose(setup, UPDATE_DEFAULT, all->variant, &all->count));
    for (int i = 0; i < all->count; i++) {
        TRY(bg_bench_variant_open(&all->variant[i], setup));
        all->variant[i].updates = true;
        all->job[i] = (struct bg_bench_job){.self = &all->variant[i], .run = bg_bench_variant_run};
    }
    TRY(bg_bench_interleave(all->job, all->count, &effort));
    if (setup->json)
        TRY(bg_print_json(json_of(all), 0));
    else
        print(all);
out:
    for (int i = 0; all && i < all->count; i++)
        bg_bench_variant_close(&all->variant[i]);
    if (all)
        bg_bench_free(all->job, all->count);
    bg_free(all);
    return rc;
}
