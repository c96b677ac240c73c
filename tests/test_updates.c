/* Update methods: the walk over the registry and the numbers of plain descent. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "core/dnn.h"
#include "core/mem.h"
#include "core/method.h"
#include "core/rng.h"
#include "policies/select.h"

#define COUNT 1003

struct fixture {
    struct bg_param param;
    float value[COUNT], grad[COUNT], state[COUNT];
};

static struct bg_tensor tensor_of(float *data)
{
    return (struct bg_tensor){.data = data, .dtype = BG_F32, .shape = {.rank = 1, .dims = {COUNT}}};
}

static void make(struct fixture *f, double grad_scale, double state_scale)
{
    const struct bg_rng rng = {.seed = 3, .stream = BG_STREAM_TEST};
    memset(f, 0, sizeof *f);
    f->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT};
    f->param.value = tensor_of(f->value);
    f->param.grad = tensor_of(f->grad);
    f->param.state = tensor_of(f->state);
    for (uint64_t i = 0; i < COUNT; i++) {
        f->value[i] = (float)bg_rng_normal(&rng, 3 * i);
        f->grad[i] = (float)(grad_scale * bg_rng_normal(&rng, 3 * i + 1));
        f->state[i] = (float)(state_scale * bg_rng_normal(&rng, 3 * i + 2));
    }
}

struct chosen {
    const struct bg_update_method *method;
    void *options;
    struct bg_document *document;
};

static struct chosen choose(const char *name, const char *yaml)
{
    struct chosen chosen = {0};
    struct bg_text errors;
    bg_text_init(&errors, 4096);
    cr_assert(bg_yaml_parse_text(&chosen.document, "test", yaml, strlen(yaml)) == BG_OK);
    cr_assert(bg_update_choose(name, bg_document_root(chosen.document), "options", &chosen.method,
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

Test(update_registry, nothing_moves_without_gradient_decay_and_state)
{
    static struct fixture f, before;
    const struct bg_update_moment moment = {.lr = 0.1, .seed = 1, .step = 5};
    int methods = 0;
    for (; bg_update_methods[methods]; methods++) {
        const struct bg_update_method *method = bg_update_methods[methods];
        cr_assert(method->help && method->source && method->options, "%s", method->name);
        struct chosen c = choose(method->name, "");
        cr_assert(method->state_bytes(c.options) >= 0);
        if (method->prepare) { /* moves integers: tests/test_integer_updates.c */
            make(&f, 0, 0);
            cr_assert(method->update(c.options, &f.param, &moment, true) == BG_E_USAGE);
            put_back(&c);
            continue;
        }
        make(&f, 0, 0);
        memcpy(&before, &f, sizeof f);
        cr_assert(method->update(c.options, &f.param, &moment, true) == BG_OK);
        cr_assert(memcmp(f.value, before.value, sizeof f.value) == 0, "%s", method->name);
        for (int i = 0; i < COUNT; i++)
            cr_assert(f.state[i] == 0, "%s", method->name);
        put_back(&c);
    }
    cr_assert(methods >= 1);
}

Test(update_registry, same_bits_again_and_with_two_threads)
{
    static struct fixture once, again;
    const struct bg_update_moment moment = {.lr = 0.1, .seed = 1, .step = 5};
    for (int i = 0; bg_update_methods[i]; i++) {
        if (bg_update_methods[i]->prepare)
            continue;
        struct chosen c = choose(bg_update_methods[i]->name, "");
        make(&once, 1, 1);
        make(&again, 1, 1);
        cr_assert(c.method->update(c.options, &once.param, &moment, true) == BG_OK);
        bg_threads_set(2);
        cr_assert(c.method->update(c.options, &again.param, &moment, true) == BG_OK);
        bg_threads_set(1);
        cr_assert(memcmp(once.value, again.value, sizeof once.value) == 0);
        cr_assert(memcmp(once.state, again.state, sizeof once.state) == 0);
        cr_assert(memcmp(once.grad, again.grad, sizeof once.grad) == 0);
        put_back(&c);
    }
}

static void naive(struct fixture *f, float lr, float momentum, float decay, bool nesterov)
{
    for (int i = 0; i < COUNT; i++) {
        float g = f->grad[i] + decay * f->value[i];
        f->state[i] = momentum * f->state[i] + g;
        f->value[i] -= lr * (nesterov ? g + momentum * f->state[i] : f->state[i]);
    }
}

Test(sgd, equals_the_written_formula_bit_for_bit)
{
    static const struct {
        const char *yaml;
        float momentum, decay;
        bool nesterov;
    } cases[] = {{"", 0.9f, 0, false},
                 {"momentum: 0", 0, 0, false},
                 {"{momentum: 0.9, nesterov: true}", 0.9f, 0, true},
                 {"{momentum: 0.5, weight_decay: 0.0005}", 0.5f, 0.0005f, false},
                 {"{nesterov: true, weight_decay: 0.25}", 0.9f, 0.25f, true}};
    static struct fixture f, expected;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct chosen chosen = choose("sgd", cases[c].yaml);
        make(&f, 1, 1);
        make(&expected, 1, 1);
        for (uint64_t step = 0; step < 3; step++) {
            const struct bg_update_moment moment = {.lr = 0.1, .step = step};
            bool decay = step != 1; /* a parameter that takes none */
            cr_assert(chosen.method->update(chosen.options, &f.param, &moment, decay) == BG_OK);
            naive(&expected, 0.1f, cases[c].momentum, decay ? cases[c].decay : 0,
                  cases[c].nesterov);
            cr_assert(memcmp(f.value, expected.value, sizeof f.value) == 0, "{%s}, step %d",
                      cases[c].yaml, (int)step);
            cr_assert(memcmp(f.state, expected.state, sizeof f.state) == 0);
        }
        put_back(&chosen);
    }
}

Test(sgd, state_is_4_bytes_with_momentum_and_none_without)
{
    struct chosen with = choose("sgd", ""), without = choose("sgd", "momentum: 0");
    cr_assert(with.method->state_bytes(with.options) == 4);
    cr_assert(without.method->state_bytes(without.options) == 0);
    put_back(&with);
    put_back(&without);
}
