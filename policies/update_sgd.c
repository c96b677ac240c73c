/* Stochastic gradient descent with momentum (PyTorch's convention): g = grad + decay * w; m =
 * momentum * m + g; w -= lr * (nesterov ? g + momentum * m : m). State: m, one f32 per weight, zero
 * at the start. With zero gradient, decay and m nothing moves. */
#include <stddef.h>

#include "core/kernel.h"
#include "core/method.h"
#include "policies/step.h"

struct sgd_options {
    struct bg_optimizer optimizer;
};

static const struct bg_option table[] = {BG_OPTIMIZER_ROWS(struct sgd_options, optimizer),
                                         {.key = NULL}};

static double state_bytes(const void *options)
{
    const struct sgd_options *o = options;
    return o->optimizer.momentum > 0 ? sizeof(float) : 0;
}

struct call {
    const struct sgd_options *options;
    struct bg_param *param;
    float lr, decay;
};

static void move(void *self, int64_t first, int64_t n)
{
    const struct call *call = self;
    struct bg_param *param = call->param;
    bg_kernel_sgd(bg_f32(&param->value) + first, bg_f32(&param->state) + first,
                  bg_f32(&param->grad) + first, n, call->lr,
                  (float)call->options->optimizer.momentum, call->decay,
                  call->options->optimizer.nesterov);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct sgd_options *o = options;
    struct call call = {.options = o,
                        .param = param,
                        .lr = (float)moment->lr,
                        .decay = decay ? (float)o->optimizer.weight_decay : 0};
    bg_param_move(param, move, &call);
    return BG_OK;
}

extern const struct bg_update_method bg_update_sgd;
const struct bg_update_method bg_update_sgd = {
    .name = "sgd",
    .help = "gradient descent with momentum, Nesterov momentum and weight decay",
    .source = "Sutskever et al., ICML 2013 (Nesterov form as in PyTorch)",
    .options = table,
    .options_size = sizeof(struct sgd_options),
    .state_bytes = state_bytes,
    .update = update};
