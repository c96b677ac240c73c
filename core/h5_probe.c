/* The probe: before a file without our seal is opened, a child process opens it, walks over all
 * objects and reads all data and attributes that we would read. HDF5 1.10 can crash on damaged
 * files; then only the child dies and the file is refused. Refusals inside the child (a link, a bad
 * checksum) are no matter of the probe: the parent meets the same one when it reads that object.
 *
 * The child uses HDF5 and nothing else (no OpenMP: its threads do not survive a fork), runs under
 * limits on memory and processor time, and ends by an alarm should another thread have held a lock
 * at the moment of the fork. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/h5_private.h"
#include "core/mem.h"

#define MEMORY_LIMIT     ((rlim_t)2 << 30) /* above what the process has now */
#define SECONDS_LEAST    60
#define BYTES_PER_SECOND ((int64_t)10 << 20)
#define ATTRIBUTE_BYTES  ((size_t)64 << 20)

static void read_all(const struct bg_h5 *file, const char *name)
{
    struct bg_h5_dataset dataset;
    void *buffer = NULL;
    int64_t rows = 0, piece = 0, row_elements = 0;
    if (bg_h5_dataset_open(file, name, &dataset) != BG_OK)
        return;
    bg_h5_dataset_pieces(&dataset, &rows, &piece, &row_elements);
    if (dataset.count > 0 && bg_alloc(&buffer, piece * row_elements, dataset.item) == BG_OK) {
        for (int64_t row = 0; row < rows; row += piece) {
            const int64_t range[2] = {row, rows - row < piece ? rows - row : piece};
            if (bg_h5_dataset_rows(file, name, &dataset, range, buffer) != BG_OK)
                break;
        }
    }
    bg_free(buffer);
    bg_h5_dataset_close(&dataset);
}

static void read_attributes(const struct bg_h5 *file, const char *name)
{
    struct bg_text lines;
    bg_text_init(&lines, ATTRIBUTE_BYTES);
    if (bg_h5_attributes(file, name, &lines) != BG_OK)
        bg_error_clear();
    bg_text_free(&lines);
}

static enum bg_status see(void *self, const struct bg_h5_object *object)
{
    const struct bg_h5 *file = self;
    read_attributes(file, object->name);
    if (!object->is_group)
        read_all(file, object->name);
    return BG_OK;
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
    rlim_t now = address_space();
    if (now != RLIM_INFINITY)
        limit(RLIMIT_AS, now + MEMORY_LIMIT);
    limit(RLIMIT_CPU, seconds);
    limit(RLIMIT_CORE, 0);
    (void)alarm(2 * seconds);
}

static void child(const char *path, unsigned seconds)
{
    struct bg_h5 *file = NULL;
    confine(seconds);
    if (bg_h5_attach(&file, path) == BG_OK) {
        struct stat info;
        file->bytes = stat(path, &info) == 0 ? (int64_t)info.st_size : 0;
        const struct bg_h5_walker walker = {.see = see, .self = file, .tolerant = true};
        read_attributes(file, "");
        if (bg_h5_visit(file, &walker) != BG_OK)
            bg_error_clear();
        bg_h5_detach(file);
    }
    _exit(0);
}

enum bg_status bg_h5_probe(const char *path, int64_t bytes)
{
    unsigned seconds = SECONDS_LEAST + (unsigned)(bytes / BYTES_PER_SECOND);
    pid_t pid = fork();
    if (pid < 0)
        return bg_fail(BG_E_IO, "%s: cannot start a process to check it: %s", path,
                       strerror(errno));
    if (pid == 0)
        child(path, seconds);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return bg_fail(BG_E_IO, "%s: lost the process that checks it: %s", path,
                           strerror(errno));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return BG_OK;
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (number == SIGALRM || number == SIGXCPU || number == SIGKILL)
        return bg_fail(BG_E_DATA, "%s: damaged: reading it did not end within %u s", path, seconds);
    return bg_fail(BG_E_DATA, "%s: damaged: the HDF5 library crashes on it (signal %d)", path,
                   number);
}
