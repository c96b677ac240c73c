/* `bitgrad bench eval`: images per second of one network in f32, quantized with its codes simulated
 * in f32, and by its integer program: what evaluation of a recipe runs. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/bench_variant.h"

#define DEFAULT_PLAN "W8A8"
#define TRAIN_STEPS  2 /* so that running statistics are of this network */
#define JOBS         3

struct evaluation {
    const struct bg_bench_setup *setup;
    struct bg_bench_variant plain, quantized;
    struct bg_program *f32, *simulated;
    struct bg_integer_model *model;
    struct bg_integer_program *integer; /* NULL: the plan has none */
    char refusal[256];
    struct bg_bench_call call[JOBS];
    struct bg_bench_job job[JOBS];
    const char *name[JOBS];
    int jobs;
};

static enum bg_status forward(struct bg_bench_variant *variant, struct bg_program *program)
{
    const struct bg_run_moment moment = {.seed = 1};
    struct bg_batch batch = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_bench_variant_batch(variant, &batch));
    TRY(bg_program_forward(program, &batch, &moment));
out:
    return rc;
}

static enum bg_status run_f32(void *self)
{
    struct evaluation *e = self;
    return forward(&e->plain, e->f32);
}

static enum bg_status run_simulated(void *self)
{
    struct evaluation *e = self;
    return forward(&e->quantized, e->simulated);
}

static enum bg_status run_integer(void *self)
{
    struct evaluation *e = self;
    struct bg_batch batch = {0};
    enum bg_status rc = BG_OK;
    TRY(bg_bench_variant_batch(&e->quantized, &batch));
    TRY(bg_integer_program_run(e->integer, &batch));
out:
    return rc;
}

static enum bg_status open_one(struct evaluation *e, struct bg_bench_variant *variant,
                               struct bg_program **program)
{
    const struct bg_program_options options = {
        .batch = e->setup->batch, .mode = BG_MODE_EVAL, .compute = BG_COMPUTE_EXACT};
    double seconds[TRAIN_STEPS];
    enum bg_status rc = BG_OK;
    TRY(bg_bench_variant_open(variant, e->setup));
    TRY(bg_bench_variant_run(variant, TRAIN_STEPS, seconds));
    TRY(bg_program_create(program, variant->net->graph, &options));
out:
    return rc;
}

static void add_job(struct evaluation *e, const char *name, enum bg_status (*call)(void *self))
{
    e->call[e->jobs] = (struct bg_bench_call){e, call};
    e->job[e->jobs] = (struct bg_bench_job){.self = &e->call[e->jobs], .run = bg_bench_run_call};
    e->name[e->jobs++] = name;
}

static enum bg_status open_all(struct evaluation *e)
{
    const char *plan = e->setup->plan ? e->setup->plan : DEFAULT_PLAN, *why = "";
    enum bg_status rc = BG_OK;

    if (e->setup->variants || e->setup->compute)
        FAIL(BG_E_USAGE, "bench eval takes --plan, not --variants or --compute");
    if (!strcmp(plan, "f32"))
        FAIL(BG_E_USAGE, "bench eval: the plan is compared with f32: give another one");
    TRY(bg_text_copy(e->plain.plan_text, sizeof e->plain.plan_text, "f32"));
    TRY(bg_text_copy(e->plain.name, sizeof e->plain.name, "f32/exact"));
    TRY(bg_text_copy(e->quantized.plan_text, sizeof e->quantized.plan_text, plan));
    TRY(bg_text_copy(e->quantized.name, sizeof e->quantized.name, plan));
    TRY(open_one(e, &e->plain, &e->f32));
    TRY(open_one(e, &e->quantized, &e->simulated));
    add_job(e, "f32", run_f32);
    add_job(e, "simulated", run_simulated);
    if (!bg_graph_is_integer(e->quantized.net->graph, &why)) {
        (void)snprintf(e->refusal, sizeof e->refusal, "%.255s", why);
        goto out;
    }
    TRY(bg_integer_model_create(&e->model, e->quantized.net->graph, NULL));
    TRY(bg_integer_program_create(&e->integer, e->model, e->setup->batch, BG_INT_FAST, false));
    add_job(e, "integer", run_integer);
out:
    return rc;
}

