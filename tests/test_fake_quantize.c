/* The numbers behind fake quantization: weights on their grids, delayed ranges, straight-through
 * gradients and learned steps. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "autograd/program_private.h"
#include "core/method.h"
#include "support_graph.h"

/* Weights sit on their grid, per channel, refitted to the present values; 1 bit is the mean. */
Test(fake_quantize, weights_are_projected_before_forward)
{
    struct bg_graph *graph = support_fork();
    struct support_batch data;
    const struct bg_sample_spec *spec = graph->node[0]->attributes;

    support_batch_make(&data, spec, 2, 1);
    for (int bits = 1; bits <= 4; bits += 3) {
        struct bg_program *program = NULL;
        struct bg_param *weight = bg_graph_layer_weight(graph, 0);
        support_quantize(graph, bits, 0, false);
        program = support_program(graph, &(struct bg_program_options){.batch = 2});
        for (int round = 0; round < 2; round++) {
            support_step(program, &data.batch, NULL);
            for (int64_t c = 0; c < 2; c++) {
                const float *w = bg_f32(&weight->value) + 18 * c;
                double largest = 0.0, mean = 0.0;
                for (int i = 0; i < 18; i++) {
                    largest = fmax(largest, fabs((double)w[i]));
                    mean += fabs((double)w[i]);
                }
                mean /= 18.0;
                for (int i = 0; i < 18; i++) {
                    float y = bg_f32(&weight->forward)[18 * c + i];
                    float s = bits == 1 ? (float)mean : (float)(largest / 7.0);
                    float expected = s * rintf(w[i] / s);
                    if (bits == 1)
                        expected = w[i] >= 0.0f ? s : -s;
                    cr_expect(y == expected, "%d bits: %g, %g", bits, (double)y, (double)expected);
                }
            }
            support_descend(graph, 0.5);
        }
        bg_program_destroy(program);
    }
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* The batch is quantized with the range of the batches before it. */
Test(fake_quantize, ranges_are_delayed_and_evaluation_never_observes)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct support_batch data;
    struct bg_program *train = NULL, *eval = NULL;
    struct bg_quantizer *quantizer = NULL;
    struct bg_program_options options = {.batch = 1, .keep_values = true};
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};

    support_finish(graph, x);
    support_batch_make(&data, graph->node[0]->attributes, 1, 1);
    support_quantize(graph, 0, 8, false);
    quantizer = graph->node[0]->quantizer;
    train = support_program(graph, &options);
    options.mode = BG_MODE_EVAL;
    eval = support_program(graph, &options);
    for (int i = 0; i < 72; i++)
        data.images[i] = (float)i / 71.0f; /* 0 to 1 */
    cr_expect(bg_program_forward(eval, &data.batch, &moment) == BG_E_USAGE);
    cr_expect_str_eq(bg_error(), "quantize input: the quantizer of input has no range yet: "
                                 "calibrate first");
    OK(bg_program_forward(train, &data.batch, &moment)); /* the first batch's range comes first */
    cr_expect(quantizer->observed == 1 && quantizer->hi[0] == 1.0f);
    cr_expect(quantizer->grid.scale[0] == (float)(1.0 / 255.0));
    cr_expect(quantizer->clipped == 0 && quantizer->seen == 72);
    data.images[0] = 4.0f;
    OK(bg_program_forward(train, &data.batch, &moment));
    cr_expect(quantizer->hi[0] == 4.0f && quantizer->observed == 2 && quantizer->clipped == 1);
    cr_expect(bg_f32(bg_program_value(train, "input"))[0] == 1.0f); /* clipped by the old range */
    cr_expect(quantizer->grid.scale[0] == (float)(1.0 / 255.0));
    data.images[1] = -4.0f;
    OK(bg_program_forward(eval, &data.batch, &moment));
    cr_expect(quantizer->observed == 2 && quantizer->lo[0] == 0.0f);
    cr_expect(bg_f32(bg_program_value(eval, "input"))[0] == 4.0f);
    moment.flags = BG_RUN_OBSERVE | BG_RUN_BYPASS;
    OK(bg_program_forward(train, &data.batch, &moment));
    cr_expect(quantizer->lo[0] == -4.0f && quantizer->observed == 3);
    cr_expect(bg_f32(bg_program_value(train, "input"))[2] == 2.0f / 71.0f); /* passed through */
    data.images[5] = NAN;
    cr_expect(bg_program_forward(train, &data.batch, &moment) == BG_E_NUMERIC);
    cr_expect(strstr(bg_error(), "quantizer of input: range [") != NULL, "%s", bg_error());
    bg_program_destroy(train);
    bg_program_destroy(eval);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Straight-through with clip mask: the gradient passes inside the clip limits and nowhere else;
 * with bypass it passes everywhere. */
