/* The trainer's own part of a checkpoint, under "trainer/": the position, what the running epoch's
 * updates did, W_0 of the stage and the weights of its last cycle. Loading reads all before it
 * changes anything. */
#include <math.h>
#include <stdio.h>

#include "core/h5.h"
#include "policies/trainer_state.h"

#define OBJECT_MAX 128

static enum bg_status object_name(char *out, const char *group, const struct bg_graph *graph,
                                  int layer)
{
    int length = snprintf(out, OBJECT_MAX, "trainer/%s/%s", group,
                          bg_node_name(bg_graph_layer(graph, layer)));
    return length > 0 && length < OBJECT_MAX ? BG_OK
                                             : bg_fail(BG_E_RANGE, "layer name is too long");
}

static enum bg_status save_anchor(const struct bg_anchor *anchor, const char *group,
                                  const struct bg_graph *graph, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < anchor->layers; i++) {
        char name[OBJECT_MAX];
        TRY(object_name(name, group, graph, i));
        TRY(bg_h5_write(file, name, BG_H5_F32, 1, &anchor->count[i], anchor->weight[i], false));
    }
out:
    return rc;
}

enum bg_status bg_trainer_save(const struct bg_trainer *trainer, const struct bg_train_state *state,
                               struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    const int64_t counts[5] = {state->step, state->epoch_samples, state->epoch_correct,
                               state->best_epoch, trainer->anchored};
    const double reals[2] = {state->epoch_loss_sum, state->best_accuracy};
    const int64_t five = 5, two = 2;
    TRY(bg_h5_write(file, "trainer/counts", BG_H5_S64, 1, &five, counts, false));
    TRY(bg_h5_write(file, "trainer/reals", BG_H5_F64, 1, &two, reals, false));
    TRY(bg_moves_save(trainer->moving, bg_graph_layer_count(trainer->graph), file));
    if (trainer->anchored) {
        TRY(save_anchor(&trainer->initial, "initial", trainer->graph, file));
        TRY(save_anchor(&trainer->previous, "previous", trainer->graph, file));
    }
out:
    return rc;
}

static enum bg_status load_anchor(const struct bg_anchor *anchor, const char *group,
                                  const struct bg_graph *graph, struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    for (int i = 0; i < anchor->layers; i++) {
        char name[OBJECT_MAX];
        TRY(object_name(name, group, graph, i));
        TRY(bg_h5_read(file, name, BG_H5_F32, 1, &anchor->count[i], anchor->weight[i],
                       anchor->count[i] * (int64_t)sizeof(float)));
    }
out:
    return rc;
}

static enum bg_status check_state(const int64_t *counts, const double *reals)
{
    for (int i = 0; i < 5; i++) {
        if (counts[i] < 0)
            return bg_fail(BG_E_DATA, "trainer/counts: entry %d is %lld, must not be negative", i,
                           (long long)counts[i]);
    }
    if (counts[2] > counts[1] || counts[4] > 1)
        return bg_fail(BG_E_DATA, "trainer/counts: %lld of %lld samples correct, anchors %lld",
                       (long long)counts[2], (long long)counts[1], (long long)counts[4]);
    if (!isfinite(reals[0]) || !(reals[1] >= -1 && reals[1] <= 1))
        return bg_fail(BG_E_DATA, "trainer/reals: loss sum %g, best accuracy %g", reals[0],
                       reals[1]);
    return BG_OK;
}

static void move_anchor(struct bg_anchor *to, struct bg_anchor *from)
{
    bg_anchor_free(to);
    *to = *from;
    *from = (struct bg_anchor){0};
}

enum bg_status bg_trainer_load(struct bg_trainer *trainer, struct bg_train_state *state,
                               struct bg_h5 *file)
{
    enum bg_status rc = BG_OK;
    int64_t counts[5] = {0};
    double reals[2] = {0};
    const int64_t five = 5, two = 2;
    struct bg_anchor initial = {0}, previous = {0};
    TRY(bg_h5_read(file, "trainer/counts", BG_H5_S64, 1, &five, counts, sizeof counts));
    TRY(bg_h5_read(file, "trainer/reals", BG_H5_F64, 1, &two, reals, sizeof reals));
    TRY(check_state(counts, reals));
    if (counts[4]) {
        TRY(bg_anchor_make(&initial, trainer->graph));
        TRY(bg_anchor_make(&previous, trainer->graph));
        TRY(load_anchor(&initial, "initial", trainer->graph, file));
        TRY(load_anchor(&previous, "previous", trainer->graph, file));
    }
    TRY(bg_moves_load(trainer->moving, bg_graph_layer_count(trainer->graph), file));
    if (counts[4]) {
        move_anchor(&trainer->initial, &initial);
        move_anchor(&trainer->previous, &previous);
    }
    trainer->anchored = counts[4] == 1;
    *state = (struct bg_train_state){.step = counts[0],
                                     .epoch_samples = counts[1],
                                     .epoch_correct = counts[2],
                                     .best_epoch = counts[3],
                                     .epoch_loss_sum = reals[0],
                                     .best_accuracy = reals[1]};
out:
    bg_anchor_free(&previous);
    bg_anchor_free(&initial);
    return rc;
}
