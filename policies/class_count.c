/* The rule of P5 (policies/METHODS.md). With softmax and cross-entropy the answer's gradient is N-1
 * times that of another class when the wrong ones are equally likely: b bits with a sign show it
 * without truncating it to zero when b >= 1 + log2(N-1) (bound), and with a summed relative error
 * of at most eps when b >= log2((N-1)/eps). Both derivations are ours. */
#include "policies/class_count.h"

#include <math.h>

static enum bg_status check_ascending(const struct bg_int_list *list, const char *name)
{
    for (int i = 1; i < list->count; i++)
        if (list->at[i] <= list->at[i - 1])
            return bg_fail(BG_E_DATA, "class-count: %s must ascend, %lld follows %lld", name,
                           (long long)list->at[i], (long long)list->at[i - 1]);
    return BG_OK;
}

/* ceil(log2(x)) for x >= 1, exact where x is a power of two. */
static int bits_for(double x)
{
    int bits = 0;
    while (ldexp(1.0, bits) < x && bits < 1000)
        bits++;
    return bits;
}

static int wanted_bits(const struct bg_class_rule *rule, int64_t classes)
{
    double others = (double)(classes - 1);
    int bits = 0;
    switch (rule->mode) {
    case BG_CLASS_EPS:
        return bits_for(others / rule->eps);
    case BG_CLASS_BOUND:
        return 1 + bits_for(others);
    case BG_CLASS_THRESHOLD: /* more than the base: the next width */
        return classes >= rule->threshold ? (int)rule->base_bits + 1 : (int)rule->base_bits;
    default:
        for (int i = 0; i < rule->classes.count; i++)
            bits = classes >= rule->classes.at[i] ? (int)rule->bits.at[i] : bits;
        return bits;
    }
}

enum bg_status bg_class_bits(const struct bg_class_rule *rule, int64_t classes, int *wanted,
                             int *bits)
{
    enum bg_status rc = BG_OK;
    if (classes < 2)
        FAIL(BG_E_DATA, "class-count: %lld classes, at least 2 are needed", (long long)classes);
    TRY(check_ascending(&rule->supported, "supported"));
    TRY(check_ascending(&rule->classes, "table_classes"));
    if (rule->mode == BG_CLASS_TABLE && rule->classes.count != rule->bits.count)
        FAIL(BG_E_DATA, "class-count: table_classes has %d numbers, table_bits has %d",
             rule->classes.count, rule->bits.count);
    for (int i = 1; i < rule->bits.count; i++)
        if (rule->bits.at[i] < rule->bits.at[i - 1])
            FAIL(BG_E_DATA, "class-count: table_bits must not fall");
    *wanted = wanted_bits(rule, classes);
    *wanted = *wanted > (int)rule->base_bits ? *wanted : (int)rule->base_bits;
    for (int i = 0; i < rule->supported.count; i++)
        if (rule->supported.at[i] >= *wanted) {
            *bits = (int)rule->supported.at[i];
            goto out;
        }
    FAIL(BG_E_DATA, "class-count: %lld classes need %d bits, no supported width is that wide",
         (long long)classes, *wanted);
out:
    return rc;
}
