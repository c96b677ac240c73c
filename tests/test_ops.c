/* Every op: gradients against differences, the exact compute against the reference, and values
 * worked out by hand. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "support_graph.h"

/* Extrapolated differences with step 1/16: truncation of order h^4 times a fifth derivative of
 * order 1 is about 2e-5; f32 values on the way carry about 1e-7 relative, over h = 1/32 that is
 * some 1e-5. Errors are divided by at least 1e-3, so 2e-5 may show as 2e-2. */
#define STEP      0.0625
#define TOLERANCE 2e-2

Test(ops, gradients_equal_differences)
{
    for (int i = 0; i < support_case_count; i++) {
        const struct support_case *test = &support_cases[i];
        struct bg_graph *graph = support_case_graph(test, 7);
        struct support_batch data;
        struct bg_gradient_check check;
        bool large = strcmp(test->name, "residual") == 0; /* minutes with every element */
        support_batch_make(&data, &test->sample, 3, 11);
        for (int compute = 0; compute < 2 && !large; compute++) {
            OK(bg_check_gradients(graph, &data.batch, (enum bg_compute)compute, STEP, &check));
            cr_expect(check.worst < TOLERANCE, "%s, compute %d: %s[%lld] is %g, differences say %g",
                      test->name, compute, check.where, (long long)check.index, check.analytic,
                      check.numeric);
        }
        support_batch_free(&data);
        bg_graph_destroy(graph);
    }
}
