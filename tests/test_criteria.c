/* Criteria on hand-made measurements: their penalties and orders, P5's table and X5 of
 * policies/METHODS.md, the controls (reverse, oracle), and one sentence for all that is missing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "policies/class_count.h"
#include "policies/nested.h"
#include "policies/oracle.h"
#include "policies/select.h"

#define LAYERS 3

static const char *const names[LAYERS] = {"l1", "l2", "l3"};
static const int64_t weights[LAYERS] = {100, 400, 500}, activations[LAYERS] = {10, 20, 40};
static const char measures[][BG_NAME_MAX] = {
    "weight-error", "activation-error", "output-error", "loss-change",  "gradient-error",
    "fisher",       "hessian",          "perturbation", "combinations", "steps"};
enum { WEIGHT, ACTIVATION, OUTPUT, LOSS, GRADIENT, FISHER, HESSIAN, P6, COMBINATIONS, STEPS };
#define MEASURES ((int)(sizeof measures / sizeof measures[0]))

/* Values that tell layer, role and bits apart: a * 4^-bits. */
static double value_of(int measure, int layer, int role, int bits)
{
    static const double by_layer[LAYERS] = {3, 1, 2};
    return (double)(measure + 1) * by_layer[layer] * (role ? 0.5 : 1) * ldexp(1, -2 * bits);
}

struct data {
    struct bg_measure_rows rows;
    struct bg_measurements view;
    struct bg_profile profile;
    struct bg_select_input input;
    bool pinned[LAYERS];
};

static void add(struct data *data, int measure, int measured, int layer, int role, int bits,
                double value)
{
    const struct bg_measure_row row = {.measure = measure,
                                       .measured = measured,
                                       .layer = layer,
                                       .role = role,
                                       .bits = bits,
                                       .value = value,
                                       .spread = (double)NAN,
                                       .samples = 4};
    cr_assert(bg_measure_rows_add(&data->rows, &row) == BG_OK);
}

static void add_bits(struct data *data, int layer, int role, int bits)
{
    add(data, WEIGHT + role, BG_MEASURED_MEAN_SQUARE, layer, role, bits,
        value_of(WEIGHT + role, layer, role, bits));
    add(data, WEIGHT + role, BG_MEASURED_STEP_NOISE, layer, role, bits,
        2 * value_of(WEIGHT + role, layer, role, bits));
    add(data, OUTPUT, BG_MEASURED_OUTPUT, layer, role, bits, value_of(OUTPUT, layer, role, bits));
    add(data, LOSS, BG_MEASURED_LOSS, layer, role, bits, -value_of(LOSS, layer, role, bits));
    add(data, GRADIENT, BG_MEASURED_FIRST_ORDER, layer, role, bits,
        -value_of(GRADIENT, layer, role, bits));
    add(data, GRADIENT, BG_MEASURED_ABSOLUTE, layer, role, bits,
        value_of(GRADIENT, layer, role, bits));
    if (role == BG_ROLE_WEIGHT)
        add(data, STEPS, BG_MEASURED_OUTPUT, layer, role, bits, value_of(STEPS, layer, role, bits));
}

static void make_profile(struct bg_profile *profile, int layers)
{
    const int64_t *const channels[BG_QUANTITIES] = {weights, weights, weights};
    cr_assert(bg_profile_make(profile, layers, names, weights, channels, false) == BG_OK);
    cr_assert(bg_profile_add_row(profile, 1) == BG_OK);
    cr_assert(bg_profile_add_cycle(profile, 1) == BG_OK);
    for (int i = 0; i < layers; i++) {
        for (int q = 0; q < BG_QUANTITIES; q++) {
            const float g = (float)(i + 1) * (q == BG_QUANTITY_IN_GRAD ? 2 : 1);
            bg_stats_add(bg_profile_at(profile, 0, (enum bg_quantity)q, i), &g, 1, 1);
        }
        *bg_profile_displacement_at(profile, 0, BG_REFERENCE_INITIAL, i) = 0.25 * (i + 1);
    }
}

