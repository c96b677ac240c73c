/* IDX files, plain and gzipped: any bytes give a checked array or one sentence. */
#include <stdint.h>
#include <stdlib.h>

#include "core/status.h"
#include "datasets/idx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bg_idx idx;
    bg_error_clear();
    if (bg_idx_parse(&idx, "fuzz", data, size) != BG_OK) {
        if (bg_error()[0] == '\0')
            abort();
        return 0;
    }
    int64_t sum = 0, count = 1;
    for (int i = 0; i < idx.rank; i++)
        count *= idx.dims[i];
    if (count != idx.count)
        abort();
    for (int64_t i = 0; i < idx.count; i++)
        sum += idx.data[i];
    bg_idx_free(&idx);
    return sum < 0;
}
