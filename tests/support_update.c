/* tests/support_update.h. */
#include "tests/support_update.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "core/yaml.h"
#include "policies/select.h"

void update_make(struct update_fixture *f, const struct bg_store_spec *spec, int64_t count,
                 float scale)
{
    const struct bg_tensor tensor = {.dtype = BG_F32, .shape = {.rank = 2, .dims = {1, count}}};
    memset(f, 0, sizeof *f);
    OK(bg_grid_limits(&f->quantizer.grid, spec->bits, true, true));
    f->quantizer.grid.qmin = -f->quantizer.grid.qmax - 1; /* the vectors' two's complement */
    f->quantizer.grid.channels = 1;
    f->scale = scale;
    f->quantizer.grid.scale = &f->scale;
    f->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT, .quantizer = &f->quantizer};
    f->param.value = f->param.grad = f->param.state = tensor;
    f->param.grad.data = f->grad;
    struct bg_store_spec own = *spec;
    own.momentum = BG_STORE_MOMENTUM_NONE;
    OK(bg_store_make(&f->param.store, &own, count, 1));
}

void update_choose(struct update_fixture *f, const char *name, const char *options)
{
    struct bg_document *document = NULL;
    struct bg_text errors;
    bg_text_init(&errors, 1024);
    OK(bg_yaml_parse_text(&document, "options", options, strlen(options)));
    cr_assert(bg_update_choose(name, bg_document_root(document), "options", &f->method, &f->options,
                               &errors) == BG_OK,
              "%s", bg_text_string(&errors));
    bg_document_free(document);
    bg_text_free(&errors);
}

void update_take_down(struct update_fixture *f)
{
    bg_store_free(f->param.store);
    bg_free(f->options);
}

enum bg_status update_move(struct update_fixture *f, double u)
{
    const struct bg_update_moment moment = {.lr = 1, .seed = 5, .step = f->step++};
    for (int64_t i = 0; !isnan(u) && i < f->param.store->count; i++)
        f->grad[i] = (float)-u;
    return f->method->update(f->options, &f->param, &moment, false);
}

void update_expect(const struct update_fixture *f, int64_t i, int32_t code, int32_t below)
{
    cr_assert(bg_store_code(f->param.store, i) == code &&
                  bg_store_below(f->param.store, i) == below,
              "step %d, weight %d: %d, %d, wanted %d, %d", (int)f->step, (int)i,
              bg_store_code(f->param.store, i), bg_store_below(f->param.store, i), code, below);
}

void update_make_floats(struct update_fixture *f, const struct bg_store_spec *spec, int64_t count,
                        double largest)
{
    const struct bg_tensor tensor = {.dtype = BG_F32, .shape = {.rank = 2, .dims = {1, count}}};
    struct bg_store_spec own = *spec;
    memset(f, 0, sizeof *f);
    f->param = (struct bg_param){.name = "w", .kind = BG_PARAM_WEIGHT};
    f->param.value = f->param.grad = f->param.state = tensor;
    f->param.grad.data = f->grad;
    own.form = BG_STORE_FLOAT;
    own.momentum = BG_STORE_MOMENTUM_NONE;
    OK(bg_store_make(&f->param.store, &own, count, 1));
    OK(bg_store_place(f->param.store, largest));
}

double update_real(const struct update_fixture *f, enum bg_float_part part, int64_t i)
{
    const struct bg_store *store = f->param.store;
    const struct bg_float_format format = bg_store_format(store, part);
    const int32_t pattern =
        part == BG_FLOAT_WEIGHT ? bg_store_code(store, i) : bg_store_below(store, i);
    return bg_float_value(&format, store->spec.exponent[part], (uint32_t)pattern);
}
