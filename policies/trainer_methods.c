/* Which method moves which parameter: the plan's for weights that it names one for, the section's
 * for the other integer weights, sgd for all else. Options come from `updates`, for the section's
 * method from `options`; momentum, nesterov and weight_decay are the section's where a method's own
 * map does not stand. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/store.h"
#include "policies/step.h"
#include "policies/trainer_state.h"

static const struct bg_yaml *node_of(const struct bg_train_options *options, const char *name)
{
    const struct bg_yaml *own =
        options->updates == NULL ? NULL : bg_yaml_get(options->updates, name);

    return own == NULL && strcmp(options->update, name) == 0 ? options->update_options : own;
}

static enum bg_status choose(const struct bg_train_options *options, const char *name,
                             struct bg_trainer_method *out)
{
    enum bg_status rc = BG_OK;
    struct bg_text errors = {0};
    char path[BG_NAME_MAX + 16] = "options";

    bg_text_init(&errors, 65536);
    if (strcmp(name, options->update) != 0)
        (void)snprintf(path, sizeof path, "updates.%s", name);
    rc = bg_update_choose(name, node_of(options, name), path, &out->method, &out->options, &errors);
    if (rc == BG_E_DATA) { /* the lines without the last one's end */
        int length = errors.length > 0 ? (int)errors.length - 1 : 0;
        rc = bg_fail(rc, "train: %.*s", length, bg_text_string(&errors));
    }
    bg_text_free(&errors);
    return rc;
}

/* The method of this name among those of the run, chosen when it is the first time. */
static enum bg_status find(struct bg_trainer_run *run, const char *name, int *out)
{
    enum bg_status rc = BG_OK;

    for (*out = 0; *out < run->methods; (*out)++)
        if (strcmp(run->method[*out].method->name, name) == 0)
            goto out;
    if (run->methods == BG_TRAINER_METHODS)
        FAIL(BG_E_RANGE, "train: more than %d update methods", BG_TRAINER_METHODS);
    TRY(choose(run->options, name, &run->method[run->methods]));
    run->methods++;
    if (*out > 0 && node_of(run->options, name) == NULL)
        memcpy(run->method[*out].options, run->method[0].options, sizeof(struct bg_optimizer));
out:
    return rc;
}

static const char *name_for(const struct bg_trainer_run *run, const struct bg_param *param)
{
    const struct bg_trainer_method *first = &run->method[0];
    const bool integer = param->quantizer != NULL && !param->quantizer->grid.binary;
    const bool moves =
        param->kind == BG_PARAM_WEIGHT &&
        (first->method->moves == NULL ? integer : first->method->moves(first->options, param));

    if (param->kind == BG_PARAM_WEIGHT && param->update[0] != '\0')
        return param->update;
    return moves || first->method->prepare == NULL ? first->method->name : "sgd";
}

/* A method of the section that moves no weight at all was meant for another plan. Methods without
 * a say of their own are asked before this. */
static enum bg_status check_first(const struct bg_trainer_run *run)
{
    const struct bg_update_method *first = run->method[0].method;
    const struct bg_graph *graph = run->trainer->graph;

    if (first->moves == NULL)
        return BG_OK;
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        if (param->kind == BG_PARAM_WEIGHT &&
            (param->update[0] != '\0' || first->moves(run->method[0].options, param)))
            return BG_OK;
    }
    return bg_fail(BG_E_UNSUPPORTED,
                   "train: update: %s has no weight to move: form: float moves those with w=f32, "
                   "other forms those of 2 to %d bits",
                   first->name, BG_BITS_MAX);
}

static void warn_one_bit(const struct bg_trainer_run *run, const struct bg_param *param)
{
    if (run->method[0].method->prepare != NULL && param->kind == BG_PARAM_WEIGHT &&
        param->update[0] == '\0' && param->quantizer != NULL && param->quantizer->grid.binary)
        bg_log(BG_LOG_WARN,
               "%s: weights of 1 bit keep an f32 master and move by sgd: %s moves 2 to %d bits",
               param->name, run->method[0].method->name, BG_BITS_MAX);
}

enum bg_status bg_trainer_choose_methods(struct bg_trainer_run *run)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = run->trainer->graph;
    int first = 0;

    TRY(bg_alloc(&run->of_param, bg_graph_param_count(graph), sizeof *run->of_param));
    TRY(find(run, run->options->update, &first));
    TRY(check_first(run));
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        warn_one_bit(run, param);
        rc = find(run, name_for(run, param), &run->of_param[i]);
        if (rc != BG_OK) {
            rc = bg_fail_prefix(rc, "%s: ", param->name);
            goto out;
        }
    }
out:
    return rc;
}

