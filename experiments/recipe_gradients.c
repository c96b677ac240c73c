/* The recipe's keys for gradients of few bits (quantize.gradient_bits and its neighbours). They say
 * what plans do not: a plan's own g and dw stand. */
#include "core/gradient.h"
#include "experiments/recipe.h"

void bg_recipe_check_gradients(const struct bg_quantize_section *quantize,
                               const struct bg_yaml *section, struct bg_text *errors)
{
    const int64_t bits[2] = {quantize->gradient_bits, quantize->weight_gradient_bits};
    static const char *const keys[2] = {"quantize.gradient_bits", "quantize.weight_gradient_bits"};

    for (int i = 0; i < 2; i++)
        if (bits[i] > 0 && bits[i] < BG_GRADIENT_BITS_MIN)
            bg_options_error(errors, bg_yaml_get(section, keys[i] + sizeof "quantize"), keys[i],
                             "a gradient of %d bit has a sign and no size: 0 or %d to %d",
                             (int)bits[i], BG_GRADIENT_BITS_MIN, BG_GRADIENT_BITS_MAX);
}

void bg_recipe_fill_gradients(const struct bg_quantize_section *quantize, struct bg_plan *plan)
{
    const int64_t bits[2] = {quantize->gradient_bits, quantize->weight_gradient_bits};

    for (int i = 0; i < plan->count; i++)
        for (int g = 0; g < 2; g++) {
            struct bg_spec *spec = &plan->layer[i].spec[BG_ROLE_OUT_GRAD + g];
            if (bits[g] > 0 && spec->format == BG_FORMAT_F32)
                *spec = bg_spec_integer((int)bits[g], quantize->gradient_scale == 1);
        }
}
