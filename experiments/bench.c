/* Timing in turns, and the parts that all results have. */
#include "experiments/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/dnn.h"
#include "core/mem.h"
#include "experiments/terminal.h"

#define SCHEMA    2
#define WARM_UP   2
#define TURN_MOST 5

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_of(const double *sorted, int64_t count)
{
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

static enum bg_status summarise(struct bg_bench_job *job)
{
    double *sorted = NULL;
    enum bg_status rc = BG_OK;
    TRY(bg_alloc(&sorted, job->count, sizeof *sorted));
    memcpy(sorted, job->seconds, (size_t)job->count * sizeof *sorted);
    qsort(sorted, (size_t)job->count, sizeof *sorted, compare_seconds);
    job->min = sorted[0];
    job->median = median_of(sorted, job->count);
out:
    bg_free(sorted);
    return rc;
}

static enum bg_status one_turn(struct bg_bench_job *jobs, int count, int64_t runs, double *seconds)
{
    enum bg_status rc = BG_OK;
    for (int j = 0; j < count; j++) {
        TRY(jobs[j].run(jobs[j].self, runs + 1, seconds));
        memcpy(jobs[j].seconds + jobs[j].count, seconds + 1, (size_t)runs * sizeof *seconds);
        jobs[j].count += runs;
    }
out:
    return rc;
}

enum bg_status bg_bench_interleave(struct bg_bench_job *jobs, int count,
                                   const struct bg_bench_effort *effort)
{
    double *seconds = NULL, began;
    int64_t room = 0;
    enum bg_status rc = BG_OK;

    TRY(bg_product(effort->turns, effort->runs, &room));
    TRY(bg_alloc(&seconds, effort->runs + WARM_UP, sizeof *seconds));
    for (int j = 0; j < count; j++) {
        TRY(bg_alloc(&jobs[j].seconds, room, sizeof *seconds));
        TRY(jobs[j].run(jobs[j].self, WARM_UP, seconds));
    }
    began = bg_terminal_clock();
    for (int64_t turn = 0; turn < effort->turns; turn++) {
        if (turn > 0 && effort->seconds > 0 && bg_terminal_clock() - began > effort->seconds)
            break;
        TRY(one_turn(jobs, count, effort->runs, seconds));
    }
    for (int j = 0; j < count; j++)
        TRY(summarise(&jobs[j]));
out:
    bg_free(seconds);
    return rc;
}

void bg_bench_free(struct bg_bench_job *jobs, int count)
{
    for (int j = 0; jobs && j < count; j++) {
        bg_free(jobs[j].seconds);
        jobs[j].seconds = NULL;
    }
}

struct bg_bench_effort bg_bench_effort_of(int64_t steps)
{
    int64_t turns = (steps + TURN_MOST - 1) / TURN_MOST;
    return (struct bg_bench_effort){.turns = turns, .runs = (steps + turns - 1) / turns};
}

enum bg_status bg_bench_run_call(void *self, int64_t times, double *seconds)
{
    const struct bg_bench_call *call = self;
    enum bg_status rc = BG_OK;
    for (int64_t i = 0; i < times; i++) {
        double began = bg_terminal_clock();
        TRY(call->call(call->self));
        seconds[i] = bg_terminal_clock() - began;
    }
out:
    return rc;
}

json_t *bg_bench_json(const struct bg_bench_setup *setup, const char *bench)
{
    return json_pack("{s:i, s:s, s:s, s:I, s:I, s:[III], s:s, s:s}", "schema", SCHEMA, "bench",
                     bench, "model", setup->model, "batch", (json_int_t)setup->batch, "threads",
                     (json_int_t)setup->threads, "image", (json_int_t)setup->height,
                     (json_int_t)setup->width, (json_int_t)setup->channels, "isa", bg_dnn_isa(),
                     "onednn", bg_dnn_version());
}

void bg_bench_json_times(json_t *object, const struct bg_bench_job *job)
{
    (void)json_object_set_new(object, "count", json_integer(job->count));
    (void)json_object_set_new(object, "min", json_real(job->min));
    (void)json_object_set_new(object, "median", json_real(job->median));
}
