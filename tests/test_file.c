/* Whole files and hashes. */
#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    (void)snprintf(dir, sizeof dir, "/tmp/bitgrad-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static int count_entries(const char *path)
{
    DIR *folder = opendir(path);
    int count = 0;

    cr_assert_not_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2; /* . and .. */
}

static void remove_dir(void)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(file, .init = make_dir, .fini = remove_dir);

static void path_in(char path[BG_PATH_MAX], const char *name)
{
    cr_assert_eq(bg_path_join(path, dir, name), BG_OK);
}

static void expect_content(const char *path, const char *text, size_t length)
{
    char *got = NULL;
    size_t got_length = 0;

    cr_assert_eq(bg_file_read(path, 1 << 20, &got, &got_length), BG_OK, "%s", bg_error());
    cr_assert_eq(got_length, length);
    cr_assert_eq(memcmp(got, text, length), 0);
    cr_assert_eq(got[length], '\0');
    bg_free(got);
}

Test(file, paths_are_joined_within_their_limit)
{
    char path[BG_PATH_MAX], long_name[2000];

    cr_assert_eq(bg_path_join(path, "runs", "run.h5"), BG_OK);
    cr_assert_str_eq(path, "runs/run.h5");
    cr_assert_eq(bg_path_join(path, "/", "a"), BG_OK);
    cr_assert_str_eq(path, "/a");
    cr_assert_eq(bg_path_join(path, "", "a"), BG_OK);
    cr_assert_str_eq(path, "a");
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    cr_assert_eq(bg_path_join(path, "d", long_name), BG_E_RANGE);
    cr_assert_str_eq(path, "");
    cr_assert_eq(bg_path_temporary(path, long_name), BG_E_RANGE);
    long_name[1023] = '\0';
    cr_assert_eq(bg_path_join(path, "", long_name), BG_OK);
    cr_assert_eq(bg_dir_make(long_name), BG_E_IO);
}

Test(file, what_was_written_is_read_back)
{
    char path[BG_PATH_MAX];

    path_in(path, "a.txt");
    cr_assert_not(bg_file_exists(path));
    cr_assert_eq(bg_file_write(path, "one\0two", 7), BG_OK, "%s", bg_error());
    cr_assert(bg_file_exists(path));
    expect_content(path, "one\0two", 7);
    cr_assert_eq(bg_file_write(path, "", 0), BG_OK);
    expect_content(path, "", 0);
    cr_assert_eq(count_entries(dir), 1); /* no temporary is left */
    bg_file_remove(path);
    bg_file_remove(path);
    cr_assert_eq(count_entries(dir), 0);
}

Test(file, a_name_without_folder_is_written_here)
{
    cr_assert_eq(chdir(dir), 0);
    cr_assert_eq(bg_file_write("here.txt", "x", 1), BG_OK, "%s", bg_error());
    expect_content("here.txt", "x", 1);
    cr_assert_eq(chdir("/"), 0);
}

Test(file, reading_refuses_with_a_sentence)
{
    char path[BG_PATH_MAX], expected[BG_PATH_MAX + 100];
    char *text = NULL;
    size_t length = 9;

    path_in(path, "missing");
    cr_assert_eq(bg_file_read(path, 100, &text, &length), BG_E_NOT_FOUND);
    (void)snprintf(expected, sizeof expected, "%s: cannot read: No such file or directory", path);
    cr_assert_str_eq(bg_error(), expected);
    cr_assert_eq(bg_file_write(path, "12345", 5), BG_OK);
    cr_assert_eq(bg_file_read(path, 4, &text, &length), BG_E_DATA);
    (void)snprintf(expected, sizeof expected, "%s: 5 bytes: limit is 4", path);
    cr_assert_str_eq(bg_error(), expected);
    cr_assert_eq(bg_file_read(path, 5, &text, &length), BG_OK);
    bg_free(text);
    cr_assert_eq(bg_file_read(dir, 100, &text, &length), BG_E_DATA);
    cr_assert_not_null(strstr(bg_error(), "not a regular file"));
    cr_assert_eq(bg_file_read("/dev/zero", 100, &text, &length), BG_E_DATA);
    path_in(path, "pipe");
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(bg_file_read(path, 100, &text, &length), BG_E_DATA); /* and does not hang */
    bg_alloc_fail_at(1);
    path_in(path, "missing");
    cr_assert_eq(bg_file_read(path, 100, &text, &length), BG_E_NOMEM);
    cr_assert_null(text);
    cr_assert_eq(length, 0);
}

Test(file, folders_are_made_with_parents)
{
    char path[BG_PATH_MAX];

    path_in(path, "a/b//c/");
    cr_assert_eq(bg_dir_make(path), BG_OK, "%s", bg_error());
    cr_assert(bg_dir_exists(path));
    cr_assert_not(bg_file_exists(path));
    cr_assert_eq(bg_dir_make(path), BG_OK);
    cr_assert_eq(bg_dir_make("/"), BG_OK);
    path_in(path, "file");
    cr_assert_eq(bg_file_write(path, "x", 1), BG_OK);
    cr_assert_not(bg_dir_exists(path));
    cr_assert_eq(bg_dir_make(path), BG_E_IO);
    path_in(path, "file/below");
    cr_assert_eq(bg_dir_make(path), BG_E_IO);
    cr_assert_not_null(strstr(bg_error(), "cannot make folder"));
    cr_assert_eq(bg_dir_make(""), BG_E_USAGE);
}

