/* The order of work: bases, proposals, trials. Work is done by processes of this same program
 * (`bitgrad arena DIR --worker`), one data load each; they die with the one that started them.
 * DIR/lock is held by all of them, so that no second arena starts while one still works. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "experiments/arena.h"
#include "experiments/terminal.h"

#define JOBS_MAX      256
#define LOCK_TRIES    100 /* of 20 ms: workers of a killed arena need a moment to die */
#define POLL_NS       50000000
#define POLLS_A_COUNT 20

struct pool {
    const struct bg_arena *arena;
    int jobs, running, failed;
    pid_t pid[JOBS_MAX];
    int64_t rows; /* of trials.tsv when the pool began */
    int64_t total;
};

static void nap(long nanoseconds)
{
    struct timespec time = {0, nanoseconds};
    (void)nanosleep(&time, NULL);
}

/* Not closed by exec: the workers hold it too. */
static enum bg_status take_lock(const struct bg_arena *arena, int *out)
{
    char path[BG_PATH_MAX];
    int file = -1;
    enum bg_status rc = BG_OK;
    TRY(bg_path_join(path, arena->dir, "lock"));
    file = open(path, O_RDWR | O_CREAT, 0644);
    if (file < 0)
        FAIL(BG_E_IO, "%s: %s", path, strerror(errno));
    for (int i = 0; flock(file, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i == LOCK_TRIES) {
            (void)close(file);
            FAIL(BG_E_MISMATCH, "%s is in use by another bitgrad", arena->dir);
        }
        nap(20000000);
    }
    *out = file;
out:
    return rc;
}

static void run_child(const struct bg_arena *arena, pid_t parent)
{
    const char *level = bg_terminal_level() == BG_LOG_DEBUG ? "--verbose" : "--quiet";
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setpgid(0, 0); /* Ctrl-C comes through the parent, once */
    if (getppid() != parent)
        _exit(1);
    (void)execl("/proc/self/exe", "bitgrad", "arena", arena->dir, "--worker", level, (char *)NULL);
    _exit(127);
}

static enum bg_status start(struct pool *pool)
{
    pid_t parent = getpid(), child;
    fflush(stdout);
    fflush(stderr);
    child = fork();
    if (child < 0)
        return bg_fail(BG_E_IO, "fork: %s", strerror(errno));
    if (child == 0)
        run_child(pool->arena, parent);
    pool->pid[pool->running++] = child;
    return BG_OK;
}

static void end_others(const struct pool *pool)
{
    for (int i = 0; i < pool->running; i++)
        (void)kill(pool->pid[i], SIGTERM);
}

static void forget(struct pool *pool, pid_t pid, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 70;
    for (int i = 0; i < pool->running; i++)
        if (pool->pid[i] == pid) {
            pool->pid[i] = pool->pid[--pool->running];
            break;
        }
    if (!WIFEXITED(status))
        bg_log(BG_LOG_ERROR, "a worker was ended by signal %d", WTERMSIG(status));
    if (code != 0 && code != bg_status_exit_code(BG_E_INTERRUPTED) && !pool->failed) {
        pool->failed = code;
        end_others(pool);
    }
}

static int64_t count_rows(const struct bg_arena *arena)
{
    char path[BG_PATH_MAX];
    char *text = NULL;
    size_t length = 0;
    int64_t rows = 0;
    if (bg_path_join(path, arena->dir, "trials.tsv") != BG_OK || !bg_file_exists(path) ||
        bg_file_read(path, BG_ARENA_LIMIT, &text, &length) != BG_OK)
        return 0;
    for (const char *at = text; *at; at++)
        rows += *at == '\n';
    bg_free(text);
    return rows;
}

static enum bg_status wait_all(struct pool *pool)
{
    bool told = false;
    for (int polls = 0; pool->running > 0; polls++) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid > 0) {
            forget(pool, pid, status);
            continue;
        }
        if (bg_stop_requested() && !told) {
            end_others(pool);
            told = true;
        }
        if (pool->total > 0 && polls % POLLS_A_COUNT == 0)
            bg_log_progress("trials", count_rows(pool->arena) - pool->rows, pool->total, "%s", "");
        nap(POLL_NS);
    }
    if (bg_stop_requested())
        return bg_fail(BG_E_INTERRUPTED, "stopped; the same command goes on from there");
    return BG_OK;
}