static void make_data(struct data *data, int layers)
{
    static const int bits[] = {2, 4, 8};
    memset(data, 0, sizeof *data);
    for (int i = 0; i < layers; i++) {
        for (int role = 0; role < 2; role++) {
            for (int b = 0; b < 3; b++)
                add_bits(data, i, role, bits[b]);
            add(data, FISHER, BG_MEASURED_TRACE, i, role, 0, (double)(10 * (i + 1) + role));
        }
        add(data, HESSIAN, BG_MEASURED_TRACE, i, BG_ROLE_WEIGHT, 0, i == 1 ? -5 : 7 + i);
        add(data, P6, BG_MEASURED_SENSITIVITY, i, BG_ROLE_WEIGHT, 0, 8 * (i + 1));
    }
    /* Losses of all combinations: a sum over layers and an interaction of the first and last. */
    int64_t count = (int64_t)pow(3, layers);
    for (int64_t k = 0; k < count; k++) {
        double loss = 1;
        int64_t rest = k, first = 0, last = k % 3;
        for (int i = layers; i-- > 0; rest /= 3) {
            loss += (double)(i + 1) * (double)(2 - rest % 3) / 10;
            first = rest % 3;
        }
        loss += first == 0 && last == 0 ? 5 : 0;
        add(data, COMBINATIONS, BG_MEASURED_LOSS, -1, BG_ROLE_WEIGHT, 0, loss);
    }
    make_profile(&data->profile, layers);
    data->view = (struct bg_measurements){.measures = MEASURES,
                                          .name = measures,
                                          .rows = data->rows.rows,
                                          .row = data->rows.row,
                                          .candidates = 3,
                                          .bits = {2, 4, 8}};
    data->input = (struct bg_select_input){.layers = layers,
                                           .names = names,
                                           .weights = weights,
                                           .macs = weights,
                                           .pinned = data->pinned,
                                           .profile = &data->profile,
                                           .classes = 10,
                                           .seed = 1,
                                           .measures = &data->view,
                                           .activations = activations,
                                           .second_bits = 4};
}

static void free_data(struct data *data)
{
    bg_measure_rows_free(&data->rows);
    bg_profile_free(&data->profile);
}

/* A policy with options from YAML text. */
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

static enum bg_status rank(const char *name, const char *yaml, const struct data *data,
                           struct bg_ranking *out)
{
    struct chosen chosen = choose(name, yaml);
    cr_assert(bg_ranking_make(out, data->input.layers) == BG_OK);
    enum bg_status rc = chosen.method->rank(chosen.options, &data->input, out);
    put_back(&chosen);
    return rc;
}

static enum bg_status weigh(const char *name, const char *yaml, const struct data *data,
                            const int *bits, int count, struct bg_penalties *out)
{
    struct chosen chosen = choose(name, yaml);
    enum bg_status rc =
        bg_select_penalties(chosen.method, chosen.options, &data->input, bits, count, out);
    put_back(&chosen);
    return rc;
}

static double penalty(const char *name, const char *yaml, const struct data *data, int layer,
                      int role, int bits)
{
    struct bg_penalties penalties;
    cr_assert(weigh(name, yaml, data, &bits, 1, &penalties) == BG_OK, "%s {%s}: %s", name, yaml,
              bg_error());
    double value = penalties.speaks[role]
                       ? *bg_penalties_at(&penalties, layer, (enum bg_role)role, 0)
                       : (double)NAN;
    cr_assert(penalties.speaks[1] || penalties.silent[0], "%s does not say why", name);
    bg_penalties_free(&penalties);
    return value;
}

static void near(double got, double wanted, const char *what)
{
    cr_assert(fabs(got - wanted) <= 1e-12 * fabs(wanted), "%s: %.17g, wanted %.17g", what, got,
              wanted);
}

