/* One sample through the judge: accumulators summed in f64, where every product and sum is an
 * integer below 2^53 and thus exact in any order; then one code at a time. Padding is left out of
 * the sums, which is what code z adds: nothing. */
#include <string.h>

#include "layers/judge_private.h"

/* Adds one pixel under one tap of the kernel: x is [in channels], w is [I][O]. */
static void add_tap(const struct bg_judge_window *window, const double *restrict x,
                    const double *restrict w, double *restrict acc)
{
    int64_t outputs = window->out[2], group_out = outputs / window->groups;
    int64_t group_in = window->in[2] / window->groups;

    if (group_in == 1 && group_out == 1) {
#pragma omp simd
        for (int64_t c = 0; c < outputs; c++)
            acc[c] += x[c] * w[c];
        return;
    }
    for (int64_t g = 0; g < window->groups; g++) {
        double *sums = acc + g * group_out;
        for (int64_t i = 0; i < group_in; i++) {
            double a = x[g * group_in + i];
            const double *row = w + i * outputs + g * group_out;
            if (a == 0.0)
                continue;
#pragma omp simd
            for (int64_t o = 0; o < group_out; o++)
                sums[o] += a * row[o];
        }
    }
}

static void add_channels(int64_t channels, const double *restrict x, double *restrict acc)
{
#pragma omp simd
    for (int64_t c = 0; c < channels; c++)
        acc[c] += x[c];
}

/* acc of one output pixel: zeroed by the caller. w NULL = a pool. */
static void sum_window(const struct bg_judge_window *window, const double *x, const double *w,
                       const int64_t at[2], double *acc)
{
    int64_t tap_size = window->in[2] / window->groups * window->out[2];

    for (int64_t ky = 0; ky < window->kernel[0]; ky++) {
        int64_t y = at[0] * window->stride[0] - window->padding[0] + ky * window->dilation[0];
        for (int64_t kx = 0; kx < window->kernel[1]; kx++) {
            int64_t tap = ky * window->kernel[1] + kx;
            int64_t z = at[1] * window->stride[1] - window->padding[1] + kx * window->dilation[1];
            const double *pixel = x + (y * window->in[1] + z) * window->in[2];
            if (y < 0 || y >= window->in[0] || z < 0 || z >= window->in[1])
                continue;
            if (w == NULL)
                add_channels(window->in[2], pixel, acc);
            else
                add_tap(window, pixel, w + tap * tap_size, acc);
        }
    }
}

static void run_term(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                     const struct bg_judge_term *term, double *acc)
{
    const struct bg_judge_window *window = &term->window;
    const uint8_t *codes = bg_judge_codes(judge, scratch, term->from);
    int64_t count = judge->value[judge->value[term->from].codes].count;
    double *x = term->source == BG_JUDGE_OTHER ? acc : scratch->x;

    for (int64_t i = 0; i < count; i++)
        x[i] = (double)(codes[i] - term->zero_point);
    if (term->source == BG_JUDGE_OTHER)
        return;
    memset(acc, 0, (size_t)(window->out[0] * window->out[1] * window->out[2]) * sizeof *acc);
    for (int64_t oy = 0; oy < window->out[0]; oy++)
        for (int64_t ox = 0; ox < window->out[1]; ox++) {
            const int64_t at[2] = {oy, ox};
            sum_window(window, x, term->weights, at,
                       acc + (oy * window->out[1] + ox) * window->out[2]);
        }
}

static uint8_t largest_code(const struct bg_judge_window *window, const uint8_t *x,
                            const int64_t at[3])
{
    uint8_t largest = 0;

    for (int64_t k = 0; k < window->kernel[0] * window->kernel[1]; k++) {
        int64_t y = at[0] * window->stride[0] - window->padding[0] + k / window->kernel[1];
        int64_t z = at[1] * window->stride[1] - window->padding[1] + k % window->kernel[1];
        uint8_t code = 0;
        if (y < 0 || y >= window->in[0] || z < 0 || z >= window->in[1])
            continue;
        code = x[(y * window->in[1] + z) * window->in[2] + at[2]];
        largest = code > largest ? code : largest;
    }
    return largest;
}