Test(fake_quantize, activation_gradient_is_its_surrogate)
{
    for (int compute = 0; compute < 2; compute++) {
        struct bg_node *x = NULL;
        struct bg_graph *graph = support_start(BG_F32, 0, &x);
        struct support_batch data;
        struct bg_program *program = NULL;
        struct bg_quantizer *quantizer = NULL;
        struct bg_run_moment moment = {.flags = 0};
        int passed = 0, masked = 0;
        support_finish(graph, x);
        support_batch_make(&data, graph->node[0]->attributes, 1, 1);
        support_quantize(graph, 0, 4, false);
        quantizer = graph->node[0]->quantizer;
        quantizer->lo[0] = -1.0f;
        quantizer->hi[0] = 1.0f;
        quantizer->observed = 1;
        program =
            support_program(graph, &(struct bg_program_options){.batch = 1,
                                                                .compute = (enum bg_compute)compute,
                                                                .observe = true,
                                                                .keep_values = true});
        support_step(program, &data.batch, &moment);
        for (int i = 0; i < 72; i++) {
            float lo = 0.0f, hi = 0.0f, v = data.images[i];
            float dy = bg_f32(&program->step[1].d_out)[i], dx = bg_f32(&program->step[0].d_out)[i];
            bg_grid_clip_limits(&quantizer->grid, 0, &lo, &hi);
            cr_expect(dx == (v >= lo && v <= hi ? dy : 0.0f));
            passed += v >= lo && v <= hi && dy != 0.0f;
            masked += v < lo || v > hi;
        }
        cr_expect(passed > 30 && masked > 5 && quantizer->clipped == masked);
        moment.flags = BG_RUN_BYPASS;
        support_step(program, &data.batch, &moment);
        cr_expect(memcmp(program->step[0].d_out.data, program->step[1].d_out.data, 72 * 4) == 0);
        bg_program_destroy(program);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}

/* A step below 1 whose range, and then itself, were rounded to f32. */
#define STEP_SLACK 0x1p-23
/* A sum of two products of at most 1/2 (dy of a mean over 2) and 9 (a normal value): 3 roundings of
 * at most 9 * 2^-24. */
#define WEIGHT_GRADIENT_SLACK 2e-6
/* 72 such gradients times a slope of at most 3; of those between the ends the ratio, below 3, is
 * rounded to f32 and the gradient is at most 9; over sqrt(216). */
#define STEP_GRADIENT_SLACK 8e-5

/* LSQ (Esser et al., ICLR 2020): start 2 mean|w| / sqrt(qmax), from the range method; gradient of
 * the step per element rint(w/s) - w/s between qmin and qmax, else qmin or qmax, times 1 / sqrt(n
 * qmax). */
Test(fake_quantize, learned_step_start_and_gradient)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct support_batch data;
    struct bg_program *program = NULL;
    struct bg_param *weight = NULL, *step = NULL;
    float straight[3 * 72];
    const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};

    support_finish(graph, x);
    support_batch_make(&data, graph->node[0]->attributes, 2, 1);
    weight = bg_graph_layer_weight(graph, 0);
    support_quantize(graph, 3, 0, true);
    step = bg_graph_param_find(graph, "fc.weight.step");
    program = support_program(graph, &(struct bg_program_options){.batch = 2});
    OK(bg_program_forward(program, &data.batch, &moment));
    for (int64_t c = 0; c < 3; c++) {
        double mean = 0.0;
        for (int i = 0; i < 72; i++)
            mean += fabs((double)bg_f32(&weight->value)[72 * c + i]) / 72.0;
        cr_expect(fabs((double)bg_f32(&step->value)[c] - 2.0 * mean / sqrt(3.0)) < STEP_SLACK);
        bg_f32(&step->value)[c] *= 0.5f; /* so that some weights are clipped */
    }
    step->version++;
    support_step(program, &data.batch, &moment);
    cr_expect(weight->quantizer->clipped > 0 && weight->quantizer->clipped < 216);
    memcpy(straight, weight->grad.data, sizeof straight);
    for (int64_t c = 0; c < 3; c++) {
        double expected = 0.0, s = (double)bg_f32(&step->value)[c];
        /* dLoss/dforward of a linear layer is recovered from outputs: sum over the batch */
        const float *dy = bg_f32(&program->step[1].d_out);
        for (int i = 0; i < 72; i++) {
            double ratio = (double)bg_f32(&weight->value)[72 * c + i] / s, d = 0.0;
            for (int b = 0; b < 2; b++)
                d += (double)dy[3 * b + c] * (double)data.images[72 * b + i];
            /* the mask ends half a step outside the grid, LSQ's step rule at its last code */
            cr_expect(fabs((double)straight[72 * c + i] - (fabs(ratio) <= 3.5 ? d : 0.0)) <
                      WEIGHT_GRADIENT_SLACK);
            expected += d * (fabs(ratio) < 3.0 ? rint(ratio) - ratio : copysign(3.0, ratio));
        }
        expected /= sqrt(72.0 * 3.0);
        cr_expect(fabs((double)bg_f32(&step->grad)[c] - expected) < STEP_GRADIENT_SLACK,
                  "%g against %g", (double)bg_f32(&step->grad)[c], expected);
    }
    bg_f32(&step->value)[1] = -1.0f; /* a step that went below zero is raised to the floor */
    step->version++;
    OK(bg_program_forward(program, &data.batch, &moment));
    cr_expect(bg_f32(&step->value)[1] == BG_STEP_FLOOR);
    bg_program_destroy(program);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* 1-bit weights stand at +-mean|w| (core/NUMERICS.md, "Codes and grids"); a learned step starts
 * there. */