/* The formula of each criterion, by hand, for every layer, both roles and all bits. */
Test(criteria, penalties_are_what_the_formulas_say)
{
    static const int bits[] = {2, 4, 8};
    struct data data;
    make_data(&data, LAYERS);
    for (int i = 0; i < LAYERS; i++)
        for (int role = 0; role < 2; role++)
            for (int k = 0; k < 3; k++) {
                int b = bits[k];
                double mse = value_of(WEIGHT + role, i, role, b);
                double n = (double)(role ? activations[i] : weights[i]);
                double trace = 10 * (i + 1) + role, g = (i + 1) * (role ? 2 : 1);
                near(penalty("weight-error", "", &data, i, role, b), mse, "weight-error");
                near(penalty("weight-error", "{norm: sum, noise: uniform}", &data, i, role, b),
                     2 * n * mse, "weight-error sum");
                near(penalty("output-error", "", &data, i, role, b), value_of(OUTPUT, i, role, b),
                     "output-error");
                near(penalty("loss-change", "", &data, i, role, b), -value_of(LOSS, i, role, b),
                     "loss-change");
                near(penalty("loss-change", "absolute: true", &data, i, role, b),
                     value_of(LOSS, i, role, b), "loss-change size");
                near(penalty("gradient-error", "", &data, i, role, b),
                     value_of(GRADIENT, i, role, b), "gradient-error");
                near(penalty("gradient-error", "statistic: signed", &data, i, role, b),
                     -value_of(GRADIENT, i, role, b), "gradient-error signed");
                near(penalty("gradient-error", "statistic: size", &data, i, role, b),
                     value_of(GRADIENT, i, role, b), "gradient-error size");
                near(penalty("fisher", "", &data, i, role, b), trace * 2 * mse, "fisher");
                near(penalty("fisher", "noise: measured", &data, i, role, b), trace * mse,
                     "fisher measured");
                near(penalty("gradient-profile", "", &data, i, role, b), n * g * g * mse,
                     "gradient-profile");
                near(penalty("gradient-profile", "{quantities: [output], power: 1}", &data, i, role,
                             b),
                     n * g * g * mse, "gradient-profile, other order");
                near(penalty("uniform", "", &data, i, role, b), n * ldexp(1, -2 * b), "uniform");
                near(penalty("random", "", &data, i, role, b),
                     penalty("random", "", &data, i, role, 2) * ldexp(1, 4 - 2 * b), "random");
                if (role == 1) {
                    near(penalty("hessian", "activations: fisher", &data, i, role, b), trace * mse,
                         "hessian activations");
                    near(penalty("perturbation", "activations: output-error", &data, i, role, b),
                         value_of(OUTPUT, i, role, b), "perturbation activations");
                    cr_assert(isnan(penalty("hessian", "", &data, i, role, b)));
                    cr_assert(isnan(penalty("perturbation", "", &data, i, role, b)));
                    cr_assert(isnan(penalty("weight-displacement", "", &data, i, role, b)));
                    continue;
                }
                near(penalty("hessian", "", &data, i, role, b), i == 1 ? 0 : (7 + i) * mse,
                     "hessian");
                near(penalty("hessian", "clamp: false", &data, i, role, b),
                     (i == 1 ? -5 : 7 + i) * mse, "hessian as it is");
                near(penalty("perturbation", "", &data, i, role, b), 2 * (i + 1) * n * mse,
                     "perturbation"); /* 8 (i+1) over 4 samples */
                near(penalty("perturbation", "{measure: steps, distribution: uniform-step}", &data,
                             i, role, b),
                     value_of(STEPS, i, role, b), "perturbation in steps");
                near(penalty("weight-displacement", "", &data, i, role, b),
                     0.25 * (i + 1) * n * mse, "weight-displacement");
            }
    free_data(&data);
}

/* f32 costs nothing; the f32 candidate stands for layers that are left alone. */
Test(criteria, f32_has_no_penalty)
{
    static const char *const all[] = {"weight-error",   "output-error",     "loss-change",
                                      "gradient-error", "fisher",           "hessian",
                                      "perturbation",   "gradient-profile", "weight-displacement",
                                      "uniform",        "random",           "oracle"};
    struct data data;
    make_data(&data, LAYERS);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        cr_assert(penalty(all[i], "", &data, 1, 0, 0) == 0, "%s", all[i]);
    free_data(&data);
}

static void expect_order(const char *name, const char *yaml, const struct data *data,
                         const int *order, int count)
{
    struct bg_ranking ranking;
    cr_assert(rank(name, yaml, data, &ranking) == BG_OK, "%s {%s}: %s", name, yaml, bg_error());
    cr_assert(ranking.count == count, "%s {%s}: %d ranked", name, yaml, ranking.count);
    for (int i = 0; i < count; i++)
        cr_assert(ranking.order[i] == order[i], "%s {%s}: place %d is layer %d", name, yaml, i,
                  ranking.order[i]);
    cr_assert(ranking.note[0]);
    bg_ranking_free(&ranking);
}

Test(criteria, ranks_by_the_weights_penalty_at_the_second_bits)
{
    static const int by_value[] = {1, 2, 0}, rising[] = {2, 1, 0}, hessian[] = {1, 2, 0};
    struct data data;
    make_data(&data, LAYERS);
    expect_order("weight-error", "", &data, by_value, 3);
    expect_order("output-error", "", &data, by_value, 3);
    expect_order("loss-change", "", &data, (const int[]){0, 2, 1}, 3); /* all negative */
    expect_order("gradient-error", "", &data, by_value, 3);
    expect_order("hessian", "", &data, hessian, 3);
    expect_order("fisher", "", &data, (const int[]){1, 0, 2}, 3); /* 10*3, 20*1, 30*2 */
    expect_order("reverse", "of: weight-error", &data, (const int[]){0, 2, 1}, 3);
    expect_order("reverse", "of: {name: gradient-profile, quantities: [output]}", &data, rising, 3);
    data.pinned[2] = true;
    expect_order("weight-error", "", &data, (const int[]){1, 0}, 2);
    expect_order("reverse", "of: weight-error", &data, (const int[]){0, 1}, 2);
    data.input.second_bits = 0; /* the fewest measured */
    expect_order("weight-error", "", &data, (const int[]){1, 0}, 2);
    free_data(&data);
}

