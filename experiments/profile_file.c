/* Profiles in run files. Sums are what is read back; the means beside them are for other readers.
 */
#include "experiments/profile_file.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

#define BYTES_MAX    ((int64_t)1 << 32)
#define NAME_ROOM    160
#define CHANNELS_MAX (1 << 20)

struct field {
    const char *name;
    enum bg_h5_type type;
    size_t offset;
};

static const struct field fields[] = {
    {"count", BG_H5_S64, offsetof(struct bg_stats, count)},
    {"not_finite", BG_H5_S64, offsetof(struct bg_stats, not_finite)},
    {"sum", BG_H5_F64, offsetof(struct bg_stats, sum)},
    {"sum_abs", BG_H5_F64, offsetof(struct bg_stats, sum_abs)},
    {"sum_square", BG_H5_F64, offsetof(struct bg_stats, sum_square)},
    {"min", BG_H5_F32, offsetof(struct bg_stats, min)},
    {"max", BG_H5_F32, offsetof(struct bg_stats, max)},
    {"max_abs", BG_H5_F32, offsetof(struct bg_stats, max_abs)},
};
#define FIELDS ((int)(sizeof fields / sizeof fields[0]))

static const struct {
    const char *name;
    double (*value)(const struct bg_stats *stats);
} means[] = {{"mean", bg_stats_mean},
             {"mean_abs", bg_stats_mean_abs},
             {"mean_square", bg_stats_mean_square}};

/* One profile being written or read. */
struct pass {
    struct bg_profile *profile; /* only its rows change, and only when reading */
    struct bg_h5 *file;
    const char *prefix;
};

static enum bg_status object_name(char out[NAME_ROOM], const struct pass *pass, const char *a,
                                  const char *b)
{
    int length = snprintf(out, NAME_ROOM, "%s/%s%s%s", pass->prefix, a, *b ? "/" : "", b);
    return length > 0 && length < NAME_ROOM
               ? BG_OK
               : bg_fail(BG_E_INTERNAL, "profile %s: object name too long", pass->prefix);
}

static enum bg_status write_field(const struct pass *pass, enum bg_quantity quantity,
                                  const struct field *field)
{
    const struct bg_profile *profile = pass->profile;
    size_t size = bg_h5_type_size(field->type);
    int64_t dims[2] = {profile->rows, profile->layers};
    unsigned char *column = NULL;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(object_name(name, pass, bg_quantity_names[quantity], field->name));
    TRY(bg_alloc(&column, dims[0] * dims[1] + 1, size));
    for (int64_t r = 0; r < profile->rows; r++)
        for (int l = 0; l < profile->layers; l++)
            memcpy(column + (size_t)(r * dims[1] + l) * size,
                   (const unsigned char *)bg_profile_at(profile, r, quantity, l) + field->offset,
                   size);
    TRY(bg_h5_write(pass->file, name, field->type, 2, dims, column, dims[0] > 64));
out:
    bg_free(column);
    return rc;
}

static enum bg_status read_field(const struct pass *pass, enum bg_quantity quantity,
                                 const struct field *field)
{
    struct bg_profile *profile = pass->profile;
    size_t size = bg_h5_type_size(field->type);
    int64_t dims[2] = {profile->rows, profile->layers};
    unsigned char *column = NULL;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(object_name(name, pass, bg_quantity_names[quantity], field->name));
    TRY(bg_h5_read_new(pass->file, name, field->type, 2, dims, &column, BYTES_MAX));
    for (int64_t r = 0; r < profile->rows; r++)
        for (int l = 0; l < profile->layers; l++)
            memcpy((unsigned char *)bg_profile_at(profile, r, quantity, l) + field->offset,
                   column + (size_t)(r * dims[1] + l) * size, size);
out:
    bg_free(column);
    return rc;
}

static enum bg_status write_means(const struct pass *pass, enum bg_quantity quantity)
{
    const struct bg_profile *profile = pass->profile;
    int64_t dims[2] = {profile->rows, profile->layers};
    double *column = NULL;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&column, dims[0] * dims[1] + 1, sizeof *column));
    for (size_t m = 0; m < sizeof means / sizeof means[0]; m++) {
        for (int64_t r = 0; r < profile->rows; r++)
            for (int l = 0; l < profile->layers; l++)
                column[r * dims[1] + l] = means[m].value(bg_profile_at(profile, r, quantity, l));
        TRY(object_name(name, pass, bg_quantity_names[quantity], means[m].name));
        TRY(bg_h5_write(pass->file, name, BG_H5_F64, 2, dims, column, dims[0] > 64));
    }
