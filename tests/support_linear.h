/* One linear layer on noise, with a trainer, for tests of what training does to its weights. */
#ifndef BG_TESTS_SUPPORT_LINEAR_H
#define BG_TESTS_SUPPORT_LINEAR_H

#include "policies/select.h"
#include "policies/trainer.h"
#include "tests/support_source.h"

#define OK(call_) cr_assert((call_) == BG_OK, "%s", bg_error())
#define SAMPLES   40
#define IN        7
#define OUT       4
#define COUNT     (IN * OUT)

struct linear_fixture {
    struct support_source source;
    float images[SAMPLES * IN];
    int32_t labels[SAMPLES];
    struct bg_net net;
    struct bg_trainer *trainer;
    void *range_options[2];
};

void linear_make(struct linear_fixture *f, const char *plan_text);
void linear_take_down(struct linear_fixture *f);
/* Puts another plan on it. */
enum bg_status linear_apply(struct linear_fixture *f, const char *plan_text);
struct bg_param *linear_weight(const struct linear_fixture *f);
/* Trains with the options of a recipe's section; `hooks` may be NULL. */
enum bg_status linear_train(struct linear_fixture *f, const char *yaml,
                            struct bg_train_state *state, const struct bg_train_hooks *hooks);

#endif