static void expect_failure(const char *name, const char *yaml, const struct data *data,
                           enum bg_status status, const char *part)
{
    struct bg_ranking ranking;
    enum bg_status rc = rank(name, yaml, data, &ranking);
    cr_assert(rc == status, "%s {%s}: %s, %s", name, yaml, bg_status_name(rc), bg_error());
    cr_assert(strstr(bg_error(), part), "%s {%s}: %s", name, yaml, bg_error());
    bg_ranking_free(&ranking);
}

/* Penalties of the reverse: the most sensitive layer gets those of the least, the middle keeps its
 * own, pinned layers keep theirs. */
Test(criteria, reverse_exchanges_penalties)
{
    struct data data;
    make_data(&data, LAYERS);
    for (int role = 0; role < 2; role++)
        for (int bits = 2; bits <= 8; bits *= 2) {
            near(penalty("reverse", "of: weight-error", &data, 0, role, bits),
                 penalty("weight-error", "", &data, 1, role, bits), "first");
            near(penalty("reverse", "of: weight-error", &data, 1, role, bits),
                 penalty("weight-error", "", &data, 0, role, bits), "second");
            near(penalty("reverse", "of: weight-error", &data, 2, role, bits),
                 penalty("weight-error", "", &data, 2, role, bits), "third");
        }
    data.pinned[0] = true;
    near(penalty("reverse", "of: weight-error", &data, 0, 0, 4),
         penalty("weight-error", "", &data, 0, 0, 4), "pinned");
    near(penalty("reverse", "of: weight-error", &data, 1, 0, 4),
         penalty("weight-error", "", &data, 2, 0, 4), "others");
    free_data(&data);
}

/* A policy in a policy in a policy; the classifier that one of them fixes keeps its penalties, and
 * the two others exchange theirs. */
Test(criteria, policies_nest)
{
    static const char fixed[] = "{of: {name: class-count, of: weight-error}}";
    static const char deep[] = "{of: {name: class-count, of: {name: reverse, of: weight-error}}}";
    static const int partner[] = {1, 0, 2};
    struct data data;
    make_data(&data, LAYERS);
    data.input.classes = 10;
    for (int i = 0; i < LAYERS; i++)
        for (int role = 0; role < 2; role++) {
            near(penalty("reverse", fixed, &data, i, role, 4),
                 penalty("weight-error", "", &data, partner[i], role, 4), "exchanged once");
            near(penalty("reverse", deep, &data, i, role, 4),
                 penalty("weight-error", "", &data, i, role, 4), "exchanged twice");
        }
    expect_order("weight-error", "", &data, (const int[]){1, 2, 0}, 3);
    expect_order("reverse", fixed, &data, (const int[]){0, 1}, 2);
    expect_order("reverse", deep, &data, (const int[]){1, 0}, 2);
    expect_order("class-count", "{of: {name: reverse, of: {name: fisher, noise: measured}}}", &data,
                 (const int[]){0, 1}, 2);
    expect_failure("reverse", "{of: {name: class-count, of: {name: fisher, nose: 1}}}", &data,
                   BG_E_DATA, "did you mean");
    free_data(&data);
}

/* The loss's sensitivity is of a mean already; its square and a loss are not put together. */
Test(criteria, perturbation_of_the_loss)
{
    struct data data;
    make_data(&data, LAYERS);
    for (int i = 0; i < LAYERS; i++) /* four samples */
        near(penalty("perturbation", "metric: loss", &data, i, 0, 4),
             4 * penalty("perturbation", "", &data, i, 0, 4), "no division");
    expect_failure("perturbation", "{metric: loss, activations: loss-change}", &data, BG_E_DATA,
                   "uniform-step");
    free_data(&data);
}

/* Rows that say their batch: input gradients of 8 samples. */
Test(criteria, gradient_profile_divides_activations_by_the_batch)
{
    struct data data;
    double plain[2], batch[2];
    make_data(&data, LAYERS);
    for (int role = 0; role < 2; role++)
        plain[role] = penalty("gradient-profile", "", &data, 1, role, 4);
    struct bg_stats *stats = bg_profile_at(&data.profile, 0, BG_QUANTITY_IN_GRAD, 1);
    stats->sum_square *= (double)(8 * activations[1]);
    stats->count *= 8 * activations[1];
    for (int role = 0; role < 2; role++)
        batch[role] = penalty("gradient-profile", "", &data, 1, role, 4);
    near(batch[0], plain[0], "weights");
    near(batch[1], plain[1] / 8, "activations");
    free_data(&data);
}

