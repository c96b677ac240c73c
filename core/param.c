/* Moves a parameter and hands its rows on: update, range, codes and packing in one pass over the
 * memory. Rows are independent, so results do not depend on threads. */
#include "core/param.h"

#include "core/kernel_table.h"

void bg_param_move(struct bg_param *param, void (*move)(void *self, int64_t first, int64_t n),
                   void *self)
{
    struct bg_sink *sink = param->sink;
    const int64_t count = bg_tensor_count(&param->value);
    const int64_t rows = param->value.shape.dims[0], each = rows > 0 ? count / rows : 0;
    int bad = 0;

    if (sink == NULL || !sink->begin(param)) {
        move(self, 0, count);
        return;
    }
#pragma omp parallel for schedule(static) reduction(| : bad) if (count >= BG_KERNEL_SMALL)
    for (int64_t first = 0; first < rows; first += BG_SINK_ROWS) {
        int64_t last = first + BG_SINK_ROWS < rows ? first + BG_SINK_ROWS : rows;
        move(self, first * each, (last - first) * each);
        bad |= !sink->rows(param, first, last);
    }
    sink->end(param, bad == 0);
}