out:
    bg_free(column);
    return rc;
}

static enum bg_status histogram(const struct pass *pass, enum bg_quantity quantity, bool write)
{
    struct bg_profile *profile = pass->profile;
    int64_t dims[3] = {profile->rows, profile->layers, BG_HISTOGRAM_BINS};
    uint64_t *bins = NULL;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(object_name(name, pass, bg_quantity_names[quantity], "histogram"));
    if (write)
        TRY(bg_alloc(&bins, dims[0] * dims[1] * dims[2] + 1, sizeof *bins));
    else
        TRY(bg_h5_read_new(pass->file, name, BG_H5_U64, 3, dims, &bins, BYTES_MAX));
    for (int64_t r = 0; r < profile->rows; r++)
        for (int l = 0; l < profile->layers; l++) {
            uint64_t *own = bg_profile_at(profile, r, quantity, l)->histogram;
            uint64_t *in_file = bins + (r * dims[1] + l) * dims[2];
            memcpy(write ? in_file : own, write ? own : in_file,
                   sizeof(uint64_t) * BG_HISTOGRAM_BINS);
        }
    if (write)
        TRY(bg_h5_write(pass->file, name, BG_H5_U64, 3, dims, bins, true));
out:
    bg_free(bins);
    return rc;
}

/* Per channel mean squares lie in memory as they lie in the file. */
static enum bg_status channels(const struct pass *pass, bool write)
{
    struct bg_profile *profile = pass->profile;
    int64_t dims[2] = {profile->rows, profile->channel_stride};
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    if (!profile->per_channel)
        return BG_OK;
    TRY(object_name(name, pass, "channel_square", ""));
    if (!write)
        return bg_h5_read(pass->file, name, BG_H5_F64, 2, dims, profile->channel_square,
                          dims[0] * dims[1] * (int64_t)sizeof(double));
    TRY(bg_h5_write(pass->file, name, BG_H5_F64, 2, dims, profile->channel_square, true));
out:
    return rc;
}

static enum bg_status displacement(const struct pass *pass, bool write)
{
    struct bg_profile *profile = pass->profile;
    int64_t dims[2] = {profile->cycles, profile->layers};
    int64_t room = dims[0] * dims[1];
    double *column = NULL;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&column, room + 1, sizeof *column));
    for (int f = 0; f < BG_REFERENCES; f++) {
        TRY(object_name(name, pass, "displacement", bg_reference_names[f]));
        if (!write)
            TRY(bg_h5_read(pass->file, name, BG_H5_F64, 2, dims, column,
                           room * (int64_t)sizeof *column));
        for (int64_t c = 0; c < dims[0]; c++) {
            double *own = bg_profile_displacement_at(profile, c, (enum bg_reference)f, 0);
            double *in_file = column + c * dims[1];
            memcpy(write ? in_file : own, write ? own : in_file, (size_t)dims[1] * sizeof *column);
        }
        if (write)
            TRY(bg_h5_write(pass->file, name, BG_H5_F64, 2, dims, column, false));
    }
    TRY(object_name(name, pass, "displacement", "initial_square"));
    if (write)
        TRY(bg_h5_write(pass->file, name, BG_H5_F64, 1, dims + 1, profile->initial_square, false));
    else
        TRY(bg_h5_read(pass->file, name, BG_H5_F64, 1, dims + 1, profile->initial_square,
                       dims[1] * (int64_t)sizeof(double)));
out:
    bg_free(column);
    return rc;
}

static enum bg_status steps(const struct pass *pass, const char *a, const char *b, int64_t *count,
                            int64_t **out)
{
    char name[NAME_ROOM];
    int64_t dims[1] = {-1};
    enum bg_status rc = BG_OK;
    TRY(object_name(name, pass, a, b));
    TRY(bg_h5_read_new(pass->file, name, BG_H5_S64, 1, dims, out, BYTES_MAX));
    *count = dims[0];
out:
    return rc;
}

/* What does not grow: layer sizes. */
static enum bg_status write_frame(const struct pass *pass)
{
    const struct bg_profile *profile = pass->profile;
    int64_t layers[1] = {profile->layers};
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(object_name(name, pass, "weight_count", ""));
    TRY(bg_h5_write(pass->file, name, BG_H5_S64, 1, layers, profile->weight_count, false));
    TRY(bg_h5_set_int(pass->file, name, "per_channel", profile->per_channel));
    for (int q = 0; q < BG_QUANTITIES; q++) {
        TRY(object_name(name, pass, bg_quantity_names[q], "channels"));
        TRY(bg_h5_write(pass->file, name, BG_H5_S64, 1, layers, profile->channels[q], false));
    }
    TRY(object_name(name, pass, "step", ""));
    TRY(bg_h5_write(pass->file, name, BG_H5_S64, 1, &profile->rows, profile->row_step, false));
    TRY(object_name(name, pass, "displacement", "step"));
    TRY(bg_h5_write(pass->file, name, BG_H5_S64, 1, &profile->cycles, profile->cycle_step, false));
out:
    return rc;
}

