/* Residual bits from recorded steps: quantiles, scaling, limits, what was lost. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/text.h"
#include "policies/residual_bits.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())

/* log2 of sizes is taken as even inside an octave: octave k holds 2^-k to 2^-(k-1). */
Test(residual_bits, quantiles_lie_inside_their_octave)
{
    static const struct {
        int64_t octave[BG_MOVE_OCTAVES];
        double share, size;
    } cases[] = {{{0, 0, 0, 100}, 0, -3},               /* the smallest: 2^-3 */
                 {{0, 0, 0, 100}, 0.5, -2.5},           /* half of the octave */
                 {{0, 0, 60, 0, 0, 40}, 0.2, -4.5},     /* half of octave 5 */
                 {{0, 0, 60, 0, 0, 40}, 0.4, -4},       /* all of it */
                 {{0, 0, 60, 0, 0, 40}, 0.7, -1.5},     /* and half of octave 2 */
                 {{7}, 0, 0},                           /* at least one unit */
                 {{[28] = 5, [0] = 95}, 0.025, -27.5}}; /* the last octave counts as one */
    static const int64_t none[BG_MOVE_OCTAVES] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const double size = bg_residual_quantile(cases[i].octave, cases[i].share);
        cr_assert(fabs(size - cases[i].size) < 1e-12, "case %d: %g", (int)i, size);
    }
    cr_assert(bg_residual_quantile(none, 0.5) == (double)-INFINITY);
}

static struct bg_residual_options options_of(double quantile, int margin)
{
    struct bg_residual_options options = {.asked = true};
    OK(bg_options_defaults(bg_residual_options_table, &options));
    options.quantile = quantile;
    options.margin = margin;
    return options;
}

static int bits_of(const struct bg_residual_options *options,
                   const struct bg_residual_record *records, int count, double unit, double lr)
{
    struct bg_residual_choice choice;
    OK(bg_residual_choose(options, records, count, unit, lr, &choice));
    return choice.bits;
}

/* All steps between 2^-5 and 2^-4 of the weight's step: r = 5 keeps the smallest. */
Test(residual_bits, follow_steps_grids_and_learning_rates)
{
    const struct bg_residual_options options = options_of(0, 0);
    struct bg_residual_record record = {.octave = {[5] = 10}, .unit = 0.5, .lr = 0.1, .low = -1};
    struct bg_residual_record two[2];
    struct bg_residual_options wide = options_of(0, 3);
    cr_assert(bits_of(&options, &record, 1, 0.5, 0.1) == 5);
    cr_assert(bits_of(&wide, &record, 1, 0.5, 0.1) == 8);
    cr_assert(bits_of(&options, &record, 1, 0.5, 0) == 5);       /* the rate as recorded */
    cr_assert(bits_of(&options, &record, 1, 0.5, 0.1 / 8) == 8); /* steps an eighth of these */
    cr_assert(bits_of(&options, &record, 1, 4, 0.1) == 8); /* grid's step eight times larger */
    cr_assert(bits_of(&options, &record, 1, 0.125, 0.1) == 3);
    cr_assert(bits_of(&options, &record, 1, 0.5, 0.1 / 65536) == 16); /* most */
    cr_assert(bits_of(&options, &record, 1, 1e-9, 0.1) == 2);         /* least */
    two[0] = two[1] = record;
    two[1].octave[9] = 1; /* the epoch that asks for most */
    cr_assert(bits_of(&options, two, 2, 0.5, 0.1) == 9);
}

/* A residual of 4 bits lost 20 % where 5 % may be: two bits more. */
Test(residual_bits, listen_to_what_a_residual_lost)
{
    const struct bg_residual_options options = options_of(0.05, 0);
    struct bg_residual_record record = {
        .octave = {[1] = 10}, .unit = 1, .lr = 1, .low = 4, .lost = 0.2};
    cr_assert(bits_of(&options, &record, 1, 1, 1) == 6);
    cr_assert(bits_of(&options, &record, 1, 1, 0.5) == 7); /* at half the rate one more */
    record.lost = 0.05;
    cr_assert(bits_of(&options, &record, 1, 1, 1) == 2);
    record.lost = 0.2;
    record.low = -1; /* another method's loss says nothing */
    cr_assert(bits_of(&options, &record, 1, 1, 1) == 2);
}

Test(residual_bits, name_saturation_and_refuse_silence)
{
    const struct bg_residual_options options = options_of(0.05, 0);
    struct bg_residual_record record = {.octave = {[1] = 10}, .unit = 1, .lr = 1, .low = -1};
    struct bg_residual_choice choice;
    OK(bg_residual_choose(&options, &record, 1, 1, 1, &choice));
    cr_assert(!choice.saturates);
    record.saturated = 0.011;
    OK(bg_residual_choose(&options, &record, 1, 1, 1, &choice));
    cr_assert(choice.saturates);
    record.octave[1] = 0;
    cr_assert(bg_residual_choose(&options, &record, 1, 1, 1, &choice) == BG_E_DATA);
    cr_assert(bg_residual_choose(&options, &record, 0, 1, 1, &choice) == BG_E_DATA);
    record.octave[1] = 10;
    record.unit = (double)NAN; /* numbers of a hostile file */
    record.lr = -3;
    OK(bg_residual_choose(&options, &record, 1, (double)NAN, (double)NAN, &choice));
    cr_assert(choice.bits >= 1 && choice.bits <= 16);
}

/* A step schedule ends at gamma^2; a long one is sampled, not summed. */
Test(residual_bits, the_rate_is_that_of_the_training_to_come)
{
    struct bg_residual_options options = options_of(0.05, 0);
    struct bg_train_options train = {.epochs = 4,
                                     .lr = 0.5,
                                     .schedule = BG_SCHEDULE_STEP,
                                     .gamma = 0.1,
                                     .milestones = {.count = 2, .at = {1, 3}}};
    cr_assert(fabs(bg_residual_lr(&options, &train, 10) - 0.005) < 1e-12);
    options.rate = BG_RATE_MEAN;
    cr_assert(fabs(bg_residual_lr(&options, &train, 10) - (0.5 + 2 * 0.05 + 0.005) / 4) < 1e-12);
    options.rate = BG_RATE_RECORDED;
    cr_assert(bg_residual_lr(&options, &train, 10) == 0);
    options.rate = BG_RATE_LAST_EPOCH;
    cr_assert(fabs(bg_residual_lr(&options, &train, INT64_MAX) - 0.005) < 1e-9);
    train.epochs = 0;
    cr_assert(bg_residual_lr(&options, &train, 10) == 0);
}