Test(fake_quantize, a_learned_step_of_one_bit_starts_at_the_mean)
{
    struct bg_graph *graph = support_fork();
    struct support_batch data;
    struct bg_program *program = NULL;
    const struct bg_param *weight = bg_graph_layer_weight(graph, 0);

    support_batch_make(&data, graph->node[0]->attributes, 1, 1);
    support_quantize(graph, 1, 0, true);
    program = support_program(graph, &(struct bg_program_options){.batch = 1});
    OK(bg_program_forward(program, &data.batch, NULL));
    for (int64_t c = 0; c < 2; c++) {
        const float *w = bg_f32(&weight->value) + 18 * c, *y = bg_f32(&weight->forward) + 18 * c;
        double mean = 0.0;
        for (int i = 0; i < 18; i++)
            mean += fabs((double)w[i]);
        mean /= 18.0; /* summed as the library does: equal to the bit */
        cr_expect(bg_f32(&weight->quantizer->step->value)[c] == (float)mean);
        for (int i = 0; i < 18; i++)
            cr_expect(y[i] == (w[i] >= 0.0f ? (float)mean : -(float)mean));
    }
    bg_program_destroy(program);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* A grid has no code for NaN: without a range method that looks at the weights each time, they must
 * be looked at here, or training would go on with zeros in their place. */
Test(fake_quantize, weights_that_are_not_finite_stop_every_range)
{
    for (int bits = 1; bits <= 4; bits += 3)
        for (int learned = 0; learned < 2; learned++) {
            struct bg_graph *graph = support_fork();
            struct support_batch data;
            struct bg_program *program = NULL;
            struct bg_param *weight = bg_graph_layer_weight(graph, 1);
            support_batch_make(&data, graph->node[0]->attributes, 1, 1);
            support_quantize(graph, bits, 0, learned == 1);
            program = support_program(graph, &(struct bg_program_options){.batch = 1});
            OK(bg_program_forward(program, &data.batch, NULL));
            bg_f32(&weight->value)[20] = NAN;
            weight->version++;
            for (int again = 0; again < 2; again++) {
                cr_expect(bg_program_forward(program, &data.batch, NULL) == BG_E_NUMERIC,
                          "%d bits, learned %d", bits, learned);
                cr_expect(strncmp(bg_error(), "one.weight: ", 12) == 0, "%s", bg_error());
            }
            bg_program_destroy(program);
            support_batch_free(&data);
            bg_graph_destroy(graph);
        }
}

/* A learned activation step starts from the first observed batch and is frozen in evaluation. */
Test(fake_quantize, learned_activation_step)
{
    struct bg_node *x = NULL;
    struct bg_graph *graph = support_start(BG_F32, 0, &x);
    struct support_batch data;
    struct bg_program *program = NULL;
    struct bg_param *step = NULL;
    struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE};
    double mean = 0.0;

    support_finish(graph, x);
    support_batch_make(&data, graph->node[0]->attributes, 2, 1);
    support_quantize(graph, 0, 4, true);
    step = bg_graph_param_find(graph, "input.step");
    program = support_program(graph, &(struct bg_program_options){.batch = 2});
    support_step(program, &data.batch, &moment);
    for (int i = 0; i < 144; i++)
        mean += fabs((double)data.images[i]) / 144.0;
    /* the range is +-15 * 2 mean|x| / sqrt(15), in 15 steps around zero point 8 */
    cr_expect(fabs((double)bg_f32(&step->value)[0] - 4.0 * mean / sqrt(15.0)) < STEP_SLACK);
    cr_expect(graph->node[0]->quantizer->grid.zero_point == 8);
    cr_expect(bg_f32(&step->grad)[0] != 0.0f && graph->node[0]->quantizer->observed == 1);
    support_descend(graph, 0.1);
    support_step(program, &data.batch, &moment);
    cr_expect(graph->node[0]->quantizer->grid.scale[0] == bg_f32(&step->value)[0]);
    moment.flags = BG_RUN_BYPASS;
    support_step(program, &data.batch, &moment);
    cr_expect(bg_f32(&step->grad)[0] == 0.0f);
    bg_program_destroy(program);
    support_batch_free(&data);
    bg_graph_destroy(graph);
}

/* Training with grids lowers the loss, exact and reference compute alike. */
Test(fake_quantize, training_in_few_bits_learns)
{
    for (int learned = 0; learned < 2; learned++) {
        const struct support_case *test = &support_cases[support_case_count - 1];
        struct bg_graph *graph = support_case_graph(test, 1);
        struct support_batch data;
        struct bg_program *program = NULL;
        const struct bg_run_moment moment = {.flags = BG_RUN_OBSERVE | BG_RUN_UPDATE_BN};
        double first = 0.0;
        support_batch_make(&data, &test->sample, 8, 1);
        support_quantize(graph, 4, 4, learned == 1);
        program = support_program(graph, &(struct bg_program_options){.batch = 8});
        for (int step = 0; step < 30; step++) {
            support_step(program, &data.batch, &moment);
            support_descend(graph, 0.05);
            first = step == 0 ? bg_program_loss(program) : first;
        }
        cr_expect(bg_program_loss(program) < 0.7 * first, "%g from %g", bg_program_loss(program),
                  first);
        bg_program_destroy(program);
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}
