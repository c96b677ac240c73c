/* Opening a run: its directory, lock, recipe, data and network, and the resume. */
#include "experiments/run.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/dnn.h"
#include "core/log.h"
#include "core/mem.h"
#include "experiments/latency_file.h"

#define TEXT_LIMIT  (1 << 24)
#define UPDATES_MAX 64

static_assert(sizeof((struct bg_evaluation *)0)->class_count == BG_RECORD_CLASSES * sizeof(int64_t),
              "an evaluation holds every class of a record");

enum bg_stage bg_run_stage(const struct bg_run *run)
{
    return run->stage < run->recipe->stages ? run->recipe->stage[run->stage] : BG_STAGES;
}

/* The lock lives as long as the descriptor: a killed process leaves none. */
enum bg_status bg_run_lock(struct bg_run *run)
{
    char path[BG_PATH_MAX], text[32];
    int length;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, run->dir, "lock"));
    run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (run->lock < 0)
        FAIL(BG_E_IO, "%s: cannot be written", path);
    if (flock(run->lock, LOCK_EX | LOCK_NB) != 0) {
        (void)close(run->lock);
        run->lock = -1;
        FAIL(BG_E_MISMATCH, "%s is in use by another bitgrad", run->dir);
    }
    length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(run->lock, 0) != 0 || write(run->lock, text, (size_t)length) != length)
        FAIL(BG_E_IO, "%s: cannot be written", path);
out:
    return rc;
}

static void drop_lock(struct bg_run *run)
{
    char path[BG_PATH_MAX];
    if (run->lock < 0)
        return;
    if (bg_path_join(path, run->dir, "lock") == BG_OK)
        bg_file_remove(path);
    (void)close(run->lock);
    run->lock = -1;
}

/* Without its recipe a run cannot be gone on with, and beginning anew would write over it. */
static enum bg_status refuse_foreign(const struct bg_run *run)
{
    static const char *const names[] = {"run.h5", BG_CHECKPOINT_LAST};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK;
    for (int i = 0; i < 2; i++) {
        TRY(bg_path_join(path, run->dir, names[i]));
        if (bg_file_exists(path))
            FAIL(BG_E_MISMATCH, "%s holds %s but no recipe.yaml; use another --out", run->dir,
                 names[i]);
    }
out:
    return rc;
}

/* Sets *known when the directory holds this recipe; refuses another one. */
static enum bg_status compare_recipe(struct bg_run *run, bool *known)
{
    char path[BG_PATH_MAX], difference[512];
    char *text = NULL;
    size_t length = 0;
    bool differ = false;
    enum bg_status rc = BG_OK;

    *known = false;
    TRY(bg_path_join(path, run->dir, "recipe.yaml"));
    if (!bg_file_exists(path)) {
        TRY(refuse_foreign(run));
        goto out;
    }
    *known = true;
    TRY(bg_file_read(path, TEXT_LIMIT, &text, &length));
    TRY(bg_recipe_difference(path, text, bg_text_string(&run->recipe->resolved), &differ,
                             difference));
    if (differ)
        FAIL(BG_E_MISMATCH, "%s holds a run of another recipe: %s; use another --out", run->dir,
             difference);
out:
    bg_free(text);
    return rc;
}

static enum bg_status open_dir(struct bg_run *run, bool *known)
{
    char path[BG_PATH_MAX];
    int stage = 0;
    enum bg_status rc = BG_OK;

    run->made_dir = !bg_dir_exists(run->dir);
    TRY(bg_dir_make(run->dir));
    TRY(bg_run_lock(run));
    TRY(compare_recipe(run, known));
    bg_dir_remove_temporaries(run->dir);
    TRY(bg_path_join(path, run->dir, BG_CHECKPOINT_LAST));
    if (!*known || !bg_file_exists(path))
        goto out;
    TRY(bg_checkpoint_peek(path, run->dir, &stage));
    run->resumed = true;
    run->finished = stage == run->recipe->stages;
out:
    return rc;
}

static enum bg_status read_errors(enum bg_status rc, const struct bg_text *errors)
{
    if (rc == BG_E_DATA && errors->length > 0)
        return bg_fail(rc, "%.*s", (int)strcspn(errors->at, "\n"), errors->at);
    return rc;
}

static enum bg_status open_network(struct bg_run *run)
{
    const struct bg_recipe *recipe = run->recipe;
    struct bg_trainer_config config = {.compute = (enum bg_compute)recipe->top.compute,
                                       .seed = (uint64_t)recipe->top.seed,
                                       .batch = recipe->train.batch,
                                       .eval_batch = recipe->eval_batch};
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, 1 << 16);
    rc = bg_data_open(&run->data, recipe->top.data, (uint64_t)recipe->top.seed, &errors);
    TRY(read_errors(rc, &errors));
    if (run->data->spec.classes > BG_RECORD_CLASSES)
        FAIL(BG_E_DATA, "data set %s: %d classes, limit is %d", run->data->train.title,
             run->data->spec.classes, BG_RECORD_CLASSES);
    rc = bg_net_create(&run->net, recipe->top.network, &run->data->spec,
                       (enum bg_loss)recipe->train.loss, recipe->train.label_smoothing, &errors);
    TRY(read_errors(rc, &errors));
    bg_graph_initialise(run->net->graph, (uint64_t)recipe->top.seed);
    if (*recipe->top.weights)
        TRY(bg_net_load_weights(run->net, recipe->top.weights));
    config.net = run->net;
    TRY(bg_trainer_create(&run->trainer, &config));
