/* What observers of fast training see: gradients in bf16 as they lie in memory, times a factor for
 * each channel. Sums are made by the passes that write dz and read dx, while both are at hand; an
 * input gradient then is seen when its tensor is reduced, a little later than its layer's weights.
 */
#include "autograd/fast.h"

bool bg_fast_observed(const struct bg_run *run)
{
    return run->moment->observer != NULL && run->moment->observer->see_bf16 != NULL;
}

bool bg_fast_sees_later(const struct bg_run *run, const struct bg_fast_term *term)
{
    return bg_fast_observed(run) && term != NULL && term->seen_dx != NULL;
}

static void see(const struct bg_run *run, const struct bg_node *layer, enum bg_quantity quantity,
                const struct bg_tensor *gradient)
{
    run->moment->observer->see(run->moment->observer->self, layer->layer, quantity, gradient);
}

/* As it is for those who take bf16, else converted. */
static void see_bf16(const struct bg_fast *fast, const struct bg_node *layer,
                     enum bg_quantity quantity, const struct bg_train_observe *gradient,
                     const struct bg_run *run)
{
    const struct bg_observer *observer = run->moment->observer;
    const int64_t *dims =
        quantity == BG_QUANTITY_OUT_GRAD ? layer->shape.dims : layer->input[0]->shape.dims;
    const struct bg_tensor seen = {.data = fast->real,
                                   .dtype = BG_F32,
                                   .shape = {4, {fast->options.batch, dims[0], dims[1], dims[2]}}};

    if (observer->see_bf16 != NULL) {
        observer->see_bf16(observer->self, layer->layer, quantity, gradient);
        return;
    }
    bg_train_scale_to_f32(gradient->x, gradient->rows, gradient->channels, gradient->factor,
                          fast->real);
    see(run, layer, quantity, &seen);
}

/* dz without the weights' scales. */
void bg_fast_see_output(struct bg_fast *fast, const struct bg_fast_step *step,
                        const struct bg_fast_term *term, const struct bg_run *run)
{
    const bool summed = bg_fast_observed(run) && term->seen_dz != NULL && !bg_fast_rounds(term);
    const struct bg_train_observe gradient = {.x = term->dz,
                                              .rows = bg_fast_rows(fast, step),
                                              .channels = step->form->requant.channels,
                                              .factor = term->db, /* apply has read what it held */
                                              .scratch = summed ? term->seen_dz : fast->scratch,
                                              .summed = summed};

    if (run->moment->observer == NULL)
        return;
    for (int64_t c = 0; c < gradient.channels; c++)
        term->db[c] = term->unit / bg_fast_weight_scale(term, c);
    see_bf16(fast, term->form->node, BG_QUANTITY_OUT_GRAD, &gradient, run);
}

/* By the channels that the layer reads: those of a flattened image are its own. */
void bg_fast_see_input(const struct bg_fast *fast, const struct bg_fast_term *term, bool summed,
                       const struct bg_run *run)
{
    const struct bg_node *layer = term->form->node;
    const int64_t *dims = layer->input[0]->shape.dims;
    const struct bg_train_observe gradient = {.x = term->dx,
                                              .rows = fast->options.batch * dims[0] * dims[1],
                                              .channels = dims[2],
                                              .factor = fast->ones,
                                              .scratch = summed ? term->seen_dx : fast->scratch,
                                              .summed = summed};

    if (run->moment->observer != NULL && term->dx != NULL)
        see_bf16(fast, layer, BG_QUANTITY_IN_GRAD, &gradient, run);
}

void bg_fast_see_weight(const struct bg_fast_term *term, const struct bg_run *run)
{
    if (run->moment->observer != NULL)
        see(run, term->form->node, BG_QUANTITY_WEIGHT_GRAD, &term->form->node->param[0]->grad);
}