static void run_largest(const struct bg_judge_window *window, const uint8_t *x, uint8_t *out)
{
    for (int64_t oy = 0; oy < window->out[0]; oy++)
        for (int64_t ox = 0; ox < window->out[1]; ox++)
            for (int64_t c = 0; c < window->out[2]; c++)
                *out++ = largest_code(window, x, (const int64_t[3]){oy, ox, c});
}

/* The accumulators of one element out of all terms. */
static void gather(const struct bg_judge_piece *piece, const double *acc, int64_t element,
                   double out[BG_REQUANT_TERMS])
{
    int64_t count = piece->rows * piece->channels;

    for (int i = 0; i < piece->terms; i++)
        out[i] = acc[i * count + element];
}

/* The codes of a piece, after its pools, into out. */
static void run_codes(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                      const struct bg_judge_piece *piece, uint8_t *out)
{
    int64_t rows = piece->rows, channels = piece->channels;
    double acc[BG_REQUANT_TERMS];

    for (int64_t i = 0; i < rows * channels; i++) {
        gather(piece, scratch->acc, i, acc);
        scratch->before[i] = bg_judge_code(piece, judge->mode, i % channels, acc);
    }
    for (int i = 0; i < piece->pools; i++) {
        uint8_t *pooled = scratch->after;
        run_largest(&piece->pool[i], scratch->before, pooled);
        scratch->after = scratch->before;
        scratch->before = pooled;
        rows = piece->pool[i].out[0] * piece->pool[i].out[1];
    }
    for (int64_t row = 0; row < rows; row++)
        memcpy(out + piece->offset + row * piece->stride, scratch->before + row * channels,
               (size_t)channels);
}

static void run_logits(struct bg_judge_scratch *scratch, const struct bg_judge_piece *piece)
{
    double acc[BG_REQUANT_TERMS];

    for (int64_t i = 0; i < piece->rows * piece->channels; i++) {
        int64_t row = i / piece->channels, channel = i % piece->channels;
        gather(piece, scratch->acc, i, acc);
        scratch->logits[piece->offset + row * piece->stride + channel] =
            bg_judge_real(piece, channel, acc);
    }
}

static void run_sum(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                    const struct bg_judge_value *value)
{
    for (const struct bg_judge_piece *piece = value->piece; piece != NULL; piece = piece->next) {
        for (int i = 0; i < piece->terms; i++)
            run_term(judge, scratch, &piece->term[i],
                     scratch->acc + i * piece->rows * piece->channels);
        if (value->kind == BG_JUDGE_LOGITS)
            run_logits(scratch, piece);
        else
            run_codes(judge, scratch, piece, scratch->codes + value->at);
    }
}

/* A raw byte at 8 bits is the code; at fewer it becomes the code of the real number it stands for.
 */
static void run_input(const struct bg_judge_value *value, const struct bg_batch *batch, int64_t n,
                      uint8_t *out)
{
    const struct bg_sample_spec *spec = bg_node_sample_spec(value->node);
    const uint8_t *bytes = (const uint8_t *)batch->images + n * value->count;
    const float *reals = (const float *)batch->images + n * value->count;

    if (batch->dtype == BG_U8 && value->grid->bits == 8) {
        memcpy(out, bytes, (size_t)value->count);
        return;
    }
    for (int64_t i = 0; i < value->count; i++) {
        float x =
            batch->dtype == BG_U8 ? (float)(bytes[i] - spec->zero_point) * spec->scale : reals[i];
        out[i] = (uint8_t)bg_judge_encode(value->grid, 0, x);
    }
}

void bg_judge_sample(const struct bg_judge *judge, struct bg_judge_scratch *scratch,
                     const struct bg_batch *batch, int64_t n)
{
    for (int i = 0; i < judge->values; i++) {
        const struct bg_judge_value *value = &judge->value[i];
        if (value->kind == BG_JUDGE_BYTES)
            run_input(value, batch, n, scratch->codes + value->at);
        else if (value->kind == BG_JUDGE_LARGEST)
            run_largest(&value->window, bg_judge_codes(judge, scratch, value->from),
                        scratch->codes + value->at);
        else if (value->kind != BG_JUDGE_VIEW)
            run_sum(judge, scratch, value);
    }
}
