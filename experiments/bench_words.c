/* The words of a bench's command line: networks ("resnet20:width=32"), update methods and variants
 * ("W8A8/fast"). Networks and methods are read by the tables that read a recipe: here their words
 * only become the section of one. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "experiments/bench_variant.h"

#define CLASSES    10
#define TEXT_LIMIT (1 << 16)

static const char *const compute_names[] = {
    [BG_COMPUTE_EXACT] = "exact",
    [BG_COMPUTE_REFERENCE] = "reference",
    [BG_COMPUTE_FAST] = "fast",
};
#define COMPUTES ((int)(sizeof compute_names / sizeof *compute_names))

const char *bg_bench_compute_name(enum bg_compute compute)
{
    return compute_names[compute];
}

static bool is_network(const char *name, size_t length)
{
    for (int i = 0; bg_net_types[i]; i++)
        if (strlen(bg_net_types[i]->name) == length &&
            !strncmp(bg_net_types[i]->name, name, length))
            return true;
    return false;
}

/* "resnet20" is the network resnet at depth 20; "lenet5" is a name itself. */
static enum bg_status write_name(const char *model, int length, struct bg_text *out)
{
    int stem = length;
    while (stem > 0 && isdigit((unsigned char)model[stem - 1]))
        stem--;
    if (is_network(model, (size_t)length))
        bg_text_add(out, "name: %.*s\n", length, model);
    else if (stem < length && is_network(model, (size_t)stem))
        bg_text_add(out, "name: %.*s\ndepth: %.*s\n", stem, model, length - stem, model + stem);
    else
        return bg_fail(BG_E_USAGE,
                       "bench: unknown model '%.*s'; 'bitgrad list networks' names them", length,
                       model);
    return BG_OK;
}

/* ":key=value:key=value" as lines of a map. */
static enum bg_status write_options(const char *words, struct bg_text *out)
{
    while (*words == ':') {
        const char *word = words + 1;
        int length = (int)strcspn(word, ":"), key = (int)strcspn(word, "=:");
        if (key == 0 || key == length)
            return bg_fail(BG_E_USAGE, "bench: expected key=value after ':', got '%.*s'", length,
                           word);
        bg_text_add(out, "%.*s: %.*s\n", key, word, length - key - 1, word + key + 1);
        words = word + length;
    }
    return BG_OK;
}

/* "NAME:key=value" as a document; `named`: the name is in it too. */
static enum bg_status read_words(const char *words, bool named, struct bg_document **out)
{
    struct bg_text section = {0};
    size_t name = strcspn(words, ":");
    enum bg_status rc = BG_OK;

    bg_text_init(&section, TEXT_LIMIT);
    if (named)
        TRY(write_name(words, (int)name, &section));
    TRY(write_options(words + name, &section));
    TRY(bg_text_check(&section));
    TRY(bg_yaml_parse_text(out, "bench", bg_text_string(&section), section.length));
out:
    bg_text_free(&section);
    return rc;
}

enum bg_status bg_bench_net(const struct bg_bench_setup *setup, struct bg_document **section,
                            struct bg_net **net)
{
    struct bg_sample_spec spec = {.height = setup->height,
                                  .width = setup->width,
                                  .channels = setup->channels,
                                  .classes = CLASSES,
                                  .dtype = BG_U8,
                                  .scale = 1.0f / 90.0f,
                                  .zero_point = 73};
    struct bg_text errors = {0};
    enum bg_status rc = BG_OK;

    bg_text_init(&errors, TEXT_LIMIT);
    TRY(read_words(setup->model, true, section));
    rc = bg_net_create(net, bg_document_root(*section), &spec, BG_LOSS_CROSS_ENTROPY, 0.0, &errors);
    if (rc == BG_E_DATA && errors.length > 0)
        rc = bg_fail(rc, "%.*s", (int)strcspn(errors.at, "\n"), errors.at);
    TRY(rc);
    bg_graph_initialise((*net)->graph, 1);
out:
    bg_text_free(&errors);
    return rc;
}

enum bg_status bg_bench_method(const char *words, struct bg_document **section,
                               struct bg_train_options *options)
{
    char name[BG_OPTION_TEXT];
    enum bg_status rc = BG_OK;
    int length = snprintf(name, sizeof name, "%.*s", (int)strcspn(words, ":"), words);
    if (length >= (int)sizeof name)
        FAIL(BG_E_USAGE, "bench: the update's name has %d bytes, limit is %d", length,
             BG_OPTION_TEXT - 1);
    TRY(bg_text_copy(options->update, sizeof options->update, name));
    TRY(read_words(words, false, section));
    options->update_options = bg_document_root(*section);
out:
    return rc;
}