/* ---- P5 ---- */

static int class_bits(const char *yaml, int64_t classes, int *wanted)
{
    struct data data;
    struct bg_ranking ranking;
    make_data(&data, LAYERS);
    data.input.classes = (int)classes;
    cr_assert(rank("class-count", yaml, &data, &ranking) == BG_OK, "%s: %s", yaml, bg_error());
    int bits = ranking.fixed_bits[BG_ROLE_WEIGHT];
    const char *need = strstr(ranking.note, "need ");
    cr_assert(need && ranking.fixes && ranking.fixed_layer == 2);
    *wanted = (int)strtol(need + 5, NULL, 10);
    bg_ranking_free(&ranking);
    free_data(&data);
    return bits;
}

/* The table of policies/METHODS.md: bits before rounding up, then the rule's widths. */
Test(class_count, table_of_p5)
{
    static const struct {
        int64_t classes;
        int truncation, quarter, sixteenth, sixtyfourth, rule, bound;
    } rows[] = {{10, 5, 6, 8, 10, 8, 8},        {100, 8, 9, 11, 13, 16, 8},
                {129, 8, 9, 11, 13, 16, 8},     {130, 9, 10, 12, 14, 16, 16},
                {1000, 11, 12, 14, 16, 16, 16}, {21841, 16, 17, 19, 21, 32, 16}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int wanted = 0;
        int64_t n = rows[i].classes;
        cr_assert(class_bits("{mode: bound, base_bits: 1}", n, &wanted) &&
                      wanted == rows[i].truncation,
                  "N = %d: bound %d", (int)n, wanted);
        cr_assert(class_bits("{eps: 0.25, base_bits: 1}", n, &wanted) && wanted == rows[i].quarter,
                  "N = %d: 1/4 %d", (int)n, wanted);
        cr_assert(class_bits("{eps: 0.0625, base_bits: 1}", n, &wanted) &&
                      wanted == rows[i].sixteenth,
                  "N = %d: 1/16 %d", (int)n, wanted);
        cr_assert(class_bits("{eps: 0.015625, base_bits: 1}", n, &wanted) &&
                      wanted == rows[i].sixtyfourth,
                  "N = %d: 1/64 %d", (int)n, wanted);
        cr_assert(class_bits("", n, &wanted) == rows[i].rule);
        cr_assert(class_bits("mode: bound", n, &wanted) == rows[i].bound);
    }
}

/* Non-decreasing in N, always a supported width, the base at N = 2; and the property behind it: at
 * full scale 2^(b-1) the gradient of another class is 0 when rounded with fewer bits than the
 * nearest bound, not at it, and the summed error is at most (N-1)/2^b. */
Test(class_count, bits_grow_with_the_classes)
{
    struct bg_class_rule rule = {.eps = 1.0 / 16, .base_bits = 8, .supported = {3, {8, 16, 32}}};
    int last = 0;
    for (int64_t n = 2; n < 3000; n++) {
        int wanted = 0, bits = 0;
        cr_assert(bg_class_bits(&rule, n, &wanted, &bits) == BG_OK);
        cr_assert(bits >= last && bits >= wanted && (bits == 8 || bits == 16 || bits == 32));
        cr_assert(n > 2 || bits == 8);
        last = bits;
        int nearest = 0;
        while (ldexp(1, nearest) < (double)(n - 1))
            nearest++;
        for (int b = 2; b < 20 && n > 2; b++) {
            double code = floor(ldexp(1, b - 1) / (double)(n - 1) + 0.5), answer = ldexp(1, b - 1);
            cr_assert((code > 0) == (b >= nearest), "N = %d, %d bits", (int)n, b);
            cr_assert(fabs(code * (double)(n - 1) - answer) / answer <=
                      (double)(n - 1) / ldexp(1, b) + 1e-12);
        }
    }
}

