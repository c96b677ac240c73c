/* The probe: before a file without our seal is opened, a child process opens it, walks over all
 * objects and reads all data and attributes that we would read. HDF5 1.10 can crash on damaged
 * files, or leak; then that happens to the child alone, and the file is refused. So is a file about
 * which HDF5 reports any error (a bad checksum, a broken header). What we refuse ourselves (a link,
 * a type) is no matter of the probe: the parent meets it when it is asked for that object.
 *
 * The child uses HDF5 and nothing else (no OpenMP: its threads do not survive a fork), runs under
 * limits on memory and processor time, and ends by an alarm should another thread have held a lock
 * at the moment of the fork. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/h5_private.h"
#include "core/mem.h"

#define MEMORY_LIMIT     ((rlim_t)2 << 30) /* above what the process has now */
#define SECONDS_LEAST    5                 /* of processor time */
#define BYTES_PER_SECOND ((int64_t)10 << 20)

/* Of the sanitizers' runtime; absent in ordinary builds. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static enum bg_status read_all(const struct bg_h5 *file, const char *name)
{
    enum bg_status rc = BG_OK;
    struct bg_h5_dataset dataset;
    void *buffer = NULL;
    int64_t rows = 0, piece = 0, row_elements = 0;
    TRY(bg_h5_dataset_open(file, name, &dataset));
    bg_h5_dataset_pieces(&dataset, &rows, &piece, &row_elements);
    TRY(bg_alloc(&buffer, piece * row_elements, dataset.item));
    for (int64_t row = 0; dataset.count > 0 && row < rows; row += piece) {
        const int64_t range[2] = {row, rows - row < piece ? rows - row : piece};
        TRY(bg_h5_dataset_rows(file, name, &dataset, range, buffer));
    }
out:
    bg_free(buffer);
    bg_h5_dataset_close(&dataset);
    return rc;
}

static enum bg_status see(void *self, const struct bg_h5_object *object)
{
    const struct bg_h5 *file = self;
    enum bg_status rc = bg_h5_attributes(file, object->name, NULL);
    return rc == BG_OK && !object->is_group ? read_all(file, object->name) : rc;
}

static rlim_t address_space(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return RLIM_INFINITY;
    if (fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    (void)fclose(file);
    return pages ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) : RLIM_INFINITY;
}

static void limit(int resource, rlim_t value)
{
    struct rlimit limits;
    if (getrlimit(resource, &limits) != 0)
        return;
    if (limits.rlim_max == RLIM_INFINITY || value < limits.rlim_max)
        limits.rlim_max = value;
    limits.rlim_cur = limits.rlim_max;
    (void)setrlimit(resource, &limits);
}

static void confine(unsigned seconds)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM, SIGXCPU};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)signal(signals[i], SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd < 3; fd++)
        (void)dup2(null, fd);
    /* A crash of HDF5 here is the child's answer; it must not look like a report about us. */
    if (__sanitizer_set_report_fd && null >= 0)
        __sanitizer_set_report_fd((void *)(intptr_t)null);
    rlim_t now = address_space();
    if (now != RLIM_INFINITY)
        limit(RLIMIT_AS, now + MEMORY_LIMIT);
    limit(RLIMIT_CPU, seconds);
    limit(RLIMIT_CORE, 0);
    (void)alarm(12 * seconds); /* wall clock, in case it waits for ever */
}

/* Reads everything; false when HDF5 reported an error, with its sentence in bg_error(). */
static bool read_file(const char *path)
{
    struct bg_h5 *file = NULL;
    struct stat info;
    unsigned errors = bg_h5_error_count();
    if (bg_h5_attach(&file, path) != BG_OK)
        return false;
    file->bytes = stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
    const struct bg_h5_walker walker = {.see = see, .self = file, .tolerant = true};
    if (bg_h5_attributes(file, "", NULL) != BG_OK)
        return false;
    return bg_h5_visit(file, &walker) == BG_OK || errors == bg_h5_error_count();
}

/* The child's life. Nothing is closed: _exit ends it without HDF5's own goodbye. */
static void live(const char *path, unsigned seconds, int out)
{
    confine(seconds);
    if (read_file(path))
        _exit(0);
    const char *sentence = bg_error();
    _exit(write(out, sentence, strlen(sentence)) >= 0 ? 1 : 2);
}

static enum bg_status judge(const char *path, int status, unsigned seconds, int in)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return BG_OK;
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (number == SIGALRM || number == SIGXCPU || number == SIGKILL)
        return bg_fail(BG_E_DATA, "%s: damaged: reading it did not end within %u s", path, seconds);
    char sentence[1024];
    ssize_t length = WIFEXITED(status) ? read(in, sentence, sizeof sentence - 1) : 0;
    if (length > 0) {
        sentence[length] = '\0';
        return bg_fail(BG_E_DATA, "%s", sentence);
    }
    return bg_fail(BG_E_DATA, "%s: damaged: the HDF5 library crashes on it (signal %d)", path,
                   number);
}

enum bg_status bg_h5_probe(const char *path, int64_t bytes)
{
    enum bg_status rc = BG_OK;
    unsigned seconds = SECONDS_LEAST + (unsigned)(bytes / BYTES_PER_SECOND);
    int ends[2] = {-1, -1}, status = 0;
    /* One sentence fits the pipe's buffer: the child never waits for the parent to read. */
    if (pipe(ends) != 0)
        FAIL(BG_E_IO, "%s: cannot start a process to check it: %s", path, strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        FAIL(BG_E_IO, "%s: cannot start a process to check it: %s", path, strerror(errno));
    if (pid == 0)
        live(path, seconds, ends[1]);
    (void)close(ends[1]);
    ends[1] = -1;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            FAIL(BG_E_IO, "%s: lost the process that checks it: %s", path, strerror(errno));
    }
    TRY(judge(path, status, seconds, ends[0]));
out:
    for (int i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            (void)close(ends[i]);
    }
    return rc;
}