enum bg_status bg_trainer_prepare(const struct bg_trainer_run *run, bool resumed)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = run->trainer->graph;

    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        const struct bg_trainer_method *method = &run->method[run->of_param[i]];
        if (param->kind != BG_PARAM_WEIGHT)
            continue;
        if (method->method->prepare != NULL)
            TRY(method->method->prepare(method->options, param, param->update_bits, resumed));
        else if (resumed && param->store != NULL)
            FAIL(BG_E_MISMATCH, "%s: the state holds integers, u=%s moves f32 weights", param->name,
                 method->method->name);
        else
            TRY(bg_param_release(param));
    }
out:
    return rc;
}

static void count_moves(const struct bg_trainer_run *run, const struct bg_param *param,
                        const struct bg_trainer_method *method,
                        const struct bg_update_moment *moment)
{
    const int64_t part = run->steps_per_epoch / BG_MOVE_EVERY, every = part > 0 ? part : 1;
    const struct bg_move_call call = {.method = method->method,
                                      .options = method->options,
                                      .moment = moment,
                                      .decay = true,
                                      .sample = moment->step % (uint64_t)every == 0};

    bg_moves_count(&run->trainer->moving[param->layer], param, &call);
}

enum bg_status bg_trainer_update(const struct bg_trainer_run *run,
                                 const struct bg_update_moment *moment)
{
    enum bg_status rc = BG_OK;
    struct bg_graph *graph = run->trainer->graph;

    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        struct bg_param *param = bg_graph_param(graph, i);
        const struct bg_trainer_method *method = &run->method[run->of_param[i]];
        const bool decay = param->kind == BG_PARAM_WEIGHT ||
                           (run->options->decay_norms && param->kind != BG_PARAM_STEP);
        if (!bg_param_trainable(param))
            continue;
        if (run->counts && param->kind == BG_PARAM_WEIGHT && param->layer >= 0)
            count_moves(run, param, method, moment);
        TRY(method->method->update(method->options, param, moment, decay));
        param->version++;
    }
out:
    return rc;
}

void bg_trainer_free_methods(struct bg_trainer_run *run)
{
    for (int i = 0; i < run->methods; i++)
        bg_free(run->method[i].options);
    bg_free(run->of_param);
}

void bg_trainer_begin_moves(struct bg_trainer *trainer)
{
    for (int i = 0; i < bg_graph_layer_count(trainer->graph); i++)
        bg_moves_begin(&trainer->moving[i], bg_graph_layer_weight(trainer->graph, i));
}

void bg_trainer_end_moves(const struct bg_trainer_run *run)
{
    struct bg_trainer *trainer = run->trainer;

    for (int i = 0; i < bg_graph_param_count(trainer->graph); i++) {
        const struct bg_param *param = bg_graph_param(trainer->graph, i);
        if (param->kind != BG_PARAM_WEIGHT || param->layer < 0)
            continue;
        bg_moves_take(&trainer->moving[param->layer], param, &trainer->moved[param->layer]);
        trainer->moved[param->layer].method = run->method[run->of_param[i]].method->name;
    }
    bg_trainer_begin_moves(trainer);
}

void bg_trainer_warn_lost(const struct bg_graph *graph)
{
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        const struct bg_store *store = param->store;
        if (store != NULL && store->kept == 0 && store->lost > 0)
            bg_log(BG_LOG_WARN,
                   "%s: all %lld steps so far were below half of the last bit and are lost: the "
                   "learning rate is too low for its width",
                   param->name, (long long)store->lost);
    }
}

int64_t bg_trainer_remembered(const struct bg_trainer *trainer)
{
    const struct bg_anchor *const anchors[2] = {&trainer->initial, &trainer->previous};
    int64_t sum = 0;

    for (int a = 0; a < 2; a++)
        for (int i = 0; i < anchors[a]->layers; i++)
            sum += anchors[a]->count[i] * (int64_t)sizeof(float);
    return sum;
}

void bg_trainer_bytes(const struct bg_graph *graph, struct bg_store_bytes *integers,
                      struct bg_store_bytes *masters)
{
    *integers = *masters = (struct bg_store_bytes){0};
    for (int i = 0; i < bg_graph_param_count(graph); i++) {
        const struct bg_param *param = bg_graph_param(graph, i);
        struct bg_store_bytes *sum = param->store != NULL ? integers : masters, one;
        if (param->kind != BG_PARAM_WEIGHT)
            continue;
        bg_param_bytes(param, &one);
        sum->weights += one.weights;
        sum->values += one.values;
        sum->codes += one.codes;
        sum->below += one.below;
        sum->momentum += one.momentum;
        sum->gradient += one.gradient;
    }
}
