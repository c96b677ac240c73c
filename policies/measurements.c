/* Measurements as data: names, rows and looking them up, and the sums measures share. */
#include "policies/measurer.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/stats.h"

const char *const bg_measured_names[BG_MEASURED] = {
    "mean-square", "step-noise", "output", "relative",   "divergence", "loss",
    "first-order", "absolute",   "trace",  "step-error", "sensitivity"};
const char *const bg_measure_roles[2] = {"weight", "activation"};

int bg_measurements_index(const struct bg_measurements *measurements, const char *name)
{
    for (int i = 0; measurements && i < measurements->measures; i++)
        if (strcmp(measurements->name[i], name) == 0)
            return i;
    return -1;
}

const struct bg_measure_row *bg_measurements_find(const struct bg_measurements *measurements,
                                                  const struct bg_measure_row *key)
{
    for (int64_t r = measurements->rows; r-- > 0;) {
        const struct bg_measure_row *row = &measurements->row[r];
        if (row->measure == key->measure && row->measured == key->measured &&
            row->layer == key->layer && row->role == key->role && row->bits == key->bits)
            return row;
    }
    return NULL;
}

enum bg_status bg_measure_rows_add(struct bg_measure_rows *rows, const struct bg_measure_row *row)
{
    enum bg_status rc = BG_OK;
    if (rows->rows == rows->room) {
        int64_t room = rows->room ? 2 * rows->room : 64;
        TRY(bg_grow(&rows->row, rows->room, room, sizeof *rows->row));
        rows->room = room;
    }
    rows->row[rows->rows++] = *row;
out:
    return rc;
}

void bg_measure_rows_free(struct bg_measure_rows *rows)
{
    bg_free(rows->row);
    *rows = (struct bg_measure_rows){0};
}

enum bg_status bg_measure_candidates(const struct bg_int_list *list, int *count,
                                     int bits[BG_CANDIDATES_MAX])
{
    *count = 0;
    if (list->count < 1)
        return bg_fail(BG_E_DATA, "candidates: at least one number of bits is needed");
    for (int b = 1; b <= BG_BITS_MAX; b++)
        for (int i = 0; i < list->count; i++) {
            if (list->at[i] < 1 || list->at[i] > BG_BITS_MAX)
                return bg_fail(BG_E_DATA, "candidates: %lld bits, limits are 1 and %d",
                               (long long)list->at[i], BG_BITS_MAX);
            if (list->at[i] == b) {
                bits[(*count)++] = b;
                break;
            }
        }
    return BG_OK;
}

/* In blocks, so that the rounding of the sum does not grow with n. */
double bg_measure_dot(const float *a, const float *b, int64_t n)
{
    double sum = 0;
    for (int64_t at = 0; at < n; at += BG_STATS_BLOCK) {
        int64_t end = at + BG_STATS_BLOCK < n ? at + BG_STATS_BLOCK : n;
        double block = 0;
        for (int64_t i = at; i < end; i++)
            block += (double)a[i] * (double)b[i];
        sum += block;
    }
    return sum;
}

void bg_measure_mean(const double *value, const double *weight, int64_t n, double *mean,
                     double *error)
{
    double sum = 0, total = 0, spread = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        double w = weight ? weight[i] : 1;
        sum += w * value[i];
        total += w;
        squares += w * w;
    }
    *mean = sum / total;
    for (int64_t i = 0; i < n; i++)
        spread += (weight ? weight[i] : 1) * (value[i] - *mean) * (value[i] - *mean);
    /* Unbiased for n equal weights: the variance divides by n - 1, the mean's by n again. */
    double count = total * total / squares;
    *error = n > 1 ? sqrt(spread / total / (count - 1)) : (double)NAN;
}

double bg_measure_divergence(const float *before, const float *after, int64_t classes)
{
    double most[2] = {(double)before[0], (double)after[0]}, sum[2] = {0, 0}, divergence = 0;
    for (int64_t c = 1; c < classes; c++) {
        most[0] = fmax(most[0], (double)before[c]);
        most[1] = fmax(most[1], (double)after[c]);
    }
    for (int64_t c = 0; c < classes; c++) {
        sum[0] += exp((double)before[c] - most[0]);
        sum[1] += exp((double)after[c] - most[1]);
    }
    for (int64_t c = 0; c < classes; c++) {
        double p = (double)before[c] - most[0] - log(sum[0]);
        double q = (double)after[c] - most[1] - log(sum[1]);
        divergence += exp(p) * (p - q);
    }
    return fmax(divergence, 0);
}
