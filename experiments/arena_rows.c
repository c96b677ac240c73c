/* trials.tsv: one row per plan and seed, appended as it comes under a lock of the file, sorted at
 * the end. Whoever appends first cuts off what a killed writer left of a row. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/mem.h"
#include "experiments/arena.h"

#define FIELDS 12

const char *const bg_arena_moments[BG_ARENA_MOMENTS] = {"before", "last", "best"};

static const char header[] =
    "seed\tplan\tinteger\tdiverged\tbest_epoch\tbefore_validation\tbefore_test\tlast_validation\t"
    "last_test\tbest_validation\tbest_test\tend\n";

static void print_row(const struct bg_arena_trial *trial, struct bg_text *text)
{
    char number[32];
    bg_text_add(text, "%lld\t%s\t%d\t%d\t%lld", (long long)trial->seed, trial->plan, trial->integer,
                trial->diverged, (long long)trial->best_epoch);
    for (int m = 0; m < BG_ARENA_MOMENTS; m++) {
        bg_text_real(number, trial->validation[m]);
        bg_text_add(text, "\t%s", number);
        bg_text_real(number, trial->test[m]);
        bg_text_add(text, "\t%s", number);
    }
    bg_text_add(text, "\t.\n"); /* a row that was cut has no end */
}

/* The fields of a line, cut at its tabs; false when there are more or fewer. */
static bool split(char *line, char *field[FIELDS])
{
    int count = 0;
    for (char *at = line; at;) {
        char *tab = strchr(at, '\t');
        if (count == FIELDS)
            return false;
        field[count++] = at;
        if (tab)
            *tab = '\0';
        at = tab ? tab + 1 : NULL;
    }
    return count == FIELDS;
}

static bool parse_whole(char *const *field, struct bg_arena_trial *out)
{
    int64_t integer = 0, diverged = 0;
    bool whole = bg_text_to_int(field[0], &out->seed) && bg_text_to_int(field[2], &integer) &&
                 bg_text_to_int(field[3], &diverged) && bg_text_to_int(field[4], &out->best_epoch);
    out->integer = integer != 0;
    out->diverged = diverged != 0;
    return whole;
}

/* A whole row or nothing. */
static bool parse_row(char *line, struct bg_arena_trial *out)
{
    char *field[FIELDS];
    if (!split(line, field) || strcmp(field[FIELDS - 1], ".") != 0 ||
        strlen(field[1]) != BG_ARENA_HASH - 1)
        return false;
    memset(out, 0, sizeof *out);
    memcpy(out->plan, field[1], BG_ARENA_HASH);
    if (!parse_whole(field, out))
        return false;
    for (int m = 0; m < BG_ARENA_MOMENTS; m++)
        if (!bg_text_to_real(field[5 + 2 * m], &out->validation[m]) ||
            !bg_text_to_real(field[6 + 2 * m], &out->test[m]))
            return false;
    return true;
}

static int compare(const void *a, const void *b)
{
    const struct bg_arena_trial *p = a, *q = b;
    if (p->seed != q->seed)
        return p->seed < q->seed ? -1 : 1;
    return strcmp(p->plan, q->plan);
}

const struct bg_arena_trial *bg_arena_find_trial(const struct bg_arena *arena, int64_t seed,
                                                 const char *plan)
{
    struct bg_arena_trial key = {.seed = seed};
    if (arena->trials == 0)
        return NULL;
    (void)snprintf(key.plan, sizeof key.plan, "%s", plan);
    return bsearch(&key, arena->trial, (size_t)arena->trials, sizeof key, compare);
}

static enum bg_status take_lines(struct bg_arena *arena, char *text)
{
    int64_t room = 0, count = 0;
    enum bg_status rc = BG_OK;
    for (const char *at = text; *at; at++)
        room += *at == '\n';
    bg_free(arena->trial);
    arena->trial = NULL;
    arena->trials = 0;
    TRY(bg_alloc(&arena->trial, room, sizeof *arena->trial));
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n');
        if (!end)
            break;
        *end = '\0';
        if (parse_row(line, &arena->trial[count]))
            count++;
        line = end + 1;
    }
    if (count > 0)
        qsort(arena->trial, (size_t)count, sizeof *arena->trial, compare);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || compare(&arena->trial[i], &arena->trial[arena->trials - 1]) != 0)
            arena->trial[arena->trials++] = arena->trial[i];
out:
    return rc;
}

enum bg_status bg_arena_read_trials(struct bg_arena *arena)
{
    char path[BG_PATH_MAX];
    char *text = NULL;
    size_t length = 0;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, arena->dir, "trials.tsv"));
    if (!bg_file_exists(path))
        goto out;
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &text, &length));
    TRY(take_lines(arena, text));
out:
    bg_free(text);
    return rc;
}

enum bg_status bg_arena_write_trials(const struct bg_arena *arena)
{
    char path[BG_PATH_MAX];
    struct bg_text text = {0};
    enum bg_status rc = BG_OK;
    bg_text_init(&text, BG_ARENA_LIMIT);
    bg_text_add(&text, "%s", header);
    for (int64_t i = 0; i < arena->trials; i++)
        print_row(&arena->trial[i], &text);
    TRY(bg_text_check(&text));
    TRY(bg_path_join(path, arena->dir, "trials.tsv"));
    TRY(bg_file_write(path, bg_text_string(&text), text.length));
out:
    bg_text_free(&text);
    return rc;
}

/* Cuts the file behind its last whole line. */
static bool drop_half(int file)
{
    char last = '\n';
    off_t end = lseek(file, 0, SEEK_END);
    while (end > 0) {
        if (pread(file, &last, 1, end - 1) != 1)
            return false;
        if (last == '\n')
            break;
        end--;
    }
    return end >= 0 && ftruncate(file, end) == 0 && lseek(file, 0, SEEK_END) == end;
}

enum bg_status bg_arena_add_trial(const struct bg_arena *arena, const struct bg_arena_trial *trial)
{
    char path[BG_PATH_MAX];
    struct bg_text text = {0};
    int file = -1;
    enum bg_status rc = BG_OK;

    bg_text_init(&text, 4096);
    print_row(trial, &text);
    TRY(bg_text_check(&text));
    TRY(bg_path_join(path, arena->dir, "trials.tsv"));
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || flock(file, LOCK_EX) != 0 || !drop_half(file) ||
        write(file, bg_text_string(&text), text.length) != (ssize_t)text.length || fsync(file) != 0)
        FAIL(BG_E_IO, "%s: %s", path, strerror(errno));
out:
    if (file >= 0)
        (void)close(file);
    bg_text_free(&text);
    return rc;
}