/* Does the tasks with as many workers as there is work for. */
static enum bg_status work_off(const struct bg_arena *arena, const struct bg_text *tasks,
                               int64_t count, int jobs, int *code)
{
    struct pool pool = {.arena = arena, .rows = count_rows(arena)};
    char path[BG_PATH_MAX];
    enum bg_status rc = BG_OK, waited = BG_OK;

    pool.total = strncmp(bg_text_string(tasks), "trial", 5) ? 0 : count;
    pool.jobs = count < jobs ? (int)count : jobs;
    TRY(bg_text_check(tasks));
    TRY(bg_path_join(path, arena->dir, "tasks.tsv"));
    TRY(bg_file_write(path, bg_text_string(tasks), tasks->length));
    TRY(bg_path_join(path, arena->dir, "next"));
    TRY(bg_file_write(path, "0", 1));
    while (pool.running < pool.jobs)
        TRY(start(&pool));
out:
    if (rc != BG_OK)
        end_others(&pool);
    waited = wait_all(&pool);
    *code = pool.failed;
    return rc == BG_OK ? waited : rc;
}

static enum bg_status train_bases(const struct bg_arena *arena, int jobs, int *code)
{
    struct bg_text tasks = {0};
    int64_t count = 0;
    enum bg_status rc = BG_OK;
    bg_text_init(&tasks, BG_ARENA_LIMIT);
    for (int s = 0; s < arena->options.seeds.count; s++)
        if (!bg_arena_base_done(arena, arena->options.seeds.at[s])) {
            bg_text_add(&tasks, "base\t%lld\t-\n", (long long)arena->options.seeds.at[s]);
            count++;
        }
    if (count == 0)
        goto out;
    bg_log(BG_LOG_INFO, "arena: %lld of %d bases to train and profile", (long long)count,
           arena->options.seeds.count);
    TRY(work_off(arena, &tasks, count, jobs, code));
out:
    bg_text_free(&tasks);
    return rc;
}

static bool proposed_before(const struct bg_arena *arena, int proposal)
{
    const struct bg_arena_proposal *p = &arena->proposal[proposal];
    for (int i = proposal; i-- > 0 && arena->proposal[i].seed == p->seed;)
        if (!strcmp(arena->proposal[i].plan, p->plan))
            return true;
    return false;
}

static enum bg_status try_plans(const struct bg_arena *arena, int jobs, int *code)
{
    struct bg_text tasks = {0};
    int64_t count = 0, all = 0;
    enum bg_status rc = BG_OK;
    bg_text_init(&tasks, BG_ARENA_LIMIT);
    for (int i = 0; i < arena->proposals; i++) {
        int64_t seed = arena->options.seeds.at[arena->proposal[i].seed];
        if (proposed_before(arena, i))
            continue;
        all++;
        if (bg_arena_find_trial(arena, seed, arena->proposal[i].plan))
            continue;
        bg_text_add(&tasks, "trial\t%lld\t%s\n", (long long)seed, arena->proposal[i].plan);
        count++;
    }
    bg_log(BG_LOG_INFO, "arena: %d proposals, %lld different trials, %lld of them to do",
           arena->proposals, (long long)all, (long long)count);
    if (count > 0)
        TRY(work_off(arena, &tasks, count, jobs, code));
out:
    bg_text_free(&tasks);
    return rc;
}

static enum bg_status compare_recipe(const struct bg_arena *arena)
{
    char path[BG_PATH_MAX], difference[512];
    char *text = NULL;
    size_t length = 0;
    bool differ = false;
    enum bg_status rc = BG_OK;

    TRY(bg_path_join(path, arena->dir, "recipe.yaml"));
    if (!bg_file_exists(path)) {
        TRY(bg_file_write(path, bg_text_string(&arena->resolved), arena->resolved.length));
        goto out;
    }
    TRY(bg_file_read(path, BG_ARENA_LIMIT, &text, &length));
    TRY(bg_recipe_difference(path, text, bg_text_string(&arena->resolved), &differ, difference));
    if (differ)
        FAIL(BG_E_MISMATCH, "%s holds an arena of another recipe: %s; use another --out",
             arena->dir, difference);
out:
    bg_free(text);
    return rc;
}

static void remove_transient(const struct bg_arena *arena)
{
    static const char *const names[] = {"tasks.tsv", "next"};
    char path[BG_PATH_MAX];
    for (int i = 0; i < 2; i++)
        if (bg_path_join(path, arena->dir, names[i]) == BG_OK)
            bg_file_remove(path);
}

enum bg_status bg_arena_run(struct bg_arena *arena, int jobs, int *code)
{
    int lock = -1;
    enum bg_status rc = BG_OK;

    TRY(bg_dir_make(arena->dir));
    TRY(take_lock(arena, &lock));
    bg_dir_remove_temporaries(arena->dir);
    TRY(compare_recipe(arena));
    TRY(train_bases(arena, jobs, code));
    if (*code)
        goto out;
    TRY(bg_arena_read_trials(arena));
    TRY(bg_arena_write_trials(arena));
    TRY(bg_arena_propose(arena));
    TRY(try_plans(arena, jobs, code));
    if (*code)
        goto out;
    TRY(bg_arena_read_trials(arena));
    TRY(bg_arena_write_trials(arena));
    remove_transient(arena);
out:
    if (lock >= 0)
        (void)close(lock);
    return rc;
}