Test(class_count, modes_and_their_sentences)
{
    static const struct {
        const char *yaml, *part;
    } bad[] = {{"supported: [16, 8]", "must ascend"},
               {"{supported: [8], mode: bound}", "no supported width"},
               {"{mode: table, table_classes: [10, 100], table_bits: [8]}", "table_bits has 1"},
               {"{mode: table, table_classes: [10, 100], table_bits: [8, 4]}", "must not fall"},
               {"of: class-count", "cannot be class-count itself"},
               {"of: fishr", "unknown select policy 'fishr'"},
               {"of: [fisher]", "must name a policy"},
               {"of: {noise: measured}", "must name a policy"}};
    struct data data;
    struct bg_ranking ranking;
    int wanted = 0;
    cr_assert(class_bits("mode: threshold", 128, &wanted) == 8);
    cr_assert(class_bits("mode: threshold", 129, &wanted) == 16);
    cr_assert(class_bits("{mode: threshold, class_threshold: 10}", 10, &wanted) == 16);
    const char *table = "{mode: table, table_classes: [10, 100, 1000], table_bits: [4, 12, 20], "
                        "supported: [4, 8, 12, 32], base_bits: 4}";
    cr_assert(class_bits(table, 9, &wanted) == 4);
    cr_assert(class_bits(table, 100, &wanted) == 12);
    cr_assert(class_bits(table, 5000, &wanted) == 32);
    make_data(&data, LAYERS);
    data.input.classes = 1000;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert(rank("class-count", bad[i].yaml, &data, &ranking) == BG_E_DATA, "%s",
                  bad[i].yaml);
        cr_assert(strstr(bg_error(), bad[i].part), "%s: %s", bad[i].yaml, bg_error());
        bg_ranking_free(&ranking);
    }
    data.input.classes = 1;
    cr_assert(rank("class-count", "", &data, &ranking) == BG_E_DATA);
    bg_ranking_free(&ranking);
    free_data(&data);
}

/* X5: the classifier is never ranked, whatever policy ranks the others; its bits stand in the plan,
 * and every other layer is as that policy says. */
Test(class_count, x5_the_classifier_is_pinned)
{
    static const char *const others[] = {"gradient-profile", "weight-displacement", "perturbation"};
    struct data data;
    make_data(&data, LAYERS);
    data.input.classes = 1000;
    for (size_t i = 0; i < 3; i++) {
        struct bg_select_options options = {
            .first_bits = 8, .second_bits = 4, .activation_bits = 8};
        char yaml[128];
        struct bg_ranking ranking, plain;
        struct bg_plan plan;
        int at = 0;
        (void)snprintf(yaml, sizeof yaml, "{of: %s, scope: both}", others[i]);
        cr_assert(rank("class-count", yaml, &data, &ranking) == BG_OK, "%s", bg_error());
        cr_assert(rank(others[i], "", &data, &plain) == BG_OK);
        cr_assert(ranking.count == 2 && plain.count == 3);
        for (int k = 0; k < 3; k++)
            if (plain.order[k] != 2)
                cr_assert(plain.order[k] == ranking.order[at++]);
        cr_assert(bg_select_plan(&options, names, &ranking, ranking.count, &plan) == BG_OK);
        cr_assert(plan.layer[0].spec[BG_ROLE_WEIGHT].bits == 4);
        cr_assert(plan.layer[2].spec[BG_ROLE_WEIGHT].bits == 16);
        cr_assert(plan.layer[2].spec[BG_ROLE_WEIGHT].per_channel);
        cr_assert(plan.layer[2].spec[BG_ROLE_OUT_GRAD].bits == 16);
        cr_assert(plan.layer[2].spec[BG_ROLE_WEIGHT_GRAD].bits == 16);
        cr_assert(plan.layer[2].spec[BG_ROLE_ACTIVATION].bits == 8);
        cr_assert(!plan.layer[2].spec[BG_ROLE_OUT_GRAD].per_channel);
        cr_assert(plan.layer[1].spec[BG_ROLE_OUT_GRAD].format == BG_FORMAT_F32);
        struct bg_penalties penalties;
        const int bits = 4;
        cr_assert(weigh("class-count", yaml, &data, &bits, 1, &penalties) == BG_OK);
        cr_assert(penalties.fixes && penalties.fixed_layer == 2 &&
                  penalties.fixed_bits[BG_ROLE_WEIGHT] == 16);
        bg_penalties_free(&penalties);
        bg_plan_free(&plan);
        bg_ranking_free(&ranking);
        bg_ranking_free(&plain);
    }
    free_data(&data);
}