static enum bg_status read_frame(const struct pass *pass, const char *const *names, int layers)
{
    int64_t *counts = NULL, *channel_counts[BG_QUANTITIES] = {NULL};
    const int64_t *channel_view[BG_QUANTITIES];
    int64_t dims[1] = {layers}, per_channel = 0;
    char name[NAME_ROOM];
    enum bg_status rc = BG_OK;

    TRY(object_name(name, pass, "weight_count", ""));
    TRY(bg_h5_get_int(pass->file, name, "per_channel", &per_channel));
    TRY(bg_h5_read_new(pass->file, name, BG_H5_S64, 1, dims, &counts, BYTES_MAX));
    for (int q = 0; q < BG_QUANTITIES; q++) {
        TRY(object_name(name, pass, bg_quantity_names[q], "channels"));
        TRY(bg_h5_read_new(pass->file, name, BG_H5_S64, 1, dims, &channel_counts[q], BYTES_MAX));
        for (int l = 0; l < layers; l++)
            if (channel_counts[q][l] < 0 || channel_counts[q][l] > CHANNELS_MAX)
                FAIL(BG_E_DATA, "%s: layer %d has %lld channels, limit is %d", name, l,
                     (long long)channel_counts[q][l], CHANNELS_MAX);
        channel_view[q] = channel_counts[q];
    }
    TRY(bg_profile_make(pass->profile, layers, names, counts, channel_view, per_channel != 0));
out:
    bg_free(counts);
    for (int q = 0; q < BG_QUANTITIES; q++)
        bg_free(channel_counts[q]);
    return rc;
}

static enum bg_status read_rows(const struct pass *pass)
{
    struct bg_profile *profile = pass->profile;
    int64_t *row_step = NULL, *cycle_step = NULL;
    int64_t rows = 0, cycles = 0;
    enum bg_status rc = BG_OK;

    TRY(steps(pass, "step", "", &rows, &row_step));
    TRY(steps(pass, "displacement", "step", &cycles, &cycle_step));
    for (int64_t r = 0; r < rows; r++)
        TRY(bg_profile_add_row(profile, row_step[r]));
    for (int64_t c = 0; c < cycles; c++)
        TRY(bg_profile_add_cycle(profile, cycle_step[c]));
out:
    bg_free(row_step);
    bg_free(cycle_step);
    return rc;
}

enum bg_status bg_profile_write(const struct bg_profile *profile, const char *prefix,
                                struct bg_h5 *file)
{
    struct bg_profile view = *profile; /* written from, never to */
    struct pass pass = {.profile = &view, .file = file, .prefix = prefix};
    enum bg_status rc = BG_OK;

    TRY(write_frame(&pass));
    for (int q = 0; q < BG_QUANTITIES; q++) {
        for (int f = 0; f < FIELDS; f++)
            TRY(write_field(&pass, (enum bg_quantity)q, &fields[f]));
        TRY(write_means(&pass, (enum bg_quantity)q));
        TRY(histogram(&pass, (enum bg_quantity)q, true));
    }
    TRY(channels(&pass, true));
    TRY(displacement(&pass, true));
out:
    return rc;
}

enum bg_status bg_profile_read(struct bg_profile *out, const char *const *names, int layers,
                               const char *prefix, struct bg_h5 *file)
{
    struct pass pass = {.profile = out, .file = file, .prefix = prefix};
    enum bg_status rc = BG_OK;

    memset(out, 0, sizeof *out);
    TRY(read_frame(&pass, names, layers));
    TRY(read_rows(&pass));
    for (int q = 0; q < BG_QUANTITIES; q++) {
        for (int f = 0; f < FIELDS; f++)
            TRY(read_field(&pass, (enum bg_quantity)q, &fields[f]));
        TRY(histogram(&pass, (enum bg_quantity)q, false));
    }
    TRY(channels(&pass, false));
    TRY(displacement(&pass, false));
out:
    if (rc != BG_OK)
        bg_profile_free(out);
    return rc;
}
