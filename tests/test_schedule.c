/* Learning-rate schedules as pure functions. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "policies/trainer.h"

static struct bg_train_options defaults(void)
{
    struct bg_train_options options;
    memset(&options, 0, sizeof options);
    cr_assert(bg_options_defaults(bg_train_options_table, &options) == BG_OK, "%s", bg_error());
    return options;
}

Test(schedule, defaults)
{
    struct bg_train_options o = defaults();
    cr_assert(o.epochs == 1 && o.batch == 128 && o.lr == 0.05);
    cr_assert(o.schedule == BG_SCHEDULE_CONSTANT && o.warmup == 0 && o.gamma == 0.1);
    cr_assert(strcmp(o.update, "sgd") == 0 && !o.update_options && !o.decay_norms);
    cr_assert(o.loss == BG_LOSS_CROSS_ENTROPY && o.label_smoothing == 0 && o.profile_every == 0);
}

Test(schedule, constant_is_constant)
{
    struct bg_train_options o = defaults();
    for (int64_t step = 0; step < 100; step += 7)
        cr_assert(bg_train_lr(&o, step, 10) == 0.05);
}

Test(schedule, warm_up_is_linear_from_a_tenth_and_ends_at_lr)
{
    struct bg_train_options o = defaults();
    o.lr = 1;
    o.warmup = 2; /* 20 steps */
    cr_assert(bg_train_lr(&o, 0, 10) == 0.1);
    cr_assert(bg_train_lr(&o, 10, 10) == 0.1 + 0.9 * 10 / 20);
    cr_assert(bg_train_lr(&o, 20, 10) == 1);
    for (int64_t step = 1; step <= 20; step++) {
        double rise = bg_train_lr(&o, step, 10) - bg_train_lr(&o, step - 1, 10);
        cr_assert(fabs(rise - 0.045) < 1e-15, "equal steps, up to rounding of values near 1");
    }
    o.warmup = 0.25; /* 2.5 steps: the third is still below */
    cr_assert(bg_train_lr(&o, 2, 10) < 1 && bg_train_lr(&o, 3, 10) == 1);
}

Test(schedule, milestones_multiply_by_gamma_from_their_epoch_on)
{
    struct bg_train_options o = defaults();
    o.lr = 8;
    o.gamma = 0.5;
    o.epochs = 6;
    o.schedule = BG_SCHEDULE_STEP;
    o.milestones = (struct bg_real_list){.count = 3, .at = {2, 4, 4.5}};
    static const struct {
        int64_t step;
        double lr;
    } expected[] = {{0, 8}, {19, 8}, {20, 4}, {39, 4}, {40, 2}, {44, 2}, {45, 1}, {500, 1}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        cr_assert(bg_train_lr(&o, expected[i].step, 10) == expected[i].lr, "step %d",
                  (int)expected[i].step);
}

Test(schedule, cosine_falls_from_lr_to_final_after_warm_up)
{
    struct bg_train_options o = defaults();
    o.lr = 1;
    o.final_lr = 0.2;
    o.epochs = 5;
    o.warmup = 1;
    o.schedule = BG_SCHEDULE_COSINE;
    cr_assert(bg_train_lr(&o, 10, 10) == 1);
    cr_assert(fabs(bg_train_lr(&o, 30, 10) - 0.6) < 1e-15, "half way, up to the cosine's rounding");
    cr_assert(fabs(bg_train_lr(&o, 50, 10) - 0.2) < 1e-15 &&
              bg_train_lr(&o, 99, 10) == bg_train_lr(&o, 50, 10));
    for (int64_t step = 11; step <= 50; step++)
        cr_assert(bg_train_lr(&o, step, 10) < bg_train_lr(&o, step - 1, 10));
    o.warmup = 5; /* nothing is left for the cosine: no division by zero */
    cr_assert(bg_train_lr(&o, 50, 10) == 0.2);
    o.warmup = 9;
    cr_assert(isfinite(bg_train_lr(&o, 80, 10)) && bg_train_lr(&o, 95, 10) == 0.2);
}