static void close_all(struct evaluation *e)
{
    bg_integer_program_destroy(e->integer);
    bg_integer_model_destroy(e->model);
    bg_program_destroy(e->f32);
    bg_program_destroy(e->simulated);
    bg_bench_variant_close(&e->plain);
    bg_bench_variant_close(&e->quantized);
    bg_bench_free(e->job, JOBS);
}

static json_t *implementations(const struct evaluation *e, int job)
{
    const struct bg_program *program = job == 0 ? e->f32 : e->simulated;
    json_t *list = json_array();
    for (int i = 0; job < 2 && i < bg_program_implementation_count(program); i++) {
        struct bg_implementation one = bg_program_implementation(program, i);
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:s}", "node", one.node, "op", one.op,
                                              "forward", one.forward ? one.forward : ""));
    }
    for (int s = 0; job == 2 && s < e->model->steps; s++)
        for (int t = 0; t < e->model->step[s].terms; t++) {
            const char *name = bg_integer_program_implementation(e->integer, s, t);
            if (*name)
                (void)json_array_append_new(
                    list, json_pack("{s:s, s:s, s:s}", "node",
                                    bg_node_name(e->model->step[s].term[t].node), "op",
                                    bg_node_op(e->model->step[s].term[t].node), "forward", name));
        }
    return list;
}

static double images_per_second(const struct evaluation *e, int job)
{
    return (double)e->setup->batch / e->job[job].median;
}

static enum bg_status print_json(const struct evaluation *e)
{
    json_t *root = bg_bench_json(e->setup, "eval"), *list = json_array();
    for (int j = 0; j < e->jobs; j++) {
        json_t *one =
            json_pack("{s:s, s:f, s:f, s:o}", "name", e->name[j], "images_per_second",
                      images_per_second(e, j), "times_faster", e->job[0].median / e->job[j].median,
                      "implementations", implementations(e, j));
        bg_bench_json_times(one, &e->job[j]);
        (void)json_array_append_new(list, one);
    }
    (void)json_object_set_new(root, "plan", json_string(e->quantized.plan_text));
    (void)json_object_set_new(root, "why_no_integers", json_string(e->refusal));
    (void)json_object_set_new(root, "variants", list);
    return bg_print_json(root, 0);
}

static void print_text(const struct evaluation *e)
{
    printf("%s in %s, batch %lld, %lld threads: %lld runs each, in turns\n", e->setup->model,
           e->quantized.plan_text, (long long)e->setup->batch, (long long)e->setup->threads,
           (long long)e->job[0].count);
    printf("%-10s %9s %9s  %9s  %s\n", "", "min ms", "median ms", "images/s",
           "faster (of medians, of minima)");
    for (int j = 0; j < e->jobs; j++)
        printf("%-10s %9.3f %9.3f  %9.0f  %8.2f %8.2f\n", e->name[j], 1e3 * e->job[j].min,
               1e3 * e->job[j].median, images_per_second(e, j), e->job[0].median / e->job[j].median,
               e->job[0].min / e->job[j].min);
    if (*e->refusal)
        printf("no integer program: %s\n", e->refusal);
    for (int s = 0; e->integer && s < e->model->steps; s++)
        for (int t = 0; t < e->model->step[s].terms; t++) {
            const char *name = bg_integer_program_implementation(e->integer, s, t);
            if (*name)
                printf("  %-20s %s\n", bg_node_name(e->model->step[s].term[t].node), name);
        }
}

enum bg_status bg_bench_eval(const struct bg_bench_setup *setup)
{
    struct evaluation e = {.setup = setup};
    struct bg_bench_effort effort = bg_bench_effort_of(setup->steps);
    enum bg_status rc = BG_OK;

    TRY(open_all(&e));
    TRY(bg_bench_interleave(e.job, e.jobs, &effort));
    if (setup->json)
        TRY(print_json(&e));
    else
        print_text(&e);
out:
    close_all(&e);
    return rc;
}