out:
    bg_text_free(&errors);
    return rc;
}

/* Every method that the plan names is one that there is. */
static enum bg_status check_methods(const struct bg_plan *plan, const char *path)
{
    const char *names[UPDATES_MAX], *near;
    int count = 0;
    for (; count < UPDATES_MAX && bg_update_methods[count]; count++)
        names[count] = bg_update_methods[count]->name;
    for (int i = 0; i < plan->count; i++) {
        const struct bg_plan_layer *layer = &plan->layer[i];
        bool known = false;
        for (int m = 0; m < count; m++)
            known = known || !strcmp(layer->update, names[m]);
        if (known)
            continue;
        near = bg_text_nearest(layer->update, names, count);
        return bg_fail(BG_E_DATA, "%s: layer %s: u=%s: there is no such update method%s%s%s", path,
                       layer->name, layer->update, near ? ", did you mean " : "", near ? near : "",
                       near ? "?" : "");
    }
    return BG_OK;
}

/* A plan file is tried on the network at once: a wrong bit or name must not wait for its stage. */
static enum bg_status read_given(struct bg_run *run)
{
    const char *path =
        *run->recipe->quantize.plan ? run->recipe->quantize.plan : run->recipe->select.plan;
    struct bg_text print = {0};
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;

    bg_text_init(&print, TEXT_LIMIT);
    if (!*path)
        goto out;
    TRY(bg_file_read(path, TEXT_LIMIT, &text, &length));
    TRY(bg_plan_parse(&run->given, path, text));
    TRY(check_methods(&run->given, path));
    rc = bg_run_apply(run, &run->given);
    if (rc != BG_OK)
        rc = strstr(bg_error(), path) ? rc : bg_fail_prefix(rc, "%s: ", path);
    TRY(rc);
    TRY(bg_run_apply(run, NULL));
    bg_plan_print(&run->given, &print);
    TRY(bg_text_check(&print));
    TRY(bg_record_add_plan(&run->record, "given", bg_text_string(&print)));
out:
    bg_text_free(&print);
    bg_free(text);
    return rc;
}

/* The plan that training starts in: the file's, or the same bits for all layers but the edges. */
static enum bg_status make_start(struct bg_run *run)
{
    const struct bg_quantize_section *quantize = &run->recipe->quantize;
    struct bg_plan *plan = &run->start;
    struct bg_plan edges = {0};
    int last = run->record.layers - 1;
    enum bg_status rc = BG_OK;

    if (!bg_recipe_trains_quantized(run->recipe))
        goto out;
    if (*quantize->plan) {
        TRY(bg_plan_copy(plan, &run->given));
        goto out;
    }
    TRY(bg_net_plan(run->net, (int)quantize->weight_bits, (int)quantize->activation_bits, plan));
    TRY(bg_net_plan(run->net, quantize->weight_bits > 0 ? (int)quantize->edge_bits : 0,
                    quantize->activation_bits > 0 ? (int)quantize->edge_bits : 0, &edges));
    for (int i = 0; quantize->edge_bits > 0 && i <= last; i += last > 0 ? last : 1)
        memcpy(plan->layer[i].spec, edges.layer[i].spec, sizeof plan->layer[i].spec);
    TRY(bg_run_apply(run, plan)); /* what the graph refuses, it refuses now */
    TRY(bg_run_apply(run, NULL));
out:
    bg_plan_free(&edges);
    return rc;
}

static enum bg_status name_layers(struct bg_run *run)
{
    const struct bg_graph *graph = run->net->graph;
    int layers = bg_graph_layer_count(graph);
    const char **names = NULL;
    enum bg_status rc = BG_OK;

    if (layers == 0)
        FAIL(BG_E_DATA, "network %s has no convolution or linear layer", run->net->name);
    TRY(bg_alloc(&names, 2 * (int64_t)layers, sizeof *names));
    for (int i = 0; i < layers; i++) {
        names[i] = bg_node_name(bg_graph_layer(graph, i));
        names[layers + i] = bg_node_op(bg_graph_layer(graph, i));
    }
    TRY(bg_record_make(&run->record, layers, names, names + layers));
out:
    bg_free((void *)names);
    return rc;
}

static enum bg_status name_measures(struct bg_run *run)
{
    const struct bg_recipe *recipe = run->recipe;
    const char **names = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&names, recipe->measures.count + 1, sizeof *names));
    for (int i = 0; i < recipe->measures.count; i++)
        names[i] = recipe->measures.at[i].name;
    TRY(bg_record_set_measures(&run->record, recipe->measures.count, names, recipe->candidates,
                               recipe->candidate_bits));
