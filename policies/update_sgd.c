/* Stochastic gradient descent with momentum (PyTorch's convention): g = grad + decay * w; m =
 * momentum * m + g; w -= lr * (nesterov ? g + momentum * m : m). State: m, one f32 per weight, zero
 * at the start. With zero gradient, decay and m nothing moves. */
#include <stddef.h>

#include "core/kernel.h"
#include "core/method.h"

struct sgd_options {
    double momentum, weight_decay;
    bool nesterov;
};

static const struct bg_option table[] = {
    {.key = "momentum",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct sgd_options, momentum),
     .fallback = "0.9",
     .min = 0,
     .max = 1,
     .help = "share of the last step that goes on; 0 = plain descent"},
    {.key = "nesterov",
     .type = BG_OPT_BOOL,
     .offset = offsetof(struct sgd_options, nesterov),
     .fallback = "false",
     .help = "look ahead by one momentum step"},
    {.key = "weight_decay",
     .type = BG_OPT_REAL,
     .offset = offsetof(struct sgd_options, weight_decay),
     .fallback = "0",
     .min = 0,
     .max = 1,
     .help = "added to the gradient as weight_decay * w"},
    {.key = NULL}};

static double state_bytes(const void *options)
{
    const struct sgd_options *o = options;
    return o->momentum > 0 ? sizeof(float) : 0;
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
                  bg_f32(&param->grad) + first, n, call->lr, (float)call->options->momentum,
                  call->decay, call->options->nesterov);
}

static enum bg_status update(const void *options, struct bg_param *param,
                             const struct bg_update_moment *moment, bool decay)
{
    const struct sgd_options *o = options;
    struct call call = {.options = o,
                        .param = param,
                        .lr = (float)moment->lr,
                        .decay = decay ? (float)o->weight_decay : 0};
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
