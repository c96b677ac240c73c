/* What is recorded of updates: sampled steps against the moves that the methods then make, counts
 * by epoch against the stores' own, and the running epoch through a file. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/h5.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/store.h"
#include "tests/support_linear.h"

/* Fewer weights than a sample has, so that a sample is all of them. */
struct fixture {
    struct linear_fixture layer;
    struct bg_moves epoch[4];
    int64_t epochs;
    double before[COUNT], moved; /* sum of |change| in units of the weight's step */
};

static void make(struct fixture *f, const char *plan_text)
{
    memset(f, 0, sizeof *f);
    linear_make(&f->layer, plan_text);
}

static void take_down(struct fixture *f)
{
    linear_take_down(&f->layer);
}

static struct bg_param *weight(const struct fixture *f)
{
    return linear_weight(&f->layer);
}

/* Real values in f64: (T - o) * s * 2^-r of a store, which f32 would round. */
static double value_at(const struct bg_param *param, int64_t i)
{
    const struct bg_store *store = param->store;
    if (!store)
        return (double)bg_f32(&param->value)[i];
    const int64_t c = i / (store->count / store->channels);
    const int r = store->shift[c];
    return (ldexp(bg_store_code(store, i), r) + bg_store_below(store, i) -
            bg_store_half(store, r)) *
           ldexp((double)param->quantizer->grid.scale[c], -r);
}

static double unit_at(const struct bg_param *param, int64_t i)
{
    const struct bg_quantizer *quantizer = param->quantizer;
    return quantizer ? (double)quantizer->grid.scale[i / (COUNT / quantizer->grid.channels)] : 1;
}

static enum bg_status on_step(void *self, const struct bg_train_step_row *row,
                              const struct bg_train_state *state)
{
    struct fixture *f = self;
    (void)row;
    (void)state;
    for (int64_t i = 0; i < COUNT; i++) {
        const double now = value_at(weight(f), i);
        f->moved += fabs(now - f->before[i]) / unit_at(weight(f), i);
        f->before[i] = now;
    }
    return BG_OK;
}

static enum bg_status on_epoch(void *self, const struct bg_train_epoch_row *row,
                               const struct bg_evaluation *evaluation,
                               const struct bg_train_state *state)
{
    struct fixture *f = self;
    (void)evaluation;
    (void)state;
    f->epoch[f->epochs++] = row->moves[0];
    return BG_OK;
}

static enum bg_status stop_at_7(void *self, const struct bg_train_step_row *row,
                                const struct bg_train_state *state)
{
    (void)self;
    (void)state;
    return row->step == 7 ? bg_fail(BG_E_IO, "stop") : BG_OK;
}

static enum bg_status train(struct fixture *f, const char *yaml, struct bg_train_state *state,
                            bool stop)
{
    const struct bg_train_hooks hooks = {
        .self = f, .on_step = stop ? stop_at_7 : on_step, .on_epoch = on_epoch};
    return linear_train(&f->layer, yaml, state, &hooks);
}

static void remember(struct fixture *f)
{
    for (int64_t i = 0; i < COUNT; i++)
        f->before[i] = value_at(weight(f), i);
}

/* Tolerance: a step of a residual of 24 bits is rounded by at most 2^-25 of the weight's, and these
 * steps are larger than 2^-8 in the mean; f32 weights near 1 move by some 1e-2 and are rounded by
 * 2^-25. With 16 bits below the rounding is 2^-17. */
Test(moves, sampled_steps_are_the_moves_that_follow)
{
    static const struct {
        const char *plan, *update, *options;
        double tolerance;
    } cases[] = {{"u=residual:24", "residual", "{}", 1e-5},
                 {"u=residual:24", "residual", "{nesterov: true, weight_decay: 0.1}", 1e-5},
                 {"u=residual:24", "residual", "{momentum: 0, weight_decay: 0.1}", 1e-5},
                 {"u=residual:24", "residual", "{momentum_format: bf16, nesterov: true}", 1e-5},
                 {"u=residual:16", "residual", "{momentum_format: s16, weight_decay: 0.1}", 2e-3},
                 {"u=residual:16", "residual", "{quantise: gradient, nesterov: true}", 2e-3},
                 {"u=sgd", "sgd", "{weight_decay: 0.1}", 1e-4},
                 {"u=sgd", "sgd", "{nesterov: true, momentum: 0.5}", 1e-4}};
    static struct fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char plan[64], yaml[256];
        struct bg_train_state state = {0};
        int64_t in_octaves = 0;
        snprintf(plan, sizeof plan, "fc w=s5 a=u8 %s\n", cases[i].plan);
        make(&f, plan);
        for (int epochs = 0; epochs < 2; epochs++) {
            snprintf(yaml, sizeof yaml, "{epochs: %d, lr: 0.01, update: %s, options: %s}", epochs,
                     cases[i].update, cases[i].options);
            OK(train(&f, yaml, &state, false));
            if (epochs == 0)
                remember(&f); /* what is to be moved is made by now */
        }
        const struct bg_moves *epoch = &f.epoch[0];
        cr_assert(epoch->sampled == 5 * COUNT && epoch->updates == 5 * COUNT);
        cr_assert(epoch->weight_bits == 5 && epoch->counted == (i < 6));
        cr_assert(!strcmp(epoch->method, cases[i].update));
        cr_assert(fabs(epoch->rates - 0.01 * 5 * COUNT) < 1e-9);
        for (int k = 0; k < BG_MOVE_OCTAVES; k++)
            in_octaves += epoch->octave[k];
        cr_assert(in_octaves + epoch->zero == epoch->sampled);
        cr_assert(f.moved > 1 && fabs(epoch->sum - f.moved) < cases[i].tolerance * f.moved,
                  "%s %s: %.9g of the sample, %.9g moved", cases[i].plan, cases[i].options,
                  epoch->sum, f.moved);
        take_down(&f);
    }
}