out:
    bg_free((void *)names);
    return rc;
}

static enum bg_status fill_record(struct bg_run *run)
{
    struct bg_record *record = &run->record;
    enum bg_status rc = BG_OK;
    TRY(name_layers(run));
    TRY(bg_text_copy(record->name, sizeof record->name, run->recipe->top.name));
    TRY(bg_text_copy(record->network, sizeof record->network, run->net->name));
    TRY(bg_text_copy(record->data_title, sizeof record->data_title, run->data->train.title));
    TRY(bg_text_copy(record->train_hash, sizeof record->train_hash, run->data->train.hash));
    TRY(bg_text_copy(record->test_hash, sizeof record->test_hash, run->data->test.hash));
    TRY(bg_text_copy(record->policy, sizeof record->policy, run->recipe->policy->name));
    TRY(bg_copy_text(&record->recipe, bg_text_string(&run->recipe->resolved)));
    if (*run->recipe->select.latency && bg_recipe_has_stage(run->recipe, BG_STAGE_SELECT))
        TRY(bg_latency_hash(run->recipe->select.latency, record->latency_hash));
    record->seed = run->recipe->top.seed;
    record->train_count = run->data->train_count;
    record->validation_count = run->data->validation_count;
    record->test_count = run->data->test_count;
    record->spec = run->data->spec;
    record->mean = run->data->mean;
    record->std = run->data->std;
    bg_environment_now(&record->environment);
    for (int i = 0; i < BG_PROFILES; i++)
        TRY(bg_trainer_profile_make(run->net, run->recipe->profile.per_channel,
                                    &record->profile[i]));
    TRY(name_measures(run));
    TRY(read_given(run));
    TRY(make_start(run));
    TRY(bg_run_list_implementations(run));
out:
    return rc;
}

static enum bg_status compare_data(const struct bg_record *then, const struct bg_record *now,
                                   const char *dir)
{
    if (strcmp(then->train_hash, now->train_hash) != 0)
        return bg_fail(BG_E_MISMATCH,
                       "%s was begun with other training data (hash %.12s..., now %.12s...)", dir,
                       then->train_hash, now->train_hash);
    if (strcmp(then->test_hash, now->test_hash) != 0)
        return bg_fail(BG_E_MISMATCH,
                       "%s was begun with other test data (hash %.12s..., now %.12s...)", dir,
                       then->test_hash, now->test_hash);
    if (then->layers != now->layers)
        return bg_fail(BG_E_MISMATCH, "%s was begun with a network of %d layers, this one has %d",
                       dir, then->layers, now->layers);
    if (then->plans && now->plans && strcmp(then->plan[0].text, now->plan[0].text) != 0 &&
        !strcmp(then->plan[0].stage, "given"))
        return bg_fail(BG_E_MISMATCH, "%s was begun with another text of the plan file", dir);
    return BG_OK;
}

static enum bg_status resume(struct bg_run *run)
{
    char path[BG_PATH_MAX];
    struct bg_record record = {0};
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(path, run->dir, "run.h5"));
    TRY(bg_record_read(&record, path));
    TRY(compare_data(&record, &run->record, run->dir));
    if (*record.latency_hash)
        TRY(bg_record_check_latency(&record, run->recipe->select.latency));
    bg_record_free(&run->record);
    run->record = record;
    record = (struct bg_record){0};
    TRY(bg_run_load(run, BG_CHECKPOINT_LAST, true));
out:
    bg_record_free(&record);
    return rc;
}

enum bg_status bg_run_open(struct bg_run **out, const struct bg_recipe *recipe, const char *dir)
{
    char path[BG_PATH_MAX];
    struct bg_run *run = NULL;
    bool known = false;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&run, 1, sizeof *run));
    run->recipe = recipe;
    run->lock = -1;
    TRY(bg_text_copy(run->dir, sizeof run->dir, dir));
    bg_threads_set((int)recipe->top.threads);
    TRY(open_dir(run, &known));
    if (!run->finished) {
        TRY(open_network(run));
        TRY(fill_record(run));
        TRY(bg_run_check_measures(run));
        TRY(bg_run_check_select(run));
        TRY(bg_path_join(path, run->dir, "recipe.yaml"));
        if (!known)
            TRY(bg_file_write(path, bg_text_string(&recipe->resolved), recipe->resolved.length));
        if (run->resumed)
            TRY(resume(run));
    }
    run->made_dir = false; /* it holds a run now */
    *out = run;
    run = NULL;
out:
    bg_run_close(run);
    return rc;
}

void bg_run_close(struct bg_run *run)
{
    if (!run)
        return;
    bg_trainer_destroy(run->trainer);
    bg_net_destroy(run->net);
    bg_data_close(run->data);
    bg_plan_free(&run->plan);
    bg_plan_free(&run->given);
    bg_plan_free(&run->start);
    bg_record_free(&run->record);
    drop_lock(run);
    if (run->made_dir)
        (void)rmdir(run->dir); /* succeeds only when nothing is in it */
    bg_free(run);
}
