/* Plans: any text gives a plan that prints to a fixed point, or one sentence. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bg_plan plan, again;
    char *text = calloc(1, size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    bg_error_clear();
    if (bg_plan_parse(&plan, "fuzz", text) == BG_OK) {
        struct bg_text first, second;
        bg_text_init(&first, (size_t)1 << 24);
        bg_text_init(&second, (size_t)1 << 24);
        bg_plan_print(&plan, &first);
        if (bg_plan_parse(&again, "again", bg_text_string(&first)) != BG_OK ||
            !bg_plan_equal(&plan, &again))
            abort();
        bg_plan_print(&again, &second);
        if (strcmp(bg_text_string(&first), bg_text_string(&second)) != 0)
            abort();
        bg_plan_free(&again);
        bg_text_free(&first);
        bg_text_free(&second);
    } else if (bg_error()[0] == '\0' || plan.layer) {
        abort();
    }
    bg_plan_free(&plan);
    free(text);
    return 0;
}