/* Weights without a grid count in 127ths of the largest. */
Test(moves, steps_of_f32_weights_have_a_unit_too)
{
    static struct fixture f;
    struct bg_train_state state = {0};
    double most = 0;
    make(&f, "fc w=f32 a=f32\n");
    remember(&f);
    for (int i = 0; i < COUNT; i++)
        most = fmax(most, fabs(f.before[i]));
    OK(train(&f, "{epochs: 1, lr: 0.01}", &state, false));
    cr_assert(f.epoch[0].weight_bits == 0 && !f.epoch[0].counted);
    cr_assert(fabs(f.epoch[0].unit - most / 127) < 1e-15);
    cr_assert(fabs(f.epoch[0].sum * f.epoch[0].unit - f.moved) < 1e-4 * f.moved);
    take_down(&f);
}

/* Powers of two fall into the octave that they begin. */
Test(moves, octaves_begin_at_powers_of_two)
{
    static const struct {
        float grad;
        int octave;
    } cases[] = {{4, 0},     {1, 0},         {0.75f, 1},     {0.5f, 1},
                 {0.25f, 2}, {0x1p-27f, 27}, {0x1p-28f, 28}, {0x1p-60f, 28}};
    static struct fixture f;
    const struct bg_update_moment moment = {.lr = 1};
    const struct bg_update_method *sgd = NULL;
    double options[8] = {0}; /* momentum 0 and no decay */
    for (int i = 0; bg_update_methods[i]; i++)
        if (!strcmp(bg_update_methods[i]->name, "sgd"))
            sgd = bg_update_methods[i];
    const struct bg_move_call call = {
        .method = sgd, .options = options, .moment = &moment, .sample = true};
    make(&f, "fc w=s5/tensor a=u8\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bg_move_state state;
        weight(&f)->quantizer->grid.scale[0] = 0.25f;
        for (int k = 0; k < COUNT; k++)
            bg_f32(&weight(&f)->grad)[k] = k == 0 ? 0 : -0.25f * cases[i].grad;
        bg_moves_begin(&state, weight(&f));
        bg_moves_count(&state, weight(&f), &call);
        cr_assert(state.now.zero == 1 && state.now.octave[cases[i].octave] == COUNT - 1, "%g",
                  (double)cases[i].grad);
        cr_assert(state.now.sum == (COUNT - 1) * (double)cases[i].grad);
    }
    take_down(&f);
}

#define TRAINED "{epochs: 3, lr: 0.02, update: residual, options: {bits: 3}}"

static void expect_epoch(const struct bg_moves *a, const struct bg_moves *b)
{
    cr_assert(a->updates == b->updates && a->written == b->written && a->lost == b->lost);
    cr_assert(a->saturated == b->saturated && a->beyond == b->beyond && a->kept == b->kept);
    cr_assert(a->sampled == b->sampled && a->zero == b->zero);
    cr_assert(a->sum == b->sum && a->rates == b->rates && a->unit == b->unit);
    cr_assert(!memcmp(a->octave, b->octave, sizeof a->octave));
}

/* Epochs add up to the store's counts; a run that stopped inside an epoch and goes on from a file
 * records the same. */
