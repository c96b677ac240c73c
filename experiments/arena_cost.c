/* What scoring costs: which recorded data a criterion reads is found by taking each away in turn;
 * what that took was recorded in passes, and in seconds beside it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "experiments/arena_summary.h"
#include "experiments/select_data.h"

/* A seed's record, with switches to take data away. */
struct probe {
    struct bg_record record;
    struct bg_select_data data;
    struct bg_profile profile;
    char *timing; /* timing.tsv, owned; NULL = none */
};

static enum bg_status open_probe(const struct bg_arena *arena, int64_t seed, struct probe *probe)
{
    char dir[BG_PATH_MAX], path[BG_PATH_MAX];
    size_t length = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_arena_seed_dir(arena, seed, dir));
    TRY(bg_path_join(path, dir, "run.h5"));
    TRY(bg_record_read(&probe->record, path));
    TRY(bg_select_data_open(&probe->data, &probe->record, 0, arena->net, &arena->recipe->select));
    probe->profile = probe->data.profile;
    TRY(bg_path_join(path, dir, "timing.tsv"));
    if (bg_file_exists(path))
        TRY(bg_file_read(path, BG_ARENA_LIMIT, &probe->timing, &length));
out:
    return rc;
}

static void close_probe(struct probe *probe)
{
    bg_select_data_close(&probe->data);
    bg_record_free(&probe->record);
    bg_free(probe->timing);
}

static bool works(const struct bg_arena *arena, int criterion, const struct probe *probe)
{
    const struct bg_bits_frame frame = bg_arena_frame(arena, 0);
    const struct bg_arena_criterion *c = &arena->criterion[criterion];
    struct bg_penalties penalties = {0};
    enum bg_status rc = bg_select_penalties(c->method, c->options, &probe->data.input, frame.bits,
                                            frame.candidates, &penalties);
    bool same = rc == BG_OK && penalties.speaks[BG_ROLE_ACTIVATION];
    bg_penalties_free(&penalties);
    return rc == BG_OK && (same || frame.activation_bits >= 0);
}

/* Without the rows of one measure: those of another kind stand in their place. */
static bool needs_measure(const struct bg_arena *arena, int criterion, struct probe *probe,
                          int measure)
{
    struct bg_measurements *all = &probe->data.measurements;
    struct bg_measurements whole = *all;
    struct bg_measure_row *rows = NULL;
    bool needed = false;
    int64_t kept = 0;
    if (bg_alloc(&rows, whole.rows + 1, sizeof *rows) != BG_OK)
        return false;
    for (int64_t r = 0; r < whole.rows; r++)
        if (whole.row[r].measure != measure)
            rows[kept++] = whole.row[r];
    all->row = rows;
    all->rows = kept;
    needed = !works(arena, criterion, probe);
    *all = whole;
    bg_free(rows);
    return needed;
}

static bool needs_profile(const struct bg_arena *arena, int criterion, struct probe *probe,
                          bool cycles)
{
    bool needed;
    if (cycles)
        probe->data.profile.cycles = 0;
    else
        probe->data.profile.rows = 0;
    needed = !works(arena, criterion, probe);
    probe->data.profile = probe->profile;
    return needed;
}

/* Seconds of the first line "WHAT\tnumber\tseconds"; NaN without one. */
static double seconds_of(const char *timing, const char *what)
{
    size_t length = strlen(what);
    for (const char *line = timing; line && *line;) {
        const char *end = strchr(line, '\n');
        double seconds = 0;
        if (!strncmp(line, what, length) && line[length] == '\t' &&
            sscanf(line + length, "%*d %lf", &seconds) == 1)
            return seconds;
        line = end ? end + 1 : NULL;
    }
    return (double)NAN;
}

static void add_seconds(double *sum, double seconds)
{
    *sum += seconds; /* NaN stays: part of it is not known */
}

static void note(struct bg_arena_summary *s, int criterion, const char *what)
{
    char *to = s->reads[criterion];
    size_t length = strlen(to);
    (void)snprintf(to + length, sizeof s->reads[0] - length, "%s%s", length ? " " : "", what);
}

static void count_measures(const struct bg_arena *arena, struct bg_arena_summary *s,
                           struct probe *probe, int c, bool first)
{
    const struct bg_measurements *all = &probe->data.measurements;
    for (int m = 0; m < all->measures; m++) {
        char what[BG_NAME_MAX + 16];
        if (!needs_measure(arena, c, probe, m))
            continue;
        for (int64_t r = 0; r < all->rows; r++)
            if (all->row[r].measure == m)
                s->passes[c] += (double)all->row[r].passes;
        (void)snprintf(what, sizeof what, "measure %s", all->name[m]);
        add_seconds(&s->seconds[c], seconds_of(probe->timing, what));
        if (first)
            note(s, c, all->name[m]);
    }
}

/* What the profile stage took beside its measures: gradients, or cycles, or both together. */
static double profile_seconds(const struct probe *probe)
{
    double seconds = seconds_of(probe->timing, "profile");
    for (int m = 0; m < probe->record.measures; m++) {
        char what[BG_NAME_MAX + 16];
        double one;
        (void)snprintf(what, sizeof what, "measure %s", probe->record.measure_name[m]);
        one = seconds_of(probe->timing, what);
        seconds -= isfinite(one) ? one : 0;
    }
    return seconds;
}

static void count_profile(const struct bg_arena *arena, struct bg_arena_summary *s,
                          struct probe *probe, int c, bool first)
{
    const struct bg_profile_options *options = &arena->recipe->profile;
    double batch = (double)arena->recipe->train.batch;
    double steps = (double)options->steps;
    if (steps <= 0)
        steps = ceil((double)probe->record.train_count / batch);
    if (needs_profile(arena, c, probe, false)) {
        s->passes[c] += 2 * batch * (double)probe->record.profile[BG_PROFILE_STAGE].rows;
        add_seconds(&s->seconds[c], profile_seconds(probe));
        if (first)
            note(s, c, "gradients");
    }
    if (needs_profile(arena, c, probe, true)) {
        s->passes[c] += 2 * batch * steps * (double)options->cycles;
        if (options->cycles > 0)
            add_seconds(&s->seconds[c], profile_seconds(probe));
        if (first)
            note(s, c, options->cycles > 0 ? "displacement" : "displacement-along-training");
    }
}

enum bg_status bg_arena_costs(const struct bg_arena *arena, struct bg_arena_summary *s)
{
    struct probe *probe = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_alloc(&probe, 1, sizeof *probe));
    for (int seed = 0; seed < s->seeds; seed++) {
        const union bg_cell *row;
        memset(probe, 0, sizeof *probe);
        TRY(open_probe(arena, arena->options.seeds.at[seed], probe));
        row = bg_record_evaluation(&probe->record, BG_EVALUATED_FP32, BG_ON_TEST);
        if (!row)
            row = bg_record_evaluation(&probe->record, BG_EVALUATED_QUANTIZED, BG_ON_TEST);
        s->fp32[seed] = row ? row[BG_EVAL_ACCURACY].real : (double)NAN;
        for (int c = 0; c < s->criteria; c++) {
            count_measures(arena, s, probe, c, seed == 0);
            count_profile(arena, s, probe, c, seed == 0);
        }
        close_probe(probe);
        memset(probe, 0, sizeof *probe);
    }
    for (int c = 0; c < s->criteria; c++) {
        s->passes[c] /= s->seeds;
        s->seconds[c] /= s->seeds;
    }
    bg_error_clear(); /* the probing has left sentences */
out:
    if (probe)
        close_probe(probe);
    bg_free(probe);
    return rc;
}
