/* One parameter and an update method, for tests of what a call of the method does. */
#ifndef BG_TESTS_SUPPORT_UPDATE_H
#define BG_TESTS_SUPPORT_UPDATE_H

#include <math.h>
#include <stdint.h>

#include "core/method.h"
#include "core/store.h"

#define MOST         8192
#define MANY         600
#define EACH_ITS_OWN ((double)NAN)
#define OK(call_)    cr_assert((call_) == BG_OK, "%s", bg_error())

/* One parameter of `count` weights on one grid with the step `scale`. */
struct update_fixture {
    struct bg_param param;
    struct bg_quantizer quantizer;
    float scale, grad[MOST];
    const struct bg_update_method *method;
    void *options;
    uint64_t step;
};

/* All weights 0. */
void update_make(struct update_fixture *f, const struct bg_store_spec *spec, int64_t count,
                 float scale);
/* Small floats up to `largest`; no grid. */
void update_make_floats(struct update_fixture *f, const struct bg_store_spec *spec, int64_t count,
                        double largest);
void update_choose(struct update_fixture *f, const char *name, const char *options);
void update_take_down(struct update_fixture *f);
/* All weights by u, or each by its own `grad` where u is EACH_ITS_OWN; lr 1 and no momentum. */
enum bg_status update_move(struct update_fixture *f, double u);
void update_expect(const struct update_fixture *f, int64_t i, int32_t code, int32_t below);
double update_real(const struct update_fixture *f, enum bg_float_part part, int64_t i);

#endif
