/* Private: an observer's numbers in the making, for the passes of core/kernel_train_*.c that have
 * the values in registers; what they mean and how exact they are: core/kernel_train_observe.c. */
#ifndef BG_CORE_KERNEL_TRAIN_SEEN_H
#define BG_CORE_KERNEL_TRAIN_SEEN_H

#include "core/kernel_train_panel.h"

#include <float.h>
#include <math.h>

#define RUN 64 /* vectors */
/* Squares of what lies between are normal numbers in f32, sums of RUN too. */
#define LEAST   0x1p-50f
#define LARGEST 0x1p60f

INLINE int64_t end_of_run(const struct panel *panel, int64_t start)
{
    return start + RUN < panel->count ? start + RUN : panel->count;
}

struct seen {
    double sum[LANES], abs[LANES], square[LANES];
    float min[LANES], max[LANES];
};

struct lanes {
    vec sum[PARTS], abs[PARTS], square[PARTS], min[PARTS], max[PARTS];
};

/* n values, of which those behind n are 0. */
INLINE void add_part(struct lanes *lanes, int k, vec x, int64_t n)
{
    const uint16_t some = first_lanes(n);
    const vec low = vec_min(x, lanes->min[k]), high = vec_max(x, lanes->max[k]);

    lanes->sum[k] = vec_add(lanes->sum[k], x);
    lanes->abs[k] = vec_add(lanes->abs[k], vec_abs(x));
    lanes->square[k] = vec_fma(x, x, lanes->square[k]);
    lanes->min[k] = n == VEC ? low : vec_choose(some, low, lanes->min[k]);
    lanes->max[k] = n == VEC ? high : vec_choose(some, high, lanes->max[k]);
}

INLINE void start_lanes(const struct seen *to, struct lanes *lanes)
{
    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++) {
        lanes->sum[k] = lanes->abs[k] = lanes->square[k] = vec_set(0.0f);
        lanes->min[k] = vec_load(to->min + k * VEC);
        lanes->max[k] = vec_load(to->max + k * VEC);
    }
}

INLINE void add_lanes(const struct lanes *lanes, struct seen *to)
{
    UNROLL_FOUR
    for (int k = 0; k < PARTS; k++) {
        vec_add_to(to->sum + k * VEC, lanes->sum[k]);
        vec_add_to(to->abs + k * VEC, lanes->abs[k]);
        vec_add_to(to->square + k * VEC, lanes->square[k]);
        vec_store(to->min + k * VEC, lanes->min[k], VEC);
        vec_store(to->max + k * VEC, lanes->max[k], VEC);
    }
}

INLINE void fold_extremes(const struct panel *panel, struct seen *seen, int64_t stride,
                          double *partial)
{
    const int64_t channels = panel->channels;

    for (int64_t j = channels; j < panel->width; j += channels)
        for (int64_t c = 0; c < channels; c++) {
            float min = seen->min[j + c], max = seen->max[j + c];
            seen->min[c] = min < seen->min[c] ? min : seen->min[c];
            seen->max[c] = max > seen->max[c] ? max : seen->max[c];
        }
    for (int64_t c = 0; c < channels; c++) {
        partial[SEEN_MIN * stride + c] = (double)seen->min[c];
        partial[SEEN_MAX * stride + c] = (double)seen->max[c];
        partial[SEEN_NOT_FINITE * stride + c] = 0.0;
    }
}

/* Did f32 hold the channel's squares? Its sum of |x| tells of what is not finite. */
INLINE bool is_plain(const double *partial, int64_t stride, int64_t c)
{
    const double least = -partial[SEEN_MIN * stride + c], most = partial[SEEN_MAX * stride + c];
    const double largest = least > most ? least : most;

    return partial[SEEN_ABS * stride + c] <= DBL_MAX &&
           (largest == 0.0 || (largest >= (double)LEAST && largest <= (double)LARGEST));
}

/* One channel of the block, value by value. */
INLINE void add_slowly(const struct bg_kernel_train_sums *in, int64_t c, double *partial)
{
    const uint16_t *x = in->z[0] + in->first * in->channels + c;
    double seen[BG_TRAIN_SEEN] = {[SEEN_MIN] = (double)INFINITY, [SEEN_MAX] = -(double)INFINITY};

    for (int64_t r = 0; r < in->rows; r++) {
        uint32_t bits = (uint32_t)x[r * in->channels] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        double d = (double)value;
        if (!isfinite(value)) {
            seen[SEEN_NOT_FINITE] += 1.0;
            continue;
        }
        seen[SEEN_SUM] += d;
        seen[SEEN_ABS] += fabs(d);
        seen[SEEN_SQUARE] += d * d;
        seen[SEEN_MIN] = d < seen[SEEN_MIN] ? d : seen[SEEN_MIN];
        seen[SEEN_MAX] = d > seen[SEEN_MAX] ? d : seen[SEEN_MAX];
    }
    for (int i = 0; i < BG_TRAIN_SEEN; i++)
        partial[i * in->channels + c] = seen[i];
}

INLINE void start_seen(struct seen *seen)
{
    memset(seen, 0, sizeof *seen);
    for (int j = 0; j < LANES; j++) {
        seen->min[j] = INFINITY;
        seen->max[j] = -INFINITY;
    }
}

/* The block's numbers; channels that f32 could not hold once more. */
INLINE void finish(const struct bg_kernel_train_sums *in, const struct panel *panel,
                   struct seen *seen, double *partial)
{
    const int64_t stride = in->channels;

    fold(panel, seen->sum, partial + SEEN_SUM * stride + in->channel);
    fold(panel, seen->abs, partial + SEEN_ABS * stride + in->channel);
    fold(panel, seen->square, partial + SEEN_SQUARE * stride + in->channel);
    fold_extremes(panel, seen, stride, partial + in->channel);
    for (int64_t c = in->channel; c < in->channel + panel->channels; c++)
        if (!is_plain(partial, stride, c))
            add_slowly(in, c, partial);
}

#endif
