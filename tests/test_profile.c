/* The profile's storage: growth, clearing, addressing, truncation. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/profile.h"

static const char *const names[3] = {"conv1", "conv2", "fc"};
static const int64_t weights[3] = {10, 20, 30};
static const int64_t in[3] = {1, 2, 3}, weight[3] = {4, 5, 6}, out[3] = {7, 8, 9};
static const int64_t *const channels[BG_QUANTITIES] = {in, weight, out};

static struct bg_profile make(bool per_channel)
{
    struct bg_profile profile;
    cr_assert(eq(int, bg_profile_make(&profile, 3, names, weights, channels, per_channel), BG_OK));
    return profile;
}

Test(profile, rows_keep_their_values_while_growing)
{
    struct bg_profile profile = make(true);
    cr_expect(eq(i64, profile.channel_stride, 45));
    cr_expect_str_eq(profile.names[1], "conv2");
    for (int64_t row = 0; row < 100; row++) {
        cr_assert(eq(int, bg_profile_add_row(&profile, 10 * row), BG_OK));
        for (int q = 0; q < BG_QUANTITIES; q++) {
            for (int layer = 0; layer < 3; layer++) {
                struct bg_stats *stats = bg_profile_at(&profile, row, (enum bg_quantity)q, layer);
                cr_assert(eq(i64, stats->count, 0));
                stats->count = row * 100 + q * 10 + layer;
                double *square = bg_profile_channels_at(&profile, row, (enum bg_quantity)q, layer);
                for (int64_t c = 0; c < channels[q][layer]; c++) {
                    cr_assert(eq(dbl, square[c], 0));
                    square[c] = (double)(row * 1000 + q * 100 + layer * 10 + c);
                }
            }
        }
    }
    for (int64_t row = 0; row < 100; row++) {
        cr_expect(eq(i64, profile.row_step[row], 10 * row));
        for (int q = 0; q < BG_QUANTITIES; q++) {
            for (int layer = 0; layer < 3; layer++) {
                cr_expect(eq(i64, bg_profile_at(&profile, row, (enum bg_quantity)q, layer)->count,
                             row * 100 + q * 10 + layer));
                const double *square =
                    bg_profile_channels_at(&profile, row, (enum bg_quantity)q, layer);
                for (int64_t c = 0; c < channels[q][layer]; c++)
                    cr_expect(eq(dbl, square[c], (double)(row * 1000 + q * 100 + layer * 10 + c)));
            }
        }
    }
    bg_profile_free(&profile);
}

Test(profile, cycles_start_unmeasured)
{
    struct bg_profile profile = make(false);
    cr_expect_null(bg_profile_channels_at(&profile, 0, BG_QUANTITY_IN_GRAD, 0));
    for (int64_t cycle = 0; cycle < 40; cycle++) {
        cr_assert(eq(int, bg_profile_add_cycle(&profile, cycle), BG_OK));
        for (int r = 0; r < BG_REFERENCES; r++) {
            for (int layer = 0; layer < 3; layer++) {
                double *value =
                    bg_profile_displacement_at(&profile, cycle, (enum bg_reference)r, layer);
                cr_assert(isnan(*value));
                *value = (double)(cycle * 100 + r * 10 + layer);
            }
        }
    }
    cr_expect(eq(dbl, *bg_profile_displacement_at(&profile, 33, BG_REFERENCE_RESET, 2), 3322));
    bg_profile_free(&profile);
}

Test(profile, truncation_drops_later_rows_and_new_ones_are_clean)
{
    struct bg_profile profile = make(true);
    for (int64_t step = 0; step < 10; step++) {
        cr_assert(eq(int, bg_profile_add_row(&profile, step), BG_OK));
        bg_profile_at(&profile, step, BG_QUANTITY_OUT_GRAD, 2)->count = step + 1;
        bg_profile_channels_at(&profile, step, BG_QUANTITY_OUT_GRAD, 2)[8] = 5;
        cr_assert(eq(int, bg_profile_add_cycle(&profile, 2 * step), BG_OK));
        *bg_profile_displacement_at(&profile, step, BG_REFERENCE_INITIAL, 0) = (double)step;
    }
    bg_profile_truncate(&profile, 6);
    cr_expect(eq(i64, profile.rows, 7));
    cr_expect(eq(i64, profile.cycles, 4));
    cr_expect(eq(i64, bg_profile_at(&profile, 6, BG_QUANTITY_OUT_GRAD, 2)->count, 7));
    cr_assert(eq(int, bg_profile_add_row(&profile, 7), BG_OK));
    cr_expect(eq(i64, bg_profile_at(&profile, 7, BG_QUANTITY_OUT_GRAD, 2)->count, 0));
    cr_expect(eq(dbl, bg_profile_channels_at(&profile, 7, BG_QUANTITY_OUT_GRAD, 2)[8], 0));
    cr_assert(eq(int, bg_profile_add_cycle(&profile, 8), BG_OK));
    cr_expect(isnan(*bg_profile_displacement_at(&profile, 4, BG_REFERENCE_INITIAL, 0)));
    bg_profile_truncate(&profile, -1);
    cr_expect(eq(i64, profile.rows, 0));
    cr_expect(eq(i64, profile.cycles, 0));
    bg_profile_free(&profile);
    bg_profile_free(&profile);
}

Test(profile, truncation_keeps_the_order_of_unordered_steps)
{
    struct bg_profile profile = make(false);
    static const int64_t steps[] = {5, 1, 9, 2, 9, 3};
    for (int i = 0; i < 6; i++) {
        cr_assert(eq(int, bg_profile_add_row(&profile, steps[i]), BG_OK));
        bg_profile_at(&profile, i, BG_QUANTITY_IN_GRAD, 0)->count = steps[i];
    }
    bg_profile_truncate(&profile, 4);
    static const int64_t kept[] = {1, 2, 3};
    cr_assert(eq(i64, profile.rows, 3));
    for (int i = 0; i < 3; i++) {
        cr_expect(eq(i64, profile.row_step[i], kept[i]));
        cr_expect(eq(i64, bg_profile_at(&profile, i, BG_QUANTITY_IN_GRAD, 0)->count, kept[i]));
    }
    bg_profile_free(&profile);
}

Test(profile, survives_every_failed_allocation)
{
    enum bg_status rc = BG_E_NOMEM;
    int n = 1;
    for (; n < 100 && rc != BG_OK; n++) {
        struct bg_profile profile;
        bg_alloc_fail_at((uint64_t)n);
        rc = bg_profile_make(&profile, 3, names, weights, channels, true);
        for (int64_t i = 0; rc == BG_OK && i < 40; i++) {
            rc = bg_profile_add_row(&profile, i);
            if (rc == BG_OK)
                rc = bg_profile_add_cycle(&profile, i);
        }
        bg_alloc_fail_at(0);
        cr_expect(rc == BG_OK || rc == BG_E_NOMEM);
        bg_profile_free(&profile);
    }
    cr_expect(n > 10 && rc == BG_OK);
}

Test(profile, a_profile_without_layers_works)
{
    struct bg_profile profile;
    cr_assert(eq(int, bg_profile_make(&profile, 0, NULL, NULL, NULL, true), BG_OK));
    cr_expect(eq(int, bg_profile_add_row(&profile, 1), BG_OK));
    cr_expect(eq(int, bg_profile_add_cycle(&profile, 1), BG_OK));
    bg_profile_truncate(&profile, 0);
    cr_expect(eq(i64, profile.rows, 0));
    bg_profile_free(&profile);
}
