/* Weights and buffers as small floats: formats, patterns, storage. The arithmetic stands in
 * core/integer_update.c and core/kernel_update_float.c. */
#include "core/store_float.h"

#include <math.h>

#include "core/integer_update.h"
#include "core/kernel_table.h"

/* Exponents that an exponent of so many bits has: fields 1 to 2^bits - 2. */
static int binades(int bits)
{
    return (1 << bits) - 2;
}

struct bg_float_format bg_store_format(const struct bg_store *store, enum bg_float_part part)
{
    const struct bg_store_spec *spec = &store->spec;
    const int bits = part == BG_FLOAT_WEIGHT ? spec->bits : spec->buffer;

    return (struct bg_float_format){.mantissa = bits - 1 - spec->exponent[part],
                                    .least = store->top[part] - binades(spec->exponent[part]) + 1,
                                    .top = store->top[part]};
}

double bg_float_most(const struct bg_float_format *format)
{
    return ldexp(2.0 - ldexp(1.0, -format->mantissa), format->top);
}

uint32_t bg_float_pattern(const struct bg_float_format *format, int exponent, double value)
{
    const double size = fabs(value);
    const uint32_t sign = value < 0 ? 1u << (exponent + format->mantissa) : 0;
    const int e = size < ldexp(1.0, format->least) ? format->least : ilogb(size);
    const uint32_t whole = (uint32_t)ldexp(size, format->mantissa - e); /* with the leading 1 */

    return sign | (whole + ((uint32_t)(e - format->least) << format->mantissa));
}

double bg_float_value(const struct bg_float_format *format, int exponent, uint32_t pattern)
{
    const uint32_t one = 1u << format->mantissa;
    const uint32_t field = (pattern >> format->mantissa) & ((1u << exponent) - 1);
    const uint32_t whole = (pattern & (one - 1)) + (field > 0 ? one : 0);
    const int e = field > 0 ? (int)field - 1 + format->least : format->least;
    const double size = ldexp(whole, e - format->mantissa);

    return (pattern >> (exponent + format->mantissa)) & 1 ? -size : size;
}

enum bg_status bg_store_place(struct bg_store *store, double largest)
{
    enum bg_status rc = BG_OK;
    const int field_max = binades(store->spec.exponent[BG_FLOAT_BUFFER]);
    struct bg_float_format format;

    store->top[BG_FLOAT_WEIGHT] = largest > 0 ? ilogb(largest) : 0;
    format = bg_store_format(store, BG_FLOAT_WEIGHT);
    store->top[BG_FLOAT_BUFFER] =
        field_max -
        bg_second_bias(ldexp(1.0, format.top - format.mantissa), field_max, store->spec.over);
    for (int i = 0; i < 2; i++) {
        format = bg_store_format(store, (enum bg_float_part)i);
        if (format.least - format.mantissa < BG_FLOAT_LEAST || format.top > BG_FLOAT_TOP)
            FAIL(BG_E_RANGE,
                 "small floats from 2^%d to 2^%d for weights up to %g, limits are 2^%d and 2^%d",
                 format.least - format.mantissa, format.top, largest, BG_FLOAT_LEAST, BG_FLOAT_TOP);
    }
out:
    return rc;
}

static double part_of(const struct bg_store *store, enum bg_float_part part, int64_t index)
{
    const struct bg_float_format format = bg_store_format(store, part);
    const int32_t pattern =
        part == BG_FLOAT_WEIGHT ? bg_store_code(store, index) : bg_store_below(store, index);

    return bg_float_value(&format, store->spec.exponent[part], (uint32_t)pattern);
}

bool bg_store_put_float(struct bg_store *store, int64_t index, float value)
{
    const struct bg_float_format weight = bg_store_format(store, BG_FLOAT_WEIGHT);
    const struct bg_float_format buffer = bg_store_format(store, BG_FLOAT_BUFFER);
    const double w = bg_float_round(&weight, (double)value, BG_TUNE_NEAREST);
    const bool outside = fabs((double)value) > bg_float_most(&weight);
    const double rest = outside ? 0.0 : (double)value - w;
    const double a = bg_float_round(&buffer, rest, BG_TUNE_NEAREST);

    bg_store_set(store, index,
                 (int32_t)bg_float_pattern(&weight, store->spec.exponent[BG_FLOAT_WEIGHT], w),
                 (int32_t)bg_float_pattern(&buffer, store->spec.exponent[BG_FLOAT_BUFFER], a));
    return outside;
}

void bg_store_read_floats(const struct bg_store *store, int64_t first, int64_t n, float *values)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(part_of(store, BG_FLOAT_WEIGHT, first + i) +
                            part_of(store, BG_FLOAT_BUFFER, first + i));
}

void bg_store_weights(const struct bg_store *store, int64_t first, int64_t n, float *values)
{
    const struct bg_kernel_update_table *table = bg_kernel_tables()->update;

#pragma omp parallel for schedule(static) if (n >= BG_KERNEL_SMALL)
    for (int64_t at = 0; at < n; at += BG_KERNEL_BLOCK) {
        const struct bg_kernel_update in = {
            .n = n - at < BG_KERNEL_BLOCK ? n - at : BG_KERNEL_BLOCK,
            .codes = (char *)store->codes + (first + at) * store->code_bytes,
            .code_bytes = store->code_bytes,
            .floats = {bg_store_format(store, BG_FLOAT_WEIGHT)},
            .exponent = {store->spec.exponent[BG_FLOAT_WEIGHT]}};
        table->weights(&in, values + at);
    }
}

enum bg_status bg_store_valid_floats(const struct bg_store *store, const char *name)
{
    for (int part = 0; part < 2; part++) {
        const struct bg_float_format format = bg_store_format(store, (enum bg_float_part)part);
        const double most = bg_float_most(&format);
        for (int64_t i = 0; i < store->count; i++) {
            const double value = part_of(store, (enum bg_float_part)part, i);
            if (fabs(value) > most)
                return bg_fail(BG_E_DATA, "%s: %s %lld is beyond the largest number, %g", name,
                               part == 0 ? "weight" : "buffer", (long long)i, most);
        }
    }
    return BG_OK;
}
