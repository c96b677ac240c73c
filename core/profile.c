/* The profile's storage: rows and cycles that grow, in plain arrays that files take whole.
 * Addresses of rows are valid until the next row is added. */
#include "core/profile.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"

const char *const bg_quantity_names[BG_QUANTITIES] = {"input", "weight", "output"};
const char *const bg_reference_names[BG_REFERENCES] = {"initial", "previous", "reset"};

enum bg_status bg_profile_make(struct bg_profile *out, int layers, const char *const *names,
                               const int64_t *weight_count,
                               const int64_t *const channels[BG_QUANTITIES], bool per_channel)
{
    enum bg_status rc = BG_OK;
    *out = (struct bg_profile){.layers = layers, .per_channel = per_channel};
    if (layers < 0)
        FAIL(BG_E_RANGE, "profile: %d layers", layers);
    TRY(bg_alloc(&out->names, layers, sizeof *out->names));
    TRY(bg_alloc(&out->weight_count, layers, sizeof(int64_t)));
    TRY(bg_alloc(&out->initial_square, layers, sizeof(double)));
    for (int q = 0; q < BG_QUANTITIES; q++)
        TRY(bg_alloc(&out->channels[q], layers, sizeof(int64_t)));
    for (int i = 0; i < layers; i++) {
        TRY(bg_text_copy(out->names[i], BG_NAME_MAX, names[i]));
        out->weight_count[i] = weight_count[i];
        for (int q = 0; q < BG_QUANTITIES; q++) {
            int64_t count = channels && channels[q] ? channels[q][i] : 0;
            if (count < 0 || count > (int64_t)1 << 40)
                FAIL(BG_E_RANGE, "profile: layer %s has %lld channels", names[i], (long long)count);
            out->channels[q][i] = count;
            out->channel_stride += count;
        }
    }
out:
    if (rc != BG_OK)
        bg_profile_free(out);
    return rc;
}

void bg_profile_free(struct bg_profile *profile)
{
    bg_free(profile->names);
    bg_free(profile->weight_count);
    for (int q = 0; q < BG_QUANTITIES; q++)
        bg_free(profile->channels[q]);
    bg_free(profile->row_step);
    bg_free(profile->stats);
    bg_free(profile->channel_square);
    bg_free(profile->cycle_step);
    bg_free(profile->displacement);
    bg_free(profile->initial_square);
    *profile = (struct bg_profile){0};
}

static int64_t stats_per_row(const struct bg_profile *profile)
{
    return (int64_t)BG_QUANTITIES * profile->layers;
}

static int64_t values_per_cycle(const struct bg_profile *profile)
{
    return (int64_t)BG_REFERENCES * profile->layers;
}

/* Grows an array of rows from `room` to `next` rows of `width` items. */
static enum bg_status grow_rows(void *array, int64_t room, int64_t next, int64_t width, size_t size)
{
    enum bg_status rc = BG_OK;
    int64_t from = 0, to = 0;
    TRY(bg_product(room, width, &from));
    TRY(bg_product(next, width, &to));
    if (to > 0)
        TRY(bg_grow(array, from, to, size));
out:
    return rc;
}

enum bg_status bg_profile_add_row(struct bg_profile *profile, int64_t step)
{
    enum bg_status rc = BG_OK;
    int64_t width = stats_per_row(profile);
    if (profile->rows == profile->row_room) {
        /* When a later array cannot grow, the earlier ones are merely larger than row_room says. */
        int64_t room = profile->row_room, next = room ? 2 * room : 16;
        TRY(grow_rows(&profile->row_step, room, next, 1, sizeof(int64_t)));
        TRY(grow_rows(&profile->stats, room, next, width, sizeof(struct bg_stats)));
        if (profile->per_channel)
            TRY(grow_rows(&profile->channel_square, room, next, profile->channel_stride,
                          sizeof(double)));
        profile->row_room = next;
    }
    int64_t row = profile->rows++;
    profile->row_step[row] = step;
    /* Room freed by bg_profile_truncate is not zero. */
    if (width > 0)
        memset(&profile->stats[row * width], 0, (size_t)width * sizeof(struct bg_stats));
    if (profile->channel_square)
        memset(&profile->channel_square[row * profile->channel_stride], 0,
               (size_t)profile->channel_stride * sizeof(double));
out:
    return rc;
}

struct bg_stats *bg_profile_at(const struct bg_profile *profile, int64_t row,
                               enum bg_quantity quantity, int layer)
{
    return &profile
                ->stats[row * stats_per_row(profile) + (int64_t)quantity * profile->layers + layer];
}

double *bg_profile_channels_at(const struct bg_profile *profile, int64_t row,
                               enum bg_quantity quantity, int layer)
{
    if (!profile->channel_square)
        return NULL;
    int64_t offset = row * profile->channel_stride;
    for (int q = 0; q < (int)quantity; q++) {
        for (int i = 0; i < profile->layers; i++)
            offset += profile->channels[q][i];
    }
    for (int i = 0; i < layer; i++)
        offset += profile->channels[quantity][i];
    return &profile->channel_square[offset];
}

enum bg_status bg_profile_add_cycle(struct bg_profile *profile, int64_t step)
{
    enum bg_status rc = BG_OK;
    int64_t width = values_per_cycle(profile);
    if (profile->cycles == profile->cycle_room) {
        int64_t room = profile->cycle_room, next = room ? 2 * room : 16;
        TRY(grow_rows(&profile->cycle_step, room, next, 1, sizeof(int64_t)));
        TRY(grow_rows(&profile->displacement, room, next, width, sizeof(double)));
        profile->cycle_room = next;
    }
    int64_t cycle = profile->cycles++;
    profile->cycle_step[cycle] = step;
    for (int64_t i = 0; i < width; i++)
        profile->displacement[cycle * width + i] = (double)NAN;
out:
    return rc;
}

double *bg_profile_displacement_at(const struct bg_profile *profile, int64_t cycle,
                                   enum bg_reference reference, int layer)
{
    return &profile->displacement[cycle * values_per_cycle(profile) +
                                  (int64_t)reference * profile->layers + layer];
}

/* Moves row `from` to row `to` (to <= from) of an array with `width` items per row. */
static void move_row(void *array, int64_t to, int64_t from, int64_t width, size_t size)
{
    size_t bytes = (size_t)width * size;
    if (array && to != from)
        memmove((char *)array + (size_t)to * bytes, (const char *)array + (size_t)from * bytes,
                bytes);
}

void bg_profile_truncate(struct bg_profile *profile, int64_t step)
{
    int64_t kept = 0;
    for (int64_t row = 0; row < profile->rows; row++) {
        if (profile->row_step[row] > step)
            continue;
        move_row(profile->row_step, kept, row, 1, sizeof(int64_t));
        move_row(profile->stats, kept, row, stats_per_row(profile), sizeof(struct bg_stats));
        move_row(profile->channel_square, kept, row, profile->channel_stride, sizeof(double));
        kept++;
    }
    profile->rows = kept;
    kept = 0;
    for (int64_t cycle = 0; cycle < profile->cycles; cycle++) {
        if (profile->cycle_step[cycle] > step)
            continue;
        move_row(profile->cycle_step, kept, cycle, 1, sizeof(int64_t));
        move_row(profile->displacement, kept, cycle, values_per_cycle(profile), sizeof(double));
        kept++;
    }
    profile->cycles = kept;
}