/* The child's status is 0 when writing failed as it should. Not root: root may write anywhere. */
static int as_nobody(void (*work)(const char *path), const char *path)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        work(path);
        _exit(0);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

static void write_and_be_refused(const char *path)
{
    if (bg_file_write(path, "new", 3) != BG_E_IO)
        _exit(1);
    if (strstr(bg_error(), path) == NULL || strstr(bg_error(), "Permission denied") == NULL)
        _exit(2);
}

Test(file, an_unwritable_folder_keeps_the_old_content)
{
    char path[BG_PATH_MAX];

    path_in(path, "kept.txt");
    cr_assert_eq(bg_file_write(path, "old", 3), BG_OK);
    cr_assert_eq(chmod(dir, 0555), 0);
    cr_assert_eq(as_nobody(write_and_be_refused, path), 0);
    cr_assert_eq(chmod(dir, 0755), 0);
    expect_content(path, "old", 3);
    cr_assert_eq(count_entries(dir), 1);
    path_in(path, "no/such/folder.txt");
    cr_assert_eq(bg_file_write(path, "x", 1), BG_E_IO);
}

/* A limit on file size fails a write in the middle, as a full disk does. */
Test(file, a_full_disk_keeps_the_old_content)
{
    static char big[100000];
    char path[BG_PATH_MAX];
    struct rlimit limit;

    path_in(path, "kept.txt");
    cr_assert_eq(bg_file_write(path, "old", 3), BG_OK);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = 50000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_assert_eq(bg_file_write(path, big, sizeof big), BG_E_IO);
    cr_assert_not_null(strstr(bg_error(), path));
    cr_assert_not_null(strstr(bg_error(), "File too large"));
    limit.rlim_cur = limit.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_content(path, "old", 3);
    cr_assert_eq(count_entries(dir), 1);
}

Test(file, commit_replaces_or_cleans_up)
{
    char path[BG_PATH_MAX], temporary[BG_PATH_MAX], blocked[BG_PATH_MAX];
    FILE *file;

    path_in(path, "run.h5");
    cr_assert_eq(bg_path_temporary(temporary, path), BG_OK);
    cr_assert_eq(bg_file_commit(temporary, path), BG_E_IO); /* nothing was written */
    file = fopen(temporary, "w");
    cr_assert_not_null(file);
    cr_assert_geq(fputs("data", file), 0);
    fclose(file);
    cr_assert_eq(bg_file_commit(temporary, path), BG_OK);
    expect_content(path, "data", 4);
    cr_assert_not(bg_file_exists(temporary));
    path_in(blocked, "folder/inside");
    cr_assert_eq(bg_dir_make(blocked), BG_OK);
    path_in(blocked, "folder");
    cr_assert_eq(bg_file_write(blocked, "x", 1), BG_E_IO); /* a folder is in the way */
    cr_assert_eq(count_entries(dir), 2);
}

static void touch(const char *name)
{
    char path[BG_PATH_MAX];
    int file;

    path_in(path, name);
    file = open(path, O_WRONLY | O_CREAT, 0600);
    cr_assert_geq(file, 0);
    close(file);
}

Test(file, only_temporaries_of_dead_writers_are_removed)
{
    char name[64];
    int status = 0;
    pid_t dead = fork();

    if (dead == 0)
        _exit(0);
    cr_assert_eq(waitpid(dead, &status, 0), dead);
    (void)snprintf(name, sizeof name, "checkpoint-1.h5.tmp.%ld", (long)dead);
    touch(name);
    (void)snprintf(name, sizeof name, "plan.txt.tmp.%ld", (long)getpid());
    touch(name);
    (void)snprintf(name, sizeof name, "other.h5.tmp.%ld", (long)getppid());
    touch(name);
    touch("notes.tmp.txt");
    touch("a.tmp.");
    touch("a.tmp.99999999999999999999");
    touch("run.h5");
    bg_dir_remove_temporaries(dir);
    cr_assert_eq(count_entries(dir), 5);
    bg_dir_remove_temporaries("/no/such/folder");
}

/* FIPS 180-4 examples, and one million times "a" (NIST CAVP). */
Test(hash, sha256_gives_the_known_answers)
{
    static const struct {
        const char *text, *digest;
    } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    struct bg_hash *hash = NULL;
    char digest[BG_HASH_TEXT], chunk[1000];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(bg_hash_bytes(rows[i].text, strlen(rows[i].text), digest), BG_OK);
        cr_assert_str_eq(digest, rows[i].digest);
    }
    memset(chunk, 'a', sizeof chunk);
    cr_assert_eq(bg_hash_start(&hash), BG_OK);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(bg_hash_add(hash, chunk, sizeof chunk), BG_OK);
    cr_assert_eq(bg_hash_add(hash, NULL, 0), BG_OK);
    cr_assert_eq(bg_hash_end(hash, digest), BG_OK);
    cr_assert_str_eq(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

Test(hash, failures_leave_nothing_behind)
{
    struct bg_hash *hash = (struct bg_hash *)&hash;
    char digest[BG_HASH_TEXT];

    bg_alloc_fail_at(1);
    cr_assert_eq(bg_hash_start(&hash), BG_E_NOMEM);
    cr_assert_null(hash);
    bg_alloc_fail_at(1);
    cr_assert_eq(bg_hash_bytes("abc", 3, digest), BG_E_NOMEM);
    cr_assert_str_eq(digest, "");
    cr_assert_eq(bg_hash_start(&hash), BG_OK);
    bg_hash_abandon(hash);
    bg_hash_abandon(NULL);
}
