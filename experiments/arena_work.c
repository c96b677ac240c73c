/* A worker: takes the next task of tasks.tsv (a base to train, or a plan to try) until none is left
 * or a stop is asked for. The number of the next task stands in the file `next`, under a lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/arena.h"
#include "experiments/run.h"
#include "experiments/terminal.h"

struct worker {
    const struct bg_arena *arena;
    char next[BG_PATH_MAX];
    struct bg_arena_bench *bench; /* of the seed worked on, NULL = none yet */
    int64_t seed;
};

static enum bg_status claim(const struct worker *worker, int64_t *task)
{
    char text[32] = "";
    int file = open(worker->next, O_RDWR | O_CLOEXEC), length;
    enum bg_status rc = BG_OK;

    if (file < 0 || flock(file, LOCK_EX) != 0 || pread(file, text, sizeof text - 1, 0) < 1)
        FAIL(BG_E_IO, "%s: %s", worker->next, strerror(errno));
    if (!bg_text_to_int(text, task))
        FAIL(BG_E_DATA, "%s: \"%s\" is no number", worker->next, text);
    length = snprintf(text, sizeof text, "%lld", (long long)*task + 1);
    if (ftruncate(file, 0) != 0 || pwrite(file, text, (size_t)length, 0) != length)
        FAIL(BG_E_IO, "%s: %s", worker->next, strerror(errno));
out:
    if (file >= 0)
        (void)close(file);
    return rc;
}

static enum bg_status train_base(const struct worker *worker, int64_t seed)
{
    char dir[BG_PATH_MAX];
    struct bg_recipe *recipe = NULL;
    struct bg_run *run = NULL;
    enum bg_status rc = BG_OK;

    TRY(bg_arena_recipe(worker->arena, seed, &recipe));
    TRY(bg_arena_seed_dir(worker->arena, seed, dir));
    TRY(bg_run_open(&run, recipe, dir));
    if (!run->finished)
        TRY(bg_run_work(run));
out:
    bg_run_close(run);
    bg_recipe_free(recipe);
    return rc;
}

static enum bg_status try_plan(struct worker *worker, int64_t seed, const char *plan)
{
    struct bg_arena_trial trial;
    struct bg_run frame = {.lock = -1}; /* only its directory: for timing.tsv */
    char what[64];
    double began = bg_terminal_clock();
    enum bg_status rc = BG_OK;

    if (!worker->bench || worker->seed != seed) {
        bg_arena_bench_close(worker->bench);
        worker->bench = NULL;
        TRY(bg_arena_bench_open(&worker->bench, worker->arena, seed));
        worker->seed = seed;
        began = bg_terminal_clock();
    }
    TRY(bg_arena_bench_run(worker->bench, plan, &trial));
    TRY(bg_arena_add_trial(worker->arena, &trial));
    TRY(bg_text_copy(frame.dir, sizeof frame.dir, worker->arena->dir));
    (void)snprintf(what, sizeof what, "trial %s", plan);
    bg_run_timing(&frame, what, seed, bg_terminal_clock() - began);
    bg_log(BG_LOG_DEBUG, "seed %lld, plan %s: test accuracy %.2f %%, fine-tuned %.2f %%",
           (long long)seed, plan, 100 * trial.test[BG_ARENA_BEFORE],
           100 * trial.test[BG_ARENA_LAST]);
out:
    return rc;
}

/* The lines "base\tSEED\t-" and "trial\tSEED\tPLAN". */
static enum bg_status do_task(struct worker *worker, const char *line, const char *path)
{
    char kind[16] = "", plan[BG_ARENA_HASH] = "";
    long long seed = 0;
    if (sscanf(line, "%15s %lld %16s", kind, &seed, plan) != 3)
        return bg_fail(BG_E_DATA, "%s: a line is no task", path);
    return strcmp(kind, "base") != 0 ? try_plan(worker, seed, plan) : train_base(worker, seed);
}

static const char *line_at(const char *text, int64_t number)
{
    while (number-- > 0 && text) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text && *text ? text : NULL;
}

enum bg_status bg_arena_work(const struct bg_arena *arena)
{
    struct worker worker = {.arena = arena};
    char path[BG_PATH_MAX];
    char *tasks = NULL;
    size_t length = 0;
    int64_t number = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(worker.next, arena->dir, "next"));
    TRY(bg_path_join(path, arena->dir, "tasks.tsv"));
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &tasks, &length));
    while (!bg_stop_requested()) {
        const char *line;
        TRY(claim(&worker, &number));
        line = line_at(tasks, number);
        if (!line)
            break;
        TRY(do_task(&worker, line, path));
    }
    if (bg_stop_requested())
        FAIL(BG_E_INTERRUPTED, "stopped; the same command goes on from there");
out:
    bg_arena_bench_close(worker.bench);
    bg_free(tasks);
    return rc;
}