Test(moves, epochs_are_counted_apart_and_through_a_file)
{
    static struct fixture whole, parts;
    struct bg_train_state state = {0}, half = {0};
    struct bg_h5 *file = NULL;
    int64_t written = 0, lost = 0;
    char dir[] = "/tmp/bitgrad-test-XXXXXX", path[64];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.h5", dir);
    make(&whole, "fc w=s4 a=u8\n");
    OK(train(&whole, TRAINED, &state, false));
    for (int e = 0; e < 3; e++) {
        written += whole.epoch[e].written;
        lost += whole.epoch[e].lost;
        cr_assert(whole.epoch[e].updates == 5 * COUNT && whole.epoch[e].below_bits == 3);
    }
    cr_assert(lost > 0 && lost == weight(&whole)->store->lost);
    cr_assert(written > 0 && written == weight(&whole)->store->written);
    make(&parts, "fc w=s4 a=u8\n");
    cr_assert(train(&parts, TRAINED, &half, true) == BG_E_IO);
    OK(bg_h5_create(&file, path));
    OK(bg_net_save(&parts.layer.net, file));
    OK(bg_trainer_save(parts.layer.trainer, &half, file));
    OK(bg_h5_close(file));
    take_down(&parts);
    make(&parts, "fc w=s4 a=u8\n");
    half = (struct bg_train_state){0};
    OK(bg_h5_open(&file, path));
    OK(bg_net_load(&parts.layer.net, file));
    OK(bg_trainer_load(parts.layer.trainer, &half, file));
    OK(bg_h5_close(file));
    OK(train(&parts, TRAINED, &half, false));
    cr_assert(parts.epochs == 2);
    expect_epoch(&parts.epoch[0], &whole.epoch[1]);
    expect_epoch(&parts.epoch[1], &whole.epoch[2]);
    take_down(&whole);
    take_down(&parts);
    cr_assert(unlink(path) == 0 && rmdir(dir) == 0);
}

Test(moves, a_file_with_counts_that_cannot_be_is_refused)
{
    static struct fixture f;
    struct bg_move_state state = {0}, back = {.now = {.updates = 9}};
    struct bg_h5 *file = NULL;
    char dir[] = "/tmp/bitgrad-test-XXXXXX", path[64];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a.h5", dir);
    make(&f, "fc w=s4 a=u8\n");
    for (int bad = 0; bad < 3; bad++) {
        state = (struct bg_move_state){.now = {.updates = 5, .sum = 2}};
        state.base[1] = bad == 0 ? -1 : 3;
        state.now.rates = bad == 1 ? (double)NAN : 1;
        OK(bg_h5_create(&file, path));
        OK(bg_moves_save(&state, 1, file));
        OK(bg_h5_close(file));
        OK(bg_h5_open(&file, path));
        cr_assert(bg_moves_load(&back, 1, file) == (bad < 2 ? BG_E_DATA : BG_OK));
        OK(bg_h5_close(file));
        cr_assert(back.now.updates == (bad < 2 ? 9 : 5));
    }
    cr_assert(back.base[1] == 3 && back.now.rates == 1 && back.now.sum == 2);
    take_down(&f);
    cr_assert(unlink(path) == 0 && rmdir(dir) == 0);
}

/* Channels of a grid that refits gain or lose bits below: the record says what the one with
 * most has, not what the method began with. Buffers count with their sign. */
Test(moves, bits_below_are_those_of_the_widest_channel)
{
    static const struct {
        const char *options;
        int shift, below;
    } cases[] = {{"{epochs: 0, update: residual, options: {bits: 6, grid: refit}}", 10, 10},
                 {"{epochs: 0, update: residual, options: {bits: 6, grid: refit}}", 4, 6},
                 {"{epochs: 0, update: threshold, options: {bits: 12, form: dynamic}}", 11, 15},
                 {"{epochs: 0, update: threshold, options: {bits: 12, form: dynamic}}", 2, 12}};
    static struct fixture f;
    for (int i = 0; i < 4; i++) {
        const struct bg_move_state state = {0};
        struct bg_train_state at = {0};
        struct bg_moves moves;
        make(&f, "fc w=s5 a=u8\n");
        OK(train(&f, cases[i].options, &at, false));
        weight(&f)->store->shift[2] = (uint8_t)cases[i].shift;
        bg_moves_take(&state, weight(&f), &moves);
        cr_assert(moves.below_bits == cases[i].below, "%d: %d", i, moves.below_bits);
        take_down(&f);
    }
}

/* Larger layers give no more than BG_MOVE_SAMPLE weights and no fewer than
 * half as many. */
Test(moves, a_sample_is_never_larger_than_it_may_be)
{
    static float grad[2100];
    const struct bg_update_moment moment = {.lr = 1};
    const struct bg_update_method *sgd = NULL;
    double options[8] = {0};
    for (int i = 0; bg_update_methods[i]; i++)
        if (!strcmp(bg_update_methods[i]->name, "sgd"))
            sgd = bg_update_methods[i];
    const struct bg_move_call call = {
        .method = sgd, .options = options, .moment = &moment, .sample = true};
    for (int64_t count = 500; count <= 2100; count++) {
        struct bg_move_state state = {.now = {.unit = 1}};
        struct bg_param param = {.name = "w", .kind = BG_PARAM_WEIGHT};
        param.value = param.grad = (struct bg_tensor){
            .dtype = BG_F32, .shape = {.rank = 2, .dims = {1, count}}, .data = grad};
        bg_moves_count(&state, &param, &call);
        cr_assert(state.now.sampled <= BG_MOVE_SAMPLE && state.now.sampled >= 256, "%d: %d",
                  (int)count, (int)state.now.sampled);
    }
}
