/* What `--json` of every command ends with. */
#include "experiments/print_json.h"

#include <stdio.h>
#include <stdlib.h>

enum bg_status bg_print_json(json_t *root, int digits)
{
    size_t precision = digits > 0 ? JSON_REAL_PRECISION((size_t)digits) : 0;
    char *text = root ? json_dumps(root, JSON_SORT_KEYS | JSON_COMPACT | precision) : NULL;

    json_decref(root);
    if (!text)
        return bg_fail(BG_E_NOMEM, "no memory for the result");
    puts(text);
    free(text); /* jansson's own */
    return BG_OK;
}
