/* Select policies: the worked vectors of P1 and P2 (policies/METHODS.md) fed by hand, the
 * options of both, and what every policy of the registry must keep. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/stats.h"
#include "policies/select.h"

#define LAYERS_MAX 8

static const char *const names[LAYERS_MAX] = {"l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8"};
static const int64_t weights[LAYERS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};

/* A policy with options from YAML text, ready to rank. */
struct chosen {
    const struct bg_select_method *method;
    void *options;
    struct bg_document *document;
};

static struct chosen choose(const char *name, const char *yaml)
{
    struct chosen chosen = {0};
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert(bg_yaml_parse_text(&chosen.document, "test", yaml, strlen(yaml)) == BG_OK, "%s",
              bg_error());
    cr_assert(bg_select_choose(name, bg_document_root(chosen.document), "select", &chosen.method,
                               &chosen.options, &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    bg_text_free(&errors);
    return chosen;
}

static void put_back(struct chosen *chosen)
{
    bg_free(chosen->options);
    bg_document_free(chosen->document);
}

static struct bg_select_input input_of(int layers, const struct bg_profile *profile)
{
    return (struct bg_select_input){.layers = layers,
                                    .names = names,
                                    .weights = weights,
                                    .macs = weights,
                                    .profile = profile,
                                    .classes = 10,
                                    .seed = 1};
}

/* Ranks with a policy; asserts the order (ended by -1) and, when given, the scores. */
static void expect(const char *policy, const char *yaml, const struct bg_select_input *input,
                   const int *order, const double *score)
{
    struct chosen chosen = choose(policy, yaml);
    struct bg_ranking ranking;
    cr_assert(bg_ranking_make(&ranking, input->layers) == BG_OK);
    cr_assert(chosen.method->rank(chosen.options, input, &ranking) == BG_OK, "%s {%s}: %s", policy,
              yaml, bg_error());
    int count = 0;
    for (; order[count] >= 0; count++) {
        cr_assert(count < ranking.count, "%s {%s}: %d ranked", policy, yaml, ranking.count);
        cr_assert(ranking.order[count] == order[count], "%s {%s}: place %d is layer %d", policy,
                  yaml, count, ranking.order[count]);
    }
    cr_assert(ranking.count == count);
    for (int i = 0; score && i < input->layers; i++)
        cr_assert(ranking.score[i] == score[i], "%s {%s}: score of layer %d is %.17g", policy, yaml,
                  i, ranking.score[i]);
    cr_assert(ranking.note[0] != '\0');
    bg_ranking_free(&ranking);
    put_back(&chosen);
}

static void expect_failure(const char *policy, const char *yaml,
                           const struct bg_select_input *input, enum bg_status status,
                           const char *part)
{
    struct chosen chosen = choose(policy, yaml);
    struct bg_ranking ranking;
    cr_assert(bg_ranking_make(&ranking, input->layers) == BG_OK);
    enum bg_status rc = chosen.method->rank(chosen.options, input, &ranking);
    cr_assert(rc == status, "%s {%s}: %s, %s", policy, yaml, bg_status_name(rc), bg_error());
    cr_assert(strstr(bg_error(), part), "%s {%s}: %s", policy, yaml, bg_error());
    bg_ranking_free(&ranking);
    put_back(&chosen);
}

static void make_profile(struct bg_profile *profile, int layers, bool per_channel)
{
    static const int64_t two[LAYERS_MAX] = {2, 2, 2, 2, 2, 2, 2, 2};
    const int64_t *const channels[BG_QUANTITIES] = {two, two, two};
    cr_assert(bg_profile_make(profile, layers, names, weights, channels, per_channel) == BG_OK);
}

static void add_row(struct bg_profile *profile, const float (*gradients)[BG_QUANTITIES], int64_t n)
{
    cr_assert(bg_profile_add_row(profile, profile->rows + 1) == BG_OK);
    for (int layer = 0; layer < profile->layers; layer++)
        for (int q = 0; q < BG_QUANTITIES; q++)
            bg_stats_add(bg_profile_at(profile, profile->rows - 1, (enum bg_quantity)q, layer),
                         &gradients[layer][q], n, 1);
}

/* P1 (f): y = w3*w2*w1*x, loss (y-t)^2/2, w = (2, 0.5, -1), sets (1,0) and (2,-4). Gradients of
 * input, weight, output per layer; factor scales the loss. */
static void chain_row(struct bg_profile *profile, int set, float factor)
{
    static const float w[3] = {2, 0.5f, -1};
    const float x = set == 0 ? 1 : 2, t = set == 0 ? 0 : -4;
    float in[3] = {x, x * w[0], x * w[0] * w[1]};
    float dy = factor * (in[2] * w[2] - t);
    float gradients[3][BG_QUANTITIES];
    for (int layer = 2; layer >= 0; layer--) {
        gradients[layer][BG_QUANTITY_OUT_GRAD] = dy;
        gradients[layer][BG_QUANTITY_WEIGHT_GRAD] = dy * in[layer];
        dy *= w[layer];
        gradients[layer][BG_QUANTITY_IN_GRAD] = dy;
    }
    add_row(profile, (const float(*)[BG_QUANTITIES])gradients, 1);
}

static void chain_profile(struct bg_profile *profile, const int *sets, int count, float factor)
{
    make_profile(profile, 3, false);
    for (int i = 0; i < count; i++)
        chain_row(profile, sets[i], factor);
}

static const int by_weight[] = {0, 2, 1, -1}, by_input[] = {1, 0, 2, -1},
                 by_output[] = {0, 1, 2, -1};

Test(gradient_profile, worked_vector_of_p1)
{
    struct bg_profile profile;
    chain_profile(&profile, (const int[]){0, 1}, 2, 1);
    cr_assert(bg_profile_at(&profile, 0, BG_QUANTITY_WEIGHT_GRAD, 0)->sum == 0.5);
    cr_assert(bg_profile_at(&profile, 1, BG_QUANTITY_WEIGHT_GRAD, 1)->sum == -8);
    struct bg_select_input input = input_of(3, &profile);
    expect("gradient-profile", "", &input, by_weight, (const double[]){2.125, 34, 8.5});
    expect("gradient-profile", "power: 1", &input, by_weight, (const double[]){1.25, 5, 2.5});
    expect("gradient-profile", "quantities: [input]", &input, by_input,
           (const double[]){2.5, 0.625, 2.5});
    expect("gradient-profile", "quantities: [output]", &input, by_output,
           (const double[]){0.625, 2.5, 2.5});
    expect("gradient-profile", "order: descending", &input, (const int[]){1, 2, 0, -1},
           (const double[]){2.125, 34, 8.5});
    /* a = (0.25, 4), (4, 64), (1, 16) for the weights. */
    expect("gradient-profile", "aggregate: max", &input, by_weight, (const double[]){4, 64, 16});
    expect("gradient-profile", "aggregate: variance", &input, by_weight,
           (const double[]){3.515625, 900, 56.25});
    bg_profile_free(&profile);
}

Test(gradient_profile, laws_of_permutation_repetition_and_loss_scale)
{
    /* Powers of two and few bits: every sum here is exact, so scores must be equal. */
    struct bg_profile permuted, repeated, scaled;
    chain_profile(&permuted, (const int[]){1, 0}, 2, 1);
    chain_profile(&repeated, (const int[]){0, 1, 0, 1}, 4, 1);
    chain_profile(&scaled, (const int[]){0, 1}, 2, 8);
    const double square[] = {2.125, 34, 8.5}, absolute[] = {1.25, 5, 2.5};
    struct bg_select_input input = input_of(3, &permuted);
    expect("gradient-profile", "", &input, by_weight, square);
    input.profile = &repeated;
    expect("gradient-profile", "", &input, by_weight, square);
    expect("gradient-profile", "power: 1", &input, by_weight, absolute);
    input.profile = &scaled;
    expect("gradient-profile", "", &input, by_weight,
           (const double[]){64 * square[0], 64 * square[1], 64 * square[2]});
    expect("gradient-profile", "power: 1", &input, by_weight,
           (const double[]){8 * absolute[0], 8 * absolute[1], 8 * absolute[2]});
    bg_profile_free(&permuted);
    bg_profile_free(&repeated);
    bg_profile_free(&scaled);
}

Test(gradient_profile, several_quantities_combine_by_mean_rank)
{
    struct bg_profile profile;
    chain_profile(&profile, (const int[]){0, 1}, 2, 1);
    struct bg_select_input input = input_of(3, &profile);
    /* Ranks: weight 1, 3, 2; input 2.5, 1, 2.5; output 1, 2.5, 2.5. */
    expect("gradient-profile", "quantities: [weight, input]", &input, (const int[]){0, 1, 2, -1},
           (const double[]){1.75, 2, 2.25});
    expect("gradient-profile", "quantities: [output, weight]", &input, (const int[]){0, 2, 1, -1},
           (const double[]){1, 2.75, 2.25});
    /* A pinned layer takes no rank: of the other two, weight 1, 2; input 1.5, 1.5. */
    const bool pinned[] = {false, true, false};
    input.pinned = pinned;
    struct chosen chosen = choose("gradient-profile", "quantities: [weight, input]");
    struct bg_ranking r;
    cr_assert(bg_ranking_make(&r, 3) == BG_OK);
    cr_assert(chosen.method->rank(chosen.options, &input, &r) == BG_OK);
    cr_assert(r.count == 2 && r.order[0] == 0 && r.order[1] == 2);
    cr_assert(r.score[0] == 1.25 && isnan(r.score[1]) && r.score[2] == 1.75);
    bg_ranking_free(&r);
    put_back(&chosen);
    bg_profile_free(&profile);
}

Test(gradient_profile, scaling_by_the_step_is_score_times_step_squared_over_12)
{
    struct bg_profile profile;
    chain_profile(&profile, (const int[]){0, 1}, 2, 1);
    struct bg_select_input input = input_of(3, &profile);
    expect_failure("gradient-profile", "scale_by_step: true", &input, BG_E_USAGE, "grid steps");
    const double step[] = {12, 0.5, 1};
    input.weight_step = step;
    expect("gradient-profile", "scale_by_step: true", &input, (const int[]){1, 2, 0, -1},
           (const double[]){2.125 * 144 / 12, 34 * 0.25 / 12, 8.5 / 12});
    expect_failure("gradient-profile", "{scale_by_step: true, power: 1}", &input, BG_E_DATA,
                   "power 2");
    expect_failure("gradient-profile", "{scale_by_step: true, quantities: [input]}", &input,
                   BG_E_DATA, "[weight]");
    bg_profile_free(&profile);
}

Test(gradient_profile, channel_scores_are_aggregated_per_channel_then_joined)
{
    struct bg_profile profile;
    make_profile(&profile, 2, true);
    /* layer 0: channels (1, 9) then (3, 1); layer 1: (4, 4) twice. */
    const double squares[2][2][2] = {{{1, 9}, {4, 4}}, {{3, 1}, {4, 4}}};
    const float gradients[2][BG_QUANTITIES] = {{1, 1, 1}, {1, 1, 1}};
    for (int row = 0; row < 2; row++) {
        add_row(&profile, gradients, 1);
        for (int layer = 0; layer < 2; layer++)
            memcpy(bg_profile_channels_at(&profile, row, BG_QUANTITY_WEIGHT_GRAD, layer),
                   squares[row][layer], sizeof squares[row][layer]);
    }
    struct bg_select_input input = input_of(2, &profile);
    const int first[] = {0, 1, -1}, second[] = {1, 0, -1};
    expect("gradient-profile", "granularity: channel", &input, first, (const double[]){3.5, 4});
    expect("gradient-profile", "{granularity: channel, channels: max}", &input, second,
           (const double[]){5, 4});
    expect("gradient-profile", "{granularity: channel, aggregate: max}", &input, second,
           (const double[]){6, 4});
    expect_failure("gradient-profile", "{granularity: channel, power: 1}", &input, BG_E_DATA,
                   "power must be 2");
    /* A damaged file: a layer without a score would silently drop out of the ranking. */
    bg_profile_channels_at(&profile, 1, BG_QUANTITY_WEIGHT_GRAD, 1)[0] = (double)NAN;
    expect_failure("gradient-profile", "granularity: channel", &input, BG_E_NUMERIC, "layer l2");
    bg_profile_at(&profile, 0, BG_QUANTITY_WEIGHT_GRAD, 0)->sum_square = (double)NAN;
    expect_failure("gradient-profile", "", &input, BG_E_NUMERIC, "layer l1");
    expect_failure("gradient-profile", "quantities: [weight, input]", &input, BG_E_NUMERIC,
                   "layer l1");
    bg_profile_free(&profile);
    chain_profile(&profile, (const int[]){0}, 1, 1);
    input = input_of(3, &profile);
    expect_failure("gradient-profile", "granularity: channel", &input, BG_E_DATA, "per_channel");
    bg_profile_free(&profile);
}

Test(gradient_profile, missing_or_foreign_data_is_refused_with_the_stage_to_run)
{
    struct bg_profile profile;
    struct bg_select_input input = input_of(3, NULL);
    expect_failure("gradient-profile", "", &input, BG_E_DATA, "run the profile stage");
    make_profile(&profile, 3, false);
    input.profile = &profile;
    expect_failure("gradient-profile", "", &input, BG_E_DATA, "run the profile stage");
    cr_assert(bg_profile_add_row(&profile, 1) == BG_OK);
    expect_failure("gradient-profile", "", &input, BG_E_DATA, "no weight gradients of layer l1");
    bg_stats_add(bg_profile_at(&profile, 0, BG_QUANTITY_WEIGHT_GRAD, 0), (const float[]){1, NAN}, 2,
                 1);
    expect_failure("gradient-profile", "", &input, BG_E_NUMERIC, "layer l1 at step 1");
    expect_failure("gradient-profile", "quantities: [gradient]", &input, BG_E_DATA,
                   "\"gradient\" is none of input, weight, output");
    expect_failure("gradient-profile", "quantities: []", &input, BG_E_DATA, "empty");
    input.layers = 2;
    expect_failure("gradient-profile", "", &input, BG_E_MISMATCH, "3 layers");
    const char *const others[] = {"l1", "m2", "l3"};
    input.layers = 3;
    input.names = others;
    expect_failure("weight-displacement", "", &input, BG_E_MISMATCH, "\"m2\"");
    bg_profile_free(&profile);
}

/* P2 (f): two layers of two weights over two cycles, in f64 as the table prints them. */
static const double w[2][3][2] = {{{1.0, -1.0}, {1.1, -1.0}, {1.2, -0.9}},
                                  {{0.5, 0.5}, {0.7, 0.5}, {0.5, 0.5}}};

static double mean_square(const double *a, const double *b)
{
    return ((a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])) / 2;
}

static void displacement_profile(struct bg_profile *profile, double scale)
{
    make_profile(profile, 2, false);
    for (int cycle = 0; cycle < 2; cycle++) {
        cr_assert(bg_profile_add_cycle(profile, cycle + 1) == BG_OK);
        for (int layer = 0; layer < 2; layer++) {
            *bg_profile_displacement_at(profile, cycle, BG_REFERENCE_INITIAL, layer) =
                scale * mean_square(w[layer][cycle + 1], w[layer][0]);
            *bg_profile_displacement_at(profile, cycle, BG_REFERENCE_PREVIOUS, layer) =
                scale * mean_square(w[layer][cycle + 1], w[layer][cycle]);
        }
    }
    for (int layer = 0; layer < 2; layer++)
        profile->initial_square[layer] =
            (w[layer][0][0] * w[layer][0][0] + w[layer][0][1] * w[layer][0][1]) / 2;
}

/* 0.1, 0.2, 0.7, 1.1 and 1.2 are not numbers of f64: each difference is off by at most 2^-53, each
 * square by twice that and a rounding; ten of those stay far below 1e-15 for values below 0.05. */
#define TABLE_TOLERANCE 1e-15

static void expect_near(const char *yaml, const struct bg_profile *profile, const int *order,
                        double a, double b)
{
    struct bg_select_input input = input_of(2, profile);
    struct chosen chosen = choose("weight-displacement", yaml);
    struct bg_ranking r;
    cr_assert(bg_ranking_make(&r, 2) == BG_OK);
    cr_assert(chosen.method->rank(chosen.options, &input, &r) == BG_OK, "%s", bg_error());
    cr_assert(fabs(r.score[0] - a) <= TABLE_TOLERANCE && fabs(r.score[1] - b) <= TABLE_TOLERANCE,
              "{%s}: %.17g, %.17g", yaml, r.score[0], r.score[1]);
    cr_assert(r.count == 2 && r.order[0] == order[0] && r.order[1] == order[1], "{%s}", yaml);
    bg_ranking_free(&r);
    put_back(&chosen);
}

static const int a_b[] = {0, 1}, b_a[] = {1, 0};

Test(weight_displacement, worked_vector_of_p2_separates_the_references)
{
    struct bg_profile profile;
    displacement_profile(&profile, 1);
    expect_near("", &profile, b_a, 0.015, 0.010);
    expect_near("reference: previous", &profile, a_b, 0.0075, 0.020);
    expect_near("statistic: final", &profile, b_a, 0.025, 0);
    expect_near("cycles: 1", &profile, a_b, 0.005, 0.020);
    expect_near("order: descending", &profile, a_b, 0.015, 0.010);
    expect_near("relative: true", &profile, a_b, 0.015, 0.040);
    bg_profile_free(&profile);
}

Test(weight_displacement, displacement_times_a_gives_a_squared)
{
    struct bg_profile once, scaled;
    displacement_profile(&once, 1);
    displacement_profile(&scaled, 16); /* D times 4 */
    struct chosen chosen = choose("weight-displacement", "");
    struct bg_ranking r, s;
    cr_assert(bg_ranking_make(&r, 2) == BG_OK && bg_ranking_make(&s, 2) == BG_OK);
    struct bg_select_input input = input_of(2, &once), other = input_of(2, &scaled);
    cr_assert(chosen.method->rank(chosen.options, &input, &r) == BG_OK);
    cr_assert(chosen.method->rank(chosen.options, &other, &s) == BG_OK);
    for (int i = 0; i < 2; i++)
        cr_assert(s.score[i] == 16 * r.score[i], "a power of two keeps every bit");
    bg_ranking_free(&r);
    bg_ranking_free(&s);
    put_back(&chosen);
    bg_profile_free(&once);
    bg_profile_free(&scaled);
}

Test(weight_displacement, frozen_layer_scores_0_is_first_and_is_left_out_on_request)
{
    struct bg_profile profile;
    make_profile(&profile, 4, false);
    const double row[] = {0.5, 0.25, 0, 0.125};
    cr_assert(bg_profile_add_cycle(&profile, 1) == BG_OK);
    for (int i = 0; i < 4; i++)
        *bg_profile_displacement_at(&profile, 0, BG_REFERENCE_INITIAL, i) = row[i];
    struct bg_select_input input = input_of(4, &profile);
    expect("weight-displacement", "", &input, (const int[]){2, 3, 1, 0, -1}, row);
    expect("weight-displacement", "skip_smallest: true", &input, (const int[]){3, 1, 0, -1}, row);
    expect("weight-displacement", "{skip_smallest: true, order: descending}", &input,
           (const int[]){0, 1, 3, -1}, row);
    /* Equal statistics: the first of the two is left out, whichever way the order goes. */
    *bg_profile_displacement_at(&profile, 0, BG_REFERENCE_INITIAL, 3) = 0;
    expect("weight-displacement", "skip_smallest: true", &input, (const int[]){3, 1, 0, -1}, NULL);
    expect("weight-displacement", "{skip_smallest: true, order: descending}", &input,
           (const int[]){0, 1, 3, -1}, NULL);
    *bg_profile_displacement_at(&profile, 0, BG_REFERENCE_INITIAL, 3) = row[3];
    /* W_0 = 0: standing still is 0, moving is infinitely far. */
    expect("weight-displacement", "relative: true", &input, (const int[]){2, 0, 1, 3, -1},
           (const double[]){(double)INFINITY, (double)INFINITY, 0, (double)INFINITY});
    const bool pinned[] = {true, true, true, true};
    input.pinned = pinned;
    expect("weight-displacement", "skip_smallest: true", &input, (const int[]){-1}, row);
    bg_profile_free(&profile);
}

Test(weight_displacement, cycles_without_the_reference_do_not_count)
{
    struct bg_profile profile;
    displacement_profile(&profile, 1);
    struct bg_select_input input = input_of(2, &profile);
    expect_failure("weight-displacement", "reference: reset", &input, BG_E_DATA, "\"reset\"");
    cr_assert(bg_profile_add_cycle(&profile, 3) == BG_OK);
    *bg_profile_displacement_at(&profile, 2, BG_REFERENCE_RESET, 0) = 4;
    *bg_profile_displacement_at(&profile, 2, BG_REFERENCE_RESET, 1) = 2;
    expect("weight-displacement", "reference: reset", &input, (const int[]){1, 0, -1},
           (const double[]){4, 2});
    expect_near("", &profile, b_a, 0.015, 0.010);
    *bg_profile_displacement_at(&profile, 2, BG_REFERENCE_RESET, 1) = (double)NAN;
    expect_failure("weight-displacement", "reference: reset", &input, BG_E_NUMERIC, "layer l2");
    bg_profile_free(&profile);
}

Test(uniform, layers_stand_in_network_order_or_its_reverse)
{
    struct bg_select_input input = input_of(4, NULL);
    const bool pinned[] = {true, false, false, false};
    const double zeros[4] = {0};
    input.pinned = pinned;
    expect("uniform", "", &input, (const int[]){1, 2, 3, -1}, zeros);
    expect("uniform", "order: backward", &input, (const int[]){3, 2, 1, -1}, zeros);
}

Test(random, order_follows_seed_draw_and_names_alone)
{
    struct bg_select_input input = input_of(8, NULL);
    struct bg_ranking r[5];
    const char *const yaml[] = {"", "", "draw: 1", "", ""};
    for (int i = 0; i < 5; i++) {
        struct chosen chosen = choose("random", yaml[i]);
        cr_assert(bg_ranking_make(&r[i], 8) == BG_OK);
        input.seed = i == 3 ? 2 : 1;
        input.layers = i == 4 ? 5 : 8;
        r[i].layers = input.layers;
        cr_assert(chosen.method->rank(chosen.options, &input, &r[i]) == BG_OK);
        put_back(&chosen);
    }
    cr_assert(memcmp(r[0].score, r[1].score, 8 * sizeof(double)) == 0, "same seed, same order");
    cr_assert(memcmp(r[0].order, r[2].order, 8 * sizeof(int)) != 0, "another draw");
    cr_assert(memcmp(r[0].order, r[3].order, 8 * sizeof(int)) != 0, "another seed");
    cr_assert(memcmp(r[0].score, r[4].score, 5 * sizeof(double)) == 0,
              "fewer layers move no layer's draw");
    for (int i = 0; i < 5; i++)
        bg_ranking_free(&r[i]);
}

/* One row of each kind that any measure brings, by its own name, at 4 bits. */
static void measure_everything(struct bg_measurements *view, struct bg_measure_rows *rows)
{
    static char all[64][BG_NAME_MAX];
    static const int bits[] = {4};
    struct bg_measure_list list;
    struct bg_document *document = NULL;
    struct bg_text yaml, errors;
    int count = 0;
    bg_text_init(&yaml, 4096);
    bg_text_init(&errors, 4096);
    bg_text_add(&yaml, "m: [");
    for (; bg_measure_methods[count]; count++) {
        bg_text_add(&yaml, "%s, ", bg_measure_methods[count]->name);
        cr_assert(bg_text_copy(all[count], BG_NAME_MAX, bg_measure_methods[count]->name) == BG_OK);
    }
    bg_text_add(&yaml, "]");
    cr_assert(bg_yaml_parse_text(&document, "test", yaml.at, yaml.length) == BG_OK);
    cr_assert(bg_measure_choose(bg_yaml_get(bg_document_root(document), "m"), "m", &list,
                                &errors) == BG_OK);
    cr_assert(bg_measure_expect(&list, 8, 1, bits, rows) == BG_OK);
    *view = (struct bg_measurements){.measures = count,
                                     .name = (const char(*)[BG_NAME_MAX])all,
                                     .rows = rows->rows,
                                     .row = rows->row,
                                     .candidates = 1,
                                     .bits = {4}};
    bg_measure_list_free(&list);
    bg_document_free(document);
    bg_text_free(&yaml);
    bg_text_free(&errors);
}

/* What every policy must keep, so a new file is tested the moment it arrives. */
Test(select_registry, every_policy_is_deterministic_ranks_each_free_layer_once_and_no_pinned_one)
{
    struct bg_profile profile;
    make_profile(&profile, 8, true);
    float gradients[8][BG_QUANTITIES];
    for (int i = 0; i < 8; i++)
        for (int q = 0; q < BG_QUANTITIES; q++)
            gradients[i][q] = (float)((i * 5 + q) % 7) - 2.5f;
    add_row(&profile, (const float(*)[BG_QUANTITIES])gradients, 1);
    cr_assert(bg_profile_add_cycle(&profile, 1) == BG_OK);
    for (int i = 0; i < 8; i++)
        *bg_profile_displacement_at(&profile, 0, BG_REFERENCE_INITIAL, i) = (i * 3) % 8;
    const double step[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const bool pinned[8] = {true, false, false, true, false, false, false, true};
    struct bg_select_input input = input_of(8, &profile);
    input.pinned = pinned;
    input.weight_step = step;
    struct bg_measurements view;
    struct bg_measure_rows rows = {0};
    measure_everything(&view, &rows);
    input.measures = &view;
    input.second_bits = 4;
    int methods = 0;
    for (; bg_select_methods[methods]; methods++) {
        const struct bg_select_method *method = bg_select_methods[methods];
        cr_assert(method->name && method->help && method->source, "entry %d", methods);
        struct chosen chosen =
            choose(method->name, strcmp(method->name, "reverse") == 0 ? "of: uniform" : "");
        struct bg_ranking a, b;
        cr_assert(bg_ranking_make(&a, 8) == BG_OK && bg_ranking_make(&b, 8) == BG_OK);
        cr_assert(method->rank(chosen.options, &input, &a) == BG_OK, "%s: %s", method->name,
                  bg_error());
        cr_assert(method->rank(chosen.options, &input, &b) == BG_OK);
        bool seen[8] = {false};
        cr_assert(a.count == 5 && b.count == 5, "%s", method->name);
        for (int i = 0; i < a.count; i++) {
            cr_assert(a.order[i] == b.order[i], "%s", method->name);
            cr_assert(!pinned[a.order[i]] && !seen[a.order[i]], "%s", method->name);
            cr_assert(!isnan(a.score[a.order[i]]), "%s", method->name);
            seen[a.order[i]] = true;
        }
        bg_ranking_free(&a);
        bg_ranking_free(&b);
        put_back(&chosen);
    }
    cr_assert(methods >= 4);
    bg_measure_rows_free(&rows);
    bg_profile_free(&profile);
}

Test(choose, unknown_names_and_keys_name_the_nearest)
{
    const struct bg_select_method *method = NULL;
    void *options = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert(bg_select_choose("gradient-profil", NULL, "select", &method, &options, &errors) ==
              BG_E_DATA);
    cr_assert(strstr(bg_text_string(&errors),
                     "select: unknown select policy 'gradient-profil', did you mean "
                     "'gradient-profile'?"),
              "%s", bg_text_string(&errors));
    struct bg_document *document = NULL;
    const char *yaml = "powr: 1";
    cr_assert(bg_yaml_parse_text(&document, "r.yaml", yaml, strlen(yaml)) == BG_OK);
    cr_assert(bg_select_choose("gradient-profile", bg_document_root(document), "select.options",
                               &method, &options, &errors) == BG_E_DATA);
    cr_assert(strstr(bg_text_string(&errors), "did you mean 'power'?"), "%s",
              bg_text_string(&errors));
    cr_assert(options == NULL);
    bg_document_free(document);
    bg_text_free(&errors);
}