/* "W4A8" or "W4A8G8": bits of weights, activations and output gradients. */
static bool read_bits(const char *text, int bits[3])
{
    int end = 0;
    if (sscanf(text, "W%2dA%2dG%2d%n", &bits[0], &bits[1], &bits[2], &end) == 3)
        return text[end] == '\0';
    bits[2] = 0;
    return sscanf(text, "W%2dA%2d%n", &bits[0], &bits[1], &end) == 2 && text[end] == '\0';
}

enum bg_status bg_bench_plan(const char *text, const struct bg_net *net, struct bg_plan *out)
{
    int bits[3] = {0, 0, 0};
    char *content = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;

    *out = (struct bg_plan){0};
    if (!strcmp(text, "f32"))
        goto out;
    if (read_bits(text, bits)) {
        TRY(bg_net_plan(net, bits[0], bits[1], out));
        for (int i = 0; i < out->count; i++)
            out->layer[i].spec[BG_ROLE_OUT_GRAD] = bg_spec_integer(bits[2], false);
    } else if (!bg_file_exists(text)) {
        FAIL(BG_E_USAGE, "bench: plan '%s' is not f32, bits like W8A8, or a file", text);
    } else {
        TRY(bg_file_read(text, TEXT_LIMIT, &content, &length));
        TRY(bg_plan_parse(out, text, content));
    }
out:
    bg_free(content);
    return rc;
}

static int find_compute(const char *word, int length)
{
    for (int c = 0; c < COMPUTES; c++)
        if ((int)strlen(compute_names[c]) == length && !strncmp(word, compute_names[c], length))
            return c;
    return -1;
}

/* Where the plan of "plan/compute" or "plan/compute/update" ends; NULL for texts of another form. A
 * plan file may have slashes in its name: with one slash alone any word stands for a compute. */
static const char *split_variant(const char *name, const char **compute, const char **update)
{
    const char *last = strrchr(name, '/'), *word = last;

    *update = NULL;
    if (last == NULL || last == name)
        return NULL;
    *compute = last + 1;
    while (word > name && word[-1] != '/')
        word--;
    if (word == name || find_compute(last + 1, (int)strlen(last + 1)) >= 0)
        return last;
    if (word == name + 1 || last[1] == '\0' || find_compute(word, (int)(last - word)) < 0)
        return NULL;
    *compute = word;
    *update = last + 1;
    return word - 1;
}

static enum bg_status parse_variant(const char *word, int length, struct bg_bench_variant *out)
{
    const char *plan = NULL, *compute = NULL, *update = NULL;
    int found = -1;
    enum bg_status rc = BG_OK;

    if (length >= (int)sizeof out->name)
        FAIL(BG_E_USAGE, "bench: a variant's name has %d bytes, limit is %d", length,
             (int)sizeof out->name - 1);
    (void)snprintf(out->name, sizeof out->name, "%.*s", length, word);
    plan = split_variant(out->name, &compute, &update);
    if (plan == NULL)
        FAIL(BG_E_USAGE,
             "bench: variant '%s' is not PLAN/COMPUTE[/UPDATE], like W8A8/fast; a compute is fast, "
             "exact or reference",
             out->name);
    (void)snprintf(out->plan_text, sizeof out->plan_text, "%.*s", (int)(plan - out->name),
                   out->name);
    found = find_compute(compute, (int)strcspn(compute, "/"));
    if (found < 0)
        FAIL(BG_E_USAGE, "bench: compute '%s' is not fast, exact or reference", compute);
    out->compute = (enum bg_compute)found;
    TRY(bg_text_copy(out->update_text, sizeof out->update_text, update ? update : ""));
out:
    return rc;
}

static enum bg_status parse_variants(const char *text, struct bg_bench_variant *out, int *count)
{
    enum bg_status rc = BG_OK;
    *count = 0;
    for (const char *word = text;; word += strcspn(word, ",") + 1) {
        size_t length = strcspn(word, ",");
        if (*count == BG_BENCH_VARIANTS_MAX)
            FAIL(BG_E_USAGE, "bench: more than %d variants", BG_BENCH_VARIANTS_MAX);
        TRY(parse_variant(word, length > TEXT_LIMIT ? TEXT_LIMIT : (int)length, &out[*count]));
        ++*count;
        if (word[length] == '\0')
            break;
    }
out:
    return rc;
}

enum bg_status bg_bench_variants_choose(const struct bg_bench_setup *setup, const char *fallback,
                                        struct bg_bench_variant *out, int *count)
{
    const char *text = setup->variants ? setup->variants : fallback;
    char one[600];

    if (setup->plan || setup->compute) {
        if (setup->variants)
            return bg_fail(BG_E_USAGE,
                           "bench: --variants goes without --plan and --compute: it has both");
        (void)snprintf(one, sizeof one, "%.255s/%.255s", setup->plan ? setup->plan : "f32",
                       setup->compute ? setup->compute : "fast");
        if (strchr(one, ','))
            return bg_fail(BG_E_USAGE, "bench: '%s': several plans or computes are --variants",
                           one);
        text = one;
    }
    return parse_variants(text, out, count);
}
