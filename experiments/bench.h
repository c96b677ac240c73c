/* What the benches share: jobs timed in turns, min and median, and the printing of results. Speed
 * of a shared machine changes within seconds: jobs that are compared run in turns in the same
 * seconds, and only ratios between them mean something. */
#ifndef BG_EXPERIMENTS_BENCH_H
#define BG_EXPERIMENTS_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "experiments/print_json.h"
#include "core/status.h"
#include "core/text.h"

/* The command line. */
struct bg_bench_setup {
    const char *model;    /* "resnet20", "mlp:hidden=[256, 256]" */
    const char *update;   /* "sgd", "sgd:momentum=0" */
    const char *variants; /* "f32/exact,W8A8/fast"; NULL: the bench's own */
    const char *plan, *compute;
    const char *figure; /* SVG to write, NULL = none */
    const char *table;  /* latency table to write, NULL = none */
    int64_t batch, threads, steps;
    int64_t height, width, channels;
    bool json;
};

/* Something to time. `run` runs it `times` times and writes the seconds each took. */
struct bg_bench_job {
    void *self;
    enum bg_status (*run)(void *self, int64_t times, double *seconds);
    double *seconds; /* [count], in order; owned, bg_bench_free */
    int64_t count;
    double min, median;
};

struct bg_bench_effort {
    int64_t turns, runs; /* at most so many turns of so many timed runs each */
    double seconds;      /* no turn begins later than this, the first excepted; 0 = no limit */
};

/* All jobs once to warm up, then in turns; the first run of every turn is not counted, as it finds
 * the caches full of what others did. Fills seconds, min and median. */
BG_MUST enum bg_status bg_bench_interleave(struct bg_bench_job *jobs, int count,
                                           const struct bg_bench_effort *effort);
void bg_bench_free(struct bg_bench_job *jobs, int count);
/* Turns of at most 5 that give `steps` timed runs or some more. */
struct bg_bench_effort bg_bench_effort_of(int64_t steps);
/* `run` for a plain function, timed call by call. */
struct bg_bench_call {
    void *self;
    enum bg_status (*call)(void *self);
};
BG_MUST enum bg_status bg_bench_run_call(void *self, int64_t times, double *seconds);

/* The start of every JSON result: schema, bench, model, batch, threads, image, isa, onednn. */
json_t *bg_bench_json(const struct bg_bench_setup *setup, const char *bench);
/* Adds count, min, median. */
void bg_bench_json_times(json_t *object, const struct bg_bench_job *job);

/* The words of `bitgrad bench`. */
BG_MUST enum bg_status bg_bench_step(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_update(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_profile(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_layers(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_ops(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_eval(const struct bg_bench_setup *setup);
BG_MUST enum bg_status bg_bench_scale(const struct bg_bench_setup *setup);

#endif