/* Which of the classifier's gradients, and that 32 bits are f32. */
Test(class_count, scope_says_which_roles_take_the_bits)
{
    static const struct {
        const char *yaml;
        int weight, output, weight_gradient; /* bits; 0: not fixed */
    } rows[] = {{"{scope: weights}", 8, 0, 0},
                {"{scope: gradients}", 0, 8, 8},
                {"{scope: gradients, gradients: output}", 0, 8, 0},
                {"{scope: both, gradients: output}", 8, 8, 0},
                {"{scope: both, supported: [32]}", 32, 32, 32},
                {"{scope: gradients, supported: [10]}", 0, 10, 10}};
    struct data data;
    struct bg_ranking ranking;
    make_data(&data, LAYERS);
    data.input.classes = 10;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert(rank("class-count", rows[i].yaml, &data, &ranking) == BG_OK, "%s", bg_error());
        cr_expect(ranking.fixed_bits[BG_ROLE_WEIGHT] == rows[i].weight &&
                      ranking.fixed_bits[BG_ROLE_OUT_GRAD] == rows[i].output &&
                      ranking.fixed_bits[BG_ROLE_WEIGHT_GRAD] == rows[i].weight_gradient,
                  "%s", rows[i].yaml);
        bg_ranking_free(&ranking);
    }
    cr_expect(rank("class-count", "{scope: gradients, supported: [20]}", &data, &ranking) ==
              BG_E_DATA);
    cr_expect(strstr(bg_error(), "gradients have 2 to 16 bits or 32, not 20") != NULL, "%s",
              bg_error());
    bg_ranking_free(&ranking);
    free_data(&data);
}

/* ---- oracle ---- */

Test(oracle, finds_the_best_plan_within_a_budget)
{
    struct data data;
    struct bg_oracle oracle;
    double cost[LAYERS * 3];
    int64_t best = -1;
    make_data(&data, LAYERS);
    cr_assert(bg_oracle_open(&oracle, &data.input, "combinations") == BG_OK, "%s", bg_error());
    cr_assert(oracle.count == 27);
    for (int i = 0; i < LAYERS; i++)
        for (int c = 0; c < 3; c++)
            cost[i * 3 + c] = (double)weights[i] * oracle.bits[c];
    for (double budget = 2000; budget <= 8000; budget += 100) {
        double least = (double)INFINITY;
        cr_assert(bg_oracle_best(&oracle, cost, budget, &best) == BG_OK);
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++)
                for (int c = 0; c < 3; c++) {
                    int64_t k = 9 * a + 3 * b + c;
                    cr_assert(bg_oracle_choice(&oracle, k, 0) == a &&
                              bg_oracle_choice(&oracle, k, 1) == b &&
                              bg_oracle_choice(&oracle, k, 2) == c);
                    if (cost[a] + cost[3 + b] + cost[6 + c] <= budget)
                        least = fmin(least, oracle.row[k].value);
                }
        cr_assert(oracle.row[best].value == least);
    }
    cr_assert(bg_oracle_best(&oracle, cost, 1999, &best) == BG_E_RANGE);
    cr_assert(strstr(bg_error(), "the cheapest costs 2000"), "%s", bg_error());
    /* Main effects: l1 at 2 bits costs 0.2, and 5 in a third of the combinations. */
    near(penalty("oracle", "", &data, 0, 0, 2), 0.2 + 5.0 / 3, "first");
    near(penalty("oracle", "", &data, 1, 0, 2), 0.4, "second");
    cr_assert(fabs(penalty("oracle", "", &data, 2, 0, 4) - 0.3) < 1e-12);
    cr_assert(penalty("oracle", "", &data, 2, 0, 8) == 0);
    data.view.rows -= 1;
    struct bg_ranking ranking;
    cr_assert(rank("oracle", "", &data, &ranking) == BG_E_DATA);
    cr_assert(strstr(bg_error(), "26 of 27"), "%s", bg_error());
    bg_ranking_free(&ranking);
    free_data(&data);
}

/* ---- all of them ---- */

/* Options under which a policy of the registry can rank the data at hand. */
static const char *options_of(const char *name)
{
    return strcmp(name, "reverse") == 0 ? "of: fisher" : "";
}

/* Five times the same ranking and penalties to the last bit, also for a network of one layer. */
Test(criteria, same_answer_each_time)
{
    static const int bits[] = {2, 8};
    for (int layers = 1; layers <= LAYERS; layers += 2) {
        struct data data;
        make_data(&data, layers);
        for (int m = 0; bg_select_methods[m]; m++) {
            const char *name = bg_select_methods[m]->name;
            struct bg_ranking first = {0}, ranking;
            struct bg_penalties weighed = {0}, penalties;
            for (int run = 0; run < 5; run++) {
                cr_assert(rank(name, options_of(name), &data, &ranking) == BG_OK, "%s: %s", name,
                          bg_error());
                cr_assert(weigh(name, options_of(name), &data, bits, 2, &penalties) == BG_OK,
                          "%s: %s", name, bg_error());
                if (run == 0) {
                    first = ranking;
                    weighed = penalties;
                    continue;
                }
                cr_assert(first.count == ranking.count && !strcmp(first.note, ranking.note));
                cr_assert(memcmp(first.order, ranking.order,
                                 (size_t)first.count * sizeof *first.order) == 0,
                          "%s", name);
                cr_assert(memcmp(weighed.value, penalties.value,
                                 (size_t)layers * 4 * sizeof(double)) == 0,
                          "%s", name);
                bg_ranking_free(&ranking);
                bg_penalties_free(&penalties);
            }
            cr_assert(first.count == layers - (first.fixes ? 1 : 0), "%s", name);
            cr_assert(weighed.speaks[BG_ROLE_WEIGHT], "%s", name);
            bg_ranking_free(&first);
            bg_penalties_free(&weighed);
        }
        free_data(&data);
    }
}

