/* The failure record, exit codes, and the log sink. */
#include "core/log.h"
#include "core/status.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

Test(status, failure_writes_one_sentence_and_returns_its_code)
{
    cr_assert_eq(bg_fail(BG_E_RANGE, "%d bits: limit is %d", 17, 16), BG_E_RANGE);
    cr_assert_str_eq(bg_error(), "17 bits: limit is 16");
    cr_assert_eq(bg_fail_prefix(BG_E_DATA, "%s:%d: ", "a.yaml", 3), BG_E_DATA);
    cr_assert_str_eq(bg_error(), "a.yaml:3: 17 bits: limit is 16");
    cr_assert_eq(bg_fail(BG_E_IO, "again: %s", bg_error()), BG_E_IO);
    cr_assert_str_eq(bg_error(), "again: a.yaml:3: 17 bits: limit is 16");
    bg_error_clear();
    cr_assert_str_eq(bg_error(), "");
}

Test(status, sentences_are_cut_at_1023_bytes)
{
    char long_text[3000];

    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)bg_fail(BG_E_DATA, "%s", long_text);
    cr_assert_eq(strlen(bg_error()), 1023);
    (void)bg_fail_prefix(BG_E_DATA, "front ");
    cr_assert_eq(strlen(bg_error()), 1023);
    cr_assert_eq(strncmp(bg_error(), "front xxx", 9), 0);
}

static void *fail_elsewhere(void *unused)
{
    (void)unused;
    (void)bg_fail(BG_E_DATA, "other thread");
    return NULL;
}

Test(status, each_thread_has_its_own_record)
{
    pthread_t thread;

    (void)bg_fail(BG_E_DATA, "mine");
    cr_assert_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_str_eq(bg_error(), "mine");
}

static enum bg_status macros(int where, int *cleaned)
{
    enum bg_status rc = BG_OK;

    if (where == 1)
        FAIL(BG_E_SHAPE, "direct");
    TRY(where == 2 ? bg_fail(BG_E_NOMEM, "passed up") : BG_OK);
    *cleaned += 10;
out:
    *cleaned += 1;
    return rc;
}

Test(status, try_and_fail_leave_through_out)
{
    int cleaned = 0;

    cr_assert_eq(macros(0, &cleaned), BG_OK);
    cr_assert_eq(cleaned, 11);
    cr_assert_eq(macros(1, &cleaned), BG_E_SHAPE);
    cr_assert_eq(macros(2, &cleaned), BG_E_NOMEM);
    cr_assert_eq(cleaned, 13);
    cr_assert_str_eq(bg_error(), "passed up");
}

Test(status, every_code_has_a_name_and_an_agreed_exit_code)
{
    for (int i = 0; i <= BG_E_INTERNAL; i++) {
        int code = bg_status_exit_code((enum bg_status)i);
        cr_assert_neq(strlen(bg_status_name((enum bg_status)i)), 0);
        cr_assert(code == 64 || code == 65 || code == 70 || code == 74 || code == 75 ||
                  (code == 0 && i == BG_OK));
    }
    cr_assert_str_eq(bg_status_name(BG_E_NOMEM), "out of memory");
    cr_assert_eq(bg_status_exit_code(BG_E_USAGE), 64);
    cr_assert_eq(bg_status_exit_code(BG_E_DATA), 65);
    cr_assert_eq(bg_status_exit_code(BG_E_IO), 74);
    cr_assert_eq(bg_status_exit_code(BG_E_INTERRUPTED), 75);
    cr_assert_eq(bg_status_exit_code((enum bg_status)999), 70);
    cr_assert_str_eq(bg_status_name((enum bg_status) - 1), "unknown status");
}

struct seen {
    int messages, reports;
    enum bg_level level;
    char text[64];
    int64_t done, total;
};

static void see_message(void *self, enum bg_level level, const char *text)
{
    struct seen *seen = self;

    seen->messages++;
    seen->level = level;
    (void)snprintf(seen->text, sizeof seen->text, "%s", text);
}

static void see_progress(void *self, const struct bg_progress *progress)
{
    struct seen *seen = self;

    seen->reports++;
    seen->done = progress->done;
    seen->total = progress->total;
    (void)snprintf(seen->text, sizeof seen->text, "%s %s", progress->what, progress->note);
}

Test(log, messages_and_progress_reach_the_sink_and_nobody_else)
{
    struct seen seen = {0};
    const struct bg_log_sink sink = {&seen, see_message, see_progress};
    const struct bg_log_sink deaf = {&seen, NULL, NULL};

    bg_log(BG_LOG_ERROR, "nobody listens");
    bg_log_set(&sink);
    bg_log(BG_LOG_WARN, "clipped %d", 3);
    cr_assert_str_eq(seen.text, "clipped 3");
    cr_assert_eq(seen.level, BG_LOG_WARN);
    bg_log_progress("epoch 1", 5, 10, "loss %.3f", 0.412);
    cr_assert_str_eq(seen.text, "epoch 1 loss 0.412");
    cr_assert_eq(seen.done, 5);
    cr_assert_eq(seen.total, 10);
    bg_log_set(&deaf);
    bg_log(BG_LOG_WARN, "dropped");
    bg_log_progress("dropped", 1, 1, "%s", "");
    bg_log_set(NULL);
    bg_log(BG_LOG_WARN, "dropped");
    cr_assert_eq(seen.messages, 1);
    cr_assert_eq(seen.reports, 1);
}

static void on_signal(int number)
{
    (void)number;
    bg_stop_request();
}

Test(log, a_signal_handler_may_ask_to_stop)
{
    struct sigaction action = {.sa_handler = on_signal};

    cr_assert_eq(bg_stop_requested(), 0);
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    raise(SIGUSR1);
    cr_assert_neq(bg_stop_requested(), 0);
    bg_stop_clear();
    cr_assert_eq(bg_stop_requested(), 0);
}
