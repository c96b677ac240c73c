/* Whole files: read with a size limit, written through a temporary so that a crash or a full disk
 * leaves the old content. Two threads must not write one path at the same time (the temporary's
 * name holds the process id alone). */
#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/text.h"

static enum bg_status fail_errno(const char *path, const char *verb)
{
    return bg_fail(BG_E_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

static enum bg_status too_long(const char *path)
{
    return bg_fail(BG_E_RANGE, "path '%.64s...' is too long: limit is %d bytes", path,
                   BG_PATH_MAX - 1);
}

enum bg_status bg_path_join(char *out, const char *dir, const char *name)
{
    size_t length = strlen(dir);
    const char *slash = length == 0 || dir[length - 1] == '/' ? "" : "/";
    int written = snprintf(out, BG_PATH_MAX, "%s%s%s", dir, slash, name);

    if (written >= 0 && written < BG_PATH_MAX)
        return BG_OK;
    out[0] = '\0';
    return too_long(length > 0 ? dir : name);
}

enum bg_status bg_path_temporary(char *out, const char *path)
{
    int written = snprintf(out, BG_PATH_MAX, "%s.tmp.%ld", path, (long)getpid());

    if (written >= 0 && written < BG_PATH_MAX)
        return BG_OK;
    out[0] = '\0';
    return too_long(path);
}

bool bg_file_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool bg_dir_exists(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum bg_status bg_dir_make(const char *path)
{
    char part[BG_PATH_MAX];
    enum bg_status rc = BG_OK;

    TRY(bg_text_copy(part, sizeof part, path));
    if (part[0] == '\0')
        FAIL(BG_E_USAGE, "cannot make a folder without a name");
    for (char *at = part + 1;; at++) {
        char kept = *at;
        if (kept != '/' && kept != '\0')
            continue;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && !bg_dir_exists(part)) {
            rc = fail_errno(part, "make folder");
            goto out;
        }
        *at = kept;
        if (kept == '\0')
            break;
    }
out:
    return rc;
}

static enum bg_status read_all(int file, const char *path, char *bytes, size_t *length)
{
    size_t wanted = *length;

    *length = 0;
    while (*length < wanted) {
        ssize_t got = read(file, bytes + *length, wanted - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(path, "read");
        if (got == 0)
            break;
        *length += (size_t)got;
    }
    return BG_OK;
}

enum bg_status bg_file_read(const char *path, size_t limit, char **out, size_t *length)
{
    enum bg_status rc = BG_OK;
    struct stat info;
    char *bytes = NULL;
    /* A fifo must be refused, not waited for. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *out = NULL;
    *length = 0;
    if (file < 0) {
        enum bg_status code = errno == ENOENT ? BG_E_NOT_FOUND : BG_E_IO;
        (void)fail_errno(path, "read");
        return code;
    }
    if (fstat(file, &info) != 0) {
        rc = fail_errno(path, "read");
        goto out;
    }
    if (!S_ISREG(info.st_mode))
        FAIL(BG_E_DATA, "%s: not a regular file", path);
    if (info.st_size < 0 || (uint64_t)info.st_size > limit)
        FAIL(BG_E_DATA, "%s: %lld bytes: limit is %zu", path, (long long)info.st_size, limit);
    TRY(bg_alloc(&bytes, (int64_t)info.st_size + 1, 1));
    *length = (size_t)info.st_size;
    TRY(read_all(file, path, bytes, length));
    *out = bytes;
    bytes = NULL;
out:
    (void)close(file);
    bg_free(bytes);
    return rc;
}

static enum bg_status write_all(int file, const char *path, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t done = write(file, text, length);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_errno(path, "write");
        text += done;
        length -= (size_t)done;
    }
    return BG_OK;
}

enum bg_status bg_file_write(const char *path, const char *text, size_t length)
{
    enum bg_status rc = BG_OK;
    char temporary[BG_PATH_MAX];
    int file = -1;

    TRY(bg_path_temporary(temporary, path));
    (void)unlink(temporary); /* of a dead process with our number */
    file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) {
        rc = fail_errno(path, "write");
        goto out;
    }
    rc = write_all(file, path, text, length);
    if (close(file) != 0 && rc == BG_OK)
        rc = fail_errno(path, "write");
    if (rc == BG_OK)
        rc = bg_file_commit(temporary, path);
    if (rc != BG_OK)
        (void)unlink(temporary);
out:
    return rc;
}

/* Opens what is there and forces it to the disk. Some file systems cannot sync a folder. */
static enum bg_status sync_path(const char *path, const char *shown, int is_folder)
{
    enum bg_status rc = BG_OK;
    int file = open(path, O_RDONLY | O_CLOEXEC | (is_folder ? O_DIRECTORY : 0));

    if (file < 0)
        return fail_errno(shown, "open");
    if (fsync(file) != 0 && !(is_folder && (errno == EINVAL || errno == ENOTSUP)))
        rc = fail_errno(shown, "write");
    (void)close(file);
    return rc;
}

static enum bg_status sync_folder_of(const char *path)
{
    enum bg_status rc = BG_OK;
    char folder[BG_PATH_MAX];
    char *slash;

    TRY(bg_text_copy(folder, sizeof folder, path));
    slash = strrchr(folder, '/');
    if (slash == NULL)
        TRY(bg_text_copy(folder, sizeof folder, "."));
    else
        slash[slash == folder] = '\0'; /* "/name" lies in "/" */
    rc = sync_path(folder, folder, 1);
out:
    return rc;
}

enum bg_status bg_file_commit(const char *temporary, const char *path)
{
    enum bg_status rc = BG_OK;
    struct stat there;

    if (lstat(path, &there) == 0 && !S_ISREG(there.st_mode) && !S_ISLNK(there.st_mode) &&
        !S_ISDIR(there.st_mode))
        FAIL(BG_E_IO, "%s: cannot write: not a regular file", path); /* a rename would replace it */
    TRY(sync_path(temporary, path, 0));
    if (rename(temporary, path) != 0) {
        rc = fail_errno(path, "write");
        goto out;
    }
    return sync_folder_of(path);
out:
    (void)unlink(temporary);
    return rc;
}

void bg_file_remove(const char *path)
{
    (void)unlink(path);
}

/* "name.tmp.123" of a process that no longer runs, or of our own number: this process has not
 * started writing when it cleans up. */
static bool is_leftover(const char *name)
{
    const char *found = NULL;
    int64_t pid = 0;

    for (const char *at = strstr(name, ".tmp."); at != NULL; at = strstr(at + 1, ".tmp."))
        found = at;
    if (found == NULL || !bg_text_to_int(found + 5, &pid) || pid <= 0 || pid > INT32_MAX)
        return false;
    return pid == getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

void bg_dir_remove_temporaries(const char *dir)
{
    DIR *folder = opendir(dir);
    const struct dirent *entry;

    if (folder == NULL)
        return;
    for (entry = readdir(folder); entry != NULL; entry = readdir(folder))
        if (is_leftover(entry->d_name))
            (void)unlinkat(dirfd(folder), entry->d_name, 0);
    (void)closedir(folder);
}