/* What is missing is named in terms of the recipe. */
Test(criteria, missing_data_is_named)
{
    struct data data;
    struct bg_penalties penalties;
    static const int odd = 5, wide = 17;
    make_data(&data, LAYERS);
    data.input.second_bits = 3;
    expect_failure("weight-error", "", &data, BG_E_DATA, "add 3 to profile.candidates");
    expect_failure("oracle", "", &data, BG_E_DATA, "add 3 to profile.candidates");
    data.input.second_bits = 4;
    expect_failure("fisher", "measure: fishy", &data, BG_E_DATA,
                   "no measure \"fishy\"; add it to profile.measures");
    expect_failure("hessian", "weights: none", &data, BG_E_DATA, "no measure \"none\"");
    expect_failure("perturbation", "metric: kl", &data, BG_OK, "");
    expect_failure("perturbation", "{distribution: uniform-step, metric: kl}", &data, BG_E_DATA,
                   "has no divergence of weights");
    expect_failure("output-error", "metric: relative", &data, BG_E_DATA, "no relative of weights");
    expect_failure("reverse", "", &data, BG_E_DATA, "must name a policy");
    expect_failure("reverse", "of: {name: fisher, nose: measured}", &data, BG_E_DATA,
                   "did you mean");
    cr_assert(weigh("weight-error", "", &data, &odd, 1, &penalties) == BG_E_DATA);
    cr_assert(weigh("weight-error", "", &data, &wide, 1, &penalties) == BG_E_RANGE);
    cr_assert(weigh("weight-error", "", &data, &odd, 0, &penalties) == BG_E_RANGE);
    for (int m = 0; bg_select_methods[m]; m++) {
        struct bg_ranking ranking;
        const char *name = bg_select_methods[m]->name;
        struct data bare = data;
        bare.input.measures = NULL;
        bare.input.profile = NULL;
        enum bg_status rc = rank(name, options_of(name), &bare, &ranking);
        bool needs_none =
            !strcmp(name, "uniform") || !strcmp(name, "random") || !strcmp(name, "class-count");
        cr_assert(rc == (needs_none ? BG_OK : BG_E_DATA), "%s: %s", name, bg_error());
        cr_assert(needs_none || strstr(bg_error(), "run"), "%s: %s", name, bg_error());
        bg_ranking_free(&ranking);
    }
    free_data(&data);
}

Test(criteria, values_that_are_not_finite_are_refused)
{
    struct data data;
    static const struct {
        const char *name;
        int measure;
    } cases[] = {{"weight-error", WEIGHT},     {"output-error", OUTPUT}, {"loss-change", LOSS},
                 {"gradient-error", GRADIENT}, {"fisher", FISHER},       {"hessian", HESSIAN},
                 {"perturbation", P6},         {"oracle", COMBINATIONS}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_data(&data, LAYERS);
        for (int64_t r = 0; r < data.rows.rows; r++)
            if (data.rows.row[r].measure == cases[i].measure && data.rows.row[r].layer != 0 &&
                (data.rows.row[r].layer == 1 || data.rows.row[r].layer == -1))
                data.rows.row[r].value = (double)NAN;
        expect_failure(cases[i].name, "", &data, BG_E_NUMERIC,
                       cases[i].measure == COMBINATIONS ? "combination 0" : "layer l2");
        free_data(&data);
    }
}

/* A row measured again stands for the one before. */
Test(criteria, the_last_row_counts)
{
    struct data data;
    make_data(&data, LAYERS);
    add(&data, WEIGHT, BG_MEASURED_MEAN_SQUARE, 1, BG_ROLE_WEIGHT, 4, 99);
    data.view.rows = data.rows.rows;
    data.view.row = data.rows.row;
    near(penalty("weight-error", "", &data, 1, 0, 4), 99, "last");
    free_data(&data);
}
