/* P5, class count (US11875251, US20240112030A1): the last layer's bits follow from the number of
 * classes. From the source: the precision of the layer that outputs the result is set from its
 * number of outputs, growing with it, or above that of other layers from a threshold on; its
 * parameters are processed at that precision. Ours: every formula (class_count.c), the table, the
 * choice of scope, and leaving all other layers to another policy (`of`), by default `uniform`. The
 * classifier is never ranked, and its bits stand in the plan: of weights as w, of gradients as g
 * and dw. The sources do not say whether the weight's gradient is meant; the derivation of the
 * formulas (class_count.c) is of the output's. */
#include <stdio.h>
#include <string.h>

#include "core/gradient.h"
#include "core/mem.h"
#include "policies/class_count.h"
#include "policies/nested.h"

extern const struct bg_select_method bg_select_class_count;

struct options {
    struct bg_class_rule rule;
    int scope, gradients;
    const struct bg_yaml *of;
};
static const char *const modes[] = {"eps", "bound", "threshold", "table", NULL};
static const char *const scopes[] = {"weights", "gradients", "both", NULL};
static const char *const kinds[] = {"both", "output", NULL};

#define FIELD(name_) offsetof(struct options, name_)
static const struct bg_option table[] = {
    {.key = "mode",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(rule.mode),
     .fallback = "eps",
     .choices = modes,
     .help =
         "eps: log2((N-1)/eps) bits; bound: 1 + log2(N-1); threshold: a wider width from so many "
         "classes on; table (formulas and table are ours)"},
    {.key = "eps",
     .type = BG_OPT_REAL,
     .offset = FIELD(rule.eps),
     .fallback = "0.0625",
     .min = 1e-9,
     .max = 1,
     .help = "eps: allowed relative error of the sum over classes"},
    {.key = "class_threshold",
     .type = BG_OPT_INT,
     .offset = FIELD(rule.threshold),
     .fallback = "129",
     .min = 2,
     .max = 1e9,
     .help = "threshold: from this many classes on"},
    {.key = "base_bits",
     .type = BG_OPT_INT,
     .offset = FIELD(rule.base_bits),
     .fallback = "8",
     .min = 1,
     .max = 32,
     .help = "the least bits"},
    {.key = "supported",
     .type = BG_OPT_INTS,
     .offset = FIELD(rule.supported),
     .fallback = "[8, 16, 32]",
     .min = 1,
     .max = 32,
     .help = "widths to round up to; 32 is f32"},
    {.key = "table_classes",
     .type = BG_OPT_INTS,
     .offset = FIELD(rule.classes),
     .fallback = "[]",
     .min = 2,
     .max = 1e9,
     .help = "table: from so many classes on ..."},
    {.key = "table_bits",
     .type = BG_OPT_INTS,
     .offset = FIELD(rule.bits),
     .fallback = "[]",
     .min = 1,
     .max = 32,
     .help = "table: ... so many bits"},
    {.key = "scope",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(scope),
     .fallback = "weights",
     .choices = scopes,
     .help = "what of the layer takes the bits; a gradient of 32 bits is left as it is"},
    {.key = "gradients",
     .type = BG_OPT_CHOICE,
     .offset = FIELD(gradients),
     .fallback = "both",
     .choices = kinds,
     .help = "scope of gradients: those of output and weight, or of the output alone"},
    {.key = "of",
     .type = BG_OPT_NODE,
     .offset = FIELD(of),
     .fallback = "none",
     .help = "the policy of all other layers: a name, or {name: ..., options}; default uniform"},
    {.key = NULL}};

/* The other layers' input: the classifier is pinned. */
static enum bg_status pin_classifier(const struct bg_select_input *input,
                                     struct bg_select_input *out, bool **pinned)
{
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(pinned, input->layers, sizeof **pinned));
    if (input->pinned)
        memcpy(*pinned, input->pinned, (size_t)input->layers * sizeof **pinned);
    (*pinned)[input->layers - 1] = true;
    *out = *input;
    out->pinned = *pinned;
out:
    return rc;
}

static enum bg_status fix(const struct options *options, const struct bg_select_input *input,
                          int bits[BG_ROLES], int *wanted)
{
    int width = 0;
    enum bg_status rc = BG_OK;
    if (input->layers < 1)
        FAIL(BG_E_DATA, "class-count: the network has no layer");
    TRY(bg_class_bits(&options->rule, input->classes, wanted, &width));
    if (options->scope != 1)
        bits[BG_ROLE_WEIGHT] = width;
    if (options->scope == 0)
        goto out;
    if (width < BG_GRADIENT_BITS_MIN || (width > BG_GRADIENT_BITS_MAX && width < 32))
        FAIL(BG_E_DATA, "class-count: gradients have %d to %d bits or 32, not %d",
             BG_GRADIENT_BITS_MIN, BG_GRADIENT_BITS_MAX, width);
    bits[BG_ROLE_OUT_GRAD] = width;
    if (options->gradients == 0)
        bits[BG_ROLE_WEIGHT_GRAD] = width;
out:
    return rc;
}

static enum bg_status rank(const void *options, const struct bg_select_input *input,
                           struct bg_ranking *out)
{
    const struct options *o = options;
    struct bg_nested inner = {.method = NULL};
    struct bg_select_input others;
    char note[sizeof out->note];
    bool *pinned = NULL;
    int wanted = 0;
    enum bg_status rc = BG_OK;

    TRY(fix(o, input, out->fixed_bits, &wanted));
    TRY(pin_classifier(input, &others, &pinned));
    TRY(bg_nested_open(&inner, "class-count", o->of, "uniform"));
    TRY(inner.method->rank(inner.options, &others, out));
    out->fixes = true;
    out->fixed_layer = input->layers - 1;
    (void)snprintf(note, sizeof note,
                   "%d classes need %d bits: %s of layer %.40s at %d; others by %s: %.100s",
                   input->classes, wanted, scopes[o->scope], input->names[input->layers - 1],
                   out->fixed_bits[o->scope == 1 ? BG_ROLE_OUT_GRAD : BG_ROLE_WEIGHT],
                   inner.method->name, out->note);
    (void)snprintf(out->note, sizeof out->note, "%s", note);
out:
    bg_nested_free(&inner);
    bg_free(pinned);
    return rc;
}

static enum bg_status penalties(const void *options, const struct bg_select_input *input,
                                struct bg_penalties *out)
{
    const struct options *o = options;
    struct bg_nested inner = {.method = NULL};
    struct bg_select_input others;
    bool *pinned = NULL;
    int wanted = 0;
    enum bg_status rc = BG_OK;

    TRY(fix(o, input, out->fixed_bits, &wanted));
    TRY(pin_classifier(input, &others, &pinned));
    TRY(bg_nested_open(&inner, "class-count", o->of, "uniform"));
    if (!inner.method->penalties)
        FAIL(BG_E_UNSUPPORTED, "%s ranks layers, it has no penalties", inner.method->name);
    TRY(inner.method->penalties(inner.options, &others, out));
    out->fixes = true;
    out->fixed_layer = input->layers - 1;
out:
    bg_nested_free(&inner);
    bg_free(pinned);
    return rc;
}

const struct bg_select_method bg_select_class_count = {
    .name = "class-count",
    .help = "the classifier's bits from its number of classes, all other layers by another policy",
    .source = "P5: US11875251, US20240112030A1; every formula is ours",
    .options = table,
    .options_size = sizeof(struct options),
    .rank = rank,
    .penalties = penalties};
